//! Saving a run when it is due.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::directory::{CHECKPOINTS, RunDirectory};
use super::events::{RunObserver, RunWarning};
use super::warn_of;
use crate::error::{Error, Result};
use crate::recipe::{CheckpointRecipe, Recipe};
use crate::train::checkpoint::Checkpoint;
use crate::train::checkpoints::Checkpoints;
use crate::train::{Event, TestMetrics, Trainer};

/// Writes metrics, checkpoints and model of a run when they are due. While the disk cannot be
/// written, the run continues and the saver tries again.
pub(super) struct Saver {
    directory: RunDirectory,
    checkpoints: Checkpoints,
    when: CheckpointRecipe,
    /// Whether the model's file is older than the run's newest model.
    model_is_due: bool,
    /// The step of the newest checkpoint.
    saved_step: Option<usize>,
    /// Whether the last try failed.
    is_failing: bool,
    last_try: Instant,
}

impl Saver {
    /// The time between two tries while the disk cannot be written.
    const RETRY: Duration = Duration::from_secs(10);
    /// How long a finished run tries to write.
    const PATIENCE: Duration = Duration::from_mins(10);

    pub(super) fn new(
        directory: RunDirectory,
        when: &CheckpointRecipe,
        from: Option<&Checkpoint>,
    ) -> Self {
        let path = directory.path().join(CHECKPOINTS);
        Saver {
            checkpoints: Checkpoints::new(&path, when.keep, from),
            directory,
            when: when.clone(),
            model_is_due: false,
            saved_step: from.map(|from| from.position.step),
            is_failing: false,
            last_try: Instant::now(),
        }
    }

    pub(super) fn directory(&self) -> &RunDirectory {
        &self.directory
    }

    pub(super) fn directory_mut(&mut self) -> &mut RunDirectory {
        &mut self.directory
    }

    /// The step of the newest checkpoint that was written.
    pub(super) fn saved_step(&self) -> Option<usize> {
        self.saved_step
    }

    /// The step of the newest checkpoint that can be read from the disk now.
    pub(super) fn step_on_disk(&self) -> Option<usize> {
        if !self.directory.is_there() {
            return None;
        }
        let found = Checkpoints::find(&self.directory.path().join(CHECKPOINTS)).ok()?;
        found.newest.map(|(_, checkpoint)| checkpoint.position.step)
    }

    /// Checks that the model, which was written, is on the disk.
    ///
    /// # Errors
    /// [`Error::File`] where it is gone.
    pub(super) fn check_saved(&self) -> Result<()> {
        let model = self.directory.model_path();
        if self.directory.is_there() && model.is_file() {
            return Ok(());
        }
        let problem = "was saved and is gone: the run directory was removed or replaced";
        Err(Error::file(model, problem))
    }

    /// Has the next save write the model too.
    pub(super) fn model_is_due(&mut self) {
        self.model_is_due = true;
    }

    /// The newest checkpoint that can be read.
    ///
    /// # Errors
    /// [`Error::File`] where the directory cannot be read.
    pub(super) fn newest(&self) -> Result<Option<Checkpoint>> {
        let found = Checkpoints::find(&self.directory.path().join(CHECKPOINTS))?;
        Ok(found.newest.map(|(_, checkpoint)| checkpoint))
    }

    /// Restores the newest checkpoint, if there is one, in a trainer at the beginning, and removes
    /// the metrics of later steps. Returns the problems of checkpoints that cannot be read.
    pub(super) fn go_back(&mut self, recipe: &Recipe, trainer: &mut Trainer) -> Result<Vec<Error>> {
        let path: PathBuf = self.directory.path().join(CHECKPOINTS);
        let found = Checkpoints::find(&path)?;
        let from = found.newest.map(|(_, checkpoint)| checkpoint);
        from.iter().try_for_each(|from| trainer.restore(from))?;
        self.directory.go_back(recipe, from.as_ref())?;
        self.checkpoints = Checkpoints::new(&path, self.when.keep, from.as_ref());
        self.saved_step = from.as_ref().map(|from| from.position.step);
        self.model_is_due = from.is_some();
        Ok(found.damaged)
    }

    /// Appends the metrics of an event after `step` updates.
    pub(super) fn record(&mut self, step: usize, event: Event) {
        match event {
            Event::Progress(progress) => {
                let reports = progress.reports.iter();
                reports.for_each(|report| self.directory.record_report(report));
            }
            Event::Epoch(metrics) => {
                self.directory.record_epoch(step, metrics);
                self.model_is_due = true;
            }
            Event::Evaluating { .. } => {}
        }
    }

    /// Saves the run if the recipe's steps or minutes have passed; else writes the new metrics.
    pub(super) fn save_if_due(&mut self, trainer: &mut Trainer) -> Result<Option<RunWarning>> {
        let step = trainer.position().step;
        let wait = if self.is_failing {
            Self::RETRY
        } else {
            self.when.interval()
        };
        let by_steps = (self.when.every_steps).is_some_and(|every| step.is_multiple_of(every));
        if by_steps || self.last_try.elapsed() >= wait {
            return self.save(trainer);
        }
        if self.is_failing {
            return Ok(None);
        }
        match self.directory.flush() {
            Ok(()) => Ok(None),
            Err(error) => self.tolerate(error),
        }
    }

    /// Saves the run.
    pub(super) fn save(&mut self, trainer: &mut Trainer) -> Result<Option<RunWarning>> {
        let written = self.write(trainer);
        self.last_try = Instant::now();
        if let Err(error) = written {
            return self.tolerate(error);
        }
        let was_failing = std::mem::take(&mut self.is_failing);
        let step = trainer.position().step;
        Ok(was_failing.then_some(RunWarning::SavedAgain { step }))
    }

    /// Tolerates an error of the disk. Returns a warning for the first one in a row.
    fn tolerate(&mut self, error: Error) -> Result<Option<RunWarning>> {
        let Error::File { .. } = error else {
            return Err(error);
        };
        let was_failing = std::mem::replace(&mut self.is_failing, true);
        let step = if was_failing {
            None
        } else {
            self.step_on_disk()
        };
        Ok((!was_failing).then_some(RunWarning::NotSaved { error, step }))
    }

    fn write(&mut self, trainer: &mut Trainer) -> Result<()> {
        // A checkpoint relies on the metrics up to it.
        self.directory.sync()?;
        // Fails before anything is saved where values are not finite.
        let mut checkpoint = trainer.checkpoint()?;
        checkpoint.metrics = Some(self.directory.metrics_mark());
        self.directory.restore_checkpoints()?;
        if self.model_is_due {
            self.directory.save(&trainer.model()?)?;
            self.model_is_due = false;
        }
        self.checkpoints.write(&checkpoint)?;
        self.saved_step = Some(checkpoint.position.step);
        Ok(())
    }

    /// Writes what is not written yet, at the end of a run; see [`Saver::until_written`].
    pub(super) fn finish(
        &mut self,
        trainer: &mut Trainer,
        stop: &AtomicBool,
        observer: &mut RunObserver,
    ) -> Result<()> {
        if self.model_is_due || self.is_failing {
            self.until_written(stop, observer, |saver| saver.write(trainer))?;
        }
        Ok(())
    }

    /// Appends the scores of the finished model, after the last checkpoint: a run that is resumed
    /// scores its own end.
    pub(super) fn record_test(
        &mut self,
        metrics: &TestMetrics,
        stop: &AtomicBool,
        observer: &mut RunObserver,
    ) -> Result<()> {
        self.directory.record_test(metrics);
        self.until_written(stop, observer, |saver| saver.directory.sync())
    }

    /// Calls `write` until it succeeds. Waits for a disk that cannot be written, unless the run was
    /// stopped or its directory is gone.
    fn until_written(
        &mut self,
        stop: &AtomicBool,
        observer: &mut RunObserver,
        mut write: impl FnMut(&mut Saver) -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            match write(self) {
                Ok(()) => {
                    self.is_failing = false;
                    return Ok(());
                }
                Err(error)
                    if stop.load(Ordering::Relaxed)
                        || start.elapsed() > Self::PATIENCE
                        || !self.directory.is_there() =>
                {
                    return Err(error);
                }
                Err(error) => {
                    let warning = self.tolerate(error)?;
                    warn_of(observer, warning)?;
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }
}
