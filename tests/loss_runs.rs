//! Runs with each loss from the command line: training, evaluation, predictions in the units of the
//! data, coverage, exports; class weights, weights of targets and label smoothing.

mod common;

use std::fmt::Write;
use std::fs;

use common::place::{Workspace, assert_has};
use serde_json::Value;

/// A weekly level with a trend, a yearly cycle and gaps.
const LEVEL: &str = include_str!("tables/level.csv");

const EVAL: [&str; 5] = ["eval", "run", "--device", "cpu", "--json"];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Trains the recipe that `init` writes for the level with another loss, as TOML.
fn forecaster(loss: &str, more: &[&str]) -> Workspace {
    let place = Workspace::new();
    fs::write(place.path("level.csv"), LEVEL).unwrap();
    place.run(&["init", "level.csv"]).ok();
    let loss = format!("network.head.loss={loss}");
    let train = [
        "train",
        "level.toml",
        "--device",
        "cpu",
        "--out",
        "run",
        "--quiet",
        "--set",
        &loss,
    ];
    place.run(&[&train[..], more].concat()).ok();
    place
}

/// The columns after the first `position` ones of a prediction, and the values of each row.
fn predictions(place: &Workspace, file: &str, position: usize) -> (Vec<String>, Vec<Vec<f64>>) {
    let text = place.run(&["predict", "run", file, "--device", "cpu"]).ok();
    let mut lines = text.lines();
    let own =
        |line: &str| -> Vec<String> { line.split(',').skip(position).map(String::from).collect() };
    let headings = own(lines.next().unwrap());
    let numbers = |line: &str| own(line).iter().map(|cell| cell.parse().unwrap()).collect();
    (headings, lines.map(numbers).collect())
}

#[test]
fn quantiles_are_values_of_the_table_and_cover_it() {
    let place = forecaster("{quantile={levels=[0.1,0.5,0.9]}}", &[]);
    let (headings, rows) = predictions(&place, "level.csv", 2);
    assert_eq!(headings, ["level_q0.1", "level_q0.5", "level_q0.9"]);
    assert!(rows.len() > 200);
    for row in &rows {
        assert!(row[0] <= row[1] && row[1] <= row[2], "{row:?}");
        assert!(
            row.iter().all(|value| (290.0..330.0).contains(value)),
            "{row:?}"
        );
    }
    let evaluation = json(&place.run(&EVAL).ok());
    let interval = &evaluation["test_coverage"][0];
    assert_eq!(interval["name"], "interval 0.1 to 0.9");
    assert_eq!(interval["nominal"], 0.8);
    let share = interval["coverage"].as_f64().unwrap();
    assert!((0.6..0.95).contains(&share), "{evaluation}");
    // The baselines have the same loss.
    let model = evaluation["model"]["loss"].as_f64().unwrap();
    let last = evaluation["baselines"]["last value"]["loss"]
        .as_f64()
        .unwrap();
    assert!(model < last, "{evaluation}");
    let printed = place.run(&EVAL[..4]).ok();
    assert_has(
        &printed,
        &["NOMINAL", "quantile 0.5", "MEAN WIDTH, OWN UNITS"],
    );
    // The median goes on.
    let generate = ["generate", "run", "--steps", "5", "--device", "cpu"];
    let values = place.run(&generate).ok();
    let mut values = values.lines().map(|line| line.parse::<f64>().unwrap());
    assert!(values.all(|value| (300.0..335.0).contains(&value)));
    place.run(&["export", "run", "--to", "onnx"]).ok();
    // Lines of standard input have the same columns.
    let lines: String = LEVEL
        .lines()
        .take(40)
        .map(|line| format!("{line}\n"))
        .collect();
    let streamed = place.stream(&lines, &[]).ok();
    assert!(
        streamed.starts_with("row,level_q0.1,level_q0.5,level_q0.9\n"),
        "{streamed}"
    );
}

#[test]
fn normal_distributions_have_means_and_deviations_of_the_table() {
    let place = forecaster("gaussian-nll", &[]);
    let (headings, rows) = predictions(&place, "level.csv", 2);
    assert_eq!(headings, ["level_mean", "level_std"]);
    for row in &rows {
        assert!((290.0..330.0).contains(&row[0]), "{row:?}");
        // The changes from week to week have a deviation of less than 1.
        assert!(row[1] > 0.0 && row[1] < 3.0, "{row:?}");
    }
    let evaluation = json(&place.run(&EVAL).ok());
    let coverage = evaluation["test_coverage"].as_array().unwrap();
    assert_eq!(coverage.len(), 4);
    let share = coverage[1]["coverage"].as_f64().unwrap();
    assert!((0.6..=1.0).contains(&share), "{evaluation}");
    let message = place.run(&["export", "run", "--to", "onnx"]).fails(2);
    assert_has(
        &message,
        &[
            "normal distributions of differences",
            "data.residual_on_last",
        ],
    );
}

#[test]
fn absolute_and_huber_errors_are_trained_and_compared() {
    for loss in ["mean-absolute-error", "{huber={delta=0.5}}"] {
        let place = forecaster(loss, &["--epochs", "3"]);
        let (headings, rows) = predictions(&place, "level.csv", 2);
        assert_eq!(headings, ["level"]);
        assert!(rows.iter().all(|row| (290.0..330.0).contains(&row[0])));
        let evaluation = json(&place.run(&EVAL).ok());
        assert!(evaluation["baselines"]["last value"]["loss"].is_number());
        // The root of such a loss is no root mean squared error.
        assert!(evaluation["model"]["rmse"].is_null(), "{evaluation}");
    }
}

/// Sequences of 6 steps of two inputs; the labels say whether the sum of each is above 0.
fn labelled_table() -> String {
    let mut table = "id,x,y,up_x,up_y,weight\n".to_string();
    for id in 0..120 {
        let value = |t: usize, shift: f64| ((id * 7 + t * 3) as f64 * 0.37 + shift).sin();
        let sums = [0.0, 2.0].map(|shift| (0..6).map(|t| value(t, shift)).sum::<f64>());
        for t in 0..6 {
            let [x, y] = [0.0, 2.0].map(|shift| value(t, shift));
            // One label in eleven is missing.
            let up_x = match id % 11 {
                3 => String::new(),
                _ => u8::from(sums[0] > 0.0).to_string(),
            };
            let up_y = u8::from(sums[1] > 0.0);
            writeln!(table, "{id},{x:.4},{y:.4},{up_x},{up_y},{}", 1 + id % 3).unwrap();
        }
    }
    table
}

const LABELS: &str = "name = \"labels\"\nseed = 1\nepochs = 30\nbatch_size = 16\n\n[data]\n\
    kind = \"csv\"\npath = \"labels.csv\"\ninputs = [\"x\", \"y\"]\ntargets = [\"up_x\", \"up_y\"]\n\
    task = \"multi-label\"\ngroup = \"id\"\n\n[[network.layer]]\ncell = \"gru\"\nhidden_size = 12\nbias = \"double\"\n\n\
    [network.head]\nloss = \"binary-cross-entropy\"\n\n[optimizer]\nkind = \"adam\"\nlr = 0.02\n";

#[test]
fn several_labels_have_a_probability_each() {
    let place = Workspace::new();
    fs::write(place.path("labels.csv"), labelled_table()).unwrap();
    fs::write(place.path("labels.toml"), LABELS).unwrap();
    let train = [
        "train",
        "labels.toml",
        "--device",
        "cpu",
        "--out",
        "run",
        "--quiet",
    ];
    place
        .run(&[&train[..], &["--set", "data.weights=weight"]].concat())
        .ok();
    let (headings, rows) = predictions(&place, "labels.csv", 2);
    assert_eq!(headings, ["p_up_x", "p_up_y"]);
    assert_eq!(rows.len(), 120);
    assert!(rows.concat().iter().all(|p| (0.0..=1.0).contains(p)));
    let evaluation = json(&place.run(&EVAL).ok());
    let right = evaluation["test_label_accuracy"].as_f64().unwrap();
    assert!(right > 0.9, "{evaluation}");
    let model = evaluation["model"]["loss"].as_f64().unwrap();
    let mean = evaluation["baselines"]["mean"]["loss"].as_f64().unwrap();
    assert!(model < 0.5 * mean, "{evaluation}");
    for form in ["onnx", "pytorch", "keras"] {
        place.run(&["export", "run", "--to", form]).ok();
    }
    let program = fs::read_to_string(place.path("run/model_pytorch.py")).unwrap();
    assert_has(&program, &["their sigmoid is the probability"]);
    // Cells that are neither 0 nor 1 are refused with their place.
    let broken = labelled_table().replacen(",1,2\n", ",2,2\n", 1);
    fs::write(place.path("labels.csv"), broken).unwrap();
    let message = place.run(&train[..4]).fails(1);
    assert_has(
        &message,
        &["labels.csv: line ", "`up_y` has `2`", "it must hold 0 or 1"],
    );
}

/// Sequences of 5 steps of noise, of which one in ten is of the class `fraud` with a larger last
/// value.
fn imbalanced_table() -> String {
    let mut table = "id,x,kind\n".to_string();
    for id in 0..400 {
        let rare = id % 10 == 0;
        for t in 0..5 {
            let noise = ((id * 5 + t) as f64 * 12.9898).sin() * 43758.547;
            let noise = noise - noise.floor() - 0.5;
            let x = noise + if rare && t == 4 { 0.4 } else { 0.0 };
            let kind = if rare { "fraud" } else { "fair" };
            writeln!(table, "{id},{x:.4},{kind}").unwrap();
        }
    }
    table
}

const FRAUD: &str = "name = \"fraud\"\nseed = 1\nepochs = 15\nbatch_size = 20\n\n[data]\n\
    kind = \"csv\"\npath = \"fraud.csv\"\ninputs = [\"x\"]\ntargets = [\"kind\"]\n\
    task = \"classification\"\ngroup = \"id\"\nsplit_by = \"class\"\n\n[[network.layer]]\n\
    cell = \"gru\"\nhidden_size = 8\nbias = \"double\"\n\n[network.head]\nloss = \"cross-entropy\"\n\n[optimizer]\n\
    kind = \"adam\"\nlr = 0.02\n";

/// The recall of the class `fraud` on the test split, after training with these settings.
fn fraud_recall(place: &Workspace, settings: &[&str]) -> f64 {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let settings: Vec<&str> = settings.collect();
    let train = [
        "train",
        "fraud.toml",
        "--device",
        "cpu",
        "--out",
        "run",
        "--quiet",
    ];
    place.run(&[&train[..], &settings].concat()).ok();
    let evaluation = json(&place.run(&[&EVAL[..], &["--confusion"]].concat()).ok());
    assert_eq!(evaluation["classes"][1], "fraud");
    fs::remove_dir_all(place.path("run")).unwrap();
    evaluation["recall"][1].as_f64().unwrap()
}

#[test]
fn class_weights_find_a_rare_class() {
    let place = Workspace::new();
    fs::write(place.path("fraud.csv"), imbalanced_table()).unwrap();
    fs::write(place.path("fraud.toml"), FRAUD).unwrap();
    let plain = fraud_recall(&place, &[]);
    let balanced = fraud_recall(&place, &["network.head.class_weights=balanced"]);
    let given = fraud_recall(&place, &["network.head.class_weights={fraud=9}"]);
    assert!(balanced > plain + 0.2, "{plain} {balanced}");
    assert!(given > plain + 0.2, "{plain} {given}");
    // Smoothing changes the loss of training and not what is scored.
    fraud_recall(&place, &["network.head.label_smoothing=0.1"]);
    let train = ["train", "fraud.toml", "--device", "cpu", "--set"];
    for (setting, parts) in [
        (
            "network.head.class_weights={theft=2}",
            ["`theft`", "`fair` or `fraud`"],
        ),
        (
            "network.head.class_weights={fraud=-1}",
            ["class_weights.fraud", "at least 0"],
        ),
        (
            "network.head.class_weights=even",
            ["\"even\"", "\"balanced\""],
        ),
        (
            "network.head.label_smoothing=1.0",
            ["label_smoothing", "below 1"],
        ),
        ("network.head.loss=huber", ["huber", "delta"]),
        (
            "network.head.loss=gaussian-nll",
            ["classification", "cross-entropy"],
        ),
        ("data.weights=x", ["`x`", "at least 0"]),
    ] {
        let run = place.run(&[&train[..], &[setting]].concat());
        assert_ne!(run.code, Some(0), "{setting}");
        assert_has(&run.stderr, &parts);
    }
}

/// Twelve payments of each of 4000 cards, of which one in 64 has a fraud: two small payments that
/// test the card and then a large one, six of seven times at night. Fair cards have small and large
/// payments too, in any order.
fn card_payments() -> String {
    let mut state = 7u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let mut table = "card,amount,hour,kind\n".to_string();
    for card in 0..4000 {
        let is_fraud = card % 64 == 0;
        // About normal: the sum of twelve uniform values.
        let mut normal = |mean: f64, deviation: f64| {
            let sum: f64 = (0..12).map(|_| uniform()).sum();
            mean + deviation * (sum - 6.0)
        };
        let level = normal(3.2, 0.3);
        let mut payments: Vec<[f64; 2]> = (0..12)
            .map(|_| {
                let (kind, amount) = (normal(0.0, 1.0), normal(level, 0.6));
                let hour = 15.0 + 3.0 * normal(0.0, 1.0);
                let amount = match kind {
                    kind if kind < -1.4 => normal(0.7, 0.3),
                    kind if kind > 1.55 => normal(5.8, 0.4),
                    _ => amount,
                };
                [amount, hour]
            })
            .collect();
        if is_fraud {
            let at = 4 + (card / 64) % 5;
            payments[at][0] = normal(0.7, 0.3);
            payments[at + 1][0] = normal(0.7, 0.3);
            payments[at + 2][0] = normal(5.8, 0.4);
            if card % 448 != 0 {
                payments[at + 2][1] = normal(3.0, 1.0);
            }
        }
        let kind = if is_fraud { "fraud" } else { "fair" };
        for [amount, hour] in payments {
            writeln!(table, "{card},{amount:.3},{hour:.2},{kind}").unwrap();
        }
    }
    table
}

const CARDS: &str = "name = \"cards\"\nseed = 1\nepochs = 4\nbatch_size = 64\n\n[data]\n\
    kind = \"csv\"\npath = \"cards.csv\"\ninputs = [\"amount\", \"hour\"]\n\
    targets = [\"kind\"]\ntask = \"classification\"\ngroup = \"card\"\n\
    split_by = \"class\"\ntest_fraction = 0.3\nvalidation_fraction = 0.2\n\n\
    [[network.layer]]\ncell = \"gru\"\nhidden_size = 12\nbias = \"double\"\n\n\
    [network.head]\nloss = \"cross-entropy\"\n\n[optimizer]\nkind = \"adam\"\nlr = 0.005\n";

/// Macro F1 on the validation split, and on the test split, of a run with these settings.
fn macro_f1(place: &Workspace, settings: &[&str]) -> [f64; 2] {
    let train = [
        "train",
        "cards.toml",
        "--device",
        "cpu",
        "--out",
        "run",
        "--quiet",
    ];
    place.run(&[&train[..], settings].concat()).ok();
    let lines = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    fs::remove_dir_all(place.path("run")).unwrap();
    let lines: Vec<Value> = lines.lines().map(json).collect();
    let [.., epoch, test] = &lines[..] else {
        panic!("{lines:?}");
    };
    let of = |line: &Value, split: &str| line[split]["macro_f1"].as_f64().unwrap();
    [of(epoch, "validation_metrics"), of(test, "test_metrics")]
}

/// In a few epochs, a network without weights predicts the frequent class throughout, and one with
/// balanced weights finds the rare class: three seeds, chosen by the validation split and shown on
/// the test split.
#[test]
fn class_weights_raise_macro_f1_where_a_class_is_rare() {
    let place = Workspace::new();
    fs::write(place.path("cards.csv"), card_payments()).unwrap();
    fs::write(place.path("cards.toml"), CARDS).unwrap();
    for seed in ["1", "2", "3"] {
        let weights = "network.head.class_weights=balanced";
        let [plain, balanced] = [&[][..], &["--set", weights]]
            .map(|more| macro_f1(&place, &[&["--seed", seed], more].concat()));
        println!("seed {seed}: validation and test without {plain:.3?}, balanced {balanced:.3?}");
        assert!(
            balanced[0] > plain[0] + 0.2,
            "validation: {plain:?} {balanced:?}"
        );
        assert!(balanced[1] > plain[1] + 0.2, "test: {plain:?} {balanced:?}");
    }
}

#[test]
fn both_executors_train_alike_and_runs_resume_with_the_same_bits() {
    let place = Workspace::new();
    fs::write(place.path("fraud.csv"), imbalanced_table()).unwrap();
    let recipe = FRAUD.replace(
        "loss = \"cross-entropy\"",
        "loss = \"cross-entropy\"\nclass_weights = \"balanced\"\nlabel_smoothing = 0.1",
    );
    fs::write(place.path("fraud.toml"), recipe).unwrap();
    let train = |out: &str, more: &[&str]| {
        let train = [
            "train",
            "fraud.toml",
            "--out",
            out,
            "--quiet",
            "--hidden-size",
            "4",
        ];
        place.run(&[&train[..], more].concat()).ok();
    };
    let losses = |run: &str| -> Vec<f64> {
        let text = fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
        text.lines()
            .map(|line| json(line)["train_loss"].as_f64().unwrap())
            .collect()
    };
    train("cpu", &["--device", "cpu", "--epochs", "4"]);
    train("half", &["--device", "cpu", "--epochs", "2"]);
    place
        .run(&[
            "train", "--resume", "half", "--device", "cpu", "--epochs", "4", "--quiet",
        ])
        .ok();
    let model = |run: &str| fs::read(place.path(run).join("model.safetensors")).unwrap();
    assert!(model("cpu") == model("half"));
    if common::gpu().is_none() {
        return;
    }
    train("gpu", &["--device", "gpu", "--epochs", "2"]);
    for (cpu, gpu) in losses("cpu").iter().zip(losses("gpu")) {
        assert!((cpu - gpu).abs() < 1e-4, "{cpu} {gpu}");
    }
}
