//! Matrix multiplication without fused multiply-adds: of f64, the reference, and of f32 on machines
//! that have none.
//!
//! Each product is rounded before it is added, and the order of additions depends on the inner
//! dimension alone, so that a result has the same bits on every machine, and a row of it whatever
//! the other rows are.

use std::ops::{Add, Mul};

use pulp::{Simd, WithSimd};

use super::panel::KC;
use super::{Addend, MultiplyPanels, View};
use crate::numeric::real::{Lanes, Real};
use crate::numeric::vector::{Doubles, Vector};

/// Rows of a tile of C whose sums are kept in registers; its columns are two vectors.
const MR: usize = 4;

/// An element type with vectors for sums of products.
pub trait Summed: Real {
    type Sums<S: Simd>: SumLanes<S, Self>;
}

/// A vector of elements of type `R`, as the instruction set `S` has it.
pub trait SumLanes<S: Simd, R>: Copy + Add<Output = Self> + Mul<Output = Self> {
    const LANES: usize;
    fn splat(simd: S, value: R) -> Self;
    /// Loads a slice of at most [`LANES`](SumLanes::LANES) elements; the other lanes are 0.
    fn load(simd: S, values: &[R]) -> Self;
    /// Stores the first lanes, as many as `to` has elements.
    fn store(self, to: &mut [R]);
}

impl Summed for f32 {
    type Sums<S: Simd> = Vector<S>;
}

impl Summed for f64 {
    type Sums<S: Simd> = Doubles<S>;
}

impl<S: Simd> SumLanes<S, f32> for Vector<S> {
    const LANES: usize = S::F32_LANES;

    #[inline(always)]
    fn splat(simd: S, value: f32) -> Self {
        Lanes::splat(simd, value)
    }

    #[inline(always)]
    fn load(simd: S, values: &[f32]) -> Self {
        Lanes::load(simd, values)
    }

    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        Lanes::store(self, to);
    }
}

impl<S: Simd> SumLanes<S, f64> for Doubles<S> {
    const LANES: usize = Doubles::<S>::LANES;

    #[inline(always)]
    fn splat(simd: S, value: f64) -> Self {
        Doubles::splat(simd, value)
    }

    #[inline(always)]
    fn load(simd: S, values: &[f64]) -> Self {
        Doubles::load(simd, values)
    }

    #[inline(always)]
    fn store(self, to: &mut [f64]) {
        Doubles::store(self, to);
    }
}

/// A matrix B, `[K, N]`, packed: in blocks of [`KC`] rows, each block in panels of `width` columns,
/// with zeros beyond the last column.
#[derive(Debug)]
pub struct PortablePanels<R> {
    values: Vec<R>,
    rows: usize,
    columns: usize,
    width: usize,
}

impl<R: Summed> PortablePanels<R> {
    /// Packs `b`.
    pub(super) fn pack(b: View<R>) -> Self {
        let width = 2 * pulp::Arch::new().dispatch(LaneCount::<R>::default());
        let mut values = vec![R::zero(); b.rows * b.columns.next_multiple_of(width)];
        let mut panels = &mut values[..];
        for first in (0..b.rows).step_by(KC) {
            let depth = KC.min(b.rows - first);
            for left in (0..b.columns).step_by(width) {
                let (panel, behind) = panels.split_at_mut(depth * width);
                let columns = b.columns(left..(left + width).min(b.columns));
                for (k, row) in panel.chunks_exact_mut(width).enumerate() {
                    columns.copy_row(first + k, &mut row[..columns.columns]);
                }
                panels = behind;
            }
        }
        PortablePanels {
            values,
            rows: b.rows,
            columns: b.columns,
            width,
        }
    }
}

impl<R: Summed> MultiplyPanels<R> for PortablePanels<R> {
    fn matmul(&self, a: View<R>, addend: Addend<R>, c: &mut [R], stride: usize) {
        addend.write(c, self.columns, stride);
        pulp::Arch::new().dispatch(Product {
            a,
            b: self,
            c,
            stride,
        });
    }
}

/// Computes `c = a @ b`, or `c += a @ b` if `accumulate`; see
/// [`Matmul::matmul`](super::Matmul::matmul).
pub(super) fn matmul<R: Summed>(
    a: View<R>,
    b: View<R>,
    c: &mut [R],
    stride: usize,
    accumulate: bool,
) {
    let addend = if accumulate { Addend::C } else { Addend::Zero };
    PortablePanels::pack(b).matmul(a, addend, c, stride);
}

/// Reads the number of lanes of a vector of `R`.
struct LaneCount<R>(std::marker::PhantomData<R>);

impl<R> Default for LaneCount<R> {
    fn default() -> Self {
        LaneCount(std::marker::PhantomData)
    }
}

impl<R: Summed> WithSimd for LaneCount<R> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        <R::Sums<S> as SumLanes<S, R>>::LANES
    }
}

/// Computes `c += a @ b`.
struct Product<'a, R> {
    a: View<'a, R>,
    b: &'a PortablePanels<R>,
    c: &'a mut [R],
    stride: usize,
}

impl<R: Summed> WithSimd for Product<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { a, b, c, stride } = self;
        let padded = b.columns.next_multiple_of(b.width);
        let mut columns_of_a = vec![[R::zero(); MR]; KC.min(b.rows)];
        for first in (0..b.rows).step_by(KC) {
            let depth = KC.min(b.rows - first);
            let panels = &b.values[first * padded..][..depth * padded];
            for top in (0..a.rows).step_by(MR) {
                let rows = top..(top + MR).min(a.rows);
                let height = rows.len();
                let columns_of_a = &mut columns_of_a[..depth];
                pack_rows(a.rows(rows).columns(first..first + depth), columns_of_a);
                let panels = panels.chunks_exact(depth * b.width);
                for (left, panel) in (0..b.columns).step_by(b.width).zip(panels) {
                    let width = b.width.min(b.columns - left);
                    let tile = Tile::<R::Sums<S>>::multiply(simd, columns_of_a, panel);
                    tile.add_to(simd, height, width, &mut c[top * stride + left..], stride);
                }
            }
        }
    }
}

/// Copies the at most MR rows of `a`, column by column; the other rows are those of before.
fn pack_rows<R: Real>(a: View<R>, columns: &mut [[R; MR]]) {
    let (row, column) = if a.transposed {
        (1, a.stride)
    } else {
        (a.stride, 1)
    };
    for i in 0..a.rows {
        let values = a.values[i * row..].iter().step_by(column);
        for (to, &value) in columns.iter_mut().zip(values) {
            to[i] = value;
        }
    }
}

/// The sums of MR rows of C and two vectors of columns. Its fields are rows and not an array: a
/// compiler keeps these in registers, but an array that is indexed in a loop in memory.
struct Tile<V> {
    first: SumRow<V>,
    second: SumRow<V>,
    third: SumRow<V>,
    fourth: SumRow<V>,
}

#[derive(Clone, Copy)]
struct SumRow<V> {
    left: V,
    right: V,
}

impl<V: Copy> Tile<V> {
    /// Returns the sums of the outer products of the columns of A with the rows of a panel of B.
    #[inline(always)]
    fn multiply<S: Simd, R: Real>(simd: S, a: &[[R; MR]], panel: &[R]) -> Self
    where
        V: SumLanes<S, R>,
    {
        let zero = SumRow {
            left: V::splat(simd, R::zero()),
            right: V::splat(simd, R::zero()),
        };
        let mut tile = Tile {
            first: zero,
            second: zero,
            third: zero,
            fourth: zero,
        };
        for (&[first, second, third, fourth], b) in a.iter().zip(panel.chunks_exact(2 * V::LANES)) {
            let (left, right) = b.split_at(V::LANES);
            let (left, right) = (V::load(simd, left), V::load(simd, right));
            tile.first.update(simd, first, left, right);
            tile.second.update(simd, second, left, right);
            tile.third.update(simd, third, left, right);
            tile.fourth.update(simd, fourth, left, right);
        }
        tile
    }

    /// Adds the first `height` rows and `width` columns to those of C.
    #[inline(always)]
    fn add_to<S: Simd, R: Real>(
        self,
        simd: S,
        height: usize,
        width: usize,
        c: &mut [R],
        stride: usize,
    ) where
        V: SumLanes<S, R>,
    {
        let rows = [self.first, self.second, self.third, self.fourth];
        for (row, c) in rows.into_iter().take(height).zip(c.chunks_mut(stride)) {
            let (left, right) = c[..width].split_at_mut(V::LANES.min(width));
            (V::load(simd, left) + row.left).store(left);
            if !right.is_empty() {
                (V::load(simd, right) + row.right).store(right);
            }
        }
    }
}

impl<V> SumRow<V> {
    #[inline(always)]
    fn update<S: Simd, R>(&mut self, simd: S, factor: R, left: V, right: V)
    where
        V: SumLanes<S, R>,
    {
        let factor = V::splat(simd, factor);
        self.left = self.left + factor * left;
        self.right = self.right + factor * right;
    }
}
