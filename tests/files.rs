//! Files from outside and files that are written: sizes and names of any kind are an answer or an
//! error, memory is bounded, and what is written is whole and replaces nothing unasked.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::place::{Run, Workspace, assert_has};
use flate2::Compression;
use flate2::write::GzEncoder;

/// The bytes of an `.npy` file.
fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}").into_bytes();
    header.resize(117, b' ');
    header.push(b'\n');
    let start = b"\x93NUMPY\x01\x00\x76\x00";
    [&start[..], &header, values].concat()
}

fn series(rows: usize) -> String {
    let rows = (0..rows).map(|row| format!("{row},{},{}\n", row * 7 % 5, row * row % 11));
    "time,a,b\n".to_string() + &rows.collect::<String>()
}

fn quoted(cell: &str) -> String {
    format!("\"{}\"", cell.replace('"', "\"\""))
}

// Sizes, widths and durations.

#[test]
fn extents_beside_a_zero_are_refused() {
    let place = Workspace::new();
    fs::create_dir(place.path("arrays")).expect("made");
    fs::write(
        place.path("arrays/labels.npy"),
        npy("<i4", "(4,)", &[0; 16]),
    )
    .expect("written");
    let inputs = place.path("arrays/inputs.npy");
    for (shape, descr) in [
        ("(4, 0, 18446744073709551615)", "<f4"),
        ("(18446744073709551615, 18446744073709551615, 0)", "<f4"),
        ("(0, 4611686018427387904)", "<f8"),
        ("(0, 4294967296, 4294967296)", "|b1"),
        ("(0, 9223372036854775807)", "<U4"),
    ] {
        fs::write(&inputs, npy(descr, shape, &[])).expect("written");
        let message = place.run(&["init", "arrays"]).fails(1);
        assert_has(
            &message,
            &["inputs.npy: the header says", "more than any memory holds"],
        );
    }
    fs::write(&inputs, npy("<f4", "(4, 0, 2)", &[])).expect("written");
    let message = place.run(&["init", "arrays"]).fails(1);
    assert_has(
        &message,
        &["there are 4 sequences of 0 steps and 2 features"],
    );
}

#[test]
fn names_of_any_length_are_shown_in_part() {
    let place = Workspace::new();
    for length in [65_535, 65_536, 1 << 20] {
        let name = "x".repeat(length);
        let table = series(60).replacen('a', &name, 1);
        fs::write(place.path("t.csv"), table).expect("written");
        let shown = place.run(&["init", "t.csv", "--force"]).ok();
        assert_has(&shown, &["xxxx...", "wrote t.toml"]);
        assert!(shown.len() < 5000, "{}", shown.len());
    }
    // A class with such a name.
    let name = "y".repeat(70_000);
    let rows = (0..60).map(|row| {
        let class = if row / 3 % 2 == 0 { &name[..] } else { "z" };
        format!("{},{class}\n", row * 7 % 5)
    });
    let table = "a,class\n".to_string() + &rows.collect::<String>();
    fs::write(place.path("c.csv"), table).expect("written");
    place.run(&["init", "c.csv"]).ok();
    let train = [
        "train", "c.toml", "--epochs", "1", "--device", "cpu", "--out", "run",
    ];
    place.run(&train).ok();
    let shown = place
        .run(&["eval", "run", "--confusion", "--device", "cpu"])
        .ok();
    assert!(shown.len() < 10_000, "{}", shown.len());
}

#[test]
fn durations_and_counts_are_checked_before_a_run_begins() {
    let place = Workspace::new();
    for value in ["1e18", "1e308", "525601.0", "0", "-1", "nan", "inf"] {
        let set = format!("checkpoint.every_minutes={value}");
        let message = place.train(&["--set", &set, "--out", "run"]).fails(2);
        assert_has(&message, &["every_minutes"]);
        assert!(!place.path("run").exists(), "{value}");
    }
    place
        .train(&[
            "--set",
            "checkpoint.every_minutes=525600.0",
            "--epochs",
            "1",
        ])
        .ok();
    for seconds in ["1e300", "86401", "inf", "nan", "-1"] {
        let flag = format!("--seconds={seconds}");
        let message = place.run(&["bench", "step", &flag]).fails(2);
        assert_has(&message, &["--seconds"]);
    }
    let message = place
        .run(&["generate", "none", "--steps", "18446744073709551615"])
        .fails(2);
    assert_has(&message, &["--steps"]);
}

// Memory and time.

/// A gzip file of `count` lines.
fn packed(header: &str, line: &str, count: usize) -> Vec<u8> {
    let mut packed = GzEncoder::new(vec![], Compression::best());
    packed
        .write_all(header.as_bytes())
        .expect("memory is written");
    let block = line.repeat(1000);
    for _ in 0..count / 1000 {
        packed
            .write_all(block.as_bytes())
            .expect("memory is written");
    }
    packed.finish().expect("memory is written")
}

#[test]
fn what_unpacks_to_more_than_the_memory_allowed_is_refused_and_the_limit_can_be_raised() {
    let place = Workspace::new();
    let refused = ["max_memory is ", "increase max_memory"];
    // 40 MB of text in some 40 KB.
    let table = packed("a,b\n", "1.0000000000000000,2\n", 2_000_000);
    assert!(table.len() < 1 << 20, "{}", table.len());
    fs::write(place.path("t.csv.gz"), table).expect("written");
    let message = place
        .run(&["init", "t.csv.gz", "--max-memory", "16MiB"])
        .fails(1);
    assert_has(&message, &[&["t.csv.gz"], &refused[..]].concat());
    // Values that take more than their text.
    let table = packed("a,b,c,d\n", "1,2,3,4\n2,1,5,3\n", 500_000);
    fs::write(place.path("v.csv.gz"), table).expect("written");
    let message = place
        .run(&["init", "v.csv.gz", "--max-memory", "20MiB"])
        .fails(1);
    assert_has(&message, &refused);
    // An array of 32 MB.
    fs::create_dir(place.path("arrays")).expect("made");
    let zeros = npy("<f4", "(1000, 80, 100)", &vec![0; 32_000_000]);
    fs::write(place.path("arrays/x.npy"), zeros).expect("written");
    let labels: Vec<u8> = (0..1000).map(|n| n as u8 % 3).collect();
    fs::write(place.path("arrays/y.npy"), npy("|u1", "(1000,)", &labels)).expect("written");
    let message = place
        .run(&["init", "arrays", "--max-memory", "32M"])
        .fails(1);
    assert_has(&message, &[&["x.npy"], &refused[..]].concat());
    place.run(&["init", "arrays", "--max-memory", "1GiB"]).ok();
    // One long sequence among many short ones: padded, they are 4 billion values.
    fs::create_dir(place.path("ragged")).expect("made");
    let rows: usize = 20_000 + 20_000;
    fs::write(
        place.path("ragged/x.npy"),
        npy("<f4", &format!("({rows}, 1)"), &vec![0; 4 * rows]),
    )
    .expect("written");
    let lengths = std::iter::once(20_000u16).chain(std::iter::repeat_n(1, 20_000));
    let lengths: Vec<u8> = lengths.flat_map(u16::to_le_bytes).collect();
    fs::write(
        place.path("ragged/lengths.npy"),
        npy("<u2", "(20001,)", &lengths),
    )
    .expect("written");
    let labels: Vec<u8> = (0..20_001).map(|n| (n % 2) as u8).collect();
    fs::write(place.path("ragged/y.npy"), npy("|u1", "(20001,)", &labels)).expect("written");
    let message = place
        .run(&["init", "ragged", "--max-memory", "1GiB"])
        .fails(1);
    assert_has(&message, &refused);
    place
        .run(&["init", "arrays", "--max-memory", "many"])
        .fails(2);
}

/// 40,000 columns took 20 to 40 s when each was compared with all others.
#[test]
fn wide_tables_take_time_in_proportion_to_their_columns() {
    let place = Workspace::new();
    let columns = 40_000;
    let header: Vec<String> = (0..columns).map(|n| format!("c{n}")).collect();
    let mut table = header.join(",") + "\n";
    for row in 0..12 {
        let cells: Vec<String> = (0..columns)
            .map(|n| ((row * 7 + n) % 11).to_string())
            .collect();
        table += &(cells.join(",") + "\n");
    }
    fs::write(place.path("wide.csv"), table).expect("written");
    let start = Instant::now();
    place.run(&["init", "wide.csv"]).ok();
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    // All columns are inputs, and none is named twice.
    let recipe = fs::read_to_string(place.path("wide.toml")).expect("it is there");
    let all = format!("inputs = [\"{}\"]", header.join("\", \""));
    let (start, end) = (recipe.find("inputs = [").expect("they are set"), "]\n");
    let end = start + recipe[start..].find(end).expect("it ends") + 1;
    let wide = format!("{}{all}{}", &recipe[..start], &recipe[end..]);
    fs::write(place.path("all.toml"), wide).expect("written");
    let start = Instant::now();
    let train = [
        "train",
        "all.toml",
        "--set",
        "steps=1",
        "--hidden-size",
        "1",
        "--device",
        "cpu",
    ];
    place.run(&train);
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}

// Written files.

/// A forecaster in `run`.
fn forecaster(place: &Workspace) {
    fs::write(place.path("t.csv"), series(80)).expect("written");
    place.run(&["init", "t.csv"]).ok();
    let train = [
        "train", "t.toml", "--epochs", "1", "--device", "cpu", "--out", "run",
    ];
    place.run(&train).ok();
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is there").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn no_file_is_replaced_without_force() {
    let place = Workspace::new();
    forecaster(&place);
    let commands: [(&[&str], &str); 12] = [
        (
            &["export", "run", "--to", "pytorch", "-o", "m.safetensors"],
            "m.safetensors",
        ),
        (
            &["export", "run", "--to", "pytorch", "-o", "n.safetensors"],
            "n.py",
        ),
        (
            &["export", "run", "--to", "keras", "-o", "k.weights.h5"],
            "k.py",
        ),
        (&["export", "run", "--to", "onnx", "-o", "m.onnx"], "m.onnx"),
        (
            &["predict", "run", "t.csv", "--device", "cpu", "-o", "p.csv"],
            "p.csv",
        ),
        (
            &["predict", "run", "t.csv", "--device", "cpu", "-o", "p.json"],
            "p.json",
        ),
        (
            &["predict", "run", "t.csv", "--device", "cpu", "-o", "p.npy"],
            "p.npy",
        ),
        (
            &["report", "run", "--device", "cpu", "-o", "r.html"],
            "r.html",
        ),
        (&["report", "run", "--svg", "r.svg"], "r.svg"),
        (
            &["generate", "run", "--device", "cpu", "-o", "g.csv"],
            "g.csv",
        ),
        (
            &[
                "generate", "run", "--device", "cpu", "-o", "g.svg", "-o", "g.npy",
            ],
            "g.npy",
        ),
        (&["init", "t.csv", "-o", "i.toml"], "i.toml"),
    ];
    for (command, name) in commands {
        let before = names(&place.path(""));
        fs::write(place.path(name), "mine").expect("written");
        let message = place.run(command).fails(2);
        assert_has(
            &message,
            &[name, "exists and is not overwritten", "--force"],
        );
        assert_eq!(fs::read(place.path(name)).expect("it is there"), b"mine");
        // Nothing else was written either.
        let mut expected = before;
        expected.push(name.into());
        expected.sort();
        expected.dedup();
        assert_eq!(names(&place.path("")), expected);
        place.run(&[command, &["--force"]].concat()).ok();
        assert_ne!(
            fs::read(place.path(name)).expect("it is there"),
            b"mine",
            "{name}"
        );
    }
    // The page of a run directory is gatescan's own.
    place.run(&["report", "run", "--device", "cpu"]).ok();
    assert!(
        !names(&place.path(""))
            .iter()
            .any(|name| name.ends_with(".tmp"))
    );
    // A directory with a page of the user is no place for a run.
    fs::create_dir(place.path("mine")).expect("made");
    fs::write(place.path("mine/report.html"), "mine").expect("written");
    let train = [
        "train", "t.toml", "--epochs", "1", "--device", "cpu", "--out", "mine",
    ];
    assert_has(
        &place.run(&train).fails(2),
        &["report.html", "not overwritten"],
    );
}

/// Ends the program in the middle of a write, by a limit of the size of its files.
#[cfg(target_os = "linux")]
#[test]
fn a_write_that_is_killed_leaves_no_file_of_that_name_and_the_next_one_cleans_up() {
    let place = Workspace::new();
    forecaster(&place);
    let rows: String = (0..20_000)
        .map(|row| format!("{row},{},{}\n", row % 5, row % 11))
        .collect();
    fs::write(place.path("long.csv"), format!("time,a,b\n{rows}")).expect("written");
    fs::write(place.path("p.csv"), "before").expect("written");
    let program = env!("CARGO_BIN_EXE_gatescan");
    let predict = [
        "predict", "run", "long.csv", "--device", "cpu", "--force", "-o", "p.csv",
    ];
    let killed = Command::new("sh")
        .args(["-c", "ulimit -f 8; exec \"$@\"", "sh", program])
        .args(predict)
        .current_dir(place.path(""))
        .output()
        .expect("there is a shell");
    assert!(!killed.status.success());
    assert_eq!(
        fs::read(place.path("p.csv")).expect("it is there"),
        b"before"
    );
    let temporary = |names: Vec<String>| names.iter().any(|name| name.ends_with(".tmp"));
    place.run(&predict).ok();
    assert!(!temporary(names(&place.path(""))));
    let lines = fs::read_to_string(place.path("p.csv")).expect("it is text");
    assert!(lines.lines().count() > 19_000 && lines.ends_with('\n'));
}

#[cfg(unix)]
#[test]
fn a_run_whose_directory_was_removed_does_not_claim_to_be_saved() {
    let place = Workspace::new();
    forecaster(&place);
    for removes_all in [true, false] {
        let mut run = place.command(&[
            "train", "t.toml", "--epochs", "1000000", "--device", "cpu", "--out", "gone",
        ]);
        let mut child = run
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let start = Instant::now();
        while !place.path("gone/model.safetensors").exists() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(10));
        }
        if removes_all {
            fs::remove_dir_all(place.path("gone"))
                .or_else(|_| fs::remove_dir_all(place.path("gone")))
        } else {
            fs::rename(place.path("gone"), place.path("moved"))
        }
        .expect("it can be removed");
        let kill = Command::new("kill").arg(child.id().to_string()).status();
        assert!(kill.expect("there is a kill").success());
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut stderr)
            .expect("it is text");
        assert_eq!(
            child.wait().expect("it is ours").code(),
            Some(1),
            "{stderr}"
        );
        assert_has(
            &stderr,
            &[
                "run directory gone was removed or replaced",
                "nothing of it is saved",
            ],
        );
        let claims = stderr.contains("saved up to step") || stderr.contains("saved the model");
        assert!(!claims, "{stderr}");
        assert!(!place.path("gone").exists());
    }
}

// Names.

/// Asserts that a text has no characters that act on a terminal, and that no name begins a line.
#[track_caller]
fn assert_printable(text: &str) {
    let is_odd = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2066}\u{2028}".contains(c);
    assert!(!text.contains(is_odd), "{text:?}");
    assert!(
        !text.lines().any(|line| line.starts_with("INJECTED")),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn names_from_files_act_on_no_terminal_and_no_recipe() {
    let place = Workspace::new();
    let header = [
        "time\nINJECTED = 5",
        "va\u{202e}l\u{2028}x",
        "gr\noup",
        "class",
    ];
    let classes = ["A\n\u{2066}x\u{9b}31m", "B\u{9b}31m\nINJECTED"];
    let line = |cells: [&str; 4]| cells.map(quoted).join(",") + "\n";
    let mut table = line(header);
    for series in 0..6 {
        for row in 0..30 {
            let [row, value] = [row, (row * 7 + series * 3) % 11].map(|n: usize| n.to_string());
            let group = format!("g{series}\nx");
            table += &line([&row, &value, &group, classes[series % 2]]);
        }
    }
    let file = "t\u{1b}[31m\nINJECTED\u{202e}.csv";
    fs::write(place.path(file), table).expect("written");
    let check = |arguments: &[&str]| -> Run {
        let run = place.run(arguments);
        assert_printable(&run.stderr);
        run
    };
    let shown = check(&["init", file, "-o", "r.toml"]).ok();
    assert_printable(&shown);
    assert_has(
        &shown,
        &[
            r"gr\noup",
            r"time\nINJECTED = 5",
            r"va\u{202e}l\u{2028}x",
            r"t\u{1b}[31m\nINJECTED",
        ],
    );
    let json = check(&["init", file, "-o", "j.toml", "--json"]).ok();
    assert_printable(&json);
    assert!(json.contains(r"va\u202el\u2028x"), "{json}");
    let recipe = fs::read_to_string(place.path("r.toml")).expect("it is text");
    assert_printable(&recipe);
    let run = "run\u{1b}[31m\nINJECTED";
    let train = [
        "train", "r.toml", "--epochs", "2", "--device", "cpu", "--out", run,
    ];
    assert_printable(&check(&train).ok());
    let resume = ["train", "--resume", run, "--epochs", "3", "--device", "cpu"];
    assert_printable(&check(&resume).ok());
    assert_printable(&check(&["eval", run, "--confusion", "--device", "cpu"]).ok());
    assert_printable(&check(&["eval", run, "--json", "--device", "cpu"]).ok());
    assert_printable(&check(&["predict", run, file, "--json", "--device", "cpu"]).ok());
    // Predictions in CSV for another program have names as they are.
    let predicted = check(&["predict", run, file, "--device", "cpu"]).ok();
    assert!(predicted.contains(classes[0]), "{predicted}");
    check(&["report", run, "--device", "cpu"]).ok();
    let page = fs::read_to_string(place.path(run).join("report.html")).expect("it is text");
    assert!(!page.contains(['\u{1b}', '\u{9b}', '\u{202e}']));
    for format in ["onnx", "pytorch", "keras"] {
        check(&["export", run, "--to", format]).ok();
    }
    // Errors.
    for arguments in [
        &["train", file][..],
        &["eval", file],
        &["train", "--resume", file],
        &["predict", run, "a\u{1b}\nINJECTED.csv"],
        &["init", "a\u{1b}\nINJECTED.csv"],
        &[
            "export",
            run,
            "--to",
            "pytorch",
            "-o",
            "a\u{1b}\nINJECTED.safetensors",
        ],
        &["init", file, "--target", "a\u{1b}\nINJECTED"],
    ] {
        let run = check(arguments);
        assert_ne!(run.code, Some(0));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn run_directories_have_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Workspace::new();
    forecaster(&place);
    let directory = OsStr::from_bytes(b"run-\xff\xfe");
    let run = |arguments: &[&str]| {
        let mut command = place.command(&[]);
        for argument in arguments {
            match *argument {
                "RUN" => command.arg(directory),
                other => command.arg(other),
            };
        }
        Run::from(command.output().expect("it starts"))
    };
    run(&[
        "train", "t.toml", "--epochs", "1", "--device", "cpu", "--out", "RUN",
    ])
    .ok();
    run(&[
        "train", "--resume", "RUN", "--epochs", "2", "--device", "cpu",
    ])
    .ok();
    run(&["eval", "RUN", "--device", "cpu"]).ok();
    run(&["predict", "RUN", "t.csv", "--device", "cpu"]).ok();
    run(&["generate", "RUN", "--steps", "3", "--device", "cpu"]).ok();
    run(&["report", "RUN", "--device", "cpu"]).ok();
    run(&["report", "RUN", "run", "-o", "both.html"]).ok();
    for format in ["onnx", "pytorch", "keras"] {
        run(&["export", "RUN", "--to", format]).ok();
    }
    let path = place.path("").join(directory);
    assert!(path.join("model_pytorch.py").is_file() && path.join("report.html").is_file());
    assert!(
        !names(&place.path(""))
            .iter()
            .any(|name| name.starts_with("runs"))
    );
    // The command to continue names the directory by its bytes.
    let message = run(&["train", "t.toml", "--device", "cpu", "--out", "RUN"]).fails(2);
    assert_has(&message, &[r"--resume $'run-\377\376'"]);
}
