//! The checkpoints of a run, in a directory of their own: the last ones and the best epoch's.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::disk::{self, Disk, Os};
use crate::train::Position;
use crate::train::checkpoint::Checkpoint;

/// Writes a run's checkpoints and removes old ones. A checkpoint is removed only after the newer
/// one is on the disk.
pub struct Checkpoints {
    directory: PathBuf,
    /// The number of checkpoints to keep.
    keep: usize,
    /// The steps of the readable checkpoints, in increasing order.
    readable: Vec<usize>,
    disk: Box<dyn Disk>,
}

/// The checkpoints found in a directory.
#[derive(Debug, Default)]
pub struct FoundCheckpoints {
    /// The newest readable checkpoint and its path.
    pub newest: Option<(PathBuf, Checkpoint)>,
    /// The problems of newer checkpoints.
    pub damaged: Vec<Error>,
}

impl Checkpoints {
    /// The checkpoints of a run that is new or resumes from `from`. Keeps the last `keep` of them,
    /// at least 1, and the best epoch's.
    pub fn new(directory: &Path, keep: usize, from: Option<&Checkpoint>) -> Checkpoints {
        let mut checkpoints = Checkpoints {
            directory: directory.to_path_buf(),
            keep,
            readable: vec![],
            disk: Box::new(Os),
        };
        if let Some(Position {
            step, best_step, ..
        }) = from.map(|from| &from.position)
        {
            // The process may have been killed between a write and the removal of old checkpoints.
            let files = list(&mut Os, directory).unwrap_or_default();
            let older = files.into_iter().filter(|(other, _)| other <= step).rev();
            let whole = older.filter(|(_, path)| Checkpoint::load(path).is_ok());
            checkpoints.readable = whole.take(keep).map(|(step, _)| step).collect();
            checkpoints.readable.reverse();
            checkpoints.remove_old(*best_step);
        }
        checkpoints
    }

    /// Finds the newest readable checkpoint.
    ///
    /// # Errors
    /// [`Error::File`] where the directory cannot be read. A missing directory has no checkpoints.
    pub fn find(directory: &Path) -> Result<FoundCheckpoints> {
        let mut found = FoundCheckpoints::default();
        let files = list(&mut Os, directory).map_err(|error| {
            Error::file(
                directory,
                format!("the checkpoints cannot be listed: {error}"),
            )
        })?;
        for (_, path) in files.into_iter().rev() {
            match Checkpoint::load(&path) {
                Ok(checkpoint) => {
                    found.newest = Some((path, checkpoint));
                    break;
                }
                Err(error) => found.damaged.push(error),
            }
        }
        Ok(found)
    }

    /// Writes a checkpoint as `step-<step>.safetensors` and returns its path.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written. The earlier checkpoints are kept then.
    pub fn write(&mut self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let step = checkpoint.position.step;
        let path = self.directory.join(file_name(step));
        let unwritten = |problem: &dyn std::fmt::Display| {
            Error::file(
                &path,
                format!("the checkpoint cannot be written: {problem}"),
            )
        };
        let bytes = checkpoint
            .to_bytes()
            .map_err(|problem| unwritten(&problem))?;
        disk::replace(self.disk.as_mut(), &path, &bytes).map_err(|error| unwritten(&error))?;
        self.readable.retain(|&other| other != step);
        self.readable.push(step);
        self.remove_old(checkpoint.position.best_step);
        Ok(path)
    }

    /// Removes checkpoints older than those to keep. The next call tries again to remove what could
    /// not be removed.
    fn remove_old(&mut self, best: Option<usize>) {
        let Some(spare) = self.readable.len().checked_sub(self.keep) else {
            return;
        };
        self.readable.drain(..spare);
        let oldest = self.readable.first().copied().unwrap_or(0);
        let disk = self.disk.as_mut();
        for (step, path) in list(disk, &self.directory).unwrap_or_default() {
            if step < oldest && best != Some(step) {
                let _ = disk.remove(&path);
            }
        }
    }
}

fn file_name(step: usize) -> String {
    format!("step-{step:09}.safetensors")
}

/// The step in the name of a checkpoint's file; `None` for other files.
fn step_of(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?.strip_prefix("step-")?;
    name.strip_suffix(".safetensors")?.parse().ok()
}

/// The checkpoints of a directory with their steps, in increasing order.
fn list(disk: &mut dyn Disk, directory: &Path) -> io::Result<Vec<(usize, PathBuf)>> {
    let paths = disk.list(directory)?.into_iter();
    let mut files: Vec<_> = paths
        .filter_map(|path| Some((step_of(&path)?, path)))
        .collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
