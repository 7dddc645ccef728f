use std::ops::Range;

use rayon::prelude::*;

use super::{Arg, Call, Cost, Kernel, Scalar, Shader, counts, read, write};
use crate::memory::Memory;
use crate::numeric::gemm::{Addend, PackedB, TimeSum, TimeSums, View};
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Matrix product `c = a @ b + bias`, or `c += a @ b`.
///
/// Where one of its dimensions is T*B, a row or a term for each step of each sequence, the steps past a sequence's end may be
/// left out: such rows of `a` count as zeros, and such terms are not there.
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
    /// Adds to what `c` holds.
    pub accumulate: bool,
    /// Which dimension is T*B, and the sequences' lengths.
    pub ragged: Option<Ragged>,
    /// Parts that the sums over T*B terms are cut into, by sequence: part s takes the sequences s, s + slices, ... and `c` is
    /// `[slices, M, N]`.
    pub slices: usize,
    /// Invocations of a workgroup along each side of its tile of `c` on a GPU: 8 or 16. No result depends on it.
    pub side: usize,
}

/// A dimension of a product that is T*B; with the lengths, `[B]`.
#[derive(Debug, Clone, Copy)]
pub enum Ragged {
    /// The rows of `a` and `c`.
    Rows(Tensor),
    /// The terms of the sums.
    Terms(Tensor),
}

/// A matrix in a tensor: stored rows of `columns` elements, `stride` apart, read as its transpose on demand.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    pub(super) tensor: Tensor,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) stride: usize,
    pub(super) transposed: bool,
}

impl Matrix {
    /// The first `rows * columns` elements of `tensor`.
    pub fn new(tensor: Tensor, rows: usize, columns: usize) -> Self {
        Self::block(tensor, rows, columns, 0..columns)
    }

    /// Columns `range` of the `rows * columns` matrix at the start of `tensor`.
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

    /// Columns `range` of a matrix that is not transposed.
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

    /// Its elements, row by row, where they lie side by side.
    pub fn whole(self) -> Option<Tensor> {
        let whole = !self.transposed && self.stride == self.columns;
        whole.then(|| self.tensor.part(0, [self.rows * self.columns]))
    }

    /// Its transpose.
    pub fn t(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }

    /// Whether its last element lies in its tensor, after so many others.
    fn is_inside(&self, skip: usize) -> bool {
        let (rows, columns) = match self.transposed {
            true => (self.columns, self.rows),
            false => (self.rows, self.columns),
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

    /// Elements from one row to the next, and from one column to the next.
    fn steps(&self) -> (usize, usize) {
        if self.transposed {
            (1, self.stride)
        } else {
            (self.stride, 1)
        }
    }

    /// Which of a shader's ways of loading fits, where four numbers are loaded at once: across lines (rows of a, columns of b) or
    /// along them.
    fn loads(&self, along: bool) -> Loads {
        let fours = [self.tensor.offset, self.stride, self.rows, self.columns];
        match fours.iter().all(|size| size.is_multiple_of(4)) {
            true if along => Loads::Along,
            true => Loads::Across,
            false => Loads::Single,
        }
    }
}

/// How a shader loads numbers of a matrix.
enum Loads {
    Single,
    Across,
    Along,
}

impl Gemm {
    /// Invocations along each side of the smallest tile.
    pub const SIDE: usize = 8;

    /// `c = a @ b`.
    ///
    /// # Panics
    /// Where the sizes do not fit.
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
        }
    }

    /// Terms of each sum.
    pub fn terms(&self) -> usize {
        self.a.columns
    }

    /// Leaves out the rows of `a` that are past the end of one of the `[B]` sequences.
    ///
    /// # Panics
    /// Where the rows are not a number of steps of each sequence.
    pub fn ragged_rows(self, lengths: Tensor) -> Self {
        assert!(self.a.rows.is_multiple_of(lengths.len()));
        Gemm {
            ragged: Some(Ragged::Rows(lengths)),
            ..self
        }
    }

    /// Leaves out the terms that are past the end of one of the `[B]` sequences.
    ///
    /// # Panics
    /// Where the terms are not a number of steps of each sequence.
    pub fn ragged_terms(self, lengths: Tensor) -> Self {
        assert!(self.a.columns.is_multiple_of(lengths.len()));
        Gemm {
            ragged: Some(Ragged::Terms(lengths)),
            ..self
        }
    }

    /// Cuts the sums over T*B terms into parts, which go to `partials`, `[slices, M, N]`, in place of `c`.
    ///
    /// # Panics
    /// Where the terms are not steps of at least so many sequences.
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

    /// With `bias` added to every row.
    pub fn bias(self, bias: Option<Tensor>) -> Self {
        Gemm { bias, ..self }
    }

    /// Adds to what `c` holds; such a product takes no bias.
    pub fn accumulate(self) -> Self {
        assert!(self.bias.is_none());
        Gemm {
            accumulate: true,
            ..self
        }
    }
}

impl From<Gemm> for Call {
    fn from(call: Gemm) -> Call {
        Call::Gemm(call)
    }
}

/// Rows and columns of `c` that one invocation of the shader computes.
const TILE: usize = 8;
/// Rows that the CPU leaves out or takes together, where some are past their sequence's end.
const BLOCK: usize = 16;
/// Rows that it takes at once of a sum over terms.
const PIECE: usize = 64;

impl Kernel for Gemm {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("a", self.a.tensor),
            read("b", self.b.tensor),
            // Without a bias something has to be bound all the same.
            read("bias", self.bias.unwrap_or(self.b.tensor)),
            read("lengths", self.lengths().unwrap_or(self.b.tensor)),
            write("c", self.c.tensor),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let ((a_row, a_column), (b_row, b_column)) = (self.a.steps(), self.b.steps());
        vec![
            ("rows", Scalar::count(self.c.rows)),
            ("columns", Scalar::count(self.c.columns)),
            ("inner", Scalar::count(self.a.columns)),
            ("a_row", Scalar::count(a_row)),
            ("a_column", Scalar::count(a_column)),
            ("b_row", Scalar::count(b_row)),
            ("b_column", Scalar::count(b_column)),
            ("c_row", Scalar::count(self.c.stride)),
            ("has_bias", Scalar::U32(self.bias.is_some().into())),
            ("accumulate", Scalar::U32(self.accumulate.into())),
            (
                "batch",
                Scalar::count(self.lengths().map_or(1, |lengths| lengths.len())),
            ),
            ("slices", Scalar::count(self.slices)),
        ]
    }

    fn shader(&self) -> Shader {
        let ragged_terms = matches!(self.ragged, Some(Ragged::Terms(_)));
        // Terms of sequences are not neighbours.
        let a = match self.a.loads(!self.a.transposed) {
            Loads::Along if !ragged_terms => include_str!("../../shaders/gemm/a_along.wgsl"),
            Loads::Across => include_str!("../../shaders/gemm/a_across.wgsl"),
            _ => include_str!("../../shaders/gemm/a_single.wgsl"),
        };
        let b = match self.b.loads(self.b.transposed) {
            Loads::Along if !ragged_terms => include_str!("../../shaders/gemm/b_along.wgsl"),
            Loads::Across => include_str!("../../shaders/gemm/b_across.wgsl"),
            _ => include_str!("../../shaders/gemm/b_single.wgsl"),
        };
        let ragged = match self.ragged {
            Some(Ragged::Rows(_)) => Some(("RAGGED_ROWS", 1.0)),
            Some(Ragged::Terms(_)) => Some(("RAGGED_TERMS", 1.0)),
            None => None,
        };
        let side = self.side as f64;
        Shader {
            parts: vec![include_str!("../../shaders/gemm.wgsl"), a, b],
            constants: [("WIDE", side), ("HIGH", side)]
                .into_iter()
                .chain(ragged)
                .collect(),
        }
    }

    fn grid(&self) -> [u32; 3] {
        [
            self.c.columns.div_ceil(TILE * self.side) as u32,
            self.c.rows.div_ceil(TILE * self.side) as u32,
            self.slices as u32,
        ]
    }

    fn iterations(&self) -> usize {
        let sequences = match self.ragged {
            Some(Ragged::Terms(lengths)) => lengths.len().div_ceil(self.slices),
            _ => 1,
        };
        // Terms go four at a time; each sequence may leave up to three.
        8 + self.a.columns.div_ceil(4 * self.slices) + 4 * sequences
    }

    fn bounds_are_proved(&self) -> bool {
        // Each index is a row and a column of its matrix, or repeats the last.
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
        };
        let mut c = memory.write(&self.c.tensor);
        match self.ragged {
            Some(Ragged::Rows(_)) => self.rows(operands, &mut c),
            None if !self.a.transposed => self.rows(operands, &mut c),
            _ => self.terms_of(operands, &mut c),
        }
    }

    /// What the product is added to.
    pub(super) fn addend<'a, R: Real>(&self, bias: Option<&'a [R]>) -> Addend<'a, R> {
        if self.accumulate {
            Addend::C
        } else {
            Addend::bias(bias)
        }
    }

    /// Row by row, with b laid out once, but for those past the end of one of the sequences.
    fn rows<R: Real>(&self, operands: Operands<R>, c: &mut [R]) {
        let Operands { a, addend, .. } = operands;
        let stride = self.c.stride;
        let b = PackedB::new(operands.b);
        // Pieces depend on the sizes alone, so that the bits do not depend on the number of threads.
        let work = (self.a.columns * self.c.columns).max(1);
        let piece = (2_000_000 / work).max(32).next_multiple_of(BLOCK);
        let compute = |(number, c): (usize, &mut [R])| {
            let first = number * piece;
            let rows = first..(first + piece).min(a.rows);
            let Some(lengths) = operands.lengths else {
                return b.matmul(a.rows(rows), addend, c, stride);
            };
            // Whole blocks, so that the bits of a row do not depend on which others are there.
            for block in rows.clone().step_by(BLOCK) {
                let block = block..(block + BLOCK).min(rows.end);
                let c = &mut c[(block.start - first) * stride..];
                let c = &mut c[..((block.len() - 1) * stride + self.c.columns)];
                let counted = block.clone().filter(|&at| counts(at, lengths));
                match counted.clone().count() {
                    0 => addend.write(c, self.c.columns, stride),
                    all if all == block.len() => b.matmul(a.rows(block), addend, c, stride),
                    _ => {
                        let mut copy = vec![R::zero(); block.len() * a.columns];
                        for at in counted {
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
        c.par_chunks_mut(piece * stride)
            .enumerate()
            .for_each(compute);
    }

    /// Term by term, of those that are not past the end of one of the sequences.
    fn terms_of<R: Real>(&self, operands: Operands<R>, c: &mut [R]) {
        let Operands { a, b, addend, .. } = operands;
        let stride = self.c.stride;
        for (slice, c) in c.chunks_mut(a.rows * stride).enumerate() {
            let taken = |b: usize| b % self.slices == slice;
            let runs: Vec<_> = runs(0..a.columns, operands.lengths, taken).collect();
            let terms: Vec<usize> = runs.iter().cloned().flatten().collect();
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
                column_sums: None,
            };
            if R::try_time_sums(sums) {
                continue;
            }
            addend.write(c, self.c.columns, stride);
            let pieces = c.par_chunks_mut(PIECE * stride).enumerate();
            pieces.for_each(|(number, c)| {
                let rows = number * PIECE..((number + 1) * PIECE).min(a.rows);
                for run in &runs {
                    let a = a.rows(rows.clone()).columns(run.clone());
                    R::matmul(a, b.rows(run.clone()), c, stride, true);
                }
            });
        }
    }
}

/// What a product is made of.
struct Operands<'a, R> {
    a: View<'a, R>,
    b: View<'a, R>,
    lengths: Option<&'a [u32]>,
    addend: Addend<'a, R>,
}

/// The longest runs within `range` of steps, `t * B + b`, that are not past the end of their sequence b and whose sequence is
/// `taken`; all of it without lengths.
fn runs(
    range: Range<usize>,
    lengths: Option<&[u32]>,
    taken: impl Fn(usize) -> bool,
) -> impl Iterator<Item = Range<usize>> {
    let takes = move |&at: &usize| {
        lengths.is_none_or(|lengths| counts(at, lengths) && taken(at % lengths.len()))
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
