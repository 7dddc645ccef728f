//! A file that only grows.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use super::directory::unwritable;
use super::metrics_log::is_at;
use crate::error::{Error, Result};

/// A file that bytes are appended to, with those that are not written yet.
pub(super) struct AppendLog {
    path: PathBuf,
    file: File,
    pending: Vec<u8>,
}

impl AppendLog {
    /// Opens the file, or creates it.
    pub(super) fn open(path: PathBuf) -> Result<AppendLog> {
        let file = OpenOptions::new().append(true).create(true).open(&path);
        Ok(AppendLog {
            file: file.map_err(|error| unwritable(&path, &error))?,
            path,
            pending: vec![],
        })
    }

    /// Adds bytes, to be written by [`AppendLog::flush`].
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
    }

    /// Discards the bytes that are not written yet.
    pub(super) fn discard_pending(&mut self) {
        self.pending.clear();
    }

    /// Writes the pending bytes; those that cannot be written remain pending.
    pub(super) fn flush(&mut self) -> Result<()> {
        while !self.pending.is_empty() {
            let written = match self.file.write(&self.pending) {
                Ok(0) => Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                written => written,
            };
            let written = written.map_err(|error| unwritable(&self.path, &error))?;
            self.pending.drain(..written);
        }
        Ok(())
    }

    /// Waits until all that was written is on the disk, in the file of that name.
    pub(super) fn sync(&mut self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.map_err(|error| unwritable(&self.path, &error))?;
        if self.is_there() {
            return Ok(());
        }
        let problem = "was removed or replaced while the run writes it; put it back";
        Err(Error::file(&self.path, problem))
    }

    /// Whether the file of that name is still the one that is written to.
    pub(super) fn is_there(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    /// Removes all bytes from `length` on.
    pub(super) fn truncate(&mut self, length: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > length {
            self.file.set_len(length)?;
            self.file.sync_data()?;
        }
        Ok(())
    }
}
