use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Computes the gradient of the steps that [`Pool`](super::Pool) reduces; zeros at padded steps.
#[derive(Debug, Clone)]
pub struct PoolBackward {
    pub kind: PoolBackwardKind,
    /// `[B, width]`: the gradient of the result.
    pub dout: Tensor,
    /// `[B]`: valid steps of each sequence. A length above T counts as T.
    pub lengths: Tensor,
    /// `[T, B, width]`.
    pub dsource: Tensor,
    pub steps: usize,
    pub batch: usize,
    pub width: usize,
}

/// How steps became one vector.
#[derive(Debug, Clone, Copy)]
pub enum PoolBackwardKind {
    Mean,
    /// The first step with the maximum has all of the gradient, as in `torch.max(dim)` and
    /// `nn.MaxPool1d`.
    Max {
        /// `[B, width]`: the step of the maximum.
        picked: Tensor,
    },
    /// A weighted sum, whose weights depend on the scores `source . query`.
    Weighted {
        /// `[T, B]`.
        weights: Tensor,
        /// `[T, B]`: the gradient of the scores.
        dscores: Tensor,
        /// `[width]`.
        query: Tensor,
    },
}

impl Kernel for PoolBackward {
    fn name(&self) -> &'static str {
        "pool_backward"
    }

    fn args(&self) -> Vec<Arg> {
        let mut args = vec![
            read("dout", self.dout),
            read("lengths", self.lengths),
            write("dsource", self.dsource),
        ];
        match self.kind {
            PoolBackwardKind::Mean => {}
            PoolBackwardKind::Max { picked } => args.push(read("picked", picked)),
            PoolBackwardKind::Weighted {
                weights,
                dscores,
                query,
            } => args.extend([
                read("weights", weights),
                read("dscores", dscores),
                read("query", query),
            ]),
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
        let part = match self.kind {
            PoolBackwardKind::Mean => include_str!("../../shaders/common/pool_mean_back.wgsl"),
            PoolBackwardKind::Max { .. } => {
                include_str!("../../shaders/common/pool_max_back.wgsl")
            }
            PoolBackwardKind::Weighted { .. } => {
                include_str!("../../shaders/common/pool_weighted_back.wgsl")
            }
        };
        Shader::new([include_str!("../../shaders/pool_backward.wgsl"), part])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.dsource.len(), 64)
    }

    fn cost(&self) -> Cost {
        let elements = self.dsource.len() as f64;
        Cost {
            flops: 3.0 * elements,
            bytes: 4.0 * elements,
        }
    }
}

impl PoolBackward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (dout, lengths) = (memory.read(&self.dout), memory.read_index(&self.lengths));
        let mut dsource = memory.write(&self.dsource);
        let width = self.width;
        for (row, dsource) in dsource.chunks_exact_mut(width).enumerate() {
            let (t, b) = (row / self.batch, row % self.batch);
            let length = (lengths[b] as usize).min(self.steps);
            if t >= length {
                dsource.fill(R::zero());
                continue;
            }
            let pairs = dsource.iter_mut().zip(&dout[b * width..][..width]);
            match self.kind {
                PoolBackwardKind::Mean => {
                    let count = R::of(length as f64);
                    pairs.for_each(|(own, &d)| *own = d / count);
                }
                PoolBackwardKind::Max { picked } => {
                    let picked = memory.read_index(&picked);
                    let picked = &picked[b * width..][..width];
                    for ((own, &d), &step) in pairs.zip(picked) {
                        *own = if step as usize == t { d } else { R::zero() };
                    }
                }
                PoolBackwardKind::Weighted {
                    weights,
                    dscores,
                    query,
                } => {
                    let (weight, dscore) = (memory.read(&weights)[row], memory.read(&dscores)[row]);
                    for ((own, &d), &q) in pairs.zip(memory.read(&query).iter()) {
                        *own = weight * d + dscore * q;
                    }
                }
            }
        }
    }
}
