//! Writing a model as a `.weights.h5`.

use super::super::weights::{LayerWeights, parameter, reorder_blocks, transposed};
use super::super::{Export, check_support, has_zoneout, with_output_preparation};
use super::hdf5::{self, StoredLayer};
use super::{array, heads_in_order, keras_layer, python};
use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Direction, Input, Layer, Parameter, Reads, RecurrentActivation};

/// Returns the model as a `.weights.h5`, and the program that builds the model and loads the file
/// named `weights`. Two biases become their sum, except in a GRU with the reset gate after the
/// recurrent matmul, for which Keras has both.
///
/// # Errors
/// [`Error::Usage`] for normal distributions of differences, for heads that read every step beside
/// others that do not, and for options that Keras's layers do
/// not have: peepholes, projections, clipping, and directions of different sizes.
pub fn export(model: &Model, weights: &str) -> Result<Export> {
    let network = &model.network;
    network.from_parameters(&model.parameters)?;
    let model = &with_output_preparation(model, "Keras")?;
    check_support(network, "Keras", lacking_option)?;
    if network.head.reads == Reads::Attention {
        return Err(Error::usage(
            "the head reads by attention: Keras has no layer of attention with one learnt query; \
             use the ONNX format",
        ));
    }
    if network.has_mixed_reads() {
        return Err(Error::usage(
            "a head with the loss \"ctc\" reads every step, and other heads read one vector of a \
             sequence; the Keras export has heads that read the same: use ONNX or PyTorch, or set \
             network.head.reads = \"every\"",
        ));
    }
    let heads = model.preparation.heads.iter();
    if heads.flat_map(|head| &head.residuals).next().is_some() {
        return Err(Error::usage(
            "several heads predict differences from the last value (data.residual_on_last), whose \
             layers Keras stores in another order; use ONNX or PyTorch, or train without \
             data.residual_on_last",
        ));
    }
    let mut layers = vec![];
    layers.extend(embedding(model)?);
    layers.extend(categories(model)?);
    layers.extend(recurrent_layers(model)?);
    if network.heads.is_empty() {
        layers.push(head(model, "head")?);
    }
    for index in heads_in_order(model) {
        let name = format!("head_{}", network.heads[index].name);
        layers.push(head(&model.of_head(index), &name)?);
    }
    Ok(Export {
        weights: hdf5::write(&layers).map_err(Error::Usage)?,
        python: python::program(model, weights),
    })
}

/// The first option of a layer that Keras does not have.
fn lacking_option(layer: &Layer) -> Option<&'static str> {
    let options = [
        (
            layer.cell.spec().frameworks.keras.is_none(),
            layer.cell.name(),
        ),
        (layer.projection_size.is_some(), "LSTM with a projection"),
        (has_zoneout(layer), "zoneout"),
        (layer.layer_norm, "layer normalisation in an LSTM or GRU"),
        (
            layer.learn_initial_state,
            "learnt initial state in its layers",
        ),
        (layer.cell_clip.is_some(), "LSTM that clips c"),
        (
            layer.recurrent_activation == RecurrentActivation::HardSigmoidKeras2,
            "`hard-sigmoid-keras2`, which Keras 3 replaced by `hard-sigmoid`",
        ),
        // `Bidirectional` accepts such layers, but computes the size of its output from one of
        // them.
        (
            layer.bidirectional && layer.emitted_size() != 2 * layer.hidden_size,
            "layer whose directions differ in size",
        ),
    ];
    let lacking = options.into_iter().find(|(has, _)| *has);
    lacking.map(|(_, name)| name)
}

fn embedding(model: &Model) -> Result<Option<StoredLayer>> {
    let Input::Embedding { size, .. } = model.network.input else {
        return Ok(None);
    };
    let values = parameter(model, "embedding.weight")?.to_vec();
    let table = array("embeddings", &[model.network.input_size, size], values);
    Ok(Some(StoredLayer {
        class: "embedding",
        name: "embedding".into(),
        arrays: vec![("", vec![table])],
    }))
}

/// The tables of categories, as kernels of `Dense`.
fn categories(model: &Model) -> Result<Vec<StoredLayer>> {
    let tables = model.network.categories.iter().enumerate();
    let layers = tables.map(|(index, table)| {
        let values = parameter(model, &format!("embeddings.{index}.weight"))?;
        let kernel = array("kernel", &[table.count, table.size], values.to_vec());
        Ok(StoredLayer {
            class: "dense",
            name: format!("embedding{index}"),
            arrays: vec![("", vec![kernel])],
        })
    });
    layers.collect()
}

fn recurrent_layers(model: &Model) -> Result<Vec<StoredLayer>> {
    let mut layers: Vec<StoredLayer> = vec![];
    for direction in model.network.directions() {
        let arrays = direction_arrays(model, &direction)?;
        let level = direction.layer_index;
        let (class, name, holder) = if direction.layer.bidirectional {
            let holder = if direction.reversed {
                "backward_layer/cell"
            } else {
                "forward_layer/cell"
            };
            ("bidirectional", format!("bidirectional{level}"), holder)
        } else {
            let class = keras_layer(direction.layer.cell)?.name;
            (file_class(class), format!("rnn{level}"), "cell")
        };
        match layers.last_mut().filter(|_| direction.reversed) {
            Some(bidirectional) => bidirectional.arrays.push((holder, arrays)),
            None => layers.push(StoredLayer {
                class,
                name,
                arrays: vec![(holder, arrays)],
            }),
        }
    }
    Ok(layers)
}

/// Keras's class in snake case, as files have it.
fn file_class(class: &str) -> &'static str {
    match class {
        "SimpleRNN" => "simple_rnn",
        "GRU" => "gru",
        _ => "lstm",
    }
}

/// Kernel `[I, G*H]`, recurrent kernel `[H, G*H]` and bias of one direction.
fn direction_arrays(model: &Model, direction: &Direction) -> Result<Vec<Parameter>> {
    let weights = LayerWeights::of(model, direction)?;
    let layer = &direction.layer;
    let order = keras_layer(layer.cell)?.gate_order;
    let columns = order.len() * layer.hidden_size;
    let kernel = |name: &str, values: &[f32], rows: usize| {
        let values = transposed(&reorder_blocks(values, order), rows);
        array(name, &[rows, columns], values)
    };
    let mut arrays = vec![
        kernel("kernel", weights.input, direction.inputs),
        kernel("recurrent_kernel", weights.recurrent, layer.hidden_size),
    ];
    if let Some(first) = weights.input_bias {
        let first = reorder_blocks(first, order);
        let second = weights.recurrent_bias;
        let second = second.map(|second| reorder_blocks(second, order));
        arrays.push(bias(layer.cell, first, second));
    }
    Ok(arrays)
}

/// Both biases `[2, G*H]` of a cell that needs both, else their sum `[G*H]`.
fn bias(cell: Cell, first: Vec<f32>, second: Option<Vec<f32>>) -> Parameter {
    let columns = first.len();
    if cell.spec().needs_recurrent_bias() {
        let second = second.unwrap_or_else(|| vec![0.0; columns]);
        return array("bias", &[2, columns], [first, second].concat());
    }
    // Without a second bias -0.0 stays -0.0.
    let second = second.filter(|second| second.iter().any(|&bias| bias != 0.0));
    let sum = match second {
        Some(second) => first.iter().zip(second).map(|(a, b)| a + b).collect(),
        None => first,
    };
    array("bias", &[columns], sum)
}

fn head(model: &Model, name: &str) -> Result<StoredLayer> {
    let network = &model.network;
    let (inputs, outputs) = (network.head_inputs(), network.head.size);
    // `Dense` has a kernel of its own, so tied weights are written twice.
    let kernel = transposed(parameter(model, network.head_weight())?, inputs);
    let bias = parameter(model, "head.bias")?.to_vec();
    Ok(StoredLayer {
        class: "dense",
        name: name.into(),
        arrays: vec![(
            "",
            vec![
                array("kernel", &[inputs, outputs], kernel),
                array("bias", &[outputs], bias),
            ],
        )],
    })
}
