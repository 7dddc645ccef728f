//! The head: the linear layer over the hidden states.

use serde::{Deserialize, Serialize};

use super::{Init, Loss, at_least_one};
use crate::error::{Error, Result};

/// The linear head: `y = h @ weight^T + bias`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The outputs: K classes, or those of K target values, which a loss may need several of for
    /// each.
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
        at_least_one(&format!("{path}.size"), self.size)?;
        self.loss.validate(&format!("{path}.loss"))?;
        if self.loss.takes_lists() && (self.reads != Reads::Every || self.size < 2) {
            return Err(Error::usage(format!(
                "{path}.loss is \"ctc\", which aligns labels with steps, so {path}.reads must be \
                 \"every\", and {path}.size at least 2: the blank and one label"
            )));
        }
        let each = self.loss.outputs_per_target();
        if self.size.is_multiple_of(each) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{path}.size is {}; the loss {} has {each} outputs for each target, so it must be a \
             multiple of {each}",
            self.size,
            self.loss.name()
        )))
    }

    /// Returns whether each step has a target, or else each sequence has one.
    pub fn has_target_per_step(&self) -> bool {
        self.reads.is_per_step() && !self.loss.takes_lists()
    }

    /// Returns K: classes, or values of a target.
    pub fn targets(&self) -> usize {
        self.size / self.loss.outputs_per_target()
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
    /// The mean of the outputs of the valid steps: one output per sequence.
    Mean,
    /// The maximum of each feature over the valid steps: one output per sequence. The first step
    /// that has it gets the gradient (`torch.max(dim)`, `nn.MaxPool1d`).
    Max,
    /// The sum of the outputs `h_t` of the valid steps, each times the softmax over the steps of
    /// `h_t . q`, which is not scaled: one output per sequence. The parameter `head.query` is q
    /// (attention with one learnt query; Luong et al. 2015 have the product, Yang et al. 2016 the
    /// learnt vector).
    Attention,
}

impl Reads {
    /// Every kind.
    pub const ALL: [Reads; 5] = [
        Reads::Last,
        Reads::Every,
        Reads::Mean,
        Reads::Max,
        Reads::Attention,
    ];

    /// Returns the name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Reads::Last => "last",
            Reads::Every => "every",
            Reads::Mean => "mean",
            Reads::Max => "max",
            Reads::Attention => "attention",
        }
    }

    /// Returns whether there is one output per step, or else one per sequence.
    pub fn is_per_step(self) -> bool {
        self == Reads::Every
    }

    /// Returns whether the steps of a sequence are reduced to one vector, which needs all of them.
    pub fn pools(self) -> bool {
        matches!(self, Reads::Mean | Reads::Max | Reads::Attention)
    }
}
