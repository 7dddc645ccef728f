//! Scores and evaluations of each of several heads.

use serde::{Deserialize, Serialize};

use super::evaluation::{Evaluation, evaluate_beside};
use super::position::Totals;
use super::scores::{Scores, SplitMetrics};
use crate::backend::OpenDevice;
use crate::data::Dataset;
use crate::data::labelled::{LabelledData, LabelledRequest};
use crate::error::{Error, Result};
use crate::kernels::IGNORE;
use crate::model::Model;
use crate::network::Network;
use crate::record::RecordedNetwork;

/// Loss and accuracy of one of several heads.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadScores {
    /// The name of the head.
    pub name: String,
    /// The scores, with a loss that is not times the head's weight.
    pub scores: Scores,
    /// Further metrics of a head of lists of labels.
    pub metrics: Option<SplitMetrics>,
}

/// The metrics of one of several heads in an epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HeadMetrics {
    /// The name of the head.
    pub name: String,
    /// The loss on the training split, not times the head's weight; likewise the other losses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_loss: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_accuracy: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// For a head with lists of labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_metrics: Option<SplitMetrics>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_metrics: Option<SplitMetrics>,
}

impl HeadMetrics {
    /// Returns the metrics of each head by its scores on each split; empty where there is one head.
    pub(super) fn of(
        network: &Network,
        [train, validation, test]: [&[HeadScores]; 3],
    ) -> Vec<HeadMetrics> {
        let heads = network.heads.iter().enumerate();
        let loss = |of: &[HeadScores], n: usize| of.get(n).map(|head| head.scores.loss);
        let accuracy = |of: &[HeadScores], n: usize| of.get(n)?.scores.accuracy;
        let metrics = |of: &[HeadScores], n: usize| of.get(n)?.metrics;
        heads
            .map(|(n, head)| HeadMetrics {
                name: head.name.clone(),
                train_loss: loss(train, n),
                train_accuracy: accuracy(train, n),
                validation_loss: loss(validation, n),
                validation_accuracy: accuracy(validation, n),
                test_loss: loss(test, n),
                test_accuracy: accuracy(test, n),
                validation_metrics: metrics(validation, n),
                test_metrics: metrics(test, n),
            })
            .collect()
    }

    /// The scores on the training split.
    pub fn train_scores(&self) -> Option<HeadScores> {
        self.scores(self.train_loss, self.train_accuracy, None)
    }

    /// The scores on the validation split.
    pub fn validation_scores(&self) -> Option<HeadScores> {
        let (loss, accuracy) = (self.validation_loss, self.validation_accuracy);
        self.scores(loss, accuracy, self.validation_metrics)
    }

    /// The scores on the test split.
    pub fn test_scores(&self) -> Option<HeadScores> {
        self.scores(self.test_loss, self.test_accuracy, self.test_metrics)
    }

    fn scores(
        &self,
        loss: Option<f64>,
        accuracy: Option<f64>,
        metrics: Option<SplitMetrics>,
    ) -> Option<HeadScores> {
        Some(HeadScores {
            name: self.name.clone(),
            scores: Scores {
                loss: loss?,
                accuracy,
                last_step_loss: None,
            },
            metrics,
        })
    }
}

/// The scores of several heads in parentheses, each after its name; empty for one head.
pub fn heads_text(heads: impl IntoIterator<Item = HeadScores>) -> String {
    let heads = heads.into_iter();
    let each: Vec<String> = heads
        .map(|head| {
            let rate = head.metrics.and_then(|metrics| metrics.label_error_rate);
            let rate = rate.map(|rate| format!(" label error rate {rate:.4}"));
            format!("{} {}{}", head.name, head.scores, rate.unwrap_or_default())
        })
        .collect();
    if each.is_empty() {
        String::new()
    } else {
        format!(" ({})", each.join(", "))
    }
}

/// The scores of each head of a network over these totals.
pub(super) fn head_scores(network: &RecordedNetwork, totals: &Totals) -> Vec<HeadScores> {
    let named = network.network.heads.iter().zip(totals.heads());
    named
        .map(|(head, totals)| HeadScores {
            name: head.name.clone(),
            scores: Scores {
                // The device records the loss with the head's weight.
                loss: totals.loss() / f64::from(head.weight),
                accuracy: head.loss.takes_classes().then(|| totals.accuracy()),
                last_step_loss: None,
            },
            metrics: None,
        })
        .collect()
}

/// The evaluation of one of several heads.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadEvaluation {
    /// The name of the head.
    pub name: String,
    /// The factor of its loss in the sum.
    pub weight: f64,
    /// The evaluation, as that of a model with this head alone.
    pub evaluation: Evaluation,
}

/// Evaluates each of several heads; the loss is the sum of theirs, each times its weight.
pub(super) fn evaluate_heads(
    model: &Model,
    data: &Dataset,
    train: Option<&Dataset>,
    batch_size: usize,
    device: &OpenDevice,
) -> Result<Evaluation> {
    let mut heads = vec![];
    for (index, named) in model.network.heads.iter().enumerate() {
        let own = model.of_head(index);
        let train = train.map(|train| train.of_head(index));
        let data = data.of_head(index);
        if data.labels().iter().all(|&label| label == IGNORE) {
            let problem = "no output of the data has a target; an evaluation needs at least one";
            return Err(of_head(&named.name, Error::data(problem)));
        }
        let evaluation = evaluate_beside(&own, &data, train.as_ref(), batch_size, device);
        heads.push(HeadEvaluation {
            name: named.name.clone(),
            weight: named.weight.into(),
            evaluation: evaluation.map_err(|error| of_head(&named.name, error))?,
        });
    }
    let weighted = heads.iter().map(|head| head.weight * head.evaluation.loss);
    let seconds = heads.iter().map(|head| head.evaluation.seconds).sum();
    Ok(Evaluation {
        loss: weighted.sum(),
        accuracy: None,
        last_step_loss: None,
        ranks: None,
        confusion: None,
        metrics: None,
        sequences: data.count,
        sequences_per_second: data.count as f64 / f64::max(seconds, 1e-9),
        seconds,
        heads,
    })
}

/// Adds the name of a head to an error about its data.
fn of_head(name: &str, error: Error) -> Error {
    match error {
        Error::Data(problem) => Error::Data(format!("head `{name}`: {problem}")),
        Error::Usage(problem) => Error::Usage(format!("head `{name}`: {problem}")),
        other => other,
    }
}

/// Reads a file with the targets of every head; see
/// [`DataSource::load_labelled`](crate::data::DataSource::load_labelled).
pub(super) fn load_labelled(model: &Model, request: &LabelledRequest) -> Result<LabelledData> {
    let recipe = &model.recipe;
    if model.network.heads.is_empty() {
        return recipe.data.source().load_labelled(request);
    }
    let load = |index: usize| {
        let preparation = model.preparation.of_head(index);
        let of_head = recipe.of_head(index);
        of_head.data.source().load_labelled(&LabelledRequest {
            preparation: &preparation,
            outputs: model.network.each_head()[index].targets(),
            ..*request
        })
    };
    let heads = 0..model.network.heads.len();
    let mut each = heads.map(load).collect::<Result<Vec<LabelledData>>>()?;
    let datasets: Vec<&Dataset> = each.iter().map(|labelled| &labelled.data).collect();
    let data = recipe.joined_datasets(&datasets)?;
    let notes = each
        .iter_mut()
        .flat_map(|labelled| std::mem::take(&mut labelled.notes));
    let mut all: Vec<String> = vec![];
    for note in notes {
        if !all.contains(&note) {
            all.push(note);
        }
    }
    let first = each.swap_remove(0);
    Ok(LabelledData {
        data,
        notes: all,
        ..first
    })
}
