//! A data set as the device takes it: all of it lies there, or a window goes over it.

use std::time::{Duration, Instant};

use crate::backend::executor::Executor;
use crate::data::{Dataset, Inputs, Targets};
use crate::error::{Error, Result};
use crate::kernels::{Gather, IGNORE, Of, Record, control, history};
use crate::network::Reads;
use crate::program::{Phase, Program};
use crate::record::RecordedNetwork;
use crate::tensor::{Element, Kind, Tensor};
use crate::train::diagnose;

/// The most steps between two readbacks, and so the rows of a history.
pub(crate) const HISTORY_ROWS: usize = 256;

/// How long the device works between two readbacks, at the most; then the user hears of it, and no watchdog barks.
pub(crate) const PIECE: Duration = Duration::from_millis(50);

/// What data may take on a device that does not hold them all, in bytes: as much as a piece of steps goes through, and no less
/// than two halves need.
pub(crate) const WINDOW: u64 = 128 << 20;

/// Bytes that are uploaded before the device is waited for, so that a copy of a whole data set never is on its way.
const UPLOAD: usize = 64 << 20;

/// A data set on the device, or a window over it, and the control words and history of the loop.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    /// N.
    pub(crate) count: usize,
    batch: usize,
    /// In how many chunks, each a step, a batch's sequences are taken.
    pub(crate) chunks: usize,
    /// Sequences that the device has room for.
    held: usize,
    /// Where that is not all.
    window: Option<Window>,
    inputs: Tensor,
    labels: Tensor,
    targets: Option<Tensor>,
    lengths: Tensor,
    order: Tensor,
    pub(crate) control: Tensor,
    pub(crate) history: Tensor,
}

/// A ring of sequences in the order in which a pass takes them. While the device plays steps from one half of it, the other is
/// filled.
#[derive(Debug, Clone)]
struct Window {
    /// Sequences that are uploaded together.
    unit: usize,
    /// Of the pass: `[N]`.
    order: Vec<u32>,
    /// How many of these have been uploaded.
    filled: usize,
}

/// Bytes that a sequence takes on the device, all in all.
fn bytes_each(data: &Dataset) -> u64 {
    let input = match data.inputs {
        Inputs::Bytes { .. } => 1,
        _ => 4,
    };
    let rows = if data.targets.per_step() {
        data.steps
    } else {
        1
    } as u64;
    let values = match data.targets {
        Targets::Classes { .. } => 0,
        Targets::Values { width, .. } => width as u64,
    };
    let inputs = (data.steps as u64).saturating_mul(data.features as u64);
    // A label and values for each output, a length, and what a window has of an order.
    let answers = rows.saturating_mul(1 + values).saturating_add(3);
    let all = inputs.saturating_mul(input);
    all.saturating_add(answers.saturating_mul(4))
}

/// Bytes that all of `data` take on the device.
fn bytes_of(data: &Dataset) -> u64 {
    bytes_each(data).saturating_mul(data.count as u64)
}

/// What each of two splits may take of so many bytes: what it needs, or the half and what the other leaves.
pub(crate) fn shares(train: &Dataset, test: Option<&Dataset>, bytes: u64) -> [u64; 2] {
    let (train, test) = (bytes_of(train), test.map_or(0, bytes_of));
    let half = bytes / 2;
    match (train, test) {
        (_, test) if test <= half => [bytes - test, test],
        (train, _) if train <= half => [train, bytes - train],
        _ => [half; 2],
    }
}

/// Whole batches whose bytes end at a word, as few as may be.
fn unit(data: &Dataset, batch: usize) -> usize {
    match data.inputs {
        Inputs::Bytes { .. } => {
            let bytes = batch * data.steps * data.features;
            batch
                * [1, 2, 4]
                    .into_iter()
                    .find(|times| (bytes * times).is_multiple_of(4))
                    .unwrap_or(4)
        }
        _ => batch,
    }
}

impl Feed {
    /// Lays out the buffers for `data`, or for a window of about so many bytes over them where they are more, and records, in
    /// `phase`, the taking of a batch.
    pub(crate) fn record(
        model: &mut RecordedNetwork,
        phase: Phase,
        data: &Dataset,
        bytes: Option<u64>,
    ) -> Result<Feed> {
        let (steps, batch, features) = (model.steps, model.batch, data.features);
        let unit = unit(data, batch);
        let fitting = bytes.filter(|&bytes| bytes < bytes_of(data)).map(|bytes| {
            let units = (bytes / bytes_each(data)) as usize / unit;
            // Two pieces of steps are the most that is of use.
            2 * unit * (units / 2).clamp(1, (HISTORY_ROWS * batch).div_ceil(unit))
        });
        let window = fitting.filter(|&held| held < data.count);
        let held = window.unwrap_or(data.count);
        let numbers =
            held as u128 * data.steps as u128 * features.max(model.network.head.size) as u128;
        if numbers > u128::from(u32::MAX) || data.count > u32::MAX as usize / 2 {
            return Err(Error::LimitExceeded {
                what: format!("a data set of {} sequences", data.count),
                needed: format!("{numbers} elements in one buffer"),
                device: "a kernel".into(),
                limit: u32::MAX.to_string(),
                remedy: "use less data".into(),
            });
        }
        let program = &mut model.program;
        let mut buffer = |name: &str, kind, element, extents: [usize; 2]| {
            program.buffer(
                format!("{phase:?}.{name}").to_lowercase(),
                kind,
                element,
                extents,
            )
        };
        let (real, index) = (Element::Real, Element::Index);
        let elements = held * data.steps * features;
        let (of, inputs) = match &data.inputs {
            Inputs::Bytes { scale, .. } => (
                Of::Bytes { scale: *scale },
                buffer("data", Kind::Data, index, [elements.div_ceil(4), 1]),
            ),
            Inputs::Floats(_) | Inputs::Stored(_) => {
                (Of::Reals, buffer("data", Kind::Data, real, [elements, 1]))
            }
            Inputs::Tokens { .. } => (
                Of::Indices { absent: 0 },
                buffer("data", Kind::Data, index, [elements, 1]),
            ),
        };
        let every = model.network.head.reads == Reads::Every;
        // Outputs of a sequence: in a batch, and in the data.
        let [rows_each, rows_all] = if every { [steps, data.steps] } else { [1, 1] };
        let labels = buffer("labels", Kind::Data, index, [held, rows_all]);
        let targets = match &data.targets {
            Targets::Classes { .. } => None,
            Targets::Values { width, .. } => Some(buffer(
                "targets",
                Kind::Data,
                real,
                [held, rows_all * width],
            )),
        };
        let lengths = buffer("lengths", Kind::Data, index, [held, 1]);
        // A window's order goes round it once more, so that a step never ends where the ring does.
        let places = if window.is_some() { 2 * held } else { held };
        let order = buffer("order", Kind::Data, index, [places, 1]);
        let control = buffer("control", Kind::Control, index, [control::WORDS, 1]);
        let history = buffer(
            "history",
            Kind::Control,
            real,
            [HISTORY_ROWS, history::WORDS],
        );
        let mut gather = |of, source, out, [steps, source_steps]: [usize; 2], width| {
            model.program.push(
                phase,
                Gather {
                    of,
                    source,
                    order,
                    control,
                    out,
                    steps,
                    batch,
                    width,
                    source_steps,
                    chunk_steps: model.steps,
                },
            );
        };
        let (rows, ignored) = ([rows_each, rows_all], Of::Indices { absent: IGNORE });
        gather(of, inputs, model.inputs, [steps, data.steps], features);
        gather(Of::Lengths, lengths, model.lengths, [1, 1], 1);
        gather(ignored, labels, model.head.labels, rows, 1);
        if let (Some(source), Some(out)) = (targets, model.head.targets) {
            gather(Of::Reals, source, out, rows, model.network.head.size);
        }
        let chunks = data.steps.div_ceil(steps);
        if chunks > 1 {
            model.carry_states(phase, control);
        }
        Ok(Feed {
            count: data.count,
            batch,
            chunks,
            held,
            window: window.map(|_| Window {
                unit,
                order: vec![],
                filled: 0,
            }),
            inputs,
            labels,
            targets,
            lengths,
            order,
            control,
            history,
        })
    }

    /// Records, in `phase`, the end of a step.
    pub(crate) fn record_end(
        &self,
        model: &mut RecordedNetwork,
        phase: Phase,
        norm: Option<Tensor>,
    ) {
        let (head, lengths) = (&model.head, model.lengths);
        let (scores, labels, weight) = (head.scores, head.labels, head.label_weight);
        let Feed {
            control,
            history,
            batch,
            chunks,
            ..
        } = *self;
        model.program.push(
            phase,
            Record {
                scores,
                labels,
                lengths,
                weight,
                norm,
                control,
                history,
                batch,
                chunks,
            },
        );
    }

    /// Steps of a pass over the data.
    pub(crate) fn steps(&self) -> usize {
        self.count.div_ceil(self.batch) * self.chunks
    }

    /// Sequences that so many steps of a pass have taken; a batch is through with its last chunk.
    pub(crate) fn taken(&self, steps: usize) -> usize {
        (steps * self.batch / self.chunks).min(self.count)
    }

    /// Whether the device has only a part of the data at a time.
    pub(crate) fn streams(&self) -> bool {
        self.window.is_some()
    }

    /// Where in a pass's order the batch begins that step `done` takes.
    fn first(&self, done: usize) -> usize {
        done / self.chunks * self.batch
    }

    /// How many steps may be played after `done` of a pass, before more is uploaded.
    pub(crate) fn ready(&self, done: usize) -> usize {
        let Some(window) = &self.window else {
            return usize::MAX;
        };
        let first = self.first(done);
        let until = window.filled.min(first + self.held / 2).min(self.count);
        let batches = until.saturating_sub(first).div_ceil(self.batch);
        (batches * self.chunks).saturating_sub(done % self.chunks)
    }

    /// Puts on the device what stays there: all of `data`, or the places of a window.
    pub(crate) fn upload(&self, executor: &mut dyn Executor, data: &Dataset) -> Result<()> {
        if self.window.is_some() {
            let places: Vec<u32> = (0..2 * self.held).map(|n| (n % self.held) as u32).collect();
            return executor.write_index(&self.order, &places);
        }
        // In fours, bytes end at a word.
        let each = (UPLOAD / bytes_each(data) as usize)
            .next_multiple_of(4)
            .max(4);
        for first in (0..data.count).step_by(each) {
            let numbers: Vec<usize> = (first..data.count.min(first + each)).collect();
            self.put(executor, first, &data.read(&numbers)?)?;
            if first + each < data.count {
                executor.read_index(&self.control.part(control::ROW, [1]))?;
            }
        }
        Ok(())
    }

    /// Puts these sequences on the device, from place `at` on.
    fn put(&self, executor: &mut dyn Executor, at: usize, data: &Dataset) -> Result<()> {
        let part = |tensor: &Tensor| {
            let width = tensor.len() / self.held;
            tensor.part(at * width, [data.count * width])
        };
        match &data.inputs {
            Inputs::Bytes { values, .. } => {
                let words = values.chunks(4).map(|bytes| {
                    let mut word = [0; 4];
                    word[..bytes.len()].copy_from_slice(bytes);
                    u32::from_le_bytes(word)
                });
                let words: Vec<u32> = words.collect();
                let before = at * data.steps * data.features / 4;
                executor.write_index(&self.inputs.part(before, [words.len()]), &words)?;
            }
            Inputs::Floats(values) => executor.write(&part(&self.inputs), values)?,
            Inputs::Stored(stored) => {
                let all: Vec<usize> = (0..data.count).collect();
                executor.write(&part(&self.inputs), &stored.read(&all)?)?;
            }
            Inputs::Tokens { values, .. } => executor.write_index(&part(&self.inputs), values)?,
        }
        if let (Targets::Values { values, .. }, Some(targets)) = (&data.targets, &self.targets) {
            executor.write(&part(targets), values)?;
        }
        executor.write_index(&part(&self.labels), &data.labels())?;
        let full = vec![data.steps as u32; data.count];
        let lengths = data.lengths.as_ref().unwrap_or(&full);
        executor.write_index(&part(&self.lengths), lengths)
    }

    /// Starts a pass over the data in this order, or takes it up after `done` steps.
    pub(crate) fn begin(
        &mut self,
        executor: &mut dyn Executor,
        data: &Dataset,
        mut order: Vec<u32>,
        done: usize,
    ) -> Result<()> {
        if let Some(valid) = &data.lengths {
            // Within a batch the longest first: a scan takes its sequences a few at a time, as far as the longest goes.
            let batches = order.chunks_mut(self.batch);
            batches.for_each(|batch| batch.sort_by_key(|&n| std::cmp::Reverse(valid[n as usize])));
        }
        let first = self.first(done);
        match &mut self.window {
            None => executor.write_index(&self.order, &order)?,
            Some(window) => {
                (window.order, window.filled) = (order, first / window.unit * window.unit);
                self.fill(executor, data, first + self.held / 2)?;
            }
        }
        self.aim(executor, done)?;
        let chunk = self.control.part(control::CHUNK, [1]);
        executor.write_index(&chunk, &[(done % self.chunks) as u32])
    }

    /// Says where the batch lies that step `done` of a pass takes, and how far it is to the end of the pass.
    fn aim(&self, executor: &mut dyn Executor, done: usize) -> Result<()> {
        let first = self.first(done);
        let place = first % self.held;
        let end = place + self.count.saturating_sub(first);
        let words = self.control.part(control::CURSOR, [2]);
        executor.write_index(&words, &[place as u32, end as u32])
    }

    /// Uploads what a window has room for of the pass's first `until` sequences.
    fn fill(&mut self, executor: &mut dyn Executor, data: &Dataset, until: usize) -> Result<()> {
        while let Some(Window {
            unit,
            order,
            filled,
        }) = &self.window
        {
            let (first, after) = (*filled, filled + unit);
            if first >= self.count || after > until {
                break;
            }
            let numbers = order[first..after.min(self.count)].iter();
            let numbers: Vec<usize> = numbers.map(|&n| n as usize).collect();
            self.put(executor, first % self.held, &data.read(&numbers)?)?;
            self.window
                .iter_mut()
                .for_each(|window| window.filled = after);
        }
        Ok(())
    }

    /// Runs `phases` for `count` steps after `done` of a pass, fills a window meanwhile, reads what the steps have left in the
    /// history, and sizes the next piece by the time they took. A program that is `watched` is played call by call.
    pub(crate) fn run(
        &mut self,
        executor: &mut dyn Executor,
        data: &Dataset,
        phases: &[Phase],
        [done, count]: [usize; 2],
        piece: &mut usize,
        watched: Option<&Program>,
    ) -> Result<Vec<f32>> {
        let start = Instant::now();
        executor.write_index(&self.control.part(control::ROW, [1]), &[0])?;
        if self.window.is_some() {
            self.aim(executor, done)?;
        }
        match watched {
            None => executor.run(phases, count)?,
            Some(program) => {
                (0..count).try_for_each(|_| diagnose::play(executor, program, phases))?;
            }
        }
        // What the steps read is not touched.
        self.fill(executor, data, self.first(done) + self.held)?;
        let rows = executor.read(&self.history.part(0, [count, history::WORDS]))?;
        let each = start.elapsed().as_secs_f64() / count as f64;
        let fitting = (PIECE.as_secs_f64() / each) as usize;
        *piece = fitting.clamp(1, HISTORY_ROWS).min(2 * count);
        Ok(rows)
    }
}
