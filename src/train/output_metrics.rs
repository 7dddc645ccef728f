//! The metrics of a model's outputs, summed while the outputs are read.

use crate::data::baselines::naive_errors;
use crate::data::preparation::Preparation;
use crate::data::{Dataset, MISSING, Targets};
use crate::kernels::{IGNORE, Tally};
use crate::metrics::{
    ClassSums, OutputMetrics, StepAheadMetrics, TargetMetrics, ValueMetrics, ValueSums,
};
use crate::model::Model;
use crate::network::Loss;
use crate::train::list_collector::ListCollector;

/// The sums of the outputs so far.
pub(crate) struct OutputCollector<'a> {
    preparation: &'a Preparation,
    /// With an entry for each output.
    of_outputs: Preparation,
    sums: OutputSums,
}

enum OutputSums {
    Classes(Box<ClassSums>),
    /// `[K]`
    Values(PointOutputs, Vec<TargetSums>),
    Lists(ListCollector),
}

/// Which of the outputs `[J * K]` are point forecasts of the targets.
#[derive(Clone, Copy)]
struct PointOutputs {
    /// J: outputs of each target.
    each: usize,
    /// Of a target's outputs in ascending order if they are quantiles, else of its outputs.
    index: usize,
}

impl PointOutputs {
    /// Returns the point forecasts of a head: values, means or medians; `None` for labels, and for
    /// quantiles without the median.
    fn of(loss: &Loss) -> Option<PointOutputs> {
        match loss {
            Loss::BinaryCrossEntropy | Loss::Heads => None,
            Loss::Quantile { levels } => {
                let index = levels.middle();
                let has_median = (levels.levels()[index] - 0.5).abs() < 1e-6;
                let each = levels.levels().len();
                has_median.then_some(PointOutputs { each, index })
            }
            _ => Some(PointOutputs { each: 1, index: 0 }),
        }
    }

    /// Returns the point forecast of target k of `width`; `restore(j, output)` returns output j in
    /// the units of the data. A network may let quantiles cross.
    fn forecast(
        self,
        mut outputs: impl Iterator<Item = f32>,
        (k, width): (usize, usize),
        restore: impl Fn(usize, f32) -> f64,
    ) -> Option<f64> {
        if self.each == 1 {
            return Some(restore(k, outputs.nth(k)?));
        }
        let of_target = outputs.enumerate().skip(k).step_by(width).take(self.each);
        let mut quantiles: Vec<f64> = of_target.map(|(j, output)| restore(j, output)).collect();
        quantiles.sort_by(f64::total_cmp);
        quantiles.get(self.index).copied()
    }
}

/// The sums of one target value.
struct TargetSums {
    name: String,
    all: ValueSums,
    /// The last step of each sequence, if there is a target at every step.
    last_step: Option<ValueSums>,
    /// Where several steps ahead are predicted: the rows ahead, and the sums at the last step.
    ahead: Vec<(usize, ValueSums)>,
    /// The mean absolute error of the naive forecast on the training split.
    naive_error: Option<f64>,
}

impl TargetSums {
    /// Adds a target and its prediction, of step `s` of those ahead.
    fn add(&mut self, s: usize, is_last: bool, target: f64, prediction: f64) {
        self.all.add(target, prediction);
        if !is_last {
            return;
        }
        let ahead = self.ahead.get_mut(s).map(|(_, sums)| sums);
        for sums in self.last_step.iter_mut().chain(ahead) {
            sums.add(target, prediction);
        }
    }

    /// The metrics; `None` without a target.
    fn finish(&self) -> Option<TargetMetrics> {
        let finish = |values: &ValueSums| values.finish(self.naive_error);
        let ahead = self.ahead.iter().filter_map(|(ahead, sums)| {
            Some(StepAheadMetrics {
                ahead: *ahead,
                metrics: finish(sums)?,
            })
        });
        Some(TargetMetrics {
            name: self.name.clone(),
            all: finish(&self.all)?,
            last_step: self.last_step.as_ref().and_then(finish),
            ahead: ahead.collect(),
        })
    }
}

impl<'a> OutputCollector<'a> {
    /// Returns the collector for outputs of a model on data like `data`; `None` for texts, whose
    /// metrics follow from the loss, for very many classes, and for outputs that are no point
    /// forecasts. `train` is the model's training
    /// split, if it is known.
    pub(crate) fn new(
        model: &'a Model,
        data: &Dataset,
        train: Option<&Dataset>,
    ) -> Option<OutputCollector<'a>> {
        let preparation = &model.preparation;
        let sums = match &data.targets {
            Targets::Classes { classes, .. } => {
                let counts =
                    preparation.vocabulary.is_none() && *classes <= Tally::LARGEST_CONFUSION;
                counts.then(|| OutputSums::Classes(Box::new(ClassSums::new(*classes))))?
            }
            Targets::Values { width, .. } => {
                let points = PointOutputs::of(&model.network.head.loss)?;
                OutputSums::Values(points, target_sums(model, *width, data, train))
            }
            Targets::Lists { .. } => OutputSums::Lists(ListCollector::default()),
            Targets::Heads(_) => return None,
        };
        Some(OutputCollector {
            preparation,
            of_outputs: preparation.of_outputs(&model.network.head),
            sums,
        })
    }

    /// Adds the outputs of sequence `n` of `data`: those of step `t`, or the only ones.
    /// `labels` are those of `data`, as [`Dataset::labels`] returns them.
    pub(crate) fn add(
        &mut self,
        data: &Dataset,
        labels: &[u32],
        (n, t): (usize, usize),
        outputs: impl Iterator<Item = f32> + Clone,
    ) {
        let per_step = data.targets.per_step();
        let row = if per_step { n * data.steps + t } else { n };
        let label = labels[row];
        if label == IGNORE {
            return;
        }
        match (&mut self.sums, &data.targets) {
            (OutputSums::Classes(sums), _) => sums.add(outputs, label as usize),
            (OutputSums::Values(points, sums), Targets::Values { values, width, .. }) => {
                let length = data.lengths.as_ref().map(|all| all[n] as usize);
                let last = length.unwrap_or(data.steps).max(1) - 1;
                let step = if per_step { t } else { last };
                let input = data.input_rows(n, step..step + 1);
                let targets = &values[row * width..(row + 1) * width];
                // Those of one step ahead are side by side.
                let columns = sums.len();
                for (k, &target) in targets.iter().enumerate() {
                    let value = |j, output| self.of_outputs.restore_value(j, output, input);
                    let prediction = points.forecast(outputs.clone(), (k, *width), value);
                    let Some(prediction) = prediction.filter(|_| target != MISSING) else {
                        continue;
                    };
                    let target = self.preparation.restore_value(k, target, input);
                    let is_last = !per_step || t == last;
                    sums[k % columns].add(k / columns, is_last, target, prediction);
                }
            }
            (OutputSums::Lists(lists), _) => lists.add((data, &data.targets), (n, t), outputs),
            (OutputSums::Values(..), _) => {}
        }
    }

    /// The metrics; `None` if no output has a target.
    pub(crate) fn finish(self) -> Option<OutputMetrics> {
        match self.sums {
            OutputSums::Classes(sums) => (*sums).finish().map(OutputMetrics::Classes),
            OutputSums::Lists(lists) => lists.finish().map(OutputMetrics::Lists),
            OutputSums::Values(_, sums) => {
                let metrics: Vec<TargetMetrics> =
                    sums.iter().filter_map(TargetSums::finish).collect();
                (!metrics.is_empty()).then_some(OutputMetrics::Values(metrics))
            }
        }
    }
}

fn target_sums(
    model: &Model,
    width: usize,
    data: &Dataset,
    train: Option<&Dataset>,
) -> Vec<TargetSums> {
    let source = model.recipe.data.source();
    let names = source.target_names();
    let naive = match (train, source.forecast()) {
        (Some(train), Some(forecast)) => naive_errors(train, &forecast, &model.preparation),
        _ => vec![],
    };
    let horizon = source.horizon().filter(|horizon| horizon.is_several());
    let columns = (width / source.steps_ahead()).max(1);
    let of_step = |ahead: usize| (ahead, ValueSums::default());
    let sums = |k: usize| TargetSums {
        name: names.get(k).cloned().unwrap_or_default(),
        all: ValueSums::default(),
        last_step: data.targets.per_step().then(ValueSums::default),
        ahead: horizon.map_or(vec![], |horizon| horizon.ahead().map(of_step).collect()),
        naive_error: naive.get(k).copied().flatten(),
    };
    (0..columns).map(sums).collect()
}

impl OutputMetrics {
    /// Says which values are not defined, and why, one clause each.
    pub fn undefined(&self, preparation: &Preparation) -> Vec<String> {
        match self {
            OutputMetrics::Classes(metrics) => metrics.undefined(|class| preparation.class(class)),
            OutputMetrics::Values(targets) => {
                let of_target = |target: &TargetMetrics| {
                    let prefix = match target.name.as_str() {
                        name if !name.is_empty() && targets.len() > 1 => format!("`{name}`: "),
                        _ => String::new(),
                    };
                    let clauses = target.judged().undefined().into_iter();
                    clauses.map(move |clause| format!("{prefix}{clause}"))
                };
                targets.iter().flat_map(of_target).collect()
            }
            OutputMetrics::Text(_) => vec![],
            OutputMetrics::Lists(metrics) => metrics.undefined(),
        }
    }
}

impl TargetMetrics {
    /// The metrics that a model is compared with baselines by: those at the last step, where there
    /// is a target at every step.
    pub fn judged(&self) -> &ValueMetrics {
        self.last_step.as_ref().unwrap_or(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn point_forecasts_are_means_and_medians() {
        let forecast = |loss: &Loss, outputs: &[f32], k: usize| {
            let outputs = outputs.iter().copied();
            PointOutputs::of(loss)?.forecast(outputs, (k, 2), |_, output| f64::from(output))
        };
        // Two targets: the mean of each, then the logarithm of its variance.
        assert_eq!(
            forecast(&Loss::GaussianNll, &[1.0, 2.0, 8.0, 9.0], 1),
            Some(2.0)
        );
        let quantiles = Loss::quantiles(&[0.1, 0.5, 0.9]).expect("they ascend");
        // The quantiles of the second target cross.
        let outputs = [1.0, 30.0, 2.0, 10.0, 3.0, 20.0];
        assert_eq!(forecast(&quantiles, &outputs, 0), Some(2.0));
        assert_eq!(forecast(&quantiles, &outputs, 1), Some(20.0));
        let without_median = Loss::quantiles(&[0.1, 0.9]).expect("they ascend");
        assert!(PointOutputs::of(&without_median).is_none());
        assert!(PointOutputs::of(&Loss::BinaryCrossEntropy).is_none());
    }
}
