//! Atomic replacement of files: after a crash at any moment, a file has its old or its new
//! contents.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The operations of the operating system that atomic replacement needs; a trait, so that tests can
/// let each of them fail.
pub(crate) trait Disk {
    /// Creates an empty file, or truncates an existing one.
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SyncWrite>>;

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// Lists the entries of a directory; none if it does not exist.
    fn list(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Flushes the entries of a directory to the disk.
    fn sync_directory(&mut self, path: &Path) -> io::Result<()>;
}

/// A file that can flush written bytes to the disk.
pub(crate) trait SyncWrite: Write {
    fn sync(&mut self) -> io::Result<()>;
}

impl SyncWrite for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// The operating system's file system.
#[derive(Debug)]
pub(crate) struct Os;

impl Disk for Os {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SyncWrite>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(vec![]),
            entries => entries?.map(|entry| Ok(entry?.path())).collect(),
        }
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        // Only Unix can open a directory, and some file systems cannot sync one.
        if !cfg!(unix) {
            return Ok(());
        }
        match File::open(path)?.sync_all() {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::InvalidInput | ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            synced => synced,
        }
    }
}

/// Atomically writes `bytes` to the file at `path`.
///
/// # Errors
/// Those of the system; the file then has its old or already its new contents.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(&mut Os, path, bytes)
}

/// Writes `bytes` to a temporary file beside `path`, flushes it, renames it to `path` and flushes
/// the directory.
///
/// # Errors
/// Those of the system; the file then has its old or already its new contents.
pub(crate) fn replace(disk: &mut dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = temporary_path(directory, path);
    let written = write(disk, &temporary, bytes).and_then(|()| disk.rename(&temporary, path));
    if written.is_err() {
        // The space may be needed for the next attempt.
        let _ = disk.remove(&temporary);
        return written;
    }
    disk.sync_directory(directory)
}

fn write(disk: &mut dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = disk.create(path)?;
    file.write_all(bytes)?;
    file.sync()
}

/// `.NAME.PID.tmp` beside `path`.
fn temporary_path(directory: &Path, path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    directory.join(format!(".{name}.{}.tmp", std::process::id()))
}

/// Removes temporary files that killed processes have left. No other process may be writing to the
/// directory.
pub fn remove_leftovers(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") {
            // A file that cannot be removed does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}
