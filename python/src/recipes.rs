//! Recipes as JSON, and recipes for data.

use std::path::PathBuf;

use gatescan::data::Horizon;
use gatescan::recipe::propose::{GroupHint, Hints, propose};
use gatescan::{Cell, Error, Recipe, Result};
use pyo3::prelude::*;

use crate::data::Data;
use crate::errors::computed;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(load_recipe, module)?)?;
    module.add_function(wrap_pyfunction!(change_recipe, module)?)?;
    module.add_function(wrap_pyfunction!(recipe_toml, module)?)?;
    module.add_function(wrap_pyfunction!(propose_recipe, module)?)
}

/// The cell of a name.
///
/// # Errors
/// [`Error::InvalidValue`] with the names that are allowed.
pub fn cell(name: &str) -> Result<Cell> {
    let found = Cell::ALL.iter().find(|cell| cell.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = Cell::ALL.iter().map(|cell| cell.name()).collect();
        Error::invalid("cell", name, format!("one of {}", names.join(", ")))
    })
}

/// Returns a recipe as one JSON object.
///
/// # Errors
/// [`Error::Usage`] for a path that is not UTF-8.
pub fn to_json(recipe: &Recipe) -> Result<String> {
    let json = serde_json::to_string(recipe);
    json.map_err(|error| Error::usage(format!("the recipe cannot be written as JSON: {error}")))
}

/// Reads a built-in recipe or a TOML file as JSON.
#[pyfunction]
fn load_recipe(py: Python<'_>, name_or_path: &str) -> PyResult<String> {
    computed(py, || to_json(&Recipe::load(name_or_path)?))
}

/// Changes fields of a recipe, one JSON object, by assignments `key.key=value`; reads its data from
/// `path`, if there is one; and checks all fields.
#[pyfunction]
#[pyo3(signature = (recipe, assignments, path))]
fn change_recipe(
    py: Python<'_>,
    recipe: &str,
    assignments: Vec<String>,
    path: Option<PathBuf>,
) -> PyResult<String> {
    computed(py, || {
        let mut recipe = Recipe::from_json(recipe, "recipe")?;
        recipe.set(&assignments)?;
        if let Some(path) = path {
            recipe.data.set_path(path);
        }
        recipe.validate()?;
        to_json(&recipe)
    })
}

/// A recipe, one JSON object, as TOML.
#[pyfunction]
fn recipe_toml(py: Python<'_>, recipe: &str) -> PyResult<String> {
    computed(py, || Recipe::from_json(recipe, "recipe")?.to_toml())
}

/// Proposes a recipe for a file of data. Returns it as JSON, with its data, what a model learns,
/// and what was guessed.
#[pyfunction]
#[pyo3(signature = (path, target, group, single_series, time, steps, horizon))]
#[allow(clippy::too_many_arguments)]
fn propose_recipe(
    py: Python<'_>,
    path: PathBuf,
    target: Option<String>,
    group: Option<String>,
    single_series: bool,
    time: Option<String>,
    steps: Option<usize>,
    horizon: (usize, usize),
) -> PyResult<(String, Data, String, Vec<String>)> {
    let group = match group {
        Some(column) => GroupHint::Column(column),
        None if single_series => GroupHint::None,
        None => GroupHint::Guess,
    };
    let hints = Hints {
        target,
        group,
        time,
        steps,
        horizon: Horizon::range(horizon.0, horizon.1),
    };
    computed(py, || {
        let proposal = propose(&path, &hints)?;
        let findings = proposal.findings.into_iter().map(|finding| finding.text);
        let splits = proposal.splits;
        Ok((
            to_json(&proposal.recipe)?,
            Data { splits },
            proposal.task,
            findings.collect(),
        ))
    })
}
