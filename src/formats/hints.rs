//! What a file of weights does not say of its network, and the model of a file and these hints.

use crate::cells::Cell;
use crate::data::preparation::Preparation;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Bias, Head, Input, Layer, Loss, Network, Parameter, Reads};
use crate::recipe::optimizer::Optimizer;
use crate::recipe::{HeadRecipe, Recipe};

/// Properties of a network that a file of weights does not contain.
#[derive(Debug, Clone, Default)]
pub struct ImportHints {
    /// The cell of every layer whose weights fit several cells; [`Cell::RnnTanh`] and [`Cell::Gru`]
    /// by default.
    pub cell: Option<Cell>,
    /// The hidden states that the head reads; the last one by default.
    pub reads: Option<Reads>,
    /// The loss; the mean squared error for one output and the cross-entropy for several by
    /// default.
    pub loss: Option<Loss>,
    /// Whether the inputs are one-hot tokens. With an embedding they are tokens in any case.
    pub one_hot: bool,
    /// The names of the recurrent modules of a `state_dict` from the input up, where numbers in
    /// their names and sizes do not determine it. The formats of Keras do not use it.
    pub order: Vec<String>,
    /// The recipe of the model, except for its network: data, training and evaluation.
    pub recipe: Option<Recipe>,
}

/// A model that was made of a file of weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    pub model: Model,
    /// The layers with their names in the file, and what was assumed, one sentence each.
    pub notes: Vec<String>,
}

/// A network as a file of weights describes it.
pub(super) struct ImportedNetwork {
    /// I, or V of tokens.
    pub input_size: usize,
    pub input: Input,
    pub layers: Vec<Layer>,
    /// K.
    pub outputs: usize,
    pub parameters: Vec<Parameter>,
}

impl ImportHints {
    /// Makes the model of an imported network.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is not a valid network, no layer can have the cell of the hints, or a
    /// parameter is not finite.
    pub(super) fn model(&self, name: &str, mut imported: ImportedNetwork) -> Result<Model> {
        self.check_cell(&imported.layers)?;
        imported.tie();
        let head = self.head(imported.outputs);
        if head.reads == Reads::Attention {
            return Err(Error::usage(
                "the head reads by attention, and files of other frameworks do not name the query \
                 of that; the head of an imported model may read \"last\", \"every\", \"mean\" or \
                 \"max\"",
            ));
        }
        let recipe = self.recipe(name, &imported, head);
        let network = Network {
            input_size: imported.input_size,
            input: imported.input,
            layers: imported.layers,
            head: Head {
                size: imported.outputs,
                reads: recipe.network.head.reads,
                loss: recipe.network.head.loss,
                init: recipe.network.head.init,
            },
            heads: vec![],
            categories: vec![],
        };
        network.validate()?;
        let mut parameters = imported.parameters;
        network.from_parameters(&parameters)?;
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Model {
            network,
            recipe,
            preparation: Preparation::default(),
            parameters,
        })
    }

    fn check_cell(&self, layers: &[Layer]) -> Result<()> {
        let is_used = |cell: &Cell| layers.iter().any(|layer| layer.cell == *cell);
        match self.cell.filter(|cell| !is_used(cell)) {
            Some(cell) => Err(Error::usage(format!(
                "no layer can be {}: the weights of layer 0 are those of {}",
                cell.name(),
                layers[0].cell.name()
            ))),
            None => Ok(()),
        }
    }

    fn head(&self, outputs: usize) -> HeadRecipe {
        let given = self.recipe.as_ref().map(|recipe| &recipe.network.head);
        let default_loss = match outputs {
            1 => Loss::MeanSquaredError,
            _ => Loss::CrossEntropy,
        };
        let reads = self.reads.or(given.map(|head| head.reads));
        let loss = self.loss.or(given.map(|head| head.loss));
        HeadRecipe::new(reads.unwrap_or_default(), loss.unwrap_or(default_loss))
    }

    fn recipe(&self, name: &str, imported: &ImportedNetwork, head: HeadRecipe) -> Recipe {
        let layers = imported.layers.clone();
        let mut recipe = match &self.recipe {
            Some(recipe) => {
                let mut recipe = recipe.clone();
                recipe.network.layers = layers;
                recipe.network.head = head;
                recipe
            }
            None => Recipe::new(name, layers, head, Optimizer::adam(0.001)),
        };
        recipe.network.input = imported.input;
        recipe
    }

    /// The cell of a layer with `gates` gates; `source` names the layer in errors. `reset_after`
    /// says whether a GRU's reset gate comes after the recurrent matmul, if that is known.
    pub(super) fn cell_of(
        &self,
        gates: usize,
        reset_after: Option<bool>,
        source: &str,
    ) -> Result<Cell> {
        let default = match (gates, reset_after) {
            (1, _) => Cell::RnnTanh,
            (3, Some(false)) => Cell::GruResetBefore,
            (3, _) => Cell::Gru,
            (4, _) => Cell::Lstm,
            _ => {
                return Err(Error::usage(format!(
                    "{source}: its recurrent weights have {gates} times as many rows as hidden \
                     units; an RNN has 1, a GRU 3, an LSTM 4"
                )));
            }
        };
        let fits = |cell: &Cell| {
            let same_weights = cell.spec().gates == gates && cell.spec().peepholes.is_empty();
            let same_reset = reset_after.is_none_or(|after| after == (*cell == Cell::Gru));
            same_weights && (gates != 3 || same_reset)
        };
        Ok(self.cell.filter(fits).unwrap_or(default))
    }
}

impl ImportedNetwork {
    /// Ties the embedding to the head if both have the same weights, or if the head has none.
    fn tie(&mut self) {
        let Input::Embedding { tied, .. } = &mut self.input else {
            return;
        };
        let weights_of = |name: &str| {
            let found = self.parameters.iter().find(|each| each.name == name);
            found.map(|parameter| (&parameter.shape, &parameter.values))
        };
        let head = weights_of("head.weight");
        *tied = head.is_none() || head == weights_of("embedding.weight");
        if *tied {
            self.parameters.retain(|each| each.name != "head.weight");
        }
    }
}

/// Describes the layers and the head; `sources` `[L]` and `head_source` are their names in the
/// file.
pub(super) fn layer_notes(network: &Network, sources: &[String], head_source: &str) -> Vec<String> {
    let layers = network.layers.iter().zip(sources).enumerate();
    let described = layers.map(|(l, (layer, source))| {
        let directions = if layer.bidirectional {
            ", bidirectional"
        } else {
            ""
        };
        let projection = layer.projection_size;
        let projection = projection.map_or(String::new(), |size| format!(", projected to {size}"));
        format!(
            "layer {l}: {} {}{projection}{directions}, bias {:?}, from {source}",
            layer.cell.name(),
            layer.hidden_size,
            layer.bias
        )
    });
    let Head {
        size, loss, reads, ..
    } = network.head;
    let head = format!("head: {size} outputs of {loss:?}, reads {reads:?}, from {head_source}");
    described.chain([head]).collect()
}

/// The input of an embedding of vectors of `size` elements.
pub(super) fn embedding_input(size: usize) -> Input {
    Input::Embedding {
        size,
        padding_idx: None,
        init: Default::default(),
        tied: false,
    }
}

/// The biases that a layer trains: both where the second one is not zero, or where the cell needs
/// both.
pub(super) fn bias_of(cell: Cell, has_first: bool, second: Option<&[f32]>) -> Bias {
    let is_trained = |second: &[f32]| {
        cell.spec().needs_recurrent_bias() || second.iter().any(|&bias| bias != 0.0)
    };
    if !has_first {
        Bias::None
    } else if second.is_some_and(is_trained) {
        Bias::Double
    } else {
        Bias::Single
    }
}
