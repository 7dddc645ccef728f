use pulp::Simd;

use super::descent::{Descent, UpdateRule};
use super::{Arg, Cost, Form, Kernel, Scalar, Shader, linear_grid, write};
use crate::memory::Memory;
use crate::numeric::real::{Lanes, Number, Real};
use crate::tensor::Tensor;

/// RMSProp (Tieleman & Hinton 2012): `s = rho * s + (1 - rho) * g^2`, then, with or without
/// momentum, PyTorch's `v = momentum * v + g / (sqrt(s) + epsilon)`, `p -= rate * v`, or
/// TensorFlow's `v = momentum * v + rate * g / sqrt(s + epsilon)`, `p -= v`.
///
/// Centred RMSProp (Graves 2013) divides by the standard deviation: it uses `max(s - mean^2, 0)`
/// instead of s, with `mean = rho * mean + (1 - rho) * g`.
#[derive(Debug, Clone)]
pub struct Rmsprop {
    pub descent: Descent,
    /// `[count]`: s, whose initial value is 1 in TensorFlow.
    pub mean_square: Tensor,
    /// `[count]`: mean; empty unless centred.
    pub mean_gradient: Tensor,
    /// `[count]`: v; empty without momentum.
    pub velocity: Tensor,
    pub rho: f64,
    pub momentum: f64,
    pub epsilon: f64,
    pub form: Form,
}

impl Kernel for Rmsprop {
    fn name(&self) -> &'static str {
        "rmsprop"
    }

    fn args(&self) -> Vec<Arg> {
        let mut args = self.descent.args();
        args.extend([
            write("mean_square", self.mean_square),
            write("mean_gradient", self.mean_gradient),
            write("velocity", self.velocity),
        ]);
        args
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let mut uniform = self.descent.uniform();
        uniform.extend([
            ("rho", Scalar::F32(self.rho as f32)),
            ("rest", Scalar::F32((1.0 - self.rho) as f32)),
            ("momentum", Scalar::F32(self.momentum as f32)),
            ("epsilon", Scalar::F32(self.epsilon as f32)),
            ("tensorflow", Scalar::from(self.form == Form::Tensorflow)),
            ("has_mean", Scalar::from(!self.mean_gradient.is_empty())),
            ("has_velocity", Scalar::from(!self.velocity.is_empty())),
        ]);
        uniform
    }

    fn shader(&self) -> Shader {
        Descent::shader([include_str!("../../shaders/rmsprop.wgsl")])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.descent.parameters.len(), 64)
    }

    fn cost(&self) -> Cost {
        let count = self.descent.parameters.len() as f64;
        let kept = (self.mean_gradient.len() + self.velocity.len()) as f64;
        Cost {
            flops: 10.0 * count + 4.0 * kept,
            bytes: 20.0 * count + 8.0 * kept,
        }
    }
}

impl Rmsprop {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (_, rate) = self.descent.updates_and_rate(memory);
        let moments = [&self.mean_square, &self.mean_gradient, &self.velocity];
        let [_, centered, has_velocity] = moments.map(|moment| !moment.is_empty());
        let rule = RmspropRule {
            rho: R::of(self.rho),
            rest: R::of(1.0 - self.rho),
            momentum: R::of(self.momentum),
            epsilon: R::of(self.epsilon),
            rate,
            centered,
            has_velocity,
            form: self.form,
        };
        self.descent.update(memory, moments, rule);
    }
}

/// The rule with this step's factors.
struct RmspropRule<R> {
    rho: R,
    /// 1 - rho.
    rest: R,
    momentum: R,
    epsilon: R,
    rate: R,
    centered: bool,
    has_velocity: bool,
    form: Form,
}

impl<R: Real> UpdateRule<R, 3> for RmspropRule<R> {
    #[inline(always)]
    fn apply<S: Simd>(
        &self,
        simd: S,
        p: R::Vector<S>,
        g: R::Vector<S>,
        [s, mean, v]: &mut [R::Vector<S>; 3],
    ) -> R::Vector<S> {
        let [rho, rest] = [
            R::Vector::<S>::splat(simd, self.rho),
            R::Vector::<S>::splat(simd, self.rest),
        ];
        let [momentum, epsilon, rate] = [
            R::Vector::<S>::splat(simd, self.momentum),
            R::Vector::<S>::splat(simd, self.epsilon),
            R::Vector::<S>::splat(simd, self.rate),
        ];
        *s = rho * *s + rest * g * g;
        let mut square = *s;
        if self.centered {
            *mean = rho * *mean + rest * g;
            square = (square - *mean * *mean).or_larger(g.constant(0.0));
        }
        let mut step = match self.form {
            Form::Torch => g / (square.sqrt() + epsilon),
            Form::Tensorflow => rate * g / (square + epsilon).sqrt(),
        };
        if self.has_velocity {
            step += momentum * *v;
            *v = step;
        }
        match self.form {
            Form::Torch => p - rate * step,
            Form::Tensorflow => p - step,
        }
    }
}
