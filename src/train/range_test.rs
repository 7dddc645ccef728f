//! The learning-rate range test (Smith 2017, <https://arxiv.org/abs/1506.01186>): the rate grows by
//! the same factor at each update, and the losses show at which rates training learns.

use serde::Serialize;

use crate::error::Result;
use crate::fields;
use crate::recipe::Recipe;
use crate::recipe::schedule::Schedule;

/// The rates of a range test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangeTest {
    /// The first rate.
    pub from: f64,
    /// The last rate.
    pub to: f64,
    /// Updates, at least 10.
    pub steps: usize,
}

impl Default for RangeTest {
    /// 100 updates from 1e-6 to 10.
    fn default() -> Self {
        RangeTest {
            from: 1e-6,
            to: 10.0,
            steps: 100,
        }
    }
}

/// An update of a range test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RangePoint {
    pub rate: f64,
    /// Of the update's batch, before the update.
    pub loss: f64,
    /// Mean of the losses of this update and of those around it.
    pub smoothed: f64,
}

/// What a range test has found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RangeFinding {
    pub points: Vec<RangePoint>,
    /// The rate from which on the loss was too large to go on, if it was.
    pub diverges_at: Option<f64>,
    /// A learning rate, where the losses show one.
    pub suggestion: Option<f64>,
    /// Why this one, or why none.
    pub reason: String,
}

/// The most updates of a range test.
const MOST_STEPS: usize = 100_000;
/// The fewest updates.
const FEWEST_STEPS: usize = 10;
/// Updates whose mean loss tells whether training diverges.
const MEAN_OF: usize = FEWEST_STEPS / 2;

impl RangeTest {
    /// Checks rates and updates.
    ///
    /// # Errors
    /// [`InvalidValue`](crate::error::Error::InvalidValue) for the first that is not allowed.
    pub fn validate(&self) -> Result<()> {
        fields::positive("from", self.from)?;
        fields::positive("to", self.to)?;
        let range = format!("above the first rate, {}", self.from);
        fields::require(self.to > self.from, "to", self.to, &range)?;
        let range = format!("at least {FEWEST_STEPS} and at most {MOST_STEPS}");
        let is_allowed = (FEWEST_STEPS..=MOST_STEPS).contains(&self.steps);
        fields::require(is_allowed, "steps", self.steps, &range)
    }

    /// The rate of update `n`, from 0.
    pub(super) fn rate(&self, n: usize) -> f64 {
        let share = n as f64 / (self.steps - 1) as f64;
        self.from * (self.to / self.from).powf(share)
    }

    /// The recipe with enough epochs for the updates, and nothing that ends it before.
    pub(super) fn recipe(&self, recipe: &Recipe) -> Recipe {
        Recipe {
            epochs: self.steps,
            steps: None,
            patience: None,
            keep_best: false,
            conformal: false,
            schedule: Schedule::default(),
            ..recipe.clone()
        }
    }

    /// Whether the loss has grown so far that larger rates show nothing more: beyond its fall,
    /// three times as far as it fell, and by more than batches differ. Each loss is the mean of
    /// some updates, for the same reason.
    pub(super) fn diverges(losses: &[f64]) -> bool {
        if losses.len() <= FEWEST_STEPS {
            return false;
        }
        let means: Vec<f64> = losses.windows(MEAN_OF).map(mean).collect();
        let (start, last) = (means[0], means[means.len() - 1]);
        let least = means.iter().copied().fold(f64::INFINITY, f64::min);
        let noise =
            spread_of_neighbours(&losses[..losses.len() - MEAN_OF]) / (MEAN_OF as f64).sqrt();
        let grown = (3.0 * (start - least))
            .max(0.3 * start.abs())
            .max(6.0 * noise);
        last > start + grown
    }

    /// What the losses of the first updates show; `diverges` says that larger rates were not tried.
    pub(super) fn finding(&self, losses: &[f64], diverges: bool) -> RangeFinding {
        let smoothed = self.smoothed(losses);
        let point = |(n, (&loss, &smoothed)): (usize, (&f64, &f64))| RangePoint {
            rate: self.rate(n),
            loss,
            smoothed,
        };
        let points: Vec<RangePoint> = losses
            .iter()
            .zip(&smoothed)
            .enumerate()
            .map(point)
            .collect();
        let (suggestion, reason) = self.suggestion(&points);
        RangeFinding {
            diverges_at: points.last().filter(|_| diverges).map(|last| last.rate),
            points,
            suggestion,
            reason,
        }
    }

    /// Losses averaged over a tenth of the updates. The mean is of both sides, so that it does not
    /// lag behind the rate.
    fn smoothed(&self, losses: &[f64]) -> Vec<f64> {
        let half = (self.steps / 20).max(1);
        let around = |n: usize| {
            // As many on both sides: the ends have fewer.
            let reach = half.min(n).min(losses.len() - 1 - n);
            mean(&losses[n - reach..=n + reach])
        };
        (0..losses.len()).map(around).collect()
    }

    /// The rate at which the smoothed loss falls fastest, before its minimum.
    fn suggestion(&self, points: &[RangePoint]) -> (Option<f64>, String) {
        let lowest =
            (points.iter().enumerate()).min_by(|a, b| a.1.smoothed.total_cmp(&b.1.smoothed));
        let Some((end, lowest)) = lowest else {
            return (None, "the first loss is not finite".into());
        };
        let reach = (self.steps / 20).max(1);
        let before: Vec<f64> = points[..=end].iter().map(|point| point.smoothed).collect();
        // Batches differ: up to the minimum the loss is taken as one that only falls.
        let fit = falling_fit(&before);
        let slope = |n: usize| {
            let (a, b) = (n.saturating_sub(reach), (n + reach).min(end));
            let decades = (points[b].rate / points[a].rate).log10();
            (fit[b] - fit[a]) / decades.max(f64::MIN_POSITIVE)
        };
        let steepest = (reach..end).min_by(|&a, &b| slope(a).total_cmp(&slope(b)));
        let start = fit[0];
        // Several times what the mean of a window differs by chance.
        let noise = spread(points) / (2.0 * reach as f64 + 1.0).sqrt();
        let needed = (0.02 * start.abs()).max(6.0 * noise);
        let has_fallen = start - fit[end] > needed.max(f64::MIN_POSITIVE);
        match steepest.filter(|&n| slope(n) < 0.0 && has_fallen) {
            Some(n) => (
                Some(two_digits(points[n].rate)),
                format!(
                    "the loss falls fastest near {}, by {:.3} for each tenfold rate; it is lowest, \
                     {:.3}, at {}",
                    rate_text(points[n].rate),
                    -slope(n),
                    lowest.smoothed,
                    rate_text(lowest.rate)
                ),
            ),
            None => (
                None,
                format!(
                    "the loss does not fall by 2% and by more than batches differ, at any rate \
                     from {} to {}; try other rates or more updates",
                    rate_text(self.from),
                    rate_text(points.last().map_or(self.to, |last| last.rate))
                ),
            ),
        }
    }
}

/// A rate rounded to two digits.
fn two_digits(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

/// A rate with two digits; a very small one with a power of ten.
pub fn rate_text(rate: f64) -> String {
    let rounded = two_digits(rate);
    if rounded < 1e-4 {
        format!("{rate:.1e}")
    } else {
        rounded.to_string()
    }
}

/// The non-increasing values with the least squared differences from these (the algorithm of pooled
/// adjacent violators, Ayer et al. 1955).
fn falling_fit(values: &[f64]) -> Vec<f64> {
    let mut blocks: Vec<(f64, usize)> = vec![];
    for &value in values {
        blocks.push((value, 1));
        while let [.., (before, count), (last, more)] = blocks[..]
            && before < last
        {
            let all = count + more;
            let pooled = (before * count as f64 + last * more as f64) / all as f64;
            blocks.truncate(blocks.len() - 2);
            blocks.push((pooled, all));
        }
    }
    let expanded = blocks.iter();
    expanded
        .flat_map(|&(value, count)| std::iter::repeat_n(value, count))
        .collect()
}

/// The standard deviation of the losses around their smoothed values, of the first half of the
/// updates.
fn spread(points: &[RangePoint]) -> f64 {
    let first = &points[..points.len().div_ceil(2)];
    let squares: Vec<f64> = first
        .iter()
        .map(|point| (point.loss - point.smoothed).powi(2))
        .collect();
    mean(&squares).sqrt()
}

/// The standard deviation of losses that follow a slow change, by the differences from one to the
/// next (von Neumann 1941).
fn spread_of_neighbours(losses: &[f64]) -> f64 {
    let squares: Vec<f64> = losses
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).powi(2) / 2.0)
        .collect();
    mean(&squares).sqrt()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Losses that fall around the rate 1e-3 and grow from 1e-1 on.
    fn losses(test: &RangeTest) -> Vec<f64> {
        let loss = |n: usize| {
            let rate = test.rate(n).log10();
            let noise = 0.02 * f64::from([1, -1, 0, 2, -2][n % 5]);
            2.0 - 1.5 / (1.0 + (-4.0 * (rate + 3.0)).exp()) + (5.0 * (rate + 0.5)).exp() + noise
        };
        (0..test.steps).map(loss).collect()
    }

    #[test]
    fn the_suggestion_is_where_the_loss_falls_fastest() {
        let test = RangeTest::default();
        let finding = test.finding(&losses(&test), false);
        let rate = finding.suggestion.unwrap();
        assert!((3e-4..3e-3).contains(&rate), "{rate}");
        assert!(
            finding.reason.contains("falls fastest near"),
            "{}",
            finding.reason
        );
        assert!(RangeTest::diverges(&losses(&test)));
        let first: Vec<f64> = losses(&test).into_iter().take(80).collect();
        assert!(!RangeTest::diverges(&first));
    }

    #[test]
    fn batches_that_differ_do_not_diverge() {
        for seed in 0..50u32 {
            let loss = |n: u32| {
                let drawn = (n * 7919 + seed * 104_729).wrapping_mul(2_654_435_761) >> 16;
                1.0 + 1.5 * (f64::from(drawn) / 65_536.0 - 0.5)
            };
            let losses: Vec<f64> = (0..100).map(loss).collect();
            for n in 1..=100 {
                assert!(
                    !RangeTest::diverges(&losses[..n]),
                    "seed {seed}, update {n}"
                );
            }
            let growing = (0..100).map(|n| loss(n) + (0.5 * (f64::from(n) - 80.0)).exp());
            let growing: Vec<f64> = growing.collect();
            let end = (1..=100).find(|&n| RangeTest::diverges(&growing[..n]));
            assert!(
                end.is_some_and(|n| (78..90).contains(&n)),
                "{seed}: {end:?}"
            );
        }
    }

    #[test]
    fn losses_that_do_not_fall_give_no_suggestion() {
        let test = RangeTest::default();
        for losses in [
            vec![1.0; 100],
            (0..100).map(|n| 1.0 + f64::from(n) / 50.0).collect(),
        ] {
            let finding = test.finding(&losses, false);
            assert_eq!(finding.suggestion, None);
            assert!(
                finding.reason.contains("does not fall"),
                "{}",
                finding.reason
            );
        }
    }

    #[test]
    fn batches_that_differ_show_no_fall_before_the_loss_falls() {
        let test = RangeTest::default();
        for seed in 0..20u32 {
            let noisy = losses(&test).into_iter().enumerate().map(|(n, loss)| {
                let drawn = (n as u32 * 7919 + seed * 104_729).wrapping_mul(2_654_435_761) >> 16;
                loss + 0.3 * (f64::from(drawn) / 65_536.0 - 0.5)
            });
            let finding = test.finding(&noisy.collect::<Vec<_>>(), false);
            let rate = finding.suggestion.unwrap();
            assert!((1e-4..1e-2).contains(&rate), "{seed}: {rate}");
        }
        assert_eq!(falling_fit(&[3.0, 1.0, 2.0, 0.5]), [3.0, 1.5, 1.5, 0.5]);
    }

    #[test]
    fn rates_grow_by_the_same_factor() {
        let test = RangeTest {
            from: 1e-4,
            to: 1e-2,
            steps: 11,
        };
        assert_eq!((test.rate(0), test.rate(10)), (1e-4, 1e-2));
        assert!((test.rate(5) / 1e-3 - 1.0).abs() < 1e-9);
        for (from, to, steps, expected) in [
            (0.0, 1.0, 100, "from is 0"),
            (1.0, 1.0, 100, "to is 1; it must be above the first rate"),
            (0.1, 1.0, 3, "steps is 3; it must be at least 10"),
        ] {
            let message = RangeTest { from, to, steps }
                .validate()
                .unwrap_err()
                .to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
