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

mod command;
mod devices;
mod errors;
mod layers;

use pyo3::prelude::*;

#[pymodule]
fn _gatescan(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    command::register(module)?;
    devices::register(module)?;
    layers::register(module)
}
