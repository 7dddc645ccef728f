//! Metrics of texts, which follow from the mean loss.

use std::f64::consts::LN_2;

/// The metrics of a model of a text, for each character, byte or word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextMetrics {
    pub bits: f64,
    pub perplexity: f64,
}

impl TextMetrics {
    /// The metrics of a mean cross-entropy with natural logarithms.
    pub fn of(loss: f64) -> TextMetrics {
        TextMetrics {
            bits: bits(loss),
            perplexity: perplexity(loss),
        }
    }
}

/// Returns a mean cross-entropy with natural logarithms in bits for each token (Graves 2013).
pub fn bits(loss: f64) -> f64 {
    loss / LN_2
}

/// Returns the perplexity of a mean cross-entropy with natural logarithms: e^loss (Jelinek et al.
/// 1977).
pub fn perplexity(loss: f64) -> f64 {
    loss.exp()
}
