//! Predictions for lines of text, one time step each, as they arrive.

use std::path::Path;

use ndarray::{ArrayView2, ArrayView3};

use super::dataset::{probabilities_or_values, wrong_shape};
use super::predict::{Predictor, Sequences, State};
use crate::backend::OpenDevice;
use crate::data::csv::parse::split_line;
use crate::data::preparation::Normal;
use crate::data::source::LineFormat;
use crate::error::{Error, Result};
use crate::model::Model;

/// Predicts for lines as they arrive. Each line is a time step; the states are carried from line to
/// line.
pub struct LinePredictor<'a> {
    model: &'a Model,
    predictor: Predictor,
    /// The states after the last line; `None` before the first line of a sequence.
    states: Option<Vec<State>>,
    reader: LineReader<'a>,
    /// The name of the source in error messages.
    source: &'a Path,
}

impl<'a> LinePredictor<'a> {
    /// Loads the model on `device`. `source` names the source of the lines in error messages.
    ///
    /// # Errors
    /// [`Error::Data`] for a model with a bidirectional layer; those of [`Predictor::new`].
    pub fn new(model: &'a Model, source: &'a Path, device: &OpenDevice) -> Result<Self> {
        if model.network.layers.iter().any(|layer| layer.bidirectional) {
            return Err(Error::data(
                "the model has a bidirectional layer, which reads future values; it can only \
                 predict for whole sequences",
            ));
        }
        Ok(LinePredictor {
            model,
            predictor: Predictor::load(model, 1, 1, device)?,
            states: None,
            reader: LineReader::new(model),
            source,
        })
    }

    /// Predicts for a line of numbers, `line` being its number. Returns `[K]`, probabilities of a
    /// model that classifies, else values in the data's own units; `None` for a header, and for an
    /// empty line, after which a new sequence begins.
    ///
    /// # Errors
    /// [`Error::File`] for a line that the model cannot read; those of the device.
    pub fn predict(&mut self, text: &str, line: u64) -> Result<Option<Vec<f32>>> {
        if text.trim().is_empty() {
            self.states = None;
            self.reader.previous = None;
            return Ok(None);
        }
        let read = self.reader.read(text, line);
        let read =
            read.map_err(|problem| Error::file(self.source, format!("line {line}: {problem}")))?;
        let Some(values) = read else {
            return Ok(None);
        };
        let tokens: Vec<u32> = values.iter().map(|&value| value as u32).collect();
        let sequences = if self.model.network.input.is_values() {
            let values = ArrayView3::from_shape((1, 1, values.len()), &values);
            Sequences::Values(values.map_err(wrong_shape)?)
        } else {
            Sequences::Tokens(ArrayView2::from_shape((1, 1), &tokens).map_err(wrong_shape)?)
        };
        let states = self.states.as_deref();
        let predicted = self
            .predictor
            .predict_prepared(sequences, None, states, &|_| 0);
        let prediction = predicted.map_err(|error| match error {
            // Its sequence is the line.
            Error::Data(problem) | Error::Usage(problem) => {
                Error::file(self.source, format!("line {line}: {problem}"))
            }
            error => error,
        })?;
        let outputs = probabilities_or_values(self.model, &prediction);
        self.states = Some(prediction.states);
        let mut outputs: Vec<f32> = outputs.iter().copied().collect();
        Normal::undo_all(&self.model.preparation.targets, &mut outputs);
        Ok(Some(outputs))
    }
}

/// Reads the model's inputs from lines of a table.
struct LineReader<'a> {
    model: &'a Model,
    format: LineFormat<'a>,
    /// `[I]`: the cell of each input.
    columns: Vec<usize>,
    /// Cells of each line, once a header was read.
    cells: Option<usize>,
    is_first: bool,
    /// The previous line of the sequence, in its own units.
    previous: Option<Vec<f64>>,
}

impl LineReader<'_> {
    fn new(model: &Model) -> LineReader<'_> {
        let width = if model.network.input.is_values() {
            model.network.input_size
        } else {
            1
        };
        LineReader {
            model,
            format: model.recipe.data.source().line_format(),
            columns: (0..width).collect(),
            cells: None,
            is_first: true,
            previous: None,
        }
    }

    /// The inputs in a line, prepared for the network; `None` for a header, which only the first
    /// line may be.
    fn read(&mut self, text: &str, line: u64) -> Result<Option<Vec<f32>>, String> {
        let record = split_line(text, self.format.delimiter)?;
        let is_first = std::mem::replace(&mut self.is_first, false);
        if is_first && self.is_header(&record) {
            self.read_header(&record)?;
            return Ok(None);
        }
        self.check_cells(&record)?;
        let value = |&column: &usize| {
            let cell = &record[column];
            let number = self.format.cells.number(cell);
            number.ok_or_else(|| format!("`{}` is not a finite number", cell.escape_debug()))
        };
        let values: Vec<f64> = self.columns.iter().map(value).collect::<Result<_, _>>()?;
        if self.model.network.input.is_values() {
            return self.prepare(values, line).map(Some);
        }
        let vocabulary = self.model.network.input_size;
        let token = values[0];
        if token.fract() != 0.0 || !(0.0..vocabulary as f64).contains(&token) {
            return Err(format!(
                "{token} is not a token; tokens are whole numbers below {vocabulary}"
            ));
        }
        Ok(Some(vec![token as f32]))
    }

    /// The names of the inputs; none for a model that was not trained on a table.
    fn names(&self) -> &[String] {
        self.format.inputs
    }

    fn is_header(&self, record: &[String]) -> bool {
        let mut cells = record.iter();
        cells.any(|cell| self.names().iter().any(|name| cell == name))
    }

    fn read_header(&mut self, record: &[String]) -> Result<(), String> {
        let column = |name: &String| {
            record
                .iter()
                .position(|cell| cell == name)
                .ok_or_else(|| format!("the header has no column `{name}`, which the model reads"))
        };
        self.columns = self.names().iter().map(column).collect::<Result<_, _>>()?;
        self.cells = Some(record.len());
        Ok(())
    }

    fn check_cells(&self, record: &[String]) -> Result<(), String> {
        let needed = self.cells.unwrap_or(self.columns.len());
        if record.len() == needed {
            return Ok(());
        }
        let expected = match self.names() {
            [] => format!("{needed} numbers"),
            _ if self.cells.is_some() => format!("{needed} cells, as the header has"),
            names => format!(
                "{needed} numbers ({}), or a header above the first line",
                names.join(", ")
            ),
        };
        Err(format!(
            "there are {} cells; there must be {expected}",
            record.len()
        ))
    }

    /// Fills missing values, if need be from the previous line, and normalises.
    fn prepare(&mut self, values: Vec<f64>, line: u64) -> Result<Vec<f32>, String> {
        let (width, preparation) = (self.columns.len(), &self.model.preparation);
        let mut rows = self.previous.take().unwrap_or_default();
        rows.extend(values);
        let filled = preparation.fill(self.format.missing, &mut rows, width);
        filled.map_err(|(_, column)| {
            let cell = self.columns[column] + 1;
            format!("cell {cell} of line {line} is missing")
        })?;
        let values = rows.split_off(rows.len() - width);
        let prepared = Normal::prepare_all(&preparation.inputs, &values);
        self.previous = Some(values);
        Ok(prepared)
    }
}
