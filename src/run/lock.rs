//! The lock of a run directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::directory::unwritable;
use crate::error::{Error, Result};

const LOCK: &str = ".lock";

/// Keeps other runs out of a directory while it is open, so until the process ends at the latest.
///
/// On Unix the directory itself is locked, so that no second run gets in after the file `.lock` was
/// removed. Elsewhere, and on file systems that cannot lock a directory, the file is locked; on
/// Windows it cannot be removed meanwhile.
pub(crate) struct DirectoryLock {
    _directory: Option<File>,
    _file: File,
}

impl DirectoryLock {
    /// Locks a directory.
    ///
    /// # Errors
    /// [`Error::File`] where another process has locked it, or where it cannot be written.
    pub(crate) fn take(directory: &Path) -> Result<DirectoryLock> {
        let path = directory.join(LOCK);
        let file = open_file(&path).map_err(|error| unwritable(&path, &error))?;
        lock(&file, directory)?;
        let opened = if cfg!(unix) {
            let opened = File::open(directory).map_err(|error| unwritable(directory, &error))?;
            lock(&opened, directory)?;
            Some(opened)
        } else {
            None
        };
        Ok(DirectoryLock {
            _directory: opened,
            _file: file,
        })
    }
}

fn open_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        // Shared for reading and writing, but not for removal.
        options.share_mode(3);
    }
    options.open(path)
}

/// Locks a file or a directory; those that a file system cannot lock are left as they are.
fn lock(file: &File, directory: &Path) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::file(
            directory,
            "another run is at work in this directory; wait for its end, or use another directory",
        )),
        // Some network file systems have no locks, or none of directories.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}
