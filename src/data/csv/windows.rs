//! Windows of the rows of a table, as sequences.

use std::ops::Range;
use std::path::Path;

use super::super::preparation::Preparation;
use super::super::source::{PredictionInputs, SequenceTimes, WindowRows, WindowTimes};
use super::super::{Dataset, Inputs, MAX_VALUES, Split, Targets};
use super::calendar::later_times;
use super::{Csv, TableSeries, TableTask};
use crate::error::{Error, Result};
use crate::io::memory_limit;
use crate::kernels::{IGNORE, MISSING};
use crate::messages::{excerpt, named, shown_path};

/// Consecutive rows of a series.
struct TableWindow<'a> {
    series: &'a TableSeries<f32>,
    rows: Range<usize>,
}

/// The windows of a split, and sentences on those that are left out.
pub(super) struct SplitWindows {
    pub data: Dataset,
    pub notes: Vec<String>,
    /// Times of the windows' rows, if the rows have times.
    pub times: Option<SequenceTimes>,
}

impl Csv {
    /// Returns the windows of `series` that have targets, `[N, T, I]`, or whole series; those of a
    /// split, or of a file without splits.
    pub(super) fn windows(
        &self,
        series: &[TableSeries<f32>],
        split: Option<Split>,
        preparation: &Preparation,
    ) -> Result<SplitWindows> {
        let name = match split {
            None => "evaluated",
            Some(Split::Train) => "training",
            Some(split) => split.name(),
        };
        let longest = longest(series);
        let steps = self
            .steps
            .unwrap_or(longest.saturating_sub(self.horizon.last()));
        let mut windows = self.windows_of_series(series);
        let features = self.features(preparation);
        self.check_windows((windows.len(), features), steps, longest, split)?;
        let all = windows.len();
        let has_targets = windows.iter().any(|window| self.has_target(window));
        windows.retain(|window| self.keeps_windows || self.has_target(window));
        let notes = self.notes_on_targets(&windows, all, name);
        if !has_targets {
            return Err(Error::data(format!(
                "{}: no target of the {name} split has a value; a model needs some to learn from \
                 or to be scored by",
                shown_path(&self.path)
            )));
        }
        let lengths = windows.iter().map(|window| window.rows.len() as u32);
        let is_ragged = windows.iter().any(|window| window.rows.len() < steps);
        let data = Dataset {
            count: windows.len(),
            steps,
            features: self.features(preparation),
            inputs: self.window_values(&windows, steps, preparation),
            lengths: is_ragged.then(|| lengths.collect()),
            weights: (split == Some(Split::Train))
                .then(|| self.target_weights(&windows, steps))
                .flatten(),
            targets: match self.task {
                TableTask::Regression | TableTask::MultiLabel => Targets::Values {
                    values: self.target_values(&windows, steps),
                    width: self.target_width(),
                    per_step: self.every_step,
                },
                TableTask::Classification => Targets::Classes {
                    labels: self.target_labels(&windows, steps),
                    classes: preparation.classes.len(),
                    per_step: self.every_step,
                },
            },
        };
        let times = self.times_of(&windows);
        Ok(SplitWindows { data, notes, times })
    }

    /// Returns the times of the last targets of each window; `None` where rows have no times.
    fn times_of(&self, windows: &[TableWindow]) -> Option<SequenceTimes> {
        let last = |window: &TableWindow| self.target_rows(window).end.checked_sub(1);
        let time = |window: &TableWindow| window.series.times.get(last(window)?).copied();
        let steps = self.horizon.steps();
        let ahead = windows.iter().map(|window| {
            let end = last(window)? + 1;
            window.series.times.get(end.checked_sub(steps)?..end)
        });
        let ahead: Option<Vec<&[f64]>> = ahead.collect();
        Some(SequenceTimes {
            are_dates: windows.iter().all(|window| window.series.has_dates),
            values: windows.iter().map(time).collect::<Option<_>>()?,
            ahead: ahead?.concat(),
        })
    }

    /// Returns whether a target of the window has a value.
    fn has_target(&self, window: &TableWindow) -> bool {
        self.target_counts(window).0 > 0
    }

    /// Returns the targets of a window that have a value, and all of them.
    fn target_counts(&self, window: &TableWindow) -> (usize, usize) {
        let (series, mut rows) = (window.series, self.target_rows(window));
        rows.start = (rows.start + self.context).min(rows.end);
        match self.task {
            TableTask::Regression | TableTask::MultiLabel => {
                let width = self.target_width();
                let values = &series.values[rows.start * width..rows.end * width];
                let present = values.iter().filter(|&&value| value != MISSING).count();
                (present, values.len())
            }
            TableTask::Classification => {
                let labels = &series.labels[rows];
                let present = labels.iter().filter(|&&label| label != IGNORE).count();
                (present, labels.len())
            }
        }
    }

    /// Returns sentences on the targets of a split that are missing; `all` counts its windows.
    fn notes_on_targets(&self, windows: &[TableWindow], all: usize, name: &str) -> Vec<String> {
        let mut notes = vec![];
        let left_out = all - windows.len();
        if left_out > 0 {
            notes.push(format!(
                "{left_out} of {all} sequences of the {name} split are left out, because their \
                 targets have no value"
            ));
        }
        let counts = windows.iter().map(|window| self.target_counts(window));
        let (present, targets) = counts.fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
        if present < targets {
            notes.push(format!(
                "{} of {targets} targets of the {name} split have no value; they are neither \
                 learnt nor scored",
                targets - present
            ));
        }
        notes
    }

    fn windows_of_series<'a>(&self, series: &'a [TableSeries<f32>]) -> Vec<TableWindow<'a>> {
        let of_series = |series: &'a TableSeries<f32>| {
            let rows = series.rows().saturating_sub(self.horizon.last());
            let (length, stride) = match self.steps {
                Some(steps) => (steps, self.stride),
                None => (rows.max(1), usize::MAX),
            };
            let starts = (0..(rows + 1).saturating_sub(length)).step_by(stride);
            starts.map(move |start| TableWindow {
                series,
                rows: start..start + length,
            })
        };
        series.iter().flat_map(of_series).collect()
    }

    /// Refuses splits without a window, and windows of too many values.
    fn check_windows(
        &self,
        (count, features): (usize, usize),
        steps: usize,
        longest: usize,
        split: Option<Split>,
    ) -> Result<()> {
        let width = self.target_width();
        let (name, fraction) = match split {
            None => ("evaluated", "data.steps"),
            Some(Split::Train) => ("training", "data.test_fraction"),
            Some(Split::Validation) => ("validation", "data.validation_fraction"),
            Some(Split::Test) => ("test", "data.test_fraction"),
        };
        let path = shown_path(&self.path);
        if count == 0 {
            return Err(Error::data(format!(
                "{path}: the longest series of the {name} split has {longest} rows, and a window \
                 of {steps} rows with its target {} rows ahead needs {}; \
                 reduce data.steps, use a longer file, or change {fraction}",
                self.horizon,
                (steps as u128).max(1) + self.horizon.last() as u128
            )));
        }
        let values = count as u128 * steps as u128 * features.max(width) as u128;
        if values > u128::from(MAX_VALUES) {
            return Err(Error::data(format!(
                "{path}: the {name} split has {count} windows of {steps} steps with {features} \
                 inputs, which are {values} values; at most {MAX_VALUES} are allowed: \
                 reduce data.steps or increase data.stride"
            )));
        }
        let checked = memory_limit::check_values(values);
        checked.map_err(|problem| Error::file(&self.path, problem))
    }

    /// `[N, T, I]`, padded with zeros.
    fn window_values(
        &self,
        windows: &[TableWindow],
        steps: usize,
        preparation: &Preparation,
    ) -> Inputs {
        let (columns, features) = (self.columns(preparation), self.features(preparation));
        let mut inputs = Vec::with_capacity(windows.len() * steps * features);
        for TableWindow { series, rows } in windows {
            let own = &series.inputs[rows.start * columns..rows.end * columns];
            inputs.extend(preparation.with_differences(own, columns));
            inputs.resize(inputs.len() + (steps - rows.len()) * features, 0.0);
        }
        Inputs::Floats(inputs)
    }

    /// `[N, K]`, or `[N, T, K]` padded with zeros.
    fn target_values(&self, windows: &[TableWindow], steps: usize) -> Vec<f32> {
        let width = self.target_width();
        let mut values = vec![];
        for window in windows {
            let rows = self.target_rows(window);
            let first = values.len();
            values.extend(&window.series.values[rows.start * width..rows.end * width]);
            let context = self.context.min(rows.len()) * width;
            values[first..first + context].fill(MISSING);
            values.resize(values.len() + self.padding(window, steps) * width, 0.0);
        }
        values
    }

    /// `[N]`, or `[N, T]` padded with [`IGNORE`].
    fn target_labels(&self, windows: &[TableWindow], steps: usize) -> Vec<u32> {
        let mut labels = vec![];
        for window in windows {
            let rows = self.target_rows(window);
            let first = labels.len();
            labels.extend(&window.series.labels[rows.clone()]);
            labels[first..first + self.context.min(rows.len())].fill(IGNORE);
            labels.resize(labels.len() + self.padding(window, steps), IGNORE);
        }
        labels
    }

    /// `[N]`, or `[N, T]` padded with zeros, if there is a column of weights.
    fn target_weights(&self, windows: &[TableWindow], steps: usize) -> Option<Vec<f32>> {
        self.weights.as_ref()?;
        let mut weights = vec![];
        for window in windows {
            weights.extend(&window.series.weights[self.target_rows(window)]);
            weights.resize(weights.len() + self.padding(window, steps), 0.0);
        }
        Some(weights)
    }

    /// Returns the row of each target of a window: of several steps ahead, that of the last.
    fn target_rows(&self, TableWindow { rows, .. }: &TableWindow) -> Range<usize> {
        let ahead = self.horizon.last();
        let last = rows.end + ahead;
        if self.every_step {
            rows.start + ahead..last
        } else {
            last - 1..last
        }
    }

    /// Returns the padded steps of a window's targets.
    fn padding(&self, window: &TableWindow, steps: usize) -> usize {
        if self.every_step {
            steps - window.rows.len()
        } else {
            0
        }
    }

    /// Returns every window of `series`, with or without targets, or whole series.
    ///
    /// # Errors
    /// [`Error::File`] if no series is long enough, or the windows have too many values.
    pub(in super::super) fn window_inputs(
        &self,
        series: &[TableSeries<f32>],
        path: &Path,
        preparation: &Preparation,
        mut notes: Vec<String>,
    ) -> Result<PredictionInputs> {
        let features = self.features(preparation);
        let longest = longest(series);
        let steps = self.steps.unwrap_or(longest);
        let of_series = |series| self.windows_of(series, steps);
        let windows: Vec<TableWindow> = series.iter().flat_map(of_series).collect();
        let count = windows.len();
        let values = count as u128 * steps as u128 * features as u128;
        if count == 0 || values > u128::from(MAX_VALUES) {
            return Err(Error::file(
                path,
                format!(
                    "the longest series has {longest} rows, which are {count} windows of {steps} \
                     rows with {features} inputs; there must be at least one window, and at most \
                     {MAX_VALUES} values"
                ),
            ));
        }
        memory_limit::check_values(values).map_err(|problem| Error::file(path, problem))?;
        let short = series
            .iter()
            .filter(|series| series.rows() < self.steps.unwrap_or(1));
        let short: Vec<String> = short.map(TableSeries::named_rows).collect();
        if !short.is_empty() {
            notes.push(format!(
                "{} series have no prediction, because a window needs {steps} rows: {}",
                short.len(),
                named(&short)
            ));
        }
        notes.extend(self.without_future(series, steps));
        let lengths: Vec<u32> = windows.iter().map(|w| w.rows.len() as u32).collect();
        let is_ragged = lengths.iter().any(|&length| (length as usize) < steps);
        let starts = windows
            .iter()
            .map(|window| (window.series.name.clone(), window.rows.start));
        Ok(PredictionInputs {
            data: Dataset {
                count,
                steps,
                features,
                inputs: self.window_values(&windows, steps, preparation),
                targets: Targets::placeholders(count),
                lengths: is_ragged.then_some(lengths),
                weights: None,
            },
            windows: Some(WindowRows {
                group: self.group.clone(),
                starts: starts.collect(),
                horizon: self.horizon,
                times: self.window_times(series, &windows),
            }),
            notes,
        })
    }

    /// Returns a sentence on the windows without a prediction, because inputs of later rows are not
    /// known.
    fn without_future(&self, series: &[TableSeries<f32>], steps: usize) -> Option<String> {
        let starts = |rows: usize| match self.steps {
            Some(steps) => (rows + 1).saturating_sub(steps),
            None => usize::from(rows > 0),
        };
        let missing = series.iter().map(|series| {
            let known = series.known_rows.unwrap_or(series.rows());
            starts(series.rows()) - starts(known)
        });
        let missing: usize = missing.sum();
        let named: Vec<String> = self.future.iter().map(|name| excerpt(name)).collect();
        (missing > 0).then(|| {
            format!(
                "the last {missing} windows of {steps} rows have no prediction, because the inputs \
                 of the rows ahead ({}) are not in the file; append rows that have them and empty \
                 inputs",
                if named.is_empty() {
                    "their times".into()
                } else {
                    named.join(", ")
                }
            )
        })
    }

    /// Returns the times of the rows of these series, and of those that windows at their ends
    /// predict; `None` where rows have no times.
    fn window_times(
        &self,
        series: &[TableSeries<f32>],
        windows: &[TableWindow],
    ) -> Option<WindowTimes> {
        let column = self.time.clone()?;
        let index = |window: &TableWindow| {
            let mut all = series.iter();
            all.position(|each| std::ptr::eq(each, window.series))
        };
        let times = |series: &TableSeries<f32>| {
            let mut times = [&series.times[..], &series.later_times].concat();
            let steps = self.steps.unwrap_or(times.len()).min(times.len());
            let last = &times[times.len() - steps..];
            times.extend(later_times(last, self.horizon.last()).unwrap_or_default());
            times
        };
        Some(WindowTimes {
            column,
            are_dates: series.iter().all(|series| series.has_dates),
            series: windows.iter().map(index).collect::<Option<_>>()?,
            of_series: series.iter().map(times).collect(),
        })
    }

    /// Returns every window of `steps` rows, or the whole series.
    fn windows_of<'a>(
        &self,
        series: &'a TableSeries<f32>,
        steps: usize,
    ) -> impl Iterator<Item = TableWindow<'a>> + use<'a> {
        let rows = series.known_rows.unwrap_or(series.rows());
        let starts = match self.steps {
            Some(steps) => (rows + 1).saturating_sub(steps),
            None => usize::from(rows == series.rows()),
        };
        (0..starts).map(move |start| TableWindow {
            series,
            rows: start..start + steps.min(series.rows() - start),
        })
    }
}

fn longest(series: &[TableSeries<f32>]) -> usize {
    series.iter().map(TableSeries::rows).max().unwrap_or(0)
}
