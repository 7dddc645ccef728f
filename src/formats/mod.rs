//! Models in the formats of other frameworks, and weights of other frameworks as models: [`onnx`],
//! [`pytorch`], [`keras`].
//!
//! An exported model takes and returns values in the units of the data: it normalises them as its
//! [`Preparation`](crate::data::preparation::Preparation) does, except that missing inputs must be
//! filled. Otherwise it computes the same as [`Predictor`](crate::infer::predict::Predictor).
//! Dropout is left out, since it is only applied in training; outputs at padded steps are
//! undefined.

mod hints;
pub mod keras;
pub mod onnx;
pub mod pytorch;
mod weights;

use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Head, Layer, Loss, Network};

pub use hints::{ImportHints, Imported};

/// A model's weights for another framework, and the program that builds the network there and loads
/// them.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    pub weights: Vec<u8>,
    /// A Python module.
    pub python: String,
}

/// Returns the model with a preparation that has an entry for each output.
///
/// # Errors
/// [`Error::Usage`] for means that are differences from inputs beside variances that are not.
fn with_output_preparation(model: &Model, format: &str) -> Result<Model> {
    if !model.network.heads.is_empty() {
        // Each head is prepared for itself.
        return Ok(model.clone());
    }
    let head = &model.network.head;
    if head.loss == Loss::GaussianNll && !model.preparation.residuals.is_empty() {
        return Err(Error::usage(format!(
            "the model predicts normal distributions of differences from the last value \
             (data.residual_on_last); these are not exported to {format}: train without \
             data.residual_on_last, or use another loss"
        )));
    }
    Ok(Model {
        preparation: model.preparation.of_outputs(head),
        ..model.clone()
    })
}

/// Returns a sentence on what several outputs of a target, or logits of labels, are; `None` for
/// other outputs.
fn outputs_note(head: &Head) -> Option<String> {
    let width = head.targets();
    match head.loss {
        Loss::Quantile { levels } => {
            let levels: Vec<String> = levels.levels().iter().map(f32::to_string).collect();
            Some(format!(
                "outputs are the quantiles {} of {width} targets, not sorted, those of one level \
                 side by side",
                levels.join(", ")
            ))
        }
        Loss::GaussianNll => Some(format!(
            "outputs are the means of {width} targets, then the logarithms of their variances"
        )),
        Loss::BinaryCrossEntropy => Some(
            "outputs are the logits of labels, each of its own: their sigmoid is the probability"
                .into(),
        ),
        _ => None,
    }
}

/// Checks that a framework has all layers of a network; `lacks` returns the first option of a layer
/// that the framework does not have.
///
/// # Errors
/// [`Error::Usage`] that names the layer and the option.
fn check_support<'a>(
    network: &'a Network,
    framework: &str,
    lacks: impl Fn(&'a Layer) -> Option<&'static str>,
) -> Result<()> {
    for (l, layer) in network.layers.iter().enumerate() {
        if let Some(option) = lacks(layer) {
            let instead = match layer.cell.spec().frameworks.onnx {
                Some(_) => "; use the ONNX format",
                None => ", and neither has ONNX",
            };
            return Err(Error::usage(format!(
                "layer {l}: {framework} has no {option}{instead}"
            )));
        }
    }
    Ok(())
}
