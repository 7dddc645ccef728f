//! Metrics of predicted classes.

use ndarray::ArrayView2;

use super::probabilities::{CalibrationBin, ProbabilitySums};
use super::ranking::{RankingScores, ScoreColumns};

/// The number of labelled outputs of each class: all, those predicted as it, and both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassCounts {
    truth: Vec<u64>,
    predicted: Vec<u64>,
    correct: Vec<u64>,
}

impl ClassCounts {
    /// Counts of nothing, for K classes.
    pub fn new(classes: usize) -> ClassCounts {
        ClassCounts {
            truth: vec![0; classes],
            predicted: vec![0; classes],
            correct: vec![0; classes],
        }
    }

    /// The counts of a confusion matrix `[K, K]` of true (row) and predicted classes (column).
    pub fn of(confusion: ArrayView2<u32>) -> ClassCounts {
        let sum = |counts: ndarray::ArrayView1<u32>| counts.iter().map(|&n| u64::from(n)).sum();
        ClassCounts {
            truth: confusion.rows().into_iter().map(sum).collect(),
            predicted: confusion.columns().into_iter().map(sum).collect(),
            correct: confusion.diag().iter().map(|&n| n.into()).collect(),
        }
    }

    /// Counts an output; both classes are below K.
    pub fn add(&mut self, truth: usize, predicted: usize) {
        self.truth[truth] += 1;
        self.predicted[predicted] += 1;
        self.correct[truth] += u64::from(truth == predicted);
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.truth.len()
    }

    /// The labelled outputs of a class.
    pub fn support(&self, class: usize) -> u64 {
        self.truth[class]
    }

    /// All labelled outputs.
    pub fn count(&self) -> u64 {
        self.truth.iter().sum()
    }

    /// The share of the outputs whose class is predicted; `None` without outputs.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.correct.iter().sum(), self.count())
    }

    /// The share of the outputs predicted as this class that are of it; `None` if the class is
    /// never predicted (scikit-learn's `precision_score` is 0 then).
    pub fn precision(&self, class: usize) -> Option<f64> {
        ratio(self.correct[class], self.predicted[class])
    }

    /// The share of the outputs of this class that are predicted as it; `None` if the class has no
    /// output (scikit-learn's `recall_score` is 0 then).
    pub fn recall(&self, class: usize) -> Option<f64> {
        ratio(self.correct[class], self.truth[class])
    }

    /// F1, the harmonic mean of precision and recall; `None` if the class neither occurs nor is
    /// predicted (van Rijsbergen 1979; scikit-learn's `f1_score`).
    pub fn f1(&self, class: usize) -> Option<f64> {
        ratio(
            2 * self.correct[class],
            self.truth[class] + self.predicted[class],
        )
    }

    /// The mean recall of the classes that occur; `None` without outputs (scikit-learn's
    /// `balanced_accuracy_score`; Brodersen et al. 2010).
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let recalls = (0..self.classes()).filter_map(|class| self.recall(class));
        mean(recalls)
    }

    /// The mean of a metric over the classes that occur or are predicted, where one that is not
    /// defined counts as 0 (scikit-learn's `average="macro"` with `zero_division=0`).
    pub fn macro_mean(&self, metric: fn(&ClassCounts, usize) -> Option<f64>) -> Option<f64> {
        let present = (0..self.classes()).filter(|&k| self.truth[k] + self.predicted[k] > 0);
        mean(present.map(|class| metric(self, class).unwrap_or(0.0)))
    }

    /// The mean of a metric, weighted by the outputs of each class, where one that is not defined
    /// counts as 0 (scikit-learn's `average="weighted"` with `zero_division=0`).
    pub fn weighted_mean(&self, metric: fn(&ClassCounts, usize) -> Option<f64>) -> Option<f64> {
        let weighted = |class: usize| self.truth[class] as f64 * metric(self, class).unwrap_or(0.0);
        let sum: f64 = (0..self.classes()).map(weighted).sum();
        (self.count() > 0).then(|| sum / self.count() as f64)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| {
        (sum + value, count + 1)
    });
    (count > 0).then(|| sum / count as f64)
}

/// The metrics of a network that classifies.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMetrics {
    pub counts: ClassCounts,
    /// The mean of -ln p of the true class (natural logarithm; scikit-learn's `log_loss`).
    pub log_loss: f64,
    /// See [`ProbabilitySums::brier`].
    pub brier: f64,
    /// See [`ProbabilitySums::calibration`].
    pub calibration: Vec<CalibrationBin>,
    /// `None` where the probabilities of all outputs take too much memory.
    pub ranking: Option<RankingScores>,
}

impl ClassMetrics {
    /// Says which values are not defined, and why, one clause each; `name` names a class.
    pub fn undefined(&self, name: impl Fn(usize) -> String) -> Vec<String> {
        let counts = &self.counts;
        let classes = || 0..counts.classes();
        let listed = |classes: Vec<usize>| -> Option<String> {
            let names: Vec<String> = classes.iter().map(|&k| format!("`{}`", name(k))).collect();
            match names.len() {
                0 => None,
                1..=MOST_NAMED => Some(names.join(", ")),
                more => Some(format!(
                    "{} and {} other classes",
                    names[..MOST_NAMED].join(", "),
                    more - MOST_NAMED
                )),
            }
        };
        let absent = classes().filter(|&k| counts.truth[k] == 0).collect();
        let absent = listed(absent).map(|names| {
            format!(
                "recall, ROC AUC and average precision are not defined for {names}: no example of \
                 it"
            )
        });
        let unpredicted = classes().filter(|&k| counts.predicted[k] == 0).collect();
        let unpredicted = listed(unpredicted).map(|names| {
            format!(
                "precision is not defined for {names}: never predicted; in means it counts as 0 \
                 where the class occurs"
            )
        });
        let alone = classes().filter(|&k| counts.truth[k] == counts.count());
        let alone = listed(alone.collect()).map(|names| {
            format!("ROC AUC is not defined for {names}: no example of another class")
        });
        let memory = self.ranking.is_none().then(|| {
            format!(
                "ROC AUC and average precision need the probabilities of all outputs at once, and \
                 are left out above {} MiB of these",
                RankingScores::MOST_BYTES >> 20
            )
        });
        [absent, unpredicted, alone, memory]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// The most classes that a clause names.
const MOST_NAMED: usize = 5;

/// Sums over the outputs of a network that classifies. It keeps the probabilities, 4 K bytes for
/// each output, as ROC AUC and average precision rank all of them; beyond
/// [`RankingScores::MOST_BYTES`] it drops them.
#[derive(Debug, Clone)]
pub struct ClassSums {
    counts: ClassCounts,
    probabilities: ProbabilitySums,
    scores: ScoreColumns,
    /// `[K]`: the logarithms of the probabilities of the output at hand.
    logs: Vec<f64>,
}

impl ClassSums {
    /// Sums of nothing, for K classes.
    pub fn new(classes: usize) -> ClassSums {
        ClassSums {
            counts: ClassCounts::new(classes),
            probabilities: ProbabilitySums::new(classes),
            scores: ScoreColumns::new(classes),
            logs: vec![0.0; classes],
        }
    }

    /// Adds an output `[K]` before softmax, and its class. The first of equal outputs is the
    /// prediction.
    pub fn add(&mut self, logits: impl Iterator<Item = f32>, class: usize) {
        for (log, logit) in self.logs.iter_mut().zip(logits) {
            *log = logit.into();
        }
        let most = self.logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.logs.iter().map(|logit| (logit - most).exp()).sum();
        let shift = most + sum.ln();
        self.logs.iter_mut().for_each(|log| *log -= shift);
        let predicted = self.probabilities.add(&self.logs, class);
        self.counts.add(class, predicted);
        self.scores.add(&self.logs, class);
    }

    /// The metrics; `None` without outputs.
    pub fn finish(self) -> Option<ClassMetrics> {
        Some(ClassMetrics {
            log_loss: self.probabilities.log_loss()?,
            brier: self.probabilities.brier()?,
            calibration: self.probabilities.calibration(),
            ranking: self.scores.finish(),
            counts: self.counts,
        })
    }
}
