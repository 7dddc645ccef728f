//! From the rows of a table to its prepared training and test splits.

use std::path::Path;
use std::sync::Arc;

use super::super::preparation::{Missing, Normal, Preparation};
use super::super::source::SequenceTimes;
use super::super::{Dataset, Split, Splits};
use super::decode::decode;
use super::pieces::Piece;
use super::{Csv, FileRows, TableRows, TableSeries, TableTask};
use crate::error::{Error, Result};
use crate::io::files;
use crate::messages::{excerpt, named, shown_path};

/// The largest file of a table, in bytes.
const LARGEST_FILE: u64 = 1 << 30;

/// The series of a file, prepared for a network.
pub(in super::super) struct PreparedRows {
    pub series: Vec<TableSeries<f32>>,
    /// Sentences on rows left out and values filled.
    pub notes: Vec<String>,
}

impl Csv {
    /// Reads the file, and those of splits in files of their own; see [`DataSource::load`].
    ///
    /// [`DataSource::load`]: super::super::source::DataSource::load
    pub(super) fn load_files(&self, seed: u64, known: Option<&Preparation>) -> Result<Splits> {
        self.load_with_times(seed, known).map(|(splits, _)| splits)
    }

    /// [`Csv::load_files`], with the times of the sequences of the test split.
    pub(super) fn load_with_times(
        &self,
        seed: u64,
        known: Option<&Preparation>,
    ) -> Result<(Splits, Option<SequenceTimes>)> {
        self.prepare_with_times(self.read_tables(known)?, seed, known)
    }

    /// Reads the rows of all files, before they are prepared.
    pub(crate) fn read_tables(&self, known: Option<&Preparation>) -> Result<FileRows> {
        let known_classes = known.map_or(&[][..], |known| &known.classes);
        let table = self.parse(&read(&self.path)?, &self.path, known_classes)?;
        let mut rows = FileRows {
            evaluated: vec![],
            ..table.into()
        };
        for split in [Split::Validation, Split::Test] {
            let Some(path) = self.own_path(split) else {
                continue;
            };
            let evaluated = self.unweighted();
            let own = evaluated.parse(&read(path)?, path, &rows.table.classes)?;
            rows.evaluated.push((split, own));
        }
        Ok(rows)
    }

    /// Returns the file of a split that has one of its own.
    fn own_path(&self, split: Split) -> Option<&Path> {
        match split {
            Split::Train => None,
            Split::Validation => self.validation_path.as_deref(),
            Split::Test => self.test_path.as_deref(),
        }
    }

    /// Returns the configuration without weights, for files that are only evaluated.
    pub(super) fn unweighted(&self) -> Csv {
        Csv {
            weights: None,
            ..self.clone()
        }
    }

    /// Returns both splits of the contents of a file; see [`Csv`].
    ///
    /// # Errors
    /// [`Error::File`], with line and column, for cells that cannot be used; [`Error::Data`] for a
    /// split without a window.
    pub fn split(&self, bytes: &[u8], seed: u64) -> Result<Splits> {
        let table = self.parse(bytes, &self.path, &[])?;
        self.prepare(table.into(), seed, None)
    }

    /// Returns the series of a file, prepared as in `known`. Targets are not read and may be
    /// absent.
    pub(super) fn series(&self, path: &Path, known: &Preparation) -> Result<PreparedRows> {
        self.prepare_inputs(self.parse_inputs(&read(path)?, path)?, path, known)
    }

    /// Returns these rows of the file `path`, prepared as in `known`.
    pub(in super::super) fn prepare_inputs(
        &self,
        rows: TableRows,
        path: &Path,
        known: &Preparation,
    ) -> Result<PreparedRows> {
        let TableRows {
            mut series,
            mut notes,
            categories,
            ..
        } = rows;
        notes.extend(self.fill(&mut series, path, known)?);
        notes.extend(self.add_known(&mut series, known, &categories, path));
        let prepared = series
            .iter()
            .map(|series| series.prepared(0..series.rows(), known, 0));
        let series: Vec<TableSeries<f32>> = prepared.collect();
        series
            .iter()
            .try_for_each(|series| series.check_range(path))?;
        Ok(PreparedRows { series, notes })
    }

    /// Divides rows into splits, fills missing values, normalizes the rows and cuts windows.
    pub(crate) fn prepare(
        &self,
        rows: FileRows,
        seed: u64,
        known: Option<&Preparation>,
    ) -> Result<Splits> {
        self.prepare_with_times(rows, seed, known)
            .map(|(splits, _)| splits)
    }

    /// [`Csv::prepare`], with the times of the sequences of the test split.
    fn prepare_with_times(
        &self,
        rows: FileRows,
        seed: u64,
        known: Option<&Preparation>,
    ) -> Result<(Splits, Option<SequenceTimes>)> {
        let FileRows { table, evaluated } = rows;
        let TableRows {
            mut series,
            classes,
            categories,
            mut notes,
        } = table;
        let mut pieces = whole(&series, Split::Train);
        for split in [Split::Test, Split::Validation] {
            if self.own_path(split).is_none() {
                pieces = self.divide(&series, pieces, split, seed)?;
            }
        }
        let mut preparation = match known {
            Some(known) => known.clone(),
            None => self.learn(&series, &pieces, &categories)?,
        };
        if self.task == TableTask::Classification {
            preparation.classes = classes;
        }
        // Before a series is cut, so that the last value of the training split fills the test
        // split.
        notes.extend(self.fill(&mut series, &self.path, &preparation)?);
        notes.extend(self.add_known(&mut series, &preparation, &categories, &self.path));
        for (split, own) in evaluated {
            let path = self.own_path(split).unwrap_or(&self.path);
            let mut of_split = own.series;
            notes.extend(own.notes);
            notes.extend(self.fill(&mut of_split, path, &preparation)?);
            notes.extend(self.add_known(&mut of_split, &preparation, &own.categories, path));
            let count = series.len();
            let of_split_pieces = whole(&of_split, split).into_iter();
            pieces.extend(of_split_pieces.map(|piece| Piece {
                series: piece.series + count,
                ..piece
            }));
            series.extend(of_split);
        }
        self.spread_targets(&mut series)?;
        self.subtract_last_values(&mut series);
        if known.is_none() {
            self.learn_differences(&series, &pieces, &mut preparation);
            self.learn_linear(&series, &pieces, &mut preparation)?;
        }
        self.subtract_linear(&mut series, &preparation);
        if known.is_none() {
            self.learn_targets(&series, &pieces, &mut preparation);
        }
        self.cut(&series, &pieces, preparation, notes)
    }

    /// Cuts the windows of all splits.
    fn cut(
        &self,
        series: &[TableSeries],
        pieces: &[Piece],
        preparation: Preparation,
        mut notes: Vec<String>,
    ) -> Result<(Splits, Option<SequenceTimes>)> {
        let targets = self.target_width();
        let of_split = |split: Split| -> Vec<TableSeries<f32>> {
            let own = pieces.iter().filter(|piece| piece.split == split);
            let prepared = |piece: &Piece| {
                series[piece.series].prepared(piece.rows.clone(), &preparation, targets)
            };
            own.map(prepared).collect()
        };
        let (train, test) = (of_split(Split::Train), of_split(Split::Test));
        let mut windows = |series: &[TableSeries<f32>], split: Split| {
            let path = self.own_path(split).unwrap_or(&self.path);
            series
                .iter()
                .try_for_each(|series| series.check_range(path))?;
            let windows = self.windows(series, Some(split), &preparation)?;
            notes.extend(windows.notes);
            Ok::<(Arc<Dataset>, Option<SequenceTimes>), Error>((windows.data.into(), windows.times))
        };
        let (train_windows, _) = windows(&train, Split::Train)?;
        let mut evaluated = |series: &[TableSeries<f32>], split: Split| {
            let windows = (!series.is_empty()).then(|| windows(series, split));
            windows.transpose()
        };
        let validation = evaluated(&of_split(Split::Validation), Split::Validation)?;
        let (test_windows, times) = evaluated(&test, Split::Test)?.unzip();
        notes.extend(self.series_without_windows(series, &train, &test));
        let splits = Splits {
            train: train_windows,
            validation: validation.map(|(data, _)| data),
            test: test_windows,
            preparation,
            notes,
        };
        Ok((splits, times.flatten()))
    }

    /// Returns sentences on the series that are in no split and on those of a single split, where
    /// windows of each series should be in both.
    fn series_without_windows(
        &self,
        all: &[TableSeries],
        train: &[TableSeries<f32>],
        test: &[TableSeries<f32>],
    ) -> Vec<String> {
        let (Some(group), Some(steps)) = (&self.group, self.steps) else {
            return vec![];
        };
        let group = excerpt(group);
        let least = steps + self.horizon.last();
        let mut names: Vec<&str> = train
            .iter()
            .chain(test)
            .map(|each| &each.name[..])
            .collect();
        names.sort_unstable();
        names.dedup();
        let rows = |split: &[TableSeries<f32>], name: &str| {
            let own = split.iter().filter(|series| series.name == name);
            own.map(TableSeries::rows).max().unwrap_or(0)
        };
        let in_time = self.is_cut_in_time() && !test.is_empty();
        let (mut in_none, mut in_one) = (vec![], vec![]);
        for name in names {
            let (of_train, of_test) = (rows(train, name), rows(test, name));
            let own = all.iter().filter(|series| series.name == name);
            let total: usize = own.map(TableSeries::rows).sum();
            let named = format!("{} ({total} rows)", excerpt(name));
            match (of_train >= least, of_test >= least) {
                (false, false) => in_none.push(named),
                (true, true) => {}
                (true, false) if in_time => in_one.push(named + ": training"),
                (false, true) if in_time => in_one.push(named + ": test"),
                _ => {}
            }
        }
        let needs = format!("a window of {steps} rows and its target need {least} rows");
        let mut notes = vec![];
        if !in_none.is_empty() {
            notes.push(format!(
                "{} series of `{group}` are in no split, because {needs}: {}",
                in_none.len(),
                named(&in_none)
            ));
        }
        if !in_one.is_empty() {
            notes.push(format!(
                "{} series of `{group}` are in one split only, because {needs}: {}",
                in_one.len(),
                named(&in_one)
            ));
        }
        notes
    }

    /// Whether each series is cut in time.
    fn is_cut_in_time(&self) -> bool {
        self.steps.is_some() && self.split_by == super::super::SplitBy::Order
    }

    /// Computes mean and deviation of the inputs of the training split; those of a calendar stay as
    /// they are.
    fn learn(
        &self,
        series: &[TableSeries],
        pieces: &[Piece],
        categories: &[Vec<String>],
    ) -> Result<Preparation> {
        let inputs = self.inputs.len() + 2 * self.calendar.len();
        let categories = self.learn_categories(series, pieces, categories)?;
        let of_train = pieces.iter().filter(|piece| piece.split == Split::Train);
        let rows = of_train.flat_map(|piece| {
            let (first, end) = (piece.rows.start * inputs, piece.rows.end * inputs);
            series[piece.series].inputs[first..end].chunks(inputs)
        });
        let mut normals = Normal::of(rows, inputs);
        normals[self.inputs.len()..].fill(Normal::IDENTITY);
        let known = self.known_normals(series, pieces, &categories);
        let mut preparation = Preparation {
            categories,
            known_ahead: known.len(),
            ..Preparation::default()
        };
        normals.extend(known);
        if matches!(self.missing, Missing::Mean | Missing::Forward) {
            preparation.means = normals.iter().map(|normal| normal.mean).collect();
        }
        if self.normalise {
            preparation.inputs = normals;
        }
        Ok(preparation)
    }

    /// Fills missing inputs of the series of the file `path`. Returns a sentence on them, if there
    /// are any.
    pub(super) fn fill(
        &self,
        series: &mut [TableSeries],
        path: &Path,
        preparation: &Preparation,
    ) -> Result<Option<String>> {
        let columns = &self.feature_names();
        let mut counts = vec![0usize; columns.len()];
        let first = columns.len();
        let of_future = Preparation {
            means: (preparation.means.iter().skip(first))
                .take(self.future.len())
                .copied()
                .collect(),
            ..Preparation::default()
        };
        for series in series {
            let future = of_future.fill(self.missing, &mut series.future, self.future.len());
            future.map_err(|(row, column)| {
                let line = series.lines.get(row).or(series.lines.last()).copied();
                self.missing_cell(path, line.unwrap_or(1), &self.future[column])
            })?;
            for (at, value) in series.inputs.iter().enumerate() {
                counts[at % columns.len()] += usize::from(value.is_nan());
            }
            let filled = preparation.fill(self.missing, &mut series.inputs, columns.len());
            filled.map_err(|(row, column)| {
                self.missing_cell(path, series.lines[row], &columns[column])
            })?;
        }
        let filled = counts.iter().zip(columns).filter(|(count, _)| **count > 0);
        let filled: Vec<String> = filled
            .map(|(count, column)| format!("{} {count}", excerpt(column)))
            .collect();
        let how = match self.missing {
            Missing::Forward => "the value before",
            Missing::Zero => "0",
            Missing::Mean | Missing::Refuse => "the mean of the training split",
        };
        Ok((!filled.is_empty()).then(|| {
            let total: usize = counts.iter().sum();
            let path = shown_path(path);
            format!(
                "{path}: {total} missing inputs are filled with {how}: {}",
                named(&filled)
            )
        }))
    }

    /// An error for a missing value that `data.missing` does not fill.
    fn missing_cell(&self, path: &Path, line: u64, column: &str) -> Error {
        let remedy = match self.missing {
            Missing::Forward => {
                "data.missing = \"forward\" needs an earlier row of the same series, and the model \
                 knows no mean; set it to \"zero\", or remove the rows before the first value"
            }
            Missing::Refuse | Missing::Zero | Missing::Mean => {
                "set data.missing to \"forward\", \"mean\" or \"zero\" to fill such cells, \
                 or correct the file"
            }
        };
        let column = excerpt(column);
        let problem = format!("line {line}: the column `{column}` has no value; {remedy}");
        Error::file(path, problem)
    }
}

/// Returns the whole series as pieces of one split.
fn whole(series: &[TableSeries], split: Split) -> Vec<Piece> {
    let piece = |(n, series): (usize, &TableSeries)| Piece {
        series: n,
        rows: 0..series.rows(),
        split,
    };
    series.iter().enumerate().map(piece).collect()
}

impl TableSeries {
    /// Returns these rows, whose inputs must be filled, as a network reads them. Missing target
    /// values become [`MISSING`](super::super::MISSING).
    pub(super) fn prepared(
        &self,
        rows: std::ops::Range<usize>,
        preparation: &Preparation,
        targets: usize,
    ) -> TableSeries<f32> {
        let part = |width: usize| rows.start * width..rows.end * width;
        let inputs = self.inputs.len() / self.rows().max(1);
        let has_values = !self.values.is_empty();
        let values = if has_values {
            &self.values[part(targets)]
        } else {
            &[]
        };
        TableSeries {
            name: self.name.clone(),
            lines: self.lines[rows.clone()].to_vec(),
            last_time: self.last_time.clone(),
            times: self.times.get(rows.clone()).unwrap_or_default().to_vec(),
            has_dates: self.has_dates,
            inputs: Normal::prepare_all(&preparation.inputs, &self.inputs[part(inputs)]),
            future: vec![],
            later_times: self.later_times.clone(),
            categories: vec![],
            known_rows: self.known_rows,
            values: Normal::prepare_targets(&preparation.targets, values),
            labels: self.labels.get(rows.clone()).unwrap_or_default().to_vec(),
            weights: self.weights.get(rows).unwrap_or_default().to_vec(),
        }
    }
}

impl TableSeries {
    /// Returns the inputs of a row.
    pub(super) fn width(&self) -> usize {
        self.inputs.len() / self.rows().max(1)
    }

    /// Returns the inputs `[R, I]` of these rows, which must be filled, as a network reads them,
    /// with their differences.
    pub(super) fn prepared_inputs(
        &self,
        rows: std::ops::Range<usize>,
        preparation: &Preparation,
    ) -> Vec<f32> {
        let width = self.width();
        let own = &self.inputs[rows.start * width..rows.end * width];
        let prepared = Normal::prepare_all(&preparation.inputs, own);
        preparation.with_differences(&prepared, width)
    }
}

impl TableSeries<f32> {
    /// Refuses a number that f32 cannot hold; errors name `path`.
    fn check_range(&self, path: &Path) -> Result<()> {
        for values in [&self.inputs, &self.values] {
            let Some(at) = values.iter().position(|value| !value.is_finite()) else {
                continue;
            };
            let width = (values.len() / self.rows().max(1)).max(1);
            let line = self.lines[at / width];
            let problem = format!(
                "line {line}: a number is too large for f32, even in deviations from the mean of \
                 the training split; correct it, or scale the column"
            );
            return Err(Error::file(path, problem));
        }
        Ok(())
    }
}

/// Reads a table's file as CSV text; see [`decode`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let file = files::open(path).and_then(|file| files::read_at_most(file, LARGEST_FILE));
    let bytes =
        file.map_err(|error| Error::file(path, format!("the table cannot be read: {error}")))?;
    decode(bytes, path)
}
