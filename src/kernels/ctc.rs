//! What the kernels of CTC share: the states of a sequence, and their emissions.

use super::words::{ignore_wgsl, wgsl_constants};
use super::{IGNORE, Scalar, Shader};
use crate::numeric::real::Real;

pub use crate::metrics::BLANK;

/// Stands for the logarithm of 0: below every logarithm of a probability, and exact in f32.
pub(super) const LOG_ZERO: f32 = -1e30;

/// Returns the shader of a kernel whose own part is `own`.
pub(super) fn ctc_shader(own: &'static str) -> Shader {
    let constants = wgsl_constants(&[("BLANK", BLANK as usize)]);
    Shader::new([
        own,
        include_str!("../../shaders/common/ctc.wgsl"),
        include_str!("../../shaders/common/reduce.wgsl"),
        include_str!("../../shaders/common/math.wgsl"),
        include_str!("../../shaders/common/one.wgsl"),
    ])
    .with("alias Rows = f32;\n")
    .with(ignore_wgsl())
    .with(constants + &format!("const LOG_ZERO = {LOG_ZERO:?};\n"))
}

/// Returns the uniform of a kernel, from T, B, K, L and the value where no alignment exists.
pub(super) fn ctc_uniform(sizes: [usize; 4], infeasible: f32) -> Vec<(&'static str, Scalar)> {
    let names = ["steps", "batch", "classes", "longest"];
    let sizes = names.into_iter().zip(sizes.map(Scalar::count));
    sizes
        .chain([("infeasible", Scalar::F32(infeasible))])
        .collect()
}

/// The states of one sequence: blank, label, blank, ..., label, blank.
pub(super) struct CtcStates<'a> {
    /// `[L, B]`.
    lists: &'a [u32],
    batch: usize,
    b: usize,
    /// The labels of the sequence.
    pub count: usize,
    /// The valid steps of the sequence.
    pub length: usize,
}

/// The logits of a batch, `[T * B, K]`, and the result of [`LogSumExp`](super::LogSumExp).
#[derive(Clone, Copy)]
pub(super) struct Emissions<'a, R> {
    pub logits: &'a [R],
    pub norms: &'a [R],
    pub classes: usize,
}

impl<R: Real> Emissions<'_, R> {
    /// Returns ln of the probability of a class at row `t * B + b`, plus the row's
    /// `ln Σ e^(logit - largest)`.
    pub fn of(&self, row: usize, class: u32) -> R {
        self.logits[row * self.classes + class as usize] - self.norms[row]
    }
}

impl<'a> CtcStates<'a> {
    /// Returns the states of sequence `b` of `batch`; it has no steps if its label says that it is
    /// to be ignored.
    pub fn new(
        lists: &'a [u32],
        [labels, lengths]: [&[u32]; 2],
        b: usize,
        steps: usize,
    ) -> CtcStates<'a> {
        let batch = labels.len();
        let own = lists.iter().skip(b).step_by(batch);
        let length = match labels[b] {
            IGNORE => 0,
            _ => (lengths[b] as usize).min(steps),
        };
        CtcStates {
            lists,
            batch,
            b,
            count: own.take_while(|&&label| label != IGNORE).count(),
            length,
        }
    }

    /// Returns the index of the sequence in its batch.
    pub fn b(&self) -> usize {
        self.b
    }

    /// Returns label `j`.
    pub fn label(&self, j: usize) -> u32 {
        self.lists[j * self.batch + self.b]
    }

    /// Returns the number of states.
    pub fn states(&self) -> usize {
        2 * self.count + 1
    }

    /// Returns the class of a state.
    pub fn class(&self, state: usize) -> u32 {
        if state.is_multiple_of(2) {
            BLANK
        } else {
            self.label(state / 2)
        }
    }
}

/// Whether a logarithm is that of 0.
pub(super) fn is_log_zero<R: Real>(value: R) -> bool {
    value.f64() == f64::from(LOG_ZERO)
}

/// Returns the logarithm of 0.
pub(super) fn log_zero<R: Real>() -> R {
    R::of(f64::from(LOG_ZERO))
}
