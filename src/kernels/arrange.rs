use super::{Arg, Call, Cost, Kernel, Scalar, Shader, fold, read, write};
use crate::executor::Memory;
use crate::program::Tensor;
use crate::real::Real;

/// Moves columns of a `[T, B, ...]` tensor into columns of another, in the order of time or with each sequence's valid
/// steps reversed; zeros past its end. Bidirectional layers are two layers and such moves (TensorFlow's `reverse_sequence`).
#[derive(Debug, Clone)]
pub struct Arrange {
    /// `[T, B, source_stride]`, from the first column that is moved on.
    pub source: Tensor,
    /// Numbers from one sequence to the next in `source`.
    pub source_stride: usize,
    /// `[T, B, out_stride]`, from the first column that is written on.
    pub out: Tensor,
    /// Numbers from one sequence to the next in `out`.
    pub out_stride: usize,
    /// `[B]`: valid steps, of which more than T count as T.
    pub lengths: Tensor,
    pub steps: usize,
    pub batch: usize,
    /// Columns.
    pub width: usize,
    /// Whether step t takes what stands at step `length - 1 - t`.
    pub reversed: bool,
    /// Adds to what `out` holds.
    pub accumulate: bool,
}

impl From<Arrange> for Call {
    fn from(call: Arrange) -> Call {
        Call::Arrange(call)
    }
}

impl Kernel for Arrange {
    fn name(&self) -> &'static str {
        "arrange"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("source", self.source),
            read("lengths", self.lengths),
            write("out", self.out),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("source_stride", Scalar::count(self.source_stride)),
            ("out_stride", Scalar::count(self.out_stride)),
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("width", Scalar::count(self.width)),
            ("reversed", Scalar::U32(self.reversed.into())),
            ("accumulate", Scalar::U32(self.accumulate.into())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader {
            parts: vec![include_str!("../../shaders/arrange.wgsl")],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(self.steps * self.batch * self.width, 64)
    }

    fn cost(&self) -> Cost {
        let moved = (self.steps * self.batch * self.width) as f64;
        let touched = if self.accumulate { 3.0 } else { 2.0 };
        Cost {
            flops: if self.accumulate { moved } else { 0.0 },
            bytes: 4.0 * touched * moved,
        }
    }
}

impl Arrange {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (source, lengths) = (memory.read(&self.source), memory.read_index(&self.lengths));
        let mut out = memory.write(&self.out);
        for (row, out) in out
            .chunks_mut(self.out_stride)
            .take(self.steps * self.batch)
            .enumerate()
        {
            let (t, b) = (row / self.batch, row % self.batch);
            let length = (lengths[b] as usize).min(self.steps);
            let out = &mut out[..self.width];
            if t >= length {
                if !self.accumulate {
                    out.fill(R::zero());
                }
                continue;
            }
            let from = if self.reversed { length - 1 - t } else { t };
            let source = &source[(from * self.batch + b) * self.source_stride..][..self.width];
            if self.accumulate {
                out.iter_mut()
                    .zip(source)
                    .for_each(|(out, &value)| *out += value);
            } else {
                out.copy_from_slice(source);
            }
        }
    }
}
