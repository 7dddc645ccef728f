//! Predicted classes: how often each is predicted for each, and the worst misclassified sequences.

use std::cmp::{Ordering, Reverse};
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
    /// The misclassified sequences with the largest loss, the largest first; where every step has a
    /// class, steps of different sequences, or of a text.
    pub worst: Vec<Misclassified>,
}

/// A sequence whose predicted class is not its true one.
#[derive(Debug, Clone)]
pub struct Misclassified {
    /// The index in its split.
    pub sequence: usize,
    /// The step, from 0, where every step has a class.
    pub step: Option<usize>,
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
pub(super) struct ClassCollector {
    counts: BTreeMap<(usize, usize), u32>,
    worst: Vec<Misclassified>,
    /// Whether mistakes are steps of long texts, of which one sequence may have several.
    is_text: bool,
}

impl ClassCollector {
    pub fn new(is_text: bool) -> ClassCollector {
        ClassCollector {
            counts: BTreeMap::new(),
            worst: vec![],
            is_text,
        }
    }

    pub fn add(&mut self, batch: &PredictedBatch) {
        let targets = &batch.data.targets;
        let labels = batch.data.labels();
        let sequence_labels = labels.chunks(labels.len() / batch.data.count);
        let outputs = batch.outputs.outer_iter();
        let each = outputs.zip(batch.sequences).zip(sequence_labels);
        for ((logits, &sequence), labels) in each {
            let first = self.worst.len();
            for (t, (logits, &label)) in logits.rows().into_iter().zip(labels).enumerate() {
                if label == IGNORE {
                    continue;
                }
                let (class, predicted) = (label as usize, largest(logits));
                *self.counts.entry((class, predicted)).or_default() += 1;
                if class != predicted {
                    let step = targets.per_step().then_some(t);
                    self.worst
                        .push(misclassified((sequence, step), class, predicted, logits));
                }
            }
            if targets.per_step() && !self.is_text {
                self.keep_worst_step(first);
            }
        }
        self.worst.sort_by(by_loss);
        self.worst.truncate(MOST_MISCLASSIFIED);
    }

    /// Keeps the worst of the mistakes from `first` on, which are those of one sequence.
    fn keep_worst_step(&mut self, first: usize) {
        self.worst[first..].sort_by(by_loss);
        self.worst.truncate(first + 1);
    }

    pub fn finish(mut self, data: &Dataset, preparation: &Preparation) -> ClassPredictions {
        for each in &mut self.worst {
            each.picture = match &preparation.vocabulary {
                Some(vocabulary) => {
                    let at = (each.sequence, each.step.unwrap_or(0));
                    SequencePicture::of_text(data, vocabulary, at)
                }
                None => SequencePicture::new(data, each.sequence),
            };
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

/// Orders mistakes by their loss, the largest first: the negative logarithm of the true class's
/// probability.
fn by_loss(a: &Misclassified, b: &Misclassified) -> Ordering {
    let by_loss = a.class_probability.total_cmp(&b.class_probability);
    by_loss.then((a.sequence, a.step).cmp(&(b.sequence, b.step)))
}

fn misclassified(
    (sequence, step): (usize, Option<usize>),
    class: usize,
    predicted: usize,
    logits: ArrayView1<f32>,
) -> Misclassified {
    let mut probabilities = logits.to_owned();
    softmax(probabilities.view_mut());
    Misclassified {
        sequence,
        step,
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
        let mut collector = ClassCollector::new(false);
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
        let Some(SequencePicture::Lines(lines)) = &predictions.worst[0].picture else {
            panic!("lines were expected");
        };
        assert_eq!(*lines, [[12.0, 15.0], [13.0, 16.0], [14.0, 17.0]]);
    }
}
