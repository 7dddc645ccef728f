//! The layout of the source: which module may use which, and how long a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of `src/`, from high to low. A module uses only modules below its own group.
const FLOORS: [&[&str]; 17] = [
    &["main", "cli"],
    &["lib"],
    &["tune"],
    &["backtest", "bench", "run", "web"],
    &["profile", "verify", "report", "formats"],
    &["train", "infer", "layers"],
    &["model"],
    &["record"],
    &["recipe", "backend"],
    &["data"],
    &["program", "distributed"],
    &["kernels"],
    &["network"],
    &["cells", "memory", "fields"],
    &["tensor", "metrics", "rng", "io", "html", "error"],
    &["numeric"],
    &["messages"],
];

/// Files longer than this are split.
const MOST_LINES: usize = 800;

/// Comments and code end here.
const MOST_COLUMNS: usize = 100;

fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the directory is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
}

fn files_in(directories: &[&str], extension: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![];
    for directory in directories {
        files(&root.join(directory), extension, &mut found);
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("the file is text");
        (
            path.strip_prefix(root).expect("it is inside").to_path_buf(),
            text,
        )
    };
    found.into_iter().map(read).collect()
}

/// The top-level module of a file of `src/`.
fn module(path: &Path) -> String {
    let first = path.iter().nth(1).expect("it is in src/");
    let first = first.to_str().expect("names are ASCII");
    first.trim_end_matches(".rs").to_string()
}

/// The top-level modules that a file's code names by `crate::`. Comments and unit tests do not
/// count.
fn used(text: &str) -> BTreeSet<String> {
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let paths = lines.flat_map(|line| line.split("crate::").skip(1));
    let first = paths.map(|path| {
        path.split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .next()
    });
    first
        .flatten()
        .map(str::to_string)
        .filter(|name| !name.is_empty())
        .collect()
}

fn floor(module: &str) -> usize {
    let floor = FLOORS.iter().position(|floor| floor.contains(&module));
    floor.unwrap_or_else(|| panic!("src/{module} is on no floor: add it to FLOORS"))
}

#[test]
fn no_module_uses_one_above_it() {
    for (path, text) in files_in(&["src"], "rs") {
        let own = module(&path);
        if own == "lib" || path.ends_with("tests.rs") {
            continue;
        }
        for other in used(&text) {
            if other == own || !files_exist(&other) {
                continue;
            }
            assert!(
                floor(&own) < floor(&other),
                "{} uses crate::{other}, which is not below it",
                path.display()
            );
        }
    }
}

/// Whether `crate::name` is a module and not an item of the crate's root.
fn files_exist(name: &str) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    source.join(name).is_dir() || source.join(format!("{name}.rs")).is_file()
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in files_in(&["src"], "rs") {
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn no_line_is_too_wide() {
    let rust = files_in(&["src", "tests", "benches", "examples"], "rs");
    let shaders = files_in(&["shaders"], "wgsl");
    for (path, text) in rust.into_iter().chain(shaders) {
        for (number, line) in text.lines().enumerate() {
            // A long string literal cannot be broken.
            let is_code = !line.trim_start().starts_with("//");
            assert!(
                line.chars().count() <= MOST_COLUMNS || (is_code && line.contains('"')),
                "{}:{} is wider than {MOST_COLUMNS} columns",
                path.display(),
                number + 1
            );
        }
    }
}
