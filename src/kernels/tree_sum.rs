use rayon::prelude::*;

use super::{Arg, Cost, Kernel, Scalar, Shader, control, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Adds the gradients of the parts of an update in a binary tree: those of parts 0 and 1, of 2 and
/// 3, then these sums, and so on. A call takes one part; the sums that wait for their partner are
/// kept, one for each level of the tree. Where parts are missing at the end of an update, a sum
/// without a partner moves up as it is.
///
/// Operands and sums that are smaller than the least normal number become 0, so that the sums have
/// the same bits on devices that flush such values and on those that do not.
#[derive(Debug, Clone)]
pub struct TreeSum {
    /// `[count]`.
    pub gradients: Tensor,
    pub control: Tensor,
    /// `[levels, count]`, with at least one level: the sums that wait for their partner.
    pub partials: Tensor,
    /// `[count]`: the sum of all parts, after the last one.
    pub sums: Tensor,
    /// Sequences of a part.
    pub batch: usize,
    /// Parts of a whole update, a power of two.
    pub leaves: usize,
    /// Whether the part is the last one of its update.
    pub ends: bool,
}

/// Elements of one CPU task.
const TASK: usize = 1 << 14;

/// Returns `value`, or 0 where its magnitude is below the least normal number of f32; NaN stays
/// NaN.
pub(crate) fn flushed<R: Real>(value: R) -> R {
    let least = R::of(f64::from(f32::MIN_POSITIVE));
    let small = R::where_larger(value, -least, R::zero(), value);
    R::where_larger(least, value, small, value)
}

impl Kernel for TreeSum {
    fn name(&self) -> &'static str {
        "tree_sum"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("gradients", self.gradients),
            read("control", self.control),
            write("partials", self.partials),
            write("sums", self.sums),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("count", Scalar::count(self.gradients.len())),
            ("batch", Scalar::count(self.batch)),
            ("levels", Scalar::count(self.levels())),
            ("ends", Scalar::from(self.ends)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/tree_sum.wgsl")]).with(control::wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.gradients.len(), 64)
    }

    fn cost(&self) -> Cost {
        let count = self.gradients.len() as f64;
        // A part has one partner on average.
        Cost {
            flops: count,
            bytes: 12.0 * count,
        }
    }
}

impl TreeSum {
    /// The levels of the tree below its root.
    fn levels(&self) -> usize {
        self.leaves.ilog2() as usize
    }

    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let taken = memory.read_index(&self.control)[control::TAKEN] as usize;
        let (leaf, count) = (taken / self.batch, self.gradients.len());
        let mut values: Vec<R> = memory.read(&self.gradients).to_vec();
        let mut partials = memory.write(&self.partials);
        (values.par_iter_mut()).for_each(|value| *value = flushed(*value));
        for level in 0..self.levels() {
            let partial = &mut partials[level * count..][..count];
            if leaf >> level & 1 == 1 {
                let tasks = values.par_chunks_mut(TASK).zip(partial.par_chunks(TASK));
                tasks.for_each(|(values, partial)| {
                    let pairs = values.iter_mut().zip(partial);
                    pairs.for_each(|(value, &before)| *value = flushed(before + *value));
                });
            } else if !self.ends {
                partial.copy_from_slice(&values);
                return;
            }
        }
        memory.write(&self.sums).copy_from_slice(&values);
    }
}
