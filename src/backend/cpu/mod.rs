//! The CPU executor: runs programs in `f32` for training and in `f64` as the reference.

pub(crate) mod ceilings;

use std::cell::{Ref, RefMut};
use std::ops::Range;
use std::time::Instant;

use super::executor::{Executor, Span, Timing, check_length};
use super::host;
use crate::error::Result;
use crate::kernels::{self, Call, PreparedCalls, RunCalls};
use crate::memory::{LentTensor, Memory};
use crate::numeric::real::Real;
use crate::program::{Phase, Program};
use crate::tensor::{BufferId, Tensor};

/// Returns the number of threads that compute: `RAYON_NUM_THREADS`, or one for each core, and never
/// more than there are cores for this process. More would take turns on the cores, and those that
/// wait for work would take time from those that have it. Results do not depend on the number.
pub fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    wanted_threads(std::env::var("RAYON_NUM_THREADS").ok().as_deref(), cores)
}

/// Returns the threads for a value of `RAYON_NUM_THREADS`; 0 stands for all cores, as for rayon.
fn wanted_threads(variable: Option<&str>, cores: usize) -> usize {
    let wanted = variable.and_then(|value| value.trim().parse().ok());
    wanted
        .filter(|&threads| threads > 0)
        .map_or(cores, |threads: usize| threads.min(cores))
}

/// A program loaded on the CPU, with real elements of type `R`.
#[derive(Debug)]
pub struct Cpu<R: 'static> {
    program: Program,
    memory: Memory<'static, R>,
    prepared: Option<PreparedPhase<R>>,
}

/// A phase whose calls are prepared.
#[derive(Debug)]
struct PreparedPhase<R> {
    phase: Phase,
    calls: Box<dyn RunCalls<R>>,
    /// What the calls were prepared from.
    constant: Tensor,
}

impl<R: Real> Cpu<R> {
    /// Loads `program`, its buffers zeroed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::error::Error::OutOfMemory) if the machine lacks the memory,
    /// before anything is allocated; [`Error::Usage`](crate::error::Error::Usage) for a precision
    /// that the processor lacks.
    pub fn new(program: Program) -> Result<Self> {
        Cpu::with_lendable(program, &[])
    }

    /// Loads `program`. The buffers in `lendable`, for which the host may lend memory, are
    /// allocated when they are first written.
    ///
    /// # Errors
    /// Those of [`Cpu::new`].
    pub(crate) fn with_lendable(program: Program, lendable: &[BufferId]) -> Result<Self> {
        host::check_precision(program.precision(), R::supports)?;
        host::check_memory(&program, size_of::<R>())?;
        let memory = Memory::new(program.buffers(), program.precision(), lendable);
        Ok(Cpu {
            program,
            memory,
            prepared: None,
        })
    }

    /// Borrows the values of a tensor mutably.
    fn change(&mut self, tensor: &Tensor) -> RefMut<'_, [R]> {
        let is_read = |prepared: &mut PreparedPhase<R>| prepared.constant.buffer == tensor.buffer;
        self.prepared.take_if(is_read);
        self.memory.write(tensor)
    }

    /// Copies `values` into a tensor without rounding them to f32.
    pub fn write_exact(&mut self, tensor: &Tensor, values: &[R]) {
        self.change(tensor).copy_from_slice(values);
    }

    /// Borrows the values of a tensor.
    pub(crate) fn values(&self, tensor: &Tensor) -> Ref<'_, [R]> {
        self.memory.read(tensor)
    }

    /// Borrows the values of a tensor mutably.
    pub(crate) fn values_mut(&mut self, tensor: &Tensor) -> RefMut<'_, [R]> {
        self.change(tensor)
    }

    /// Runs a phase with memory of the host in the place of some tensors.
    pub(crate) fn run_lent(&mut self, phase: Phase, lent: Vec<LentTensor<R>>) {
        self.prepared = None;
        let Cpu {
            program, memory, ..
        } = self;
        memory.lend(lent, |memory| {
            rayon::scope(move |_| run_phases(program, memory, &[phase], |_| ()));
        });
    }

    /// Returns the bytes that are allocated for buffers.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// Returns a copy of a tensor without rounding it to f32.
    pub fn read_exact(&self, tensor: &Tensor) -> Vec<R> {
        self.memory.read(tensor).to_vec()
    }
}

impl<R: Real> Executor for Cpu<R> {
    fn write(&mut self, tensor: &Tensor, values: &[f32]) -> Result<()> {
        check_length(tensor, values.len())?;
        let mut out = self.change(tensor);
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

    fn prepare(&mut self, phase: Phase, constant: &Tensor) {
        let calls = self.program.calls(phase);
        self.prepared = Some(PreparedPhase {
            phase,
            calls: Box::new(PreparedCalls::new(calls, &self.memory, constant)),
            constant: *constant,
        });
    }

    fn run(&mut self, phases: &[Phase], times: usize) -> Result<()> {
        // Other phases may write what the calls were prepared from.
        self.prepared
            .take_if(|prepared| *phases != [prepared.phase]);
        if self.prepared.is_some() {
            self.run_prepared(times);
            return Ok(());
        }
        let Cpu {
            program, memory, ..
        } = self;
        // Run inside the thread pool: from outside, each kernel call would block this thread and
        // wake it again.
        rayon::scope(move |_| {
            (0..times).for_each(|_| run_phases(program, memory, phases, |_| ()));
        });
        Ok(())
    }

    fn time(&mut self, phases: &[Phase]) -> Result<Timing> {
        let start = Instant::now();
        let now = || start.elapsed().as_secs_f64();
        self.prepared = None;
        let Cpu {
            program, memory, ..
        } = self;
        let calls = rayon::scope(move |_| {
            let (mut calls, mut begin) = (vec![], now());
            run_phases(program, memory, phases, |fused| {
                divide_by_flops(begin..now(), fused, &mut calls);
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
        self.prepared = None;
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

    fn read_into(&mut self, tensor: &Tensor, to: &mut [f32]) -> Result<()> {
        check_length(tensor, to.len())?;
        let values = self.memory.read(tensor);
        to.iter_mut()
            .zip(&*values)
            .for_each(|(to, value)| *to = value.f64() as f32);
        Ok(())
    }

    fn read_index(&mut self, tensor: &Tensor) -> Result<Vec<u32>> {
        Ok(self.memory.read_index(tensor).to_vec())
    }
}

impl<R: Real> Cpu<R> {
    /// Runs the prepared phase. Calls of one thread stay on this one: to wake another takes longer
    /// than a small step.
    fn run_prepared(&mut self, times: usize) {
        let Some(PreparedPhase { phase, calls, .. }) = &mut self.prepared else {
            return;
        };
        let recorded = self.program.calls(*phase);
        if calls.stay_on_one_thread() {
            (0..times).for_each(|_| calls.run(recorded, &self.memory));
        } else {
            let memory = &mut self.memory;
            rayon::scope(move |_| (0..times).for_each(|_| calls.run(recorded, memory)));
        }
    }
}

/// Runs phases. Kernel calls that the CPU fuses run as one; `observe` receives each such group
/// after it has run.
fn run_phases<R: Real>(
    program: &Program,
    memory: &Memory<R>,
    phases: &[Phase],
    mut observe: impl FnMut(&[Call]),
) {
    for &phase in phases {
        let mut calls = program.calls(phase);
        while !calls.is_empty() {
            let (fused, rest) = calls.split_at(kernels::play(calls, memory));
            observe(fused);
            calls = rest;
        }
    }
}

/// Divides the time of a group of fused kernel calls among them in proportion to their
/// floating-point operations, and appends a span for each to `spans`.
fn divide_by_flops(time: Range<f64>, calls: &[Call], spans: &mut Vec<Option<Span>>) {
    let flops = |call: &Call| call.kernel().cost().flops;
    let total: f64 = calls.iter().map(flops).sum();
    let mut begin = time.start;
    for call in calls {
        let share = if calls.len() > 1 {
            flops(call) / total
        } else {
            1.0
        };
        let end = begin + share * (time.end - time.start);
        spans.push(Some(Span { begin, end }));
        begin = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_most_as_many_threads_as_cores() {
        let cases = [
            (None, 8, 8),
            (Some("2"), 8, 2),
            (Some("16"), 2, 2),
            (Some(" 4 "), 64, 4),
            (Some("0"), 3, 3),
            (Some("many"), 3, 3),
        ];
        for (variable, cores, expected) in cases {
            assert_eq!(wanted_threads(variable, cores), expected, "{variable:?}");
        }
    }
}
