//! The loss that training minimises, and the outputs that it needs.

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Result;
use crate::fields;

/// The loss that training minimises; all are means over the outputs with a target, as in TensorFlow
/// and PyTorch. A loss of values needs [`Loss::outputs_per_target`] outputs for each of K targets:
/// output j of target k is column `j * K + k` of the network's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, remote = "Self")]
#[non_exhaustive]
pub enum Loss {
    /// Softmax cross-entropy in nats, mean over the labelled outputs.
    CrossEntropy,
    /// Squared error, mean over all outputs and their K values.
    MeanSquaredError,
    /// Absolute error (`nn.L1Loss` of PyTorch).
    MeanAbsoluteError,
    /// Half the squared error up to `delta`, beyond it the absolute error with the same slope
    /// (Huber 1964; `nn.HuberLoss` of PyTorch).
    Huber {
        /// In the units of the network's targets: deviations, if they are normalised.
        delta: f32,
    },
    /// Pinball loss of several quantiles of each target, mean over the quantiles (Koenker and
    /// Bassett 1978; `QuantileLoss` of pytorch-forecasting, divided by the number of levels).
    Quantile {
        /// The levels, such as 0.1, 0.5 and 0.9.
        levels: Quantiles,
    },
    /// Negative log-likelihood of a normal distribution, without the constant `ln(2 pi) / 2`; the
    /// outputs are its mean and the logarithm of its variance (Nix and Weigend 1994;
    /// `nn.GaussianNLLLoss` of PyTorch). Variances below 1e-6 count as 1e-6.
    GaussianNll,
    /// Binary cross-entropy in nats of a logit for each of K labels that are 0 or 1
    /// (`nn.BCEWithLogitsLoss` of PyTorch), mean over the labels.
    BinaryCrossEntropy,
    /// Connectionist temporal classification (Graves et al. 2006; `nn.CTCLoss` of PyTorch): minus
    /// ln of the probability of all alignments of a sequence's labels with its steps, divided by
    /// the number of labels, mean over the sequences. Class 0 is the blank.
    Ctc {
        /// Whether a sequence of too few steps for its labels counts as loss 0, with gradient 0.
        /// Otherwise such a sequence is refused; the kernels' loss is infinite.
        #[serde(default = "yes")]
        zero_infinity: bool,
    },
    /// The sum of the losses of several heads, each times its weight. A recipe does not name it.
    #[default]
    Heads,
}

fn yes() -> bool {
    true
}

/// `"ctc"` stands for the loss with its defaults; all else is as derived.
impl Serialize for Loss {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Loss::CTC {
            return serializer.serialize_str(self.name());
        }
        Loss::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Loss {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Loss, D::Error> {
        deserializer.deserialize_any(LossVisitor)
    }
}

/// Reads a loss: its name, or a table of one loss with its fields.
struct LossVisitor;

impl<'de> Visitor<'de> for LossVisitor {
    type Value = Loss;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a loss: its name, or a table with its name and fields")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Loss, E> {
        if name == Loss::CTC.name() {
            return Ok(Loss::CTC);
        }
        Loss::deserialize(StrDeserializer::new(name))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Loss, A::Error> {
        Loss::deserialize(MapAccessDeserializer::new(map))
    }
}

/// The levels of quantiles: strictly increasing, between 0 and 1.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f32>", into = "Vec<f32>")]
pub struct Quantiles {
    levels: [f32; Quantiles::MOST],
    count: usize,
}

impl Quantiles {
    /// The most levels.
    pub const MOST: usize = 31;

    /// Returns these levels.
    ///
    /// # Errors
    /// A clause for no level or more than [`Quantiles::MOST`], and for levels that are not between
    /// 0 and 1 or not increasing.
    pub fn new(levels: &[f32]) -> Result<Quantiles, String> {
        let count = levels.len();
        if count == 0 || count > Quantiles::MOST {
            return Err(format!(
                "there are {count} levels of quantiles; there must be 1 to {}",
                Quantiles::MOST
            ));
        }
        if let Some(level) = levels
            .iter()
            .find(|level| !(0.0 < **level && **level < 1.0))
        {
            return Err(format!(
                "the level of a quantile is {level}; it must be between 0 and 1"
            ));
        }
        if let Some(pair) = levels.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(format!(
                "the level {} of a quantile follows {}; levels must increase",
                pair[1], pair[0]
            ));
        }
        let mut all = [0.0; Quantiles::MOST];
        all[..count].copy_from_slice(levels);
        Ok(Quantiles { levels: all, count })
    }

    /// Returns the levels in increasing order.
    pub fn levels(&self) -> &[f32] {
        &self.levels[..self.count]
    }

    /// Returns the index of the level that is nearest to 0.5, the first of equal ones.
    pub fn middle(&self) -> usize {
        let distance = |n: &usize| (self.levels[*n] - 0.5).abs();
        let nearest = (0..self.count).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.unwrap_or(0)
    }

    /// Returns the intervals between quantiles `level` and `1 - level`, the widest first: the
    /// indices of both quantiles.
    pub fn intervals(&self) -> Vec<(usize, usize)> {
        let levels = self.levels();
        let is_opposite = |low: usize, high: usize| (levels[low] + levels[high] - 1.0).abs() < 1e-6;
        let opposite = |low: usize| (low + 1..levels.len()).find(|&high| is_opposite(low, high));
        let intervals = (0..levels.len()).filter_map(|low| Some((low, opposite(low)?)));
        intervals.collect()
    }
}

impl std::fmt::Debug for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.levels().fmt(f)
    }
}

impl TryFrom<Vec<f32>> for Quantiles {
    type Error = String;

    fn try_from(levels: Vec<f32>) -> Result<Quantiles, String> {
        Quantiles::new(&levels)
    }
}

impl From<Quantiles> for Vec<f32> {
    fn from(quantiles: Quantiles) -> Vec<f32> {
        quantiles.levels().to_vec()
    }
}

impl Loss {
    /// Connectionist temporal classification, where a sequence of too few steps has loss 0.
    pub const CTC: Loss = Loss::Ctc {
        zero_infinity: true,
    };

    /// Returns the loss of these quantiles.
    ///
    /// # Errors
    /// Those of [`Quantiles::new`].
    pub fn quantiles(levels: &[f32]) -> Result<Loss, String> {
        Ok(Loss::Quantile {
            levels: Quantiles::new(levels)?,
        })
    }

    /// Returns the outputs of the network for each class or target value.
    pub fn outputs_per_target(&self) -> usize {
        match self {
            Loss::Quantile { levels } => levels.levels().len(),
            Loss::GaussianNll => 2,
            _ => 1,
        }
    }

    /// Returns whether the targets are classes, or else values.
    pub fn takes_classes(&self) -> bool {
        matches!(self, Loss::CrossEntropy)
    }

    /// Returns whether the targets are values of any size, or else classes, or labels 0 and 1.
    pub fn takes_quantities(&self) -> bool {
        !self.takes_classes() && !self.takes_labels() && !self.takes_lists() && *self != Loss::Heads
    }

    /// Returns whether the outputs bound intervals: opposite quantiles or normal distributions.
    pub fn has_intervals(&self) -> bool {
        match self {
            Loss::Quantile { levels } => !levels.intervals().is_empty(),
            Loss::GaussianNll => true,
            _ => false,
        }
    }

    /// Returns whether the target of a sequence is a list of labels.
    pub fn takes_lists(&self) -> bool {
        matches!(self, Loss::Ctc { .. })
    }

    /// Returns whether the targets are several labels that are each 0 or 1.
    pub fn takes_labels(&self) -> bool {
        matches!(self, Loss::BinaryCrossEntropy)
    }

    /// Returns the name in recipes.
    pub fn name(&self) -> &'static str {
        match self {
            Loss::CrossEntropy => "cross-entropy",
            Loss::MeanSquaredError => "mean-squared-error",
            Loss::MeanAbsoluteError => "mean-absolute-error",
            Loss::Huber { .. } => "huber",
            Loss::Quantile { .. } => "quantile",
            Loss::GaussianNll => "gaussian-nll",
            Loss::BinaryCrossEntropy => "binary-cross-entropy",
            Loss::Ctc { .. } => "ctc",
            Loss::Heads => "heads",
        }
    }

    /// Returns the index j of the output of a target that is its point forecast: the mean, or the
    /// quantile nearest to the median.
    pub fn point_output(&self) -> usize {
        match self {
            Loss::Quantile { levels } => levels.middle(),
            _ => 0,
        }
    }

    /// Returns the loss of a target where all outputs for it are `prediction`: of labels a
    /// probability, of a normal distribution a mean with the variance 1.
    pub fn of_point(&self, prediction: f64, target: f64) -> f64 {
        let error = prediction - target;
        match self {
            Loss::CrossEntropy | Loss::MeanSquaredError | Loss::Ctc { .. } | Loss::Heads => {
                error.powi(2)
            }
            Loss::MeanAbsoluteError => error.abs(),
            Loss::Huber { delta } => {
                let slope = error.clamp(-f64::from(*delta), f64::from(*delta));
                slope * (error - 0.5 * slope)
            }
            Loss::Quantile { levels } => {
                let pinball = |&level: &f32| {
                    let level = f64::from(level);
                    (-level * error).max((1.0 - level) * error)
                };
                let levels = levels.levels();
                levels.iter().map(pinball).sum::<f64>() / levels.len() as f64
            }
            Loss::GaussianNll => 0.5 * error.powi(2),
            Loss::BinaryCrossEntropy => {
                // The smallest probability whose logarithm is finite keeps a certain one finite.
                let log = |p: f64| p.max(f64::MIN_POSITIVE).ln();
                -(target * log(prediction) + (1.0 - target) * log(1.0 - prediction))
            }
        }
    }

    /// Checks the fields; `path` is that of the loss.
    pub(super) fn validate(&self, path: &str) -> Result<()> {
        match self {
            Loss::Huber { delta } => {
                fields::positive(&format!("{path}.huber.delta"), f64::from(*delta))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctc_is_a_name_or_a_table() {
        let strict = Loss::Ctc {
            zero_infinity: false,
        };
        for (loss, json) in [
            (Loss::CTC, "\"ctc\""),
            (strict, r#"{"ctc":{"zero_infinity":false}}"#),
            (Loss::CrossEntropy, "\"cross-entropy\""),
            (Loss::Huber { delta: 0.5 }, r#"{"huber":{"delta":0.5}}"#),
        ] {
            assert_eq!(serde_json::to_string(&loss).unwrap(), json);
            assert_eq!(serde_json::from_str::<Loss>(json).unwrap(), loss);
        }
        let table = serde_json::from_str::<Loss>(r#"{"ctc":{}}"#);
        assert_eq!(table.unwrap(), Loss::CTC);
        let unknown = serde_json::from_str::<Loss>("\"ctx\"").unwrap_err();
        assert!(unknown.to_string().contains("unknown variant `ctx`"));
        let number = serde_json::from_str::<Loss>("3").unwrap_err();
        assert!(number.to_string().contains("a loss: its name"), "{number}");
    }

    #[test]
    fn levels_must_increase_between_0_and_1() {
        for (levels, expected) in [
            (vec![], "0 levels"),
            (vec![0.5; 32], "32 levels"),
            (vec![0.0, 0.5], "is 0; it must be between"),
            (vec![0.1, f32::NAN], "is NaN; it must be between"),
            (vec![0.5, 0.5], "0.5 of a quantile follows 0.5"),
            (vec![0.9, 0.1], "0.1 of a quantile follows 0.9"),
        ] {
            let problem = Quantiles::new(&levels).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        let quantiles = Quantiles::new(&[0.05, 0.25, 0.5, 0.75, 0.95]).unwrap();
        assert_eq!(quantiles.middle(), 2);
        assert_eq!(quantiles.intervals(), [(0, 4), (1, 3)]);
        assert_eq!(Quantiles::new(&[0.3, 0.6]).unwrap().intervals(), []);
    }
}
