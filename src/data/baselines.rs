//! Errors of predictions without a network, to compare a network with: for a forecast, the last
//! value, the seasonal naive forecast and a linear regression on the same window; for classes, the
//! most frequent one.

use super::class_counts::class_counts;
use super::least_squares::{System, least_squares};
use crate::data::preparation::Preparation;
use crate::data::{Dataset, Horizon, Inputs, Targets};
use crate::error::Result;
use crate::kernels::MISSING;
use crate::network::Loss;

/// The relation of target values to inputs in a forecast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// `[K]`: the input that each target is a later value of.
    pub inputs: Vec<usize>,
    /// Steps from an input to its target; of several, those of target value `s * K + k` are s
    /// after the first.
    pub horizon: Horizon,
    /// Steps of a season; without it, the season with the smallest error on the training split.
    pub season: Option<usize>,
}

/// The error of a simple prediction at the last step of each sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    pub name: String,
    /// The mean loss, the squared error unless the network has another one, in the units of the
    /// network's outputs; `None` if windows are too short.
    pub loss: Option<f64>,
    /// `[W]`: the errors of each target value in the units of the data: K, or `[S, K]` for several
    /// steps ahead; `None` if windows are too short.
    pub errors: Vec<Option<PointErrors>>,
}

/// The errors of predictions of a value, in its own units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointErrors {
    /// The mean absolute error.
    pub mae: f64,
    /// The root of the mean squared error.
    pub rmse: f64,
}

/// Variances count as at least this, as in the loss of normal distributions.
const LEAST_VARIANCE: f64 = 1e-6;
/// The most predictions by which the season of a forecast of several steps is found; with more,
/// one window in several is read.
const MOST_SEASONAL_WORK: f64 = 5e7;
/// The most values of a window for a linear regression, whose time grows with their square.
const MOST_COEFFICIENTS: usize = 2048;
/// The most multiply-adds of a regression; with more, it is fitted to every n-th window.
const MOST_WORK: f64 = 2e10;

/// The constant prediction of the class that is the most frequent in training.
#[derive(Debug, Clone, PartialEq)]
pub struct Majority {
    /// The class, the first among equals.
    pub class: usize,
    /// Its accuracy.
    pub accuracy: f64,
}

/// Returns the most frequent class among the labels of `train`, and the accuracy on `data` of
/// always predicting it; `None` for target values.
pub fn majority(train: &Dataset, data: &Dataset) -> Option<Majority> {
    let counts = |data: &Dataset| class_counts(data, &data.targets);
    let (trained, counts) = (counts(train)?, counts(data)?);
    // The first of equal counts.
    let class = (0..trained.len())
        .rev()
        .max_by_key(|&class| trained[class])?;
    let all: u64 = counts.iter().sum();
    let own = counts.get(class).copied().unwrap_or(0);
    Some(Majority {
        class,
        accuracy: own as f64 / all.max(1) as f64,
    })
}

/// Returns the baselines on `data`, fitted to `train`: for a forecast the last value and the
/// seasonal naive forecast, otherwise the mean of the training split; and a linear regression.
/// There are none for classes and for tokens.
///
/// # Errors
/// [`Error::Failed`](crate::Error::Failed) if the matrix of the regression cannot be decomposed.
pub fn of_values(
    train: &Dataset,
    data: &Dataset,
    forecast: Option<&Forecast>,
    preparation: &Preparation,
) -> Result<Vec<Baseline>> {
    of_values_by(Loss::MeanSquaredError, train, data, forecast, preparation)
}

/// Returns the baselines of [`of_values`] by another loss: that of a network whose outputs for a
/// target are all the baseline's prediction. Labels have the mean alone, as their probability. The
/// likelihood of a normal distribution is that with the baseline's prediction as its mean, and the
/// mean squared error of the baseline on `train` as its variance.
///
/// # Errors
/// Those of [`of_values`].
pub fn of_values_by(
    loss: Loss,
    train: &Dataset,
    data: &Dataset,
    forecast: Option<&Forecast>,
    preparation: &Preparation,
) -> Result<Vec<Baseline>> {
    let windows = |data| ValueWindows::of(data, preparation);
    let (Some(train), Some(data)) = (windows(train), windows(data)) else {
        return Ok(vec![]);
    };
    let compared = ComparedWindows {
        train,
        data,
        loss,
        preparation,
    };
    let mut baselines = match forecast {
        Some(forecast) => {
            let past = PastValues {
                forecast,
                preparation,
            };
            vec![last_value(&compared, &past), seasonal(&compared, &past)]
        }
        None => vec![mean(&compared)],
    };
    if !loss.takes_labels() {
        baselines.extend(regression(&compared)?);
    }
    Ok(baselines)
}

/// Returns the mean absolute error of the naive forecast on the training split for each target, in
/// the units of the data: the difference from the value one season before, or one step before
/// without `season` (the scale of MASE; Hyndman & Koehler 2006). `None` if windows are too short or
/// inputs are no numbers in memory.
pub(crate) fn naive_errors(
    train: &Dataset,
    forecast: &Forecast,
    preparation: &Preparation,
) -> Vec<Option<f64>> {
    let back = forecast.season.unwrap_or(1);
    let of_target = |&feature: &usize| {
        let difference = |n: usize| {
            let length = train.lengths.as_ref().map(|all| all[n] as usize);
            let last = length.unwrap_or(train.steps).checked_sub(1)?;
            let value = |step: usize| {
                let row = train.input_rows(n, step..step + 1);
                let prepared = row.get(feature)?;
                Some(preparation.restore_input(feature, *prepared))
            };
            Some((value(last)? - value(last.checked_sub(back)?)?).abs())
        };
        let differences: Vec<f64> = (0..train.count).filter_map(difference).collect();
        let count = differences.len() as f64;
        (count > 0.0).then(|| differences.iter().sum::<f64>() / count)
    };
    forecast.inputs.iter().map(of_target).collect()
}

/// Predictions that are an earlier value of the target's column.
struct PastValues<'a> {
    forecast: &'a Forecast,
    preparation: &'a Preparation,
}

impl PastValues<'_> {
    /// Returns the value `back` steps before the last step of sequence n as a network would output
    /// it for target value k.
    fn value(&self, windows: &ValueWindows, n: usize, k: usize, back: usize) -> Option<f64> {
        let last = windows.length(n).checked_sub(1)?;
        let feature = self.forecast.inputs[k % self.forecast.inputs.len()];
        let prepared = windows.input_row(n, last.checked_sub(back)?)?[feature];
        let value = self.preparation.restore_input(feature, prepared);
        let input = windows.input_row(n, last)?;
        Some(self.preparation.as_output(k, value, input))
    }

    /// Returns the value one season before target value k, or the fewest whole seasons if one is
    /// shorter than the steps ahead.
    fn seasonal_value(
        &self,
        windows: &ValueWindows,
        n: usize,
        k: usize,
        season: usize,
    ) -> Option<f64> {
        let ahead = self.forecast.horizon.first() + k / self.forecast.inputs.len();
        let back = season * ahead.div_ceil(season) - ahead;
        self.value(windows, n, k, back)
    }

    /// Returns the mean squared error of the seasonal naive forecast, on one window in `every`.
    fn seasonal_error(&self, windows: &ValueWindows, season: usize, every: usize) -> Option<f64> {
        let predict = |n, k| self.seasonal_value(windows, n, k, season);
        windows.error(every, predict, |_, error| error * error)
    }

    /// Returns the errors of the seasons that a window of `steps` holds, and these seasons.
    fn seasons(&self, train: &ValueWindows, steps: usize) -> Vec<(f64, usize)> {
        let horizon = self.forecast.horizon;
        let (least, every) = if horizon.is_several() {
            let work = train.data.count as f64 * (train.width * steps) as f64;
            (2, (work / MOST_SEASONAL_WORK).ceil().max(1.0) as usize)
        } else {
            // A season of the horizon itself would be the last value.
            ((horizon.last() + 1).max(2), 1)
        };
        let error = |season| Some((self.seasonal_error(train, season, every)?, season));
        (least..steps + horizon.first()).filter_map(error).collect()
    }

    /// Returns the season with the smallest error, of those that a window of `steps` holds.
    fn best_season(&self, train: &ValueWindows, steps: usize) -> Option<usize> {
        let seasons = self.seasons(train, steps).into_iter();
        let best = seasons.min_by(|a, b| a.0.total_cmp(&b.0));
        best.map(|(_, season)| season)
    }
}

/// The errors of a season and of a multiple of it are about the same: at most this many times the
/// smallest.
const SAME_SEASON: f64 = 1.25;

/// Returns the shortest season whose naive forecast has about the smallest error on the training
/// split, if it is also better than the last value on `data`.
pub(crate) fn useful_season(
    train: &Dataset,
    data: &Dataset,
    forecast: &Forecast,
    preparation: &Preparation,
) -> Option<usize> {
    let windows = |data| ValueWindows::of(data, preparation);
    let (train, data) = (windows(train)?, windows(data)?);
    let past = PastValues {
        forecast,
        preparation,
    };
    let season = match forecast.season {
        Some(season) => season,
        None => {
            let seasons = past.seasons(&train, train.data.steps);
            let errors = seasons.iter().map(|each| each.0);
            let least = errors.fold(f64::INFINITY, f64::min);
            let error = |n: usize| seasons.get(n).map_or(f64::INFINITY, |each| each.0);
            let is_near = |n: usize| error(n) <= least * SAME_SEASON;
            // The seasons beside one are nearly as good as it.
            let is_lowest = |n: usize| error(n) <= error(n.wrapping_sub(1)).min(error(n + 1));
            let found = (0..seasons.len()).find(|&n| is_near(n) && is_lowest(n));
            seasons[found?].1
        }
    };
    let seasonal = past.seasonal_error(&data, season, 1)?;
    let last = |n, k| past.value(&data, n, k, 0);
    let last = data.error(1, last, |_, error| error * error)?;
    (seasonal < last).then_some(season)
}

/// The windows that baselines are fitted to, and those that they are judged on.
struct ComparedWindows<'a> {
    train: ValueWindows<'a>,
    data: ValueWindows<'a>,
    loss: Loss,
    preparation: &'a Preparation,
}

impl ComparedWindows<'_> {
    /// Returns the errors of `predict(windows, n, k)`: what a network would output for target value
    /// k of sequence n.
    fn baseline(
        &self,
        name: impl Into<String>,
        predict: impl Fn(&ValueWindows, usize, usize) -> Option<f64>,
    ) -> Baseline {
        let own = |n, k| predict(&self.data, n, k);
        let loss = match self.loss {
            Loss::GaussianNll => self.gaussian_loss(&predict),
            loss => self
                .data
                .error(1, own, |_, error| loss.of_point(error, 0.0)),
        };
        Baseline {
            name: name.into(),
            loss,
            errors: self.data.errors(own, self.preparation),
        }
    }

    /// The mean negative log-likelihood with the mean squared errors on the training split as
    /// variances.
    fn gaussian_loss(
        &self,
        predict: &impl Fn(&ValueWindows, usize, usize) -> Option<f64>,
    ) -> Option<f64> {
        let trained = self.train.squares(|n, k| predict(&self.train, n, k));
        let variance = |(sum, count): &(f64, usize)| (sum / *count as f64).max(LEAST_VARIANCE);
        let variances: Vec<f64> = trained.iter().map(variance).collect();
        if variances.iter().any(|variance| variance.is_nan()) {
            return None;
        }
        let own = |n, k| predict(&self.data, n, k);
        self.data.error(1, own, |k, error| {
            0.5 * (variances[k].ln() + error * error / variances[k])
        })
    }
}

fn last_value(compared: &ComparedWindows, past: &PastValues) -> Baseline {
    compared.baseline("last value", |windows, n, k| past.value(windows, n, k, 0))
}

fn mean(compared: &ComparedWindows) -> Baseline {
    let train = &compared.train;
    let mean = |k| {
        let known = (0..train.data.count).filter_map(|n| train.target(n, k));
        let (sum, count) = known.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
        sum / f64::from(count.max(1))
    };
    let means: Vec<f64> = (0..train.width).map(mean).collect();
    if compared.loss.takes_labels() {
        // A probability has no error from a label.
        let (data, loss) = (&compared.data, compared.loss);
        return Baseline {
            name: "mean".into(),
            loss: data.mean_loss(1, |n, k| Some(loss.of_point(means[k], data.target(n, k)?))),
            errors: data.errors(|_, k| Some(means[k]), compared.preparation),
        };
    }
    compared.baseline("mean", |_, _, k| Some(means[k]))
}

/// Predicts the value one season before; the fewest whole seasons if one is shorter than the
/// horizon.
fn seasonal(compared: &ComparedWindows, past: &PastValues) -> Baseline {
    let (train, data) = (&compared.train, &compared.data);
    let of_season = |name: String, season: usize| {
        compared.baseline(name, |windows, n, k| {
            past.seasonal_value(windows, n, k, season)
        })
    };
    if let Some(season) = past.forecast.season {
        return of_season(format!("seasonal naive ({season} steps)"), season);
    }
    let steps = train.data.steps.min(data.data.steps);
    match past.best_season(train, steps) {
        Some(season) => of_season(format!("seasonal naive ({season} steps, found)"), season),
        None => Baseline {
            name: "seasonal naive".into(),
            loss: None,
            errors: vec![None; data.width],
        },
    }
}

/// Least squares without regularization on all values of a window; of several solutions the one
/// with the smallest norm. Skipped for windows of different lengths, inputs streamed from disk, and
/// windows of too many values.
fn regression(compared: &ComparedWindows) -> Result<Option<Baseline>> {
    let (train, data) = (&compared.train, &compared.data);
    let sizes = |windows: &ValueWindows| (windows.data.steps, windows.columns, windows.ahead);
    let (steps, inputs, ahead) = sizes(train);
    let coefficients = 1 + steps.saturating_mul(inputs) + ahead;
    let is_ragged = train.data.lengths.is_some() || data.data.lengths.is_some();
    let is_streamed = train.inputs.is_empty() || data.inputs.is_empty();
    if is_streamed
        || is_ragged
        || coefficients > MOST_COEFFICIENTS
        || sizes(data) != (steps, inputs, ahead)
    {
        return Ok(None);
    }
    let columns = coefficients + train.width;
    let known: Vec<usize> = (0..train.data.count)
        .filter(|&n| train.is_known(n))
        .collect();
    let work = known.len() as f64 * (columns * columns) as f64;
    let every = (work / MOST_WORK).ceil().max(1.0) as usize;
    let known: Vec<usize> = known.into_iter().step_by(every).collect();
    if known.is_empty() {
        return Ok(None);
    }
    let weights = least_squares(&System {
        rows: known.len(),
        coefficients,
        outputs: train.width,
        input: |row, column| train.row(known[row], column),
        output: |row, k| train.target(known[row], k).unwrap_or_default(),
    })?;
    let predict = |windows: &ValueWindows, n: usize, k: usize| {
        let terms = (0..coefficients).map(|column| windows.row(n, column) * weights[(column, k)]);
        Some(terms.sum::<f64>())
    };
    let name = if every == 1 {
        "linear regression".into()
    } else {
        format!("linear regression (on one window in {every})")
    };
    Ok(Some(compared.baseline(name, predict)))
}

/// Sequences of features with target values.
struct ValueWindows<'a> {
    data: &'a Dataset,
    /// Empty for inputs streamed from disk.
    inputs: &'a [f32],
    /// Inputs of a regression at each step.
    columns: usize,
    /// Inputs of a regression at the last step alone, after the others: those that are known ahead.
    ahead: usize,
    values: &'a [f32],
    /// W: target values.
    width: usize,
    per_step: bool,
}

impl ValueWindows<'_> {
    /// The inputs that are differences are left out of regressions, since they follow from the
    /// others.
    fn of<'a>(data: &'a Dataset, preparation: &Preparation) -> Option<ValueWindows<'a>> {
        let ahead = preparation.known_ahead;
        let inputs: &[f32] = match &data.inputs {
            Inputs::Floats(inputs) => inputs,
            Inputs::Stored(_) => &[],
            Inputs::Bytes { .. } | Inputs::Tokens { .. } => return None,
        };
        let Targets::Values {
            values,
            width,
            per_step,
        } = &data.targets
        else {
            return None;
        };
        Some(ValueWindows {
            data,
            inputs,
            columns: (data.features).checked_sub(preparation.differences.len() + ahead)?,
            ahead,
            values,
            width: *width,
            per_step: *per_step,
        })
    }

    /// Valid steps of sequence n.
    fn length(&self, n: usize) -> usize {
        let lengths = self.data.lengths.as_ref();
        lengths.map_or(self.data.steps, |lengths| lengths[n] as usize)
    }

    /// Returns the inputs `[I]` of a step; nothing for inputs streamed from disk.
    fn input_row(&self, n: usize, step: usize) -> Option<&[f32]> {
        let features = self.data.features;
        let first = (n * self.data.steps + step) * features;
        self.inputs.get(first..first + features)
    }

    /// Returns a column of window n as a row of a regression: 1, then its values.
    fn row(&self, n: usize, column: usize) -> f64 {
        let Some(value) = column.checked_sub(1) else {
            return 1.0;
        };
        let (step, column) = match value.checked_sub(self.data.steps * self.columns) {
            Some(known) => (self.data.steps - 1, self.columns + known),
            None => (value / self.columns, value % self.columns),
        };
        let row = n * self.data.steps + step;
        f64::from(self.inputs[row * self.data.features + column])
    }

    /// Returns whether no value of the target at the last step of sequence n is missing.
    fn is_known(&self, n: usize) -> bool {
        (0..self.width).all(|k| self.target(n, k).is_some())
    }

    /// Returns value k of the target at the last step of sequence n, unless it is missing.
    fn target(&self, n: usize, k: usize) -> Option<f64> {
        let row = if self.per_step {
            n * self.data.steps + self.length(n).max(1) - 1
        } else {
            n
        };
        let value = self.values[row * self.width + k];
        (value != MISSING).then_some(f64::from(value))
    }

    /// Returns the mean over one sequence in `every` of the mean of `loss(k, error)` of
    /// `predict(n, k)`, as training has it; `None` if it is `None` for some sequence, or no target
    /// is known.
    fn error(
        &self,
        every: usize,
        predict: impl Fn(usize, usize) -> Option<f64>,
        loss: impl Fn(usize, f64) -> f64,
    ) -> Option<f64> {
        self.mean_loss(every, |n, k| {
            Some(loss(k, predict(n, k)? - self.target(n, k)?))
        })
    }

    /// Returns the mean over one sequence in `every` of the mean of `loss(n, k)` over its known
    /// targets; `None` if it is `None` for some sequence, or no target is known.
    fn mean_loss(&self, every: usize, loss: impl Fn(usize, usize) -> Option<f64>) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0);
        for n in (0..self.data.count).step_by(every) {
            let (mut losses, mut known) = (0.0, 0);
            for k in (0..self.width).filter(|&k| self.target(n, k).is_some()) {
                losses += loss(n, k)?;
                known += 1;
            }
            sum += losses / f64::from(known.max(1));
            count += usize::from(known > 0);
        }
        (count > 0).then(|| sum / count as f64)
    }

    /// `[W]`: the sums of the squared errors of `predict(n, k)`, and their counts; NaN where it is
    /// `None` for some sequence.
    fn squares(&self, predict: impl Fn(usize, usize) -> Option<f64>) -> Vec<(f64, usize)> {
        let of_value = |k: usize| {
            let known = (0..self.data.count).filter_map(|n| Some((n, self.target(n, k)?)));
            known.fold((0.0, 0), |(sum, count), (n, target)| {
                let error = predict(n, k).unwrap_or(f64::NAN) - target;
                (sum + error * error, count + 1)
            })
        };
        (0..self.width).map(of_value).collect()
    }

    /// `[W]`: the errors of `predict(n, k)` in the units of the data; `None` where it is `None` for
    /// some sequence, or no target is known.
    fn errors(
        &self,
        predict: impl Fn(usize, usize) -> Option<f64>,
        preparation: &Preparation,
    ) -> Vec<Option<PointErrors>> {
        let of_value = |k: usize| {
            let unit = preparation
                .targets
                .get(k)
                .map_or(1.0, |each| each.deviation);
            let (mut absolute, mut squares, mut count) = (0.0, 0.0, 0usize);
            for n in 0..self.data.count {
                let Some(target) = self.target(n, k) else {
                    continue;
                };
                let error = (predict(n, k)? - target) * unit;
                absolute += error.abs();
                squares += error * error;
                count += 1;
            }
            (count > 0).then(|| PointErrors {
                mae: absolute / count as f64,
                rmse: (squares / count as f64).sqrt(),
            })
        };
        (0..self.width).map(of_value).collect()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Array3};

    use super::*;
    use crate::kernels::IGNORE;

    /// Windows of 6 values of a series with a season of 4 and a trend; targets are one value ahead.
    fn windows(count: usize, first: usize) -> Dataset {
        let value = |t: usize| [0.0, 3.0, 1.0, -2.0][t % 4] + 0.1 * t as f32;
        let inputs = Array3::from_shape_fn((count, 6, 1), |(n, t, _)| value(first + n + t));
        let targets = Array3::from_shape_fn((count, 6, 1), |(n, t, _)| value(first + n + t + 1));
        Dataset::new(inputs.view(), Targets::values_per_step(targets.view())).expect("it is valid")
    }

    #[test]
    fn the_season_is_found_and_a_regression_is_exact() {
        let mut forecast = Forecast {
            inputs: vec![0],
            horizon: 1.into(),
            season: None,
        };
        let baselines = |forecast: &Forecast| {
            of_values(
                &windows(40, 0),
                &windows(20, 40),
                Some(forecast),
                &Preparation::default(),
            )
            .expect("it succeeds")
        };
        let found = baselines(&forecast);
        let names: Vec<&str> = found.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "last value",
                "seasonal naive (4 steps, found)",
                "linear regression"
            ]
        );
        // Differences of 3.1, -1.9, -2.9 and 2.1.
        let last = found[0].loss.expect("there is one");
        assert!(
            (last - (3.1f64.powi(2) + 1.9f64.powi(2) + 2.9f64.powi(2) + 2.1f64.powi(2)) / 4.0)
                .abs()
                < 1e-4
        );
        // The trend over one season.
        assert!((found[1].loss.expect("there is one") - 0.16).abs() < 1e-4);
        // x(t) = x(t - 4) + x(t - 1) - x(t - 5); the columns are linearly dependent.
        assert!(found[2].loss.expect("there is one") < 1e-8, "{found:?}");

        forecast.season = Some(3);
        assert!(baselines(&forecast)[1].loss.expect("there is one") > last / 2.0);
        forecast.season = Some(9);
        assert_eq!(baselines(&forecast)[1].loss, None);
    }

    #[test]
    fn missing_targets_are_in_no_baseline() {
        let (mut train, mut test) = (windows(40, 0), windows(20, 40));
        for data in [&mut train, &mut test] {
            let Targets::Values { values, .. } = &mut data.targets else {
                panic!("values expected")
            };
            values
                .iter_mut()
                .skip(5)
                .step_by(18)
                .for_each(|value| *value = MISSING);
        }
        let forecast = Forecast {
            inputs: vec![0],
            horizon: 1.into(),
            season: None,
        };
        let found = of_values(&train, &test, Some(&forecast), &Preparation::default())
            .expect("it succeeds");
        assert_eq!(found[1].name, "seasonal naive (4 steps, found)");
        assert!(
            (found[1].loss.expect("there is one") - 0.16).abs() < 1e-4,
            "{found:?}"
        );
        assert!(found[2].loss.expect("there is one") < 1e-8, "{found:?}");
    }

    #[test]
    fn a_season_shorter_than_the_horizon_is_repeated() {
        let mut train = windows(40, 0);
        // Five steps ahead: two seasons before the target is three steps before the end of the
        // window.
        let Targets::Values { values, .. } = &mut train.targets else {
            panic!("values expected")
        };
        let value = |t: usize| [0.0, 3.0, 1.0, -2.0][t % 4] + 0.1 * t as f32;
        for n in 0..40 {
            (0..6).for_each(|t| values[6 * n + t] = value(n + t + 5));
        }
        let forecast = Forecast {
            inputs: vec![0],
            horizon: 5.into(),
            season: Some(4),
        };
        let found = of_values(&train, &train, Some(&forecast), &Preparation::default())
            .expect("it succeeds");
        assert!(
            (found[1].loss.expect("there is one") - 0.64).abs() < 1e-3,
            "{found:?}"
        );
    }

    #[test]
    fn baselines_have_errors_for_each_step_ahead() {
        // A season of 4 and a trend, two and three steps ahead of windows of 6 values.
        let value = |t: usize| [0.0, 3.0, 1.0, -2.0][t % 4] + 0.1 * t as f32;
        let data = |first: usize| {
            let inputs = Array3::from_shape_fn((40, 6, 1), |(n, t, _)| value(first + n + t));
            let targets = Array2::from_shape_fn((40, 2), |(n, s)| value(first + n + 7 + s));
            Dataset::new(inputs.view(), Targets::values(targets.view())).expect("it is valid")
        };
        let forecast = Forecast {
            inputs: vec![0],
            horizon: Horizon::range(2, 3),
            season: None,
        };
        let preparation = Preparation::default();
        let found = of_values(&data(0), &data(40), Some(&forecast), &preparation);
        let found = found.expect("it succeeds");
        assert_eq!(found[1].name, "seasonal naive (4 steps, found)");
        for errors in &found[1].errors {
            // The trend over one season, at both steps.
            let errors = errors.expect("there are some");
            assert!((errors.rmse - 0.4).abs() < 1e-4 && (errors.mae - 0.4).abs() < 1e-4);
        }
        let last: Vec<f64> = found[0]
            .errors
            .iter()
            .map(|each| each.unwrap().rmse)
            .collect();
        // Differences over two steps: 1.2, -4.8, -0.8 and 5.2; over three: -1.7, -2.7, 2.3, 3.3.
        let root = |of: [f64; 4]| (of.iter().map(|x| x * x).sum::<f64>() / 4.0).sqrt();
        assert!(
            (last[0] - root([1.2, -4.8, -0.8, 5.2])).abs() < 1e-4,
            "{last:?}"
        );
        assert!(
            (last[1] - root([-1.7, -2.7, 2.3, 3.3])).abs() < 1e-4,
            "{last:?}"
        );
        assert!(found[2].errors[1].expect("there are some").rmse < 1e-4);
    }

    #[test]
    fn baselines_of_normal_distributions_have_their_own_variance() {
        let forecast = Forecast {
            inputs: vec![0],
            horizon: 1.into(),
            season: Some(4),
        };
        let (train, test) = (windows(40, 0), windows(20, 40));
        let preparation = Preparation::default();
        let found = of_values_by(
            Loss::GaussianNll,
            &train,
            &test,
            Some(&forecast),
            &preparation,
        );
        let found = found.expect("it succeeds");
        let squares = (3.1f64.powi(2) + 1.9f64.powi(2) + 2.9f64.powi(2) + 2.1f64.powi(2)) / 4.0;
        let losses: Vec<f64> = found
            .iter()
            .map(|each| each.loss.expect("there is one"))
            .collect();
        // The mean square on the test split is the variance of the training split.
        assert!(
            (losses[0] - 0.5 * (squares.ln() + 1.0)).abs() < 1e-4,
            "{losses:?}"
        );
        assert!(
            (losses[1] - 0.5 * (0.16f64.ln() + 1.0)).abs() < 1e-3,
            "{losses:?}"
        );
        assert!(losses[2] < losses[1], "{losses:?}");
    }

    #[test]
    fn targets_that_are_not_later_inputs_are_compared_with_the_mean() {
        let data = |shift: f32| {
            let inputs =
                Array3::from_shape_fn((30, 2, 1), |(n, t, _)| ((n * 7 + t * 5) % 11) as f32);
            let targets = Array2::from_shape_fn((30, 1), |(n, _)| {
                2.0 * inputs[[n, 0, 0]] - inputs[[n, 1, 0]] + shift
            });
            Dataset::new(inputs.view(), Targets::values(targets.view())).expect("it is valid")
        };
        let found =
            of_values(&data(0.0), &data(1.0), None, &Preparation::default()).expect("it succeeds");
        assert_eq!(found[0].name, "mean");
        assert!((found[1].loss.expect("there is one") - 1.0).abs() < 1e-6);
        assert_eq!(majority(&data(0.0), &data(0.0)), None);
    }

    #[test]
    fn the_most_frequent_class_is_that_of_training_and_counts_over_learnt_labels() {
        let inputs = Array3::zeros((4, 3, 1));
        let of_labels = |labels: [u32; 4]| {
            let labels = Array1::from(labels.to_vec());
            Dataset::new(inputs.view(), Targets::classes(labels.view(), 3)).expect("it is valid")
        };
        let found = |train, data| majority(&of_labels(train), &of_labels(data));
        let expected = |class, accuracy| Some(Majority { class, accuracy });
        assert_eq!(found([2, 0, 2, 1], [2, 0, 2, 1]), expected(2, 0.5));
        assert_eq!(found([0, 0, 1, 1], [2, 2, 2, 0]), expected(0, 0.25));
        assert_eq!(found([0, 0, 0, 1], [2, 2, 2, 2]), expected(0, 0.0));
        let labels = Array2::from_shape_vec((4, 3), vec![0, 1, 1, 0, 1, 1, 0, IGNORE, 1, 0, 1, 1])
            .expect("as many");
        let data = Dataset::new(inputs.view(), Targets::classes_per_step(labels.view(), 2));
        let data = data
            .and_then(|data| data.with_lengths(&[1, 1, 1, 3]))
            .expect("it is valid");
        assert_eq!(
            majority(&data, &data),
            Some(Majority {
                class: 0,
                accuracy: 4.0 / 6.0
            })
        );
        assert_eq!(
            of_values(&data, &data, None, &Preparation::default()).expect("there are none"),
            []
        );
    }
}
