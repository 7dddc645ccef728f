//! A trainer's step, played and timed by the profile and the benchmark.

use std::time::Duration;

use super::Trainer;
use crate::backend::executor::Executor;
use crate::data::Split;
use crate::distributed::to_bytes;
use crate::error::Result;
use crate::io::crc32;
use crate::record::RecordedNetwork;
use crate::train::clock::Instant;
use crate::train::feed::{HISTORY_ROWS, StepPace};

/// The time of an update of one of several processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpdateTime {
    pub(crate) whole: Duration,
    /// Gradients from the device to the host and back; 0 where the parts are not measured.
    pub(crate) transfer: Duration,
    /// Messages, and waiting for the other processes; 0 where the parts are not measured.
    pub(crate) messages: Duration,
}

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

    /// Plays the next update as training does, over the sequences in their own order, and returns
    /// its time. To measure its parts it waits for the device more often.
    ///
    /// # Errors
    /// Those of the device and of the other processes.
    pub(crate) fn play_update(&mut self, with_parts: bool) -> Result<UpdateTime> {
        if self.train.done() == 0 || self.train.done() == self.train.steps() {
            let order = (0..self.train.count() as u32).collect();
            self.train_runner().begin(order, 0)?;
        }
        if with_parts {
            self.train.measure_parts();
        } else {
            self.train.stop_measuring();
        }
        let start = Instant::now();
        self.write_rates(1)?;
        self.train_runner().play(1)?;
        let whole = start.elapsed();
        let parts = self.train.measure_parts();
        Ok(UpdateTime {
            whole,
            transfer: parts.transfer,
            messages: parts.messages,
        })
    }

    /// The checksum of the parameters.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn parameter_checksum(&mut self) -> Result<u32> {
        let parameters = self.executor.read(&self.network.parameters)?;
        Ok(crc32(&[&to_bytes(&parameters)]))
    }
}
