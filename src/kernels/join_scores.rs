use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Adds the losses of one of several heads to those of all, so that their sum times `weight[0]` is
/// the sum of the heads' mean losses, each times the head's weight.
#[derive(Debug, Clone)]
pub struct JoinScores {
    /// `[2, rows]`: the losses of the head, and hits.
    pub scores: Tensor,
    /// `[2]`: the head's weight over the number of its labels, and their number.
    pub head_weight: Tensor,
    /// `[2]`: one over the number of outputs with any label, and their number.
    pub weight: Tensor,
    /// `[2, all]`: the losses of all, and zeros; at least the rows of the head.
    pub out: Tensor,
    /// Whether the losses are added to those of the heads before.
    pub accumulate: bool,
}

impl Kernel for JoinScores {
    fn name(&self) -> &'static str {
        "join_scores"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("scores", self.scores),
            read("head_weight", self.head_weight),
            read("weight", self.weight),
            write("out", self.out),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("rows", Scalar::count(self.scores.len() / 2)),
            ("all", Scalar::count(self.out.len() / 2)),
            ("accumulate", Scalar::from(self.accumulate)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/join_scores.wgsl")])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.out.len() / 2, 64)
    }

    fn cost(&self) -> Cost {
        let elements = self.out.len() as f64;
        Cost {
            flops: 2.0 * elements,
            bytes: 8.0 * elements,
        }
    }
}

impl JoinScores {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let scores = memory.read(&self.scores);
        let count = memory.read(&self.weight)[1];
        let share = memory.read(&self.head_weight)[0] * count.or_larger(R::one());
        let mut out = memory.write(&self.out);
        let rows = scores.len() / 2;
        let all = out.len() / 2;
        let (losses, rest) = out.split_at_mut(all);
        rest.fill(R::zero());
        if !self.accumulate {
            losses[rows..].fill(R::zero());
        }
        for (sum, &loss) in losses.iter_mut().zip(&scores[..rows]) {
            if self.accumulate {
                *sum += loss * share;
            } else {
                *sum = loss * share;
            }
        }
    }
}
