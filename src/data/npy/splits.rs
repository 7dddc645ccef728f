//! From arrays to prepared training, validation and test splits.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use super::super::preparation::Preparation;
use super::super::splits::{Divided, Share, divide};
use super::super::{Dataset, Splits, Targets};
use super::labels::{Classes, FoundLabels};
use super::sequences::{FoundSequences, FoundTargets, rounding_note};
use super::targets::{FoundValues, InputSizes};
use super::{ArrayFiles, Npy, files};
use crate::error::{Error, Result};
use crate::messages::shown_path;

/// The ends of the names of arrays of a validation split.
pub(crate) const VALIDATION_SUFFIXES: [&str; 3] = ["_val", "_valid", "_validation"];

/// The indices of the sequences of each split.
struct DividedSequences {
    train: Vec<usize>,
    validation: Vec<usize>,
    test: Vec<usize>,
}

/// The opened arrays of splits that are in files of their own.
pub struct OwnFiles<'a, R> {
    pub validation: Option<&'a mut ArrayFiles<R>>,
    pub test: Option<&'a mut ArrayFiles<R>>,
}

impl<R> OwnFiles<'_, R> {
    /// All splits are in one file.
    pub const NONE: Self = OwnFiles {
        validation: None,
        test: None,
    };
}

/// The arrays of a file or directory.
pub(super) struct SplitArrays {
    pub sequences: FoundSequences,
    targets: FoundTargets,
    /// `[N]`, or `[N, T]`: the weight of each target, if the recipe names them.
    weights: Option<Vec<f32>>,
    /// `[N]`: the group of each sequence.
    groups: Vec<i64>,
    /// The path of the inputs, in messages.
    inputs_path: PathBuf,
    /// The path of the targets, in messages.
    targets_path: PathBuf,
}

impl SplitArrays {
    fn labels(&self) -> Option<&FoundLabels> {
        match &self.targets {
            FoundTargets::Labels(labels) => Some(labels),
            FoundTargets::Values(_) | FoundTargets::Nothing => None,
        }
    }

    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.sequences.count).collect()
    }

    /// Returns the targets of all sequences as a network learns them.
    pub(super) fn prepared_targets(
        &self,
        classes: Option<&Classes>,
        preparation: &Preparation,
    ) -> Result<Targets> {
        let count = self.sequences.count;
        let targets = self.targets.prepared(count, classes, preparation);
        targets.map_err(|problem| Error::file(&self.targets_path, problem))
    }

    /// Returns the weights of the targets of these sequences.
    fn weights_of(&self, sequences: &[usize]) -> Option<Vec<f32>> {
        let weights = self.weights.as_ref()?;
        let each = weights.len() / self.sequences.count.max(1);
        let own = sequences.iter();
        Some(
            own.flat_map(|&n| &weights[n * each..(n + 1) * each])
                .copied()
                .collect(),
        )
    }

    /// Returns some of the sequences as a network reads them.
    pub(super) fn prepared(
        &self,
        npy: &Npy,
        targets: &Targets,
        sequences: &[usize],
        preparation: &Preparation,
    ) -> Result<Dataset> {
        npy.prepared(&self.sequences, targets, sequences, preparation)
            .map_err(|problem| Error::file(&self.inputs_path, problem))
    }
}

impl Npy {
    /// Returns the splits of opened arrays; see [`DataSource::load`](super::DataSource::load).
    ///
    /// # Errors
    /// [`Error::File`], with the name of the array, for one that cannot be read or does not match
    /// the others.
    pub fn split<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
        own: OwnFiles<R>,
        seed: u64,
        known: Option<&Preparation>,
    ) -> Result<Splits> {
        let found = self.read(files)?;
        let test = match (own.test, self.of_test_names(&files.names())) {
            (Some(test), _) => Some(self.evaluated().read(test)?),
            (None, Some(of_test)) => Some(of_test.read(files)?),
            (None, None) => None,
        };
        let validation = match own.validation {
            Some(validation) => Some(self.evaluated().read(validation)?),
            None => self.validation_arrays(files)?,
        };
        let others: Vec<&SplitArrays> = test.iter().chain(&validation).collect();
        let classes = self.classes_of(&found, &others, known)?;
        // Labels need no preparation.
        let labels = match found.labels() {
            Some(_) => Some(found.prepared_targets(classes.as_ref(), &Preparation::default())?),
            None => None,
        };
        let parts = self.divided(&found, labels.as_ref(), test.is_some(), seed)?;
        let preparation = match known {
            Some(known) => known.clone(),
            None => Preparation {
                classes: classes.as_ref().map_or(vec![], Classes::names),
                ..self.learn(&found.sequences, &found.targets, &parts.train)?
            },
        };
        let targets = match labels {
            Some(labels) => labels,
            None => found.prepared_targets(None, &preparation)?,
        };
        let mut train = found.prepared(self, &targets, &parts.train, &preparation)?;
        train.weights = found.weights_of(&parts.train);
        let evaluated = |own: Option<&SplitArrays>, part: &[usize]| match own {
            Some(own) => {
                let targets = own.prepared_targets(classes.as_ref(), &preparation)?;
                (own.prepared(self, &targets, &own.all(), &preparation)).map(Some)
            }
            None if part.is_empty() => Ok(None),
            None => (found.prepared(self, &targets, part, &preparation)).map(Some),
        };
        let validation = evaluated(validation.as_ref(), &parts.validation)?;
        let test = evaluated(test.as_ref(), &parts.test)?;
        Ok(Splits {
            train: train.into(),
            validation: validation.map(Dataset::into),
            test: test.map(Dataset::into),
            preparation,
            notes: self.notes(&found, classes.as_ref()),
        })
    }

    /// Reads the arrays of the validation split, if the file has any.
    ///
    /// # Errors
    /// [`Error::Usage`] if the recipe also takes a part of the training split.
    fn validation_arrays<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
    ) -> Result<Option<SplitArrays>> {
        let Some(names) = self.of_validation_names(&files.names()) else {
            return Ok(None);
        };
        if self.validation_fraction > 0.0 {
            return Err(Error::usage(format!(
                "data.validation_fraction is {}, but {} has the array {} of a validation split; \
                 remove data.validation_fraction to use that",
                self.validation_fraction,
                shown_path(&self.path),
                names.inputs
            )));
        }
        names.read(files).map(Some)
    }

    /// Divides the sequences of one file; none are taken for the test split if it `has_test`
    /// sequences of its own.
    fn divided(
        &self,
        found: &SplitArrays,
        labels: Option<&Targets>,
        has_test: bool,
        seed: u64,
    ) -> Result<DividedSequences> {
        let classes = match labels {
            Some(Targets::Classes {
                labels,
                per_step: false,
                ..
            }) => &labels[..],
            _ => &[],
        };
        let take = |sequences: Vec<usize>, share: Share| {
            if share.fraction == 0.0 {
                return Ok((sequences, vec![]));
            }
            let of = |all: &[i64]| sequences.iter().map(|&n| all[n]).collect::<Vec<_>>();
            let own = sequences.iter().filter_map(|&n| classes.get(n).copied());
            let divided = Divided {
                groups: &of(&found.groups),
                classes: &own.collect::<Vec<_>>(),
            };
            let (kept, taken) = divide(divided, self.split_by, share, seed)
                .map_err(|problem| Error::file(&self.path, problem))?;
            let named = |part: Vec<usize>| part.into_iter().map(|n| sequences[n]).collect();
            Ok::<(Vec<usize>, Vec<usize>), Error>((named(kept), named(taken)))
        };
        let share = |field, fraction| Share { field, fraction };
        let (train, test) = if has_test {
            (found.all(), vec![])
        } else {
            take(found.all(), share("data.test_fraction", self.test_fraction))?
        };
        let validated = share("data.validation_fraction", self.validation_fraction);
        let (train, validation) = take(train, validated)?;
        Ok(DividedSequences {
            train,
            validation,
            test,
        })
    }

    /// Returns the classes of the labels in all splits; `None` without labels. Those of a model
    /// are `known`.
    pub(super) fn classes_of(
        &self,
        found: &SplitArrays,
        others: &[&SplitArrays],
        known: Option<&Preparation>,
    ) -> Result<Option<Classes>> {
        let labels = [found].into_iter().chain(others.iter().copied());
        let labels: Vec<&FoundLabels> = labels.filter_map(SplitArrays::labels).collect();
        let Some(first) = labels.first() else {
            return Ok(None);
        };
        let known = known.map(|known| &known.classes);
        let classes = match (self.classes, known) {
            (None, None) if self.label_lists => Classes::of_lists(&labels),
            (Some(count), _) => Ok(Classes::Numbered(count)),
            (None, Some(names)) if !names.is_empty() => Ok(Classes::Named(names.clone())),
            // The labels of a language model are tokens too.
            (None, _) if self.vocabulary.is_some() && first.per_step => Classes::numbered(&labels),
            (None, Some(_)) => Classes::numbered(&labels),
            (None, None) => Classes::of(&labels),
        };
        let classes = classes.map_err(|problem| Error::file(&found.targets_path, problem))?;
        Ok(Some(classes))
    }

    /// Returns sentences on how the arrays were understood.
    fn notes(&self, found: &SplitArrays, classes: Option<&Classes>) -> Vec<String> {
        let labels = found.labels().zip(classes).zip(self.labels.as_ref());
        let labels = labels.and_then(|((labels, classes), name)| classes.note(name, labels));
        let rounding = if self.normalise {
            None
        } else {
            rounding_note(&found.sequences, &self.inputs)
        };
        labels.into_iter().chain(rounding).collect()
    }

    /// Returns the configuration of `x_test` and `y_test` for one of `x_train` and `y_train`, if
    /// these arrays exist.
    pub(super) fn of_test_names(&self, names: &[String]) -> Option<Npy> {
        self.with_suffix("_test", names)
    }

    /// Returns the configuration of `x_val` and `y_val` (or `_valid`, or `_validation`) for one of
    /// `x_train` and `y_train`, if these arrays exist.
    pub(super) fn of_validation_names(&self, names: &[String]) -> Option<Npy> {
        let mut suffixes = VALIDATION_SUFFIXES.iter();
        suffixes.find_map(|suffix| self.with_suffix(suffix, names))
    }

    /// Returns the configuration of arrays that end in `suffix` in place of `_train`, if they
    /// exist.
    fn with_suffix(&self, suffix: &str, names: &[String]) -> Option<Npy> {
        let mut of_test = self.clone();
        let named = [
            &mut of_test.labels,
            &mut of_test.targets,
            &mut of_test.lengths,
            &mut of_test.label_lengths,
        ];
        let named = named.into_iter().flatten();
        for name in named.chain([&mut of_test.inputs]) {
            *name = format!("{}{suffix}", name.strip_suffix("_train")?);
            names.contains(name).then_some(())?;
        }
        Some(of_test.evaluated())
    }

    /// Returns the configuration for arrays that are only evaluated.
    fn evaluated(&self) -> Npy {
        Npy {
            // Groups only divide sequences into splits.
            groups: None,
            weights: None,
            ..self.clone()
        }
    }

    /// Returns the sequences of another file or directory, prepared as in `known`. Targets are
    /// optional; any that are present are ignored.
    pub(in super::super) fn sequences(&self, path: &Path, known: &Preparation) -> Result<Dataset> {
        let is_array = path.extension().is_some_and(|ending| ending == "npy");
        let (sequences, inputs_path) = if is_array {
            let sequences = self.inputs_in_memory(files::read(path)?, None, path)?;
            (sequences, path.to_path_buf())
        } else {
            let mut files = ArrayFiles::open(path)?;
            let names = files.names();
            // Sequences of full length need no lengths.
            let has_lengths = self.lengths.as_ref().is_some_and(|n| names.contains(n));
            let lengths = if has_lengths {
                self.read_lengths(&mut files)?
            } else {
                None
            };
            (
                self.inputs(&mut files, lengths)?,
                files.path_of(&self.inputs),
            )
        };
        let all: Vec<usize> = (0..sequences.count).collect();
        let targets = Targets::placeholders(sequences.count);
        self.prepared(&sequences, &targets, &all, known)
            .map_err(|problem| Error::file(inputs_path, problem))
    }

    /// Reads sequences with their targets, and the group of each.
    pub(super) fn read<R: Read + Seek>(&self, files: &mut ArrayFiles<R>) -> Result<SplitArrays> {
        let lengths = self.read_lengths(files)?;
        let sequences = self.inputs(files, lengths)?;
        let (targets, targets_path) = self.read_targets(files, &sequences)?;
        let sizes = InputSizes {
            count: sequences.count,
            steps: sequences.steps,
            lengths: sequences.lengths.as_deref(),
        };
        let weights = self.read_weights(files, &sizes, targets.per_step())?;
        let groups = self.read_groups(files, sequences.count)?;
        Ok(SplitArrays {
            inputs_path: files.path_of(&self.inputs),
            sequences,
            targets,
            weights,
            groups,
            targets_path,
        })
    }

    /// Reads labels or target values, and returns their path.
    fn read_targets<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
        sequences: &FoundSequences,
    ) -> Result<(FoundTargets, PathBuf)> {
        let sizes = InputSizes {
            count: sequences.count,
            steps: sequences.steps,
            lengths: sequences.lengths.as_deref(),
        };
        let Some(name) = self.labels.as_ref().or(self.targets.as_ref()) else {
            return Ok((FoundTargets::Nothing, self.path.clone()));
        };
        let path = files.path_of(name);
        let array = files.array(name)?;
        let targets = if self.label_lists {
            let lengths = self.read_label_lengths(files)?;
            FoundLabels::read_lists(&array, sizes.count, lengths.as_deref())
                .map(FoundTargets::Labels)
        } else if self.labels.is_some() {
            FoundLabels::read(&array, &sizes, self.one_hot).map(FoundTargets::Labels)
        } else {
            let found = FoundValues::read(array, &sizes);
            found
                .and_then(|found| self.checked_labels(found))
                .map(FoundTargets::Values)
        };
        let targets = targets.map_err(|problem| Error::file(&path, problem))?;
        Ok((targets, path))
    }
}
