//! Predicted values and their targets, in the units of the data.

use super::PredictedBatch;
use crate::data::preparation::Preparation;
use crate::data::source::SequenceTimes;
use crate::data::{MISSING, Targets};
use crate::network::{Head, Loss};

/// A target and the prediction for it.
type Pair = (f32, f32);

/// The predictions of a network whose outputs are values.
#[derive(Debug, Clone)]
pub struct ValuePredictions {
    /// `[K]`: the names of the target values; empty if they have none.
    pub names: Vec<String>,
    /// `[K][N]`: target and prediction at the last valid step of each sequence. A missing target is
    /// NaN.
    pub last: Vec<Vec<(f32, f32)>>,
    /// Whether one sequence follows another in time.
    pub in_time: bool,
    /// `[N]`: the time of each of `last`, ascending; `None` where the data have no times.
    pub times: Option<SequenceTimes>,
    /// Sequences with a prediction at every step: the one of median error, and the one of the
    /// largest.
    pub examples: Vec<ExampleSequence>,
}

/// The first output of a sequence at every step.
#[derive(Debug, Clone)]
pub struct ExampleSequence {
    /// The index in its split.
    pub sequence: usize,
    pub name: &'static str,
    /// `[T]`: target and prediction. A missing target is NaN.
    pub steps: Vec<(f32, f32)>,
}

/// The predictions of the batches so far.
pub(super) struct ValueCollector<'a> {
    preparation: &'a Preparation,
    loss: Loss,
    names: &'a [String],
    last: Vec<Vec<Pair>>,
    /// The sequences of several steps.
    sequences: Vec<SequenceError>,
}

/// The first output of a sequence, and its mean squared error.
struct SequenceError {
    mean_square: f32,
    sequence: usize,
    steps: Vec<Pair>,
}

impl<'a> ValueCollector<'a> {
    /// `names` are those of the `width` target values, or empty.
    pub fn new(
        width: usize,
        head: &Head,
        preparation: &'a Preparation,
        names: &'a [String],
    ) -> ValueCollector<'a> {
        ValueCollector {
            preparation,
            loss: head.loss,
            names: if names.len() == width { names } else { &[] },
            last: vec![vec![]; width],
            sequences: vec![],
        }
    }

    pub fn add(&mut self, batch: &PredictedBatch) {
        let data = &batch.data;
        let Targets::Values {
            values,
            width,
            per_step,
        } = &data.targets
        else {
            return;
        };
        let rows = if *per_step { data.steps } else { 1 };
        let lengths = data.lengths.as_ref().filter(|_| *per_step);
        let each = batch.outputs.outer_iter().zip(batch.sequences);
        for (n, (outputs, &sequence)) in each.enumerate() {
            let valid = lengths.map_or(rows, |all| all[n] as usize);
            let length = data
                .lengths
                .as_ref()
                .map_or(data.steps, |all| all[n] as usize);
            let pair = |t: usize, k: usize| {
                let target = values[(n * rows + t) * width + k];
                let step = if *per_step { t } else { length.max(1) - 1 };
                let input = data.input_rows(n, step..step + 1);
                let value = |output| self.preparation.restore_value(k, output, input) as f32;
                let known = if target == MISSING {
                    f32::NAN
                } else {
                    value(target)
                };
                let output = outputs[[t, self.loss.point_output() * width + k]];
                if self.loss.takes_labels() {
                    return (known, 1.0 / (1.0 + (-output).exp()));
                }
                (known, value(output))
            };
            let last: Vec<Pair> = match valid.checked_sub(1) {
                Some(last) => (0..*width).map(|k| pair(last, k)).collect(),
                None => vec![],
            };
            let steps: Vec<Pair> = (0..valid).map(|t| pair(t, 0)).collect();
            for (column, pair) in self.last.iter_mut().zip(last) {
                column.push(pair);
            }
            if let (true, Some(mean_square)) = (valid > 1, mean_square_error(&steps)) {
                self.sequences.push(SequenceError {
                    mean_square,
                    sequence,
                    steps,
                });
            }
        }
    }

    pub fn finish(mut self, in_time: bool) -> ValuePredictions {
        self.sequences.sort_by(|a, b| {
            let by_error = a.mean_square.total_cmp(&b.mean_square);
            by_error.then(a.sequence.cmp(&b.sequence))
        });
        let count = self.sequences.len();
        let chosen = [
            ("median error", count / 2),
            ("largest error", count.saturating_sub(1)),
        ];
        let examples = chosen.into_iter().filter_map(|(name, rank)| {
            let found = self.sequences.get(rank)?;
            Some(ExampleSequence {
                sequence: found.sequence,
                name,
                steps: found.steps.clone(),
            })
        });
        let mut examples: Vec<ExampleSequence> = examples.collect();
        examples.dedup_by_key(|example| example.sequence);
        ValuePredictions {
            names: self.names.to_vec(),
            examples,
            last: self.last,
            in_time,
            times: None,
        }
    }
}

/// The mean over the pairs with a target; `None` if all targets are missing.
fn mean_square_error(pairs: &[Pair]) -> Option<f32> {
    let known = pairs.iter().filter(|(target, _)| !target.is_nan());
    let count = known.clone().count();
    let squares = known.map(|(target, prediction)| (target - prediction).powi(2));
    (count > 0).then(|| squares.sum::<f32>() / count as f32)
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::data::Dataset;
    use crate::data::preparation::Normal;
    use crate::network::{Init, Reads};

    fn head() -> Head {
        Head {
            size: 1,
            reads: Reads::Last,
            loss: Loss::MeanSquaredError,
            init: Init::default(),
        }
    }

    #[test]
    fn values_are_in_the_units_of_the_data() {
        let inputs = Array3::zeros((2, 3, 1));
        let targets = Array3::from_shape_fn((2, 3, 1), |(n, t, _)| (n * 3 + t) as f32);
        let targets = Targets::values_per_step(targets.view());
        let data = Dataset::new(inputs.view(), targets).unwrap();
        let data = data.with_lengths(&[3, 2]).unwrap();
        let preparation = Preparation {
            targets: vec![Normal {
                mean: 10.0,
                deviation: 2.0,
            }],
            ..Preparation::default()
        };
        let mut collector = ValueCollector::new(1, &head(), &preparation, &[]);
        let outputs = Array3::<f32>::zeros((2, 3, 1));
        collector.add(&PredictedBatch {
            data: data.clone(),
            sequences: &[5, 9],
            outputs,
        });
        let predictions = collector.finish(false);
        assert_eq!(predictions.last, [[(14.0, 10.0), (18.0, 10.0)]]);
        assert_eq!(predictions.examples[0].sequence, 9);
        assert_eq!(predictions.examples[0].steps, [(16.0, 10.0), (18.0, 10.0)]);
    }

    #[test]
    fn differences_are_from_the_last_valid_step() {
        let inputs = Array3::from_shape_fn((1, 3, 1), |(_, t, _)| 100.0 * (t + 1) as f32);
        let targets = Targets::values(ndarray::arr2(&[[5.0]]).view());
        let data = Dataset::new(inputs.view(), targets).unwrap();
        let preparation = Preparation {
            residuals: vec![0],
            ..Preparation::default()
        };
        let mut collector = ValueCollector::new(1, &head(), &preparation, &[]);
        collector.add(&PredictedBatch {
            data: data.with_lengths(&[2]).unwrap(),
            sequences: &[0],
            outputs: Array3::zeros((1, 1, 1)),
        });
        assert_eq!(collector.finish(false).last, [[(205.0, 200.0)]]);
    }
}
