//! A search for hyperparameters: random trials (Bergstra & Bengio 2012) with successive halving
//! (Jamieson & Talwalkar 2016).
//!
//! Every trial is trained for a few epochs, the better third of them for three times as many, and
//! so on up to the recipe's epochs. Trials are judged by their lowest validation loss; the test
//! split is dropped before the first of them. The values of a trial follow from the seed and its
//! number, so the result depends neither on the number of jobs nor on interruptions.

mod directory;
mod rungs;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use directory::{BEST, SearchDirectory, TRIALS};

use crate::backend::OpenDevice;
use crate::data::Splits;
use crate::error::{Error, Result};
use crate::recipe::{Recipe, TuneSpace, TuneValues};
use crate::rng::{Philox, Stream};
use rungs::{rungs, survivors};
use work::{TrialJob, TrialMessage};

/// What a search does; see [`HyperparameterSearch`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchPlan {
    /// The recipe that trials change; its `tune` has the ranges.
    pub recipe: Recipe,
    /// The number of trials, at least 1.
    pub trials: usize,
    /// Determines the values of the trials.
    pub seed: u64,
}

/// How a search is carried out. Nothing here changes a trial's result.
#[derive(Debug, Clone)]
pub struct SearchOptions {
    /// Trials that are trained at the same time.
    pub jobs: usize,
    /// The time after which the search ends with the best trial so far.
    pub limit: Duration,
    /// Once this is true, the search stops and keeps what is done.
    pub stop: Arc<AtomicBool>,
}

/// A trial and what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchTrial {
    /// From 1.
    pub number: usize,
    pub values: TuneValues,
    /// The lowest validation loss up to the end of each rung that the trial has finished.
    pub losses: Vec<f64>,
    /// Epochs that are finished.
    pub epochs: usize,
    /// Why it was given up, if it was.
    pub failure: Option<String>,
}

impl SearchTrial {
    /// The lowest validation loss so far, of a trial that has not failed.
    pub fn loss(&self) -> Option<f64> {
        let last = self.losses.last().copied();
        last.filter(|_| self.failure.is_none())
    }
}

/// Something that a search reports.
#[derive(Debug)]
#[non_exhaustive]
pub enum SearchEvent<'a> {
    /// So many trials are trained up to this epoch.
    Rung { trials: usize, epochs: usize },
    /// A trial has finished a rung or has failed.
    Trial(&'a SearchTrial),
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchEnding {
    /// Every rung is done.
    Complete,
    /// The time was over.
    TimeOver,
    /// It was stopped.
    Stopped,
}

/// A search for hyperparameters with its directory.
pub struct HyperparameterSearch {
    plan: SearchPlan,
    trials: Vec<SearchTrial>,
    directory: SearchDirectory,
}

impl SearchPlan {
    /// The ranges.
    fn space(&self) -> Result<&TuneSpace> {
        let space = self.recipe.tune.as_ref();
        space.ok_or_else(|| Error::usage("the recipe has no [tune] table with the ranges"))
    }

    /// Checks recipe, ranges and the number of trials.
    fn validate(&self) -> Result<()> {
        self.recipe.validate()?;
        self.space()?.validate()?;
        if self.trials == 0 || self.trials > MOST_TRIALS {
            return Err(Error::usage(format!(
                "trials is {}; it must be at least 1 and at most {MOST_TRIALS}",
                self.trials
            )));
        }
        Ok(())
    }

    /// The values of each trial.
    fn trials(&self) -> Result<Vec<SearchTrial>> {
        let space = self.space()?;
        let trial = |n: usize| SearchTrial {
            number: n + 1,
            values: space.draw(&mut Philox::new(self.seed, Stream::Tune(n as u32))),
            losses: vec![],
            epochs: 0,
            failure: None,
        };
        Ok((0..self.trials).map(trial).collect())
    }

    /// The recipe of a trial.
    fn recipe_of(&self, trial: &SearchTrial) -> Result<Recipe> {
        self.space()?.apply(&self.recipe, &trial.values)
    }
}

/// The most trials of a search.
const MOST_TRIALS: usize = 100_000;

impl HyperparameterSearch {
    /// Creates the directory `out` of a new search, or `tune-<recipe>-<time>` in `runs`.
    ///
    /// # Errors
    /// Those of an invalid plan; [`Error::Usage`] where `out` holds something;
    /// [`Error::File`] where it cannot be written.
    pub fn start(plan: SearchPlan, out: Option<PathBuf>) -> Result<HyperparameterSearch> {
        plan.validate()?;
        let trials = plan.trials()?;
        let directory = SearchDirectory::create(out, &plan.recipe.name)?;
        directory.write(&plan, &trials)?;
        Ok(HyperparameterSearch {
            plan,
            trials,
            directory,
        })
    }

    /// Opens the directory of a search that was stopped or killed.
    ///
    /// # Errors
    /// [`Error::File`] where there is no search, it is damaged, or another process is at work in
    /// it.
    pub fn resume(path: PathBuf) -> Result<HyperparameterSearch> {
        let (directory, plan, trials) = SearchDirectory::open(path)?;
        plan.validate()?;
        Ok(HyperparameterSearch {
            plan,
            trials,
            directory,
        })
    }

    /// Trains the trials that are not done, until all rungs are, the time is over, or it is
    /// stopped. `data` are those of the recipe, of which the test split is not used.
    ///
    /// # Errors
    /// [`Error::Usage`] without a validation split; [`Error::Failed`] where every trial has failed;
    /// those of the device, of the directory, and of the observer.
    pub fn run(
        &mut self,
        data: &Splits,
        device: &OpenDevice,
        options: &SearchOptions,
        observe: &mut dyn FnMut(SearchEvent) -> Result<()>,
    ) -> Result<SearchEnding> {
        check_validation(data)?;
        let start = Instant::now();
        let rungs = rungs(self.plan.trials, self.plan.recipe.epochs);
        for (rung, &epochs) in rungs.iter().enumerate() {
            let alive = survivors(&self.trials, rung);
            let waiting = alive.iter().copied();
            let waiting: Vec<usize> = waiting
                .filter(|&n| self.trials[n].losses.len() <= rung)
                .collect();
            if waiting.is_empty() {
                continue;
            }
            observe(SearchEvent::Rung {
                trials: alive.len(),
                epochs,
            })?;
            let jobs = self.jobs(&waiting, epochs)?;
            self.play(jobs, data, device, (options, start), observe)?;
            if options.stop.load(Ordering::Relaxed) {
                return Ok(SearchEnding::Stopped);
            }
            if start.elapsed() >= options.limit {
                return Ok(SearchEnding::TimeOver);
            }
            if self.trials.iter().all(|trial| trial.failure.is_some()) {
                return Err(self.all_failed());
            }
        }
        Ok(SearchEnding::Complete)
    }

    /// The jobs that train trials up to an epoch.
    fn jobs(&self, trials: &[usize], epochs: usize) -> Result<Vec<TrialJob>> {
        let job = |&index: &usize| {
            let trial = &self.trials[index];
            Ok(TrialJob {
                index,
                recipe: self
                    .plan
                    .recipe_of(trial)
                    .map_err(|error| error.to_string()),
                checkpoint: self.directory.checkpoint(trial.number),
                epochs,
            })
        };
        trials.iter().map(job).collect()
    }

    /// Plays jobs on several threads, and writes each result.
    fn play(
        &mut self,
        jobs: Vec<TrialJob>,
        data: &Splits,
        device: &OpenDevice,
        (options, start): (&SearchOptions, Instant),
        observe: &mut dyn FnMut(SearchEvent) -> Result<()>,
    ) -> Result<()> {
        let setting = work::SearchSetting {
            base: &self.plan.recipe,
            data,
            stop: &options.stop,
            deadline: start.checked_add(options.limit),
        };
        let (plan, trials, directory) = (&self.plan, &mut self.trials, &self.directory);
        work::play(jobs, options.jobs, device, &setting, &mut |message| {
            let TrialMessage { index, result } = message;
            let trial = &mut trials[index];
            match result {
                Ok(done) => {
                    trial.losses.push(done.loss);
                    trial.epochs = done.epochs;
                }
                Err(failure) => trial.failure = Some(failure),
            }
            directory.write(plan, trials)?;
            observe(SearchEvent::Trial(&trials[index]))
        })
    }

    fn all_failed(&self) -> Error {
        let mut failures = self
            .trials
            .iter()
            .filter_map(|trial| trial.failure.as_ref());
        let first = failures.next().map_or("", String::as_str);
        Error::Failed(format!(
            "every trial has failed; the first because: {first}; change the ranges"
        ))
    }

    /// The trials, the best first; those that have failed or not begun are the last.
    pub fn ranked(&self) -> Vec<&SearchTrial> {
        let mut ranked: Vec<&SearchTrial> = self.trials.iter().collect();
        let loss = |trial: &SearchTrial| trial.loss().unwrap_or(f64::INFINITY);
        ranked.sort_by(|a, b| {
            let by_loss = loss(a).total_cmp(&loss(b));
            by_loss.then(a.number.cmp(&b.number))
        });
        ranked
    }

    /// Writes the recipe of the best trial and the table of all of them. Returns the recipe and its
    /// path; `None` where no trial has a result.
    ///
    /// # Errors
    /// [`Error::File`] where they cannot be written.
    pub fn write_results(&self) -> Result<Option<(Recipe, PathBuf)>> {
        self.directory.write_table(&self.ranked())?;
        let ranked = self.ranked();
        let Some(best) = ranked.first().filter(|trial| trial.loss().is_some()) else {
            return Ok(None);
        };
        let mut recipe = self.plan.recipe_of(best)?;
        recipe.name = format!("{}-tuned", recipe.name);
        let path = self.directory.write_best(&recipe)?;
        Ok(Some((recipe, path)))
    }

    /// What the search does.
    pub fn plan(&self) -> &SearchPlan {
        &self.plan
    }

    /// The directory.
    pub fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// The epochs of each rung.
    pub fn rungs(&self) -> Vec<usize> {
        rungs(self.plan.trials, self.plan.recipe.epochs)
    }
}

/// Refuses data without a validation split.
fn check_validation(data: &Splits) -> Result<()> {
    if data.validation.is_some() {
        return Ok(());
    }
    Err(Error::usage(
        "a search judges its trials by a validation split, never by the test split, and the \
         recipe's data have none; set data.validation_fraction, as in 0.1",
    ))
}
