//! The comparison of two profiles.

use std::collections::HashMap;

use serde::Serialize;

use super::Profile;
use crate::numeric::statistics::Estimate;

/// The differences between two profiles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// A plain step, in microseconds, whether it has changed or not.
    pub step: Change,
    /// The call sites that have changed by more than noise, the largest difference first.
    pub changes: Vec<Change>,
    /// The number of call sites that have not.
    pub unchanged: usize,
    /// The call sites that only the first profile has.
    pub only_before: Vec<String>,
    /// The call sites that only the second profile has.
    pub only_after: Vec<String>,
}

/// A time in both profiles, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    pub label: String,
    pub before: Estimate,
    pub after: Estimate,
    /// Whether the difference is more than noise: the ranges between the quartiles do not overlap,
    /// and the medians differ by more than [`Change::LEAST`].
    pub beyond_noise: bool,
}

impl Change {
    /// The smallest relative difference of medians that counts; medians of equal programs differ by
    /// up to this much from run to run.
    pub const LEAST: f64 = 0.05;

    fn new(label: String, before: Estimate, after: Estimate) -> Change {
        let apart = before.high < after.low || after.high < before.low;
        let difference = (after.median - before.median).abs();
        Change {
            label,
            before,
            after,
            beyond_noise: apart && difference > Change::LEAST * before.median,
        }
    }

    /// Returns the difference of the medians in microseconds; positive if the second is slower.
    pub fn difference(&self) -> f64 {
        self.after.median - self.before.median
    }

    /// Returns the ratio of the second median to the first.
    pub fn ratio(&self) -> f64 {
        self.after.median / self.before.median
    }
}

impl Profile {
    /// Compares this profile with a later one, `after`.
    pub fn compare(&self, after: &Profile) -> Comparison {
        let (old, new) = (LabelledTimes::of(self), LabelledTimes::of(after));
        let both = old.0.iter().filter_map(|(label, before)| {
            let after = new.find(label)?;
            Some(Change::new(label.clone(), *before, after))
        });
        let (mut changes, same): (Vec<_>, Vec<_>) = both.partition(|change| change.beyond_noise);
        changes.sort_by(|a, b| b.difference().abs().total_cmp(&a.difference().abs()));
        let step = |profile: &Profile| profile.step.plain_ms.scaled(1e3);
        Comparison {
            step: Change::new("step".into(), step(self), step(after)),
            changes,
            unchanged: same.len(),
            only_before: old.missing_in(&new),
            only_after: new.missing_in(&old),
        }
    }
}

/// The microseconds of a profile's call sites, by labels that are unique.
struct LabelledTimes(Vec<(String, Estimate)>);

impl LabelledTimes {
    /// Sites with the same phase, kernel and name are numbered in order. Grids are ignored: they
    /// may be the difference between the profiles.
    fn of(profile: &Profile) -> LabelledTimes {
        let mut seen = HashMap::new();
        let times = profile.sites.iter().map(|site| {
            let label = format!("{} {}", site.phase.name(), site.label());
            let number = seen.entry(label.clone()).or_insert(0);
            *number += 1;
            let label = match number {
                1 => label,
                number => format!("{label} ({number})"),
            };
            (label, site.time.step_us)
        });
        LabelledTimes(times.collect())
    }

    fn find(&self, label: &str) -> Option<Estimate> {
        let mut times = self.0.iter();
        times.find(|time| time.0 == label).map(|time| time.1)
    }

    fn missing_in(&self, other: &LabelledTimes) -> Vec<String> {
        let labels = self.0.iter().map(|(label, _)| label);
        let missing = labels.filter(|label| other.find(label).is_none());
        missing.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(median: f64, spread: f64) -> Estimate {
        let (low, high) = (median - spread, median + spread);
        Estimate { median, low, high }
    }

    #[test]
    fn a_change_is_beyond_noise_where_quartiles_and_medians_are_apart() {
        let beyond = |before, after| Change::new("".into(), before, after).beyond_noise;
        assert!(beyond(around(10.0, 0.1), around(12.0, 0.1)));
        assert!(beyond(around(12.0, 0.1), around(10.0, 0.1)));
        assert!(!beyond(around(10.0, 1.0), around(12.0, 1.5)));
        assert!(!beyond(around(10.0, 0.1), around(10.4, 0.1)));
    }
}
