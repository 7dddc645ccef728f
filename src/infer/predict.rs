//! Predictions of a trained network for the caller's arrays.

use std::iter;
use std::ops::Range;

use ndarray::{
    Array2, Array3, ArrayD, ArrayView1, ArrayView2, ArrayView3, ArrayViewMut1, Axis, aview1, s,
};

use crate::backend::OpenDevice;
use crate::backend::device::Device;
use crate::backend::executor::Executor;
use crate::data::{check_lengths, check_tokens};
use crate::error::{Error, Result};
use crate::kernels::Recurrence;
use crate::model::Model;
use crate::network::{Direction, Network, Reads};
use crate::program::Phase;
use crate::record::{Gradients, RecordedNetwork};
use crate::tensor::Tensor;

/// A trained network on a device, for sequences of up to a fixed number of steps. It reads and
/// predicts values as the network has them: for a model trained on normalised data, the caller
/// normalises the inputs and converts the outputs back with [`Model::preparation`].
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
}

/// Sequences that a network predicts from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Sequences<'a> {
    /// `[N, T, I]`
    Values(ArrayView3<'a, f32>),
    /// `[N, T]`
    Tokens(ArrayView2<'a, u32>),
}

impl<'a> From<ArrayView3<'a, f32>> for Sequences<'a> {
    fn from(values: ArrayView3<'a, f32>) -> Self {
        Sequences::Values(values)
    }
}

impl<'a> From<ArrayView2<'a, u32>> for Sequences<'a> {
    fn from(tokens: ArrayView2<'a, u32>) -> Self {
        Sequences::Tokens(tokens)
    }
}

impl Sequences<'_> {
    /// N and T.
    fn dim(&self) -> (usize, usize) {
        match self {
            Sequences::Values(values) => (values.dim().0, values.dim().1),
            Sequences::Tokens(tokens) => tokens.dim(),
        }
    }

    /// Writes a batch, time-major, from sequence `first` on. Padded steps and missing sequences are
    /// zeros.
    fn write(
        &self,
        first: usize,
        lengths: &[u32],
        recorded: &RecordedNetwork,
        executor: &mut dyn Executor,
    ) -> Result<()> {
        let valid = |b: usize| ..lengths[b] as usize;
        let batch = || (0..lengths.len()).filter(|&b| lengths[b] > 0);
        match self {
            Sequences::Values(values) => {
                let shape = (recorded.steps, lengths.len(), values.dim().2);
                let mut padded = Array3::zeros(shape);
                for b in batch() {
                    let own = values.slice(s![first + b, valid(b), ..]);
                    padded.slice_mut(s![valid(b), b, ..]).assign(&own);
                }
                executor.write(&recorded.inputs, &padded.into_raw_vec_and_offset().0)
            }
            Sequences::Tokens(tokens) => {
                let mut padded = Array2::zeros((recorded.steps, lengths.len()));
                for b in batch() {
                    let own = tokens.slice(s![first + b, valid(b)]);
                    padded.slice_mut(s![valid(b), b]).assign(&own);
                }
                executor.write_index(&recorded.inputs, &padded.into_raw_vec_and_offset().0)
            }
        }
    }
}

/// The predictions of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// `[N, K]`, or `[N, T, K]` for a head that reads every step: logits of a network that
    /// classifies, else values. Padded steps are zeros.
    pub outputs: ArrayD<f32>,
    /// `[N, T, P]`: the outputs of the last layer, those of two directions side by side. Padded
    /// steps are zeros.
    pub hidden: Array3<f32>,
    /// The states after the last valid step, for every direction of every layer in PyTorch's order:
    /// `l0`, `l0_reverse`, `l1`, ... A sequence of no steps keeps its initial state.
    pub states: Vec<State>,
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
    /// Those of parameters that are not the network's, of sizes of 0, and of a device that cannot
    /// hold it.
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
        let network = &model.network;
        let tuning = device.tuning();
        let mut recorded = RecordedNetwork::new(network, steps, batch, Gradients::None, tuning)?;
        recorded.forward(Phase::Evaluate);
        let mut executor = device.load(&recorded.program)?;
        let parameters = network.from_parameters(&model.parameters)?;
        executor.write(&recorded.parameters, &parameters)?;
        Ok(Predictor { recorded, executor })
    }

    /// Predicts from sequences `[N, T, I]`, or `[N, T]` tokens. The first `lengths` `[N]` steps of
    /// each are valid, or all of them. The sequences begin with the states `initial`, or with
    /// zeros; the states of a [`Prediction`] continue its sequences. (The backward direction of a
    /// layer begins at a sequence's end, and so does its initial state.)
    ///
    /// # Errors
    /// [`Error::Usage`] for sizes that do not fit the network or each other, and for too many
    /// steps; those of the device.
    pub fn predict<'a>(
        &mut self,
        inputs: impl Into<Sequences<'a>>,
        lengths: Option<&[usize]>,
        initial: Option<&[State]>,
    ) -> Result<Prediction> {
        let inputs = inputs.into();
        let (count, steps) = inputs.dim();
        self.check_inputs(&inputs)?;
        if let Some(lengths) = lengths {
            check_lengths(lengths.iter().copied(), count, steps)?;
        }
        if let Some(initial) = initial {
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
                None => state_shapes(network, count).map(State::zeros).collect(),
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

    fn check_inputs(&self, inputs: &Sequences) -> Result<()> {
        let network = &self.recorded.network;
        let (count, steps) = inputs.dim();
        let takes = network.input_size;
        match inputs {
            Sequences::Values(_) if !network.input.is_values() => {
                return Err(Error::usage(
                    "the inputs are values, and the network takes tokens",
                ));
            }
            Sequences::Tokens(_) if network.input.is_values() => {
                return Err(Error::usage(
                    "the inputs are tokens, and the network takes values",
                ));
            }
            Sequences::Values(values) if values.dim().2 != takes => {
                return Err(Error::usage(format!(
                    "the inputs have {} features at each step, but the network takes {takes}",
                    values.dim().2
                )));
            }
            Sequences::Values(_) => {}
            Sequences::Tokens(tokens) => {
                let tokens: Vec<u32> = tokens.iter().copied().collect();
                check_tokens(&tokens, takes, &[count, steps])?;
            }
        }
        if steps > self.recorded.steps {
            return Err(Error::usage(format!(
                "the inputs have {steps} steps, and the predictor was made for at most {}",
                self.recorded.steps
            )));
        }
        Ok(())
    }
}

impl Model {
    /// Predicts from sequences `[N, T, I]`, or `[N, T]` tokens, with zero initial states, in
    /// batches of the size of training.
    ///
    /// # Errors
    /// Those of [`Predictor::new`] and [`Predictor::predict`].
    ///
    /// # Examples
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
    /// `[N, K]` or `[N, T, K]`: the softmax of the outputs, the probabilities of a network that
    /// classifies.
    pub fn probabilities(&self) -> ArrayD<f32> {
        let mut probabilities = self.outputs.clone();
        probabilities.rows_mut().into_iter().for_each(softmax);
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

    /// h, then c where there is one.
    fn parts(&mut self) -> impl Iterator<Item = &mut Array2<f32>> {
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

/// Returns an error for initial states whose number or shapes are not the network's.
fn check_states(network: &Network, initial: &[State], count: usize) -> Result<()> {
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
fn state_tensors(layer: &Recurrence) -> Vec<(Tensor, Tensor)> {
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
