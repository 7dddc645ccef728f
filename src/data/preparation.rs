//! Preparation of inputs and targets, determined by the training split and saved with the model:
//! new data are prepared in the same way.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};

use super::vocabulary::Vocabulary;

/// How values are prepared for a network, and restored in its outputs. The default changes nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preparation {
    /// `[I]`: how inputs are normalized; empty if they are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Normal>,
    /// `[K]`: how target values are normalized; empty if they are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Normal>,
    /// `[I]`: the value of a missing input, for [`Missing::Mean`]; else empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub means: Vec<f32>,
    /// `[K]`: the names of the classes; empty if they are numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The strings of the tokens, for text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Vocabulary>,
}

/// A normalization: `(x - mean) / deviation`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    pub mean: f32,
    /// Standard deviation (over n, not n - 1); 1 for a constant column.
    pub deviation: f32,
}

/// How missing inputs are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Missing {
    /// An error.
    #[default]
    Refuse,
    /// The last value before them.
    Forward,
    /// 0, in the units of the data.
    Zero,
    /// The mean of the training split.
    Mean,
}

impl Normal {
    /// Returns mean and deviation of each of `width` columns over these rows. NaN is skipped.
    pub fn of<'a>(rows: impl Iterator<Item = &'a [f32]> + Clone, width: usize) -> Vec<Normal> {
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
    pub(super) fn of_passes<E>(
        width: usize,
        mut pass: impl FnMut(&mut dyn FnMut(&[f32])) -> Result<(), E>,
    ) -> Result<Vec<Normal>, E> {
        // The mean first, then the squared differences from it, so that a large mean costs no
        // digits.
        let means = averages(&mut pass, width, |_, value| value)?;
        let around = |column: usize, value: f64| (value - means[column]).powi(2);
        let squares = averages(&mut pass, width, around)?;
        let normal = |(mean, square): (&f64, &f64)| {
            let deviation = square.sqrt();
            let varies = deviation > mean.abs() * 1e-7 && deviation as f32 > f32::MIN_POSITIVE;
            Normal {
                mean: *mean as f32,
                deviation: if varies { deviation as f32 } else { 1.0 },
            }
        };
        Ok(means.iter().zip(&squares).map(normal).collect())
    }

    /// Returns the value in deviations from the mean.
    pub fn apply(self, value: f32) -> f32 {
        ((f64::from(value) - f64::from(self.mean)) / f64::from(self.deviation)) as f32
    }

    /// Returns the value in the units of the data.
    pub fn undo(self, value: f32) -> f32 {
        (f64::from(value) * f64::from(self.deviation) + f64::from(self.mean)) as f32
    }

    /// Normalizes rows of one column for each of `normals`; does nothing if there are none.
    pub fn apply_all(normals: &[Normal], rows: &mut [f32]) {
        each(normals, rows, Normal::apply);
    }

    /// Undoes [`Normal::apply_all`].
    pub fn undo_all(normals: &[Normal], rows: &mut [f32]) {
        each(normals, rows, Normal::undo);
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
fn averages<E>(
    pass: &mut impl FnMut(&mut dyn FnMut(&[f32])) -> Result<(), E>,
    width: usize,
    of: impl Fn(usize, f64) -> f64,
) -> Result<Vec<f64>, E> {
    let mut sums = vec![(0.0, 0.0); width];
    pass(&mut |row| {
        for (column, (&value, (sum, count))) in row.iter().zip(&mut sums).enumerate() {
            if !value.is_nan() {
                *sum += of(column, f64::from(value));
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
                "there is no value before it; set data.missing = \"mean\" or \"zero\""
            }
            Missing::Refuse | Missing::Zero | Missing::Mean => {
                "set data.missing = \"forward\", \"mean\" or \"zero\" to fill such elements"
            }
        };
        format!("sequence {n}, step {row}, feature {column} is NaN; {remedy}")
    }
}

impl Preparation {
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
        for (what, holds, needed) in [
            ("normalized inputs", self.inputs.len(), inputs),
            ("normalized targets", self.targets.len(), outputs),
            ("means", self.means.len(), inputs),
            ("classes", self.classes.len(), outputs),
        ] {
            if holds != 0 && holds != needed {
                return Err(format!(
                    "it has {holds} {what}, but the network has {needed}"
                ));
            }
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

    /// Returns the name of a class, or its number.
    pub fn class(&self, class: usize) -> String {
        self.classes
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    }

    /// Fills missing values in rows `[R, I]` of one sequence, in the units of the data.
    ///
    /// # Errors
    /// Row and column of the first value that `missing` refuses or cannot fill.
    pub fn fill(
        &self,
        missing: Missing,
        rows: &mut [f32],
        width: usize,
    ) -> Result<(), (usize, usize)> {
        for at in 0..rows.len() {
            if !rows[at].is_nan() {
                continue;
            }
            let (row, column) = (at / width, at % width);
            let filled = match missing {
                Missing::Refuse => None,
                Missing::Forward if row > 0 => Some(rows[at - width]),
                Missing::Forward => None,
                Missing::Zero => Some(0.0),
                Missing::Mean => self.means.get(column).copied(),
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
            // The mean is rounded to f32, which at 10,000 is an error of up to 0.0005.
            assert!(
                mean.abs() < 3e-4 && (square - 1.0).abs() < 1e-4,
                "{mean} {square}"
            );
        }
        Normal::undo_all(&normals, &mut rows);
        for (back, was) in rows.iter().zip(&original) {
            assert!((back - was).abs() < 1e-2 || was.is_nan(), "{back} {was}");
        }
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
        assert_eq!(filled(Missing::Forward, &rows), Err((0, 1)));
        assert_eq!(filled(Missing::Forward, &rows[2..]), Err((0, 0)));
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
        for (mean, deviation) in [(f32::NAN, 1.0), (0.0, 0.0), (0.0, f32::INFINITY)] {
            let mut broken = valid.clone();
            broken.inputs[1] = Normal { mean, deviation };
            assert!(broken.check(3, 2).unwrap_err().contains("must be finite"));
        }
    }
}
