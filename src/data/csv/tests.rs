use std::path::Path;

use super::super::preparation::{Missing, Normal, Preparation};
use super::super::source::{DataSource, DataUse};
use super::super::{Dataset, Inputs, SplitBy, Targets};
use super::*;
use crate::network::{Input, Loss, Reads};

fn table(inputs: &[&str], targets: &[&str]) -> Csv {
    Csv {
        normalise: false,
        test_fraction: 0.0,
        ..Csv::new(Path::new("t.csv"), inputs, targets)
    }
}

fn floats(data: &Dataset) -> &[f32] {
    match &data.inputs {
        Inputs::Floats(values) => values,
        _ => panic!("floats expected"),
    }
}

fn values(data: &Dataset) -> &[f32] {
    match &data.targets {
        Targets::Values { values, .. } => values,
        Targets::Classes { .. } => panic!("values expected"),
    }
}

/// `t,a,b` with a = t and b = 10 t.
fn rows(count: usize) -> String {
    let rows = (0..count).map(|t| format!("{t},{t},{}\n", 10 * t));
    format!("t,a,b\n{}", rows.collect::<String>())
}

#[test]
fn targets_are_the_horizon_ahead() {
    let mut csv = table(&["b", "a"], &["a"]);
    (csv.steps, csv.horizon, csv.stride) = (Some(3), 2, 2);
    let data = csv.split(rows(8).as_bytes(), 0).expect("it is valid").train;
    assert_eq!((data.count, data.steps, data.features), (2, 3, 2));
    assert_eq!(floats(&data)[..6], [0.0, 0.0, 10.0, 1.0, 20.0, 2.0]);
    assert_eq!(floats(&data)[6], 20.0);
    assert_eq!(values(&data), [4.0, 6.0]);
    csv.every_step = true;
    let data = csv.split(rows(8).as_bytes(), 0).expect("it is valid").train;
    assert_eq!(values(&data), [2.0, 3.0, 4.0, 4.0, 5.0, 6.0]);
    data.check().expect("it is valid");
}

#[test]
fn a_forecast_is_split_in_time_and_normalized_by_the_training_split() {
    let mut csv = table(&["a"], &["a"]);
    (csv.steps, csv.horizon) = (Some(2), 1);
    (csv.test_fraction, csv.normalise, csv.every_step) = (0.4, true, true);
    let splits = csv.split(rows(10).as_bytes(), 0).expect("it is valid");
    let (train, test) = (splits.train, splits.test.expect("there is one"));
    assert_eq!((train.count, test.count), (4, 2));
    // 0 to 5 have the mean 2.5 and the variance 35 / 12.
    let normal = splits.preparation.inputs[0];
    assert_eq!(normal.mean, 2.5);
    assert!((normal.deviation - (35.0f32 / 12.0).sqrt()).abs() < 1e-6);
    assert_eq!(splits.preparation.targets, [normal]);
    assert!((normal.undo(floats(&test)[0]) - 6.0).abs() < 1e-5);
    assert!((normal.undo(values(&test)[3]) - 9.0).abs() < 1e-5);

    // The preparation of a model replaces that of the file.
    let table = csv
        .parse(rows(10).as_bytes(), &csv.path, &[])
        .expect("it is valid");
    let known = Preparation {
        inputs: vec![Normal {
            mean: 0.0,
            deviation: 2.0,
        }],
        ..Preparation::default()
    };
    let splits = csv
        .prepare(table, None, 0, Some(&known))
        .expect("it is valid");
    assert_eq!(floats(&splits.train)[1], 0.5);
}

#[test]
fn windows_do_not_cross_groups() {
    let text = "g,v,c\nx,1,no\ny,5,yes\nx,2,no\ny,6,yes\ny,7,yes\nz,9,no\n";
    let mut csv = table(&["v"], &["c"]);
    (csv.task, csv.group) = (TableTask::Classification, Some("g".into()));
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    let data = splits.train;
    assert_eq!((data.count, data.steps), (3, 3));
    assert_eq!(floats(&data), [1.0, 2.0, 0.0, 5.0, 6.0, 7.0, 9.0, 0.0, 0.0]);
    assert_eq!(data.lengths, Some(vec![2, 3, 1]));
    assert_eq!(data.labels(), [0, 1, 0]);
    assert_eq!(splits.preparation.classes, ["no", "yes"]);
    csv.steps = Some(2);
    let data = csv.split(text.as_bytes(), 0).expect("it is valid").train;
    assert_eq!(floats(&data), [1.0, 2.0, 5.0, 6.0, 6.0, 7.0]);
    (csv.steps, csv.split_by, csv.test_fraction) = (None, SplitBy::Group, 0.3);
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    assert_eq!(
        (splits.train.count, splits.test.map(|test| test.count)),
        (2, Some(1))
    );
}

#[test]
fn classes_that_are_numbers_are_sorted_by_value() {
    let text = "v,c\n1,10\n2,9\n3,10\n";
    let mut csv = table(&["v"], &["c"]);
    (csv.task, csv.every_step) = (TableTask::Classification, true);
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    assert_eq!(splits.preparation.classes, ["9", "10"]);
    assert_eq!(splits.train.labels(), [1, 0, 1]);
}

#[test]
fn missing_cells_are_refused_or_filled() {
    let text = "v,w\n1,1\nNA,2\n,3\n4,4\n";
    let filled = |missing| {
        let mut csv = table(&["v"], &["w"]);
        (csv.missing, csv.every_step) = (missing, true);
        csv.split(text.as_bytes(), 0)
            .map(|splits| floats(&splits.train).to_vec())
    };
    let message = filled(Missing::Refuse)
        .expect_err("it is missing")
        .to_string();
    assert!(
        message.contains("t.csv: line 3: the column `v` has no value"),
        "{message}"
    );
    assert_eq!(
        filled(Missing::Forward).expect("it is filled"),
        [1.0, 1.0, 1.0, 4.0]
    );
    assert_eq!(
        filled(Missing::Zero).expect("it is filled"),
        [1.0, 0.0, 0.0, 4.0]
    );
    assert_eq!(
        filled(Missing::Mean).expect("it is filled"),
        [1.0, 2.5, 2.5, 4.0]
    );
}

#[test]
fn errors_name_file_line_and_column() {
    let mut csv = table(&["a"], &["b"]);
    csv.steps = Some(2);
    for (text, expected) in [
        ("a,c\n1,2\n", "line 1: there is no column `b`"),
        ("a,b,a\n1,2,3\n", "two columns of the header are called `a`"),
        (
            "a,b\n1,2\n3\n",
            "line 3: there are 1 cells where the header has 2",
        ),
        (
            "a,b\n1,2\nx\u{1b}[,3\n",
            "line 3: the column `a` has `x\\u{1b}[`",
        ),
        ("a,b\n1,inf\n", "line 2: the column `b` has `inf`"),
        ("a,b\n", "a header and no rows"),
        (
            "a,b\n1,2\n",
            "the longest series of the training split has 1 rows, and a window of 2",
        ),
    ] {
        let error = csv.split(text.as_bytes(), 0).expect_err(expected);
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = csv
        .split(b"a,b\n1,\xff\n", 0)
        .expect_err("no text")
        .to_string();
    assert!(error.contains("line 2: the text is not UTF-8"), "{error}");
    (csv.task, csv.steps) = (TableTask::Classification, None);
    let error = csv
        .split(b"a,b\n1,x\n2,x\n", 0)
        .expect_err("one class")
        .to_string();
    assert!(error.contains("there must be at least two"), "{error}");
}

#[test]
fn invalid_fields_are_refused_before_a_file_is_read() {
    let good = Csv {
        steps: Some(3),
        horizon: 1,
        ..table(&["a"], &["a"])
    };
    let usage = DataUse {
        input: Input::Values,
        loss: Loss::MeanSquaredError,
        reads: Reads::Last,
        batch_size: 1,
        bptt_steps: None,
    };
    good.validate(&usage).expect("it is valid");
    let refused = |change: fn(&mut Csv), expected: &str| {
        let mut csv = good.clone();
        change(&mut csv);
        let message = csv.validate(&usage).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    };
    refused(|csv| csv.inputs.clear(), "data.inputs is empty");
    refused(|csv| csv.targets.push("a".into()), "`a` twice");
    refused(|csv| csv.horizon = 0, "leaks the target");
    refused(|csv| csv.stride = 0, "data.stride is 0");
    refused(|csv| csv.delimiter = '\n', "data.delimiter");
    refused(|csv| csv.split_by = SplitBy::Random, "windows overlap");
    refused(|csv| csv.split_by = SplitBy::Group, "data.group is not set");
    refused(|csv| csv.every_step = true, "reads = \"every\"");
    refused(
        |csv| csv.task = TableTask::Classification,
        "loss = \"cross-entropy\"",
    );
    refused(|csv| csv.test_fraction = 1.0, "below 1");
}
