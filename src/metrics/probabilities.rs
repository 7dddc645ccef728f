//! Metrics of predicted probabilities.

/// The bins of a calibration curve: equal parts of the range 0 to 1.
pub const CALIBRATION_BINS: usize = 10;

/// The outputs of one bin of a calibration curve.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CalibrationBin {
    pub count: u64,
    /// The mean predicted probability.
    pub predicted: f64,
    /// The share of the outputs for which it came true.
    pub observed: f64,
}

/// Sums over predicted probabilities of K classes.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbabilitySums {
    classes: usize,
    count: u64,
    log_loss: f64,
    squares: f64,
    /// Outputs, sums of probabilities, and outputs for which it came true.
    bins: [(u64, f64, u64); CALIBRATION_BINS],
}

impl ProbabilitySums {
    /// Sums of nothing, for K classes.
    pub fn new(classes: usize) -> ProbabilitySums {
        ProbabilitySums {
            classes,
            count: 0,
            log_loss: 0.0,
            squares: 0.0,
            bins: Default::default(),
        }
    }

    /// Adds the natural logarithms of the probabilities `[K]` of an output and its class. Returns
    /// the class of the largest, the first of equals.
    pub fn add(&mut self, logs: &[f64], class: usize) -> usize {
        let larger = |best: usize, k: usize| if logs[k] > logs[best] { k } else { best };
        let predicted = (0..logs.len()).fold(0, larger);
        self.count += 1;
        self.log_loss -= logs[class];
        let square = |(k, log): (usize, &f64)| {
            let truth = if k == class { 1.0 } else { 0.0 };
            (log.exp() - truth).powi(2)
        };
        self.squares += logs.iter().enumerate().map(square).sum::<f64>();
        let (judged, is_true) = if self.classes == 2 {
            (1, class == 1)
        } else {
            (predicted, class == predicted)
        };
        let probability = logs[judged].exp();
        let (count, sum, came_true) = &mut self.bins[bin_of(probability)];
        *count += 1;
        *sum += probability;
        *came_true += u64::from(is_true);
        predicted
    }

    /// The mean of -ln p of the true class; `None` without outputs (scikit-learn's `log_loss`).
    pub fn log_loss(&self) -> Option<f64> {
        self.mean(self.log_loss)
    }

    /// The Brier score: the mean over the outputs of the sum over the classes of (p - y)^2, from 0
    /// to 2; of two classes half of it, from 0 to 1 (Brier 1950; scikit-learn's `brier_score_loss`
    /// with `scale_by_half="auto"`). `None` without outputs.
    pub fn brier(&self) -> Option<f64> {
        let scale = if self.classes == 2 { 0.5 } else { 1.0 };
        self.mean(scale * self.squares)
    }

    /// The calibration curve over equal bins, without empty ones. Of two classes it judges the
    /// probability of the second one (scikit-learn's `calibration_curve`); of more, that of the
    /// predicted class (Guo et al. 2017).
    pub fn calibration(&self) -> Vec<CalibrationBin> {
        let filled = self.bins.iter().filter(|(count, ..)| *count > 0);
        let bin = |&(count, sum, came_true): &(u64, f64, u64)| CalibrationBin {
            count,
            predicted: sum / count as f64,
            observed: came_true as f64 / count as f64,
        };
        filled.map(bin).collect()
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.count > 0).then(|| sum / self.count as f64)
    }
}

/// The bin of a probability. As in scikit-learn, a probability on an edge is in the upper bin.
fn bin_of(probability: f64) -> usize {
    let bin = (probability * CALIBRATION_BINS as f64) as usize;
    bin.min(CALIBRATION_BINS - 1)
}
