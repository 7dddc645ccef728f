//! The order of rows in time: ascending, descending or none, repeated times, and the steps.

use std::collections::HashMap;

use super::columns::shown;
use crate::data::csv::time::{TimeForm, date_text, month_of};
use crate::messages::counted;

/// The most distinct steps that are counted.
const MOST_STEPS: usize = 1 << 16;
/// A row without a group.
pub(super) const NO_GROUP: u32 = u32::MAX;

/// Times of the rows of a table, from one column or several.
pub(super) struct RowTimes<'a> {
    /// `[R]`: NaN for missing ones.
    pub times: &'a [f64],
    /// `[R]`: the group of each row, or nothing if there is one series.
    pub groups: Option<&'a [u32]>,
    /// `[R]`
    pub lines: &'a [u64],
    pub form: TimeForm,
}

/// The order of the rows within each group.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RowOrder {
    pub rows: usize,
    pub missing: PlacesSeen,
    /// Rows after, before and at the time of the row above in their group.
    pub rises: usize,
    pub falls: PlacesSeen,
    pub equal: PlacesSeen,
    /// Rows whose time another row of their group has, wherever it is.
    pub repeated: usize,
    /// Whether at least half of the steps would be equal if the rows were sorted, or all times are
    /// seconds since 1970.
    pub is_regular: bool,
    pub steps: Option<TimeSteps>,
}

/// Rows of which something is so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PlacesSeen {
    pub count: usize,
    /// The line of the first.
    pub line: u64,
}

impl PlacesSeen {
    fn see(&mut self, line: u64) {
        if self.count == 0 {
            self.line = line;
        }
        self.count += 1;
    }
}

/// The steps between the times of rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TimeSteps {
    /// The most frequent step, in words.
    pub usual: String,
    pub total: usize,
    /// Steps that differ from it.
    pub others: PlacesSeen,
    /// The first of those, in words.
    pub first_other: String,
}

impl RowOrder {
    pub fn of(rows: &RowTimes) -> RowOrder {
        let mut order = RowOrder {
            rows: rows.times.len(),
            ..RowOrder::default()
        };
        rows.each_pair(|step, line| match step {
            PairStep::Missing => order.missing.see(line),
            PairStep::First => {}
            PairStep::Step { from, to, .. } if to > from => order.rises += 1,
            PairStep::Step { from, to, .. } if to < from => order.falls.see(line),
            PairStep::Step { .. } => order.equal.see(line),
        });
        let sorted = rows.sorted();
        order.repeated = sorted.windows(2).filter(|pair| pair[0] == pair[1]).count();
        order.is_regular = is_regular(&sorted);
        if order.is_ascending() || order.is_descending() {
            order.steps = rows.steps();
        }
        order
    }

    pub fn is_ascending(&self) -> bool {
        self.falls.count == 0 && self.rises > 0
    }

    pub fn is_descending(&self) -> bool {
        self.rises == 0 && self.falls.count > 0
    }

    /// Returns whether nearly every row has a time of its own within its group.
    pub fn is_nearly_unique(&self) -> bool {
        20 * (self.repeated + self.missing.count) <= self.rows
    }

    /// Returns a sentence on the column of times called `name`.
    pub fn describe(&self, name: &str, has_groups: bool) -> String {
        let within = if has_groups { " within each group" } else { "" };
        let mut text = if self.is_ascending() {
            format!("{name} is the time and ascends{within}")
        } else if self.is_descending() {
            format!("{name} is the time and descends{within}, the newest row first")
        } else {
            format!(
                "{name} is the time, but {} of {} rows are before the row above{within}, the first \
                 at line {}",
                self.falls.count, self.rows, self.falls.line
            )
        };
        match &self.steps {
            Some(TimeSteps { usual, others, .. }) if others.count == 0 => {
                text += &format!(", in steps of {usual}");
            }
            Some(steps) => {
                text += &format!(
                    "; its steps are irregular: most are {}, but {} of {} are not, the first at \
                     line {} ({})",
                    steps.usual,
                    steps.others.count,
                    steps.total,
                    steps.others.line,
                    steps.first_other
                );
            }
            None => {}
        }
        if self.repeated > 0 {
            text += &format!(
                "; {} with the time of another{within}",
                counted(self.repeated, "row")
            );
            if self.equal.count > 0 {
                text += &format!(", the first at line {}", self.equal.line);
            }
        }
        if self.missing.count > 0 {
            text += &format!(
                "; {} without a time, the first at line {}",
                counted(self.missing.count, "row"),
                self.missing.line
            );
        }
        text
    }
}

/// A row and the one above it in its group.
enum PairStep {
    /// The row has no time.
    Missing,
    /// The group begins.
    First,
    Step {
        from: f64,
        to: f64,
    },
}

impl RowTimes<'_> {
    fn group(&self, row: usize) -> u32 {
        self.groups.map_or(0, |groups| groups[row])
    }

    /// Calls `see` for each row in a group, with its line.
    fn each_pair(&self, mut see: impl FnMut(PairStep, u64)) {
        let mut last: HashMap<u32, f64> = HashMap::new();
        for (row, (&to, &line)) in self.times.iter().zip(self.lines).enumerate() {
            let group = self.group(row);
            if group == NO_GROUP {
                continue;
            }
            if to.is_nan() {
                see(PairStep::Missing, line);
                continue;
            }
            match last.insert(group, to) {
                Some(from) => see(PairStep::Step { from, to }, line),
                None => see(PairStep::First, line),
            }
        }
    }

    /// Returns group and time of each row that has both, sorted.
    fn sorted(&self) -> Vec<(u32, f64)> {
        let rows = 0..self.times.len();
        let known = rows.filter(|&row| !self.times[row].is_nan() && self.group(row) != NO_GROUP);
        let mut sorted: Vec<(u32, f64)> = known
            .map(|row| (self.group(row), self.times[row]))
            .collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        sorted
    }

    /// Returns the most frequent step, in calendar months if all times are of one day of the month.
    fn steps(&self) -> Option<TimeSteps> {
        let has_dates = matches!(self.form, TimeForm::Dates | TimeForm::Instants);
        if has_dates && let Some(steps) = self.month_steps() {
            return Some(steps);
        }
        let words = |step: f64| match self.form {
            // Steps are rounded to f32.
            TimeForm::Numbers => shown((step * 1e6).round() / 1e6),
            _ => duration(step),
        };
        self.steps_by(|from, to| (to - from).abs(), words)
    }

    fn month_steps(&self) -> Option<TimeSteps> {
        let known = || self.times.iter().filter(|time| !time.is_nan());
        let day = month_of(*known().next()?)?.day;
        let is_monthly = known().all(|&time| {
            time.rem_euclid(86_400.0) == 0.0 && month_of(time).is_some_and(|month| month.day == day)
        });
        let months = |time| month_of(time).map_or(0.0, |month| f64::from(month.number));
        let words = |step: f64| plural(step, "month");
        let steps = is_monthly
            .then(|| self.steps_by(|from, to| (months(to) - months(from)).abs(), words))??;
        // Times of one month, or of one day in a year, are in no months.
        (steps.usual != plural(0.0, "month")).then_some(steps)
    }

    fn steps_by(
        &self,
        difference: impl Fn(f64, f64) -> f64,
        words: impl Fn(f64) -> String,
    ) -> Option<TimeSteps> {
        // In f32, differences of decimal fractions are the same.
        let key = |from, to| difference(from, to) as f32;
        let mut counts: HashMap<u32, usize> = HashMap::new();
        let mut total = 0;
        self.each_pair(|step, _| {
            if let PairStep::Step { from, to } = step
                && from != to
            {
                total += 1;
                let key = key(from, to).to_bits();
                if counts.len() < MOST_STEPS || counts.contains_key(&key) {
                    *counts.entry(key).or_default() += 1;
                }
            }
        });
        let (&usual, _) = counts
            .iter()
            .max_by_key(|&(key, count)| (count, std::cmp::Reverse(key)))?;
        let (mut others, mut first_other) = (PlacesSeen::default(), 0.0);
        self.each_pair(|step, line| {
            if let PairStep::Step { from, to } = step
                && from != to
                && key(from, to).to_bits() != usual
            {
                if others.count == 0 {
                    first_other = difference(from, to);
                }
                others.see(line);
            }
        });
        Some(TimeSteps {
            usual: words(f64::from(f32::from_bits(usual))),
            total,
            others,
            first_other: words(first_other),
        })
    }
}

/// Returns whether at least half of the steps between sorted rows of a group are equal, or all
/// times are seconds since 1970, from 1973 on.
fn is_regular(sorted: &[(u32, f64)]) -> bool {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    let mut total = 0;
    for pair in sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        total += 1;
        let step = ((pair[1].1 - pair[0].1) as f32).to_bits();
        if counts.len() < MOST_STEPS || counts.contains_key(&step) {
            *counts.entry(step).or_default() += 1;
        }
    }
    let most = counts.values().copied().max().unwrap_or(0);
    let is_epoch = |time: f64| time >= 1e8 && time.fract() == 0.0;
    2 * most >= total || sorted.iter().all(|&(_, time)| is_epoch(time))
}

/// Returns a number of seconds in its largest whole unit.
fn duration(seconds: f64) -> String {
    let units = [(86_400.0, "day"), (3600.0, "hour"), (60.0, "minute")];
    let whole = units
        .into_iter()
        .find(|(unit, _)| seconds % unit == 0.0 && seconds > 0.0);
    match whole {
        Some((unit, name)) => plural(seconds / unit, name),
        None => plural(seconds, "second"),
    }
}

fn plural(count: f64, unit: &str) -> String {
    let ending = if count == 1.0 { "" } else { "s" };
    format!("{} {unit}{ending}", shown(count))
}

/// Returns the range of times in words.
pub(super) fn time_range(times: &[f64], form: TimeForm) -> String {
    let known = times.iter().filter(|time| !time.is_nan());
    let range = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &time| {
        (low.min(time), high.max(time))
    });
    match form {
        TimeForm::Numbers => format!("numbers, {} to {}", shown(range.0), shown(range.1)),
        TimeForm::TimesOfDay => "times of day".into(),
        TimeForm::Dates | TimeForm::Instants => {
            format!("dates, {} to {}", date_text(range.0), date_text(range.1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::csv::time::time_of;

    fn order(times: &[f64], groups: Option<&[u32]>, form: TimeForm) -> RowOrder {
        let lines: Vec<u64> = (2..).take(times.len()).collect();
        RowOrder::of(&RowTimes {
            times,
            groups,
            lines: &lines,
            form,
        })
    }

    #[test]
    fn the_order_is_that_within_groups() {
        let times = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0];
        let alone = order(&times, None, TimeForm::Numbers);
        assert_eq!(
            (alone.falls.count, alone.falls.line, alone.repeated),
            (1, 5, 3)
        );
        let grouped = order(&times, Some(&[0, 0, 0, 1, 1, 1]), TimeForm::Numbers);
        assert!(grouped.is_ascending() && grouped.repeated == 0);
        assert_eq!(
            grouped.describe("`t`", true),
            "`t` is the time and ascends within each group, in steps of 1"
        );
        let text = order(&[3.0, 2.0, 1.0], None, TimeForm::Numbers).describe("`t`", false);
        assert!(
            text.starts_with("`t` is the time and descends, the newest row first"),
            "{text}"
        );
        let text = order(&[1.0, f64::NAN, 3.0, 2.0, 2.0], None, TimeForm::Numbers);
        let text = text.describe("`t`", false);
        for part in [
            "1 of 5 rows are before the row above, the first at line 5",
            "1 row with the time of another, the first at line 6",
            "1 row without a time, the first at line 3",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn steps_of_dates_are_in_calendar_units() {
        let dates = |texts: &[&str]| -> Vec<f64> {
            texts
                .iter()
                .map(|text| time_of(text).expect("it is a date"))
                .collect()
        };
        let describe =
            |texts: &[&str]| order(&dates(texts), None, TimeForm::Dates).describe("d", false);
        let monthly = describe(&["2024-01-31", "2024-02-29", "2024-03-31"]);
        assert_eq!(monthly, "d is the time and ascends, in steps of 1 month");
        let weekly = describe(&["2024-01-01", "2024-01-08", "2024-01-15"]);
        assert_eq!(weekly, "d is the time and ascends, in steps of 7 days");
        let gap = describe(&[
            "2024-01-01",
            "2024-01-02",
            "2024-01-03",
            "2024-01-10",
            "2024-01-11",
        ]);
        assert!(
            gap.ends_with("most are 1 day, but 1 of 4 are not, the first at line 5 (7 days)"),
            "{gap}"
        );
        let hours = describe(&["2024-01-01 00:00", "2024-01-01 06:00"]);
        assert!(hours.ends_with("in steps of 6 hours"), "{hours}");
    }
}
