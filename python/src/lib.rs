//! The extension module `gatescan._gatescan`. It converts between Python's values and the
//! library's; the library does the work. `python/gatescan/_gatescan.pyi` has its signatures.

#![cfg_attr(
    not(test),
    warn(
        clippy::cognitive_complexity,
        clippy::match_bool,
        clippy::too_many_lines
    )
)]

mod checks;
mod command;
mod data;
mod devices;
mod errors;
mod layers;
mod model;
mod pool;
mod recipes;
mod training;

use pyo3::prelude::*;

#[pymodule]
fn _gatescan(module: &Bound<'_, PyModule>) -> PyResult<()> {
    pool::loaded();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    for register in [
        checks::register,
        command::register,
        data::register,
        devices::register,
        layers::register,
        model::register,
        recipes::register,
        training::register,
    ] {
        register(module)?;
    }
    Ok(())
}
