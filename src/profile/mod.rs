//! Profiles of a training step: the time of each kernel call by the device's clock, compared with
//! the device's measured ceilings.
//!
//! [`Profile::measure`] plays the step that [`Trainer`] records. [`Profile::trace`] shows it as a
//! trace, [`Profile::page`] as an HTML page, and [`Profile::compare`] beside another profile.

mod compare;
mod machine;
mod memory_use;
#[cfg(feature = "report")]
mod page;
mod site;
mod step;
mod timing;
mod trace;

pub use compare::{Change, Comparison};
pub use machine::Machine;
pub use memory_use::MemoryUse;
pub(crate) use site::measure_sites;
pub use site::{Bound, Site, SiteTime, SiteWork};
pub use step::StepProfile;
pub use timing::Clock;
pub(crate) use timing::step_calls;

use serde::{Deserialize, Serialize};

use crate::backend::OpenDevice;
use crate::backend::ceilings::Ceilings;
use crate::data::Splits;
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::train::Trainer;
use site::Sites;
use timing::{PlayedSteps, call_times};
use trace::{CallDescription, TraceEvent};

/// The profile of a recipe's training step on a device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Profile {
    /// The version of gatescan.
    pub version: String,
    /// The recipe's name.
    pub recipe: String,
    pub machine: Machine,
    pub ceilings: Ceilings,
    /// The number of profiled steps.
    pub steps: usize,
    /// T and B.
    pub batch: [usize; 2],
    pub sites: Vec<Site>,
    pub step: StepProfile,
    #[serde(rename = "held")]
    pub memory: MemoryUse,
    /// The events of all profiled steps; not in the JSON.
    #[serde(skip)]
    events: Vec<TraceEvent>,
    /// The calls of a step, in order; not in the JSON.
    #[serde(skip)]
    calls: Vec<CallDescription>,
}

/// Options of a profile.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The number of steps to profile.
    pub steps: usize,
    /// The preferred clock. Calls without usable times on the device's clock are timed by the
    /// host's.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            steps: 20,
            clock: Clock::Device,
        }
    }
}

impl Profile {
    /// Measures the device's ceilings, and then the recipe's training step on `data`.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for 0 steps; those of [`Trainer::load`] and of the device.
    pub fn measure(
        recipe: &Recipe,
        data: &Splits,
        device: &OpenDevice,
        options: Options,
    ) -> Result<Profile> {
        if options.steps == 0 {
            return Err(Error::invalid("steps", 0, "at least 1"));
        }
        let ceilings = Ceilings::of(device)?;
        let before = device.memory_in_use()?;
        let mut trainer = Trainer::load(recipe, data, device)?;
        let played = PlayedSteps::play(&mut trainer, options)?;
        let allocated = device
            .memory_in_use()?
            .zip(before)
            .map(|(after, before)| after.saturating_sub(before));
        let times = call_times(&mut trainer, &played, &ceilings, options.clock)?;

        let model = trainer.recording();
        let program = &model.program;
        let sites = Sites {
            program,
            profiled_steps: options.steps,
            time_steps: model.steps,
            ceilings: &ceilings,
        };
        Ok(Profile {
            version: env!("CARGO_PKG_VERSION").into(),
            recipe: recipe.name.clone(),
            machine: Machine::of(device),
            ceilings,
            steps: options.steps,
            batch: [model.steps, model.batch],
            sites: sites.measured(&times),
            step: StepProfile::new(&trainer, &played, &times),
            memory: MemoryUse::new(program, allocated),
            events: trace::events(program, &played.profiled),
            calls: trace::call_descriptions(program),
        })
    }

    /// Returns the time of all kernels as a fraction of the device's time from the first call's
    /// beginning to the last call's end; `None` where the device's clock did not time all calls.
    pub fn covered(&self) -> Option<f64> {
        let device = self.step.device_ms?;
        Some(self.step.kernels_ms.median / device.median)
    }
}
