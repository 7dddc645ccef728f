//! Ticks of an axis of dates, in seconds since 1970.

use crate::numeric::civil::CivilTime;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;
/// Seconds from a Thursday, the first day of 1970, to the next Monday.
const TO_MONDAY: f64 = 4.0 * DAY;

/// The distance of two ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum DateStep {
    Seconds(f64),
    Months(i64),
}

/// The distances between ticks, the smallest first.
const STEPS: [DateStep; 26] = [
    DateStep::Seconds(1.0),
    DateStep::Seconds(10.0),
    DateStep::Seconds(MINUTE),
    DateStep::Seconds(5.0 * MINUTE),
    DateStep::Seconds(15.0 * MINUTE),
    DateStep::Seconds(30.0 * MINUTE),
    DateStep::Seconds(HOUR),
    DateStep::Seconds(3.0 * HOUR),
    DateStep::Seconds(6.0 * HOUR),
    DateStep::Seconds(12.0 * HOUR),
    DateStep::Seconds(DAY),
    DateStep::Seconds(2.0 * DAY),
    DateStep::Seconds(7.0 * DAY),
    DateStep::Seconds(14.0 * DAY),
    DateStep::Months(1),
    DateStep::Months(2),
    DateStep::Months(3),
    DateStep::Months(6),
    DateStep::Months(12),
    DateStep::Months(24),
    DateStep::Months(60),
    DateStep::Months(120),
    DateStep::Months(240),
    DateStep::Months(600),
    DateStep::Months(1200),
    DateStep::Months(12_000),
];

/// The longest range of dates with ticks of seconds, in ticks: bounds the work for any file.
const MOST_TICKS: f64 = 1000.0;

impl DateStep {
    /// The smallest distance with at most `most` ticks from `low` to `high`.
    pub fn fitting(low: f64, high: f64, most: f64) -> DateStep {
        let fits = |step: &&DateStep| step.count(low, high) <= most;
        STEPS.iter().find(fits).copied().unwrap_or(STEPS[25])
    }

    /// About the number of ticks from `low` to `high`.
    fn count(self, low: f64, high: f64) -> f64 {
        let step = match self {
            DateStep::Seconds(seconds) => seconds,
            DateStep::Months(months) => months as f64 * 30.4 * DAY,
        };
        (high - low) / step
    }

    /// The ticks from `low` to `high`.
    pub fn ticks(self, low: f64, high: f64) -> Vec<f64> {
        if self.count(low, high) > MOST_TICKS {
            return vec![];
        }
        match self {
            DateStep::Seconds(step) => {
                let origin = if step >= 7.0 * DAY { TO_MONDAY } else { 0.0 };
                let first = ((low - origin) / step).ceil() as i64;
                let last = ((high - origin) / step).floor() as i64;
                (first..=last).map(|n| origin + n as f64 * step).collect()
            }
            DateStep::Months(step) => {
                let first = CivilTime::of(low).month_number().div_euclid(step);
                let last = CivilTime::of(high).month_number().div_euclid(step);
                let ticks = (first..=last).map(|n| CivilTime::start_of_month(n * step));
                ticks.filter(|tick| (low..=high).contains(tick)).collect()
            }
        }
    }

    /// The text beside a tick.
    pub fn text(self, tick: f64) -> String {
        let time = CivilTime::of(tick);
        let (year, month, day) = (time.year, time.month, time.day);
        let (hour, minute) = (time.second_of_day / 3600, time.second_of_day / 60 % 60);
        match self {
            DateStep::Months(step) if step % 12 == 0 => year.to_string(),
            DateStep::Months(_) => format!("{year}-{month:02}"),
            DateStep::Seconds(step) if step >= DAY => format!("{year}-{month:02}-{day:02}"),
            DateStep::Seconds(step) if step >= MINUTE => {
                format!("{month:02}-{day:02} {hour:02}:{minute:02}")
            }
            DateStep::Seconds(_) => {
                format!("{hour:02}:{minute:02}:{:02}", time.second_of_day % 60)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(low: f64, days: f64, most: f64) -> Vec<String> {
        let high = low + days * DAY;
        let step = DateStep::fitting(low, high, most);
        let ticks = step.ticks(low, high);
        ticks.into_iter().map(|tick| step.text(tick)).collect()
    }

    #[test]
    fn ticks_are_round_dates() {
        // 2024-02-20, a Tuesday.
        let start = 1_708_387_200.0;
        assert_eq!(
            texts(start, 20.0, 4.0),
            ["2024-02-26", "2024-03-04", "2024-03-11"]
        );
        assert_eq!(texts(start, 90.0, 4.0), ["2024-03", "2024-04", "2024-05"]);
        assert_eq!(texts(start, 800.0, 4.0), ["2025", "2026"]);
        assert_eq!(
            texts(start, 0.5, 4.0),
            [
                "02-20 00:00",
                "02-20 03:00",
                "02-20 06:00",
                "02-20 09:00",
                "02-20 12:00"
            ]
        );
        assert_eq!(texts(start, 40_000.0, 4.0), ["2050", "2100"]);
        assert_eq!(texts(start, 1e-4, 4.0), ["00:00:00"]);
        assert!(texts(-1e30, 1e30, 4.0).len() < 10);
    }
}
