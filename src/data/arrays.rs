//! Data that a program passes to the library as arrays.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::npy::Npy;
use super::preparation::Preparation;
use super::source::{
    DataSource, DataUse, ExpectedPath, InputRequest, PredictionInputs, SequenceSizes,
};
use super::{SplitBy, Splits};
use crate::error::{Error, Result};

/// [`Dataset`](super::Dataset)s of the caller. A recipe alone cannot load them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrays {}

impl DataSource for Arrays {
    fn path(&self) -> Option<&Path> {
        None
    }

    fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        vec![]
    }

    fn expected_path(&self) -> ExpectedPath {
        ExpectedPath::Nothing(
            "the model was trained on arrays of a program that uses the library, \
             and its recipe reads no files",
        )
    }

    fn exists(&self) -> bool {
        false
    }

    fn validate(&self, _usage: &DataUse) -> Result<()> {
        Ok(())
    }

    fn outputs(&self) -> usize {
        // The arrays determine them; ctc needs at least 2.
        2
    }

    fn load(&self, _seed: u64, _known: Option<&Preparation>) -> Result<Splits> {
        Err(Error::usage(
            "data.kind is \"arrays\": the data are arrays of a program that uses the library, and \
             a recipe cannot load them; evaluate the model in that program, or set data.kind to \
             \"csv\", \"npy\", \"idx\", \"series\" or \"text\"",
        ))
    }

    fn load_inputs(&self, request: &InputRequest) -> Result<PredictionInputs> {
        let npy = Npy {
            lengths: Some("lengths".into()),
            vocabulary: request.vocabulary,
            test_fraction: 0.0,
            split_by: SplitBy::Order,
            normalise: false,
            ..Npy::new(Path::new(""), "inputs")
        };
        Ok(npy.sequences(request.path, request.preparation)?.into())
    }

    fn sizes(&self, _seed: u64) -> Result<SequenceSizes> {
        Err(Error::usage(
            "data.kind is \"arrays\": the data are arrays of a program that uses the library, and \
             the recipe does not tell their sizes; use a recipe with another kind of data",
        ))
    }
}
