//! The trials of a rung, trained on several threads that share the device.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::backend::OpenDevice;
use crate::data::Splits;
use crate::error::{Error, Result};
use crate::io::disk;
use crate::recipe::Recipe;
use crate::train::checkpoint::Checkpoint;
use crate::train::{Event, Trainer};

/// A trial that is to be trained up to an epoch.
pub(super) struct TrialJob {
    /// The index of the trial.
    pub index: usize,
    /// Its recipe, or why it has none.
    pub recipe: Result<Recipe, String>,
    /// The file of its checkpoint, which may exist.
    pub checkpoint: PathBuf,
    pub epochs: usize,
}

/// What all jobs share.
pub(super) struct SearchSetting<'a> {
    /// The recipe whose data are `data`.
    pub base: &'a Recipe,
    pub data: &'a Splits,
    pub stop: &'a AtomicBool,
    pub deadline: Option<Instant>,
}

/// The result of a job, or why the trial is given up.
pub(super) struct TrialMessage {
    pub index: usize,
    pub result: Result<RungResult, String>,
}

/// A trial at the end of a rung.
pub(super) struct RungResult {
    /// The lowest validation loss.
    pub loss: f64,
    /// Finished epochs.
    pub epochs: usize,
}

impl SearchSetting<'_> {
    fn is_over(&self) -> bool {
        let is_late = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        is_late || self.stop.load(Ordering::Relaxed)
    }
}

/// Trains jobs on `threads` threads and hands the results to `receive` on this one. On the CPU each
/// thread has its part of the cores; a GPU plays short submissions of all trials in turn.
///
/// # Errors
/// The first of `receive`, and those of trainers that are not the trial's own.
pub(super) fn play(
    jobs: Vec<TrialJob>,
    threads: usize,
    device: &OpenDevice,
    setting: &SearchSetting,
    receive: &mut dyn FnMut(TrialMessage) -> Result<()>,
) -> Result<()> {
    let threads = threads.clamp(1, jobs.len().max(1));
    let cores = (rayon::current_num_threads() / threads).max(1);
    let queue = Mutex::new(VecDeque::from(jobs));
    let is_failing = AtomicBool::new(false);
    let (sender, results) = channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, device) = (sender.clone(), device.duplicate());
            let (queue, is_failing) = (&queue, &is_failing);
            scope.spawn(move || {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(cores).build();
                let played = match pool {
                    Ok(pool) => {
                        pool.install(|| take_jobs(queue, &device, setting, is_failing, &sender))
                    }
                    Err(error) => Err(Error::Failed(format!("no threads: {error}"))),
                };
                if let Err(error) = played {
                    is_failing.store(true, Ordering::Relaxed);
                    // The receiver is there until all threads have ended.
                    let _ = sender.send(Err(error));
                }
            });
        }
        drop(sender);
        let mut first = Ok(());
        for result in results {
            let received = result.and_then(&mut *receive);
            if let Err(error) = received
                && first.is_ok()
            {
                is_failing.store(true, Ordering::Relaxed);
                first = Err(error);
            }
        }
        first
    })
}

/// Trains jobs from the queue until it is empty or the search is over.
fn take_jobs(
    queue: &Mutex<VecDeque<TrialJob>>,
    device: &OpenDevice,
    setting: &SearchSetting,
    is_failing: &AtomicBool,
    sender: &Sender<Result<TrialMessage>>,
) -> Result<()> {
    loop {
        let next = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let Some(job) = next else {
            return Ok(());
        };
        if setting.is_over() || is_failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        let result = match &job.recipe {
            Err(problem) => Some(Err(problem.clone())),
            Ok(recipe) => train(&job, recipe, device, setting, is_failing)?,
        };
        if let Some(result) = result {
            let index = job.index;
            let _ = sender.send(Ok(TrialMessage { index, result }));
        }
    }
}

/// Trains a trial from its checkpoint up to the end of the rung, and saves it. Returns `None` where
/// the search is over before.
fn train(
    job: &TrialJob,
    recipe: &Recipe,
    device: &OpenDevice,
    setting: &SearchSetting,
    is_failing: &AtomicBool,
) -> Result<Option<Result<RungResult, String>>> {
    match train_once(job, recipe, device, setting, is_failing) {
        Ok(done) => Ok(done.map(Ok)),
        Err(error) if is_of_trial(&error) => Ok(Some(Err(error.to_string()))),
        Err(error) => Err(error),
    }
}

/// Whether an error comes from the values of a trial: one that is too large or diverges.
fn is_of_trial(error: &Error) -> bool {
    matches!(error, Error::NotFinite { .. } | Error::Data { .. })
        || error.is_usage()
        || error.is_lack_of_room()
}

fn train_once(
    job: &TrialJob,
    recipe: &Recipe,
    device: &OpenDevice,
    setting: &SearchSetting,
    is_failing: &AtomicBool,
) -> Result<Option<RungResult>> {
    let data = data_of(recipe, setting)?;
    let mut trainer = Trainer::load(recipe, &data, device)?;
    // A checkpoint that is damaged is written again.
    if let Ok(checkpoint) = Checkpoint::load(&job.checkpoint) {
        trainer.restore(&checkpoint)?;
    }
    let is_over = || setting.is_over() || is_failing.load(Ordering::Relaxed);
    if trainer.position().epochs < job.epochs {
        trainer.run(&mut |trainer, event| {
            let is_done =
                matches!(event, Event::Epoch(_)) && trainer.position().epochs >= job.epochs;
            Ok(if is_done || is_over() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        save(&job.checkpoint, &trainer.checkpoint()?)?;
    }
    let position = trainer.position();
    let has_stalled = position.epochs > 0 && !is_over();
    if position.epochs < job.epochs && !has_stalled {
        return Ok(None);
    }
    let best = position.best.as_ref();
    let loss = best.map_or(f64::INFINITY, crate::train::EpochMetrics::monitored_loss);
    let epochs = position.epochs;
    Ok(Some(RungResult { loss, epochs }))
}

/// The data of a trial: those of the search where it changes nothing of them; without the test
/// split.
fn data_of(recipe: &Recipe, setting: &SearchSetting) -> Result<Splits> {
    let mut data = if recipe.data == setting.base.data {
        setting.data.clone()
    } else {
        recipe.load_splits(None)?
    };
    data.test = None;
    super::check_validation(&data)?;
    Ok(data)
}

fn save(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let bytes = checkpoint
        .to_bytes()
        .map_err(|problem| Error::file(path, problem))?;
    disk::write_whole(path, &bytes)
        .map_err(|error| Error::file(path, format!("cannot be written: {error}")))
}
