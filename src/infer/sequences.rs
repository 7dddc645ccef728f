//! Sequences to predict from, in the units of the data and as a network reads them.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, CowArray, Ix3, s};

use crate::backend::executor::Executor;
use crate::data::preparation::{Normal, Preparation};
use crate::error::{Error, Result};
use crate::record::RecordedNetwork;

/// Sequences that a network predicts from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Sequences<'a> {
    /// `[N, T, I]`
    Values(ArrayView3<'a, f32>),
    /// `[N, T, I]`, rounded to f32 after they are normalised: for data whose values differ less
    /// than f32 can tell apart.
    Doubles(ArrayView3<'a, f64>),
    /// `[N, T]`
    Tokens(ArrayView2<'a, u32>),
}

impl<'a> From<ArrayView3<'a, f32>> for Sequences<'a> {
    fn from(values: ArrayView3<'a, f32>) -> Self {
        Sequences::Values(values)
    }
}

impl<'a> From<ArrayView2<'a, u32>> for Sequences<'a> {
    fn from(tokens: ArrayView2<'a, u32>) -> Self {
        Sequences::Tokens(tokens)
    }
}

impl Sequences<'_> {
    /// N and T.
    pub(super) fn dim(&self) -> (usize, usize) {
        match self {
            Sequences::Values(values) => (values.dim().0, values.dim().1),
            Sequences::Doubles(values) => (values.dim().0, values.dim().1),
            Sequences::Tokens(tokens) => tokens.dim(),
        }
    }

    /// I of values; `None` for tokens.
    pub(super) fn features(&self) -> Option<usize> {
        match self {
            Sequences::Values(values) => Some(values.dim().2),
            Sequences::Doubles(values) => Some(values.dim().2),
            Sequences::Tokens(_) => None,
        }
    }
}

/// Sequences as a network reads them.
pub(super) enum NetworkInputs<'a> {
    /// `[N, T, I]`
    Values(CowArray<'a, f32, Ix3>),
    /// `[N, T]`
    Tokens(ArrayView2<'a, u32>),
}

impl<'a> NetworkInputs<'a> {
    /// N and T.
    pub(super) fn dim(&self) -> (usize, usize) {
        match self {
            NetworkInputs::Values(values) => (values.dim().0, values.dim().1),
            NetworkInputs::Tokens(tokens) => tokens.dim(),
        }
    }

    /// Returns sequences as they are, values rounded to f32.
    pub(super) fn prepared(sequences: Sequences<'a>) -> Self {
        match sequences {
            Sequences::Values(values) => NetworkInputs::Values(values.into()),
            Sequences::Doubles(values) => {
                NetworkInputs::Values(values.mapv(|value| value as f32).into())
            }
            Sequences::Tokens(tokens) => NetworkInputs::Tokens(tokens),
        }
    }

    /// Returns sequences in the units of the data as the network reads them.
    pub(super) fn normalised(sequences: Sequences<'a>, normals: &[Normal]) -> Self {
        if normals.is_empty() {
            return NetworkInputs::prepared(sequences);
        }
        let normalised = match sequences {
            Sequences::Values(values) => {
                let of = |(n, t, i): (usize, usize, usize)| f64::from(values[[n, t, i]]);
                Array3::from_shape_fn(values.dim(), |at| normals[at.2].apply(of(at)))
            }
            Sequences::Doubles(values) => {
                let of = |(n, t, i): (usize, usize, usize)| values[[n, t, i]];
                Array3::from_shape_fn(values.dim(), |at| normals[at.2].apply(of(at)))
            }
            Sequences::Tokens(tokens) => return NetworkInputs::Tokens(tokens),
        };
        NetworkInputs::Values(normalised.into())
    }

    /// Returns values `[N, T, I - D]` with those that are differences, `[N, T, I]`.
    pub(super) fn with_differences(self, preparation: &Preparation) -> Self {
        let NetworkInputs::Values(values) = &self else {
            return self;
        };
        let (count, steps, columns) = values.dim();
        if preparation.differences.is_empty() {
            return self;
        }
        let extended = values.outer_iter().flat_map(|sequence| {
            let rows: Vec<f32> = sequence.iter().copied().collect();
            preparation.with_differences(&rows, columns)
        });
        let shape = (count, steps, columns + preparation.differences.len());
        let mut extended = extended.collect::<Vec<_>>().into_iter();
        let extended = Array3::from_shape_fn(shape, |_| extended.next().unwrap_or_default());
        NetworkInputs::Values(extended.into())
    }

    /// Returns the inputs `[R, I]` of sequence `n` at the steps of its outputs: every one, or the
    /// last valid one; nothing for tokens.
    pub(super) fn rows_of_outputs(
        &self,
        n: usize,
        every: bool,
        lengths: Option<&[usize]>,
    ) -> Vec<f32> {
        let NetworkInputs::Values(values) = self else {
            return vec![];
        };
        let steps = values.dim().1;
        let rows = if every {
            0..steps
        } else {
            let length = lengths.map_or(steps, |lengths| lengths[n]).max(1);
            length - 1..length
        };
        values.slice(s![n, rows, ..]).iter().copied().collect()
    }

    /// Writes a batch, time-major, from sequence `first` on. Padded steps and missing sequences are
    /// zeros.
    pub(super) fn write(
        &self,
        first: usize,
        lengths: &[u32],
        recorded: &RecordedNetwork,
        executor: &mut dyn Executor,
    ) -> Result<()> {
        let valid = |b: usize| ..lengths[b] as usize;
        let batch = || (0..lengths.len()).filter(|&b| lengths[b] > 0);
        match self {
            NetworkInputs::Values(values) => {
                let shape = (recorded.steps, lengths.len(), values.dim().2);
                let mut padded = Array3::zeros(shape);
                for b in batch() {
                    let own = values.slice(s![first + b, valid(b), ..]);
                    padded.slice_mut(s![valid(b), b, ..]).assign(&own);
                }
                executor.write(&recorded.inputs, &padded.into_raw_vec_and_offset().0)
            }
            NetworkInputs::Tokens(tokens) => {
                let mut padded = Array2::zeros((recorded.steps, lengths.len()));
                for b in batch() {
                    let own = tokens.slice(s![first + b, valid(b)]);
                    padded.slice_mut(s![valid(b), b]).assign(&own);
                }
                executor.write_index(&recorded.inputs, &padded.into_raw_vec_and_offset().0)
            }
        }
    }
}

/// Checks that values `[N, T, I]` at valid steps are finite.
pub(super) fn check_finite<V: Copy + Into<f64>>(
    values: ArrayView3<V>,
    lengths: Option<&[usize]>,
    number: &dyn Fn(usize) -> usize,
) -> Result<()> {
    for (n, sequence) in values.outer_iter().enumerate() {
        let length = lengths.map_or(values.dim().1, |lengths| lengths[n]);
        let valid = sequence.slice(s![..length, ..]);
        let mut indexed = valid.indexed_iter().map(|(at, &value)| (at, value.into()));
        if let Some(((t, i), value)) = indexed.find(|(_, value): &(_, f64)| !value.is_finite()) {
            return Err(Error::usage(format!(
                "the inputs at [{}, {t}, {i}] are {value}; they must be finite: fill missing \
                 values as those of the training data were",
                number(n)
            )));
        }
    }
    Ok(())
}
