use super::words::{ignore_wgsl, missing_wgsl};
use super::{Arg, Cost, IGNORE, Kernel, MISSING, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Computes the squared error, averaged over the K' of K targets of a row that are not missing, and
/// its gradient: `dpredictions = 2 (predictions - targets) / K' * weight`.
#[derive(Debug, Clone)]
pub struct MeanSquaredError {
    /// `[rows, K]`.
    pub predictions: Tensor,
    /// `[rows, K]`; [`MISSING`] for a target that is missing.
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
        Shader::new([include_str!("../../shaders/mean_squared_error.wgsl")])
            .with(ignore_wgsl())
            .with(missing_wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.labels.len(), 64)
    }

    fn iterations(&self) -> usize {
        2 * self.width
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
        let weight = memory.read(&self.weight)[0];
        let is_missing = |target: R| target.f64() == f64::from(MISSING);
        let (mut dpredictions, mut scores) =
            (memory.write(&self.dpredictions), memory.write(&self.scores));
        let (losses, rest) = scores.split_at_mut(labels.len());
        rest.fill(R::zero());
        for (row, d) in dpredictions.chunks_exact_mut(self.width).enumerate() {
            let own = row * self.width..(row + 1) * self.width;
            let (predictions, targets) = (&predictions[own.clone()], &targets[own]);
            let present = targets
                .iter()
                .filter(|&&target| !is_missing(target))
                .count();
            let share = R::one() / R::of(present.max(1) as f64);
            let scale = R::of(2.0) * weight * share;
            let mut sum = R::zero();
            for ((d, &prediction), &target) in d.iter_mut().zip(predictions).zip(targets) {
                let difference = if labels[row] == IGNORE || is_missing(target) {
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
