//! Tables: a CSV file with a header, whose rows are steps of one series or, by a column that says which, of several.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};
use serde::{Deserialize, Serialize};

use super::preparation::{Missing, Normal, Preparation};
use super::series::{MOST_NUMBERS, shown};
use super::{Dataset, Inputs, SplitBy, Splits, Targets, divide};
use crate::data::baselines::Forecast;
use crate::error::{Error, Result};
use crate::io::files;
use crate::kernels::IGNORE;
use crate::messages::{did_you_mean, listed};
use crate::network::{Loss, Reads};

/// The largest file of a table, in bytes.
const LARGEST_FILE: u64 = 1 << 30;
/// The most classes that a column may have.
const MOST_CLASSES: usize = 4096;
/// The most columns that a message lists.
const MOST_LISTED: usize = 20;

/// What of a table is read, and how it becomes sequences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Csv {
    /// A file with a header.
    pub path: PathBuf,
    /// What stands between two cells.
    #[serde(default = "comma", skip_serializing_if = "is_comma")]
    pub delimiter: char,
    /// The columns that the network reads, which hold numbers.
    pub inputs: Vec<String>,
    /// The columns that it answers with: of values one or several, of classes one.
    pub targets: Vec<String>,
    #[serde(default)]
    pub task: Task,
    /// The column that says which series a row belongs to; one series where it is absent. No window reaches from one into another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// T: rows of a window; whole series where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Rows from the beginning of one window to that of the next.
    #[serde(default = "one")]
    pub stride: usize,
    /// The answer to a row stands so many rows further on; 0 is in the row itself.
    #[serde(default)]
    pub horizon: usize,
    /// Whether there is an answer for each row of a window, or for its last alone.
    #[serde(default)]
    pub every_step: bool,
    /// A file of the same form that is the test split; else that is a part of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_path: Option<PathBuf>,
    #[serde(default = "fifth")]
    pub test_fraction: f64,
    /// How the test split is taken out of `path`: by `order` the last rows of each series (or, of whole series, the last ones),
    /// by `group` whole series by chance.
    #[serde(default)]
    pub split_by: SplitBy,
    /// Whether inputs and values to answer with are read in deviations from the training split's mean.
    #[serde(default = "yes")]
    pub normalise: bool,
    /// What becomes of empty cells, and of `NA`, `NaN`, `null`, `none` and `?`.
    #[serde(default)]
    pub missing: Missing,
    /// Rows of a season, for the seasonal naive forecast; where it is absent, the one that does best on the training split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<usize>,
}

/// What the targets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Values.
    #[default]
    Regression,
    /// Names or numbers of classes.
    Classification,
}

fn comma() -> char {
    ','
}

fn is_comma(delimiter: &char) -> bool {
    *delimiter == ','
}

fn one() -> usize {
    1
}

fn fifth() -> f64 {
    0.2
}

fn yes() -> bool {
    true
}

/// The rows of one series, in the order of the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// What its group is called.
    pub name: String,
    /// `[R]`: the line of the file that each row begins in, from 1.
    pub lines: Vec<u64>,
    /// `[R, I]`: NaN where it is missing.
    pub inputs: Vec<f32>,
    /// `[R, K]`, of a regression.
    values: Vec<f32>,
    /// `[R]`, of a classification.
    labels: Vec<u32>,
}

impl From<Vec<f32>> for Series {
    /// A series of one input.
    fn from(inputs: Vec<f32>) -> Series {
        Series {
            lines: (1..=inputs.len() as u64).collect(),
            inputs,
            ..Series::default()
        }
    }
}

impl Series {
    /// R.
    pub fn rows(&self) -> usize {
        self.lines.len()
    }

    /// Its rows from `row` on, which it loses.
    fn split_off(&mut self, row: usize) -> Series {
        let [inputs, values] = [&mut self.inputs, &mut self.values]
            .map(|numbers| numbers.split_off(numbers.len() / self.lines.len().max(1) * row));
        Series {
            name: self.name.clone(),
            labels: self.labels.split_off(row.min(self.labels.len())),
            lines: self.lines.split_off(row),
            inputs,
            values,
        }
    }
}

/// A table's rows by series, and the names of its classes in order.
struct Table {
    series: Vec<Series>,
    classes: Vec<String>,
}

impl Csv {
    /// One series of a file whose rows are answered as they stand, with everything else at its default.
    pub fn new(path: &Path, inputs: &[&str], targets: &[&str]) -> Csv {
        let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        Csv {
            path: path.to_path_buf(),
            delimiter: comma(),
            inputs: owned(inputs),
            targets: owned(targets),
            task: Task::default(),
            group: None,
            steps: None,
            stride: one(),
            horizon: 0,
            every_step: false,
            test_path: None,
            test_fraction: fifth(),
            split_by: SplitBy::default(),
            normalise: yes(),
            missing: Missing::default(),
            season: None,
        }
    }

    /// Refuses what makes no sense whatever the file holds.
    ///
    /// # Errors
    /// [`Error::Usage`] that says what is allowed.
    pub fn validate(&self, loss: Loss, reads: Reads) -> Result<()> {
        let refuse = |problem: String| Err(Error::Usage(problem));
        if !self.delimiter.is_ascii() || "\"\r\n".contains(self.delimiter) {
            return refuse(format!(
                "data.delimiter is {:?}; it must be one ASCII character, such as \",\", \";\" or \"\\t\"",
                self.delimiter
            ));
        }
        for (key, columns) in [("inputs", &self.inputs), ("targets", &self.targets)] {
            if columns.is_empty() {
                return refuse(format!(
                    "data.{key} is empty; it must name at least one column"
                ));
            }
            if let Some(twice) = columns
                .iter()
                .enumerate()
                .find_map(|(n, column)| columns[..n].contains(column).then_some(column))
            {
                return refuse(format!(
                    "data.{key} names the column `{}` twice",
                    shown(twice)
                ));
            }
        }
        for (key, count) in [
            ("steps", self.steps),
            ("stride", Some(self.stride)),
            ("season", self.season),
        ] {
            if count == Some(0) {
                return refuse(format!("data.{key} is 0; it must be at least 1"));
            }
        }
        if !(0.0..1.0).contains(&self.test_fraction) {
            return refuse(format!(
                "data.test_fraction is {}; it must be at least 0 and below 1",
                self.test_fraction
            ));
        }
        if self.split_by == SplitBy::Random && self.steps.is_some() {
            return refuse(
                "data.split_by is \"random\", but windows overlap, so that a test window would be seen in training; \
                 it must be \"order\", or \"group\" where data.group is set"
                    .into(),
            );
        }
        if self.group.is_none() && self.split_by == SplitBy::Group {
            return refuse(
                "data.split_by is \"group\", but there is no data.group that names a column".into(),
            );
        }
        let both = self
            .targets
            .iter()
            .find(|target| self.inputs.contains(target));
        if let (0, Some(target)) = (self.horizon, both) {
            return refuse(format!(
                "the column `{}` is among data.inputs and data.targets, and with data.horizon = 0 the answer stands in the \
                 question; for a forecast it must be at least 1",
                shown(target)
            ));
        }
        let (name, fitting) = match self.task {
            Task::Regression => ("regression", Loss::MeanSquaredError),
            Task::Classification => ("classification", Loss::CrossEntropy),
        };
        if self.task == Task::Classification && self.targets.len() > 1 {
            return refuse(format!(
                "data.targets names {} columns; a classification has one",
                self.targets.len()
            ));
        }
        let read = if self.every_step {
            Reads::Every
        } else {
            Reads::Last
        };
        if (loss, reads) != (fitting, read) {
            let loss = match fitting {
                Loss::CrossEntropy => "cross-entropy",
                Loss::MeanSquaredError => "mean-squared-error",
            };
            let reads = if self.every_step { "every" } else { "last" };
            return refuse(format!(
                "data.task is \"{name}\" and data.every_step is {}, so network.head must have loss = \"{loss}\" and \
                 reads = \"{reads}\"",
                self.every_step
            ));
        }
        Ok(())
    }

    /// K, of a regression.
    pub fn outputs(&self) -> Option<usize> {
        (self.task == Task::Regression).then_some(self.targets.len())
    }

    /// Where each target among the inputs stands, if all are among them.
    pub fn forecast(&self) -> Option<Forecast> {
        let place = |target| self.inputs.iter().position(|input| input == target);
        let inputs: Option<Vec<usize>> = self.targets.iter().map(place).collect();
        let inputs = inputs.filter(|_| self.task == Task::Regression)?;
        Some(Forecast {
            inputs,
            horizon: self.horizon,
            season: self.season,
        })
    }

    /// Reads the file, and that of the test split where it is another; prepared as `known` says, or else as the training split
    /// has it.
    ///
    /// # Errors
    /// [`Error::File`], with line and column, for what cannot be read; [`Error::Data`] for a split that has no window.
    pub fn load(&self, seed: u64, known: Option<&Preparation>) -> Result<Splits> {
        let table = self.parse(&read(&self.path)?, &self.path, true, &known_classes(known))?;
        let test = match &self.test_path {
            None => None,
            Some(path) => Some(self.parse(&read(path)?, path, true, &table.classes)?.series),
        };
        self.prepare(table, test, seed, known)
    }

    /// [`Csv::load`] of a file that is there already and has both splits.
    ///
    /// # Errors
    /// Those of [`Csv::load`].
    pub fn split(&self, bytes: &[u8], seed: u64) -> Result<Splits> {
        let table = self.parse(bytes, &self.path, true, &[])?;
        self.prepare(table, None, seed, None)
    }

    /// The series of a file, prepared as `known` says; its targets are not read and need not be there.
    ///
    /// # Errors
    /// Those of [`Csv::load`].
    pub fn series(&self, path: &Path, known: &Preparation) -> Result<Vec<Series>> {
        let Table { mut series, .. } = self.parse(&read(path)?, path, false, &[])?;
        self.fill(&mut series, path, known)?;
        normalise(&mut series, known);
        Ok(series)
    }

    fn prepare(
        &self,
        Table { series, classes }: Table,
        test: Option<Vec<Series>>,
        seed: u64,
        known: Option<&Preparation>,
    ) -> Result<Splits> {
        let test_path = self.test_path.as_ref().unwrap_or(&self.path);
        let (mut series, mut test) = (series, test);
        if self.missing != Missing::Mean {
            // Before a series is cut, since what stands before the cut may count on behind it.
            self.fill(&mut series, &self.path, &Preparation::default())?;
            let test = test.as_deref_mut().unwrap_or_default();
            self.fill(test, test_path, &Preparation::default())?;
        }
        let (mut train, mut test) = match test {
            Some(test) => (series, test),
            None => self.divide(series, seed)?,
        };
        let mut preparation = match known {
            Some(known) => known.clone(),
            None => self.learn(&train),
        };
        if self.task == Task::Classification {
            preparation.classes = classes;
        }
        for (series, path) in [(&mut train, &self.path), (&mut test, test_path)] {
            self.fill(series, path, &preparation)?;
            normalise(series, &preparation);
        }
        let classes = preparation.classes.len();
        let test_windows = match test.is_empty() {
            true => None,
            false => Some(self.windows(&test, "test", classes)?),
        };
        Ok(Splits {
            train: self.windows(&train, "training", classes)?.into(),
            test: test_windows.map(Dataset::into),
            preparation,
        })
    }

    /// The training and the test split's series.
    fn divide(&self, mut series: Vec<Series>, seed: u64) -> Result<(Vec<Series>, Vec<Series>)> {
        if self.steps.is_some() && self.split_by == SplitBy::Order {
            let cut = |series: &mut Series| {
                let kept = (series.rows() as f64 * (1.0 - self.test_fraction)).round() as usize;
                series.split_off(kept)
            };
            let test: Vec<Series> = series.iter_mut().map(cut).collect();
            let test = if self.test_fraction > 0.0 {
                test
            } else {
                vec![]
            };
            return Ok((series, test));
        }
        let own: Vec<i64> = (0..series.len() as i64).collect();
        let (_, test) = divide(&own, self.split_by, self.test_fraction, seed)
            .map_err(|problem| Error::file(&self.path, problem))?;
        let mut numbered = series.into_iter().enumerate();
        let (test, train): (Vec<_>, Vec<_>) = numbered
            .by_ref()
            .partition(|(n, _)| test.binary_search(n).is_ok());
        let plain = |numbered: Vec<(usize, Series)>| numbered.into_iter().map(|(_, series)| series);
        Ok((plain(train).collect(), plain(test).collect()))
    }

    /// What the training split says of the columns. An input that is a target too is normalised as that is, since both are taken
    /// over all rows.
    fn learn(&self, train: &[Series]) -> Preparation {
        let inputs = train
            .iter()
            .flat_map(|series| series.inputs.chunks(self.inputs.len()));
        let inputs = Normal::of(inputs, self.inputs.len());
        let values = train
            .iter()
            .flat_map(|series| series.values.chunks(self.targets.len()));
        let means = match self.missing {
            Missing::Mean => inputs.iter().map(|normal| normal.mean).collect(),
            _ => vec![],
        };
        Preparation {
            targets: match self.normalise && self.task == Task::Regression {
                true => Normal::of(values, self.targets.len()),
                false => vec![],
            },
            inputs: if self.normalise { inputs } else { vec![] },
            means,
            ..Preparation::default()
        }
    }

    /// Fills what is missing in the file `path`.
    fn fill(&self, series: &mut [Series], path: &Path, preparation: &Preparation) -> Result<()> {
        // A value to answer with that is missing is treated as an input is.
        let of_targets = Preparation {
            means: preparation
                .targets
                .iter()
                .map(|normal| normal.mean)
                .collect(),
            ..Preparation::default()
        };
        let (inputs, targets) = (&self.inputs, &self.targets);
        for Series {
            lines,
            inputs: own,
            values,
            ..
        } in series
        {
            for (numbers, columns, preparation) in [
                (&mut own[..], inputs, preparation),
                (&mut values[..], targets, &of_targets),
            ] {
                let filled = preparation.fill(self.missing, numbers, columns.len());
                filled.map_err(|(row, column)| {
                    let remedy = match self.missing {
                        Missing::Forward => {
                            "no row of its series stands before it, from which data.missing = \"forward\" could take one; \
                             say \"mean\" or \"zero\", or leave out the rows above the first value"
                        }
                        Missing::Mean => {
                            "its mean is not known where data.normalise is false; say \"forward\" or \"zero\""
                        }
                        _ => {
                            "say data.missing = \"forward\", \"mean\" or \"zero\" to have such cells filled, or mend the file"
                        }
                    };
                    let column = shown(&columns[column]);
                    Error::file(path, format!("line {}: the column `{column}` has no value; {remedy}", lines[row]))
                })?;
            }
        }
        Ok(())
    }

    /// Windows of `series`, `[N, T, I]`, or the whole of each.
    fn windows(&self, series: &[Series], name: &str, classes: usize) -> Result<Dataset> {
        let (features, width) = (self.inputs.len(), self.targets.len());
        let longest = series.iter().map(Series::rows).max().unwrap_or(0);
        let steps = self.steps.unwrap_or(longest.saturating_sub(self.horizon));
        let windows: Vec<(&Series, usize, usize)> = series
            .iter()
            .flat_map(|series| {
                // What has an answer.
                let rows = series.rows().saturating_sub(self.horizon);
                let (length, stride) = match self.steps {
                    Some(steps) => (steps, self.stride),
                    None => (rows.max(1), usize::MAX),
                };
                let last = (rows + 1).saturating_sub(length);
                (0..last)
                    .step_by(stride)
                    .map(move |start| (series, start, length))
            })
            .collect();
        let count = windows.len();
        if count == 0 {
            return Err(Error::Data(format!(
                "{}: the longest series of the {name} split has {longest} rows, and a window of {steps} with its answer {} rows on \
                 needs {}; take fewer data.steps, a longer file, or another data.test_fraction",
                self.path.display(),
                self.horizon,
                (steps as u128).max(1) + self.horizon as u128
            )));
        }
        let numbers = count as u128 * steps as u128 * features.max(width) as u128;
        if numbers > u128::from(MOST_NUMBERS) {
            return Err(Error::Data(format!(
                "{}: the {name} split has {count} windows of {steps} steps with {features} inputs, which are {numbers} numbers; \
                 at most {MOST_NUMBERS} are taken. Take fewer data.steps or a larger data.stride.",
                self.path.display()
            )));
        }
        let mut inputs = Vec::with_capacity(count * steps * features);
        let (mut values, mut labels) = (vec![], vec![]);
        for &(series, start, length) in &windows {
            inputs.extend(&series.inputs[start * features..(start + length) * features]);
            inputs.resize(inputs.len() + (steps - length) * features, 0.0);
            let answered = match self.every_step {
                true => start + self.horizon..start + self.horizon + length,
                false => start + self.horizon + length - 1..start + self.horizon + length,
            };
            let padding = if self.every_step { steps - length } else { 0 };
            match self.task {
                Task::Regression => {
                    values.extend(&series.values[answered.start * width..answered.end * width]);
                    values.resize(values.len() + padding * width, 0.0);
                }
                Task::Classification => {
                    labels.extend(&series.labels[answered]);
                    labels.resize(labels.len() + padding, IGNORE);
                }
            }
        }
        let lengths = windows.iter().map(|&(_, _, length)| length as u32);
        let ragged = windows.iter().any(|&(_, _, length)| length < steps);
        Ok(Dataset {
            count,
            steps,
            features,
            inputs: Inputs::Floats(inputs),
            targets: match self.task {
                Task::Regression => Targets::Values {
                    values,
                    width,
                    per_step: self.every_step,
                },
                Task::Classification => Targets::Classes {
                    labels,
                    classes,
                    per_step: self.every_step,
                },
            },
            lengths: ragged.then(|| lengths.collect()),
        })
    }

    /// Every window of `series`, `[N, T, I]`, whether it has an answer or not, or the whole of each; and the series and the first
    /// row of each.
    ///
    /// # Errors
    /// [`Error::File`] where none is long enough.
    pub fn questions(
        &self,
        series: &[Series],
        path: &Path,
    ) -> Result<(Dataset, Vec<(usize, usize)>)> {
        let features = self.inputs.len();
        let longest = series.iter().map(Series::rows).max().unwrap_or(0);
        let steps = self.steps.unwrap_or(longest);
        let starts = |(n, series): (usize, &Series)| {
            let last = match self.steps {
                Some(steps) => (series.rows() + 1).saturating_sub(steps),
                None => 1,
            };
            (0..last).map(move |start| (n, start))
        };
        let places: Vec<(usize, usize)> = series.iter().enumerate().flat_map(starts).collect();
        let numbers = places.len() as u128 * steps as u128 * features as u128;
        if places.is_empty() || numbers > u128::from(MOST_NUMBERS) {
            return Err(Error::file(
                path,
                format!(
                    "the longest series has {longest} rows, which are {} windows of {steps} rows with {features} inputs; there must be \
                     at least one, and at most {MOST_NUMBERS} numbers in all",
                    places.len()
                ),
            ));
        }
        let mut inputs = Vec::with_capacity(places.len() * steps * features);
        let mut lengths = vec![];
        for &(n, start) in &places {
            let length = steps.min(series[n].rows() - start);
            inputs.extend(&series[n].inputs[start * features..(start + length) * features]);
            inputs.resize(inputs.len() + (steps - length) * features, 0.0);
            lengths.push(length as u32);
        }
        let data = Dataset {
            count: places.len(),
            steps,
            features,
            inputs: Inputs::Floats(inputs),
            targets: Targets::Classes {
                labels: vec![0; places.len()],
                classes: 1,
                per_step: false,
            },
            lengths: lengths
                .iter()
                .any(|&length| (length as usize) < steps)
                .then_some(lengths),
        };
        Ok((data, places))
    }

    /// The rows of a file by series. Of `known` classes, where there are any, no other may occur.
    fn parse(
        &self,
        bytes: &[u8],
        path: &Path,
        with_targets: bool,
        known: &[String],
    ) -> Result<Table> {
        let mut reader = ReaderBuilder::new()
            .delimiter(self.delimiter as u8)
            .trim(Trim::All)
            .from_reader(bytes);
        let header = reader
            .headers()
            .map_err(|error| damaged(path, &error))?
            .clone();
        let inputs = columns(&header, &self.inputs, "data.inputs", path)?;
        let targets = match with_targets {
            true => columns(&header, &self.targets, "data.targets", path)?,
            false => vec![],
        };
        let group = match &self.group {
            Some(group) => columns(&header, std::slice::from_ref(group), "data.group", path)?,
            None => vec![],
        };
        let (mut series, mut numbers): (Vec<Series>, HashMap<String, usize>) = Default::default();
        let mut classes: HashMap<String, u32> = numbered(known);
        let mut record = StringRecord::new();
        while reader
            .read_record(&mut record)
            .map_err(|error| damaged(path, &error))?
        {
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |column: usize| record.get(column).unwrap_or_default();
            let name = group.first().map_or("", |&column| cell(column));
            let number = match numbers.get(name) {
                Some(&number) => number,
                None => {
                    numbers.insert(name.to_string(), series.len());
                    series.push(Series {
                        name: name.to_string(),
                        ..Series::default()
                    });
                    series.len() - 1
                }
            };
            let number_at = |column: usize| {
                number_of(cell(column)).ok_or_else(|| {
                    let problem = format!(
                        "line {line}: the column `{}` has `{}`; it must hold finite numbers, or be left out of the recipe",
                        shown(&header[column]),
                        shown(cell(column))
                    );
                    Error::file(path, problem)
                })
            };
            let own = &mut series[number];
            own.lines.push(line);
            for &column in &inputs {
                own.inputs.push(number_at(column)?);
            }
            for &column in &targets {
                if self.task == Task::Regression {
                    own.values.push(number_at(column)?);
                    continue;
                }
                let refuse = |problem: &str| {
                    let (name, cell) = (shown(&header[column]), shown(cell(column)));
                    let problem = format!("line {line}: the column `{name}` has `{cell}`{problem}");
                    Err(Error::file(path, problem))
                };
                let label = cell(column);
                if is_missing(label) {
                    return refuse(", which is no class; each row must have one");
                }
                let label = match classes.get(label) {
                    Some(&class) => class,
                    None if !known.is_empty() => {
                        return refuse(", which is none of the classes that the training file has");
                    }
                    None if classes.len() == MOST_CLASSES => {
                        return refuse(&format!(
                            ", and {MOST_CLASSES} classes stand above it, the most that are taken; for values say \
                             data.task = \"regression\""
                        ));
                    }
                    None => {
                        let class = classes.len() as u32;
                        classes.insert(label.to_string(), class);
                        class
                    }
                };
                own.labels.push(label);
            }
        }
        if series.is_empty() {
            return Err(Error::file(
                path,
                "has a header and no rows; it needs at least one",
            ));
        }
        let classes = match known.is_empty() {
            true => in_order(classes, &mut series),
            false => known.to_vec(),
        };
        if with_targets && self.task == Task::Classification && classes.len() < 2 {
            return Err(Error::file(
                path,
                format!(
                    "every row of the column `{}` has the same class; there must be at least two",
                    shown(&self.targets[0])
                ),
            ));
        }
        Ok(Table { series, classes })
    }
}

fn normalise(series: &mut [Series], preparation: &Preparation) {
    for Series { inputs, values, .. } in series {
        Normal::apply_all(&preparation.inputs, inputs);
        Normal::apply_all(&preparation.targets, values);
    }
}

fn known_classes(known: Option<&Preparation>) -> Vec<String> {
    known.map_or(vec![], |known| known.classes.clone())
}

fn numbered(classes: &[String]) -> HashMap<String, u32> {
    classes.iter().cloned().zip(0..).collect()
}

/// Numbers classes by their names' order, or where all are numbers by size.
fn in_order(classes: HashMap<String, u32>, series: &mut [Series]) -> Vec<String> {
    let mut found: Vec<(String, u32)> = classes.into_iter().collect();
    let number = |name: &str| name.parse().unwrap_or(f64::NAN);
    let numbers = found.iter().all(|(name, _)| number(name).is_finite());
    found.sort_by(|(a, _), (b, _)| match numbers {
        true => number(a).total_cmp(&number(b)).then_with(|| a.cmp(b)),
        false => a.cmp(b),
    });
    let mut places = vec![0; found.len()];
    for (place, &(_, was)) in found.iter().enumerate() {
        places[was as usize] = place as u32;
    }
    let labels = series.iter_mut().flat_map(|series| &mut series.labels);
    labels.for_each(|label| *label = places[*label as usize]);
    found.into_iter().map(|(name, _)| name).collect()
}

/// A file's bytes.
fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).and_then(|file| files::read_at_most(file, LARGEST_FILE));
    file.map_err(|error| Error::file(path, format!("the table cannot be read: {error}")))
}

/// Where the columns of these names stand.
fn columns(header: &StringRecord, names: &[String], key: &str, path: &Path) -> Result<Vec<usize>> {
    let find = |name: &String| {
        let mut places = (0..header.len()).filter(|&column| header[column] == **name);
        match (places.next(), places.next()) {
            (Some(place), None) => Ok(place),
            (Some(_), Some(_)) => Err(Error::file(
                path,
                format!(
                    "two columns of the header are called `{}`, which {key} names; each must have a name of its own",
                    shown(name)
                ),
            )),
            (None, _) => {
                let there: Vec<String> = header.iter().take(MOST_LISTED).map(shown).collect();
                let there: Vec<&str> = there.iter().map(String::as_str).collect();
                Err(Error::file(
                    path,
                    format!(
                        "line 1: there is no column `{}`{}, which {key} names; the header has {}",
                        shown(name),
                        did_you_mean(name, &there),
                        listed(&there)
                    ),
                ))
            }
        }
    };
    names.iter().map(find).collect()
}

fn damaged(path: &Path, error: &csv::Error) -> Error {
    let line = |position: &Option<csv::Position>| position.as_ref().map_or(1, csv::Position::line);
    let problem = match error.kind() {
        ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => format!(
            "line {}: there are {len} cells where the header has {expected_len}; each row must have as many \
             (is data.delimiter what stands between them?)",
            line(pos)
        ),
        ErrorKind::Utf8 { pos, .. } => {
            format!(
                "line {}: the text is not UTF-8; save the file as UTF-8",
                line(pos)
            )
        }
        _ => format!("cannot be read as a table: {error}"),
    };
    Error::file(path, problem)
}

/// Whether a cell says that there is nothing in it.
pub fn is_missing(cell: &str) -> bool {
    const MARKS: [&str; 7] = ["", "na", "n/a", "nan", "null", "none", "?"];
    MARKS.iter().any(|mark| cell.eq_ignore_ascii_case(mark))
}

/// A cell's finite number, NaN for one that is missing, `None` for anything else.
pub fn number_of(cell: &str) -> Option<f32> {
    match is_missing(cell) {
        true => Some(f32::NAN),
        false => cell.parse().ok().filter(|value: &f32| value.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(inputs: &[&str], targets: &[&str]) -> Csv {
        Csv {
            normalise: false,
            test_fraction: 0.0,
            ..Csv::new(Path::new("t.csv"), inputs, targets)
        }
    }

    fn floats(data: &Dataset) -> &[f32] {
        match &data.inputs {
            Inputs::Floats(values) => values,
            _ => panic!("floats expected"),
        }
    }

    fn values(data: &Dataset) -> &[f32] {
        match &data.targets {
            Targets::Values { values, .. } => values,
            Targets::Classes { .. } => panic!("values expected"),
        }
    }

    /// `t,a,b` with a = t and b = 10 t.
    fn rows(count: usize) -> String {
        let rows = (0..count).map(|t| format!("{t},{t},{}\n", 10 * t));
        format!("t,a,b\n{}", rows.collect::<String>())
    }

    #[test]
    fn windows_have_their_answers_further_on() {
        let mut csv = table(&["b", "a"], &["a"]);
        (csv.steps, csv.horizon, csv.stride) = (Some(3), 2, 2);
        let data = csv
            .split(rows(8).as_bytes(), 0)
            .expect("it makes sense")
            .train;
        assert_eq!((data.count, data.steps, data.features), (2, 3, 2));
        assert_eq!(floats(&data)[..6], [0.0, 0.0, 10.0, 1.0, 20.0, 2.0]);
        assert_eq!(floats(&data)[6], 20.0);
        assert_eq!(values(&data), [4.0, 6.0]);
        csv.every_step = true;
        let data = csv
            .split(rows(8).as_bytes(), 0)
            .expect("it makes sense")
            .train;
        assert_eq!(values(&data), [2.0, 3.0, 4.0, 4.0, 5.0, 6.0]);
        data.check().expect("it makes sense");
    }

    #[test]
    fn a_forecast_is_split_in_time_and_normalised_by_what_came_before() {
        let mut csv = table(&["a"], &["a"]);
        (csv.steps, csv.horizon) = (Some(2), 1);
        (csv.test_fraction, csv.normalise, csv.every_step) = (0.4, true, true);
        let splits = csv.split(rows(10).as_bytes(), 0).expect("it makes sense");
        let (train, test) = (splits.train, splits.test.expect("there is one"));
        assert_eq!((train.count, test.count), (4, 2));
        // 0 to 5 have the mean 2.5 and the variance 35 / 12.
        let normal = splits.preparation.inputs[0];
        assert_eq!(normal.mean, 2.5);
        assert!((normal.deviation - (35.0f32 / 12.0).sqrt()).abs() < 1e-6);
        assert_eq!(splits.preparation.targets, [normal]);
        assert!((normal.undo(floats(&test)[0]) - 6.0).abs() < 1e-5);
        assert!((normal.undo(values(&test)[3]) - 9.0).abs() < 1e-5);

        // What a model knows is used in place of the file's own.
        let table = csv
            .parse(rows(10).as_bytes(), &csv.path, true, &[])
            .expect("it makes sense");
        let known = Preparation {
            inputs: vec![Normal {
                mean: 0.0,
                deviation: 2.0,
            }],
            ..Preparation::default()
        };
        let splits = csv
            .prepare(table, None, 0, Some(&known))
            .expect("it makes sense");
        assert_eq!(floats(&splits.train)[1], 0.5);
    }

    #[test]
    fn no_window_reaches_from_one_group_into_another() {
        let text = "g,v,c\nx,1,no\ny,5,yes\nx,2,no\ny,6,yes\ny,7,yes\nz,9,no\n";
        let mut csv = table(&["v"], &["c"]);
        (csv.task, csv.group) = (Task::Classification, Some("g".into()));
        let splits = csv.split(text.as_bytes(), 0).expect("it makes sense");
        let data = splits.train;
        assert_eq!((data.count, data.steps), (3, 3));
        assert_eq!(floats(&data), [1.0, 2.0, 0.0, 5.0, 6.0, 7.0, 9.0, 0.0, 0.0]);
        assert_eq!(data.lengths, Some(vec![2, 3, 1]));
        assert_eq!(data.labels(), [0, 1, 0]);
        assert_eq!(splits.preparation.classes, ["no", "yes"]);
        csv.steps = Some(2);
        let data = csv.split(text.as_bytes(), 0).expect("it makes sense").train;
        assert_eq!(floats(&data), [1.0, 2.0, 5.0, 6.0, 6.0, 7.0]);
        (csv.steps, csv.split_by, csv.test_fraction) = (None, SplitBy::Group, 0.3);
        let splits = csv.split(text.as_bytes(), 0).expect("it makes sense");
        assert_eq!(
            (splits.train.count, splits.test.map(|test| test.count)),
            (2, Some(1))
        );
    }

    #[test]
    fn classes_that_are_numbers_are_in_their_order() {
        let text = "v,c\n1,10\n2,9\n3,10\n";
        let mut csv = table(&["v"], &["c"]);
        (csv.task, csv.every_step) = (Task::Classification, true);
        let splits = csv.split(text.as_bytes(), 0).expect("it makes sense");
        assert_eq!(splits.preparation.classes, ["9", "10"]);
        assert_eq!(splits.train.labels(), [1, 0, 1]);
    }

    #[test]
    fn what_is_missing_is_refused_or_filled() {
        let text = "v,w\n1,1\nNA,2\n,3\n4,4\n";
        let filled = |missing| {
            let mut csv = table(&["v"], &["w"]);
            (csv.missing, csv.every_step) = (missing, true);
            csv.split(text.as_bytes(), 0)
                .map(|splits| floats(&splits.train).to_vec())
        };
        let message = filled(Missing::Refuse)
            .expect_err("it is missing")
            .to_string();
        assert!(
            message.contains("t.csv: line 3: the column `v` has no value"),
            "{message}"
        );
        assert_eq!(
            filled(Missing::Forward).expect("it is filled"),
            [1.0, 1.0, 1.0, 4.0]
        );
        assert_eq!(
            filled(Missing::Zero).expect("it is filled"),
            [1.0, 0.0, 0.0, 4.0]
        );
        assert_eq!(
            filled(Missing::Mean).expect("it is filled"),
            [1.0, 2.5, 2.5, 4.0]
        );
    }

    #[test]
    fn a_wrong_file_is_named_with_line_and_column() {
        let mut csv = table(&["a"], &["b"]);
        csv.steps = Some(2);
        for (text, expected) in [
            ("a,c\n1,2\n", "line 1: there is no column `b`"),
            ("a,b,a\n1,2,3\n", "two columns of the header are called `a`"),
            (
                "a,b\n1,2\n3\n",
                "line 3: there are 1 cells where the header has 2",
            ),
            (
                "a,b\n1,2\nx\u{1b}[,3\n",
                "line 3: the column `a` has `x\\u{1b}[`",
            ),
            ("a,b\n1,inf\n", "line 2: the column `b` has `inf`"),
            ("a,b\n", "a header and no rows"),
            (
                "a,b\n1,2\n",
                "the longest series of the training split has 1 rows, and a window of 2",
            ),
        ] {
            let error = csv.split(text.as_bytes(), 0).expect_err(expected);
            assert_eq!(error.exit_code(), 1);
            assert!(error.to_string().contains(expected), "{error}");
        }
        let error = csv
            .split(b"a,b\n1,\xff\n", 0)
            .expect_err("no text")
            .to_string();
        assert!(error.contains("line 2: the text is not UTF-8"), "{error}");
        (csv.task, csv.steps) = (Task::Classification, None);
        let error = csv
            .split(b"a,b\n1,x\n2,x\n", 0)
            .expect_err("one class")
            .to_string();
        assert!(error.contains("there must be at least two"), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_a_file_is_read() {
        let good = Csv {
            steps: Some(3),
            horizon: 1,
            ..table(&["a"], &["a"])
        };
        let (loss, reads) = (Loss::MeanSquaredError, Reads::Last);
        good.validate(loss, reads).expect("it makes sense");
        let group = Some("g".to_string());
        for (csv, expected) in [
            (
                Csv {
                    inputs: vec![],
                    ..good.clone()
                },
                "data.inputs is empty",
            ),
            (
                Csv {
                    targets: vec!["a".into(), "a".into()],
                    ..good.clone()
                },
                "`a` twice",
            ),
            (
                Csv {
                    horizon: 0,
                    ..good.clone()
                },
                "the answer stands in the question",
            ),
            (
                Csv {
                    stride: 0,
                    ..good.clone()
                },
                "data.stride is 0",
            ),
            (
                Csv {
                    delimiter: '\n',
                    ..good.clone()
                },
                "data.delimiter",
            ),
            (
                Csv {
                    split_by: SplitBy::Random,
                    ..good.clone()
                },
                "windows overlap",
            ),
            (
                Csv {
                    split_by: SplitBy::Group,
                    ..good.clone()
                },
                "there is no data.group",
            ),
            (
                Csv {
                    every_step: true,
                    group,
                    ..good.clone()
                },
                "reads = \"every\"",
            ),
            (
                Csv {
                    task: Task::Classification,
                    ..good.clone()
                },
                "loss = \"cross-entropy\"",
            ),
            (
                Csv {
                    test_fraction: 1.0,
                    ..good.clone()
                },
                "below 1",
            ),
        ] {
            let message = csv.validate(loss, reads).expect_err(expected).to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
