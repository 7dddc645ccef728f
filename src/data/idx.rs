//! IDX files, gzipped or plain: the form of MNIST and of its successors (Fashion-MNIST, KMNIST).
//!
//! An image becomes one sequence: T is its rows, I its columns, one row at each time step.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::{Dataset, Inputs, Split, Splits, Targets};
use crate::error::{Error, Result};

impl Split {
    /// What the names of the split's files begin with.
    fn prefix(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Test => "t10k",
        }
    }
}

/// Reads both splits of `directory`: images `[N, rows, columns]` as bytes that stand for 0 to 1, and a label in
/// `0..classes` for each.
///
/// # Errors
/// [`Error::File`], naming the file, where one is missing or is not what its name says, and where the images of
/// the two splits differ in size.
pub fn load(directory: &Path, classes: usize) -> Result<Splits> {
    let [train, test] =
        [Split::Train, Split::Test].map(|split| move || load_split(directory, split, classes));
    let (train, test) = rayon::join(train, test);
    let (train, test) = (train?, test?);
    if (train.steps, train.features) != (test.steps, test.features) {
        return Err(Error::file(
            find_file(directory, Split::Test, &IMAGES)?,
            format!(
                "the test images are {}x{}, but the training images beside them are {}x{}; \
                 both must have the same size",
                test.steps, test.features, train.steps, train.features
            ),
        ));
    }
    Ok(Splits {
        test: Some(test.into()),
        ..train.into()
    })
}

/// Reads one split of `directory`; see [`load`].
///
/// # Errors
/// [`Error::File`], naming the file, where one is missing or is not what its name says.
pub fn load_split(directory: &Path, split: Split, classes: usize) -> Result<Dataset> {
    let images = find_file(directory, split, &IMAGES)?;
    let labels = find_file(directory, split, &LABELS)?;
    let open = |path: &Path| {
        let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
        Ok(BufReader::with_capacity(1 << 16, file))
    };
    read_split(
        (&images, open(&images)?),
        (&labels, open(&labels)?),
        classes,
    )
}

/// Reads one split from its two files, plain or gzipped, wherever they come from; errors call them by the paths.
///
/// # Errors
/// [`Error::File`], naming the file that is damaged, does not go with the other, or holds more than 2^32 - 1 values.
pub fn read_split<R: BufRead>(
    (images_path, images): (&Path, R),
    (labels_path, labels): (&Path, R),
    classes: usize,
) -> Result<Dataset> {
    let ([count, steps, features], images) = read(images, images_path, &IMAGES)?;
    let ([label_count], labels) = read(labels, labels_path, &LABELS)?;
    if count != label_count {
        return Err(Error::file(
            labels_path,
            format!(
                "holds {label_count} labels, but {} holds {count} images; each image needs one label",
                images_path.display()
            ),
        ));
    }
    if let Some(index) = labels
        .iter()
        .position(|&label| usize::from(label) >= classes)
    {
        return Err(Error::file(
            labels_path,
            format!(
                "label {index} (counted from 0) is {}, but with {classes} classes labels go from 0 to {}",
                labels[index],
                classes.saturating_sub(1)
            ),
        ));
    }
    Ok(Dataset {
        count,
        steps,
        features,
        inputs: Inputs::Bytes {
            values: images,
            scale: 1.0 / 255.0,
        },
        targets: Targets::Classes {
            labels: labels.into_iter().map(u32::from).collect(),
            classes,
            per_step: false,
        },
        lengths: None,
    })
}

/// Finds the directory that a recipe calls `path`: from the current directory, else from the repository that the running
/// executable was built in, so that it finds the data there from wherever it is started.
///
/// # Errors
/// [`Error::File`] that lists what was tried.
pub fn locate(path: &Path) -> Result<PathBuf> {
    let executable = std::env::current_exe().unwrap_or_default();
    let repository = executable
        .ancestors()
        .find(|base| base.join("Cargo.toml").is_file());
    let mut candidates = vec![path.to_path_buf()];
    // Joining an absolute path would only repeat it.
    if path.is_relative() {
        candidates.extend(repository.map(|base| base.join(path)));
    }
    first_directory(path, &candidates)
}

fn first_directory(path: &Path, candidates: &[PathBuf]) -> Result<PathBuf> {
    if let Some(found) = candidates.iter().find(|candidate| candidate.is_dir()) {
        return Ok(found.clone());
    }
    let tried: Vec<String> = candidates
        .iter()
        .skip(1)
        .map(|candidate| candidate.display().to_string())
        .collect();
    let elsewhere = match tried.is_empty() {
        true => String::new(),
        false => format!(" (nor is there {})", tried.join(", ")),
    };
    Err(Error::file(
        path,
        format!(
            "there is no such directory{elsewhere}; name the directory of the IDX files with --data DIR"
        ),
    ))
}

/// The most values of a file, which are a byte each, unpacked too: a kernel can count to as many.
const LARGEST: u64 = u32::MAX as u64;

/// What one of the files holds, with `N` sizes in its header.
struct Kind<const N: usize> {
    holds: &'static str,
    magic: u32,
}

const IMAGES: Kind<3> = Kind {
    holds: "images",
    magic: 0x0803,
};
const LABELS: Kind<1> = Kind {
    holds: "labels",
    magic: 0x0801,
};

fn find_file<const N: usize>(directory: &Path, split: Split, kind: &Kind<N>) -> Result<PathBuf> {
    let stem = format!("{}-{}", split.prefix(), kind.holds);
    // Unpackers differ in whether they keep the dash.
    let names = ["-", "."]
        .map(|mark| format!("{stem}{mark}idx{N}-ubyte"))
        .into_iter()
        .flat_map(|name| [name.clone(), format!("{name}.gz")]);
    let candidates: Vec<PathBuf> = names.map(|name| directory.join(name)).collect();
    if let Some(found) = candidates.iter().find(|candidate| candidate.is_file()) {
        return Ok(found.clone());
    }
    let problem = if directory.is_dir() {
        "not found, neither plain nor with .gz; the directory must hold train-images-idx3-ubyte, \
         train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte; \
         name another directory with --data DIR"
            .to_string()
    } else {
        format!(
            "not found, since there is no directory {}; name the directory of the IDX files with --data DIR",
            directory.display()
        )
    };
    Err(Error::file(&candidates[0], problem))
}

/// Reads a whole file: the sizes in its header, none of them 0, and one byte for each value.
fn read<const N: usize>(
    file: impl BufRead,
    path: &Path,
    kind: &Kind<N>,
) -> Result<([usize; N], Vec<u8>)> {
    let cannot_read = |error: io::Error| cannot_read(path, &error);
    let mut file = unpacked(file).map_err(cannot_read)?;
    let mut read_at_most = |limit: u64| {
        let mut bytes = vec![];
        match file.by_ref().take(limit).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(cannot_read(error)),
        }
    };
    let too_short = |length: usize| {
        let needed = 4 + 4 * N;
        Error::file(
            path,
            format!(
                "holds {length} bytes, fewer than the {needed} of an IDX header for {}",
                kind.holds
            ),
        )
    };

    let magic = read_at_most(4)?;
    let Ok(magic) = <[u8; 4]>::try_from(magic.as_slice()) else {
        return Err(too_short(magic.len()));
    };
    let magic = u32::from_be_bytes(magic);
    if magic != kind.magic {
        let hint = if magic == IMAGES.magic || magic == LABELS.magic {
            let other = if magic == IMAGES.magic {
                IMAGES.holds
            } else {
                LABELS.holds
            };
            format!("which is that of {other}; are the files of images and labels swapped?")
        } else {
            "so this is not an IDX file of unsigned bytes with that name".to_string()
        };
        return Err(Error::file(
            path,
            format!(
                "the magic number is {magic:#010x} where {} have {:#010x}, {hint}",
                kind.holds, kind.magic
            ),
        ));
    }

    let header = read_at_most(4 * N as u64)?;
    if header.len() < 4 * N {
        return Err(too_short(4 + header.len()));
    }
    let mut sizes = [0; N];
    for (size, bytes) in sizes.iter_mut().zip(header.chunks_exact(4)) {
        *size = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    }
    let shown = sizes.map(|size| size.to_string()).join("x");
    if sizes.contains(&0) {
        return Err(Error::file(
            path,
            format!("the header says {shown} {}; no size may be 0", kind.holds),
        ));
    }
    let expected = sizes
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size as u64))
        .filter(|&expected| expected <= LARGEST)
        .ok_or_else(|| {
            Error::file(
                path,
                format!(
                    "the header says {shown} {}, and at most {LARGEST} bytes of values are taken from a file",
                    kind.holds
                ),
            )
        })?;

    // Memory grows with what comes, not with what the header promises. Reading to the end also has gzip check its sum; the byte too many tells trailing bytes from none.
    let values = read_at_most(expected + 1)?;
    if values.len() as u64 == expected {
        return Ok((sizes, values));
    }
    let came = match values.len() as u64 > expected {
        true => "more bytes follow".to_string(),
        false => format!("only {} follow", values.len()),
    };
    Err(Error::file(
        path,
        format!(
            "the header says {shown} {}, which is {expected} bytes, but {came}; \
             the file is damaged: copy or download it again",
            kind.holds
        ),
    ))
}

/// The file's bytes, unpacked if they begin as gzip does, whatever the file is called.
fn unpacked<'a>(mut file: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let gzipped = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(match gzipped {
        true => Box::new(MultiGzDecoder::new(file)),
        false => Box::new(file),
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::*;

    const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
    const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
    const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
    const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

    fn idx(magic: u32, sizes: &[u32], values: &[u8]) -> Vec<u8> {
        let header = std::iter::once(&magic).chain(sizes);
        let mut bytes: Vec<u8> = header.flat_map(|number| number.to_be_bytes()).collect();
        bytes.extend(values);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Three training and two test images of 2x3, whose bytes count up from 0.
    fn directory() -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..18).collect();
        put(&directory, TRAIN_IMAGES, &idx(0x803, &[3, 2, 3], &bytes));
        put(&directory, TRAIN_LABELS, &idx(0x801, &[3], &[0, 1, 2]));
        put(
            &directory,
            TEST_IMAGES,
            &idx(0x803, &[2, 2, 3], &bytes[..12]),
        );
        put(&directory, TEST_LABELS, &idx(0x801, &[2], &[2, 0]));
        directory
    }

    fn put(directory: &TempDir, name: &str, bytes: &[u8]) {
        fs::write(directory.path().join(name), bytes).unwrap();
    }

    /// The message for a directory in which `name` holds `bytes`; it must name that file.
    fn problem(name: &str, bytes: &[u8]) -> String {
        let directory = directory();
        put(&directory, name, bytes);
        let error = load(directory.path(), 3).unwrap_err();
        let message = error.to_string();
        let path = directory.path().join(name).display().to_string();
        assert!(message.starts_with(&path), "{message}");
        message
    }

    #[test]
    fn plain_files() {
        let directory = directory();
        let Splits { train, test, .. } = load(directory.path(), 3).unwrap();
        assert_eq!((train.count, train.steps, train.features), (3, 2, 3));
        assert!(train.lengths.is_none());
        let Inputs::Bytes { values, scale } = &train.inputs else {
            panic!("bytes expected");
        };
        assert_eq!(values[..], (0..18).collect::<Vec<u8>>());
        assert_eq!(*scale, 1.0 / 255.0);
        let test = test.unwrap();
        assert_eq!((test.count, test.steps, test.features), (2, 2, 3));
        let Targets::Classes {
            labels,
            classes,
            per_step,
        } = &test.targets
        else {
            panic!("classes expected");
        };
        assert_eq!((&labels[..], *classes, *per_step), (&[2, 0][..], 3, false));
    }

    #[test]
    fn gzip_is_told_by_its_bytes_and_dots_are_taken() {
        let directory = directory();
        for (name, new) in [
            (TRAIN_IMAGES, "train-images-idx3-ubyte.gz"),
            (TRAIN_LABELS, TRAIN_LABELS),
            (TEST_IMAGES, "t10k-images.idx3-ubyte"),
            (TEST_LABELS, "t10k-labels.idx1-ubyte.gz"),
        ] {
            let packed = gzip(&fs::read(directory.path().join(name)).unwrap());
            fs::remove_file(directory.path().join(name)).unwrap();
            put(&directory, new, &packed);
        }
        let splits = load(directory.path(), 3).unwrap();
        assert_eq!(splits.train.count, 3);
        assert_eq!(splits.test.unwrap().count, 2);
    }

    #[test]
    fn the_test_split_alone() {
        let directory = directory();
        fs::remove_file(directory.path().join(TRAIN_IMAGES)).unwrap();
        let test = load_split(directory.path(), Split::Test, 3).unwrap();
        assert_eq!(test.count, 2);
    }

    #[test]
    fn wrong_magic_number() {
        let message = problem(TRAIN_IMAGES, b"PNG is not IDX");
        assert!(message.contains("0x504e4720"), "{message}");
        assert!(message.contains("0x00000803"), "{message}");
        let message = problem(TRAIN_IMAGES, &idx(0x801, &[3], &[0, 1, 2]));
        assert!(message.contains("swapped?"), "{message}");
        let message = problem(TEST_LABELS, &idx(0x803, &[2, 2, 3], &[0; 12]));
        assert!(
            message.contains("0x00000803") && message.contains("swapped?"),
            "{message}"
        );
    }

    #[test]
    fn short_files_and_trailing_bytes() {
        assert!(problem(TRAIN_IMAGES, b"").contains("holds 0 bytes"));
        assert!(problem(TRAIN_IMAGES, &[0, 0, 8]).contains("holds 3 bytes"));
        assert!(problem(TRAIN_IMAGES, &idx(0x803, &[3, 2], &[])).contains("holds 12 bytes"));
        let message = problem(TRAIN_IMAGES, &idx(0x803, &[3, 2, 3], &[0; 17]));
        assert!(
            message.contains("3x2x3 images, which is 18 bytes, but only 17 follow"),
            "{message}"
        );
        let message = problem(TRAIN_LABELS, &idx(0x801, &[3], &[0; 4]));
        assert!(message.contains("more bytes follow"), "{message}");
        let message = problem(TRAIN_LABELS, &gzip(&idx(0x801, &[3], &[0; 5])));
        assert!(message.contains("more bytes follow"), "{message}");
    }

    #[test]
    fn headers_that_promise_too_much() {
        let message = problem(TRAIN_IMAGES, &idx(0x803, &[u32::MAX, 1, 1], &[0; 9]));
        assert!(message.contains("only 9 follow"), "{message}");
        for sizes in [[u32::MAX, 28, 28], [1 << 16, 1 << 16, 1], [u32::MAX; 3]] {
            let message = problem(TRAIN_IMAGES, &gzip(&idx(0x803, &sizes, &[0; 9])));
            assert!(message.contains("at most 4294967295 bytes"), "{message}");
        }
    }

    #[test]
    fn sizes_of_zero() {
        for sizes in [[0, 2, 3], [3, 0, 3], [3, 2, 0]] {
            let message = problem(TRAIN_IMAGES, &idx(0x803, &sizes, &[]));
            assert!(message.contains("no size may be 0"), "{message}");
        }
        assert!(problem(TEST_LABELS, &idx(0x801, &[0], &[])).contains("no size may be 0"));
    }

    #[test]
    fn counts_that_disagree() {
        let message = problem(TRAIN_LABELS, &idx(0x801, &[2], &[0, 1]));
        assert!(message.contains("holds 2 labels"), "{message}");
        assert!(
            message.contains("train-images-idx3-ubyte holds 3 images"),
            "{message}"
        );
    }

    #[test]
    fn label_out_of_range() {
        let message = problem(TEST_LABELS, &idx(0x801, &[2], &[1, 3]));
        assert!(
            message.contains("label 1 (counted from 0) is 3"),
            "{message}"
        );
        assert!(message.contains("from 0 to 2"), "{message}");
    }

    #[test]
    fn splits_of_different_sizes() {
        let message = problem(TEST_IMAGES, &idx(0x803, &[2, 3, 2], &[0; 12]));
        assert!(
            message.contains("3x2") && message.contains("2x3"),
            "{message}"
        );
    }

    #[test]
    fn damaged_gzip() {
        let packed = gzip(&idx(0x803, &[3, 2, 3], &[7; 18]));
        let mut wrong_sum = packed.clone();
        let sum = packed.len() - 8;
        wrong_sum[sum] ^= 1;
        let message = problem(TRAIN_IMAGES, &wrong_sum);
        assert!(message.contains("the gzip data is damaged"), "{message}");
        for length in 2..packed.len() {
            let message = problem(TRAIN_IMAGES, &packed[..length]);
            assert!(
                message.contains("the file is cut off"),
                "{length}: {message}"
            );
        }
    }

    #[test]
    fn any_bytes_at_all() {
        // Whatever single byte is changed, there is an answer, and no panic.
        let whole = gzip(&idx(0x803, &[3, 2, 3], &[7; 18]));
        let directory = directory();
        for position in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[position] ^= 0x55;
            put(&directory, TRAIN_IMAGES, &bytes);
            let _ = load(directory.path(), 3);
        }
    }

    #[test]
    fn missing_files_and_directories() {
        let directory = directory();
        fs::remove_file(directory.path().join(TRAIN_LABELS)).unwrap();
        let message = load(directory.path(), 3).unwrap_err().to_string();
        assert!(
            message.contains("train-labels-idx1-ubyte: not found"),
            "{message}"
        );
        assert!(message.contains("--data DIR"), "{message}");
        let message = load(Path::new("no/such"), 3).unwrap_err().to_string();
        assert!(message.contains("no directory no/such"), "{message}");
        let message = locate(Path::new("no/such")).unwrap_err().to_string();
        assert!(
            message.starts_with("no/such: there is no such directory"),
            "{message}"
        );
        assert!(message.contains("--data DIR"), "{message}");
    }

    #[test]
    fn the_first_directory_there_is_is_taken_and_the_others_are_named() {
        assert_eq!(locate(Path::new("src")).unwrap(), Path::new("src"));
        let (path, there) = (Path::new("none"), Path::new("src").to_path_buf());
        let elsewhere = PathBuf::from("elsewhere/none");
        let candidates = [path.to_path_buf(), elsewhere.clone(), there.clone()];
        assert_eq!(first_directory(path, &candidates).unwrap(), there);
        let message = first_directory(path, &candidates[..2])
            .unwrap_err()
            .to_string();
        assert!(message.contains(elsewhere.to_str().unwrap()), "{message}");
    }
}
