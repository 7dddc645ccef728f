use rayon::prelude::*;

use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Moves the exponential moving average of the parameters towards them:
/// `average += (1 - decay) (parameters - average)`.
#[derive(Debug, Clone)]
pub struct Average {
    /// `[count]`.
    pub parameters: Tensor,
    /// `[count]`.
    pub average: Tensor,
    pub decay: f64,
}

/// Elements of one CPU task.
const TASK: usize = 1 << 14;

impl Kernel for Average {
    fn name(&self) -> &'static str {
        "average"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("parameters", self.parameters),
            write("average", self.average),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("count", Scalar::count(self.parameters.len())),
            ("rest", Scalar::F32((1.0 - self.decay) as f32)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/average.wgsl")])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.parameters.len(), 64)
    }

    fn cost(&self) -> Cost {
        let count = self.parameters.len() as f64;
        Cost {
            flops: 3.0 * count,
            bytes: 12.0 * count,
        }
    }
}

impl Average {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let parameters = memory.read(&self.parameters);
        let mut average = memory.write(&self.average);
        let rest = R::of(1.0 - self.decay);
        let tasks = average
            .par_chunks_mut(TASK)
            .zip(parameters.par_chunks(TASK));
        tasks.for_each(|(average, parameters)| {
            for (average, &parameter) in average.iter_mut().zip(parameters) {
                *average += rest * (parameter - *average);
            }
        });
    }
}
