//! When a run is saved.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::fields;

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
        fields::positive("checkpoint.every_minutes", self.every_minutes)?;
        fields::count("checkpoint.keep", self.keep)
    }
}
