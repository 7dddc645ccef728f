//! What answers without a network are worth, so that a network's can be judged: a forecast has to beat the last value, the
//! seasonal naive and a linear regression on the same window, and a class the most frequent one.

use faer::Mat;

use crate::data::{Dataset, Inputs, Targets};
use crate::error::{Error, Result};
use crate::kernels::IGNORE;

/// How the values that a forecast answers with stand to those that it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// `[K]`: the input that each of them is a later value of.
    pub inputs: Vec<usize>,
    /// How many steps later.
    pub horizon: usize,
    /// Steps of a season; where it is absent, the one that does best on the training split.
    pub season: Option<usize>,
}

/// What a simple answer is worth, at the last step of each sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    pub name: String,
    /// Mean squared error in the units of the network's own; `None` where a window is too short for it.
    pub loss: Option<f64>,
}

/// The most numbers of a window that a linear regression takes; its time grows with their square.
const MOST_COEFFICIENTS: usize = 2048;
/// The most multiply-adds of a regression; beyond, it sees windows at equal distances.
const MOST_WORK: f64 = 2e10;
/// Windows that are added to a regression at a time.
const BLOCK: usize = 1024;

/// The share of labelled outputs whose class is the most frequent one: what the best constant answer gets right. `None` where
/// there are no classes.
pub fn majority(data: &Dataset) -> Option<f64> {
    let Targets::Classes { classes, .. } = data.targets else {
        return None;
    };
    let mut counts = vec![0u64; classes];
    let labels = data.labels();
    let counted = labels.iter().filter(|&&label| label != IGNORE);
    counted.for_each(|&label| counts[label as usize] += 1);
    let all: u64 = counts.iter().sum();
    let largest = counts.into_iter().max().unwrap_or(0);
    Some(largest as f64 / all.max(1) as f64)
}

/// The errors on `data` of what needs no network, fitted to `train`: of a `forecast` the last value and the seasonal naive, else
/// the training split's mean; and linear regression. None where there are classes, or the inputs are tokens.
///
/// # Errors
/// [`Error::Failed`] where the regression's numbers cannot be decomposed.
pub fn of_values(
    train: &Dataset,
    data: &Dataset,
    forecast: Option<&Forecast>,
) -> Result<Vec<Baseline>> {
    let (Some(train), Some(data)) = (Windows::of(train), Windows::of(data)) else {
        return Ok(vec![]);
    };
    let mut baselines = vec![];
    match forecast {
        Some(forecast) => {
            baselines.push(Baseline {
                name: "last value".into(),
                loss: data.error(|n, k| {
                    data.input(n, data.length(n).checked_sub(1)?, forecast.inputs[k])
                }),
            });
            baselines.push(seasonal(&train, &data, forecast));
        }
        None => {
            let means: Vec<f64> = (0..train.width)
                .map(|k| {
                    let values = (0..train.data.count).map(|n| train.target(n, k));
                    values.sum::<f64>() / train.data.count as f64
                })
                .collect();
            baselines.push(Baseline {
                name: "mean".into(),
                loss: data.error(|_, k| Some(means[k])),
            });
        }
    }
    baselines.extend(regression(&train, &data)?);
    Ok(baselines)
}

/// The value of a season before, or of two or more where one is shorter than the horizon.
fn seasonal(train: &Windows, data: &Windows, forecast: &Forecast) -> Baseline {
    let Forecast {
        inputs,
        horizon,
        season,
    } = forecast;
    let (horizon, steps) = (*horizon, train.data.steps.min(data.data.steps));
    let error = |windows: &Windows, season: usize| {
        let back = season * horizon.div_ceil(season) - horizon;
        windows.error(|n, k| {
            let step = windows.length(n).checked_sub(1 + back)?;
            windows.input(n, step, inputs[k])
        })
    };
    match season {
        Some(season) => Baseline {
            name: format!("seasonal naive ({season} steps)"),
            loss: error(data, *season),
        },
        None => {
            // One of the horizon itself would be the last value.
            let seasons = (horizon + 1).max(2)..steps + horizon;
            let errors = seasons.filter_map(|season| Some((error(train, season)?, season)));
            match errors.min_by(|a, b| a.0.total_cmp(&b.0)) {
                Some((_, season)) => Baseline {
                    name: format!("seasonal naive ({season} steps, found)"),
                    loss: error(data, season),
                },
                None => Baseline {
                    name: "seasonal naive".into(),
                    loss: None,
                },
            }
        }
    }
}

/// Least squares without a ridge from all numbers of a window: the smallest coefficients of the best ones.
fn regression(train: &Windows, data: &Windows) -> Result<Option<Baseline>> {
    let sizes = |windows: &Windows| (windows.data.steps, windows.data.features);
    let (steps, features) = sizes(train);
    let coefficients = 1 + steps.saturating_mul(features);
    let ragged = train.data.lengths.is_some() || data.data.lengths.is_some();
    let stored = train.inputs.is_empty() || data.inputs.is_empty();
    if stored || ragged || coefficients > MOST_COEFFICIENTS || sizes(data) != (steps, features) {
        return Ok(None);
    }
    let (count, width) = (train.data.count, train.width);
    let columns = coefficients + width;
    let work = count as f64 * (columns * columns) as f64;
    let every = (work / MOST_WORK).ceil().max(1.0) as usize;
    let row = |windows: &Windows, n: usize, column: usize| match column.checked_sub(coefficients) {
        Some(k) => windows.target(n, k),
        None if column == 0 => 1.0,
        None => f64::from(windows.inputs[n * steps * features + column - 1]),
    };
    // The triangle of the windows so far stands for them: [X Y] = Q R, so |X b - Y| is |R_xx b - R_xy| and a rest.
    let chosen: Vec<usize> = (0..count).step_by(every).collect();
    let mut triangle = Mat::<f64>::zeros(0, columns);
    for block in chosen.chunks(BLOCK) {
        let above = triangle.nrows();
        let stacked = Mat::from_fn(above + block.len(), columns, |i, j| {
            match i.checked_sub(above) {
                None => triangle[(i, j)],
                Some(i) => row(train, block[i], j),
            }
        });
        triangle = stacked.qr().thin_R().to_owned();
    }
    let rows = triangle.nrows().min(coefficients);
    let svd = triangle.get(..rows, ..coefficients).thin_svd();
    let svd = svd.map_err(|error| {
        Error::Failed(format!(
            "the linear regression beside the model cannot be made: {error:?}"
        ))
    })?;
    let values = svd.S().column_vector();
    let negligible = values[0] * f64::EPSILON * count.max(coefficients) as f64;
    let answers = triangle.get(..rows, coefficients..);
    let projected = svd.U().transpose() * answers;
    let scaled = Mat::from_fn(projected.nrows(), width, |i, k| {
        match values[i] > negligible {
            true => projected[(i, k)] / values[i],
            false => 0.0,
        }
    });
    let weights = svd.V() * scaled;
    let answer = |n: usize, k: usize| {
        let terms = (0..coefficients).map(|column| row(data, n, column) * weights[(column, k)]);
        Some(terms.sum::<f64>())
    };
    Ok(Some(Baseline {
        name: match every {
            1 => "linear regression".into(),
            _ => format!("linear regression (on one window in {every})"),
        },
        loss: data.error(answer),
    }))
}

/// Sequences of numbers that are answered with values.
struct Windows<'a> {
    data: &'a Dataset,
    inputs: &'a [f32],
    values: &'a [f32],
    /// K.
    width: usize,
    per_step: bool,
}

impl Windows<'_> {
    fn of(data: &Dataset) -> Option<Windows<'_>> {
        let inputs: &[f32] = match &data.inputs {
            Inputs::Floats(inputs) => inputs,
            // Too many for a regression beside a model.
            Inputs::Stored(_) => &[],
            _ => return None,
        };
        let Targets::Values {
            values,
            width,
            per_step,
        } = &data.targets
        else {
            return None;
        };
        Some(Windows {
            data,
            inputs,
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

    fn input(&self, n: usize, step: usize, feature: usize) -> Option<f64> {
        let at = (n * self.data.steps + step) * self.data.features + feature;
        self.inputs.get(at).map(|&value| f64::from(value))
    }

    /// Value k to be answered with at the last step of sequence n.
    fn target(&self, n: usize, k: usize) -> f64 {
        let row = match self.per_step {
            true => n * self.data.steps + self.length(n).max(1) - 1,
            false => n,
        };
        f64::from(self.values[row * self.width + k])
    }

    /// The mean squared error of `answer(n, k)`; `None` where it has none for some sequence.
    fn error(&self, answer: impl Fn(usize, usize) -> Option<f64>) -> Option<f64> {
        let mut sum = 0.0;
        for n in 0..self.data.count {
            for k in 0..self.width {
                sum += (answer(n, k)? - self.target(n, k)).powi(2);
            }
        }
        Some(sum / (self.data.count * self.width) as f64)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Array3};

    use super::*;

    /// Windows of 6 of a series with a season of 4 that also rises, one value ahead.
    fn windows(count: usize, first: usize) -> Dataset {
        let value = |t: usize| [0.0, 3.0, 1.0, -2.0][t % 4] + 0.1 * t as f32;
        let inputs = Array3::from_shape_fn((count, 6, 1), |(n, t, _)| value(first + n + t));
        let targets = Array3::from_shape_fn((count, 6, 1), |(n, t, _)| value(first + n + t + 1));
        Dataset::new(inputs.view(), Targets::values_per_step(targets.view()))
            .expect("it makes sense")
    }

    #[test]
    fn a_season_is_found_and_lines_are_straight() {
        let mut forecast = Forecast {
            inputs: vec![0],
            horizon: 1,
            season: None,
        };
        let baselines = |forecast: &Forecast| {
            of_values(&windows(40, 0), &windows(20, 40), Some(forecast)).expect("it can be made")
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
        // Steps of 3.1, -1.9, -2.9 and 2.1.
        let last = found[0].loss.expect("there is one");
        assert!(
            (last - (3.1f64.powi(2) + 1.9f64.powi(2) + 2.9f64.powi(2) + 2.1f64.powi(2)) / 4.0)
                .abs()
                < 1e-4
        );
        // What it has risen by in a season.
        assert!((found[1].loss.expect("there is one") - 0.16).abs() < 1e-4);
        // x(t) = x(t - 4) + x(t - 1) - x(t - 5), and more such; the window's numbers depend on each other.
        assert!(found[2].loss.expect("there is one") < 1e-8, "{found:?}");

        forecast.season = Some(3);
        assert!(baselines(&forecast)[1].loss.expect("there is one") > last / 2.0);
        forecast.season = Some(9);
        assert_eq!(baselines(&forecast)[1].loss, None);
    }

    #[test]
    fn a_short_season_is_taken_several_times() {
        let mut train = windows(40, 0);
        // Five steps ahead: the last season that is known ends three steps before the end of the window.
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
        let found = of_values(&train, &train, Some(&forecast)).expect("it can be made");
        assert!(
            (found[1].loss.expect("there is one") - 0.64).abs() < 1e-3,
            "{found:?}"
        );
    }

    #[test]
    fn answers_that_are_no_later_inputs_have_the_mean() {
        let data = |shift: f32| {
            let inputs =
                Array3::from_shape_fn((30, 2, 1), |(n, t, _)| ((n * 7 + t * 5) % 11) as f32);
            let targets = Array2::from_shape_fn((30, 1), |(n, _)| {
                2.0 * inputs[[n, 0, 0]] - inputs[[n, 1, 0]] + shift
            });
            Dataset::new(inputs.view(), Targets::values(targets.view())).expect("it makes sense")
        };
        let found = of_values(&data(0.0), &data(1.0), None).expect("it can be made");
        assert_eq!(found[0].name, "mean");
        assert!((found[1].loss.expect("there is one") - 1.0).abs() < 1e-6);
        assert_eq!(majority(&data(0.0)), None);
    }

    #[test]
    fn the_most_frequent_class_is_counted_where_there_is_one() {
        let inputs = Array3::zeros((4, 3, 1));
        let labels = Array1::from(vec![2, 0, 2, 1]);
        let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 3))
            .expect("it makes sense");
        assert_eq!(majority(&data), Some(0.5));
        let labels = Array2::from_shape_vec((4, 3), vec![0, 1, 1, 0, 1, 1, 0, IGNORE, 1, 0, 1, 1])
            .expect("as many");
        let data = Dataset::new(inputs.view(), Targets::classes_per_step(labels.view(), 2));
        let data = data
            .and_then(|data| data.with_lengths(&[1, 1, 1, 3]))
            .expect("it makes sense");
        assert_eq!(majority(&data), Some(4.0 / 6.0));
        assert_eq!(of_values(&data, &data, None).expect("there are none"), []);
    }
}
