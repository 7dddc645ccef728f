//! Other files with targets, which a saved model is evaluated on.

use std::fmt;
use std::path::Path;

use super::preparation::Preparation;
use super::{Dataset, Split};
use crate::error::{Error, Result};
use crate::messages::shown_path;

/// A request for every sequence of a file, with its targets.
#[derive(Debug, Clone, Copy)]
pub struct LabelledRequest<'a> {
    /// A file or directory of the kind that the model was trained on.
    pub path: &'a Path,
    /// Which split, where `path` holds both; `None` for the test split there, and for all of a file
    /// without splits.
    pub split: Option<Split>,
    /// That of the model.
    pub preparation: &'a Preparation,
    /// K of the model.
    pub outputs: usize,
}

impl LabelledRequest<'_> {
    /// Refuses a split for a path that holds no splits.
    ///
    /// # Errors
    /// [`Error::Usage`] if a split is requested.
    pub(super) fn require_no_split(&self) -> Result<()> {
        match self.split {
            None => Ok(()),
            Some(split) => Err(Error::usage(format!(
                "the split is {}, but {} holds no splits; all of it is evaluated: request no split",
                split.name(),
                shown_path(self.path)
            ))),
        }
    }
}

/// The sequences of a file with their targets.
#[derive(Debug, Clone)]
pub struct LabelledData {
    pub data: Dataset,
    /// The split of the path that `data` is; `None` for all of a file.
    pub split: Option<Split>,
    /// The rows or values that the sequences were cut from; `None` for sequences that a file holds
    /// as such.
    pub extent: Option<Extent>,
    /// Clauses on what was left out or changed.
    pub notes: Vec<String>,
}

impl From<Dataset> for LabelledData {
    fn from(data: Dataset) -> LabelledData {
        LabelledData {
            data,
            split: None,
            extent: None,
            notes: vec![],
        }
    }
}

/// The size of a file in its own unit. Displayed as `120 rows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub count: usize,
    /// In the plural: `rows`, `values`, `characters`, `bytes` or `words`.
    pub unit: &'static str,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.count, self.unit)
    }
}
