//! Dropout of a layer.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Dropout of a layer, in training only. Kept elements are scaled by one over their probability, so
/// that means do not change (TensorFlow's `DropoutWrapper`). PyTorch's `dropout=p` is
/// `output_keep_prob = 1 - p` in every layer except the last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dropout {
    /// The probability to keep an element of the layer's inputs. Both directions of a bidirectional
    /// layer share one mask.
    pub input_keep_prob: f64,
    /// The probability to keep an element of the layer's outputs; the state is not affected. A head
    /// that reads the last states has its own masks for them.
    pub output_keep_prob: f64,
    /// The probability to keep an element of the h that the next step reads; an LSTM's c and the
    /// layer's outputs are not affected.
    pub state_keep_prob: f64,
    /// The steps and sequences that share a mask.
    pub mask: MaskSharing,
}

/// The steps and sequences that share a dropout mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MaskSharing {
    /// Every step of every sequence has its own mask.
    #[default]
    EachStep,
    /// Every sequence has its own mask for all its steps: variational dropout (Gal & Ghahramani
    /// 2016).
    EachSequence,
    /// Every batch has its own mask for all steps and sequences (TensorFlow's
    /// `variational_recurrent`).
    EachBatch,
}

impl Default for Dropout {
    fn default() -> Self {
        Dropout {
            input_keep_prob: 1.0,
            output_keep_prob: 1.0,
            state_keep_prob: 1.0,
            mask: MaskSharing::EachStep,
        }
    }
}

impl Dropout {
    /// Whether no dropout is configured.
    pub fn is_none(&self) -> bool {
        *self == Dropout::default()
    }

    /// Checks the probabilities; `path` is the field's.
    pub(super) fn validate(&self, path: &str) -> Result<()> {
        for (name, keep) in [
            ("input_keep_prob", self.input_keep_prob),
            ("output_keep_prob", self.output_keep_prob),
            ("state_keep_prob", self.state_keep_prob),
        ] {
            if !(keep > 0.0 && keep <= 1.0) {
                let allowed = "above 0 and at most 1: the probability to keep an element";
                return Err(Error::invalid(format!("{path}.{name}"), keep, allowed));
            }
        }
        Ok(())
    }
}
