use pulp::Simd;

use super::descent::{Descent, UpdateRule};
use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, write};
use crate::memory::Memory;
use crate::numeric::real::{Lanes, Real};
use crate::tensor::Tensor;

/// Stochastic gradient descent with momentum: `v = momentum * v + (1 - dampening) * g`, and `v = g`
/// in the first step; then `p -= rate * v` or, with Nesterov momentum,
/// `p -= rate * (g + momentum * v)`.
///
/// This is PyTorch's `SGD` and, without dampening, TensorFlow's `MomentumOptimizer`.
#[derive(Debug, Clone)]
pub struct Sgd {
    pub descent: Descent,
    /// `[count]`: v; empty without momentum: `p -= rate * g`.
    pub velocity: Tensor,
    pub momentum: f64,
    pub dampening: f64,
    pub nesterov: bool,
}

impl Kernel for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn args(&self) -> Vec<Arg> {
        let mut args = self.descent.args();
        args.push(write("velocity", self.velocity));
        args
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let mut uniform = self.descent.uniform();
        uniform.extend([
            ("momentum", Scalar::F32(self.momentum as f32)),
            ("rest", Scalar::F32((1.0 - self.dampening) as f32)),
            ("nesterov", Scalar::from(self.nesterov)),
            ("has_velocity", Scalar::from(!self.velocity.is_empty())),
        ]);
        uniform
    }

    fn shader(&self) -> Shader {
        Descent::shader([include_str!("../../shaders/sgd.wgsl")])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.descent.parameters.len(), 64)
    }

    fn cost(&self) -> Cost {
        let count = self.descent.parameters.len() as f64;
        let velocity = self.velocity.len() as f64;
        Cost {
            flops: 4.0 * count + 5.0 * velocity,
            bytes: 12.0 * count + 8.0 * velocity,
        }
    }
}

impl Sgd {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (updates, rate) = self.descent.updates_and_rate(memory);
        let rule = SgdRule {
            momentum: R::of(self.momentum),
            rest: R::of(1.0 - self.dampening),
            rate,
            has_velocity: !self.velocity.is_empty(),
            is_first: updates == 0,
            nesterov: self.nesterov,
        };
        self.descent.update(memory, [&self.velocity], rule);
    }
}

/// The rule with this step's factors.
struct SgdRule<R> {
    momentum: R,
    /// 1 - dampening.
    rest: R,
    rate: R,
    has_velocity: bool,
    is_first: bool,
    nesterov: bool,
}

impl<R: Real> UpdateRule<R, 1> for SgdRule<R> {
    #[inline(always)]
    fn apply<S: Simd>(
        &self,
        simd: S,
        p: R::Vector<S>,
        g: R::Vector<S>,
        [v]: &mut [R::Vector<S>; 1],
    ) -> R::Vector<S> {
        let [rate, momentum, rest] = [
            R::Vector::<S>::splat(simd, self.rate),
            R::Vector::<S>::splat(simd, self.momentum),
            R::Vector::<S>::splat(simd, self.rest),
        ];
        if !self.has_velocity {
            return p - rate * g;
        }
        *v = if self.is_first {
            g
        } else {
            momentum * *v + rest * g
        };
        p - rate * if self.nesterov { g + momentum * *v } else { *v }
    }
}
