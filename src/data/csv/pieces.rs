//! The division of the rows of a table into training and test split.

use std::ops::Range;

use super::super::splits::{Divided, divide};
use super::super::{Split, SplitBy};
use super::{Csv, TableSeries};
use crate::error::{Error, Result};
use crate::kernels::IGNORE;

/// Consecutive rows of a series, all in one split.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// The index of the series.
    pub series: usize,
    pub rows: Range<usize>,
    pub split: Split,
}

impl Csv {
    /// Divides rows, or whole series, into training and test split.
    ///
    /// # Errors
    /// [`Error::File`] if no series is left to train on.
    pub(super) fn divide(&self, series: &[TableSeries], seed: u64) -> Result<Vec<Piece>> {
        match (self.steps, self.split_by) {
            (Some(_), SplitBy::Order) => Ok(self.divide_in_time(series)),
            (Some(steps), SplitBy::Class) => Ok(self.divide_runs(series, steps)),
            _ => self.divide_series(series, seed),
        }
    }

    /// The last rows of each series are the test split.
    fn divide_in_time(&self, series: &[TableSeries]) -> Vec<Piece> {
        let mut pieces = vec![];
        for (n, series) in series.iter().enumerate() {
            let rows = series.rows();
            let kept = (rows as f64 * (1.0 - self.test_fraction)).round() as usize;
            pieces.push(Piece {
                series: n,
                rows: 0..kept,
                split: Split::Train,
            });
            if self.test_fraction > 0.0 {
                pieces.push(Piece {
                    series: n,
                    rows: kept..rows,
                    split: Split::Test,
                });
            }
        }
        pieces
    }

    /// The last rows of each run of rows of one class are in the test split, if both parts of the
    /// run hold a window. No window crosses pieces.
    fn divide_runs(&self, series: &[TableSeries], steps: usize) -> Vec<Piece> {
        let least = steps + self.horizon;
        let mut pieces: Vec<Piece> = vec![];
        for (n, series) in series.iter().enumerate() {
            for run in runs(&series.labels) {
                let share = (run.len() as f64 * self.test_fraction).round() as usize;
                let divides = self.test_fraction > 0.0 && run.len() >= 2 * least;
                let taken = if divides {
                    share.max(least).min(run.len() - least)
                } else {
                    0
                };
                let cut = run.end - taken;
                match pieces.last_mut() {
                    // The runs before have no test rows, so that windows may cross into this one.
                    Some(last) if last.series == n && last.split == Split::Train => {
                        last.rows.end = cut;
                    }
                    _ => pieces.push(Piece {
                        series: n,
                        rows: run.start..cut,
                        split: Split::Train,
                    }),
                }
                if taken > 0 {
                    pieces.push(Piece {
                        series: n,
                        rows: cut..run.end,
                        split: Split::Test,
                    });
                }
            }
        }
        pieces
    }

    /// Whole series are in the test split.
    fn divide_series(&self, series: &[TableSeries], seed: u64) -> Result<Vec<Piece>> {
        let groups: Vec<i64> = (0..series.len() as i64).collect();
        let last_label = |series: &TableSeries| series.labels.last().copied();
        let classes: Option<Vec<u32>> = series.iter().map(last_label).collect();
        let divided = Divided {
            groups: &groups,
            classes: &classes.unwrap_or_default(),
        };
        let (_, test) = divide(divided, self.split_by, self.test_fraction, seed)
            .map_err(|problem| Error::file(&self.path, problem))?;
        let piece = |(n, series): (usize, &TableSeries)| Piece {
            series: n,
            rows: 0..series.rows(),
            split: match test.binary_search(&n) {
                Ok(_) => Split::Test,
                Err(_) => Split::Train,
            },
        };
        Ok(series.iter().enumerate().map(piece).collect())
    }
}

/// The runs of rows of one class; a row without a class belongs to the run before it.
fn runs(labels: &[u32]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = vec![];
    let mut class = IGNORE;
    for (row, &label) in labels.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if label == class || label == IGNORE || class == IGNORE => run.end = row + 1,
            _ => runs.push(row..row + 1),
        }
        if label != IGNORE {
            class = label;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_class_belong_to_the_run_before() {
        assert_eq!(runs(&[IGNORE, 1, 1, IGNORE, 2, 1]), [0..4, 4..5, 5..6]);
        assert_eq!(runs(&[]), []);
    }
}
