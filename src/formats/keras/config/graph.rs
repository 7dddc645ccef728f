//! The order of a model's layers: a list, or a graph in which each layer names those that it reads.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value};

use super::DescribedModel;
use super::chain::{CHAIN, Chain, ChainTensor, TensorContents};
use super::layers::LayerEntry;
use super::options::LayerOptions;
use crate::error::{Error, Result};
use crate::messages::excerpt;

/// What a layer is called with.
pub(super) struct LayerCall<'a> {
    pub arguments: Vec<Argument<'a>>,
    /// Whether the mask is an input of the model.
    pub is_masked: bool,
}

/// One argument of a call.
pub(super) enum Argument<'a> {
    Tensor(ChainTensor),
    Constant(&'a Value),
}

/// A tensor as a graph names it: the layer that returns it, and its place there.
#[derive(Debug, Clone, Copy)]
struct TensorReference<'a> {
    layer: &'a str,
    place: usize,
}

/// An argument before the tensors are known.
enum NamedArgument<'a> {
    Tensor(TensorReference<'a>),
    Constant(&'a Value),
}

/// A call before the tensors are known.
#[derive(Default)]
struct NamedCall<'a> {
    arguments: Vec<NamedArgument<'a>>,
    mask: Option<TensorReference<'a>>,
}

/// Reads a model whose layers follow each other.
///
/// # Errors
/// [`Error::Usage`] that names the first layer that gatescan does not have.
pub(super) fn sequential(entries: &[LayerEntry]) -> Result<DescribedModel> {
    let first = entries.first().map(|entry| entry.class);
    let contents = match first {
        Some("InputLayer") => input(&entries[0])?,
        Some("Embedding") => TensorContents::Tokens,
        _ => TensorContents::Values,
    };
    let mut chain = Chain::new(contents);
    let mut outputs = chain.last();
    for entry in entries {
        if entry.class == "InputLayer" && entry.index == 0 {
            continue;
        }
        let call = LayerCall {
            arguments: vec![Argument::Tensor(outputs)],
            is_masked: false,
        };
        let returned = chain.add(entry, &call)?;
        let &[only] = &returned[..] else {
            let options = LayerOptions::untyped(&entry.label, entry.options);
            return Err(options.refused("return_state", &true.into(), "`false` in a Sequential"));
        };
        outputs = only;
    }
    chain.finish(outputs)
}

/// Reads a model whose layers name the layers that they read.
///
/// # Errors
/// [`Error::Usage`] for a graph that is not a chain, and those of [`sequential`].
pub(super) fn functional(
    entries: &[LayerEntry],
    config: &Map<String, Value>,
) -> Result<DescribedModel> {
    let ends = |key: &str| {
        let mut ends = vec![];
        references(config.get(key).unwrap_or(&Value::Null), &mut ends);
        ends
    };
    let [output] = ends("output_layers")[..] else {
        let names = ends("output_layers")
            .into_iter()
            .map(|end| excerpt(end.layer));
        return Err(Error::usage(format!(
            "the model has not one output but {:?}; gatescan has one head; save a model of one \
             output in Keras",
            names.collect::<Vec<_>>()
        )));
    };
    let mut graph = Graph::new(entries)?;
    let outputs = graph.evaluate(output)?;
    graph.chain.finish(outputs)
}

/// A graph that is read from its inputs.
struct Graph<'a> {
    entries: &'a [LayerEntry<'a>],
    indices: HashMap<&'a str, usize>,
    calls: Vec<NamedCall<'a>>,
    chain: Chain,
    /// The tensors that each layer returns, once they are known.
    returned: Vec<Vec<ChainTensor>>,
}

impl<'a> Graph<'a> {
    fn new(entries: &'a [LayerEntry<'a>]) -> Result<Graph<'a>> {
        let is_input = |entry: &&LayerEntry| entry.class == "InputLayer";
        let mut returned = vec![vec![]; entries.len()];
        let mut inputs = vec![];
        for entry in entries.iter().filter(is_input) {
            let contents = input(entry)?;
            returned[entry.index] = vec![ChainTensor { contents, stage: 0 }];
            if contents != TensorContents::Mask {
                inputs.push((entry, contents));
            }
        }
        let [(_, contents)] = inputs[..] else {
            let names = inputs.iter().map(|(entry, _)| excerpt(entry.name));
            return Err(Error::usage(format!(
                "the model has not one input but {:?}; gatescan has one, and lengths; save a \
                 model of one input in Keras",
                names.collect::<Vec<_>>()
            )));
        };
        let named = |entry: &'a LayerEntry| match entry.class {
            "InputLayer" => Ok(NamedCall::default()),
            _ => call(entry),
        };
        Ok(Graph {
            entries,
            indices: entries
                .iter()
                .map(|entry| (entry.name, entry.index))
                .collect(),
            calls: entries.iter().map(named).collect::<Result<_>>()?,
            chain: Chain::new(contents),
            returned,
        })
    }

    /// Adds every layer to the chain after those that it reads; returns the tensor of `output`.
    fn evaluate(&mut self, output: TensorReference) -> Result<ChainTensor> {
        let mut readers: Vec<Vec<usize>> = vec![vec![]; self.entries.len()];
        let mut waiting: Vec<usize> = vec![0; self.entries.len()];
        for (index, call) in self.calls.iter().enumerate() {
            for reference in call.references() {
                readers[self.index_of(reference)?].push(index);
                waiting[index] += 1;
            }
        }
        let is_ready = |index: &usize| waiting[*index] == 0;
        let mut ready: VecDeque<usize> = (0..self.entries.len()).filter(is_ready).collect();
        let mut count = 0;
        while let Some(index) = ready.pop_front() {
            count += 1;
            if self.entries[index].class != "InputLayer" {
                let call = self.call(index)?;
                self.returned[index] = self.chain.add(&self.entries[index], &call)?;
            }
            for &reader in &readers[index] {
                waiting[reader] -= 1;
                if waiting[reader] == 0 {
                    ready.push_back(reader);
                }
            }
        }
        if count < self.entries.len() {
            return Err(Error::usage(
                "config.json: layers read each other in a circle (inbound_nodes)",
            ));
        }
        self.tensor(output, "the model")
    }

    fn index_of(&self, reference: &TensorReference) -> Result<usize> {
        let index = self.indices.get(reference.layer).copied();
        index.ok_or_else(|| {
            let name = excerpt(reference.layer);
            Error::usage(format!(
                "config.json: there is no layer `{name}`, which others read"
            ))
        })
    }

    /// The tensor that a layer or the model reads.
    fn tensor(&self, reference: TensorReference, reader: &str) -> Result<ChainTensor> {
        let index = self.index_of(&reference)?;
        let tensor = self.returned[index].get(reference.place).copied();
        tensor.ok_or_else(|| {
            let (label, place) = (&self.entries[index].label, reference.place);
            Error::usage(format!(
                "{reader} reads tensor {place} of {label}; gatescan has the outputs, and the \
                 state h after the last step of one direction; change the model in Keras"
            ))
        })
    }

    /// The call of a layer whose arguments are known.
    fn call(&self, index: usize) -> Result<LayerCall<'a>> {
        let entry = &self.entries[index];
        let call = &self.calls[index];
        let argument = |argument: &NamedArgument<'a>| match *argument {
            NamedArgument::Constant(value) => Ok(Argument::Constant(value)),
            NamedArgument::Tensor(reference) => {
                Ok(Argument::Tensor(self.tensor(reference, &entry.label)?))
            }
        };
        if let Some(mask) = call.mask
            && self.tensor(mask, &entry.label)?.contents != TensorContents::Mask
        {
            let has = "a mask that is an input of the model";
            return Err(entry.misplaced("is called with a mask that layers compute", has));
        }
        Ok(LayerCall {
            arguments: call.arguments.iter().map(argument).collect::<Result<_>>()?,
            is_masked: call.mask.is_some(),
        })
    }
}

impl<'a> NamedCall<'a> {
    fn references(&self) -> impl Iterator<Item = &TensorReference<'a>> {
        let tensors = self.arguments.iter().filter_map(|argument| match argument {
            NamedArgument::Tensor(reference) => Some(reference),
            NamedArgument::Constant(_) => None,
        });
        tensors.chain(&self.mask)
    }
}

/// The contents of an input of the model.
fn input(entry: &LayerEntry) -> Result<TensorContents> {
    let mut options = LayerOptions::untyped(&entry.label, entry.options);
    for option in ["sparse", "ragged", "optional"] {
        options.only(option, false.into(), "`false`")?;
    }
    let shape = options
        .get("batch_shape")
        .or(options.get("batch_input_shape"));
    let shape = shape.unwrap_or(&Value::Null);
    let dtype = options.get("dtype").unwrap_or(&Value::Null);
    options.finish()?;
    let dtype_name = dtype.as_str().unwrap_or("float32");
    let contents = match (shape.as_array().map_or(0, Vec::len), dtype_name) {
        (2, "bool") => return Ok(TensorContents::Mask),
        (3, "float32" | "float64") => TensorContents::Values,
        (
            2,
            "float32" | "float64" | "int32" | "int64" | "uint32" | "uint64" | "int16" | "uint16",
        ) => TensorContents::Tokens,
        (2 | 3, _) => {
            let has = "values in float32, and tokens in int32 or int64";
            return Err(options_of(entry).refused("dtype", dtype, has));
        }
        _ => {
            let has = "inputs [N, T, F] of values and [N, T] of tokens";
            return Err(options_of(entry).refused("batch_shape", shape, has));
        }
    };
    Ok(contents)
}

fn options_of<'a>(entry: &LayerEntry<'a>) -> LayerOptions<'a> {
    LayerOptions::untyped(&entry.label, entry.options)
}

/// The references in a value of `input_layers` or `output_layers`: one, a list, or an object.
fn references<'a>(value: &'a Value, found: &mut Vec<TensorReference<'a>>) {
    match value {
        Value::Array(parts) => match reference(parts) {
            Some(reference) => found.push(reference),
            None => parts.iter().for_each(|part| references(part, found)),
        },
        Value::Object(parts) => parts.values().for_each(|part| references(part, found)),
        _ => {}
    }
}

/// A reference `[layer, call, tensor]`.
fn reference(parts: &[Value]) -> Option<TensorReference<'_>> {
    match parts {
        [Value::String(layer), Value::Number(_), place] => Some(TensorReference {
            layer,
            place: usize::try_from(place.as_u64()?).ok()?,
        }),
        _ => None,
    }
}

/// The only call of a layer.
fn call<'a>(entry: &LayerEntry<'a>) -> Result<NamedCall<'a>> {
    let calls = entry.calls.as_array().map_or(&[][..], Vec::as_slice);
    let [call] = calls else {
        let problem = format!("is called {} times", calls.len());
        return Err(entry.misplaced(&problem, "layers that are called once"));
    };
    let (Some(arguments), Some(keywords)) = (call["args"].as_array(), call["kwargs"].as_object())
    else {
        let problem = "has inbound_nodes in the form of Keras 2";
        return Err(entry.misplaced(problem, "models that Keras 3 saved"));
    };
    let mut named = NamedCall::default();
    for value in arguments {
        match value {
            // A layer that reads several tensors is called with a list.
            Value::Array(parts) if parts.iter().any(|part| tensor_of(part).is_some()) => {
                named.arguments.extend(parts.iter().map(argument));
            }
            value => named.arguments.push(argument(value)),
        }
    }
    for (keyword, value) in keywords.iter().filter(|(_, value)| !value.is_null()) {
        match (&keyword[..], tensor_of(value)) {
            ("training", _) if *value == Value::Bool(false) => {}
            ("mask", Some(mask)) => named.mask = Some(mask),
            ("initial_state", _) => {
                let has = "zero states at the beginning of every sequence";
                return Err(entry.misplaced("is called with initial_state", has));
            }
            ("training", _) => {
                let has = "no dropout outside training";
                return Err(entry.misplaced("is called with training = True", has));
            }
            (keyword, _) => {
                let problem = format!("is called with `{}`", excerpt(keyword));
                return Err(entry.misplaced(&problem, CHAIN));
            }
        }
    }
    check_arguments(entry, &named)?;
    Ok(named)
}

fn argument(value: &Value) -> NamedArgument<'_> {
    match tensor_of(value) {
        Some(reference) => NamedArgument::Tensor(reference),
        None => NamedArgument::Constant(value),
    }
}

/// The tensor that a value names.
fn tensor_of(value: &Value) -> Option<TensorReference<'_>> {
    let is_tensor = value["class_name"] == "__keras_tensor__";
    let history = value["config"]["keras_history"]
        .as_array()
        .filter(|_| is_tensor);
    history.and_then(|history| reference(history))
}

/// Refuses further arguments of a recurrent layer, the first of which is its initial state.
fn check_arguments(entry: &LayerEntry, call: &NamedCall) -> Result<()> {
    let reads_one = matches!(
        entry.class,
        "SimpleRNN"
            | "LSTM"
            | "GRU"
            | "RNN"
            | "Bidirectional"
            | "GlobalAveragePooling1D"
            | "GlobalMaxPooling1D"
            | "Dense"
            | "TimeDistributed"
    );
    let count = call.arguments.len();
    if reads_one && count != 1 {
        let problem = format!("is called with {count} tensors");
        let has = "one, and zero states at the beginning of every sequence";
        return Err(entry.misplaced(&problem, has));
    }
    Ok(())
}
