use super::{Arg, Cost, Form, Kernel, Scalar, Shader, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Computes the Euclidean norm of the whole gradient and the factor that clips it:
/// `norm = [n, factor]`.
#[derive(Debug, Clone)]
pub struct ClipFactor {
    /// `[64]`: the result of [`SquaredNorm`](super::SquaredNorm).
    pub partials: Tensor,
    /// `[2]`.
    pub norm: Tensor,
    /// The largest norm that is not clipped; `None` clips nothing.
    pub limit: Option<f64>,
    /// TensorFlow's factor is `limit / norm` (`clip_by_global_norm`), PyTorch's is
    /// `limit / (norm + 1e-6)` (`clip_grad_norm_`).
    pub form: Form,
}

impl Kernel for ClipFactor {
    fn name(&self) -> &'static str {
        "clip_factor"
    }

    fn args(&self) -> Vec<Arg> {
        vec![read("partials", self.partials), write("norm", self.norm)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("limit", Scalar::F32(self.limit.unwrap_or(0.0) as f32)),
            ("margin", Scalar::F32(self.margin() as f32)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/clip_factor.wgsl"),
            include_str!("../../shaders/common/reduce.wgsl"),
        ])
    }

    fn grid(&self) -> [u32; 3] {
        [1, 1, 1]
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.partials.len() as f64,
            bytes: 4.0 * self.partials.len() as f64,
        }
    }
}

impl ClipFactor {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let squares = memory
            .read(&self.partials)
            .iter()
            .fold(R::zero(), |sum, &partial| sum + partial);
        let length = squares.sqrt();
        let mut norm = memory.write(&self.norm);
        (norm[0], norm[1]) = (length, R::one());
        if let Some(limit) = self.limit {
            let (limit, length) = (R::of(limit), length + R::of(self.margin()));
            norm[1] = R::where_larger(length, limit, limit / length, R::one());
        }
    }

    /// Returns the summand of the norm in the denominator.
    fn margin(&self) -> f64 {
        match self.form {
            Form::Tensorflow => 0.0,
            Form::Torch => 1e-6,
        }
    }
}
