//! Writing a file so that a crash, at any moment, leaves the old one or the new one, whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What that takes of an operating system; a trait, so that tests can break each operation in turn.
pub(crate) trait Disk {
    /// Makes an empty file, or empties the one that is there.
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SyncWrite>>;

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// The files of a directory, none where it is not there.
    fn list(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Has the names in a directory on the disk.
    fn sync_directory(&mut self, path: &Path) -> io::Result<()>;
}

/// A file that can be told to have on the disk what was written.
pub(crate) trait SyncWrite: Write {
    fn sync(&mut self) -> io::Result<()>;
}

impl SyncWrite for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// The operating system's own.
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
        // Other systems than Unix open no directory, and some file systems sync none.
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

/// Writes a file: first beside `path` and then over it.
///
/// # Errors
/// What the system reports. Then `path` is as it was, or already the new file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(&mut Os, path, bytes)
}

/// Writes `bytes` beside `path`, has them on the disk, and only then gives them the name; returns
/// once the name is on the disk too.
///
/// # Errors
/// What the system reports. Then `path` is as it was, or already the new file.
pub(crate) fn replace(disk: &mut dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let beside = beside(directory, path);
    let written = write(disk, &beside, bytes).and_then(|()| disk.rename(&beside, path));
    if written.is_err() {
        // It may hold the space that the next try needs.
        let _ = disk.remove(&beside);
        return written;
    }
    disk.sync_directory(directory)
}

fn write(disk: &mut dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = disk.create(path)?;
    file.write_all(bytes)?;
    file.sync()
}

fn beside(directory: &Path, path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    directory.join(format!(".{name}.{}.tmp", std::process::id()))
}

/// Removes what processes that were killed have left beside their files. Only for who has the
/// directory alone.
pub fn remove_leftovers(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}
