use rayon::prelude::*;

use super::ctc::{CtcStates, Emissions, ctc_shader, ctc_uniform, is_log_zero, log_zero};
use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::{Number, Real};
use crate::tensor::Tensor;

/// Computes the gradient of the loss of [`CtcPaths`](super::CtcPaths) with respect to logits, times
/// `weight` (Graves et al. 2006, equation 16): the softmax minus the share of the alignments that
/// have the class at this step. The shares of a step are divided by their sum, and those of a class
/// are added in the order of the labels.
#[derive(Debug, Clone)]
pub struct CtcGradient {
    /// `[T * B, K]`.
    pub logits: Tensor,
    /// `[2, T * B]`: the result of [`LogSumExp`](super::LogSumExp).
    pub norms: Tensor,
    /// `[L, B]`: the labels of each sequence, then [`IGNORE`](super::IGNORE).
    pub lists: Tensor,
    /// `[B]`: 0, or [`IGNORE`](super::IGNORE) for a sequence that is not learnt.
    pub labels: Tensor,
    /// `[B]`.
    pub lengths: Tensor,
    /// `[2, B, T, 2 L + 1]`: the result of [`CtcPaths`](super::CtcPaths).
    pub paths: Tensor,
    /// `[2]`: the result of [`LabelWeight`](super::LabelWeight).
    pub weight: Tensor,
    /// `[T * B, K]`; 0 at padded steps.
    pub dlogits: Tensor,
    /// T.
    pub steps: usize,
    /// K.
    pub classes: usize,
    /// Whether the gradient is 0 where no alignment exists; else it is NaN at valid steps.
    pub zero_infinity: bool,
}

impl CtcGradient {
    /// B.
    fn batch(&self) -> usize {
        self.labels.len()
    }

    /// L.
    fn longest(&self) -> usize {
        self.lists.len() / self.batch()
    }

    /// The gradient where no alignment exists.
    fn infeasible(&self) -> f32 {
        if self.zero_infinity { 0.0 } else { f32::NAN }
    }
}

impl Kernel for CtcGradient {
    fn name(&self) -> &'static str {
        "ctc_gradient"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("logits", self.logits),
            read("norms", self.norms),
            read("lists", self.lists),
            read("labels", self.labels),
            read("lengths", self.lengths),
            read("paths", self.paths),
            read("weight", self.weight),
            write("dlogits", self.dlogits),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let sizes = [self.steps, self.batch(), self.classes, self.longest()];
        ctc_uniform(sizes, self.infeasible())
    }

    fn shader(&self) -> Shader {
        ctc_shader(include_str!("../../shaders/ctc_gradient.wgsl"))
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.steps * self.batch(), 1)
    }

    fn iterations(&self) -> usize {
        let longest = self.longest();
        longest + 2 * (longest / 32 + 2) + (self.classes / 64 + 1) * (longest + 2) + 64
    }

    fn cost(&self) -> Cost {
        let (elements, paths) = (self.logits.len() as f64, self.paths.len() as f64);
        Cost {
            flops: 15.0 * (elements + paths),
            bytes: 8.0 * elements + 4.0 * paths,
        }
    }
}

impl CtcGradient {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (logits, norms) = (memory.read(&self.logits), memory.read(&self.norms));
        let emissions = Emissions {
            logits: &logits,
            norms: &norms,
            classes: self.classes,
        };
        let (lists, labels) = (
            memory.read_index(&self.lists),
            memory.read_index(&self.labels),
        );
        let (lengths, paths) = (memory.read_index(&self.lengths), memory.read(&self.paths));
        let (lists, paths) = (&*lists, &*paths);
        let of_batch = [&*labels, &*lengths];
        let scale = memory.read(&self.weight)[0];
        let mut dlogits = memory.write(&self.dlogits);
        let batch = self.batch();
        dlogits
            .par_chunks_mut(batch * self.classes)
            .enumerate()
            .for_each(|(t, dlogits)| {
                for (b, dlogits) in dlogits.chunks_exact_mut(self.classes).enumerate() {
                    let states = CtcStates::new(lists, of_batch, b, self.steps);
                    if t < states.length {
                        self.fill(&states, emissions, t, paths, dlogits);
                        let scale = scale / R::of(states.count.max(1) as f64);
                        dlogits.iter_mut().for_each(|d| *d *= scale);
                    } else {
                        dlogits.fill(R::zero());
                    }
                }
            });
    }

    /// Computes the gradient of step `t` of a sequence, without the weight.
    fn fill<R: Real>(
        &self,
        states: &CtcStates,
        emissions: Emissions<R>,
        t: usize,
        paths: &[R],
        dlogits: &mut [R],
    ) {
        let (count, width) = (states.states(), 2 * self.longest() + 1);
        let (row, batch) = (t * self.batch() + states.b(), self.batch());
        let at = |index: usize, step: usize| (index * self.steps + step) * width;
        let ahead = &paths[at(states.b(), t)..][..count];
        let back = &paths[at(batch + states.b(), states.length - 1 - t)..][..count];
        let through = |s: usize| {
            let pair = [ahead[s], back[count - 1 - s]];
            let is_possible = !pair.into_iter().any(is_log_zero);
            is_possible.then(|| pair[0] + pair[1] - emissions.of(row, states.class(s)))
        };
        let largest = (0..count)
            .filter_map(through)
            .fold(log_zero::<R>(), |all, value| value.or_larger(all));
        let (mut sum, mut shares) = (R::zero(), vec![R::zero(); self.classes]);
        for s in 0..count {
            let Some(value) = through(s) else { continue };
            let share = Number::exp(value - largest);
            sum += share;
            shares[states.class(s) as usize] += share;
        }
        if is_log_zero(largest) {
            dlogits.fill(R::of(f64::from(self.infeasible())));
            return;
        }
        let (part, norm) = (R::one() / sum, emissions.norms[self.steps * batch + row]);
        for (k, (d, share)) in dlogits.iter_mut().zip(shares).enumerate() {
            *d = Number::exp(emissions.of(row, k as u32) - norm) - share * part;
        }
    }
}
