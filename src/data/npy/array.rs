//! An array in memory.

use std::ops::Range;

#[cfg(feature = "tables")]
use ndarray::{ArrayD, IxDyn, ShapeBuilder};

use super::super::preparation::{Missing, Normal, Preparation};
#[cfg(feature = "tables")]
use super::super::stored::StoredElement;
use super::inputs::{clear_padding, padded};
use crate::numeric::real::Real;

/// The elements of an array, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub elements: Elements,
}

/// Elements by their type.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Elements {
    /// Elements of type float32.
    Floats(Vec<f32>),
    /// Elements of type float64.
    Doubles(Vec<f64>),
    /// Integers, and booleans as 0 and 1.
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

/// Numbers as precise as their array has them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Numbers {
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
}

/// The largest integer up to which f32 has all of them.
const LARGEST_IN_F32: u64 = 1 << 24;

impl Elements {
    /// Returns the number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Elements::Floats(values) => values.len(),
            Elements::Doubles(values) => values.len(),
            Elements::Integers(values) => values.len(),
            Elements::Texts(texts) => texts.len(),
        }
    }
}

#[cfg(feature = "tables")]
impl Elements {
    /// Adds numbers from the bytes of a file.
    ///
    /// # Errors
    /// A clause for an integer that i64 does not have, and for a boolean that is none.
    pub(super) fn extend(&mut self, bytes: &[u8], element: StoredElement) -> Result<(), String> {
        let words = bytes.chunks_exact(element.size);
        let words = words.map(|bytes| element.word(bytes));
        match self {
            Elements::Floats(values) => {
                values.extend(words.map(|word| f32::from_bits(word as u32)))
            }
            Elements::Doubles(values) => values.extend(words.map(f64::from_bits)),
            Elements::Integers(values) => {
                for word in words {
                    values.push(integer(word, element)?);
                }
            }
            Elements::Texts(_) => return Err("numbers follow texts".into()),
        }
        Ok(())
    }

    /// Returns column-major elements in row-major order.
    pub(super) fn row_major(self, shape: &[usize]) -> Result<Elements, String> {
        Ok(match self {
            Elements::Floats(values) => Elements::Floats(row_major(values, shape)?),
            Elements::Doubles(values) => Elements::Doubles(row_major(values, shape)?),
            Elements::Integers(values) => Elements::Integers(row_major(values, shape)?),
            Elements::Texts(texts) => Elements::Texts(row_major(texts, shape)?),
        })
    }
}

/// The integer of the bytes of an element.
#[cfg(feature = "tables")]
fn integer(word: u64, element: StoredElement) -> Result<i64, String> {
    let unused = 64 - 8 * element.size as u32;
    match element.kind {
        'i' => Ok((word << unused) as i64 >> unused),
        'b' if word > 1 => Err(format!(
            "it has the boolean {word}; booleans must be 0 or 1"
        )),
        _ => i64::try_from(word)
            .map_err(|_| format!("it has {word}; integers must be at most {}", i64::MAX)),
    }
}

#[cfg(feature = "tables")]
fn row_major<E: Clone>(elements: Vec<E>, shape: &[usize]) -> Result<Vec<E>, String> {
    let array = ArrayD::from_shape_vec(IxDyn(shape).f(), elements);
    let array = array.map_err(|error| format!("cannot be read as an array: {error}"))?;
    Ok(array.iter().cloned().collect())
}

impl Array {
    /// Returns the elements as numbers, in f32 if that is exact for their type.
    ///
    /// # Errors
    /// A clause for texts; `what` are the elements.
    pub(super) fn numbers(self, what: &str) -> Result<Numbers, String> {
        match self.elements {
            Elements::Floats(values) => Ok(Numbers::Floats(values)),
            Elements::Doubles(values) => Ok(Numbers::Doubles(values)),
            Elements::Integers(values) => {
                let fits_f32 = |value: &i64| value.unsigned_abs() <= LARGEST_IN_F32;
                Ok(if values.iter().all(fits_f32) {
                    Numbers::Floats(values.into_iter().map(|value| value as f32).collect())
                } else {
                    Numbers::Doubles(values.into_iter().map(|value| value as f64).collect())
                })
            }
            Elements::Texts(_) => Err(format!(
                "its elements are texts; {what} must be numbers (in NumPy: \
                 x.astype(numpy.float64))"
            )),
        }
    }

    /// Returns the elements as integers, if all are whole numbers.
    pub fn integers(&self) -> Option<Vec<i64>> {
        match &self.elements {
            Elements::Integers(values) => Some(values.clone()),
            Elements::Floats(values) => {
                let values = values.iter().map(|&value| whole(value.into()));
                values.collect()
            }
            Elements::Doubles(values) => values.iter().map(|&value| whole(value)).collect(),
            Elements::Texts(_) => None,
        }
    }

    /// Returns whether each row of the last dimension, of at least two elements, is one 1 and zeros
    /// otherwise.
    pub fn is_one_hot(&self) -> bool {
        let width = self.shape.last().copied().unwrap_or(0);
        if self.shape.len() < 2 || width < 2 {
            return false;
        }
        match &self.elements {
            Elements::Floats(values) => have_one_1(values, width),
            Elements::Doubles(values) => have_one_1(values, width),
            Elements::Integers(values) => have_one_1(values, width),
            Elements::Texts(_) => false,
        }
    }
}

/// Returns whether each of the rows is one 1 and zeros otherwise.
fn have_one_1<V: Copy + PartialEq + From<u8>>(values: &[V], width: usize) -> bool {
    let is_one_hot = |row: &[V]| {
        let count = |wanted: u8| {
            row.iter()
                .filter(|&&value| value == V::from(wanted))
                .count()
        };
        count(1) == 1 && count(0) + 1 == row.len()
    };
    !values.is_empty() && values.chunks(width).all(is_one_hot)
}

/// Returns a whole number that f64 has exactly.
pub(super) fn whole(value: f64) -> Option<i64> {
    const LARGEST: f64 = (1u64 << 53) as f64;
    (value.fract() == 0.0 && value.abs() <= LARGEST).then_some(value as i64)
}

/// Calls a function of slices for numbers of either type.
macro_rules! with_values {
    ($numbers:expr, $values:ident => $result:expr) => {
        match $numbers {
            Numbers::Floats($values) => $result,
            Numbers::Doubles($values) => $result,
        }
    };
}

impl Numbers {
    pub fn len(&self) -> usize {
        with_values!(self, values => values.len())
    }

    /// Returns the index of the first value that is infinite.
    pub fn infinite(&self) -> Option<usize> {
        with_values!(self, values => values.iter().position(|value| value.is_infinite()))
    }

    /// Returns whether all values are NaN.
    pub fn are_missing(&self) -> bool {
        with_values!(self, values => values.iter().all(|value| value.is_nan()))
    }

    /// Returns concatenated rows `[R, width]` as `[N, T, width]`, with zeros at padded steps.
    pub fn padded(self, lengths: &[usize], steps: usize, width: usize) -> Numbers {
        match self {
            Numbers::Floats(values) => Numbers::Floats(padded(&values, lengths, steps, width, 0.0)),
            Numbers::Doubles(values) => {
                Numbers::Doubles(padded(&values, lengths, steps, width, 0.0))
            }
        }
    }

    /// Overwrites the padded steps of `[N, T, width]` with zeros.
    pub fn clear_padding(&mut self, lengths: &[usize], steps: usize, width: usize) {
        with_values!(self, values => clear_padding(values, lengths, steps, width, 0.0));
    }

    /// Returns mean and deviation of each of `width` columns over the rows in these ranges of
    /// elements. NaN is skipped.
    pub fn normals(
        &self,
        ranges: impl Iterator<Item = Range<usize>> + Clone,
        width: usize,
    ) -> Vec<Normal> {
        with_values!(self, values => {
            Normal::of(ranges.flat_map(|range| values[range].chunks(width)), width)
        })
    }

    /// Returns the rows of inputs of a sequence as a network reads them: filled, normalized and
    /// rounded to f32.
    ///
    /// # Errors
    /// Row and column of the first value that is not filled.
    pub fn prepared_inputs(
        &self,
        range: Range<usize>,
        missing: Missing,
        preparation: &Preparation,
        width: usize,
    ) -> Result<Vec<f32>, (usize, usize)> {
        let mut rows = self.doubles(range);
        preparation.fill(missing, &mut rows, width)?;
        Ok(Normal::prepare_all(&preparation.inputs, &rows))
    }

    /// Returns rows of target values as a network learns them: normalized and rounded to f32.
    pub fn prepared_targets(&self, range: Range<usize>, normals: &[Normal]) -> Vec<f32> {
        Normal::prepare_targets(normals, &self.doubles(range))
    }

    fn doubles(&self, range: Range<usize>) -> Vec<f64> {
        with_values!(self, values => values[range].iter().map(|value| value.f64()).collect())
    }
}
