//! A file that only grows.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use super::directory::unwritable;
use crate::error::Result;

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

    /// Waits until all that was written is on the disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.map_err(|error| unwritable(&self.path, &error))
    }
}
