//! The series of a table: which column tells them apart, and which holds the times of rows. Both
//! are judged by the structure of the cells, and by names where the structure leaves it open.

use std::collections::{HashMap, HashSet};

use super::super::{DataFinding, GroupHint, Hints};
use super::columns::{Column, Content, TableColumns};
use super::order::{NO_GROUP, RowOrder, RowTimes, TimeSteps};
use super::seen::{KeyColumn, TableRowsSeen, TimeCells};
use super::{TableFile, names};
use crate::data::csv::time::{DayOrder, TimeForm};
use crate::error::{Decision, Error, Result};

/// Columns of which pairs are looked at.
const MOST_PAIRED: usize = 8;
/// The fewest rows that a group has on average, if nobody says that it is one.
const FEWEST_ROWS: usize = 3;
/// The fewest rows between two starts of a counter that count as a series.
const FEWEST_ROWS_OF_RESTART: usize = 8;

/// The column of groups, by its position in [`TableRowsSeen::keys`].
pub(super) struct FoundGroup {
    pub key: usize,
    /// Why it is one, as a clause; nothing if the caller said so.
    reason: Option<String>,
}

/// The times of the rows, by their position in [`TableRowsSeen::times`].
pub(super) struct FoundTime {
    pub position: usize,
    pub order: RowOrder,
}

/// The series of a table.
pub(super) struct Structure {
    pub rows: TableRowsSeen,
    pub group: Option<FoundGroup>,
    pub time: Option<FoundTime>,
}

impl Structure {
    /// Looks at the columns that may matter, and adds what is found to `findings`.
    pub fn find(
        file: &TableFile,
        table: &TableColumns,
        hints: &Hints,
        findings: &mut Vec<DataFinding>,
    ) -> Result<Structure> {
        let mut rows = TableRowsSeen::read(file, table, hints, findings)?;
        rows.times.extend(rows.together(table));
        let search = Search {
            file,
            table,
            rows: &rows,
            hints,
        };
        let group = search.group()?;
        let time = search.time(group.as_ref())?;
        search.say(group.as_ref(), time.as_ref(), findings)?;
        Ok(Structure { rows, group, time })
    }

    /// Returns the column of groups.
    pub fn group_column(&self) -> Option<usize> {
        self.group
            .as_ref()
            .map(|group| self.rows.keys[group.key].column)
    }

    /// Returns the group of each row.
    pub fn group_ids(&self) -> Option<&[u32]> {
        self.group
            .as_ref()
            .map(|group| &self.rows.keys[group.key].ids[..])
    }

    /// Returns the columns of the times.
    pub fn time_columns(&self) -> &[usize] {
        let columns = |time: &FoundTime| &self.rows.times[time.position].columns[..];
        self.time.as_ref().map_or(&[], columns)
    }

    /// Whether the time is dates in one column.
    pub fn has_dates(&self) -> bool {
        self.time.as_ref().is_some_and(|time| {
            let cells = &self.rows.times[time.position];
            cells.columns.len() == 1 && cells.form != TimeForm::Numbers
        })
    }

    /// Returns the rows of each group in order of size; all rows if there is no group.
    pub fn group_sizes(&self) -> Vec<usize> {
        let Some(ids) = self.group_ids() else {
            return vec![self.rows.lines.len()];
        };
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for &id in ids.iter().filter(|&&id| id != NO_GROUP) {
            *counts.entry(id).or_default() += 1;
        }
        let mut sizes: Vec<usize> = counts.into_values().collect();
        sizes.sort_unstable();
        sizes
    }

    /// Returns whether a column has one value in each group.
    pub fn is_constant_in_groups(&self, column: usize) -> bool {
        let key = self.rows.keys.iter().find(|key| key.column == column);
        let (Some(groups), Some(key)) = (self.group_ids(), key) else {
            return false;
        };
        are_constant(groups, &key.ids)
    }

    /// Returns whether a column has another value in each group, and one in each.
    pub fn names_groups(&self, column: usize) -> bool {
        let key = self.rows.keys.iter().find(|key| key.column == column);
        let (Some(groups), Some(key)) = (self.group_ids(), key) else {
            return false;
        };
        are_constant(groups, &key.ids) && are_constant(&key.ids, groups)
    }
}

/// Returns whether all rows of a group have the same value.
fn are_constant(groups: &[u32], values: &[u32]) -> bool {
    let mut of_group: HashMap<u32, u32> = HashMap::new();
    let mut rows = groups
        .iter()
        .zip(values)
        .filter(|(group, _)| **group != NO_GROUP);
    rows.all(|(&group, &value)| *of_group.entry(group).or_insert(value) == value)
}

/// The search for groups and times.
struct Search<'a> {
    file: &'a TableFile<'a>,
    table: &'a TableColumns,
    rows: &'a TableRowsSeen,
    hints: &'a Hints,
}

impl Search<'_> {
    fn column(&self, key: usize) -> &Column {
        &self.table.columns[self.rows.keys[key].column]
    }

    /// Returns the names of the columns of times.
    fn name_of(&self, time: &TimeCells) -> String {
        let names = time.columns.iter().map(|&n| self.table.columns[n].shown());
        names.collect::<Vec<_>>().join(" and ")
    }

    fn group(&self) -> Result<Option<FoundGroup>> {
        match &self.hints.group {
            GroupHint::None => Ok(None),
            GroupHint::Column(name) => {
                let mut keys = 0..self.rows.keys.len();
                let key = keys.find(|&key| self.column(key).name == *name);
                Ok(key.map(|key| FoundGroup { key, reason: None }))
            }
            GroupHint::Guess => {
                let group = self.structural_group().or_else(|| self.named_group());
                let group = group.or_else(|| self.labelled_group());
                Ok(group.or_else(|| self.block_group()))
            }
        }
    }

    fn keys(&self) -> impl Iterator<Item = (usize, &KeyColumn)> {
        let keys = self.rows.keys.iter().enumerate();
        keys.filter(|(_, key)| {
            key.may_group && self.rows.lines.len() >= FEWEST_ROWS * key.names.len()
        })
    }

    /// Returns the first column of blocks in which a counter or date starts again, or which has one
    /// row for each of its values and most times.
    fn structural_group(&self) -> Option<FoundGroup> {
        // One clock for all rows is one series, as far as the structure tells.
        let is_clock = |time: &&TimeCells| {
            matches!(time.form, TimeForm::Dates | TimeForm::Instants) && is_strict(&time.times)
        };
        if self.rows.times.iter().any(|time| is_clock(&time)) {
            return None;
        }
        let times: Vec<(&TimeCells, bool)> = self
            .rows
            .times
            .iter()
            .map(|time| (time, self.may_be_panel(time)))
            .collect();
        let found = |(key, column): (usize, &KeyColumn)| {
            let reason = times.iter().find_map(|&(time, may_be_panel)| {
                if time.columns.contains(&column.column) {
                    return None;
                }
                let restarts = self.restarts(&column.ids, time);
                match restarts {
                    Some(lines) => Some(self.restart_reason(column, time, &lines)),
                    None if may_be_panel => self.panel_reason(column, time),
                    None => None,
                }
            });
            reason.map(|reason| FoundGroup {
                key,
                reason: Some(reason),
            })
        };
        self.keys().find_map(found)
    }

    /// Returns the lines at which `time` starts again with a block of `ids`, if blocks are side by
    /// side, the times within them ascend or descend, and most blocks start again.
    fn restarts(&self, ids: &[u32], time: &TimeCells) -> Option<Vec<u64>> {
        let mut seen = HashSet::new();
        let mut direction = 0.0;
        let (mut starts, mut boundaries) = (vec![], 0);
        let mut before = f64::NAN;
        let rows: Vec<(u32, f64)> = ids
            .iter()
            .copied()
            .zip(time.times.iter().copied())
            .collect();
        let mut row = 0;
        for block in rows.chunk_by(|a, b| a.0 == b.0) {
            if block[0].0 == NO_GROUP || !seen.insert(block[0].0) {
                return None;
            }
            for pair in block.windows(2) {
                let step = pair[1].1 - pair[0].1;
                if direction == 0.0 {
                    direction = step.signum();
                }
                // A missing time is NaN, and no step either.
                let continues = step * direction > 0.0;
                if !continues {
                    return None;
                }
            }
            if row > 0 {
                boundaries += 1;
                if (block[0].1 - before) * direction <= 0.0 {
                    starts.push(self.rows.lines[row]);
                }
            }
            before = block[block.len() - 1].1;
            row += block.len();
        }
        (boundaries > 0 && 2 * starts.len() >= boundaries).then_some(starts)
    }

    fn restart_reason(&self, key: &KeyColumn, time: &TimeCells, lines: &[u64]) -> String {
        let rows = self.rows.lines.len() / key.names.len().max(1);
        let line = lines.first().copied().unwrap_or_default();
        format!(
            "its {} values are {} blocks of about {rows} rows, in which {} starts again (first at \
             line {line})",
            key.names.len(),
            key.names.len(),
            self.name_of(time)
        )
    }

    /// Returns whether most times occur in several rows, in a column of dates or with the name of
    /// a time.
    fn may_be_panel(&self, time: &TimeCells) -> bool {
        let is_named = names::may_be_time(&self.table.columns[time.columns[0]]);
        if time.form == TimeForm::Numbers && !is_named && time.columns.len() == 1 {
            return false;
        }
        let mut times: Vec<u64> = time
            .times
            .iter()
            .map(|&time| (time + 0.0).to_bits())
            .collect();
        times.sort_unstable();
        times.dedup();
        10 * times.len() <= 7 * time.times.len()
    }

    /// Returns why a column tells interleaved series apart: most times occur once for most of its
    /// values, and never twice. See [`Search::may_be_panel`].
    fn panel_reason(&self, key: &KeyColumn, time: &TimeCells) -> Option<String> {
        let pairs = self.pairs(&key.ids, time)?;
        let (rows, groups) = (self.rows.lines.len(), key.names.len());
        let is_panel = pairs.are_unique && 2 * rows >= pairs.times * groups && groups > 1;
        is_panel.then(|| {
            format!(
                "the times of {} occur once for each of its {groups} values",
                self.name_of(time)
            )
        })
    }

    /// Counts the pairs of group and time; `None` if a row lacks either.
    fn pairs(&self, ids: &[u32], time: &TimeCells) -> Option<PairCounts> {
        let mut pairs: Vec<(u64, u32)> = vec![];
        for (&id, &time) in ids.iter().zip(&time.times) {
            if id == NO_GROUP || time.is_nan() {
                return None;
            }
            pairs.push(((time + 0.0).to_bits(), id));
        }
        pairs.sort_unstable();
        Some(PairCounts {
            are_unique: pairs.windows(2).all(|pair| pair[0] != pair[1]),
            times: pairs.chunk_by(|a, b| a.0 == b.0).count(),
        })
    }

    /// Returns the first column with a name of groups.
    fn named_group(&self) -> Option<FoundGroup> {
        let mut keys = self.rows.keys.iter().enumerate();
        let (key, _) =
            keys.find(|(key, column)| column.may_group && names::is_group(self.column(*key)))?;
        let count = self.rows.keys[key].names.len();
        Some(FoundGroup {
            key,
            reason: Some(format!("it has the name of a group, and {count} values")),
        })
    }

    /// Returns the first column of texts in blocks that each belong to one class, of which there
    /// are fewer.
    fn labelled_group(&self) -> Option<FoundGroup> {
        let label = self.label()?;
        let values = self.rows.keys[label].ids.as_slice();
        let classes = self.rows.keys[label].names.len();
        let is_group = |(key, column): &(usize, &KeyColumn)| {
            *key != label
                && self.column(*key).content() == Content::Text
                && column.names.len() >= 2 * classes
                && column.is_in_blocks()
                && are_constant(&column.ids, values)
        };
        let (key, column) = self.keys().find(is_group)?;
        Some(FoundGroup {
            key,
            reason: Some(format!(
                "its {} values are blocks of rows, each with one value of {}",
                column.names.len(),
                self.column(label).shown()
            )),
        })
    }

    /// Returns the first column of texts whose equal cells are side by side, if another column is
    /// the target.
    fn block_group(&self) -> Option<FoundGroup> {
        let mut columns = self.table.columns.iter();
        let has_target = self.hints.target.is_some()
            || columns.any(|column| column.is_called(&names::TARGETS) && column.is_numeric());
        let has_clock = self.rows.times.iter().any(|time| is_strict(&time.times));
        let is_group = |(key, column): &(usize, &KeyColumn)| {
            self.column(*key).content() == Content::Text && column.is_in_blocks()
        };
        let (key, column) = self
            .keys()
            .find(is_group)
            .filter(|_| has_target && !has_clock)?;
        let count = column.names.len();
        Some(FoundGroup {
            key,
            reason: Some(format!("its {count} values are {count} blocks of rows")),
        })
    }

    /// Returns the column that a classification would learn, if there is one.
    fn label(&self) -> Option<usize> {
        let keys = 0..self.rows.keys.len();
        let is_hinted = |key: &usize| Some(&self.column(*key).name) == self.hints.target.as_ref();
        let is_named = |key: &usize| self.column(*key).is_called(&names::TARGETS);
        let is_text = |key: &usize| self.column(*key).content() == Content::Text;
        if self.hints.target.is_some() {
            return keys.clone().find(is_hinted);
        }
        let mut by_classes: Vec<usize> = keys.clone().filter(is_text).collect();
        by_classes.sort_by_key(|&key| self.rows.keys[key].names.len());
        keys.clone()
            .find(is_named)
            .or_else(|| by_classes.first().copied())
    }

    /// Returns the times of the rows: those of the hint, or the best candidate.
    fn time(&self, group: Option<&FoundGroup>) -> Result<Option<FoundTime>> {
        let groups = group.map(|group| &self.rows.keys[group.key].ids[..]);
        let order = |time: &TimeCells| {
            RowOrder::of(&RowTimes {
                times: &time.times,
                groups,
                lines: &self.rows.lines,
                form: time.form,
            })
        };
        let hinted = |time: &TimeCells| {
            let name = &self.table.columns[time.columns[0]].name;
            time.columns.len() == 1 && Some(name) == self.hints.time.as_ref()
        };
        if let Some(position) = self.rows.times.iter().position(hinted) {
            let order = order(&self.rows.times[position]);
            return Ok(Some(FoundTime { position, order }));
        }
        let mut best: Option<(u32, FoundTime)> = None;
        for (position, time) in self.rows.times.iter().enumerate() {
            if group.is_some_and(|group| time.columns.contains(&self.rows.keys[group.key].column)) {
                continue;
            }
            let order = order(time);
            let score = self.score(time, &order, groups.is_some());
            if score > best.as_ref().map_or(0, |(score, _)| *score) {
                best = Some((score, FoundTime { position, order }));
            }
        }
        Ok(best.map(|(_, time)| time))
    }

    /// Returns how likely these are the times of the rows; 0 for no times.
    fn score(&self, time: &TimeCells, order: &RowOrder, has_groups: bool) -> u32 {
        let is_sorted = order.is_ascending() || order.is_descending();
        let is_unique = order.is_nearly_unique();
        let column = &self.table.columns[time.columns[0]];
        if time.columns.len() > 1 {
            return if is_unique { 90 } else { 0 };
        }
        match time.form {
            TimeForm::Dates | TimeForm::Instants if is_unique => 100,
            TimeForm::Dates | TimeForm::Instants if is_sorted => 40,
            TimeForm::TimesOfDay if is_sorted => 30,
            TimeForm::Dates | TimeForm::Instants | TimeForm::TimesOfDay => 0,
            TimeForm::Numbers if is_unique && is_sorted && names::may_be_time(column) => 80,
            // Numbers in no order are times only if they would be regular in order.
            TimeForm::Numbers if is_unique && order.is_regular && names::is_time(column) => 80,
            TimeForm::Numbers if column.numbers.counts() && order.is_ascending() => 70,
            TimeForm::Numbers if self.is_counter(time, order, has_groups) => 60,
            TimeForm::Numbers if is_unique && order.is_regular && names::numbers_rows(column) => 50,
            TimeForm::Numbers if is_sorted && names::may_be_time(column) => 20,
            TimeForm::Numbers if is_sorted && names::is_calendar(column) => 20,
            TimeForm::Numbers => 0,
        }
    }

    /// Returns whether numbers count up in each group, and other columns are left as inputs.
    fn is_counter(&self, time: &TimeCells, order: &RowOrder, has_groups: bool) -> bool {
        let is_steady = |steps: &TimeSteps| 10 * steps.others.count <= steps.total;
        has_groups
            && order.is_ascending()
            && order.repeated == 0
            && order.steps.as_ref().is_some_and(is_steady)
            && self.has_others(time)
    }

    /// Returns whether another column than this counter and the target can be an input.
    fn has_others(&self, time: &TimeCells) -> bool {
        let is_key = |n: usize| {
            self.rows
                .keys
                .iter()
                .any(|key| key.column == n && key.may_group)
        };
        let mut columns = self.table.columns.iter().enumerate();
        columns.any(|(n, column)| {
            column.is_numeric()
                && !time.columns.contains(&n)
                && !column.numbers.counts()
                && !is_key(n)
                && !column.is_called(&names::TARGETS)
        })
    }

    /// Adds sentences on the groups and times, and on signs of series that nothing tells apart.
    fn say(
        &self,
        group: Option<&FoundGroup>,
        time: Option<&FoundTime>,
        findings: &mut Vec<DataFinding>,
    ) -> Result<()> {
        if let Some(FoundGroup {
            key,
            reason: Some(reason),
        }) = group
        {
            findings.push(DataFinding::correctable(
                format!("{} tells series apart: {reason}", self.column(*key).shown()),
                Decision::Group,
            ));
        }
        if group.is_none() && self.hints.group == GroupHint::Guess {
            self.say_mixed_series(findings)?;
        }
        let Some(FoundTime { position, order }) = time else {
            self.say_other_times(findings);
            return Ok(());
        };
        let is_guessed = group.is_some_and(|group| group.reason.is_some());
        if is_guessed && 10 * order.repeated >= 3 * order.rows {
            self.refuse_pair(&self.rows.times[*position])?;
        }
        let time = &self.rows.times[*position];
        let name = self.name_of(time);
        let mut text = if time.columns.len() > 1 {
            let order = if order.is_ascending() {
                "ascend"
            } else {
                "do not ascend"
            };
            format!("{name} are the time together; the rows {order} in it")
        } else {
            order.describe(&name, group.is_some())
        };
        if let Some(day_order) = time.day_order {
            text += match day_order {
                DayOrder::DayFirst => "; its dates begin with the day",
                DayOrder::MonthFirst => "; its dates begin with the month",
            };
        }
        findings.push(DataFinding::correctable(text, Decision::Time));
        Ok(())
    }

    /// Says that dates are not taken as the time.
    fn say_other_times(&self, findings: &mut Vec<DataFinding>) {
        let is_date = |time: &&TimeCells| time.form != TimeForm::Numbers && time.columns.len() == 1;
        for time in self.rows.times.iter().filter(is_date) {
            findings.push(DataFinding::correctable(
                format!(
                    "{} is not taken as the time: its values repeat and are in no order; the rows \
                     stay in the order of the file",
                    self.name_of(time)
                ),
                Decision::Time,
            ));
        }
    }

    /// Says that times start again or repeat, although no column tells series apart.
    ///
    /// # Errors
    /// [`Error::Undecided`] if two columns do so together.
    fn say_mixed_series(&self, findings: &mut Vec<DataFinding>) -> Result<()> {
        let rows = self.rows.lines.len();
        for time in &self.rows.times {
            let is_date = matches!(time.form, TimeForm::Dates | TimeForm::Instants);
            let column = &self.table.columns[time.columns[0]];
            let is_counter = column.numbers.is_mostly_steady()
                && !names::is_calendar(column)
                && (names::may_be_time(column) || [0.0, 1.0].contains(&column.numbers.low));
            if !is_date && !is_counter {
                continue;
            }
            let order = RowOrder::of(&RowTimes {
                times: &time.times,
                groups: None,
                lines: &self.rows.lines,
                form: time.form,
            });
            let (starts, name) = (order.falls, self.name_of(time));
            let restarts = starts.count > 0
                && rows >= (starts.count + 1) * FEWEST_ROWS_OF_RESTART
                && order.rises > starts.count;
            let repeats = is_date && 10 * order.repeated >= 3 * rows;
            if !restarts && !repeats || self.is_explained(time) {
                continue;
            }
            self.refuse_pair(time)?;
            let sign = if restarts {
                format!(
                    "{name} starts again {} times, first at line {}",
                    starts.count, starts.line
                )
            } else {
                format!("{} rows repeat a time of {name}", order.repeated)
            };
            findings.push(DataFinding::correctable(
                format!(
                    "{sign}, as if there were several series, but no column tells them apart; all \
                     rows are taken as one series"
                ),
                Decision::Group,
            ));
            return Ok(());
        }
        Ok(())
    }

    /// Refuses two columns that tell series apart together.
    fn refuse_pair(&self, time: &TimeCells) -> Result<()> {
        let Some((first, second)) = self.pair_of_keys(time) else {
            return Ok(());
        };
        Err(Error::undecided(
            self.file.path,
            format!(
                "the columns {first} and {second} tell series apart only together; add one column \
                 that holds both, such as `a-b`"
            ),
            Decision::Group,
        ))
    }

    /// Returns whether another time has one value for each row in order: one that this is a part
    /// of, or a date or year.
    fn is_explained(&self, time: &TimeCells) -> bool {
        let is_clock = |other: &TimeCells| {
            let has_all = time
                .columns
                .iter()
                .all(|column| other.columns.contains(column));
            let is_whole = other.columns.len() > time.columns.len() && has_all;
            let is_date = matches!(other.form, TimeForm::Dates | TimeForm::Instants);
            let is_named = names::is_time(&self.table.columns[other.columns[0]]);
            let is_other = other.columns != time.columns;
            is_whole || is_other && (is_date || is_named)
        };
        let mut others = self.rows.times.iter();
        others.any(|other| is_clock(other) && is_strict(&other.times))
    }

    /// Returns the names of two columns that tell series apart together.
    fn pair_of_keys(&self, time: &TimeCells) -> Option<(String, String)> {
        let keys: Vec<(usize, &KeyColumn)> = self.keys().take(MOST_PAIRED).collect();
        let may_be_panel = self.may_be_panel(time);
        for (n, (_, first)) in keys.iter().enumerate() {
            for (_, second) in &keys[n + 1..] {
                let together = combined(&first.ids, &second.ids);
                let count = together.iter().max().map_or(0, |&id| id as usize + 1);
                if FEWEST_ROWS * count > together.len() {
                    continue;
                }
                let key = KeyColumn {
                    column: usize::MAX,
                    ids: together,
                    names: vec![String::new(); count],
                    may_group: true,
                };
                let is_group = self.restarts(&key.ids, time).is_some()
                    || may_be_panel && self.panel_reason(&key, time).is_some();
                if is_group {
                    let name = |key: &KeyColumn| self.table.columns[key.column].shown();
                    return Some((name(first), name(second)));
                }
            }
        }
        None
    }
}

struct PairCounts {
    /// Whether no pair occurs twice.
    are_unique: bool,
    /// Distinct times.
    times: usize,
}

/// Returns numbers from 0 for pairs.
fn combined(first: &[u32], second: &[u32]) -> Vec<u32> {
    let mut numbers: HashMap<(u32, u32), u32> = HashMap::new();
    let pairs = first.iter().zip(second);
    pairs
        .map(|(&a, &b)| {
            if a == NO_GROUP || b == NO_GROUP {
                return NO_GROUP;
            }
            let next = numbers.len() as u32;
            *numbers.entry((a, b)).or_insert(next)
        })
        .collect()
}

/// Returns whether each time is after, or before, the one above.
fn is_strict(times: &[f64]) -> bool {
    let pairs = || times.windows(2);
    pairs().all(|pair| pair[1] > pair[0]) || pairs().all(|pair| pair[1] < pair[0])
}
