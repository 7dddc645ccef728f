//! Lists of labels from the command line: training by CTC, evaluation, decoding, exports, and what
//! is refused.

mod common;

use std::fs;

use common::place::{Workspace, assert_has};
use serde_json::Value;

/// Changes the recipe `mnist-ctc` for the strings of [`place`].
const SMALL: [&str; 24] = [
    "--device",
    "cpu",
    "--data",
    "data",
    "--quiet",
    "--hidden-size",
    "8",
    "--batch-size",
    "10",
    "--lr",
    "0.02",
    "--epochs",
    "15",
    "--set",
    "data.classes=3",
    "--set",
    "data.validation_size=60",
    "--set",
    "data.strings.shortest=2",
    "--set",
    "data.strings.longest=4",
    "--set",
    "data.strings.columns=1",
    "--out",
];

/// A directory with images of 8x8 pixels whose class is in which rows a bar is, between dark
/// columns.
fn place() -> Workspace {
    let place = Workspace::new();
    for (prefix, count) in [("train", 400), ("t10k", 90)] {
        let mut images = vec![];
        let mut labels = vec![];
        for n in 0..count {
            let label = n * 7 / 3 % 3;
            labels.push(label as u8);
            images.extend((0..64).map(|pixel| {
                let is_bar = pixel / 8 / 2 == label && (2..6).contains(&(pixel % 8));
                ((n * 31 + pixel * 17) % 50 + if is_bar { 200 } else { 0 }) as u8
            }));
        }
        let name = |what: &str| format!("{prefix}-{what}-ubyte");
        place.write_idx(&name("images-idx3"), 0x803, &[count, 8, 8], &images);
        place.write_idx(&name("labels-idx1"), 0x801, &[count], &labels);
    }
    place
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn strings_are_learnt_evaluated_and_decoded() {
    let place = place();
    place
        .run(&[&["train", "mnist-ctc"], &SMALL[..], &["run"]].concat())
        .ok();
    let eval = ["eval", "run", "--device", "cpu"];
    let evaluation = json(&place.run(&[&eval[..], &["--json"]].concat()).ok());
    let metrics = &evaluation["metrics"];
    let rate = metrics["label_error_rate"].as_f64().unwrap();
    assert!(rate < 0.05, "{evaluation}");
    assert!(metrics["sequence_accuracy"].as_f64().unwrap() > 0.85);
    assert_eq!(metrics["labels"].as_u64().unwrap() / 10, 9);
    assert_has(
        &place.run(&eval).ok(),
        &["label error rate", "sequence accuracy"],
    );
    // The log has the same after each epoch, and for the test split at the end.
    let log = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(json).collect();
    assert!(lines[0]["validation_metrics"]["label_error_rate"].is_number());
    let tested = &lines[lines.len() - 1]["test_metrics"];
    assert_eq!(tested["label_error_rate"].as_f64(), Some(rate));
    let report = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert_has(&report, &["test label error rate", "<polyline"]);

    let predict = ["predict", "run", "data", "--device", "cpu"];
    let text = place.run(&predict).ok();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("sequence,labels,log_probability"));
    let first: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert!(
        first[1]
            .split(' ')
            .all(|label| ["0", "1", "2"].contains(&label)),
        "{text}"
    );
    let beam = [&predict[..], &["--beam", "4", "--json"]].concat();
    let beam = place.run(&beam).ok();
    let list = json(beam.lines().next().unwrap());
    let probability = list["log_probability"].as_f64().unwrap();
    let of_path: f64 = first[2].parse().unwrap();
    assert!(
        probability >= of_path - 1e-3 && probability <= 1e-6,
        "{list}"
    );
    place
        .run(&[&predict[..], &["-o", "lists.json"]].concat())
        .ok();
    let written = json(&fs::read_to_string(place.path("lists.json")).unwrap());
    assert_eq!(written[0]["labels"], list["labels"]);
    let steps = place.run(&[&predict[..], &["--every-step"]].concat()).ok();
    assert_has(&steps, &["sequence,step,class,p_(blank),p_0,p_1,p_2\n0,0,"]);
    let refused = [&predict[..], &["-o", "lists.npy"]].concat();
    assert_has(&place.run(&refused).fails(2), &["different lengths"]);
    // The same bits on another start.
    place
        .run(&[&["train", "mnist-ctc"], &SMALL[..], &["again"]].concat())
        .ok();
    let model = |run: &str| fs::read(place.path(&format!("{run}/model.safetensors"))).unwrap();
    assert!(model("run") == model("again"));
    place.run(&["export", "run", "--to", "onnx"]).ok();
    place.run(&["export", "run", "--to", "pytorch"]).ok();
}

#[test]
fn what_does_not_fit_lists_is_refused() {
    let place = place();
    for (setting, expected) in [
        ("network.head.reads=last", "\"every\""),
        ("network.head.loss=cross-entropy", "loss = \"ctc\""),
        ("network.head.label_smoothing=0.1", "label_smoothing"),
        ("bptt_steps=4", "not ctc"),
        ("data.strings.shortest=5", "shortest"),
        ("data.strings.columns=3", "columns is 3"),
    ] {
        let arguments = [
            &["train", "mnist-ctc"],
            &SMALL[..],
            &["run", "--set", setting],
        ];
        let problem = place.run(&arguments.concat()).fails(2);
        assert_has(&problem, &[expected]);
    }
    place.train(&["--out", "classes", "--epochs", "1"]).ok();
    let beam = [
        "predict", "classes", "data", "--beam", "3", "--device", "cpu",
    ];
    assert_has(&place.run(&beam).fails(2), &["no lists of labels"]);
}

/// Strings of single columns have fewer steps than labels that repeat need.
#[test]
fn sequences_that_are_too_short_are_counted() {
    let place = place();
    let narrow = [
        "--set",
        "data.strings.columns=8",
        "--set",
        "data.strings.longest=6",
    ];
    let arguments = [&["train", "mnist-ctc"], &SMALL[..], &["run"], &narrow];
    let arguments: Vec<&str> = arguments.concat();
    let arguments: Vec<&str> = arguments
        .into_iter()
        .filter(|argument| *argument != "--quiet")
        .collect();
    let run = place.run(&arguments);
    assert_has(
        &run.stderr,
        &["sequences of the training split have too few steps for their labels"],
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let strict = [
        &["train", "mnist-ctc"],
        &SMALL[..],
        &[
            "strict",
            "--set",
            "network.head.loss={ctc={zero_infinity=false}}",
        ],
        &narrow,
    ];
    let problem = place.run(&strict.concat()).fails(1);
    assert_has(&problem, &["too few steps", "zero_infinity = true"]);
}
