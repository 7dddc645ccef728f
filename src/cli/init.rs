//! `gatescan init`: looks at data, says what it sees, and writes a recipe for them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use csv::{ReaderBuilder, StringRecord, Trim};
use gatescan::cells::Cell;
use gatescan::data::csv::{Csv, Task, is_missing, number_of};
use gatescan::data::npy::{Array, Npy, Numbers, Source};
use gatescan::data::preparation::Missing;
use gatescan::data::{Dataset, Inputs, SplitBy, Splits, Targets, series};
use gatescan::error::{Error, Result};
use gatescan::low_level::io::files;
use gatescan::network::{Layer, Loss, Reads};
use gatescan::recipe::optimizer::Optimizer;
use gatescan::recipe::schedule::Schedule;
use gatescan::recipe::{DataRecipe, HeadRecipe, Recipe};
use serde_json::{Value, json};

use super::aligned;
use super::console::Console;

/// Look at data and write a recipe that trains on them
#[derive(Args)]
#[command(after_help = "\
Of a table it guesses which column is the target (one called target, label or class, one of names, or else the last of numbers, of \
which it makes a forecast), which columns only count up, and which one says what belongs together. The flags say otherwise, and so \
does an editor: the recipe is a text file.

Examples:
  gatescan init sunspots.csv
  gatescan init machines.csv --target pressure --group machine --steps 48 -o pressure.toml
  gatescan init arrays.npz
  gatescan init fashion-mnist/")]
pub struct Init {
    /// A table (.csv, .tsv), a series (a number on each line), arrays (.npz, or a directory of .npy files), or a directory of IDX files.
    data: PathBuf,
    /// The recipe [default: the data's name with .toml, in the current directory].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The column to forecast, or whose classes are to be told.
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// The column that says which series a row belongs to.
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// Rows of a window.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    steps: Option<u64>,
    /// How many rows ahead a forecast looks.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    horizon: u64,
    /// Print what was seen as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was found out about data.
struct Findings {
    /// What there is, in a line.
    summary: String,
    /// Columns or arrays: name, what it holds, missing values, what it is taken for.
    parts: Vec<[String; 4]>,
    /// What will be learnt, in a line.
    task: String,
    data: DataRecipe,
    reads: Reads,
    loss: Loss,
}

/// The largest file of a table, in bytes.
const LARGEST_FILE: u64 = 1 << 30;
/// Distinct values that a column of classes has at most.
const MOST_CLASSES: usize = 64;

impl Init {
    pub fn run(&self, console: &Console) -> Result<()> {
        let findings = self.look()?;
        let stem = self
            .data
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("data");
        let name: String = stem
            .chars()
            .map(|c| {
                if c.is_alphanumeric() || "-_.".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let name = name.trim_start_matches('.');
        let name = if name.is_empty() { "data" } else { name };
        let path = match &self.output {
            Some(path) => path.clone(),
            None => PathBuf::from(format!("{name}.toml")),
        };
        if path.exists() {
            return Err(Error::usage(format!(
                "{} is there already and is not overwritten; name another file with -o FILE",
                path.display()
            )));
        }
        let mut recipe = recipe(name, &findings);
        // What is seen may still not be what can be trained on.
        recipe.validate()?;
        let splits = recipe.data.load(recipe.seed)?;
        fit_to(&mut recipe, &splits);
        let beside = path
            .parent()
            .is_none_or(|parent| parent.as_os_str().is_empty());
        if !beside && let Ok(absolute) = self.data.canonicalize() {
            recipe.data.set_path(absolute);
        }
        let text = commented(&recipe, &findings)?;
        fs::write(&path, text)
            .map_err(|error| Error::file(&path, format!("cannot be written: {error}")))?;
        let counts = describe(&splits);
        let text = match self.json {
            true => object(&findings, &splits, &path).to_string(),
            false => {
                let heads = ["NAME", "HOLDS", "MISSING", "TAKEN FOR"].map(str::to_string);
                let rows = [vec![heads], findings.parts.clone()].concat();
                format!(
                    "{}: {}\n\n{}\n\n{}: {counts}\nwrote {}; train it with: gatescan train {}",
                    self.data.display(),
                    findings.summary,
                    aligned(&rows, 2),
                    findings.task,
                    path.display(),
                    path.display()
                )
            }
        };
        let _ = console.print(text)?;
        Ok(())
    }

    fn look(&self) -> Result<Findings> {
        let path = &self.data;
        let ending = path
            .extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default();
        let has = |wanted: &dyn Fn(&str) -> bool| {
            let entries = path.read_dir().into_iter().flatten().flatten();
            entries
                .into_iter()
                .any(|entry| entry.file_name().to_str().is_some_and(wanted))
        };
        let columns = self.target.is_some() || self.group.is_some();
        let refuse_columns = || match columns {
            true => Err(Error::usage(
                "--target and --group name columns of a table, and these data are none",
            )),
            false => Ok(()),
        };
        if path.is_dir() {
            refuse_columns()?;
            return match has(&|name| name.starts_with("train-images")) {
                true => self.images(),
                false if has(&|name| name.ends_with(".npy")) => self.arrays(),
                false => Err(Error::file(
                    path,
                    "the directory has neither IDX files (train-images-idx3-ubyte, ...) nor .npy files",
                )),
            };
        }
        match ending {
            "npz" => {
                refuse_columns()?;
                self.arrays()
            }
            "npy" => Err(Error::file(
                path,
                "an array alone has inputs and no answers; name its directory, where labels.npy or targets.npy lies beside it, \
                 or put all into one .npz (numpy.savez)",
            )),
            _ => self.text(),
        }
    }

    fn images(&self) -> Result<Findings> {
        let mut data = DataRecipe::Idx {
            path: self.data.clone(),
            classes: 256,
            scale: 1.0,
        };
        let splits = data.load(0)?;
        let count = |data: &Dataset| match &data.targets {
            Targets::Classes { labels, .. } => {
                labels.iter().copied().max().unwrap_or(0) as usize + 1
            }
            Targets::Values { .. } => 0,
        };
        let found = count(&splits.train)
            .max(splits.test.as_deref().map_or(0, count))
            .max(2);
        if let DataRecipe::Idx { classes, .. } = &mut data {
            *classes = found;
        }
        let Dataset {
            count,
            steps,
            features,
            ..
        } = *splits.train;
        let part =
            |name: &str, holds: String, taken: &str| [name.into(), holds, "0".into(), taken.into()];
        Ok(Findings {
            summary: format!("IDX files, {count} images to train on"),
            parts: vec![
                part(
                    "images",
                    format!("{steps} rows of {features} bytes"),
                    "inputs, a row at each step",
                ),
                part("labels", format!("{found} classes"), "class"),
            ],
            task: format!("tells {found} classes apart"),
            data,
            reads: Reads::Last,
            loss: Loss::CrossEntropy,
        })
    }

    fn arrays(&self) -> Result<Findings> {
        let path = &self.data;
        let mut source = Source::open(path)?;
        let names = source.names();
        let mut arrays: HashMap<String, Array> = HashMap::new();
        for name in &names {
            // Of what stays in its file, the shape says enough.
            let array = match source.shape_of_stored(name)? {
                Some(shape) if shape.len() == 3 => Array {
                    shape,
                    numbers: Numbers::Floats(vec![]),
                },
                _ => source.array(name)?,
            };
            arrays.insert(name.clone(), array);
        }
        let called = |candidates: &[&str]| {
            let found = candidates.iter().find_map(|candidate| {
                names
                    .iter()
                    .find(|name| name.eq_ignore_ascii_case(candidate))
            });
            found.cloned()
        };
        let deepest = || {
            let three = names.iter().filter(|name| arrays[*name].shape.len() == 3);
            three
                .max_by_key(|name| arrays[*name].shape.iter().product::<usize>())
                .cloned()
        };
        let inputs = called(&["inputs", "x", "x_train", "data", "features", "X"]).or_else(deepest);
        let answers = called(&[
            "labels", "label", "targets", "target", "y", "y_train", "classes",
        ]);
        let (Some(inputs), Some(answers)) = (inputs, answers) else {
            return Err(Error::file(
                path,
                format!(
                    "holds the arrays {}; there must be inputs (called inputs or x) and answers (called labels, targets or y). \
                     A recipe can name others: data.inputs, data.labels, data.targets",
                    if names.is_empty() {
                        "(none)".to_string()
                    } else {
                        names.join(", ")
                    }
                ),
            ));
        };
        let lengths = called(&["lengths", "length", "len"]);
        let groups = called(&["groups", "group"]);
        let numbers = &arrays[&answers].numbers;
        let classes = matches!(numbers, Numbers::Integers(_)) || answers.starts_with("label");
        let missing = |array: &Array| match &array.numbers {
            Numbers::Floats(values) => values.iter().filter(|value| value.is_nan()).count(),
            Numbers::Integers(_) => 0,
        };
        let npy = Npy {
            path: path.clone(),
            inputs: inputs.clone(),
            labels: classes.then(|| answers.clone()),
            targets: (!classes).then(|| answers.clone()),
            lengths: lengths.clone(),
            groups: groups.clone(),
            classes: None,
            vocabulary: None,
            test_path: None,
            test_fraction: 0.2,
            split_by: if groups.is_some() {
                SplitBy::Group
            } else {
                SplitBy::Random
            },
            normalise: true,
            missing: if missing(&arrays[&inputs]) > 0 {
                Missing::Mean
            } else {
                Missing::Refuse
            },
        };
        let data = DataRecipe::Npy(npy);
        let train = data.load(0)?.train;
        let outputs = train.targets.outputs();
        let beside = |name: &str| {
            name.strip_suffix("_train")
                .map(|stem| format!("{stem}_test"))
        };
        let beside = |name: &str| beside(name).filter(|name| arrays.contains_key(name));
        let tested = beside(&inputs).and(beside(&answers));
        let part = |name: &String| {
            let array = &arrays[name];
            let kind = match &array.numbers {
                Numbers::Floats(_) => "numbers",
                Numbers::Integers(_) => "whole numbers",
            };
            let taken = match name {
                _ if *name == inputs => "inputs",
                _ if *name == answers && classes => "class",
                _ if *name == answers => "target",
                _ if tested.is_some() && name.ends_with("_test") => "test split",
                _ if Some(name) == lengths.as_ref() => "lengths",
                _ if Some(name) == groups.as_ref() => "groups",
                _ => "left out",
            };
            let shape: Vec<String> = array.shape.iter().map(usize::to_string).collect();
            [
                name.clone(),
                format!("[{}] {kind}", shape.join(", ")),
                missing(array).to_string(),
                taken.into(),
            ]
        };
        let per_step = train.targets.per_step();
        let wherever = if per_step {
            "at each step"
        } else {
            "of each sequence"
        };
        Ok(Findings {
            summary: format!(
                "{} arrays, sequences of up to {} steps",
                names.len(),
                train.steps
            ),
            parts: names.iter().map(part).collect(),
            task: match classes {
                true => format!("tells {outputs} classes {wherever} apart"),
                false => format!("answers with {outputs} values {wherever}"),
            },
            data,
            reads: if per_step { Reads::Every } else { Reads::Last },
            loss: if classes {
                Loss::CrossEntropy
            } else {
                Loss::MeanSquaredError
            },
        })
    }

    fn text(&self) -> Result<Findings> {
        let path = &self.data;
        let bytes = fs::File::open(path).and_then(|file| files::read_at_most(file, LARGEST_FILE));
        let bytes = bytes
            .map_err(|error| Error::file(path, format!("the table cannot be read: {error}")))?;
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(values) = series::parse(&text, path)
            && !values.is_empty()
        {
            return self.series(values.len());
        }
        let first = text.lines().next().unwrap_or_default();
        let delimiter = [',', ';', '\t', '|']
            .into_iter()
            .max_by_key(|&mark| first.matches(mark).count());
        let delimiter = delimiter
            .filter(|&mark| first.contains(mark))
            .unwrap_or(',');
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter as u8)
            .trim(Trim::All)
            .from_reader(&bytes[..]);
        let damaged =
            |error: csv::Error| Error::file(path, format!("cannot be read as a table: {error}"));
        let header = reader.headers().map_err(damaged)?.clone();
        if !header.is_empty() && header.iter().all(|cell| cell.parse::<f64>().is_ok()) {
            return Err(Error::file(
                path,
                "line 1 has only numbers; put a header above it, a line with a name for each column",
            ));
        }
        let mut columns: Vec<Column> = header.iter().map(Column::new).collect();
        let mut record = StringRecord::new();
        let mut rows = 0;
        while reader.read_record(&mut record).map_err(damaged)? {
            columns
                .iter_mut()
                .zip(&record)
                .for_each(|(column, cell)| column.see(cell));
            rows += 1;
        }
        if rows < 10 {
            return Err(Error::file(
                path,
                format!("has {rows} rows; there must be at least 10 to learn from"),
            ));
        }
        let Proposal { csv, task } = self.propose(&columns, rows, delimiter)?;
        let taken = |column: &Column| {
            let (input, target) = (
                csv.inputs.contains(&column.name),
                csv.targets.contains(&column.name),
            );
            match (input, target) {
                (true, true) => "input and target",
                (true, false) => "input",
                (false, true) if csv.task == Task::Classification => "class",
                (false, true) => "target",
                _ if csv.group.as_ref() == Some(&column.name) => "group",
                _ if column.counts_up() => "left out: it only counts up",
                _ if column.is_numeric() => "left out",
                _ => "left out: no numbers",
            }
        };
        let part = |column: &Column| {
            [
                column.name.clone(),
                column.describe(),
                column.missing.to_string(),
                taken(column).to_string(),
            ]
        };
        let loss = match csv.task {
            Task::Classification => Loss::CrossEntropy,
            Task::Regression => Loss::MeanSquaredError,
        };
        let missing: usize = columns.iter().map(|column| column.missing).sum();
        Ok(Findings {
            summary: format!(
                "{rows} rows, {} columns, {missing} cells missing",
                columns.len()
            ),
            parts: columns.iter().map(part).collect(),
            task,
            reads: if csv.every_step {
                Reads::Every
            } else {
                Reads::Last
            },
            data: DataRecipe::Csv(csv),
            loss,
        })
    }

    fn series(&self, count: usize) -> Result<Findings> {
        let steps = self
            .steps
            .map_or_else(|| window(count), |steps| steps as usize);
        Ok(Findings {
            summary: format!("a series of {count} values"),
            parts: vec![[
                "values".into(),
                "numbers".into(),
                "0".into(),
                "input and target".into(),
            ]],
            task: format!("a forecast of the next value, from windows of {steps}"),
            data: DataRecipe::Series {
                path: Some(self.data.clone()),
                steps,
                test_fraction: 0.2,
                resolution: 0.1,
                range: [0.0, 0.1 * (steps + 1) as f64],
                windows: 1,
                season: None,
            },
            reads: Reads::Every,
            loss: Loss::MeanSquaredError,
        })
    }

    fn propose(&self, columns: &[Column], rows: usize, delimiter: char) -> Result<Proposal> {
        let path = &self.data;
        let find = |name: &String, flag: &str| {
            let found = columns.iter().find(|column| column.name == *name);
            found.ok_or_else(|| {
                let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                Error::usage(format!(
                    "{flag} {name}: there is no such column; there are {}",
                    names.join(", ")
                ))
            })
        };
        let called = |column: &Column, names: &[&str]| {
            names
                .iter()
                .any(|name| column.name.eq_ignore_ascii_case(name))
        };
        let group = match &self.group {
            Some(name) => Some(find(name, "--group")?),
            None => columns.iter().find(|column| {
                let names = [
                    "group", "series", "sequence", "subject", "sensor", "station", "unit",
                    "patient", "machine", "id",
                ];
                called(column, &names) && column.distinct() > 1 && column.distinct() <= rows / 2
            }),
        };
        let is_group = |column: &&Column| group.is_some_and(|group| group.name == column.name);
        let few = |column: &&Column| (2..=MOST_CLASSES.min(rows / 4)).contains(&column.distinct());
        let target = match &self.target {
            Some(name) => find(name, "--target")?,
            None => {
                let open = || columns.iter().filter(|column| !is_group(column));
                let names = ["target", "label", "class", "y"];
                let named = open().find(|column| called(column, &names));
                let of_names = || open().rfind(|column| !column.is_numeric() && few(column));
                let last = || open().rfind(|column| column.is_numeric() && !column.counts_up());
                let any = || open().rfind(|column| column.is_numeric());
                named.or_else(of_names).or_else(last).or_else(any).ok_or_else(|| {
                    Error::file(path, "no column holds numbers or a few names; name what is to be learnt with --target COLUMN")
                })?
            }
        };
        let labelled = called(target, &["label", "class"]) && few(&target);
        let classification = !target.is_numeric() || labelled;
        let groups = group.map_or(1, Column::distinct).max(1);
        let numeric = columns.iter().filter(|column| {
            let numbers = column.is_numeric() && column.missing < rows && !is_group(column);
            let own = column.name == target.name;
            numbers && (own && !classification || !own && !column.counts_up())
        });
        let inputs: Vec<String> = numeric.map(|column| column.name.clone()).collect();
        if inputs.is_empty() {
            return Err(Error::file(
                path,
                "no column holds numbers that a network could read",
            ));
        }
        let missing = columns
            .iter()
            .filter(|column| inputs.contains(&column.name));
        let missing = missing.map(|column| column.missing).sum::<usize>();
        let steps = self
            .steps
            .map_or_else(|| window(rows / groups), |steps| steps as usize);
        // A group with a class is a sequence; a forecast needs windows.
        let whole = classification && group.is_some() && self.steps.is_none();
        let horizon = if classification {
            0
        } else {
            self.horizon as usize
        };
        let csv = Csv {
            delimiter,
            inputs,
            targets: vec![target.name.clone()],
            task: if classification {
                Task::Classification
            } else {
                Task::Regression
            },
            group: group.map(|group| group.name.clone()),
            steps: (!whole).then_some(steps),
            horizon,
            every_step: !classification,
            split_by: if classification && groups > 4 {
                SplitBy::Group
            } else {
                SplitBy::Order
            },
            missing: if missing > 0 {
                Missing::Mean
            } else {
                Missing::Refuse
            },
            ..Csv::new(path, &[], &[])
        };
        let task = match classification {
            true if whole => format!(
                "tells the classes of {} apart, from whole groups",
                target.name
            ),
            true => format!(
                "tells the classes of {} apart, from windows of {steps} rows",
                target.name
            ),
            false => {
                let ahead = if horizon == 1 {
                    "one row".into()
                } else {
                    format!("{horizon} rows")
                };
                format!(
                    "a forecast of {}, {ahead} ahead, from windows of {steps} rows",
                    target.name
                )
            }
        };
        Ok(Proposal { csv, task })
    }
}

struct Proposal {
    csv: Csv,
    task: String,
}

/// T for series of so many rows: a tenth, so that windows fit into the test split too.
fn window(rows: usize) -> usize {
    (rows / 10).clamp(1, 50)
}

/// What was seen of a column.
struct Column {
    name: String,
    rows: usize,
    missing: usize,
    /// Whether every cell was a number so far.
    numeric: bool,
    low: f32,
    high: f32,
    last: f32,
    rises: bool,
    /// Cells, as far as they are few enough to be classes or groups.
    cells: HashSet<String>,
}

impl Column {
    /// Distinct cells that are told apart; there may be many groups.
    const MOST: usize = 1 << 16;

    fn new(name: &str) -> Column {
        Column {
            name: name.to_string(),
            rows: 0,
            missing: 0,
            numeric: true,
            low: f32::INFINITY,
            high: f32::NEG_INFINITY,
            last: f32::NEG_INFINITY,
            rises: true,
            cells: HashSet::new(),
        }
    }

    fn see(&mut self, cell: &str) {
        self.rows += 1;
        if is_missing(cell) {
            self.missing += 1;
            return;
        }
        match number_of(cell).filter(|_| self.numeric) {
            Some(value) => {
                (self.low, self.high) = (self.low.min(value), self.high.max(value));
                self.rises &= value > self.last;
                self.last = value;
            }
            None => self.numeric = false,
        }
        if self.cells.len() <= Column::MOST {
            self.cells.insert(cell.to_string());
        }
    }

    fn is_numeric(&self) -> bool {
        self.numeric && self.missing < self.rows
    }

    fn distinct(&self) -> usize {
        self.cells.len()
    }

    /// Whether it is a time, an index or another number of the row.
    fn counts_up(&self) -> bool {
        let names = [
            "date",
            "time",
            "datetime",
            "timestamp",
            "index",
            "rownames",
            "row",
            "",
        ];
        self.is_numeric() && self.rises
            || names
                .iter()
                .any(|name| self.name.eq_ignore_ascii_case(name))
    }

    fn describe(&self) -> String {
        match self.is_numeric() {
            true => format!("numbers, {} to {}", self.low, self.high),
            false if self.missing == self.rows => "nothing".into(),
            false if self.distinct() > Column::MOST => "text".into(),
            false => format!("text, {} different", self.distinct()),
        }
    }
}

fn recipe(name: &str, findings: &Findings) -> Recipe {
    let head = HeadRecipe::new(findings.reads, findings.loss);
    let mut recipe = Recipe::new(
        name,
        vec![Layer::new(Cell::Lstm, 32)],
        head,
        Optimizer::adam(0.005),
    );
    recipe.clip_norm = Some(1.0);
    recipe.data = findings.data.clone();
    recipe.schedule = Schedule::Cosine {
        steps: None,
        floor: 0.0,
        warm_up: 0,
    };
    recipe
}

/// Batches and epochs that suit so many sequences.
fn fit_to(recipe: &mut Recipe, Splits { train, .. }: &Splits) {
    recipe.batch_size = match train.count {
        ..2_000 => 16,
        2_000..20_000 => 64,
        _ => 128,
    };
    // Some 2,000 updates, and not more often over few sequences than they can be told without being learnt by heart.
    let steps = train.count.div_ceil(recipe.batch_size);
    recipe.epochs = (2000 / steps.max(1)).clamp(5, 30);
    if train.count >= 20_000 {
        recipe.network.set_hidden_size(128);
    }
}

fn describe(splits: &Splits) -> String {
    let Dataset { count, steps, .. } = *splits.train;
    let test = splits.test.as_ref().map_or(0, |test| test.count);
    format!("{count} sequences of {steps} steps to train on, {test} to test on")
}

/// The recipe as TOML, with a word on what may be changed.
fn commented(recipe: &Recipe, findings: &Findings) -> Result<String> {
    let mut text = String::new();
    for line in recipe.to_toml()?.lines() {
        let comment = match line.split_once(" = ").map_or(line, |(key, _)| key) {
            "name" => "Names the run directory.",
            "seed" => {
                "Initial weights, the order of the sequences and splits by chance follow from it."
            }
            "epochs" => "Passes over the training split.",
            "batch_size" => "Sequences for each update of the weights.",
            "clip_norm" => "Gradients with a larger norm are scaled down to this one.",
            "[data]" => "The data. Relative paths are looked for beside this file.",
            "steps" => "Rows of a window.",
            "stride" => "Rows from the beginning of one window to that of the next.",
            "horizon" => "The answer to a row stands so many rows further on.",
            "every_step" => {
                "An answer for each row of a window (then network.head has reads = \"every\"), or for its last."
            }
            "test_fraction" => {
                "The part that is the test split; test_path = \"FILE\" takes another file."
            }
            "split_by" => {
                "order: what comes last; random: sequences by chance; group: groups by chance."
            }
            "normalise" => {
                "In deviations from the training split's mean; undone in what is predicted."
            }
            "missing" => {
                "refuse, forward (the value before), zero, or mean (of the training split)."
            }
            "[[network.layer]]" => "gatescan recipes mnist shows more of what a layer can be.",
            "[network.head]" => "What reads the last layer.",
            "[schedule]" => "How the learning rate changes over the run.",
            "[checkpoint]" => "When the run is saved, to go on from there.",
            _ => "",
        };
        if !comment.is_empty() {
            text += &format!("# {comment}\n");
        }
        text += &format!("{line}\n");
    }
    let task = findings.task.replace(char::is_control, " ");
    Ok(format!("# {task}.\n#\n#     gatescan train FILE\n\n{text}"))
}

fn object(findings: &Findings, splits: &Splits, path: &Path) -> Value {
    let parts = findings.parts.iter().map(|[name, holds, missing, taken]| {
        let missing: usize = missing.parse().unwrap_or(0);
        json!({ "name": name, "holds": holds, "missing": missing, "taken_for": taken })
    });
    let features = match splits.train.inputs {
        Inputs::Tokens { .. } => 1,
        _ => splits.train.features,
    };
    json!({
        "summary": findings.summary,
        "parts": parts.collect::<Vec<_>>(),
        "task": findings.task,
        "train_sequences": splits.train.count,
        "test_sequences": splits.test.as_ref().map_or(0, |test| test.count),
        "steps": splits.train.steps,
        "features": features,
        "outputs": splits.train.targets.outputs(),
        "recipe": path.display().to_string(),
    })
}
