//! A loaded program that reads and writes slices of its element type.

use crate::backend::OpenDevice;
use crate::backend::cpu::Cpu;
use crate::backend::executor::Executor;
use crate::error::{Error, Result};
use crate::memory::LentTensor;
use crate::numeric::real::Real;
use crate::program::{Phase, Program};
use crate::tensor::{BufferId, Tensor};

/// An element type of layers: f32 on any device, f64 on the CPU.
pub trait LayerElement: Real + sealed::Sealed {
    #[doc(hidden)]
    const IS_ON_ANY_DEVICE: bool;
}

impl LayerElement for f32 {
    const IS_ON_ANY_DEVICE: bool = true;
}

impl LayerElement for f64 {
    const IS_ON_ANY_DEVICE: bool = false;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A program loaded on a device.
pub(super) enum Player<R: 'static> {
    Cpu(Box<Cpu<R>>),
    Device(Box<dyn Executor>),
}

impl<R: LayerElement> Player<R> {
    /// Loads `program` on `device`. Memory may be lent for the buffers in `lendable`, on the CPU.
    pub(super) fn load(
        device: &OpenDevice,
        program: &Program,
        lendable: &[BufferId],
    ) -> Result<Player<R>> {
        if matches!(device, OpenDevice::Cpu(_)) {
            let cpu = Cpu::with_lendable(program.clone(), lendable)?;
            return Ok(Player::Cpu(Box::new(cpu)));
        }
        if !R::IS_ON_ANY_DEVICE {
            return Err(Error::usage(
                "the elements are f64, which only the CPU computes; use f32, or the device `cpu`",
            ));
        }
        device.load(program).map(Player::Device)
    }

    /// Fills a tensor by `fill`, which receives its values on the CPU, and zeros elsewhere.
    pub(super) fn fill(&mut self, tensor: &Tensor, fill: impl FnOnce(&mut [R])) -> Result<()> {
        match self {
            Player::Cpu(cpu) => fill(&mut cpu.values_mut(tensor)),
            Player::Device(executor) => {
                let mut values = vec![R::zero(); tensor.len()];
                fill(&mut values);
                let values: Vec<f32> = values.iter().map(|value| value.f64() as f32).collect();
                executor.write(tensor, &values)?;
            }
        }
        Ok(())
    }

    /// Writes the values of a tensor; zeros for `None`.
    pub(super) fn write(&mut self, tensor: &Tensor, values: Option<&[R]>) -> Result<()> {
        self.fill(tensor, |to| match values {
            Some(values) => to.copy_from_slice(values),
            None => to.fill(R::zero()),
        })
    }

    pub(super) fn write_index(&mut self, tensor: &Tensor, values: &[u32]) -> Result<()> {
        match self {
            Player::Cpu(cpu) => cpu.write_index(tensor, values),
            Player::Device(executor) => executor.write_index(tensor, values),
        }
    }

    /// Runs a phase with memory of the host in the place of some tensors; of none on a device other
    /// than the CPU.
    pub(super) fn run(&mut self, phase: Phase, lent: Vec<LentTensor<R>>) -> Result<()> {
        match self {
            Player::Cpu(cpu) => cpu.run_lent(phase, lent),
            Player::Device(executor) => {
                assert!(lent.is_empty(), "a device has memory of its own");
                executor.run(&[phase], 1)?;
            }
        }
        Ok(())
    }

    /// Returns the bytes of the buffers of `program` that are allocated.
    pub(super) fn bytes(&self, program: &Program) -> u64 {
        match self {
            Player::Cpu(cpu) => cpu.bytes(),
            Player::Device(_) => program.bytes(size_of::<R>()),
        }
    }

    /// Passes the values of a tensor to `take`.
    pub(super) fn read(&mut self, tensor: &Tensor, take: impl FnOnce(&[R])) -> Result<()> {
        match self {
            Player::Cpu(cpu) => take(&cpu.values(tensor)),
            Player::Device(executor) => {
                let values = executor.read(tensor)?.into_iter();
                take(&values.map(|value| R::of(value.into())).collect::<Vec<R>>());
            }
        }
        Ok(())
    }
}
