//! Reading a run for its report, also while another process trains it.

use std::io::ErrorKind;
use std::path::Path;

use super::directory::{METRICS, RECIPE, check_is_run, unreadable};
use super::load::devices;
use crate::error::Result;
use crate::io::files;
use crate::messages::printable;
use crate::recipe::Recipe;
use crate::report::Run;

/// The largest metrics file that is read, in bytes.
const LARGEST_METRICS: u64 = 1 << 28;
/// Reads the recipe, the devices and the metrics of a run.
///
/// # Errors
/// [`Error::File`](crate::Error::File) where there is no run or it cannot be read.
pub fn read_run(path: &Path) -> Result<Run> {
    check_is_run(path)?;
    let recipe = Recipe::load_file(&path.join(RECIPE))?;
    let metrics = path.join(METRICS);
    let text = match files::read_text(&metrics, LARGEST_METRICS) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| unreadable(&metrics, &error))?,
    };
    let absolute = path.canonicalize().unwrap_or_else(|_| path.into());
    let name = absolute.file_name().unwrap_or(path.as_os_str());
    Ok(Run::new(
        &printable(&name.display().to_string()),
        recipe,
        devices(path),
        &text,
    ))
}
