//! The choices of a recipe for a forecast: its season, the differences that are inputs, and whether
//! the network predicts what a linear regression leaves. They are made on the validation split.

use crate::data::csv::{Csv, FileRows};
use crate::data::preparation::Normal;
use crate::data::series::Series;
use crate::data::{DataSource, Dataset, Splits, Targets, baselines};
use crate::error::Result;
use crate::kernels::MISSING;
use crate::messages::named;

/// The numbers of consecutive lags, besides those of a whole window, of which the regression with
/// the smallest error is chosen.
const CONSECUTIVE: [usize; 11] = [0, 1, 2, 3, 5, 8, 12, 17, 24, 35, 48];

/// The most windows, about, of each split by which regressions are compared.
const COMPARED_WINDOWS: usize = 4000;
/// More lags, or a regression, are chosen if the squared error falls below this share.
const CLEARLY_LOWER: f64 = 0.99;

/// Data whose targets are later values of inputs.
pub(super) trait Forecasting: DataSource + Clone {
    /// T: rows of a window; `None` for whole series.
    fn window(&self) -> Option<usize>;
    /// Rows from an input to its target, the last of several.
    fn last_ahead(&self) -> usize;
    /// Makes the differences of these lags inputs. The first `context` rows of a window have no
    /// targets; `linear` is `residual_on_linear`.
    fn set_differences(&mut self, lags: Vec<usize>, context: usize, linear: bool);
    /// Takes one window in `stride`, where data can.
    fn thin(&mut self, stride: usize);
    /// Reads the rows of the files, which all choices have in common; `None` without files.
    fn read_once(&self) -> Result<Option<FileRows>>;
    /// Loads the data of rows that have been read.
    fn load_read(&self, rows: &FileRows, seed: u64) -> Result<Splits>;
    /// Fits a regression to the training split alone, so that validation data can judge it.
    fn hide_validation(&mut self);
}

impl Forecasting for Series {
    fn window(&self) -> Option<usize> {
        Some(self.steps)
    }

    fn last_ahead(&self) -> usize {
        self.horizon.last()
    }

    fn set_differences(&mut self, lags: Vec<usize>, context: usize, linear: bool) {
        (self.differences, self.context, self.residual_on_linear) = (lags, context, linear);
    }

    fn thin(&mut self, _stride: usize) {}

    fn read_once(&self) -> Result<Option<FileRows>> {
        Ok(self.read_rows()?.map(FileRows::from))
    }

    fn load_read(&self, rows: &FileRows, seed: u64) -> Result<Splits> {
        self.prepare_rows(rows.table.clone(), seed, None)
    }

    fn hide_validation(&mut self) {
        self.linear_of_training = true;
    }
}

impl Forecasting for Csv {
    fn window(&self) -> Option<usize> {
        self.steps
    }

    fn last_ahead(&self) -> usize {
        self.horizon.last()
    }

    fn set_differences(&mut self, lags: Vec<usize>, context: usize, linear: bool) {
        let context = if self.every_step { context } else { 0 };
        (self.differences, self.context, self.residual_on_linear) = (lags, context, linear);
    }

    fn thin(&mut self, stride: usize) {
        self.stride *= stride;
    }

    fn read_once(&self) -> Result<Option<FileRows>> {
        self.read_tables(None).map(Some)
    }

    fn load_read(&self, rows: &FileRows, seed: u64) -> Result<Splits> {
        self.prepare(rows.clone(), seed, None)
    }

    fn hide_validation(&mut self) {
        self.linear_of_training = true;
    }
}

/// Sets the differences of data with a validation split. Returns sentences on what was chosen.
pub(super) fn choose(data: &mut impl Forecasting, seed: u64) -> Vec<String> {
    let read = data.read_once().ok().flatten();
    let source = RowSource {
        read: read.as_ref(),
        seed,
    };
    let splits = source.load(data);
    let season = splits.as_ref().and_then(|splits| season(data, splits));
    let of_season = of_season(season, data.last_ahead());
    let mut sentences: Vec<String> = season.map(season_sentence).into_iter().collect();
    let windows = splits.map_or(0, |splits| splits.train.count);
    if let Some((lags, error, last_value)) = linear(data, windows, &of_season, source) {
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

/// Where the data of all choices come from.
#[derive(Clone, Copy)]
struct RowSource<'a> {
    /// The rows of the files, if there are files.
    read: Option<&'a FileRows>,
    seed: u64,
}

impl RowSource<'_> {
    fn load(self, data: &impl Forecasting) -> Option<Splits> {
        let splits = match self.read {
            Some(rows) => data.load_read(rows, self.seed),
            None => data.load(self.seed, None),
        };
        splits.ok()
    }
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

/// Returns the mean squared error at the last steps of the windows of the validation split, in
/// deviations of the inputs that the targets are later values of: of the regression, or of the
/// last value.
fn error(data: &impl Forecasting, lags: &[usize], linear: bool, source: RowSource) -> Option<f64> {
    let mut tried = data.clone();
    tried.set_differences(lags.to_vec(), longest(lags), linear);
    tried.hide_validation();
    let splits = source.load(&tried)?;
    let (validation, preparation) = (splits.validation?, splits.preparation);
    let normal = |normals: &[Normal], k: usize| normals.get(k).copied().unwrap_or(Normal::IDENTITY);
    let squares: Vec<f64> = last_targets(&validation)?
        .filter(|(_, value)| *value != MISSING)
        .map(|(k, value)| {
            let Normal { mean, deviation } = normal(&preparation.targets, k);
            // The mean is the constant of the regression.
            let mean = if linear { 0.0 } else { mean };
            let input = normal(&preparation.inputs, preparation.residuals[k]);
            let error = f64::from(value) * deviation + mean;
            (error / input.deviation).powi(2)
        })
        .collect();
    let sum: f64 = squares.iter().sum();
    (!squares.is_empty()).then(|| sum / squares.len() as f64)
}

/// The targets of the last step of each sequence, with the index of their column.
fn last_targets(data: &Dataset) -> Option<impl Iterator<Item = (usize, f32)>> {
    let Targets::Values {
        values,
        width,
        per_step,
    } = &data.targets
    else {
        return None;
    };
    let rows = if *per_step { data.steps } else { 1 };
    let sequences = values.chunks(rows * width);
    Some(
        sequences
            .flat_map(move |values| values[values.len() - width..].iter().copied().enumerate()),
    )
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

/// Returns the lags of the linear regression with the smallest mean squared error on the validation
/// split, that error and the last value's, in squared deviations; `None` if the last value is about
/// as good. `windows` are those of the training split.
fn linear(
    data: &impl Forecasting,
    windows: usize,
    of_season: &[usize],
    source: RowSource,
) -> Option<(Vec<usize>, f64, f64)> {
    let steps = data.window()?;
    let mut data = data.clone();
    data.thin(windows.div_ceil(COMPARED_WINDOWS).max(1));
    let data = &data;
    let mut best: Option<(Vec<usize>, f64)> = None;
    let counts = || CONSECUTIVE.into_iter().chain(steps.checked_sub(1));
    let consecutive = counts().map(|count| sorted(vec![], 1..=count));
    let with_season = counts().map(|count| sorted(of_season.to_vec(), 1..=count));
    let with_season = with_season.filter(|_| !of_season.is_empty());
    for lags in consecutive.chain(with_season) {
        if longest(&lags) >= steps {
            continue;
        }
        let Some(error) = error(data, &lags, true, source) else {
            continue;
        };
        if best
            .as_ref()
            .is_none_or(|(_, lowest)| error < lowest * CLEARLY_LOWER)
        {
            best = Some((lags, error));
        }
    }
    let (lags, lowest) = best?;
    let last_value = error(data, &[], false, source)?;
    (lowest < last_value * CLEARLY_LOWER).then_some((lags, lowest, last_value))
}
