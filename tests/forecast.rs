//! Forecasts with the recipe that `init` writes: its model beats the baselines, and everything that
//! is made of the model is in the units of the table.

mod common;

use std::fs;

use common::place::{Workspace, assert_has};
use serde_json::Value;

/// A weekly level with a trend, a yearly cycle and gaps.
const LEVEL: &str = include_str!("tables/level.csv");

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Returns a directory with the table, the recipe of `init` and its model.
fn forecaster() -> Workspace {
    let place = Workspace::new();
    fs::write(place.path("level.csv"), LEVEL).unwrap();
    place.run(&["init", "level.csv"]).ok();
    let train = [
        "train",
        "level.toml",
        "--device",
        "cpu",
        "--out",
        "run",
        "--quiet",
    ];
    place.run(&train).ok();
    place
}

#[test]
fn the_recipe_of_init_beats_the_baselines() {
    let place = forecaster();
    let recipe = fs::read_to_string(place.path("level.toml")).unwrap();
    assert_has(
        &recipe,
        &[
            "residual_on_last = true",
            "residual_on_linear = true",
            "validation_fraction = 0.2",
            "missing = \"forward\"",
            "keep_best = true",
        ],
    );
    let eval = ["eval", "run", "--device", "cpu", "--json"];
    let evaluation = json(&place.run(&eval).ok());
    let model = evaluation["model"]["rmse"].as_f64().unwrap();
    let baselines = evaluation["baselines"].as_object().unwrap();
    assert_eq!(baselines.len(), 3, "{evaluation}");
    for name in ["last value", "seasonal naive", "linear regression"] {
        let found = baselines.iter().find(|(key, _)| key.starts_with(name));
        let error = found.expect(name).1["rmse"].as_f64().unwrap();
        assert!(model < error, "{name}: {evaluation}");
    }
    // The same for the validation split, which chose the epoch.
    let validation = json(
        &place
            .run(&[&eval[..], &["--split", "validation"]].concat())
            .ok(),
    );
    assert!(validation["validation_loss"].is_number(), "{validation}");
    let epochs = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    let lowest = epochs
        .lines()
        .map(json)
        .filter_map(|epoch| epoch["validation_loss"].as_f64());
    let lowest = lowest.fold(f64::INFINITY, f64::min);
    let loss = validation["validation_loss"].as_f64().unwrap();
    assert!((loss - lowest).abs() < 1e-5 * lowest, "{loss} {lowest}");
}

#[test]
fn predictions_and_continuations_are_values_of_the_table() {
    let place = forecaster();
    let answers = place
        .run(&["predict", "run", "level.csv", "--device", "cpu"])
        .ok();
    let values: Vec<f64> = answers
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').next().unwrap().parse().unwrap())
        .collect();
    assert!(values.len() > 200, "{answers}");
    assert!(
        values.iter().all(|value| (290.0..330.0).contains(value)),
        "{values:?}"
    );
    let generate = ["generate", "run", "--steps", "20", "--device", "cpu"];
    for more in [&[][..], &["--window"]] {
        let continued = place.run(&[&generate[..], more].concat()).ok();
        let values: Vec<f64> = continued
            .lines()
            .map(|line| line.parse().unwrap())
            .collect();
        assert_eq!(values.len(), 20);
        // The last values are between 314 and 317.
        assert!(
            values.iter().all(|value| (300.0..335.0).contains(value)),
            "{values:?}"
        );
    }
}
