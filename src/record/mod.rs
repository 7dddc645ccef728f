//! A network recorded as a program: buffers, forward pass, and back-propagation through time, written by hand.

pub mod update;

use crate::backend::tuning::{Route, Tuning};
use crate::error::{Error, Result};
use crate::kernels::{
    Arrange, BackwardStage, Call, CarryState, CellOptions, ColumnSum, Columns, DropoutMask, Gemm,
    LabelWeight, LayerStates, Lookup, LookupGradient, Matrix, MeanSquaredError, Order, Pack,
    Projection, Recurrence, RecurrentWeights, ScanBackward, ScanForward, Side, SoftmaxCrossEntropy,
    StateGradients, StepBackward, StepForward, Table, Tile, TimeDirection, Tokens, packed_matrices,
};
use crate::network::{Direction, Entry, Input, Loss, Network, Padding, Reads};
use crate::program::{Phase, Program};
use crate::tensor::{Element, Kind, Shape, Tensor};

/// What the slices of weight gradients add up from: its size while a recording is gone through, and then itself.
#[derive(Debug, Default)]
struct Sums {
    needed: usize,
    partials: Option<Tensor>,
}

/// What a model is recorded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradients {
    /// None: outputs and loss only.
    None,
    /// Of the loss, with respect to the parameters.
    OfLoss,
    /// Of a scalar whose gradients with respect to the last layer's outputs and to every layer's last states the host
    /// writes, with respect to parameters, inputs and initial states. The head takes no part.
    OfUpstream,
}

/// A network's buffers and recording, for batches of one size.
#[derive(Debug, Clone)]
pub struct RecordedNetwork {
    pub network: Network,
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    pub program: Program,
    /// Where each parameter lies in `parameters` and in `gradients`.
    pub entries: Vec<Entry>,
    /// All parameters.
    pub parameters: Tensor,
    /// Their gradients, in the same places.
    pub gradients: Option<Tensor>,
    /// `[T, B, I]`, or `[T, B]` tokens.
    pub inputs: Tensor,
    /// The gradient of the inputs, where they are numbers and it was asked for.
    pub dinputs: Option<Tensor>,
    /// `[T, B, size]`: the tokens' embeddings, where they have any, and their gradient.
    embedded: Option<(Tensor, Option<Tensor>)>,
    /// `[B]`.
    pub lengths: Tensor,
    /// Every direction of every layer, in the order of [`Network::directions`], which is PyTorch's order of states.
    pub layers: Vec<Recurrence>,
    /// `[rows, K]`, where rows is B, or T*B for a head that reads every step.
    pub outputs: Tensor,
    /// `[rows]`: classes, or 0 where there is a target; [`IGNORE`](crate::kernels::IGNORE) where there is none.
    pub labels: Tensor,
    /// `[rows, K]`, for the squared error.
    pub targets: Option<Tensor>,
    /// `[2]`: one over the number of labels, and that number.
    pub weight: Tensor,
    /// `[2, rows]`: loss and hit of each output.
    pub scores: Tensor,
    doutputs: Tensor,
    levels: Vec<Level>,
    routes: Vec<Route>,
    tuning: Tuning,
    recorded_for: Gradients,
}

/// A layer of the network: what lies around its directions.
#[derive(Debug, Clone)]
struct Level {
    /// Its directions among the model's `layers`.
    directions: std::ops::Range<usize>,
    /// `[T, B, inputs]`: the mask of what the layer reads, and the product with it. On the way back its gradient takes its place.
    dropped: Option<Dropped>,
    /// `[T, B, inputs]`: what the backward direction reads: each sequence reversed; and its gradient, where something below
    /// wants it.
    reversed: Option<(Tensor, Option<Tensor>)>,
    /// Where the layer emits something else than its one direction's outputs.
    emission: Option<Emission>,
    /// For each direction `[T, B, P]`: its states as they go to the next step, where they are dropped.
    held: Vec<Option<Tensor>>,
    /// For each direction `[1, B, P]`, where the head reads its last state and drops of it.
    dropped_last: Vec<Option<Dropped>>,
}

/// Numbers times a dropout mask.
#[derive(Debug, Clone, Copy)]
struct Dropped {
    mask: Tensor,
    values: Tensor,
}

/// What a layer emits, `[T, B, emitted]` in the order of time.
#[derive(Debug, Clone)]
struct Emission {
    outputs: Tensor,
    /// Its gradient.
    upstream: Option<Tensor>,
    /// Of the directions' outputs, before anything is added.
    mask: Option<Tensor>,
}

/// A dropout mask of a model: 0, or one over the probability of being kept.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    /// Which of the network's layers it belongs to.
    pub level: usize,
    pub of: MaskOf,
    /// `[steps, B, width]`.
    pub columns: Columns,
    pub steps: usize,
    pub width: usize,
    pub keep_prob: f64,
}

/// What a mask drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskOf {
    /// What the layer reads, in the order of time.
    Input,
    /// What the layer emits, in the order of time.
    Output,
    /// The h that a direction hands on from each step, in the order in which it walks.
    State {
        /// Among the model's `layers`.
        layer: usize,
    },
    /// The last state of a direction, as the head reads it.
    Last {
        /// Among the model's `layers`.
        layer: usize,
    },
}

impl RecordedNetwork {
    /// Lays out the buffers of `network` for `batch` sequences of up to `steps` steps.
    ///
    /// # Errors
    /// A network that makes no sense; sizes beyond 2^32 elements in one buffer.
    pub fn new(
        network: &Network,
        steps: usize,
        batch: usize,
        gradients: Gradients,
        tuning: Tuning,
    ) -> Result<RecordedNetwork> {
        network.validate()?;
        check_sizes(network, steps, batch)?;
        let mut program = Program::new();
        let (entries, count) = network.table();
        let real = Element::Real;
        let parameters = program.buffer("parameters", Kind::Parameters, real, [count]);
        let flat = (gradients != Gradients::None)
            .then(|| program.buffer("gradients", Kind::Gradients, real, [count]));
        for (gradients, entry) in flat
            .iter()
            .flat_map(|flat| entries.iter().map(move |entry| (flat, entry)))
        {
            let gradient = gradients.part(entry.offset, entry.shape);
            program.name(gradient, format!("d {}", entry.name));
        }
        let mut activation =
            |name: String, shape: Shape| program.buffer(name, Kind::Activations, real, shape);
        let read: Shape = [steps, batch, network.features()].into();
        let values = network.input.is_values();
        let dinputs = (values && gradients == Gradients::OfUpstream)
            .then(|| activation("dinputs".into(), read));
        let embedded = matches!(network.input, Input::Embedding { .. }).then(|| {
            let gradient = gradients != Gradients::None;
            (
                activation("embedded".into(), read),
                gradient.then(|| activation("dembedded".into(), read)),
            )
        });
        let rows = match network.head.reads {
            Reads::Last => batch,
            Reads::Every => steps * batch,
        };
        let k = network.head.size;
        let outputs = activation("outputs".into(), [rows, k].into());
        let doutputs = activation("doutputs".into(), [rows, k].into());
        let weight = activation("weight".into(), [2].into());
        let scores = activation("scores".into(), [2, rows].into());
        let targets = (network.head.loss == Loss::MeanSquaredError)
            .then(|| activation("targets".into(), [rows, k].into()));
        let inputs = match values {
            true => program.buffer("inputs", Kind::Activations, real, read),
            false => program.buffer("inputs", Kind::Activations, Element::Index, [steps, batch]),
        };
        let labels = program.buffer("labels", Kind::Activations, Element::Index, [rows]);
        let lengths = program.buffer("lengths", Kind::Activations, Element::Index, [batch]);

        let parameter = |name: String| {
            let entry = entries.iter().find(|entry| entry.name == name)?;
            Some(parameters.part(entry.offset, entry.shape))
        };
        let (mut layers, mut levels): (Vec<Recurrence>, Vec<Level>) = (vec![], vec![]);
        let top = network.layers.len() - 1;
        let trains = gradients != Gradients::None;
        for Direction {
            level,
            reversed,
            suffix,
            inputs,
            layer,
        } in network.directions()
        {
            let (facts, h, p) = (layer.cell.facts(), layer.hidden_size, layer.output_size());
            let dropout = layer.dropout;
            let mut activation = |name: &str, shape: Shape| {
                program.buffer(format!("{suffix}.{name}"), Kind::Activations, real, shape)
            };
            let upstream = match gradients {
                Gradients::None => false,
                Gradients::OfLoss => level < top || network.head.reads == Reads::Every,
                Gradients::OfUpstream => true,
            };
            let read: Shape = [steps, batch, inputs].into();
            if !reversed {
                let emitted: Shape = [steps, batch, layer.emitted_size()].into();
                let masked = trains && dropout.output_keep_prob < 1.0;
                let changed = masked
                    || layer.bidirectional
                    || layer.residual
                    || layer.padding != Padding::Zeros;
                let dropped = (trains && dropout.input_keep_prob < 1.0).then(|| Dropped {
                    mask: activation("input_mask", read),
                    values: activation("dropped_inputs", read),
                });
                levels.push(Level {
                    directions: layers.len()..layers.len(),
                    dropped,
                    reversed: None,
                    emission: changed.then(|| Emission {
                        outputs: activation("emitted", emitted),
                        upstream: upstream.then(|| activation("demitted", emitted)),
                        mask: masked.then(|| activation("output_mask", emitted)),
                    }),
                    held: vec![],
                    dropped_last: vec![],
                });
            }
            let around = &mut levels[level];
            around.directions.end += 1;
            if reversed {
                let below = trains && (level > 0 || dinputs.is_some() || embedded.is_some());
                around.reversed = Some((
                    activation("reversed", read),
                    below.then(|| activation("dreversed", read)),
                ));
            }
            let drops_state = trains && layer.drops_state();
            let held: Shape = [steps, batch, p].into();
            around
                .held
                .push(drops_state.then(|| activation("held", held)));
            let drops_last = gradients == Gradients::OfLoss
                && level == top
                && network.head.reads == Reads::Last
                && dropout.output_keep_prob < 1.0;
            let last: Shape = [1, batch, p].into();
            around.dropped_last.push(drops_last.then(|| Dropped {
                mask: activation("last_mask", last),
                values: activation("dropped_last", last),
            }));
            let given_states = match gradients {
                Gradients::OfUpstream => facts.states,
                _ if level == top && network.head.reads == Reads::Last => 1,
                _ => 0,
            };
            let states = batch * (p + (facts.states - 1) * h);
            let named = format!("rnn.weight_hh_{suffix}");
            let entry = entries.iter().find(|entry| entry.name == named);
            let entry = entry.expect("every layer has one");
            // With the projection's weights, which lie right behind.
            let projected = layer.projection_size.map_or(0, |_| h * p);
            let recurrent = parameters.part(entry.offset, [entry.shape.len() + projected]);
            let projects = layer.projection_size.is_some();
            let packed = |direction: TimeDirection, wanted: bool| -> Shape {
                let matrices = packed_matrices(layer.cell, h, p, projects, direction);
                let matrices = matrices.into_iter().map(Pack::size);
                [if wanted && tuning.packs_weights {
                    matrices.sum()
                } else {
                    0
                }]
                .into()
            };
            layers.push(Recurrence {
                cell: layer.cell,
                steps,
                batch,
                hidden_size: h,
                output_size: p,
                options: CellOptions {
                    projection: layer.projection_size.map(|_| Projection {
                        clip: layer.projection_clip,
                    }),
                    cell_clip: layer.cell_clip,
                    drops_state,
                },
                weights: RecurrentWeights {
                    recurrent,
                    packed_forward: activation(
                        "forward_weights",
                        packed(TimeDirection::Forward, true),
                    ),
                    packed_backward: activation(
                        "backward_weights",
                        packed(TimeDirection::Backward, trains),
                    ),
                    bias: parameter(format!("rnn.bias_hh_{suffix}")),
                    peephole: parameter(format!("rnn.weight_peephole_{suffix}")),
                },
                gates: activation("gates", [steps, batch, layer.kept_size(drops_state)].into()),
                states: LayerStates {
                    h: activation("h", [steps + 1, batch, p].into()),
                    c: activation(
                        "c",
                        [if facts.states > 1 { steps + 1 } else { 0 }, batch, h].into(),
                    ),
                    last: activation("last", [states].into()),
                },
                gradients: StateGradients {
                    upstream: upstream.then(|| activation("upstream", [steps, batch, p].into())),
                    dstate: activation(
                        "dstate",
                        match gradients {
                            Gradients::None => [0].into(),
                            _ => [states].into(),
                        },
                    ),
                    given_states,
                },
                lengths,
                tile: Tile::SMALLEST,
            });
        }
        for layer in &mut layers {
            layer.tile = tuning.tile(layer);
        }
        let routes = layers
            .iter()
            .map(|layer| tuning.route(layer))
            .collect::<Result<_>>()?;
        Ok(RecordedNetwork {
            network: network.clone(),
            steps,
            batch,
            program,
            entries,
            parameters,
            gradients: flat,
            inputs,
            dinputs,
            embedded,
            lengths,
            layers,
            levels,
            outputs,
            labels,
            targets,
            weight,
            scores,
            doutputs,
            routes,
            tuning,
            recorded_for: gradients,
        })
    }

    /// The parameter `name`, or its place in another flat vector of the same layout.
    fn parameter(&self, flat: &Tensor, name: &str) -> Option<Tensor> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some(flat.part(entry.offset, entry.shape))
    }

    fn weight_of(&self, flat: &Tensor, name: &str) -> Matrix {
        let tensor = self.parameter(flat, name).expect("the table has it");
        Matrix::new(tensor, tensor.shape.extents()[0], tensor.shape.extents()[1])
    }

    /// The gradient of parameter `name`, where the model has both.
    pub fn gradient(&self, name: &str) -> Option<Tensor> {
        self.parameter(self.gradients.as_ref()?, name)
    }

    /// What the layer below `level` emits, or the model's inputs.
    fn below(&self, level: usize) -> Tensor {
        let inputs = || self.embedded.map_or(self.inputs, |(values, _)| values);
        level
            .checked_sub(1)
            .map_or_else(inputs, |below| self.emitted(below))
    }

    /// The gradient of [`RecordedNetwork::below`], where something wants it.
    fn dbelow(&self, level: usize) -> Option<Tensor> {
        let inputs = || self.embedded.map_or(self.dinputs, |(_, gradient)| gradient);
        level
            .checked_sub(1)
            .map_or_else(inputs, |below| self.upstream(below))
    }

    /// The tokens that a direction of the first layer reads as one-hot vectors, if it does.
    fn one_hot(&self, direction: &Direction) -> Option<Tokens> {
        let reads = direction.level == 0 && self.network.input == Input::OneHot;
        reads.then(|| self.tokens(direction.reversed))
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

    /// `[T, B, features]`: what layer `level` of the network emits; both directions side by side, where it has two.
    pub fn emitted(&self, level: usize) -> Tensor {
        let Level {
            directions,
            emission,
            ..
        } = &self.levels[level];
        emission
            .as_ref()
            .map_or(self.layers[directions.start].outputs(), |emission| {
                emission.outputs
            })
    }

    /// The gradient of [`RecordedNetwork::emitted`], where it is not all zero.
    pub fn upstream(&self, level: usize) -> Option<Tensor> {
        let Level {
            directions,
            emission,
            ..
        } = &self.levels[level];
        emission.as_ref().map_or(
            self.layers[directions.start].gradients.upstream,
            |emission| emission.upstream,
        )
    }

    /// What direction `reversed` of layer `level` reads, in training or not.
    fn read(&self, level: usize, reversed: bool, training: bool) -> Tensor {
        let around = &self.levels[level];
        let dropped = around.dropped.filter(|_| training);
        match around.reversed {
            Some((values, _)) if reversed => values,
            _ => dropped.map_or(self.below(level), |dropped| dropped.values),
        }
    }

    /// All dropout masks, from the input up.
    pub fn masks(&self) -> Vec<Mask> {
        let mut masks = vec![];
        for (level, (around, layer)) in self.levels.iter().zip(&self.network.layers).enumerate() {
            let dropout = layer.dropout;
            let mut push = |of, columns, steps, width, keep_prob| {
                masks.push(Mask {
                    level,
                    of,
                    columns,
                    steps,
                    width,
                    keep_prob,
                })
            };
            let mut push_whole = |of, mask: Tensor, keep_prob| {
                let [steps, _, width] = mask.shape.extents()[..] else {
                    unreachable!("masks have three extents");
                };
                push(of, Columns::all(mask), steps, width, keep_prob);
            };
            if let Some(Dropped { mask, .. }) = around.dropped {
                push_whole(MaskOf::Input, mask, dropout.input_keep_prob);
            }
            if let Some(mask) = around.emission.as_ref().and_then(|emission| emission.mask) {
                push_whole(MaskOf::Output, mask, dropout.output_keep_prob);
            }
            for (layer, dropped) in around.directions.clone().zip(&around.dropped_last) {
                if let Some(Dropped { mask, .. }) = dropped {
                    push_whole(MaskOf::Last { layer }, *mask, dropout.output_keep_prob);
                }
            }
            for layer in around.directions.clone() {
                let recurrence = &self.layers[layer];
                if recurrence.options.drops_state {
                    let (of, keep) = (MaskOf::State { layer }, dropout.state_keep_prob);
                    let (steps, width) = (self.steps, recurrence.output_size);
                    push(of, recurrence.state_masks(), steps, width, keep);
                }
            }
        }
        masks
    }

    /// Records, in [`Phase::Forward`], the drawing of every dropout mask. It comes before [`RecordedNetwork::forward`].
    pub fn draw_masks(&mut self, seed: u64, control: Tensor) {
        for (number, mask) in self.masks().into_iter().enumerate() {
            let call = DropoutMask {
                control,
                out: mask.columns,
                steps: mask.steps,
                batch: self.batch,
                width: mask.width,
                keep_prob: mask.keep_prob,
                sharing: self.network.layers[mask.level].dropout.mask,
                seed,
                index: number as u32,
            };
            self.program.push(Phase::Forward, call);
        }
    }

    /// Records, in `phase`, that a run begins with the states that the one before has left; with zeros where the control words
    /// say that it is the first chunk of its sequences. It comes before [`RecordedNetwork::forward`].
    pub fn carry_states(&mut self, phase: Phase, control: Tensor) {
        for layer in &self.layers {
            let mut before = 0;
            for (state, len) in [layer.states.h, layer.states.c]
                .into_iter()
                .zip(layer.state_sizes())
            {
                let call = CarryState {
                    last: layer.states.last.part(before, [len]),
                    control,
                    initial: state.part(0, [len]),
                };
                self.program.push(phase, call);
                before += len;
            }
        }
    }

    /// What the head reads in training or not, in parts: a matrix, the columns of its weights that belong to it, and where its
    /// gradient goes.
    fn head_parts(&self, training: bool) -> Vec<(Matrix, std::ops::Range<usize>, Option<Tensor>)> {
        let top = self.levels.len() - 1;
        let features = self.network.head_inputs();
        if self.network.head.reads == Reads::Every {
            let rows = self.steps * self.batch;
            return vec![(
                Matrix::new(self.emitted(top), rows, features),
                0..features,
                self.upstream(top),
            )];
        }
        let around = &self.levels[top];
        let mut first = 0;
        let part = |(layer, dropped): (&Recurrence, &Option<Dropped>)| {
            let columns = first..first + layer.output_size;
            first = columns.end;
            let (values, gradient) = match dropped.filter(|_| training) {
                // Once it is read, its gradient can take its place.
                Some(Dropped { values, .. }) => (values, values),
                None => (layer.states.last, layer.gradients.dstate),
            };
            (
                Matrix::new(values, self.batch, layer.output_size),
                columns,
                Some(gradient),
            )
        };
        self.layers[around.directions.clone()]
            .iter()
            .zip(&around.dropped_last)
            .map(part)
            .collect()
    }

    /// A move of `width` columns over all steps, in the order of time.
    fn arrange(&self, source: Columns, out: Columns, width: usize) -> Arrange {
        Arrange {
            source,
            out,
            mask: None,
            lengths: self.lengths,
            steps: self.steps,
            batch: self.batch,
            width,
            order: Order::InTime,
            accumulate: false,
        }
    }

    /// The moves between the outputs of a layer's directions and what it emits: there, or of the gradient, back.
    fn emit(&self, level: usize, emission: &Emission, back: bool, training: bool) -> Vec<Call> {
        let around = &self.levels[level];
        let repeats = self.network.layers[level].padding == Padding::Repeat;
        let mask = emission.mask.filter(|_| training).map(Columns::all);
        let whole = match back {
            true => emission.upstream.expect("made with gradients"),
            false => emission.outputs,
        };
        let mut first = 0;
        let side = |(n, layer): (usize, &Recurrence)| -> Call {
            let (place, own) = (Columns::all(whole).from(first), layer.output_size);
            // The order of time is the emission's, which a mask goes by, but for what is repeated.
            let reversed = n == 1;
            let side = match reversed == back {
                true => Side::Source,
                false => Side::Out,
            };
            let mask = mask.map(|mask| (mask.from(first), side));
            first += own;
            let order = match (reversed, repeats) {
                (true, _) => Order::Reversed,
                (false, false) => Order::InTime,
                (false, true) if back => Order::Collect,
                (false, true) => Order::Repeat,
            };
            let (source, out) = match back {
                true => (
                    place,
                    Columns::all(layer.gradients.upstream.expect("made with gradients")),
                ),
                false => (Columns::all(layer.outputs()), place),
            };
            Arrange {
                order,
                mask,
                ..self.arrange(source, out, own)
            }
            .into()
        };
        self.layers[around.directions.clone()]
            .iter()
            .enumerate()
            .map(side)
            .collect()
    }

    /// Records, in `phase`, the way from `inputs` and `lengths` to `outputs`. Dropout is for training, and so for
    /// [`Phase::Forward`] only.
    pub fn forward(&mut self, phase: Phase) {
        let training = phase == Phase::Forward;
        let mut calls: Vec<Call> = vec![];
        let directions = self.network.directions();
        if let Some((embedded, _)) = self.embedded {
            let table = self.parameter(&self.parameters, "embedding.weight");
            calls.push(
                Lookup {
                    table: Table::rows(table.expect("the table has it")),
                    bias: None,
                    tokens: self.tokens(false),
                    out: Columns::all(embedded),
                }
                .into(),
            );
        }
        for (l, direction) in directions.iter().enumerate() {
            let (level, width) = (direction.level, direction.inputs);
            let around = &self.levels[level];
            if let Some(Dropped { mask, values }) =
                around.dropped.filter(|_| training && !direction.reversed)
            {
                calls.push(
                    Arrange {
                        mask: Some((Columns::all(mask), Side::Source)),
                        ..self.arrange(Columns::all(self.below(level)), Columns::all(values), width)
                    }
                    .into(),
                );
            }
            let reversed = around.reversed.filter(|_| direction.reversed);
            if let Some((reversed, _)) = reversed.filter(|_| self.one_hot(direction).is_none()) {
                let source = Columns::all(self.read(level, false, training));
                calls.push(
                    Arrange {
                        order: Order::Reversed,
                        ..self.arrange(source, Columns::all(reversed), width)
                    }
                    .into(),
                );
            }
            self.direction_forward(l, direction, training, &mut calls);
            let last = l + 1 == around.directions.end;
            if let Some(emission) = around.emission.as_ref().filter(|_| last) {
                calls.extend(self.emit(level, emission, false, training));
                if self.network.layers[level].residual {
                    let (source, out) = (self.below(level), emission.outputs);
                    calls.push(
                        Arrange {
                            accumulate: true,
                            ..self.arrange(Columns::all(source), Columns::all(out), width)
                        }
                        .into(),
                    );
                }
            }
        }
        if training {
            let top = self.levels.last().expect("a network has layers");
            for (l, dropped) in top.directions.clone().zip(&top.dropped_last) {
                if let Some(Dropped { mask, values }) = *dropped {
                    calls.push(self.drop_last(l, mask, self.layers[l].states.last, values));
                }
            }
        }
        let weight = self.weight_of(&self.parameters, self.network.head_weight());
        let outputs = Matrix::new(
            self.outputs,
            self.outputs.shape.extents()[0],
            self.network.head.size,
        );
        let bias = self.parameter(&self.parameters, "head.bias");
        for (n, (read, columns, _)) in self.head_parts(training).into_iter().enumerate() {
            let mut product = Gemm::new(read, weight.columns(columns).t(), outputs);
            if self.head_is_ragged() {
                product = product.ragged_rows(self.lengths);
            }
            calls.push(
                if n == 0 {
                    product.bias(bias)
                } else {
                    product.accumulate()
                }
                .into(),
            );
        }
        self.record(phase, calls);
    }

    fn record(&mut self, phase: Phase, calls: Vec<Call>) {
        for call in calls {
            let call = match call {
                Call::Gemm(product) => self.tuning.tiled(product).into(),
                other => other,
            };
            self.program.push(phase, call);
        }
    }

    /// A direction's last states, or their gradient, times their mask; of a sequence without a step, zeros.
    fn drop_last(&self, layer: usize, mask: Tensor, source: Tensor, out: Tensor) -> Call {
        let (batch, width) = (self.batch, self.layers[layer].output_size);
        let columns = |tensor: Tensor| Columns::all(tensor.part(0, [1, batch, width]));
        Arrange {
            mask: Some((Columns::all(mask), Side::Source)),
            steps: 1,
            ..self.arrange(columns(source), columns(out), width)
        }
        .into()
    }

    /// Lays a layer's recurrent weights out for one way through time.
    fn pack(&self, layer: &Recurrence, direction: TimeDirection, calls: &mut Vec<Call>) {
        if !self.tuning.packs_weights {
            return;
        }
        let weights = match direction {
            TimeDirection::Forward => layer.weights.packed_forward,
            TimeDirection::Backward => layer.weights.packed_backward,
        };
        let (mut read, mut written) = (0, 0);
        for packed in layer.packed(direction) {
            let [blocks, terms, columns] = packed;
            let numbers = blocks * terms * columns;
            calls.push(
                Pack {
                    source: layer.weights.recurrent.part(read, [numbers]),
                    out: weights.part(written, [Pack::size(packed)]),
                    blocks,
                    inner: terms,
                    columns,
                    transposed: direction == TimeDirection::Forward,
                }
                .into(),
            );
            read += numbers;
            written += Pack::size(packed);
        }
    }

    /// One direction, from what it reads to its outputs.
    fn direction_forward(
        &self,
        l: usize,
        direction: &Direction,
        training: bool,
        calls: &mut Vec<Call>,
    ) {
        let Direction {
            level,
            reversed,
            suffix,
            inputs,
            ..
        } = direction;
        let rows = self.steps * self.batch;
        let layer = Recurrence {
            options: CellOptions {
                drops_state: self.layers[l].options.drops_state && training,
                ..self.layers[l].options
            },
            ..self.layers[l].clone()
        };
        let (row_size, gates_h) = (
            layer.row_size(),
            layer.cell.facts().gates * layer.hidden_size,
        );
        self.pack(&layer, TimeDirection::Forward, calls);
        let bias = self.parameter(&self.parameters, &format!("rnn.bias_ih_{suffix}"));
        let name = format!("rnn.weight_ih_{suffix}");
        calls.push(match self.one_hot(direction) {
            Some(tokens) => {
                let table = self.parameter(&self.parameters, &name);
                Lookup {
                    table: Table::columns(table.expect("the table has it")),
                    bias,
                    tokens,
                    out: Columns {
                        tensor: layer.gates,
                        stride: row_size,
                    },
                }
                .into()
            }
            None => {
                let read = Matrix::new(self.read(*level, *reversed, training), rows, *inputs);
                let weight = self.weight_of(&self.parameters, &name);
                let projection = Matrix::block(layer.gates, rows, row_size, 0..gates_h);
                let product = Gemm::new(read, weight.t(), projection).bias(bias);
                product.ragged_rows(self.lengths).into()
            }
        });
        match self.routes[l] {
            Route::Scan => {
                calls.extend(self.cuts(&layer).map(|(begin, end)| {
                    ScanForward {
                        layer: layer.clone(),
                        begin,
                        end,
                    }
                    .into()
                }));
            }
            Route::Step => {
                let stages =
                    (0..self.steps).flat_map(|t| (0..layer.stages()).map(move |stage| (t, stage)));
                calls.extend(stages.map(|(t, stage)| {
                    StepForward {
                        layer: layer.clone(),
                        t,
                        stage,
                    }
                    .into()
                }));
            }
        }
    }

    /// Records, in `phase`, the way from `outputs`, `labels` and `targets` to `scores` and the outputs' gradient.
    pub fn loss(&mut self, phase: Phase) {
        let (labels, weight, scores) = (self.labels, self.weight, self.scores);
        let (outputs, gradient, width) = (self.outputs, self.doutputs, self.network.head.size);
        self.program.push(phase, LabelWeight { labels, weight });
        match self.targets {
            None => self.program.push(
                phase,
                SoftmaxCrossEntropy {
                    logits: outputs,
                    labels,
                    weight,
                    dlogits: gradient,
                    scores,
                    classes: width,
                },
            ),
            Some(targets) => self.program.push(
                phase,
                MeanSquaredError {
                    predictions: outputs,
                    targets,
                    labels,
                    weight,
                    dpredictions: gradient,
                    scores,
                    width,
                },
            ),
        }
    }

    /// Records back-propagation through time, in [`Phase::Backward`]: the gradients of all parameters.
    ///
    /// # Panics
    /// Where the model was made without gradients.
    pub fn backward(&mut self) {
        // What sliced sums need is known once they have been gone through.
        let mut sums = Sums::default();
        self.backward_calls(&mut sums);
        if sums.needed > 0 {
            let shape: Shape = [sums.needed].into();
            let partials = self
                .program
                .buffer("partials", Kind::Activations, Element::Real, shape);
            sums.partials = Some(partials);
        }
        let calls = self.backward_calls(&mut sums);
        self.record(Phase::Backward, calls);
    }

    fn backward_calls(&self, sums: &mut Sums) -> Vec<Call> {
        let gradients = self.gradients.expect("the model was made with gradients");
        let rows = self.steps * self.batch;
        let mut calls: Vec<Call> = vec![];
        if self.recorded_for == Gradients::OfLoss {
            self.head_backward(&gradients, sums, &mut calls);
        }
        let directions = self.network.directions();
        for (l, (layer, direction)) in self.layers.iter().zip(&directions).enumerate().rev() {
            let Direction {
                level,
                reversed,
                suffix,
                inputs,
                ..
            } = direction;
            let (level, reversed, inputs) = (*level, *reversed, *inputs);
            let around = &self.levels[level];
            let emission = around.emission.as_ref();
            if let Some(emission) = emission
                .filter(|emission| l + 1 == around.directions.end && emission.upstream.is_some())
            {
                calls.extend(self.emit(level, emission, true, true));
            }
            let (facts, h, p) = (layer.cell.facts(), layer.hidden_size, layer.output_size);
            let (gates_h, slots_h) = (facts.gates * h, facts.slots * h);
            let row_size = layer.row_size();
            self.pack(layer, TimeDirection::Backward, &mut calls);
            match self.routes[l] {
                Route::Scan => {
                    let cuts: Vec<_> = self.cuts(layer).collect();
                    calls.extend(cuts.into_iter().rev().map(|(begin, end)| {
                        ScanBackward {
                            layer: layer.clone(),
                            begin,
                            end,
                        }
                        .into()
                    }));
                }
                Route::Step => {
                    let stages = (0..self.steps).rev().flat_map(|t| {
                        [BackwardStage::Units(t), BackwardStage::Middle(t)]
                            .into_iter()
                            .take(layer.stages())
                    });
                    let stages = stages.chain([BackwardStage::End]);
                    calls.extend(stages.map(|stage| {
                        StepBackward {
                            layer: layer.clone(),
                            stage,
                        }
                        .into()
                    }));
                }
            }
            let held = around.held[l - around.directions.start];
            if let Some(held) = held {
                calls.extend(self.hold(layer, held));
            }
            let held = held.unwrap_or(layer.states.h);
            let columns = |range| Matrix::block(layer.gates, rows, row_size, range);
            let name = format!("rnn.weight_ih_{suffix}");
            match self.one_hot(direction) {
                Some(tokens) => calls.push(
                    LookupGradient {
                        dout: Columns {
                            tensor: layer.gates,
                            stride: row_size,
                        },
                        tokens,
                        dtable: Table::columns(self.gradient(&name).expect("the table has it")),
                        padding: None,
                        accumulate: false,
                    }
                    .into(),
                ),
                None => {
                    let dgates = columns(0..gates_h);
                    let read = Matrix::new(self.read(level, reversed, true), rows, inputs);
                    let dweight = self.weight_of(&gradients, &name);
                    calls.extend(self.sum_steps(dgates, read, dweight, sums));
                }
            }
            let mut dbias = self.gradient(&format!("rnn.bias_hh_{suffix}"));
            if let Some(first) = self.gradient(&format!("rnn.bias_ih_{suffix}")) {
                // Where every gate's product has the gate's own gradient, so have both biases: one sum, if they lie side by side.
                let own = (0..facts.gates).all(|gate| facts.product_slots[gate] == gate);
                let shared = dbias.take_if(|second| own && second.offset == first.offset + gates_h);
                let copies = 1 + usize::from(shared.is_some());
                calls.push(
                    ColumnSum {
                        source: layer.gates,
                        out: gradients.part(first.offset - gradients.offset, [copies, gates_h]),
                        copies,
                        factor: None,
                        lengths: Some(self.lengths),
                        rows,
                        stride: row_size,
                    }
                    .into(),
                );
            }
            let drecurrent = self
                .gradient(&format!("rnn.weight_hh_{suffix}"))
                .expect("every layer has one");
            for run in layer.product_runs() {
                let (slot, count) = (facts.product_slots[run.start], run.len());
                // The first stage multiplies the states before each step, the second what the first left in the last slot.
                let operand = if run.start < facts.first_stage {
                    Matrix::new(held, rows, p)
                } else {
                    columns(slots_h - h..slots_h)
                };
                let out = Matrix::new(
                    drecurrent.part(run.start * h * p, [count * h, p]),
                    count * h,
                    p,
                );
                let dgates = columns(slot * h..(slot + count) * h);
                calls.extend(self.sum_steps(dgates, operand, out, sums));
                if let Some(dbias) = dbias {
                    let out = dbias.part(run.start * h, [count * h]);
                    let sum = ColumnSum {
                        source: layer.gates.part(slot * h, [layer.gates.len() - slot * h]),
                        out,
                        copies: 1,
                        factor: None,
                        lengths: Some(self.lengths),
                        rows,
                        stride: row_size,
                    };
                    calls.push(sum.into());
                }
            }
            if self.gradient(&format!("rnn.weight_hr_{suffix}")).is_some() {
                let dweight = self.weight_of(&gradients, &format!("rnn.weight_hr_{suffix}"));
                let dprojected = columns(slots_h + h..slots_h + h + p);
                let units = columns(slots_h..slots_h + h);
                calls.extend(self.sum_steps(dprojected, units, dweight, sums));
            }
            if let Some(out) = self.gradient(&format!("rnn.weight_peephole_{suffix}")) {
                // i and f see c as it was before a step, o as it is after it.
                for (number, (slot, skip)) in [(0, 0), (1, 0), (3, 1)].into_iter().enumerate() {
                    let source = layer.gates.part(slot * h, [layer.gates.len() - slot * h]);
                    let factor = layer.states.c.part(skip * self.batch * h, [rows * h]);
                    calls.push(
                        ColumnSum {
                            source,
                            factor: Some(factor),
                            lengths: Some(self.lengths),
                            out: out.part(number * h, [h]),
                            copies: 1,
                            rows,
                            stride: row_size,
                        }
                        .into(),
                    );
                }
            }
            let Some(below) = self.dbelow(level) else {
                continue;
            };
            // The backward direction comes first; the forward one then adds what the other found, in the order of time. What was
            // dropped lets no gradient through.
            let into = around.dropped.map_or(below, |dropped| dropped.values);
            let dreversed = around.reversed.and_then(|(_, gradient)| gradient);
            let out = dreversed.filter(|_| reversed).unwrap_or(into);
            let weight = self.weight_of(&self.parameters, &format!("rnn.weight_ih_{suffix}"));
            let out = Matrix::new(out, rows, inputs);
            let product = Gemm::new(columns(0..gates_h), weight, out);
            calls.push(product.ragged_rows(self.lengths).into());
            if reversed {
                continue;
            }
            let (into, below) = (Columns::all(into), Columns::all(below));
            if let Some(dreversed) = dreversed {
                calls.push(
                    Arrange {
                        order: Order::Reversed,
                        accumulate: true,
                        ..self.arrange(Columns::all(dreversed), into, inputs)
                    }
                    .into(),
                );
            }
            if let Some(Dropped { mask, .. }) = around.dropped {
                calls.push(
                    Arrange {
                        mask: Some((Columns::all(mask), Side::Source)),
                        ..self.arrange(into, below, inputs)
                    }
                    .into(),
                );
            }
            if self.network.layers[level].residual {
                let upstream = self.upstream(level).expect("made with gradients");
                calls.push(
                    Arrange {
                        accumulate: true,
                        ..self.arrange(Columns::all(upstream), below, inputs)
                    }
                    .into(),
                );
            }
        }
        if let Some((_, Some(dembedded))) = self.embedded {
            let Input::Embedding {
                padding_idx, tied, ..
            } = self.network.input
            else {
                unreachable!("tokens have embeddings");
            };
            let dtable = self.gradient("embedding.weight");
            calls.push(
                LookupGradient {
                    dout: Columns::all(dembedded),
                    tokens: self.tokens(false),
                    dtable: Table::rows(dtable.expect("the table has it")),
                    padding: padding_idx,
                    // The head has left its own there.
                    accumulate: tied && self.recorded_for == Gradients::OfLoss,
                }
                .into(),
            );
        }
        calls
    }

    fn head_backward(&self, gradients: &Tensor, sums: &mut Sums, calls: &mut Vec<Call>) {
        let (rows, k) = (self.outputs.shape.extents()[0], self.network.head.size);
        let doutputs = Matrix::new(self.doutputs, rows, k);
        let out = self
            .parameter(gradients, "head.bias")
            .expect("the table has it");
        calls.push(
            ColumnSum {
                source: self.doutputs,
                out,
                copies: 1,
                factor: None,
                lengths: None,
                rows,
                stride: k,
            }
            .into(),
        );
        let weight = self.weight_of(&self.parameters, self.network.head_weight());
        let dweight = self.weight_of(gradients, self.network.head_weight());
        for (read, columns, into) in self.head_parts(true) {
            let into = Matrix::new(into.expect("made with gradients"), rows, columns.len());
            let dweight = dweight.columns(columns.clone());
            let product = Gemm::new(doutputs, weight.columns(columns), into);
            if self.head_is_ragged() {
                calls.extend(self.sum_steps(doutputs, read, dweight, sums));
                calls.push(product.ragged_rows(self.lengths).into());
            } else {
                calls.push(Gemm::new(doutputs.t(), read, dweight).into());
                calls.push(product.into());
            }
        }
        let top = self.levels.last().expect("a network has layers");
        for (l, dropped) in top.directions.clone().zip(&top.dropped_last) {
            if let Some(Dropped { mask, values }) = *dropped {
                calls.push(self.drop_last(l, mask, values, self.layers[l].gradients.dstate));
            }
        }
    }

    /// Whether the head reads every step, and zeros past a sequence's end.
    fn head_is_ragged(&self) -> bool {
        let top = self.network.layers.last().expect("a network has layers");
        self.network.head.reads == Reads::Every && !top.residual && top.padding == Padding::Zeros
    }

    /// A weight's gradient, `out = of^T @ by`, the sum over all steps that are not past their sequence's end.
    fn sum_steps(&self, of: Matrix, by: Matrix, out: Matrix, sums: &mut Sums) -> Vec<Call> {
        let product = Gemm::new(of.t(), by, out).ragged_terms(self.lengths);
        let slices = self.tuning.slices(&product, self.batch);
        let Some(out) = out.whole().filter(|_| slices > 1) else {
            return vec![product.into()];
        };
        sums.needed = sums.needed.max(slices * out.len());
        let Some(partials) = sums.partials else {
            return vec![];
        };
        let sum = ColumnSum {
            source: partials,
            out,
            copies: 1,
            factor: None,
            lengths: None,
            rows: slices,
            stride: out.len(),
        };
        vec![product.sliced(slices, partials).into(), sum.into()]
    }

    /// The moves that make the states of `layer` as its steps saw them: the initial one, and the others dropped.
    fn hold(&self, layer: &Recurrence, held: Tensor) -> Vec<Call> {
        let (batch, p) = (self.batch, layer.output_size);
        let moves = |first: usize, steps: usize| {
            let columns =
                |tensor: Tensor| Columns::all(tensor.part(first * batch * p, [steps, batch, p]));
            Arrange {
                steps,
                ..self.arrange(columns(layer.states.h), columns(held), p)
            }
        };
        let initial = moves(0, 1);
        let others = (self.steps > 1).then(|| Arrange {
            mask: Some((layer.state_masks(), Side::Source)),
            ..moves(1, self.steps - 1)
        });
        [initial]
            .into_iter()
            .chain(others)
            .map(Call::from)
            .collect()
    }

    /// The pieces of time that a scan of `layer` is cut into.
    fn cuts(&self, layer: &Recurrence) -> impl Iterator<Item = (usize, usize)> + use<> {
        let work = layer.batch * layer.work();
        let iterations = self.tuning.iterations / layer.scan_iterations();
        let piece = (self.tuning.scan_work / work).min(iterations).max(1);
        let steps = self.steps;
        (0..steps)
            .step_by(piece)
            .map(move |begin| (begin, begin.saturating_add(piece).min(steps)))
    }
}

impl Recurrence {
    /// `[T, B, P]`: the masks of the states that go from each step to the next, where they are dropped.
    pub fn state_masks(&self) -> Columns {
        Columns::all(self.gates).from(self.row_size() - self.output_size)
    }

    /// `[T, B, P]`: what the layer emits.
    pub fn outputs(&self) -> Tensor {
        self.states.h.part(
            self.batch * self.output_size,
            [self.steps, self.batch, self.output_size],
        )
    }
}

/// Refuses sizes whose indices would not fit in the 32 bits that a shader counts with.
fn check_sizes(network: &Network, steps: usize, batch: usize) -> Result<()> {
    if steps == 0 || batch == 0 {
        return Err(Error::usage(
            "a batch needs at least one sequence of at least one step",
        ));
    }
    // What a direction keeps and what it reads, where two directions of the layer below stand side by side.
    let directions = network.directions().into_iter();
    let widest = directions
        .flat_map(|d| [d.layer.kept_size(d.layer.drops_state()), d.inputs])
        .chain([network.head_inputs(), network.head.size, 2])
        .max()
        .unwrap_or(1);
    let largest = ((steps as u128 + 1) * batch as u128).saturating_mul(widest as u128);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::adapter::{AdapterKind, AdapterSummary};
    use crate::cells::Cell;
    use crate::kernels::Kernel;
    use crate::network::{Head, Init, Layer};

    /// The scan forward of an LSTM layer as it is for an adapter.
    fn scan_on(
        backend: &str,
        kind: AdapterKind,
        subgroups: bool,
        hidden_size: usize,
        batch: usize,
    ) -> ScanForward {
        let mut adapter = AdapterSummary::example(0, kind, "");
        adapter.backend = backend.to_string();
        adapter.features.subgroups = subgroups;
        let network = Network {
            input_size: 8,
            input: Input::Values,
            layers: vec![Layer::new(Cell::Lstm, hidden_size)],
            head: Head {
                size: 4,
                reads: Reads::Last,
                loss: Loss::CrossEntropy,
                init: Init::Glorot,
            },
        };
        let tuning = Tuning::of_adapter(&adapter);
        let mut model =
            RecordedNetwork::new(&network, 3, batch, Gradients::OfLoss, tuning).unwrap();
        model.forward(Phase::Forward);
        let mut scans = model.program.calls(Phase::Forward).iter();
        let scan = scans.find_map(|call| match call {
            Call::ScanForward(scan) => Some(scan.clone()),
            _ => None,
        });
        scan.unwrap()
    }

    /// Lanes share sums on hardware that has subgroups, while workgroups are few and have invocations to spare.
    #[test]
    fn lanes_are_shared_where_it_pays() {
        let lanes_on = |backend, kind, subgroups, hidden_size, batch| {
            let scan = scan_on(backend, kind, subgroups, hidden_size, batch);
            scan.layer.tile.lanes
        };
        use AdapterKind::{Discrete, Integrated, Software};
        let lanes = |kind, subgroups, hidden_size, batch| {
            lanes_on("vulkan", kind, subgroups, hidden_size, batch)
        };
        assert_eq!(lanes_on("metal", Discrete, true, 128, 128), 2);
        assert_eq!(lanes(Discrete, true, 128, 128), 4);
        assert_eq!(lanes(Discrete, true, 256, 128), 2);
        assert_eq!(lanes(Discrete, true, 128, 200), 2);
        assert_eq!(lanes(Discrete, true, 128, 512), 1);
        assert_eq!(lanes(Discrete, false, 128, 128), 1);
        assert_eq!(lanes(Integrated, true, 128, 128), 2);
        assert_eq!(lanes(Software, true, 128, 128), 1);
    }

    /// Hardware keeps as many of the weights in workgroup memory as the vectors leave room for, while workgroups are few.
    #[test]
    fn weights_are_kept_where_there_is_room() {
        let kept = |kind, hidden_size, batch| {
            let shader = scan_on("vulkan", kind, true, hidden_size, batch).shader();
            let mut constants = shader.constants.into_iter();
            constants.find_map(|(name, value)| (name == "CACHED").then_some(value))
        };
        use AdapterKind::{Discrete, Software};
        // 48 KiB are 3072 fours; a row of R has 512 of them, and the state takes 256.
        assert_eq!(kept(Discrete, 128, 128), Some(5.0 * 512.0));
        // All of it: 4 rows of 64.
        assert_eq!(kept(Discrete, 16, 128), Some(4.0 * 64.0));
        assert_eq!(kept(Discrete, 128, 1024), None);
        assert_eq!(kept(Software, 128, 128), None);
    }

    #[test]
    fn tiles_of_products_leave_enough_workgroups() {
        let mut program = Program::new();
        let mut product = |side: usize| {
            let buffer = program.buffer("matrix", Kind::Activations, Element::Real, [side, side]);
            let matrix = Matrix::new(buffer, side, side);
            Gemm::new(matrix, matrix, matrix)
        };
        let tuning = Tuning {
            gemm_side: 16,
            ..Tuning::default()
        };
        // 12 by 12 workgroups of 128 by 128 elements, and 8 by 8.
        assert_eq!(tuning.tiled(product(1536)).side, 16);
        assert_eq!(tuning.tiled(product(1024)).side, 8);
        assert_eq!(Tuning::default().tiled(product(1536)).side, 8);
    }
}
