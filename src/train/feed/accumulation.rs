//! The batches of an update whose gradients are accumulated.

use super::{HISTORY_ROWS, StepRecord};
use crate::backend::executor::Executor;
use crate::data::Dataset;
use crate::error::Result;
use crate::kernels::IGNORE;
use crate::recipe::MOST_ACCUMULATED;
use crate::record::RecordedNetwork;
use crate::tensor::{Element, Kind, Tensor};
use crate::train::weights::TargetWeights;

const _: () = assert!(MOST_ACCUMULATED <= HISTORY_ROWS);

/// The batches of an update whose gradients are accumulated.
#[derive(Debug, Clone)]
pub(super) struct Accumulation {
    /// Batches of an update, at least 2.
    pub(super) batches: usize,
    /// `[HISTORY_ROWS]`: the sum of the weights of the update that each row belongs to.
    pub(super) update_weights: Tensor,
    /// `[N]`: the sum of the weights of each sequence's targets.
    sequences: Vec<f64>,
    /// The sum of the weights of each batch of the current pass.
    pass: Vec<f64>,
}

impl Accumulation {
    /// Adds the buffer of the weights of updates.
    pub(super) fn new(
        network: &mut RecordedNetwork,
        data: &Dataset,
        weights: Option<&TargetWeights>,
        batches: usize,
    ) -> Accumulation {
        let (kind, element) = (Kind::Control, Element::Real);
        let program = &mut network.program;
        Accumulation {
            batches,
            update_weights: program.buffer("update_weights", kind, element, [HISTORY_ROWS]),
            sequences: sequence_weights(data, weights),
            pass: vec![],
        }
    }

    /// Starts a pass in this order, in batches of `batch` sequences.
    pub(super) fn begin(&mut self, order: &[u32], batch: usize) {
        let weight = |&sequence: &u32| self.sequences[sequence as usize];
        let batches = order.chunks(batch);
        self.pass = batches
            .map(|batch| batch.iter().map(weight).sum())
            .collect();
    }

    /// The number of batches of the pass that belong to the same update as batch `at`, from there
    /// on.
    pub(super) fn left_of_update(&self, at: usize) -> usize {
        (self.batches - at % self.batches).min(self.pass.len() - at)
    }

    /// Writes the weights of the updates of `count` batches from `first` on, the first of an
    /// update.
    pub(super) fn write(
        &self,
        executor: &mut dyn Executor,
        first: usize,
        count: usize,
    ) -> Result<()> {
        let updates = self.pass[first..first + count].chunks(self.batches);
        let weights = updates.flat_map(|batches| {
            let sum: f64 = batches.iter().sum();
            batches.iter().map(move |_| sum as f32)
        });
        let weights: Vec<f32> = weights.collect();
        executor.write(&self.update_weights.part(0, [count]), &weights)
    }

    /// The records of the updates of these batches, which begin with batch `first`.
    pub(super) fn merged(&self, first: usize, records: &[StepRecord]) -> Vec<StepRecord> {
        let weights = self.pass[first..].chunks(self.batches);
        let updates = records.chunks(self.batches).zip(weights);
        updates
            .map(|(records, weights)| merged(records, weights))
            .collect()
    }
}

/// The sum of the weights of each sequence's targets: without weights, their number.
fn sequence_weights(data: &Dataset, weights: Option<&TargetWeights>) -> Vec<f64> {
    let rows = if data.targets.per_step() {
        data.steps
    } else {
        1
    };
    let labels = data.labels();
    let one = |label: &u32| f32::from(u8::from(*label != IGNORE));
    let each = match weights {
        Some(weights) => weights.of_targets(data),
        None => labels.iter().map(one).collect(),
    };
    let sum = |row: &[f32]| row.iter().map(|&weight| f64::from(weight)).sum();
    each.chunks(rows).map(sum).collect()
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
