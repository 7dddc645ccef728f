//! The metrics of a page: tables, and the calibration curve of a network that classifies.

use super::super::SplitPredictions;
use super::table;
use crate::html::chart::{Chart, ChartKind, ChartSeries, ChartSize, value_label};
use crate::html::escape;
use crate::metrics::{
    ClassCounts, ClassMetrics, ListMetrics, ListSums, OutputMetrics, TargetMetrics,
};

/// The largest number of classes or target values in a table.
const MOST_ROWS: usize = 40;
/// The largest number of steps ahead in a table.
const MOST_AHEAD: usize = 12;
/// The text of a value that is not defined.
const UNDEFINED: &str = "-";

impl SplitPredictions {
    /// The metrics as HTML; `sequences` names the sequences that were predicted.
    pub(super) fn metrics_html(&self, sequences: &str) -> String {
        let tables = match &self.metrics {
            Some(OutputMetrics::Classes(metrics)) => self.class_tables(metrics),
            Some(OutputMetrics::Values(targets)) => value_table(targets),
            Some(OutputMetrics::Lists(metrics)) => list_table(metrics),
            Some(OutputMetrics::Text(_)) | None => return String::new(),
        };
        let notes = self.undefined.iter();
        let notes: String = notes
            .map(|note| format!("<p class=\"remark\">{}</p>\n", escape(note)))
            .collect();
        format!("<h2>Metrics</h2>\n<p>Over {sequences}.</p>\n{tables}{notes}")
    }

    fn class_tables(&self, metrics: &ClassMetrics) -> String {
        let (counts, ranking) = (&metrics.counts, metrics.ranking.as_ref());
        let heads = [
            "accuracy",
            "balanced accuracy",
            "F1, macro",
            "F1, weighted",
            "ROC AUC",
            "average precision",
            "log loss",
            "Brier score",
        ];
        let values = [
            counts.accuracy(),
            counts.balanced_accuracy(),
            counts.macro_mean(ClassCounts::f1),
            counts.weighted_mean(ClassCounts::f1),
            ranking.and_then(|ranking| ranking.mean_roc_auc()),
            ranking.and_then(|ranking| ranking.mean_average_precision()),
            Some(metrics.log_loss),
            Some(metrics.brier),
        ];
        let summary = table(&heads.map(String::from), &[values.map(text)]);
        summary + &self.class_table(metrics) + &calibration(metrics)
    }

    /// A row for each class.
    fn class_table(&self, metrics: &ClassMetrics) -> String {
        let (counts, ranking) = (&metrics.counts, metrics.ranking.as_ref());
        let heads = [
            "class",
            "examples",
            "precision",
            "recall",
            "F1",
            "ROC AUC",
            "average precision",
        ];
        let row = |class: usize| {
            [
                self.class_name(class),
                counts.support(class).to_string(),
                text(counts.precision(class)),
                text(counts.recall(class)),
                text(counts.f1(class)),
                text(ranking.and_then(|ranking| ranking.roc_auc[class])),
                text(ranking.and_then(|ranking| ranking.average_precision[class])),
            ]
        };
        let classes = 0..counts.classes().min(MOST_ROWS);
        let rows: Vec<_> = classes.map(row).collect();
        let more = counts.classes() - rows.len();
        let more = match more {
            0 => String::new(),
            _ => format!("<p>{more} more classes are not shown.</p>\n"),
        };
        table(&heads.map(String::from), &rows) + &more
    }
}

/// How often predicted probabilities came true.
fn calibration(metrics: &ClassMetrics) -> String {
    let title = if metrics.counts.classes() == 2 {
        "calibration: how often the second class came true, over its predicted probability"
    } else {
        "calibration: how often the predicted class was right, over its predicted probability"
    };
    let bins = metrics.calibration.iter();
    let chart = Chart {
        title: title.into(),
        x: "predicted probability",
        kind: ChartKind::Scatter,
        size: ChartSize::Small,
        series: vec![ChartSeries {
            name: "share that came true".into(),
            colour: 0,
            dashed: false,
            points: bins.map(|bin| (bin.predicted, bin.observed)).collect(),
        }],
    };
    chart.figure()
}

fn value_table(targets: &[TargetMetrics]) -> String {
    let heads = ["", "MAE", "RMSE", "MAPE", "sMAPE", "MASE", "R\u{b2}"].map(String::from);
    let shown = targets.iter().take(MOST_ROWS);
    let rows: Vec<_> = shown
        .flat_map(|target| target.rows(MOST_AHEAD, text))
        .collect();
    table(&heads, &rows)
}

fn list_table(metrics: &ListMetrics) -> String {
    let heads = [
        "label error rate",
        "errors",
        "labels",
        "sequence accuracy",
        "sequences",
    ];
    let ListSums {
        lists,
        labels,
        errors,
        ..
    } = metrics.sums;
    let row = [
        text(metrics.label_error_rate),
        errors.to_string(),
        labels.to_string(),
        text(Some(metrics.sequence_accuracy)),
        lists.to_string(),
    ];
    table(&heads.map(String::from), &[row])
}

fn text(value: Option<f64>) -> String {
    value.map_or(UNDEFINED.into(), value_label)
}
