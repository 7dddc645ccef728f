//! Arrays in files: a directory of `.npy` files, or an `.npz` archive.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;
use zip::result::ZipError;

use super::super::MAX_VALUES;
use super::super::stored::{StoredArray, StoredElement};
use super::header::{ArrayHeader, LARGEST_HEADER, check_bytes, describe};
use super::texts::texts;
use super::{Array, Elements};
use crate::error::{Error, Result};
use crate::io::{files, memory_limit};
use crate::messages::{did_you_mean, excerpt, listed};

/// The largest array, in bytes, unpacked too: the most values of a split, in f64.
const LARGEST_ARRAY: u64 = 8 * MAX_VALUES;
/// The largest array of inputs, in bytes, that is read into memory if it can be read from disk.
const LARGEST_IN_MEMORY: u64 = 256 << 20;
/// Elements that are read at a time.
const BLOCK: usize = 1 << 13;
/// The most members of an archive that a message lists.
const MOST_LISTED: usize = 20;

/// The arrays of a directory or of an archive, by their names.
pub enum ArrayFiles<R> {
    Directory {
        path: PathBuf,
        /// Larger arrays of inputs, in bytes, are read from disk when they are needed.
        largest_in_memory: u64,
    },
    Archive {
        path: PathBuf,
        archive: Box<ZipArchive<R>>,
    },
}

impl ArrayFiles<File> {
    /// Opens a directory or an archive.
    ///
    /// # Errors
    /// [`Error::File`] if `path` is neither.
    pub fn open(path: &Path) -> Result<ArrayFiles<File>> {
        if path.is_dir() {
            return Ok(ArrayFiles::Directory {
                path: path.to_path_buf(),
                largest_in_memory: LARGEST_IN_MEMORY,
            });
        }
        let file = File::open(path)
            .map_err(|error| Error::file(path, format!("the arrays cannot be read: {error}")))?;
        ArrayFiles::archive(file, path)
    }
}

impl<R: Read + Seek> ArrayFiles<R> {
    /// Opens the contents of an archive; errors name `path`.
    ///
    /// # Errors
    /// [`Error::File`] for other contents.
    pub fn archive(file: R, path: &Path) -> Result<ArrayFiles<R>> {
        let archive = ZipArchive::new(file).map_err(|error| {
            let problem = format!(
                "not an .npz archive ({error}); data.path must be one, as written by numpy.savez, \
                 or a directory of .npy files"
            );
            Error::file(path, problem)
        })?;
        Ok(ArrayFiles::Archive {
            path: path.to_path_buf(),
            archive: Box::new(archive),
        })
    }

    /// Returns the names of the arrays, sorted.
    pub fn names(&self) -> Vec<String> {
        let files: Vec<String> = match self {
            ArrayFiles::Archive { archive, .. } => archive.file_names().map(String::from).collect(),
            ArrayFiles::Directory { path, .. } => {
                let entries = path.read_dir().into_iter().flatten().flatten();
                entries
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .collect()
            }
        };
        let names = files.iter().filter_map(|file| file.strip_suffix(".npy"));
        let mut names: Vec<String> = names.map(str::to_string).collect();
        names.sort();
        names
    }

    /// Returns the path of an array, in messages too.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        match self {
            ArrayFiles::Directory { path, .. } | ArrayFiles::Archive { path, .. } => {
                path.join(format!("{name}.npy"))
            }
        }
    }

    /// Returns the array of that name if it is read from disk when it is needed: a large, row-major
    /// one in a directory.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged file.
    pub(super) fn stored(&self, name: &str) -> Result<Option<StoredArray>> {
        let path = self.path_of(name);
        let ArrayFiles::Directory {
            largest_in_memory, ..
        } = self
        else {
            return Ok(None);
        };
        let Ok(mut file) = File::open(&path) else {
            return Ok(None);
        };
        let refuse = |problem: String| Error::file(&path, problem);
        let cannot_read = |error: io::Error| refuse(format!("the array cannot be read: {error}"));
        let bytes = file.metadata().map_err(cannot_read)?.len();
        if bytes <= *largest_in_memory {
            return Ok(None);
        }
        let mut header = vec![];
        let longest = LARGEST_HEADER as u64 + 12;
        (&mut file)
            .take(longest)
            .read_to_end(&mut header)
            .map_err(cannot_read)?;
        let ArrayHeader {
            shape,
            element,
            is_row_major,
            length,
        } = describe(&header).map_err(refuse)?;
        let start = length as u64;
        check_bytes(&shape, element.size, bytes - start).map_err(refuse)?;
        let is_text = "US".contains(element.kind);
        Ok((is_row_major && !is_text).then(|| StoredArray {
            file: Arc::new(file),
            path: path.clone(),
            shape,
            element,
            start,
        }))
    }

    /// Returns the shape of an array that would be read from disk as inputs; `None` for one that is
    /// read into memory.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged file.
    pub fn shape_of_stored(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.stored(name)?.map(|array| array.shape))
    }

    /// Reads the array of that name.
    ///
    /// # Errors
    /// [`Error::File`] if there is none, or it cannot be read.
    pub fn array(&mut self, name: &str) -> Result<Array> {
        let path = self.path_of(name);
        let refused = |problem: String| Error::file(&path, problem);
        let unreadable =
            |error: &dyn Display| refused(format!("the array cannot be read: {error}"));
        let missing = self.no_array(name);
        match self {
            ArrayFiles::Directory { .. } if !path.is_file() => Err(refused(missing)),
            ArrayFiles::Directory { .. } => read(&path),
            ArrayFiles::Archive { archive, .. } => match archive.by_name(&format!("{name}.npy")) {
                Ok(member) => {
                    let size = member.size();
                    read_array(member, size).map_err(refused)
                }
                Err(ZipError::FileNotFound) => Err(refused(missing)),
                Err(error) => Err(unreadable(&error)),
            },
        }
    }

    fn no_array(&self, name: &str) -> String {
        let names = self.names();
        let names: Vec<String> = names.iter().take(MOST_LISTED).map(|n| excerpt(n)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = if names.is_empty() {
            "there are no arrays".to_string()
        } else {
            format!("the arrays are {}", listed(&names))
        };
        let suggestion = did_you_mean(name, &names);
        format!("there is no array of this name{suggestion}; {found}")
    }
}

/// Reads the array of a file.
pub(super) fn read(path: &Path) -> Result<Array> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (size, file) =
        opened.map_err(|error| Error::file(path, format!("the array cannot be read: {error}")))?;
    read_array(BufReader::new(file), size).map_err(|problem| Error::file(path, problem))
}

/// Parses the bytes of an `.npy` file; errors name `path`.
///
/// # Errors
/// [`Error::File`] for bytes that are no `.npy` file, too few or too many bytes, and for elements
/// that are neither real numbers nor texts.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Array> {
    read_array(bytes, bytes.len() as u64).map_err(|problem| Error::file(path, problem))
}

/// Reads an array of `size` bytes with its header. Memory grows with the bytes that are read, and
/// what the elements need is checked before.
///
/// # Errors
/// A clause.
pub(crate) fn read_array(mut reader: impl Read, size: u64) -> Result<Array, String> {
    let unreadable = |error: io::Error| format!("the array cannot be read: {error}");
    let mut head = vec![];
    let longest = LARGEST_HEADER as u64 + 12;
    (&mut reader)
        .take(longest)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    let ArrayHeader {
        shape,
        element,
        is_row_major,
        length,
    } = describe(&head)?;
    check_bytes(&shape, element.size, size.saturating_sub(length as u64))?;
    // As a product it is at most the bytes of the file.
    let count: usize = shape.iter().product();
    check_memory(count, element)?;
    let body = head[length..].chain(reader);
    let (elements, more) = read_elements(body, count, element)?;
    if more || elements.len() != count {
        let found = if more { "more" } else { "fewer" };
        return Err(format!(
            "{found} bytes follow the header than it says; the file is damaged: copy or write it \
             again"
        ));
    }
    let elements = if is_row_major {
        elements
    } else {
        elements.row_major(&shape)?
    };
    Ok(Array { shape, elements })
}

/// Checks the memory of an array, and of the values that a network reads in f32.
fn check_memory(count: usize, element: StoredElement) -> Result<(), String> {
    let kept = match (element.kind, element.size) {
        ('f', size) => size,
        // With the bytes of the file, and the header of a string.
        ('U' | 'S', size) => 2 * size + 24,
        _ => 8,
    };
    let needed = count as u128 * (kept as u128 + 4);
    memory_limit::check(needed).map_err(|problem| problem.to_string())?;
    let limit = LARGEST_ARRAY / 8;
    if count as u64 > limit {
        return Err(format!(
            "it has {count} elements; at most {limit} are read into memory"
        ));
    }
    Ok(())
}

/// Reads `count` elements and returns them, and whether there are more bytes.
fn read_elements(
    mut reader: impl Read,
    count: usize,
    element: StoredElement,
) -> Result<(Elements, bool), String> {
    let unreadable = |error: io::Error| format!("the array cannot be read: {error}");
    if "US".contains(element.kind) {
        let size = count as u64 * element.size as u64;
        let bytes = (&mut reader).take(size);
        let bytes = files::read_at_most(bytes, size).map_err(unreadable)?;
        let more = reader.read(&mut [0]).map_err(unreadable)? > 0;
        return Ok((Elements::Texts(texts(&bytes, element)?), more));
    }
    let mut elements = match (element.kind, element.size) {
        ('f', 4) => Elements::Floats(vec![]),
        ('f', _) => Elements::Doubles(vec![]),
        _ => Elements::Integers(vec![]),
    };
    let mut left = count;
    let mut bytes = vec![0; BLOCK * element.size];
    while left > 0 {
        let block = &mut bytes[..left.min(BLOCK) * element.size];
        match reader.read_exact(block) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok((elements, false)),
            read => read.map_err(unreadable)?,
        }
        elements.extend(block, element)?;
        left -= block.len() / element.size;
    }
    // The end of a member of an archive also has its checksum checked.
    let more = reader.read(&mut [0]).map_err(unreadable)? > 0;
    Ok((elements, more))
}
