//! Proposals for a table: which columns are inputs, target and group.

use std::collections::HashSet;
use std::path::Path;

use super::{DataPart, Hints, ProposedData, Role, window};
use crate::data::SplitBy;
use crate::data::csv::parse::Records;
use crate::data::csv::{CellFormat, Csv, TableTask};
use crate::data::preparation::Missing;
use crate::error::{Error, Result};
use crate::network::{Loss, Reads};
use crate::recipe::DataRecipe;

/// The most distinct values of a column of classes.
const MOST_CLASSES: usize = 64;
/// The fewest rows to learn from.
const FEWEST_ROWS: usize = 10;
/// Names of columns of groups.
const GROUP_NAMES: [&str; 10] = [
    "group", "series", "sequence", "subject", "sensor", "station", "unit", "patient", "machine",
    "id",
];
/// Names of columns of targets.
const TARGET_NAMES: [&str; 4] = ["target", "label", "class", "y"];
/// Names of columns that number the rows.
const ROW_NAMES: [&str; 8] = [
    "date",
    "time",
    "datetime",
    "timestamp",
    "index",
    "rownames",
    "row",
    "",
];

/// Proposes a forecast of a column, or a classification.
pub(super) fn propose(path: &Path, bytes: &[u8], hints: &Hints) -> Result<ProposedData> {
    let table = TableColumns::read(path, bytes)?;
    let Choice { csv, task } = table.choose(path, hints)?;
    let missing: usize = table.columns.iter().map(|column| column.missing).sum();
    let parts = table.columns.iter().map(|column| DataPart {
        name: column.name.clone(),
        contents: column.describe(),
        missing: column.missing,
        role: column.role(&csv),
    });
    Ok(ProposedData {
        summary: format!(
            "{} rows, {} columns, {missing} cells missing",
            table.rows,
            table.columns.len()
        ),
        parts: parts.collect(),
        task,
        reads: if csv.every_step {
            Reads::Every
        } else {
            Reads::Last
        },
        loss: match csv.task {
            TableTask::Classification => Loss::CrossEntropy,
            TableTask::Regression => Loss::MeanSquaredError,
        },
        data: DataRecipe::Csv(csv),
    })
}

/// The configuration of a table, and a phrase on what a model of it learns.
struct Choice {
    csv: Csv,
    task: String,
}

/// The columns of a table.
struct TableColumns {
    columns: Vec<Column>,
    rows: usize,
    delimiter: char,
}

impl TableColumns {
    fn read(path: &Path, bytes: &[u8]) -> Result<TableColumns> {
        let delimiter = delimiter(bytes);
        let records = Records::new(bytes, delimiter, path)?;
        let header = &records.header;
        if !header.is_empty() && header.iter().all(|cell| cell.parse::<f64>().is_ok()) {
            return Err(Error::file(
                path,
                "line 1 has only numbers; \
                 put a header above it, a line with a name for each column",
            ));
        }
        let mut columns: Vec<Column> = header.iter().map(|name| Column::new(name)).collect();
        let mut rows = 0;
        records.each(|_, record| {
            for (column, cell) in columns.iter_mut().zip(record.iter()) {
                column.see(cell);
            }
            rows += 1;
            Ok(())
        })?;
        if rows < FEWEST_ROWS {
            let problem =
                format!("has {rows} rows; there must be at least {FEWEST_ROWS} to learn from");
            return Err(Error::file(path, problem));
        }
        Ok(TableColumns {
            columns,
            rows,
            delimiter,
        })
    }

    fn choose(&self, path: &Path, hints: &Hints) -> Result<Choice> {
        let group = self.group(hints)?;
        let target = self.target(path, hints, group)?;
        let is_class_name = target.is_called(&["label", "class"]);
        let is_classification =
            !target.is_numeric() || is_class_name && self.has_few_values(target);
        let inputs = self.inputs(target, group, is_classification);
        if inputs.is_empty() {
            return Err(Error::file(
                path,
                "no column of numbers can be an input; add one, or choose another target",
            ));
        }
        let mut missing = self.columns.iter().filter(|c| inputs.contains(&c.name));
        let missing = if missing.any(|column| column.missing > 0) {
            Missing::Mean
        } else {
            Missing::Refuse
        };
        let groups = group.map_or(1, Column::distinct).max(1);
        let steps = window(hints, self.rows / groups);
        let mut csv = Csv {
            delimiter: self.delimiter,
            inputs,
            targets: vec![target.name.clone()],
            group: group.map(|group| group.name.clone()),
            missing,
            ..Csv::new(path, &[], &[])
        };
        let target = &target.name;
        let task;
        if is_classification {
            csv.task = TableTask::Classification;
            if groups > 4 {
                csv.split_by = SplitBy::Group;
            }
            // A group is one sequence with a class, unless there is a hint for windows.
            let classifies_groups = group.is_some() && hints.steps.is_none();
            csv.steps = (!classifies_groups).then_some(steps);
            task = if classifies_groups {
                format!("a classification by {target}, of whole groups")
            } else {
                format!("a classification by {target}, of windows of {steps} rows")
            };
        } else {
            csv.steps = Some(steps);
            csv.horizon = hints.horizon;
            csv.every_step = true;
            let ahead = if hints.horizon == 1 {
                "one row".to_string()
            } else {
                format!("{} rows", hints.horizon)
            };
            task = format!("a forecast of {target}, {ahead} ahead, from windows of {steps} rows");
        }
        Ok(Choice { csv, task })
    }

    /// Returns the column of groups: that of the hint, or one with a typical name.
    fn group(&self, hints: &Hints) -> Result<Option<&Column>> {
        if let Some(name) = &hints.group {
            return self.find(name, "group").map(Some);
        }
        let is_group = |column: &&Column| {
            column.is_called(&GROUP_NAMES) && (2..=self.rows / 2).contains(&column.distinct())
        };
        Ok(self.columns.iter().find(is_group))
    }

    /// Returns the target: that of the hint, one with a typical name, the last column of a few
    /// names, or the last column of numbers.
    fn target(&self, path: &Path, hints: &Hints, group: Option<&Column>) -> Result<&Column> {
        if let Some(name) = &hints.target {
            return self.find(name, "target");
        }
        let group = group.map(|group| &group.name);
        let columns = || {
            self.columns
                .iter()
                .filter(|column| Some(&column.name) != group)
        };
        columns()
            .find(|column| column.is_called(&TARGET_NAMES))
            .or_else(|| columns().rfind(|c| !c.is_numeric() && self.has_few_values(c)))
            .or_else(|| columns().rfind(|column| column.is_numeric() && !column.numbers_rows()))
            .or_else(|| columns().rfind(|column| column.is_numeric()))
            .ok_or_else(|| {
                let problem = "no column holds numbers or a few names; name the target column";
                Error::file(path, problem)
            })
    }

    /// Returns the columns of numbers except group and row numbers; the target is an input of a
    /// forecast.
    fn inputs(
        &self,
        target: &Column,
        group: Option<&Column>,
        is_classification: bool,
    ) -> Vec<String> {
        let is_input = |column: &&Column| {
            let is_group = group.is_some_and(|group| group.name == column.name);
            let is_suitable = if column.name == target.name {
                !is_classification
            } else {
                !column.numbers_rows()
            };
            column.is_numeric() && !is_group && is_suitable
        };
        let inputs = self.columns.iter().filter(is_input);
        inputs.map(|column| column.name.clone()).collect()
    }

    fn find(&self, name: &str, hint: &str) -> Result<&Column> {
        let mut columns = self.columns.iter();
        columns.find(|column| column.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
            let allowed = format!("one of the columns {}", names.join(", "));
            Error::invalid(hint, name, allowed)
        })
    }

    /// Returns whether a column has few enough distinct values to be classes.
    fn has_few_values(&self, column: &Column) -> bool {
        (2..=MOST_CLASSES.min(self.rows / 4)).contains(&column.distinct())
    }
}

/// Returns the most frequent delimiter of the first line.
fn delimiter(bytes: &[u8]) -> char {
    let text = String::from_utf8_lossy(bytes);
    let first = text.lines().next().unwrap_or_default();
    let marks = [',', ';', '\t', '|'].into_iter();
    let most = marks.max_by_key(|&mark| first.matches(mark).count());
    most.filter(|&mark| first.contains(mark)).unwrap_or(',')
}

/// What is known of a column.
struct Column {
    name: String,
    rows: usize,
    missing: usize,
    /// Whether every cell is a number.
    has_numbers: bool,
    low: f64,
    high: f64,
    last: f64,
    /// Whether each number is above the one before.
    rises: bool,
    /// Distinct cells, at most one more than [`Column::MOST_DISTINCT`].
    cells: HashSet<String>,
}

impl Column {
    /// The most distinct cells that are counted.
    const MOST_DISTINCT: usize = 1 << 16;

    fn new(name: &str) -> Column {
        Column {
            name: name.to_string(),
            rows: 0,
            missing: 0,
            has_numbers: true,
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
            last: f64::NEG_INFINITY,
            rises: true,
            cells: HashSet::new(),
        }
    }

    fn see(&mut self, cell: &str) {
        self.rows += 1;
        if CellFormat::default().is_missing(cell) {
            self.missing += 1;
            return;
        }
        match CellFormat::default()
            .number(cell)
            .filter(|_| self.has_numbers)
        {
            Some(value) => {
                (self.low, self.high) = (self.low.min(value), self.high.max(value));
                self.rises &= value > self.last;
                self.last = value;
            }
            None => self.has_numbers = false,
        }
        if self.cells.len() <= Column::MOST_DISTINCT {
            self.cells.insert(cell.to_string());
        }
    }

    fn is_called(&self, names: &[&str]) -> bool {
        let mut names = names.iter();
        names.any(|name| self.name.eq_ignore_ascii_case(name))
    }

    fn is_numeric(&self) -> bool {
        self.has_numbers && self.missing < self.rows
    }

    fn distinct(&self) -> usize {
        self.cells.len()
    }

    /// Returns whether it is a time, an index or another number of the row.
    fn numbers_rows(&self) -> bool {
        self.is_numeric() && self.rises || self.is_called(&ROW_NAMES)
    }

    fn describe(&self) -> String {
        if self.is_numeric() {
            format!("numbers, {} to {}", self.low, self.high)
        } else if self.missing == self.rows {
            "nothing".into()
        } else if self.distinct() > Column::MOST_DISTINCT {
            "text".into()
        } else {
            format!("text, {} different", self.distinct())
        }
    }

    fn role(&self, csv: &Csv) -> Role {
        let is_input = csv.inputs.contains(&self.name);
        let is_target = csv.targets.contains(&self.name);
        match (is_input, is_target) {
            (true, true) => Role::InputAndTarget,
            (true, false) => Role::Input,
            (false, true) if csv.task == TableTask::Classification => Role::Class,
            (false, true) => Role::Target,
            (false, false) if csv.group.as_ref() == Some(&self.name) => Role::Group,
            (false, false) if self.numbers_rows() => Role::LeftOut("it only counts up"),
            (false, false) if self.is_numeric() => Role::LeftOut(""),
            (false, false) => Role::LeftOut("no numbers"),
        }
    }
}
