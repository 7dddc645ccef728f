//! Proposals for a table: which columns are inputs, target, group and time.

mod choice;
mod columns;
mod header;
mod layout;
mod names;
mod numbers;
mod order;
mod seen;
mod structure;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use self::choice::{Choice, TableTaskKind};
use self::columns::{Column, TableColumns};
use self::numbers::NumberForm;
use self::structure::Structure;
use super::{DataFinding, DataPart, GroupHint, Hints, ProposedData, window};
use crate::data::SplitBy;
use crate::data::csv::decode::DecodedTable;
use crate::data::csv::parse::{Records, with_blank_rows};
use crate::data::csv::{Csv, TableTask};
use crate::error::{Error, Result};
use crate::io::files;
use crate::messages::{excerpt, shown_path};
use crate::network::{Loss, Reads};
use crate::recipe::DataRecipe;

/// The fewest rows to learn from.
const FEWEST_ROWS: usize = 10;
/// The most columns that a message lists.
const MOST_LISTED: usize = 20;
/// Series of which more are divided by whole series for a classification.
const FEW_GROUPS: usize = 4;

/// The text of a table, which is read in several passes.
pub(super) struct TableFile<'a> {
    path: &'a Path,
    bytes: Cow<'a, [u8]>,
    delimiter: char,
}

impl<'a> TableFile<'a> {
    fn new(path: &'a Path, text: &'a str) -> Result<TableFile<'a>> {
        let refused = |problem| Error::file(path, problem);
        let delimiter = layout::delimiter(text, path).map_err(refused)?;
        layout::check_first_line(text, delimiter).map_err(refused)?;
        Ok(TableFile {
            path,
            bytes: with_blank_rows(text.as_bytes(), delimiter),
            delimiter,
        })
    }

    fn header(&self) -> Result<Vec<String>> {
        Ok(Records::new(&self.bytes, self.delimiter, self.path)?.header)
    }

    /// Calls `see` with the line and the cells of each row.
    fn each(&self, mut see: impl FnMut(u64, &[&str])) -> Result<()> {
        let records = Records::new(&self.bytes, self.delimiter, self.path)?;
        records.each(|line, record| {
            let cells: Vec<&str> = record.iter().collect();
            see(line, &cells);
            Ok(())
        })
    }
}

/// Proposes a forecast of a column, or a classification.
pub(super) fn propose(path: &Path, decoded: &DecodedTable, hints: &Hints) -> Result<ProposedData> {
    let mut findings: Vec<DataFinding> = decoded.notes.iter().map(DataFinding::new).collect();
    let hints = &with_archive(hints, decoded);
    let file = TableFile::new(path, &decoded.text)?;
    let header = file.header()?;
    header::check(&header).map_err(|problem| Error::file(path, problem))?;
    let numbers = NumberForm::of(&file, &mut findings)?;
    let table = TableColumns::read(&file, numbers)?;
    if table.rows < FEWEST_ROWS {
        let problem = format!(
            "has {} rows; there must be at least {FEWEST_ROWS} to learn from",
            table.rows
        );
        return Err(Error::file(path, problem));
    }
    header::check_columns(&file, &table).map_err(|problem| Error::file(path, problem))?;
    findings.extend(header::wide_table(&table.columns).map(DataFinding::new));
    for (name, hint) in [
        (hints.group.column(), "group"),
        (hints.time.as_deref(), "time"),
        (hints.target.as_deref(), "target"),
    ] {
        if let Some(name) = name {
            check_hint(&table, name, hint)?;
        }
    }
    let structure = Structure::find(&file, &table, hints, &mut findings)?;
    let choice = Choice::new(&file, &table, &structure, hints, &decoded.nominal)
        .map_err(|error| with_findings(error, &findings))?;
    choice.say(&mut findings);
    let csv = recipe_data(&file, &choice, hints, &mut findings)?;
    Ok(proposed(&choice, csv, findings))
}

/// Returns an error with what was found before it, which may explain it.
fn with_findings(error: Error, findings: &[DataFinding]) -> Error {
    let odd = findings.iter().filter(|finding| finding.decision.is_none());
    let found: Vec<&str> = odd.map(|finding| finding.text.as_str()).collect();
    if found.is_empty() {
        return error;
    }
    let explained = |problem: String| format!("{problem} ({})", found.join("; "));
    match error {
        Error::File { path, problem } => Error::File {
            path,
            problem: explained(problem),
        },
        Error::Undecided {
            path,
            problem,
            decision,
        } => Error::Undecided {
            path,
            problem: explained(problem),
            decision,
        },
        other => other,
    }
}

/// Returns the hints, with the columns that sequences of an archive have.
fn with_archive(hints: &Hints, decoded: &DecodedTable) -> Hints {
    let mut hints = hints.clone();
    if let Some(archive) = &decoded.archive {
        if hints.group == GroupHint::Guess {
            hints.group = GroupHint::Column(archive.case.clone());
        }
        hints.target = hints.target.or_else(|| archive.target.clone());
    }
    hints
}

/// Refuses a hint that names no column, or one of two columns.
fn check_hint(table: &TableColumns, name: &str, hint: &str) -> Result<()> {
    let columns = &table.columns;
    let allowed = match table.position(name) {
        None => {
            let names = columns
                .iter()
                .take(MOST_LISTED)
                .map(|column| excerpt(&column.name));
            let more = if columns.len() > MOST_LISTED {
                ", ..."
            } else {
                ""
            };
            format!(
                "one of the columns {}{more}",
                names.collect::<Vec<_>>().join(", ")
            )
        }
        Some(position) if columns[position].is_repeated => {
            "a column whose name no other column has; rename one of them".into()
        }
        Some(_) => return Ok(()),
    };
    Err(Error::invalid(hint, name, allowed))
}

/// Returns the configuration of the data for a choice of columns.
fn recipe_data(
    file: &TableFile,
    choice: &Choice,
    hints: &Hints,
    findings: &mut Vec<DataFinding>,
) -> Result<Csv> {
    let (table, structure) = (choice.table, choice.structure);
    let name = |column: usize| table.columns[column].name.clone();
    let sizes = structure.group_sizes();
    let usual = sizes.get(sizes.len() / 2).copied().unwrap_or(table.rows);
    let steps = window(hints, usual);
    let test_path = test_file(file.path);
    if let Some(path) = &test_path {
        findings.push(DataFinding::new(format!(
            "{} lies beside it and is the test split: data.test_path",
            shown_path(path)
        )));
    }
    let mut csv = Csv {
        delimiter: file.delimiter,
        decimal: table.numbers.decimal,
        thousands: table.numbers.thousands,
        inputs: choice.inputs.iter().map(|&column| name(column)).collect(),
        targets: vec![name(choice.target)],
        group: structure.group_column().map(name),
        time: choice.sorted_by(file, hints)?.map(name),
        missing_marks: choice.missing_marks(),
        missing: choice.missing(),
        test_path,
        ..Csv::new(file.path, &[], &[])
    };
    let is_by_group = sizes.len() > FEW_GROUPS && csv.group.is_some();
    match choice.kind {
        TableTaskKind::Forecast => {
            csv.steps = Some(steps);
            csv.horizon = hints.horizon;
            csv.every_step = true;
        }
        TableTaskKind::WindowClasses => {
            csv.task = TableTask::Classification;
            csv.steps = Some(steps);
            if is_by_group {
                csv.split_by = SplitBy::Group;
            }
        }
        TableTaskKind::GroupClasses => {
            csv.task = TableTask::Classification;
            csv.split_by = SplitBy::Class;
        }
        TableTaskKind::GroupValues if is_by_group => csv.split_by = SplitBy::Group,
        TableTaskKind::GroupValues => {}
    }
    Ok(csv)
}

/// Returns the file of the test split that the archives have beside `X_TRAIN.ts`: `X_TEST.ts`.
fn test_file(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let test = path.with_file_name(name.replacen("_TRAIN.", "_TEST.", 1));
    (test != path && files::is_file(&test)).then_some(test)
}

fn proposed(choice: &Choice, csv: Csv, findings: Vec<DataFinding>) -> ProposedData {
    let table = choice.table;
    let missing: usize = table.columns.iter().map(Column::missing).sum();
    let part = |(n, column): (usize, &Column)| DataPart {
        name: column.name.clone(),
        contents: choice.contents(n),
        missing: column.missing(),
        role: choice.role(n, &csv),
    };
    ProposedData {
        summary: format!(
            "{} rows, {} columns, {missing} cells missing",
            table.rows,
            table.columns.len()
        ),
        parts: table.columns.iter().enumerate().map(part).collect(),
        task: choice.task(&csv),
        findings,
        reads: if csv.every_step {
            Reads::Every
        } else {
            Reads::Last
        },
        loss: match csv.task {
            TableTask::Classification => Loss::CrossEntropy,
            TableTask::Regression => Loss::MeanSquaredError,
            TableTask::MultiLabel => Loss::BinaryCrossEntropy,
        },
        data: DataRecipe::Csv(csv),
    }
}
