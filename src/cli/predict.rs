//! `gatescan predict`: the predictions of a saved model for data, in the data's own units.

use std::io::{self, BufRead, Read, Write};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::data::preparation::Preparation;
use gatescan::data::source::{PredictionInputs, WindowRows};
use gatescan::infer::dataset::{PredictedSteps, predict_dataset};
use gatescan::infer::lines::{LinePrediction, LinePredictor};
use gatescan::infer::outputs::output_names;
use gatescan::infer::requests::load_inputs;
use gatescan::low_level::io::disk::PendingFile;
use gatescan::low_level::messages::shown_path;
use gatescan::{Dataset, Error, Model, OpenDevice, Reads, Result, Split};
use ndarray::{Array3, Axis};
use ndarray_npy::WriteNpyExt;
use serde_json::{Map, Value, json};

use super::console::Console;
use super::eval::split_parser;
use super::output::Overwrite;
use super::{choose_device, csv_line, load_model};

/// Predict with a saved model
#[derive(Args)]
#[command(after_help = "\
A classifier predicts the class and the probability of each class; other models predict values in \
the units of the data. For each window of a table there is a prediction at its last row; \
`row` is the row (of its group) that is predicted, counted from 1 without the header, and for a \
forecast it may be after the last row. With `-` for DATA, there is a prediction for each line of \
standard input as it arrives, and the state is carried from line to line. `row` means the same; if \
the header has the column of groups, the lines of each group are a sequence of their own, and an \
empty line begins new sequences.

Examples:
  gatescan predict runs/sunspots sunspots.csv
  gatescan predict runs/sunspots newer.csv -o forecast.csv
  gatescan predict model.safetensors unseen.npy -o probabilities.npy
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
        let columns = HeadColumns::new(&model, &heads);
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
        let windows = windows.as_ref();
        let batch = self
            .batch_size
            .map_or(model.recipe.batch_size, NonZeroUsize::get);
        let predict = |head| predict_dataset(head, &data, self.steps(), batch, &device);
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
        for (n, (position, _)) in table.rows.iter().enumerate() {
            let (headings, columns) = (&table.headings, &table.columns);
            let flow = self.print(console, headings, position, columns, &table.values(n))?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
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
            return Err(Error::usage(
                "--every-step: the model predicts once for each sequence, after its last step",
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
        values: &[&[f64]],
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
            let position = line_position(&prediction);
            let values = &prediction.values[..];
            let flow = self.print(console, headings, &position, columns, &[values])?;
            if flow.is_break() {
                return Ok(());
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
        Some(_) => &["row"][..],
        None => &["sequence", "step"],
    };
    let headings = group.iter().chain(position);
    headings.map(|heading| heading.to_string()).collect()
}

/// The cells that say where the prediction for a line belongs.
fn line_position(prediction: &LinePrediction) -> Vec<Value> {
    match prediction.row {
        Some(row) => {
            let group = prediction.group.iter().map(|group| group.as_str().into());
            group.chain([row.into()]).collect()
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
    } else {
        headings.push("sequence".into());
        headings.extend(every.then(|| "step".into()));
    }
    headings
}

/// The position cells of each prediction, and its row among the outputs `[N * (T or 1), K]`.
fn position_rows(
    windows: Option<&WindowRows>,
    data: &Dataset,
    steps: PredictedSteps,
) -> Vec<(Vec<Value>, usize)> {
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
            rows.push((position_cells(windows, n, step, every), row));
        }
    }
    rows
}

/// The cells that say where the prediction of sequence `n` at `step` belongs.
fn position_cells(windows: Option<&WindowRows>, n: usize, step: usize, every: bool) -> Vec<Value> {
    let mut cells: Vec<Value> = vec![];
    if let Some(WindowRows {
        group,
        starts,
        horizon,
    }) = windows
    {
        let (name, first) = &starts[n];
        cells.extend(group.iter().map(|_| Value::from(name.as_str())));
        cells.extend(every.then(|| n.into()));
        cells.push((first + step + horizon + 1).into());
    } else {
        cells.push(n.into());
        cells.extend(every.then(|| step.into()));
    }
    cells
}

/// The columns of a prediction: class and probabilities, or values.
struct OutputColumns<'a> {
    preparation: &'a Preparation,
    /// The names of the classes, where there are classes.
    classes: Option<Vec<String>>,
    /// The names of the columns of values, where there are values.
    values: Vec<String>,
    /// The names of the labels, where there are several labels.
    labels: Option<Vec<String>>,
}

impl OutputColumns<'_> {
    fn new(model: &Model) -> OutputColumns<'_> {
        let head = &model.network.head;
        let width = head.targets();
        let names = (0..width).map(|class| model.preparation.class(class));
        let values = match model.recipe.data.source().target_names() {
            names if names.len() == width => names.to_vec(),
            _ if width == 1 => vec!["value".into()],
            _ => (0..width).map(|k| format!("value_{k}")).collect(),
        };
        OutputColumns {
            preparation: &model.preparation,
            classes: head.loss.takes_classes().then(|| names.collect()),
            values: if head.loss.takes_labels() {
                values.iter().map(|name| format!("p_{name}")).collect()
            } else {
                output_names(head, &values)
            },
            labels: head.loss.takes_labels().then_some(values),
        }
    }

    /// The values as they are printed.
    fn significant(&self, values: &[f64]) -> impl Iterator<Item = f64> {
        // Each output of a target has the digits of the target.
        let width = self.preparation.targets.len().max(1);
        let values = values.iter().enumerate();
        values.map(move |(k, &value)| self.preparation.significant_output(k % width, value))
    }

    fn headings(&self) -> Vec<String> {
        match &self.classes {
            None => self.values.clone(),
            Some(classes) => {
                let each = classes.iter().map(|class| format!("p_{class}"));
                std::iter::once("class".to_string()).chain(each).collect()
            }
        }
    }

    /// The cells of a line of CSV.
    fn cells(&self, values: &[f64]) -> Vec<String> {
        let mut cells: Vec<String> = vec![];
        if let Some(classes) = &self.classes {
            cells.push(likeliest(classes, values).to_string());
        }
        cells.extend(self.significant(values).map(|value| value.to_string()));
        cells
    }

    fn add_to(&self, object: &mut Map<String, Value>, values: &[f64]) {
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
}

/// The columns of a prediction by each head, with the names of several.
struct HeadColumns<'a>(Vec<(Option<&'a str>, OutputColumns<'a>)>);

impl<'a> HeadColumns<'a> {
    /// Returns the columns of the heads of `model`, each as a model of its own.
    fn new(model: &'a Model, heads: &'a [Model]) -> HeadColumns<'a> {
        let named = &model.network.heads;
        let each = heads.iter().enumerate().map(|(n, head)| {
            let name = named.get(n).map(|head| &head.name[..]);
            (name, OutputColumns::new(head))
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
    fn line(&self, position: &[Value], values: &[&[f64]]) -> String {
        let cells = position.iter().map(|cell| {
            cell.as_str()
                .map_or_else(|| cell.to_string(), str::to_string)
        });
        let each = self.0.iter().zip(values);
        let outputs = each.flat_map(|((_, columns), values)| columns.cells(values));
        csv_line(&cells.chain(outputs).collect::<Vec<_>>())
    }

    fn object(&self, headings: &[String], position: &[Value], values: &[&[f64]]) -> Value {
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
    /// The position cells of each prediction, and its row among the outputs.
    rows: Vec<(Vec<Value>, usize)>,
    columns: HeadColumns<'a>,
    /// `[N, T or 1, K]` of each head.
    outputs: Vec<Array3<f64>>,
}

impl PredictionTable<'_> {
    /// `[K]` of each head: probabilities or values of prediction `n`.
    fn values(&self, n: usize) -> Vec<&[f64]> {
        let each = self.outputs.iter().filter_map(|outputs| {
            let width = outputs.dim().2;
            let first = self.rows[n].1 * width;
            outputs.as_slice()?.get(first..first + width)
        });
        each.collect()
    }

    /// Writes a file. An .npy file has `[N, T, K]`, or `[N, K]` for one prediction for each
    /// sequence: float64 for values in the units of normalized data, else float32.
    fn write(&self, file: &mut PendingFile, format: Format) -> io::Result<()> {
        if let (Format::Npy, [(_, columns)], [outputs]) =
            (format, &self.columns.0[..], &self.outputs[..])
        {
            let outputs = outputs.view();
            let outputs = match outputs.dim().1 {
                1 => outputs.index_axis_move(Axis(1), 0).into_dyn(),
                _ => outputs.into_dyn(),
            };
            // Normalized values may need more digits than f32 has.
            let written = if columns.preparation.targets.is_empty() {
                outputs.mapv(|value| value as f32).write_npy(file)
            } else {
                outputs.write_npy(file)
            };
            return written.map_err(io::Error::other);
        }
        match format {
            Format::Json => self.write_json(file),
            Format::Csv | Format::Npy => self.write_csv(file),
        }
    }

    fn write_csv(&self, file: &mut impl Write) -> io::Result<()> {
        writeln!(file, "{}", csv_line(&self.headings))?;
        for (n, (position, _)) in self.rows.iter().enumerate() {
            writeln!(file, "{}", self.columns.line(position, &self.values(n)))?;
        }
        Ok(())
    }

    fn write_json(&self, file: &mut impl Write) -> io::Result<()> {
        let object = |(n, (position, _)): (usize, &(Vec<Value>, usize))| {
            self.columns
                .object(&self.headings, position, &self.values(n))
        };
        let objects: Vec<Value> = self.rows.iter().enumerate().map(object).collect();
        serde_json::to_writer_pretty(file, &objects).map_err(io::Error::from)
    }
}

/// The format of an output file.
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
                shown_path(path)
            ))),
        }
    }
}
