//! The states before the first step: learnt ones, and those that are carried from one chunk of long
//! sequences to the next.

use super::{RecordedDirection, RecordedNetwork, Start};
use crate::kernels::{Call, CarryState, InitialState, InitialStateGradient};
use crate::program::Phase;
use crate::tensor::Tensor;

impl RecordedNetwork {
    /// Records, in `phase`, that the initial states are the last states of the previous chunk, or
    /// zeros or the learnt states where the control words say that this is the first chunk of its
    /// sequences. Call it before [`RecordedNetwork::forward`].
    pub fn carry_states(&mut self, phase: Phase, control: Tensor) {
        if self.recompute.is_some() {
            let states = self.initial_states().into_iter();
            let calls = states.map(|(initial, recurrence)| CarryState {
                last: recurrence.states.last,
                control,
                initial,
            });
            let calls: Vec<CarryState> = calls.collect();
            calls
                .into_iter()
                .for_each(|call| self.program.push(phase, call));
            return;
        }
        for layer in &self.layers {
            for direction in &layer.directions {
                let recurrence = &direction.recurrence;
                let states = [recurrence.states.h, recurrence.states.c].into_iter();
                let mut offset = 0;
                for (state, len) in states.zip(recurrence.state_sizes()) {
                    let call = CarryState {
                        last: recurrence.states.last.part(offset, [len]),
                        control,
                        initial: state.part(0, [len]),
                    };
                    self.program.push(phase, call);
                    offset += len;
                }
                for call in direction.learnt_states(Some(control)) {
                    self.program.push(phase, call);
                }
            }
        }
        self.starts.push((phase, Start::Carried(control)));
    }

    /// Leaves the initial states of `phase`, learnt or not, to the host, which writes them before
    /// each forward pass. Call it before [`RecordedNetwork::forward`].
    pub fn take_states_from_host(&mut self, phase: Phase) {
        self.starts.push((phase, Start::Given));
    }

    /// Returns where the initial states of a phase come from; `None` for zeros and learnt states.
    pub(super) fn start_of(&self, phase: Phase) -> Option<Start> {
        let mut starts = self.starts.iter();
        let found = starts.find(|(of, _)| *of == phase);
        found.map(|(_, start)| *start)
    }

    /// The gradients of learnt initial states, which `dstate` holds for each sequence.
    pub(super) fn initial_state_gradients(&self, direction: &RecordedDirection) -> Vec<Call> {
        let recurrence = &direction.recurrence;
        let control = match self.start_of(Phase::Forward) {
            Some(Start::Carried(control)) => Some(control),
            Some(Start::Given) | None => None,
        };
        let gradients = direction.gradients().initial.into_iter();
        let mut offset = 0;
        let mut calls = vec![];
        for (gradient, len) in gradients.zip(recurrence.state_sizes()) {
            let dstate = recurrence.gradients.dstate.part(offset, [len]);
            offset += len;
            calls.extend(gradient.map(|out| {
                InitialStateGradient {
                    dstate,
                    control,
                    out,
                }
                .into()
            }));
        }
        calls
    }
}

impl RecordedDirection {
    /// Sets the learnt initial states, where there are any; with control words only in the first
    /// chunk.
    pub(super) fn learnt_states(&self, control: Option<Tensor>) -> Vec<Call> {
        let recurrence = &self.recurrence;
        let states = [recurrence.states.h, recurrence.states.c].into_iter();
        let states = states.zip(recurrence.state_sizes());
        let learnt = self.parameters.initial.into_iter().zip(states);
        let call = |(learnt, (state, len)): (Option<Tensor>, (Tensor, usize))| {
            let call = InitialState {
                learnt: learnt?,
                control,
                initial: state.part(0, [len]),
            };
            Some(call.into())
        };
        learnt.filter_map(call).collect()
    }
}
