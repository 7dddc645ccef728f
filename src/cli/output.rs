//! Files that a command writes: whole or not at all, and never in place of another one unasked.

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use gatescan::low_level::io::disk::{Existing, PendingFile};
use gatescan::low_level::messages::shown_path;
use gatescan::{Error, Result};

/// Whether files that exist may be replaced.
#[derive(Args, Clone, Copy)]
pub struct Overwrite {
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
}

impl Overwrite {
    /// For files that gatescan itself names in a run directory.
    pub const OWN: Overwrite = Overwrite { force: true };

    /// Refuses a file that exists, and `-`, before anything is computed.
    pub fn check(self, path: &Path) -> Result<()> {
        if path.as_os_str() == "-" {
            return Err(Error::usage(
                "the output is `-`, which is not standard output here; give the path of a file, \
                 or `./-` for a file of that name",
            ));
        }
        let is_there = PendingFile::is_taken(path);
        if is_there && !self.force {
            return Err(exists(path));
        }
        Ok(())
    }

    /// Writes a file by `write`.
    pub fn write(
        self,
        path: &Path,
        write: impl Fn(&mut PendingFile) -> io::Result<()>,
    ) -> Result<()> {
        self.write_all([path], |_, file| write(file))
    }

    /// Writes several files, each by `write` with its number: all of them or, unless the last step
    /// fails, none.
    pub fn write_all<const N: usize>(
        self,
        paths: [&Path; N],
        write: impl Fn(usize, &mut PendingFile) -> io::Result<()>,
    ) -> Result<()> {
        let existing = if self.force {
            Existing::Replace
        } else {
            Existing::Keep
        };
        let mut pending = vec![];
        for (number, path) in paths.into_iter().enumerate() {
            let failed = |error: io::Error| unwritten(path, &error);
            let mut file = PendingFile::create(path, existing).map_err(failed)?;
            write(number, &mut file).map_err(failed)?;
            file.sync().map_err(failed)?;
            pending.push((path, file));
        }
        for (path, file) in pending {
            file.finish().map_err(|error| unwritten(path, &error))?;
        }
        Ok(())
    }

    /// Writes the bytes of a file.
    pub fn write_bytes(self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.write(path, |file| file.write_all(bytes))
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return exists(path);
    }
    Error::file(path, format!("cannot be written: {error}"))
}

fn exists(path: &Path) -> Error {
    Error::usage(format!(
        "{} exists and is not overwritten; name another file with -o FILE, or replace it with \
         --force",
        shown_path(path)
    ))
}
