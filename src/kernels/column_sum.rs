use rayon::prelude::*;

use super::words::wgsl_constants;
use super::{
    Arg, BLOCK_STEPS, Cost, Kernel, Scalar, Shader, linear_grid, read, time_blocks, write,
};
use crate::memory::Memory;
use crate::numeric::gemm::RowBlocks;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Sums a matrix over its rows, `out[n] = sum over m of source[m, n]`: the gradient of a bias. With
/// a factor it sums `source[m, n] * factor[m, n]`: the gradient of peepholes, which are elementwise
/// weights.
#[derive(Debug, Clone)]
pub struct ColumnSum {
    /// `[rows, stride]`; the first columns are summed.
    pub source: Tensor,
    /// `[rows, columns]`.
    pub factor: Option<Tensor>,
    /// `[B]`: if given, the rows are `[T, B]`, and padded steps are left out.
    pub lengths: Option<Tensor>,
    /// `[copies, columns]`, equal rows: two biases that are added have the same gradient.
    pub out: Tensor,
    pub copies: usize,
    pub rows: usize,
    pub stride: usize,
    /// Whether the sums are added to the first row of `out`.
    pub accumulate: bool,
}

/// Columns of one CPU task.
const TASK_COLUMNS: usize = 64;
/// Columns of a workgroup.
const COLUMNS: usize = 32;
/// Invocations that share the rows of a column, in a matrix of many rows.
const LANES: usize = 8;

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
            ("accumulate", Scalar::from(self.accumulate)),
        ]
    }

    fn shader(&self) -> Shader {
        let mut constants = vec![("COLUMNS", COLUMNS as f64), ("LANES", self.lanes() as f64)];
        constants.extend(self.factor.map(|_| ("FACTORS", 1.0)));
        constants.extend(self.lengths.map(|_| ("RAGGED", 1.0)));
        Shader::new([include_str!("../../shaders/column_sum.wgsl")])
            .with_constants(constants)
            .with(wgsl_constants(&[("BLOCK_STEPS", BLOCK_STEPS)]))
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.columns(), COLUMNS)
    }

    fn iterations(&self) -> usize {
        let sequences = self.batch().div_ceil(self.lanes());
        let steps = self.rows.div_ceil(self.batch());
        let blocks = steps.div_ceil(BLOCK_STEPS);
        sequences * (blocks + steps) + blocks * (1 + LANES) + self.copies
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

    /// Returns the rows of `out`, which the CPU borrows one by one.
    pub(super) fn each_copy(&self) -> Vec<Tensor> {
        let columns = self.columns();
        let copy = |n| self.out.part(n * columns, [columns]);
        (0..self.copies).map(copy).collect()
    }

    /// Returns the number of invocations that share the rows of a column.
    fn lanes(&self) -> usize {
        if self.rows < 8 * LANES { 1 } else { LANES }
    }

    /// Returns B, or the number of rows if these are not steps of sequences.
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
            Some(lengths) => time_blocks(self.rows, &memory.read_index(&lengths), |_| true),
            None => RowBlocks::all(self.rows),
        };
        let mut copies = memory.write_each(&self.each_copy());
        let (out, others) = copies.split_first_mut().expect("there is at least one");
        out.par_chunks_mut(TASK_COLUMNS)
            .enumerate()
            .for_each(|(number, out)| {
                let first = number * TASK_COLUMNS;
                if !self.accumulate {
                    out.fill(R::zero());
                }
                for rows in rows.iter() {
                    let mut block = [R::zero(); TASK_COLUMNS];
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
        others.iter_mut().for_each(|copy| copy.copy_from_slice(out));
    }
}
