//! Another file of a table with its targets, to evaluate a saved model on.

use std::path::Path;

use super::super::labelled::{Extent, LabelledData, LabelledRequest};
use super::super::preparation::Preparation;
use super::splits::read;
use super::{Csv, TableRows, TableSeries};
use crate::error::{Error, Result};
use crate::messages::named;

impl Csv {
    /// Reads all windows of a file that have targets; see
    /// [`DataSource::load_labelled`](super::DataSource::load_labelled).
    pub(super) fn labelled(&self, request: &LabelledRequest) -> Result<LabelledData> {
        request.require_no_split()?;
        let (path, known) = (request.path, request.preparation);
        let rows = self
            .unweighted()
            .parse(&read(path)?, path, &known.classes)?;
        let extent = Extent {
            count: rows.series.iter().map(TableSeries::rows).sum(),
            unit: "rows",
        };
        self.labelled_rows(rows, path, known, extent)
    }

    /// Cuts all windows of the rows of the file `path`, prepared as in `known`.
    pub(in super::super) fn labelled_rows(
        &self,
        rows: TableRows,
        path: &Path,
        known: &Preparation,
        extent: Extent,
    ) -> Result<LabelledData> {
        // Messages name the file that is read.
        let own = Csv {
            path: path.to_path_buf(),
            ..self.clone()
        };
        let TableRows {
            mut series,
            mut notes,
            categories,
            ..
        } = rows;
        notes.extend(own.fill(&mut series, path, known)?);
        notes.extend(own.add_known(&mut series, known, &categories, path));
        own.spread_targets(&mut series)?;
        own.subtract_last_values(&mut series);
        own.subtract_linear(&mut series, known);
        let targets = own.target_width();
        let prepared = series.iter();
        let prepared: Vec<TableSeries<f32>> = prepared
            .map(|series| series.prepared(0..series.rows(), known, targets))
            .collect();
        own.check_longest(&prepared)?;
        let windows = own.windows(&prepared, None, known)?;
        notes.extend(windows.notes);
        notes.extend(own.too_short(&prepared));
        Ok(LabelledData {
            data: windows.data,
            split: None,
            extent: Some(extent),
            notes,
        })
    }

    /// Refuses a file whose series are all too short for a window.
    fn check_longest(&self, series: &[TableSeries<f32>]) -> Result<()> {
        let longest = series.iter().map(TableSeries::rows).max().unwrap_or(0);
        let steps = self.steps.unwrap_or(1);
        let least = steps + self.horizon.last();
        if longest >= least {
            return Ok(());
        }
        Err(Error::file(
            &self.path,
            format!(
                "the longest series has {longest} rows, and a window of {steps} rows and its \
                 target need {least} rows; evaluate a longer file"
            ),
        ))
    }

    /// Returns a sentence on the series that are too short for a window, if there are any.
    fn too_short(&self, series: &[TableSeries<f32>]) -> Option<String> {
        let steps = self.steps?;
        let least = steps + self.horizon.last();
        let short = series.iter().filter(|series| series.rows() < least);
        let short: Vec<String> = short.map(TableSeries::named_rows).collect();
        (!short.is_empty()).then(|| {
            format!(
                "{} series are not evaluated, because a window of {steps} rows and its target need \
                 {least} rows: {}",
                short.len(),
                named(&short)
            )
        })
    }
}
