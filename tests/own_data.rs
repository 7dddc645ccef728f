//! A user's own data on the command line: a file, its recipe, a model, its error compared with
//! baselines, and its predictions.

mod common;

use std::fs;
use std::path::Path;

use common::place::{Workspace, assert_has};
use ndarray::{Array1, Array2, Array3, Ix2};
use ndarray_npy::{read_npy, write_npy};
use serde_json::Value;

/// Writes a wave around 500 with a season of 12 rows, and a column that counts up.
fn write_table(path: &Path, rows: usize) {
    let value = |t: usize| {
        let angle = t as f64 * std::f64::consts::TAU / 12.0;
        500.0 + 40.0 * angle.sin() + 15.0 * (2.0 * angle).cos()
    };
    let lines = (0..rows).map(|t| format!("{},{:.3}\n", 1900 + t, value(t)));
    fs::write(path, format!("year,level\n{}", lines.collect::<String>())).unwrap();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Returns a directory with a table and a model trained on it.
fn forecaster() -> Workspace {
    let place = Workspace::new();
    write_table(&place.path("levels.csv"), 240);
    let seen = place.run(&["init", "levels.csv"]).ok();
    assert_has(
        &seen,
        &[
            "240 rows, 2 columns, 0 cells missing",
            "left out: it only counts up",
            "input and target",
            "a forecast of level, one row ahead, from windows of 24 rows",
            "wrote levels.toml",
        ],
    );
    let trained = place.run(&[
        "train",
        "levels.toml",
        "--device",
        "cpu",
        "--epochs",
        "25",
        "--hidden-size",
        "16",
        "--out",
        "run",
        "--quiet",
    ]);
    assert_has(
        &trained.ok(),
        &[
            "last value",
            "seasonal naive (12 steps, found)",
            "linear regression",
        ],
    );
    place
}

/// Returns the error of predictions, `row,level` lines, over the windows of the test split.
fn rmse(place: &Workspace, lines: &[&str]) -> f64 {
    let table = fs::read_to_string(place.path("levels.csv")).unwrap();
    let truth: Vec<f64> = table
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).unwrap().parse().unwrap())
        .collect();
    // The test split begins at row 192; its first window ends at 216.
    let squares = lines.iter().filter_map(|line| {
        let (row, value) = line.split_once(',').unwrap();
        let (row, value): (usize, f64) = (row.parse().unwrap(), value.parse().unwrap());
        (row > 192 + 24 && row <= 240).then(|| (value - truth[row - 1]).powi(2))
    });
    let squares: Vec<f64> = squares.collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

#[test]
fn a_table_becomes_a_recipe_a_model_and_a_forecast() {
    let place = forecaster();
    // An existing recipe is not overwritten.
    let message = place.run(&["init", "levels.csv"]).fails(2);
    assert_has(&message, &["levels.toml exists", "-o FILE"]);

    let evaluation = json(
        &place
            .run(&["eval", "run", "--device", "cpu", "--json"])
            .ok(),
    );
    let loss = evaluation["test_last_step_loss"].as_f64().unwrap();
    assert_eq!(
        evaluation["model"]["loss"],
        evaluation["test_last_step_loss"]
    );
    let baselines = evaluation["baselines"].as_object().unwrap();
    let names: Vec<&String> = baselines.keys().collect();
    assert_eq!(
        names,
        [
            "last value",
            "seasonal naive (12 steps, found)",
            "linear regression"
        ]
    );
    assert!(
        loss < baselines["last value"]["loss"].as_f64().unwrap(),
        "{evaluation}"
    );
    // A linear regression is about exact here, so the model does not beat it.
    assert!(
        baselines["seasonal naive (12 steps, found)"]["rmse"]
            .as_f64()
            .unwrap()
            < 1e-3
    );
    assert_has(
        &evaluation["does_not_beat"].to_string(),
        &["linear regression"],
    );
    let human = place.run(&["eval", "run", "--device", "cpu"]).ok();
    assert_has(
        &human,
        &[
            "AT THE LAST STEP",
            "this model",
            "RMSE, OWN UNITS",
            "the model does not beat linear regression",
        ],
    );

    // Predictions are in the units of the data, and extend beyond its end.
    let answers = place
        .run(&["predict", "run", "levels.csv", "--device", "cpu"])
        .ok();
    let lines: Vec<&str> = answers.lines().collect();
    assert_eq!(lines[0], "row,level");
    assert_eq!(lines.len(), 1 + 240 - 24 + 1);
    assert!(
        lines[1].starts_with("25,") && lines[217].starts_with("241,"),
        "{answers}"
    );
    let values = lines[1..]
        .iter()
        .map(|line| line.split(',').nth(1).unwrap().parse::<f64>().unwrap());
    assert!(
        values
            .into_iter()
            .all(|value| (400.0..600.0).contains(&value)),
        "{answers}"
    );

    let rmse = rmse(&place, &lines[1..]);
    let evaluated = evaluation["model"]["rmse"].as_f64().unwrap();
    // Values of about 500 are printed to 1e-6.
    assert!(
        (rmse - evaluated).abs() < 1e-3 * evaluated + 1e-6,
        "{rmse} {evaluated}"
    );

    let continued = place.run(&[
        "generate", "run", "--steps", "30", "--device", "cpu", "-o", "plot.svg", "-o", "next.csv",
    ]);
    let values: Vec<f64> = continued
        .ok()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(values.len(), 30);
    assert!(
        values.iter().all(|value| (380.0..620.0).contains(value)),
        "{values:?}"
    );
    assert_has(
        &fs::read_to_string(place.path("plot.svg")).unwrap(),
        &["<svg", "continuation", "level"],
    );
    assert!(
        fs::read_to_string(place.path("next.csv"))
            .unwrap()
            .starts_with("step,level\n1,")
    );
}

#[test]
fn lines_of_standard_input_are_predicted_with_carried_states() {
    let place = forecaster();
    let every = place
        .run(&[
            "predict",
            "run",
            "levels.csv",
            "--device",
            "cpu",
            "--every-step",
        ])
        .ok();
    // The predictions for the lines are those for the steps of the first window.
    let expected: Vec<f64> = every
        .lines()
        .skip(1)
        .take(24)
        .map(|line| line.rsplit(',').next().unwrap().parse().unwrap())
        .collect();
    let table = fs::read_to_string(place.path("levels.csv")).unwrap();
    let rows: Vec<&str> = table.lines().take(25).collect();
    let without_header: Vec<&str> = rows[1..]
        .iter()
        .map(|row| row.split(',').nth(1).unwrap())
        .collect();
    let twice = format!(
        "{}\n\n{}\n",
        without_header.join("\n"),
        without_header.join("\n")
    );
    for (lines, count) in [(rows.join("\n") + "\n", 24), (twice, 48)] {
        let answers = place.stream(&lines, &[]).ok();
        let values: Vec<f64> = answers
            .lines()
            .skip(1)
            .map(|line| line.split(',').nth(1).unwrap().parse().unwrap())
            .collect();
        assert_eq!(values.len(), count);
        for (n, value) in values.iter().enumerate() {
            assert!(
                (value - expected[n % 24]).abs() < 1e-2,
                "{n}: {value} {}",
                expected[n % 24]
            );
        }
    }
    let objects = place.stream("500\n510\n", &["--json"]).ok();
    let second = json(objects.lines().nth(1).unwrap());
    // The row that is predicted, one after the line.
    assert_eq!(second["row"], 3);
    assert!(second["values"]["level"].is_number());
    let wrong = place.stream("500\nabc\n", &[]);
    assert_eq!(wrong.code, Some(1));
    assert_has(&wrong.stderr, &["line 2", "`abc` is not a finite number"]);
    assert_has(
        &place.stream("1,2\n", &[]).stderr,
        &["line 1: there are 2 cells", "level"],
    );
    assert_has(
        &place.stream("", &["-o", "x.csv"]).fails(2),
        &["one by one"],
    );
}

/// Writes sequences that rise or fall, as arrays.
fn write_arrays(place: &Workspace) -> Array3<f32> {
    fs::create_dir(place.path("arrays")).unwrap();
    let slope = |n: usize, t: usize, i: usize| {
        (if n.is_multiple_of(2) { t } else { 12 - t }) as f32 + (n * 7 + i) as f32 % 3.0
    };
    let inputs = Array3::from_shape_fn((120, 12, 2), |(n, t, i)| 100.0 * slope(n, t, i));
    let labels = Array1::from_shape_fn(120, |n| (n % 2) as i64);
    let lengths = Array1::from_shape_fn(120, |n| 12 - (n % 5) as i32);
    write_npy(place.path("arrays/x.npy"), &inputs).unwrap();
    write_npy(place.path("arrays/labels.npy"), &labels).unwrap();
    write_npy(place.path("arrays/lengths.npy"), &lengths).unwrap();
    inputs
}

#[test]
fn arrays_become_a_recipe_a_classifier_and_probabilities() {
    let place = Workspace::new();
    let inputs = write_arrays(&place);
    let seen = json(
        &place
            .run(&["init", "arrays", "-o", "mine.toml", "--json"])
            .ok(),
    );
    assert_eq!(seen["train_sequences"], 96);
    assert_eq!(
        (&seen["features"], &seen["outputs"]),
        (&2.into(), &2.into())
    );
    place
        .run(&[
            "train",
            "mine.toml",
            "--device",
            "cpu",
            "--epochs",
            "15",
            "--out",
            "run",
        ])
        .ok();
    let evaluation = json(
        &place
            .run(&["eval", "run", "--device", "cpu", "--json"])
            .ok(),
    );
    let majority = evaluation["majority_accuracy"].as_f64().unwrap();
    assert!(
        evaluation["test_accuracy"].as_f64().unwrap() > majority + 0.2,
        "{evaluation}"
    );
    assert_eq!(evaluation["does_not_beat"], Value::Array(vec![]));
    assert_has(
        &place.run(&["eval", "run", "--device", "cpu"]).ok(),
        &["the most frequent class alone has accuracy"],
    );

    let answers = place
        .run(&["predict", "run", "arrays", "--device", "cpu"])
        .ok();
    let lines: Vec<&str> = answers.lines().collect();
    assert_eq!((lines[0], lines.len()), ("sequence,class,p_0,p_1", 121));
    let right = (0..120)
        .filter(|n| lines[n + 1].split(',').nth(1) == Some(["0", "1"][n % 2]))
        .count();
    assert!(right > 110, "{right}");

    // Without lengths, and to each format of file.
    write_npy(place.path("new.npy"), &inputs).unwrap();
    for output in ["p.npy", "p.json", "p.csv"] {
        place
            .run(&[
                "predict",
                "run",
                "new.npy",
                "--device",
                "cpu",
                "-o",
                output,
                "--batch-size",
                "7",
            ])
            .ok();
    }
    let probabilities: Array2<f32> = read_npy(place.path("p.npy")).unwrap();
    assert_eq!(probabilities.dim(), (120, 2));
    assert!(
        probabilities
            .rows()
            .into_iter()
            .all(|row| (row.sum() - 1.0).abs() < 1e-5)
    );
    let objects = json(&fs::read_to_string(place.path("p.json")).unwrap());
    let of_json = |n: usize| objects[n]["probabilities"]["1"].as_f64().unwrap() as f32;
    assert!((0..120).all(|n| of_json(n) == probabilities[[n, 1]]));
    let text = fs::read_to_string(place.path("p.csv")).unwrap();
    assert_eq!(text.lines().count(), 121);
    let _: Ix2 = probabilities.raw_dim();

    let message = place
        .run(&[
            "predict", "run", "new.npy", "--device", "cpu", "-o", "p.txt",
        ])
        .fails(2);
    assert_has(&message, &["must end in .npy, .csv or .json"]);
    let message = place
        .run(&[
            "predict",
            "run",
            "new.npy",
            "--device",
            "cpu",
            "--every-step",
        ])
        .fails(2);
    assert_has(&message, &["predicts once for each sequence"]);
    assert_has(
        &place
            .run(&["predict", "run", "none.npy", "--device", "cpu"])
            .fails(1),
        &["none.npy: there is no such file"],
    );
}

#[test]
fn predictions_name_classes_and_paths_are_relative_to_the_recipe() {
    let place = Workspace::new();
    fs::create_dir(place.path("mine")).unwrap();
    let row = |n: usize| {
        let up = (n / 8).is_multiple_of(2);
        let value = if up { n % 8 } else { 8 - n % 8 };
        format!(
            "m{},{value},{}\n",
            n / 8,
            if up { "\"up, or so\"" } else { "down" }
        )
    };
    let rows: String = (0..480).map(row).collect();
    fs::write(
        place.path("mine/slopes.csv"),
        format!("machine,v,trend\n{rows}"),
    )
    .unwrap();
    let recipe = r#"
name = "slopes"
seed = 0
epochs = 10
batch_size = 8
[data]
kind = "csv"
path = "slopes.csv"
inputs = ["v"]
targets = ["trend"]
task = "classification"
group = "machine"
split_by = "group"
[[network.layer]]
cell = "gru"
hidden_size = 8
bias = "double"
[network.head]
loss = "cross-entropy"
[optimizer]
kind = "adam"
lr = 0.02
"#;
    fs::write(place.path("mine/recipe.toml"), recipe).unwrap();
    let text = place
        .run(&[
            "train",
            "mine/recipe.toml",
            "--device",
            "cpu",
            "--out",
            "run",
            "--quiet",
        ])
        .ok();
    assert_has(&text, &["the most frequent class alone has accuracy"]);
    let answers = place
        .run(&[
            "predict",
            "run",
            "mine/slopes.csv",
            "--device",
            "cpu",
            "--json",
        ])
        .ok();
    let first = json(answers.lines().next().unwrap());
    assert_eq!(
        (&first["machine"], &first["class"]),
        (&"m0".into(), &"up, or so".into())
    );
    assert!(first["probabilities"]["down"].as_f64().unwrap() < 0.5);
    let answers = place
        .run(&["predict", "run", "mine/slopes.csv", "--device", "cpu"])
        .ok();
    assert_has(
        &answers,
        &[
            "machine,row,class,p_down,\"p_up, or so\"\n",
            "m0,8,\"up, or so\",",
        ],
    );
    assert_eq!(answers.lines().count(), 61);

    // A file without the columns of the model.
    fs::write(place.path("other.csv"), "machine,w\nm0,1\n").unwrap();
    let message = place
        .run(&["predict", "run", "other.csv", "--device", "cpu"])
        .fails(1);
    assert_has(
        &message,
        &[
            "other.csv: line 1: there is no column `v`",
            "data.inputs",
            "`machine` or `w`",
        ],
    );
    let message = place.run(&["generate", "run", "--device", "cpu"]).fails(1);
    assert_has(&message, &["data.targets the same as data.inputs"]);
}

#[test]
fn init_refuses_data_that_it_cannot_use() {
    let place = Workspace::new();
    fs::create_dir(place.path("empty")).unwrap();
    write_npy(place.path("x.npy"), &Array1::<f32>::zeros(3)).unwrap();
    fs::write(place.path("numbers.csv"), "1,2\n".repeat(20)).unwrap();
    fs::write(place.path("short.csv"), "a,b\n1,2\n").unwrap();
    fs::write(
        place.path("text.csv"),
        format!(
            "a,b\n{}",
            (0..20).map(|n| format!("x{n},y{n}\n")).collect::<String>()
        ),
    )
    .unwrap();
    for (arguments, code, expected) in [
        (&["none.csv"][..], 1, "none.csv: the table cannot be read"),
        (&["empty"], 1, "neither IDX files"),
        (&["x.npy"], 1, "inputs and no targets"),
        (&["numbers.csv"], 1, "put a header above it"),
        (&["short.csv"], 1, "at least 10"),
        (&["text.csv"], 1, "no column holds numbers"),
        (&["short.csv", "--steps", "0"], 2, "--steps"),
        (&["data", "--target", "a"], 2, "must be columns of a table"),
    ] {
        let message = place.run(&[&["init"], arguments].concat()).fails(code);
        assert_has(&message, &[expected]);
    }
}

#[test]
fn init_proposes_recipes_for_images_and_series() {
    let place = Workspace::new();
    place.run(&["init", "data"]).ok();
    place
        .run(&[
            "train",
            "data.toml",
            "--device",
            "cpu",
            "--epochs",
            "1",
            "--quiet",
            "--out",
            "images",
        ])
        .ok();
    let lines: String = (0..200)
        .map(|n| format!("{}\n", (n as f64 * 0.4).sin()))
        .collect();
    fs::write(place.path("wave.txt"), lines).unwrap();
    assert_has(
        &place.run(&["init", "wave.txt"]).ok(),
        &["a series of 200 values"],
    );
    let text = place
        .run(&[
            "train",
            "wave.toml",
            "--device",
            "cpu",
            "--epochs",
            "2",
            "--quiet",
            "--out",
            "wave",
        ])
        .ok();
    assert_has(&text, &["last value"]);
    let answers = place
        .run(&["predict", "wave", "wave.txt", "--device", "cpu"])
        .ok();
    assert!(answers.starts_with("row,value\n21,"), "{answers}");
    let answers = place
        .run(&["predict", "images", "data", "--device", "cpu"])
        .ok();
    assert_eq!(answers.lines().count(), 51);
}
