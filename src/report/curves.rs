//! The curves of one or several runs: loss, accuracy and throughput.

use super::Run;
use crate::error::{Error, Result};
use crate::html::chart::{self, Chart, ChartKind, ChartSeries, ChartSize};
use crate::train::EpochMetrics;

/// A value of an epoch that may be absent.
type Metric = fn(&EpochMetrics) -> Option<f64>;

/// Draws loss and accuracy over the epochs as one SVG file for papers; training is dashed.
///
/// # Errors
/// [`Error::Failed`] if no run has an epoch.
pub fn svg(runs: &[Run]) -> Result<String> {
    let problem = || Error::Failed("nothing to plot: no epoch of these runs is complete".into());
    chart::paper(&[loss(runs), accuracy(runs)]).ok_or_else(problem)
}

/// The charts of these runs as HTML, with a legend.
pub(super) fn html(runs: &[Run]) -> String {
    let mut html = String::from("<h2>Curves</h2>\n");
    let charts = [
        loss(runs),
        accuracy(runs),
        last_step_loss(runs),
        recent_loss(runs),
        throughput(runs),
    ];
    let Some(first) = charts.iter().find(|chart| !chart.series.is_empty()) else {
        return html + "<p>No epoch is complete yet.</p>\n";
    };
    html += &chart::legend(&first.series);
    let figures: String = charts.iter().map(Chart::figure).collect();
    html + &format!("<div class=\"charts\">\n{figures}</div>\n")
}

fn loss(runs: &[Run]) -> Chart {
    let series = both_splits(runs, |each| Some(each.train_loss), |each| each.test_loss);
    chart_of("loss", "epoch", ChartKind::LogLines, series)
}

fn accuracy(runs: &[Run]) -> Chart {
    let series = both_splits(runs, |each| each.train_accuracy, |each| each.test_accuracy);
    chart_of("accuracy", "epoch", ChartKind::Lines, series)
}

fn last_step_loss(runs: &[Run]) -> Chart {
    let series = both_splits(
        runs,
        |each| each.train_last_step_loss,
        |each| each.test_last_step_loss,
    );
    let title = "loss at the last step of each sequence";
    chart_of(title, "epoch", ChartKind::LogLines, series)
}

fn recent_loss(runs: &[Run]) -> Chart {
    let points = |run: &Run| {
        let reports = run.reports.iter();
        reports
            .map(|&(step, loss)| (step as f64, loss))
            .collect::<Vec<_>>()
    };
    let series = training_alone(runs, points);
    let title = "mean loss of the most recent updates";
    chart_of(title, "update", ChartKind::LogLines, series)
}

fn throughput(runs: &[Run]) -> Chart {
    let speed: Metric = |each| Some(each.sequences_per_second).filter(|speed| *speed > 0.0);
    let series = training_alone(runs, |run| over_epochs(run, speed));
    let title = "training throughput, sequences per second";
    chart_of(title, "epoch", ChartKind::Lines, series)
}

fn chart_of(title: &str, x: &'static str, kind: ChartKind, series: Vec<ChartSeries>) -> Chart {
    let not_empty = |series: &ChartSeries| !series.points.is_empty();
    Chart {
        title: title.into(),
        x,
        kind,
        size: ChartSize::Small,
        series: series.into_iter().filter(not_empty).collect(),
    }
}

/// The training split, dashed, and the test split of each run. The splits of a single run have
/// different colours; of several runs each run has its colour.
fn both_splits(runs: &[Run], train: Metric, test: Metric) -> Vec<ChartSeries> {
    let splits_of = |(n, run): (usize, &Run)| {
        let train_colour = if runs.len() == 1 { 0 } else { n };
        let test_colour = if runs.len() == 1 { 1 } else { n };
        [
            ChartSeries {
                name: series_name(runs, run, "train"),
                colour: train_colour,
                dashed: true,
                points: over_epochs(run, train),
            },
            ChartSeries {
                name: series_name(runs, run, "test"),
                colour: test_colour,
                dashed: false,
                points: over_epochs(run, test),
            },
        ]
    };
    runs.iter().enumerate().flat_map(splits_of).collect()
}

/// The training split of each run as a solid line.
fn training_alone(runs: &[Run], points: impl Fn(&Run) -> Vec<(f64, f64)>) -> Vec<ChartSeries> {
    let series = |(n, run): (usize, &Run)| ChartSeries {
        name: series_name(runs, run, "train"),
        colour: n,
        dashed: false,
        points: points(run),
    };
    runs.iter().enumerate().map(series).collect()
}

fn over_epochs(run: &Run, metric: Metric) -> Vec<(f64, f64)> {
    let epochs = run.epochs.iter();
    let points = epochs.filter_map(|each| Some((each.epoch as f64, metric(each)?)));
    points.collect()
}

fn series_name(runs: &[Run], run: &Run, split: &str) -> String {
    if runs.len() == 1 {
        split.into()
    } else {
        format!("{}, {split}", run.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn a_plot_has_a_panel_for_loss_and_one_for_accuracy() {
        let line = "{\"epoch\":1,\"train_loss\":2.5,\"train_accuracy\":0.5,\
                    \"train_last_step_loss\":null,\"test_loss\":0.001,\"test_accuracy\":null,\
                    \"test_last_step_loss\":null,\"sequences_per_second\":10.0,\"seconds\":1.0}";
        let recipe = Recipe::load("mnist").unwrap();
        let run = |name: &str, metrics: &str| Run::new(name, recipe.clone(), vec![], metrics);
        let text = svg(&[run("<a>", line), run("b", "")]).unwrap();
        for part in ["<svg", "loss", "accuracy", "&lt;a&gt;, test", ">0.001<"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert_eq!(text.matches("class=\"axes\"").count(), 2);
        let message = svg(&[run("b", "")]).unwrap_err().to_string();
        assert!(message.contains("no epoch of these runs"), "{message}");
    }
}
