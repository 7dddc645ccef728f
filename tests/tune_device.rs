//! `gatescan tune-device`: what it measures is remembered, used by every command, recorded by runs
//! and forgotten.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::place::{Run, Workspace, assert_has};
use serde_json::Value;

/// A run of the program with its own directory of remembered tunings.
fn run(place: &Workspace, arguments: &[&str]) -> Run {
    let mut command = place.command(arguments);
    command.env("GATESCAN_TUNING", place.path("tuning"));
    Run::from(command.output().expect("the program starts"))
}

fn json(run: Run) -> Value {
    serde_json::from_str(run.ok().trim()).expect("it is JSON")
}

/// Returns a training of one short epoch on the GPU.
fn training(out: &str) -> Vec<&str> {
    let recipe = ["train", "series", "--device", "gpu", "--quiet"];
    let data = ["--set", "data.windows=64", "--set", "batch_size=32"];
    let sizes = ["--epochs", "1", "--hidden-size", "20", "--cell", "gru"];
    [&recipe[..], &data, &sizes, &["--out", out]].concat()
}

#[test]
fn a_measured_tuning_is_remembered_used_recorded_and_forgotten() {
    let Some(gpu) = common::gpu() else {
        return;
    };
    let place = Workspace::new();
    let index = gpu.summary.index.to_string();
    let tune = ["tune-device", "--device", &index, "--json"];
    let measured = [&tune[..], &["--seconds", "6", "--shape", "lstm-8-5-4-16"]].concat();
    let start = Instant::now();
    let measured = run(&place, &measured);
    // The search ends by its own limit; a loaded machine opens the device and ends slowly.
    let limit = Duration::from_secs(60);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    // The first value of each setting comes before the second of another.
    let tried = ["scan_lanes=", "scan_registers=64 scan_sequences=1 "];
    assert_has(&measured.stderr, &tried);
    let found = json(measured);
    let file = found["file"].as_str().expect("it is named").to_string();
    assert!(found["time_part"].as_f64().expect("it is measured") <= 1.0);
    let text = fs::read_to_string(&file).expect("it is there");
    assert_has(
        &text,
        &["# Measured by `gatescan tune-device`", &gpu.summary.driver],
    );

    // Another setting than the search may have found.
    let comments: String = (text.lines().filter(|line| line.starts_with('#')))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&file, comments.clone() + "workgroups=77\n").expect("it is written");
    assert_has(&run(&place, &["devices"]).ok(), &["tuned: workgroups=77"]);
    run(&place, &training("run")).ok();
    let recorded = || fs::read_to_string(place.path("run/tuning.txt")).expect("it is there");
    assert_has(&recorded(), &["\nworkgroups=77\n", "\nscan_tile="]);

    // A run is resumed with its own settings, whatever is remembered by then.
    fs::write(&file, comments.clone() + "workgroups=5\n").expect("it is written");
    run(
        &place,
        &[
            "train", "--resume", "run", "--device", &index, "--epochs", "2",
        ],
    )
    .ok();
    assert_has(&recorded(), &["\nworkgroups=77\n"]);

    // What is not allowed is refused by name, and can be forgotten.
    fs::write(&file, comments + "workgroups=0\n").expect("it is written");
    let refused = run(&place, &training("other"));
    let message = refused.fails(2);
    assert_has(&message, &["workgroups=0", "tune-device --forget"]);
    let forget = [&tune[..], &["--forget"]].concat();
    assert_eq!(json(run(&place, &forget))["removed"], file.as_str());
    assert_eq!(json(run(&place, &forget))["removed"], Value::Null);
    assert!(!run(&place, &["devices"]).ok().contains("tuned:"));
}

#[test]
fn wrong_usage_is_refused() {
    let place = Workspace::new();
    let on_the_cpu = run(&place, &["tune-device", "--device", "cpu"]);
    assert_has(&on_the_cpu.fails(2), &["the CPU has no tuning to measure"]);
    let seconds = run(&place, &["tune-device", "--seconds", "0"]);
    assert_has(&seconds.fails(2), &["1 to 86400"]);
}
