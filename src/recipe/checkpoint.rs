//! When a run is saved.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::fields;

/// The most minutes between two checkpoints: a year.
const LONGEST_INTERVAL: f64 = 525_600.0;

/// When checkpoints are written, besides the end of each epoch and of the run, and how many are
/// kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointRecipe {
    /// Also after this many updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_steps: Option<usize>,
    /// Also after this many minutes without a checkpoint.
    pub every_minutes: f64,
    /// The number of most recent checkpoints to keep, besides that of the best epoch.
    pub keep: usize,
}

impl Default for CheckpointRecipe {
    fn default() -> Self {
        CheckpointRecipe {
            every_steps: None,
            every_minutes: 5.0,
            keep: 2,
        }
    }
}

impl CheckpointRecipe {
    /// Checks the fields.
    pub(super) fn validate(&self) -> Result<()> {
        fields::optional_count("checkpoint.every_steps", self.every_steps)?;
        let minutes = self.every_minutes;
        let is_allowed = minutes > 0.0 && minutes <= LONGEST_INTERVAL;
        let range = format!("above 0 and at most {LONGEST_INTERVAL}");
        fields::require(is_allowed, "checkpoint.every_minutes", minutes, &range)?;
        fields::count("checkpoint.keep", self.keep)
    }

    /// The time without a checkpoint after which one is written; the longest one for a value that
    /// is not allowed.
    pub(crate) fn interval(&self) -> Duration {
        Duration::try_from_secs_f64(60.0 * self.every_minutes).unwrap_or(Duration::MAX)
    }
}
