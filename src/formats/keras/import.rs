//! Reading weights that Keras trained.

use super::super::hints::{
    ImportHints, Imported, ImportedNetwork, bias_of, embedding_input, layer_notes,
};
use super::super::weights::{reorder_blocks, transposed};
use super::{archive, array, hdf5, keras_layer};
use crate::error::{Error, Result};
use crate::network::{Bias, Input, Layer, Parameter};

/// Returns the model of a `.weights.h5`, a `.keras`, or an `.npz` of weights under Keras's paths in
/// the order of the model: `SimpleRNN`, `LSTM` or `GRU`, each with or without `Bidirectional`, a
/// `Dense`, and optionally an `Embedding`. An embedding and a head with the same weights are tied.
///
/// # Errors
/// [`Error::Usage`] for arrays that are not those of such a network or are not finite, by their
/// names.
pub fn import(bytes: &[u8], name: &str, hints: &ImportHints) -> Result<Imported> {
    let arrays = if bytes.starts_with(hdf5::SIGNATURE) {
        hdf5::read(bytes, None)
    } else {
        archive::read(bytes)
    };
    let arrays = arrays.map_err(Error::Usage)?;
    arrays.iter().try_for_each(Parameter::check_finite)?;
    let (embedding, groups) = group(arrays)?;
    let mut reader = LayerReader {
        hints,
        layers: vec![],
        parameters: vec![],
        features: None,
        outputs: None,
    };
    for group in groups {
        reader.read(group)?;
    }
    let model = hints.model(name, reader.finish(embedding)?)?;
    let sources = vec!["the file".to_string(); model.network.layers.len()];
    let notes = layer_notes(&model.network, &sources, "the file");
    Ok(Imported { model, notes })
}

/// The arrays of one layer or direction.
#[derive(Default)]
struct ArrayGroup {
    path: String,
    kernel: Option<Parameter>,
    recurrent: Option<Parameter>,
    bias: Option<Parameter>,
}

/// The embedding, if there is one, and the other arrays grouped by their paths.
fn group(arrays: Vec<Parameter>) -> Result<(Option<Parameter>, Vec<ArrayGroup>)> {
    let mut groups: Vec<ArrayGroup> = vec![];
    let mut embedding = None;
    for array in arrays {
        let (path, kind) = array.name.rsplit_once('/').unwrap_or(("", &array.name));
        if kind == "embeddings" && embedding.is_none() {
            embedding = Some(array);
            continue;
        }
        let mut group = match groups.pop_if(|group| group.path == path) {
            Some(group) => group,
            None => ArrayGroup {
                path: path.into(),
                ..ArrayGroup::default()
            },
        };
        let member = match kind {
            "kernel" => &mut group.kernel,
            "recurrent_kernel" => &mut group.recurrent,
            "bias" => &mut group.bias,
            _ => {
                return Err(Error::usage(format!(
                    "array {} is not a weight of SimpleRNN, LSTM, GRU, Dense or Embedding; save \
                     the model by `numpy.savez(\"model.npz\", **{{w.path: w for w in \
                     model.weights}})`",
                    array.name
                )));
            }
        };
        *member = Some(array);
        groups.push(group);
    }
    Ok((embedding, groups))
}

/// Makes layers of groups of arrays, one after another.
struct LayerReader<'a> {
    hints: &'a ImportHints,
    layers: Vec<Layer>,
    parameters: Vec<Parameter>,
    /// The number of features that the first recurrent layer reads.
    features: Option<usize>,
    /// K of the head.
    outputs: Option<usize>,
}

impl LayerReader<'_> {
    fn read(&mut self, group: ArrayGroup) -> Result<()> {
        let path = group.path.clone();
        let (rows, _) = matrix(&group.kernel)
            .ok_or_else(|| Error::usage(format!("{path}: there is no matrix kernel")))?;
        if self.outputs.is_some() {
            return Err(Error::usage(format!(
                "{path} is after the linear head; gatescan has one `Dense`, the last layer"
            )));
        }
        if group.recurrent.is_none() {
            self.outputs = Some(self.head(group)?);
            return Ok(());
        }
        self.features.get_or_insert(rows);
        let is_backward = path.split('/').any(|part| part.starts_with("backward_"));
        if is_backward && !self.layers.is_empty() {
            let level = self.layers.len() - 1;
            let backward = self.direction(group, level, "_reverse")?;
            self.add_backward(backward, &path)
        } else {
            let suffix = if is_backward { "_reverse" } else { "" };
            let layer = self.direction(group, self.layers.len(), suffix)?;
            self.layers.push(layer);
            Ok(())
        }
    }

    /// Adds the backward direction to the last layer.
    fn add_backward(&mut self, backward: Layer, path: &str) -> Result<()> {
        let Some(forward) = self.layers.last_mut() else {
            return Ok(());
        };
        forward.bidirectional = true;
        let same_biases = (forward.bias == Bias::None) == (backward.bias == Bias::None);
        if forward.cell != backward.cell || !same_biases {
            return Err(Error::usage(format!(
                "{path}: both directions of a layer must have the same cell and the same biases"
            )));
        }
        if backward.bias == Bias::Double {
            forward.bias = Bias::Double;
        }
        let size = backward.hidden_size;
        forward.backward_hidden_size = (size != forward.hidden_size).then_some(size);
        Ok(())
    }

    /// Reads a `Dense`; returns K.
    fn head(&mut self, group: ArrayGroup) -> Result<usize> {
        let Some((rows, outputs)) = matrix(&group.kernel) else {
            return Err(Error::usage(format!(
                "{}: its kernel is not a matrix",
                group.path
            )));
        };
        let kernel = group.kernel.map_or(vec![], |kernel| kernel.values);
        let kernel = transposed(&kernel, outputs);
        self.parameters
            .push(array("head.weight", &[outputs, rows], kernel));
        let bias = group.bias.map_or(vec![0.0; outputs], |bias| bias.values);
        self.parameters
            .push(array("head.bias", &[bias.len()], bias));
        Ok(outputs)
    }

    /// Reads one direction; returns it as a layer of its own.
    fn direction(&mut self, group: ArrayGroup, level: usize, suffix: &str) -> Result<Layer> {
        let ArrayGroup {
            path,
            kernel,
            recurrent,
            bias,
        } = group;
        let sizes = DirectionSizes::of(&kernel, &recurrent)
            .map_err(|problem| Error::usage(format!("{path}: {problem}")))?;
        let DirectionSizes { inputs, h, columns } = sizes;
        let has_two_biases = bias.as_ref().map(|bias| bias.shape.len() == 2);
        let cell = self.hints.cell_of(columns / h, has_two_biases, &path)?;
        // The orders of Keras are their own inverses.
        let order = keras_layer(cell)?.gate_order;
        let mut store = |kind: &str, shape: &[usize], values: &[f32]| {
            let name = format!("rnn.{kind}_l{level}{suffix}");
            let values = reorder_blocks(values, order);
            self.parameters.push(array(&name, shape, values));
        };
        for (kind, matrix, rows) in [("weight_ih", kernel, inputs), ("weight_hh", recurrent, h)] {
            let values = matrix.map_or(vec![], |matrix| matrix.values);
            store(kind, &[columns, rows], &transposed(&values, columns));
        }
        let mut trained = Bias::None;
        if let Some(bias) = &bias {
            let (first, second) = bias.values.split_at(columns.min(bias.values.len()));
            if first.len() != columns || ![0, columns].contains(&second.len()) {
                let problem = format!("{path}: its bias has the shape {:?}", bias.shape);
                return Err(Error::usage(problem));
            }
            store("bias_ih", &[columns], first);
            if !second.is_empty() {
                store("bias_hh", &[columns], second);
            }
            trained = bias_of(cell, true, Some(second));
        }
        Ok(Layer {
            bias: trained,
            ..Layer::new(cell, h)
        })
    }

    fn finish(mut self, embedding: Option<Parameter>) -> Result<ImportedNetwork> {
        let features = self.features.ok_or_else(|| {
            Error::usage("there is no recurrent layer: no array `.../recurrent_kernel`")
        })?;
        let outputs = self.outputs.ok_or_else(|| {
            Error::usage("there is no linear head: no `Dense` after the recurrent layers")
        })?;
        let (input_size, input) = match embedding {
            None if self.hints.one_hot => (features, Input::OneHot),
            None => (features, Input::Values),
            Some(mut table) => {
                let &[vocabulary, size] = &table.shape[..] else {
                    return Err(Error::usage(format!("{} is not a matrix", table.name)));
                };
                table.name = "embedding.weight".into();
                self.parameters.push(table);
                (vocabulary, embedding_input(size))
            }
        };
        Ok(ImportedNetwork {
            input_size,
            input,
            layers: self.layers,
            outputs,
            parameters: self.parameters,
        })
    }
}

/// The sizes of a direction's kernel `[I, G*H]` and recurrent kernel `[H, G*H]`.
struct DirectionSizes {
    inputs: usize,
    h: usize,
    /// G*H.
    columns: usize,
}

impl DirectionSizes {
    fn of(
        kernel: &Option<Parameter>,
        recurrent: &Option<Parameter>,
    ) -> Result<DirectionSizes, String> {
        let (Some((inputs, columns)), Some((h, width))) = (matrix(kernel), matrix(recurrent))
        else {
            return Err("kernel and recurrent_kernel must be matrices".into());
        };
        if columns != width || width % h != 0 {
            return Err(format!(
                "kernel [{inputs}, {columns}] and recurrent_kernel [{h}, {width}] are not those of \
                 a recurrent layer"
            ));
        }
        Ok(DirectionSizes { inputs, h, columns })
    }
}

/// The extents of an array, if it is a matrix with elements.
fn matrix(array: &Option<Parameter>) -> Option<(usize, usize)> {
    match array.as_ref()?.shape[..] {
        [rows, columns] if rows > 0 && columns > 0 => Some((rows, columns)),
        _ => None,
    }
}
