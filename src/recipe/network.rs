//! The network of a recipe, whose input and output sizes the data determine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CategoryEncoding, ClassWeights, NamedHeadRecipe};
use crate::cells::{Activation, Cell, RecurrentActivation};
use crate::error::{Error, Result};
use crate::fields;
use crate::network::{
    Bias, CategoryTable, Head, Init, Input, Layer, Loss, Network, Reads, reads_by,
};

/// A [`Network`] without the sizes that the data determine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRecipe {
    /// The form of the inputs: `values`, unless the data are tokens.
    #[serde(default, skip_serializing_if = "Input::is_values")]
    pub input: Input,
    /// How it reads the categories of the data (`data.categories` of a table).
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub category_encoding: CategoryEncoding,
    /// Elements of the vector of a category, by the name of its column; that of other columns is
    /// [`CategoryTable::default_size`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub category_sizes: BTreeMap<String, usize>,
    /// The recurrent layers, from the input up.
    #[serde(rename = "layer")]
    pub layers: Vec<Layer>,
    /// The head; of several, what they share.
    #[serde(default)]
    pub head: HeadRecipe,
    /// The heads, where there are several: each with its own targets and loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<NamedHeadRecipe>,
}

/// A [`Head`] without its size.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadRecipe {
    /// The hidden states that it reads.
    #[serde(default)]
    pub reads: Reads,
    /// The loss to minimize; left out where there are several heads.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub loss: Loss,
    /// The initial weights and bias.
    #[serde(default)]
    pub init: Init,
    /// The part of each target of classes that is spread over all classes in training (Szegedy et
    /// al. 2016; `label_smoothing` of PyTorch). Evaluations have the plain cross-entropy.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub label_smoothing: f32,
    /// The weights of the classes in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

impl HeadRecipe {
    /// Returns a head with Glorot weights.
    pub fn new(reads: Reads, loss: Loss) -> Self {
        HeadRecipe {
            reads,
            loss,
            init: Init::default(),
            label_smoothing: 0.0,
            class_weights: None,
        }
    }

    /// Returns whether each step has a target, or else each sequence has one.
    pub fn has_target_per_step(&self) -> bool {
        self.reads == Reads::Every && !self.loss.takes_lists()
    }

    /// Checks what training adds to the loss; `path` is the head's.
    pub(super) fn validate_training(&self, path: &str) -> Result<()> {
        let smoothing = f64::from(self.label_smoothing);
        let smoothing_field = format!("{path}.label_smoothing");
        fields::fraction(&smoothing_field, smoothing)?;
        let field = format!("{path}.class_weights");
        if let Some(weights) = &self.class_weights {
            weights.validate(&field)?;
        }
        let set = [
            (smoothing_field, smoothing > 0.0),
            (field, self.class_weights.is_some()),
        ];
        match set.iter().find(|(_, is_set)| *is_set) {
            Some((field, _)) if !self.loss.takes_classes() => Err(Error::usage(format!(
                "{field} is set, and {path}.loss is \"{}\"; only the loss \"cross-entropy\" has \
                 classes: leave out {field}",
                self.loss.name()
            ))),
            _ => Ok(()),
        }
    }
}

impl NetworkRecipe {
    /// Returns the network for inputs of `input_size` values, of which `categories` embeds some,
    /// and `outputs` classes or target values, each of which may have several outputs.
    pub(super) fn network(
        &self,
        input_size: usize,
        outputs: usize,
        categories: Vec<CategoryTable>,
    ) -> Result<Network> {
        let head = &self.head;
        let network = Network {
            input_size,
            input: self.input,
            layers: self.layers.clone(),
            head: Head {
                size: outputs * head.loss.outputs_per_target(),
                reads: head.reads,
                loss: head.loss,
                init: head.init,
            },
            heads: vec![],
            categories,
        };
        network.validate()?;
        Ok(network)
    }

    /// Returns the network of several heads for inputs of `input_size` values, of which
    /// `categories` embeds some, where `targets` holds the classes or target values of each head.
    pub(super) fn network_of_heads(
        &self,
        input_size: usize,
        targets: &[usize],
        categories: Vec<CategoryTable>,
    ) -> Result<Network> {
        let heads = self.heads.iter().zip(targets);
        let heads: Vec<_> = heads.map(|(head, &targets)| head.head(targets)).collect();
        let network = Network {
            head: Head {
                size: heads.iter().map(|head| head.size).sum(),
                reads: self.head.reads,
                loss: Loss::Heads,
                init: self.head.init,
            },
            heads,
            input_size,
            input: self.input,
            layers: self.layers.clone(),
            categories,
        };
        network.validate()?;
        Ok(network)
    }

    /// [`NetworkRecipe::validate`] of several heads with these classes or target values.
    pub(super) fn validate_several(&self, outputs: &[usize]) -> Result<()> {
        self.validate_inits()?;
        for (head, &outputs) in self.heads.iter().zip(outputs) {
            let mut own = self.clone();
            own.heads = vec![];
            own.head.loss = head.loss;
            own.head.reads = reads_by(&head.loss, self.head.reads);
            own.validate(outputs)?;
        }
        let residual = self.layers.first().filter(|layer| layer.residual);
        let input_size = residual.map_or(1, Layer::emitted_size);
        if self.input.is_values() {
            self.network_of_heads(input_size, outputs, vec![])?;
        }
        Ok(())
    }

    /// Checks the fields, as a network of an input size that suits them.
    pub(super) fn validate(&self, outputs: usize) -> Result<()> {
        self.validate_inits()?;
        self.head.validate_training("network.head")?;
        let residual = self.layers.first().filter(|layer| layer.residual);
        let input_size = match (self.input, residual) {
            (Input::Embedding { tied: true, .. }, _) => outputs,
            (
                Input::Embedding {
                    padding_idx: Some(token),
                    ..
                },
                _,
            ) => token as usize + 1,
            (Input::Values, Some(layer)) => layer.emitted_size(),
            _ => 1,
        };
        self.network(input_size, outputs, vec![])?;
        Ok(())
    }

    fn validate_inits(&self) -> Result<()> {
        let layers = self.layers.iter().enumerate();
        let layers = layers.map(|(index, layer)| (format!("layer.{index}"), layer.init));
        for (owner, init) in layers.chain([("head".to_string(), self.head.init)]) {
            if let Init::TruncatedNormal { stddev } = init {
                let field = format!("network.{owner}.init.truncated-normal.stddev");
                fields::positive(&field, stddev.into())?;
            }
        }
        Ok(())
    }

    /// Keeps the first `count` layers, or repeats the last one up to `count`.
    pub fn set_layers(&mut self, count: usize) {
        if let Some(last) = self.layers.last().cloned() {
            self.layers.resize(count, last);
        }
    }

    /// Gives every layer `hidden_size` units.
    pub fn set_hidden_size(&mut self, hidden_size: usize) {
        for layer in &mut self.layers {
            layer.hidden_size = hidden_size;
        }
    }

    /// Gives every layer that cell, and resets the options that the cell does not have.
    pub fn set_cell(&mut self, cell: Cell) {
        let spec = cell.spec();
        for layer in &mut self.layers {
            layer.cell = cell;
            if cell == Cell::Gru && layer.bias == Bias::Single {
                layer.bias = Bias::Double;
            }
            // It is chosen for a gate on c. A minimal LSTM has no c, and starts without it.
            if spec.states < 2 {
                layer.forget_bias = 0.0;
            }
            if !spec.options.cell_clip {
                layer.cell_clip = None;
            }
            if spec.recurrent_gates == 0 {
                layer.recurrent_dropout = 0.0;
            }
            if spec.states < 2 || !spec.peepholes.is_empty() {
                layer.zoneout_cell = 0.0;
            }
            if !spec.options.activations {
                layer.activation = Activation::default();
                layer.recurrent_activation = RecurrentActivation::default();
            }
            if spec.options.layer_norm.is_none() {
                layer.layer_norm = false;
                layer.layer_norm_epsilon = None;
            }
            if !spec.options.projection {
                layer.projection_size = None;
                layer.projection_clip = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn network_edits_change_every_layer() {
        let mnist = Recipe::load("mnist").unwrap();
        let mut network = mnist.network.clone();
        network.set_layers(3);
        network.set_hidden_size(5);
        network.set_cell(Cell::Gru);
        for layer in &network.layers {
            assert_eq!((layer.cell, layer.hidden_size), (Cell::Gru, 5));
            assert_eq!((layer.bias, layer.forget_bias), (Bias::Double, 0.0));
        }
        network.set_layers(1);
        assert_eq!(network.layers.len(), 1);
        let mut network = mnist.network.clone();
        network.set_cell(Cell::Lstm);
        assert_eq!(network, mnist.network);
    }
}
