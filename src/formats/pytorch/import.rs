//! Making a model of a `state_dict`.

use super::super::hints::{
    ImportHints, Imported, ImportedNetwork, bias_of, embedding_input, layer_notes,
};
use super::order::{OrderReason, StackedModule, Stacking};
use super::state_dict::{MatrixModule, RecurrentModule, StateDict};
use super::{REVERSE, split_reverse};
use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Input, Layer, Loss, Network, Parameter, Reads};

/// Returns the model of a `state_dict` as safetensors: one or several `nn.RNN`, `nn.LSTM` or
/// `nn.GRU`, an `nn.Linear`, and optionally an `nn.Embedding`, under any names. An embedding and a
/// head with the same weights are tied.
///
/// Several recurrent modules are stacked as [`ImportHints::order`] says, in the order of the
/// numbers in names that are otherwise equal (`rnn.0`, `rnn.1`), or in the only order that their
/// sizes fit. The notes say which, name the module of each layer, and state what a `state_dict`
/// cannot say and was assumed.
///
/// # Errors
/// [`Error::Usage`] for tensors that are not those of such a network or are not finite, by their
/// names; [`Error::InvalidValue`] of the field `order` if several orders are possible or the hints
/// name other modules.
pub fn import(bytes: &[u8], name: &str, hints: &ImportHints) -> Result<Imported> {
    let StateDict {
        recurrent,
        matrices,
    } = StateDict::read(bytes)?;
    let mut modules = recurrent
        .into_iter()
        .map(|module| LayeredModule::new(module, hints))
        .collect::<Result<Vec<_>>>()?;
    if modules.is_empty() {
        return Err(Error::usage(
            "there is no tensor weight_ih_l0, as nn.RNN, nn.LSTM and nn.GRU have; is it a \
             state_dict with such a layer?",
        ));
    }
    let (order, reason) = order(&modules, &matrices, hints)?;
    let mut positions: Vec<usize> = vec![0; order.len()];
    order
        .iter()
        .enumerate()
        .for_each(|(at, &n)| positions[n] = at);
    let mut sorted: Vec<(usize, LayeredModule)> =
        positions.into_iter().zip(modules.drain(..)).collect();
    sorted.sort_by_key(|(position, _)| *position);
    let modules: Vec<LayeredModule> = sorted.into_iter().map(|(_, module)| module).collect();
    let ends = Ends::of(
        &matrices,
        modules[0].reads,
        modules[modules.len() - 1].emits(),
    )?;
    let sources = sources(&modules);
    let names: Vec<String> = modules.iter().map(|m| m.module.name.quoted()).collect();
    let network = stacked(modules, &ends, hints);
    let model = hints.model(name, network)?;
    let mut notes = layer_notes(&model.network, &sources, &ends.head_source());
    notes.push(ends.input_note(&model.network));
    notes.extend(order_note(reason, &names));
    notes.extend(assumptions(&model, names.len(), hints));
    Ok(Imported { model, notes })
}

/// A recurrent module with its layers as a network has them.
struct LayeredModule {
    module: RecurrentModule,
    layers: Vec<Layer>,
    /// Values that its first layer reads at each step.
    reads: usize,
}

impl LayeredModule {
    fn new(module: RecurrentModule, hints: &ImportHints) -> Result<LayeredModule> {
        let name = module.name.quoted();
        let layers = module.layers.iter().enumerate();
        let layers: Vec<Layer> = layers
            .map(|(level, found)| layer(found, &format!("layer {level} of {name}"), hints))
            .collect::<Result<_>>()?;
        let first = module.layers.first();
        let weight = first.and_then(|found| find(found, "weight_ih"));
        match weight.map(|weight| &weight.shape[..]) {
            Some(&[_, reads]) => Ok(LayeredModule {
                module,
                layers,
                reads,
            }),
            _ => Err(Error::usage(format!(
                "{name} has no matrix weight_ih_l0; save the whole state_dict"
            ))),
        }
    }

    /// Values that its last layer emits at each step.
    fn emits(&self) -> usize {
        self.layers.last().map_or(0, Layer::emitted_size)
    }
}

fn find<'a>(found: &'a [Parameter], kind: &str) -> Option<&'a Parameter> {
    found.iter().find(|each| each.name == kind)
}

/// Returns the layer of these tensors; `source` names it in errors.
fn layer(found: &[Parameter], source: &str, hints: &ImportHints) -> Result<Layer> {
    let find_reverse = |kind: &str| find(found, &format!("{kind}{REVERSE}"));
    let (rows, read) = match find(found, "weight_hh").map(|weight| &weight.shape[..]) {
        Some(&[rows, read]) if read > 0 => (rows, read),
        _ => {
            return Err(Error::usage(format!(
                "{source}: there is no matrix weight_hh"
            )));
        }
    };
    let projection = find(found, "weight_hr")
        .and_then(|weight| weight.shape.get(1))
        .copied();
    let hidden_size = projection.unwrap_or(read);
    let gates = match rows % hidden_size.max(1) {
        0 => rows / hidden_size.max(1),
        _ => 0,
    };
    let cell = hints.cell_of(gates, Some(true), source)?;
    let second = [find(found, "bias_hh"), find_reverse("bias_hh")]
        .into_iter()
        .flatten();
    let second: Vec<f32> = second.flat_map(|bias| bias.values.clone()).collect();
    Ok(Layer {
        bias: bias_of(cell, find(found, "bias_ih").is_some(), Some(&second)),
        bidirectional: find_reverse("weight_ih").is_some(),
        projection_size: projection.map(|_| read),
        ..Layer::new(cell, hidden_size)
    })
}

/// Returns the order in which modules are stacked.
fn order(
    modules: &[LayeredModule],
    matrices: &[MatrixModule],
    hints: &ImportHints,
) -> Result<(Vec<usize>, OrderReason)> {
    let stacked: Vec<StackedModule> = modules
        .iter()
        .map(|module| StackedModule {
            name: &module.module.name,
            reads: module.reads,
            emits: module.emits(),
        })
        .collect();
    let check_ends = |first: &StackedModule, last: &StackedModule| {
        Ends::of(matrices, first.reads, last.emits).map(|_| ())
    };
    let stacking = Stacking {
        modules: &stacked,
        check_ends,
    };
    stacking.order(&hints.order)
}

/// The module of each layer.
fn sources(modules: &[LayeredModule]) -> Vec<String> {
    let of_module = |module: &LayeredModule| {
        let name = module.module.name.quoted();
        let count = module.layers.len();
        let source = move |level| match count {
            1 => name.clone(),
            _ => format!("{name}, layer {level} of {count}"),
        };
        (0..count).map(source).collect::<Vec<_>>()
    };
    modules.iter().flat_map(of_module).collect()
}

/// The network of stacked modules.
fn stacked(modules: Vec<LayeredModule>, ends: &Ends, hints: &ImportHints) -> ImportedNetwork {
    let features = modules[0].reads;
    let (mut layers, mut parameters) = (vec![], ends.parameters());
    for LayeredModule {
        module,
        layers: own,
        ..
    } in modules
    {
        for (level, found) in (layers.len()..).zip(module.layers) {
            for mut parameter in found {
                let (kind, reverse) = split_reverse(&parameter.name);
                parameter.name = format!("rnn.{kind}_l{level}{reverse}");
                parameters.push(parameter);
            }
        }
        layers.extend(own);
    }
    let (input_size, input) = match ends.embedding.and_then(MatrixModule::shape) {
        Some((vocabulary, size)) => (vocabulary, embedding_input(size)),
        None if hints.one_hot => (features, Input::OneHot),
        None => (features, Input::Values),
    };
    ImportedNetwork {
        input_size,
        input,
        layers,
        outputs: ends.outputs,
        parameters,
    }
}

/// The embedding below the recurrent modules and the linear head above them.
struct Ends<'a> {
    embedding: Option<&'a MatrixModule>,
    /// `None` for a head that has the embedding's weights and no bias.
    head: Option<&'a MatrixModule>,
    /// K.
    outputs: usize,
}

/// Parts of the names of embeddings, in lower case.
const EMBEDDING_NAMES: [&str; 4] = ["emb", "wte", "lookup", "vocab"];

impl<'a> Ends<'a> {
    /// Finds the embedding, whose vectors are the `features` that the first layer reads, and the
    /// head, which reads the values that the last layer `emits`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a module that can be neither or may be either, and without a head.
    fn of(matrices: &'a [MatrixModule], features: usize, emits: usize) -> Result<Ends<'a>> {
        let (mut embeddings, mut heads, mut biases) = (vec![], vec![], vec![]);
        for module in matrices {
            if module.weight.is_none() {
                biases.push(module);
            } else if is_embedding(module, matrices, features, emits)? {
                embeddings.push(module);
            } else {
                heads.push(module);
            }
        }
        for (modules, kind, remedy) in [
            (
                &embeddings,
                "embeddings",
                "at most one, which the first layer reads",
            ),
            (
                &heads,
                "linear layers",
                "one, the head; without an activation between them, multiply them into one before \
                 saving",
            ),
        ] {
            if modules.len() > 1 {
                let names: Vec<String> = modules.iter().map(|m| m.name.quoted()).collect();
                return Err(Error::usage(format!(
                    "{} are {kind}; gatescan has {remedy}",
                    names.join(" and ")
                )));
            }
        }
        let embedding = embeddings.first().copied();
        // A head whose weights are the embedding's may be saved without them.
        let tied = embedding.and_then(MatrixModule::shape);
        let tied = tied.filter(|&(_, size)| size == emits);
        let head = heads.first().copied().or(biases.first().copied());
        let shape = heads.first().map_or(tied, |head| head.shape());
        let unused = biases.iter().find(|bias| {
            let is_head = head.is_some_and(|head| std::ptr::eq(head, **bias));
            !is_head || tied.is_none()
        });
        if let Some(bias) = unused {
            return Err(Error::usage(format!(
                "{} has a bias and no weight; save the whole state_dict",
                bias.name.quoted()
            )));
        }
        let Some((outputs, _)) = shape else {
            return Err(Error::usage(format!(
                "there is no linear head: no tensor `<name>.weight` of shape [K, {emits}]"
            )));
        };
        Ok(Ends {
            embedding,
            head,
            outputs,
        })
    }

    /// The parameters of both, under the names of a model; a head without a bias gets zeros.
    fn parameters(&self) -> Vec<Parameter> {
        let named = |parameter: Option<&Parameter>, name: &str| {
            parameter.map(|parameter| Parameter {
                name: name.into(),
                ..parameter.clone()
            })
        };
        let tensor = |module: Option<&'a MatrixModule>| module.and_then(|m| m.weight.as_ref());
        let bias = self.head.and_then(|head| head.bias.as_ref());
        let bias = named(bias, "head.bias").unwrap_or_else(|| Parameter {
            name: "head.bias".into(),
            shape: vec![self.outputs],
            values: vec![0.0; self.outputs],
        });
        let embedding = named(tensor(self.embedding), "embedding.weight");
        let head = named(tensor(self.head), "head.weight");
        embedding.into_iter().chain(head).chain([bias]).collect()
    }

    fn head_source(&self) -> String {
        let module = self.head.or(self.embedding);
        module.map_or(String::new(), |module| module.name.quoted())
    }

    fn input_note(&self, network: &Network) -> String {
        let size = network.input_size;
        match (self.embedding, network.input) {
            (Some(embedding), _) => format!(
                "input: tokens below {size}, from {}, an embedding of {} values",
                embedding.name.quoted(),
                network.features()
            ),
            (None, Input::OneHot) => format!("input: tokens below {size} as one-hot vectors"),
            _ => format!("input: {size} values at each step"),
        }
    }
}

/// Returns whether a module with a weight is an embedding; else it is the head. A linear head reads
/// the outputs of the last layer; an embedding has no bias, and its vectors are what the first
/// layer reads.
fn is_embedding(
    module: &MatrixModule,
    matrices: &[MatrixModule],
    features: usize,
    emits: usize,
) -> Result<bool> {
    let name = module.name.quoted();
    let Some((rows, columns)) = module.shape() else {
        return Err(Error::usage(format!("{name} has no matrix weight")));
    };
    let is_named = {
        let name = module.name.as_str().to_lowercase();
        EMBEDDING_NAMES.iter().any(|part| name.contains(part))
    };
    let may_be_embedding = module.bias.is_none() && columns == features;
    if may_be_embedding && is_named {
        return Ok(true);
    }
    if columns == emits {
        return Ok(false);
    }
    if !may_be_embedding && module.bias.is_none() {
        return Err(Error::usage(format!(
            "{name} [{rows}, {columns}] is neither an embedding of the {features} values that the \
             first recurrent layer reads, nor a head over the {emits} outputs of the last one; \
             gatescan has nothing else between inputs, layers and head"
        )));
    }
    if !may_be_embedding {
        return Err(Error::usage(format!(
            "the linear layer {name} [{rows}, {columns}] reads {columns} values; gatescan has one \
             linear layer, the head, which must read the {emits} outputs of the last recurrent \
             layer at the last step or at every step"
        )));
    }
    // A linear layer below or above may feed it.
    let is_fed = matrices
        .iter()
        .any(|other| other.shape().is_some_and(|(outputs, _)| outputs == columns));
    if is_fed {
        return Err(Error::usage(format!(
            "{name} [{rows}, {columns}] may be an embedding of {rows} tokens or a linear layer \
             without a bias; if it is an embedding, save it under a name with `emb`, else multiply \
             it into the layer that reads its outputs"
        )));
    }
    Ok(true)
}

/// A sentence on the order of several modules.
fn order_note(reason: OrderReason, names: &[String]) -> Option<String> {
    let why = match reason {
        OrderReason::Single => return None,
        OrderReason::Given => "as `order` says",
        OrderReason::Numbers => "in the order of their numbers; `order` changes it",
        OrderReason::Sizes => "because their sizes fit no other order",
    };
    Some(format!(
        "order, from the input up: {}, {why}",
        names.join(", ")
    ))
}

/// Sentences on what a `state_dict` cannot say and was assumed.
fn assumptions(model: &Model, modules: usize, hints: &ImportHints) -> Vec<String> {
    let Network { layers, head, .. } = &model.network;
    let is_bidirectional = layers.last().is_some_and(|layer| layer.bidirectional);
    let mut assumed: Vec<String> = vec![match (head.reads, is_bidirectional) {
        (Reads::Last, true) => "the head reads the last state of both directions (h_n), not \
             out[:, -1], in which the backward direction has read one step only"
            .into(),
        (Reads::Last, false) => "the head reads the last state of the last layer (h_n, or \
             out[:, -1]), not c_n and not a mean or maximum over the steps"
            .into(),
        (Reads::Every, true) => "the head reads every step (out), the forward direction's values \
             first"
            .into(),
        (Reads::Every, false) => "the head reads every step (out)".into(),
        (reads, _) => format!(
            "the head reads the {} of out over the valid steps, both directions side by side",
            reads.name()
        ),
    }];
    assumed.push(
        "inputs reach the first layer as they are, in time order; sequences with lengths are packed"
            .into(),
    );
    assumed.push(
        "the head's outputs are returned as they are, without an activation after it; no \
         activation, normalisation, residual sum or attention is between layers (dropout may be: \
         it changes no prediction)"
            .into(),
    );
    if modules > 1 {
        assumed.push(
            "each module reads all outputs of the one below it, and starts from zero states".into(),
        );
    } else {
        assumed.push("the initial states are zeros".into());
    }
    if layers.iter().any(|layer| layer.cell == Cell::RnnTanh) && hints.cell.is_none() {
        assumed.push("nn.RNN has tanh (the cell rnn-relu is nonlinearity=\"relu\")".into());
    }
    if hints.loss.is_none() && hints.recipe.is_none() {
        assumed.push(match head.loss {
            Loss::CrossEntropy | Loss::Ctc { .. } => "the outputs are logits of classes".into(),
            _ => "the output is a value, not the logit of a class".into(),
        });
    }
    let head = "a state_dict does not say what forward computes; assumed:";
    let lines = assumed.iter().map(|line| format!("- {line}"));
    std::iter::once(head.to_string()).chain(lines).collect()
}
