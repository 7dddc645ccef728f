//! States that are carried from one chunk of long sequences to the next.

use super::RecordedNetwork;
use crate::kernels::CarryState;
use crate::program::Phase;
use crate::tensor::Tensor;

impl RecordedNetwork {
    /// Records, in `phase`, that the initial states are the last states of the previous chunk, or
    /// zeros where the control words say that this is the first chunk of its sequences. Call it
    /// before [`RecordedNetwork::forward`].
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
            }
        }
    }
}
