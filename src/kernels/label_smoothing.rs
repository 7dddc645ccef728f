use super::words::ignore_wgsl;
use super::{Arg, Cost, IGNORE, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Changes the cross-entropy and its gradient to those of smoothed targets
/// `(1 - s) onehot(label) + s / K` (Szegedy et al. 2016; `label_smoothing` of
/// `nn.CrossEntropyLoss`): the loss grows by `s (logit of the label - mean logit)`.
#[derive(Debug, Clone)]
pub struct LabelSmoothing {
    /// `[rows, K]`.
    pub logits: Tensor,
    /// `[rows]`: classes below K, or [`IGNORE`].
    pub labels: Tensor,
    /// `[2]`: the result of [`LabelWeight`](super::LabelWeight).
    pub weight: Tensor,
    /// `[rows, K]`: the gradient of [`SoftmaxCrossEntropy`](super::SoftmaxCrossEntropy).
    pub dlogits: Tensor,
    /// `[2, rows]`: its scores.
    pub scores: Tensor,
    /// K.
    pub classes: usize,
    /// s.
    pub smoothing: f32,
}

impl Kernel for LabelSmoothing {
    fn name(&self) -> &'static str {
        "label_smoothing"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("logits", self.logits),
            read("labels", self.labels),
            read("weight", self.weight),
            write("dlogits", self.dlogits),
            write("scores", self.scores),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("rows", Scalar::count(self.labels.len())),
            ("classes", Scalar::count(self.classes)),
            ("smoothing", Scalar::F32(self.smoothing)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/label_smoothing.wgsl"),
            include_str!("../../shaders/common/reduce.wgsl"),
        ])
        .with(ignore_wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.labels.len(), 1)
    }

    fn iterations(&self) -> usize {
        self.classes / 64 + 64
    }

    fn cost(&self) -> Cost {
        let elements = self.logits.len() as f64;
        Cost {
            flops: 5.0 * elements,
            bytes: 12.0 * elements,
        }
    }
}

impl LabelSmoothing {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (logits, labels) = (memory.read(&self.logits), memory.read_index(&self.labels));
        let scale = memory.read(&self.weight)[0];
        let (mut dlogits, mut scores) = (memory.write(&self.dlogits), memory.write(&self.scores));
        let share = R::one() / R::of(self.classes as f64);
        let smoothing = R::of(f64::from(self.smoothing));
        let rows = logits
            .chunks_exact(self.classes)
            .zip(dlogits.chunks_exact_mut(self.classes));
        for (row, (logits, dlogits)) in rows.enumerate() {
            let label = labels[row];
            if label == IGNORE {
                continue;
            }
            let mut sum = R::zero();
            for (k, (d, &logit)) in dlogits.iter_mut().zip(logits).enumerate() {
                sum += logit;
                let moved = if k == label as usize {
                    R::one() - share
                } else {
                    -share
                };
                *d += moved * smoothing * scale;
            }
            scores[row] += smoothing * (logits[label as usize] - sum * share);
        }
    }
}
