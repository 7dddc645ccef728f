//! Times in the cells of a table: numbers, and dates in ISO 8601 and the usual forms. The form is
//! decided over a whole column.

use jiff::civil::{Date, ISOWeekDate, Weekday};
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use super::CellFormat;
use crate::messages::excerpt;

const SECONDS_OF_A_DAY: f64 = 86_400.0;
/// The names of the months; their first three letters are names too.
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// The first letters of the names of the days of a week.
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The form of the times of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeForm {
    /// Numbers in any unit, such as years or seconds.
    Numbers,
    /// Dates, with or without a time of day, without an offset from UTC.
    Dates,
    /// Dates with an offset from UTC.
    Instants,
    /// Times of day without a date.
    TimesOfDay,
}

/// Which of two numbers is the day, in dates such as 01/02/2024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayOrder {
    DayFirst,
    MonthFirst,
}

/// The times of the cells of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeColumn {
    pub form: TimeForm,
    /// The order of day and month, if it makes a difference in some cell.
    pub day_order: Option<DayOrder>,
    /// Seconds since 1970 (of the day, for times of day), or the numbers; `None` for empty cells
    /// and the usual marks of missing values.
    pub times: Vec<Option<f64>>,
}

/// Returns the times of the cells of a column: seconds since 1970, or the numbers of a column of
/// numbers; `None` for empty cells and the usual marks of missing values.
///
/// # Errors
/// A clause on the first cell that is no time, or on dates whose day and month cannot be told
/// apart.
pub fn times_of(cells: &[&str]) -> Result<Vec<Option<f64>>, String> {
    TimeColumn::read(|n| cells.get(n).copied()).map(|column| column.times)
}

/// Returns the time in a cell: a number, or the seconds since 1970 of a date whose day and month
/// are certain.
pub fn time_of(cell: &str) -> Option<f64> {
    let [day_first, month_first] =
        [DayOrder::DayFirst, DayOrder::MonthFirst].map(|order| Reading::of(cell, order));
    match (day_first, month_first) {
        (Some(first), Some(second)) => (first.time == second.time).then_some(first.time),
        (first, second) => first.or(second).map(|reading| reading.time),
    }
}

/// Returns whether a cell is a date or a time of day.
pub fn is_time(cell: &str) -> bool {
    let orders = [DayOrder::DayFirst, DayOrder::MonthFirst];
    let mut readings = orders
        .into_iter()
        .filter_map(|order| Reading::of(cell, order));
    readings.any(|reading| reading.form != TimeForm::Numbers) || dotted_clock(cell).is_some()
}

impl TimeColumn {
    /// Reads the cells 0, 1, ... up to the first `None`.
    ///
    /// # Errors
    /// Those of [`times_of`].
    pub fn read<'a>(cell: impl Fn(usize) -> Option<&'a str>) -> Result<TimeColumn, String> {
        let cells = || (0..).map_while(&cell);
        if let Some(times) = compact_dates(cells()) {
            return Ok(TimeColumn {
                form: TimeForm::Dates,
                day_order: None,
                times,
            });
        }
        let of_order = |order| ColumnReading::of(cells(), order);
        match (of_order(DayOrder::DayFirst), of_order(DayOrder::MonthFirst)) {
            (Ok(day_first), Ok(month_first)) => {
                if day_first.times == month_first.times {
                    return Ok(day_first.column(None));
                }
                match (day_first.is_in_order(), month_first.is_in_order()) {
                    (true, false) => Ok(day_first.column(Some(DayOrder::DayFirst))),
                    (false, true) => Ok(month_first.column(Some(DayOrder::MonthFirst))),
                    _ => Err(ambiguous(&day_first, &month_first, cells())),
                }
            }
            (Ok(day_first), Err(_)) => Ok(day_first.column(Some(DayOrder::DayFirst))),
            (Err(_), Ok(month_first)) => Ok(month_first.column(Some(DayOrder::MonthFirst))),
            // The reading that gets further explains more.
            (Err(day_first), Err(month_first)) => match dotted_clocks(cells()) {
                Some(times) => Ok(TimeColumn {
                    form: TimeForm::TimesOfDay,
                    day_order: None,
                    times,
                }),
                None if day_first.row >= month_first.row => Err(day_first.problem),
                None => Err(month_first.problem),
            },
        }
    }
}

/// The times of a column under one order of day and month.
struct ColumnReading {
    form: TimeForm,
    times: Vec<Option<f64>>,
}

/// A cell that does not fit the ones above it.
struct UnreadCell {
    row: usize,
    problem: String,
}

impl ColumnReading {
    fn of<'a>(
        cells: impl Iterator<Item = &'a str>,
        order: DayOrder,
    ) -> Result<ColumnReading, UnreadCell> {
        let mut known: Option<(TimeForm, &str)> = None;
        let mut times = vec![];
        for (row, cell) in cells.enumerate() {
            if CellFormat::default().is_missing(cell) {
                times.push(None);
                continue;
            }
            let refused = |problem: &str| UnreadCell {
                row,
                problem: format!("`{}` {problem}", excerpt(cell)),
            };
            let Some(reading) = Reading::of(cell, order) else {
                let forms = "is neither a number nor a date in a form that gatescan reads, such \
                             as 2024-01-31 or 31.01.2024 12:00";
                return Err(refused(forms));
            };
            let (form, first) = *known.get_or_insert((reading.form, cell));
            if form != reading.form {
                let (form, own) = (form.noun(), reading.form.noun());
                let first = excerpt(first);
                let problem = format!("is {own}, but the column begins with {form}, `{first}`");
                return Err(refused(&problem));
            }
            times.push(Some(reading.time));
        }
        Ok(ColumnReading {
            form: known.map_or(TimeForm::Numbers, |(form, _)| form),
            times,
        })
    }

    fn column(self, day_order: Option<DayOrder>) -> TimeColumn {
        TimeColumn {
            form: self.form,
            day_order,
            times: self.times,
        }
    }

    /// Returns whether the times rise or fall throughout.
    fn is_in_order(&self) -> bool {
        let known = || self.times.iter().flatten();
        known().is_sorted() || known().is_sorted_by(|a, b| a >= b)
    }
}

impl TimeForm {
    fn noun(self) -> &'static str {
        match self {
            TimeForm::Numbers => "a number",
            TimeForm::Dates => "a date without an offset from UTC",
            TimeForm::Instants => "a date with an offset from UTC",
            TimeForm::TimesOfDay => "a time of day",
        }
    }
}

fn ambiguous<'a>(
    day_first: &ColumnReading,
    month_first: &ColumnReading,
    cells: impl Iterator<Item = &'a str>,
) -> String {
    let mut times = cells.zip(day_first.times.iter().zip(&month_first.times));
    let differs = times.find(|(_, (first, second))| first != second);
    let cell = differs.map_or("", |(cell, _)| cell);
    format!(
        "`{}` has day and month in an order that no cell of the column tells; \
         write dates as 2024-01-31",
        excerpt(cell)
    )
}

/// A cell read as a time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    form: TimeForm,
    time: f64,
}

impl Reading {
    fn of(cell: &str, order: DayOrder) -> Option<Reading> {
        let new = |form, time| Reading { form, time };
        if let Some(number) = number(cell) {
            return Some(new(TimeForm::Numbers, number));
        }
        // Other texts are quickly left out.
        if !cell.starts_with(|c: char| c.is_ascii_alphanumeric()) || cell.len() > 64 {
            return None;
        }
        if let Some((time, has_offset)) = iso(cell) {
            let form = if has_offset {
                TimeForm::Instants
            } else {
                TimeForm::Dates
            };
            return Some(new(form, time));
        }
        let (date, clock) = parts(cell)?;
        let clock = match clock {
            Some(clock) => Some(seconds_of_day(clock)?),
            None => None,
        };
        if date.is_empty() {
            return clock.map(|clock| new(TimeForm::TimesOfDay, clock));
        }
        let date = seconds(date_of(date, order)?);
        Some(new(TimeForm::Dates, date + clock.unwrap_or(0.0)))
    }
}

/// Returns the finite number in a cell, with a decimal point or comma.
fn number(cell: &str) -> Option<f64> {
    let is_number = |c: char| c.is_ascii_digit() || "+-.,eE".contains(c);
    if !cell.chars().all(is_number) {
        return None;
    }
    let value: Option<f64> = match cell.split_once(',') {
        Some((whole, fraction)) if !fraction.contains([',', '.']) && !whole.contains('.') => {
            format!("{whole}.{fraction}").parse().ok()
        }
        _ => cell.parse().ok(),
    };
    value.filter(|value| value.is_finite())
}

/// Returns the time of a date in ISO 8601, and whether it has an offset from UTC.
fn iso(cell: &str) -> Option<(f64, bool)> {
    let pieces = Pieces::parse(cell).ok()?;
    let offset = pieces.to_numeric_offset();
    if offset.is_none() && pieces.time_zone_annotation().is_some() {
        return None;
    }
    let clock = pieces.time().map_or(0.0, |time| {
        let [hour, minute, second] = [time.hour(), time.minute(), time.second()].map(f64::from);
        hour * 3600.0 + minute * 60.0 + second + f64::from(time.subsec_nanosecond()) * 1e-9
    });
    let shift = offset.map_or(0, |offset| offset.seconds());
    let time = seconds(pieces.date()) + clock - f64::from(shift);
    Some((time, offset.is_some()))
}

/// Returns the seconds from 1970-01-01 to the beginning of a date.
fn seconds(date: Date) -> f64 {
    date.duration_since(civil::date(1970, 1, 1)).as_secs() as f64
}

/// Divides a cell into its date and the rest from the hour on, if there is an hour.
fn parts(cell: &str) -> Option<(&str, Option<&str>)> {
    let Some(colon) = cell.find(':') else {
        return Some((cell, None));
    };
    let digits = cell[..colon].bytes().rev().take_while(u8::is_ascii_digit);
    let start = colon - digits.count();
    let before = cell[..start].trim_end_matches(['T', 't', ',', ' ']);
    // A date and an hour must be apart.
    let is_apart = start == 0 || before.len() < start;
    is_apart.then(|| (before, Some(&cell[start..])))
}

/// Returns the seconds of a time of day: `12:30`, `12:30:15.5`, `3:04 PM`.
fn seconds_of_day(clock: &str) -> Option<f64> {
    let end = clock.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '.');
    let half = clock[end.len()..].to_ascii_lowercase().replace('.', "");
    let mut fields = end.trim_end().split(':');
    let mut field = || fields.next();
    let whole = |text: &str| {
        let is_valid = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        is_valid.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (hour, minute) = (whole(field()?)?, whole(field()?)?);
    let second = match field() {
        Some(text) if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            text.parse::<f64>().ok()?
        }
        Some(_) => return None,
        None => 0.0,
    };
    if field().is_some() || minute > 59 || second >= 61.0 {
        return None;
    }
    let hour = match half.as_str() {
        "" if hour <= 24 => hour,
        "am" if (1..=12).contains(&hour) => hour % 12,
        "pm" if (1..=12).contains(&hour) => hour % 12 + 12,
        _ => return None,
    };
    Some(f64::from(hour * 3600 + minute * 60) + second)
}

/// A part of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DatePart {
    /// Four digits.
    Year(i16),
    /// One or two digits.
    Small(i8),
    Month(i8),
    /// `Q`, for a quarter.
    Quarter,
    /// `W`, for a week.
    Week,
    /// `M`, for a month.
    MonthMark,
}

/// Returns the first day of the date in a text without a time of day.
fn date_of(text: &str, order: DayOrder) -> Option<Date> {
    use DatePart::{Month, MonthMark, Quarter, Small, Week, Year};
    let is_dotted = text.contains('.') && !text.contains(['/', '-']);
    let (mut parts, mut count) = ([Year(0); 4], 0);
    for part in date_parts(text) {
        *parts.get_mut(count)? = part?;
        count += 1;
    }
    let (year, month, day) = match parts[..count] {
        [Year(year), Small(month), Small(day)] | [Year(year), Month(month), Small(day)] => {
            (year, month, day)
        }
        [Small(a), Small(b), Year(year)] => {
            let (month, day) = month_and_day(a, b, is_dotted, order);
            (year, month, day)
        }
        [Small(a), Small(b), Small(year)] if has_two_digits_last(text) => {
            let (month, day) = month_and_day(a, b, is_dotted, order);
            (full_year(year), month, day)
        }
        [Small(day), Month(month), Year(year)] | [Month(month), Small(day), Year(year)] => {
            (year, month, day)
        }
        [Small(day), Month(month), Small(year)] if has_two_digits_last(text) => {
            (full_year(year), month, day)
        }
        [Month(month), Year(year)]
        | [Year(year), Month(month)]
        | [Year(year), Small(month)]
        | [Small(month), Year(year)]
        | [Year(year), MonthMark, Small(month)] => (year, month, 1),
        [Year(year), Quarter, Small(quarter)] | [Quarter, Small(quarter), Year(year)]
            if (1..=4).contains(&quarter) =>
        {
            (year, 3 * quarter - 2, 1)
        }
        [Year(year), Week, Small(week)] => return week_date(year, week, 1),
        [Year(year), Week, Small(week), Small(day)] => return week_date(year, week, day),
        _ => return None,
    };
    Date::new(year, month, day).ok()
}

/// Returns month and day of the first two numbers of a date that ends with its year.
fn month_and_day(a: i8, b: i8, is_dotted: bool, order: DayOrder) -> (i8, i8) {
    if is_dotted || order == DayOrder::DayFirst {
        (b, a)
    } else {
        (a, b)
    }
}

fn week_date(year: i16, week: i8, day: i8) -> Option<Date> {
    let weekday = Weekday::from_monday_one_offset(day).ok()?;
    Some(ISOWeekDate::new(year, week, weekday).ok()?.date())
}

/// Returns the year that two digits mean, from 1969 to 2068 as in POSIX.
fn full_year(year: i8) -> i16 {
    i16::from(year) + if year < 69 { 2000 } else { 1900 }
}

fn has_two_digits_last(text: &str) -> bool {
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit);
    digits.count() == 2
}

/// Returns the parts of a date, which are apart or change from digits to letters; `None` for one
/// that is in no date. The name of a day of the week is skipped.
fn date_parts(text: &str) -> impl Iterator<Item = Option<DatePart>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches(['-', '/', '.', ',', ' ']);
            let first = rest.chars().next()?;
            let is_same = |c: char| {
                c.is_ascii_digit() == first.is_ascii_digit()
                    && c.is_ascii_alphanumeric() == first.is_ascii_alphanumeric()
                    && !"-/., ".contains(c)
            };
            let end = rest.find(|c| !is_same(c)).unwrap_or(rest.len());
            let part = &rest[..end];
            rest = &rest[end..];
            if !is_weekday(part) {
                return Some(date_part(part));
            }
        }
    })
}

fn is_weekday(part: &str) -> bool {
    let start = part.get(..3).map(str::to_ascii_lowercase);
    let is_name = part.len() == 3 || part.to_ascii_lowercase().ends_with("day");
    is_name && start.is_some_and(|start| WEEKDAYS.contains(&start.as_str()))
}

fn date_part(part: &str) -> Option<DatePart> {
    if part.bytes().all(|byte| byte.is_ascii_digit()) {
        return match part.len() {
            1 | 2 => part.parse().ok().map(DatePart::Small),
            4 => part.parse().ok().map(DatePart::Year),
            _ => None,
        };
    }
    let word = part.to_ascii_lowercase();
    match word.as_str() {
        "q" => return Some(DatePart::Quarter),
        "w" => return Some(DatePart::Week),
        "m" => return Some(DatePart::MonthMark),
        _ => {}
    }
    let is_name = |month: &usize| {
        let name = MONTHS[*month];
        word == name || word == name[..3] || word == "sept" && *month == 8
    };
    let month = (0..12).find(is_name)?;
    Some(DatePart::Month(month as i8 + 1))
}

/// Returns the times of cells that are all dates without separators: 20240131, or 202401 for a
/// month. Other cells than dates end the search early.
fn compact_dates<'a>(cells: impl Iterator<Item = &'a str>) -> Option<Vec<Option<f64>>> {
    let (mut times, mut length) = (vec![], None);
    for cell in cells {
        if CellFormat::default().is_missing(cell) {
            times.push(None);
            continue;
        }
        let is_known = *length.get_or_insert(cell.len()) == cell.len();
        if !is_known || !matches!(cell.len(), 6 | 8) || !cell.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number = |from: usize, to: usize| cell[from..to].parse::<i16>().unwrap_or(0);
        let day = if cell.len() == 8 { number(6, 8) } else { 1 };
        let year = number(0, 4);
        let date = Date::new(year, number(4, 6) as i8, day as i8).ok();
        times.push(Some(seconds(
            date.filter(|_| (1600..2200).contains(&year))?,
        )));
    }
    length.map(|_| times)
}

/// Returns the times of cells that are all times of day with points, such as 18.00.00.
fn dotted_clocks<'a>(cells: impl Iterator<Item = &'a str>) -> Option<Vec<Option<f64>>> {
    let time = |cell| {
        if CellFormat::default().is_missing(cell) {
            Some(None)
        } else {
            dotted_clock(cell).map(Some)
        }
    };
    cells.map(time).collect()
}

/// Returns the seconds of a time of day such as 18.00.00.
fn dotted_clock(cell: &str) -> Option<f64> {
    let is_dotted = cell.len() == 8
        && cell.bytes().enumerate().all(|(n, byte)| match n {
            2 | 5 => byte == b'.',
            _ => byte.is_ascii_digit(),
        });
    is_dotted
        .then(|| seconds_of_day(&cell.replace('.', ":")))
        .flatten()
}

/// The calendar month of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarMonth {
    /// Months since the year 0.
    pub number: i32,
    /// The day of the month; 0 for its last day.
    pub day: i8,
}

/// Returns the calendar month of a time in seconds since 1970.
pub fn month_of(time: f64) -> Option<CalendarMonth> {
    let zoned = Timestamp::from_second(time as i64)
        .ok()?
        .to_zoned(TimeZone::UTC);
    let date = zoned.date();
    let is_last = date == date.last_of_month();
    Some(CalendarMonth {
        number: i32::from(date.year()) * 12 + i32::from(date.month()) - 1,
        day: if is_last { 0 } else { date.day() },
    })
}

/// Returns a time as a date, with the time of day if there is one.
pub fn date_text(time: f64) -> String {
    let Ok(timestamp) = Timestamp::from_second(time.floor() as i64) else {
        return time.to_string();
    };
    let moment = timestamp.to_zoned(TimeZone::UTC).datetime();
    if time.rem_euclid(SECONDS_OF_A_DAY) == 0.0 {
        moment.date().to_string()
    } else {
        moment.to_string().replace('T', " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_as_seconds_since_1970() {
        let day = SECONDS_OF_A_DAY;
        let new_year_2024 = 19_723.0 * day;
        for (cell, expected) in [
            ("1970-01-01", 0.0),
            ("2024-01-01", new_year_2024),
            ("2024-01-01T06:00:00Z", new_year_2024 + 0.25 * day),
            ("2024-01-01 06:00:00.5", new_year_2024 + 0.25 * day + 0.5),
            ("2024-01-01T06:00:00+02:00", new_year_2024 + 4.0 * 3600.0),
            ("2024-01-01 06:00-01:30", new_year_2024 + 7.5 * 3600.0),
            ("2024-1-1 6:00", new_year_2024 + 0.25 * day),
            ("2024/01/01", new_year_2024),
            ("2024.01.01", new_year_2024),
            ("01.01.2024", new_year_2024),
            ("31.01.2024 24:00", new_year_2024 + 31.0 * day),
            ("01/31/2024 12:00 PM", new_year_2024 + 30.5 * day),
            ("31/01/2024 12:30 am", new_year_2024 + 30.0 * day + 1800.0),
            ("31-Jan-2024", new_year_2024 + 30.0 * day),
            ("31JAN2024", new_year_2024 + 30.0 * day),
            ("Wed, 31 Jan 2024", new_year_2024 + 30.0 * day),
            ("January 31, 2024", new_year_2024 + 30.0 * day),
            ("Jan-2024", new_year_2024),
            ("2024 Sept", new_year_2024 + 244.0 * day),
            ("2024-01", new_year_2024),
            ("01/2024", new_year_2024),
            ("2024M02", new_year_2024 + 31.0 * day),
            ("2024Q2", new_year_2024 + 91.0 * day),
            ("Q2 2024", new_year_2024 + 91.0 * day),
            ("2024-W05", new_year_2024 + 28.0 * day),
            ("2024-W05-3", new_year_2024 + 30.0 * day),
            ("31.12.69", -day),
            ("1969-12-31", -day),
            ("12:30", 45_000.0),
            ("3:04:05 PM", 54_245.0),
            ("12:30:15.5", 45_015.5),
            ("1949", 1949.0),
            ("-0,5", -0.5),
            ("1.7e9", 1.7e9),
        ] {
            assert_eq!(time_of(cell), Some(expected), "{cell}");
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for cell in [
            "",
            "x",
            "2024-02-30",
            "2024-13",
            "31.02.2024",
            "2020Q5",
            "2020-W60",
            "12:61",
            "25:00",
            "13:00 PM",
            "inf",
            "NaN",
            "1,2,3",
            "12..5",
            "3 days",
            "2024-01-01 x",
            "1.2.3",
            "mon",
            "\u{e9}2024",
            "2024-01-01T00:00[Europe/Berlin]",
            // Day and month are not certain.
            "01/02/2024",
        ] {
            assert_eq!(time_of(cell), None, "{cell}");
        }
    }

    fn read(cells: &[&str]) -> Result<TimeColumn, String> {
        TimeColumn::read(|n| cells.get(n).copied())
    }

    #[test]
    fn a_column_decides_on_day_and_month() {
        let cases = [
            (vec!["01/02/2024", "31/01/2024"], Some(DayOrder::DayFirst)),
            (vec!["01/02/2024", "01/31/2024"], Some(DayOrder::MonthFirst)),
            // Only one order is ascending.
            (
                vec!["01/10/2024", "02/01/2024", "03/05/2024"],
                Some(DayOrder::MonthFirst),
            ),
            (
                vec!["12/01/2024", "01/02/2024", "02/03/2024"],
                Some(DayOrder::DayFirst),
            ),
            (vec!["01.02.2024", "02.02.2024"], None),
            (vec!["03/03/2024", "04/04/2024"], None),
        ];
        for (cells, expected) in cases {
            assert_eq!(read(&cells).unwrap().day_order, expected, "{cells:?}");
        }
        let message = read(&["01/02/2024", "02/03/2024"]).unwrap_err();
        assert!(
            message.starts_with("`01/02/2024` has day and month in an order"),
            "{message}"
        );
        let message = read(&["31/01/2024", "01/31/2024"]).unwrap_err();
        assert!(message.starts_with("`01/31/2024` is neither"), "{message}");
    }

    #[test]
    fn a_column_has_one_form() {
        assert_eq!(
            times_of(&["1", "", "NA", "2.5"]),
            Ok(vec![Some(1.0), None, None, Some(2.5)])
        );
        let message = times_of(&["2024-01-01", "5"]).unwrap_err();
        assert!(
            message.starts_with("`5` is a number, but the column begins with"),
            "{message}"
        );
        let message = times_of(&["2024-01-01", "2024-01-02T00:00Z"]).unwrap_err();
        assert!(
            message.contains("with an offset from UTC, but"),
            "{message}"
        );
        assert_eq!(times_of(&[]), Ok(vec![]));
    }

    #[test]
    fn dates_without_separators_are_dates_if_all_cells_are() {
        assert_eq!(
            read(&["20240131", "20240201"]).unwrap().form,
            TimeForm::Dates
        );
        assert_eq!(
            times_of(&["197001", "", "197002"]).unwrap()[2],
            Some(31.0 * SECONDS_OF_A_DAY)
        );
        let numbers = read(&["20240131", "20240132"]).unwrap();
        assert_eq!(
            (numbers.form, numbers.times[1]),
            (TimeForm::Numbers, Some(20_240_132.0))
        );
    }

    #[test]
    fn times_of_day_may_have_points_if_all_cells_do() {
        let clock = read(&["00.00.00", "", "18.30.00"]).unwrap();
        assert_eq!(
            (clock.form, clock.times[2]),
            (TimeForm::TimesOfDay, Some(66_600.0))
        );
        assert_eq!(
            read(&["18.10.20", "19.10.20"]).unwrap().form,
            TimeForm::Dates
        );
    }

    #[test]
    fn times_have_months() {
        let month = |text: &str| month_of(time_of(text).unwrap()).unwrap();
        assert_eq!(month("2024-01-15").day, 15);
        assert_eq!(month("2024-02-29").day, 0);
        assert_eq!(month("2024-03-01").number - month("2023-12-01").number, 3);
        assert_eq!(
            date_text(time_of("2024-01-15 06:00").unwrap()),
            "2024-01-15 06:00:00"
        );
        assert_eq!(date_text(time_of("1949-01").unwrap()), "1949-01-01");
    }
}
