//! Target values, lengths and groups of the sequences of arrays.

use std::collections::HashMap;
use std::io::{Read, Seek};

use super::super::{MAX_VALUES, MISSING};
use super::array::Numbers;
use super::{Array, ArrayFiles, Elements, Npy};
use crate::error::{Error, Result};
use crate::io::memory_limit;

/// The sequences that targets belong to.
pub(super) struct InputSizes<'a> {
    /// N.
    pub count: usize,
    /// T.
    pub steps: usize,
    /// `[N]`, if the sequences have lengths.
    pub lengths: Option<&'a [usize]>,
}

impl InputSizes<'_> {
    /// Returns the rows of all sequences if they are concatenated.
    pub fn concatenated_rows(&self) -> Option<usize> {
        self.lengths.map(|lengths| lengths.iter().sum())
    }

    /// Returns whether element `at` of `[N, T]` is a padded step.
    pub fn is_padding(&self, at: usize) -> bool {
        let steps = self.steps;
        self.lengths
            .is_some_and(|lengths| at % steps >= lengths[at / steps])
    }
}

/// Target values in the units of the data; NaN is missing.
pub(super) struct FoundValues {
    /// `[N, width]`, or `[N, T, width]` if `per_step`.
    pub values: Numbers,
    /// K.
    pub width: usize,
    pub per_step: bool,
}

impl FoundValues {
    /// Reads the target values of sequences.
    ///
    /// # Errors
    /// A message for a shape that does not belong to the inputs, and for values that are infinite
    /// or all missing.
    pub fn read(array: Array, inputs: &InputSizes) -> Result<FoundValues, String> {
        let (count, steps) = (inputs.count, inputs.steps);
        let rows = inputs.concatenated_rows();
        let (width, per_step, is_concatenated) = match array.shape[..] {
            [n] if n == count => (1, false, false),
            [n, t, width] if (n, t) == (count, steps) => (width, true, false),
            [n, width] if n == count => (width, false, false),
            [r, width] if Some(r) == rows => (width, true, true),
            [r] if Some(r) == rows => (1, true, true),
            _ => {
                return Err(format!(
                    "the array is {:?}; for these inputs targets must be [{count}, K], \
                     or [{count}, {steps}, K] for some at each step",
                    array.shape
                ));
            }
        };
        let size = count as u128 * steps as u128 * width as u128;
        if width == 0 || per_step && size > u128::from(MAX_VALUES) {
            return Err(format!(
                "each target has {width} values; there must be at least one, \
                 and at most {MAX_VALUES} values in all"
            ));
        }
        if per_step {
            memory_limit::check_values(size).map_err(|problem| problem.to_string())?;
        }
        let mut values = array.numbers("targets")?;
        if let (true, Some(lengths)) = (per_step, inputs.lengths) {
            if is_concatenated {
                values = values.padded(lengths, steps, width);
            }
            values.clear_padding(lengths, steps, width);
        }
        if let Some(at) = values.infinite() {
            return Err(format!(
                "element {at} is infinite; targets must be finite, or NaN where they are missing"
            ));
        }
        if values.are_missing() {
            return Err(
                "every element is NaN, which is a missing target; some must be numbers".into(),
            );
        }
        Ok(FoundValues {
            values,
            width,
            per_step,
        })
    }
}

impl Npy {
    /// Returns the values, which must be 0 or 1 for several labels.
    ///
    /// # Errors
    /// A message for the first label that is neither.
    pub(super) fn checked_labels(&self, found: FoundValues) -> Result<FoundValues, String> {
        let values = found.values.prepared_targets(0..found.values.len(), &[]);
        let is_label = |value: &f32| [0.0, 1.0, MISSING].contains(value);
        match values.iter().position(|value| !is_label(value)) {
            Some(at) if self.multi_label => Err(format!(
                "element {at} is {}; data.multi_label is set, so each must be 0 or 1, or NaN where \
                 it is missing",
                values[at]
            )),
            _ => Ok(found),
        }
    }

    /// Returns the lengths `[N]`, if the recipe names them.
    pub(super) fn read_lengths<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
    ) -> Result<Option<Vec<usize>>> {
        Npy::whole_lengths(self.lengths.as_ref(), files)
    }

    /// Returns the numbers of labels of lists `[N]`, if the recipe names them.
    pub(super) fn read_label_lengths<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
    ) -> Result<Option<Vec<usize>>> {
        Npy::whole_lengths(self.label_lengths.as_ref(), files)
    }

    fn whole_lengths<R: Read + Seek>(
        name: Option<&String>,
        files: &mut ArrayFiles<R>,
    ) -> Result<Option<Vec<usize>>> {
        let Some(name) = name else {
            return Ok(None);
        };
        let array = files.array(name)?;
        let integers = array.integers().filter(|_| array.shape.len() == 1);
        let lengths = integers.and_then(|lengths| {
            let lengths = lengths.into_iter().map(usize::try_from);
            lengths.collect::<Result<Vec<usize>, _>>().ok()
        });
        if lengths.is_none() {
            let problem = format!(
                "the array is {:?}; lengths must be [N] whole numbers of at least 0",
                array.shape
            );
            return Err(Error::file(files.path_of(name), problem));
        }
        Ok(lengths)
    }

    /// Returns the group of each of `count` sequences; one group each if the recipe names none.
    pub(super) fn read_groups<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
        count: usize,
    ) -> Result<Vec<i64>> {
        let Some(name) = &self.groups else {
            return Ok((0..count as i64).collect());
        };
        let array = files.array(name)?;
        let groups = match &array.elements {
            Elements::Texts(names) => Some(numbered(names)),
            _ => array.integers(),
        };
        groups.filter(|groups| groups.len() == count).ok_or_else(|| {
            let problem = format!(
                "the array is {:?}; groups must be {count} whole numbers or texts, one for each \
                 sequence",
                array.shape
            );
            Error::file(files.path_of(name), problem)
        })
    }
}

/// Numbers names in the order in which they occur.
fn numbered<'a>(names: &'a [String]) -> Vec<i64> {
    let mut numbers: HashMap<&'a str, i64> = HashMap::new();
    let number = |name: &'a String| {
        let next = numbers.len() as i64;
        *numbers.entry(name).or_insert(next)
    };
    names.iter().map(number).collect()
}
