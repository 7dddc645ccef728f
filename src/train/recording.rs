//! The recording of a recipe's training step and evaluation, sized to the device.

use std::sync::Arc;

use crate::backend::OpenDevice;
use crate::backend::executor::Executor;
use crate::backend::tuning::Tuning;
use crate::data::preparation::Preparation;
use crate::data::{Dataset, Inputs, Splits};
use crate::distributed::Ranks;
use crate::error::{Error, Result};
use crate::kernels::Tally;
use crate::network::Network;
use crate::program::{Phase, Program};
use crate::recipe::{Recipe, Recomputation};
use crate::record::update::RecordedUpdate;
use crate::record::{
    Frozen, Gradients, RecordedNetwork, TrainingLoss, check_recompute, chunk_steps,
};
use crate::tensor::Kind;
use crate::train::errors::RecordedErrors;
use crate::train::evaluation::record_tally;
use crate::train::feed::{Feed, HISTORY_ROWS, Summing, WINDOW, shares};
use crate::train::weights::TargetWeights;

/// A recipe's training step and evaluation, recorded.
pub(super) struct Recording {
    pub(super) network: RecordedNetwork,
    pub(super) update: RecordedUpdate,
    pub(super) train: Feed,
    pub(super) test: Option<RecordedSplit>,
    pub(super) validation: Option<RecordedSplit>,
}

/// A split's evaluation, recorded.
pub(super) struct RecordedSplit {
    pub(super) feed: Feed,
    /// Counts of classes, where there are classes and at most [`Tally::LARGEST_CONFUSION`].
    pub(super) tally: Option<Tally>,
    /// Sums of the errors of values.
    pub(super) errors: Option<RecordedErrors>,
}

impl Recording {
    /// Uploads what does not change between passes over the splits.
    ///
    /// # Errors
    /// Those of the device, and of data that can no longer be read.
    pub(super) fn upload(&self, executor: &mut dyn Executor, data: &Splits) -> Result<()> {
        self.train.upload(executor, &data.train)?;
        for (split, data) in [
            (&self.test, &data.test),
            (&self.validation, &data.validation),
        ] {
            if let (Some(split), Some(data)) = (split, data) {
                split.feed.upload(executor, data)?;
            }
        }
        Ok(())
    }

    /// Records the step for the recipe's batch size. With `bytes`, data that take more are streamed
    /// through windows of about that size.
    fn new(
        recipe: &Recipe,
        network: &Network,
        data: &Splits,
        (tuning, bytes): (Tuning, Option<u64>),
        ranks: Option<&Arc<dyn Ranks>>,
    ) -> Result<Recording> {
        let train = &data.train;
        let evaluated = [&data.test, &data.validation].map(Option::as_deref);
        let shares = bytes.map(|bytes| shares(train, evaluated, bytes));
        let [train_bytes, test_bytes, validation_bytes] =
            [0, 1, 2].map(|split| shares.map(|shares| shares[split]));
        let steps = steps_of(recipe, data);
        let batch = match recipe.parallel.micro_batches {
            1 => recipe.batch_size.min(train.count),
            parts => (recipe.batch_size / parts).max(1),
        };
        let mut network = RecordedNetwork::new(network, steps, batch, Gradients::OfLoss, tuning)?;
        let longest = evaluated
            .iter()
            .flatten()
            .map(|data| data.targets.longest_list());
        network.add_lists(longest.fold(train.targets.longest_list(), usize::max))?;
        let weights = TargetWeights::of_heads(recipe, data)?;
        for (index, _) in weights.iter().enumerate().filter(|(_, own)| own.is_some()) {
            network.add_weights(index);
        }
        let feed = Feed::record(&mut network, Phase::Forward, train, train_bytes)?;
        let feed = feed.with_weights(weights);
        let (feed, update) = record_step(&mut network, recipe, train, (feed, ranks))?;
        let preparation = &data.preparation;
        let has_counts = preparation.vocabulary.is_none();
        let mut record = |data: Option<&Dataset>, phase, bytes| {
            let data = data?;
            let recorded = record_split(&mut network, phase, data, bytes, has_counts);
            Some(recorded.map(|split| {
                let split = split.with_errors(&mut network, phase, data, preparation);
                match ranks {
                    Some(ranks) => split.shared(ranks.as_ref()),
                    None => split,
                }
            }))
        };
        let [test, validation] = evaluated;
        let test = record(test, Phase::Evaluate, test_bytes).transpose()?;
        let validation = record(validation, Phase::Validate, validation_bytes).transpose()?;
        Ok(Recording {
            network,
            update,
            train: feed,
            test,
            validation,
        })
    }

    /// Records the step and loads it on the device, with all the data or, where the device cannot
    /// hold them, with windows over them. What it still cannot hold is computed again in the
    /// backward pass, unless the recipe says otherwise.
    ///
    /// # Errors
    /// Those of [`check_recompute`]; [`Error::BatchTooLarge`] where it does not fit. Nothing has
    /// been allocated then.
    pub(super) fn load(
        recipe: &Recipe,
        network: &Network,
        data: &Splits,
        (device, ranks): (&OpenDevice, Option<&Arc<dyn Ranks>>),
    ) -> Result<(Recording, Box<dyn Executor>)> {
        let steps = steps_of(recipe, data);
        load_or_recompute(recipe.recompute, network, steps, |chunk| {
            let tuning = Tuning {
                recompute: chunk,
                precision: recipe.precision,
                ..device.tuning()
            };
            Recording::load_with(recipe, network, data, (device, tuning), ranks)
        })
    }

    /// [`Recording::load`] with this tuning.
    fn load_with(
        recipe: &Recipe,
        network: &Network,
        data: &Splits,
        (device, tuning): (&OpenDevice, Tuning),
        ranks: Option<&Arc<dyn Ranks>>,
    ) -> Result<(Recording, Box<dyn Executor>)> {
        let record = |batch_size: usize, bytes: Option<u64>| {
            let recipe = Recipe {
                batch_size,
                ..recipe.clone()
            };
            let recording = Recording::new(&recipe, network, data, (tuning, bytes), ranks)?;
            check_fits(&recording.network.program, device)?;
            Ok(recording)
        };
        let batch_size = match recipe.parallel.micro_batches {
            1 => recipe.batch_size.min(data.train.count),
            _ => recipe.batch_size,
        };
        let load = |bytes| {
            let recording = record(batch_size, bytes).map_err(|error: Error| {
                // Without a window the data may be what is too large.
                if bytes.is_none() || !error.is_lack_of_room() {
                    return error;
                }
                Error::BatchTooLarge {
                    largest: largest_fitting(batch_size, |size| record(size, bytes).is_ok()),
                    reason: Box::new(error),
                }
            })?;
            let executor = device.load(&recording.network.program)?;
            Ok((recording, executor))
        };
        if ranks.is_some() && holds_a_copy(recipe, data, device) {
            return load(Some(WINDOW));
        }
        load_or_stream(device, load)
    }
}

/// Whether each of several processes of a machine would hold a copy of data that all of them can
/// read from disk, of which the system keeps one copy in memory.
fn holds_a_copy(recipe: &Recipe, data: &Splits, device: &OpenDevice) -> bool {
    let is_on_disk = matches!(data.train.inputs, Inputs::Stored(_));
    let is_asked = device.tuning().data_memory.is_some();
    is_on_disk && !is_asked && device.adapter().is_none() && recipe.bptt_steps.is_none()
}

/// The steps of a batch: the longest sequences of all splits, or chunks of them.
fn steps_of(recipe: &Recipe, data: &Splits) -> usize {
    let evaluated = [&data.test, &data.validation].map(Option::as_deref);
    let longest = evaluated.iter().flatten().map(|data| data.steps);
    let longest = longest.fold(data.train.steps, usize::max);
    recipe.bptt_steps.unwrap_or(longest).min(longest)
}

/// Calls `load` with the steps of the chunks of time of which only the states before them are kept:
/// as the recipe says, or else where the device cannot hold everything and the network can be
/// computed by chunks.
///
/// # Errors
/// Those of `load`; those of [`check_recompute`] where the recipe asks for it.
pub(super) fn load_or_recompute<T>(
    wanted: Option<Recomputation>,
    network: &Network,
    steps: usize,
    load: impl Fn(Option<usize>) -> Result<T>,
) -> Result<T> {
    let chunk = chunk_steps(steps);
    match wanted {
        Some(Recomputation::Sqrt) => {
            check_recompute(network)?;
            load(chunk)
        }
        Some(Recomputation::Off) => load(None),
        None => load(None).or_else(|error| {
            let helps = error.is_lack_of_room() && check_recompute(network).is_ok();
            match chunk.filter(|_| helps) {
                Some(chunk) => load(Some(chunk)),
                None => Err(error),
            }
        }),
    }
}

/// Records forward pass, backward pass and update of a step that reads its batches from `feed`.
fn record_step(
    network: &mut RecordedNetwork,
    recipe: &Recipe,
    data: &Dataset,
    (feed, ranks): (Feed, Option<&Arc<dyn Ranks>>),
) -> Result<(Feed, RecordedUpdate)> {
    network.freeze(Frozen::new(&recipe.freeze, &network.network)?);
    network.draw_masks(recipe.seed, feed.control());
    network.forward(Phase::Forward);
    network.training_loss(&training_losses(recipe));
    let batches = data.count.div_ceil(network.batch);
    let summing = match recipe.parallel.micro_batches {
        1 => (
            recipe.accumulate.unwrap_or(1).min(batches),
            Summing::InOrder,
        ),
        parts => (parts, Summing::InTree(ranks.cloned())),
    };
    let mut feed = feed.accumulating(network, data, summing)?;
    network.backward();
    feed.record_accumulation(network);
    let (optimizer, clip) = (&recipe.optimizer, recipe.clip());
    let mut update = network.record_update(optimizer, clip, feed.control(), HISTORY_ROWS);
    if let Some(decay) = recipe.ema {
        network.record_average(&mut update, decay);
    }
    feed.record_end(network, Phase::Update, Some(update.norm));
    Ok((feed, update))
}

/// The options of each head's loss in training.
fn training_losses(recipe: &Recipe) -> Vec<TrainingLoss> {
    let loss = |label_smoothing| TrainingLoss { label_smoothing };
    match &recipe.network.heads[..] {
        [] => vec![loss(recipe.network.head.label_smoothing)],
        heads => heads
            .iter()
            .map(|head| loss(head.label_smoothing))
            .collect(),
    }
}

/// Records the evaluation of a split, and the counts of its classes if they are wanted.
fn record_split(
    network: &mut RecordedNetwork,
    phase: Phase,
    data: &Dataset,
    bytes: Option<u64>,
    has_counts: bool,
) -> Result<RecordedSplit> {
    let feed = Feed::record(network, phase, data, bytes)?;
    record_evaluation(network, phase);
    let is_small = network.network.head.size <= Tally::LARGEST_CONFUSION;
    let tally = if has_counts && is_small {
        record_tally(network, phase)
    } else {
        None
    };
    feed.record_end(network, phase, None);
    Ok(RecordedSplit {
        feed,
        tally,
        errors: None,
    })
}

impl RecordedSplit {
    /// Has each process evaluate every N-th batch of the split.
    fn shared(self, ranks: &dyn Ranks) -> RecordedSplit {
        RecordedSplit {
            feed: self.feed.shared(ranks.rank(), ranks.count()),
            ..self
        }
    }

    /// Records the sums of the errors too, where there are values.
    fn with_errors(
        self,
        network: &mut RecordedNetwork,
        phase: Phase,
        data: &Dataset,
        preparation: &Preparation,
    ) -> RecordedSplit {
        RecordedSplit {
            errors: RecordedErrors::record(network, phase, data, preparation),
            ..self
        }
    }
}

/// Records outputs and loss of an evaluation.
pub(super) fn record_evaluation(network: &mut RecordedNetwork, phase: Phase) {
    network.forward(phase);
    network.loss(phase);
}

/// The largest size below `too_large` that fits, by bisection. `None` where not even 1 fits.
fn largest_fitting(too_large: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut fitting, mut too_large) = (0, too_large);
    while too_large - fitting > 1 {
        let middle = fitting.midpoint(too_large);
        if fits(middle) {
            fitting = middle;
        } else {
            too_large = middle;
        }
    }
    (fitting > 0).then_some(fitting)
}

/// Calls `load` with the bytes of device memory for the data: those that the tuning grants, or else
/// `None` for all the data, and [`WINDOW`] where the device has no room for these.
pub(super) fn load_or_stream<T>(
    device: &OpenDevice,
    load: impl Fn(Option<u64>) -> Result<T>,
) -> Result<T> {
    if let Some(bytes) = device.tuning().data_memory {
        return load(Some(bytes));
    }
    load(None).or_else(|error| {
        if error.is_lack_of_room() {
            load(Some(WINDOW))
        } else {
            Err(error)
        }
    })
}

/// Returns an error for a program that the device cannot hold, or whose data take more device
/// memory than the tuning grants.
pub(super) fn check_fits(program: &Program, device: &OpenDevice) -> Result<()> {
    let needed = program.bytes_of(Kind::Data, size_of::<f32>());
    match device.tuning().data_memory {
        Some(granted) if needed > granted => Err(Error::DataMemory { granted, needed }),
        _ => device.check(program),
    }
}

#[cfg(test)]
mod tests;
