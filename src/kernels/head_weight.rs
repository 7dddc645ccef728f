use super::{Arg, Cost, Kernel, Scalar, Shader, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Multiplies the weight of an output of one of several heads by the weight of the head, so that
/// the gradients of all heads add up to that of the weighted sum of their losses.
#[derive(Debug, Clone)]
pub struct HeadWeight {
    /// `[2]`: the result of [`LabelWeight`](super::LabelWeight), whose first element is changed.
    pub weight: Tensor,
    pub factor: f32,
}

impl Kernel for HeadWeight {
    fn name(&self) -> &'static str {
        "head_weight"
    }

    fn args(&self) -> Vec<Arg> {
        vec![write("weight", self.weight)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![("factor", Scalar::F32(self.factor))]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/head_weight.wgsl")])
    }

    fn grid(&self) -> [u32; 3] {
        [1; 3]
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 1.0,
            bytes: 8.0,
        }
    }
}

impl HeadWeight {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        memory.write(&self.weight)[0] *= R::of(self.factor.into());
    }
}
