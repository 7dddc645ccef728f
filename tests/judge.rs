//! What a model is judged by on the command line: other files with targets, baselines of the
//! training split, names in results, the rows that predictions and continuations belong to.

mod common;

use std::fmt::Write as _;
use std::fs;

use common::place::{Run, Workspace, assert_has};
use ndarray::{Array1, Array3, s};
use ndarray_npy::{NpzWriter, write_npy};
use serde_json::Value;

/// A recipe of a small GRU, for the data of a `[data]` table.
fn recipe(data: &str, head: &str) -> String {
    format!(
        "name = \"judged\"\nseed = 1\nepochs = 12\nbatch_size = 8\n[data]\n{data}\n\
         [[network.layer]]\ncell = \"gru\"\nhidden_size = 8\nbias = \"double\"\n\
         [network.head]\n{head}\n[optimizer]\nkind = \"adam\"\nlr = 0.02\n"
    )
}

const CLASSES: &str = "loss = \"cross-entropy\"";
const VALUES: &str = "loss = \"mean-squared-error\"\nreads = \"every\"";

/// Trains a recipe on the CPU as the run `run`; returns what it says on standard error.
fn train(place: &Workspace, recipe: &str) -> String {
    fs::write(place.path("recipe.toml"), recipe).unwrap();
    let run = place.run(&["train", "recipe.toml", "--device", "cpu", "--out", "run"]);
    let said = run.stderr.clone();
    run.ok();
    said
}

fn eval(place: &Workspace, more: &[&str]) -> Run {
    place.run(&[&["eval", "run", "--device", "cpu"], more].concat())
}

fn eval_json(place: &Workspace, more: &[&str]) -> Value {
    json(&eval(place, &[more, &["--json"]].concat()).ok())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[track_caller]
fn assert_close(a: &Value, b: &Value) {
    let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
    assert!((a - b).abs() < 1e-6 * a.abs().max(1.0), "{a} {b}");
}

/// Rows `x,y` of a wave with the class of its slope, from row `first` on.
fn slopes(first: usize, count: usize, names: [&str; 2]) -> String {
    let mut text = String::from("x,y\n");
    for row in first..first + count {
        let angle = row as f64 * 0.33;
        let class = names[usize::from(angle.cos() < 0.0)];
        writeln!(text, "{:.4},{class}", angle.sin()).unwrap();
    }
    text
}

const SLOPES: &str = "kind = \"csv\"\npath = \"train.csv\"\ninputs = [\"x\"]\ntargets = [\"y\"]\n\
                      task = \"classification\"\nsteps = 10";

#[test]
fn a_named_file_is_judged_and_no_other() {
    let place = Workspace::new();
    fs::write(place.path("train.csv"), slopes(0, 240, ["up", "down"])).unwrap();
    fs::write(place.path("test.csv"), slopes(300, 120, ["up", "down"])).unwrap();
    fs::write(place.path("wrong.csv"), slopes(300, 120, ["down", "up"])).unwrap();
    // With a test file in the recipe, and without one.
    for data in [
        format!("{SLOPES}\ntest_path = \"test.csv\""),
        SLOPES.to_string(),
    ] {
        let _ = fs::remove_dir_all(place.path("run"));
        train(&place, &recipe(&data, CLASSES));
        let right = eval_json(&place, &["--data", "test.csv"]);
        let wrong = eval_json(&place, &["--data", "wrong.csv"]);
        for judged in [&right, &wrong] {
            assert_eq!(judged["sequences"], 111);
            assert_eq!(judged["rows"], 120);
        }
        assert_eq!(wrong["data"], "wrong.csv");
        let accuracy = |judged: &Value| judged["test_accuracy"].as_f64().unwrap();
        assert!(accuracy(&right) > 0.8, "{right}");
        assert!((accuracy(&right) + accuracy(&wrong) - 1.0).abs() < 1e-9);
        // The baseline is that of the training file, whose classes are as frequent as each other.
        assert!(right["majority_accuracy"].is_number(), "{right}");
        let text = eval(&place, &["--data", "wrong.csv"]).ok();
        assert_has(
            &text,
            &[
                "wrong.csv loss",
                "evaluated all of wrong.csv: 120 rows in 111 sequences of 10 steps",
            ],
        );
    }
}

/// Asserts that the splits of a trained run have the scores of these files; returns their losses.
fn splits_are_files(place: &Workspace, files: [(&str, &str); 2]) -> Vec<f64> {
    let loss = |(split, file): (&str, &str)| {
        let of_split = eval_json(place, &["--split", split]);
        let of_file = eval_json(place, &["--data", file]);
        assert_close(&of_split[format!("{split}_loss")], &of_file["test_loss"]);
        of_file["test_loss"].as_f64().unwrap()
    };
    files.map(loss).to_vec()
}

#[test]
fn a_validation_split_may_be_a_file() {
    let place = Workspace::new();
    let files = [("validation", "valid.csv"), ("test", "test.csv")];
    fs::write(place.path("train.csv"), slopes(0, 240, ["up", "down"])).unwrap();
    fs::write(place.path("valid.csv"), slopes(300, 60, ["down", "up"])).unwrap();
    fs::write(place.path("test.csv"), slopes(300, 120, ["up", "down"])).unwrap();
    let own = "validation_path = \"valid.csv\"\ntest_path = \"test.csv\"";
    train(&place, &recipe(&format!("{SLOPES}\n{own}"), CLASSES));
    let losses = splits_are_files(&place, files);
    assert!(losses[0] > losses[1], "{losses:?}");
    let log = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    assert_has(&log, &["validation_loss"]);

    let both = recipe(
        &format!("{SLOPES}\n{own}\nvalidation_fraction = 0.1"),
        CLASSES,
    );
    fs::write(place.path("both.toml"), both).unwrap();
    let usage = place
        .run(&["train", "both.toml", "--device", "cpu"])
        .fails(2);
    assert_has(&usage, &["data.validation_path is", "remove one of them"]);
}

#[test]
fn a_corpus_in_three_files_has_their_splits() {
    let place = Workspace::new();
    let text = |words: &str| words.repeat(40);
    fs::write(place.path("c.train.txt"), text("the cat sat on the mat. ")).unwrap();
    fs::write(place.path("c.valid.txt"), text("the cat sat, cat sat! ")).unwrap();
    fs::write(place.path("c.test.txt"), text("on the mat the cat sat. ")).unwrap();
    let data = "kind = \"text\"\npath = \"c.train.txt\"\nstreams = 8\n\
                validation_path = \"c.valid.txt\"\ntest_path = \"c.test.txt\"";
    let recipe = recipe(data, "loss = \"cross-entropy\"\nreads = \"every\"")
        .replace("batch_size", "bptt_steps = 20\nbatch_size")
        .replace("[[network", "[network]\ninput = \"one-hot\"\n[[network");
    let said = train(&place, &recipe);
    assert_has(&said, &["c.valid.txt: 80 of the 880 characters are not in"]);
    splits_are_files(
        &place,
        [("validation", "c.valid.txt"), ("test", "c.test.txt")],
    );
}

#[test]
fn a_file_of_the_test_rows_has_the_scores_of_the_test_split() {
    let place = Workspace::new();
    let all = slopes(0, 250, ["up", "down"]);
    fs::write(place.path("train.csv"), &all).unwrap();
    train(&place, &recipe(SLOPES, CLASSES));
    // The last fifth.
    let rows: Vec<&str> = all.lines().collect();
    let tail = [&rows[..1], &rows[201..]].concat().join("\n");
    fs::write(place.path("tail.csv"), tail).unwrap();
    let (own, judged) = (
        eval_json(&place, &[]),
        eval_json(&place, &["--data", "tail.csv"]),
    );
    assert_eq!(own["sequences"], judged["sequences"]);
    for key in ["test_loss", "test_accuracy", "majority_accuracy"] {
        assert_close(&own[key], &judged[key]);
    }
    // A range of it.
    let range = eval_json(&place, &["--data", "tail.csv", "--range", "0..10"]);
    assert_eq!(range["sequences"], 10);
    let text = eval(&place, &["--data", "tail.csv", "--range", "0..10"]).ok();
    assert_has(&text, &["evaluated sequences 0 to 9 of tail.csv"]);

    // Without the training data there are no baselines, which is said.
    fs::rename(place.path("train.csv"), place.path("moved.csv")).unwrap();
    let run = eval(&place, &["--data", "tail.csv", "--json"]);
    assert_has(&run.stderr, &["the baselines are left out", "train.csv"]);
    let judged = json(&run.ok());
    assert_close(&own["test_loss"], &judged["test_loss"]);
    assert!(judged.get("majority_accuracy").is_none(), "{judged}");
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let place = Workspace::new();
    fs::write(place.path("train.csv"), slopes(0, 240, ["up", "down"])).unwrap();
    train(&place, &recipe(SLOPES, CLASSES));
    fs::write(place.path("other.csv"), slopes(0, 40, ["up", "sideways"])).unwrap();
    fs::write(place.path("columns.csv"), "x,z\n1,up\n").unwrap();
    fs::write(place.path("short.csv"), slopes(0, 5, ["up", "down"])).unwrap();
    for (arguments, code, expected) in [
        (
            &["--data", "other.csv"][..],
            1,
            &["other.csv: line 7", "`sideways`", "`down` or `up`"][..],
        ),
        (
            &["--data", "columns.csv"],
            1,
            &["columns.csv", "no column `y`"],
        ),
        (&["--data", "short.csv"], 1, &["short.csv", "5 rows"]),
        (&["--data", "none.csv"], 1, &["none.csv: --data"]),
        (
            &["--data", "train.csv", "--split", "test"],
            2,
            &["--split", "train.csv holds no splits", "all of it"],
        ),
    ] {
        assert_has(&eval(&place, arguments).fails(code), expected);
    }
    // A file of one class can be judged; what it lacks is said.
    let one_class = slopes(0, 240, ["up", "up"]);
    fs::write(place.path("one.csv"), one_class).unwrap();
    let run = eval(&place, &["--data", "one.csv"]);
    assert_has(
        &run.stderr,
        &["one.csv has no sequence of class `down`, which the training split has"],
    );
    assert_has(&run.ok(), &["231 sequences"]);
}

#[test]
fn other_arrays_are_judged() {
    let place = Workspace::new();
    let inputs = Array3::from_shape_fn((100, 6, 2), |(n, t, i)| {
        let slope = if n % 3 == 0 { -1.0 } else { 1.0 };
        50.0 + slope * t as f32 + ((n * 7 + i * 3) % 5) as f32 * 0.1
    });
    let labels = Array1::from_shape_fn(100, |n| i64::from(n % 3 == 0));
    let write = |name: &str, parts: &[(&str, std::ops::Range<usize>)]| {
        let mut file = NpzWriter::new(fs::File::create(place.path(name)).unwrap());
        for (suffix, range) in parts {
            let x = inputs.slice(s![range.clone(), .., ..]);
            let y = labels.slice(s![range.clone()]);
            file.add_array(format!("x{suffix}"), &x).unwrap();
            file.add_array(format!("y{suffix}"), &y).unwrap();
        }
        file.finish().unwrap();
    };
    write("all.npz", &[("", 0..100)]);
    write("rest.npz", &[("", 80..100)]);
    write("some.npz", &[("", 60..80)]);
    let data = "kind = \"npy\"\npath = \"all.npz\"\ninputs = \"x\"\nlabels = \"y\"\n\
                split_by = \"order\"";
    train(&place, &recipe(data, CLASSES));
    let (own, judged) = (
        eval_json(&place, &[]),
        eval_json(&place, &["--data", "rest.npz"]),
    );
    assert_eq!(judged["sequences"], 20);
    assert_close(&own["test_loss"], &judged["test_loss"]);
    let usage = eval(&place, &["--data", "rest.npz", "--split", "train"]).fails(2);
    assert_has(&usage, &["rest.npz holds no splits"]);

    let own = format!(
        "{}\nvalidation_path = \"some.npz\"\ntest_path = \"rest.npz\"",
        data
    );
    fs::remove_dir_all(place.path("run")).unwrap();
    train(&place, &recipe(&own, CLASSES));
    splits_are_files(&place, [("validation", "some.npz"), ("test", "rest.npz")]);

    // A class and a number of features that the model does not have.
    fs::create_dir(place.path("arrays")).unwrap();
    let refused = |x: &Array3<f32>, y: &Array1<i64>, expected: &str| {
        write_npy(place.path("arrays/x.npy"), x).unwrap();
        write_npy(place.path("arrays/y.npy"), y).unwrap();
        assert_has(&eval(&place, &["--data", "arrays"]).fails(1), &[expected]);
    };
    let zeros = Array1::zeros(4);
    refused(&Array3::zeros((4, 6, 3)), &zeros, "3 features");
    let large = Array1::from(vec![0, 1, 2, 0]);
    refused(
        &Array3::zeros((4, 6, 2)),
        &large,
        "the label of sequence 2 is `2`",
    );

    // Names in _train and _test are splits.
    write("both.npz", &[("_train", 0..80), ("_test", 80..100)]);
    let named = data.replace("all.npz", "both.npz");
    let named = named
        .replace("\"x\"", "\"x_train\"")
        .replace("\"y\"", "\"y_train\"");
    fs::remove_dir_all(place.path("run")).unwrap();
    train(&place, &recipe(&named, CLASSES));
    write("new.npz", &[("_train", 0..10), ("_test", 50..90)]);
    for (flags, count) in [
        (&[][..], 40),
        (&["--split", "test"], 40),
        (&["--split", "train"], 10),
    ] {
        let judged = eval_json(&place, &[&["--data", "new.npz"], flags].concat());
        assert_eq!(judged["sequences"], count);
    }
}

/// A wave around 50, one value on each line.
fn wave(first: usize, count: usize) -> String {
    let value = |t: usize| 50.0 + 5.0 * (t as f64 * 0.4).sin();
    (first..first + count)
        .map(|t| format!("{:.4}\n", value(t)))
        .collect()
}

const WAVE: &str = "kind = \"series\"\npath = \"wave.txt\"\nsteps = 8\ntest_fraction = 0.25";

#[test]
fn other_series_are_judged() {
    let place = Workspace::new();
    fs::write(place.path("wave.txt"), wave(0, 200)).unwrap();
    fs::write(place.path("tail.txt"), wave(150, 50)).unwrap();
    train(&place, &recipe(WAVE, VALUES));
    let (own, judged) = (
        eval_json(&place, &[]),
        eval_json(&place, &["--data", "tail.txt"]),
    );
    assert_eq!(
        (&own["sequences"], &judged["sequences"]),
        (&42.into(), &42.into())
    );
    assert_eq!(judged["values"], 50);
    for key in ["test_loss", "test_last_step_loss"] {
        assert_close(&own[key], &judged[key]);
    }
    for baseline in ["last value", "linear regression"] {
        assert_close(
            &own["baselines"][baseline]["loss"],
            &judged["baselines"][baseline]["loss"],
        );
    }
    fs::write(place.path("short.txt"), wave(0, 8)).unwrap();
    assert_has(
        &eval(&place, &["--data", "short.txt"]).fails(1),
        &["short.txt", "8 rows"],
    );
}

#[test]
fn all_of_another_text_is_judged() {
    let place = Workspace::new();
    let sentence = "the quick brown fox jumps over a lazy dog.\n";
    fs::write(place.path("text.txt"), sentence.repeat(60)).unwrap();
    let flags = [
        "train",
        "text",
        "--device",
        "cpu",
        "--data",
        "text.txt",
        "--layers",
        "1",
        "--hidden-size",
        "8",
        "--batch-size",
        "4",
        "--epochs",
        "1",
        "--out",
        "run",
        "--set",
        "bptt_steps=20",
    ];
    place.run(&flags).ok();
    // 87 characters, of which the capital letters are unknown.
    let other = format!("{sentence}{}Q", sentence.replace('t', "T"));
    fs::write(place.path("other.txt"), &other).unwrap();
    let run = eval(&place, &["--data", "other.txt", "--json"]);
    assert_has(
        &run.stderr,
        &["2 of the 87 characters are not in the model's vocabulary"],
    );
    let judged = json(&run.ok());
    assert_eq!(judged["characters"], 87);
    let confusion = eval_json(&place, &["--data", "other.txt", "--confusion"]);
    let rows = confusion["confusion"].as_array().unwrap().iter();
    let counts = rows.flat_map(|row| row.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()));
    // Every character except the first is predicted once.
    assert_eq!(counts.sum::<u64>(), 86);
    let text = eval(&place, &["--data", "other.txt", "--confusion"]).ok();
    assert_has(&text, &["(unknown)", "\"\\n\"", "\" \""]);
    fs::write(place.path("none.txt"), "\u{416}\u{416}\u{416}").unwrap();
    assert_has(
        &eval(&place, &["--data", "none.txt"]).fails(1),
        &["none of its 3 characters"],
    );
}

#[test]
fn a_directory_of_images_is_judged_by_split() {
    let place = Workspace::new();
    place.train(&["--epochs", "1", "--out", "run"]).ok();
    fs::rename(place.path("data"), place.path("moved")).unwrap();
    let test = eval(&place, &["--data", "moved", "--json"]);
    assert_has(&test.stderr, &["the baselines are left out"]);
    assert_eq!(json(&test.ok())["sequences"], 50);
    let train = eval_json(&place, &["--data", "moved", "--split", "train"]);
    assert_eq!(train["sequences"], 200);
    assert!(train["train_loss"].is_number(), "{train}");
    let text = eval(&place, &["--data", "moved"]).ok();
    assert_has(&text, &["evaluated the test split of moved: 50 sequences"]);
}

#[test]
fn the_most_frequent_class_is_that_of_the_training_split() {
    let place = Workspace::new();
    let label = |row: usize| match row {
        80.. => "c",
        _ if row % 4 == 3 => "b",
        _ => "a",
    };
    let rows: String = (0..100)
        .map(|row| format!("{row},{}\n", label(row)))
        .collect();
    fs::write(place.path("train.csv"), format!("x,y\n{rows}")).unwrap();
    let said = train(&place, &recipe(SLOPES, CLASSES));
    let untrained = "the training split has no sequence of class `c`, which the test split has";
    assert_has(
        &said,
        &[
            untrained,
            "the test split has no sequence of the classes `a`, `b`",
        ],
    );
    let run = eval(&place, &["--json"]);
    assert_has(&run.stderr, &[untrained]);
    let judged = json(&run.ok());
    assert_eq!(judged["majority_accuracy"], 0.0);
    assert_eq!(judged["majority_class"], "a");
    let text = eval(&place, &[]).ok();
    assert_has(
        &text,
        &["the most frequent class alone has accuracy 0.0000", "`a`"],
    );
    // The training split itself: nothing is lacking.
    let run = eval(&place, &["--split", "train"]);
    assert!(!run.stderr.contains("no sequence"), "{}", run.stderr);
    // The page says the same.
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert_has(&page, &[untrained, ">a</text>"]);
}

#[test]
fn classes_are_named_in_results() {
    let place = Workspace::new();
    let names = ["rising, at the usual speed", "falling, at the usual speed"];
    fs::write(
        place.path("train.csv"),
        slopes(
            0,
            240,
            [&format!("\"{}\"", names[0]), &format!("\"{}\"", names[1])],
        ),
    )
    .unwrap();
    train(&place, &recipe(SLOPES, CLASSES));
    let judged = eval_json(&place, &["--confusion"]);
    assert_eq!(judged["classes"], serde_json::json!([names[1], names[0]]));
    assert_eq!(judged["confusion"].as_array().unwrap().len(), 2);
    let text = eval(&place, &["--confusion"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    let header = lines
        .iter()
        .position(|line| line.ends_with("recall"))
        .unwrap();
    assert!(lines[header + 1].starts_with("falling,…"), "{text}");
    assert!(lines[header + 2].starts_with("rising, …"), "{text}");
    let width = |line: &str| line.chars().count();
    assert_eq!(width(lines[header]), width(lines[header + 1]));
    place
        .run(&["export", "run", "--to", "onnx", "-o", "run/model.onnx"])
        .ok();
    let bytes = fs::read(place.path("run/model.onnx")).unwrap();
    let file = String::from_utf8_lossy(&bytes);
    assert_has(
        &file,
        &["classes", &format!("[\"{}\",\"{}\"]", names[1], names[0])],
    );
}

/// A table of two machines, whose rows alternate, and a short third one.
fn machines() -> String {
    let mut text = String::from("machine,v\n");
    for row in 0..60 {
        for (name, offset) in [("a", 0.0), ("b", 1.0)] {
            let value = (f64::from(row) * 0.5 + offset).sin();
            writeln!(text, "{name},{value:.4}").unwrap();
        }
    }
    for row in 0..5 {
        writeln!(text, "c,{row}").unwrap();
    }
    text
}

const MACHINES: &str = "kind = \"csv\"\npath = \"machines.csv\"\ninputs = [\"v\"]\n\
                        targets = [\"v\"]\ngroup = \"machine\"\nsteps = 8\nhorizon = 1\n\
                        every_step = true";

/// Lines of predictions by their position: all cells except the last one.
fn by_position(text: &str) -> Vec<(String, f64)> {
    let split = |line: &str| {
        let (position, value) = line.rsplit_once(',').unwrap();
        (position.to_string(), value.parse().unwrap())
    };
    text.lines().skip(1).map(split).collect()
}

#[test]
fn rows_are_the_same_from_a_file_and_from_standard_input() {
    let place = Workspace::new();
    fs::write(place.path("machines.csv"), machines()).unwrap();
    let said = train(&place, &recipe(MACHINES, VALUES));
    assert_has(&said, &["c (5 rows)"]);
    let flags = ["predict", "run", "machines.csv", "--device", "cpu"];
    let run = place.run(&flags);
    assert_has(&run.stderr, &["c (5 rows)"]);
    let of_file = run.ok();
    assert!(of_file.starts_with("machine,row,v\na,9,"), "{of_file}");
    let of_file = by_position(&of_file);
    let streamed = place.stream(&machines(), &[]).ok();
    assert!(streamed.starts_with("machine,row,v\na,2,"), "{streamed}");
    let streamed = by_position(&streamed);
    assert_eq!(streamed.len(), 125);
    let of_stream = |position: &str| {
        let found = streamed.iter().find(|(own, _)| own == position);
        found.unwrap_or_else(|| panic!("no {position}")).1
    };
    // The states of the first window of each group are those of its first lines.
    for group in ["a", "b"] {
        let position = format!("{group},9");
        let (_, value) = of_file.iter().find(|(own, _)| *own == position).unwrap();
        assert!((value - of_stream(&position)).abs() < 1e-4, "{position}");
    }
    // The last rows are the ones after the end of each group.
    assert_eq!(of_file.last().unwrap().0, "b,61");
    assert!(of_stream("a,61").is_finite() && of_stream("c,6").is_finite());

    // Without the column of groups all lines are one group, which is said.
    let run = place.stream("v\n0.1\n0.2\n\n0.1\n", &["--json"]);
    assert_has(&run.stderr, &["no column `machine`"]);
    let lines: Vec<Value> = run.ok().lines().map(json).collect();
    let rows: Vec<&Value> = lines.iter().map(|line| &line["row"]).collect();
    assert_eq!(rows, [2, 3, 2]);
    assert_eq!(lines[0]["values"], lines[2]["values"]);
    let run = place.stream("machine,v\na,1\nb,x\n", &[]);
    assert_eq!(run.code, Some(1));
    assert_has(
        &run.stderr,
        &["line 3", "column `v`: `x` is not a finite number"],
    );
}

#[test]
fn lines_of_sequences_are_counted_as_sequences_and_steps() {
    let place = Workspace::new();
    fs::create_dir(place.path("arrays")).unwrap();
    let inputs = Array3::from_shape_fn((40, 5, 1), |(n, t, _)| ((n * 3 + t) % 7) as f32);
    let labels = Array1::from_shape_fn(40, |n| (n % 2) as i64);
    write_npy(place.path("arrays/x.npy"), &inputs).unwrap();
    write_npy(place.path("arrays/y.npy"), &labels).unwrap();
    let data = "kind = \"npy\"\npath = \"arrays\"\ninputs = \"x\"\nlabels = \"y\"";
    train(&place, &recipe(data, CLASSES));
    let text = place.stream("1\n2\n\n\n3\n", &[]).ok();
    let positions: Vec<&str> = text
        .lines()
        .map(|line| &line[..line.len().min(4)])
        .collect();
    assert!(text.starts_with("sequence,step,class,"), "{text}");
    assert_eq!(positions[1..], ["0,0,", "0,1,", "1,0,"]);
}

/// `generate` with four steps; its values and what it says.
fn generated(place: &Workspace, more: &[&str]) -> (Vec<f64>, String) {
    let flags = ["generate", "run", "--device", "cpu", "--steps", "4"];
    let run = place.run(&[&flags[..], more].concat());
    let said = run.stderr.clone();
    let values = run.ok().lines().map(|line| line.parse().unwrap()).collect();
    (values, said)
}

#[test]
fn a_series_is_continued_from_its_end() {
    let place = Workspace::new();
    let ramp: String = (0..200)
        .map(|n| format!("{:.3}\n", f64::from(n) * 0.005))
        .collect();
    fs::write(place.path("ramp.txt"), format!("# a ramp\n{ramp}")).unwrap();
    let data = "kind = \"series\"\npath = \"ramp.txt\"\nsteps = 15";
    let recipe = recipe(data, VALUES).replace("epochs = 12", "epochs = 20");
    train(&place, &recipe);
    let (values, said) = generated(&place, &[]);
    assert_has(&said, &["continues ramp.txt, row 200, line 201"]);
    assert!(
        values.iter().all(|value| (0.85..1.2).contains(value)),
        "{values:?}"
    );
    let flags = [
        "generate", "run", "--device", "cpu", "--steps", "1", "--json",
    ];
    let object = json(&place.run(&flags).ok());
    let seed = object["seed"].as_array().unwrap();
    assert_eq!(
        (seed.len(), &object["columns"]),
        (15, &serde_json::json!(["value"]))
    );
    assert!(
        (seed[14].as_f64().unwrap() - 0.995).abs() < 1e-5,
        "{object}"
    );
    assert!((seed[0].as_f64().unwrap() - 0.925).abs() < 1e-5, "{object}");

    // Another file from its end too, of which only the last window is read.
    fs::write(
        place.path("half.txt"),
        ramp.lines().take(100).collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let (values, said) = generated(&place, &["--seed-sequence", "half.txt"]);
    assert_has(&said, &["continues half.txt, row 100, line 100"]);
    assert!(
        values.iter().all(|value| (0.4..0.7).contains(value)),
        "{values:?}"
    );
    let window: String = ramp
        .lines()
        .skip(85)
        .take(15)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(place.path("window.txt"), window).unwrap();
    let (same, _) = generated(&place, &["--seed-sequence", "window.txt"]);
    assert_eq!(values, same);

    // A seed shorter than a window.
    fs::write(place.path("short.txt"), "0.5\n0.505\n").unwrap();
    let (_, said) = generated(&place, &["--seed-sequence", "short.txt"]);
    assert_has(&said, &["the seed has 2 steps", "windows of 15"]);
    let flags = ["--window", "--seed-sequence", "short.txt"];
    let refused = place.run(&[&["generate", "run", "--device", "cpu"], &flags[..]].concat());
    assert_has(
        &refused.fails(1),
        &["the seed has 2 steps and the window 15"],
    );
    let refused = place.run(&["generate", "run", "--device", "cpu", "--group", "a"]);
    assert_has(&refused.fails(2), &["--group a", "no groups"]);
}

#[test]
fn the_group_to_continue_is_said_and_chosen() {
    let place = Workspace::new();
    fs::write(place.path("machines.csv"), machines()).unwrap();
    train(&place, &recipe(MACHINES, VALUES));
    // The last group is shorter than a window.
    let (of_last, said) = generated(&place, &[]);
    assert_has(
        &said,
        &[
            "continues machines.csv, group `b`, row 60, line 121",
            "3 groups",
            "c (5 rows)",
        ],
    );
    let (of_b, said) = generated(&place, &["--group", "b"]);
    assert_eq!(of_last, of_b);
    assert!(!said.contains("3 groups"), "{said}");
    let (of_a, said) = generated(&place, &["--group", "a"]);
    assert_has(&said, &["group `a`, row 60, line 120"]);
    assert_ne!(of_a, of_b);
    let (_, said) = generated(&place, &["--group", "c"]);
    assert_has(
        &said,
        &["group `c`, row 5", "the seed has 5 steps", "windows of 8"],
    );
    let flags = ["generate", "run", "--device", "cpu", "--group"];
    let refused = place
        .run(&[&flags[..], &["c", "--window"]].concat())
        .fails(1);
    assert_has(&refused, &["the seed has 5 steps and the window 8"]);
    let refused = place.run(&[&flags[..], &["d"]].concat()).fails(2);
    assert_has(&refused, &["--group d", "no group `d`", "`a`, `b` or `c`"]);
}

#[test]
fn many_groups_are_not_all_listed() {
    let place = Workspace::new();
    let mut text = String::from("machine,v\n");
    for row in 0..60 {
        for machine in 0..40 {
            writeln!(text, "m{machine},{}", (row + machine) % 5).unwrap();
        }
    }
    fs::write(place.path("machines.csv"), text).unwrap();
    train(
        &place,
        &recipe(MACHINES, VALUES).replace("epochs = 12", "epochs = 1"),
    );
    let refused = place.run(&["generate", "run", "--device", "cpu", "--group", "m99"]);
    let message = refused.fails(2);
    assert_has(&message, &["`m19` and 20 more"]);
    assert!(!message.contains("`m20`"), "{message}");
}

#[test]
fn missing_targets_leave_gaps() {
    let place = Workspace::new();
    let mut text = String::from("x,v\n");
    for row in 0..100 {
        let x = f64::from(row) * 0.3;
        let value = if row % 10 == 7 {
            String::new()
        } else {
            format!("{:.4}", x.sin())
        };
        writeln!(text, "{:.4},{value}", x.cos()).unwrap();
    }
    fs::write(place.path("gap.csv"), &text).unwrap();
    let data = "kind = \"csv\"\npath = \"gap.csv\"\ninputs = [\"x\"]\ntargets = [\"v\"]\nsteps = 8\n\
                every_step = true";
    train(&place, &recipe(data, VALUES));
    let judged = eval_json(&place, &["--data", "gap.csv"]);
    assert!(judged["missing_targets"].as_u64().unwrap() > 0, "{judged}");
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert_has(&page, &["leave gaps", "v: the last"]);
    assert!(
        !page.contains("NaN") && !page.contains("3.4028"),
        "a missing value is drawn"
    );
    // Nothing to evaluate.
    let none = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap());
    let none: String = none.map(|x| format!("{x},\n")).collect();
    fs::write(place.path("none.csv"), format!("x,v\n{none}")).unwrap();
    assert_has(
        &eval(&place, &["--data", "none.csv"]).fails(1),
        &["none.csv", "no target"],
    );
}
