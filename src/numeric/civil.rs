//! Dates and times of day of seconds since 1970, in builds with and without the crate that reads
//! dates. Algorithms: <https://howardhinnant.github.io/date_algorithms.html>.

const SECONDS_OF_A_DAY: f64 = 86_400.0;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_1970: i64 = 719_468;
/// Days of 400 years.
const DAYS_OF_AN_ERA: i64 = 146_097;

/// A date and a time of day of the Gregorian calendar, without a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CivilTime {
    pub year: i64,
    /// From 1.
    pub month: u32,
    /// From 1.
    pub day: u32,
    pub days_in_month: u32,
    /// From Monday, 0.
    pub weekday: u32,
    pub second_of_day: u32,
}

impl CivilTime {
    /// Returns the date and time N seconds after the beginning of 1970.
    pub fn of(seconds: f64) -> CivilTime {
        let days = (seconds / SECONDS_OF_A_DAY).floor() as i64;
        let since_era = days + DAYS_BEFORE_1970;
        let (era, day_of_era) = (
            since_era.div_euclid(DAYS_OF_AN_ERA),
            since_era.rem_euclid(DAYS_OF_AN_ERA),
        );
        let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days) / 365;
        // Years begin in March, so that a leap day is their last.
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        CivilTime {
            year,
            month: month as u32,
            day: (day_of_year - (153 * from_march + 2) / 5 + 1) as u32,
            days_in_month: days_in_month(year, month) as u32,
            weekday: (days + 3).rem_euclid(7) as u32,
            second_of_day: (seconds - days as f64 * SECONDS_OF_A_DAY) as u32,
        }
    }

    /// Returns `2024-02-29`, or with the time of day `2024-02-29 12:30:00`.
    pub fn text(&self, has_time: bool) -> String {
        let (year, month, day) = (self.year, self.month, self.day);
        let date = format!("{year:04}-{month:02}-{day:02}");
        if !has_time {
            return date;
        }
        let second = self.second_of_day;
        let (hour, minute) = (second / 3600, second / 60 % 60);
        format!("{date} {hour:02}:{minute:02}:{:02}", second % 60)
    }

    /// Returns the beginning of a month, counted from the year 0, in seconds since 1970.
    #[cfg(any(test, feature = "report"))]
    pub fn start_of_month(number: i64) -> f64 {
        let days = days_since_1970(number.div_euclid(12), number.rem_euclid(12) + 1, 1);
        days as f64 * SECONDS_OF_A_DAY
    }

    /// Returns the months since the year 0.
    pub fn month_number(&self) -> i64 {
        self.year * 12 + i64::from(self.month) - 1
    }

    /// Returns the time `months` later, in seconds since 1970: at the end of its month, or on the
    /// same day (or the last, in shorter months).
    pub fn months_after(seconds: f64, months: i64, at_end: bool) -> f64 {
        let time = CivilTime::of(seconds);
        let number = time.month_number() + months;
        let (year, month) = (number.div_euclid(12), number.rem_euclid(12) + 1);
        let days = days_in_month(year, month);
        let day = if at_end {
            days
        } else {
            days.min(i64::from(time.day))
        };
        days_since_1970(year, month, day) as f64 * SECONDS_OF_A_DAY + f64::from(time.second_of_day)
    }
}

/// Returns the days from 1970-01-01 to a date.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_OF_AN_ERA + day_of_era - DAYS_BEFORE_1970
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let next = year * 12 + month;
    let (next_year, next_month) = (next.div_euclid(12), next.rem_euclid(12) + 1);
    days_since_1970(next_year, next_month, 1) - days_since_1970(year, month, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // From `date -u -d ... +%s`.
        for (seconds, (year, month, day), weekday, second_of_day) in [
            (0.0, (1970, 1, 1), 3, 0),
            (951_782_400.0, (2000, 2, 29), 1, 0),
            (1_709_251_199.0, (2024, 2, 29), 3, 86_399),
            (1_709_251_200.0, (2024, 3, 1), 4, 0),
            (-2_208_988_800.0, (1900, 1, 1), 0, 0),
            (-1.0, (1969, 12, 31), 2, 86_399),
        ] {
            let time = CivilTime::of(seconds);
            let found = (time.year, time.month, time.day);
            assert_eq!(found, (year, month, day), "{seconds}");
            assert_eq!((time.weekday, time.second_of_day), (weekday, second_of_day));
            let text = format!("{year:04}-{month:02}-{day:02}");
            assert_eq!(time.text(false), text);
            let days = days_since_1970(year, i64::from(month), i64::from(day));
            assert_eq!(days as f64, (seconds / SECONDS_OF_A_DAY).floor());
        }
        assert_eq!(
            CivilTime::of(1_709_251_199.0).text(true),
            "2024-02-29 23:59:59"
        );
        let lengths = [(2023, 2), (2024, 2), (1900, 2), (2000, 2), (2024, 12)];
        let lengths = lengths.map(|(year, month)| days_in_month(year, month));
        assert_eq!(lengths, [28, 29, 28, 29, 31]);
    }
}
