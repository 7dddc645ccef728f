//! `gatescan init`: looks at data and writes a recipe for them.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::data::Inputs;
use gatescan::recipe::propose::{Hints, Proposal, propose, recipe_name};
use gatescan::{Dataset, Error, Result};
use serde_json::{Value, json};

use super::aligned;
use super::console::Console;

/// Inspect data and write a recipe that trains on them
#[derive(Args)]
#[command(after_help = "\
For a table, `init` guesses the target: a column named target, label, class or y; else a column of \
names, to classify; else the last numeric column, to forecast. It also guesses the column that \
assigns rows to groups, and leaves out columns that only count rows. Options override the guesses, \
and you can edit the recipe, a text file.

Examples:
  gatescan init sunspots.csv
  gatescan init machines.csv --target pressure --group machine --steps 48 -o pressure.toml
  gatescan init arrays.npz
  gatescan init fashion-mnist/")]
pub struct Init {
    /// A table (.csv, .tsv), a series (one number per line), arrays (.npz, or a directory of .npy
    /// files), or a directory of IDX files.
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
    /// Rows of a window.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    steps: Option<u64>,
    /// Rows from an input to the target of a forecast.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=1 << 20)
    )]
    horizon: u64,
    /// Print the findings as one JSON object.
    #[arg(long)]
    json: bool,
}

impl Init {
    pub fn run(&self, console: &Console) -> Result<()> {
        let path = match &self.output {
            Some(path) => path.clone(),
            None => PathBuf::from(format!("{}.toml", recipe_name(&self.data))),
        };
        if path.exists() {
            return Err(Error::usage(format!(
                "{} exists and is not overwritten; name another file with -o FILE",
                path.display()
            )));
        }
        let mut proposal = propose(&self.data, &self.hints())?;
        let directory = path.parent();
        let is_here = directory.is_none_or(|directory| directory.as_os_str().is_empty());
        if !is_here && let Ok(absolute) = self.data.canonicalize() {
            proposal.recipe.data.set_path(absolute);
        }
        fs::write(&path, proposal.to_toml()?)
            .map_err(|error| Error::file(&path, format!("cannot be written: {error}")))?;
        let text = if self.json {
            object(&proposal, &path).to_string()
        } else {
            self.text(&proposal, &path)
        };
        let _ = console.print(text)?;
        Ok(())
    }

    fn hints(&self) -> Hints {
        Hints {
            target: self.target.clone(),
            group: self.group.clone(),
            steps: self.steps.map(|steps| steps as usize),
            horizon: self.horizon as usize,
        }
    }

    fn text(&self, proposal: &Proposal, path: &Path) -> String {
        let heads = ["NAME", "HOLDS", "MISSING", "USED AS"].map(str::to_string);
        let parts = proposal.parts.iter().map(|part| {
            [
                part.name.clone(),
                part.contents.clone(),
                part.missing.to_string(),
                part.role.to_string(),
            ]
        });
        let rows: Vec<[String; 4]> = std::iter::once(heads).chain(parts).collect();
        let Dataset { count, steps, .. } = *proposal.splits.train;
        format!(
            "{}: {}\n\n{}\n\n{}: {count} sequences of {steps} steps to train on, {} to test on\n\
             wrote {}; train it with: gatescan train {}",
            self.data.display(),
            proposal.summary,
            aligned(&rows, 2),
            proposal.task,
            test_count(proposal),
            path.display(),
            path.display()
        )
    }
}

fn test_count(proposal: &Proposal) -> usize {
    let test = proposal.splits.test.as_ref();
    test.map_or(0, |test| test.count)
}

fn object(proposal: &Proposal, path: &Path) -> Value {
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
        "train_sequences": train.count,
        "test_sequences": test_count(proposal),
        "steps": train.steps,
        "features": features,
        "outputs": train.targets.outputs(),
        "recipe": path.display().to_string(),
    })
}
