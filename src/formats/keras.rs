//! Keras: the weights as the `.weights.h5` of Keras 3, and the program that builds the model and loads them. What Keras trained
//! comes back by `model.save_weights("model.weights.h5")`, by `model.save("model.keras")`, or under Keras's paths by
//! `numpy.savez("model.npz", **{w.path: w for w in model.weights})`.

use std::fmt::Write;
use std::io::Cursor;

use ndarray::{ArrayViewD, CowArray};
use ndarray_npy::ViewNpyExt;
use serde_json::Value;
use zip::ZipArchive;

use super::hdf5::{self, Stored};
use super::{Export, Unsaid, Weights, bias_of, columns, gates, refuse, transposed};
use crate::cells::Cell;
use crate::data::npy;
use crate::error::{Error, Result};
use crate::io::files;
use crate::model::Model;
use crate::network::{Bias, Direction, Input, Layer, Network, Parameter, Reads};

/// The largest array of a file, in bytes.
const LARGEST_ARRAY: u64 = 1 << 32;
/// The members of a `.keras`: the weights, and the layers that they are of.
const WEIGHTS: &str = "model.weights.h5";
const CONFIG: &str = "config.json";
/// The largest description of a model, in bytes.
const LARGEST_CONFIG: u64 = 1 << 24;
/// The most arrays of an `.npz`.
const MOST_ARRAYS: usize = 1 << 16;

/// Gates r, z, n as Keras's z, r, h, and back; the others stand in the same order.
fn order(cell: Cell) -> &'static [usize] {
    match cell.facts().gates {
        1 => &[0],
        3 => &[1, 0, 2],
        _ => &[0, 1, 2, 3],
    }
}

/// Keras's layer of a cell, in Python and as its files have it.
fn class(cell: Cell) -> (&'static str, &'static str) {
    match cell.facts().gates {
        1 => ("SimpleRNN", "simple_rnn"),
        3 => ("GRU", "gru"),
        _ => ("LSTM", "lstm"),
    }
}

/// The model as `.weights.h5` and as the program that builds and loads it; `weights` is what the program calls their file. Two
/// biases of an RNN, an LSTM or a GRU with the reset gate before the product become their sum.
///
/// # Errors
/// [`Error::Usage`] for what Keras's layers do not have: peepholes, projections, clipping, directions of
/// different sizes.
pub fn export(model: &Model, weights: &str) -> Result<Export> {
    let network = &model.network;
    network.from_parameters(&model.parameters)?;
    refuse(network, "Keras", |layer| {
        vec![
            (layer.cell == Cell::LstmPeephole, "LSTM with peepholes"),
            (layer.projection_size.is_some(), "LSTM with a projection"),
            (layer.cell_clip.is_some(), "LSTM that clips c"),
            // Its `Bidirectional` takes such layers, and then says that it emits twice what the forward one does.
            (
                layer.emitted_size() != 2 * layer.hidden_size && layer.bidirectional,
                "layer whose directions differ in size",
            ),
        ]
    })?;
    let mut stored = vec![];
    if let Input::Embedding { size, .. } = network.input {
        let values = model.parameter("embedding.weight")?.to_vec();
        let table = array("embeddings", &[network.input_size, size], values);
        stored.push(Stored {
            class: "embedding",
            name: "embedding".into(),
            arrays: vec![("", vec![table])],
        });
    }
    for direction in network.directions() {
        let Direction {
            layer_index: level,
            reversed,
            inputs,
            layer,
            ..
        } = &direction;
        let own = Weights::of(model, &direction)?;
        let (h, order) = (layer.hidden_size, order(layer.cell));
        let holder = match (layer.bidirectional, reversed) {
            (false, _) => "cell",
            (true, false) => "forward_layer/cell",
            (true, true) => "backward_layer/cell",
        };
        let mut arrays = vec![];
        let columns = order.len() * h;
        for (what, values, rows) in [
            ("kernel", own.input, *inputs),
            ("recurrent_kernel", own.recurrent, h),
        ] {
            let values = transposed(&gates(values, order), rows);
            arrays.push(array(what, &[rows, columns], values));
        }
        if let Some(first) = own.input_bias {
            let mut bias = gates(first, order);
            let second = own.recurrent_bias.map(|second| gates(second, order));
            if layer.cell == Cell::Gru {
                bias.extend(second.unwrap_or_else(|| vec![0.0; columns]));
                arrays.push(array("bias", &[2, columns], bias));
            } else {
                let second = second.filter(|second| second.iter().any(|&more| more != 0.0));
                bias.iter_mut()
                    .zip(second.unwrap_or_default())
                    .for_each(|(bias, more)| *bias += more);
                arrays.push(array("bias", &[columns], bias));
            }
        }
        match stored.last_mut().filter(|_| *reversed) {
            Some(both) => both.arrays.push((holder, arrays)),
            None if layer.bidirectional => stored.push(Stored {
                class: "bidirectional",
                name: format!("bidirectional{level}"),
                arrays: vec![(holder, arrays)],
            }),
            None => stored.push(Stored {
                class: class(layer.cell).1,
                name: format!("rnn{level}"),
                arrays: vec![(holder, arrays)],
            }),
        }
    }
    let (inputs, outputs) = (network.head_inputs(), network.head.size);
    // A `Dense` has a kernel of its own, so what is tied is written twice.
    let kernel = transposed(model.parameter(&network.head_weight())?, inputs);
    let bias = model.parameter("head.bias")?.to_vec();
    stored.push(Stored {
        class: "dense",
        name: "head".into(),
        arrays: vec![(
            "",
            vec![
                array("kernel", &[inputs, outputs], kernel),
                array("bias", &[outputs], bias),
            ],
        )],
    });
    Ok(Export {
        weights: hdf5::write(&stored).map_err(Error::Usage)?,
        python: python(model, weights),
    })
}

fn array(name: &str, shape: &[usize], values: Vec<f32>) -> Parameter {
    Parameter {
        name: name.into(),
        shape: shape.to_vec(),
        values,
    }
}

fn python(model: &Model, weights: &str) -> String {
    let network = &model.network;
    let Network {
        input_size, head, ..
    } = *network;
    let mut text = match network.input {
        Input::Values => {
            format!("    inputs = x = keras.Input([None, {input_size}], name=\"inputs\")\n")
        }
        _ => "    inputs = x = keras.Input([None], dtype=\"int32\", name=\"tokens\")\n".into(),
    };
    let mask =
        "    mask = keras.Input([None], dtype=\"bool\", name=\"mask\") if masked else None\n";
    text += mask;
    if let Some([means, deviations]) = columns(&model.preparation.inputs) {
        let _ = writeln!(
            text,
            "    x = (x - numpy.float32({means:?})) / numpy.float32({deviations:?})"
        );
    }
    match network.input {
        Input::Values => {}
        Input::OneHot => {
            let _ = writeln!(text, "    x = keras.ops.one_hot(x, {input_size})");
        }
        Input::Embedding { size, .. } => {
            let _ = writeln!(
                text,
                "    x = keras.layers.Embedding({input_size}, {size}, name=\"embedding\")(x)"
            );
        }
    }
    let last = network.layers.len() - 1;
    for (level, layer) in network.layers.iter().enumerate() {
        let mut options = String::new();
        if level < last || head.reads == Reads::Every {
            options += ", return_sequences=True";
        }
        match layer.cell {
            Cell::RnnRelu => options += ", activation=\"relu\"",
            Cell::GruResetBefore => options += ", reset_after=False",
            _ => {}
        }
        if layer.bias == Bias::None {
            options += ", use_bias=False";
        }
        let (class, _) = class(layer.cell);
        let h = layer.hidden_size;
        let mut own = format!("keras.layers.{class}({h}{options}, name=\"rnn{level}\")");
        if layer.bidirectional {
            own = format!("keras.layers.Bidirectional({own}, name=\"bidirectional{level}\")");
        }
        let residual = if layer.residual { " + x" } else { "" };
        let _ = writeln!(text, "    x = {own}(x, mask=mask){residual}");
    }
    let _ = writeln!(
        text,
        "    outputs = keras.layers.Dense({}, name=\"head\")(x)",
        head.size
    );
    if let Some([means, deviations]) = columns(&model.preparation.targets) {
        let _ = writeln!(
            text,
            "    outputs = outputs * numpy.float32({deviations:?}) + numpy.float32({means:?})"
        );
    }
    format!(
        r#"# Written by `gatescan export --to keras`.
from pathlib import Path

import keras
import numpy


def build(masked=False):
    """The model; if `masked`, of [inputs, mask], where mask [batch, time] is true for the steps that a sequence has."""
{text}    return keras.Model([inputs, mask] if masked else inputs, outputs)


def load(weights=Path(__file__).with_name("{weights}"), masked=False):
    model = build(masked)
    model.load_weights(weights)
    return model


if __name__ == "__main__":
    load().save("model.keras")
"#
    )
}

/// One direction of a layer, as its arrays come.
#[derive(Default)]
struct Found {
    path: String,
    kernel: Option<Parameter>,
    recurrent: Option<Parameter>,
    bias: Option<Parameter>,
}

/// The model of a `.weights.h5`, a `.keras`, or an `.npz` of weights under Keras's paths in the model's order: `SimpleRNN`,
/// `LSTM`, `GRU`, each perhaps in `Bidirectional`, a `Dense` and perhaps an `Embedding`; where the two have the same weights,
/// they are tied.
///
/// # Errors
/// [`Error::Usage`] for arrays that make no such network, each by its name.
pub fn import(bytes: &[u8], name: &str, unsaid: &Unsaid) -> Result<Model> {
    let arrays = match bytes.starts_with(hdf5::SIGNATURE) {
        true => hdf5::read(bytes, None),
        false => read_zip(bytes),
    };
    let arrays = arrays.map_err(Error::Usage)?;
    let mut groups: Vec<Found> = vec![];
    let mut embedding = None;
    for array in arrays {
        let (path, what) = array.name.rsplit_once('/').unwrap_or(("", &array.name));
        if what == "embeddings" && embedding.is_none() {
            embedding = Some(array);
            continue;
        }
        if groups.last().is_none_or(|group| group.path != path) {
            groups.push(Found {
                path: path.into(),
                ..Found::default()
            });
        }
        let group = groups.last_mut().expect("there is one now");
        let place = match what {
            "kernel" => &mut group.kernel,
            "recurrent_kernel" => &mut group.recurrent,
            "bias" => &mut group.bias,
            _ => {
                return Err(Error::Usage(format!(
                    "array {} is no weight of SimpleRNN, LSTM, GRU, Dense or Embedding; save the model by \
                     `numpy.savez(\"model.npz\", **{{w.path: w for w in model.weights}})`",
                    array.name
                )));
            }
        };
        *place = Some(array);
    }
    let (mut layers, mut parameters): (Vec<Layer>, Vec<Parameter>) = (vec![], vec![]);
    let (mut read, mut outputs) = (None, None);
    for group in groups {
        let path = group.path.clone();
        let lacks = |what: &str| Error::Usage(format!("{path}: there is no matrix {what}"));
        let (rows, _) = matrix(&group.kernel).ok_or_else(|| lacks("kernel"))?;
        if outputs.is_some() {
            return Err(Error::Usage(format!(
                "{path} comes behind the linear head; gatescan has one `Dense`, the last layer"
            )));
        }
        if group.recurrent.is_none() {
            outputs = Some(head(group, &mut parameters)?);
            continue;
        }
        read.get_or_insert(rows);
        let backward = path.split('/').any(|part| part.starts_with("backward_"));
        let level = layers.len() - usize::from(backward && !layers.is_empty());
        let layer = direction(group, level, backward, unsaid, &mut parameters)?;
        match layers.last_mut().filter(|_| backward) {
            None => layers.push(layer),
            Some(forward) => {
                forward.bidirectional = true;
                if forward.cell != layer.cell
                    || (forward.bias == Bias::None) != (layer.bias == Bias::None)
                {
                    return Err(Error::Usage(format!(
                        "{path}: gatescan's directions have one cell and the same biases"
                    )));
                }
                if layer.bias == Bias::Double {
                    forward.bias = Bias::Double;
                }
                let size = layer.hidden_size;
                forward.backward_hidden_size = (size != forward.hidden_size).then_some(size);
            }
        }
    }
    let Some(read) = read else {
        return Err(Error::usage(
            "there is no recurrent layer: no array `.../recurrent_kernel`",
        ));
    };
    let Some(outputs) = outputs else {
        return Err(Error::usage(
            "there is no linear head: no `Dense` behind the recurrent layers",
        ));
    };
    let mut input = (read, Input::Values);
    if unsaid.one_hot {
        input.1 = Input::OneHot;
    }
    if let Some(mut table) = embedding {
        let &[vocabulary, size] = &table.shape[..] else {
            return Err(Error::Usage(format!("{} is no matrix", table.name)));
        };
        let init = Default::default();
        input = (
            vocabulary,
            Input::Embedding {
                size,
                padding_idx: None,
                init,
                tied: false,
            },
        );
        table.name = "embedding.weight".into();
        parameters.push(table);
    }
    unsaid.model(name, input, layers, outputs, parameters)
}

/// The extents of a matrix.
fn matrix(array: &Option<Parameter>) -> Option<(usize, usize)> {
    match array.as_ref()?.shape[..] {
        [rows, columns] if rows > 0 && columns > 0 => Some((rows, columns)),
        _ => None,
    }
}

/// A `Dense`: its parameters, and K.
fn head(group: Found, parameters: &mut Vec<Parameter>) -> Result<usize> {
    let Some((rows, outputs)) = matrix(&group.kernel) else {
        return Err(Error::Usage(format!(
            "{}: its kernel is no matrix",
            group.path
        )));
    };
    let kernel = group.kernel.map_or(vec![], |kernel| kernel.values);
    let kernel = transposed(&kernel, outputs);
    parameters.push(array("head.weight", &[outputs, rows], kernel));
    let bias = group.bias.map_or(vec![0.0; outputs], |bias| bias.values);
    parameters.push(array("head.bias", &[bias.len()], bias));
    Ok(outputs)
}

/// One direction: a layer as it would be alone, and its parameters.
fn direction(
    group: Found,
    level: usize,
    backward: bool,
    unsaid: &Unsaid,
    parameters: &mut Vec<Parameter>,
) -> Result<Layer> {
    let Found {
        path,
        kernel,
        recurrent,
        bias,
    } = group;
    let wrong = |what: String| Error::Usage(format!("{path}: {what}"));
    let (Some((inputs, columns)), Some((h, width))) = (matrix(&kernel), matrix(&recurrent)) else {
        return Err(wrong("kernel and recurrent_kernel must be matrices".into()));
    };
    if columns != width || width % h != 0 {
        return Err(wrong(format!(
            "kernel [{inputs}, {columns}] and recurrent_kernel [{h}, {width}] are of no recurrent layer"
        )));
    }
    let after = bias.as_ref().map(|bias| bias.shape.len() == 2);
    let cell = unsaid.cell_of(width / h, after, &path)?;
    let order = order(cell);
    let suffix = if backward { "_reverse" } else { "" };
    let mut store = |what: &str, shape: &[usize], values: Vec<f32>| {
        parameters.push(array(
            &format!("rnn.{what}_l{level}{suffix}"),
            shape,
            values,
        ));
    };
    for (what, matrix, rows) in [("weight_ih", kernel, inputs), ("weight_hh", recurrent, h)] {
        let values = transposed(&matrix.map_or(vec![], |m| m.values), width);
        store(what, &[width, rows], gates(&values, order));
    }
    let mut kind = Bias::None;
    if let Some(bias) = &bias {
        let (first, second) = bias.values.split_at(width.min(bias.values.len()));
        if first.len() != width || ![0, width].contains(&second.len()) {
            return Err(wrong(format!("its bias is {:?}", bias.shape)));
        }
        store("bias_ih", &[width], gates(first, order));
        if !second.is_empty() {
            store("bias_hh", &[width], gates(second, order));
        }
        kind = bias_of(cell, true, Some(second));
    }
    Ok(Layer {
        bias: kind,
        ..Layer::new(cell, h)
    })
}

/// The arrays of a `.keras` in the model's order, or those of an `.npz` in its own.
fn read_zip(bytes: &[u8]) -> Result<Vec<Parameter>, String> {
    let broken =
        |error: &dyn std::fmt::Display| format!("not a .weights.h5, .keras or .npz file ({error})");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    if archive.index_for_name(WEIGHTS).is_some() {
        let mut member = |name: &str, limit| {
            let file = archive.by_name(name).map_err(|error| broken(&error))?;
            files::read_at_most(file, limit).map_err(|error| format!("{name}: {error}"))
        };
        let config = member(CONFIG, LARGEST_CONFIG)?;
        let config: Value =
            serde_json::from_slice(&config).map_err(|error| format!("{CONFIG}: {error}"))?;
        // A model of a class of its own has no list of layers.
        let layers = config["config"]["layers"].as_array();
        let name = |layer: &Value| layer["config"]["name"].as_str().unwrap_or_default().into();
        let names: Option<Vec<String>> = layers.map(|layers| layers.iter().map(name).collect());
        return hdf5::read(&member(WEIGHTS, LARGEST_ARRAY)?, names.as_deref());
    }
    if archive.len() > MOST_ARRAYS {
        return Err(format!(
            "it holds {} arrays, and gatescan reads at most {MOST_ARRAYS}",
            archive.len()
        ));
    }
    let mut arrays = vec![];
    for n in 0..archive.len() {
        let file = archive.by_index(n).map_err(|error| broken(&error))?;
        let name = file.name().trim_end_matches(".npy").to_string();
        let bytes = files::read_at_most(file, LARGEST_ARRAY)
            .map_err(|error| format!("array {name}: {error}"))?;
        npy::check_header(&bytes).map_err(|problem| format!("array {name}: {problem}"))?;
        // A view takes its length from what is there, and not from what the header promises.
        let view = ArrayViewD::<f32>::view_npy(&bytes).map_err(|error| {
            format!("array {name} cannot be read: {error}; gatescan reads float32")
        })?;
        let view = CowArray::from(view);
        arrays.push(Parameter {
            name,
            shape: view.shape().to_vec(),
            values: view.iter().copied().collect(),
        });
    }
    Ok(arrays)
}
