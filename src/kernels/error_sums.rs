use super::words::ignore_wgsl;
use super::{Arg, Cost, IGNORE, Kernel, Scalar, Shader, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Adds the errors of one target's predictions to the sums so far: at the last valid step of each
/// sequence, if there is a target at every step.
#[derive(Debug, Clone)]
pub struct ErrorSums {
    /// `[rows, size]`, of which the first column is the prediction. The rows are `[T, B]` if the
    /// head reads every step, else `[B]`.
    pub outputs: Tensor,
    /// `[rows]`.
    pub targets: Tensor,
    /// `[rows]`; [`IGNORE`] marks a row without a target.
    pub labels: Tensor,
    /// `[B]`: valid steps.
    pub lengths: Tensor,
    /// `[3]`: the absolute errors, the squared errors, and their number.
    pub sums: Tensor,
}

impl Kernel for ErrorSums {
    fn name(&self) -> &'static str {
        "error_sums"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("outputs", self.outputs),
            read("targets", self.targets),
            read("labels", self.labels),
            read("lengths", self.lengths),
            write("sums", self.sums),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("rows", Scalar::count(self.labels.len())),
            ("size", Scalar::count(self.size())),
            ("batch", Scalar::count(self.lengths.len())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/error_sums.wgsl"),
            include_str!("../../shaders/common/reduce.wgsl"),
        ])
        .with(ignore_wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        [1, 1, 1]
    }

    fn iterations(&self) -> usize {
        self.lengths.len() / 64 + 64
    }

    fn cost(&self) -> Cost {
        let sequences = self.lengths.len() as f64;
        Cost {
            flops: 5.0 * sequences,
            bytes: 16.0 * sequences,
        }
    }
}

impl ErrorSums {
    /// Outputs of a row.
    fn size(&self) -> usize {
        self.outputs.len() / self.labels.len()
    }

    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (outputs, targets) = (memory.read(&self.outputs), memory.read(&self.targets));
        let (labels, lengths) = (
            memory.read_index(&self.labels),
            memory.read_index(&self.lengths),
        );
        let (batch, size) = (lengths.len(), self.size());
        let mut sums = memory.write(&self.sums);
        for (b, &length) in lengths.iter().enumerate() {
            let steps = (length as usize).min(labels.len() / batch);
            let Some(step) = steps.checked_sub(1) else {
                continue;
            };
            let row = step * batch + b;
            if labels[row] != IGNORE {
                let error = outputs[row * size] - targets[row];
                sums[0] += error.or_larger(R::zero() - error);
                sums[1] += error * error;
                sums[2] += R::one();
            }
        }
    }
}
