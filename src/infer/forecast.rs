//! The continuation of a series in the units of the data, with intervals where they are known.

use ndarray::ArrayView3;

use super::dataset::wrong_shape;
use super::generate::{Context, diverges_at, generate};
use super::intervals::Band;
use super::outputs::{interpret, of_step};
use super::predict::Predictor;
use crate::backend::OpenDevice;
use crate::data::source::ForecastStart;
use crate::error::{Error, Result};
use crate::model::Model;

/// A series and its continuation, in the units of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesForecast {
    /// The names of the K columns.
    pub columns: Vec<String>,
    /// `[R, K]`: the values before the continuation; empty if the columns are no inputs.
    pub history: Vec<f64>,
    /// `[N, K]`
    pub values: Vec<f64>,
    /// The intervals of the first steps, where the network predicts intervals.
    pub band: Option<ForecastBand>,
    /// The step of `values`, from 0, at which they are ten times beyond anything in the seed.
    pub diverges_at: Option<usize>,
}

/// The intervals of a forecast's first steps: those that the network predicts from known values
/// only. An interval of a later step would have to include the uncertainty of the predictions that
/// it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct ForecastBand {
    /// As in a legend: `80 % interval`.
    pub name: String,
    /// `[S, K]`: the lower and the upper end, of at most N steps.
    pub ends: Vec<(f64, f64)>,
}

/// Continues a series by `count` steps. A network of one step ahead reads its own predictions, as
/// [`generate`] does. A network of several steps ahead predicts these at once from the last window,
/// whatever `context` is, and then the next ones from a window that has its predictions.
///
/// # Errors
/// Those of [`generate`] and of [`ForecastStart::known`]; [`Error::Usage`] for a model of several
/// heads; [`Error::Data`] for more steps than a
/// network of several steps ahead predicts at once, unless it predicts all of its own next inputs.
pub fn forecast(
    model: &Model,
    start: &ForecastStart,
    count: usize,
    context: Context,
    device: &OpenDevice,
) -> Result<SeriesForecast> {
    model.require_one_head("a series is continued by one")?;
    let steps = model.recipe.data.source().steps_ahead();
    if !start.is_continued && count > steps {
        return Err(Error::data(format!(
            "{count} steps are to be predicted, and the model predicts {steps} at once; it also \
             reads data.future, data.future_calendar or data.categories, which its own predictions \
             do not have: request at most {steps} steps, or train a model of more steps with \
             data.horizon"
        )));
    }
    let known = if start.is_continued {
        start.known(count)?
    } else {
        vec![]
    };
    let direct = Direct {
        model,
        start,
        known: &known,
        count,
    };
    let (values, diverges, ends) = if steps > 1 || !start.is_continued {
        let mut rows = start.values.clone();
        let (values, ends) = direct.values(&mut rows, device)?;
        let generated = rows.split_off(start.values.len().min(rows.len()));
        let diverges = diverges_at(&start.values, &generated);
        (values, diverges, ends)
    } else {
        let generated = generate(model, &start.values, &known, count, context, device)?;
        let restored = direct.restored(&generated);
        let (_, ends) = direct.block(&start.values, device)?;
        (restored, diverges_at(&start.values, &generated), ends)
    };
    let width = start.columns.len();
    let band = Band::of(&model.network.head).filter(|_| count > 0);
    Ok(SeriesForecast {
        columns: start.columns.clone(),
        history: direct.restored(&start.history),
        values,
        band: band.map(|band| ForecastBand {
            name: band.name(),
            ends: ends.into_iter().take(count * width).collect(),
        }),
        diverges_at: diverges.map(|value| value / direct.inputs()),
    })
}

/// The values and the ends of the intervals of some steps, `[S, K]` each; no ends without
/// intervals.
type Block = (Vec<f64>, Vec<(f64, f64)>);

/// The prediction of several steps at once.
struct Direct<'a> {
    model: &'a Model,
    start: &'a ForecastStart,
    /// `[N, C]`: the inputs of the next steps that are known ahead.
    known: &'a [f32],
    count: usize,
}

impl Direct<'_> {
    /// I - D: the inputs of a step without differences.
    fn inputs(&self) -> usize {
        self.model.network.input_size - self.model.preparation.differences.len()
    }

    /// The columns of prepared inputs `[R, I - D]` in the units of the data; nothing if one of them
    /// is no input.
    fn restored(&self, rows: &[f32]) -> Vec<f64> {
        let Some(columns) = &self.start.column_inputs else {
            return vec![];
        };
        let preparation = &self.model.preparation;
        let restored = rows.chunks(self.inputs()).flat_map(|row| {
            let each = columns.iter();
            each.map(|&input| preparation.restore_input(input, row[input]))
        });
        restored.collect()
    }

    /// Predicts all steps, block by block; appends the prepared inputs that follow from them to
    /// `rows`. The ends are those of the first block.
    fn values(&self, rows: &mut Vec<f32>, device: &OpenDevice) -> Result<Block> {
        let (mut values, ends) = self.block(rows, device)?;
        let (columns, mut read) = (self.start.columns.len(), 0);
        loop {
            let done = values.len() / columns;
            if self.is_closed() {
                self.extend(rows, &values[read * columns..], read);
                read = done;
            }
            if done >= self.count {
                values.truncate(self.count * columns);
                return Ok((values, ends));
            }
            if !self.is_closed() {
                return Err(Error::data(format!(
                    "{} steps are to be predicted, and the model predicts {done} at once; for more, \
                     data.targets must be the same as data.inputs, so that it predicts what it \
                     reads next: request at most {done} steps",
                    self.count
                )));
            }
            let (more, _) = self.block(rows, device)?;
            values.extend(more);
        }
    }

    /// Whether the network predicts all inputs of the next steps that are not known ahead.
    fn is_closed(&self) -> bool {
        let known = self.known.len() / self.count.max(1);
        let columns = self.start.columns.len();
        let in_order = (0..columns).collect::<Vec<_>>();
        self.start.column_inputs.as_deref() == Some(&in_order[..])
            && columns + known == self.inputs()
    }

    /// Appends the inputs of the steps after the first `done`, which have these values.
    fn extend(&self, rows: &mut Vec<f32>, values: &[f64], done: usize) {
        let (columns, known) = (
            self.start.columns.len(),
            self.known.len() / self.count.max(1),
        );
        let steps = values.chunks(columns).take(self.count - done);
        for (n, step) in steps.enumerate() {
            let prepare =
                |(k, &value): (usize, &f64)| self.model.preparation.prepare_input(k, value);
            rows.extend(step.iter().enumerate().map(prepare));
            rows.extend(&self.known[(done + n) * known..(done + n + 1) * known]);
        }
    }

    /// Predicts the next steps from the last window of prepared inputs.
    fn block(&self, rows: &[f32], device: &OpenDevice) -> Result<Block> {
        let (model, inputs) = (self.model, self.inputs());
        let steps = (rows.len() / inputs).min(self.start.steps);
        let window = &rows[rows.len() - steps * inputs..];
        let read = model.preparation.with_differences(window, inputs);
        let features = model.network.input_size;
        let mut predictor = Predictor::load(model, steps, 1, device)?;
        let view = ArrayView3::from_shape((1, steps, features), &read).map_err(wrong_shape)?;
        let prediction = predictor.predict_prepared(view, None, None, &|n| n)?;
        let head = &model.network.head;
        let outputs: Vec<f32> = prediction.outputs.iter().copied().collect();
        let last = &outputs[outputs.len() - head.size..];
        let of_outputs = model.preparation.of_outputs(head);
        let mut restored = of_outputs.restore(last, &read[read.len() - features..]);
        interpret(head, &mut restored);
        let ahead = model.recipe.data.source().steps_ahead();
        let columns = head.targets() / ahead;
        let point = head.loss.point_output() * columns;
        let band = Band::of(head);
        let (mut values, mut ends) = (vec![], vec![]);
        for s in 0..ahead {
            let step = of_step(head, &restored, ahead, s);
            values.extend(&step[point..point + columns]);
            if let Some(band) = band {
                ends.extend((0..columns).map(|k| band.ends(&step, k, columns)));
            }
        }
        Ok((values, ends))
    }
}
