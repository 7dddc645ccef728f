//! Normalization and missing values of the sequences of arrays.

use super::super::preparation::{Missing, Normal, Preparation};
use super::super::{Dataset, Inputs, Targets};
use super::Npy;
use crate::error::{Error, Result};

impl Npy {
    /// Computes mean and deviation of the features and target values of the training split.
    pub(super) fn learn(&self, train: &Dataset) -> Result<Preparation> {
        let mut preparation = Preparation::default();
        if self.normalise || self.missing == Missing::Mean {
            let normals = input_normals(train)?;
            if self.missing == Missing::Mean {
                preparation.means = normals.iter().map(|normal| normal.mean).collect();
            }
            if self.normalise {
                preparation.inputs = normals;
            }
        }
        if self.normalise {
            preparation.targets = target_normals(train);
        }
        Ok(preparation)
    }

    /// Fills missing inputs and normalizes inputs and target values.
    pub(super) fn prepare(&self, data: &mut Dataset, preparation: &Preparation) -> Result<()> {
        let (steps, features) = (data.steps, data.features);
        match &mut data.inputs {
            Inputs::Floats(values) => {
                for (n, rows) in values.chunks_mut(steps * features).enumerate() {
                    let length = data.lengths.as_ref().map_or(steps, |all| all[n] as usize);
                    let rows = &mut rows[..length * features];
                    let filled = preparation.fill(self.missing, rows, features);
                    filled.map_err(|at| {
                        let path = self.path.join(format!("{}.npy", self.inputs));
                        Error::file(path, self.missing.refusal(n, at))
                    })?;
                    Normal::apply_all(&preparation.inputs, rows);
                }
            }
            Inputs::Stored(stored) => stored.prepare(self.missing, preparation),
            Inputs::Bytes { .. } | Inputs::Tokens { .. } => {}
        }
        if let Targets::Values { values, .. } = &mut data.targets {
            Normal::apply_all(&preparation.targets, values);
        }
        Ok(())
    }
}

/// Mean and deviation of each feature over all valid steps; none for tokens.
fn input_normals(data: &Dataset) -> Result<Vec<Normal>> {
    match &data.inputs {
        Inputs::Floats(values) => Ok(normals(values, data, data.steps, data.features)),
        Inputs::Stored(stored) => stored.normals(),
        Inputs::Bytes { .. } | Inputs::Tokens { .. } => Ok(vec![]),
    }
}

/// Mean and deviation of each target value; none for classes.
fn target_normals(data: &Dataset) -> Vec<Normal> {
    match &data.targets {
        Targets::Values {
            values,
            width,
            per_step: true,
        } => normals(values, data, data.steps, *width),
        Targets::Values { values, width, .. } => Normal::of(values.chunks(*width), *width),
        Targets::Classes { .. } => vec![],
    }
}

/// Mean and deviation of each column of `[N, T, width]` over all valid steps.
fn normals(values: &[f32], data: &Dataset, steps: usize, width: usize) -> Vec<Normal> {
    let length = |n: usize| data.lengths.as_ref().map_or(steps, |all| all[n] as usize);
    let sequences = values.chunks(steps * width).enumerate();
    let rows = sequences.flat_map(|(n, rows)| rows[..length(n) * width].chunks(width));
    Normal::of(rows, width)
}
