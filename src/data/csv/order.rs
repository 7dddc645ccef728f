//! The order of the rows of a table in time.

use std::path::Path;

use super::TableSeries;
use super::parse::SeriesReader;
use super::time::{TimeColumn, TimeForm};
use crate::error::{Error, Result};
use crate::messages::excerpt;

/// Sorts the rows of each series by the times of the file's rows. Returns a sentence on the change,
/// if there is one.
///
/// # Errors
/// [`Error::File`] for a cell that is no time, with its line, and for numbers where a calendar
/// needs dates.
pub(super) fn sort(
    read: &mut SeriesReader,
    column: &str,
    needs_dates: bool,
    path: &Path,
) -> Result<Option<String>> {
    let name = excerpt(column);
    let cells: Vec<&str> = read.times.iter().map(String::as_str).collect();
    let TimeColumn { form, times, .. } = TimeColumn::read(|row| cells.get(row).copied())
        .map_err(|problem| Error::file(path, format!("the column `{name}`: {problem}")))?;
    let has_dates = matches!(form, TimeForm::Dates | TimeForm::Instants);
    if needs_dates && !has_dates {
        let problem = format!(
            "the column `{name}` has no dates, which data.calendar needs; name a column of dates \
             in data.time, or remove data.calendar"
        );
        return Err(Error::file(path, problem));
    }
    let mut of_series: Vec<Vec<f64>> = vec![vec![]; read.series.len()];
    let mut cells_of_series: Vec<Vec<&str>> = vec![vec![]; read.series.len()];
    for ((time, &owner), &cell) in times.iter().zip(&read.owners).zip(&cells) {
        let series = &read.series[owner];
        let line = series.lines[of_series[owner].len()];
        let problem =
            || format!("line {line}: the column `{name}` has no time; each row needs one");
        of_series[owner].push(time.ok_or_else(|| Error::file(path, problem()))?);
        cells_of_series[owner].push(cell);
    }
    let mut moved = 0;
    let series = read.series.iter_mut().zip(&cells_of_series);
    for ((series, cells), times) in series.zip(&of_series) {
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by(|&a, &b| times[a].total_cmp(&times[b]));
        moved += order
            .iter()
            .enumerate()
            .filter(|(to, from)| to != *from)
            .count();
        series.reorder(&order);
        series.last_time = order.last().map(|&row| cells[row].to_string());
        series.times = order.iter().map(|&row| times[row]).collect();
        series.has_dates = has_dates;
    }
    Ok((moved > 0).then(|| format!("{moved} rows of {} were sorted by `{name}`", times.len())))
}

impl TableSeries {
    /// Puts row `order[n]` at row n.
    fn reorder(&mut self, order: &[usize]) {
        let rows = self.lines.len();
        self.lines = reordered(&self.lines, rows, order);
        self.inputs = reordered(&self.inputs, rows, order);
        self.future = reordered(&self.future, rows, order);
        self.categories = reordered(&self.categories, rows, order);
        self.values = reordered(&self.values, rows, order);
        self.labels = reordered(&self.labels, rows, order);
        self.weights = reordered(&self.weights, rows, order);
    }
}

fn reordered<V: Copy>(values: &[V], rows: usize, order: &[usize]) -> Vec<V> {
    let width = values.len() / rows.max(1);
    let rows = order
        .iter()
        .flat_map(|&row| &values[row * width..(row + 1) * width]);
    rows.copied().collect()
}
