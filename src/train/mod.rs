//! The training loop: one, for every device.

pub mod checkpoint;
pub mod checkpoints;
mod diagnose;
pub(crate) mod feed;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use cpu_time::ThreadTime;
use flate2::Crc;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::backend::OpenDevice;
use crate::backend::device::Device;
use crate::backend::executor::Executor;
use crate::backend::tuning::Tuning;
use crate::data::{Dataset, Inputs, Split, Splits, Targets};
use crate::error::{Error, Result};
use crate::kernels::{Tally, control, history};
use crate::model::Model;
use crate::network::{Loss, Network, Reads};
use crate::program::{Phase, Program};
use crate::recipe::Recipe;
use crate::recipe::schedule::Standing;
use crate::record::update::RecordedUpdate;
use crate::record::{Gradients, RecordedNetwork};
use crate::rng::{Philox, Stream};
use crate::tensor::{Element, Kind, Tensor};
use crate::train::checkpoint::Checkpoint;
use crate::train::feed::{Feed, HISTORY_ROWS, WINDOW, shares};

/// How far an epoch has come; comes a few times a second.
#[derive(Debug, Clone)]
pub struct Progress {
    /// From 1.
    pub epoch: usize,
    pub epochs: usize,
    /// Sequences of this epoch done.
    pub sequences: usize,
    /// Sequences of an epoch.
    pub of: usize,
    /// Means over the epoch so far.
    pub loss: f64,
    pub accuracy: Option<f64>,
    pub sequences_per_second: f64,
    /// The loss of each step since the last of these events.
    pub step_losses: Vec<f32>,
    /// What fell due since then, where the recipe has `report_every`.
    pub reports: Vec<Report>,
}

/// How the recipe's `report_every` last updates went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Report {
    /// Updates so far.
    pub step: usize,
    /// Mean of those updates' losses.
    pub loss: f64,
    /// The loss of the last of them.
    #[serde(skip)]
    pub step_loss: f64,
}

/// What an epoch came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// From 1.
    pub epoch: usize,
    pub train_loss: f64,
    pub train_accuracy: Option<f64>,
    /// Mean over the outputs at the last step of each sequence, where the head reads every step: a forecast is judged by it.
    pub train_last_step_loss: Option<f64>,
    pub test_loss: Option<f64>,
    pub test_accuracy: Option<f64>,
    pub test_last_step_loss: Option<f64>,
    /// The test loss in bits for each character, byte or word of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_bits: Option<f64>,
    /// In training; 0 for an epoch of before a resume.
    pub sequences_per_second: f64,
    /// Training and evaluation together; 0 for an epoch of before a resume.
    pub seconds: f64,
}

impl EpochMetrics {
    /// The loss that plateaus, early stopping and the best epoch are judged by: the test split's, or where there is none
    /// that of training.
    pub fn monitored_loss(&self) -> f64 {
        self.test_loss.unwrap_or(self.train_loss)
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It made the recipe's last update.
    Complete,
    /// The loss was no lower for the recipe's `patience`.
    Stalled,
    /// The observer broke it off.
    Interrupted,
}

/// What a run tells its observer.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    Progress(&'a Progress),
    /// So many sequences of the test split are evaluated. After a break the epoch's end is still to come.
    Evaluating {
        sequences: usize,
        of: usize,
    },
    Epoch(&'a EpochMetrics),
}

/// Hears of every event, with the trainer at hand to save; a break stops the run after the current step.
pub type Observer<'a> = dyn FnMut(&mut Trainer, Event) -> Result<ControlFlow<()>> + 'a;

/// What an evaluation came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Mean over the labelled outputs.
    pub loss: f64,
    pub accuracy: Option<f64>,
    /// Mean over the outputs at the last step of each sequence, where the head reads every step.
    pub last_step_loss: Option<f64>,
    /// `[K]`: labelled outputs by the place of their class among the largest, 0 being the first; where there are classes.
    pub ranks: Option<Vec<u32>>,
    /// `[K, K]`: labelled outputs by true class (row) and predicted class (column); where there are classes, at most
    /// [`Tally::LARGEST_CONFUSION`].
    pub confusion: Option<Array2<u32>>,
    pub sequences: usize,
    pub sequences_per_second: f64,
    pub seconds: f64,
}

impl Evaluation {
    /// Of the labelled outputs, the share whose class is among the `k` largest; `None` where there are no classes.
    pub fn top_k(&self, k: usize) -> Option<f64> {
        let ranks = self.ranks.as_ref()?;
        let count = |ranks: &[u32]| ranks.iter().map(|&count| f64::from(count)).sum::<f64>();
        Some(count(&ranks[..k.min(ranks.len())]) / count(ranks).max(1.0))
    }
}

/// How fast steps are played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Seconds of a step.
    pub step: f64,
    /// Seconds that a thread of the host works for it, to encode and submit, where a device computes it.
    pub host: Option<f64>,
}

/// Where a run stands between two updates.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Updates so far.
    pub step: usize,
    /// The epochs that are over; plateaus, early stopping and the best epoch follow from them.
    pub epochs: Vec<EpochMetrics>,
    /// Updates up to the end of the best of them.
    pub best_step: Option<usize>,
    /// Sums over the epoch that has begun.
    totals: Totals,
    /// The sum of the losses since the last report.
    unreported: f64,
}

/// A model in training on a device.
pub struct Trainer {
    recipe: Recipe,
    model: RecordedNetwork,
    executor: Box<dyn Executor>,
    update: RecordedUpdate,
    train: Feed,
    test: Option<Feed>,
    classifies: bool,
    splits: Splits,
    /// CRC-32 of the training data.
    data: u32,
    position: Position,
    /// The flat vector of parameters after the best epoch, where the recipe keeps it.
    best: Option<Vec<f32>>,
    /// Steps between two readbacks.
    piece: usize,
    /// The update after which a run stops, for [`Trainer::diagnose`].
    pause: Option<usize>,
    /// Whether steps are played one call at a time, and looked at.
    watching: bool,
}

/// A recipe's step and evaluation, recorded.
struct Recording {
    model: RecordedNetwork,
    update: RecordedUpdate,
    train: Feed,
    test: Option<Feed>,
}

impl Recording {
    /// Of all the data, or of windows of `bytes` over them where they are more.
    fn new(
        recipe: &Recipe,
        network: &Network,
        data: &Splits,
        tuning: Tuning,
        bytes: Option<u64>,
    ) -> Result<Recording> {
        let train = &data.train;
        let shares = bytes.map(|bytes| shares(train, data.test.as_deref(), bytes));
        let steps = recipe.bptt_steps.unwrap_or(train.steps).min(train.steps);
        let batch = recipe.batch_size.min(train.count);
        let mut model = RecordedNetwork::new(network, steps, batch, Gradients::OfLoss, tuning)?;
        let feed = Feed::record(
            &mut model,
            Phase::Forward,
            train,
            shares.map(|[own, _]| own),
        )?;
        model.draw_masks(recipe.seed, feed.control);
        model.forward(Phase::Forward);
        model.loss(Phase::Forward);
        model.backward();
        let (optimizer, clip) = (&recipe.optimizer, recipe.clip());
        let update = model.record_update(optimizer, clip, feed.control, HISTORY_ROWS);
        feed.record_end(&mut model, Phase::Update, Some(update.norm));
        let test = data.test.as_ref().map(|test| -> Result<Feed> {
            let feed = Feed::record(
                &mut model,
                Phase::Evaluate,
                test,
                shares.map(|[_, own]| own),
            )?;
            model.forward(Phase::Evaluate);
            model.loss(Phase::Evaluate);
            feed.record_end(&mut model, Phase::Evaluate, None);
            Ok(feed)
        });
        let test = test.transpose()?;
        Ok(Recording {
            model,
            update,
            train: feed,
            test,
        })
    }

    /// The recording, loaded on the place: with the data, or windows over them where they do not fit.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`] where it does not fit. Nothing has been allocated then.
    fn loaded(
        recipe: &Recipe,
        network: &Network,
        data: &Splits,
        place: &OpenDevice,
    ) -> Result<(Recording, Box<dyn Executor>)> {
        let of_size = |batch_size: usize, bytes: Option<u64>| {
            let recipe = Recipe {
                batch_size,
                ..recipe.clone()
            };
            let recording = Recording::new(&recipe, network, data, place.tuning(), bytes)?;
            check_fits(&recording.model.program, place)?;
            Ok(recording)
        };
        let asked = recipe.batch_size.min(data.train.count);
        let largest = |bytes: Option<u64>| {
            // What fits rises to the largest batch size and falls from there.
            let (mut fits, mut too_large) = (0, asked);
            while too_large - fits > 1 {
                let between = fits.midpoint(too_large);
                match of_size(between, bytes) {
                    Ok(_) => fits = between,
                    Err(_) => too_large = between,
                }
            }
            (fits > 0).then_some(fits)
        };
        streamed(place, |bytes| {
            let recording = of_size(asked, bytes).map_err(|error: Error| match error {
                error if bytes.is_some() && error.is_lack_of_room() => Error::BatchTooLarge {
                    largest: largest(bytes),
                    reason: Box::new(error),
                },
                error => error,
            })?;
            let executor = place.load(&recording.model.program)?;
            Ok((recording, executor))
        })
    }
}

/// What `load` makes of so many bytes for the data: as many as the tuning grants, or else all that they are, and where the device
/// refuses that, a window's.
fn streamed<T>(place: &OpenDevice, load: impl Fn(Option<u64>) -> Result<T>) -> Result<T> {
    match place.tuning().data_memory {
        Some(bytes) => load(Some(bytes)),
        None => load(None).or_else(|error| match error {
            error if error.is_lack_of_room() => load(Some(WINDOW)),
            error => Err(error),
        }),
    }
}

/// Refuses a program that the device cannot hold, or whose data take more of it than they are granted.
fn check_fits(program: &Program, place: &OpenDevice) -> Result<()> {
    let takes = program.bytes_of(Kind::Data, size_of::<f32>());
    if let Some(granted) = place
        .tuning()
        .data_memory
        .filter(|&granted| takes > granted)
    {
        return Err(Error::DataMemory {
            granted,
            needed: takes,
        });
    }
    place.check(program)
}

impl Trainer {
    /// Records the recipe's network for `data`, loads it on `device` and sets its initial values.
    ///
    /// # Errors
    /// A recipe that makes no sense, data that do not fit it, a device that cannot hold it.
    pub fn new(recipe: &Recipe, data: &Splits, device: &Device) -> Result<Trainer> {
        Trainer::load(recipe, data, &OpenDevice::open(device)?)
    }

    /// [`Trainer::new`] on a device that is open already.
    ///
    /// # Errors
    /// Those of [`Trainer::new`].
    pub fn load(recipe: &Recipe, data: &Splits, place: &OpenDevice) -> Result<Trainer> {
        recipe.validate()?;
        let train = &data.train;
        let network = recipe.network(train.input_size(), train.targets.outputs())?;
        check_data(&network, train)?;
        if let Some(test) = &data.test {
            check_data(&network, test)?;
            if recipe.bptt_steps.is_none() {
                check_steps(train, test)?;
            }
        }
        let (recording, mut executor) = Recording::loaded(recipe, &network, data, place)?;
        let Recording {
            model,
            update,
            train: feed,
            test,
        } = recording;
        executor.write(&model.parameters, &network.initial(recipe.seed))?;
        update.initialise(executor.as_mut())?;
        feed.upload(executor.as_mut(), train)?;
        if let (Some(feed), Some(test)) = (&test, &data.test) {
            feed.upload(executor.as_mut(), test)?;
        }
        let classifies = matches!(train.targets, Targets::Classes { .. });
        Ok(Trainer {
            recipe: recipe.clone(),
            model,
            executor,
            update,
            train: feed,
            test,
            classifies,
            splits: data.clone(),
            data: checksum(train)?,
            position: Position::default(),
            best: None,
            piece: 1,
            pause: None,
            watching: false,
        })
    }

    /// Trains until the recipe's epochs or steps are done, the loss stalls for longer than its patience, or `observe` breaks;
    /// after a break, and after [`Trainer::restore`], from where it stands.
    ///
    /// # Errors
    /// What the device or `observe` reports; [`Error::NotFinite`] where a loss or a gradient's norm is not finite.
    pub fn run(&mut self, observe: &mut Observer) -> Result<Ending> {
        loop {
            if let Some(ending) = self.ending() {
                return Ok(ending);
            }
            let start = Instant::now();
            let Some(sequences_per_second) = self.train_epoch(observe)? else {
                return Ok(Ending::Interrupted);
            };
            let ControlFlow::Continue(tested) = self.evaluate_test(observe)? else {
                return Ok(Ending::Interrupted);
            };
            let trained = std::mem::take(&mut self.position.totals);
            let metrics = EpochMetrics {
                epoch: self.position.epochs.len() + 1,
                train_loss: trained.loss(),
                train_accuracy: self.accuracy(&trained),
                train_last_step_loss: trained.last_step_loss(&self.model.network, &self.train),
                test_loss: tested.as_ref().map(Totals::loss),
                test_accuracy: tested.as_ref().and_then(|tested| self.accuracy(tested)),
                test_last_step_loss: tested
                    .as_ref()
                    .zip(self.test.as_ref())
                    .and_then(|(tested, feed)| tested.last_step_loss(&self.model.network, feed)),
                test_bits: (tested.as_ref().map(Totals::loss))
                    .filter(|_| self.splits.preparation.vocabulary.is_some())
                    .map(|loss| loss / std::f64::consts::LN_2),
                sequences_per_second,
                seconds: start.elapsed().as_secs_f64(),
            };
            if !metrics.monitored_loss().is_finite() {
                return Err(Error::NotFinite {
                    step: self.position.step,
                    problem: format!(
                        "after epoch {} the loss on the test split is {}: training cannot go on. \
                         A lower learning rate or clip_norm may help.",
                        metrics.epoch,
                        metrics.monitored_loss()
                    ),
                });
            }
            self.position.epochs.push(metrics.clone());
            if self.stalled() == 0 {
                self.position.best_step = Some(self.position.step);
                if self.recipe.keep_best {
                    self.best = Some(self.executor.read(&self.model.parameters)?);
                }
            }
            let broken = observe(self, Event::Epoch(&metrics))?.is_break();
            if broken && self.ending().is_none() {
                return Ok(Ending::Interrupted);
            }
        }
    }

    /// Why the run is over, where it is.
    fn ending(&self) -> Option<Ending> {
        let Position { step, epochs, .. } = &self.position;
        let patience = self.recipe.patience.unwrap_or(usize::MAX);
        if *step > epochs.len() * self.train.steps() {
            // An epoch has begun, or its evaluation is to come.
            None
        } else if *step >= self.last_step() {
            Some(Ending::Complete)
        } else {
            (self.stalled() >= patience).then_some(Ending::Stalled)
        }
    }

    /// Epochs since the best one.
    fn stalled(&self) -> usize {
        (self.position.epochs.len()).saturating_sub(1 + self.best_epoch())
    }

    /// Whether the training data are streamed, as they do not fit on the device.
    pub fn streams(&self) -> bool {
        self.train.streams()
    }

    /// Where the run stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The run as it stands, to go on from later or elsewhere.
    ///
    /// # Errors
    /// [`Error::NotFinite`] where the last update has left numbers from which no run can go on; what the device reports.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut position = self.position.clone();
        for epoch in &mut position.epochs {
            // The same run makes the same file, however long it took.
            (epoch.sequences_per_second, epoch.seconds) = (0.0, 0.0);
        }
        let executor = &mut self.executor;
        let moments = self.update.moments.iter();
        let mut moments: Vec<(String, Vec<f32>)> = moments
            .map(|moment| Ok((moment.name.to_string(), executor.read(&moment.tensor)?)))
            .collect::<Result<_>>()?;
        moments.sort_by(|a, b| a.0.cmp(&b.0));
        let parameters = executor.read(&self.model.parameters)?;
        let held = moments.iter().map(|(name, values)| (name.as_str(), values));
        for (name, values) in held.chain([("parameters", &parameters)]) {
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                let step = position.step;
                let problem = format!(
                    "after step {step} of the run there is {value} among the {name}: training cannot go on. \
                     A lower learning rate or clip_norm may help."
                );
                return Err(Error::NotFinite { step, problem });
            }
        }
        let halfway = !self.position.step.is_multiple_of(self.train.chunks);
        let layers = self.model.recurrences().filter(|_| halfway);
        Ok(Checkpoint {
            recipe: self.recipe.clone(),
            network: self.model.network.clone(),
            preparation: self.splits.preparation.clone(),
            position,
            data: self.data,
            parameters,
            moments,
            states: layers
                .map(|layer| executor.read(&layer.states.last))
                .collect::<Result<_>>()?,
            best: self.best.clone(),
        })
    }

    /// Takes the run up where `checkpoint` was made; [`Trainer::run`] goes on bit for bit on the same device. The trainer's
    /// recipe must be the checkpoint's, but for what [`Recipe::continues`] allows.
    ///
    /// # Errors
    /// [`Error::Usage`] where the recipe or the data are others; what the device reports.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.recipe.continues(&checkpoint.recipe)?;
        let Position { step, epochs, .. } = &checkpoint.position;
        if checkpoint.data != self.data || checkpoint.network != self.model.network {
            return Err(Error::usage(
                "the training data are not those that the run began with, so it cannot go on with them",
            ));
        }
        if *step > self.last_step() {
            return Err(Error::usage(format!(
                "the run has made {step} updates, and with these epochs or steps it would end after {}",
                self.last_step()
            )));
        }
        if *step < epochs.len() * self.train.steps() && *step < self.last_step() {
            return Err(Error::usage(format!(
                "the run ended in the middle of its epoch {}, as `steps` said, and was evaluated there; it cannot be extended",
                epochs.len()
            )));
        }
        let named = |name: &str| {
            let mut moments = checkpoint.moments.iter();
            moments
                .find(|(of, _)| of == name)
                .map_or(&[][..], |(_, values)| values)
        };
        let moments = self.update.moments.iter();
        let moments: Vec<(Tensor, &[f32])> = moments
            .map(|moment| (moment.tensor, named(moment.name)))
            .collect();
        let layers = self.model.recurrences().map(|layer| layer.states.last);
        let states = layers.zip(checkpoint.states.iter().map(Vec::as_slice));
        let parameters = (self.model.parameters, checkpoint.parameters.as_slice());
        for (tensor, values) in states.chain(moments).chain([parameters]) {
            if tensor.len() != values.len() {
                return Err(Error::usage(format!(
                    "the checkpoint has {} numbers where the network and its optimizer have {}",
                    values.len(),
                    tensor.len()
                )));
            }
            self.executor.write(&tensor, values)?;
        }
        let steps = self.train.control.part(control::STEP, [1]);
        self.executor.write_index(&steps, &[*step as u32])?;
        self.position = checkpoint.position.clone();
        self.best = checkpoint.best.clone();
        Ok(())
    }

    /// Plays the run again, from where it stands up to update `step`, whose loss or gradient was not finite, and says which call
    /// was the first to leave such a number. The steps before it are played as ever, so that it costs no more than they did.
    ///
    /// # Errors
    /// What the device reports.
    pub fn diagnose(&mut self, step: usize) -> Result<String> {
        let play_to = |trainer: &mut Trainer, pause: usize, watching: bool| {
            (trainer.pause, trainer.watching) = (Some(pause), watching);
            trainer.run(&mut |_, _| Ok(ControlFlow::Continue(())))
        };
        let begun = step.min(self.position.step);
        // What an update has made too large may not show before the next step.
        let first = step.saturating_sub(2).max(begun);
        play_to(self, first, false)?;
        for before in first..step {
            match play_to(self, before + 1, true) {
                Ok(_) => {}
                Err(Error::Failed(found)) => {
                    return Ok(format!("in step {}, {found}", before + 1));
                }
                Err(Error::NotFinite { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(format!(
            "played again, the steps {} to {step} left nothing that is not finite",
            first + 1
        ))
    }

    /// The step as it was recorded.
    pub(crate) fn recording(&self) -> &RecordedNetwork {
        &self.model
    }

    /// Sequences that one step takes: a batch, or of a batch in chunks a part.
    pub(crate) fn sequences_per_step(&self) -> f64 {
        self.model.batch as f64 / self.train.chunks as f64
    }

    /// Starts at the first batch of a split and returns what plays its steps and how many there may be, so that somebody else
    /// can play them in [`Trainer::run`]'s place.
    ///
    /// # Errors
    /// [`Error::Usage`] for a test split that is not there.
    pub(crate) fn rewind(&mut self, split: Split) -> Result<(&mut dyn Executor, usize)> {
        let steps = self.feed(split)?.steps().min(HISTORY_ROWS);
        let rates = self.rates(steps);
        let executor = self.executor.as_mut();
        let (feed, data) = match (split, &mut self.test, &self.splits.test) {
            (Split::Test, Some(test), Some(data)) => (test, data),
            _ => (&mut self.train, &self.splits.train),
        };
        feed.begin(executor, data, (0..feed.count as u32).collect(), 0)?;
        let steps = steps.min(feed.ready(0));
        let rates = &rates[..steps];
        executor.write(&self.update.rates.part(0, [steps]), rates)?;
        let row = feed.control.part(control::ROW, [1]);
        executor.write_index(&row, &[0])?;
        // Until it is there, so that the upload is in nobody's time.
        executor.read_index(&row)?;
        Ok((executor, steps))
    }

    /// Plays a split's first `count` steps as a run does, in one call of the executor, and waits.
    ///
    /// # Errors
    /// Those of [`Trainer::rewind`]; what the device reports.
    pub(crate) fn play(&mut self, split: Split, count: usize) -> Result<Pace> {
        let rows = self.feed(split)?.history;
        let phases: &[Phase] = match split {
            Split::Train => &Phase::TRAIN,
            Split::Test => &[Phase::Evaluate],
        };
        let (executor, _) = self.rewind(split)?;
        // Of the thread, not of the clock on the wall: a software driver works on the same cores, and a queue may be full.
        let (start, work) = (Instant::now(), ThreadTime::now());
        executor.run(phases, count)?;
        let submitted = work.elapsed().as_secs_f64();
        // A run waits by reading what the steps have left.
        executor.read(&rows.part(0, [count, history::WORDS]))?;
        Ok(Pace {
            step: start.elapsed().as_secs_f64() / count as f64,
            host: executor.submits().then_some(submitted / count as f64),
        })
    }

    fn feed(&self, split: Split) -> Result<&Feed> {
        let feed = match split {
            Split::Train => Some(&self.train),
            Split::Test => self.test.as_ref(),
        };
        feed.ok_or_else(|| Error::usage("there is no test split"))
    }

    /// Updates of the whole run, where it does not stop early.
    pub fn last_step(&self) -> usize {
        let steps = self.recipe.epochs * self.train.steps();
        self.recipe.steps.unwrap_or(steps).min(steps)
    }

    /// The index of the first epoch with the lowest loss; 0 where there is none.
    fn best_epoch(&self) -> usize {
        let epochs = self.position.epochs.iter();
        let losses = epochs.map(EpochMetrics::monitored_loss);
        let least = losses.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        least.map_or(0, |(epoch, _)| epoch)
    }

    /// The epoch that [`Trainer::model`] comes from, where the recipe keeps the best.
    pub fn best(&self) -> Option<&EpochMetrics> {
        let best = self.best.as_ref();
        best.map(|_| &self.position.epochs[self.best_epoch()])
    }

    /// The learning rates of the next `count` updates.
    fn rates(&self, count: usize) -> Vec<f32> {
        let losses: Vec<f64> = self
            .position
            .epochs
            .iter()
            .map(EpochMetrics::monitored_loss)
            .collect();
        let (lr, steps) = (self.recipe.optimizer.learning_rate(), self.last_step());
        let rate = |n: usize| {
            let standing = Standing {
                step: self.position.step + n,
                steps,
                losses: &losses,
            };
            (f64::from(lr) * self.recipe.schedule.factor(&standing)) as f32
        };
        (0..count).map(rate).collect()
    }

    /// One pass over the training data, or what is left of it and what the recipe's steps leave; returns the sequences per
    /// second, or `None` where the observer broke it off.
    fn train_epoch(&mut self, observe: &mut Observer) -> Result<Option<f64>> {
        let epoch = self.position.epochs.len();
        let order = Philox::new(self.recipe.seed, Stream::Shuffle(epoch as u32))
            .permutation(self.train.count);
        let before = epoch * self.train.steps();
        let mut done = self.position.step - before;
        let data = Arc::clone(&self.splits.train);
        self.train
            .begin(self.executor.as_mut(), &data, order, done)?;
        let steps = self.train.steps().min(self.last_step() - before);
        let (batch, chunks, count) = (self.model.batch, self.train.chunks, self.train.count);
        // What the recipe's steps cut off counts as begun.
        let of = (steps.div_ceil(chunks) * batch).min(count);
        let taken = |done: usize| (done * batch / chunks).min(count).min(of);
        let (at_start, start) = (taken(done), Instant::now());
        // A clock may stand still for an epoch.
        let speed =
            |done: usize| (taken(done) - at_start) as f64 / start.elapsed().as_secs_f64().max(1e-9);
        while done < steps {
            let until_pause = match self.pause {
                Some(pause) if pause <= self.position.step => return Ok(None),
                Some(pause) => pause - self.position.step,
                None => usize::MAX,
            };
            let every = self.recipe.checkpoint.every_steps.unwrap_or(usize::MAX);
            let until_checkpoint = every - self.position.step % every;
            let until = until_checkpoint.min(until_pause);
            let ready = self.train.ready(done);
            let count = self.piece.min(steps - done).min(until).min(ready);
            self.executor
                .write(&self.update.rates.part(0, [count]), &self.rates(count))?;
            let rows = self.train.run(
                self.executor.as_mut(),
                &data,
                &Phase::TRAIN,
                [done, count],
                &mut self.piece,
                self.watching.then_some(&self.model.program),
            )?;
            for (n, row) in rows.chunks_exact(history::WORDS).enumerate() {
                self.position.totals.add(row);
                let (loss, norm) = (row[history::LOSS], row[history::NORM]);
                // The device has looked, and what has arrived is looked at, too.
                let finite = row[history::NOT_FINITE] == 0.0;
                if !finite || !loss.is_finite() || !norm.is_finite() {
                    return Err(Error::NotFinite {
                        step: self.position.step + n + 1,
                        problem: format!(
                            "at step {} of epoch {} the loss is {loss} and the gradient's norm {norm}: training cannot go on. \
                             A lower learning rate or clip_norm may help.",
                            done + n + 1,
                            epoch + 1,
                        ),
                    });
                }
            }
            done += count;
            let losses = rows
                .chunks_exact(history::WORDS)
                .map(|row| row[history::LOSS]);
            let step_losses: Vec<f32> = losses.collect();
            let reports = step_losses.iter().filter_map(|&loss| self.count_step(loss));
            let reports = reports.collect();
            let totals = &self.position.totals;
            let progress = Progress {
                epoch: epoch + 1,
                epochs: self.recipe.epochs,
                sequences: taken(done),
                of,
                loss: totals.loss(),
                accuracy: self.accuracy(totals),
                sequences_per_second: speed(done),
                step_losses,
                reports,
            };
            // After the last step there is nothing left of it to break off.
            if observe(self, Event::Progress(&progress))?.is_break() && done < steps {
                return Ok(None);
            }
        }
        Ok(Some(speed(steps)))
    }

    /// Counts an update; the report that falls due with it.
    fn count_step(&mut self, loss: f32) -> Option<Report> {
        let position = &mut self.position;
        position.step += 1;
        let (every, step_loss) = (self.recipe.report_every?, f64::from(loss));
        position.unreported += step_loss;
        position.step.is_multiple_of(every).then(|| Report {
            step: position.step,
            loss: std::mem::take(&mut position.unreported) / every as f64,
            step_loss,
        })
    }

    /// What the test split comes to, if there is one; a break where the observer says so.
    fn evaluate_test(&mut self, observe: &mut Observer) -> Result<ControlFlow<(), Option<Totals>>> {
        let Some(data) = self.splits.test.clone() else {
            return Ok(ControlFlow::Continue(None));
        };
        let mut evaluation = Passing::default();
        while let Some(test) = &mut self.test {
            let Some(sequences) = evaluation.advance(test, &data, self.executor.as_mut())? else {
                break;
            };
            let of = data.count;
            let event = Event::Evaluating { sequences, of };
            if observe(self, event)?.is_break() && sequences < of {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(Some(evaluation.totals)))
    }

    fn accuracy(&self, totals: &Totals) -> Option<f64> {
        self.classifies.then(|| totals.accuracy())
    }

    /// The model as it is now, or as it was after the best epoch where the recipe keeps that.
    pub fn model(&mut self) -> Result<Model> {
        let flat = match &self.best {
            Some(flat) => flat.clone(),
            None => self.executor.read(&self.model.parameters)?,
        };
        Ok(Model {
            network: self.model.network.clone(),
            recipe: self.recipe.clone(),
            preparation: self.splits.preparation.clone(),
            parameters: self.model.network.to_parameters(&flat),
        })
    }
}

/// Trains to the end of the recipe and returns the model; [`Trainer`] shows how it goes on the way.
///
/// # Errors
/// Those of [`Trainer::new`] and [`Trainer::run`].
pub fn train(recipe: &Recipe, data: &Splits, device: &Device) -> Result<Model> {
    let mut trainer = Trainer::new(recipe, data, device)?;
    trainer.run(&mut |_, _| Ok(ControlFlow::Continue(())))?;
    trainer.model()
}

/// Evaluates a saved model over a data set.
///
/// # Errors
/// Data that do not fit the model, a model whose parameters are not its network's, what the device reports.
pub fn evaluate(
    saved: &Model,
    data: &Dataset,
    batch_size: usize,
    device: &Device,
) -> Result<Evaluation> {
    evaluate_on(saved, data, batch_size, &OpenDevice::open(device)?)
}

/// [`evaluate`] on a device that is open already.
///
/// # Errors
/// Those of [`evaluate`].
pub fn evaluate_on(
    saved: &Model,
    data: &Dataset,
    batch_size: usize,
    place: &OpenDevice,
) -> Result<Evaluation> {
    check_data(&saved.network, data)?;
    let batch_size = batch_size.min(data.count);
    // As long sequences were trained on; their states are carried, so it makes no difference to the answers.
    let steps = saved.recipe.bptt_steps.unwrap_or(data.steps);
    let (model, mut feed, tally, mut executor) = streamed(place, |bytes| {
        let mut model = RecordedNetwork::new(
            &saved.network,
            steps.min(data.steps),
            batch_size,
            Gradients::None,
            place.tuning(),
        )?;
        let feed = Feed::record(&mut model, Phase::Evaluate, data, bytes)?;
        model.forward(Phase::Evaluate);
        model.loss(Phase::Evaluate);
        let tally = record_tally(&mut model);
        feed.record_end(&mut model, Phase::Evaluate, None);
        check_fits(&model.program, place)?;
        let executor = place.load(&model.program)?;
        Ok((model, feed, tally, executor))
    })?;
    executor.write(
        &model.parameters,
        &saved.network.from_parameters(&saved.parameters)?,
    )?;
    feed.upload(executor.as_mut(), data)?;
    let start = Instant::now();
    for counts in tally
        .iter()
        .flat_map(|tally| [tally.confusion, tally.ranks])
    {
        executor.write_index(&counts, &vec![0; counts.len()])?;
    }
    let mut evaluation = Passing::default();
    while (evaluation.advance(&mut feed, data, executor.as_mut())?).is_some() {}
    let totals = evaluation.totals;
    let seconds = start.elapsed().as_secs_f64();
    let (mut confusion, mut ranks) = (None, None);
    if let Some(tally) = &tally {
        ranks = Some(executor.read_index(&tally.ranks)?);
        let counts = executor.read_index(&tally.confusion)?;
        // The shape does not fit where they were too many to count.
        confusion = Array2::from_shape_vec([tally.classes; 2], counts).ok();
    }
    Ok(Evaluation {
        loss: totals.loss(),
        accuracy: matches!(data.targets, Targets::Classes { .. }).then(|| totals.accuracy()),
        last_step_loss: totals.last_step_loss(&saved.network, &feed),
        ranks,
        confusion,
        sequences: data.count,
        sequences_per_second: data.count as f64 / seconds,
        seconds,
    })
}

/// Records, in [`Phase::Evaluate`], the counting of ranks and confusion, where the head tells classes apart.
fn record_tally(model: &mut RecordedNetwork) -> Option<Tally> {
    if model.network.head.loss != Loss::CrossEntropy {
        return None;
    }
    let classes = model.network.head.size;
    let side = match classes {
        ..=Tally::LARGEST_CONFUSION => classes,
        _ => 0,
    };
    let program = &mut model.program;
    let mut counts =
        |name, extents: [usize; 2]| program.buffer(name, Kind::Control, Element::Index, extents);
    let tally = Tally {
        outputs: model.head.outputs,
        labels: model.head.labels,
        confusion: counts("confusion", [side, side]),
        ranks: counts("ranks", [classes, 1]),
        classes,
    };
    program.push(Phase::Evaluate, tally.clone());
    Some(tally)
}

/// Sums over steps of what a history holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Totals {
    loss: f64,
    hits: f64,
    labelled: f64,
    last_loss: f64,
    last_labelled: f64,
}

impl Totals {
    fn add(&mut self, row: &[f32]) {
        let labelled = f64::from(row[history::LABELLED]);
        self.loss += f64::from(row[history::LOSS]) * labelled;
        self.hits += f64::from(row[history::HITS]);
        self.labelled += labelled;
        let labelled = f64::from(row[history::LAST_LABELLED]);
        self.last_loss += f64::from(row[history::LAST_LOSS]) * labelled;
        self.last_labelled += labelled;
    }

    fn loss(&self) -> f64 {
        self.loss / self.labelled.max(1.0)
    }

    fn accuracy(&self) -> f64 {
        self.hits / self.labelled.max(1.0)
    }

    /// A head that reads the last step has no other; in chunks, the last step is not told apart.
    fn last_step_loss(&self, network: &Network, feed: &Feed) -> Option<f64> {
        let reads_every = network.head.reads == Reads::Every && feed.chunks == 1;
        reads_every.then(|| self.last_loss / self.last_labelled.max(1.0))
    }
}

/// An evaluation on its way, of a split in its own order.
#[derive(Default)]
struct Passing {
    totals: Totals,
    /// Steps to play next.
    piece: usize,
    /// Steps that were played.
    done: usize,
}

impl Passing {
    /// Plays some steps; how many sequences are through, or `None` where all were before.
    fn advance(
        &mut self,
        feed: &mut Feed,
        data: &Dataset,
        executor: &mut dyn Executor,
    ) -> Result<Option<usize>> {
        let left = feed.steps() - self.done;
        if left == 0 {
            return Ok(None);
        }
        if self.done == 0 {
            feed.begin(executor, data, (0..feed.count as u32).collect(), 0)?;
        }
        let count = self.piece.max(1).min(left).min(feed.ready(self.done));
        let evaluate = [Phase::Evaluate];
        let steps = [self.done, count];
        let rows = feed.run(executor, data, &evaluate, steps, &mut self.piece, None)?;
        rows.chunks_exact(history::WORDS)
            .for_each(|row| self.totals.add(row));
        self.done += count;
        Ok(Some(feed.taken(self.done)))
    }
}

/// CRC-32 of all that the steps read.
fn checksum(data: &Dataset) -> Result<u32> {
    let targets: &[u8] = match &data.targets {
        Targets::Classes { labels, .. } => bytemuck::cast_slice(labels),
        Targets::Values { values, .. } => bytemuck::cast_slice(values),
    };
    let lengths = data.lengths.as_deref().unwrap_or_default();
    let mut sum = Crc::new();
    match &data.inputs {
        Inputs::Bytes { values, .. } => sum.update(values),
        Inputs::Floats(values) => sum.update(bytemuck::cast_slice(values)),
        Inputs::Stored(stored) => stored.each(|values| sum.update(bytemuck::cast_slice(values)))?,
        Inputs::Tokens { values, .. } => sum.update(bytemuck::cast_slice(values)),
    }
    sum.update(targets);
    sum.update(bytemuck::cast_slice(lengths));
    Ok(sum.sum())
}

/// Refuses data that make no sense, or whose sizes are not the network's.
fn check_data(network: &Network, data: &Dataset) -> Result<()> {
    data.check()?;
    let Network {
        input_size, head, ..
    } = network;
    let tokens = matches!(data.inputs, Inputs::Tokens { .. });
    if tokens == network.input.is_values() {
        let (has, takes) = match tokens {
            true => (
                "tokens",
                "numbers; its `input` must be \"one-hot\" or an embedding",
            ),
            false => ("numbers", "tokens; its `input` must be \"values\""),
        };
        let message = format!("the data are {has}, but the network takes {takes}");
        return Err(Error::Data(message));
    }
    if data.input_size() != *input_size {
        let what = if tokens {
            "tokens in their vocabulary"
        } else {
            "features at each step"
        };
        let message = format!(
            "the data have {} {what}, but the network takes {input_size}",
            data.input_size()
        );
        return Err(Error::Data(message));
    }
    if data.targets.outputs() != head.size {
        let message = format!(
            "the data ask for {} classes or output values, but the network has {}",
            data.targets.outputs(),
            head.size
        );
        return Err(Error::Data(message));
    }
    let fitting = match &data.targets {
        Targets::Classes { .. } => Loss::CrossEntropy,
        Targets::Values { .. } => Loss::MeanSquaredError,
    };
    if head.loss != fitting {
        let message = format!(
            "the network's loss is {:?}, and these targets ask for {fitting:?}",
            head.loss
        );
        return Err(Error::Data(message));
    }
    let per_step = data.targets.per_step();
    if per_step != (head.reads == Reads::Every) {
        let (has, reads) = if per_step {
            ("every step", "\"every\"")
        } else {
            ("each sequence", "\"last\"")
        };
        let message =
            format!("the data have a target for {has}, so the head's `reads` must be {reads}");
        return Err(Error::Data(message));
    }
    Ok(())
}

/// Refuses splits of different length.
fn check_steps(train: &Dataset, test: &Dataset) -> Result<()> {
    if train.steps == test.steps {
        return Ok(());
    }
    let message = format!(
        "the training sequences have {} steps and the test sequences {}",
        train.steps, test.steps
    );
    Err(Error::Data(message))
}
