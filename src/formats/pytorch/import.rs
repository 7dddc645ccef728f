//! Reading a `state_dict`.

use std::collections::BTreeMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::super::hints::{ImportHints, Imported, ImportedNetwork, bias_of, embedding_input};
use super::{REVERSE, split_name, split_reverse};
use crate::error::{Error, Result};
use crate::network::{Input, Layer, Parameter};

/// The layers of each module by their levels, modules in the order of their names.
type Modules = BTreeMap<Vec<NamePart>, BTreeMap<usize, Vec<Parameter>>>;

/// Returns the model of a `state_dict` as safetensors: one or several `nn.RNN`, `nn.LSTM` or
/// `nn.GRU` (in the order of their names), an `nn.Linear`, and optionally an `nn.Embedding`, under
/// any names. An embedding and a head with the same weights are tied.
///
/// # Errors
/// [`Error::Usage`] for tensors that are not those of such a network, by their names.
pub fn import(bytes: &[u8], name: &str, hints: &ImportHints) -> Result<Imported> {
    let (modules, others) = read(bytes)?;
    let (layers, mut parameters) = recurrent_layers(modules, hints)?;
    let first = parameters
        .iter()
        .find(|each| each.name == "rnn.weight_ih_l0");
    let features = first.and_then(|weight| weight.shape.get(1)).copied();
    let mut ends = Ends {
        features: features.unwrap_or(0),
        emitted: layers.last().map_or(0, Layer::emitted_size),
        embedding: None,
        outputs: None,
    };
    for mut parameter in others {
        let new_name = ends.classify(&parameter)?;
        if parameters.iter().any(|each| each.name == new_name) {
            return Err(Error::usage(format!(
                "tensor {} would be {new_name}, which exists already; gatescan has one embedding \
                 and one linear head",
                parameter.name
            )));
        }
        parameter.name = new_name.into();
        parameters.push(parameter);
    }
    let outputs = ends.outputs()?;
    if !parameters.iter().any(|each| each.name == "head.bias") {
        parameters.push(Parameter {
            name: "head.bias".into(),
            shape: vec![outputs],
            values: vec![0.0; outputs],
        });
    }
    let (input_size, input) = ends.input(hints);
    let network = ImportedNetwork {
        input_size,
        input,
        layers,
        outputs,
        parameters,
    };
    Ok(Imported {
        model: hints.model(name, network)?,
        notes: vec![],
    })
}

/// The recurrent modules of a file, and all other tensors.
fn read(bytes: &[u8]) -> Result<(Modules, Vec<Parameter>)> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::usage(format!("not a safetensors file ({error})")))?;
    let (mut modules, mut others) = (Modules::new(), vec![]);
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(Error::usage(format!(
                "tensor {name} is of type {}; gatescan reads F32: save \
                 `module.float().state_dict()`",
                view.dtype()
            )));
        }
        let (prefix, own) = name.rsplit_once('.').unwrap_or(("", &name));
        match split_name(own) {
            Some((kind, level, reverse)) => {
                let layers = modules.entry(name_parts(prefix)).or_default();
                let layer = layers.entry(level).or_default();
                layer.push(parameter(format!("{kind}{reverse}"), &view));
            }
            None => others.push(parameter(name, &view)),
        }
    }
    Ok((modules, others))
}

fn parameter(name: String, view: &TensorView) -> Parameter {
    let values = view.data().chunks_exact(4);
    let values = values.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    Parameter {
        name,
        shape: view.shape().to_vec(),
        values: values.collect(),
    }
}

/// All recurrent layers, and their parameters under the names of a model.
fn recurrent_layers(modules: Modules, hints: &ImportHints) -> Result<(Vec<Layer>, Vec<Parameter>)> {
    let (mut layers, mut parameters) = (vec![], vec![]);
    for (_, found) in modules.into_values().flatten() {
        let level = layers.len();
        layers.push(layer(&found, level, hints)?);
        for mut parameter in found {
            let (kind, reverse) = split_reverse(&parameter.name);
            parameter.name = format!("rnn.{kind}_l{level}{reverse}");
            parameters.push(parameter);
        }
    }
    if layers.is_empty() {
        return Err(Error::usage(
            "there is no tensor weight_ih_l0, as nn.RNN, nn.LSTM and nn.GRU have; is it a \
             state_dict with such a layer?",
        ));
    }
    Ok((layers, parameters))
}

/// A layer by its tensors.
fn layer(found: &[Parameter], level: usize, hints: &ImportHints) -> Result<Layer> {
    let find = |kind: &str| found.iter().find(|each| each.name == kind);
    let find_reverse = |kind: &str| find(&format!("{kind}{REVERSE}"));
    let (rows, read) = match find("weight_hh").map(|weight| &weight.shape[..]) {
        Some(&[rows, read]) if read > 0 => (rows, read),
        _ => {
            return Err(Error::usage(format!(
                "layer {level}: there is no matrix weight_hh"
            )));
        }
    };
    let projection = find("weight_hr")
        .and_then(|weight| weight.shape.get(1))
        .copied();
    let hidden_size = projection.unwrap_or(read);
    let gates = match rows % hidden_size.max(1) {
        0 => rows / hidden_size.max(1),
        _ => 0,
    };
    let cell = hints.cell_of(gates, Some(true), &format!("layer {level}"))?;
    let second = [find("bias_hh"), find_reverse("bias_hh")]
        .into_iter()
        .flatten();
    let second: Vec<f32> = second.flat_map(|bias| bias.values.clone()).collect();
    Ok(Layer {
        bias: bias_of(cell, find("bias_ih").is_some(), Some(&second)),
        bidirectional: find_reverse("weight_ih").is_some(),
        projection_size: projection.map(|_| read),
        ..Layer::new(cell, hidden_size)
    })
}

/// The embedding and the head as far as they are found.
struct Ends {
    /// The number of features that the first layer reads.
    features: usize,
    /// The number of outputs of the last layer.
    emitted: usize,
    /// V and size.
    embedding: Option<(usize, usize)>,
    /// K of the linear head.
    outputs: Option<usize>,
}

impl Ends {
    /// The name of a tensor in a model. A linear head has a bias and reads the outputs of the last
    /// layer; an embedding has no bias, and its vectors are what the first layer reads.
    fn classify(&mut self, tensor: &Parameter) -> Result<&'static str> {
        let (prefix, own) = tensor.name.rsplit_once('.').unwrap_or(("", &tensor.name));
        let may_be_embedding =
            self.features != self.emitted || prefix.to_lowercase().contains("emb");
        match (own, &tensor.shape[..]) {
            ("bias", &[_]) => Ok("head.bias"),
            ("weight", &[vocabulary, size]) if size == self.features && may_be_embedding => {
                self.embedding = Some((vocabulary, size));
                Ok("embedding.weight")
            }
            ("weight", &[count, size]) if size == self.emitted => {
                self.outputs = Some(count);
                Ok("head.weight")
            }
            (_, shape) => Err(Error::usage(format!(
                "tensor {} {shape:?} belongs to no recurrent layer, to no linear head over the {} \
                 outputs of the last one, and to no embedding of the {} features of the first one",
                tensor.name, self.emitted, self.features
            ))),
        }
    }

    /// I, or V of tokens, and the input.
    fn input(&self, hints: &ImportHints) -> (usize, Input) {
        match self.embedding {
            Some((vocabulary, size)) => (vocabulary, embedding_input(size)),
            None if hints.one_hot => (self.features, Input::OneHot),
            None => (self.features, Input::Values),
        }
    }

    /// K. `safetensors.torch.save_model` writes tied weights once, so an embedding may be the head.
    fn outputs(&self) -> Result<usize> {
        let tied = self.embedding.filter(|(_, size)| *size == self.emitted);
        let outputs = self.outputs.or(tied.map(|(vocabulary, _)| vocabulary));
        outputs.ok_or_else(|| {
            Error::usage(format!(
                "there is no linear head: no tensor `<name>.weight` of shape [K, {}]",
                self.emitted
            ))
        })
    }
}

/// A part of a module's name; numbers are ordered by their values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum NamePart {
    Number(u64),
    Text(String),
}

fn name_parts(name: &str) -> Vec<NamePart> {
    let part = |run: &[char]| {
        let text: String = run.iter().collect();
        let number = text.parse().map(NamePart::Number);
        number.unwrap_or(NamePart::Text(text))
    };
    let chars: Vec<char> = name.chars().collect();
    let runs = chars.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    runs.map(part).collect()
}
