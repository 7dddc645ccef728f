use super::{Arg, Cost, Kernel, Scalar, Shader, control, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Changes the gradient of a batch's mean loss to the batch's share in the gradient of the mean
/// over all batches of an update: multiplies it by the batch's sum of weights over the update's.
#[derive(Debug, Clone)]
pub struct ShareOfUpdate {
    /// `[2]`: `factor` over the batch's sum of weights, and what is not read.
    pub weight: Tensor,
    /// The weight of the head, of one of several; else 1.
    pub factor: f32,
    /// `[rows of the history]`: the sum of weights of the update of each row; not 0.
    pub update_weights: Tensor,
    pub control: Tensor,
    /// The gradient of the outputs.
    pub gradient: Tensor,
}

impl Kernel for ShareOfUpdate {
    fn name(&self) -> &'static str {
        "share_of_update"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("weight", self.weight),
            read("update_weights", self.update_weights),
            read("control", self.control),
            write("gradient", self.gradient),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("factor", Scalar::F32(self.factor)),
            ("count", Scalar::count(self.gradient.len())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/share_of_update.wgsl")]).with(control::wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.gradient.len(), 64)
    }

    fn cost(&self) -> Cost {
        let count = self.gradient.len() as f64;
        Cost {
            flops: count,
            bytes: 8.0 * count,
        }
    }
}

impl ShareOfUpdate {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let row = memory.read_index(&self.control)[control::ROW] as usize;
        let weight = memory.read(&self.weight)[0];
        let ratio = weight * memory.read(&self.update_weights)[row];
        // Without a weight above 0, the batch has no gradient.
        let factor = R::of(self.factor.into());
        let share = R::where_larger(ratio, R::zero(), factor / ratio, R::zero());
        let mut gradient = memory.write(&self.gradient);
        gradient.iter_mut().for_each(|value| *value *= share);
    }
}
