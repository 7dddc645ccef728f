//! Medians and quartiles of samples.

use serde::{Deserialize, Serialize};

/// The median and quartiles of samples.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Estimate {
    /// The estimate from `samples`; zeros without samples.
    pub fn of(mut samples: Vec<f64>) -> Estimate {
        samples.sort_by(f64::total_cmp);
        Estimate {
            median: quantile(&samples, 0.5),
            low: quantile(&samples, 0.25),
            high: quantile(&samples, 0.75),
        }
    }

    /// The distance between the quartiles, relative to the median.
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / self.median
    }

    /// All values multiplied by `factor`.
    pub(crate) fn scaled(self, factor: f64) -> Estimate {
        Estimate {
            median: self.median * factor,
            low: self.low * factor,
            high: self.high * factor,
        }
    }
}

/// The quantile of order `p` (0 to 1) of sorted samples, interpolated linearly; 0 without samples.
pub(crate) fn quantile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let position = p * last as f64;
    let (below, above) = (sorted[position as usize], sorted[position.ceil() as usize]);
    below + (above - below) * position.fract()
}

/// Formats `value` with three significant digits, or with all digits before the decimal point.
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
    fn quantiles_are_interpolated() {
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
