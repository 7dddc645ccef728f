//! `gatescan init`: looks at data and writes a recipe for them.

use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::data::Horizon;
use gatescan::data::Inputs;
use gatescan::low_level::messages::{printable, shown_path};
use gatescan::recipe::propose::{GroupHint, Hints, Proposal, propose, recipe_name};
use gatescan::{Dataset, Decision, Result};
use serde_json::{Value, json};

use super::aligned;
use super::console::Console;
use super::output::Overwrite;
use super::train::describe::shell_word;

/// The most columns that are shown.
const MOST_PARTS: usize = 100;
/// The longest name or content that is shown in full, in characters.
const LONGEST_CELL: usize = 60;

/// Inspect data and write a recipe that trains on them
#[derive(Args)]
#[command(after_help = "\
For a table, `init` guesses the target: a column named target, label, class or y; else a column of \
names, to classify; else the last column of measured numbers, to forecast. It never forecasts a \
counter, a time or an identifier of its own accord. It also guesses the column that tells series \
apart and the column of times, looks at the order of the rows and at how numbers and missing \
values are written, and says what it found. Options override the guesses, and you can edit the \
recipe, a text file.

Examples:
  gatescan init sunspots.csv
  gatescan init machines.csv --target pressure --group machine --steps 48 -o pressure.toml
  gatescan init prices.csv --time date --no-group
  gatescan init BasicMotions_TRAIN.ts
  gatescan init arrays.npz
  gatescan init fashion-mnist/")]
pub struct Init {
    /// A table (.csv, .tsv), a series (one number per line), sequences of the time-series archives
    /// (.ts, .arff), arrays (.npz, or a directory of .npy files), or a directory of IDX files.
    /// Tables and series may be packed (.gz).
    data: PathBuf,
    /// Recipe to write [default: the name of the data with .toml, in the current directory].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Column to forecast or to classify.
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// Column that assigns rows to series.
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// All rows are one series.
    #[arg(long, conflicts_with = "group")]
    no_group: bool,
    /// Column of times, by which the rows of each series are sorted.
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Rows of a window.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    steps: Option<u64>,
    /// Rows from an input to the target of a forecast; A..B for each of these steps ahead, which
    /// one network predicts at once.
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_horizon)]
    horizon: Horizon,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Print the findings as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Reads `3` or `1..24`.
fn parse_horizon(text: &str) -> Result<Horizon, String> {
    const MOST: usize = 1 << 20;
    let number = |text: &str| text.parse().ok().filter(|ahead| (1..=MOST).contains(ahead));
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let horizon = number(first).zip(number(last));
    horizon
        .filter(|(first, last)| first <= last && last - first < Horizon::MOST_STEPS)
        .map(|(first, last)| Horizon::range(first, last))
        .ok_or_else(|| {
            format!(
                "expected rows ahead, such as 1, or a range such as 1..24 of at most {} steps up to \
                 {MOST}",
                Horizon::MOST_STEPS
            )
        })
}

impl Init {
    pub fn run(&self, console: &Console) -> Result<()> {
        let path = match &self.output {
            Some(path) => path.clone(),
            None => PathBuf::from(format!("{}.toml", recipe_name(&self.data))),
        };
        self.overwrite.check(&path)?;
        let mut proposal = propose(&self.data, &self.hints())?;
        let directory = path.parent();
        let is_here = directory.is_none_or(|directory| directory.as_os_str().is_empty());
        if !is_here {
            for path in proposal.recipe.data.source_mut().paths_mut() {
                if let Ok(absolute) = path.canonicalize() {
                    *path = absolute;
                }
            }
        }
        let text = proposal.to_toml()?;
        self.overwrite.write_bytes(&path, text.as_bytes())?;
        let _ = if self.json {
            console.print_json(object(&proposal, &self.data, &path))?
        } else {
            console.print(self.text(&proposal, &path))?
        };
        Ok(())
    }

    fn hints(&self) -> Hints {
        Hints {
            target: self.target.clone(),
            group: match &self.group {
                _ if self.no_group => GroupHint::None,
                Some(column) => GroupHint::Column(column.clone()),
                None => GroupHint::Guess,
            },
            time: self.time.clone(),
            steps: self.steps.map(|steps| steps as usize),
            horizon: self.horizon,
        }
    }

    fn text(&self, proposal: &Proposal, path: &Path) -> String {
        let heads = ["NAME", "HOLDS", "MISSING", "USED AS"].map(str::to_string);
        let parts = proposal.parts.iter().take(MOST_PARTS).map(|part| {
            [
                short(&part.name),
                short(&part.contents),
                part.missing.to_string(),
                part.role.to_string(),
            ]
        });
        let rows: Vec<[String; 4]> = std::iter::once(heads).chain(parts).collect();
        let mut table = aligned(&rows, 2);
        if let Some(more) = proposal
            .parts
            .len()
            .checked_sub(MOST_PARTS)
            .filter(|&more| more > 0)
        {
            table += &format!("\n... and {more} more");
        }
        let found: String = found(proposal, &self.data)
            .map(|line| format!("- {line}\n"))
            .collect();
        let gap = if found.is_empty() { "" } else { "\n" };
        let Dataset { count, steps, .. } = *proposal.splits.train;
        format!(
            "{}: {}\n\n{table}\n\n{found}{gap}{}: {count} sequences of {} steps to train on,{} {} to \
             test on\nwrote {}; train it with: gatescan train {}",
            shown_path(&self.data),
            proposal.summary,
            printable(&proposal.task),
            lengths(proposal, steps),
            validation_count(proposal),
            test_count(proposal),
            shown_path(path),
            shell_word(path)
        )
    }
}

/// The sentences on what was found, with the options that decide otherwise.
fn found<'a>(proposal: &'a Proposal, path: &'a Path) -> impl Iterator<Item = String> + 'a {
    let findings = proposal
        .findings
        .iter()
        .map(|finding| match finding.decision {
            Some(decision) => {
                let text = &finding.text;
                format!("{text} (if not: {})", decide(decision, &shown_path(path)))
            }
            None => finding.text.clone(),
        });
    let findings = findings.chain(proposal.splits.notes.iter().cloned());
    findings.map(|sentence| printable(&sentence).into_owned())
}

/// The remedy for a decision about the data at `path`.
pub fn decide(decision: Decision, path: &str) -> String {
    match decision {
        Decision::Target => "name the target column with --target COLUMN".into(),
        Decision::Group => {
            "name the column that tells series apart with --group COLUMN, or say --no-group".into()
        }
        Decision::Time => "name the column of times with --time COLUMN".into(),
        Decision::TextRecipe => {
            format!("for a language model, use: gatescan train text --data {path}")
        }
    }
}

/// The lengths of the training sequences.
fn lengths(proposal: &Proposal, steps: usize) -> String {
    let lengths = proposal.splits.train.lengths.as_deref().unwrap_or_default();
    match (lengths.iter().min(), lengths.iter().max()) {
        (Some(least), Some(most)) if least < most => format!("{least} to {most}"),
        _ => steps.to_string(),
    }
}

/// The beginning of a text of a file, on one line.
fn short(text: &str) -> String {
    let end = text.char_indices().nth(LONGEST_CELL).map(|(end, _)| end);
    let start = printable(&text[..end.unwrap_or(text.len())]).into_owned();
    if end.is_some() { start + "..." } else { start }
}

/// The number of validation sequences with a phrase; empty if there are none.
fn validation_count(proposal: &Proposal) -> String {
    let count = proposal.splits.validation.as_ref().map(|data| data.count);
    count.map_or(String::new(), |count| format!(" {count} to validate on,"))
}

fn test_count(proposal: &Proposal) -> usize {
    let test = proposal.splits.test.as_ref();
    test.map_or(0, |test| test.count)
}

fn object(proposal: &Proposal, data: &Path, path: &Path) -> Value {
    let parts = proposal.parts.iter().map(|part| {
        json!({
            "name": part.name,
            "holds": part.contents,
            "missing": part.missing,
            "taken_for": part.role.to_string(),
        })
    });
    let train = &proposal.splits.train;
    let features = match train.inputs {
        Inputs::Tokens { .. } => 1,
        _ => train.features,
    };
    json!({
        "summary": proposal.summary,
        "parts": parts.collect::<Vec<_>>(),
        "task": proposal.task,
        "found": found(proposal, data).collect::<Vec<_>>(),
        "train_sequences": train.count,
        "test_sequences": test_count(proposal),
        "steps": train.steps,
        "features": features,
        "outputs": train.targets.outputs(),
        "recipe": path.display().to_string(),
    })
}
