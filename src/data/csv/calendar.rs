//! Inputs that follow from the time of a row: its position in the day, the week and the year, each
//! as the sine and the cosine of an angle.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::super::preparation::Preparation;
use super::splits::read;
use super::{Csv, TableSeries};
use crate::error::{Error, Result};
use crate::messages::excerpt;
use crate::numeric::civil::CivilTime;

/// A cycle of the calendar that rows have a position in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CalendarCycle {
    /// The time of day, to the second.
    Hour,
    /// The day of the week.
    Weekday,
    /// The month, and the day in it.
    Month,
}

impl CalendarCycle {
    /// Returns the position of a time in the cycle, from 0 to 1.
    fn position(self, time: &CivilTime) -> f64 {
        match self {
            CalendarCycle::Hour => f64::from(time.second_of_day) / 86_400.0,
            CalendarCycle::Weekday => f64::from(time.weekday) / 7.0,
            CalendarCycle::Month => {
                let day = f64::from(time.day - 1) / f64::from(time.days_in_month);
                (f64::from(time.month - 1) + day) / 12.0
            }
        }
    }

    /// Returns its name in recipes.
    fn name(self) -> &'static str {
        match self {
            CalendarCycle::Hour => "hour",
            CalendarCycle::Weekday => "weekday",
            CalendarCycle::Month => "month",
        }
    }

    /// Returns the names of its two inputs.
    pub fn inputs(self) -> [String; 2] {
        ["sine", "cosine"].map(|part| format!("{} ({part})", self.name()))
    }
}

/// Returns the inputs of these cycles at a time, in seconds since 1970: sine and cosine of each.
pub(crate) fn calendar_inputs(cycles: &[CalendarCycle], seconds: f64) -> Vec<f64> {
    let time = CivilTime::of(seconds);
    let both = |cycle: &CalendarCycle| {
        let angle = TAU * cycle.position(&time);
        [angle.sin(), angle.cos()]
    };
    cycles.iter().flat_map(both).collect()
}

impl Csv {
    /// Returns I - D: the columns of inputs, two for each cycle of the calendar, and the inputs
    /// that are known ahead.
    pub(super) fn columns(&self, preparation: &Preparation) -> usize {
        let categories: usize = preparation.categories.iter().map(Vec::len).sum();
        self.inputs.len() + 2 * self.calendar.len() + self.future_width() + categories
    }

    /// Returns I: the columns, and the D differences of columns that are inputs, which must be
    /// learnt.
    pub(super) fn features(&self, preparation: &Preparation) -> usize {
        self.columns(preparation) + preparation.differences.len()
    }

    /// Returns the names of the inputs, without those that are known ahead and differences.
    pub(super) fn feature_names(&self) -> Vec<String> {
        let calendar = self.calendar.iter().flat_map(|cycle| cycle.inputs());
        self.inputs.iter().cloned().chain(calendar).collect()
    }

    /// Returns the cycles of the calendar that the rows of the file repeat: those that are longer
    /// than the time between two rows, and that the file has at least twice. There are none without
    /// a column of dates.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read.
    pub(crate) fn calendar_cycles(&self) -> Result<Vec<CalendarCycle>> {
        if self.time.is_none() {
            return Ok(vec![]);
        }
        let dated = Csv {
            calendar: vec![CalendarCycle::Hour],
            ..self.clone()
        };
        let Ok(table) = dated.parse_inputs(&read(&self.path)?, &self.path) else {
            // Times that are no dates.
            return Ok(vec![]);
        };
        const DAY: f64 = 86_400.0;
        let (mut intervals, mut span) = (vec![], 0.0f64);
        for TableSeries { times, .. } in &table.series {
            intervals.extend(times.windows(2).map(|pair| pair[1] - pair[0]));
            if let (Some(first), Some(last)) = (times.first(), times.last()) {
                span = span.max(last - first);
            }
        }
        intervals.sort_by(f64::total_cmp);
        let Some(&median) = intervals.get(intervals.len() / 2) else {
            return Ok(vec![]);
        };
        let cycles = [
            (CalendarCycle::Hour, DAY / 2.0, 2.0 * DAY),
            (CalendarCycle::Weekday, DAY, 14.0 * DAY),
            (CalendarCycle::Month, 31.0 * DAY, 730.0 * DAY),
        ];
        let repeated = cycles
            .iter()
            .filter(|(_, longest, least)| (1.0..=*longest).contains(&median) && span >= *least);
        Ok(repeated.map(|(cycle, _, _)| *cycle).collect())
    }

    pub(super) fn validate_calendar(&self) -> Result<()> {
        if !self.calendar.is_empty() && self.time.is_none() {
            return Err(Error::usage(
                "data.calendar is set, but data.time is not, so the time of a row is unknown; \
                 set data.time to the column of dates, or remove data.calendar",
            ));
        }
        let mut cycles = self.calendar.iter().enumerate();
        match cycles.find(|(n, cycle)| self.calendar[..*n].contains(cycle)) {
            Some((_, cycle)) => Err(Error::usage(format!(
                "data.calendar has \"{}\" twice; it must name each cycle once",
                cycle.name()
            ))),
            None => Ok(()),
        }
    }

    /// Appends the inputs of the calendar to each row, whose times must be known.
    #[cfg(feature = "tables")]
    pub(super) fn add_calendar(&self, series: &mut [TableSeries]) {
        if self.calendar.is_empty() {
            return;
        }
        for series in series {
            let rows = series.inputs.chunks(self.inputs.len()).zip(&series.times);
            let extended = rows.flat_map(|(row, &time)| {
                let calendar = calendar_inputs(&self.calendar, time);
                row.iter().copied().chain(calendar)
            });
            series.inputs = extended.collect();
        }
    }

    /// Returns the calendar of the rows after a series, from its last `steps` rows.
    pub(super) fn calendar_after(
        &self,
        series: &TableSeries<f32>,
        steps: usize,
    ) -> Option<CalendarContinuation> {
        (!self.calendar.is_empty()).then(|| CalendarContinuation {
            cycles: self.calendar.clone(),
            column: self.time.clone().unwrap_or_default(),
            times: series.times[series.rows() - steps.min(series.rows())..].to_vec(),
        })
    }
}

/// The calendar of the rows after the end of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct CalendarContinuation {
    cycles: Vec<CalendarCycle>,
    /// The name of the column of times.
    column: String,
    /// The last times of the series, in seconds since 1970.
    times: Vec<f64>,
}

/// The time between two rows of a regular series.
#[derive(Debug, Clone, Copy, PartialEq)]
enum RowInterval {
    Seconds(f64),
    /// Months; each row is at the end of its month, or each on the same day.
    Months {
        count: i64,
        at_ends: bool,
    },
}

impl RowInterval {
    /// Returns the time `n` intervals after the first row.
    fn after(self, first: f64, n: usize) -> f64 {
        match self {
            RowInterval::Seconds(seconds) => first + seconds * n as f64,
            RowInterval::Months { count, at_ends } => {
                CivilTime::months_after(first, count * n as i64, at_ends)
            }
        }
    }
}

impl CalendarContinuation {
    /// Returns the inputs of the next `count` rows, `[count, C]`.
    ///
    /// # Errors
    /// [`Error::Data`] for a series whose rows are not at regular times, so that the next ones are
    /// unknown.
    pub fn inputs(&self, count: usize) -> Result<Vec<f32>> {
        let (Some(interval), Some(&first)) = (self.interval(), self.times.first()) else {
            return Err(Error::data(format!(
                "the rows are not at regular times in the column `{}`, so the times of the next \
                 rows are unknown, and with them the inputs of data.calendar; to continue such a \
                 table, train a recipe without data.calendar",
                excerpt(&self.column)
            )));
        };
        let rows = self.times.len();
        let inputs = (rows..rows + count)
            .flat_map(|n| calendar_inputs(&self.cycles, interval.after(first, n)));
        Ok(inputs.map(|value| value as f32).collect())
    }

    /// Returns the time from row to row, if it is always the same.
    fn interval(&self) -> Option<RowInterval> {
        RowInterval::of(&self.times)
    }
}

/// Returns the times of the `count` rows after these, if they are at regular times.
pub(in super::super) fn later_times(times: &[f64], count: usize) -> Option<Vec<f64>> {
    let (interval, first) = (RowInterval::of(times)?, times[0]);
    let later = times.len()..times.len() + count;
    Some(later.map(|n| interval.after(first, n)).collect())
}

impl RowInterval {
    /// Returns the time from row to row, if it is always the same.
    fn of(times: &[f64]) -> Option<RowInterval> {
        let (&first, &second) = (times.first()?, times.get(1)?);
        let month = |time: f64| CivilTime::of(time).month_number();
        let count = month(second) - month(first);
        let months = [false, true].map(|at_ends| RowInterval::Months { count, at_ends });
        let fits = |interval: &RowInterval| {
            let mut rows = times.iter().enumerate();
            rows.all(|(n, &time)| interval.after(first, n) == time)
        };
        let is_later = second > first;
        let months = months.into_iter().filter(|_| count > 0);
        let mut intervals = months.chain([RowInterval::Seconds(second - first)]);
        intervals.find(|interval| is_later && fits(interval))
    }
}

#[cfg(all(test, feature = "tables"))]
mod tests {
    use super::super::parse::date_of;
    use super::*;

    /// The months of the next three rows after these dates, or the message.
    fn next(dates: &[&str]) -> Result<Vec<f32>, String> {
        let times = dates
            .iter()
            .map(|date| date_of(date).expect("it is a date"));
        let continuation = CalendarContinuation {
            cycles: vec![CalendarCycle::Month],
            column: "date".into(),
            times: times.collect(),
        };
        continuation.inputs(3).map_err(|error| error.to_string())
    }

    fn months(dates: &[&str]) -> Vec<f32> {
        let times = dates
            .iter()
            .map(|date| date_of(date).expect("it is a date"));
        let inputs = times.flat_map(|time| calendar_inputs(&[CalendarCycle::Month], time));
        inputs.map(|value| value as f32).collect()
    }

    #[test]
    fn regular_rows_are_continued() {
        for (dates, after) in [
            (
                &["2024-02-27", "2024-02-28"][..],
                ["2024-02-29", "2024-03-01", "2024-03-02"],
            ),
            (
                &["2023-11-01", "2023-12-01"],
                ["2024-01-01", "2024-02-01", "2024-03-01"],
            ),
            (
                &["2023-11-30", "2023-12-30", "2024-01-30"],
                ["2024-02-29", "2024-03-30", "2024-04-30"],
            ),
            // The ends of months.
            (
                &["2023-11-30", "2023-12-31", "2024-01-31"],
                ["2024-02-29", "2024-03-31", "2024-04-30"],
            ),
            (
                &["2023-07-01", "2023-10-01", "2024-01-01"],
                ["2024-04-01", "2024-07-01", "2024-10-01"],
            ),
            (
                &["2023-01-01", "2024-01-01", "2025-01-01"],
                ["2026-01-01", "2027-01-01", "2028-01-01"],
            ),
        ] {
            assert_eq!(next(dates), Ok(months(&after)), "{dates:?}");
        }
    }

    #[test]
    fn irregular_rows_are_refused() {
        for dates in [
            &["2024-01-01", "2024-01-02", "2024-01-04"][..],
            &["2024-01-01"],
            &["2024-01-01", "2024-01-01"],
        ] {
            let message = next(dates).expect_err("it is irregular");
            assert!(
                message.contains("not at regular times in the column `date`"),
                "{message}"
            );
        }
    }
}
