//! The CPU executor: plays programs in `f32` for people without a GPU, and in `f64` to judge.

pub(crate) mod ceilings;

use std::ops::Range;
use std::time::Instant;

use crate::backend::executor::{Executor, Span, Timing};
use crate::error::{Error, Result};
use crate::kernels::{self, Call};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::program::{Phase, Program};
use crate::tensor::Tensor;

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
    /// [`Error::OutOfMemory`] where the machine has not the memory for it; nothing has been allocated then.
    pub fn new(program: Program) -> Result<Self> {
        check_host_memory(&program, size_of::<R>())?;
        let memory = Memory::new(program.buffers());
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
        let Cpu { program, memory } = self;
        // On one of the threads that share the work: this one would sleep and be woken for each call.
        rayon::scope(move |_| {
            (0..times).for_each(|_| play(program, memory, phases, |_| ()));
        });
        Ok(())
    }

    fn time(&mut self, phases: &[Phase]) -> Result<Timing> {
        let start = Instant::now();
        let now = || start.elapsed().as_secs_f64();
        let Cpu { program, memory } = self;
        let calls = rayon::scope(move |_| {
            let (mut calls, mut begin) = (vec![], now());
            play(program, memory, phases, |played| {
                share(begin..now(), played, &mut calls);
                begin = now();
            });
            calls
        });
        let (begin, end) = (0.0, now());
        Ok(Timing {
            calls,
            host: vec![("run", Span { begin, end })],
        })
    }

    fn time_call(&mut self, phase: Phase, call: usize) -> Result<f64> {
        let start = Instant::now();
        self.program.calls(phase)[call].cpu(&self.memory);
        Ok(start.elapsed().as_secs_f64())
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

/// Plays phases; `played` sees the calls of each pass when it is over.
fn play<R: Real>(
    program: &Program,
    memory: &Memory<R>,
    phases: &[Phase],
    mut played: impl FnMut(&[Call]),
) {
    for &phase in phases {
        let mut left = program.calls(phase);
        while !left.is_empty() {
            let (together, behind) = left.split_at(kernels::play(left, memory));
            played(together);
            left = behind;
        }
    }
}

/// The times of calls that were played in one pass: of its time each has the part that its floating-point operations are of all.
fn share(time: Range<f64>, calls: &[Call], spans: &mut Vec<Option<Span>>) {
    let flops = |call: &Call| call.kernel().cost().flops;
    let all: f64 = calls.iter().map(flops).sum();
    let mut begin = time.start;
    for call in calls {
        let part = if calls.len() > 1 {
            flops(call) / all
        } else {
            1.0
        };
        let end = begin + part * (time.end - time.start);
        spans.push(Some(Span { begin, end }));
        begin = end;
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

/// Bytes of memory that this process has in use; `None` where the system does not tell.
pub(crate) fn resident_memory() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    let process = sysinfo::get_current_pid().ok()?;
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[process]), false);
    system.process(process).map(|process| process.memory())
}

/// What the CPU is called.
pub(crate) fn name() -> String {
    let Ok(mut system) = sysinfo::System::new() else {
        return "CPU".into();
    };
    system.refresh_cpu_all();
    let name = system.cpus().first().map(|cpu| cpu.brand().trim());
    name.filter(|name| !name.is_empty()).unwrap_or("CPU").into()
}
