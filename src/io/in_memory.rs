//! Files in memory, for WebAssembly, where the library has no disk: a page puts in what its visitor
//! has chosen.

use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::messages::{listed, shown_path};

/// The contents of the files by their paths.
static FILES: Mutex<BTreeMap<PathBuf, Arc<[u8]>>> = Mutex::new(BTreeMap::new());

/// A file in memory, opened for reading.
pub type FileInMemory = Cursor<Arc<[u8]>>;

fn files() -> MutexGuard<'static, BTreeMap<PathBuf, Arc<[u8]>>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a file at a path, in place of one that is there.
pub fn put_file(path: impl Into<PathBuf>, bytes: impl Into<Arc<[u8]>>) {
    files().insert(path.into(), bytes.into());
}

/// Removes all files.
pub fn remove_files() {
    files().clear();
}

/// Opens the file at a path.
///
/// # Errors
/// [`ErrorKind::NotFound`], with the paths of the files that are there.
pub fn open(path: &Path) -> io::Result<FileInMemory> {
    let files = files();
    files.get(path).cloned().map(Cursor::new).ok_or_else(|| {
        let names: Vec<String> = files.keys().map(|path| shown_path(path)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let there = if names.is_empty() {
            "no file was given".to_string()
        } else {
            format!("the files that were given are {}", listed(&names))
        };
        io::Error::new(
            ErrorKind::NotFound,
            format!("there is no such file; {there}"),
        )
    })
}

/// Returns whether there is a file at a path.
pub fn is_file(path: &Path) -> bool {
    files().contains_key(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn files_are_read_as_they_were_put() {
        put_file("a.csv", *b"1\n2\n");
        let mut text = String::new();
        let mut file = open(Path::new("a.csv")).expect("it is there");
        file.read_to_string(&mut text).expect("it is text");
        assert_eq!(text, "1\n2\n");
        assert!(is_file(Path::new("a.csv")) && !is_file(Path::new("b.csv")));
        let error = open(Path::new("b.csv")).expect_err("it is not there");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("`a.csv`"), "{error}");
        remove_files();
        let error = open(Path::new("a.csv")).expect_err("it is not there");
        assert!(error.to_string().contains("no file was given"), "{error}");
    }
}
