//! The metrics of a model's outputs, summed while the outputs are read.

use crate::data::baselines::naive_errors;
use crate::data::preparation::Preparation;
use crate::data::{Dataset, MISSING, Targets};
use crate::kernels::{IGNORE, Tally};
use crate::metrics::{ClassSums, OutputMetrics, TargetMetrics, ValueMetrics, ValueSums};
use crate::model::Model;
use crate::network::Loss;

/// The sums of the outputs so far.
pub(crate) struct OutputCollector<'a> {
    preparation: &'a Preparation,
    sums: OutputSums,
}

enum OutputSums {
    Classes(Box<ClassSums>),
    /// `[K]`
    Values(PointOutputs, Vec<TargetSums>),
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

    /// Returns the point forecast of target k of `width`. A network may let quantiles cross.
    fn forecast(
        self,
        mut outputs: impl Iterator<Item = f32>,
        k: usize,
        width: usize,
    ) -> Option<f32> {
        if self.each == 1 {
            return outputs.nth(k);
        }
        let mut quantiles: Vec<f32> = outputs.skip(k).step_by(width).take(self.each).collect();
        quantiles.sort_by(f32::total_cmp);
        quantiles.get(self.index).copied()
    }
}

/// The sums of one target value.
struct TargetSums {
    name: String,
    all: ValueSums,
    /// The last step of each sequence, if there is a target at every step.
    last_step: Option<ValueSums>,
    /// The mean absolute error of the naive forecast on the training split.
    naive_error: Option<f64>,
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
            Targets::Heads(_) => return None,
        };
        Some(OutputCollector { preparation, sums })
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
                for (k, (sums, &target)) in sums.iter_mut().zip(targets).enumerate() {
                    let Some(output) = points.forecast(outputs.clone(), k, *width) else {
                        continue;
                    };
                    if target == MISSING {
                        continue;
                    }
                    let value = |output| self.preparation.restore_value(k, output, input);
                    let (target, prediction) = (value(target), value(output));
                    sums.all.add(target, prediction);
                    if let Some(sums) = sums.last_step.as_mut().filter(|_| t == last) {
                        sums.add(target, prediction);
                    }
                }
            }
            (OutputSums::Values(..), _) => {}
        }
    }

    /// The metrics; `None` if no output has a target.
    pub(crate) fn finish(self) -> Option<OutputMetrics> {
        match self.sums {
            OutputSums::Classes(sums) => (*sums).finish().map(OutputMetrics::Classes),
            OutputSums::Values(_, sums) => {
                let metrics = |sums: TargetSums| {
                    let finish = |values: &ValueSums| values.finish(sums.naive_error);
                    Some(TargetMetrics {
                        all: finish(&sums.all)?,
                        last_step: sums.last_step.as_ref().and_then(finish),
                        name: sums.name,
                    })
                };
                let metrics: Vec<TargetMetrics> = sums.into_iter().filter_map(metrics).collect();
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
    let sums = |k: usize| TargetSums {
        name: names.get(k).cloned().unwrap_or_default(),
        all: ValueSums::default(),
        last_step: data.targets.per_step().then(ValueSums::default),
        naive_error: naive.get(k).copied().flatten(),
    };
    (0..width).map(sums).collect()
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
            PointOutputs::of(loss)?.forecast(outputs.iter().copied(), k, 2)
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
