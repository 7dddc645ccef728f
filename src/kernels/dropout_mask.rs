use rayon::prelude::*;

use super::{Arg, Call, Cost, Kernel, Scalar, Shader, control, fold, read, write};
use crate::kernels::Columns;
use crate::memory::Memory;
use crate::network::MaskSharing;
use crate::numeric::real::Real;
use crate::rng::{Stream, philox};
use crate::tensor::Tensor;

/// Draws a dropout mask `[T, B, width]`: 0, or one over the probability of being kept. The numbers follow from the seed, the
/// updates made so far, and the mask's own number, so they are the same on every executor and after a resume.
#[derive(Debug, Clone)]
pub struct DropoutMask {
    pub control: Tensor,
    pub out: Columns,
    pub steps: usize,
    pub batch: usize,
    pub width: usize,
    /// Above 0 and below 1.
    pub keep_prob: f64,
    pub sharing: MaskSharing,
    pub seed: u64,
    /// Which of the network's masks it is.
    pub number: u32,
}

impl From<DropoutMask> for Call {
    fn from(call: DropoutMask) -> Call {
        Call::DropoutMask(call)
    }
}

impl Kernel for DropoutMask {
    fn name(&self) -> &'static str {
        "dropout_mask"
    }

    fn args(&self) -> Vec<Arg> {
        vec![read("control", self.control), write("out", self.out.tensor)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let sharing = match self.sharing {
            MaskSharing::EachStep => 0,
            MaskSharing::EachSequence => 1,
            MaskSharing::EachBatch => 2,
        };
        let [seed_low, seed_high] = self.key();
        vec![
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("width", Scalar::count(self.width)),
            ("stride", Scalar::count(self.out.stride)),
            ("sharing", Scalar::U32(sharing)),
            ("number", Scalar::U32(self.number)),
            ("seed_low", Scalar::U32(seed_low)),
            ("seed_high", Scalar::U32(seed_high)),
            ("keep_below", Scalar::U32(self.keep_below())),
            ("scale", Scalar::F32((1.0 / self.keep_prob) as f32)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader {
            parts: vec![
                include_str!("../../shaders/dropout_mask.wgsl"),
                include_str!("../../shaders/common/philox.wgsl"),
            ],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(self.steps * self.batch * self.width.div_ceil(4), 64)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: 4.0 * (self.steps * self.batch * self.width) as f64,
        }
    }
}

impl DropoutMask {
    fn key(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32]
    }

    /// A number is kept where its random word is below this.
    fn keep_below(&self) -> u32 {
        (self.keep_prob * 4_294_967_296.0) as u32
    }

    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let step = memory.read_index(&self.control)[control::STEP];
        let mut out = memory.write(&self.out.tensor);
        let (scale, keep_below) = (R::of(1.0 / self.keep_prob), self.keep_below());
        let [stream, number] = Stream::Dropout(self.number).words();
        let quads = self.width.div_ceil(4);
        out.par_chunks_mut(self.out.stride)
            .take(self.steps * self.batch)
            .enumerate()
            .for_each(|(row, out)| {
                let drawn_for = match self.sharing {
                    MaskSharing::EachStep => row,
                    MaskSharing::EachSequence => row % self.batch,
                    MaskSharing::EachBatch => 0,
                };
                for (quad, out) in out[..self.width].chunks_mut(4).enumerate() {
                    let block = (drawn_for * quads + quad) as u32;
                    let words = philox([block, step, stream, number], self.key());
                    for (value, word) in out.iter_mut().zip(words) {
                        *value = if word < keep_below { scale } else { R::zero() };
                    }
                }
            });
    }
}
