//! Products of a few rows with the same matrix again and again, as a recurrence takes them: the matrix is laid out once.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::real::{Real, View};
use crate::vector::Vector;

/// The right-hand matrix of products, laid out for them.
#[derive(Debug)]
pub struct Packed<'a, R> {
    /// `[K, N]`.
    matrix: View<'a, R>,
    /// For each block of [`DEPTH`] terms the panels of it, left to right: `[terms, 2 vectors]`, with zeros past the last column.
    /// Empty where the matrix is taken as it lies.
    panels: Vec<R>,
    /// Columns of a panel.
    width: usize,
}

/// Terms of a block: its panel stays in a core's nearest cache while all rows pass.
const DEPTH: usize = 256;
/// Numbers in a line of the cache, and numbers that are worth a thread.
const LINE: usize = 16;
const TASK: usize = 1 << 15;

impl<'a, R: Real> Packed<'a, R> {
    /// The matrix as it lies.
    pub fn plain(matrix: View<'a, R>) -> Self {
        Packed {
            matrix,
            panels: vec![],
            width: 0,
        }
    }

    /// `c += a @ b`, where `c` has stored rows `stride` apart. What becomes of a row does not depend on the others.
    pub fn add_product(&self, a: View<R>, c: &mut [R], stride: usize) {
        R::add_packed_product(a, self, c, stride);
    }

    /// The matrix.
    pub fn matrix(&self) -> View<'a, R> {
        self.matrix
    }
}

impl<'a> Packed<'a, f32> {
    /// Laid out for the widest vectors that there are; as it lies where those cannot multiply and add at once.
    pub fn new(matrix: View<'a, f32>) -> Self {
        let width = 2 * pulp::Arch::new().dispatch(Lanes);
        // Before AVX2 an x86 has no fused instruction, and pulp goes without vectors.
        if cfg!(any(target_arch = "x86", target_arch = "x86_64")) && width < 16 {
            return Packed::plain(matrix);
        }
        let padded = matrix.columns.next_multiple_of(width);
        let mut panels = vec![0.0; matrix.rows * padded];
        let blocks = panels.chunks_mut(DEPTH * padded).enumerate();
        let tasks: Vec<_> = blocks
            .flat_map(|(block, panels)| {
                let terms = panels.len() / padded;
                let panels = panels.chunks_exact_mut(terms * width).enumerate();
                panels.map(move |(number, panel)| (block * DEPTH, number * width, panel))
            })
            .collect();
        let worth_a_thread = (TASK / (DEPTH.min(matrix.rows.max(1)) * width)).max(1);
        tasks
            .into_par_iter()
            .with_min_len(worth_a_thread)
            .for_each(|(first, left, panel)| {
                let columns = left..(left + width).min(matrix.columns);
                fill(panel, width, matrix, first, columns);
            });
        Packed {
            matrix,
            panels,
            width,
        }
    }

    /// `c += a @ b` with panels.
    ///
    /// # Panics
    /// Where there are none, and for a transposed `a`.
    pub fn add_product_of_panels(&self, a: View<f32>, c: &mut [f32], stride: usize) {
        assert!(!a.transposed && self.is_laid_out());
        pulp::Arch::new().dispatch(AddProduct {
            a,
            b: self,
            c,
            stride,
        });
    }

    /// Whether it has panels.
    pub fn is_laid_out(&self) -> bool {
        self.width > 0
    }
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

/// `c += a @ b`.
struct AddProduct<'a, 'b> {
    a: View<'a, f32>,
    b: &'a Packed<'b, f32>,
    c: &'a mut [f32],
    stride: usize,
}

impl WithSimd for AddProduct<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let AddProduct { a, b, c, stride } = self;
        let padded = b.matrix.columns.next_multiple_of(b.width);
        let blocks = (0..a.columns).step_by(DEPTH);
        for (first, block) in blocks.zip(b.panels.chunks(DEPTH * padded)) {
            let terms = block.len() / padded;
            let panels = block.chunks_exact(terms * b.width);
            for (left, panel) in (0..padded).step_by(b.width).zip(panels) {
                let part = Part {
                    simd,
                    panel,
                    terms,
                    width: b.width.min(b.matrix.columns - left),
                    strides: (a.stride, stride),
                };
                let mut row = 0;
                while row < a.rows {
                    let from = &a.values[row * a.stride + first..];
                    let to = &mut c[row * stride + left..];
                    row += match a.rows - row {
                        1 => part.add::<One<S>>(from, to),
                        2 | 3 => part.add::<Both<One<S>, One<S>>>(from, to),
                        // More would not find room in sixteen registers.
                        _ => part.add::<Four<S>>(from, to),
                    };
                }
            }
        }
    }
}

/// A panel, and where it finds rows of a and of c.
struct Part<'a, S> {
    simd: S,
    panel: &'a [f32],
    terms: usize,
    /// Columns of c.
    width: usize,
    strides: (usize, usize),
}

impl<S: Simd> Part<'_, S> {
    /// Adds the panel's part of some rows of a product, and returns how many.
    #[inline(always)]
    fn add<'r, T: Rows<'r, S>>(&self, a: &'r [f32], c: &mut [f32]) -> usize {
        let (a_stride, c_stride) = self.strides;
        let mut rows = T::new(self.simd, a, a_stride, self.terms);
        let panel = self.panel.chunks_exact(2 * S::F32_LANES);
        for (k, b) in (0..self.terms).zip(panel) {
            let (left, right) = b.split_at(S::F32_LANES);
            let load = |values| Vector::load(self.simd, values);
            rows.add(k, load(left), load(right));
        }
        rows.finish(c, c_stride, self.width);
        T::COUNT
    }
}

/// Some rows of a, and their sums. Rows are put together as types: an array that is walked through would lie in memory.
trait Rows<'a, S: Simd> {
    const COUNT: usize;
    fn new(simd: S, a: &'a [f32], stride: usize, terms: usize) -> Self;
    /// Adds the products with term `k`.
    fn add(&mut self, k: usize, left: Vector<S>, right: Vector<S>);
    /// Adds the sums to c.
    fn finish(self, c: &mut [f32], stride: usize, width: usize);
}

struct One<'a, S: Simd> {
    simd: S,
    row: &'a [f32],
    left: Vector<S>,
    right: Vector<S>,
}

struct Both<T, U>(T, U);

type Four<'a, S> = Both<Both<One<'a, S>, One<'a, S>>, Both<One<'a, S>, One<'a, S>>>;

impl<'a, S: Simd> Rows<'a, S> for One<'a, S> {
    const COUNT: usize = 1;

    #[inline(always)]
    fn new(simd: S, a: &'a [f32], _: usize, terms: usize) -> Self {
        let zero = Vector::all(simd, 0.0);
        One {
            simd,
            row: &a[..terms],
            left: zero,
            right: zero,
        }
    }

    #[inline(always)]
    fn add(&mut self, k: usize, left: Vector<S>, right: Vector<S>) {
        let factor = Vector::all(self.simd, self.row[k]);
        self.left = factor.times_plus(left, self.left);
        self.right = factor.times_plus(right, self.right);
    }

    #[inline(always)]
    fn finish(self, c: &mut [f32], _: usize, width: usize) {
        let (left, right) = c[..width].split_at_mut(S::F32_LANES.min(width));
        for (c, sum) in [(left, self.left), (right, self.right)] {
            if !c.is_empty() {
                (Vector::load(self.simd, c) + sum).store(c);
            }
        }
    }
}

impl<'a, S: Simd, T: Rows<'a, S>, U: Rows<'a, S>> Rows<'a, S> for Both<T, U> {
    const COUNT: usize = T::COUNT + U::COUNT;

    #[inline(always)]
    fn new(simd: S, a: &'a [f32], stride: usize, terms: usize) -> Self {
        let below = &a[T::COUNT * stride..];
        Both(
            T::new(simd, a, stride, terms),
            U::new(simd, below, stride, terms),
        )
    }

    #[inline(always)]
    fn add(&mut self, k: usize, left: Vector<S>, right: Vector<S>) {
        self.0.add(k, left, right);
        self.1.add(k, left, right);
    }

    #[inline(always)]
    fn finish(self, c: &mut [f32], stride: usize, width: usize) {
        let below = T::COUNT * stride;
        self.0.finish(c, stride, width);
        self.1.finish(&mut c[below..], stride, width);
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
            packed.add_product(View::new(&a, m, k, a_stride), &mut c, c_stride);
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
}
