//! Metrics of predictions: pure functions, and sums that are added to while predictions are read.
//!
//! A value that is not defined, such as the recall of a class without an example, is `None`. The
//! method `undefined` of a result says which values these are, and why.

mod classes;
mod conformal;
mod lists;
mod probabilities;
mod ranking;
#[cfg(test)]
mod tests;
mod text;
mod values;

pub use classes::{ClassCounts, ClassMetrics, ClassSums};
pub use conformal::{conformal_quantile, interval_margin};
pub use lists::{BLANK, BestPath, ListMetrics, ListSums, edit_distance};
pub use probabilities::{CALIBRATION_BINS, CalibrationBin, ProbabilitySums};
pub use ranking::{RankingScores, average_precision, roc_auc};
pub use text::{TextMetrics, bits, perplexity};
pub use values::{ValueMetrics, ValueSums, coverage, pinball_loss};

/// The metrics of an evaluation, by what a network predicts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum OutputMetrics {
    Classes(ClassMetrics),
    /// `[K]`: one for each target value.
    Values(Vec<TargetMetrics>),
    Text(TextMetrics),
    Lists(ListMetrics),
}

/// The metrics of one target value, in the units of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetMetrics {
    /// The name of the target; empty if it has none.
    pub name: String,
    /// Over all outputs with a target.
    pub all: ValueMetrics,
    /// At the last step of each sequence, where there is a target at every step.
    pub last_step: Option<ValueMetrics>,
    /// By the steps ahead, where the network predicts several at once; at the last step of each
    /// sequence.
    pub ahead: Vec<StepAheadMetrics>,
}

/// The metrics of one target value at one of several steps ahead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepAheadMetrics {
    /// Rows from the last input to the target.
    pub ahead: usize,
    pub metrics: ValueMetrics,
}

impl TargetMetrics {
    /// Returns rows of a table, for the last step, for all steps or sequences and for at most
    /// `most_ahead` of the steps ahead: a name, MAE, RMSE, MAPE, sMAPE, MASE and R², each as `text`
    /// writes it.
    pub fn rows(
        &self,
        most_ahead: usize,
        text: impl Fn(Option<f64>) -> String,
    ) -> Vec<[String; 7]> {
        let name = |steps: &str| match self.name.as_str() {
            "" => steps.to_string(),
            name => format!("{name}, {steps}"),
        };
        let row = |steps: &str, metrics: &ValueMetrics| {
            [
                name(steps),
                text(Some(metrics.mae)),
                text(Some(metrics.rmse)),
                text(metrics.mape),
                text(Some(metrics.smape)),
                text(metrics.mase),
                text(metrics.r2),
            ]
        };
        let mut rows = match &self.last_step {
            Some(last) => vec![row("last step", last), row("all steps", &self.all)],
            None => vec![row("all sequences", &self.all)],
        };
        let chosen = evenly(self.ahead.len(), most_ahead).into_iter();
        rows.extend(chosen.map(|n| {
            let StepAheadMetrics { ahead, metrics } = &self.ahead[n];
            row(&format!("{ahead} ahead"), metrics)
        }));
        rows
    }
}

/// Returns at most `most` indices below `count` at about equal distances, the first and the last
/// among them.
pub fn evenly(count: usize, most: usize) -> Vec<usize> {
    if count <= most.max(1) {
        return (0..count).collect();
    }
    let most = most.max(2);
    (0..most).map(|n| n * (count - 1) / (most - 1)).collect()
}
