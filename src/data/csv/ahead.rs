//! Targets at several steps ahead, which one network predicts at once.

use super::{Csv, TableSeries, TableTask};
use crate::error::{Error, Result};
use crate::io::memory_limit;
use crate::messages::shown_path;

impl Csv {
    /// W: the target values of a window or of one of its rows: those of K columns at each of S
    /// steps ahead.
    pub(super) fn target_width(&self) -> usize {
        self.targets.len() * self.horizon.steps()
    }

    pub(super) fn validate_horizon(&self) -> Result<()> {
        self.horizon.validate()?;
        let horizon = self.horizon;
        if !horizon.is_several() {
            return Ok(());
        }
        let problem = match (self.task, &self.weights) {
            (TableTask::Regression, None) => return Ok(()),
            (TableTask::Regression, Some(_)) => {
                "data.weights has one weight for each row, and all steps ahead are one target: \
                 leave out data.weights, or set data.horizon to one number"
            }
            (TableTask::Classification | TableTask::MultiLabel, _) => {
                "classes and labels are predicted at one step ahead: set it to one number, or \
                 predict values"
            }
        };
        Err(Error::usage(format!(
            "data.horizon is [{}, {}], but {problem}",
            horizon.first(),
            horizon.last()
        )))
    }

    /// Replaces the K target values of each row by those of all S steps ahead of the window whose
    /// last step ahead is that row: `[S, K]`, the rows up to it. Those before the series are NaN.
    ///
    /// # Errors
    /// [`Error::Data`] for more values than the memory limit allows.
    pub(super) fn spread_targets(&self, series: &mut [TableSeries]) -> Result<()> {
        let (width, steps) = (self.targets.len(), self.horizon.steps());
        if steps == 1 {
            return Ok(());
        }
        let rows: usize = series.iter().map(TableSeries::rows).sum();
        let values = rows as u128 * self.target_width() as u128;
        memory_limit::check_values(values).map_err(|problem| {
            let path = shown_path(&self.path);
            Error::data(format!(
                "{path}: {steps} steps ahead of {rows} rows: {problem}"
            ))
        })?;
        for series in series.iter_mut().filter(|series| !series.values.is_empty()) {
            let rows = series.rows();
            let mut spread = Vec::with_capacity(rows * width * steps);
            for row in 0..rows {
                for back in (0..steps).rev() {
                    match row.checked_sub(back) {
                        Some(row) => spread.extend(&series.values[row * width..(row + 1) * width]),
                        None => spread.resize(spread.len() + width, f64::NAN),
                    }
                }
            }
            series.values = spread;
        }
        Ok(())
    }
}
