//! The directory of a training run: recipe, metrics, checkpoints, model and report.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::append_log::AppendLog;
use super::load::devices;
use super::lock::DirectoryLock;
use super::metrics_log::MetricsLog;
use crate::error::{Error, Result};
use crate::io::disk;
use crate::io::tensorboard;
use crate::messages::shown_path;
use crate::model::Model;
use crate::recipe::Recipe;
use crate::train::checkpoint::{Checkpoint, MetricsMark};
use crate::train::checkpoints::Checkpoints;
use crate::train::{EpochMetrics, HeadMetrics, LossReport, SplitMetrics, TestMetrics};

/// The model's file.
pub const MODEL: &str = "model.safetensors";
/// The directory of the checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The report page.
pub const REPORT: &str = "report.html";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const RECIPE: &str = "recipe.toml";
pub(super) const DEVICES: &str = "devices.txt";
pub(super) const TUNING: &str = "tuning.txt";

/// A run directory that this process has locked.
pub struct RunDirectory {
    path: PathBuf,
    metrics: MetricsLog,
    /// The event file of TensorBoard, where one is written.
    events: Option<AppendLog>,
    _lock: DirectoryLock,
}

/// A run to be resumed.
pub struct ResumePoint {
    /// The run directory, locked.
    pub directory: RunDirectory,
    /// The recipe that the run began with, or was last resumed with.
    pub recipe: Recipe,
    /// The newest readable checkpoint and its path; `None` where the run has none yet.
    pub newest: Option<(PathBuf, Checkpoint)>,
    /// The problems of newer checkpoints.
    pub damaged: Vec<Error>,
}

impl ResumePoint {
    /// Locks the directory of a run and looks for its newest checkpoint. Changes nothing in the
    /// directory except for unfinished files, which it removes.
    ///
    /// # Errors
    /// [`Error::File`] where there is no run, where another process has locked it, or where it
    /// cannot be read.
    pub fn find(path: &Path) -> Result<ResumePoint> {
        check_is_run(path)?;
        let lock = DirectoryLock::take(path)?;
        for directory in [path, &path.join(CHECKPOINTS)] {
            disk::remove_leftovers(directory);
        }
        let found = Checkpoints::find(&path.join(CHECKPOINTS))?;
        create_checkpoints(path)?;
        let mut recipe = Recipe::load_file(&path.join(RECIPE))?;
        if let Some((_, newest)) = &found.newest {
            recipe.keep_encoding_of(&newest.network, &newest.preparation);
        }
        Ok(ResumePoint {
            directory: RunDirectory {
                path: path.to_path_buf(),
                metrics: MetricsLog::open(path.join(METRICS))?,
                events: None,
                _lock: lock,
            },
            recipe,
            newest: found.newest,
            damaged: found.damaged,
        })
    }
}

impl RunDirectory {
    /// Creates the directory `out`, or `runs/<recipe>-<time>`, and writes the recipe into it.
    ///
    /// # Errors
    /// [`Error::Usage`] where `out` holds an earlier run; [`Error::File`] where the directory
    /// cannot be written or another process has locked it.
    pub fn create(out: Option<&Path>, recipe: &Recipe) -> Result<RunDirectory> {
        RunDirectory::create_at(out, recipe, None)
    }

    /// [`RunDirectory::create`] with a first checkpoint and the epochs before it.
    ///
    /// # Errors
    /// Those of [`RunDirectory::create`].
    pub(super) fn create_from_page(
        out: Option<&Path>,
        recipe: &Recipe,
        (epochs, first): (&[EpochMetrics], &mut Checkpoint),
    ) -> Result<RunDirectory> {
        RunDirectory::create_with(out, recipe, epochs, Some(first))
    }

    /// [`RunDirectory::create`] with a first checkpoint: no moment has a run without it.
    ///
    /// # Errors
    /// Those of [`RunDirectory::create`].
    pub(super) fn create_at(
        out: Option<&Path>,
        recipe: &Recipe,
        first: Option<&mut Checkpoint>,
    ) -> Result<RunDirectory> {
        RunDirectory::create_with(out, recipe, &[], first)
    }

    fn create_with(
        out: Option<&Path>,
        recipe: &Recipe,
        epochs: &[EpochMetrics],
        first: Option<&mut Checkpoint>,
    ) -> Result<RunDirectory> {
        let path = match out {
            Some(out) => create_explicit(out)?,
            None => create_new(&recipe.name)?,
        };
        let lock = DirectoryLock::take(&path)?;
        create_checkpoints(&path)?;
        let mut metrics = MetricsLog::open(path.join(METRICS))?;
        for epoch in epochs {
            metrics.record(epoch);
        }
        metrics.flush()?;
        metrics.sync()?;
        if let Some(first) = first {
            first.metrics = Some(metrics.mark());
            Checkpoints::new(&path.join(CHECKPOINTS), 1, None).write(first)?;
        }
        write_recipe(&path, recipe)?;
        Ok(RunDirectory {
            metrics,
            path,
            events: None,
            _lock: lock,
        })
    }

    /// The name of the first file of an earlier run in a directory, if there is one.
    pub fn earlier_run(path: &Path) -> Option<&'static str> {
        let names = [MODEL, RECIPE, METRICS, CHECKPOINTS];
        let found = names.into_iter().find(|name| path.join(name).exists());
        // Files that a run would replace.
        let replaced = || {
            [REPORT, DEVICES]
                .into_iter()
                .find(|name| path.join(name).is_file())
        };
        found.or_else(replaced)
    }

    /// Adds a device to those that the run was computed on.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn add_device(&self, device: &str) -> Result<()> {
        let mut devices = devices(&self.path);
        if !devices.iter().any(|known| known == device) {
            devices.push(device.into());
            self.write(DEVICES, &(devices.join("\n") + "\n"))?;
        }
        Ok(())
    }

    /// Records the lines of `tuning.txt`.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn write_tuning(&self, lines: &[String]) -> Result<()> {
        self.write(TUNING, &(lines.join("\n") + "\n"))?;
        Ok(())
    }

    /// Writes the report page and returns its path.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn write_report(&self, page: &str) -> Result<PathBuf> {
        self.write(REPORT, page)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        let written = disk::write_whole(&path, text.as_bytes());
        written.map_err(|error| unwritable(&path, &error))?;
        Ok(path)
    }

    /// Writes the recipe and removes the metrics that are later than `checkpoint`, or all of them
    /// without one.
    ///
    /// # Errors
    /// [`Error::File`] where files cannot be read or written, and for metrics that are not those
    /// that the checkpoint relies on; nothing is changed then.
    pub fn go_back(&mut self, recipe: &Recipe, checkpoint: Option<&Checkpoint>) -> Result<()> {
        self.metrics.check(checkpoint)?;
        write_recipe(&self.path, recipe)?;
        self.metrics.go_back(checkpoint)?;
        let step = checkpoint.map_or(0, |checkpoint| checkpoint.position.step);
        if let Some(events) = &mut self.events {
            events.append(&tensorboard::start(step));
        }
        Ok(())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's file.
    pub fn model_path(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Writes the model in place of an earlier one.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn save(&self, model: &Model) -> Result<()> {
        model.save(&self.model_path())
    }

    /// Opens an event file for TensorBoard, for a run that begins or resumes after `step` updates.
    /// Each process writes its own file.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn write_events(&mut self, step: usize) -> Result<()> {
        if self.events.is_some() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let (seconds, process) = (now.unwrap_or_default().as_secs(), std::process::id());
        let name = format!("events.out.tfevents.{seconds:010}.{process}.gatescan");
        let mut events = AppendLog::open(self.path.join(name))?;
        events.append(&tensorboard::header());
        events.append(&tensorboard::start(step));
        self.events = Some(events);
        self.flush()
    }

    /// Appends an epoch to metrics and events. [`RunDirectory::flush`] writes it.
    pub fn record_epoch(&mut self, step: usize, metrics: &EpochMetrics) {
        self.metrics.record(metrics);
        self.record_events(step, &scalars(metrics));
        for head in &metrics.heads {
            let tags = head_scalars(head);
            self.record_events(
                step,
                &tags.each_ref().map(|(tag, value)| (&tag[..], *value)),
            );
        }
    }

    /// Appends a report to metrics and events. [`RunDirectory::flush`] writes it.
    pub fn record_report(&mut self, report: &LossReport) {
        self.metrics.record(report);
        self.record_events(report.step, &[("loss/report", Some(report.loss))]);
    }

    /// The lines of the metrics so far, which a checkpoint relies on.
    pub fn metrics_mark(&self) -> MetricsMark {
        self.metrics.mark()
    }

    /// Whether the directory is still the one that the run writes to.
    pub fn is_there(&self) -> bool {
        self.metrics.is_there() && self.path.join(RECIPE).is_file()
    }

    /// Creates the directory of the checkpoints, if it was removed.
    ///
    /// # Errors
    /// [`Error::File`] where the run directory is gone too.
    pub(super) fn restore_checkpoints(&self) -> Result<()> {
        let path = self.path.join(CHECKPOINTS);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(unwritable(&path, &error))
            }
            _ => Ok(()),
        }
    }

    /// Adds the line of the finished model's scores on the test split.
    pub fn record_test(&mut self, metrics: &TestMetrics) {
        self.metrics.record(metrics);
    }

    /// Appends the scalars that have a value.
    fn record_events(&mut self, step: usize, values: &[(&str, Option<f64>)]) {
        if let Some(events) = &mut self.events {
            let values = values
                .iter()
                .filter_map(|&(tag, value)| Some((tag, value?)));
            events.append(&tensorboard::scalars(step, &values.collect::<Vec<_>>()));
        }
    }

    /// Writes the new metrics and events. What cannot be written is kept for the next call.
    ///
    /// # Errors
    /// [`Error::File`] where they cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.metrics.flush()?;
        self.events.as_mut().map_or(Ok(()), AppendLog::flush)
    }

    /// Writes the new metrics and waits until they are on the disk, before a checkpoint that relies
    /// on them.
    ///
    /// # Errors
    /// [`Error::File`] where they cannot be written.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.metrics.sync()
    }
}

/// The scalars of an epoch for TensorBoard.
fn scalars(metrics: &EpochMetrics) -> [(&'static str, Option<f64>); 19] {
    let further = |metrics: &Option<SplitMetrics>| metrics.unwrap_or_default();
    let (validation, test) = (
        further(&metrics.validation_metrics),
        further(&metrics.test_metrics),
    );
    [
        ("loss/train", Some(metrics.train_loss)),
        ("loss/validation", metrics.validation_loss),
        ("loss/test", metrics.test_loss),
        ("accuracy/train", metrics.train_accuracy),
        ("accuracy/validation", metrics.validation_accuracy),
        ("accuracy/test", metrics.test_accuracy),
        ("last_step_loss/train", metrics.train_last_step_loss),
        (
            "last_step_loss/validation",
            metrics.validation_last_step_loss,
        ),
        ("last_step_loss/test", metrics.test_last_step_loss),
        ("balanced_accuracy/validation", validation.balanced_accuracy),
        ("balanced_accuracy/test", test.balanced_accuracy),
        ("macro_f1/validation", validation.macro_f1),
        ("macro_f1/test", test.macro_f1),
        ("label_error_rate/validation", validation.label_error_rate),
        ("label_error_rate/test", test.label_error_rate),
        ("sequence_accuracy/validation", validation.sequence_accuracy),
        ("sequence_accuracy/test", test.sequence_accuracy),
        ("bits/test", metrics.test_bits),
        ("sequences_per_second", Some(metrics.sequences_per_second)),
    ]
}

/// The scalars of one of several heads for TensorBoard.
fn head_scalars(head: &HeadMetrics) -> [(String, Option<f64>); 8] {
    let rate = |metrics: Option<SplitMetrics>| metrics?.label_error_rate;
    [
        ("loss", "train", head.train_loss),
        ("loss", "validation", head.validation_loss),
        ("loss", "test", head.test_loss),
        ("accuracy", "train", head.train_accuracy),
        ("accuracy", "validation", head.validation_accuracy),
        ("accuracy", "test", head.test_accuracy),
        (
            "label_error_rate",
            "validation",
            rate(head.validation_metrics),
        ),
        ("label_error_rate", "test", rate(head.test_metrics)),
    ]
    .map(|(metric, split, value)| (format!("{metric}_{}/{split}", head.name), value))
}

/// Returns an error for a directory without a run.
pub(super) fn check_is_run(path: &Path) -> Result<()> {
    if path.join(RECIPE).is_file() {
        return Ok(());
    }
    let problem = format!("there is no run here; a run directory has a {RECIPE}");
    Err(Error::file(path, problem))
}

fn write_recipe(directory: &Path, recipe: &Recipe) -> Result<()> {
    let path = directory.join(RECIPE);
    let text = recipe.to_toml()?;
    disk::write_whole(&path, text.as_bytes()).map_err(|error| unwritable(&path, &error))
}

fn create_checkpoints(directory: &Path) -> Result<()> {
    let path = directory.join(CHECKPOINTS);
    fs::create_dir_all(&path).map_err(|error| unwritable(&path, &error))
}

fn create_explicit(out: &Path) -> Result<PathBuf> {
    if let Some(name) = RunDirectory::earlier_run(out) {
        return Err(Error::usage(format!(
            "the directory {} holds the {name} of an earlier run, which is not overwritten; \
             use another directory or resume that run",
            shown_path(out)
        )));
    }
    fs::create_dir_all(out).map_err(|error| uncreatable(out, &error))?;
    Ok(out.to_path_buf())
}

/// Creates `runs/<name>-<time>`, with a number where that exists.
fn create_new(name: &str) -> Result<PathBuf> {
    let runs = Path::new("runs");
    fs::create_dir_all(runs).map_err(|error| uncreatable(runs, &error))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let stem = format!("{name}-{}", timestamp(now.unwrap_or_default().as_secs()));
    let mut path = runs.join(&stem);
    for number in 2.. {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                path = runs.join(format!("{stem}-{number}"));
            }
            Err(error) => return Err(uncreatable(&path, &error)),
            Ok(()) => break,
        }
    }
    Ok(path)
}

fn uncreatable(path: &Path, error: &io::Error) -> Error {
    Error::file(
        path,
        format!("the run directory cannot be created: {error}; use another directory"),
    )
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::file(path, format!("cannot be read: {error}"))
}

pub(super) fn unwritable(path: &Path, error: &io::Error) -> Error {
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
