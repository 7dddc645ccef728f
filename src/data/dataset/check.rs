//! Checks of a data set: sizes that agree, labels and tokens in range, finite values.

use super::{Dataset, Inputs, Targets};
use crate::error::{Error, Result};
use crate::fields;
use crate::kernels::{BLANK, IGNORE};
use crate::messages::element_index;

impl Dataset {
    /// Checks that sizes agree, that labels and tokens are in range, and that values are finite.
    ///
    /// # Errors
    /// [`Error::Usage`] with the first index that is wrong, and what is allowed.
    pub fn check(&self) -> Result<()> {
        let (count, steps, features) = (self.count, self.steps, self.features);
        if count == 0 || steps == 0 || features == 0 {
            return Err(Error::usage(format!(
                "the inputs are [{count}, {steps}, {features}]; \
                 they need at least one sequence, one step and one feature"
            )));
        }
        self.check_inputs()?;
        if let Some(lengths) = &self.lengths {
            let lengths = lengths.iter().map(|&length| length as usize);
            check_lengths(lengths, count, steps)?;
        }
        self.check_weights()?;
        let mut shape = vec![count];
        if self.targets.per_step() {
            shape.push(steps);
        }
        self.check_targets(&self.targets, shape, false)
    }

    /// Checks targets of sequences or steps of `shape`. One of several heads may have none in any
    /// of them.
    fn check_targets(
        &self,
        targets: &Targets,
        shape: Vec<usize>,
        is_one_of_several: bool,
    ) -> Result<()> {
        match targets {
            Targets::Classes {
                labels, classes, ..
            } => self.check_labels(labels, *classes, &shape, is_one_of_several),
            Targets::Values { values, width, .. } => check_target_values(values, *width, shape),
            Targets::Lists {
                labels,
                longest,
                classes,
            } => check_lists(labels, *classes, [self.count, *longest]),
            Targets::Heads(heads) => {
                let per_step = self.targets.per_step();
                let fits = |head: &Targets| match head {
                    Targets::Heads(_) => false,
                    Targets::Lists { .. } => true,
                    _ => head.per_step() == per_step,
                };
                if heads.is_empty() || !heads.iter().all(fits) {
                    return Err(Error::usage(
                        "the targets of several heads must be classes or values, for all of them \
                         one for each sequence, or one for each step; or lists of labels",
                    ));
                }
                let has_lists = targets.longest_list() > 0;
                if per_step && has_lists && self.weights.is_some() {
                    return Err(Error::usage(
                        "there is a weight for each step, and one of several heads has a list of \
                         labels for each sequence, which no step's weight belongs to; leave out \
                         the weights, or train a model for each head",
                    ));
                }
                let mut heads = heads.iter();
                heads.try_for_each(|head| self.check_targets(head, shape.clone(), true))
            }
        }
    }

    /// Checks that there is a weight for each target, finite and at least 0.
    pub(super) fn check_weights(&self) -> Result<()> {
        let Some(weights) = &self.weights else {
            return Ok(());
        };
        let shape = if self.targets.per_step() {
            vec![self.count, self.steps]
        } else {
            vec![self.count]
        };
        check_len("weights", weights.len(), &shape)?;
        let is_allowed = |weight: &f32| weight.is_finite() && *weight >= 0.0;
        match weights.iter().position(|weight| !is_allowed(weight)) {
            None => Ok(()),
            Some(at) => Err(Error::usage(format!(
                "the weight at {:?} is {}; weights must be finite and at least 0",
                element_index(at, &shape),
                weights[at]
            ))),
        }
    }

    fn check_inputs(&self) -> Result<()> {
        let (count, steps, features) = (self.count, self.steps, self.features);
        let shape = [count, steps, features];
        let found = match &self.inputs {
            Inputs::Bytes { values, .. } => values.len(),
            Inputs::Floats(values) => values.len(),
            Inputs::Stored(stored) => stored.count() * steps * features,
            Inputs::Tokens { values, .. } => values.len(),
        };
        check_len("input values", found, &shape)?;
        match &self.inputs {
            Inputs::Floats(values) => check_finite("inputs", values, &shape),
            Inputs::Bytes { scale, .. } => {
                let field = "the inputs' scale";
                fields::require(scale.is_finite(), field, scale, "a finite number")
            }
            // Checked when they are read.
            Inputs::Stored(_) => Ok(()),
            Inputs::Tokens { values, vocabulary } => {
                check_tokens(values, *vocabulary, &[count, steps])
            }
        }
    }

    /// Checks labels of `shape` `[N]` or `[N, T]`, of which sequences have none only if
    /// `may_be_missing`. Labels at padded steps are not checked.
    fn check_labels(
        &self,
        labels: &[u32],
        classes: usize,
        shape: &[usize],
        may_be_missing: bool,
    ) -> Result<()> {
        check_len("labels", labels.len(), shape)?;
        let per_step = shape.len() > 1;
        let may_ignore = per_step || may_be_missing;
        let is_wrong = |label: u32| label as usize >= classes && !(may_ignore && label == IGNORE);
        let is_padding = |at: usize| {
            let lengths = self.lengths.as_ref().filter(|_| per_step);
            lengths.is_some_and(|all| at % self.steps >= all[at / self.steps] as usize)
        };
        let mut labels = labels.iter().enumerate();
        match labels.find(|&(at, &label)| is_wrong(label) && !is_padding(at)) {
            None => Ok(()),
            Some((at, label)) => Err(Error::usage(format!(
                "the label at {:?} is {label}; \
                 with {classes} classes labels must be below {classes}{}",
                element_index(at, shape),
                if may_ignore { ", or IGNORE" } else { "" }
            ))),
        }
    }
}

/// Checks lists of labels `[N, L]`: 1 to K - 1, then [`IGNORE`].
fn check_lists(labels: &[u32], classes: usize, shape: [usize; 2]) -> Result<()> {
    check_len("labels", labels.len(), &shape)?;
    let is_wrong = |at: usize| {
        let label = labels[at];
        let follows_end = !at.is_multiple_of(shape[1]) && labels[at - 1] == IGNORE;
        label != IGNORE && (follows_end || label == BLANK || label as usize >= classes)
    };
    match (0..labels.len()).find(|&at| is_wrong(at)) {
        None => Ok(()),
        Some(at) => Err(Error::usage(format!(
            "the label at {:?} is {}; with {classes} classes, of which class {BLANK} is the blank, \
             the labels of a list must be 1 to {}, and only IGNORE may follow IGNORE",
            element_index(at, &shape),
            labels[at],
            classes.saturating_sub(1)
        ))),
    }
}

/// Checks targets of `width` values each; `shape` is `[N]` or `[N, T]`.
fn check_target_values(values: &[f32], width: usize, mut shape: Vec<usize>) -> Result<()> {
    if width == 0 {
        return Err(Error::usage(
            "the targets have no value; each needs at least one",
        ));
    }
    shape.push(width);
    check_len("target values", values.len(), &shape)?;
    check_finite("targets", values, &shape)
}

/// Checks that tokens of `shape` are below the size of the vocabulary.
///
/// # Errors
/// [`Error::Usage`] with the index of the first one that is not.
pub(crate) fn check_tokens(tokens: &[u32], vocabulary: usize, shape: &[usize]) -> Result<()> {
    let mut indexed = tokens.iter().enumerate();
    match indexed.find(|&(_, &token)| token as usize >= vocabulary) {
        None => Ok(()),
        Some((at, token)) => Err(Error::usage(format!(
            "the token at {:?} is {token}; \
             with a vocabulary of {vocabulary} tokens must be below {vocabulary}",
            element_index(at, shape)
        ))),
    }
}

/// Checks that there is one length for each of N sequences, at most T.
///
/// # Errors
/// [`Error::Usage`] for a wrong number of lengths, or with the first sequence that is too long.
pub(crate) fn check_lengths(
    lengths: impl ExactSizeIterator<Item = usize>,
    count: usize,
    steps: usize,
) -> Result<()> {
    check_len("lengths", lengths.len(), &[count])?;
    match lengths.enumerate().find(|&(_, length)| length > steps) {
        None => Ok(()),
        Some((n, length)) => Err(Error::usage(format!(
            "the length of sequence {n} is {length}; there are {steps} steps, \
             so it must be at most {steps}"
        ))),
    }
}

fn check_len(what: &str, found: usize, shape: &[usize]) -> Result<()> {
    let extents = shape.iter().map(|&extent| extent as u128);
    let needed = extents.fold(1, u128::saturating_mul);
    if found as u128 == needed {
        return Ok(());
    }
    Err(Error::usage(format!(
        "there are {found} {what}; there must be {needed}, of shape {shape:?}"
    )))
}

fn check_finite(what: &str, values: &[f32], shape: &[usize]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::usage(format!(
            "the {what} at {:?} are {}; they must be finite, at padded steps too",
            element_index(at, shape),
            values[at]
        ))),
    }
}
