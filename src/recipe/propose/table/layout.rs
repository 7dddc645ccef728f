//! The layout of a table's text: the character between cells, and lines that are no part of it.

use std::collections::HashMap;
use std::path::Path;

use crate::data::csv::CellFormat;
use crate::data::csv::time;
use crate::messages::excerpt;

/// Lines that are looked at to find the delimiter.
const MOST_LINES: usize = 100;
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// Returns the character between the cells of a table; a comma for a table of one column.
///
/// # Errors
/// A clause on columns that are divided by several blanks.
pub(super) fn delimiter(text: &str, path: &Path) -> Result<char, String> {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .take(MOST_LINES)
        .collect();
    let scored = DELIMITERS.into_iter().filter_map(|mark| {
        let score = DelimiterScore::of(&lines, mark)?;
        Some((score, mark))
    });
    let best = scored.max_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Less));
    match best {
        Some((_, mark)) => Ok(mark),
        None if has_decimal_commas(&lines) => Ok(';'),
        None => blanks(&lines, path).map(|blank| blank.unwrap_or(',')),
    }
}

/// How well a character divides lines into cells; the larger, the better.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct DelimiterScore {
    /// Tenths of lines with as many cells as the first.
    equal_lines: usize,
    /// Tenths of cells below the first line that are numbers or times.
    numbers: usize,
    cells: usize,
}

impl DelimiterScore {
    /// Returns the score; `None` if the first line has one cell.
    fn of(lines: &[&str], mark: char) -> Option<DelimiterScore> {
        let (first, below) = lines.split_first()?;
        let cells = cells_in(first, mark);
        if cells < 2 {
            return None;
        }
        let equal = below
            .iter()
            .filter(|line| cells_in(line, mark) == cells)
            .count();
        let all = below.iter().flat_map(|line| line.split(mark));
        let (numbers, count) = all.fold((0, 0), |(numbers, count), cell| {
            (
                numbers + usize::from(is_value(cell.trim().trim_matches('"'))),
                count + 1,
            )
        });
        Some(DelimiterScore {
            equal_lines: 10 * equal / below.len().max(1),
            numbers: 10 * numbers / count.max(1),
            cells,
        })
    }
}

fn is_value(cell: &str) -> bool {
    let comma = CellFormat {
        decimal: ',',
        ..CellFormat::default()
    };
    CellFormat::default().number(cell).is_some()
        || comma.number(cell).is_some()
        || time::time_of(cell).is_some()
}

/// Returns the number of cells of a line; a delimiter in quotes divides none.
pub(super) fn cells_in(line: &str, delimiter: char) -> usize {
    let mut is_quoted = false;
    let mut count = 1;
    for character in line.chars() {
        if character == '"' {
            is_quoted = !is_quoted;
        } else if character == delimiter && !is_quoted {
            count += 1;
        }
    }
    count
}

/// Returns whether the lines below the first are one number each, most with a decimal comma.
fn has_decimal_commas(lines: &[&str]) -> bool {
    let is_comma = |line: &&&str| line.matches(',').count() == 1 && is_value(line.trim());
    let commas = lines.iter().skip(1).filter(is_comma).count();
    2 * commas > lines.len()
}

/// Returns a blank if single blanks divide the cells, and `None` if there is one column.
///
/// # Errors
/// A clause on lines with several blanks between cells.
fn blanks(lines: &[&str], path: &Path) -> Result<Option<char>, String> {
    let words = |line: &str| line.split_whitespace().count();
    let Some((first, below)) = lines.split_first() else {
        return Ok(None);
    };
    let count = words(first);
    let equal = below.iter().filter(|line| words(line) == count).count();
    let values = below.iter().flat_map(|line| line.split_whitespace());
    let numbers = values.clone().filter(|word| is_value(word)).count();
    if count < 2 || 10 * equal < 9 * below.len() || 2 * numbers < values.count() {
        return Ok(None);
    }
    let is_single = |line: &&str| cells_in(line, ' ') == words(line);
    if lines.iter().all(is_single) {
        return Ok(Some(' '));
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let file = excerpt(&file);
    Err(format!(
        "the {count} columns are divided by several blanks; divide them by commas: \
         sed 's/^ *//; s/  */,/g' {file} > divided.csv"
    ))
}

/// Refuses lines at the end that have another number of cells than all lines above them.
///
/// # Errors
/// A clause on the first of them.
fn check_last_lines(text: &str, delimiter: char, most: usize) -> Result<(), String> {
    let lines = text.lines().zip(1_usize..);
    let mut others = None;
    for (line, number) in lines.filter(|(line, _)| !line.trim().is_empty()) {
        match (cells_in(line, delimiter) == most, others) {
            (true, Some(_)) => return Ok(()),
            (false, None) => others = Some((line, number)),
            _ => {}
        }
    }
    let Some((line, number)) = others else {
        return Ok(());
    };
    Err(format!(
        "line {number}, the first of the last lines that have other cells than the {most} of the \
         header, is `{}`; if they are no rows, remove them (head -n {} FILE > NEW)",
        excerpt(line),
        number - 1
    ))
}

/// Refuses a table whose first or last lines have another number of cells than most lines.
///
/// # Errors
/// A clause on the line.
pub(super) fn check_first_line(text: &str, delimiter: char) -> Result<(), String> {
    let lines = || {
        let numbered = text.lines().zip(1_usize..);
        numbered.filter(|(line, _)| !line.trim().is_empty())
    };
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for (line, _) in lines() {
        *counts.entry(cells_in(line, delimiter)).or_default() += 1;
    }
    let Some((first, first_number)) = lines().next() else {
        return Err("is empty; a table must have a header and rows".into());
    };
    let cells = cells_in(first, delimiter);
    let Some((&most, &equal)) = counts.iter().max_by_key(|&(cells, count)| (count, cells)) else {
        return Ok(());
    };
    let total: usize = counts.values().sum();
    if 10 * equal < 8 * total || total < 4 {
        return Ok(());
    }
    if cells == most {
        return check_last_lines(text, delimiter, most);
    }
    if cells + 1 == most && equal + 1 == total {
        return Err(format!(
            "line {first_number} has {cells} cells and the lines below have {most}; if the first \
             column are names of rows, as R writes them, put a name for it and the delimiter at \
             the beginning of line {first_number}"
        ));
    }
    let mut equal_lines = lines().filter(|(line, _)| cells_in(line, delimiter) == most);
    let header = equal_lines.next().map_or(1, |(_, number)| number);
    Err(format!(
        "line {first_number} has {cells} cells, and most lines have {most}, from line {header} on; \
         the header must be the first line: remove the lines above line {header} \
         (tail -n +{header} FILE > NEW)"
    ))
}
