//! The processes of a distributed run that write nothing: all except rank 0.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{RunOptions, no_trainer};
use crate::backend::OpenDevice;
use crate::data::Splits;
use crate::distributed::Ranks;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::recipe::Recipe;
use crate::train::checkpoint::Checkpoint;
use crate::train::{Ending, Trainer};

/// Sends the recipe of rank 0, and the checkpoint that its run resumes from, to all processes.
///
/// # Errors
/// [`Error::Failed`] where a checkpoint cannot be written as bytes, or a process has ended.
pub fn send_start(
    ranks: &dyn Ranks,
    recipe: &Recipe,
    checkpoint: Option<&Checkpoint>,
) -> Result<()> {
    let recipe = recipe.to_toml()?.into_bytes();
    let mut bytes = (recipe.len() as u64).to_le_bytes().to_vec();
    bytes.extend(recipe);
    if let Some(checkpoint) = checkpoint {
        bytes.extend(checkpoint.to_bytes().map_err(Error::Failed)?);
    }
    ranks.gather(bytes).map(|_| ())
}

/// Returns what rank 0 sends by [`send_start`].
///
/// # Errors
/// [`Error::Failed`] for what is not understood, and where a process has ended.
pub fn receive_start(ranks: &dyn Ranks) -> Result<(Recipe, Option<Checkpoint>)> {
    let wrong = || Error::Failed("rank 0 sent a recipe that is not understood".into());
    let mut all = ranks.gather(vec![])?;
    let bytes = all.swap_remove(0);
    let (len, rest) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| wrong())?;
    let (recipe, checkpoint) = rest.split_at_checked(len).ok_or_else(wrong)?;
    let recipe = std::str::from_utf8(recipe).map_err(|_| wrong())?;
    let checkpoint = match checkpoint {
        [] => None,
        bytes => Some(Checkpoint::from_bytes(bytes).map_err(Error::Failed)?),
    };
    Ok((Recipe::parse(recipe, "the recipe of rank 0")?, checkpoint))
}

/// A process of a distributed run that computes its share and writes nothing.
pub struct FollowingRun {
    recipe: Recipe,
    data: Splits,
    device: OpenDevice,
    /// `None` after an error.
    trainer: Option<Trainer>,
    options: RunOptions,
}

impl FollowingRun {
    /// Loads the recipe's network and the data on the device, at the checkpoint or with the model
    /// that rank 0 begins with.
    ///
    /// # Errors
    /// Those of [`Trainer::load_shared`], [`Trainer::restore`] and [`Trainer::start_from`].
    pub fn new(
        recipe: &Recipe,
        data: &Splits,
        device: OpenDevice,
        options: RunOptions,
        (checkpoint, model): (Option<&Checkpoint>, Option<&Model>),
    ) -> Result<FollowingRun> {
        let ranks: Option<Arc<dyn Ranks>> = options.ranks.clone();
        let mut trainer = Trainer::load_shared(recipe, data, &device, ranks)?;
        if let Some(checkpoint) = checkpoint {
            trainer.restore(checkpoint)?;
        }
        if let Some(model) = model {
            trainer.start_from(model)?;
        }
        Ok(FollowingRun {
            recipe: recipe.clone(),
            data: data.clone(),
            device,
            trainer: Some(trainer),
            options,
        })
    }

    /// Trains as [`TrainingRun::train`](super::TrainingRun::train) does, without its files.
    ///
    /// # Errors
    /// Those of [`Trainer::run`].
    pub fn train(&mut self) -> Result<Ending> {
        loop {
            let error = match self.train_once() {
                Ok(ending) => return Ok(ending),
                Err(error) => error,
            };
            // Rank 0 ends all where the device fails again and again.
            if !self.options.can_continue_after(&error) {
                return Err(error);
            }
            self.restart_after(error)?;
        }
    }

    /// Opens the device again where it was lost, and loads the checkpoint that rank 0 goes back to.
    fn restart_after(&mut self, error: Error) -> Result<()> {
        // Frees the device memory before the next trainer allocates its own.
        self.trainer = None;
        self.options.reopen_after(error, &mut self.device)?;
        let ranks = self.options.ranks.clone();
        let checkpoint = match &ranks {
            Some(ranks) => receive_start(ranks.as_ref())?.1,
            None => None,
        };
        let mut trainer = Trainer::load_shared(&self.recipe, &self.data, &self.device, ranks)?;
        if let Some(checkpoint) = &checkpoint {
            trainer.restore(checkpoint)?;
        }
        self.trainer = Some(trainer);
        Ok(())
    }

    fn train_once(&mut self) -> Result<Ending> {
        let trainer = self.trainer.as_mut().ok_or_else(no_trainer)?;
        let stop = &self.options.stop;
        let flow = || {
            if stop.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let ending = trainer.run(&mut |_, _| Ok(flow()))?;
        if ending != Ending::Interrupted {
            trainer.test(&mut |_, _| Ok(flow()))?;
        }
        Ok(ending)
    }
}
