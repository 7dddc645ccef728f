//! Metrics of the order that scores give to examples.

use super::classes::mean;

/// Returns the area under the ROC curve: the probability that a positive example has a higher score
/// than a negative one, where equal scores count half (Hanley & McNeil 1982; scikit-learn's
/// `roc_auc_score`). `None` without a positive or without a negative example.
///
/// `scores` and `positive` have the same length; no score is NaN.
pub fn roc_auc(scores: &[f32], positive: &[bool]) -> Option<f64> {
    let order = descending(scores);
    let positives = positive.iter().filter(|&&is_positive| is_positive).count();
    let negatives = positive.len() - positives;
    // Pairs in which the negative example is before the positive one.
    let (mut inverted, mut before) = (0.0, 0_usize);
    for equal in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let own = equal.iter().filter(|&&n| positive[n]).count();
        let others = equal.len() - own;
        inverted += own as f64 * (before as f64 + 0.5 * others as f64);
        before += others;
    }
    let pairs = positives as f64 * negatives as f64;
    (pairs > 0.0).then(|| 1.0 - inverted / pairs)
}

/// Returns the average precision: the sum over the thresholds of the precision times the increase
/// of the recall, without interpolation (scikit-learn's `average_precision_score`). `None` without
/// a positive example.
///
/// `scores` and `positive` have the same length; no score is NaN.
pub fn average_precision(scores: &[f32], positive: &[bool]) -> Option<f64> {
    let order = descending(scores);
    let positives = positive.iter().filter(|&&is_positive| is_positive).count();
    let (mut sum, mut found, mut all) = (0.0, 0_usize, 0_usize);
    for equal in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let own = equal.iter().filter(|&&n| positive[n]).count();
        found += own;
        all += equal.len();
        sum += own as f64 * found as f64 / all as f64;
    }
    (positives > 0).then(|| sum / positives as f64)
}

/// The indices of the scores, the largest first.
fn descending(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Each class against the others.
#[derive(Debug, Clone, PartialEq)]
pub struct RankingScores {
    /// `[K]`: `None` for a class without an example, or that all examples have.
    pub roc_auc: Vec<Option<f64>>,
    /// `[K]`: `None` for a class without an example.
    pub average_precision: Vec<Option<f64>>,
}

impl RankingScores {
    /// The most memory for the probabilities of all outputs, in bytes.
    pub const MOST_BYTES: usize = 1 << 30;

    /// The mean area under the ROC curve of the classes that have one (scikit-learn's
    /// `multi_class="ovr"`, `average="macro"`).
    pub fn mean_roc_auc(&self) -> Option<f64> {
        mean(self.roc_auc.iter().copied().flatten())
    }

    /// The mean average precision of the classes that have one (scikit-learn's `average="macro"`).
    pub fn mean_average_precision(&self) -> Option<f64> {
        mean(self.average_precision.iter().copied().flatten())
    }
}

/// The probabilities of all outputs and their classes.
#[derive(Debug, Clone)]
pub(super) struct ScoreColumns {
    /// K.
    classes: usize,
    /// `[N, K]`
    scores: Vec<f32>,
    /// `[N]`
    labels: Vec<u32>,
    is_dropped: bool,
}

impl ScoreColumns {
    pub(super) fn new(classes: usize) -> ScoreColumns {
        ScoreColumns {
            classes,
            scores: vec![],
            labels: vec![],
            is_dropped: false,
        }
    }

    /// Adds the logarithms of probabilities `[K]`.
    pub(super) fn add(&mut self, logs: &[f64], class: usize) {
        let bytes = (self.scores.len() + self.classes) * size_of::<f32>();
        if self.is_dropped || bytes > RankingScores::MOST_BYTES {
            self.is_dropped = true;
            (self.scores, self.labels) = (vec![], vec![]);
            return;
        }
        let probabilities = logs.iter().map(|log| log.exp() as f32);
        self.scores.extend(probabilities);
        self.labels.push(class as u32);
    }

    /// The scores of each class; `None` where the probabilities were dropped.
    pub(super) fn finish(self) -> Option<RankingScores> {
        if self.is_dropped {
            return None;
        }
        let of_class = |class: usize| {
            let column = self.scores.iter().skip(class).step_by(self.classes);
            let column: Vec<f32> = column.copied().collect();
            let labels = self.labels.iter();
            let positive: Vec<bool> = labels.map(|&label| label as usize == class).collect();
            (
                roc_auc(&column, &positive),
                average_precision(&column, &positive),
            )
        };
        let (roc_auc, average_precision) = (0..self.classes).map(of_class).unzip();
        Some(RankingScores {
            roc_auc,
            average_precision,
        })
    }
}
