//! Printing how a model compares with baselines.

use gatescan::data::baselines::{Baseline, PointErrors};
use gatescan::low_level::messages::printable;
use gatescan::metrics::OutputMetrics;
use gatescan::train::BaselineComparison;
use serde_json::{Map, Value, json};

use super::aligned;

/// The most steps ahead in the text.
const MOST_AHEAD: usize = 8;

/// A few lines, each with a newline before it; empty where there is nothing to compare with.
/// `metrics` are the model's, if they are known.
pub fn lines(comparison: &BaselineComparison, metrics: Option<&OutputMetrics>) -> String {
    let mut text = String::new();
    if let Some(line) = comparison.majority_remark() {
        text += &format!("\n{}", printable(&line));
    }
    let rows = comparison.rows();
    if !rows.is_empty() {
        text += &format!("\n\n{}", aligned(&rows, 1));
    }
    let ahead = comparison.ahead_rows(metrics, MOST_AHEAD);
    if !ahead.is_empty() {
        text += &format!("\n\n{}", aligned(&ahead, 1));
    }
    if let Some(verdict) = comparison.verdict() {
        text += &format!("\n{}", printable(&verdict));
    }
    for (name, head) in &comparison.heads {
        text += &format!("\nhead {}{}", printable(name), lines(head, None));
    }
    text
}

/// Adds the comparison to a JSON object.
pub fn add_to(comparison: &BaselineComparison, object: &mut Value) {
    if let Some(majority) = &comparison.majority {
        object["majority_accuracy"] = majority.accuracy.into();
        object["majority_class"] = majority.class.as_str().into();
    }
    let errors = |loss: Option<f64>| {
        let rmse = loss.and_then(|loss| comparison.rmse(loss));
        json!({ "loss": loss, "rmse": rmse })
    };
    let points = |errors: &Option<PointErrors>| {
        errors.map(|errors| json!({ "mae": errors.mae, "rmse": errors.rmse }))
    };
    let baselines = &comparison.baselines;
    if !baselines.is_empty() {
        let each = |baseline: &Baseline| {
            let mut object = errors(baseline.loss);
            object["targets"] = baseline.errors.iter().map(points).collect();
            (baseline.name.clone(), object)
        };
        object["model"] = errors(Some(comparison.loss));
        let baselines: Map<_, _> = baselines.iter().map(each).collect();
        object["baselines"] = baselines.into();
    }
    if comparison.majority.is_some() || !baselines.is_empty() {
        object["does_not_beat"] = comparison.unbeaten().into();
    }
}
