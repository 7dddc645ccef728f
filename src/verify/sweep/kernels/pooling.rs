//! Reductions of the steps of a sequence to one vector.

use super::{KernelProgram, edges, narrow_edges};
use crate::kernels::{
    Attention, AttentionBackward, Pool, PoolBackward, PoolBackwardKind, PoolKind,
};
use crate::tensor::Tensor;
use crate::verify::Effort;

/// Lengths of 0 to more than T.
fn lengths(program: &mut KernelProgram, steps: usize, batch: usize) -> Tensor {
    program.indices(batch, move |b| [steps as u32, 0, 9999, 1, 2][b % 5])
}

pub(super) fn pool(program: &mut KernelProgram, effort: Effort) {
    for width in narrow_edges(effort) {
        for (steps, batch) in [(1, 2), (6, 5)] {
            let source = program.reals(steps * batch, width);
            let lengths = lengths(program, steps, batch);
            let picked = program.indices(batch * width, |_| 7);
            let weights = program.reals(steps, batch);
            for kind in [
                PoolKind::Mean,
                PoolKind::Max { picked },
                PoolKind::Weighted { weights },
            ] {
                let out = program.reals(batch, width);
                program.push(Pool {
                    kind,
                    source,
                    lengths,
                    out,
                    steps,
                    batch,
                    width,
                });
            }
            let (dscores, query) = (program.reals(steps, batch), program.reals(1, width));
            for kind in [
                PoolBackwardKind::Mean,
                PoolBackwardKind::Max { picked },
                PoolBackwardKind::Weighted {
                    weights,
                    dscores,
                    query,
                },
            ] {
                let (dout, dsource) = (
                    program.reals(batch, width),
                    program.reals(steps * batch, width),
                );
                program.push(PoolBackward {
                    kind,
                    dout,
                    lengths,
                    dsource,
                    steps,
                    batch,
                    width,
                });
            }
        }
    }
}

pub(super) fn attention(program: &mut KernelProgram, effort: Effort) {
    let batch = 5;
    for &steps in edges(effort) {
        let (scores, weights) = (program.reals(steps, batch), program.reals(steps, batch));
        let lengths = lengths(program, steps, batch);
        program.push(Attention {
            scores,
            lengths,
            weights,
            steps,
            batch,
        });
    }
    for &width in edges(effort) {
        let steps = 3;
        let source = program.reals(steps * batch, width);
        let weights = program.positives_below(steps * batch, 1.0);
        let (pooled, dout) = (program.reals(batch, width), program.reals(batch, width));
        let lengths = lengths(program, steps, batch);
        let dscores = program.reals(steps, batch);
        program.push(AttentionBackward {
            source,
            weights,
            pooled,
            dout,
            lengths,
            dscores,
            steps,
            batch,
            width,
        });
    }
}
