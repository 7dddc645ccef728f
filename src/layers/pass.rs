//! The forward and the backward pass over slices of the host.

use super::{LayerElement, PassState, PerState, RecordedLayers, RowLayout};
use crate::error::{Error, Result};
use crate::kernels::control;
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
    pub values: Option<&'a mut [R]>,
    /// The states after each sequence's last valid step, as [`LayerInputs::initial`].
    pub last: PerState<Option<&'a mut [R]>>,
}

impl<'a, R> LayerOutputs<'a, R> {
    /// The outputs alone.
    pub fn of(values: &'a mut [R]) -> Self {
        LayerOutputs {
            values: Some(values),
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

impl<R: LayerElement> RecordedLayers<R> {
    /// Runs the forward pass.
    ///
    /// # Errors
    /// [`Error::Usage`] for a slice whose length does not fit the recording, or a layout that does
    /// not; those of [`Executor`](crate::low_level::backend::executor::Executor).
    pub fn forward_into(
        &mut self,
        inputs: &LayerInputs<R>,
        outputs: LayerOutputs<R>,
    ) -> Result<()> {
        let (counts, lengths) = inputs.rows.check(self.steps(), self.batch())?;
        let features = self.layers.network.features();
        let width = self.layers.output_size();
        check_len(
            "inputs.values",
            inputs.values.len(),
            counts.total() * features,
        )?;
        if let Some(values) = &outputs.values {
            check_len("outputs.values", values.len(), counts.total() * width)?;
        }
        self.check_states("inputs.initial", &inputs.initial.map(|s| s.map(<[R]>::len)))?;
        let last = outputs.last.each_ref();
        self.check_states("outputs.last", &last.map(|s| s.as_deref().map(<[R]>::len)))?;
        self.check_parameters(
            "inputs.parameters",
            inputs.parameters.iter().map(|p| p.len()),
        )?;
        self.rows = counts;
        self.state = PassState::Empty;
        self.write_inputs(inputs, &lengths)?;
        self.player.run(Phase::Forward)?;
        self.state = PassState::Forward;
        self.read_outputs(outputs)
    }

    /// Runs the backward pass of the last forward pass. It may be run again; the forward pass is
    /// then run again before it, since the backward pass overwrites what it reads.
    ///
    /// # Errors
    /// [`Error::Usage`] before a forward pass, for a gradient that was not recorded, and for a
    /// slice whose length does not fit; those of
    /// [`Executor`](crate::low_level::backend::executor::Executor).
    pub fn backward_into(
        &mut self,
        upstream: &LayerUpstream<R>,
        gradients: LayerGradients<R>,
    ) -> Result<()> {
        self.check_backward(upstream, &gradients)?;
        if self.state == PassState::Backward {
            self.player.run(Phase::Forward)?;
        }
        self.write_upstream(upstream)?;
        self.state = PassState::Backward;
        self.player.run(Phase::Backward)?;
        self.read_gradients(gradients)
    }

    fn check_backward(
        &self,
        upstream: &LayerUpstream<R>,
        gradients: &LayerGradients<R>,
    ) -> Result<()> {
        if self.state == PassState::Empty {
            return Err(Error::usage(
                "backward_into needs a forward pass; call forward_into first",
            ));
        }
        if self.network.gradients.is_none() {
            return Err(Error::usage(
                "the layers were recorded without gradients; record them with \
                 WantedGradients::All",
            ));
        }
        let rows = self.rows.total();
        if let Some(values) = upstream.values {
            check_len(
                "upstream.values",
                values.len(),
                rows * self.layers.output_size(),
            )?;
        }
        self.check_states("upstream.last", &upstream.last.map(|s| s.map(<[R]>::len)))?;
        let initial = gradients.initial.each_ref();
        let lens = initial.map(|s| s.as_deref().map(<[R]>::len));
        self.check_states("gradients.initial", &lens)?;
        if let Some(inputs) = &gradients.inputs {
            if self.network.dinputs().is_none() {
                return Err(Error::usage(
                    "gradients.inputs was given to layers recorded for the gradients of \
                     parameters; record them with WantedGradients::All",
                ));
            }
            let features = self.layers.network.features();
            check_len("gradients.inputs", inputs.len(), rows * features)?;
        }
        if gradients.parameters.is_empty() {
            return Ok(());
        }
        let entries = self.entries.iter().zip(&gradients.parameters);
        let lens = entries.map(|(entry, gradient)| {
            gradient
                .as_ref()
                .map_or(entry.shape.len(), |values| values.len())
        });
        self.check_parameters("gradients.parameters", lens)
    }

    /// Checks the lengths of the states that are given.
    fn check_states(&self, field: &str, lens: &PerState<Option<usize>>) -> Result<()> {
        let sizes = self.layers.state_sizes();
        for (state, len) in lens.iter().enumerate() {
            if let Some(len) = len {
                check_len(
                    &format!("{field}[{state}]"),
                    *len,
                    sizes[state] * self.batch(),
                )?;
            }
        }
        Ok(())
    }

    fn check_parameters(&self, field: &str, lens: impl Iterator<Item = usize>) -> Result<()> {
        let lens: Vec<usize> = lens.collect();
        check_len(field, lens.len(), self.entries.len())?;
        for (entry, len) in self.entries.iter().zip(lens) {
            check_len(&format!("{field}, {}", entry.name), len, entry.shape.len())?;
        }
        Ok(())
    }

    fn write_inputs(&mut self, inputs: &LayerInputs<R>, lengths: &[u32]) -> Result<()> {
        let features = self.layers.network.features();
        let given = self
            .network
            .inputs
            .part(0, [self.rows.covered() * features]);
        let rows = &self.rows;
        self.player
            .fill(&given, |to| rows.unpack(inputs.values, to, features))?;
        for (entry, values) in self.entries.iter().zip(inputs.parameters) {
            let tensor = self.network.parameters.part(entry.offset, entry.shape);
            self.player.write(&tensor, Some(values))?;
        }
        self.player.write_index(&self.network.lengths, lengths)?;
        let seed = self.control.part(control::STEP, [1]);
        self.player.write_index(&seed, &[inputs.dropout_seed])?;
        self.given_states = inputs.initial.map(|values| values.is_some());
        for part in self.state_parts() {
            let values = inputs.initial[part.state].map(|values| &values[part.range.clone()]);
            match part.learnt.filter(|_| values.is_none()) {
                Some(learnt) => {
                    let learnt = inputs.parameters[learnt];
                    self.player.fill(&part.initial, |to| {
                        let rows = to.chunks_exact_mut(learnt.len());
                        rows.for_each(|row| row.copy_from_slice(learnt));
                    })?;
                }
                None => self.player.write(&part.initial, values)?,
            }
        }
        Ok(())
    }

    fn read_outputs(&mut self, outputs: LayerOutputs<R>) -> Result<()> {
        if let Some(values) = outputs.values {
            let width = self.layers.output_size();
            let last_layer = self.layers.network.layers.len() - 1;
            let emitted = self.network.emitted(last_layer);
            let emitted = emitted.part(0, [self.rows.covered() * width]);
            let rows = &self.rows;
            self.player
                .read(&emitted, |from| rows.pack(from, values, width))?;
        }
        let mut last = outputs.last;
        for part in self.state_parts() {
            if let Some(values) = &mut last[part.state] {
                let to = &mut values[part.range.clone()];
                self.player
                    .read(&part.last, |from| to.copy_from_slice(from))?;
            }
        }
        Ok(())
    }

    fn write_upstream(&mut self, upstream: &LayerUpstream<R>) -> Result<()> {
        let width = self.layers.output_size();
        let last_layer = self.layers.network.layers.len() - 1;
        let tensor = self
            .network
            .upstream(last_layer)
            .expect("it is recorded with the gradient of the outputs");
        let tensor = tensor.part(0, [self.rows.covered() * width]);
        let rows = &self.rows;
        self.player.fill(&tensor, |to| match upstream.values {
            Some(values) => rows.unpack(values, to, width),
            None => to.fill(R::zero()),
        })?;
        for part in self.state_parts() {
            let values = upstream.last[part.state].map(|values| &values[part.range.clone()]);
            self.player.write(&part.gradient, values)?;
        }
        Ok(())
    }

    fn read_gradients(&mut self, mut gradients: LayerGradients<R>) -> Result<()> {
        if let (Some(values), Some(dinputs)) = (gradients.inputs, self.network.dinputs()) {
            let features = self.layers.network.features();
            let dinputs = dinputs.part(0, [self.rows.covered() * features]);
            let rows = &self.rows;
            self.player
                .read(&dinputs, |from| rows.pack(from, values, features))?;
        }
        let flat = self.network.gradients.expect("it was checked");
        for (entry, values) in self.entries.iter().zip(gradients.parameters) {
            let state = entry.role.initial_state();
            let is_replaced = state.is_some_and(|state| self.given_states[state]);
            if let Some(values) = values {
                if is_replaced {
                    values.fill(R::zero());
                    continue;
                }
                let tensor = flat.part(entry.offset, entry.shape);
                self.player
                    .read(&tensor, |from| values.copy_from_slice(from))?;
            }
        }
        for part in self.state_parts() {
            if let Some(values) = &mut gradients.initial[part.state] {
                let to = &mut values[part.range.clone()];
                self.player
                    .read(&part.gradient, |from| to.copy_from_slice(from))?;
            }
        }
        Ok(())
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

fn check_len(field: &str, len: usize, needed: usize) -> Result<()> {
    if len == needed {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{field} has {len} elements; the recording takes {needed}"
    )))
}
