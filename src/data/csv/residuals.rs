//! Targets as differences from the last known value of the same column, and such differences as
//! inputs.

use super::super::Split;
use super::super::least_squares::{System, least_squares};
use super::super::preparation::{InputDifference, Normal, Preparation};
use super::pieces::Piece;
use super::{Csv, TableSeries, TableTask};
use crate::error::{Error, Result};
use crate::messages::excerpt;

impl Csv {
    pub(super) fn validate_residuals(&self) -> Result<()> {
        self.validate_linear()?;
        let field = match (self.residual_on_last, self.differences.is_empty()) {
            (true, _) => "data.residual_on_last",
            (false, false) => "data.differences",
            (false, true) => return Ok(()),
        };
        validate_lags(&self.differences)?;
        let columns = self.difference_columns();
        // A head of classes reads the differences of the columns of others.
        let has_values = self.task == TableTask::Regression
            || !self.residual_on_last && !self.difference_columns.is_empty();
        if !has_values {
            return Err(Error::usage(format!(
                "{field} is set, but classes and labels have no differences; remove it, or set data.task to \
                 \"regression\""
            )));
        }
        let targets = self.targets.iter().filter(|_| self.residual_on_last);
        let columns = columns.iter().filter(|_| !self.differences.is_empty());
        match targets
            .chain(columns)
            .find(|target| !self.inputs.contains(target))
        {
            Some(target) => Err(Error::usage(format!(
                "{field} is set, but the target `{}` is not in data.inputs, so its last value is \
                 unknown; add it to data.inputs (with data.horizon at least 1), or remove {field}",
                excerpt(target)
            ))),
            None => Ok(()),
        }
    }

    /// A window knows no earlier rows, so its first rows lack differences that the regression was
    /// fitted to.
    fn validate_linear(&self) -> Result<()> {
        if !self.residual_on_linear {
            return Ok(());
        }
        if !self.residual_on_last {
            return Err(Error::usage(
                "data.residual_on_linear is set, but data.residual_on_last is not; set both, or \
                 remove data.residual_on_linear",
            ));
        }
        let longest = self.longest_lag();
        let Some(steps) = self.steps else {
            return Ok(());
        };
        if self.every_step && self.context < longest {
            return Err(Error::usage(format!(
                "data.residual_on_linear is set, and data.differences has the lag {longest}, so \
                 data.context must be at least {longest}; it is {}",
                self.context
            )));
        }
        if longest < steps {
            return Ok(());
        }
        Err(Error::usage(format!(
            "data.residual_on_linear is set, and data.differences has the lag {longest}, so \
             data.steps must be above {longest}; it is {steps}"
        )))
    }

    /// Returns `[W]`: the input that each target is a difference from; nothing if targets are
    /// values.
    pub(super) fn residual_inputs(&self) -> Vec<usize> {
        if self.residual_on_last {
            self.positions(&self.targets).repeat(self.horizon.steps())
        } else {
            vec![]
        }
    }

    /// Returns the inputs that these columns are.
    fn positions(&self, columns: &[String]) -> Vec<usize> {
        let position = |column| self.inputs.iter().position(|input| input == column);
        columns.iter().filter_map(position).collect()
    }

    /// Returns the columns whose differences are inputs.
    fn difference_columns(&self) -> &[String] {
        if self.difference_columns.is_empty() {
            &self.targets
        } else {
            &self.difference_columns
        }
    }

    /// Replaces the target of each row by its difference from the input at the last step of its
    /// window, which must be filled. The first rows have none.
    pub(super) fn subtract_last_values(&self, series: &mut [TableSeries]) {
        let targets = self.target_width();
        let residuals = self.residual_inputs();
        for series in series.iter_mut().filter(|_| !residuals.is_empty()) {
            let features = series.width();
            for (row, values) in series.values.chunks_mut(targets).enumerate() {
                let last = row.checked_sub(self.horizon.last());
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
        let lags = self.differences.iter();
        let columns = self.positions(self.difference_columns());
        let inputs = lags.flat_map(|&lag| columns.iter().map(move |&k| (lag, k)));
        for (lag, input) in inputs {
            let of_train = pieces.iter().filter(|piece| piece.split == Split::Train);
            let changes: Vec<f64> = of_train
                .flat_map(|piece| {
                    let own = &series[piece.series];
                    let features = own.width();
                    let value = move |row: usize| own.inputs[row * features + input];
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

    /// Learns the linear regression of the targets, which are differences, on the prepared inputs
    /// of their step. It is fitted to the rows before the test split, of training and validation,
    /// that have all differences and known targets: nothing about it is chosen by the validation
    /// split, and the newest rows are often those most like the next.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no such row; [`Error::Failed`] if the regression fails.
    pub(super) fn learn_linear(
        &self,
        series: &[TableSeries],
        pieces: &[Piece],
        preparation: &mut Preparation,
    ) -> Result<()> {
        if !self.residual_on_linear {
            return Ok(());
        }
        let (width, targets) = (self.features(preparation), self.target_width());
        let longest = self.longest_lag();
        let (mut inputs, mut values): (Vec<f32>, Vec<f64>) = (vec![], vec![]);
        let is_fitted = |piece: &&Piece| match piece.split {
            Split::Train => true,
            Split::Validation => !self.linear_of_training,
            Split::Test => false,
        };
        for piece in pieces.iter().filter(is_fitted) {
            let own = &series[piece.series];
            let prepared = own.prepared_inputs(piece.rows.clone(), preparation);
            for step in longest..piece.rows.len().saturating_sub(self.horizon.last()) {
                let target = (piece.rows.start + step + self.horizon.last()) * targets;
                let target = &own.values[target..target + targets];
                if target.iter().all(|value| value.is_finite()) {
                    inputs.extend(&prepared[step * width..(step + 1) * width]);
                    values.extend(target);
                }
            }
        }
        if values.is_empty() {
            return Err(Error::data(format!(
                "{}: no row before the test split has a target and differences from {longest} rows \
                 before, so data.residual_on_linear has nothing to fit; use a longer file, or \
                 shorter data.differences",
                self.path.display()
            )));
        }
        let weights = least_squares(&System {
            rows: values.len() / targets,
            coefficients: 1 + width,
            outputs: targets,
            input: |row: usize, column: usize| match column.checked_sub(1) {
                Some(column) => f64::from(inputs[row * width + column]),
                None => 1.0,
            },
            output: |row: usize, k: usize| values[row * targets + k],
        })?;
        // The constant is part of the mean of the targets.
        let weights = (0..targets * width).map(|at| weights[(1 + at % width, at / width)]);
        preparation.linear = weights.collect();
        Ok(())
    }

    /// Subtracts from the target of each row the change that the linear regression predicts. In
    /// data that are cut into windows, rows without the differences of all lags are in no window's
    /// targets, and become unknown.
    pub(super) fn subtract_linear(&self, series: &mut [TableSeries], preparation: &Preparation) {
        let (width, targets) = (self.features(preparation), self.target_width());
        if preparation.linear.is_empty() {
            return;
        }
        let first = self.steps.map_or(0, |_| self.longest_lag());
        for series in series {
            let prepared = series.prepared_inputs(0..series.rows(), preparation);
            for (row, values) in series.values.chunks_mut(targets).enumerate() {
                let Some(step) = row.checked_sub(self.horizon.last()) else {
                    continue;
                };
                let input = &prepared[step * width..(step + 1) * width];
                for (k, value) in values.iter_mut().enumerate() {
                    *value -= if step < first {
                        f64::NAN
                    } else {
                        preparation.linear_change(k, input)
                    };
                }
            }
        }
    }

    /// The longest lag of the differences that are inputs; 0 without any.
    fn longest_lag(&self) -> usize {
        self.differences.iter().copied().max().unwrap_or(0)
    }

    /// Learns how target values are normalized, and which inputs they are differences from. A
    /// column that is input and target is normalized in the same way as both, unless it is a
    /// difference, whose size depends on the steps ahead.
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
        let width = self.target_width();
        let of_train = pieces.iter().filter(|piece| piece.split == Split::Train);
        let rows = of_train.flat_map(|piece| {
            let (first, end) = (piece.rows.start * width, piece.rows.end * width);
            series[piece.series].values[first..end].chunks(width)
        });
        preparation.targets = if self.residual_on_last {
            Normal::of(rows, width)
        } else {
            // The values of a column are the same at each step ahead.
            let targets = self.targets.len();
            let own = rows.map(|row| &row[width - targets..]);
            Normal::of(own, targets).repeat(self.horizon.steps())
        };
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
