//! The predictions of a model for a split of its data, sequence by sequence.

mod classes;
mod lists;
mod picture;
mod values;

use std::borrow::Cow;

use ndarray::{Array3, ArrayView2, ArrayView3, Axis, Ix3, ShapeError};

use crate::backend::OpenDevice;
use crate::data::source::SequenceTimes;
use crate::data::{Dataset, Inputs, Split, Targets};
use crate::error::{Error, Result};
use crate::infer::predict::Predictor;
use crate::metrics::OutputMetrics;
use crate::model::Model;
use crate::train::output_metrics::OutputCollector;

use classes::ClassCollector;
pub use classes::{ClassPredictions, Misclassified};
use lists::ListExamples;
pub use lists::{ListPredictions, PredictedList};
pub use picture::SequencePicture;
use values::ValueCollector;
pub use values::{ExampleSequence, PredictedBand, ValuePredictions};

/// The largest number of time steps, and of sequences, that are predicted.
const MOST_STEPS: usize = 1 << 20;
const MOST_SEQUENCES: usize = 20_000;
/// The largest number of time steps, and of sequences, of a batch.
const BATCH_STEPS: usize = 1 << 14;
const BATCH_SEQUENCES: usize = 512;

/// The predictions of a model for sequences of a split.
#[derive(Debug, Clone)]
pub struct SplitPredictions {
    pub split: Split,
    /// Number of predicted sequences.
    pub predicted: usize,
    /// Number of sequences in the split.
    pub of: usize,
    pub predictions: Predictions,
    /// Of the predicted sequences; `None` for texts and for very many classes.
    pub metrics: Option<OutputMetrics>,
    /// The metrics that are not defined, and why, one clause each.
    pub undefined: Vec<String>,
}

/// Predicted classes or values.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Predictions {
    Classes(ClassPredictions),
    Values(ValuePredictions),
    Lists(ListPredictions),
}

/// Some sequences of a split, and the predictions for them.
struct PredictedBatch<'a> {
    data: Dataset,
    /// The indices in the split.
    sequences: &'a [usize],
    /// Logits or values: `[N, T, K]` if the head reads every step, else `[N, 1, K]`.
    outputs: Array3<f32>,
}

impl SplitPredictions {
    /// Predicts the sequences of `data`; of very many, as many as take a few seconds: the last ones
    /// if one sequence follows another `in_time`, else sequences at equal distances. `train` is the
    /// training split, by which a forecast is scaled.
    ///
    /// # Errors
    /// [`Error::Data`] if the shapes of the data are not those of the model; errors of the device.
    pub fn new(
        model: &Model,
        data: &Dataset,
        train: &Dataset,
        split: Split,
        device: &OpenDevice,
    ) -> Result<SplitPredictions> {
        check_shapes(model, data)?;
        let in_time = model.recipe.data.source().is_in_time_order();
        let mut metrics = OutputCollector::new(model, data, Some(train));
        let count = (MOST_STEPS / data.steps)
            .clamp(1, MOST_SEQUENCES)
            .min(data.count);
        let sequences: Vec<usize> = if in_time {
            (data.count - count..data.count).collect()
        } else {
            (0..count).map(|n| n * data.count / count).collect()
        };
        let batch = (BATCH_STEPS / data.steps).clamp(1, count.min(BATCH_SEQUENCES));
        let mut predictor = Predictor::load(model, data.steps, batch, device)?;
        let mut each_batch = |add: &mut dyn FnMut(&PredictedBatch)| {
            for sequences in sequences.chunks(batch) {
                let data = data.read(sequences)?;
                let outputs = predict(&mut predictor, &data, sequences)?;
                if let Some(metrics) = &mut metrics {
                    collect(metrics, &data, &outputs);
                }
                add(&PredictedBatch {
                    data,
                    sequences,
                    outputs,
                });
            }
            Result::Ok(())
        };
        let preparation = &model.preparation;
        let predictions = match data.targets {
            Targets::Classes { .. } => {
                let mut collector = ClassCollector::new(preparation.vocabulary.is_some());
                each_batch(&mut |batch| collector.add(batch))?;
                Predictions::Classes(collector.finish(data, preparation))
            }
            Targets::Values { width, .. } => {
                let source = model.recipe.data.source();
                let names = &source.output_names();
                let several = source.horizon().filter(|horizon| horizon.is_several());
                let mut collector =
                    ValueCollector::new(width, &model.network.head, preparation, names, several);
                each_batch(&mut |batch| collector.add(batch))?;
                let values = collector.finish(in_time);
                let times = if split == Split::Test && in_time {
                    times_of(model, data, &sequences)
                } else {
                    None
                };
                Predictions::Values(ValuePredictions { times, ..values })
            }
            Targets::Lists { .. } => {
                let mut examples = ListExamples::default();
                each_batch(&mut |batch| examples.add(batch))?;
                Predictions::Lists(examples.finish(data, preparation))
            }
            Targets::Heads(_) => {
                return Err(Error::data(
                    "predictions are of one head (Dataset::of_head)",
                ));
            }
        };
        let metrics = metrics.and_then(OutputCollector::finish);
        let undefined = metrics
            .as_ref()
            .map(|metrics| metrics.undefined(preparation));
        Ok(SplitPredictions {
            undefined: undefined.unwrap_or_default(),
            metrics,
            split,
            predicted: count,
            of: data.count,
            predictions,
        })
    }
}

/// Returns the times of these sequences of the test split, if the data have times and these ascend.
fn times_of(model: &Model, data: &Dataset, sequences: &[usize]) -> Option<SequenceTimes> {
    let source = model.recipe.data.source();
    let times = source.test_times(model.recipe.seed, Some(&model.preparation))?;
    let values: Vec<f64> = (times.values.len() == data.count)
        .then(|| sequences.iter().map(|&n| times.values[n]).collect())?;
    let steps = times.ahead.len() / data.count.max(1);
    let ahead = sequences
        .iter()
        .flat_map(|&n| &times.ahead[n * steps..(n + 1) * steps]);
    let ahead = ahead.copied().collect();
    values.is_sorted().then_some(SequenceTimes {
        values,
        ahead,
        ..times
    })
}

/// Adds the outputs `[N, T, K]` of some sequences.
fn collect(metrics: &mut OutputCollector, data: &Dataset, outputs: &Array3<f32>) {
    let labels = data.labels();
    for (n, outputs) in outputs.outer_iter().enumerate() {
        for (t, outputs) in outputs.outer_iter().enumerate() {
            metrics.add(data, &labels, (n, t), outputs.iter().copied());
        }
    }
}

fn check_shapes(model: &Model, data: &Dataset) -> Result<()> {
    let network = &model.network;
    let fits = data.input_size() == network.input_size
        && data.targets.outputs() == network.head.targets()
        && data.targets.per_step() == network.head.has_target_per_step();
    if fits {
        Ok(())
    } else {
        Err(Error::data(
            "the data do not have the shape that the model was trained on",
        ))
    }
}

/// Logits or values: `[N, T, K]` if the head reads every step, else `[N, 1, K]`. `sequences` `[N]`
/// are their indices in the split.
fn predict(predictor: &mut Predictor, part: &Dataset, sequences: &[usize]) -> Result<Array3<f32>> {
    let number = &|n: usize| sequences[n];
    let (count, steps, features) = (part.count, part.steps, part.features);
    let lengths = part.lengths.as_ref();
    let lengths: Option<Vec<usize>> =
        lengths.map(|all| all.iter().map(|&length| length as usize).collect());
    let lengths = lengths.as_deref();
    let prediction = match &part.inputs {
        Inputs::Tokens { values, .. } => {
            let tokens = ArrayView2::from_shape((count, steps), values).map_err(wrong_shape)?;
            predictor.predict_prepared(tokens, lengths, None, number)?
        }
        inputs => {
            let values = float_values(inputs, count)?;
            let shape = (count, steps, features);
            let values = ArrayView3::from_shape(shape, &values).map_err(wrong_shape)?;
            predictor.predict_prepared(values, lengths, None, number)?
        }
    };
    let outputs = match prediction.outputs.ndim() {
        2 => prediction.outputs.insert_axis(Axis(1)),
        _ => prediction.outputs,
    };
    outputs.into_dimensionality::<Ix3>().map_err(wrong_shape)
}

/// The inputs of `count` sequences as floats; empty for tokens.
fn float_values(inputs: &Inputs, count: usize) -> Result<Cow<'_, [f32]>> {
    Ok(match inputs {
        Inputs::Tokens { .. } => Cow::default(),
        Inputs::Floats(values) => values[..].into(),
        Inputs::Stored(stored) => stored.read(&(0..count).collect::<Vec<_>>())?.into(),
        Inputs::Bytes { values, scale } => {
            let values = values.iter().map(|&byte| f32::from(byte) * scale);
            values.collect::<Vec<_>>().into()
        }
    })
}

fn wrong_shape(error: ShapeError) -> Error {
    Error::Failed(error.to_string())
}
