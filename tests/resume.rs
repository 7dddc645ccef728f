//! Runs that are stopped or killed, and resumed with results bitwise identical to those of
//! uninterrupted runs.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::place::{Run, SMALL, Workspace, assert_has};
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::network::{Dropout, Init, MaskSharing};
use gatescan::recipe::schedule::Schedule;
use gatescan::train::DataChecksums;
use gatescan::train::checkpoints::Checkpoints;
use gatescan::{
    Cell, Checkpoint, Dataset, Device, Ending, HeadRecipe, Input, Layer, Loss, Optimizer, Reads,
    Recipe, Splits, Targets, Trainer,
};
use ndarray::{Array2, Array3};
use serde_json::Value;

fn devices() -> Vec<Device> {
    let gpu = common::gpu().map(|gpu| Device::Gpu(gpu.summary.index));
    [Some(Device::Cpu), gpu].into_iter().flatten().collect()
}

/// Dropout, a smaller last batch, a learning rate that falls at plateaus, and the best epoch kept.
fn classifier() -> (Recipe, Splits) {
    let inputs = Array3::from_shape_fn((22, 6, 3), |(n, t, i)| {
        ((n * 7 + t * (1 + n % 3) + i) % 11) as f32 / 11.0
    });
    let labels = ndarray::Array1::from_shape_fn(22, |n| n as u32 % 3);
    let data =
        Dataset::new(inputs.view(), Targets::classes(labels.view(), 3)).expect("it is accepted");
    let data = data
        .with_lengths(&[6, 3, 1, 4, 5, 2].repeat(4)[..22])
        .expect("they fit");
    let layer = Layer {
        dropout: Dropout {
            output_keep_prob: 0.8,
            state_keep_prob: 0.9,
            ..Dropout::default()
        },
        ..Layer::new(Cell::Lstm, 5)
    };
    let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
    let optimizer = Optimizer::AdamW {
        lr: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.01,
        amsgrad: true,
    };
    let mut recipe = Recipe::new("classifier", vec![layer.clone(), layer], head, optimizer);
    recipe.batch_size = 4;
    recipe.epochs = 5;
    recipe.clip_norm = Some(1.0);
    recipe.report_every = Some(5);
    recipe.keep_best = true;
    recipe.schedule = Schedule::Plateau {
        factor: 0.5,
        patience: 0,
        threshold: 1e-4,
        floor: 0.0,
        warm_up: 3,
    };
    let test = data.slice(3..12).expect("they are there");
    let splits = Splits {
        test: Some(test.into()),
        ..data.into()
    };
    (recipe, splits)
}

/// Tokens in chunks of 16 of 50 steps, whose states are carried from one to the next.
fn counter() -> (Recipe, Splits) {
    let token = |n: usize, t: usize| (n + t * (1 + n % 2)) as u32 % 7;
    let tokens = Array2::from_shape_fn((6, 50), |(n, t)| token(n, t));
    let next = Array2::from_shape_fn((6, 50), |(n, t)| token(n, t + 1));
    let data = Dataset::tokens(tokens.view(), 7, Targets::classes_per_step(next.view(), 7))
        .expect("it is accepted");
    let data = data
        .with_lengths(&[50, 31, 0, 16, 50, 1])
        .expect("they fit");
    let below = Layer {
        dropout: Dropout {
            input_keep_prob: 0.9,
            output_keep_prob: 0.9,
            state_keep_prob: 0.9,
            mask: MaskSharing::EachSequence,
        },
        ..Layer::new(Cell::Lstm, 6)
    };
    let above = Layer {
        residual: true,
        ..Layer::new(Cell::GruResetBefore, 6)
    };
    let head = HeadRecipe::new(Reads::Every, Loss::CrossEntropy);
    let optimizer = Optimizer::Sgd {
        lr: 0.5,
        momentum: 0.9,
        dampening: 0.0,
        nesterov: true,
        weight_decay: 0.0,
    };
    let mut recipe = Recipe::new("counter", vec![below, above], head, optimizer);
    recipe.network.input = Input::Embedding {
        size: 5,
        padding_idx: None,
        init: Init::Torch,
        tied: false,
    };
    recipe.batch_size = 4;
    recipe.bptt_steps = Some(16);
    recipe.epochs = 4;
    recipe.steps = Some(27);
    recipe.schedule = Schedule::Cosine {
        steps: None,
        floor: 0.1,
        warm_up: 2,
    };
    (recipe, data.into())
}

/// Trains up to `step`, or to the end, and writes and reads a checkpoint.
fn train(
    recipe: &Recipe,
    data: &Splits,
    device: &Device,
    from: Option<&Checkpoint>,
    step: usize,
) -> Checkpoint {
    let mut trainer = Trainer::new(recipe, data, device).expect("it loads");
    if let Some(from) = from {
        trainer.restore(from).expect("it fits");
    }
    common::train_until(&mut trainer, step);
    let checkpoint = trainer.checkpoint().expect("it reads");
    let directory = tempfile::tempdir().expect("a directory");
    let path = Checkpoints::new(directory.path(), 1, None)
        .write(&checkpoint)
        .expect("there is space");
    let read = Checkpoint::load(&path).expect("it is whole");
    assert_eq!(read, checkpoint);
    read
}

const END: usize = usize::MAX;

#[test]
fn n_steps_and_n_more_are_2n_steps() {
    for device in devices() {
        for (mut recipe, data) in [classifier(), counter()] {
            let whole = train(&recipe, &data, &device, None, END);
            // Allows stopping after any step, and changes nothing else.
            recipe.checkpoint.every_steps = Some(1);
            let last = whole.position.step;
            assert!([30, 27].contains(&last), "{last}");
            // With a test split, the evaluation after the last step is still to be done.
            let (epoch, tested) = (data.train.count.div_ceil(4), data.test.is_some());
            let stops: Vec<usize> = match device {
                Device::Cpu => (1..last + usize::from(tested)).collect(),
                Device::Gpu(_) => vec![5, 6, 9, 19],
            };
            for stop in stops {
                let half = train(&recipe, &data, &device, None, stop);
                assert_eq!(half.position.step, stop);
                if tested {
                    assert_eq!(half.position.epochs, (stop - 1) / epoch);
                }
                let mut end = train(&recipe, &data, &device, Some(&half), END);
                end.recipe = whole.recipe.clone();
                assert!(
                    end == whole,
                    "{} stopped after {stop} on {device:?}",
                    recipe.name
                );
            }
            // Stopped several times in a row.
            let mut at = train(&recipe, &data, &device, None, 1);
            for stop in [2, 7, 14] {
                at = train(&recipe, &data, &device, Some(&at), stop);
            }
            let mut end = train(&recipe, &data, &device, Some(&at), END);
            end.recipe = whole.recipe.clone();
            assert!(end == whole, "{} on {device:?}", recipe.name);
        }
    }
}

#[test]
fn a_run_can_continue_in_the_same_process() {
    let (mut recipe, data) = counter();
    let whole = train(&recipe, &data, &Device::Cpu, None, END);
    recipe.checkpoint.every_steps = Some(1);
    let mut trainer = Trainer::new(&recipe, &data, &Device::Cpu).expect("it loads");
    let mut broken = 0;
    while trainer
        .run(&mut |_, _| Ok(ControlFlow::Break(())))
        .expect("it trains")
        == Ending::Interrupted
    {
        broken += 1;
    }
    assert!(broken > 15, "{broken}");
    assert!(trainer.checkpoint().expect("it reads").parameters == whole.parameters);
}

#[test]
fn a_checkpoint_of_one_executor_resumes_on_the_other() {
    let [cpu, gpu] = devices()[..] else { return };
    for (mut recipe, data) in [classifier(), counter()] {
        let whole = train(&recipe, &data, &cpu, None, END);
        recipe.checkpoint.every_steps = Some(1);
        // The second stop of `counter` is between two chunks of the same sequences.
        let first = train(&recipe, &data, &gpu, None, 7);
        let second = train(&recipe, &data, &cpu, Some(&first), 14);
        let end = train(&recipe, &data, &gpu, Some(&second), END);
        assert_eq!(end.position.step, whole.position.step);
        // Only rounding differs; a repeated step or a lost state would differ more.
        let differences = whole
            .parameters
            .iter()
            .zip(&end.parameters)
            .map(|(a, b)| (a - b).abs());
        let worst = differences.fold(0.0, f32::max);
        println!("{}: parameters differ by at most {worst:e}", recipe.name);
        assert!(worst < 1e-3, "{}: {worst}", recipe.name);
    }
}

#[test]
fn only_some_fields_may_change_on_resume() {
    let (mut recipe, data) = classifier();
    recipe.epochs = 2;
    let half = train(&recipe, &data, &Device::Cpu, None, END);
    recipe.epochs = 5;
    let end = train(&recipe, &data, &Device::Cpu, Some(&half), END);
    let whole = train(&recipe, &data, &Device::Cpu, None, END);
    assert!(end == whole, "an extended run is a longer one");

    let refused = |recipe: &Recipe, data: &Splits| {
        let mut trainer = Trainer::new(recipe, data, &Device::Cpu).expect("it loads");
        let error = trainer.restore(&half).expect_err("it does not fit");
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    let mut other = recipe.clone();
    other.batch_size = 5;
    other.seed = 1;
    assert_has(
        &refused(&other, &data),
        &[
            "must have the `seed` or `batch_size` that it began with",
            "epochs, steps",
        ],
    );
    let mut shorter = recipe.clone();
    shorter.epochs = 1;
    assert_has(&refused(&shorter, &data), &["12 updates", "end after 6"]);
    let swapped = |split: &mut Arc<Dataset>| {
        if let Targets::Classes { labels, .. } = &mut Arc::make_mut(split).targets {
            labels.swap(0, 1);
        }
    };
    let mut others = data.clone();
    swapped(&mut others.train);
    assert_has(
        &refused(&recipe, &others),
        &["the training data are not those"],
    );
    swapped(others.test.as_mut().expect("there is one"));
    assert_has(
        &refused(&recipe, &others),
        &["the training and test data are not those"],
    );
    let mut others = data.clone();
    others.test = None;
    assert_has(&refused(&recipe, &others), &["the test data are not those"]);
    let mut others = data.clone();
    others.validation = others.test.clone();
    assert_has(
        &refused(&recipe, &others),
        &["the validation data are not those"],
    );
    // Other names of the same classes.
    let mut others = data.clone();
    others.preparation.classes = ["a", "b", "c"].map(String::from).into();
    assert_has(
        &refused(&recipe, &others),
        &["their classes, vocabulary, means"],
    );
    // The same values in other sizes.
    let mut others = data.clone();
    let test = Arc::make_mut(others.test.as_mut().expect("there is one"));
    (test.steps, test.features) = (test.features, test.steps);
    let mut trainer = Trainer::new(&recipe, &data, &Device::Cpu).expect("it loads");
    let mut checkpoint = half.clone();
    checkpoint.data = DataChecksums::of(&others).expect("they are in memory");
    let error = trainer
        .restore(&checkpoint)
        .expect_err("they have other sizes");
    assert_has(&error.to_string(), &["the test data are not those"]);

    let (mut cut, data) = counter();
    let end = train(&cut, &data, &Device::Cpu, None, END);
    cut.steps = None;
    let mut trainer = Trainer::new(&cut, &data, &Device::Cpu).expect("it loads");
    let error = trainer.restore(&end).expect_err("its last epoch was short");
    assert_has(
        &error.to_string(),
        &["in the middle of its epoch 4", "cannot be extended"],
    );
}

// Tests of the program.

/// Two layers with dropout, 20 steps an epoch, saved after every third step.
const TRAIN: [&str; 15] = [
    "--layers",
    "2",
    "--set",
    "network.layer.0.dropout={output_keep_prob=0.9}",
    "--set",
    "schedule={kind=\"plateau\",patience=0}",
    "--set",
    "keep_best=true",
    "--report-every",
    "7",
    "--checkpoint-every",
    "3",
    "--json",
    "--seed",
    "3",
];

fn begin(place: &Workspace, out: &str, device: &str, epochs: &str) -> Command {
    let own = ["--out", out, "--device", device, "--epochs", epochs];
    place.command(&[&["train", "mnist"], &SMALL[2..], &TRAIN, &own].concat())
}

/// Trains to the end.
fn whole(place: &Workspace, out: &str, device: &str, epochs: &str) -> Run {
    Run::from(
        begin(place, out, device, epochs)
            .output()
            .expect("it starts"),
    )
}

fn resume(place: &Workspace, run: &str, more: &[&str]) -> Run {
    place.run(
        &[
            &["train", "--resume", run, "--json"],
            &["--device", "cpu"][..],
            more,
        ]
        .concat(),
    )
}

fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(kill.expect("there is a kill").success());
}

fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.join("checkpoints")).expect("it is there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("it is listed").path())
        .collect();
    paths.sort();
    paths
}

/// The metrics without the fields that depend on time.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("it is there");
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).expect("it is JSON");
        line.as_object_mut()
            .expect("it is an object")
            .retain(|key, _| !key.contains("second"));
        line
    });
    lines.collect()
}

/// Asserts that model, checkpoints and metrics are those of an uninterrupted run.
#[track_caller]
fn assert_same(run: &Path, undisturbed: &Path) {
    let read = |path: &Path| fs::read(path).expect("it is there");
    let model = |run: &Path| read(&run.join("model.safetensors"));
    assert!(model(run) == model(undisturbed), "the models differ");
    assert_eq!(metrics(run), metrics(undisturbed));
    let (ours, theirs) = (checkpoints(run), checkpoints(undisturbed));
    let names = |paths: &[PathBuf]| {
        paths
            .iter()
            .map(|path| path.file_name().map(Into::into))
            .collect::<Vec<Option<PathBuf>>>()
    };
    assert_eq!(names(&ours), names(&theirs));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(read(ours) == read(theirs), "{} differs", ours.display());
    }
}

/// Kills a run `kills` times, each time at another moment, and resumes it.
fn kill_at_random_moments(kills: usize, device: &str) {
    let place = Workspace::new();
    // 600 steps, so that a run lasts long enough to be killed.
    let epochs = "30";
    let start = Instant::now();
    whole(&place, "undisturbed", device, epochs).ok();
    let lasts = start.elapsed();

    let mut random = Philox::new(kills as u64, Stream::Shuffle(0));
    let (mut killed, mut round) = (0, 0);
    while killed < kills {
        round += 1;
        let run = format!("run-{round}");
        let mut command = begin(&place, &run, device, epochs);
        // Until the run is complete.
        loop {
            let mut child = command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts");
            // At most a quarter of a whole run, so that it is killed several times.
            std::thread::sleep(lasts.mul_f32(random.uniform() / 4.0));
            let over = killed == kills || child.try_wait().expect("it is ours").is_some();
            if !over {
                child.kill().expect("it is ours");
                killed += 1;
            }
            let output = child.wait_with_output().expect("it is ours");
            if output.status.success() {
                break;
            }
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(!over && output.status.code().is_none(), "{stderr}");
            command = match place.path(&run).join("recipe.toml").exists() {
                true => place.command(&["train", "--resume", &run, "--json", "--device", device]),
                false => begin(&place, &run, device, epochs),
            };
        }
        assert_same(&place.path(&run), &place.path("undisturbed"));
        fs::remove_dir_all(place.path(&run)).expect("it can be removed");
    }
    println!("{kills} kills in {round} runs, each of {lasts:?} if nothing happens");
}

#[cfg(unix)]
#[test]
fn killed_at_random_moments() {
    kill_at_random_moments(8, "cpu");
    if let [_, Device::Gpu(index)] = devices()[..] {
        kill_at_random_moments(3, &index.to_string());
    }
}

/// `cargo test --test resume -- --ignored --nocapture`
#[cfg(unix)]
#[test]
#[ignore = "takes minutes"]
fn killed_at_200_random_moments() {
    kill_at_random_moments(200, "cpu");
}

#[test]
fn the_same_seed_gives_the_same_file() {
    let place = Workspace::new();
    whole(&place, "first", "cpu", "4").ok();
    for threads in ["1", "2", "4"] {
        for _ in 0..3 {
            let mut again = begin(&place, "again", "cpu", "4");
            Run::from(
                again
                    .env("RAYON_NUM_THREADS", threads)
                    .output()
                    .expect("it starts"),
            )
            .ok();
            assert_same(&place.path("again"), &place.path("first"));
            fs::remove_dir_all(place.path("again")).expect("it can be removed");
        }
    }
    let [_, Device::Gpu(index)] = devices()[..] else {
        return;
    };
    for run in ["a", "b", "c"] {
        whole(&place, run, &index.to_string(), "2").ok();
        assert_same(&place.path(run), &place.path("a"));
    }
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_previous_one_used() {
    let place = Workspace::new();
    whole(&place, "whole", "cpu", "4").ok();
    whole(&place, "run", "cpu", "3").ok();
    let paths = checkpoints(&place.path("run"));
    let [.., before, newest] = &paths[..] else {
        panic!("two are kept: {paths:?}");
    };
    let mut bytes = fs::read(newest).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(newest, bytes).expect("it can be written");
    let run = resume(&place, "run", &["--epochs", "4"]);
    let name = |path: &Path| {
        path.file_name()
            .expect("it has one")
            .to_string_lossy()
            .into_owned()
    };
    assert_has(
        &run.stderr,
        &[&name(newest), "damaged", "resume  from step", &name(before)],
    );
    run.ok();
    let model =
        |run: &str| fs::read(place.path(run).join("model.safetensors")).expect("it is there");
    // The recipe in the model's file is also the same, since both runs now have 4 epochs.
    assert!(model("run") == model("whole"));
    assert_eq!(metrics(&place.path("run")), metrics(&place.path("whole")));

    for path in checkpoints(&place.path("run")) {
        fs::write(path, "no checkpoint at all").expect("it can be written");
    }
    let message = resume(&place, "run", &[]).fails(1);
    assert_has(
        &message,
        &[
            "not a safetensors file",
            "none of the checkpoints in it can be read",
        ],
    );
}

#[test]
fn mistakes_in_a_resume_are_explained() {
    let place = Workspace::new();
    assert_has(
        &resume(&place, "none", &[]).fails(1),
        &["none: there is no run here"],
    );
    whole(&place, "run", "cpu", "4").ok();
    let message = resume(&place, "run", &["--hidden-size", "5"]).fails(2);
    assert_has(&message, &["must have the `network` that it began with"]);
    let message = resume(&place, "run", &["--epochs", "2"]).fails(2);
    assert_has(&message, &["would end after 40"]);
    place.run(&["train"]).fails(2);
    place.run(&["train", "mnist", "--resume", "run"]).fails(2);
    // A finished run has nothing more to do, and leaves its files as they are.
    let before = fs::read(place.path("run/metrics.jsonl")).expect("it is there");
    assert_eq!(resume(&place, "run", &[]).ok(), "");
    assert!(fs::read(place.path("run/metrics.jsonl")).expect("it is there") == before);
    for (set, expected) in [
        ("checkpoint.keep=0", "checkpoint.keep is 0"),
        ("checkpoint.every_steps=0", "checkpoint.every_steps is 0"),
        (
            "checkpoint.every_minutes=-1",
            "checkpoint.every_minutes is -1",
        ),
        ("checkpoint.evry_steps=3", "evry_steps"),
    ] {
        assert_has(&place.train(&["--set", set]).fails(2), &[expected]);
    }
}

#[test]
fn only_the_state_of_a_page_is_resumed_from_a_file() {
    let place = Workspace::new();
    place.train(&["--epochs", "1", "--out", "run"]).ok();
    let message = resume(&place, "run/model.safetensors", &[]).fails(1);
    assert_has(&message, &["run/model.safetensors", "no state of a page"]);
    let message = resume(&place, "run/recipe.toml", &[]).fails(1);
    assert_has(&message, &["run/recipe.toml", "not a safetensors file"]);
    let message = resume(&place, "run", &["--out", "other"]).fails(2);
    assert_has(&message, &["--out other", "its own directory"]);
}

#[test]
fn a_checkpoint_does_not_grow_with_the_run() {
    let place = Workspace::new();
    whole(&place, "short", "cpu", "2").ok();
    whole(&place, "long", "cpu", "300").ok();
    let size = |run: &str| {
        let paths = checkpoints(&place.path(run));
        let newest = paths.last().expect("there is one");
        fs::metadata(newest).expect("it is there").len()
    };
    let (short, long) = (size("short"), size("long"));
    // More digits in a few numbers; the metrics of 300 epochs have 80,000 bytes.
    assert!(
        long < short + 500,
        "{short} bytes after 2 epochs, {long} after 300"
    );
    // A plateau, patience and the best epoch are known after a resume.
    resume(&place, "long", &["--epochs", "302"]).ok();
    whole(&place, "whole", "cpu", "302").ok();
    assert_eq!(metrics(&place.path("long")), metrics(&place.path("whole")));
}

#[test]
fn metrics_that_were_edited_or_cut_off_are_refused() {
    let place = Workspace::new();
    whole(&place, "run", "cpu", "3").ok();
    let path = place.path("run/metrics.jsonl");
    let text = fs::read_to_string(&path).expect("it is there");
    let recipe = fs::read(place.path("run/recipe.toml")).expect("it is there");
    let lines: Vec<&str> = text.lines().collect();
    let cut = lines[..lines.len() - 1].join("\n") + "\n";
    let half = &text[..text.len() - 10];
    let edited = text.replacen("\"train_loss\":", "\"train_loss\":1", 1);
    let swapped = [&[lines[1], lines[0]], &lines[2..]].concat().join("\n") + "\n";
    for changed in [&cut, half, &edited, &swapped, ""] {
        fs::write(&path, changed).expect("it can be written");
        let message = resume(&place, "run", &["--epochs", "4"]).fails(1);
        assert_has(
            &message,
            &[
                "metrics.jsonl: ",
                "up to the checkpoint of step 60",
                "edited",
            ],
        );
        assert_has(&message, &["restore the file, or begin a new run"]);
        // Nothing was changed.
        assert_eq!(fs::read_to_string(&path).expect("it is there"), changed);
        assert!(fs::read(place.path("run/recipe.toml")).expect("it is there") == recipe);
    }
    fs::remove_file(&path).expect("it is there");
    resume(&place, "run", &["--epochs", "4"]).fails(1);
    // Later lines are cut off, and times are no part of what is checked.
    let later =
        text.replacen("\"seconds\":", "\"seconds\":1", 1) + "{\"step\":61,\"loss\":1}\n{\"ep";
    fs::write(&path, later).expect("it can be written");
    resume(&place, "run", &["--epochs", "4"]).ok();
    whole(&place, "whole", "cpu", "4").ok();
    assert_same(&place.path("run"), &place.path("whole"));
}

#[test]
fn other_rows_of_the_test_file_are_refused_on_resume() {
    let place = Workspace::new();
    let rows = |seed: usize| -> String {
        let rows = (0..80).map(|row| format!("{},{}\n", row * seed % 7, row * seed % 5));
        "a,b\n".to_string() + &rows.collect::<String>()
    };
    fs::write(place.path("train.csv"), rows(3)).expect("written");
    fs::write(place.path("test.csv"), rows(5)).expect("written");
    place.run(&["init", "train.csv", "-o", "r.toml"]).ok();
    let set = [
        "--set",
        "data.test_path=test.csv",
        "--out",
        "run",
        "--device",
        "cpu",
    ];
    place
        .run(&[&["train", "r.toml", "--epochs", "1"], &set[..]].concat())
        .ok();
    fs::write(place.path("test.csv"), rows(11)).expect("written");
    let message = resume(&place, "run", &["--epochs", "2"]).fails(2);
    assert_has(
        &message,
        &["the test data are not those that the run began with"],
    );
    fs::write(place.path("test.csv"), rows(5)).expect("written");
    resume(&place, "run", &["--epochs", "2"]).ok();
}

/// Reads the child's messages up to one that contains `part`.
fn wait_for(messages: &mut impl BufRead, part: &str) -> String {
    let mut all = String::new();
    while !all.contains(part) {
        assert!(
            messages.read_line(&mut all).expect("it is text") > 0,
            "no `{part}` in: {all}"
        );
    }
    all
}

#[cfg(unix)]
#[test]
fn a_second_run_in_the_directory_is_refused_and_sigterm_saves() {
    let place = Workspace::new();
    let mut first = begin(&place, "run", "cpu", "1000");
    let mut child = first
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_for(
        &mut BufReader::new(child.stdout.take().expect("piped")),
        "{\"epoch\":1,",
    );
    let message = resume(&place, "run", &[]).fails(1);
    assert_has(&message, &["run: another run is at work in this directory"]);
    // Nor is it let in by a lock that was removed.
    fs::remove_file(place.path("run/.lock")).expect("it is there");
    let message = resume(&place, "run", &[]).fails(1);
    assert_has(&message, &["run: another run is at work in this directory"]);
    let message = whole(&place, "run", "cpu", "4").fails(2);
    assert_has(&message, &["not overwritten", "--resume run"]);

    signal(&child, "TERM");
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut stderr)
        .expect("it is text");
    assert!(child.wait().expect("it is ours").success(), "{stderr}");
    assert_has(
        &stderr,
        &[
            "stopped in epoch",
            "at step",
            "saved the model",
            "train --resume run",
        ],
    );
    let paths = checkpoints(&place.path("run"));
    let newest = Checkpoint::load(paths.last().expect("it was saved")).expect("it is whole");
    assert_has(&stderr, &[&format!("at step {} ", newest.position.step)]);
    // Its checkpoints can be evaluated too.
    let eval = |run: &str| place.run(&["eval", run, "--device", "cpu", "--json"]);
    let loss =
        |text: &str| serde_json::from_str::<Value>(text).expect("it is JSON")["test_loss"].clone();
    let of_model = loss(&eval("run").ok());
    fs::remove_file(place.path("run/model.safetensors")).expect("it is there");
    let run = eval("run");
    assert_has(
        &run.stderr,
        &["there is no model yet; taken from run/checkpoints/step-"],
    );
    assert_eq!(loss(&run.ok()), of_model);
    // The resumed run ends like an uninterrupted one.
    let epochs = (newest.position.epochs + 2).to_string();
    resume(&place, "run", &["--epochs", &epochs]).ok();
    whole(&place, "whole", "cpu", &epochs).ok();
    assert_same(&place.path("run"), &place.path("whole"));
}

/// As the `mpirun` of Open MPI does: it reads nothing while it ends its processes.
#[cfg(unix)]
#[test]
fn sigterm_saves_a_run_whose_output_nobody_reads() {
    let place = Workspace::new();
    let own = ["--out", "run", "--device", "cpu", "--epochs", "100000"];
    let often = ["--report-every", "1"];
    let mut child = place
        .command(&[&["train", "mnist"], &SMALL[2..], &own, &often].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // A pipe holds 64 KiB; the lines of these updates take more.
    let (start, file) = (Instant::now(), place.path("run/metrics.jsonl"));
    let updates = || fs::read_to_string(&file).map_or(0, |text| text.lines().count());
    while updates() < 3000 {
        assert!(
            start.elapsed() < Duration::from_mins(2),
            "it waits for its reader"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    signal(&child, "TERM");
    let stopped = Instant::now();
    let ended = loop {
        if let Some(ended) = child.try_wait().expect("it is ours") {
            break ended;
        }
        let limit = Duration::from_secs(20);
        assert!(stopped.elapsed() < limit, "it waits for its reader");
        std::thread::sleep(Duration::from_millis(10));
    };
    let run = Run::from(child.wait_with_output().expect("it has ended"));
    assert!(ended.success(), "{}", run.stderr);
    assert_has(
        &run.stderr,
        &["saved the model as it is", "nobody reads standard output"],
    );
    let newest = checkpoints(&place.path("run")).pop().expect("it was saved");
    let step = Checkpoint::load(&newest)
        .expect("it is whole")
        .position
        .step;
    assert_has(&run.stderr, &[&format!("at step {step} ")]);
}

/// A run on its own disk of 16 MiB; `None` where only root can mount one.
#[cfg(target_os = "linux")]
fn on_a_small_disk(place: &Workspace, epochs: &str) -> Option<(Child, PathBuf)> {
    fs::create_dir_all(place.path("disk")).expect("it can be made");
    let script = "mount -t tmpfs -o size=16m tmpfs disk && exec \"$@\"";
    let train = begin(place, "disk/run", "cpu", epochs);
    let mut command = Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(train.get_program())
        .args(train.get_args());
    let mut child = command
        .current_dir(place.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let disk = PathBuf::from(format!("/proc/{}/root", child.id())).join(
        place
            .path("disk")
            .strip_prefix("/")
            .expect("it is absolute"),
    );
    let start = Instant::now();
    while !disk.join("run/checkpoints").exists() {
        if child.try_wait().expect("it is ours").is_some()
            || start.elapsed() > Duration::from_secs(60)
        {
            let _ = child.kill();
            eprintln!("no disk can be mounted here: not tested");
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some((child, disk))
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_waits_while_the_disk_is_full() {
    let place = Workspace::new();
    let Some((mut child, disk)) = on_a_small_disk(&place, "100000") else {
        return;
    };
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let fill = || {
        let _ = fs::write(disk.join("filler"), vec![1; 32 << 20]);
    };
    fill();
    let said = wait_for(&mut stderr, "the run continues and tries again");
    assert_has(
        &said,
        &["cannot be written: No space left on device", "tries again"],
    );
    fs::remove_file(disk.join("filler")).expect("it is there");
    wait_for(&mut stderr, "all is saved up to step");
    // The metrics are complete, and no line is missing or doubled.
    let epochs = |lines: &[Value]| {
        lines
            .iter()
            .filter_map(|line| line["epoch"].as_u64())
            .collect::<Vec<_>>()
    };
    let lines = fs::read_to_string(disk.join("run/metrics.jsonl")).expect("it is there");
    let whole = lines.rsplit_once('\n').expect("there is a line").0;
    let lines: Vec<Value> = whole
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect();
    let counted = epochs(&lines);
    assert_eq!(counted, (1..=counted.len() as u64).collect::<Vec<_>>());
    // A run stopped while the disk is full reports what is not saved.
    fill();
    wait_for(&mut stderr, "the run continues and tries again");
    signal(&child, "TERM");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("it is text");
    assert_eq!(child.wait().expect("it is ours").code(), Some(1), "{rest}");
    assert_has(
        &rest,
        &[
            "saved up to step",
            "--resume disk/run",
            "error: ",
            "No space left",
        ],
    );
}

// Faults of the driver.

/// Trains on the GPU with an injected fault; `None` where GPU tests are off.
fn with_fault(place: &Workspace, out: &str, fault: &str, more: &[&str]) -> Option<Run> {
    common::gpu()?;
    let mut train = begin(place, out, "gpu", "4");
    let output = train.args(["--inject-fault", fault]).args(more).output();
    Some(Run::from(output.expect("it starts")))
}

#[test]
fn dropped_submissions_are_detected_and_repeated() {
    let place = Workspace::new();
    for (number, fault) in ["drop:3:1", "drop:40:1", "drop:41:1", "drop:90:2"]
        .iter()
        .enumerate()
    {
        let out = format!("run-{number}");
        let Some(run) = with_fault(&place, &out, fault, &[]) else {
            return;
        };
        assert_has(
            &run.stderr,
            &[
                "dropped submissions but reported them complete",
                "the run continues from",
            ],
        );
        run.ok();
        if number == 0 {
            whole(&place, "undisturbed", "gpu", "4").ok();
        }
        assert_same(&place.path(&out), &place.path("undisturbed"));
    }
}

#[test]
fn a_driver_that_drops_all_submissions_ends_the_run_with_its_last_checkpoint() {
    let place = Workspace::new();
    let Some(run) = with_fault(&place, "run", "drop:60:1000000", &[]) else {
        return;
    };
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_has(
        &run.stderr,
        &[
            "saved up to step ",
            "--resume run",
            "\nerror: ",
            "dropped submissions",
        ],
    );
    assert_eq!(
        run.stderr.matches("continues from the checkpoint").count(),
        3,
        "{}",
        run.stderr
    );
    place
        .run(&["train", "--resume", "run", "--device", "gpu", "--json"])
        .ok();
    whole(&place, "undisturbed", "gpu", "4").ok();
    assert_same(&place.path("run"), &place.path("undisturbed"));
}

#[test]
fn a_lost_device_ends_the_run_or_is_reopened() {
    let place = Workspace::new();
    let Some(run) = with_fault(&place, "stopped", "destroy:60:1", &[]) else {
        return;
    };
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_has(
        &run.stderr,
        &[
            "saved up to step ",
            "continue from there with: ",
            "train --resume stopped",
            "\nerror: ",
            "the device was lost: it was destroyed",
        ],
    );
    place
        .run(&["train", "--resume", "stopped", "--device", "gpu", "--json"])
        .ok();
    let retry = ["--on-device-lost", "retry"];
    let run = with_fault(&place, "retried", "destroy:60:1", &retry).expect("there is a GPU");
    assert_has(
        &run.stderr,
        &[
            "the device was lost: it was destroyed",
            "the run continues from the checkpoint of step ",
        ],
    );
    run.ok();
    whole(&place, "undisturbed", "gpu", "4").ok();
    for out in ["stopped", "retried"] {
        assert_same(&place.path(out), &place.path("undisturbed"));
    }
}

#[test]
fn values_that_are_not_finite_end_the_run_and_are_traced_to_a_call() {
    let place = Workspace::new();
    for device in devices() {
        let device = match device {
            Device::Cpu => "cpu",
            Device::Gpu(_) => "gpu",
        };
        let train = |out: &str, more: &[&str]| {
            let mut train = begin(&place, &format!("{out}-{device}"), device, "4");
            Run::from(train.args(more).output().expect("it starts"))
        };
        // A rectifier does not bound the values.
        let lr = ["--set", "optimizer.lr=1e9", "--cell", "rnn-relu"];
        let run = train("plain", &lr);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert_has(&run.stderr, &["error: ", "of epoch 1 the loss is "]);
        assert_has(&run.stderr, &["the gradient's norm", "lower learning rate"]);
        assert_has(&run.stderr, &["with --diagnose"]);
        let run = train("diagnosed", &[&lr[..], &["--diagnose"]].concat());
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert_has(&run.stderr, &["diagnosis: in step 2, `", " phase, left "]);
        assert_has(&run.stderr, &["`, whose shape is ["]);
    }
}
