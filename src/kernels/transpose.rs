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
        let mut out = memory.write(&self.out);
        for (j, row) in out.chunks_exact_mut(self.rows).enumerate() {
            row.iter_mut()
                .enumerate()
                .for_each(|(i, out)| *out = source[i * self.columns + j]);
        }
    }
}
