//! What the CPU's forward and backward passes share: the batch is cut into tiles, and each task
//! takes one tile through time.

use std::ops::Range;

use super::Recurrence;
use crate::numeric::real::Real;

/// Sequences in a tile. It is constant, so that the bits do not depend on the number of threads.
/// Smaller tiles would make the matmuls too small, larger ones would leave cores without work.
pub(super) const TILE: usize = 16;

/// The rows of a tile's sequences in a `[T, B, row]` tensor: one slice for each time step from
/// `first_step` on, or none at all if the tensor is empty.
pub(super) struct TimeRows<'a, R> {
    first_step: usize,
    rows: Vec<&'a mut [R]>,
}

impl<'a, R> TimeRows<'a, R> {
    /// Cuts `values`, `[T, B, row]` with `step` elements a time step, into the tiles of the batch,
    /// each with the time steps in `steps`.
    pub(super) fn by_tile(
        values: &'a mut [R],
        step: usize,
        row: usize,
        steps: Range<usize>,
    ) -> Vec<TimeRows<'a, R>> {
        let tiles = (step / row).div_ceil(TILE);
        let mut tiles: Vec<TimeRows<R>> = (0..tiles)
            .map(|_| TimeRows {
                first_step: steps.start,
                rows: Vec::with_capacity(steps.len()),
            })
            .collect();
        if values.is_empty() {
            return tiles;
        }
        for values in values[steps.start * step..steps.end * step].chunks_exact_mut(step) {
            tiles
                .iter_mut()
                .zip(values.chunks_mut(TILE * row))
                .for_each(|(tile, values)| tile.rows.push(values));
        }
        tiles
    }

    /// Returns the rows of time step `t`.
    #[inline]
    pub(super) fn at(&self, t: usize) -> &[R] {
        self.rows[t - self.first_step]
    }

    /// Returns the rows of time step `t`.
    #[inline]
    pub(super) fn at_mut(&mut self, t: usize) -> &mut [R] {
        self.rows[t - self.first_step]
    }

    /// Returns the rows of time step `t`, and those of the step before if it is here.
    #[inline]
    pub(super) fn with_previous(&mut self, t: usize) -> (&mut [R], Option<&[R]>) {
        let (before, rows) = self.rows.split_at_mut(t - self.first_step);
        (rows[0], before.last().map(|rows| &**rows))
    }

    /// Returns the rows of time step `t`, and those of the step after if it is here.
    #[inline]
    pub(super) fn with_next(&mut self, t: usize) -> (&mut [R], Option<&[R]>) {
        let (rows, after) = self.rows.split_at_mut(t - self.first_step + 1);
        (rows[t - self.first_step], after.first().map(|rows| &**rows))
    }

    /// Returns the states before and after time step `t`; empty if the cell has no such state.
    #[inline]
    pub(super) fn states(&mut self, t: usize) -> (&[R], &mut [R]) {
        if self.rows.is_empty() {
            return (&[], &mut []);
        }
        let (before, after) = self.rows.split_at_mut(t - self.first_step + 1);
        (before[t - self.first_step], after[0])
    }
}

/// Returns the chunks of `values`, then empty slices without end: an empty tensor has an empty
/// chunk for each tile.
pub(super) fn chunks_or_empty<R>(values: &mut [R], size: usize) -> impl Iterator<Item = &mut [R]> {
    values
        .chunks_mut(size)
        .chain(std::iter::repeat_with(|| &mut [][..]))
}

/// Returns the range of row `row` of `[rows, size]`; empty if `values` is.
#[inline]
pub(super) fn row_or_empty<R>(values: &[R], row: usize, size: usize) -> Range<usize> {
    if values.is_empty() {
        0..0
    } else {
        row * size..(row + 1) * size
    }
}

impl Recurrence {
    /// Whether the first tile of the CPU is full.
    pub(in crate::kernels) fn has_full_tiles(&self) -> bool {
        self.batch >= TILE
    }

    /// Returns the steps whose gates the CPU needs for `steps`: with dropped states also the step
    /// before, whose row holds the mask of the first state.
    pub(super) fn steps_with_mask(&self, steps: Range<usize>) -> Range<usize> {
        let before = usize::from(self.options.drops_state && steps.start > 0);
        steps.start - before..steps.end
    }

    /// Returns the dropout masks of h, which end one time step's rows of the gates.
    pub(super) fn masks<'a, R>(&self, gates: &'a [R]) -> impl Iterator<Item = &'a [R]> {
        let skip = self.row_size() - self.output_size;
        gates
            .chunks_exact(self.row_size())
            .map(move |row| &row[skip..])
    }

    /// Multiplies h of a tile by the masks of the time step that made it.
    pub(super) fn drop_state<R: Real>(&self, gates: &[R], h: &mut [R]) {
        let rows = h.chunks_exact_mut(self.output_size);
        for (h, mask) in rows.zip(self.masks(gates)) {
            multiply(h, mask);
        }
    }
}

/// Multiplies the elements of `values` by those of `factors`.
pub(super) fn multiply<R: Real>(values: &mut [R], factors: &[R]) {
    let pairs = values.iter_mut().zip(factors);
    pairs.for_each(|(value, &factor)| *value *= factor);
}
