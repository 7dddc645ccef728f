use super::words::ignore_wgsl;
use super::{Arg, Cost, IGNORE, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Computes the squared error, averaged over K, and its gradient:
/// `dpredictions = 2 (predictions - targets) / K * weight`.
#[derive(Debug, Clone)]
pub struct MeanSquaredError {
    /// `[rows, K]`.
    pub predictions: Tensor,
    /// `[rows, K]`.
    pub targets: Tensor,
    /// `[rows]`; [`IGNORE`] marks an output without a target.
    pub labels: Tensor,
    /// `[2]`: the result of [`LabelWeight`](super::LabelWeight).
    pub weight: Tensor,
    /// `[rows, K]`.
    pub dpredictions: Tensor,
    /// `[2, rows]`: the loss of each row, and zeros.
    pub scores: Tensor,
    /// K.
    pub width: usize,
}

impl Kernel for MeanSquaredError {
    fn name(&self) -> &'static str {
        "mean_squared_error"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("predictions", self.predictions),
            read("targets", self.targets),
            read("labels", self.labels),
            read("weight", self.weight),
            write("dpredictions", self.dpredictions),
            write("scores", self.scores),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("rows", Scalar::count(self.labels.len())),
            ("width", Scalar::count(self.width)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/mean_squared_error.wgsl")]).with(ignore_wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.labels.len(), 64)
    }

    fn iterations(&self) -> usize {
        self.width
    }

    fn cost(&self) -> Cost {
        let elements = self.predictions.len() as f64;
        Cost {
            flops: 4.0 * elements,
            bytes: 12.0 * elements,
        }
    }
}

impl MeanSquaredError {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (predictions, targets) = (memory.read(&self.predictions), memory.read(&self.targets));
        let labels = memory.read_index(&self.labels);
        let share = R::one() / R::of(self.width as f64);
        let scale = R::of(2.0) * memory.read(&self.weight)[0] * share;
        let (mut dpredictions, mut scores) =
            (memory.write(&self.dpredictions), memory.write(&self.scores));
        let (losses, rest) = scores.split_at_mut(labels.len());
        rest.fill(R::zero());
        for (row, d) in dpredictions.chunks_exact_mut(self.width).enumerate() {
            let own = row * self.width..(row + 1) * self.width;
            let mut sum = R::zero();
            for ((d, &prediction), &target) in d
                .iter_mut()
                .zip(&predictions[own.clone()])
                .zip(&targets[own])
            {
                let difference = if labels[row] == IGNORE {
                    R::zero()
                } else {
                    prediction - target
                };
                sum += difference * difference;
                *d = difference * scale;
            }
            losses[row] = sum * share;
        }
    }
}
