//! The forward and the backward pass over slices of the host.

use super::lendable::{Outputs, lend, lend_mut};
use super::{LayerElement, PassState, PerState, RecordedLayers, RowLayout};
use crate::error::Result;
use crate::kernels::control;
use crate::memory::{HostValues, LentTensor};
use crate::network::Entry;
use crate::program::Phase;
use crate::tensor::Tensor;

/// The values that a forward pass reads.
#[derive(Debug, Clone, Copy)]
pub struct LayerInputs<'a, R> {
    /// Rows of I features.
    pub values: &'a [R],
    /// The arrangement of the rows of inputs and outputs.
    pub rows: RowLayout<'a>,
    /// h, then c: `[D, B, size]` for the D directions of all layers from the first layer on, the
    /// forward direction first (PyTorch's order); `None` for zeros, or for the learnt states of a
    /// layer that has them.
    pub initial: PerState<Option<&'a [R]>>,
    /// Each parameter, in the order of [`Layers::parameters`](super::Layers::parameters).
    pub parameters: &'a [&'a [R]],
    /// The dropout masks depend on it, and on nothing else.
    pub dropout_seed: u32,
}

/// The slices that a forward pass writes.
#[derive(Debug)]
pub struct LayerOutputs<'a, R> {
    /// Rows of the last layer's outputs, where they are wanted.
    pub values: Option<OutputRows<'a, R>>,
    /// The states after each sequence's last valid step, as [`LayerInputs::initial`].
    pub last: PerState<Option<&'a mut [R]>>,
}

/// The rows of the outputs.
#[derive(Debug)]
pub enum OutputRows<'a, R> {
    /// The outputs.
    Rows(&'a mut [R]),
    /// B rows, and then the outputs. The pass may write h before the first step to those B rows,
    /// and compute in the slice without a copy. [`RecordedLayers::backward_into`] then reads it.
    AfterInitial(&'a mut [R]),
}

impl<'a, R> LayerOutputs<'a, R> {
    /// The outputs alone.
    pub fn of(values: &'a mut [R]) -> Self {
        LayerOutputs {
            values: Some(OutputRows::Rows(values)),
            last: [None, None],
        }
    }
}

/// The gradients of a scalar with respect to [`LayerOutputs`]; `None` for zeros.
#[derive(Debug, Clone, Copy)]
pub struct LayerUpstream<'a, R> {
    pub values: Option<&'a [R]>,
    pub last: PerState<Option<&'a [R]>>,
}

impl<'a, R> LayerUpstream<'a, R> {
    /// The gradient of the outputs alone.
    pub fn of(values: &'a [R]) -> Self {
        LayerUpstream {
            values: Some(values),
            last: [None, None],
        }
    }
}

/// The slices that a backward pass writes: gradients with respect to [`LayerInputs`].
#[derive(Debug, Default)]
pub struct LayerGradients<'a, R> {
    /// Zero at padded steps.
    pub inputs: Option<&'a mut [R]>,
    pub initial: PerState<Option<&'a mut [R]>>,
    /// Empty, or one for each parameter. Learnt initial states that others replaced have zeros.
    pub parameters: Vec<Option<&'a mut [R]>>,
}

/// Values that a pass copies to a slice after it has run.
struct CopiedAfter<'a, R> {
    tensor: Tensor,
    values: &'a mut [R],
}

impl<R: LayerElement> RecordedLayers<R> {
    /// Runs the forward pass.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a slice whose length does not fit the recording,
    /// or a layout that does not; those of
    /// [`Executor`](crate::low_level::backend::executor::Executor).
    pub fn forward_into(
        &mut self,
        inputs: &LayerInputs<R>,
        outputs: LayerOutputs<R>,
    ) -> Result<()> {
        let (rows, lengths) = self.check_forward(inputs, &outputs)?;
        self.rows = rows;
        self.state = PassState::Empty;
        self.copied = 0;
        self.player.write_index(&self.network.lengths, &lengths)?;
        let seed = self.control.part(control::STEP, [1]);
        self.player.write_index(&seed, &[inputs.dropout_seed])?;
        self.given_states = inputs.initial.map(|values| values.is_some());

        let LayerOutputs { values, last } = outputs;
        let mut lent = vec![];
        self.give_inputs(inputs, &mut lent)?;
        let copied_rows = self.lend_outputs(values, &mut lent);
        self.write_initial(inputs, &mut lent)?;
        self.player.run(Phase::Forward, lent)?;
        self.state = PassState::Forward;
        if let Some(values) = copied_rows {
            self.read_outputs(values)?;
        }
        self.read_last(last)?;
        self.bytes = self.player.bytes(&self.network.program);
        Ok(())
    }

    /// Runs the backward pass of the last forward pass.
    ///
    /// `inputs` are those of the forward pass, with the same values, at any address. `outputs` is
    /// the slice of [`OutputRows::AfterInitial`], as the forward pass has left it; without it,
    /// and in a second backward pass, the forward pass is run again before. Other values give
    /// gradients of neither.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) before a forward pass, for a gradient that was not
    /// recorded, and for a slice whose length does not fit; those of
    /// [`Executor`](crate::low_level::backend::executor::Executor).
    pub fn backward_into(
        &mut self,
        inputs: &LayerInputs<R>,
        outputs: Option<&[R]>,
        upstream: &LayerUpstream<R>,
        gradients: LayerGradients<R>,
    ) -> Result<()> {
        self.check_backward(inputs, outputs, upstream, &gradients)?;
        self.copied = 0;
        let is_overwritten = self.state == PassState::Backward;
        if is_overwritten || self.held.states && outputs.is_none() {
            self.forward_again(inputs)?;
        }
        let mut lent = vec![];
        self.give_held(inputs, &mut lent)?;
        if let Some(values) = outputs.filter(|_| self.held.states) {
            self.give_states(values, &mut lent)?;
        }
        self.write_upstream(upstream, &mut lent)?;
        let LayerGradients {
            inputs: dinputs,
            mut initial,
            parameters,
        } = gradients;
        let copied_rows = dinputs.and_then(|values| {
            let dinputs = self.lendable.as_ref().and_then(|own| own.dinputs);
            lend_or_return(dinputs, values, &mut lent)
        });
        let copied = self.lend_gradients(parameters, &mut lent);
        self.state = PassState::Backward;
        self.player.run(Phase::Backward, lent)?;
        if let Some(values) = copied_rows {
            self.read_input_gradient(values)?;
        }
        for CopiedAfter { tensor, values } in copied {
            self.read(&tensor, values)?;
        }
        self.read_initial_gradients(&mut initial)?;
        self.bytes = self.player.bytes(&self.network.program);
        Ok(())
    }

    /// Runs the forward pass again, with h of the last layer in memory of the recording.
    fn forward_again(&mut self, inputs: &LayerInputs<R>) -> Result<()> {
        self.held.states = false;
        let mut lent = vec![];
        self.give_held(inputs, &mut lent)?;
        self.write_initial(inputs, &mut lent)?;
        self.player.run(Phase::Forward, lent)?;
        self.state = PassState::Forward;
        Ok(())
    }

    /// Lends inputs and parameters, or copies them, and notes which.
    fn give_inputs<'h>(
        &mut self,
        inputs: &LayerInputs<'h, R>,
        lent: &mut Vec<LentTensor<'h, R>>,
    ) -> Result<()> {
        self.held.inputs = true;
        self.held.parameters = vec![true; self.entries.len()];
        self.held.states = false;
        self.give_held(inputs, lent)
    }

    /// Lends the inputs and parameters that the recording does not have, or copies those that
    /// cannot be lent, which it then has.
    fn give_held<'h>(
        &mut self,
        inputs: &LayerInputs<'h, R>,
        lent: &mut Vec<LentTensor<'h, R>>,
    ) -> Result<()> {
        if self.held.inputs {
            let lendable = self.lendable.as_ref().map(|own| own.inputs);
            match lend(lendable, inputs.values) {
                Some(part) => lent.push(part),
                None => {
                    self.write_inputs(inputs.values)?;
                    self.held.inputs = false;
                }
            }
        }
        for index in 0..self.entries.len() {
            if !self.held.parameters[index] {
                continue;
            }
            let lendable = self.lendable.as_ref();
            let values = inputs.parameters[index];
            match lend(lendable.and_then(|own| own.parameters[index]), values) {
                Some(part) => lent.push(part),
                None => {
                    let entry = &self.entries[index];
                    let tensor = self.network.parameters.part(entry.offset, entry.shape);
                    self.write(&tensor, Some(values))?;
                    self.held.parameters[index] = false;
                }
            }
        }
        Ok(())
    }

    /// Gives the backward pass h of the last layer, which the forward pass has left in the host's
    /// memory: lends it if it can be lent, and copies it otherwise.
    fn give_states<'h>(
        &mut self,
        values: &'h [R],
        lent: &mut Vec<LentTensor<'h, R>>,
    ) -> Result<()> {
        let Some(outputs) = self.lendable.as_ref().map(|own| own.outputs.tensor()) else {
            return Ok(());
        };
        match lend(Some(outputs), values) {
            Some(part) => lent.push(part),
            None => {
                self.write(&outputs, Some(values))?;
                self.held.states = false;
            }
        }
        Ok(())
    }

    /// Lends the slice of the outputs, or returns the rows that must be copied to it.
    fn lend_outputs<'h>(
        &mut self,
        values: Option<OutputRows<'h, R>>,
        lent: &mut Vec<LentTensor<'h, R>>,
    ) -> Option<&'h mut [R]> {
        let initial = self.batch() * self.layers.output_size();
        let outputs = self.lendable.as_ref().map(|own| own.outputs);
        match (values?, outputs) {
            (OutputRows::AfterInitial(values), Some(Outputs::States(tensor))) => {
                let rest = lend_or_return(Some(tensor), values, lent);
                self.held.states = rest.is_none();
                rest.map(|values| &mut values[initial..])
            }
            (OutputRows::AfterInitial(values), Some(Outputs::Emitted(tensor))) => {
                lend_or_return(Some(tensor), &mut values[initial..], lent)
            }
            (OutputRows::Rows(values), Some(Outputs::Emitted(tensor))) => {
                lend_or_return(Some(tensor), values, lent)
            }
            (OutputRows::AfterInitial(values), None) => Some(&mut values[initial..]),
            (OutputRows::Rows(values), _) => Some(values),
        }
    }

    /// Lends the slices of the parameters' gradients, and returns those that must be copied.
    fn lend_gradients<'h>(
        &self,
        parameters: Vec<Option<&'h mut [R]>>,
        lent: &mut Vec<LentTensor<'h, R>>,
    ) -> Vec<CopiedAfter<'h, R>> {
        let flat = self.network.gradients.expect("it was checked");
        let mut copied = vec![];
        for (index, values) in parameters.into_iter().enumerate() {
            let (entry, Some(values)) = (&self.entries[index], values) else {
                continue;
            };
            let state = entry.role.initial_state();
            if state.is_some_and(|state| self.given_states[state]) {
                // Others replaced them.
                values.fill(R::zero());
                continue;
            }
            let lendable = self.lendable.as_ref();
            let lendable = lendable.and_then(|own| own.gradients[index]);
            if let Some(values) = lend_or_return(lendable, values, lent) {
                let tensor = flat.part(entry.offset, entry.shape);
                copied.push(CopiedAfter { tensor, values });
            }
        }
        copied
    }

    fn write_inputs(&mut self, values: &[R]) -> Result<()> {
        let features = self.layers.network.features();
        let covered = self.rows.covered() * features;
        let tensor = self.network.inputs.part(0, [covered]);
        self.copied += values.len();
        let rows = &self.rows;
        self.player
            .fill(&tensor, |to| rows.unpack(values, to, features))
    }

    /// Writes the initial states, to lent memory where h of the last layer is there.
    fn write_initial(&mut self, inputs: &LayerInputs<R>, lent: &mut [LentTensor<R>]) -> Result<()> {
        for part in self.state_parts() {
            let values = inputs.initial[part.state].map(|values| &values[part.range.clone()]);
            let learnt = part.learnt.map(|learnt| inputs.parameters[learnt]);
            let fill = |to: &mut [R]| match (values, learnt) {
                (Some(values), _) => to.copy_from_slice(values),
                (None, Some(learnt)) => {
                    let rows = to.chunks_exact_mut(learnt.len());
                    rows.for_each(|row| row.copy_from_slice(learnt));
                }
                (None, None) => to.fill(R::zero()),
            };
            if values.is_some() || learnt.is_some() {
                self.copied += part.initial.len();
            }
            let buffer = part.initial.buffer;
            let lent = lent.iter_mut().find(|lent| lent.tensor.buffer == buffer);
            match lent.map(|lent| &mut lent.values) {
                Some(HostValues::Written(to)) => fill(&mut to[part.initial.range()]),
                _ => self.player.fill(&part.initial, fill)?,
            }
        }
        Ok(())
    }

    fn read_outputs(&mut self, values: &mut [R]) -> Result<()> {
        let width = self.layers.output_size();
        let last_layer = self.layers.network.layers.len() - 1;
        let emitted = self.network.emitted(last_layer);
        let emitted = emitted.part(0, [self.rows.covered() * width]);
        self.copied += values.len();
        let rows = &self.rows;
        self.player
            .read(&emitted, |from| rows.pack(from, values, width))
    }

    fn read_last(&mut self, mut last: PerState<Option<&mut [R]>>) -> Result<()> {
        for part in self.state_parts() {
            if let Some(values) = &mut last[part.state] {
                self.read(&part.last, &mut values[part.range])?;
            }
        }
        Ok(())
    }

    /// Lends the gradient of the outputs, or copies it, and copies those of the last states.
    fn write_upstream<'h>(
        &mut self,
        upstream: &LayerUpstream<'h, R>,
        lent: &mut Vec<LentTensor<'h, R>>,
    ) -> Result<()> {
        let lendable = self.lendable.as_ref().and_then(|own| own.upstream);
        match upstream.values.and_then(|values| lend(lendable, values)) {
            Some(part) => lent.push(part),
            None => self.write_output_gradient(upstream.values)?,
        }
        for part in self.state_parts() {
            let values = upstream.last[part.state].map(|values| &values[part.range.clone()]);
            self.write(&part.gradient, values)?;
        }
        Ok(())
    }

    fn write_output_gradient(&mut self, values: Option<&[R]>) -> Result<()> {
        let width = self.layers.output_size();
        let last_layer = self.layers.network.layers.len() - 1;
        let tensor = self
            .network
            .upstream(last_layer)
            .expect("it is recorded with the gradient of the outputs");
        let tensor = tensor.part(0, [self.rows.covered() * width]);
        self.copied += values.map_or(0, <[R]>::len);
        let rows = &self.rows;
        self.player.fill(&tensor, |to| match values {
            Some(values) => rows.unpack(values, to, width),
            None => to.fill(R::zero()),
        })
    }

    fn read_input_gradient(&mut self, values: &mut [R]) -> Result<()> {
        let dinputs = self.network.dinputs().expect("it was checked");
        let features = self.layers.network.features();
        let dinputs = dinputs.part(0, [self.rows.covered() * features]);
        self.copied += values.len();
        let rows = &self.rows;
        self.player
            .read(&dinputs, |from| rows.pack(from, values, features))
    }

    fn read_initial_gradients(&mut self, initial: &mut PerState<Option<&mut [R]>>) -> Result<()> {
        for part in self.state_parts() {
            if let Some(values) = &mut initial[part.state] {
                self.read(&part.gradient, &mut values[part.range])?;
            }
        }
        Ok(())
    }

    /// Copies values to a tensor; zeros for `None`.
    fn write(&mut self, tensor: &Tensor, values: Option<&[R]>) -> Result<()> {
        self.copied += values.map_or(0, <[R]>::len);
        self.player.write(tensor, values)
    }

    /// Copies a tensor.
    fn read(&mut self, tensor: &Tensor, values: &mut [R]) -> Result<()> {
        self.copied += values.len();
        self.player
            .read(tensor, |from| values.copy_from_slice(from))
    }

    /// Each state of each direction.
    fn state_parts(&self) -> Vec<StatePart> {
        let mut ends = [0, 0];
        let mut parts = vec![];
        let has_gradients = self.network.gradients.is_some();
        for (direction, recurrence) in self.network.recurrences().enumerate() {
            let states = [recurrence.states.h, recurrence.states.c];
            let mut offset = 0;
            for (state, len) in recurrence.state_sizes().into_iter().enumerate() {
                let dstate = recurrence.gradients.dstate;
                let last = recurrence.states.last.part(offset, [len]);
                let is_learnt = |entry: &Entry| {
                    entry.direction == Some(direction) && entry.role.initial_state() == Some(state)
                };
                parts.push(StatePart {
                    state,
                    range: ends[state]..ends[state] + len,
                    initial: states[state].part(0, [len]),
                    learnt: self.entries.iter().position(is_learnt),
                    last,
                    gradient: if has_gradients {
                        dstate.part(offset, [len])
                    } else {
                        last
                    },
                });
                ends[state] += len;
                offset += len;
            }
        }
        parts
    }
}

/// One state of one direction.
struct StatePart {
    /// 0 for h, 1 for c.
    state: usize,
    /// Its elements in the host's slice.
    range: std::ops::Range<usize>,
    initial: Tensor,
    /// The index of the parameter that it begins with, if it is learnt.
    learnt: Option<usize>,
    last: Tensor,
    /// The gradient of `last` before the backward pass, and of `initial` after it; `last` where
    /// there is none.
    gradient: Tensor,
}

/// Lends values to be written if they can stand for the tensor, or returns them.
fn lend_or_return<'h, R>(
    tensor: Option<Tensor>,
    values: &'h mut [R],
    lent: &mut Vec<LentTensor<'h, R>>,
) -> Option<&'h mut [R]> {
    match lend_mut(tensor, values) {
        Ok(part) => {
            lent.push(part);
            None
        }
        Err(values) => Some(values),
    }
}
