//! The columns to predict and to read.

use std::collections::HashSet;

use super::super::{DataFinding, Hints, Role};
use super::columns::{Column, Content, OddText, TableColumns};
use super::order::time_range;
use super::structure::Structure;
use super::{TableFile, names};
use crate::data::csv::time::{TimeForm, is_time};
use crate::data::csv::{Csv, TableTask};
use crate::data::preparation::Missing;
use crate::error::{Decision, Error, Result};
use crate::messages::{counted, excerpt};

/// The most distinct values of a column of classes.
const MOST_CLASSES: usize = 64;
/// The most columns that a message describes.
const MOST_DESCRIBED: usize = 8;
/// Distinct whole numbers up to which a column may hold classes.
const USUAL_CLASSES: usize = 10;

/// What a model of a table learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableTaskKind {
    /// Later values of a column.
    Forecast,
    /// The class of the last row of a window.
    WindowClasses,
    /// The class of a whole group.
    GroupClasses,
    /// The value of a whole group.
    GroupValues,
}

/// The columns of a recipe for a table.
pub(super) struct Choice<'a> {
    pub table: &'a TableColumns,
    pub structure: &'a Structure,
    pub target: usize,
    pub inputs: Vec<usize>,
    pub kind: TableTaskKind,
    is_input: HashSet<usize>,
    is_target_hinted: bool,
}

impl<'a> Choice<'a> {
    /// `nominal` are columns that a file declares as classes.
    pub fn new(
        file: &TableFile,
        table: &'a TableColumns,
        structure: &'a Structure,
        hints: &Hints,
        nominal: &[String],
    ) -> Result<Choice<'a>> {
        let roles = Roles { table, structure };
        let has_numbers =
            |column: &Column| matches!(column.content(), Content::Numbers | Content::MostlyNumbers);
        if !table.columns.iter().any(has_numbers) {
            let problem = format!(
                "no column holds numbers, which a network reads: {}",
                roles.reasons()
            );
            return Err(Error::file(file.path, problem));
        }
        let target = roles.target(file, hints)?;
        let kind = roles.kind(target, hints, nominal);
        let inputs: Vec<usize> = (0..table.columns.len())
            .filter(|&column| {
                if column == target {
                    kind == TableTaskKind::Forecast
                } else {
                    roles.left_out(column).is_none()
                }
            })
            .collect();
        if inputs.is_empty() {
            let problem = format!(
                "no column of numbers can be an input; add one, or choose another target: {}",
                roles.reasons()
            );
            return Err(Error::file(file.path, problem));
        }
        Ok(Choice {
            table,
            structure,
            target,
            is_input: inputs.iter().copied().collect(),
            inputs,
            kind,
            is_target_hinted: hints.target.is_some(),
        })
    }

    fn target_column(&self) -> &Column {
        &self.table.columns[self.target]
    }

    /// The columns of numbers that a recipe names.
    fn used_numbers(&self) -> impl Iterator<Item = &Column> {
        let target = Some(self.target).filter(|target| !self.is_input.contains(target));
        let columns = self.inputs.iter().copied().chain(target);
        let columns = columns.map(|column| &self.table.columns[column]);
        columns.filter(|column| column.is_numeric() && !self.is_class(column))
    }

    fn is_class(&self, column: &Column) -> bool {
        let is_classification = matches!(
            self.kind,
            TableTaskKind::WindowClasses | TableTaskKind::GroupClasses
        );
        is_classification && column.name == self.target_column().name
    }

    /// Returns the marks of missing values of a recipe, if the usual ones are too few.
    pub fn missing_marks(&self) -> Option<Vec<String>> {
        let mut marks: Vec<&String> = vec![];
        let columns: Vec<&Column> = self.used_numbers().collect();
        for column in &columns {
            for odd in column.known_marks() {
                add_mark(&mut marks, &odd.text);
            }
        }
        if marks.is_empty() {
            return None;
        }
        for column in &columns {
            for odd in &column.usual_marks {
                add_mark(&mut marks, &odd.text);
            }
        }
        Some(marks.into_iter().cloned().collect())
    }

    /// Returns how missing inputs are filled.
    pub fn missing(&self) -> Missing {
        let mut columns = self
            .inputs
            .iter()
            .map(|&column| &self.table.columns[column]);
        match (columns.any(|column| column.missing() > 0), self.kind) {
            (false, _) => Missing::Refuse,
            (true, TableTaskKind::Forecast) => Missing::Forward,
            (true, _) => Missing::Mean,
        }
    }

    /// Returns the column that a recipe sorts the rows by, if it has dates, the rows are not in
    /// order, or a hint names it.
    ///
    /// # Errors
    /// [`Error::Undecided`] for times in several columns that are not in order; [`Error::File`] for
    /// rows without a time.
    pub fn sorted_by(&self, file: &TableFile, hints: &Hints) -> Result<Option<usize>> {
        let Some(time) = &self.structure.time else {
            return Ok(None);
        };
        let columns = self.structure.time_columns();
        if time.order.rises + time.order.falls.count == 0 {
            return Ok(None);
        }
        if time.order.is_ascending() && hints.time.is_none() {
            // Plots have dates, where each row has one.
            let has_dates = self.structure.has_dates() && time.order.missing.count == 0;
            return Ok(columns.first().copied().filter(|_| has_dates));
        }
        let names: Vec<String> = columns
            .iter()
            .map(|&column| self.table.columns[column].shown())
            .collect();
        let &[column] = columns else {
            return Err(Error::undecided(
                file.path,
                format!(
                    "the rows are not in the order of {} together, and a recipe sorts them by one \
                     column; add one column that holds the whole time, such as 2024-01-31 12:00",
                    names.join(" and ")
                ),
                Decision::Time,
            ));
        };
        let missing = time.order.missing;
        if missing.count > 0 {
            return Err(Error::file(
                file.path,
                format!(
                    "line {}: {} has no time, and the rows are not in order; to sort them, each \
                     row needs one ({} have none)",
                    missing.line, names[0], missing.count
                ),
            ));
        }
        Ok(Some(column))
    }

    /// Adds what was guessed of the columns.
    pub fn say(&self, findings: &mut Vec<DataFinding>) {
        self.say_target(findings);
        for (n, column) in self.table.columns.iter().enumerate() {
            let name = column.shown();
            let is_used = self.is_input.contains(&n) || n == self.target;
            if column.content() == Content::MostlyNumbers
                && let Some(sentence) = column.wrong_cells_sentence()
            {
                findings.push(DataFinding::new(format!(
                    "{sentence}, so that the column is left out; correct the cells, or list them \
                     in data.missing_marks if they mark missing values"
                )));
            }
            if is_used && let Some(sentinel) = column.numbers.sentinel() {
                findings.push(DataFinding::new(format!("{name} {sentinel}")));
            }
            if column.is_repeated && column.content() != Content::Nothing && column.is_first {
                findings.push(DataFinding::new(format!(
                    "several columns are called {name} and left out: give each a name of its own"
                )));
            }
        }
        if let Some(marks) = self.missing_marks() {
            let marks: Vec<String> = marks
                .iter()
                .map(|mark| format!("`{}`", excerpt(mark)))
                .collect();
            findings.push(DataFinding::new(format!(
                "taken as marks of missing values (data.missing_marks): {}",
                marks.join(", ")
            )));
        }
        self.say_classes(findings);
    }

    fn say_target(&self, findings: &mut Vec<DataFinding>) {
        let column = self.target_column();
        let name = column.shown();
        let roles = Roles {
            table: self.table,
            structure: self.structure,
        };
        let is_forecast = self.kind == TableTaskKind::Forecast;
        if let Some(reason) = roles.left_out(self.target).filter(|_| is_forecast) {
            let only = if self.is_target_hinted {
                "the hint asks for it"
            } else {
                "no other column can be"
            };
            findings.push(DataFinding::correctable(
                format!("{name} is the target, because {only}, although {reason}"),
                Decision::Target,
            ));
        }
        let marks = column.usual_marks.len() + column.known_marks().count();
        let values = column.distinct() - marks;
        if self.kind == TableTaskKind::Forecast
            && column.numbers.whole
            && (2..=USUAL_CLASSES).contains(&values)
        {
            findings.push(DataFinding::new(format!(
                "{name} holds {values} whole numbers and is forecast as a value; for classes, call \
                 the column class or label"
            )));
        }
    }

    /// Says which classes have the name of a mark of missing values.
    fn say_classes(&self, findings: &mut Vec<DataFinding>) {
        let column = self.target_column();
        if !self.is_class(column) {
            return;
        }
        let own = self.missing_marks().unwrap_or_default();
        let is_own = |odd: &&OddText| own.iter().any(|mark| mark.eq_ignore_ascii_case(&odd.text));
        let marks = || column.usual_marks.iter().chain(column.known_marks());
        for odd in marks() {
            let (mark, count) = (excerpt(&odd.text), odd.count);
            findings.push(DataFinding::new(if is_own(&odd) {
                format!(
                    "`{mark}` marks missing values in other columns, and so {count} rows of {} \
                     have no class; rename it there if it is one",
                    column.shown()
                )
            } else {
                format!(
                    "`{mark}` is a class of {} ({}); if it marks rows without a class, \
                     list it in data.missing_marks",
                    column.shown(),
                    counted(count, "row")
                )
            }));
        }
    }

    /// Returns what a column holds, in a phrase.
    pub fn contents(&self, column: usize) -> String {
        let times = self
            .structure
            .rows
            .times
            .iter()
            .find(|time| time.columns == [column]);
        match times {
            Some(time) if time.form != TimeForm::Numbers => time_range(&time.times, time.form),
            _ => self.table.columns[column].describe(),
        }
    }

    /// Returns the use of a column.
    pub fn role(&self, column: usize, csv: &Csv) -> Role {
        let is_target = column == self.target;
        let name = &self.table.columns[column].name;
        match (self.is_input.contains(&column), is_target) {
            (true, true) => Role::InputAndTarget,
            (true, false) => Role::Input,
            (false, true) if csv.task == TableTask::Classification => Role::Class,
            (false, true) => Role::Target,
            (false, false) if self.structure.group_column() == Some(column) => Role::Group,
            (false, false) if csv.time.as_ref() == Some(name) => Role::Time,
            (false, false) => {
                let roles = Roles {
                    table: self.table,
                    structure: self.structure,
                };
                Role::LeftOut(roles.left_out(column).map_or("", LeftOutReason::label))
            }
        }
    }

    /// Returns what a model learns, in a phrase.
    pub fn task(&self, csv: &Csv) -> String {
        let target = excerpt(&self.target_column().name);
        let steps = csv.steps.unwrap_or_default();
        match self.kind {
            TableTaskKind::Forecast => {
                let ahead = if csv.horizon == 1.into() {
                    "one row".to_string()
                } else {
                    format!("{} rows", csv.horizon)
                };
                format!("a forecast of {target}, {ahead} ahead, from windows of {steps} rows")
            }
            TableTaskKind::WindowClasses => {
                format!("a classification by {target}, of windows of {steps} rows")
            }
            TableTaskKind::GroupClasses => {
                format!("a classification by {target}, of whole groups")
            }
            TableTaskKind::GroupValues => format!("a prediction of {target}, of whole groups"),
        }
    }
}

fn add_mark<'a>(marks: &mut Vec<&'a String>, mark: &'a String) {
    if !marks.iter().any(|known| known.eq_ignore_ascii_case(mark)) {
        marks.push(mark);
    }
}

/// Why a column is no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeftOutReason {
    Group,
    Time,
    CountsUp,
    CountsDown,
    Rises,
    Year,
    Identifier,
    NamesGroups,
    Constant,
    Repeated,
    Nothing,
    MostlyNumbers,
    Text,
}

impl LeftOutReason {
    /// Returns the reason as it stands behind "left out:".
    fn label(self) -> &'static str {
        match self {
            LeftOutReason::Group => "it tells series apart",
            LeftOutReason::Time => "it is the time",
            LeftOutReason::CountsUp | LeftOutReason::Year => "it only counts up",
            LeftOutReason::CountsDown => "it only counts down",
            LeftOutReason::Rises => "it only rises",
            LeftOutReason::Identifier => "it identifies rows",
            LeftOutReason::NamesGroups => "it identifies groups",
            LeftOutReason::Constant => "a constant",
            LeftOutReason::Repeated => "another column has its name",
            LeftOutReason::Nothing => "no values",
            LeftOutReason::MostlyNumbers | LeftOutReason::Text => "no numbers",
        }
    }
}

impl std::fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LeftOutReason::Constant => write!(f, "it is a constant"),
            LeftOutReason::Nothing => write!(f, "it has no values"),
            LeftOutReason::MostlyNumbers | LeftOutReason::Text => write!(f, "it is text"),
            other => write!(f, "{}", other.label()),
        }
    }
}

/// The roles that the columns of a table can have.
#[derive(Clone, Copy)]
struct Roles<'a> {
    table: &'a TableColumns,
    structure: &'a Structure,
}

impl<'a> Roles<'a> {
    /// Returns why a column is no input, if it is none.
    fn left_out(&self, position: usize) -> Option<LeftOutReason> {
        let column = &self.table.columns[position];
        let numbers = &column.numbers;
        let counts = column.is_numeric() && numbers.counts();
        let is_row = names::may_be_time(column) || names::numbers_rows(column);
        Some(match column.content() {
            Content::Nothing => LeftOutReason::Nothing,
            _ if column.is_repeated => LeftOutReason::Repeated,
            _ if self.structure.group_column() == Some(position) => LeftOutReason::Group,
            Content::Numbers if column.is_constant() => LeftOutReason::Constant,
            _ if counts && numbers.falls == 0 => LeftOutReason::CountsUp,
            _ if counts && is_row => LeftOutReason::CountsDown,
            // Of several columns of times, hours and months tell of seasons.
            _ if self.structure.time_columns() == [position] => LeftOutReason::Time,
            Content::MostlyNumbers => LeftOutReason::MostlyNumbers,
            Content::Text => LeftOutReason::Text,
            Content::Numbers if names::is_year(column) && numbers.falls == 0 => LeftOutReason::Year,
            Content::Numbers if numbers.rises_strictly() => LeftOutReason::Rises,
            Content::Numbers if names::is_identifier(column) || self.is_shuffled_index(column) => {
                LeftOutReason::Identifier
            }
            Content::Numbers if self.structure.names_groups(position) => LeftOutReason::NamesGroups,
            Content::Numbers => return None,
        })
    }

    /// Returns whether a column numbers the rows in no order: whole numbers, each once, with few
    /// gaps.
    fn is_shuffled_index(&self, column: &Column) -> bool {
        let numbers = &column.numbers;
        let is_dense = numbers.high - numbers.low < 1.1 * self.table.rows as f64;
        numbers.whole && is_dense && column.distinct() == self.table.rows && self.table.rows > 2
    }

    /// Returns whether numbers in equal steps may be measured: beside another column of times, and
    /// neither 0, 1, 2, ... nor 1, 2, 3, ...
    fn may_be_measured(&self, position: usize) -> bool {
        let column = &self.table.columns[position];
        let numbers = &column.numbers;
        let is_counter = numbers.whole
            && [0.0, 1.0].contains(&numbers.low)
            && numbers.high - numbers.low == (numbers.count - 1) as f64;
        let has_other_time =
            self.structure.time.is_some() && !self.structure.time_columns().contains(&position);
        let is_named = names::may_be_time(column)
            || names::numbers_rows(column)
            || names::is_identifier(column)
            || names::is_calendar(column);
        has_other_time && !is_counter && !is_named
    }

    /// Returns whether a column has few enough distinct values to be classes.
    fn has_few_values(&self, column: &Column) -> bool {
        (2..=MOST_CLASSES.min(self.table.rows / 4)).contains(&column.distinct())
    }

    /// Returns whether a column of numbers and other texts may hold classes.
    fn may_be_classes(&self, column: &Column) -> bool {
        let are_few = column.is_called(&names::CLASSES) || 20 * column.odd_count > self.table.rows;
        are_few && self.has_few_values(column)
    }

    fn is_classes(&self, position: usize) -> bool {
        let column = &self.table.columns[position];
        let is_text = column.content() == Content::Text && !is_time(&column.first);
        let is_free = self.structure.group_column() != Some(position)
            && !self.structure.time_columns().contains(&position)
            && !self.structure.names_groups(position)
            && !names::is_calendar(column)
            && !column.is_repeated;
        is_text && is_free && self.has_few_values(column)
    }

    /// Returns the target: that of the hint, one with a typical name, the last column of a few
    /// names, or the last column of measured numbers.
    fn target(&self, file: &TableFile, hints: &Hints) -> Result<usize> {
        let columns = &self.table.columns;
        if let Some(position) = hints
            .target
            .as_deref()
            .and_then(|name| self.table.position(name))
        {
            return self.check_target(file, position);
        }
        let is_free = |position: &usize| {
            let reason = self.left_out(*position);
            let is_taken = matches!(
                reason,
                Some(LeftOutReason::Group | LeftOutReason::Time | LeftOutReason::Repeated)
            );
            !is_taken && reason != Some(LeftOutReason::Nothing)
        };
        let positions = || 0..columns.len();
        if let Some(named) =
            positions().find(|n| columns[*n].is_called(&names::TARGETS) && is_free(n))
        {
            return self.check_target(file, named);
        }
        let is_measured = |position: &usize| self.left_out(*position).is_none();
        let is_rising = |position: &usize| match self.left_out(*position) {
            Some(LeftOutReason::Rises) => true,
            Some(LeftOutReason::CountsUp) => self.may_be_measured(*position),
            _ => false,
        };
        let is_only_one = |position: &usize| columns.len() == 1 && columns[*position].is_numeric();
        positions()
            .rfind(|&position| self.is_classes(position))
            .or_else(|| positions().rfind(is_measured))
            .or_else(|| positions().rfind(is_rising))
            .or_else(|| positions().find(is_only_one))
            .ok_or_else(|| {
                let problem = format!("no column can be the target: {}", self.reasons());
                Error::undecided(file.path, problem, Decision::Target)
            })
    }

    /// Refuses a target that no model can learn.
    fn check_target(&self, file: &TableFile, position: usize) -> Result<usize> {
        let column = &self.table.columns[position];
        let name = column.shown();
        let problem = match column.content() {
            Content::Nothing => format!("the target {name} has no value in any row"),
            Content::MostlyNumbers if !self.may_be_classes(column) => {
                let sentence = column.wrong_cells_sentence().unwrap_or(name);
                format!(
                    "the target {sentence}; correct the cells, or list them in \
                     data.missing_marks if they mark missing values"
                )
            }
            Content::Text if 2 * column.distinct() > self.table.rows => {
                format!(
                    "the target {name} holds {} different texts in {} rows; a target must hold \
                     numbers, or classes that repeat",
                    column.distinct(),
                    self.table.rows
                )
            }
            _ if column.is_constant() => {
                format!("the target {name} has the same value in every row")
            }
            _ => return Ok(position),
        };
        Err(Error::file(file.path, problem))
    }

    fn kind(&self, target: usize, hints: &Hints, nominal: &[String]) -> TableTaskKind {
        let column = &self.table.columns[target];
        let is_class_name = column.is_called(&names::CLASSES);
        let is_classification = !column.is_numeric()
            || is_class_name && self.has_few_values(column)
            || nominal.contains(&column.name);
        let is_whole = self.structure.group.is_some()
            && hints.steps.is_none()
            && self.structure.is_constant_in_groups(target);
        match (is_classification, is_whole) {
            (true, true) => TableTaskKind::GroupClasses,
            (true, false) => TableTaskKind::WindowClasses,
            (false, true) => TableTaskKind::GroupValues,
            (false, false) => TableTaskKind::Forecast,
        }
    }

    /// Returns why columns are no targets.
    fn reasons(&self) -> String {
        let reason = |position: usize| {
            let column = &self.table.columns[position];
            let sentence = match column.content() {
                Content::MostlyNumbers => column.wrong_cells_sentence(),
                _ => None,
            };
            let reason = self.left_out(position).map(|reason| match reason {
                LeftOutReason::Text => format!("it is text, such as `{}`", excerpt(&column.first)),
                LeftOutReason::Repeated => "another column has its name; rename one".into(),
                _ => reason.to_string(),
            });
            let reason = reason.unwrap_or_else(|| "it is the target".into());
            sentence.unwrap_or_else(|| format!("{}: {reason}", column.shown()))
        };
        let count = self.table.columns.len();
        let reasons: Vec<String> = (0..count.min(MOST_DESCRIBED)).map(reason).collect();
        match count.saturating_sub(MOST_DESCRIBED) {
            0 => reasons.join("; "),
            more => format!("{}; and {more} columns more", reasons.join("; ")),
        }
    }
}
