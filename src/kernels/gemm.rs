use rayon::prelude::*;

use super::{Arg, Call, Cost, Kernel, Scalar, Shader, read, write};
use crate::executor::Memory;
use crate::program::Tensor;
use crate::real::{Real, View};

/// Matrix product `c = a @ b + bias`, or `c += a @ b`.
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
    pub fn block(
        tensor: Tensor,
        rows: usize,
        columns: usize,
        range: std::ops::Range<usize>,
    ) -> Self {
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
    pub fn columns(self, range: std::ops::Range<usize>) -> Self {
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

    /// Its transpose.
    pub fn t(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }

    /// Whether its last element lies in its tensor.
    fn is_inside(&self) -> bool {
        let (rows, columns) = match self.transposed {
            true => (self.columns, self.rows),
            false => (self.rows, self.columns),
        };
        columns <= self.stride && (rows.max(1) - 1) * self.stride + columns <= self.tensor.len()
    }

    fn view<'a, R: Real>(&self, values: &'a [R]) -> View<'a, R> {
        View {
            transposed: self.transposed,
            ..View::new(values, self.rows, self.columns, self.stride)
        }
    }
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
        }
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
            write("c", self.c.tensor),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let step = |m: &Matrix| {
            if m.transposed {
                (1, m.stride)
            } else {
                (m.stride, 1)
            }
        };
        let ((a_row, a_column), (b_row, b_column)) = (step(&self.a), step(&self.b));
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
        ]
    }

    fn shader(&self) -> Shader {
        Shader {
            parts: vec![include_str!("../../shaders/gemm.wgsl")],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        [
            self.c.columns.div_ceil(TILE * SIDE) as u32,
            self.c.rows.div_ceil(TILE * SIDE) as u32,
            1,
        ]
    }

    fn bounds_are_proved(&self) -> bool {
        // Each index is a row and a column of its matrix, or repeats the last.
        let sizes = [self.a.rows, self.a.columns, self.b.columns];
        let bias = self.bias.is_none_or(|bias| bias.len() >= self.c.columns);
        let inside = [self.a, self.b, self.c].iter().all(Matrix::is_inside);
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
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (a, b) = (memory.read(&self.a.tensor), memory.read(&self.b.tensor));
        let bias = self.bias.map(|bias| memory.read(&bias));
        let bias = bias.as_deref();
        let (a, b) = (self.a.view(&a), self.b.view(&b));
        let mut c = memory.write(&self.c.tensor);
        let (stride, columns) = (self.c.stride, self.c.columns);
        // Pieces depend on the sizes alone, so that the bits do not depend on the number of threads.
        let work = (a.columns * columns).max(1);
        let piece = (2_000_000 / work).max(32).next_multiple_of(16);
        let compute = |(number, c): (usize, &mut [R])| {
            let rows = number * piece..(number * piece + piece).min(a.rows);
            if let Some(bias) = bias {
                c.chunks_mut(stride)
                    .for_each(|row| row[..columns].copy_from_slice(bias));
            }
            R::product(
                a.rows(rows),
                b,
                c,
                stride,
                self.accumulate || bias.is_some(),
            );
        };
        if a.rows <= piece {
            compute((0, &mut c));
        } else {
            c.par_chunks_mut(piece * stride)
                .enumerate()
                .for_each(compute);
        }
    }
}
