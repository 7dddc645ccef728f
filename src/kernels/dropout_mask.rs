use rayon::prelude::*;

use super::words::wgsl_constants;
use super::{Arg, Columns, Cost, Kernel, Scalar, Shader, control, linear_grid, read, write};
use crate::memory::Memory;
use crate::network::MaskSharing;
use crate::numeric::real::Real;
use crate::rng::{Stream, philox};
use crate::tensor::Tensor;

/// Draws a dropout mask `[T, B, width]` of 0 or `1 / keep_prob`. The mask depends only on the seed,
/// the number of updates so far and the mask's index, so it is the same on every executor and after
/// a resume. The batches of one update have the masks of the large batch that they are parts of.
#[derive(Debug, Clone)]
pub struct DropoutMask {
    pub control: Tensor,
    pub out: Columns,
    pub steps: usize,
    /// The step of whole sequences that the first row is of: masks of a chunk of time are a part of
    /// the masks of all steps.
    pub first_step: usize,
    pub batch: usize,
    pub width: usize,
    /// Above 0 and below 1.
    pub keep_prob: f64,
    pub sharing: MaskSharing,
    pub seed: u64,
    /// The index of the mask among the network's masks.
    pub index: u32,
}

impl Kernel for DropoutMask {
    fn name(&self) -> &'static str {
        "dropout_mask"
    }

    fn args(&self) -> Vec<Arg> {
        vec![read("control", self.control), write("out", self.out.tensor)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let [seed_low, seed_high] = self.key();
        let [stream, index] = Stream::Dropout(self.index).words();
        vec![
            ("steps", Scalar::count(self.steps)),
            ("first_step", Scalar::count(self.first_step)),
            ("batch", Scalar::count(self.batch)),
            ("width", Scalar::count(self.width)),
            ("stride", Scalar::count(self.out.stride)),
            ("sharing", Scalar::U32(sharing_code(self.sharing))),
            ("stream", Scalar::U32(stream)),
            ("index", Scalar::U32(index)),
            ("seed_low", Scalar::U32(seed_low)),
            ("seed_high", Scalar::U32(seed_high)),
            ("keep_below", Scalar::U32(self.keep_below())),
            ("scale", Scalar::F32((1.0 / self.keep_prob) as f32)),
        ]
    }

    fn shader(&self) -> Shader {
        let sharing = |sharing| sharing_code(sharing) as usize;
        let constants = [
            ("EACH_STEP", sharing(MaskSharing::EachStep)),
            ("EACH_SEQUENCE", sharing(MaskSharing::EachSequence)),
        ];
        Shader::new([
            include_str!("../../shaders/dropout_mask.wgsl"),
            include_str!("../../shaders/common/philox.wgsl"),
        ])
        .with(control::wgsl())
        .with(wgsl_constants(&constants))
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.steps * self.batch * self.width.div_ceil(4), 64)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: 4.0 * (self.steps * self.batch * self.width) as f64,
        }
    }
}

/// Returns the uniform's value of a sharing.
fn sharing_code(sharing: MaskSharing) -> u32 {
    match sharing {
        MaskSharing::EachStep => 0,
        MaskSharing::EachSequence => 1,
        MaskSharing::EachBatch => 2,
    }
}

impl DropoutMask {
    /// Returns the key of the random number generator: the seed.
    fn key(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32]
    }

    /// Returns the bound below which a random word keeps its element.
    fn keep_below(&self) -> u32 {
        (self.keep_prob * 4_294_967_296.0) as u32
    }

    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let control = memory.read_index(&self.control);
        let [step, taken, further] =
            [control::STEP, control::TAKEN, control::FURTHER].map(|word| control[word]);
        let (taken, whole) = (taken as usize, self.batch + further as usize);
        let mut out = memory.write(&self.out.tensor);
        let (scale, keep_below) = (R::of(1.0 / self.keep_prob), self.keep_below());
        let [stream, index] = Stream::Dropout(self.index).words();
        let quads = self.width.div_ceil(4);
        out.par_chunks_mut(self.out.stride)
            .take(self.steps * self.batch)
            .enumerate()
            .for_each(|(row, out)| {
                let drawn_for = match self.sharing {
                    MaskSharing::EachStep => {
                        (self.first_step + row / self.batch) * whole + taken + row % self.batch
                    }
                    MaskSharing::EachSequence => taken + row % self.batch,
                    MaskSharing::EachBatch => 0,
                };
                for (quad, out) in out[..self.width].chunks_mut(4).enumerate() {
                    let block = (drawn_for * quads + quad) as u32;
                    let words = philox([block, step, stream, index], self.key());
                    for (value, word) in out.iter_mut().zip(words) {
                        *value = if word < keep_below { scale } else { R::zero() };
                    }
                }
            });
    }
}
