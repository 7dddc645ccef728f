//! The command line of the library.

use pyo3::prelude::*;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(command, module)?)
}

/// Runs the command line with `arguments`, of which the first is the program's name, and returns
/// its exit code.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<String>) -> u8 {
    py.detach(|| gatescan::cli::run_arguments(arguments))
}
