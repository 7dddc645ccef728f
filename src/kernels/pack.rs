use rayon::prelude::*;

use super::{Arg, Call, Cost, Kernel, Scalar, Shader, fold, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// `out[b, q, j, i] = source[b, 4 q + i, j]`, and zeros past the last term: once a step for each recurrent matrix and direction, so
/// that a GPU's scans load the weights of four terms as one vector, neighbours side by side.
#[derive(Debug, Clone)]
pub struct Pack {
    /// `[blocks, terms, columns]`, or `[blocks, columns, terms]` where it is `transposed`.
    pub source: Tensor,
    /// `[blocks, ceil(terms / 4), columns, 4]`, a multiple of 4 numbers from its buffer's beginning.
    pub out: Tensor,
    pub blocks: usize,
    pub terms: usize,
    pub columns: usize,
    pub transposed: bool,
}

/// Numbers that are worth a thread.
const TASK: usize = 1 << 15;

impl From<Pack> for Call {
    fn from(call: Pack) -> Call {
        debug_assert!(call.out.offset.is_multiple_of(4));
        Call::Pack(call)
    }
}

impl Kernel for Pack {
    fn name(&self) -> &'static str {
        "pack"
    }

    fn args(&self) -> Vec<Arg> {
        vec![read("source", self.source), write("out", self.out)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("blocks", Scalar::count(self.blocks)),
            ("terms", Scalar::count(self.terms)),
            ("columns", Scalar::count(self.columns)),
            ("transposed", Scalar::U32(self.transposed.into())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader {
            parts: vec![include_str!("../../shaders/pack.wgsl")],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(Pack::size(self.sizes()) / 4, 64)
    }

    fn cost(&self) -> Cost {
        let numbers: usize = self.sizes().iter().product();
        Cost {
            flops: 0.0,
            bytes: 4.0 * (numbers + Pack::size(self.sizes())) as f64,
        }
    }
}

impl Pack {
    fn sizes(&self) -> [usize; 3] {
        [self.blocks, self.terms, self.columns]
    }

    /// Numbers of the result, of so many blocks, terms and columns.
    pub fn size([blocks, terms, columns]: [usize; 3]) -> usize {
        blocks * terms.next_multiple_of(4) * columns
    }

    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (terms, columns) = (self.terms, self.columns);
        let source = memory.read(&self.source);
        let source = &*source;
        let mut out = memory.write(&self.out);
        out.par_chunks_mut(4 * columns)
            .with_min_len((TASK / (4 * columns)).max(1))
            .enumerate()
            .for_each(|(row, out)| {
                let (block, first) = (row / terms.div_ceil(4), row % terms.div_ceil(4) * 4);
                let block = &source[block * terms * columns..][..terms * columns];
                for (column, four) in out.chunks_exact_mut(4).enumerate() {
                    for (k, value) in (first..).zip(four) {
                        *value = match self.transposed {
                            _ if k >= terms => R::zero(),
                            true => block[column * terms + k],
                            false => block[k * columns + column],
                        };
                    }
                }
            });
    }
}
