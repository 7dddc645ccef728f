//! How predicted intervals and labels compare with the targets of a data set.

use ndarray::Array3;

use super::dataset::{PredictedSteps, predict_dataset};
use crate::backend::OpenDevice;
use crate::data::{Dataset, MISSING, Targets};
use crate::error::Result;
use crate::model::Model;
use crate::network::{Head, Loss, Reads};

/// The factors of the standard deviation of a normal distribution for central intervals of 50, 80,
/// 90 and 95 per cent.
const GAUSSIAN: [(f64, f64); 4] = [
    (0.5, 0.674_489_750_196_081_7),
    (0.8, 1.281_551_565_544_600_4),
    (0.9, 1.644_853_626_951_472_2),
    (0.95, 1.959_963_984_540_054),
];

/// The central interval that predictions are drawn with: the outputs that bound it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// The share of the targets that it covers if the model is calibrated.
    pub nominal: f64,
    ends: BandEnds,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum BandEnds {
    /// The indices of two quantiles.
    Quantiles(usize, usize),
    /// Standard deviations on both sides of the mean.
    Deviations(f64),
}

/// The nominal coverage of the interval that is drawn, or the one nearest to it.
const DRAWN: f64 = 0.8;

impl Band {
    /// Returns the interval of a head that is nearest to 80 per cent; `None` for a head without
    /// intervals.
    pub fn of(head: &Head) -> Option<Band> {
        match head.loss {
            Loss::Quantile { levels } => {
                let nominal = |&(low, high): &(usize, usize)| {
                    decimal(levels.levels()[high]) - decimal(levels.levels()[low])
                };
                let distance = |ends: &(usize, usize)| (nominal(ends) - DRAWN).abs();
                let intervals = levels.intervals().into_iter();
                let ends = intervals.min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
                Some(Band {
                    nominal: nominal(&ends),
                    ends: BandEnds::Quantiles(ends.0, ends.1),
                })
            }
            Loss::GaussianNll => Some(Band {
                nominal: GAUSSIAN[1].0,
                ends: BandEnds::Deviations(GAUSSIAN[1].1),
            }),
            _ => None,
        }
    }

    /// Returns the lower and the upper end for target value `k`; `outputs` `[J, W]` are in the
    /// units of the data: sorted quantiles, or means and deviations.
    pub fn ends(&self, outputs: &[f64], k: usize, width: usize) -> (f64, f64) {
        match self.ends {
            BandEnds::Quantiles(low, high) => (outputs[low * width + k], outputs[high * width + k]),
            BandEnds::Deviations(factor) => {
                let (mean, spread) = (outputs[k], factor * outputs[width + k]);
                (mean - spread, mean + spread)
            }
        }
    }

    /// Returns its name in a legend: `80 % interval`.
    pub fn name(&self) -> String {
        format!("{:.0} % interval", 100.0 * self.nominal)
    }
}

/// The share of the targets of a data set that a predicted interval or quantile covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Coverage {
    /// What covers: `interval 0.1 to 0.9` or `quantile 0.1`.
    pub name: String,
    /// The share that a calibrated model covers.
    pub nominal: f64,
    /// The share of the known targets within the interval, or at most the quantile.
    pub share: f64,
    /// The mean width of the interval in the units of the data; where it is an interval of one
    /// target.
    pub width: Option<f64>,
}

impl Coverage {
    /// Returns whether an interval covers, or else a quantile.
    pub fn is_interval(&self) -> bool {
        self.name.starts_with("interval")
    }
}

/// The shares of the labels of a data set that are predicted right, with the probability 0.5 as the
/// threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelAccuracy {
    /// Fraction of all known labels that are right.
    pub labels: f64,
    /// Fraction of outputs of which all known labels are right.
    pub exact: f64,
}

/// How a model's predictions compare with the targets of a data set, besides its loss.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Calibration {
    /// Coverage of each interval; empty without quantiles or normal distributions.
    pub coverage: Vec<Coverage>,
    /// Accuracy of labels that are 0 or 1.
    pub labels: Option<LabelAccuracy>,
}

/// A known target, and the outputs for it, in the units of the data.
struct KnownTarget {
    row: usize,
    target: f64,
    /// `[J]`.
    outputs: Vec<f64>,
}

impl Calibration {
    /// Predicts for `data` and compares; nothing for other losses. All steps with a target count.
    ///
    /// # Errors
    /// Those of [`predict_dataset`].
    pub fn of(
        model: &Model,
        data: &Dataset,
        batch: usize,
        device: &OpenDevice,
    ) -> Result<Calibration> {
        let steps = if model.network.head.reads == Reads::Every {
            PredictedSteps::Every
        } else {
            PredictedSteps::Last
        };
        Calibration::of_steps(model, data, steps, batch, device)
    }

    /// [`Calibration::of`] at these steps.
    ///
    /// # Errors
    /// Those of [`predict_dataset`].
    pub fn of_steps(
        model: &Model,
        data: &Dataset,
        steps: PredictedSteps,
        batch: usize,
        device: &OpenDevice,
    ) -> Result<Calibration> {
        model.require_one_head("intervals are of one")?;
        let head = &model.network.head;
        let is_calibrated = matches!(
            head.loss,
            Loss::Quantile { .. } | Loss::GaussianNll | Loss::BinaryCrossEntropy
        );
        if !is_calibrated {
            return Ok(Calibration::default());
        }
        let outputs = predict_dataset(model, data, steps, batch, device)?;
        let known = known_targets(model, data, &outputs);
        let one_target = head.targets() == 1;
        Ok(match head.loss {
            Loss::Quantile { levels } => Calibration {
                coverage: of_quantiles(&known, levels.levels(), &levels.intervals(), one_target),
                labels: None,
            },
            Loss::GaussianNll => Calibration {
                coverage: of_normals(&known, one_target),
                labels: None,
            },
            _ => Calibration {
                coverage: vec![],
                labels: label_accuracy(&known),
            },
        })
    }
}

/// The known targets of `data` with their outputs `[N, T or 1, J * K]`.
fn known_targets(model: &Model, data: &Dataset, outputs: &Array3<f64>) -> Vec<KnownTarget> {
    let Targets::Values { values, width, .. } = &data.targets else {
        return vec![];
    };
    let (rows, each) = (
        outputs.dim().1,
        model.network.head.loss.outputs_per_target(),
    );
    let mut known = vec![];
    for n in 0..data.count {
        let length = data.lengths.as_ref();
        let length = length.map_or(data.steps, |lengths| lengths[n] as usize);
        for t in 0..if rows > 1 { length } else { rows } {
            let step = if rows > 1 { t } else { length.max(1) - 1 };
            let row = if data.targets.per_step() {
                n * data.steps + step
            } else {
                n
            };
            for k in 0..*width {
                let target = values[row * width + k];
                if target == MISSING {
                    continue;
                }
                let input = data.input_rows(n, step..step + 1);
                known.push(KnownTarget {
                    row,
                    target: model.preparation.restore_value(k, target, input),
                    outputs: (0..each).map(|j| outputs[[n, t, j * width + k]]).collect(),
                });
            }
        }
    }
    known
}

fn share(known: &[KnownTarget], is_covered: impl Fn(&KnownTarget) -> bool) -> f64 {
    let covered = known.iter().filter(|each| is_covered(each)).count();
    covered as f64 / known.len().max(1) as f64
}

fn mean(known: &[KnownTarget], of: impl Fn(&KnownTarget) -> f64) -> f64 {
    known.iter().map(of).sum::<f64>() / known.len().max(1) as f64
}

fn of_quantiles(
    known: &[KnownTarget],
    levels: &[f32],
    intervals: &[(usize, usize)],
    one_target: bool,
) -> Vec<Coverage> {
    let interval = |&(low, high): &(usize, usize)| Coverage {
        name: format!("interval {} to {}", levels[low], levels[high]),
        nominal: decimal(levels[high]) - decimal(levels[low]),
        share: share(known, |each| {
            (each.outputs[low]..=each.outputs[high]).contains(&each.target)
        }),
        width: one_target.then(|| mean(known, |each| each.outputs[high] - each.outputs[low])),
    };
    let quantile = |(j, &level): (usize, &f32)| Coverage {
        name: format!("quantile {level}"),
        nominal: decimal(level),
        share: share(known, |each| each.target <= each.outputs[j]),
        width: None,
    };
    let quantiles = levels.iter().enumerate().map(quantile);
    intervals.iter().map(interval).chain(quantiles).collect()
}

/// The f64 with the shortest decimal digits of a level.
fn decimal(level: f32) -> f64 {
    level.to_string().parse().unwrap_or(f64::from(level))
}

fn of_normals(known: &[KnownTarget], one_target: bool) -> Vec<Coverage> {
    let interval = |(nominal, factor): (f64, f64)| Coverage {
        name: format!("interval of {:.0} %", 100.0 * nominal),
        nominal,
        share: share(known, |each| {
            (each.target - each.outputs[0]).abs() <= factor * each.outputs[1]
        }),
        width: one_target.then(|| mean(known, |each| 2.0 * factor * each.outputs[1])),
    };
    GAUSSIAN.into_iter().map(interval).collect()
}

fn label_accuracy(known: &[KnownTarget]) -> Option<LabelAccuracy> {
    let is_right = |each: &KnownTarget| (each.outputs[0] >= 0.5) == (each.target >= 0.5);
    let rows = known.chunk_by(|a, b| a.row == b.row);
    let count = rows.clone().count();
    let exact = rows.filter(|row| row.iter().all(is_right)).count();
    (count > 0).then(|| LabelAccuracy {
        labels: share(known, is_right),
        exact: exact as f64 / count as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(targets: &[f64], outputs: &[f64]) -> Vec<KnownTarget> {
        let each = |&target: &f64| KnownTarget {
            row: 0,
            target,
            outputs: outputs.to_vec(),
        };
        targets.iter().map(each).collect()
    }

    #[test]
    fn coverage_counts_both_ends() {
        let known = known(&[0.0, 1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0]);
        let coverage = of_quantiles(&known, &[0.1, 0.5, 0.9], &[(0, 2)], true);
        let shares: Vec<f64> = coverage.iter().map(|each| each.share).collect();
        assert_eq!(shares, [0.6, 0.4, 0.6, 0.8]);
        assert_eq!((coverage[0].nominal, coverage[0].width), (0.8, Some(2.0)));
        assert_eq!(coverage[0].name, "interval 0.1 to 0.9");
    }

    #[test]
    fn the_drawn_interval_is_the_one_nearest_to_80_per_cent() {
        let head = |loss| Head {
            size: 10,
            reads: Reads::Last,
            loss,
            init: Default::default(),
        };
        let levels = [0.05, 0.1, 0.5, 0.9, 0.95];
        let band = Band::of(&head(Loss::quantiles(&levels).unwrap())).expect("there is one");
        assert_eq!(band.name(), "80 % interval");
        let outputs: Vec<f64> = (0..10).map(f64::from).collect();
        assert_eq!(band.ends(&outputs, 1, 2), (3.0, 7.0));
        let band = Band::of(&head(Loss::GaussianNll)).expect("there is one");
        let (low, high) = band.ends(&[5.0, 2.0], 0, 1);
        assert!((high - 5.0 - 2.0 * 1.2815515655).abs() < 1e-9 && (low + high - 10.0).abs() < 1e-9);
        assert_eq!(Band::of(&head(Loss::MeanSquaredError)), None);
    }

    #[test]
    fn normal_intervals_are_symmetric() {
        let known = known(&[8.0, 9.0, 10.0, 11.0, 12.5], &[10.0, 1.0]);
        let shares: Vec<f64> = of_normals(&known, false)
            .iter()
            .map(|each| each.share)
            .collect();
        assert_eq!(shares, [0.2, 0.6, 0.6, 0.6]);
    }
}
