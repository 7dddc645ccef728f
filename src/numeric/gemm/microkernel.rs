//! The microkernel: an MR x NR tile of C, whose sums stay in registers while rank-1 updates are
//! added along the inner dimension.
//!
//! A tile is composed of rows as a type, [`MicrotileRow`] stacked by [`Stacked`]: a compiler keeps
//! these in registers, but an array that is indexed in a loop in memory.

use pulp::Simd;

use super::Addend;
use crate::numeric::real::Lanes;
use crate::numeric::vector::Vector;

/// MR of a packed A.
pub(super) const MR: usize = 8;

/// How the microkernel reads A.
pub(super) trait ReadA: Copy {
    /// What finds a row of A.
    type Row: Copy;
    /// What finds a column of A.
    type Column<'k>: Copy;
    fn row(self, i: usize) -> Self::Row;
    fn element(row: Self::Row, column: Self::Column<'_>) -> f32;
}

/// Rows of A as they are stored.
#[derive(Clone, Copy)]
pub(super) struct UnpackedA<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    /// Columns of A, at most KC.
    pub columns: usize,
}

impl<'a> ReadA for UnpackedA<'a> {
    type Row = &'a [f32];
    type Column<'k> = usize;

    #[inline(always)]
    fn row(self, i: usize) -> &'a [f32] {
        &self.values[i * self.stride..][..self.columns]
    }

    #[inline(always)]
    fn element(row: &'a [f32], column: usize) -> f32 {
        row[column]
    }
}

/// A packed into panels of MR rows, column by column.
#[derive(Clone, Copy)]
pub(super) struct PackedA;

impl ReadA for PackedA {
    type Row = usize;
    type Column<'k> = &'k [f32; MR];

    #[inline(always)]
    fn row(self, i: usize) -> usize {
        i
    }

    #[inline(always)]
    fn element(row: usize, column: &[f32; MR]) -> f32 {
        column[row]
    }
}

/// The part of the result that a tile's sums are written to.
#[derive(Clone, Copy)]
pub(super) struct TileOutput<'a> {
    /// Columns of C, at most NR.
    pub width: usize,
    pub addend: Addend<'a, f32>,
    /// Elements from one row of C to the next.
    pub stride: usize,
}

/// The sums of some rows of C and NR columns.
pub(super) trait Microtile<S: Simd, A: ReadA> {
    /// Rows.
    const MR: usize;

    /// Zeros for the rows from `first` on.
    fn zeros(simd: S, a: A, first: usize) -> Self;

    /// Adds the outer product of a column of A with NR elements of a row of B, `left` and `right`.
    fn rank_1_update(&mut self, column: A::Column<'_>, left: Vector<S>, right: Vector<S>);

    /// Writes `addend + sums` to C.
    fn write(self, output: TileOutput, c: &mut [f32]);
}

/// One row: MR = 1.
pub(super) struct MicrotileRow<S: Simd, A: ReadA> {
    simd: S,
    row: A::Row,
    left: Vector<S>,
    right: Vector<S>,
}

/// The rows of `T` above those of `U`.
pub(super) struct Stacked<T, U>(T, U);

pub(super) type Mr1<S, A> = MicrotileRow<S, A>;
pub(super) type Mr2<S, A> = Stacked<Mr1<S, A>, Mr1<S, A>>;
pub(super) type Mr4<S, A> = Stacked<Mr2<S, A>, Mr2<S, A>>;
pub(super) type Mr8<S, A> = Stacked<Mr4<S, A>, Mr4<S, A>>;

impl<S: Simd, A: ReadA> Microtile<S, A> for MicrotileRow<S, A> {
    const MR: usize = 1;

    #[inline(always)]
    fn zeros(simd: S, a: A, first: usize) -> Self {
        let zero = Vector::splat(simd, 0.0);
        MicrotileRow {
            simd,
            row: a.row(first),
            left: zero,
            right: zero,
        }
    }

    #[inline(always)]
    fn rank_1_update(&mut self, column: A::Column<'_>, left: Vector<S>, right: Vector<S>) {
        let factor = Vector::splat(self.simd, A::element(self.row, column));
        self.left = factor.multiply_add(left, self.left);
        self.right = factor.multiply_add(right, self.right);
    }

    #[inline(always)]
    fn write(self, output: TileOutput, c: &mut [f32]) {
        let (left, right) = c[..output.width].split_at_mut(S::F32_LANES.min(output.width));
        for (at, c, sum) in [(0, left, self.left), (S::F32_LANES, right, self.right)] {
            if !c.is_empty() {
                let addend = match output.addend {
                    Addend::C => Vector::load(self.simd, c),
                    Addend::Bias(bias) => Vector::load(self.simd, &bias[at..at + c.len()]),
                    Addend::Zero => Vector::splat(self.simd, 0.0),
                };
                (addend + sum).store(c);
            }
        }
    }
}

impl<S: Simd, A: ReadA, T: Microtile<S, A>, U: Microtile<S, A>> Microtile<S, A> for Stacked<T, U> {
    const MR: usize = T::MR + U::MR;

    #[inline(always)]
    fn zeros(simd: S, a: A, first: usize) -> Self {
        Stacked(T::zeros(simd, a, first), U::zeros(simd, a, first + T::MR))
    }

    #[inline(always)]
    fn rank_1_update(&mut self, column: A::Column<'_>, left: Vector<S>, right: Vector<S>) {
        self.0.rank_1_update(column, left, right);
        self.1.rank_1_update(column, left, right);
    }

    #[inline(always)]
    fn write(self, output: TileOutput, c: &mut [f32]) {
        let (above, below) = c.split_at_mut(T::MR * output.stride);
        self.0.write(output, above);
        self.1.write(output, below);
    }
}
