use pulp::Simd;

use super::descent::{Descent, UpdateRule};
use super::{Arg, Cost, Form, Kernel, Scalar, Shader, linear_grid, write};
use crate::memory::Memory;
use crate::numeric::real::{Lanes, Number, Real};
use crate::tensor::Tensor;

/// Adam (Kingma & Ba 2015) with bias correction:
/// `p -= rate / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)`.
///
/// AMSGrad (Reddi et al. 2018) uses the largest v so far instead of v. AdamW (Loshchilov & Hutter
/// 2019) first subtracts `rate * weight_decay * p` from p.
#[derive(Debug, Clone)]
pub struct Adam {
    pub descent: Descent,
    /// `[count]`: m.
    pub first_moment: Tensor,
    /// `[count]`: v.
    pub second_moment: Tensor,
    /// `[count]`: the largest v so far; empty except for AMSGrad.
    pub largest_moment: Tensor,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// TensorFlow divides epsilon by `sqrt(1 - beta2^t)`.
    pub form: Form,
    /// Decoupled weight decay, as in AdamW. L2 decay, which is added to the gradient, is
    /// [`Descent::l2`].
    pub weight_decay: f64,
}

impl Kernel for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn args(&self) -> Vec<Arg> {
        let mut args = self.descent.args();
        args.extend([
            write("first_moment", self.first_moment),
            write("second_moment", self.second_moment),
            write("largest_moment", self.largest_moment),
        ]);
        args
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let mut uniform = self.descent.uniform();
        uniform.extend([
            ("beta1", Scalar::F32(self.beta1 as f32)),
            ("beta2", Scalar::F32(self.beta2 as f32)),
            ("rest1", Scalar::F32((1.0 - self.beta1) as f32)),
            ("rest2", Scalar::F32((1.0 - self.beta2) as f32)),
            // The logarithm of a beta of 0 must be finite.
            ("ln_beta1", Scalar::F32(self.beta1.ln().max(-1e4) as f32)),
            ("ln_beta2", Scalar::F32(self.beta2.ln().max(-1e4) as f32)),
            ("epsilon", Scalar::F32(self.epsilon as f32)),
            (
                "scaled_epsilon",
                Scalar::from(self.form == Form::Tensorflow),
            ),
            ("weight_decay", Scalar::F32(self.weight_decay as f32)),
            ("has_largest", Scalar::from(!self.largest_moment.is_empty())),
        ]);
        uniform
    }

    fn shader(&self) -> Shader {
        Descent::shader([
            include_str!("../../shaders/adam.wgsl"),
            include_str!("../../shaders/common/math.wgsl"),
            include_str!("../../shaders/common/four.wgsl"),
        ])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.descent.parameters.len(), 64)
    }

    fn cost(&self) -> Cost {
        let count = self.descent.parameters.len() as f64;
        let largest = self.largest_moment.len() as f64;
        Cost {
            flops: 16.0 * count + largest,
            bytes: 28.0 * count + 8.0 * largest,
        }
    }
}

impl Adam {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (updates, rate) = self.descent.updates_and_rate(memory);
        let t = f64::from(updates + 1);
        let correction = |beta: f64| R::one_minus_exp(beta.ln() * t);
        let root = correction(self.beta2).sqrt();
        let [beta1, rest1, beta2, rest2] =
            [self.beta1, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2].map(R::of);
        let epsilon = match self.form {
            Form::Torch => R::of(self.epsilon),
            Form::Tensorflow => R::of(self.epsilon) / root,
        };
        let rule = AdamRule {
            betas: [beta1, beta2],
            rests: [rest1, rest2],
            decay: R::one() - rate * R::of(self.weight_decay),
            rate: rate / correction(self.beta1),
            root,
            epsilon,
            has_largest: !self.largest_moment.is_empty(),
        };
        let moments = [
            &self.first_moment,
            &self.second_moment,
            &self.largest_moment,
        ];
        self.descent.update(memory, moments, rule);
    }
}

/// The rule with this step's factors.
struct AdamRule<R> {
    betas: [R; 2],
    /// 1 - beta.
    rests: [R; 2],
    decay: R,
    /// The learning rate over the correction of the first moment.
    rate: R,
    /// The root of the correction of the second moment.
    root: R,
    epsilon: R,
    has_largest: bool,
}

impl<R: Real> UpdateRule<R, 3> for AdamRule<R> {
    #[inline(always)]
    fn apply<S: Simd>(
        &self,
        simd: S,
        p: R::Vector<S>,
        g: R::Vector<S>,
        [m, v, largest]: &mut [R::Vector<S>; 3],
    ) -> R::Vector<S> {
        let [beta1, beta2] = [
            R::Vector::<S>::splat(simd, self.betas[0]),
            R::Vector::<S>::splat(simd, self.betas[1]),
        ];
        let [rest1, rest2] = [
            R::Vector::<S>::splat(simd, self.rests[0]),
            R::Vector::<S>::splat(simd, self.rests[1]),
        ];
        *m = beta1 * *m + rest1 * g;
        *v = beta2 * *v + rest2 * g * g;
        let mut scale = *v;
        if self.has_largest {
            scale = largest.or_larger(scale);
            *largest = scale;
        }
        let [decay, rate] = [
            R::Vector::<S>::splat(simd, self.decay),
            R::Vector::<S>::splat(simd, self.rate),
        ];
        let [root, epsilon] = [
            R::Vector::<S>::splat(simd, self.root),
            R::Vector::<S>::splat(simd, self.epsilon),
        ];
        p * decay - rate * *m / (scale.sqrt() / root + epsilon)
    }
}
