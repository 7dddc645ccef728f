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
    /// Whether the lowest bytes of all words come first, then the second ones, and so on: floats
    /// and small integers are compressed better so.
    planes: bool,
}

impl Blob {
    /// Appends words as a part.
    ///
    /// # Errors
    /// [`Error::Usage`] where they cannot be compressed.
    pub(super) fn add(&mut self, words: &[u32]) -> Result<Segment> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let planes = (0..4).flat_map(|plane| bytes.iter().skip(plane).step_by(4).copied());
        let [whole, planes] = [
            compressed(&bytes)?,
            compressed(&planes.collect::<Vec<_>>())?,
        ];
        let is_smaller = planes.len() < whole.len();
        let packed = if is_smaller { planes } else { whole };
        let offset = self.bytes.len();
        self.bytes.extend(&packed);
        Ok(Segment {
            offset,
            bytes: packed.len(),
            words: words.len(),
            planes: is_smaller,
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
