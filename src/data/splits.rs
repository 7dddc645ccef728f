//! Training, validation and test splits.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::preparation::Preparation;
use crate::error::{Error, Result};
use crate::messages::shown_path;
use crate::rng::{Philox, Stream};

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    Train,
    /// Early stopping, the best epoch and plateaus are decided by it.
    Validation,
    Test,
}

impl Split {
    /// Returns `train`, `validation` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
}

/// One of several consecutive parts of the test split of data in time order. It is the test split
/// of a backtest; later parts are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fold {
    /// From 0.
    pub index: usize,
    /// The parts of the test split.
    pub count: usize,
    /// Whether earlier parts belong to the training split, or else are left out.
    pub refit: bool,
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
    /// The same share of each class, randomly chosen, so that both splits have all classes.
    Class,
}

/// A training split and optional validation and test splits, whose longest sequences may differ.
/// They are shared with the threads of a run that reads them from disk.
#[derive(Debug, Clone)]
pub struct Splits {
    pub train: Arc<Dataset>,
    /// Early stopping, the best epoch and plateaus are decided by it.
    pub validation: Option<Arc<Dataset>>,
    pub test: Option<Arc<Dataset>>,
    /// How all were prepared; saved with the model.
    pub preparation: Preparation,
    /// Sentences on rows left out and values filled.
    pub notes: Vec<String>,
}

impl From<Dataset> for Splits {
    /// A training split without a test split.
    fn from(train: Dataset) -> Splits {
        Splits {
            train: train.into(),
            validation: None,
            test: None,
            preparation: Preparation::default(),
            notes: vec![],
        }
    }
}

impl Splits {
    /// Returns the sequences that baselines for the test split are fitted to: those of training and
    /// validation split, since baselines need no validation.
    pub fn fitted(&self) -> Arc<Dataset> {
        match &self.validation {
            Some(validation) => self.train.joined(validation).into(),
            None => self.train.clone(),
        }
    }

    /// Returns one split.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no such split.
    pub fn take(self, split: Split) -> Result<Arc<Dataset>> {
        match split {
            Split::Train => Ok(self.train),
            Split::Validation => self.validation.ok_or_else(|| {
                Error::data(
                    "the data have no validation split because data.validation_fraction is 0 or \
                     absent, and no file is one; set it above 0, set data.validation_path, or use \
                     the split `train` or `test`",
                )
            }),
            Split::Test => self.test.ok_or_else(|| {
                Error::data(
                    "the data have no test split because data.test_fraction is 0; \
                     set it above 0, or use the split `train`",
                )
            }),
        }
    }
}

/// Refuses a validation split that is both a file and a part of the training split.
///
/// # Errors
/// [`Error::Usage`].
pub(super) fn one_validation_split(path: Option<&Path>, fraction: f64) -> Result<()> {
    match path {
        Some(path) if fraction > 0.0 => Err(Error::usage(format!(
            "data.validation_path is {} and data.validation_fraction is {fraction}; the validation \
             split is a file or a part of the training split: remove one of them",
            shown_path(path)
        ))),
        _ => Ok(()),
    }
}

/// The share of the sequences that a split takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// The field of the recipe that says so.
    pub field: &'static str,
    pub fraction: f64,
}

/// The sequences to divide into splits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Divided<'a> {
    /// `[N]`: the group of each sequence.
    pub groups: &'a [i64],
    /// `[N]`: the class of each sequence, for [`SplitBy::Class`].
    pub classes: &'a [u32],
}

/// Returns the indices of the training and of the test sequences, both ascending.
///
/// # Errors
/// A message if no sequence is left to train on, or there are no classes to divide by.
pub(super) fn divide(
    Divided { groups, classes }: Divided,
    by: SplitBy,
    Share { field, fraction }: Share,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), String> {
    let count = groups.len();
    let mut distinct = groups.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let (units, unit) = match by {
        SplitBy::Order | SplitBy::Random | SplitBy::Class => (count, "sequences"),
        SplitBy::Group => (distinct.len(), "groups"),
    };
    let taken = if fraction > 0.0 {
        ((units as f64 * fraction).round() as usize).max(1)
    } else {
        0
    };
    if taken >= units {
        return Err(format!(
            "{field} = {fraction} of {units} {unit} leaves none to train on; \
             set it to 0 for no such split, or use more data"
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
        SplitBy::Class if classes.len() != count => {
            return Err(
                "data.split_by is \"class\", but not each sequence has one class; set it to \
                 \"random\" or \"order\""
                    .into(),
            );
        }
        SplitBy::Class => draw_of_classes(classes, fraction, seed),
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

/// Draws the same share of each class: at least one sequence of each class that has two, and never
/// all of a class.
fn draw_of_classes(classes: &[u32], fraction: f64, seed: u64) -> Vec<bool> {
    let mut order = Philox::new(seed, Stream::Split).permutation(classes.len());
    // The random order within each class.
    order.sort_by_key(|&n| classes[n as usize]);
    let mut drawn = vec![false; classes.len()];
    for class in order.chunk_by(|&a, &b| classes[a as usize] == classes[b as usize]) {
        let share = (class.len() as f64 * fraction).round() as usize;
        let least = usize::from(fraction > 0.0);
        for &n in &class[..share.max(least).min(class.len() - 1)] {
            drawn[n as usize] = true;
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_is_in_both_splits() {
        let classes: Vec<u32> = (0..40).map(|n| n / 10).chain([4]).collect();
        let groups: Vec<i64> = (0..41).collect();
        let divided = Divided {
            groups: &groups,
            classes: &classes,
        };
        let share = Share {
            field: "data.test_fraction",
            fraction: 0.2,
        };
        let (train, test) = divide(divided, SplitBy::Class, share, 3).expect("it is valid");
        assert_eq!((train.len(), test.len()), (33, 8));
        for class in 0..4 {
            let of_class = test.iter().filter(|&&n| classes[n] == class);
            assert_eq!(of_class.count(), 2, "{test:?}");
        }
        // The only sequence of a class is in the training split.
        assert!(train.contains(&40));
        let (_, random) = divide(divided, SplitBy::Class, share, 4).expect("it is valid");
        assert_ne!(test, random);
        let message = divide(
            Divided {
                classes: &[],
                ..divided
            },
            SplitBy::Class,
            share,
            3,
        );
        assert!(message.expect_err("there are none").contains("one class"));
    }
}
