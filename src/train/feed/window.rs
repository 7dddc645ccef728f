//! The window of data that are streamed: a ring of sequences.

use super::HISTORY_ROWS;
use super::buffers::{bytes_each, bytes_of};
use crate::data::{Dataset, Inputs};

/// A ring of sequences in the order of a pass. While the device plays steps over one half of it,
/// the host uploads the other half. No result depends on its size.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Sequences in device memory.
    held: usize,
    /// Sequences that are uploaded together.
    unit: usize,
    /// `[N]`: the order of the pass.
    order: Vec<u32>,
    /// Sequences of the pass that are uploaded.
    filled: usize,
}

impl Window {
    /// A window of about `bytes` bytes over `data`, if all the data take more.
    pub(super) fn fitting(data: &Dataset, batch: usize, bytes: Option<u64>) -> Option<Window> {
        let bytes = bytes.filter(|&bytes| bytes < bytes_of(data))?;
        let unit = upload_unit(data, batch);
        let units = (bytes / bytes_each(data)) as usize / unit;
        // At least a unit for each half, at most what two of the longest submissions read.
        let held = 2 * unit * (units / 2).clamp(1, (HISTORY_ROWS * batch).div_ceil(unit));
        (held < data.count).then_some(Window {
            held,
            unit,
            order: vec![],
            filled: 0,
        })
    }

    /// Sequences in device memory.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// `[2 * held]`: the slots of the ring, twice around, so that a batch may cross its end.
    pub(super) fn slots(&self) -> Vec<u32> {
        (0..2 * self.held).map(|n| (n % self.held) as u32).collect()
    }

    /// Starts a pass at position `first` of `order`.
    pub(super) fn begin(&mut self, order: Vec<u32>, first: usize) {
        self.order = order;
        self.filled = first / self.unit * self.unit;
    }

    /// The position up to which steps can be played, where the next batch begins at `first`.
    pub(super) fn ready_until(&self, first: usize) -> usize {
        self.filled.min(first + self.held / 2)
    }

    /// The next upload, if the pass up to position `until` needs one: the first slot, and the
    /// sequences.
    pub(super) fn next_upload(&self, until: usize) -> Option<(usize, Vec<usize>)> {
        let (first, end) = (self.filled, self.filled + self.unit);
        if first >= self.order.len() || end > until {
            return None;
        }
        let sequences = self.order[first..end.min(self.order.len())].iter();
        Some((first % self.held, sequences.map(|&n| n as usize).collect()))
    }

    /// Counts the sequences of [`Window::next_upload`] as uploaded.
    pub(super) fn uploaded(&mut self) {
        self.filled += self.unit;
    }
}

/// The fewest whole batches whose bytes end at a word.
fn upload_unit(data: &Dataset, batch: usize) -> usize {
    if !matches!(data.inputs, Inputs::Bytes { .. }) {
        return batch;
    }
    let bytes = batch * data.steps * data.features;
    let times = [1, 2, 4]
        .into_iter()
        .find(|times| (bytes * times).is_multiple_of(4));
    batch * times.unwrap_or(4)
}
