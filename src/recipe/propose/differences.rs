//! The choices of a recipe for a forecast: its season, the differences that are inputs, and whether
//! the network predicts what a linear regression leaves. They are made on the validation split.

use crate::data::csv::Csv;
use crate::data::preparation::{Normal, Preparation};
use crate::data::series::Series;
use crate::data::{DataSource, Splits, baselines};
use crate::messages::named;

/// The numbers of consecutive lags, besides those of a whole window, of which the regression with
/// one with about the smallest error is chosen.
const CONSECUTIVE: [usize; 11] = [0, 1, 2, 3, 5, 8, 12, 17, 24, 35, 48];

/// The most windows, about, of each split by which regressions are compared.
const COMPARED_WINDOWS: usize = 4000;
/// A squared error is clearly lower below this share of another.
const CLEARLY_LOWER: f64 = 0.99;

/// Data whose targets are later values of inputs.
pub(super) trait Forecasting: DataSource + Clone {
    /// T: rows of a window; `None` for whole series.
    fn window(&self) -> Option<usize>;
    /// Rows from an input to its target.
    fn horizon(&self) -> usize;
    /// Makes the differences of these lags inputs. The first `context` rows of a window have no
    /// targets; `linear` is `residual_on_linear`.
    fn set_differences(&mut self, lags: Vec<usize>, context: usize, linear: bool);
    /// Takes one window in `stride`, where data can.
    fn thin(&mut self, stride: usize);
}

impl Forecasting for Series {
    fn window(&self) -> Option<usize> {
        Some(self.steps)
    }

    fn horizon(&self) -> usize {
        1
    }

    fn set_differences(&mut self, lags: Vec<usize>, context: usize, linear: bool) {
        (self.differences, self.context, self.residual_on_linear) = (lags, context, linear);
    }

    fn thin(&mut self, _stride: usize) {}
}

impl Forecasting for Csv {
    fn window(&self) -> Option<usize> {
        self.steps
    }

    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_differences(&mut self, lags: Vec<usize>, context: usize, linear: bool) {
        let context = if self.every_step { context } else { 0 };
        (self.differences, self.context, self.residual_on_linear) = (lags, context, linear);
    }

    fn thin(&mut self, stride: usize) {
        self.stride *= stride;
    }
}

/// Sets the differences of data with a validation split. Returns sentences on what was chosen.
pub(super) fn choose(data: &mut impl Forecasting, seed: u64) -> Vec<String> {
    let splits = data.load(seed, None).ok();
    let season = splits.as_ref().and_then(|splits| season(data, splits));
    let of_season = of_season(season, data.horizon());
    let mut sentences: Vec<String> = season.map(season_sentence).into_iter().collect();
    let windows = splits.map_or(0, |splits| splits.train.count);
    if let Some((lags, error, last_value)) = linear(data, windows, &of_season, seed) {
        sentences.push(format!(
            "on the validation split, a linear regression on the last value{} has the error {:.4}, \
             the last value {:.4} (in deviations): the network predicts what the regression leaves",
            differences_phrase(&lags),
            error.sqrt(),
            last_value.sqrt()
        ));
        let context = longest(&lags);
        data.set_differences(lags, context, true);
        return sentences;
    }
    let context = data
        .window()
        .and_then(|steps| season.filter(|&season| season < steps));
    data.set_differences(sorted(of_season, [1]), context.unwrap_or(0), false);
    sentences
}

/// Returns the season of a forecast, if on the validation split the value one season before is a
/// better forecast than the last value.
fn season(data: &impl Forecasting, splits: &Splits) -> Option<usize> {
    let (validation, forecast) = (splits.validation.as_deref()?, data.forecast()?);
    baselines::useful_season(&splits.train, validation, &forecast, &splits.preparation)
}

/// Returns the lags of the seasonal naive forecast and of its last error.
fn of_season(season: Option<usize>, horizon: usize) -> Vec<usize> {
    let lags = season.map(|season| [season.saturating_sub(horizon), season]);
    lags.into_iter().flatten().filter(|&lag| lag > 0).collect()
}

fn sorted(lags: Vec<usize>, more: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut lags = lags;
    lags.extend(more);
    lags.sort_unstable();
    lags.dedup();
    lags
}

fn longest(lags: &[usize]) -> usize {
    lags.iter().copied().max().unwrap_or(0)
}

fn season_sentence(season: usize) -> String {
    format!(
        "the values repeat after {season} steps: on the validation split, the value one season \
         before is a better forecast than the last value"
    )
}

/// Names ascending lags, if there are any; those that follow each other as a range.
fn differences_phrase(lags: &[usize]) -> String {
    if lags.is_empty() {
        return String::new();
    }
    let runs = lags.chunk_by(|a, b| a + 1 == *b);
    let names = runs.map(|run| match run {
        [one] => one.to_string(),
        _ => format!("{} to {}", run[0], run[run.len() - 1]),
    });
    let names = named(&names.collect::<Vec<_>>());
    format!(" and its differences from {names} rows before")
}

/// Returns the fewest lags of which the linear regression has about the smallest mean squared error
/// on the validation split, that error and the last value's, in squared deviations; `None` if the
/// last value is about as good. `windows` are those of the training split.
fn linear(
    data: &impl Forecasting,
    windows: usize,
    of_season: &[usize],
    seed: u64,
) -> Option<(Vec<usize>, f64, f64)> {
    let steps = data.window()?;
    let compared = Compared::load(data, steps, windows, seed)?;
    let counts = || CONSECUTIVE.into_iter().chain(steps.checked_sub(1));
    let consecutive = counts().map(|count| sorted(vec![], 1..=count));
    let with_season = counts().map(|count| sorted(of_season.to_vec(), 1..=count));
    let with_season = with_season.filter(|_| !of_season.is_empty());
    let mut sets: Vec<Vec<usize>> = consecutive.chain(with_season).collect();
    sets.retain(|lags| longest(lags) < steps);
    sets.sort_by_key(Vec::len);
    let regression = |lags: Vec<usize>| Some((compared.regression(&lags)?, lags));
    let regressions: Vec<(Vec<f64>, Vec<usize>)> =
        sets.into_iter().filter_map(regression).collect();
    let best = regressions
        .iter()
        .min_by(|a, b| mean(&a.0).total_cmp(&mean(&b.0)))?;
    let mut about_best = regressions.iter().filter(|each| is_about(&each.0, &best.0));
    let (squares, lags) = about_best.next()?;
    let (error, last_value) = (mean(squares), mean(&compared.last_value()?));
    (error < last_value * CLEARLY_LOWER).then(|| (lags.clone(), error, last_value))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns whether the mean of squared errors is above that of the best ones of the same targets by
/// at most a hundredth, or by at most the standard error of the difference (the rule of one
/// standard error of Breiman et al. 1984).
fn is_about(squares: &[f64], best: &[f64]) -> bool {
    let differences: Vec<f64> = squares.iter().zip(best).map(|(a, b)| a - b).collect();
    let (count, above) = (differences.len() as f64, mean(&differences));
    let variance = differences.iter().map(|each| (each - above).powi(2));
    let standard_error = (variance.sum::<f64>() / (count * (count - 1.0).max(1.0))).sqrt();
    above <= standard_error.max(mean(best) * (1.0 - CLEARLY_LOWER))
}

/// Windows of the training and validation splits, whose targets are differences from the last
/// value, with the differences of all lags as inputs.
struct Compared {
    splits: Splits,
    /// `[K]`: the deviation of a target's difference, in deviations of the value.
    units: Vec<f64>,
}

impl Compared {
    /// Loads about [`COMPARED_WINDOWS`] of the `windows` of the training split.
    fn load(data: &impl Forecasting, steps: usize, windows: usize, seed: u64) -> Option<Compared> {
        let mut data = data.clone();
        data.thin(windows.div_ceil(COMPARED_WINDOWS).max(1));
        data.set_differences((1..steps).collect(), 0, false);
        let splits = data.load(seed, None).ok()?;
        let Preparation {
            inputs,
            targets,
            residuals,
            ..
        } = &splits.preparation;
        let deviation = |normals: &[Normal], k: usize| normals.get(k).map_or(1.0, |n| n.deviation);
        let pairs = residuals.iter().enumerate();
        let units = pairs.map(|(k, &input)| deviation(targets, k) / deviation(inputs, input));
        let units = units.collect();
        Some(Compared { splits, units })
    }

    /// Returns the squared errors on the validation split of a regression on the inputs of the last
    /// step and the differences of these lags, which is fitted to the training split.
    fn regression(&self, lags: &[usize]) -> Option<Vec<f64>> {
        let differences = &self.splits.preparation.differences;
        let values = self.splits.train.features - differences.len();
        let of_lags = |at: &usize| lags.contains(&differences[*at].lag);
        let columns = (0..differences.len()).filter(of_lags).map(|at| values + at);
        let columns: Vec<usize> = (0..values).chain(columns).collect();
        let (train, validation) = (&self.splits.train, self.splits.validation.as_deref()?);
        baselines::of_last_step(train, validation, &columns, &self.units)
    }

    /// Returns the squared errors on the validation split of the last value.
    fn last_value(&self) -> Option<Vec<f64>> {
        // A change of 0, as a network would output it.
        let changes = self.splits.preparation.targets.iter();
        let unchanged: Vec<f64> = changes.map(|n| -n.mean / n.deviation).collect();
        baselines::of_constant(self.splits.validation.as_deref()?, &unchanged, &self.units)
    }
}
