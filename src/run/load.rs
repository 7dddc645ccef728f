//! Reading a run directory, of which another process may be at work.

use std::path::{Path, PathBuf};

use super::directory::{CHECKPOINTS, DEVICES, MODEL};
use crate::error::{Error, Result};
use crate::io::files;
use crate::model::Model;
use crate::train::checkpoints::Checkpoints;

/// The largest list of devices that is read, in bytes.
const LARGEST_DEVICES: u64 = 1 << 16;

/// The devices that a run was computed on; none where they were not written.
pub(super) fn devices(path: &Path) -> Vec<String> {
    let text = files::read_text(&path.join(DEVICES), LARGEST_DEVICES).unwrap_or_default();
    text.lines().map(str::to_string).collect()
}

/// Loads the model of a file or of a run directory. A run that has no model yet has that of its
/// newest checkpoint, whose path is returned too. `warn` receives the problems of checkpoints that
/// cannot be read.
///
/// # Errors
/// [`Error::File`] where there is no model or it cannot be read.
pub fn load_model(path: &Path, warn: &mut dyn FnMut(Error)) -> Result<(Model, Option<PathBuf>)> {
    let file = if path.is_dir() {
        path.join(MODEL)
    } else {
        path.to_path_buf()
    };
    if file.is_file() {
        return Ok((Model::load(&file)?, None));
    }
    let found = Checkpoints::find(&path.join(CHECKPOINTS))?;
    found.damaged.into_iter().for_each(warn);
    let Some((checkpoint_path, checkpoint)) = found.newest else {
        let problem =
            "there is no such file; name a model.safetensors or the run directory that holds one";
        return Err(Error::file(file, problem));
    };
    Ok((checkpoint.model(), Some(checkpoint_path)))
}
