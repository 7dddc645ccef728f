//! Householder reflections, and the factorisations that are made of them (Golub & Van Loan, "Matrix
//! Computations", 4th edition, sections 5.1, 5.2 and 5.4).
//!
//! Sums are those of [`PARTS`] partial sums, and products are rounded before they are added, so
//! that results have the same bits on every machine and with any number of threads.

use std::ops::{Index, Range};

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::numeric::vector::Doubles;

/// Partial sums of a dot product: two of the widest vectors.
const PARTS: usize = 16;
/// Reflections that are applied to a column while it is in the cache.
const PANEL: usize = 16;
/// Elements that are worth a task of their own.
const TASK: usize = 1 << 14;

/// A matrix of f64, stored column by column.
#[derive(Debug, Clone)]
pub(crate) struct ColumnMatrix {
    values: Vec<f64>,
    rows: usize,
}

impl ColumnMatrix {
    /// The matrix with the elements `entry(row, column)`.
    pub fn from_fn(rows: usize, columns: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        let column = |j| (0..rows).map(move |i| (i, j));
        let values = (0..columns).flat_map(column).map(|(i, j)| entry(i, j));
        ColumnMatrix {
            values: values.collect(),
            rows,
        }
    }

    /// Returns column `j`.
    pub fn column(&self, j: usize) -> &[f64] {
        &self.values[j * self.rows..][..self.rows]
    }

    fn column_mut(&mut self, j: usize) -> &mut [f64] {
        &mut self.values[j * self.rows..][..self.rows]
    }

    /// The columns from `first` on, in parallel.
    fn columns_from(&mut self, first: usize) -> impl IndexedParallelIterator<Item = &mut [f64]> {
        let rows = self.rows;
        self.values[first * rows..]
            .par_chunks_exact_mut(rows)
            .with_min_len((TASK / rows).max(1))
    }

    fn swap_columns(&mut self, left: usize, right: usize) {
        for i in 0..self.rows {
            self.values
                .swap(left * self.rows + i, right * self.rows + i);
        }
    }
}

impl Index<(usize, usize)> for ColumnMatrix {
    type Output = f64;

    fn index(&self, (row, column): (usize, usize)) -> &f64 {
        &self.column(column)[row]
    }
}

/// A reflection `I - tau v v^T` with `v = [1, tail]`.
struct Reflection {
    tau: f64,
    tail: Vec<f64>,
}

impl Reflection {
    /// Returns the reflection that takes `[head, tail]` to `[beta, 0]`, and beta. It is the
    /// identity if the tail is 0.
    fn new(head: f64, tail: &[f64]) -> (Reflection, f64) {
        let squares = apply(Squares(tail));
        if squares == 0.0 {
            let tail = vec![0.0; tail.len()];
            return (Reflection { tau: 0.0, tail }, head);
        }
        let norm = (head * head + squares).sqrt();
        let beta = if head > 0.0 { -norm } else { norm };
        let reflection = Reflection {
            tau: (beta - head) / beta,
            tail: tail.iter().map(|value| value / (head - beta)).collect(),
        };
        (reflection, beta)
    }
}

/// Reduces `[triangle; block]` to a triangle by reflections, and applies these to the columns on
/// the right: adds rows to the system of equations whose triangle is `triangle`. The first
/// `reduced` columns of both matrices are reduced.
pub(crate) fn add_rows(triangle: &mut ColumnMatrix, block: &mut ColumnMatrix, reduced: usize) {
    for first in (0..reduced).step_by(PANEL) {
        let end = (first + PANEL).min(reduced);
        let mut reflections = Vec::with_capacity(PANEL);
        for j in first..end {
            let (above, below) = (triangle.column_mut(j), block.column_mut(j));
            reflect(&reflections, &mut above[first..], below);
            let (reflection, beta) = Reflection::new(above[j], below);
            above[j] = beta;
            reflections.push(reflection);
        }
        let columns = triangle.columns_from(end).zip(block.columns_from(end));
        columns.for_each(|(above, below)| reflect(&reflections, &mut above[first..], below));
    }
}

/// A factorisation with column pivoting, `M[:, order] = Q R`, of the first columns of a matrix.
pub(crate) struct Pivoted {
    /// R, and on its right the other columns, multiplied by Q^T.
    pub matrix: ColumnMatrix,
    /// The columns of the matrix in the order of those of R.
    pub order: Vec<usize>,
}

/// Factorises the first `columns` columns of `matrix`, as many as it has rows. The diagonal of R
/// does not increase in magnitude.
pub(crate) fn pivoted(mut matrix: ColumnMatrix, columns: usize) -> Pivoted {
    let mut order: Vec<usize> = (0..columns).collect();
    let norms = (0..columns).map(|j| apply(Squares(matrix.column(j))));
    let mut norms: Vec<f64> = norms.collect();
    for j in 0..columns {
        let largest = (j..columns).fold(j, |best, i| if norms[i] > norms[best] { i } else { best });
        matrix.swap_columns(j, largest);
        order.swap(j, largest);
        norms.swap(j, largest);
        let column = &mut matrix.column_mut(j)[j..];
        let (reflection, beta) = Reflection::new(column[0], &column[1..]);
        column.fill(0.0);
        column[0] = beta;
        let reflection = std::slice::from_ref(&reflection);
        let rest = matrix.columns_from(j + 1).map(|column| {
            let (above, below) = column.split_at_mut(j + 1);
            reflect(reflection, &mut above[j..], below);
            apply(Squares(below))
        });
        let rest: Vec<f64> = rest.collect();
        norms[j + 1..].copy_from_slice(&rest[..columns - j - 1]);
    }
    Pivoted { matrix, order }
}

impl Pivoted {
    /// Returns the z with the smallest norm for which the first `rank` rows of `R z` are those of
    /// the column `k` on the right of R, for each k in `right`.
    pub fn solve(&self, rank: usize, right: Range<usize>) -> Vec<Vec<f64>> {
        let columns = self.order.len();
        let values = right.map(|k| self.matrix.column(k)[..rank].to_vec());
        if rank == columns {
            return values.map(|values| self.substitute(values)).collect();
        }
        // R^T = Q' L^T, so that z = Q' [u, 0] with L u = the values on the right.
        let entry = |i: usize, j: usize| self.matrix[(j, i)];
        let mut transposed = ColumnMatrix::from_fn(columns, rank, entry);
        let mut reflections = Vec::with_capacity(rank);
        for j in 0..rank {
            let column = &mut transposed.column_mut(j)[j..];
            let (reflection, beta) = Reflection::new(column[0], &column[1..]);
            column[0] = beta;
            let one = std::slice::from_ref(&reflection);
            transposed.columns_from(j + 1).for_each(|column| {
                let (above, below) = column.split_at_mut(j + 1);
                reflect(one, &mut above[j..], below);
            });
            reflections.push(reflection);
        }
        let solution = |mut z: Vec<f64>| {
            for i in 0..rank {
                let column = transposed.column(i);
                z[i] = (z[i] - apply(Dot(&column[..i], &z[..i]))) / column[i];
            }
            z.resize(columns, 0.0);
            for (j, reflection) in reflections.iter().enumerate().rev() {
                let (above, below) = z.split_at_mut(j + 1);
                reflect(std::slice::from_ref(reflection), &mut above[j..], below);
            }
            z
        };
        values.map(solution).collect()
    }

    /// Solves `R z = values`.
    fn substitute(&self, mut values: Vec<f64>) -> Vec<f64> {
        for j in (0..values.len()).rev() {
            let column = self.matrix.column(j);
            values[j] /= column[j];
            let factor = values[j];
            let above = values[..j].iter_mut().zip(column);
            above.for_each(|(value, element)| *value -= factor * element);
        }
        values
    }
}

/// Applies reflections in turn to `[heads[n], tail]`, n being the index of the reflection.
fn reflect(reflections: &[Reflection], heads: &mut [f64], tail: &mut [f64]) {
    apply(Reflected {
        reflections,
        heads,
        tail,
    });
}

/// Runs `task` with the widest vectors of the machine.
fn apply<T: WithSimd>(task: T) -> T::Output {
    pulp::Arch::new().dispatch(task)
}

struct Reflected<'a> {
    reflections: &'a [Reflection],
    heads: &'a mut [f64],
    tail: &'a mut [f64],
}

impl WithSimd for Reflected<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (reflection, head) in self.reflections.iter().zip(self.heads) {
            let product = *head + Dot(&reflection.tail, self.tail).with_simd(simd);
            let factor = reflection.tau * product;
            *head -= factor;
            let factor = Doubles::splat(simd, factor);
            let lanes = Doubles::<S>::LANES;
            let elements = reflection.tail.chunks(lanes);
            for (values, elements) in self.tail.chunks_mut(lanes).zip(elements) {
                let change = factor * Doubles::load(simd, elements);
                (Doubles::load(simd, values) - change).store(values);
            }
        }
    }
}

/// The dot product of two vectors of equal length.
struct Dot<'a>(&'a [f64], &'a [f64]);

impl WithSimd for Dot<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let (left, left_rest) = self.0.as_chunks::<PARTS>();
        let (right, right_rest) = self.1.as_chunks::<PARTS>();
        let mut sums = [0.0; PARTS];
        let lanes = Doubles::<S>::LANES;
        for first in (0..PARTS).step_by(2 * lanes) {
            let (middle, end) = (first + lanes, first + 2 * lanes);
            let zero = Doubles::splat(simd, 0.0);
            let (mut low, mut high) = (zero, zero);
            for (left, right) in left.iter().zip(right) {
                let load = Doubles::<S>::load;
                low = low + load(simd, &left[first..middle]) * load(simd, &right[first..middle]);
                high = high + load(simd, &left[middle..end]) * load(simd, &right[middle..end]);
            }
            low.store(&mut sums[first..middle]);
            high.store(&mut sums[middle..end]);
        }
        let mut sum = 0.0;
        for part in sums {
            sum += part;
        }
        for (left, right) in left_rest.iter().zip(right_rest) {
            sum += left * right;
        }
        sum
    }
}

/// The sum of the squares of a vector's elements.
struct Squares<'a>(&'a [f64]);

impl WithSimd for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        Dot(self.0, self.0).with_simd(simd)
    }
}
