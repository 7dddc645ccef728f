//! Sequences to predict for, read from files of the kind that a model was trained on.

use std::path::Path;

use crate::data::Split;
use crate::data::source::{InputRequest, PredictionInputs};
use crate::error::Result;
use crate::model::Model;

/// Reads the sequences of a file or a directory of the kind that the model was trained on, prepared
/// as the training data. `split` selects the part of a directory of IDX files.
///
/// # Errors
/// [`Error::File`](crate::error::Error::File) for a file that cannot be read or does not fit;
/// [`Error::Data`](crate::error::Error::Data) for a model of a text.
pub fn load_inputs(model: &Model, path: &Path, split: Split) -> Result<PredictionInputs> {
    let network = &model.network;
    model.recipe.data.source().load_inputs(&InputRequest {
        path,
        split,
        preparation: &model.preparation,
        vocabulary: (!network.input.is_values()).then_some(network.input_size),
    })
}
