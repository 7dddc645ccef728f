//! What a player outside of this program needs to play a trainer's run: the tensors that the host
//! reads and writes, and what it decides between two updates.

use std::ops::ControlFlow;

use super::Trainer;
use crate::data::Dataset;
use crate::error::Result;
use crate::rng::{Philox, Stream};
use crate::tensor::{Element, Tensor};
use crate::train::Event;
use crate::train::checksums::{DataChecksums, SplitChecksums};
use crate::train::feed::Feed;

/// The tensors of a recorded run that a host reads and writes.
pub(crate) struct PlayedRun<'a> {
    /// `[HISTORY_ROWS]`: the learning rates of the steps until the next readback.
    pub(crate) rates: Tensor,
    /// The moving average of the parameters, if the recipe has one.
    pub(crate) average: Option<Tensor>,
    /// The optimizer's moments with their names, and the average.
    pub(crate) moments: Vec<(&'static str, Tensor)>,
    /// The states that the next chunk begins with; none where a batch is one chunk.
    pub(crate) states: Vec<Tensor>,
    pub(crate) train: PlayedSplit<'a>,
    pub(crate) validation: Option<PlayedSplit<'a>>,
    pub(crate) test: Option<PlayedSplit<'a>>,
}

/// A split on the device.
pub(crate) struct PlayedSplit<'a> {
    pub(crate) feed: &'a Feed,
    pub(crate) data: &'a Dataset,
}

impl Trainer {
    /// Returns the tensors and the splits of the run.
    pub(crate) fn played(&self) -> PlayedRun<'_> {
        let validation = self
            .validation
            .as_ref()
            .zip(self.splits.validation.as_deref());
        let test = self.test.as_ref().zip(self.splits.test.as_deref());
        let chunks = self.train.chunks();
        let moments = self.update.moments.iter();
        let moments = moments.map(|each| (each.name, each.tensor));
        let states = self.network.recurrences().map(|layer| layer.states.last);
        PlayedRun {
            rates: self.update.rates,
            average: self.update.average(),
            moments: moments.collect(),
            states: states.filter(|_| chunks > 1).collect(),
            train: PlayedSplit {
                feed: &self.train,
                data: &self.splits.train,
            },
            validation: validation.map(|(split, data)| PlayedSplit {
                feed: &split.feed,
                data,
            }),
            test: test.map(|(split, data)| PlayedSplit {
                feed: &split.feed,
                data,
            }),
        }
    }

    /// Returns the bits of each buffer of the program.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn contents(&mut self) -> Result<Vec<Vec<u32>>> {
        let mut contents = vec![];
        for (id, buffer) in self.network.program.buffers().iter().enumerate() {
            let whole = self.network.program.whole(id);
            contents.push(match buffer.element {
                Element::Index => self.executor.read_index(&whole)?,
                Element::Real => {
                    let values = self.executor.read(&whole)?;
                    values.into_iter().map(f32::to_bits).collect()
                }
            });
        }
        Ok(contents)
    }

    /// Returns the order of the training sequences in an epoch, from 0.
    pub(crate) fn order_of_epoch(&self, epoch: usize) -> Vec<u32> {
        let mut shuffle = Philox::new(self.recipe.seed, Stream::Shuffle(epoch as u32));
        let mut order = shuffle.permutation(self.train.count());
        self.train.sort_batches(&self.splits.train, &mut order);
        order
    }

    /// Returns the learning rate of each update of the run, where no decision of training changes
    /// it.
    pub(crate) fn rates_of_run(&self) -> Vec<f32> {
        let each = self.train.steps();
        let steps = 0..self.last_step();
        steps.map(|step| self.rate_at(step, step / each)).collect()
    }

    /// Plays the first `count` updates, which may end in a later epoch, and returns their losses.
    ///
    /// # Errors
    /// Those of the device; [`Error::NotFinite`](crate::error::Error::NotFinite).
    pub(crate) fn first_losses(&mut self, count: usize) -> Result<Vec<f32>> {
        let mut losses = vec![];
        self.run_until(count, &mut |_, event| {
            if let Event::Progress(progress) = event {
                losses.extend(&progress.step_losses);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(losses)
    }

    /// The checksums of the splits.
    pub(crate) fn split_checksums(&self) -> Option<SplitChecksums> {
        match self.checksums {
            DataChecksums::Splits(splits) => Some(splits),
            DataChecksums::Train(_) => None,
        }
    }
}
