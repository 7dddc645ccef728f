//! Data sets of arrays, and of the files that a recipe names.

use gatescan::train::FineTuning;
use gatescan::{Dataset, Recipe, Splits, Targets};
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::errors::{computed, exception};
use crate::model::PyModel;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Data>()
}

/// The splits that a run trains and tests on.
#[pyclass(frozen, module = "gatescan._gatescan")]
pub struct Data {
    pub splits: Splits,
}

/// One split: inputs, targets, lengths.
type Part<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Vec<usize>>);

#[pymethods]
impl Data {
    /// Reads or generates the data that a recipe names, which is one JSON object; for a run that
    /// begins with a model, prepared as the model's.
    #[staticmethod]
    #[pyo3(signature = (recipe, model=None))]
    fn load(py: Python<'_>, recipe: &str, model: Option<&PyModel>) -> PyResult<Data> {
        let model = model.map(|model| model.model.clone());
        computed(py, || {
            let recipe = Recipe::from_json(recipe, "recipe")?;
            recipe.validate()?;
            let Some(model) = model else {
                let splits = recipe.load_splits(None)?;
                return Ok(Data { splits });
            };
            let (mut splits, tuning) = FineTuning::load_data(&recipe, &model)?;
            splits.notes.extend(tuning.notes);
            Ok(Data { splits })
        })
    }

    /// Makes splits of arrays. Inputs are float32 `[N, T, I]` or, with a `vocabulary`, uint32 `[N,
    /// T]`; targets are uint32 labels `[N]` or `[N, T]` below `classes`, or float32 `[N, K]` or
    /// `[N, T, K]`; with `lists`, uint32 lists of labels `[N, L]`.
    #[staticmethod]
    #[pyo3(signature = (train, validation, test, classes, vocabulary, lists))]
    fn arrays(
        train: Part<'_>,
        validation: Option<Part<'_>>,
        test: Option<Part<'_>>,
        classes: usize,
        vocabulary: Option<usize>,
        lists: bool,
    ) -> PyResult<Data> {
        let dataset = |part| dataset(part, classes, vocabulary, lists);
        let mut splits = Splits::from(dataset(train)?);
        splits.validation = validation.map(dataset).transpose()?.map(Into::into);
        splits.test = test.map(dataset).transpose()?.map(Into::into);
        Ok(Data { splits })
    }

    /// Sentences on rows left out, on values filled, and on classes that a split lacks.
    fn notes(&self) -> Vec<String> {
        let notes = self.splits.notes.iter().cloned();
        notes.chain(self.splits.class_notes()).collect()
    }

    /// The number of sequences in the splits for training, validation and test.
    fn counts(&self) -> (usize, Option<usize>, Option<usize>) {
        let Splits {
            train,
            validation,
            test,
            ..
        } = &self.splits;
        let count = |split: &Option<_>| split.as_ref().map(count);
        (train.count, count(validation), count(test))
    }
}

fn count(data: &std::sync::Arc<Dataset>) -> usize {
    data.count
}

/// Makes the data set of one split.
pub fn dataset(
    part: Part<'_>,
    classes: usize,
    vocabulary: Option<usize>,
    lists: bool,
) -> PyResult<Dataset> {
    let (inputs, targets, lengths) = part;
    let targets = if lists {
        let labels: PyReadonlyArray2<u32> = targets.extract()?;
        let labels = labels.as_array();
        Targets::Lists {
            longest: labels.ncols(),
            labels: labels.iter().copied().collect(),
            classes,
        }
    } else {
        targets_of(&targets, classes)?
    };
    let made = match vocabulary {
        Some(vocabulary) => {
            let tokens: PyReadonlyArray2<u32> = inputs.extract()?;
            Dataset::tokens(tokens.as_array(), vocabulary, targets)
        }
        None => {
            let values: PyReadonlyArray3<f32> = inputs.extract()?;
            Dataset::new(values.as_array(), targets)
        }
    };
    let made = made.and_then(|data| match lengths {
        Some(lengths) => data.with_lengths(&lengths),
        None => Ok(data),
    });
    made.map_err(|error| exception(&error))
}

fn targets_of(targets: &Bound<'_, PyAny>, classes: usize) -> PyResult<Targets> {
    if let Ok(labels) = targets.extract::<PyReadonlyArray1<u32>>() {
        Ok(Targets::classes(labels.as_array(), classes))
    } else if let Ok(labels) = targets.extract::<PyReadonlyArray2<u32>>() {
        Ok(Targets::classes_per_step(labels.as_array(), classes))
    } else if let Ok(values) = targets.extract::<PyReadonlyArray2<f32>>() {
        Ok(Targets::values(values.as_array()))
    } else if let Ok(values) = targets.extract::<PyReadonlyArray3<f32>>() {
        Ok(Targets::values_per_step(values.as_array()))
    } else {
        Err(PyTypeError::new_err(
            "targets must be uint32 [N] or [N, T], or float32 [N, K] or [N, T, K]",
        ))
    }
}
