//! `gatescan predict`: what a saved model answers to data, in the data's own units.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::data::csv::number_of;
use gatescan::data::preparation::Normal;
use gatescan::data::source::{InputRequest, LineFormat, PredictionInputs};
use gatescan::data::{Dataset, Inputs, Split};
use gatescan::error::{Error, Result};
use gatescan::infer::predict::{Predictor, Sequences, State};
use gatescan::low_level::backend::device::Device;
use gatescan::model::Model;
use gatescan::network::{Loss, Reads};
use ndarray::{Array3, ArrayD, ArrayView2, ArrayView3, Axis, Ix3, s};
use serde_json::{Map, Value, json};

use super::eval::split_parser;
use super::{choose_device, csv_line, load_model, note, print};

/// Answer data with a saved model
#[derive(Args)]
#[command(after_help = "\
A model that tells classes apart answers with the class and the probability of each, another with values in the data's own units. \
Of a table's windows each is answered at its last row, and `row` is the row (of its group) that the answer is about, 1 being \
the first: of a forecast it may lie beyond the end. With `-` for DATA, lines are answered as they come, and the state is carried from \
line to line; an empty line begins a new sequence.

Examples:
  gatescan predict runs/sunspots sunspots.csv
  gatescan predict runs/sunspots newer.csv -o forecast.csv
  gatescan predict model.safetensors unseen.npy -o probabilities.npy
  tail -f sensor.csv | gatescan predict runs/sensor - --json")]
pub struct Predict {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Data of the kind that the model was trained on: a table, arrays (.npz, a directory of .npy files, or the inputs as .npy), a
    /// series, a directory of IDX files; or - for lines from standard input.
    data: PathBuf,
    /// Write the answers to a file, as .csv, .json or .npy (of probabilities or values), and not to standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Answer every step, not only the last of each sequence; the model's head must read every step.
    #[arg(long)]
    every_step: bool,
    /// The part of a directory of IDX files.
    #[arg(long, default_value = "test", value_parser = split_parser())]
    split: Split,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Sequences at a time [default: as in training].
    #[arg(long, value_name = "N")]
    batch_size: Option<NonZeroUsize>,
    /// Print one JSON object for each answer.
    #[arg(long)]
    json: bool,
}

/// The longest line that is taken from standard input, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

impl Predict {
    pub fn run(&self) -> Result<()> {
        let format = self.output.as_deref().map(Format::of).transpose()?;
        let model = load_model(&self.model)?;
        let every = model.network.head.reads == Reads::Every;
        if self.every_step && !every {
            return Err(Error::usage(
                "--every-step: the model answers each sequence once, after its last step",
            ));
        }
        let streams = self.data.as_os_str() == "-";
        if streams && (self.every_step || self.output.is_some()) {
            return Err(Error::usage(
                "lines from standard input are answered one by one on standard output; -o and --every-step do not go with that",
            ));
        }
        if !streams && !self.data.exists() {
            return Err(Error::file(
                &self.data,
                "there is no such file or directory",
            ));
        }
        let (device, _) = choose_device(&self.device)?;
        let answers = Answers::new(&model);
        if streams {
            return self.stream(&model, &answers, &device);
        }
        let (data, places) = self.asked(&model)?;
        let outputs = self.outputs(&model, &data, &device)?;
        let rows = places.rows(&data, self.every_step);
        let columns = [places.columns(self.every_step), answers.columns()].concat();
        match (&self.output, format) {
            (Some(path), Some(format)) => {
                format.write(path, &columns, &rows, &answers, outputs)?;
                note(format!(
                    "wrote {} answers to {}",
                    rows.len(),
                    path.display()
                ));
            }
            _ => {
                let flat = outputs
                    .view()
                    .into_shape_with_order((data.count * outputs.shape()[1], answers.width));
                let flat = flat.map_err(|error| Error::Failed(error.to_string()))?;
                if !self.json && print(csv_line(&columns))?.is_break() {
                    return Ok(());
                }
                for (place, at) in &rows {
                    let values = flat.row(*at).to_vec();
                    if self.print(&columns, place, &answers, &values)?.is_break() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn print(
        &self,
        columns: &[String],
        place: &[Value],
        answers: &Answers,
        values: &[f32],
    ) -> Result<ControlFlow<()>> {
        match self.json {
            true => print(answers.object(columns, place, values)),
            false => print(answers.line(place, values)),
        }
    }

    /// The sequences to answer, and where each stands.
    fn asked(&self, model: &Model) -> Result<(Dataset, Places)> {
        let network = &model.network;
        let PredictionInputs { data, rows } =
            model.recipe.data.source().load_inputs(&InputRequest {
                path: &self.data,
                split: self.split,
                preparation: &model.preparation,
                vocabulary: (!network.input.is_values()).then_some(network.input_size),
            })?;
        let places = rows.map_or(Places::Sequences, |rows| Places::Rows {
            group: rows.group,
            places: rows.starts,
            horizon: rows.horizon,
        });
        Ok((data, places))
    }

    /// `[N, T or 1, K]`: probabilities, or values in their own units. Of all steps or the last of each sequence.
    fn outputs(&self, model: &Model, data: &Dataset, device: &Device) -> Result<Array3<f32>> {
        let batch = self
            .batch_size
            .map_or(model.recipe.batch_size, NonZeroUsize::get);
        let batch = batch.min(data.count).max(1);
        let mut predictor = Predictor::new(model, data.steps, batch, device)?;
        let (width, every) = (
            model.network.head.size,
            model.network.head.reads == Reads::Every,
        );
        let rows = if self.every_step { data.steps } else { 1 };
        let mut outputs = Array3::zeros((data.count, rows, width));
        let wrong = |error: ndarray::ShapeError| Error::Failed(error.to_string());
        // Hidden states come back too, so that not all sequences are asked at once.
        for first in (0..data.count).step_by(batch) {
            let last = (first + batch).min(data.count);
            let count = last - first;
            let lengths: Option<Vec<usize>> = data.lengths.as_ref().map(|lengths| {
                lengths[first..last]
                    .iter()
                    .map(|&length| length as usize)
                    .collect()
            });
            let floats: Vec<f32>;
            let part = data.read(&(first..last).collect::<Vec<_>>())?;
            let sequences = match &part.inputs {
                Inputs::Floats(values) => Sequences::Values(
                    ArrayView3::from_shape((count, data.steps, data.features), values)
                        .map_err(wrong)?,
                ),
                Inputs::Stored(stored) => {
                    floats = stored.read(&(0..count).collect::<Vec<_>>())?;
                    Sequences::Values(
                        ArrayView3::from_shape((count, data.steps, data.features), &floats)
                            .map_err(wrong)?,
                    )
                }
                Inputs::Bytes { values, scale } => {
                    floats = values.iter().map(|&byte| f32::from(byte) * scale).collect();
                    Sequences::Values(
                        ArrayView3::from_shape((count, data.steps, data.features), &floats)
                            .map_err(wrong)?,
                    )
                }
                Inputs::Tokens { values, .. } => Sequences::Tokens(
                    ArrayView2::from_shape((count, data.steps), values).map_err(wrong)?,
                ),
            };
            let mut prediction = predictor.predict(sequences, lengths.as_deref(), None)?;
            if model.network.head.loss == Loss::CrossEntropy {
                prediction.outputs = prediction.probabilities();
            }
            let answered = with_steps(prediction.outputs)?;
            for n in 0..count {
                let length = lengths.as_ref().map_or(data.steps, |lengths| lengths[n]);
                let own = match (every, self.every_step) {
                    (true, true) => answered.slice(s![n, .., ..]),
                    (true, false) => {
                        let step = length.max(1) - 1;
                        answered.slice(s![n, step..=step, ..])
                    }
                    (false, _) => answered.slice(s![n, .., ..]),
                };
                outputs.slice_mut(s![first + n, .., ..]).assign(&own);
            }
        }
        if let Some(values) = outputs.as_slice_mut() {
            Normal::undo_all(&model.preparation.targets, values);
        }
        Ok(outputs)
    }

    /// Answers each line of standard input as it comes.
    fn stream(&self, model: &Model, answers: &Answers, device: &Device) -> Result<()> {
        let network = &model.network;
        if network.layers.iter().any(|layer| layer.bidirectional) {
            return Err(Error::Data(
                "the model has a bidirectional layer, which reads what is yet to come; it can only be asked whole sequences".into(),
            ));
        }
        let mut predictor = Predictor::new(model, 1, 1, device)?;
        let mut reader = Lines::new(model);
        let mut states: Option<Vec<State>> = None;
        let columns = [vec!["line".to_string()], answers.columns()].concat();
        if !self.json && print(csv_line(&columns))?.is_break() {
            return Ok(());
        }
        let mut stdin = io::stdin().lock();
        for line in 1u64.. {
            let mut text = String::new();
            let read = stdin.by_ref().take(LONGEST_LINE).read_line(&mut text);
            let read = read.map_err(|error| {
                Error::file("standard input", format!("cannot be read: {error}"))
            })?;
            if read == 0 {
                break;
            }
            if read as u64 == LONGEST_LINE {
                let problem = format!(
                    "line {line} has {LONGEST_LINE} bytes or more, the most that are taken"
                );
                return Err(Error::file("standard input", problem));
            }
            if text.trim().is_empty() {
                (states, reader.before) = (None, None);
                continue;
            }
            let numbers = reader.read(&text, line);
            let Some(numbers) = numbers.map_err(|problem| {
                Error::file("standard input", format!("line {line}: {problem}"))
            })?
            else {
                continue;
            };
            let tokens: Vec<u32> = numbers.iter().map(|&number| number as u32).collect();
            let wrong = |error: ndarray::ShapeError| Error::Failed(error.to_string());
            let sequences = match network.input.is_values() {
                true => Sequences::Values(
                    ArrayView3::from_shape((1, 1, numbers.len()), &numbers).map_err(wrong)?,
                ),
                false => Sequences::Tokens(ArrayView2::from_shape((1, 1), &tokens).map_err(wrong)?),
            };
            let mut prediction = predictor.predict(sequences, None, states.as_deref())?;
            if network.head.loss == Loss::CrossEntropy {
                prediction.outputs = prediction.probabilities();
            }
            states = Some(prediction.states);
            let mut values: Vec<f32> = prediction.outputs.iter().copied().collect();
            Normal::undo_all(&model.preparation.targets, &mut values);
            if self
                .print(&columns, &[line.into()], answers, &values)?
                .is_break()
            {
                break;
            }
        }
        Ok(())
    }
}

/// `[N, T, K]`, T being 1 where there is an answer for each sequence.
fn with_steps(outputs: ArrayD<f32>) -> Result<Array3<f32>> {
    let outputs = match outputs.ndim() {
        2 => outputs.insert_axis(Axis(1)),
        _ => outputs,
    };
    outputs
        .into_dimensionality::<Ix3>()
        .map_err(|error| Error::Failed(error.to_string()))
}

/// Where the sequences stand.
enum Places {
    /// Wherever; they are counted.
    Sequences,
    /// In a table.
    Rows {
        group: Option<String>,
        /// The group and the first row of each.
        places: Vec<(String, usize)>,
        horizon: usize,
    },
}

impl Places {
    fn columns(&self, every_step: bool) -> Vec<String> {
        let columns = match (self, every_step) {
            (Places::Sequences, true) => vec!["sequence", "step"],
            (Places::Sequences, false) => vec!["sequence"],
            (
                Places::Rows {
                    group: Some(group), ..
                },
                true,
            ) => vec![group.as_str(), "window", "row"],
            (
                Places::Rows {
                    group: Some(group), ..
                },
                false,
            ) => vec![group.as_str(), "row"],
            (Places::Rows { .. }, true) => vec!["window", "row"],
            (Places::Rows { .. }, false) => vec!["row"],
        };
        columns.into_iter().map(str::to_string).collect()
    }

    /// The cells of each answer's place, and which row of the outputs it is.
    fn rows(&self, data: &Dataset, every_step: bool) -> Vec<(Vec<Value>, usize)> {
        let mut rows = vec![];
        for n in 0..data.count {
            let length = data
                .lengths
                .as_ref()
                .map_or(data.steps, |lengths| lengths[n] as usize);
            let steps = if every_step {
                0..length
            } else {
                length.max(1) - 1..length.max(1)
            };
            for step in steps {
                let place = match self {
                    Places::Sequences if every_step => vec![n.into(), step.into()],
                    Places::Sequences => vec![n.into()],
                    Places::Rows {
                        group,
                        places,
                        horizon,
                    } => {
                        let (name, first) = &places[n];
                        let mut place: Vec<Value> =
                            group.iter().map(|_| name.as_str().into()).collect();
                        if every_step {
                            place.push(n.into());
                        }
                        place.push((first + step + horizon + 1).into());
                        place
                    }
                };
                let at = if every_step { n * data.steps + step } else { n };
                rows.push((place, at));
            }
        }
        rows
    }
}

/// What stands in an answer.
struct Answers {
    /// K.
    width: usize,
    /// The classes' names, where there are classes.
    classes: Option<Vec<String>>,
    /// What the values are called, where there are values.
    values: Vec<String>,
}

impl Answers {
    fn new(model: &Model) -> Answers {
        let width = model.network.head.size;
        let names = (0..width).map(|class| model.preparation.class(class));
        let values = match model.recipe.data.source().target_names() {
            names if names.len() == width => names.to_vec(),
            _ if width == 1 => vec!["value".into()],
            _ => (0..width).map(|k| format!("value_{k}")).collect(),
        };
        Answers {
            width,
            classes: (model.network.head.loss == Loss::CrossEntropy).then(|| names.collect()),
            values,
        }
    }

    fn columns(&self) -> Vec<String> {
        match &self.classes {
            None => self.values.clone(),
            Some(classes) => {
                let each = classes.iter().map(|class| format!("p_{class}"));
                std::iter::once("class".to_string()).chain(each).collect()
            }
        }
    }

    /// The class with the largest probability, the first of equals.
    fn class<'a>(&self, classes: &'a [String], values: &[f32]) -> &'a str {
        let larger = |best: usize, k: usize| if values[k] > values[best] { k } else { best };
        &classes[(0..values.len()).fold(0, larger)]
    }

    /// A line of CSV.
    fn line(&self, place: &[Value], values: &[f32]) -> String {
        let mut cells: Vec<String> = place
            .iter()
            .map(|cell| {
                cell.as_str()
                    .map_or_else(|| cell.to_string(), str::to_string)
            })
            .collect();
        if let Some(classes) = &self.classes {
            cells.push(self.class(classes, values).to_string());
        }
        cells.extend(values.iter().map(f32::to_string));
        csv_line(&cells)
    }

    fn object(&self, columns: &[String], place: &[Value], values: &[f32]) -> Value {
        let places = columns.iter().cloned().zip(place.iter().cloned());
        let mut object: Map<String, Value> = places.collect();
        let named = |names: &[String]| -> Value {
            let pairs = names
                .iter()
                .cloned()
                .zip(values.iter().map(|&value| json!(value)));
            pairs.collect::<Map<_, _>>().into()
        };
        match &self.classes {
            Some(classes) => {
                object.insert("class".into(), self.class(classes, values).into());
                object.insert("probabilities".into(), named(classes));
            }
            None => {
                object.insert("values".into(), named(&self.values));
            }
        }
        object.into()
    }
}

/// Numbers out of lines, as the model reads them.
struct Lines<'a> {
    model: &'a Model,
    format: LineFormat<'a>,
    /// Which cell each input stands in.
    columns: Vec<usize>,
    /// Cells that a line must have, once a header has said so.
    cells: Option<usize>,
    begun: bool,
    /// The line before, in its own units.
    before: Option<Vec<f32>>,
}

impl Lines<'_> {
    fn new(model: &Model) -> Lines<'_> {
        let width = match model.network.input.is_values() {
            true => model.network.input_size,
            false => 1,
        };
        Lines {
            model,
            format: model.recipe.data.source().line_format(),
            columns: (0..width).collect(),
            cells: None,
            begun: false,
            before: None,
        }
    }

    /// The numbers of a line, prepared; `None` for a header, which may stand first.
    fn read(&mut self, text: &str, line: u64) -> std::result::Result<Option<Vec<f32>>, String> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .delimiter(self.format.delimiter as u8)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let mut record = csv::StringRecord::new();
        reader
            .read_record(&mut record)
            .map_err(|error| error.to_string())?;
        let names = self.format.inputs;
        let first = !std::mem::replace(&mut self.begun, true);
        let is_header = first
            && names
                .iter()
                .any(|name| record.iter().any(|cell| cell == name));
        if is_header {
            for (column, name) in self.columns.iter_mut().zip(names) {
                *column = record.iter().position(|cell| cell == name).ok_or_else(|| {
                    format!("the header has no column `{name}`, which the model reads")
                })?;
            }
            self.cells = Some(record.len());
            return Ok(None);
        }
        let needed = self.cells.unwrap_or(self.columns.len());
        if record.len() != needed {
            let expected = match names {
                [] => format!("{needed} numbers"),
                _ if self.cells.is_some() => format!("{needed} cells, as the header has"),
                _ => format!(
                    "{needed} numbers ({}), or a header above the first line",
                    names.join(", ")
                ),
            };
            return Err(format!(
                "there are {} cells; there must be {expected}",
                record.len()
            ));
        }
        let number = |&column: &usize| {
            let cell = &record[column];
            number_of(cell).ok_or_else(|| format!("`{}` is no finite number", cell.escape_debug()))
        };
        let numbers: Vec<f32> = self.columns.iter().map(number).collect::<Result<_, _>>()?;
        if !self.model.network.input.is_values() {
            let vocabulary = self.model.network.input_size;
            let token = numbers[0];
            if token.fract() != 0.0 || !(0.0..vocabulary as f32).contains(&token) {
                return Err(format!(
                    "{token} is no token; they are whole numbers below {vocabulary}"
                ));
            }
            return Ok(Some(numbers));
        }
        // The line before is what may count on.
        let mut rows = self.before.take().unwrap_or_default();
        rows.extend(numbers);
        let width = self.columns.len();
        self.model
            .preparation
            .fill(self.format.missing, &mut rows, width)
            .map_err(|(_, column)| {
                format!(
                    "cell {} of line {line} is missing",
                    self.columns[column] + 1
                )
            })?;
        let mut numbers = rows.split_off(rows.len() - width);
        self.before = Some(numbers.clone());
        Normal::apply_all(&self.model.preparation.inputs, &mut numbers);
        Ok(Some(numbers))
    }
}

/// What a file is written as.
#[derive(Clone, Copy)]
enum Format {
    Npy,
    Csv,
    Json,
}

impl Format {
    fn of(path: &Path) -> Result<Format> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("npy") => Ok(Format::Npy),
            Some("csv") => Ok(Format::Csv),
            Some("json") => Ok(Format::Json),
            _ => Err(Error::usage(format!(
                "--output {}: its name must end in .npy, .csv or .json",
                path.display()
            ))),
        }
    }

    /// `outputs` are `[N, T or 1, K]`; an .npy file of one answer for each sequence has `[N, K]`.
    fn write(
        self,
        path: &Path,
        columns: &[String],
        rows: &[(Vec<Value>, usize)],
        answers: &Answers,
        outputs: Array3<f32>,
    ) -> Result<()> {
        let unwritable = |error: &dyn std::fmt::Display| {
            Error::file(path, format!("cannot be written: {error}"))
        };
        if let Format::Npy = self {
            let outputs = match outputs.dim().1 {
                1 => outputs.index_axis_move(Axis(1), 0).into_dyn(),
                _ => outputs.into_dyn(),
            };
            return ndarray_npy::write_npy(path, &outputs).map_err(|error| unwritable(&error));
        }
        let flat: Vec<f32> = outputs.iter().copied().collect();
        let values = |at: usize| &flat[at * answers.width..(at + 1) * answers.width];
        let file = File::create(path).map_err(|error| unwritable(&error))?;
        let mut file = BufWriter::new(file);
        let written = match self {
            Format::Csv => {
                let mut written = writeln!(file, "{}", csv_line(columns));
                for (place, at) in rows {
                    let line = answers.line(place, values(*at));
                    written = written.and_then(|()| writeln!(file, "{line}"));
                }
                written
            }
            _ => {
                let objects = rows
                    .iter()
                    .map(|(place, at)| answers.object(columns, place, values(*at)));
                let objects: Vec<Value> = objects.collect();
                serde_json::to_writer_pretty(&mut file, &objects).map_err(io::Error::from)
            }
        };
        written
            .and_then(|()| file.flush())
            .map_err(|error| unwritable(&error))
    }
}
