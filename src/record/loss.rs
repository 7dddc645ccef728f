//! The loss and its gradient, recorded.

use super::{HeadTensors, RecordedNetwork};
use crate::kernels::{
    Call, HeadWeight, JoinScores, LabelSmoothing, LabelWeight, MeanSquaredError,
    SoftmaxCrossEntropy, TargetWeight, ValueLoss, ValueLossKind, WeighOutputs,
};
use crate::network::{Head, Loss};
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
        let mut calls: Vec<Call> = vec![LabelWeight { labels, weight }.into()];
        if self.heads.is_empty() {
            calls.push(loss_call(&self.head, &self.network.head));
        } else {
            calls.extend(self.losses_of_heads());
        }
        self.push(phase, calls);
    }

    /// The losses of several heads, and their sum, each times its weight.
    fn losses_of_heads(&self) -> Vec<Call> {
        let mut calls: Vec<Call> = vec![];
        let heads = self.heads.iter().zip(self.network.each_head());
        for ((tensors, head), named) in heads.zip(&self.network.heads) {
            let (labels, weight) = (tensors.labels, tensors.label_weight);
            let factor = named.weight;
            calls.push(LabelWeight { labels, weight }.into());
            calls.push(HeadWeight { weight, factor }.into());
            calls.push(loss_call(tensors, &head));
            let join = JoinScores {
                scores: tensors.scores,
                head_weight: weight,
                weight: self.head.label_weight,
                out: self.head.scores,
                accumulate: calls.len() > 3,
            };
            calls.push(join.into());
        }
        calls
    }

    /// [`RecordedNetwork::loss`] in [`Phase::Forward`] with what training adds, and with the
    /// weights of the outputs, if [`RecordedNetwork::add_weights`] has added them.
    pub fn training_loss(&mut self, options: TrainingLoss) {
        if !self.heads.is_empty() {
            // Recipes of several heads have neither weights nor smoothing.
            return self.loss(Phase::Forward);
        }
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
        calls.push(loss_call(head, &self.network.head));
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
}

/// The call that computes the loss of each output of a head, and its gradient.
fn loss_call(tensors: &HeadTensors, head: &Head) -> Call {
    let (labels, weight, scores) = (tensors.labels, tensors.label_weight, tensors.scores);
    let Some(targets) = tensors.targets else {
        return SoftmaxCrossEntropy {
            logits: tensors.outputs,
            labels,
            weight,
            dlogits: tensors.doutputs,
            scores,
            classes: head.size,
        }
        .into();
    };
    let Some(kind) = value_loss_kind(&head.loss) else {
        return MeanSquaredError {
            predictions: tensors.outputs,
            targets,
            labels,
            weight,
            dpredictions: tensors.doutputs,
            scores,
            width: head.size,
        }
        .into();
    };
    ValueLoss {
        kind,
        predictions: tensors.outputs,
        targets,
        labels,
        weight,
        dpredictions: tensors.doutputs,
        scores,
        width: head.targets(),
    }
    .into()
}

/// The kind of a [`ValueLoss`]; `None` for losses with a kernel of their own.
fn value_loss_kind(loss: &Loss) -> Option<ValueLossKind> {
    match *loss {
        Loss::CrossEntropy | Loss::MeanSquaredError | Loss::Heads => None,
        Loss::MeanAbsoluteError => Some(ValueLossKind::Absolute),
        Loss::Huber { delta } => Some(ValueLossKind::Huber { delta }),
        Loss::Quantile { levels } => Some(ValueLossKind::Quantile(levels)),
        Loss::GaussianNll => Some(ValueLossKind::Gaussian),
        Loss::BinaryCrossEntropy => Some(ValueLossKind::BinaryCrossEntropy),
    }
}
