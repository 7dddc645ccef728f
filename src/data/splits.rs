//! Training and test splits.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::preparation::Preparation;
use crate::error::{Error, Result};
use crate::rng::{Philox, Stream};

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    Train,
    Test,
}

impl Split {
    /// Returns `train` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Test => "test",
        }
    }
}

/// How the test split is taken from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SplitBy {
    /// The last rows or sequences.
    #[default]
    Order,
    /// Randomly chosen sequences.
    Random,
    /// Randomly chosen groups of sequences; no group is in both splits.
    Group,
}

/// A training split and an optional test split of the same shape. They are shared with the threads
/// of a run that reads them from disk.
#[derive(Debug, Clone)]
pub struct Splits {
    pub train: Arc<Dataset>,
    pub test: Option<Arc<Dataset>>,
    /// How both were prepared; saved with the model.
    pub preparation: Preparation,
}

impl From<Dataset> for Splits {
    /// A training split without a test split.
    fn from(train: Dataset) -> Splits {
        Splits {
            train: train.into(),
            test: None,
            preparation: Preparation::default(),
        }
    }
}

impl Splits {
    /// Returns one split.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no test split.
    pub fn take(self, split: Split) -> Result<Arc<Dataset>> {
        match split {
            Split::Train => Ok(self.train),
            Split::Test => self.test.ok_or_else(|| {
                Error::data(
                    "the data have no test split because data.test_fraction is 0; \
                     set it above 0, or use the split `train`",
                )
            }),
        }
    }
}

/// Returns the indices of the training and of the test sequences, both ascending; `groups` `[N]` is
/// the group of each sequence.
///
/// # Errors
/// A message if no sequence is left to train on.
pub(super) fn divide(
    groups: &[i64],
    by: SplitBy,
    test_fraction: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), String> {
    let count = groups.len();
    let mut distinct = groups.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let (units, unit) = match by {
        SplitBy::Order | SplitBy::Random => (count, "sequences"),
        SplitBy::Group => (distinct.len(), "groups"),
    };
    let taken = if test_fraction > 0.0 {
        ((units as f64 * test_fraction).round() as usize).max(1)
    } else {
        0
    };
    if taken >= units {
        return Err(format!(
            "data.test_fraction = {test_fraction} of {units} {unit} leaves none to train on; \
             set it to 0 for no test split, or use more data"
        ));
    }
    let is_test: Vec<bool> = match by {
        SplitBy::Order => (0..count).map(|n| n >= count - taken).collect(),
        SplitBy::Random => draw(units, taken, seed),
        SplitBy::Group => {
            let drawn = draw(units, taken, seed);
            let is_drawn = |group| distinct.binary_search(group).is_ok_and(|unit| drawn[unit]);
            groups.iter().map(is_drawn).collect()
        }
    };
    Ok((0..count).partition(|&n| !is_test[n]))
}

/// Draws `taken` of `units` at random; returns which are drawn.
fn draw(units: usize, taken: usize, seed: u64) -> Vec<bool> {
    let order = Philox::new(seed, Stream::Split).permutation(units);
    let mut drawn = vec![false; units];
    for &unit in &order[..taken] {
        drawn[unit as usize] = true;
    }
    drawn
}
