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

fn keras_layer(cell: Cell) -> KerasLayer {
    let simple_rnn = KerasLayer {
        class: "SimpleRNN",
        group: "simple_rnn",
        gate_order: &[0],
        arguments: "",
    };
    let gru = KerasLayer {
        class: "GRU",
        group: "gru",
        // z, r, h.
        gate_order: &[1, 0, 2],
        arguments: "",
    };
    match cell {
        Cell::RnnTanh => simple_rnn,
        Cell::RnnRelu => KerasLayer {
            arguments: ", activation=\"relu\"",
            ..simple_rnn
        },
        Cell::Lstm | Cell::LstmPeephole => KerasLayer {
            class: "LSTM",
            group: "lstm",
            gate_order: &[0, 1, 2, 3],
            arguments: "",
        },
        Cell::Gru => gru,
        Cell::GruResetBefore => KerasLayer {
            arguments: ", reset_after=False",
            ..gru
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
