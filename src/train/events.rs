//! What training reports to its observer.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::Trainer;
use super::heads::{HeadMetrics, HeadScores};
use super::scores::{Scores, SplitMetrics};
use crate::data::Split;
use crate::error::Result;

/// An event of training.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Some steps of an epoch are done.
    Progress(&'a Progress),
    /// Some sequences of the validation or the test split are evaluated. After a break, the epoch's
    /// evaluation starts anew.
    Evaluating { sequences: usize, total: usize },
    /// An epoch is over, with its evaluation.
    Epoch(&'a EpochMetrics),
}

/// A function that receives every event, and the trainer to save or to query. A break stops the run
/// after the current step.
pub type Observer<'a> = dyn FnMut(&mut Trainer, Event) -> Result<ControlFlow<()>> + 'a;

/// The progress of an epoch, reported a few times a second.
#[derive(Debug, Clone)]
pub struct Progress {
    /// From 1.
    pub epoch: usize,
    pub epochs: usize,
    /// Sequences of this epoch that are done.
    pub sequences: usize,
    /// Sequences of the whole epoch.
    pub total: usize,
    /// Mean over the epoch so far.
    pub loss: f64,
    /// Mean over the epoch so far.
    pub accuracy: Option<f64>,
    pub sequences_per_second: f64,
    /// The loss of each step since the last progress event.
    pub step_losses: Vec<f32>,
    /// The reports since the last progress event, where the recipe has `report_every`.
    pub reports: Vec<LossReport>,
    /// The scores of each of several heads over the epoch so far.
    pub heads: Vec<HeadScores>,
}

impl Progress {
    /// Loss and accuracy over the epoch so far.
    pub fn scores(&self) -> Scores {
        Scores {
            loss: self.loss,
            accuracy: self.accuracy,
            last_step_loss: None,
        }
    }
}

/// The mean loss of the last `report_every` updates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LossReport {
    /// Updates so far.
    pub step: usize,
    /// Mean loss of these updates.
    pub loss: f64,
    /// The loss of the last of them.
    #[serde(skip)]
    pub step_loss: f64,
}

/// The metrics of an epoch: one line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// From 1.
    pub epoch: usize,
    pub train_loss: f64,
    pub train_accuracy: Option<f64>,
    /// Mean over the outputs at the last step of each sequence, where the head reads every step. A
    /// forecast is judged by it.
    pub train_last_step_loss: Option<f64>,
    /// On the test split, where there is one and no validation split: with a validation split, the
    /// test split is scored once, at the end of the run, as [`TestMetrics`].
    pub test_loss: Option<f64>,
    pub test_accuracy: Option<f64>,
    pub test_last_step_loss: Option<f64>,
    /// On the validation split, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_last_step_loss: Option<f64>,
    /// The test loss in bits for each character, byte or word of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_bits: Option<f64>,
    /// Further metrics on the validation split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_metrics: Option<SplitMetrics>,
    /// Further metrics on the test split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_metrics: Option<SplitMetrics>,
    /// The metrics of each of several heads. The losses above are the sums of theirs, each times
    /// the head's weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<HeadMetrics>,
    /// Speed of training without evaluation; 0 for an epoch before a resume.
    pub sequences_per_second: f64,
    /// Training and evaluation together; 0 for an epoch before a resume.
    pub seconds: f64,
}

impl EpochMetrics {
    /// The loss that plateaus, early stopping and the best epoch are decided by: on the validation
    /// split; or else on the test split; or else in training.
    pub fn monitored_loss(&self) -> f64 {
        let evaluated = self.validation_loss.or(self.test_loss);
        evaluated.unwrap_or(self.train_loss)
    }

    /// The split that [`EpochMetrics::monitored_loss`] is of.
    pub fn monitored_split(&self) -> Split {
        if self.validation_loss.is_some() {
            Split::Validation
        } else if self.test_loss.is_some() {
            Split::Test
        } else {
            Split::Train
        }
    }

    /// The scores on the split that the loss is monitored on.
    pub fn monitored_scores(&self) -> Scores {
        let evaluated = self.validation_scores().or_else(|| self.test_scores());
        evaluated.unwrap_or_else(|| self.train_scores())
    }

    /// The scores on the validation split, where there is one.
    pub fn validation_scores(&self) -> Option<Scores> {
        Some(Scores {
            loss: self.validation_loss?,
            accuracy: self.validation_accuracy,
            last_step_loss: self.validation_last_step_loss,
        })
    }

    /// The scores on the training split.
    pub fn train_scores(&self) -> Scores {
        Scores {
            loss: self.train_loss,
            accuracy: self.train_accuracy,
            last_step_loss: self.train_last_step_loss,
        }
    }

    /// The scores on the test split, where there is one.
    pub fn test_scores(&self) -> Option<Scores> {
        Some(Scores {
            loss: self.test_loss?,
            accuracy: self.test_accuracy,
            last_step_loss: self.test_last_step_loss,
        })
    }
}

/// The scores of the finished model on the test split, where a validation split has chosen it: one
/// line of `metrics.jsonl`, after those of the epochs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestMetrics {
    /// Always `test`.
    pub split: TestSplitName,
    /// The epoch whose parameters are the model, from 1.
    pub epoch: usize,
    pub test_loss: f64,
    pub test_accuracy: Option<f64>,
    pub test_last_step_loss: Option<f64>,
    /// The test loss in bits for each character, byte or word of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_bits: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_metrics: Option<SplitMetrics>,
    /// The metrics of each of several heads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<HeadMetrics>,
}

/// The name of the split in a line of [`TestMetrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestSplitName {
    Test,
}

impl TestMetrics {
    /// Loss and accuracy.
    pub fn scores(&self) -> Scores {
        Scores {
            loss: self.test_loss,
            accuracy: self.test_accuracy,
            last_step_loss: self.test_last_step_loss,
        }
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The recipe's last update is done.
    Complete,
    /// The loss did not fall for the recipe's `patience`.
    Stalled,
    /// The observer stopped it.
    Interrupted,
}
