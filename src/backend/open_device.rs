//! An opened device, on which programs are loaded.

use super::adapter::AdapterSummary;
use super::cpu::Cpu;
use super::device::Device;
use super::executor::Executor;
use super::fault::Fault;
#[cfg(feature = "gpu")]
use super::gpu::{GpuDevice, executor::Gpu, limits::check_limits};
use super::host;
#[cfg(feature = "gpu")]
use super::interpreter::{Interpreter, InterpreterDevice};
use super::tuning::Tuning;
use crate::error::Result;
use crate::numeric::precision::Precision;
use crate::program::Program;

/// An opened device, on which programs can be loaded.
#[non_exhaustive]
pub enum OpenDevice {
    /// The CPU.
    Cpu(Tuning),
    /// A GPU.
    #[cfg(feature = "gpu")]
    Gpu(Box<GpuDevice>),
    /// The interpreter of WGSL, in the place of a GPU.
    #[cfg(feature = "gpu")]
    Interpreter(Box<InterpreterDevice>),
}

impl OpenDevice {
    /// Opens `device`.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`](crate::error::Error::UnknownDevice) if no adapter has the index,
    /// [`Error::Driver`](crate::error::Error::Driver) if the driver refuses, and
    /// [`Error::NoGpuSupport`](crate::error::Error::NoGpuSupport) for a GPU if the library was
    /// built without the feature `gpu`.
    pub fn open(device: &Device) -> Result<OpenDevice> {
        match device {
            Device::Cpu => Ok(OpenDevice::Cpu(Tuning::cpu())),
            #[cfg(feature = "gpu")]
            Device::Gpu(index) => GpuDevice::open(*index).map(Box::new).map(OpenDevice::Gpu),
            #[cfg(not(feature = "gpu"))]
            Device::Gpu(_) => Err(crate::error::Error::NoGpuSupport),
        }
    }

    /// The GPU's adapter; `None` for the CPU.
    pub fn adapter(&self) -> Option<&AdapterSummary> {
        match self {
            OpenDevice::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => Some(&device.summary),
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(device) => Some(&device.profile.adapter),
        }
    }

    /// Sizes and choices with which programs are recorded for this device.
    pub fn tuning(&self) -> Tuning {
        match self {
            OpenDevice::Cpu(tuning) => *tuning,
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => device.tuning,
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(device) => device.tuning,
        }
    }

    /// Returns the device with `settings` applied to its tuning; see [`Tuning::set`].
    ///
    /// # Errors
    /// Those of [`Tuning::set`].
    pub fn tuned(mut self, settings: &[String]) -> Result<OpenDevice> {
        #[cfg_attr(not(feature = "gpu"), allow(clippy::infallible_destructuring_match))]
        let tuning = match &mut self {
            OpenDevice::Cpu(tuning) => tuning,
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => &mut device.tuning,
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(device) => &mut device.tuning,
        };
        settings
            .iter()
            .try_for_each(|setting| tuning.set(setting))?;
        Ok(self)
    }

    /// Returns the device with matmuls of this precision, where no recipe decides it.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::error::Error::Usage) for a precision that the device lacks.
    pub fn with_precision(mut self, precision: Precision) -> Result<OpenDevice> {
        match &mut self {
            OpenDevice::Cpu(tuning) => {
                host::check_precision(precision, Precision::is_supported)?;
                tuning.precision = precision;
            }
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => {
                host::check_gpu_precision(precision, &device.summary.name)?;
            }
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(_) => {
                host::check_gpu_precision(precision, "the interpreter")?;
            }
        }
        Ok(self)
    }

    /// Returns another handle of the device.
    pub(crate) fn duplicate(&self) -> OpenDevice {
        match self {
            OpenDevice::Cpu(tuning) => OpenDevice::Cpu(*tuning),
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => OpenDevice::Gpu(device.clone()),
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(device) => OpenDevice::Interpreter(device.clone()),
        }
    }

    /// Returns the settings that `gatescan tune-device` has remembered for the device and its
    /// driver; `None` where there are none.
    pub fn remembered_settings(&self) -> Option<Vec<String>> {
        match self {
            OpenDevice::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => super::gpu::remembered::read(&device.summary),
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(_) => None,
        }
    }

    /// Returns the device with an injected fault. The CPU and the interpreter have no faults.
    #[doc(hidden)]
    #[cfg_attr(not(feature = "gpu"), expect(unused_variables))]
    pub fn with_fault(self, fault: Fault) -> OpenDevice {
        match self {
            OpenDevice::Cpu(tuning) => OpenDevice::Cpu(tuning),
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => OpenDevice::Gpu(Box::new(device.with_fault(fault))),
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(device) => OpenDevice::Interpreter(device),
        }
    }

    /// Bytes of memory in use: of this process for the CPU, of the driver's allocations for a GPU.
    /// `None` if the system or the driver does not report them.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn memory_in_use(&self) -> Result<Option<u64>> {
        match self {
            OpenDevice::Cpu(_) => Ok(host::resident_memory()),
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(_) => Ok(host::resident_memory()),
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => {
                // Waiting frees buffers that were dropped.
                device.wait()?;
                Ok(device.allocated_bytes())
            }
        }
    }

    /// Fails if `program` exceeds the device's limits or the host's memory. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::error::Error::OutOfMemory) or
    /// [`Error::LimitExceeded`](crate::error::Error::LimitExceeded);
    /// [`Error::Usage`](crate::error::Error::Usage) for a precision that the device lacks.
    pub fn check(&self, program: &Program) -> Result<()> {
        match self {
            OpenDevice::Cpu(_) => {
                host::check_precision(program.precision(), Precision::is_supported)?;
                host::check_memory(program, size_of::<f32>())
            }
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => check_limits(device, program),
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(_) => Interpreter::check_memory(program),
        }
    }

    /// Loads `program`, its buffers zeroed.
    ///
    /// # Errors
    /// Those of [`OpenDevice::check`], [`Error::OutOfMemory`](crate::error::Error::OutOfMemory)
    /// also if an allocation fails, and [`Error::Driver`](crate::error::Error::Driver).
    pub fn load(&self, program: &Program) -> Result<Box<dyn Executor>> {
        Ok(match self {
            OpenDevice::Cpu(_) => Box::new(Cpu::<f32>::new(program.clone())?),
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => Box::new(Gpu::new(device, program)?),
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(device) => Box::new(Interpreter::new(device, program)?),
        })
    }
}
