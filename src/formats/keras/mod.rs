//! Keras 3: [`export`] writes a `.weights.h5` and the program that builds the model and loads it.
//! [`import`] reads what Keras saves: `model.save_weights("model.weights.h5")`,
//! `model.save("model.keras")`, or an `.npz` of Keras's paths,
//! `numpy.savez("model.npz", **{w.path: w for w in model.weights})`.

mod archive;
mod export;
mod hdf5;
mod import;
mod python;

use crate::cells::Cell;
use crate::network::Parameter;

pub use export::export;
pub use import::import;

/// The layer of Keras that has a cell.
struct KerasLayer {
    /// Its class in Python.
    class: &'static str,
    /// Its class in the paths of files.
    group: &'static str,
    /// Block n of Keras's weights is that of gate `gate_order[n]`. Each order is its own inverse.
    gate_order: &'static [usize],
    /// The arguments that choose the cell.
    arguments: &'static str,
}

/// # Panics
/// If Keras does not have the cell, which the export refuses first.
fn keras_layer(cell: Cell) -> KerasLayer {
    let layer = cell.spec().frameworks.keras;
    let layer = layer.expect("the export refuses cells that Keras does not have");
    KerasLayer {
        class: layer.name,
        group: match layer.name {
            "SimpleRNN" => "simple_rnn",
            "GRU" => "gru",
            _ => "lstm",
        },
        gate_order: layer.gate_order,
        arguments: match cell {
            Cell::RnnRelu => ", activation=\"relu\"",
            Cell::GruResetBefore => ", reset_after=False",
            _ => "",
        },
    }
}

fn array(name: &str, shape: &[usize], values: Vec<f32>) -> Parameter {
    Parameter {
        name: name.into(),
        shape: shape.to_vec(),
        values,
    }
}
