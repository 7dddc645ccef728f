use super::words::ignore_wgsl;
use super::{Arg, Cost, IGNORE, Kernel, Scalar, Shader, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Computes the weight of one output in the mean over the labelled outputs:
/// `weight = [1 / max(count, 1), count]`.
#[derive(Debug, Clone)]
pub struct LabelWeight {
    /// `[rows]`; [`IGNORE`] marks an output without a label.
    pub labels: Tensor,
    /// `[2]`.
    pub weight: Tensor,
}

impl Kernel for LabelWeight {
    fn name(&self) -> &'static str {
        "label_weight"
    }

    fn args(&self) -> Vec<Arg> {
        vec![read("labels", self.labels), write("weight", self.weight)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![("rows", Scalar::count(self.labels.len()))]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/label_weight.wgsl"),
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
        Cost {
            flops: 0.0,
            bytes: 4.0 * self.labels.len() as f64,
        }
    }
}

impl LabelWeight {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let count = memory
            .read_index(&self.labels)
            .iter()
            .filter(|&&label| label != IGNORE)
            .count();
        let mut weight = memory.write(&self.weight);
        weight[0] = R::one() / R::of(count.max(1) as f64);
        weight[1] = R::of(count as f64);
    }
}
