//! Proposals for a series of numbers.

use std::path::Path;

use super::{DataPart, Hints, ProposedData, Role, window};
use crate::data::preparation::Missing;
use crate::data::series::Series;
use crate::network::{Loss, Reads};
use crate::recipe::DataRecipe;

/// Proposes to forecast a series of `count` values.
pub(super) fn propose(path: &Path, count: usize, hints: &Hints) -> ProposedData {
    let steps = window(hints, count);
    ProposedData {
        summary: format!("a series of {count} values"),
        parts: vec![DataPart {
            name: "values".into(),
            contents: "numbers".into(),
            missing: 0,
            role: Role::InputAndTarget,
        }],
        task: format!("a forecast of the next value, from windows of {steps}"),
        data: DataRecipe::Series(Series {
            path: Some(path.to_path_buf()),
            steps,
            test_fraction: 0.2,
            resolution: 0.1,
            range: [0.0, 0.1 * (steps + 1) as f64],
            windows: 1,
            season: None,
            normalise: true,
            missing: Missing::Refuse,
        }),
        reads: Reads::Every,
        loss: Loss::MeanSquaredError,
    }
}
