//! Binary files of words, in compressed parts that a browser unpacks by itself.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::error::{Error, Result};

/// A file of compressed parts.
#[derive(Default)]
pub(super) struct Blob {
    bytes: Vec<u8>,
}

/// A part of a file: words of 32 bits, little-endian, as gzip.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Segment {
    /// Bytes before it in the file.
    offset: usize,
    /// Compressed bytes.
    bytes: usize,
    words: usize,
}

impl Blob {
    /// Appends words as a part.
    ///
    /// # Errors
    /// [`Error::Usage`] where they cannot be compressed.
    pub(super) fn add(&mut self, words: &[u32]) -> Result<Segment> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let offset = self.bytes.len();
        self.bytes.extend(compressed(&bytes)?);
        Ok(Segment {
            offset,
            bytes: self.bytes.len() - offset,
            words: words.len(),
        })
    }

    /// The whole file.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Returns bytes as gzip; the same bytes for the same input.
pub(super) fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.map_err(|error| Error::usage(format!("the data cannot be compressed: {error}")))
}
