use super::words::ignore_wgsl;
use super::{Arg, Cost, IGNORE, Kernel, Scalar, Shader, control, history, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Ends a step: writes its row of the [`history`] and advances the [`control`] words.
#[derive(Debug, Clone)]
pub struct Record {
    /// `[2, rows]`: losses, hits. The rows are `[T, B]` if the head reads every step, else `[B]`.
    pub scores: Tensor,
    /// `[rows]`; [`IGNORE`] marks an output without a label.
    pub labels: Tensor,
    /// `[B]`: valid steps.
    pub lengths: Tensor,
    /// `[2]`: the result of [`LabelWeight`](super::LabelWeight).
    pub weight: Tensor,
    /// `[2]`: the result of [`ClipFactor`](super::ClipFactor), in a step that updates the
    /// parameters.
    pub norm: Option<Tensor>,
    pub control: Tensor,
    /// `[rows of the history, 7]`.
    pub history: Tensor,
    /// B.
    pub batch: usize,
    /// Number of chunks of time in which a batch's sequences are taken, one chunk a step.
    pub chunks: usize,
}

impl Kernel for Record {
    fn name(&self) -> &'static str {
        "record"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("scores", self.scores),
            read("labels", self.labels),
            read("lengths", self.lengths),
            read("weight", self.weight),
            read("norm", self.norm.unwrap_or(self.weight)),
            write("control", self.control),
            write("history", self.history),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("rows", Scalar::count(self.scores.len() / 2)),
            ("batch", Scalar::count(self.batch)),
            ("chunks", Scalar::count(self.chunks)),
            ("updates", Scalar::from(self.norm.is_some())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/record.wgsl"),
            include_str!("../../shaders/common/reduce.wgsl"),
        ])
        .with(ignore_wgsl())
        .with(control::wgsl())
        .with(history::wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        [1, 1, 1]
    }

    fn iterations(&self) -> usize {
        self.scores.len() / 64 + 64
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.scores.len() as f64,
            bytes: 4.0 * self.scores.len() as f64,
        }
    }
}

impl Record {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (scores, weight) = (memory.read(&self.scores), memory.read(&self.weight));
        let (losses, hits) = scores.split_at(scores.len() / 2);
        let sum = |values: &[R]| values.iter().fold(R::zero(), |sum, &value| sum + value);
        let (labels, lengths) = (
            memory.read_index(&self.labels),
            memory.read_index(&self.lengths),
        );
        let last = lengths.iter().enumerate().filter_map(|(b, &length)| {
            let steps = (length as usize).min(losses.len() / self.batch);
            let row = steps.checked_sub(1)? * self.batch + b;
            (labels[row] != IGNORE).then(|| losses[row])
        });
        let last: Vec<R> = last.collect();
        let mut control = memory.write_index(&self.control);
        let mut history = memory.write(&self.history);
        let row = &mut history[control[control::ROW] as usize * history::WORDS..][..history::WORDS];
        let loss = sum(losses) * weight[0];
        let norm = self.norm.map_or(R::zero(), |norm| memory.read(&norm)[0]);
        // The GPU computes in f32: a value beyond its range is not finite there.
        let finite = [loss, norm].map(|value| (value.f64() as f32).is_finite());
        row[history::LOSS] = loss;
        row[history::HITS] = sum(hits);
        row[history::LABELLED] = weight[1];
        row[history::NORM] = norm;
        row[history::LAST_LOSS] = sum(&last) / R::of(last.len().max(1) as f64);
        row[history::LAST_LABELLED] = R::of(last.len() as f64);
        row[history::NOT_FINITE] = R::of(f64::from(finite != [true; 2]));
        control[control::STEP] += u32::from(self.norm.is_some());
        control[control::TAKEN] = match self.norm {
            Some(_) => 0,
            None => control[control::TAKEN] + self.batch as u32,
        };
        control[control::CHUNK] += 1;
        if control[control::CHUNK] as usize == self.chunks {
            control[control::CHUNK] = 0;
            control[control::CURSOR] += self.batch as u32;
        }
        control[control::ROW] += 1;
    }
}
