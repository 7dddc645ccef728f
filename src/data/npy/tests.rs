use std::io::{Cursor, Write};

use ndarray::{Array1, Array2, Array3, ShapeBuilder};
use ndarray_npy::WriteNpyExt;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::super::{Dataset, Inputs, MISSING, SplitBy, Targets};
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
        assert_eq!(array.shape, [2, 3]);
        let numbers = array.numbers("x").expect("they are numbers");
        assert_eq!(numbers.prepared_targets(0..6, &[]), expected);
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

/// The bytes of an `.npy` file of another type.
fn npy_bytes(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    npy_bytes_in_order(descr, shape, elements, false)
}

fn npy_bytes_in_order(descr: &str, shape: &str, elements: &[u8], fortran: bool) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    let length = (header.len() as u16).to_le_bytes();
    [
        b"\x93NUMPY\x01\x00",
        &length[..],
        header.as_bytes(),
        elements,
    ]
    .concat()
}

/// Texts as NumPy has them in arrays of the type `U`.
fn texts(texts: &[&str]) -> Vec<u8> {
    let longest = texts
        .iter()
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0);
    let padded = |text: &&str| {
        let codes = text.chars().map(u32::from).chain(std::iter::repeat(0));
        codes.take(longest).collect::<Vec<u32>>()
    };
    let codes = texts.iter().flat_map(padded);
    let elements: Vec<u8> = codes.flat_map(u32::to_le_bytes).collect();
    npy_bytes(
        &format!("<U{longest}"),
        &format!("({},)", texts.len()),
        &elements,
    )
}

#[test]
fn texts_are_read() {
    let read = |bytes: &[u8]| {
        parse(bytes, Path::new("y.npy"))
            .expect("it is one")
            .elements
    };
    let words = ["up", "", "Gr\u{fc}\u{df}e", "up"];
    let owned = |words: &[&str]| Elements::Texts(words.iter().map(|w| w.to_string()).collect());
    assert_eq!(read(&texts(&words)), owned(&words));
    let big_endian = npy_bytes(">U1", "(2,)", &[0, 0, 0, b'a', 0, 0, 0, 0]);
    assert_eq!(read(&big_endian), owned(&["a", ""]));
    assert_eq!(
        read(&npy_bytes("|S3", "(2,)", b"abcd\0\0")),
        owned(&["abc", "d"])
    );
    // Column by column.
    let turned = npy_bytes_in_order("|S1", "(2, 3)", b"adbecf", true);
    assert_eq!(read(&turned), owned(&["a", "b", "c", "d", "e", "f"]));
}

#[test]
fn errors_name_the_array() {
    let good = bytes(&Array1::from(vec![1.0f32, 2.0]));
    let objects = npy_bytes("|O", "(1,)", b"\x80\x04");
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
    refused(&objects, "numpy.array(labels, dtype=str)");
    refused(
        &npy_bytes("<M8[ns]", "(1,)", &[0; 8]),
        "save them as numbers",
    );
    refused(
        &npy_bytes("<U0", "(9,)", b""),
        "its elements are of type <U0",
    );
    refused(
        &npy_bytes("<U1", "(1,)", &[0, 0, 0, 1]),
        "element 0 is not a text in UTF-32",
    );
    refused(
        &npy_bytes("|S2", "(2,)", b"ab\xff."),
        "element 1 is not a text in UTF-8",
    );
}

#[test]
fn arrays_become_sequences_and_are_split() {
    let x = Array3::from_shape_fn((4, 3, 2), |(n, t, i)| (6 * n + 2 * t + i) as f32);
    let y = Array1::from(vec![0i64, 1, 2, 1]);
    let mut files = archive(&[("x", bytes(&x)), ("y", bytes(&y))]);
    let splits = npy(true)
        .split(&mut files, OwnFiles::NONE, 0, None)
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
            .split(&mut files, OwnFiles::NONE, seed, None)
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
    let splits = recipe.split(&mut archive(&members), OwnFiles::NONE, 0, None);
    let Splits { train, test, .. } = splits.expect("it is valid");
    let test = test.expect("there is one");
    assert_eq!((train.count, test.count, test.targets.outputs()), (4, 2, 3));
    assert_eq!(floats(&test), [9.0; 12]);
    // Without the labels, the other arrays are no test split.
    let splits = recipe.split(&mut archive(&members[..3]), OwnFiles::NONE, 0, None);
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
        .split(&mut files, OwnFiles::NONE, 0, None)
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
        .split(&mut files, OwnFiles::NONE, 0, None)
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
        let error = recipe
            .split(&mut files, OwnFiles::NONE, 0, None)
            .expect_err(expected);
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
        bytes(&Array1::from(vec![3i32; 4])),
        "every label is `3`; at least two classes must occur",
    );
    refused(
        &labels,
        texts(&["a", "b", "", "b"]),
        "the label of sequence 2 is empty",
    );
    refused(
        &labels,
        bytes(&Array2::from_elem((4, 2), 1u8)),
        "row 0 has 2 ones",
    );
    let few = Npy {
        classes: Some(2),
        ..npy(true)
    };
    refused(
        &few,
        bytes(&Array1::from(vec![0, 1, -1, 1i32])),
        "the label of sequence 2 is -1",
    );
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
        "every element is NaN",
    );
    refused(
        &npy(false),
        bytes(&Array1::from(vec![f64::INFINITY; 4])),
        "element 0 is infinite",
    );
    refused(&npy(false), texts(&["a"; 4]), "its elements are texts");
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
        .split(&mut files, OwnFiles::NONE, 0, None)
        .expect_err("NaN")
        .to_string();
    assert!(
        message.contains("sequence 2, step 1, feature 0 is NaN"),
        "{message}"
    );
}

/// The classes of labels and their names, with all sequences in the training split.
fn classes_of(labels: Vec<u8>, recipe: Npy) -> (Vec<u32>, Vec<String>, Vec<String>) {
    let x = Array3::<f32>::zeros((4, 3, 2));
    let mut files = archive(&[("x", bytes(&x)), ("y", labels)]);
    let recipe = Npy {
        test_fraction: 0.0,
        ..recipe
    };
    let Splits {
        train,
        preparation,
        notes,
        ..
    } = recipe
        .split(&mut files, OwnFiles::NONE, 0, None)
        .expect("it is valid");
    train.check().expect("it is valid");
    let Targets::Classes { labels, .. } = &train.targets else {
        panic!("classes were expected");
    };
    (labels.clone(), preparation.classes, notes)
}

#[test]
fn labels_are_classes_by_their_values() {
    let classes = |labels| classes_of(labels, npy(true));
    let named = |names: &[&str]| {
        names
            .iter()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
    };
    // From 1, with a gap.
    let (labels, names, notes) = classes(bytes(&Array1::from(vec![5i64, 1, 2, 5])));
    assert_eq!((labels, names), (vec![2, 0, 1, 2], named(&["1", "2", "5"])));
    assert_eq!(notes, ["the labels in `y` name 3 classes: 1, 2, 5"]);
    // Whole numbers of any type, negative ones too.
    let (labels, names, _) = classes(bytes(&Array1::from(vec![1.0f64, -1.0, 1.0, 1.0])));
    assert_eq!((labels, names), (vec![1, 0, 1, 1], named(&["-1", "1"])));
    let (labels, names, notes) = classes(bytes(&Array1::from(vec![0u8, 1, 2, 1])));
    assert_eq!((labels, names), (vec![0, 1, 2, 1], named(&["0", "1", "2"])));
    assert_eq!(notes, [""; 0]);
    let (labels, names, _) = classes(texts(&["up", "down", "1.0", "1"]));
    assert_eq!(
        (labels, names),
        (vec![2, 1, 0, 0], named(&["1", "down", "up"]))
    );
    let (labels, names, _) = classes(texts(&["007", "7", "7", "7"]));
    assert_eq!((labels, names), (vec![1, 0, 0, 0], named(&["7", "007"])));
    // With data.classes, labels are the numbers of classes.
    let numbered = Npy {
        classes: Some(9),
        ..npy(true)
    };
    let (labels, names, _) = classes_of(bytes(&Array1::from(vec![5, 1, 2, 5i16])), numbered);
    assert_eq!((labels, names), (vec![5, 1, 2, 5], named(&[])));
}

#[test]
fn one_hot_labels_are_recognised() {
    let hot = Array2::from_shape_fn((4, 5), |(n, k)| f32::from(u8::from(k == n + 1)));
    let (labels, names, notes) = classes_of(bytes(&hot), npy(true));
    assert_eq!((labels, names.len()), (vec![1, 2, 3, 4], 5));
    assert!(notes[0].contains("`y` is one-hot"), "{notes:?}");
    // At each step; a step of zeros has no class.
    let hot = Array3::from_shape_fn((4, 3, 2), |(n, t, k)| u8::from(t > 0 && k == n % 2));
    let (labels, _, _) = classes_of(bytes(&hot), npy(true));
    assert_eq!(labels[..6], [IGNORE, 0, 0, IGNORE, 1, 1]);
    // An array of as many classes as steps could be one-hot classes or labels of steps.
    let square = bytes(&Array2::from_shape_fn((4, 3), |(n, k)| {
        u8::from(k == n % 3)
    }));
    let x = Array3::<f32>::zeros((4, 3, 2));
    let mut files = archive(&[("x", bytes(&x)), ("y", square.clone())]);
    let message = npy(true)
        .split(&mut files, OwnFiles::NONE, 0, None)
        .expect_err("open")
        .to_string();
    assert!(message.contains("set data.one_hot"), "{message}");
    for (one_hot, expected) in [(true, vec![0, 1, 2, 0]), (false, vec![1, 0, 0, 0])] {
        let recipe = Npy {
            one_hot: Some(one_hot),
            ..npy(true)
        };
        assert_eq!(classes_of(square.clone(), recipe).0[..4], expected);
    }
}

#[test]
fn classes_are_those_of_both_splits_and_of_a_known_model() {
    let x = Array3::<f32>::zeros((3, 2, 1));
    let longer = Array3::<f32>::zeros((2, 5, 1));
    let members = [
        ("x_train", bytes(&x)),
        ("y_train", bytes(&Array1::from(vec![3i32, 1, 3]))),
        ("x_test", bytes(&longer)),
        ("y_test", texts(&["1.0", "4"])),
    ];
    let mut recipe = npy(true);
    (recipe.inputs, recipe.labels) = ("x_train".into(), Some("y_train".into()));
    let splits = recipe.split(&mut archive(&members), OwnFiles::NONE, 0, None);
    let Splits {
        train,
        test,
        preparation,
        ..
    } = splits.expect("it is valid");
    let test = test.expect("there is one");
    assert_eq!(preparation.classes, ["1", "3", "4"]);
    assert_eq!((train.labels(), test.labels()), (vec![1, 0, 1], vec![0, 2]));
    // Each split has its own longest sequence.
    assert_eq!((train.steps, test.steps), (2, 5));
    // A model's classes, of which the file has some.
    let mut files = archive(&[
        ("x", bytes(&x)),
        ("y", bytes(&Array1::from(vec![4i8, 4, 1]))),
    ]);
    let known = npy(true)
        .split(&mut files, OwnFiles::NONE, 0, Some(&preparation))
        .expect("it is valid");
    assert_eq!(
        (known.train.labels(), known.train.targets.outputs()),
        (vec![2, 2], 3)
    );
    let mut files = archive(&[
        ("x", bytes(&x)),
        ("y", bytes(&Array1::from(vec![4i8, 4, 2]))),
    ]);
    let message = npy(true).split(&mut files, OwnFiles::NONE, 0, Some(&preparation));
    let message = message.expect_err("2 is none").to_string();
    assert!(
        message.contains("the label of sequence 2 is `2`, which is none of the 3 classes"),
        "{message}"
    );
}

#[test]
fn a_large_level_is_subtracted_in_f64() {
    let level = |n: usize, t: usize| 1.7e9 + (n + t) as f64;
    let x = Array3::from_shape_fn((4, 3, 1), |(n, t, _)| level(n, t));
    let same = x.mapv(|value| value - 1.7e9);
    let y = Array1::from_shape_fn(4, |n| if n == 1 { f64::NAN } else { level(n, 3) });
    let same_y = y.mapv(|value| value - 1.7e9);
    let load = |x: Vec<u8>, y: Vec<u8>| {
        let recipe = Npy {
            normalise: true,
            test_fraction: 0.0,
            ..npy(false)
        };
        let mut files = archive(&[("x", x), ("y", y)]);
        recipe
            .split(&mut files, OwnFiles::NONE, 0, None)
            .expect("it is valid")
    };
    let high = load(bytes(&x), bytes(&y));
    let low = load(bytes(&same), bytes(&same_y));
    // The mean of numbers of this size is rounded by less than a millionth.
    let agree = |a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        let differ = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-6;
        assert!(!a.iter().zip(b).any(differ), "{a:?} {b:?}");
    };
    agree(floats(&high.train), floats(&low.train));
    let values = |data: &Dataset| match &data.targets {
        Targets::Values { values, .. } => values.clone(),
        _ => panic!("values were expected"),
    };
    agree(&values(&high.train), &values(&low.train));
    assert_eq!(values(&high.train)[1], MISSING);
    // Integers beyond those of f32 too.
    let integers = load(bytes(&x.mapv(|value| value as i64)), bytes(&y));
    agree(floats(&integers.train), floats(&low.train));
    // A note says so if features are not normalised.
    let plain = Npy {
        test_fraction: 0.0,
        ..npy(false)
    };
    let mut files = archive(&[("x", bytes(&x)), ("y", bytes(&same_y))]);
    let notes = plain
        .split(&mut files, OwnFiles::NONE, 0, None)
        .expect("it is valid")
        .notes;
    assert!(notes[0].contains("set data.normalise to true"), "{notes:?}");
}

#[test]
fn groups_may_be_texts() {
    let x = Array3::from_shape_fn((4, 1, 1), |(n, _, _)| n as f32);
    let members = [
        ("x", bytes(&x)),
        ("y", bytes(&Array1::from(vec![0u8, 1, 0, 1]))),
        ("g", texts(&["anna", "bo", "anna", "bo"])),
    ];
    let recipe = Npy {
        groups: Some("g".into()),
        split_by: SplitBy::Group,
        ..npy(true)
    };
    let splits = recipe
        .split(&mut archive(&members), OwnFiles::NONE, 1, None)
        .expect("it is valid");
    let pairs = [[0.0, 2.0], [1.0, 3.0]];
    assert!(pairs.contains(&[floats(&splits.train)[0], floats(&splits.train)[1]]));
}

/// The lists of labels of an array, with all sequences in the training split.
fn lists_of(arrays: &[(&str, Vec<u8>)], recipe: Npy) -> Result<(Dataset, Vec<String>), Error> {
    let x = Array3::<f32>::zeros((4, 7, 2));
    let mut files = archive(&[&[("x", bytes(&x))], arrays].concat());
    let recipe = Npy {
        test_fraction: 0.0,
        label_lists: true,
        ..recipe
    };
    let splits = recipe.split(&mut files, OwnFiles::NONE, 0, None)?;
    splits.train.check().expect("it is valid");
    let train = std::sync::Arc::unwrap_or_clone(splits.train);
    Ok((train, splits.preparation.classes))
}

#[test]
fn labels_can_be_lists() {
    let lists = |data: &Dataset| -> Vec<Vec<u32>> {
        let lists = (0..data.count).map(|n| data.targets.list(n).to_vec());
        lists.collect()
    };
    let padded = Array2::from_shape_vec((4, 3), vec![7i64, 3, 7, 5, -1, -1, -1, -1, -1, 3, 3, -1]);
    let padded = bytes(&padded.unwrap());
    let (data, names) = lists_of(&[("y", padded.clone())], npy(true)).unwrap();
    let expected = vec![vec![3, 1, 3], vec![2], vec![], vec![1, 1]];
    assert_eq!(lists(&data), expected);
    assert_eq!(names, ["(blank)", "3", "5", "7"]);
    assert_eq!(data.targets.outputs(), 4);
    // Texts, and lengths in place of padding.
    let flat = texts(&["b", "a", "b", "c", "a", "a"]);
    let lengths = bytes(&Array1::from(vec![3i64, 1, 0, 2]));
    let with_lengths = Npy {
        label_lengths: Some("n".into()),
        ..npy(true)
    };
    let arrays = [("y", flat), ("n", lengths)];
    let (data, names) = lists_of(&arrays, with_lengths).unwrap();
    assert_eq!(names, ["(blank)", "a", "b", "c"]);
    assert_eq!(lists(&data), [vec![2, 1, 2], vec![3], vec![], vec![1, 1]]);
    // Numbers below K, without the blank.
    let numbered = |classes| Npy {
        classes: Some(classes),
        ..npy(true)
    };
    let (data, names) = lists_of(&[("y", padded.clone())], numbered(9)).unwrap();
    assert_eq!(lists(&data)[0], [7, 3, 7]);
    assert_eq!((names.len(), data.targets.outputs()), (0, 9));
    let message = |labels: Vec<i64>, recipe: Npy| {
        let labels = Array2::from_shape_vec((4, 2), labels).unwrap();
        let found = lists_of(&[("y", bytes(&labels))], recipe);
        found.unwrap_err().to_string()
    };
    for (labels, recipe, expected) in [
        (
            vec![1, 0, 2, 2, 3, -1, 1, 1],
            numbered(9),
            "sequence 0 is `0`, which is class 0",
        ),
        (vec![1, 9, 2, 2, 3, -1, 1, 1], numbered(9), "with 9 classes"),
        (
            vec![1, 2, -1, 2, 3, 3, 1, 1],
            npy(true),
            "sequence 1 has a label after",
        ),
        (vec![-1; 8], npy(true), "every list is empty"),
    ] {
        let message = message(labels, recipe);
        assert!(message.contains(expected), "{message}");
    }
    let wrong = lists_of(&[("y", bytes(&Array1::from(vec![1i64; 4])))], npy(true));
    let message = wrong.unwrap_err().to_string();
    assert!(
        message.contains("lists of labels must be [4, L]"),
        "{message}"
    );
}
