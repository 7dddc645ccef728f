//! Loss and accuracy of a model on a split, and how they are written.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::metrics::ListMetrics;

/// Loss and accuracy on a split. Displayed as `loss 0.1234 accuracy 0.9512 last step 2.345e-4`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    pub loss: f64,
    /// Fraction of correct classes; none for targets that are values.
    pub accuracy: Option<f64>,
    /// Mean over the outputs at the last step of each sequence, where the head reads every step.
    pub last_step_loss: Option<f64>,
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss {}", loss_text(self.loss))?;
        if let Some(accuracy) = self.accuracy {
            write!(f, " accuracy {accuracy:.4}")?;
        }
        if let Some(loss) = self.last_step_loss {
            write!(f, " last step {}", loss_text(loss))?;
        }
        Ok(())
    }
}

/// Further metrics on a split that need no second pass over it; those that do not apply are absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SplitMetrics {
    /// The mean recall of the classes that occur.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balanced_accuracy: Option<f64>,
    /// The mean F1 of the classes that occur or are predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// Errors for each label of lists of labels, by the likeliest class at each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_error_rate: Option<f64>,
    /// The share of the lists of labels without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_accuracy: Option<f64>,
    /// The root of the mean squared error in the units of the data, at the last step of each
    /// sequence where there is a target at every step; of one target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
    /// The mean absolute error, as `rmse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mae: Option<f64>,
    /// The coefficient of determination, of the same values; absent where all targets are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r2: Option<f64>,
    /// e to the power of the loss, for a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// Of a text: the loss in bits for each character, byte or word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<f64>,
}

impl SplitMetrics {
    /// The metrics of lists of labels alone.
    pub(super) fn of_lists(lists: Option<ListMetrics>) -> SplitMetrics {
        SplitMetrics {
            label_error_rate: lists.and_then(|lists| lists.label_error_rate),
            sequence_accuracy: lists.map(|lists| lists.sequence_accuracy),
            ..SplitMetrics::default()
        }
    }

    /// The metrics, if there is any.
    pub(super) fn non_empty(self) -> Option<SplitMetrics> {
        (self != SplitMetrics::default()).then_some(self)
    }
}

/// A loss with four digits; one between -0.01 and 0.01, as squared errors often are, in scientific
/// notation.
pub fn loss_text(loss: f64) -> String {
    if loss.abs() < 0.01 {
        format!("{loss:.3e}")
    } else {
        format!("{loss:.4}")
    }
}
