//! Looks at data and proposes a recipe that trains on them.

mod arrays;
mod budget;
mod differences;
mod forecast;
mod images;
mod prose;
mod series;
mod split;
#[cfg_attr(not(feature = "tables"), path = "no_table.rs")]
mod table;
#[cfg(test)]
mod tests;
mod validation;

use std::fmt::{self, Display};
use std::path::Path;

use super::{DataRecipe, HeadRecipe, Recipe};
use crate::cells::Cell;
use crate::data::csv::decode::{DecodedTable, decode_with_notes};
use crate::data::{Horizon, Splits};
use crate::error::{Decision, Error, Result};
use crate::io::files;
use crate::network::{Layer, Loss, Reads};
use crate::recipe::optimizer::Optimizer;
use crate::recipe::schedule::Schedule;

/// The largest file of a table or series, in bytes.
const LARGEST_FILE: u64 = 1 << 30;
/// Rows of a window, unless a hint says otherwise.
const LONGEST_WINDOW: usize = 50;

/// What the caller knows about the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hints {
    /// The column to predict.
    pub target: Option<String>,
    /// The column that assigns rows to series.
    pub group: GroupHint,
    /// The column of times, by which the rows of each series are sorted.
    pub time: Option<String>,
    /// T: rows of a window.
    pub steps: Option<usize>,
    /// Rows from an input to the targets of a forecast.
    pub horizon: Horizon,
}

impl Default for Hints {
    /// A forecast of the next row, and nothing else known.
    fn default() -> Self {
        Hints {
            target: None,
            group: GroupHint::Guess,
            time: None,
            steps: None,
            horizon: 1.into(),
        }
    }
}

/// What the caller knows about the groups of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupHint {
    /// Nothing: a column of groups is guessed.
    #[default]
    Guess,
    /// All rows are one series.
    None,
    /// This column tells series apart.
    Column(String),
}

impl GroupHint {
    /// Returns the name of the column, if there is one.
    pub fn column(&self) -> Option<&str> {
        match self {
            GroupHint::Column(name) => Some(name),
            GroupHint::Guess | GroupHint::None => None,
        }
    }
}

/// A sentence on data: what was guessed or changed, or what is odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFinding {
    pub text: String,
    /// What the caller can decide otherwise.
    pub decision: Option<Decision>,
}

impl DataFinding {
    fn new(text: impl Into<String>) -> DataFinding {
        DataFinding {
            text: text.into(),
            decision: None,
        }
    }

    #[cfg(feature = "tables")]
    fn correctable(text: impl Into<String>, decision: Decision) -> DataFinding {
        DataFinding {
            text: text.into(),
            decision: Some(decision),
        }
    }
}

/// A recipe for data, and what it is based on.
#[derive(Debug, Clone)]
pub struct Proposal {
    pub recipe: Recipe,
    /// The data of the recipe.
    pub splits: Splits,
    /// The contents of the data, in a phrase.
    pub summary: String,
    /// The columns or arrays of the data.
    pub parts: Vec<DataPart>,
    /// What a model learns, in a phrase.
    pub task: String,
    /// What was guessed or is odd.
    pub findings: Vec<DataFinding>,
}

/// A column or array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPart {
    pub name: String,
    /// The type and range or shape of its values, in a phrase.
    pub contents: String,
    /// Missing values.
    pub missing: usize,
    pub role: Role,
}

/// The use of a column or array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    Input,
    /// Values to predict.
    Target,
    InputAndTarget,
    /// The class to predict.
    Class,
    Group,
    /// The times that rows are sorted by.
    Time,
    Lengths,
    /// An array of the test split.
    TestSplit,
    /// An array of the validation split.
    ValidationSplit,
    /// Not used, for the given reason if there is one.
    LeftOut(&'static str),
}

impl Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Input => write!(f, "input"),
            Role::Target => write!(f, "target"),
            Role::InputAndTarget => write!(f, "input and target"),
            Role::Class => write!(f, "class"),
            Role::Group => write!(f, "group"),
            Role::Time => write!(f, "time, sorts the rows"),
            Role::Lengths => write!(f, "lengths"),
            Role::TestSplit => write!(f, "test split"),
            Role::ValidationSplit => write!(f, "validation split"),
            Role::LeftOut("") => write!(f, "left out"),
            Role::LeftOut(reason) => write!(f, "left out: {reason}"),
        }
    }
}

/// The parts of a proposal that depend on the kind of data.
struct ProposedData {
    summary: String,
    parts: Vec<DataPart>,
    task: String,
    findings: Vec<DataFinding>,
    data: DataRecipe,
    reads: Reads,
    loss: Loss,
}

/// Looks at data and proposes a recipe: for a table (`.csv`, `.tsv`), a series (one number per
/// line), sequences of the time-series archives (`.ts`, `.arff`), arrays (`.npz`, or a directory of
/// `.npy` files), or a directory of IDX files. Tables and series may be packed by gzip.
///
/// # Errors
/// [`Error::File`] for data that cannot be read or are too few to train on; [`Error::Undecided`]
/// for data that need a hint; [`Error::Usage`] and [`Error::InvalidValue`] for hints that do not
/// fit the data.
pub fn propose(path: &Path, hints: &Hints) -> Result<Proposal> {
    let ProposedData {
        summary,
        mut parts,
        task,
        mut findings,
        data,
        reads,
        loss,
    } = look_at(path, hints)?;
    let mut recipe = Recipe::new(
        &recipe_name(path),
        vec![Layer::new(Cell::Lstm, 32)],
        HeadRecipe::new(reads, loss),
        Optimizer::adam(0.005),
    );
    recipe.clip_norm = Some(1.0);
    recipe.data = data;
    recipe.schedule = Schedule::Cosine {
        steps: None,
        floor: 0.0,
        warm_up: 0,
    };
    recipe.validate()?;
    let sentences = forecast::choose(&mut recipe, &mut parts);
    findings.extend(sentences.into_iter().map(DataFinding::new));
    let splits = split::load(&mut recipe, hints, &mut findings)?;
    let splits = validation::choose(&mut recipe, splits, &mut findings);
    budget::set(&mut recipe, &splits);
    recipe.validate()?;
    Ok(Proposal {
        recipe,
        splits,
        summary,
        parts,
        task,
        findings,
    })
}

/// Returns the name of a recipe for data at this path.
pub fn recipe_name(path: &Path) -> String {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let is_allowed = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let name = stem.unwrap_or("data");
    let name = name.replace(|c| !is_allowed(c), "-");
    let name = name.trim_start_matches('.');
    if name.is_empty() { "data" } else { name }.to_string()
}

fn look_at(path: &Path, hints: &Hints) -> Result<ProposedData> {
    if path.is_dir() {
        refuse_columns(hints)?;
        let entries = path.read_dir().into_iter().flatten().flatten();
        let names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        return if names.iter().any(|name| name.starts_with("train-images")) {
            images::propose(path)
        } else if names.iter().any(|name| name.ends_with(".npy")) {
            arrays::propose(path)
        } else {
            Err(Error::file(
                path,
                "the directory has neither IDX files (train-images-idx3-ubyte, ...) nor .npy files",
            ))
        };
    }
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => Err(Error::file(
            path,
            "is a recipe and no data; train it, or name the data",
        )),
        Some("npz") => {
            refuse_columns(hints)?;
            arrays::propose(path)
        }
        Some("npy") => Err(Error::file(
            path,
            "one array holds inputs and no targets; name a directory with labels.npy or \
             targets.npy beside it, or put all arrays into one .npz file (numpy.savez)",
        )),
        _ => propose_text(path, hints),
    }
}

/// Refuses hints on columns for data without columns.
fn refuse_columns(hints: &Hints) -> Result<()> {
    if hints.target.is_some() || hints.time.is_some() || hints.group != GroupHint::Guess {
        return Err(Error::usage(
            "target, group and time must be columns of a table, but these data are no table; \
             leave them out",
        ));
    }
    Ok(())
}

fn propose_text(path: &Path, hints: &Hints) -> Result<ProposedData> {
    let decoded = read_text(path)?;
    match crate::data::series::parse(&decoded.text, path) {
        Ok(values) if values.rows() > 0 => {
            refuse_columns(hints)?;
            let mut proposed = series::propose(path, &values.inputs, hints);
            proposed
                .findings
                .extend(decoded.notes.iter().map(DataFinding::new));
            Ok(proposed)
        }
        _ if prose::is_prose(&decoded.text) => Err(Error::undecided(
            path,
            "is prose and no table: its lines are sentences without numbers",
            Decision::TextRecipe,
        )),
        _ => table::propose(path, &decoded, hints),
    }
}

/// Reads a file as CSV text.
fn read_text(path: &Path) -> Result<DecodedTable> {
    let bytes = files::open(path).and_then(|file| files::read_at_most(file, LARGEST_FILE));
    let bytes =
        bytes.map_err(|error| Error::file(path, format!("the table cannot be read: {error}")))?;
    decode_with_notes(bytes, path)
}

/// Returns what the data at a path look like, with an article, if they are data that [`propose`]
/// reads.
pub(super) fn kind_of_data(path: &Path) -> Option<&'static str> {
    if path.is_dir() {
        return Some("a directory of data");
    }
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("npz") => return Some("a file of arrays"),
        Some("npy") => return Some("an array"),
        _ => {}
    }
    let decoded = read_text(path).ok()?;
    let has_cells = |mark: char| {
        let mut lines = decoded.text.lines().filter(|line| !line.trim().is_empty());
        let count = lines.next().map_or(0, |line| line.matches(mark).count());
        count > 0
            && lines
                .next()
                .is_some_and(|line| line.matches(mark).count() == count)
    };
    let is_series = || {
        let series = crate::data::series::parse(&decoded.text, path);
        series.is_ok_and(|series| series.rows() > 0)
    };
    if prose::is_prose(&decoded.text) {
        Some("a text")
    } else if decoded.archive.is_some() {
        Some("a file of sequences")
    } else if is_series() {
        Some("a series of numbers")
    } else if [',', ';', '\t', '|'].into_iter().any(has_cells) {
        Some("a table")
    } else {
        None
    }
}

/// Returns T for a series of this many rows: a tenth, so that windows fit into the test split.
fn window(hints: &Hints, rows: usize) -> usize {
    hints.steps.unwrap_or((rows / 10).clamp(1, LONGEST_WINDOW))
}

impl Proposal {
    /// Returns the recipe as TOML, with comments on what can be changed.
    ///
    /// # Errors
    /// Those of [`Recipe::to_toml`].
    pub fn to_toml(&self) -> Result<String> {
        let task = self.task.replace(char::is_control, " ");
        let mut text = format!("# {task}.\n#\n#     gatescan train FILE\n\n");
        for line in self.recipe.to_toml()?.lines() {
            let key = line.split_once(" = ").map_or(line, |(key, _)| key);
            if let Some(comment) = comment(key) {
                text += &format!("# {comment}\n");
            }
            text += &format!("{line}\n");
        }
        Ok(text)
    }
}

/// Returns the comment above a key or table.
fn comment(key: &str) -> Option<&'static str> {
    Some(match key {
        "name" => "The name of the run directory.",
        "seed" => "Determines the initial weights, the order of the sequences and random splits.",
        "epochs" => "Passes over the training split.",
        "batch_size" => "Sequences of each update of the weights.",
        "clip_norm" => "Gradients with a larger norm are scaled down to this one.",
        "[data]" => "Relative paths are relative to this file.",
        "steps" => "Rows of a window.",
        "stride" => "Rows from the start of a window to the start of the next.",
        "horizon" => "Rows from an input to its target; [1, 24]: each of these at once.",
        "every_step" => {
            "Whether each row of a window has a target (then network.head has reads = \"every\"), \
             or only the last."
        }
        "test_fraction" => {
            "The part that is the test split; test_path = \"FILE\" uses another file."
        }
        "split_by" => {
            "order: the last rows or sequences; random: random sequences; group: random groups; \
             class: a share of each class."
        }
        "normalise" => {
            "Inputs and target values are normalized by the training split; predictions are not."
        }
        "time" => "The rows of each series are sorted by this column.",
        "missing_marks" => "Cells that hold no value, besides empty ones.",
        "decimal" => "The decimal mark of numbers.",
        "calendar" => "Sine and cosine of the position of each row in these cycles are inputs.",
        "residual_on_last" => {
            "The network predicts differences from the last value; predictions are values."
        }
        "residual_on_linear" => {
            "The network predicts what a linear regression leaves of these differences."
        }
        "differences" => "Differences of the targets from so many rows before are inputs.",
        "context" => "Rows at the beginning of a window without a target.",
        "validation_fraction" => {
            "The last part of the training split, which decides early stopping and the best epoch."
        }
        "patience" => "Epochs without a lower loss on the validation split, after which it stops.",
        "keep_best" => "Whether the model is that of the epoch with the lowest such loss.",
        "[network.layer.dropout]" => "Applied in training only.",
        "missing" => "refuse, forward (the value before), zero, or mean (of the training split).",
        "[[network.layer]]" => "`gatescan recipes mnist` shows more options of a layer.",
        "[network.head]" => "The linear layer on top of the last layer.",
        "[schedule]" => "How the learning rate changes during the run.",
        "[checkpoint]" => "When the run is saved, to be resumed from there.",
        _ => return None,
    })
}
