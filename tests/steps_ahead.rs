//! Forecasts of several steps ahead on the command line: intervals, inputs that are known ahead,
//! categories, and backtests.

mod common;

use std::fs;

use common::place::{Workspace, assert_has};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Writes two stores of `rows` days each: the sales follow a holiday of the same day and, in the
/// second store only, a week. `later` rows more have the holiday alone.
fn write_sales(place: &Workspace, rows: usize, later: usize) {
    let mut text = String::from("date,store,sales,holiday\n");
    for (store, offset) in [("north", 0.0), ("south", 30.0)] {
        for day in 0..rows + later {
            // Pseudo-random days and noise.
            let hash = (day as u64 + 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            let holiday = u64::from(hash.is_multiple_of(3));
            let noise = (hash % 100) as f64 / 25.0;
            let week = if offset > 0.0 { (day % 7) as f64 } else { 0.0 };
            let sales = 100.0 + offset + 20.0 * holiday as f64 + 3.0 * week + noise;
            let (month, day_of) = (1 + day / 28 % 12, 1 + day % 28);
            let date = format!("{}-{month:02}-{day_of:02}", 2020 + day / 336);
            let sales = if day < rows {
                format!("{sales:.3}")
            } else {
                String::new()
            };
            text += &format!("{date},{store},{sales},{holiday}\n");
        }
    }
    fs::write(place.path("sales.csv"), text).unwrap();
}

const RECIPE: &str = r#"
name = "sales"
seed = 1
epochs = 12
batch_size = 32
keep_best = true
conformal = true

[data]
kind = "csv"
path = "sales.csv"
inputs = ["sales"]
targets = ["sales"]
time = "date"
group = "store"
steps = 10
horizon = [1, 3]
every_step = false
future = ["holiday"]
categories = ["store"]
residual_on_last = true
validation_fraction = 0.25

[[network.layer]]
cell = "lstm"
hidden_size = 12

[network.head]
loss = { quantile = { levels = [0.1, 0.5, 0.9] } }

[optimizer]
kind = "adam"
lr = 0.02
"#;

/// Returns a directory with a table and a model trained on it.
fn forecaster() -> Workspace {
    let place = Workspace::new();
    write_sales(&place, 220, 3);
    fs::write(place.path("sales.toml"), RECIPE).unwrap();
    let trained = place.run(&[
        "train",
        "sales.toml",
        "--device",
        "cpu",
        "--out",
        "run",
        "--quiet",
    ]);
    assert_has(
        &trained.ok(),
        &[
            "last value",
            "intervals are adjusted to the validation split (conformal",
        ],
    );
    place
}

#[test]
fn several_steps_ahead_are_evaluated_predicted_and_continued() {
    let place = forecaster();
    let found = json(
        &place
            .run(&["eval", "run", "--device", "cpu", "--json"])
            .ok(),
    );
    let ahead = found["metrics"]["targets"][0]["ahead"].as_array().unwrap();
    assert_eq!(ahead.len(), 3);
    assert_eq!(ahead[2]["ahead"], 3);
    assert!(ahead[0]["mase"].is_number(), "{found}");
    assert_eq!(found["intervals_adjusted"], true);
    let last = &found["baselines"]["last value"]["targets"];
    // The holiday of the day is known, so the model beats the last value at each step.
    for step in 0..3 {
        let (own, last) = (ahead[step]["rmse"].as_f64(), last[step]["rmse"].as_f64());
        assert!(own < last, "{own:?} {last:?}");
    }
    let text = place.run(&["eval", "run", "--device", "cpu"]).ok();
    assert_has(
        &text,
        &[
            "1 AHEAD",
            "3 AHEAD",
            "sales, 2 ahead",
            "adjusted to the validation split",
        ],
    );

    let predicted = place
        .run(&["predict", "run", "sales.csv", "--device", "cpu"])
        .ok();
    let lines: Vec<&str> = predicted.lines().collect();
    assert_eq!(
        lines[0],
        "store,row,ahead,date,sales_q0.1,sales_q0.5,sales_q0.9"
    );
    // 211 windows of 10 of 220 rows in each store, and three steps ahead of each.
    assert_eq!(lines.len(), 1 + 2 * 211 * 3);
    assert!(
        lines[1].starts_with("north,11,1,2020-01-11,"),
        "{}",
        lines[1]
    );
    let last = lines.last().unwrap();
    assert!(last.starts_with("south,223,3,"), "{last}");

    let arguments = [
        "generate", "run", "--device", "cpu", "--group", "south", "--json",
    ];
    let continued = json(&place.run(&arguments).ok());
    let values = continued["values"].as_array().unwrap();
    assert_eq!(values.len(), 3);
    let own: Vec<f64> = last
        .split(',')
        .skip(4)
        .map(|cell| cell.parse().unwrap())
        .collect();
    assert!(
        (values[2].as_f64().unwrap() - own[1]).abs() < 1e-3,
        "{continued} {last}"
    );
    let ends = &continued["band"]["ends"][2];
    assert!(
        (ends[0].as_f64().unwrap() - own[0]).abs() < 1e-3,
        "{continued} {last}"
    );
    let drawn = place.run(&["generate", "run", "--device", "cpu", "-o", "plot.svg"]);
    drawn.ok();
    let plot = fs::read_to_string(place.path("plot.svg")).unwrap();
    assert_has(&plot, &["80 % interval", "class=\"band c1\""]);
    let report = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert_has(
        &report,
        &[
            "Errors by the steps ahead",
            "steps ahead",
            "class=\"band c1\"",
        ],
    );

    let refused = place.run(&["generate", "run", "--device", "cpu", "--steps", "4"]);
    assert_has(
        &refused.fails(1),
        &["predicts 3 at once", "data.categories"],
    );
    let lines = place.run(&["predict", "run", "-", "--device", "cpu"]);
    assert_has(&lines.fails(1), &["predict from a file"]);
}

/// Trains `sales.toml` into `out` with further arguments.
fn train(place: &Workspace, out: &str, more: &[&str]) -> common::place::Run {
    let few = ["train", "sales.toml", "--device", "cpu", "--out", out];
    let epochs = ["--epochs", "1", "--set", "conformal=false"];
    place.run(&[&few[..], &epochs, more].concat())
}

/// Returns standard error of a command that succeeds.
fn told(run: common::place::Run) -> String {
    let text = run.stderr.clone();
    run.ok();
    text
}

#[test]
fn categories_are_embedded_or_one_hot() {
    let place = Workspace::new();
    write_sales(&place, 80, 0);
    fs::write(place.path("sales.toml"), RECIPE).unwrap();
    let text = told(train(&place, "embedded", &[]));
    assert_has(&text, &["names   2 of store as vectors of 1, learnt"]);
    let one_hot = ["--set", "network.category_encoding=one-hot"];
    let text = told(train(&place, "one-hot", &one_hot));
    assert_has(&text, &["names   2 of store, one-hot"]);
    let sized = ["--set", "network.category_sizes.store=3"];
    let text = told(train(&place, "sized", &sized));
    assert_has(&text, &["names   2 of store as vectors of 3, learnt"]);
    for (arguments, expected) in [
        (
            &["--set", "network.category_sizes.stor=3"][..],
            "category_sizes has the column `stor` (did you mean `store`?)",
        ),
        (
            &["--set", "network.category_sizes.store=0"],
            "network.category_sizes.store is 0; it must be at least 1 and at most 1024",
        ),
        (
            &[&sized[..], &one_hot].concat(),
            "\"one-hot\", which has no vectors",
        ),
        (
            &["--set", "network.category_encoding=hot"],
            "unknown value `hot`; expected `embedding` or `one-hot`",
        ),
        (
            &[&one_hot[..], &["--set", "data.categories=[]"]].concat(),
            "the data have no categories",
        ),
    ] {
        let error = train(&place, "refused", arguments).fails(2);
        assert_has(&error, &[expected]);
    }
    // A run that is resumed has the tables of its recipe.
    let resumed = place.run(&["train", "--resume", "sized", "--epochs", "2"]);
    assert_has(&told(resumed), &["as vectors of 3"]);
}

#[test]
fn vectors_of_categories_are_found_by_name_in_fine_tuning() {
    let place = Workspace::new();
    write_sales(&place, 80, 0);
    fs::write(place.path("sales.toml"), RECIPE).unwrap();
    train(&place, "first", &[]).ok();
    // A third store, before the others in the order of names.
    let text = fs::read_to_string(place.path("sales.csv")).unwrap();
    let more = text.lines().filter(|line| line.contains("north"));
    let more: Vec<String> = more.map(|line| line.replace("north", "east")).collect();
    fs::write(place.path("sales.csv"), text + &more.join("\n") + "\n").unwrap();

    let from = ["--from", "first"];
    let error = train(&place, "second", &from).fails(2);
    assert_has(
        &error,
        &[
            "the network of the recipe has vectors of these sizes: store 3",
            "the model's has vectors of these sizes: store 1",
            "network.category_sizes",
        ],
    );
    let sized = ["--set", "network.category_sizes.store=1"];
    let text = told(train(&place, "second", &[&from[..], &sized].concat()));
    assert_has(
        &text,
        &[
            "inputs and targets are normalized by the model's",
            "2 of the 3 categories of `store` have the model's vectors",
            "those of the others are new: east",
        ],
    );
    let one_hot = ["--set", "network.category_encoding=one-hot"];
    let error = train(&place, "third", &[&from[..], &one_hot].concat()).fails(2);
    assert_has(&error, &["has no vectors"]);
    let none = ["--set", "data.categories=[]"];
    let error = train(&place, "third", &[&from[..], &none].concat()).fails(2);
    assert_has(
        &error,
        &["data.categories of the recipe names no column, and of the model names store"],
    );
    // The first model does not know the store.
    let predicted = place.run(&["predict", "first", "sales.csv", "--device", "cpu"]);
    assert_has(&told(predicted), &["the training split lacks (east)"]);
}

#[test]
fn a_backtest_judges_each_fold() {
    let place = forecaster();
    let arguments = [
        "backtest", "run", "--device", "cpu", "--folds", "2", "--json",
    ];
    let found = json(&place.run(&arguments).ok());
    let folds = found["folds"].as_array().unwrap();
    assert_eq!((folds.len(), found["refit"] == false), (2, true));
    // The test split has 44 rows of each store; windows begin with rows before it.
    assert_eq!(folds[0]["windows"], 2 * 20);
    assert!(folds[0]["to"].as_str() < folds[1]["to"].as_str(), "{found}");
    let rmse = &folds[1]["targets"][0]["rmse"];
    assert!(
        rmse["this model"].as_f64() < rmse["last value"].as_f64(),
        "{found}"
    );
    assert!(
        found["all"][0]["rmse"]["linear regression"].is_number(),
        "{found}"
    );

    let arguments = [
        "backtest",
        "sales.toml",
        "--device",
        "cpu",
        "--folds",
        "2",
        "--refit",
    ];
    let changed = [&arguments[..], &["--set", "epochs=1"]].concat();
    let text = place.run(&changed).ok();
    assert_has(
        &text,
        &[
            "RMSE OF THIS MODEL",
            "LAST VALUE",
            "COVERAGE OF 80 %",
            "all",
        ],
    );
    let refused = place.run(&["backtest", "mnist", "--device", "cpu"]);
    assert_has(&refused.fails(2), &["a backtest needs a table or a series"]);
}
