//! Several heads that forecast several steps ahead, and one that predicts lists of labels.

use std::fs;

use gatescan::recipe::DataRecipe;
use gatescan::{Loss, Model, Recipe};
use ndarray::{Array1, Array2, Array3};
use ndarray_npy::write_npy;
use serde_json::Value;

use super::common::place::{Workspace, assert_has};
use super::{json, metrics, place};

/// A forecast of two columns three rows ahead: quantiles of one, normal distributions of both.
const FORECAST: &str = r#"
name = "ahead"
seed = 5
epochs = 6
batch_size = 32
conformal = true

[data]
kind = "csv"
path = "plant.csv"
inputs = ["a", "b"]
steps = 8
horizon = [1, 3]
validation_fraction = 0.25

[[network.layer]]
cell = "gru"
hidden_size = 8
bias = "double"

[[network.heads]]
name = "band"
targets = ["b"]
loss = { quantile = { levels = [0.1, 0.5, 0.9] } }

[[network.heads]]
name = "both"
targets = ["a", "b"]
loss = "gaussian-nll"
weight = 0.2

[optimizer]
kind = "adam"
lr = 0.01
"#;

#[test]
fn heads_forecast_several_steps_with_adjusted_intervals() {
    let place = place();
    fs::write(place.path("ahead.toml"), FORECAST).unwrap();
    let train = ["train", "ahead.toml", "--device", "cpu", "--out", "run"];
    let printed = place.run(&train).ok();
    let note = "intervals are adjusted to the validation split (conformal, ";
    let notes = ["band", "both"].map(|head| format!("head {head}: {note}"));
    assert_has(&printed, &notes.each_ref().map(String::as_str));
    let text = place
        .run(&["predict", "run", "plant.csv", "--device", "cpu"])
        .ok();
    let headings: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    assert_eq!(
        headings[..4],
        ["row", "ahead", "band.b_q0.1", "band.b_q0.5"]
    );
    assert_eq!(headings.len(), 2 + 3 + 4, "{headings:?}");
    // 393 windows of 8 rows, at each of 3 rows ahead.
    assert_eq!(text.lines().count(), 1 + 393 * 3);
    let alone = place
        .run(&[
            "predict",
            "run",
            "plant.csv",
            "--device",
            "cpu",
            "--head",
            "both",
        ])
        .ok();
    let columns =
        |line: &str, from: usize| line.split(',').skip(from).collect::<Vec<_>>().join(",");
    for (all, own) in text.lines().zip(alone.lines()).skip(1) {
        assert_eq!(columns(all, 5), columns(own, 2));
    }
    // The adjustment covers its share of the split that it was made by.
    let evaluation = [
        "eval",
        "run",
        "--device",
        "cpu",
        "--json",
        "--split",
        "validation",
    ];
    let evaluation = json(&place.run(&evaluation).ok());
    for (head, interval) in [
        ("band", "interval 0.1 to 0.9"),
        ("both", "interval of 80 %"),
    ] {
        let own = &evaluation["heads"][head];
        let coverage = own["validation_coverage"].as_array().unwrap();
        let of = coverage.iter().find(|each| each["name"] == interval);
        let share = of.unwrap()["coverage"].as_f64().unwrap();
        assert!((0.8..0.9).contains(&share), "{head}: {coverage:?}");
        let targets = own["metrics"]["targets"].as_array().unwrap();
        assert_eq!(targets.len(), if head == "both" { 2 } else { 1 });
        assert_eq!(targets[0]["ahead"].as_array().unwrap().len(), 3);
    }
    // The end of the table is continued by one head, with its band.
    let generate = [
        "generate", "run", "--device", "cpu", "--json", "--head", "band",
    ];
    let continued = json(&place.run(&generate).ok());
    assert_eq!(continued["values"].as_array().unwrap().len(), 3);
    assert_eq!(continued["band"]["ends"].as_array().unwrap().len(), 3);
    let last = text.lines().skip(1 + 392 * 3).map(|line| columns(line, 3));
    for (value, line) in continued["values"].as_array().unwrap().iter().zip(last) {
        let median: f64 = line.split(',').next().unwrap().parse().unwrap();
        assert!((value.as_f64().unwrap() - median).abs() < 1e-5, "{line}");
    }
    let backtest = ["backtest", "run", "--device", "cpu", "--folds", "2"];
    let judged = json(&place.run(&[&backtest[..], &["--json"]].concat()).ok());
    for head in ["band", "both"] {
        let own = &judged["heads"][head];
        assert_eq!(own["folds"].as_array().unwrap().len(), 2, "{judged}");
        let errors = &own["all"][0]["rmse"];
        assert!(errors["this model"].as_f64().unwrap() > 0.0, "{judged}");
        assert!(errors["last value"].is_number(), "{judged}");
        assert!(own["folds"][1]["coverage"][0]["coverage"].is_number());
    }
    let printed = place.run(&backtest).ok();
    assert_has(&printed, &["head band", "head both", "COVERAGE OF 80 %"]);
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert_eq!(page.matches("Errors by the steps ahead").count(), 2);
    assert_has(&page, &["80 % interval", "intervals are adjusted"]);
    let class = "network.heads.0.loss=cross-entropy";
    let refused = [&train[..5], &["run2", "--set", class]].concat();
    assert_has(
        &place.run(&refused).fails(2),
        &["head `band`", "data.horizon is [1, 3]", "predict values"],
    );
}

#[test]
fn heads_predict_differences_from_the_last_values() {
    let place = place();
    let path = place.path("plant.csv");
    let text = FORECAST.replace("plant.csv", path.to_str().unwrap());
    let keys = "residual_on_last = true\nresidual_on_linear = true\n";
    let text = text.replace("[[network.layer]]", &format!("{keys}\n[[network.layer]]"));
    let recipe = |text: &str| {
        fs::write(place.path("own.toml"), text).unwrap();
        Recipe::load(place.path("own.toml").to_str().unwrap()).unwrap()
    };
    // The preparation of each head is that of a recipe with this head alone.
    let several = recipe(&text).load_splits(None).unwrap().preparation;
    for (index, targets) in [&["b"][..], &["a", "b"]].into_iter().enumerate() {
        let mut alone = recipe(&text);
        alone.network.heads = vec![];
        alone.network.head.loss = Loss::MeanSquaredError;
        let DataRecipe::Csv(csv) = &mut alone.data else {
            panic!("it is a table")
        };
        csv.targets = targets.iter().map(ToString::to_string).collect();
        let alone = alone.load_splits(None).unwrap().preparation;
        assert_eq!(several.of_head(index), alone, "{targets:?}");
        assert_eq!(alone.residuals.len(), 3 * targets.len());
        assert!(!alone.linear.is_empty());
    }
    // The differences of all columns are inputs of every head.
    fs::write(place.path("ahead.toml"), &text).unwrap();
    let train = [
        "train",
        "ahead.toml",
        "--device",
        "cpu",
        "--quiet",
        "--out",
        "run",
    ];
    let differences = ["--set", "data.differences=[1, 2]"];
    place.run(&[&train[..], &differences].concat()).ok();
    let model = Model::load(&place.path("run/model.safetensors")).unwrap();
    assert_eq!(
        (
            model.network.input_size,
            model.preparation.differences.len()
        ),
        (6, 4)
    );
    let eval = ["eval", "run", "--device", "cpu", "--json"];
    let evaluation = json(&place.run(&eval).ok());
    for head in ["band", "both"] {
        let own = &evaluation["heads"][head];
        let target = &own["metrics"]["targets"][0]["all"];
        assert!(target["r2"].as_f64().unwrap() > 0.5, "{own}");
    }
    let predict = ["predict", "run", "plant.csv", "--device", "cpu"];
    assert_eq!(place.run(&predict).ok().lines().count(), 1 + 393 * 3);
    let export = ["export", "run", "--to"];
    for (form, part) in [
        ("onnx", "normal distributions"),
        ("keras", "normal distributions"),
    ] {
        let refused = place.run(&[&export[..], &[form]].concat()).fails(2);
        assert_has(&refused, &[part]);
    }
    let _ = fs::remove_dir_all(place.path("run"));
    let values = ["--set", "network.heads.1.loss=mean-squared-error"];
    place
        .run(&[&train[..], &differences, &values].concat())
        .ok();
    place.run(&[&export[..], &["onnx"]].concat()).ok();
    place.run(&[&export[..], &["pytorch"]].concat()).ok();
    let program = fs::read_to_string(place.path("run/model_pytorch.py")).unwrap();
    assert_has(
        &program,
        &["+ last_values0", "+ last_values1", "x @ self.linear1.T"],
    );
    let refused = place.run(&[&export[..], &["keras"]].concat()).fails(2);
    assert_has(&refused, &["several heads", "ONNX"]);
}

/// Heads for the pulses of a signal, in order, and for what it begins with.
const LISTS: &str = r#"
name = "pulses"
seed = 5
epochs = 40
batch_size = 20

[data]
kind = "npy"
path = "."
inputs = "x"
lengths = "steps"
validation_fraction = 0.2

[[network.layer]]
cell = "gru"
hidden_size = 12
bias = "double"

[network.head]
reads = "mean"

[[network.heads]]
name = "pulses"
targets = ["pulses"]
loss = "ctc"
weight = 0.5

[[network.heads]]
name = "first"
targets = ["first"]
loss = "cross-entropy"

[optimizer]
kind = "adam"
lr = 0.03
"#;

/// Arrays of 200 ragged signals with 1 to 3 pulses of two kinds, whose first kind is a class.
fn pulses(place: &Workspace) {
    let (count, steps) = (200, 12);
    let mut inputs = Array3::<f32>::zeros((count, steps, 2));
    let mut lists = Array2::<i32>::from_elem((count, 3), -1);
    let (mut lengths, mut first) = (vec![], vec![]);
    for n in 0..count {
        let pulses = 1 + n % 3;
        for k in 0..pulses {
            let kind = (n / 3 + n * k * 5 / 2) % 2;
            inputs[[n, 4 * k + n % 2, kind]] = 1.0;
            lists[[n, k]] = 7 + kind as i32;
        }
        lengths.push(4 * pulses as i32);
        first.push(lists[[n, 0]]);
    }
    write_npy(place.path("x.npy"), &inputs).unwrap();
    write_npy(place.path("pulses.npy"), &lists).unwrap();
    write_npy(place.path("steps.npy"), &Array1::from_vec(lengths)).unwrap();
    write_npy(place.path("first.npy"), &Array1::from_vec(first)).unwrap();
}

#[test]
fn a_head_of_lists_stands_beside_a_class_of_the_sequence() {
    let place = Workspace::new();
    pulses(&place);
    fs::write(place.path("pulses.toml"), LISTS).unwrap();
    let train = ["train", "pulses.toml", "--device", "cpu", "--out", "run"];
    assert_has(
        &place.run(&train).ok(),
        &["(pulses loss", "label error rate"],
    );
    let lines = metrics(&place);
    let last = &lines[39]["heads"];
    let rate =
        |head: &Value, split: &str| head[format!("{split}_metrics")]["label_error_rate"].as_f64();
    assert!(rate(&last[0], "validation").unwrap() < 0.1, "{last}");
    assert_eq!(rate(&last[1], "validation"), None);
    assert!(
        last[1]["validation_accuracy"].as_f64().unwrap() > 0.9,
        "{last}"
    );
    let eval = ["eval", "run", "--device", "cpu", "--json"];
    let evaluation = json(&place.run(&eval).ok());
    let own = &evaluation["heads"]["pulses"]["metrics"];
    let tested = &lines.last().unwrap()["heads"][0];
    assert_eq!(
        own["label_error_rate"].as_f64(),
        rate(tested, "test"),
        "{evaluation}"
    );
    let sum = 0.5 * evaluation["heads"]["pulses"]["test_loss"].as_f64().unwrap()
        + evaluation["heads"]["first"]["test_loss"].as_f64().unwrap();
    assert!((sum - evaluation["test_loss"].as_f64().unwrap()).abs() < 1e-9);
    // All heads in one table; the list is that of the head alone.
    let predict = ["predict", "run", ".", "--device", "cpu"];
    let text = place.run(&predict).ok();
    let headings = "sequence,pulses.labels,pulses.log_probability,first.class,first.p_7,first.p_8";
    assert_eq!(text.lines().next(), Some(headings));
    let alone = place
        .run(&[&predict[..], &["--head", "pulses"]].concat())
        .ok();
    for (all, own) in text.lines().zip(alone.lines()).skip(1) {
        assert!(all.starts_with(&format!("{own},")), "{all} {own}");
    }
    let expected = |n: usize| {
        let kinds = (0..1 + n % 3).map(|k| 7 + (n / 3 + n * k * 5 / 2) % 2);
        kinds
            .map(|kind| kind.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let lists = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).unwrap());
    let right = lists.enumerate().filter(|(n, list)| *list == expected(*n));
    assert!(right.count() > 180, "{text}");
    let beam = place
        .run(&[&predict[..], &["--beam", "3", "--json"]].concat())
        .ok();
    let object = json(beam.lines().nth(5).unwrap());
    assert!(object["heads"]["pulses"]["labels"].is_array(), "{object}");
    assert!(object["heads"]["first"]["class"].is_string(), "{object}");
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert_has(
        &page,
        &[
            "label error rate of the head pulses",
            "accuracy of the head first",
        ],
    );
    place.run(&["export", "run", "--to", "onnx"]).ok();
    place.run(&["export", "run", "--to", "pytorch"]).ok();
    let program = fs::read_to_string(place.path("run/model_pytorch.py")).unwrap();
    assert_has(
        &program,
        &["every, x = x, mean(x, lengths)", "self.heads[0](every)"],
    );
    let with = |more: &[&'static str]| [&train[..5], &["x", "--set"], more].concat();
    let every = [&predict[..], &["--every-step"]].concat();
    for (arguments, parts) in [
        (
            vec!["export", "run", "--to", "keras"],
            ["reads every step", "ONNX"],
        ),
        (every, ["--every-step", "--head"]),
        (with(&["bptt_steps=3"]), ["bptt_steps", "not ctc"]),
        (
            with(&["network.heads.1.loss=ctc"]),
            ["[[network.heads]]", "network.head.reads = \"every\""],
        ),
        (
            with(&["data.label_lists=true"]),
            ["data.label_lists is set", "leave out"],
        ),
    ] {
        assert_has(&place.run(&arguments).fails(2), &parts);
    }
}
