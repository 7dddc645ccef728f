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

    /// Returns the dropout masks of h in one time step's rows of the gates.
    pub(super) fn masks<'a, R>(&self, gates: &'a [R]) -> impl Iterator<Item = &'a [R]> {
        let first = self.row_size() - self.masks_len() + self.first_mask(1);
        let rows = gates.chunks_exact(self.row_size());
        rows.map(move |row| &row[first..][..self.output_size])
    }

    /// Returns the first column of a mask among those at the end of a row, by its index in
    /// [`Recurrence::mask_widths`].
    fn first_mask(&self, index: usize) -> usize {
        self.mask_widths()[..index].iter().sum()
    }

    /// Multiplies `h`, `[sequences, P]`, by the masks of a gate in one time step's rows of the
    /// gates.
    pub(super) fn drop_gate<R: Real>(&self, gates: &[R], gate: usize, h: &mut [R]) {
        let p = self.output_size;
        let first = self.row_size() - self.masks_len() + gate * p;
        let rows = gates.chunks_exact(self.row_size());
        for (h, row) in h.chunks_exact_mut(p).zip(rows) {
            multiply(h, &row[first..][..p]);
        }
    }

    /// Returns the share of an element's new value: of h where `state` is 0, of c where it is 1.
    /// `masks` are those at the end of the row of the gates.
    fn new_share<R: Real>(&self, state: usize, masks: &[R], index: usize) -> R {
        let zoneout = self.options.zoneout;
        if zoneout.is_drawn {
            let mask = masks[self.first_mask(2 + state) + index];
            R::where_larger(mask, R::zero(), R::one(), R::zero())
        } else {
            R::of(1.0 - [zoneout.h, zoneout.c][state])
        }
    }

    /// Mixes the old values of a state into the new ones, where the layer has zoneout.
    pub(super) fn keep_old<R: Real>(
        &self,
        state: usize,
        masks: &[R],
        before: &[R],
        after: &mut [R],
    ) {
        for (index, (after, &before)) in after.iter_mut().zip(before).enumerate() {
            let share = self.new_share(state, masks, index);
            *after = (R::one() - share) * before + share * *after;
        }
    }

    /// Splits the gradients of h and c of one sequence after zoneout, as far as they have elements.
    /// `kept`, `[2, H]`, takes the parts of the old values.
    pub(super) fn split_states<R: Real>(&self, masks: &[R], d: [&mut [R]; 2], kept: &mut [R]) {
        kept.fill(R::zero());
        let zoneout = self.options.zoneout;
        let kept = kept.chunks_exact_mut(self.hidden_size);
        let states = d.into_iter().zip(kept).zip([zoneout.h, zoneout.c]);
        for (state, ((d, kept), _)) in states.enumerate().filter(|(_, (_, rate))| *rate > 0.0) {
            self.split_old(state, masks, d, kept);
        }
    }

    /// Splits the gradient of a state after zoneout: leaves the part of the new values in `d`, and
    /// writes that of the old ones to `kept`.
    pub(super) fn split_old<R: Real>(
        &self,
        state: usize,
        masks: &[R],
        d: &mut [R],
        kept: &mut [R],
    ) {
        for (index, (d, kept)) in d.iter_mut().zip(kept).enumerate() {
            let share = self.new_share(state, masks, index);
            *kept = (R::one() - share) * *d;
            *d *= share;
        }
    }

    /// Multiplies h of a tile by the masks of the time step that made it.
    pub(super) fn drop_state<R: Real>(&self, gates: &[R], h: &mut [R]) {
        let rows = h.chunks_exact_mut(self.output_size);
        for (h, mask) in rows.zip(self.masks(gates)) {
            multiply(h, mask);
        }
    }
}

/// Adds the elements of `others` to those of `values`.
pub(super) fn add<R: Real>(values: &mut [R], others: &[R]) {
    let pairs = values.iter_mut().zip(others);
    pairs.for_each(|(value, &other)| *value += other);
}

/// Multiplies the elements of `values` by those of `factors`.
pub(super) fn multiply<R: Real>(values: &mut [R], factors: &[R]) {
    let pairs = values.iter_mut().zip(factors);
    pairs.for_each(|(value, &factor)| *value *= factor);
}
