//! The page of several runs: their curves on the same axes, their results, and the differences of
//! their recipes.

use serde_json::Value;

use super::super::{Run, curves};
use super::{score, table};
use crate::data::Split;
use crate::html;
use crate::numeric::statistics::figure;
use crate::train::SplitMetrics;

/// The text of an absent value.
const ABSENT: &str = "-";

/// The scores of a baseline on a test split.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineScores {
    pub name: String,
    pub loss: Option<f64>,
    /// In the units of the data.
    pub rmse: Option<f64>,
    pub accuracy: Option<f64>,
}

impl BaselineScores {
    /// The cell in the column with this heading. The loss is that at the last step where runs have
    /// one.
    fn cell(&self, head: &str, at_last_step: bool) -> Option<String> {
        let value = match head {
            "test loss" if !at_last_step => self.loss,
            "test loss, last step" => self.loss,
            "RMSE" => self.rmse,
            "test accuracy" => self.accuracy,
            _ => None,
        };
        value.map(score)
    }
}

/// The page of several runs, and of the baselines for their data.
pub fn comparison(runs: &[Run], baselines: &[BaselineScores]) -> String {
    let body = format!(
        "<h1>{} runs</h1>\n<p>Written by gatescan {}.</p>\n{}{}{}",
        runs.len(),
        env!("CARGO_PKG_VERSION"),
        curves::html(runs),
        results(runs, baselines),
        recipe_differences(runs)
    );
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    html::page(&names.join(", "), &body)
}

/// A column of the table of results: its heading, and the text of a run.
type Column = (&'static str, fn(&Run) -> Option<String>);

/// The columns of the table of results. Those that no run has are left out.
const COLUMNS: [Column; 19] = [
    ("epoch", |run| Some(run.kept()?.epoch.to_string())),
    ("train loss", |run| Some(score(run.kept()?.train_loss))),
    ("validation loss", |run| {
        run.kept()?.validation_loss.map(score)
    }),
    ("validation accuracy", |run| {
        run.kept()?.validation_accuracy.map(score)
    }),
    ("test loss", |run| Some(score(run.test_scores()?.0.loss))),
    ("test loss, last step", |run| {
        run.test_scores()?.0.last_step_loss.map(score)
    }),
    ("test accuracy", |run| {
        run.test_scores()?.0.accuracy.map(score)
    }),
    ("balanced accuracy", |run| {
        test_metrics(run)?.balanced_accuracy.map(score)
    }),
    ("macro F1", |run| test_metrics(run)?.macro_f1.map(score)),
    ("label error rate", |run| {
        test_metrics(run)?.label_error_rate.map(score)
    }),
    ("RMSE", |run| test_metrics(run)?.rmse.map(score)),
    ("MAE", |run| test_metrics(run)?.mae.map(score)),
    ("R²", |run| test_metrics(run)?.r2.map(score)),
    ("bits", |run| test_metrics(run)?.bits.map(score)),
    ("perplexity", |run| test_metrics(run)?.perplexity.map(score)),
    ("chosen by", |run| Some(run.chosen_by()?.name().into())),
    ("sequences/s", |run| run.median_throughput().map(figure)),
    ("seconds", |run| Some(figure(run.seconds()))),
    ("device", |run| {
        (!run.devices.is_empty()).then(|| run.devices.join("; "))
    }),
];

fn test_metrics(run: &Run) -> Option<SplitMetrics> {
    run.test_scores()?.1
}

/// The table of scores and times, the run with the lowest loss first: on the validation split, or
/// else on the test split, or else in training.
fn results(runs: &[Run], baselines: &[BaselineScores]) -> String {
    let split = [Split::Validation, Split::Test].into_iter().find(|&split| {
        let has = |run: &Run| sorting_loss(run, split).is_some();
        runs.iter().all(has)
    });
    let split = split.unwrap_or(Split::Train);
    let loss = |run: &Run| sorting_loss(run, split).unwrap_or(f64::INFINITY);
    let mut sorted: Vec<&Run> = runs.iter().collect();
    sorted.sort_by(|a, b| loss(a).total_cmp(&loss(b)));
    let columns = COLUMNS
        .iter()
        .filter(|(_, text)| runs.iter().any(|run| text(run).is_some()));
    let columns: Vec<&Column> = columns.collect();
    let heads: Vec<String> = std::iter::once("run")
        .chain(columns.iter().map(|(head, _)| *head))
        .map(String::from)
        .collect();
    let row = |run: &&Run| -> Vec<String> {
        let cells = columns.iter();
        let cells = cells.map(|(_, text)| text(run).unwrap_or_else(|| ABSENT.into()));
        std::iter::once(run.name.clone()).chain(cells).collect()
    };
    let mut rows: Vec<Vec<String>> = sorted.iter().map(row).collect();
    rows.extend(baseline_rows(baselines, &columns));
    format!(
        "<h2>Results</h2>\n<p>At the epoch whose parameters are the model; the lowest {} loss \
         first. Metrics without a split are of the test split.</p>\n{}",
        split.name(),
        table(&heads, &rows)
    )
}

/// The rows of the baselines, the lowest loss first.
fn baseline_rows(baselines: &[BaselineScores], columns: &[&Column]) -> Vec<Vec<String>> {
    let at_last_step = columns
        .iter()
        .any(|(head, _)| *head == "test loss, last step");
    let mut sorted: Vec<&BaselineScores> = baselines.iter().collect();
    let loss = |baseline: &BaselineScores| baseline.loss.unwrap_or(f64::INFINITY);
    sorted.sort_by(|a, b| loss(a).total_cmp(&loss(b)));
    let row = |baseline: &&BaselineScores| {
        let cell = |(head, _): &&Column| {
            let cell = baseline.cell(head, at_last_step);
            cell.unwrap_or_else(|| ABSENT.into())
        };
        let name = format!("baseline: {}", baseline.name);
        std::iter::once(name)
            .chain(columns.iter().map(cell))
            .collect()
    };
    sorted.iter().map(row).collect()
}

/// The loss on a split at the epoch whose parameters are the model.
fn sorting_loss(run: &Run, split: Split) -> Option<f64> {
    match split {
        Split::Validation => run.kept()?.validation_loss,
        Split::Test => Some(run.test_scores()?.0.loss),
        Split::Train => Some(run.kept()?.train_loss),
    }
}

/// The table of recipe fields whose values differ.
fn recipe_differences(runs: &[Run]) -> String {
    let rows = differences(runs);
    let text = if rows.is_empty() {
        "<p>None.</p>\n".to_string()
    } else {
        let names = runs.iter().map(|run| run.name.clone());
        let heads: Vec<String> = std::iter::once("field".to_string()).chain(names).collect();
        table(&heads, &rows)
    };
    format!("<h2>Differences of the recipes</h2>\n{text}")
}

/// Each field whose value is not the same in all recipes: its path, and its value in each run.
fn differences(runs: &[Run]) -> Vec<Vec<String>> {
    let recipes: Vec<Vec<(String, String)>> = runs.iter().map(recipe_fields).collect();
    let mut paths: Vec<&str> = vec![];
    for (path, _) in recipes.iter().flatten() {
        if !paths.contains(&path.as_str()) {
            paths.push(path);
        }
    }
    let value_in = |fields: &Vec<(String, String)>, path: &str| {
        let found = fields.iter().find(|field| field.0 == path);
        found.map_or(ABSENT.to_string(), |field| field.1.clone())
    };
    let row = |path: &str| {
        let values: Vec<String> = recipes
            .iter()
            .map(|fields| value_in(fields, path))
            .collect();
        let differ = values.iter().any(|value| *value != values[0]);
        differ.then(|| [vec![path.to_string()], values].concat())
    };
    paths.into_iter().filter_map(row).collect()
}

/// Paths and values of all fields of a run's recipe.
fn recipe_fields(run: &Run) -> Vec<(String, String)> {
    let mut fields = vec![];
    flatten("", &serde_json::json!(run.recipe), &mut fields);
    fields
}

/// Appends the leaves below a value under their paths, as in `network.layer.0.cell`.
fn flatten(path: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    let child = |key: &str| match path {
        "" => key.to_string(),
        _ => format!("{path}.{key}"),
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(&child(key), value, fields);
            }
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            for (n, value) in values.iter().enumerate() {
                flatten(&child(&n.to_string()), value, fields);
            }
        }
        Value::String(text) => fields.push((path.into(), text.clone())),
        value => fields.push((path.into(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_whole, run};
    use super::*;

    #[test]
    fn runs_are_compared_and_names_escaped() {
        let html = comparison(&[run("<b>&", 3, 8, true), run("c", 5, 9, true)], &[]);
        assert_whole(&html);
        // Loss and accuracy of two splits, and the throughput, each for a wide and a narrow page.
        assert_eq!(html.matches("<polyline").count(), 2 * 2 * 5);
        assert!(html.contains("&lt;b&gt;&amp;, test") && !html.contains("<b>&"));
        // The legend has an entry for each run, and the best run is the first of the table.
        assert_eq!(html.matches("class=\"key\"").count(), 2);
        let first = html
            .find("<td class=\"text\">c</td>")
            .expect("it has a row");
        assert!(
            first
                < html
                    .find("<td class=\"text\">&lt;b&gt;&amp;</td>")
                    .expect("a row")
        );
        let row = "<td class=\"text\">network.layer.0.hidden_size</td><td>8</td><td>9</td>";
        assert!(html.contains(row), "{html}");
        assert!(!html.contains("network.layer.0.cell"));
        let baseline = BaselineScores {
            name: "last value".into(),
            loss: Some(0.75),
            rmse: None,
            accuracy: None,
        };
        let same = comparison(&[run("a", 3, 8, true), run("b", 3, 8, true)], &[baseline]);
        let row = "<td class=\"text\">baseline: last value</td><td>-</td><td>-</td><td>0.7500</td>";
        assert!(same.contains(row), "{same}");
        assert!(same.contains("<p>None.</p>"));
    }
}
