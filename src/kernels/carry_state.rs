use super::{Arg, Call, Cost, Kernel, Scalar, Shader, control, fold, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Begins a chunk of long sequences: with the states that the chunk before has left, or with zeros where it is their first.
#[derive(Debug, Clone)]
pub struct CarryState {
    /// States after the last valid step.
    pub last: Tensor,
    pub control: Tensor,
    /// As many: states before the first step.
    pub initial: Tensor,
}

impl From<CarryState> for Call {
    fn from(call: CarryState) -> Call {
        Call::CarryState(call)
    }
}

impl Kernel for CarryState {
    fn name(&self) -> &'static str {
        "carry_state"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("last", self.last),
            read("control", self.control),
            write("initial", self.initial),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![("count", Scalar::count(self.initial.len()))]
    }

    fn shader(&self) -> Shader {
        Shader {
            parts: vec![include_str!("../../shaders/carry_state.wgsl")],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(self.initial.len(), 64)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: 8.0 * self.initial.len() as f64,
        }
    }
}

impl CarryState {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let mut initial = memory.write(&self.initial);
        match memory.read_index(&self.control)[control::CHUNK] {
            0 => initial.fill(R::zero()),
            _ => initial.copy_from_slice(&memory.read(&self.last)),
        }
    }
}
