//! Input sequences of an array: padded or concatenated, in memory or read from disk.

use std::io::{Read, Seek};
use std::path::Path;

use super::super::MAX_VALUES;
use super::super::stored::{StoredArray, StoredSequences};
use super::sequences::{FoundInputs, FoundSequences};
use super::{Array, ArrayFiles, Npy};
use crate::error::{Error, Result};
use crate::io::memory_limit;

/// The sequences of an array of inputs.
#[derive(Debug, Clone, Copy)]
struct InputLayout {
    /// N.
    count: usize,
    /// T.
    steps: usize,
    /// I.
    features: usize,
    /// Whether sequences are concatenated without padding, `[R, I]`.
    is_concatenated: bool,
}

impl Npy {
    /// Returns the inputs, in memory or on disk.
    pub(super) fn inputs<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
        lengths: Option<Vec<usize>>,
    ) -> Result<FoundSequences> {
        let path = files.path_of(&self.inputs);
        let stored = if self.vocabulary.is_none() {
            files.stored(&self.inputs)?
        } else {
            None
        };
        let refuse = |problem: String| Error::file(&path, problem);
        match stored {
            Some(array) => self.stored_inputs(array, lengths).map_err(refuse),
            None => self.inputs_in_memory(files.array(&self.inputs)?, lengths, &path),
        }
    }

    fn stored_inputs(
        &self,
        array: StoredArray,
        lengths: Option<Vec<usize>>,
    ) -> Result<FoundSequences, String> {
        let layout = self.layout(array.shape(), lengths.as_deref())?;
        let InputLayout {
            count,
            steps,
            features,
            is_concatenated,
        } = layout;
        let size = steps.checked_mul(features);
        if count > u32::MAX as usize || size.is_none_or(|size| size as u64 > MAX_VALUES) {
            return Err(format!(
                "there are {count} sequences of {steps} steps and {features} features; \
                 at most {} sequences of {MAX_VALUES} values each are allowed",
                u32::MAX
            ));
        }
        let length = |n: usize| lengths.as_ref().map_or(steps, |lengths| lengths[n]);
        let lengths_of_all = (0..count).map(length);
        let stored =
            StoredSequences::new(array, [steps, features], lengths_of_all, is_concatenated);
        Ok(FoundSequences {
            count,
            steps,
            features,
            inputs: FoundInputs::Stored(stored),
            lengths,
        })
    }

    /// Returns the sequences of an array in memory, padded.
    pub(super) fn inputs_in_memory(
        &self,
        array: Array,
        lengths: Option<Vec<usize>>,
        path: &Path,
    ) -> Result<FoundSequences> {
        let refuse = |problem: String| Error::file(path, problem);
        let layout = self
            .layout(&array.shape, lengths.as_deref())
            .map_err(refuse)?;
        let InputLayout {
            count,
            steps,
            features,
            ..
        } = layout;
        let values = [steps, features]
            .iter()
            .fold(count as u128, |all, &of| all.saturating_mul(of as u128));
        if values > u128::from(MAX_VALUES) {
            return Err(refuse(format!(
                "there are {count} sequences of {steps} steps and {features} features; at most \
                 {MAX_VALUES} values are allowed in memory. A larger array of values [N, T, I] \
                 must be a file in a directory (numpy.save), which is read from disk"
            )));
        }
        memory_limit::check_values(values).map_err(|problem| refuse(problem.to_string()))?;
        let inputs = match self.vocabulary {
            None => input_values(array, &layout, lengths.as_deref()),
            Some(vocabulary) => input_tokens(&array, &layout, lengths.as_deref(), vocabulary),
        };
        Ok(FoundSequences {
            count,
            steps,
            features,
            inputs: inputs.map_err(refuse)?,
            lengths,
        })
    }

    /// Returns the sequences of an array of this shape.
    fn layout(&self, shape: &[usize], lengths: Option<&[usize]>) -> Result<InputLayout, String> {
        let layout = self.layout_of_shape(shape, lengths)?;
        let InputLayout {
            count,
            steps,
            features,
            ..
        } = layout;
        if count == 0 || steps == 0 || features == 0 {
            return Err(format!(
                "there are {count} sequences of {steps} steps and {features} features; \
                 there must be at least one of each"
            ));
        }
        let Some(lengths) = lengths else {
            return Ok(layout);
        };
        if lengths.len() != count {
            return Err(format!(
                "there are {count} sequences but {} lengths; each sequence must have one",
                lengths.len()
            ));
        }
        match lengths.iter().position(|&length| length > steps) {
            None => Ok(layout),
            Some(n) => Err(format!(
                "the length of sequence {n} is {}; there are {steps} steps, so it must be at most \
                 {steps}",
                lengths[n]
            )),
        }
    }

    fn layout_of_shape(
        &self,
        shape: &[usize],
        lengths: Option<&[usize]>,
    ) -> Result<InputLayout, String> {
        let reads_tokens = self.vocabulary.is_some();
        let padded = |count, steps, features| InputLayout {
            count,
            steps,
            features,
            is_concatenated: false,
        };
        let concatenated = |lengths: &[usize], features| InputLayout {
            count: lengths.len(),
            steps: lengths.iter().copied().max().unwrap_or(0),
            features,
            is_concatenated: true,
        };
        match (shape, lengths) {
            (&[rows], Some(lengths)) if have_sum(lengths, rows) => Ok(concatenated(lengths, 1)),
            (&[rows, features], Some(lengths)) if !reads_tokens && have_sum(lengths, rows) => {
                Ok(concatenated(lengths, features))
            }
            (&[count, steps], _) => Ok(padded(count, steps, 1)),
            (&[count, steps, features], _) if !reads_tokens => Ok(padded(count, steps, features)),
            _ => {
                let expected = match (reads_tokens, lengths) {
                    (true, _) => "tokens must be [N, T], or concatenated [R]",
                    (false, Some(_)) => {
                        "inputs must be [N, T, I] or [N, T], or concatenated [R, I], where R is \
                         the sum of the lengths"
                    }
                    (false, None) => "inputs must be [N, T, I], or [N, T] of one feature",
                };
                Err(format!("the array is {shape:?}; {expected}"))
            }
        }
    }
}

/// Returns whether `rows` are those of concatenated sequences of these lengths, rather than one row
/// for each sequence.
fn have_sum(lengths: &[usize], rows: usize) -> bool {
    let sum = lengths
        .iter()
        .try_fold(0usize, |sum, &length| sum.checked_add(length));
    lengths.len() != rows && sum == Some(rows)
}

/// Returns inputs of features, zero at padded steps.
fn input_values(
    array: Array,
    layout: &InputLayout,
    lengths: Option<&[usize]>,
) -> Result<FoundInputs, String> {
    let (steps, features) = (layout.steps, layout.features);
    let mut values = array.numbers("inputs")?;
    if let Some(at) = values.infinite() {
        return Err(format!("element {at} is infinite; values must be finite"));
    }
    if let Some(lengths) = lengths {
        if layout.is_concatenated {
            values = values.padded(lengths, steps, features);
        }
        values.clear_padding(lengths, steps, features);
    }
    Ok(FoundInputs::Numbers(values))
}

/// Returns inputs of tokens, zero at padded steps.
fn input_tokens(
    array: &Array,
    layout: &InputLayout,
    lengths: Option<&[usize]>,
    vocabulary: usize,
) -> Result<FoundInputs, String> {
    let steps = layout.steps;
    let mut tokens = array.integers().ok_or("tokens must be whole numbers")?;
    if let Some(lengths) = lengths {
        if layout.is_concatenated {
            tokens = padded(&tokens, lengths, steps, 1, 0);
        }
        clear_padding(&mut tokens, lengths, steps, 1, 0);
    }
    let is_allowed = |token: &i64| (0..vocabulary as i64).contains(token);
    if let Some(at) = tokens.iter().position(|token| !is_allowed(token)) {
        return Err(format!(
            "the token at [{}, {}] is {}; with data.vocabulary = {vocabulary} \
             tokens must be 0 to {}",
            at / steps,
            at % steps,
            tokens[at],
            vocabulary - 1
        ));
    }
    Ok(FoundInputs::Tokens {
        values: tokens.into_iter().map(|token| token as u32).collect(),
        vocabulary,
    })
}

/// Returns concatenated rows `[R, width]` as `[N, T, width]`, with `padding` at padded steps.
pub(super) fn padded<V: Copy>(
    rows: &[V],
    lengths: &[usize],
    steps: usize,
    width: usize,
    padding: V,
) -> Vec<V> {
    let (mut all, mut rest) = (Vec::with_capacity(lengths.len() * steps * width), rows);
    for &length in lengths {
        let (own, later) = rest.split_at((length * width).min(rest.len()));
        all.extend(own);
        all.resize(all.len() + steps * width - own.len(), padding);
        rest = later;
    }
    all
}

/// Overwrites the padded steps of `[N, T, width]`.
pub(super) fn clear_padding<V: Copy>(
    values: &mut [V],
    lengths: &[usize],
    steps: usize,
    width: usize,
    padding: V,
) {
    for (n, &length) in lengths.iter().enumerate() {
        values[(n * steps + length) * width..(n + 1) * steps * width].fill(padding);
    }
}
