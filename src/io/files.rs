//! Reading files that nobody vouches for: never more of them than there is a use for.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// All that `reader` holds; memory grows with what comes, not with what a file's length or header
/// promises.
///
/// # Errors
/// [`ErrorKind::FileTooLarge`] where there are more than `limit` bytes, of which no more than one is read; those of `reader`.
pub fn read_at_most(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let problem = format!("it has more than {limit} bytes, the most that are taken");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

/// The text of a file of at most `limit` bytes.
///
/// # Errors
/// Those of [`read_at_most`]; [`ErrorKind::InvalidData`] for what is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let bytes = read_at_most(File::open(path)?, limit)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_is_taken() {
        assert_eq!(read_at_most(&b"1234"[..], 4).unwrap(), b"1234");
        let error = read_at_most(io::repeat(0), 4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("more than 4 bytes"), "{error}");
    }
}
