//! The kind of input that a network reads at one time step.

use serde::{Deserialize, Serialize};

use super::{Init, at_least_one};
use crate::error::{Error, Result};

/// The kind of input at one time step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Input {
    /// I values.
    #[default]
    Values,
    /// A token below V, read as a one-hot vector of V elements.
    OneHot,
    /// A token below V, replaced by its row of the table `embedding.weight` `[V, size]`. In a
    /// recipe: `input = { embedding = { size = 64 } }`.
    Embedding {
        size: usize,
        /// A token whose row starts as zeros and is not trained (PyTorch's `padding_idx`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        padding_idx: Option<u32>,
        /// The initialisation of the table; `torch` is normal with variance 1, as in PyTorch's
        /// `nn.Embedding`.
        #[serde(default)]
        init: Init,
        /// Whether the table is also the head's weights, `[K, features that the last layer emits]`:
        /// one parameter, whose gradient is the sum of both (Press & Wolf 2017,
        /// <https://arxiv.org/abs/1608.05859>). The head keeps its bias.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tied: bool,
    },
}

impl Input {
    /// Whether the inputs are values, not tokens.
    pub fn is_values(&self) -> bool {
        *self == Input::Values
    }

    /// Checks an embedding of `vocabulary` tokens; `path` is the field's.
    pub(super) fn validate(&self, path: &str, vocabulary: usize) -> Result<()> {
        let Input::Embedding {
            size, padding_idx, ..
        } = *self
        else {
            return Ok(());
        };
        at_least_one(&format!("{path}.embedding.size"), size)?;
        match padding_idx {
            Some(token) if token as usize >= vocabulary => Err(Error::invalid(
                format!("{path}.embedding.padding_idx"),
                token,
                format!("below the vocabulary's size, {vocabulary}"),
            )),
            _ => Ok(()),
        }
    }
}
