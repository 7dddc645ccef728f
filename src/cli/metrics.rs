//! Printing the metrics of an evaluation.

use gatescan::Model;
use gatescan::data::text::Unit;
use gatescan::low_level::messages::printable;
use gatescan::metrics::{
    CalibrationBin, ClassCounts, ClassMetrics, OutputMetrics, TargetMetrics, TextMetrics,
    ValueMetrics,
};
use serde_json::{Value, json};

use super::aligned;

/// The most target values in the text; JSON has all.
const MOST_TARGETS: usize = 12;

/// The most steps ahead in the text.
const MOST_AHEAD: usize = 8;

/// The text of a value that is not defined.
const UNDEFINED: &str = "-";

/// A few lines, each with a newline before it.
pub fn lines(metrics: &OutputMetrics, model: &Model, per_class: bool) -> String {
    let mut text = match metrics {
        OutputMetrics::Classes(metrics) => class_lines(metrics, model, per_class),
        OutputMetrics::Values(targets) => value_lines(targets),
        OutputMetrics::Lists(metrics) => format!(
            "\nlabel error rate {} ({} errors in {} labels), sequence accuracy {:.4}",
            value(metrics.label_error_rate),
            metrics.sums.errors,
            metrics.sums.labels,
            metrics.sequence_accuracy,
        ),
        OutputMetrics::Text(TextMetrics { bits, perplexity }) => {
            format!(
                "\nbits per {} {bits:.4}, perplexity {perplexity:.4}",
                unit(model)
            )
        }
    };
    for note in metrics.undefined(&model.preparation) {
        text += &format!("\n{}", printable(&note));
    }
    text
}

/// The unit of a text's tokens.
fn unit(model: &Model) -> &'static str {
    match model.preparation.vocabulary.as_ref().map(|each| each.unit) {
        Some(Unit::Byte) => "byte",
        Some(Unit::Word) => "word",
        Some(Unit::Char) => "character",
        _ => "token",
    }
}

fn class_lines(metrics: &ClassMetrics, model: &Model, per_class: bool) -> String {
    let counts = &metrics.counts;
    let ranking = metrics.ranking.as_ref();
    let mut text = format!(
        "\nbalanced accuracy {}, F1 macro {} weighted {}, precision macro {}, recall macro {}\n\
         log loss {}, Brier score {}",
        value(counts.balanced_accuracy()),
        value(counts.macro_mean(ClassCounts::f1)),
        value(counts.weighted_mean(ClassCounts::f1)),
        value(counts.macro_mean(ClassCounts::precision)),
        value(counts.macro_mean(ClassCounts::recall)),
        value(Some(metrics.log_loss)),
        value(Some(metrics.brier)),
    );
    if let Some(ranking) = ranking {
        text += &format!(
            ", one class against the rest: ROC AUC {}, average precision {}",
            value(ranking.mean_roc_auc()),
            value(ranking.mean_average_precision())
        );
    }
    if !per_class {
        return text;
    }
    let heads = [
        "CLASS",
        "EXAMPLES",
        "PRECISION",
        "RECALL",
        "F1",
        "ROC AUC",
        "AVERAGE PRECISION",
    ];
    let row = |class: usize| {
        [
            model.preparation.class(class),
            counts.support(class).to_string(),
            value(counts.precision(class)),
            value(counts.recall(class)),
            value(counts.f1(class)),
            value(ranking.and_then(|ranking| ranking.roc_auc[class])),
            value(ranking.and_then(|ranking| ranking.average_precision[class])),
        ]
    };
    let rows: Vec<_> = std::iter::once(heads.map(String::from))
        .chain((0..counts.classes()).map(row))
        .collect();
    text + &format!("\n\n{}", aligned(&rows, 1))
}

fn value_lines(targets: &[TargetMetrics]) -> String {
    let heads = ["", "MAE", "RMSE", "MAPE", "SMAPE", "MASE", "R2"].map(String::from);
    let mut rows = vec![heads];
    let shown = targets.iter().take(MOST_TARGETS);
    rows.extend(shown.flat_map(|target| target.rows(MOST_AHEAD, value)));
    let mut text = format!("\n\n{}", aligned(&rows, 1));
    if targets.len() > MOST_TARGETS {
        let more = targets.len() - MOST_TARGETS;
        text += &format!("\n--json has the metrics of {more} more target values");
    }
    text
}

/// A value with four digits after the point; a small or large one with an exponent.
fn value(value: Option<f64>) -> String {
    let Some(value) = value else {
        return UNDEFINED.into();
    };
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) {
        format!("{value:.3e}")
    } else {
        format!("{value:.4}")
    }
}

/// The metrics as JSON; what is not defined is null, and `undefined` says why.
pub fn object(metrics: &OutputMetrics, model: &Model) -> Value {
    let mut object = match metrics {
        OutputMetrics::Classes(metrics) => class_object(metrics, model),
        OutputMetrics::Values(targets) => {
            let targets: Vec<Value> = targets.iter().map(target_object).collect();
            json!({ "targets": targets })
        }
        OutputMetrics::Lists(metrics) => json!({
            "label_error_rate": metrics.label_error_rate,
            "sequence_accuracy": metrics.sequence_accuracy,
            "errors": metrics.sums.errors,
            "labels": metrics.sums.labels,
        }),
        OutputMetrics::Text(TextMetrics { bits, perplexity }) => {
            json!({ "bits": bits, "perplexity": perplexity, "unit": unit(model) })
        }
    };
    object["undefined"] = metrics.undefined(&model.preparation).into();
    object
}

fn class_object(metrics: &ClassMetrics, model: &Model) -> Value {
    let (counts, ranking) = (&metrics.counts, metrics.ranking.as_ref());
    let of_class = |class: usize| {
        json!({
            "class": model.preparation.class(class),
            "examples": counts.support(class),
            "precision": counts.precision(class),
            "recall": counts.recall(class),
            "f1": counts.f1(class),
            "roc_auc": ranking.and_then(|ranking| ranking.roc_auc[class]),
            "average_precision": ranking.and_then(|ranking| ranking.average_precision[class]),
        })
    };
    let means = |metric: fn(&ClassCounts, usize) -> Option<f64>| json!({ "macro": counts.macro_mean(metric), "weighted": counts.weighted_mean(metric) });
    let bin = |bin: &CalibrationBin| json!({ "count": bin.count, "predicted": bin.predicted, "observed": bin.observed });
    json!({
        "accuracy": counts.accuracy(),
        "balanced_accuracy": counts.balanced_accuracy(),
        "precision": means(ClassCounts::precision),
        "recall": means(ClassCounts::recall),
        "f1": means(ClassCounts::f1),
        "roc_auc": ranking.and_then(|ranking| ranking.mean_roc_auc()),
        "average_precision": ranking.and_then(|ranking| ranking.mean_average_precision()),
        "log_loss": metrics.log_loss,
        "brier": metrics.brier,
        "calibration": metrics.calibration.iter().map(bin).collect::<Vec<_>>(),
        "per_class": (0..counts.classes()).map(of_class).collect::<Vec<_>>(),
    })
}

fn target_object(target: &TargetMetrics) -> Value {
    let values = |metrics: &ValueMetrics| {
        json!({
            "count": metrics.count,
            "mae": metrics.mae,
            "rmse": metrics.rmse,
            "mape": metrics.mape,
            "smape": metrics.smape,
            "mase": metrics.mase,
            "r2": metrics.r2,
        })
    };
    let mut object = json!({ "all": values(&target.all) });
    if !target.name.is_empty() {
        object["target"] = target.name.as_str().into();
    }
    if let Some(last) = &target.last_step {
        object["last_step"] = values(last);
    }
    if !target.ahead.is_empty() {
        let steps = target.ahead.iter().map(|step| {
            let mut object = values(&step.metrics);
            object["ahead"] = step.ahead.into();
            object
        });
        object["ahead"] = steps.collect();
    }
    object
}
