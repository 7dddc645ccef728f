//! A training run and its directory: recipe, metrics, checkpoints, model and report.
//!
//! [`TrainingRun`] trains a recipe, saves checkpoints when they are due, resumes, and continues
//! after a lost device. It prints nothing: a [`RunEvent`] reports what a program may want to show.

mod append_log;
mod directory;
mod events;
mod follow;
mod load;
pub(crate) mod lock;
mod metrics_log;
#[cfg(feature = "report")]
mod page;
#[cfg(feature = "report")]
mod read;
mod saver;
mod tuning;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use directory::{CHECKPOINTS, MODEL, REPORT, ResumePoint, RunDirectory};
pub use events::{RunEvent, RunObserver, RunWarning};
pub use follow::{FollowingRun, receive_start, send_start};
pub use load::load_model;
#[cfg(feature = "report")]
pub use page::details;
#[cfg(feature = "report")]
pub use read::read_run;
pub use tuning::recorded_settings;

use std::ops::ControlFlow;

use crate::backend::OpenDevice;
use crate::data::Splits;
use crate::distributed::{Ranks, agreed};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::profile::Machine;
use crate::recipe::Recipe;
#[cfg(feature = "report")]
use crate::report;
use crate::train::{
    BaselineComparison, Diagnosis, Ending, EpochMetrics, Event, FineTuning, IntervalAdjustment,
    PageState, Position, Scores, SplitMetrics, TestMetrics, Trainer,
};
use saver::Saver;

/// Restarts in a row from the same checkpoint before a run gives up.
const MOST_RESTARTS: usize = 3;

/// How a run is carried out. Nothing here changes the model.
#[derive(Default)]
pub struct RunOptions {
    /// The run directory; by default a new directory `runs/<recipe>-<time>`.
    pub out: Option<PathBuf>,
    /// Whether to write an event file for TensorBoard into the run directory.
    pub tensorboard: bool,
    /// Opens the device again after it was lost. Without it, a lost device ends the run. Of several
    /// processes, all must have it; they then go back to the newest checkpoint together.
    pub reopen_device: Option<Box<dyn Fn() -> Result<OpenDevice>>>,
    /// Once this is true, the run stops after the current step and saves its position.
    pub stop: Arc<AtomicBool>,
    /// The processes that train together, of which this one is rank 0; see
    /// [`Trainer::load_shared`]. The others have a [`FollowingRun`].
    pub ranks: Option<Arc<dyn Ranks>>,
}

impl RunOptions {
    /// Whether a run can continue from its newest checkpoint after `error`.
    fn can_continue_after(&self, error: &Error) -> bool {
        match error {
            // The other processes wait where they know of failed devices only.
            Error::WorkLost { .. } => self.ranks.is_none() || self.reopen_device.is_some(),
            Error::DeviceLost { .. } | Error::RankFailed { .. } => self.reopen_device.is_some(),
            _ => false,
        }
    }

    /// Opens the device again where `error` says that it was lost, in all processes of the run.
    /// Returns the error of the process whose device has failed.
    fn reopen_after(&self, error: Error, device: &mut OpenDevice) -> Result<Error> {
        let is_own = !matches!(error, Error::RankFailed { .. });
        if let Some(ranks) = self.ranks.as_ref().filter(|_| is_own) {
            ranks.fail()?;
        }
        let opened = match (&error, &self.reopen_device) {
            (Error::DeviceLost { .. }, Some(reopen)) => {
                // A driver needs a moment after a reset.
                std::thread::sleep(Duration::from_secs(1));
                reopen().map(|opened| *device = opened)
            }
            _ => Ok(()),
        };
        let Some(ranks) = &self.ranks else {
            return opened.map(|()| error);
        };
        agreed(ranks.as_ref(), opened)?;
        let own = if is_own {
            error.to_string()
        } else {
            String::new()
        };
        let problems = ranks.gather(own.into_bytes())?;
        let first = problems
            .iter()
            .enumerate()
            .find(|(_, text)| !text.is_empty());
        Ok(first.map_or(error, |(rank, text)| {
            Error::Failed(format!("rank {rank}: {}", String::from_utf8_lossy(text)))
        }))
    }
}

/// A training run that keeps its results in a directory.
///
/// # Examples
/// ```
/// use std::ops::ControlFlow;
///
/// use gatescan::run::{RunEvent, RunOptions, TrainingRun};
/// use gatescan::{Device, OpenDevice, Recipe};
///
/// let mut recipe = Recipe::load("series")?;
/// recipe.steps = Some(3);
/// recipe.network.set_hidden_size(4);
/// let data = recipe.data.source().made_up(64, recipe.seed).expect("its data are made up");
/// let directory = std::env::temp_dir().join(format!("gatescan-run-{}", std::process::id()));
/// let options = RunOptions {
///     out: Some(directory.clone()),
///     ..RunOptions::default()
/// };
/// let device = OpenDevice::open(&Device::Cpu)?;
/// let mut run = TrainingRun::start(&recipe, &data, device, options)?;
/// run.train(&mut |event| {
///     if let RunEvent::Warning(warning) = event {
///         eprintln!("{warning}");
///     }
///     Ok(ControlFlow::Continue(()))
/// })?;
/// run.write_report(None)?;
/// assert!(directory.join("model.safetensors").is_file());
/// # std::fs::remove_dir_all(directory).expect("it can be removed");
/// # Ok::<(), gatescan::Error>(())
/// ```
pub struct TrainingRun {
    recipe: Recipe,
    data: Splits,
    device: OpenDevice,
    options: RunOptions,
    /// `None` after an error for which the device could not be loaded again.
    trainer: Option<Trainer>,
    saver: Saver,
    /// The scores of the finished model on the test split, where a validation split has chosen it.
    tested: Option<TestMetrics>,
}

impl TrainingRun {
    /// Loads the recipe's network and the data on the device, and creates the run directory.
    ///
    /// # Errors
    /// Those of [`Trainer::load`] and [`RunDirectory::create`].
    pub fn start(
        recipe: &Recipe,
        data: &Splits,
        device: OpenDevice,
        options: RunOptions,
    ) -> Result<TrainingRun> {
        let trainer = Trainer::load_shared(recipe, data, &device, options.ranks.clone())?;
        trainer.check_size()?;
        let directory = RunDirectory::create(options.out.as_deref(), recipe)?;
        let saver = Saver::new(directory, &recipe.checkpoint, None);
        Ok(TrainingRun::of(
            recipe,
            data,
            (device, options),
            trainer,
            saver,
        ))
    }

    /// [`TrainingRun::start`] with the parameters of a model; see
    /// [`Trainer::start_from`]. The directory has a checkpoint from the beginning, so that the run
    /// resumes without the model.
    ///
    /// # Errors
    /// Those of [`TrainingRun::start`] and [`Trainer::start_from`].
    pub fn start_from(
        model: &Model,
        recipe: &Recipe,
        data: &Splits,
        device: OpenDevice,
        options: RunOptions,
    ) -> Result<(TrainingRun, FineTuning)> {
        let ranks = options.ranks.clone();
        let mut trainer = Trainer::load_shared(recipe, data, &device, ranks)?;
        let tuning = trainer.start_from(model)?;
        trainer.check_size()?;
        let mut first = trainer.checkpoint()?;
        let directory = RunDirectory::create_at(options.out.as_deref(), recipe, Some(&mut first))?;
        let saver = Saver::new(directory, &recipe.checkpoint, Some(&first));
        let run = TrainingRun::of(recipe, data, (device, options), trainer, saver);
        Ok((run, tuning))
    }

    /// [`TrainingRun::start`] at the state that a page of `gatescan web` has saved: the run goes on
    /// as the page would have. The directory has a checkpoint and the epochs of the page from the
    /// beginning.
    ///
    /// # Errors
    /// Those of [`TrainingRun::start`] and [`Trainer::restore_page`].
    pub fn start_from_page(
        state: &PageState,
        recipe: &Recipe,
        data: &Splits,
        device: OpenDevice,
        options: RunOptions,
    ) -> Result<TrainingRun> {
        let ranks = options.ranks.clone();
        let mut trainer = Trainer::load_shared(recipe, data, &device, ranks)?;
        trainer.check_size()?;
        trainer.restore_page(state)?;
        let epochs = trainer.epochs_of_page(state);
        let mut first = trainer.checkpoint()?;
        let directory =
            RunDirectory::create_from_page(options.out.as_deref(), recipe, (&epochs, &mut first))?;
        let mut saver = Saver::new(directory, &recipe.checkpoint, Some(&first));
        saver.model_is_due();
        Ok(TrainingRun::of(
            recipe,
            data,
            (device, options),
            trainer,
            saver,
        ))
    }

    /// Loads a run at the point where it is to be resumed. The recipe may differ from the run's in
    /// the fields that [`Recipe::continues`] allows.
    ///
    /// # Errors
    /// Those of [`Trainer::load`] and [`Trainer::restore`]; [`Error::File`] where the directory
    /// cannot be written.
    pub fn resume(
        point: ResumePoint,
        recipe: &Recipe,
        data: &Splits,
        device: OpenDevice,
        options: RunOptions,
    ) -> Result<TrainingRun> {
        let ranks = options.ranks.clone();
        let mut trainer = Trainer::load_shared(recipe, data, &device, ranks)?;
        let ResumePoint {
            mut directory,
            newest,
            ..
        } = point;
        let from = newest.map(|(_, checkpoint)| checkpoint);
        from.iter().try_for_each(|from| trainer.restore(from))?;
        directory.go_back(recipe, from.as_ref())?;
        let mut saver = Saver::new(directory, &recipe.checkpoint, from.as_ref());
        saver.model_is_due();
        Ok(TrainingRun::of(
            recipe,
            data,
            (device, options),
            trainer,
            saver,
        ))
    }

    fn of(
        recipe: &Recipe,
        data: &Splits,
        (device, options): (OpenDevice, RunOptions),
        trainer: Trainer,
        saver: Saver,
    ) -> TrainingRun {
        TrainingRun {
            recipe: recipe.clone(),
            data: data.clone(),
            device,
            options,
            trainer: Some(trainer),
            saver,
            tested: None,
        }
    }

    /// Trains to the end, saves checkpoints when they are due, and finally the model. With a
    /// validation split, the finished model is then scored once on the test split. After the
    /// driver has dropped work, and after a lost device that can be opened again, it continues from
    /// the newest checkpoint.
    ///
    /// # Errors
    /// Those of [`Trainer::run`], of the observer, and of a disk that cannot be written for
    /// minutes. [`TrainingRun::saved_step`] says what is saved.
    pub fn train(&mut self, observer: &mut RunObserver) -> Result<Ending> {
        self.describe_device(observer)?;
        if self.options.tensorboard {
            let step = self.position()?.step;
            self.saver.directory_mut().write_events(step)?;
        }
        let mut restarts = 0;
        loop {
            let saved = self.saver.saved_step();
            let error = match self.train_once(observer) {
                Ok(ending) => return Ok(ending),
                Err(error) => error,
            };
            restarts = if self.saver.saved_step() == saved {
                restarts + 1
            } else {
                1
            };
            if !self.options.can_continue_after(&error) || restarts > MOST_RESTARTS {
                return Err(error);
            }
            let error = self.restart_after(error, observer)?;
            let step = self.saver.saved_step();
            warn(observer, RunWarning::Restarted { error, step })?;
        }
    }

    /// Adds the device to those that the run was computed on.
    fn describe_device(&mut self, observer: &mut RunObserver) -> Result<()> {
        let label = Machine::of(&self.device).label();
        let directory = self.saver.directory_mut();
        let added = directory.add_device(&label).and_then(|()| {
            let lines = tuning::lines(&self.device);
            lines.map_or(Ok(()), |lines| directory.write_tuning(&lines))
        });
        match added {
            Ok(()) => Ok(()),
            Err(error) => warn(observer, RunWarning::DeviceNotWritten(error)),
        }
    }

    /// Trains until the end of the run or an error.
    fn train_once(&mut self, observer: &mut RunObserver) -> Result<Ending> {
        let (saver, device, stop) = (&mut self.saver, &self.device, &self.options.stop);
        let trainer = self.trainer.as_mut().ok_or_else(no_trainer)?;
        let ending = trainer.run(&mut |trainer, event| {
            let is_epoch = matches!(event, Event::Epoch(_));
            saver.record(trainer.position().step, event);
            if is_epoch {
                let warning = saver.save(trainer)?;
                warn_of(observer, warning)?;
            }
            let flow = observer(RunEvent::Training {
                trainer,
                event,
                device,
            })?;
            if matches!(event, Event::Progress(_)) {
                let warning = saver.save_if_due(trainer)?;
                warn_of(observer, warning)?;
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(ControlFlow::Break(()));
            }
            Ok(flow)
        })?;
        // The model of the last epoch was saved before its intervals were adjusted.
        if ending == Ending::Interrupted || !trainer.interval_adjustments().is_empty() {
            self.saver.model_is_due();
        }
        self.saver.finish(trainer, stop, observer)?;
        if ending != Ending::Interrupted {
            self.test(observer)?;
        }
        self.saver.check_saved()?;
        Ok(ending)
    }

    /// Scores the finished model on the test split, where a validation split has chosen it.
    fn test(&mut self, observer: &mut RunObserver) -> Result<()> {
        let (saver, device, stop) = (&mut self.saver, &self.device, &self.options.stop);
        let trainer = self.trainer.as_mut().ok_or_else(no_trainer)?;
        let tested = trainer.test(&mut |trainer, event| {
            let flow = observer(RunEvent::Training {
                trainer,
                event,
                device,
            })?;
            if stop.load(Ordering::Relaxed) {
                return Ok(ControlFlow::Break(()));
            }
            Ok(flow)
        })?;
        if let Some(tested) = &tested {
            saver.record_test(tested, stop, observer)?;
            let _ = observer(RunEvent::Tested(tested))?;
        }
        self.tested = tested;
        Ok(())
    }

    /// Opens the device again where it was lost, and loads the newest checkpoint. Returns the
    /// error, of several processes that of the one whose device has failed.
    fn restart_after(&mut self, error: Error, observer: &mut RunObserver) -> Result<Error> {
        // Frees the device memory before the next trainer allocates its own.
        self.trainer = None;
        let error = self.options.reopen_after(error, &mut self.device)?;
        if let Some(ranks) = &self.options.ranks {
            let newest = self.saver.newest()?;
            send_start(ranks.as_ref(), &self.recipe, newest.as_ref())?;
        }
        self.trainer = Some(self.load_newest(observer)?);
        Ok(error)
    }

    /// Loads a trainer at the newest checkpoint, and removes the metrics of later steps.
    fn load_newest(&mut self, observer: &mut RunObserver) -> Result<Trainer> {
        let ranks = self.options.ranks.clone();
        let mut trainer = Trainer::load_shared(&self.recipe, &self.data, &self.device, ranks)?;
        for error in self.saver.go_back(&self.recipe, &mut trainer)? {
            warn(observer, RunWarning::DamagedCheckpoint(error))?;
        }
        Ok(trainer)
    }

    /// After [`Error::NotFinite`]: plays the run from the newest checkpoint up to that step and
    /// searches for the first call that writes a value that is not finite.
    ///
    /// # Errors
    /// Those of [`Trainer::load`] and [`Trainer::diagnose`].
    pub fn diagnose(&mut self, step: usize, observer: &mut RunObserver) -> Result<Diagnosis> {
        self.trainer = None;
        let mut trainer = self.load_newest(observer)?;
        trainer.diagnose(step)
    }

    /// Compares the run's model with baselines on the test split, if there is one and an epoch is
    /// done.
    ///
    /// # Errors
    /// [`Error::Failed`] where a linear regression cannot be computed.
    pub fn compare(&self) -> Result<Option<BaselineComparison>> {
        let heads = match &self.tested {
            Some(tested) => Some(&tested.heads),
            None => self.kept_epoch().map(|kept| &kept.heads),
        };
        let heads = heads.map_or(&[][..], |heads| heads);
        BaselineComparison::of_run(&self.recipe, &self.data, self.test_scores(), heads)
    }

    /// Writes the report page and frees the device. Returns the page's path.
    ///
    /// # Errors
    /// [`Error::File`] where the directory cannot be read or written; those of the device.
    #[cfg(feature = "report")]
    pub fn write_report(mut self, comparison: Option<&BaselineComparison>) -> Result<PathBuf> {
        let mut trainer = self.trainer.take().ok_or_else(no_trainer)?;
        let model = trainer.model()?;
        // Frees the device memory before the model's predictions allocate their own.
        drop(trainer);
        let directory = self.saver.directory();
        let run = read_run(directory.path())?;
        let details = details(&model, &self.data, comparison, &self.device);
        directory.write_report(&report::page(&run, &details))
    }

    /// The scores of the model on the test split: at the end of the run where a validation split
    /// has chosen it, else those of its epoch.
    pub fn test_scores(&self) -> Option<Scores> {
        let tested = self.tested.as_ref().map(TestMetrics::scores);
        tested.or_else(|| self.kept_epoch()?.test_scores())
    }

    /// Further metrics of the model on the test split, as [`TrainingRun::test_scores`] has them.
    pub fn test_metrics(&self) -> Option<SplitMetrics> {
        match &self.tested {
            Some(tested) => tested.test_metrics,
            None => self.kept_epoch()?.test_metrics,
        }
    }

    /// The epoch that the model comes from: the best one where the recipe keeps it, else the last.
    pub fn kept_epoch(&self) -> Option<&EpochMetrics> {
        let trainer = self.trainer.as_ref()?;
        trainer.best().or(trainer.position().last.as_ref())
    }

    /// How the intervals of each head of the finished model are adjusted, if they are.
    pub fn interval_adjustments(&self) -> &[IntervalAdjustment] {
        let trainer = self.trainer.as_ref();
        trainer.map_or(&[], |trainer| trainer.interval_adjustments())
    }

    /// The recipe that is trained.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The current position of the run.
    ///
    /// # Errors
    /// [`Error::Failed`] after an error of [`TrainingRun::train`].
    pub fn position(&self) -> Result<&Position> {
        let trainer = self.trainer.as_ref().ok_or_else(no_trainer)?;
        Ok(trainer.position())
    }

    /// Whether the training data are streamed, because the device cannot hold them.
    pub fn streams(&self) -> bool {
        self.trainer.as_ref().is_some_and(Trainer::streams)
    }

    /// The steps of the chunks of time of which only the states before them are kept for the
    /// backward pass; `None` where everything is kept.
    pub fn chunk_steps(&self) -> Option<usize> {
        self.trainer.as_ref().and_then(Trainer::chunk_steps)
    }

    /// The step of the newest checkpoint that can be read from the disk now.
    pub fn saved_step(&self) -> Option<usize> {
        self.saver.step_on_disk()
    }

    /// Whether the run directory is still there: neither removed nor replaced.
    pub fn is_there(&self) -> bool {
        self.saver.directory().is_there()
    }

    /// The run directory.
    pub fn path(&self) -> &Path {
        self.saver.directory().path()
    }
}

fn no_trainer() -> Error {
    Error::Failed("the run has ended with an error; resume it from its directory".into())
}

/// Reports a warning.
fn warn(observer: &mut RunObserver, warning: RunWarning) -> Result<()> {
    observer(RunEvent::Warning(warning)).map(|_| ())
}

/// Reports a warning, if there is one.
fn warn_of(observer: &mut RunObserver, warning: Option<RunWarning>) -> Result<()> {
    warning.map_or(Ok(()), |warning| warn(observer, warning))
}
