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
    Cpu,
    Gpu(Box<GpuDevice>),
}

impl Place {
    /// Opens what was chosen.
    ///
    /// # Errors
    /// [`Error::Device`](crate::error::Error::Device) where a GPU's driver refuses.
    pub fn open(device: &Device) -> Result<Place> {
        match device {
            Device::Cpu => Ok(Place::Cpu),
            Device::Gpu(index) => GpuDevice::open(*index).map(Box::new).map(Place::Gpu),
        }
    }

    /// What a recording has to know of it.
    pub fn tuning(&self) -> Tuning {
        match self {
            Place::Cpu => Tuning::cpu(),
            Place::Gpu(device) => device.tuning(),
        }
    }

    /// Loads a program.
    ///
    /// # Errors
    /// [`Error::Device`](crate::error::Error::Device) where it does not fit.
    pub fn load(&self, program: &Program) -> Result<Box<dyn Executor>> {
        Ok(match self {
            Place::Cpu => Box::new(Cpu::<f32>::new(program.clone())?),
            Place::Gpu(device) => Box::new(Gpu::new(device, program)?),
        })
    }
}
