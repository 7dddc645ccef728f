//! The sequences that a model is asked to predict for, read from files of the kind that it was
//! trained on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::csv::Csv;
use crate::data::npy::Npy;
use crate::data::preparation::Missing;
use crate::data::{Dataset, Split, SplitBy, series};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::recipe::DataRecipe;

/// Sequences to predict for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The sequences. Targets are optional; any that are present are ignored.
    pub data: Dataset,
    pub positions: Positions,
}

/// Where the sequences of a [`Request`] are in their file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Positions {
    /// One after another.
    Sequences,
    /// Windows of a table.
    Rows {
        /// The column of the group, where the table has groups.
        group: Option<String>,
        /// `[N]`: the group and the first row of each window, from 0 in its group.
        windows: Vec<(String, usize)>,
        /// Rows from the last row of a window to the row that is predicted.
        horizon: usize,
    },
}

impl Request {
    /// Reads the sequences of a file or a directory of the kind that the model was trained on,
    /// prepared as the training data. `split` selects the part of a directory of IDX files.
    ///
    /// # Errors
    /// [`Error::File`] where the file cannot be read or does not fit; [`Error::Data`] for a model
    /// of a text.
    pub fn load(model: &Model, path: &Path, split: Split) -> Result<Request> {
        let preparation = &model.preparation;
        let sequences = |data: Dataset| Request {
            data,
            positions: Positions::Sequences,
        };
        match &model.recipe.data {
            DataRecipe::Csv(csv) => {
                let series = csv.series(path, preparation)?;
                let (data, windows) = csv.questions(&series, path)?;
                let named = |(n, row): (usize, usize)| (series[n].name.clone(), row);
                let positions = Positions::Rows {
                    group: csv.group.clone(),
                    windows: windows.into_iter().map(named).collect(),
                    horizon: csv.horizon,
                };
                Ok(Request { data, positions })
            }
            DataRecipe::Npy(npy) => Ok(sequences(npy.sequences(path, preparation)?)),
            DataRecipe::Series { steps, .. } => {
                let values = series::read(path)?;
                let csv = table_of_series(path, *steps);
                let (data, windows) = csv.questions(&[values.into()], path)?;
                let named = |(_, row): (usize, usize)| (String::new(), row);
                let positions = Positions::Rows {
                    group: None,
                    windows: windows.into_iter().map(named).collect(),
                    horizon: 1,
                };
                Ok(Request { data, positions })
            }
            DataRecipe::Idx { .. } => {
                let mut recipe = model.recipe.data.clone();
                recipe.set_path(path.to_path_buf());
                let data = recipe.load_split(split, model.recipe.seed)?;
                Ok(sequences(Arc::unwrap_or_clone(data)))
            }
            DataRecipe::Text(_) => Err(Error::data(
                "this model was trained on a text; `gatescan sample` writes text with it, and \
                 `gatescan eval` evaluates it on another text",
            )),
            DataRecipe::Arrays {} => {
                let network = &model.network;
                let vocabulary = (!network.input.is_values()).then_some(network.input_size);
                Ok(sequences(arrays(vocabulary).sequences(path, preparation)?))
            }
        }
    }
}

/// A series with one value in each line, as a table with one column.
fn table_of_series(path: &Path, steps: usize) -> Csv {
    let mut csv = Csv::new(path, &["value"], &["value"]);
    (csv.steps, csv.horizon, csv.every_step, csv.normalise) = (Some(steps), 1, true, false);
    csv
}

/// The arrays of a model that was trained on a program's arrays: inputs, and lengths if there are
/// any.
fn arrays(vocabulary: Option<usize>) -> Npy {
    Npy {
        path: PathBuf::new(),
        inputs: "inputs".into(),
        labels: None,
        targets: None,
        lengths: Some("lengths".into()),
        groups: None,
        classes: None,
        vocabulary,
        test_path: None,
        test_fraction: 0.0,
        split_by: SplitBy::Order,
        normalise: false,
        missing: Missing::Refuse,
    }
}
