//! What the names of columns say.

use super::columns::Column;

/// Names of columns of targets.
pub(super) const TARGETS: [&str; 4] = ["target", "label", "class", "y"];
/// Names of columns of classes.
pub(super) const CLASSES: [&str; 2] = ["label", "class"];
/// Names of columns of groups.
const GROUPS: [&str; 23] = [
    "group",
    "series",
    "sequence",
    "subject",
    "sensor",
    "station",
    "unit",
    "patient",
    "machine",
    "id",
    "case",
    "take",
    "trial",
    "session",
    "device",
    "engine",
    "store",
    "shop",
    "item",
    "symbol",
    "ticker",
    "participant",
    "user",
];
/// Names of columns of times.
const TIMES: [&str; 13] = [
    "date",
    "time",
    "datetime",
    "timestamp",
    "ds",
    "epoch",
    "datum",
    "zeit",
    "zeitpunkt",
    "fecha",
    "tiempo",
    "temps",
    "heure",
];
/// Names of columns of times or of something else, such as a temperature T.
const SHORT_TIMES: [&str; 6] = ["t", "ts", "step", "tick", "frame", "data"];
/// Names of columns that number the rows.
const ROWS: [&str; 5] = ["index", "rownames", "row", "", "unnamed: 0"];
/// Names of columns that identify a row or an object, besides those that end with `id`.
const IDENTIFIERS: [&str; 9] = [
    "id", "uuid", "guid", "zip", "zipcode", "postcode", "plz", "serial", "phone",
];

/// A part of a date or of a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CalendarPart {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Weekday,
    Hour,
    Minute,
    Second,
}

impl CalendarPart {
    const ALL: [CalendarPart; 9] = [
        CalendarPart::Year,
        CalendarPart::Quarter,
        CalendarPart::Month,
        CalendarPart::Week,
        CalendarPart::Day,
        CalendarPart::Weekday,
        CalendarPart::Hour,
        CalendarPart::Minute,
        CalendarPart::Second,
    ];

    pub fn names(self) -> &'static [&'static str] {
        match self {
            CalendarPart::Year => &[
                "year",
                "yr",
                "jahr",
                "ano",
                "a\u{f1}o",
                "ann\u{e9}e",
                "anno",
            ],
            CalendarPart::Quarter => &["quarter", "qtr", "quartal", "trimestre"],
            CalendarPart::Month => &["month", "mon", "mo", "mnth", "monat", "mes", "mois", "mese"],
            CalendarPart::Week => &["week", "woche", "kw", "semana", "semaine"],
            CalendarPart::Day => &["day", "dd", "tag", "dia", "d\u{ed}a", "jour", "giorno"],
            CalendarPart::Weekday => &["weekday", "dow", "dayofweek", "day_of_week", "wochentag"],
            CalendarPart::Hour => &["hour", "hr", "hh", "stunde", "hora", "heure"],
            CalendarPart::Minute => &["minute", "min", "minuto"],
            CalendarPart::Second => &["second", "sec", "sekunde", "segundo", "seconde"],
        }
    }
}

/// Returns whether a column has the name of a part of a date.
pub(super) fn is_calendar(column: &Column) -> bool {
    CalendarPart::ALL
        .iter()
        .any(|part| column.is_called(part.names()))
}

/// Returns whether a column has the name of a year.
pub(super) fn is_year(column: &Column) -> bool {
    column.is_called(CalendarPart::Year.names())
}

pub(super) fn is_time(column: &Column) -> bool {
    let has_ending = ["time", "date", "timestamp"]
        .iter()
        .any(|end| ends_with(&column.name, end));
    column.is_called(&TIMES) || is_year(column) || has_ending
}

/// Returns whether a column that is in order has the name of a time.
pub(super) fn may_be_time(column: &Column) -> bool {
    is_time(column) || column.is_called(&SHORT_TIMES)
}

pub(super) fn is_group(column: &Column) -> bool {
    column.is_called(&GROUPS) || ends_with(&column.name, "id")
}

/// Returns whether a column has the name of a number of the row.
pub(super) fn numbers_rows(column: &Column) -> bool {
    column.is_called(&ROWS)
}

pub(super) fn is_identifier(column: &Column) -> bool {
    column.is_called(&IDENTIFIERS) || ends_with(&column.name, "id")
}

/// Returns whether the last word of a name is `word`, as in `unit_id`, `unit id` and `unitId`.
fn ends_with(name: &str, word: &str) -> bool {
    let Some(start) = name
        .len()
        .checked_sub(word.len())
        .filter(|&n| name.is_char_boundary(n))
    else {
        return false;
    };
    let (before, last) = name.split_at(start);
    let is_apart = before.ends_with(['_', ' ', '-', '.']);
    let is_hump =
        before.ends_with(|c: char| c.is_lowercase()) && last.starts_with(char::is_uppercase);
    last.eq_ignore_ascii_case(word) && (is_apart || is_hump)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_name_counts() {
        for (name, expected) in [
            ("unit_id", true),
            ("unit id", true),
            ("unitId", true),
            ("unitID", true),
            ("valid", false),
            ("humid", false),
            ("grid", false),
            ("id", false),
            ("\u{e9}id", false),
        ] {
            assert_eq!(ends_with(name, "id"), expected, "{name}");
        }
    }
}
