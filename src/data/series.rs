//! Time series: windows of T values, and for each step the value that follows.

use std::path::Path;

use super::preparation::Preparation;
use super::{Dataset, Inputs, Splits, Targets};
use crate::error::{Error, Result};
use crate::io::files;
use crate::rng::{Philox, Stream};

/// The largest file of a series, in bytes.
const LARGEST_FILE: u64 = 1 << 30;

/// The most numbers that the windows of a split hold: what takes 4 GiB, the most that WebGPU binds.
pub(crate) const MOST_NUMBERS: u64 = 1 << 30;

/// A made series, known at every time: `t sin(t) / 3 + 2 sin(5 t)`.
pub fn value_at(t: f64) -> f32 {
    (t * t.sin() / 3.0 + 2.0 * (5.0 * t).sin()) as f32
}

/// Windows of the made series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Windows {
    /// T: values of a window.
    pub steps: usize,
    /// Time between two values.
    pub resolution: f64,
    /// The times that windows lie between.
    pub range: [f64; 2],
}

impl Windows {
    /// `count` windows `[N, T, 1]` that begin at random times, and at each step the next value.
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

    /// The first window of the range.
    pub fn first(&self) -> Vec<f32> {
        (0..self.steps)
            .map(|n| value_at(self.range[0] + n as f64 * self.resolution))
            .collect()
    }
}

/// Every window of T = `steps` values of a recorded series; the last `test_fraction` of the series, in time, is the test split.
///
/// # Errors
/// [`Error::Data`] where a split is too short for one window.
pub fn split(values: &[f32], steps: usize, test_fraction: f64) -> Result<Splits> {
    let cut = ((values.len() as f64) * (1.0 - test_fraction)).round() as usize;
    let windows = |part: &[f32], name: &str| {
        if part.len() <= steps {
            return Err(Error::Data(format!(
                "the {name} split has {} values, and a window of {steps} with the value that follows needs {}; \
                 take fewer steps, a longer series, or another test_fraction",
                part.len(),
                steps as u128 + 1
            )));
        }
        let count = part.len() - steps;
        let numbers = count as u128 * steps as u128;
        if numbers > u128::from(MOST_NUMBERS) {
            return Err(Error::Data(format!(
                "the {name} split has {count} windows of {steps} steps, which are {numbers} numbers; at most \
                 {MOST_NUMBERS} are taken. Take fewer steps or a shorter series."
            )));
        }
        let all = |first: usize| {
            (first..first + count)
                .flat_map(|n| part[n..n + steps].iter().copied())
                .collect()
        };
        Ok(dataset(count, steps, all(0), all(1)))
    };
    let (train, test) = values.split_at(cut);
    Ok(Splits {
        train: windows(train, "training")?.into(),
        test: if test.is_empty() {
            None
        } else {
            Some(windows(test, "test")?.into())
        },
        preparation: Preparation::default(),
    })
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

/// Reads a series from a text file: one number a line; empty lines and lines that begin with # are passed over.
///
/// # Errors
/// [`Error::File`], with the line, for what is not a finite number.
pub fn read(path: &Path) -> Result<Vec<f32>> {
    let text = files::read_text(path, LARGEST_FILE)
        .map_err(|error| Error::file(path, format!("the series cannot be read: {error}")))?;
    parse(&text, path)
}

/// [`read`] of a text that is there already; errors call it by `path`.
///
/// # Errors
/// Those of [`read`].
pub fn parse(text: &str, path: &Path) -> Result<Vec<f32>> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let number = |(n, line): (usize, &str)| {
        let value: Option<f32> = line.parse().ok().filter(|value: &f32| value.is_finite());
        let problem = || {
            format!(
                "line {} is `{}`; each line must hold one finite number",
                n + 1,
                shown(line)
            )
        };
        value.ok_or_else(|| Error::file(path, problem()))
    };
    lines.map(number).collect()
}

/// What a message repeats of a line: its beginning, and nothing that a terminal would obey.
pub(crate) fn shown(line: &str) -> String {
    const LONGEST: usize = 60;
    let rest = if line.chars().nth(LONGEST).is_some() {
        "..."
    } else {
        ""
    };
    let start = line.chars().take(LONGEST).flat_map(char::escape_debug);
    start.chain(rest.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_values_that_follow() {
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
    fn a_line_that_is_no_number_is_named() {
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
