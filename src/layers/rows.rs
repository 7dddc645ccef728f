//! The arrangement of the rows of inputs and outputs, and their copies to and from `[T, B, row]`.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// The arrangement of the rows of inputs and outputs: one row for each sequence and step.
#[derive(Debug, Clone, Copy)]
pub enum RowLayout<'a> {
    /// `[steps, B, row]`; every step of every sequence is valid.
    Full { steps: usize },
    /// `[steps, B, row]`; of sequence b, the first `lengths[b]` steps are valid. The outputs at
    /// padded steps are zero, and inputs there are ignored.
    Ragged { steps: usize, lengths: &'a [u32] },
    /// The valid rows alone, step after step; step t has those of the first `batch_sizes[t]`
    /// sequences. The counts never increase (PyTorch's `PackedSequence`).
    Packed { batch_sizes: &'a [usize] },
}

/// The checked layout of a pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct StepCounts {
    /// Rows of each step in the host's slices.
    counts: Vec<usize>,
    batch: usize,
}

impl RowLayout<'_> {
    /// Returns the number of steps.
    pub(super) fn steps(&self) -> usize {
        match self {
            RowLayout::Full { steps } | RowLayout::Ragged { steps, .. } => *steps,
            RowLayout::Packed { batch_sizes } => batch_sizes.len(),
        }
    }

    /// Returns the rows of each step and the valid steps of each of `batch` sequences.
    ///
    /// # Errors
    /// [`Error::Usage`] for steps above `bound`, and lengths or batch sizes that do not fit.
    pub(super) fn check(&self, bound: usize, batch: usize) -> Result<(StepCounts, Vec<u32>)> {
        let steps = self.steps();
        if steps == 0 || steps > bound {
            return Err(Error::usage(format!(
                "rows.steps is {steps}; the recording takes 1 to {bound}; record the layers for \
                 more"
            )));
        }
        let full = || StepCounts {
            counts: vec![batch; steps],
            batch,
        };
        match self {
            RowLayout::Full { .. } => Ok((full(), vec![steps as u32; batch])),
            RowLayout::Ragged { lengths, .. } => {
                check_lengths(lengths, steps, batch)?;
                Ok((full(), lengths.to_vec()))
            }
            RowLayout::Packed { batch_sizes } => {
                check_batch_sizes(batch_sizes, batch)?;
                let valid = |b| batch_sizes.partition_point(|&size| size > b) as u32;
                let counts = StepCounts {
                    counts: batch_sizes.to_vec(),
                    batch,
                };
                Ok((counts, (0..batch).map(valid).collect()))
            }
        }
    }
}

fn check_lengths(lengths: &[u32], steps: usize, batch: usize) -> Result<()> {
    if lengths.len() != batch {
        let given = lengths.len();
        return Err(Error::usage(format!(
            "rows.lengths has {given} lengths for {batch} sequences; give one for each"
        )));
    }
    match lengths.iter().position(|&length| length as usize > steps) {
        Some(b) => Err(Error::usage(format!(
            "rows.lengths[{b}] is {}; at most {steps} steps were given",
            lengths[b]
        ))),
        None => Ok(()),
    }
}

fn check_batch_sizes(sizes: &[usize], batch: usize) -> Result<()> {
    let ends_at_zero = sizes.last().is_some_and(|&last| last == 0);
    let increases = sizes.windows(2).any(|pair| pair[0] < pair[1]);
    if sizes[0] != batch || ends_at_zero || increases {
        return Err(Error::usage(format!(
            "rows.batch_sizes must start with {batch}, the number of sequences, never increase, \
             and stay above 0; sort the sequences by length, the longest first"
        )));
    }
    Ok(())
}

impl StepCounts {
    /// Returns the number of rows in the host's slices.
    pub(super) fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Returns the rows of `[T, B, row]` that the layout covers, in whole steps.
    pub(super) fn covered(&self) -> usize {
        self.counts.len() * self.batch
    }

    fn is_dense(&self) -> bool {
        self.total() == self.covered()
    }

    /// Copies rows of `width` elements from the host's layout to `[steps, B, width]`.
    pub(super) fn unpack<R: Copy + Send + Sync>(&self, from: &[R], to: &mut [R], width: usize) {
        if self.is_dense() {
            copy(from, to);
            return;
        }
        let mut rest = from;
        for (&count, to) in self.counts.iter().zip(to.chunks_mut(self.batch * width)) {
            let (own, others) = rest.split_at(count * width);
            to[..own.len()].copy_from_slice(own);
            rest = others;
        }
    }

    /// Copies rows of `width` elements from `[steps, B, width]` to the host's layout.
    pub(super) fn pack<R: Copy + Send + Sync>(&self, from: &[R], to: &mut [R], width: usize) {
        if self.is_dense() {
            copy(from, to);
            return;
        }
        let mut rest = to;
        for (&count, from) in self.counts.iter().zip(from.chunks(self.batch * width)) {
            let (own, others) = rest.split_at_mut(count * width);
            own.copy_from_slice(&from[..own.len()]);
            rest = others;
        }
    }
}

/// Elements that a task copies: more take longer than to hand a task over.
const COPIED: usize = 1 << 14;

/// Copies on several threads where there are many elements.
fn copy<R: Copy + Send + Sync>(from: &[R], to: &mut [R]) {
    if from.len() <= COPIED {
        to.copy_from_slice(from);
        return;
    }
    let pairs = to.par_chunks_mut(COPIED).zip(from.par_chunks(COPIED));
    pairs.for_each(|(to, from)| to.copy_from_slice(from));
}
