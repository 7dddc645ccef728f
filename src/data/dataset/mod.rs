//! The sequences of one split.

mod check;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use check::{check_lengths, check_tokens};
use ndarray::{ArrayView1, ArrayView2, ArrayView3};

use super::stored::StoredSequences;
use crate::error::{Error, Result};
use crate::kernels::{IGNORE, MISSING};

/// The sequences of one split, `[N, T, I]`, row-major, and their targets.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// N: sequences.
    pub count: usize,
    /// T: time steps of the longest sequence.
    pub steps: usize,
    /// I: features of a time step; 1 for tokens.
    pub features: usize,
    pub inputs: Inputs,
    pub targets: Targets,
    /// Valid steps of each sequence, at most T; `None` if all have T.
    pub lengths: Option<Vec<u32>>,
    /// The weight of each target in training, at least 0: `[N]`, or `[N, T]` for targets at every
    /// step; `None` if all are 1. Evaluations are not weighted.
    pub weights: Option<Vec<f32>>,
}

/// Inputs `[N, T, I]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Inputs {
    /// Bytes that stand for `byte * scale`; they take a quarter of the memory, on the device too.
    Bytes {
        values: Vec<u8>,
        scale: f32,
    },
    Floats(Vec<f32>),
    /// Values that are read from disk when they are needed.
    Stored(StoredSequences),
    /// `[N, T]` tokens, each below `vocabulary`.
    Tokens {
        values: Vec<u32>,
        /// V.
        vocabulary: usize,
    },
}

/// The targets of the network.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Targets {
    /// Labels in `0..classes`: `[N]`, or `[N, T]` if `per_step`, where [`IGNORE`] is not learnt.
    Classes {
        labels: Vec<u32>,
        classes: usize,
        per_step: bool,
    },
    /// `[N, width]` values, or `[N, T, width]` if `per_step`, where [`MISSING`] is neither learnt
    /// nor scored.
    Values {
        values: Vec<f32>,
        width: usize,
        per_step: bool,
    },
    /// A list of labels for each sequence, `[N, L]`: each 1 to `classes` - 1, then [`IGNORE`] up to
    /// L. Class 0 is the blank.
    Lists {
        labels: Vec<u32>,
        /// L: labels of the longest list, at least 1.
        longest: usize,
        /// K: labels and the blank.
        classes: usize,
    },
    /// The targets of each of several heads: of each sequence, or of each step, for all of them
    /// except lists.
    Heads(Vec<Targets>),
}

impl Targets {
    /// Returns one class of `0..classes` for each sequence: labels `[N]`.
    pub fn classes(labels: ArrayView1<u32>, classes: usize) -> Targets {
        Targets::Classes {
            labels: labels.iter().copied().collect(),
            classes,
            per_step: false,
        }
    }

    /// Returns one class of `0..classes` for each step: labels `[N, T]`, where [`IGNORE`] is not
    /// learnt.
    pub fn classes_per_step(labels: ArrayView2<u32>, classes: usize) -> Targets {
        Targets::Classes {
            labels: labels.iter().copied().collect(),
            classes,
            per_step: true,
        }
    }

    /// Returns K values for each sequence: `[N, K]`.
    pub fn values(values: ArrayView2<f32>) -> Targets {
        Targets::Values {
            values: values.iter().copied().collect(),
            width: values.ncols(),
            per_step: false,
        }
    }

    /// Returns K values for each step: `[N, T, K]`.
    pub fn values_per_step(values: ArrayView3<f32>) -> Targets {
        Targets::Values {
            values: values.iter().copied().collect(),
            width: values.dim().2,
            per_step: true,
        }
    }

    /// Returns a list of labels for each sequence, each 1 to `classes` - 1; class 0 is the blank.
    pub fn lists<'a>(
        lists: impl IntoIterator<Item = &'a [u32], IntoIter: Clone>,
        classes: usize,
    ) -> Targets {
        let lists = lists.into_iter();
        let longest = lists.clone().map(<[u32]>::len).max().unwrap_or(0).max(1);
        let padded = |list: &'a [u32]| {
            let padding = std::iter::repeat_n(IGNORE, longest - list.len());
            list.iter().copied().chain(padding)
        };
        Targets::Lists {
            labels: lists.flat_map(padded).collect(),
            longest,
            classes,
        }
    }

    /// Returns the list of labels of sequence `n`; empty for other targets.
    pub fn list(&self, n: usize) -> &[u32] {
        let Targets::Lists {
            labels, longest, ..
        } = self
        else {
            return &[];
        };
        let own = &labels[n * longest..(n + 1) * longest];
        let count = own.iter().position(|&label| label == IGNORE);
        &own[..count.unwrap_or(*longest)]
    }

    /// Returns the labels of the longest list; 0 for other targets.
    pub(crate) fn longest_list(&self) -> usize {
        match self {
            Targets::Lists { longest, .. } => *longest,
            Targets::Heads(heads) => {
                let each = heads.iter().map(Targets::longest_list);
                each.max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Returns class 0 for each of N sequences, where targets are not used.
    pub(super) fn placeholders(count: usize) -> Targets {
        Targets::Classes {
            labels: vec![0; count],
            classes: 1,
            per_step: false,
        }
    }

    /// K: classes with the blank if there is one, or values of a target.
    pub fn outputs(&self) -> usize {
        match self {
            Targets::Classes { classes, .. } | Targets::Lists { classes, .. } => *classes,
            Targets::Values { width, .. } => *width,
            Targets::Heads(heads) => heads.iter().map(Targets::outputs).sum(),
        }
    }

    /// Returns whether each step has a target, or else each sequence has one.
    pub fn per_step(&self) -> bool {
        match self {
            Targets::Classes { per_step, .. } | Targets::Values { per_step, .. } => *per_step,
            Targets::Lists { .. } => false,
            Targets::Heads(heads) => heads.iter().any(Targets::per_step),
        }
    }

    /// Returns the targets of each head: these, or those of several.
    pub fn each_head(&self) -> &[Targets] {
        match self {
            Targets::Heads(heads) => heads,
            _ => std::slice::from_ref(self),
        }
    }
}

impl Dataset {
    /// Returns the data set of sequences `[N, T, I]` of T steps each.
    ///
    /// # Errors
    /// Those of [`Dataset::check`].
    pub fn new(inputs: ArrayView3<f32>, targets: Targets) -> Result<Dataset> {
        let (count, steps, features) = inputs.dim();
        let data = Dataset {
            count,
            steps,
            features,
            inputs: Inputs::Floats(inputs.iter().copied().collect()),
            targets,
            lengths: None,
            weights: None,
        };
        data.check()?;
        Ok(data)
    }

    /// Returns the data set of sequences of tokens `[N, T]`, each below `vocabulary`.
    ///
    /// # Errors
    /// Those of [`Dataset::check`].
    pub fn tokens(tokens: ArrayView2<u32>, vocabulary: usize, targets: Targets) -> Result<Dataset> {
        let (count, steps) = tokens.dim();
        let data = Dataset {
            count,
            steps,
            features: 1,
            inputs: Inputs::Tokens {
                values: tokens.iter().copied().collect(),
                vocabulary,
            },
            targets,
            lengths: None,
            weights: None,
        };
        data.check()?;
        Ok(data)
    }

    /// Sets the number of valid steps of each sequence: `[N]`, each at most T. Later steps are
    /// padding, which is neither read nor learnt.
    ///
    /// # Errors
    /// [`Error::Usage`] for a wrong number of lengths, and for one above T.
    pub fn with_lengths(mut self, lengths: &[usize]) -> Result<Dataset> {
        check_lengths(lengths.iter().copied(), self.count, self.steps)?;
        self.lengths = Some(lengths.iter().map(|&length| length as u32).collect());
        Ok(self)
    }

    /// Sets the weight of each target in training: `[N]`, or `[N, T]` for targets at every step.
    ///
    /// # Errors
    /// [`Error::Usage`] for a wrong number of weights, and for one that is not finite or below 0.
    pub fn with_weights(mut self, weights: &[f32]) -> Result<Dataset> {
        self.weights = Some(weights.to_vec());
        self.check_weights()?;
        Ok(self)
    }

    /// Targets of a sequence: T, or 1.
    fn target_rows(&self) -> usize {
        if self.targets.per_step() {
            self.steps
        } else {
            1
        }
    }

    /// I, or V for tokens: the `input_size` of a network for these data.
    pub fn input_size(&self) -> usize {
        match self.inputs {
            Inputs::Tokens { vocabulary, .. } => vocabulary,
            Inputs::Bytes { .. } | Inputs::Floats(_) | Inputs::Stored(_) => self.features,
        }
    }

    /// Returns the sequences of `range`, counted from 0.
    ///
    /// # Errors
    /// [`Error::Usage`] for a range that is empty or ends after the last sequence.
    pub fn slice(&self, range: Range<usize>) -> Result<Dataset> {
        let Range { start, end } = range;
        if start >= end || end > self.count {
            let count = self.count;
            return Err(Error::usage(format!(
                "the range {start}..{end} is not allowed; there are {count} sequences, \
                 so in a range A..B, A must be below B, and B at most {count}"
            )));
        }
        Ok(self.select(&range.collect::<Vec<_>>()))
    }

    /// Returns the sequences with these indices, each below N, in memory.
    ///
    /// # Errors
    /// [`Error::File`] if their file can no longer be read.
    pub fn read(&self, sequences: &[usize]) -> Result<Dataset> {
        let mut read = self.select(sequences);
        if let Inputs::Stored(stored) = &self.inputs {
            read.inputs = Inputs::Floats(stored.read(sequences)?);
        }
        Ok(read)
    }

    /// Returns the sequences with these indices, each below N.
    pub(crate) fn select(&self, sequences: &[usize]) -> Dataset {
        let (lengths, weights) = (self.lengths.as_ref(), self.weights.as_ref());
        Dataset {
            count: sequences.len(),
            steps: self.steps,
            features: self.features,
            inputs: self.inputs.select(sequences, self.steps * self.features),
            targets: self.targets.select(sequences, self.steps),
            lengths: lengths.map(|lengths| select_rows(lengths, 1, sequences)),
            weights: weights.map(|weights| select_rows(weights, self.target_rows(), sequences)),
        }
    }

    /// Returns these sequences with target values followed by those of `other`; only these for
    /// sequences of other sizes, for classes, and for inputs that are no numbers in memory.
    pub(crate) fn joined(&self, other: &Dataset) -> Dataset {
        let mut joined = self.clone();
        let sizes = |data: &Dataset| (data.steps, data.features, data.lengths.is_none());
        if let (
            Inputs::Floats(inputs),
            Inputs::Floats(more),
            Targets::Values { values, .. },
            Targets::Values {
                values: more_values,
                ..
            },
        ) = (
            &mut joined.inputs,
            &other.inputs,
            &mut joined.targets,
            &other.targets,
        ) && sizes(self) == sizes(other)
            && self.lengths.is_none()
        {
            inputs.extend(more);
            values.extend(more_values);
            // Only training has weights.
            joined.weights = None;
            joined.count += other.count;
        }
        joined
    }

    /// Returns the data set with the targets of head `index` of several alone, without the
    /// sequences that have no class for it.
    ///
    /// # Panics
    /// For an index that is not below the number of heads.
    pub fn of_head(&self, index: usize) -> Dataset {
        let of_head = Dataset {
            targets: self.targets.each_head()[index].clone(),
            ..self.clone()
        };
        let Targets::Classes {
            labels,
            per_step: false,
            ..
        } = &of_head.targets
        else {
            return of_head;
        };
        let has_class = |n: &usize| labels[*n] != IGNORE;
        let sequences: Vec<usize> = (0..self.count).filter(has_class).collect();
        if sequences.len() == self.count {
            return of_head;
        }
        of_head.select(&sequences)
    }

    /// Returns whether both have the same inputs and lengths, as far as these are in memory.
    pub(crate) fn has_inputs_of(&self, other: &Dataset) -> bool {
        let sizes = |data: &Dataset| (data.count, data.steps, data.features);
        let same_values = match (&self.inputs, &other.inputs) {
            (Inputs::Floats(own), Inputs::Floats(others)) => own == others,
            (Inputs::Tokens { values: own, .. }, Inputs::Tokens { values: others, .. }) => {
                own == others
            }
            (Inputs::Bytes { values: own, .. }, Inputs::Bytes { values: others, .. }) => {
                own == others
            }
            // Arrays on the disk are divided by the seed, whatever the targets are.
            (Inputs::Stored(_), Inputs::Stored(_)) => true,
            _ => false,
        };
        sizes(self) == sizes(other) && self.lengths == other.lengths && same_values
    }

    /// Returns the inputs `[R, I]` of sequence `n` at these steps, if they are numbers in memory;
    /// nothing otherwise.
    pub(crate) fn input_rows(&self, n: usize, steps: Range<usize>) -> &[f32] {
        let Inputs::Floats(values) = &self.inputs else {
            return &[];
        };
        let row = |step: usize| (n * self.steps + step) * self.features;
        &values[row(steps.start)..row(steps.end)]
    }

    /// Returns the sequences that have too few steps for their list of labels, which needs a step
    /// for each label and one between two equal ones; none for other targets.
    pub fn too_short_for_labels(&self) -> impl Iterator<Item = usize> {
        self.too_short_for(&self.targets)
    }

    /// [`Dataset::too_short_for_labels`] for these targets, which are those of the data set or of
    /// one of its heads.
    pub(crate) fn too_short_for(&self, targets: &Targets) -> impl Iterator<Item = usize> {
        let steps = |n: usize| match &self.lengths {
            Some(lengths) => lengths[n] as usize,
            None => self.steps,
        };
        let needed = |n: usize| {
            let list = targets.list(n);
            let equal = list.windows(2).filter(|pair| pair[0] == pair[1]);
            list.len() + equal.count()
        };
        (0..self.count).filter(move |&n| needed(n) > steps(n))
    }

    /// Returns the labels to learn, `[N]`, or `[N, T]` for targets at every step: classes, or 0 for
    /// values and lists; [`IGNORE`] at padded steps, where all values are [`MISSING`], and for a
    /// list without steps.
    pub(crate) fn labels(&self) -> Vec<u32> {
        self.labels_of(&self.targets)
    }

    /// [`Dataset::labels`] of these targets, which are those of the data set or of one of its
    /// heads. Of several heads: 0 where one of them has a target.
    pub(crate) fn labels_of(&self, targets: &Targets) -> Vec<u32> {
        let (mut labels, per_step) = match targets {
            Targets::Classes {
                labels, per_step, ..
            } => (labels.clone(), *per_step),
            Targets::Values {
                values,
                width,
                per_step,
            } => (value_labels(values, *width), *per_step),
            // No alignment has no step.
            Targets::Lists { .. } => {
                let length = |n: usize| self.lengths.as_ref().map_or(1, |lengths| lengths[n]);
                let label = |n| if length(n) == 0 { IGNORE } else { 0 };
                ((0..self.count).map(label).collect(), false)
            }
            Targets::Heads(heads) => {
                let per_step = targets.per_step();
                let steps = if per_step { self.steps } else { 1 };
                let mut labels = vec![IGNORE; self.count * steps];
                for head in heads {
                    // A list is that of the first step.
                    let stride = if head.per_step() { 1 } else { steps };
                    let own = labels.iter_mut().step_by(stride).zip(self.labels_of(head));
                    own.filter(|(_, own)| *own != IGNORE)
                        .for_each(|(all, _)| *all = 0);
                }
                (labels, per_step)
            }
        };
        if let Some(lengths) = self.lengths.as_ref().filter(|_| per_step) {
            for (labels, &length) in labels.chunks_mut(self.steps).zip(lengths) {
                labels[length as usize..].fill(IGNORE);
            }
        }
        labels
    }
}

impl Inputs {
    /// Returns the inputs of these sequences, of `size` values each.
    fn select(&self, sequences: &[usize], size: usize) -> Inputs {
        match self {
            Inputs::Bytes { values, scale } => Inputs::Bytes {
                values: select_rows(values, size, sequences),
                scale: *scale,
            },
            Inputs::Floats(values) => Inputs::Floats(select_rows(values, size, sequences)),
            Inputs::Stored(stored) => Inputs::Stored(stored.select(sequences)),
            Inputs::Tokens { values, vocabulary } => Inputs::Tokens {
                values: select_rows(values, size, sequences),
                vocabulary: *vocabulary,
            },
        }
    }
}

impl Targets {
    /// Returns the targets of these sequences, of T = `steps`.
    pub(in crate::data) fn select(&self, sequences: &[usize], steps: usize) -> Targets {
        let per_step = self.per_step();
        let count = if per_step { steps } else { 1 };
        match self {
            Targets::Classes {
                labels, classes, ..
            } => Targets::Classes {
                labels: select_rows(labels, count, sequences),
                classes: *classes,
                per_step,
            },
            Targets::Values { values, width, .. } => Targets::Values {
                values: select_rows(values, count * width, sequences),
                width: *width,
                per_step,
            },
            Targets::Lists {
                labels,
                longest,
                classes,
            } => Targets::Lists {
                labels: select_rows(labels, *longest, sequences),
                longest: *longest,
                classes: *classes,
            },
            Targets::Heads(heads) => {
                let own = heads.iter().map(|head| head.select(sequences, steps));
                Targets::Heads(own.collect())
            }
        }
    }
}

/// Returns 0 for each row of `width` values, or [`IGNORE`] if all of them are [`MISSING`].
fn value_labels(values: &[f32], width: usize) -> Vec<u32> {
    let is_missing = |row: &[f32]| row.iter().all(|&value| value == MISSING);
    let label = |row| if is_missing(row) { IGNORE } else { 0 };
    values.chunks_exact(width).map(label).collect()
}

/// Returns these rows of an array of rows of `width` values.
fn select_rows<V: Copy>(values: &[V], width: usize, rows: &[usize]) -> Vec<V> {
    let mut selected = Vec::with_capacity(rows.len() * width);
    for &row in rows {
        selected.extend_from_slice(&values[row * width..(row + 1) * width]);
    }
    selected
}
