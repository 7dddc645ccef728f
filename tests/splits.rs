//! Training, validation and test splits: what chooses the model, and when test data are scored.

mod common;

use std::fs;

use common::place::{Workspace, assert_has};
use serde_json::Value;

fn objects(lines: &str) -> Vec<Value> {
    let object = |line: &str| serde_json::from_str(line).expect("it is JSON");
    lines.lines().map(object).collect()
}

fn evaluated(place: &Workspace, run: &str, more: &[&str]) -> Value {
    let flags = ["eval", run, "--device", "cpu", "--json"];
    let text = place.run(&[&flags[..], more].concat()).ok();
    serde_json::from_str(&text).expect("it is JSON")
}

fn near(found: &Value, expected: &Value) {
    let [a, b] = [found, expected].map(|value| value.as_f64().expect("it is a number"));
    assert!((a - b).abs() < 1e-6, "{a} and {b}");
}

#[test]
fn a_validation_split_chooses_and_the_test_split_is_scored_once() {
    let place = Workspace::new();
    let chosen = [
        "--set",
        "data.validation_size=40",
        "--set",
        "keep_best=true",
        "--out",
        "run",
    ];
    let run = place.train(&[&chosen[..], &["--epochs", "3", "--json"]].concat());
    assert_has(
        &run.stderr,
        &[
            "160 training, 40 validation and 50 test sequences",
            "chosen by the validation split",
        ],
    );
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    let lines = objects(&run.ok());
    assert_eq!(lines.len(), 4);
    for epoch in &lines[..3] {
        assert!(epoch["test_loss"].is_null() && epoch.get("test_metrics").is_none());
        assert!(epoch["validation_loss"].is_number());
        assert!(epoch["validation_metrics"]["macro_f1"].is_number());
    }
    let last = &lines[3];
    assert_eq!(last["split"], "test");
    let best = (lines[..3].iter())
        .min_by(|a, b| {
            let [a, b] = [a, b].map(|epoch| epoch["validation_loss"].as_f64().expect("a loss"));
            a.total_cmp(&b)
        })
        .expect("there are epochs");
    assert_eq!(last["epoch"], best["epoch"]);
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).expect("it is there");
    assert_eq!(objects(&metrics)[3], *last);

    // The saved model has these scores.
    let tested = evaluated(&place, "run", &[]);
    near(&tested["test_loss"], &last["test_loss"]);
    assert_eq!(tested["split"], "test");
    near(
        &tested["metrics"]["f1"]["macro"],
        &last["test_metrics"]["macro_f1"],
    );
    let validated = evaluated(&place, "run", &["--split", "validation"]);
    assert_eq!(validated["sequences"], 40);
    near(&validated["validation_loss"], &best["validation_loss"]);
    assert_eq!(
        evaluated(&place, "run", &["--split", "train"])["sequences"],
        160
    );

    // A longer run scores its own end.
    let resumed = [
        "train", "--resume", "run", "--device", "cpu", "--epochs", "4",
    ];
    place.run(&resumed).ok();
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).expect("it is there");
    let lines = objects(&metrics);
    assert_eq!(lines.len(), 5);
    assert!(lines[3]["validation_loss"].is_number(), "{metrics}");
    assert_eq!(lines[4]["split"], "test");
    let html = fs::read_to_string(place.path("run/report.html")).expect("it is there");
    assert_has(
        &html,
        &[
            "chose by the validation split",
            "test macro F1",
            "<h2>Metrics</h2>",
        ],
    );

    // Twice the same run is the same, whether it was interrupted or not.
    let again = [&chosen[..5], &["again", "--epochs", "4"]].concat();
    place.train(&again).ok();
    let bytes = |run: &str| fs::read(place.path(run).join("model.safetensors")).expect("a model");
    assert!(bytes("run") == bytes("again"));
}

#[test]
fn a_run_that_test_data_choose_says_so() {
    let place = Workspace::new();
    let warning = "would choose by the test split";
    for flag in [
        "keep_best=true",
        "patience=2",
        "schedule={kind=\"plateau\"}",
    ] {
        let run = place.train(&["--epochs", "1", "--set", flag]);
        assert_has(&run.stderr, &[warning, "set data.validation_fraction"]);
        assert_has(&run.ok(), &["chosen by the test split itself"]);
    }
    let run = place.train(&["--epochs", "1"]);
    assert!(!run.stderr.contains("choose by"), "{}", run.stderr);
    assert!(!run.ok().contains("chosen by"));
    let both = [
        "--set",
        "data.validation_size=5",
        "--set",
        "data.validation_fraction=0.5",
    ];
    assert_has(&place.train(&both).fails(2), &["are both set"]);
    let all = ["--set", "data.validation_size=200"];
    assert_has(
        &place.train(&all).fails(1),
        &["data.validation_size = 200 of 200 training images leaves none to train on"],
    );
}

#[test]
fn a_text_has_a_validation_split() {
    let place = Workspace::new();
    let text = "the quick brown fox jumps over a lazy dog.\n".repeat(60);
    fs::write(place.path("text.txt"), text).expect("it is writable");
    let flags = [
        "train",
        "text",
        "--device",
        "cpu",
        "--data",
        "text.txt",
        "--layers",
        "1",
        "--hidden-size",
        "8",
        "--batch-size",
        "4",
        "--epochs",
        "1",
        "--set",
        "bptt_steps=20",
        "--set",
        "data.validation_fraction=0.1",
        "--out",
        "run",
        "--json",
    ];
    let run = place.run(&flags);
    assert_has(&run.stderr, &["to validate on in 4"]);
    let lines = objects(&run.ok());
    let metrics = &lines[0]["validation_metrics"];
    let loss = lines[0]["validation_loss"].as_f64().expect("a loss");
    near(&metrics["perplexity"], &loss.exp().into());
    near(&metrics["bits"], &(loss / 2f64.ln()).into());
    let tested = evaluated(&place, "run", &[]);
    near(&tested["metrics"]["bits"], &lines[1]["test_bits"]);
    let html = fs::read_to_string(place.path("run/report.html")).expect("it is there");
    assert_has(
        &html,
        &["<blockquote>", "wrong predictions of the next token"],
    );
}

#[test]
fn a_generated_series_has_a_validation_split() {
    let place = Workspace::new();
    let flags = [
        "train",
        "series",
        "--device",
        "cpu",
        "--hidden-size",
        "4",
        "--epochs",
        "1",
        "--set",
        "data.windows=400",
        "--set",
        "data.validation_fraction=0.05",
        "--out",
        "run",
        "--json",
    ];
    let lines = objects(&place.run(&flags).ok());
    assert!(
        lines[0]["validation_metrics"]["rmse"].is_number(),
        "{lines:?}"
    );
    assert_eq!(
        evaluated(&place, "run", &["--split", "validation"])["sequences"],
        20
    );
}

#[test]
fn init_writes_a_validation_split_for_every_kind() {
    let place = Workspace::new();
    let wave = |n: u32| (f64::from(n) * 0.3).sin();
    let mut table = "x,y,label\n".to_string();
    for n in 0..600 {
        let label = if n / 50 % 2 == 0 { "on" } else { "off" };
        table += &format!("{},{},{label}\n", wave(n), wave(n + 7));
    }
    fs::write(place.path("labelled.csv"), &table).expect("it is writable");
    let series: Vec<String> = (0..400).map(|n| wave(n).to_string()).collect();
    fs::write(place.path("series.txt"), series.join("\n")).expect("it is writable");
    for (data, flags) in [
        ("labelled.csv", &["--target", "label"][..]),
        ("labelled.csv", &["--target", "y", "--horizon", "1"]),
        ("series.txt", &[]),
        ("data", &[]),
    ] {
        let run = place.run(&[&["init", data, "-o", "r.toml", "--force"], flags].concat());
        run.ok();
        let recipe = fs::read_to_string(place.path("r.toml")).expect("it is there");
        assert_has(
            &recipe,
            &["validation_fraction = ", "patience = ", "keep_best = true"],
        );
    }
}
