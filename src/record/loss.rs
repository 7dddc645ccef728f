//! The loss and its gradient, recorded.

use super::{HeadTensors, ListTensors, RecordedNetwork};
use crate::error::{Error, Result};
use crate::kernels::{
    Call, CtcGradient, CtcPaths, HeadWeight, JoinScores, LabelSmoothing, LabelWeight, LogSumExp,
    MeanSquaredError, SoftmaxCrossEntropy, TargetWeight, ValueLoss, ValueLossKind, WeighOutputs,
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
            calls.extend(self.loss_calls(&self.head, &self.network.head));
        } else {
            calls.extend(self.losses_of_heads(None));
        }
        self.push(phase, calls);
    }

    /// The losses of several heads, with what training adds to each, and their sum, each times its
    /// weight.
    fn losses_of_heads(&self, training: Option<&[TrainingLoss]>) -> Vec<Call> {
        let mut calls: Vec<Call> = vec![];
        let heads = self.heads.iter().zip(self.network.each_head());
        for (index, (tensors, head)) in heads.enumerate() {
            let (weight, factor) = (tensors.label_weight, self.network.heads[index].weight);
            let options = training.map(|options| &options[index]);
            calls.push(weight_call(tensors, options.is_some()));
            calls.push(HeadWeight { weight, factor }.into());
            calls.extend(self.loss_calls(tensors, &head));
            if let Some(options) = options {
                calls.extend(training_calls(tensors, &head, options));
            }
            let join = JoinScores {
                scores: tensors.scores,
                head_weight: weight,
                weight: self.head.label_weight,
                out: self.head.scores,
                accumulate: index > 0,
            };
            calls.push(join.into());
        }
        calls
    }

    /// [`RecordedNetwork::loss`] in [`Phase::Forward`] with what training adds to each head, and
    /// with the weights of the outputs, if [`RecordedNetwork::add_weights`] has added them.
    ///
    /// # Panics
    /// Where `options` has not one element for each head.
    pub fn training_loss(&mut self, options: &[TrainingLoss]) {
        assert_eq!(options.len(), self.heads.len().max(1), "one for each head");
        let mut calls = vec![weight_call(&self.head, true)];
        if self.heads.is_empty() {
            calls.extend(self.loss_calls(&self.head, &self.network.head));
            calls.extend(training_calls(&self.head, &self.network.head, &options[0]));
        } else {
            calls.extend(self.losses_of_heads(Some(options)));
        }
        self.push(Phase::Forward, calls);
    }

    /// Adds the buffer of the weights `[rows]` of the outputs of head `index`, which training
    /// reads; a network with one head has index 0.
    pub fn add_weights(&mut self, index: usize) -> Tensor {
        let rows = self.each_head()[index].labels.len();
        let (kind, element) = (Kind::Activations, Element::Real);
        let name = match self.heads.len() {
            0 => "weights".to_string(),
            _ => format!("heads.{index}.weights"),
        };
        let weights = self.program.buffer(name, kind, element, [rows]);
        let head = self.heads.get_mut(index).unwrap_or(&mut self.head);
        head.weights = Some(weights);
        weights
    }

    /// Adds the buffers of lists of at most `longest` labels for each sequence, which the loss
    /// `ctc` reads, of each head that has it; call it before the loss is recorded. Does nothing for
    /// other losses.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] for 2^32 elements or more in one buffer.
    pub fn add_lists(&mut self, longest: usize) -> Result<()> {
        let heads = self.network.each_head().into_iter().enumerate();
        for (index, _) in heads.filter(|(_, head)| head.loss.takes_lists()) {
            let lists = self.create_lists(index, longest.max(1))?;
            let head = self.heads.get_mut(index).unwrap_or(&mut self.head);
            head.lists = Some(lists);
        }
        Ok(())
    }

    /// Creates the buffers of lists of head `index`.
    fn create_lists(&mut self, index: usize, longest: usize) -> Result<ListTensors> {
        let (steps, batch) = (self.steps, self.batch);
        let states = 2 * longest + 1;
        let size = 2 * (steps as u128) * (batch as u128) * states as u128;
        if size > u128::from(u32::MAX) {
            return Err(Error::LimitExceeded {
                what: format!("a batch of {batch} sequences of {steps} steps, {longest} labels"),
                needed: format!("{size} elements in one buffer"),
                device: "a kernel".into(),
                limit: u32::MAX.to_string(),
                remedy: "reduce the batch size".into(),
            });
        }
        let prefix = match self.network.heads.get(index) {
            Some(named) => format!("{}.", named.name),
            None => String::new(),
        };
        let (kind, program) = (Kind::Activations, &mut self.program);
        let name = |part: &str| format!("{prefix}{part}");
        let labels = program.buffer(name("lists"), kind, Element::Index, [longest, batch]);
        let mut real = |part, shape| program.buffer(name(part), kind, Element::Real, shape);
        Ok(ListTensors {
            labels,
            norms: real("norms", [2, steps * batch]),
            paths: real("paths", [2 * batch, steps * states]),
        })
    }

    /// The calls that compute the loss of each output of a head and its gradient.
    fn loss_calls(&self, tensors: &HeadTensors, head: &Head) -> Vec<Call> {
        match head.loss {
            Loss::Ctc { zero_infinity } => self.ctc_calls(tensors, head.size, zero_infinity),
            _ => vec![loss_call(tensors, head)],
        }
    }

    fn ctc_calls(&self, head: &HeadTensors, classes: usize, zero_infinity: bool) -> Vec<Call> {
        let lists = head.lists.expect("lists are added before the loss");
        let (logits, labels, lengths) = (head.outputs, head.labels, self.lengths);
        let (norms, paths) = (lists.norms, lists.paths);
        let paths_call = CtcPaths {
            logits,
            norms,
            lists: lists.labels,
            labels,
            lengths,
            paths,
            scores: head.scores,
            steps: self.steps,
            classes,
            zero_infinity,
        };
        let gradient = CtcGradient {
            logits,
            norms,
            lists: lists.labels,
            labels,
            lengths,
            paths,
            weight: head.label_weight,
            dlogits: head.doutputs,
            steps: self.steps,
            classes,
            zero_infinity,
        };
        let norms = LogSumExp {
            values: logits,
            norms,
            width: classes,
        };
        vec![norms.into(), paths_call.into(), gradient.into()]
    }
}

/// The call that computes the factor of the mean over a head's outputs, which have weights in
/// training.
fn weight_call(tensors: &HeadTensors, is_training: bool) -> Call {
    let (labels, weight) = (tensors.labels, tensors.label_weight);
    match tensors.weights.filter(|_| is_training) {
        None => LabelWeight { labels, weight }.into(),
        Some(weights) => TargetWeight {
            labels,
            weights,
            weight,
        }
        .into(),
    }
}

/// The calls that change the losses of a head and their gradients for training.
fn training_calls(tensors: &HeadTensors, head: &Head, options: &TrainingLoss) -> Vec<Call> {
    let mut calls: Vec<Call> = vec![];
    if options.label_smoothing > 0.0 && head.loss.takes_classes() {
        let smoothing = LabelSmoothing {
            logits: tensors.outputs,
            labels: tensors.labels,
            weight: tensors.label_weight,
            dlogits: tensors.doutputs,
            scores: tensors.scores,
            classes: head.size,
            smoothing: options.label_smoothing,
        };
        calls.push(smoothing.into());
    }
    if let Some(weights) = tensors.weights {
        let weigh = WeighOutputs {
            weights,
            gradient: tensors.doutputs,
            scores: tensors.scores,
            width: head.size,
        };
        calls.push(weigh.into());
    }
    calls
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
        Loss::CrossEntropy | Loss::MeanSquaredError | Loss::Ctc { .. } | Loss::Heads => None,
        Loss::MeanAbsoluteError => Some(ValueLossKind::Absolute),
        Loss::Huber { delta } => Some(ValueLossKind::Huber { delta }),
        Loss::Quantile { levels } => Some(ValueLossKind::Quantile(levels)),
        Loss::GaussianNll => Some(ValueLossKind::Gaussian),
        Loss::BinaryCrossEntropy => Some(ValueLossKind::BinaryCrossEntropy),
    }
}
