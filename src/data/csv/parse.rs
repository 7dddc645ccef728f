//! Reads the rows of a table: the only use of the crate `csv` in the library.

use std::collections::HashMap;
use std::path::Path;

use csv::{ErrorKind, Position, ReaderBuilder, StringRecord, Trim};

use super::{Csv, TableRows, TableSeries, TableTask, is_missing, number_of};
use crate::error::{Error, Result};
use crate::messages::{did_you_mean, excerpt, listed};

/// The most classes of a column.
const MOST_CLASSES: usize = 4096;
/// The most columns that a message lists.
const MOST_LISTED: usize = 20;

/// A table's header and the records below it.
pub(crate) struct Records<'a> {
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
            see(record.position().map_or(0, Position::line), &record)?;
        }
    }
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

impl Csv {
    /// Returns the rows of a file by series, with targets. If `known` is not empty, no other
    /// classes may occur.
    pub(super) fn parse(&self, bytes: &[u8], path: &Path, known: &[String]) -> Result<TableRows> {
        let records = Records::new(bytes, self.delimiter, path)?;
        let targets = columns(&records.header, &self.targets, "data.targets", path)?;
        let mut classes = ClassNumbers::new(known);
        let mut series = self.read_series(records, path, |cells, series| {
            for &column in &targets {
                match self.task {
                    TableTask::Regression => series.values.push(cells.number(column)?),
                    TableTask::Classification => series.labels.push(classes.label(cells, column)?),
                }
            }
            Ok(())
        })?;
        let classes = classes.in_order(&mut series);
        if self.task == TableTask::Classification && classes.len() < 2 {
            let problem = format!(
                "every row of the column `{}` has the same class; there must be at least two",
                excerpt(&self.targets[0])
            );
            return Err(Error::file(path, problem));
        }
        Ok(TableRows { series, classes })
    }

    /// Returns the rows of a file by series, without targets.
    pub(super) fn parse_inputs(&self, bytes: &[u8], path: &Path) -> Result<Vec<TableSeries>> {
        let records = Records::new(bytes, self.delimiter, path)?;
        self.read_series(records, path, |_, _| Ok(()))
    }

    /// Reads the inputs of all rows by series; `read_targets` adds the targets of a row.
    fn read_series(
        &self,
        records: Records,
        path: &Path,
        mut read_targets: impl FnMut(&Cells, &mut TableSeries) -> Result<()>,
    ) -> Result<Vec<TableSeries>> {
        let header = records.header.clone();
        let inputs = columns(&header, &self.inputs, "data.inputs", path)?;
        let group = columns(&header, self.group.as_slice(), "data.group", path)?;
        let mut series: Vec<TableSeries> = vec![];
        let mut numbers: HashMap<String, usize> = HashMap::new();
        records.each(|line, record| {
            let cells = Cells {
                record,
                header: &header,
                line,
                path,
            };
            let name = group.first().map_or("", |&column| cells.text(column));
            let number = numbers.get(name).copied().unwrap_or_else(|| {
                numbers.insert(name.to_string(), series.len());
                series.push(TableSeries {
                    name: name.to_string(),
                    ..TableSeries::default()
                });
                series.len() - 1
            });
            let own = &mut series[number];
            own.lines.push(line);
            for &column in &inputs {
                own.inputs.push(cells.number(column)?);
            }
            read_targets(&cells, own)
        })?;
        if series.is_empty() {
            let problem = "has a header and no rows; it needs at least one";
            return Err(Error::file(path, problem));
        }
        Ok(series)
    }
}

/// The cells of one row.
struct Cells<'a> {
    record: &'a StringRecord,
    header: &'a [String],
    line: u64,
    path: &'a Path,
}

impl Cells<'_> {
    fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    /// Returns the number of a cell; NaN for a missing one.
    fn number(&self, column: usize) -> Result<f32> {
        number_of(self.text(column)).ok_or_else(|| {
            self.error(
                column,
                "; it must hold finite numbers, or be left out of the recipe",
            )
        })
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

    /// Returns the label of a cell.
    fn label(&mut self, cells: &Cells, column: usize) -> Result<u32> {
        let name = cells.text(column);
        if is_missing(name) {
            return Err(cells.error(column, ", which is not a class; each row must have one"));
        }
        if let Some(&label) = self.numbers.get(name) {
            return Ok(label);
        }
        if !self.known.is_empty() {
            let problem = ", which is not a class of the training file";
            return Err(cells.error(column, problem));
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

    /// Returns the names of the classes and renumbers the labels of `series` accordingly: unless
    /// they are known, classes are sorted by value if all are numbers, else by name.
    fn in_order(self, series: &mut [TableSeries]) -> Vec<String> {
        if !self.known.is_empty() {
            return self.known.to_vec();
        }
        let mut found: Vec<(String, u32)> = self.numbers.into_iter().collect();
        let number = |name: &str| name.parse().unwrap_or(f64::NAN);
        if found.iter().all(|(name, _)| number(name).is_finite()) {
            found.sort_by(|(a, _), (b, _)| number(a).total_cmp(&number(b)).then_with(|| a.cmp(b)));
        } else {
            found.sort();
        }
        let mut renumbered = vec![0; found.len()];
        for (new, &(_, old)) in (0..).zip(&found) {
            renumbered[old as usize] = new;
        }
        for label in series.iter_mut().flat_map(|series| &mut series.labels) {
            *label = renumbered[*label as usize];
        }
        found.into_iter().map(|(name, _)| name).collect()
    }
}

/// Returns the positions of the columns with these names, which `field` lists.
fn columns(header: &[String], names: &[String], field: &str, path: &Path) -> Result<Vec<usize>> {
    let find = |name: &String| {
        let mut positions = (0..header.len()).filter(|&column| header[column] == *name);
        match (positions.next(), positions.next()) {
            (Some(position), None) => Ok(position),
            (Some(_), Some(_)) => Err(Error::file(
                path,
                format!(
                    "two columns of the header are called `{}`, which {field} names; \
                     each must have a name of its own",
                    excerpt(name)
                ),
            )),
            (None, _) => Err(Error::file(path, no_column(header, name, field))),
        }
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
