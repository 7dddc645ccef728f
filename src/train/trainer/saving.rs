//! Checkpoints and models of a trainer.

use super::{NOT_FINITE_ADVICE, Trainer};
use crate::data::preparation::{HeadPreparation, Preparation};
use crate::error::{Error, Result};
use crate::kernels::control;
use crate::model::Model;
use crate::tensor::Tensor;
use crate::train::checkpoint::{self, Checkpoint};
use crate::train::events::EpochMetrics;
use crate::train::fine_tuning::{FineTuning, StartParameters};
use crate::train::page_state::PageState;
use crate::train::position::Position;

impl Trainer {
    /// Returns the run at its current position, to be resumed later or on another device.
    ///
    /// # Errors
    /// [`Error::NotFinite`] where a parameter or a moment is not finite; those of the device.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut position = self.position.clone();
        position.forget_times();
        let moments = self.read_moments()?;
        // An observer of an evaluation sees the average in the place of the parameters.
        let parameters = match &self.trained {
            Some(trained) => trained.clone(),
            None => self.executor.read(&self.network.parameters)?,
        };
        for (name, values) in &moments {
            check_finite(position.step, name, values)?;
        }
        check_finite(position.step, "parameters", &parameters)?;
        Ok(Checkpoint {
            recipe: self.recipe.clone(),
            network: self.network.network.clone(),
            preparation: self.splits.preparation.clone(),
            position,
            data: self.checksums,
            metrics: None,
            parameters,
            moments,
            states: self.read_states()?,
            best: self.best.clone(),
        })
    }

    /// Begins with the parameters of a model, before the first update: those of embedding and
    /// recurrent layers, and those of the head where it has the model's shape and targets. Returns
    /// what is the model's and what is new.
    ///
    /// # Errors
    /// [`Error::Usage`] where the layers differ, with the tensor that does, and after the first
    /// update; those of the device.
    pub fn start_from(&mut self, model: &Model) -> Result<FineTuning> {
        if self.position.step > 0 {
            return Err(Error::usage(format!(
                "the run has made {} updates; a model is what a run begins with",
                self.position.step
            )));
        }
        let initial = self.executor.read(&self.network.parameters)?;
        let network = &self.network.network;
        let preparation = &self.splits.preparation;
        let start = StartParameters::new(network, &self.recipe, preparation, model, initial)?;
        self.executor.write(&self.network.parameters, &start.flat)?;
        if let Some(average) = self.update.average() {
            self.executor.write(&average, &start.flat)?;
        }
        Ok(start.tuning)
    }

    /// Checks that a checkpoint of this run can be read back.
    ///
    /// # Errors
    /// [`Error::Usage`] for a recipe or a preparation that is too large for a file.
    pub(crate) fn check_size(&self) -> Result<()> {
        let network = &self.network.network;
        checkpoint::check_size(&self.recipe, network, &self.splits.preparation)
    }

    /// The optimizer's moments, in the order of their names.
    fn read_moments(&mut self) -> Result<Vec<(String, Vec<f32>)>> {
        let mut moments = vec![];
        for moment in &self.update.moments {
            let values = self.executor.read(&moment.tensor)?;
            moments.push((moment.name.to_string(), values));
        }
        moments.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(moments)
    }

    /// The states that the next chunk begins with, of each layer; none between two batches.
    fn read_states(&mut self) -> Result<Vec<Vec<f32>>> {
        if self.position.step.is_multiple_of(self.train.chunks()) {
            return Ok(vec![]);
        }
        if let Some(states) = self.train.states() {
            return Ok(states);
        }
        let layers = self.network.recurrences();
        layers
            .map(|layer| self.executor.read(&layer.states.last))
            .collect()
    }

    /// Restores the position of `checkpoint`. On the device that made it, [`Trainer::run`] then
    /// continues bit for bit. The trainer's recipe must be the checkpoint's, except for the fields
    /// that [`Recipe::continues`] allows to change.
    ///
    /// # Errors
    /// [`Error::Usage`] where the recipe or the data differ; those of the device.
    ///
    /// [`Recipe::continues`]: crate::recipe::Recipe::continues
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.check_resumes(checkpoint)?;
        let has_states = self.train.restore_states(&checkpoint.states)?;
        for (tensor, values) in self.restored_tensors(checkpoint, has_states) {
            if tensor.len() != values.len() {
                return Err(Error::usage(format!(
                    "the checkpoint has {} values for a tensor of the network or its optimizer \
                     that has {}",
                    values.len(),
                    tensor.len()
                )));
            }
            self.executor.write(&tensor, values)?;
        }
        let steps = self.train.control().part(control::STEP, [1]);
        self.executor
            .write_index(&steps, &[checkpoint.position.step as u32])?;
        self.position = checkpoint.position.clone();
        self.best = checkpoint.best.clone();
        Ok(())
    }

    /// Restores the state that a page has saved, as [`Trainer::restore`] restores a checkpoint. The
    /// trainer must be new.
    ///
    /// # Errors
    /// Those of [`Trainer::restore`]; [`Error::Usage`] for a state of a part of the data.
    pub fn restore_page(&mut self, state: &PageState) -> Result<()> {
        let start = self.checkpoint()?;
        let checkpoint = state.checkpoint(start, self.monitored_split())?;
        self.restore(&checkpoint)
    }

    /// The metrics of the epochs of a page's state.
    pub(crate) fn epochs_of_page(&self, state: &PageState) -> Vec<EpochMetrics> {
        state.epochs(self.monitored_split(), self.is_text())
    }

    /// Returns an error for a checkpoint that this trainer cannot continue.
    fn check_resumes(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.recipe.continues(&checkpoint.recipe)?;
        let other_network = checkpoint.network != self.network.network;
        let other_splits = checkpoint.data.differing(&self.checksums);
        if other_network || !other_splits.is_empty() {
            let splits = if other_splits.is_empty() {
                "training".into()
            } else {
                other_splits.join(" and ")
            };
            return Err(Error::usage(format!(
                "the {splits} data are not those that the run began with, so it cannot be resumed \
                 with them; restore them, or begin a new run",
            )));
        }
        if checkpoint.preparation != self.splits.preparation {
            return Err(Error::usage(
                "the data are not those that the run began with: their classes, vocabulary, means \
                 or deviations differ; restore them, or begin a new run",
            ));
        }
        let Position { step, epochs, .. } = checkpoint.position;
        let last = self.last_step();
        if step > last {
            return Err(Error::usage(format!(
                "the run has made {step} updates, and with these epochs or steps it would end \
                 after {last}"
            )));
        }
        if step < epochs.saturating_mul(self.train.steps()) && step < last {
            return Err(Error::usage(format!(
                "the run ended in the middle of its epoch {epochs} because of `steps`, and was \
                 evaluated there; it cannot be extended",
            )));
        }
        Ok(())
    }

    /// The tensors that a checkpoint restores, with its values.
    fn restored_tensors<'a>(
        &self,
        checkpoint: &'a Checkpoint,
        has_states: bool,
    ) -> Vec<(Tensor, &'a [f32])> {
        let moment = |name: &str| {
            let mut moments = checkpoint.moments.iter();
            moments
                .find(|(other, _)| other == name)
                .map_or(&[][..], |(_, values)| values)
        };
        let moments = self.update.moments.iter();
        let moments = moments.map(|each| (each.tensor, moment(each.name)));
        let layers = self.network.recurrences().map(|layer| layer.states.last);
        let states = if has_states {
            &[][..]
        } else {
            &checkpoint.states
        };
        let states = layers.zip(states.iter().map(Vec::as_slice));
        let parameters = (self.network.parameters, checkpoint.parameters.as_slice());
        states.chain(moments).chain([parameters]).collect()
    }

    /// The model with the current parameters, or their average where the recipe has one, or with
    /// those after the best epoch where the recipe keeps these.
    ///
    /// # Errors
    /// Those of the device.
    pub fn model(&mut self) -> Result<Model> {
        let flat = match &self.best {
            Some(flat) => flat.clone(),
            None => self.model_parameters()?,
        };
        let network = self.network.network.clone();
        Ok(Model {
            parameters: network.to_parameters(&flat),
            network,
            recipe: self.recipe.clone(),
            preparation: self.model_preparation(),
        })
    }

    /// The preparation of the data, with the adjustment of the finished model's intervals.
    fn model_preparation(&self) -> Preparation {
        let mut preparation = self.splits.preparation.clone();
        let heads = self.network.network.heads.len();
        for adjusted in &self.intervals {
            // Data sets of a program have no preparation of heads.
            preparation.heads.resize(heads, HeadPreparation::default());
            let own = match preparation.heads.get_mut(adjusted.index) {
                Some(head) => &mut head.interval_adjustment,
                None => &mut preparation.interval_adjustment,
            };
            own.clone_from(&adjusted.added);
        }
        preparation
    }
}

/// Returns an error where one of the values is not finite.
fn check_finite(step: usize, name: &str, values: &[f32]) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(Error::NotFinite {
            step,
            problem: format!(
                "after step {step} of the run there is {value} among the {name}: \
                 {NOT_FINITE_ADVICE}"
            ),
        }),
    }
}
