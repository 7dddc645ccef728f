//! Tables in a build without the feature `tables`: each request is an error.

use std::path::Path;

use super::super::{NO_TABLES, no_tables};
use super::{Csv, TableRows};
use crate::error::Result;

pub(crate) fn split_line(_text: &str, _delimiter: char) -> Result<Vec<String>, String> {
    Err(NO_TABLES.to_string())
}

pub(crate) fn date_of(_cell: &str) -> Result<f64, String> {
    Err(NO_TABLES.to_string())
}

impl Csv {
    pub(super) fn parse(&self, _bytes: &[u8], path: &Path, _known: &[String]) -> Result<TableRows> {
        Err(no_tables(path))
    }

    pub(super) fn parse_inputs(&self, _bytes: &[u8], path: &Path) -> Result<TableRows> {
        Err(no_tables(path))
    }
}
