//! Keras 3: [`export`] writes a `.weights.h5` and the program that builds the model and loads it.
//! [`import`] reads what Keras saves: `model.save_weights("model.weights.h5")`,
//! `model.save("model.keras")`, or an `.npz` of Keras's paths,
//! `numpy.savez("model.npz", **{w.path: w for w in model.weights})`.

mod archive;
mod config;
mod described;
mod export;
mod hdf5;
mod import;
mod layer_reader;
mod python;

use super::weights::columns;
use crate::cells::{Cell, FrameworkCell};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::Parameter;

pub use export::export;
pub use import::import;

/// Returns Keras's layer of a cell.
///
/// # Errors
/// [`Error::Usage`] if Keras has none.
fn keras_layer(cell: Cell) -> Result<FrameworkCell> {
    let layer = cell.spec().frameworks.keras;
    layer.ok_or_else(|| Error::usage(format!("Keras has no {}", cell.name())))
}

/// The indices of several heads in the order in which Keras stores their weights: its layers are
/// ordered by the layers that follow them, of which there are some where outputs are scaled, and
/// then by the keys of the dictionary of outputs.
fn heads_in_order(model: &Model) -> Vec<usize> {
    let heads = &model.network.heads;
    let mut indices: Vec<usize> = (0..heads.len()).collect();
    indices.sort_by_cached_key(|&index| {
        let own = model.of_head(index);
        let is_scaled = columns(&own.preparation.of_outputs(&own.network.head).targets).is_some();
        (!is_scaled, heads[index].name.clone())
    });
    indices
}

fn array(name: &str, shape: &[usize], values: Vec<f32>) -> Parameter {
    Parameter {
        name: name.into(),
        shape: shape.to_vec(),
        values,
    }
}
