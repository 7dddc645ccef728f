use super::words::ignore_wgsl;
use super::{Arg, Cost, IGNORE, Kernel, Scalar, Shader, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Computes the factor of the mean over labelled outputs of different weights:
/// `weight = [1 / sum of the weights, count]`, where 1 / 0 is 0.
#[derive(Debug, Clone)]
pub struct TargetWeight {
    /// `[rows]`; [`IGNORE`] marks an output without a label.
    pub labels: Tensor,
    /// `[rows]`: at least 0.
    pub weights: Tensor,
    /// `[2]`.
    pub weight: Tensor,
}

impl Kernel for TargetWeight {
    fn name(&self) -> &'static str {
        "target_weight"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("labels", self.labels),
            read("weights", self.weights),
            write("weight", self.weight),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![("rows", Scalar::count(self.labels.len()))]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/target_weight.wgsl"),
            include_str!("../../shaders/common/reduce.wgsl"),
        ])
        .with(ignore_wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        [1, 1, 1]
    }

    fn iterations(&self) -> usize {
        self.labels.len() / 64 + 64
    }

    fn cost(&self) -> Cost {
        let rows = self.labels.len() as f64;
        Cost {
            flops: rows,
            bytes: 8.0 * rows,
        }
    }
}

impl TargetWeight {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let labels = memory.read_index(&self.labels);
        let weights = memory.read(&self.weights);
        let labelled = labels.iter().zip(weights.iter());
        let labelled = labelled.filter(|&(&label, _)| label != IGNORE);
        let mut sum = R::zero();
        let mut count = 0;
        for (_, &weight) in labelled {
            sum += weight;
            count += 1;
        }
        let mut weight = memory.write(&self.weight);
        weight[0] = R::where_larger(sum, R::zero(), R::one() / sum, R::zero());
        weight[1] = R::of(f64::from(count));
    }
}
