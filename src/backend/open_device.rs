//! Where a program is played: the choice of a device, opened.

use super::device::Device;
use crate::backend::cpu::{Cpu, check_host_memory};
use crate::backend::executor::Executor;
use crate::backend::gpu::executor::{Gpu, check_limits};
use crate::backend::gpu::{Fault, GpuDevice};
use crate::backend::tuning::Tuning;
use crate::error::Result;
use crate::program::Program;

/// An opened device, on which programs can be loaded.
pub enum OpenDevice {
    Cpu(Tuning),
    Gpu(Box<GpuDevice>),
}

impl OpenDevice {
    /// Opens what was chosen.
    ///
    /// # Errors
    /// [`Error::Driver`](crate::error::Error::Driver) where a GPU's driver refuses.
    pub fn open(device: &Device) -> Result<OpenDevice> {
        match device {
            Device::Cpu => Ok(OpenDevice::Cpu(Tuning::cpu())),
            Device::Gpu(index) => GpuDevice::open(*index).map(Box::new).map(OpenDevice::Gpu),
        }
    }

    /// What a recording has to know of it.
    pub fn tuning(&self) -> Tuning {
        match self {
            OpenDevice::Cpu(tuning) => *tuning,
            OpenDevice::Gpu(device) => device.tuning,
        }
    }

    /// The same with changes to how programs are played on it; see [`Tuning::set`].
    ///
    /// # Errors
    /// Those of [`Tuning::set`].
    pub fn tuned(mut self, settings: &[String]) -> Result<OpenDevice> {
        let tuning = match &mut self {
            OpenDevice::Cpu(tuning) => tuning,
            OpenDevice::Gpu(device) => &mut device.tuning,
        };
        settings
            .iter()
            .try_for_each(|setting| tuning.set(setting))?;
        Ok(self)
    }

    /// The same device, which this befalls; on the CPU nothing does.
    #[doc(hidden)]
    pub fn with_fault(self, fault: Fault) -> OpenDevice {
        match self {
            OpenDevice::Cpu(tuning) => OpenDevice::Cpu(tuning),
            OpenDevice::Gpu(device) => OpenDevice::Gpu(Box::new(device.with_fault(fault))),
        }
    }

    /// Refuses a program that the device cannot hold or play, by what it says of itself; nothing is allocated.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::error::Error::OutOfMemory) with what was needed and what there is.
    pub fn check(&self, program: &Program) -> Result<()> {
        match self {
            OpenDevice::Cpu(_) => check_host_memory(program, size_of::<f32>()),
            OpenDevice::Gpu(device) => check_limits(device, program),
        }
    }

    /// Loads a program.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::error::Error::OutOfMemory) where it does not fit.
    pub fn load(&self, program: &Program) -> Result<Box<dyn Executor>> {
        Ok(match self {
            OpenDevice::Cpu(_) => Box::new(Cpu::<f32>::new(program.clone())?),
            OpenDevice::Gpu(device) => Box::new(Gpu::new(device, program)?),
        })
    }
}
