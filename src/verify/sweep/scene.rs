//! A network as a case: the recorded program and the contents of its buffers.

use super::fill::BufferFiller;
use super::plan::Plan;
use super::{ValueKind, hash};
use crate::backend::tuning::{Route, Tuning};
use crate::error::Result;
use crate::kernels::{IGNORE, Record, Tally, control, history};
use crate::network::{Dropout, Network};
use crate::program::Phase;
use crate::recipe::optimizer::{Clip, Optimizer};
use crate::record::update::RecordedUpdate;
use crate::record::{Gradients, RecordedNetwork};
use crate::tensor::{Element, Kind, Tensor};
use crate::verify::{Case, CompareAfter, Scene};

/// Rows of the history, and updates whose learning rates are on the device.
const HISTORY_ROWS: usize = 4;

/// A network, and how it is played and compared.
#[derive(Clone)]
pub(super) struct NetworkCase {
    pub network: Network,
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    pub gradients: Gradients,
    pub optimizer: Optimizer,
    pub clip: Clip,
    pub plan: Plan,
    pub values: ValueKind,
    pub lengths: Lengths,
    pub compare_after: CompareAfter,
    /// Cell, hidden size and options.
    pub name: String,
}

/// The valid steps of the sequences of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lengths {
    /// From 0 to more than T; all of the second four sequences end early.
    Mixed,
    /// All of every second four, and of every second sixteen, are 0; the longest of a sixteen are
    /// in its last four, or in its first.
    EmptyTiles,
    /// All T: no step is padding.
    Full,
    /// All 0.
    Empty,
}

impl Lengths {
    /// Returns the length of sequence `b` of a batch of `steps` steps.
    fn of(self, b: usize, steps: usize) -> usize {
        let half = steps.div_ceil(2);
        let mixed = [steps + 3, 0, half, 1, half, 1, 0, half, steps];
        let mixed = mixed[b % mixed.len()];
        // The four of a sixteen, from its end in every second 32.
        let four = if (b / 32).is_multiple_of(2) {
            b / 4 % 4
        } else {
            3 - b / 4 % 4
        };
        match self {
            Lengths::Mixed => mixed,
            Lengths::EmptyTiles if b / 16 % 2 == 1 => 0,
            Lengths::EmptyTiles => {
                [0, mixed.min(half), 0, [steps + 3, 0, half, steps][b % 4]][four]
            }
            Lengths::Full => steps,
            Lengths::Empty => 0,
        }
    }
}

/// The most labels of a sequence, where the target is a list.
const LONGEST_LIST: usize = 2;

/// Updates before those of a case: the first update has formulas of its own, and the corrections of
/// Adam are 1 after a long run.
pub(super) const UPDATES: [u32; 4] = [0, 3, 1_500, 300_000];

/// A recorded network with the buffers of the training loop.
struct Recording {
    model: RecordedNetwork,
    update: RecordedUpdate,
    control: Tensor,
    /// Of a classifier: how often each class was predicted for each label, and the ranks of labels.
    counts: Vec<Tensor>,
}

impl NetworkCase {
    /// The case's name: cell, hidden size, options, T, B, route and kind of values.
    pub(super) fn id(&self) -> String {
        let route = match self.plan.route {
            Some(Route::Scan) => " scan",
            Some(Route::Step) => " step",
            None => "",
        };
        let (t, b, values) = (self.steps, self.batch, self.values.name());
        format!("{} t{t} b{b}{route} {values}", self.name).replace(' ', "-")
    }

    pub(super) fn into_case(self) -> Case {
        Case {
            id: self.id(),
            family: self.network.layers[0].cell.name(),
            compare_after: self.compare_after,
            is_kernel: false,
            make: Box::new(move |tuning| self.scene(tuning)),
        }
    }

    fn scene(&self, tuning: Tuning) -> Result<Scene> {
        let recording = self.record(self.plan.tuning(tuning, &self.network, self.batch))?;
        let mut filler = BufferFiller::new(&recording.model.program, &self.name);
        filler.fill_all(self.values);
        self.fill_parameters(&mut filler, &recording.model);
        self.fill_batch(&mut filler, &recording.model);
        self.fill_loop(&mut filler, &recording);
        self.keep_given(&mut filler, &recording.model);
        Ok(Scene {
            unwritten: filler.unwritten(&recording.model.program),
            contents: filler.into_contents(),
            program: recording.model.program,
        })
    }

    /// Records a training step and an evaluation.
    fn record(&self, tuning: Tuning) -> Result<Recording> {
        let mut model = RecordedNetwork::new(
            &self.network,
            self.steps,
            self.batch,
            self.gradients,
            tuning,
        )?;
        let words = [control::WORDS];
        let program = &mut model.program;
        let control = program.buffer("control", Kind::Control, Element::Index, words);
        let rows = [HISTORY_ROWS, history::WORDS];
        let history = program.buffer("history", Kind::Control, Element::Real, rows);

        model.add_lists(LONGEST_LIST)?;
        model.carry_states(Phase::Forward, control);
        model.draw_masks(7, control);
        model.forward(Phase::Forward);
        model.loss(Phase::Forward);
        if self.gradients != Gradients::None {
            model.backward();
        }
        let optimizer = &self.optimizer;
        let update = model.record_update(optimizer, self.clip, control, HISTORY_ROWS);
        let record = Record {
            scores: model.head.scores,
            labels: model.head.labels,
            lengths: model.lengths,
            weight: model.head.label_weight,
            norm: Some(update.norm),
            control,
            history,
            batch: self.batch,
            chunks: 1,
        };
        model.program.push(Phase::Update, record.clone());

        // The update has changed the weights that the forward pass packed.
        model.forward(Phase::Evaluate);
        model.loss(Phase::Evaluate);
        let evaluated = Record {
            norm: None,
            chunks: 2,
            ..record
        };
        model.program.push(Phase::Evaluate, evaluated);
        let counts = match self.compare_after {
            CompareAfter::EachCall => self.record_counts(&mut model),
            CompareAfter::TrainingSteps(_) => {
                model.forward(Phase::Validate);
                // Rounding of whole steps may decide which class is first.
                vec![]
            }
        };
        Ok(Recording {
            model,
            update,
            control,
            counts,
        })
    }

    /// Records the confusion matrix and ranks of a classifier.
    fn record_counts(&self, model: &mut RecordedNetwork) -> Vec<Tensor> {
        if !self.network.head.loss.takes_classes() {
            return vec![];
        }
        let classes = self.network.head.size;
        let [confusion, ranks] = [[classes, classes], [classes, 1]].map(|shape| {
            let program = &mut model.program;
            program.buffer("counts", Kind::Control, Element::Index, shape)
        });
        let tally = Tally {
            outputs: model.head.outputs,
            labels: model.head.labels,
            confusion,
            ranks,
            classes,
        };
        model.program.push(Phase::Evaluate, tally);
        vec![confusion, ranks]
    }

    /// Marks what the host gives or an earlier chunk of time has left.
    fn keep_given(&self, filler: &mut BufferFiller, model: &RecordedNetwork) {
        for recurrence in model.recurrences() {
            filler.keep(&recurrence.states.last);
            if self.gradients == Gradients::OfUpstream {
                filler.keep(&recurrence.gradients.dstate);
            }
        }
        if self.gradients == Gradients::OfUpstream {
            // Those of the head and the embedding are the caller's.
            let entries = model
                .entries
                .iter()
                .filter(|entry| entry.direction.is_none());
            let gradients = entries.filter_map(|entry| model.gradient(&entry.name));
            gradients.for_each(|gradient| filler.keep(&gradient));
            let last = self.network.layers.len() - 1;
            model
                .upstream(last)
                .iter()
                .for_each(|upstream| filler.keep(upstream));
        }
        for head in model.each_head() {
            head.targets.iter().for_each(|targets| filler.keep(targets));
        }
        // Gradients begin at multiples of four elements; between them are zeros.
        let gradients = model.entries.iter();
        let gradients = gradients.filter_map(|entry| model.gradient(&entry.name));
        let mut gradients: Vec<Tensor> = gradients.collect();
        gradients.sort_by_key(|gradient| gradient.offset);
        if let Some(&first) = gradients.first() {
            let whole = model.program.whole(first.buffer.index());
            let ends = gradients.iter().map(|gradient| gradient.range().end);
            let begins = gradients.iter().skip(1).map(|gradient| gradient.offset);
            for (end, begin) in ends.zip(begins.chain([whole.len()])) {
                filler.keep(&whole.part(end, [begin - end]));
            }
        }
    }

    fn fill_parameters(&self, filler: &mut BufferFiller, model: &RecordedNetwork) {
        for entry in &model.entries {
            let tensor = model.parameters.part(entry.offset, entry.shape);
            let limit = match entry.shape.extents() {
                // The magnitudes of a row sum to about 1, so that errors do not grow over time.
                [_, columns] => 2.0 / *columns as f32 * self.values.scale(),
                _ => 0.5 * self.values.input_scale(),
            };
            filler.fill_symmetric(&tensor, limit);
        }
    }

    /// Fills inputs, lengths and labels.
    fn fill_batch(&self, filler: &mut BufferFiller, model: &RecordedNetwork) {
        let network = &self.network;
        if network.input.is_values() {
            filler.fill_symmetric(&model.inputs, self.values.input_scale());
        } else {
            filler.fill_below(&model.inputs, network.input_size as u32);
        }
        let length = |b| self.lengths.of(b, self.steps) as u32;
        filler.set_indices(&model.lengths, length);
        for (tensors, head) in model.each_head().iter().zip(network.each_head()) {
            let classes = match tensors.targets {
                Some(_) => 1,
                None => head.size as u32,
            };
            if let Some(lists) = &tensors.lists {
                // Lists of 0 to all labels, with repeated ones.
                filler.set_indices(&lists.labels, |at| {
                    let (j, b) = (at / self.batch, at % self.batch);
                    let label = 1 + (b + j / 2) as u32 % (classes - 1);
                    if j < b % (LONGEST_LIST + 1) {
                        label
                    } else {
                        IGNORE
                    }
                });
            }
            filler.fill_below(&tensors.labels, classes);
            filler.set_every(&tensors.labels, 4, IGNORE);
        }
        if !model.heads.is_empty() {
            filler.fill_below(&model.head.labels, 1);
        }
    }

    /// Fills the buffers of the training loop and the optimizer's moments.
    fn fill_loop(&self, filler: &mut BufferFiller, recording: &Recording) {
        for tensor in &recording.counts {
            filler.fill_below(tensor, 9);
        }
        // Some cases play the first update and chunk, others a later one.
        let drawn = hash(&self.name) >> 32;
        let updates = UPDATES[drawn as usize % UPDATES.len()];
        let chunk = u32::from(drawn >> 8 & 1 == 1);
        // Masks depend on the place of a batch in its update.
        let layers = &self.network.layers;
        let draws_masks = layers
            .iter()
            .any(|layer| layer.dropout != Dropout::default());
        let is_later = chunk.max(u32::from(draws_masks));
        filler.set_indices(&recording.control, |word| match word {
            control::STEP => updates,
            control::CHUNK => chunk,
            control::COUNT => 100,
            // A later batch of an update of several.
            control::TAKEN => 3 * is_later,
            control::FURTHER => 5 * is_later,
            _ => 0,
        });
        // Some moments are means of squares, which are at least 0. Large ones would let states grow
        // over time beyond the range of f32.
        for moment in &recording.update.moments {
            filler.fill_positive(&moment.tensor, 0.01);
        }
        filler.fill_positive(&recording.update.rates, 0.01);
    }
}
