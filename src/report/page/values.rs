//! The predicted values of a page, and the continuation of a series.

use super::super::Continuation;
use super::super::predictions::{ExampleSequence, ValuePredictions};
use crate::error::{Error, Result};
use crate::html::chart::{self, Chart, ChartKind, ChartSeries, ChartSize, bounds};

/// The largest number of answers in time that are drawn, and of points of a scatter plot.
const MOST_IN_TIME: usize = 400;
const MOST_SCATTERED: usize = 1000;
/// The largest number of output columns that are drawn.
const MOST_COLUMNS: usize = 3;

impl ValuePredictions {
    /// The charts as HTML; `sequences` names the sequences that were predicted.
    pub(super) fn html(&self, sequences: &str) -> String {
        let legend = chart::legend(&targets_and_predictions(vec![], vec![]));
        let mut html = format!(
            "<h2>Predictions and targets</h2>\n\
             <p>At the last step of {sequences}, in the units of the data.</p>\n{legend}"
        );
        let columns = || self.last.iter().enumerate().take(MOST_COLUMNS);
        if self.in_time {
            html.extend(columns().map(|(k, pairs)| self.over_time(k, pairs).figure()));
        }
        html += "<div class=\"charts\">\n";
        html.extend(columns().map(|(k, pairs)| self.scatter(k, pairs).figure()));
        html.extend(self.examples.iter().map(|example| example.chart().figure()));
        html + "</div>\n"
    }

    /// The last predictions of an output column, one sequence after another.
    fn over_time(&self, k: usize, pairs: &[(f32, f32)]) -> Chart {
        let first = pairs.len().saturating_sub(MOST_IN_TIME);
        let count = pairs.len() - first;
        let last = pairs.iter().enumerate().skip(first);
        let (targets, predictions) = last.map(|(n, pair)| at_step(n as f64, pair)).unzip();
        Chart {
            title: format!("{}the last {count} predictions, in time", self.column(k)),
            x: "step",
            kind: ChartKind::Lines,
            size: ChartSize::Wide,
            series: targets_and_predictions(targets, predictions).into(),
        }
    }

    fn scatter(&self, k: usize, pairs: &[(f32, f32)]) -> Chart {
        let every = pairs.len().div_ceil(MOST_SCATTERED).max(1);
        let points = pairs.iter().step_by(every);
        let points = points.map(|&(target, prediction)| (target.into(), prediction.into()));
        Chart {
            title: format!("{}predictions over targets", self.column(k)),
            x: "target",
            kind: ChartKind::Scatter,
            size: ChartSize::Small,
            series: vec![ChartSeries {
                name: "prediction".into(),
                colour: 1,
                dashed: false,
                points: points.collect(),
            }],
        }
    }

    /// The beginning of a title that names an output column, where there are several.
    fn column(&self, k: usize) -> String {
        if self.last.len() == 1 {
            String::new()
        } else {
            format!("output {}: ", k + 1)
        }
    }
}

impl ExampleSequence {
    fn chart(&self) -> Chart {
        let steps = self.steps.iter().enumerate();
        let (targets, predictions) = steps.map(|(t, pair)| at_step(t as f64 + 1.0, pair)).unzip();
        Chart {
            title: format!("sequence {}: {}", self.sequence, self.name),
            x: "step",
            kind: ChartKind::Lines,
            size: ChartSize::Small,
            series: targets_and_predictions(targets, predictions).into(),
        }
    }
}

impl Continuation {
    /// The charts as HTML.
    pub(super) fn html(&self) -> String {
        let steps = self.values.len() / self.columns.len().max(1);
        let diverges = self.diverges_at.map_or(String::new(), |step| {
            format!(
                " From step {} on they diverge from the series and are not meaningful; \
                 the axis ends there.",
                step + 1
            )
        });
        let charts = self.charts(MOST_COLUMNS);
        let legend = charts
            .first()
            .map_or(String::new(), |chart| chart::legend(&chart.series));
        let figures: String = charts.iter().map(Chart::figure).collect();
        format!(
            "<h2>Continuation</h2>\n<p>{steps} steps that the network generates from its own \
             predictions.{diverges}</p>\n{legend}{figures}"
        )
    }

    /// Draws all columns as one SVG file for papers.
    ///
    /// # Errors
    /// [`Error::Failed`] if no value is finite.
    pub fn svg(&self) -> Result<String> {
        let problem = || Error::Failed("nothing to plot: no value is finite".into());
        chart::paper(&self.charts(usize::MAX)).ok_or_else(problem)
    }

    fn charts(&self, most: usize) -> Vec<Chart> {
        let columns = 0..self.columns.len().min(most);
        columns.map(|k| self.chart(k)).collect()
    }

    /// The history of column `k`, and its continuation up to the first value far outside of the
    /// history's range.
    fn chart(&self, k: usize) -> Chart {
        let width = self.columns.len();
        let of_column = |values: &[f32], first: usize| -> Vec<(f64, f64)> {
            let rows = values.chunks(width).enumerate();
            rows.map(|(t, row)| ((first + t + 1) as f64, f64::from(row[k])))
                .collect()
        };
        let history = of_column(&self.history, 0);
        let (least, most) = bounds(history.iter().map(|point| point.1));
        let margin = 2.0 * (most - least).max(1e-6);
        let is_near = |point: &(f64, f64)| (least - margin..=most + margin).contains(&point.1);
        let generated = of_column(&self.values, self.history.len() / width);
        // The continuation begins at the last value of the history.
        let last = history.last().copied();
        let points = last
            .into_iter()
            .chain(generated.into_iter().take_while(is_near))
            .collect();
        let series = [("series", 0, history), ("continuation", 1, points)];
        Chart {
            title: self.columns[k].clone(),
            x: "step",
            kind: ChartKind::Lines,
            size: ChartSize::Wide,
            series: series.map(solid).into(),
        }
    }
}

/// The points of a target and of its prediction.
fn at_step(step: f64, &(target, prediction): &(f32, f32)) -> ((f64, f64), (f64, f64)) {
    ((step, target.into()), (step, prediction.into()))
}

fn targets_and_predictions(
    targets: Vec<(f64, f64)>,
    predictions: Vec<(f64, f64)>,
) -> [ChartSeries; 2] {
    [("target", 0, targets), ("prediction", 1, predictions)].map(solid)
}

fn solid((name, colour, points): (&str, usize, Vec<(f64, f64)>)) -> ChartSeries {
    ChartSeries {
        name: name.into(),
        colour,
        dashed: false,
        points,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_whole;
    use super::*;

    #[test]
    fn values_and_their_continuation_are_drawn() {
        let values = ValuePredictions {
            last: vec![vec![(1.0, 1.1), (2.0, 1.9)]],
            in_time: true,
            examples: vec![ExampleSequence {
                sequence: 3,
                name: "the largest error",
                steps: vec![(0.0, 1.0), (1.0, 1.0)],
            }],
        };
        let html = values.html("all");
        assert_whole(&html);
        assert_eq!(html.matches("<polyline").count(), 4);
        assert_eq!(html.matches("<figure>").count(), 3);
        let continuation = Continuation {
            history: vec![1.0, 2.0, 1.0],
            values: vec![2.0, 1e30, f32::NAN],
            columns: vec!["<x>".into()],
            diverges_at: Some(1),
        };
        let html = continuation.html();
        assert_whole(&html);
        assert!(html.contains("From step 2 on they diverge") && html.contains("&lt;x&gt;"));
        assert_eq!(html.matches("<polyline").count(), 2);
    }
}
