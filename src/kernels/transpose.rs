use rayon::prelude::*;

use super::{Arg, Call, Cost, Kernel, Scalar, Shader, fold, read, write};
use crate::executor::Memory;
use crate::program::Tensor;
use crate::real::Real;

/// `out[j, i] = source[i, j]`: once a step for each recurrent matrix, so that scans read along rows in both directions.
#[derive(Debug, Clone)]
pub struct Transpose {
    /// `[rows, columns]`.
    pub source: Tensor,
    /// `[columns, rows]`.
    pub out: Tensor,
    pub rows: usize,
    pub columns: usize,
}

/// Rows and columns that the CPU takes together, and numbers that are worth a thread.
const SIDE: usize = 16;
const TASK: usize = 1 << 15;

impl From<Transpose> for Call {
    fn from(call: Transpose) -> Call {
        Call::Transpose(call)
    }
}

impl Kernel for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn args(&self) -> Vec<Arg> {
        vec![read("source", self.source), write("out", self.out)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("rows", Scalar::count(self.rows)),
            ("columns", Scalar::count(self.columns)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader {
            parts: vec![include_str!("../../shaders/transpose.wgsl")],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(self.rows * self.columns, 64)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: 8.0 * (self.rows * self.columns) as f64,
        }
    }
}

impl Transpose {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let source = memory.read(&self.source);
        let source = &*source;
        let mut out = memory.write(&self.out);
        out.par_chunks_mut(SIDE * self.rows)
            .with_min_len((TASK / (SIDE * self.rows)).max(1))
            .enumerate()
            .for_each(|(band, out)| {
                let width = out.len() / self.rows;
                // Tiles, so that lines of the source and of the result are each touched once.
                for above in (0..self.rows).step_by(SIDE) {
                    let height = SIDE.min(self.rows - above);
                    let mut tile = [R::zero(); SIDE * SIDE];
                    for i in 0..height {
                        let row = &source[(above + i) * self.columns + band * SIDE..][..width];
                        for (j, &value) in row.iter().enumerate() {
                            tile[j * SIDE + i] = value;
                        }
                    }
                    for (row, tile) in out.chunks_exact_mut(self.rows).zip(tile.chunks(SIDE)) {
                        row[above..][..height].copy_from_slice(&tile[..height]);
                    }
                }
            });
    }
}
