//! The division of the rows of a table into splits.

use std::ops::Range;

use super::super::splits::{Divided, Share, divide};
use super::super::{Fold, Split, SplitBy};
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

/// A part of the training split that becomes another split.
#[derive(Debug, Clone, Copy)]
struct TakenPart {
    share: Share,
    split: Split,
}

impl Csv {
    /// Takes the test or validation split from the pieces of the training split: rows, or whole
    /// series.
    ///
    /// # Errors
    /// [`Error::File`] if no series is left to train on.
    pub(super) fn divide(
        &self,
        series: &[TableSeries],
        pieces: Vec<Piece>,
        split: Split,
        seed: u64,
    ) -> Result<Vec<Piece>> {
        let share = match split {
            Split::Validation => Share {
                field: "data.validation_fraction",
                fraction: self.validation_fraction,
            },
            Split::Train | Split::Test => Share {
                field: "data.test_fraction",
                fraction: self.test_fraction,
            },
        };
        if share.fraction == 0.0 {
            return Ok(pieces);
        }
        let part = TakenPart { share, split };
        match (self.steps, self.split_by) {
            (Some(steps), SplitBy::Order) => Ok(match (self.fold, split) {
                (Some(fold), Split::Test) => {
                    let before = steps + self.horizon.first().max(1) - 1;
                    take_fold(pieces, part, fold, before)
                }
                _ => divide_in_time(pieces, part),
            }),
            (Some(steps), SplitBy::Class) => Ok(divide_runs(
                series,
                pieces,
                part,
                steps + self.horizon.last(),
            )),
            _ => self.divide_series(series, pieces, part, seed),
        }
    }

    /// Takes whole series of the training split.
    fn divide_series(
        &self,
        series: &[TableSeries],
        mut pieces: Vec<Piece>,
        part: TakenPart,
        seed: u64,
    ) -> Result<Vec<Piece>> {
        let of_train = |piece: &&mut Piece| piece.split == Split::Train;
        let mut train: Vec<&mut Piece> = pieces.iter_mut().filter(of_train).collect();
        let groups: Vec<i64> = (0..train.len() as i64).collect();
        let last_label = |piece: &&mut Piece| series[piece.series].labels.last().copied();
        let classes: Option<Vec<u32>> = train.iter().map(last_label).collect();
        let divided = Divided {
            groups: &groups,
            classes: &classes.unwrap_or_default(),
        };
        let (_, taken) = divide(divided, self.split_by, part.share, seed)
            .map_err(|problem| Error::file(&self.path, problem))?;
        for n in taken {
            train[n].split = part.split;
        }
        Ok(pieces)
    }
}

/// Takes the last rows of each piece of the training split.
fn divide_in_time(pieces: Vec<Piece>, part: TakenPart) -> Vec<Piece> {
    let mut divided = vec![];
    for piece in pieces {
        if piece.split != Split::Train {
            divided.push(piece);
            continue;
        }
        let Range { start, end } = piece.rows;
        let kept = ((end - start) as f64 * (1.0 - part.share.fraction)).round() as usize;
        divided.push(Piece {
            rows: start..start + kept,
            ..piece.clone()
        });
        divided.push(Piece {
            rows: start + kept..end,
            split: part.split,
            ..piece
        });
    }
    divided
}

/// Takes one fold of the last rows of each piece of the training split, with the `before` rows
/// before it that its first window reads. What is after it is left out, and so are the folds before
/// it unless they are training data.
fn take_fold(pieces: Vec<Piece>, part: TakenPart, fold: Fold, before: usize) -> Vec<Piece> {
    let mut divided = vec![];
    for piece in pieces {
        let Range { start, end } = piece.rows;
        let tested =
            (end - start) - ((end - start) as f64 * (1.0 - part.share.fraction)).round() as usize;
        let bound = |n: usize| end - tested + tested * n / fold.count;
        let trained = if fold.refit { fold.index } else { 0 };
        divided.push(Piece {
            rows: start..bound(trained),
            ..piece.clone()
        });
        let first = bound(fold.index).saturating_sub(before).max(start);
        divided.push(Piece {
            rows: first..bound(fold.index + 1),
            split: part.split,
            ..piece
        });
    }
    divided
}

/// Takes the last rows of each run of rows of one class in the training split, if both parts of the
/// run hold a window of `least` rows with its target. No window crosses pieces.
fn divide_runs(
    series: &[TableSeries],
    pieces: Vec<Piece>,
    part: TakenPart,
    least: usize,
) -> Vec<Piece> {
    let mut divided: Vec<Piece> = vec![];
    for piece in pieces {
        if piece.split != Split::Train {
            divided.push(piece);
            continue;
        }
        let mut is_first = true;
        let first = piece.rows.start;
        for run in runs(&series[piece.series].labels[piece.rows.clone()]) {
            let share = (run.len() as f64 * part.share.fraction).round() as usize;
            let taken = if run.len() >= 2 * least {
                share.max(least).min(run.len() - least)
            } else {
                0
            };
            let (start, cut) = (first + run.start, first + run.end - taken);
            match divided.last_mut() {
                // The runs before are whole, so that windows may cross into this one.
                Some(last) if !is_first && last.split == Split::Train => last.rows.end = cut,
                _ => divided.push(Piece {
                    rows: start..cut,
                    ..piece.clone()
                }),
            }
            if taken > 0 {
                divided.push(Piece {
                    rows: cut..first + run.end,
                    split: part.split,
                    ..piece.clone()
                });
            }
            is_first = false;
        }
    }
    divided
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
    fn folds_follow_each_other_and_read_rows_before_them() {
        let part = TakenPart {
            share: Share {
                field: "data.test_fraction",
                fraction: 0.3,
            },
            split: Split::Test,
        };
        let all = || {
            vec![Piece {
                series: 0,
                rows: 0..100,
                split: Split::Train,
            }]
        };
        let rows = |index, refit| {
            let fold = Fold {
                index,
                count: 3,
                refit,
            };
            let divided = take_fold(all(), part, fold, 5);
            divided
                .into_iter()
                .map(|piece| piece.rows)
                .collect::<Vec<_>>()
        };
        assert_eq!(rows(0, false), [0..70, 65..80]);
        assert_eq!(rows(2, false), [0..70, 85..100]);
        assert_eq!(rows(2, true), [0..90, 85..100]);
    }

    #[test]
    fn rows_without_a_class_belong_to_the_run_before() {
        assert_eq!(runs(&[IGNORE, 1, 1, IGNORE, 2, 1]), [0..4, 4..5, 5..6]);
        assert!(runs(&[]).is_empty());
    }
}
