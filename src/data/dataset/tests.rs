use ndarray::{Array1, Array2, Array3};

use super::*;

/// Three sequences of two steps and two features.
fn three(inputs: Inputs, targets: Targets) -> Dataset {
    Dataset {
        count: 3,
        steps: 2,
        features: 2,
        inputs,
        targets,
        lengths: Some(vec![2, 0, 1]),
        weights: None,
    }
}

/// Three sequences of four steps of two features.
fn inputs() -> Array3<f32> {
    Array3::from_shape_fn((3, 4, 2), |(n, t, i)| (8 * n + 2 * t + i) as f32)
}

fn labels(labels: [u32; 3]) -> Targets {
    Targets::classes(Array1::from_iter(labels).view(), 5)
}

#[test]
fn arrays_of_any_layout_are_read_in_row_major_order() {
    // The same values, time-major in memory.
    let transposed = inputs()
        .permuted_axes([1, 0, 2])
        .as_standard_layout()
        .to_owned();
    let same = transposed.view().permuted_axes([1, 0, 2]);
    for view in [inputs().view(), same] {
        let data = Dataset::new(view, labels([0, 4, 2])).expect("it is valid");
        assert_eq!((data.count, data.steps, data.features), (3, 4, 2));
        let Inputs::Floats(values) = data.inputs else {
            panic!("floats expected")
        };
        assert_eq!(values, (0..24).map(|v| v as f32).collect::<Vec<_>>());
    }
}

#[test]
fn a_slice_has_inputs_targets_and_lengths_of_its_sequences() {
    let bytes = Inputs::Bytes {
        values: (0..12).collect(),
        scale: 0.5,
    };
    let classes = |per_step, labels: &[u32]| Targets::Classes {
        labels: labels.to_vec(),
        classes: 9,
        per_step,
    };
    let data = three(bytes, classes(true, &[0, 1, 2, 3, 4, 5]));
    let slice = data.slice(1..3).unwrap();
    assert_eq!((slice.count, slice.lengths), (2, Some(vec![0, 1])));
    let Inputs::Bytes { values, scale } = slice.inputs else {
        panic!("bytes expected");
    };
    assert_eq!((values, scale), ((4..12).collect(), 0.5));
    let labels = |targets| match targets {
        Targets::Classes { labels, .. } => labels,
        _ => panic!("classes expected"),
    };
    assert_eq!(labels(slice.targets), [2, 3, 4, 5]);

    let floats = || Inputs::Floats((0..12).map(|n| n as f32).collect());
    let slice = three(floats(), classes(false, &[6, 7, 8]))
        .slice(0..1)
        .unwrap();
    let Inputs::Floats(values) = slice.inputs else {
        panic!("floats expected");
    };
    assert_eq!(values, [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(labels(slice.targets), [6]);

    for (per_step, expected) in [(true, 6.0..12.0), (false, 3.0..6.0)] {
        let values = (0..if per_step { 18 } else { 9 })
            .map(|n| n as f32)
            .collect();
        let targets = Targets::Values {
            values,
            width: 3,
            per_step,
        };
        let slice = three(floats(), targets).slice(1..2).unwrap();
        let Targets::Values { values, .. } = slice.targets else {
            panic!("values expected");
        };
        let last = expected.end - 1.0;
        assert_eq!(
            (values[0], values[values.len() - 1]),
            (expected.start, last)
        );
    }
}

#[test]
fn invalid_ranges_are_refused() {
    let data = three(
        Inputs::Floats(vec![0.0; 12]),
        Targets::Values {
            values: vec![0.0; 3],
            width: 1,
            per_step: false,
        },
    );
    #[allow(clippy::reversed_empty_ranges)]
    for range in [1..1, 2..1, 0..4, 3..4] {
        let error = data.slice(range).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.to_string().contains("there are 3 sequences"),
            "{error}"
        );
    }
}

#[test]
fn padded_steps_are_not_learnt() {
    let per_step = Array2::from_elem((3, 4), 1);
    let values = Array3::zeros((3, 4, 2));
    let lengths = [4, 0, 3];
    for (targets, own) in [
        (Targets::classes_per_step(per_step.view(), 2), 1),
        (Targets::values_per_step(values.view()), 0),
    ] {
        let data = Dataset::new(inputs().view(), targets).expect("it is valid");
        assert_eq!(data.labels(), [own; 12]);
        let labels = data
            .with_lengths(&lengths)
            .expect("they are valid")
            .labels();
        let expected = [[own; 4], [IGNORE; 4], [own, own, own, IGNORE]];
        assert_eq!(labels, expected.concat());
    }
    // One target of a sequence is learnt whatever its length.
    let data = Dataset::new(inputs().view(), labels([0, 4, 2])).expect("it is valid");
    let data = data.with_lengths(&lengths).expect("they are valid");
    assert_eq!(data.labels(), [0, 4, 2]);
}

/// Checks that a data set is refused, with `expected` in the message.
fn refused(data: Result<Dataset>, expected: &str) {
    let error = data.expect_err(expected);
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn errors_name_the_index_of_invalid_values() {
    let with_targets = |targets, expected| {
        refused(Dataset::new(inputs().view(), targets), expected);
    };
    let mut broken = inputs();
    broken[[1, 2, 1]] = f32::NAN;
    refused(
        Dataset::new(broken.view(), labels([0; 3])),
        "the inputs at [1, 2, 1] are NaN; they must be finite",
    );
    with_targets(
        labels([0, 5, 0]),
        "the label at [1] is 5; with 5 classes labels must be below 5",
    );
    with_targets(labels([0, 1, IGNORE]), "the label at [2] is 4294967295");
    let mut per_step = Array2::zeros((3, 4));
    (per_step[[0, 1]], per_step[[2, 3]]) = (IGNORE, 7);
    with_targets(
        Targets::classes_per_step(per_step.view(), 7),
        "the label at [2, 3] is 7; with 7 classes labels must be below 7, or IGNORE",
    );
    let infinite = Array2::from_elem((3, 1), f32::INFINITY);
    with_targets(
        Targets::values(infinite.view()),
        "the targets at [0, 0] are inf",
    );
}

#[test]
fn sizes_that_disagree_are_refused() {
    let with_targets = |targets, expected| {
        refused(Dataset::new(inputs().view(), targets), expected);
    };
    for empty in [(0, 4, 2), (3, 0, 2), (3, 4, 0)] {
        refused(
            Dataset::new(Array3::zeros(empty).view(), labels([0; 3])),
            "at least one sequence, one step and one feature",
        );
    }
    with_targets(
        Targets::classes(Array1::zeros(4).view(), 5),
        "there are 4 labels; there must be 3, of shape [3]",
    );
    with_targets(
        Targets::values_per_step(Array3::zeros((3, 3, 2)).view()),
        "there are 18 target values; there must be 24, of shape [3, 4, 2]",
    );
    with_targets(
        Targets::values(Array2::zeros((3, 0)).view()),
        "the targets have no value",
    );
    let data = Dataset::new(inputs().view(), labels([0; 3])).expect("it is valid");
    refused(
        data.clone().with_lengths(&[1, 2]),
        "there are 2 lengths; there must be 3, of shape [3]",
    );
    refused(
        data.clone().with_lengths(&[4, 5, 1]),
        "the length of sequence 1 is 5; there are 4 steps",
    );
}

#[test]
fn fields_that_were_changed_later_are_checked() {
    let data = Dataset::new(inputs().view(), labels([0; 3])).expect("it is valid");
    for broken in [
        Dataset {
            steps: 5,
            ..data.clone()
        },
        Dataset {
            count: usize::MAX,
            steps: usize::MAX,
            features: usize::MAX,
            ..data.clone()
        },
        Dataset {
            lengths: Some(vec![9; 3]),
            ..data.clone()
        },
    ] {
        broken.check().expect_err("sizes disagree");
    }
}
