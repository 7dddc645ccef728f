use super::{Arg, Call, Cost, Kernel, Scalar, Shader, control, fold, read, write};
use crate::executor::Memory;
use crate::program::Tensor;
use crate::real::Real;

/// Adam (Kingma & Ba 2015) over all parameters at once, with bias correction:
/// `p -= rate / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)`.
#[derive(Debug, Clone)]
pub struct Adam {
    /// `[count]`.
    pub parameters: Tensor,
    /// `[count]`, multiplied by the factor in `norm` before use.
    pub gradients: Tensor,
    /// `[count]`: m.
    pub first_moment: Tensor,
    /// `[count]`: v.
    pub second_moment: Tensor,
    pub control: Tensor,
    /// `[slots]`: the learning rate of each step until the next readback.
    pub rates: Tensor,
    /// `[2]`, as [`ClipFactor`](super::ClipFactor) leaves it.
    pub norm: Tensor,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// TensorFlow's form: epsilon is divided by `sqrt(1 - beta2^t)`.
    pub scaled_epsilon: bool,
}

impl From<Adam> for Call {
    fn from(call: Adam) -> Call {
        Call::Adam(call)
    }
}

impl Kernel for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            write("parameters", self.parameters),
            read("gradients", self.gradients),
            write("first_moment", self.first_moment),
            write("second_moment", self.second_moment),
            read("control", self.control),
            read("rates", self.rates),
            read("norm", self.norm),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("count", Scalar::count(self.parameters.len())),
            ("beta1", Scalar::F32(self.beta1 as f32)),
            ("beta2", Scalar::F32(self.beta2 as f32)),
            ("rest1", Scalar::F32((1.0 - self.beta1) as f32)),
            ("rest2", Scalar::F32((1.0 - self.beta2) as f32)),
            // Finite, for a beta of 0.
            ("ln_beta1", Scalar::F32(self.beta1.ln().max(-1e4) as f32)),
            ("ln_beta2", Scalar::F32(self.beta2.ln().max(-1e4) as f32)),
            ("epsilon", Scalar::F32(self.epsilon as f32)),
            ("scaled_epsilon", Scalar::U32(self.scaled_epsilon.into())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader {
            parts: vec![
                include_str!("../../shaders/adam.wgsl"),
                include_str!("../../shaders/common/math.wgsl"),
            ],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(self.parameters.len(), 64)
    }

    fn cost(&self) -> Cost {
        let count = self.parameters.len() as f64;
        Cost {
            flops: 12.0 * count,
            bytes: 28.0 * count,
        }
    }
}

impl Adam {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (t, rate) = {
            let control = memory.read_index(&self.control);
            let rate = memory.read(&self.rates)[control[control::SLOT] as usize];
            (f64::from(control[control::STEP] + 1), rate)
        };
        // 1 - beta^t without cancellation.
        let correction = |beta: f64| R::of(-(beta.ln() * t).exp_m1());
        let (rate, root) = (rate / correction(self.beta1), correction(self.beta2).root());
        let [beta1, rest1, beta2, rest2] =
            [self.beta1, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2].map(R::of);
        let epsilon = R::of(self.epsilon) / if self.scaled_epsilon { root } else { R::one() };
        let factor = memory.read(&self.norm)[1];
        let gradients = memory.read(&self.gradients);
        let mut first = memory.write(&self.first_moment);
        let mut second = memory.write(&self.second_moment);
        let mut parameters = memory.write(&self.parameters);
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((p, &g), (m, v)) in parameters.iter_mut().zip(gradients.iter()).zip(moments) {
            let g = g * factor;
            *m = beta1 * *m + rest1 * g;
            *v = beta2 * *v + rest2 * g * g;
            *p -= rate * *m / (v.root() / root + epsilon);
        }
    }
}
