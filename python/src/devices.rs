//! `gatescan.devices()` and the choice of a device.

use gatescan::low_level::backend::{adapters, device};
use gatescan::{Device, OpenDevice};
use pyo3::prelude::*;

use crate::errors::computed;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(devices, module)?)
}

/// Returns the adapters as JSON, the device that `auto` chooses (`cpu` or an index), and why.
#[pyfunction]
fn devices(py: Python<'_>) -> PyResult<(String, String, String)> {
    computed(py, || {
        let adapters = adapters();
        let (chosen, why) = device::choose("auto", &adapters)?;
        let name = match chosen {
            Device::Cpu => "cpu".to_string(),
            Device::Gpu(index) => index.to_string(),
        };
        Ok((serde_json::json!(adapters).to_string(), name, why))
    })
}

/// Opens the device that a request names: `auto`, `cpu`, `gpu`, an index or a part of a name.
///
/// # Errors
/// Those of [`device::choose`] and [`OpenDevice::open`].
pub fn open(request: &str) -> gatescan::Result<OpenDevice> {
    OpenDevice::open(&choose(request)?)
}

/// Chooses the device that a request names.
///
/// # Errors
/// Those of [`device::choose`].
pub fn choose(request: &str) -> gatescan::Result<Device> {
    // The search for adapters starts drivers, which the CPU does not need.
    let adapters = if request.eq_ignore_ascii_case("cpu") {
        vec![]
    } else {
        adapters()
    };
    Ok(device::choose(request, &adapters)?.0)
}
