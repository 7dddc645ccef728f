//! The batches of an update whose gradients are accumulated.

use std::sync::Arc;

use super::states::KeptStates;
use super::{HISTORY_ROWS, StepRecord};
use crate::backend::executor::Executor;
use crate::data::{Dataset, Targets};
use crate::distributed::Ranks;
use crate::error::Result;
use crate::kernels::IGNORE;
use crate::recipe::MOST_ACCUMULATED;
use crate::record::RecordedNetwork;
use crate::tensor::{Element, Kind, Tensor};
use crate::train::weights::TargetWeights;

const _: () = assert!(MOST_ACCUMULATED <= HISTORY_ROWS);

/// How an update adds the gradients of its batches.
#[derive(Debug, Clone)]
pub(crate) enum Summing {
    /// One after the other.
    InOrder,
    /// In a binary tree, over the batches of all processes where there are several.
    InTree(Option<Arc<dyn Ranks>>),
}

/// The batches of an update whose gradients are accumulated.
#[derive(Debug, Clone)]
pub(super) struct Accumulation {
    /// Batches of an update that this process plays.
    pub(super) batches: usize,
    /// Batches of an update of all processes, at least 2.
    pub(super) all: usize,
    pub(super) summing: Summing,
    /// `[parameters]`: the sums that processes add, in a tree.
    pub(super) sums: Option<Tensor>,
    /// The states of the batches between two chunks, in a tree.
    pub(super) states: KeptStates,
    /// Those of all processes, of each direction.
    pub(super) all_states: Vec<Vec<f32>>,
    /// Chunks of a batch's sequences; each is a step.
    chunks: usize,
    /// The weights of each head's targets.
    heads: Vec<HeadWeights>,
}

/// The sums of the weights of the targets of one head.
#[derive(Debug, Clone)]
struct HeadWeights {
    /// `[HISTORY_ROWS]`: that of the update that each row belongs to.
    of_updates: Tensor,
    /// `[N, chunks]`: that of each sequence.
    of_sequences: Vec<f64>,
    /// `[batches, chunks]`: that of each batch of the current pass, of all processes.
    of_batches: Vec<f64>,
}

impl Accumulation {
    /// Adds the buffers of the weights of updates of `all` batches; `weights` are those of the
    /// targets of each head.
    pub(super) fn new(
        network: &mut RecordedNetwork,
        data: &Dataset,
        weights: &[Option<TargetWeights>],
        (all, summing): (usize, Summing),
    ) -> Accumulation {
        let chunks = data.steps.div_ceil(network.steps);
        let sizes = (chunks, network.steps);
        let heads = data.targets.each_head().iter().enumerate();
        let heads = heads.map(|(index, targets)| {
            let name = match network.heads.get(index) {
                None => "update_weights".to_string(),
                Some(_) => format!("heads.{index}.update_weights"),
            };
            let (kind, element) = (Kind::Control, Element::Real);
            let program = &mut network.program;
            let weights = weights.get(index).and_then(Option::as_ref);
            HeadWeights {
                of_updates: program.buffer(name, kind, element, [HISTORY_ROWS]),
                of_sequences: sequence_weights((data, targets), weights, sizes),
                of_batches: vec![],
            }
        });
        let heads = heads.collect();
        let count = match &summing {
            Summing::InTree(Some(ranks)) => ranks.count(),
            _ => 1,
        };
        Accumulation {
            batches: all / count,
            all,
            summing,
            sums: None,
            states: KeptStates::new(network, chunks, all / count),
            all_states: vec![],
            chunks,
            heads,
        }
    }

    /// `[HISTORY_ROWS]` of each head: the sum of the weights of the update that each row belongs
    /// to.
    pub(super) fn update_weights(&self) -> Vec<Tensor> {
        self.heads.iter().map(|head| head.of_updates).collect()
    }

    /// The processes that share the batches, where there are several.
    pub(super) fn ranks(&self) -> Option<&Arc<dyn Ranks>> {
        match &self.summing {
            Summing::InTree(ranks) => ranks.as_ref(),
            Summing::InOrder => None,
        }
    }

    /// Whether gradients are added in a tree.
    pub(super) fn is_tree(&self) -> bool {
        matches!(self.summing, Summing::InTree(_))
    }

    /// Starts a pass of all processes in this order, in batches of `batch` sequences.
    pub(super) fn begin(&mut self, order: &[u32], batch: usize) {
        let chunks = self.chunks;
        for head in &mut self.heads {
            let sequences = &head.of_sequences;
            let batches = order.chunks(batch);
            let weights = batches.flat_map(|batch| {
                (0..chunks).map(move |chunk| {
                    let weight = |&n: &u32| sequences[n as usize * chunks + chunk];
                    batch.iter().map(weight).sum::<f64>()
                })
            });
            head.of_batches = weights.collect();
        }
    }

    /// The weights of the batches of step `step` of the pass, for the targets of a head.
    fn of_step(&self, head: &HeadWeights, step: usize) -> Vec<f64> {
        let (update, chunk) = (step / self.chunks, step % self.chunks);
        let batches = head.of_batches.chunks(self.chunks);
        let own = batches.skip(update * self.all).take(self.all);
        own.map(|weights| weights[chunk]).collect()
    }

    /// Writes the weight of each step from `first` on for each of its batches, whose numbers are
    /// `batches`.
    pub(super) fn write(
        &self,
        executor: &mut dyn Executor,
        first: usize,
        batches: &[usize],
    ) -> Result<()> {
        for head in &self.heads {
            let steps = batches.iter().zip(first..);
            let weights = steps.flat_map(|(&batches, step)| {
                let sum: f64 = self.of_step(head, step).iter().sum();
                std::iter::repeat_n(sum as f32, batches)
            });
            let weights: Vec<f32> = weights.collect();
            executor.write(&head.of_updates.part(0, [weights.len()]), &weights)?;
        }
        Ok(())
    }

    /// The records of the steps from `first` on, of the records of their batches.
    pub(super) fn merged(&self, first: usize, records: &[StepRecord]) -> Vec<StepRecord> {
        let (mut rest, mut step, mut steps) = (records, first, vec![]);
        while !rest.is_empty() {
            let heads = self.heads.iter().map(|head| self.of_step(head, step));
            let heads: Vec<Vec<f64>> = heads.collect();
            let (own, later) = rest.split_at(heads[0].len().min(rest.len()));
            steps.push(merged_heads(own, &heads));
            (rest, step) = (later, step + 1);
        }
        steps
    }
}

/// The sum of the weights of `targets`, those of a head, of each chunk of each sequence: without
/// weights, their number.
fn sequence_weights(
    (data, targets): (&Dataset, &Targets),
    weights: Option<&TargetWeights>,
    (chunks, chunk_steps): (usize, usize),
) -> Vec<f64> {
    let (rows, each_chunk) = if targets.per_step() {
        (data.steps, chunk_steps)
    } else {
        (1, 1)
    };
    let labels = data.labels_of(targets);
    let one = |label: &u32| f32::from(u8::from(*label != IGNORE));
    let each = match weights {
        Some(weights) => weights.of_targets(data, targets),
        None => labels.iter().map(one).collect(),
    };
    let sum = |row: &[f32]| row.iter().map(|&weight| f64::from(weight)).sum();
    let of_sequence = |row: &[f32]| -> Vec<f64> {
        let mut sums: Vec<f64> = row.chunks(each_chunk).map(sum).collect();
        sums.resize(chunks, 0.0);
        sums
    };
    each.chunks(rows).flat_map(of_sequence).collect()
}

/// The record of an update of these batches, whose targets have such weights for each head: of
/// several heads, the loss is the sum of theirs.
fn merged_heads(records: &[StepRecord], weights: &[Vec<f64>]) -> StepRecord {
    let of_head = |(n, own): (usize, &Vec<f64>)| {
        let records = records.iter().map(|record| record.heads[n].clone());
        merged(&records.collect::<Vec<_>>(), own)
    };
    match weights {
        [own] => merged(records, own),
        _ => {
            let heads: Vec<StepRecord> = weights.iter().enumerate().map(of_head).collect();
            // The losses are times the weights of their heads.
            let loss = heads.iter().map(|head| f64::from(head.loss)).sum::<f64>();
            StepRecord {
                loss: loss as f32,
                heads,
                ..merged(records, &weights[0])
            }
        }
    }
}

/// The record of these batches of such weights: means over all of them.
fn merged(records: &[StepRecord], weights: &[f64]) -> StepRecord {
    let mean = |terms: &mut dyn Iterator<Item = (f32, f64)>| {
        let (sum, weight) = terms.fold((0.0, 0.0), |(sum, all), (value, weight)| {
            (sum + f64::from(value) * weight, all + weight)
        });
        if weight > 0.0 {
            (sum / weight) as f32
        } else {
            0.0
        }
    };
    let sum = |value: fn(&StepRecord) -> f32| records.iter().map(value).sum();
    let losses = records.iter().map(|record| record.loss);
    let last = |record: &StepRecord| (record.last_loss, f64::from(record.last_labelled));
    StepRecord {
        loss: mean(&mut losses.zip(weights.iter().copied())),
        hits: sum(|record| record.hits),
        labelled: sum(|record| record.labelled),
        norm: records.last().map_or(0.0, |record| record.norm),
        last_loss: mean(&mut records.iter().map(last)),
        last_labelled: sum(|record| record.last_labelled),
        is_finite: records.iter().all(|record| record.is_finite),
        heads: vec![],
    }
}
