//! Several steps ahead, and inputs that are known ahead.

use super::*;

#[test]
fn several_steps_ahead_are_one_target() {
    let mut csv = table(&["b", "a"], &["a", "b"]);
    (csv.steps, csv.horizon) = (Some(3), Horizon::range(1, 3));
    let data = csv.split(rows(8).as_bytes(), 0).expect("it is valid").train;
    assert_eq!((data.count, data.targets.outputs()), (3, 6));
    assert_eq!(values(&data)[..6], [3.0, 30.0, 4.0, 40.0, 5.0, 50.0]);
    assert_eq!(values(&data)[12..], [5.0, 50.0, 6.0, 60.0, 7.0, 70.0]);
    csv.every_step = true;
    let data = csv.split(rows(8).as_bytes(), 0).expect("it is valid").train;
    // The targets of the first step of the first window.
    assert_eq!(values(&data)[..6], [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    data.check().expect("it is valid");

    // The value of row 4 is missing where it is a target, at each step ahead.
    let missing = rows(8).replace("4,4,40", "4,,40");
    csv.every_step = false;
    csv.missing = Missing::Forward;
    let data = csv.split(missing.as_bytes(), 0).expect("it is valid").train;
    assert_eq!(values(&data)[..4], [3.0, 30.0, MISSING, 40.0]);
    assert_eq!(values(&data)[6..8], [MISSING, 40.0]);
}

#[test]
fn several_steps_ahead_are_differences_from_the_same_value() {
    let mut csv = table(&["a"], &["a"]);
    (csv.steps, csv.horizon) = (Some(2), Horizon::range(2, 3));
    (csv.residual_on_last, csv.normalise) = (true, true);
    let splits = csv.split(rows(12).as_bytes(), 0).expect("it is valid");
    let preparation = &splits.preparation;
    assert_eq!(preparation.residuals, [0, 0]);
    // Each step ahead has a mean of its own: the differences are 2 and 3.
    let means: Vec<f64> = preparation
        .targets
        .iter()
        .map(|normal| normal.mean)
        .collect();
    assert_eq!(means, [2.0, 3.0]);
    let data = &splits.train;
    let restored = preparation.restore(&values(data)[..2], data.input_rows(0, 1..2));
    assert!((restored[0] - 3.0).abs() < 1e-5 && (restored[1] - 4.0).abs() < 1e-5);

    // A linear regression predicts each step ahead exactly.
    csv.residual_on_linear = true;
    csv.differences = vec![1];
    let splits = csv.split(rows(12).as_bytes(), 0).expect("it is valid");
    assert_eq!(splits.preparation.linear.len(), 2 * 2);
    let (preparation, data) = (&splits.preparation, &splits.train);
    let restored = preparation.restore(&[0.0, 0.0], data.input_rows(0, 1..2));
    assert!((restored[0] - 3.0).abs() < 1e-5 && (restored[1] - 4.0).abs() < 1e-5);

    // Without differences, all steps are normalised like the input.
    (csv.residual_on_linear, csv.residual_on_last) = (false, false);
    let splits = csv.split(rows(12).as_bytes(), 0).expect("it is valid");
    let preparation = splits.preparation;
    assert_eq!(preparation.targets, [preparation.inputs[0]; 2]);
}

#[test]
fn several_steps_ahead_are_for_values_only() {
    let refused = |change: &dyn Fn(&mut Csv), expected: &str| {
        let mut csv = table(&["a"], &["b"]);
        csv.horizon = Horizon::range(1, 4);
        change(&mut csv);
        let message = csv.validate_horizon().expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    };
    refused(
        &|csv| csv.task = TableTask::Classification,
        "classes and labels are predicted at one",
    );
    refused(
        &|csv| csv.task = TableTask::MultiLabel,
        "classes and labels are predicted at one",
    );
    refused(
        &|csv| csv.weights = Some("w".into()),
        "data.weights has one weight",
    );
    refused(
        &|csv| csv.horizon = Horizon::range(0, 4),
        "FIRST at least 1",
    );
}

/// `date,v,holiday,store`: six rows of two stores, and two later rows of each that have the holiday
/// alone.
const SALES: &str = "date,v,holiday,store\n\
    2024-01-01,1,0,a\n2024-01-02,2,1,a\n2024-01-03,3,0,a\n2024-01-04,4,1,a\n\
    2024-01-05,,0,a\n2024-01-06,,1,a\n\
    2024-01-01,5,1,b\n2024-01-02,6,0,b\n2024-01-03,7,1,b\n2024-01-04,8,0,b\n\
    2024-01-05,,1,b\n2024-01-06,,0,b\n";

fn sales() -> Csv {
    let mut csv = table(&["v"], &["v"]);
    (csv.steps, csv.horizon) = (Some(2), Horizon::range(1, 2));
    (csv.time, csv.group) = (Some("date".into()), Some("store".into()));
    (csv.future, csv.categories) = (vec!["holiday".into()], vec!["store".into()]);
    csv
}

#[test]
fn future_columns_and_categories_are_inputs() {
    let csv = sales();
    let splits = csv.split(SALES.as_bytes(), 0).expect("it is valid");
    assert_eq!(splits.preparation.categories, [["a", "b"]]);
    assert_eq!(splits.preparation.known_ahead, 4);
    let data = &splits.train;
    // The value, the holiday one and two rows ahead, and the stores.
    assert_eq!((data.count, data.features), (2, 5));
    assert_eq!(floats(data)[..5], [1.0, 1.0, 0.0, 1.0, 0.0]);
    assert_eq!(floats(data)[5..10], [2.0, 0.0, 1.0, 1.0, 0.0]);
    assert_eq!(floats(data)[10..15], [5.0, 0.0, 1.0, 0.0, 1.0]);
    assert_eq!(values(data), [3.0, 4.0, 7.0, 8.0]);

    // The last window of each store reads the holidays of the later rows.
    let known = &splits.preparation;
    let rows = csv
        .parse_inputs(SALES.as_bytes(), &csv.path)
        .expect("it is valid");
    let prepared = csv
        .prepare_inputs(rows, &csv.path, known)
        .expect("it is valid");
    let found = csv
        .window_inputs(&prepared.series, &csv.path, known, prepared.notes)
        .expect("it is valid");
    assert_eq!(found.data.count, 6);
    assert_eq!(floats(&found.data)[25..30], [4.0, 0.0, 1.0, 1.0, 0.0]);
    let times = found
        .windows
        .expect("there are some")
        .times
        .expect("there are some");
    assert_eq!(
        (times.text(2, 4), times.text(2, 5)),
        ("2024-01-05".into(), "2024-01-06".into())
    );
}

#[test]
fn missing_future_rows_are_named() {
    let csv = sales();
    let splits = csv.split(SALES.as_bytes(), 0).expect("it is valid");
    let known = &splits.preparation;
    let shorter = SALES
        .replace("2024-01-06,,1,a\n", "")
        .replace(",b\n", ",c\n");
    let rows = csv
        .parse_inputs(shorter.as_bytes(), &csv.path)
        .expect("it is valid");
    let prepared = csv
        .prepare_inputs(rows, &csv.path, known)
        .expect("it is valid");
    // Store c is not one of those that were learnt.
    let note = prepared.notes.last().expect("there is one");
    assert!(
        note.contains("4 rows have a category of `store`") && note.contains("(c)"),
        "{note}"
    );
    let found = csv
        .window_inputs(&prepared.series, &csv.path, known, vec![])
        .expect("it is valid");
    assert_eq!(found.data.count, 5);
    assert_eq!(floats(&found.data)[20..25], [5.0, 0.0, 1.0, 0.0, 0.0]);
    let note = &found.notes[0];
    assert!(
        note.contains("the last 1 windows") && note.contains("(holiday)"),
        "{note}"
    );
    let end = csv.end_of(prepared, &csv.path, Some("a"));
    let message = end.expect_err("a row is missing").to_string();
    assert!(
        message.contains("the columns holiday of data.future"),
        "{message}"
    );
    assert!(
        message.contains("known up to 1 rows after them"),
        "{message}"
    );
}

#[test]
fn the_calendar_of_later_rows_is_an_input() {
    let mut csv = sales();
    (csv.future, csv.categories) = (vec![], vec![]);
    csv.future_calendar = vec![CalendarCycle::Weekday];
    let text = SALES.lines().filter(|line| !line.contains(",,"));
    let text = text.map(|line| format!("{line}\n")).collect::<String>();
    let splits = csv.split(text.as_bytes(), 0).expect("it is valid");
    let data = &splits.train;
    assert_eq!(data.features, 5);
    let angle = |day: usize| (day as f64 * std::f64::consts::TAU / 7.0) as f32;
    // 2024-01-01 is a Monday.
    let expected = [
        1.0,
        angle(1).sin(),
        angle(1).cos(),
        angle(2).sin(),
        angle(2).cos(),
    ];
    for (value, expected) in floats(data)[..5].iter().zip(expected) {
        assert!((value - expected).abs() < 1e-6, "{value} {expected}");
    }
    // Rows at regular times have later times.
    let known = &splits.preparation;
    let rows = csv
        .parse_inputs(text.as_bytes(), &csv.path)
        .expect("it is valid");
    let prepared = csv
        .prepare_inputs(rows, &csv.path, known)
        .expect("it is valid");
    let found = csv.window_inputs(&prepared.series, &csv.path, known, vec![]);
    assert_eq!(found.expect("it is valid").data.count, 6);
}

#[test]
fn known_inputs_are_checked() {
    let refused = |change: &dyn Fn(&mut Csv), expected: &str| {
        let mut csv = sales();
        change(&mut csv);
        let message = csv.validate_known().expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    };
    refused(&|csv| csv.horizon = 0.into(), "data.horizon is 0");
    refused(&|csv| csv.future = vec!["v".into()], "which is a target");
    refused(
        &|csv| csv.categories = vec!["s".into(); 2],
        "names the column `s` twice",
    );
    refused(
        &|csv| {
            csv.time = None;
            csv.future_calendar = vec![CalendarCycle::Hour];
        },
        "data.time is not",
    );
    let csv = sales();
    let empty = SALES.replace("2024-01-02,2,1,a", "2024-01-02,2,1,");
    let mut csv_without = csv.clone();
    csv_without.group = None;
    let error = csv_without.parse_inputs(empty.as_bytes(), &csv.path);
    let message = error.expect_err("a category is missing").to_string();
    assert!(message.contains("each row needs a category"), "{message}");
    let missing = SALES.replace("2024-01-02,2,1,a", "2024-01-02,2,,a");
    let message = csv
        .split(missing.as_bytes(), 0)
        .expect_err("it is missing")
        .to_string();
    assert!(
        message.contains("line 3: the column `holiday` has no value"),
        "{message}"
    );
}
