//! Linear least squares.

use faer::{Mat, MatRef};

use crate::error::{Error, Result};

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

/// Returns the b `[C, K]` with the smallest `|X b - Y|`, of several the one with the smallest norm.
///
/// # Errors
/// [`Error::Failed`] if the matrix cannot be decomposed.
pub(super) fn least_squares<X, Y>(system: &System<X, Y>) -> Result<Mat<f64>>
where
    X: Fn(usize, usize) -> f64,
    Y: Fn(usize, usize) -> f64,
{
    let coefficients = system.coefficients;
    let triangle = system.triangle();
    let rows = triangle.nrows().min(coefficients);
    let svd = triangle.get(..rows, ..coefficients).thin_svd();
    let svd =
        svd.map_err(|error| Error::Failed(format!("a linear regression failed: {error:?}")))?;
    let values = svd.S().column_vector();
    let negligible = values[0] * f64::EPSILON * system.rows.max(coefficients) as f64;
    let targets: MatRef<f64> = triangle.get(..rows, coefficients..);
    let projected = svd.U().transpose() * targets;
    let scaled = Mat::from_fn(projected.nrows(), system.outputs, |i, k| {
        if values[i] > negligible {
            projected[(i, k)] / values[i]
        } else {
            0.0
        }
    });
    Ok(svd.V() * scaled)
}

impl<X, Y> System<X, Y>
where
    X: Fn(usize, usize) -> f64,
    Y: Fn(usize, usize) -> f64,
{
    /// Returns the triangle R of `[X Y] = Q R`, so that `|X b - Y|` is `|R_xx b - R_xy|` and a
    /// constant. Blocks of rows are added one after the other.
    fn triangle(&self) -> Mat<f64> {
        let columns = self.coefficients + self.outputs;
        let entry = |row: usize, column: usize| match column.checked_sub(self.coefficients) {
            Some(k) => (self.output)(row, k),
            None => (self.input)(row, column),
        };
        let mut triangle = Mat::<f64>::zeros(0, columns);
        for first in (0..self.rows).step_by(BLOCK) {
            let above = triangle.nrows();
            let more = BLOCK.min(self.rows - first);
            let stacked = Mat::from_fn(above + more, columns, |i, j| match i.checked_sub(above) {
                None => triangle[(i, j)],
                Some(i) => entry(first + i, j),
            });
            triangle = stacked.qr().thin_R().to_owned();
        }
        triangle
    }
}
