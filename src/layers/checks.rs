//! Checks of the host's slices.

use super::lendable::Outputs;
use super::rows::StepCounts;
use super::{
    LayerElement, LayerGradients, LayerInputs, LayerOutputs, LayerUpstream, OutputRows, PassState,
    PerState, RecordedLayers,
};
use crate::error::{Error, Result};

impl<R: LayerElement> RecordedLayers<R> {
    /// Returns the layout of the rows, and the valid steps of each sequence.
    pub(super) fn check_forward(
        &self,
        inputs: &LayerInputs<R>,
        outputs: &LayerOutputs<R>,
    ) -> Result<(StepCounts, Vec<u32>)> {
        let (counts, lengths) = self.check_inputs(inputs)?;
        let width = self.layers.output_size();
        let rows = counts.total() * width;
        match &outputs.values {
            Some(OutputRows::Rows(values)) => check_len("outputs.values", values.len(), rows)?,
            Some(OutputRows::AfterInitial(values)) => {
                let initial = self.batch() * width;
                check_len("outputs.values", values.len(), initial + rows)?;
            }
            None => (),
        }
        let last = outputs.last.each_ref();
        self.check_states("outputs.last", &last.map(|s| s.as_deref().map(<[R]>::len)))?;
        Ok((counts, lengths))
    }

    fn check_inputs(&self, inputs: &LayerInputs<R>) -> Result<(StepCounts, Vec<u32>)> {
        let (counts, lengths) = inputs.rows.check(self.steps(), self.batch())?;
        let features = self.layers.network.features();
        check_len(
            "inputs.values",
            inputs.values.len(),
            counts.total() * features,
        )?;
        self.check_states("inputs.initial", &inputs.initial.map(|s| s.map(<[R]>::len)))?;
        self.check_parameters(
            "inputs.parameters",
            inputs.parameters.iter().map(|p| p.len()),
        )?;
        Ok((counts, lengths))
    }

    pub(super) fn check_backward(
        &self,
        inputs: &LayerInputs<R>,
        outputs: Option<&[R]>,
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
        let (counts, _) = self.check_inputs(inputs)?;
        if counts != self.rows {
            return Err(Error::usage(
                "inputs.rows differs from that of the forward pass; give backward_into the inputs \
                 of the last forward_into",
            ));
        }
        if let Some(Outputs::States(tensor)) = self.lendable.as_ref().map(|own| own.outputs)
            && let Some(values) = outputs.filter(|_| self.held.states)
        {
            check_len("outputs", values.len(), tensor.len())?;
        }
        self.check_upstream(upstream)?;
        self.check_gradients(gradients)
    }

    fn check_upstream(&self, upstream: &LayerUpstream<R>) -> Result<()> {
        if let Some(values) = upstream.values {
            let needed = self.rows.total() * self.layers.output_size();
            check_len("upstream.values", values.len(), needed)?;
        }
        self.check_states("upstream.last", &upstream.last.map(|s| s.map(<[R]>::len)))
    }

    fn check_gradients(&self, gradients: &LayerGradients<R>) -> Result<()> {
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
            let needed = self.rows.total() * features;
            check_len("gradients.inputs", inputs.len(), needed)?;
        }
        if gradients.parameters.is_empty() {
            return Ok(());
        }
        let entries = self.entries.iter().zip(&gradients.parameters);
        let mut lens: Vec<usize> = entries
            .map(|(entry, gradient)| {
                gradient
                    .as_ref()
                    .map_or(entry.shape.len(), |values| values.len())
            })
            .collect();
        // The count is checked too.
        lens.extend(gradients.parameters.iter().skip(lens.len()).map(|_| 0));
        self.check_parameters("gradients.parameters", lens.into_iter())
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
}

fn check_len(field: &str, len: usize, needed: usize) -> Result<()> {
    if len == needed {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{field} has {len} elements; the recording takes {needed}"
    )))
}
