//! Recurrent layers for `gatescan.torch` and `gatescan.keras`: the library's recorded layers over
//! the memory of tensors.

mod engine;
mod slices;
mod team;

use std::sync::{Arc, Mutex};

use gatescan::layers::{
    LayerGradients, LayerInputs, LayerOutputs, LayerUpstream, Layers, OutputRows, RecordedLayers,
    RecordingPool, RowLayout, WantedGradients,
};
use gatescan::network::{Bias, Dropout};
use gatescan::{Cell, Error, Layer, Result};
use numpy::{PyArray1, ndarray};
use pyo3::prelude::*;

use crate::errors::exception;
use crate::pool;
use engine::{Engine, Pooled, Waiting, engine, locked};
use slices::Address;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LayerStack>()?;
    module.add_function(wrap_pyfunction!(set_layer_device, module)?)?;
    module.add_function(wrap_pyfunction!(layer_device, module)?)
}

/// Requests a device for layers, and returns its name.
#[pyfunction]
fn set_layer_device(request: &str) -> PyResult<String> {
    // With the interpreter's lock: see `CHOICE`.
    engine::set_device(request).map_err(|error| exception(&error))
}

/// Returns the name of the device that computes layers.
#[pyfunction]
fn layer_device() -> PyResult<String> {
    let place = engine().place().map_err(|error| exception(&error))?;
    Ok(place.label())
}

/// A stack of layers of one cell and size, as PyTorch has them.
#[pyclass(frozen, module = "gatescan._gatescan")]
struct LayerStack {
    layers: Layers,
}

/// The options of a stack, in the order of the constructor's tuple.
#[derive(FromPyObject)]
struct StackOptions(
    /// The cell's name.
    String,
    /// I.
    usize,
    /// H.
    usize,
    /// P, or 0 without a projection.
    usize,
    /// L.
    usize,
    /// Whether the layers have two directions.
    bool,
    /// Whether the layers have biases.
    bool,
    /// The probability of dropout between the layers.
    f64,
);

/// What a forward pass reads, in the order of the tuple.
#[derive(FromPyObject)]
struct Given(
    /// Whether the elements are f64, and not f32.
    bool,
    /// T.
    usize,
    /// B.
    usize,
    /// The batch sizes of packed sequences.
    Option<Vec<usize>>,
    /// The gradients: 0 none, 1 without that of the inputs, 2 all.
    u8,
    /// The seed of the dropout masks.
    u32,
    /// The inputs.
    Address,
    /// The initial states.
    [Option<Address>; 2],
    /// The parameters, in the order of `parameters()`.
    Vec<Address>,
);

/// Outputs and last states, or their gradients: `[T, B, features]` or packed, `[D, B, size]`.
#[derive(FromPyObject)]
struct Emitted(Option<Address>, [Option<Address>; 2]);

/// The outputs of a forward pass, in the order of the tuple.
#[derive(FromPyObject)]
struct Written(
    /// The outputs.
    Option<Address>,
    /// Whether B rows for the initial state precede the outputs.
    bool,
    /// The last states.
    [Option<Address>; 2],
);

/// The gradients of inputs, initial states and parameters.
#[derive(FromPyObject)]
struct Gradients(Option<Address>, [Option<Address>; 2], Vec<Option<Address>>);

#[pymethods]
impl LayerStack {
    #[new]
    fn new(options: StackOptions) -> PyResult<Self> {
        let layers = stack(&options).map_err(|error| exception(&error))?;
        Ok(LayerStack { layers })
    }

    /// Returns the name and the extents of each parameter.
    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        self.layers.parameters()
    }

    /// Whether a forward pass over sequences of equal lengths computes in the memory of the
    /// outputs, if B rows precede them, and a backward pass reads it.
    fn shares_outputs(&self) -> PyResult<bool> {
        let place = engine().place().map_err(|error| exception(&error))?;
        Ok(place.is_cpu())
    }

    /// Runs the forward pass. With `keeps`, returns an array whose memory stands for the recording
    /// that a backward pass needs: the recording is kept as long as the array.
    fn forward<'py>(
        &self,
        py: Python<'py>,
        given: Given,
        written: Written,
        keeps: bool,
    ) -> PyResult<Option<Bound<'py, PyArray1<u8>>>> {
        let engine = engine();
        let place = engine.place().map_err(|error| exception(&error))?;
        let waiting = detached(py, || {
            let mut written = written;
            if given.0 {
                self.run_forward::<f64>(&place, &given, &mut written, keeps)
            } else {
                self.run_forward::<f32>(&place, &given, &mut written, keeps)
            }
        })?;
        waiting
            .map(|waiting| Reserve::keep(py, engine, waiting))
            .transpose()
    }

    /// Runs the backward pass of the forward pass with the reserve at address `reserve`, or of a
    /// forward pass that is run again, if that recording is gone. `shared` are the outputs with the
    /// rows before them, if the forward pass computed there and they are unchanged.
    fn backward(
        &self,
        py: Python<'_>,
        given: Given,
        reserve: usize,
        shared: Option<Address>,
        upstream: Emitted,
        gradients: Gradients,
    ) -> PyResult<()> {
        let engine = engine();
        let place = engine.place().map_err(|error| exception(&error))?;
        detached(py, || {
            let waiting = match engine.waiting(reserve) {
                Some(waiting) => waiting,
                None => Arc::new(self.forward_again(&place, &given)?),
            };
            let mut gradients = gradients;
            let read = (&given, shared.as_ref(), &upstream);
            let result = if given.0 {
                run_backward::<f64>(&waiting, read, &mut gradients)
            } else {
                run_backward::<f32>(&waiting, read, &mut gradients)
            };
            put_back(waiting);
            result
        })
    }
}

/// Computes without the interpreter's lock, and raises what fails.
fn detached<T: Send>(py: Python<'_>, compute: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| pool::guarded(compute))
        .map_err(|error| exception(&error))
}

/// Puts a recording that nobody waits for back into its pool.
fn put_back(waiting: Arc<Waiting>) {
    if let Some(waiting) = Arc::into_inner(waiting) {
        let recording = waiting.recording.into_inner();
        let recording = recording.unwrap_or_else(std::sync::PoisonError::into_inner);
        waiting.place.put(recording);
    }
}

fn stack(options: &StackOptions) -> Result<Layers> {
    let StackOptions(name, input_size, hidden_size, projection, count, bidirectional, bias, drop) =
        options;
    let cell = Cell::ALL.iter().find(|cell| cell.name() == name);
    let cell = *cell.ok_or_else(|| {
        let names: Vec<&str> = Cell::ALL.iter().map(|cell| cell.name()).collect();
        Error::usage(format!(
            "no cell is named `{name}`; use one of {}",
            names.join(", ")
        ))
    })?;
    let bias = if *bias {
        Bias::largest(cell)
    } else {
        Bias::None
    };
    let layer = |n: usize| Layer {
        bias,
        bidirectional: *bidirectional,
        projection_size: (*projection > 0).then_some(*projection),
        dropout: Dropout {
            output_keep_prob: if n + 1 < *count {
                keep_prob(*drop)
            } else {
                1.0
            },
            ..Dropout::default()
        },
        ..Layer::new(cell, *hidden_size)
    };
    Layers::new(*input_size, (0..*count).map(layer).collect())
}

/// The probability to keep an element. A mask keeps an element whose random word is below
/// `keep_prob * 2^32`, and so none for a probability below 2^-32, which stands for 0.
fn keep_prob(dropout: f64) -> f64 {
    (1.0 - dropout).max(2f64.powi(-40))
}

impl Given {
    fn rows(&self) -> RowLayout<'_> {
        match &self.3 {
            Some(batch_sizes) => RowLayout::Packed { batch_sizes },
            None => RowLayout::Full { steps: self.1 },
        }
    }

    /// Returns the parameters' values.
    fn parameters<R: Pooled>(&self) -> Vec<&[R]> {
        self.8.iter().map(Address::values).collect()
    }

    /// Returns what a pass reads; `parameters` are those of [`Given::parameters`].
    fn inputs<'a, R: Pooled>(&'a self, parameters: &'a [&'a [R]]) -> LayerInputs<'a, R> {
        LayerInputs {
            values: self.6.values(),
            rows: self.rows(),
            initial: values_of(&self.7),
            parameters,
            dropout_seed: self.5,
        }
    }

    /// Returns the multiply-adds of a forward pass; a backward pass has twice as many.
    fn multiply_adds(&self) -> usize {
        let rows = match &self.3 {
            Some(batch_sizes) => batch_sizes.iter().sum(),
            None => self.1 * self.2,
        };
        rows * self.8.iter().map(Address::len).sum::<usize>()
    }

    fn wanted(&self) -> WantedGradients {
        match self.4 {
            0 => WantedGradients::None,
            1 => WantedGradients::Parameters,
            _ => WantedGradients::All,
        }
    }
}

impl LayerStack {
    fn run_forward<R: Pooled>(
        &self,
        place: &Arc<engine::Place>,
        given: &Given,
        written: &mut Written,
        keeps: bool,
    ) -> Result<Option<Waiting>> {
        let pool = R::pool(place)?;
        let mut recorded: RecordedLayers<R> =
            pool.take(&self.layers, &given.rows(), given.2, given.wanted())?;
        let parameters = given.parameters();
        let inputs = given.inputs(&parameters);
        let Written(values, after_initial, last) = written;
        let rows = if *after_initial {
            OutputRows::AfterInitial
        } else {
            OutputRows::Rows
        };
        let outputs = LayerOutputs {
            values: values.as_mut().map(|values| rows(values.values_mut())),
            last: last
                .each_mut()
                .map(|state| state.as_mut().map(Address::values_mut)),
        };
        let run = || recorded.forward_into(&inputs, outputs);
        compute(pool, given.multiply_adds(), run)?;
        if !keeps {
            pool.put(recorded);
            return Ok(None);
        }
        Ok(Some(Waiting {
            recording: Mutex::new(R::wrap(recorded)),
            place: place.clone(),
        }))
    }

    fn forward_again(&self, place: &Arc<engine::Place>, given: &Given) -> Result<Waiting> {
        let mut nothing = Written(None, false, [None, None]);
        let waiting = if given.0 {
            self.run_forward::<f64>(place, given, &mut nothing, true)
        } else {
            self.run_forward::<f32>(place, given, &mut nothing, true)
        };
        Ok(waiting?.expect("it is kept"))
    }
}

/// Returns the values of the states that are given.
fn values_of<R: Pooled>(states: &[Option<Address>; 2]) -> [Option<&[R]>; 2] {
    states
        .each_ref()
        .map(|state| state.as_ref().map(Address::values))
}

/// Runs the backward pass; it reads what the forward pass was given, the outputs that are shared,
/// and the upstream gradients.
fn run_backward<R: Pooled>(
    waiting: &Waiting,
    (given, shared, upstream): (&Given, Option<&Address>, &Emitted),
    gradients: &mut Gradients,
) -> Result<()> {
    let mut recording = locked(&waiting.recording);
    let Some(recorded) = R::unwrap(&mut recording) else {
        return Err(Error::usage(
            "the reserve is that of a forward pass with another dtype; pass the reserve that the \
             forward pass returned",
        ));
    };
    let parameters = given.parameters();
    let inputs = given.inputs(&parameters);
    let outputs = shared.map(Address::values);
    let from = LayerUpstream {
        values: upstream.0.as_ref().map(Address::values),
        last: values_of(&upstream.1),
    };
    let Gradients(dinputs, dinitial, dparameters) = gradients;
    let into = LayerGradients {
        inputs: dinputs.as_mut().map(Address::values_mut),
        initial: dinitial
            .each_mut()
            .map(|state| state.as_mut().map(Address::values_mut)),
        parameters: dparameters
            .iter_mut()
            .map(|gradient| gradient.as_mut().map(Address::values_mut))
            .collect(),
    };
    let run = || recorded.backward_into(&inputs, outputs, &from, into);
    compute(R::pool(&waiting.place)?, 2 * given.multiply_adds(), run)
}

/// Computes a pass of about `multiply_adds` on the device of `recordings`.
fn compute<R: Pooled, T: Send>(
    recordings: &RecordingPool<R>,
    multiply_adds: usize,
    run: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    if recordings.device().adapter().is_some() {
        return pool::compute(run);
    }
    team::compute(multiply_adds, run)
}

/// The owner of the memory that stands for a kept recording.
#[pyclass(frozen)]
struct Reserve {
    token: ndarray::Array1<u8>,
    engine: &'static Engine,
}

impl Reserve {
    /// Keeps a recording as long as the array that is returned.
    fn keep<'py>(
        py: Python<'py>,
        engine: &'static Engine,
        waiting: Waiting,
    ) -> PyResult<Bound<'py, PyArray1<u8>>> {
        let token = ndarray::Array1::zeros(1);
        engine.keep(token.as_ptr() as usize, Arc::new(waiting));
        let reserve = Bound::new(py, Reserve { token, engine })?;
        // SAFETY: the array keeps its container, which owns the memory and never changes it.
        #[allow(unsafe_code)]
        unsafe {
            Ok(PyArray1::borrow_from_array(
                &reserve.get().token,
                reserve.clone().into_any(),
            ))
        }
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        // A lock of the parent may be held for ever in a forked child.
        if self.engine.is_of_this_process() {
            self.engine.release(self.token.as_ptr() as usize);
        }
    }
}
