//! Time series: windows of T values, with the next value as the target of each step.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::baselines::Forecast;
use super::csv::{Csv, TableSeries};
use super::preparation::Preparation;
use super::source::{
    DataSource, DataUse, ExpectedPath, ForecastStart, InputRequest, PredictionInputs, SequenceSizes,
};
use super::{Dataset, Inputs, MAX_VALUES, Splits, Targets};
use crate::error::{Error, Result};
use crate::fields;
use crate::io::files;
use crate::messages::excerpt;
use crate::network::{Loss, Reads};
use crate::rng::{Philox, Stream};

/// The largest file of a series, in bytes.
const LARGEST_FILE: u64 = 1 << 30;

/// Windows of a series from a file, or of a generated one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// A text file with one number per line. Without it, windows of `t sin(t) / 3 + 2 sin(5 t)` are
    /// generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// T: values of a window.
    pub steps: usize,
    /// The last part of a file's series that is the test split.
    #[serde(default = "default_test_fraction")]
    pub test_fraction: f64,
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
        self.validate_windows()?;
        fields::fraction("data.test_fraction", self.test_fraction)?;
        self.validate_range()?;
        usage.require_head(
            "data of kind series have a target value at every step",
            Loss::MeanSquaredError,
            Reads::Every,
        )
    }

    fn outputs(&self) -> usize {
        1
    }

    fn load(&self, seed: u64, _known: Option<&Preparation>) -> Result<Splits> {
        if let Some(path) = &self.path {
            return split(&read(path)?, self.steps, self.test_fraction);
        }
        let windows = self.generated();
        let test = windows.draw(self.windows.div_ceil(100), seed, Stream::Windows(1));
        Ok(Splits {
            train: windows.draw(self.windows, seed, Stream::Windows(0)).into(),
            test: Some(test.into()),
            preparation: Preparation::default(),
        })
    }

    fn load_inputs(&self, request: &InputRequest) -> Result<PredictionInputs> {
        let values = read(request.path)?;
        let csv = Csv {
            steps: Some(self.steps),
            horizon: 1,
            ..Csv::new(request.path, &["value"], &["value"])
        };
        csv.window_inputs(&[TableSeries::from(values)], request.path)
    }

    fn forecast_start(&self, file: Option<&Path>, _known: &Preparation) -> Result<ForecastStart> {
        let values = match (file, &self.path) {
            (Some(file), _) => read(file)?,
            (None, Some(file)) => read(file)?.into_iter().take(self.steps).collect(),
            (None, None) => self.generated().first(),
        };
        Ok(ForecastStart {
            history: values.clone(),
            values,
            steps: self.steps,
            columns: vec!["value".into()],
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
            inputs: 1,
            outputs: 1,
        })
    }

    fn forecast(&self) -> Option<Forecast> {
        Some(Forecast {
            inputs: vec![0],
            horizon: 1,
            season: self.season,
        })
    }

    fn is_in_time_order(&self) -> bool {
        self.path.is_some()
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

/// Returns every window of T = `steps` values of a recorded series. The last `test_fraction` of the
/// series, in time, is the test split.
///
/// # Errors
/// [`Error::Data`] for a split that is too short for one window, or too long.
pub fn split(values: &[f32], steps: usize, test_fraction: f64) -> Result<Splits> {
    let cut = ((values.len() as f64) * (1.0 - test_fraction)).round() as usize;
    let (train, test) = values.split_at(cut);
    Ok(Splits {
        train: all_windows(train, steps, "training")?.into(),
        test: if test.is_empty() {
            None
        } else {
            Some(all_windows(test, steps, "test")?.into())
        },
        preparation: Preparation::default(),
    })
}

/// Returns every window of a part of a series; `name` is that of the split.
fn all_windows(values: &[f32], steps: usize, name: &str) -> Result<Dataset> {
    if values.len() <= steps {
        return Err(Error::data(format!(
            "the {name} split has {} values, but a window of {steps} values and the value that \
             follows need {}; reduce data.steps, use a longer series, or change data.test_fraction",
            values.len(),
            steps as u128 + 1
        )));
    }
    let count = values.len() - steps;
    let size = count as u128 * steps as u128;
    if size > u128::from(MAX_VALUES) {
        return Err(Error::data(format!(
            "the {name} split has {count} windows of {steps} steps, which are {size} values; \
             at most {MAX_VALUES} are allowed: reduce data.steps or use a shorter series"
        )));
    }
    let windows = |first: usize| {
        (first..first + count)
            .flat_map(|n| values[n..n + steps].iter().copied())
            .collect()
    };
    Ok(dataset(count, steps, windows(0), windows(1)))
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
    }
}

/// Reads a series from a text file: one number per line. Empty lines and lines that begin with `#`
/// are skipped.
///
/// # Errors
/// [`Error::File`], with the line number, for a line that is not a finite number.
pub fn read(path: &Path) -> Result<Vec<f32>> {
    let text = files::read_text(path, LARGEST_FILE)
        .map_err(|error| Error::file(path, format!("the series cannot be read: {error}")))?;
    parse(&text, path)
}

/// Parses the text of a series; errors name `path`. See [`read`].
///
/// # Errors
/// Those of [`read`].
pub fn parse(text: &str, path: &Path) -> Result<Vec<f32>> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let number = |(n, line): (usize, &str)| {
        let value: Option<f32> = line.parse().ok().filter(|value: &f32| value.is_finite());
        let problem = || {
            let (line_number, line) = (n + 1, excerpt(line));
            format!("line {line_number} is `{line}`; each line must hold one finite number")
        };
        value.ok_or_else(|| Error::file(path, problem()))
    };
    lines.map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_recorded_series_is_split_in_time() {
        let values: Vec<f32> = (0..20).map(|n| n as f32).collect();
        let Splits { train, test, .. } = split(&values, 3, 0.25).unwrap();
        let test = test.unwrap();
        assert_eq!((train.count, test.count), (12, 2));
        let Targets::Values {
            values: targets, ..
        } = &test.targets
        else {
            panic!("values expected")
        };
        assert_eq!(targets[..], [16.0, 17.0, 18.0, 17.0, 18.0, 19.0]);
        let message = split(&values, 17, 0.1).unwrap_err().to_string();
        assert!(message.contains("test split has 2 values"), "{message}");
        assert!(split(&values, 19, 0.0).unwrap().test.is_none());
        let message = split(&vec![0.0; 1 << 17], 1 << 16, 0.0)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("65536 windows of 65536 steps"),
            "{message}"
        );
    }

    #[test]
    fn an_error_names_the_line_that_is_not_a_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("series.txt");
        std::fs::write(&path, "# title\n1.5\n\n-2e3\n").unwrap();
        assert_eq!(read(&path).unwrap(), [1.5, -2000.0]);
        for line in ["x", "nan", "1,2"] {
            std::fs::write(&path, format!("1\n{line}\n")).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(
                message.contains(&format!("line 2 is `{line}`")),
                "{message}"
            );
        }
        let message = parse(&"\x1b[2J\u{e9}".repeat(99), &path)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("\\u{1b}[2J\u{e9}") && message.len() < 300,
            "{message}"
        );
    }
}
