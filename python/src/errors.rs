//! The library's errors as exceptions of `gatescan.errors`.

use gatescan::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::pool;

/// The class of `gatescan.errors` for an error.
fn class(error: &Error) -> &'static str {
    match error {
        Error::Usage(_) => "UsageError",
        Error::InvalidValue { .. } => "InvalidValueError",
        Error::UnknownDevice { .. } => "UnknownDeviceError",
        Error::AmbiguousDevice { .. } => "AmbiguousDeviceError",
        Error::NoAdapter => "NoAdapterError",
        Error::File { .. } => "FileError",
        Error::Undecided { .. } => "UndecidedError",
        Error::Data(_) => "DataError",
        Error::OutOfMemory { .. } => "OutOfMemoryError",
        Error::DataMemory { .. } => "DataMemoryError",
        Error::LimitExceeded { .. } => "LimitExceededError",
        Error::BatchTooLarge { .. } => "BatchTooLargeError",
        Error::NoGpuSupport => "NoGpuSupportError",
        Error::Defect { .. } => "DefectError",
        Error::Driver { .. } => "DriverError",
        Error::DeviceLost { .. } => "DeviceLostError",
        Error::WorkLost { .. } => "WorkLostError",
        Error::NotFinite { .. } => "NotFiniteError",
        Error::WrongResult(_) => "WrongResultError",
        Error::ShaderFault { .. } => "ShaderFaultError",
        _ => "FailedError",
    }
}

/// Returns the exception of an error, with the error's text.
pub fn exception(error: &Error) -> PyErr {
    named(class(error), &error.to_string())
}

/// Returns an exception of the class `name` of `gatescan.errors`.
pub fn named(name: &str, text: &str) -> PyErr {
    Python::attach(|py| {
        let made = py
            .import("gatescan.errors")
            .and_then(|errors| errors.getattr(name))
            .and_then(|class| class.call1((text,)));
        match made {
            Ok(value) => PyErr::from_value(value),
            Err(_) => PyRuntimeError::new_err(text.to_string()),
        }
    })
}

/// Computes without the interpreter's lock, so that other Python threads run meanwhile, and raises
/// what fails.
pub fn computed<T: Send>(
    py: Python<'_>,
    compute: impl FnOnce() -> gatescan::Result<T> + Send,
) -> PyResult<T> {
    py.detach(|| pool::compute(compute))
        .map_err(|error| exception(&error))
}
