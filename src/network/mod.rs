//! The description of a network: its input, its layers, its head, and the table of its parameters.
//!
//! Parameters have PyTorch's names, shapes and gate order (`rnn.weight_ih_l0` `[G*H, I]`, rows in
//! blocks of H per gate), so a saved stack of one cell and one size loads into `nn.RNN`, `nn.LSTM`
//! or `nn.GRU` unchanged, except for the prefix `rnn.`.

mod categories;
mod dropout;
mod head;
mod heads;
mod init;
mod input;
mod layer;
mod loss;
mod parameters;

use serde::{Deserialize, Serialize};

pub use crate::cells::{Activation, RecurrentActivation};
use crate::error::{Error, Result};
pub use categories::CategoryTable;
pub(crate) use categories::InputPart;
pub use dropout::{Dropout, MaskSharing};
pub use head::{Head, Reads};
pub use heads::NamedHead;
pub(crate) use heads::{check_names, reads_by};
pub use init::Init;
pub use input::Input;
pub use layer::{Bias, Layer, Padding};
pub use loss::{Loss, Quantiles};
#[cfg(feature = "formats")]
pub(crate) use parameters::HEAD_QUERY;
pub use parameters::{Entry, Parameter, ParameterRole};

/// A stack of recurrent layers and a linear head over the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// I: values of an input at one time step; V for tokens.
    pub input_size: usize,
    /// The kind of input at one time step.
    #[serde(default, skip_serializing_if = "Input::is_values")]
    pub input: Input,
    /// The recurrent layers, first the one that reads the input; each has its own cell and size.
    #[serde(rename = "layer")]
    pub layers: Vec<Layer>,
    /// The linear layer that turns hidden states into outputs; of several heads, all of them: its
    /// size is the sum of theirs, and its loss [`Loss::Heads`].
    pub head: Head,
    /// The heads, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<NamedHead>,
    /// The tables that embed columns of categories, in the order of their columns of the inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<CategoryTable>,
}

/// One direction of a layer: a recurrence with its own parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// The index of its layer in the network.
    pub layer_index: usize,
    /// Whether it reads each sequence from its end.
    pub reversed: bool,
    /// The end of its parameters' names: `l0`, `l0_reverse`.
    pub suffix: String,
    /// Features that it reads at one time step.
    pub inputs: usize,
    /// The layer, with this direction's `hidden_size`.
    pub layer: Layer,
}

/// The largest number of layers, a limit for networks read from files.
const MOST_LAYERS: usize = 1000;

/// The largest number of parameters, whose bytes a shader must be able to count in 32 bits.
const MOST_PARAMETERS: usize = u32::MAX as usize / 4;

impl Network {
    /// Checks every field and every combination of fields.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] or [`Error::Usage`], with the field's path and what is allowed.
    pub fn validate(&self) -> Result<()> {
        at_least_one("network.input_size", self.input_size)?;
        self.head.validate("network.head")?;
        self.validate_heads()?;
        self.validate_depth()?;
        self.input.validate("network.input", self.input_size)?;
        for (index, layer) in self.layers.iter().enumerate() {
            layer.validate(&format!("network.layer.{index}"))?;
        }
        self.validate_categories()?;
        self.validate_one_hot()?;
        self.validate_residuals()?;
        self.validate_tied_embedding()?;
        self.validate_parameter_count()
    }

    fn validate_depth(&self) -> Result<()> {
        match self.layers.len() {
            0 => Err(Error::usage(
                "the network has no layer; add at least one [[network.layer]]",
            )),
            1..=MOST_LAYERS => Ok(()),
            count => Err(Error::usage(format!(
                "the network has {count} layers; at most {MOST_LAYERS} are possible"
            ))),
        }
    }

    /// One-hot vectors are never written to memory, so layer 0 cannot change them or add them.
    fn validate_one_hot(&self) -> Result<()> {
        let first = &self.layers[0];
        let reads_vectors = first.dropout.input_keep_prob < 1.0 || first.residual;
        if self.input == Input::OneHot && reads_vectors {
            return Err(Error::usage(
                "network.layer.0 has input dropout (dropout.input_keep_prob) or is residual, which \
                 one-hot inputs do not support; leave both out, or use an embedding as the input",
            ));
        }
        Ok(())
    }

    fn validate_residuals(&self) -> Result<()> {
        let mut inputs = self.features();
        for (index, layer) in self.layers.iter().enumerate() {
            let outputs = layer.emitted_size();
            let is_last = index + 1 == self.layers.len();
            if layer.residual && is_last && self.head.reads == Reads::Last {
                return Err(Error::usage(format!(
                    "network.layer.{index}.residual adds the layer's inputs to its outputs, and a \
                     head with reads = \"last\" reads the state instead; leave it out of the last \
                     layer, or set network.head.reads to \"every\""
                )));
            }
            if layer.residual && inputs != outputs {
                return Err(Error::usage(format!(
                    "network.layer.{index}.residual adds {inputs} inputs to {outputs} outputs; \
                     both numbers must be equal"
                )));
            }
            inputs = outputs;
        }
        Ok(())
    }

    fn validate_tied_embedding(&self) -> Result<()> {
        let Input::Embedding {
            size,
            padding_idx,
            tied: true,
            ..
        } = self.input
        else {
            return Ok(());
        };
        let (tokens, outputs) = (self.input_size, self.head.size);
        if tokens != outputs {
            return Err(Error::usage(format!(
                "the tied embedding is also the head's weights, so network.head.size must be the \
                 number of tokens; there are {tokens} tokens and {outputs} outputs"
            )));
        }
        let emitted = self.head_inputs();
        if size != emitted {
            return Err(Error::usage(format!(
                "the tied embedding is also the head's weights, so its size, {size}, must be the \
                 number of features that the last layer emits, {emitted}; change one of them, or \
                 project the last layer (projection_size = {size})"
            )));
        }
        if padding_idx.is_some() {
            return Err(Error::usage(
                "a padding token's vector is not trained, but the tied embedding is also the \
                 head's weights, which are; leave out padding_idx or tied",
            ));
        }
        Ok(())
    }

    fn validate_parameter_count(&self) -> Result<()> {
        let count = self.parameter_count();
        if count > MOST_PARAMETERS as u128 {
            return Err(Error::usage(format!(
                "the network has {count} parameters; at most {MOST_PARAMETERS} are possible"
            )));
        }
        Ok(())
    }

    /// Returns the number of features that the first layer reads at one time step.
    pub fn features(&self) -> usize {
        match self.input {
            Input::Values => self.embedded_features(),
            Input::OneHot => self.input_size,
            Input::Embedding { size, .. } => size,
        }
    }

    /// Returns every direction of every layer, from the input up, forward before backward.
    pub fn directions(&self) -> Vec<Direction> {
        let mut directions = vec![];
        let mut inputs = self.features();
        for (index, layer) in self.layers.iter().enumerate() {
            let forward = Direction {
                layer_index: index,
                reversed: false,
                suffix: format!("l{index}"),
                inputs,
                layer: layer.clone(),
            };
            let backward = layer.backward().map(|layer| Direction {
                reversed: true,
                suffix: format!("l{index}_reverse"),
                layer,
                ..forward.clone()
            });
            inputs = layer.emitted_size();
            directions.push(forward);
            directions.extend(backward);
        }
        directions
    }

    /// Whether the head's weights are the embedding's table.
    pub fn is_tied(&self) -> bool {
        matches!(self.input, Input::Embedding { tied: true, .. })
    }

    /// Returns the number of features that the head reads: those that the last layer emits.
    pub fn head_inputs(&self) -> usize {
        self.layers.last().map_or(0, Layer::emitted_size)
    }
}

/// Checks a size.
fn at_least_one(field: &str, size: usize) -> Result<()> {
    if size == 0 {
        return Err(Error::invalid(field, size, "at least 1"));
    }
    Ok(())
}
