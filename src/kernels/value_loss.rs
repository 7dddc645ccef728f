use super::words::{ignore_wgsl, missing_wgsl};
use super::{Arg, Cost, IGNORE, Kernel, MISSING, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::network::Quantiles;
use crate::numeric::real::{Number, Real};
use crate::tensor::Tensor;

/// The logarithm of the smallest variance of a normal distribution, 1e-6 as in PyTorch.
const SMALLEST_LOG_VARIANCE: f32 = -13.815_511;

/// Computes a loss of target values, averaged over the K' of K targets of a row that are not
/// missing, and its gradient times `weight`.
#[derive(Debug, Clone)]
pub struct ValueLoss {
    pub kind: ValueLossKind,
    /// `[rows, J * K]`: output j of target k is column `j * K + k`.
    pub predictions: Tensor,
    /// `[rows, K]`; [`MISSING`] for a target that is missing.
    pub targets: Tensor,
    /// `[rows]`; [`IGNORE`] marks an output without a target.
    pub labels: Tensor,
    /// `[2]`: the result of [`LabelWeight`](super::LabelWeight).
    pub weight: Tensor,
    /// `[rows, J * K]`.
    pub dpredictions: Tensor,
    /// `[2, rows]`: the loss of each row, and zeros.
    pub scores: Tensor,
    /// K.
    pub width: usize,
}

/// The loss of one target; the formulas are those of [`Loss`](crate::network::Loss).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueLossKind {
    /// The absolute error, with gradient 0 where it is 0.
    Absolute,
    /// Half the squared error up to `delta`, beyond it the absolute error with the same slope.
    Huber { delta: f32 },
    /// The mean pinball loss of a quantile for each level, with gradient 0 where the error is 0.
    Quantile(Quantiles),
    /// The negative log-likelihood of a normal distribution of this mean and logarithm of the
    /// variance. The gradient of a smaller variance than the smallest is that of the smallest.
    Gaussian,
    /// The binary cross-entropy of a logit.
    BinaryCrossEntropy,
}

impl ValueLossKind {
    /// Outputs for each target, and the number of them that are averaged.
    fn outputs(&self) -> (usize, usize) {
        match self {
            ValueLossKind::Quantile(levels) => [levels.levels().len(); 2].into(),
            ValueLossKind::Gaussian => (2, 1),
            _ => (1, 1),
        }
    }

    /// The shader's part with the loss, and generated declarations.
    fn part(&self) -> (&'static str, String) {
        match self {
            ValueLossKind::Absolute => (
                include_str!("../../shaders/common/loss_absolute.wgsl"),
                String::new(),
            ),
            ValueLossKind::Huber { .. } => (
                include_str!("../../shaders/common/loss_huber.wgsl"),
                String::new(),
            ),
            ValueLossKind::Quantile(levels) => (
                include_str!("../../shaders/common/loss_quantile.wgsl"),
                levels_wgsl(levels.levels()),
            ),
            ValueLossKind::Gaussian => (
                include_str!("../../shaders/common/loss_gaussian.wgsl"),
                format!("const SMALLEST_LOG_VARIANCE = {SMALLEST_LOG_VARIANCE:?};\n"),
            ),
            ValueLossKind::BinaryCrossEntropy => (
                include_str!("../../shaders/common/loss_binary.wgsl"),
                String::new(),
            ),
        }
    }

    /// The loss of output j of a target, and its gradient.
    fn output<R: Real>(&self, outputs: impl Fn(usize) -> R, j: usize, target: R) -> (R, R) {
        let (zero, one, half) = (R::zero(), R::one(), R::of(0.5));
        match self {
            ValueLossKind::Absolute => {
                let error = outputs(j) - target;
                let magnitude = R::where_larger(error, zero, error, -error);
                let negative = R::where_larger(zero, error, -one, zero);
                (magnitude, R::where_larger(error, zero, one, negative))
            }
            ValueLossKind::Huber { delta } => {
                let error = outputs(j) - target;
                let slope = error.clipped(R::of(f64::from(*delta)));
                (slope * (error - half * slope), slope)
            }
            ValueLossKind::Quantile(levels) => {
                let level = R::of(f64::from(levels.levels()[j]));
                let rest = target - outputs(j);
                let slope = R::where_larger(rest, zero, level, level - one);
                let of_smaller = R::where_larger(zero, rest, one - level, zero);
                let gradient = R::where_larger(rest, zero, -level, of_smaller);
                (slope * rest, gradient)
            }
            ValueLossKind::Gaussian => {
                let (error, spread) = (outputs(0) - target, outputs(1));
                let least = R::of(f64::from(SMALLEST_LOG_VARIANCE));
                let log_variance = R::where_larger(least, spread, least, spread);
                let precision = Number::exp(-log_variance);
                let square = error * error * precision;
                if j == 0 {
                    (half * (log_variance + square), error * precision)
                } else {
                    (zero, half * (one - square))
                }
            }
            ValueLossKind::BinaryCrossEntropy => {
                let logit = outputs(j);
                let magnitude = R::where_larger(logit, zero, logit, -logit);
                let positive = R::where_larger(logit, zero, logit, zero);
                let rest = Real::ln(one + Number::exp(-magnitude));
                let loss = (positive - logit * target) + rest;
                (loss, Number::sigmoid(logit) - target)
            }
        }
    }
}

/// Returns the number of these levels as `OUTPUTS` and `TERMS`, and the function `level_of`.
fn levels_wgsl(levels: &[f32]) -> String {
    let count = levels.len();
    let mut text = format!("const OUTPUTS = {count}u;\nconst TERMS = {count}u;\n");
    text += "fn level_of(j: u32) -> f32 {\n    var level = 0.0;\n";
    for (j, level) in levels.iter().enumerate() {
        text += &format!("    level = select(level, {level:?}, j == {j}u);\n");
    }
    text + "    return level;\n}\n"
}

impl Kernel for ValueLoss {
    fn name(&self) -> &'static str {
        "value_loss"
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
        let delta = match self.kind {
            ValueLossKind::Huber { delta } => delta,
            _ => 0.0,
        };
        vec![
            ("rows", Scalar::count(self.labels.len())),
            ("width", Scalar::count(self.width)),
            ("delta", Scalar::F32(delta)),
        ]
    }

    fn shader(&self) -> Shader {
        let (part, declarations) = self.kind.part();
        Shader::new([
            include_str!("../../shaders/value_loss.wgsl"),
            part,
            include_str!("../../shaders/common/math.wgsl"),
            include_str!("../../shaders/common/four.wgsl"),
        ])
        .with(declarations)
        .with(ignore_wgsl())
        .with(missing_wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.labels.len(), 64)
    }

    fn iterations(&self) -> usize {
        self.width * (2 + self.kind.outputs().0)
    }

    fn cost(&self) -> Cost {
        let elements = self.predictions.len() as f64;
        Cost {
            flops: 20.0 * elements,
            bytes: 8.0 * elements + 4.0 * self.targets.len() as f64,
        }
    }
}

impl ValueLoss {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (predictions, targets) = (memory.read(&self.predictions), memory.read(&self.targets));
        let labels = memory.read_index(&self.labels);
        let weight = memory.read(&self.weight)[0];
        let is_missing = |target: R| target.f64() == f64::from(MISSING);
        let (mut dpredictions, mut scores) =
            (memory.write(&self.dpredictions), memory.write(&self.scores));
        let (losses, rest) = scores.split_at_mut(labels.len());
        rest.fill(R::zero());
        let (each, terms) = self.kind.outputs();
        let (width, columns) = (self.width, each * self.width);
        for (row, d) in dpredictions.chunks_exact_mut(columns).enumerate() {
            let predictions = &predictions[row * columns..(row + 1) * columns];
            let targets = &targets[row * width..(row + 1) * width];
            let present = targets.iter().filter(|&&target| !is_missing(target));
            let count = present.count().max(1) * terms;
            let share = R::one() / R::of(count as f64);
            let scale = weight * share;
            let mut sum = R::zero();
            for (column, d) in d.iter_mut().enumerate() {
                let (j, k) = (column / width, column % width);
                if labels[row] == IGNORE || is_missing(targets[k]) {
                    *d = R::zero();
                    continue;
                }
                let outputs = |j: usize| predictions[j * width + k];
                let (loss, gradient) = self.kind.output(outputs, j, targets[k]);
                sum += loss;
                *d = gradient * scale;
            }
            losses[row] = sum * share;
        }
    }
}
