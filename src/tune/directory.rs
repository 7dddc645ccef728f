//! The directory of a search: its state, the checkpoint of each trial, the best recipe and the
//! table of trials.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{SearchPlan, SearchTrial};
use crate::error::{Error, Result};
use crate::io::{disk, files};
use crate::messages::shown_path;
use crate::recipe::Recipe;
use crate::run::lock::DirectoryLock;

/// The file of the best recipe.
pub const BEST: &str = "best.toml";
/// The file of the table of trials.
pub const TRIALS: &str = "trials.csv";
/// The file of the state.
const STATE: &str = "search.json";
/// The directory of the trials' checkpoints.
const CHECKPOINTS: &str = "checkpoints";
/// The version of the state that this program writes and reads.
const VERSION: u32 = 1;
/// The largest state that is read, in bytes.
const LARGEST_STATE: u64 = 1 << 28;

/// The directory of a search, locked.
pub struct SearchDirectory {
    path: PathBuf,
    _lock: DirectoryLock,
}

/// The state of a search, which is written whole after every result.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchState<P, T> {
    version: u32,
    plan: P,
    trials: T,
}

impl SearchDirectory {
    pub(super) fn create(out: Option<PathBuf>, name: &str) -> Result<SearchDirectory> {
        let path = out.unwrap_or_else(|| new_path(name));
        let is_empty = |path: &Path| fs::read_dir(path).is_ok_and(|mut all| all.next().is_none());
        if path.exists() && !is_empty(&path) {
            return Err(Error::usage(format!(
                "the directory {} is not empty; use another one, or continue the search that is \
                 in it",
                shown_path(&path)
            )));
        }
        fs::create_dir_all(path.join(CHECKPOINTS)).map_err(|error| unwritable(&path, &error))?;
        Ok(SearchDirectory {
            _lock: DirectoryLock::take(&path)?,
            path,
        })
    }

    /// Opens the directory and reads its state.
    pub(super) fn open(path: PathBuf) -> Result<(SearchDirectory, SearchPlan, Vec<SearchTrial>)> {
        let file = path.join(STATE);
        if !file.is_file() {
            let problem = format!("there is no search here; its directory has a {STATE}");
            return Err(Error::file(path, problem));
        }
        let lock = DirectoryLock::take(&path)?;
        let text = files::read_text(&file, LARGEST_STATE)
            .map_err(|error| Error::file(&file, format!("cannot be read: {error}")))?;
        let state: SearchState<SearchPlan, Vec<SearchTrial>> = serde_json::from_str(&text)
            .map_err(|error| Error::file(&file, format!("is not a state of a search: {error}")))?;
        if state.version != VERSION || state.trials.len() != state.plan.trials {
            return Err(Error::file(
                file,
                "is of another version of gatescan; begin a new search",
            ));
        }
        let directory = SearchDirectory { path, _lock: lock };
        disk::remove_leftovers(&directory.path);
        disk::remove_leftovers(&directory.path.join(CHECKPOINTS));
        Ok((directory, state.plan, state.trials))
    }

    /// Writes the state in place of the one before.
    pub(super) fn write(&self, plan: &SearchPlan, trials: &[SearchTrial]) -> Result<()> {
        let state = SearchState {
            version: VERSION,
            plan,
            trials,
        };
        let text = serde_json::to_string_pretty(&state)
            .map_err(|error| Error::Failed(format!("the search cannot be written: {error}")))?;
        self.write_file(STATE, &text).map(|_| ())
    }

    pub(super) fn write_best(&self, recipe: &Recipe) -> Result<PathBuf> {
        self.write_file(BEST, &recipe.to_toml()?)
    }

    /// Writes the table of the trials as CSV, in this order.
    pub(super) fn write_table(&self, trials: &[&SearchTrial]) -> Result<PathBuf> {
        let names: Vec<&String> = trials
            .first()
            .map_or(vec![], |trial| trial.values.keys().collect());
        let mut text = String::from("trial,epochs,validation_loss");
        names.iter().for_each(|name| text += &format!(",{name}"));
        text += ",failure\n";
        for trial in trials {
            let loss = trial.loss().map_or(String::new(), |loss| loss.to_string());
            text += &format!("{},{},{loss}", trial.number, trial.epochs);
            trial
                .values
                .values()
                .for_each(|value| text += &format!(",{value}"));
            let failure = trial.failure.as_deref().unwrap_or_default();
            text += &format!(",\"{}\"\n", failure.replace('"', "\"\""));
        }
        self.write_file(TRIALS, &text)
    }

    fn write_file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        let written = disk::write_whole(&path, text.as_bytes());
        written.map_err(|error| unwritable(&path, &error))?;
        Ok(path)
    }

    /// The file of a trial's checkpoint.
    pub(super) fn checkpoint(&self, number: usize) -> PathBuf {
        let directory = self.path.join(CHECKPOINTS);
        directory.join(format!("trial-{number:04}.safetensors"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// `runs/tune-<name>-<seconds since 1970>`, with a number where that exists.
fn new_path(name: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let stem = format!("tune-{name}-{}", now.unwrap_or_default().as_secs());
    let runs = Path::new("runs");
    let numbered = (2..).map(|number| runs.join(format!("{stem}-{number}")));
    let mut paths = std::iter::once(runs.join(&stem)).chain(numbered);
    paths.find(|path| !path.exists()).unwrap_or_default()
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::file(path, format!("cannot be written: {error}"))
}
