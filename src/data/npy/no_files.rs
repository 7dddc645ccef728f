//! Arrays in a build without the feature `tables`: each request is an error.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Seek};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use super::super::no_tables;
use super::super::stored::StoredArray;
use super::Array;
use crate::error::Result;

/// The arrays of a directory or of an archive; none can be opened.
pub struct ArrayFiles<R> {
    never: Infallible,
    reader: PhantomData<R>,
}

impl ArrayFiles<File> {
    /// Returns the error that this build cannot read arrays.
    ///
    /// # Errors
    /// [`Error::File`](crate::error::Error::File), always.
    pub fn open(path: &Path) -> Result<ArrayFiles<File>> {
        Err(no_tables(path))
    }
}

impl<R: Read + Seek> ArrayFiles<R> {
    pub(crate) fn names(&self) -> Vec<String> {
        match self.never {}
    }

    pub(super) fn path_of(&self, _name: &str) -> PathBuf {
        match self.never {}
    }

    pub(crate) fn shape_of_stored(&self, _name: &str) -> Result<Option<Vec<usize>>> {
        match self.never {}
    }

    pub(super) fn stored(&self, _name: &str) -> Result<Option<StoredArray>> {
        match self.never {}
    }

    pub(crate) fn array(&mut self, _name: &str) -> Result<Array> {
        match self.never {}
    }
}

/// Returns the error that this build cannot read arrays.
///
/// # Errors
/// [`Error::File`](crate::error::Error::File), always.
pub fn parse(_bytes: &[u8], path: &Path) -> Result<Array> {
    Err(no_tables(path))
}

pub(super) fn read(path: &Path) -> Result<Array> {
    Err(no_tables(path))
}
