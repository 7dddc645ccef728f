//! The runner of recorded steps, shared by training, evaluation, profile and benchmark.

use std::time::Duration;

use super::accumulation::Accumulation;
use super::{Feed, HISTORY_ROWS, SUBMISSION_TIME};
use crate::backend::executor::Executor;
use crate::data::Dataset;
use crate::error::Result;
use crate::kernels::{control, history};
use crate::program::Phase;
use crate::train::clock::Instant;

/// One row of the history: what a step recorded. See [`history`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepRecord {
    /// Mean over the labelled outputs.
    pub(crate) loss: f32,
    /// Outputs whose largest value is the labelled class.
    pub(crate) hits: f32,
    /// Labelled outputs.
    pub(crate) labelled: f32,
    /// Norm of the gradient before clipping.
    pub(crate) norm: f32,
    /// Mean over the labelled outputs at the last step of a sequence.
    pub(crate) last_loss: f32,
    /// Labelled outputs at the last step of a sequence.
    pub(crate) last_labelled: f32,
    /// Whether loss and norm are finite, on the device and as read.
    pub(crate) is_finite: bool,
    /// The records of each of several heads, whose losses are times its weight.
    pub(crate) heads: Vec<StepRecord>,
}

impl StepRecord {
    pub(super) fn new(row: &[f32]) -> StepRecord {
        let (loss, norm) = (row[history::LOSS], row[history::NORM]);
        StepRecord {
            loss,
            hits: row[history::HITS],
            labelled: row[history::LABELLED],
            norm,
            last_loss: row[history::LAST_LOSS],
            last_labelled: row[history::LAST_LABELLED],
            is_finite: row[history::NOT_FINITE] == 0.0 && loss.is_finite() && norm.is_finite(),
            heads: vec![],
        }
    }

    /// Reads the row of a step, and those of each of several heads after it.
    pub(super) fn of_rows(rows: &[f32]) -> Option<StepRecord> {
        let mut rows = rows.chunks_exact(history::WORDS).map(StepRecord::new);
        let own = rows.next()?;
        Some(StepRecord {
            heads: rows.collect(),
            ..own
        })
    }

    /// The rows that [`StepRecord::of_rows`] reads.
    pub(super) fn rows(&self) -> impl Iterator<Item = f32> {
        let each = std::iter::once(self).chain(&self.heads);
        each.flat_map(StepRecord::row)
    }

    /// The row of the history that [`StepRecord::new`] reads, without heads.
    fn row(&self) -> [f32; history::WORDS] {
        let mut row = [0.0; history::WORDS];
        row[history::LOSS] = self.loss;
        row[history::HITS] = self.hits;
        row[history::LABELLED] = self.labelled;
        row[history::NORM] = self.norm;
        row[history::LAST_LOSS] = self.last_loss;
        row[history::LAST_LABELLED] = self.last_labelled;
        row[history::NOT_FINITE] = f32::from(u8::from(!self.is_finite));
        row
    }
}

/// The speed at which steps are played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepPace {
    /// Seconds of a step.
    pub(crate) step: f64,
    /// Seconds that a host thread works for a step, to encode and submit it, where a device
    /// computes it.
    pub(crate) host: Option<f64>,
}

/// The time that the calling thread has worked.
#[cfg(not(target_family = "wasm"))]
fn thread_time() -> Duration {
    cpu_time::ThreadTime::now().as_duration()
}

/// WebAssembly has no clock of a thread.
#[cfg(target_family = "wasm")]
fn thread_time() -> Duration {
    Duration::ZERO
}

/// Runs phases on an executor so many times.
pub(super) type PlaySteps<'a> = dyn FnMut(&mut dyn Executor, &[Phase], usize) -> Result<()> + 'a;

/// Plays the steps of one split.
pub(crate) struct StepRunner<'a> {
    pub(crate) feed: &'a mut Feed,
    pub(crate) data: &'a Dataset,
    pub(crate) executor: &'a mut dyn Executor,
    /// The phases of a step.
    pub(crate) phases: &'static [Phase],
}

impl<'a> StepRunner<'a> {
    /// Starts a pass over the data in this order, or resumes it after `done` steps.
    pub(crate) fn begin(&mut self, order: Vec<u32>, done: usize) -> Result<()> {
        self.feed.begin(self.executor, self.data, order, done)
    }

    /// Starts a pass over the data in their own order. Its first submission is one step, so that an
    /// observer can stop it.
    pub(crate) fn begin_in_order(&mut self) -> Result<()> {
        self.feed.submission = 1;
        self.begin((0..self.feed.count as u32).collect(), 0)
    }

    /// The length of the next submission: at most `limit` steps, at most the steps that are left of
    /// the pass.
    pub(crate) fn next_count(&self, limit: usize) -> usize {
        let left = self.feed.steps() - self.feed.done();
        let limit = limit.min(left).min(self.feed.submission);
        match &self.feed.accumulation {
            // Of several processes, one may have no batch of the last step.
            None if self.feed.next_batches(1) == 0 => limit.min(1),
            None => limit.min(self.feed.ready()),
            // Processes exchange their gradients after each update.
            Some(several) if several.ranks().is_some() => limit.min(1),
            Some(several) => limit.min((HISTORY_ROWS / several.batches).max(1)),
        }
    }

    /// Plays the next `count` steps, fills a window meanwhile, and waits. Adapts the length of the
    /// next submission.
    pub(crate) fn play(&mut self, count: usize) -> Result<Vec<StepRecord>> {
        self.play_by(count, |executor, phases, times| executor.run(phases, times))
    }

    /// [`StepRunner::play`], where `play_steps` has the executor run phases so many times.
    pub(crate) fn play_by(
        &mut self,
        count: usize,
        mut play_steps: impl FnMut(&mut dyn Executor, &[Phase], usize) -> Result<()>,
    ) -> Result<Vec<StepRecord>> {
        let start = Instant::now();
        for control in self.feed.buffers.controls() {
            self.executor
                .write_index(&control.part(control::ROW, [1]), &[0])?;
        }
        let first = self.feed.done();
        let batches = self.write_weights(count)?;
        if self
            .feed
            .accumulation
            .as_ref()
            .is_some_and(Accumulation::is_tree)
        {
            for _ in 0..count {
                self.play_tree(&mut play_steps)?;
            }
        } else {
            self.play_in_order(batches, &mut play_steps)?;
            self.feed.done += count;
        }
        let records = self.all_records(batches)?;
        let step = start.elapsed().as_secs_f64() / count as f64;
        let fitting = (SUBMISSION_TIME.as_secs_f64() / step) as usize;
        self.feed.submission = fitting.clamp(1, HISTORY_ROWS).min(2 * count);
        Ok(match &self.feed.accumulation {
            None => records,
            Some(several) => several.merged(first, &records),
        })
    }

    /// Writes the weights of the next `count` steps, where they have several batches. Returns the
    /// number of their batches.
    fn write_weights(&mut self, count: usize) -> Result<usize> {
        let batches = self.feed.next_batches(count);
        if let Some(several) = &self.feed.accumulation {
            let each = (0..count).map(|n| {
                let [begin, end] = [n, n + 1].map(|n| self.feed.next_batches(n));
                end - begin
            });
            let each: Vec<usize> = each.collect();
            several.write(self.executor, self.feed.done(), &each)?;
        }
        Ok(batches)
    }

    /// Plays the next `batches` batches, of whole steps.
    fn play_in_order(&mut self, batches: usize, play_steps: &mut PlaySteps) -> Result<()> {
        let end = self.feed.played + batches;
        while self.feed.played < end {
            if self.feed.streams() {
                self.feed.set_cursor(self.executor)?;
            }
            let (phases, times) = self.next_phases(end);
            play_steps(self.executor, &phases, times)?;
            self.fill_window()?;
            self.feed.played += times * phases.len() / self.phases.len();
        }
        Ok(())
    }

    /// Uploads what a window has room for. The half of it that the steps in progress read is not
    /// written.
    pub(super) fn fill_window(&mut self) -> Result<()> {
        let first = self.feed.first();
        self.feed
            .fill(self.executor, self.data, |window| first + window.held())
    }

    /// Waits for the device and returns the records of the last `count` batches.
    pub(super) fn read_records(&mut self, count: usize) -> Result<Vec<StepRecord>> {
        if count == 0 {
            return Ok(vec![]);
        }
        let of_rows = |rows: &[f32]| -> Vec<StepRecord> {
            let rows = rows.chunks_exact(history::WORDS);
            rows.map(StepRecord::new).collect()
        };
        let mut records = of_rows(&self.read_history(count)?);
        for n in 0..self.feed.buffers.heads.len() {
            let history = self.feed.buffers.heads[n].history;
            let rows = self
                .executor
                .read(&history.part(0, [count, history::WORDS]))?;
            for (record, head) in records.iter_mut().zip(of_rows(&rows)) {
                record.heads.push(head);
            }
        }
        Ok(records)
    }

    /// The phases to run next and how many times, at most up to batch `end`: all of them, or the
    /// batches of an update for which there are data.
    fn next_phases(&self, end: usize) -> (Vec<Phase>, usize) {
        let played = self.feed.played;
        let Some(several) = &self.feed.accumulation else {
            return (self.phases.to_vec(), end - played);
        };
        let first = played / several.batches * several.batches;
        let left = self.feed.batches_from(first) - (played - first);
        let count = left.min(self.feed.ready());
        let mut phases = [Phase::Forward, Phase::Backward, Phase::Accumulate].repeat(count);
        if let Some(last) = phases.last_mut().filter(|_| count == left) {
            *last = Phase::Update;
        }
        (phases, 1)
    }

    /// Waits for the device and returns the rows of the last `count` batches.
    fn read_history(&mut self, count: usize) -> Result<Vec<f32>> {
        let rows = [count, history::WORDS];
        self.executor.read(&self.feed.buffers.history.part(0, rows))
    }

    /// Starts a pass in the data's own order and waits until the device holds its first batches.
    /// Returns the number of steps that can be played at once.
    pub(crate) fn rewind(&mut self) -> Result<usize> {
        self.begin_in_order()?;
        let row = self.feed.buffers.control.part(control::ROW, [1]);
        for control in self.feed.buffers.controls() {
            self.executor
                .write_index(&control.part(control::ROW, [1]), &[0])?;
        }
        self.executor.read_index(&row)?;
        Ok(self.feed.steps().min(HISTORY_ROWS).min(self.feed.ready()))
    }

    /// Plays `count` steps in one submission after [`StepRunner::rewind`], waits, and returns their
    /// times.
    pub(crate) fn time(&mut self, count: usize) -> Result<StepPace> {
        // The thread's own time: a software driver works on the same cores, and a queue may be
        // full.
        let (start, work) = (Instant::now(), thread_time());
        self.executor.run(self.phases, count)?;
        let submitted = thread_time().saturating_sub(work).as_secs_f64();
        self.read_history(count)?;
        Ok(StepPace {
            step: start.elapsed().as_secs_f64() / count as f64,
            host: (self.executor.submits()).then_some(submitted / count as f64),
        })
    }

    /// The executor, for callers that play the steps themselves.
    pub(crate) fn into_executor(self) -> &'a mut dyn Executor {
        self.executor
    }
}
