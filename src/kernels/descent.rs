//! The common part of the optimizers: [`Sgd`](super::Sgd), [`Adam`](super::Adam),
//! [`Rmsprop`](super::Rmsprop).

use rayon::prelude::*;

use super::{Arg, Scalar, Shader, control, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
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

    /// Replaces each parameter by `rule(parameter, gradient, its moments)`, with the gradient
    /// clipped and decayed. The rule changes the moments; where one is not kept, 0 stands in its
    /// place.
    pub(super) fn update<R: Real, const N: usize>(
        &self,
        memory: &Memory<R>,
        moments: [&Tensor; N],
        rule: impl Fn(R, R, &mut [R; N]) -> R + Sync,
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
                pulp::Arch::new().dispatch(Task {
                    parameters,
                    gradients,
                    moments,
                    change: |p: R, g: R, own: &mut [R; N]| {
                        rule(p, (g * factor).clipped(limit) + l2 * p, own)
                    },
                });
            });
    }

    fn limit(&self) -> f64 {
        self.clip_value.unwrap_or(f32::MAX.into())
    }
}

/// Some of the parameters, and what belongs to them.
struct Task<'a, R, F, const N: usize> {
    parameters: &'a mut [R],
    gradients: &'a [R],
    moments: &'a mut [&'a mut [R]; N],
    change: F,
}

/// A loop over numbers, which the compiler makes vector code of: here with the widest instructions
/// that there are.
impl<R: Real, F: Fn(R, R, &mut [R; N]) -> R, const N: usize> pulp::WithSimd for Task<'_, R, F, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let blocks = self.parameters.chunks_mut(BLOCK);
        for (number, (parameters, gradients)) in
            blocks.zip(self.gradients.chunks(BLOCK)).enumerate()
        {
            // Copies of what nothing else can be: the compiler then need not ask which slices are
            // the same memory.
            let (mut p, mut g) = ([R::zero(); BLOCK], [R::zero(); BLOCK]);
            let mut moments_of = [[R::zero(); BLOCK]; N];
            let own = number * BLOCK..number * BLOCK + parameters.len();
            p[..own.len()].copy_from_slice(parameters);
            g[..own.len()].copy_from_slice(gradients);
            for (copy, moment) in moments_of.iter_mut().zip(&*self.moments) {
                copy[..own.len()].copy_from_slice(&moment[own.clone()]);
            }
            for at in 0..BLOCK {
                let mut own: [R; N] = std::array::from_fn(|n| moments_of[n][at]);
                p[at] = (self.change)(p[at], g[at], &mut own);
                for n in 0..N {
                    moments_of[n][at] = own[n];
                }
            }
            parameters.copy_from_slice(&p[..own.len()]);
            for (copy, moment) in moments_of.iter().zip(&mut *self.moments) {
                moment[own.clone()].copy_from_slice(&copy[..own.len()]);
            }
        }
    }
}

/// Parameters that a thread updates at a time.
const TASK: usize = 4096;

/// Parameters that are copied and updated together.
const BLOCK: usize = 64;
