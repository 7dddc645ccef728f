//! Data sets as the device takes them: all sequences of one split, in one piece.

pub mod idx;
pub mod series;

use std::ops::Range;

use crate::error::{Error, Result};

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

/// The sequences of one split, `[N, T, I]`, row-major, and what each should be answered with.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// N: sequences.
    pub count: usize,
    /// T: time steps of the longest sequence.
    pub steps: usize,
    /// I: features at one step.
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
}

/// What the network should answer.
#[derive(Debug, Clone)]
pub enum Targets {
    /// A class each, `0..classes`: `[N]`, or `[N, T]` where `per_step`.
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

/// A training split and, where there is one, a test split of the same form.
#[derive(Debug, Clone)]
pub struct Splits {
    pub train: Dataset,
    pub test: Option<Dataset>,
}

impl Targets {
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
        let each = self.steps * self.features;
        let outputs = if self.targets.per_step() {
            self.steps
        } else {
            1
        };
        Ok(Dataset {
            count: end - start,
            steps: self.steps,
            features: self.features,
            inputs: match &self.inputs {
                Inputs::Bytes { values, scale } => Inputs::Bytes {
                    values: values[start * each..end * each].to_vec(),
                    scale: *scale,
                },
                Inputs::Floats(values) => Inputs::Floats(values[start * each..end * each].to_vec()),
            },
            targets: match &self.targets {
                Targets::Classes {
                    labels,
                    classes,
                    per_step,
                } => Targets::Classes {
                    labels: labels[start * outputs..end * outputs].to_vec(),
                    classes: *classes,
                    per_step: *per_step,
                },
                Targets::Values {
                    values,
                    width,
                    per_step,
                } => Targets::Values {
                    values: values[start * outputs * width..end * outputs * width].to_vec(),
                    width: *width,
                    per_step: *per_step,
                },
            },
            lengths: self
                .lengths
                .as_ref()
                .map(|lengths| lengths[start..end].to_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
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
}
