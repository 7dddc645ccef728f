//! The loss and its gradient, recorded.

use super::RecordedNetwork;
use crate::kernels::{Call, LabelWeight, MeanSquaredError, SoftmaxCrossEntropy};
use crate::program::Phase;

impl RecordedNetwork {
    /// Records, in `phase`, the computation of the scores and the outputs' gradient from outputs,
    /// labels and targets.
    pub fn loss(&mut self, phase: Phase) {
        let (head, size) = (&self.head, self.network.head.size);
        let (labels, weight, scores) = (head.labels, head.label_weight, head.scores);
        let loss: Call = match head.targets {
            None => SoftmaxCrossEntropy {
                logits: head.outputs,
                labels,
                weight,
                dlogits: head.doutputs,
                scores,
                classes: size,
            }
            .into(),
            Some(targets) => MeanSquaredError {
                predictions: head.outputs,
                targets,
                labels,
                weight,
                dpredictions: head.doutputs,
                scores,
                width: size,
            }
            .into(),
        };
        self.push(phase, vec![LabelWeight { labels, weight }.into(), loss]);
    }
}
