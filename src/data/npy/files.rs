//! Arrays in files: a directory of `.npy` files, or an `.npz` archive.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use ndarray_npy::{ReadNpyExt, ReadableElement};
use zip::ZipArchive;
use zip::result::ZipError;

use super::super::MAX_VALUES;
use super::super::stored::StoredArray;
use super::header::{ArrayHeader, LARGEST_HEADER, check_bytes, describe};
use super::texts::texts;
use super::{Array, Elements};
use crate::error::{Error, Result};
use crate::io::files;
use crate::messages::{did_you_mean, excerpt, listed};

/// The largest array, in bytes, unpacked too: the most values of a split, in f64.
const LARGEST_ARRAY: u64 = 8 * MAX_VALUES;
/// The largest array of inputs, in bytes, that is read into memory if it can be read from disk.
const LARGEST_IN_MEMORY: u64 = 256 << 20;
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
        match self.bytes(name, &path) {
            Ok(Some(bytes)) => parse(&bytes, &path),
            Ok(None) => Err(Error::file(&path, self.no_array(name))),
            Err(error) => Err(Error::file(
                &path,
                format!("the array cannot be read: {error}"),
            )),
        }
    }

    /// Returns the bytes of an array; `None` if there is none of that name.
    fn bytes(&mut self, name: &str, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match self {
            ArrayFiles::Directory { .. } if !path.is_file() => Ok(None),
            ArrayFiles::Directory { .. } => {
                files::read_at_most(File::open(path)?, LARGEST_ARRAY).map(Some)
            }
            ArrayFiles::Archive { archive, .. } => match archive.by_name(&format!("{name}.npy")) {
                Ok(member) => files::read_at_most(member, LARGEST_ARRAY).map(Some),
                Err(ZipError::FileNotFound) => Ok(None),
                Err(error) => Err(error.into()),
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
    let bytes = File::open(path).and_then(|file| files::read_at_most(file, LARGEST_ARRAY));
    let bytes =
        bytes.map_err(|error| Error::file(path, format!("the array cannot be read: {error}")))?;
    parse(&bytes, path)
}

/// Parses the bytes of an `.npy` file; errors name `path`.
///
/// # Errors
/// [`Error::File`] for bytes that are no `.npy` file, too few or too many bytes, and for elements
/// that are neither real numbers nor texts.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Array> {
    parse_bytes(bytes).map_err(|problem| Error::file(path, problem))
}

fn parse_bytes(bytes: &[u8]) -> Result<Array, String> {
    let ArrayHeader {
        shape,
        element,
        is_row_major,
        length,
    } = describe(bytes)?;
    check_bytes(&shape, element.size, (bytes.len() - length) as u64)?;
    let elements = match (element.kind, element.size) {
        ('f', 4) => Elements::Floats(elements(bytes)?),
        ('f', _) => Elements::Doubles(elements(bytes)?),
        ('i', 1) => Elements::Integers(integers::<i8>(bytes)?),
        ('i', 2) => Elements::Integers(integers::<i16>(bytes)?),
        ('i', 4) => Elements::Integers(integers::<i32>(bytes)?),
        ('i', _) => Elements::Integers(integers::<i64>(bytes)?),
        ('u', 1) => Elements::Integers(integers::<u8>(bytes)?),
        ('u', 2) => Elements::Integers(integers::<u16>(bytes)?),
        ('u', 4) => Elements::Integers(integers::<u32>(bytes)?),
        ('u', _) => Elements::Integers(integers_of_u64(bytes)?),
        ('U' | 'S', _) => {
            let texts = texts(&bytes[length..], element)?;
            Elements::Texts(if is_row_major {
                texts
            } else {
                row_major(texts, &shape)?
            })
        }
        _ => Elements::Integers(integers::<bool>(bytes)?),
    };
    Ok(Array { shape, elements })
}

/// Returns an array's elements in row-major order, whatever the order of the file.
fn elements<E: ReadableElement + Copy>(bytes: &[u8]) -> Result<Vec<E>, String> {
    let array = ArrayD::<E>::read_npy(bytes)
        .map_err(|error| format!("cannot be read as an array: {error}"))?;
    Ok(if array.is_standard_layout() {
        array.into_raw_vec_and_offset().0
    } else {
        array.iter().copied().collect()
    })
}

/// Returns column-major elements in row-major order.
fn row_major(texts: Vec<String>, shape: &[usize]) -> Result<Vec<String>, String> {
    let array = ArrayD::from_shape_vec(IxDyn(shape).f(), texts);
    let array = array.map_err(|error| format!("cannot be read as an array: {error}"))?;
    Ok(array.iter().cloned().collect())
}

fn integers<E: ReadableElement + Copy + Into<i64>>(bytes: &[u8]) -> Result<Vec<i64>, String> {
    Ok(elements::<E>(bytes)?.into_iter().map(Into::into).collect())
}

fn integers_of_u64(bytes: &[u8]) -> Result<Vec<i64>, String> {
    let signed = |value| {
        let too_large = |_| format!("it has {value}; integers must be at most {}", i64::MAX);
        i64::try_from(value).map_err(too_large)
    };
    elements::<u64>(bytes)?.into_iter().map(signed).collect()
}
