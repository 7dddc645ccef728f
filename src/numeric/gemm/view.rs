//! Matrices in memory.

/// A matrix in a slice: stored rows of elements, `stride` apart, or their transpose.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, R> {
    pub values: &'a [R],
    pub rows: usize,
    pub columns: usize,
    /// Elements from one stored row to the next.
    pub stride: usize,
    /// Whether the stored rows are the matrix's columns.
    pub transposed: bool,
}

impl<'a, R> View<'a, R> {
    /// The `[rows, columns]` matrix whose rows are stored `stride` apart.
    pub fn new(values: &'a [R], rows: usize, columns: usize, stride: usize) -> Self {
        View {
            values,
            rows,
            columns,
            stride,
            transposed: false,
        }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        View {
            rows: self.columns,
            columns: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }

    /// The rows in `range`.
    pub fn rows(self, range: std::ops::Range<usize>) -> Self {
        let skip = range.start * if self.transposed { 1 } else { self.stride };
        View {
            values: &self.values[skip..],
            rows: range.len(),
            ..self
        }
    }

    /// The columns in `range`.
    pub fn columns(self, range: std::ops::Range<usize>) -> Self {
        let skip = range.start * if self.transposed { self.stride } else { 1 };
        View {
            values: &self.values[skip..],
            columns: range.len(),
            ..self
        }
    }
}

impl<R: Copy> View<'_, R> {
    /// Copies row `i`.
    pub fn copy_row(&self, i: usize, to: &mut [R]) {
        if self.transposed {
            let column = self.values[i..].iter().step_by(self.stride);
            to.iter_mut()
                .zip(column)
                .for_each(|(to, &value)| *to = value);
        } else {
            to.copy_from_slice(&self.values[i * self.stride..][..to.len()]);
        }
    }

    /// Copies the matrix, row by row.
    pub fn to_rows(self) -> Vec<R>
    where
        R: Default,
    {
        let mut copy = vec![R::default(); self.rows * self.columns];
        for (i, row) in copy.chunks_exact_mut(self.columns.max(1)).enumerate() {
            self.copy_row(i, row);
        }
        copy
    }
}
