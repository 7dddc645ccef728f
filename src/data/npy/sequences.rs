//! The sequences of arrays, before and after they are prepared for a network.

use std::ops::Range;

use super::super::preparation::{Missing, Normal, Preparation};
use super::super::stored::StoredSequences;
use super::super::{Dataset, Inputs, Targets};
use super::Npy;
use super::array::Numbers;
use super::labels::{Classes, FoundLabels};
use super::targets::FoundValues;
use crate::error::Result;

/// Sequences as their arrays have them.
pub(super) struct FoundSequences {
    /// N.
    pub count: usize,
    /// T.
    pub steps: usize,
    /// I.
    pub features: usize,
    pub inputs: FoundInputs,
    /// `[N]`: valid steps, if the sequences have lengths.
    pub lengths: Option<Vec<usize>>,
}

/// Inputs in the units of the data.
pub(super) enum FoundInputs {
    /// `[N, T, I]`; NaN is missing.
    Numbers(Numbers),
    Stored(StoredSequences),
    /// `[N, T]`
    Tokens {
        values: Vec<u32>,
        /// V.
        vocabulary: usize,
    },
}

/// Targets in the units of the data.
pub(super) enum FoundTargets {
    Labels(FoundLabels),
    Values(FoundValues),
    /// Sequences to predict for have none.
    Nothing,
}

impl FoundSequences {
    fn length(&self, n: usize) -> usize {
        self.lengths
            .as_ref()
            .map_or(self.steps, |lengths| lengths[n])
    }

    /// Returns the elements of the valid steps of sequences, of `width` values a step.
    fn valid_steps<'a>(
        &'a self,
        sequences: &'a [usize],
        width: usize,
    ) -> impl Iterator<Item = Range<usize>> + Clone + 'a {
        let steps = self.steps * width;
        let valid = move |&n: &usize| n * steps..n * steps + self.length(n) * width;
        sequences.iter().map(valid)
    }
}

impl Npy {
    /// Computes mean and deviation of the features and target values of the training sequences.
    pub(super) fn learn(
        &self,
        found: &FoundSequences,
        targets: &FoundTargets,
        train: &[usize],
    ) -> Result<Preparation> {
        let mut preparation = Preparation::default();
        let fills_means = matches!(self.missing, Missing::Mean | Missing::Forward);
        if self.normalise || fills_means {
            let normals = input_normals(found, train)?;
            if fills_means {
                preparation.means = normals.iter().map(|normal| normal.mean).collect();
            }
            if self.normalise {
                preparation.inputs = normals;
            }
        }
        if self.normalise && !self.multi_label {
            preparation.targets = target_normals(found, targets, train);
        }
        Ok(preparation)
    }

    /// Returns these sequences as a network reads them: missing inputs are filled, and inputs are
    /// normalized and rounded to f32. `targets` are those of all sequences.
    ///
    /// # Errors
    /// A message for the first value that is not filled, or too large for f32.
    pub(super) fn prepared(
        &self,
        found: &FoundSequences,
        targets: &Targets,
        sequences: &[usize],
        preparation: &Preparation,
    ) -> Result<Dataset, String> {
        let lengths = found.lengths.is_some().then(|| {
            let length = |&n: &usize| found.length(n) as u32;
            sequences.iter().map(length).collect()
        });
        Ok(Dataset {
            count: sequences.len(),
            steps: found.steps,
            features: found.features,
            inputs: self.prepared_inputs(found, sequences, preparation)?,
            targets: targets.select(sequences, found.steps),
            lengths,
            weights: None,
        })
    }

    fn prepared_inputs(
        &self,
        found: &FoundSequences,
        sequences: &[usize],
        preparation: &Preparation,
    ) -> Result<Inputs, String> {
        let (steps, features) = (found.steps, found.features);
        match &found.inputs {
            FoundInputs::Numbers(numbers) => {
                let mut values = Vec::with_capacity(sequences.len() * steps * features);
                let valid = found.valid_steps(sequences, features);
                for (&n, range) in sequences.iter().zip(valid) {
                    let rows = numbers.prepared_inputs(range, self.missing, preparation, features);
                    let rows = rows.map_err(|at| self.missing.refusal(n, at))?;
                    if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
                        return Err(format!(
                            "sequence {n}, step {}, feature {} is too large for float32; scale \
                             the values",
                            at / features,
                            at % features
                        ));
                    }
                    values.extend(&rows);
                    values.resize(values.len() + steps * features - rows.len(), 0.0);
                }
                Ok(Inputs::Floats(values))
            }
            FoundInputs::Stored(stored) => {
                let mut stored = stored.select(sequences);
                stored.prepare(self.missing, preparation);
                Ok(Inputs::Stored(stored))
            }
            FoundInputs::Tokens { values, vocabulary } => {
                let own = |&n: &usize| &values[n * steps..(n + 1) * steps];
                Ok(Inputs::Tokens {
                    values: sequences.iter().flat_map(own).copied().collect(),
                    vocabulary: *vocabulary,
                })
            }
        }
    }
}

impl FoundTargets {
    /// Whether each step has a target.
    pub(super) fn per_step(&self) -> bool {
        match self {
            FoundTargets::Labels(labels) => labels.per_step,
            FoundTargets::Values(values) => values.per_step,
            FoundTargets::Nothing => false,
        }
    }

    /// Returns the targets of all sequences as a network learns them. `classes` are those of the
    /// labels.
    ///
    /// # Errors
    /// A message for the first label that is none of the classes, and the first value that is too
    /// large for f32.
    pub(super) fn prepared(
        &self,
        count: usize,
        classes: Option<&Classes>,
        preparation: &Preparation,
    ) -> Result<Targets, String> {
        match (self, classes) {
            (FoundTargets::Labels(labels), Some(classes)) => classes.targets(labels),
            (FoundTargets::Values(found), _) => {
                let all = 0..found.values.len();
                let values = found.values.prepared_targets(all, &preparation.targets);
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    return Err(format!(
                        "element {at} is too large for float32; scale the values"
                    ));
                }
                Ok(Targets::Values {
                    values,
                    width: found.width,
                    per_step: found.per_step,
                })
            }
            (FoundTargets::Labels(_), None) | (FoundTargets::Nothing, _) => {
                Ok(Targets::placeholders(count))
            }
        }
    }
}

/// Mean and deviation of each feature over all valid steps; none for tokens.
fn input_normals(found: &FoundSequences, train: &[usize]) -> Result<Vec<Normal>> {
    match &found.inputs {
        FoundInputs::Numbers(numbers) => {
            let ranges = found.valid_steps(train, found.features);
            Ok(numbers.normals(ranges, found.features))
        }
        FoundInputs::Stored(stored) => stored.select(train).normals(),
        FoundInputs::Tokens { .. } => Ok(vec![]),
    }
}

/// Mean and deviation of each target value; none for classes.
fn target_normals(found: &FoundSequences, targets: &FoundTargets, train: &[usize]) -> Vec<Normal> {
    match targets {
        FoundTargets::Values(FoundValues {
            values,
            width,
            per_step: true,
        }) => values.normals(found.valid_steps(train, *width), *width),
        FoundTargets::Values(FoundValues { values, width, .. }) => {
            values.normals(train.iter().map(|n| n * width..(n + 1) * width), *width)
        }
        FoundTargets::Labels(_) | FoundTargets::Nothing => vec![],
    }
}

/// Returns a sentence on features that f32 cannot tell apart, if they are not normalized.
pub(super) fn rounding_note(found: &FoundSequences, array: &str) -> Option<String> {
    // At this ratio, f32 has two or three digits left.
    const LARGEST_RATIO: f64 = 1e5;
    let FoundInputs::Numbers(numbers @ Numbers::Doubles(_)) = &found.inputs else {
        return None;
    };
    let all: Vec<usize> = (0..found.count).collect();
    let normals = numbers.normals(found.valid_steps(&all, found.features), found.features);
    // The deviation of a constant is 1.
    let is_rounded = |normal: &Normal| {
        normal.deviation != 1.0 && normal.mean.abs() > LARGEST_RATIO * normal.deviation
    };
    let feature = normals.iter().position(is_rounded)?;
    let Normal { mean, deviation } = normals[feature];
    Some(format!(
        "feature {feature} of `{array}` has the mean {mean} and the deviation {deviation}: rounded \
         to float32 its values lose digits; set data.normalise to true, which subtracts the mean \
         before"
    ))
}
