//! From the encodings of texts to UTF-8.

use super::formats::not_text;
use crate::messages::excerpt;

/// Windows-1252 from 0x80 to 0x9f; 0 for bytes without a meaning. The bytes above are those of
/// Latin-1, which are the first of Unicode.
const WINDOWS_1252: [u16; 32] = [
    0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039,
    0x0152, 0, 0x017d, 0, 0, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc,
    0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e, 0x0178,
];
/// Units of two bytes that are looked at to recognise UTF-16 without a mark.
const MOST_UNITS: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

/// Returns a text as UTF-8 without its byte-order mark. A guess of the encoding is added to
/// `notes`.
///
/// # Errors
/// A clause on the first line that cannot be read.
pub(super) fn to_utf8(bytes: Vec<u8>, notes: &mut Vec<String>) -> Result<String, String> {
    if let Some(rest) = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]) {
        return utf8(rest.to_vec(), notes);
    }
    if bytes.starts_with(&[0xff, 0xfe, 0, 0]) || bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Err("is a text in UTF-32; save it as UTF-8".into());
    }
    let marked = match bytes.first_chunk() {
        Some([0xff, 0xfe]) => Some(ByteOrder::Little),
        Some([0xfe, 0xff]) => Some(ByteOrder::Big),
        _ => None,
    };
    match (marked, unmarked_utf16(&bytes)) {
        (Some(order), _) => utf16(&bytes[2..], order),
        (None, Some(order)) => {
            notes.push("the text is in UTF-16 without a byte-order mark".into());
            utf16(&bytes, order)
        }
        (None, None) => utf8(bytes, notes),
    }
}

/// Returns the byte order of a text whose every second byte is zero.
fn unmarked_utf16(bytes: &[u8]) -> Option<ByteOrder> {
    let units = &bytes[..bytes.len().min(2 * MOST_UNITS) / 2 * 2];
    let zeros = |offset: usize| {
        let bytes = units.iter().skip(offset).step_by(2);
        bytes.filter(|&&byte| byte == 0).count()
    };
    let most = units.len() / 2 * 4 / 5;
    match (zeros(0), zeros(1)) {
        (0, odd) if odd > most => Some(ByteOrder::Little),
        (even, 0) if even > most => Some(ByteOrder::Big),
        _ => None,
    }
}

fn utf16(bytes: &[u8], order: ByteOrder) -> Result<String, String> {
    let pairs = bytes.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err("is a text in UTF-16 with half a character at its end; copy it again".into());
    }
    let units = pairs.map(|pair| {
        let pair = [pair[0], pair[1]];
        match order {
            ByteOrder::Little => u16::from_le_bytes(pair),
            ByteOrder::Big => u16::from_be_bytes(pair),
        }
    });
    let mut text = String::with_capacity(bytes.len() / 2);
    for unit in char::decode_utf16(units) {
        let Ok(character) = unit else {
            let line = text.matches('\n').count() + 1;
            return Err(format!(
                "line {line}: the text is not UTF-16, which it begins as; save it as UTF-8"
            ));
        };
        text.push(character);
    }
    Ok(text)
}

fn utf8(bytes: Vec<u8>, notes: &mut Vec<String>) -> Result<String, String> {
    if let Some(problem) = not_text(&bytes) {
        return Err(problem);
    }
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let position = error.utf8_error().valid_up_to();
    let bytes = error.into_bytes();
    let line = bytes[..position]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1;
    let Some(text) = windows_1252(&bytes) else {
        return Err(format!(
            "line {line}: the byte {:#04x} is not UTF-8; save the file as UTF-8",
            bytes[position]
        ));
    };
    let example = text.lines().nth(line - 1).unwrap_or_default();
    let around = example.chars().position(|c| !c.is_ascii()).unwrap_or(0);
    let word: String = example
        .chars()
        .skip(around.saturating_sub(12))
        .take(24)
        .collect();
    notes.push(format!(
        "the text is not UTF-8 and is read as Windows-1252 (Latin-1), in which line {line} has \
         `{}`; if that is wrong, save the file as UTF-8",
        excerpt(&word)
    ));
    Ok(text)
}

/// Returns a text in Windows-1252; `None` if the bytes do not look like one: some have no meaning,
/// other characters are in UTF-8, or too many beyond ASCII are side by side.
fn windows_1252(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    let mut in_a_row = 0;
    for &byte in bytes {
        in_a_row = if byte < 0x80 { 0 } else { in_a_row + 1 };
        let unit = match byte {
            0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
            _ => u16::from(byte),
        };
        if unit == 0 || in_a_row > 2 {
            return None;
        }
        text.push(char::from_u32(u32::from(unit))?);
    }
    let is_mixed = bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii());
    (!is_mixed).then_some(text)
}
