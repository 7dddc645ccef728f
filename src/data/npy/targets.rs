//! Targets, lengths and groups of the sequences of arrays.

use std::io::{Read, Seek};

use super::super::{MAX_VALUES, Targets};
use super::inputs::{clear_padding, padded};
use super::{Array, ArrayFiles, MOST_CLASSES, Npy};
use crate::error::{Error, Result};
use crate::kernels::IGNORE;

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
    fn concatenated_rows(&self) -> Option<usize> {
        self.lengths.map(|lengths| lengths.iter().sum())
    }

    /// Returns whether element `at` of `[N, T]` is a padded step.
    fn is_padding(&self, at: usize) -> bool {
        let steps = self.steps;
        self.lengths
            .is_some_and(|lengths| at % steps >= lengths[at / steps])
    }
}

/// Returns the labels of sequences; `classes` is one more than the largest if it is not given.
pub(super) fn labels(
    array: &Array,
    inputs: &InputSizes,
    classes: Option<usize>,
) -> Result<Targets, String> {
    let labels = array
        .integers()
        .ok_or("labels must be whole numbers; for values, name the array as data.targets")?;
    let (labels, per_step) = match (&array.shape[..], inputs.lengths) {
        (&[n] | &[n, 1], _) if n == inputs.count => (labels, false),
        (&[n, t], _) if (n, t) == (inputs.count, inputs.steps) => (labels, true),
        (&[r], Some(lengths)) if Some(r) == inputs.concatenated_rows() => {
            (padded(&labels, lengths, inputs.steps, 1, -1), true)
        }
        (shape, _) => {
            let (count, steps) = (inputs.count, inputs.steps);
            return Err(format!(
                "the array is {shape:?}; for these inputs labels must be [{count}], \
                 or [{count}, {steps}] for one at each step"
            ));
        }
    };
    let largest = labels.iter().copied().max().unwrap_or(0).max(0);
    let classes = classes.unwrap_or(largest.saturating_add(1).max(2) as usize);
    check_labels(&labels, classes, per_step, inputs)?;
    if classes > MOST_CLASSES {
        return Err(format!(
            "the largest label is {largest}; at most {MOST_CLASSES} classes are allowed"
        ));
    }
    // Negative labels are not learnt; those above are at padded steps.
    let label = |label: i64| u32::try_from(label).unwrap_or(IGNORE);
    Ok(Targets::Classes {
        labels: labels.into_iter().map(label).collect(),
        classes,
        per_step,
    })
}

fn check_labels(
    labels: &[i64],
    classes: usize,
    per_step: bool,
    inputs: &InputSizes,
) -> Result<(), String> {
    let is_wrong = |at: usize| {
        let label = labels[at];
        let is_padding = per_step && inputs.is_padding(at);
        label >= classes as i64 && !is_padding || label < 0 && !per_step
    };
    let Some(at) = (0..labels.len()).find(|&at| is_wrong(at)) else {
        return Ok(());
    };
    Err(format!(
        "the label of sequence {} is {}; with {classes} classes labels must be 0 to {}{}",
        if per_step { at / inputs.steps } else { at },
        labels[at],
        classes - 1,
        if per_step {
            ", or negative at steps that are not learnt"
        } else {
            ""
        }
    ))
}

/// Returns the target values of sequences.
pub(super) fn values(array: Array, inputs: &InputSizes) -> Result<Targets, String> {
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
    let mut values = array.floats();
    if let (true, Some(lengths)) = (per_step, inputs.lengths) {
        if is_concatenated {
            values = padded(&values, lengths, steps, width, 0.0);
        }
        clear_padding(&mut values, lengths, steps, width, 0.0);
    }
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let value = values[at];
        return Err(format!("element {at} is {value}; targets must be finite"));
    }
    Ok(Targets::Values {
        values,
        width,
        per_step,
    })
}

impl Npy {
    /// Returns the lengths `[N]`, if the recipe names them.
    pub(super) fn read_lengths<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
    ) -> Result<Option<Vec<usize>>> {
        let Some(name) = &self.lengths else {
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
        let groups = array.integers().filter(|groups| groups.len() == count);
        groups.ok_or_else(|| {
            let problem = format!(
                "the array is {:?}; groups must be {count} whole numbers, one for each sequence",
                array.shape
            );
            Error::file(files.path_of(name), problem)
        })
    }
}
