//! Sums over time steps of outer products, `c = a^T b`: the gradients of weights.
//!
//! Row k of `a` and of `b` belongs to a time step of a sequence. With a as the gradient of the
//! gates, `[T*B, M]`, and b as the inputs or the states, `[T*B, N]`, the result is `dW`, `[M, N]`.
//! It is computed transposed: the columns of `b` are the rows of a packed A (MR at a time), the
//! columns of `a` the columns of B (NR at a time), and the rows that are summed the inner
//! dimension.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::microkernel::{MR, Microtile, Mr1, Mr4, Mr8, PackedA, TileOutput};
use super::panel::{KC, Panels, nr};
use super::{Addend, View};
use crate::numeric::aligned::{Aligned, prefetch};
use crate::numeric::real::Lanes;
use crate::numeric::vector::Vector;

/// Sums over the same rows of the same matrix `a`.
pub struct TimeSums<'a, R> {
    /// `[K, M]`, not transposed.
    pub a: View<'a, R>,
    /// Indices of the rows that are summed; the others are padding.
    pub rows: &'a [usize],
    pub products: Vec<TimeSum<'a, R>>,
    /// `[M]`: if given, also receives the sums of the columns of `a`.
    pub column_sums: Option<&'a mut [R]>,
}

/// One sum, `c = addend + a^T b`.
pub struct TimeSum<'a, R> {
    /// `[K, N]`, not transposed.
    pub b: View<'a, R>,
    pub addend: Addend<'a, R>,
    /// `[M, N]`, its rows stored `stride` apart.
    pub c: &'a mut [R],
    pub stride: usize,
}

/// Columns of `a` that a task takes.
const NC: usize = 64;
/// Tasks that keep all threads busy.
const TASKS: usize = 8;
/// Multiply-adds that are worth a task of their own.
const MULTIPLY_ADDS_PER_TASK: usize = 1 << 20;
/// A panel of ones, with which the columns of `a` are summed.
static ONES: [[f32; MR]; KC] = [[1.0; MR]; KC];

/// [`Matmul::try_time_sums`](super::Matmul::try_time_sums). The order of additions depends on the
/// number of rows alone: sums of blocks of [`KC`] rows are added in turn.
pub(super) fn try_time_sums(sums: TimeSums<f32>) -> bool {
    let TimeSums {
        a,
        rows,
        products,
        column_sums,
    } = sums;
    let transposed = a.transposed || products.iter().any(|product| product.b.transposed);
    if transposed || nr().is_none() {
        return false;
    }
    let factors: Vec<Factor> = products
        .iter()
        .map(|product| Factor::pack(product.b, rows))
        .collect();
    let tasks = Tasks::new(a.columns, rows.len(), &factors);
    let blocks = tasks.compute(a, rows, &factors, column_sums.is_some());
    let mut first = 0;
    for (product, factor) in products.into_iter().zip(&factors) {
        tasks.add_product(product, first, &blocks);
        first += factor.panels.across();
    }
    if let Some(column_sums) = column_sums {
        tasks.copy_column_sums(column_sums, &blocks);
    }
    true
}

/// One `b`, packed into panels of MR columns.
struct Factor {
    panels: Panels,
    /// Rows at the beginning that are zero, as those of initial states are.
    leading_zeros: usize,
}

impl Factor {
    /// Packs the given rows of `b`.
    fn pack(b: View<f32>, rows: &[usize]) -> Factor {
        let row = |k: usize| &b.values[k * b.stride..][..b.columns];
        let is_zero = |k: &&usize| row(**k).iter().all(|&value| value == 0.0);
        let panels = Panels::new(rows.len(), b.columns, MR, |panel, first, columns| {
            for (to, &k) in panel.chunks_exact_mut(MR).zip(&rows[first..]) {
                copy_most::<MR>(&row(k)[columns.clone()], to);
            }
        });
        Factor {
            panels,
            leading_zeros: rows.iter().take_while(is_zero).count(),
        }
    }
}

/// Copies elements. The most common number, N, is known to the compiler, which then emits no call
/// to `memcpy`; the call would take longer than the copy.
#[inline(always)]
fn copy_most<const N: usize>(from: &[f32], to: &mut [f32]) {
    match <&[f32; N]>::try_from(from) {
        Ok(from) => to[..N].copy_from_slice(from),
        Err(_) => to[..from.len()].copy_from_slice(from),
    }
}

/// The division of the work: a task computes the products of NC columns of `a` with some panels.
struct Tasks {
    /// Blocks of NC columns of `a`.
    column_blocks: usize,
    /// Panels of all factors.
    panels: usize,
    panels_per_task: usize,
    tasks_per_block: usize,
}

impl Tasks {
    /// Divides the panels so that there are at most about [`TASKS`] tasks, each with at least
    /// [`MULTIPLY_ADDS_PER_TASK`].
    fn new(columns: usize, rows: usize, factors: &[Factor]) -> Tasks {
        let column_blocks = columns.div_ceil(NC);
        let panels: usize = factors.iter().map(|factor| factor.panels.across()).sum();
        let worthwhile = rows * NC * panels * MR / MULTIPLY_ADDS_PER_TASK;
        let wanted = (TASKS / column_blocks).min(worthwhile).clamp(1, panels);
        let panels_per_task = panels.div_ceil(wanted);
        Tasks {
            column_blocks,
            panels,
            panels_per_task,
            tasks_per_block: panels.div_ceil(panels_per_task),
        }
    }

    /// Runs all tasks; returns their sums as [`TimeSumTask`] does, block by block.
    fn compute(
        &self,
        a: View<f32>,
        rows: &[usize],
        factors: &[Factor],
        column_sums: bool,
    ) -> Vec<Aligned<f32>> {
        let compute = |task: usize| {
            let (left, part) = (
                task / self.tasks_per_block * NC,
                task % self.tasks_per_block,
            );
            let first = part * self.panels_per_task;
            pulp::Arch::new().dispatch(TimeSumTask {
                a: a.columns(left..(left + NC).min(a.columns)),
                rows,
                factors,
                panels: first..(first + self.panels_per_task).min(self.panels),
                column_sums: part == 0 && column_sums,
            })
        };
        let tasks = 0..self.column_blocks * self.tasks_per_block;
        if tasks.len() == 1 {
            return vec![compute(0)];
        }
        tasks.into_par_iter().map(compute).collect()
    }

    /// Writes `addend + sums` to `c`; `first` is the index of the product's first panel.
    fn add_product(&self, product: TimeSum<f32>, first: usize, blocks: &[Aligned<f32>]) {
        let TimeSum {
            b,
            addend,
            c,
            stride,
        } = product;
        let row_blocks = c.par_chunks_mut(NC * stride);
        let blocks = blocks.par_chunks(self.tasks_per_block);
        row_blocks.zip(blocks).for_each(|(c, blocks)| {
            addend.write(c, b.columns, stride);
            for (panel, left) in (first..).zip((0..b.columns).step_by(MR)) {
                let columns = left..(left + MR).min(b.columns);
                let sums = &blocks[panel / self.panels_per_task];
                let sums = &sums[panel % self.panels_per_task * MR * NC..];
                for (m, row) in c.chunks_mut(stride).enumerate() {
                    let sums = sums[m..].iter().step_by(NC);
                    row[columns.clone()]
                        .iter_mut()
                        .zip(sums)
                        .for_each(|(c, sum)| *c += sum);
                }
            }
        });
    }

    /// Copies the sums of the columns of `a`, which the first task of each block computes.
    fn copy_column_sums(&self, column_sums: &mut [f32], blocks: &[Aligned<f32>]) {
        let blocks = blocks.iter().step_by(self.tasks_per_block);
        for (sums, block) in column_sums.chunks_mut(NC).zip(blocks) {
            sums.copy_from_slice(&block[self.panels_per_task * MR * NC..][..sums.len()]);
        }
    }
}

/// Computes `[panels * MR, NC]`: the sums of the outer products of the columns of some panels with
/// those of `a`, and behind them, if wanted, the sums of the columns of `a`.
struct TimeSumTask<'a> {
    /// At most NC columns.
    a: View<'a, f32>,
    rows: &'a [usize],
    factors: &'a [Factor],
    /// Indices among the panels of all factors.
    panels: Range<usize>,
    column_sums: bool,
}

impl WithSimd for TimeSumTask<'_> {
    type Output = Aligned<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Aligned<f32> {
        let products = self.panels.len() * MR;
        let mut block = Aligned::zeros((products + usize::from(self.column_sums)) * NC);
        let (products, column_sums) = block.split_at_mut(products * NC);
        // The rows of `a` are far apart in memory and slow to load one by one, so they are packed.
        let mut packed = Aligned::zeros(self.rows.len().min(KC) * NC);
        for (index, rows) in self.rows.chunks(KC).enumerate() {
            let packed = &mut packed[..rows.len() * NC];
            for (row, &k) in packed.chunks_exact_mut(NC).zip(rows) {
                copy_most::<NC>(&self.a.values[k * self.a.stride..][..self.a.columns], row);
            }
            self.add_block(simd, index * KC, packed, products);
            if !column_sums.is_empty() {
                for strip in Strip::all(simd, packed, self.a.columns) {
                    strip.multiply::<Mr1<S, _>>(0, &ONES, &mut column_sums[strip.left..]);
                }
            }
        }
        block
    }
}

impl TimeSumTask<'_> {
    /// Adds the products of the block of rows from index `first` on, packed.
    #[inline(always)]
    fn add_block<S: Simd>(&self, simd: S, first: usize, packed: &[f32], products: &mut [f32]) {
        let a = self.a;
        let rows = packed.len() / NC;
        // While panels are multiplied, the rows of the next block are prefetched, a few per strip.
        let next = self.rows[first + rows..].chunks(KC).next().unwrap_or(&[]);
        let strips = self.panels.len() * a.columns.div_ceil(2 * S::F32_LANES);
        let mut prefetched = next.chunks(next.len().div_ceil(strips).max(1));
        let panels = self.factors.iter().flat_map(|factor| {
            let skip = factor.leading_zeros.saturating_sub(first).min(rows);
            let panels = factor.panels.block(first);
            panels.map(move |(left, panel)| (factor.panels.columns - left, skip, panel))
        });
        let panels = panels.skip(self.panels.start).take(self.panels.len());
        let half = MR / 2;
        for (sums, (columns, skip, panel)) in products.chunks_exact_mut(MR * NC).zip(panels) {
            let panel = &panel.as_chunks().0[skip..];
            for strip in Strip::all(simd, packed, a.columns) {
                for &k in prefetched.next().unwrap_or(&[]) {
                    prefetch(&a.values[k * a.stride..][..a.columns]);
                }
                let strip = strip.skip_rows(skip);
                let sums = &mut sums[strip.left..];
                if columns > half && S::REGISTER_COUNT >= 32 {
                    strip.multiply::<Mr8<S, _>>(0, panel, sums);
                    continue;
                }
                strip.multiply::<Mr4<S, _>>(0, panel, sums);
                if columns > half {
                    strip.multiply::<Mr4<S, _>>(half, panel, &mut sums[half * NC..]);
                }
            }
        }
    }
}

/// NR columns of packed rows `[.., NC]`, or the last columns.
#[derive(Clone, Copy)]
struct Strip<'a, S> {
    simd: S,
    rows: &'a [f32],
    left: usize,
    width: usize,
}

impl<'a, S: Simd> Strip<'a, S> {
    /// All strips of `columns` columns.
    #[inline(always)]
    fn all(simd: S, rows: &'a [f32], columns: usize) -> impl Iterator<Item = Strip<'a, S>> {
        let nr = 2 * S::F32_LANES;
        (0..columns).step_by(nr).map(move |left| Strip {
            simd,
            rows,
            left,
            width: nr.min(columns - left),
        })
    }

    /// The strip without its first `count` rows.
    #[inline(always)]
    fn skip_rows(self, count: usize) -> Self {
        Strip {
            rows: &self.rows[count * NC..],
            ..self
        }
    }

    /// Adds the product of the columns of a panel, from `first` on, with the strip to `c`.
    #[inline(always)]
    fn multiply<T: Microtile<S, PackedA>>(&self, first: usize, panel: &[[f32; MR]], c: &mut [f32]) {
        let nr = 2 * S::F32_LANES;
        let mut tile = T::zeros(self.simd, PackedA, first);
        // Two calls, so that the width of a whole strip is a constant.
        if self.width == nr {
            self.update(panel, nr, &mut tile);
        } else {
            self.update(panel, self.width, &mut tile);
        }
        let output = TileOutput {
            width: self.width,
            addend: Addend::C,
            stride: NC,
        };
        tile.write(output, c);
    }

    #[inline(always)]
    fn update<T: Microtile<S, PackedA>>(&self, panel: &[[f32; MR]], width: usize, tile: &mut T) {
        for (row, column) in self.rows.chunks_exact(NC).zip(panel) {
            let row = &row[self.left..][..width];
            let (left, right) = row.split_at(S::F32_LANES.min(width));
            let load = |values| Vector::load(self.simd, values);
            tile.rank_1_update(column, load(left), load(right));
        }
    }
}
