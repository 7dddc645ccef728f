//! Bounded reading of untrusted files.

#[cfg(not(target_family = "wasm"))]
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

#[cfg(target_family = "wasm")]
use super::in_memory::{self, FileInMemory as File};
use super::memory_limit;

/// Opens a file of data: of the disk, or in WebAssembly, which has none, of those in memory.
///
/// # Errors
/// Those of the disk; [`ErrorKind::NotFound`].
pub fn open(path: &Path) -> io::Result<File> {
    #[cfg(target_family = "wasm")]
    return in_memory::open(path);
    #[cfg(not(target_family = "wasm"))]
    File::open(path)
}

/// Returns whether there is a file that [`open`] opens.
pub fn is_file(path: &Path) -> bool {
    #[cfg(target_family = "wasm")]
    return in_memory::is_file(path);
    #[cfg(not(target_family = "wasm"))]
    path.is_file()
}

/// Reads everything from `reader`. Memory grows with the bytes that are read, whatever length a
/// file or its header claims.
///
/// # Errors
/// [`ErrorKind::FileTooLarge`] for more than `limit` bytes, of which `limit + 1` are read, and for
/// more than the [memory limit](memory_limit::limit); those of `reader`.
pub fn read_at_most(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let of_memory = memory_limit::limit();
    let mut bytes = vec![];
    reader
        .take(limit.min(of_memory).saturating_add(1))
        .read_to_end(&mut bytes)?;
    memory_limit::check(bytes.len() as u128)
        .map_err(|problem| io::Error::new(ErrorKind::FileTooLarge, problem.to_string()))?;
    if bytes.len() as u64 > limit {
        let problem = format!("it has more than {limit} bytes, which is the limit");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

/// [`read_at_most`] for a file whose first 16 bytes, or all of a shorter one, may be those of its
/// format; else only these are read. A file full of zeros takes no space on the disk.
///
/// # Errors
/// Those of [`read_at_most`].
pub fn read_plausible(
    path: &Path,
    limit: u64,
    is_plausible: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let head = read_at_most((&mut file).take(16), 16)?;
    if !is_plausible(&head) {
        return Ok(head);
    }
    read_at_most(head.as_slice().chain(file), limit)
}

/// Reads a UTF-8 text file of at most `limit` bytes.
///
/// # Errors
/// Those of [`read_at_most`]; [`ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let bytes = read_at_most(open(path)?, limit)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_beyond_the_limit() {
        assert_eq!(read_at_most(&b"1234"[..], 4).unwrap(), b"1234");
        let error = read_at_most(io::repeat(0), 4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("more than 4 bytes"), "{error}");
    }
}
