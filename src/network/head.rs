//! The head: the linear layer over the hidden states, and its loss.

use serde::{Deserialize, Serialize};

use super::{Init, at_least_one};
use crate::error::Result;

/// The linear head: `y = h @ weight^T + bias`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// K: classes or output values.
    pub size: usize,
    /// The hidden states that it reads.
    #[serde(default)]
    pub reads: Reads,
    /// The loss that training minimises.
    pub loss: Loss,
    /// The initialisation of weights and bias (with H rows and K columns).
    #[serde(default)]
    pub init: Init,
}

impl Head {
    /// Checks the size; `path` is the field's.
    pub(super) fn validate(&self, path: &str) -> Result<()> {
        at_least_one(&format!("{path}.size"), self.size)
    }
}

/// The hidden states of the last layer that the head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reads {
    /// The state after the last valid step: one output per sequence.
    #[default]
    Last,
    /// The states of every step: one output per step.
    Every,
}

/// The loss that training minimises; both are means, as in TensorFlow and PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Loss {
    /// Softmax cross-entropy in nats, mean over the labelled outputs.
    CrossEntropy,
    /// Squared error, mean over all outputs and their K values.
    MeanSquaredError,
}
