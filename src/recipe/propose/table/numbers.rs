//! How the numbers of a table are written: decimal points or commas, and separators of thousands.

use super::{DataFinding, TableFile};
use crate::data::csv::CellFormat;
use crate::error::Result;
use crate::messages::excerpt;

/// Separators of thousands besides commas and points.
const SEPARATORS: [char; 5] = [' ', '\u{a0}', '\u{202f}', '\'', '\u{2019}'];

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberForm {
    pub decimal: char,
    pub thousands: Option<char>,
}

impl NumberForm {
    /// Returns the format of cells, with the usual marks of missing values.
    pub fn cells(&self) -> CellFormat<'static> {
        CellFormat {
            decimal: self.decimal,
            thousands: self.thousands,
            missing_marks: None,
        }
    }

    /// Decides over all cells, and adds what is not certain to `findings`.
    pub fn of(file: &TableFile, findings: &mut Vec<DataFinding>) -> Result<NumberForm> {
        let mut clues = NumberClues::default();
        file.each(|line, cells| {
            for cell in cells.iter().filter(|cell| cell.len() < 40) {
                if let Some(clue) = CellClue::of(cell) {
                    clues.see(clue, line, cell);
                }
            }
        })?;
        Ok(clues.decide(file.delimiter, findings))
    }
}

/// What a number tells of its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct CellClue {
    decimal: Option<char>,
    thousands: Option<char>,
    /// A mark that is a decimal mark or a separator of thousands, as in 1,234.
    either: Option<char>,
}

impl CellClue {
    /// Returns what a cell tells; `None` for one that tells nothing.
    fn of(cell: &str) -> Option<CellClue> {
        let is_digit = |c: char| c.is_ascii_digit();
        let number = cell.trim_start_matches(['+', '-', '\u{2212}']);
        let mantissa = number.split(['e', 'E']).next()?;
        if !mantissa.starts_with(|c| is_digit(c) || c == ',' || c == '.') {
            return None;
        }
        let is_part = |c: char| is_digit(c) || c == ',' || c == '.' || SEPARATORS.contains(&c);
        if mantissa.chars().all(is_digit) || !mantissa.chars().all(is_part) {
            return None;
        }
        let separator = mantissa.chars().find(|c| SEPARATORS.contains(c));
        let [commas, points] = [',', '.'].map(|mark| mantissa.matches(mark).count());
        let (decimal, thousands) = match (separator, commas, points) {
            (Some(separator), 0, 0) => (None, Some(separator)),
            (Some(separator), 1, 0) => (Some(','), Some(separator)),
            (Some(separator), 0, 1) => (Some('.'), Some(separator)),
            (Some(_), _, _) => return None,
            (None, 1, 0) => return of_one_mark(mantissa, ','),
            (None, 0, 1) => return of_one_mark(mantissa, '.'),
            (None, _, 0) => (None, Some(',')),
            (None, 0, _) => (None, Some('.')),
            (None, 1, _) if mantissa.rfind(',') > mantissa.rfind('.') => (Some(','), Some('.')),
            (None, _, 1) if mantissa.rfind('.') > mantissa.rfind(',') => (Some('.'), Some(',')),
            _ => return None,
        };
        let (whole, fraction) = match decimal {
            Some(mark) => mantissa.split_once(mark)?,
            None => (mantissa, ""),
        };
        let is_grouped = thousands.is_none_or(|mark| are_groups(whole, mark));
        (is_grouped && fraction.chars().all(is_digit)).then_some(CellClue {
            decimal,
            thousands,
            either: None,
        })
    }
}

/// Returns what a number with one comma or point tells.
fn of_one_mark(mantissa: &str, mark: char) -> Option<CellClue> {
    let (whole, fraction) = mantissa.split_once(mark)?;
    let is_either =
        fraction.len() == 3 && (1..=3).contains(&whole.len()) && !whole.starts_with('0');
    Some(CellClue {
        decimal: (!is_either).then_some(mark),
        thousands: None,
        either: is_either.then_some(mark),
    })
}

/// Returns whether a mark divides digits into groups of three.
fn are_groups(digits: &str, mark: char) -> bool {
    let mut groups = digits.split(mark);
    let first = groups.next().unwrap_or_default();
    let is_number = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    (1..=3).contains(&first.len())
        && is_number(first)
        && groups.all(|group| group.len() == 3 && is_number(group))
}

/// Cells that tell the same.
#[derive(Debug, Clone, Default)]
struct CellsSeen {
    count: usize,
    /// The first one, with its line.
    first: String,
}

impl CellsSeen {
    fn see(&mut self, line: u64, cell: &str) {
        if self.count == 0 {
            self.first = format!("`{}` (line {line})", excerpt(cell));
        }
        self.count += 1;
    }
}

/// What all cells tell.
#[derive(Debug, Default)]
struct NumberClues {
    decimal_comma: CellsSeen,
    decimal_point: CellsSeen,
    comma_groups: CellsSeen,
    either_comma: CellsSeen,
    either_point: CellsSeen,
    other_groups: CellsSeen,
    separator: Option<char>,
}

impl NumberClues {
    fn see(&mut self, clue: CellClue, line: u64, cell: &str) {
        let is = |mark: Option<char>, expected| mark == Some(expected);
        if is(clue.decimal, ',') || is(clue.thousands, '.') {
            self.decimal_comma.see(line, cell);
        }
        if is(clue.decimal, '.') || is(clue.thousands, ',') {
            self.decimal_point.see(line, cell);
        }
        if is(clue.thousands, ',') {
            self.comma_groups.see(line, cell);
        }
        if let Some(mark) = clue.thousands.filter(|mark| SEPARATORS.contains(mark)) {
            self.other_groups.see(line, cell);
            self.separator.get_or_insert(mark);
        }
        match clue.either {
            Some(',') => self.either_comma.see(line, cell),
            Some(_) => self.either_point.see(line, cell),
            None => {}
        }
    }

    fn decide(&self, delimiter: char, findings: &mut Vec<DataFinding>) -> NumberForm {
        let (comma, point) = (self.decimal_comma.count, self.decimal_point.count);
        let is_only_either = comma == 0 && point == 0 && self.either_comma.count > 0;
        let has_commas = comma > point || is_only_either && delimiter != ',';
        if comma > 0 && point > 0 {
            findings.push(DataFinding::new(format!(
                "some numbers have a decimal point, {}, and some a decimal comma, {}; the more \
                 frequent is taken, and columns with the other hold text",
                self.decimal_point.first, self.decimal_comma.first
            )));
        }
        if has_commas && delimiter == ',' {
            findings.push(DataFinding::new(format!(
                "{} has a decimal comma, but commas divide the cells, too; gatescan reads decimal \
                 commas only where another character divides cells: save the file with semicolons",
                self.decimal_comma.first
            )));
        } else if has_commas {
            self.say_commas(is_only_either, findings);
            return NumberForm {
                decimal: ',',
                thousands: self.other_separator(findings),
            };
        }
        let groups = self.either_comma.count > 0 && !(has_commas && delimiter == ',');
        if groups {
            findings.push(DataFinding::new(format!(
                "{} is read with commas between thousands: data.thousands = \",\"; if it has a \
                 decimal comma, save the file with semicolons between cells",
                self.either_comma.first
            )));
        }
        NumberForm {
            decimal: '.',
            thousands: groups
                .then_some(',')
                .or_else(|| self.other_separator(findings)),
        }
    }

    fn say_commas(&self, is_only_either: bool, findings: &mut Vec<DataFinding>) {
        let first = if is_only_either {
            &self.either_comma.first
        } else {
            &self.decimal_comma.first
        };
        let mut text = format!("numbers such as {first} have decimal commas: data.decimal = \",\"");
        if is_only_either {
            text += "; if they are commas between thousands, set data.decimal = \".\" and \
                     data.thousands = \",\"";
        }
        if self.either_point.count > 0 {
            text += &format!(
                "; so {} has a point between thousands",
                self.either_point.first
            );
        }
        findings.push(DataFinding::new(text));
    }

    fn other_separator(&self, findings: &mut Vec<DataFinding>) -> Option<char> {
        let separator = self.separator?;
        let shown = if separator.is_ascii() {
            format!("\"{separator}\"")
        } else {
            format!("\"\\u{:04x}\"", u32::from(separator))
        };
        findings.push(DataFinding::new(format!(
            "numbers such as {} have {shown} between thousands: data.thousands = {shown}",
            self.other_groups.first
        )));
        Some(separator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_tell_of_their_decimal_mark() {
        let clue = |decimal, thousands, either| {
            Some(CellClue {
                decimal,
                thousands,
                either,
            })
        };
        for (cell, expected) in [
            ("20,0", clue(Some(','), None, None)),
            ("-3.25", clue(Some('.'), None, None)),
            ("0.125", clue(Some('.'), None, None)),
            ("1,234", clue(None, None, Some(','))),
            ("1.234", clue(None, None, Some('.'))),
            ("1,234,567", clue(None, Some(','), None)),
            ("1.234,5", clue(Some(','), Some('.'), None)),
            ("1,234.5", clue(Some('.'), Some(','), None)),
            ("12 345,6", clue(Some(','), Some(' '), None)),
            ("1'234", clue(None, Some('\''), None)),
            ("12", None),
            ("31.01.2024", None),
            ("18.00.00", None),
            ("12..5", None),
            ("a,5", None),
            ("1 2", None),
            ("", None),
        ] {
            assert_eq!(CellClue::of(cell), expected, "{cell}");
        }
    }
}
