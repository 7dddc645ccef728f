use rayon::prelude::*;

use super::ctc::{CtcStates, Emissions, ctc_shader, ctc_uniform, is_log_zero, log_zero};
use super::{Arg, Cost, IGNORE, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Computes the loss of connectionist temporal classification (Graves et al. 2006): minus the
/// logarithm of the probability of all alignments of a sequence's labels with its steps, divided by
/// the number of labels as in `nn.CTCLoss` of PyTorch. Class 0 is the blank.
///
/// The logarithms of partial alignments are kept relative to the likeliest class of each step, so
/// that their size, and with it the rounding error, does not grow with T where a network is
/// certain.
#[derive(Debug, Clone)]
pub struct CtcPaths {
    /// `[T * B, K]`.
    pub logits: Tensor,
    /// `[2, T * B]`: the result of [`LogSumExp`](super::LogSumExp).
    pub norms: Tensor,
    /// `[L, B]`: the labels of each sequence, each 1 to K - 1, then [`IGNORE`].
    pub lists: Tensor,
    /// `[B]`: 0, or [`IGNORE`] for a sequence that is not learnt.
    pub labels: Tensor,
    /// `[B]`.
    pub lengths: Tensor,
    /// `[2, B, T, 2 L + 1]`: ln of the probabilities of partial alignments that are in a state at a
    /// step, from the beginning; then those from the end, with steps and states counted from there.
    pub paths: Tensor,
    /// `[2, B]`: the loss of each sequence, and zeros.
    pub scores: Tensor,
    /// T.
    pub steps: usize,
    /// K.
    pub classes: usize,
    /// Whether the loss is 0 where no alignment exists; else it is infinite.
    pub zero_infinity: bool,
}

impl CtcPaths {
    /// B.
    fn batch(&self) -> usize {
        self.labels.len()
    }

    /// L.
    fn longest(&self) -> usize {
        self.lists.len() / self.batch()
    }

    /// The loss where no alignment exists.
    fn infeasible(&self) -> f32 {
        if self.zero_infinity {
            0.0
        } else {
            f32::INFINITY
        }
    }
}

impl Kernel for CtcPaths {
    fn name(&self) -> &'static str {
        "ctc_paths"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("logits", self.logits),
            read("norms", self.norms),
            read("lists", self.lists),
            read("labels", self.labels),
            read("lengths", self.lengths),
            write("paths", self.paths),
            write("scores", self.scores),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let sizes = [self.steps, self.batch(), self.classes, self.longest()];
        ctc_uniform(sizes, self.infeasible())
    }

    fn shader(&self) -> Shader {
        ctc_shader(include_str!("../../shaders/ctc_paths.wgsl"))
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(2 * self.batch(), 1)
    }

    fn iterations(&self) -> usize {
        let states = 2 * self.longest() + 1;
        self.longest() + self.steps * (states / 64 + 3) + 64
    }

    fn cost(&self) -> Cost {
        let elements = self.paths.len() as f64;
        Cost {
            flops: 60.0 * elements,
            bytes: 8.0 * elements,
        }
    }
}

impl CtcPaths {
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
        let lengths = memory.read_index(&self.lengths);
        let (lists, labels, lengths) = (&*lists, &*labels, &*lengths);
        let states = |b: usize| CtcStates::new(lists, [labels, lengths], b, self.steps);
        let mut paths = memory.write(&self.paths);
        let (batch, each) = (self.batch(), self.steps * (2 * self.longest() + 1));
        paths
            .par_chunks_mut(each)
            .enumerate()
            .for_each(|(index, paths)| {
                let is_backward = index >= batch;
                self.fill(&states(index % batch), emissions, is_backward, paths);
            });
        let mut scores = memory.write(&self.scores);
        let (losses, rest) = scores.split_at_mut(batch);
        rest.fill(R::zero());
        for (b, loss) in losses.iter_mut().enumerate() {
            *loss = match labels[b] {
                IGNORE => R::zero(),
                _ => self.loss(&states(b), &norms, &paths[b * each..][..each]),
            };
        }
    }

    /// Fills the paths `[T, 2 L + 1]` of one direction of a sequence.
    fn fill<R: Real>(
        &self,
        states: &CtcStates,
        emissions: Emissions<R>,
        is_backward: bool,
        paths: &mut [R],
    ) {
        let (count, length, width) = (states.states(), states.length, 2 * self.longest() + 1);
        let class = |n: usize| states.class(if is_backward { count - 1 - n } else { n });
        for step in 0..length {
            let t = if is_backward { length - 1 - step } else { step };
            let row = t * self.batch() + states.b();
            let (before, own) = paths.split_at_mut(step * width);
            let before = &before[step.saturating_sub(1) * width..];
            for (n, value) in own[..count].iter_mut().enumerate() {
                let sum = if step == 0 {
                    if n < 2 { R::zero() } else { log_zero() }
                } else {
                    let last = if n > 0 { before[n - 1] } else { log_zero() };
                    // A blank may be skipped between two labels that differ; all blanks are equal.
                    let skips = n > 1 && class(n) != class(n - 2);
                    let skipped = if skips { before[n - 2] } else { log_zero() };
                    log_sum([before[n], last, skipped])
                };
                *value = if is_log_zero(sum) {
                    sum
                } else {
                    sum + emissions.of(row, class(n))
                };
            }
        }
    }

    /// Returns the loss of a sequence with these paths from its beginning.
    fn loss<R: Real>(&self, states: &CtcStates, norms: &[R], paths: &[R]) -> R {
        let (batch, width) = (self.batch(), 2 * self.longest() + 1);
        let rows = self.steps * batch;
        let of_steps = (0..states.length).map(|t| norms[rows + t * batch + states.b()]);
        let norm = of_steps.fold(R::zero(), |sum, norm| sum + norm);
        let value = match states.length {
            // No step explains no label.
            0 if states.count == 0 => R::zero(),
            0 => log_zero(),
            length => {
                let last = &paths[(length - 1) * width..][..states.states()];
                match *last {
                    [only] => only,
                    [.., label, blank] => log_sum([blank, label, log_zero()]),
                    [] => log_zero(),
                }
            }
        };
        if is_log_zero(value) {
            R::of(f64::from(self.infeasible()))
        } else {
            (norm - value) / R::of(states.count.max(1) as f64)
        }
    }
}

/// ln of the sum of e^x, where the logarithm of 0 adds nothing.
fn log_sum<R: Real>(terms: [R; 3]) -> R {
    if terms.iter().all(|&term| is_log_zero(term)) {
        return terms[0];
    }
    Real::log_sum(terms)
}
