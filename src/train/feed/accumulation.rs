//! The batches of an update whose gradients are accumulated.

use std::sync::Arc;

use super::states::KeptStates;
use super::{HISTORY_ROWS, StepRecord};
use crate::backend::executor::Executor;
use crate::data::Dataset;
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
    /// `[HISTORY_ROWS]`: the sum of the weights of the update that each row belongs to.
    pub(super) update_weights: Tensor,
    /// Chunks of a batch's sequences; each is a step.
    chunks: usize,
    /// `[N, chunks]`: the sum of the weights of each sequence's targets.
    sequences: Vec<f64>,
    /// `[batches, chunks]`: the sum of the weights of each batch of the current pass, of all
    /// processes.
    pass: Vec<f64>,
}

impl Accumulation {
    /// Adds the buffer of the weights of updates of `all` batches.
    pub(super) fn new(
        network: &mut RecordedNetwork,
        data: &Dataset,
        weights: Option<&TargetWeights>,
        (all, summing): (usize, Summing),
    ) -> Accumulation {
        let (kind, element) = (Kind::Control, Element::Real);
        let program = &mut network.program;
        let update_weights = program.buffer("update_weights", kind, element, [HISTORY_ROWS]);
        let chunks = data.steps.div_ceil(network.steps);
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
            update_weights,
            chunks,
            sequences: sequence_weights(data, weights, (chunks, network.steps)),
            pass: vec![],
        }
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
        let (chunks, sequences) = (self.chunks, &self.sequences);
        let batches = order.chunks(batch);
        let weights = batches.flat_map(|batch| {
            (0..chunks).map(move |chunk| {
                let weight = |&n: &u32| sequences[n as usize * chunks + chunk];
                batch.iter().map(weight).sum::<f64>()
            })
        });
        self.pass = weights.collect();
    }

    /// The weights of the batches of step `step` of the pass.
    fn of_step(&self, step: usize) -> Vec<f64> {
        let (update, chunk) = (step / self.chunks, step % self.chunks);
        let batches = self.pass.chunks(self.chunks);
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
        let steps = batches.iter().zip(first..);
        let weights = steps.flat_map(|(&batches, step)| {
            let sum: f64 = self.of_step(step).iter().sum();
            std::iter::repeat_n(sum as f32, batches)
        });
        let weights: Vec<f32> = weights.collect();
        executor.write(&self.update_weights.part(0, [weights.len()]), &weights)
    }

    /// The records of the steps from `first` on, of the records of their batches.
    pub(super) fn merged(&self, first: usize, records: &[StepRecord]) -> Vec<StepRecord> {
        let (mut rest, mut step, mut steps) = (records, first, vec![]);
        while !rest.is_empty() {
            let weights = self.of_step(step);
            let (own, later) = rest.split_at(weights.len().min(rest.len()));
            steps.push(merged(own, &weights));
            (rest, step) = (later, step + 1);
        }
        steps
    }
}

/// The sum of the weights of the targets of each chunk of each sequence: without weights, their
/// number.
fn sequence_weights(
    data: &Dataset,
    weights: Option<&TargetWeights>,
    (chunks, chunk_steps): (usize, usize),
) -> Vec<f64> {
    let (rows, each_chunk) = if data.targets.per_step() {
        (data.steps, chunk_steps)
    } else {
        (1, 1)
    };
    let labels = data.labels();
    let one = |label: &u32| f32::from(u8::from(*label != IGNORE));
    let each = match weights {
        Some(weights) => weights.of_targets(data, &data.targets),
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

/// The record of an update of these batches: means over all of them.
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
        // Recipes of several heads do not accumulate.
        heads: vec![],
    }
}
