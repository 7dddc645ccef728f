//! Predictions step by step, for a stream whose values come one time step at a time.

use super::predict::{State, check_states, check_whole_sequences, start_states, state_tensors};
use super::stepper::Stepper;
use crate::backend::OpenDevice;
use crate::backend::device::Device;
use crate::data::preparation::{Normal, Preparation};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::program::Phase;

/// A trained network on a device that reads one time step of one sequence at a time and keeps its
/// states. Its outputs are those of [`Predictor`](super::predict::Predictor) for the steps so far,
/// with the same bits on the CPU. There, a step allocates no memory and stays on the thread that
/// calls it.
///
/// # Examples
/// ```
/// use gatescan::{Cell, Dataset, Device, HeadRecipe, Layer, Loss, train};
/// use gatescan::{Optimizer, Reads, Recipe, StepPredictor, Targets};
/// use ndarray::{Array1, Array3};
///
/// let inputs = Array3::from_shape_fn((8, 5, 2), |(n, t, i)| (n + t + i) as f32 / 10.0);
/// let labels = Array1::from_shape_fn(8, |n| n as u32 % 2);
/// let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 2))?;
/// let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
/// let layers = vec![Layer::new(Cell::Lstm, 4)];
/// let mut recipe = Recipe::new("example", layers, head, Optimizer::adam(0.01));
/// recipe.epochs = 1;
/// let model = train::train(&recipe, &data.into(), &Device::Cpu)?;
///
/// let mut stream = StepPredictor::new(&model, &Device::Cpu)?;
/// let mut logits = [0.0; 2];
/// for value in [0.1, 0.2, 0.3] {
///     stream.step_into(&[value, value + 0.1], &mut logits)?;
/// }
/// // Another sequence.
/// stream.reset()?;
/// # Ok::<(), gatescan::Error>(())
/// ```
pub struct StepPredictor {
    stepper: Stepper,
    /// The initial states of a sequence.
    start: Vec<State>,
    /// That of the model, with an entry for each output.
    preparation: Preparation,
    /// `[I]`: the inputs of a step as the network reads them.
    prepared: Vec<f32>,
}

impl StepPredictor {
    /// Loads `model` on `device`, with zero or learnt states.
    ///
    /// # Errors
    /// [`Error::Usage`] for a model that cannot read one step after the other: of several heads, of
    /// tokens, of a bidirectional layer, of a head that needs all steps, or of inputs that are
    /// differences from earlier steps; those of parameters or of a preparation that are not the
    /// network's, and of the device.
    pub fn new(model: &Model, device: &Device) -> Result<StepPredictor> {
        StepPredictor::load(model, &OpenDevice::open(device)?)
    }

    /// [`StepPredictor::new`] on an opened device.
    ///
    /// # Errors
    /// Those of [`StepPredictor::new`].
    pub fn load(model: &Model, device: &OpenDevice) -> Result<StepPredictor> {
        check(model)?;
        let network = &model.network;
        let mut stepper = Stepper::carrying_states(model, 1, device)?;
        let parameters = stepper.network.parameters;
        stepper.executor.prepare(Phase::Evaluate, &parameters);
        stepper.begin_with_last_states()?;
        let values = network.from_parameters(&model.parameters)?;
        let mut stream = StepPredictor {
            start: start_states(&stepper.network, &values),
            stepper,
            preparation: model.preparation.of_outputs(&network.head),
            prepared: vec![0.0; network.input_size],
        };
        stream.reset()?;
        Ok(stream)
    }

    /// Number of inputs of a step.
    pub fn input_size(&self) -> usize {
        self.prepared.len()
    }

    /// Number of outputs of a step.
    pub fn output_size(&self) -> usize {
        self.stepper.network.network.head.size
    }

    /// Reads a time step, `[I]` values in the units of the training data, and writes the outputs
    /// after it to `output`, `[K]`: as
    /// [`Prediction::outputs`](super::predict::Prediction::outputs) has them.
    ///
    /// # Errors
    /// [`Error::Usage`] for other sizes and for a value that is not finite, with its index; the
    /// states are unchanged then. [`Error::Data`] for outputs that are not finite; those of the
    /// device.
    pub fn step_into(&mut self, input: &[f32], output: &mut [f32]) -> Result<()> {
        self.prepare(input)?;
        if output.len() != self.output_size() {
            return Err(Error::usage(format!(
                "the output of a step has room for {} values, and the network has {} outputs",
                output.len(),
                self.output_size()
            )));
        }
        let Stepper {
            network, executor, ..
        } = &mut self.stepper;
        executor.write(&network.inputs, &self.prepared)?;
        executor.run(&[Phase::Evaluate], 1)?;
        executor.read_into(&network.head.outputs, output)?;
        if output.iter().any(|output| !output.is_finite()) {
            return Err(Error::data(
                "the outputs of a step are not finite: its inputs, or the model's parameters, are \
                 too large for f32; check that the inputs are in the units of the training data, \
                 and reset the states",
            ));
        }
        let preparation = &self.preparation;
        if !(preparation.targets.is_empty() && preparation.residuals.is_empty()) {
            for (k, output) in output.iter_mut().enumerate() {
                *output = preparation.restore_value(k, *output, &self.prepared) as f32;
            }
        }
        Ok(())
    }

    /// [`StepPredictor::step_into`] a new vector.
    ///
    /// # Errors
    /// Those of [`StepPredictor::step_into`].
    pub fn step(&mut self, input: &[f32]) -> Result<Vec<f32>> {
        let mut output = vec![0.0; self.output_size()];
        self.step_into(input, &mut output)?;
        Ok(output)
    }

    /// Sets the states to zeros or the learnt ones: the next step is the first one of a sequence.
    ///
    /// # Errors
    /// Those of the device.
    pub fn reset(&mut self) -> Result<()> {
        self.set_states(&self.start.clone())
    }

    /// Returns the states after the last step, of one sequence, for every layer.
    ///
    /// # Errors
    /// Those of the device.
    pub fn states(&mut self) -> Result<Vec<State>> {
        let Stepper {
            network, executor, ..
        } = &mut self.stepper;
        let mut states = State::of_network(&network.network, 1);
        for (layer, state) in network.recurrences().zip(&mut states) {
            for ((_, last), part) in state_tensors(layer).into_iter().zip(state.parts()) {
                let values = executor.read(&last)?;
                part.iter_mut()
                    .zip(values)
                    .for_each(|(element, value)| *element = value);
            }
        }
        Ok(states)
    }

    /// Sets the states before the next step, of one sequence, for every layer: those of
    /// [`StepPredictor::states`] or of a [`Prediction`](super::predict::Prediction).
    ///
    /// # Errors
    /// [`Error::Usage`] for states that are not the network's, or not finite; those of the device.
    pub fn set_states(&mut self, states: &[State]) -> Result<()> {
        let Stepper {
            network, executor, ..
        } = &mut self.stepper;
        check_states(&network.network, states, 1)?;
        let mut states = states.to_vec();
        for (layer, state) in network.recurrences().zip(&mut states) {
            for ((_, last), part) in state_tensors(layer).into_iter().zip(state.parts()) {
                let values: Vec<f32> = part.iter().copied().collect();
                executor.write(&last, &values)?;
            }
        }
        Ok(())
    }

    /// Normalises the inputs of a step as those of the training data were.
    fn prepare(&mut self, input: &[f32]) -> Result<()> {
        if input.len() != self.prepared.len() {
            return Err(Error::usage(format!(
                "a step has {} values, but the network takes {}",
                input.len(),
                self.prepared.len()
            )));
        }
        if let Some(at) = input.iter().position(|value| !value.is_finite()) {
            return Err(Error::usage(format!(
                "the input at [{at}] is {}; it must be finite: fill missing values as those of the \
                 training data were",
                input[at]
            )));
        }
        self.prepared.copy_from_slice(input);
        Normal::apply_all(&self.preparation.inputs, &mut self.prepared);
        Ok(())
    }
}

/// Returns an error for a model that cannot read one step after the other.
fn check(model: &Model) -> Result<()> {
    let network = &model.network;
    model.require_one_head("a stream is predicted by one")?;
    let fits = (model.preparation).check(network.input_size, network.head.targets());
    fits.map_err(|problem| Error::usage(format!("the model's preparation: {problem}")))?;
    check_whole_sequences(network)?;
    let problem = if !network.input.is_values() {
        "the network takes tokens; predict step by step from values, or draw tokens with a Sampler"
    } else if network.layers.iter().any(|layer| layer.bidirectional) {
        "a layer is bidirectional, so that it needs all steps of a sequence at once; predict whole \
         sequences with a Predictor"
    } else if !model.preparation.differences.is_empty() {
        "inputs of the network are differences from earlier steps (data.differences); predict \
         whole windows with a Predictor"
    } else {
        return Ok(());
    };
    Err(Error::usage(problem))
}
