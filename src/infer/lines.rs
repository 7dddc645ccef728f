//! Predictions for lines of text, one time step each, as they arrive.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use ndarray::{ArrayView2, ArrayView3};

use super::dataset::{probabilities_or_values, wrong_shape};
use super::outputs::interpret;
use super::predict::{Prediction, Predictor, Sequences, State, check_whole_sequences};
use crate::backend::OpenDevice;
use crate::data::csv::calendar_inputs;
use crate::data::csv::parse::{date_of, split_line};
use crate::data::preparation::{Normal, Preparation};
use crate::data::source::LineFormat;
use crate::error::{Error, Result};
use crate::model::Model;

/// Predicts for lines as they arrive. Each line is a time step; the states are carried from line to
/// line. Where a header has the model's column of groups, each group is a sequence of its own, and
/// its lines may be between those of others.
pub struct LinePredictor<'a> {
    model: &'a Model,
    predictor: Predictor,
    /// The preparation with an entry for each output.
    outputs: Preparation,
    /// The sequences so far since the last empty line, by group.
    sequences: HashMap<String, LineSequence>,
    /// Empty lines with lines before them: each began another sequence.
    breaks: usize,
    reader: LineReader<'a>,
    /// The name of the source in error messages.
    source: &'a Path,
}

/// A sequence of lines.
#[derive(Default)]
struct LineSequence {
    /// The states after its last line; `None` before the first.
    states: Option<Vec<State>>,
    /// Its last line, in its own units and without missing values.
    previous: Option<Vec<f64>>,
    /// Its last lines, prepared, without differences: as many as these need.
    latest: VecDeque<Vec<f32>>,
    /// Lines so far.
    count: usize,
}

impl LineSequence {
    /// Returns the prepared inputs of the next line with those that are differences from the lines
    /// before it.
    fn with_differences(&mut self, mut prepared: Vec<f32>, preparation: &Preparation) -> Vec<f32> {
        let differences = &preparation.differences;
        let Some(longest) = differences.iter().map(|each| each.lag).max() else {
            return prepared;
        };
        self.latest.push_back(prepared.clone());
        if self.latest.len() > longest + 1 {
            self.latest.pop_front();
        }
        // The first of the latest lines is the first of the sequence, or the one that the longest
        // lag reaches.
        let row = |line: usize| &self.latest[line][..];
        prepared.extend(preparation.differences_at(self.latest.len() - 1, row));
        prepared
    }
}

/// The prediction for a line.
#[derive(Debug, Clone, PartialEq)]
pub struct LinePrediction {
    /// The group of the line, where the header has the model's column of groups.
    pub group: Option<String>,
    /// The sequence, from 0; an empty line begins another.
    pub sequence: usize,
    /// The line's time step in its group or sequence, from 0.
    pub step: usize,
    /// The row (of its group or sequence) that is predicted, from 1: for a forecast, one after the
    /// line, the first of several steps ahead. `None` for a model of data that are not
    /// rows of a table or series.
    pub row: Option<usize>,
    /// `[K]`: probabilities of a model that classifies or has labels, else values in the data's
    /// own units, those of all steps ahead, as
    /// [`predict_dataset`](super::dataset::predict_dataset) has them.
    pub values: Vec<f64>,
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
        check_whole_sequences(&model.network)?;
        if model.preparation.known_ahead > 0 {
            return Err(Error::data(
                "the model reads data.future, data.future_calendar or data.categories, which lines \
                 do not have; predict from a file",
            ));
        }
        Ok(LinePredictor {
            model,
            predictor: Predictor::load(model, 1, 1, device)?,
            outputs: model.preparation.of_outputs(&model.network.head),
            sequences: HashMap::new(),
            breaks: 0,
            reader: LineReader::new(model),
            source,
        })
    }

    /// Whether the header has the model's column of groups; known after the first line.
    pub fn has_groups(&self) -> bool {
        self.reader.group.is_some()
    }

    /// Predicts for a line of numbers, `line` being its number. Returns `None` for a header, and
    /// for an empty line, after which new sequences begin.
    ///
    /// # Errors
    /// [`Error::File`] for a line that the model cannot read; those of the device.
    pub fn predict(&mut self, text: &str, line: u64) -> Result<Option<LinePrediction>> {
        if text.trim().is_empty() {
            self.breaks += usize::from(!self.sequences.is_empty());
            self.sequences.clear();
            return Ok(None);
        }
        let refuse = |problem| Error::file(self.source, format!("line {line}: {problem}"));
        let Some(record) = self.reader.record(text).map_err(refuse)? else {
            return Ok(None);
        };
        let group = self.reader.group.map(|column| record[column].clone());
        let own = self.sequences.entry(group.clone().unwrap_or_default());
        let own = own.or_default();
        let values = self.reader.read(&record, &mut own.previous);
        let preparation = &self.model.preparation;
        let columns = values.map_err(refuse)?;
        let values = own.with_differences(columns.clone(), preparation);
        let prediction = predict_step(
            self.model,
            &mut self.predictor,
            &values,
            own.states.as_deref(),
        );
        let prediction = prediction.map_err(|error| match error {
            // Its sequence is the line.
            Error::Data(problem) | Error::Usage(problem) => refuse(problem),
            error => error,
        })?;
        let outputs = probabilities_or_values(self.model, &prediction);
        own.states = Some(prediction.states);
        let outputs: Vec<f32> = outputs.iter().copied().collect();
        let mut restored = self.outputs.restore(&outputs, &values);
        interpret(&self.model.network.head, &mut restored);
        let step = own.count;
        own.count += 1;
        let horizon = self.reader.format.horizon;
        Ok(Some(LinePrediction {
            group,
            sequence: self.breaks,
            step,
            row: horizon.map(|horizon| step + 1 + horizon.first()),
            values: restored,
        }))
    }
}

/// Predicts after one time step `[I]` of one sequence.
fn predict_step(
    model: &Model,
    predictor: &mut Predictor,
    values: &[f32],
    states: Option<&[State]>,
) -> Result<Prediction> {
    let tokens: Vec<u32> = values.iter().map(|&value| value as u32).collect();
    let sequences = if model.network.input.is_values() {
        let values = ArrayView3::from_shape((1, 1, values.len()), values);
        Sequences::Values(values.map_err(wrong_shape)?)
    } else {
        Sequences::Tokens(ArrayView2::from_shape((1, 1), &tokens).map_err(wrong_shape)?)
    };
    predictor.predict_prepared(sequences, None, states, &|_| 0)
}

/// Reads the model's inputs from lines of a table.
struct LineReader<'a> {
    model: &'a Model,
    format: LineFormat<'a>,
    /// The cell of each input that is a column.
    columns: Vec<usize>,
    /// The cell of the time, if inputs follow from it.
    time: Option<usize>,
    /// The cell of the group, where the header has its column.
    group: Option<usize>,
    /// Cells of each line, once a header was read.
    cells: Option<usize>,
    is_first: bool,
}

impl LineReader<'_> {
    fn new(model: &Model) -> LineReader<'_> {
        let format = model.recipe.data.source().line_format();
        let width = match format.inputs.len() {
            0 if model.network.input.is_values() => {
                model.network.input_size - model.preparation.differences.len()
            }
            0 => 1,
            columns => columns,
        };
        // Without a header, the time comes first.
        let time = format.calendar.map(|_| 0);
        let first = usize::from(time.is_some());
        LineReader {
            model,
            format,
            columns: (first..first + width).collect(),
            time,
            group: None,
            cells: None,
            is_first: true,
        }
    }

    /// The cells of a line; `None` for a header, which only the first line may be.
    fn record(&mut self, text: &str) -> Result<Option<Vec<String>>, String> {
        let record = split_line(text, self.format.delimiter)?;
        let is_first = std::mem::replace(&mut self.is_first, false);
        if is_first && self.is_header(&record) {
            self.read_header(&record)?;
            return Ok(None);
        }
        self.check_cells(&record)?;
        Ok(Some(record))
    }

    /// The inputs in the cells of a line, prepared for the network. `previous` is the line before
    /// it in its sequence, and becomes this one.
    fn read(&self, record: &[String], previous: &mut Option<Vec<f64>>) -> Result<Vec<f32>, String> {
        let value = |input: usize| {
            let cell = &record[self.columns[input]];
            let not_a_number = || {
                let cell = cell.escape_debug();
                format!("{}: `{cell}` is not a finite number", self.name(input))
            };
            self.format.cells.number(cell).ok_or_else(not_a_number)
        };
        let values = (0..self.columns.len()).map(value);
        let values: Vec<f64> = values.collect::<Result<_, _>>()?;
        if self.model.network.input.is_values() {
            let mut prepared = self.prepare(values, previous)?;
            prepared.extend(self.calendar(record)?);
            return Ok(prepared);
        }
        let vocabulary = self.model.network.input_size;
        let token = values[0];
        if token.fract() != 0.0 || !(0.0..vocabulary as f64).contains(&token) {
            return Err(format!(
                "{token} is not a token; tokens are whole numbers below {vocabulary}"
            ));
        }
        Ok(vec![token as f32])
    }

    /// The inputs that follow from the time in a line.
    fn calendar(&self, record: &[String]) -> Result<Vec<f32>, String> {
        let (Some(cell), Some((_, cycles))) = (self.time, self.format.calendar) else {
            return Ok(vec![]);
        };
        let seconds = date_of(&record[cell])?;
        let inputs = calendar_inputs(cycles, seconds).into_iter();
        Ok(inputs.map(|value| value as f32).collect())
    }

    /// What an input is called in messages.
    fn name(&self, input: usize) -> String {
        match self.names().get(input) {
            Some(name) => format!("the column `{}`", name.escape_debug()),
            None => format!("cell {}", self.columns[input] + 1),
        }
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
        let time = self.format.calendar.map(|(time, _)| time.to_string());
        self.time = time.as_ref().map(column).transpose()?;
        let group = self.format.group;
        self.group = group.and_then(|group| record.iter().position(|cell| cell == group));
        self.cells = Some(record.len());
        Ok(())
    }

    fn check_cells(&self, record: &[String]) -> Result<(), String> {
        let named = self.columns.len() + usize::from(self.time.is_some());
        let needed = self.cells.unwrap_or(named);
        if record.len() == needed {
            return Ok(());
        }
        let expected = match self.names() {
            [] => format!("{needed} numbers"),
            _ if self.cells.is_some() => format!("{needed} cells, as the header has"),
            names => {
                let time = self.format.calendar.iter().map(|(time, _)| *time);
                let names: Vec<&str> = time.chain(names.iter().map(String::as_str)).collect();
                format!(
                    "{needed} numbers ({}), or a header above the first line",
                    names.join(", ")
                )
            }
        };
        Err(format!(
            "there are {} cells; there must be {expected}",
            record.len()
        ))
    }

    /// Fills missing values, if need be from the previous line, and normalises.
    fn prepare(
        &self,
        values: Vec<f64>,
        previous: &mut Option<Vec<f64>>,
    ) -> Result<Vec<f32>, String> {
        let (width, preparation) = (self.columns.len(), &self.model.preparation);
        let mut rows = previous.take().unwrap_or_default();
        rows.extend(values);
        let filled = preparation.fill(self.format.missing, &mut rows, width);
        filled.map_err(|(_, input)| format!("{} has no value", self.name(input)))?;
        let values = rows.split_off(rows.len() - width);
        let prepared = Normal::prepare_all(&preparation.inputs, &values);
        *previous = Some(values);
        Ok(prepared)
    }
}
