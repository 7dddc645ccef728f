use super::words::ignore_wgsl;
use super::{Arg, Cost, IGNORE, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Counts the ranks of the labelled classes and the confusion matrix, and adds both to the counts
/// so far.
///
/// Classes are ranked by descending output, and by ascending class among equal outputs. NaN ranks
/// above every number.
#[derive(Debug, Clone)]
pub struct Tally {
    /// `[rows, K]`.
    pub outputs: Tensor,
    /// `[rows]`: classes below K, or [`IGNORE`] for a row that is not counted.
    pub labels: Tensor,
    /// `[K, K]`: number of outputs by label (first index) and top-ranked class. Empty if it is not
    /// counted.
    pub confusion: Tensor,
    /// `[K]`: number of outputs by the rank of their label, from 0.
    pub ranks: Tensor,
    /// K.
    pub classes: usize,
}

impl Tally {
    /// The largest number of classes for which the confusion matrix is counted.
    pub const LARGEST_CONFUSION: usize = 1024;
}

impl Kernel for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("outputs", self.outputs),
            read("labels", self.labels),
            write("confusion", self.confusion),
            write("ranks", self.ranks),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("rows", Scalar::count(self.labels.len())),
            ("classes", Scalar::count(self.classes)),
            ("confuses", Scalar::from(!self.confusion.is_empty())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/tally.wgsl"),
            include_str!("../../shaders/common/key.wgsl"),
        ])
        .with(ignore_wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.labels.len(), 1)
    }

    fn iterations(&self) -> usize {
        self.classes / 32 + 64
    }

    fn cost(&self) -> Cost {
        let elements = self.outputs.len() as f64;
        Cost {
            flops: 3.0 * elements,
            bytes: 4.0 * elements,
        }
    }
}

impl Tally {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (outputs, labels) = (memory.read(&self.outputs), memory.read_index(&self.labels));
        let mut confusion = memory.write_index(&self.confusion);
        let mut ranks = memory.write_index(&self.ranks);
        let is_nan = |value: R| value.f64().is_nan();
        let is_larger = |a: R, b: R| a > b || (is_nan(a) && !is_nan(b));
        let rows = outputs.chunks_exact(self.classes).zip(labels.iter());
        for (outputs, &label) in rows.filter(|(_, label)| **label != IGNORE) {
            let label = label as usize;
            let comes_before = |a: usize, b: usize| {
                is_larger(outputs[a], outputs[b]) || (a < b && !is_larger(outputs[b], outputs[a]))
            };
            let classes = 0..self.classes;
            let ahead = classes.clone().filter(|&k| comes_before(k, label)).count();
            ranks[ahead] += 1;
            if !confusion.is_empty() {
                let first =
                    classes.fold(0, |first, k| if comes_before(k, first) { k } else { first });
                confusion[label * self.classes + first] += 1;
            }
        }
    }
}
