//! A model's error compared with baselines, which need no network.

use super::heads::{HeadMetrics, HeadScores};
use super::scores::{Scores, loss_text};
use crate::data::baselines::{self, Baseline};
use crate::data::preparation::Preparation;
use crate::data::{Dataset, Splits, Targets};
use crate::error::Result;
use crate::metrics::{OutputMetrics, evenly};
use crate::network::{Loss, Reads};
use crate::recipe::{DataRecipe, Recipe};

/// The most frequent class of the training split as the answer for every sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct MajorityBaseline {
    /// The name of the class.
    pub class: String,
    /// On the split that the model is compared on.
    pub accuracy: f64,
}

/// A model's scores on a split beside those of baselines.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineComparison {
    accuracy: Option<f64>,
    /// `None` for target values, and without a training split.
    pub majority: Option<MajorityBaseline>,
    /// The model's loss at the last step of each sequence.
    pub loss: f64,
    pub baselines: Vec<Baseline>,
    /// What an error of 1 is in the data's own units; where there is one target.
    unit: Option<f64>,
    /// Those of each of several heads, after its name.
    pub heads: Vec<(String, BaselineComparison)>,
}

impl BaselineComparison {
    /// Compares a model of this loss that has these `scores` on `data` with baselines that are
    /// fitted to `train`, the model's own training split. Without it there are no baselines.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::error::Error::Failed) where a linear regression cannot be computed.
    pub fn new(
        recipe: &DataRecipe,
        loss: Loss,
        preparation: &Preparation,
        train: Option<&Dataset>,
        data: &Dataset,
        scores: &Scores,
    ) -> Result<BaselineComparison> {
        // Several heads have no common unit and no baseline of all.
        let train = train.filter(|_| !matches!(data.targets, Targets::Heads(_)));
        let unit = match (&preparation.targets[..], data.targets.outputs()) {
            // Only a squared error has a root in these units.
            _ if loss != Loss::MeanSquaredError => None,
            (&[normal], _) => Some(normal.deviation),
            ([], 1) => Some(1.0),
            _ => None,
        };
        let baselines = match train {
            Some(train) => {
                let forecast = recipe.source().forecast();
                baselines::of_values_by(loss, train, data, forecast.as_ref(), preparation)?
            }
            None => vec![],
        };
        let majority = train.and_then(|train| baselines::majority(train, data));
        Ok(BaselineComparison {
            accuracy: scores.accuracy,
            majority: majority.map(|majority| MajorityBaseline {
                class: preparation.class(majority.class),
                accuracy: majority.accuracy,
            }),
            loss: scores.last_step_loss.unwrap_or(scores.loss),
            baselines,
            unit,
            heads: vec![],
        })
    }

    /// Compares the model of a run, which has these scores on the test split, and each of several
    /// heads; `None` without a test split, and before it is scored.
    ///
    /// # Errors
    /// Those of [`BaselineComparison::new`].
    pub fn of_run(
        recipe: &Recipe,
        data: &Splits,
        scores: Option<Scores>,
        heads: &[HeadMetrics],
    ) -> Result<Option<BaselineComparison>> {
        let (Some(scores), Some(test)) = (scores, &data.test) else {
            return Ok(None);
        };
        let train = data.fitted();
        let mut compared = BaselineComparison::new(
            &recipe.data,
            recipe.network.head.loss,
            &data.preparation,
            Some(&train),
            test,
            &scores,
        )?;
        // Baselines predict the last step, whose own loss is not recorded for each head.
        let heads = heads.iter().enumerate();
        for (index, head) in heads.filter(|_| recipe.network.head.reads != Reads::Every) {
            let Some(HeadScores { name, scores, .. }) = head.test_scores() else {
                continue;
            };
            let of_head = recipe.of_head(index);
            let own = BaselineComparison::new(
                &of_head.data,
                of_head.network.head.loss,
                &data.preparation.of_head(index),
                Some(&train.of_head(index)),
                &test.of_head(index),
                &scores,
            )?;
            compared.heads.push((name, own));
        }
        Ok(Some(compared))
    }

    /// The root of a mean squared error in the data's own units; where there is one target.
    pub fn rmse(&self, loss: f64) -> Option<f64> {
        self.unit.map(|unit| loss.sqrt() * unit)
    }

    /// A table of the root mean squared errors of each target in its own units by the steps ahead,
    /// at most `most` of them, with a row of headings; empty where the network predicts one step.
    /// `metrics` are the model's.
    pub fn ahead_rows(&self, metrics: Option<&OutputMetrics>, most: usize) -> Vec<Vec<String>> {
        let targets = match metrics {
            Some(OutputMetrics::Values(targets)) => &targets[..],
            _ => &[],
        };
        let mut rows = vec![];
        for (k, target) in targets
            .iter()
            .enumerate()
            .filter(|(_, each)| !each.ahead.is_empty())
        {
            let steps = evenly(target.ahead.len(), most);
            let row = |name: &str, errors: &dyn Fn(usize) -> Option<f64>| -> Vec<String> {
                let text = |error: Option<f64>| error.map_or("-".into(), error_text);
                let cells = steps.iter().map(|&n| text(errors(n)));
                let squares = (0..target.ahead.len()).map(|n| Some(errors(n)?.powi(2)));
                let squares: Option<Vec<f64>> = squares.collect();
                let all = squares.map(|all| (all.iter().sum::<f64>() / all.len() as f64).sqrt());
                std::iter::once(name.to_string())
                    .chain(cells)
                    .chain([text(all)])
                    .collect()
            };
            let ahead = steps
                .iter()
                .map(|&n| format!("{} AHEAD", target.ahead[n].ahead));
            let title = match target.name.as_str() {
                "" => "RMSE".to_string(),
                name => format!("RMSE, {name}"),
            };
            rows.push([vec![title], ahead.collect(), vec!["ALL".into()]].concat());
            rows.push(row("this model", &|n| Some(target.ahead[n].metrics.rmse)));
            for baseline in &self.baselines {
                let errors =
                    |n: usize| Some(baseline.errors.get(n * targets.len() + k)?.as_ref()?.rmse);
                rows.push(row(&baseline.name, &errors));
            }
        }
        rows
    }

    /// The names of the baselines that the model does not beat.
    pub fn unbeaten(&self) -> Vec<&str> {
        let baselines = self.baselines.iter();
        let unbeaten = baselines.filter(|each| each.loss.is_some_and(|loss| loss <= self.loss));
        let mut names: Vec<&str> = unbeaten.map(|each| each.name.as_str()).collect();
        let accuracies = self.accuracy.zip(self.majority.as_ref());
        if accuracies.is_some_and(|(accuracy, majority)| accuracy <= majority.accuracy) {
            names.push("the most frequent class");
        }
        names
    }

    /// A table with a row of headings, the model and the baselines; empty without baselines.
    pub fn rows(&self) -> Vec<[String; 3]> {
        if self.baselines.is_empty() {
            return vec![];
        }
        let row = |name: &str, loss: Option<f64>| {
            let rmse = loss.and_then(|loss| self.rmse(loss));
            [
                name.to_string(),
                loss.map_or("the window is too short".into(), loss_text),
                rmse.map_or(String::new(), |rmse| format!("{rmse:.4}")),
            ]
        };
        let rmse = self.unit.map_or("", |_| "RMSE, OWN UNITS");
        let mut rows = vec![
            ["AT THE LAST STEP", "LOSS", rmse].map(str::to_string),
            row("this model", Some(self.loss)),
        ];
        rows.extend(self.baselines.iter().map(|each| row(&each.name, each.loss)));
        rows
    }

    /// The baselines as a name with a loss, an error in the data's own units, and an accuracy; the
    /// most frequent class is the last.
    pub fn scores(&self) -> Vec<(String, [Option<f64>; 3])> {
        let score = |each: &Baseline| {
            let rmse = each.loss.and_then(|loss| self.rmse(loss));
            (each.name.clone(), [each.loss, rmse, None])
        };
        let majority = self.majority.iter().map(|majority| {
            let name = format!("the most frequent class, {}", majority.class);
            (name, [None, None, Some(majority.accuracy)])
        });
        self.baselines.iter().map(score).chain(majority).collect()
    }

    /// A sentence on the most frequent class; where there are classes.
    pub fn majority_remark(&self) -> Option<String> {
        let MajorityBaseline { class, accuracy } = self.majority.as_ref()?;
        Some(format!(
            "the most frequent class alone has accuracy {accuracy:.4} \
             (`{class}`, the most frequent one of the training split)"
        ))
    }

    /// A sentence on the baselines that the model does not beat, if there are any.
    pub fn verdict(&self) -> Option<String> {
        let unbeaten = self.unbeaten();
        (!unbeaten.is_empty())
            .then(|| format!("the model does not beat {}", unbeaten.join(", nor ")))
    }

    /// The sentences of [`BaselineComparison::majority_remark`] and
    /// [`BaselineComparison::verdict`], and those of each head.
    pub fn remarks(&self) -> Vec<String> {
        let of_heads = self.heads.iter().flat_map(|(name, head)| {
            let remarks = head.remarks().into_iter();
            remarks.map(move |remark| format!("head {name}: {remark}"))
        });
        let majority = self.majority_remark().into_iter();
        majority.chain(self.verdict()).chain(of_heads).collect()
    }
}

/// An error with four digits.
fn error_text(error: f64) -> String {
    if error != 0.0 && !(1e-3..1e7).contains(&error) {
        return format!("{error:.3e}");
    }
    format!("{error:.4}")
}
