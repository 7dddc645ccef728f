//! The forward pass, recorded.

use super::parameters::matrix;
use super::{RecordedDirection, RecordedLayer, RecordedNetwork};
use crate::backend::tuning::Route;
use crate::kernels::{
    Call, Columns, Gemm, Lookup, Matrix, Pack, Recurrence, ScanForward, ScanNormForward,
    StepForward, Table, TimeDirection,
};
use crate::network::Input;
use crate::program::Phase;

impl RecordedNetwork {
    /// Records, in `phase`, the computation of the outputs from `inputs` and `lengths`. Dropout is
    /// applied in [`Phase::Forward`] only.
    pub fn forward(&mut self, phase: Phase) {
        if self.recompute.is_some() {
            return self.forward_by_chunks(phase);
        }
        self.forward_layers(phase);
        let training = phase == Phase::Forward;
        let mut calls: Vec<Call> = vec![];
        if training {
            calls.extend(self.drop_last_states());
        }
        calls.extend(self.pool());
        calls.extend(self.head_forward(training));
        self.push(phase, calls);
    }

    /// Records, in `phase`, the forward pass without the head.
    pub fn forward_layers(&mut self, phase: Phase) {
        let begins = self.start_of(phase).is_none();
        let calls = self.layers_forward(phase == Phase::Forward, begins);
        self.push(phase, calls);
    }

    /// The forward pass without the head; `begins` says whether learnt initial states are set
    /// before it.
    pub(super) fn layers_forward(&self, training: bool, begins: bool) -> Vec<Call> {
        let mut calls: Vec<Call> = vec![];
        calls.extend(self.embed());
        calls.extend(self.embed_categories());
        for (index, layer) in self.layers.iter().enumerate() {
            if training {
                calls.extend(self.drop_inputs(layer));
            }
            for direction in &layer.directions {
                if direction.reversed {
                    calls.extend(self.reverse_inputs(layer, training));
                }
                calls.extend(self.pack(&direction.recurrence, TimeDirection::Forward));
                if begins {
                    calls.extend(direction.learnt_states(None));
                }
                calls.push(self.project_inputs(layer, direction, training));
                calls.extend(self.scan_forward(direction, training));
            }
            self.emit(index, training, &mut calls);
        }
        calls
    }

    /// Looks up the tokens' embeddings, which the first layer reads.
    fn embed(&self) -> Option<Call> {
        let has_embedding = matches!(self.network.input, Input::Embedding { .. });
        has_embedding.then(|| {
            let embedded = self.layers[0].inputs;
            Lookup {
                table: Table::rows(self.embedding_table(self.parameters)),
                bias: None,
                tokens: self.tokens(false),
                out: Columns::all(embedded),
            }
            .into()
        })
    }

    /// Packs a layer's recurrent weights for one direction of time, where the device reads them so.
    pub(super) fn pack(&self, recurrence: &Recurrence, time: TimeDirection) -> Vec<Call> {
        if !self.tuning.packs_weights {
            return vec![];
        }
        let weights = match time {
            TimeDirection::Forward => recurrence.weights.packed_forward,
            TimeDirection::Backward => recurrence.weights.packed_backward,
        };
        let (mut read, mut written) = (0, 0);
        let pack = |sizes: [usize; 3]| {
            let [blocks, inner, columns] = sizes;
            let (len, packed_len) = (blocks * inner * columns, Pack::size(sizes));
            let call = Pack {
                source: recurrence.weights.recurrent.part(read, [len]),
                out: weights.part(written, [packed_len]),
                blocks,
                inner,
                columns,
                transposed: time == TimeDirection::Forward,
            };
            read += len;
            written += packed_len;
            call.into()
        };
        let matrices = recurrence.packed(time).into_iter();
        let matrices = matrices.filter(|sizes| Pack::size(*sizes) > 0);
        matrices.map(pack).collect()
    }

    /// Computes the input projection `W x + b_ih` of all steps, into the first slots of the gates;
    /// without the bias where that is added after a normalisation.
    fn project_inputs(
        &self,
        layer: &RecordedLayer,
        direction: &RecordedDirection,
        training: bool,
    ) -> Call {
        let (parameters, norm) = (&direction.parameters, direction.recurrence.norm());
        let is_shift = norm.is_some_and(|norm| norm.shifts_are_biases);
        let bias = parameters.bias_ih.filter(|_| !is_shift);
        if self.reads_one_hot(layer) {
            return Lookup {
                table: Table::columns(parameters.weight_ih),
                bias,
                tokens: self.tokens(direction.reversed),
                out: direction.gate_rows(),
            }
            .into();
        }
        let inputs = layer.inputs_of(direction, training);
        let inputs = Matrix::new(inputs, self.rows(), direction.inputs);
        let projection = direction.gate_columns(0..direction.gates_size());
        Gemm::new(inputs, matrix(parameters.weight_ih).t(), projection)
            .bias(bias)
            .ragged_rows(self.lengths)
            .into()
    }

    /// Computes all time steps of a direction: scans over chunks of time, or single steps.
    fn scan_forward(&self, direction: &RecordedDirection, training: bool) -> Vec<Call> {
        let recurrence = &direction.recurrence;
        let layer = Recurrence {
            options: if training {
                recurrence.options
            } else {
                recurrence.options.without_masks()
            },
            ..recurrence.clone()
        };
        match direction.route {
            Route::Scan if layer.options.layer_norm.is_some() => {
                let scan = |(begin, end)| {
                    ScanNormForward {
                        layer: layer.clone(),
                        begin,
                        end,
                    }
                    .into()
                };
                self.time_chunks(&layer).map(scan).collect()
            }
            Route::Scan => {
                let scan = |(begin, end)| {
                    ScanForward {
                        layer: layer.clone(),
                        begin,
                        end,
                    }
                    .into()
                };
                self.time_chunks(&layer).map(scan).collect()
            }
            Route::Step => {
                let stages = layer.stages();
                let steps = (0..self.steps).flat_map(|t| (0..stages).map(move |stage| (t, stage)));
                let step = |(t, stage)| {
                    StepForward {
                        layer: layer.clone(),
                        t,
                        stage,
                    }
                    .into()
                };
                steps.map(step).collect()
            }
        }
    }

    /// The chunks of time that one scan of `layer` each computes: begin and end.
    pub(super) fn time_chunks(
        &self,
        layer: &Recurrence,
    ) -> impl DoubleEndedIterator<Item = (usize, usize)> + use<> {
        let work = (layer.batch * layer.work()).max(1);
        let iterations = self.tuning.iterations / layer.scan_iterations();
        let size = (self.tuning.scan_work / work).min(iterations).max(1);
        let steps = self.steps;
        let chunks = 0..steps.div_ceil(size);
        chunks.map(move |n| (n * size, (n * size).saturating_add(size).min(steps)))
    }

    /// Computes the outputs of every head: `y = h @ weight^T + bias`, summed over the parts that
    /// the head reads.
    pub(super) fn head_forward(&self, training: bool) -> Vec<Call> {
        let mut calls = vec![];
        for head in self.each_head() {
            let weight = matrix(head.parameters.weight);
            let outputs = matrix(head.outputs);
            for (n, part) in self
                .head_parts(head.reads, training)
                .into_iter()
                .enumerate()
            {
                let mut gemm = Gemm::new(part.values, weight.columns(part.columns).t(), outputs);
                if self.head_skips_padding(head.reads) {
                    gemm = gemm.ragged_rows(self.lengths);
                }
                calls.push(if n == 0 {
                    gemm.bias(Some(head.parameters.bias)).into()
                } else {
                    gemm.accumulate().into()
                });
            }
        }
        calls
    }
}
