use super::words::ignore_wgsl;
use super::{Arg, Cost, IGNORE, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Reduces the valid steps of each sequence to one vector; zeros for a sequence without steps. Sums
/// are in the order of time.
#[derive(Debug, Clone)]
pub struct Pool {
    pub kind: PoolKind,
    /// `[T, B, width]`.
    pub source: Tensor,
    /// `[B]`: valid steps of each sequence. A length above T counts as T.
    pub lengths: Tensor,
    /// `[B, width]`.
    pub out: Tensor,
    pub steps: usize,
    pub batch: usize,
    pub width: usize,
}

/// How steps become one vector.
#[derive(Debug, Clone, Copy)]
pub enum PoolKind {
    Mean,
    /// The maximum of each element; NaN is the largest.
    Max {
        /// `[B, width]`: the first step that has the maximum; [`IGNORE`] without steps.
        picked: Tensor,
    },
    /// The sum of the steps, each times its weight.
    Weighted {
        /// `[T, B]`.
        weights: Tensor,
    },
}

impl Kernel for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn args(&self) -> Vec<Arg> {
        let mut args = vec![
            read("source", self.source),
            read("lengths", self.lengths),
            write("out", self.out),
        ];
        match self.kind {
            PoolKind::Mean => {}
            PoolKind::Max { picked } => args.push(write("picked", picked)),
            PoolKind::Weighted { weights } => args.push(read("weights", weights)),
        }
        args
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("width", Scalar::count(self.width)),
        ]
    }

    fn shader(&self) -> Shader {
        let shader = Shader::new([include_str!("../../shaders/pool.wgsl")]);
        match self.kind {
            PoolKind::Mean => shader.with(include_str!("../../shaders/common/pool_mean.wgsl")),
            PoolKind::Max { .. } => shader
                .with(include_str!("../../shaders/common/pool_max.wgsl"))
                .with(include_str!("../../shaders/common/key.wgsl"))
                .with(ignore_wgsl()),
            PoolKind::Weighted { .. } => {
                shader.with(include_str!("../../shaders/common/pool_weighted.wgsl"))
            }
        }
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.out.len(), 64)
    }

    fn iterations(&self) -> usize {
        self.steps + 64
    }

    fn cost(&self) -> Cost {
        let elements = self.source.len() as f64;
        Cost {
            flops: 2.0 * elements,
            bytes: 4.0 * elements,
        }
    }
}

impl Pool {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (source, lengths) = (memory.read(&self.source), memory.read_index(&self.lengths));
        let mut out = memory.write(&self.out);
        let width = self.width;
        let length = |b: usize| (lengths[b] as usize).min(self.steps);
        let row = |t: usize, b: usize| &source[(t * self.batch + b) * width..][..width];
        for (b, out) in out.chunks_exact_mut(width).enumerate() {
            out.fill(R::zero());
            match self.kind {
                PoolKind::Mean => {
                    for t in 0..length(b) {
                        let sums = out.iter_mut().zip(row(t, b));
                        sums.for_each(|(sum, &value)| *sum += value);
                    }
                    let count = R::of(length(b).max(1) as f64);
                    out.iter_mut().for_each(|sum| *sum = *sum / count);
                }
                PoolKind::Max { picked } => {
                    let mut picked = memory.write_index(&picked);
                    let picked = &mut picked[b * width..][..width];
                    picked.fill(IGNORE);
                    for t in 0..length(b) {
                        let steps = out.iter_mut().zip(picked.iter_mut()).zip(row(t, b));
                        for ((largest, picked), &value) in steps {
                            if *picked == IGNORE || is_larger(value, *largest) {
                                (*largest, *picked) = (value, t as u32);
                            }
                        }
                    }
                }
                PoolKind::Weighted { weights } => {
                    let weights = memory.read(&weights);
                    for t in 0..length(b) {
                        let weight = weights[t * self.batch + b];
                        let sums = out.iter_mut().zip(row(t, b));
                        sums.for_each(|(sum, &value)| *sum += weight * value);
                    }
                }
            }
        }
    }
}

/// Whether `a` is larger; NaN is the largest.
fn is_larger<R: Real>(a: R, b: R) -> bool {
    let is_nan = |value: R| value.f64().is_nan();
    a > b || (is_nan(a) && !is_nan(b))
}
