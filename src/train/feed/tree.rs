//! Updates whose gradients are added in a tree, in one process or several.

use std::sync::Arc;
use std::time::Duration;

use super::accumulation::Accumulation;
use super::runner::PlaySteps;
use super::{StepRecord, StepRunner};
use crate::distributed::{Ranks, from_bytes, to_bytes};
use crate::error::{Error, Result};
use crate::kernels::{control, history};
use crate::program::Phase;
use crate::train::clock::Instant;

/// Whether processes stop, which all of them do after the same update.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StopVote {
    /// Whether this process wants to.
    pub(crate) wanted: bool,
    /// Whether all of them do.
    pub(crate) agreed: bool,
}

/// The time of the parts of updates that only several processes have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UpdateParts {
    /// Gradients from the device to the host, and their sum back.
    pub(crate) transfer: Duration,
    /// Messages, and waiting for the other processes.
    pub(crate) messages: Duration,
}

impl StepRunner<'_> {
    /// Plays the next update: its batches, the sum over all processes, and the update itself.
    pub(super) fn play_tree(&mut self, play_steps: &mut PlaySteps) -> Result<()> {
        let mut left = self.feed.next_batches(1);
        let is_alone = self.ranks().is_none();
        while left > 0 {
            // The host keeps the states of chunks, batch by batch.
            let count = match self.feed.chunks() {
                1 => left.min(self.feed.ready()),
                _ => 1,
            };
            left -= count;
            let mut phases = [Phase::Forward, Phase::Backward, Phase::Accumulate].repeat(count);
            if let Some(last) = phases.last_mut().filter(|_| left == 0) {
                *last = if is_alone {
                    Phase::Update
                } else {
                    Phase::Reduce
                };
            }
            self.feed.set_place(self.executor)?;
            let batch = self.feed.place().0 % self.feed.batches_each();
            self.write_states(batch)?;
            play_steps(self.executor, &phases, 1)?;
            self.read_states(batch)?;
            self.fill_window()?;
            self.feed.played += count;
        }
        if let Some(ranks) = self.ranks() {
            self.sum_gradients(ranks.as_ref())?;
            play_steps(self.executor, &[Phase::Update], 1)?;
        }
        self.feed.done += 1;
        Ok(())
    }

    fn ranks(&self) -> Option<Arc<dyn Ranks>> {
        let several = self.feed.accumulation.as_ref();
        several.and_then(Accumulation::ranks).cloned()
    }

    /// Adds the gradients of all processes.
    fn sum_gradients(&mut self, ranks: &dyn Ranks) -> Result<()> {
        let several = self.feed.accumulation.as_ref();
        let Some(sums) = several.and_then(|several| several.sums) else {
            return Ok(());
        };
        // A process without a batch of this update adds zeros.
        let done = self.feed.done();
        let has_batches = self.feed.batches_after(done + 1) > self.feed.batches_after(done);
        self.wait_where_measured()?;
        let start = Instant::now();
        let mut values = if has_batches {
            self.executor.read(&sums)?
        } else {
            vec![0.0; sums.len()]
        };
        let read = start.elapsed();
        ranks.sum(&mut values)?;
        let summed = start.elapsed();
        self.executor.write(&sums, &values)?;
        self.wait_where_measured()?;
        if let Some(parts) = &mut self.feed.parts {
            parts.messages += summed - read;
            parts.transfer += start.elapsed() - (summed - read);
        }
        Ok(())
    }

    /// Waits for the device where the parts of updates are measured.
    fn wait_where_measured(&mut self) -> Result<()> {
        if self.feed.parts.is_some() {
            let row = self.feed.buffers.control.part(control::ROW, [1]);
            self.executor.read_index(&row)?;
        }
        Ok(())
    }

    /// Writes the states that the next chunk of batch `batch` of an update begins with. The first
    /// chunk begins with zeros, which the device writes.
    fn write_states(&mut self, batch: usize) -> Result<()> {
        let is_first = self.feed.place().1 == 0;
        match &self.feed.accumulation {
            Some(several) if self.feed.chunks() > 1 && !is_first => {
                several.states.write(self.executor, batch)
            }
            _ => Ok(()),
        }
    }

    /// Keeps the states after a chunk of batch `batch` of an update.
    fn read_states(&mut self, batch: usize) -> Result<()> {
        match &mut self.feed.accumulation {
            Some(several) if self.feed.chunks > 1 => several.states.read(self.executor, batch),
            _ => Ok(()),
        }
    }

    /// Waits for the device and returns the records of the last batches of all processes, of which
    /// `count` are this one's.
    pub(super) fn all_records(&mut self, count: usize) -> Result<Vec<StepRecord>> {
        let Some(ranks) = self.ranks() else {
            return self.read_records(count);
        };
        // A process without a batch has the norm of the update.
        let norm = self.read_records(count.max(1))?[count.max(1) - 1].norm;
        let own = self.read_records(count)?;
        let states = self.own_states();
        let heads = self.feed.head_count();
        let (vote, start) = (&mut self.feed.stop, Instant::now());
        let gathered = gather_records(ranks.as_ref(), vote, (&own, heads), &states)?;
        if let Some(parts) = &mut self.feed.parts {
            parts.messages += start.elapsed();
        }
        let states: Vec<Vec<f32>> = gathered.iter().map(|(_, states)| states.clone()).collect();
        if let Some(several) = &mut self.feed.accumulation {
            several.all_states = several.states.joined(&states);
        }
        let records = gathered.into_iter().flat_map(|(records, _)| records);
        let with_norm = |record| StepRecord { norm, ..record };
        Ok(records.map(with_norm).collect())
    }

    /// The states of this process's batches where an update is between two chunks.
    fn own_states(&self) -> Vec<f32> {
        let feed = &*self.feed;
        match &feed.accumulation {
            Some(several) if !feed.done.is_multiple_of(feed.chunks) => {
                let update = feed.done / feed.chunks * feed.batches_each();
                several.states.flat(feed.batches_from(update))
            }
            _ => vec![],
        }
    }
}

/// Sends the records, states and the vote of this process to all, and returns those of all. Each
/// record has those of `heads` heads.
pub(crate) fn gather_records(
    ranks: &dyn Ranks,
    vote: &mut StopVote,
    (own, heads): (&[StepRecord], usize),
    states: &[f32],
) -> Result<Vec<(Vec<StepRecord>, Vec<f32>)>> {
    let mut bytes = vec![u8::from(vote.wanted)];
    bytes.extend((own.len() as u32).to_le_bytes());
    let rows: Vec<f32> = own.iter().flat_map(StepRecord::rows).collect();
    bytes.extend(to_bytes(&rows));
    bytes.extend(to_bytes(states));
    let all = ranks.gather(bytes)?;
    vote.agreed = all.iter().any(|bytes| bytes.first() == Some(&1));
    let each = (1 + heads) * history::WORDS;
    let read = |bytes: &Vec<u8>| {
        let (count, rest) = bytes.get(1..)?.split_first_chunk::<4>()?;
        let rows = u32::from_le_bytes(*count) as usize * each * size_of::<f32>();
        let (rows, states) = rest.split_at_checked(rows)?;
        let rows = from_bytes(rows);
        let rows = rows.chunks_exact(each);
        let records: Option<Vec<_>> = rows.map(StepRecord::of_rows).collect();
        Some((records?, from_bytes(states)))
    };
    let read = all.iter().map(read).collect::<Option<_>>();
    read.ok_or_else(|| Error::Failed("a process sent a message that is not understood".into()))
}

impl super::Feed {
    /// Returns the states that the next chunk begins with, of each direction: those of all batches
    /// of the update, one after the other. `None` where an update is one batch, whose states are on
    /// the device.
    pub(crate) fn states(&self) -> Option<Vec<Vec<f32>>> {
        let several = self
            .accumulation
            .as_ref()
            .filter(|several| several.is_tree())?;
        if several.ranks().is_some() {
            return Some(several.all_states.clone());
        }
        let update = self.done / self.chunks * self.batches_each();
        let flat = several.states.flat(self.batches_from(update));
        Some(several.states.joined(&[flat]))
    }

    /// Restores what [`Feed::states`] has returned. Returns whether an update is several batches.
    ///
    /// # Errors
    /// [`Error::Usage`] for states of another size.
    pub(crate) fn restore_states(&mut self, states: &[Vec<f32>]) -> Result<bool> {
        let first = self.share.rank * self.batches_each();
        let Some(several) = self
            .accumulation
            .as_mut()
            .filter(|several| several.is_tree())
        else {
            return Ok(false);
        };
        several.all_states = states.to_vec();
        if !states.is_empty() {
            several.states.restore(states, first)?;
        }
        Ok(true)
    }

    /// Starts to measure the parts of updates, and returns those of the updates before.
    pub(crate) fn measure_parts(&mut self) -> UpdateParts {
        self.parts
            .replace(UpdateParts::default())
            .unwrap_or_default()
    }

    /// Measures the parts of updates no more.
    pub(crate) fn stop_measuring(&mut self) {
        self.parts = None;
    }

    /// Whether the processes stop.
    pub(crate) fn stop(&mut self) -> &mut StopVote {
        &mut self.stop
    }
}
