//! Atomic replacement of files: after a crash at any moment, a file has its old or its new
//! contents.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::crc32;

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

/// Atomically writes `bytes` to the file at `path`, in place of an earlier one.
///
/// # Errors
/// Those of the system; the file then has its old or already its new contents.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = PendingFile::create(path, Existing::Replace)?;
    file.write_all(bytes)?;
    file.finish()
}

/// What happens to a file that has the name of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and writing the new one is an error.
    Keep,
    Replace,
}

/// A file that is written under a temporary name beside its own, and gets its own when it is whole.
///
/// The temporary file is removed if it is not finished. After a process was killed, the next one
/// that writes a file of the same name removes it. A path that is no regular file, such as a pipe,
/// is written directly.
pub struct PendingFile {
    path: PathBuf,
    existing: Existing,
    /// `None` where `path` is written directly.
    temporary: Option<PathBuf>,
    file: BufWriter<File>,
}

impl PendingFile {
    /// Begins to write a file.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] for a file that is kept; those of the system.
    pub fn create(path: &Path, existing: Existing) -> io::Result<PendingFile> {
        let pending = |path: &Path, temporary, file| PendingFile {
            path: path.to_path_buf(),
            existing,
            temporary,
            file: BufWriter::with_capacity(1 << 16, file),
        };
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                let file = OpenOptions::new().write(true).open(path)?;
                return Ok(pending(path, None, file));
            }
            _ => {}
        }
        if existing == Existing::Keep && PendingFile::is_taken(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        // A link to a file stays, and the file gets the new contents.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let directory = directory_of(&target);
        remove_stale(directory, &target);
        let temporary = temporary_path(directory, &target);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        // The lock tells other processes that this one is alive; some file systems have none.
        let _ = file.try_lock();
        Ok(pending(&target, Some(temporary), file))
    }

    /// Whether there is a file at `path` which a new one would replace.
    pub fn is_taken(path: &Path) -> bool {
        let is_special = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
        fs::symlink_metadata(path).is_ok() && !is_special
    }

    /// Flushes what is written to the disk.
    ///
    /// # Errors
    /// Those of the system, such as [`ErrorKind::StorageFull`].
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        if self.temporary.is_some() {
            self.file.get_ref().sync_all()?;
        }
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// Those of the system; [`ErrorKind::AlreadyExists`] for a file that is kept. The file then has
    /// its old or already its new contents.
    pub fn finish(mut self) -> io::Result<()> {
        self.sync()?;
        let Some(temporary) = self.temporary.clone() else {
            return Ok(());
        };
        match self.existing {
            Existing::Replace => fs::rename(&temporary, &self.path)?,
            Existing::Keep => rename_to_new(&temporary, &self.path)?,
        }
        self.temporary = None;
        Os.sync_directory(directory_of(&self.path))
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // The space may be needed for the next attempt.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Renames a file unless there is one of the new name.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => {
            let _ = fs::remove_file(from);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // A file system without hard links.
        Err(_) if fs::symlink_metadata(to).is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes `bytes` to a temporary file beside `path`, flushes it, renames it to `path` and flushes
/// the directory.
///
/// # Errors
/// Those of the system; the file then has its old or already its new contents.
pub(crate) fn replace(disk: &mut dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
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

/// The beginning of the names of temporary files.
const TEMPORARY: &str = ".gatescan-";

/// The beginning of the names of temporary files of `path`: short, and of any bytes of its name.
fn temporary_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    format!("{TEMPORARY}{:08x}-", crc32(&[name]))
}

/// `.gatescan-CHECKSUM_OF_NAME-PID-NUMBER.tmp` beside `path`.
fn temporary_path(directory: &Path, path: &Path) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    directory.join(format!("{}{process}-{number}.tmp", temporary_prefix(path)))
}

/// Removes temporary files of `path` that no living process has locked.
fn remove_stale(directory: &Path, path: &Path) {
    let prefix = temporary_prefix(path);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(&prefix) || !name.ends_with(".tmp") {
            continue;
        }
        let is_stale = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_stale {
            // A file that cannot be removed does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes temporary files that killed processes have left. No other process may be writing to the
/// directory.
pub fn remove_leftovers(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name().to_string_lossy()) {
            // A file that cannot be removed does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a file has the name of a temporary one, as this or an earlier version chose it.
fn is_temporary(name: &str) -> bool {
    let Some(stem) = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(".tmp"))
    else {
        return false;
    };
    let earlier = stem.rsplit_once('.').map_or("", |(_, process)| process);
    let is_earlier = !earlier.is_empty() && earlier.bytes().all(|byte| byte.is_ascii_digit());
    name.starts_with(TEMPORARY) || is_earlier
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("it is there").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("a.csv");
        fs::write(&path, "before").expect("written");
        let mut file = PendingFile::create(&path, Existing::Replace).expect("created");
        file.write_all(&[1; 1 << 20]).expect("written");
        assert_eq!(names(place.path()).len(), 2);
        assert_eq!(fs::read(&path).expect("it is there"), b"before");
        drop(file);
        assert_eq!(names(place.path()), ["a.csv"]);
        write_whole(&path, b"after").expect("written");
        assert_eq!(fs::read(&path).expect("it is there"), b"after");
        assert_eq!(names(place.path()), ["a.csv"]);
    }

    #[test]
    fn a_file_that_is_kept_is_never_replaced() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("a.csv");
        let mut file = PendingFile::create(&path, Existing::Keep).expect("created");
        file.write_all(b"ours").expect("written");
        // It appears while the new one is written.
        fs::write(&path, "theirs").expect("written");
        let error = file.finish().expect_err("it exists");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("it is there"), b"theirs");
        assert!(PendingFile::create(&path, Existing::Keep).is_err());
        assert_eq!(names(place.path()), ["a.csv"]);
        let other = place.path().join("b.csv");
        let mut file = PendingFile::create(&other, Existing::Keep).expect("created");
        file.write_all(b"ours").expect("written");
        file.finish().expect("it is new");
        assert_eq!(names(place.path()), ["a.csv", "b.csv"]);
    }

    #[test]
    fn temporary_files_of_killed_processes_are_removed_and_those_of_others_kept() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("a".repeat(250));
        let alive = PendingFile::create(&path, Existing::Replace).expect("created");
        let left = temporary_path(place.path(), &path);
        fs::write(&left, "of a killed process").expect("written");
        let own = place.path().join(".mine.tmp");
        fs::write(&own, "of the user").expect("written");
        write_whole(&path, b"whole").expect("written");
        assert!(!left.exists() && own.exists());
        alive.finish().expect("it was not removed");
        fs::write(place.path().join(".model.safetensors.123.tmp"), "").expect("written");
        remove_leftovers(place.path());
        assert_eq!(names(place.path()).len(), 2, "{:?}", names(place.path()));
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_devices_are_written_directly() {
        let place = tempfile::tempdir().expect("a directory");
        let (path, link) = (place.path().join("a"), place.path().join("b"));
        fs::write(&path, "before").expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        write_whole(&link, b"after").expect("written");
        assert_eq!(fs::read(&path).expect("it is there"), b"after");
        assert!(
            fs::symlink_metadata(&link)
                .expect("it is there")
                .is_symlink()
        );
        write_whole(Path::new("/dev/null"), b"nothing").expect("written");
        assert!(!fs::metadata("/dev/null").expect("it is there").is_file());
    }
}
