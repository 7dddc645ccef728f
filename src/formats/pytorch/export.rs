//! Writing a model as a `state_dict`.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

use super::super::{Export, check_support, has_zoneout, with_output_preparation};
use super::{python, split_name};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Bias, Layer, Network, Parameter};

/// Layers of one `nn.RNN`, `nn.LSTM` or `nn.GRU`.
pub(super) struct Stack {
    /// The level of the first layer.
    pub first: usize,
    pub count: usize,
    /// The module's name: `rnn`, or `rnn0`, `rnn1`, ... for several.
    pub name: String,
}

/// Returns the model as safetensors, and the module that loads the file named `weights`. Layers of
/// the same kind and size are one module `rnn`, whose parameters have the names of the model's;
/// layers that differ are several modules.
///
/// # Errors
/// [`Error::Usage`] for normal distributions of differences, and for options that PyTorch's modules
/// do not have: peepholes, learnt initial states, the reset gate before the recurrent matmul,
/// clipping, projections that are not smaller than the layer, and directions of different sizes.
pub fn export(model: &Model, weights: &str) -> Result<Export> {
    let network = &model.network;
    network.from_parameters(&model.parameters)?;
    let model = &with_output_preparation(model, "PyTorch")?;
    check_support(network, "PyTorch", lacking_option)?;
    let stacks = stacks(network);
    let file = state_dict(model, &stacks);
    Ok(Export {
        weights: file.map_err(|error| Error::usage(error.to_string()))?,
        python: python::program(model, &stacks, weights),
    })
}

/// The first option of a layer that PyTorch does not have.
fn lacking_option(layer: &Layer) -> Option<&'static str> {
    let backward_size = layer.backward_hidden_size.unwrap_or(layer.hidden_size);
    let options = [
        (
            layer.cell.spec().frameworks.pytorch.is_none(),
            layer.cell.name(),
        ),
        (has_zoneout(layer), "zoneout"),
        (layer.layer_norm, "layer normalisation in an LSTM or GRU"),
        (
            layer.learn_initial_state,
            "learnt initial state in its modules",
        ),
        (
            !layer.activation.is_default(),
            "other `activation` than tanh in an LSTM or GRU",
        ),
        (
            !layer.recurrent_activation.is_default(),
            "other `recurrent_activation` than sigmoid in an LSTM or GRU",
        ),
        (layer.cell_clip.is_some(), "LSTM that clips c"),
        (
            layer.projection_clip.is_some(),
            "LSTM that clips its projection",
        ),
        (
            layer.projection_size >= Some(layer.hidden_size.min(backward_size)),
            "projection to as many elements as hidden units, or more",
        ),
        (
            backward_size != layer.hidden_size,
            "layer whose directions differ in size",
        ),
    ];
    let lacking = options.into_iter().find(|(has, _)| *has);
    lacking.map(|(_, name)| name)
}

fn state_dict(model: &Model, stacks: &[Stack]) -> Result<Vec<u8>, SafeTensorError> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = vec![];
    for parameter in &model.parameters {
        if !model.network.heads.is_empty() && is_of_heads(&parameter.name) {
            tensors.extend(of_heads(model, parameter));
            continue;
        }
        let name = module_name(stacks, &parameter.name);
        let values = parameter.values.iter();
        let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
        // A `state_dict` has tied weights under both names.
        if model.network.is_tied() && name == "embedding.weight" {
            tensors.push(("head.weight".into(), parameter.shape.clone(), bytes.clone()));
        }
        tensors.push((name, parameter.shape.clone(), bytes));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes)?;
        Ok((name, view))
    });
    let views = views.collect::<Result<Vec<_>, SafeTensorError>>()?;
    let metadata = [("format".to_string(), "pt".to_string())].into();
    safetensors::serialize(views, Some(metadata))
}

/// Whether a parameter has rows of several heads.
fn is_of_heads(name: &str) -> bool {
    matches!(name, "head.weight" | "head.bias")
}

/// The rows of each of several heads, under the name of its module.
fn of_heads<'a>(
    model: &'a Model,
    parameter: &'a Parameter,
) -> impl Iterator<Item = (String, Vec<usize>, Vec<u8>)> + 'a {
    let kind = parameter.name.trim_start_matches("head.");
    let heads = model.network.heads.iter().enumerate();
    heads.map(move |(index, _)| {
        let rows = model.network.head_rows(index);
        let each: usize = parameter.shape[1..].iter().product();
        let mut shape = parameter.shape.clone();
        shape[0] = rows.len();
        let values = &parameter.values[rows.start * each..rows.end * each];
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        (format!("heads.{index}.{kind}"), shape, bytes.collect())
    })
}

/// Groups the layers of a network into modules.
fn stacks(network: &Network) -> Vec<Stack> {
    let mut stacks: Vec<Stack> = vec![];
    for (level, layer) in network.layers.iter().enumerate() {
        match stacks.last_mut() {
            Some(stack) if can_stack(&network.layers[level - 1], layer) => stack.count += 1,
            _ => stacks.push(Stack {
                first: level,
                count: 1,
                name: String::new(),
            }),
        }
    }
    let several = stacks.len() > 1;
    for (n, stack) in stacks.iter_mut().enumerate() {
        stack.name = if several {
            format!("rnn{n}")
        } else {
            "rnn".into()
        };
    }
    stacks
}

/// Whether one module can have two successive layers.
fn can_stack(below: &Layer, above: &Layer) -> bool {
    let key = |layer: &Layer| {
        (
            layer.cell,
            layer.hidden_size,
            layer.bias == Bias::None,
            layer.bidirectional,
            layer.projection_size,
        )
    };
    key(below) == key(above) && !below.residual && !above.residual
}

/// The name of a parameter in its module, where layers count from the first of the module.
fn module_name(stacks: &[Stack], name: &str) -> String {
    let own = name.strip_prefix("rnn.").unwrap_or_default();
    let Some((kind, level, reverse)) = split_name(own) else {
        return name.to_string();
    };
    let stack = stacks.iter().rfind(|stack| stack.first <= level);
    let (stack, level) = stack.map_or(("rnn", level), |s| (&s.name, level - s.first));
    format!("{stack}.{kind}_l{level}{reverse}")
}
