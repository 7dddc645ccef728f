//! The evaluation of a saved model on a data set.

use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;

use super::checks::check_data;
use super::clock::Instant;
use super::feed::{Feed, StepRecord, StepRunner};
use super::heads::{HeadEvaluation, evaluate_heads, load_labelled};
use super::output_metrics::OutputCollector;
use super::position::Totals;
use super::recording::{check_fits, load_or_recompute, load_or_stream, record_evaluation};
use super::scores::Scores;
use crate::backend::OpenDevice;
use crate::backend::device::Device;
use crate::backend::executor::Executor;
use crate::backend::tuning::Tuning;
use crate::data::labelled::{Extent, LabelledRequest};
use crate::data::{Dataset, Split, Splits, Targets, absent_classes, short_sequences};
use crate::error::{Error, Result};
use crate::kernels::Tally;
use crate::messages::shown_path;
use crate::metrics::{OutputMetrics, TextMetrics};
use crate::model::Model;
use crate::network::Network;
use crate::program::Phase;
use crate::record::{Gradients, RecordedNetwork};
use crate::tensor::{Element, Kind};

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Mean over the labelled outputs.
    pub loss: f64,
    pub accuracy: Option<f64>,
    /// Mean over the outputs at the last step of each sequence, where the head reads every step.
    pub last_step_loss: Option<f64>,
    /// `[K]`: labelled outputs by the rank of their class among the outputs, 0 for the largest;
    /// where there are classes.
    pub ranks: Option<Vec<u32>>,
    /// `[K, K]`: labelled outputs by true class (row) and predicted class (column), where there are
    /// at most [`Tally::LARGEST_CONFUSION`] classes.
    pub confusion: Option<Array2<u32>>,
    /// Metrics of the outputs; `None` for more than [`Tally::LARGEST_CONFUSION`] classes.
    pub metrics: Option<OutputMetrics>,
    pub sequences: usize,
    pub sequences_per_second: f64,
    pub seconds: f64,
    /// The evaluations of several heads; `loss` is then the sum of theirs, each times its weight.
    pub heads: Vec<HeadEvaluation>,
}

impl Evaluation {
    /// The share of the labelled outputs whose class is among the `k` largest; `None` where there
    /// are no classes.
    pub fn top_k(&self, k: usize) -> Option<f64> {
        let ranks = self.ranks.as_ref()?;
        let count = |ranks: &[u32]| ranks.iter().map(|&count| f64::from(count)).sum::<f64>();
        Some(count(&ranks[..k.min(ranks.len())]) / count(ranks).max(1.0))
    }

    /// `[K]`: the share of each class that is recognised, `None` for a class without a labelled
    /// output; where there is a confusion matrix.
    pub fn recalls(&self) -> Option<Vec<Option<f64>>> {
        let rows = self.confusion.as_ref()?.rows().into_iter();
        let recall = |(class, row): (usize, ndarray::ArrayView1<u32>)| {
            let count: f64 = row.iter().map(|&count| f64::from(count)).sum();
            (count > 0.0).then(|| f64::from(row[class]) / count)
        };
        Some(rows.enumerate().map(recall).collect())
    }

    /// Loss and accuracy.
    pub fn scores(&self) -> Scores {
        Scores {
            loss: self.loss,
            accuracy: self.accuracy,
            last_step_loss: self.last_step_loss,
        }
    }
}

/// The data that a model is evaluated on.
#[derive(Debug, Clone)]
pub struct EvaluationData {
    /// The sequences to evaluate.
    pub data: Arc<Dataset>,
    /// The split that they are; `None` for all of a file.
    pub split: Option<Split>,
    /// What they were cut from, for another file than the model's own.
    pub extent: Option<Extent>,
    /// The model's own training split, which baselines are fitted to, for the test split with the
    /// validation split; `None` if it cannot be read.
    pub train: Option<Arc<Dataset>>,
    /// What was left out, and why, and classes that the training split or `data` lacks; one clause
    /// each.
    pub notes: Vec<String>,
}

impl EvaluationData {
    /// Loads a split of the model's own data, prepared as for its training.
    ///
    /// # Errors
    /// Those of data that cannot be read; [`Error::Data`] if there is no such split.
    pub fn load(model: &Model, split: Split) -> Result<EvaluationData> {
        let (recipe, preparation) = (&model.recipe, &model.preparation);
        let splits = match recipe.load_splits(Some(preparation)) {
            Ok(splits) => splits,
            // The files of the other split may be missing.
            Err(error) => {
                return Ok(EvaluationData {
                    data: recipe.load_split(split, Some(preparation))?,
                    split: Some(split),
                    extent: None,
                    train: None,
                    notes: vec![no_baselines(&error)],
                });
            }
        };
        let (train, mut notes) = (splits.train.clone(), splits.notes.clone());
        let fitted = match split {
            Split::Test => splits.fitted(),
            Split::Train | Split::Validation => splits.train.clone(),
        };
        let data = splits.take(split)?;
        let name = format!("the {} split", split.name());
        notes.extend(short_sequences(&data, &name));
        if split != Split::Train {
            notes.extend(absent_classes(&train, &data, &name, preparation));
        }
        Ok(EvaluationData {
            data,
            split: Some(split),
            extent: None,
            train: Some(fitted),
            notes,
        })
    }

    /// Loads another file or directory of the kind that the model was trained on: all of it, or
    /// `split` of a path that holds both. It is prepared as the model's training data.
    ///
    /// # Errors
    /// Those of [`DataSource::load_labelled`](crate::data::DataSource::load_labelled).
    pub fn of_file(model: &Model, path: &Path, split: Option<Split>) -> Result<EvaluationData> {
        let preparation = &model.preparation;
        let request = LabelledRequest {
            path,
            split,
            preparation,
            outputs: model.network.targets(),
        };
        let labelled = load_labelled(model, &request)?;
        let (data, mut notes) = (labelled.data, labelled.notes);
        let name = match labelled.split {
            Some(split) => format!("the {} split of {}", split.name(), shown_path(path)),
            None => shown_path(path),
        };
        notes.extend(short_sequences(&data, &name));
        let train = match own_splits(model) {
            Ok(splits) => {
                notes.extend(absent_classes(&splits.train, &data, &name, preparation));
                Some(splits.fitted())
            }
            Err(error) => {
                notes.push(no_baselines(&error));
                None
            }
        };
        Ok(EvaluationData {
            data: data.into(),
            split: labelled.split,
            extent: labelled.extent,
            train,
            notes,
        })
    }
}

/// The splits that the model was trained on; the training split alone if the others cannot be read.
fn own_splits(model: &Model) -> Result<Splits> {
    let (recipe, preparation) = (&model.recipe, &model.preparation);
    recipe.load_splits(Some(preparation)).or_else(|error| {
        let train = recipe.load_split(Split::Train, Some(preparation));
        let train = train.map_err(|_| error)?;
        Ok(Splits {
            train,
            validation: None,
            test: None,
            preparation: preparation.clone(),
            notes: vec![],
        })
    })
}

/// A note that the training split cannot be read.
fn no_baselines(error: &Error) -> String {
    format!(
        "the baselines are left out, because they are fitted to the model's training split, which \
         cannot be read: {error}"
    )
}

/// Evaluates a saved model on a data set.
///
/// # Errors
/// Those of data that do not fit the model or have no target, of parameters that are not the
/// network's, and of the device; [`Error::Data`] for a loss that is not finite, with the sequence.
pub fn evaluate(
    model: &Model,
    data: &Dataset,
    batch_size: usize,
    device: &Device,
) -> Result<Evaluation> {
    evaluate_on(model, data, batch_size, &OpenDevice::open(device)?)
}

/// [`evaluate`] on an opened device.
///
/// # Errors
/// Those of [`evaluate`].
pub fn evaluate_on(
    model: &Model,
    data: &Dataset,
    batch_size: usize,
    device: &OpenDevice,
) -> Result<Evaluation> {
    evaluate_beside(model, data, None, batch_size, device)
}

/// [`evaluate_on`] for a model whose training split is `train`: then a forecast has MASE too.
///
/// # Errors
/// Those of [`evaluate`].
pub fn evaluate_beside(
    model: &Model,
    data: &Dataset,
    train: Option<&Dataset>,
    batch_size: usize,
    device: &OpenDevice,
) -> Result<Evaluation> {
    check_data(&model.network, data)?;
    if !model.network.heads.is_empty() {
        return evaluate_heads(model, data, train, batch_size, device);
    }
    let batch_size = batch_size.min(data.count);
    let mut collector = OutputCollector::new(model, data, train);
    let mut evaluator = Evaluator::load(model, data, batch_size, device)?;
    evaluator.write(model, data)?;
    let start = Instant::now();
    let totals = evaluator.play(data, collector.as_mut())?;
    if totals.is_empty() {
        return Err(Error::data(
            "no output of the data has a target: every label is negative or every target value is \
             missing; an evaluation needs at least one",
        ));
    }
    let seconds = start.elapsed().as_secs_f64();
    if !totals.loss().is_finite() {
        let sequence = first_not_finite(model, data, batch_size, device)?;
        return Err(Error::data(format!(
            "the loss of sequence {sequence} is not finite: its inputs or targets, or the model's \
             parameters, are too large for f32; check that the data are in the units of the \
             training data"
        )));
    }
    let metrics = match &model.preparation.vocabulary {
        Some(_) => Some(OutputMetrics::Text(TextMetrics::of(totals.loss()))),
        None => collector.and_then(OutputCollector::finish),
    };
    Ok(Evaluation {
        metrics,
        loss: totals.loss(),
        accuracy: matches!(data.targets, Targets::Classes { .. }).then(|| totals.accuracy()),
        last_step_loss: totals.last_step_loss(&model.network, &evaluator.feed),
        ranks: evaluator.read_ranks()?,
        confusion: evaluator.read_confusion()?,
        sequences: data.count,
        sequences_per_second: data.count as f64 / seconds,
        seconds,
        heads: vec![],
    })
}

/// Returns the first sequence whose loss is not finite, of data whose loss is not.
fn first_not_finite(
    model: &Model,
    data: &Dataset,
    batch_size: usize,
    device: &OpenDevice,
) -> Result<usize> {
    let (mut start, mut end) = (0, data.count);
    while end - start > 1 {
        let middle = start + (end - start) / 2;
        let half = data.select(&(start..middle).collect::<Vec<_>>());
        let mut evaluator = Evaluator::load(model, &half, batch_size.min(half.count), device)?;
        evaluator.write(model, &half)?;
        if evaluator.play(&half, None)?.loss().is_finite() {
            start = middle;
        } else {
            end = middle;
        }
    }
    Ok(start)
}

/// A model's evaluation, loaded on a device.
struct Evaluator {
    network: RecordedNetwork,
    feed: Feed,
    tally: Option<Tally>,
    executor: Box<dyn Executor>,
}

impl Evaluator {
    /// Records the evaluation and loads it on the device, with all the data or with a window over
    /// them.
    fn load(
        model: &Model,
        data: &Dataset,
        batch_size: usize,
        device: &OpenDevice,
    ) -> Result<Evaluator> {
        // In the chunks of training. The states are carried, so the results do not depend on them.
        let steps = model.recipe.bptt_steps.unwrap_or(data.steps);
        let steps = steps.min(data.steps);
        load_or_recompute(model.recipe.recompute, &model.network, steps, |recompute| {
            let tuning = Tuning {
                recompute,
                ..device.tuning()
            };
            load_or_stream(device, |bytes| {
                let sizes = [steps, batch_size];
                Evaluator::load_with(model, data, sizes, (device, tuning, bytes))
            })
        })
    }

    /// [`Evaluator::load`] of T and B `sizes`, with this tuning and memory for the data.
    fn load_with(
        model: &Model,
        data: &Dataset,
        [steps, batch_size]: [usize; 2],
        (device, tuning, bytes): (&OpenDevice, Tuning, Option<u64>),
    ) -> Result<Evaluator> {
        let gradients = Gradients::None;
        let mut network =
            RecordedNetwork::new(&model.network, steps, batch_size, gradients, tuning)?;
        network.add_lists(data.targets.longest_list())?;
        let feed = Feed::record(&mut network, Phase::Evaluate, data, bytes)?;
        record_evaluation(&mut network, Phase::Evaluate);
        let tally = record_tally(&mut network, Phase::Evaluate);
        feed.record_end(&mut network, Phase::Evaluate, None);
        check_fits(&network.program, device)?;
        Ok(Evaluator {
            executor: device.load(&network.program)?,
            network,
            feed,
            tally,
        })
    }

    /// Writes parameters, data and zero counts.
    fn write(&mut self, model: &Model, data: &Dataset) -> Result<()> {
        let parameters = model.network.from_parameters(&model.parameters)?;
        self.executor.write(&self.network.parameters, &parameters)?;
        self.feed.upload(self.executor.as_mut(), data)?;
        if let Some(tally) = &self.tally {
            for counts in [tally.confusion, tally.ranks] {
                self.executor.write_index(&counts, &vec![0; counts.len()])?;
            }
        }
        Ok(())
    }

    /// Evaluates all the data. With a collector, the outputs of each step are read.
    fn play(
        &mut self,
        data: &Dataset,
        mut collector: Option<&mut OutputCollector>,
    ) -> Result<Totals> {
        let most_steps = if collector.is_some() { 1 } else { usize::MAX };
        let labels = collector.as_ref().map_or(vec![], |_| data.labels());
        let order = self.feed.own_order(data);
        let mut progress = EvaluationProgress::begin(&mut self.runner(data))?;
        loop {
            let at = self.feed.done();
            let advanced = progress.advance(&mut self.runner(data), most_steps)?;
            if advanced.is_none() {
                return Ok(progress.totals);
            }
            if let Some(collector) = &mut collector {
                self.collect((data, &labels, &order), at, collector)?;
            }
        }
    }

    fn runner<'a>(&'a mut self, data: &'a Dataset) -> StepRunner<'a> {
        StepRunner {
            feed: &mut self.feed,
            data,
            executor: self.executor.as_mut(),
            phases: &[Phase::Evaluate],
        }
    }

    /// Reads the outputs of step `at` of the pass, whose sequences are in this order, and adds them
    /// to the collector.
    fn collect(
        &mut self,
        (data, labels, order): (&Dataset, &[u32], &[u32]),
        at: usize,
        collector: &mut OutputCollector,
    ) -> Result<()> {
        let outputs = self.executor.read(&self.network.head.outputs)?;
        let at = (at, self.feed.chunks());
        let outputs = (&outputs[..], self.network.network.head.size);
        each_output(&self.network, outputs, data, order, at, |n_t, outputs| {
            collector.add(data, labels, n_t, outputs.iter().copied());
        });
        Ok(())
    }

    /// The ranks `[K]`, where they are counted.
    fn read_ranks(&mut self) -> Result<Option<Vec<u32>>> {
        let Some(tally) = &self.tally else {
            return Ok(None);
        };
        self.executor.read_index(&tally.ranks).map(Some)
    }

    /// The confusion matrix `[K, K]`, where it is counted.
    fn read_confusion(&mut self) -> Result<Option<Array2<u32>>> {
        let Some(tally) = &self.tally else {
            return Ok(None);
        };
        let counts = self.executor.read_index(&tally.confusion)?;
        // The shape does not fit where there are too many classes to count.
        Ok(Array2::from_shape_vec([tally.classes; 2], counts).ok())
    }
}

/// Visits the outputs `[K]` of step `at` of a pass over `data` in this order, of so many chunks a
/// batch: those of each sequence and time step, of all outputs of a head and K.
pub(super) fn each_output(
    network: &RecordedNetwork,
    (outputs, width): (&[f32], usize),
    data: &Dataset,
    order: &[u32],
    (at, chunks): (usize, usize),
    mut visit: impl FnMut((usize, usize), &[f32]),
) {
    let batch = network.batch;
    let first_sequence = at / chunks * batch;
    let first_step = at % chunks * network.steps;
    // Rows are [T, B], or [B] where the head reads the last step.
    let rows = outputs.chunks_exact(width);
    for (row, outputs) in rows.enumerate() {
        let (n, t) = (first_sequence + row % batch, first_step + row / batch);
        if let Some(&n) = order.get(n).filter(|_| t < data.steps) {
            visit((n as usize, t), outputs);
        }
    }
}

/// Records, in `phase`, the counts of ranks and of the confusion matrix, where the network
/// classifies.
pub(super) fn record_tally(network: &mut RecordedNetwork, phase: Phase) -> Option<Tally> {
    let Network { head, .. } = &network.network;
    if !head.loss.takes_classes() {
        return None;
    }
    let classes = head.size;
    let side = if classes <= Tally::LARGEST_CONFUSION {
        classes
    } else {
        0
    };
    let program = &mut network.program;
    let mut counts =
        |name, extents: [usize; 2]| program.buffer(name, Kind::Control, Element::Index, extents);
    let tally = Tally {
        outputs: network.head.outputs,
        labels: network.head.labels,
        confusion: counts("confusion", [side, side]),
        ranks: counts("ranks", [classes, 1]),
        classes,
    };
    program.push(phase, tally.clone());
    Some(tally)
}

/// An evaluation in progress, of a split in its own order.
pub(super) struct EvaluationProgress {
    pub(super) totals: Totals,
}

impl EvaluationProgress {
    /// Starts the pass.
    pub(super) fn begin(runner: &mut StepRunner) -> Result<EvaluationProgress> {
        runner.begin_in_order()?;
        Ok(EvaluationProgress {
            totals: Totals::default(),
        })
    }

    /// Plays the next steps, at most `most`. Returns the sequences that are done and the records of
    /// these steps, or `None` where all steps were done before.
    pub(super) fn advance(
        &mut self,
        runner: &mut StepRunner,
        most: usize,
    ) -> Result<Option<(usize, Vec<StepRecord>)>> {
        if runner.feed.done() == runner.feed.steps() {
            return Ok(None);
        }
        let count = runner.next_count(most);
        let records = runner.play(count)?;
        records.iter().for_each(|record| self.totals.add(record));
        Ok(Some((runner.feed.finished(runner.feed.done()), records)))
    }
}
