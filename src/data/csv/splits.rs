//! From the rows of a table to its prepared training and test splits.

use std::fs::File;
use std::path::Path;

use super::super::preparation::{Missing, Normal, Preparation};
use super::super::splits::divide;
use super::super::{Dataset, SplitBy, Splits};
use super::{Csv, TableRows, TableSeries, TableTask};
use crate::error::{Error, Result};
use crate::io::files;
use crate::messages::excerpt;

/// The largest file of a table, in bytes.
const LARGEST_FILE: u64 = 1 << 30;

/// The series of both splits; `test` is empty if there is no test split.
struct SeriesSplits {
    train: Vec<TableSeries>,
    test: Vec<TableSeries>,
}

impl Csv {
    /// Reads the file, and that of the test split if it is another; see [`DataSource::load`].
    ///
    /// [`DataSource::load`]: super::super::source::DataSource::load
    pub(super) fn load_files(&self, seed: u64, known: Option<&Preparation>) -> Result<Splits> {
        let known_classes = known.map_or(&[][..], |known| &known.classes);
        let table = self.parse(&read(&self.path)?, &self.path, known_classes)?;
        let test = match &self.test_path {
            None => None,
            Some(path) => Some(self.parse(&read(path)?, path, &table.classes)?.series),
        };
        self.prepare(table, test, seed, known)
    }

    /// Returns both splits of the contents of a file; see [`Csv`].
    ///
    /// # Errors
    /// [`Error::File`], with line and column, for cells that cannot be used; [`Error::Data`] for a
    /// split without a window.
    pub fn split(&self, bytes: &[u8], seed: u64) -> Result<Splits> {
        let table = self.parse(bytes, &self.path, &[])?;
        self.prepare(table, None, seed, None)
    }

    /// Returns the series of a file, prepared as in `known`. Targets are not read and may be
    /// absent.
    pub(super) fn series(&self, path: &Path, known: &Preparation) -> Result<Vec<TableSeries>> {
        let mut series = self.parse_inputs(&read(path)?, path)?;
        self.fill(&mut series, path, known)?;
        normalise(&mut series, known);
        Ok(series)
    }

    /// Fills missing values, divides the rows into splits, normalizes them and cuts windows.
    pub(super) fn prepare(
        &self,
        TableRows { series, classes }: TableRows,
        test: Option<Vec<TableSeries>>,
        seed: u64,
        known: Option<&Preparation>,
    ) -> Result<Splits> {
        let test_path = self.test_path.as_ref().unwrap_or(&self.path);
        let (mut series, mut test) = (series, test);
        if self.missing != Missing::Mean {
            // Before a series is cut, so that the last value of the training split fills the test
            // split.
            self.fill(&mut series, &self.path, &Preparation::default())?;
            let test = test.as_deref_mut().unwrap_or_default();
            self.fill(test, test_path, &Preparation::default())?;
        }
        let SeriesSplits {
            mut train,
            mut test,
        } = match test {
            Some(test) => SeriesSplits {
                train: series,
                test,
            },
            None => self.divide(series, seed)?,
        };
        let mut preparation = match known {
            Some(known) => known.clone(),
            None => self.learn(&train),
        };
        if self.task == TableTask::Classification {
            preparation.classes = classes;
        }
        for (series, path) in [(&mut train, &self.path), (&mut test, test_path)] {
            self.fill(series, path, &preparation)?;
            normalise(series, &preparation);
        }
        let classes = preparation.classes.len();
        let test_windows = if test.is_empty() {
            None
        } else {
            Some(self.windows(&test, "test", classes)?)
        };
        Ok(Splits {
            train: self.windows(&train, "training", classes)?.into(),
            test: test_windows.map(Dataset::into),
            preparation,
        })
    }

    /// Divides rows, or whole series, into training and test split.
    fn divide(&self, mut series: Vec<TableSeries>, seed: u64) -> Result<SeriesSplits> {
        if self.steps.is_some() && self.split_by == SplitBy::Order {
            let cut = |series: &mut TableSeries| {
                let kept = (series.rows() as f64 * (1.0 - self.test_fraction)).round() as usize;
                series.split_off(kept)
            };
            let mut test: Vec<TableSeries> = series.iter_mut().map(cut).collect();
            if self.test_fraction == 0.0 {
                test.clear();
            }
            return Ok(SeriesSplits {
                train: series,
                test,
            });
        }
        let groups: Vec<i64> = (0..series.len() as i64).collect();
        let (_, test) = divide(&groups, self.split_by, self.test_fraction, seed)
            .map_err(|problem| Error::file(&self.path, problem))?;
        let (mut train, mut of_test) = (vec![], vec![]);
        for (n, series) in series.into_iter().enumerate() {
            let is_test = test.binary_search(&n).is_ok();
            if is_test { &mut of_test } else { &mut train }.push(series);
        }
        Ok(SeriesSplits {
            train,
            test: of_test,
        })
    }

    /// Computes mean and deviation of the columns of the training split. A column that is input and
    /// target gets the same ones for both, because both are taken over all rows.
    fn learn(&self, train: &[TableSeries]) -> Preparation {
        let (inputs, targets) = (self.inputs.len(), self.targets.len());
        let rows = train.iter().flat_map(|series| series.inputs.chunks(inputs));
        let normals = Normal::of(rows, inputs);
        let mut preparation = Preparation::default();
        if self.missing == Missing::Mean {
            preparation.means = normals.iter().map(|normal| normal.mean).collect();
        }
        if self.normalise {
            preparation.inputs = normals;
            if self.task == TableTask::Regression {
                let rows = train
                    .iter()
                    .flat_map(|series| series.values.chunks(targets));
                preparation.targets = Normal::of(rows, targets);
            }
        }
        preparation
    }

    /// Fills missing values of the series of the file `path`. Target values are filled like inputs.
    fn fill(
        &self,
        series: &mut [TableSeries],
        path: &Path,
        preparation: &Preparation,
    ) -> Result<()> {
        let targets = preparation.targets.iter();
        let of_targets = Preparation {
            means: targets.map(|normal| normal.mean).collect(),
            ..Preparation::default()
        };
        for series in series {
            for (values, columns, preparation) in [
                (&mut series.inputs[..], &self.inputs, preparation),
                (&mut series.values[..], &self.targets, &of_targets),
            ] {
                let filled = preparation.fill(self.missing, values, columns.len());
                filled.map_err(|(row, column)| {
                    self.missing_cell(path, series.lines[row], &columns[column])
                })?;
            }
        }
        Ok(())
    }

    /// An error for a missing value that `data.missing` does not fill.
    fn missing_cell(&self, path: &Path, line: u64, column: &str) -> Error {
        let remedy = match self.missing {
            Missing::Forward => {
                "data.missing = \"forward\" needs an earlier row of the same series; set it to \
                 \"mean\" or \"zero\", or remove the rows before the first value"
            }
            Missing::Mean => {
                "its mean is unknown because data.normalise is false; \
                 set data.missing to \"forward\" or \"zero\""
            }
            Missing::Refuse | Missing::Zero => {
                "set data.missing to \"forward\", \"mean\" or \"zero\" to fill such cells, \
                 or correct the file"
            }
        };
        let column = excerpt(column);
        let problem = format!("line {line}: the column `{column}` has no value; {remedy}");
        Error::file(path, problem)
    }
}

fn normalise(series: &mut [TableSeries], preparation: &Preparation) {
    for TableSeries { inputs, values, .. } in series {
        Normal::apply_all(&preparation.inputs, inputs);
        Normal::apply_all(&preparation.targets, values);
    }
}

/// Reads the bytes of a table's file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).and_then(|file| files::read_at_most(file, LARGEST_FILE));
    file.map_err(|error| Error::file(path, format!("the table cannot be read: {error}")))
}
