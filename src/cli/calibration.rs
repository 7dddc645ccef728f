//! Printing what predicted intervals cover, and how many labels are right.

use gatescan::Model;
use gatescan::infer::intervals::{Calibration, Coverage};
use serde_json::{Value, json};

use super::aligned;

/// A few lines, each with a newline before it; empty where there is nothing to say.
pub fn lines(calibration: &Calibration, model: &Model) -> String {
    let mut text = String::new();
    if let Some(labels) = calibration.labels {
        text += &format!(
            "\nlabels right {:.4}, outputs with all labels right {:.4}",
            labels.labels, labels.exact
        );
    }
    let coverage = &calibration.coverage;
    if coverage.is_empty() {
        return text;
    }
    let headings = [
        "COVERAGE",
        "NOMINAL",
        "ON THESE DATA",
        "MEAN WIDTH, OWN UNITS",
    ];
    let row = |each: &Coverage| {
        [
            each.name.clone(),
            format!("{:.3}", each.nominal),
            format!("{:.3}", each.share),
            each.width
                .map_or(String::new(), |width| format!("{width:.4}")),
        ]
    };
    let rows = [headings.map(String::from)].into_iter();
    let rows: Vec<[String; 4]> = rows.chain(coverage.iter().map(row)).collect();
    // Widths of several targets have no unit in common.
    let table = if coverage.iter().any(|each| each.width.is_some()) {
        aligned(&rows, 1)
    } else {
        let rows = rows
            .into_iter()
            .map(|[name, nominal, share, _]| [name, nominal, share]);
        aligned(&rows.collect::<Vec<_>>(), 1)
    };
    let adjusted = if model.preparation.interval_adjustment.is_empty() {
        ""
    } else {
        "\nthe intervals are adjusted to the validation split of training (conformal)"
    };
    text + &format!("\n\n{table}{adjusted}")
}

/// Adds the same to a JSON object, under names that begin with `split`.
pub fn add_to(calibration: &Calibration, split: &str, object: &mut Value) {
    if let Some(labels) = calibration.labels {
        object[format!("{split}_label_accuracy")] = labels.labels.into();
        object[format!("{split}_exact_labels")] = labels.exact.into();
    }
    if !calibration.coverage.is_empty() {
        let each = |coverage: &Coverage| {
            json!({
                "name": coverage.name,
                "nominal": coverage.nominal,
                "coverage": coverage.share,
                "mean_width": coverage.width,
            })
        };
        object[format!("{split}_coverage")] = calibration.coverage.iter().map(each).collect();
    }
}
