//! A trained model: predictions, files, and other frameworks' forms.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gatescan::data::source::{ForecastRequest, PredictionInputs};
use gatescan::formats::{ImportHints, onnx, pytorch};
use gatescan::infer::dataset::{PredictedSteps, predict_dataset};
use gatescan::infer::decoding::{Decoding, decode};
use gatescan::infer::forecast::forecast;
use gatescan::infer::generate::Context;
use gatescan::infer::outputs::output_names;
use gatescan::infer::predict::{Prediction, Sequences, State};
use gatescan::infer::requests::load_inputs;
use gatescan::low_level::kernels::Tally;
use gatescan::metrics::OutputMetrics;
use gatescan::network::Parameter;
use gatescan::train::{Evaluation, EvaluationData};
use gatescan::{DataRecipe, Error, Loss, Model, Predictor, Reads, Result, Split, train};
use ndarray::{Array2, Axis, s};
use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArray3, PyArrayDyn, PyReadonlyArray2, PyReadonlyArray3,
    PyReadonlyArrayDyn,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde_json::json;

use crate::data::dataset;
use crate::devices::open;
use crate::errors::{computed, exception};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyModel>()?;
    module.add_function(wrap_pyfunction!(import_state_dict, module)?)
}

/// A trained model.
#[pyclass(frozen, name = "Model", module = "gatescan._gatescan")]
pub struct PyModel {
    pub(crate) model: Arc<Model>,
}

impl PyModel {
    pub fn new(model: Model) -> PyModel {
        PyModel {
            model: model.into(),
        }
    }
}

/// Initial or final states of one direction of a layer: `h`, and `c` of an LSTM.
type States<'py> = (Bound<'py, PyArray2<f32>>, Option<Bound<'py, PyArray2<f32>>>);
type ReadStates<'py> = (
    PyReadonlyArray2<'py, f32>,
    Option<PyReadonlyArray2<'py, f32>>,
);

/// Sequences to predict from, which this owns.
enum Owned {
    Values(ndarray::Array3<f32>),
    Doubles(ndarray::Array3<f64>),
    Tokens(ndarray::Array2<u32>),
}

impl Owned {
    fn of(inputs: &Bound<'_, PyAny>) -> PyResult<Owned> {
        if let Ok(values) = inputs.extract::<PyReadonlyArray3<f32>>() {
            Ok(Owned::Values(values.as_array().to_owned()))
        } else if let Ok(values) = inputs.extract::<PyReadonlyArray3<f64>>() {
            Ok(Owned::Doubles(values.as_array().to_owned()))
        } else if let Ok(tokens) = inputs.extract::<PyReadonlyArray2<u32>>() {
            Ok(Owned::Tokens(tokens.as_array().to_owned()))
        } else {
            Err(PyTypeError::new_err(
                "inputs must be float32 or float64 [N, T, I], or uint32 tokens [N, T]",
            ))
        }
    }

    fn view(&self) -> Sequences<'_> {
        match self {
            Owned::Values(values) => Sequences::Values(values.view()),
            Owned::Doubles(values) => Sequences::Doubles(values.view()),
            Owned::Tokens(tokens) => Sequences::Tokens(tokens.view()),
        }
    }

    /// N and T.
    fn dim(&self) -> (usize, usize) {
        match self {
            Owned::Values(values) => (values.dim().0, values.dim().1),
            Owned::Doubles(values) => (values.dim().0, values.dim().1),
            Owned::Tokens(tokens) => tokens.dim(),
        }
    }
}

#[pymethods]
impl PyModel {
    /// Reads a model's file, or the model of a run directory.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<(PyModel, Vec<String>)> {
        computed(py, || {
            let mut problems = vec![];
            let (model, _) = gatescan::run::load_model(&path, &mut |problem| {
                problems.push(problem.to_string())
            })?;
            Ok((PyModel::new(model), problems))
        })
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        computed(py, || self.model.save(&path))
    }

    /// The names of several heads; empty for one.
    #[getter]
    fn heads(&self) -> Vec<String> {
        let heads = self.model.network.heads.iter();
        heads.map(|head| head.name.clone()).collect()
    }

    /// The model with one of several heads as its only one.
    fn head(&self, py: Python<'_>, name: &str) -> PyResult<PyModel> {
        computed(py, || {
            let index = self.model.head_named(name)?;
            Ok(PyModel::new(self.model.of_head(index)))
        })
    }

    /// Whether the outputs are logits of classes.
    #[getter]
    fn classifies(&self) -> bool {
        self.model.network.head.loss.takes_classes()
    }

    /// Whether the outputs are logits of several labels, each 0 or 1.
    #[getter]
    fn has_labels(&self) -> bool {
        self.model.network.head.loss.takes_labels()
    }

    /// Whether the outputs are logits of classes and of the blank, from which lists of labels are
    /// decoded.
    #[getter]
    fn has_lists(&self) -> bool {
        self.model.network.head.loss.takes_lists()
    }

    /// Decodes probabilities `[N, T, K]` as lists of labels, by the likeliest path or by a beam.
    #[pyo3(signature = (probabilities, lengths, beam))]
    fn decode(
        &self,
        py: Python<'_>,
        probabilities: PyReadonlyArray3<'_, f32>,
        lengths: Option<Vec<usize>>,
        beam: Option<usize>,
    ) -> PyResult<Vec<Vec<u32>>> {
        let probabilities = probabilities.as_array().to_owned();
        computed(py, || {
            let decoding = match beam {
                Some(width) => Decoding::Beam { width },
                None => Decoding::BestPath,
            };
            let steps = probabilities.dim().1;
            let each = probabilities.outer_iter().enumerate();
            let lists = each.map(|(n, rows)| {
                let length = lengths.as_ref().map_or(steps, |lengths| lengths[n]);
                decode(rows.slice(s![..length, ..]), decoding).labels
            });
            Ok(lists.collect())
        })
    }

    /// Whether the head reads every time step.
    #[getter]
    fn every_step(&self) -> bool {
        self.model.network.head.reads == Reads::Every
    }

    /// K.
    #[getter]
    fn outputs(&self) -> usize {
        self.model.network.head.size
    }

    /// I, or V of tokens, without inputs that the library computes of others.
    #[getter]
    fn input_size(&self) -> usize {
        self.model.network.input_size - self.model.preparation.differences.len()
    }

    /// Whether the inputs are tokens.
    #[getter]
    fn reads_tokens(&self) -> bool {
        !self.model.network.input.is_values()
    }

    /// The names of the classes; empty where they are numbers.
    #[getter]
    fn classes(&self) -> Vec<String> {
        self.model.preparation.classes.clone()
    }

    /// The recipe as one JSON object.
    #[getter]
    fn recipe(&self, py: Python<'_>) -> PyResult<String> {
        computed(py, || crate::recipes::to_json(&self.model.recipe))
    }

    /// The network as one JSON object.
    #[getter]
    fn network(&self) -> String {
        json!(self.model.network).to_string()
    }

    /// Predicts. Returns logits or values in f32, values in f64, hidden states and final states.
    #[pyo3(signature = (inputs, lengths, initial, device))]
    #[allow(clippy::type_complexity)]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyAny>,
        lengths: Option<Vec<usize>>,
        initial: Option<Vec<ReadStates<'py>>>,
        device: &str,
    ) -> PyResult<(
        Bound<'py, PyArrayDyn<f32>>,
        Bound<'py, PyArrayDyn<f64>>,
        Bound<'py, PyArrayDyn<f32>>,
        Bound<'py, PyArray3<f32>>,
        Vec<States<'py>>,
    )> {
        let inputs = Owned::of(inputs)?;
        let initial = initial.map(|states| states.iter().map(state_of).collect::<Vec<State>>());
        let (prediction, values, probabilities) = computed(py, || {
            let prediction = self.play(&inputs, lengths.as_deref(), initial.as_deref(), device)?;
            let (values, probabilities) = (prediction.values(), prediction.probabilities());
            Ok((prediction, values, probabilities))
        })?;
        let states = prediction.states.into_iter().map(|State { h, c }| {
            let c = c.map(|c| c.into_pyarray(py));
            (h.into_pyarray(py), c)
        });
        Ok((
            prediction.outputs.into_pyarray(py),
            values.into_pyarray(py),
            probabilities.into_pyarray(py),
            prediction.hidden.into_pyarray(py),
            states.collect(),
        ))
    }

    /// Predicts for the windows of a table or series. Returns the name of the column of groups and
    /// the group of each window, the last row of its group that each reads (from 1), the names of
    /// the outputs, the outputs `[N, K]` (probabilities of classes), and notes.
    #[allow(clippy::type_complexity)]
    fn predict_file<'py>(
        &self,
        py: Python<'py>,
        file: PathBuf,
        device: &str,
    ) -> PyResult<(
        Option<String>,
        Vec<String>,
        Vec<usize>,
        Vec<String>,
        Bound<'py, PyArray2<f64>>,
        Vec<String>,
    )> {
        let (inputs, outputs) = computed(py, || self.play_file(&file, device))?;
        let PredictionInputs {
            data,
            windows,
            notes,
        } = inputs;
        let windows = windows.expect("it was checked");
        let length = |n: usize| {
            let lengths = data.lengths.as_ref();
            lengths.map_or(data.steps, |lengths| lengths[n] as usize)
        };
        let starts = windows.starts.into_iter().enumerate();
        let (groups, rows) = starts
            .map(|(n, (group, first))| (group, first + length(n)))
            .unzip();
        let outputs = outputs.into_pyarray(py);
        Ok((windows.group, groups, rows, self.names(), outputs, notes))
    }

    /// Evaluates the model on one split, as one JSON object.
    #[pyo3(signature = (inputs, targets, lengths, device))]
    fn evaluate(
        &self,
        py: Python<'_>,
        inputs: Bound<'_, PyAny>,
        targets: Bound<'_, PyAny>,
        lengths: Option<Vec<usize>>,
        device: &str,
    ) -> PyResult<String> {
        let network = &self.model.network;
        let vocabulary = (!network.input.is_values()).then_some(network.input_size);
        let lists = network.head.loss.takes_lists();
        let data = dataset(
            (inputs, targets, lengths),
            network.head.size,
            vocabulary,
            lists,
        )?;
        computed(py, || {
            let batch = self.model.recipe.batch_size;
            let done = train::evaluate_on(&self.model, &data, batch, &open(device)?)?;
            Ok(evaluated(&done))
        })
    }

    /// Evaluates the model on a file of the kind that it was trained on, as one JSON object. Also
    /// returns notes.
    fn evaluate_file(
        &self,
        py: Python<'_>,
        file: PathBuf,
        device: &str,
    ) -> PyResult<(String, Vec<String>)> {
        computed(py, || {
            let mut given = EvaluationData::of_file(&self.model, &file, None)?;
            if given.train.is_none() {
                // It says that there are no baselines, of which nothing is returned.
                given.notes.pop();
            }
            let batch = self.model.recipe.batch_size;
            let done = train::evaluate_on(&self.model, &given.data, batch, &open(device)?)?;
            Ok((evaluated(&done), given.notes))
        })
    }

    /// Continues the series of a file of the kind that the model was trained on. Returns the names
    /// of the columns, the values `[steps, columns]`, the step from which they diverge, and notes.
    #[pyo3(signature = (file, group, steps, window, device))]
    #[allow(clippy::type_complexity)]
    fn forecast<'py>(
        &self,
        py: Python<'py>,
        file: Option<PathBuf>,
        group: Option<String>,
        steps: usize,
        window: bool,
        device: &str,
    ) -> PyResult<(
        Vec<String>,
        Bound<'py, PyArray1<f64>>,
        Option<usize>,
        Vec<String>,
    )> {
        let (columns, values, diverges, notes) = computed(py, || {
            let file = file.as_deref();
            self.continued(file, group.as_deref(), steps, window, device)
        })?;
        Ok((columns, values.into_pyarray(py), diverges, notes))
    }

    /// The parameters under PyTorch's names.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let arrays = PyDict::new(py);
        for Parameter {
            name,
            shape,
            values,
        } in &self.model.parameters
        {
            let array = ndarray::ArrayD::from_shape_vec(shape.clone(), values.clone());
            let array = array.map_err(|error| PyTypeError::new_err(error.to_string()))?;
            arrays.set_item(name, array.into_pyarray(py))?;
        }
        Ok(arrays)
    }

    /// Returns the model with other parameters, which must be exactly those of its network.
    fn with_parameters(
        &self,
        py: Python<'_>,
        parameters: Vec<(String, PyReadonlyArrayDyn<'_, f32>)>,
    ) -> PyResult<PyModel> {
        let mut parameters: Vec<Parameter> = parameters
            .iter()
            .map(|(name, array)| Parameter {
                name: name.clone(),
                shape: array.as_array().shape().to_vec(),
                values: array.as_array().iter().copied().collect(),
            })
            .collect();
        computed(py, || {
            parameters.sort_by(|a, b| a.name.cmp(&b.name));
            parameters.iter().try_for_each(Parameter::check_finite)?;
            self.model.network.from_parameters(&parameters)?;
            let mut model = (*self.model).clone();
            model.parameters = parameters;
            Ok(PyModel::new(model))
        })
    }

    /// The model as an ONNX file.
    fn onnx<'py>(&self, py: Python<'py>, lengths: bool) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = computed(py, || onnx::export(&self.model, lengths))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// The `state_dict` as safetensors, and the text of the module that loads the file `weights`.
    fn torch<'py>(
        &self,
        py: Python<'py>,
        weights: &str,
    ) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let export = computed(py, || pytorch::export(&self.model, weights))?;
        Ok((PyBytes::new(py, &export.weights), export.python))
    }

    /// The bytes of the model's file.
    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let module = py.import("gatescan._gatescan")?;
        let restore = module.getattr("Model")?.getattr("from_bytes")?;
        let bytes = self.model.to_bytes().map_err(|problem| {
            let error = gatescan::Error::Data(problem);
            exception(&error)
        })?;
        Ok((restore, (PyBytes::new(py, &bytes),)))
    }

    #[staticmethod]
    fn from_bytes(file: &[u8]) -> PyResult<PyModel> {
        let model = Model::from_bytes(file);
        model
            .map(PyModel::new)
            .map_err(|problem| exception(&gatescan::Error::Data(problem)))
    }
}

impl PyModel {
    fn play(
        &self,
        inputs: &Owned,
        lengths: Option<&[usize]>,
        initial: Option<&[State]>,
        device: &str,
    ) -> Result<Prediction> {
        let (count, steps) = inputs.dim();
        let batch = self.model.recipe.batch_size.min(count).max(1);
        let mut predictor = Predictor::load(&self.model, steps, batch, &open(device)?)?;
        predictor.predict(inputs.view(), lengths, initial)
    }

    /// Predicts for a file; returns what was read and the outputs `[N, K]`.
    fn play_file(&self, file: &Path, device: &str) -> Result<(PredictionInputs, Array2<f64>)> {
        let model = &*self.model;
        let no_table = || {
            Error::usage(
                "the model was not trained on a table or a series, so it cannot predict for one; \
                 pass arrays",
            )
        };
        if !matches!(
            model.recipe.data,
            DataRecipe::Csv(_) | DataRecipe::Series(_)
        ) {
            return Err(no_table());
        }
        if model.recipe.data.source().steps_ahead() > 1 {
            return Err(Error::usage(
                "the model predicts several steps ahead of each window; continue a table with \
                 Model.forecast, or predict with `gatescan predict`",
            ));
        }
        let inputs = load_inputs(model, file, Split::Test)?;
        if inputs.windows.is_none() {
            return Err(no_table());
        }
        let (last, batch) = (PredictedSteps::Last, model.recipe.batch_size);
        let outputs = predict_dataset(model, &inputs.data, last, batch, &open(device)?)?;
        Ok((inputs, outputs.index_axis_move(Axis(1), 0)))
    }

    /// The names of the outputs of a model of a table.
    fn names(&self) -> Vec<String> {
        let head = &self.model.network.head;
        if head.loss.takes_classes() {
            let classes = 0..head.targets();
            return classes.map(|k| self.model.preparation.class(k)).collect();
        }
        let named = self.model.recipe.data.source().target_names();
        if named.len() == head.targets() {
            return output_names(head, named);
        }
        (0..head.size).map(|k| format!("value_{k}")).collect()
    }

    #[allow(clippy::type_complexity)]
    fn continued(
        &self,
        file: Option<&Path>,
        group: Option<&str>,
        steps: usize,
        window: bool,
        device: &str,
    ) -> Result<(Vec<String>, Vec<f64>, Option<usize>, Vec<String>)> {
        let model = &*self.model;
        let request = ForecastRequest {
            file,
            group,
            preparation: &model.preparation,
        };
        let start = model.recipe.data.source().forecast_start(&request)?;
        let context = if window {
            Context::SlidingWindow(start.steps)
        } else {
            Context::CarriedState
        };
        let device = open(device)?;
        let found = forecast(model, &start, steps, context, &device)?;
        Ok((found.columns, found.values, found.diverges_at, start.notes))
    }
}

/// An evaluation as one JSON object.
fn evaluated(done: &Evaluation) -> String {
    let rows = |matrix: &Array2<u32>| -> Vec<Vec<u32>> {
        matrix.rows().into_iter().map(|row| row.to_vec()).collect()
    };
    let of_lists = match &done.metrics {
        Some(OutputMetrics::Lists(metrics)) => Some(*metrics),
        _ => None,
    };
    json!({
        "label_error_rate": of_lists.and_then(|lists| lists.label_error_rate),
        "sequence_accuracy": of_lists.map(|lists| lists.sequence_accuracy),
        "loss": done.loss,
        "accuracy": done.accuracy,
        "last_step_loss": done.last_step_loss,
        "confusion": done.confusion.as_ref().map(rows),
        "largest_confusion": Tally::LARGEST_CONFUSION,
    })
    .to_string()
}

fn state_of((h, c): &ReadStates) -> State {
    State {
        h: h.as_array().to_owned(),
        c: c.as_ref().map(|c| c.as_array().to_owned()),
    }
}

/// Makes a model of a `state_dict` of PyTorch as safetensors. Returns notes on what was assumed.
#[pyfunction]
#[pyo3(signature = (file, name, cell, reads, classifies, one_hot, order))]
#[allow(clippy::too_many_arguments)]
fn import_state_dict(
    py: Python<'_>,
    file: &[u8],
    name: &str,
    cell: Option<String>,
    reads: Option<String>,
    classifies: Option<bool>,
    one_hot: bool,
    order: Vec<String>,
) -> PyResult<(PyModel, Vec<String>)> {
    computed(py, || {
        let cell = cell.map(|cell| crate::recipes::cell(&cell)).transpose()?;
        let named = |name: String| Reads::ALL.into_iter().find(|reads| reads.name() == name);
        let loss = |classes| {
            if classes {
                Loss::CrossEntropy
            } else {
                Loss::MeanSquaredError
            }
        };
        let hints = ImportHints {
            cell,
            reads: reads.and_then(named),
            loss: classifies.map(loss),
            one_hot,
            order,
            recipe: None,
        };
        let imported = pytorch::import(file, name, &hints)?;
        Ok((PyModel::new(imported.model), imported.notes))
    })
}
