//! The common part of the optimizers: [`Sgd`](super::Sgd), [`Adam`](super::Adam),
//! [`Rmsprop`](super::Rmsprop).

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Arg, Scalar, Shader, control, read, write};
use crate::memory::Memory;
use crate::numeric::real::{Lanes, Number, Real};
use crate::tensor::Tensor;

/// The tensors and settings that every optimizer uses.
#[derive(Debug, Clone, Copy)]
pub struct Descent {
    /// `[count]`.
    pub parameters: Tensor,
    /// `[count]`: the result of the backward pass.
    pub gradients: Tensor,
    /// The [`control`] words, which hold the number of updates so far.
    pub control: Tensor,
    /// `[rows]`: the learning rates of the steps until the next readback.
    pub rates: Tensor,
    /// `[2]`: the result of [`ClipFactor`](super::ClipFactor), whose factor multiplies the
    /// gradients first.
    pub norm: Tensor,
    /// The limit to which each gradient is then clipped.
    pub clip_value: Option<f64>,
    /// The coefficient of weight decay as an L2 penalty: `l2 * parameter` is then added to each
    /// gradient.
    pub l2: f64,
}

impl Descent {
    /// Returns an optimizer's shader: `parts` and the common part, with the bindings of
    /// [`Descent::args`].
    pub(super) fn shader(parts: impl IntoIterator<Item = &'static str>) -> Shader {
        Shader::new(parts)
            .with(include_str!("../../shaders/common/descent.wgsl"))
            .with(control::wgsl())
    }

    /// Returns the first bindings of an optimizer.
    pub(super) fn args(&self) -> Vec<Arg> {
        vec![
            write("parameters", self.parameters),
            read("gradients", self.gradients),
            read("control", self.control),
            read("rates", self.rates),
            read("norm", self.norm),
        ]
    }

    /// Returns the first scalars of an optimizer.
    pub(super) fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("count", Scalar::count(self.parameters.len())),
            ("clip_value", Scalar::F32(self.limit() as f32)),
            ("l2", Scalar::F32(self.l2 as f32)),
        ]
    }

    /// Returns the number of updates before this one, and its learning rate.
    pub(super) fn updates_and_rate<R: Real>(&self, memory: &Memory<R>) -> (u32, R) {
        let control = memory.read_index(&self.control);
        let rate = memory.read(&self.rates)[control[control::ROW] as usize];
        (control[control::STEP], rate)
    }

    /// Replaces each parameter by what `rule` returns for its gradient, clipped and decayed. The
    /// rule changes the moments; where one is not kept, 0 stands in its place.
    pub(super) fn update<R: Real, const N: usize>(
        &self,
        memory: &Memory<R>,
        moments: [&Tensor; N],
        rule: impl UpdateRule<R, N>,
    ) {
        let factor = memory.read(&self.norm)[1];
        let (l2, limit) = (R::of(self.l2), R::of(self.limit()));
        let gradients = memory.read(&self.gradients);
        let mut parameters = memory.write(&self.parameters);
        let mut moments = moments.map(|moment| memory.write(moment));
        let mut tasks: Vec<_> = parameters
            .chunks_mut(TASK)
            .zip(gradients.chunks(TASK))
            .map(|(parameters, gradients)| (parameters, gradients, Vec::with_capacity(N)))
            .collect();
        for moment in &mut moments {
            let chunks = moment.chunks_mut(TASK).map(Some);
            let chunks = chunks.chain(std::iter::repeat_with(|| None));
            let tasks = tasks.iter_mut().zip(chunks);
            tasks.for_each(|((.., moments), chunk)| moments.push(chunk));
        }
        tasks
            .into_par_iter()
            .for_each(|(parameters, gradients, moments)| {
                // Every slice has the same length, so that the loop need not ask which moments
                // there are.
                let mut absent = [const { vec![] }; N];
                let mut slices: Vec<&mut [R]> = moments
                    .into_iter()
                    .zip(&mut absent)
                    .map(|(moment, absent)| {
                        moment.unwrap_or_else(|| {
                            absent.resize(parameters.len(), R::zero());
                            absent
                        })
                    })
                    .collect();
                let moments: &mut [&mut [R]; N] =
                    (&mut slices[..]).try_into().expect("one for each moment");
                R::vectorize(Task {
                    parameters,
                    gradients,
                    moments,
                    rule: &rule,
                    factor,
                    limit,
                    l2,
                });
            });
    }

    fn limit(&self) -> f64 {
        self.clip_value.unwrap_or(f32::MAX.into())
    }
}

/// The rule of an optimizer, over a vector of parameters.
///
/// It is a trait and not a closure: only code that is always inlined takes on the instruction set
/// of its caller.
pub(super) trait UpdateRule<R: Real, const N: usize>: Sync {
    /// Returns the new values of the parameters `p` with the gradients `g`, and replaces their
    /// moments.
    fn apply<S: Simd>(
        &self,
        simd: S,
        p: R::Vector<S>,
        g: R::Vector<S>,
        moments: &mut [R::Vector<S>; N],
    ) -> R::Vector<S>;
}

/// Some of the parameters, and what belongs to them.
struct Task<'a, R, U, const N: usize> {
    parameters: &'a mut [R],
    gradients: &'a [R],
    moments: &'a mut [&'a mut [R]; N],
    rule: &'a U,
    /// Multiplies the gradients.
    factor: R,
    /// To which they are then clipped.
    limit: R,
    /// Times the parameter, is then added to them.
    l2: R,
}

impl<R: Real, U: UpdateRule<R, N>, const N: usize> WithSimd for Task<'_, R, U, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = <R::Vector<S> as Lanes<S, R>>::LANES;
        let (all, mut first) = (self.parameters.len(), 0);
        // A loop of its own for whole vectors, whose length is then a constant where it is loaded.
        while first + lanes <= all {
            self.update(simd, first..first + lanes);
            first += lanes;
        }
        if first < all {
            self.update(simd, first..all);
        }
    }
}

impl<R: Real, U: UpdateRule<R, N>, const N: usize> Task<'_, R, U, N> {
    /// Updates at most a vector of parameters.
    #[inline(always)]
    fn update<S: Simd>(&mut self, simd: S, own: Range<usize>) {
        let [factor, limit, l2] = [
            R::Vector::<S>::splat(simd, self.factor),
            R::Vector::<S>::splat(simd, self.limit),
            R::Vector::<S>::splat(simd, self.l2),
        ];
        let p = R::Vector::<S>::load(simd, &self.parameters[own.clone()]);
        let g = R::Vector::<S>::load(simd, &self.gradients[own.clone()]);
        let g = (g * factor).clipped(limit) + l2 * p;
        let mut moments = [R::Vector::<S>::splat(simd, R::zero()); N];
        for (loaded, moment) in moments.iter_mut().zip(&*self.moments) {
            *loaded = R::Vector::<S>::load(simd, &moment[own.clone()]);
        }
        let p = self.rule.apply(simd, p, g, &mut moments);
        p.store(&mut self.parameters[own.clone()]);
        for (changed, moment) in moments.into_iter().zip(&mut *self.moments) {
            changed.store(&mut moment[own.clone()]);
        }
    }
}

/// Parameters that a thread updates at a time.
const TASK: usize = 4096;
