//! What a training run came to, as a page to look at, and several runs on the same axes.

mod curves;
mod findings;
mod page;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::recipe::Recipe;
use crate::train::EpochMetrics;

pub use curves::svg;
pub use findings::{Answers, Classes, Example, Findings, Mistake, Picture, Values};
pub use page::{comparison, page};

/// What a run directory tells of a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it is called.
    pub name: String,
    pub recipe: Recipe,
    /// What it was computed on, in the order of first use; empty where nobody wrote it down.
    pub devices: Vec<String>,
    /// In order.
    pub epochs: Vec<EpochMetrics>,
    /// Mean losses of so many updates, where the recipe has `report_every`: updates so far, and the loss.
    pub reports: Vec<(usize, f64)>,
}

/// What a page tells of one run beside its [`Run`].
#[derive(Debug, Clone)]
pub struct Details {
    /// Trained numbers.
    pub parameters: Option<usize>,
    /// What the network answered to the test split, or why that is not known.
    pub findings: Result<Option<Findings>, String>,
    /// The model beside what needs no network: a row of heads, and a row for each.
    pub baselines: Vec<[String; 3]>,
    /// What these come to, in a sentence each.
    pub remarks: Vec<String>,
    pub continuation: Option<Continuation>,
}

/// A series continued with the network's own predictions, in the data's own units.
#[derive(Debug, Clone)]
pub struct Continuation {
    /// `[steps, columns]`: what came before.
    pub history: Vec<f32>,
    /// `[steps, columns]`
    pub values: Vec<f32>,
    pub columns: Vec<String>,
    /// The step at which it leaves what its history was like, where it does.
    pub diverges_at: Option<usize>,
}

impl Run {
    /// Of a run's `metrics.jsonl`. Lines that are none of its own, as a crash may leave the last one, are passed over.
    pub fn new(name: &str, recipe: Recipe, devices: Vec<String>, metrics: &str) -> Run {
        // An epoch that stands there twice was done again.
        let (mut epochs, mut reports) = (BTreeMap::new(), BTreeMap::new());
        for line in metrics.lines() {
            if let Ok(metrics) = serde_json::from_str::<EpochMetrics>(line) {
                epochs.insert(metrics.epoch, metrics);
            } else if let Ok(line) = serde_json::from_str::<Value>(line)
                && let (Some(step), Some(loss)) = (line["step"].as_u64(), line["loss"].as_f64())
            {
                reports.insert(step as usize, loss);
            }
        }
        Run {
            name: name.into(),
            recipe,
            devices,
            epochs: epochs.into_values().collect(),
            reports: reports.into_iter().collect(),
        }
    }

    /// The epoch that the model is of: the best where the recipe keeps that, else the last.
    pub fn kept(&self) -> Option<&EpochMetrics> {
        if !self.recipe.keep_best {
            return self.epochs.last();
        }
        let by_loss = |a: &&EpochMetrics, b: &&EpochMetrics| {
            a.monitored_loss().total_cmp(&b.monitored_loss())
        };
        self.epochs.iter().min_by(by_loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_and_what_is_broken_is_passed_over() {
        let line = |epoch: usize, loss: f64| {
            format!(
                "{{\"epoch\":{epoch},\"train_loss\":{loss},\"train_accuracy\":null,\"train_last_step_loss\":null,\
                 \"test_loss\":null,\"test_accuracy\":null,\"test_last_step_loss\":null,\
                 \"sequences_per_second\":10.0,\"seconds\":1.0}}\n"
            )
        };
        let report = "{\"step\":5,\"loss\":0.25}\n";
        let text = [
            &line(1, 3.0),
            report,
            &line(2, 1.0),
            &line(3, 2.0),
            "{\"epoch\":4,\"tr",
        ]
        .concat();
        let mut recipe = Recipe::load("mnist").unwrap();
        let run = Run::new("run", recipe.clone(), vec![], &text);
        let losses: Vec<f64> = run.epochs.iter().map(|each| each.train_loss).collect();
        assert_eq!(losses, [3.0, 1.0, 2.0]);
        assert_eq!(run.reports, [(5, 0.25)]);
        assert_eq!(run.kept().unwrap().epoch, 3);
        recipe.keep_best = true;
        let run = Run::new("run", recipe.clone(), vec![], &text);
        assert_eq!(run.kept().unwrap().epoch, 2);
        let nothing = Run::new("run", recipe, vec![], "");
        assert!(nothing.kept().is_none());
    }
}
