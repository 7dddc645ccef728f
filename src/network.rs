//! What a network is: its layers, its head, and the table of its parameters.
//!
//! Parameters carry PyTorch's names, shapes and gate order (`rnn.weight_ih_l0` `[G*H, I]`, rows in blocks of
//! `H` per gate), so a saved model loads into `nn.RNN`, `nn.LSTM` or `nn.GRU` as it is.

use serde::{Deserialize, Serialize};

use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::program::Shape;
use crate::rng::{Philox, Stream};

/// A stack of recurrent layers and a linear head over the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// I: features of an input at one time step.
    pub input_size: usize,
    /// The recurrent layers, from the input up; each has a cell and a size of its own.
    #[serde(rename = "layer")]
    pub layers: Vec<Layer>,
    /// The linear layer that turns hidden states into outputs.
    pub head: Head,
}

/// One recurrent layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// The recurrence: `rnn-tanh`, `rnn-relu`, `lstm`, `gru`, `gru-reset-before`.
    pub cell: Cell,
    /// H: hidden units.
    pub hidden_size: usize,
    /// Which bias vectors are trained.
    #[serde(default)]
    pub bias: Bias,
    /// Added to the forget gate's initial bias (LSTM only). TensorFlow adds it at run time instead, which trains the same.
    #[serde(default)]
    pub forget_bias: f32,
    /// How weights and biases start.
    #[serde(default)]
    pub init: Init,
}

impl Layer {
    /// A layer with one trained bias, Glorot weights and no forget bias.
    pub fn new(cell: Cell, hidden_size: usize) -> Self {
        Layer {
            cell,
            hidden_size,
            bias: Bias::default(),
            forget_bias: 0.0,
            init: Init::default(),
        }
    }
}

/// Which bias vectors a recurrent layer trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    /// None (`bias=False` in PyTorch).
    None,
    /// One vector, as in TensorFlow. The cell `gru` needs its recurrent bias apart, and so takes `double`.
    #[default]
    Single,
    /// `bias_ih` and `bias_hh`, as in PyTorch; both are trained.
    Double,
}

/// How a layer's parameters start.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Init {
    /// Uniform in ±sqrt(6 / (rows + columns)) of TensorFlow's concatenated kernel `[I+H, G*H]`; zero biases, but
    /// ones for the gates of a GRU (Glorot & Bengio 2010; TensorFlow's default).
    #[default]
    Glorot,
    /// Uniform in ±1/sqrt(H), weights and biases alike (PyTorch's default).
    Torch,
    /// As `glorot`, but recurrent weights with orthonormal columns, a square matrix for each gate (Saxe et al. 2014).
    Orthogonal,
    /// All zeros.
    Zeros,
    /// Normal with mean 0, weights and biases alike, drawn again where it lies beyond two standard deviations
    /// (TensorFlow's `truncated_normal`). In a recipe: `init = { truncated-normal = { stddev = 0.1 } }`.
    TruncatedNormal {
        /// Of the distribution before it is truncated.
        stddev: f32,
    },
}

/// The linear head: `y = h @ weight^T + bias`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// K: classes or output values.
    pub size: usize,
    /// Which hidden states it reads.
    #[serde(default)]
    pub reads: Reads,
    /// What is minimised.
    pub loss: Loss,
    /// How weights and bias start (with `H` and `K` as rows and columns).
    #[serde(default)]
    pub init: Init,
}

/// Which hidden states of the last layer the head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// The state after the last valid step: one output for a sequence.
    #[default]
    Last,
    /// Every step: one output each.
    Every,
}

/// One named array of numbers, as files and other frameworks hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// PyTorch's name.
    pub name: String,
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// Where a parameter lies in the flat vector of all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// PyTorch's name.
    pub name: String,
    pub shape: Shape,
    /// Elements before it.
    pub offset: usize,
}

impl Entry {
    /// The elements it covers in the flat vector.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.shape.len()
    }
}

/// What is minimised; both are means, as TensorFlow and PyTorch take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Softmax cross-entropy in nats, mean over the labelled outputs.
    CrossEntropy,
    /// Squared error, mean over all outputs and their K values.
    MeanSquaredError,
}

/// Parameters start at multiples of this many elements.
const ALIGNMENT: usize = 4;

impl Network {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Usage`] that says what is allowed.
    pub fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Usage(message));
        if self.input_size == 0 || self.head.size == 0 {
            return refuse("a network needs at least one input feature and one output".into());
        }
        if self.layers.is_empty() {
            return refuse("a network needs at least one [[network.layer]]".into());
        }
        for (l, layer) in self.layers.iter().enumerate() {
            let facts = layer.cell.facts();
            let cell = facts.name;
            if layer.hidden_size == 0 {
                return refuse(format!("layer {l}: hidden_size must be at least 1"));
            }
            if !layer.forget_bias.is_finite() {
                return refuse(format!("layer {l}: forget_bias must be a finite number"));
            }
            if layer.forget_bias != 0.0 && (layer.cell != Cell::Lstm || layer.bias == Bias::None) {
                return refuse(format!(
                    "layer {l}: forget_bias belongs to an lstm with a bias; leave it out for {cell}"
                ));
            }
            if facts.needs_recurrent_bias && layer.bias == Bias::Single {
                return refuse(format!(
                    "layer {l}: {cell} applies its recurrent bias inside the reset gate, so bias must be \"double\" or \"none\""
                ));
            }
        }
        let numbers: u128 = self
            .shapes()
            .iter()
            .map(|(_, extents)| extents.iter().map(|&e| e as u128).product::<u128>())
            .sum();
        if numbers > u128::from(u32::MAX / 4) {
            return refuse(format!(
                "the network has {numbers} parameters; at most {} are possible",
                u32::MAX / 4
            ));
        }
        Ok(())
    }

    /// Names and extents of all parameters, in the order of the flat vector.
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes = vec![];
        let mut inputs = self.input_size;
        for (l, layer) in self.layers.iter().enumerate() {
            let rows = layer.cell.facts().gates.saturating_mul(layer.hidden_size);
            shapes.push((format!("rnn.weight_ih_l{l}"), vec![rows, inputs]));
            shapes.push((format!("rnn.weight_hh_l{l}"), vec![rows, layer.hidden_size]));
            if layer.bias != Bias::None {
                shapes.push((format!("rnn.bias_ih_l{l}"), vec![rows]));
            }
            if layer.bias == Bias::Double {
                shapes.push((format!("rnn.bias_hh_l{l}"), vec![rows]));
            }
            inputs = layer.hidden_size;
        }
        shapes.push(("head.weight".into(), vec![self.head.size, inputs]));
        shapes.push(("head.bias".into(), vec![self.head.size]));
        shapes
    }

    /// The table of parameters, and the length of the flat vector that holds them.
    pub fn table(&self) -> (Vec<Entry>, usize) {
        let mut offset = 0;
        let entry = |(name, extents): (String, Vec<usize>)| {
            let shape: Shape = match extents[..] {
                [rows, columns] => [rows, columns].into(),
                _ => [extents[0]].into(),
            };
            let entry = Entry {
                name,
                shape,
                offset,
            };
            offset = (offset + shape.len()).next_multiple_of(ALIGNMENT);
            entry
        };
        let entries: Vec<Entry> = self.shapes().into_iter().map(entry).collect();
        (entries, offset)
    }

    /// Initial values of the flat vector; the same for the same seed, everywhere.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let (entries, len) = self.table();
        let mut flat = vec![0.0; len];
        let mut inputs = self.input_size;
        for (l, layer) in self.layers.iter().enumerate() {
            let facts = layer.cell.facts();
            let h = layer.hidden_size;
            // A GRU of TensorFlow has a matrix for its gates and one for its candidate; the others have one for all.
            let blocks = if facts.gates == 3 {
                vec![2, 1]
            } else {
                vec![facts.gates]
            };
            for (number, entry) in entries
                .iter()
                .enumerate()
                .filter(|(_, e)| e.name.ends_with(&format!("_l{l}")))
            {
                let values = &mut flat[entry.range()];
                let mut random = Philox::new(seed, Stream::Parameter(number as u32));
                match layer.init {
                    Init::Zeros => {}
                    Init::Torch => fill_uniform(values, 1.0 / (h as f32).sqrt(), &mut random),
                    Init::TruncatedNormal { stddev } => {
                        fill_truncated_normal(values, stddev, &mut random)
                    }
                    Init::Orthogonal if entry.name.starts_with("rnn.weight_hh") => {
                        values
                            .chunks_exact_mut(h * h)
                            .for_each(|gate| fill_orthogonal(gate, h, &mut random));
                    }
                    Init::Glorot | Init::Orthogonal if entry.name.starts_with("rnn.weight") => {
                        let mut rest = values;
                        for &gates in &blocks {
                            let (block, after) =
                                rest.split_at_mut(gates * h * entry.shape.extents()[1]);
                            fill_uniform(block, glorot(inputs + h, gates * h), &mut random);
                            rest = after;
                        }
                    }
                    Init::Glorot if facts.gates == 3 && entry.name.starts_with("rnn.bias_ih") => {
                        values[..2 * h].fill(1.0)
                    }
                    Init::Glorot | Init::Orthogonal => {}
                }
                if layer.cell == Cell::Lstm && entry.name.starts_with("rnn.bias_ih") {
                    flat[entry.range()][h..2 * h]
                        .iter_mut()
                        .for_each(|bias| *bias += layer.forget_bias);
                }
            }
            inputs = h;
        }
        for (number, entry) in entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.name.starts_with("head."))
        {
            let mut random = Philox::new(seed, Stream::Parameter(number as u32));
            match self.head.init {
                Init::Torch => fill_uniform(
                    &mut flat[entry.range()],
                    1.0 / (inputs as f32).sqrt(),
                    &mut random,
                ),
                Init::TruncatedNormal { stddev } => {
                    fill_truncated_normal(&mut flat[entry.range()], stddev, &mut random)
                }
                Init::Glorot | Init::Orthogonal if entry.name == "head.weight" => {
                    fill_uniform(
                        &mut flat[entry.range()],
                        glorot(inputs, self.head.size),
                        &mut random,
                    );
                }
                Init::Glorot | Init::Orthogonal | Init::Zeros => {}
            }
        }
        flat
    }

    /// The flat vector as named arrays. A layer with one bias gets a `bias_hh` of zeros beside it where PyTorch's module
    /// of that cell has two, so that it loads there as it is.
    pub fn to_parameters(&self, flat: &[f32]) -> Vec<Parameter> {
        let mut parameters = vec![];
        for entry in self.table().0 {
            let values = flat[entry.range()].to_vec();
            parameters.push(Parameter {
                name: entry.name.clone(),
                shape: entry.shape.extents().to_vec(),
                values,
            });
            if let Some(l) = self.lone_bias(&entry.name) {
                let (name, shape) = (format!("rnn.bias_hh_l{l}"), entry.shape.extents().to_vec());
                parameters.push(Parameter {
                    name,
                    shape,
                    values: vec![0.0; entry.shape.len()],
                });
            }
        }
        parameters
    }

    /// The flat vector from named arrays, as [`Network::to_parameters`] makes them. A `bias_hh` that the network does not
    /// train is added to its `bias_ih`, which computes the same.
    ///
    /// # Errors
    /// [`Error::Usage`] where a parameter is missing, unknown, or of another shape.
    pub fn from_parameters(&self, parameters: &[Parameter]) -> Result<Vec<f32>> {
        let find = |name: &str, shape: Shape| -> Result<&Parameter> {
            let found = parameters.iter().find(|p| p.name == name);
            let found = found.ok_or_else(|| {
                Error::Usage(format!("the model has no parameter {name} {shape:?}"))
            })?;
            if found.shape == shape.extents() && found.values.len() == shape.len() {
                Ok(found)
            } else {
                Err(Error::Usage(format!(
                    "{name} is {:?}, and the network needs {shape:?}",
                    found.shape
                )))
            }
        };
        let (entries, len) = self.table();
        let mut flat = vec![0.0; len];
        let mut used = 0;
        for entry in &entries {
            flat[entry.range()].copy_from_slice(&find(&entry.name, entry.shape)?.values);
            used += 1;
            let second = self
                .lone_bias(&entry.name)
                .map(|l| format!("rnn.bias_hh_l{l}"));
            if let Some(second) =
                second.filter(|second| parameters.iter().any(|p| &p.name == second))
            {
                let second = find(&second, entry.shape)?;
                flat[entry.range()]
                    .iter_mut()
                    .zip(&second.values)
                    .for_each(|(value, more)| *value += more);
                used += 1;
            }
        }
        if used < parameters.len() {
            let known = |p: &&Parameter| {
                !entries.iter().any(|e| e.name == p.name) && !p.name.starts_with("rnn.bias_hh")
            };
            let name = parameters.iter().find(known).map_or("a bias", |p| &p.name);
            return Err(Error::Usage(format!(
                "the model holds {name}, which its network does not have"
            )));
        }
        Ok(flat)
    }

    /// The layer whose only bias `name` is, where PyTorch's module has two.
    fn lone_bias(&self, name: &str) -> Option<usize> {
        let l: usize = name.strip_prefix("rnn.bias_ih_l")?.parse().ok()?;
        let layer = &self.layers[l];
        (layer.bias == Bias::Single && layer.cell.facts().pytorch.is_some()).then_some(l)
    }
}

/// Glorot & Bengio's limit for a uniform distribution.
fn glorot(rows: usize, columns: usize) -> f32 {
    (6.0 / (rows + columns) as f32).sqrt()
}

fn fill_uniform(values: &mut [f32], limit: f32, random: &mut Philox) {
    values
        .iter_mut()
        .for_each(|value| *value = (2.0 * random.uniform() - 1.0) * limit);
}

fn fill_truncated_normal(values: &mut [f32], stddev: f32, random: &mut Philox) {
    values
        .iter_mut()
        .for_each(|value| *value = random.truncated_normal() as f32 * stddev);
}

/// A random orthogonal matrix: Gram and Schmidt on normal numbers, row by row.
fn fill_orthogonal(values: &mut [f32], size: usize, random: &mut Philox) {
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(size);
    while rows.len() < size {
        let mut row: Vec<f64> = (0..size).map(|_| random.normal()).collect();
        // Twice, since once leaves what rounding left.
        for other in rows.iter().chain(&rows) {
            let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let length = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        // A row that lay almost in the span of the others is drawn again.
        if length > 1e-6 {
            row.iter_mut().for_each(|a| *a /= length);
            rows.push(row);
        }
    }
    values
        .iter_mut()
        .zip(rows.iter().flatten())
        .for_each(|(value, &number)| *value = number as f32);
}
