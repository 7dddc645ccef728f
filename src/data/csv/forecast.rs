//! The end of a table, which a forecast continues.

use std::path::Path;

use super::super::source::{
    DataSource, ForecastOrigin, ForecastRequest, ForecastStart, HistoryTimes,
};
use super::splits::PreparedRows;
use super::{Csv, TableSeries, TableTask};
use crate::error::{Error, Result};
use crate::messages::{did_you_mean, excerpt, listed, named, shown_path};

/// The most groups that a message lists.
const MOST_LISTED: usize = 20;

/// A series to continue, and how it was chosen.
struct ChosenSeries<'a> {
    series: &'a TableSeries<f32>,
    notes: Vec<String>,
}

impl Csv {
    /// Returns the last window of the requested series of a table.
    pub(super) fn table_end(&self, request: &ForecastRequest) -> Result<ForecastStart> {
        let is_next = self.inputs == self.targets && self.horizon == 1.into();
        let is_direct = self.horizon.is_several()
            && self.horizon.first() == 1
            && self.task == TableTask::Regression;
        if !is_next && !is_direct {
            return Err(Error::data(format!(
                "the model reads {} and predicts {}, {} rows ahead; to continue a table, a model \
                 must predict its own next inputs: data.targets the same as data.inputs, and \
                 data.horizon = 1, or all next rows: data.horizon = [1, N]. Its predictions for known rows are those of `predict`.",
                self.inputs.join(", "),
                self.targets.join(", "),
                self.horizon
            )));
        }
        let path = request.file.unwrap_or(&self.path);
        let rows = self.series(path, request.preparation)?;
        self.end_of(rows, path, request.group)
    }

    /// Returns the last window of the requested one of these series of the file `path`.
    pub(in super::super) fn end_of(
        &self,
        rows: PreparedRows,
        path: &Path,
        group: Option<&str>,
    ) -> Result<ForecastStart> {
        let PreparedRows { series, mut notes } = rows;
        let chosen = self.chosen(&series, group, path)?;
        notes.extend(chosen.notes);
        let groups = self.group.as_ref().map_or(0, |_| series.len());
        let series = chosen.series;
        let width = series.inputs.len() / series.rows().max(1);
        let last_rows = |rows: usize| {
            let rows = rows.min(series.rows());
            series.inputs[series.inputs.len() - rows * width..].to_vec()
        };
        let known = series.known_rows.unwrap_or(series.rows());
        if known < series.rows() {
            return Err(self.missing_future(path, series.rows(), known));
        }
        let steps = self.steps.unwrap_or(series.rows());
        Ok(ForecastStart {
            values: last_rows(steps),
            history: last_rows(steps.saturating_mul(4)),
            width,
            is_continued: !self.knows_ahead(),
            steps,
            columns: self.targets.clone(),
            column_inputs: self.forecast().map(|forecast| forecast.inputs),
            times: self.time.as_ref().map(|_| HistoryTimes {
                are_dates: series.has_dates,
                values: {
                    let rows = steps.saturating_mul(4).min(series.rows());
                    series.times[series.rows() - rows..].to_vec()
                },
            }),
            calendar: self.calendar_after(series, steps),
            origin: ForecastOrigin {
                path: Some(path.to_path_buf()),
                group: self.group.as_ref().map(|_| series.name.clone()),
                row: series.rows(),
                line: series.lines.last().copied(),
                time: self.time.clone().zip(series.last_time.clone()),
            },
            groups,
            notes,
        })
    }

    /// Returns the series of the requested group; without a request, the last one with enough rows
    /// for a window, or the last one if none has.
    fn chosen<'a>(
        &self,
        series: &'a [TableSeries<f32>],
        group: Option<&str>,
        path: &Path,
    ) -> Result<ChosenSeries<'a>> {
        let Some(column) = &self.group else {
            if let Some(group) = group {
                return Err(no_groups(group));
            }
            let only = series.last();
            let only = only.ok_or_else(|| Error::file(path, "has no row to continue"))?;
            return Ok(ChosenSeries {
                series: only,
                notes: vec![],
            });
        };
        if let Some(group) = group {
            let found = series.iter().find(|series| series.name == group.trim());
            let series = found.ok_or_else(|| no_group(group, column, series, path))?;
            return Ok(ChosenSeries {
                series,
                notes: vec![],
            });
        }
        let steps = self.steps.unwrap_or(1);
        let long = series.iter().rev().find(|series| series.rows() >= steps);
        let chosen = long.or(series.last());
        let chosen = chosen.ok_or_else(|| Error::file(path, "has no row to continue"))?;
        let mut notes = vec![];
        let short = series.iter().filter(|series| series.rows() < steps);
        let short: Vec<String> = short.map(TableSeries::named_rows).collect();
        if !short.is_empty() {
            notes.push(format!(
                "{} groups have fewer rows than a window of {steps}: {}",
                short.len(),
                named(&short)
            ));
        }
        Ok(ChosenSeries {
            series: chosen,
            notes,
        })
    }
}

/// An error for a group of data without groups.
pub(in super::super) fn no_groups(group: &str) -> Error {
    Error::usage(format!(
        "the group `{}` is requested, but the data of the model have no groups: request none",
        excerpt(group)
    ))
}

fn no_group(group: &str, column: &str, series: &[TableSeries<f32>], path: &Path) -> Error {
    let shown = series.iter().take(MOST_LISTED);
    let shown: Vec<String> = shown.map(|series| excerpt(&series.name)).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    let allowed = match series.len() - shown.len() {
        0 => listed(&shown),
        more => format!("one of `{}` and {more} more", shown.join("`, `")),
    };
    Error::usage(format!(
        "the column `{}` of {} has no group `{}`{}; it must be {allowed}",
        excerpt(column),
        shown_path(path),
        excerpt(group),
        did_you_mean(group, &names)
    ))
}
