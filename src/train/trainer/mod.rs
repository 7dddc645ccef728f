//! The training loop.

mod evaluating;
mod intervals;
#[cfg(feature = "report")]
mod played;
mod range;
mod saving;
mod testing;
mod timing;

use std::ops::ControlFlow;
use std::sync::Arc;

use evaluating::check_shared;
pub use intervals::IntervalAdjustment;
#[cfg(feature = "report")]
pub(crate) use played::{PlayedRun, PlayedSplit};
pub(crate) use timing::UpdateTime;

use super::checks::check_data;
use super::checksums::DataChecksums;
use super::clock::Instant;
use super::diagnose::{Diagnosis, Finding, run_call_by_call};
use super::events::{Ending, EpochMetrics, Event, Observer, Progress};
use super::feed::{Feed, StepRecord, StepRunner};
use super::heads::{HeadMetrics, HeadScores, head_scores};
use super::position::{Position, Totals};
use super::recording::{RecordedSplit, Recording};
use super::scores::{Scores, SplitMetrics};
use crate::backend::OpenDevice;
use crate::backend::device::Device;
use crate::backend::executor::Executor;
use crate::data::{Split, Splits, Targets};
use crate::distributed::Ranks;
use crate::error::{Error, Result};
use crate::metrics::bits;
use crate::program::Phase;
use crate::recipe::Recipe;
use crate::recipe::schedule::RunProgress;
use crate::record::RecordedNetwork;
use crate::record::update::RecordedUpdate;
use crate::rng::{Philox, Stream};

/// The advice at the end of messages on values that are not finite.
const NOT_FINITE_ADVICE: &str =
    "training cannot go on. A lower learning rate or clip_norm may help.";

/// A network in training on a device.
///
/// # Examples
/// ```
/// use std::ops::ControlFlow;
///
/// use gatescan::{Device, Ending, Event, Recipe, Trainer};
///
/// let mut recipe = Recipe::load("series")?;
/// recipe.epochs = 1;
/// recipe.steps = Some(3);
/// recipe.network.set_hidden_size(4);
/// let data = recipe.data.source().made_up(300, recipe.seed).expect("its data are made up");
/// let mut trainer = Trainer::new(&recipe, &data, &Device::Cpu)?;
/// let ending = trainer.run(&mut |trainer, event| {
///     if let Event::Progress(progress) = event {
///         println!("step {}: loss {:.4}", trainer.position().step, progress.loss);
///     }
///     Ok(ControlFlow::Continue(()))
/// })?;
/// assert_eq!(ending, Ending::Complete);
/// assert_eq!(trainer.position().step, 3);
/// # Ok::<(), gatescan::Error>(())
/// ```
pub struct Trainer {
    recipe: Recipe,
    network: RecordedNetwork,
    executor: Box<dyn Executor>,
    update: RecordedUpdate,
    train: Feed,
    test: Option<RecordedSplit>,
    validation: Option<RecordedSplit>,
    splits: Splits,
    checksums: DataChecksums,
    position: Position,
    /// The flat parameters after the best epoch, where the recipe keeps them.
    best: Option<Vec<f32>>,
    /// The parameters in training, while their average is on the device in their place.
    trained: Option<Vec<f32>>,
    /// How the intervals of the finished model are adjusted, where the recipe has `conformal`.
    intervals: Vec<IntervalAdjustment>,
    /// The processes that train together, where there are several.
    ranks: Option<Arc<dyn Ranks>>,
}

/// What an evaluation of a split finds.
#[derive(Debug, Clone)]
struct SplitScores {
    scores: Scores,
    metrics: Option<SplitMetrics>,
    /// The scores of each of several heads.
    heads: Vec<HeadScores>,
}

/// A pass over the training split, or the part of it that the recipe's `steps` leave.
struct EpochPass {
    /// From 0.
    epoch: usize,
    /// Steps of the pass.
    steps: usize,
    /// Sequences of the pass.
    sequences: usize,
    /// Sequences that were done when the pass began or was resumed.
    resumed_at: usize,
    start: Instant,
}

impl EpochPass {
    /// Sequences that are done. A batch that `steps` cut off counts as whole.
    fn done(&self, feed: &Feed) -> usize {
        feed.finished(feed.done()).min(self.sequences)
    }

    fn sequences_per_second(&self, feed: &Feed) -> f64 {
        // A coarse clock may show no time at all for an epoch.
        let seconds = self.start.elapsed().as_secs_f64().max(1e-9);
        (self.done(feed) - self.resumed_at) as f64 / seconds
    }
}

impl Trainer {
    /// Records the recipe's network for `data`, loads it on `device` and sets its initial
    /// parameters.
    ///
    /// # Errors
    /// Those of an invalid recipe, of data that do not fit it, and of a device that cannot hold it.
    pub fn new(recipe: &Recipe, data: &Splits, device: &Device) -> Result<Trainer> {
        Trainer::load(recipe, data, &OpenDevice::open(device)?)
    }

    /// [`Trainer::new`] on an opened device.
    ///
    /// # Errors
    /// Those of [`Trainer::new`].
    pub fn load(recipe: &Recipe, data: &Splits, device: &OpenDevice) -> Result<Trainer> {
        Trainer::load_shared(recipe, data, device, None)
    }

    /// [`Trainer::load`] as one of several processes that train together. Each takes its share of
    /// every batch, so the recipe must have `parallel.micro_batches` that their number divides.
    /// [`Trainer::run`] and [`Trainer::test`] then wait for the other processes, and a break of one
    /// of them stops all after the same update.
    ///
    /// # Errors
    /// Those of [`Trainer::load`]; [`Error::Usage`] for a recipe or data that processes cannot
    /// share, or that differ between them.
    pub fn load_shared(
        recipe: &Recipe,
        data: &Splits,
        device: &OpenDevice,
        ranks: Option<Arc<dyn Ranks>>,
    ) -> Result<Trainer> {
        recipe.validate()?;
        let ranks = ranks.filter(|ranks| ranks.count() > 1);
        if let Some(ranks) = &ranks {
            check_shared(recipe, ranks.as_ref())?;
        }
        if recipe.conformal && data.validation.is_none() {
            return Err(Error::usage(
                "conformal is set, but there is no validation split to adjust intervals to; set \
                 data.validation_fraction, as in 0.2, or leave out conformal",
            ));
        }
        let train = &data.train;
        let network = recipe.network_for(train, &data.preparation)?;
        check_data(&network, train)?;
        if let Some(validation) = &data.validation {
            check_data(&network, validation)?;
        }
        if let Some(test) = &data.test {
            check_data(&network, test)?;
        }
        let of_ranks = (device, ranks.as_ref());
        let (recording, mut executor) = Recording::load(recipe, &network, data, of_ranks)?;
        let parameters = &recording.network.parameters;
        let initial = network.initial(recipe.seed);
        executor.write(parameters, &initial)?;
        recording.update.initialise(executor.as_mut())?;
        if let Some(average) = recording.update.average() {
            executor.write(&average, &initial)?;
        }
        // Both read all of the data, which for large ones is what the first step waits for.
        let device = executor.as_mut();
        let (uploaded, checksums) = rayon::join(
            || recording.upload(device, data),
            || DataChecksums::of(data),
        );
        uploaded?;
        Ok(Trainer {
            recipe: recipe.clone(),
            network: recording.network,
            executor,
            update: recording.update,
            train: recording.train,
            test: recording.test,
            validation: recording.validation,
            splits: data.clone(),
            checksums: checksums?,
            position: Position::default(),
            best: None,
            trained: None,
            intervals: vec![],
            ranks,
        })
    }

    /// Trains until the recipe's epochs or steps are done, until the loss has not fallen for the
    /// recipe's patience, or until `observe` breaks. Starts at the current position, so it also
    /// resumes after a break or [`Trainer::restore`].
    ///
    /// # Errors
    /// Those of the device and of `observe`; [`Error::NotFinite`] where a loss or a gradient's norm
    /// is not finite.
    pub fn run(&mut self, observe: &mut Observer) -> Result<Ending> {
        let ending = self.run_until(usize::MAX, observe)?;
        if ending != Ending::Interrupted {
            self.adjust_intervals()?;
        }
        Ok(ending)
    }

    /// [`Trainer::run`] up to update `last`. Stops after it as interrupted.
    fn run_until(&mut self, last: usize, observe: &mut Observer) -> Result<Ending> {
        loop {
            if let Some(ending) = self.ending() {
                return Ok(ending);
            }
            let start = Instant::now();
            let Some(sequences_per_second) = self.train_epoch(last, observe)? else {
                return Ok(Ending::Interrupted);
            };
            // With a validation split, test data are scored once, by `Trainer::test`.
            let split = if self.validation.is_some() {
                Split::Validation
            } else {
                Split::Test
            };
            self.show_average()?;
            let evaluated = self.evaluate_split(split, observe);
            self.show_trained()?;
            let ControlFlow::Continue(scores) = evaluated? else {
                return Ok(Ending::Interrupted);
            };
            let scores = match split {
                Split::Validation => [None, scores],
                Split::Train | Split::Test => [scores, None],
            };
            let metrics = EpochMetrics {
                sequences_per_second,
                seconds: start.elapsed().as_secs_f64(),
                ..self.epoch_metrics(scores)
            };
            self.end_epoch(&metrics)?;
            let flow = observe(self, Event::Epoch(&metrics))?;
            if self.stops(flow) && self.ending().is_none() {
                return Ok(Ending::Interrupted);
            }
        }
    }

    /// Why the run is over, if it is.
    fn ending(&self) -> Option<Ending> {
        let Position { step, epochs, .. } = self.position;
        let patience = self.recipe.patience.unwrap_or(usize::MAX);
        if step > epochs * self.train.steps() {
            // In the middle of an epoch, or before its evaluation.
            None
        } else if step >= self.last_step() {
            Some(Ending::Complete)
        } else {
            (self.position.stalled() >= patience).then_some(Ending::Stalled)
        }
    }

    /// Trains one epoch, or the rest of one. Returns the sequences per second, or `None` where the
    /// observer or the update `last` stopped it.
    fn train_epoch(&mut self, last: usize, observe: &mut Observer) -> Result<Option<f64>> {
        let pass = self.begin_epoch()?;
        while self.train.done() < pass.steps {
            if self.position.step >= last {
                return Ok(None);
            }
            let records = self.play_steps(&pass, last)?;
            self.check_finite(&pass, &records)?;
            let progress = self.count_steps(&pass, &records);
            let flow = observe(self, Event::Progress(&progress))?;
            // After the epoch's last step there is nothing to stop.
            if self.stops(flow) && self.train.done() < pass.steps {
                return Ok(None);
            }
        }
        self.check_equal_parameters()?;
        Ok(Some(pass.sequences_per_second(&self.train)))
    }

    /// Starts the pass of the current epoch at the current position.
    fn begin_epoch(&mut self) -> Result<EpochPass> {
        let epoch = self.position.epochs;
        let mut shuffle = Philox::new(self.recipe.seed, Stream::Shuffle(epoch as u32));
        let order = shuffle.permutation(self.train.count());
        let before = epoch * self.train.steps();
        let done = self.position.step - before;
        let steps = self.train.steps().min(self.last_step() - before);
        self.train_runner().begin(order, done)?;
        let feed = &self.train;
        let batches = steps.div_ceil(feed.chunks());
        let mut pass = EpochPass {
            epoch,
            steps,
            sequences: feed.finished(batches * feed.chunks()),
            resumed_at: 0,
            start: Instant::now(),
        };
        pass.resumed_at = pass.done(feed);
        Ok(pass)
    }

    /// Plays the steps of the next submission, up to the next checkpoint and at most to update
    /// `last`.
    fn play_steps(&mut self, pass: &EpochPass, last: usize) -> Result<Vec<StepRecord>> {
        let step = self.position.step;
        let every = self.recipe.checkpoint.every_steps.unwrap_or(usize::MAX);
        let until_checkpoint = every - step % every;
        let limit = until_checkpoint
            .min(last - step)
            .min(pass.steps - self.train.done());
        let count = self.train_runner().next_count(limit);
        self.write_rates(count)?;
        self.train_runner().play(count)
    }

    /// Adds the records to the epoch's totals. Returns an error for the first whose loss or norm is
    /// not finite.
    fn check_finite(&mut self, pass: &EpochPass, records: &[StepRecord]) -> Result<()> {
        let before = self.train.done() - records.len();
        for (n, record) in records.iter().enumerate() {
            self.position.totals.add(record);
            if !record.is_finite {
                return Err(Error::NotFinite {
                    step: self.position.step + n + 1,
                    problem: format!(
                        "at step {} of epoch {} the loss is {} and the gradient's norm {}: \
                         {NOT_FINITE_ADVICE}",
                        before + n + 1,
                        pass.epoch + 1,
                        record.loss,
                        record.norm,
                    ),
                });
            }
        }
        Ok(())
    }

    /// Counts the steps and returns the epoch's progress.
    fn count_steps(&mut self, pass: &EpochPass, records: &[StepRecord]) -> Progress {
        let every = self.recipe.report_every;
        let step_losses: Vec<f32> = records.iter().map(|record| record.loss).collect();
        let reports = step_losses
            .iter()
            .filter_map(|&loss| self.position.count_step(loss, every));
        let reports = reports.collect();
        let totals = &self.position.totals;
        Progress {
            epoch: pass.epoch + 1,
            epochs: self.recipe.epochs,
            sequences: pass.done(&self.train),
            total: pass.sequences,
            loss: totals.loss(),
            accuracy: self.accuracy(totals),
            sequences_per_second: pass.sequences_per_second(&self.train),
            step_losses,
            reports,
            heads: head_scores(&self.network, totals),
        }
    }

    /// Puts the average of the parameters in their place, if the recipe has one.
    fn show_average(&mut self) -> Result<()> {
        match self.update.average() {
            Some(average) => {
                let average = self.executor.read(&average)?;
                self.show(&average)
            }
            None => Ok(()),
        }
    }

    /// Puts `parameters` in the place of those in training, for an evaluation.
    fn show(&mut self, parameters: &[f32]) -> Result<()> {
        self.trained = Some(self.executor.read(&self.network.parameters)?);
        self.executor.write(&self.network.parameters, parameters)
    }

    /// Puts the parameters in training back in their place.
    fn show_trained(&mut self) -> Result<()> {
        match self.trained.take() {
            Some(trained) => self.executor.write(&self.network.parameters, &trained),
            None => Ok(()),
        }
    }

    /// The parameters of the model at the current position: those in training, or their average.
    fn model_parameters(&mut self) -> Result<Vec<f32>> {
        let tensor = self.update.average().unwrap_or(self.network.parameters);
        self.executor.read(&tensor)
    }

    /// The metrics of the epoch that is over, without its times, where test and validation split
    /// have these scores.
    fn epoch_metrics(&self, evaluated: [Option<SplitScores>; 2]) -> EpochMetrics {
        let [test_metrics, validation_metrics] =
            [0, 1].map(|n| evaluated[n].as_ref().and_then(|split| split.metrics));
        let [tested, validated] = [0, 1].map(|n| evaluated[n].as_ref().map(|split| split.scores));
        let (network, trained) = (&self.network.network, &self.position.totals);
        let [tested_heads, validated_heads] =
            evaluated.map(|split| split.map_or(vec![], |split| split.heads));
        let trained_heads = head_scores(&self.network, trained);
        let heads = [&trained_heads[..], &validated_heads, &tested_heads];
        let test_loss = tested.map(|scores| scores.loss);
        EpochMetrics {
            epoch: self.position.epochs + 1,
            train_loss: trained.loss(),
            train_accuracy: self.accuracy(trained),
            train_last_step_loss: trained.last_step_loss(network, &self.train),
            test_loss,
            test_accuracy: tested.and_then(|scores| scores.accuracy),
            test_last_step_loss: tested.and_then(|scores| scores.last_step_loss),
            validation_loss: validated.map(|scores| scores.loss),
            validation_accuracy: validated.and_then(|scores| scores.accuracy),
            validation_last_step_loss: validated.and_then(|scores| scores.last_step_loss),
            test_bits: test_loss.filter(|_| self.is_text()).map(bits),
            validation_metrics,
            test_metrics,
            heads: HeadMetrics::of(network, heads),
            sequences_per_second: 0.0,
            seconds: 0.0,
        }
    }

    /// Counts the epoch, and keeps its parameters where it is the best so far and the recipe keeps
    /// the best.
    fn end_epoch(&mut self, metrics: &EpochMetrics) -> Result<()> {
        self.position.totals = Totals::default();
        let loss = metrics.monitored_loss();
        if !loss.is_finite() {
            return Err(Error::NotFinite {
                step: self.position.step,
                problem: format!(
                    "after epoch {} the monitored loss is {loss}: {NOT_FINITE_ADVICE}",
                    metrics.epoch,
                ),
            });
        }
        if self.position.count_epoch(metrics, &self.recipe.schedule) {
            self.position.best_step = Some(self.position.step);
            if self.recipe.keep_best {
                self.best = Some(self.model_parameters()?);
            }
        }
        Ok(())
    }

    /// Plays the run from the current position up to update `step`, the last two updates call by
    /// call, and searches for the first call that writes a value that is not finite. The updates
    /// before are played as in training.
    ///
    /// # Errors
    /// Those of the device; [`Error::NotFinite`] where an update before the last two has that
    /// problem.
    pub fn diagnose(&mut self, step: usize) -> Result<Diagnosis> {
        let start = self.position.step.min(step);
        // Parameters that an update has made too large may not show before the next step.
        let first = step.saturating_sub(2).max(start);
        let steps = first + 1..=step;
        self.run_until(first, &mut |_, _| Ok(ControlFlow::Continue(())))?;
        for _ in first..step {
            let finding = self.examine_step()?;
            if finding.is_some() {
                return Ok(Diagnosis { steps, finding });
            }
            // Ends the epoch where that was its last step, and begins the next one.
            let next = self.position.step;
            match self.run_until(next, &mut |_, _| Ok(ControlFlow::Continue(()))) {
                Err(Error::NotFinite { .. }) => break,
                ended => ended?,
            };
        }
        let finding = None;
        Ok(Diagnosis { steps, finding })
    }

    /// Plays the next step call by call and checks what each call writes.
    fn examine_step(&mut self) -> Result<Option<Finding>> {
        self.write_rates(1)?;
        let (step, program) = (self.position.step + 1, self.network.program.clone());
        let mut finding = None;
        let records = self.train_runner().play_by(1, |executor, phases, _| {
            if finding.is_none() {
                finding = run_call_by_call(executor, &program, phases, step)?;
            }
            Ok(())
        })?;
        for record in &records {
            self.position.totals.add(record);
            self.position
                .count_step(record.loss, self.recipe.report_every);
        }
        Ok(finding)
    }

    /// Updates of the whole run, where it does not stop early.
    pub fn last_step(&self) -> usize {
        let steps = self.recipe.epochs * self.train.steps();
        self.recipe.steps.unwrap_or(steps).min(steps)
    }

    /// Whether the training data are streamed, because the device cannot hold them.
    pub fn streams(&self) -> bool {
        self.train.streams()
    }

    /// The steps of the chunks of time of which only the states before them are kept for the
    /// backward pass; `None` where everything is kept.
    pub fn chunk_steps(&self) -> Option<usize> {
        self.network.chunk_steps()
    }

    /// The split that decides on the best epoch: validation, else test, else training.
    pub(crate) fn monitored_split(&self) -> Split {
        if self.validation.is_some() {
            Split::Validation
        } else if self.test.is_some() {
            Split::Test
        } else {
            Split::Train
        }
    }

    /// The current position of the run.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The epoch that [`Trainer::model`] comes from, where the recipe keeps the best.
    pub fn best(&self) -> Option<&EpochMetrics> {
        self.best.as_ref().and(self.position.best.as_ref())
    }

    /// Writes the learning rates of the next `count` updates.
    fn write_rates(&mut self, count: usize) -> Result<()> {
        self.write_rates_of_steps(&self.rates(count))
    }

    /// Writes these learning rates of the next updates.
    fn write_rates_of_steps(&mut self, rates: &[f32]) -> Result<()> {
        let rates = self.train.by_batch(rates);
        let rows = self.update.rates.part(0, [rates.len()]);
        self.executor.write(&rows, &rates)
    }

    /// The learning rates of the next `count` updates.
    fn rates(&self, count: usize) -> Vec<f32> {
        let rate = |n: usize| self.rate_at(self.position.step + n, self.position.epochs);
        (0..count).map(rate).collect()
    }

    /// The learning rate of the update after `step` updates and `epochs` epochs.
    fn rate_at(&self, step: usize, epochs: usize) -> f32 {
        let progress = RunProgress {
            step,
            steps: self.last_step(),
            epochs,
            plateaus: self.position.plateaus.count(),
        };
        let factor = self.recipe.schedule.factor(&progress);
        (f64::from(self.recipe.optimizer.learning_rate()) * factor) as f32
    }

    /// The runner of training steps.
    fn train_runner(&mut self) -> StepRunner<'_> {
        StepRunner {
            feed: &mut self.train,
            data: &self.splits.train,
            executor: self.executor.as_mut(),
            phases: &Phase::TRAIN,
        }
    }

    /// The runner of a split's steps.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such split.
    fn runner(&mut self, split: Split) -> Result<StepRunner<'_>> {
        match split {
            Split::Train => Ok(self.train_runner()),
            Split::Test => {
                let test = self.test.as_mut().zip(self.splits.test.as_deref());
                let (split, data) = test.ok_or_else(|| Error::usage("there is no test split"))?;
                Ok(StepRunner {
                    feed: &mut split.feed,
                    data,
                    executor: self.executor.as_mut(),
                    phases: &[Phase::Evaluate],
                })
            }
            Split::Validation => {
                let (split, data) = (self.validation.as_mut())
                    .zip(self.splits.validation.as_deref())
                    .ok_or_else(|| Error::usage("there is no validation split"))?;
                Ok(StepRunner {
                    feed: &mut split.feed,
                    data,
                    executor: self.executor.as_mut(),
                    phases: &[Phase::Validate],
                })
            }
        }
    }

    fn accuracy(&self, totals: &Totals) -> Option<f64> {
        let classifies = matches!(self.splits.train.targets, Targets::Classes { .. });
        classifies.then(|| totals.accuracy())
    }
}
