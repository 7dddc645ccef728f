//! Reads the rows of a table: the only use of the crate `csv` in the library.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;

use csv::{ErrorKind, Position, ReaderBuilder, StringRecord, Trim};

use super::time::{TimeColumn, TimeForm};
use super::{CellFormat, Csv, TableRows, TableSeries, TableTask, order};
use crate::error::{Error, Result};
use crate::io::memory_limit;
use crate::kernels::IGNORE;
use crate::messages::{did_you_mean, excerpt, listed};

/// The most classes of a column.
const MOST_CLASSES: usize = 4096;
/// The most columns that a message lists.
const MOST_LISTED: usize = 20;

/// A table's header and the records below it.
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    reader: csv::Reader<&'a [u8]>,
    path: &'a Path,
    /// The cells of the header.
    pub header: Vec<String>,
}

impl<'a> Records<'a> {
    /// Reads the header; errors name `path`.
    pub fn new(bytes: &'a [u8], delimiter: char, path: &'a Path) -> Result<Records<'a>> {
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter as u8)
            .trim(Trim::All)
            .from_reader(bytes);
        let header = reader.headers().map_err(|error| damaged(path, &error))?;
        Ok(Records {
            header: header.iter().map(str::to_string).collect(),
            bytes,
            reader,
            path,
        })
    }

    /// Calls `see` with the line number and the cells of each row.
    pub fn each(mut self, mut see: impl FnMut(u64, &StringRecord) -> Result<()>) -> Result<()> {
        let mut record = StringRecord::new();
        loop {
            let read = self.reader.read_record(&mut record);
            if !read.map_err(|error| damaged(self.path, &error))? {
                return Ok(());
            }
            see(self.line_of(&record), &record)?;
        }
    }

    /// Returns the line at which a row begins; the blank lines above it count to its position.
    fn line_of(&self, record: &StringRecord) -> u64 {
        let (byte, line) = record
            .position()
            .map_or((0, 0), |at| (at.byte(), at.line()));
        let above = self.bytes.get(byte as usize..).unwrap_or_default().iter();
        let blank = above.take_while(|&&byte| byte == b'\n' || byte == b'\r');
        line + blank.filter(|&&byte| byte == b'\n').count() as u64
    }
}

/// Returns a table whose blank lines are rows with an empty cell, if it has one column: a row that
/// is missing moves all rows below it in time. Blank lines at the end are none.
pub(crate) fn with_blank_rows(bytes: &[u8], delimiter: char) -> Cow<'_, [u8]> {
    let is_one_column = !bytes
        .iter()
        .any(|&byte| byte == delimiter as u8 || byte == b'"');
    let Some(end) = bytes.iter().rposition(|byte| !byte.is_ascii_whitespace()) else {
        return bytes.into();
    };
    let start = bytes
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .unwrap_or(0);
    let lines = || bytes[start..=end].split(|&byte| byte == b'\n');
    if !is_one_column || !lines().any(|line| line.trim_ascii().is_empty()) {
        return bytes.into();
    }
    let mut filled = bytes[..start].to_vec();
    for line in lines() {
        let is_blank = line.trim_ascii().is_empty();
        filled.extend_from_slice(if is_blank { b"\"\"" } else { line });
        filled.push(b'\n');
    }
    filled.into()
}

/// Returns the cells of one line without a header.
pub(crate) fn split_line(text: &str, delimiter: char) -> Result<Vec<String>, String> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter as u8)
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    let read = reader.read_record(&mut record);
    read.map_err(|error| error.to_string())?;
    Ok(record.iter().map(str::to_string).collect())
}

/// Returns the time of a cell with a date, in seconds since 1970.
///
/// # Errors
/// A clause on a cell that is no date.
pub(crate) fn date_of(cell: &str) -> Result<f64, String> {
    let column = TimeColumn::read(|row| (row == 0).then_some(cell))?;
    match (column.form, column.times.first()) {
        (TimeForm::Dates | TimeForm::Instants, Some(&Some(time))) => Ok(time),
        _ => Err(format!("`{}` is no date", excerpt(cell))),
    }
}

impl Csv {
    /// Returns the rows of a file by series, with targets. If `known` is not empty, no other
    /// classes may occur.
    pub(super) fn parse(&self, bytes: &[u8], path: &Path, known: &[String]) -> Result<TableRows> {
        let bytes = with_blank_rows(bytes, self.delimiter);
        let records = Records::new(&bytes, self.delimiter, path)?;
        let targets = columns(&records.header, &self.targets, "data.targets", path)?;
        let weights = self.weights.as_slice();
        let weights = columns(&records.header, weights, "data.weights", path)?;
        let mut classes = ClassNumbers::new(known);
        let mut rows = self.read_series(records, path, |cells, series| {
            for &column in &targets {
                match self.task {
                    TableTask::Regression => series.values.push(cells.number(column)?),
                    TableTask::MultiLabel => series.values.push(cells.zero_or_one(column)?),
                    TableTask::Classification => series.labels.push(classes.label(cells, column)?),
                }
            }
            for &column in &weights {
                series.weights.push(cells.weight(column)?);
            }
            Ok(())
        })?;
        rows.classes = classes.in_order(&mut rows.series);
        if self.task == TableTask::Classification && rows.classes.len() < 2 {
            let problem = format!(
                "every row of the column `{}` has the same class; there must be at least two",
                excerpt(&self.targets[0])
            );
            return Err(Error::file(path, problem));
        }
        Ok(rows)
    }

    /// Returns the rows of a file by series, without targets.
    pub(super) fn parse_inputs(&self, bytes: &[u8], path: &Path) -> Result<TableRows> {
        let bytes = with_blank_rows(bytes, self.delimiter);
        let records = Records::new(&bytes, self.delimiter, path)?;
        self.read_series(records, path, |_, _| Ok(()))
    }

    /// Reads the inputs of all rows by series; `read_targets` adds the targets of a row.
    fn read_series(
        &self,
        records: Records,
        path: &Path,
        mut read_targets: impl FnMut(&Cells, &mut TableSeries) -> Result<()>,
    ) -> Result<TableRows> {
        let header = records.header.clone();
        let inputs = columns(&header, &self.inputs, "data.inputs", path)?;
        let group = columns(&header, self.group.as_slice(), "data.group", path)?;
        let time = columns(&header, self.time.as_slice(), "data.time", path)?;
        let future = columns(&header, &self.future, "data.future", path)?;
        let of_categories = columns(&header, &self.categories, "data.categories", path)?;
        let mut categories = vec![CategoryCodes::default(); of_categories.len()];
        let mut read = SeriesReader::default();
        let mut values = 0;
        records.each(|line, record| {
            let cells = Cells {
                record,
                header: &header,
                format: self.cell_format(),
                line,
                path,
            };
            let name = group.first().map_or("", |&column| cells.text(column));
            if !group.is_empty() && name.is_empty() {
                read.without_group.push(line);
                return Ok(());
            }
            read.times
                .extend(time.iter().map(|&column| cells.text(column).to_string()));
            let own = read.row_of(name);
            own.lines.push(line);
            for &column in &inputs {
                own.inputs.push(cells.number(column)?);
            }
            for &column in &future {
                own.future.push(cells.number(column)?);
            }
            for (codes, &column) in categories.iter_mut().zip(&of_categories) {
                own.categories.push(codes.code(&cells, column)?);
            }
            values += (inputs.len() + future.len() + of_categories.len()) as u128;
            memory_limit::check_values(values).map_err(|problem| Error::file(path, problem))?;
            read_targets(&cells, own)
        })?;
        if read.series.is_empty() {
            let problem = "has a header and no rows; it needs at least one";
            return Err(Error::file(path, problem));
        }
        let mut notes = read.notes(self.group.as_deref().unwrap_or_default());
        if let Some(column) = &self.time {
            notes.extend(order::sort(
                &mut read,
                column,
                !(self.calendar.is_empty() && self.future_calendar.is_empty()),
                path,
            )?);
        }
        self.set_future_rows_apart(&mut read.series);
        self.add_calendar(&mut read.series);
        Ok(TableRows {
            series: read.series,
            classes: vec![],
            categories: categories.into_iter().map(|codes| codes.names).collect(),
            notes,
        })
    }
}

/// The categories of a column, in the order in which they occur.
#[derive(Clone, Default)]
struct CategoryCodes {
    codes: HashMap<String, u32>,
    names: Vec<String>,
}

impl CategoryCodes {
    /// Returns the index of a cell's category.
    fn code(&mut self, cells: &Cells, column: usize) -> Result<u32> {
        let name = cells.text(column);
        if name.is_empty() {
            return Err(cells.error(
                column,
                "; data.categories names it, so each row needs a category",
            ));
        }
        if let Some(&code) = self.codes.get(name) {
            return Ok(code);
        }
        let code = self.names.len() as u32;
        self.codes.insert(name.to_string(), code);
        self.names.push(name.to_string());
        Ok(code)
    }
}

/// The series of a table while its rows are read.
#[derive(Default)]
pub(super) struct SeriesReader {
    pub series: Vec<TableSeries>,
    /// The series of each row of the file.
    pub owners: Vec<usize>,
    /// The time of each row of the file, as its cell has it; empty without such a column.
    pub times: Vec<String>,
    numbers: HashMap<String, usize>,
    /// The lines of rows without a group.
    without_group: Vec<u64>,
}

impl SeriesReader {
    /// Returns the series with this name, which the next row belongs to.
    fn row_of(&mut self, name: &str) -> &mut TableSeries {
        let number = self.numbers.get(name).copied().unwrap_or_else(|| {
            self.numbers.insert(name.to_string(), self.series.len());
            self.series.push(TableSeries {
                name: name.to_string(),
                ..TableSeries::default()
            });
            self.series.len() - 1
        });
        self.owners.push(number);
        &mut self.series[number]
    }

    /// Returns a sentence on the rows without a group, if there are any.
    fn notes(&self, group: &str) -> Vec<String> {
        let Some(first) = self.without_group.first() else {
            return vec![];
        };
        vec![format!(
            "{} rows without a value of `{}` are left out, the first at line {first}",
            self.without_group.len(),
            excerpt(group)
        )]
    }
}

/// The cells of one row.
struct Cells<'a> {
    record: &'a StringRecord,
    header: &'a [String],
    format: CellFormat<'a>,
    line: u64,
    path: &'a Path,
}

impl Cells<'_> {
    fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    /// Returns the number of a cell; NaN for a missing one.
    fn number(&self, column: usize) -> Result<f64> {
        let cell = self.text(column);
        self.format.number(cell).ok_or_else(|| {
            let remedy = if cell.contains(',') {
                "; it must hold finite numbers, or be left out of the recipe. For decimal commas, \
                 set data.decimal = \",\"; for commas between thousands, data.thousands = \",\""
            } else {
                "; it must hold finite numbers, or be left out of the recipe. For a mark of missing \
                 values, list it in data.missing_marks"
            };
            self.error(column, remedy)
        })
    }

    /// Returns the label of a cell, 0 or 1; NaN for a missing one.
    fn zero_or_one(&self, column: usize) -> Result<f64> {
        let value = self.number(column)?;
        if value == 0.0 || value == 1.0 || value.is_nan() {
            return Ok(value);
        }
        let remedy = "; data.task is \"multi-label\", so it must hold 0 or 1";
        Err(self.error(column, remedy))
    }

    /// Returns the weight of a cell.
    fn weight(&self, column: usize) -> Result<f32> {
        let weight = self.number(column)? as f32;
        if weight.is_finite() && weight >= 0.0 {
            return Ok(weight);
        }
        let remedy = "; data.weights names it, so it must hold finite numbers of at least 0";
        Err(self.error(column, remedy))
    }

    /// An error for the cell of a column; `problem` follows its text.
    fn error(&self, column: usize, problem: &str) -> Error {
        let (name, cell) = (excerpt(&self.header[column]), excerpt(self.text(column)));
        let line = self.line;
        let problem = format!("line {line}: the column `{name}` has `{cell}`{problem}");
        Error::file(self.path, problem)
    }
}

/// The classes of a column of labels, numbered in the order in which they occur.
struct ClassNumbers<'a> {
    numbers: HashMap<String, u32>,
    known: &'a [String],
}

impl ClassNumbers<'_> {
    /// `known` are the only classes allowed, if there are any.
    fn new(known: &[String]) -> ClassNumbers<'_> {
        ClassNumbers {
            numbers: known.iter().cloned().zip(0..).collect(),
            known,
        }
    }

    /// Returns the label of a cell; [`IGNORE`] for an empty one.
    fn label(&mut self, cells: &Cells, column: usize) -> Result<u32> {
        let name = cells.text(column);
        if cells.format.is_missing_class(name) {
            return Ok(IGNORE);
        }
        if let Some(&label) = self.numbers.get(name) {
            return Ok(label);
        }
        if !self.known.is_empty() {
            return self.same_number(name).ok_or_else(|| {
                let classes: Vec<&str> = self.known.iter().map(String::as_str).collect();
                let listed = listed(&classes[..classes.len().min(MOST_LISTED)]);
                let problem = format!(", which is not a class of the training file ({listed})");
                cells.error(column, &problem)
            });
        }
        if self.numbers.len() == MOST_CLASSES {
            let problem = format!(
                ", after {MOST_CLASSES} other classes, the most allowed; \
                 for values, set data.task = \"regression\""
            );
            return Err(cells.error(column, &problem));
        }
        let label = self.numbers.len() as u32;
        self.numbers.insert(name.to_string(), label);
        Ok(label)
    }

    /// Returns the label of the known class that is the same number, such as 1 for 1.0.
    fn same_number(&self, name: &str) -> Option<u32> {
        let value = finite(name)?;
        let mut known = self.known.iter().zip(0..);
        known.find_map(|(class, label)| (finite(class) == Some(value)).then_some(label))
    }

    /// Returns the names of the classes and renumbers the labels of `series` accordingly: unless
    /// they are known, classes are sorted by name or, if all are numbers, by value. Numbers of the
    /// same value are one class, called by its shortest spelling.
    fn in_order(self, series: &mut [TableSeries]) -> Vec<String> {
        if !self.known.is_empty() {
            return self.known.to_vec();
        }
        let mut found: Vec<(String, u32)> = self.numbers.into_iter().collect();
        let number = |name: &str| finite(name).unwrap_or(f64::NAN);
        let are_numbers = found.iter().all(|(name, _)| finite(name).is_some());
        if are_numbers {
            let length = |name: &String| (name.len(), name.clone());
            found.sort_by(|(a, _), (b, _)| {
                let by_value = number(a).partial_cmp(&number(b));
                by_value
                    .unwrap_or(Ordering::Equal)
                    .then_with(|| length(a).cmp(&length(b)))
            });
        } else {
            found.sort();
        }
        let mut renumbered = vec![0; found.len()];
        let mut names: Vec<String> = vec![];
        for (name, old) in found {
            let is_same = |last: &String| are_numbers && number(last) == number(&name);
            if !names.last().is_some_and(is_same) {
                names.push(name);
            }
            renumbered[old as usize] = names.len() as u32 - 1;
        }
        for label in series.iter_mut().flat_map(|series| &mut series.labels) {
            *label = renumbered.get(*label as usize).copied().unwrap_or(IGNORE);
        }
        names
    }
}

/// Returns the finite number that a class is called, if it is one.
fn finite(name: &str) -> Option<f64> {
    name.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Returns the positions of the columns with these names, which `field` lists.
fn columns(header: &[String], names: &[String], field: &str, path: &Path) -> Result<Vec<usize>> {
    // The position of each name, and whether it is the only one.
    let mut positions: HashMap<&str, (usize, bool)> = HashMap::new();
    for (position, name) in header.iter().enumerate() {
        let entry = positions.entry(name).or_insert((position, true));
        entry.1 = entry.0 == position;
    }
    let find = |name: &String| match positions.get(name.as_str()) {
        Some(&(position, true)) => Ok(position),
        Some(_) => Err(Error::file(
            path,
            format!(
                "two columns of the header are called `{}`, which {field} names; \
                     each must have a name of its own",
                excerpt(name)
            ),
        )),
        None => Err(Error::file(path, no_column(header, name, field))),
    };
    names.iter().map(find).collect()
}

fn no_column(header: &[String], name: &str, field: &str) -> String {
    let listed_names = header.iter().take(MOST_LISTED);
    let names: Vec<String> = listed_names.map(|name| excerpt(name)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    format!(
        "line 1: there is no column `{}`{}, which {field} names; the header has {}",
        excerpt(name),
        did_you_mean(name, &names),
        listed(&names)
    )
}

fn damaged(path: &Path, error: &csv::Error) -> Error {
    let line = |position: &Option<Position>| position.as_ref().map_or(1, Position::line);
    let problem = match error.kind() {
        ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => format!(
            "line {}: there are {len} cells where the header has {expected_len}; \
             each row must have as many (is data.delimiter the character between them?)",
            line(pos)
        ),
        ErrorKind::Utf8 { pos, .. } => {
            let line = line(pos);
            format!("line {line}: the text is not UTF-8; save the file as UTF-8")
        }
        _ => format!("cannot be read as a table: {error}"),
    };
    Error::file(path, problem)
}
