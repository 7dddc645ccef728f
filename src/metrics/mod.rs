//! Metrics of predictions: pure functions, and sums that are added to while predictions are read.
//!
//! A value that is not defined, such as the recall of a class without an example, is `None`. The
//! method `undefined` of a result says which values these are, and why.

mod classes;
mod lists;
mod probabilities;
mod ranking;
#[cfg(test)]
mod tests;
mod text;
mod values;

pub use classes::{ClassCounts, ClassMetrics, ClassSums};
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
}

impl TargetMetrics {
    /// Returns rows of a table, for the last step and for all steps or sequences: a name, MAE,
    /// RMSE, MAPE, sMAPE, MASE and R², each as `text` writes it.
    pub fn rows(&self, text: impl Fn(Option<f64>) -> String) -> Vec<[String; 7]> {
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
        match &self.last_step {
            Some(last) => vec![row("last step", last), row("all steps", &self.all)],
            None => vec![row("all sequences", &self.all)],
        }
    }
}
