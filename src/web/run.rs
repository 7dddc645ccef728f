//! What the host does in a run, as JSON: tensors that it reads and writes, learning rates, the
//! orders of epochs as checksums, and the losses of the first updates.

use serde::Serialize;

use super::blob::{Blob, Segment};
use crate::data::{Split, Targets};
use crate::error::Result;
use crate::kernels::{control, history};
use crate::recipe::Recipe;
use crate::tensor::Tensor;
use crate::train::feed::HISTORY_ROWS;
use crate::train::{PlayedRun, PlayedSplit};
use crate::train::{SplitChecksums, Trainer};

/// Epochs whose order has a checksum.
const CHECKED_EPOCHS: usize = 64;

/// A tensor as JSON: buffer, offset and length in words.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct TensorText(usize, usize, usize);

impl From<Tensor> for TensorText {
    fn from(tensor: Tensor) -> TensorText {
        TensorText(tensor.buffer.index(), tensor.offset, tensor.len())
    }
}

/// A run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunText {
    /// Lower and upper half.
    seed: [u32; 2],
    epochs: usize,
    /// Updates of the run.
    steps: usize,
    patience: Option<usize>,
    keep_best: bool,
    /// Whether outputs are classes of which one is right, so that there is an accuracy.
    classifies: bool,
    /// `validation`, `test` or `train`: decides on the best epoch.
    monitored: &'static str,
    /// The learning rates of all updates as `[count, rate]`.
    rates_of_steps: Vec<(usize, f32)>,
    rows: usize,
    words: Words,
    parameters: TensorText,
    rates: TensorText,
    average: Option<TensorText>,
    /// The optimizer's moments with their names.
    moments: Vec<(&'static str, TensorText)>,
    states: Vec<TensorText>,
    train: SplitText,
    validation: Option<SplitText>,
    test: Option<SplitText>,
    /// FNV-1a of the words of each of the first epochs' orders.
    orders: Vec<u32>,
    /// The losses of the first updates, on the CPU in f32.
    losses: Vec<f32>,
    /// Buffers that do not begin with zeros.
    contents: Vec<(usize, Segment)>,
    /// The checksums of the splits, for a state that the command line continues.
    data: Option<SplitChecksums>,
    /// Whether the page has the first sequences of a split only.
    is_part: bool,
}

/// The positions of words in control buffers and in rows of the history.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Words {
    step: usize,
    cursor: usize,
    row: usize,
    chunk: usize,
    taken: usize,
    loss: usize,
    hits: usize,
    labelled: usize,
    last_loss: usize,
    last_labelled: usize,
    norm: usize,
    not_finite: usize,
    history: usize,
}

const WORDS: Words = Words {
    step: control::STEP,
    cursor: control::CURSOR,
    row: control::ROW,
    chunk: control::CHUNK,
    taken: control::TAKEN,
    loss: history::LOSS,
    hits: history::HITS,
    labelled: history::LABELLED,
    last_loss: history::LAST_LOSS,
    last_labelled: history::LAST_LABELLED,
    norm: history::NORM,
    not_finite: history::NOT_FINITE,
    history: history::WORDS,
};

/// A split on the device.
#[derive(Serialize)]
struct SplitText {
    /// N.
    count: usize,
    batch: usize,
    chunks: usize,
    /// Steps of a pass.
    steps: usize,
    order: TensorText,
    /// Control words and history of the loop, then of each of several heads.
    loops: Vec<[TensorText; 2]>,
    /// `[N]`: the lengths by which the sequences of a batch are sorted, the longest first.
    lengths: Option<Segment>,
}

impl SplitText {
    fn new(split: &PlayedSplit, batch: usize, blob: &mut Blob) -> Result<SplitText> {
        let PlayedSplit { feed, data } = split;
        let lengths = data.lengths.as_ref();
        let loops = feed.loops().into_iter();
        Ok(SplitText {
            count: feed.count(),
            batch,
            chunks: feed.chunks(),
            steps: feed.steps(),
            order: feed.order().into(),
            loops: loops.map(|pair| pair.map(TensorText::from)).collect(),
            lengths: lengths.map(|lengths| blob.add(lengths)).transpose()?,
        })
    }
}

impl RunText {
    /// Records the run of a trainer that has not begun, and plays its first `checked` updates. It
    /// trains on a part of its data if `is_part`.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn new(
        trainer: &mut Trainer,
        recipe: &Recipe,
        blob: &mut Blob,
        (checked, is_part): (usize, bool),
    ) -> Result<RunText> {
        let mut contents = vec![];
        for (buffer, words) in trainer.contents()?.iter().enumerate() {
            if words.iter().any(|&word| word != 0) {
                contents.push((buffer, blob.add(words)?));
            }
        }
        let (steps, checksums) = (trainer.last_step(), trainer.split_checksums());
        let orders = (0..recipe.epochs.min(CHECKED_EPOCHS))
            .map(|epoch| fnv(&trainer.order_of_epoch(epoch)))
            .collect();
        let rates_of_steps = runs_of(&trainer.rates_of_run());
        let monitored = match trainer.monitored_split() {
            Split::Validation => "validation",
            Split::Test => "test",
            Split::Train => "train",
        };
        let (parameters, batch) = {
            let network = trainer.recording();
            (network.parameters.into(), network.batch)
        };
        let PlayedRun {
            rates,
            average,
            moments,
            states,
            train,
            validation,
            test,
        } = trainer.played();
        let classifies = matches!(train.data.targets, Targets::Classes { .. });
        let mut split = |split: Option<PlayedSplit>| {
            split
                .map(|split| SplitText::new(&split, batch, blob))
                .transpose()
        };
        let text = RunText {
            seed: [recipe.seed as u32, (recipe.seed >> 32) as u32],
            epochs: recipe.epochs,
            steps,
            patience: recipe.patience,
            keep_best: recipe.keep_best,
            classifies,
            monitored,
            rates_of_steps,
            rows: HISTORY_ROWS,
            words: WORDS,
            parameters,
            rates: rates.into(),
            average: average.map(TensorText::from),
            moments: moments
                .into_iter()
                .map(|(name, tensor)| (name, tensor.into()))
                .collect(),
            states: states.into_iter().map(TensorText::from).collect(),
            validation: split(validation)?,
            test: split(test)?,
            train: SplitText::new(&train, batch, blob)?,
            orders,
            losses: vec![],
            contents,
            data: checksums,
            is_part,
        };
        let losses = trainer.first_losses(checked.min(steps))?;
        Ok(RunText { losses, ..text })
    }
}

/// Values as counts of equal ones.
fn runs_of(values: &[f32]) -> Vec<(usize, f32)> {
    let runs = values.chunk_by(|a, b| a == b);
    runs.map(|run| (run.len(), run[0])).collect()
}

/// The FNV-1a hash of words, 32 bits at a time.
fn fnv(words: &[u32]) -> u32 {
    words.iter().fold(0x811c_9dc5, |hash: u32, &word| {
        (hash ^ word).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rates_are_counted() {
        assert_eq!(runs_of(&[0.5, 0.5, 0.25]), [(2, 0.5), (1, 0.25)]);
        assert!(runs_of(&[]).is_empty());
    }

    #[test]
    fn orders_have_different_checksums() {
        assert_ne!(fnv(&[0, 1]), fnv(&[1, 0]));
        assert_eq!(fnv(&[]), 0x811c_9dc5);
    }
}
