//! Linear least squares.

use crate::error::{Error, Result};
use crate::numeric::householder::{ColumnMatrix, add_rows, pivoted};

/// Rows that are added to a system at a time.
const BLOCK: usize = 1024;

/// An overdetermined system `X b = Y`.
pub(super) struct System<X, Y> {
    /// R
    pub rows: usize,
    /// C
    pub coefficients: usize,
    /// K
    pub outputs: usize,
    /// `[R, C]`
    pub input: X,
    /// `[R, K]`
    pub output: Y,
}

/// Returns the b `[C, K]` with the smallest `|X b - Y|`, of several the one with the smallest norm
/// (a complete orthogonal decomposition: Golub & Van Loan, "Matrix Computations", 4th edition,
/// section 5.5). Columns of X that others explain to within rounding do not count.
///
/// # Errors
/// [`Error::Failed`] if a coefficient is not finite.
pub(super) fn least_squares<X, Y>(system: &System<X, Y>) -> Result<ColumnMatrix>
where
    X: Fn(usize, usize) -> f64,
    Y: Fn(usize, usize) -> f64,
{
    let coefficients = system.coefficients;
    let factors = pivoted(system.triangle(), coefficients);
    let diagonal = |j: usize| factors.matrix[(j, j)].abs();
    let negligible = diagonal(0) * f64::EPSILON * system.rows.max(coefficients) as f64;
    let rank = (0..coefficients).take_while(|&j| diagonal(j) > negligible);
    let solutions = factors.solve(rank.count(), coefficients..coefficients + system.outputs);
    let mut solved = vec![0.0; coefficients * system.outputs];
    for (solution, solved) in solutions.iter().zip(solved.chunks_exact_mut(coefficients)) {
        for (value, &column) in solution.iter().zip(&factors.order) {
            solved[column] = *value;
        }
    }
    if solved.iter().any(|value| !value.is_finite()) {
        let problem = "a linear regression failed: a coefficient is not finite";
        return Err(Error::Failed(problem.into()));
    }
    let entry = |i: usize, k: usize| solved[k * coefficients + i];
    Ok(ColumnMatrix::from_fn(coefficients, system.outputs, entry))
}

impl<X, Y> System<X, Y>
where
    X: Fn(usize, usize) -> f64,
    Y: Fn(usize, usize) -> f64,
{
    /// Returns the first C rows of the triangle R of `[X Y] = Q R`, so that `|X b - Y|` is
    /// `|R_xx b - R_xy|` and a constant. Blocks of rows are added one after the other.
    fn triangle(&self) -> ColumnMatrix {
        let columns = self.coefficients + self.outputs;
        let entry = |row: usize, column: usize| match column.checked_sub(self.coefficients) {
            Some(k) => (self.output)(row, k),
            None => (self.input)(row, column),
        };
        let mut triangle = ColumnMatrix::from_fn(self.coefficients, columns, |_, _| 0.0);
        for first in (0..self.rows).step_by(BLOCK) {
            let rows = BLOCK.min(self.rows - first);
            let mut block = ColumnMatrix::from_fn(rows, columns, |i, j| entry(first + i, j));
            add_rows(&mut triangle, &mut block, self.coefficients);
        }
        triangle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Stream};

    /// Solves for `columns` of X, which has `rows` rows and one Y of two values.
    fn solve(
        rows: usize,
        columns: usize,
        x: impl Fn(usize, usize) -> f64,
        y: impl Fn(usize, usize) -> f64,
    ) -> ColumnMatrix {
        let system = System {
            rows,
            coefficients: columns,
            outputs: 2,
            input: x,
            output: y,
        };
        least_squares(&system).unwrap()
    }

    /// Returns `[rows, columns]` values in [-1, 1).
    fn uniform(rows: usize, columns: usize) -> impl Fn(usize, usize) -> f64 {
        let mut random = Philox::new(11, Stream::Images);
        let values: Vec<f64> = (0..rows * columns)
            .map(|_| f64::from(random.uniform()) * 2.0 - 1.0)
            .collect();
        move |i, j| values[i * columns + j]
    }

    #[test]
    fn coefficients_of_exact_equations_are_found() {
        // More rows than a block, and more columns than a panel.
        for (rows, columns) in [(1, 1), (40, 40), (1500, 37), (2600, 5)] {
            let x = uniform(rows, columns);
            let exact = |j: usize, k: usize| (j as f64 + 1.0) * (k as f64 - 0.5);
            let y = |i: usize, k: usize| (0..columns).map(|j| x(i, j) * exact(j, k)).sum();
            let found = solve(rows, columns, &x, y);
            for (j, k) in (0..columns).flat_map(|j| [(j, 0), (j, 1)]) {
                let error = (found[(j, k)] - exact(j, k)).abs();
                assert!(error < 1e-9, "{rows}x{columns} at {j}, {k}: {error}");
            }
        }
    }

    #[test]
    fn residuals_are_orthogonal_to_the_inputs() {
        let (rows, columns) = (1100, 20);
        let (x, y) = (uniform(rows, columns), uniform(rows, 2));
        let found = solve(rows, columns, &x, &y);
        for (j, k) in (0..columns).flat_map(|j| [(j, 0), (j, 1)]) {
            let residual = |i: usize| {
                let terms = (0..columns).map(|c| x(i, c) * found[(c, k)]);
                y(i, k) - terms.sum::<f64>()
            };
            let product: f64 = (0..rows).map(|i| x(i, j) * residual(i)).sum();
            assert!(product.abs() < 1e-10, "{j}, {k}: {product}");
        }
    }

    /// The solution with the smallest norm is a combination of the rows of X, and this is the only
    /// one: with a column twice, both have the same coefficient.
    #[test]
    fn of_several_solutions_the_smallest_is_found() {
        let x = uniform(50, 6);
        let repeated = |i: usize, j: usize| x(i, j % 6);
        let y = |i: usize, k: usize| x(i, 0) - 3.0 * x(i, 5) + k as f64 * x(i, 2);
        let found = solve(50, 12, repeated, y);
        let exact = [
            [0.5, 0.0, 0.0, 0.0, 0.0, -1.5],
            [0.5, 0.0, 0.5, 0.0, 0.0, -1.5],
        ];
        for (j, k) in (0..12).flat_map(|j| [(j, 0), (j, 1)]) {
            let error = (found[(j, k)] - exact[k][j % 6]).abs();
            assert!(error < 1e-12, "{j}, {k}: {error}");
        }
        // Fewer rows than columns: X X^T w = y and b = X^T w.
        let wide = solve(1, 3, |_, j| j as f64, |_, k| 10.0 + k as f64);
        for (j, k) in (0..3).flat_map(|j| [(j, 0), (j, 1)]) {
            let exact = (10.0 + k as f64) / 5.0 * j as f64;
            assert!((wide[(j, k)] - exact).abs() < 1e-12, "{j}, {k}");
        }
        let none = solve(3, 2, |_, _| 0.0, |_, _| 1.0);
        assert_eq!(none[(0, 0)], 0.0);
    }

    #[test]
    fn values_that_are_not_finite_are_an_error() {
        let system = System {
            rows: 2,
            coefficients: 1,
            outputs: 1,
            input: |_, _| 1.0,
            output: |_, _| f64::NAN,
        };
        assert!(matches!(least_squares(&system), Err(Error::Failed(_))));
    }
}
