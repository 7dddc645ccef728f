//! The directory that a training run leaves behind: recipe, metrics, checkpoints and model.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gatescan::error::{Error, Result};
use gatescan::low_level::io::disk;
use gatescan::low_level::io::files;
use gatescan::low_level::io::tensorboard;
use gatescan::model::Model;
use gatescan::recipe::Recipe;
use gatescan::report::Run;
use gatescan::train::checkpoint::Checkpoint;
use gatescan::train::checkpoints::{Checkpoints, Found};
use serde::Serialize;
use serde_json::Value;

pub const MODEL: &str = "model.safetensors";
pub const CHECKPOINTS: &str = "checkpoints";
const METRICS: &str = "metrics.jsonl";
const RECIPE: &str = "recipe.toml";
pub const REPORT: &str = "report.html";
const DEVICES: &str = "devices.txt";
const LOCK: &str = ".lock";

/// The largest metrics that are read, in bytes.
const LARGEST_METRICS: u64 = 1 << 28;

pub struct RunDirectory {
    path: PathBuf,
    metrics: Log,
    /// What TensorBoard reads, where that is wanted.
    events: Option<Log>,
    /// As long as it is open, and so until the process ends in whatever way, no other run takes the directory.
    _lock: File,
}

impl RunDirectory {
    /// Makes the directory `out`, or `runs/<recipe>-<time>`, and writes the recipe into it. What an earlier run left
    /// is never overwritten.
    pub fn create(out: Option<&Path>, recipe: &Recipe) -> Result<RunDirectory> {
        let path = match out {
            Some(out) => explicit(out)?,
            None => fresh(&recipe.name)?,
        };
        let lock = lock(&path)?;
        write_recipe(&path, recipe)?;
        make_checkpoints(&path)?;
        Ok(RunDirectory {
            metrics: Log::open(path.join(METRICS))?,
            path,
            events: None,
            _lock: lock,
        })
    }

    /// Takes the directory of a run that goes on, and finds out from where. Nothing in it is changed yet, but for what was
    /// not finished.
    pub fn resume(path: &Path) -> Result<(RunDirectory, Found)> {
        if !path.join(RECIPE).is_file() {
            let problem = format!("--resume: there is no run here; it would have a {RECIPE}");
            return Err(Error::file(path, problem));
        }
        let lock = lock(path)?;
        for directory in [path, &path.join(CHECKPOINTS)] {
            disk::remove_leftovers(directory);
        }
        let found = Checkpoints::find(&path.join(CHECKPOINTS))?;
        make_checkpoints(path)?;
        let directory = RunDirectory {
            path: path.to_path_buf(),
            metrics: Log::open(path.join(METRICS))?,
            events: None,
            _lock: lock,
        };
        Ok((directory, found))
    }

    /// The recipe that the run began with, or last went on with.
    pub fn recipe(&self) -> Result<Recipe> {
        Recipe::load(&self.path.join(RECIPE).display().to_string())
    }

    /// Writes down that the run is computed on `device`, beside those it was computed on before.
    pub fn add_device(&self, device: &str) -> Result<()> {
        let mut devices = devices(&self.path);
        if !devices.iter().any(|known| known == device) {
            devices.push(device.into());
            self.write(DEVICES, &(devices.join("\n") + "\n"))?;
        }
        Ok(())
    }

    /// Writes the page that shows the run.
    pub fn write_report(&self, page: &str) -> Result<PathBuf> {
        self.write(REPORT, page)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        let written = disk::write_whole(&path, text.as_bytes());
        written.map_err(|error| unwritable(&path, &error))?;
        Ok(path)
    }

    /// Goes back to `checkpoint`, or to the beginning: what was recorded later will be recorded again.
    pub fn go_back(&mut self, recipe: &Recipe, checkpoint: Option<&Checkpoint>) -> Result<()> {
        write_recipe(&self.path, recipe)?;
        self.metrics.pending.clear();
        let path = self.path.join(METRICS);
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let (step, epochs) = checkpoint.map_or((0, 0), |checkpoint| {
            let position = &checkpoint.position;
            (position.step, position.epochs.len())
        });
        let before = |line: &&str| {
            // A crash may have cut off the last one.
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            let at_most = |key, most| line[key].as_u64().is_some_and(|n| n <= most as u64);
            at_most("step", step) || at_most("epoch", epochs)
        };
        let kept: String = text
            .lines()
            .filter(before)
            .flat_map(|line| [line, "\n"])
            .collect();
        if kept != text {
            disk::write_whole(&path, kept.as_bytes()).map_err(|error| unwritable(&path, &error))?;
            self.metrics = Log::open(path)?;
        }
        if let Some(events) = &mut self.events {
            events.pending.extend(tensorboard::start(step));
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn model_path(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Replaces the model by a later one.
    pub fn save(&self, model: &Model) -> Result<()> {
        model.save(&self.model_path())
    }

    /// Also writes a file for TensorBoard, of a run that begins or goes on after `step` updates. Each process has one of its own.
    pub fn write_events(&mut self, step: usize) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let (seconds, process) = (now.unwrap_or_default().as_secs(), std::process::id());
        let name = format!("events.out.tfevents.{seconds:010}.{process}.gatescan");
        let mut events = Log::open(self.path.join(name))?;
        events.pending.extend(tensorboard::header());
        events.pending.extend(tensorboard::start(step));
        self.events = Some(events);
        self.flush()
    }

    /// Appends an epoch, or a report of some steps, to the metrics. [`RunDirectory::flush`] writes them.
    pub fn record(&mut self, metrics: &impl Serialize) {
        let line = format!("{}\n", serde_json::json!(metrics));
        self.metrics.pending.extend(line.as_bytes());
    }

    /// Appends scalars to what TensorBoard reads, but for those that are not there.
    pub fn record_events(&mut self, step: usize, values: &[(&str, Option<f64>)]) {
        if let Some(events) = &mut self.events {
            let values = values
                .iter()
                .filter_map(|&(tag, value)| Some((tag, value?)));
            let record = tensorboard::scalars(step, &values.collect::<Vec<_>>());
            events.pending.extend(record);
        }
    }

    /// Writes what is new of metrics and events; what cannot be written stays for the next time.
    pub fn flush(&mut self) -> Result<()> {
        self.metrics.flush()?;
        self.events.as_mut().map_or(Ok(()), Log::flush)
    }

    /// Has all metrics on the disk, as a checkpoint that counts on them must.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        let synced = self.metrics.file.sync_data();
        synced.map_err(|error| unwritable(&self.metrics.path, &error))
    }
}

/// The run in a directory, of which another process may be at work.
pub fn read_run(path: &Path) -> Result<Run> {
    if !path.join(RECIPE).is_file() {
        let problem = format!("there is no run here; it would have a {RECIPE}");
        return Err(Error::file(path, problem));
    }
    let recipe = Recipe::load(&path.join(RECIPE).display().to_string())?;
    let metrics = path.join(METRICS);
    let text = match files::read_text(&metrics, LARGEST_METRICS) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| unreadable(&metrics, &error))?,
    };
    let whole = path.canonicalize().unwrap_or_else(|_| path.into());
    let name = whole.file_name().unwrap_or(path.as_os_str());
    Ok(Run::new(
        &name.display().to_string(),
        recipe,
        devices(path),
        &text,
    ))
}

/// What the run in a directory was computed on; nothing where nobody wrote it down.
fn devices(path: &Path) -> Vec<String> {
    let text = files::read_text(&path.join(DEVICES), 1 << 16).unwrap_or_default();
    text.lines().map(str::to_string).collect()
}

/// A file that only grows.
struct Log {
    path: PathBuf,
    file: File,
    /// What is not in the file yet.
    pending: Vec<u8>,
}

impl Log {
    fn open(path: PathBuf) -> Result<Log> {
        let file = OpenOptions::new().append(true).create(true).open(&path);
        Ok(Log {
            file: file.map_err(|error| unwritable(&path, &error))?,
            path,
            pending: vec![],
        })
    }

    fn flush(&mut self) -> Result<()> {
        while !self.pending.is_empty() {
            let written = match self.file.write(&self.pending) {
                Ok(0) => Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                written => written,
            };
            let written = written.map_err(|error| unwritable(&self.path, &error))?;
            self.pending.drain(..written);
        }
        Ok(())
    }
}

/// Takes the directory for this process alone.
fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| unwritable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::file(
            directory,
            "another run is at work in this directory; wait for its end, or name another with --out DIR",
        )),
        // Some network file systems know no locks.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(error)) => Err(unwritable(&path, &error)),
    }
}

fn write_recipe(directory: &Path, recipe: &Recipe) -> Result<()> {
    let path = directory.join(RECIPE);
    let text = recipe.to_toml()?;
    disk::write_whole(&path, text.as_bytes()).map_err(|error| unwritable(&path, &error))
}

fn make_checkpoints(directory: &Path) -> Result<()> {
    let path = directory.join(CHECKPOINTS);
    fs::create_dir_all(&path).map_err(|error| unwritable(&path, &error))
}

fn explicit(out: &Path) -> Result<PathBuf> {
    if let Some(name) = [MODEL, RECIPE, METRICS, CHECKPOINTS]
        .iter()
        .find(|name| out.join(name).exists())
    {
        return Err(Error::usage(format!(
            "--out {}: the directory holds the {name} of an earlier run, which is not overwritten; \
             name another directory, or go on with that run: --resume {}",
            out.display(),
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

fn unmade(path: &Path, error: &io::Error) -> Error {
    Error::file(
        path,
        format!("the run directory cannot be made: {error}; name another with --out DIR"),
    )
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::file(path, format!("cannot be read: {error}"))
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
