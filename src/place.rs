//! Where a program is played: the choice of a device, opened.

use crate::cpu::Cpu;
use crate::device::Device;
use crate::error::Result;
use crate::executor::Executor;
use crate::gpu::GpuDevice;
use crate::gpu::executor::Gpu;
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
