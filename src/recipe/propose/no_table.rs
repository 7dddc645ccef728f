//! Proposals for tables in a build without the feature `tables`: each is an error.

use std::path::Path;

use super::{Hints, ProposedData};
use crate::data::csv::decode::DecodedTable;
use crate::data::no_tables;
use crate::error::Result;

pub(super) fn propose(
    path: &Path,
    _decoded: &DecodedTable,
    _hints: &Hints,
) -> Result<ProposedData> {
    Err(no_tables(path))
}
