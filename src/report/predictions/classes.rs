//! Predicted classes: how often each is predicted for each, and the worst misclassified sequences.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ndarray::ArrayView1;

use super::PredictedBatch;
use super::picture::SequencePicture;
use crate::data::Dataset;
use crate::data::preparation::Preparation;
use crate::infer::predict::{largest, softmax};
use crate::kernels::IGNORE;

/// The largest number of misclassified sequences that are kept.
const MOST_MISCLASSIFIED: usize = 24;

/// The predictions of a network that classifies.
#[derive(Debug, Clone)]
pub struct ClassPredictions {
    /// `[K]`: the classes' names in the data.
    pub names: Vec<String>,
    /// Number of labelled outputs by true and by predicted class; pairs without any are absent.
    pub counts: BTreeMap<(usize, usize), u32>,
    /// The misclassified sequences with the largest loss, the largest first; empty if every step
    /// has a class.
    pub worst: Vec<Misclassified>,
}

/// A sequence whose predicted class is not its true one.
#[derive(Debug, Clone)]
pub struct Misclassified {
    /// The index in its split.
    pub sequence: usize,
    /// The true class.
    pub class: usize,
    /// The predicted class.
    pub predicted: usize,
    /// The predicted probability of the predicted class.
    pub probability: f32,
    /// The predicted probability of the true class.
    pub class_probability: f32,
    pub picture: Option<SequencePicture>,
}

impl ClassPredictions {
    /// Returns the number of labelled outputs of a class, and of those predicted correctly.
    pub fn recall_of(&self, class: usize) -> (u32, u32) {
        let of_class = self.counts.iter().filter(|((truth, _), _)| *truth == class);
        let all = of_class.map(|(_, count)| count).sum();
        (all, self.counts.get(&(class, class)).copied().unwrap_or(0))
    }

    /// Returns the pairs of a true and a different predicted class, the most frequent first.
    pub fn confusions(&self) -> Vec<((usize, usize), u32)> {
        let pairs = self.counts.iter().map(|(&pair, &count)| (pair, count));
        let mut wrong: Vec<_> = pairs
            .filter(|((class, predicted), _)| class != predicted)
            .collect();
        wrong.sort_by_key(|&(pair, count)| (Reverse(count), pair));
        wrong
    }
}

/// The predictions of the batches so far.
#[derive(Default)]
pub(super) struct ClassCollector {
    counts: BTreeMap<(usize, usize), u32>,
    worst: Vec<Misclassified>,
}

impl ClassCollector {
    pub fn add(&mut self, batch: &PredictedBatch) {
        let targets = &batch.data.targets;
        let labels = batch.data.labels();
        let sequence_labels = labels.chunks(labels.len() / batch.data.count);
        let outputs = batch.outputs.outer_iter();
        let each = outputs.zip(batch.sequences).zip(sequence_labels);
        for ((logits, &sequence), labels) in each {
            for (logits, &label) in logits.rows().into_iter().zip(labels) {
                if label == IGNORE {
                    continue;
                }
                let (class, predicted) = (label as usize, largest(logits));
                *self.counts.entry((class, predicted)).or_default() += 1;
                if class != predicted && !targets.per_step() {
                    self.worst
                        .push(misclassified(sequence, class, predicted, logits));
                }
            }
        }
        // The loss is the negative logarithm of the true class's probability.
        self.worst.sort_by(|a, b| {
            let by_loss = a.class_probability.total_cmp(&b.class_probability);
            by_loss.then(a.sequence.cmp(&b.sequence))
        });
        self.worst.truncate(MOST_MISCLASSIFIED);
    }

    pub fn finish(mut self, data: &Dataset, preparation: &Preparation) -> ClassPredictions {
        for each in &mut self.worst {
            each.picture = SequencePicture::new(data, each.sequence);
        }
        ClassPredictions {
            names: (0..data.targets.outputs())
                .map(|class| preparation.class(class))
                .collect(),
            counts: self.counts,
            worst: self.worst,
        }
    }
}

fn misclassified(
    sequence: usize,
    class: usize,
    predicted: usize,
    logits: ArrayView1<f32>,
) -> Misclassified {
    let mut probabilities = logits.to_owned();
    softmax(probabilities.view_mut());
    Misclassified {
        sequence,
        class,
        predicted,
        probability: probabilities[predicted],
        class_probability: probabilities[class],
        picture: None,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array3, Axis, arr2};

    use super::*;
    use crate::data::Targets;

    #[test]
    fn predictions_are_counted_and_the_worst_kept() {
        let inputs = Array3::from_shape_fn((4, 2, 3), |(n, t, i)| (n * 6 + t * 3 + i) as f32);
        let labels = Array1::from(vec![0, 1, 2, 1]);
        let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 3)).unwrap();
        let outputs = arr2(&[
            [2.0, 0.0, 0.0],
            [1.0, 0.0, 0.0],
            [9.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
        ]);
        let outputs = outputs.insert_axis(Axis(1));
        let mut collector = ClassCollector::default();
        collector.add(&PredictedBatch {
            data: data.clone(),
            sequences: &[0, 1, 2, 3],
            outputs,
        });
        let predictions = collector.finish(&data, &Preparation::default());
        assert_eq!(predictions.names, ["0", "1", "2"]);
        assert_eq!(predictions.recall_of(1), (2, 1));
        assert_eq!(predictions.confusions(), [((1, 0), 1), ((2, 0), 1)]);
        let order: Vec<usize> = predictions.worst.iter().map(|each| each.sequence).collect();
        assert_eq!(order, [2, 1]);
        let Some(SequencePicture::Image { columns, values }) = &predictions.worst[0].picture else {
            panic!("an image was expected");
        };
        assert_eq!(*columns, 3);
        assert_eq!(values, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    }
}
