//! The position of a run between two updates.

use serde::{Deserialize, Serialize};

use super::events::{EpochMetrics, LossReport};
use super::feed::{Feed, StepRecord};
use crate::network::{Network, Reads};

/// The position of a run between two updates, as a checkpoint stores it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Updates so far.
    pub step: usize,
    /// The finished epochs. Plateaus, early stopping and the best epoch follow from them.
    pub epochs: Vec<EpochMetrics>,
    /// Updates up to the end of the best epoch.
    pub best_step: Option<usize>,
    /// Sums over the steps of the epoch in progress.
    pub(super) totals: Totals,
    /// The sum of the losses since the last report.
    pub(super) unreported: f64,
}

impl Position {
    /// Counts an update with this loss. Returns the report that is due after it, if `every` N
    /// updates have one.
    pub(super) fn count_step(&mut self, loss: f32, every: Option<usize>) -> Option<LossReport> {
        self.step += 1;
        let (every, step_loss) = (every?, f64::from(loss));
        self.unreported += step_loss;
        self.step.is_multiple_of(every).then(|| LossReport {
            step: self.step,
            loss: std::mem::take(&mut self.unreported) / every as f64,
            step_loss,
        })
    }

    /// The index of the first epoch with the lowest monitored loss; 0 where there is no epoch.
    pub(super) fn best_epoch(&self) -> usize {
        let losses = self.epochs.iter().map(EpochMetrics::monitored_loss);
        let least = losses.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        least.map_or(0, |(epoch, _)| epoch)
    }

    /// Epochs since the best one.
    pub(super) fn stalled(&self) -> usize {
        self.epochs.len().saturating_sub(1 + self.best_epoch())
    }
}

/// Sums of the records of several steps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Totals {
    loss: f64,
    hits: f64,
    labelled: f64,
    last_loss: f64,
    last_labelled: f64,
}

impl Totals {
    pub(super) fn add(&mut self, record: &StepRecord) {
        let labelled = f64::from(record.labelled);
        self.loss += f64::from(record.loss) * labelled;
        self.hits += f64::from(record.hits);
        self.labelled += labelled;
        let last_labelled = f64::from(record.last_labelled);
        self.last_loss += f64::from(record.last_loss) * last_labelled;
        self.last_labelled += last_labelled;
    }

    /// Whether no output had a label.
    pub(super) fn is_empty(&self) -> bool {
        self.labelled == 0.0
    }

    /// Mean over the labelled outputs.
    pub(super) fn loss(&self) -> f64 {
        self.loss / self.labelled.max(1.0)
    }

    pub(super) fn accuracy(&self) -> f64 {
        self.hits / self.labelled.max(1.0)
    }

    /// Mean over the outputs at the last step of each sequence. `None` for a head that has no other
    /// outputs, and for sequences in chunks, where the last step is not recorded.
    pub(super) fn last_step_loss(&self, network: &Network, feed: &Feed) -> Option<f64> {
        let reads_every = network.head.reads == Reads::Every && feed.chunks() == 1;
        reads_every.then(|| self.last_loss / self.last_labelled.max(1.0))
    }
}
