//! `gatescan predict`: the predictions of a saved model for data, in the data's own units.

use std::io::{self, BufRead, Read, Write};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::data::Horizon;
use gatescan::data::preparation::Preparation;
use gatescan::data::source::{PredictionInputs, WindowRows};
use gatescan::infer::dataset::{PredictedSteps, predict_dataset};
use gatescan::infer::decoding::{DecodedList, Decoding, decode_dataset};
use gatescan::infer::lines::{LinePrediction, LinePredictor};
use gatescan::infer::outputs::{of_step, output_names};
use gatescan::infer::requests::load_inputs;
use gatescan::low_level::io::disk::PendingFile;
use gatescan::low_level::messages::shown_path;
use gatescan::{Dataset, Error, Head, Model, OpenDevice, Reads, Result, Split};
use ndarray::{Array3, ArrayD, Axis};
use ndarray_npy::WriteNpyExt;
use serde_json::{Map, Value, json};

use super::console::Console;
use super::eval::split_parser;
use super::output::Overwrite;
use super::predict_lists::{LIST_HEADINGS, ListTable, add_list, list_cells};
use super::{choose_device, csv_line, load_model};

/// Predict with a saved model
#[derive(Args)]
#[command(after_help = "\
A classifier predicts the class and the probability of each class; a model with the loss ctc \
predicts a list of labels for each sequence, and with --every-step the probability of each class \
at each step; other models predict values in the units of the data. For each window of a table \
there is a prediction at its last row; `row` is the row (of its group) that is predicted, counted \
from 1 without the header, and for a forecast it may be after the last row. A model of several \
steps ahead has a line for each of them, `ahead` of the last row that it read. Where the table has \
a column of times, the time of the row follows. With `-` for DATA, there is a prediction for each \
line of standard input as it arrives, and the state is carried from line to line. `row` means the \
same; if the header has the column of groups, the lines of each group are a sequence of their own, \
and an empty line begins new sequences.

Examples:
  gatescan predict runs/sunspots sunspots.csv
  gatescan predict runs/sunspots newer.csv -o forecast.csv
  gatescan predict model.safetensors unseen.npy -o probabilities.npy
  gatescan predict runs/mnist-ctc data/mnist --beam 10
  tail -f sensor.csv | gatescan predict runs/sensor - --json")]
pub struct Predict {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Data of the kind that the model was trained on: a table, arrays (.npz, a directory of .npy
    /// files, or the inputs as .npy), a series, a directory of IDX files; or - for lines from
    /// standard input.
    data: PathBuf,
    /// Write the predictions to a file as .csv, .json or .npy (probabilities or values), not to
    /// standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Predict at every step, not only at the last of each sequence; the model's head must read
    /// every step.
    #[arg(long)]
    every_step: bool,
    /// For a model with the loss ctc: search for the likeliest list of labels with the N likeliest
    /// prefixes, instead of taking the likeliest class at each step.
    #[arg(long, value_name = "N", conflicts_with = "every_step")]
    beam: Option<NonZeroUsize>,
    /// Predict with this one of several heads only.
    #[arg(long, value_name = "NAME")]
    head: Option<String>,
    /// Split of a directory of IDX files.
    #[arg(long, default_value = "test", value_parser = split_parser([Split::Test, Split::Train]))]
    split: Split,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Sequences per batch [default: as in training].
    #[arg(long, value_name = "N")]
    batch_size: Option<NonZeroUsize>,
    /// Print one JSON object for each prediction.
    #[arg(long)]
    json: bool,
}

/// The longest line that is read from standard input, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

impl Predict {
    pub fn run(&self, console: &Console) -> Result<()> {
        let format = self.output.as_deref().map(Format::of).transpose()?;
        if let Some(path) = &self.output {
            self.overwrite.check(path)?;
        }
        let mut model = load_model(console, &self.model)?;
        if let Some(name) = &self.head {
            model = model.of_head(model.head_named(name)?);
        }
        let streams = self.data.as_os_str() == "-";
        self.check(&model, streams)?;
        self.check_head(&model, streams, format)?;
        let (device, _) = choose_device(&self.device)?;
        let device = OpenDevice::open(&device)?;
        let heads: Vec<Model> = (0..model.network.each_head().len())
            .map(|index| model.of_head(index))
            .collect();
        // Lists of labels are those of whole sequences.
        let decodes = !streams && !self.every_step;
        let columns = HeadColumns::new(&model, &heads, decodes);
        if streams {
            return self.stream(console, &model, &columns, &device);
        }
        let PredictionInputs {
            data,
            windows,
            notes,
        } = load_inputs(&model, &self.data, self.split)?;
        for note in notes {
            console.note(format!("warning: {note}"));
        }
        let batch = self
            .batch_size
            .map_or(model.recipe.batch_size, NonZeroUsize::get);
        if model.network.head.loss.takes_lists() && !self.every_step {
            return self.predict_lists(console, &model, &data, batch, &device);
        }
        let windows = windows.as_ref();
        let predict = |head: &Model| -> Result<HeadOutputs> {
            if decodes && head.network.head.loss.takes_lists() {
                let lists = decode_dataset(head, &data, self.decoding(), batch, &device)?;
                return Ok(HeadOutputs::Lists(lists));
            }
            let values = predict_dataset(head, &data, self.steps(), batch, &device)?;
            Ok(HeadOutputs::Values(values))
        };
        let outputs = heads.iter().map(predict).collect::<Result<_>>()?;
        let table = PredictionTable {
            headings: [position_headings(windows, self.steps()), columns.headings()].concat(),
            rows: position_rows(windows, &data, self.steps()),
            columns,
            outputs,
        };
        if let (Some(path), Some(format)) = (&self.output, format) {
            self.overwrite
                .write(path, |file| table.write(file, format))?;
            let (count, path) = (table.rows.len(), shown_path(path));
            console.note(format!("wrote {count} predictions to {path}"));
            return Ok(());
        }
        if !self.json && console.print_data(csv_line(&table.headings))?.is_break() {
            return Ok(());
        }
        for row in &table.rows {
            let (headings, columns) = (&table.headings, &table.columns);
            let values = table.values(row);
            let flow = self.print(console, headings, &row.position, columns, &values)?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Predicts a list of labels for each sequence.
    fn predict_lists(
        &self,
        console: &Console,
        model: &Model,
        data: &Dataset,
        batch: usize,
        device: &OpenDevice,
    ) -> Result<()> {
        let lists = decode_dataset(model, data, self.decoding(), batch, device)?;
        let table = ListTable { model, lists };
        let Some(path) = &self.output else {
            return table.print(console, self.json);
        };
        let format = Format::of(path)?;
        self.overwrite
            .write(path, |file| table.write(file, format))?;
        let (count, path) = (table.lists.len(), shown_path(path));
        console.note(format!("wrote {count} predictions to {path}"));
        Ok(())
    }

    /// How lists of labels are decoded.
    fn decoding(&self) -> Decoding {
        match self.beam {
            Some(width) => Decoding::Beam { width: width.get() },
            None => Decoding::BestPath,
        }
    }

    /// The steps that are predicted for.
    fn steps(&self) -> PredictedSteps {
        if self.every_step {
            PredictedSteps::Every
        } else {
            PredictedSteps::Last
        }
    }

    /// Returns an error for arguments that the model does not allow, and for missing data.
    fn check(&self, model: &Model, streams: bool) -> Result<()> {
        if self.every_step && model.network.head.reads != Reads::Every {
            return Err(Error::usage(if model.network.has_mixed_reads() {
                "--every-step: some heads of the model predict once for each sequence; name one \
                 that predicts at every step with --head"
            } else {
                "--every-step: the model predicts once for each sequence, after its last step"
            }));
        }
        let heads = model.network.each_head();
        let takes_lists = heads.iter().any(|head| head.loss.takes_lists());
        if self.beam.is_some() && (!takes_lists || streams) {
            return Err(Error::usage(if takes_lists {
                "--beam: a list of labels is that of a whole sequence; lines from standard input \
                 are predicted one by one"
            } else {
                "--beam: the model predicts no lists of labels; only a model with the loss ctc does"
            }));
        }
        let is_npy = matches!(
            self.output.as_deref().map(Format::of),
            Some(Ok(Format::Npy))
        );
        if takes_lists && is_npy && !self.every_step {
            return Err(Error::usage(
                "--output: lists of labels have different lengths, so they are no array; name a \
                 .csv or .json file, or write the probabilities of each step with --every-step",
            ));
        }
        if streams && (self.every_step || self.output.is_some()) {
            return Err(Error::usage(
                "the predictions for lines from standard input are printed one by one on standard \
                 output; -o and --every-step cannot be used with them",
            ));
        }
        if !streams && !self.data.exists() {
            return Err(Error::file(
                &self.data,
                "there is no such file or directory",
            ));
        }
        Ok(())
    }

    /// Returns an error for what is of one head only, where the model has several.
    fn check_head(&self, model: &Model, streams: bool, format: Option<Format>) -> Result<()> {
        let names = model.network.heads.iter().map(|head| &head.name[..]);
        let names: Vec<&str> = names.collect();
        let problem = match format {
            _ if names.is_empty() => return Ok(()),
            _ if streams => "lines from standard input get the output of one head",
            Some(Format::Npy) => "an .npy file holds the outputs of one head",
            _ => return Ok(()),
        };
        Err(Error::usage(format!(
            "{problem}, and the model has {}; name one of them with --head",
            names.join(", ")
        )))
    }

    fn print(
        &self,
        console: &Console,
        headings: &[String],
        position: &[Value],
        columns: &HeadColumns,
        values: &[RowOutput],
    ) -> Result<ControlFlow<()>> {
        if self.json {
            console.print_json(columns.object(headings, position, values))
        } else {
            console.print_data(columns.line(position, values))
        }
    }

    /// Predicts for each line of standard input as it arrives.
    fn stream(
        &self,
        console: &Console,
        model: &Model,
        columns: &HeadColumns,
        device: &OpenDevice,
    ) -> Result<()> {
        let source = Path::new("standard input");
        let mut predictor = LinePredictor::new(model, source, device)?;
        let mut headings: Option<Vec<String>> = None;
        let mut stdin = io::stdin().lock();
        for line in 1u64.. {
            let Some(text) = read_line(&mut stdin, line, source)? else {
                break;
            };
            let Some(prediction) = predictor.predict(&text, line)? else {
                continue;
            };
            if headings.is_none() {
                note_groups(console, model, &predictor);
                let first = line_headings(model, &predictor);
                let first = [first, columns.headings()].concat();
                if !self.json && console.print_data(csv_line(&first))?.is_break() {
                    return Ok(());
                }
                headings = Some(first);
            }
            let headings = headings.as_deref().unwrap_or_default();
            let (head, horizon) = (&model.network.head, model.recipe.data.source().horizon());
            let steps = horizon.map_or(1, Horizon::steps);
            for s in 0..steps {
                let position = line_position(&prediction, horizon, s);
                let values = RowOutput::Values(of_step(head, &prediction.values, steps, s));
                let flow = self.print(console, headings, &position, columns, &[values])?;
                if flow.is_break() {
                    return Ok(());
                }
            }
        }
        if headings.is_none() && !self.json {
            let headings = [line_headings(model, &predictor), columns.headings()].concat();
            let _ = console.print_data(csv_line(&headings))?;
        }
        Ok(())
    }
}

/// Says that lines are not assigned to groups, for a model of groups.
fn note_groups(console: &Console, model: &Model, predictor: &LinePredictor) {
    let group = model.recipe.data.source().line_format().group;
    if let (Some(group), false) = (group, predictor.has_groups()) {
        console.note(format!(
            "standard input has no column `{group}`, which assigns rows to groups; all lines up to \
             an empty one are taken as one group"
        ));
    }
}

/// The headings of the columns that say where the prediction for a line belongs.
fn line_headings(model: &Model, predictor: &LinePredictor) -> Vec<String> {
    let format = model.recipe.data.source().line_format();
    let group = format.group.filter(|_| predictor.has_groups());
    let position = match format.horizon {
        Some(horizon) if horizon.is_several() => &["row", "ahead"][..],
        Some(_) => &["row"],
        None => &["sequence", "step"],
    };
    let headings = group.iter().chain(position);
    headings.map(|heading| heading.to_string()).collect()
}

/// The cells that say where the prediction for a line belongs, of step `s` of those ahead.
fn line_position(prediction: &LinePrediction, horizon: Option<Horizon>, s: usize) -> Vec<Value> {
    match prediction.row {
        Some(row) => {
            let group = prediction.group.iter().map(|group| group.as_str().into());
            let several = horizon.filter(|horizon| horizon.is_several());
            let ahead = several.map(|horizon| (horizon.first() + s).into());
            group.chain([(row + s).into()]).chain(ahead).collect()
        }
        None => vec![prediction.sequence.into(), prediction.step.into()],
    }
}

/// Reads a line of at most [`LONGEST_LINE`] bytes; `None` at the end.
fn read_line(input: &mut impl BufRead, line: u64, source: &Path) -> Result<Option<String>> {
    let mut text = String::new();
    let read = input.take(LONGEST_LINE).read_line(&mut text);
    let read = read.map_err(|error| Error::file(source, format!("cannot be read: {error}")))?;
    if read as u64 == LONGEST_LINE {
        let problem =
            format!("line {line} has {LONGEST_LINE} bytes or more; a line must have fewer");
        return Err(Error::file(source, problem));
    }
    Ok((read > 0).then_some(text))
}

/// The headings of the columns that say where a prediction belongs.
fn position_headings(windows: Option<&WindowRows>, steps: PredictedSteps) -> Vec<String> {
    let every = steps == PredictedSteps::Every;
    let mut headings = vec![];
    if let Some(windows) = windows {
        headings.extend(windows.group.clone());
        headings.extend(every.then(|| "window".into()));
        headings.push("row".into());
        headings.extend(windows.horizon.is_several().then(|| "ahead".into()));
        headings.extend(windows.times.as_ref().map(|times| times.column.clone()));
    } else {
        headings.push("sequence".into());
        headings.extend(every.then(|| "step".into()));
    }
    headings
}

/// A prediction, and where it belongs.
struct PredictedRow {
    /// The cells that say where it belongs.
    position: Vec<Value>,
    /// Its row among the outputs `[N * (T or 1), J * S * K]`.
    row: usize,
    /// Its index among the S steps ahead.
    step: usize,
}

/// The position cells of each prediction, and where it is among the outputs.
fn position_rows(
    windows: Option<&WindowRows>,
    data: &Dataset,
    steps: PredictedSteps,
) -> Vec<PredictedRow> {
    let ahead = windows.map_or(1, |windows| windows.horizon.steps());
    let every = steps == PredictedSteps::Every;
    let mut rows = vec![];
    for n in 0..data.count {
        let length = (data.lengths.as_ref()).map_or(data.steps, |lengths| lengths[n] as usize);
        let predicted = if every {
            0..length
        } else {
            length.max(1) - 1..length.max(1)
        };
        for step in predicted {
            let row = if every { n * data.steps + step } else { n };
            rows.extend((0..ahead).map(|s| PredictedRow {
                position: position_cells(windows, (n, step, s), every),
                row,
                step: s,
            }));
        }
    }
    rows
}

/// The cells that say where the prediction of sequence `n` at `step`, of step `s` of those ahead,
/// belongs.
fn position_cells(
    windows: Option<&WindowRows>,
    (n, step, s): (usize, usize, usize),
    every: bool,
) -> Vec<Value> {
    let mut cells: Vec<Value> = vec![];
    if let Some(WindowRows {
        group,
        starts,
        horizon,
        times,
    }) = windows
    {
        let (name, first) = &starts[n];
        cells.extend(group.iter().map(|_| Value::from(name.as_str())));
        cells.extend(every.then(|| n.into()));
        let row = first + step + horizon.first() + s;
        cells.push((row + 1).into());
        cells.extend(horizon.is_several().then(|| (horizon.first() + s).into()));
        cells.extend(times.as_ref().map(|times| times.text(n, row).into()));
    } else {
        cells.push(n.into());
        cells.extend(every.then(|| step.into()));
    }
    cells
}

/// The outputs of a head for all sequences.
enum HeadOutputs {
    /// `[N, T or 1, J * S * K]`
    Values(Array3<f64>),
    /// `[N]`
    Lists(Vec<DecodedList>),
}

/// The outputs of a head for one prediction.
enum RowOutput<'a> {
    /// `[J * K]`: probabilities or values.
    Values(Vec<f64>),
    List(&'a DecodedList),
}

/// The columns of a prediction: class and probabilities, values, or a list of labels.
struct OutputColumns<'a> {
    preparation: &'a Preparation,
    head: Head,
    /// K: target values at each step ahead.
    width: usize,
    /// S: steps ahead.
    steps: usize,
    /// The names of the classes, where there are classes.
    classes: Option<Vec<String>>,
    /// The names of the columns of values, where there are values.
    values: Vec<String>,
    /// The names of the labels, where there are several labels.
    labels: Option<Vec<String>>,
    /// Whether there are lists of labels.
    has_lists: bool,
}

impl OutputColumns<'_> {
    /// Returns the columns of the only head of `model`, whose lists of labels are decoded if
    /// `decodes`.
    fn new(model: &Model, decodes: bool) -> OutputColumns<'_> {
        let head = &model.network.head;
        let steps = model.recipe.data.source().steps_ahead();
        let width = head.targets() / steps;
        let names = (0..width).map(|class| model.preparation.class(class));
        let values = match model.recipe.data.source().target_names() {
            names if names.len() == width => names.to_vec(),
            _ if width == 1 => vec!["value".into()],
            _ => (0..width).map(|k| format!("value_{k}")).collect(),
        };
        OutputColumns {
            preparation: &model.preparation,
            head: *head,
            width,
            steps,
            classes: (head.loss.takes_classes() || head.loss.takes_lists())
                .then(|| names.collect()),
            values: if head.loss.takes_labels() {
                values.iter().map(|name| format!("p_{name}")).collect()
            } else {
                output_names(head, &values)
            },
            labels: head.loss.takes_labels().then_some(values),
            has_lists: decodes && head.loss.takes_lists(),
        }
    }

    /// The values as they are printed.
    fn significant(&self, values: &[f64]) -> impl Iterator<Item = f64> {
        // Each output of a target has the digits of the target.
        let values = values.iter().enumerate();
        values.map(|(k, &value)| self.preparation.significant_output(k % self.width, value))
    }

    fn headings(&self) -> Vec<String> {
        match &self.classes {
            _ if self.has_lists => LIST_HEADINGS.map(String::from).to_vec(),
            None => self.values.clone(),
            Some(classes) => {
                let each = classes.iter().map(|class| format!("p_{class}"));
                std::iter::once("class".to_string()).chain(each).collect()
            }
        }
    }

    /// The cells of a line of CSV.
    fn cells(&self, output: &RowOutput) -> Vec<String> {
        let values = match output {
            RowOutput::Values(values) => values,
            RowOutput::List(list) => return list_cells(list, self.preparation),
        };
        let mut cells: Vec<String> = vec![];
        if let Some(classes) = &self.classes {
            cells.push(likeliest(classes, values).to_string());
        }
        cells.extend(self.significant(values).map(|value| value.to_string()));
        cells
    }

    fn add_to(&self, object: &mut Map<String, Value>, output: &RowOutput) {
        let values = match output {
            RowOutput::Values(values) => values,
            RowOutput::List(list) => return add_list(list, self.preparation, object),
        };
        let named = |names: &[String]| -> Value {
            let values = self.significant(values).map(|value| json!(value));
            let pairs = names.iter().cloned().zip(values);
            pairs.collect::<Map<_, _>>().into()
        };
        if let Some(classes) = &self.classes {
            object.insert("class".into(), likeliest(classes, values).into());
            object.insert("probabilities".into(), named(classes));
        } else if let Some(labels) = &self.labels {
            object.insert("probabilities".into(), named(labels));
        } else {
            object.insert("values".into(), named(&self.values));
        }
    }

    /// Returns the outputs of a prediction.
    fn of_row<'a>(&self, outputs: &'a HeadOutputs, row: &PredictedRow) -> RowOutput<'a> {
        let values = match outputs {
            HeadOutputs::Values(values) => values,
            HeadOutputs::Lists(lists) => return RowOutput::List(&lists[row.row]),
        };
        let width = values.dim().2;
        let all = values.as_slice().unwrap_or_default();
        let own = &all[row.row * width..][..width];
        RowOutput::Values(of_step(&self.head, own, self.steps, row.step))
    }

    /// Returns outputs `[N, T or 1, J * S * K]` by steps ahead, `[N, T or 1, S, J * K]`.
    fn by_steps(&self, outputs: &Array3<f64>) -> io::Result<ArrayD<f64>> {
        let (count, rows, width) = outputs.dim();
        let steps = self.steps;
        let all = outputs.as_slice().unwrap_or_default();
        let each = all.chunks(width.max(1));
        let values = each.flat_map(|row| (0..steps).map(move |s| (row, s)));
        let values = values.flat_map(|(row, s)| of_step(&self.head, row, steps, s));
        let shape = [count, rows, steps, width / steps];
        ArrayD::from_shape_vec(&shape[..], values.collect()).map_err(io::Error::other)
    }

    /// Writes outputs as an .npy file.
    fn write_npy(&self, outputs: &Array3<f64>, file: &mut PendingFile) -> io::Result<()> {
        let mut values = self.by_steps(outputs)?;
        if self.steps == 1 {
            values = values.index_axis_move(Axis(2), 0);
        }
        if outputs.dim().1 == 1 {
            values = values.index_axis_move(Axis(1), 0);
        }
        // Normalized values may need more digits than f32 has.
        let written = if self.preparation.targets.is_empty() {
            values.mapv(|value| value as f32).write_npy(file)
        } else {
            values.write_npy(file)
        };
        written.map_err(io::Error::other)
    }
}

/// The columns of a prediction by each head, with the names of several.
struct HeadColumns<'a>(Vec<(Option<&'a str>, OutputColumns<'a>)>);

impl<'a> HeadColumns<'a> {
    /// Returns the columns of the heads of `model`, each as a model of its own.
    fn new(model: &'a Model, heads: &'a [Model], decodes: bool) -> HeadColumns<'a> {
        let named = &model.network.heads;
        let each = heads.iter().enumerate().map(|(n, head)| {
            let name = named.get(n).map(|head| &head.name[..]);
            (name, OutputColumns::new(head, decodes))
        });
        HeadColumns(each.collect())
    }

    fn headings(&self) -> Vec<String> {
        let each = self.0.iter().flat_map(|(name, columns)| {
            let headings = columns.headings().into_iter();
            headings.map(move |heading| match name {
                Some(name) => format!("{name}.{heading}"),
                None => heading,
            })
        });
        each.collect()
    }

    /// A line of CSV.
    fn line(&self, position: &[Value], values: &[RowOutput]) -> String {
        let cells = position.iter().map(|cell| {
            cell.as_str()
                .map_or_else(|| cell.to_string(), str::to_string)
        });
        let each = self.0.iter().zip(values);
        let outputs = each.flat_map(|((_, columns), values)| columns.cells(values));
        csv_line(&cells.chain(outputs).collect::<Vec<_>>())
    }

    fn object(&self, headings: &[String], position: &[Value], values: &[RowOutput]) -> Value {
        let positions = headings.iter().cloned().zip(position.iter().cloned());
        let mut object: Map<String, Value> = positions.collect();
        let mut heads = Map::new();
        for ((name, columns), values) in self.0.iter().zip(values) {
            match name {
                None => columns.add_to(&mut object, values),
                Some(name) => {
                    let mut own = Map::new();
                    columns.add_to(&mut own, values);
                    heads.insert(name.to_string(), own.into());
                }
            }
        }
        if !heads.is_empty() {
            object.insert("heads".into(), heads.into());
        }
        object.into()
    }
}

/// The class with the largest probability, the first among equals.
fn likeliest<'a>(classes: &'a [String], values: &[f64]) -> &'a str {
    let larger = |best: usize, k: usize| if values[k] > values[best] { k } else { best };
    &classes[(0..values.len()).fold(0, larger)]
}

/// The predictions for a data set, with the cells that say where each belongs.
struct PredictionTable<'a> {
    headings: Vec<String>,
    rows: Vec<PredictedRow>,
    columns: HeadColumns<'a>,
    /// Those of each head.
    outputs: Vec<HeadOutputs>,
}

impl PredictionTable<'_> {
    /// The outputs of each head for a prediction.
    fn values(&self, row: &PredictedRow) -> Vec<RowOutput<'_>> {
        let each = self.columns.0.iter().zip(&self.outputs);
        each.map(|((_, columns), outputs)| columns.of_row(outputs, row))
            .collect()
    }

    /// Writes a file. An .npy file has `[N, T, K]`, or `[N, K]` for one prediction for each
    /// sequence, and several steps ahead before K: float64 for values in the units of normalized
    /// data, else float32.
    fn write(&self, file: &mut PendingFile, format: Format) -> io::Result<()> {
        match (format, &self.columns.0[..], &self.outputs[..]) {
            (Format::Npy, [(_, columns)], [HeadOutputs::Values(values)]) => {
                columns.write_npy(values, file)
            }
            (Format::Json, ..) => self.write_json(file),
            (Format::Csv | Format::Npy, ..) => self.write_csv(file),
        }
    }

    fn write_csv(&self, file: &mut impl Write) -> io::Result<()> {
        writeln!(file, "{}", csv_line(&self.headings))?;
        for row in &self.rows {
            let line = self.columns.line(&row.position, &self.values(row));
            writeln!(file, "{line}")?;
        }
        Ok(())
    }

    fn write_json(&self, file: &mut impl Write) -> io::Result<()> {
        let object = |row: &PredictedRow| {
            let values = self.values(row);
            self.columns.object(&self.headings, &row.position, &values)
        };
        let objects: Vec<Value> = self.rows.iter().map(object).collect();
        serde_json::to_writer_pretty(file, &objects).map_err(io::Error::from)
    }
}

/// The format of an output file.
#[derive(Clone, Copy)]
pub enum Format {
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
                shown_path(path)
            ))),
        }
    }
}
