//! Predictions for a data set.

use ndarray::{Array3, ArrayD, ArrayView2, ArrayView3, Axis, Ix3, ShapeError, s};

use super::outputs::interpret;
use super::predict::{Prediction, Predictor, Sequences};
use crate::backend::OpenDevice;
use crate::data::{Dataset, Inputs};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::Reads;

/// The steps of a sequence that are predicted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictedSteps {
    /// Every step; the model's head must read every step.
    Every,
    /// The last valid step.
    Last,
}

/// Predicts for every sequence of `data`, in batches. Returns `[N, T or 1, K]`: probabilities of a
/// model that classifies, has labels or lists of labels, else values in the units of the data, of
/// which quantiles are sorted and logarithms of variances are standard deviations. Padded steps are
/// zeros before they are converted to these units.
///
/// # Errors
/// [`Error::Usage`] for every step of a model whose head reads the last one; those of
/// [`Predictor::new`] and [`Predictor::predict`].
pub fn predict_dataset(
    model: &Model,
    data: &Dataset,
    steps: PredictedSteps,
    batch: usize,
    device: &OpenDevice,
) -> Result<Array3<f64>> {
    let reads_every = model.network.head.reads == Reads::Every;
    let every = steps == PredictedSteps::Every;
    if every && !reads_every {
        return Err(Error::usage(
            "the model's head reads only the last step, so it cannot predict for every step",
        ));
    }
    let batch = batch.min(data.count).max(1);
    let mut predictor = Predictor::load(model, data.steps, batch, device)?;
    let rows = if every { data.steps } else { 1 };
    let head = &model.network.head;
    let preparation = model.preparation.of_outputs(head);
    let mut outputs = Array3::zeros((data.count, rows, model.network.head.size));
    // Batch by batch, since a prediction has all hidden values too.
    for first in (0..data.count).step_by(batch) {
        let sequences: Vec<usize> = (first..(first + batch).min(data.count)).collect();
        let part = data.read(&sequences)?;
        let lengths = part.lengths.as_ref();
        let lengths = lengths.map(|all| all.iter().map(|&length| length as usize).collect());
        let predicted = predict_batch(model, &mut predictor, &part, lengths.as_deref(), first)?;
        for n in 0..part.count {
            let length: Option<usize> = lengths.as_ref().map(|lengths: &Vec<usize>| lengths[n]);
            let last = length.unwrap_or(data.steps).max(1) - 1;
            let steps = if every { 0..data.steps } else { last..last + 1 };
            let own = if reads_every && !every {
                predicted.slice(s![n, last..=last, ..])
            } else {
                predicted.slice(s![n, .., ..])
            };
            let own: Vec<f32> = own.iter().copied().collect();
            let mut restored = preparation.restore(&own, part.input_rows(n, steps));
            interpret(head, &mut restored);
            let mut rows = outputs.slice_mut(s![first + n, .., ..]);
            let rows = rows.iter_mut().zip(restored);
            rows.for_each(|(output, value)| *output = value);
        }
    }
    Ok(outputs)
}

/// `[n, T or 1, K]`: probabilities or values of a batch that begins with sequence `first`.
pub(super) fn predict_batch(
    model: &Model,
    predictor: &mut Predictor,
    batch: &Dataset,
    lengths: Option<&[usize]>,
    first: usize,
) -> Result<Array3<f32>> {
    let values: Vec<f32>;
    let shape = (batch.count, batch.steps, batch.features);
    let sequences = match &batch.inputs {
        Inputs::Floats(values) => values_of(values, shape)?,
        Inputs::Stored(stored) => {
            values = stored.read(&(0..batch.count).collect::<Vec<_>>())?;
            values_of(&values, shape)?
        }
        Inputs::Bytes {
            values: bytes,
            scale,
        } => {
            values = bytes.iter().map(|&byte| f32::from(byte) * scale).collect();
            values_of(&values, shape)?
        }
        Inputs::Tokens { values, .. } => {
            let shape = (batch.count, batch.steps);
            Sequences::Tokens(ArrayView2::from_shape(shape, values).map_err(wrong_shape)?)
        }
    };
    let prediction = predictor.predict_prepared(sequences, lengths, None, &|n| first + n)?;
    with_steps(probabilities_or_values(model, &prediction))
}

fn values_of(values: &[f32], shape: (usize, usize, usize)) -> Result<Sequences<'_>> {
    let values = ArrayView3::from_shape(shape, values).map_err(wrong_shape)?;
    Ok(Sequences::Values(values))
}

/// The probabilities of a model that classifies, has labels or lists of labels, else the values.
pub(super) fn probabilities_or_values(model: &Model, prediction: &Prediction) -> ArrayD<f32> {
    let loss = &model.network.head.loss;
    if loss.takes_classes() || loss.takes_labels() || loss.takes_lists() {
        prediction.probabilities()
    } else {
        prediction.outputs.clone()
    }
}

/// `[N, T, K]`, where T is 1 for one output for each sequence.
fn with_steps(outputs: ArrayD<f32>) -> Result<Array3<f32>> {
    let outputs = match outputs.ndim() {
        2 => outputs.insert_axis(Axis(1)),
        _ => outputs,
    };
    outputs.into_dimensionality::<Ix3>().map_err(wrong_shape)
}

pub(super) fn wrong_shape(error: ShapeError) -> Error {
    Error::Failed(error.to_string())
}
