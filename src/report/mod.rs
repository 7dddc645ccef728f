//! Training runs as pages to look at and as plots for papers: a single run in detail, or several
//! runs on the same axes.

mod curves;
mod page;
mod predictions;
mod range_test;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::data::Split;
use crate::data::source::{ForecastStart, HistoryTimes};
use crate::infer::forecast::SeriesForecast;
use crate::recipe::Recipe;
use crate::train::{EpochMetrics, HeadMetrics, Scores, SplitMetrics, TestMetrics};

pub use curves::svg;
pub use page::{BaselineScores, comparison, page};
pub use predictions::{
    ClassPredictions, ExampleSequence, Misclassified, PredictedBand, Predictions, SequencePicture,
    SplitPredictions, ValuePredictions,
};
pub use range_test::{range_page, range_svg};

/// A training run as its directory records it.
#[derive(Debug, Clone)]
pub struct Run {
    pub name: String,
    pub recipe: Recipe,
    /// The devices that it was trained on, in the order of first use; empty if unknown.
    pub devices: Vec<String>,
    /// The metrics of each epoch, in order.
    pub epochs: Vec<EpochMetrics>,
    /// The scores of the finished model on the test split, where a validation split has chosen it.
    pub tested: Option<TestMetrics>,
    /// With `report_every` in the recipe: the number of updates, and the mean loss of those since
    /// the previous entry.
    pub reports: Vec<(usize, f64)>,
}

/// The parts of a page that need the model, its data or a device.
#[derive(Debug, Clone)]
pub struct RunDetails {
    /// Number of trained values.
    pub parameters: Option<usize>,
    /// Predictions for the test split, or the reason why there are none.
    pub predictions: Result<Option<SplitPredictions>, String>,
    /// A table of the model's scores and those of the baselines; the first row has the headings.
    pub baselines: Vec<[String; 3]>,
    /// A table of the errors by the steps ahead, where the network predicts several.
    pub ahead: Vec<Vec<String>>,
    /// Conclusions from that table, one sentence each.
    pub remarks: Vec<String>,
    pub continuation: Option<Continuation>,
    /// Those of each of several heads.
    pub heads: Vec<HeadDetails>,
}

/// The parts of a page that one of several heads has.
#[derive(Debug, Clone)]
pub struct HeadDetails {
    pub name: String,
    /// Predictions by the head, or the reason why there are none.
    pub predictions: Result<SplitPredictions, String>,
    /// A table as [`RunDetails::baselines`].
    pub baselines: Vec<[String; 3]>,
    /// A table as [`RunDetails::ahead`].
    pub ahead: Vec<Vec<String>>,
    pub continuation: Option<Continuation>,
}

/// A series and its continuation by the network's own predictions, in the units of the data.
#[derive(Debug, Clone)]
pub struct Continuation {
    /// Where the history ends: the file, its row and group.
    pub origin: String,
    /// `[steps, columns]`: the values before the continuation.
    pub history: Vec<f64>,
    /// `[steps, columns]`
    pub values: Vec<f64>,
    pub columns: Vec<String>,
    /// The name and the intervals, `[S, columns]`, of the first S steps; where they are known.
    pub band: Option<(String, Vec<(f64, f64)>)>,
    /// The times of the steps of `history` and `values`; where they are known.
    pub times: Option<HistoryTimes>,
    /// The step of `values` from which they diverge, if they do.
    pub diverges_at: Option<usize>,
}

impl Continuation {
    /// Returns the continuation that `forecast` found of the series that ends at `start`.
    pub fn new(start: &ForecastStart, forecast: SeriesForecast) -> Continuation {
        let columns = forecast.columns.len();
        let count = forecast.values.len() / columns.max(1);
        let times = start.times.as_ref().and_then(|times| {
            Some(HistoryTimes {
                are_dates: times.are_dates,
                values: times.continued(count)?,
            })
        });
        Continuation {
            origin: start.origin.to_string(),
            times: times.filter(|_| !forecast.history.is_empty()),
            history: forecast.history,
            values: forecast.values,
            band: forecast.band.map(|band| (band.name, band.ends)),
            diverges_at: forecast.diverges_at,
            columns: forecast.columns,
        }
    }
}

impl Run {
    /// Reads the lines of a run's `metrics.jsonl`. Lines that cannot be read, such as a last line
    /// that a crash cut off, are skipped.
    pub fn new(name: &str, recipe: Recipe, devices: Vec<String>, metrics: &str) -> Run {
        // A resumed run may repeat an epoch: the last line counts.
        let (mut epochs, mut reports) = (BTreeMap::new(), BTreeMap::new());
        let mut tested = None;
        for line in metrics.lines() {
            if let Ok(metrics) = serde_json::from_str::<EpochMetrics>(line) {
                epochs.insert(metrics.epoch, metrics);
            } else if let Ok(metrics) = serde_json::from_str::<TestMetrics>(line) {
                tested = Some(metrics);
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
            tested,
            reports: reports.into_iter().collect(),
        }
    }

    /// Returns the epoch whose parameters are the model: the best one if the recipe has
    /// `keep_best`, else the last.
    pub fn kept(&self) -> Option<&EpochMetrics> {
        if !self.recipe.keep_best {
            return self.epochs.last();
        }
        let by_loss = |a: &&EpochMetrics, b: &&EpochMetrics| {
            a.monitored_loss().total_cmp(&b.monitored_loss())
        };
        self.epochs.iter().min_by(by_loss)
    }

    /// The scores of the model on the test split, and its further metrics: those of the end of the
    /// run where a validation split has chosen the model, else those of its epoch.
    pub fn test_scores(&self) -> Option<(Scores, Option<SplitMetrics>)> {
        let kept = self.kept()?;
        match &self.tested {
            Some(tested) => {
                let is_own = tested.epoch == kept.epoch;
                is_own.then(|| (tested.scores(), tested.test_metrics))
            }
            None => Some((kept.test_scores()?, kept.test_metrics)),
        }
    }

    /// The metrics of each of several heads, as [`Run::test_scores`] has them.
    pub fn test_heads(&self) -> &[HeadMetrics] {
        match (&self.tested, self.kept()) {
            (Some(tested), _) => &tested.heads,
            (None, Some(kept)) => &kept.heads,
            (None, None) => &[],
        }
    }

    /// The split that early stopping, the best epoch or plateaus were decided by; `None` if the
    /// recipe has none of them.
    pub fn chosen_by(&self) -> Option<Split> {
        let chooses = !self.recipe.choosing_fields().is_empty();
        let kept = self.kept().filter(|_| chooses);
        kept.map(EpochMetrics::monitored_split)
    }

    /// The median over the epochs for which the throughput is known, in sequences per second.
    fn median_throughput(&self) -> Option<f64> {
        let all = self.epochs.iter().map(|each| each.sequences_per_second);
        let mut known: Vec<f64> = all.filter(|throughput| *throughput > 0.0).collect();
        known.sort_by(f64::total_cmp);
        known.get(known.len() / 2).copied()
    }

    /// The time that all epochs took.
    fn seconds(&self) -> f64 {
        self.epochs.iter().map(|each| each.seconds).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lines_of_metrics_are_skipped() {
        let line = |epoch: usize, loss: f64| {
            format!(
                "{{\"epoch\":{epoch},\"train_loss\":{loss},\"train_accuracy\":null,\
                 \"train_last_step_loss\":null,\"test_loss\":null,\"test_accuracy\":null,\
                 \"test_last_step_loss\":null,\
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
