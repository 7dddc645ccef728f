use rayon::prelude::*;

use super::{Arg, Cost, Kernel, Scalar, Shader, control, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Takes the next batch of sequences from a data set,
/// `out[t, b, :] = source[order[cursor + b], t, :]`, or the next chunk of time of long sequences:
/// then t counts from the chunk's first step.
#[derive(Debug, Clone)]
pub struct Gather {
    pub kind: GatherKind,
    /// `[N, source_steps, I]`; bytes are stored four to a word, the lowest byte first.
    pub source: Tensor,
    /// `[N]` at least: the indices of the sequences in the order of the epoch.
    pub order: Tensor,
    pub control: Tensor,
    /// `[T, B, I]`.
    pub out: Tensor,
    pub steps: usize,
    pub batch: usize,
    /// I.
    pub width: usize,
    pub source_steps: usize,
    /// Steps of a chunk.
    pub chunk_steps: usize,
}

/// The elements of a data set, and their value in the rows of a batch past the end of the epoch or
/// of the source.
#[derive(Debug, Clone, Copy)]
pub enum GatherKind {
    /// Real numbers; 0 past the end.
    Reals,
    /// Bytes, read as `byte * scale`; 0 past the end.
    Bytes { scale: f32 },
    /// Integers, such as labels and tokens; `absent` past the end.
    Indices { absent: u32 },
    /// Lengths of sequences, read as the number of valid steps in the chunk; 0 past the end.
    Lengths,
}

impl Kernel for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("source", self.source),
            read("order", self.order),
            read("control", self.control),
            write("out", self.out),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let (absent, scale) = match self.kind {
            GatherKind::Reals | GatherKind::Lengths => (0, 1.0),
            GatherKind::Bytes { scale } => (0, scale),
            GatherKind::Indices { absent } => (absent, 1.0),
        };
        vec![
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("width", Scalar::count(self.width)),
            ("source_steps", Scalar::count(self.source_steps)),
            ("chunk_steps", Scalar::count(self.chunk_steps)),
            ("absent", Scalar::U32(absent)),
            ("scale", Scalar::F32(scale)),
        ]
    }

    fn shader(&self) -> Shader {
        let load = match self.kind {
            GatherKind::Reals => include_str!("../../shaders/common/gather_reals.wgsl"),
            GatherKind::Bytes { .. } => include_str!("../../shaders/common/gather_bytes.wgsl"),
            GatherKind::Indices { .. } => include_str!("../../shaders/common/gather_indices.wgsl"),
            GatherKind::Lengths => include_str!("../../shaders/common/gather_lengths.wgsl"),
        };
        Shader::new([include_str!("../../shaders/gather.wgsl"), load]).with(control::wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.out.len(), 64)
    }

    fn cost(&self) -> Cost {
        let source = if matches!(self.kind, GatherKind::Bytes { .. }) {
            1.0
        } else {
            4.0
        };
        Cost {
            flops: 0.0,
            bytes: (4.0 + source) * self.out.len() as f64,
        }
    }
}

/// Time steps of one CPU task.
const TASK_STEPS: usize = 8;

impl Gather {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let before = memory.read_index(&self.control)[control::CHUNK] as usize * self.chunk_steps;
        match self.kind {
            GatherKind::Reals => {
                let source = memory.read(&self.source);
                let (source, mut out) = (&*source, memory.write(&self.out));
                self.fill(memory, &mut out, before, R::zero(), |start, out| {
                    out.copy_from_slice(&source[start..][..out.len()]);
                });
            }
            GatherKind::Bytes { scale } => {
                let (source, scale) = (memory.read_index(&self.source), R::of(f64::from(scale)));
                let (source, mut out) = (&*source, memory.write(&self.out));
                let byte = |at: usize| source[at / 4].to_le_bytes()[at % 4];
                self.fill(memory, &mut out, before, R::zero(), |start, out| {
                    out.iter_mut()
                        .zip(start..)
                        .for_each(|(out, at)| *out = R::of(f64::from(byte(at))) * scale);
                });
            }
            GatherKind::Indices { absent } => {
                let source = memory.read_index(&self.source);
                let (source, mut out) = (&*source, memory.write_index(&self.out));
                self.fill(memory, &mut out, before, absent, |start, out| {
                    out.copy_from_slice(&source[start..][..out.len()]);
                });
            }
            GatherKind::Lengths => {
                let source = memory.read_index(&self.source);
                let (source, mut out) = (&*source, memory.write_index(&self.out));
                let (before, steps) = (before as u32, self.chunk_steps as u32);
                self.fill(memory, &mut out, 0, 0, |at, out| {
                    out[0] = source[at].saturating_sub(before).min(steps);
                });
            }
        }
    }

    /// Fills the batch, from step `before` of its sequences on. `load(offset, out)` reads one step
    /// of a sequence from `offset` in the data set.
    fn fill<R: Real, E: Copy + Send + Sync>(
        &self,
        memory: &Memory<R>,
        out: &mut [E],
        before: usize,
        absent: E,
        load: impl Fn(usize, &mut [E]) + Sync,
    ) {
        let (order, control) = (
            memory.read_index(&self.order),
            memory.read_index(&self.control),
        );
        let (cursor, count) = (
            control[control::CURSOR] as usize,
            control[control::COUNT] as usize,
        );
        let order = &*order;
        out.par_chunks_mut(TASK_STEPS * self.batch * self.width)
            .enumerate()
            .for_each(|(block, out)| {
                // Sequence by sequence, which is the order of the source.
                for b in 0..self.batch {
                    let position = cursor + b;
                    let rows = out[b * self.width..].chunks_mut(self.batch * self.width);
                    for (row, out) in rows.enumerate() {
                        let (out, step) =
                            (&mut out[..self.width], before + block * TASK_STEPS + row);
                        if position < count && step < self.source_steps {
                            let at = order[position] as usize * self.source_steps + step;
                            load(at * self.width, out);
                        } else {
                            out.fill(absent);
                        }
                    }
                }
            });
    }
}
