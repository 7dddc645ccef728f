use std::ops::Range;

use rayon::prelude::*;

use super::words::wgsl_constants;
use super::{
    Arg, BLOCK_STEPS, Cost, Kernel, Scalar, Shader, is_valid_row, read, time_blocks, write,
};
use crate::memory::Memory;
use crate::numeric::gemm::{Addend, PackedB, RowBlocks, TimeSum, TimeSums, View};
use crate::numeric::precision::Precision;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Matmul `c = a @ b + bias`, or `c += a @ b`.
///
/// If the rows or the inner dimension are the T*B steps of sequences, padded steps may be left out:
/// padded rows of `a` then count as zeros, and padded terms of the inner dimension are skipped.
#[derive(Debug, Clone)]
pub struct Gemm {
    /// `[M, K]`.
    pub a: Matrix,
    /// `[K, N]`.
    pub b: Matrix,
    /// `[N]`, added to every row.
    pub bias: Option<Tensor>,
    /// `[M, N]`, not transposed.
    pub c: Matrix,
    /// Whether the product is added to the values of `c`.
    pub accumulate: bool,
    /// The dimension that is T*B, and the sequences' lengths, if padded steps are left out.
    pub ragged: Option<Ragged>,
    /// Number of slices into which a sum over T*B terms is cut. Slice s sums the sequences s, s +
    /// slices, ..., and `c` is `[slices, M, N]`.
    pub slices: usize,
    /// Invocations of a workgroup along each side of its tile of `c` on a GPU: 8 or 16. The result
    /// does not depend on it.
    pub side: usize,
    /// Rows of `c` that an invocation computes on a GPU, by 8 columns. The result does not depend
    /// on it.
    pub rows_each: RowsEach,
}

/// The rows of `c` that one invocation of the shader computes, by 8 columns, in registers: the
/// more, the fewer times `b` is loaded, and the fewer subgroups a core has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowsEach {
    Four,
    #[default]
    Eight,
}

impl RowsEach {
    /// Every choice.
    pub const ALL: [RowsEach; 2] = [RowsEach::Four, RowsEach::Eight];

    /// Returns the number of rows.
    pub fn count(self) -> usize {
        match self {
            RowsEach::Four => 4,
            RowsEach::Eight => 8,
        }
    }
}

/// The dimension of a matmul that is T*B, with the lengths `[B]` of the sequences.
#[derive(Debug, Clone, Copy)]
pub enum Ragged {
    /// The rows of `a` and `c`.
    Rows(Tensor),
    /// The inner dimension.
    Terms(Tensor),
}

/// A matrix in a tensor: rows of contiguous elements, `stride` apart, or the transpose of such a
/// matrix.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    pub(super) tensor: Tensor,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) stride: usize,
    pub(super) transposed: bool,
}

impl Matrix {
    /// Returns the matrix of the first `rows * columns` elements of `tensor`.
    pub fn new(tensor: Tensor, rows: usize, columns: usize) -> Self {
        Self::block(tensor, rows, columns, 0..columns)
    }

    /// Returns columns `range` of the `[rows, columns]` matrix at the start of `tensor`.
    pub fn block(tensor: Tensor, rows: usize, columns: usize, range: Range<usize>) -> Self {
        let tensor = tensor.part(range.start, [(rows - 1) * columns + range.len()]);
        Matrix {
            tensor,
            rows,
            columns: range.len(),
            stride: columns,
            transposed: false,
        }
    }

    /// Returns columns `range` of a matrix that is not transposed.
    pub fn columns(self, range: Range<usize>) -> Self {
        assert!(!self.transposed && range.end <= self.columns);
        let tensor = self
            .tensor
            .part(range.start, [(self.rows - 1) * self.stride + range.len()]);
        Matrix {
            tensor,
            columns: range.len(),
            ..self
        }
    }

    /// Returns the elements as a tensor, if they are contiguous and row-major.
    pub fn whole(self) -> Option<Tensor> {
        let whole = !self.transposed && self.stride == self.columns;
        whole.then(|| self.tensor.part(0, [self.rows * self.columns]))
    }

    /// Returns the transpose.
    pub fn t(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }

    /// Whether the last element is inside the tensor if the matrix begins `skip` elements later.
    fn is_inside(&self, skip: usize) -> bool {
        let (rows, columns) = if self.transposed {
            (self.columns, self.rows)
        } else {
            (self.rows, self.columns)
        };
        columns <= self.stride
            && skip + (rows.max(1) - 1) * self.stride + columns <= self.tensor.len()
    }

    pub(super) fn view<'a, R: Real>(&self, values: &'a [R]) -> View<'a, R> {
        View {
            transposed: self.transposed,
            ..View::new(values, self.rows, self.columns, self.stride)
        }
    }

    /// Returns the distances from one row to the next and from one column to the next, in elements.
    fn strides(&self) -> (usize, usize) {
        if self.transposed {
            (1, self.stride)
        } else {
            (self.stride, 1)
        }
    }

    /// Returns how a shader loads the matrix, whose contiguous elements are the terms of the inner
    /// dimension or not.
    fn loading(&self, inner_is_contiguous: bool) -> Loading {
        let sizes = [self.tensor.offset, self.stride, self.rows, self.columns];
        if !sizes.iter().all(|size| size.is_multiple_of(4)) {
            Loading::Single
        } else if inner_is_contiguous {
            Loading::Along
        } else {
            Loading::Across
        }
    }
}

/// How a shader loads the elements of an operand.
enum Loading {
    /// Element by element.
    Single,
    /// Vec4s of four rows of `a`, or of four columns of `b`.
    Across,
    /// Vec4s of four terms of the inner dimension.
    Along,
}

impl Gemm {
    /// Invocations along each side of the smallest tile.
    pub const SIDE: usize = 8;

    /// Returns the call `c = a @ b`.
    ///
    /// # Panics
    /// If the sizes do not match.
    pub fn new(a: Matrix, b: Matrix, c: Matrix) -> Self {
        assert!(a.columns == b.rows && a.rows == c.rows && b.columns == c.columns && !c.transposed);
        Gemm {
            a,
            b,
            bias: None,
            c,
            accumulate: false,
            ragged: None,
            slices: 1,
            side: Gemm::SIDE,
            rows_each: RowsEach::default(),
        }
    }

    /// Returns K, the inner dimension.
    pub fn inner(&self) -> usize {
        self.a.columns
    }

    /// Returns the call with another inner dimension, to plan the slices of a sum of which this
    /// call computes a part. It is not to be recorded.
    pub(crate) fn with_inner(&self, inner: usize) -> Gemm {
        let mut gemm = self.clone();
        (gemm.a.columns, gemm.b.rows) = (inner, inner);
        gemm
    }

    /// Leaves out the rows of `a` that are padded steps of the B sequences.
    ///
    /// # Panics
    /// If the number of rows is not a multiple of B.
    pub fn ragged_rows(self, lengths: Tensor) -> Self {
        assert!(self.a.rows.is_multiple_of(lengths.len()));
        Gemm {
            ragged: Some(Ragged::Rows(lengths)),
            ..self
        }
    }

    /// Leaves out the terms of the inner dimension that are padded steps of the B sequences.
    ///
    /// # Panics
    /// If the inner dimension is not a multiple of B.
    pub fn ragged_terms(self, lengths: Tensor) -> Self {
        assert!(self.a.columns.is_multiple_of(lengths.len()));
        Gemm {
            ragged: Some(Ragged::Terms(lengths)),
            ..self
        }
    }

    /// Cuts the sums over T*B terms into slices and writes these to `partials`, `[slices, M, N]`,
    /// instead of `c`.
    ///
    /// # Panics
    /// If the inner dimension is not [`Ragged::Terms`], or of fewer sequences than `slices`.
    pub fn sliced(self, slices: usize, partials: Tensor) -> Self {
        assert!(matches!(self.ragged, Some(Ragged::Terms(lengths)) if slices <= lengths.len()));
        let (rows, columns) = (self.c.rows, self.c.columns);
        let c = Matrix {
            tensor: partials.part(0, [slices, rows, columns]),
            stride: columns,
            ..self.c
        };
        Gemm { c, slices, ..self }
    }

    /// Adds `bias` to every row.
    pub fn bias(self, bias: Option<Tensor>) -> Self {
        Gemm { bias, ..self }
    }

    /// Adds the product to the values of `c`.
    ///
    /// # Panics
    /// If there is a bias.
    pub fn accumulate(self) -> Self {
        assert!(self.bias.is_none());
        Gemm {
            accumulate: true,
            ..self
        }
    }
}

/// Columns of `c` that one invocation of the shader computes.
const COLUMNS_EACH: usize = 8;
/// Rows that the CPU multiplies in one matmul if some of them are padded.
const BLOCK: usize = 16;
/// Rows of one CPU task in a sum over ragged terms.
const TASK_ROWS: usize = 64;

impl Kernel for Gemm {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("a", self.a.tensor),
            read("b", self.b.tensor),
            // A binding may not be absent, so b stands in for a bias or lengths that are.
            read("bias", self.bias.unwrap_or(self.b.tensor)),
            read("lengths", self.lengths().unwrap_or(self.b.tensor)),
            write("c", self.c.tensor),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let ((a_row, a_column), (b_row, b_column)) = (self.a.strides(), self.b.strides());
        vec![
            ("rows", Scalar::count(self.c.rows)),
            ("columns", Scalar::count(self.c.columns)),
            ("inner", Scalar::count(self.a.columns)),
            ("a_row", Scalar::count(a_row)),
            ("a_column", Scalar::count(a_column)),
            ("b_row", Scalar::count(b_row)),
            ("b_column", Scalar::count(b_column)),
            ("c_row", Scalar::count(self.c.stride)),
            ("has_bias", Scalar::from(self.bias.is_some())),
            ("accumulate", Scalar::from(self.accumulate)),
            (
                "batch",
                Scalar::count(self.lengths().map_or(1, |lengths| lengths.len())),
            ),
            ("slices", Scalar::count(self.slices)),
        ]
    }

    fn shader(&self) -> Shader {
        let ragged_terms = matches!(self.ragged, Some(Ragged::Terms(_)));
        // The terms of one sequence are not contiguous.
        let a = match self.a.loading(!self.a.transposed) {
            Loading::Along if !ragged_terms => include_str!("../../shaders/gemm/a_along.wgsl"),
            Loading::Across => include_str!("../../shaders/gemm/a_across.wgsl"),
            _ => include_str!("../../shaders/gemm/a_single.wgsl"),
        };
        let b = match self.b.loading(self.b.transposed) {
            Loading::Along if !ragged_terms => include_str!("../../shaders/gemm/b_along.wgsl"),
            Loading::Across => include_str!("../../shaders/gemm/b_across.wgsl"),
            _ => include_str!("../../shaders/gemm/b_single.wgsl"),
        };
        let ragged = match self.ragged {
            Some(Ragged::Rows(_)) => Some(("RAGGED_ROWS", 1.0)),
            Some(Ragged::Terms(_)) => Some(("RAGGED_TERMS", 1.0)),
            None => None,
        };
        let side = self.side as f64;
        let few_rows = self.rows_each == RowsEach::Four;
        let rows = few_rows.then(|| ("ROWS", self.rows_each.count() as f64));
        Shader::new([include_str!("../../shaders/gemm.wgsl"), a, b])
            .with_constants([("WIDE", side), ("HIGH", side)])
            .with_constants(rows)
            .with_constants(ragged)
            .with(wgsl_constants(&[("BLOCK_STEPS", BLOCK_STEPS)]))
    }

    fn grid(&self) -> [u32; 3] {
        [
            self.c.columns.div_ceil(COLUMNS_EACH * self.side) as u32,
            self.c.rows.div_ceil(self.rows_each.count() * self.side) as u32,
            self.slices as u32,
        ]
    }

    fn iterations(&self) -> usize {
        let sequences = match self.ragged {
            Some(Ragged::Terms(lengths)) => lengths.len().div_ceil(self.slices),
            _ => 1,
        };
        let blocks = match self.lengths() {
            Some(lengths) => (self.a.columns / lengths.len()).div_ceil(BLOCK_STEPS),
            None => 1,
        };
        // Four terms an iteration; each sequence may leave a rest of up to three in each block of
        // steps.
        8 + self.a.columns.div_ceil(4 * self.slices) + (1 + 4 * sequences) * blocks
    }

    fn bounds_are_proved(&self) -> bool {
        // Each index is that of a row and column of its matrix; past the end the last one is
        // repeated.
        let sizes = [self.a.rows, self.a.columns, self.b.columns];
        let bias = self.bias.is_none_or(|bias| bias.len() >= self.c.columns);
        let slices = (self.slices - 1) * self.c.rows * self.c.stride;
        let inside = [(self.a, 0), (self.b, 0), (self.c, slices)];
        let inside = inside.iter().all(|(matrix, skip)| matrix.is_inside(*skip));
        inside && bias && sizes.iter().all(|&size| size > 0)
    }

    fn cost(&self) -> Cost {
        let (m, n, k) = (
            self.c.rows as f64,
            self.c.columns as f64,
            self.a.columns as f64,
        );
        let c = if self.accumulate { 2.0 } else { 1.0 } * m * n;
        Cost {
            flops: 2.0 * m * n * k,
            bytes: 4.0 * (m * k + k * n + c),
        }
    }
}

impl Gemm {
    fn lengths(&self) -> Option<Tensor> {
        match self.ragged {
            Some(Ragged::Rows(lengths) | Ragged::Terms(lengths)) => Some(lengths),
            None => None,
        }
    }

    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (a, b) = (memory.read(&self.a.tensor), memory.read(&self.b.tensor));
        let bias = self.bias.map(|bias| memory.read(&bias));
        let lengths = self.lengths().map(|lengths| memory.read_index(&lengths));
        let operands = Operands {
            a: self.a.view(&a),
            b: self.b.view(&b),
            lengths: lengths.as_deref(),
            addend: self.addend(bias.as_deref()),
            precision: memory.precision(),
        };
        let mut c = memory.write(&self.c.tensor);
        match self.ragged {
            Some(Ragged::Rows(_)) => self.multiply_rows(operands, &mut c),
            None if !self.a.transposed => self.multiply_rows(operands, &mut c),
            _ => self.sum_terms(operands, &mut c),
        }
    }

    /// Returns the values to which the product is added.
    pub(super) fn addend<'a, R: Real>(&self, bias: Option<&'a [R]>) -> Addend<'a, R> {
        if self.accumulate {
            Addend::C
        } else {
            Addend::bias(bias)
        }
    }

    /// Computes the product by blocks of rows, without the padded ones, with b packed once.
    fn multiply_rows<R: Real>(&self, operands: Operands<R>, c: &mut [R]) {
        let Operands { a, addend, .. } = operands;
        let stride = self.c.stride;
        let b = PackedB::new(operands.b, operands.precision);
        // Tasks depend on the sizes alone, so that the bits do not depend on the number of threads.
        let work = (self.a.columns * self.c.columns).max(1);
        let task_rows = (2_000_000 / work).max(32).next_multiple_of(BLOCK);
        let compute = |(task, c): (usize, &mut [R])| {
            let first = task * task_rows;
            let rows = first..(first + task_rows).min(a.rows);
            let Some(lengths) = operands.lengths else {
                return b.matmul(a.rows(rows), addend, c, stride);
            };
            // Whole blocks, so that the bits of a row do not depend on the lengths of the other
            // sequences.
            for block in rows.clone().step_by(BLOCK) {
                let block = block..(block + BLOCK).min(rows.end);
                let c = &mut c[(block.start - first) * stride..];
                let c = &mut c[..((block.len() - 1) * stride + self.c.columns)];
                let valid = block.clone().filter(|&at| is_valid_row(at, lengths));
                match valid.clone().count() {
                    0 => addend.write(c, self.c.columns, stride),
                    all if all == block.len() => b.matmul(a.rows(block), addend, c, stride),
                    _ => {
                        let mut copy = vec![R::zero(); block.len() * a.columns];
                        for at in valid {
                            a.copy_row(
                                at,
                                &mut copy[(at - block.start) * a.columns..][..a.columns],
                            );
                        }
                        let a = View::new(&copy, block.len(), a.columns, a.columns);
                        b.matmul(a, addend, c, stride);
                    }
                }
            }
        };
        c.par_chunks_mut(task_rows * stride)
            .enumerate()
            .for_each(compute);
    }

    /// Computes the product as a sum of outer products over the inner dimension, without the padded
    /// terms.
    fn sum_terms<R: Real>(&self, operands: Operands<R>, c: &mut [R]) {
        let Operands { a, b, addend, .. } = operands;
        let stride = self.c.stride;
        for (slice, c) in c.chunks_mut(a.rows * stride).enumerate() {
            let is_of_slice = |b: usize| b % self.slices == slice;
            let terms = match operands.lengths {
                Some(lengths) => time_blocks(a.columns, lengths, is_of_slice),
                None => RowBlocks::all(a.columns),
            };
            let product = TimeSum {
                b,
                addend,
                c: &mut *c,
                stride,
            };
            let sums = TimeSums {
                a: a.t(),
                rows: &terms,
                products: vec![product],
                columns: None,
                precision: operands.precision,
            };
            if R::try_time_sums(sums) {
                continue;
            }
            let runs: Vec<_> = valid_runs(0..a.columns, operands.lengths, is_of_slice).collect();
            addend.write(c, self.c.columns, stride);
            let tasks = c.par_chunks_mut(TASK_ROWS * stride).enumerate();
            tasks.for_each(|(task, c)| {
                let rows = task * TASK_ROWS..((task + 1) * TASK_ROWS).min(a.rows);
                for run in &runs {
                    let a = a.rows(rows.clone()).columns(run.clone());
                    R::matmul(a, b.rows(run.clone()), c, stride, true);
                }
            });
        }
    }
}

/// The operands of a matmul on the CPU.
struct Operands<'a, R> {
    a: View<'a, R>,
    b: View<'a, R>,
    lengths: Option<&'a [u32]>,
    addend: Addend<'a, R>,
    precision: Precision,
}

/// Returns the longest runs within `range` of rows `t * B + b` that are valid steps of a sequence b
/// for which `is_of_slice` holds; the whole range if there are no lengths.
fn valid_runs(
    range: Range<usize>,
    lengths: Option<&[u32]>,
    is_of_slice: impl Fn(usize) -> bool,
) -> impl Iterator<Item = Range<usize>> {
    let takes = move |&at: &usize| {
        lengths.is_none_or(|lengths| is_valid_row(at, lengths) && is_of_slice(at % lengths.len()))
    };
    let Range { mut start, end } = range;
    std::iter::from_fn(move || {
        let first = (start..end).find(&takes)?;
        start = match lengths {
            Some(_) => (first..end).find(|at| !takes(at)).unwrap_or(end),
            None => end,
        };
        Some(first..start)
    })
}
