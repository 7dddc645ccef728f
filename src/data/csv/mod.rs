//! Tables: CSV files with a header. A row is one time step of a series; a column of groups, if
//! there is one, assigns rows to series.

mod ahead;
mod calendar;
pub(crate) mod cells;
pub(crate) mod decode;
mod forecast;
mod known;
mod labelled;
#[cfg(feature = "tables")]
mod order;
#[cfg_attr(not(feature = "tables"), path = "no_parse.rs")]
pub(crate) mod parse;
mod pieces;
mod residuals;
mod splits;
#[cfg(all(test, feature = "tables"))]
mod tests;
#[cfg(feature = "tables")]
pub(crate) mod time;
mod windows;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::baselines::Forecast;
use super::labelled::{LabelledData, LabelledRequest};
use super::preparation::{Missing, Preparation};
use super::source::{
    DataSource, DataUse, ExpectedPath, ForecastRequest, ForecastStart, InputRequest, LineFormat,
    PredictionInputs, SequenceTimes, TargetKind, not_in_time,
};
use super::splits::one_validation_split;
use super::{Fold, Horizon, Split, SplitBy, Splits};
use crate::error::{Error, Result};
use crate::fields;
use crate::messages::excerpt;
use crate::network::Reads;
pub(crate) use calendar::calendar_inputs;
pub(super) use calendar::later_times;
pub use calendar::{CalendarContinuation, CalendarCycle};
pub(crate) use cells::CellFormat;
pub(super) use forecast::no_groups;
pub(super) use residuals::{validate_context, validate_lags};
pub(super) use splits::PreparedRows;

/// The columns of a table to read, and how rows become sequences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Csv {
    /// A file with a header.
    pub path: PathBuf,
    /// The character between two cells.
    #[serde(default = "default_delimiter", skip_serializing_if = "is_comma")]
    pub delimiter: char,
    /// The character between the whole part and the fraction of a number: `.` or `,`.
    #[serde(default = "default_decimal", skip_serializing_if = "is_point")]
    pub decimal: char,
    /// The character between groups of three digits. Without it, `1,234.5` and `1,234,567` are read
    /// (with a decimal comma, `1.234,5`), but `1,234` is refused: it may be a decimal comma.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thousands: Option<char>,
    /// The columns of inputs, which hold numbers.
    pub inputs: Vec<String>,
    /// The columns of targets: one or more of values, or one of classes; none where the network
    /// has several heads, each with its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    #[serde(default)]
    pub task: TableTask,
    /// The column of the weight of each target in training, at least 0. Evaluations are not
    /// weighted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The column that assigns rows to series; without it, all rows are one series. Windows do not
    /// cross series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The column of numbers or dates by which the rows of each series are sorted; without it, they
    /// are in the order of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// T: rows of a window; whole series without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Rows from the start of a window to the start of the next.
    #[serde(default = "default_stride")]
    pub stride: usize,
    /// Rows from an input to its target: 0 for targets in the same row; a range for targets at
    /// each of these steps ahead, which the network predicts at once.
    #[serde(default)]
    pub horizon: Horizon,
    /// Whether each row of a window has a target, or only the last one.
    #[serde(default)]
    pub every_step: bool,
    /// The file of the validation split; without it, that is `validation_fraction` of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_path: Option<PathBuf>,
    /// The file of the test split; without it, the test split is a part of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_path: Option<PathBuf>,
    #[serde(default = "default_test_fraction")]
    pub test_fraction: f64,
    /// How the test split is taken from `path`: with `order`, the last rows of each series (of
    /// whole series, the last ones); with `group`, randomly chosen series; with `class`, the last
    /// rows of each run of rows of one class (of whole series, a random share of each class).
    #[serde(default)]
    pub split_by: SplitBy,
    /// Whether inputs and target values are normalized by mean and deviation of the training split.
    #[serde(default = "default_normalise")]
    pub normalise: bool,
    /// Inputs that follow from the date of a row in the column `time`: sine and cosine of its
    /// position in each of these cycles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calendar: Vec<CalendarCycle>,
    /// Columns whose values at the steps that are forecast are known and inputs, such as holidays.
    /// Rows at the end of a series may have these alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub future: Vec<String>,
    /// The cycles whose sine and cosine at the steps that are forecast are inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub future_calendar: Vec<CalendarCycle>,
    /// Columns of names, such as a store. Each category of the training split is an input: 1 in
    /// rows of the category, else 0. The network replaces those of a column by a learnt vector,
    /// unless `network.category_encoding` is one-hot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Whether the network predicts differences of the targets from the last known values of the
    /// same columns, which must be inputs. They are added again in all predictions.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub residual_on_last: bool,
    /// Whether the network predicts what a linear regression on the inputs of a row, with their
    /// differences, leaves of these differences. It is fitted to the training and validation
    /// splits, and added again in all predictions.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub residual_on_linear: bool,
    /// Whether that regression is fitted to the training split alone, to be judged on the
    /// validation split. It is in no recipe.
    #[serde(skip)]
    pub linear_of_training: bool,
    /// The part of the test split that a backtest judges. It is in no recipe.
    #[serde(skip)]
    pub fold: Option<Fold>,
    /// Whether windows without a target are kept, for another head that has one. It is in no
    /// recipe.
    #[serde(skip)]
    pub keeps_windows: bool,
    /// The columns whose differences are inputs, where they are those of several heads; without
    /// them, the targets. They are in no recipe.
    #[serde(skip)]
    pub difference_columns: Vec<String>,
    /// The differences of the targets' columns, which must be inputs, from their values N
    /// rows before, or at the beginning of the window, are inputs too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<usize>,
    /// Rows at the beginning of each window whose targets are neither learnt nor scored, with
    /// `every_step`: they only give context.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub context: usize,
    /// The part of the training split that is the validation split, taken like the test split: the
    /// last rows, or random series. Early stopping is decided by it.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub validation_fraction: f64,
    /// How to treat inputs that are missing. A missing target is neither learnt nor scored.
    #[serde(default)]
    pub missing: Missing,
    /// Cells that hold no value, besides empty ones, in any case; without it, `NA`, `N/A`, `NaN`,
    /// `null`, `none` and `?`, which in a column of classes are classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_marks: Option<Vec<String>>,
    /// Rows of a season, for the seasonal naive forecast; without it, the season with the smallest
    /// error on the training split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<usize>,
}

/// What the targets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TableTask {
    /// Values.
    #[default]
    Regression,
    /// Names or numbers of classes.
    Classification,
    /// Several columns of labels, each 0 or 1; they are not normalized.
    MultiLabel,
}

fn default_delimiter() -> char {
    ','
}

fn is_comma(delimiter: &char) -> bool {
    *delimiter == ','
}

fn default_decimal() -> char {
    '.'
}

fn is_point(decimal: &char) -> bool {
    *decimal == '.'
}

fn default_stride() -> usize {
    1
}

fn default_test_fraction() -> f64 {
    0.2
}

fn default_normalise() -> bool {
    true
}

/// The rows of one series: in f64 as the file has them, with NaN for missing values, or in f32 as
/// a network reads them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct TableSeries<V = f64> {
    /// The name of its group.
    pub name: String,
    /// `[R]`: the line of the file at which each row begins, from 1.
    pub lines: Vec<u64>,
    /// The cell of the column of times in the last row, if there is such a column.
    pub last_time: Option<String>,
    /// `[R]`: the time of each row, if there is a column of times; of dates, seconds since 1970.
    pub times: Vec<f64>,
    /// Whether `times` are those of dates.
    pub has_dates: bool,
    /// `[R, I]`
    pub inputs: Vec<V>,
    /// `[R + E, F]`: the columns of `data.future`, also of E rows after those of inputs.
    pub future: Vec<V>,
    /// `[E]`: the times of the rows after those of inputs.
    pub later_times: Vec<f64>,
    /// `[R, Q]`: the index of each category among those of the file.
    pub categories: Vec<u32>,
    /// The rows whose inputs of later rows are all known, if there are any such inputs.
    pub known_rows: Option<usize>,
    /// `[R, K]`, for a regression.
    pub values: Vec<V>,
    /// `[R]`, for a classification; [`IGNORE`](crate::kernels::IGNORE) for a row without a class.
    pub labels: Vec<u32>,
    /// `[R]`: the weight of the row's target, if there is a column of weights.
    pub weights: Vec<f32>,
}

impl<V> TableSeries<V> {
    /// The name and the number of rows, for messages.
    pub fn named_rows(&self) -> String {
        format!("{} ({} rows)", excerpt(&self.name), self.rows())
    }

    /// R.
    pub fn rows(&self) -> usize {
        self.lines.len()
    }
}

/// The rows of a table by series, and the names of its classes in order.
#[derive(Debug, Clone)]
pub(crate) struct TableRows {
    pub series: Vec<TableSeries>,
    pub classes: Vec<String>,
    /// `[Q]`: the categories of each column of them.
    pub categories: Vec<Vec<String>>,
    /// Sentences on what was left out or changed.
    pub notes: Vec<String>,
}

/// The rows of a recipe's files, before they are prepared.
#[derive(Debug, Clone)]
pub(crate) struct FileRows {
    pub table: TableRows,
    /// Those of splits that are in files of their own.
    pub evaluated: Vec<(Split, TableRows)>,
}

impl From<TableRows> for FileRows {
    /// The rows of one file.
    fn from(table: TableRows) -> FileRows {
        FileRows {
            table,
            evaluated: vec![],
        }
    }
}

impl From<TableSeries> for TableRows {
    fn from(series: TableSeries) -> TableRows {
        TableRows {
            series: vec![series],
            classes: vec![],
            categories: vec![],
            notes: vec![],
        }
    }
}

impl Csv {
    /// Returns a configuration for one series whose targets are in the row of their inputs, with
    /// defaults for everything else.
    pub fn new(path: &Path, inputs: &[&str], targets: &[&str]) -> Csv {
        let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        Csv {
            path: path.to_path_buf(),
            delimiter: default_delimiter(),
            decimal: default_decimal(),
            thousands: None,
            inputs: owned(inputs),
            targets: owned(targets),
            task: TableTask::default(),
            weights: None,
            group: None,
            time: None,
            steps: None,
            stride: default_stride(),
            horizon: Horizon::default(),
            every_step: false,
            validation_path: None,
            test_path: None,
            test_fraction: default_test_fraction(),
            split_by: SplitBy::default(),
            normalise: default_normalise(),
            missing: Missing::default(),
            missing_marks: None,
            calendar: vec![],
            future: vec![],
            future_calendar: vec![],
            categories: vec![],
            residual_on_last: false,
            residual_on_linear: false,
            linear_of_training: false,
            fold: None,
            keeps_windows: false,
            difference_columns: vec![],
            differences: vec![],
            context: 0,
            validation_fraction: 0.0,
            season: None,
        }
    }

    fn validate_delimiter(&self) -> Result<()> {
        fields::require(
            self.delimiter.is_ascii() && !"\"\r\n".contains(self.delimiter),
            "data.delimiter",
            format!("{:?}", self.delimiter),
            "one ASCII character, such as \",\", \";\" or \"\\t\"",
        )
    }

    fn validate_numbers(&self) -> Result<()> {
        fields::require(
            ".,".contains(self.decimal) && self.decimal != self.delimiter,
            "data.decimal",
            format!("{:?}", self.decimal),
            "\".\" or \",\", and not the delimiter",
        )?;
        let separator = self.thousands.unwrap_or(' ');
        fields::require(
            separator != self.decimal && !separator.is_ascii_alphanumeric(),
            "data.thousands",
            format!("{separator:?}"),
            "a character between digits, such as \",\", and not data.decimal",
        )
    }

    /// Returns how cells hold numbers and missing values.
    pub(crate) fn cell_format(&self) -> CellFormat<'_> {
        CellFormat {
            decimal: self.decimal,
            thousands: self.thousands,
            missing_marks: self.missing_marks.as_deref(),
        }
    }

    fn validate_columns(&self) -> Result<()> {
        for (field, columns) in [
            ("data.inputs", &self.inputs),
            ("data.targets", &self.targets),
        ] {
            if columns.is_empty() {
                return Err(Error::usage(format!(
                    "{field} is empty; it must name at least one column"
                )));
            }
            let mut before = HashSet::new();
            if let Some(column) = columns.iter().find(|column| !before.insert(*column)) {
                return Err(Error::usage(format!(
                    "{field} names the column `{}` twice; it must name each column once",
                    excerpt(column)
                )));
            }
        }
        let inputs: HashSet<&String> = self.inputs.iter().collect();
        match self.targets.iter().find(|target| inputs.contains(target)) {
            Some(target) if self.horizon.first() == 0 => Err(Error::usage(format!(
                "the column `{}` is in data.inputs and in data.targets, so data.horizon = 0 leaks \
                 the target; for a forecast, set data.horizon to at least 1",
                excerpt(target)
            ))),
            _ => Ok(()),
        }
    }

    fn validate_split(&self) -> Result<()> {
        fields::fraction("data.test_fraction", self.test_fraction)?;
        fields::fraction("data.validation_fraction", self.validation_fraction)?;
        one_validation_split(self.validation_path.as_deref(), self.validation_fraction)?;
        match self.split_by {
            SplitBy::Random if self.steps.is_some() => Err(Error::usage(
                "data.split_by is \"random\", but windows overlap, so training would see rows of \
                 the test split; it must be \"order\", or \"group\" if data.group is set",
            )),
            SplitBy::Group if self.group.is_none() => Err(Error::usage(
                "data.split_by is \"group\", but data.group is not set; \
                 set it to the column of groups",
            )),
            SplitBy::Class if self.task != TableTask::Classification => Err(Error::usage(
                "data.split_by is \"class\", but data.task is not \"classification\"; \
                 set data.split_by to \"order\", or \"group\" if data.group is set",
            )),
            SplitBy::Class if self.steps.is_none() && self.every_step => Err(Error::usage(
                "data.split_by is \"class\", but with data.every_step each row of a series has a \
                 class; set data.split_by to \"order\" or \"group\"",
            )),
            _ => Ok(()),
        }
    }

    fn validate_task(&self, usage: &DataUse) -> Result<()> {
        let (task, kind) = match self.task {
            TableTask::Regression => ("regression", TargetKind::Quantities),
            TableTask::Classification => ("classification", TargetKind::Classes),
            TableTask::MultiLabel => ("multi-label", TargetKind::Labels),
        };
        if self.task == TableTask::Classification && self.targets.len() > 1 {
            return Err(Error::usage(format!(
                "data.targets names {} columns; a classification must have one",
                self.targets.len()
            )));
        }
        let reads = if self.every_step {
            Reads::Every
        } else {
            Reads::Last
        };
        let data = format!(
            "data.task is \"{task}\" and data.every_step is {}",
            self.every_step
        );
        usage.require_head(&data, kind, reads)
    }
}

impl DataSource for Csv {
    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        std::iter::once(&mut self.path)
            .chain(&mut self.validation_path)
            .chain(&mut self.test_path)
            .collect()
    }

    fn expected_path(&self) -> ExpectedPath {
        ExpectedPath::File("a table with the columns of the recipe")
    }

    fn validate(&self, usage: &DataUse) -> Result<()> {
        self.validate_delimiter()?;
        self.validate_numbers()?;
        self.validate_columns()?;
        self.validate_horizon()?;
        self.validate_known()?;
        fields::optional_count("data.steps", self.steps)?;
        fields::count("data.stride", self.stride)?;
        fields::optional_count("data.season", self.season)?;
        self.validate_split()?;
        self.validate_residuals()?;
        validate_context(self.context, self.steps, self.every_step)?;
        self.validate_calendar()?;
        self.validate_task(usage)
    }

    fn outputs(&self) -> usize {
        match self.task {
            TableTask::Regression | TableTask::MultiLabel => self.target_width(),
            TableTask::Classification => 2,
        }
    }

    fn load(&self, seed: u64, known: Option<&Preparation>) -> Result<Splits> {
        self.load_files(seed, known)
    }

    fn load_inputs(&self, request: &InputRequest) -> Result<PredictionInputs> {
        let PreparedRows { series, notes } = self.series(request.path, request.preparation)?;
        self.window_inputs(&series, request.path, request.preparation, notes)
    }

    fn load_labelled(&self, request: &LabelledRequest) -> Result<LabelledData> {
        self.labelled(request)
    }

    /// Returns the last window of the table, or of one of its series if there are several.
    fn forecast_start(&self, request: &ForecastRequest) -> Result<ForecastStart> {
        self.table_end(request)
    }

    /// Returns the input that each target is a later value of, if all targets are inputs.
    fn forecast(&self) -> Option<Forecast> {
        let positions: HashMap<&String, usize> = self.inputs.iter().zip(0..).collect();
        let position = |target| positions.get(target).copied();
        let inputs: Option<Vec<usize>> = self.targets.iter().map(position).collect();
        let is_one = self.task == TableTask::Regression && !self.targets.is_empty();
        let inputs = inputs.filter(|_| is_one)?;
        Some(Forecast {
            inputs,
            horizon: self.horizon,
            season: self.season,
        })
    }

    fn is_in_time_order(&self) -> bool {
        self.steps.is_some() && self.split_by == SplitBy::Order
    }

    fn test_times(&self, seed: u64, known: Option<&Preparation>) -> Option<SequenceTimes> {
        self.time.as_ref()?;
        self.load_with_times(seed, known).ok()?.1
    }

    fn target_names(&self) -> &[String] {
        &self.targets
    }

    fn category_names(&self) -> &[String] {
        &self.categories
    }

    fn set_fold(&mut self, fold: Fold) -> Result<()> {
        let is_cut = self.is_in_time_order() && self.test_path.is_none();
        if !is_cut || self.test_fraction == 0.0 {
            return Err(not_in_time());
        }
        self.fold = Some(fold);
        Ok(())
    }

    fn horizon(&self) -> Option<Horizon> {
        Some(self.horizon)
    }

    fn line_format(&self) -> LineFormat<'_> {
        LineFormat {
            delimiter: self.delimiter,
            cells: self.cell_format(),
            inputs: &self.inputs,
            calendar: (self.time.as_deref())
                .filter(|_| !self.calendar.is_empty())
                .map(|time| (time, &self.calendar[..])),
            missing: self.missing,
            group: self.group.as_deref(),
            horizon: Some(self.horizon),
        }
    }
}
