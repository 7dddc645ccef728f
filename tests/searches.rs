//! Fine-tuning, the range test of the learning rate, and the search for hyperparameters, from the
//! command line.

mod common;

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use common::place::{Workspace, assert_has};
use serde_json::Value;

/// 120 sequences of 6 steps that rise or fall from a level of their class, and one of `classes`.
fn table(classes: usize, offset: f64) -> String {
    let mut table = "id,a,b,kind\n".to_string();
    for id in 0..120 {
        let class = id % classes;
        for t in 0..6 {
            let noise = ((id * 6 + t) as f64 * 12.9898).sin() * 43758.547;
            let noise = noise - noise.floor() - 0.5;
            let a = offset + class as f64 + 0.5 * noise;
            let b = t as f64 * (class as f64 - 0.5) + noise;
            writeln!(table, "{id},{a:.4},{b:.4},c{class}").unwrap();
        }
    }
    table
}

const RECIPE: &str = "name = \"kinds\"\nseed = 1\nepochs = 6\nbatch_size = 10\n\n[data]\n\
    kind = \"csv\"\npath = \"kinds.csv\"\ninputs = [\"a\", \"b\"]\ntargets = [\"kind\"]\n\
    task = \"classification\"\ngroup = \"id\"\nsplit_by = \"class\"\nnormalise = true\n\
    validation_fraction = 0.2\n\n[[network.layer]]\n\
    cell = \"gru\"\nhidden_size = 6\nbias = \"double\"\n\n[network.head]\n\
    loss = \"cross-entropy\"\n\n[optimizer]\nkind = \"adam\"\nlr = 0.02\n";

fn place() -> Workspace {
    let place = Workspace::new();
    fs::write(place.path("kinds.csv"), table(2, 0.0)).unwrap();
    fs::write(place.path("kinds.toml"), RECIPE).unwrap();
    place
}

const CPU: [&str; 2] = ["--device", "cpu"];

fn run(place: &Workspace, arguments: &[&str]) -> common::place::Run {
    place.run(&[arguments, &CPU].concat())
}

fn parameters(place: &Workspace, name: &str) -> gatescan::Model {
    gatescan::Model::load(&place.path(name).join("model.safetensors")).unwrap()
}

fn values(model: &gatescan::Model, name: &str) -> Vec<f32> {
    let mut all = model.parameters.iter();
    all.find(|each| each.name == name).unwrap().values.clone()
}

#[test]
fn a_run_begins_with_a_model_and_keeps_frozen_layers() {
    let place = place();
    run(&place, &["train", "kinds.toml", "--out", "first"]).ok();
    let first = parameters(&place, "first");
    // Other data of the same classes, far from the first ones: the head is the model's.
    fs::write(place.path("kinds.csv"), table(2, 0.3)).unwrap();
    let tuned = [
        "train",
        "kinds.toml",
        "--from",
        "first",
        "--out",
        "second",
        "--epochs",
        "2",
        "--set",
        "freeze=[\"layer0\"]",
    ];
    let said = run(&place, &tuned);
    assert_has(
        &said.stderr,
        &["1 layer of the model, its head too", "model's means"],
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let second = parameters(&place, "second");
    for name in [
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
        "rnn.bias_ih_l0",
        "rnn.bias_hh_l0",
    ] {
        assert_eq!(values(&second, name), values(&first, name), "{name}");
    }
    assert_ne!(
        values(&second, "head.weight"),
        values(&first, "head.weight")
    );
    assert_eq!(second.preparation, first.preparation);
    // Without the model, a run that was cut off resumes with the same bits.
    let mut cut = tuned;
    (cut[5], cut[7]) = ("cut", "1");
    run(&place, &cut).ok();
    fs::rename(place.path("first"), place.path("elsewhere")).unwrap();
    run(&place, &["train", "--resume", "cut", "--epochs", "2"]).ok();
    let resumed = parameters(&place, "cut");
    assert_eq!(resumed.preparation, second.preparation);
    assert_eq!(resumed.parameters, second.parameters);
    // Another head: three classes.
    fs::write(place.path("kinds.csv"), table(3, 0.0)).unwrap();
    let said = run(
        &place,
        &[
            "train",
            "kinds.toml",
            "--from",
            "elsewhere",
            "--out",
            "third",
        ],
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_has(
        &said.stderr,
        &["a new head of 3 outputs, where the model has 2"],
    );
}

/// The run directory has a checkpoint before the first update, and begins with the model.
#[test]
fn a_run_that_was_killed_at_once_resumes_from_the_model() {
    let place = place();
    run(&place, &["train", "kinds.toml", "--out", "first"]).ok();
    let mut command = place.command(&[
        "train",
        "kinds.toml",
        "--from",
        "first",
        "--out",
        "killed",
        "--device",
        "cpu",
        "--epochs",
        "100000",
        "--quiet",
    ]);
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while !place.path("killed/recipe.toml").exists() && start.elapsed().as_secs() < 60 {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let said = run(
        &place,
        &[
            "train", "--resume", "killed", "--epochs", "100001", "--set", "steps=1",
        ],
    );
    let resumed_later = said
        .stderr
        .contains("updates, and with these epochs or steps");
    assert!(said.code == Some(0) || resumed_later, "{}", said.stderr);
    assert!(
        !said.stderr.contains("from the beginning"),
        "{}",
        said.stderr
    );
}

#[test]
fn layers_that_differ_from_the_model_are_named() {
    let place = place();
    run(
        &place,
        &["train", "kinds.toml", "--out", "first", "--epochs", "1"],
    )
    .ok();
    for (setting, parts) in [
        (
            "network.layer.0.hidden_size=7",
            [
                "rnn.weight_ih_l0 is [18, 2] in the model, and [21, 2]",
                "recurrent layers must match",
            ],
        ),
        (
            "network.layer.0.cell=lstm",
            [
                "rnn.weight_ih_l0 is [18, 2] in the model, and [24, 2]",
                "must match",
            ],
        ),
        (
            "network.layer.0.bidirectional=true",
            [
                "has rnn.weight_ih_l0_reverse",
                "the model has no such tensor",
            ],
        ),
        (
            "data.inputs=[\"b\", \"a\"]",
            ["input 0 of the recipe is b", "of the model it is a"],
        ),
        (
            "freeze=[\"layer3\"]",
            ["\"layer3\"", "its parts are `layer0` or `head`"],
        ),
    ] {
        let train = [
            "train",
            "kinds.toml",
            "--from",
            "first",
            "--out",
            "other",
            "--set",
            setting,
        ];
        let message = run(&place, &train).fails(2);
        assert_has(&message, &parts);
        assert!(!place.path("other").exists());
    }
}

#[test]
fn a_range_test_suggests_a_rate_and_writes_only_its_plot() {
    let place = place();
    let files = || fs::read_dir(place.path("")).unwrap().count();
    let before = files();
    let found = run(
        &place,
        &["lr-find", "kinds.toml", "--steps", "80", "--json"],
    )
    .ok();
    assert_eq!(files(), before);
    let found: Value = serde_json::from_str(&found).unwrap();
    let rate = found["suggestion"].as_f64().unwrap();
    assert!((1e-3..2.0).contains(&rate), "{found}");
    let points = found["points"].as_array().unwrap();
    assert_eq!(points[0]["rate"], 1e-6);
    let text = run(&place, &["lr-find", "kinds.toml", "--steps", "80"]).ok();
    assert_has(
        &text,
        &["suggested learning rate: ", "the loss falls fastest near"],
    );
    let page = fs::read_to_string(place.path("lr-find.html")).unwrap();
    assert_has(&page, &["<svg", "learning rate", "Suggested: "]);
    assert_eq!(files(), before + 1);
    let again = run(&place, &["lr-find", "kinds.toml"]).fails(2);
    assert_has(&again, &["lr-find.html exists"]);
    run(
        &place,
        &[
            "lr-find",
            "kinds.toml",
            "--steps",
            "20",
            "--svg",
            "rates.svg",
        ],
    )
    .ok();
    assert_has(
        &fs::read_to_string(place.path("rates.svg")).unwrap(),
        &["<svg", "learning rate"],
    );
    let wrong = run(
        &place,
        &[
            "lr-find",
            "kinds.toml",
            "--from",
            "1",
            "--to",
            "0.1",
            "--json",
        ],
    );
    assert_has(
        &wrong.fails(2),
        &["to is 0.1; it must be above the first rate, 1"],
    );
}

const SPACE: &str = "\n[tune]\nlearning_rate = { from = 1e-4, to = 1e-1, log = true }\n\
    hidden_size = [2, 4, 8]\nlayers = [1, 2]\ndropout = { from = 0.0, to = 0.3 }\n\
    batch_size = [5, 10]\n";

fn trials(place: &Workspace, directory: &str) -> (Value, String) {
    let state = fs::read_to_string(place.path(directory).join("search.json")).unwrap();
    let best = fs::read_to_string(place.path(directory).join("best.toml")).unwrap();
    (serde_json::from_str(&state).unwrap(), best)
}

#[test]
fn a_search_finds_a_recipe_whatever_the_jobs_and_interruptions() {
    let place = place();
    fs::write(place.path("tuned.toml"), format!("{RECIPE}{SPACE}")).unwrap();
    let search = |out: &str, more: &[&str]| {
        let command = [
            "tune",
            "tuned.toml",
            "--trials",
            "9",
            "--seed",
            "3",
            "--out",
            out,
        ];
        run(&place, &[&command[..], more].concat())
    };
    let text = search("alone", &[]).ok();
    assert_has(&text, &["validation loss", "train it with: ", "best.toml"]);
    let alone = trials(&place, "alone");
    let losses = alone.0["trials"].as_array().unwrap();
    let rungs: Vec<usize> = losses
        .iter()
        .map(|trial| trial["losses"].as_array().unwrap().len())
        .collect();
    // Nine trials for one epoch, three for two, one for six.
    assert_eq!(
        rungs.iter().filter(|&&count| count == 3).count(),
        1,
        "{rungs:?}"
    );
    assert_eq!(
        rungs.iter().filter(|&&count| count >= 2).count(),
        3,
        "{rungs:?}"
    );
    search("jobs", &["--jobs", "3"]).ok();
    assert!(trials(&place, "jobs") == alone, "jobs change the result");
    // A search without time ends at once, and is continued.
    let message = search("cut", &["--minutes", "0"]);
    assert_eq!(message.code, Some(1), "{}", message.stderr);
    assert_has(&message.stderr, &["tune --resume cut"]);
    let mut child = place
        .command(&["tune", "--resume", "cut", "--device", "cpu", "--quiet"])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(120));
    child.kill().unwrap();
    child.wait().unwrap();
    run(&place, &["tune", "--resume", "cut"]).ok();
    assert!(trials(&place, "cut") == alone, "a kill changes the result");
    let table = fs::read_to_string(place.path("cut/trials.csv")).unwrap();
    assert_eq!(table.lines().count(), 10);
    assert!(
        table.starts_with("trial,epochs,validation_loss,batch_size,dropout"),
        "{table}"
    );
    // Its result is a recipe.
    run(
        &place,
        &["train", "alone/best.toml", "--out", "best", "--quiet"],
    )
    .ok();
    let occupied = search("alone", &[]).fails(2);
    assert_has(&occupied, &["is not empty"]);
}

/// Test data that would change every result change none.
#[test]
fn a_search_reads_no_test_data_and_needs_a_validation_split() {
    let place = place();
    fs::write(place.path("tuned.toml"), format!("{RECIPE}{SPACE}")).unwrap();
    let none = [
        "tune",
        "tuned.toml",
        "--out",
        "none",
        "--set",
        "data.validation_fraction=0.0",
    ];
    let message = run(&place, &none).fails(2);
    assert_has(
        &message,
        &["validation split", "data.validation_fraction, as in 0.1"],
    );
    {
        let (setting, parts) = (
            "tune.hidden_size=[0]",
            ["tune.hidden_size is 0", "whole numbers"],
        );
        let command = [
            "tune",
            "tuned.toml",
            "--out",
            "wrong",
            "--trials",
            "1",
            "--set",
            setting,
        ];
        let said = run(&place, &command);
        assert_ne!(said.code, Some(0), "{setting}");
        assert_has(&said.stderr, &parts[..1]);
    }
    let plain = [
        "tune",
        "kinds.toml",
        "--out",
        "plain",
        "--trials",
        "1",
        "--set",
        "epochs=1",
    ];
    let said = run(&place, &plain);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_has(
        &said.stderr,
        &[
            "no [tune] table; these ranges are searched",
            "learning_rate",
        ],
    );
    let missing = run(&place, &["tune", "--resume", "data"]).fails(1);
    assert_has(&missing, &["there is no search here"]);
}
