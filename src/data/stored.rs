//! Sequences that stay in their file and are read as they are needed, so that they may be more than memory holds.
//!
//! They are read at positions, by several threads, and not mapped: a file that is cut off meanwhile is an error then, and not the
//! end of the process. The system keeps the same pages either way.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use super::preparation::{Missing, Normal, Preparation};
use crate::error::{Error, Result};

/// Numbers that are read at a time where all are looked at.
const BLOCK: usize = 1 << 22;

/// An array in a file, row-major.
#[derive(Debug, Clone)]
pub struct StoredArray {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    pub(super) shape: Vec<usize>,
    pub(super) element: Element,
    /// Bytes before its first element.
    pub(super) start: u64,
}

/// What an element of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// NumPy's letter: `f`, `i`, `u` or `b`.
    pub kind: char,
    /// Bytes.
    pub size: usize,
    pub big_endian: bool,
}

impl Element {
    /// As a real number, as an array in memory has it.
    fn decode(self, bytes: &[u8]) -> f32 {
        let mut word = [0; 8];
        for (at, &byte) in bytes.iter().enumerate() {
            let place = if self.big_endian {
                self.size - 1 - at
            } else {
                at
            };
            word[place] = byte;
        }
        let word = u64::from_le_bytes(word);
        let unused = 64 - 8 * self.size as u32;
        match (self.kind, self.size) {
            ('f', 4) => f32::from_bits(word as u32),
            ('f', _) => f64::from_bits(word) as f32,
            ('i', _) => ((word << unused) as i64 >> unused) as f32,
            ('b', _) => f32::from(u8::from(word != 0)),
            _ => word as f32,
        }
    }
}

/// Sequences `[N, T, I]` of an array that is `[N, T, I]`, or `[R, I]` with all of them end to end; prepared as they are read.
#[derive(Debug, Clone)]
pub struct Stored {
    array: StoredArray,
    steps: usize,
    features: usize,
    /// `[N]`: the row of `features` numbers at which each begins, and its valid steps; past them are zeros.
    places: Vec<(u64, u32)>,
    missing: Missing,
    preparation: Arc<Preparation>,
}

impl Stored {
    /// Sequences of these lengths, one every T rows or end to end; neither filled nor normalised.
    pub(super) fn new(
        array: StoredArray,
        [steps, features]: [usize; 2],
        lengths: impl Iterator<Item = usize>,
        end_to_end: bool,
    ) -> Stored {
        let mut row = 0;
        let places = lengths.map(|length| {
            let place = (row, length as u32);
            row += if end_to_end { length } else { steps } as u64;
            place
        });
        Stored {
            places: places.collect(),
            array,
            steps,
            features,
            missing: Missing::Refuse,
            preparation: Arc::default(),
        }
    }

    /// The same, read with what is missing filled and the rest normalised.
    pub(super) fn prepare(&mut self, missing: Missing, preparation: &Preparation) {
        (self.missing, self.preparation) = (missing, Arc::new(preparation.clone()));
    }

    /// N.
    pub(super) fn count(&self) -> usize {
        self.places.len()
    }

    /// Those of these numbers.
    pub(super) fn select(&self, sequences: &[usize]) -> Stored {
        Stored {
            places: sequences.iter().map(|&n| self.places[n]).collect(),
            ..self.clone()
        }
    }

    fn failed(&self, problem: impl ToString) -> Error {
        Error::file(&self.array.path, problem)
    }

    /// The valid rows of sequence n as the file has them, into as many numbers.
    fn read_raw(&self, n: usize, out: &mut [f32]) -> Result<()> {
        let StoredArray { file, element, .. } = &self.array;
        let row = self.places[n].0 * self.features as u64;
        let mut bytes = vec![0; out.len() * element.size];
        let from = self.array.start + row * element.size as u64;
        read_exact_at(file, &mut bytes, from).map_err(|error| {
            self.failed(format!("sequence {n} cannot be read ({error}); the file must stay as it is while it is in use"))
        })?;
        let elements = bytes.chunks_exact(element.size);
        out.iter_mut()
            .zip(elements)
            .for_each(|(out, bytes)| *out = element.decode(bytes));
        match out.iter().position(|value| value.is_infinite()) {
            Some(at) => Err(self.failed(format!(
                "sequence {n}, step {}, feature {} is infinite; numbers must be finite",
                at / self.features,
                at % self.features
            ))),
            None => Ok(()),
        }
    }

    /// `[those, T, I]`, prepared.
    ///
    /// # Errors
    /// [`Error::File`] where the file can no longer be read, or a number is missing or not finite.
    pub fn read(&self, sequences: &[usize]) -> Result<Vec<f32>> {
        let each = self.steps * self.features;
        let mut all = vec![0.0; sequences.len() * each];
        let rows = all.par_chunks_exact_mut(each).zip(sequences);
        rows.try_for_each(|(rows, &n)| {
            let rows = &mut rows[..self.places[n].1 as usize * self.features];
            self.read_raw(n, rows)?;
            let filled = self.preparation.fill(self.missing, rows, self.features);
            filled.map_err(|at| self.failed(self.missing.refusal(n, at)))?;
            Normal::apply_all(&self.preparation.inputs, rows);
            Ok(())
        })?;
        Ok(all)
    }

    /// Goes over all sequences in order, as [`Stored::read`] has them.
    ///
    /// # Errors
    /// Those of [`Stored::read`].
    pub(crate) fn each(&self, mut see: impl FnMut(&[f32])) -> Result<()> {
        let numbers: Vec<usize> = (0..self.count()).collect();
        let at_once = (BLOCK / (self.steps * self.features)).max(1);
        numbers.chunks(at_once).try_for_each(|numbers| {
            see(&self.read(numbers)?);
            Ok(())
        })
    }

    /// Mean and deviation of each feature over the valid rows, as the file has them: two passes, with the sums of arrays in memory.
    pub(super) fn normals(&self) -> Result<Vec<Normal>> {
        let width = self.features;
        Normal::of_passes(width, |see| {
            let mut rows = vec![];
            for (n, &(_, length)) in self.places.iter().enumerate() {
                rows.resize(length as usize * width, 0.0);
                self.read_raw(n, &mut rows)?;
                rows.chunks(width).for_each(&mut *see);
            }
            Ok(())
        })
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], from: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, from)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut from: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, from)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (bytes, from) = (&mut bytes[read..], from + read as u64);
    }
    Ok(())
}
