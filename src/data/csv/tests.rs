mod ahead;

use std::fmt::Write;
use std::path::Path;

use super::super::preparation::{Missing, Normal, Preparation};
use super::super::source::{DataSource, DataUse};
use super::super::{Dataset, Inputs, SplitBy, Targets};
use super::*;
use crate::kernels::{IGNORE, MISSING};
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
        _ => panic!("values expected"),
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
    (csv.steps, csv.horizon, csv.stride) = (Some(3), 2.into(), 2);
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
    (csv.steps, csv.horizon) = (Some(2), 1.into());
    (csv.test_fraction, csv.normalise, csv.every_step) = (0.4, true, true);
    let splits = csv.split(rows(10).as_bytes(), 0).expect("it is valid");
    let (train, test) = (splits.train, splits.test.expect("there is one"));
    assert_eq!((train.count, test.count), (4, 2));
    // 0 to 5 have the mean 2.5 and the variance 35 / 12.
    let normal = splits.preparation.inputs[0];
    assert_eq!(normal.mean, 2.5);
    assert!((normal.deviation - (35.0f64 / 12.0).sqrt()).abs() < 1e-6);
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
        .prepare(table.into(), 0, Some(&known))
        .expect("it is valid");
    assert_eq!(floats(&splits.train)[1], 0.5);
}

#[test]
fn differences_are_from_the_last_known_value() {
    // The value of row 2 is missing; its input is the value before.
    let text = "a,b\n1000001,1\n1000003,1\n,2\n1000004,3\n1000010,5\n1000011,8\n";
    let mut csv = table(&["b", "a"], &["a", "b"]);
    (csv.steps, csv.horizon, csv.every_step) = (Some(2), 1.into(), true);
    (csv.missing, csv.residual_on_last) = (Missing::Forward, true);
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    assert_eq!(splits.preparation.residuals, [1, 0]);
    let expected = [
        [2.0, 0.0, MISSING, 1.0],
        [MISSING, 1.0, 1.0, 1.0],
        [1.0, 1.0, 6.0, 2.0],
        [6.0, 2.0, 1.0, 3.0],
    ];
    assert_eq!(values(&splits.train), expected.concat());

    // Differences have a mean and a deviation of their own: those of 2, 1, 6 and 1.
    csv.normalise = true;
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    let preparation = &splits.preparation;
    let normal = preparation.targets[0];
    assert_eq!((normal.mean, normal.deviation), (2.5, 4.25f64.sqrt()));
    let data = &splits.train;
    let restored = preparation.restore(&values(data)[8..12], data.input_rows(2, 0..2));
    for (value, expected) in restored.iter().zip([1_000_004.0, 3.0, 1_000_010.0, 5.0]) {
        assert!((value - expected).abs() < 1e-5, "{restored:?}");
    }
    // Other data are prepared in the same way.
    let rows = csv
        .parse(text.as_bytes(), &csv.path, &[])
        .expect("it is valid");
    let again = csv.prepare(rows.into(), 0, Some(preparation));
    assert_eq!(values(&again.expect("it is valid").train), values(data));
}

#[test]
fn the_validation_split_is_the_last_part_of_the_training_split() {
    let mut csv = table(&["a"], &["a"]);
    (csv.steps, csv.horizon) = (Some(2), 1.into());
    (csv.test_fraction, csv.validation_fraction) = (0.4, 0.25);
    let splits = csv.split(rows(20).as_bytes(), 0).expect("it is valid");
    let first_and_last = |data: &Dataset| (floats(data)[0], values(data)[data.count - 1]);
    assert_eq!(first_and_last(&splits.train), (0.0, 8.0));
    let validation = splits.validation.expect("there is one");
    assert_eq!(first_and_last(&validation), (9.0, 11.0));
    assert_eq!(
        first_and_last(&splits.test.expect("there is one")),
        (12.0, 19.0)
    );
    csv.validation_fraction = 0.1;
    let error = csv.split(rows(20).as_bytes(), 0).expect_err("it is short");
    let message = error.to_string();
    assert!(
        message.contains("series of the validation split has 1 rows"),
        "{message}"
    );
    assert!(
        message.contains("change data.validation_fraction"),
        "{message}"
    );
}

#[test]
fn whole_series_are_divided_into_three_splits() {
    let line = |n: usize| format!("{},{n},{}\n", n / 2, if n % 4 < 2 { "x" } else { "y" });
    let text = format!("g,v,c\n{}", (0..40).map(line).collect::<String>());
    let mut csv = table(&["v"], &["c"]);
    (csv.task, csv.group) = (TableTask::Classification, Some("g".into()));
    (csv.test_fraction, csv.validation_fraction) = (0.2, 0.25);
    for split_by in [
        SplitBy::Order,
        SplitBy::Random,
        SplitBy::Group,
        SplitBy::Class,
    ] {
        csv.split_by = split_by;
        let splits = csv.split(text.as_bytes(), 3).expect("it is valid");
        let (validation, test) = (splits.validation.unwrap(), splits.test.unwrap());
        let mut all = [&splits.train, &validation, &test].map(|data| floats(data).to_vec());
        assert_eq!(all.each_ref().map(Vec::len), [24, 8, 8], "{split_by:?}");
        if split_by == SplitBy::Order {
            assert_eq!(all[1], (24..32).map(|n| n as f32).collect::<Vec<_>>());
        }
        let mut together = all.each_mut().map(std::mem::take).concat();
        together.sort_by(f32::total_cmp);
        assert_eq!(together, (0..40).map(|n| n as f32).collect::<Vec<_>>());
    }
    csv.validation_fraction = 0.99;
    let message = csv
        .split(text.as_bytes(), 3)
        .expect_err("none is left")
        .to_string();
    assert!(
        message.contains("data.validation_fraction = 0.99"),
        "{message}"
    );
}

#[test]
fn calendars_are_inputs() {
    let text = "date,v\n2024-03-31 06:00,1\n2024-02-01 18:00,2\n2024-04-01 00:00,3\n";
    let mut csv = table(&["v"], &["v"]);
    (csv.time, csv.horizon, csv.steps) = (Some("date".into()), 1.into(), Some(1));
    csv.calendar = vec![
        CalendarCycle::Hour,
        CalendarCycle::Weekday,
        CalendarCycle::Month,
    ];
    csv.normalise = true;
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    assert_eq!(splits.train.features, 7);
    let angle = |position: f64| {
        let angle = position * std::f64::consts::TAU;
        [angle.sin() as f32, angle.cos() as f32]
    };
    // Rows are in the order of their times: a Thursday, a Sunday and a Monday.
    let [hour, weekday, month] = [0.75, 3.0 / 7.0, 1.0 / 12.0].map(angle);
    assert_eq!(floats(&splits.train)[1..7], [hour, weekday, month].concat());
    let month = angle((2.0 + 30.0 / 31.0) / 12.0);
    let [hour, weekday] = [0.25, 6.0 / 7.0].map(angle);
    assert_eq!(
        floats(&splits.train)[8..14],
        [hour, weekday, month].concat()
    );
    assert_eq!(splits.preparation.inputs[1..], [Normal::IDENTITY; 6]);
    let numbers = "date,v\n1,1\n2,2\n3,3\n";
    let message = csv
        .split(numbers.as_bytes(), 0)
        .expect_err("no dates")
        .to_string();
    assert!(
        message.contains("the column `date` has no dates, which data.calendar needs"),
        "{message}"
    );
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
            .map(|splits| (floats(&splits.train).to_vec(), splits.notes))
    };
    let message = filled(Missing::Refuse)
        .expect_err("it is missing")
        .to_string();
    assert!(
        message.contains("t.csv: line 3: the column `v` has no value"),
        "{message}"
    );
    for (missing, expected, how) in [
        (Missing::Forward, [1.0, 1.0, 1.0, 4.0], "the value before"),
        (Missing::Zero, [1.0, 0.0, 0.0, 4.0], "0"),
        (
            Missing::Mean,
            [1.0, 2.5, 2.5, 4.0],
            "the mean of the training split",
        ),
    ] {
        let (values, notes) = filled(missing).expect("it is filled");
        assert_eq!(values, expected);
        let note = format!("t.csv: 2 missing inputs are filled with {how}: v 2");
        assert_eq!(notes, [note]);
    }
}

#[test]
fn a_large_level_is_normalized_in_f64() {
    let text = |level: i64| -> String {
        let rows = (0..40).map(|t| format!("{}.5\n", level + (t * 7) % 11));
        format!("v\n{}", rows.collect::<String>())
    };
    let split = |level: i64| {
        let mut csv = table(&["v"], &["v"]);
        (csv.steps, csv.horizon) = (Some(4), 1.into());
        (csv.normalise, csv.test_fraction) = (true, 0.2);
        csv.split(text(level).as_bytes(), 0).expect("it is valid")
    };
    let (high, low) = (split(1_700_000_000), split(0));
    assert_eq!(floats(&high.train), floats(&low.train));
    let test = |splits: &super::super::Splits| {
        values(splits.test.as_ref().expect("there is one")).to_vec()
    };
    assert_eq!(test(&high), test(&low));
    let normal = high.preparation.targets[0];
    let last = *values(&high.train).last().expect("there are some");
    assert!((normal.undo(last) - (1_700_000_000.5 + ((31 * 7) % 11) as f64)).abs() < 1e-5);
}

#[test]
fn missing_targets_are_not_learnt() {
    let text = "v,w,c\n1,1,a\n2,,\n3,3,b\n4,NA,a\n5,5,\n";
    let mut csv = table(&["v"], &["w"]);
    csv.steps = Some(2);
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    assert_eq!(values(&splits.train), [3.0, 5.0]);
    assert_eq!(
        splits.notes,
        [
            "2 of 4 sequences of the training split are left out, because their targets have no value"
        ]
    );
    csv.every_step = true;
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    assert_eq!(
        values(&splits.train),
        [1.0, MISSING, MISSING, 3.0, 3.0, MISSING, MISSING, 5.0]
    );
    assert_eq!(
        splits.train.labels(),
        [0, IGNORE, IGNORE, 0, 0, IGNORE, IGNORE, 0]
    );
    assert_eq!(
        splits.notes,
        ["4 of 8 targets of the training split have no value; they are neither learnt nor scored"]
    );
    let mut csv = table(&["v"], &["c"]);
    (csv.task, csv.every_step) = (TableTask::Classification, true);
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    assert_eq!(splits.train.labels(), [0, IGNORE, 1, 0, IGNORE]);
    let mut csv = table(&["v"], &["w"]);
    csv.steps = Some(1);
    let message = csv
        .split(b"v,w\n1,\n2,\n", 0)
        .expect_err("none has a value");
    let expected = "no target of the training split has a value";
    assert!(message.to_string().contains(expected), "{message}");
}

#[test]
fn a_class_may_be_called_none_and_numbers_are_told_apart_by_value() {
    let text = "v,c\n1,none\n2,NA\n3,none\n";
    let mut csv = table(&["v"], &["c"]);
    (csv.task, csv.every_step) = (TableTask::Classification, true);
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    assert_eq!(splits.preparation.classes, ["NA", "none"]);
    assert_eq!(splits.train.labels(), [1, 0, 1]);
    csv.missing_marks = Some(vec!["na".into()]);
    let message = csv
        .split(text.as_bytes(), 0)
        .expect_err("one class")
        .to_string();
    assert!(message.contains("same class"), "{message}");
    csv.missing_marks = None;
    let splits = csv
        .split(b"v,c\n1,1\n2,2.0\n3,1.0\n4,2\n", 0)
        .expect("it is valid");
    assert_eq!(splits.preparation.classes, ["1", "2"]);
    assert_eq!(splits.train.labels(), [0, 1, 0, 1]);
    // The file of a test split may write the same numbers in another way.
    let rows = csv
        .parse(b"v,c\n1,2.00\n2,1\n", &csv.path, &["1".into(), "2".into()])
        .expect("it is valid");
    assert_eq!(rows.series[0].labels, [1, 0]);
    let message = csv.parse(b"v,c\n1,3\n", &csv.path, &["1".into(), "2".into()]);
    let message = message.expect_err("it is unknown").to_string();
    assert!(
        message.contains("not a class of the training file (`1` or `2`)"),
        "{message}"
    );
}

#[test]
fn each_class_is_in_both_splits_of_rows_sorted_by_class() {
    let rows = (0..60).map(|t| format!("{t},{}\n", ["a", "b", "c"][t / 20]));
    let text = format!("v,c\n{}", rows.collect::<String>());
    let mut csv = table(&["v"], &["c"]);
    csv.task = TableTask::Classification;
    (csv.steps, csv.test_fraction, csv.split_by) = (Some(4), 0.25, SplitBy::Class);
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    let test = splits.test.expect("there is one");
    // Five rows of each class are two windows.
    assert_eq!(test.labels(), [0, 0, 1, 1, 2, 2]);
    assert_eq!(floats(&test)[..4], [15.0, 16.0, 17.0, 18.0]);
    // No window of the training split has a row of the test split.
    let in_test = |value: &f32| (*value as usize % 20) >= 15;
    assert!(!floats(&splits.train).iter().any(in_test));
    assert_eq!(splits.train.count, 3 * 12);
    csv.task = TableTask::Regression;
    let usage = DataUse {
        input: Input::Values,
        loss: Loss::MeanSquaredError,
        reads: Reads::Last,
        batch_size: 1,
        bptt_steps: None,
    };
    let message = csv
        .validate(&usage)
        .expect_err("there are no classes")
        .to_string();
    assert!(message.contains("data.split_by is \"class\""), "{message}");
}

#[test]
fn splits_of_whole_series_have_their_own_longest() {
    let series = [("x", 2), ("y", 5), ("z", 7)];
    let rows = series.iter().flat_map(|(name, count)| {
        (0..*count).map(move |t| format!("{name},{t},{}\n", if *count > 4 { "b" } else { "a" }))
    });
    let text = format!("g,v,c\n{}", rows.collect::<String>());
    let mut csv = table(&["v"], &["c"]);
    (csv.task, csv.group, csv.test_fraction) = (TableTask::Classification, Some("g".into()), 0.3);
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    assert_eq!(splits.train.steps, 5);
    assert_eq!(splits.test.expect("there is one").steps, 7);
}

#[test]
fn series_that_are_too_short_and_rows_without_a_group_are_named() {
    let mut text = "g,v\n".to_string();
    for (name, count) in [("long", 40), ("short", 3), ("", 2)] {
        (0..count).for_each(|t| text += &format!("{name},{t}\n"));
    }
    let mut csv = table(&["v"], &["v"]);
    (csv.steps, csv.horizon, csv.test_fraction) = (Some(4), 1.into(), 0.2);
    csv.group = Some("g".into());
    let notes = csv.split(text.as_bytes(), 0).expect("it is valid").notes;
    assert_eq!(
        notes,
        [
            "2 rows without a value of `g` are left out, the first at line 45",
            "1 series of `g` are in no split, because a window of 4 rows and its target need 5 \
             rows: short (3 rows)",
        ]
    );
}

#[test]
fn rows_are_sorted_by_their_time() {
    let text = "g,t,v\nx,3,30\ny,1,1\nx,1,10\ny,2,2\nx,2,20\n";
    let mut csv = table(&["v"], &["v"]);
    (csv.time, csv.group, csv.horizon) = (Some("t".into()), Some("g".into()), 1.into());
    csv.every_step = true;
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    assert_eq!(floats(&splits.train), [10.0, 20.0, 1.0, 0.0]);
    assert_eq!(splits.notes, ["3 rows of 5 were sorted by `t`"]);
    let message = csv
        .split(b"g,t,v\nx,,30\ny,1,1\n", 0)
        .expect_err("no time")
        .to_string();
    assert!(
        message.contains("line 2: the column `t` has no time"),
        "{message}"
    );
}

#[test]
fn numbers_have_the_format_of_the_recipe() {
    let mut csv = table(&["v"], &["w"]);
    (csv.delimiter, csv.decimal, csv.every_step) = (';', ',', true);
    let splits = csv
        .split(b"v;w\n20,5;1\n1.234,5;2\n", 0)
        .expect("it is valid");
    assert_eq!(floats(&splits.train), [20.5, 1234.5]);
    csv.decimal = '.';
    let message = csv
        .split(b"v;w\n20,5;1\n", 0)
        .expect_err("a decimal comma")
        .to_string();
    assert!(message.contains("data.decimal"), "{message}");
    // A blank line of a table of one column is a row.
    let mut csv = table(&["v"], &["v"]);
    (csv.horizon, csv.every_step, csv.missing) = (1.into(), true, Missing::Forward);
    let splits = csv.split(b"v\n1\n\n3\n\n", 0).expect("it is valid");
    assert_eq!(floats(&splits.train), [1.0, 1.0]);
    assert_eq!(values(&splits.train), [MISSING, 3.0]);
    let message = csv.split(b"v,w\n\n\n1,2\n\nx,3\n", 0);
    assert!(
        message
            .expect_err("x")
            .to_string()
            .contains("line 6: the column `v`")
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
        horizon: 1.into(),
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
    refused(|csv| csv.horizon = 0.into(), "leaks the target");
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

#[test]
fn a_number_beyond_f32_is_refused_with_its_line() {
    let mut csv = table(&["v"], &["v"]);
    (csv.steps, csv.horizon, csv.normalise) = (Some(2), 1.into(), true);
    csv.test_fraction = 0.4;
    let message = csv.split(b"v\n1\n2\n1\n2\n1\n2\n1\n1e85\n2\n1\n", 0);
    let message = message.expect_err("it is too large").to_string();
    assert!(
        message.contains("t.csv: line 9: a number is too large for f32"),
        "{message}"
    );
}

#[test]
fn a_linear_regression_leaves_what_it_does_not_predict() {
    // a[t + 1] = a[t] + 0.5 (a[t] - a[t - 1]) - 0.25 (a[t - 1] - a[t - 2]) + b[t], and noise in
    // row 28.
    let (mut a, mut text) = (vec![5.0f64, 6.0, 4.0], "a,b\n".to_string());
    let b = |row: usize| ((row * row) % 7) as f64 - 3.0;
    for row in 0..30 {
        if row >= 2 {
            let change = 0.5 * (a[row] - a[row - 1]) - 0.25 * (a[row - 1] - a[row - 2]);
            a.push(a[row] + change + b(row) + f64::from(u8::from(row == 27)));
        }
        writeln!(text, "{},{}", a[row], b(row)).expect("memory");
    }
    let mut csv = table(&["a", "b"], &["a"]);
    (csv.steps, csv.horizon, csv.every_step) = (Some(4), 1.into(), true);
    (csv.residual_on_last, csv.residual_on_linear) = (true, true);
    (csv.differences, csv.context) = (vec![1, 2], 2);
    (csv.normalise, csv.test_fraction) = (true, 0.2);
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    let preparation = &splits.preparation;
    assert_eq!(preparation.linear.len(), 4);
    // Of the training split nothing is left, of the test split the noise.
    let deviation = preparation.targets[0].deviation;
    let left = |data: &Dataset| -> Vec<f64> {
        let known = values(data).iter().filter(|value| **value != MISSING);
        known.map(|value| f64::from(*value) * deviation).collect()
    };
    let of_train = left(&splits.train);
    assert!(
        of_train.iter().all(|value| value.abs() < 1e-5),
        "{of_train:?}"
    );
    let test = splits.test.expect("there is one");
    let of_test = left(&test);
    assert!(
        (of_test[of_test.len() - 2] - 1.0).abs() < 1e-4,
        "{of_test:?}"
    );
    // The predictions of a network without an output are those of the regression.
    let last = test.input_rows(test.count - 1, 3..4);
    let restored = preparation.restore(&[values(&test)[values(&test).len() - 1]], last);
    assert!((restored[0] - a[29]).abs() < 1e-4, "{restored:?} {}", a[29]);
}

#[test]
fn a_window_knows_the_rows_of_its_regression() {
    let mut csv = table(&["a"], &["a"]);
    (csv.steps, csv.horizon, csv.every_step) = (Some(4), 1.into(), true);
    csv.residual_on_linear = true;
    let refused = |csv: &Csv, expected: &str| {
        let problem = csv.validate_residuals().expect_err(expected).to_string();
        assert!(problem.contains(expected), "{problem}");
    };
    refused(&csv, "data.residual_on_last is not");
    (csv.residual_on_last, csv.differences) = (true, vec![1, 3]);
    refused(&csv, "data.context must be at least 3; it is 0");
    csv.context = 3;
    assert!(csv.validate_residuals().is_ok());
    (csv.every_step, csv.differences) = (false, vec![4]);
    refused(&csv, "data.steps must be above 4; it is 4");
}
