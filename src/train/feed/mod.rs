//! A data set as a device reads it: all of it in device memory, or a window that moves over it; and
//! the steps that are played over it.

mod accumulation;
mod buffers;
mod runner;
mod share;
mod states;
#[cfg(test)]
mod tests;
mod tree;
mod window;

use std::time::Duration;

use crate::backend::executor::Executor;
use crate::data::{Dataset, Inputs};
use crate::error::{Error, Result};
use crate::kernels::{Record, control};
use crate::program::Phase;
use crate::record::RecordedNetwork;
use crate::tensor::Tensor;
use crate::train::weights::TargetWeights;

pub(crate) use accumulation::Summing;
pub(crate) use buffers::shares;
pub(crate) use runner::{StepPace, StepRecord, StepRunner};
pub(crate) use tree::{StopVote, UpdateParts, gather_records};

use accumulation::Accumulation;
use buffers::{FeedBuffers, bytes_each, check_elements, weighted_heads, without_weights};
use share::Share;
use window::Window;

/// Rows of the history: the most steps between two readbacks.
pub(crate) const HISTORY_ROWS: usize = 256;

/// The longest that a device works between two readbacks. Short enough for progress reports and for
/// GPU watchdogs.
pub(crate) const SUBMISSION_TIME: Duration = Duration::from_millis(50);

/// Device memory for the data of a device that cannot hold all of them, in bytes. Large enough for
/// what a submission reads.
pub(crate) const WINDOW: u64 = 128 << 20;

/// Bytes that are uploaded before the host waits for the device, so that the driver never holds a
/// copy of a whole data set.
const UPLOAD: usize = 64 << 20;

/// A data set in device memory, or a window over it, with the position of the current pass.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    /// N.
    count: usize,
    batch: usize,
    /// Chunks of a batch's sequences; each is a step.
    chunks: usize,
    buffers: FeedBuffers,
    /// The part of the data that is on the device, if they are streamed.
    window: Option<Window>,
    /// For updates of several batches.
    accumulation: Option<Accumulation>,
    /// The sequences that this process takes of a pass of several.
    share: Share,
    /// Batches, or chunks of them, of the current pass that this process has played.
    played: usize,
    /// Steps of the current pass that are done.
    done: usize,
    /// Whether the processes of a distributed run stop.
    stop: StopVote,
    /// The time of the parts of updates, where it is measured.
    parts: Option<UpdateParts>,
    /// The most steps of the next submission; adapted so that it takes [`SUBMISSION_TIME`].
    submission: usize,
}

impl Feed {
    /// Adds the buffers for `data` and records, in `phase`, the gathering of a batch. With `bytes`,
    /// data that take more are streamed through a window of about that size.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`](crate::error::Error::LimitExceeded) for more elements than a kernel
    /// can index.
    pub(crate) fn record(
        network: &mut RecordedNetwork,
        phase: Phase,
        data: &Dataset,
        bytes: Option<u64>,
    ) -> Result<Feed> {
        let weighted = weighted_heads(network, phase).into_iter();
        let weights = weighted.filter(|&is_weighted| is_weighted).count();
        let bytes = bytes.map(|bytes| without_weights(data, bytes, weights));
        let window = Window::fitting(data, network.batch, bytes);
        let held = window.as_ref().map_or(data.count, Window::held);
        check_elements(network, data, held)?;
        let buffers = FeedBuffers::new(network, phase, data, held, window.is_some());
        buffers.record_gathers(network, phase, data);
        let chunks = data.steps.div_ceil(network.steps);
        if chunks > 1 {
            network.carry_states(phase, buffers.control);
        }
        Ok(Feed {
            count: data.count,
            batch: network.batch,
            chunks,
            buffers,
            window,
            accumulation: None,
            share: Share::default(),
            played: 0,
            done: 0,
            stop: StopVote::default(),
            parts: None,
            submission: 1,
        })
    }

    /// Sets the weights of the targets of each head, for a network that has them when it is
    /// recorded.
    pub(crate) fn with_weights(mut self, weights: Vec<Option<TargetWeights>>) -> Feed {
        self.buffers.target_weights = weights;
        self
    }

    /// Takes the share of process `rank` of `count` of each step.
    pub(crate) fn shared(mut self, rank: usize, count: usize) -> Feed {
        self.share = Share { rank, count };
        self
    }

    /// Records, in [`Phase::Forward`] after the loss, that an update adds up the gradients of
    /// `batches` batches, if there are several.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::error::Error::Usage) for long sequences that are streamed in several
    /// batches.
    pub(crate) fn accumulating(
        mut self,
        network: &mut RecordedNetwork,
        data: &Dataset,
        (batches, summing): (usize, Summing),
    ) -> Result<Feed> {
        if batches > 1 {
            if self.chunks > 1 && self.streams() {
                return Err(Error::usage(
                    "the data do not fit into the device's memory, so they are streamed, and \
                     bptt_steps with parallel.micro_batches needs all of a batch there; leave out \
                     one of the two, or use a device with more memory",
                ));
            }
            let weights = &self.buffers.target_weights;
            let accumulation = Accumulation::new(network, data, weights, (batches, summing));
            network.share_of_update(&accumulation.update_weights(), self.control());
            if let Some(ranks) = accumulation.ranks() {
                let (rank, count) = (ranks.rank(), ranks.count());
                self = self.shared(rank, count);
            }
            self.accumulation = Some(accumulation);
        }
        Ok(self)
    }

    /// Records the sum of the gradients of an update's batches, if there are several. Call it after
    /// the backward pass and before the update.
    pub(crate) fn record_accumulation(&mut self, network: &mut RecordedNetwork) {
        let control = self.control();
        let Some(several) = &mut self.accumulation else {
            return;
        };
        match &several.summing {
            Summing::InOrder => network.accumulate_gradients(control),
            Summing::InTree(ranks) => {
                // Between processes, the host adds their sums before the update.
                let last = match ranks {
                    Some(_) => Phase::Reduce,
                    None => Phase::Update,
                };
                several.sums = Some(network.sum_in_tree(control, several.batches, last));
            }
        }
        self.record_end(network, Phase::Accumulate, None);
    }

    /// Records, in `phase`, the end of a step: its row of the history.
    pub(crate) fn record_end(
        &self,
        network: &mut RecordedNetwork,
        phase: Phase,
        norm: Option<Tensor>,
    ) {
        for (head, buffers) in network.heads.iter().zip(&self.buffers.heads) {
            let end = Record {
                scores: head.scores,
                labels: head.labels,
                lengths: network.lengths,
                weight: head.label_weight,
                norm: None,
                control: buffers.control,
                history: buffers.history,
                batch: self.batch,
                chunks: self.chunks,
            };
            network.program.push(phase, end);
        }
        let end = Record {
            scores: network.head.scores,
            labels: network.head.labels,
            lengths: network.lengths,
            weight: network.head.label_weight,
            norm,
            control: self.buffers.control,
            history: self.buffers.history,
            batch: self.batch,
            chunks: self.chunks,
        };
        network.program.push(phase, end);
    }

    /// The order of the sequences of a pass, for data that are not streamed.
    #[cfg(feature = "report")]
    pub(crate) fn order(&self) -> Tensor {
        self.buffers.order
    }

    /// The control words and the history of the loop, then those of each of several heads.
    #[cfg(feature = "report")]
    pub(crate) fn loops(&self) -> Vec<[Tensor; 2]> {
        let heads = self.buffers.heads.iter();
        let heads = heads.map(|head| [head.control, head.history]);
        std::iter::once([self.buffers.control, self.buffers.history])
            .chain(heads)
            .collect()
    }

    /// The number of several heads, each of which has records of its own; 0 for one.
    pub(crate) fn head_count(&self) -> usize {
        self.buffers.heads.len()
    }

    /// N: sequences of the data set.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Chunks of a batch's sequences; each is a step.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks
    }

    /// The control words of the loop; see [`control`].
    pub(crate) fn control(&self) -> Tensor {
        self.buffers.control
    }

    /// Steps of a pass over the data.
    pub(crate) fn steps(&self) -> usize {
        self.count.div_ceil(self.each_step()) * self.chunks
    }

    /// Sequences of a step, of all processes.
    fn each_step(&self) -> usize {
        self.batch * self.batches_each() * self.share.count
    }

    /// Batches of a pass that this process plays, each with all of its chunks.
    fn own_batches(&self) -> usize {
        self.own_count().div_ceil(self.batch)
    }

    /// Sequences of a pass that this process takes.
    fn own_count(&self) -> usize {
        self.share.of_count(self.count, self.each_step())
    }

    /// Batches of a step that this process plays.
    fn batches_each(&self) -> usize {
        self.accumulation
            .as_ref()
            .map_or(1, |several| several.batches)
    }

    /// The number of batches that this process plays of the update that begins with batch `first`.
    fn batches_from(&self, first: usize) -> usize {
        let left = self.own_batches().saturating_sub(first);
        self.batches_each().min(left)
    }

    /// The number of batches, or chunks of them, after `steps` steps of a pass.
    fn batches_after(&self, steps: usize) -> usize {
        let (updates, chunk) = (steps / self.chunks, steps % self.chunks);
        let first = updates
            .saturating_mul(self.batches_each())
            .min(self.own_batches());
        first * self.chunks + self.batches_from(first) * chunk
    }

    /// The number of batches of the next `count` steps.
    fn next_batches(&self, count: usize) -> usize {
        self.batches_after(self.done() + count) - self.played
    }

    /// Returns a value of each of the next steps as values of their batches, at most as many as the
    /// history has rows.
    pub(crate) fn by_batch(&self, values: &[f32]) -> Vec<f32> {
        let each = values.iter().enumerate().flat_map(|(n, &value)| {
            let [end, begin] = [n + 1, n].map(|n| self.next_batches(n));
            // A process without a batch makes the update too.
            std::iter::repeat_n(value, (end - begin).max(1))
        });
        each.take(HISTORY_ROWS).collect()
    }

    /// Steps of the current pass that are done.
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// Sequences that `steps` steps of a pass finish, of all processes. A batch is finished with
    /// its last chunk.
    pub(crate) fn finished(&self, steps: usize) -> usize {
        (steps.saturating_mul(self.each_step()) / self.chunks).min(self.count)
    }

    /// Whether the device holds only a window of the data.
    pub(crate) fn streams(&self) -> bool {
        self.window.is_some()
    }

    /// The position in the order of a pass of the first sequence of the next batch.
    fn first(&self) -> usize {
        self.place().0 * self.batch
    }

    /// The next batch of the pass, and its chunk. The batches of an update play one chunk each
    /// before the next chunk.
    fn place(&self) -> (usize, usize) {
        let whole = self.batches_each() * self.chunks;
        let (update, within) = (self.played / whole, self.played % whole);
        let first = update * self.batches_each();
        let each = self.batches_from(first).max(1);
        (first + within % each, within / each)
    }

    /// The number of batches, or chunks of them, that can be played before more data must be
    /// uploaded.
    fn ready(&self) -> usize {
        let Some(window) = &self.window else {
            return usize::MAX;
        };
        let first = self.first();
        let end = window.ready_until(first).min(self.own_count());
        let batches = end.saturating_sub(first).div_ceil(self.batch);
        (batches * self.chunks).saturating_sub(self.place().1)
    }

    /// Uploads what does not change between passes: all of `data`, or the slot numbers of a window.
    pub(crate) fn upload(&self, executor: &mut dyn Executor, data: &Dataset) -> Result<()> {
        if let Some(window) = &self.window {
            return executor.write_index(&self.buffers.order, &window.slots());
        }
        self.upload_in_parts(executor, data, UPLOAD)
    }

    /// Uploads all of `data`, about `bytes` bytes at a time.
    fn upload_in_parts(
        &self,
        executor: &mut dyn Executor,
        data: &Dataset,
        bytes: usize,
    ) -> Result<()> {
        // A multiple of 4 sequences, so that bytes end at a word.
        let part = (bytes / bytes_each(data) as usize)
            .next_multiple_of(4)
            .max(4);
        for first in (0..data.count).step_by(part) {
            let sequences: Vec<usize> = (first..data.count.min(first + part)).collect();
            // All of the data need no copy, which for large ones takes as long as the upload.
            if sequences.len() == data.count {
                return self.buffers.upload(executor, 0, data);
            }
            self.buffers
                .upload(executor, first, &data.read(&sequences)?)?;
            if first + part < data.count {
                // Waits for the device.
                executor.read_index(&self.buffers.control.part(control::ROW, [1]))?;
            }
        }
        Ok(())
    }

    /// Sorts the sequences of each update by length, the longest first: a scan's workgroup iterates
    /// up to its longest sequence. Deals those of a whole update to the batches of a tree in turn,
    /// so that the processes have as much to do.
    pub(crate) fn sort_batches(&self, data: &Dataset, order: &mut [u32]) {
        let Some(lengths) = &data.lengths else {
            return;
        };
        let several = self.accumulation.as_ref();
        let all = several.map_or(1, |several| several.all);
        for each in order.chunks_mut(self.batch * all) {
            each.sort_by_key(|&n| std::cmp::Reverse(lengths[n as usize]));
            let is_tree = several.is_some_and(Accumulation::is_tree);
            if is_tree && each.len() == self.batch * all {
                let dealt = (0..all).flat_map(|n| each.iter().skip(n).step_by(all).copied());
                let dealt: Vec<u32> = dealt.collect();
                each.copy_from_slice(&dealt);
            }
        }
    }

    /// Returns the order of this process's sequences in a pass over the data in their own order:
    /// batches are in order, and within one the longest sequence is the first.
    pub(crate) fn own_order(&self, data: &Dataset) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.count as u32).collect();
        self.sort_batches(data, &mut order);
        self.share.of_order(order, self.each_step())
    }

    /// Starts a pass over the data in this order, or resumes it after `done` steps.
    fn begin(
        &mut self,
        executor: &mut dyn Executor,
        data: &Dataset,
        mut order: Vec<u32>,
        done: usize,
    ) -> Result<()> {
        self.sort_batches(data, &mut order);
        (self.done, self.played) = (done, self.batches_after(done));
        if let Some(accumulation) = &mut self.accumulation {
            accumulation.begin(&order, self.batch);
        }
        let order = self.share.of_order(order, self.each_step());
        let first = self.first();
        if let Some(window) = &mut self.window {
            window.begin(order, first);
            self.fill(executor, data, |window| first + window.held() / 2)?;
        } else if !order.is_empty() {
            let own = self.buffers.order.part(0, [order.len()]);
            executor.write_index(&own, &order)?;
        }
        self.set_cursor(executor)?;
        let chunk = self.buffers.control.part(control::CHUNK, [1]);
        executor.write_index(&chunk, &[(done % self.chunks) as u32])?;
        let whole = self.each_step().min(self.count);
        let words = self.buffers.control.part(control::TAKEN, [2]);
        executor.write_index(&words, &[0, whole.saturating_sub(self.batch) as u32])
    }

    /// Writes the position of the next batch in device memory, and the position where the pass
    /// ends.
    fn set_cursor(&self, executor: &mut dyn Executor) -> Result<()> {
        let first = self.first();
        let slot = first % self.buffers.held;
        let end = slot + self.own_count().saturating_sub(first);
        let words = self.buffers.control.part(control::CURSOR, [2]);
        executor.write_index(&words, &[slot as u32, end as u32])
    }

    /// Writes, for the batches of a tree, the position of the next batch, its chunk, and the
    /// sequences of its update before it.
    fn set_place(&self, executor: &mut dyn Executor) -> Result<()> {
        self.set_cursor(executor)?;
        let ((batch, chunk), each) = (self.place(), self.batches_each());
        let taken = (self.share.rank * each + batch % each) * self.batch;
        let words = self.buffers.control.part(control::CHUNK, [2]);
        executor.write_index(&words, &[chunk as u32, taken as u32])
    }

    /// Uploads the sequences of the pass up to position `until` for which a window has room.
    fn fill(
        &mut self,
        executor: &mut dyn Executor,
        data: &Dataset,
        until: impl Fn(&Window) -> usize,
    ) -> Result<()> {
        let Some(window) = &mut self.window else {
            return Ok(());
        };
        let until = until(window);
        while let Some((slot, sequences)) = window.next_upload(until) {
            self.buffers
                .upload(executor, slot, &data.read(&sequences)?)?;
            window.uploaded();
        }
        Ok(())
    }
}

/// The bytes of one element of the inputs in device memory.
fn input_bytes(inputs: &Inputs) -> u64 {
    if matches!(inputs, Inputs::Bytes { .. }) {
        1
    } else {
        4
    }
}
