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
use crate::network::{Layer, Network};

pub use hints::{ImportHints, Imported};

/// A model's weights for another framework, and the program that builds the network there and loads
/// them.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    pub weights: Vec<u8>,
    /// A Python module.
    pub python: String,
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
