//! What one pass over a table shows of each column.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::TableFile;
use super::numbers::NumberForm;
use crate::data::csv::CellFormat;
use crate::error::Result;
use crate::messages::{counted, excerpt};

/// The most distinct cells that are counted.
const MOST_DISTINCT: usize = 1 << 16;
/// The most distinct texts among numbers that are kept.
const MOST_ODD: usize = 12;
/// The largest part of a cell that is kept.
const MOST_BYTES: usize = 80;
/// Texts that mark missing values, besides the usual ones of recipes.
const MARKS: [&str; 30] = [
    "-",
    "--",
    "---",
    "\u{2013}",
    "\u{2014}",
    ".",
    "..",
    "...",
    "*",
    "**",
    ":",
    "#n/a",
    "n.a.",
    "n.a",
    "n.d.",
    "n/d",
    "<na>",
    "(null)",
    "\\n",
    "nil",
    "missing",
    "unknown",
    "undefined",
    "#div/0!",
    "#value!",
    "#ref!",
    "#num!",
    "-nan",
    "1.#ind",
    "k.a.",
];

/// The columns of a table.
pub(super) struct TableColumns {
    pub columns: Vec<Column>,
    pub rows: usize,
    pub numbers: NumberForm,
}

impl TableColumns {
    pub fn read(file: &TableFile, numbers: NumberForm) -> Result<TableColumns> {
        let header = file.header()?;
        let mut columns: Vec<Column> = header.iter().map(|name| Column::new(name)).collect();
        let mut names = HashSet::new();
        let is_first: Vec<bool> = header.iter().map(|name| names.insert(name)).collect();
        let repeats = header
            .iter()
            .zip(&is_first)
            .filter(|(_, is_first)| !**is_first);
        let repeated: HashSet<&String> = repeats.map(|(name, _)| name).collect();
        for (column, is_first) in columns.iter_mut().zip(is_first) {
            column.is_repeated = repeated.contains(&column.name);
            column.is_first = is_first;
        }
        let format = numbers.cells();
        let mut rows = 0;
        file.each(|line, cells| {
            for (column, cell) in columns.iter_mut().zip(cells) {
                column.see(line, cell, format);
            }
            rows += 1;
        })?;
        Ok(TableColumns {
            columns,
            rows,
            numbers,
        })
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// Distinct cells of one kind among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OddText {
    pub text: String,
    pub count: usize,
    /// The line of the first one.
    pub line: u64,
}

/// What the cells of a column hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// No cell holds a value.
    Nothing,
    Numbers,
    /// Numbers, and cells that are neither numbers nor known marks of missing values.
    MostlyNumbers,
    Text,
}

/// What is known of a column.
pub(super) struct Column {
    pub name: String,
    /// Whether another column has the same name.
    pub is_repeated: bool,
    /// Whether no column before it has the same name.
    pub is_first: bool,
    pub rows: usize,
    /// Empty cells.
    pub empty: usize,
    pub numbers: NumberCells,
    /// The usual marks of missing values.
    pub usual_marks: Vec<OddText>,
    /// Cells that are neither numbers nor usual marks; see [`Column::odd`].
    pub odd: Vec<OddText>,
    pub odd_count: usize,
    /// The first cell that holds something.
    pub first: String,
    distinct: HashSet<u64>,
    /// Runs of equal cells; empty cells are skipped.
    pub runs: usize,
    previous: u64,
}

/// The numbers of a column, in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct NumberCells {
    pub count: usize,
    pub low: f64,
    pub high: f64,
    /// The lowest and highest of the numbers between those two.
    inner: [f64; 2],
    /// How often the lowest and the highest number occur, and the lines of the first ones.
    extremes: [(usize, u64); 2],
    /// Whether all are whole.
    pub whole: bool,
    /// Numbers above, and below, the one before.
    pub rises: usize,
    pub falls: usize,
    /// Steps that equal the step before, and are not 0.
    pub steady: usize,
    last: f64,
    last_step: f64,
}

impl NumberCells {
    fn new() -> NumberCells {
        NumberCells {
            count: 0,
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
            inner: [f64::INFINITY, f64::NEG_INFINITY],
            extremes: [(0, 0); 2],
            whole: true,
            rises: 0,
            falls: 0,
            steady: 0,
            last: f64::NAN,
            last_step: f64::NAN,
        }
    }

    fn see(&mut self, value: f64, line: u64) {
        self.count += 1;
        self.see_extremes(value, line);
        self.whole &= value.fract() == 0.0;
        let step = value - self.last;
        self.rises += usize::from(step > 0.0);
        self.falls += usize::from(step < 0.0);
        let is_same = (step - self.last_step).abs() <= 1e-6 * step.abs();
        self.steady += usize::from(is_same && step != 0.0);
        (self.last, self.last_step) = (value, step);
    }

    fn see_extremes(&mut self, value: f64, line: u64) {
        let [(low_count, _), (high_count, _)] = self.extremes;
        if value < self.low {
            (self.inner[0], self.low) = (self.inner[0].min(self.low), value);
            self.extremes[0] = (1, line);
        } else if value == self.low {
            self.extremes[0].0 = low_count + 1;
        } else {
            self.inner[0] = self.inner[0].min(value);
        }
        if value > self.high {
            (self.inner[1], self.high) = (self.inner[1].max(self.high), value);
            self.extremes[1] = (1, line);
        } else if value == self.high {
            self.extremes[1].0 = high_count + 1;
        } else {
            self.inner[1] = self.inner[1].max(value);
        }
    }

    /// Returns a clause on a number that usually marks missing values, and is far from all others.
    pub fn sentinel(&self) -> Option<String> {
        const SENTINELS: [f64; 9] = [
            99.0, 999.0, 9999.0, 99999.0, 999_999.0, 99.9, 999.9, 9999.9, 888.0,
        ];
        let is_sentinel = |value: f64| {
            SENTINELS.contains(&value.abs()) || value.abs() >= 1e20 || value == -2_147_483_648.0
        };
        let [inner_low, inner_high] = self.inner;
        let low = (
            self.low,
            inner_low - self.low,
            self.high - inner_low,
            self.extremes[0],
        );
        let high = (
            self.high,
            self.high - inner_high,
            inner_high - self.low,
            self.extremes[1],
        );
        let is_far = |&(value, gap, range, _): &(f64, f64, f64, _)| {
            is_sentinel(value) && gap.is_finite() && gap > 3.0 * range && range > 0.0
        };
        let (value, _, _, (count, line)) = [low, high].into_iter().find(is_far)?;
        let value = shown(value);
        Some(format!(
            "has {value} in {}, the first at line {line}, far from its other values; if \
             it marks missing ones, add \"{value}\" to data.missing_marks",
            counted(count, "row")
        ))
    }

    /// Returns whether each number is above the one before.
    pub fn rises_strictly(&self) -> bool {
        self.count > 1 && self.rises + 1 == self.count
    }

    /// Returns whether at least half of the steps equal the step before.
    pub fn is_mostly_steady(&self) -> bool {
        self.count > 3 && 2 * self.steady >= self.count - 2
    }

    /// Returns whether the numbers only count up or down, by nearly always the same step.
    pub fn counts(&self) -> bool {
        let is_strict = self.rises + 1 == self.count || self.falls + 1 == self.count;
        self.count > 2 && is_strict && 10 * self.steady >= 9 * (self.count - 2)
    }
}

impl Column {
    fn new(name: &str) -> Column {
        Column {
            name: name.to_string(),
            is_repeated: false,
            is_first: true,
            rows: 0,
            empty: 0,
            numbers: NumberCells::new(),
            usual_marks: vec![],
            odd: vec![],
            odd_count: 0,
            first: String::new(),
            distinct: HashSet::new(),
            runs: 0,
            previous: 0,
        }
    }

    fn see(&mut self, line: u64, cell: &str, format: CellFormat) {
        self.rows += 1;
        if cell.is_empty() {
            self.empty += 1;
            return;
        }
        if self.first.is_empty() {
            self.first = beginning(cell).to_string();
        }
        let hash = hash_of(cell);
        if self.distinct.len() <= MOST_DISTINCT {
            self.distinct.insert(hash);
        }
        if self.runs == 0 || hash != self.previous {
            (self.runs, self.previous) = (self.runs + 1, hash);
        }
        if format.is_missing(cell) {
            add(&mut self.usual_marks, cell, line);
            return;
        }
        match format.number(cell) {
            Some(value) => self.numbers.see(value, line),
            None => {
                self.odd_count += 1;
                add(&mut self.odd, cell, line);
            }
        }
    }

    pub fn is_called(&self, names: &[&str]) -> bool {
        let mut names = names.iter();
        names.any(|name| self.name.eq_ignore_ascii_case(name))
    }

    /// Returns the name for a message.
    pub fn shown(&self) -> String {
        format!("`{}`", excerpt(&self.name))
    }

    /// Returns the texts among the numbers that mark missing values.
    pub fn known_marks(&self) -> impl Iterator<Item = &OddText> {
        self.odd.iter().filter(|odd| is_mark(&odd.text))
    }

    /// Returns the texts among the numbers that mark nothing.
    pub fn wrong_cells(&self) -> impl Iterator<Item = &OddText> {
        self.odd.iter().filter(|odd| !is_mark(&odd.text))
    }

    pub fn content(&self) -> Content {
        let marks: usize = self.known_marks().map(|odd| odd.count).sum();
        let filled = self.rows - self.empty;
        let has_numbers = self.numbers.count > 0;
        if filled == 0 || !has_numbers && self.distinct() < 2 && self.odd_count == marks {
            Content::Nothing
        } else if has_numbers && self.odd_count == 0
            || 10 * self.numbers.count >= filled && self.odd_count == marks
        {
            Content::Numbers
        } else if 2 * self.numbers.count >= filled {
            Content::MostlyNumbers
        } else {
            Content::Text
        }
    }

    pub fn is_numeric(&self) -> bool {
        self.content() == Content::Numbers
    }

    /// Returns the number of distinct cells, at most one more than [`MOST_DISTINCT`].
    pub fn distinct(&self) -> usize {
        self.distinct.len()
    }

    pub fn is_constant(&self) -> bool {
        self.distinct() == 1
    }

    /// Returns the cells without a value: of a column of texts, empty ones only.
    pub fn missing(&self) -> usize {
        if self.is_numeric() || self.content() == Content::MostlyNumbers {
            let marks = self.usual_marks.iter().chain(self.known_marks());
            self.empty + marks.map(|odd| odd.count).sum::<usize>()
        } else {
            self.empty
        }
    }

    /// Returns whether equal cells are all side by side.
    pub fn is_in_blocks(&self) -> bool {
        self.runs == self.distinct() && self.runs < self.rows
    }

    pub fn describe(&self) -> String {
        match self.content() {
            Content::Nothing => "nothing".into(),
            Content::Numbers => {
                format!(
                    "numbers, {} to {}",
                    shown(self.numbers.low),
                    shown(self.numbers.high)
                )
            }
            Content::MostlyNumbers => {
                format!(
                    "text: {} of {} cells are no numbers",
                    self.odd_count, self.rows
                )
            }
            Content::Text if self.distinct() > MOST_DISTINCT => "text".into(),
            Content::Text => format!("text, {} different", self.distinct()),
        }
    }

    /// Returns a sentence on the cells that are no numbers among numbers.
    pub fn wrong_cells_sentence(&self) -> Option<String> {
        let first = self.wrong_cells().next()?;
        Some(format!(
            "{}: {} of {} cells are numbers, but line {} has `{}`",
            self.shown(),
            self.numbers.count,
            self.rows,
            first.line,
            excerpt(&first.text)
        ))
    }
}

fn is_mark(text: &str) -> bool {
    MARKS.iter().any(|mark| text.eq_ignore_ascii_case(mark))
}

fn hash_of(cell: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    cell.hash(&mut hasher);
    hasher.finish()
}

/// Counts a text, and keeps the first ones.
fn add(texts: &mut Vec<OddText>, cell: &str, line: u64) {
    let text = beginning(cell);
    if let Some(known) = texts.iter_mut().find(|known| known.text == text) {
        known.count += 1;
    } else if texts.len() < MOST_ODD {
        texts.push(OddText {
            text: text.to_string(),
            count: 1,
            line,
        });
    }
}

/// Returns the beginning of a text that is long enough to recognise it.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_BYTES)]
}

/// Returns a number with few digits.
pub(super) fn shown(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e16).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}
