//! Data sets as the device takes them: all sequences of one split, in one piece.

pub mod baselines;
pub mod csv;
pub mod idx;
pub mod npy;
pub mod preparation;
pub mod series;
pub mod stored;
pub mod text;

use std::ops::Range;
use std::sync::Arc;

use ndarray::{ArrayView1, ArrayView2, ArrayView3};
use preparation::Preparation;
use serde::{Deserialize, Serialize};
use stored::Stored;

use crate::error::{Error, Result};
use crate::kernels::IGNORE;
use crate::rng::{Philox, Stream};

/// Which part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    Train,
    Test,
}

impl Split {
    /// `train` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Test => "test",
        }
    }
}

/// How a test split is taken out of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitBy {
    /// What comes last.
    #[default]
    Order,
    /// Sequences by chance.
    Random,
    /// Groups of sequences by chance; no group is in both splits.
    Group,
}

/// Which of N sequences are in the training and which in the test split, both in order; `groups` `[N]` says what belongs together.
///
/// # Errors
/// What is wrong: nothing is left for one of them.
fn divide(
    groups: &[i64],
    by: SplitBy,
    test_fraction: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), String> {
    let count = groups.len();
    let mut kinds = groups.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    let units = if by == SplitBy::Group {
        kinds.len()
    } else {
        count
    };
    let taken = match test_fraction > 0.0 {
        true => ((units as f64 * test_fraction).round() as usize).max(1),
        false => 0,
    };
    if taken >= units {
        let what = if by == SplitBy::Group {
            "groups"
        } else {
            "sequences"
        };
        return Err(format!(
            "there are {units} {what}, of which data.test_fraction = {test_fraction} leaves none to train on; \
             set it to 0 for no test split, or take more data"
        ));
    }
    let drawn: Vec<bool> = match by {
        SplitBy::Order => (0..count).map(|n| n >= count - taken).collect(),
        SplitBy::Random | SplitBy::Group => {
            let order = Philox::new(seed, Stream::Split).permutation(units);
            let mut drawn = vec![false; units];
            order[..taken]
                .iter()
                .for_each(|&unit| drawn[unit as usize] = true);
            match by {
                SplitBy::Group => groups
                    .iter()
                    .map(|group| kinds.binary_search(group).is_ok_and(|kind| drawn[kind]))
                    .collect(),
                _ => drawn,
            }
        }
    };
    Ok((0..count).partition(|&n| !drawn[n]))
}

/// The sequences of one split, `[N, T, I]`, row-major, and what each should be answered with.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// N: sequences.
    pub count: usize,
    /// T: time steps of the longest sequence.
    pub steps: usize,
    /// I: features at one step; 1 for tokens.
    pub features: usize,
    pub inputs: Inputs,
    pub targets: Targets,
    /// Valid steps of each sequence, at most T; `None` where all have T.
    pub lengths: Option<Vec<u32>>,
}

/// `[N, T, I]` numbers.
#[derive(Debug, Clone)]
pub enum Inputs {
    /// Bytes that stand for `byte * scale`: a quarter of the memory, on the device too.
    Bytes {
        values: Vec<u8>,
        scale: f32,
    },
    Floats(Vec<f32>),
    /// Numbers that stay in their file.
    Stored(Stored),
    /// `[N, T]` tokens, each below `vocabulary`, in place of features.
    Tokens {
        values: Vec<u32>,
        /// V.
        vocabulary: usize,
    },
}

/// What the network should answer.
#[derive(Debug, Clone)]
pub enum Targets {
    /// A class each, `0..classes`: `[N]`, or `[N, T]` where `per_step`, of which [`IGNORE`] counts for nothing.
    Classes {
        labels: Vec<u32>,
        classes: usize,
        per_step: bool,
    },
    /// `width` values each: `[N, width]`, or `[N, T, width]` where `per_step`.
    Values {
        values: Vec<f32>,
        width: usize,
        per_step: bool,
    },
}

/// A training split and, where there is one, a test split of the same form; shared, since a run that streams them goes on reading.
#[derive(Debug, Clone)]
pub struct Splits {
    pub train: Arc<Dataset>,
    pub test: Option<Arc<Dataset>>,
    /// How both were prepared, which a model keeps.
    pub preparation: Preparation,
}

impl From<Dataset> for Splits {
    /// A training split alone.
    fn from(train: Dataset) -> Splits {
        Splits {
            train: train.into(),
            test: None,
            preparation: Preparation::default(),
        }
    }
}

impl Splits {
    /// One of them alone.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no test split.
    pub fn take(self, split: Split) -> Result<Arc<Dataset>> {
        match split {
            Split::Train => Ok(self.train),
            Split::Test => self.test.ok_or_else(|| {
                Error::Data(
                    "the data have no test split, as data.test_fraction is 0; evaluate the split `train`"
                        .into(),
                )
            }),
        }
    }
}

impl Targets {
    /// A class of `0..classes` for each sequence: labels `[N]`.
    pub fn classes(labels: ArrayView1<u32>, classes: usize) -> Targets {
        Targets::Classes {
            labels: labels.iter().copied().collect(),
            classes,
            per_step: false,
        }
    }

    /// A class of `0..classes` for each step: labels `[N, T]`, of which [`IGNORE`] counts for nothing.
    pub fn classes_per_step(labels: ArrayView2<u32>, classes: usize) -> Targets {
        Targets::Classes {
            labels: labels.iter().copied().collect(),
            classes,
            per_step: true,
        }
    }

    /// K values for each sequence: `[N, K]`.
    pub fn values(values: ArrayView2<f32>) -> Targets {
        Targets::Values {
            values: values.iter().copied().collect(),
            width: values.ncols(),
            per_step: false,
        }
    }

    /// K values for each step: `[N, T, K]`.
    pub fn values_per_step(values: ArrayView3<f32>) -> Targets {
        Targets::Values {
            values: values.iter().copied().collect(),
            width: values.dim().2,
            per_step: true,
        }
    }

    /// K: classes, or values of each answer.
    pub fn outputs(&self) -> usize {
        match self {
            Targets::Classes { classes, .. } => *classes,
            Targets::Values { width, .. } => *width,
        }
    }

    /// Whether there is one at every step, or else one for each sequence.
    pub fn per_step(&self) -> bool {
        match self {
            Targets::Classes { per_step, .. } | Targets::Values { per_step, .. } => *per_step,
        }
    }
}

impl Dataset {
    /// The sequences of `range`, counted from 0.
    ///
    /// # Errors
    /// [`Error::Usage`] where the range is empty or ends beyond the last sequence.
    pub fn slice(&self, range: Range<usize>) -> Result<Dataset> {
        let Range { start, end } = range;
        if start >= end || end > self.count {
            return Err(Error::usage(format!(
                "the range {start}..{end} does not fit; there are {count} sequences, so a range A..B must have \
                 A below B, and B at most {count}",
                count = self.count
            )));
        }
        Ok(self.select(&range.collect::<Vec<_>>()))
    }

    /// The sequences of these numbers, each below N, in memory.
    ///
    /// # Errors
    /// [`Error::File`] where they lie in a file that can no longer be read.
    pub fn read(&self, sequences: &[usize]) -> Result<Dataset> {
        let mut read = self.select(sequences);
        if let Inputs::Stored(stored) = &self.inputs {
            read.inputs = Inputs::Floats(stored.read(sequences)?);
        }
        Ok(read)
    }

    /// The sequences of these numbers, each below N.
    pub(crate) fn select(&self, sequences: &[usize]) -> Dataset {
        let each = self.steps * self.features;
        let per_step = self.targets.per_step();
        let outputs = if per_step { self.steps } else { 1 };
        Dataset {
            count: sequences.len(),
            steps: self.steps,
            features: self.features,
            inputs: match &self.inputs {
                Inputs::Bytes { values, scale } => Inputs::Bytes {
                    values: taken(values, each, sequences),
                    scale: *scale,
                },
                Inputs::Floats(values) => Inputs::Floats(taken(values, each, sequences)),
                Inputs::Stored(stored) => Inputs::Stored(stored.select(sequences)),
                Inputs::Tokens { values, vocabulary } => Inputs::Tokens {
                    values: taken(values, each, sequences),
                    vocabulary: *vocabulary,
                },
            },
            targets: match &self.targets {
                Targets::Classes {
                    labels, classes, ..
                } => Targets::Classes {
                    labels: taken(labels, outputs, sequences),
                    classes: *classes,
                    per_step,
                },
                Targets::Values { values, width, .. } => Targets::Values {
                    values: taken(values, outputs * width, sequences),
                    width: *width,
                    per_step,
                },
            },
            lengths: self
                .lengths
                .as_ref()
                .map(|lengths| taken(lengths, 1, sequences)),
        }
    }

    /// Sequences `[N, T, I]` of T steps each, and what they should be answered with.
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
        };
        data.check()?;
        Ok(data)
    }

    /// Sequences of tokens `[N, T]`, each below `vocabulary`, and what they should be answered with.
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
        };
        data.check()?;
        Ok(data)
    }

    /// I, or V where the inputs are tokens: the `input_size` of a network for them.
    pub fn input_size(&self) -> usize {
        match self.inputs {
            Inputs::Tokens { vocabulary, .. } => vocabulary,
            _ => self.features,
        }
    }

    /// The same sequences, of which only the first so many steps are valid: `[N]`, each at most T. What stands behind them is
    /// neither read nor learnt.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the length which is too many, or too large.
    pub fn with_lengths(mut self, lengths: &[usize]) -> Result<Dataset> {
        check_lengths(lengths.iter().copied(), self.count, self.steps)?;
        self.lengths = Some(lengths.iter().map(|&length| length as u32).collect());
        Ok(self)
    }

    /// Refuses sizes that disagree, labels that are no class, and numbers that are not finite.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the first index that is wrong, and what is allowed.
    pub fn check(&self) -> Result<()> {
        let (count, steps, features) = (self.count, self.steps, self.features);
        if count == 0 || steps == 0 || features == 0 {
            return Err(Error::Usage(format!(
                "the inputs are [{count}, {steps}, {features}]; they need at least one sequence, one step and one feature"
            )));
        }
        let holds = match &self.inputs {
            Inputs::Bytes { values, .. } => values.len(),
            Inputs::Floats(values) => values.len(),
            // They are looked at as they are read.
            Inputs::Stored(stored) => stored.count() * steps * features,
            Inputs::Tokens { values, .. } => values.len(),
        };
        check_len("input values", holds, &[count, steps, features])?;
        match &self.inputs {
            Inputs::Floats(values) => check_finite("inputs", values, &[count, steps, features])?,
            Inputs::Bytes { scale, .. } if !scale.is_finite() => {
                let message = format!("the inputs' scale is {scale}; it must be a finite number");
                return Err(Error::Usage(message));
            }
            Inputs::Bytes { .. } | Inputs::Stored(_) => {}
            Inputs::Tokens { values, vocabulary } => {
                check_tokens(values, *vocabulary, &[count, steps])?;
            }
        }

        if let Some(lengths) = &self.lengths {
            let lengths = lengths.iter().map(|&length| length as usize);
            check_lengths(lengths, count, steps)?;
        }
        let rows = |per_step| {
            if per_step {
                vec![count, steps]
            } else {
                vec![count]
            }
        };
        match &self.targets {
            Targets::Classes {
                labels,
                classes,
                per_step,
            } => {
                let rows = rows(*per_step);
                check_len("labels", labels.len(), &rows)?;
                let wrong =
                    |label: u32| label as usize >= *classes && !(*per_step && label == IGNORE);
                // Past a sequence's end anything may stand.
                let ended = |at: usize| {
                    let lengths = self.lengths.as_ref().filter(|_| *per_step);
                    lengths.is_some_and(|lengths| at % steps >= lengths[at / steps] as usize)
                };
                let mut numbered = labels.iter().enumerate();
                if let Some((at, _)) = numbered.find(|&(at, &label)| wrong(label) && !ended(at)) {
                    return Err(Error::Usage(format!(
                        "the label at {:?} is {}; with {classes} classes labels must be below {classes}{}",
                        index(at, &rows),
                        labels[at],
                        if *per_step { ", or IGNORE" } else { "" }
                    )));
                }
            }
            Targets::Values {
                values,
                width,
                per_step,
            } => {
                if *width == 0 {
                    let message =
                        "the targets have no value; they need at least one for each answer";
                    return Err(Error::usage(message));
                }
                let shape = [rows(*per_step), vec![*width]].concat();
                check_len("target values", values.len(), &shape)?;
                check_finite("targets", values, &shape)?;
            }
        }
        Ok(())
    }

    /// What is to be learnt where, `[N]`, or `[N, T]` for targets at every step: a class, or 0 where there is a value;
    /// [`IGNORE`] past a sequence's end.
    pub(crate) fn labels(&self) -> Vec<u32> {
        let (mut labels, per_step) = match &self.targets {
            Targets::Classes {
                labels, per_step, ..
            } => (labels.clone(), *per_step),
            Targets::Values {
                values,
                width,
                per_step,
            } => (vec![0; values.len() / width], *per_step),
        };
        if let Some(lengths) = self.lengths.as_ref().filter(|_| per_step) {
            for (labels, &length) in labels.chunks_mut(self.steps).zip(lengths) {
                labels[length as usize..].fill(IGNORE);
            }
        }
        labels
    }
}

/// Of rows of `width` values, those of these numbers.
fn taken<V: Copy>(values: &[V], width: usize, rows: &[usize]) -> Vec<V> {
    let mut all = Vec::with_capacity(rows.len() * width);
    for &row in rows {
        all.extend_from_slice(&values[row * width..(row + 1) * width]);
    }
    all
}

/// Refuses a token that is not below the vocabulary's size.
pub(crate) fn check_tokens(tokens: &[u32], vocabulary: usize, shape: &[usize]) -> Result<()> {
    match tokens
        .iter()
        .position(|&token| token as usize >= vocabulary)
    {
        Some(at) => Err(Error::Usage(format!(
            "the token at {:?} is {}; with a vocabulary of {vocabulary} tokens must be below {vocabulary}",
            index(at, shape),
            tokens[at]
        ))),
        None => Ok(()),
    }
}

/// Refuses another number of lengths than of sequences, and one above T.
pub(crate) fn check_lengths(
    lengths: impl ExactSizeIterator<Item = usize>,
    count: usize,
    steps: usize,
) -> Result<()> {
    check_len("lengths", lengths.len(), &[count])?;
    match lengths.enumerate().find(|&(_, length)| length > steps) {
        Some((n, length)) => Err(Error::Usage(format!(
            "the length of sequence {n} is {length}; there are {steps} steps, and it must be at most that"
        ))),
        None => Ok(()),
    }
}

fn check_len(what: &str, holds: usize, shape: &[usize]) -> Result<()> {
    let extents = shape.iter().map(|&extent| extent as u128);
    let needed = extents.fold(1, u128::saturating_mul);
    if holds as u128 == needed {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "there are {holds} {what}; there must be {needed}, of shape {shape:?}"
    )))
}

fn check_finite(what: &str, values: &[f32], shape: &[usize]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(Error::Usage(format!(
            "the {what} at {:?} are {}; they must be finite, past a sequence's end too",
            index(at, shape),
            values[at]
        ))),
        None => Ok(()),
    }
}

/// The index of element `at` of a row-major array.
fn index(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|extent| {
            let own = at % extent;
            at /= extent;
            own
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Array3};

    use super::*;

    /// Three sequences of two steps, each with two features of its own.
    fn three(inputs: Inputs, targets: Targets) -> Dataset {
        Dataset {
            count: 3,
            steps: 2,
            features: 2,
            inputs,
            targets,
            lengths: Some(vec![2, 0, 1]),
        }
    }

    /// Three sequences of four steps of two features.
    fn inputs() -> Array3<f32> {
        Array3::from_shape_fn((3, 4, 2), |(n, t, i)| (8 * n + 2 * t + i) as f32)
    }

    fn labels(labels: [u32; 3]) -> Targets {
        Targets::classes(Array1::from_iter(labels).view(), 5)
    }

    #[test]
    fn arrays_are_taken_row_by_row_whatever_their_layout() {
        // The same numbers, time-major in memory.
        let transposed = inputs()
            .permuted_axes([1, 0, 2])
            .as_standard_layout()
            .to_owned();
        let same = transposed.view().permuted_axes([1, 0, 2]);
        for view in [inputs().view(), same] {
            let data = Dataset::new(view, labels([0, 4, 2])).expect("it makes sense");
            assert_eq!((data.count, data.steps, data.features), (3, 4, 2));
            let Inputs::Floats(values) = data.inputs else {
                panic!("floats expected")
            };
            assert_eq!(values, (0..24).map(|v| v as f32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_slice_cuts_everything_alike() {
        let bytes = Inputs::Bytes {
            values: (0..12).collect(),
            scale: 0.5,
        };
        let classes = |per_step, labels: &[u32]| Targets::Classes {
            labels: labels.to_vec(),
            classes: 9,
            per_step,
        };
        let data = three(bytes, classes(true, &[0, 1, 2, 3, 4, 5]));
        let slice = data.slice(1..3).unwrap();
        assert_eq!((slice.count, slice.lengths), (2, Some(vec![0, 1])));
        let Inputs::Bytes { values, scale } = slice.inputs else {
            panic!("bytes expected");
        };
        assert_eq!((values, scale), ((4..12).collect(), 0.5));
        let labels = |targets| match targets {
            Targets::Classes { labels, .. } => labels,
            Targets::Values { .. } => panic!("classes expected"),
        };
        assert_eq!(labels(slice.targets), [2, 3, 4, 5]);

        let floats = || Inputs::Floats((0..12).map(|n| n as f32).collect());
        let slice = three(floats(), classes(false, &[6, 7, 8]))
            .slice(0..1)
            .unwrap();
        let Inputs::Floats(values) = slice.inputs else {
            panic!("floats expected");
        };
        assert_eq!(values, [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(labels(slice.targets), [6]);

        for (per_step, expected) in [(true, 6.0..12.0), (false, 3.0..6.0)] {
            let values = (0..if per_step { 18 } else { 9 })
                .map(|n| n as f32)
                .collect();
            let targets = Targets::Values {
                values,
                width: 3,
                per_step,
            };
            let slice = three(floats(), targets).slice(1..2).unwrap();
            let Targets::Values { values, .. } = slice.targets else {
                panic!("values expected");
            };
            let last = expected.end - 1.0;
            assert_eq!(
                (values[0], values[values.len() - 1]),
                (expected.start, last)
            );
        }
    }

    #[test]
    fn a_range_that_does_not_fit_is_refused() {
        let data = three(
            Inputs::Floats(vec![0.0; 12]),
            Targets::Values {
                values: vec![0.0; 3],
                width: 1,
                per_step: false,
            },
        );
        #[allow(clippy::reversed_empty_ranges)]
        for range in [1..1, 2..1, 0..4, 3..4] {
            let error = data.slice(range).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(
                error.to_string().contains("there are 3 sequences"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_past_a_sequences_end_is_not_learnt() {
        let per_step = Array2::from_elem((3, 4), 1);
        let values = Array3::zeros((3, 4, 2));
        let lengths = [4, 0, 3];
        for (targets, own) in [
            (Targets::classes_per_step(per_step.view(), 2), 1),
            (Targets::values_per_step(values.view()), 0),
        ] {
            let data = Dataset::new(inputs().view(), targets).expect("it makes sense");
            assert_eq!(data.labels(), [own; 12]);
            let labels = data.with_lengths(&lengths).expect("they fit").labels();
            let expected = [[own; 4], [IGNORE; 4], [own, own, own, IGNORE]];
            assert_eq!(labels, expected.concat());
        }
        // One answer for a sequence counts whatever its length.
        let data = Dataset::new(inputs().view(), labels([0, 4, 2])).expect("it makes sense");
        let data = data.with_lengths(&lengths).expect("they fit");
        assert_eq!(data.labels(), [0, 4, 2]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refused = |data: Result<Dataset>, expected: &str| {
            let error = data.expect_err(expected);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(expected), "{error}");
        };
        let mut broken = inputs();
        broken[[1, 2, 1]] = f32::NAN;
        refused(
            Dataset::new(broken.view(), labels([0; 3])),
            "the inputs at [1, 2, 1] are NaN; they must be finite",
        );
        for empty in [(0, 4, 2), (3, 0, 2), (3, 4, 0)] {
            refused(
                Dataset::new(Array3::zeros(empty).view(), labels([0; 3])),
                "at least one sequence, one step and one feature",
            );
        }
        refused(
            Dataset::new(inputs().view(), labels([0, 5, 0])),
            "the label at [1] is 5; with 5 classes labels must be below 5",
        );
        refused(
            Dataset::new(inputs().view(), labels([0, 1, IGNORE])),
            "the label at [2] is 4294967295",
        );
        let mut per_step = Array2::zeros((3, 4));
        (per_step[[0, 1]], per_step[[2, 3]]) = (IGNORE, 7);
        refused(
            Dataset::new(
                inputs().view(),
                Targets::classes_per_step(per_step.view(), 7),
            ),
            "the label at [2, 3] is 7; with 7 classes labels must be below 7, or IGNORE",
        );
        refused(
            Dataset::new(
                inputs().view(),
                Targets::classes(Array1::zeros(4).view(), 5),
            ),
            "there are 4 labels; there must be 3, of shape [3]",
        );
        refused(
            Dataset::new(
                inputs().view(),
                Targets::values_per_step(Array3::zeros((3, 3, 2)).view()),
            ),
            "there are 18 target values; there must be 24, of shape [3, 4, 2]",
        );
        let infinite = Array2::from_elem((3, 1), f32::INFINITY);
        refused(
            Dataset::new(
                inputs().view(),
                Targets::values(Array2::zeros((3, 0)).view()),
            ),
            "the targets have no value",
        );
        refused(
            Dataset::new(inputs().view(), Targets::values(infinite.view())),
            "the targets at [0, 0] are inf",
        );
        let data = Dataset::new(inputs().view(), labels([0; 3])).expect("it makes sense");
        refused(
            data.clone().with_lengths(&[1, 2]),
            "there are 2 lengths; there must be 3, of shape [3]",
        );
        refused(
            data.clone().with_lengths(&[4, 5, 1]),
            "the length of sequence 1 is 5; there are 4 steps",
        );
        // What was changed by hand is checked too.
        for broken in [
            Dataset {
                steps: 5,
                ..data.clone()
            },
            Dataset {
                count: usize::MAX,
                steps: usize::MAX,
                features: usize::MAX,
                ..data.clone()
            },
            Dataset {
                lengths: Some(vec![9; 3]),
                ..data.clone()
            },
        ] {
            broken.check().expect_err("sizes disagree");
        }
    }
}
