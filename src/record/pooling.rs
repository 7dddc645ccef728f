//! The reduction of the last layer's outputs over time, which a head reads.

use super::step_sums::StepSum;
use super::{PooledKind, RecordedNetwork};
use crate::kernels::{
    Attention, AttentionBackward, Call, Gemm, Matrix, Pool, PoolBackward, PoolBackwardKind,
    PoolKind,
};
use crate::tensor::Tensor;

impl RecordedNetwork {
    /// Reduces the last layer's outputs over time, where the head reads that.
    pub(super) fn pool(&self) -> Vec<Call> {
        let Some(pooled) = self.head.pooled else {
            return vec![];
        };
        let source = self.last_layer().outputs();
        let mut calls: Vec<Call> = vec![];
        let kind = match pooled.kind {
            PooledKind::Mean => PoolKind::Mean,
            PooledKind::Max { picked } => PoolKind::Max { picked },
            PooledKind::Attention {
                query,
                scores,
                weights,
                ..
            } => {
                let features = self.network.head_inputs();
                let outputs = Matrix::new(source, self.rows(), features);
                let query = Matrix::new(query, 1, features).t();
                let products = Matrix::new(scores, self.rows(), 1);
                calls.push(
                    Gemm::new(outputs, query, products)
                        .ragged_rows(self.lengths)
                        .into(),
                );
                calls.push(
                    Attention {
                        scores,
                        lengths: self.lengths,
                        weights,
                        steps: self.steps,
                        batch: self.batch,
                    }
                    .into(),
                );
                PoolKind::Weighted { weights }
            }
        };
        calls.push(
            Pool {
                kind,
                source,
                lengths: self.lengths,
                out: pooled.values,
                steps: self.steps,
                batch: self.batch,
                width: self.network.head_inputs(),
            }
            .into(),
        );
        calls
    }

    /// The backward pass of [`RecordedNetwork::pool`].
    pub(super) fn pool_backward(&self, partials: Option<Tensor>) -> Vec<Call> {
        let Some((pooled, dout)) = self.head.pooled.and_then(|p| Some((p, p.gradient?))) else {
            return vec![];
        };
        let layer = self.last_layer();
        let dsource = layer.upstream().expect("what is pooled has a gradient");
        let (steps, batch, width) = (self.steps, self.batch, self.network.head_inputs());
        let mut calls: Vec<Call> = vec![];
        let kind = match pooled.kind {
            PooledKind::Mean => PoolBackwardKind::Mean,
            PooledKind::Max { picked } => PoolBackwardKind::Max { picked },
            PooledKind::Attention {
                query,
                weights,
                dscores,
                ..
            } => {
                let dscores = dscores.expect("the backward pass includes the head");
                let scores = AttentionBackward {
                    source: layer.outputs(),
                    weights,
                    pooled: pooled.values,
                    dout,
                    lengths: self.lengths,
                    dscores,
                    steps,
                    batch,
                    width,
                };
                calls.push(scores.into());
                let sum = self.query_sum().expect("the head reads by attention");
                calls.extend(self.sum_steps(&sum, partials));
                PoolBackwardKind::Weighted {
                    weights,
                    dscores,
                    query,
                }
            }
        };
        calls.push(
            PoolBackward {
                kind,
                dout,
                lengths: self.lengths,
                dsource,
                steps,
                batch,
                width,
            }
            .into(),
        );
        calls
    }

    /// The gradient of the query of a head that reads by attention.
    pub(super) fn query_sum(&self) -> Option<StepSum> {
        let gradient = self.head.gradients?.query?;
        let PooledKind::Attention {
            dscores: Some(dscores),
            ..
        } = self.head.pooled?.kind
        else {
            return None;
        };
        let features = self.network.head_inputs();
        Some(StepSum {
            of: Matrix::new(dscores, self.rows(), 1),
            by: Matrix::new(self.last_layer().outputs(), self.rows(), features),
            out: Matrix::new(gradient, 1, features),
        })
    }
}
