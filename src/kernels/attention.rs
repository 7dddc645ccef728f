use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::{Number, Real};
use crate::tensor::Tensor;

/// Computes the softmax of scores over the valid steps of each sequence; zeros at padded steps.
#[derive(Debug, Clone)]
pub struct Attention {
    /// `[T, B]`.
    pub scores: Tensor,
    /// `[B]`: valid steps of each sequence. A length above T counts as T.
    pub lengths: Tensor,
    /// `[T, B]`.
    pub weights: Tensor,
    pub steps: usize,
    pub batch: usize,
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("scores", self.scores),
            read("lengths", self.lengths),
            write("weights", self.weights),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/attention.wgsl"),
            include_str!("../../shaders/common/reduce.wgsl"),
            include_str!("../../shaders/common/math.wgsl"),
            include_str!("../../shaders/common/four.wgsl"),
        ])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.batch, 1)
    }

    fn iterations(&self) -> usize {
        self.steps / 16 + 64
    }

    fn cost(&self) -> Cost {
        let elements = self.scores.len() as f64;
        Cost {
            flops: 20.0 * elements,
            bytes: 8.0 * elements,
        }
    }
}

impl Attention {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (scores, lengths) = (memory.read(&self.scores), memory.read_index(&self.lengths));
        let mut weights = memory.write(&self.weights);
        for (b, &length) in lengths.iter().enumerate() {
            let steps = (length as usize).min(self.steps);
            let at = |t: usize| t * self.batch + b;
            let largest = (0..steps).fold(scores[b], |largest, t| scores[at(t)].or_larger(largest));
            let mut sum = R::zero();
            for t in 0..steps {
                weights[at(t)] = Number::exp(scores[at(t)] - largest);
                sum += weights[at(t)];
            }
            for t in 0..self.steps {
                weights[at(t)] = if t < steps {
                    weights[at(t)] / sum
                } else {
                    R::zero()
                };
            }
        }
    }
}
