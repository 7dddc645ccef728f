//! In place of dump.rs in a build without the feature `tables`, which writes .npy files.

use std::path::Path;

use super::BufferContents;
use super::report::Outcome;
use crate::error::{Error, Result};
use crate::kernels::Arg;

/// Returns the error that this build cannot save a call.
pub(super) fn save_call(
    directory: &Path,
    _args: &[Arg],
    _before: &[BufferContents],
    _outcomes: &[(&Arg, Outcome)],
) -> Result<()> {
    Err(Error::file(
        directory,
        "this build cannot write .npy files; build with the feature `tables`",
    ))
}
