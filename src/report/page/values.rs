//! The predicted values of a page, and the continuation of a series.

use super::super::Continuation;
use super::super::predictions::{ExampleSequence, ValuePredictions};
use crate::error::{Error, Result};
use crate::html::chart::{self, Chart, ChartKind, ChartSeries, ChartSize, bounds};
use crate::html::escape;

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
             <p>At the last step of {sequences}, in the units of the data.{}</p>\n{legend}",
            self.left_out()
        );
        let columns = || self.last.iter().enumerate().take(MOST_COLUMNS);
        if self.in_time {
            html.extend(columns().map(|(k, pairs)| self.over_time(k, pairs).figure()));
        }
        html += "<div class=\"charts\">\n";
        html.extend(columns().map(|(k, pairs)| self.scatter(k, pairs).figure()));
        let column = if self.last.is_empty() {
            String::new()
        } else {
            self.column(0)
        };
        let examples = self.examples.iter();
        html.extend(examples.map(|example| example.chart(&column).figure()));
        html + "</div>\n"
    }

    /// Sentences on what is not drawn.
    fn left_out(&self) -> String {
        let mut text = String::new();
        let columns = self.last.len();
        if columns > MOST_COLUMNS {
            text += &format!(" The first {MOST_COLUMNS} of {columns} target values are drawn.");
        }
        let missing = |pairs: &Vec<(f32, f32)>| {
            let targets = pairs.iter().map(|pair| pair.0);
            targets.filter(|target| target.is_nan()).count()
        };
        let missing: usize = self.last.iter().map(missing).sum();
        if missing > 0 {
            text += &format!(" {missing} of the targets are missing and leave gaps.");
        }
        text
    }

    /// The last predictions of an output column, one sequence after another.
    fn over_time(&self, k: usize, pairs: &[(f32, f32)]) -> Chart {
        let first = pairs.len().saturating_sub(MOST_IN_TIME);
        let count = pairs.len() - first;
        let times = self
            .times
            .as_ref()
            .filter(|times| times.values.len() == pairs.len());
        let at = |n: usize| times.map_or(n as f64, |times| times.values[n]);
        let last = pairs.iter().enumerate().skip(first);
        let (targets, predictions) = last.map(|(n, pair)| at_step(at(n), pair)).unzip();
        Chart {
            title: format!("{}the last {count} predictions, in time", self.column(k)),
            x: match times {
                None => "step",
                Some(times) if times.are_dates => "",
                Some(_) => "time",
            },
            kind: match times {
                None => ChartKind::Lines,
                Some(times) if times.are_dates => ChartKind::DateLines,
                Some(_) => ChartKind::TimeLines,
            },
            size: ChartSize::Wide,
            series: targets_and_predictions(targets, predictions).into(),
        }
    }

    fn scatter(&self, k: usize, pairs: &[(f32, f32)]) -> Chart {
        let known = pairs.iter().filter(|pair| !pair.0.is_nan());
        let every = known.clone().count().div_ceil(MOST_SCATTERED).max(1);
        let points = known.step_by(every);
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

    /// The beginning of a title that names an output column: its name, or its number where there
    /// are several without names.
    fn column(&self, k: usize) -> String {
        match (self.names.get(k), self.last.len()) {
            (Some(name), _) => format!("{name}: "),
            (None, 1) => String::new(),
            (None, _) => format!("output {}: ", k + 1),
        }
    }
}

impl ExampleSequence {
    /// The chart of the sequence; `column` begins its title.
    fn chart(&self, column: &str) -> Chart {
        let steps = self.steps.iter().enumerate();
        let (targets, predictions) = steps.map(|(t, pair)| at_step(t as f64 + 1.0, pair)).unzip();
        Chart {
            title: format!("{column}sequence {}, {}", self.sequence, self.name),
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
            "<h2>Continuation</h2>\n<p>{steps} steps after {} that the network generates from its \
             own predictions.{diverges}</p>\n{legend}{figures}",
            escape(&self.origin)
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
        let of_column = |values: &[f64], first: usize| -> Vec<(f64, f64)> {
            let rows = values.chunks(width).enumerate();
            rows.map(|(t, row)| ((first + t + 1) as f64, row[k]))
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
            names: vec!["<level>".into()],
            last: vec![vec![(1.0, 1.1), (2.0, 1.9)]],
            in_time: true,
            times: None,
            examples: vec![ExampleSequence {
                sequence: 3,
                name: "the largest error",
                steps: vec![(0.0, 1.0), (1.0, 1.0)],
            }],
        };
        let html = values.html("all");
        assert_whole(&html);
        // The chart in time is drawn for a wide and for a narrow page.
        assert_eq!(html.matches("<polyline").count(), 6);
        assert_eq!(html.matches("<figure>").count(), 3);
        // Each chart's title names the target.
        let named = "<figcaption>&lt;level&gt;: ";
        assert_eq!(html.matches(named).count(), 3);
        let without = ValuePredictions {
            last: vec![vec![(1.0, 1.1), (f32::NAN, 1.9), (3.0, 3.0), (4.0, 4.1)]],
            examples: vec![],
            ..values
        };
        let html = without.html("all");
        assert_whole(&html);
        assert!(html.contains("1 of the targets are missing"), "{html}");
        // The target's line has a gap; the prediction's has none.
        assert_eq!(html.matches("<polyline").count(), 2 * 3);
        assert_eq!(html.matches("<circle").count(), 3 + 7);
        let continuation = Continuation {
            origin: "<a>, row 3".into(),
            history: vec![1.0, 2.0, 1.0],
            values: vec![2.0, 1e30, f64::NAN],
            columns: vec!["<x>".into()],
            diverges_at: Some(1),
        };
        let html = continuation.html();
        assert_whole(&html);
        assert!(html.contains("From step 2 on they diverge") && html.contains("&lt;x&gt;"));
        assert!(html.contains("after &lt;a&gt;, row 3 that"));
        assert_eq!(html.matches("<polyline").count(), 2 * 2);
    }
}
