//! Products with the widest vectors that a machine has: of a few rows with the same matrix again and again, as a recurrence takes
//! them, for which the matrix is laid out once; and sums of outer products over many terms, as gradients of weights are.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::numeric::aligned::{Aligned, prefetch};
use crate::numeric::real::{Real, View};
use crate::numeric::vector::Vector;

/// The right-hand matrix of products, laid out for them.
#[derive(Debug)]
pub struct Packed<'a, R> {
    /// `[K, N]`.
    matrix: View<'a, R>,
    /// Where that pays.
    panels: Option<Panels>,
}

/// A matrix `[K, N]` in blocks of [`DEPTH`] rows, and each block in panels of a few columns.
#[derive(Debug)]
pub struct Panels {
    /// Block by block, from left to right: `[rows, width]`, with zeros past the last column.
    panels: Vec<Aligned<f32>>,
    columns: usize,
    /// Columns of a panel: two vectors, or [`ROWS`] where they are factors.
    width: usize,
}

/// Terms of a block: its panel stays in a core's nearest cache while all rows pass.
pub const DEPTH: usize = 256;
/// Numbers in a line of the cache, and numbers that are worth a thread.
const LINE: usize = 16;
const TASK: usize = 1 << 15;

impl<'a, R: Real> Packed<'a, R> {
    /// The matrix as it lies.
    pub fn plain(matrix: View<'a, R>) -> Self {
        Packed {
            matrix,
            panels: None,
        }
    }

    /// Whether it is laid out: what becomes of a row in a product does not depend on the others then.
    pub fn is_laid_out(&self) -> bool {
        self.panels.is_some()
    }

    /// `c = start + a @ b`, where `c` has stored rows `stride` apart.
    pub fn product(&self, a: View<R>, start: Start<R>, c: &mut [R], stride: usize) {
        match &self.panels {
            Some(panels) if !a.transposed => R::product_of_panels(a, panels, start, c, stride),
            _ => {
                start.put(c, self.matrix.columns, stride);
                R::product(a, self.matrix, c, stride, true);
            }
        }
    }
}

impl<'a> Packed<'a, f32> {
    /// Laid out for the widest vectors that there are; as it lies where those cannot multiply and add at once.
    pub fn new(matrix: View<'a, f32>) -> Self {
        let panels = panel_width().map(|width| {
            Panels::new(
                matrix.rows,
                matrix.columns,
                width,
                |panel, first, columns| {
                    fill(panel, width, matrix, first, columns);
                },
            )
        });
        Packed { matrix, panels }
    }
}

impl Panels {
    /// `fill` fills the panel of some of its columns from a row on.
    fn new(
        rows: usize,
        columns: usize,
        width: usize,
        fill: impl Fn(&mut [f32], usize, Range<usize>) + Sync,
    ) -> Self {
        let across = columns.div_ceil(width);
        let worth_a_thread = (TASK / (DEPTH.min(rows.max(1)) * width)).max(1);
        let panels = (0..rows.div_ceil(DEPTH) * across)
            .into_par_iter()
            .with_min_len(worth_a_thread)
            .map(|number| {
                let (first, left) = (number / across * DEPTH, number % across * width);
                let mut panel = Aligned::zeros((rows - first).min(DEPTH) * width);
                fill(&mut panel, first, left..(left + width).min(columns));
                panel
            });
        Panels {
            panels: panels.collect(),
            columns,
            width,
        }
    }

    /// Panels side by side.
    fn across(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// The panels of the block that begins with row `first`, from left to right: the column that each begins with, and its values.
    fn block(&self, first: usize) -> impl Iterator<Item = (usize, &[f32])> {
        let across = self.across();
        let panels = &self.panels[first / DEPTH * across..][..across];
        let lefts = (0..self.columns).step_by(self.width);
        lefts.zip(panels.iter().map(|panel| &**panel))
    }

    /// [`Packed::product`].
    pub fn product(&self, a: View<f32>, start: Start<f32>, c: &mut [f32], stride: usize) {
        pulp::Arch::new().dispatch(Product {
            a,
            b: self,
            start,
            c,
            stride,
        });
    }
}

/// What a product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a, R> {
    /// What `c` holds.
    Held,
    /// In every row of `c` these `[N]`, or zeros where it is empty.
    Row(&'a [R]),
}

impl<R: Real> Start<'_, R> {
    /// Puts it into the first `columns` of the rows of `c`.
    pub fn put(self, c: &mut [R], columns: usize, stride: usize) {
        let Start::Row(start) = self else { return };
        for row in c.chunks_mut(stride) {
            match start.is_empty() {
                true => row[..columns].fill(R::zero()),
                false => row[..columns].copy_from_slice(start),
            }
        }
    }
}

impl<'a> Start<'a, f32> {
    /// For the block that begins with the term `first`: only one can begin anew.
    fn of_block(self, first: usize) -> Self {
        if first == 0 { self } else { Start::Held }
    }

    /// For the columns from `left` on.
    fn columns(self, left: usize) -> Self {
        match self {
            Start::Row(row) if !row.is_empty() => Start::Row(&row[left..]),
            _ => self,
        }
    }
}

/// The columns of a panel on this machine; none where products are better left to others.
fn panel_width() -> Option<usize> {
    let width = 2 * pulp::Arch::new().dispatch(Lanes);
    // Before AVX2 an x86 has no fused instruction, and pulp goes without vectors.
    let fused = width >= 16 || !cfg!(any(target_arch = "x86", target_arch = "x86_64"));
    fused.then_some(width)
}

/// Numbers of a vector.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Copies numbers; apart where they are N, mostly, since a call would cost more than a few.
#[inline(always)]
fn copy<const N: usize>(from: &[f32], to: &mut [f32]) {
    match <&[f32; N]>::try_from(from) {
        Ok(from) => to[..N].copy_from_slice(from),
        Err(_) => to[..from.len()].copy_from_slice(from),
    }
}

/// Fills a panel, `[terms, width]`, with what stands in `columns` from row `first` on.
fn fill(panel: &mut [f32], width: usize, from: View<f32>, first: usize, columns: Range<usize>) {
    if !from.transposed {
        for (k, to) in panel.chunks_exact_mut(width).enumerate() {
            let row = &from.values[(first + k) * from.stride..][columns.clone()];
            to[..row.len()].copy_from_slice(row);
        }
        return;
    }
    // As many terms at a time as a line of the cache has.
    for (above, lines) in panel.chunks_mut(LINE * width).enumerate() {
        let terms = lines.len() / width;
        for (column, j) in columns.clone().enumerate() {
            let row = &from.values[j * from.stride + first + above * LINE..][..terms];
            let to = lines[column..].iter_mut().step_by(width);
            to.zip(row).for_each(|(to, &value)| *to = value);
        }
    }
}

/// `c = start + a @ b`.
struct Product<'a> {
    a: View<'a, f32>,
    b: &'a Panels,
    start: Start<'a, f32>,
    c: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product {
            a,
            b,
            start,
            c,
            stride,
        } = self;
        for first in (0..a.columns).step_by(DEPTH) {
            let terms = DEPTH.min(a.columns - first);
            for (left, panel) in b.block(first) {
                let out = Out {
                    width: b.width.min(b.columns - left),
                    start: start.columns(left).of_block(first),
                    stride,
                };
                let mut row = 0;
                while row < a.rows {
                    let lines = Lines {
                        values: &a.values[row * a.stride + first..],
                        stride: a.stride,
                        terms,
                    };
                    let to = &mut c[row * stride + left..];
                    row += match a.rows - row {
                        1 => lines.times::<_, One<S, _>>(simd, panel, out, to),
                        2 | 3 => lines.times::<_, Two<S, _>>(simd, panel, out, to),
                        8.. if S::REGISTER_COUNT >= 32 => {
                            lines.times::<_, Eight<S, _>>(simd, panel, out, to)
                        }
                        _ => lines.times::<_, Four<S, _>>(simd, panel, out, to),
                    };
                }
            }
        }
    }
}

/// Sums over the terms k of the outer products of row k of one matrix with rows k of others.
pub struct OuterProducts<'a, R> {
    /// `[.., M]`.
    pub a: View<'a, R>,
    /// The rows that count.
    pub terms: &'a [usize],
    pub products: Vec<OuterProduct<'a, R>>,
    /// `[M]`: also the sums of the columns of a.
    pub sums: Option<&'a mut [R]>,
}

/// One of them: `c = start + ` the sum of the outer products of a's rows and b's.
pub struct OuterProduct<'a, R> {
    /// `[.., N]`.
    pub b: View<'a, R>,
    pub start: Start<'a, R>,
    /// `[M, N]`, stored rows `stride` apart.
    pub c: &'a mut [R],
    pub stride: usize,
}

/// [`Real::outer_products`]. What is added up in which order follows from the terms' number alone: blocks of [`DEPTH`] of them,
/// whose sums are added in turn.
pub fn outer_products(of: OuterProducts<f32>) -> bool {
    let OuterProducts {
        a,
        terms,
        products,
        sums,
    } = of;
    let transposed = a.transposed || products.iter().any(|product| product.b.transposed);
    if transposed || panel_width().is_none() {
        return false;
    }
    let strips: Vec<Strips> = products
        .iter()
        .map(|OuterProduct { b, .. }| {
            let row = |k: usize| &b.values[k * b.stride..][..b.columns];
            let is_zero = |k: &&usize| row(**k).iter().all(|&value| value == 0.0);
            let panels = Panels::new(terms.len(), b.columns, ROWS, |strip, first, columns| {
                for (to, &k) in strip.chunks_exact_mut(ROWS).zip(&terms[first..]) {
                    copy::<ROWS>(&row(k)[columns.clone()], to);
                }
            });
            Strips {
                panels,
                zeros: terms.iter().take_while(is_zero).count(),
            }
        })
        .collect();
    // A task takes some columns of a, and all strips where that makes tasks enough, or as many as they are worth.
    let groups = a.columns.div_ceil(GROUP);
    let all: usize = strips.iter().map(|strips| strips.panels.across()).sum();
    let worth = terms.len() * GROUP * all * ROWS / SUMMED;
    let own = all.div_ceil((TASKS / groups).min(worth).clamp(1, all));
    let parts = all.div_ceil(own);
    let blocks: Vec<Aligned<f32>> = (0..groups * parts)
        .into_par_iter()
        .map(|task| {
            let (first, part) = (task / parts * GROUP, task % parts);
            pulp::Arch::new().dispatch(Block {
                a: a.columns(first..(first + GROUP).min(a.columns)),
                terms,
                strips: &strips,
                own: part * own..((part + 1) * own).min(all),
                sums: part == 0 && sums.is_some(),
            })
        })
        .collect();
    let mut above = 0;
    for (product, Strips { panels, .. }) in products.into_iter().zip(&strips) {
        let OuterProduct {
            start, c, stride, ..
        } = product;
        let rows = c
            .par_chunks_mut(GROUP * stride)
            .zip(blocks.par_chunks(parts));
        rows.for_each(|(c, blocks)| {
            start.put(c, panels.columns, stride);
            for (strip, left) in (above..).zip((0..panels.columns).step_by(ROWS)) {
                let own_columns = left..(left + ROWS).min(panels.columns);
                let sums = &blocks[strip / own][strip % own * ROWS * GROUP..];
                for (m, row) in c.chunks_mut(stride).enumerate() {
                    let sums = sums[m..].iter().step_by(GROUP);
                    row[own_columns.clone()]
                        .iter_mut()
                        .zip(sums)
                        .for_each(|(c, sum)| *c += sum);
                }
            }
        });
        above += panels.across();
    }
    if let Some(sums) = sums {
        for (sums, block) in sums.chunks_mut(GROUP).zip(blocks.iter().step_by(parts)) {
            sums.copy_from_slice(&block[own * ROWS * GROUP..][..sums.len()]);
        }
    }
    true
}

/// Columns of the b's that lie side by side in a strip, columns of a that a task takes, and tasks that keep the threads busy.
const ROWS: usize = 8;
const GROUP: usize = 64;
const TASKS: usize = 8;
/// Multiply-adds that are worth a thread.
const SUMMED: usize = 1 << 20;
/// A strip of ones, with which columns are summed.
static ONES: [[f32; ROWS]; DEPTH] = [[1.0; ROWS]; DEPTH];

/// One b, laid out in strips.
struct Strips {
    panels: Panels,
    /// Terms at the beginning that add nothing, as with initial states.
    zeros: usize,
}

/// `[strips * ROWS, GROUP]`: the sums of the outer products of the columns of some strips with those of a. Behind them the sums
/// of a's columns, if they are asked for.
struct Block<'a> {
    a: View<'a, f32>,
    terms: &'a [usize],
    strips: &'a [Strips],
    own: Range<usize>,
    sums: bool,
}

impl WithSimd for Block<'_> {
    type Output = Aligned<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Aligned<f32> {
        let Block { a, own, .. } = self;
        let width = 2 * S::F32_LANES;
        let mut block = Aligned::zeros((own.len() * ROWS + usize::from(self.sums)) * GROUP);
        let (products, sums) = block.split_at_mut(own.len() * ROWS * GROUP);
        // a's part of a block, side by side: as it lies its lines are far apart, and one at a time takes long to come.
        let mut rows = Aligned::zeros(self.terms.len().min(DEPTH) * GROUP);
        for (number, terms) in self.terms.chunks(DEPTH).enumerate() {
            let rows = &mut rows[..terms.len() * GROUP];
            for (row, &k) in rows.chunks_exact_mut(GROUP).zip(terms) {
                copy::<GROUP>(&a.values[k * a.stride..][..a.columns], row);
            }
            let columns = (0..a.columns).step_by(width).map(|left| Columns {
                simd,
                rows,
                left,
                width: width.min(a.columns - left),
            });
            let first = number * DEPTH;
            // The next block's rows, a few for each time that vectors of columns pass a strip.
            let next = self.terms[first + terms.len()..].chunks(DEPTH).next();
            let next = next.unwrap_or(&[]);
            let passes = own.len() * a.columns.div_ceil(width);
            let mut soon = next.chunks(next.len().div_ceil(passes).max(1));
            let strips = self.strips.iter().flat_map(|Strips { panels, zeros }| {
                let skip = zeros.saturating_sub(first).min(terms.len());
                let strips = panels.block(first);
                strips.map(move |(left, strip)| (panels.columns - left, skip, strip))
            });
            let strips = strips.skip(own.start).take(own.len());
            let half = ROWS / 2;
            for (block, (size, skip, strip)) in products.chunks_exact_mut(ROWS * GROUP).zip(strips)
            {
                let strip = &strip.as_chunks().0[skip..];
                for columns in columns.clone() {
                    for &k in soon.next().unwrap_or(&[]) {
                        prefetch(&a.values[k * a.stride..][..a.columns]);
                    }
                    let columns = columns.from(skip);
                    let block = &mut block[columns.left..];
                    if size > half && S::REGISTER_COUNT >= 32 {
                        columns.add::<Eight<S, _>>(0, strip, block);
                        continue;
                    }
                    columns.add::<Four<S, _>>(0, strip, block);
                    if size > half {
                        columns.add::<Four<S, _>>(half, strip, &mut block[half * GROUP..]);
                    }
                }
            }
            if !sums.is_empty() {
                for columns in columns {
                    columns.add::<One<S, _>>(0, &ONES, &mut sums[columns.left..]);
                }
            }
        }
        block
    }
}

/// Two vectors of columns of a block's rows `[.., GROUP]`, or the last columns.
#[derive(Clone, Copy)]
struct Columns<'a, S> {
    simd: S,
    rows: &'a [f32],
    left: usize,
    width: usize,
}

impl<S: Simd> Columns<'_, S> {
    /// Without the rows before `first`.
    fn from(self, first: usize) -> Self {
        Columns {
            rows: &self.rows[first * GROUP..],
            ..self
        }
    }

    /// Adds the outer products of the rows with some columns of a strip, from `first` on, to c.
    #[inline(always)]
    fn add<T: Rows<S, Strip>>(&self, first: usize, strip: &[[f32; ROWS]], c: &mut [f32]) {
        let whole = 2 * S::F32_LANES;
        let mut rows = T::new(self.simd, Strip, first);
        // Apart, so that the length is known.
        if self.width == whole {
            self.pass(strip, whole, &mut rows);
        } else {
            self.pass(strip, self.width, &mut rows);
        }
        let out = Out {
            width: self.width,
            start: Start::Held,
            stride: GROUP,
        };
        rows.finish(out, c);
    }

    #[inline(always)]
    fn pass<T: Rows<S, Strip>>(&self, strip: &[[f32; ROWS]], width: usize, rows: &mut T) {
        for (row, term) in self.rows.chunks_exact(GROUP).zip(strip) {
            let row = &row[self.left..][..width];
            let (left, right) = row.split_at(S::F32_LANES.min(width));
            let load = |values| Vector::load(self.simd, values);
            rows.add(term, load(left), load(right));
        }
    }
}

/// Where a panel's part of a product goes.
#[derive(Clone, Copy)]
struct Out<'a> {
    /// Columns of c.
    width: usize,
    start: Start<'a, f32>,
    /// From one row of c to the next.
    stride: usize,
}

/// Where the factors of a panel's rows are found.
trait Factors: Copy {
    /// What finds those of one row.
    type Row: Copy;
    /// What finds those of one term.
    type Term<'t>: Copy;
    fn row(self, number: usize) -> Self::Row;
    fn factor(row: Self::Row, term: Self::Term<'_>) -> f32;
}

/// Rows of a matrix as it lies.
#[derive(Clone, Copy)]
struct Lines<'a> {
    values: &'a [f32],
    stride: usize,
    terms: usize,
}

impl<'a> Lines<'a> {
    /// A panel's part of some of these rows' product; returns how many.
    #[inline(always)]
    fn times<S: Simd, T: Rows<S, Self>>(
        self,
        simd: S,
        panel: &[f32],
        out: Out,
        c: &mut [f32],
    ) -> usize {
        let mut rows = T::new(simd, self, 0);
        let panel = panel.chunks_exact(2 * S::F32_LANES);
        for (term, b) in (0..self.terms).zip(panel) {
            let (left, right) = b.split_at(S::F32_LANES);
            let load = |values| Vector::load(simd, values);
            rows.add(term, load(left), load(right));
        }
        rows.finish(out, c);
        T::COUNT
    }
}

impl<'a> Factors for Lines<'a> {
    type Row = &'a [f32];
    type Term<'t> = usize;

    #[inline(always)]
    fn row(self, number: usize) -> &'a [f32] {
        &self.values[number * self.stride..][..self.terms]
    }

    #[inline(always)]
    fn factor(row: &'a [f32], term: usize) -> f32 {
        row[term]
    }
}

/// [`ROWS`] rows that are laid out term by term.
#[derive(Clone, Copy)]
struct Strip;

impl Factors for Strip {
    type Row = usize;
    type Term<'t> = &'t [f32; ROWS];

    #[inline(always)]
    fn row(self, number: usize) -> usize {
        number
    }

    #[inline(always)]
    fn factor(row: usize, term: &[f32; ROWS]) -> f32 {
        term[row]
    }
}

/// Some rows' sums. They are put together as types: an array that is walked through would lie in memory.
trait Rows<S: Simd, F: Factors> {
    const COUNT: usize;
    /// Of the rows from `first` on.
    fn new(simd: S, factors: F, first: usize) -> Self;
    /// Adds the products with a term.
    fn add(&mut self, term: F::Term<'_>, left: Vector<S>, right: Vector<S>);
    /// Adds the sums to what `out` starts from, into c.
    fn finish(self, out: Out, c: &mut [f32]);
}

struct One<S: Simd, F: Factors> {
    simd: S,
    row: F::Row,
    left: Vector<S>,
    right: Vector<S>,
}

struct Both<T, U>(T, U);

type Two<S, F> = Both<One<S, F>, One<S, F>>;
type Four<S, F> = Both<Two<S, F>, Two<S, F>>;
type Eight<S, F> = Both<Four<S, F>, Four<S, F>>;

impl<S: Simd, F: Factors> Rows<S, F> for One<S, F> {
    const COUNT: usize = 1;

    #[inline(always)]
    fn new(simd: S, factors: F, first: usize) -> Self {
        let zero = Vector::all(simd, 0.0);
        One {
            simd,
            row: factors.row(first),
            left: zero,
            right: zero,
        }
    }

    #[inline(always)]
    fn add(&mut self, term: F::Term<'_>, left: Vector<S>, right: Vector<S>) {
        let factor = Vector::all(self.simd, F::factor(self.row, term));
        self.left = factor.times_plus(left, self.left);
        self.right = factor.times_plus(right, self.right);
    }

    #[inline(always)]
    fn finish(self, out: Out, c: &mut [f32]) {
        let (left, right) = c[..out.width].split_at_mut(S::F32_LANES.min(out.width));
        for (at, c, sum) in [(0, left, self.left), (S::F32_LANES, right, self.right)] {
            if !c.is_empty() {
                let start = match out.start {
                    Start::Held => Vector::load(self.simd, c),
                    Start::Row(&[]) => Vector::all(self.simd, 0.0),
                    Start::Row(row) => Vector::load(self.simd, &row[at..at + c.len()]),
                };
                (start + sum).store(c);
            }
        }
    }
}

impl<S: Simd, F: Factors, T: Rows<S, F>, U: Rows<S, F>> Rows<S, F> for Both<T, U> {
    const COUNT: usize = T::COUNT + U::COUNT;

    #[inline(always)]
    fn new(simd: S, factors: F, first: usize) -> Self {
        Both(
            T::new(simd, factors, first),
            U::new(simd, factors, first + T::COUNT),
        )
    }

    #[inline(always)]
    fn add(&mut self, term: F::Term<'_>, left: Vector<S>, right: Vector<S>) {
        self.0.add(term, left, right);
        self.1.add(term, left, right);
    }

    #[inline(always)]
    fn finish(self, out: Out, c: &mut [f32]) {
        let (above, below) = c.split_at_mut(T::COUNT * out.stride);
        self.0.finish(out, above);
        self.1.finish(out, below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Stream};

    #[test]
    fn panels_give_the_product_whatever_the_sizes() {
        let mut random = Philox::new(7, Stream::Images);
        for [m, n, k] in [
            [1, 1, 1],
            [3, 7, 5],
            [5, 16, 31],
            [16, 33, 257],
            [13, 512, 600],
        ] {
            let (a_stride, b_stride, c_stride) = (k + 3, n + 2, n + 1);
            let mut uniform =
                |count: usize| -> Vec<f32> { (0..count).map(|_| random.uniform() - 0.5).collect() };
            let (a, b) = (uniform(m * a_stride), uniform(k * b_stride));
            let before = uniform(m * c_stride);
            let mut c = before.clone();
            let packed = Packed::new(View::new(&b, k, n, b_stride));
            packed.product(View::new(&a, m, k, a_stride), Start::Held, &mut c, c_stride);
            for (at, (&c, &before)) in c.iter().zip(&before).enumerate() {
                let (i, j) = (at / c_stride, at % c_stride);
                let mut expected = f64::from(before);
                let mut size = expected.abs();
                for p in (0..k).filter(|_| j < n) {
                    let term = f64::from(a[i * a_stride + p]) * f64::from(b[p * b_stride + j]);
                    expected += term;
                    size += term.abs();
                }
                let bound = (k + 1) as f64 * size / f64::from(1 << 24);
                assert!(
                    (f64::from(c) - expected).abs() <= bound,
                    "{m}x{n}x{k} at {i}, {j}"
                );
            }
        }
    }

    #[test]
    fn outer_products_are_found_side_by_side_whatever_the_sizes() {
        let mut random = Philox::new(8, Stream::Images);
        for (m, n, rows) in [
            (1, [1, 3], 1),
            (10, [128, 2], 40),
            (64, [28, 5], 300),
            (75, [33, 8], 700),
        ] {
            let mut uniform =
                |count: usize| -> Vec<f32> { (0..count).map(|_| random.uniform() - 0.5).collect() };
            // Every third row is left out.
            let terms: Vec<usize> = (0..rows).filter(|row| row % 3 != 1).collect();
            let a_stride = m + 1;
            let a = uniform(rows * a_stride);
            let b = n.map(|n| uniform(rows * (n + 2)));
            let before = n.map(|n| uniform(m * (n + 3)));
            let mut c = before.clone();
            let mut sums = vec![f32::NAN; m];
            let starts = [Start::Held, Start::Row(&[])];
            let products = c.iter_mut().zip(&b).zip(n.into_iter().zip(starts));
            let products = products.map(|((c, b), (n, start))| OuterProduct {
                b: View::new(b, rows, n, n + 2),
                start,
                c,
                stride: n + 3,
            });
            let done = outer_products(OuterProducts {
                a: View::new(&a, rows, m, a_stride),
                terms: &terms,
                products: products.collect(),
                sums: Some(&mut sums),
            });
            if !done {
                assert!(panel_width().is_none());
                return;
            }
            let check = |actual: f32, start: f32, factors: &dyn Fn(usize) -> (f32, f32)| {
                let mut expected = f64::from(start);
                let mut size = expected.abs();
                for &k in &terms {
                    let term = f64::from(factors(k).0) * f64::from(factors(k).1);
                    expected += term;
                    size += term.abs();
                }
                let bound = (terms.len() + 2) as f64 * size / f64::from(1 << 24);
                let error = (f64::from(actual) - expected).abs();
                assert!(error <= bound, "{m}x{n:?}x{rows}: {actual} for {expected}");
            };
            for i in 0..m {
                check(sums[i], 0.0, &|k| (a[k * a_stride + i], 1.0));
                for number in 0..2 {
                    let stride = n[number] + 3;
                    for j in 0..stride {
                        let at = i * stride + j;
                        let (after, before) = (c[number][at], before[number][at]);
                        if j >= n[number] {
                            assert_eq!(after, before, "between the rows");
                            continue;
                        }
                        let start = if number == 0 { before } else { 0.0 };
                        let b = &b[number];
                        check(after, start, &|k| {
                            (a[k * a_stride + i], b[k * (stride - 1) + j])
                        });
                    }
                }
            }
        }
    }
}
