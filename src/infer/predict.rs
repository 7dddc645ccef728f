//! Predicting: a trained network over arrays that the caller holds.

use std::iter;

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

/// A trained network on a device, ready for sequences of up to so many steps. It reads and gives numbers as the network has them:
/// those of a model trained on normalised data are the caller's to prepare and to undo by [`Model::preparation`].
pub struct Predictor {
    model: RecordedNetwork,
    executor: Box<dyn Executor>,
}

/// Sequences that a network is to answer.
#[derive(Debug, Clone, Copy)]
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

    /// Writes the sequences from `first` on, time-major, with zeros past each end and where the batch is not full.
    fn write(
        &self,
        first: usize,
        lengths: &[u32],
        model: &RecordedNetwork,
        executor: &mut dyn Executor,
    ) -> Result<()> {
        let valid = |b: usize| ..lengths[b] as usize;
        match self {
            Sequences::Values(values) => {
                let mut padded = Array3::zeros((model.steps, lengths.len(), values.dim().2));
                for b in (0..lengths.len()).filter(|&b| lengths[b] > 0) {
                    let own = values.slice(s![first + b, valid(b), ..]);
                    padded.slice_mut(s![valid(b), b, ..]).assign(&own);
                }
                executor.write(&model.inputs, &padded.into_raw_vec_and_offset().0)
            }
            Sequences::Tokens(tokens) => {
                let mut padded = Array2::zeros((model.steps, lengths.len()));
                for b in (0..lengths.len()).filter(|&b| lengths[b] > 0) {
                    let own = tokens.slice(s![first + b, valid(b)]);
                    padded.slice_mut(s![valid(b), b]).assign(&own);
                }
                executor.write_index(&model.inputs, &padded.into_raw_vec_and_offset().0)
            }
        }
    }
}

/// What a network answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// `[N, K]`, or `[N, T, K]` for a head that reads every step: logits for a network that classifies, else values. Zeros
    /// past a sequence's end.
    pub outputs: ArrayD<f32>,
    /// `[N, T, P]`: what the last layer emits, two directions side by side. Zeros past a sequence's end.
    pub hidden: Array3<f32>,
    /// After the last valid step, for every direction of every layer in PyTorch's order: `l0`, `l0_reverse`, `l1`, ... A
    /// sequence of no steps keeps its initial state.
    pub states: Vec<State>,
}

/// The states of one direction of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// `[N, P]`
    pub h: Array2<f32>,
    /// `[N, H]`, of an LSTM.
    pub c: Option<Array2<f32>>,
}

impl Predictor {
    /// Records the network for `batch` sequences at a time, of up to `steps` steps, and loads it on `device`.
    ///
    /// # Errors
    /// A model whose parameters are not its network's, sizes of 0, a device that cannot hold it.
    pub fn new(saved: &Model, steps: usize, batch: usize, device: &Device) -> Result<Predictor> {
        Predictor::load(saved, steps, batch, &OpenDevice::open(device)?)
    }

    /// [`Predictor::new`] on a device that is open already.
    ///
    /// # Errors
    /// Those of [`Predictor::new`].
    pub fn load(
        saved: &Model,
        steps: usize,
        batch: usize,
        place: &OpenDevice,
    ) -> Result<Predictor> {
        let network = &saved.network;
        let mut model =
            RecordedNetwork::new(network, steps, batch, Gradients::None, place.tuning())?;
        model.forward(Phase::Evaluate);
        let mut executor = place.load(&model.program)?;
        executor.write(
            &model.parameters,
            &network.from_parameters(&saved.parameters)?,
        )?;
        Ok(Predictor { model, executor })
    }

    /// Answers sequences `[N, T, I]`, or `[N, T]` tokens, of which only the first `lengths` `[N]` steps are valid, or all. They begin with the
    /// states `initial`, or with zeros; the states of a [`Prediction`] continue its sequences. (The backward direction of a
    /// layer begins at a sequence's end, and so does its initial state.)
    ///
    /// # Errors
    /// [`Error::Usage`] for sizes that are not the network's or disagree, and for more steps than there is room for; what the
    /// device reports.
    pub fn predict<'a>(
        &mut self,
        inputs: impl Into<Sequences<'a>>,
        lengths: Option<&[usize]>,
        initial: Option<&[State]>,
    ) -> Result<Prediction> {
        let inputs = inputs.into();
        self.check(&inputs, lengths, initial)?;
        let (model, executor) = (&self.model, self.executor.as_mut());
        let (network, batch) = (&model.network, model.batch);
        let (count, steps) = inputs.dim();
        let length = |n: usize| lengths.map_or(steps, |lengths| lengths[n]);
        let every = network.head.reads == Reads::Every;
        let answers = |n: usize| if every { length(n) } else { 1 };
        let emitted = model.emitted(network.layers.len() - 1);

        let rows = if every { steps } else { 1 };
        let mut outputs = Array3::zeros((count, rows, network.head.size));
        let mut hidden = Array3::zeros((count, steps, network.head_inputs()));
        let mut states = match initial {
            Some(initial) => initial.to_vec(),
            None => shapes(network, count).map(State::zeros).collect(),
        };
        for first in (0..count).step_by(batch) {
            let sequences = first..(first + batch).min(count);
            // Empty sequences where the batch is not full.
            let mut valid: Vec<u32> = sequences.clone().map(|n| length(n) as u32).collect();
            valid.resize(batch, 0);
            inputs.write(first, &valid, model, executor)?;
            executor.write_index(&model.lengths, &valid)?;
            for (layer, state) in model.recurrences().zip(&mut states) {
                for ((before, _), part) in places(layer).into_iter().zip(state.parts()) {
                    let own = part.slice(s![sequences.clone(), ..]);
                    let mut values: Vec<f32> = own.iter().copied().collect();
                    values.resize(before.len(), 0.0);
                    executor.write(&before, &values)?;
                }
            }

            executor.run(&[Phase::Evaluate], 1)?;

            let values = executor.read(&model.head.outputs)?;
            place(&values, batch, first, &mut outputs, answers);
            let values = executor.read(&emitted)?;
            place(&values, batch, first, &mut hidden, length);
            for (layer, state) in model.recurrences().zip(&mut states) {
                for ((_, after), part) in places(layer).into_iter().zip(state.parts()) {
                    let values = executor.read(&after)?;
                    let mut own = part.slice_mut(s![sequences.clone(), ..]);
                    own.iter_mut().zip(values).for_each(|(to, from)| *to = from);
                }
            }
        }
        let outputs = match every {
            true => outputs.into_dyn(),
            false => outputs.index_axis_move(Axis(1), 0).into_dyn(),
        };
        Ok(Prediction {
            outputs,
            hidden,
            states,
        })
    }

    fn check(
        &self,
        inputs: &Sequences,
        lengths: Option<&[usize]>,
        initial: Option<&[State]>,
    ) -> Result<()> {
        let network = &self.model.network;
        let (count, steps) = inputs.dim();
        let takes = network.input_size;
        match inputs {
            Sequences::Values(_) if !network.input.is_values() => {
                return Err(Error::usage(
                    "the inputs are numbers, and the network takes tokens",
                ));
            }
            Sequences::Tokens(_) if network.input.is_values() => {
                return Err(Error::usage(
                    "the inputs are tokens, and the network takes numbers",
                ));
            }
            Sequences::Values(values) if values.dim().2 != takes => {
                return Err(Error::Usage(format!(
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
        if steps > self.model.steps {
            return Err(Error::Usage(format!(
                "the inputs have {steps} steps, and the predictor was made for at most {}",
                self.model.steps
            )));
        }
        if let Some(lengths) = lengths {
            check_lengths(lengths.iter().copied(), count, steps)?;
        }
        let Some(initial) = initial else {
            return Ok(());
        };
        let (given, needed) = (initial.len(), network.directions().len());
        if given != needed {
            return Err(Error::Usage(format!(
                "there are {given} initial states, and the network has {needed}: one for each direction of each layer"
            )));
        }
        for (n, (state, needed)) in initial.iter().zip(shapes(network, count)).enumerate() {
            let given = (state.h.dim(), state.c.as_ref().map(|c| c.dim()));
            if given != needed {
                let say = |((n, p), c): Shapes| match c {
                    Some((n_c, h)) => format!("h [{n}, {p}] and c [{n_c}, {h}]"),
                    None => format!("h [{n}, {p}] and no c"),
                };
                return Err(Error::Usage(format!(
                    "initial state {n} has {}; it must have {}",
                    say(given),
                    say(needed)
                )));
            }
        }
        Ok(())
    }
}

impl Model {
    /// Answers sequences `[N, T, I]`, or `[N, T]` tokens, from zero states, in batches of the size it was trained with.
    ///
    /// # Errors
    /// Those of [`Predictor::new`] and [`Predictor::predict`].
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
    /// `[N, K]` or `[N, T, K]`: the softmax of the outputs, which is what a network that classifies means by them.
    pub fn probabilities(&self) -> ArrayD<f32> {
        let mut probabilities = self.outputs.clone();
        probabilities.rows_mut().into_iter().for_each(softmax);
        probabilities
    }

    /// `[N]` or `[N, T]`: the class with the largest output, the first of equals.
    pub fn classes(&self) -> ArrayD<u32> {
        let classes = Axis(self.outputs.ndim() - 1);
        self.outputs.map_axis(classes, |row| largest(row) as u32)
    }
}

/// Logits become probabilities.
pub(crate) fn softmax(mut row: ArrayViewMut1<f32>) {
    let largest = row.fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
    row.mapv_inplace(|logit| (logit - largest).exp());
    let sum = row.sum();
    row.mapv_inplace(|power| power / sum);
}

/// The place of the largest, the first of equals.
pub(crate) fn largest(row: ArrayView1<f32>) -> usize {
    let larger = |best: usize, k: usize| if row[k] > row[best] { k } else { best };
    (0..row.len()).fold(0, larger)
}

impl State {
    fn zeros((h, c): Shapes) -> State {
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
type Shapes = ((usize, usize), Option<(usize, usize)>);

/// The shapes of `count` sequences' states.
fn shapes(network: &Network, count: usize) -> impl Iterator<Item = Shapes> {
    let shape = move |Direction { layer, .. }: Direction| {
        let c = (layer.cell.facts().states > 1).then_some((count, layer.hidden_size));
        ((count, layer.output_size()), c)
    };
    network.directions().into_iter().map(shape)
}

/// Where a layer's states stand before the first step and after the last valid one: h `[B, P]`, then c `[B, H]`.
fn places(layer: &Recurrence) -> Vec<(Tensor, Tensor)> {
    let mut skip = 0;
    [layer.states.h, layer.states.c]
        .into_iter()
        .zip(layer.state_sizes())
        .map(|(state, size)| {
            let place = (state.part(0, [size]), layer.states.last.part(skip, [size]));
            skip += size;
            place
        })
        .collect()
}

/// Puts of `values` `[T, B, width]`, whose first sequence is `first` of `into` `[N, T, width]`, as many steps of sequence n as
/// `steps(n)` says.
fn place(
    values: &[f32],
    batch: usize,
    first: usize,
    into: &mut Array3<f32>,
    steps: impl Fn(usize) -> usize,
) {
    let (count, _, width) = into.dim();
    for (row, values) in values.chunks_exact(width).enumerate() {
        let (t, n) = (row / batch, first + row % batch);
        if n < count && t < steps(n) {
            into.slice_mut(s![n, t, ..]).assign(&aview1(values));
        }
    }
}
