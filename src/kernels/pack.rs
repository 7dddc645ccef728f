use rayon::prelude::*;

use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Packs matrices for matmuls in scans and steps on a GPU:
/// `out[b, q, j, i] = source[b, 4 q + i, j]`, and zeros past the last term. An invocation then
/// loads the weights of four terms as one vec4, and neighbouring invocations neighbouring vec4s.
#[derive(Debug, Clone)]
pub struct Pack {
    /// `[blocks, inner, columns]`, or `[blocks, columns, inner]` if `transposed`.
    pub source: Tensor,
    /// `[blocks, ceil(inner / 4), columns, 4]`. Its offset is a multiple of 4, since a GPU binds it
    /// as vec4s.
    pub out: Tensor,
    /// Number of matrices.
    pub blocks: usize,
    /// Terms of a matmul: the inner dimension.
    pub inner: usize,
    pub columns: usize,
    pub transposed: bool,
}

/// Elements of one CPU task.
const TASK_ELEMENTS: usize = 1 << 15;

impl Kernel for Pack {
    fn name(&self) -> &'static str {
        "pack"
    }

    fn args(&self) -> Vec<Arg> {
        debug_assert!(self.out.offset.is_multiple_of(4));
        vec![read("source", self.source), write("out", self.out)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("blocks", Scalar::count(self.blocks)),
            ("inner", Scalar::count(self.inner)),
            ("columns", Scalar::count(self.columns)),
            ("transposed", Scalar::from(self.transposed)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/pack.wgsl")])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(Pack::size(self.sizes()) / 4, 64)
    }

    fn cost(&self) -> Cost {
        let elements: usize = self.sizes().iter().product();
        Cost {
            flops: 0.0,
            bytes: 4.0 * (elements + Pack::size(self.sizes())) as f64,
        }
    }
}

impl Pack {
    /// Returns `[blocks, inner, columns]`.
    fn sizes(&self) -> [usize; 3] {
        [self.blocks, self.inner, self.columns]
    }

    /// Returns the number of elements of the result of `[blocks, inner, columns]`.
    pub fn size([blocks, inner, columns]: [usize; 3]) -> usize {
        blocks * inner.next_multiple_of(4) * columns
    }

    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (inner, columns) = (self.inner, self.columns);
        let source = memory.read(&self.source);
        let source = &*source;
        let mut out = memory.write(&self.out);
        out.par_chunks_mut(4 * columns)
            .with_min_len((TASK_ELEMENTS / (4 * columns)).max(1))
            .enumerate()
            .for_each(|(row, out)| {
                let (block, first) = (row / inner.div_ceil(4), row % inner.div_ceil(4) * 4);
                let block = &source[block * inner * columns..][..inner * columns];
                for (column, four) in out.chunks_exact_mut(4).enumerate() {
                    for (k, value) in (first..).zip(four) {
                        *value = if k >= inner {
                            R::zero()
                        } else if self.transposed {
                            block[column * inner + k]
                        } else {
                            block[k * columns + column]
                        };
                    }
                }
            });
    }
}
