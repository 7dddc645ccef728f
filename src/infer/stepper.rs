//! A network that is run again and again on its own outputs.

use crate::backend::OpenDevice;
use crate::backend::executor::Executor;
use crate::error::Result;
use crate::kernels::control;
use crate::model::Model;
use crate::program::Phase;
use crate::record::{Gradients, RecordedNetwork};
use crate::tensor::{Element, Kind, Tensor};

/// A model loaded on a device for sequences of a fixed number of time steps.
pub(super) struct Stepper {
    pub(super) network: RecordedNetwork,
    pub(super) executor: Box<dyn Executor>,
    /// The word that says which chunk of time is next, until it says that it is not the first one.
    first_chunk: Option<Tensor>,
}

impl Stepper {
    /// Loads a network that reads one time step of `batch` sequences at a time. It starts with zero
    /// or learnt states and carries its states from step to step.
    pub(super) fn carrying_states(
        model: &Model,
        batch: usize,
        device: &OpenDevice,
    ) -> Result<Stepper> {
        let mut network = record(model, 1, batch, device)?;
        let words = [control::WORDS];
        let program = &mut network.program;
        let control = program.buffer("control", Kind::Control, Element::Index, words);
        network.carry_states(Phase::Evaluate, control);
        network.forward(Phase::Evaluate);
        let mut stepper = Stepper::load(model, network, device)?;
        stepper.first_chunk = Some(control.part(control::CHUNK, [1]));
        Ok(stepper)
    }

    /// Loads a network that reads a window of `steps` time steps of one sequence, from zero or
    /// learnt states.
    pub(super) fn of_window(model: &Model, steps: usize, device: &OpenDevice) -> Result<Stepper> {
        let mut network = record(model, steps, 1, device)?;
        network.forward(Phase::Evaluate);
        Stepper::load(model, network, device)
    }

    /// Loads the recorded network, its parameters, and full lengths.
    fn load(model: &Model, network: RecordedNetwork, device: &OpenDevice) -> Result<Stepper> {
        let mut executor = device.load(&network.program)?;
        let parameters = model.network.from_parameters(&model.parameters)?;
        executor.write(&network.parameters, &parameters)?;
        let lengths = vec![network.steps as u32; network.batch];
        executor.write_index(&network.lengths, &lengths)?;
        Ok(Stepper {
            network,
            executor,
            first_chunk: None,
        })
    }

    /// Runs the forward pass over the inputs.
    pub(super) fn run(&mut self) -> Result<()> {
        self.executor.run(&[Phase::Evaluate], 1)?;
        self.begin_with_last_states()
    }

    /// Begins the next run with the last states: any chunk but the first does so.
    pub(super) fn begin_with_last_states(&mut self) -> Result<()> {
        match self.first_chunk.take() {
            Some(chunk) => self.executor.write_index(&chunk, &[1]),
            None => Ok(()),
        }
    }
}

fn record(
    model: &Model,
    steps: usize,
    batch: usize,
    device: &OpenDevice,
) -> Result<RecordedNetwork> {
    let tuning = device.tuning();
    RecordedNetwork::new(&model.network, steps, batch, Gradients::None, tuning)
}
