//! The command line as a user sees it, on small data sets and the CPU.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use common::place::{Run, SMALL, Workspace, assert_has};
use serde_json::Value;

const METRICS: [&str; 10] = [
    "epoch",
    "train_loss",
    "train_accuracy",
    "train_last_step_loss",
    "test_loss",
    "test_accuracy",
    "test_last_step_loss",
    "test_metrics",
    "sequences_per_second",
    "seconds",
];

fn epochs(stdout: &str) -> Vec<Value> {
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn run_directories(place: &Workspace) -> Vec<String> {
    let entries = fs::read_dir(place.path("runs")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn json_metrics_run_directory_and_eval() {
    let place = Workspace::new();
    let stdout = place
        .train(&["--epochs", "3", "--out", "run", "--json"])
        .ok();
    let lines = epochs(&stdout);
    assert_eq!(lines.len(), 3);
    for (index, line) in lines.iter().enumerate() {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, METRICS);
        assert_eq!(line["epoch"], index + 1);
        for key in METRICS {
            let last_step = key.ends_with("last_step_loss");
            let is_number = !last_step && key != "test_metrics";
            assert_eq!(line[key].is_number(), is_number, "{key} in {line}");
        }
        for key in ["balanced_accuracy", "macro_f1"] {
            assert!(line["test_metrics"][key].is_number(), "{key} in {line}");
        }
    }
    let loss = |epoch: usize| lines[epoch]["train_loss"].as_f64().unwrap();
    assert!(loss(2) < loss(0), "{stdout}");

    assert_eq!(
        fs::read_to_string(place.path("run/metrics.jsonl")).unwrap(),
        stdout
    );
    let recipe = fs::read_to_string(place.path("run/recipe.toml")).unwrap();
    assert_has(
        &recipe,
        &[
            "epochs = 3",
            "hidden_size = 16",
            "lr = 0.01",
            "classes = 3",
            "path = \"data\"",
        ],
    );
    let mut names: Vec<_> = fs::read_dir(place.path("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    let expected = [
        ".lock",
        "checkpoints",
        "devices.txt",
        "metrics.jsonl",
        "model.safetensors",
        "recipe.toml",
        "report.html",
    ];
    assert_eq!(names, expected);

    for model in ["run", "run/model.safetensors"] {
        let stdout = place
            .run(&["eval", model, "--device", "cpu", "--json"])
            .ok();
        let [evaluation] = &epochs(&stdout)[..] else {
            panic!("one line expected: {stdout}");
        };
        assert_eq!(evaluation["test_accuracy"], lines[2]["test_accuracy"]);
        assert_eq!(evaluation["sequences"], 50);
        let difference =
            evaluation["test_loss"].as_f64().unwrap() - lines[2]["test_loss"].as_f64().unwrap();
        assert!(difference.abs() < 1e-5, "{difference}");
    }
    let human = place
        .run(&["eval", "run", "--device", "cpu", "--batch-size", "7"])
        .ok();
    let accuracy = lines[2]["test_accuracy"].as_f64().unwrap();
    assert_has(
        &human,
        &[&format!("accuracy {accuracy:.4}"), "50 sequences"],
    );
}

#[test]
fn eval_prints_the_requested_metrics() {
    let place = Workspace::new();
    // One epoch is too short to learn all classes.
    let arguments = [
        "--epochs",
        "1",
        "--set",
        "optimizer.lr=0.001",
        "--out",
        "run",
        "--quiet",
    ];
    place.train(&arguments).ok();
    let eval = |more: &[&str]| place.run(&[&["eval", "run", "--device", "cpu"], more].concat());
    let json = |more: &[&str]| -> Value {
        serde_json::from_str(&eval(&[more, &["--json"]].concat()).ok()).unwrap()
    };

    let plain = json(&[]);
    assert!(plain["test_last_step_loss"].is_null());
    for key in ["top_k", "confusion", "recall"] {
        assert!(plain.get(key).is_none(), "{plain}");
    }
    let all = json(&["--top-k", "1,3", "--confusion"]);
    assert_eq!(all["top_k"]["1"], plain["test_accuracy"]);
    assert_eq!(all["top_k"]["3"], 1.0);
    let count = |row: usize, column: usize| all["confusion"][row][column].as_u64().unwrap();
    let rows = [0, 1, 2].map(|row| [0, 1, 2].map(|column| count(row, column)));
    assert_eq!(rows.map(|row| row.iter().sum::<u64>()), [17, 17, 16]);
    let right = (rows[0][0] + rows[1][1] + rows[2][2]) as f64;
    assert_eq!(all["test_accuracy"], right / 50.0);
    assert_eq!(all["recall"][2], rows[2][2] as f64 / 16.0);

    let human = eval(&["--top-k", "2", "--confusion"]).ok();
    assert_has(&human, &["test loss", " top-2 ", "recall"]);
    let lines: Vec<&str> = human.lines().collect();
    let header = lines.iter().position(|line| line.ends_with("recall"));
    let table = &lines[header.expect("it is asked for")..][..4];
    assert!(
        table.iter().all(|line| line.len() == table[0].len()),
        "{human}"
    );
    assert!(table[3].trim_start().starts_with('2'), "{human}");

    // The loss of a split is the weighted mean of the losses of its ranges.
    let (first, rest) = (json(&["--range", "0..20"]), json(&["--range", "20..50"]));
    assert_eq!(
        (&first["sequences"], &rest["sequences"]),
        (&20.into(), &30.into())
    );
    let loss = |value: &Value| value["test_loss"].as_f64().unwrap();
    let mean = (20.0 * loss(&first) + 30.0 * loss(&rest)) / 50.0;
    assert!((mean - loss(&plain)).abs() < 1e-6);
    assert_ne!(loss(&first), loss(&rest));
    let train = json(&["--split", "train"]);
    assert_eq!(train["sequences"], 200);
    assert!(train["train_loss"].is_number() && train.get("test_loss").is_none());

    for (arguments, expected) in [
        (&["--top-k", "0"][..], "K must be 1 to 3"),
        (&["--top-k", "1,4"], "--top-k 4: the model has 3 classes"),
        (&["--top-k", "x"], "--top-k"),
        (&["--range", "20..51"], "there are 50 sequences"),
        (&["--range", "7..7"], "A must be below B"),
        (&["--range", "7"], "expected two whole numbers"),
        (&["--split", "tset"], "test"),
    ] {
        assert_has(&eval(arguments).fails(2), &[expected]);
    }
}

#[test]
fn lines_for_humans_and_the_default_directory() {
    let place = Workspace::new();
    let stdout = place.train(&["--epochs", "2"]).ok();
    assert_has(
        &stdout,
        &[
            "epoch 1/2  train loss",
            "epoch 2/2  train loss",
            "test loss",
            "model saved as runs",
        ],
    );
    let [first] = &run_directories(&place)[..] else {
        panic!("one run directory expected");
    };
    assert!(first.starts_with("mnist-2"), "{first}");
    assert_has(&stdout, &["gatescan eval runs", first]);

    // A run that begins in the same second gets a different directory.
    place.train(&["--epochs", "1"]).ok();
    assert_eq!(run_directories(&place).len(), 2);

    let run = place.train(&["--epochs", "1", "--quiet"]);
    assert_eq!(run.stderr, "");
    let stdout = run.ok();
    assert!(
        !stdout.contains("epoch 1/1") && stdout.contains("accuracy"),
        "{stdout}"
    );
}

#[test]
fn an_existing_run_is_never_overwritten() {
    let place = Workspace::new();
    place.train(&["--epochs", "1", "--out", "run"]).ok();
    let model = fs::read(place.path("run/model.safetensors")).unwrap();
    let message = place
        .train(&["--epochs", "1", "--seed", "9", "--out", "run"])
        .fails(2);
    assert_has(&message, &["--out run", "not overwritten"]);
    assert_eq!(
        fs::read(place.path("run/model.safetensors")).unwrap(),
        model
    );

    fs::write(place.path("file"), "").unwrap();
    let message = place.train(&["--out", "file/run"]).fails(1);
    assert_has(&message, &["file/run", "cannot be created"]);
    // An empty directory may be used.
    fs::create_dir(place.path("empty")).unwrap();
    place.train(&["--epochs", "1", "--out", "empty"]).ok();
}

#[test]
fn same_seed_same_bytes() {
    let place = Workspace::new();
    let model = |seed: &str, out: &str| {
        place
            .train(&["--epochs", "2", "--seed", seed, "--out", out])
            .ok();
        fs::read(place.path(out).join("model.safetensors")).unwrap()
    };
    let first = model("1", "a");
    assert!(first == model("1", "b"), "the same seed gave other bytes");
    assert!(first != model("2", "c"), "another seed gave the same bytes");
}

#[test]
fn recipes_are_listed_and_train_as_files() {
    let place = Workspace::new();
    let list = place.run(&["recipes"]).ok();
    assert_has(
        &list,
        &[
            "mnist ",
            "mnist-rnn ",
            "mnist-gru ",
            "series ",
            "LSTM with 128 units",
        ],
    );
    for name in [
        "mnist",
        "mnist-rnn",
        "mnist-gru",
        "mnist-lstm",
        "mnist-scan",
    ] {
        let toml = place.run(&["recipes", name]).ok();
        fs::write(place.path("mine.toml"), toml).unwrap();
        let arguments = [
            &["train", "mine.toml"],
            &SMALL[..],
            &["--epochs", "1", "--out", name],
        ]
        .concat();
        place.run(&arguments).ok();
        // The recipe in a run directory can be trained unchanged.
        let recipe = format!("{name}/recipe.toml");
        place
            .run(&["train", &recipe, "--device", "cpu", "--out", "again"])
            .ok();
        fs::remove_dir_all(place.path("again")).unwrap();
    }
}

#[test]
fn flags_and_set_change_the_recipe() {
    let place = Workspace::new();
    place
        .train(&[
            "--epochs",
            "1",
            "--layers",
            "2",
            "--cell",
            "gru",
            "--set",
            "network.layer.1.hidden_size=7",
            "--set",
            "clip_norm=5",
            "--out",
            "run",
        ])
        .ok();
    let recipe = fs::read_to_string(place.path("run/recipe.toml")).unwrap();
    assert_has(
        &recipe,
        &["hidden_size = 16", "hidden_size = 7", "clip_norm = 5.0"],
    );
    assert_eq!(recipe.matches("cell = \"gru\"").count(), 2);
    assert_eq!(recipe.matches("bias = \"double\"").count(), 2);
}

#[test]
fn mistakes_in_a_request_are_explained() {
    let place = Workspace::new();
    for (arguments, parts) in [
        (
            &["train", "mnsit"][..],
            &["`mnsit`", "did you mean `mnist`?"][..],
        ),
        (&["recipes", "mnist-gur"], &["did you mean `mnist-gru`?"]),
        (
            &["train", "mnist", "--set", "batchsize=3"],
            &["--set batchsize=3", "did you mean `batch_size`?"],
        ),
        (
            &[
                "train",
                "mnist",
                "--set",
                "data={kind=\"arrays\"}",
                "--device",
                "cpu",
            ],
            &["are arrays of a program that uses the library"],
        ),
        (
            &["train", "mnist", "--set", "network.layer.0.cell=ltsm"],
            &["did you mean `lstm`?"],
        ),
        (&["train", "mnist", "--cell", "ltsm"], &["ltsm", "lstm"]),
        (
            &["train", "mnist", "--epochs", "0"],
            &["epochs is 0; it must be at least 1"],
        ),
        (&["train", "mnist", "--layers", "0"], &["--layers"]),
        (&["train", "mnist", "--lr", "nan"], &["optimizer.lr is NaN"]),
        (&["train", "mnist", "--epoch", "3"], &["--epochs"]),
        (
            &["train", "mnist", "--device", "no-such-gpu"],
            &["no adapter has the index or name `no-such-gpu`"],
        ),
        (&["eval", "run", "--batch-size", "0"], &["--batch-size"]),
        (&["tran"], &["train"]),
        (&[], &["Usage"]),
    ] {
        assert_has(&place.run(arguments).fails(2), parts);
    }

    fs::write(place.path("none.toml"), "").unwrap();
    assert_has(
        &place.run(&["train", "none.toml"]).fails(2),
        &["none.toml", "missing"],
    );
    let toml = place.run(&["recipes", "mnist"]).ok();
    fs::write(
        place.path("mine.toml"),
        toml.replace("hidden_size =", "hiden_size ="),
    )
    .unwrap();
    let line = toml
        .lines()
        .position(|line| line.starts_with("hidden_size"))
        .unwrap()
        + 1;
    let message = place.run(&["train", "mine.toml"]).fails(2);
    assert_has(
        &message,
        &[
            &format!("mine.toml:{line}: "),
            "`hiden_size`",
            "did you mean `hidden_size`?",
        ],
    );
    assert!(
        !place.path("runs").exists(),
        "a refused request left a run directory"
    );
}

#[test]
fn damaged_data_are_refused_by_name() {
    let images = "train-images-idx3-ubyte";
    let labels = "t10k-labels-idx1-ubyte";
    let whole = Workspace::new();
    let whole_images = fs::read(whole.path("data").join(images)).unwrap();
    let cases: [(&str, Vec<u8>, &str); 5] = [
        (images, b"not an IDX file".to_vec(), "magic number"),
        (images, whole_images[..5000].to_vec(), "only 4984 follow"),
        (
            images,
            [&whole_images[..], &[0]].concat(),
            "more bytes follow",
        ),
        (
            labels,
            [&[0, 0, 8, 1, 0, 0, 0, 49][..], &[0; 49]].concat(),
            "holds 49 labels",
        ),
        (
            labels,
            [&[0, 0, 8, 1, 0, 0, 0, 50][..], &[3; 50]].concat(),
            "label 0",
        ),
    ];
    for (name, bytes, part) in cases {
        let place = Workspace::new();
        fs::write(place.path("data").join(name), bytes).unwrap();
        let path = Path::new("data").join(name).display().to_string();
        assert_has(&place.train(&[]).fails(1), &[&path, part]);
        assert!(!place.path("runs").exists());
    }

    let place = Workspace::new();
    fs::remove_file(place.path("data").join(labels)).unwrap();
    assert_has(&place.train(&[]).fails(1), &[labels, "not found"]);
    let message = place
        .run(&["train", "mnist", "--device", "cpu", "--data", "nowhere"])
        .fails(1);
    assert_has(&message, &["nowhere", "no such directory"]);
}

#[test]
fn models_that_cannot_be_evaluated() {
    let place = Workspace::new();
    assert_has(
        &place.run(&["eval", "nowhere"]).fails(1),
        &["nowhere", "no such file"],
    );
    assert_has(
        &place.run(&["eval", "data"]).fails(1),
        &["model.safetensors", "no such file"],
    );
    fs::write(place.path("text"), "this is no model at all").unwrap();
    assert_has(
        &place.run(&["eval", "text"]).fails(1),
        &["text: not a safetensors file"],
    );

    place.train(&["--epochs", "1", "--out", "run"]).ok();
    fs::create_dir(place.path("wide")).unwrap();
    for name in ["images-idx3", "labels-idx1"] {
        let bytes = fs::read(place.path("data").join(format!("t10k-{name}-ubyte"))).unwrap();
        fs::write(place.path("wide").join(format!("t10k-{name}-ubyte")), bytes).unwrap();
    }
    // 16 rows of 4 in place of 8 rows of 8.
    let path = place.path("wide/t10k-images-idx3-ubyte");
    let mut bytes = fs::read(&path).unwrap();
    (bytes[11], bytes[15]) = (16, 4);
    fs::write(&path, bytes).unwrap();
    let message = place
        .run(&["eval", "run", "--device", "cpu", "--data", "wide"])
        .fails(1);
    assert_has(&message, &["have 4 features", "takes 8"]);

    let model = fs::read(place.path("run/model.safetensors")).unwrap();
    fs::write(place.path("cut"), &model[..model.len() - 1]).unwrap();
    assert_has(
        &place.run(&["eval", "cut", "--device", "cpu"]).fails(1),
        &["cut", "cut off"],
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Workspace::new();
    let train = [
        &["train", "mnist"],
        &SMALL[..],
        &["--epochs", "3", "--out", "run"],
    ]
    .concat();
    for arguments in [&["recipes"][..], &["recipes", "mnist"], &["--help"], &train] {
        let mut command = place.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        Run::from(child.wait_with_output().unwrap()).ok();
    }
    assert!(place.path("run/model.safetensors").exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_ends_well() {
    let place = Workspace::new();
    let arguments = [
        &["train", "mnist"],
        &SMALL[..],
        &["--epochs", "100000", "--out", "run", "--json"],
    ]
    .concat();
    let mut command = place.command(&arguments);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"epoch\":1,"), "{first}");
    let interrupt = format!("kill -INT {}", child.id());
    assert!(
        Command::new("sh")
            .args(["-c", &interrupt])
            .status()
            .unwrap()
            .success()
    );
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    assert_has(
        &run.stderr,
        &[
            "stopping after this step",
            "stopped in epoch",
            "model saved as run",
        ],
    );
    run.ok();
    assert!(place.path("run/report.html").is_file());
    place.run(&["eval", "run", "--device", "cpu"]).ok();
}

#[test]
fn the_cpu_is_verified() {
    let place = Workspace::new();
    let verify = |more: &[&str]| place.run(&[&["verify", "--device", "cpu"], more].concat());
    let object: Value = serde_json::from_str(&verify(&["--json"]).ok()).unwrap();
    assert_eq!(object["passed"], true);
    assert_eq!(object["kernels"].as_object().unwrap().len(), 48);
    for (kernel, row) in object["kernels"].as_object().unwrap() {
        assert!(row["units"].as_f64().unwrap() <= 1.0, "{kernel}: {row}");
        assert!(row["numbers"].as_u64().unwrap() > 0, "{kernel}: {row}");
        // Losses and norms that are not finite have no bound; what they set is compared.
        if !["record", "softmax_cross_entropy"].contains(&kernel.as_str()) {
            assert_eq!(row["unbounded"], 0, "{kernel}");
        }
    }
    let one = verify(&["--case", "gemm-sizes-ordinary"]).ok();
    assert_has(&one, &["KERNEL", "gemm ", "\n\n1 cases in"]);
    // The network of a recipe is verified without its data.
    assert_has(
        &verify(&["--recipe", "series"]).ok(),
        &["scan_backward", "adam"],
    );
    assert_has(
        &verify(&["--case", "gemm"]).fails(2),
        &["--case gemm: no case has this name"],
    );
    assert_has(&verify(&["--quick", "--full"]).fails(2), &["--full"]);
    assert_has(&verify(&["--recipe", "minst"]).fails(2), &["minst"]);
}

#[test]
fn devices_are_listed() {
    let place = Workspace::new();
    assert_has(
        &place.run(&["devices"]).ok(),
        &["INDEX", "cpu", "threads", "auto chooses the"],
    );
    let devices: Value = serde_json::from_str(&place.run(&["devices", "--json"]).ok()).unwrap();
    assert!(devices["adapters"].is_array());
    assert!(devices["cpu"]["threads"].as_u64().unwrap() > 0);
    assert!(devices["auto"]["why"].is_string());
}

/// Exports and imports on the command line; `tests/interop` checks the exported files in other
/// frameworks.
#[test]
fn models_are_exported_and_imported() {
    let place = Workspace::new();
    let arguments = ["--epochs", "1", "--out", "run", "--quiet"];
    place.train(&arguments).ok();
    let eval = |model: &str| -> Value {
        let arguments = ["eval", model, "--device", "cpu", "--json", "--data", "data"];
        serde_json::from_str(&place.run(&arguments).ok()).unwrap()
    };
    let export = |more: &[&str]| place.run(&[&["export", "run", "--to"], more].concat());
    for (format, files) in [
        ("onnx", &["run/model.onnx"][..]),
        (
            "pytorch",
            &["run/model_pytorch.safetensors", "run/model_pytorch.py"],
        ),
        (
            "keras",
            &["run/model_keras.weights.h5", "run/model_keras.py"],
        ),
    ] {
        let run = export(&[format]);
        files
            .iter()
            .for_each(|file| assert_has(&run.stderr, &[&format!("wrote {file}")]));
        assert_eq!(run.ok(), "");
        let [weights, _] = files else { continue };
        let import = [
            "import",
            weights,
            "-o",
            format,
            "--recipe",
            "run/recipe.toml",
            "--quiet",
        ];
        let run = place.run(&import);
        assert_eq!(run.stderr, "");
        run.ok();
        assert_eq!(eval(format)["test_loss"], eval("run")["test_loss"]);
        let message = place.run(&import).fails(1);
        assert_has(&message, &["there is a model already"]);
    }

    let import = [
        "import",
        "run/model_keras.weights.h5",
        "-o",
        "new",
        "--cell",
        "gru",
    ];
    assert_has(
        &place.run(&import).fails(1),
        &["no layer can be gru", "those of lstm"],
    );
    let message = export(&["onnx", "-o", "model.txt"]).fails(2);
    assert_has(&message, &["its name must end in .onnx"]);
    let message = export(&["keras", "-o", "model.h5"]).fails(2);
    assert_has(&message, &["its name must end in .weights.h5"]);
    let message = export(&["pytorch", "-o", "run/model.safetensors"]).fails(2);
    assert_has(&message, &["that is the model itself"]);
    let message = export(&["keras", "--lengths"]).fails(2);
    assert_has(&message, &["--lengths goes with --to onnx"]);
    fs::copy(place.path("run/recipe.toml"), place.path("w.npz")).unwrap();
    for (file, code, part) in [
        ("w.pt", 2, "safetensors.torch.save_file"),
        ("w.txt", 2, "must end in .safetensors"),
        ("none.npz", 1, "none.npz: cannot be read"),
        ("w.npz", 1, "w.npz: not a .weights.h5, .keras or .npz file"),
    ] {
        let message = place.run(&["import", file, "-o", "new"]).fails(code);
        assert_has(&message, &[part]);
        assert!(!place.path("new").exists());
    }
}

const COMMANDS: [&str; 17] = [
    "train",
    "lr-find",
    "tune",
    "backtest",
    "eval",
    "generate",
    "sample",
    "export",
    "import",
    "profile",
    "bench",
    "recipes",
    "verify",
    "web",
    "devices",
    "completions",
    "man",
];

#[test]
fn shells_and_manuals_know_every_command() {
    let place = Workspace::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = place.run(&["completions", shell]);
        assert_eq!(run.stderr, "");
        let script = run.ok();
        assert_has(&script, &COMMANDS);
        assert_has(&script, &["hidden-size"]);
    }
    let page = place.run(&["man"]).ok();
    assert_has(&page, &[".TH gatescan 1", "gatescan\\-train(1)"]);
    for command in COMMANDS {
        let page = place.run(&["man", command]).ok();
        assert_has(&page, &[&format!(".TH gatescan-{command} 1"), "quiet"]);
    }
    let page = place.run(&["man", "train"]).ok();
    assert!(!page.contains("inject"), "{page}");
    let message = place.run(&["man", "fly"]).fails(2);
    assert_has(&message, &["there is no command `fly`", "train, lr-find"]);
    // bash can parse the script.
    let script = place.path("complete.bash");
    fs::write(&script, place.run(&["completions", "bash"]).ok()).unwrap();
    if let Ok(output) = Command::new("bash").arg("-n").arg(&script).output() {
        assert!(output.status.success());
    }
}

/// On every command the exit code is 2 for an invalid request and 1 for a failure, with nothing on
/// standard output.
#[test]
fn exit_codes_are_the_same_everywhere() {
    let place = Workspace::new();
    for command in COMMANDS {
        place.run(&[command, "--no-such-flag"]).fails(2);
        let help = place.run(&[command, "--help"]);
        assert_eq!(help.stderr, "");
        assert_has(&help.ok(), &["--quiet"]);
    }
    place.run(&[]).fails(2);
    place.run(&["fly"]).fails(2);
    for failing in [
        &["train", "none.toml"][..],
        &["train", "--resume", "none"],
        &["eval", "none.safetensors"],
        &["generate", "none.safetensors"],
        &["export", "none.safetensors", "--to", "onnx"],
        &["import", "none.npz", "-o", "new"],
        &["profile", "none.toml"],
        &["profile", "--compare", "a.json", "b.json"],
        &["verify", "--device", "cpu", "--recipe", "none.toml"],
    ] {
        place.run(failing).fails(1);
    }
}

#[test]
fn quiet_leaves_results_and_no_color_leaves_text() {
    let place = Workspace::new();
    let run = place.train(&["--epochs", "1", "--out", "run", "--quiet"]);
    assert_eq!(run.stderr, "");
    assert_has(&run.ok(), &["model saved as run/model.safetensors"]);
    for arguments in [
        &["eval", "run", "--device", "cpu"][..],
        &["export", "run", "--to", "onnx"],
        &[
            "bench",
            "--device",
            "cpu",
            "--seconds",
            "0",
            "--shape",
            "gru-2-3-2-4",
        ],
        &["recipes"],
    ] {
        let run = place.run(&[arguments, &["--quiet"]].concat());
        assert_eq!(run.stderr, "", "{arguments:?}");
        run.ok();
    }
    // CLICOLOR_FORCE turns colors on, NO_COLOR turns them off.
    let help = |unwanted: &str| {
        let mut command = place.command(&["--help"]);
        command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", unwanted);
        Run::from(command.output().unwrap()).ok()
    };
    assert!(help("").contains('\u{1b}'));
    assert!(!help("1").contains('\u{1b}'));
}

#[test]
fn tensorboard_has_a_file_of_each_start() {
    let place = Workspace::new();
    let arguments = ["--epochs", "2", "--out", "run", "--quiet"];
    place
        .train(&[&arguments[..], &["--tensorboard"]].concat())
        .ok();
    let again = [
        "train",
        "--resume",
        "run",
        "--epochs",
        "3",
        "--tensorboard",
        "--device",
        "cpu",
    ];
    place.run(&again).ok();
    let entries = fs::read_dir(place.path("run")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name.contains("tfevents")).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let bytes = fs::read(place.path("run").join(name)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert_has(&text, &["brain.Event:2", "loss/train", "accuracy/test"]);
    }
}

#[test]
fn a_series_is_learned_and_continued() {
    let place = Workspace::new();
    let small = [
        "--device",
        "cpu",
        "--epochs",
        "2",
        "--hidden-size",
        "12",
        "--set",
        "data.windows=1000",
    ];
    let train = [&["train", "series", "--out", "run", "--json"], &small[..]].concat();
    let epochs = place.run(&train).ok();
    let loss = |line: &str| -> f64 {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            row["test_accuracy"].is_null(),
            "there is nothing to be right about"
        );
        row["test_loss"].as_f64().unwrap()
    };
    let losses: Vec<f64> = epochs.lines().map(loss).collect();
    assert!(losses[1] < losses[0], "{losses:?}");
    let evaluation = place
        .run(&["eval", "run", "--device", "cpu", "--json"])
        .ok();
    assert!((loss(&evaluation) - losses[1]).abs() < 1e-6);
    let last_step = |line: &str| -> f64 {
        let row: Value = serde_json::from_str(line).unwrap();
        row["test_last_step_loss"].as_f64().unwrap()
    };
    let trained = last_step(epochs.lines().nth(1).unwrap());
    assert!((last_step(&evaluation) - trained).abs() < 1e-6);
    let refused = place.run(&["eval", "run", "--device", "cpu", "--confusion"]);
    assert_has(&refused.fails(2), &["the model predicts values"]);

    let generate = |more: &[&str]| {
        let arguments = [
            &["generate", "run", "--device", "cpu", "--steps", "7"],
            more,
        ]
        .concat();
        place.run(&arguments).ok()
    };
    let carried = generate(&["-o", "a.npy", "-o", "a.csv", "-o", "a.svg"]);
    assert_eq!(carried.lines().count(), 7);
    // Both methods compute the first value from zero states over the same window.
    let windows = generate(&["--window"]);
    let first = |text: &str| text.lines().next().unwrap().parse::<f32>().unwrap();
    assert!((first(&carried) - first(&windows)).abs() < 1e-5);
    let csv = fs::read_to_string(place.path("a.csv")).unwrap();
    assert_eq!(
        csv.lines().nth(1).unwrap(),
        format!("1,{}", carried.lines().next().unwrap())
    );
    assert!(
        fs::read(place.path("a.npy"))
            .unwrap()
            .starts_with(b"\x93NUMPY")
    );
    assert!(
        fs::read_to_string(place.path("a.svg"))
            .unwrap()
            .contains("<svg")
    );
    let json: serde_json::Value = serde_json::from_str(&generate(&["--json"])).unwrap();
    assert_eq!(json["values"].as_array().unwrap().len(), 7);
    assert!(json["runs_away_at"].is_null());

    // Any prediction diverges from a seed of tiny values.
    fs::write(place.path("seed.txt"), "1e-7\n2e-7\n").unwrap();
    let away = place.run(&[
        "generate",
        "run",
        "--device",
        "cpu",
        "--steps",
        "3",
        "--seed-sequence",
        "seed.txt",
    ]);
    assert_has(&away.stderr, &["runs away: at step 1"]);
    for (arguments, code, expected) in [
        (&["-o", "plot.png"][..], 2, "must end in .npy, .csv or .svg"),
        (
            &["--window", "--seed-sequence", "seed.txt"],
            1,
            "the seed has 2 steps and the window 20",
        ),
        (
            &["--seed-sequence", "none.txt"],
            1,
            "none.txt: the series cannot be read",
        ),
    ] {
        let refused = place.run(&[&["generate", "run", "--device", "cpu"], arguments].concat());
        assert_eq!(refused.code, Some(code));
        assert_has(&refused.stderr, &[expected]);
    }
}

#[test]
fn the_loss_is_reported_every_n_updates() {
    let place = Workspace::new();
    let train = |more: &[&str]| {
        // 40 updates.
        let small = [
            "train",
            "series",
            "--device",
            "cpu",
            "--epochs",
            "2",
            "--hidden-size",
            "12",
            "--set",
            "data.windows=1000",
            "--report-every",
            "15",
        ];
        place.run(&[&small[..], more].concat())
    };
    let human = train(&["--out", "human"]).ok();
    assert_has(
        &human,
        &[
            "step 15  mean loss",
            "step 30  mean loss",
            "epoch 2/2",
            "last step",
        ],
    );
    let stdout = train(&["--out", "json", "--json"]).ok();
    assert_eq!(epochs(&stdout).len(), 2, "{stdout}");
    let metrics = |run: &str| {
        let text = fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
        epochs(&text)
    };
    let lines = metrics("json");
    let steps: Vec<&Value> = lines.iter().map(|line| &line["step"]).collect();
    assert_eq!(
        steps,
        [
            &Value::from(15),
            &Value::Null,
            &Value::from(30),
            &Value::Null
        ]
    );
    let keys: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["step", "loss"]);
    // The reports do not depend on when losses are read back, which differs between the runs.
    assert_eq!(
        [&lines[0], &lines[2]],
        [&metrics("human")[0], &metrics("human")[2]]
    );
    assert_has(
        &fs::read_to_string(place.path("json/recipe.toml")).unwrap(),
        &["report_every = 15"],
    );
    let message = place
        .run(&["train", "series", "--report-every", "0"])
        .fails(2);
    assert_has(&message, &["report_every is 0; it must be at least 1"]);
}

#[test]
fn a_series_without_a_test_split_is_evaluated_on_the_training_split() {
    let place = Workspace::new();
    let values: Vec<String> = (0..60).map(|n| (n % 7).to_string()).collect();
    fs::write(place.path("series.txt"), values.join("\n")).unwrap();
    let arguments = [
        "train",
        "series",
        "--device",
        "cpu",
        "--epochs",
        "1",
        "--data",
        "series.txt",
        "--set",
        "data.test_fraction=0.0",
        "--out",
        "run",
    ];
    place.run(&arguments).ok();
    let eval = ["eval", "run", "--device", "cpu"];
    assert_has(&place.run(&eval).fails(1), &["no test split"]);
    let other = place.run(&[&eval[..], &["--split", "train"]].concat()).ok();
    assert_has(&other, &["train loss", "last step", "40 sequences"]);
}

/// `profile mnist` on the CPU, small, with `more` flags.
fn profile(place: &Workspace, more: &[&str]) -> Run {
    let small = [
        "profile",
        "mnist",
        "--device",
        "cpu",
        "--data",
        "data",
        "--steps",
        "2",
        "--set",
        "data.classes=3",
        "--set",
        "network.layer.0.hidden_size=16",
        "--set",
        "batch_size=10",
    ];
    place.run(&[&small[..], more].concat())
}

#[test]
fn a_profile_is_printed_and_written() {
    let place = Workspace::new();
    let files = ["--trace", "trace.json", "--html", "page.html"];
    let text = profile(&place, &files).ok();
    assert_has(
        &text,
        &[
            "recipe    mnist, T 8, B 10, 2 steps profiled",
            "threads\nceilings  copy ",
            " GB/s (median ",
            "PHASE     KERNEL",
            "forward   scan_forward           l0 ",
            "backward  gemm                   d rnn.weight_hh_l0 ",
            "update    adam                   parameters ",
            "step      plain ",
            "idle between calls",
            "sequences/s, ",
            "bytes     parameters 6.4 KiB",
            "memory    planned ",
        ],
    );
    let read = |name: &str| fs::read_to_string(place.path(name)).unwrap();
    let trace: Value = serde_json::from_str(&read("trace.json")).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 40);
    assert_has(&read("page.html"), &["<!doctype html>", "scan_forward"]);

    let before = profile(&place, &["--json"]).ok();
    let object: Value = serde_json::from_str(&before).unwrap();
    assert_eq!(object["recipe"], "mnist");
    assert_eq!(object["sites"].as_array().unwrap().len(), 19);
    // A thousand times slower is more than noise.
    let mut slow = object.clone();
    for time in ["median", "low", "high"] {
        let value = &mut slow["sites"][4]["step_us"][time];
        *value = (value.as_f64().unwrap() * 1000.0).into();
    }
    fs::write(place.path("before.json"), &before).unwrap();
    fs::write(place.path("after.json"), slow.to_string()).unwrap();
    let compare = ["profile", "--compare", "before.json", "after.json"];
    let text = place.run(&compare).ok();
    assert_has(
        &text,
        &[
            "forward scan_forward l0  slower",
            "+99900.0%",
            "18 call sites differ by at most noise",
        ],
    );
    let json = place.run(&[&compare[..], &["--json"]].concat()).ok();
    let comparison: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(comparison["changes"][0]["label"], "forward scan_forward l0");

    let same = ["profile", "--compare", "before.json", "before.json"];
    assert_has(
        &place.run(&same).ok(),
        &["step  same", "19 call sites differ"],
    );
}

#[test]
fn a_profile_replaces_missing_data_with_synthetic_data() {
    let place = Workspace::new();
    let run = place.run(&[
        "profile",
        "mnist",
        "--device",
        "cpu",
        "--steps",
        "1",
        "--set",
        "data.path=nowhere",
        "--set",
        "network.layer.0.hidden_size=8",
        "--host-clock",
    ]);
    assert_has(&run.stderr, &["data    are missing; synthetic data"]);
    let text = run.ok();
    assert_has(
        &text,
        &[
            "T 28, B 128",
            "l0*",
            "* timed on the host",
            "the idle time is unknown",
        ],
    );
}

#[test]
fn mistakes_in_a_profile_are_explained() {
    let place = Workspace::new();
    fs::write(place.path("other.json"), "{\"adapters\": []}").unwrap();
    let fails = |arguments: &[&str], code: i32| {
        let arguments = [&["profile"], arguments].concat();
        place.run(&arguments).fails(code)
    };
    assert_has(&fails(&[], 2), &["<RECIPE>"]);
    assert_has(&fails(&["mnist", "--steps", "0"], 2), &["--steps"]);
    assert_has(&fails(&["mnits"], 2), &["mnist"]);
    assert_has(
        &fails(&["mnist", "--data", "nowhere"], 1),
        &["nowhere", "--data"],
    );
    assert_has(&fails(&["--compare", "other.json"], 2), &["--compare"]);
    let both = ["mnist", "--compare", "other.json", "other.json"];
    assert_has(&fails(&both, 2), &["--compare"]);
    assert_has(
        &fails(&["--compare", "other.json", "other.json"], 1),
        &[
            "other.json",
            "is not an output of `gatescan profile --json`",
        ],
    );
    assert_has(
        &fails(&["--compare", "nowhere.json", "other.json"], 1),
        &["nowhere.json", "cannot be read"],
    );
    assert_has(
        &profile(&place, &["--trace", "nowhere/trace.json"]).fails(1),
        &["nowhere/trace.json", "cannot be written"],
    );
}

/// `bench` at a tiny shape on the CPU.
fn bench(more: &[&str]) -> Run {
    let small = ["bench", "--device", "cpu", "--seconds", "0"];
    Workspace::new().run(&[&small[..], more].concat())
}

#[test]
fn steps_kernels_and_scans_are_measured() {
    let shapes = ["--shape", "lstm-4-7-5-6,gru2-ragged-8-6-5-4", "--json"];
    let rows = epochs(&bench(&shapes).ok());
    let keys = |row: &Value| -> Vec<String> { row.as_object().unwrap().keys().cloned().collect() };
    let names: Vec<&Value> = rows.iter().map(|row| &row["shape"]).collect();
    assert_eq!(names, ["lstm-4-7-5-6", "gru2-ragged-8-6-5-4"]);
    for row in &rows {
        assert_eq!(
            keys(row),
            [
                "shape",
                "device",
                "train_ms",
                "train_ms_p10",
                "train_ms_p90",
                "forward_ms",
                "forward_ms_p10",
                "forward_ms_p90",
                "host_us",
                "sequences_per_s",
                "gflops",
                "ceiling_percent",
                "parameters",
                "samples",
                "valid_part",
                "dense_part",
            ]
        );
        let number = |key: &str| row[key].as_f64().unwrap();
        for time in ["train_ms", "forward_ms"] {
            let [low, high] = ["p10", "p90"].map(|part| number(&format!("{time}_{part}")));
            assert!(0.0 < low && low <= number(time) && number(time) <= high);
        }
        assert!(number("samples") >= 5.0);
        assert_eq!(row["host_us"], Value::Null, "the CPU submits nothing");
        assert!(number("ceiling_percent") > 0.0 && number("ceiling_percent") < 100.0);
    }
    // 4H rows of I + H + 2 parameters and a head; a batch has four sequences.
    assert_eq!(rows[0]["parameters"], 24 * (5 + 6 + 2) + 10 * 7);
    let [each, speed] = ["train_ms", "sequences_per_s"].map(|key| rows[0][key].as_f64().unwrap());
    assert!((each * speed - 4000.0).abs() < 1e-6 * 4000.0);
    assert_eq!(rows[0]["dense_part"], Value::Null);
    assert!(rows[1]["dense_part"].as_f64().unwrap() > 0.0);
    // The sequences have 1, 1, 2, 3, 4, 4, 5 and 6 of 6 steps.
    assert_eq!(rows[1]["valid_part"], 26.0 / 48.0);

    let shape = ["--shape", "lstm-4-7-5-6"];
    let kernels = [&["kernels"], &shape[..], &["--json"]].concat();
    let rows = epochs(&bench(&kernels).ok());
    let kernels: Vec<&str> = rows
        .iter()
        .map(|row| row["kernel"].as_str().unwrap())
        .collect();
    assert_has(
        &kernels.join(" "),
        &[
            "gather",
            "gemm",
            "scan_forward",
            "scan_backward",
            "adam",
            "record",
        ],
    );
    assert!(rows.iter().all(|row| row["us"].as_f64().unwrap() > 0.0));
    assert_eq!(
        keys(&rows[0])[4..],
        [
            "site",
            "us",
            "gflops",
            "gbytes_per_s",
            "roofline_percent",
            "clock"
        ]
    );

    let text = bench(&[&["all"], &shape[..]].concat()).ok();
    assert_has(
        &text,
        &[
            "SHAPE                          TRAIN ms",
            "lstm-4-7-5-6                forward   scan_forward           l0 ",
            "BACKWARD µs",
        ],
    );
    let last = text.lines().last().unwrap().split_whitespace();
    let figures: Vec<f64> = last.skip(1).map(|figure| figure.parse().unwrap()).collect();
    assert!((figures[0] + figures[1] - figures[2]).abs() <= 0.02 * figures[2]);
}

#[test]
fn mistakes_in_a_bench_are_explained() {
    for (argument, parts) in [
        (
            "--shape=lsmt-128-28-28-128",
            ["did you mean `lstm-128-28-28-128`?", "CELL-B-T-I-H"],
        ),
        ("--shape=lstm-128-28-28", ["--shape", "did you mean"]),
        (
            "--shape=lstm-999999-999999-999999-9",
            ["--shape", "is too large"],
        ),
        ("--seconds=-1", ["--seconds", "at least 0"]),
        ("--seconds=nan", ["--seconds", "at least 0"]),
        ("steps", ["steps", "step"]),
        ("--ranks=2", ["--ranks", "bench distributed"]),
        ("--ranks=0", ["--ranks", "zero"]),
    ] {
        assert_has(&Workspace::new().run(&["bench", argument]).fails(2), &parts);
    }
    // Wider than a kernel can index.
    let message = bench(&["--shape", "lstm-1-1-1-1000000"]).fails(2);
    assert_has(&message, &["at most 1073741823"]);
}

#[test]
fn programs_can_be_tuned() {
    let place = Workspace::new();
    let run = |more: &[&str]| {
        let arguments = [
            &["--epochs", "1", "--json", "--quiet", "--out", more[0]],
            &more[1..],
        ];
        let stdout = place.train(&arguments.concat()).ok();
        epochs(&stdout)[0]["train_loss"].as_f64().unwrap()
    };
    let scan = run(&["scan"]);
    let steps = run(&["steps", "--tune", "route=steps", "--tune", "checks=on"]);
    assert!((scan - steps).abs() < 1e-4 * scan, "{scan} and {steps}");

    for command in [
        &["train", "mnist", "--data", "data"][..],
        &[
            "profile",
            "mnist",
            "--data",
            "data",
            "--set",
            "data.classes=3",
        ],
        &["bench", "step"],
        &["verify"],
    ] {
        let wrong = |setting| [command, &["--device", "cpu", "--tune", setting]].concat();
        let unknown = place.run(&wrong("scan_tiles=4")).fails(2);
        assert_has(
            &unknown,
            &["--tune scan_tiles=4", "did you mean `scan_tile`?"],
        );
        let value = place.run(&wrong("scan_tile=3")).fails(2);
        assert_has(&value, &["`scan_tile` takes 1, 2 or 4"]);
    }
}

#[test]
fn a_run_prints_its_startup_times() {
    let place = Workspace::new();
    let run = place.train(&["--epochs", "1", "--json"]);
    let starts = run.stderr.lines().filter(|line| line.starts_with("start "));
    let [start] = starts.collect::<Vec<_>>()[..] else {
        panic!("one line: {}", run.stderr);
    };
    assert_has(
        start,
        &["first step after ", "device and data", "program", "step"],
    );
}

#[cfg(not(feature = "mpi"))]
#[test]
fn without_mpi_distributed_says_how_to_get_it() {
    let place = Workspace::new();
    let message = place.train(&["--distributed"]).fails(2);
    assert_has(
        &message,
        &[
            "--distributed: this gatescan was built without MPI",
            "--features mpi",
        ],
    );
    let message = bench(&["distributed"]).fails(2);
    assert_has(
        &message,
        &["bench distributed: this gatescan was built without MPI"],
    );
    let message = place.train(&["--reduce", "mpi"]).fails(2);
    assert_has(&message, &["--distributed"]);
}
