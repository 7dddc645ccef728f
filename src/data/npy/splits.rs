//! From arrays to prepared training and test splits.

use std::io::{Read, Seek};
use std::path::Path;

use super::super::preparation::Preparation;
use super::super::splits::{Divided, divide};
use super::super::{Dataset, Splits, Targets};
use super::targets::{self, InputSizes};
use super::{Array, ArrayFiles, Npy, files};
use crate::error::{Error, Result};

impl Npy {
    /// Returns both splits of opened arrays; `test` are those of `test_path`. See
    /// [`DataSource::load`](super::DataSource::load).
    ///
    /// # Errors
    /// [`Error::File`], with the name of the array, for one that cannot be read or does not match
    /// the others.
    pub fn split<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
        test: Option<&mut ArrayFiles<R>>,
        seed: u64,
        known: Option<&Preparation>,
    ) -> Result<Splits> {
        let (data, groups) = self.read(files, self.classes)?;
        let classes = match &data.targets {
            Targets::Classes { classes, .. } => Some(*classes),
            Targets::Values { .. } => None,
        };
        let (mut train, mut test) = match (test, self.of_test_names(&files.names())) {
            (Some(test), _) => (data, Some(self.read(test, classes)?.0)),
            (None, Some(of_test)) => (data, Some(of_test.read(files, classes)?.0)),
            (None, None) => {
                let classes = match &data.targets {
                    Targets::Classes {
                        labels,
                        per_step: false,
                        ..
                    } => &labels[..],
                    _ => &[],
                };
                let divided = Divided {
                    groups: &groups,
                    classes,
                };
                let (train, test) = divide(divided, self.split_by, self.test_fraction, seed)
                    .map_err(|problem| Error::file(&self.path, problem))?;
                let test = (!test.is_empty()).then(|| data.select(&test));
                (data.select(&train), test)
            }
        };
        let preparation = match known {
            Some(known) => known.clone(),
            None => self.learn(&train)?,
        };
        self.prepare(&mut train, &preparation)?;
        if let Some(test) = &mut test {
            self.prepare(test, &preparation)?;
        }
        Ok(Splits {
            train: train.into(),
            test: test.map(Dataset::into),
            preparation,
            notes: vec![],
        })
    }

    /// Returns the configuration of `x_test` and `y_test` for one of `x_train` and `y_train`, if
    /// these arrays exist.
    pub(super) fn of_test_names(&self, names: &[String]) -> Option<Npy> {
        let mut of_test = self.clone();
        let named = [
            &mut of_test.labels,
            &mut of_test.targets,
            &mut of_test.lengths,
        ];
        let named = named.into_iter().flatten();
        for name in named.chain([&mut of_test.inputs]) {
            *name = format!("{}_test", name.strip_suffix("_train")?);
            names.contains(name).then_some(())?;
        }
        // Groups only divide sequences into splits.
        of_test.groups = None;
        Some(of_test)
    }

    /// Returns the sequences of another file or directory, prepared as in `known`. Targets are
    /// optional; any that are present are ignored.
    pub(in super::super) fn sequences(&self, path: &Path, known: &Preparation) -> Result<Dataset> {
        let is_array = path.extension().is_some_and(|ending| ending == "npy");
        let mut data = if is_array {
            self.inputs_in_memory(files::read(path)?, None, path)?
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
            self.inputs(&mut files, lengths)?
        };
        self.prepare(&mut data, known)?;
        Ok(data)
    }

    /// Reads sequences with their targets, and the group of each.
    pub(super) fn read<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
        classes: Option<usize>,
    ) -> Result<(Dataset, Vec<i64>)> {
        let lengths = self.read_lengths(files)?;
        let mut data = self.inputs(files, lengths.clone())?;
        let sizes = InputSizes {
            count: data.count,
            steps: data.steps,
            lengths: lengths.as_deref(),
        };
        let mut read = |name: &str, targets: &dyn Fn(Array) -> Result<Targets, String>| {
            let path = files.path_of(name);
            targets(files.array(name)?).map_err(|problem| Error::file(path, problem))
        };
        if let Some(name) = &self.labels {
            data.targets = read(name, &|array| targets::labels(&array, &sizes, classes))?;
        }
        if let Some(name) = &self.targets {
            data.targets = read(name, &|array| targets::values(array, &sizes))?;
        }
        let groups = self.read_groups(files, data.count)?;
        Ok((data, groups))
    }
}
