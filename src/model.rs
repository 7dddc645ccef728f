//! A network recorded as a program: buffers, forward pass, and back-propagation through time, written by hand.

use crate::error::{Error, Result};
use crate::kernels::{
    Arrange, BackwardStage, Call, ColumnSum, Gemm, LabelWeight, Matrix, MeanSquaredError,
    Projection, Recurrence, ScanBackward, ScanForward, SoftmaxCrossEntropy, StepBackward,
    StepForward, Transpose,
};
use crate::network::{Direction, Entry, Loss, Network, Reads};
use crate::program::{Element, Kind, Phase, Program, Shape, Tensor};

/// How a layer goes through time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// All steps in one dispatch, the state in workgroup memory.
    Scan,
    /// One dispatch a step.
    Step,
}

/// What a recording has to know of the device that will play it.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// Bytes of memory that a workgroup may have.
    pub workgroup_memory: u32,
    /// The widest layer for which a scan pays.
    pub largest_scan: usize,
    /// Multiply-adds after which a scan is cut along time, so that no dispatch runs into a watchdog.
    pub scan_work: usize,
    /// Takes this route, whatever the sizes are.
    pub route: Option<Route>,
}

impl Default for Tuning {
    /// What WebGPU promises everywhere.
    fn default() -> Self {
        Tuning {
            workgroup_memory: 16 << 10,
            largest_scan: 512,
            scan_work: 1 << 32,
            route: None,
        }
    }
}

impl Tuning {
    /// For the CPU, whose scan has no such limits.
    pub fn cpu() -> Self {
        Tuning {
            workgroup_memory: u32::MAX,
            largest_scan: usize::MAX,
            scan_work: usize::MAX,
            route: None,
        }
    }

    /// The route for a layer.
    ///
    /// # Errors
    /// [`Error::Device`] where the scan is asked for and the layer's state does not fit in a workgroup's memory.
    fn route(&self, layer: &Recurrence) -> Result<Route> {
        let needed = layer.scan_memory();
        let widest = layer.hidden_size.max(layer.output_size);
        let fits = needed <= u128::from(self.workgroup_memory);
        match self.route {
            Some(Route::Scan) if !fits => Err(Error::Device(format!(
                "a scan over {} hidden units needs {needed} bytes of workgroup memory and the device has {}; take the step route",
                layer.hidden_size, self.workgroup_memory
            ))),
            Some(route) => Ok(route),
            None if fits && widest <= self.largest_scan => Ok(Route::Scan),
            None => Ok(Route::Step),
        }
    }
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
pub struct Model {
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
    /// `[T, B, I]`.
    pub inputs: Tensor,
    /// Their gradient, where it was asked for.
    pub dinputs: Option<Tensor>,
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
    scan_work: usize,
}

/// A layer of the network.
#[derive(Debug, Clone)]
struct Level {
    /// Its directions among the model's `layers`.
    directions: std::ops::Range<usize>,
    /// Where it has two.
    joined: Option<Joined>,
}

/// What joins the two directions of a layer. The backward one is a scan like the other, over reversed sequences.
#[derive(Debug, Clone)]
struct Joined {
    /// `[T, B, inputs]`: the layer's inputs, each sequence reversed.
    reversed: Tensor,
    /// `[T, B, inputs]`: their gradient, where something below wants it.
    dreversed: Option<Tensor>,
    /// `[T, B, P forward + P backward]`, in the order of time.
    outputs: Tensor,
    /// Their gradient.
    upstream: Option<Tensor>,
}

impl Model {
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
    ) -> Result<Model> {
        network.validate()?;
        check_sizes(network, steps, batch)?;
        let mut program = Program::new();
        let (entries, count) = network.table();
        let real = Element::Real;
        let parameters = program.buffer("parameters", Kind::Parameters, real, [count]);
        let flat = (gradients != Gradients::None)
            .then(|| program.buffer("gradients", Kind::Gradients, real, [count]));
        let mut activation =
            |name: String, shape: Shape| program.buffer(name, Kind::Activations, real, shape);
        let inputs = activation("inputs".into(), [steps, batch, network.input_size].into());
        let dinputs = (gradients == Gradients::OfUpstream)
            .then(|| activation("dinputs".into(), [steps, batch, network.input_size].into()));
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
        let labels = program.buffer("labels", Kind::Activations, Element::Index, [rows]);
        let lengths = program.buffer("lengths", Kind::Activations, Element::Index, [batch]);

        let parameter = |name: String| {
            let entry = entries.iter().find(|entry| entry.name == name)?;
            Some(parameters.part(entry.offset, entry.shape))
        };
        let (mut layers, mut levels): (Vec<Recurrence>, Vec<Level>) = (vec![], vec![]);
        let top = network.layers.len() - 1;
        for Direction {
            level,
            reversed,
            suffix,
            inputs,
            layer,
        } in network.directions()
        {
            let (facts, h, p) = (layer.cell.facts(), layer.hidden_size, layer.output_size());
            let mut activation = |name: &str, shape: Shape| {
                program.buffer(format!("{suffix}.{name}"), Kind::Activations, real, shape)
            };
            let upstream = match gradients {
                Gradients::None => false,
                Gradients::OfLoss => level < top || network.head.reads == Reads::Every,
                Gradients::OfUpstream => true,
            };
            if let Some(forward) = layers.last().filter(|_| reversed) {
                let both = forward.output_size + p;
                let below = level > 0 || gradients == Gradients::OfUpstream;
                let dreversed = below && gradients != Gradients::None;
                let read: Shape = [steps, batch, inputs].into();
                levels[level].directions.end += 1;
                levels[level].joined = Some(Joined {
                    reversed: activation("reversed", read),
                    dreversed: dreversed.then(|| activation("dreversed", read)),
                    outputs: activation("joined", [steps, batch, both].into()),
                    upstream: upstream.then(|| activation("djoined", [steps, batch, both].into())),
                });
            } else {
                levels.push(Level {
                    directions: layers.len()..layers.len() + 1,
                    joined: None,
                });
            }
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
            layers.push(Recurrence {
                cell: layer.cell,
                steps,
                batch,
                hidden_size: h,
                output_size: p,
                projection: layer.projection_size.map(|_| Projection {
                    clip: layer.projection_clip,
                }),
                recurrent,
                recurrent_t: activation("recurrent_t", [recurrent.len()].into()),
                bias: parameter(format!("rnn.bias_hh_{suffix}")),
                peephole: parameter(format!("rnn.weight_peephole_{suffix}")),
                cell_clip: layer.cell_clip,
                gates: activation("gates", [steps, batch, layer.kept_size()].into()),
                h: activation("h", [steps + 1, batch, p].into()),
                c: activation(
                    "c",
                    [if facts.states > 1 { steps + 1 } else { 0 }, batch, h].into(),
                ),
                last: activation("last", [states].into()),
                upstream: upstream.then(|| activation("upstream", [steps, batch, p].into())),
                dstate: activation(
                    "dstate",
                    match gradients {
                        Gradients::None => [0].into(),
                        _ => [states].into(),
                    },
                ),
                given_states,
                lengths,
            });
        }
        let routes = layers
            .iter()
            .map(|layer| tuning.route(layer))
            .collect::<Result<_>>()?;
        Ok(Model {
            network: network.clone(),
            steps,
            batch,
            program,
            entries,
            parameters,
            gradients: flat,
            inputs,
            dinputs,
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
            scan_work: tuning.scan_work,
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
        level
            .checked_sub(1)
            .map_or(self.inputs, |below| self.emitted(below))
    }

    /// `[T, B, features]`: what layer `level` of the network emits; both directions side by side, where it has two.
    pub fn emitted(&self, level: usize) -> Tensor {
        let Level { directions, joined } = &self.levels[level];
        joined
            .as_ref()
            .map_or(self.layers[directions.start].outputs(), |joined| {
                joined.outputs
            })
    }

    /// The gradient of [`Model::emitted`], where it is not all zero.
    pub fn upstream(&self, level: usize) -> Option<Tensor> {
        let Level { directions, joined } = &self.levels[level];
        joined
            .as_ref()
            .map_or(self.layers[directions.start].upstream, |joined| {
                joined.upstream
            })
    }

    /// What the head reads, in parts: a matrix, the columns of its weights that belong to it, and where its gradient goes.
    fn head_parts(&self) -> Vec<(Matrix, std::ops::Range<usize>, Option<Tensor>)> {
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
        let mut first = 0;
        let part = |layer: &Recurrence| {
            let columns = first..first + layer.output_size;
            first = columns.end;
            (
                Matrix::new(layer.last, self.batch, layer.output_size),
                columns,
                Some(layer.dstate),
            )
        };
        self.layers[self.levels[top].directions.clone()]
            .iter()
            .map(part)
            .collect()
    }

    /// A move of `width` columns of every step between tensors of which each step has `columns`, from the first or to it.
    fn arrange(&self, source: (Tensor, usize), out: (Tensor, usize), width: usize) -> Arrange {
        Arrange {
            source: source.0,
            source_stride: source.1,
            out: out.0,
            out_stride: out.1,
            lengths: self.lengths,
            steps: self.steps,
            batch: self.batch,
            width,
            reversed: false,
            accumulate: false,
        }
    }

    /// The moves between a layer of two directions and what it emits: `split` of the gradient, or joining.
    fn sides(&self, level: &Level, both: Tensor, split: bool) -> Vec<Call> {
        let columns = both.shape.extents()[2];
        let mut first = 0;
        let side = |(n, layer): (usize, &Recurrence)| -> Call {
            let width = layer.output_size;
            let place = (both.part(first, [both.len() - first]), columns);
            first += width;
            let call = match split {
                true => self.arrange(
                    place,
                    (layer.upstream.expect("made with gradients"), width),
                    width,
                ),
                false => self.arrange((layer.outputs(), width), place, width),
            };
            Arrange {
                reversed: n == 1,
                ..call
            }
            .into()
        };
        self.layers[level.directions.clone()]
            .iter()
            .enumerate()
            .map(side)
            .collect()
    }

    /// Records, in `phase`, the way from `inputs` and `lengths` to `outputs`.
    pub fn forward(&mut self, phase: Phase) {
        let mut calls: Vec<Call> = vec![];
        let rows = self.steps * self.batch;
        for (l, (layer, direction)) in self
            .layers
            .iter()
            .zip(self.network.directions())
            .enumerate()
        {
            let Direction {
                level,
                reversed,
                suffix,
                inputs,
                ..
            } = direction;
            let below = self.below(level);
            let read = match &self.levels[level].joined {
                Some(joined) if reversed => {
                    let call = self.arrange((below, inputs), (joined.reversed, inputs), inputs);
                    calls.push(Arrange { reversed, ..call }.into());
                    joined.reversed
                }
                _ => below,
            };
            let (h, p, row_size) = (layer.hidden_size, layer.output_size, layer.row_size());
            let gates_h = layer.cell.facts().gates * h;
            let mut transpose = |skip: usize, rows: usize, columns: usize| {
                let source = layer.recurrent.part(skip, [rows, columns]);
                let out = layer.recurrent_t.part(skip, [columns, rows]);
                calls.push(
                    Transpose {
                        source,
                        out,
                        rows,
                        columns,
                    }
                    .into(),
                );
            };
            transpose(0, gates_h, p);
            if layer.projection.is_some() {
                transpose(gates_h * p, p, h);
            }
            let weight = self.weight_of(&self.parameters, &format!("rnn.weight_ih_{suffix}"));
            let projection = Matrix::block(layer.gates, rows, row_size, 0..gates_h);
            let bias = self.parameter(&self.parameters, &format!("rnn.bias_ih_{suffix}"));
            calls.push(
                Gemm::new(Matrix::new(read, rows, inputs), weight.t(), projection)
                    .bias(bias)
                    .into(),
            );
            match self.routes[l] {
                Route::Scan => {
                    calls.extend(self.cuts(layer).map(|(begin, end)| {
                        ScanForward {
                            layer: layer.clone(),
                            begin,
                            end,
                        }
                        .into()
                    }));
                }
                Route::Step => {
                    let stages = (0..self.steps)
                        .flat_map(|t| (0..layer.stages()).map(move |stage| (t, stage)));
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
            if let Some(joined) = self.levels[level].joined.as_ref().filter(|_| reversed) {
                calls.extend(self.sides(&self.levels[level], joined.outputs, false));
            }
        }
        let weight = self.weight_of(&self.parameters, "head.weight");
        let outputs = Matrix::new(
            self.outputs,
            self.outputs.shape.extents()[0],
            self.network.head.size,
        );
        let bias = self.parameter(&self.parameters, "head.bias");
        for (n, (read, columns, _)) in self.head_parts().into_iter().enumerate() {
            let product = Gemm::new(read, weight.columns(columns).t(), outputs);
            calls.push(
                if n == 0 {
                    product.bias(bias)
                } else {
                    product.accumulate()
                }
                .into(),
            );
        }
        calls
            .into_iter()
            .for_each(|call| self.program.push(phase, call));
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
        let gradients = self.gradients.expect("the model was made with gradients");
        let rows = self.steps * self.batch;
        let mut calls: Vec<Call> = vec![];
        if self.dinputs.is_none() {
            self.head_backward(&gradients, &mut calls);
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
            let joined = self.levels[level].joined.as_ref();
            if let Some(djoined) = joined
                .filter(|_| reversed)
                .and_then(|joined| joined.upstream)
            {
                calls.extend(self.sides(&self.levels[level], djoined, true));
            }
            let read = joined
                .filter(|_| reversed)
                .map_or(self.below(level), |joined| joined.reversed);
            let (facts, h, p) = (layer.cell.facts(), layer.hidden_size, layer.output_size);
            let (gates_h, slots_h) = (facts.gates * h, facts.slots * h);
            let row_size = layer.row_size();
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
            let columns = |range| Matrix::block(layer.gates, rows, row_size, range);
            let dweight = self.weight_of(&gradients, &format!("rnn.weight_ih_{suffix}"));
            calls.push(
                Gemm::new(
                    columns(0..gates_h).t(),
                    Matrix::new(read, rows, inputs),
                    dweight,
                )
                .into(),
            );
            if let Some(out) = self.gradient(&format!("rnn.bias_ih_{suffix}")) {
                calls.push(
                    ColumnSum {
                        source: layer.gates,
                        out,
                        factor: None,
                        rows,
                        stride: row_size,
                    }
                    .into(),
                );
            }
            let drecurrent = self
                .gradient(&format!("rnn.weight_hh_{suffix}"))
                .expect("every layer has one");
            let dbias = self.gradient(&format!("rnn.bias_hh_{suffix}"));
            for run in layer.product_runs() {
                let (slot, count) = (facts.product_slots[run.start], run.len());
                // The first stage multiplies the states before each step, the second what the first left in the last slot.
                let operand = if run.start < facts.first_stage {
                    Matrix::new(layer.h, rows, p)
                } else {
                    columns(slots_h - h..slots_h)
                };
                let out = Matrix::new(
                    drecurrent.part(run.start * h * p, [count * h, p]),
                    count * h,
                    p,
                );
                calls.push(
                    Gemm::new(columns(slot * h..(slot + count) * h).t(), operand, out).into(),
                );
                if let Some(dbias) = dbias {
                    let source = layer.gates.part(slot * h, [layer.gates.len() - slot * h]);
                    let out = dbias.part(run.start * h, [count * h]);
                    calls.push(
                        ColumnSum {
                            source,
                            out,
                            factor: None,
                            rows,
                            stride: row_size,
                        }
                        .into(),
                    );
                }
            }
            if self.gradient(&format!("rnn.weight_hr_{suffix}")).is_some() {
                let dweight = self.weight_of(&gradients, &format!("rnn.weight_hr_{suffix}"));
                let dprojected = columns(slots_h + h..row_size);
                calls
                    .push(Gemm::new(dprojected.t(), columns(slots_h..slots_h + h), dweight).into());
            }
            if let Some(out) = self.gradient(&format!("rnn.weight_peephole_{suffix}")) {
                // i and f see c as it was before a step, o as it is after it.
                for (number, (slot, skip)) in [(0, 0), (1, 0), (3, 1)].into_iter().enumerate() {
                    let source = layer.gates.part(slot * h, [layer.gates.len() - slot * h]);
                    let factor = layer.c.part(skip * self.batch * h, [rows * h]);
                    calls.push(
                        ColumnSum {
                            source,
                            factor: Some(factor),
                            out: out.part(number * h, [h]),
                            rows,
                            stride: row_size,
                        }
                        .into(),
                    );
                }
            }
            // The backward direction comes first; the forward one then adds what the other found, in the order of time.
            let below = level
                .checked_sub(1)
                .map_or(self.dinputs, |below| self.upstream(below));
            let dreversed = joined.and_then(|joined| joined.dreversed);
            if let Some(below) = below {
                let weight = self.weight_of(&self.parameters, &format!("rnn.weight_ih_{suffix}"));
                let out = dreversed.filter(|_| reversed).unwrap_or(below);
                let out = Matrix::new(out, rows, inputs);
                calls.push(Gemm::new(columns(0..gates_h), weight, out).into());
                if let Some(dreversed) = dreversed.filter(|_| !reversed) {
                    let call = self.arrange((dreversed, inputs), (below, inputs), inputs);
                    calls.push(
                        Arrange {
                            reversed: true,
                            accumulate: true,
                            ..call
                        }
                        .into(),
                    );
                }
            }
        }
        calls
            .into_iter()
            .for_each(|call| self.program.push(Phase::Backward, call));
    }

    fn head_backward(&self, gradients: &Tensor, calls: &mut Vec<Call>) {
        let (rows, k) = (self.outputs.shape.extents()[0], self.network.head.size);
        let doutputs = Matrix::new(self.doutputs, rows, k);
        let out = self
            .parameter(gradients, "head.bias")
            .expect("the table has it");
        calls.push(
            ColumnSum {
                source: self.doutputs,
                out,
                factor: None,
                rows,
                stride: k,
            }
            .into(),
        );
        let weight = self.weight_of(&self.parameters, "head.weight");
        let dweight = self.weight_of(gradients, "head.weight");
        for (read, columns, into) in self.head_parts() {
            let into = Matrix::new(into.expect("made with gradients"), rows, columns.len());
            calls.push(Gemm::new(doutputs.t(), read, dweight.columns(columns.clone())).into());
            calls.push(Gemm::new(doutputs, weight.columns(columns), into).into());
        }
    }

    /// The pieces of time that a scan of `layer` is cut into.
    fn cuts(&self, layer: &Recurrence) -> impl Iterator<Item = (usize, usize)> + use<> {
        let work = layer.batch * layer.work();
        let (steps, piece) = (self.steps, (self.scan_work / work).max(1));
        (0..steps)
            .step_by(piece)
            .map(move |begin| (begin, begin.saturating_add(piece).min(steps)))
    }
}

impl Recurrence {
    /// `[T, B, P]`: what the layer emits.
    pub fn outputs(&self) -> Tensor {
        self.h.part(
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
        .flat_map(|d| [d.layer.kept_size(), d.inputs])
        .chain([network.head_inputs(), network.head.size])
        .max()
        .unwrap_or(1);
    let largest = (steps as u128 + 1) * batch as u128 * widest as u128;
    if largest > u128::from(u32::MAX) {
        return Err(Error::Device(format!(
            "{batch} sequences of {steps} steps and {widest} numbers a step are {largest} numbers in one buffer; \
             a kernel can count to {}. Take a smaller batch.",
            u32::MAX
        )));
    }
    Ok(())
}
