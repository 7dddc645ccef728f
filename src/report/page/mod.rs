//! The pages: a single run in detail, or several runs on the same axes.

mod classes;
mod comparison;
mod lists;
mod metrics;
mod values;

use super::predictions::{Predictions, SplitPredictions};
use super::{Continuation, Run, RunDetails, curves};
use crate::data::Split;
use crate::html::chart::value_label;
use crate::html::{self, escape};
use crate::numeric::statistics::figure;

pub use comparison::{BaselineScores, comparison};

/// The page of a single run.
pub fn page(run: &Run, details: &RunDetails) -> String {
    let mut body = header(run) + &key_figures(run, details);
    for remark in choice_remark(run).iter().chain(&details.remarks) {
        body += &format!("<p class=\"remark\">{}</p>\n", escape(remark));
    }
    body += &curves::html(std::slice::from_ref(run));
    match &details.predictions {
        Ok(Some(predictions)) => body += &predictions.html(),
        Ok(None) => {}
        Err(problem) => {
            body += &format!(
                "<h2>Predictions</h2>\n<p>Not available: {}</p>\n",
                escape(problem)
            );
        }
    }
    for head in &details.heads {
        let shown = match &head.predictions {
            Ok(predictions) => predictions.html(),
            Err(problem) => format!("<p>Not available: {}</p>\n", escape(problem)),
        };
        let baselines = baseline_table(&head.baselines);
        let continuation = head.continuation.as_ref().map(Continuation::html);
        body += &format!(
            "<h2>Head {}</h2>\n{shown}{}{baselines}{}",
            escape(&head.name),
            continuation.unwrap_or_default(),
            ahead_table(&head.ahead)
        );
    }
    if let Some(continuation) = &details.continuation {
        body += &continuation.html();
    }
    if !details.baselines.is_empty() {
        body += &format!("<h2>Baselines</h2>\n{}", baseline_table(&details.baselines));
    }
    body += &ahead_table(&details.ahead);
    if let Ok(recipe) = run.recipe.to_toml() {
        body += &format!(
            "<h2>Recipe</h2>\n<div class=\"wide\"><pre>{}</pre></div>\n",
            escape(&recipe)
        );
    }
    html::page(&run.name, &body)
}

/// The table of the errors by the steps ahead, whose first row has the headings.
fn ahead_table(rows: &[Vec<String>]) -> String {
    let [heads, rows @ ..] = rows else {
        return String::new();
    };
    format!(
        "<h2>Errors by the steps ahead</h2>\n<p>At the last step of each sequence, in the units \
         of the data.</p>\n{}",
        table(heads, rows)
    )
}

/// The table of a model's scores beside those of baselines, whose first row has the headings.
fn baseline_table(rows: &[[String; 3]]) -> String {
    let [heads, rows @ ..] = rows else {
        return String::new();
    };
    let plain = |row: &[String; 3]| row.each_ref().map(|cell| plain(cell));
    table(heads, &rows.iter().map(plain).collect::<Vec<_>>())
}

/// A sentence on the split that chose the model's epoch.
fn choice_remark(run: &Run) -> Option<String> {
    let fields = run.recipe.choosing_fields().join(" and ");
    match run.chosen_by()? {
        Split::Validation => Some(format!(
            "{fields} chose by the validation split; the test split was scored once, at the end"
        )),
        Split::Test => Some(format!(
            "{fields} chose by the test split itself, as there was no validation split: the test \
             scores are better than on new data"
        )),
        Split::Train => None,
    }
}

/// The name of the run and what it trained.
fn header(run: &Run) -> String {
    let recipe = &run.recipe;
    let layers = recipe.network.layers.iter();
    let layers: Vec<String> = layers
        .map(|layer| format!("{} {}", layer.cell.name(), layer.hidden_size))
        .collect();
    format!(
        "<h1>{}</h1>\n<p>{}: {}, batch size {}, seed {}. Written by gatescan {}.</p>\n",
        escape(&run.name),
        escape(&recipe.name),
        layers.join(" &gt; "),
        recipe.batch_text(),
        recipe.seed,
        env!("CARGO_PKG_VERSION")
    )
}

/// Scores, times and sizes at the top of the page.
fn key_figures(run: &Run, details: &RunDetails) -> String {
    let mut list = String::from("<dl>\n");
    let mut add = |name: &str, value: String, note: &str| {
        let (value, note) = (escape(&value), escape(note));
        list += &format!("<div><dt>{name}</dt><dd>{value} <small>{note}</small></dd></div>\n");
    };
    if let Some(kept) = run.kept() {
        let epoch = format!("epoch {}", kept.epoch);
        let tested = run.test_scores();
        let (scores, further) = tested.map_or((None, None), |(a, b)| (Some(a), b));
        let further = further.unwrap_or_default();
        let scores = [
            ("test accuracy", scores.and_then(|scores| scores.accuracy)),
            ("test balanced accuracy", further.balanced_accuracy),
            ("test macro F1", further.macro_f1),
            ("test label error rate", further.label_error_rate),
            ("test sequence accuracy", further.sequence_accuracy),
            ("test RMSE", further.rmse),
            ("test MAE", further.mae),
            ("test R²", further.r2),
            ("test bits for each token", further.bits),
            ("test perplexity", further.perplexity),
            ("test loss", scores.map(|scores| scores.loss)),
            (
                "test loss at the last step",
                scores.and_then(|scores| scores.last_step_loss),
            ),
            ("validation accuracy", kept.validation_accuracy),
            ("validation loss", kept.validation_loss),
            ("training loss", Some(kept.train_loss)),
        ];
        for (name, value) in scores {
            if let Some(value) = value {
                add(name, score(value), &epoch);
            }
        }
        let tested = run.tested.as_ref().map(|tested| &tested.heads);
        for head in tested.unwrap_or(&kept.heads) {
            let values = [
                ("test accuracy", head.test_accuracy),
                ("test loss", head.test_loss),
                ("validation accuracy", head.validation_accuracy),
                ("validation loss", head.validation_loss),
                ("training loss", head.train_loss),
            ];
            for (name, value) in values {
                if let Some(value) = value {
                    let name = format!("{name}, head {}", escape(&head.name));
                    add(&name, score(value), &epoch);
                }
            }
        }
    }
    let epochs = format!("{} of {}", run.epochs.len(), run.recipe.epochs);
    add("epochs", epochs, "");
    if let Some(throughput) = run.median_throughput() {
        add("throughput", figure(throughput), "sequences/s, median");
    }
    let seconds = run.seconds();
    if seconds > 0.0 {
        add("time", figure(seconds), "s, with evaluation");
    }
    if let Some(count) = details.parameters {
        add("parameters", count.to_string(), "");
    }
    for device in &run.devices {
        add("device", device.clone(), "");
    }
    list + "</dl>\n"
}

/// A loss or an accuracy as text.
fn score(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size < 0.01 {
        value_label(value)
    } else {
        format!("{value:.4}")
    }
}

/// A cell whose number has a power of ten as `e-4`, as a page writes it.
fn plain(cell: &str) -> String {
    let number = cell.parse().ok().filter(|_| cell.contains('e'));
    number.map_or_else(|| cell.to_string(), value_label)
}

impl SplitPredictions {
    fn html(&self) -> String {
        let split = self.split.name();
        let sequences = if self.predicted == self.of {
            format!("all {} sequences of the {split} split", self.of)
        } else {
            format!(
                "{} of the {} sequences of the {split} split",
                self.predicted, self.of
            )
        };
        let metrics = self.metrics_html(&sequences);
        let predictions = match &self.predictions {
            Predictions::Classes(classes) => classes.html(&sequences),
            Predictions::Values(values) => values.html(&sequences),
            Predictions::Lists(lists) => lists.html(),
        };
        metrics + &predictions
    }

    /// The name of a class; its number where the predictions have no names.
    fn class_name(&self, class: usize) -> String {
        match &self.predictions {
            Predictions::Classes(classes) => classes.names.get(class).cloned(),
            Predictions::Values(_) | Predictions::Lists(_) => None,
        }
        .unwrap_or_else(|| class.to_string())
    }
}

/// A table whose first column is text.
pub(super) fn table<Row: AsRef<[String]>>(heads: &[String], rows: &[Row]) -> String {
    let row = |tag: &str, cells: &[String]| {
        let cell = |(column, text): (usize, &String)| {
            let class = if column == 0 { " class=\"text\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escape(text))
        };
        let cells: String = cells.iter().enumerate().map(cell).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = rows.iter().map(|cells| row("td", cells.as_ref())).collect();
    format!(
        "<div class=\"wide\"><table class=\"few\">\n{}{rows}</table></div>\n",
        row("th", heads)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use crate::train::EpochMetrics;

    pub(super) fn run(name: &str, epochs: usize, hidden_size: usize, tested: bool) -> Run {
        let mut recipe = Recipe::load("mnist").unwrap();
        recipe.network.set_hidden_size(hidden_size);
        let metrics = |epoch: usize| EpochMetrics {
            heads: vec![],
            epoch,
            train_loss: 1.0 / epoch as f64,
            train_accuracy: Some(0.5),
            train_last_step_loss: None,
            test_loss: tested.then_some(1.5 / epoch as f64),
            test_accuracy: tested.then_some(0.4),
            test_last_step_loss: None,
            validation_loss: None,
            validation_accuracy: None,
            validation_last_step_loss: None,
            test_bits: None,
            validation_metrics: None,
            test_metrics: None,
            // Unknown for epochs before a resume.
            sequences_per_second: if epoch == 1 { 0.0 } else { 100.0 },
            seconds: if epoch == 1 { 0.0 } else { 2.0 },
        };
        Run {
            name: name.into(),
            recipe,
            devices: vec!["a <device>".into()],
            epochs: (1..=epochs).map(metrics).collect(),
            tested: None,
            reports: vec![],
        }
    }

    fn details() -> RunDetails {
        RunDetails {
            heads: vec![],
            parameters: Some(7),
            predictions: Ok(None),
            baselines: vec![],
            ahead: vec![],
            remarks: vec!["it does not beat <anything>".into()],
            continuation: None,
        }
    }

    pub(super) fn assert_whole(html: &str) {
        for part in ["<script", "http", "src=", "href=", "url(", "NaN", "inf\""] {
            assert!(!html.contains(part), "`{part}` in {html}");
        }
        for tag in ["svg", "figure", "table", "div", "p", "h2", "title"] {
            let open = html.matches(&format!("<{tag}>")).count()
                + html.matches(&format!("<{tag} ")).count();
            assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_run_has_a_curve_for_each_metric_and_split() {
        for (epochs, tested, curves) in [(5, true, 5), (5, false, 3), (1, true, 4), (0, true, 0)] {
            let html = page(&run("a", epochs, 8, tested), &details());
            assert_whole(&html);
            assert_eq!(
                html.matches("<polyline").count(),
                curves,
                "{epochs} {tested}"
            );
            for part in [
                "a &lt;device&gt;",
                "beat &lt;anything&gt;",
                "hidden_size = 8",
            ] {
                assert!(html.contains(part), "{part}");
            }
        }
        let html = page(&run("a", 0, 8, true), &details());
        assert!(html.contains("No epoch is complete yet"));
    }
}
