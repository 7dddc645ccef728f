use super::words::ignore_wgsl;
use super::{Arg, Cost, IGNORE, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::{Number, Real};
use crate::tensor::Tensor;

/// Computes the softmax cross-entropy in nats and its gradient:
/// `dlogits = (softmax(logits) - onehot(label)) * weight`.
#[derive(Debug, Clone)]
pub struct SoftmaxCrossEntropy {
    /// `[rows, K]`.
    pub logits: Tensor,
    /// `[rows]`: classes below K, or [`IGNORE`].
    pub labels: Tensor,
    /// `[2]`: the result of [`LabelWeight`](super::LabelWeight).
    pub weight: Tensor,
    /// `[rows, K]`.
    pub dlogits: Tensor,
    /// `[2, rows]`: the loss of each row; then 1 if the label has the largest logit (the first of
    /// equal ones), else 0.
    pub scores: Tensor,
    /// K.
    pub classes: usize,
}

impl Kernel for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
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
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/softmax_cross_entropy.wgsl"),
            include_str!("../../shaders/common/reduce.wgsl"),
            include_str!("../../shaders/common/math.wgsl"),
            include_str!("../../shaders/common/four.wgsl"),
        ])
        .with(ignore_wgsl())
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.labels.len(), 1)
    }

    fn iterations(&self) -> usize {
        self.classes / 16 + 64
    }

    fn cost(&self) -> Cost {
        let elements = self.logits.len() as f64;
        Cost {
            flops: 20.0 * elements,
            bytes: 8.0 * elements,
        }
    }
}

impl SoftmaxCrossEntropy {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (logits, labels) = (memory.read(&self.logits), memory.read_index(&self.labels));
        let scale = memory.read(&self.weight)[0];
        let (mut dlogits, mut scores) = (memory.write(&self.dlogits), memory.write(&self.scores));
        let (losses, hits) = scores.split_at_mut(labels.len());
        let rows = logits
            .chunks_exact(self.classes)
            .zip(dlogits.chunks_exact_mut(self.classes));
        for (row, (logits, dlogits)) in rows.enumerate() {
            let label = labels[row];
            if label == IGNORE {
                dlogits.fill(R::zero());
                (losses[row], hits[row]) = (R::zero(), R::zero());
                continue;
            }
            let own = logits[label as usize];
            let largest = logits
                .iter()
                .fold(logits[0], |largest, &value| value.or_larger(largest));
            hits[row] = R::one();
            for (k, &value) in logits.iter().enumerate() {
                hits[row] = if value == own && k < label as usize {
                    R::zero()
                } else {
                    R::where_larger(value, own, R::zero(), hits[row])
                };
            }
            let mut sum = R::zero();
            for (d, &value) in dlogits.iter_mut().zip(logits) {
                *d = Number::exp(value - largest);
                sum += *d;
            }
            losses[row] = Real::ln(sum) + (largest - own);
            for (k, d) in dlogits.iter_mut().enumerate() {
                let target = if k == label as usize {
                    R::one()
                } else {
                    R::zero()
                };
                *d = (*d / sum - target) * scale;
            }
        }
    }
}
