//! Proposals for a series of numbers.

use std::path::Path;

use super::{DataPart, Hints, ProposedData, Role, window};
use crate::data::preparation::Missing;
use crate::data::series::Series;
use crate::network::{Loss, Reads};
use crate::recipe::DataRecipe;

/// Proposes to forecast a series of these values, of which NaN are missing.
pub(super) fn propose(path: &Path, values: &[f64], hints: &Hints) -> ProposedData {
    let count = values.len();
    let steps = window(hints, count);
    let missing = values.iter().filter(|value| value.is_nan()).count();
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |range, &value| {
            (range.0.min(value), range.1.max(value))
        });
    ProposedData {
        summary: format!("a series of {count} values"),
        parts: vec![DataPart {
            name: "values".into(),
            contents: format!("numbers, {low} to {high}"),
            missing,
            role: Role::InputAndTarget,
        }],
        task: match hints.horizon {
            next if next == 1.into() => {
                format!("a forecast of the next value, from windows of {steps}")
            }
            ahead => format!("a forecast of the value {ahead} ahead, from windows of {steps}"),
        },
        findings: vec![],
        data: DataRecipe::Series(Series {
            path: Some(path.to_path_buf()),
            steps,
            horizon: hints.horizon,
            test_fraction: 0.2,
            resolution: 0.1,
            range: [0.0, 0.1 * (steps + 1) as f64],
            windows: 1,
            season: None,
            normalise: true,
            missing: if missing > 0 {
                Missing::Forward
            } else {
                Missing::Refuse
            },
            residual_on_last: false,
            residual_on_linear: false,
            linear_of_training: false,
            fold: None,
            differences: vec![],
            context: 0,
            validation_fraction: 0.0,
        }),
        reads: Reads::Every,
        loss: Loss::MeanSquaredError,
    }
}
