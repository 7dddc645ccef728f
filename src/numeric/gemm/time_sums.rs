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
use super::panel::{KC, PackedElement, Panels, nr};
use super::{Addend, View};
use crate::numeric::aligned::{Aligned, prefetch};
use crate::numeric::precision::Precision;
use crate::numeric::real::Lanes;
use crate::numeric::vector::Vector;

/// Sums over the same rows of the same matrix `a`.
pub struct TimeSums<'a, R> {
    /// `[K, M]`, not transposed.
    pub a: View<'a, R>,
    /// The rows that are summed; the others are padding.
    pub rows: &'a RowBlocks,
    pub products: Vec<TimeSum<'a, R>>,
    /// The sums of the columns of `a`, if they are wanted too; their elements are not rounded.
    pub columns: Option<ColumnSums<'a, R>>,
    /// To what the operands of the products are rounded.
    pub precision: Precision,
}

/// The sums of the columns of a matrix.
pub struct ColumnSums<'a, R> {
    /// `[M]`.
    pub sums: &'a mut [R],
    /// Whether they are added to the values of `sums`.
    pub accumulate: bool,
}

/// Indices of the rows that are summed, in blocks: the sum of the rows of each block is added to
/// those of the blocks before it.
#[derive(Debug, Default)]
pub struct RowBlocks {
    rows: Vec<usize>,
    /// The range of each block in `rows`.
    blocks: Vec<Range<usize>>,
}

impl RowBlocks {
    /// Returns the blocks in this order, without the empty ones; those of more than [`KC`] rows are
    /// cut.
    pub fn new<Rows: IntoIterator<Item = usize>>(blocks: impl IntoIterator<Item = Rows>) -> Self {
        let mut all = RowBlocks::default();
        for block in blocks {
            let first = all.rows.len();
            all.rows.extend(block);
            let end = all.rows.len();
            let begins = (first..end).step_by(KC);
            let cut = begins.map(|begin| begin..(begin + KC).min(end));
            all.blocks.extend(cut);
        }
        all
    }

    /// Returns the rows `0..count` in blocks of [`KC`].
    pub fn all(count: usize) -> Self {
        RowBlocks::new(std::iter::once(0..count))
    }

    /// Returns the rows of each block, in the order in which they are summed.
    pub fn iter(&self) -> impl Iterator<Item = &[usize]> {
        self.blocks.iter().map(|block| &self.rows[block.clone()])
    }

    /// The number of rows of the longest block.
    pub(super) fn longest(&self) -> usize {
        self.iter().map(<[usize]>::len).max().unwrap_or(0)
    }

    /// Returns the rows of a block by its number; none past the last block.
    fn get(&self, number: usize) -> &[usize] {
        let block = self.blocks.get(number).cloned();
        &self.rows[block.unwrap_or(0..0)]
    }
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
pub(super) const NC: usize = 64;
/// Tasks that keep all threads busy.
const TASKS: usize = 8;
/// Multiply-adds that are worth a task of their own.
const MULTIPLY_ADDS_PER_TASK: usize = 1 << 20;
/// A panel of ones, with which the columns of `a` are summed.
static ONES: [[f32; MR]; KC] = [[1.0; MR]; KC];

/// [`Matmul::try_time_sums`](super::Matmul::try_time_sums). The order of additions depends on the
/// blocks alone: their sums are added in turn. A sum that is added to the contents of `c` begins
/// with these, so that sums over parts of the blocks, in turn, have the bits of the whole sum.
pub(super) fn try_time_sums(sums: TimeSums<f32>) -> bool {
    let mut products = sums.products.iter();
    let transposed = sums.a.transposed || products.any(|product| product.b.transposed);
    if transposed || nr().is_none() {
        return false;
    }
    time_sums::<f32>(sums);
    true
}

/// An element of the packed operands of sums.
pub(super) trait SummedElement: PackedElement {
    /// Copies `columns`, at most WIDTH, of some rows to a panel `[elements, WIDTH]`.
    fn copy_rows<const WIDTH: usize>(
        from: View<f32>,
        rows: &[usize],
        columns: Range<usize>,
        panel: &mut [Self],
    );

    /// Adds the task's sums to `sums`, laid out as those that [`TimeSumTask`] describes.
    fn run(task: TimeSumTask<Self>, sums: Aligned<f32>) -> Aligned<f32>;
}

/// Computes the sums with operands that are not transposed, packed into elements of type E.
pub(super) fn time_sums<E: SummedElement>(sums: TimeSums<f32>) {
    let TimeSums {
        a,
        rows,
        products,
        columns,
        ..
    } = sums;
    let factors: Vec<Factor<E>> = products
        .iter()
        .map(|product| Factor::pack(product.b, rows))
        .collect();
    let tasks = Tasks::new(a.columns, rows.rows.len(), &factors);
    let blocks = tasks.compute(a, rows, &factors, &products, columns.as_ref());
    let mut first = 0;
    for (product, factor) in products.into_iter().zip(&factors) {
        tasks.add_product(product, first, &blocks);
        first += factor.panels.across();
    }
    if let Some(columns) = columns {
        tasks.copy_column_sums(columns.sums, &blocks);
    }
}

impl SummedElement for f32 {
    #[inline(always)]
    fn copy_rows<const WIDTH: usize>(
        from: View<f32>,
        rows: &[usize],
        columns: Range<usize>,
        panel: &mut [f32],
    ) {
        for (to, &k) in panel.chunks_exact_mut(WIDTH).zip(rows) {
            copy_most::<WIDTH>(&from.values[k * from.stride..][columns.clone()], to);
        }
    }

    fn run(task: TimeSumTask<f32>, sums: Aligned<f32>) -> Aligned<f32> {
        pulp::Arch::new().dispatch(Summation { task, sums })
    }
}

/// One `b`, packed into panels of MR columns.
pub(super) struct Factor<E> {
    panels: Panels<E>,
    /// Rows at the beginning of each block that are zero, as those of initial states are.
    leading_zeros: Vec<usize>,
}

impl<E: SummedElement> Factor<E> {
    /// Packs the given rows of `b`.
    fn pack(b: View<f32>, rows: &RowBlocks) -> Self {
        let row = |k: usize| &b.values[k * b.stride..][..b.columns];
        let is_zero = |k: &&usize| row(**k).iter().all(|&value| value == 0.0);
        let panels = Panels::new(&rows.blocks, b.columns, MR, |panel, block, columns| {
            E::copy_rows::<MR>(b, &rows.rows[block], columns, panel);
        });
        Factor {
            panels,
            leading_zeros: rows
                .iter()
                .map(|rows| rows.iter().take_while(is_zero).count())
                .collect(),
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
    fn new<E: SummedElement>(columns: usize, rows: usize, factors: &[Factor<E>]) -> Tasks {
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
    fn compute<E: SummedElement>(
        &self,
        a: View<f32>,
        rows: &RowBlocks,
        factors: &[Factor<E>],
        outputs: &[TimeSum<f32>],
        columns: Option<&ColumnSums<f32>>,
    ) -> Vec<Aligned<f32>> {
        let compute = |task: usize| {
            let (left, part) = (
                task / self.tasks_per_block * NC,
                task % self.tasks_per_block,
            );
            let first = part * self.panels_per_task;
            let width = left..(left + NC).min(a.columns);
            let task = TimeSumTask {
                a: a.columns(width.clone()),
                rows,
                factors,
                panels: first..(first + self.panels_per_task).min(self.panels),
                column_sums: part == 0 && columns.is_some(),
            };
            let mut sums = task.zeros();
            task.begin_with_outputs(outputs, left, &mut sums);
            if let Some(columns) = columns.filter(|columns| part == 0 && columns.accumulate) {
                let values = &columns.sums[width];
                sums[task.panels.len() * MR * NC..][..values.len()].copy_from_slice(values);
            }
            E::run(task, sums)
        };
        let tasks = 0..self.column_blocks * self.tasks_per_block;
        if tasks.len() == 1 {
            return vec![compute(0)];
        }
        tasks.into_par_iter().map(compute).collect()
    }

    /// Writes `addend + sums` to `c`, or the sums where they began with `c`; `first` is the index
    /// of the product's first panel.
    fn add_product(&self, product: TimeSum<f32>, first: usize, blocks: &[Aligned<f32>]) {
        let TimeSum {
            b,
            addend,
            c,
            stride,
        } = product;
        let row_blocks = c.par_chunks_mut(NC * stride);
        let blocks = blocks.par_chunks(self.tasks_per_block);
        // The sums of a task include the former contents of c.
        let addend = match addend {
            Addend::C => Addend::Zero,
            other => other,
        };
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
pub(super) struct TimeSumTask<'a, E> {
    /// At most NC columns.
    pub a: View<'a, f32>,
    pub rows: &'a RowBlocks,
    factors: &'a [Factor<E>],
    /// Indices among the panels of all factors.
    pub panels: Range<usize>,
    column_sums: bool,
}

/// A task with the sums that it begins with.
struct Summation<'a> {
    task: TimeSumTask<'a, f32>,
    sums: Aligned<f32>,
}

impl WithSimd for Summation<'_> {
    type Output = Aligned<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Aligned<f32> {
        let Summation { task, mut sums } = self;
        let a = task.a;
        let (products, column_sums) = task.split(&mut sums);
        // The rows of `a` are far apart in memory and slow to load one by one, so they are packed.
        let mut packed = Aligned::zeros(task.rows.longest() * NC);
        for (number, rows) in task.rows.iter().enumerate() {
            let packed = &mut packed[..rows.len() * NC];
            f32::copy_rows::<NC>(a, rows, 0..a.columns, packed);
            task.add_block(simd, number, packed, products);
            if !column_sums.is_empty() {
                for strip in Strip::all(simd, packed, a.columns) {
                    strip.multiply::<Mr1<S, _>>(0, &ONES, &mut column_sums[strip.left..]);
                }
            }
        }
        sums
    }
}

impl<E: SummedElement> TimeSumTask<'_, E> {
    /// Returns the sums of products and, if they are wanted, those of the columns of `a`.
    #[inline(always)]
    pub(super) fn split<'s>(&self, sums: &'s mut [f32]) -> (&'s mut [f32], &'s mut [f32]) {
        sums.split_at_mut(self.panels.len() * MR * NC)
    }

    /// Returns the task's panels of a block of rows by its number: the columns of the factor from
    /// the panel's first on, the leading rows of zeros, and the panel.
    #[inline(always)]
    pub(super) fn panels_of(&self, number: usize) -> impl Iterator<Item = (usize, usize, &[E])> {
        let panels = self.factors.iter().flat_map(move |factor| {
            let skip = factor.leading_zeros[number];
            let panels = factor.panels.block(number);
            panels.map(move |(left, panel)| (factor.panels.columns - left, skip, panel))
        });
        panels.skip(self.panels.start).take(self.panels.len())
    }

    /// Returns the rows of the block after this one, in parts, one for each of `strips` strips, for
    /// prefetching.
    #[inline(always)]
    pub(super) fn next_rows(&self, number: usize, strips: usize) -> std::slice::Chunks<'_, usize> {
        let next = self.rows.get(number + 1);
        next.chunks(next.len().div_ceil(self.panels.len() * strips).max(1))
    }

    /// Returns zeros for all sums of the task.
    fn zeros(&self) -> Aligned<f32> {
        let rows = self.panels.len() * MR + usize::from(self.column_sums);
        Aligned::zeros(rows * NC)
    }

    /// Copies the contents of the outputs that are added to, from row `top` on, to `sums`.
    fn begin_with_outputs(&self, outputs: &[TimeSum<f32>], top: usize, sums: &mut [f32]) {
        let mut first = 0;
        for (output, factor) in outputs.iter().zip(self.factors) {
            let panels = first..first + factor.panels.across();
            first = panels.end;
            if !matches!(output.addend, Addend::C) {
                continue;
            }
            let own = panels.start.max(self.panels.start)..panels.end.min(self.panels.end);
            for panel in own {
                let left = (panel - panels.start) * MR;
                let width = MR.min(output.b.columns - left);
                let sums = &mut sums[(panel - self.panels.start) * MR * NC..];
                let rows = output.c.chunks(output.stride).skip(top);
                for (m, row) in rows.take(self.a.columns).enumerate() {
                    let sums = sums[m..].iter_mut().step_by(NC);
                    let values = &row[left..left + width];
                    sums.zip(values).for_each(|(sum, &value)| *sum = value);
                }
            }
        }
    }
}

impl TimeSumTask<'_, f32> {
    /// Adds the products of a block of rows, packed.
    #[inline(always)]
    fn add_block<S: Simd>(&self, simd: S, number: usize, packed: &[f32], products: &mut [f32]) {
        let a = self.a;
        // While panels are multiplied, the rows of the next block are prefetched, a few per strip.
        let mut prefetched = self.next_rows(number, a.columns.div_ceil(2 * S::F32_LANES));
        let half = MR / 2;
        let sums = products.chunks_exact_mut(MR * NC);
        for (sums, (columns, skip, panel)) in sums.zip(self.panels_of(number)) {
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
