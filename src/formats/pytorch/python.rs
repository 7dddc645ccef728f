//! The module that has a model's network in PyTorch and loads its weights.

use super::super::outputs_note;
use super::super::weights::{columns, linear_weights};
use super::export::Stack;
use crate::cells::Cell;
use crate::data::preparation::{InputDifference, Normal, Preparation};
use crate::model::Model;
use crate::network::{Bias, Input, Network, Reads};

/// The lines of the module that follow from the network.
#[derive(Default)]
struct ModuleBody {
    /// Lines of `__init__`.
    build: String,
    /// Lines of `forward`.
    forward: String,
}

/// Returns the Python module; `weights` is the name of the file with the weights.
pub(super) fn program(model: &Model, stacks: &[Stack], weights: &str) -> String {
    let network = &model.network;
    let head = network.head;
    let mut body = ModuleBody::default();
    let last_values = body.add_last_values(model, "");
    let own = prepared_heads(model);
    for (index, head) in own.iter().enumerate() {
        body.add_last_values(head, &index.to_string());
    }
    if body.add_buffers("inputs", &model.preparation.inputs) {
        body.forward += "        x = (x - self.inputs_mean) / self.inputs_deviation\n";
    }
    body.add_differences(&model.preparation);
    body.complete_last_values(model, "");
    for (index, head) in own.iter().enumerate() {
        body.complete_last_values(head, &index.to_string());
    }
    let heads = body.add_heads(model);
    let denormalised = if body.add_buffers("outputs", &model.preparation.targets) {
        " * self.outputs_deviation + self.outputs_mean"
    } else {
        ""
    };
    let denormalised = format!("{denormalised}{last_values}");
    body.add_input(network);
    for stack in stacks {
        body.add_stack(network, stack);
    }
    let ModuleBody { build, forward } = body;
    let input_size = network.input_size - model.preparation.differences.len();
    let takes = match network.input {
        Input::Values => format!("inputs [batch, time, {input_size}]"),
        _ => format!("tokens [batch, time] below {input_size}"),
    };
    let HeadLines {
        build: build_head,
        forward: result,
        returns,
    } = head_lines(model, heads.as_deref(), &denormalised);
    let pooling = pooling(head.reads);
    let tie = tied_lines(network);
    let parts = [&build, &forward, &tie, &pooling];
    let imports = if parts.iter().any(|part| part.contains("torch.")) {
        "import torch\n"
    } else {
        ""
    };
    format!(
        r#"# Written by `gatescan export --to pytorch`.
from pathlib import Path

import safetensors.torch
{imports}from torch import nn


class Network(nn.Module):
    """Takes {takes}, and lengths [batch] of padded sequences; returns {returns}."""

    def __init__(self):
        super().__init__()
{build}{build_head}{tie}
    def forward(self, x, lengths=None):
{forward}{result}


def run(rnn, x, lengths):
    """Returns the last layer's outputs at all steps and its last h, directions concatenated."""
    steps = x.shape[1]
    if lengths is not None:
        x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, state = rnn(x)
    if lengths is not None:
        y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=steps)
    h = state[0] if isinstance(state, tuple) else state
    sides = 2 if rnn.bidirectional else 1
    return y, h[-sides:].transpose(0, 1).flatten(1)

{pooling}
def load(weights=Path(__file__).with_name("{weights}")):
    network = Network()
    network.load_state_dict(safetensors.torch.load_file(weights))
    return network.eval()
"#
    )
}

/// Several heads, each as a model of its own, with an entry of its preparation for each output.
fn prepared_heads(model: &Model) -> Vec<Model> {
    let heads = (0..model.network.heads.len()).map(|index| model.of_head(index));
    heads
        .map(|own| Model {
            preparation: own.preparation.of_outputs(&own.network.head),
            ..own
        })
        .collect()
}

/// The lines of the module for its head or heads.
struct HeadLines {
    /// The lines of `__init__`.
    build: String,
    /// The end of `forward`.
    forward: String,
    /// What `forward` returns, for people.
    returns: String,
}

/// The lines of the only head, or of the dictionary `heads` of several.
fn head_lines(model: &Model, heads: Option<&str>, denormalised: &str) -> HeadLines {
    let (network, head) = (&model.network, model.network.head);
    let read = match head.reads {
        Reads::Last => "last",
        Reads::Every => "x",
        Reads::Mean => "mean(x, lengths)",
        Reads::Max => "maximum(x, lengths)",
        Reads::Attention => "attention(x, self.head.query, lengths)",
    };
    if let Some(heads) = heads {
        let notes = notes_of_heads(model);
        return HeadLines {
            build: String::new(),
            forward: if network.has_mixed_reads() {
                format!("        every, x = x, {read}\n        return {heads}")
            } else {
                format!("        x = {read}\n        return {heads}")
            },
            returns: format!("a dictionary of the outputs of each head{notes}"),
        };
    }
    let time = if head.reads.is_per_step() {
        "time, "
    } else {
        ""
    };
    let note = outputs_note(model).map_or(String::new(), |note| format!("; {note}"));
    let (inputs, size) = (network.head_inputs(), head.size);
    HeadLines {
        build: format!("        self.head = nn.Linear({inputs}, {size})\n"),
        forward: format!("        return self.head({read}){denormalised}"),
        returns: format!("[batch, {time}{size}]{note}"),
    }
}

/// The lines of weights that are the embedding's, and of the query of attention.
fn tied_lines(network: &Network) -> String {
    let mut lines = String::new();
    if network.is_tied() {
        lines += "        self.head.weight = self.embedding.weight\n";
    }
    if network.head.reads == Reads::Attention {
        if !network.heads.is_empty() {
            lines += "        self.head = nn.Module()\n";
        }
        lines += &format!(
            "        self.head.query = nn.Parameter(torch.zeros({}))\n",
            network.head_inputs()
        );
    }
    lines
}

/// Sentences on the outputs of each of several heads.
fn notes_of_heads(model: &Model) -> String {
    let notes = (0..model.network.heads.len()).filter_map(|index| {
        let name = &model.network.heads[index].name;
        let note = outputs_note(&model.of_head(index))?;
        Some(format!("; {name}: {note}"))
    });
    notes.collect()
}

/// The functions that reduce the outputs of all steps to one vector for each sequence.
fn pooling(reads: Reads) -> String {
    let function = match reads {
        Reads::Last | Reads::Every => return String::new(),
        Reads::Mean => {
            r#"def mean(x, lengths):
    """Returns the mean over the valid steps; zeros for a sequence without steps."""
    padded = padding(x, lengths)
    return x.masked_fill(padded, 0).sum(1) / (~padded).sum(1).clamp(min=1)
"#
        }
        Reads::Max => {
            r#"def maximum(x, lengths):
    """Returns the maxima over the valid steps; zeros for a sequence without steps."""
    padded = padding(x, lengths)
    largest = x.masked_fill(padded, -torch.inf).max(1).values
    return largest.masked_fill(padded.all(1), 0)
"#
        }
        Reads::Attention => {
            r#"def attention(x, query, lengths):
    """Returns the sum of the valid steps, weighted by the softmax over them of x . query."""
    padded = padding(x, lengths)
    scores = (x @ query)[..., None].masked_fill(padded, torch.finfo(x.dtype).min)
    return (x.masked_fill(padded, 0) * scores.softmax(1)).sum(1)
"#
        }
    };
    format!(
        r#"
def padding(x, lengths):
    """Returns [batch, time, 1]: whether each step is after its sequence's end."""
    if lengths is None:
        return torch.zeros_like(x[..., :1], dtype=torch.bool)
    lengths = torch.as_tensor(lengths, device=x.device)
    return (torch.arange(x.shape[1], device=x.device) >= lengths[:, None])[..., None]


{function}
"#
    )
}

impl ModuleBody {
    /// Adds means and deviations as buffers that move with the module and are not weights; returns
    /// whether there are any.
    fn add_buffers(&mut self, name: &str, normals: &[Normal]) -> bool {
        let Some(columns) = columns(normals) else {
            return false;
        };
        for (kind, values) in ["mean", "deviation"].into_iter().zip(columns) {
            self.build += &format!(
                "        self.register_buffer(\"{name}_{kind}\", torch.tensor({values:?}), \
                 persistent=False)\n"
            );
        }
        true
    }

    /// Adds the linear layer of each of several heads; returns the dictionary of their outputs, as
    /// an expression in `x`.
    fn add_heads(&mut self, model: &Model) -> Option<String> {
        let network = &model.network;
        if network.heads.is_empty() {
            return None;
        }
        self.build += "        self.heads = nn.ModuleList()\n";
        let mut outputs = vec![];
        for (index, named) in network.heads.iter().enumerate() {
            let (own, name) = (model.of_head(index), &named.name);
            self.build += &format!(
                "        self.heads.append(nn.Linear({}, {}))\n",
                network.head_inputs(),
                named.size
            );
            let normals = own.preparation.of_outputs(&own.network.head).targets;
            let restored = if self.add_buffers(&format!("head{index}"), &normals) {
                format!(" * self.head{index}_deviation + self.head{index}_mean")
            } else {
                String::new()
            };
            // A head of lists of labels reads every step, where others read one vector.
            let is_own = own.network.head.reads != network.head.reads;
            let read = if is_own { "every" } else { "x" };
            let last = if own.preparation.residuals.is_empty() {
                String::new()
            } else {
                format!(" + last_values{index}")
            };
            outputs.push(format!(
                "\"{name}\": self.heads[{index}]({read}){restored}{last}"
            ));
        }
        Some(format!("{{{}}}", outputs.join(", ")))
    }

    /// Adds the values that the outputs are differences from; returns the term that adds them to
    /// the outputs. `head` is the number of one of several heads.
    fn add_last_values(&mut self, model: &Model, head: &str) -> &'static str {
        let columns = &model.preparation.residuals;
        if columns.is_empty() {
            return "";
        }
        self.forward += &format!("        last_values{head} = x[..., {columns:?}]\n");
        " + last_values"
    }

    /// Adds to them what a linear regression on the prepared inputs adds, and takes those of the
    /// steps that the head reads.
    fn complete_last_values(&mut self, model: &Model, head: &str) {
        let weights = linear_weights(model);
        if !weights.is_empty() {
            self.build += &format!(
                "        self.register_buffer(\"linear{head}\", torch.tensor({weights:?}), \
                 persistent=False)\n"
            );
            self.forward += &format!(
                "        last_values{head} = last_values{head} + x @ self.linear{head}.T\n"
            );
        }
        let is_per_step = model.network.head.reads.is_per_step();
        if !model.preparation.residuals.is_empty() && !is_per_step {
            self.forward += &format!(
                "        steps = torch.full([len(x)], x.shape[1]) if lengths is None else \
                 torch.as_tensor(lengths)\n        \
                 last_values{head} = last_values{head}[torch.arange(len(x)), steps - 1]\n"
            );
        }
    }

    /// Adds the inputs that are differences from earlier steps.
    fn add_differences(&mut self, preparation: &Preparation) {
        let differences = &preparation.differences;
        if differences.is_empty() {
            return;
        }
        // The first step is repeated before the sequence.
        self.forward += "        parts = [x]\n";
        for InputDifference { input, lag, scale } in differences {
            self.forward += &format!(
                "        v = x[..., {input}:{input} + 1]\n        \
                 before = torch.cat([v[:, :1].expand(-1, {lag}, -1), v], 1)[:, :-{lag}]\n        \
                 parts.append((v - before) * {:?})\n",
                *scale as f32
            );
        }
        self.forward += "        x = torch.cat(parts, -1)\n";
    }

    fn add_input(&mut self, network: &Network) {
        let input_size = network.input_size;
        match network.input {
            Input::Values => self.add_categories(network),
            Input::OneHot => {
                self.forward +=
                    &format!("        x = nn.functional.one_hot(x, {input_size}).float()\n");
            }
            Input::Embedding {
                size, padding_idx, ..
            } => {
                let padding =
                    padding_idx.map_or(String::new(), |token| format!(", padding_idx={token}"));
                self.build += &format!(
                    "        self.embedding = nn.Embedding({input_size}, {size}{padding})\n"
                );
                self.forward += "        x = self.embedding(x)\n";
            }
        }
    }

    /// Replaces the one-hot columns of categories by vectors, which are the rows of a table. A
    /// category that is not known has zeros in all its columns, and so has its vector.
    fn add_categories(&mut self, network: &Network) {
        if network.categories.is_empty() {
            return;
        }
        self.build += "        self.embeddings = nn.ModuleList()\n";
        for table in &network.categories {
            self.build += &format!(
                "        self.embeddings.append(nn.Embedding({}, {}))\n",
                table.count, table.size
            );
        }
        let parts = network.input_parts().into_iter().map(|part| {
            let (begin, end) = (part.columns.start, part.columns.end);
            let vectors = part.table.map_or(String::new(), |index| {
                format!(" @ self.embeddings[{index}].weight")
            });
            format!("x[..., {begin}:{end}]{vectors}")
        });
        let parts: Vec<String> = parts.collect();
        self.forward += &format!(
            "        x = torch.cat([\n            {},\n        ], -1)\n",
            parts.join(",\n            ")
        );
    }

    fn add_stack(&mut self, network: &Network, stack: &Stack) {
        let Stack { first, name, .. } = stack;
        let layer = &network.layers[*first];
        let directions = network.directions();
        let forward = directions.iter().find(|each| each.layer_index == *first);
        let inputs = forward.map_or(0, |direction| direction.inputs);
        let module = layer.cell.spec().frameworks.pytorch.unwrap_or_default();
        self.build += &format!(
            "        self.{name} = nn.{module}({inputs}, {}, batch_first=True{})\n",
            layer.hidden_size,
            options(network, stack)
        );
        let residual = if layer.residual { " + x" } else { "" };
        self.forward +=
            &format!("        y, last = run(self.{name}, x, lengths)\n        x = y{residual}\n");
    }
}

/// The keyword arguments of a recurrent module.
fn options(network: &Network, stack: &Stack) -> String {
    let layer = &network.layers[stack.first];
    let mut options = String::new();
    if stack.count > 1 {
        options += &format!(", num_layers={}", stack.count);
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
        options += &format!(", proj_size={size}");
    }
    options
}
