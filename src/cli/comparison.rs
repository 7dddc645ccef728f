//! A model's error beside that of answers that take no network.

use gatescan::data::Dataset;
use gatescan::data::baselines::{self, Baseline};
use gatescan::data::preparation::Preparation;
use gatescan::error::Result;
use gatescan::recipe::DataRecipe;
use serde_json::{Map, Value, json};

use super::{Scores, aligned, loss_text};

pub struct Comparison {
    accuracy: Option<f64>,
    /// The share of the most frequent class.
    majority: Option<f64>,
    /// At the last step of each sequence.
    loss: f64,
    baselines: Vec<Baseline>,
    /// What an error of 1 is in the data's own units, where there is one target.
    unit: Option<f32>,
}

impl Comparison {
    /// Of a model that has these `scores` on `data`; the others are fitted to `train`.
    pub fn new(
        recipe: &DataRecipe,
        preparation: &Preparation,
        train: Option<&Dataset>,
        data: &Dataset,
        scores: &Scores,
    ) -> Result<Comparison> {
        let unit = match (&preparation.targets[..], data.targets.outputs()) {
            (&[normal], _) => Some(normal.deviation),
            ([], 1) => Some(1.0),
            _ => None,
        };
        Ok(Comparison {
            accuracy: scores.accuracy,
            majority: baselines::majority(data),
            loss: scores.last_step_loss.unwrap_or(scores.loss),
            baselines: match train {
                Some(train) => {
                    baselines::of_values(train, data, recipe.source().forecast().as_ref())?
                }
                None => vec![],
            },
            unit,
        })
    }

    /// The root of a mean squared error, in the data's own units.
    fn own(&self, loss: f64) -> Option<f64> {
        self.unit.map(|unit| loss.sqrt() * f64::from(unit))
    }

    /// What the model does not beat.
    fn unbeaten(&self) -> Vec<&str> {
        let errors = self
            .baselines
            .iter()
            .filter(|each| each.loss.is_some_and(|loss| loss <= self.loss));
        let mut names: Vec<&str> = errors.map(|each| each.name.as_str()).collect();
        if self
            .accuracy
            .zip(self.majority)
            .is_some_and(|(accuracy, majority)| accuracy <= majority)
        {
            names.push("the most frequent class");
        }
        names
    }

    /// A few lines, each begun by a newline; none where there is nothing to compare with.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        if let Some(line) = self.most_frequent() {
            text += &format!("\n{line}");
        }
        if !self.baselines.is_empty() {
            text += &format!("\n\n{}", aligned(&self.rows(), 1));
        }
        if let Some(verdict) = self.verdict() {
            text += &format!("\n{verdict}");
        }
        text
    }

    /// Heads, this model and the baselines; none where there are none.
    pub fn rows(&self) -> Vec<[String; 3]> {
        if self.baselines.is_empty() {
            return vec![];
        }
        let row = |name: &str, loss: Option<f64>| {
            let own = loss.and_then(|loss| self.own(loss));
            [
                name.to_string(),
                loss.map_or("the window is too short".into(), loss_text),
                own.map_or(String::new(), |own| format!("{own:.4}")),
            ]
        };
        let own = self.unit.map_or("", |_| "RMSE, OWN UNITS");
        let mut rows = vec![
            ["AT THE LAST STEP", "LOSS", own].map(str::to_string),
            row("this model", Some(self.loss)),
        ];
        rows.extend(self.baselines.iter().map(|each| row(&each.name, each.loss)));
        rows
    }

    /// What is said of the most frequent class, and of what the model does not beat.
    pub fn remarks(&self) -> Vec<String> {
        self.most_frequent()
            .into_iter()
            .chain(self.verdict())
            .collect()
    }

    fn most_frequent(&self) -> Option<String> {
        let majority = self.majority?;
        Some(format!(
            "the most frequent class alone has accuracy {majority:.4}"
        ))
    }

    fn verdict(&self) -> Option<String> {
        let unbeaten = self.unbeaten();
        (!unbeaten.is_empty())
            .then(|| format!("the model does not beat {}", unbeaten.join(", nor ")))
    }

    /// Adds the same to a JSON object.
    pub fn add_to(&self, object: &mut Value) {
        if let Some(majority) = self.majority {
            object["majority_accuracy"] = majority.into();
        }
        let errors = |loss: Option<f64>| json!({ "loss": loss, "rmse": loss.and_then(|loss| self.own(loss)) });
        if !self.baselines.is_empty() {
            let each = |baseline: &Baseline| (baseline.name.clone(), errors(baseline.loss));
            object["model"] = errors(Some(self.loss));
            object["baselines"] = self
                .baselines
                .iter()
                .map(each)
                .collect::<Map<_, _>>()
                .into();
        }
        if self.majority.is_some() || !self.baselines.is_empty() {
            object["does_not_beat"] = self.unbeaten().into();
        }
    }
}
