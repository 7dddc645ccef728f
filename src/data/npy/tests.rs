use std::io::{Cursor, Write};

use ndarray::{Array1, Array2, Array3, ShapeBuilder};
use ndarray_npy::WriteNpyExt;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::super::{Dataset, Inputs, SplitBy};
use super::*;
use crate::kernels::IGNORE;

fn bytes(array: &impl WriteNpyExt) -> Vec<u8> {
    let mut bytes = vec![];
    array.write_npy(&mut bytes).expect("it can be written");
    bytes
}

fn archive(members: &[(&str, Vec<u8>)]) -> ArrayFiles<Cursor<Vec<u8>>> {
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    for (name, bytes) in members {
        let options = SimpleFileOptions::default();
        writer
            .start_file(format!("{name}.npy"), options)
            .expect("it can be written");
        writer.write_all(bytes).expect("it can be written");
    }
    let file = writer.finish().expect("it can be written");
    ArrayFiles::archive(file, Path::new("data.npz")).expect("it is one")
}

fn npy(labels: bool) -> Npy {
    Npy {
        labels: labels.then(|| "y".into()),
        targets: (!labels).then(|| "y".into()),
        test_fraction: 0.25,
        split_by: SplitBy::Order,
        normalise: false,
        ..Npy::new(Path::new("data.npz"), "x")
    }
}

fn floats(data: &Dataset) -> &[f32] {
    match &data.inputs {
        Inputs::Floats(values) => values,
        _ => panic!("floats expected"),
    }
}

#[test]
fn every_type_and_order_is_read() {
    let numbers = Array2::from_shape_fn((2, 3), |(i, j)| (3 * i + j) as f64);
    let fortran = Array2::from_shape_fn((2, 3).f(), |(i, j)| (3 * i + j) as f32);
    let expected = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    for bytes in [bytes(&numbers), bytes(&fortran)] {
        let array = parse(&bytes, Path::new("x.npy")).expect("it is one");
        assert_eq!(
            (&array.shape[..], array.clone().floats()),
            (&[2, 3][..], expected.clone())
        );
    }
    let whole = [
        bytes(&numbers.mapv(|value| value as i8)),
        bytes(&numbers.mapv(|value| value as u16)),
        bytes(&numbers.mapv(|value| value as i64)),
        bytes(&numbers.mapv(|value| value as u64)),
    ];
    for bytes in whole {
        let array = parse(&bytes, Path::new("x.npy")).expect("it is one");
        assert_eq!(array.integers(), Some(vec![0, 1, 2, 3, 4, 5]));
    }
    let array = parse(
        &bytes(&numbers.mapv(|value| value > 2.0)),
        Path::new("x.npy"),
    );
    assert_eq!(
        array.expect("it is one").integers(),
        Some(vec![0, 0, 0, 1, 1, 1])
    );
}

#[test]
fn errors_name_the_array() {
    let good = bytes(&Array1::from(vec![1.0f32, 2.0]));
    let refused = |bytes: &[u8], expected: &str| {
        let message = parse(bytes, Path::new("x.npy"))
            .expect_err(expected)
            .to_string();
        assert!(
            message.starts_with("x.npy: ") && message.contains(expected),
            "{message}"
        );
    };
    refused(b"PK", "not an .npy array");
    for length in 6..128 {
        refused(&good[..length], "cut off");
    }
    refused(&[&good[..], &[0]].concat(), "8 bytes, but 9 follow");
    let text = String::from_utf8_lossy(&good[10..128]).into_owned();
    let with = |text: String| [&good[..10], text.as_bytes(), &good[128..]].concat();
    refused(
        &with(text.replace("(2,)", "(9,)")),
        "36 bytes, but 8 follow",
    );
    refused(
        &with(text.replace("<f4", "<c8")),
        "its elements are of type <c8",
    );
    refused(&with("(".repeat(118)), "an array of records");
}

#[test]
fn arrays_become_sequences_and_are_split() {
    let x = Array3::from_shape_fn((4, 3, 2), |(n, t, i)| (6 * n + 2 * t + i) as f32);
    let y = Array1::from(vec![0i64, 1, 2, 1]);
    let mut files = archive(&[("x", bytes(&x)), ("y", bytes(&y))]);
    let splits = npy(true)
        .split(&mut files, None, 0, None)
        .expect("it is valid");
    let test = splits.test.expect("there is one");
    assert_eq!(
        (
            splits.train.count,
            splits.train.steps,
            splits.train.features
        ),
        (3, 3, 2)
    );
    assert_eq!(floats(&test), [18.0, 19.0, 20.0, 21.0, 22.0, 23.0]);
    assert_eq!(test.targets.outputs(), 3);

    // A random split depends on the seed only; groups stay together.
    let drawn = |seed: u64, groups: Option<&str>| {
        let groups_array = Array1::from(vec![7i32, 7, 9, 9]);
        let mut files = archive(&[
            ("x", bytes(&x)),
            ("y", bytes(&y)),
            ("g", bytes(&groups_array)),
        ]);
        let mut recipe = npy(true);
        recipe.groups = groups.map(str::to_string);
        recipe.split_by = if groups.is_some() {
            SplitBy::Group
        } else {
            SplitBy::Random
        };
        let test = recipe
            .split(&mut files, None, seed, None)
            .expect("it is valid")
            .test;
        floats(&test.expect("there is one")).to_vec()
    };
    assert_eq!(drawn(3, None), drawn(3, None));
    assert!((0..9).any(|seed| drawn(seed, None) != drawn(0, None)));
    let pair = drawn(1, Some("g"));
    assert!(
        pair.len() == 12 && [0.0, 12.0].contains(&pair[0]),
        "{pair:?}"
    );
}

#[test]
fn arrays_called_test_are_the_test_split() {
    let x = Array3::from_shape_fn((4, 3, 2), |(n, t, i)| (6 * n + 2 * t + i) as u8);
    let x_test = Array3::from_elem((2, 3, 2), 9u8);
    let y = Array1::from(vec![0u8, 1, 2, 1]);
    let members = [
        ("x_train", bytes(&x)),
        ("y_train", bytes(&y)),
        ("x_test", bytes(&x_test)),
        ("y_test", bytes(&Array1::from(vec![1u8, 0]))),
    ];
    let mut recipe = npy(true);
    (recipe.inputs, recipe.labels) = ("x_train".into(), Some("y_train".into()));
    let splits = recipe.split(&mut archive(&members), None, 0, None);
    let Splits { train, test, .. } = splits.expect("it is valid");
    let test = test.expect("there is one");
    assert_eq!((train.count, test.count, test.targets.outputs()), (4, 2, 3));
    assert_eq!(floats(&test), [9.0; 12]);
    // Without the labels, the other arrays are no test split.
    let splits = recipe.split(&mut archive(&members[..3]), None, 0, None);
    assert_eq!(splits.expect("it is valid").train.count, 3);
}

#[test]
fn sequences_of_different_lengths_are_padded_or_concatenated() {
    let lengths = Array1::from(vec![2u8, 3, 1]);
    let rows = Array2::from_shape_fn((6, 1), |(r, _)| r as f32 + 1.0);
    let steps = Array1::from(vec![0i32, 1, 1, 0, 1, 0]);
    let mut recipe = npy(true);
    (recipe.lengths, recipe.test_fraction) = (Some("n".into()), 0.0);
    let mut files = archive(&[
        ("x", bytes(&rows)),
        ("y", bytes(&steps)),
        ("n", bytes(&lengths)),
    ]);
    let data = recipe
        .split(&mut files, None, 0, None)
        .expect("it is valid")
        .train;
    assert_eq!(floats(&data), [1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0]);
    assert_eq!(data.lengths, Some(vec![2, 3, 1]));
    assert_eq!(data.labels(), [0, 1, IGNORE, 1, 0, 1, 0, IGNORE, IGNORE]);

    // Padded steps are ignored, NaN too.
    let padded = Array3::from_shape_fn((3, 3, 1), |(n, t, _)| {
        if t < [2, 3, 1][n] {
            (n + t) as f64
        } else {
            f64::NAN
        }
    });
    let mut recipe = npy(false);
    (recipe.lengths, recipe.test_fraction, recipe.normalise) = (Some("n".into()), 0.0, true);
    let y = Array1::from(vec![1.0f32, 2.0, 6.0]);
    let mut files = archive(&[
        ("x", bytes(&padded)),
        ("y", bytes(&y)),
        ("n", bytes(&lengths)),
    ]);
    let splits = recipe
        .split(&mut files, None, 0, None)
        .expect("it is valid");
    splits.train.check().expect("it is valid");
    // The mean of 0, 1, 1, 2, 3 and 2.
    assert!((splits.preparation.inputs[0].mean - 1.5).abs() < 1e-6);
    assert_eq!(splits.preparation.targets[0].mean, 3.0);
    assert_eq!(floats(&splits.train)[2], 0.0);
}

#[test]
fn arrays_of_disagreeing_sizes_are_refused() {
    let x = Array3::<f32>::zeros((4, 3, 2));
    let refused = |recipe: &Npy, y: Vec<u8>, expected: &str| {
        let mut files = archive(&[("x", bytes(&x)), ("y", y)]);
        let error = recipe.split(&mut files, None, 0, None).expect_err(expected);
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains(expected), "{error}");
    };
    let labels = npy(true);
    refused(
        &labels,
        bytes(&Array1::from(vec![1i32; 5])),
        "data.npz/y.npy: the array is [5]",
    );
    refused(
        &labels,
        bytes(&Array1::from(vec![0.5f32; 4])),
        "labels must be whole numbers",
    );
    refused(
        &labels,
        bytes(&Array1::from(vec![0, 1, -1, 1i32])),
        "the label of sequence 2 is -1",
    );
    let few = Npy {
        classes: Some(2),
        ..npy(true)
    };
    refused(
        &few,
        bytes(&Array1::from(vec![0, 1, 2, 1i32])),
        "with 2 classes labels must be 0 to 1",
    );
    refused(
        &npy(false),
        bytes(&Array2::<f32>::zeros((3, 2))),
        "targets must be [4, K]",
    );
    refused(
        &npy(false),
        bytes(&Array1::from(vec![f32::NAN; 4])),
        "element 0 is NaN",
    );
    let other = Npy {
        inputs: "xx".into(),
        ..npy(true)
    };
    refused(
        &other,
        bytes(&Array1::from(vec![0i32; 4])),
        "the arrays are `x` or `y`",
    );
    let tokens = Npy {
        vocabulary: Some(9),
        ..npy(true)
    };
    refused(
        &tokens,
        bytes(&Array1::from(vec![0i32; 4])),
        "tokens must be [N, T]",
    );
    let mut broken = Array3::<f32>::zeros((4, 3, 2));
    broken[[2, 1, 0]] = f32::NAN;
    let mut files = archive(&[
        ("x", bytes(&broken)),
        ("y", bytes(&Array1::from(vec![0i32, 1, 0, 1]))),
    ]);
    let message = labels
        .split(&mut files, None, 0, None)
        .expect_err("NaN")
        .to_string();
    assert!(
        message.contains("sequence 2, step 1, feature 0 is NaN"),
        "{message}"
    );
}
