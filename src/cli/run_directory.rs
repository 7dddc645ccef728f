//! The directory that a training run leaves behind: recipe, metrics and model.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gatescan::checkpoint::SavedModel;
use gatescan::error::{Error, Result};
use gatescan::recipe::Recipe;
use serde::Serialize;

pub const MODEL: &str = "model.safetensors";
const METRICS: &str = "metrics.jsonl";
const RECIPE: &str = "recipe.toml";

pub struct RunDirectory {
    path: PathBuf,
    metrics: File,
}

impl RunDirectory {
    /// Makes the directory `out`, or `runs/<recipe>-<time>`, and writes the recipe into it. What an earlier run left
    /// is never overwritten.
    pub fn create(out: Option<&Path>, recipe: &Recipe) -> Result<RunDirectory> {
        let text = recipe.to_toml()?;
        let path = match out {
            Some(out) => explicit(out)?,
            None => fresh(&recipe.name)?,
        };
        let mut recipe_file = new_file(&path.join(RECIPE))?;
        recipe_file
            .write_all(text.as_bytes())
            .map_err(|error| unwritable(&path.join(RECIPE), &error))?;
        let metrics = new_file(&path.join(METRICS))?;
        Ok(RunDirectory { path, metrics })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn model_path(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Replaces the model by a later one.
    pub fn save(&self, model: &SavedModel) -> Result<()> {
        model.save(&self.model_path())
    }

    /// Appends an epoch, or a report of some steps, to the metrics.
    pub fn record(&mut self, metrics: &impl Serialize) -> Result<()> {
        // One write for the whole line, so that a crash leaves no half of it.
        let line = format!("{}\n", serde_json::json!(metrics));
        self.metrics
            .write_all(line.as_bytes())
            .map_err(|error| unwritable(&self.path.join(METRICS), &error))
    }
}

fn explicit(out: &Path) -> Result<PathBuf> {
    if let Some(name) = [MODEL, RECIPE, METRICS]
        .iter()
        .find(|name| out.join(name).exists())
    {
        return Err(Error::usage(format!(
            "--out {}: the directory holds the {name} of an earlier run, which is not overwritten; \
             name another directory",
            out.display()
        )));
    }
    fs::create_dir_all(out).map_err(|error| unmade(out, &error))?;
    Ok(out.to_path_buf())
}

fn fresh(name: &str) -> Result<PathBuf> {
    let runs = Path::new("runs");
    fs::create_dir_all(runs).map_err(|error| unmade(runs, &error))?;
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let stem = format!("{name}-{}", timestamp(seconds.as_secs()));
    let mut path = runs.join(&stem);
    for number in 2.. {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                path = runs.join(format!("{stem}-{number}"));
            }
            Err(error) => return Err(unmade(&path, &error)),
            Ok(()) => break,
        }
    }
    Ok(path)
}

fn new_file(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| unwritable(path, &error))
}

fn unmade(path: &Path, error: &io::Error) -> Error {
    Error::file(
        path,
        format!("the run directory cannot be made: {error}; name another with --out DIR"),
    )
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::file(path, format!("cannot be written: {error}"))
}

/// `YYYYmmdd-HHMMSS` in UTC, from seconds since 1970.
fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86400, seconds % 86400);
    // Counted from 1 March of the year 0, leap days come last (Hinnant's civil_from_days).
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn timestamps() {
        for (seconds, text) in [
            (0, "19700101-000000"),
            (951_782_399, "20000228-235959"),
            (951_782_400, "20000229-000000"),
            (1_709_251_199, "20240229-235959"),
            (1_709_251_200, "20240301-000000"),
            (1_767_225_599, "20251231-235959"),
            (4_107_542_400, "21000301-000000"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }
}
