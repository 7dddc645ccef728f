//! Whether the first line of a table is its header.

use super::TableFile;
use super::columns::{Column, Content, TableColumns};
use crate::data::csv::time::is_time;
use crate::error::Result;
use crate::messages::excerpt;

/// Refuses a first line of numbers.
///
/// # Errors
/// A clause.
pub(super) fn check(header: &[String]) -> Result<(), String> {
    let is_number = |cell: &String| cell.parse::<f64>().is_ok();
    if header.is_empty() || !header.iter().all(is_number) {
        return Ok(());
    }
    let row = excerpt(&header.join(", "));
    Err(format!(
        "line 1 has only numbers ({row}); put a header above it, a line with a name for each column"
    ))
}

/// Refuses a first line whose cells are like those below: numbers above numbers, times above times,
/// and texts that occur in their column.
///
/// # Errors
/// A clause.
pub(super) fn check_columns(file: &TableFile, table: &TableColumns) -> Result<(), String> {
    let is_value = |column: &Column| {
        table
            .numbers
            .cells()
            .number(&column.name)
            .is_some_and(f64::is_finite)
            || is_time(&column.name)
    };
    // Years above columns of values are names.
    let columns = || {
        table
            .columns
            .iter()
            .filter(|column| column.content() != Content::Nothing)
    };
    if !columns().any(is_value) || are_years(&table.columns) {
        return Ok(());
    }
    let texts: Vec<usize> = (0..table.columns.len())
        .filter(|&n| !is_value(&table.columns[n]))
        .collect();
    let mut occurs = vec![false; table.columns.len()];
    let read = file.each(|_, cells| {
        for &n in &texts {
            let name = &table.columns[n].name;
            occurs[n] |= !name.is_empty() && (cells[n] == name || has_shape(cells[n], name));
        }
    });
    if read.is_err() {
        return Ok(());
    }
    let is_row = table.columns.iter().enumerate().all(|(n, column)| {
        let name = &column.name;
        match column.content() {
            Content::Nothing => name.is_empty(),
            Content::Numbers | Content::MostlyNumbers => {
                table.numbers.cells().number(name).is_some()
            }
            Content::Text if is_time(&column.first) => is_time(name),
            Content::Text => occurs[n],
        }
    });
    if !is_row {
        return Ok(());
    }
    let names: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    Err(format!(
        "line 1 looks like a row and not like a header ({}); put a header above it, a line with a \
         name for each column",
        excerpt(&names.join(", "))
    ))
}

/// Returns whether a name with digits differs from a cell in digits alone, as d0 and d12.
fn has_shape(cell: &str, name: &str) -> bool {
    let stem = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    name.contains(|c: char| c.is_ascii_digit()) && stem(cell) == stem(name)
}

/// Returns a sentence on columns whose names are years: their rows may be whole series.
pub(super) fn wide_table(columns: &[Column]) -> Option<String> {
    let is_year = |column: &&Column| column.name.parse::<i32>().is_ok();
    let first = columns
        .iter()
        .find(is_year)
        .filter(|_| are_years(columns))?;
    Some(format!(
        "the names of columns such as {} are years; if each row is a series over the years, \
         transpose the table: a row must be a time step",
        first.shown()
    ))
}

/// Returns whether the names that are numbers are years one after the other.
fn are_years(columns: &[Column]) -> bool {
    let years: Vec<i32> = columns
        .iter()
        .filter_map(|column| column.name.parse().ok())
        .collect();
    years.len() > 1
        && years.iter().all(|year| (1000..3000).contains(year))
        && years
            .windows(2)
            .all(|pair| pair[1] - pair[0] == years[1] - years[0])
        && years[0] != years[1]
}
