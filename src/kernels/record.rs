use super::{Arg, Call, Cost, Kernel, Scalar, Shader, control, history, read, write};
use crate::executor::Memory;
use crate::program::Tensor;
use crate::real::Real;

/// Ends a step: writes its row of the history (see [`history`]) and moves the [`control`] words on.
#[derive(Debug, Clone)]
pub struct Record {
    /// `[2, rows]`: losses, hits.
    pub scores: Tensor,
    /// `[2]`, as [`LabelWeight`](super::LabelWeight) leaves it.
    pub weight: Tensor,
    /// `[2]`, as [`ClipFactor`](super::ClipFactor) leaves it, where the step updates the parameters.
    pub norm: Option<Tensor>,
    pub control: Tensor,
    /// `[rows, 4]`.
    pub history: Tensor,
    pub batch: usize,
}

impl From<Record> for Call {
    fn from(call: Record) -> Call {
        Call::Record(call)
    }
}

impl Kernel for Record {
    fn name(&self) -> &'static str {
        "record"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("scores", self.scores),
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
            ("updates", Scalar::U32(self.norm.is_some().into())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader {
            parts: vec![
                include_str!("../../shaders/record.wgsl"),
                include_str!("../../shaders/common/reduce.wgsl"),
            ],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        [1, 1, 1]
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
        let mut control = memory.write_index(&self.control);
        let mut history = memory.write(&self.history);
        let row = &mut history[control[control::ROW] as usize * history::WORDS..][..history::WORDS];
        row[history::LOSS] = sum(losses) * weight[0];
        row[history::HITS] = sum(hits);
        row[history::LABELLED] = weight[1];
        row[history::NORM] = self.norm.map_or(R::zero(), |norm| memory.read(&norm)[0]);
        control[control::STEP] += u32::from(self.norm.is_some());
        control[control::CURSOR] += self.batch as u32;
        control[control::ROW] += 1;
    }
}
