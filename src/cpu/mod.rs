//! The CPU executor: plays programs in `f32` for people without a GPU, and in `f64` to judge.

use crate::error::{Error, Result};
use crate::executor::{Executor, Memory};
use crate::program::{Phase, Program, Tensor};
use crate::real::Real;

/// A program loaded on the CPU.
#[derive(Debug)]
pub struct Cpu<R> {
    program: Program,
    memory: Memory<R>,
}

impl<R: Real> Cpu<R> {
    /// Loads `program`, its buffers zeroed.
    ///
    /// # Errors
    /// [`Error::Device`] where the machine has not the memory for it; nothing has been allocated then.
    pub fn new(program: Program) -> Result<Self> {
        check_host_memory(&program, size_of::<R>())?;
        let memory = Memory::new(&program);
        Ok(Cpu { program, memory })
    }

    /// Sets reals in this executor's own precision.
    pub fn write_exact(&mut self, tensor: &Tensor, values: &[R]) {
        self.memory.write(tensor).copy_from_slice(values);
    }

    /// Reads reals in this executor's own precision.
    pub fn read_exact(&self, tensor: &Tensor) -> Vec<R> {
        self.memory.read(tensor).to_vec()
    }
}

impl<R: Real> Executor for Cpu<R> {
    fn write(&mut self, tensor: &Tensor, values: &[f32]) -> Result<()> {
        check_length(tensor, values.len())?;
        let mut out = self.memory.write(tensor);
        out.iter_mut()
            .zip(values)
            .for_each(|(out, &value)| *out = R::of(f64::from(value)));
        Ok(())
    }

    fn write_index(&mut self, tensor: &Tensor, values: &[u32]) -> Result<()> {
        check_length(tensor, values.len())?;
        self.memory.write_index(tensor).copy_from_slice(values);
        Ok(())
    }

    fn run(&mut self, phases: &[Phase], times: usize) -> Result<()> {
        for _ in 0..times {
            for &phase in phases {
                self.program
                    .calls(phase)
                    .iter()
                    .for_each(|call| call.cpu(&self.memory));
            }
        }
        Ok(())
    }

    fn run_call(&mut self, phase: Phase, number: usize) -> Result<()> {
        self.program.calls(phase)[number].cpu(&self.memory);
        Ok(())
    }

    fn read(&mut self, tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(self
            .memory
            .read(tensor)
            .iter()
            .map(|value| value.f64() as f32)
            .collect())
    }

    fn read_index(&mut self, tensor: &Tensor) -> Result<Vec<u32>> {
        Ok(self.memory.read_index(tensor).to_vec())
    }
}

/// Refuses values that are not as many as the tensor takes.
pub(crate) fn check_length(tensor: &Tensor, values: usize) -> Result<()> {
    if tensor.len() == values {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{values} values do not fill a tensor of shape {:?}",
        tensor.shape
    )))
}

/// Refuses a program that this machine's memory cannot hold; small ones are not worth asking about.
pub(crate) fn check_host_memory(program: &Program, real_bytes: usize) -> Result<()> {
    if program.bytes(real_bytes) < 64 << 20 {
        return Ok(());
    }
    program.check_fits(real_bytes, available_memory(), "this machine")
}

/// Bytes that this machine can still hand out; all there could be where the system does not tell.
fn available_memory() -> u64 {
    let Ok(mut system) = sysinfo::System::new() else {
        return u64::MAX;
    };
    system.refresh_memory();
    let available = system.available_memory();
    system
        .cgroup_limits()
        .map_or(available, |limits| available.min(limits.free_memory))
}
