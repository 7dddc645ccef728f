//! The header of an `.npy` file, which is checked before its sizes are used.

use ndarray_npy::npy::header::{Header, Layout};

use super::super::stored::StoredElement;
use crate::messages::excerpt;

/// The largest header of an array, in bytes; those of NumPy have 128.
pub(super) const LARGEST_HEADER: usize = 4096;
/// The most opening brackets in a header: one of a dictionary, one of a shape, and a margin.
const MOST_BRACKETS: usize = 8;
/// The most dimensions of an array.
const MOST_DIMENSIONS: usize = 8;
/// The types of numbers that can be read: kind and bytes.
const ELEMENT_TYPES: [&str; 11] = [
    "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1",
];

/// The description of an array in its header.
pub(super) struct ArrayHeader {
    pub shape: Vec<usize>,
    pub element: StoredElement,
    pub is_row_major: bool,
    /// Bytes of the header.
    pub length: usize,
}

/// Refuses headers that the parser of `ndarray-npy` cannot handle: it trusts the length of a header
/// and recurses at every bracket.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(
            "not an .npy array: its first bytes are wrong; write it with numpy.save".into(),
        );
    }
    let is_version_2 = bytes.get(6) > Some(&1);
    let start = if is_version_2 { 12 } else { 10 };
    let cut_off = "the file ends in its header: it is cut off; copy or write it again";
    let digits = bytes.get(8..start).ok_or(cut_off)?.iter().rev();
    let length = digits.fold(0, |length, &byte| length << 8 | usize::from(byte));
    if length > LARGEST_HEADER {
        return Err(format!(
            "the header has {length} bytes; at most {LARGEST_HEADER} are allowed \
             (is the file damaged?)"
        ));
    }
    let header = bytes.get(start..start + length).ok_or(cut_off)?;
    let brackets = header.iter().filter(|byte| b"([{".contains(byte)).count();
    if brackets > MOST_BRACKETS {
        return Err("an array of records; save each of its fields as an array of its own".into());
    }
    Ok(())
}

/// Parses the header.
pub(super) fn describe(bytes: &[u8]) -> Result<ArrayHeader, String> {
    check_header(bytes)?;
    let mut rest = bytes;
    let header = Header::from_reader(&mut rest)
        .map_err(|error| format!("the header is damaged: {error}; write the array again"))?;
    let dimensions = header.shape.len();
    let type_name = header.type_descriptor.as_string();
    let element = parse_element(type_name.map_or("", String::as_str))?;
    if dimensions > MOST_DIMENSIONS {
        return Err(format!(
            "it has {dimensions} dimensions; it must have at most 3"
        ));
    }
    Ok(ArrayHeader {
        shape: header.shape,
        element,
        is_row_major: matches!(header.layout, Layout::Standard),
        length: bytes.len() - rest.len(),
    })
}

/// Parses the name of a type, as `<f4`.
fn parse_element(name: &str) -> Result<StoredElement, String> {
    let kind_and_size = name.trim_start_matches(['<', '>', '|', '=']);
    let Some((kind, size)) = kind_and_bytes(kind_and_size) else {
        return Err(format!(
            "its elements are of type {}; {}",
            excerpt(name),
            remedy(kind_and_size)
        ));
    };
    let is_native = name.starts_with('=');
    Ok(StoredElement {
        kind,
        size,
        big_endian: name.starts_with('>') || is_native && cfg!(target_endian = "big"),
    })
}

/// Returns the letter of a type and the bytes of an element; `None` for one that cannot be read.
fn kind_and_bytes(name: &str) -> Option<(char, usize)> {
    let kind = name.chars().next()?;
    let size: usize = name[kind.len_utf8()..].parse().ok()?;
    match kind {
        // Characters of four bytes.
        'U' => size
            .checked_mul(4)
            .filter(|&bytes| bytes > 0)
            .map(|bytes| (kind, bytes)),
        'S' if size > 0 => Some((kind, size)),
        _ => ELEMENT_TYPES.contains(&name).then_some((kind, size)),
    }
}

/// The remedy for elements of a type that cannot be read.
fn remedy(kind_and_size: &str) -> &'static str {
    match kind_and_size.chars().next() {
        Some('O') => {
            "Python objects cannot be read: save texts as numpy.array(labels, dtype=str), numbers \
             as .astype(numpy.float64), and sequences of different lengths as \
             numpy.concatenate(sequences) with an array of their lengths"
        }
        Some('M' | 'm') => {
            "times cannot be read: save them as numbers, as (x - x[0]) / numpy.timedelta64(1, \"s\")"
        }
        _ => {
            "it must be an array of float32, float64, integers, booleans or, for labels, texts \
             (in NumPy: x.astype(numpy.float32))"
        }
    }
}

/// Checks that the number of bytes after the header is the one that it says, and that the extents
/// can be those of an array in memory: also beside an extent of 0, where all products are 0.
pub(super) fn check_bytes(shape: &[usize], size: usize, found: u64) -> Result<(), String> {
    let bytes = |extents: &[usize], least: usize| {
        let extents = extents.iter().map(|&extent| extent.max(least) as u128);
        extents.fold(size as u128, u128::saturating_mul)
    };
    if bytes(shape, 1) > isize::MAX as u128 {
        return Err(format!(
            "the header says {shape:?} elements of {size} bytes, which is more than any memory \
             holds; the file is damaged: copy or write it again"
        ));
    }
    let needed = bytes(shape, 0);
    if needed == u128::from(found) {
        return Ok(());
    }
    Err(format!(
        "the header says {shape:?} elements of {size} bytes, which are {needed} bytes, but {found} \
         follow; the file is damaged or cut off: copy or write it again"
    ))
}
