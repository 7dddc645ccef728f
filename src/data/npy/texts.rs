//! Texts in arrays: NumPy's types `U`, characters in UTF-32, and `S`, bytes.

use super::super::stored::StoredElement;

/// Returns the texts of elements, in the order of the file.
///
/// # Errors
/// A clause with the first element that is no text.
pub(super) fn texts(bytes: &[u8], element: StoredElement) -> Result<Vec<String>, String> {
    let cells = bytes.chunks_exact(element.size.max(1)).enumerate();
    let texts = cells.map(|(at, cell)| {
        let text = match element.kind {
            'U' => characters(cell, element.big_endian),
            _ => utf8(cell),
        };
        text.ok_or_else(|| {
            format!(
                "element {at} is not a text in {}; write the array again as texts \
                 (in NumPy: x.astype(str))",
                if element.kind == 'U' {
                    "UTF-32"
                } else {
                    "UTF-8"
                }
            )
        })
    });
    texts.collect()
}

/// Returns characters of four bytes each, without the zeros that pad them.
fn characters(cell: &[u8], big_endian: bool) -> Option<String> {
    let (words, _) = cell.as_chunks();
    let code = |word: &[u8; 4]| {
        if big_endian {
            u32::from_be_bytes(*word)
        } else {
            u32::from_le_bytes(*word)
        }
    };
    let codes: Vec<u32> = words.iter().map(code).collect();
    let length = codes
        .iter()
        .rposition(|&code| code != 0)
        .map_or(0, |at| at + 1);
    codes[..length]
        .iter()
        .map(|&code| char::from_u32(code))
        .collect()
}

/// Returns bytes in UTF-8, without the zeros that pad them.
fn utf8(cell: &[u8]) -> Option<String> {
    let length = cell
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    String::from_utf8(cell[..length].to_vec()).ok()
}
