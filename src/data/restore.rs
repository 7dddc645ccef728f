//! Outputs of a network in the units of the data, and the way back: targets as the network predicts
//! them. The only place that knows of differences from the last value.

use super::preparation::{InputDifference, Normal, Preparation};
use crate::network::{Head, Loss};

impl Preparation {
    /// Returns the preparation with an entry for each output of a network in place of each target,
    /// where a loss needs several outputs for a target. The logarithm of a variance is restored by
    /// adding that of the square of the target's deviation.
    pub fn of_outputs(&self, head: &Head) -> Preparation {
        let (each, width) = (head.loss.outputs_per_target(), head.targets());
        let mut expanded = self.clone();
        match head.loss {
            Loss::Quantile { .. } => {
                expanded.targets = self.targets.repeat(each);
                expanded.residuals = self.residuals.repeat(each);
                expanded.linear = self.linear.repeat(each);
            }
            // Only the means are differences from inputs.
            Loss::GaussianNll if !(self.targets.is_empty() && self.residuals.is_empty()) => {
                expanded.targets.resize(width, Normal::IDENTITY);
                let variance = |normal: &Normal| Normal {
                    mean: 2.0 * normal.deviation.ln(),
                    deviation: 1.0,
                };
                let variances: Vec<Normal> = expanded.targets.iter().map(variance).collect();
                expanded.targets.extend(variances);
            }
            _ => {}
        }
        expanded.add_adjustment(head.size);
        expanded
    }

    /// Makes the adjustment of intervals part of the means of the outputs.
    fn add_adjustment(&mut self, outputs: usize) {
        let added = std::mem::take(&mut self.interval_adjustment);
        if added.is_empty() {
            return;
        }
        self.targets.resize(outputs, Normal::IDENTITY);
        let normals = self.targets.iter_mut().zip(added);
        normals.for_each(|(normal, added)| normal.mean += added);
    }

    /// Returns outputs `[R, K]` of a network in the units of the data. `inputs` `[R, I]` are the
    /// prepared inputs of the same steps; without [`Preparation::residuals`] they are not read and
    /// may be empty.
    pub fn restore(&self, outputs: &[f32], inputs: &[f32]) -> Vec<f64> {
        let width = self.targets.len().max(self.residuals.len()).max(1);
        let features = inputs.len() / (outputs.len() / width).max(1);
        let restored = outputs.iter().enumerate().map(|(at, &output)| {
            let (row, k) = (at / width, at % width);
            let input = inputs.get(row * features..(row + 1) * features);
            self.restore_value(k, output, input.unwrap_or_default())
        });
        restored.collect()
    }

    /// Returns output `k` in the units of the data; `input` `[I]` are the prepared inputs of its
    /// step.
    pub fn restore_value(&self, k: usize, output: f32, input: &[f32]) -> f64 {
        let normal = self.targets.get(k).copied().unwrap_or(Normal::IDENTITY);
        normal.undo(output) + self.base(k, input)
    }

    /// Returns a value of target `k`, in the units of the data, as the network is to predict it
    /// from the prepared inputs `[I]` of the target's step.
    pub fn as_output(&self, k: usize, value: f64, input: &[f32]) -> f64 {
        let normal = self.targets.get(k).copied().unwrap_or(Normal::IDENTITY);
        (value - self.base(k, input) - normal.mean) / normal.deviation
    }

    /// Returns the prepared value of input `feature` in the units of the data.
    pub fn restore_input(&self, feature: usize, prepared: f32) -> f64 {
        let normal = self.inputs.get(feature);
        normal.copied().unwrap_or(Normal::IDENTITY).undo(prepared)
    }

    /// Returns the first `kept` columns of prepared inputs `[R, I]` in the units of the data.
    pub fn restore_inputs(&self, rows: &[f32], inputs: usize, kept: usize) -> Vec<f64> {
        let row = |row: &[f32]| -> Vec<f64> {
            let kept = row.iter().take(kept).enumerate();
            kept.map(|(feature, &prepared)| self.restore_input(feature, prepared))
                .collect()
        };
        rows.chunks(inputs).flat_map(row).collect()
    }

    /// Returns output `k`, a value in the units of the data, without the digits that a network does
    /// not resolve.
    pub fn significant_output(&self, k: usize, value: f64) -> f64 {
        significant(self.targets.get(k), value)
    }

    /// Returns a value of input `feature`, in the units of the data, without the digits that a
    /// network does not resolve.
    pub fn significant_input(&self, feature: usize, value: f64) -> f64 {
        significant(self.inputs.get(feature), value)
    }

    /// Returns a value of input `feature`, in the units of the data, prepared.
    pub fn prepare_input(&self, feature: usize, value: f64) -> f32 {
        let normal = self
            .inputs
            .get(feature)
            .copied()
            .unwrap_or(Normal::IDENTITY);
        normal.apply(value)
    }

    /// Returns the inputs that are differences at step `step` of a sequence, `[D]`; `row` returns
    /// the prepared inputs of a step up to that one, `[I - D]` or more.
    pub(crate) fn differences_at<'a>(
        &self,
        step: usize,
        row: impl Fn(usize) -> &'a [f32],
    ) -> Vec<f32> {
        let difference = |&InputDifference { input, lag, scale }: &InputDifference| {
            let [now, before] = [step, step.saturating_sub(lag)].map(|step| row(step)[input]);
            ((f64::from(now) - f64::from(before)) * scale) as f32
        };
        self.differences.iter().map(difference).collect()
    }

    /// Returns prepared inputs `[R, I - D]` of the steps of one sequence with those that are
    /// differences, `[R, I]`.
    pub fn with_differences(&self, rows: &[f32], width: usize) -> Vec<f32> {
        if self.differences.is_empty() {
            return rows.to_vec();
        }
        let row = |step: usize| &rows[step * width..(step + 1) * width];
        let extended = |step: usize| {
            let differences = self.differences_at(step, row);
            row(step).iter().copied().chain(differences)
        };
        (0..rows.len() / width.max(1)).flat_map(extended).collect()
    }

    /// Returns what output `k` is a difference from: the last value, and what a linear regression
    /// on the prepared inputs `[I]` adds to it; 0 if it is none.
    fn base(&self, k: usize, input: &[f32]) -> f64 {
        let last = self.residuals.get(k).and_then(|&feature| {
            let prepared = input.get(feature)?;
            Some(self.restore_input(feature, *prepared))
        });
        last.unwrap_or(0.0) + self.linear_change(k, input)
    }

    /// Returns the change of target `k` from its last value by the linear regression; 0 without
    /// one.
    pub(super) fn linear_change(&self, k: usize, input: &[f32]) -> f64 {
        let weights = self.linear.chunks(input.len().max(1)).nth(k);
        let terms = weights.into_iter().flatten().zip(input);
        terms
            .map(|(weight, &input)| weight * f64::from(input))
            .sum()
    }
}

/// Returns a value rounded to 1e-7 deviations, about the resolution of f32; without a
/// normalization, the shortest decimal number of its f32.
fn significant(normal: Option<&Normal>, value: f64) -> f64 {
    let Some(normal) = normal else {
        return (value as f32).to_string().parse().unwrap_or(value);
    };
    let decimals = (7.0 - normal.deviation.log10().ceil()).clamp(0.0, 300.0);
    let scale = 10f64.powi(decimals as i32);
    let scaled = value * scale;
    // Beyond 2^53 every f64 is a whole number.
    if scaled.abs() < (1u64 << 53) as f64 {
        scaled.round() / scale
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Init, Reads};

    /// Two inputs and one target, the difference from the second input.
    fn preparation() -> Preparation {
        let normal = |mean, deviation| Normal { mean, deviation };
        Preparation {
            inputs: vec![normal(1.0, 2.0), normal(1e6, 10.0)],
            targets: vec![normal(0.5, 0.25)],
            residuals: vec![1],
            ..Preparation::default()
        }
    }

    #[test]
    fn the_last_value_is_added_to_differences() {
        let preparation = preparation();
        // The last values are 1,000,005 and 999,990.
        let inputs = [3.0, 0.5, -1.0, -1.0];
        let restored = preparation.restore(&[2.0, -2.0], &inputs);
        assert_eq!(restored, [1_000_006.0, 999_990.0]);
        for (row, &value) in restored.iter().enumerate() {
            let input = &inputs[2 * row..][..2];
            let output = preparation.as_output(0, value, input);
            assert_eq!(output, [2.0, -2.0][row]);
        }
    }

    #[test]
    fn a_linear_regression_is_added_too() {
        let preparation = Preparation {
            linear: vec![4.0, -2.0],
            ..preparation()
        };
        // 0.5 * 4 - 2 * 3 = -4 is added to the last value.
        assert_eq!(preparation.restore(&[2.0], &[0.5, 3.0]), [1_000_027.0]);
        assert_eq!(preparation.as_output(0, 1_000_027.0, &[0.5, 3.0]), 2.0);
    }

    #[test]
    fn intervals_are_adjusted_in_the_units_of_the_data() {
        let head = Head {
            size: 3,
            reads: Reads::Last,
            loss: Loss::quantiles(&[0.1, 0.5, 0.9]).expect("they ascend"),
            init: Init::default(),
        };
        let mut adjusted = preparation();
        adjusted.interval_adjustment = vec![-2.0, 0.0, 2.0];
        let outputs = adjusted.of_outputs(&head);
        assert!(outputs.interval_adjustment.is_empty());
        // The last value is 1,000,005; an output of 2 adds 1.
        let restored = outputs.restore(&[2.0; 3], &[3.0, 0.5]);
        assert_eq!(restored, [1_000_004.0, 1_000_006.0, 1_000_008.0]);
        // Without a normalization too.
        let plain = Preparation {
            interval_adjustment: vec![-1.0, 0.0, 1.0],
            ..Preparation::default()
        };
        assert_eq!(
            plain.of_outputs(&head).restore(&[5.0; 3], &[]),
            [4.0, 5.0, 6.0]
        );
        assert!(plain.check(2, 2).is_err() && plain.check(2, 3).is_ok());
    }

    #[test]
    fn other_targets_are_restored_without_inputs() {
        let plain = Preparation {
            residuals: vec![],
            ..preparation()
        };
        assert_eq!(plain.restore(&[2.0, 0.0], &[]), [1.0, 0.5]);
        assert_eq!(Preparation::default().restore(&[2.0, 0.0], &[]), [2.0, 0.0]);
        assert_eq!(plain.as_output(0, 1.0, &[]), 2.0);
    }

    #[test]
    fn differences_are_added_to_the_inputs() {
        let difference = |input, lag, scale| InputDifference { input, lag, scale };
        let preparation = Preparation {
            differences: vec![difference(1, 1, 4.0), difference(0, 2, 0.5)],
            ..preparation()
        };
        let rows = preparation.with_differences(&[1.0, 5.0, 3.0, 5.5, 4.0, 5.0, 9.0, 5.0], 2);
        let expected = [
            [1.0, 5.0, 0.0, 0.0],
            [3.0, 5.5, 2.0, 1.0],
            [4.0, 5.0, -2.0, 1.5],
            [9.0, 5.0, 0.0, 3.0],
        ];
        assert_eq!(rows, expected.concat());
    }

    #[test]
    fn inputs_are_prepared_and_restored() {
        let preparation = preparation();
        assert_eq!(preparation.prepare_input(1, 1_000_005.0), 0.5);
        assert_eq!(preparation.restore_input(1, 0.5), 1_000_005.0);
        assert_eq!(Preparation::default().restore_input(7, 0.5), 0.5);
        let rows = preparation.restore_inputs(&[0.0, 1.0, 1.0, 2.0], 2, 1);
        assert_eq!(rows, [1.0, 3.0]);
    }

    #[test]
    fn digits_below_the_resolution_are_dropped() {
        let preparation = Preparation {
            targets: vec![
                Normal {
                    mean: 1.7e9,
                    deviation: 0.5,
                },
                Normal {
                    mean: 20.0,
                    deviation: 4.0,
                },
            ],
            ..Preparation::default()
        };
        let printed = |k, value| preparation.significant_output(k, value).to_string();
        assert_eq!(printed(0, 1_700_000_000.25), "1700000000.25");
        assert_eq!(printed(1, 21.300_000_001), "21.3");
        // An output that is not normalized is printed as f32.
        assert_eq!(printed(2, f64::from(3.4f32)), "3.4");
    }
}
