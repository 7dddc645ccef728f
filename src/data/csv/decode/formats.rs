//! Formats of files that are recognised by their first bytes, and how to convert them.

use std::path::Path;

use crate::messages::excerpt;

/// Bytes at the beginning of a text that are looked at to recognise it.
const MOST_BYTES: usize = 1 << 16;

/// A format that is recognised by bytes at a place of the file.
struct Magic {
    offset: usize,
    bytes: &'static [u8],
    /// The format's name with its article.
    name: &'static str,
    remedy: FormatRemedy,
}

/// The remedy for a file of a known format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FormatRemedy {
    /// A function of pandas that reads it.
    Pandas(&'static str),
    /// A command, in which `{}` is the file.
    Command(&'static str),
    /// A clause.
    Advice(&'static str),
}

use FormatRemedy::{Advice, Command, Pandas};

/// No table can be made of it.
const NO_TABLE: FormatRemedy = Advice("a table must be CSV text with a header");

const fn magic(bytes: &'static [u8], name: &'static str, remedy: FormatRemedy) -> Magic {
    Magic {
        offset: 0,
        bytes,
        name,
        remedy,
    }
}

const MAGIC: &[Magic] = &[
    magic(b"PAR1", "a Parquet file", Pandas("read_parquet")),
    magic(b"ARROW1", "an Arrow (Feather) file", Pandas("read_feather")),
    magic(b"FEA1", "a Feather file", Pandas("read_feather")),
    magic(b"ORC", "an ORC file", Pandas("read_orc")),
    magic(
        b"Obj\x01",
        "an Avro file",
        Advice("convert it to CSV with fastavro"),
    ),
    magic(b"\x89HDF\r\n\x1a\n", "an HDF5 file", Pandas("read_hdf")),
    magic(
        b"CDF\x01",
        "a netCDF file",
        Advice("convert it to CSV with xarray"),
    ),
    magic(
        b"CDF\x02",
        "a netCDF file",
        Advice("convert it to CSV with xarray"),
    ),
    magic(
        b"MATLAB 5.0",
        "a MATLAB file",
        Advice("in MATLAB, use writetable or writematrix"),
    ),
    magic(
        b"\x93NUMPY",
        "an array of NumPy",
        Advice(
            "it must end in .npy and lie in a directory with its labels or targets, or be put \
                into an .npz file (numpy.savez)",
        ),
    ),
    magic(b"\x80\x02", "a pickle of Python", Pandas("read_pickle")),
    magic(b"\x80\x03", "a pickle of Python", Pandas("read_pickle")),
    magic(b"\x80\x04", "a pickle of Python", Pandas("read_pickle")),
    magic(b"\x80\x05", "a pickle of Python", Pandas("read_pickle")),
    magic(
        b"SQLite format 3\0",
        "a database of SQLite",
        Command("sqlite3 -header -csv {} 'SELECT * FROM a_table' > a_table.csv"),
    ),
    magic(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an Excel (.xls) file",
        Pandas("read_excel"),
    ),
    magic(b"<stata_dta>", "a Stata file", Pandas("read_stata")),
    magic(b"$FL2", "an SPSS file", Pandas("read_spss")),
    magic(
        b"RDX2\n",
        "a file of R",
        Advice("in R, use load and write.csv"),
    ),
    magic(
        b"RDX3\n",
        "a file of R",
        Advice("in R, use load and write.csv"),
    ),
    magic(
        b"X\n\0\0",
        "a file of R",
        Advice("in R, use readRDS and write.csv"),
    ),
    Magic {
        offset: 4,
        bytes: b"1AY&SY",
        name: "a file packed by bzip2",
        remedy: Command("bunzip2 -k {}"),
    },
    magic(b"\xfd7zXZ\0", "a file packed by xz", Command("unxz -k {}")),
    magic(
        b"\x28\xb5\x2f\xfd",
        "a file packed by zstd",
        Command("unzstd {}"),
    ),
    magic(
        b"7z\xbc\xaf\x27\x1c",
        "an archive of 7-Zip",
        Command("7z x {}"),
    ),
    magic(b"Rar!", "an archive of RAR", Command("unrar x {}")),
    Magic {
        offset: 257,
        bytes: b"ustar",
        name: "an archive of tar",
        remedy: Command("tar xf {}"),
    },
    magic(b"%PDF-", "a PDF", NO_TABLE),
    magic(b"\x89PNG", "an image (PNG)", NO_TABLE),
    magic(b"\xff\xd8\xff", "an image (JPEG)", NO_TABLE),
    magic(b"GIF8", "an image (GIF)", NO_TABLE),
    magic(b"II*\0", "an image (TIFF)", NO_TABLE),
    magic(b"MM\0*", "an image (TIFF)", NO_TABLE),
    magic(b"OggS", "a sound (Ogg)", NO_TABLE),
    magic(b"RIFF", "an image or a sound (RIFF)", NO_TABLE),
    magic(b"ID3\x03", "a sound (MP3)", NO_TABLE),
    magic(b"ID3\x04", "a sound (MP3)", NO_TABLE),
    magic(b"\x7fELF", "a program", NO_TABLE),
];

/// Returns the problem of a file of a known format that is no text.
pub(super) fn binary_format(bytes: &[u8], path: &Path) -> Option<String> {
    let is_binary = bytes[..bytes.len().min(MOST_BYTES)].iter().any(is_control);
    let has = |magic: &&Magic| {
        let found = bytes.get(magic.offset..);
        // A header may begin with the few letters of such a format.
        let is_certain = magic.bytes.len() > 4 || !magic.bytes.iter().all(u8::is_ascii_graphic);
        found.is_some_and(|found| found.starts_with(magic.bytes))
            && (is_certain || is_binary || bytes.ends_with(magic.bytes))
    };
    if let Some(Magic { name, remedy, .. }) = MAGIC.iter().find(has) {
        return Some(problem(name, *remedy, path));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Some(zip_format(bytes, path));
    }
    if is_safetensors(bytes) {
        let advice = Advice("name the data that it should be trained on");
        return Some(problem("a model (safetensors)", advice, path));
    }
    None
}

/// Returns the problem of an archive of ZIP, which Excel's and NumPy's are too. The names of its
/// members are at its beginning and end.
fn zip_format(bytes: &[u8], path: &Path) -> String {
    let ends = [
        &bytes[..bytes.len().min(MOST_BYTES)],
        &bytes[bytes.len().saturating_sub(MOST_BYTES)..],
    ];
    let has = |name: &[u8]| {
        ends.iter()
            .any(|end| end.windows(name.len()).any(|at| at == name))
    };
    if has(b"xl/workbook") || has(b"xl/worksheets") {
        problem("an Excel (.xlsx) file", Pandas("read_excel"), path)
    } else if has(b"opendocument.spreadsheet") {
        problem("an OpenDocument spreadsheet", Pandas("read_excel"), path)
    } else if has(b".npy") {
        problem(
            "an archive of NumPy's arrays",
            Advice("its name must end in .npz"),
            path,
        )
    } else {
        problem("an archive of ZIP", Command("unzip {}"), path)
    }
}

/// Returns whether a file begins with the length of a header in JSON, and the header.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    let length = u64::from_le_bytes(*length);
    (2..1 << 24).contains(&length) && rest.starts_with(b"{\"")
}

/// Returns the problem of a text that is no table, if it is known.
pub(super) fn text_format(text: &str, path: &Path) -> Option<String> {
    let start = text.trim_start();
    let lower = start
        .get(..start.len().min(64))
        .unwrap_or_default()
        .to_ascii_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        let remedy = Command(
            "python3 -c \"import pandas; pandas.read_html('{}')[0].to_csv('table.csv', index=False)\"",
        );
        return Some(problem("a web page (HTML)", remedy, path));
    }
    if lower.starts_with("<?xml") {
        return Some(problem("an XML file", Pandas("read_xml"), path));
    }
    if lower.starts_with("{\\rtf") {
        return Some(problem("a text of a word processor (RTF)", NO_TABLE, path));
    }
    json_format(start).map(|(name, remedy)| problem(name, remedy, path))
}

/// Returns whether a byte is in no text.
fn is_control(byte: &u8) -> bool {
    *byte < b' ' && !b"\t\n\r\x0c\x1a".contains(byte)
}

/// Returns the problem of bytes that are no text in any encoding of single bytes or UTF-8.
pub(super) fn not_text(bytes: &[u8]) -> Option<String> {
    let position = bytes.iter().position(is_control)?;
    let line = bytes[..position]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1;
    Some(format!(
        "is a binary file: line {line} has the byte {:#04x}; a table must be CSV text with a header",
        bytes[position]
    ))
}

/// Recognises JSON: one value, or one in each line.
fn json_format(start: &str) -> Option<(&'static str, FormatRemedy)> {
    let mut opening = start.chars().filter(|c| !c.is_whitespace());
    let (first, second) = (opening.next()?, opening.next()?);
    let is_json = match first {
        '{' => second == '"' || second == '}',
        '[' => "{[\"-]".contains(second) || second.is_ascii_digit(),
        _ => false,
    };
    if !is_json {
        return None;
    }
    let mut lines = start.lines().map(str::trim).filter(|line| !line.is_empty());
    let whole = |line: &str| line.starts_with('{') && line.ends_with('}');
    let is_lines = lines.next().is_some_and(whole) && lines.next().is_some_and(whole);
    Some(if is_lines {
        let remedy = Command(
            "python3 -c \"import pandas; pandas.read_json('{}', lines=True).to_csv('table.csv', \
             index=False)\"",
        );
        ("a file of JSON lines", remedy)
    } else {
        ("a JSON file", Pandas("read_json"))
    })
}

/// A format of the time-series archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Archive {
    /// `.ts`, of aeon and sktime.
    Ts,
    /// `.arff`, of Weka.
    Arff,
}

/// Recognises a file of the time-series archives by its first line that is no comment.
pub(super) fn archive_format(text: &str) -> Option<Archive> {
    let mut lines = text.lines().map(str::trim_start);
    let first = lines.find(|line| !line.trim().is_empty() && !line.starts_with(['#', '%']))?;
    let word: String = first.chars().take_while(|c| !c.is_whitespace()).collect();
    match word.to_ascii_lowercase().as_str() {
        "@relation" => Some(Archive::Arff),
        "@problemname" | "@timestamps" | "@missing" | "@univariate" | "@dimensions"
        | "@dimension" | "@equallength" | "@serieslength" | "@classlabel" | "@targetlabel" => {
            Some(Archive::Ts)
        }
        _ => None,
    }
}

/// Returns a sentence on a file of a format that is not read.
fn problem(name: &str, remedy: FormatRemedy, path: &Path) -> String {
    let file = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy();
    let file = excerpt(&file);
    let remedy = match remedy {
        Advice(advice) => advice.to_string(),
        Command(command) => format!("use: {}", command.replace("{}", &file)),
        Pandas(function) => {
            let stem = file
                .split('.')
                .next()
                .filter(|stem| !stem.is_empty())
                .unwrap_or("table");
            format!(
                "convert it to CSV: python3 -c \"import pandas; \
                 pandas.{function}('{file}').to_csv('{stem}.csv', index=False)\""
            )
        }
    };
    format!("is {name} and no table of text; {remedy}")
}
