use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Computes the gradient of the scores of which [`Attention`](super::Attention) makes the weights
/// of a sum: `dscores[t] = weights[t] * (dout . (source[t] - pooled))`; zeros at padded steps.
#[derive(Debug, Clone)]
pub struct AttentionBackward {
    /// `[T, B, width]`: the steps.
    pub source: Tensor,
    /// `[T, B]`.
    pub weights: Tensor,
    /// `[B, width]`: the weighted sum.
    pub pooled: Tensor,
    /// `[B, width]`: its gradient.
    pub dout: Tensor,
    /// `[B]`: valid steps of each sequence.
    pub lengths: Tensor,
    /// `[T, B]`.
    pub dscores: Tensor,
    pub steps: usize,
    pub batch: usize,
    pub width: usize,
}

impl Kernel for AttentionBackward {
    fn name(&self) -> &'static str {
        "attention_backward"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("source", self.source),
            read("weights", self.weights),
            read("pooled", self.pooled),
            read("dout", self.dout),
            read("lengths", self.lengths),
            write("dscores", self.dscores),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("width", Scalar::count(self.width)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/attention_backward.wgsl"),
            include_str!("../../shaders/common/reduce.wgsl"),
        ])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.dscores.len(), 1)
    }

    fn iterations(&self) -> usize {
        self.width / 32 + 64
    }

    fn cost(&self) -> Cost {
        let elements = self.source.len() as f64;
        Cost {
            flops: 3.0 * elements,
            bytes: 4.0 * elements,
        }
    }
}

impl AttentionBackward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (source, weights) = (memory.read(&self.source), memory.read(&self.weights));
        let (pooled, dout) = (memory.read(&self.pooled), memory.read(&self.dout));
        let lengths = memory.read_index(&self.lengths);
        let mut dscores = memory.write(&self.dscores);
        for (row, dscore) in dscores.iter_mut().enumerate() {
            let (t, b) = (row / self.batch, row % self.batch);
            *dscore = R::zero();
            if t >= lengths[b] as usize {
                continue;
            }
            let own = b * self.width..(b + 1) * self.width;
            let steps = source[row * self.width..].iter().zip(&pooled[own.clone()]);
            for ((&value, &mean), &d) in steps.zip(&dout[own]) {
                *dscore += d * (value - mean);
            }
            *dscore *= weights[row];
        }
    }
}
