//! The position of a run between two updates.

use serde::{Deserialize, Serialize};

use super::events::{EpochMetrics, LossReport};
use super::feed::{Feed, StepRecord};
use crate::network::Network;
use crate::recipe::schedule::{Plateaus, Schedule};

/// The position of a run between two updates, as a checkpoint stores it. Its size does not depend
/// on the length of the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Updates so far.
    pub step: usize,
    /// Finished epochs.
    pub epochs: usize,
    /// The first epoch with the lowest monitored loss. Early stopping follows from it.
    pub best: Option<EpochMetrics>,
    /// The last finished epoch.
    pub last: Option<EpochMetrics>,
    /// Updates up to the end of the best epoch.
    pub best_step: Option<usize>,
    pub(super) plateaus: Plateaus,
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

    /// Counts a finished epoch. Returns whether it is the best so far.
    pub(super) fn count_epoch(&mut self, metrics: &EpochMetrics, schedule: &Schedule) -> bool {
        let loss = metrics.monitored_loss();
        let best = self.best.as_ref().map(EpochMetrics::monitored_loss);
        let is_best = best.is_none_or(|best| loss.total_cmp(&best).is_lt());
        self.epochs += 1;
        self.last = Some(metrics.clone());
        if is_best {
            self.best = Some(metrics.clone());
        }
        schedule.count_epoch(&mut self.plateaus, loss);
        is_best
    }

    /// Epochs since the best one.
    pub(super) fn stalled(&self) -> usize {
        let best = self.best.as_ref().map_or(1, |best| best.epoch);
        self.epochs.saturating_sub(best)
    }

    /// Forgets how long epochs took: the same run has the same position, however long it took.
    pub(super) fn forget_times(&mut self) {
        for epoch in self.best.iter_mut().chain(&mut self.last) {
            (epoch.sequences_per_second, epoch.seconds) = (0.0, 0.0);
        }
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
    /// The totals of each of several heads, whose losses are times its weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<Totals>,
}

impl Totals {
    /// Sums of loss, hits and labelled outputs; then of loss and labelled outputs of last steps.
    pub(super) fn of_sums([loss, hits, labelled]: [f64; 3], last: [f64; 2]) -> Totals {
        let [last_loss, last_labelled] = last;
        Totals {
            loss,
            hits,
            labelled,
            last_loss,
            last_labelled,
            heads: vec![],
        }
    }

    /// The same with the totals of each of several heads.
    pub(super) fn with_heads(self, heads: Vec<Totals>) -> Totals {
        Totals { heads, ..self }
    }

    pub(super) fn add(&mut self, record: &StepRecord) {
        self.heads.resize(record.heads.len(), Totals::default());
        let heads = self.heads.iter_mut().zip(&record.heads);
        heads.for_each(|(totals, record)| totals.add(record));
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

    /// The totals of each of several heads.
    pub(super) fn heads(&self) -> &[Totals] {
        &self.heads
    }

    /// Mean over the labelled outputs; of several heads, the sum of their means.
    pub(super) fn loss(&self) -> f64 {
        if self.heads.is_empty() {
            self.loss / self.labelled.max(1.0)
        } else {
            self.heads.iter().map(Totals::loss).sum()
        }
    }

    pub(super) fn accuracy(&self) -> f64 {
        self.hits / self.labelled.max(1.0)
    }

    /// Mean over the outputs at the last step of each sequence. `None` for a head that has no other
    /// outputs, and for sequences in chunks, where the last step is not recorded.
    pub(super) fn last_step_loss(&self, network: &Network, feed: &Feed) -> Option<f64> {
        let reads_every = network.head.has_target_per_step() && feed.chunks() == 1;
        (reads_every && network.heads.is_empty())
            .then(|| self.last_loss / self.last_labelled.max(1.0))
    }
}

/// The position as files of version 1 have it, with the metrics of all epochs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PositionWithHistory {
    step: usize,
    epochs: Vec<EpochMetrics>,
    best_step: Option<usize>,
    totals: Totals,
    unreported: f64,
}

impl PositionWithHistory {
    /// The position of a run with this schedule.
    pub(super) fn position(self, schedule: &Schedule) -> Position {
        let mut position = Position {
            step: self.step,
            best_step: self.best_step,
            totals: self.totals,
            unreported: self.unreported,
            ..Position::default()
        };
        for epoch in &self.epochs {
            position.count_epoch(epoch, schedule);
        }
        position
    }
}
