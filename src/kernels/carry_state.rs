use super::{Arg, Cost, Kernel, Scalar, Shader, control, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Initialises the states of a chunk of time: with the last states of the previous chunk, or with
/// zeros in the first chunk.
#[derive(Debug, Clone)]
pub struct CarryState {
    /// `[count]`: the states after the last valid step.
    pub last: Tensor,
    pub control: Tensor,
    /// `[count]`: the states before the first step.
    pub initial: Tensor,
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
        Shader::new([include_str!("../../shaders/carry_state.wgsl")]).with(control::wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.initial.len(), 64)
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
        if memory.read_index(&self.control)[control::CHUNK] == 0 {
            initial.fill(R::zero());
        } else {
            initial.copy_from_slice(&memory.read(&self.last));
        }
    }
}
