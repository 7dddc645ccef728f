//! `gatescan.verify()` and `gatescan.profile()`.

use gatescan::Recipe;
use gatescan::profile::{Clock, Options, Profile};
use gatescan::verify::{self, Effort};
use pyo3::prelude::*;
use serde_json::json;

use crate::data::Data;
use crate::devices::open;
use crate::errors::computed;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(verify_kernels, module)?)?;
    module.add_function(wrap_pyfunction!(profile_step, module)?)
}

/// Checks every kernel call on a device. Returns the results as one JSON object.
#[pyfunction]
fn verify_kernels(py: Python<'_>, device: &str, full: bool) -> PyResult<String> {
    computed(py, || {
        let effort = if full { Effort::Full } else { Effort::Quick };
        let report = verify::check_all(&verify::sweep(effort), &[open(device)?], None)?;
        Ok(json!({
            "passed": report.passed(),
            "cases": report.cases,
            "kernels": report.kernels,
            "failures": report.failures,
        })
        .to_string())
    })
}

/// Measures a training step of a recipe, one JSON object. Returns the profile as JSON, and as an
/// HTML page.
#[pyfunction]
fn profile_step(
    py: Python<'_>,
    recipe: &str,
    data: &Data,
    device: &str,
    steps: usize,
) -> PyResult<(String, String)> {
    computed(py, || {
        let recipe = Recipe::from_json(recipe, "recipe")?;
        let options = Options {
            steps,
            clock: Clock::Device,
        };
        let profile = Profile::measure(&recipe, &data.splits, &open(device)?, options)?;
        Ok((json!(profile).to_string(), profile.page()))
    })
}
