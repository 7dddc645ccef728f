//! PyTorch: safetensors of a `state_dict`, and the module that it belongs to.

use std::collections::BTreeMap;
use std::fmt::Write;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{Export, Unsaid, bias_of, columns, refuse};
use crate::cells::Cell;
use crate::data::preparation::Normal;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Bias, Input, Layer, Network, Parameter, Reads};

/// Layers of one `nn.RNN`, `nn.LSTM` or `nn.GRU`.
struct Stack {
    first: usize,
    count: usize,
    /// The module's name: `rnn`, or, where there are several, `rnn0`, `rnn1`, ...
    name: String,
}

/// The model as safetensors and as the module that loads them; `weights` is what the module calls their file. A stack of
/// layers of one kind and size is one module `rnn` with the model's own names; where layers differ there are several.
///
/// # Errors
/// [`Error::Usage`] for what PyTorch's modules do not have: peepholes, the reset gate before the product, clipping,
/// projections that are not smaller than the layer, directions of different sizes.
pub fn export(model: &Model, weights: &str) -> Result<Export> {
    let network = &model.network;
    network.from_parameters(&model.parameters)?;
    refuse(network, "PyTorch", |layer| {
        let backward = layer.backward_hidden_size.unwrap_or(layer.hidden_size);
        vec![
            (layer.cell == Cell::LstmPeephole, "LSTM with peepholes"),
            (
                layer.cell == Cell::GruResetBefore,
                "GRU with the reset gate before the product",
            ),
            (layer.cell_clip.is_some(), "LSTM that clips c"),
            (
                layer.projection_clip.is_some(),
                "LSTM that clips its projection",
            ),
            (
                layer.projection_size >= Some(layer.hidden_size.min(backward)),
                "projection to as many numbers as hidden units, or more",
            ),
            (
                backward != layer.hidden_size,
                "layer whose directions differ in size",
            ),
        ]
    })?;
    let stacks = stacks(network);
    let mut tensors = vec![];
    for parameter in &model.parameters {
        let name = stack_name(&stacks, &parameter.name);
        // A `state_dict` has what is tied under both names.
        let second =
            (network.is_tied() && name == "embedding.weight").then(|| "head.weight".into());
        for name in [Some(name), second].into_iter().flatten() {
            tensors.push((name, &parameter.shape, bytes(&parameter.values)));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        view.map(|view| (name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>();
    let metadata = [("format".to_string(), "pt".to_string())].into();
    let file = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
    Ok(Export {
        weights: file.map_err(|error| Error::Usage(error.to_string()))?,
        python: python(model, &stacks, weights),
    })
}

fn stacks(network: &Network) -> Vec<Stack> {
    let mut stacks: Vec<Stack> = vec![];
    for (level, layer) in network.layers.iter().enumerate() {
        let same = |below: &Layer| {
            let key = |layer: &Layer| {
                (
                    layer.cell,
                    layer.hidden_size,
                    layer.bias == Bias::None,
                    layer.bidirectional,
                    layer.projection_size,
                )
            };
            key(below) == key(layer) && !below.residual && !layer.residual
        };
        match stacks.last_mut() {
            Some(stack) if same(&network.layers[level - 1]) => stack.count += 1,
            _ => stacks.push(Stack {
                first: level,
                count: 1,
                name: String::new(),
            }),
        }
    }
    let several = stacks.len() > 1;
    for (n, stack) in stacks.iter_mut().enumerate() {
        stack.name = match several {
            true => format!("rnn{n}"),
            false => "rnn".into(),
        };
    }
    stacks
}

/// The name of a parameter, layers counted from the first of their stack.
fn stack_name(stacks: &[Stack], name: &str) -> String {
    let Some((kind, level, reverse)) = recurrent(name.strip_prefix("rnn.").unwrap_or_default())
    else {
        return name.to_string();
    };
    let stack = stacks.iter().rfind(|stack| stack.first <= level);
    let (stack, level) = stack.map_or(("rnn", level), |s| (&s.name, level - s.first));
    format!("{stack}.{kind}_l{level}{reverse}")
}

/// `weight_ih_l0_reverse` as `weight_ih`, 0, `_reverse`.
fn recurrent(name: &str) -> Option<(&str, usize, &str)> {
    let (name, reverse) = match name.strip_suffix("_reverse") {
        Some(name) => (name, "_reverse"),
        None => (name, ""),
    };
    let (kind, level) = name.rsplit_once("_l")?;
    let known = ["weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"].contains(&kind);
    Some((kind, level.parse().ok().filter(|_| known)?, reverse))
}

fn python(model: &Model, stacks: &[Stack], weights: &str) -> String {
    let network = &model.network;
    let Network {
        input_size, head, ..
    } = *network;
    let (mut build, mut forward) = (String::new(), String::new());
    // Buffers that are none of the weights go wherever the module goes.
    let mut buffers = |name: &str, normals: &[Normal]| {
        let of = columns(normals);
        for (what, values) in ["mean", "deviation"].into_iter().zip(of.iter().flatten()) {
            let _ = writeln!(
                build,
                "        self.register_buffer(\"{name}_{what}\", torch.tensor({values:?}), persistent=False)"
            );
        }
        of.is_some()
    };
    let normalised = buffers("inputs", &model.preparation.inputs);
    let undone = match buffers("outputs", &model.preparation.targets) {
        true => " * self.outputs_deviation + self.outputs_mean",
        false => "",
    };
    if normalised {
        forward += "        x = (x - self.inputs_mean) / self.inputs_deviation\n";
    }
    let takes = match network.input {
        Input::Values => format!("inputs [batch, time, {input_size}]"),
        _ => format!("tokens [batch, time] below {input_size}"),
    };
    match network.input {
        Input::Values => {}
        Input::OneHot => {
            let _ = writeln!(
                forward,
                "        x = nn.functional.one_hot(x, {input_size}).float()"
            );
        }
        Input::Embedding {
            size, padding_idx, ..
        } => {
            let padding =
                padding_idx.map_or(String::new(), |token| format!(", padding_idx={token}"));
            let _ = writeln!(
                build,
                "        self.embedding = nn.Embedding({input_size}, {size}{padding})"
            );
            let _ = writeln!(forward, "        x = self.embedding(x)");
        }
    }
    let directions = network.directions();
    for Stack { first, count, name } in stacks {
        let layer = &network.layers[*first];
        let inputs = directions
            .iter()
            .find(|direction| direction.layer_index == *first)
            .map_or(0, |direction| direction.inputs);
        let mut options = String::new();
        if *count > 1 {
            let _ = write!(options, ", num_layers={count}");
        }
        if layer.cell == Cell::RnnRelu {
            options += ", nonlinearity=\"relu\"";
        }
        if layer.bias == Bias::None {
            options += ", bias=False";
        }
        if layer.bidirectional {
            options += ", bidirectional=True";
        }
        if let Some(size) = layer.projection_size {
            let _ = write!(options, ", proj_size={size}");
        }
        let module = layer.cell.spec().frameworks.pytorch.unwrap_or_default();
        let _ = writeln!(
            build,
            "        self.{name} = nn.{module}({inputs}, {}, batch_first=True{options})",
            layer.hidden_size
        );
        let residual = if layer.residual { " + x" } else { "" };
        let _ = writeln!(
            forward,
            "        y, last = run(self.{name}, x, lengths)\n        x = y{residual}"
        );
    }
    let read = match head.reads {
        Reads::Last => "last",
        Reads::Every => "x",
    };
    let import = match normalised || !undone.is_empty() {
        true => "import torch\n",
        false => "",
    };
    let tie = match network.is_tied() {
        true => "        self.head.weight = self.embedding.weight\n",
        false => "",
    };
    let outputs = match head.reads {
        Reads::Last => format!("[batch, {}]", head.size),
        Reads::Every => format!("[batch, time, {}]", head.size),
    };
    format!(
        r#"# Written by `gatescan export --to pytorch`.
from pathlib import Path

import safetensors.torch
{import}from torch import nn


class Network(nn.Module):
    """Takes {takes} and, if they differ, the lengths [batch] of the sequences; gives {outputs}."""

    def __init__(self):
        super().__init__()
{build}        self.head = nn.Linear({}, {})
{tie}
    def forward(self, x, lengths=None):
{forward}        return self.head({read}){undone}


def run(rnn, x, lengths):
    """What the last layer of a stack emits at every step, and its state after the last one, both directions side by side."""
    steps = x.shape[1]
    if lengths is not None:
        x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, state = rnn(x)
    if lengths is not None:
        y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=steps)
    h = state[0] if isinstance(state, tuple) else state
    sides = 2 if rnn.bidirectional else 1
    return y, h[-sides:].transpose(0, 1).flatten(1)


def load(weights=Path(__file__).with_name("{weights}")):
    network = Network()
    network.load_state_dict(safetensors.torch.load_file(weights))
    return network.eval()
"#,
        network.head_inputs(),
        head.size
    )
}

/// The model of a `state_dict` in safetensors: `nn.RNN`, `nn.LSTM` or `nn.GRU`, one or several (in the order of their names),
/// an `nn.Linear` and perhaps an `nn.Embedding`, under any names; where the two have the same weights, they are tied.
///
/// # Errors
/// [`Error::Usage`] for tensors that make no such network, each by its name.
pub fn import(bytes: &[u8], name: &str, unsaid: &Unsaid) -> Result<Model> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::Usage(format!("not a safetensors file ({error})")))?;
    let mut stacks: BTreeMap<Vec<Part>, BTreeMap<usize, Vec<Parameter>>> = BTreeMap::new();
    let mut others: Vec<Parameter> = vec![];
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(Error::Usage(format!(
                "tensor {name} is of type {}; gatescan reads F32: save `module.float().state_dict()`",
                view.dtype()
            )));
        }
        let parameter = |name: String| Parameter {
            name,
            shape: view.shape().to_vec(),
            values: view
                .data()
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
                .collect(),
        };
        let (prefix, own) = name.rsplit_once('.').unwrap_or(("", &name));
        match recurrent(own) {
            Some((kind, level, reverse)) => {
                let layers = stacks.entry(parts(prefix)).or_default();
                let layer = layers.entry(level).or_default();
                layer.push(parameter(format!("{kind}{reverse}")));
            }
            None => others.push(parameter(name)),
        }
    }
    let (mut layers, mut parameters) = (vec![], vec![]);
    for (_, found) in stacks.into_values().flatten() {
        let level = layers.len();
        layers.push(layer(&found, level, unsaid)?);
        for mut parameter in found {
            let (kind, reverse) = match parameter.name.strip_suffix("_reverse") {
                Some(kind) => (kind, "_reverse"),
                None => (&parameter.name[..], ""),
            };
            parameter.name = format!("rnn.{kind}_l{level}{reverse}");
            parameters.push(parameter);
        }
    }
    if layers.is_empty() {
        return Err(Error::usage(
            "there is no tensor weight_ih_l0, as nn.RNN, nn.LSTM and nn.GRU have; is it a state_dict with such a layer?",
        ));
    }
    let first = parameters.iter().find(|p| p.name == "rnn.weight_ih_l0");
    let reads = first.and_then(|p| p.shape.get(1)).copied().unwrap_or(0);
    let emits = layers.last().map_or(0, Layer::emitted_size);
    let (mut outputs, mut input) = (None, (reads, Input::Values));
    if unsaid.one_hot {
        input.1 = Input::OneHot;
    }
    // A linear head has a bias and reads what the last layer emits; an embedding has none and gives what the first one reads.
    for mut parameter in others {
        let name = parameter.name.clone();
        let (prefix, own) = name.rsplit_once('.').unwrap_or(("", &name));
        match (own, &parameter.shape[..]) {
            ("bias", &[_]) => parameter.name = "head.bias".into(),
            ("weight", &[vocabulary, size])
                if size == reads && (size != emits || prefix.to_lowercase().contains("emb")) =>
            {
                input = (
                    vocabulary,
                    Input::Embedding {
                        size,
                        padding_idx: None,
                        init: Default::default(),
                        tied: false,
                    },
                );
                parameter.name = "embedding.weight".into();
            }
            ("weight", &[count, size]) if size == emits => {
                outputs = Some(count);
                parameter.name = "head.weight".into();
            }
            (_, shape) => {
                return Err(Error::Usage(format!(
                    "tensor {name} {shape:?} belongs to no recurrent layer, is no linear head over the {emits} numbers that the \
                     last of them emits, and no embedding of the {reads} that the first one reads"
                )));
            }
        }
        if parameters.iter().any(|p| p.name == parameter.name) {
            return Err(Error::Usage(format!(
                "tensor {name} would be {}, which there is already; gatescan has one embedding and one linear head",
                parameter.name
            )));
        }
        parameters.push(parameter);
    }
    // What is tied may be there once, as `safetensors.torch.save_model` has it.
    let tied = match input {
        (vocabulary, Input::Embedding { size, .. }) if size == emits => Some(vocabulary),
        _ => None,
    };
    let outputs = outputs.or(tied).ok_or_else(|| {
        Error::Usage(format!(
            "there is no linear head: no tensor `<name>.weight` of shape [K, {emits}]"
        ))
    })?;
    if !parameters.iter().any(|p| p.name == "head.bias") {
        parameters.push(Parameter {
            name: "head.bias".into(),
            shape: vec![outputs],
            values: vec![0.0; outputs],
        });
    }
    unsaid.model(name, input, layers, outputs, parameters)
}

/// A layer by its tensors.
fn layer(found: &[Parameter], level: usize, unsaid: &Unsaid) -> Result<Layer> {
    let find = |kind: &str| found.iter().find(|p| p.name == kind);
    let (rows, read) = match find("weight_hh").map(|p| &p.shape[..]) {
        Some(&[rows, read]) if read > 0 => (rows, read),
        _ => {
            return Err(Error::Usage(format!(
                "layer {level}: there is no matrix weight_hh"
            )));
        }
    };
    let projection = find("weight_hr").and_then(|p| p.shape.get(1)).copied();
    let hidden_size = projection.unwrap_or(read);
    let gates = match rows % hidden_size.max(1) {
        0 => rows / hidden_size.max(1),
        _ => 0,
    };
    let cell = unsaid.cell_of(gates, Some(true), &format!("layer {level}"))?;
    let second = find("bias_hh").into_iter().chain(find("bias_hh_reverse"));
    let second: Vec<f32> = second.flat_map(|p| p.values.clone()).collect();
    Ok(Layer {
        bias: bias_of(cell, find("bias_ih").is_some(), Some(&second)),
        bidirectional: find("weight_ih_reverse").is_some(),
        projection_size: projection.map(|_| read),
        ..Layer::new(cell, hidden_size)
    })
}

/// A name in parts, so that layers stand in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Text(String),
}

fn parts(name: &str) -> Vec<Part> {
    let digits = |text: &str| text.parse().map_or(Part::Text(text.into()), Part::Number);
    let chars: Vec<char> = name.chars().collect();
    let runs = chars.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    runs.map(|run| digits(&run.iter().collect::<String>()))
        .collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    let values = values.iter().flat_map(|value| value.to_le_bytes());
    values.collect()
}
