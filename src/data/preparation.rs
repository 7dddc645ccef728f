//! What a training split says of the numbers that a network reads and answers with, so that others can be treated alike.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};

use super::text::Vocabulary;

/// How numbers are prepared for a network, and undone in what it answers; it lies beside the parameters in a model's file. The
/// default leaves everything as it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preparation {
    /// `[I]`: how inputs are normalised; empty where they are read as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Normal>,
    /// `[K]`: how values to answer with are normalised; empty where they are learnt as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Normal>,
    /// `[I]`: what stands for a missing input where that is the mean; empty where it is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub means: Vec<f32>,
    /// `[K]`: what the data call the classes; empty where they are numbers already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// What tokens stand for, where the data are text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Vocabulary>,
}

/// `(x - mean) / deviation`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    pub mean: f32,
    /// Standard deviation (over n, not n - 1); 1 for what does not vary.
    pub deviation: f32,
}

/// What becomes of missing inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// They are refused.
    #[default]
    Refuse,
    /// The last one before counts on.
    Forward,
    /// 0, in the data's own units.
    Zero,
    /// The mean of the training split.
    Mean,
}

impl Normal {
    /// Of each of `width` columns over these rows, of which what is NaN is missing and counts for nothing.
    pub fn of<'a>(rows: impl Iterator<Item = &'a [f32]> + Clone, width: usize) -> Vec<Normal> {
        let Ok(normals) = Normal::of_passes(width, |see| {
            rows.clone().for_each(see);
            Ok::<_, Infallible>(())
        });
        normals
    }

    /// [`Normal::of`] the rows that `pass` shows, twice.
    ///
    /// # Errors
    /// Those of `pass`.
    pub(super) fn of_passes<E>(
        width: usize,
        mut pass: impl FnMut(&mut dyn FnMut(&[f32])) -> Result<(), E>,
    ) -> Result<Vec<Normal>, E> {
        // The mean first and then the squares around it: in f64, no digits of f32 are lost to a large mean.
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

    /// In deviations from the mean.
    pub fn apply(self, value: f32) -> f32 {
        ((f64::from(value) - f64::from(self.mean)) / f64::from(self.deviation)) as f32
    }

    /// In the data's own units.
    pub fn undo(self, value: f32) -> f32 {
        (f64::from(value) * f64::from(self.deviation) + f64::from(self.mean)) as f32
    }

    /// [`Normal::apply`] to rows of as many columns as there are normals; none leave them as they are.
    pub fn apply_all(normals: &[Normal], rows: &mut [f32]) {
        each(normals, rows, Normal::apply);
    }

    /// [`Normal::undo`] of rows of as many columns as there are normals; none leave them as they are.
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

/// The mean of `of(column, value)` for each column; 0 where there is none.
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
    /// What is wrong with a number that [`Preparation::fill`] leaves missing, at this row and column of sequence n.
    pub(super) fn refusal(self, n: usize, (row, column): (usize, usize)) -> String {
        let remedy = match self {
            Missing::Forward => "nothing stands before it; say data.missing = \"mean\" or \"zero\"",
            _ => {
                "say data.missing = \"forward\", \"mean\" or \"zero\" to have such elements filled"
            }
        };
        format!("sequence {n}, step {row}, feature {column} is NaN; {remedy}")
    }
}

impl Preparation {
    /// Whether everything is left as it is.
    pub fn is_plain(&self) -> bool {
        *self == Preparation::default()
    }

    /// Refuses what a network of these sizes cannot have been trained with.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, inputs: usize, outputs: usize) -> Result<(), String> {
        for (what, holds, needed) in [
            ("normalised inputs", self.inputs.len(), inputs),
            ("normalised targets", self.targets.len(), outputs),
            ("means", self.means.len(), inputs),
            ("classes", self.classes.len(), outputs),
        ] {
            if holds != 0 && holds != needed {
                return Err(format!(
                    "it has {holds} {what} where the network has {needed}"
                ));
            }
        }
        if let Some(vocabulary) = &self.vocabulary {
            vocabulary.check(inputs, outputs)?;
        }
        let sound = |normal: &Normal| {
            normal.mean.is_finite() && normal.deviation.is_finite() && normal.deviation > 0.0
        };
        if let Some(Normal { mean, deviation }) = self
            .inputs
            .iter()
            .chain(&self.targets)
            .find(|&normal| !sound(normal))
        {
            return Err(format!(
                "a column has the mean {mean} and the deviation {deviation}; both must be finite, and the latter above 0"
            ));
        }
        match self.means.iter().find(|mean| !mean.is_finite()) {
            Some(mean) => Err(format!(
                "a missing input stands for {mean}; it must be finite"
            )),
            None => Ok(()),
        }
    }

    /// What the data call this class.
    pub fn class(&self, class: usize) -> String {
        self.classes
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    }

    /// Puts something for what is missing in rows `[R, I]` of one sequence, in their own units.
    ///
    /// # Errors
    /// Row and column of a value that is missing where that is refused, or that nothing stands before.
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
    fn normalised_columns_have_mean_0_and_deviation_1_and_come_back() {
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
            // The mean is kept in f32, and 10,000 has half a thousandth of it to round away.
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
    fn what_is_missing_is_filled_as_told() {
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
    fn what_does_not_fit_the_network_is_refused() {
        let normal = Normal {
            mean: 0.0,
            deviation: 1.0,
        };
        let sound = Preparation {
            inputs: vec![normal; 3],
            targets: vec![normal; 2],
            ..Preparation::default()
        };
        assert_eq!(sound.check(3, 2), Ok(()));
        assert!(
            sound
                .check(2, 2)
                .unwrap_err()
                .contains("3 normalised inputs")
        );
        for (mean, deviation) in [(f32::NAN, 1.0), (0.0, 0.0), (0.0, f32::INFINITY)] {
            let mut broken = sound.clone();
            broken.inputs[1] = Normal { mean, deviation };
            assert!(broken.check(3, 2).unwrap_err().contains("must be finite"));
        }
    }
}
