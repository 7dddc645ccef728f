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
        for index in 0..model.network.heads.len() {
            with_output_preparation(&model.of_head(index), format)?;
        }
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

/// Returns sentences on the steps ahead, and on what several outputs of a target, or logits of
/// labels, are; `None` for other outputs.
fn outputs_note(model: &Model) -> Option<String> {
    let source = model.recipe.data.source();
    let several = source.horizon().filter(|horizon| horizon.is_several());
    let ahead = several.map(|horizon| {
        format!(
            "targets are those of each step from {} to {} ahead, those of one step side by side",
            horizon.first(),
            horizon.last()
        )
    });
    let notes: Vec<String> = ahead
        .into_iter()
        .chain(head_note(&model.network.head))
        .collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn head_note(head: &Head) -> Option<String> {
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
        Loss::Ctc { .. } => Some(
            "outputs are the logits of each step: class 0 is the blank, and lists of labels are \
             decoded from them outside the exported network"
                .into(),
        ),
        _ => None,
    }
}

/// Whether states keep old values.
fn has_zoneout(layer: &Layer) -> bool {
    layer.zoneout > 0.0 || layer.zoneout_cell > 0.0
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
            let is_in_onnx = layer.cell.spec().frameworks.onnx.is_some();
            let has_onnx = is_in_onnx && !has_zoneout(layer) && !layer.layer_norm;
            let instead = if has_onnx {
                "; use the ONNX format"
            } else {
                ", and neither has ONNX"
            };
            return Err(Error::usage(format!(
                "layer {l}: {framework} has no {option}{instead}"
            )));
        }
    }
    Ok(())
}
