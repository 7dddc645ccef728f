//! The executor: plays programs by interpreting WGSL.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::code::Code;
use super::machine::{self, Argument, Dispatch};
use super::memory::Region;
use super::{InterpreterDevice, lock};
use crate::backend::executor::{Executor, Span, Timing, check_length};
use crate::backend::host;
use crate::error::{Error, Result};
use crate::kernels::{Arg, Kernel, uniform_words};
use crate::program::{Phase, Program};
use crate::tensor::{Element, Tensor};

/// Bytes of a word with the record of its accesses.
const WORD_BYTES: usize = 24;

/// The largest number of workgroups in a dimension, and of storage buffers of a kernel, that WebGPU
/// guarantees.
const MOST_WORKGROUPS: u32 = 65535;

/// A program loaded on the interpreter.
pub struct Interpreter {
    device: InterpreterDevice,
    regions: Vec<Region>,
    phases: [Vec<LoadedCall>; Phase::ALL.len()],
    /// See [`Interval`](super::memory::Interval).
    clock: u32,
}

/// A kernel call, ready to run.
struct LoadedCall {
    kernel: &'static str,
    code: Arc<Code>,
    uniforms: Vec<u32>,
    arguments: Vec<Argument>,
    grid: [u32; 3],
    most_iterations: usize,
}

impl fmt::Debug for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.device.profile.name;
        f.debug_struct("Interpreter")
            .field("profile", name)
            .finish_non_exhaustive()
    }
}

impl Interpreter {
    /// Fails if the machine lacks the memory for a program.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Usage`] for a precision of the CPU.
    pub(in crate::backend) fn check_memory(program: &Program) -> Result<()> {
        host::check_gpu_precision(program.precision(), "the interpreter")?;
        host::check_memory(program, WORD_BYTES)
    }

    /// Loads `program`, its buffers zeroed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the machine lacks the memory; [`Error::LimitExceeded`] if a kernel
    /// exceeds a limit of the profile; [`Error::Defect`] for WGSL that is not valid;
    /// [`Error::Failed`] for WGSL that the interpreter does not support.
    pub fn new(device: &InterpreterDevice, program: &Program) -> Result<Interpreter> {
        Interpreter::check_memory(program)?;
        let mut phases = [const { vec![] }; Phase::ALL.len()];
        for phase in Phase::ALL {
            for call in program.calls(phase) {
                let loaded = load_call(device, program, call.kernel())?;
                phases[phase as usize].push(loaded);
            }
        }
        let buffers = program.buffers().iter();
        Ok(Interpreter {
            device: device.clone(),
            regions: buffers.map(|buffer| Region::zeros(buffer.len)).collect(),
            phases,
            clock: 0,
        })
    }

    /// Runs a call, and fails if it has broken a rule.
    fn run_call(&mut self, phase: Phase, index: usize) -> Result<()> {
        let call = &self.phases[phase as usize][index];
        let dispatch = Dispatch {
            code: &call.code,
            kernel: call.kernel,
            uniforms: &call.uniforms,
            arguments: &call.arguments,
            grid: call.grid,
            subgroups: self.device.profile.subgroups,
            most_iterations: call.most_iterations,
        };
        let findings = machine::run(&dispatch, &mut self.regions, &mut self.clock);
        if findings.is_empty() {
            return Ok(());
        }
        let texts = findings.iter().map(ToString::to_string);
        let error = Error::ShaderFault {
            findings: texts.collect(),
        };
        lock(&self.device.shared.findings).extend(findings);
        Err(error)
    }

    fn write_words(&mut self, tensor: &Tensor, words: &[u32]) -> Result<()> {
        check_length(tensor, words.len())?;
        self.regions[tensor.buffer.index()].write(tensor.offset, words);
        Ok(())
    }

    fn restore_words(&mut self, tensor: &Tensor, words: &[u32]) -> Result<()> {
        check_length(tensor, words.len())?;
        self.regions[tensor.buffer.index()].restore(tensor.offset, words);
        Ok(())
    }

    fn words(&self, tensor: &Tensor) -> &[u32] {
        &self.regions[tensor.buffer.index()].values[tensor.range()]
    }
}

fn load_call(
    device: &InterpreterDevice,
    program: &Program,
    kernel: &dyn Kernel,
) -> Result<LoadedCall> {
    let code = device.code(kernel)?;
    check_limits(device, kernel, &code)?;
    let mut uniforms = uniform_words(kernel);
    uniforms.resize(uniforms.len().max(code.uniforms), 0);
    let argument = |arg: &Arg| Argument {
        region: arg.tensor.buffer.index(),
        range: arg.tensor.range(),
        name: program.name_of(&arg.tensor).to_string(),
        is_real: program.buffer_of(&arg.tensor).element == Element::Real,
    };
    Ok(LoadedCall {
        kernel: kernel.name(),
        uniforms,
        arguments: kernel.args().iter().map(argument).collect(),
        grid: kernel.grid(),
        most_iterations: kernel.iterations(),
        code,
    })
}

/// Fails if a kernel exceeds a limit of the profile.
fn check_limits(device: &InterpreterDevice, kernel: &dyn Kernel, code: &Code) -> Result<()> {
    let limits = &device.profile.adapter.limits;
    let invocations: u32 = code.workgroup_size.iter().product();
    let words: u32 = code.variables.iter().map(|variable| variable.words).sum();
    let workgroups = kernel.grid().into_iter().max().unwrap_or(1);
    let checks = [
        (
            invocations,
            limits.max_workgroup_invocations,
            "invocations in a workgroup",
        ),
        (
            4 * words,
            limits.workgroup_memory_bytes,
            "bytes of workgroup memory",
        ),
        (workgroups, MOST_WORKGROUPS, "workgroups in a dimension"),
    ];
    for (needed, limit, what) in checks {
        if needed > limit {
            return Err(Error::LimitExceeded {
                what: format!("the kernel {}", kernel.name()),
                needed: format!("{needed} {what}"),
                device: device.profile.adapter.name.clone(),
                limit: limit.to_string(),
                remedy: "use another profile or smaller tiles".into(),
            });
        }
    }
    Ok(())
}

impl Executor for Interpreter {
    fn write(&mut self, tensor: &Tensor, values: &[f32]) -> Result<()> {
        self.write_words(tensor, bytemuck::cast_slice(values))
    }

    fn write_index(&mut self, tensor: &Tensor, values: &[u32]) -> Result<()> {
        self.write_words(tensor, values)
    }

    fn poison(&mut self, tensor: &Tensor) {
        self.regions[tensor.buffer.index()].poison(tensor.range());
    }

    fn restore(&mut self, tensor: &Tensor, values: &[f32]) -> Result<()> {
        self.restore_words(tensor, bytemuck::cast_slice(values))
    }

    fn restore_index(&mut self, tensor: &Tensor, values: &[u32]) -> Result<()> {
        self.restore_words(tensor, values)
    }

    fn run(&mut self, phases: &[Phase], times: usize) -> Result<()> {
        for _ in 0..times {
            for &phase in phases {
                for call in 0..self.phases[phase as usize].len() {
                    self.run_call(phase, call)?;
                }
            }
        }
        Ok(())
    }

    fn time(&mut self, phases: &[Phase]) -> Result<Timing> {
        let start = Instant::now();
        let mut calls = vec![];
        for &phase in phases {
            for call in 0..self.phases[phase as usize].len() {
                let begin = start.elapsed().as_secs_f64();
                self.run_call(phase, call)?;
                let end = start.elapsed().as_secs_f64();
                calls.push(Some(Span { begin, end }));
            }
        }
        let (begin, end) = (0.0, start.elapsed().as_secs_f64());
        Ok(Timing {
            calls,
            host: vec![("run", Span { begin, end })],
        })
    }

    fn time_call(&mut self, phase: Phase, call: usize) -> Result<f64> {
        let start = Instant::now();
        self.run_call(phase, call)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn read(&mut self, tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(bytemuck::cast_slice(self.words(tensor)).to_vec())
    }

    fn read_index(&mut self, tensor: &Tensor) -> Result<Vec<u32>> {
        Ok(self.words(tensor).to_vec())
    }
}
