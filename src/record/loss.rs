//! The loss and its gradient, recorded.

use super::RecordedNetwork;
use crate::kernels::{
    Call, LabelSmoothing, LabelWeight, MeanSquaredError, SoftmaxCrossEntropy, TargetWeight,
    ValueLoss, ValueLossKind, WeighOutputs,
};
use crate::network::Loss;
use crate::program::Phase;
use crate::tensor::{Element, Kind, Tensor};

/// What training adds to the loss of a head; evaluations have none of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TrainingLoss {
    /// The part of each target of classes that is spread over all classes, in [0, 1).
    pub label_smoothing: f32,
}

impl RecordedNetwork {
    /// Records, in `phase`, the computation of the scores and the outputs' gradient from outputs,
    /// labels and targets.
    pub fn loss(&mut self, phase: Phase) {
        let (labels, weight) = (self.head.labels, self.head.label_weight);
        let loss = self.loss_call();
        self.push(phase, vec![LabelWeight { labels, weight }.into(), loss]);
    }

    /// [`RecordedNetwork::loss`] in [`Phase::Forward`] with what training adds, and with the weights
    /// of the outputs, if [`RecordedNetwork::add_weights`] has added them.
    pub fn training_loss(&mut self, options: TrainingLoss) {
        let head = &self.head;
        let (labels, weight) = (head.labels, head.label_weight);
        let mut calls: Vec<Call> = vec![match head.weights {
            None => LabelWeight { labels, weight }.into(),
            Some(weights) => TargetWeight {
                labels,
                weights,
                weight,
            }
            .into(),
        }];
        calls.push(self.loss_call());
        if options.label_smoothing > 0.0 && self.network.head.loss.takes_classes() {
            let smoothing = LabelSmoothing {
                logits: head.outputs,
                labels,
                weight,
                dlogits: head.doutputs,
                scores: head.scores,
                classes: self.network.head.size,
                smoothing: options.label_smoothing,
            };
            calls.push(smoothing.into());
        }
        if let Some(weights) = head.weights {
            let weigh = WeighOutputs {
                weights,
                gradient: head.doutputs,
                scores: head.scores,
                width: self.network.head.size,
            };
            calls.push(weigh.into());
        }
        self.push(Phase::Forward, calls);
    }

    /// Adds the buffer of the outputs' weights `[rows]`, which training reads.
    pub fn add_weights(&mut self) -> Tensor {
        let rows = self.head.labels.len();
        let (kind, element) = (Kind::Activations, Element::Real);
        let weights = self.program.buffer("weights", kind, element, [rows]);
        self.head.weights = Some(weights);
        weights
    }

    /// The call that computes the loss of each output and its gradient.
    fn loss_call(&self) -> Call {
        let (head, size) = (&self.head, self.network.head.size);
        let (labels, weight, scores) = (head.labels, head.label_weight, head.scores);
        let Some(targets) = head.targets else {
            return SoftmaxCrossEntropy {
                logits: head.outputs,
                labels,
                weight,
                dlogits: head.doutputs,
                scores,
                classes: size,
            }
            .into();
        };
        let Some(kind) = value_loss_kind(&self.network.head.loss) else {
            return MeanSquaredError {
                predictions: head.outputs,
                targets,
                labels,
                weight,
                dpredictions: head.doutputs,
                scores,
                width: size,
            }
            .into();
        };
        ValueLoss {
            kind,
            predictions: head.outputs,
            targets,
            labels,
            weight,
            dpredictions: head.doutputs,
            scores,
            width: self.network.head.targets(),
        }
        .into()
    }
}

/// The kind of a [`ValueLoss`]; `None` for losses with a kernel of their own.
fn value_loss_kind(loss: &Loss) -> Option<ValueLossKind> {
    match *loss {
        Loss::CrossEntropy | Loss::MeanSquaredError => None,
        Loss::MeanAbsoluteError => Some(ValueLossKind::Absolute),
        Loss::Huber { delta } => Some(ValueLossKind::Huber { delta }),
        Loss::Quantile { levels } => Some(ValueLossKind::Quantile(levels)),
        Loss::GaussianNll => Some(ValueLossKind::Gaussian),
        Loss::BinaryCrossEntropy => Some(ValueLossKind::BinaryCrossEntropy),
    }
}
