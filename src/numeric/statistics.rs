//! Medians and quartiles of samples.

use serde::{Deserialize, Serialize};

/// A median and the quartiles around it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    pub median: f64,
    /// A quarter of the samples is below it.
    pub low: f64,
    /// A quarter of the samples is above it.
    pub high: f64,
}

impl Estimate {
    /// Of these samples; zeros where there are none.
    pub fn of(mut samples: Vec<f64>) -> Estimate {
        samples.sort_by(f64::total_cmp);
        Estimate {
            median: quantile(&samples, 0.5),
            low: quantile(&samples, 0.25),
            high: quantile(&samples, 0.75),
        }
    }

    /// The quartiles' distance, as a part of the median.
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / self.median
    }

    pub(crate) fn scaled(self, factor: f64) -> Estimate {
        Estimate {
            median: self.median * factor,
            low: self.low * factor,
            high: self.high * factor,
        }
    }
}

/// Between the two sorted samples that it falls between; 0 where there are none.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = part * last as f64;
    let (below, above) = (sorted[place as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// `value` with three digits, or all that come before the point.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_samples() {
        let estimate = Estimate::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(
            estimate,
            Estimate {
                median: 2.5,
                low: 1.75,
                high: 3.25
            }
        );
        assert_eq!(Estimate::of(vec![7.0]).spread(), 0.0);
        assert_eq!(Estimate::of(vec![]), Estimate::default());
        assert_eq!(quantile(&[0.0, 10.0], 0.95), 9.5);
    }
}
