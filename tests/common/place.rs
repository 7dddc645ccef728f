//! A directory to run the program in.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory to run the program in, with a data set of 8x8 images in `data`. The classes 0, 1 and
/// 2 differ in which band of rows is bright.
pub struct Workspace {
    directory: TempDir,
}

/// Flags that make the recipe `mnist` small and fit the data set.
pub const SMALL: [&str; 12] = [
    "--device",
    "cpu",
    "--data",
    "data",
    "--set",
    "data.classes=3",
    "--hidden-size",
    "16",
    "--batch-size",
    "10",
    "--lr",
    "0.01",
];

impl Workspace {
    pub fn new() -> Workspace {
        let place = Workspace {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(place.path("data")).unwrap();
        place.write_split("train", 200);
        place.write_split("t10k", 50);
        place
    }

    /// Predicts with the model `run` for lines of standard input.
    pub fn stream(&self, lines: &str, more: &[&str]) -> Run {
        let mut command =
            self.command(&[&["predict", "run", "-", "--device", "cpu"], more].concat());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(lines.as_bytes()).unwrap();
        drop(input);
        Run::from(child.wait_with_output().unwrap())
    }

    pub fn write_split(&self, prefix: &str, count: u32) {
        let mut images = Vec::new();
        let mut labels = Vec::new();
        for index in 0..count {
            let label = index % 3;
            labels.push(label as u8);
            for pixel in 0..64 {
                let noise = (index * 31 + pixel * 17) % 50;
                let bright = pixel / 8 / 2 == label;
                images.push((noise + if bright { 200 } else { 0 }) as u8);
            }
        }
        self.write_idx(
            &format!("{prefix}-images-idx3-ubyte"),
            0x803,
            &[count, 8, 8],
            &images,
        );
        self.write_idx(
            &format!("{prefix}-labels-idx1-ubyte"),
            0x801,
            &[count],
            &labels,
        );
    }

    pub fn write_idx(&self, name: &str, magic: u32, sizes: &[u32], values: &[u8]) {
        let header = std::iter::once(&magic).chain(sizes);
        let mut bytes: Vec<u8> = header.flat_map(|number| number.to_be_bytes()).collect();
        bytes.extend(values);
        fs::write(self.path("data").join(name), bytes).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatescan"));
        command.args(arguments).current_dir(self.directory.path());
        command
    }

    /// Runs the program to its end and checks that it does not panic.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::from(self.command(arguments).output().unwrap())
    }

    /// Runs `train mnist` with [`SMALL`] and `more` flags.
    pub fn train(&self, more: &[&str]) -> Run {
        self.run(&[&["train", "mnist"], &SMALL[..], more].concat())
    }
}

pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        let run = Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        run
    }
}

impl Run {
    /// Returns standard output, and panics unless the exit code is 0.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// Returns standard error, and panics unless the exit code is `code` and no result was printed.
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        self.stderr
    }
}

#[track_caller]
pub fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}
