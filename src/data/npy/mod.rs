//! NumPy's arrays: an `.npz` file, or a directory of `.npy` files.

mod array;
#[cfg_attr(not(feature = "tables"), path = "no_files.rs")]
mod files;
#[cfg(feature = "tables")]
mod header;
mod inputs;
mod labelled;
mod labels;
mod lists;
mod sequences;
mod splits;
mod targets;
#[cfg(all(test, feature = "tables"))]
mod tests;
#[cfg(feature = "tables")]
mod texts;
mod weights;

use std::path::{Path, PathBuf};

pub use array::{Array, Elements};
#[cfg(feature = "formats")]
pub(crate) use files::read_array;
pub use files::{ArrayFiles, parse};
use serde::{Deserialize, Serialize};
pub use splits::OwnFiles;
pub(crate) use splits::VALIDATION_SUFFIXES;

use super::labelled::{LabelledData, LabelledRequest};
use super::preparation::{Missing, Preparation};
use super::source::{
    DataSource, DataUse, ExpectedPath, InputRequest, LineFormat, PredictionInputs, TargetKind,
};
use super::splits::one_validation_split;
use super::{SplitBy, Splits};
use crate::error::{Error, Result};
use crate::fields;
use crate::network::Reads;

/// The most classes, and the largest vocabulary.
const MOST_CLASSES: usize = 1 << 24;

/// The arrays to read, by their names, and their meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npy {
    /// An `.npz` file, or a directory of `.npy` files. The arrays below are members of it, named
    /// without `.npy`.
    pub path: PathBuf,
    /// `[N, T, I]`, or `[N, T]` of one feature. Sequences of different lengths are padded to T, or
    /// concatenated as `[R, I]`, where R is the sum of their lengths.
    pub inputs: String,
    /// Labels: `[N]`, or `[N, T]` (or `[R]`) for one at each step, where negative, NaN and empty
    /// labels are not learnt. They are whole numbers or texts, or one-hot with a last dimension of
    /// K.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Whether labels are one-hot; without it, they are if their shape has one dimension more than
    /// labels have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_hot: Option<bool>,
    /// Whether the targets are lists of labels for the loss `ctc`: labels `[N, L]`, where negative,
    /// NaN and empty ones follow the labels of a list. Class 0 is the blank: with `classes`, labels
    /// are 1 to K - 1; without it, each label that occurs is a class after the blank.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub label_lists: bool,
    /// `[N]`: the number of labels of each list, which may then be concatenated too; they need
    /// `label_lists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_lengths: Option<String>,
    /// Target values instead of labels: `[N]` or `[N, K]`, or `[N, T, K]` (or `[R, K]`) for some at
    /// each step. NaN is a missing target, which is neither learnt nor scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
    /// Whether targets are K labels that are each 0 or 1 (NaN is missing); they are not normalized.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub multi_label: bool,
    /// The weight of each sequence in training: `[N]`, or `[N, T]` (or `[R]`) for one at each step
    /// if targets are at each step. Evaluations are not weighted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// `[N]`: valid steps of each sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<String>,
    /// `[N]` integers or texts: the group of each sequence. With `split_by = "group"`, no group is
    /// in both splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
    /// K: labels are numbers below it. Without it, each label that occurs is a class, and its value
    /// the class's name; labels at each step of tokens are tokens, and K is one more than the
    /// largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// V: if set, the inputs are `[N, T]` tokens, each below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// The arrays of the validation split, with the same names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_path: Option<PathBuf>,
    /// The arrays of the test split, with the same names. Without it: if all names end in `_train`
    /// and `path` has the same names with `_test`, those; else a part of the arrays in `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_path: Option<PathBuf>,
    #[serde(default = "default_test_fraction")]
    pub test_fraction: f64,
    /// The part of the training split that is the validation split, taken like the test split.
    /// Without it: if all names end in `_train` and `path` has the same names with `_val`, `_valid`
    /// or `_validation`, those. Early stopping, the best epoch and plateaus are decided by it.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub validation_fraction: f64,
    /// How the splits are taken from `path`.
    #[serde(default = "default_split_by")]
    pub split_by: SplitBy,
    /// Whether inputs and target values are normalized by mean and deviation of the training split.
    #[serde(default = "default_normalise")]
    pub normalise: bool,
    /// How to treat NaN among the inputs.
    #[serde(default)]
    pub missing: Missing,
}

fn default_test_fraction() -> f64 {
    0.2
}

fn default_split_by() -> SplitBy {
    SplitBy::Random
}

fn default_normalise() -> bool {
    true
}

impl Npy {
    /// Returns a configuration for an array of inputs, with defaults for everything else; set
    /// `labels` or `targets` to train with it.
    pub fn new(path: &Path, inputs: &str) -> Npy {
        Npy {
            path: path.to_path_buf(),
            inputs: inputs.to_string(),
            labels: None,
            one_hot: None,
            label_lists: false,
            label_lengths: None,
            targets: None,
            multi_label: false,
            weights: None,
            lengths: None,
            groups: None,
            classes: None,
            vocabulary: None,
            validation_path: None,
            test_path: None,
            test_fraction: default_test_fraction(),
            validation_fraction: 0.0,
            split_by: default_split_by(),
            normalise: default_normalise(),
            missing: Missing::default(),
        }
    }

    fn validate_targets(&self, usage: &DataUse) -> Result<()> {
        if !self.label_lists && self.label_lengths.is_some() {
            return Err(Error::usage(
                "data.label_lengths is set, and data.label_lists is not; set data.label_lists = \
                 true for lists of labels, or remove data.label_lengths",
            ));
        }
        if self.label_lists && (self.labels.is_none() || self.one_hot.is_some()) {
            return Err(Error::usage(
                "data.label_lists is set, so data.labels must name the array of lists, and \
                 data.one_hot must be left out",
            ));
        }
        match (&self.labels, &self.targets) {
            (Some(_), None) if self.multi_label => Err(Error::usage(
                "data.multi_label is set, and data.labels are classes; name the array of zeros and \
                 ones in data.targets, or remove data.multi_label",
            )),
            (Some(_), None) if self.label_lists => {
                let data = "data.label_lists is set";
                usage.require_head(data, TargetKind::Lists, Reads::Every)
            }
            (Some(_), None) => {
                usage.require_targets("data.labels are classes", TargetKind::Classes)
            }
            (None, Some(_)) if self.multi_label => {
                usage.require_targets("data.multi_label is set", TargetKind::Labels)
            }
            (None, Some(_)) => usage.require_targets(
                "data.targets are values (data.multi_label = true says that they are labels 0 and \
                 1)",
                TargetKind::Quantities,
            ),
            (labels, _) => Err(Error::usage(format!(
                "data.labels and data.targets are {}; data of kind npy must have one of them: \
                 data.labels, an array of classes, or data.targets, an array of values",
                if labels.is_some() {
                    "both set"
                } else {
                    "not set"
                }
            ))),
        }
    }
}

impl DataSource for Npy {
    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        std::iter::once(&mut self.path)
            .chain(&mut self.validation_path)
            .chain(&mut self.test_path)
            .collect()
    }

    fn expected_path(&self) -> ExpectedPath {
        ExpectedPath::FileOrDirectory("arrays: an .npz file, or a directory of .npy files")
    }

    fn validate(&self, usage: &DataUse) -> Result<()> {
        self.validate_targets(usage)?;
        for (field, size) in [
            ("data.classes", self.classes),
            ("data.vocabulary", self.vocabulary),
        ] {
            let allowed = size.is_none_or(|size| (1..=MOST_CLASSES).contains(&size));
            let range = format!("1 to {MOST_CLASSES}, or left out");
            fields::require(allowed, field, size.unwrap_or_default(), &range)?;
        }
        fields::fraction("data.test_fraction", self.test_fraction)?;
        fields::fraction("data.validation_fraction", self.validation_fraction)?;
        one_validation_split(self.validation_path.as_deref(), self.validation_fraction)?;
        if self.split_by == SplitBy::Group && self.groups.is_none() {
            return Err(Error::usage(
                "data.split_by is \"group\", but data.groups is not set; \
                 set it to the array of groups",
            ));
        }
        Ok(())
    }

    fn outputs(&self) -> usize {
        self.classes.unwrap_or(2)
    }

    fn load(&self, seed: u64, known: Option<&Preparation>) -> Result<Splits> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(ArrayFiles::open).transpose();
        let mut test = open(&self.test_path)?;
        let mut validation = open(&self.validation_path)?;
        let own = OwnFiles {
            validation: validation.as_mut(),
            test: test.as_mut(),
        };
        self.split(&mut ArrayFiles::open(&self.path)?, own, seed, known)
    }

    fn load_labelled(&self, request: &LabelledRequest) -> Result<LabelledData> {
        self.labelled(request)
    }

    fn load_inputs(&self, request: &InputRequest) -> Result<PredictionInputs> {
        Ok(self.sequences(request.path, request.preparation)?.into())
    }

    fn line_format(&self) -> LineFormat<'_> {
        LineFormat {
            missing: self.missing,
            ..LineFormat::default()
        }
    }
}
