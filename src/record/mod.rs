//! A network recorded as a program: buffers, forward pass, and hand-written back-propagation
//! through time.
//!
//! [`RecordedNetwork::new`] creates the buffers (`layout`). Each other method appends kernel calls
//! to one phase: dropout masks and carried states first, then the forward pass, the loss, the
//! backward pass and the optimizer's update.

mod accumulate;
mod backward;
mod categories;
mod forward;
mod frozen;
mod layout;
mod loss;
mod masks;
mod moves;
mod parameters;
mod pooling;
mod recompute;
mod state;
mod step_sums;
#[cfg(test)]
mod tests;
pub mod update;

use crate::backend::tuning::{Route, Tuning};
use crate::error::Result;
use crate::kernels::{Call, Columns, Matrix, Recurrence, Tokens};
use crate::network::{Entry, Input, Network, ParameterRole, Reads};
use crate::program::{Phase, Program};
use crate::tensor::Tensor;
pub use frozen::Frozen;
pub use loss::TrainingLoss;
pub use masks::{Mask, MaskOf};
use parameters::{DirectionParameters, HeadParameters, find};
use recompute::{Chunk, Recompute};
pub use recompute::{check_recompute, chunk_steps};

/// The gradients that a network is recorded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradients {
    /// None: outputs and loss only.
    None,
    /// The gradients of the loss with respect to the parameters.
    OfLoss,
    /// Of a scalar whose gradients with respect to the last layer's outputs and every layer's last
    /// states are written by the host; with respect to parameters, inputs and initial states. The
    /// backward pass does not include the head.
    OfUpstream,
}

/// A network's buffers and recorded calls, for batches of one size.
#[derive(Debug, Clone)]
pub struct RecordedNetwork {
    pub network: Network,
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    pub program: Program,
    /// The table of the parameters, with offsets into `parameters` and `gradients`.
    pub entries: Vec<Entry>,
    /// All parameters.
    pub parameters: Tensor,
    /// The gradients of all parameters, at the same offsets.
    pub gradients: Option<Tensor>,
    /// Their sums over the batches of an update, where they are accumulated.
    gradient_sums: Option<Tensor>,
    /// The parts of the network that are not trained.
    frozen: Frozen,
    /// `[T, B, I]`, or `[T, B]` tokens.
    pub inputs: Tensor,
    /// `[B]`: valid steps of each sequence.
    pub lengths: Tensor,
    /// The head; of several, the sum of their losses.
    pub head: HeadTensors,
    /// The heads, where there are several.
    pub heads: Vec<HeadTensors>,
    layers: Vec<RecordedLayer>,
    /// The phases whose initial states are not just zeros or the learnt ones.
    starts: Vec<(Phase, Start)>,
    /// Where only the states before every chunk of time are kept.
    recompute: Option<Recompute>,
    /// The chunk of time that the tensors are of; `None` for all steps.
    chunk: Option<Chunk>,
    tuning: Tuning,
}

/// Where the initial states of a phase come from.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// The host writes them.
    Given,
    /// They are the last states, in all chunks but the first; the control words have the chunk.
    Carried(Tensor),
}

/// The tensors of the head and the loss. The number of rows is B, or T*B where the head reads every
/// step. Where the target of a sequence is a list, there are T*B outputs, and a label, a weight and
/// scores for each of B sequences.
#[derive(Debug, Clone)]
pub struct HeadTensors {
    /// The outputs of the last layer that the head reads.
    pub reads: Reads,
    /// `[rows, K]`; of the sum of several heads, unused.
    pub outputs: Tensor,
    /// `[rows]`: classes, or 0 where there is a target; [`IGNORE`](crate::kernels::IGNORE) where
    /// there is none.
    pub labels: Tensor,
    /// `[rows, K]` values, for a loss of values.
    pub targets: Option<Tensor>,
    /// What the loss of lists of labels reads, once [`RecordedNetwork::add_lists`] has added it.
    pub lists: Option<ListTensors>,
    /// `[rows]`: the weight of each output in training, if they differ.
    pub weights: Option<Tensor>,
    /// `[2]`: one over the number of labels, or over the sum of their weights, and their number.
    pub label_weight: Tensor,
    /// `[2, rows]`: loss of each output, and whether its class is right.
    pub scores: Tensor,
    /// `[rows, K]`: the gradient of the outputs.
    doutputs: Tensor,
    parameters: HeadParameters,
    /// The gradients of the parameters, where the backward pass includes the head.
    gradients: Option<HeadParameters>,
    /// What the head reads, where that is reduced over time.
    pooled: Option<Pooled>,
}

/// The last layer's outputs, reduced over time.
#[derive(Debug, Clone, Copy)]
struct Pooled {
    /// `[B, features]`.
    values: Tensor,
    /// `[B, features]`, where the backward pass includes the head.
    gradient: Option<Tensor>,
    kind: PooledKind,
}

/// How the outputs are reduced, and the tensors of it.
#[derive(Debug, Clone, Copy)]
enum PooledKind {
    Mean,
    Max {
        /// `[B, features]`: the step of each maximum.
        picked: Tensor,
    },
    Attention {
        /// `[features]`.
        query: Tensor,
        /// `[T, B]`: the products of outputs and query.
        scores: Tensor,
        /// `[T, B]`: their softmax over time.
        weights: Tensor,
        /// `[T, B]`: the gradient of the scores, where the backward pass includes the head.
        dscores: Option<Tensor>,
    },
}

/// The tensors of a loss of lists of labels.
#[derive(Debug, Clone, Copy)]
pub struct ListTensors {
    /// `[L, B]`: the labels of each sequence, then [`IGNORE`](crate::kernels::IGNORE).
    pub labels: Tensor,
    /// `[2, T*B]`: see [`LogSumExp`](crate::kernels::LogSumExp).
    norms: Tensor,
    /// `[2, B, T, 2 L + 1]`: see [`CtcPaths`](crate::kernels::CtcPaths).
    paths: Tensor,
}

/// A layer of the network: its directions, and the tensors between it and its neighbours.
#[derive(Debug, Clone)]
struct RecordedLayer {
    /// `[T, B, inputs]`, or `[T, B]` tokens that are read as one-hot vectors.
    inputs: Tensor,
    /// The gradient of the inputs, where the layer below or the host needs it.
    dinputs: Option<Tensor>,
    /// `[T, B, inputs]`: the inputs after dropout. The backward pass replaces the values by their
    /// gradient.
    dropped: Option<Dropped>,
    /// The inputs of the backward direction.
    reversed: Option<Reversed>,
    /// The outputs, where they are not those of the only direction.
    emission: Option<Emission>,
    directions: Vec<RecordedDirection>,
}

/// One direction of a layer.
#[derive(Debug, Clone)]
struct RecordedDirection {
    recurrence: Recurrence,
    route: Route,
    /// Whether it reads each sequence from its end.
    reversed: bool,
    /// Features that it reads at one time step.
    inputs: usize,
    parameters: DirectionParameters,
    gradients: Option<DirectionParameters>,
    /// `[T, B, P]`: the states after dropout, as the steps read them.
    dropped_states: Option<Tensor>,
    /// `[1, B, P]`: the last state after dropout, as the head reads it.
    dropped_last: Option<Dropped>,
}

/// A dropout mask and the masked values.
#[derive(Debug, Clone, Copy)]
struct Dropped {
    mask: Tensor,
    values: Tensor,
}

/// `[T, B, inputs]`: each sequence in reversed order of time, and the gradient.
#[derive(Debug, Clone, Copy)]
struct Reversed {
    inputs: Tensor,
    dinputs: Option<Tensor>,
}

/// `[T, B, emitted]`: the outputs of a layer, in the order of time.
#[derive(Debug, Clone, Copy)]
struct Emission {
    outputs: Tensor,
    /// The gradient of the outputs.
    upstream: Option<Tensor>,
    /// The dropout mask of the directions' outputs.
    mask: Option<Tensor>,
}

impl RecordedNetwork {
    /// Creates the buffers of `network` for `batch` sequences of up to `steps` steps.
    ///
    /// # Errors
    /// Those of [`Network::validate`], and of [`check_recompute`] with [`Tuning::recompute`];
    /// [`LimitExceeded`](crate::error::Error::LimitExceeded) for 2^32 elements or more in one
    /// buffer.
    pub fn new(
        network: &Network,
        steps: usize,
        batch: usize,
        gradients: Gradients,
        tuning: Tuning,
    ) -> Result<RecordedNetwork> {
        network.validate()?;
        layout::check_sizes(network, steps, batch, tuning.recompute)?;
        if tuning.recompute.is_some_and(|chunk| chunk < steps) {
            check_recompute(network)?;
            recompute::check_gradients(gradients)?;
        }
        layout::Layout::new(network, [steps, batch], gradients, tuning).recorded()
    }

    /// Returns the recurrence of every direction of every layer, in the order of
    /// [`Network::directions`], which is PyTorch's order of states.
    pub fn recurrences(&self) -> impl Iterator<Item = &Recurrence> {
        self.directions().map(|direction| &direction.recurrence)
    }

    fn directions(&self) -> impl Iterator<Item = &RecordedDirection> {
        self.layers.iter().flat_map(|layer| &layer.directions)
    }

    /// Returns the gradient of the parameter `name`, where both exist.
    pub fn gradient(&self, name: &str) -> Option<Tensor> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some(self.gradients?.part(entry.offset, entry.shape))
    }

    /// Returns the gradient of the inputs, where they are values that the first layer reads and it
    /// was requested.
    pub fn dinputs(&self) -> Option<Tensor> {
        let is_read = self.network.input.is_values() && !self.network.has_tables();
        self.layers[0].dinputs.filter(|_| is_read)
    }

    /// Returns `[T, B, features]`: the outputs of layer `layer`, those of both directions side by
    /// side.
    pub fn emitted(&self, layer: usize) -> Tensor {
        self.layers[layer].outputs()
    }

    /// Returns the gradient of [`RecordedNetwork::emitted`], where it is not all zero.
    pub fn upstream(&self, layer: usize) -> Option<Tensor> {
        self.layers[layer].upstream()
    }

    /// Returns the tensors of each head that has outputs: the only one, or each of several.
    pub fn each_head(&self) -> &[HeadTensors] {
        if self.heads.is_empty() {
            std::slice::from_ref(&self.head)
        } else {
            &self.heads
        }
    }

    fn last_layer(&self) -> &RecordedLayer {
        self.layers.last().expect("a network has layers")
    }

    /// T*B.
    fn rows(&self) -> usize {
        self.steps * self.batch
    }

    /// Whether the layer reads tokens as one-hot vectors.
    fn reads_one_hot(&self, layer: &RecordedLayer) -> bool {
        self.network.input == Input::OneHot && layer.inputs == self.inputs
    }

    fn tokens(&self, reversed: bool) -> Tokens {
        Tokens {
            tensor: self.inputs,
            lengths: self.lengths,
            steps: self.steps,
            batch: self.batch,
            reversed,
        }
    }

    /// The embedding's table in `flat`, the parameters or their gradients.
    fn embedding_table(&self, flat: Tensor) -> Tensor {
        find(&self.entries, flat, ParameterRole::Embedding, None).expect("it has an embedding")
    }

    /// The parts of what a head reads, in training or not.
    fn head_parts(&self, reads: Reads, training: bool) -> Vec<HeadPart> {
        let layer = self.last_layer();
        let mut first_column = 0;
        let mut part = |rows: usize, columns: usize, [values, gradient]: [Option<Tensor>; 2]| {
            let values = values.expect("every part has values");
            let part = HeadPart {
                values: Matrix::new(values, rows, columns),
                gradient,
                columns: first_column..first_column + columns,
            };
            first_column += columns;
            part
        };
        let features = self.network.head_inputs();
        if reads == Reads::Every {
            let tensors = [Some(layer.outputs()), layer.upstream()];
            return vec![part(self.rows(), features, tensors)];
        }
        if let Some(pooled) = self.head.pooled {
            let tensors = [Some(pooled.values), pooled.gradient];
            return vec![part(self.batch, features, tensors)];
        }
        let directions = layer.directions.iter();
        directions
            .map(|direction| {
                let recurrence = &direction.recurrence;
                let tensors = match direction.dropped_last.filter(|_| training) {
                    // The backward pass reads the values before it writes the gradient over them.
                    Some(Dropped { values, .. }) => [values; 2],
                    None => [recurrence.states.last, recurrence.gradients.dstate],
                };
                part(self.batch, recurrence.output_size, tensors.map(Some))
            })
            .collect()
    }

    /// Whether a head reads every step, and zeros at padded steps.
    fn head_skips_padding(&self, reads: Reads) -> bool {
        let layer = self.network.layers.last().expect("a network has layers");
        let pads_zeros = !layer.residual && layer.padding == crate::network::Padding::Zeros;
        reads == Reads::Every && pads_zeros
    }

    /// Appends calls to a phase, with GEMM tiles chosen for the device.
    fn push(&mut self, phase: Phase, calls: Vec<Call>) {
        for call in calls {
            let call = match call {
                Call::Gemm(gemm) => self.tuning.tiled(gemm).into(),
                other => other,
            };
            self.program.push(phase, call);
        }
    }
}

/// A part of what the head reads: the columns `columns` of its input.
struct HeadPart {
    values: Matrix,
    /// The gradient of the loss with respect to the values, of their shape.
    gradient: Option<Tensor>,
    columns: std::ops::Range<usize>,
}

impl RecordedLayer {
    /// `[T, B, features]`: what the layer emits.
    fn outputs(&self) -> Tensor {
        let only = || self.directions[0].recurrence.outputs();
        self.emission.map_or_else(only, |emission| emission.outputs)
    }

    /// The gradient of the outputs, where it is not all zero.
    fn upstream(&self) -> Option<Tensor> {
        let only = || self.directions[0].recurrence.gradients.upstream;
        self.emission
            .map_or_else(only, |emission| emission.upstream)
    }

    /// `[T, B, inputs]`: what the forward direction reads, in training or not.
    fn forward_inputs(&self, training: bool) -> Tensor {
        let dropped = self.dropped.filter(|_| training);
        dropped.map_or(self.inputs, |dropped| dropped.values)
    }

    /// `[T, B, inputs]`: what a direction reads, in training or not.
    fn inputs_of(&self, direction: &RecordedDirection, training: bool) -> Tensor {
        match self.reversed {
            Some(reversed) if direction.reversed => reversed.inputs,
            _ => self.forward_inputs(training),
        }
    }
}

impl RecordedDirection {
    /// Columns `range` of the gates `[T*B, row]`.
    fn gate_columns(&self, range: std::ops::Range<usize>) -> Matrix {
        let recurrence = &self.recurrence;
        let rows = recurrence.steps * recurrence.batch;
        Matrix::block(recurrence.gates, rows, recurrence.row_size(), range)
    }

    /// G*H.
    fn gates_size(&self) -> usize {
        self.recurrence.cell.spec().gates * self.recurrence.hidden_size
    }

    /// SLOTS*H.
    fn slots_size(&self) -> usize {
        self.recurrence.cell.spec().slots * self.recurrence.hidden_size
    }
}

impl Recurrence {
    /// Returns `[T, B, P]`: the dropout masks of the states that the next steps read.
    pub fn state_masks(&self) -> Columns {
        self.masks_from(1, 0)
    }

    /// Returns `[T, B, G*P]`: the masks of the states that each recurrent gate multiplies.
    pub fn recurrent_masks(&self) -> Columns {
        self.masks_from(0, 0)
    }

    /// Returns `[T, B, P]`: the mask of the states that gate `gate` multiplies.
    fn gate_masks(&self, gate: usize) -> Columns {
        self.masks_from(0, gate * self.output_size)
    }

    /// Returns `[T, B, P]` or `[T, B, H]`: the masks of zoneout of h, or of c.
    pub fn zoneout_masks(&self, state: usize) -> Columns {
        self.masks_from(2 + state, 0)
    }

    /// Returns the columns of the gates from column `skip` of a mask on.
    fn masks_from(&self, index: usize, skip: usize) -> Columns {
        let widths = self.mask_widths();
        let first = self.row_size() - widths[index..].iter().sum::<usize>();
        Columns::all(self.gates).from(first + skip)
    }

    /// Returns `[T, B, P]`: the outputs.
    pub fn outputs(&self) -> Tensor {
        let shape = [self.steps, self.batch, self.output_size];
        self.states.h.part(self.batch * self.output_size, shape)
    }
}
