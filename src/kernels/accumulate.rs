use rayon::prelude::*;

use super::{Arg, Cost, Kernel, Scalar, Shader, control, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Adds the gradients of a batch to those of the earlier batches of the same update; those of the
/// first batch replace what is there.
#[derive(Debug, Clone)]
pub struct Accumulate {
    /// `[count]`.
    pub gradients: Tensor,
    pub control: Tensor,
    /// `[count]`.
    pub sums: Tensor,
}

/// Elements of one CPU task.
const TASK: usize = 1 << 14;

impl Kernel for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("gradients", self.gradients),
            read("control", self.control),
            write("sums", self.sums),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![("count", Scalar::count(self.gradients.len()))]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/accumulate.wgsl")]).with(control::wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.gradients.len(), 64)
    }

    fn cost(&self) -> Cost {
        let count = self.gradients.len() as f64;
        Cost {
            flops: count,
            bytes: 12.0 * count,
        }
    }
}

impl Accumulate {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let is_first = memory.read_index(&self.control)[control::TAKEN] == 0;
        let gradients = memory.read(&self.gradients);
        let mut sums = memory.write(&self.sums);
        let tasks = sums.par_chunks_mut(TASK).zip(gradients.par_chunks(TASK));
        tasks.for_each(|(sums, gradients)| {
            if is_first {
                sums.copy_from_slice(gradients);
            } else {
                let sums = sums.iter_mut().zip(gradients);
                sums.for_each(|(sum, &gradient)| *sum += gradient);
            }
        });
    }
}
