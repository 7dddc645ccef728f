//! Time series: windows of T values, with the next value as the target of each step.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::baselines::Forecast;
use super::csv::decode::decode_with_notes;
use super::csv::{
    CellFormat, Csv, PreparedRows, TableRows, TableSeries, no_groups, validate_context,
    validate_lags,
};
use super::labelled::{Extent, LabelledData, LabelledRequest};
use super::preparation::{Missing, Preparation};
use super::source::{
    DataSource, DataUse, ExpectedPath, ForecastOrigin, ForecastRequest, ForecastStart,
    InputRequest, LineFormat, PredictionInputs, SequenceSizes, TargetKind, not_in_time,
};
use super::{Dataset, Fold, Horizon, Inputs, MAX_VALUES, Splits, Targets};
use crate::error::{Error, Result};
use crate::fields;
use crate::io::files;
use crate::messages::excerpt;
use crate::network::Reads;
use crate::rng::{Philox, Stream};

/// The largest file of a series, in bytes.
const LARGEST_FILE: u64 = 1 << 30;

/// Windows of a series from a file, or of a generated one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// A text file with one number per line; a blank line is a missing value. Without it, windows
    /// of `t sin(t) / 3 + 2 sin(5 t)` are generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// T: values of a window.
    pub steps: usize,
    /// The last part of a file's series that is the test split.
    #[serde(default = "default_test_fraction")]
    pub test_fraction: f64,
    /// Values from an input to its target; a range for targets at each of these steps ahead of a
    /// file's series, which the network predicts at once.
    #[serde(default = "default_horizon", skip_serializing_if = "is_next")]
    pub horizon: Horizon,
    /// Time between two values of the generated series.
    #[serde(default = "default_resolution")]
    pub resolution: f64,
    /// The times between which the windows of the generated series lie.
    #[serde(default = "default_range")]
    pub range: [f64; 2],
    /// Windows of the generated series to train on; a hundredth of them more are the test split.
    #[serde(default = "default_windows")]
    pub windows: usize,
    /// Values of a season, for the seasonal naive forecast; without it, the season with the
    /// smallest error on the training split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<usize>,
    /// Whether a file's values are normalized by mean and deviation of the training split.
    #[serde(default = "default_normalise", skip_serializing_if = "is_true")]
    pub normalise: bool,
    /// Whether the network predicts differences from the last value of a file's series. They are
    /// added to it in all predictions.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub residual_on_last: bool,
    /// Whether the network predicts what a linear regression on the last value and its differences
    /// leaves of that difference. It is fitted to the training and validation splits.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub residual_on_linear: bool,
    /// Whether that regression is fitted to the training split alone, to be judged on the
    /// validation split. It is in no recipe.
    #[serde(skip)]
    pub linear_of_training: bool,
    /// The part of the test split that a backtest judges. It is in no recipe.
    #[serde(skip)]
    pub fold: Option<Fold>,
    /// The differences of a file's values from those N steps before, or from the first of the
    /// window, are inputs too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<usize>,
    /// Steps at the beginning of each window of a file's series whose targets are neither learnt
    /// nor scored: they only give context.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub context: usize,
    /// The last part of the training split of a file's series that is the validation split; of a
    /// generated series, so many more windows. Early stopping is decided by it.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub validation_fraction: f64,
    /// How to treat missing values among the inputs. A missing target is neither learnt nor scored.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub missing: Missing,
}

fn default_horizon() -> Horizon {
    1.into()
}

fn is_next(horizon: &Horizon) -> bool {
    *horizon == default_horizon()
}

fn default_normalise() -> bool {
    true
}

fn is_true(normalise: &bool) -> bool {
    *normalise
}

fn default_test_fraction() -> f64 {
    0.1
}

fn default_resolution() -> f64 {
    0.1
}

fn default_range() -> [f64; 2] {
    [0.0, 30.0]
}

fn default_windows() -> usize {
    100_000
}

impl Series {
    /// Returns the windows of the generated series.
    fn generated(&self) -> Windows {
        Windows {
            steps: self.steps,
            resolution: self.resolution,
            range: self.range,
        }
    }

    /// Returns the configuration of a table with the values of the file as its only column.
    fn table(&self, path: &Path) -> Csv {
        Csv {
            steps: Some(self.steps),
            horizon: self.horizon,
            every_step: true,
            test_fraction: self.test_fraction,
            residual_on_last: self.residual_on_last,
            residual_on_linear: self.residual_on_linear,
            linear_of_training: self.linear_of_training,
            fold: self.fold,
            differences: self.differences.clone(),
            context: self.context,
            validation_fraction: self.validation_fraction,
            normalise: self.normalise,
            missing: self.missing,
            season: self.season,
            ..Csv::new(path, &["value"], &["value"])
        }
    }

    /// Returns both splits of the text of a file; errors name `path`.
    ///
    /// # Errors
    /// [`Error::File`], with the line, for a line that is not a finite number; [`Error::Data`] for
    /// a split without a window.
    pub fn split(&self, text: &str, path: &Path) -> Result<Splits> {
        let rows = parse(text, path)?;
        self.table(path)
            .prepare(TableRows::from(rows).into(), 0, None)
    }

    /// Returns the values of a file, prepared as in `known`.
    fn prepared(&self, path: &Path, known: &Preparation) -> Result<PreparedRows> {
        let mut rows = read(path)?;
        rows.values.clear();
        self.table(path).prepare_inputs(rows.into(), path, known)
    }

    fn validate_horizon(&self) -> Result<()> {
        self.horizon.validate()?;
        fields::require(
            self.horizon.first() > 0,
            "data.horizon",
            self.horizon,
            "at least 1: the value itself is an input",
        )
    }

    fn validate_windows(&self) -> Result<()> {
        fields::count("data.windows", self.windows)?;
        // A file determines its own number of windows.
        let windows = if self.path.is_some() { 1 } else { self.windows };
        let values = windows as u128 * self.steps as u128;
        if values > u128::from(MAX_VALUES) {
            return Err(Error::usage(format!(
                "data.windows = {windows} with data.steps = {} are {values} values; \
                 at most {MAX_VALUES} are allowed: reduce one of them",
                self.steps
            )));
        }
        Ok(())
    }

    fn validate_range(&self) -> Result<()> {
        fields::positive("data.resolution", self.resolution)?;
        let [from, to] = self.range;
        let window = self.steps as f64 * self.resolution;
        fields::require(
            (to - from).is_finite() && to - from >= window,
            "data.range",
            format!("{from} to {to}"),
            &format!(
                "finite and hold a window of {} steps of {}",
                self.steps, self.resolution
            ),
        )
    }
}

impl Series {
    /// Reads the values of the file, before they are prepared; `None` for a generated series.
    pub(crate) fn read_rows(&self) -> Result<Option<TableRows>> {
        let path = self.path.as_deref();
        path.map(|path| Ok(read(path)?.into())).transpose()
    }

    /// Returns the splits of the values of the file.
    pub(crate) fn prepare_rows(
        &self,
        rows: TableRows,
        seed: u64,
        known: Option<&Preparation>,
    ) -> Result<Splits> {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        self.table(path).prepare(rows.into(), seed, known)
    }
}

impl DataSource for Series {
    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn set_path(&mut self, path: PathBuf) {
        self.path = Some(path);
    }

    fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        self.path.iter_mut().collect()
    }

    fn expected_path(&self) -> ExpectedPath {
        ExpectedPath::File("one number per line")
    }

    fn validate(&self, usage: &DataUse) -> Result<()> {
        fields::optional_count("data.season", self.season)?;
        fields::count("data.steps", self.steps)?;
        self.validate_horizon()?;
        self.validate_windows()?;
        fields::fraction("data.test_fraction", self.test_fraction)?;
        fields::fraction("data.validation_fraction", self.validation_fraction)?;
        validate_lags(&self.differences)?;
        validate_context(self.context, Some(self.steps), true)?;
        let of_files = [
            ("horizon", !is_next(&self.horizon)),
            ("residual_on_last", self.residual_on_last),
            ("residual_on_linear", self.residual_on_linear),
            ("differences", !self.differences.is_empty()),
            ("context", self.context > 0),
        ];
        let mut set = of_files.iter().filter(|_| self.path.is_none());
        if let Some((field, _)) = set.find(|(_, is_set)| *is_set) {
            return Err(Error::usage(format!(
                "data.{field} is set, but only a series from a file has it; set data.path to a \
                 file, or remove data.{field}"
            )));
        }
        self.validate_range()?;
        usage.require_head(
            "data of kind series have a target value at every step",
            TargetKind::Quantities,
            Reads::Every,
        )
    }

    fn outputs(&self) -> usize {
        self.horizon.steps()
    }

    fn load(&self, seed: u64, known: Option<&Preparation>) -> Result<Splits> {
        if let Some(rows) = self.read_rows()? {
            return self.prepare_rows(rows, seed, known);
        }
        let windows = self.generated();
        let test = windows.draw(self.windows.div_ceil(100), seed, Stream::Windows(1));
        let validated = (self.windows as f64 * self.validation_fraction).ceil() as usize;
        let validation = || windows.draw(validated, seed, Stream::Windows(2)).into();
        Ok(Splits {
            train: windows.draw(self.windows, seed, Stream::Windows(0)).into(),
            validation: (validated > 0).then(validation),
            test: Some(test.into()),
            preparation: Preparation::default(),
            notes: vec![],
        })
    }

    fn load_inputs(&self, request: &InputRequest) -> Result<PredictionInputs> {
        let PreparedRows { series, notes } = self.prepared(request.path, request.preparation)?;
        let table = self.table(request.path);
        table.window_inputs(&series, request.path, request.preparation, notes)
    }

    fn load_labelled(&self, request: &LabelledRequest) -> Result<LabelledData> {
        request.require_no_split()?;
        let values = read(request.path)?;
        let extent = Extent {
            count: values.rows(),
            unit: "values",
        };
        let (table, path) = (self.table(request.path), request.path);
        table.labelled_rows(values.into(), path, request.preparation, extent)
    }

    /// Returns the last values of the file, or the first window of the generated series.
    fn forecast_start(&self, request: &ForecastRequest) -> Result<ForecastStart> {
        if self.horizon.first() > 1 {
            return Err(Error::data(format!(
                "the model predicts {} values ahead; to continue a series, data.horizon must be 1 \
                 or begin with 1",
                self.horizon
            )));
        }
        if let Some(path) = request.file.or(self.path.as_deref()) {
            let rows = self.prepared(path, request.preparation)?;
            return self.table(path).end_of(rows, path, request.group);
        }
        if let Some(group) = request.group {
            return Err(no_groups(group));
        }
        let values = self.generated().first();
        Ok(ForecastStart {
            history: values.clone(),
            values,
            width: 1,
            is_continued: true,
            steps: self.steps,
            columns: vec!["value".into()],
            column_inputs: Some(vec![0]),
            times: None,
            origin: ForecastOrigin {
                row: self.steps,
                ..ForecastOrigin::default()
            },
            groups: 0,
            notes: vec![],
            calendar: None,
        })
    }

    fn made_up(&self, count: usize, seed: u64) -> Option<Splits> {
        let most = MAX_VALUES as usize / self.steps.max(1);
        let data = self
            .generated()
            .draw(count.min(most.max(1)), seed, Stream::Windows(0));
        Some(data.into())
    }

    fn sizes(&self, _seed: u64) -> Result<SequenceSizes> {
        Ok(SequenceSizes {
            steps: self.steps,
            inputs: 1 + self.differences.len(),
            outputs: self.horizon.steps(),
        })
    }

    fn set_fold(&mut self, fold: Fold) -> Result<()> {
        if self.path.is_none() || self.test_fraction == 0.0 {
            return Err(not_in_time());
        }
        self.fold = Some(fold);
        Ok(())
    }

    fn horizon(&self) -> Option<Horizon> {
        Some(self.horizon)
    }

    fn forecast(&self) -> Option<Forecast> {
        Some(Forecast {
            inputs: vec![0],
            horizon: self.horizon,
            season: self.season,
        })
    }

    fn is_in_time_order(&self) -> bool {
        self.path.is_some()
    }

    fn line_format(&self) -> LineFormat<'_> {
        LineFormat {
            missing: self.missing,
            horizon: Some(self.horizon),
            ..LineFormat::default()
        }
    }
}

/// Returns the generated series at time t: `t sin(t) / 3 + 2 sin(5 t)`.
pub fn value_at(t: f64) -> f32 {
    (t * t.sin() / 3.0 + 2.0 * (5.0 * t).sin()) as f32
}

/// Windows of the generated series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Windows {
    /// T: values of a window.
    pub steps: usize,
    /// Time between two values.
    pub resolution: f64,
    /// The times between which windows lie.
    pub range: [f64; 2],
}

impl Windows {
    /// Draws `count` windows `[N, T, 1]` that begin at random times; the target of each step is the
    /// next value.
    pub fn draw(&self, count: usize, seed: u64, stream: Stream) -> Dataset {
        let mut random = Philox::new(seed, stream);
        let latest = self.range[1] - self.steps as f64 * self.resolution;
        let (mut inputs, mut targets) = (vec![], vec![]);
        for _ in 0..count {
            let start = self.range[0] + f64::from(random.uniform()) * (latest - self.range[0]);
            let values = |first: usize| {
                (first..first + self.steps)
                    .map(move |n| value_at(start + n as f64 * self.resolution))
            };
            inputs.extend(values(0));
            targets.extend(values(1));
        }
        dataset(count, self.steps, inputs, targets)
    }

    /// Returns the values of the first window of the range.
    pub fn first(&self) -> Vec<f32> {
        (0..self.steps)
            .map(|n| value_at(self.range[0] + n as f64 * self.resolution))
            .collect()
    }
}

fn dataset(count: usize, steps: usize, inputs: Vec<f32>, targets: Vec<f32>) -> Dataset {
    Dataset {
        count,
        steps,
        features: 1,
        inputs: Inputs::Floats(inputs),
        targets: Targets::Values {
            values: targets,
            width: 1,
            per_step: true,
        },
        lengths: None,
        weights: None,
    }
}

/// Reads a series from a text file: one number per line. Lines that begin with `#` are skipped; a
/// blank line is a missing value, except at the beginning and at the end.
fn read(path: &Path) -> Result<TableSeries> {
    let bytes = files::open(path).and_then(|file| files::read_at_most(file, LARGEST_FILE));
    let bytes =
        bytes.map_err(|error| Error::file(path, format!("the series cannot be read: {error}")))?;
    parse(&decode_with_notes(bytes, path)?.text, path)
}

/// Parses the text of a series; errors name `path`. See [`read`].
pub(crate) fn parse(text: &str, path: &Path) -> Result<TableSeries> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_blank = |line: &&str| line.is_empty();
    let begin = lines.iter().take_while(|line| is_blank(line)).count();
    let end = lines.len() - lines.iter().rev().take_while(|line| is_blank(line)).count();
    let mut series = TableSeries::default();
    for (line, number) in lines.iter().zip(1..).take(end).skip(begin) {
        if line.starts_with('#') {
            continue;
        }
        let value = CellFormat::default().number(line).ok_or_else(|| {
            let line = excerpt(line);
            let problem =
                format!("line {number} is `{line}`; each line must hold one finite number");
            Error::file(path, problem)
        })?;
        series.lines.push(number);
        series.inputs.push(value);
        series.values.push(value);
    }
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MISSING;

    #[test]
    fn targets_are_the_next_values() {
        let windows = Windows {
            steps: 4,
            resolution: 0.1,
            range: [0.0, 30.0],
        };
        let data = windows.draw(3, 1, Stream::Windows(0));
        let (Inputs::Floats(inputs), Targets::Values { values, .. }) =
            (&data.inputs, &data.targets)
        else {
            panic!("floats expected");
        };
        for n in 0..3 {
            assert_eq!(inputs[n * 4 + 1..n * 4 + 4], values[n * 4..n * 4 + 3]);
        }
        assert_ne!(inputs[0], inputs[4]);
    }

    /// A series of a file with these values.
    fn recorded(steps: usize, test_fraction: f64, text: &str) -> Result<Splits> {
        let series = Series {
            path: None,
            steps,
            test_fraction,
            horizon: default_horizon(),
            resolution: default_resolution(),
            range: default_range(),
            windows: default_windows(),
            season: None,
            normalise: false,
            residual_on_last: false,
            residual_on_linear: false,
            linear_of_training: false,
            fold: None,
            differences: vec![],
            context: 0,
            validation_fraction: 0.0,
            missing: Missing::Forward,
        };
        series.split(text, Path::new("series.txt"))
    }

    fn lines(count: usize) -> String {
        (0..count).map(|n| format!("{n}\n")).collect()
    }

    #[test]
    fn a_recorded_series_is_split_in_time() {
        let Splits { train, test, .. } = recorded(3, 0.25, &lines(20)).unwrap();
        let test = test.unwrap();
        assert_eq!((train.count, test.count), (12, 2));
        let Targets::Values {
            values: targets, ..
        } = &test.targets
        else {
            panic!("values expected")
        };
        assert_eq!(targets[..], [16.0, 17.0, 18.0, 17.0, 18.0, 19.0]);
        let message = recorded(17, 0.1, &lines(20)).unwrap_err().to_string();
        assert!(
            message.contains("the longest series of the test split has 2 rows"),
            "{message}"
        );
        assert!(recorded(19, 0.0, &lines(20)).unwrap().test.is_none());
    }

    #[test]
    fn a_blank_line_is_a_missing_value() {
        let Splits { train, notes, .. } = recorded(2, 0.0, "\n1\n\n3\n4\n5\n\n").unwrap();
        let (Inputs::Floats(inputs), Targets::Values { values, .. }) =
            (&train.inputs, &train.targets)
        else {
            panic!("floats expected");
        };
        assert_eq!(inputs[..], [1.0, 1.0, 1.0, 3.0, 3.0, 4.0]);
        assert_eq!(values[..], [MISSING, 3.0, 3.0, 4.0, 4.0, 5.0]);
        assert!(
            notes[0].contains("1 missing inputs are filled with the value before"),
            "{notes:?}"
        );
        assert!(
            notes[1].contains("1 of 6 targets of the training split"),
            "{notes:?}"
        );
    }

    #[test]
    fn an_error_names_the_line_that_is_not_a_number() {
        let path = Path::new("series.txt");
        assert_eq!(
            parse("# title\n1.5\n-2e3\n", path).unwrap().inputs,
            [1.5, -2000.0]
        );
        for line in ["x", "inf", "1,2"] {
            let message = parse(&format!("1\n{line}\n"), path)
                .unwrap_err()
                .to_string();
            assert!(
                message.contains(&format!("line 2 is `{line}`")),
                "{message}"
            );
        }
        let message = parse(&"\x1b[2J\u{e9}".repeat(99), path)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("\\u{1b}[2J\u{e9}") && message.len() < 300,
            "{message}"
        );
    }
}
