//! The arguments of a failed call as .npy files.

use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use ndarray_npy::{WritableElement, WriteNpyExt};

use super::BufferContents;
use super::report::Outcome;
use crate::error::{Error, Result};
use crate::io::disk;
use crate::kernels::Arg;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Saves every argument of a call in `directory`: its elements before the call, and for those that
/// the call writes the expected elements, their bounds and the elements found.
///
/// # Errors
/// [`Error::File`] for a directory or file that cannot be written.
pub(super) fn save_call(
    directory: &Path,
    args: &[Arg],
    before: &[BufferContents],
    outcomes: &[(&Arg, Outcome)],
) -> Result<()> {
    std::fs::create_dir_all(directory)
        .map_err(|error| Error::file(directory, format!("cannot be created: {error}")))?;
    for Arg { name, tensor, .. } in args {
        match &before[tensor.buffer.index()] {
            BufferContents::Real(values) => save(directory, name, "before", tensor, values)?,
            BufferContents::Index(values) => save(directory, name, "before", tensor, values)?,
        }
    }
    for (Arg { name, tensor, .. }, outcome) in outcomes {
        match outcome {
            Outcome::Real { expected, found } => {
                let values: Vec<f64> = expected.iter().map(|value| value.f64()).collect();
                let bounds: Vec<f64> = expected.iter().map(|value| value.bound()).collect();
                save(directory, name, "expected", tensor, &values)?;
                save(directory, name, "bound", tensor, &bounds)?;
                save(directory, name, "found", tensor, found)?;
            }
            Outcome::Index { expected, found } => {
                save(directory, name, "expected", tensor, expected)?;
                save(directory, name, "found", tensor, found)?;
            }
        }
    }
    Ok(())
}

/// Saves the elements of `buffer` that `tensor` covers as `ARGUMENT.WHAT.npy`.
fn save<E: WritableElement + Copy>(
    directory: &Path,
    argument: &str,
    what: &str,
    tensor: &Tensor,
    buffer: &[E],
) -> Result<()> {
    let path = directory.join(format!("{argument}.{what}.npy"));
    let values = buffer[tensor.range()].to_vec();
    let array = ArrayD::from_shape_vec(IxDyn(tensor.shape.extents()), values);
    let array = array.map_err(|error| Error::file(&path, error))?;
    let mut bytes = vec![];
    let written = array
        .write_npy(&mut bytes)
        .map_err(|error| error.to_string());
    written
        .and_then(|()| disk::write_whole(&path, &bytes).map_err(|error| error.to_string()))
        .map_err(|error| Error::file(&path, format!("cannot be written: {error}")))
}
