//! Models in the formats of other frameworks, and theirs as models: [`onnx`], [`pytorch`], [`keras`]. [`tensorboard`] has the
//! records of its event files.
//!
//! What comes out takes numbers in the data's own units and answers in them: it normalises as [`Preparation`] says, but for
//! missing inputs, which must be filled. Apart from that it answers sequences as [`Predictor`](crate::infer::predict::Predictor) does. Dropout belongs to training and is left
//! out; past a sequence's end outputs mean nothing.

mod hdf5;
pub mod keras;
pub mod onnx;
pub mod pytorch;
pub mod tensorboard;

use crate::cells::Cell;
use crate::data::preparation::{Normal, Preparation};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Bias, Direction, Head, Input, Layer, Loss, Network, Parameter, Reads};
use crate::recipe::optimizer::Optimizer;
use crate::recipe::{HeadRecipe, Recipe};

/// A model's weights for another framework, and the program that builds the network there and loads them.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    pub weights: Vec<u8>,
    /// A Python module.
    pub python: String,
}

/// Means and deviations of all columns; `None` where numbers stay as they are.
fn columns(normals: &[Normal]) -> Option<[Vec<f32>; 2]> {
    let of = |part: fn(&Normal) -> f32| normals.iter().map(part).collect();
    (!normals.is_empty()).then(|| [of(|normal| normal.mean), of(|normal| normal.deviation)])
}

/// What a file of weights does not say of its network.
#[derive(Debug, Clone, Default)]
pub struct Unsaid {
    /// The cell of every layer, where weights of one shape are those of several cells.
    pub cell: Option<Cell>,
    /// Which hidden states the head reads; the last one, if nothing is said.
    pub reads: Option<Reads>,
    /// What the outputs are; classes, if nothing is said and there are several.
    pub loss: Option<Loss>,
    /// Tokens that come in one-hot, and not numbers. An embedding says so itself.
    pub one_hot: bool,
    /// What the model is to be evaluated on and trained on with: its data and all else but the network.
    pub recipe: Option<Recipe>,
}

impl Unsaid {
    /// The model of these layers.
    ///
    /// # Errors
    /// [`Error::Usage`] where they make no network.
    fn model(
        &self,
        name: &str,
        (input_size, mut input): (usize, Input),
        layers: Vec<Layer>,
        outputs: usize,
        mut parameters: Vec<Parameter>,
    ) -> Result<Model> {
        let told = |cell: &Cell| layers.iter().any(|layer| layer.cell == *cell);
        if let Some(cell) = self.cell.filter(|cell| !told(cell)) {
            return Err(Error::Usage(format!(
                "no layer can be {}: the weights of layer 0 are those of {}",
                cell.name(),
                layers[0].cell.name()
            )));
        }
        if let Input::Embedding { tied, .. } = &mut input {
            // One matrix, under two names or under one.
            let find = |name: &str| parameters.iter().find(|p| p.name == name);
            let table = find("embedding.weight").map(|table| (&table.shape, &table.values));
            *tied = find("head.weight").is_none_or(|own| Some((&own.shape, &own.values)) == table);
            if *tied {
                parameters.retain(|p| p.name != "head.weight");
            }
        }
        let named = self.recipe.as_ref().map(|recipe| &recipe.network.head);
        let guess = match outputs {
            1 => Loss::MeanSquaredError,
            _ => Loss::CrossEntropy,
        };
        let reads = self.reads.or(named.map(|head| head.reads));
        let loss = self.loss.or(named.map(|head| head.loss));
        let head = HeadRecipe::new(reads.unwrap_or_default(), loss.unwrap_or(guess));
        let recipe = match &self.recipe {
            Some(recipe) => {
                let mut recipe = recipe.clone();
                recipe.network.layers = layers.clone();
                recipe.network.input = input;
                recipe.network.head = head;
                recipe
            }
            None => {
                let mut recipe = Recipe::new(name, layers.clone(), head, Optimizer::adam(0.001));
                recipe.network.input = input;
                recipe
            }
        };
        let network = Network {
            input_size,
            input,
            layers,
            head: Head {
                size: outputs,
                reads: recipe.network.head.reads,
                loss: recipe.network.head.loss,
                init: recipe.network.head.init,
            },
        };
        network.validate()?;
        network.from_parameters(&parameters)?;
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Model {
            network,
            recipe,
            preparation: Preparation::default(),
            parameters,
        })
    }

    /// The cell of as many gates, `after` if a GRU's reset gate comes after the product where that is known.
    fn cell_of(&self, gates: usize, after: Option<bool>, of: &str) -> Result<Cell> {
        let cell = match (gates, after) {
            (1, _) => Cell::RnnTanh,
            (3, Some(false)) => Cell::GruResetBefore,
            (3, _) => Cell::Gru,
            (4, _) => Cell::Lstm,
            _ => {
                return Err(Error::Usage(format!(
                    "{of}: its recurrent weights have {gates} times as many rows as hidden units; an RNN has 1, a GRU 3, an LSTM 4"
                )));
            }
        };
        let named = self.cell.filter(|named| {
            let fits = named.spec().gates == gates && named.spec().peepholes.is_empty();
            fits && (gates != 3 || after.is_none_or(|after| after == (*named == Cell::Gru)))
        });
        Ok(named.unwrap_or(cell))
    }
}

impl Model {
    /// The values of a parameter.
    fn parameter(&self, name: &str) -> Result<&[f32]> {
        let found = self.parameters.iter().find(|p| p.name == name);
        let found = found.map(|parameter| &parameter.values[..]);
        found.ok_or_else(|| Error::Usage(format!("the model has no parameter {name}")))
    }
}

/// The parameters of one direction of a layer; gates in PyTorch's order.
struct Weights<'a> {
    /// `[G*H, I]`
    input: &'a [f32],
    /// `[G*H, P]`
    recurrent: &'a [f32],
    /// `[P, H]`
    projection: Option<&'a [f32]>,
    /// `[3*H]`: of i, f, o.
    peepholes: Option<&'a [f32]>,
    /// `[G*H]`
    input_bias: Option<&'a [f32]>,
    /// `[G*H]`; zeros, or none, where one bias is trained.
    recurrent_bias: Option<&'a [f32]>,
}

impl<'a> Weights<'a> {
    fn of(model: &'a Model, direction: &Direction) -> Result<Weights<'a>> {
        let find = |what: &str| model.parameter(&format!("rnn.{what}_{}", direction.suffix));
        Ok(Weights {
            input: find("weight_ih")?,
            recurrent: find("weight_hh")?,
            projection: find("weight_hr").ok(),
            peepholes: find("weight_peephole").ok(),
            input_bias: find("bias_ih").ok(),
            recurrent_bias: find("bias_hh").ok(),
        })
    }
}

/// Blocks of rows, one for each gate, in another order: block n is that of gate `order[n]`.
fn gates(values: &[f32], order: &[usize]) -> Vec<f32> {
    let size = values.len() / order.len();
    let blocks = order.iter().map(|&gate| &values[gate * size..][..size]);
    blocks.collect::<Vec<_>>().concat()
}

/// A matrix of so many columns, transposed.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let column = |n: usize| values.iter().skip(n).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

/// The options of a layer that a framework's layers do not have, each named, and why.
fn refuse<'a>(
    network: &'a Network,
    format: &str,
    lacks: impl Fn(&'a Layer) -> Vec<(bool, &'static str)>,
) -> Result<()> {
    for (l, layer) in network.layers.iter().enumerate() {
        if let Some((_, what)) = lacks(layer).into_iter().find(|(has, _)| *has) {
            return Err(Error::Usage(format!(
                "layer {l}: {format} has no {what}; --to onnx has"
            )));
        }
    }
    Ok(())
}

/// Which biases a layer trains whose second one is `second`: zeros are what a layer of one bias has there.
fn bias_of(cell: Cell, first: bool, second: Option<&[f32]>) -> Bias {
    match (first, second) {
        (false, _) => Bias::None,
        (true, Some(second)) if cell == Cell::Gru || second.iter().any(|&b| b != 0.0) => {
            Bias::Double
        }
        (true, _) => Bias::Single,
    }
}
