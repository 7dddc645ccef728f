//! Targets as differences from the last known value of the same column, and such differences as
//! inputs.

use super::super::Split;
use super::super::preparation::{InputDifference, Normal, Preparation};
use super::pieces::Piece;
use super::{Csv, TableSeries, TableTask};
use crate::error::{Error, Result};
use crate::messages::excerpt;

impl Csv {
    pub(super) fn validate_residuals(&self) -> Result<()> {
        let field = match (self.residual_on_last, self.differences.is_empty()) {
            (true, _) => "data.residual_on_last",
            (false, false) => "data.differences",
            (false, true) => return Ok(()),
        };
        validate_lags(&self.differences)?;
        if self.task == TableTask::Classification {
            return Err(Error::usage(format!(
                "{field} is set, but classes have no differences; remove it, or set data.task to \
                 \"regression\""
            )));
        }
        let mut targets = self.targets.iter();
        match targets.find(|target| !self.inputs.contains(target)) {
            Some(target) => Err(Error::usage(format!(
                "{field} is set, but the target `{}` is not in data.inputs, so its last value is \
                 unknown; add it to data.inputs (with data.horizon at least 1), or remove {field}",
                excerpt(target)
            ))),
            None => Ok(()),
        }
    }

    /// Returns `[K]`: the input that each target is a difference from; nothing if targets are
    /// values.
    pub(super) fn residual_inputs(&self) -> Vec<usize> {
        if self.residual_on_last {
            self.target_inputs()
        } else {
            vec![]
        }
    }

    /// Returns `[K]`: the input that each target is a later value of.
    fn target_inputs(&self) -> Vec<usize> {
        let position = |target| self.inputs.iter().position(|input| input == target);
        self.targets.iter().filter_map(position).collect()
    }

    /// Replaces the target of each row by its difference from the input `horizon` rows before,
    /// which must be filled. The first rows have none.
    pub(super) fn subtract_last_values(&self, series: &mut [TableSeries]) {
        let (targets, features) = (self.targets.len(), self.columns());
        let residuals = self.residual_inputs();
        for series in series.iter_mut().filter(|_| !residuals.is_empty()) {
            for (row, values) in series.values.chunks_mut(targets).enumerate() {
                let last = row.checked_sub(self.horizon);
                for (value, input) in values.iter_mut().zip(&residuals) {
                    *value -= last.map_or(f64::NAN, |last| series.inputs[last * features + input]);
                }
            }
        }
    }

    /// Learns the inputs that are differences, whose columns must be filled.
    pub(super) fn learn_differences(
        &self,
        series: &[TableSeries],
        pieces: &[Piece],
        preparation: &mut Preparation,
    ) {
        let features = self.columns();
        let lags = self.differences.iter();
        let inputs = lags.flat_map(|&lag| self.target_inputs().into_iter().map(move |k| (lag, k)));
        for (lag, input) in inputs {
            let of_train = pieces.iter().filter(|piece| piece.split == Split::Train);
            let changes: Vec<f64> = of_train
                .flat_map(|piece| {
                    let value = |row: usize| series[piece.series].inputs[row * features + input];
                    let later = piece.rows.clone().skip(lag);
                    later.map(move |row| value(row) - value(row - lag))
                })
                .collect();
            let change = Normal::of(changes.chunks(1), 1)[0];
            let column = preparation.inputs.get(input).unwrap_or(&Normal::IDENTITY);
            preparation.differences.push(InputDifference {
                input,
                lag,
                scale: column.deviation / change.deviation,
            });
        }
    }

    /// Learns how target values are normalized, and which inputs they are differences from. A
    /// column that is input and target is normalized in the same way as both, unless it is a
    /// difference.
    pub(super) fn learn_targets(
        &self,
        series: &[TableSeries],
        pieces: &[Piece],
        preparation: &mut Preparation,
    ) {
        preparation.residuals = self.residual_inputs();
        if !self.normalise || self.task != TableTask::Regression {
            return;
        }
        let targets = self.targets.len();
        let of_train = pieces.iter().filter(|piece| piece.split == Split::Train);
        let rows = of_train.flat_map(|piece| {
            let (first, end) = (piece.rows.start * targets, piece.rows.end * targets);
            series[piece.series].values[first..end].chunks(targets)
        });
        preparation.targets = Normal::of(rows, targets);
    }
}

/// Checks the lags of differences.
///
/// # Errors
/// [`Error::Usage`] for a lag of 0, and for a lag that occurs twice.
pub(in super::super) fn validate_lags(lags: &[usize]) -> Result<()> {
    let mut each = lags.iter().enumerate();
    match each.find(|(n, lag)| **lag == 0 || lags[..*n].contains(lag)) {
        Some((_, lag)) => Err(Error::usage(format!(
            "data.differences has the lag {lag}; lags must be at least 1, and each must be there once"
        ))),
        None => Ok(()),
    }
}

/// Checks the rows of context of a window.
///
/// # Errors
/// [`Error::Usage`] if no target is left, or windows have one target each.
pub(in super::super) fn validate_context(
    context: usize,
    steps: Option<usize>,
    every_step: bool,
) -> Result<()> {
    if context == 0 || every_step && steps.is_none_or(|steps| context < steps) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "data.context = {context} leaves no target in a window; it must be less than data.steps, and \
         data.every_step must be true"
    )))
}
