//! Errors of predictions without a network, to compare a network with: for a forecast, the last
//! value, the seasonal naive forecast and a linear regression on the same window; for classes, the
//! most frequent one.

use super::class_counts::class_counts;
use super::least_squares::{System, least_squares};
use crate::data::preparation::Preparation;
use crate::data::{Dataset, Inputs, Targets};
use crate::error::Result;
use crate::kernels::MISSING;
use crate::network::Loss;

/// The relation of target values to inputs in a forecast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// `[K]`: the input that each target is a later value of.
    pub inputs: Vec<usize>,
    /// Steps from an input to its target.
    pub horizon: usize,
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
}

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
    let (trained, counts) = (class_counts(train)?, class_counts(data)?);
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
/// target are all the baseline's prediction. Labels have the mean alone, as their probability, and
/// the likelihood of a normal distribution has none.
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
    // Differences follow from the other inputs.
    let differences = preparation.differences.len();
    let windows = |data| {
        let windows = ValueWindows::of(data, differences)?;
        Some(ValueWindows { loss, ..windows })
    };
    if loss == Loss::GaussianNll {
        return Ok(vec![]);
    }
    let (Some(train), Some(data)) = (windows(train), windows(data)) else {
        return Ok(vec![]);
    };
    let mut baselines = match forecast {
        Some(forecast) => {
            let past = PastValues {
                inputs: &forecast.inputs,
                preparation,
            };
            vec![
                last_value(&data, &past),
                seasonal(&train, &data, forecast, &past),
            ]
        }
        None => vec![mean(&train, &data)],
    };
    if !loss.takes_labels() {
        baselines.extend(regression(&train, &data)?);
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
    /// `[K]`: the input that each target is a later value of.
    inputs: &'a [usize],
    preparation: &'a Preparation,
}

impl PastValues<'_> {
    /// Returns the value `back` steps before the last step of sequence n as a network would output
    /// it for target k.
    fn value(&self, windows: &ValueWindows, n: usize, k: usize, back: usize) -> Option<f64> {
        let last = windows.length(n).checked_sub(1)?;
        let feature = self.inputs[k];
        let prepared = windows.input_row(n, last.checked_sub(back)?)?[feature];
        let value = self.preparation.restore_input(feature, prepared);
        let input = windows.input_row(n, last)?;
        Some(self.preparation.as_output(k, value, input))
    }
}

impl PastValues<'_> {
    /// Returns the error of the value one season before, or the fewest whole seasons if one is
    /// shorter than the horizon.
    fn seasonal_error(&self, windows: &ValueWindows, season: usize, horizon: usize) -> Option<f64> {
        let back = season * horizon.div_ceil(season) - horizon;
        windows.error(|n, k| self.value(windows, n, k, back))
    }

    /// Returns the errors of the seasons that a window of `steps` holds, and these seasons.
    fn seasons(&self, train: &ValueWindows, steps: usize, horizon: usize) -> Vec<(f64, usize)> {
        // A season of the horizon itself would be the last value.
        let seasons = (horizon + 1).max(2)..steps + horizon;
        let error = |season| Some((self.seasonal_error(train, season, horizon)?, season));
        seasons.filter_map(error).collect()
    }

    /// Returns the season with the smallest error, of those that a window of `steps` holds.
    fn best_season(&self, train: &ValueWindows, steps: usize, horizon: usize) -> Option<usize> {
        let seasons = self.seasons(train, steps, horizon).into_iter();
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
    let windows = |data| ValueWindows::of(data, preparation.differences.len());
    let (train, data) = (windows(train)?, windows(data)?);
    let past = PastValues {
        inputs: &forecast.inputs,
        preparation,
    };
    let season = match forecast.season {
        Some(season) => season,
        None => {
            let seasons = past.seasons(&train, train.data.steps, forecast.horizon);
            let least = seasons
                .iter()
                .map(|each| each.0)
                .fold(f64::INFINITY, f64::min);
            let mut seasons = seasons.into_iter();
            seasons.find(|(error, _)| *error <= least * SAME_SEASON)?.1
        }
    };
    let seasonal = past.seasonal_error(&data, season, forecast.horizon)?;
    (seasonal < last_value(&data, &past).loss?).then_some(season)
}

fn last_value(data: &ValueWindows, past: &PastValues) -> Baseline {
    Baseline {
        name: "last value".into(),
        loss: data.error(|n, k| past.value(data, n, k, 0)),
    }
}

fn mean(train: &ValueWindows, data: &ValueWindows) -> Baseline {
    let mean = |k| {
        let known = (0..train.data.count).filter_map(|n| train.target(n, k));
        let (sum, count) = known.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
        sum / f64::from(count.max(1))
    };
    let means: Vec<f64> = (0..train.width).map(mean).collect();
    Baseline {
        name: "mean".into(),
        loss: data.error(|_, k| Some(means[k])),
    }
}

/// Predicts the value one season before; the fewest whole seasons if one is shorter than the
/// horizon.
fn seasonal(
    train: &ValueWindows,
    data: &ValueWindows,
    forecast: &Forecast,
    past: &PastValues,
) -> Baseline {
    let Forecast {
        horizon, season, ..
    } = forecast;
    let (horizon, steps) = (*horizon, train.data.steps.min(data.data.steps));
    if let Some(season) = season {
        return Baseline {
            name: format!("seasonal naive ({season} steps)"),
            loss: past.seasonal_error(data, *season, horizon),
        };
    }
    match past.best_season(train, steps, horizon) {
        Some(season) => Baseline {
            name: format!("seasonal naive ({season} steps, found)"),
            loss: past.seasonal_error(data, season, horizon),
        },
        None => Baseline {
            name: "seasonal naive".into(),
            loss: None,
        },
    }
}

/// Least squares without regularization on all values of a window; of several solutions the one
/// with the smallest norm. Skipped for windows of different lengths, inputs streamed from disk, and
/// windows of too many values.
fn regression(train: &ValueWindows, data: &ValueWindows) -> Result<Option<Baseline>> {
    let sizes = |windows: &ValueWindows| (windows.data.steps, windows.columns);
    let (steps, inputs) = sizes(train);
    let coefficients = 1 + steps.saturating_mul(inputs);
    let is_ragged = train.data.lengths.is_some() || data.data.lengths.is_some();
    let is_streamed = train.inputs.is_empty() || data.inputs.is_empty();
    if is_streamed
        || is_ragged
        || coefficients > MOST_COEFFICIENTS
        || sizes(data) != (steps, inputs)
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
    let predict = |n: usize, k: usize| {
        let terms = (0..coefficients).map(|column| data.row(n, column) * weights[(column, k)]);
        Some(terms.sum::<f64>())
    };
    Ok(Some(Baseline {
        name: if every == 1 {
            "linear regression".into()
        } else {
            format!("linear regression (on one window in {every})")
        },
        loss: data.error(predict),
    }))
}

/// Sequences of features with target values.
struct ValueWindows<'a> {
    data: &'a Dataset,
    /// Empty for inputs streamed from disk.
    inputs: &'a [f32],
    /// Inputs of a regression at each step.
    columns: usize,
    values: &'a [f32],
    /// K.
    width: usize,
    per_step: bool,
    loss: Loss,
}

impl ValueWindows<'_> {
    /// The last `differences` inputs of each step are left out of regressions.
    fn of(data: &Dataset, differences: usize) -> Option<ValueWindows<'_>> {
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
            columns: data.features.checked_sub(differences)?,
            values,
            width: *width,
            per_step: *per_step,
            loss: Loss::MeanSquaredError,
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
        let row = n * self.data.steps + value / self.columns;
        f64::from(self.inputs[row * self.data.features + value % self.columns])
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

    /// Returns the mean over sequences of the mean loss of `predict(n, k)`, as training has it;
    /// `None` if it is `None` for some sequence, or no target is known.
    fn error(&self, predict: impl Fn(usize, usize) -> Option<f64>) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0);
        for n in 0..self.data.count {
            let known = (0..self.width).filter_map(|k| Some((k, self.target(n, k)?)));
            let known: Vec<(usize, f64)> = known.collect();
            let mut losses = 0.0;
            for &(k, target) in &known {
                losses += self.loss.of_point(predict(n, k)?, target);
            }
            sum += losses / known.len().max(1) as f64;
            count += usize::from(!known.is_empty());
        }
        (count > 0).then(|| sum / count as f64)
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
            horizon: 1,
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
            horizon: 1,
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
            horizon: 5,
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
