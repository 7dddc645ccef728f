//! From the bytes of a file to CSV text in UTF-8: compression, encodings, comments, and the formats
//! of the time-series archives (`.ts` and `.arff`). Other known formats are refused by name.

mod arff;
mod comments;
mod encoding;
mod formats;
#[cfg(test)]
mod tests;
mod ts;

use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::io::{files, memory_limit};

/// The largest unpacked or converted file, in bytes.
const LARGEST_FILE: u64 = 1 << 30;
/// The first bytes of a file packed by gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A table's file as CSV text.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedTable {
    /// CSV, without a byte-order mark.
    pub text: String,
    /// Sentences on guesses and changes.
    pub notes: Vec<String>,
    /// The columns of a file of sequences.
    pub archive: Option<ArchiveColumns>,
    /// The columns that the file declares as classes.
    pub nominal: Vec<String>,
}

/// The columns of CSV text that was made of the sequences of an archive: a row is a time step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveColumns {
    /// The column of the number of the sequence, from 0.
    pub case: String,
    /// The column of its class or its target value, if the file has one.
    pub target: Option<String>,
}

/// Returns the contents of a table's file as CSV text in UTF-8. Errors name `path`.
///
/// # Errors
/// [`Error::File`] for another format than those of this module, for a text in an unknown encoding,
/// and for a damaged or too large file.
pub fn decode(bytes: Vec<u8>, path: &Path) -> Result<Vec<u8>> {
    decode_with_notes(bytes, path).map(|decoded| decoded.text.into_bytes())
}

/// Returns the contents of a table's file as CSV text; see [`decode`].
///
/// # Errors
/// Those of [`decode`].
pub fn decode_with_notes(bytes: Vec<u8>, path: &Path) -> Result<DecodedTable> {
    let refused = |problem: String| Error::file(path, problem);
    let is_packed = bytes.starts_with(&GZIP);
    let bytes = if is_packed {
        unpacked(&bytes).map_err(refused)?
    } else {
        bytes
    };
    if let Some(problem) = formats::binary_format(&bytes, path) {
        return Err(refused(problem));
    }
    let mut notes = vec![];
    let text = encoding::to_utf8(bytes, &mut notes).map_err(refused)?;
    let text = with_line_ends(text);
    if let Some(problem) = formats::text_format(&text, path) {
        return Err(refused(problem));
    }
    let converted = match formats::archive_format(&text) {
        Some(formats::Archive::Ts) => ts::to_csv(&text),
        Some(formats::Archive::Arff) => arff::to_csv(&text),
        None => Ok(ConvertedTable {
            text: comments::without_comments(text, &mut notes),
            ..ConvertedTable::default()
        }),
    };
    let converted = converted.map_err(refused)?;
    notes.extend(converted.notes);
    Ok(DecodedTable {
        text: converted.text,
        notes,
        archive: converted.columns,
        nominal: converted.nominal,
    })
}

/// Returns a text whose lines end with `\n`, although old programs of the Mac write `\r`, without
/// byte-order marks and the mark that old programs of DOS write at the end.
fn with_line_ends(mut text: String) -> String {
    let length = text.trim_end_matches('\u{1a}').len();
    text.truncate(length);
    let marks = text.len() - text.trim_start_matches('\u{feff}').len();
    text.drain(..marks);
    if text.contains('\r') && !text.contains('\n') {
        text = text.replace('\r', "\n");
    }
    text
}

/// A text as CSV.
#[derive(Default)]
struct ConvertedTable {
    text: String,
    notes: Vec<String>,
    columns: Option<ArchiveColumns>,
    nominal: Vec<String>,
}

fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, String> {
    files::read_at_most(MultiGzDecoder::new(bytes), LARGEST_FILE)
        .map_err(|error| format!("cannot be unpacked as a gzip file: {error}"))
}

/// CSV text that is built row by row, within a limit.
struct CsvText {
    text: String,
}

impl CsvText {
    /// Begins with a header.
    fn new<'a>(header: impl Iterator<Item = &'a str>) -> CsvText {
        let mut text = CsvText {
            text: String::new(),
        };
        text.write_row(header);
        text
    }

    fn write_row<'a>(&mut self, cells: impl Iterator<Item = &'a str>) {
        let start = self.text.len();
        let mut is_first = true;
        for cell in cells {
            if !is_first {
                self.text.push(',');
            }
            is_first = false;
            self.write_cell(cell);
        }
        if self.text.len() == start {
            // A blank line is no row.
            self.text.push_str("\"\"");
        }
        self.text.push('\n');
    }

    fn write_cell(&mut self, cell: &str) {
        if cell.contains([',', '"', '\n', '\r']) {
            self.text.push('"');
            self.text.push_str(&cell.replace('"', "\"\""));
            self.text.push('"');
        } else {
            self.text.push_str(cell);
        }
    }

    /// Refuses a text that has grown too large.
    fn check(&self) -> Result<(), String> {
        let used = memory_limit::check(self.text.len() as u128);
        used.map_err(|problem| problem.to_string())?;
        if self.text.len() as u64 > LARGEST_FILE {
            return Err(format!(
                "is more than {LARGEST_FILE} bytes as CSV, which is the limit; \
                 use a part of its cases"
            ));
        }
        Ok(())
    }
}

/// Sequences that become a table of one row for each time step.
struct SequenceTable {
    csv: CsvText,
    cases: usize,
}

impl SequenceTable {
    /// `inputs` are the names of the values of a step; `more` those of a class or target.
    fn new(inputs: &[String], more: Option<&str>) -> SequenceTable {
        let inputs = inputs.iter().map(String::as_str);
        let header = std::iter::once(CASE).chain(inputs).chain(more);
        SequenceTable {
            csv: CsvText::new(header),
            cases: 0,
        }
    }

    /// Adds a sequence: the values of each dimension in the order of time, of which shorter ones
    /// lack the last values. `target` is its class or target value.
    fn add(&mut self, dimensions: &[Vec<&str>], target: Option<&str>) -> Result<(), String> {
        let number = self.cases.to_string();
        let steps = dimensions.iter().map(Vec::len).max().unwrap_or(0);
        for step in 0..steps {
            let values = dimensions
                .iter()
                .map(|values| values.get(step).copied().unwrap_or_default());
            let cells = std::iter::once(number.as_str()).chain(values).chain(target);
            self.csv.write_row(cells);
            self.csv.check()?;
        }
        self.cases += 1;
        Ok(())
    }
}

/// The column of the number of a sequence.
const CASE: &str = "case";

/// Returns the text of a value for a cell: empty for a missing one; `None` for no finite number.
fn value_cell(value: &str) -> Option<&str> {
    let value = value.trim();
    if value.is_empty() || value == "?" || value.eq_ignore_ascii_case("nan") {
        return Some("");
    }
    let number: Option<f64> = value.parse().ok();
    number.filter(|number| number.is_finite()).map(|_| value)
}
