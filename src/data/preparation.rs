//! Preparation of inputs and targets, determined by the training split and saved with the model:
//! new data are prepared in the same way.

use std::convert::Infallible;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::MISSING;
use super::vocabulary::Vocabulary;
use crate::numeric::real::Real;

/// How values are prepared for a network, and restored in its outputs. The default changes nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preparation {
    /// `[I - D]`: how inputs are normalized; empty if they are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Normal>,
    /// `[K]`: how target values are normalized; empty if they are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Normal>,
    /// `[K]`: the input whose value at the same step is added to each target, which is a difference
    /// from it; empty if targets are values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub residuals: Vec<usize>,
    /// `[K, I]`: the weights, in the units of the data, by which prepared inputs of the same step
    /// are added to each target too, which is what they leave of the difference; empty if it is
    /// the difference itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub linear: Vec<f64>,
    /// `[D]`: the last D inputs, which are differences of other inputs from earlier steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<InputDifference>,
    /// `[Q]`: the categories of each column of them, each of which is an input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<Vec<String>>,
    /// Inputs before the differences that are known ahead: values of later rows, and categories.
    #[serde(skip_serializing_if = "crate::fields::is_default")]
    pub known_ahead: usize,
    /// `[J * K]`: what is added to each output of the network, in the units of the data, so that
    /// intervals cover their nominal share of the validation split; to the logarithm of a variance,
    /// that of its factor. Empty if nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interval_adjustment: Vec<f64>,
    /// `[I - D]`: the value of a missing input, for [`Missing::Mean`] and, at the beginning of a
    /// sequence, for [`Missing::Forward`]; else empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub means: Vec<f64>,
    /// `[K]`: the names of the classes; empty if they are numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The strings of the tokens, for text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Vocabulary>,
    /// How the targets of each of several heads were prepared; `targets`, `residuals`, `linear`,
    /// `interval_adjustment` and `classes` are empty then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<HeadPreparation>,
}

/// How the targets of one of several heads were prepared: the fields of [`Preparation`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadPreparation {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Normal>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub residuals: Vec<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub linear: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interval_adjustment: Vec<f64>,
}

/// An input that is the difference of another input from its value `lag` steps before, or at the
/// first step of the sequence if there are fewer, times a scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputDifference {
    /// The index of the other input.
    pub input: usize,
    /// At least 1.
    pub lag: usize,
    /// One over the deviation of the difference between prepared inputs.
    pub scale: f64,
}

/// A normalization: `(x - mean) / deviation`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    pub mean: f64,
    /// Standard deviation (over n, not n - 1); 1 for a constant column.
    pub deviation: f64,
}

/// How missing inputs are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Missing {
    /// An error.
    #[default]
    Refuse,
    /// The last value before them, or the mean of the training split if there is none.
    Forward,
    /// 0, in the units of the data.
    Zero,
    /// The mean of the training split.
    Mean,
}

impl Normal {
    /// Changes nothing.
    pub const IDENTITY: Normal = Normal {
        mean: 0.0,
        deviation: 1.0,
    };

    /// Returns mean and deviation of each of `width` columns over these rows. NaN is skipped.
    pub(crate) fn of<'a, R: Real + 'a>(
        rows: impl Iterator<Item = &'a [R]> + Clone,
        width: usize,
    ) -> Vec<Normal> {
        let Ok(normals) = Normal::of_passes(width, |see| {
            rows.clone().for_each(see);
            Ok::<_, Infallible>(())
        });
        normals
    }

    /// Returns mean and deviation of each of `width` columns over the rows that `pass` visits; it
    /// is called twice.
    ///
    /// # Errors
    /// Those of `pass`.
    pub(super) fn of_passes<R: Real, E>(
        width: usize,
        mut pass: impl FnMut(&mut dyn FnMut(&[R])) -> Result<(), E>,
    ) -> Result<Vec<Normal>, E> {
        // Differences from the first value, then squared ones from the mean: a large mean costs no
        // digits, and the deviation of a constant is exactly 0.
        let mut first = vec![None; width];
        let from_first = |column: usize, value: f64| value - *first[column].get_or_insert(value);
        let mut means = averages(&mut pass, width, from_first)?;
        for (mean, first) in means.iter_mut().zip(&first) {
            *mean += first.unwrap_or(0.0);
        }
        let around = |column: usize, value: f64| (value - means[column]).powi(2);
        let squares = averages(&mut pass, width, around)?;
        let normal = |(&mean, square): (&f64, &f64)| {
            let deviation = square.sqrt();
            let varies = deviation > f64::from(f32::MIN_POSITIVE);
            Normal {
                mean,
                deviation: if varies { deviation } else { 1.0 },
            }
        };
        Ok(means.iter().zip(&squares).map(normal).collect())
    }

    /// Returns the value in deviations from the mean, rounded to f32 after the mean is subtracted.
    pub fn apply(self, value: f64) -> f32 {
        ((value - self.mean) / self.deviation) as f32
    }

    /// Returns the value in the units of the data.
    pub fn undo(self, value: f32) -> f64 {
        f64::from(value) * self.deviation + self.mean
    }

    /// Normalizes rows of one column for each of `normals`; does nothing if there are none.
    pub fn apply_all(normals: &[Normal], rows: &mut [f32]) {
        each(normals, rows, |normal, value| {
            normal.apply(f64::from(value))
        });
    }

    /// Undoes [`Normal::apply_all`].
    pub fn undo_all(normals: &[Normal], rows: &mut [f32]) {
        each(normals, rows, |normal, value| normal.undo(value) as f32);
    }

    /// Returns rows of inputs in f64, one column for each of `normals`, normalized and rounded to
    /// f32; only rounded if there are no `normals`.
    pub(crate) fn prepare_all(normals: &[Normal], rows: &[f64]) -> Vec<f32> {
        if normals.is_empty() {
            return rows.iter().map(|&value| value as f32).collect();
        }
        let cycled = normals.iter().cycle();
        let values = rows.iter().zip(cycled);
        values.map(|(&value, normal)| normal.apply(value)).collect()
    }

    /// Returns target values as [`Normal::prepare_all`] does; NaN becomes [`MISSING`].
    pub(crate) fn prepare_targets(normals: &[Normal], rows: &[f64]) -> Vec<f32> {
        let mut prepared = Normal::prepare_all(normals, rows);
        for value in prepared.iter_mut().filter(|value| value.is_nan()) {
            *value = MISSING;
        }
        prepared
    }
}

fn each(normals: &[Normal], rows: &mut [f32], change: impl Fn(Normal, f32) -> f32) {
    if !normals.is_empty() {
        let cycled = normals.iter().cycle();
        rows.iter_mut()
            .zip(cycled)
            .for_each(|(value, normal)| *value = change(*normal, *value));
    }
}

/// Returns the mean of `of(column, value)` for each column; 0 for a column without values.
fn averages<R: Real, E>(
    pass: &mut impl FnMut(&mut dyn FnMut(&[R])) -> Result<(), E>,
    width: usize,
    mut of: impl FnMut(usize, f64) -> f64,
) -> Result<Vec<f64>, E> {
    let mut sums = vec![(0.0, 0.0); width];
    pass(&mut |row| {
        for (column, (&value, (sum, count))) in row.iter().zip(&mut sums).enumerate() {
            let value = value.f64();
            if !value.is_nan() {
                *sum += of(column, value);
                *count += 1.0;
            }
        }
    })?;
    let means = sums.iter().map(|(sum, count)| sum / f64::max(*count, 1.0));
    Ok(means.collect())
}

impl Missing {
    /// Returns the message for a value that [`Preparation::fill`] does not fill, at this row and
    /// column of sequence n.
    pub(super) fn refusal(self, n: usize, (row, column): (usize, usize)) -> String {
        let remedy = match self {
            Missing::Forward => {
                "there is no value before it, and the model knows no mean; set data.missing = \
                 \"zero\""
            }
            Missing::Refuse | Missing::Zero | Missing::Mean => {
                "set data.missing = \"forward\", \"mean\" or \"zero\" to fill such elements"
            }
        };
        format!("sequence {n}, step {row}, feature {column} is NaN; {remedy}")
    }
}

impl Preparation {
    /// Returns the preparation for head `index` of several alone.
    pub fn of_head(&self, index: usize) -> Preparation {
        let own = self.heads.get(index).cloned().unwrap_or_default();
        Preparation {
            targets: own.targets,
            classes: own.classes,
            residuals: own.residuals,
            linear: own.linear,
            interval_adjustment: own.interval_adjustment,
            heads: vec![],
            ..self.clone()
        }
    }

    /// Returns the preparation of several heads, each of which alone has one of these, with the
    /// same inputs.
    pub(crate) fn of_heads(each: Vec<Preparation>) -> Preparation {
        let inputs = each.first().cloned().unwrap_or_default();
        let heads = each.into_iter().map(|own| HeadPreparation {
            targets: own.targets,
            classes: own.classes,
            residuals: own.residuals,
            linear: own.linear,
            interval_adjustment: own.interval_adjustment,
        });
        Preparation {
            heads: heads.collect(),
            ..inputs.without_targets()
        }
    }

    /// Returns the preparation of the inputs alone.
    fn without_targets(self) -> Preparation {
        Preparation {
            targets: vec![],
            classes: vec![],
            residuals: vec![],
            linear: vec![],
            interval_adjustment: vec![],
            ..self
        }
    }

    /// Returns whether there is something about targets, outside of `heads`.
    pub(crate) fn has_targets(&self) -> bool {
        *self != self.clone().without_targets()
    }

    /// Returns the inputs of each column of categories, where there are `inputs` in all: they come
    /// before the differences. `None` where that is too few.
    pub fn category_columns(&self, inputs: usize) -> Option<Vec<Range<usize>>> {
        let count: usize = self.categories.iter().map(Vec::len).sum();
        let mut first = inputs.checked_sub(self.differences.len() + count)?;
        let columns = self.categories.iter().map(|categories| {
            let begin = first;
            first += categories.len();
            begin..first
        });
        Some(columns.collect())
    }

    /// Returns whether nothing is changed.
    pub fn is_plain(&self) -> bool {
        *self == Preparation::default()
    }

    /// Checks that a network with `inputs` and `outputs` can have been trained with this
    /// preparation.
    ///
    /// # Errors
    /// A message on the first field that does not fit.
    pub fn check(&self, inputs: usize, outputs: usize) -> Result<(), String> {
        let Some(columns) = inputs.checked_sub(self.differences.len()) else {
            return Err(format!(
                "it has {} inputs that are differences, but the network has {inputs} inputs",
                self.differences.len()
            ));
        };
        for (what, holds, needed) in [
            ("normalized inputs", self.inputs.len(), columns),
            ("normalized targets", self.targets.len(), outputs),
            ("differences from inputs", self.residuals.len(), outputs),
            ("means", self.means.len(), columns),
            ("classes", self.classes.len(), outputs),
        ] {
            if holds != 0 && holds != needed {
                return Err(format!(
                    "it has {holds} {what}, but the network has {needed}"
                ));
            }
        }
        let differences = self.differences.iter().map(|difference| difference.input);
        let mut subtracted = self.residuals.iter().copied().chain(differences);
        if let Some(input) = subtracted.find(|&input| input >= columns) {
            return Err(format!(
                "a target or input is a difference from input {input}, but there are {columns}"
            ));
        }
        if self
            .differences
            .iter()
            .any(|difference| difference.lag == 0)
        {
            return Err("an input is the difference of an input from itself".into());
        }
        let mut scales = self.differences.iter().map(|difference| difference.scale);
        if let Some(scale) = scales.find(|scale| !scale.is_finite() || *scale <= 0.0) {
            return Err(format!(
                "an input that is a difference has the scale {scale}; it must be finite and above 0"
            ));
        }
        self.check_linear(inputs)?;
        let categories: usize = self.categories.iter().map(Vec::len).sum();
        if self.known_ahead > columns || categories > self.known_ahead {
            return Err(format!(
                "it has {} inputs that are known ahead and {categories} categories among them, but \
                 the network has {columns} inputs",
                self.known_ahead
            ));
        }
        let adjusted = &self.interval_adjustment;
        if !adjusted.len().is_multiple_of(outputs.max(1)) || adjusted.iter().any(|x| !x.is_finite())
        {
            return Err(format!(
                "it adjusts {} outputs of intervals, but the network has them for {outputs} \
                 targets, and each must be finite",
                adjusted.len()
            ));
        }
        if let Some(vocabulary) = &self.vocabulary {
            vocabulary.check(inputs, outputs)?;
        }
        let is_valid = |normal: &Normal| {
            normal.mean.is_finite() && normal.deviation.is_finite() && normal.deviation > 0.0
        };
        let mut normals = self.inputs.iter().chain(&self.targets);
        if let Some(Normal { mean, deviation }) = normals.find(|normal| !is_valid(normal)) {
            return Err(format!(
                "a column has the mean {mean} and the deviation {deviation}; \
                 both must be finite, and the deviation above 0"
            ));
        }
        match self.means.iter().find(|mean| !mean.is_finite()) {
            None => Ok(()),
            Some(mean) => Err(format!(
                "the value of a missing input is {mean}; it must be finite"
            )),
        }
    }

    fn check_linear(&self, inputs: usize) -> Result<(), String> {
        let needed = self.residuals.len() * inputs;
        if !self.linear.is_empty() && self.linear.len() != needed {
            return Err(format!(
                "it has {} weights of a linear regression, but {} differences of {inputs} inputs \
                 have {needed}",
                self.linear.len(),
                self.residuals.len()
            ));
        }
        match self.linear.iter().find(|weight| !weight.is_finite()) {
            None => Ok(()),
            Some(weight) => Err(format!(
                "a weight of its linear regression is {weight}; it must be finite"
            )),
        }
    }

    /// Returns the name of a class, or its number; for a text, the readable name of a token.
    pub fn class(&self, class: usize) -> String {
        match (self.classes.get(class), &self.vocabulary) {
            (Some(name), _) => name.clone(),
            (None, Some(vocabulary)) => vocabulary.label(class as u32),
            (None, None) => class.to_string(),
        }
    }

    /// Fills missing values in rows `[R, I]` of one sequence, in the units of the data.
    ///
    /// # Errors
    /// Row and column of the first value that `missing` refuses or cannot fill.
    pub(crate) fn fill<R: Real>(
        &self,
        missing: Missing,
        rows: &mut [R],
        width: usize,
    ) -> Result<(), (usize, usize)> {
        let mean = |column: usize| self.means.get(column).map(|&mean| R::of(mean));
        for at in 0..rows.len() {
            if !rows[at].f64().is_nan() {
                continue;
            }
            let (row, column) = (at / width, at % width);
            let filled = match missing {
                Missing::Refuse => None,
                Missing::Forward if row > 0 => Some(rows[at - width]),
                Missing::Zero => Some(R::zero()),
                Missing::Forward | Missing::Mean => mean(column),
            };
            rows[at] = filled.ok_or((row, column))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_columns_have_mean_0_and_deviation_1_and_can_be_restored() {
        let mut rows: Vec<f32> = (0..60)
            .flat_map(|n| [n as f32, 1e4 + (n % 7) as f32, 5.0])
            .collect();
        rows[4] = f32::NAN;
        let original = rows.clone();
        let normals = Normal::of(rows.chunks(3), 3);
        assert_eq!(
            normals[2],
            Normal {
                mean: 5.0,
                deviation: 1.0
            }
        );
        Normal::apply_all(&normals, &mut rows);
        for column in 0..2 {
            let values: Vec<f32> = rows.iter().skip(column).step_by(3).copied().collect();
            let known = || {
                values
                    .iter()
                    .filter(|value| !value.is_nan())
                    .map(|&value| f64::from(value))
            };
            let mean = known().sum::<f64>() / known().count() as f64;
            let square = known().map(|value| value * value).sum::<f64>() / known().count() as f64;
            // The values are rounded to f32, at 10,000 by up to 0.0005.
            assert!(
                mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-6,
                "{mean} {square}"
            );
        }
        Normal::undo_all(&normals, &mut rows);
        for (back, was) in rows.iter().zip(&original) {
            assert!((back - was).abs() < 1e-2 || was.is_nan(), "{back} {was}");
        }
    }

    #[test]
    fn a_large_mean_costs_no_digits() {
        let rows: Vec<f64> = (0..8).map(|n| 1.7e9 + f64::from(n % 2)).collect();
        let normals = Normal::of(rows.chunks(1), 1);
        assert_eq!((normals[0].mean, normals[0].deviation), (1.7e9 + 0.5, 0.5));
        let prepared = Normal::prepare_targets(&normals, &[rows[0], rows[1], f64::NAN]);
        assert_eq!(prepared, [-1.0, 1.0, MISSING]);
        assert_eq!(normals[0].undo(prepared[1]), rows[1]);
    }

    #[test]
    fn missing_values_are_filled() {
        let rows = [1.0, f32::NAN, f32::NAN, 4.0, 5.0, f32::NAN];
        let preparation = Preparation {
            means: vec![7.0, 8.0],
            ..Preparation::default()
        };
        let filled = |missing, rows: &[f32]| {
            let mut rows = rows.to_vec();
            preparation.fill(missing, &mut rows, 2).map(|()| rows)
        };
        assert_eq!(filled(Missing::Refuse, &rows), Err((0, 1)));
        // At the beginning there is no value before.
        assert_eq!(
            filled(Missing::Forward, &rows),
            Ok(vec![1.0, 8.0, 1.0, 4.0, 5.0, 4.0])
        );
        assert_eq!(
            filled(Missing::Forward, &[1.0, 2.0, f32::NAN, 4.0]),
            Ok(vec![1.0, 2.0, 1.0, 4.0])
        );
        assert_eq!(
            filled(Missing::Zero, &rows),
            Ok(vec![1.0, 0.0, 0.0, 4.0, 5.0, 0.0])
        );
        assert_eq!(
            filled(Missing::Mean, &rows),
            Ok(vec![1.0, 8.0, 7.0, 4.0, 5.0, 8.0])
        );
    }

    #[test]
    fn a_preparation_of_other_sizes_is_refused() {
        let normal = Normal {
            mean: 0.0,
            deviation: 1.0,
        };
        let valid = Preparation {
            inputs: vec![normal; 3],
            targets: vec![normal; 2],
            ..Preparation::default()
        };
        assert_eq!(valid.check(3, 2), Ok(()));
        assert!(
            valid
                .check(2, 2)
                .unwrap_err()
                .contains("3 normalized inputs")
        );
        for (residuals, expected) in [
            (vec![0], "1 differences from inputs"),
            (vec![0, 3], "from input 3, but there are 3"),
        ] {
            let broken = Preparation {
                residuals,
                ..valid.clone()
            };
            assert!(broken.check(3, 2).unwrap_err().contains(expected));
        }
        for (mean, deviation) in [(f64::NAN, 1.0), (0.0, 0.0), (0.0, f64::INFINITY)] {
            let mut broken = valid.clone();
            broken.inputs[1] = Normal { mean, deviation };
            assert!(broken.check(3, 2).unwrap_err().contains("must be finite"));
        }
    }
}
