//! Predicted values and their targets, in the units of the data.

use super::PredictedBatch;
use crate::data::preparation::Preparation;
use crate::data::source::SequenceTimes;
use crate::data::{Horizon, MISSING, Targets};
use crate::infer::intervals::Band;
use crate::infer::outputs::interpret;
use crate::network::Head;

/// A target and the prediction for it.
type Pair = (f32, f32);

/// The predictions of a network whose outputs are values.
#[derive(Debug, Clone)]
pub struct ValuePredictions {
    /// `[W]`: the names of the target values; empty if they have none.
    pub names: Vec<String>,
    /// `[W][N]`: target and prediction at the last valid step of each sequence. A missing target is
    /// NaN.
    pub last: Vec<Vec<(f32, f32)>>,
    /// The interval of each prediction, where the network predicts intervals.
    pub band: Option<PredictedBand>,
    /// The steps ahead, of which W has all, where the network predicts several.
    pub several: Option<Horizon>,
    /// Whether one sequence follows another in time.
    pub in_time: bool,
    /// `[N]`: the time of each of `last`, ascending; `None` where the data have no times.
    pub times: Option<SequenceTimes>,
    /// Sequences with several predictions, at every step or for several steps ahead: the one of
    /// median error, and the one of the largest.
    pub examples: Vec<ExampleSequence>,
}

/// The intervals of predictions.
#[derive(Debug, Clone)]
pub struct PredictedBand {
    /// As in a legend: `80 % interval`.
    pub name: String,
    /// `[W][N]`: the lower and the upper end, like the predictions.
    pub ends: Vec<Vec<(f32, f32)>>,
}

/// The first target of a sequence at every step, or at every step ahead.
#[derive(Debug, Clone)]
pub struct ExampleSequence {
    /// The index in its split.
    pub sequence: usize,
    pub name: &'static str,
    /// `[T]` or `[S]`: target and prediction. A missing target is NaN.
    pub steps: Vec<(f32, f32)>,
    /// The intervals of the predictions; empty without them.
    pub ends: Vec<(f32, f32)>,
}

/// The predictions of the batches so far.
pub(super) struct ValueCollector<'a> {
    /// That of the model with an entry for each output.
    preparation: Preparation,
    head: Head,
    names: &'a [String],
    band: Option<Band>,
    several: Option<Horizon>,
    last: Vec<Vec<Pair>>,
    /// Empty without a band.
    ends: Vec<Vec<Pair>>,
    /// The sequences of several predictions.
    sequences: Vec<SequenceError>,
}

/// The predictions of the first target of a sequence, and their mean squared error.
struct SequenceError {
    mean_square: f32,
    sequence: usize,
    steps: Vec<Pair>,
    ends: Vec<Pair>,
}

/// What is predicted for a step: target and prediction of each target value, and intervals.
struct PredictedStep {
    /// `[W]`
    pairs: Vec<Pair>,
    /// `[W]`, or empty.
    ends: Vec<Pair>,
}

impl<'a> ValueCollector<'a> {
    /// `names` are those of the `width` target values, or empty; `several` are the steps ahead
    /// where there are several.
    pub fn new(
        width: usize,
        head: &Head,
        preparation: &Preparation,
        names: &'a [String],
        several: Option<Horizon>,
    ) -> ValueCollector<'a> {
        let band = Band::of(head);
        ValueCollector {
            preparation: preparation.of_outputs(head),
            head: *head,
            names: if names.len() == width { names } else { &[] },
            band,
            several,
            last: vec![vec![]; width],
            ends: vec![vec![]; if band.is_some() { width } else { 0 }],
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
            let predicted = |t: usize| {
                let step = if *per_step { t } else { length.max(1) - 1 };
                let row = (n * rows + t) * width;
                let outputs: Vec<f32> = outputs.row(t).iter().copied().collect();
                let input = data.input_rows(n, step..step + 1);
                self.predicted(&values[row..row + width], &outputs, input)
            };
            let steps: Vec<PredictedStep> = (0..valid).map(predicted).collect();
            let Some(last) = steps.last() else {
                continue;
            };
            let example = self.example(sequence, &steps);
            for (column, pair) in self.last.iter_mut().zip(&last.pairs) {
                column.push(*pair);
            }
            for (column, ends) in self.ends.iter_mut().zip(&last.ends) {
                column.push(*ends);
            }
            self.sequences.extend(example);
        }
    }

    /// Target and prediction of each target value `[W]` in the units of the data.
    fn predicted(&self, targets: &[f32], outputs: &[f32], input: &[f32]) -> PredictedStep {
        let width = targets.len();
        let restore =
            |(k, &output): (usize, &f32)| self.preparation.restore_value(k, output, input);
        let mut restored: Vec<f64> = outputs.iter().enumerate().map(restore).collect();
        interpret(&self.head, &mut restored);
        let point = self.head.loss.point_output() * width;
        let pair = |k: usize| {
            let known = match targets[k] {
                MISSING => f32::NAN,
                target => self.preparation.restore_value(k, target, input) as f32,
            };
            if self.head.loss.takes_labels() {
                return (known, 1.0 / (1.0 + (-outputs[k]).exp()));
            }
            (known, restored[point + k] as f32)
        };
        let ends = |band: Band| {
            let ends = (0..width).map(|k| band.ends(&restored, k, width));
            let ends = ends.map(|(low, high)| (low as f32, high as f32));
            ends.collect::<Vec<Pair>>()
        };
        PredictedStep {
            pairs: (0..width).map(pair).collect(),
            ends: self.band.map_or(vec![], ends),
        }
    }

    /// The predictions of the first target of a sequence, if there are several.
    fn example(&self, sequence: usize, steps: &[PredictedStep]) -> Option<SequenceError> {
        let (pairs, ends): (Vec<Pair>, Vec<Pair>) = match self.several {
            Some(horizon) => {
                let last = steps.last()?;
                let columns = (last.pairs.len() / horizon.steps()).max(1);
                let of_first = |pairs: &[Pair]| pairs.iter().step_by(columns).copied().collect();
                (of_first(&last.pairs), of_first(&last.ends))
            }
            None => (
                steps.iter().map(|step| step.pairs[0]).collect(),
                steps
                    .iter()
                    .filter_map(|step| step.ends.first().copied())
                    .collect(),
            ),
        };
        let mean_square = mean_square_error(&pairs).filter(|_| pairs.len() > 1)?;
        Some(SequenceError {
            mean_square,
            sequence,
            steps: pairs,
            ends,
        })
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
                ends: found.ends.clone(),
            })
        });
        let mut examples: Vec<ExampleSequence> = examples.collect();
        examples.dedup_by_key(|example| example.sequence);
        ValuePredictions {
            names: self.names.to_vec(),
            examples,
            band: self.band.map(|band| PredictedBand {
                name: band.name(),
                ends: self.ends,
            }),
            several: self.several,
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
    use crate::network::{Init, Loss, Reads};

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
        let mut collector = ValueCollector::new(1, &head(), &preparation, &[], None);
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
    fn several_steps_ahead_are_an_example_with_its_interval() {
        let inputs = Array3::zeros((1, 2, 1));
        let targets = Targets::values(ndarray::arr2(&[[1.0, 2.0, MISSING]]).view());
        let data = Dataset::new(inputs.view(), targets).unwrap();
        let head = Head {
            size: 9,
            loss: Loss::quantiles(&[0.1, 0.5, 0.9]).unwrap(),
            ..head()
        };
        let preparation = Preparation::default();
        let horizon = Horizon::range(1, 3);
        let mut collector = ValueCollector::new(3, &head, &preparation, &[], Some(horizon));
        let outputs = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 20.0, 21.0, 22.0];
        collector.add(&PredictedBatch {
            data,
            sequences: &[4],
            outputs: Array3::from_shape_vec((1, 1, 9), outputs.to_vec()).unwrap(),
        });
        let predictions = collector.finish(true);
        let band = predictions.band.expect("there is one");
        assert_eq!(band.ends, [[(0.0, 20.0)], [(1.0, 21.0)], [(2.0, 22.0)]]);
        let example = &predictions.examples[0];
        assert_eq!(example.steps[..2], [(1.0, 10.0), (2.0, 11.0)]);
        assert!(example.steps[2].0.is_nan() && example.ends[2] == (2.0, 22.0));
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
        let mut collector = ValueCollector::new(1, &head(), &preparation, &[], None);
        collector.add(&PredictedBatch {
            data: data.with_lengths(&[2]).unwrap(),
            sequences: &[0],
            outputs: Array3::zeros((1, 1, 1)),
        });
        assert_eq!(collector.finish(false).last, [[(205.0, 200.0)]]);
    }
}
