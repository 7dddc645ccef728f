//! The buffers of a recorded network. Their order is part of the recording: dumps, profiles and
//! verification list buffers in it.

use super::recompute::Recompute;
use super::{
    DirectionParameters, Dropped, Emission, Frozen, Gradients, HeadParameters, HeadTensors, Pooled,
    PooledKind, RecordedDirection, RecordedLayer, RecordedNetwork, Reversed,
};
use crate::backend::tuning::Tuning;
use crate::error::{Error, Result};
use crate::kernels::{
    CellOptions, LayerNorm, LayerStates, Pack, Projection, Recurrence, RecurrentWeights,
    StateGradients, Tile, TimeDirection, Zoneout, packed_matrices,
};
use crate::network::{Direction, Entry, Input, Layer, Network, Padding, Reads};
use crate::program::Program;
use crate::tensor::{Element, Kind, Shape, Tensor};

/// The program under construction, and the settings that its buffers depend on.
pub(super) struct Layout<'a> {
    network: &'a Network,
    steps: usize,
    /// Steps of the layers' tensors: T, or those of a chunk of time.
    layer_steps: usize,
    batch: usize,
    gradients: Gradients,
    tuning: Tuning,
    program: Program,
}

/// The flat vectors and what all directions share.
struct Shared {
    entries: Vec<Entry>,
    parameters: Tensor,
    gradients: Option<Tensor>,
    lengths: Tensor,
}

impl<'a> Layout<'a> {
    /// An empty program for `[steps, batch]`.
    pub fn new(
        network: &'a Network,
        [steps, batch]: [usize; 2],
        gradients: Gradients,
        tuning: Tuning,
    ) -> Self {
        let mut program = Program::new();
        program.set_precision(tuning.precision);
        Layout {
            network,
            steps,
            layer_steps: tuning.recompute.map_or(steps, |chunk| chunk.min(steps)),
            batch,
            gradients,
            tuning,
            program,
        }
    }

    /// Creates all buffers.
    ///
    /// # Errors
    /// Those of [`Tuning::route`].
    pub fn recorded(mut self) -> Result<RecordedNetwork> {
        let network = self.network;
        let (entries, parameters, gradients) = self.flat_vectors();
        let (embedded, dinputs) = self.first_layer();
        let (head, inputs) = self.head_and_inputs(&entries, parameters, gradients);
        let heads = self.heads(&head);
        let shared = Shared {
            entries,
            parameters,
            gradients,
            lengths: self.index("lengths", [self.batch]),
        };
        let layers = self.layers(&shared, embedded.unwrap_or(inputs), dinputs)?;
        let recompute = self.recompute(&layers);
        Ok(RecordedNetwork {
            network: network.clone(),
            steps: self.steps,
            batch: self.batch,
            program: self.program,
            entries: shared.entries,
            parameters,
            gradients,
            gradient_sums: None,
            frozen: Frozen::default(),
            inputs,
            lengths: shared.lengths,
            head,
            heads,
            layers,
            starts: vec![],
            recompute,
            chunk: None,
            tuning: self.tuning,
        })
    }

    /// The tensors that the chunks of time need, where there are several.
    fn recompute(&mut self, layers: &[RecordedLayer]) -> Option<Recompute> {
        if self.layer_steps == self.steps {
            return None;
        }
        let chunks = self.steps.div_ceil(self.layer_steps);
        let directions = layers.iter().flat_map(|layer| &layer.directions);
        let states = directions.enumerate().map(|(index, direction)| {
            // The states of each chunk begin at a multiple of four elements.
            let len = direction.recurrence.states.last.len().next_multiple_of(4);
            self.activation(format!("l{index}.kept"), [chunks, len])
        });
        let states = states.collect();
        Some(Recompute {
            chunk_steps: self.layer_steps,
            lengths: self.index("chunk_lengths", [chunks, self.batch]),
            states,
            masks: None,
            partials: vec![],
        })
    }

    fn trains(&self) -> bool {
        self.gradients != Gradients::None
    }

    fn activation(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Tensor {
        let (kind, element) = (Kind::Activations, Element::Real);
        self.program.buffer(name, kind, element, shape)
    }

    fn index(&mut self, name: &str, shape: impl Into<Shape>) -> Tensor {
        let (kind, element) = (Kind::Activations, Element::Index);
        self.program.buffer(name, kind, element, shape)
    }

    /// The table of parameters, the parameters, and their gradients, whose parts have names.
    fn flat_vectors(&mut self) -> (Vec<Entry>, Tensor, Option<Tensor>) {
        let (entries, count) = self.network.table();
        let program = &mut self.program;
        let mut flat = |name: &str, kind| program.buffer(name, kind, Element::Real, [count]);
        let parameters = flat("parameters", Kind::Parameters);
        if self.gradients == Gradients::None {
            return (entries, parameters, None);
        }
        let gradients = flat("gradients", Kind::Gradients);
        for entry in &entries {
            let gradient = gradients.part(entry.offset, entry.shape);
            program.name(gradient, format!("d {}", entry.name));
        }
        (entries, parameters, Some(gradients))
    }

    /// Adds the embedded inputs of the first layer and their gradient, where they are needed.
    fn first_layer(&mut self) -> (Option<Tensor>, Option<Tensor>) {
        let shape = [self.layer_steps, self.batch, self.network.features()];
        match self.network.input {
            Input::Values if !self.network.has_tables() => {
                let wanted = self.gradients == Gradients::OfUpstream;
                (None, wanted.then(|| self.activation("dinputs", shape)))
            }
            Input::OneHot => (None, None),
            Input::Values | Input::Embedding { .. } => {
                let embedded = self.activation("embedded", shape);
                let wanted = self.trains();
                let gradient = wanted.then(|| self.activation("dembedded", shape));
                (Some(embedded), gradient)
            }
        }
    }

    fn inputs(&mut self) -> Tensor {
        let (steps, batch) = (self.steps, self.batch);
        if self.network.input.is_values() {
            self.activation("inputs", [steps, batch, self.network.input_size])
        } else {
            self.index("inputs", [steps, batch])
        }
    }

    /// Outputs or targets of a batch: B, or T*B where there is one for each step.
    fn rows(&self, is_per_step: bool) -> usize {
        if is_per_step {
            self.steps * self.batch
        } else {
            self.batch
        }
    }

    /// The tensors of a reduction over time, where the head reads one.
    fn pooled(&mut self, query: Option<Tensor>) -> Option<Pooled> {
        let backward = self.gradients == Gradients::OfLoss;
        let shape = [self.batch, self.network.head_inputs()];
        let steps = [self.steps, self.batch];
        let kind = match (self.network.head.reads, query) {
            (Reads::Mean, _) => PooledKind::Mean,
            (Reads::Max, _) => PooledKind::Max {
                picked: self.index("picked", shape),
            },
            (Reads::Attention, Some(query)) => PooledKind::Attention {
                query,
                scores: self.activation("attention.scores", steps),
                weights: self.activation("attention.weights", steps),
                dscores: backward.then(|| self.activation("attention.dscores", steps)),
            },
            _ => return None,
        };
        Some(Pooled {
            values: self.activation("pooled", shape),
            gradient: backward.then(|| self.activation("dpooled", shape)),
            kind,
        })
    }

    /// The tensors of head and loss, and the inputs, which come between them.
    fn head_and_inputs(
        &mut self,
        entries: &[Entry],
        parameters: Tensor,
        gradients: Option<Tensor>,
    ) -> (HeadTensors, Tensor) {
        let role = self.network.head_role();
        let gradients = gradients.filter(|_| self.gradients == Gradients::OfLoss);
        let of_several = !self.network.heads.is_empty();
        let head = self.network.head;
        let rows = self.rows(head.reads.is_per_step());
        // The sum of several heads has no outputs of its own.
        let k = if of_several { 1 } else { head.size };
        let mut tensor = |name: &str, shape: [usize; 2]| self.activation(name, shape);
        let outputs = tensor("outputs", [if of_several { 1 } else { rows }, k]);
        let doutputs = tensor("doutputs", [if of_several { 1 } else { rows }, k]);
        let label_weight = self.activation("weight", [2]);
        let is_list = head.loss.takes_lists();
        let targets_of = self.rows(self.network.has_target_per_step());
        let scores = self.activation("scores", [2, targets_of]);
        let has_targets = !head.loss.takes_classes() && !is_list && !of_several;
        let width = head.targets();
        let targets = has_targets.then(|| self.activation("targets", [rows, width]));
        let inputs = self.inputs();
        let parameters = HeadParameters::new(entries, parameters, role);
        let head = HeadTensors {
            reads: self.network.head.reads,
            outputs,
            labels: self.index("labels", [targets_of]),
            targets,
            lists: None,
            weights: None,
            label_weight,
            scores,
            doutputs,
            parameters,
            gradients: gradients.map(|flat| HeadParameters::new(entries, flat, role)),
            pooled: self.pooled(parameters.query),
        };
        (head, inputs)
    }

    /// The tensors of each of several heads; `whole` are those of their sum.
    fn heads(&mut self, whole: &HeadTensors) -> Vec<HeadTensors> {
        let heads = self.network.heads.iter().zip(self.network.each_head());
        let heads = heads.enumerate();
        heads
            .map(|(index, (named, head))| {
                let own = self.network.head_rows(index);
                let name = |part: &str| format!("{}.{part}", named.name);
                let has_targets = !head.loss.takes_classes() && !head.loss.takes_lists();
                let rows = self.rows(head.reads.is_per_step());
                let targets_of = self.rows(head.has_target_per_step());
                HeadTensors {
                    reads: head.reads,
                    outputs: self.activation(name("outputs"), [rows, head.size]),
                    doutputs: self.activation(name("doutputs"), [rows, head.size]),
                    label_weight: self.activation(name("weight"), [2]),
                    scores: self.activation(name("scores"), [2, targets_of]),
                    targets: has_targets
                        .then(|| self.activation(name("targets"), [rows, head.targets()])),
                    labels: self.index(&name("labels"), [targets_of]),
                    lists: None,
                    weights: None,
                    parameters: whole.parameters.part(own.clone()),
                    gradients: whole.gradients.map(|whole| whole.part(own)),
                    pooled: whole.pooled,
                }
            })
            .collect()
    }

    /// The layers, of which the first reads `inputs` with the gradient `dinputs`.
    fn layers(
        &mut self,
        shared: &Shared,
        mut inputs: Tensor,
        mut dinputs: Option<Tensor>,
    ) -> Result<Vec<RecordedLayer>> {
        let directions = self.network.directions();
        let mut layers: Vec<RecordedLayer> = vec![];
        for (index, direction) in directions.iter().enumerate() {
            if direction.reversed {
                let layer = layers
                    .last_mut()
                    .expect("the forward direction comes first");
                layer.reversed = Some(self.reversed(direction, layer.dinputs.is_some()));
            } else {
                layers.push(self.layer(direction, inputs, dinputs));
            }
            let layer = layers.last_mut().expect("there is one");
            layer
                .directions
                .push(self.direction(shared, index, direction)?);
            (inputs, dinputs) = (layer.outputs(), layer.upstream());
        }
        Ok(layers)
    }

    /// Whether the outputs of a layer have a gradient.
    fn has_upstream(&self, direction: &Direction) -> bool {
        match self.gradients {
            Gradients::None => false,
            Gradients::OfLoss => {
                !self.is_read_at_last_step(direction) || self.network.has_mixed_reads()
            }
            Gradients::OfUpstream => true,
        }
    }

    /// Whether the head reads the direction's last state, and nothing reads its outputs.
    fn is_read_at_last_step(&self, direction: &Direction) -> bool {
        let is_last_layer = direction.layer_index + 1 == self.network.layers.len();
        is_last_layer && self.network.head.reads == Reads::Last
    }

    /// The tensors of a layer around its directions; `direction` is the forward one.
    fn layer(
        &mut self,
        direction: &Direction,
        inputs: Tensor,
        dinputs: Option<Tensor>,
    ) -> RecordedLayer {
        let Direction { suffix, layer, .. } = direction;
        let read = [self.layer_steps, self.batch, direction.inputs];
        let drops_inputs = self.trains() && layer.dropout.input_keep_prob < 1.0;
        let dropped = drops_inputs.then(|| Dropped {
            mask: self.activation(format!("{suffix}.input_mask"), read),
            values: self.activation(format!("{suffix}.dropped_inputs"), read),
        });
        RecordedLayer {
            inputs,
            dinputs,
            dropped,
            reversed: None,
            emission: self.emission(direction),
            directions: vec![],
        }
    }

    /// The outputs of a layer, where they are not those of its only direction.
    fn emission(&mut self, direction: &Direction) -> Option<Emission> {
        let Direction { suffix, layer, .. } = direction;
        let masked = self.trains() && layer.dropout.output_keep_prob < 1.0;
        let is_changed =
            masked || layer.bidirectional || layer.residual || layer.padding != Padding::Zeros;
        if !is_changed {
            return None;
        }
        let shape = [self.layer_steps, self.batch, layer.emitted_size()];
        let upstream = self.has_upstream(direction);
        let mut tensor = |name: &str| self.activation(format!("{suffix}.{name}"), shape);
        Some(Emission {
            outputs: tensor("emitted"),
            upstream: upstream.then(|| tensor("demitted")),
            mask: masked.then(|| tensor("output_mask")),
        })
    }

    fn reversed(&mut self, direction: &Direction, has_gradient: bool) -> Reversed {
        let suffix = &direction.suffix;
        let shape = [self.steps, self.batch, direction.inputs];
        let mut tensor = |name: &str| self.activation(format!("{suffix}.{name}"), shape);
        Reversed {
            inputs: tensor("reversed"),
            dinputs: has_gradient.then(|| tensor("dreversed")),
        }
    }

    /// One direction, the one with that index in [`Network::directions`].
    fn direction(
        &mut self,
        shared: &Shared,
        index: usize,
        direction: &Direction,
    ) -> Result<RecordedDirection> {
        let Direction { suffix, layer, .. } = direction;
        let (steps, batch, p) = (self.layer_steps, self.batch, layer.output_size());
        let drops_state = layer.drops_state() || layer.recurrent_dropout > 0.0;
        let dropped_states = (self.trains() && drops_state)
            .then(|| self.activation(format!("{suffix}.held"), [steps, batch, p]));
        let drops_last = self.gradients == Gradients::OfLoss
            && self.is_read_at_last_step(direction)
            && layer.dropout.output_keep_prob < 1.0;
        let dropped_last = drops_last.then(|| Dropped {
            mask: self.activation(format!("{suffix}.last_mask"), [1, batch, p]),
            values: self.activation(format!("{suffix}.dropped_last"), [1, batch, p]),
        });
        let parameters = DirectionParameters::new(&shared.entries, shared.parameters, index);
        let mut recurrence = self.recurrence(direction, &parameters, shared.lengths);
        recurrence.tile = self.tuning.tile(&recurrence);
        let gradients = shared.gradients;
        Ok(RecordedDirection {
            route: self.tuning.route(&recurrence)?,
            recurrence,
            reversed: direction.reversed,
            inputs: direction.inputs,
            parameters,
            gradients: gradients.map(|flat| DirectionParameters::new(&shared.entries, flat, index)),
            dropped_states,
            dropped_last,
        })
    }

    /// The tensors that the scans and steps of a direction work on, with the smallest tile.
    fn recurrence(
        &mut self,
        direction: &Direction,
        parameters: &DirectionParameters,
        lengths: Tensor,
    ) -> Recurrence {
        let layer = &direction.layer;
        let (steps, batch, trains) = (self.layer_steps, self.batch, self.trains());
        let row_size = layer.kept_size(trains);
        Recurrence {
            cell: layer.cell,
            steps,
            batch,
            hidden_size: layer.hidden_size,
            output_size: layer.output_size(),
            options: cell_options(layer, trains),
            weights: self.weights(direction, parameters),
            gates: self.activation(
                format!("{}.gates", direction.suffix),
                [steps, batch, row_size],
            ),
            states: self.states(direction),
            gradients: self.state_gradients(direction),
            lengths,
            tile: Tile::SMALLEST,
        }
    }

    fn weights(
        &mut self,
        direction: &Direction,
        parameters: &DirectionParameters,
    ) -> RecurrentWeights {
        let suffix = &direction.suffix;
        let ahead = self.packed_size(&direction.layer, TimeDirection::Forward, true);
        let back = self.packed_size(&direction.layer, TimeDirection::Backward, self.trains());
        RecurrentWeights {
            recurrent: parameters.recurrent(),
            packed_forward: self.activation(format!("{suffix}.forward_weights"), [ahead]),
            packed_backward: self.activation(format!("{suffix}.backward_weights"), [back]),
            bias: parameters.bias_hh,
            peephole: parameters.peephole,
            norm: parameters.norm_weights(),
        }
    }

    /// Elements of a layer's packed weights; 0 where the device does not use them.
    fn packed_size(&self, layer: &Layer, time: TimeDirection, is_used: bool) -> usize {
        if !(is_used && self.tuning.packs_weights) {
            return 0;
        }
        let (h, p) = (layer.hidden_size, layer.output_size());
        let matrices = packed_matrices(layer.cell, h, p, layer.projection_size.is_some(), time);
        matrices.into_iter().map(Pack::size).sum()
    }

    fn states(&mut self, direction: &Direction) -> LayerStates {
        let Direction { suffix, layer, .. } = direction;
        let (steps, batch) = (self.layer_steps, self.batch);
        let (h, p) = (layer.hidden_size, layer.output_size());
        let has_c = layer.cell.spec().states > 1;
        let c_steps = if has_c { steps + 1 } else { 0 };
        LayerStates {
            h: self.activation(format!("{suffix}.h"), [steps + 1, batch, p]),
            c: self.activation(format!("{suffix}.c"), [c_steps, batch, h]),
            last: self.activation(format!("{suffix}.last"), [self.states_size(layer)]),
        }
    }

    fn state_gradients(&mut self, direction: &Direction) -> StateGradients {
        let Direction { suffix, layer, .. } = direction;
        let shape = [self.layer_steps, self.batch, layer.output_size()];
        let has_upstream = self.has_upstream(direction);
        let size = if self.trains() {
            self.states_size(layer)
        } else {
            0
        };
        StateGradients {
            upstream: has_upstream.then(|| self.activation(format!("{suffix}.upstream"), shape)),
            dstate: self.activation(format!("{suffix}.dstate"), [size]),
            given_states: match self.gradients {
                Gradients::OfUpstream => layer.cell.spec().states,
                _ => usize::from(self.is_read_at_last_step(direction)),
            },
        }
    }

    /// Elements of all state vectors of a batch: h, then c.
    fn states_size(&self, layer: &Layer) -> usize {
        let others = layer.cell.spec().states - 1;
        self.batch * (layer.output_size() + others * layer.hidden_size)
    }
}

/// The options of a layer's cell, with masks in training.
fn cell_options(layer: &Layer, trains: bool) -> CellOptions {
    CellOptions {
        projection: layer.projection_size.map(|_| Projection {
            clip: layer.projection_clip,
        }),
        cell_clip: layer.cell_clip,
        activation: layer.activation,
        recurrent_activation: layer.recurrent_activation,
        drops_state: trains && layer.drops_state(),
        drops_recurrent: trains && layer.recurrent_dropout > 0.0,
        zoneout: Zoneout {
            h: layer.zoneout,
            c: layer.zoneout_cell,
            is_drawn: trains,
        },
        layer_norm: (layer.norm_epsilon()).map(|epsilon| LayerNorm { epsilon }),
    }
}

/// Refuses sizes whose indices would not fit in the 32 bits that a shader counts with.
pub(super) fn check_sizes(
    network: &Network,
    steps: usize,
    batch: usize,
    recompute: Option<usize>,
) -> Result<()> {
    if steps == 0 || batch == 0 {
        return Err(Error::usage(
            "a batch needs at least one sequence of at least one step",
        ));
    }
    // The widest row: saved values and inputs of a direction, which may be both directions'
    // outputs.
    let directions = network.directions().into_iter();
    let of_layers = directions.flat_map(|d| [d.layer.kept_size(true), d.inputs]);
    let of_layers = of_layers.chain([network.head_inputs()]).max().unwrap_or(1);
    // With chunks of time, the tensors of the layers have the steps of one chunk.
    let layer_steps = recompute.map_or(steps, |chunk| chunk.min(steps));
    let inputs = if network.input.is_values() {
        network.input_size.max(network.features())
    } else {
        network.features()
    };
    let (outer, all) = ([network.head.size, inputs, 2], [of_layers]);
    let widest = if layer_steps < steps {
        outer.into_iter().max()
    } else {
        outer.into_iter().chain(all).max()
    };
    let widest = widest.unwrap_or(1);
    let rows = |steps: usize| (steps as u128 + 1) * batch as u128;
    let largest = rows(steps).saturating_mul(widest as u128);
    let largest = largest.max(rows(layer_steps).saturating_mul(of_layers as u128));
    if largest > u128::from(u32::MAX) {
        return Err(Error::LimitExceeded {
            what: format!("a batch of {batch} sequences of {steps} steps"),
            needed: format!(
                "{largest} elements in one buffer ({widest} for each sequence and step)"
            ),
            device: "a kernel".into(),
            limit: u32::MAX.to_string(),
            remedy: "reduce the batch size".into(),
        });
    }
    Ok(())
}
