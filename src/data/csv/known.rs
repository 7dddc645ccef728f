//! Inputs that are known ahead: columns and the calendar at the steps that are forecast, and
//! categories.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::super::Split;
use super::super::preparation::{Normal, Preparation};
use super::calendar::later_times;
use super::pieces::Piece;
use super::{Csv, TableSeries, calendar_inputs};
use crate::error::{Error, Result};
#[cfg(feature = "tables")]
use crate::kernels::IGNORE;
use crate::messages::{excerpt, named, shown_path};
#[cfg(feature = "tables")]
use crate::numeric::civil::CivilTime;

/// The most categories of a column.
const MOST_CATEGORIES: usize = 1024;

impl Csv {
    /// Returns the inputs of each row that are those of later rows: F columns and the calendar at
    /// each of S steps ahead.
    pub(super) fn future_width(&self) -> usize {
        self.horizon.steps() * (self.future.len() + 2 * self.future_calendar.len())
    }

    /// Returns whether rows have inputs that are known ahead, besides the calendar of the row.
    pub(super) fn knows_ahead(&self) -> bool {
        self.future_width() > 0 || !self.categories.is_empty()
    }

    pub(super) fn validate_known(&self) -> Result<()> {
        if self.future_width() > 0 && self.horizon.first() == 0 {
            return Err(Error::usage(
                "data.future or data.future_calendar is set, but data.horizon is 0, so the step that \
                 is forecast is the row itself: list its columns in data.inputs, or set data.horizon",
            ));
        }
        if !self.future_calendar.is_empty() && self.time.is_none() {
            return Err(Error::usage(
                "data.future_calendar is set, but data.time is not, so the time of a row is unknown; \
                 set data.time to the column of dates, or remove data.future_calendar",
            ));
        }
        for (field, columns) in [
            ("data.future", &self.future),
            ("data.categories", &self.categories),
        ] {
            let mut each = columns.iter().enumerate();
            if let Some((_, column)) = each.find(|(n, column)| columns[..*n].contains(column)) {
                return Err(Error::usage(format!(
                    "{field} names the column `{}` twice; it must name each column once",
                    excerpt(column)
                )));
            }
            let known = |column: &&String| self.targets.contains(column);
            if let Some(column) = columns.iter().find(known) {
                return Err(Error::usage(format!(
                    "{field} names the column `{}`, which is a target: its later values are what is \
                     forecast, so remove it from {field}",
                    excerpt(column)
                )));
            }
        }
        let mut cycles = self.future_calendar.iter().enumerate();
        match cycles.find(|(n, cycle)| self.future_calendar[..*n].contains(cycle)) {
            Some(_) => Err(Error::usage(
                "data.future_calendar has a cycle twice; it must name each cycle once",
            )),
            None => Ok(()),
        }
    }

    /// Removes the rows at the end of each series that only have values of `data.future`: they are
    /// later than the last known inputs. Their targets must be missing too.
    #[cfg(feature = "tables")]
    pub(super) fn set_future_rows_apart(&self, series: &mut [TableSeries]) {
        if self.future.is_empty() {
            return;
        }
        let inputs = self.inputs.len();
        for series in series {
            let rows = series.rows();
            let width = series.values.len() / rows.max(1);
            let is_future = |row: &usize| {
                let own = &series.inputs[row * inputs..(row + 1) * inputs];
                let targets = &series.values[row * width..(row + 1) * width];
                let label = series.labels.get(*row).is_none_or(|&label| label == IGNORE);
                label && own.iter().chain(targets).all(|value| value.is_nan())
            };
            let kept = rows - (1..rows).rev().take_while(is_future).count();
            series.lines.truncate(kept);
            series.inputs.truncate(kept * inputs);
            series.values.truncate(kept * width);
            series.labels.truncate(kept);
            series.weights.truncate(kept);
            series.categories.truncate(kept * self.categories.len());
            if !series.times.is_empty() {
                series.later_times = series.times.split_off(kept);
            }
            // The cell of the last row is that of a later one.
            if let (true, Some(&last)) = (kept < rows, series.times.last()) {
                let text = if series.has_dates {
                    CivilTime::of(last).text(last.rem_euclid(86_400.0) != 0.0)
                } else {
                    last.to_string()
                };
                series.last_time = Some(text);
            }
        }
    }

    /// Learns the categories that rows of the training split have, in order.
    ///
    /// # Errors
    /// [`Error::Data`] for too many of them.
    pub(super) fn learn_categories(
        &self,
        series: &[TableSeries],
        pieces: &[Piece],
        names: &[Vec<String>],
    ) -> Result<Vec<Vec<String>>> {
        let columns = self.categories.len();
        let of_column = |column: usize| {
            let of_train = pieces.iter().filter(|piece| piece.split == Split::Train);
            let codes = of_train.flat_map(|piece| {
                let rows = piece.rows.start * columns..piece.rows.end * columns;
                series[piece.series].categories[rows]
                    .iter()
                    .skip(column)
                    .step_by(columns)
            });
            let found: BTreeSet<&String> =
                codes.map(|&code| &names[column][code as usize]).collect();
            if found.len() > MOST_CATEGORIES {
                return Err(Error::data(format!(
                    "{}: the column `{}` of data.categories has {} categories; at most \
                     {MOST_CATEGORIES} are allowed: leave it out, or group them",
                    shown_path(&self.path),
                    excerpt(&self.categories[column]),
                    found.len()
                )));
            }
            Ok(found.into_iter().cloned().collect())
        };
        (0..columns).map(of_column).collect()
    }

    /// Returns how the inputs that are known ahead are normalized: the columns of `data.future` as
    /// in the training split, and nothing else.
    pub(super) fn known_normals(
        &self,
        series: &[TableSeries],
        pieces: &[Piece],
        categories: &[Vec<String>],
    ) -> Vec<Normal> {
        let width = self.future.len();
        let of_train = pieces.iter().filter(|piece| piece.split == Split::Train);
        let rows = of_train.flat_map(|piece| {
            let rows = piece.rows.start * width..piece.rows.end * width;
            series[piece.series].future[rows].chunks(width.max(1))
        });
        let mut of_step = Normal::of(rows, width);
        of_step.resize(width + 2 * self.future_calendar.len(), Normal::IDENTITY);
        let mut normals = of_step.repeat(self.horizon.steps());
        let categories: usize = categories.iter().map(Vec::len).sum();
        normals.resize(normals.len() + categories, Normal::IDENTITY);
        normals
    }

    /// Appends the inputs that are known ahead to each row, whose other inputs must be filled: the
    /// columns of `data.future` and the calendar at each step ahead, and a 1 for each category.
    /// `names` are those of the categories of the file `path`. Returns sentences on categories that
    /// the training split lacks.
    pub(super) fn add_known(
        &self,
        series: &mut [TableSeries],
        preparation: &Preparation,
        names: &[Vec<String>],
        path: &Path,
    ) -> Vec<String> {
        if !self.knows_ahead() {
            return vec![];
        }
        let indices = CategoryIndices::of(names, &preparation.categories);
        for series in series.iter_mut() {
            let (rows, width) = (series.rows(), self.inputs.len() + 2 * self.calendar.len());
            let times = self.all_times(series);
            series.known_rows = Some(self.rows_with_future(series, times.len()));
            let mut extended = Vec::new();
            for row in 0..rows {
                extended.extend(&series.inputs[row * width..(row + 1) * width]);
                self.push_future(&mut extended, series, &times, row);
                let columns = self.categories.len();
                let codes = &series.categories[row * columns..(row + 1) * columns];
                indices.push(&mut extended, codes);
            }
            series.inputs = extended;
        }
        indices.unknown(series, self, path)
    }

    /// The times of the rows of a series and of those after it, as far as they are known.
    fn all_times(&self, series: &TableSeries) -> Vec<f64> {
        if self.future_calendar.is_empty() {
            return vec![];
        }
        let mut times = [&series.times[..], &series.later_times].concat();
        let steps = self
            .steps
            .unwrap_or(times.len())
            .clamp(2, times.len().max(2));
        let last = &times[times.len().saturating_sub(steps)..];
        let later = later_times(last, self.horizon.last()).unwrap_or_default();
        times.extend(later);
        times
    }

    /// The rows whose inputs at all steps ahead are known.
    fn rows_with_future(&self, series: &TableSeries, times: usize) -> usize {
        let ahead = self.horizon.last();
        let of = |known: usize| known.saturating_sub(ahead).min(series.rows());
        let columns = match self.future.len() {
            0 => series.rows(),
            width => of(series.future.len() / width),
        };
        let calendar = match self.future_calendar.len() {
            0 => series.rows(),
            _ => of(times),
        };
        columns.min(calendar)
    }

    /// Appends the inputs at each step ahead of a row; zeros where they are not known.
    fn push_future(&self, inputs: &mut Vec<f64>, series: &TableSeries, times: &[f64], row: usize) {
        if self.future_width() == 0 {
            return;
        }
        let width = self.future.len();
        for ahead in self.horizon.ahead() {
            let later = row + ahead;
            match series.future.get(later * width..(later + 1) * width) {
                Some(values) => inputs.extend(values),
                None => inputs.resize(inputs.len() + width, 0.0),
            }
            match times.get(later) {
                Some(&time) => inputs.extend(calendar_inputs(&self.future_calendar, time)),
                None => inputs.resize(inputs.len() + 2 * self.future_calendar.len(), 0.0),
            }
        }
    }

    /// Returns an error for a forecast that needs inputs of later rows which are not known.
    pub(super) fn missing_future(&self, path: &Path, rows: usize, known: usize) -> Error {
        let columns: Vec<String> = self.future.iter().map(|name| excerpt(name)).collect();
        let what = if columns.is_empty() {
            "the times of later rows are unknown, because the rows are not at regular times".into()
        } else {
            format!(
                "the columns {} of data.future are known up to {} rows after them",
                named(&columns),
                (known + self.horizon.last()).saturating_sub(rows)
            )
        };
        Error::file(
            path,
            format!(
                "the forecast after row {rows} needs the inputs of the {} rows ahead, and {what}; \
                 append rows that have these columns and empty inputs",
                self.horizon
            ),
        )
    }
}

/// The index of each category of a file among those of the model.
struct CategoryIndices<'a> {
    /// `[Q][codes]`
    of_code: Vec<Vec<Option<usize>>>,
    /// `[Q]`: the categories of the model.
    counts: Vec<usize>,
    names: &'a [Vec<String>],
}

impl CategoryIndices<'_> {
    fn of<'a>(names: &'a [Vec<String>], known: &[Vec<String>]) -> CategoryIndices<'a> {
        let of_column = |(names, known): (&Vec<String>, &Vec<String>)| {
            let indices: HashMap<&String, usize> = known.iter().zip(0..).collect();
            names
                .iter()
                .map(|name| indices.get(name).copied())
                .collect()
        };
        CategoryIndices {
            of_code: names.iter().zip(known).map(of_column).collect(),
            counts: known.iter().map(Vec::len).collect(),
            names,
        }
    }

    /// Appends a 1 at the category of each column and zeros elsewhere; only zeros for a category
    /// that the model does not know.
    fn push(&self, inputs: &mut Vec<f64>, codes: &[u32]) {
        for ((indices, &count), &code) in self.of_code.iter().zip(&self.counts).zip(codes) {
            let first = inputs.len();
            inputs.resize(first + count, 0.0);
            if let Some(index) = indices.get(code as usize).copied().flatten() {
                inputs[first + index] = 1.0;
            }
        }
    }

    /// Sentences on the categories of these series that the model does not know.
    fn unknown(&self, series: &[TableSeries], csv: &Csv, path: &Path) -> Vec<String> {
        let columns = csv.categories.len();
        let of_column = |(column, indices): (usize, &Vec<Option<usize>>)| {
            let codes = series.iter().flat_map(|series| series.categories.iter());
            let codes = codes
                .skip(column)
                .step_by(columns)
                .map(|&code| code as usize);
            let unknown = codes.filter(|&code| indices[code].is_none());
            let (mut rows, mut found) = (0, BTreeSet::new());
            for code in unknown {
                rows += 1;
                found.insert(excerpt(&self.names[column][code]));
            }
            (rows > 0).then(|| {
                let names: Vec<String> = found.into_iter().collect();
                format!(
                    "{}: {rows} rows have a category of `{}` that the training split lacks ({}); the \
                     model reads them as unknown, with nothing learnt about them",
                    shown_path(path),
                    excerpt(&csv.categories[column]),
                    named(&names)
                )
            })
        };
        self.of_code
            .iter()
            .enumerate()
            .filter_map(of_column)
            .collect()
    }
}
