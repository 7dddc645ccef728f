//! What the backward pass of a run computes again.

use serde::{Deserialize, Serialize};

/// Whether only the states before chunks of time are kept for the backward pass, which computes the
/// forward pass of each chunk again. The results have the same bits. Without a choice, they are
/// kept where the device cannot hold everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Recomputation {
    /// Everything is kept.
    Off,
    /// Chunks of about the square root of the steps (Chen et al. 2016).
    Sqrt,
}
