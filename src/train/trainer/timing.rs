//! A trainer's step, played and timed by the profile and the benchmark.

use super::Trainer;
use crate::backend::executor::Executor;
use crate::data::Split;
use crate::error::Result;
use crate::record::RecordedNetwork;
use crate::train::feed::{HISTORY_ROWS, StepPace};

impl Trainer {
    /// The recorded step.
    pub(crate) fn recording(&self) -> &RecordedNetwork {
        &self.network
    }

    /// Sequences per step: a batch, or with chunks a part of one.
    pub(crate) fn sequences_per_step(&self) -> f64 {
        self.network.batch as f64 / self.train.chunks() as f64
    }

    /// Starts a pass over a split and returns the executor, for callers that play the steps
    /// themselves, and how many steps can be played.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::error::Error::Usage) where there is no test split; those of the
    /// device.
    pub(crate) fn rewind(&mut self, split: Split) -> Result<(&mut dyn Executor, usize)> {
        let steps = self.runner(split)?.feed.steps();
        self.write_rates(steps.min(HISTORY_ROWS))?;
        let mut runner = self.runner(split)?;
        let ready = runner.rewind()?;
        Ok((runner.into_executor(), ready))
    }

    /// Plays a split's first `count` steps in one submission, waits, and returns their times.
    ///
    /// # Errors
    /// Those of [`Trainer::rewind`].
    pub(crate) fn play(&mut self, split: Split, count: usize) -> Result<StepPace> {
        self.rewind(split)?;
        self.runner(split)?.time(count)
    }
}
