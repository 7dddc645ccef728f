//! The series that is continued.

use std::path::Path;

use crate::data::csv::Csv;
use crate::data::series::{self, Windows};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::recipe::DataRecipe;

/// The series that a model continues.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    /// `[length, I]`: as the network reads it.
    pub values: Vec<f32>,
    /// `[length, I]`: the seed and more of the series before it, to be shown. Normalised as the
    /// values are.
    pub history: Vec<f32>,
    /// T of the model's windows.
    pub steps: usize,
    /// `[I]`
    pub columns: Vec<String>,
}

impl Seed {
    /// The series in `file`. Without one, the first window of the model's own series. Of a table,
    /// the last window.
    ///
    /// # Errors
    /// [`Error::Data`] for a model that does not predict what it reads next; [`Error::File`] where
    /// the file cannot be read or has no rows.
    pub fn new(model: &Model, file: Option<&Path>) -> Result<Seed> {
        let (path, steps, resolution, range) = match &model.recipe.data {
            DataRecipe::Csv(csv) => return Seed::last_rows(model, csv, file),
            DataRecipe::Series {
                path,
                steps,
                resolution,
                range,
                ..
            } => (path, *steps, *resolution, *range),
            _ => {
                return Err(Error::data(
                    "this model was not trained on a series (see the recipe `series`)",
                ));
            }
        };
        let windows = Windows {
            steps,
            resolution,
            range,
        };
        let values = match (file, path) {
            (Some(file), _) => series::read(file)?,
            (None, Some(file)) => series::read(file)?.into_iter().take(steps).collect(),
            (None, None) => windows.first(),
        };
        Ok(Seed {
            history: values.clone(),
            values,
            steps,
            columns: vec!["value".into()],
        })
    }

    /// The last rows of a table, or of its last series where it has several.
    fn last_rows(model: &Model, csv: &Csv, file: Option<&Path>) -> Result<Seed> {
        if csv.inputs != csv.targets || csv.horizon != 1 {
            return Err(Error::data(format!(
                "the model reads {} and predicts {}, {} rows later; to continue a table it must \
                 predict what it reads next: data.targets the same as data.inputs, and \
                 data.horizon = 1. `gatescan predict` gives its predictions.",
                csv.inputs.join(", "),
                csv.targets.join(", "),
                csv.horizon
            )));
        }
        let path = file.unwrap_or(&csv.path);
        let series = csv.series(path, &model.preparation)?;
        let Some(last) = series.last() else {
            return Err(Error::file(path, "there is no row to continue"));
        };
        let last_values = |rows: usize| {
            let rows = rows.min(last.rows());
            last.inputs[last.inputs.len() - rows * csv.inputs.len()..].to_vec()
        };
        let steps = csv.steps.unwrap_or(last.rows());
        Ok(Seed {
            values: last_values(steps),
            history: last_values(steps.saturating_mul(4)),
            steps,
            columns: csv.inputs.clone(),
        })
    }
}
