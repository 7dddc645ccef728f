//! Sequences that are read from disk when they are needed, for data sets larger than memory.
//!
//! Several threads read at positions instead of mapping the file: if the file is truncated
//! meanwhile, that is an error and does not end the process. The operating system caches the same
//! pages.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use super::preparation::{Missing, Normal, Preparation};
use crate::error::{Error, Result};

/// Values that are read at a time in a pass over all sequences.
const BLOCK: usize = 1 << 22;

/// A row-major array in a file.
#[derive(Debug, Clone)]
pub(super) struct StoredArray {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    pub(super) shape: Vec<usize>,
    pub(super) element: StoredElement,
    /// Bytes before its first element.
    pub(super) start: u64,
}

impl StoredArray {
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// The type of the elements in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredElement {
    /// NumPy's letter for it: `f`, `i`, `u` or `b`.
    pub kind: char,
    /// Size in bytes.
    pub size: usize,
    pub big_endian: bool,
}

impl StoredElement {
    /// The bits of an element of at most 8 bytes, the others 0.
    pub(super) fn word(self, bytes: &[u8]) -> u64 {
        let mut word = [0; 8];
        word[..self.size].copy_from_slice(bytes);
        if self.big_endian {
            word[..self.size].reverse();
        }
        u64::from_le_bytes(word)
    }

    /// Converts an element, exactly as for an array in memory.
    fn decode(self, bytes: &[u8]) -> f64 {
        let word = self.word(bytes);
        let unused = 64 - 8 * self.size as u32;
        match (self.kind, self.size) {
            ('f', 4) => f32::from_bits(word as u32).into(),
            ('f', _) => f64::from_bits(word),
            ('i', _) => ((word << unused) as i64 >> unused) as f64,
            ('b', _) => f64::from(u8::from(word != 0)),
            _ => word as f64,
        }
    }
}

/// Sequences `[N, T, I]` of an array `[N, T, I]`, or `[R, I]` of concatenated sequences; prepared
/// when they are read.
#[derive(Debug, Clone)]
pub struct StoredSequences {
    array: StoredArray,
    steps: usize,
    features: usize,
    /// `[N]`
    sequences: Vec<SequenceSpan>,
    missing: Missing,
    preparation: Arc<Preparation>,
}

/// The place of a sequence in the file.
#[derive(Debug, Clone, Copy)]
struct SequenceSpan {
    /// Its first row of I values.
    row: u64,
    /// Valid steps; padded steps are read as zeros.
    length: u32,
}

impl StoredSequences {
    /// Returns sequences of these lengths, padded to T rows each in the file or concatenated;
    /// missing values are refused and nothing is normalized.
    pub(super) fn new(
        array: StoredArray,
        [steps, features]: [usize; 2],
        lengths: impl Iterator<Item = usize>,
        is_concatenated: bool,
    ) -> StoredSequences {
        let mut row = 0;
        let sequences = lengths.map(|length| {
            let sequence = SequenceSpan {
                row,
                length: length as u32,
            };
            row += if is_concatenated { length } else { steps } as u64;
            sequence
        });
        StoredSequences {
            sequences: sequences.collect(),
            array,
            steps,
            features,
            missing: Missing::Refuse,
            preparation: Arc::default(),
        }
    }

    /// Sets how missing values are filled and values are normalized when they are read.
    pub(super) fn prepare(&mut self, missing: Missing, preparation: &Preparation) {
        (self.missing, self.preparation) = (missing, Arc::new(preparation.clone()));
    }

    /// N.
    pub(super) fn count(&self) -> usize {
        self.sequences.len()
    }

    /// Returns the sequences with these indices.
    pub(super) fn select(&self, sequences: &[usize]) -> StoredSequences {
        StoredSequences {
            sequences: sequences.iter().map(|&n| self.sequences[n]).collect(),
            ..self.clone()
        }
    }

    fn failed(&self, problem: impl ToString) -> Error {
        Error::file(&self.array.path, problem)
    }

    /// Reads the valid rows of sequence n without preparing them.
    fn read_raw(&self, n: usize, out: &mut [f64]) -> Result<()> {
        let StoredArray { file, element, .. } = &self.array;
        let first = self.sequences[n].row * self.features as u64;
        let mut bytes = vec![0; out.len() * element.size];
        let from = self.array.start + first * element.size as u64;
        read_exact_at(file, &mut bytes, from).map_err(|error| {
            self.failed(format!(
                "sequence {n} cannot be read ({error}); do not change the file while it is in use"
            ))
        })?;
        let elements = bytes.chunks_exact(element.size);
        out.iter_mut()
            .zip(elements)
            .for_each(|(out, bytes)| *out = element.decode(bytes));
        match out.iter().position(|value| value.is_infinite()) {
            Some(at) => Err(self.failed(self.refusal(n, at, "infinite"))),
            None => Ok(()),
        }
    }

    /// Reads and prepares the sequences with these indices, `[N, T, I]`.
    ///
    /// # Errors
    /// [`Error::File`] if the file can no longer be read, or a value is missing or not finite.
    pub fn read(&self, sequences: &[usize]) -> Result<Vec<f32>> {
        let each = self.steps * self.features;
        let mut all = vec![0.0; sequences.len() * each];
        let rows = all.par_chunks_exact_mut(each).zip(sequences);
        rows.try_for_each(|(rows, &n)| {
            let mut values = vec![0.0; self.sequences[n].length as usize * self.features];
            self.read_raw(n, &mut values)?;
            let filled = self
                .preparation
                .fill(self.missing, &mut values, self.features);
            filled.map_err(|at| self.failed(self.missing.refusal(n, at)))?;
            let prepared = Normal::prepare_all(&self.preparation.inputs, &values);
            if let Some(at) = prepared.iter().position(|value| !value.is_finite()) {
                return Err(self.failed(self.refusal(n, at, "too large for float32")));
            }
            rows[..prepared.len()].copy_from_slice(&prepared);
            Ok(())
        })?;
        Ok(all)
    }

    /// The message for element `at` of sequence n, which is not finite.
    fn refusal(&self, n: usize, at: usize, problem: &str) -> String {
        format!(
            "sequence {n}, step {}, feature {} is {problem}; values must be finite",
            at / self.features,
            at % self.features
        )
    }

    /// Calls `see` with the values of all sequences in order, as [`StoredSequences::read`] returns
    /// them.
    ///
    /// # Errors
    /// Those of [`StoredSequences::read`].
    pub(crate) fn each(&self, mut see: impl FnMut(&[f32])) -> Result<()> {
        let sequences: Vec<usize> = (0..self.count()).collect();
        let at_once = (BLOCK / (self.steps * self.features)).max(1);
        sequences.chunks(at_once).try_for_each(|sequences| {
            see(&self.read(sequences)?);
            Ok(())
        })
    }

    /// Computes mean and deviation of each feature over all valid steps in two passes, with the
    /// same sums as for an array in memory.
    pub(super) fn normals(&self) -> Result<Vec<Normal>> {
        let width = self.features;
        Normal::of_passes(width, |see| {
            let mut rows = vec![];
            for (n, sequence) in self.sequences.iter().enumerate() {
                rows.resize(sequence.length as usize * width, 0.0);
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

/// WebAssembly has no files.
#[cfg(not(any(unix, windows)))]
fn read_exact_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
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
