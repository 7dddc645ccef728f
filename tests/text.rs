//! Language models: training on a text, sampling, and files that are not texts.

mod common;

use std::fs;

use common::place::Workspace;
use serde_json::Value;

/// Flags that make the recipe `text` small.
const SMALL: [&str; 16] = [
    "train",
    "text",
    "--device",
    "cpu",
    "--data",
    "text.txt",
    "--layers",
    "1",
    "--hidden-size",
    "24",
    "--batch-size",
    "8",
    "--lr",
    "0.02",
    "--set",
    "bptt_steps=20",
];

/// A repeated sentence, in which each character follows from the few before it.
fn place() -> Workspace {
    let place = Workspace::new();
    let text = "the quick brown fox jumps over a lazy dog.\n".repeat(150);
    fs::write(place.path("text.txt"), text).unwrap();
    place
}

fn train(place: &Workspace, more: &[&str]) -> String {
    place.run(&[&SMALL[..], more].concat()).ok()
}

fn sample(place: &Workspace, more: &[&str]) -> String {
    let flags = ["sample", "run", "--device", "cpu", "--length", "80"];
    place.run(&[&flags[..], more].concat()).ok()
}

fn refused(place: &Workspace, flags: &[&str], code: i32, expected: &str) {
    let run = place.run(flags);
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    assert_eq!(run.stdout, "");
}

#[test]
fn a_text_is_learnt_and_written() {
    let place = place();
    let lines = train(&place, &["--epochs", "8", "--out", "run", "--json"]);
    let epochs: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = epochs.last().unwrap();
    let number = |key: &str| last[key].as_f64().unwrap();
    assert!(number("test_loss") < 0.3, "{last}");
    assert!(
        (number("test_bits") - number("test_loss") / 2f64.ln()).abs() < 1e-9,
        "{last}"
    );

    // The likeliest text is the sentence itself, whichever option selects it.
    let prime = ["--prime", "the quick"];
    let coldest = sample(&place, &[&prime[..], &["--temperature", "0"]].concat());
    assert!(
        coldest.starts_with("the quick brown fox jumps over"),
        "{coldest}"
    );
    for flags in [
        ["--temperature", "1e-9"],
        ["--top-k", "1"],
        ["--top-p", "1e-9"],
    ] {
        assert_eq!(sample(&place, &[&prime[..], &flags].concat()), coldest);
    }

    // A seed determines the text.
    let warm = |seed: &str| sample(&place, &["--temperature", "2", "--seed", seed]);
    assert_eq!(warm("1"), warm("1"));
    assert_ne!(warm("1"), warm("2"));
    assert_eq!(warm("1").chars().count(), 81);

    // The first of several texts equals a text that is sampled alone.
    let flags = [
        "--temperature",
        "2",
        "--seed",
        "1",
        "--json",
        "--count",
        "3",
    ];
    let texts = sample(&place, &flags);
    let texts: Vec<Value> = texts
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let texts: Vec<&str> = texts
        .iter()
        .map(|each| each["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts.len(), 3);
    assert_eq!(format!("{}\n", texts[0]), warm("1"));
    assert!(texts[0] != texts[1] && texts[1] != texts[2]);

    // The model's file is sufficient for an evaluation.
    let judged = place
        .run(&["eval", "run", "--device", "cpu", "--json"])
        .ok();
    let judged: Value = serde_json::from_str(&judged).unwrap();
    let losses = epochs
        .iter()
        .map(|epoch| epoch["test_loss"].as_f64().unwrap());
    let best = losses.fold(f64::INFINITY, f64::min);
    assert!(
        (judged["test_loss"].as_f64().unwrap() - best).abs() < 1e-5,
        "{judged}"
    );

    let bad = |flags: &[&str], code, expected| {
        refused(
            &place,
            &[&["sample", "run", "--device", "cpu"], flags].concat(),
            code,
            expected,
        );
    };
    bad(
        &["--prime", "the Quick"],
        2,
        "the character `Q`, number 5 of `the Quick`",
    );
    bad(&["--temperature=-1"], 2, "temperature is -1");
    bad(&["--top-p", "0"], 2, "top_p is 0");
    bad(&["--top-k", "0"], 2, "top_k is 0");
    refused(&place, &["predict", "run", "text.txt"], 1, "sample from it");
    refused(&place, &["generate", "run"], 1, "not trained on a series");
}

#[test]
fn results_alone_are_on_standard_output() {
    let place = place();
    let run = place.run(&[&SMALL[..], &["--epochs", "1", "--json"]].concat());
    assert_eq!(run.stdout.lines().count(), 1);
    // The sample is printed with the epoch.
    assert!(run.stderr.contains("\n  | "), "{}", run.stderr);
    let run = place.run(&[&["--quiet"], &SMALL[..], &["--epochs", "1"]].concat());
    assert!(!run.stderr.contains("  | "), "{}", run.stderr);
    let run = place.run(&[&SMALL[..], &["--epochs", "1"]].concat());
    assert!(run.stdout.contains(" bits/character "), "{}", run.stdout);
    assert!(run.stdout.contains(" characters/s "), "{}", run.stdout);
}

#[test]
fn words_and_bytes_are_learnt_too() {
    let place = place();
    for (unit, epochs, more) in [
        ("word", "20", "network.input={embedding={size=8}}"),
        (
            "byte",
            "8",
            "network.layer.0.dropout={output_keep_prob=0.9}",
        ),
    ] {
        let set = format!("data.unit={unit}");
        let flags = [
            "--set", &set, "--set", more, "--epochs", epochs, "--out", unit,
        ];
        train(&place, &flags);
        let flags = [
            "sample",
            unit,
            "--device",
            "cpu",
            "--prime",
            "the quick",
            "--top-k",
            "1",
        ];
        let text = place.run(&[&flags[..], &["--length", "10"]].concat()).ok();
        assert!(text.starts_with("the quick brown"), "{unit}: {text}");
    }
    let unknown = ["sample", "word", "--device", "cpu", "--prime", "the slow"];
    refused(&place, &unknown, 2, "the word ` slow`");
}

/// An embedding as wide as the outputs of the only layer, tied to the head's weights.
const TIED: [&str; 2] = ["--set", "network.input={embedding={size=24, tied=true}}"];

#[test]
fn an_embedding_may_be_tied_to_the_heads_weights() {
    let place = place();
    let lines = train(
        &place,
        &[&TIED[..], &["--epochs", "8", "--out", "run", "--json"]].concat(),
    );
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(last["test_loss"].as_f64().unwrap() < 0.5, "{last}");
    let text = sample(&place, &["--prime", "the quick", "--top-k", "1"]);
    assert!(text.starts_with("the quick brown fox jumps over"), "{text}");

    // One tensor in the model's file, with two names in PyTorch.
    let names = |file: &str| -> Vec<String> {
        let bytes = fs::read(place.path(file)).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<String> = tensors.names().into_iter().map(String::from).collect();
        names.retain(|name| !name.starts_with("rnn."));
        names.sort();
        names
    };
    assert_eq!(
        names("run/model.safetensors"),
        ["embedding.weight", "head.bias"]
    );
    place
        .run(&[
            "export",
            "run",
            "--to",
            "pytorch",
            "-o",
            "torch.safetensors",
        ])
        .ok();
    assert_eq!(
        names("torch.safetensors"),
        ["embedding.weight", "head.bias", "head.weight"]
    );
    place
        .run(&[
            "import",
            "torch.safetensors",
            "-o",
            "back",
            "--reads",
            "every",
        ])
        .ok();
    assert_eq!(
        names("back/model.safetensors"),
        ["embedding.weight", "head.bias"]
    );

    for (input, expected) in [
        (
            "network.input={embedding={size=16, tied=true}}",
            "so its size, 16, must be the number of features that the last layer emits, 24",
        ),
        (
            "network.input={embedding={size=24, tied=true, padding_idx=0}}",
            "leave out padding_idx or tied",
        ),
        (
            "network.input={one-hot={tied=true}}",
            "--set network.input={one-hot={tied=true}}: ",
        ),
        (
            "network.input.embedding.tied=true",
            "--set network.input.embedding.tied=true: ",
        ),
    ] {
        refused(
            &place,
            &[&SMALL[..], &["--set", input]].concat(),
            2,
            expected,
        );
    }
}

#[test]
fn a_seed_determines_the_text_on_a_gpu_too() {
    let Some(gpu) = common::gpu() else {
        return;
    };
    let place = place();
    train(&place, &["--epochs", "1", "--out", "run"]);
    let device = gpu.summary.index.to_string();
    let flags = [
        "sample", "run", "--device", &device, "--length", "2000", "--seed", "1",
    ];
    let text = place.run(&flags).ok();
    assert_eq!(text.chars().count(), 2001);
    assert_eq!(place.run(&flags).ok(), text);
}

#[test]
fn training_steps_of_texts_are_measured() {
    let place = Workspace::new();
    let flags = [
        "bench",
        "text",
        "--device",
        "cpu",
        "--layers",
        "1,2",
        "--sizes",
        "8",
        "--iterations",
        "2",
    ];
    let lines = place.run(&[&flags[..], &["--json"]].concat()).ok();
    let rows: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 2);
    for (layers, row) in (1..).zip(&rows) {
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"));
        let sizes = ["layers", "hidden_size", "batch", "steps", "iterations"].map(number);
        assert_eq!(sizes, [f64::from(layers), 8.0, 50.0, 50.0, 2.0]);
        // Characters of an iteration per second.
        let speed = 50.0 * 50.0 / number("ms") * 1e3;
        assert!(
            (number("characters_per_s") - speed).abs() <= 1e-6 * speed,
            "{row}"
        );
        // Four gates over embeddings of 64 and a bias, the states, and the head of 66 characters.
        let above = f64::from(layers - 1) * (4.0 * 8.0 * (8.0 + 8.0 + 1.0));
        let parameters = 66.0 * 64.0 + 4.0 * 8.0 * (64.0 + 8.0 + 1.0) + above + 66.0 * 9.0;
        assert_eq!(number("parameters"), parameters, "{row}");
        // At least parameters, gradients and two moments.
        assert!(number("memory_bytes") > 16.0 * parameters, "{row}");
    }
    let table = place.run(&flags).ok();
    let [header, first, second] = table.lines().collect::<Vec<_>>()[..] else {
        panic!("{table}");
    };
    for title in [
        "LAYERS",
        "SIZE",
        "ms/ITERATION",
        "CHARACTERS/s",
        "MEMORY MiB",
        "PARAMETERS",
    ] {
        assert!(header.contains(title), "{table}");
    }
    for row in [first, second] {
        let figures: Vec<f64> = row
            .split_whitespace()
            .map(|figure| figure.parse().unwrap())
            .collect();
        assert_eq!(figures.len(), 6, "{table}");
        assert!(figures.iter().all(|&figure| figure > 0.0), "{table}");
    }
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_run() {
    let place = place();
    train(&place, &["--epochs", "2", "--out", "whole"]);
    train(&place, &["--epochs", "1", "--out", "parts"]);
    place
        .run(&[
            "train", "--resume", "parts", "--epochs", "2", "--device", "cpu",
        ])
        .ok();
    let model = |run: &str| fs::read(place.path(run).join("model.safetensors")).unwrap();
    assert_eq!(model("whole"), model("parts"));
}

#[test]
fn files_that_are_not_texts_are_refused() {
    let place = place();
    let refuses = |bytes: &[u8], more: &[&str], code, expected: &str| {
        fs::write(place.path("text.txt"), bytes).unwrap();
        refused(&place, &[&SMALL[..], more].concat(), code, expected);
    };
    refuses(b"", &[], 1, "text.txt: it is empty");
    refuses(b"abc\xffabc", &[], 1, "byte 3, which is 0xff, is not UTF-8");
    refuses(b"abcdefgh", &[], 1, "8 streams need at least 9");
    refuses(
        b"abc",
        &["--set", "data.streams=12"],
        2,
        "data.streams is 12; it must be batch_size, which is 8",
    );
    refuses(
        b"abc",
        &["--set", "data.test_fraction=1.0"],
        2,
        "data.test_fraction is 1",
    );
    refuses(
        b"abc",
        &["--set", "network.input=values"],
        2,
        "data of kind text are tokens",
    );
    fs::remove_file(place.path("text.txt")).unwrap();
    refused(&place, &SMALL, 1, "there is no such file");
    refused(
        &place,
        &["train", "text"],
        1,
        "input.txt: the text cannot be read",
    );
}
