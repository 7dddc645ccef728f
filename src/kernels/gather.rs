use rayon::prelude::*;

use super::{Arg, Call, Cost, Kernel, Scalar, Shader, control, fold, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Takes the next batch of sequences out of a data set: `out[t, b, :] = source[order[cursor + b], t, :]`; or of sequences that
/// are longer the next chunk of so many steps, where t counts from the chunk's first.
#[derive(Debug, Clone)]
pub struct Gather {
    pub of: Of,
    /// `[N, source_steps, I]`; bytes lie four to a word, lowest first.
    pub source: Tensor,
    /// `[N]` or more: which sequence is taken when.
    pub order: Tensor,
    pub control: Tensor,
    /// `[T, B, I]`.
    pub out: Tensor,
    pub steps: usize,
    pub batch: usize,
    /// I.
    pub width: usize,
    pub source_steps: usize,
    /// Steps from one chunk to the next.
    pub chunk_steps: usize,
}

/// What a data set is made of, and what stands in the batch where the epoch has ended.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// Reals; absent ones are 0.
    Reals,
    /// Bytes that stand for `byte * scale`; absent ones are 0.
    Bytes { scale: f32 },
    /// Integers, such as labels and tokens.
    Indices { absent: u32 },
    /// Valid steps of a sequence, of which those in the chunk are counted; absent ones are 0.
    Lengths,
}

impl From<Gather> for Call {
    fn from(call: Gather) -> Call {
        Call::Gather(call)
    }
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
        let (absent, scale) = match self.of {
            Of::Reals | Of::Lengths => (0, 1.0),
            Of::Bytes { scale } => (0, scale),
            Of::Indices { absent } => (absent, 1.0),
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
        let of = match self.of {
            Of::Reals => include_str!("../../shaders/common/gather_reals.wgsl"),
            Of::Bytes { .. } => include_str!("../../shaders/common/gather_bytes.wgsl"),
            Of::Indices { .. } => include_str!("../../shaders/common/gather_indices.wgsl"),
            Of::Lengths => include_str!("../../shaders/common/gather_lengths.wgsl"),
        };
        Shader {
            parts: vec![include_str!("../../shaders/gather.wgsl"), of],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(self.out.len(), 64)
    }

    fn cost(&self) -> Cost {
        let source = if matches!(self.of, Of::Bytes { .. }) {
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

/// Time steps that a task of the CPU takes.
const STEPS: usize = 8;

impl Gather {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let before = memory.read_index(&self.control)[control::CHUNK] as usize * self.chunk_steps;
        match self.of {
            Of::Reals => {
                let source = memory.read(&self.source);
                let (source, mut out) = (&*source, memory.write(&self.out));
                self.each(memory, &mut out, before, R::zero(), |start, out| {
                    out.copy_from_slice(&source[start..][..out.len()]);
                });
            }
            Of::Bytes { scale } => {
                let (source, scale) = (memory.read_index(&self.source), R::of(f64::from(scale)));
                let (source, mut out) = (&*source, memory.write(&self.out));
                let byte = |at: usize| source[at / 4].to_le_bytes()[at % 4];
                self.each(memory, &mut out, before, R::zero(), |start, out| {
                    out.iter_mut()
                        .zip(start..)
                        .for_each(|(out, at)| *out = R::of(f64::from(byte(at))) * scale);
                });
            }
            Of::Indices { absent } => {
                let source = memory.read_index(&self.source);
                let (source, mut out) = (&*source, memory.write_index(&self.out));
                self.each(memory, &mut out, before, absent, |start, out| {
                    out.copy_from_slice(&source[start..][..out.len()]);
                });
            }
            Of::Lengths => {
                let source = memory.read_index(&self.source);
                let (source, mut out) = (&*source, memory.write_index(&self.out));
                let (before, steps) = (before as u32, self.chunk_steps as u32);
                self.each(memory, &mut out, 0, 0, |at, out| {
                    out[0] = source[at].saturating_sub(before).min(steps);
                });
            }
        }
    }

    /// Fills the batch, from step `before` of its sequences on, with `take(place in the data set, a step of a sequence)`.
    fn each<R: Real, E: Copy + Send + Sync>(
        &self,
        memory: &Memory<R>,
        out: &mut [E],
        before: usize,
        absent: E,
        take: impl Fn(usize, &mut [E]) + Sync,
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
        out.par_chunks_mut(STEPS * self.batch * self.width)
            .enumerate()
            .for_each(|(block, out)| {
                // Sequence by sequence, since that is how the source lies.
                for b in 0..self.batch {
                    let place = cursor + b;
                    let rows = out[b * self.width..].chunks_mut(self.batch * self.width);
                    for (row, out) in rows.enumerate() {
                        let (out, step) = (&mut out[..self.width], before + block * STEPS + row);
                        if place < count && step < self.source_steps {
                            let at = order[place] as usize * self.source_steps + step;
                            take(at * self.width, out);
                        } else {
                            out.fill(absent);
                        }
                    }
                }
            });
    }
}
