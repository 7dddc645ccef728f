//! The page of several runs: their curves on the same axes, their results, and the differences of
//! their recipes.

use serde_json::Value;

use super::super::{Run, curves};
use super::{score, table};
use crate::html;
use crate::numeric::statistics::figure;
use crate::train::EpochMetrics;

/// The text of an absent value.
const ABSENT: &str = "-";

/// The page of several runs.
pub fn comparison(runs: &[Run]) -> String {
    let body = format!(
        "<h1>{} runs</h1>\n<p>Written by gatescan {}.</p>\n{}{}{}",
        runs.len(),
        env!("CARGO_PKG_VERSION"),
        curves::html(runs),
        results(runs),
        recipe_differences(runs)
    );
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    html::page(&names.join(", "), &body)
}

/// The table of scores and times.
fn results(runs: &[Run]) -> String {
    let heads = [
        "run",
        "epoch",
        "train loss",
        "test loss",
        "test accuracy",
        "sequences/s",
        "seconds",
        "device",
    ];
    let rows: Vec<_> = runs.iter().map(result).collect();
    format!(
        "<h2>Results</h2>\n<p>At the epoch whose parameters are the model.</p>\n{}",
        table(&heads.map(String::from), &rows)
    )
}

fn result(run: &Run) -> [String; 8] {
    let kept = run.kept();
    let or_absent = |text: Option<String>| text.unwrap_or_else(|| ABSENT.into());
    let metric =
        |value: fn(&EpochMetrics) -> Option<f64>| or_absent(kept.and_then(value).map(score));
    [
        run.name.clone(),
        or_absent(kept.map(|kept| kept.epoch.to_string())),
        metric(|kept| Some(kept.train_loss)),
        metric(|kept| kept.test_loss),
        metric(|kept| kept.test_accuracy),
        or_absent(run.median_throughput().map(figure)),
        figure(run.seconds()),
        run.devices.join("; "),
    ]
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
        let html = comparison(&[run("<b>&", 3, 8, true), run("c", 5, 9, true)]);
        assert_whole(&html);
        // Loss and accuracy of two splits, and the throughput.
        assert_eq!(html.matches("<polyline").count(), 2 * 5);
        assert!(html.contains("&lt;b&gt;&amp;, test") && !html.contains("<b>&"));
        let row = "<td class=\"text\">network.layer.0.hidden_size</td><td>8</td><td>9</td>";
        assert!(html.contains(row), "{html}");
        assert!(!html.contains("network.layer.0.cell"));
        let same = comparison(&[run("a", 3, 8, true), run("b", 3, 8, true)]);
        assert!(same.contains("<p>None.</p>"));
    }
}
