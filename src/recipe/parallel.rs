//! How a batch is divided into parts that are computed one by one, or by several processes.

use serde::{Deserialize, Serialize};

use super::{MOST_ACCUMULATED, Recipe};
use crate::error::{Error, Result};
use crate::fields;

/// How a batch is divided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParallelRecipe {
    /// M: the parts of a batch, a power of two. Each has `batch_size / M` sequences. Their
    /// gradients are added in a binary tree, so that the update has the same bits whatever the
    /// number of processes that share the parts.
    pub micro_batches: usize,
}

impl Default for ParallelRecipe {
    fn default() -> Self {
        ParallelRecipe { micro_batches: 1 }
    }
}

impl Recipe {
    /// Checks the division of a batch.
    pub(super) fn validate_parallel(&self) -> Result<()> {
        let parts = self.parallel.micro_batches;
        let range = format!("a power of two, at least 1 and at most {MOST_ACCUMULATED}");
        let is_allowed = parts.is_power_of_two() && parts <= MOST_ACCUMULATED;
        fields::require(is_allowed, "parallel.micro_batches", parts, &range)?;
        if parts == 1 {
            return Ok(());
        }
        if !self.batch_size.is_multiple_of(parts) {
            let next = self.batch_size.next_multiple_of(parts);
            return Err(Error::usage(format!(
                "batch_size is {}, and parallel.micro_batches divides it into {parts} equal \
                 parts; use a batch_size that {parts} divides, such as {next}, or fewer parts",
                self.batch_size
            )));
        }
        if self.accumulate.is_some_and(|batches| batches > 1) {
            return Err(Error::usage(
                "accumulate and parallel.micro_batches are both set, and both make an update of \
                 several parts; leave out accumulate and multiply batch_size and \
                 parallel.micro_batches by it",
            ));
        }
        Ok(())
    }
}
