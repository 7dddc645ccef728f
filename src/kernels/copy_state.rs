use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Copies elements: the states with which a chunk of time begins.
#[derive(Debug, Clone)]
pub struct CopyState {
    /// `[count]`.
    pub source: Tensor,
    /// `[count]`.
    pub out: Tensor,
}

impl Kernel for CopyState {
    fn name(&self) -> &'static str {
        "copy_state"
    }

    fn args(&self) -> Vec<Arg> {
        vec![read("source", self.source), write("out", self.out)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![("count", Scalar::count(self.out.len()))]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/copy_state.wgsl")])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.out.len(), 64)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: 8.0 * self.out.len() as f64,
        }
    }
}

impl CopyState {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let mut out = memory.write(&self.out);
        out.copy_from_slice(&memory.read(&self.source));
    }
}
