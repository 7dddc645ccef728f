//! Predictions of a trained network for the caller's arrays.

use std::iter;
use std::ops::Range;

use ndarray::{Array2, Array3, ArrayD, ArrayView1, ArrayViewMut1, Axis, aview1, s};

use super::outputs::{interpret, sigmoid};
pub use super::sequences::Sequences;
use super::sequences::{NetworkInputs, check_finite};
use crate::backend::OpenDevice;
use crate::backend::device::Device;
use crate::backend::executor::Executor;
use crate::data::preparation::Preparation;
use crate::data::{check_lengths, check_tokens};
use crate::error::{Error, Result};
use crate::kernels::Recurrence;
use crate::model::Model;
use crate::network::{Direction, Head, Network, Reads};
use crate::program::Phase;
use crate::record::{Gradients, RecordedNetwork};
use crate::tensor::Tensor;

/// A trained network on a device, for sequences of up to a fixed number of steps. Inputs and
/// predicted values are in the units of the data that the model was trained on, before they were
/// normalised.
///
/// # Examples
/// ```
/// use gatescan::train;
/// use gatescan::{Cell, Dataset, Device, HeadRecipe, Layer, Loss};
/// use gatescan::{Optimizer, Predictor, Reads, Recipe, Targets};
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
/// // Two sequences of at most 5 steps at a time; the first has 5 valid steps, the second 3.
/// let mut predictor = Predictor::new(&model, 5, 2, &Device::Cpu)?;
/// let two = inputs.slice(ndarray::s![..2, .., ..]);
/// let first = predictor.predict(two, Some(&[5, 3]), None)?;
/// assert_eq!(first.probabilities().shape(), [2, 2]);
/// // The final states continue the same sequences.
/// let next = predictor.predict(two, None, Some(&first.states))?;
/// assert_eq!(next.classes().shape(), [2]);
/// # Ok::<(), gatescan::Error>(())
/// ```
pub struct Predictor {
    recorded: RecordedNetwork,
    executor: Box<dyn Executor>,
    /// That of the model, with an entry for each output.
    preparation: Preparation,
    /// The initial states of one sequence, zeros where they are not learnt.
    start: Vec<State>,
}

/// The predictions of a network. They are finite: [`Predictor::predict`] refuses outputs that are
/// not.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// `[N, K]`, or `[N, T, K]` for a head that reads every step: logits of a network that
    /// classifies or has labels, else values in the units of the training data: quantiles as the
    /// network has them, or means, followed by the logarithms of variances. At padded steps, the
    /// network's outputs are zeros.
    pub outputs: ArrayD<f32>,
    /// `[N, T, P]`: the outputs of the last layer, those of two directions side by side. Padded
    /// steps are zeros.
    pub hidden: Array3<f32>,
    /// The states after the last valid step, for every direction of every layer in PyTorch's order:
    /// `l0`, `l0_reverse`, `l1`, ... A sequence of no steps keeps its initial state.
    pub states: Vec<State>,
    /// The outputs of a model whose target values were prepared, in f64.
    restored: Option<ArrayD<f64>>,
    head: Head,
}

/// The states of one direction of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// `[N, P]`
    pub h: Array2<f32>,
    /// `[N, H]`; of an LSTM.
    pub c: Option<Array2<f32>>,
}

/// A prediction in progress: the arrays that each batch fills.
struct PredictionArrays {
    /// `[N, T or 1, K]`
    outputs: Array3<f32>,
    /// `[N, T, P]`
    hidden: Array3<f32>,
    /// Initial states, and final states for the batches that are done.
    states: Vec<State>,
}

impl Predictor {
    /// Records the network for `batch` sequences at a time, of at most `steps` steps, and loads it
    /// on `device`.
    ///
    /// # Errors
    /// Those of parameters or of a preparation that are not the network's, of sizes of 0, and of a
    /// device that cannot hold it.
    pub fn new(model: &Model, steps: usize, batch: usize, device: &Device) -> Result<Predictor> {
        Predictor::load(model, steps, batch, &OpenDevice::open(device)?)
    }

    /// [`Predictor::new`] on an opened device.
    ///
    /// # Errors
    /// Those of [`Predictor::new`].
    pub fn load(
        model: &Model,
        steps: usize,
        batch: usize,
        device: &OpenDevice,
    ) -> Result<Predictor> {
        model.require_one_head("a prediction is of one")?;
        let network = &model.network;
        let fits = model
            .preparation
            .check(network.input_size, network.head.targets());
        fits.map_err(|problem| Error::usage(format!("the model's preparation: {problem}")))?;
        let tuning = device.tuning();
        let mut recorded = RecordedNetwork::new(network, steps, batch, Gradients::None, tuning)?;
        recorded.take_states_from_host(Phase::Evaluate);
        recorded.forward(Phase::Evaluate);
        let mut executor = device.load(&recorded.program)?;
        let parameters = network.from_parameters(&model.parameters)?;
        executor.write(&recorded.parameters, &parameters)?;
        Ok(Predictor {
            start: start_states(&recorded, &parameters),
            recorded,
            executor,
            preparation: model.preparation.of_outputs(&network.head),
        })
    }

    /// Predicts from sequences `[N, T, I]` in the units of the training data, or `[N, T]` tokens.
    /// The first `lengths` `[N]` steps of each are valid, or all of them. The sequences begin with
    /// the states `initial`, or with zeros or the learnt states; the states of a [`Prediction`]
    /// continue its sequences.
    /// (The backward direction of a layer begins at a sequence's end, and so does its initial
    /// state.)
    ///
    /// # Errors
    /// [`Error::Usage`] for sizes that do not fit the network or each other, for too many steps,
    /// and for values at valid steps and states that are not finite, with their index;
    /// [`Error::Data`] for outputs that are not finite, with the sequence; those of the device.
    pub fn predict<'a>(
        &mut self,
        inputs: impl Into<Sequences<'a>>,
        lengths: Option<&[usize]>,
        initial: Option<&[State]>,
    ) -> Result<Prediction> {
        let sequences = inputs.into();
        let number = &|n| n;
        let differences = self.preparation.differences.len();
        self.check_inputs(&sequences, differences, lengths, number)?;
        let inputs = NetworkInputs::normalised(sequences, &self.preparation.inputs);
        let inputs = inputs.with_differences(&self.preparation);
        let prediction = self.predict_inputs(&inputs, lengths, initial, number)?;
        Ok(prediction.in_units_of_data(&self.preparation, &inputs, lengths))
    }

    /// [`Predictor::predict`] with inputs and outputs as the network has them: normalised where the
    /// training data were. Messages call sequence n `number(n)`.
    ///
    /// # Errors
    /// Those of [`Predictor::predict`].
    pub(crate) fn predict_prepared<'a>(
        &mut self,
        inputs: impl Into<Sequences<'a>>,
        lengths: Option<&[usize]>,
        initial: Option<&[State]>,
        number: &dyn Fn(usize) -> usize,
    ) -> Result<Prediction> {
        let sequences = inputs.into();
        self.check_inputs(&sequences, 0, lengths, number)?;
        self.predict_inputs(
            &NetworkInputs::prepared(sequences),
            lengths,
            initial,
            number,
        )
    }

    fn predict_inputs(
        &mut self,
        inputs: &NetworkInputs,
        lengths: Option<&[usize]>,
        initial: Option<&[State]>,
        number: &dyn Fn(usize) -> usize,
    ) -> Result<Prediction> {
        let (count, steps) = inputs.dim();
        if let NetworkInputs::Values(values) = inputs {
            // In deviations, values may be too large for f32.
            check_finite(values.view(), lengths, number)?;
        }
        if let Some(initial) = initial {
            check_whole_sequences(&self.recorded.network)?;
            check_states(&self.recorded.network, initial, count)?;
        }
        let mut arrays = self.arrays(count, steps, initial);
        let batch = self.recorded.batch;
        for first in (0..count).step_by(batch) {
            let sequences = first..(first + batch).min(count);
            let length = |n: usize| lengths.map_or(steps, |lengths| lengths[n]) as u32;
            // Missing sequences of the last batch are empty.
            let mut valid: Vec<u32> = sequences.clone().map(length).collect();
            valid.resize(batch, 0);
            let executor = self.executor.as_mut();
            inputs.write(first, &valid, &self.recorded, executor)?;
            executor.write_index(&self.recorded.lengths, &valid)?;
            self.write_states(&sequences, &mut arrays.states)?;
            self.executor.run(&[Phase::Evaluate], 1)?;
            self.read_batch(&sequences, &valid, &mut arrays)?;
            arrays.check_outputs(sequences, number)?;
        }
        let PredictionArrays {
            outputs,
            hidden,
            states,
        } = arrays;
        let outputs = if self.reads_every() {
            outputs.into_dyn()
        } else {
            outputs.index_axis_move(Axis(1), 0).into_dyn()
        };
        Ok(Prediction {
            outputs,
            hidden,
            states,
            restored: None,
            head: self.recorded.network.head,
        })
    }

    fn reads_every(&self) -> bool {
        self.recorded.network.head.reads == Reads::Every
    }

    /// Zeros for `count` sequences of `steps` steps, and the initial states.
    fn arrays(&self, count: usize, steps: usize, initial: Option<&[State]>) -> PredictionArrays {
        let network = &self.recorded.network;
        let rows = if self.reads_every() { steps } else { 1 };
        PredictionArrays {
            outputs: Array3::zeros((count, rows, network.head.size)),
            hidden: Array3::zeros((count, steps, network.head_inputs())),
            states: match initial {
                Some(initial) => initial.to_vec(),
                None => self.start.iter().map(|of| of.repeated(count)).collect(),
            },
        }
    }

    /// Writes the initial states of a batch.
    fn write_states(&mut self, sequences: &Range<usize>, states: &mut [State]) -> Result<()> {
        for (layer, state) in self.recorded.recurrences().zip(states) {
            for ((initial, _), part) in state_tensors(layer).into_iter().zip(state.parts()) {
                let own = part.slice(s![sequences.clone(), ..]);
                let mut values: Vec<f32> = own.iter().copied().collect();
                values.resize(initial.len(), 0.0);
                self.executor.write(&initial, &values)?;
            }
        }
        Ok(())
    }

    /// Reads outputs, hidden values and final states of a batch.
    fn read_batch(
        &mut self,
        sequences: &Range<usize>,
        lengths: &[u32],
        arrays: &mut PredictionArrays,
    ) -> Result<()> {
        let reads_every = self.reads_every();
        let (recorded, executor) = (&self.recorded, self.executor.as_mut());
        let last_layer = recorded.network.layers.len() - 1;
        let length = |b: usize| lengths[b] as usize;
        let outputs = |b: usize| if reads_every { length(b) } else { 1 };
        let values = executor.read(&recorded.head.outputs)?;
        copy_batch(
            &values,
            recorded.batch,
            sequences,
            &mut arrays.outputs,
            outputs,
        );
        let values = executor.read(&recorded.emitted(last_layer))?;
        copy_batch(
            &values,
            recorded.batch,
            sequences,
            &mut arrays.hidden,
            length,
        );
        for (layer, state) in recorded.recurrences().zip(&mut arrays.states) {
            for ((_, last), part) in state_tensors(layer).into_iter().zip(state.parts()) {
                let values = executor.read(&last)?;
                let mut own = part.slice_mut(s![sequences.clone(), ..]);
                own.iter_mut()
                    .zip(values)
                    .for_each(|(element, value)| *element = value);
            }
        }
        Ok(())
    }

    /// Checks sizes, lengths and tokens, and that values at valid steps are finite.
    fn check_inputs(
        &self,
        inputs: &Sequences,
        differences: usize,
        lengths: Option<&[usize]>,
        number: &dyn Fn(usize) -> usize,
    ) -> Result<()> {
        let network = &self.recorded.network;
        let (count, steps) = inputs.dim();
        // The last inputs may follow from the others.
        let takes = network.input_size - differences;
        let has = match inputs.features() {
            Some(_) => "values",
            None => "tokens",
        };
        let reads = if network.input.is_values() {
            "values"
        } else {
            "tokens"
        };
        if has != reads {
            return Err(Error::usage(format!(
                "the inputs are {has}, and the network takes {reads}"
            )));
        }
        if let Some(features) = inputs.features().filter(|&features| features != takes) {
            return Err(Error::usage(format!(
                "the inputs have {features} features at each step, but the network takes {takes}"
            )));
        }
        if steps > self.recorded.steps {
            return Err(Error::usage(format!(
                "the inputs have {steps} steps, and the predictor was made for at most {}",
                self.recorded.steps
            )));
        }
        if let Some(lengths) = lengths {
            check_lengths(lengths.iter().copied(), count, steps)?;
        }
        match inputs {
            Sequences::Values(values) => check_finite(values.view(), lengths, number),
            Sequences::Doubles(values) => check_finite(values.view(), lengths, number),
            Sequences::Tokens(tokens) => {
                let tokens: Vec<u32> = tokens.iter().copied().collect();
                check_tokens(&tokens, takes, &[count, steps])
            }
        }
    }
}

impl PredictionArrays {
    /// Returns an error for the first of these sequences whose outputs are not finite.
    fn check_outputs(
        &self,
        mut sequences: Range<usize>,
        number: &dyn Fn(usize) -> usize,
    ) -> Result<()> {
        let is_finite = |n: &usize| {
            let outputs = self.outputs.index_axis(Axis(0), *n);
            outputs.iter().all(|output| output.is_finite())
        };
        match sequences.find(|n| !is_finite(n)) {
            None => Ok(()),
            Some(n) => Err(Error::data(format!(
                "the outputs of sequence {} are not finite: its inputs, or the model's \
                 parameters, are too large for f32; check that the inputs are in the units of the \
                 training data",
                number(n)
            ))),
        }
    }
}

impl Model {
    /// Predicts from sequences `[N, T, I]`, or `[N, T]` tokens, with zero or learnt initial states,
    /// in batches of the size of training. Inputs, and the outputs of a model that predicts values,
    /// are in the units of the data that the model was trained on: a model of normalised data
    /// normalises its inputs and restores its outputs ([`Model::preparation`]).
    ///
    /// # Errors
    /// Those of [`Predictor::new`] and [`Predictor::predict`].
    ///
    /// # Examples
    /// A model that was trained on prices takes prices and predicts prices:
    /// ```no_run
    /// use std::path::Path;
    ///
    /// use gatescan::{Device, Model};
    /// use ndarray::arr3;
    ///
    /// let model = Model::load(Path::new("runs/prices/model.safetensors"))?;
    /// let last_days = arr3(&[[[1210.5], [1214.0], [1209.0]]]);
    /// let next = model.predict(last_days.view(), &Device::Cpu)?;
    /// println!("tomorrow: {}", next.outputs[[0, 0]]);
    /// # Ok::<(), gatescan::Error>(())
    /// ```
    ///
    /// A model that classifies:
    /// ```no_run
    /// use std::path::Path;
    ///
    /// use gatescan::{Device, Model};
    /// use ndarray::Array3;
    ///
    /// let model = Model::load(Path::new("runs/mnist/model.safetensors"))?;
    /// let digits = Array3::<f32>::zeros((10, 28, 28));
    /// let classes = model.predict(digits.view(), &Device::Cpu)?.classes();
    /// println!("{classes}");
    /// # Ok::<(), gatescan::Error>(())
    /// ```
    pub fn predict<'a>(
        &self,
        inputs: impl Into<Sequences<'a>>,
        device: &Device,
    ) -> Result<Prediction> {
        let inputs = inputs.into();
        let (count, steps) = inputs.dim();
        let batch = self.recipe.batch_size.min(count).max(1);
        Predictor::new(self, steps, batch, device)?.predict(inputs, None, None)
    }
}

impl Prediction {
    /// Converts the outputs to the units of the data.
    fn in_units_of_data(
        mut self,
        preparation: &Preparation,
        inputs: &NetworkInputs,
        lengths: Option<&[usize]>,
    ) -> Prediction {
        if preparation.targets.is_empty() && preparation.residuals.is_empty() {
            return self;
        }
        let reads_every = self.outputs.ndim() == 3;
        let mut restored = self.outputs.mapv(f64::from);
        let sequences = restored.outer_iter_mut().zip(self.outputs.outer_iter());
        for (n, (mut values, outputs)) in sequences.enumerate() {
            let outputs: Vec<f32> = outputs.iter().copied().collect();
            let rows = inputs.rows_of_outputs(n, reads_every, lengths);
            let own = preparation.restore(&outputs, &rows);
            let each = values.iter_mut().zip(own);
            each.for_each(|(value, own)| *value = own);
        }
        self.outputs = restored.mapv(|value| value as f32);
        self.restored = Some(restored);
        self
    }

    /// `[N, K]` or `[N, T, K]`: the outputs in f64, for values that differ less than f32 can tell
    /// apart. The quantiles of each target are sorted, and logarithms of variances are standard
    /// deviations.
    pub fn values(&self) -> ArrayD<f64> {
        let mut values = match &self.restored {
            Some(restored) => restored.clone(),
            None => self.outputs.mapv(f64::from),
        };
        for mut row in values.rows_mut() {
            let mut interpreted = row.to_vec();
            interpret(&self.head, &mut interpreted);
            row.assign(&aview1(&interpreted));
        }
        values
    }

    /// `[N, K]` or `[N, T, K]`: the probabilities of a network that classifies, the softmax of the
    /// outputs; or of each label of a network of labels, their sigmoid.
    pub fn probabilities(&self) -> ArrayD<f32> {
        let of_row = if self.head.loss.takes_labels() {
            sigmoid
        } else {
            softmax
        };
        let mut probabilities = self.outputs.clone();
        probabilities.rows_mut().into_iter().for_each(of_row);
        probabilities
    }

    /// `[N]` or `[N, T]`: the class with the largest output, the first among equals.
    pub fn classes(&self) -> ArrayD<u32> {
        let classes = Axis(self.outputs.ndim() - 1);
        self.outputs.map_axis(classes, |row| largest(row) as u32)
    }
}

/// Converts logits to probabilities.
pub(crate) fn softmax(mut row: ArrayViewMut1<f32>) {
    let largest = row.fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
    row.mapv_inplace(|logit| (logit - largest).exp());
    let sum = row.sum();
    row.mapv_inplace(|power| power / sum);
}

/// The index of the largest element, the first among equals.
pub(crate) fn largest(row: ArrayView1<f32>) -> usize {
    let larger = |best: usize, k: usize| if row[k] > row[best] { k } else { best };
    (0..row.len()).fold(0, larger)
}

impl State {
    fn zeros((h, c): StateShape) -> State {
        State {
            h: Array2::zeros(h),
            c: c.map(Array2::zeros),
        }
    }

    /// The states of one sequence for `count` of them.
    fn repeated(&self, count: usize) -> State {
        let repeat = |of_one: &Array2<f32>| {
            let width = of_one.ncols();
            Array2::from_shape_fn((count, width), |(_, unit)| of_one[[0, unit]])
        };
        State {
            h: repeat(&self.h),
            c: self.c.as_ref().map(repeat),
        }
    }

    /// Zeros for `count` sequences, for every direction of every layer.
    pub(super) fn of_network(network: &Network, count: usize) -> Vec<State> {
        state_shapes(network, count).map(State::zeros).collect()
    }

    /// h, then c where there is one.
    pub(super) fn parts(&mut self) -> impl Iterator<Item = &mut Array2<f32>> {
        iter::once(&mut self.h).chain(&mut self.c)
    }
}

/// `[N, P]` of h, and `[N, H]` of c where there is one.
type StateShape = ((usize, usize), Option<(usize, usize)>);

/// The shapes of the states of `count` sequences, for every direction of every layer.
fn state_shapes(network: &Network, count: usize) -> impl Iterator<Item = StateShape> {
    let shape = move |Direction { layer, .. }: Direction| {
        let c = (layer.cell.spec().states > 1).then_some((count, layer.hidden_size));
        ((count, layer.output_size()), c)
    };
    network.directions().into_iter().map(shape)
}

/// Returns the initial states of one sequence for every direction: the learnt ones, else zeros.
/// `flat` holds the parameters.
pub(super) fn start_states(recorded: &RecordedNetwork, flat: &[f32]) -> Vec<State> {
    let mut states = State::of_network(&recorded.network, 1);
    let learnt = recorded.entries.iter().filter_map(|entry| {
        let state = entry.role.initial_state()?;
        Some((entry, entry.direction?, state))
    });
    for (entry, direction, state) in learnt {
        let values = aview1(&flat[entry.range()]);
        let mut parts = states[direction].parts();
        let part = parts.nth(state).expect("a learnt state is of the cell");
        part.row_mut(0).assign(&values);
    }
    states
}

/// Returns an error for a network that reduces all steps of a sequence to one output, which the
/// steps after given states do not suffice for.
pub(super) fn check_whole_sequences(network: &Network) -> Result<()> {
    let reads = network.head.reads;
    if reads.pools() {
        return Err(Error::usage(format!(
            "the head has reads = \"{}\", which needs all steps of a sequence at once; predict \
             whole sequences, without states to continue from, or train a head with reads = \
             \"last\" or \"every\"",
            reads.name()
        )));
    }
    Ok(())
}

/// Returns an error for initial states whose number or shapes are not the network's, or whose
/// values are not finite.
pub(super) fn check_states(network: &Network, initial: &[State], count: usize) -> Result<()> {
    let (given, needed) = (initial.len(), network.directions().len());
    if given != needed {
        return Err(Error::usage(format!(
            "there are {given} initial states, and the network has {needed}: one for each \
             direction of each layer"
        )));
    }
    for (n, (state, needed)) in initial.iter().zip(state_shapes(network, count)).enumerate() {
        let given = (state.h.dim(), state.c.as_ref().map(|c| c.dim()));
        if given != needed {
            return Err(Error::usage(format!(
                "initial state {n} has {}; it must have {}",
                shape_text(given),
                shape_text(needed)
            )));
        }
        let parts = [("h", Some(&state.h)), ("c", state.c.as_ref())];
        for (part, values) in parts {
            let mut indexed = values.into_iter().flat_map(|values| values.indexed_iter());
            if let Some(((sequence, unit), value)) = indexed.find(|(_, value)| !value.is_finite()) {
                return Err(Error::usage(format!(
                    "initial state {n} has {value} in {part} at [{sequence}, {unit}]; states must \
                     be finite"
                )));
            }
        }
    }
    Ok(())
}

fn shape_text(((n, p), c): StateShape) -> String {
    match c {
        Some((n_c, h)) => format!("h [{n}, {p}] and c [{n_c}, {h}]"),
        None => format!("h [{n}, {p}] and no c"),
    }
}

/// The tensors of a layer's states before the first step and after the last valid one: h `[B, P]`,
/// then c `[B, H]`.
pub(super) fn state_tensors(layer: &Recurrence) -> Vec<(Tensor, Tensor)> {
    let mut offset = 0;
    [layer.states.h, layer.states.c]
        .into_iter()
        .zip(layer.state_sizes())
        .map(|(state, size)| {
            let tensors = (
                state.part(0, [size]),
                layer.states.last.part(offset, [size]),
            );
            offset += size;
            tensors
        })
        .collect()
}

/// Copies a batch of `values` `[T, B, width]` to its sequences in `out` `[N, T, width]`: of
/// sequence b of the batch the first `steps(b)` steps.
fn copy_batch(
    values: &[f32],
    batch: usize,
    sequences: &Range<usize>,
    out: &mut Array3<f32>,
    steps: impl Fn(usize) -> usize,
) {
    let width = out.dim().2;
    for (row, values) in values.chunks_exact(width).enumerate() {
        let (t, b) = (row / batch, row % batch);
        if b < sequences.len() && t < steps(b) {
            out.slice_mut(s![sequences.start + b, t, ..])
                .assign(&aview1(values));
        }
    }
}
