//! Predicted lists of labels: the sequences with the most errors.

use std::cmp::Reverse;

use super::PredictedBatch;
use super::picture::SequencePicture;
use crate::data::Dataset;
use crate::data::preparation::Preparation;
use crate::metrics::{BestPath, edit_distance};

/// The largest number of sequences that are kept.
const MOST_EXAMPLES: usize = 24;

/// The predictions of a network of lists of labels.
#[derive(Debug, Clone)]
pub struct ListPredictions {
    /// The sequences with the most errors, which come first.
    pub worst: Vec<PredictedList>,
}

/// A sequence whose predicted list is not the true one.
#[derive(Debug, Clone)]
pub struct PredictedList {
    /// The index in its split.
    pub sequence: usize,
    /// The names of the true labels.
    pub truth: Vec<String>,
    /// The names of the predicted labels.
    pub predicted: Vec<String>,
    /// Insertions, deletions and replacements between them.
    pub errors: usize,
    pub picture: Option<SequencePicture>,
}

/// A sequence with errors: its index, and the labels of its predicted list.
struct ListExample {
    errors: usize,
    sequence: usize,
    predicted: Vec<u32>,
}

/// The sequences with the most errors so far.
#[derive(Default)]
pub(super) struct ListExamples {
    worst: Vec<ListExample>,
}

impl ListExamples {
    pub fn add(&mut self, batch: &PredictedBatch) {
        let data = &batch.data;
        let each = batch.outputs.outer_iter().zip(batch.sequences).enumerate();
        for (n, (outputs, &sequence)) in each {
            let length = data
                .lengths
                .as_ref()
                .map_or(data.steps, |all| all[n] as usize);
            let mut path = BestPath::default();
            for outputs in outputs.outer_iter().take(length) {
                path.push(outputs.iter().copied());
            }
            let errors = edit_distance(path.labels(), data.targets.list(n));
            if errors > 0 {
                self.worst.push(ListExample {
                    errors,
                    sequence,
                    predicted: path.labels().to_vec(),
                });
            }
        }
        self.worst
            .sort_by_key(|each| (Reverse(each.errors), each.sequence));
        self.worst.truncate(MOST_EXAMPLES);
    }

    pub fn finish(self, data: &Dataset, preparation: &Preparation) -> ListPredictions {
        let names = |labels: &[u32]| {
            let labels = labels.iter();
            let names = labels.map(|&label| preparation.class(label as usize));
            names.collect()
        };
        let example = |each: ListExample| PredictedList {
            sequence: each.sequence,
            truth: names(data.targets.list(each.sequence)),
            predicted: names(&each.predicted),
            errors: each.errors,
            picture: SequencePicture::new(data, each.sequence)
                .map(SequencePicture::with_time_across),
        };
        ListPredictions {
            worst: self.worst.into_iter().map(example).collect(),
        }
    }
}
