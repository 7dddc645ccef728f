//! The cells of the columns that may tell series apart or hold times.

use std::collections::{HashMap, HashSet};

use super::super::{DataFinding, GroupHint, Hints};
use super::columns::{Column, Content, TableColumns};
use super::order::NO_GROUP;
use super::{TableFile, names};
use crate::data::csv::time::{DayOrder, TimeColumn, TimeForm, is_time};
use crate::error::{Error, Result};

/// The most columns that are looked at as groups, and as times.
const MOST_KEYS: usize = 24;
const MOST_TIMES: usize = 12;

/// The cells of a column as numbers from 0; equal cells have the same.
pub(super) struct KeyColumn {
    pub column: usize,
    /// `[R]`: [`NO_GROUP`] for an empty cell.
    pub ids: Vec<u32>,
    pub names: Vec<String>,
    /// Whether it may be a column of groups.
    pub may_group: bool,
}

/// The times of rows, in one column or in several together.
pub(super) struct TimeCells {
    pub columns: Vec<usize>,
    /// `[R]`: NaN for missing ones.
    pub times: Vec<f64>,
    pub form: TimeForm,
    pub day_order: Option<DayOrder>,
}

/// The columns that may tell series apart, and those that may hold times.
pub(super) struct TableRowsSeen {
    /// `[R]`
    pub lines: Vec<u64>,
    pub keys: Vec<KeyColumn>,
    pub times: Vec<TimeCells>,
}

impl TableRowsSeen {
    /// Reads the columns that may be groups or times.
    pub fn read(
        file: &TableFile,
        table: &TableColumns,
        hints: &Hints,
        findings: &mut Vec<DataFinding>,
    ) -> Result<TableRowsSeen> {
        let mut keys = key_columns(table, hints);
        let time_columns = time_columns(table, hints);
        let mut cells: Vec<CellTexts> = time_columns.iter().map(|_| CellTexts::default()).collect();
        let mut numbers: Vec<HashMap<String, u32>> = keys.iter().map(|_| HashMap::new()).collect();
        let mut lines = vec![];
        file.each(|line, row| {
            lines.push(line);
            for (key, numbers) in keys.iter_mut().zip(&mut numbers) {
                key.see(row[key.column], numbers);
            }
            for (&column, cells) in time_columns.iter().zip(&mut cells) {
                cells.push(row[column]);
            }
        })?;
        let mut times = vec![];
        for (&column, cells) in time_columns.iter().zip(&cells) {
            let name = table.columns[column].shown();
            match TimeColumn::read(|row| cells.get(row)) {
                Ok(found) => times.push(TimeCells {
                    columns: vec![column],
                    times: found
                        .times
                        .iter()
                        .map(|time| time.unwrap_or(f64::NAN))
                        .collect(),
                    form: found.form,
                    day_order: found.day_order,
                }),
                Err(problem) if hints.time.as_ref() == Some(&table.columns[column].name) => {
                    let problem = format!("the column {name} cannot be the time: {problem}");
                    return Err(Error::file(file.path, problem));
                }
                Err(problem) => findings.push(DataFinding::new(format!(
                    "{name} is not taken as a time: {problem}"
                ))),
            }
        }
        Ok(TableRowsSeen { lines, keys, times })
    }

    /// Returns the times that several columns hold together, such as year and month.
    pub fn together(&self, table: &TableColumns) -> Option<TimeCells> {
        let part = |part: names::CalendarPart| {
            self.times.iter().find(|time| {
                time.form == TimeForm::Numbers
                    && table.columns[time.columns[0]].is_called(part.names())
            })
        };
        use names::CalendarPart::{Day, Hour, Minute, Month, Quarter, Second, Week, Year};
        let of_form = |form| self.times.iter().find(|time| time.form == form);
        let date = of_form(TimeForm::Dates);
        let mut parts: Vec<(&TimeCells, f64)> = vec![];
        if let Some(date) = date {
            parts.push((date, 1.0));
        } else if let Some(year) = part(Year) {
            let day = 86_400.0;
            parts.push((year, 400.0 * day));
            let first = [(Month, 31.0), (Quarter, 93.0), (Week, 7.0)];
            let coarse = first
                .into_iter()
                .find_map(|(name, days)| Some((part(name)?, days * day)));
            let has_month = part(Month).is_some();
            parts.extend(coarse);
            parts.extend(part(Day).map(|time| (time, day)).filter(|_| has_month));
        }
        match of_form(TimeForm::TimesOfDay) {
            Some(clock) => parts.push((clock, 1.0)),
            None => {
                let units = [(Hour, 3600.0), (Minute, 60.0), (Second, 1.0)];
                let found = units
                    .into_iter()
                    .filter_map(|(name, unit)| Some((part(name)?, unit)));
                parts.extend(found);
            }
        }
        if parts.len() < 2 {
            return None;
        }
        let sum = |row: usize| {
            parts
                .iter()
                .map(|(time, unit)| time.times[row] * unit)
                .sum()
        };
        Some(TimeCells {
            columns: parts
                .iter()
                .flat_map(|(time, _)| time.columns.clone())
                .collect(),
            times: (0..self.lines.len()).map(sum).collect(),
            form: TimeForm::Numbers,
            day_order: None,
        })
    }
}

/// The texts of the cells of a column, one after the other.
#[derive(Default)]
struct CellTexts {
    text: String,
    ends: Vec<usize>,
}

impl CellTexts {
    fn push(&mut self, cell: &str) {
        self.text.push_str(cell);
        self.ends.push(self.text.len());
    }

    fn get(&self, row: usize) -> Option<&str> {
        let end = *self.ends.get(row)?;
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start..end])
    }
}

impl KeyColumn {
    fn see(&mut self, cell: &str, numbers: &mut HashMap<String, u32>) {
        let id = if cell.is_empty() {
            NO_GROUP
        } else if let Some(&id) = numbers.get(cell) {
            id
        } else {
            let id = self.names.len() as u32;
            numbers.insert(cell.to_string(), id);
            self.names.push(cell.to_string());
            id
        };
        self.ids.push(id);
    }

    /// Returns whether the rows of each group are side by side.
    pub fn is_in_blocks(&self) -> bool {
        let mut seen = HashSet::new();
        self.ids
            .chunk_by(|a, b| a == b)
            .all(|block| seen.insert(block[0]))
    }
}

/// Returns the columns that may be groups, those with names of groups first.
fn key_columns(table: &TableColumns, hints: &Hints) -> Vec<KeyColumn> {
    let is_hinted_group = |column: &Column| hints.group == GroupHint::Column(column.name.clone());
    let is_target = |column: &Column| hints.target.as_ref() == Some(&column.name);
    let is_small = |column: &Column| (2..=table.rows / 2).contains(&column.distinct());
    let may_group = |column: &Column| {
        let is_key = match column.content() {
            Content::Text => !is_time(&column.first),
            Content::Numbers => column.numbers.whole,
            Content::Nothing | Content::MostlyNumbers => false,
        };
        let is_time = hints.time.as_ref() == Some(&column.name)
            || names::is_calendar(column)
            || names::may_be_time(column);
        let is_other = is_target(column) || is_time || column.is_called(&names::TARGETS);
        is_key && is_small(column) && !is_other && !column.is_repeated
    };
    let mut chosen: Vec<(bool, bool, usize)> = vec![];
    for (n, column) in table.columns.iter().enumerate() {
        let is_class = column.is_called(&names::TARGETS) || is_target(column);
        let may_group = is_hinted_group(column) || may_group(column);
        if may_group || is_class && is_small(column) {
            chosen.push((
                may_group,
                names::is_group(column) || is_hinted_group(column),
                n,
            ));
        }
    }
    // A stable sort keeps the order of the file.
    chosen.sort_by_key(|&(may_group, is_named, n)| {
        let is_first = is_named || !may_group;
        (!is_first, !table.columns[n].is_in_blocks())
    });
    chosen.truncate(MOST_KEYS);
    let key = |(may_group, _, column)| KeyColumn {
        column,
        ids: vec![],
        names: vec![],
        may_group,
    };
    chosen.into_iter().map(key).collect()
}

/// Returns the columns that may be times.
fn time_columns(table: &TableColumns, hints: &Hints) -> Vec<usize> {
    let is_hinted = |column: &Column| hints.time.as_ref() == Some(&column.name);
    let is_candidate = |column: &&Column| {
        // The only column of a table can be nothing but its target.
        let is_target = hints.target.as_ref() == Some(&column.name)
            || column.is_called(&names::TARGETS)
            || table.columns.len() == 1;
        let may_be = match column.content() {
            Content::Text => is_time(&column.first),
            Content::Numbers => {
                names::may_be_time(column)
                    || names::is_calendar(column)
                    || names::numbers_rows(column)
                    || column.numbers.rises_strictly()
                    || column.numbers.counts()
                    || column.numbers.is_mostly_steady()
            }
            Content::Nothing | Content::MostlyNumbers => false,
        };
        is_hinted(column) || may_be && !is_target && !column.is_repeated
    };
    let mut found: Vec<usize> = (0..table.columns.len())
        .filter(|&n| is_candidate(&&table.columns[n]))
        .collect();
    // Hints and texts first; a wide table may have many columns that count.
    found.sort_by_key(|&n| {
        let column = &table.columns[n];
        let is_named = names::may_be_time(column) || names::is_calendar(column);
        (
            !is_hinted(column),
            column.content() != Content::Text,
            !is_named,
        )
    });
    found.truncate(MOST_TIMES);
    found
}
