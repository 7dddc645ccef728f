//! The predicted values of a page, and the continuation of a series.

use super::super::Continuation;
use super::super::predictions::{ExampleSequence, ValuePredictions};
use crate::error::{Error, Result};
use crate::html::chart::{self, Chart, ChartBand, ChartKind, ChartSeries, ChartSize, bounds};
use crate::html::escape;

/// The largest number of answers in time that are drawn, and of points of a scatter plot.
const MOST_IN_TIME: usize = 400;
const MOST_SCATTERED: usize = 1000;
/// The largest number of output columns that are drawn.
const MOST_COLUMNS: usize = 3;

impl ValuePredictions {
    /// The charts as HTML; `sequences` names the sequences that were predicted.
    pub(super) fn html(&self, sequences: &str) -> String {
        let band = self.band.iter().map(|band| band_of(&band.name, vec![]));
        let legend = chart::legend_with(
            &targets_and_predictions(vec![], vec![]),
            &band.collect::<Vec<_>>(),
        );
        let mut html = format!(
            "<h2>Predictions and targets</h2>\n\
             <p>At the last step of {sequences}, in the units of the data.{}</p>\n{legend}",
            self.left_out()
        );
        let columns = || self.drawn().into_iter().map(|k| (k, &self.last[k]));
        if self.in_time {
            html.extend(columns().map(|(k, pairs)| {
                let (chart, bands) = self.over_time(k, pairs);
                chart.figure_with(&bands)
            }));
        }
        html += "<div class=\"charts\">\n";
        html.extend(columns().map(|(k, pairs)| self.scatter(k, pairs).figure()));
        let column = if self.last.is_empty() {
            String::new()
        } else {
            self.column(0)
        };
        let examples = self.examples.iter();
        html.extend(examples.map(|example| self.example(example, &column)));
        html + "</div>\n"
    }

    /// The output columns that are drawn: the first ones, or the first and the last of several
    /// steps ahead.
    fn drawn(&self) -> Vec<usize> {
        let columns = self.last.len();
        match self.several {
            Some(horizon) if columns > 0 => {
                let targets = columns / horizon.steps();
                let (first, last) = (0..targets, columns - targets..columns);
                first
                    .take(MOST_COLUMNS)
                    .chain(last.take(MOST_COLUMNS))
                    .collect()
            }
            _ => (0..columns.min(MOST_COLUMNS)).collect(),
        }
    }

    /// The chart of an example; `column` begins its title.
    fn example(&self, example: &ExampleSequence, column: &str) -> String {
        let first = self.several.map_or(1, |horizon| horizon.first());
        let at = |n: usize| (first + n) as f64;
        let ends = example.ends.iter().enumerate();
        let ends = ends.map(|(n, &(low, high))| (at(n), low.into(), high.into()));
        let bands = self.band.iter().filter(|_| !example.ends.is_empty());
        let bands = bands.map(|band| band_of(&band.name, ends.clone().collect()));
        let steps = example.steps.iter().enumerate();
        let (targets, predictions) = steps.map(|(t, pair)| at_step(at(t), pair)).unzip();
        let column = match (self.several, column.rsplit_once('+')) {
            // All steps ahead of the target are drawn.
            (Some(_), Some((name, _))) => format!("{name}: "),
            _ => column.to_string(),
        };
        let chart = Chart {
            title: format!("{column}sequence {}, {}", example.sequence, example.name),
            x: if self.several.is_some() {
                "steps ahead"
            } else {
                "step"
            },
            kind: ChartKind::Lines,
            size: ChartSize::Small,
            series: targets_and_predictions(targets, predictions).into(),
        };
        chart.figure_with(&bands.collect::<Vec<_>>())
    }

    /// Sentences on what is not drawn.
    fn left_out(&self) -> String {
        let mut text = String::new();
        let columns = self.last.len();
        if let Some(horizon) = self.several {
            text += &format!(
                " The first and the last of {} steps ahead are drawn.",
                horizon.steps()
            );
            if columns / horizon.steps() > MOST_COLUMNS {
                text += &format!(" The first {MOST_COLUMNS} target values are drawn.");
            }
        } else if columns > MOST_COLUMNS {
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

    /// The last predictions of an output column, one sequence after another, and their intervals.
    fn over_time(&self, k: usize, pairs: &[(f32, f32)]) -> (Chart, Vec<ChartBand>) {
        let first = pairs.len().saturating_sub(MOST_IN_TIME);
        let count = pairs.len() - first;
        let times = self
            .times
            .as_ref()
            .filter(|times| times.values.len() == pairs.len());
        let steps = self.several.map_or(1, |horizon| horizon.steps());
        let step = k * steps / self.last.len();
        let at = |n: usize| match times {
            None => n as f64,
            // The times of `values` are those of the last step ahead.
            Some(times) => times
                .ahead
                .get(n * steps + step)
                .copied()
                .unwrap_or(times.values[n]),
        };
        let last = pairs.iter().enumerate().skip(first);
        let (targets, predictions) = last.map(|(n, pair)| at_step(at(n), pair)).unzip();
        let band = self.band.iter().map(|band| {
            let ends = band.ends[k].iter().enumerate().skip(first);
            let points = ends.map(|(n, &(low, high))| (at(n), low.into(), high.into()));
            band_of(&band.name, points.collect())
        });
        let chart = Chart {
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
        };
        (chart, band.collect())
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
        let legend = charts.first().map_or(String::new(), |(chart, bands)| {
            chart::legend_with(&chart.series, bands)
        });
        let figures = charts.iter();
        let figures: String = figures
            .map(|(chart, bands)| chart.figure_with(bands))
            .collect();
        format!(
            "<h2>Continuation</h2>\n<p>{steps} steps after {} that the network predicts from the \
             last values and from its own predictions.{diverges}</p>\n{legend}{figures}",
            escape(&self.origin)
        )
    }

    /// Draws all columns as one SVG file for papers.
    ///
    /// # Errors
    /// [`Error::Failed`] if no value is finite.
    pub fn svg(&self) -> Result<String> {
        let problem = || Error::Failed("nothing to plot: no value is finite".into());
        let (charts, bands): (Vec<_>, Vec<_>) = self.charts(usize::MAX).into_iter().unzip();
        chart::paper_with_bands(&charts, &bands).ok_or_else(problem)
    }

    fn charts(&self, most: usize) -> Vec<(Chart, Vec<ChartBand>)> {
        let columns = 0..self.columns.len().min(most);
        columns.map(|k| self.chart(k)).collect()
    }

    /// The time of a step of history and continuation, from 0: its number from 1 where times are
    /// not known.
    fn at(&self, step: usize) -> f64 {
        let times = self.times.as_ref().and_then(|times| times.values.get(step));
        times.copied().unwrap_or((step + 1) as f64)
    }

    /// The history of column `k`, and its continuation up to the first value far outside of the
    /// history's range, with the intervals that are known.
    fn chart(&self, k: usize) -> (Chart, Vec<ChartBand>) {
        let width = self.columns.len();
        let of_column = |values: &[f64], first: usize| -> Vec<(f64, f64)> {
            let rows = values.chunks(width).enumerate();
            rows.map(|(t, row)| (self.at(first + t), row[k])).collect()
        };
        let history = of_column(&self.history, 0);
        let generated = of_column(&self.values, self.history.len() / width);
        let shown = if history.is_empty() {
            &generated
        } else {
            &history
        };
        let (least, most) = bounds(shown.iter().map(|point| point.1));
        let margin = 2.0 * (most - least).max(1e-6);
        let is_near = |point: &(f64, f64)| (least - margin..=most + margin).contains(&point.1);
        let band = self.band.iter().map(|(name, ends)| {
            let ends = ends.iter().skip(k).step_by(width).enumerate();
            let first = self.history.len() / width;
            let last = history.last().map(|&(at, value)| (at, value, value));
            let steps = ends.map(|(n, &(low, high))| (self.at(first + n), low, high));
            let near =
                steps.take_while(|&(at, low, high)| is_near(&(at, low)) && is_near(&(at, high)));
            band_of(name, last.into_iter().chain(near).collect())
        });
        let bands = band.collect();
        // The continuation begins at the last value of the history.
        let last = history.last().copied();
        let points = last
            .into_iter()
            .chain(generated.into_iter().take_while(is_near))
            .collect();
        let series = [("series", 0, history), ("continuation", 1, points)];
        let (x, kind) = match &self.times {
            None => ("step", ChartKind::Lines),
            Some(times) if times.are_dates => ("", ChartKind::DateLines),
            Some(_) => ("time", ChartKind::TimeLines),
        };
        let chart = Chart {
            title: self.columns[k].clone(),
            x,
            kind,
            size: ChartSize::Wide,
            series: series.map(solid).into(),
        };
        (chart, bands)
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

fn band_of(name: &str, points: Vec<(f64, f64, f64)>) -> ChartBand {
    ChartBand {
        name: name.into(),
        colour: 1,
        points,
    }
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
    use crate::data::source::HistoryTimes;

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
                ends: vec![],
            }],
            band: None,
            several: None,
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
            band: Some(("80 %".into(), vec![(1.5, 2.5)])),
            times: None,
            diverges_at: Some(1),
        };
        let html = continuation.html();
        assert_whole(&html);
        assert!(html.contains("From step 2 on they diverge") && html.contains("&lt;x&gt;"));
        assert!(html.contains("after &lt;a&gt;, row 3 that"));
        assert_eq!(html.matches("<polyline").count(), 2 * 2);
        // From the last known value to the first step, on a wide and on a narrow page.
        assert_eq!(html.matches("<polygon").count(), 2);
        let dated = Continuation {
            times: Some(HistoryTimes {
                are_dates: true,
                values: (0..6).map(|day| 86_400.0 * f64::from(day)).collect(),
            }),
            ..continuation
        };
        assert!(dated.html().contains("1970"), "{}", dated.html());
    }
}
