//! A network recorded as a program: buffers, forward pass, and back-propagation through time, written by hand.

use crate::error::{Error, Result};
use crate::kernels::{
    BackwardStage, Call, ColumnSum, Gemm, LabelWeight, Matrix, MeanSquaredError, Projection,
    Recurrence, ScanBackward, ScanForward, SoftmaxCrossEntropy, StepBackward, StepForward,
    Transpose,
};
use crate::network::{Entry, Loss, Network, Reads};
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
    routes: Vec<Route>,
    scan_work: usize,
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
        let mut layers = vec![];
        let top = network.layers.len() - 1;
        for (l, layer) in network.layers.iter().enumerate() {
            let (facts, h, p) = (layer.cell.facts(), layer.hidden_size, layer.output_size());
            let mut activation = |name: &str, shape: Shape| {
                program.buffer(format!("layer{l}.{name}"), Kind::Activations, real, shape)
            };
            let upstream = match gradients {
                Gradients::None => false,
                Gradients::OfLoss => l < top || network.head.reads == Reads::Every,
                Gradients::OfUpstream => true,
            };
            let given_states = match gradients {
                Gradients::OfUpstream => facts.states,
                _ if l == top && network.head.reads == Reads::Last => 1,
                _ => 0,
            };
            let states = batch * (p + (facts.states - 1) * h);
            let named = format!("rnn.weight_hh_l{l}");
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
                bias: parameter(format!("rnn.bias_hh_l{l}")),
                peephole: parameter(format!("rnn.weight_peephole_l{l}")),
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

    /// What layer `l` reads, as rows of all steps and sequences.
    fn input_of(&self, l: usize) -> Matrix {
        let rows = self.steps * self.batch;
        match l.checked_sub(1) {
            None => Matrix::new(self.inputs, rows, self.network.input_size),
            Some(below) => Matrix::new(
                self.layers[below].outputs(),
                rows,
                self.layers[below].output_size,
            ),
        }
    }

    /// What the head reads.
    fn head_input(&self) -> Matrix {
        let top = self.layers.last().expect("validated");
        match self.network.head.reads {
            Reads::Last => Matrix::new(top.last, self.batch, top.output_size),
            Reads::Every => Matrix::new(top.outputs(), self.steps * self.batch, top.output_size),
        }
    }

    /// Records, in `phase`, the way from `inputs` and `lengths` to `outputs`.
    pub fn forward(&mut self, phase: Phase) {
        let mut calls: Vec<Call> = vec![];
        let rows = self.steps * self.batch;
        for (l, layer) in self.layers.iter().enumerate() {
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
            let weight = self.weight_of(&self.parameters, &format!("rnn.weight_ih_l{l}"));
            let projection = Matrix::block(layer.gates, rows, row_size, 0..gates_h);
            let bias = self.parameter(&self.parameters, &format!("rnn.bias_ih_l{l}"));
            calls.push(
                Gemm::new(self.input_of(l), weight.t(), projection)
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
        }
        let weight = self.weight_of(&self.parameters, "head.weight");
        let outputs = Matrix::new(
            self.outputs,
            self.outputs.shape.extents()[0],
            self.network.head.size,
        );
        let bias = self.parameter(&self.parameters, "head.bias");
        calls.push(
            Gemm::new(self.head_input(), weight.t(), outputs)
                .bias(bias)
                .into(),
        );
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
        for (l, layer) in self.layers.iter().enumerate().rev() {
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
            let dweight = self.weight_of(&gradients, &format!("rnn.weight_ih_l{l}"));
            calls.push(Gemm::new(columns(0..gates_h).t(), self.input_of(l), dweight).into());
            if let Some(out) = self.gradient(&format!("rnn.bias_ih_l{l}")) {
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
                .gradient(&format!("rnn.weight_hh_l{l}"))
                .expect("every layer has one");
            let dbias = self.gradient(&format!("rnn.bias_hh_l{l}"));
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
            if self.gradient(&format!("rnn.weight_hr_l{l}")).is_some() {
                let dweight = self.weight_of(&gradients, &format!("rnn.weight_hr_l{l}"));
                let dprojected = columns(slots_h + h..row_size);
                calls
                    .push(Gemm::new(dprojected.t(), columns(slots_h..slots_h + h), dweight).into());
            }
            if let Some(out) = self.gradient(&format!("rnn.weight_peephole_l{l}")) {
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
            let below = match l.checked_sub(1) {
                None => self
                    .dinputs
                    .map(|dinputs| Matrix::new(dinputs, rows, self.network.input_size)),
                Some(below) => {
                    let below = &self.layers[below];
                    below
                        .upstream
                        .map(|upstream| Matrix::new(upstream, rows, below.output_size))
                }
            };
            if let Some(below) = below {
                let weight = self.weight_of(&self.parameters, &format!("rnn.weight_ih_l{l}"));
                calls.push(Gemm::new(columns(0..gates_h), weight, below).into());
            }
        }
        calls
            .into_iter()
            .for_each(|call| self.program.push(Phase::Backward, call));
    }

    fn head_backward(&self, gradients: &Tensor, calls: &mut Vec<Call>) {
        let top = self.layers.last().expect("validated");
        let (rows, k) = (self.outputs.shape.extents()[0], self.network.head.size);
        let doutputs = Matrix::new(self.doutputs, rows, k);
        let dweight = self.weight_of(gradients, "head.weight");
        calls.push(Gemm::new(doutputs.t(), self.head_input(), dweight).into());
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
        let into = match self.network.head.reads {
            Reads::Last => top.dstate,
            Reads::Every => top.upstream.expect("made with gradients"),
        };
        let weight = self.weight_of(&self.parameters, "head.weight");
        calls.push(Gemm::new(doutputs, weight, Matrix::new(into, rows, top.output_size)).into());
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
    let widest = network.layers.iter().map(|layer| layer.kept_size());
    let widest = widest
        .chain([network.input_size, network.head.size])
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
