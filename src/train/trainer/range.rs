//! A trainer's range test of the learning rate.

use std::ops::ControlFlow;

use super::Trainer;
use crate::backend::OpenDevice;
use crate::data::Splits;
use crate::error::Result;
use crate::model::Model;
use crate::recipe::Recipe;
use crate::train::range_test::{RangeFinding, RangeTest};

impl RangeTest {
    /// Trains a recipe at rates that grow from update to update, in place of its own rate and
    /// schedule, until the loss diverges. `observe` receives the updates so far. Writes nothing.
    ///
    /// # Errors
    /// Those of [`RangeTest::validate`] and [`Trainer::load`]; those of the device.
    pub fn run(
        &self,
        recipe: &Recipe,
        data: &Splits,
        device: &OpenDevice,
        observe: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<RangeFinding> {
        self.run_from(None, recipe, data, device, observe)
    }

    /// [`RangeTest::run`], beginning with the parameters of a model, if there is one.
    ///
    /// # Errors
    /// Those of [`RangeTest::run`] and [`Trainer::start_from`].
    pub fn run_from(
        &self,
        model: Option<&Model>,
        recipe: &Recipe,
        data: &Splits,
        device: &OpenDevice,
        observe: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<RangeFinding> {
        self.validate()?;
        let data = Splits {
            test: None,
            validation: None,
            ..data.clone()
        };
        let mut trainer = Trainer::load(&self.recipe(recipe), &data, device)?;
        if let Some(model) = model {
            trainer.start_from(model)?;
        }
        let mut losses = vec![];
        let mut diverges = false;
        while losses.len() < self.steps && !diverges {
            trainer.begin_epoch()?;
            while trainer.train.done() < trainer.train.steps()
                && losses.len() < self.steps
                && !diverges
            {
                diverges = trainer.play_range(self, &mut losses)?;
                if observe(losses.len()).is_break() {
                    return Ok(self.finding(&losses, diverges));
                }
            }
            trainer.position.epochs += 1;
        }
        Ok(self.finding(&losses, diverges))
    }
}

impl Trainer {
    /// Plays the next submission of a range test and appends its losses. Returns whether the loss
    /// diverges.
    fn play_range(&mut self, test: &RangeTest, losses: &mut Vec<f64>) -> Result<bool> {
        let count = self.train_runner().next_count(test.steps - losses.len());
        let rates = (0..count).map(|n| test.rate(losses.len() + n) as f32);
        self.write_rates_of_steps(&rates.collect::<Vec<_>>())?;
        for record in self.train_runner().play(count)? {
            self.position.step += 1;
            let loss = f64::from(record.loss);
            if !loss.is_finite() {
                return Ok(true);
            }
            losses.push(loss);
            if RangeTest::diverges(losses) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
