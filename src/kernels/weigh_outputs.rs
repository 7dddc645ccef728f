use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Multiplies the losses and the gradients of outputs by the outputs' weights. Outputs beyond the
/// first `rows` have these weights again: `[T, B, width]` gradients with weights `[B]`.
#[derive(Debug, Clone)]
pub struct WeighOutputs {
    /// `[rows]`.
    pub weights: Tensor,
    /// `[rows, width]`, or a multiple of it: the gradient of the outputs.
    pub gradient: Tensor,
    /// `[2, rows]`: the loss of each row, which is changed; then what is not.
    pub scores: Tensor,
    /// Outputs of a row.
    pub width: usize,
}

impl Kernel for WeighOutputs {
    fn name(&self) -> &'static str {
        "weigh_outputs"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("weights", self.weights),
            write("gradient", self.gradient),
            write("scores", self.scores),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("rows", Scalar::count(self.weights.len())),
            ("width", Scalar::count(self.width)),
            ("outputs", Scalar::count(self.gradient.len() / self.width)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/weigh_outputs.wgsl")])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.gradient.len(), 64)
    }

    fn cost(&self) -> Cost {
        let elements = self.gradient.len() as f64;
        Cost {
            flops: elements,
            bytes: 8.0 * elements,
        }
    }
}

impl WeighOutputs {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let weights = memory.read(&self.weights);
        let (mut gradient, mut scores) = (memory.write(&self.gradient), memory.write(&self.scores));
        let rows = gradient.chunks_exact_mut(self.width);
        for (gradient, &weight) in rows.zip(weights.iter().cycle()) {
            gradient.iter_mut().for_each(|each| *each *= weight);
        }
        let losses = scores.iter_mut().zip(weights.iter());
        losses.for_each(|(loss, &weight)| *loss *= weight);
    }
}
