//! The interface of a kind of data. Each kind is one file or folder of this module and implements
//! [`DataSource`]; `recipe::data` lists the kinds.

use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::baselines::Forecast;
use super::csv::{CalendarContinuation, CalendarCycle, CellFormat, later_times};
use super::labelled::{LabelledData, LabelledRequest};
use super::preparation::{Missing, Preparation};
use super::{Dataset, Fold, Horizon, Split, Splits};
use crate::error::{Error, Result};
use crate::io::files;
use crate::messages::{excerpt, shown_path};
use crate::network::{Input, Loss, Reads};
use crate::numeric::civil::CivilTime;

/// A kind of data, as the `[data]` table of a recipe configures it.
pub trait DataSource: Debug {
    /// Returns the path of the data, if the recipe names one.
    fn path(&self) -> Option<&Path>;

    /// Returns every path that the recipe names, first the path of the data.
    fn paths_mut(&mut self) -> Vec<&mut PathBuf>;

    /// Reads the data from another path. A kind that reads no files ignores it.
    fn set_path(&mut self, path: PathBuf) {
        if let Some(own) = self.paths_mut().into_iter().next() {
            *own = path;
        }
    }

    /// Returns what a path to data of this kind must name.
    fn expected_path(&self) -> ExpectedPath;

    /// Returns whether the files of the recipe exist; true if it names none.
    fn exists(&self) -> bool {
        let expected = self.expected_path();
        self.path().is_none_or(|path| expected.check(path).is_ok())
    }

    /// Checks the fields, and that the rest of the recipe fits this kind.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] or [`Error::Usage`] for the first field that is not allowed.
    fn validate(&self, usage: &DataUse) -> Result<()>;

    /// Returns K if the recipe tells it; any valid K otherwise.
    fn outputs(&self) -> usize;

    /// Adapts fields that depend on the batch size.
    fn set_batch_size(&mut self, _batch_size: usize) {}

    /// Reads or generates both splits. Random choices depend on `seed` only. Values are prepared as
    /// in `known`, the preparation of a model; otherwise as the training split determines.
    ///
    /// # Errors
    /// [`Error::File`] for a missing or damaged file; [`Error::Data`] for data that do not suffice.
    fn load(&self, seed: u64, known: Option<&Preparation>) -> Result<Splits>;

    /// Reads one split.
    ///
    /// # Errors
    /// Those of [`DataSource::load`]; [`Error::Data`] if there is no test split.
    fn load_split(
        &self,
        split: Split,
        seed: u64,
        known: Option<&Preparation>,
    ) -> Result<Arc<Dataset>> {
        self.load(seed, known)?.take(split)
    }

    /// Reads every sequence of another file with its targets, prepared as the model's training
    /// data. The recipe's own files are not read.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read or does not fit the model; [`Error::Usage`]
    /// for a split of a file that has none; [`Error::Data`] if models of this kind of data are not
    /// evaluated on files.
    fn load_labelled(&self, _request: &LabelledRequest) -> Result<LabelledData> {
        Err(Error::data(
            "the model was trained on data of a program that uses the library; evaluate it in that \
             program",
        ))
    }

    /// Reads sequences from another file to predict from.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read; [`Error::Data`] if models of this kind of
    /// data do not predict from files.
    fn load_inputs(&self, request: &InputRequest) -> Result<PredictionInputs>;

    /// Returns the values that a forecast continues: the end of a file or of the recipe's data.
    ///
    /// # Errors
    /// [`Error::Data`] if models of these data predict no series; [`Error::Usage`] for a group that
    /// the data do not have; those of [`DataSource::load`].
    fn forecast_start(&self, _request: &ForecastRequest) -> Result<ForecastStart> {
        Err(Error::data(
            "the model was not trained on a series; only a model that predicts the next values of \
             its own inputs can continue them (see the recipe `series`)",
        ))
    }

    /// Generates data of the same sizes, with at most `count` sequences (fewer where these take
    /// over 4 GiB), for measurements; `None` if the recipe does not tell the sizes.
    fn made_up(&self, _count: usize, _seed: u64) -> Option<Splits> {
        None
    }

    /// Returns the sizes of a sequence, from the recipe if it tells them, else from the files.
    ///
    /// # Errors
    /// Those of [`DataSource::load`].
    fn sizes(&self, seed: u64) -> Result<SequenceSizes> {
        let data = self.load(seed, None)?.train;
        Ok(SequenceSizes::of(&data))
    }

    /// Returns which inputs the targets are later values of; `None` if they are not.
    fn forecast(&self) -> Option<Forecast> {
        None
    }

    /// Returns whether the test split is later in time than the training split.
    fn is_in_time_order(&self) -> bool {
        false
    }

    /// Makes one part of the test split the whole of it, for a backtest. Its windows may begin with
    /// rows before it.
    ///
    /// # Errors
    /// [`Error::Usage`] for data that are not split in time.
    fn set_fold(&mut self, _fold: Fold) -> Result<()> {
        Err(not_in_time())
    }

    /// Returns the time of the last target of each sequence of the test split, as
    /// [`DataSource::load`] returns it; `None` where the data have no times.
    fn test_times(&self, _seed: u64, _known: Option<&Preparation>) -> Option<SequenceTimes> {
        None
    }

    /// Returns the names of the target values; empty if they have none.
    fn target_names(&self) -> &[String] {
        &[]
    }

    /// Returns the names of the columns of categories; empty if the data have none.
    fn category_names(&self) -> &[String] {
        &[]
    }

    /// Returns the rows from an input to its targets; `None` for data that are not rows of a table
    /// or series.
    fn horizon(&self) -> Option<Horizon> {
        None
    }

    /// S: the steps ahead that are predicted at once; 1 for anything but a forecast of several.
    fn steps_ahead(&self) -> usize {
        self.horizon().map_or(1, Horizon::steps)
    }

    /// Returns the names of all target values of the network: [`DataSource::target_names`], with
    /// the rows ahead where it predicts several; empty if they have none.
    fn output_names(&self) -> Vec<String> {
        let names = self.target_names();
        let horizon = self.horizon().filter(|horizon| horizon.is_several());
        horizon.map_or(names.to_vec(), |horizon| horizon.output_names(names))
    }

    /// Returns how a line of text holds the inputs of one time step.
    fn line_format(&self) -> LineFormat<'_> {
        LineFormat::default()
    }
}

/// An error for a backtest of data that are not split in time.
pub(super) fn not_in_time() -> Error {
    Error::usage(
        "a backtest needs a table or a series of a file whose test split is its last part (windows \
         with data.steps, data.split_by = \"order\", data.test_fraction above 0 and no \
         data.test_path); these data have no such split",
    )
}

/// The parts of a recipe that must agree with its data.
#[derive(Debug, Clone, Copy)]
pub struct DataUse {
    pub input: Input,
    pub loss: Loss,
    pub reads: Reads,
    pub batch_size: usize,
    pub bptt_steps: Option<usize>,
}

impl DataUse {
    /// Refuses a head with another loss, or with outputs for each step where `reads` has one for a
    /// sequence, or the reverse; `data` is a clause that says why these are needed.
    pub(super) fn require_head(&self, data: &str, kind: TargetKind, reads: Reads) -> Result<()> {
        self.require_targets(data, kind)?;
        self.require_reads(data, reads)
    }

    /// Refuses a head with outputs for each step where `reads` has one for a sequence, or the
    /// reverse; `data` is a clause that says why these are needed.
    fn require_reads(&self, data: &str, reads: Reads) -> Result<()> {
        if self.reads.is_per_step() == reads.is_per_step() {
            return Ok(());
        }
        let allowed = if reads.is_per_step() {
            "reads = \"every\""
        } else {
            "reads = \"last\", \"mean\", \"max\" or \"attention\""
        };
        Err(Error::usage(format!(
            "{data}, so network.head must have {allowed}; it has reads = \"{}\"",
            self.reads.name(),
        )))
    }

    /// Refuses a head whose loss takes other targets; `data` is a clause that says why these are
    /// needed.
    pub(super) fn require_targets(&self, data: &str, kind: TargetKind) -> Result<()> {
        let loss = &self.loss;
        let (fits, allowed) = match kind {
            TargetKind::Classes => (loss.takes_classes(), "loss = \"cross-entropy\""),
            TargetKind::Labels => (loss.takes_labels(), "loss = \"binary-cross-entropy\""),
            TargetKind::Lists => (loss.takes_lists(), "loss = \"ctc\""),
            TargetKind::Quantities => (
                loss.takes_quantities(),
                "loss = \"mean-squared-error\", \"mean-absolute-error\", \"gaussian-nll\", \
                 { huber = { delta = ... } } or { quantile = { levels = [...] } }",
            ),
        };
        if fits {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{data}, so network.head must have {allowed}; it has loss = \"{}\"",
            loss.name(),
        )))
    }
}

/// The kind of targets that a loss takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetKind {
    Classes,
    /// Several labels that are each 0 or 1.
    Labels,
    /// A list of labels for each sequence.
    Lists,
    /// Values of any size.
    Quantities,
}

/// What a path to data must name, with what it must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpectedPath {
    File(&'static str),
    Directory(&'static str),
    FileOrDirectory(&'static str),
    /// The kind reads no files, for the given reason.
    Nothing(&'static str),
}

impl ExpectedPath {
    /// Checks that `path` exists and is of the expected type.
    ///
    /// # Errors
    /// A message on what it must be.
    pub fn check(self, path: &Path) -> Result<(), String> {
        let (fits, noun, contents) = match self {
            ExpectedPath::File(contents) => (files::is_file(path), "file", contents),
            ExpectedPath::Directory(contents) => (path.is_dir(), "directory", contents),
            ExpectedPath::FileOrDirectory(contents) => {
                (path.exists(), "file or directory", contents)
            }
            ExpectedPath::Nothing(reason) => return Err(reason.to_string()),
        };
        if fits {
            Ok(())
        } else {
            Err(format!("there is no such {noun}; it must hold {contents}"))
        }
    }
}

/// A request for sequences to predict from.
#[derive(Debug, Clone, Copy)]
pub struct InputRequest<'a> {
    /// A file or directory of the kind that the model was trained on.
    pub path: &'a Path,
    /// Which split, where the files of both are in one directory.
    pub split: Split,
    /// That of the model.
    pub preparation: &'a Preparation,
    /// V, if the model reads tokens.
    pub vocabulary: Option<usize>,
}

/// Sequences to predict from. Their targets are placeholders: class 0 for each.
#[derive(Debug, Clone)]
pub struct PredictionInputs {
    pub data: Dataset,
    /// The rows of each window of a table or series; `None` for sequences that are no windows.
    pub windows: Option<WindowRows>,
    /// Sentences on rows left out and values filled.
    pub notes: Vec<String>,
}

impl From<Dataset> for PredictionInputs {
    fn from(data: Dataset) -> PredictionInputs {
        PredictionInputs {
            data,
            windows: None,
            notes: vec![],
        }
    }
}

/// The time of the last target of each sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceTimes {
    /// Whether the values are seconds since 1970; else numbers of the data, such as years.
    pub are_dates: bool,
    /// `[N]`
    pub values: Vec<f64>,
    /// `[N, S]`: the time of the target at each step ahead.
    pub ahead: Vec<f64>,
}

/// The rows of a table, or values of a series, that sequences are windows of.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowRows {
    /// The name of the column of groups, if there is one.
    pub group: Option<String>,
    /// `[N]`: the group of each window, and its first row (from 0) within the group.
    pub starts: Vec<(String, usize)>,
    /// Rows from an input to its targets.
    pub horizon: Horizon,
    /// The times of the rows, where the table has a column of times.
    pub times: Option<WindowTimes>,
}

/// The times of the rows that windows are cut from, and of those that they predict.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowTimes {
    /// The name of the column of times.
    pub column: String,
    /// Whether they are dates, in seconds since 1970; else numbers of the data, such as years.
    pub are_dates: bool,
    /// `[N]`: the series of each window.
    pub series: Vec<usize>,
    /// The times of the rows of each series, and of those after its end, if they are regular.
    pub of_series: Vec<Vec<f64>>,
}

impl WindowTimes {
    /// Returns the time of a row of window n's series as text: a date, with the time of day unless
    /// all times are at midnight, or a number; empty if it is not known.
    pub fn text(&self, n: usize, row: usize) -> String {
        let Some(&time) = self.of_series[self.series[n]].get(row) else {
            return String::new();
        };
        if !self.are_dates {
            return time.to_string();
        }
        const DAY: f64 = 86_400.0;
        let mut all = self.of_series.iter().flatten();
        CivilTime::of(time).text(all.any(|time| time.rem_euclid(DAY) != 0.0))
    }
}

/// A request for the values that a forecast continues.
#[derive(Debug, Clone, Copy)]
pub struct ForecastRequest<'a> {
    /// A file of the kind that the model was trained on; `None` for the recipe's data.
    pub file: Option<&'a Path>,
    /// The group to continue; `None` for the last one with enough rows for a window.
    pub group: Option<&'a str>,
    /// That of the model.
    pub preparation: &'a Preparation,
}

/// The values that a forecast continues.
#[derive(Debug, Clone, PartialEq)]
pub struct ForecastStart {
    /// `[R, I - D]`: prepared inputs, without differences, the last T before the forecast, or all
    /// of fewer; those of a calendar are the last ones of each row.
    pub values: Vec<f32>,
    /// `[R, I - D]`: `values` and those before them, to show beside the forecast.
    pub history: Vec<f32>,
    /// I - D: inputs of a row, without differences.
    pub width: usize,
    /// Whether the inputs of later rows follow from predictions and the calendar, so that a
    /// network can read its own predictions.
    pub is_continued: bool,
    /// T: the window of the model.
    pub steps: usize,
    /// The names of the columns that the model predicts.
    pub columns: Vec<String>,
    /// The input that each of these columns is; `None` if one of them is no input.
    pub column_inputs: Option<Vec<usize>>,
    /// The times of the rows of `history`; `None` where rows have no times.
    pub times: Option<HistoryTimes>,
    /// The calendar of the rows after the series, if it is an input.
    pub calendar: Option<CalendarContinuation>,
    /// The last row of `values`.
    pub origin: ForecastOrigin,
    /// Groups of the data; 0 without groups.
    pub groups: usize,
    /// What was left out or filled, one clause each.
    pub notes: Vec<String>,
}

/// The times of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryTimes {
    /// Whether the values are seconds since 1970; else numbers of the data, such as years.
    pub are_dates: bool,
    /// `[R]`
    pub values: Vec<f64>,
}

impl HistoryTimes {
    /// Returns these times, followed by those of the next `count` rows; `None` where the rows are
    /// not at regular times.
    pub fn continued(&self, count: usize) -> Option<Vec<f64>> {
        let later = later_times(&self.values, count)?;
        Some([&self.values[..], &later].concat())
    }
}

impl ForecastStart {
    /// Returns the rows of the window: T, or fewer.
    pub fn rows(&self) -> usize {
        let rows = self.history.len().checked_div(self.width).unwrap_or(0);
        rows.min(self.steps)
    }

    /// Returns the inputs of the next `count` steps that are known ahead, `[count, C]`; nothing if
    /// there are none.
    ///
    /// # Errors
    /// Those of [`CalendarContinuation::inputs`].
    pub fn known(&self, count: usize) -> Result<Vec<f32>> {
        match &self.calendar {
            Some(calendar) => calendar.inputs(count),
            None => Ok(vec![]),
        }
    }
}

/// The last row before a forecast. Displayed as ``sales.csv, group `b`, row 120, line 361``.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForecastOrigin {
    /// The file; `None` for a generated series.
    pub path: Option<PathBuf>,
    /// The group, if there are groups.
    pub group: Option<String>,
    /// Its last row, from 1.
    pub row: usize,
    /// The line of the file at which that row begins, from 1; `None` for a generated series.
    pub line: Option<u64>,
    /// The column of time and its value in that row, if the recipe names that column.
    pub time: Option<(String, String)>,
}

impl fmt::Display for ForecastOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(path) = &self.path else {
            return write!(f, "the generated series, value {}", self.row);
        };
        write!(f, "{}", shown_path(path))?;
        if let Some(group) = &self.group {
            write!(f, ", group `{}`", excerpt(group))?;
        }
        write!(f, ", row {}", self.row)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some((column, value)) = &self.time {
            write!(f, ", {} {}", excerpt(column), excerpt(value))?;
        }
        Ok(())
    }
}

/// The sizes of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceSizes {
    /// T.
    pub steps: usize,
    /// I, or V for tokens.
    pub inputs: usize,
    /// K.
    pub outputs: usize,
}

impl SequenceSizes {
    pub(super) fn of(data: &Dataset) -> SequenceSizes {
        SequenceSizes {
            steps: data.steps,
            inputs: data.input_size(),
            outputs: data.targets.outputs(),
        }
    }
}

/// How a line of text holds the inputs of one time step.
#[derive(Debug, Clone, Copy)]
pub struct LineFormat<'a> {
    pub delimiter: char,
    /// How cells hold numbers and missing values.
    pub(crate) cells: CellFormat<'a>,
    /// The names of the input columns; empty if they have none.
    pub inputs: &'a [String],
    /// The column of times and the cycles whose inputs follow from it, if there are any.
    pub calendar: Option<(&'a str, &'a [CalendarCycle])>,
    /// What replaces missing values.
    pub missing: Missing,
    /// The name of the column of groups, if there is one.
    pub group: Option<&'a str>,
    /// Rows from an input to its targets; `None` for data that are not rows of a table or series.
    pub horizon: Option<Horizon>,
}

impl Default for LineFormat<'_> {
    fn default() -> Self {
        LineFormat {
            delimiter: ',',
            cells: CellFormat::default(),
            inputs: &[],
            calendar: None,
            missing: Missing::Refuse,
            group: None,
            horizon: None,
        }
    }
}
