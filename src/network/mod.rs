//! What a network is: its layers, its head, and the table of its parameters.
//!
//! Parameters carry PyTorch's names, shapes and gate order (`rnn.weight_ih_l0` `[G*H, I]`, rows in blocks of
//! `H` per gate), so a saved stack of one cell and one size loads into `nn.RNN`, `nn.LSTM` or `nn.GRU` as it is, but for the
//! prefix `rnn.`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cells::{Cell, PEEPHOLES};
use crate::error::{Error, Result};
use crate::rng::{Philox, Stream};
use crate::tensor::Shape;

/// A stack of recurrent layers and a linear head over the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// I: features of an input at one time step; V, where tokens come in.
    pub input_size: usize,
    /// What comes in at a step.
    #[serde(default, skip_serializing_if = "Input::is_values")]
    pub input: Input,
    /// The recurrent layers, from the input up; each has a cell and a size of its own.
    #[serde(rename = "layer")]
    pub layers: Vec<Layer>,
    /// The linear layer that turns hidden states into outputs.
    pub head: Head,
}

/// What comes in at a step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// I numbers.
    #[default]
    Values,
    /// A token below V, which counts as V numbers of which its own is 1 and the others 0.
    OneHot,
    /// A token below V, in whose place its row of the table `embedding.weight` `[V, size]` is read. In a recipe:
    /// `input = { embedding = { size = 64 } }`.
    Embedding {
        size: usize,
        /// A token whose row starts as zeros and is not trained (PyTorch's `padding_idx`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        padding_idx: Option<u32>,
        /// How the table starts; `torch` is normal with variance 1, as PyTorch's `nn.Embedding`.
        #[serde(default)]
        init: Init,
        /// The table is the head's weights too, `[K, what the last layer emits]`: one parameter, whose gradient is the sum of both
        /// (Press & Wolf 2017, <https://arxiv.org/abs/1608.05859>). The head keeps its bias.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tied: bool,
    },
}

impl Input {
    /// Whether numbers come in, and not tokens.
    pub fn is_values(&self) -> bool {
        *self == Input::Values
    }
}

/// One recurrent layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// The recurrence: `rnn-tanh`, `rnn-relu`, `lstm`, `lstm-peephole`, `gru`, `gru-reset-before`.
    pub cell: Cell,
    /// H: hidden units.
    pub hidden_size: usize,
    /// Which bias vectors are trained.
    #[serde(default)]
    pub bias: Bias,
    /// A second direction reads each sequence from its end; the layer emits both, the forward one first.
    #[serde(default)]
    pub bidirectional: bool,
    /// H of the second direction, where it is not `hidden_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backward_hidden_size: Option<usize>,
    /// Added to the forget gate's initial bias (LSTM only). TensorFlow adds it at run time instead, which trains the same.
    #[serde(default)]
    pub forget_bias: f32,
    /// The limit of |c| after each step (LSTMs only; TensorFlow's `cell_clip`). No gradient passes where it was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_clip: Option<f64>,
    /// P: numbers in h, which is then a projection `W_hr m` of what the units give (LSTMs only; TensorFlow's `num_proj`,
    /// PyTorch's `proj_size`). W_hr is `rnn.weight_hr_l0` `[P, H]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection_size: Option<usize>,
    /// The limit of |h| after each step (with a projection only; TensorFlow's `proj_clip`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection_clip: Option<f64>,
    /// What is dropped in training; nothing, unless it is said.
    #[serde(default, skip_serializing_if = "Dropout::is_none")]
    pub dropout: Dropout,
    /// The layer emits the sum of its outputs and its inputs, which must be as wide (TensorFlow's `ResidualWrapper`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub residual: bool,
    /// What the layer emits past a sequence's end.
    #[serde(default, skip_serializing_if = "Padding::is_zeros")]
    pub padding: Padding,
    /// How weights and biases start.
    #[serde(default)]
    pub init: Init,
}

/// Dropout of a layer, in training only: what is kept is scaled by one over its probability, so that means stay (TensorFlow's
/// `DropoutWrapper`). PyTorch's `dropout=p` is `output_keep_prob = 1 - p` in every layer but the last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dropout {
    /// Of each number that the layer reads; both directions of a bidirectional layer read the same.
    pub input_keep_prob: f64,
    /// Of each number that the layer emits, but not of what it remembers. A head that reads the last states has masks of its
    /// own for them.
    pub output_keep_prob: f64,
    /// Of each number of h that goes to the next step; an LSTM's c stays whole, and so does what the layer emits.
    pub state_keep_prob: f64,
    /// What a mask is drawn anew for.
    pub mask: MaskSharing,
}

impl Default for Dropout {
    fn default() -> Self {
        Dropout {
            input_keep_prob: 1.0,
            output_keep_prob: 1.0,
            state_keep_prob: 1.0,
            mask: MaskSharing::EachStep,
        }
    }
}

impl Dropout {
    /// Whether nothing is dropped.
    pub fn is_none(&self) -> bool {
        *self == Dropout::default()
    }
}

/// What a dropout mask is drawn anew for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskSharing {
    /// Every step of every sequence.
    #[default]
    EachStep,
    /// Every sequence, for all its steps: variational dropout (Gal & Ghahramani 2016).
    EachSequence,
    /// Every batch, for all steps and sequences (TensorFlow's `variational_recurrent`).
    EachBatch,
}

/// What a layer emits past a sequence's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// Zeros, as TensorFlow's `dynamic_rnn` and PyTorch's packed sequences have it.
    #[default]
    Zeros,
    /// What it emitted last, as Keras's masking has it; zeros before a first valid step, and so of a backward direction,
    /// which meets the padding first.
    Repeat,
}

impl Padding {
    fn is_zeros(&self) -> bool {
        *self == Padding::Zeros
    }
}

impl Layer {
    /// A layer with one trained bias, Glorot weights and no forget bias.
    pub fn new(cell: Cell, hidden_size: usize) -> Self {
        Layer {
            cell,
            hidden_size,
            bias: Bias::default(),
            bidirectional: false,
            backward_hidden_size: None,
            forget_bias: 0.0,
            cell_clip: None,
            projection_size: None,
            projection_clip: None,
            dropout: Dropout::default(),
            residual: false,
            padding: Padding::Zeros,
            init: Init::default(),
        }
    }

    /// P: numbers in h, which the next layer reads.
    pub fn output_size(&self) -> usize {
        self.projection_size.unwrap_or(self.hidden_size)
    }

    /// The second direction of a bidirectional layer, as a layer of its own.
    fn backward(&self) -> Option<Layer> {
        self.bidirectional.then(|| Layer {
            hidden_size: self.backward_hidden_size.unwrap_or(self.hidden_size),
            ..self.clone()
        })
    }

    /// Numbers that the layer emits at a step: both directions', side by side.
    pub fn emitted_size(&self) -> usize {
        let backward = self.backward().map_or(0, |layer| layer.output_size());
        self.output_size().saturating_add(backward)
    }

    /// Whether h is dropped on its way to the next step.
    pub fn drops_state(&self) -> bool {
        self.dropout.state_keep_prob < 1.0
    }

    /// Numbers kept of one sequence and step for the way back: slots, what a projection takes and gives, and the mask of the
    /// state where that is dropped.
    pub fn kept_size(&self, drops_state: bool) -> usize {
        let projected = self
            .projection_size
            .map_or(0, |size| self.hidden_size + size);
        let mask = if drops_state { self.output_size() } else { 0 };
        self.cell.facts().slots * self.hidden_size + projected + mask
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
    /// ones for the gates of a GRU (Glorot & Bengio 2010; TensorFlow's default). A peephole counts as H rows and H columns.
    #[default]
    Glorot,
    /// Uniform in ±1/sqrt(H), weights and biases alike (PyTorch's default).
    Torch,
    /// As `glorot`, but recurrent weights with orthonormal columns, a matrix for each gate (Saxe et al. 2014).
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

/// One direction of a layer: a recurrence with parameters of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// Which of the network's layers it belongs to.
    pub level: usize,
    /// Whether it reads each sequence from its end.
    pub reversed: bool,
    /// What ends its parameters' names: `l0`, `l0_reverse`.
    pub suffix: String,
    /// Features that it reads at a step.
    pub inputs: usize,
    /// The layer, with this direction's `hidden_size`.
    pub layer: Layer,
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

/// So that what a file asks for has an end.
const MOST_LAYERS: usize = 1000;

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
        if self.layers.len() > MOST_LAYERS {
            return refuse(format!(
                "the network has {} layers; at most {MOST_LAYERS} are possible",
                self.layers.len()
            ));
        }
        if let Input::Embedding {
            size, padding_idx, ..
        } = self.input
        {
            if size == 0 {
                return refuse("the embedding's size must be at least 1".into());
            }
            if let Some(token) = padding_idx.filter(|&token| token as usize >= self.input_size) {
                return refuse(format!(
                    "padding_idx is {token}; it must be below the vocabulary's size, {}",
                    self.input_size
                ));
            }
        }
        if self.input == Input::OneHot {
            let Layer {
                dropout, residual, ..
            } = &self.layers[0];
            if dropout.input_keep_prob < 1.0 || *residual {
                return refuse(
                    "layer 0: one-hot inputs are never written out, so input_keep_prob and residual do not go with them; \
                     an embedding takes both"
                        .into(),
                );
            }
        }
        for (l, layer) in self.layers.iter().enumerate() {
            let facts = layer.cell.facts();
            let cell = facts.name;
            if layer.hidden_size == 0 {
                return refuse(format!("layer {l}: hidden_size must be at least 1"));
            }
            if layer.backward_hidden_size.is_some() && !layer.bidirectional {
                return refuse(format!(
                    "layer {l}: backward_hidden_size belongs to a layer with bidirectional = true"
                ));
            }
            if layer.backward_hidden_size == Some(0) {
                return refuse(format!(
                    "layer {l}: backward_hidden_size must be at least 1"
                ));
            }
            if !layer.forget_bias.is_finite() {
                return refuse(format!("layer {l}: forget_bias must be a finite number"));
            }
            if layer.forget_bias != 0.0 && (!layer.cell.is_lstm() || layer.bias == Bias::None) {
                return refuse(format!(
                    "layer {l}: forget_bias belongs to an lstm or lstm-peephole with a bias; leave it out here"
                ));
            }
            if layer.cell_clip.is_some() && !layer.cell.is_lstm() {
                return refuse(format!(
                    "layer {l}: cell_clip belongs to an lstm or lstm-peephole; leave it out for {cell}"
                ));
            }
            if layer.cell_clip.is_some_and(|clip| !is_limit(clip)) {
                return refuse(format!(
                    "layer {l}: cell_clip must be a finite number above 0, in f32 too; leave it out to clip nothing"
                ));
            }
            if layer.projection_size.is_some() && !layer.cell.is_lstm() {
                return refuse(format!(
                    "layer {l}: projection_size belongs to an lstm or lstm-peephole; leave it out for {cell}"
                ));
            }
            if layer.projection_size == Some(0) {
                return refuse(format!(
                    "layer {l}: projection_size must be at least 1; leave it out to project nothing"
                ));
            }
            if layer.projection_clip.is_some() && layer.projection_size.is_none() {
                return refuse(format!(
                    "layer {l}: projection_clip belongs to a layer with projection_size"
                ));
            }
            if layer.projection_clip.is_some_and(|clip| !is_limit(clip)) {
                return refuse(format!(
                    "layer {l}: projection_clip must be a finite number above 0, in f32 too; leave it out to clip nothing"
                ));
            }
            let Dropout {
                input_keep_prob,
                output_keep_prob,
                state_keep_prob,
                ..
            } = layer.dropout;
            for (name, keep) in [
                ("input_keep_prob", input_keep_prob),
                ("output_keep_prob", output_keep_prob),
                ("state_keep_prob", state_keep_prob),
            ] {
                if !(keep > 0.0 && keep <= 1.0) {
                    return refuse(format!(
                        "layer {l}: dropout.{name} is {keep}; it is the probability of being kept, above 0 and at most 1, where 1 drops nothing"
                    ));
                }
            }
            if layer.residual && l + 1 == self.layers.len() && self.head.reads == Reads::Last {
                return refuse(format!(
                    "layer {l}: residual adds a layer's inputs to its outputs, which a head that reads the last state does not see; \
                     leave it out of the last layer, or let the head read \"every\" step"
                ));
            }
            if facts.needs_recurrent_bias && layer.bias == Bias::Single {
                return refuse(format!(
                    "layer {l}: {cell} applies its recurrent bias inside the reset gate, so bias must be \"double\" or \"none\""
                ));
            }
        }
        let mut inputs = self.features();
        for (l, layer) in self.layers.iter().enumerate() {
            let outputs = layer.emitted_size();
            if layer.residual && inputs != outputs {
                return refuse(format!(
                    "layer {l}: residual adds {inputs} inputs to {outputs} outputs; they must be as many"
                ));
            }
            inputs = outputs;
        }
        if let Input::Embedding {
            size,
            padding_idx,
            tied: true,
            ..
        } = self.input
        {
            let (tokens, outputs) = (self.input_size, self.head.size);
            let emitted = self.head_inputs();
            if tokens != outputs {
                return refuse(format!(
                    "a tied embedding is the head's weights too, so there must be an output for each token; there are {tokens} \
                     tokens and {outputs} outputs"
                ));
            }
            if size != emitted {
                return refuse(format!(
                    "a tied embedding is the head's weights too, so its size must be what the last layer emits, {emitted}, and it is \
                     {size}; change one of them, or project the last layer (projection_size = {size})"
                ));
            }
            if padding_idx.is_some() {
                return refuse(
                    "a padding token's vector is not trained, and a tied embedding is the head's weights too, which are; leave out \
                     padding_idx or tied"
                        .into(),
                );
            }
        }
        let numbers: u128 = self
            .shapes()
            .iter()
            .map(|(_, extents)| extents.iter().map(|&e| e as u128).product::<u128>())
            .fold(0, u128::saturating_add);
        if numbers > u128::from(u32::MAX / 4) {
            return refuse(format!(
                "the network has {numbers} parameters; at most {} are possible",
                u32::MAX / 4
            ));
        }
        Ok(())
    }

    /// Numbers that the first layer reads at a step.
    pub fn features(&self) -> usize {
        match self.input {
            Input::Values | Input::OneHot => self.input_size,
            Input::Embedding { size, .. } => size,
        }
    }

    /// Every direction of every layer, from the input up, forward before backward.
    pub fn directions(&self) -> Vec<Direction> {
        let mut directions = vec![];
        let mut inputs = self.features();
        for (level, layer) in self.layers.iter().enumerate() {
            let forward = Direction {
                level,
                reversed: false,
                suffix: format!("l{level}"),
                inputs,
                layer: layer.clone(),
            };
            let backward = layer.backward().map(|layer| Direction {
                reversed: true,
                suffix: format!("l{level}_reverse"),
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

    /// The name of the matrix that the head multiplies by, `[K, head_inputs]`: its own, or the embedding's where they are tied.
    pub fn head_weight(&self) -> &'static str {
        match self.is_tied() {
            true => "embedding.weight",
            false => "head.weight",
        }
    }

    /// The features that the head reads: what the last layer emits.
    pub fn head_inputs(&self) -> usize {
        self.layers.last().map_or(0, Layer::emitted_size)
    }

    /// Names and extents of all parameters, in the order of the flat vector.
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes = vec![];
        if let Input::Embedding { size, .. } = self.input {
            shapes.push(("embedding.weight".into(), vec![self.input_size, size]));
        }
        for Direction {
            suffix,
            inputs,
            layer,
            ..
        } in self.directions()
        {
            let rows = layer.cell.facts().gates.saturating_mul(layer.hidden_size);
            shapes.push((format!("rnn.weight_ih_{suffix}"), vec![rows, inputs]));
            shapes.push((
                format!("rnn.weight_hh_{suffix}"),
                vec![rows, layer.output_size()],
            ));
            if let Some(size) = layer.projection_size {
                // Right behind the recurrent weights: kernels take the two as one tensor.
                shapes.push((
                    format!("rnn.weight_hr_{suffix}"),
                    vec![size, layer.hidden_size],
                ));
            }
            if layer.cell.facts().peepholes {
                let vectors = PEEPHOLES.saturating_mul(layer.hidden_size);
                shapes.push((format!("rnn.weight_peephole_{suffix}"), vec![vectors]));
            }
            if layer.bias != Bias::None {
                shapes.push((format!("rnn.bias_ih_{suffix}"), vec![rows]));
            }
            if layer.bias == Bias::Double {
                shapes.push((format!("rnn.bias_hh_{suffix}"), vec![rows]));
            }
        }
        if !self.is_tied() {
            shapes.push((
                "head.weight".into(),
                vec![self.head.size, self.head_inputs()],
            ));
        }
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

    /// Initial values of the flat vector; the same for the same seed, on one platform (logarithms and cosines are its own).
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let (entries, len) = self.table();
        let mut flat = vec![0.0; len];
        for Direction {
            suffix,
            inputs,
            layer,
            ..
        } in self.directions()
        {
            let facts = layer.cell.facts();
            let (h, p) = (layer.hidden_size, layer.output_size());
            // A GRU of TensorFlow has a matrix for its gates and one for its candidate; the others have one for all.
            let blocks = if facts.gates == 3 {
                vec![2, 1]
            } else {
                vec![facts.gates]
            };
            for (number, entry) in entries
                .iter()
                .enumerate()
                .filter(|(_, e)| e.name.ends_with(&format!("_{suffix}")))
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
                        // Of a projection's, as many columns as it has outputs.
                        let gates = values.chunks_exact_mut(h * p);
                        let size = h.max(p);
                        let normal =
                            |gate| (gate, (0..size * size).map(|_| random.normal()).collect());
                        let gates: Vec<(&mut [f32], Vec<f64>)> = gates.map(normal).collect();
                        gates
                            .into_par_iter()
                            .for_each(|(gate, normal)| orthogonalise(gate, normal, h, p));
                    }
                    Init::Glorot | Init::Orthogonal
                        if entry.name.starts_with("rnn.weight_peephole") =>
                    {
                        fill_uniform(values, glorot(h, h), &mut random)
                    }
                    Init::Glorot | Init::Orthogonal if entry.name.starts_with("rnn.weight_hr") => {
                        fill_uniform(values, glorot(h, p), &mut random)
                    }
                    Init::Glorot | Init::Orthogonal if entry.name.starts_with("rnn.weight") => {
                        let mut rest = values;
                        for &gates in &blocks {
                            let (block, after) =
                                rest.split_at_mut(gates * h * entry.shape.extents()[1]);
                            fill_uniform(block, glorot(inputs + p, gates * h), &mut random);
                            rest = after;
                        }
                    }
                    Init::Glorot | Init::Orthogonal
                        if facts.gates == 3 && entry.name.starts_with("rnn.bias_ih") =>
                    {
                        values[..2 * h].fill(1.0)
                    }
                    Init::Glorot | Init::Orthogonal => {}
                }
                if layer.cell.is_lstm() && entry.name.starts_with("rnn.bias_ih") {
                    flat[entry.range()][h..2 * h]
                        .iter_mut()
                        .for_each(|bias| *bias += layer.forget_bias);
                }
            }
        }
        if let Input::Embedding {
            size,
            padding_idx,
            init,
            ..
        } = self.input
        {
            let values = &mut flat[entries[0].range()];
            let mut random = Philox::new(seed, Stream::Parameter(0));
            match init {
                Init::Zeros => {}
                Init::Torch => values
                    .iter_mut()
                    .for_each(|value| *value = random.normal() as f32),
                Init::TruncatedNormal { stddev } => {
                    fill_truncated_normal(values, stddev, &mut random)
                }
                Init::Glorot | Init::Orthogonal => {
                    fill_uniform(values, glorot(self.input_size, size), &mut random)
                }
            }
            if let Some(token) = padding_idx {
                values[token as usize * size..][..size].fill(0.0);
            }
        }
        let inputs = self.head_inputs();
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
            if let Some(name) = self.second_bias(&entry.name) {
                parameters.push(Parameter {
                    name,
                    shape: entry.shape.extents().to_vec(),
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
        // It grows with what is there, not with what the network asks for.
        let mut flat = vec![];
        let mut used = 0;
        for entry in &entries {
            let parameter = find(&entry.name, entry.shape)?;
            flat.resize(entry.offset, 0.0);
            flat.extend(&parameter.values);
            used += 1;
            let second = self.second_bias(&entry.name);
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
        flat.resize(len, 0.0);
        Ok(flat)
    }

    /// The name of the second bias that PyTorch's module has beside `name`, where this network has only that one.
    fn second_bias(&self, name: &str) -> Option<String> {
        let suffix = name.strip_prefix("rnn.bias_ih_")?;
        let directions = self.directions();
        let layer = &directions.iter().find(|d| d.suffix == suffix)?.layer;
        let lone = layer.bias == Bias::Single && layer.cell.facts().pytorch.is_some();
        lone.then(|| format!("rnn.bias_hh_{suffix}"))
    }
}

/// Whether something can be clipped to ±`value`: in f32 too, where a GPU may take what is not normal for 0, which clips nothing.
fn is_limit(value: f64) -> bool {
    value > 0.0 && (value as f32).is_normal()
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

/// Makes a matrix of normal numbers `[size, size]` orthogonal, row by row (Gram and Schmidt, in f64: what one pass leaves is far
/// below f32), of which `values` takes a corner `[rows, columns]`: the shorter of its rows and columns are orthonormal.
fn orthogonalise(values: &mut [f32], mut normal: Vec<f64>, rows: usize, columns: usize) {
    let size = rows.max(columns);
    for n in 0..size {
        let (before, rest) = normal.split_at_mut(n * size);
        let row = &mut rest[..size];
        for other in before.chunks_exact(size) {
            let along = dot(row, other);
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let length = dot(row, row).sqrt();
        row.iter_mut().for_each(|a| *a /= length);
    }
    let numbers = normal.chunks_exact(size).flat_map(|row| &row[..columns]);
    values
        .iter_mut()
        .zip(numbers)
        .for_each(|(value, &number)| *value = number as f32);
}

/// In eight sums side by side, which the compiler makes vector code of.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        sums.iter_mut()
            .zip(a.iter().zip(b))
            .for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_rows_are_orthonormal() {
        for size in [1, 7, 64] {
            let mut random = Philox::new(5, Stream::Parameter(0));
            let mut values = vec![0.0; size * size];
            orthogonalise(
                &mut values,
                (0..size * size).map(|_| random.normal()).collect(),
                size,
                size,
            );
            let row = |n: usize| &values[n * size..(n + 1) * size];
            for (i, j) in (0..size).flat_map(|i| (0..size).map(move |j| (i, j))) {
                let product: f32 = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
                assert!(
                    (product - f32::from(u8::from(i == j))).abs() < 1e-5,
                    "rows {i}, {j}: {product}"
                );
            }
        }
    }

    fn network(layer: Layer) -> Network {
        Network {
            input_size: 3,
            input: Input::Values,
            layers: vec![layer],
            head: Head {
                size: 2,
                reads: Reads::Last,
                loss: Loss::CrossEntropy,
                init: Init::Glorot,
            },
        }
    }

    #[test]
    fn options_that_make_no_sense_are_refused_with_what_is_allowed() {
        let (gru, lstm) = (
            Layer::new(Cell::GruResetBefore, 4),
            Layer::new(Cell::Lstm, 4),
        );
        let clip = |layer: &Layer, limit| Layer {
            cell_clip: Some(limit),
            ..layer.clone()
        };
        let project = |layer: &Layer, size, limit| Layer {
            projection_size: size,
            projection_clip: limit,
            ..layer.clone()
        };
        let cases = [
            (clip(&gru, 1.0), "cell_clip belongs to an lstm"),
            (
                clip(&lstm, 0.0),
                "cell_clip must be a finite number above 0",
            ),
            (
                clip(&lstm, f64::NAN),
                "cell_clip must be a finite number above 0",
            ),
            (clip(&lstm, 1e-46), "cell_clip must be a finite number"),
            (clip(&lstm, 1e39), "cell_clip must be a finite number"),
            (
                project(&gru, Some(2), None),
                "projection_size belongs to an lstm",
            ),
            (
                project(&lstm, Some(0), None),
                "projection_size must be at least 1",
            ),
            (
                project(&lstm, None, Some(1.0)),
                "belongs to a layer with projection_size",
            ),
            (
                project(&lstm, Some(2), Some(-1.0)),
                "projection_clip must be a finite number above 0",
            ),
        ];
        for (layer, expected) in cases {
            let error = network(layer).validate().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        // As TensorFlow's num_proj, a projection may be wider than the layer.
        let wide = clip(&project(&lstm, Some(9), Some(1.0)), 1.0);
        network(wide).validate().expect("it makes sense");
    }

    #[test]
    fn peepholes_and_projections_start_as_tensorflow_has_them() {
        let layer = Layer {
            projection_size: Some(5),
            ..Layer::new(Cell::LstmPeephole, 40)
        };
        let network = network(layer);
        let flat = network.initial(1);
        let (entries, _) = network.table();
        for (name, shape, limit) in [
            ("rnn.weight_ih_l0", &[160, 3][..], glorot(8, 160)),
            ("rnn.weight_hh_l0", &[160, 5], glorot(8, 160)),
            ("rnn.weight_hr_l0", &[5, 40], glorot(40, 5)),
            ("rnn.weight_peephole_l0", &[120], glorot(40, 40)),
        ] {
            let entry = entries.iter().find(|entry| entry.name == name).expect(name);
            assert_eq!(entry.shape.extents(), shape, "{name}");
            let largest = flat[entry.range()]
                .iter()
                .fold(0f32, |most, v| most.max(v.abs()));
            assert!(
                (0.9 * limit..=limit).contains(&largest),
                "{name}: {largest}"
            );
        }
    }

    #[test]
    fn a_projected_layer_starts_with_orthonormal_columns_or_rows() {
        for (h, p) in [(6, 4), (4, 6), (5, 5)] {
            let layer = Layer {
                projection_size: Some(p),
                init: Init::Orthogonal,
                ..Layer::new(Cell::Lstm, h)
            };
            let network = network(layer);
            let flat = network.initial(2);
            let (entries, _) = network.table();
            let entry = entries
                .iter()
                .find(|entry| entry.name == "rnn.weight_hh_l0");
            for gate in flat[entry.expect("it is there").range()].chunks_exact(h * p) {
                let vector = |n: usize| -> Vec<f32> {
                    match p <= h {
                        true => (0..h).map(|row| gate[row * p + n]).collect(),
                        false => gate[n * p..(n + 1) * p].to_vec(),
                    }
                };
                for (a, b) in (0..h.min(p)).flat_map(|a| (0..=a).map(move |b| (a, b))) {
                    let dot: f32 = vector(a).iter().zip(vector(b)).map(|(x, y)| x * y).sum();
                    let expected = f32::from(u8::from(a == b));
                    assert!((dot - expected).abs() < 1e-6, "{h} {p}: {a} {b} {dot}");
                }
            }
        }
    }
}
