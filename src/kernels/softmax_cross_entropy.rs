use super::{Arg, Call, Cost, IGNORE, Kernel, Scalar, Shader, fold, read, write};
use crate::memory::Memory;
use crate::numeric::real::{Number, Real};
use crate::tensor::Tensor;

/// Softmax cross-entropy in nats and its gradient: `dlogits = (softmax(logits) - onehot(label)) * weight`.
#[derive(Debug, Clone)]
pub struct SoftmaxCrossEntropy {
    /// `[rows, K]`.
    pub logits: Tensor,
    /// `[rows]`, below K, or [`IGNORE`].
    pub labels: Tensor,
    /// `[2]`, as [`LabelWeight`](super::LabelWeight) leaves it.
    pub weight: Tensor,
    /// `[rows, K]`.
    pub dlogits: Tensor,
    /// `[2, rows]`: the loss of each row, and 1 where the label has the largest logit (of equals, the first).
    pub scores: Tensor,
    /// K.
    pub classes: usize,
}

impl From<SoftmaxCrossEntropy> for Call {
    fn from(call: SoftmaxCrossEntropy) -> Call {
        Call::SoftmaxCrossEntropy(call)
    }
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
        Shader {
            parts: vec![
                include_str!("../../shaders/softmax_cross_entropy.wgsl"),
                include_str!("../../shaders/common/reduce.wgsl"),
                include_str!("../../shaders/common/math.wgsl"),
            ],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(self.labels.len(), 1)
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
                hits[row] = match value == own && k < label as usize {
                    true => R::zero(),
                    false => R::where_larger(value, own, R::zero(), hits[row]),
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
