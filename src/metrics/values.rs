//! Metrics of predicted values.

/// The metrics of one target value, in its own units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueMetrics {
    /// Values with a target.
    pub count: u64,
    /// The mean absolute error (scikit-learn's `mean_absolute_error`).
    pub mae: f64,
    /// The root of the mean squared error (scikit-learn's `root_mean_squared_error`).
    pub rmse: f64,
    /// The mean of |error| / |target|, as a fraction (scikit-learn's
    /// `mean_absolute_percentage_error`). `None` if a target is 0.
    pub mape: Option<f64>,
    /// The mean of 2 |error| / (|target| + |prediction|), as a fraction from 0 to 2, where 0 / 0 is
    /// 0 (Makridakis & Hibon 2000).
    pub smape: f64,
    /// The mean absolute error, divided by that of the naive forecast on the training split
    /// (Hyndman & Koehler 2006). `None` for what is no forecast, and where that error is 0.
    pub mase: Option<f64>,
    /// The coefficient of determination (scikit-learn's `r2_score`). `None` for fewer than two
    /// targets, and if all targets are equal.
    pub r2: Option<f64>,
    /// Targets that are 0.
    pub zero_targets: u64,
}

impl ValueMetrics {
    /// Says which values are not defined, and why, one clause each.
    pub fn undefined(&self) -> Vec<String> {
        let mape = self.mape.is_none().then(|| {
            format!(
                "MAPE is not defined: {} of the {} targets are 0",
                self.zero_targets, self.count
            )
        });
        let r2 = self.r2.is_none().then(|| {
            let reason = if self.count < 2 {
                "it needs at least two targets"
            } else {
                "all targets are equal"
            };
            format!("R2 is not defined: {reason}")
        });
        mape.into_iter().chain(r2).collect()
    }
}

/// Sums over the values of a target and their predictions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ValueSums {
    count: u64,
    absolute: f64,
    squares: f64,
    percentages: f64,
    symmetric: f64,
    zero_targets: u64,
    /// Mean of the targets, and the sum of squares of their differences from it (Welford 1962).
    mean: f64,
    scatter: f64,
}

impl ValueSums {
    /// Adds a target and the prediction for it, both finite.
    pub fn add(&mut self, target: f64, prediction: f64) {
        let error = (target - prediction).abs();
        self.count += 1;
        self.absolute += error;
        self.squares += error * error;
        if target == 0.0 {
            self.zero_targets += 1;
        } else {
            self.percentages += error / target.abs();
        }
        let size = target.abs() + prediction.abs();
        if size > 0.0 {
            self.symmetric += 2.0 * error / size;
        }
        let from_mean = target - self.mean;
        self.mean += from_mean / self.count as f64;
        self.scatter += from_mean * (target - self.mean);
    }

    /// The metrics; `None` without a value. `scale` is the mean absolute error of the naive
    /// forecast on the training split, for MASE.
    pub fn finish(&self, scale: Option<f64>) -> Option<ValueMetrics> {
        let count = self.count as f64;
        let mae = self.absolute / count;
        let has_scatter = self.count > 1 && self.scatter > 0.0;
        (self.count > 0).then(|| ValueMetrics {
            count: self.count,
            mae,
            rmse: (self.squares / count).sqrt(),
            mape: (self.zero_targets == 0).then(|| self.percentages / count),
            smape: self.symmetric / count,
            mase: scale.filter(|&scale| scale > 0.0).map(|scale| mae / scale),
            r2: has_scatter.then(|| 1.0 - self.squares / self.scatter),
            zero_targets: self.zero_targets,
        })
    }
}

/// Returns the mean pinball loss of predictions of a quantile from 0 to 1: `quantile` times the
/// error where the target is above, `1 - quantile` times where it is below (Koenker & Bassett 1978;
/// scikit-learn's `mean_pinball_loss`). `None` without a value.
pub fn pinball_loss(targets: &[f64], predictions: &[f64], quantile: f64) -> Option<f64> {
    let loss = |(target, prediction): (&f64, &f64)| {
        let error = target - prediction;
        (quantile * error).max((quantile - 1.0) * error)
    };
    super::classes::mean(targets.iter().zip(predictions).map(loss))
}

/// Returns the share of the targets that are in their interval, ends included. `None` without a
/// value.
pub fn coverage(targets: &[f64], low: &[f64], high: &[f64]) -> Option<f64> {
    let covered = |((target, low), high): ((&f64, &f64), &f64)| {
        let is_inside = low <= target && target <= high;
        if is_inside { 1.0 } else { 0.0 }
    };
    super::classes::mean(targets.iter().zip(low).zip(high).map(covered))
}
