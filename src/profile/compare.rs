//! Two profiles side by side.

use std::collections::HashMap;

use serde::Serialize;

use super::{Profile, Site};
use crate::numeric::statistics::Estimate;

/// What differs between two profiles by more than their noise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// A plain step, in microseconds, whether it differs or not.
    pub step: Change,
    /// The call sites that differ, the largest difference first.
    pub changes: Vec<Change>,
    /// Call sites that do not.
    pub unchanged: usize,
    /// What only one of them has.
    pub only_before: Vec<String>,
    pub only_after: Vec<String>,
}

/// A time in both profiles, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    pub label: String,
    pub before: Estimate,
    pub after: Estimate,
    /// Whether that is more than noise: the quartiles are apart, and the medians by more than [`Change::LEAST`].
    pub beyond_noise: bool,
}

impl Change {
    /// Medians that differ by a smaller part than this also do so from one run to the next.
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

    /// Microseconds by which it takes longer than before.
    pub fn difference(&self) -> f64 {
        self.after.median - self.before.median
    }

    /// How many times as long it takes.
    pub fn ratio(&self) -> f64 {
        self.after.median / self.before.median
    }
}

impl Profile {
    /// What got faster or slower from this profile to `after`.
    pub fn compare(&self, after: &Profile) -> Comparison {
        // Two rows may share a name, and grids may be what changed: they are told apart by their order.
        let named = |profile: &Profile| {
            let mut seen = HashMap::new();
            let key = |site: &Site| {
                let label = format!("{} {}", site.phase.name(), site.label());
                let number = seen.entry(label.clone()).or_insert(0);
                *number += 1;
                let label = match number {
                    1 => label,
                    number => format!("{label} ({number})"),
                };
                (label, site.step_us)
            };
            profile.sites.iter().map(key).collect::<Vec<_>>()
        };
        let (old, new) = (named(self), named(after));
        let find = |rows: &[(String, Estimate)], label: &str| {
            let mut rows = rows.iter();
            rows.find(|row| row.0 == label).map(|row| row.1)
        };
        let both = old.iter().filter_map(|(label, before)| {
            Some(Change::new(label.clone(), *before, find(&new, label)?))
        });
        let (mut changes, same): (Vec<_>, Vec<_>) = both.partition(|change| change.beyond_noise);
        changes.sort_by(|a, b| b.difference().abs().total_cmp(&a.difference().abs()));
        let missing = |rows: &[(String, Estimate)], from: &[(String, Estimate)]| {
            let labels = rows.iter().map(|row| row.0.clone());
            labels.filter(|label| find(from, label).is_none()).collect()
        };
        let step = |profile: &Profile| profile.step.plain_ms.scaled(1e3);
        Comparison {
            step: Change::new("step".into(), step(self), step(after)),
            changes,
            unchanged: same.len(),
            only_before: missing(&old, &new),
            only_after: missing(&new, &old),
        }
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
    fn noise_is_what_quartiles_and_small_parts_cover() {
        let beyond = |before, after| Change::new("".into(), before, after).beyond_noise;
        assert!(beyond(around(10.0, 0.1), around(12.0, 0.1)));
        assert!(beyond(around(12.0, 0.1), around(10.0, 0.1)));
        assert!(!beyond(around(10.0, 1.0), around(12.0, 1.5)));
        assert!(!beyond(around(10.0, 0.1), around(10.4, 0.1)));
    }
}
