use std::ops::Range;

use rayon::prelude::*;

use super::{Arg, Call, Cost, Kernel, Scalar, Shader, counts, read, write};
use crate::executor::Memory;
use crate::program::Tensor;
use crate::real::{Real, View};

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
    tensor: Tensor,
    rows: usize,
    columns: usize,
    stride: usize,
    transposed: bool,
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

    fn view<'a, R: Real>(&self, values: &'a [R]) -> View<'a, R> {
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
/// Invocations of a workgroup along each side.
const SIDE: usize = 8;
/// Rows that the CPU leaves out or takes together, where some are past their sequence's end.
const BLOCK: usize = 16;
/// Pieces of a product that keep the threads of a CPU busy, and the fewest terms of one.
const TASKS: usize = 16;
const PART: usize = 512;

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
        let constant = match self.ragged {
            Some(Ragged::Rows(_)) => Some(("RAGGED_ROWS", 1.0)),
            Some(Ragged::Terms(_)) => Some(("RAGGED_TERMS", 1.0)),
            None => None,
        };
        Shader {
            parts: vec![include_str!("../../shaders/gemm.wgsl"), a, b],
            constants: constant.into_iter().collect(),
        }
    }

    fn grid(&self) -> [u32; 3] {
        [
            self.c.columns.div_ceil(TILE * SIDE) as u32,
            self.c.rows.div_ceil(TILE * SIDE) as u32,
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
        let bias = bias.as_deref();
        let (a, b) = (self.a.view(&a), self.b.view(&b));
        let lengths = self.lengths().map(|lengths| memory.read_index(&lengths));
        let lengths = lengths.as_deref();
        let mut c = memory.write(&self.c.tensor);
        let (stride, columns) = (self.c.stride, self.c.columns);
        let ragged_rows = matches!(self.ragged, Some(Ragged::Rows(_)));
        // What is multiplied row by row takes b laid out once.
        let ragged_terms = matches!(self.ragged, Some(Ragged::Terms(_)));
        let packed = (!a.transposed && !ragged_terms).then(|| R::packed(b));
        // Pieces depend on the sizes alone, so that the bits do not depend on the number of threads. Where they are few, long sums
        // are cut into parts.
        let work = (a.columns * columns).max(1);
        let least = if packed.is_some() { 32 } else { 64 };
        let piece = (2_000_000 / work).max(least).next_multiple_of(BLOCK);
        let pieces = a.rows.div_ceil(piece);
        let parts = match a.transposed && self.slices == 1 {
            true => (TASKS / pieces).clamp(1, (a.columns / PART).max(1)),
            false => 1,
        };
        let part = a.columns.div_ceil(parts).max(1);
        let mut partials = vec![R::zero(); (parts - 1) * a.rows * columns];
        // Of each slice or part the terms that count, one run after the other.
        let terms: Vec<Vec<Range<usize>>> = (0..self.slices * parts)
            .map(|number| {
                let (slice, start) = (number / parts, number % parts * part);
                let range = start..(start + part).min(a.columns);
                let lengths = lengths.filter(|_| !ragged_rows);
                runs(range, lengths, |b| b % self.slices == slice).collect()
            })
            .collect();
        let replaces = !self.accumulate && bias.is_none() && self.ragged.is_none();
        let replaces = replaces && packed.is_none();
        let compute = |(number, (c, stride)): (usize, (&mut [R], usize))| {
            let first = number % pieces * piece;
            let rows = first..(first + piece).min(a.rows);
            let is_partial = number >= self.slices * pieces;
            let replaces = replaces && !is_partial;
            let keeps = self.accumulate || replaces || is_partial;
            for row in c.chunks_mut(stride).filter(|_| !keeps) {
                match bias {
                    Some(bias) => row[..columns].copy_from_slice(bias),
                    None => row[..columns].fill(R::zero()),
                }
            }
            let multiply = |a: View<R>, rows: Range<usize>, c: &mut [R]| {
                let c = &mut c[(rows.start - first) * stride..];
                match &packed {
                    Some(b) => b.add_product(a, c, stride),
                    None => terms[number / pieces].iter().for_each(|terms| {
                        let (a, b) = (a.columns(terms.clone()), b.rows(terms.clone()));
                        R::product(a, b, c, stride, !replaces);
                    }),
                }
            };
            let Some(lengths) = lengths.filter(|_| ragged_rows) else {
                return multiply(a.rows(rows.clone()), rows, c);
            };
            // Whole blocks, so that the bits of a row do not depend on which others are there.
            let mut whole = rows.start..rows.start;
            for start in rows.clone().step_by(BLOCK) {
                let block = start..(start + BLOCK).min(rows.end);
                let counted = block.clone().filter(|&at| counts(at, lengths)).count();
                if counted == block.len() {
                    whole.end = block.end;
                    continue;
                }
                if !whole.is_empty() {
                    multiply(a.rows(whole.clone()), whole, c);
                }
                whole = block.end..block.end;
                if counted > 0 {
                    let mut copy = vec![R::zero(); block.len() * a.columns];
                    let rows = copy.chunks_mut(a.columns).zip(block.clone());
                    rows.filter(|&(_, at)| counts(at, lengths))
                        .for_each(|(row, at)| a.copy_row(at, row));
                    let a = View::new(&copy, block.len(), a.columns, a.columns);
                    multiply(a, block, c);
                }
            }
            if !whole.is_empty() {
                multiply(a.rows(whole.clone()), whole, c);
            }
        };
        let own = c
            .chunks_mut(a.rows * stride)
            .flat_map(|c| c.chunks_mut(piece * stride));
        let others = partials
            .chunks_mut(a.rows * columns)
            .flat_map(|c| c.chunks_mut(piece * columns));
        let tasks = own.map(|c| (c, stride)).chain(others.map(|c| (c, columns)));
        let tasks: Vec<_> = tasks.collect();
        tasks.into_par_iter().enumerate().for_each(compute);
        if parts > 1 {
            c.par_chunks_mut(stride).enumerate().for_each(|(m, row)| {
                for partial in partials.chunks(a.rows * columns) {
                    let sums = row.iter_mut().zip(&partial[m * columns..][..columns]);
                    sums.for_each(|(sum, &value)| *sum += value);
                }
            });
        }
    }
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
