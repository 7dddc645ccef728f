//! Copies between the layers: dropout, reversed order of time, the outputs of two directions side
//! by side, residuals. The backward pass runs each of them in the other direction.

use super::{RecordedDirection, RecordedLayer, RecordedNetwork};
use crate::kernels::{Arrange, Call, Columns, Order, Side};
use crate::network::{Layer, Padding};
use crate::tensor::Tensor;

impl Arrange {
    /// Multiplies by `mask` at the source's step.
    fn masked(self, mask: Columns) -> Self {
        Arrange {
            mask: Some((mask, Side::Source)),
            ..self
        }
    }

    fn in_order(self, order: Order) -> Self {
        Arrange { order, ..self }
    }

    /// Adds to the values of `out`.
    fn accumulated(self) -> Self {
        Arrange {
            accumulate: true,
            ..self
        }
    }
}

impl RecordedNetwork {
    /// Copies `width` columns of all steps.
    pub(super) fn copy(&self, source: Columns, out: Columns, width: usize) -> Arrange {
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

    /// Copies `[T, B, width]`.
    fn copy_all(&self, source: Tensor, out: Tensor) -> Arrange {
        let columns = Columns::all(source);
        self.copy(columns, Columns::all(out), columns.stride)
    }

    /// Multiplies what a layer reads by its dropout mask.
    pub(super) fn drop_inputs(&self, layer: &RecordedLayer) -> Option<Call> {
        let dropped = layer.dropped?;
        let copy = self.copy_all(layer.inputs, dropped.values);
        Some(copy.masked(Columns::all(dropped.mask)).into())
    }

    /// Reverses what the forward direction reads, for the backward one. One-hot vectors are
    /// reversed as tokens, when they are looked up.
    pub(super) fn reverse_inputs(&self, layer: &RecordedLayer, training: bool) -> Option<Call> {
        let reversed = layer.reversed?;
        if self.reads_one_hot(layer) {
            return None;
        }
        let copy = self.copy_all(layer.forward_inputs(training), reversed.inputs);
        Some(copy.in_order(Order::Reversed).into())
    }

    /// Copies the outputs of a layer's directions to what the layer emits, side by side and in the
    /// order of time; then adds the inputs of a residual layer.
    pub(super) fn emit(&self, index: usize, training: bool, calls: &mut Vec<Call>) {
        let (layer, settings) = (&self.layers[index], &self.network.layers[index]);
        let Some(emission) = layer.emission else {
            return;
        };
        let mask = emission.mask.filter(|_| training);
        for (direction, first_column) in directions_side_by_side(layer) {
            let outputs = Columns::all(direction.recurrence.outputs());
            let emitted = Columns::all(emission.outputs).from(first_column);
            let (order, mask_side) = match (direction.reversed, repeats(settings)) {
                (true, _) => (Order::Reversed, Side::Out),
                (false, true) => (Order::Repeat, Side::Source),
                (false, false) => (Order::InTime, Side::Source),
            };
            let copy = self.copy(outputs, emitted, direction.recurrence.output_size);
            calls.push(with_emission_mask(
                copy.in_order(order),
                mask,
                first_column,
                mask_side,
            ));
        }
        if settings.residual {
            let copy = self.copy_all(layer.inputs, emission.outputs);
            calls.push(copy.accumulated().into());
        }
    }

    /// The backward pass of [`RecordedNetwork::emit`], without the residual.
    pub(super) fn emission_backward(&self, index: usize) -> Vec<Call> {
        let (layer, settings) = (&self.layers[index], &self.network.layers[index]);
        let Some((emission, demitted)) = layer.emission.and_then(|e| Some((e, e.upstream?))) else {
            return vec![];
        };
        let directions = directions_side_by_side(layer);
        let copies = directions.map(|(direction, first_column)| {
            let recurrence = &direction.recurrence;
            let upstream = recurrence.gradients.upstream.expect("the emission has one");
            let demitted = Columns::all(demitted).from(first_column);
            let (order, mask_side) = match (direction.reversed, repeats(settings)) {
                (true, _) => (Order::Reversed, Side::Source),
                (false, true) => (Order::Collect, Side::Out),
                (false, false) => (Order::InTime, Side::Out),
            };
            let copy = self.copy(demitted, Columns::all(upstream), recurrence.output_size);
            with_emission_mask(copy.in_order(order), emission.mask, first_column, mask_side)
        });
        copies.collect()
    }

    /// The backward pass of a layer's inputs, after the input gradients of its directions: adds the
    /// backward direction's gradient to the forward one's in the order of time, applies the dropout
    /// mask, and adds the gradient of a residual.
    pub(super) fn inputs_backward(&self, index: usize) -> Vec<Call> {
        let (layer, settings) = (&self.layers[index], &self.network.layers[index]);
        let Some(dinputs) = layer.dinputs else {
            return vec![];
        };
        let mut calls: Vec<Call> = vec![];
        if let Some(dreversed) = layer.reversed.and_then(|reversed| reversed.dinputs) {
            let out = layer.dropped.map_or(dinputs, |dropped| dropped.values);
            let copy = self.copy_all(dreversed, out).in_order(Order::Reversed);
            calls.push(copy.accumulated().into());
        }
        if let Some(dropped) = layer.dropped {
            let copy = self.copy_all(dropped.values, dinputs);
            calls.push(copy.masked(Columns::all(dropped.mask)).into());
        }
        if settings.residual {
            let upstream = layer.upstream().expect("a residual layer has one");
            calls.push(self.copy_all(upstream, dinputs).accumulated().into());
        }
        calls
    }

    /// Multiplies the last states that the head reads by their dropout masks.
    pub(super) fn drop_last_states(&self) -> Vec<Call> {
        self.mask_last_states(|direction, values| (direction.recurrence.states.last, values))
    }

    /// The backward pass of [`RecordedNetwork::drop_last_states`].
    pub(super) fn last_states_backward(&self) -> Vec<Call> {
        self.mask_last_states(|direction, values| (values, direction.recurrence.gradients.dstate))
    }

    /// Multiplies a source by the mask of a last state; zeros for a sequence without steps.
    fn mask_last_states(
        &self,
        source_and_out: impl Fn(&RecordedDirection, Tensor) -> (Tensor, Tensor),
    ) -> Vec<Call> {
        let directions = self.last_layer().directions.iter();
        let masked = directions.filter_map(|direction| {
            let dropped = direction.dropped_last?;
            let (source, out) = source_and_out(direction, dropped.values);
            let shape = [1, self.batch, direction.recurrence.output_size];
            let copy = Arrange {
                steps: 1,
                ..self.copy_all(source.part(0, shape), out.part(0, shape))
            };
            Some(copy.masked(Columns::all(dropped.mask)).into())
        });
        masked.collect()
    }

    /// Computes the states as the steps of a direction read them: the initial one, and the others
    /// after dropout.
    pub(super) fn drop_states(&self, direction: &RecordedDirection) -> Vec<Call> {
        let recurrence = &direction.recurrence;
        let Some(dropped_states) = direction
            .dropped_states
            .filter(|_| recurrence.options.drops_state)
        else {
            return vec![];
        };
        let (batch, p) = (self.batch, recurrence.output_size);
        let copy = |first: usize, steps: usize| {
            let steps_of = |tensor: Tensor| tensor.part(first * batch * p, [steps, batch, p]);
            Arrange {
                steps,
                ..self.copy_all(steps_of(recurrence.states.h), steps_of(dropped_states))
            }
        };
        let mut calls = vec![copy(0, 1).into()];
        if self.steps > 1 {
            let others = copy(1, self.steps - 1);
            calls.push(others.masked(recurrence.state_masks()).into());
        }
        calls
    }

    /// Computes the states as gate `gate` multiplies them: times its mask.
    pub(super) fn drop_for_gate(&self, direction: &RecordedDirection, gate: usize) -> Option<Call> {
        let dropped_states = direction.dropped_states?;
        let recurrence = &direction.recurrence;
        let shape = [self.steps, self.batch, recurrence.output_size];
        let copy = self.copy_all(recurrence.states.h.part(0, shape), dropped_states);
        Some(copy.masked(recurrence.gate_masks(gate)).into())
    }
}

fn repeats(layer: &Layer) -> bool {
    layer.padding == Padding::Repeat
}

/// The directions of a layer, each with its first column of what the layer emits.
fn directions_side_by_side(
    layer: &RecordedLayer,
) -> impl Iterator<Item = (&RecordedDirection, usize)> {
    layer.directions.iter().scan(0, |next, direction| {
        let first = *next;
        *next += direction.recurrence.output_size;
        Some((direction, first))
    })
}

/// Multiplies by the columns of an emission's mask from `first_column` on. The mask is in the
/// emission's order of time: that of `side`.
fn with_emission_mask(
    copy: Arrange,
    mask: Option<Tensor>,
    first_column: usize,
    side: Side,
) -> Call {
    let mask = mask.map(|mask| (Columns::all(mask).from(first_column), side));
    Arrange { mask, ..copy }.into()
}
