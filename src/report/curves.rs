//! The curves of one or several runs: loss, accuracy and throughput.

use super::Run;
use crate::data::Split;
use crate::error::{Error, Result};
use crate::html::chart::{self, Chart, ChartKind, ChartSeries, ChartSize};
use crate::train::{EpochMetrics, HeadMetrics, SplitMetrics};

/// A value of an epoch that may be absent.
type Metric<'a> = &'a dyn Fn(&EpochMetrics) -> Option<f64>;

/// Draws loss and accuracy over the epochs as one SVG file for papers; training is dashed.
///
/// # Errors
/// [`Error::Failed`] if no run has an epoch.
pub fn svg(runs: &[Run]) -> Result<String> {
    let problem = || Error::Failed("nothing to plot: no epoch of these runs is complete".into());
    let small = |chart: Chart| Chart {
        size: ChartSize::Small,
        ..chart
    };
    chart::paper(&[loss(runs), accuracy(runs)].map(small)).ok_or_else(problem)
}

/// The charts of these runs as HTML, with a legend.
pub(super) fn html(runs: &[Run]) -> String {
    let mut html = String::from("<h2>Curves</h2>\n");
    let charts = [
        loss(runs),
        accuracy(runs),
        last_step_loss(runs),
        further(runs, "balanced accuracy", |metrics| {
            metrics.balanced_accuracy
        }),
        further(runs, "macro F1", |metrics| metrics.macro_f1),
        further(runs, "label error rate", |metrics| metrics.label_error_rate),
        further(runs, "sequence accuracy", |metrics| {
            metrics.sequence_accuracy
        }),
        further(runs, "RMSE in the units of the data", |metrics| {
            metrics.rmse
        }),
        further(runs, "MAE in the units of the data", |metrics| metrics.mae),
        further(runs, "R²", |metrics| metrics.r2),
        further(runs, "bits for each token", |metrics| metrics.bits),
    ];
    let of_heads = head_names(runs).into_iter();
    let of_heads = of_heads.flat_map(|name| of_head(runs, name));
    let last = [recent_loss(runs), throughput(runs)];
    let charts: Vec<Chart> = charts.into_iter().chain(of_heads).chain(last).collect();
    let Some(first) = charts.iter().find(|chart| !chart.series.is_empty()) else {
        return html + "<p>No epoch is complete yet.</p>\n";
    };
    let figures: String = charts.iter().map(Chart::figure).collect();
    if runs.len() == 1 {
        html += &chart::legend(&first.series);
        return html + &format!("<div class=\"charts\">\n{figures}</div>\n");
    }
    html += &format!("<p>{}</p>\n", lines_of_several(runs));
    // One entry for each run: the dashed line of training has its colour.
    let names = runs.iter().enumerate().map(|(n, run)| ChartSeries {
        name: run.name.clone(),
        ..line(n, false, vec![])
    });
    html + &chart::legend(&names.collect::<Vec<_>>()) + &figures
}

/// A sentence on the lines in the charts of several runs.
fn lines_of_several(runs: &[Run]) -> String {
    let is_split = |wanted: Split| runs.iter().any(|run| evaluated_split(run) == wanted);
    let splits = [Split::Validation, Split::Test, Split::Train];
    let splits: Vec<&str> = splits
        .into_iter()
        .filter(|&split| is_split(split))
        .map(Split::name)
        .collect();
    let each = if splits.len() > 1 {
        ", each as the run has it"
    } else {
        ""
    };
    let train = if draws_training(runs) && splits != ["train"] {
        "; dashed: the training split"
    } else {
        ""
    };
    format!(
        "Solid: the {} split{each}{train}.",
        splits.join(", or the ")
    )
}

/// The split that the curves of a run's evaluations are of.
fn evaluated_split(run: &Run) -> Split {
    run.epochs
        .last()
        .map_or(Split::Train, EpochMetrics::monitored_split)
}

/// Whether the charts have a line of training besides that of an evaluation: not of many runs.
fn draws_training(runs: &[Run]) -> bool {
    runs.len() <= MOST_WITH_TRAINING
}

/// The most runs whose charts have two lines for each.
const MOST_WITH_TRAINING: usize = 4;

fn loss(runs: &[Run]) -> Chart {
    let series = both_splits(runs, &|each| Some(each.train_loss), &|each| {
        each.validation_loss.or(each.test_loss)
    });
    chart_of(runs, "loss", "epoch", ChartKind::LogLines, series)
}

fn accuracy(runs: &[Run]) -> Chart {
    let series = both_splits(runs, &|each| each.train_accuracy, &|each| {
        each.validation_accuracy.or(each.test_accuracy)
    });
    chart_of(runs, "accuracy", "epoch", ChartKind::Lines, series)
}

fn last_step_loss(runs: &[Run]) -> Chart {
    let series = both_splits(runs, &|each| each.train_last_step_loss, &|each| {
        each.validation_last_step_loss.or(each.test_last_step_loss)
    });
    let title = "loss at the last step of each sequence";
    chart_of(runs, title, "epoch", ChartKind::LogLines, series)
}

/// The names of the heads of these runs, in the order of the first epochs that have them.
fn head_names(runs: &[Run]) -> Vec<&str> {
    let mut names: Vec<&str> = vec![];
    let epochs = runs.iter().flat_map(|run| &run.epochs);
    for head in epochs.flat_map(|epoch| &epoch.heads) {
        if !names.contains(&&head.name[..]) {
            names.push(&head.name);
        }
    }
    names
}

/// Loss, accuracy and label error rate of the head of this name.
fn of_head(runs: &[Run], name: &str) -> [Chart; 3] {
    fn value(epoch: &EpochMetrics, name: &str, of: fn(&HeadMetrics) -> Option<f64>) -> Option<f64> {
        of(epoch.heads.iter().find(|head| head.name == name)?)
    }
    let losses = both_splits(
        runs,
        &|each| value(each, name, |head| head.train_loss),
        &|each| value(each, name, |head| head.validation_loss.or(head.test_loss)),
    );
    let accuracies = both_splits(
        runs,
        &|each| value(each, name, |head| head.train_accuracy),
        &|each| {
            value(each, name, |head| {
                head.validation_accuracy.or(head.test_accuracy)
            })
        },
    );
    let of_both = [
        ("loss", ChartKind::LogLines, losses),
        ("accuracy", ChartKind::Lines, accuracies),
    ];
    let [losses, accuracies] = of_both.map(|(metric, kind, series)| {
        let title = format!("{metric} of the head {name}");
        chart_of(runs, &title, "epoch", kind, series)
    });
    let title = format!("label error rate of the head {name}");
    let errors = further_of(runs, &title, &|each| {
        value(each, name, |head| {
            head.validation_metrics
                .or(head.test_metrics)?
                .label_error_rate
        })
    });
    [losses, accuracies, errors]
}

/// A metric of the evaluated split alone.
fn further(runs: &[Run], title: &str, metric: fn(&SplitMetrics) -> Option<f64>) -> Chart {
    further_of(runs, title, &|each| {
        metric(&each.validation_metrics.or(each.test_metrics)?)
    })
}

/// A value of the evaluated split alone.
fn further_of(runs: &[Run], title: &str, value: &dyn Fn(&EpochMetrics) -> Option<f64>) -> Chart {
    let series = |(n, run): (usize, &Run)| {
        let epochs = run.epochs.iter();
        let points = epochs.filter_map(|each| Some((each.epoch as f64, value(each)?)));
        ChartSeries {
            name: series_name(runs, run, evaluated_split(run).name()),
            ..line(if runs.len() == 1 { 1 } else { n }, false, points.collect())
        }
    };
    let series = runs.iter().enumerate().map(series).collect();
    chart_of(runs, title, "epoch", ChartKind::Lines, series)
}

fn line(colour: usize, dashed: bool, points: Vec<(f64, f64)>) -> ChartSeries {
    ChartSeries {
        name: String::new(),
        colour,
        dashed,
        points,
    }
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
    chart_of(runs, title, "update", ChartKind::LogLines, series)
}

fn throughput(runs: &[Run]) -> Chart {
    let speed: Metric = &|each| Some(each.sequences_per_second).filter(|speed| *speed > 0.0);
    let series = training_alone(runs, |run| over_epochs(run, speed));
    let title = "training throughput, sequences per second";
    chart_of(runs, title, "epoch", ChartKind::Lines, series)
}

/// Small charts of a single run, large ones of several.
fn chart_of(
    runs: &[Run],
    title: &str,
    x: &'static str,
    kind: ChartKind,
    series: Vec<ChartSeries>,
) -> Chart {
    let not_empty = |series: &ChartSeries| !series.points.is_empty();
    Chart {
        title: title.into(),
        x,
        kind,
        size: if runs.len() == 1 {
            ChartSize::Small
        } else {
            ChartSize::Large
        },
        series: series.into_iter().filter(not_empty).collect(),
    }
}

/// The training split, dashed, and the validation or test split of each run. The splits of a single
/// run have different colours; of several runs each run has its colour.
fn both_splits(runs: &[Run], train: Metric, evaluated: Metric) -> Vec<ChartSeries> {
    let splits_of = |(n, run): (usize, &Run)| {
        let colours = if runs.len() == 1 { [0, 1] } else { [n, n] };
        let evaluated_points = over_epochs(run, evaluated);
        let is_alone = evaluated_points.is_empty();
        let training = ChartSeries {
            name: series_name(runs, run, "train"),
            ..line(
                colours[0],
                runs.len() == 1 || !is_alone,
                over_epochs(run, train),
            )
        };
        let evaluated = ChartSeries {
            name: series_name(runs, run, evaluated_split(run).name()),
            ..line(colours[1], false, evaluated_points)
        };
        let draws = is_alone || draws_training(runs);
        draws.then_some(training).into_iter().chain([evaluated])
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
