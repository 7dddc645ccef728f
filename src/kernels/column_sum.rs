use rayon::prelude::*;

use super::{Arg, Call, Cost, Kernel, Scalar, Shader, fold, read, steps_that_count, write};
use crate::memory::Memory;
use crate::numeric::gemm::KC;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// `out[n] = sum over m of source[m, n]`: the gradient of a bias. With a factor, of `source[m, n] * factor[m, n]`: the
/// gradient of weights that each multiply one number only.
#[derive(Debug, Clone)]
pub struct ColumnSum {
    /// `[rows, stride]`, of which the first columns count.
    pub source: Tensor,
    /// `[rows, columns]`.
    pub factor: Option<Tensor>,
    /// `[B]`, where the rows are `[T, B]` and those past a sequence's end do not count.
    pub lengths: Option<Tensor>,
    /// `[copies, columns]`, each row the same: two biases of one sum have one gradient.
    pub out: Tensor,
    pub copies: usize,
    pub rows: usize,
    pub stride: usize,
}

/// Columns that a task of the CPU takes.
const COLUMNS_OF_TASK: usize = 64;
/// Columns of a workgroup, and the invocations that share the rows of each, where there are many.
const COLUMNS: usize = 32;
const LANES: usize = 8;

impl From<ColumnSum> for Call {
    fn from(call: ColumnSum) -> Call {
        Call::ColumnSum(call)
    }
}

impl Kernel for ColumnSum {
    fn name(&self) -> &'static str {
        "column_sum"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("source", self.source),
            read("factor", self.factor.unwrap_or(self.source)),
            read("lengths", self.lengths.unwrap_or(self.source)),
            write("out", self.out),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("rows", Scalar::count(self.rows)),
            ("columns", Scalar::count(self.columns())),
            ("copies", Scalar::count(self.copies)),
            ("stride", Scalar::count(self.stride)),
            ("batch", Scalar::count(self.batch())),
        ]
    }

    fn shader(&self) -> Shader {
        let mut constants = vec![("COLUMNS", COLUMNS as f64), ("LANES", self.lanes() as f64)];
        constants.extend(self.factor.map(|_| ("FACTORS", 1.0)));
        constants.extend(self.lengths.map(|_| ("RAGGED", 1.0)));
        Shader {
            parts: vec![include_str!("../../shaders/column_sum.wgsl")],
            constants,
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(self.columns(), COLUMNS)
    }

    fn iterations(&self) -> usize {
        let sequences = self.batch().div_ceil(self.lanes());
        sequences * (1 + self.rows.div_ceil(self.batch())) + LANES + self.copies
    }

    fn cost(&self) -> Cost {
        let elements = (self.rows * self.columns()) as f64;
        let factors = f64::from(u8::from(self.factor.is_some()));
        Cost {
            flops: (1.0 + factors) * elements,
            bytes: 4.0 * (1.0 + factors) * elements,
        }
    }
}

impl ColumnSum {
    pub(super) fn columns(&self) -> usize {
        self.out.len() / self.copies
    }

    /// Invocations that share the rows of a column.
    fn lanes(&self) -> usize {
        if self.rows < 8 * LANES { 1 } else { LANES }
    }

    /// B, or the rows, where they are not of sequences.
    fn batch(&self) -> usize {
        self.lengths.map_or(self.rows, |lengths| lengths.len())
    }

    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let source = memory.read(&self.source);
        let source = &*source;
        let columns = self.columns();
        let factor = self.factor.map(|factor| memory.read(&factor));
        let factor = factor.as_deref();
        let rows = match self.lengths {
            Some(lengths) => steps_that_count(self.rows, &memory.read_index(&lengths)),
            None => (0..self.rows).collect(),
        };
        let mut out = memory.write(&self.out);
        out[..columns]
            .par_chunks_mut(COLUMNS_OF_TASK)
            .enumerate()
            .for_each(|(number, out)| {
                let first = number * COLUMNS_OF_TASK;
                out.fill(R::zero());
                for rows in rows.chunks(KC) {
                    let mut block = [R::zero(); COLUMNS_OF_TASK];
                    for &row in rows {
                        let values = &source[row * self.stride + first..][..out.len()];
                        let sums = block.iter_mut().zip(values);
                        match factor {
                            None => sums.for_each(|(sum, &value)| *sum += value),
                            Some(factor) => {
                                let factors = &factor[row * columns + first..];
                                sums.zip(factors)
                                    .for_each(|((sum, &value), &factor)| *sum += value * factor);
                            }
                        }
                    }
                    out.iter_mut()
                        .zip(&block)
                        .for_each(|(out, &sum)| *out += sum);
                }
            });
        (1..self.copies).for_each(|copy| out.copy_within(..columns, copy * columns));
    }
}
