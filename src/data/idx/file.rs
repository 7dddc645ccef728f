//! One IDX file: its name, its header and its bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::super::Split;
use crate::error::{Error, Result};
use crate::io::memory_limit;
use crate::messages::shown_path;

/// The most values of a file, one byte each, unpacked: kernels count with 32 bits.
const LARGEST: u64 = u32::MAX as u64;

/// Copies of the values of a file that there are at a time: as read, and as splits.
const COPIES: u64 = 2;

/// What a file holds, with `N` sizes in its header.
pub(super) struct IdxFormat<const N: usize> {
    contents: &'static str,
    magic: u32,
}

pub(super) const IMAGES: IdxFormat<3> = IdxFormat {
    contents: "images",
    magic: 0x0803,
};
pub(super) const LABELS: IdxFormat<1> = IdxFormat {
    contents: "labels",
    magic: 0x0801,
};

/// Returns the path of a split's file, which may end in `.gz`.
pub(super) fn find_file<const N: usize>(
    directory: &Path,
    split: Split,
    format: &IdxFormat<N>,
) -> Result<PathBuf> {
    let prefix = match split {
        // A validation split is a part of the training files.
        Split::Train | Split::Validation => "train",
        Split::Test => "t10k",
    };
    let stem = format!("{prefix}-{}", format.contents);
    // Some unpackers replace the dash by a dot.
    let names = ["-", "."]
        .map(|mark| format!("{stem}{mark}idx{N}-ubyte"))
        .into_iter()
        .flat_map(|name| [name.clone(), format!("{name}.gz")]);
    let candidates: Vec<PathBuf> = names.map(|name| directory.join(name)).collect();
    if let Some(found) = candidates.iter().find(|candidate| candidate.is_file()) {
        return Ok(found.clone());
    }
    let problem = if directory.is_dir() {
        "not found, neither plain nor with .gz; data.path must be a directory with \
         train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
         t10k-labels-idx1-ubyte"
            .to_string()
    } else {
        format!(
            "not found, because there is no directory {}; \
             set data.path to the directory of the IDX files",
            shown_path(directory)
        )
    };
    Err(Error::file(&candidates[0], problem))
}

/// Opens a file for reading.
pub(super) fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

/// Reads a whole file: the sizes in its header, each at least 1, and one byte for each value.
pub(super) fn read<const N: usize>(
    file: impl BufRead,
    path: &Path,
    format: &IdxFormat<N>,
) -> Result<([usize; N], Vec<u8>)> {
    let mut file = unpacked(file).map_err(|error| cannot_read(path, &error))?;
    let sizes = read_header(&mut file, path, format)?;
    let shape = sizes.map(|size| size.to_string()).join("x");
    let contents = format.contents;
    if sizes.contains(&0) {
        let problem = format!("the header says {shape} {contents}; each size must be at least 1");
        return Err(Error::file(path, problem));
    }
    let expected = sizes
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size as u64))
        .filter(|&expected| expected <= LARGEST);
    let Some(expected) = expected else {
        let problem = format!(
            "the header says {shape} {contents}; at most {LARGEST} bytes of values are allowed"
        );
        return Err(Error::file(path, problem));
    };
    // Memory grows with the bytes read, not with the size in the header. One byte more is requested
    // to detect trailing bytes, and so that gzip verifies its checksum.
    let most = memory_limit::limit() / COPIES;
    let values = read_at_most(&mut file, path, (expected + 1).min(most.saturating_add(1)))?;
    let found = values.len() as u64;
    let used = memory_limit::check(u128::from(found) * u128::from(COPIES));
    used.map_err(|problem| Error::file(path, problem))?;
    if found == expected {
        return Ok((sizes, values));
    }
    let follow = if found > expected {
        "more bytes follow".to_string()
    } else {
        format!("only {found} follow")
    };
    Err(Error::file(
        path,
        format!(
            "the header says {shape} {contents}, which is {expected} bytes, but {follow}; \
             the file is damaged: copy or download it again"
        ),
    ))
}

/// Reads the magic number and the sizes.
fn read_header<const N: usize>(
    file: &mut impl Read,
    path: &Path,
    format: &IdxFormat<N>,
) -> Result<[usize; N]> {
    let header = read_at_most(file, path, 4 + 4 * N as u64)?;
    let mut words = header
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    if let Some(magic) = words.next().filter(|&magic| magic != format.magic) {
        return Err(wrong_magic(magic, path, format));
    }
    if header.len() < 4 + 4 * N {
        let problem = format!(
            "holds {} bytes, fewer than the {} of an IDX header for {}; \
             the file is damaged: copy or download it again",
            header.len(),
            4 + 4 * N,
            format.contents
        );
        return Err(Error::file(path, problem));
    }
    let mut sizes = [0; N];
    for (size, word) in sizes.iter_mut().zip(words) {
        *size = word as usize;
    }
    Ok(sizes)
}

fn wrong_magic<const N: usize>(magic: u32, path: &Path, format: &IdxFormat<N>) -> Error {
    let hint = if magic == IMAGES.magic {
        "which is that of images; are the files of images and labels swapped?"
    } else if magic == LABELS.magic {
        "which is that of labels; are the files of images and labels swapped?"
    } else {
        "so this is not an IDX file of unsigned bytes with that name"
    };
    let (contents, expected) = (format.contents, format.magic);
    Error::file(
        path,
        format!("the magic number is {magic:#010x} where {contents} have {expected:#010x}, {hint}"),
    )
}

fn read_at_most(file: &mut impl Read, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    match file.by_ref().take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(cannot_read(path, &error)),
    }
}

/// Returns the file's bytes, unpacked if they begin like gzip's, whatever the file is called.
fn unpacked<'a>(mut file: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let is_gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}

fn cannot_read(path: &Path, error: &io::Error) -> Error {
    let problem = match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "the gzip data ends early, so the file is cut off; copy or download it again"
                .to_string()
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            format!("the gzip data is damaged ({error}); copy or download the file again")
        }
        _ => format!("cannot be read: {error}"),
    };
    Error::file(path, problem)
}
