//! Tables in a build without the feature `tables`: each request is an error.

use std::borrow::Cow;
use std::path::Path;

use super::super::{NO_TABLES, no_tables};
use super::{Csv, TableRows};
use crate::error::Result;

/// A table's header and the records below it; none can be read.
pub(crate) struct Records {
    pub header: Vec<String>,
}

impl Records {
    pub fn new(_bytes: &[u8], _delimiter: char, path: &Path) -> Result<Records> {
        Err(no_tables(path))
    }

    pub fn each(self, _see: impl FnMut(u64, &[String]) -> Result<()>) -> Result<()> {
        Ok(())
    }
}

pub(crate) fn split_line(_text: &str, _delimiter: char) -> Result<Vec<String>, String> {
    Err(NO_TABLES.to_string())
}

pub(crate) fn date_of(_cell: &str) -> Result<f64, String> {
    Err(NO_TABLES.to_string())
}

pub(crate) fn with_blank_rows(bytes: &[u8], _delimiter: char) -> Cow<'_, [u8]> {
    bytes.into()
}

impl Csv {
    pub(super) fn parse(&self, _bytes: &[u8], path: &Path, _known: &[String]) -> Result<TableRows> {
        Err(no_tables(path))
    }

    pub(super) fn parse_inputs(&self, _bytes: &[u8], path: &Path) -> Result<TableRows> {
        Err(no_tables(path))
    }
}
