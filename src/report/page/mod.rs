//! The pages: one run in detail, or several on the same axes.

mod values;

use std::fmt::Write;

use serde_json::Value;

use super::findings::{Answers, Classes, Findings, Picture};
use super::{Details, Run, curves};
use crate::html::{self, escape, trimmed};
use crate::numeric::statistics::figure;
use crate::train::EpochMetrics;

/// The most classes of which all pairs are drawn.
const LARGEST_MATRIX: usize = 32;
/// Confusions that are listed where there are more classes.
const LISTED: usize = 30;
/// Shades of a picture.
const SHADES: usize = 16;

/// A run in detail.
pub fn page(run: &Run, details: &Details) -> String {
    let recipe = &run.recipe;
    let layers = recipe.network.layers.iter();
    let layers: Vec<String> = layers
        .map(|layer| format!("{} {}", layer.cell.name(), layer.hidden_size))
        .collect();
    let mut body = format!(
        "<h1>{}</h1>\n<p>{}: {}, batch size {}, seed {}. Written by gatescan {}.</p>\n{}",
        escape(&run.name),
        escape(&recipe.name),
        layers.join(" &gt; "),
        recipe.batch_size,
        recipe.seed,
        env!("CARGO_PKG_VERSION"),
        figures(run, details)
    );
    for remark in &details.remarks {
        let _ = writeln!(body, "<p class=\"remark\">{}</p>", escape(remark));
    }
    body += &curves::html(std::slice::from_ref(run));
    match &details.findings {
        Ok(Some(findings)) => body += &findings.html(),
        Ok(None) => {}
        Err(problem) => {
            let _ = writeln!(
                body,
                "<h2>Answers</h2>\n<p>They are left out: {}</p>",
                escape(problem)
            );
        }
    }
    if let Some(continuation) = &details.continuation {
        body += &continuation.html();
    }
    if let [heads, rows @ ..] = &details.baselines[..] {
        body += "<h2>Beside what needs no network</h2>\n";
        body += &table(heads, rows);
    }
    if let Ok(recipe) = recipe.to_toml() {
        let _ = writeln!(
            body,
            "<h2>Recipe</h2>\n<div class=\"wide\"><pre>{}</pre></div>",
            escape(&recipe)
        );
    }
    html::page(&run.name, &body)
}

/// Several runs on the same axes, and what differs in their recipes.
pub fn comparison(runs: &[Run]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = names.join(", ");
    let mut body = format!(
        "<h1>{} runs</h1>\n<p>Written by gatescan {}.</p>\n{}",
        runs.len(),
        env!("CARGO_PKG_VERSION"),
        curves::html(runs)
    );
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
    let rows: Vec<_> = runs.iter().map(outcome).collect();
    let _ = write!(
        body,
        "<h2>What they came to</h2>\n<p>At the epoch that the model is of.</p>\n{}",
        table(&heads.map(String::from), &rows)
    );
    body += "<h2>What differs in their recipes</h2>\n";
    let differences = differences(runs);
    body += &match differences.is_empty() {
        true => "<p>Nothing.</p>\n".to_string(),
        false => {
            let heads = [
                vec!["field".to_string()],
                names.iter().map(|name| (*name).into()).collect(),
            ];
            table(&heads.concat(), &differences)
        }
    };
    html::page(&title, &body)
}

fn outcome(run: &Run) -> [String; 8] {
    let kept = run.kept();
    let of =
        |value: fn(&EpochMetrics) -> Option<f64>| kept.and_then(value).map_or("-".into(), score);
    [
        run.name.clone(),
        kept.map_or("-".into(), |kept| kept.epoch.to_string()),
        of(|kept| Some(kept.train_loss)),
        of(|kept| kept.test_loss),
        of(|kept| kept.test_accuracy),
        speed(run).map_or("-".into(), figure),
        figure(run.epochs.iter().map(|each| each.seconds).sum()),
        run.devices.join("; "),
    ]
}

/// Fields whose values are not the same in all recipes: the field, and its value in each.
fn differences(runs: &[Run]) -> Vec<Vec<String>> {
    let fields: Vec<Vec<(String, String)>> = runs
        .iter()
        .map(|run| {
            let mut fields = vec![];
            flatten("", &serde_json::json!(run.recipe), &mut fields);
            fields
        })
        .collect();
    let mut names: Vec<&str> = vec![];
    for (name, _) in fields.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let row = |name: &str| {
        let value = |fields: &Vec<(String, String)>| {
            let found = fields.iter().find(|field| field.0 == name);
            found.map_or("-".to_string(), |field| field.1.clone())
        };
        let values: Vec<String> = fields.iter().map(value).collect();
        let differ = values.iter().any(|value| *value != values[0]);
        differ.then(|| [vec![name.to_string()], values].concat())
    };
    names.into_iter().filter_map(row).collect()
}

/// The leaves of an object, by their paths as `--set` takes them.
fn flatten(path: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    let below = |key: &str| match path {
        "" => key.to_string(),
        _ => format!("{path}.{key}"),
    };
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| flatten(&below(key), value, fields)),
        Value::Array(values) if values.iter().any(Value::is_object) => values
            .iter()
            .enumerate()
            .for_each(|(n, value)| flatten(&below(&n.to_string()), value, fields)),
        Value::String(text) => fields.push((path.into(), text.clone())),
        value => fields.push((path.into(), value.to_string())),
    }
}

/// The median over the epochs, but for those of which it is not known.
fn speed(run: &Run) -> Option<f64> {
    let speeds = run.epochs.iter().map(|each| each.sequences_per_second);
    let mut speeds: Vec<f64> = speeds.filter(|speed| *speed > 0.0).collect();
    speeds.sort_by(f64::total_cmp);
    speeds.get(speeds.len() / 2).copied()
}

/// A loss or an accuracy.
fn score(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && size < 0.01 => format!("{value:.3e}"),
        _ => format!("{value:.4}"),
    }
}

fn figures(run: &Run, details: &Details) -> String {
    let mut list = String::from("<dl>\n");
    let mut add = |name: &str, value: String, note: &str| {
        let (value, note) = (escape(&value), escape(note));
        let _ = writeln!(
            list,
            "<div><dt>{name}</dt><dd>{value} <small>{note}</small></dd></div>"
        );
    };
    if let Some(kept) = run.kept() {
        let epoch = format!("epoch {}", kept.epoch);
        let scores = [
            ("test accuracy", kept.test_accuracy),
            ("test loss", kept.test_loss),
            ("test loss at the last step", kept.test_last_step_loss),
            ("training loss", Some(kept.train_loss)),
        ];
        for (name, value) in scores {
            if let Some(value) = value {
                add(name, score(value), &epoch);
            }
        }
    }
    let recipe = &run.recipe;
    add(
        "epochs",
        format!("{} of {}", run.epochs.len(), recipe.epochs),
        "",
    );
    if let Some(speed) = speed(run) {
        add("throughput", figure(speed), "sequences/s, median");
    }
    let seconds: f64 = run.epochs.iter().map(|each| each.seconds).sum();
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

impl Findings {
    fn html(&self) -> String {
        let split = self.split.name();
        let of = match self.answered == self.of {
            true => format!("all {} sequences of the {split} split", self.of),
            false => format!(
                "{} of the {} sequences of the {split} split",
                self.answered, self.of
            ),
        };
        match &self.answers {
            Answers::Classes(classes) => classes.html(&of),
            Answers::Values(values) => values.html(&of),
        }
    }
}

impl Classes {
    fn html(&self, of: &str) -> String {
        let mut html = format!("<h2>What is taken for what</h2>\n<p>Over {of}.");
        html += &match self.names.len() {
            ..=LARGEST_MATRIX => format!(
                " A row for each true class, a column for each that it is taken for, and how much of it is recognised. \
                 Blue is right, orange wrong, by the share of the row.</p>\n{}",
                self.matrix()
            ),
            _ => self.list(),
        };
        if self.mistakes.is_empty() {
            return html;
        }
        html += "<h2>The worst mistakes</h2>\n<p>Sequences of the largest loss: what they are, what they are taken for, and \
                 with what probability.</p>\n<div class=\"mistakes\">\n";
        for mistake in &self.mistakes {
            let [truth, taken] =
                [mistake.truth, mistake.taken].map(|class| escape(&self.names[class]));
            let picture = mistake
                .picture
                .as_ref()
                .map(Picture::svg)
                .unwrap_or_default();
            let _ = writeln!(
                html,
                "<figure>{picture}<figcaption><b>{truth}</b> taken for <b>{taken}</b><br><small>{:.1}%, no. {}</small></figcaption></figure>",
                mistake.probability * 100.0,
                mistake.sequence
            );
        }
        html + "</div>\n"
    }

    fn matrix(&self) -> String {
        let names: Vec<String> = self.names.iter().map(|name| shortened(name)).collect();
        let longest = names
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(1) as f64;
        let cell = 42.0;
        let (left, side) = (16.0 + 7.5 * longest, cell * names.len() as f64);
        // Names that are longer than a cell stand slanted.
        let slanted = longest > 4.0;
        let top = if slanted { 12.0 + 6.0 * longest } else { 24.0 };
        let (width, height) = (left + side + 62.0, top + side + 4.0);
        let mut svg = format!(
            "<div class=\"wide\"><svg class=\"matrix\" style=\"max-width:{width:.0}px;min-width:{:.0}px\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
             aria-label=\"Confusion matrix\">\n<text x=\"{:.1}\" y=\"{:.1}\">recall</text>\n",
            0.75 * width,
            left + side + 8.0,
            top - 8.0
        );
        for (k, name) in names.iter().enumerate() {
            let name = escape(name);
            let middle = left + (k as f64 + 0.5) * cell;
            let turned = match slanted {
                true => format!(
                    "text-anchor=\"start\" transform=\"translate({middle:.1} {:.1}) rotate(-40)\"",
                    top - 6.0
                ),
                false => format!(
                    "text-anchor=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\"",
                    top - 8.0
                ),
            };
            let row = top + (k as f64 + 0.5) * cell + 4.0;
            let (all, right) = self.recalled(k);
            let recall = match all {
                0 => "-".to_string(),
                _ => format!("{:.1}%", f64::from(right) / f64::from(all) * 100.0),
            };
            let _ = writeln!(
                svg,
                "<text {turned}>{name}</text><text x=\"{:.1}\" y=\"{row:.1}\" text-anchor=\"end\">{name}</text>\
                 <text x=\"{:.1}\" y=\"{row:.1}\">{recall}</text>",
                left - 7.0,
                left + side + 8.0
            );
        }
        for truth in 0..names.len() {
            let (all, _) = self.recalled(truth);
            for taken in 0..names.len() {
                let count = self.counts.get(&(truth, taken)).copied().unwrap_or(0);
                let share = f64::from(count) / f64::from(all.max(1));
                // What is wrong is seldom, and is to be seen.
                let (class, depth) = match (count, truth == taken) {
                    (0, _) => ("empty", 1.0),
                    (_, true) => ("c0", 0.12 + 0.78 * share),
                    (_, false) => ("c1", 0.15 + 0.85 * share.sqrt()),
                };
                let [x, y] = [left + taken as f64 * cell, top + truth as f64 * cell];
                let [t, p] = [truth, taken].map(|class| escape(&self.names[class]));
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{0}\" height=\"{0}\" fill-opacity=\"{depth:.2}\"><title>{t} taken for {p}: {count}</title></rect>",
                    cell - 2.0
                );
                if count > 0 {
                    let ink = if depth > 0.55 { "inside" } else { "number" };
                    let _ = write!(
                        svg,
                        "<text class=\"{ink}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{count}</text>",
                        x + cell / 2.0 - 1.0,
                        y + cell / 2.0 + 3.0
                    );
                }
                svg.push('\n');
            }
        }
        svg + "</svg></div>\n"
    }

    /// The most frequent of them.
    fn list(&self) -> String {
        let (mut all, mut right) = (0u64, 0u64);
        for ((truth, taken), &count) in &self.counts {
            all += u64::from(count);
            right += if truth == taken { u64::from(count) } else { 0 };
        }
        let confusions = self.confusions();
        let row = |&((truth, taken), count): &((usize, usize), u32)| {
            let share = f64::from(count) / f64::from(self.recalled(truth).0.max(1)) * 100.0;
            [
                self.names[truth].clone(),
                self.names[taken].clone(),
                count.to_string(),
                format!("{share:.1}%"),
            ]
        };
        let rows: Vec<_> = confusions.iter().take(LISTED).map(row).collect();
        let heads = ["class", "taken for", "times", "of the class"].map(String::from);
        format!(
            " {right} of {all} answers are right. There are {} classes; these are the most frequent confusions.</p>\n{}",
            self.names.len(),
            table(&heads, &rows)
        )
    }
}

fn shortened(name: &str) -> String {
    match name.chars().count() {
        ..=12 => name.to_string(),
        _ => name.chars().take(11).chain(['…']).collect(),
    }
}

impl Picture {
    fn svg(&self) -> String {
        match self {
            Picture::Image { columns, values } => {
                let rows = values.len() / columns;
                // A path for each shade, of runs of squares in a row.
                let mut paths = vec![String::new(); SHADES];
                for (y, row) in values.chunks(*columns).enumerate() {
                    let mut x = 0;
                    let shade = |value: f32| (value * (SHADES - 1) as f32).round() as usize;
                    for run in row.chunk_by(|a, b| shade(*a) == shade(*b)) {
                        let path = &mut paths[shade(run[0]).min(SHADES - 1)];
                        let _ = write!(path, "M{x} {y}h{0}v1h-{0}z", run.len());
                        x += run.len();
                    }
                }
                let shades = paths
                    .iter()
                    .enumerate()
                    .skip(1)
                    .filter(|(_, path)| !path.is_empty());
                let shades: String = shades
                    .map(|(shade, path)| {
                        let depth = shade as f64 / (SHADES - 1) as f64;
                        format!("<path d=\"{path}\" fill-opacity=\"{}\"/>", trimmed(depth))
                    })
                    .collect();
                format!("<svg class=\"picture\" viewBox=\"0 0 {columns} {rows}\">{shades}</svg>")
            }
            Picture::Curve(values) => {
                let least = values
                    .iter()
                    .fold(f32::MAX, |least, &value| least.min(value));
                let most = values.iter().fold(f32::MIN, |most, &value| most.max(value));
                let scale = (most - least).max(f32::MIN_POSITIVE);
                let last = (values.len() - 1).max(1) as f32;
                let every = values.len().div_ceil(200);
                let points = values.iter().enumerate().step_by(every);
                let points: Vec<String> = points
                    .map(|(t, value)| {
                        let y = 36.0 - 32.0 * (value - least) / scale;
                        format!("{:.1},{y:.1}", 2.0 + 96.0 * t as f32 / last)
                    })
                    .collect();
                format!(
                    "<svg class=\"picture\" viewBox=\"0 0 100 40\"><polyline class=\"c0\" points=\"{}\"/></svg>",
                    points.join(" ")
                )
            }
        }
    }
}

/// A table whose first column is text.
fn table<Row: AsRef<[String]>>(heads: &[String], rows: &[Row]) -> String {
    let mut html = String::from("<div class=\"wide\"><table class=\"few\">\n<tr>");
    let class = |column: usize| if column == 0 { " class=\"text\"" } else { "" };
    for (column, head) in heads.iter().enumerate() {
        let _ = write!(html, "<th{}>{}</th>", class(column), escape(head));
    }
    html += "</tr>\n";
    for row in rows {
        html += "<tr>";
        for (column, cell) in row.as_ref().iter().enumerate() {
            let _ = write!(html, "<td{}>{}</td>", class(column), escape(cell));
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    fn run(name: &str, epochs: usize, hidden_size: usize, tested: bool) -> Run {
        let mut recipe = Recipe::load("mnist").unwrap();
        recipe.network.set_hidden_size(hidden_size);
        let metrics = |epoch: usize| EpochMetrics {
            epoch,
            train_loss: 1.0 / epoch as f64,
            train_accuracy: Some(0.5),
            train_last_step_loss: None,
            test_loss: tested.then_some(1.5 / epoch as f64),
            test_accuracy: tested.then_some(0.4),
            test_last_step_loss: None,
            test_bits: None,
            // Of before a resume, neither is known.
            sequences_per_second: if epoch == 1 { 0.0 } else { 100.0 },
            seconds: if epoch == 1 { 0.0 } else { 2.0 },
        };
        Run {
            name: name.into(),
            recipe,
            devices: vec!["a <device>".into()],
            epochs: (1..=epochs).map(metrics).collect(),
            reports: vec![],
        }
    }

    fn details() -> Details {
        Details {
            parameters: Some(7),
            findings: Ok(None),
            baselines: vec![],
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
    fn a_run_has_a_curve_for_each_of_its_numbers() {
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
        assert!(same.contains("<p>Nothing.</p>"));
    }

    #[test]
    fn classes_are_drawn_or_listed() {
        let mistake = super::super::Mistake {
            sequence: 4,
            truth: 0,
            taken: 1,
            probability: 0.75,
            of_truth: 0.1,
            picture: Some(Picture::Image {
                columns: 2,
                values: vec![0.0, 1.0, 1.0, 1.0],
            }),
        };
        let classes = |count: usize| Classes {
            names: (0..count).map(|k| format!("<{k}>")).collect(),
            counts: [((0, 0), 6), ((0, 1), 2), ((1, 1), 4)].into(),
            mistakes: vec![mistake.clone()],
        };
        let html = classes(3).html("all");
        assert_whole(&html);
        assert_eq!(html.matches("<rect").count(), 9);
        for part in [
            "75.0%",
            "&lt;0&gt; taken for &lt;1&gt;: 2",
            "M1 0h1v1h-1zM0 1h2v1h-2z",
            "taken for <b>&lt;1&gt;</b>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        let html = classes(100).html("all");
        assert_whole(&html);
        assert!(
            html.contains("10 of 12 answers are right") && html.contains("<td>25.0%</td>"),
            "{html}"
        );
    }
}
