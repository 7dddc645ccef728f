//! Where a program is played: the choice of a device, opened.

use crate::cpu::{Cpu, check_host_memory};
use crate::device::Device;
use crate::error::Result;
use crate::executor::Executor;
use crate::gpu::executor::{Gpu, check_limits};
use crate::gpu::{Fault, GpuDevice};
use crate::model::Tuning;
use crate::program::Program;

/// An opened device, on which programs can be loaded.
pub enum Place {
    Cpu(Tuning),
    Gpu(Box<GpuDevice>),
}

impl Place {
    /// Opens what was chosen.
    ///
    /// # Errors
    /// [`Error::Device`](crate::error::Error::Device) where a GPU's driver refuses.
    pub fn open(device: &Device) -> Result<Place> {
        match device {
            Device::Cpu => Ok(Place::Cpu(Tuning::cpu())),
            Device::Gpu(index) => GpuDevice::open(*index).map(Box::new).map(Place::Gpu),
        }
    }

    /// What a recording has to know of it.
    pub fn tuning(&self) -> Tuning {
        match self {
            Place::Cpu(tuning) => *tuning,
            Place::Gpu(device) => device.tuning,
        }
    }

    /// The same with changes to how programs are played on it; see [`Tuning::set`].
    ///
    /// # Errors
    /// Those of [`Tuning::set`].
    pub fn tuned(mut self, settings: &[String]) -> Result<Place> {
        let tuning = match &mut self {
            Place::Cpu(tuning) => tuning,
            Place::Gpu(device) => &mut device.tuning,
        };
        settings
            .iter()
            .try_for_each(|setting| tuning.set(setting))?;
        Ok(self)
    }

    /// The same device, which this befalls; on the CPU nothing does.
    #[doc(hidden)]
    pub fn with_fault(self, fault: Fault) -> Place {
        match self {
            Place::Cpu(tuning) => Place::Cpu(tuning),
            Place::Gpu(device) => Place::Gpu(Box::new(device.with_fault(fault))),
        }
    }

    /// Refuses a program that the device cannot hold or play, by what it says of itself; nothing is allocated.
    ///
    /// # Errors
    /// [`Error::Device`](crate::error::Error::Device) with what was needed and what there is.
    pub fn check(&self, program: &Program) -> Result<()> {
        match self {
            Place::Cpu(_) => check_host_memory(program, size_of::<f32>()),
            Place::Gpu(device) => check_limits(device, program),
        }
    }

    /// Loads a program.
    ///
    /// # Errors
    /// [`Error::Device`](crate::error::Error::Device) where it does not fit.
    pub fn load(&self, program: &Program) -> Result<Box<dyn Executor>> {
        Ok(match self {
            Place::Cpu(_) => Box::new(Cpu::<f32>::new(program.clone())?),
            Place::Gpu(device) => Box::new(Gpu::new(device, program)?),
        })
    }
}
