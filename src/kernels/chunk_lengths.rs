use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Computes how many valid steps each sequence has in each chunk of time.
#[derive(Debug, Clone)]
pub struct ChunkLengths {
    /// `[B]`: valid steps of each sequence.
    pub lengths: Tensor,
    /// `[chunks, B]`.
    pub out: Tensor,
    /// Steps of a chunk.
    pub chunk_steps: usize,
}

impl Kernel for ChunkLengths {
    fn name(&self) -> &'static str {
        "chunk_lengths"
    }

    fn args(&self) -> Vec<Arg> {
        vec![read("lengths", self.lengths), write("out", self.out)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("count", Scalar::count(self.out.len())),
            ("batch", Scalar::count(self.lengths.len())),
            ("chunk_steps", Scalar::count(self.chunk_steps)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/chunk_lengths.wgsl")])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.out.len(), 64)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: 4.0 * (self.lengths.len() + self.out.len()) as f64,
        }
    }
}

impl ChunkLengths {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let lengths = memory.read_index(&self.lengths);
        let mut out = memory.write_index(&self.out);
        let size = self.chunk_steps as u32;
        for (out, begin) in out
            .chunks_mut(lengths.len())
            .zip((0..).step_by(size as usize))
        {
            for (out, length) in out.iter_mut().zip(&*lengths) {
                *out = length.saturating_sub(begin).min(size);
            }
        }
    }
}
