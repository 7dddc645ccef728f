//! Recomputation: only the states before every chunk of time are kept, and the backward pass
//! computes the forward pass of each chunk again (Chen et al. 2016, "Training Deep Nets with
//! Sublinear Memory Cost").
//!
//! A chunk is recorded as a batch of its own, of fewer steps: [`RecordedNetwork::chunk`] returns
//! the network with the tensors of one chunk. The tensors of the layers have the steps of one chunk
//! and are used by each in turn. Sums over all steps are added up chunk by chunk, in the order of a
//! sum over all steps, so the bits are those of a network that keeps everything.

use std::mem;

use super::{RecordedDirection, RecordedLayer, RecordedNetwork};
use crate::error::{Error, Result};
use crate::kernels::{BLOCK_STEPS, Call, ChunkLengths, CopyState, LayerStates, Recurrence};
use crate::network::{Network, Padding, Reads};
use crate::program::Phase;
use crate::record::{Gradients, HeadTensors, MaskOf};
use crate::tensor::{Element, Kind, Tensor};

/// The tensors of a network that keeps the states before every chunk of time.
#[derive(Debug, Clone)]
pub(super) struct Recompute {
    /// Steps of a chunk; the last one may have fewer.
    pub(super) chunk_steps: usize,
    /// `[chunks, B]`: the valid steps of each sequence in each chunk.
    pub(super) lengths: Tensor,
    /// Of each direction `[chunks, states]`: the states before the first step of each chunk.
    pub(super) states: Vec<Tensor>,
    /// The seed and the control words of the dropout masks, where they are drawn.
    pub(super) masks: Option<(u64, Tensor)>,
    /// The partial sums of the gradients that are sliced: the gradient and its slices.
    pub(super) partials: Vec<(Tensor, Tensor)>,
}

/// A chunk of time of a network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    number: usize,
    /// Its first step.
    begin: usize,
    /// T of the whole network.
    all_steps: usize,
    /// Whether later chunks have begun the sums over time steps.
    pub(super) accumulates: bool,
}

/// Returns the steps of a chunk for sequences of `steps` steps, so that the states before all
/// chunks and the tensors of one chunk are both small: about the square root, in whole blocks of
/// the sums over time. `None` where there would be one chunk.
pub fn chunk_steps(steps: usize) -> Option<usize> {
    let size = steps.isqrt().next_multiple_of(BLOCK_STEPS);
    (size < steps).then_some(size)
}

/// Fails where a network cannot be computed by chunks of time.
///
/// # Errors
/// [`Error::Usage`], which names the layer or the head.
pub fn check_recompute(network: &Network) -> Result<()> {
    let refused = |what: String| {
        Err(Error::usage(format!(
            "recompute computes chunks of time from the first to the last, and {what}; leave out \
             recompute, or set recompute = \"off\""
        )))
    };
    for (index, layer) in network.layers.iter().enumerate() {
        if layer.bidirectional {
            return refused(format!(
                "network.layer.{index} is bidirectional: its backward direction begins at the end"
            ));
        }
        if layer.learn_initial_state {
            return refused(format!(
                "network.layer.{index} learns its initial state, whose gradient is that of the \
                 first chunk alone"
            ));
        }
        if layer.layer_norm {
            return refused(format!(
                "network.layer.{index} has layer_norm, whose statistics are kept for all steps"
            ));
        }
        if layer.padding != Padding::Zeros {
            return refused(format!(
                "network.layer.{index} repeats its last output at padded steps, in later chunks"
            ));
        }
    }
    match (network.head.reads, network.layers.last()) {
        _ if network.has_mixed_reads() => {
            refused("a head with the loss \"ctc\" reads every step, and others do not".into())
        }
        (Reads::Every, Some(last)) if last.residual => {
            refused("the head reads every step of a last layer that is residual".into())
        }
        (Reads::Every | Reads::Last, _) if !network.is_tied() => Ok(()),
        (Reads::Every | Reads::Last, _) => {
            refused("the embedding is tied to the head, whose gradients are added in turn".into())
        }
        _ => refused("network.head reads all steps of a sequence at once".into()),
    }
}

/// Fails where the gradients asked for are not computed by chunks.
pub(super) fn check_gradients(gradients: Gradients) -> Result<()> {
    if gradients != Gradients::OfUpstream {
        return Ok(());
    }
    Err(Error::usage(
        "recompute needs a head, and these gradients begin with those of the layers' outputs; \
         leave out recompute",
    ))
}

/// Returns `steps` steps of a tensor `[T, ...]` from step `begin` on.
fn part_of_time(tensor: Tensor, begin: usize, steps: usize) -> Tensor {
    match *tensor.shape.extents() {
        [_, a] => tensor.part(begin * a, [steps, a]),
        [_, a, b] => tensor.part(begin * a * b, [steps, a, b]),
        _ => unreachable!("tensors over time have two or three extents"),
    }
}

impl Recompute {
    fn chunks(&self) -> usize {
        self.lengths.shape.extents()[0]
    }

    /// Returns the states of a direction before a chunk.
    fn states_before(&self, direction: usize, chunk: usize, len: usize) -> Tensor {
        let all = self.states[direction];
        all.part(chunk * all.shape.extents()[1], [len])
    }
}

impl RecordedNetwork {
    /// Returns the steps of a chunk, where the network keeps only the states before every chunk.
    pub fn chunk_steps(&self) -> Option<usize> {
        self.recompute.as_ref().map(|plan| plan.chunk_steps)
    }

    /// Returns the states of each direction before the first step: h, then c.
    pub(super) fn initial_states(&self) -> Vec<(Tensor, &Recurrence)> {
        let directions = self.recurrences().enumerate();
        let states = directions.map(|(index, recurrence)| {
            let len = recurrence.state_sizes().iter().sum();
            let plan = self.recompute.as_ref().expect("it has chunks");
            (plan.states_before(index, 0, len), recurrence)
        });
        states.collect()
    }

    /// Records [`RecordedNetwork::forward`] chunk by chunk.
    pub(super) fn forward_by_chunks(&mut self, phase: Phase) {
        let training = phase == Phase::Forward;
        let plan = self.recompute.as_ref().expect("it has chunks");
        let (chunks, lengths) = (plan.chunks(), self.lengths);
        let mut calls: Vec<Call> = vec![
            ChunkLengths {
                lengths,
                out: plan.lengths,
                chunk_steps: plan.chunk_steps,
            }
            .into(),
        ];
        // Chunks are copies of the network, whose calls are moved and not copied.
        let program = mem::take(&mut self.program);
        let is_per_step = self.network.head.reads.is_per_step();
        for number in 0..chunks {
            let chunk = self.chunk(number);
            calls.extend(chunk.chunk_forward(training));
            if is_per_step {
                calls.extend(chunk.head_forward(training));
            }
        }
        if !is_per_step {
            if training {
                calls.extend(self.drop_last_states());
            }
            calls.extend(self.head_forward(training));
        }
        self.program = program;
        self.push(phase, calls);
    }

    /// Records [`RecordedNetwork::backward`] chunk by chunk, from the last to the first.
    pub(super) fn backward_by_chunks(&mut self) {
        self.create_chunk_partials();
        let chunks = self.recompute.as_ref().map_or(0, Recompute::chunks);
        let program = mem::take(&mut self.program);
        let is_per_step = self.network.head.reads.is_per_step();
        let mut calls: Vec<Call> = vec![];
        if is_per_step {
            let heads = self.each_head().iter();
            calls.extend(heads.filter_map(|head| self.head_bias_gradient(head)));
        } else {
            calls.extend(self.head_backward(None));
        }
        for number in (0..chunks).rev() {
            let chunk = self.chunk(number);
            // The forward pass has left the values of the last chunk.
            if number + 1 < chunks {
                calls.extend(chunk.chunk_forward(true));
            }
            if is_per_step {
                calls.extend(chunk.head_backward(None));
            }
            calls.extend(chunk.layers_backward(None));
        }
        self.program = program;
        self.push(Phase::Backward, calls);
    }

    /// Creates a buffer of partial sums for each sliced sum: the sums of all chunks are open at
    /// once.
    fn create_chunk_partials(&mut self) {
        let program = mem::take(&mut self.program);
        let sums = self.chunk(0).sliced_sums();
        self.program = program;
        let created = sums.into_iter().map(|(out, len)| {
            let (kind, element) = (Kind::Activations, Element::Real);
            let partials = self.program.buffer("partials", kind, element, [len]);
            (out, partials)
        });
        let created = created.collect();
        self.recompute.as_mut().expect("it has chunks").partials = created;
    }

    /// The layers' forward pass of a chunk, from the states before it.
    fn chunk_forward(&self, training: bool) -> Vec<Call> {
        let chunk = self.chunk.expect("it is a chunk");
        let plan = self.recompute.as_ref().expect("it has chunks");
        let mut calls: Vec<Call> = vec![];
        for (index, recurrence) in self.recurrences().enumerate() {
            let sizes = recurrence.state_sizes();
            let before = plan.states_before(index, chunk.number, sizes.iter().sum());
            let states = [recurrence.states.h, recurrence.states.c].into_iter();
            let mut offset = 0;
            for (state, len) in states.zip(sizes) {
                let copy = CopyState {
                    source: before.part(offset, [len]),
                    out: state.part(0, [len]),
                };
                calls.push(copy.into());
                offset += len;
            }
        }
        if let Some((seed, control)) = plan.masks.filter(|_| training) {
            let masks = self.mask_calls(seed, control, chunk.begin);
            let masks = masks.into_iter();
            let of_chunk = masks.filter(|(of, _)| !matches!(of, MaskOf::Last { .. }));
            calls.extend(of_chunk.map(|(_, call)| Call::from(call)));
        }
        calls.extend(self.layers_forward(training, false));
        calls
    }

    /// Returns the network with the tensors of chunk `number`, and without calls.
    fn chunk(&self, number: usize) -> RecordedNetwork {
        let plan = self.recompute.as_ref().expect("it has chunks");
        let begin = number * plan.chunk_steps;
        let steps = plan.chunk_steps.min(self.steps - begin);
        let chunk = Chunk {
            number,
            begin,
            all_steps: self.steps,
            accumulates: number + 1 < plan.chunks(),
        };
        let batch = self.batch;
        let lengths = plan.lengths.part(number * batch, [batch]);
        let inputs = part_of_time(self.inputs, begin, steps);
        let head_of = |head: &HeadTensors| {
            let mut head = head.clone();
            if self.network.head.reads.is_per_step()
                && self.rows() == head.outputs.shape.extents()[0]
            {
                let rows = |tensor| part_of_time(tensor, begin * batch, steps * batch);
                head.outputs = rows(head.outputs);
                head.doutputs = rows(head.doutputs);
            }
            head
        };
        let mut network = RecordedNetwork {
            steps,
            inputs,
            lengths,
            head: head_of(&self.head),
            heads: self.heads.iter().map(head_of).collect(),
            layers: vec![],
            chunk: Some(chunk),
            ..self.clone()
        };
        let mut direction = 0;
        for layer in &self.layers {
            let own = network.layer_of_chunk(layer, direction);
            direction += own.directions.len();
            network.layers.push(own);
        }
        network
    }

    /// Returns the next layer of a chunk, whose layers below are complete; `direction` is the index
    /// of its first direction.
    fn layer_of_chunk(&self, layer: &RecordedLayer, direction: usize) -> RecordedLayer {
        let first = |tensor| part_of_time(tensor, 0, self.steps);
        let (inputs, dinputs) = match self.layers.last() {
            Some(below) => (below.outputs(), below.upstream()),
            None if self.network.has_tables() => (first(layer.inputs), layer.dinputs.map(first)),
            None => (self.inputs, None),
        };
        let mut own = layer.clone();
        own.inputs = inputs;
        own.dinputs = layer.dinputs.and(dinputs);
        if let Some(dropped) = &mut own.dropped {
            (dropped.mask, dropped.values) = (first(dropped.mask), first(dropped.values));
        }
        if let Some(emission) = &mut own.emission {
            emission.outputs = first(emission.outputs);
            emission.upstream = emission.upstream.map(first);
            emission.mask = emission.mask.map(first);
        }
        let directions = layer.directions.iter().zip(direction..);
        own.directions = directions
            .map(|(direction, index)| self.direction_of_chunk(direction, index))
            .collect();
        own
    }

    fn direction_of_chunk(&self, direction: &RecordedDirection, index: usize) -> RecordedDirection {
        let chunk = self.chunk.expect("it is a chunk");
        let plan = self.recompute.as_ref().expect("it has chunks");
        let first = |tensor| part_of_time(tensor, 0, self.steps);
        let with_initial = |tensor: Tensor| {
            if tensor.is_empty() {
                tensor
            } else {
                part_of_time(tensor, 0, self.steps + 1)
            }
        };
        let recurrence = &direction.recurrence;
        let states = recurrence.states;
        let is_last = chunk.number + 1 == plan.chunks();
        // The states after a chunk are those before the next one.
        let last = if is_last {
            states.last
        } else {
            plan.states_before(index, chunk.number + 1, states.last.len())
        };
        let mut own = direction.clone();
        own.dropped_states = direction.dropped_states.map(first);
        own.recurrence.steps = self.steps;
        own.recurrence.lengths = self.lengths;
        own.recurrence.gates = first(recurrence.gates);
        own.recurrence.states = LayerStates {
            h: with_initial(states.h),
            c: with_initial(states.c),
            last,
        };
        let gradients = &mut own.recurrence.gradients;
        gradients.upstream = gradients.upstream.map(first);
        if !is_last {
            // The later chunk has left the gradients of its initial states.
            gradients.given_states = recurrence.cell.spec().states;
        }
        own
    }

    /// Whether a sum over time steps is added to that of later chunks.
    pub(super) fn accumulates(&self) -> bool {
        self.chunk.is_some_and(|chunk| chunk.accumulates)
    }

    /// Whether this is a chunk other than the first, whose sums are not complete.
    pub(super) fn is_incomplete(&self) -> bool {
        self.chunk.is_some_and(|chunk| chunk.number > 0)
    }

    /// T*B of the whole network.
    pub(super) fn all_rows(&self) -> usize {
        let steps = self.chunk.map_or(self.steps, |chunk| chunk.all_steps);
        steps * self.batch
    }

    /// Returns the partial sums of a gradient that is sliced, which all chunks add to.
    pub(super) fn chunk_partials(&self, out: Tensor) -> Option<Tensor> {
        let all = &self.recompute.as_ref()?.partials;
        let own = all.iter().find(|(of, _)| *of == out);
        own.map(|&(_, partials)| partials)
    }
}
