//! The backward pass: back-propagation through time, as a list of steps in the reverse order of the
//! forward pass.

use super::parameters::{DirectionParameters, matrix};
use super::{HeadPart, HeadTensors, RecordedDirection, RecordedLayer, RecordedNetwork};
use crate::backend::tuning::Route;
use crate::cells::PeepholeInput;
use crate::kernels::{
    BackwardStage, Call, ColumnSum, Columns, Gemm, LookupGradient, Matrix, ScanBackward,
    ScanNormBackward, StepBackward, Table, TimeDirection,
};
use crate::network::Input;
use crate::program::Phase;
use crate::tensor::Tensor;

impl RecordedNetwork {
    /// Records, in [`Phase::Backward`], the computation of the gradients of all parameters.
    ///
    /// # Panics
    /// Where the network was recorded without gradients.
    pub fn backward(&mut self) {
        if self.recompute.is_some() {
            return self.backward_by_chunks();
        }
        let partials = self.create_partials();
        let mut calls = self.head_backward(partials);
        calls.extend(self.layers_backward(partials));
        self.push(Phase::Backward, calls);
    }

    /// Leaves the gradient of the inputs out of a backward pass that is recorded afterwards.
    pub fn leave_out_input_gradient(&mut self) {
        if !self.network.has_tables() {
            self.layers[0].dinputs = None;
        }
    }

    /// The backward pass without the head.
    pub(super) fn layers_backward(&self, partials: Option<Tensor>) -> Vec<Call> {
        let mut calls: Vec<Call> = vec![];
        let lowest = self.frozen.lowest_layer(&self.network);
        for (index, layer) in self.layers.iter().enumerate().skip(lowest).rev() {
            let is_trained = !self.frozen.has_layer(index);
            calls.extend(self.emission_backward(index));
            for direction in layer.directions.iter().rev() {
                calls.extend(self.pack(&direction.recurrence, TimeDirection::Backward));
                calls.extend(self.scan_backward(direction));
                if is_trained {
                    calls.extend(self.parameter_gradients(layer, direction, partials));
                }
                calls.extend(self.input_gradient(layer, direction));
            }
            calls.extend(self.inputs_backward(index));
        }
        calls.extend(self.embedding_gradient());
        calls.extend(self.category_gradients(partials));
        calls
    }

    /// The gradients of a direction's parameters.
    fn parameter_gradients(
        &self,
        layer: &RecordedLayer,
        direction: &RecordedDirection,
        partials: Option<Tensor>,
    ) -> Vec<Call> {
        let mut calls = self.drop_states(direction);
        calls.extend(self.input_weight_gradient(layer, direction, partials));
        calls.extend(self.input_bias_gradient(direction));
        calls.extend(self.recurrent_gradients(direction, partials));
        calls.extend(self.projection_gradient(direction, partials));
        calls.extend(self.peephole_gradients(direction));
        calls.extend(self.norm_gradients(direction));
        calls.extend(self.initial_state_gradients(direction));
        calls
    }

    /// The gradients of the heads' parameters and of what they read, where the backward pass
    /// includes the head.
    pub(super) fn head_backward(&self, partials: Option<Tensor>) -> Vec<Call> {
        if self.head.gradients.is_none() {
            return vec![];
        }
        let heads = self.each_head().iter();
        let (own, others): (Vec<_>, Vec<_>) =
            heads.partition(|head| head.reads == self.network.head.reads);
        let mut calls = self.read_backward(&own, false, partials);
        calls.extend(self.pool_backward(partials));
        calls.extend(self.last_states_backward());
        // The outputs of every step may have the gradient of the reduction already.
        let is_added = self.head.pooled.is_some();
        calls.extend(self.read_backward(&others, is_added, partials));
        calls
    }

    /// The gradients of the parameters of heads that read the same, and of what they read, which
    /// may be added to what is there.
    fn read_backward(
        &self,
        heads: &[&HeadTensors],
        is_added: bool,
        partials: Option<Tensor>,
    ) -> Vec<Call> {
        let mut calls: Vec<Call> = vec![];
        // The gradient of what is read may replace its values, so it comes last.
        let Some((last, others)) = heads.split_last() else {
            return calls;
        };
        for head in others {
            for part in self.head_parts(head.reads, true) {
                calls.extend(self.head_weight_gradient(head, &part, partials));
            }
            calls.extend(self.head_bias_gradient(head));
        }
        calls.extend(self.head_bias_gradient(last));
        for part in self.head_parts(last.reads, true) {
            calls.extend(self.head_weight_gradient(last, &part, partials));
            for (n, head) in heads.iter().enumerate() {
                calls.push(self.head_input_gradient(head, &part, is_added || n > 0));
            }
        }
        calls
    }

    /// The gradient of a head's bias; of all steps at once, whose gradients are all kept.
    pub(super) fn head_bias_gradient(&self, head: &HeadTensors) -> Option<Call> {
        if self.chunk.is_some() {
            return None;
        }
        let gradients = head.gradients.filter(|_| !self.frozen.has_head())?;
        let [rows, k] = [0, 1].map(|n| head.doutputs.shape.extents()[n]);
        let bias = ColumnSum {
            lengths: None,
            ..self.column_sum(head.doutputs, gradients.bias, rows, k)
        };
        Some(bias.into())
    }

    /// The gradient of the columns of a head's weights that a part belongs to.
    fn head_weight_gradient(
        &self,
        head: &HeadTensors,
        part: &HeadPart,
        partials: Option<Tensor>,
    ) -> Vec<Call> {
        let Some(gradients) = head.gradients.filter(|_| !self.frozen.has_head()) else {
            return vec![];
        };
        if let Some(sum) = self.head_weight_sum(head, part) {
            return self.sum_steps(&sum, partials);
        }
        let dweight = matrix(gradients.weight).columns(part.columns.clone());
        vec![Gemm::new(matrix(head.doutputs).t(), part.values, dweight).into()]
    }

    /// The gradient of a part of what the heads read, or its sum with that of other heads.
    fn head_input_gradient(&self, head: &HeadTensors, part: &HeadPart, accumulate: bool) -> Call {
        let doutputs = matrix(head.doutputs);
        let rows = head.doutputs.shape.extents()[0];
        let dvalues = part.gradient.expect("what the head reads has a gradient");
        let dvalues = Matrix::new(dvalues, rows, part.columns.len());
        let weight = matrix(head.parameters.weight).columns(part.columns.clone());
        let mut gemm = Gemm::new(doutputs, weight, dvalues);
        if accumulate {
            gemm = gemm.accumulate();
        }
        if self.head_skips_padding(head.reads) {
            gemm = gemm.ragged_rows(self.lengths);
        }
        gemm.into()
    }

    /// Computes all time steps of a direction backward: the gradients of its gates and of its
    /// initial states.
    fn scan_backward(&self, direction: &RecordedDirection) -> Vec<Call> {
        let layer = &direction.recurrence;
        match direction.route {
            Route::Scan if layer.options.layer_norm.is_some() => {
                let scan = |(begin, end)| {
                    ScanNormBackward {
                        layer: layer.clone(),
                        begin,
                        end,
                    }
                    .into()
                };
                self.time_chunks(layer).rev().map(scan).collect()
            }
            Route::Scan => {
                let scan = |(begin, end)| {
                    ScanBackward {
                        layer: layer.clone(),
                        begin,
                        end,
                    }
                    .into()
                };
                self.time_chunks(layer).rev().map(scan).collect()
            }
            Route::Step => {
                let stages = (0..self.steps).rev().flat_map(|t| {
                    [BackwardStage::Units(t), BackwardStage::Middle(t)]
                        .into_iter()
                        .take(layer.stages())
                });
                let step = |stage| {
                    StepBackward {
                        layer: layer.clone(),
                        stage,
                    }
                    .into()
                };
                stages.chain([BackwardStage::End]).map(step).collect()
            }
        }
    }

    fn input_weight_gradient(
        &self,
        layer: &RecordedLayer,
        direction: &RecordedDirection,
        partials: Option<Tensor>,
    ) -> Vec<Call> {
        if let Some(sum) = self.input_weight_sum(layer, direction) {
            return self.sum_steps(&sum, partials);
        }
        let lookup = LookupGradient {
            dout: direction.gate_rows(),
            tokens: self.tokens(direction.reversed),
            dtable: Table::columns(direction.gradients().weight_ih),
            padding: None,
            accumulate: self.accumulates(),
        };
        vec![lookup.into()]
    }

    /// The gradient of b_ih, and of b_hh where both are equal and adjacent: one sum for two biases.
    fn input_bias_gradient(&self, direction: &RecordedDirection) -> Option<Call> {
        let dbias =
            (direction.gradients().bias_ih).filter(|_| !direction.has_biases_as_shifts())?;
        let shared = direction.shared_bias_gradients();
        let copies = if shared.is_some() { 2 } else { 1 };
        let dbiases = shared.unwrap_or(dbias);
        let out = dbiases.part(0, [copies, dbiases.len() / copies]);
        let (gates, row_size) = (direction.recurrence.gates, direction.recurrence.row_size());
        let sum = ColumnSum {
            copies,
            ..self.column_sum(gates, out, self.rows(), row_size)
        };
        Some(sum.into())
    }

    /// The gradients of R, and of b_hh where the sum of b_ih does not include it.
    fn recurrent_gradients(
        &self,
        direction: &RecordedDirection,
        partials: Option<Tensor>,
    ) -> Vec<Call> {
        let (spec, h) = (
            direction.recurrence.cell.spec(),
            direction.recurrence.hidden_size,
        );
        let is_shared = direction.shared_bias_gradients().is_some();
        let is_summed = !is_shared && !direction.has_biases_as_shifts();
        let dbias = direction.gradients().bias_hh.filter(|_| is_summed);
        let sums = self.recurrent_weight_sums(direction).into_iter();
        let mut calls = vec![];
        for (sum, run) in sums.zip(direction.recurrence.product_runs()) {
            if direction.recurrence.options.drops_recurrent && run.start < spec.first_stage {
                calls.extend(self.drop_for_gate(direction, run.start));
            }
            calls.extend(self.sum_steps(&sum, partials));
            if let Some(dbias) = dbias {
                let out = dbias.part(run.start * h, [run.len() * h]);
                let slot = spec.product_slots[run.start];
                calls.push(self.gate_sum(direction, slot, out).into());
            }
        }
        calls
    }

    fn projection_gradient(
        &self,
        direction: &RecordedDirection,
        partials: Option<Tensor>,
    ) -> Vec<Call> {
        let sum = self.projection_sum(direction);
        sum.map_or(vec![], |sum| self.sum_steps(&sum, partials))
    }

    /// The gradients of the peephole weights: each the sum of a gate's gradient times the c that
    /// the gate sees.
    fn peephole_gradients(&self, direction: &RecordedDirection) -> Vec<Call> {
        let Some(gradient) = direction.gradients().peephole else {
            return vec![];
        };
        let recurrence = &direction.recurrence;
        let h = recurrence.hidden_size;
        let peepholes = recurrence.cell.spec().peepholes.iter().enumerate();
        let sums = peepholes.map(|(number, peephole)| {
            let skipped_steps = match peephole.sees {
                PeepholeInput::CBefore => 0,
                PeepholeInput::CAfter => 1,
            };
            let c = recurrence.states.c;
            let seen = c.part(skipped_steps * self.batch * h, [self.rows() * h]);
            ColumnSum {
                factor: Some(seen),
                ..self.gate_sum(direction, peephole.gate, gradient.part(number * h, [h]))
            }
            .into()
        });
        sums.collect()
    }

    /// The gradients of gains and shifts, whose terms the scan leaves behind the slots.
    fn norm_gradients(&self, direction: &RecordedDirection) -> Vec<Call> {
        let (recurrence, gradients) = (&direction.recurrence, direction.gradients());
        let Some(norm) = recurrence.norm() else {
            return vec![];
        };
        let (spec, h, first) = (
            recurrence.cell.spec(),
            recurrence.hidden_size,
            norm.gradient_slot(),
        );
        let gains = gradients.norm_gains.map(|out| (norm.normed_slot, out));
        let shifts = gradients.norm_shifts.map(|out| (first, out));
        let mut sums: Vec<(usize, Tensor)> = gains.into_iter().chain(shifts).collect();
        if norm.shifts_are_biases {
            sums.extend(gradients.bias_ih.map(|out| (first, out)));
            sums.extend(gradients.bias_hh.iter().flat_map(|out| {
                let runs = spec.recurrent_runs().into_iter();
                runs.map(|run| {
                    let slot = first + spec.product_slots[run.start];
                    (slot, out.part(run.start * h, [run.len() * h]))
                })
            }));
        }
        let sums = sums.into_iter();
        sums.map(|(slot, out)| self.gate_sum(direction, slot, out).into())
            .collect()
    }

    /// The gradient of what a direction reads, where something needs it. The gradient of dropped
    /// inputs replaces their values.
    fn input_gradient(&self, layer: &RecordedLayer, direction: &RecordedDirection) -> Option<Call> {
        let dinputs = layer.dinputs?;
        let reversed = layer.reversed.filter(|_| direction.reversed);
        let out = match (
            reversed.and_then(|reversed| reversed.dinputs),
            layer.dropped,
        ) {
            (Some(dreversed), _) => dreversed,
            (None, Some(dropped)) => dropped.values,
            (None, None) => dinputs,
        };
        let dgates = direction.gate_columns(0..direction.gates_size());
        let out = Matrix::new(out, self.rows(), direction.inputs);
        let gemm = Gemm::new(dgates, matrix(direction.parameters.weight_ih), out);
        Some(gemm.ragged_rows(self.lengths).into())
    }

    /// The gradient of the embedding's table; added to the head's gradient where both share it.
    fn embedding_gradient(&self) -> Option<Call> {
        let Input::Embedding {
            padding_idx, tied, ..
        } = self.network.input
        else {
            return None;
        };
        let dembedded = self.layers[0]
            .dinputs
            .filter(|_| !self.frozen.has_embedding())?;
        let gradients = self.gradients?;
        let lookup = LookupGradient {
            dout: Columns::all(dembedded),
            tokens: self.tokens(false),
            dtable: Table::rows(self.embedding_table(gradients)),
            padding: padding_idx,
            accumulate: self.accumulates() || tied && self.head.gradients.is_some(),
        };
        Some(lookup.into())
    }

    /// The sum over the valid steps of a direction's gate gradients, from slot `slot` on.
    fn gate_sum(&self, direction: &RecordedDirection, slot: usize, out: Tensor) -> ColumnSum {
        let recurrence = &direction.recurrence;
        let (gates, skipped) = (recurrence.gates, slot * recurrence.hidden_size);
        let source = gates.part(skipped, [gates.len() - skipped]);
        self.column_sum(source, out, self.rows(), recurrence.row_size())
    }

    /// The sum over the valid ones of `[rows, stride]`.
    fn column_sum(&self, source: Tensor, out: Tensor, rows: usize, stride: usize) -> ColumnSum {
        ColumnSum {
            source,
            factor: None,
            lengths: Some(self.lengths),
            out,
            copies: 1,
            rows,
            stride,
            accumulate: self.accumulates(),
        }
    }
}

impl RecordedDirection {
    /// The gradients of the parameters.
    ///
    /// # Panics
    /// Where the network was recorded without gradients.
    pub(super) fn gradients(&self) -> &DirectionParameters {
        let gradients = self.gradients.as_ref();
        gradients.expect("the network was recorded with gradients")
    }

    /// Whether the biases are shifts of layer normalisation.
    fn has_biases_as_shifts(&self) -> bool {
        let norm = self.recurrence.norm();
        norm.is_some_and(|norm| norm.shifts_are_biases)
    }

    /// The gradients of both biases `[2, G*H]`, where they are equal, because each gate's recurrent
    /// matmul has the gate's own gradient, and adjacent.
    fn shared_bias_gradients(&self) -> Option<Tensor> {
        let are_equal = !self.recurrence.cell.spec().needs_recurrent_bias();
        self.gradients().adjacent_biases().filter(|_| are_equal)
    }

    /// The gates `[T, B, row]`, of which the first columns are used.
    pub(super) fn gate_rows(&self) -> Columns {
        Columns {
            tensor: self.recurrence.gates,
            stride: self.recurrence.row_size(),
        }
    }
}
