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
fn gzip_is_recognized_by_its_bytes_and_names_may_have_dots() {
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
fn only_the_files_of_one_split_are_needed() {
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
fn sizes_in_the_header_are_limited() {
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
        assert!(
            message.contains("each size must be at least 1"),
            "{message}"
        );
    }
    assert!(problem(TEST_LABELS, &idx(0x801, &[0], &[])).contains("each size must be at least 1"));
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
fn any_changed_byte_gives_a_result_or_an_error() {
    // Whichever byte is changed, there is no panic.
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
    assert!(message.contains("data.path must be"), "{message}");
    let message = load(Path::new("no/such"), 3).unwrap_err().to_string();
    assert!(message.contains("no directory no/such"), "{message}");
    let message = locate(Path::new("no/such")).unwrap_err().to_string();
    assert!(
        message.starts_with("no/such: there is no such directory"),
        "{message}"
    );
    assert!(message.contains("set data.path"), "{message}");
}

#[test]
fn the_first_existing_directory_is_used_and_all_are_listed_otherwise() {
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
