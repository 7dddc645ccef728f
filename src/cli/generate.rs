//! `gatescan generate`: continues a series with a model's own predictions.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use gatescan::data::source::{ForecastRequest, ForecastStart};
use gatescan::infer::forecast::{SeriesForecast, forecast};
use gatescan::infer::generate::Context;
use gatescan::low_level::messages::shown_path;
use gatescan::report::Continuation;
use gatescan::{Error, Model, OpenDevice, Result};
use ndarray_npy::WriteNpyExt;
use serde_json::json;

use super::console::Console;
use super::output::Overwrite;
use super::{choose_device, csv_line, load_model};

/// Continue a series with a model's predictions
#[derive(Args)]
#[command(after_help = "\
The values are printed, one on each line. They continue the last rows of the data; standard error \
says where these end. The ending of an output's name selects its format: .npy and .csv hold the \
values, .svg is a plot of the end of the data and its continuation.

Examples:
  gatescan generate runs/series-... --steps 300
  gatescan generate runs/series-... --window --output plot.svg --output values.npy
  gatescan generate model.safetensors --seed-sequence my-series.txt --json
  gatescan generate runs/machines --group m7 --steps 24
  gatescan generate runs/sunspots --steps 33 -o forecast.svg  (continues the table's last row)")]
pub struct Generate {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Values to generate [default: 300, or all steps ahead that the model predicts at once].
    #[arg(
        long,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(..=1 << 30)
    )]
    steps: Option<usize>,
    /// The series to continue: a text file with one number per line, or a table for a model of a
    /// table [default: the data that the model was trained on].
    #[arg(long, value_name = "FILE")]
    seed_sequence: Option<PathBuf>,
    /// The group to continue, for a table with a column of groups [default: the last group in the
    /// file with enough rows for a window].
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Continue the series by this one of several heads.
    #[arg(long, value_name = "NAME")]
    head: Option<String>,
    /// Read the whole last window for every value, instead of carrying the state from step to step.
    #[arg(long)]
    window: bool,
    /// Write the values as .npy or .csv, or a plot as .svg; may be given several times.
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Print one JSON object with `columns`, `seed` (the last window of the data), `values`,
    /// `runs_away_at` (a step, or null) and `band` (the intervals of the first steps, or null).
    #[arg(long)]
    json: bool,
}

/// The steps of a continuation by default.
const STEPS: usize = 300;

/// Leaves out the digits that the network does not resolve.
fn round(model: &Model, seed: &ForecastStart, found: &mut SeriesForecast) {
    let (columns, preparation) = (seed.columns.len(), &model.preparation);
    let significant = |at: usize, value: f64| match &seed.column_inputs {
        Some(inputs) => preparation.significant_input(inputs[at % columns], value),
        None => preparation.significant_output(at % columns, value),
    };
    for values in [&mut found.values, &mut found.history] {
        let each = values.iter_mut().enumerate();
        each.for_each(|(at, value)| *value = significant(at, *value));
    }
    for (at, ends) in found
        .band
        .iter_mut()
        .flat_map(|band| &mut band.ends)
        .enumerate()
    {
        *ends = (significant(at, ends.0), significant(at, ends.1));
    }
}

impl Generate {
    pub fn run(&self, console: &Console) -> Result<()> {
        let formats = self.output.iter().map(|path| Format::of(path));
        let formats = formats.collect::<Result<Vec<_>>>()?;
        for path in &self.output {
            self.overwrite.check(path)?;
        }
        let mut model = load_model(console, &self.model)?;
        if let Some(name) = &self.head {
            model = model.of_head(model.head_named(name)?);
        }
        let seed = self.seed(&model)?;
        self.describe(console, &seed);
        let (device, _) = choose_device(&self.device)?;
        let context = if self.window {
            Context::SlidingWindow(seed.steps)
        } else {
            Context::CarriedState
        };
        let device = OpenDevice::open(&device)?;
        let ahead = model.recipe.data.source().steps_ahead();
        let is_recursive = ahead == 1 && seed.is_continued;
        let steps = self
            .steps
            .unwrap_or(if is_recursive { STEPS } else { ahead });
        let mut found = forecast(&model, &seed, steps, context, &device)?;
        let width = seed.columns.len();
        round(&model, &seed, &mut found);
        let own = found.history[found.history.len().saturating_sub(seed.steps * width)..].to_vec();
        let (values, band) = (found.values.clone(), found.band.clone());
        let diverges_at = found.diverges_at;
        if let Some(step) = diverges_at {
            let row = joined(&values[step * width..(step + 1) * width]);
            console.note(format!(
                "the continuation runs away: at step {} it is {row}, ten times beyond anything in \
                 the seed; the values from there on say nothing about the series",
                step + 1
            ));
        }
        if let Some(band) = band.as_ref().filter(|band| band.ends.len() < values.len()) {
            console.note(format!(
                "the {} is known for the first {} steps, which the model predicts from known values; \
                 later steps read predictions",
                band.name,
                band.ends.len() / width
            ));
        }
        let continuation = Continuation {
            diverges_at: None,
            ..Continuation::new(&seed, found)
        };
        for (path, format) in self.output.iter().zip(formats) {
            let bytes = format.bytes(path, &continuation)?;
            self.overwrite.write_bytes(path, &bytes)?;
            console.say(format!("wrote {}", shown_path(path)));
        }
        if self.json {
            let step = diverges_at.map(|step| step + 1);
            let object = json!({
                "from": seed.origin.to_string(),
                "columns": seed.columns,
                "seed": own,
                "values": values,
                "runs_away_at": step,
                "band": band.map(|band| json!({ "name": band.name, "ends": band.ends })),
            });
            let _ = console.print_json(object)?;
            return Ok(());
        }
        for row in values.chunks(width) {
            if console.print(joined(row))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Generate {
    /// The values to continue.
    fn seed(&self, model: &Model) -> Result<ForecastStart> {
        if !model.network.heads.is_empty() {
            let names = model.network.heads.iter().map(|head| &head.name[..]);
            return Err(Error::usage(format!(
                "the model has several heads ({}), and a series is continued by one; name one of \
                 them with --head",
                names.collect::<Vec<_>>().join(", ")
            )));
        }
        let request = ForecastRequest {
            file: self.seed_sequence.as_deref(),
            group: self.group.as_deref(),
            preparation: &model.preparation,
        };
        let seed = model.recipe.data.source().forecast_start(&request);
        seed.map_err(|error| match (error, &self.group) {
            (Error::Usage(problem), Some(group)) => {
                Error::Usage(format!("--group {group}: {problem}"))
            }
            (error, _) => error,
        })
    }

    /// Says what is continued, and warns of a seed that is shorter than a window of training, which
    /// only a carried state can read.
    fn describe(&self, console: &Console, seed: &ForecastStart) {
        console.say(format!("continues {}", seed.origin));
        if seed.columns.len() > 1 {
            console.say(format!("columns   {}", csv_line(&seed.columns)));
        }
        if self.group.is_none() && seed.groups > 1 {
            console.note(format!(
                "there are {} groups; the last one with enough rows for a window is continued, and \
                 --group NAME continues another",
                seed.groups
            ));
        }
        for note in &seed.notes {
            console.note(format!("warning: {note}"));
        }
        let (rows, steps) = (seed.rows(), seed.steps);
        if rows < steps && !self.window {
            console.note(format!(
                "warning: the seed has {rows} steps, and the model was trained on windows of \
                 {steps}; after fewer steps it is less certain of the next values"
            ));
        }
    }
}

fn joined(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(f64::to_string).collect();
    values.join(",")
}

/// A line for each step: its number, the values, and the ends of their intervals. Unknown ends are
/// empty.
fn continuation_csv(continuation: &Continuation) -> String {
    let Continuation {
        values,
        columns,
        band,
        ..
    } = continuation;
    let width = columns.len();
    let ends = band.as_ref().map(|(_, ends)| ends);
    let names = columns.iter().cloned();
    let of_ends = columns.iter().filter(|_| ends.is_some());
    let of_ends = of_ends.flat_map(|name| ["low", "high"].map(|end| format!("{name}_{end}")));
    let head: Vec<String> = names.chain(of_ends).collect();
    let mut text = format!("step,{}\n", csv_line(&head));
    for (step, row) in values.chunks(width).enumerate() {
        text += &format!("{},{}", step + 1, joined(row));
        for k in (0..width).filter(|_| ends.is_some()) {
            match ends.and_then(|ends| ends.get(step * width + k)) {
                Some((low, high)) => text += &format!(",{low},{high}"),
                None => text += ",,",
            }
        }
        text += "\n";
    }
    text
}

/// The format of an output file.
#[derive(Clone, Copy)]
enum Format {
    Npy,
    Csv,
    Svg,
}

impl Format {
    fn of(path: &Path) -> Result<Format> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("npy") => Ok(Format::Npy),
            Some("csv") => Ok(Format::Csv),
            Some("svg") => Ok(Format::Svg),
            _ => Err(Error::usage(format!(
                "--output {}: its name must end in .npy, .csv or .svg",
                shown_path(path)
            ))),
        }
    }

    /// The contents of a file, which errors call `path`.
    fn bytes(self, path: &Path, continuation: &Continuation) -> Result<Vec<u8>> {
        let Continuation {
            values, columns, ..
        } = continuation;
        match self {
            Format::Npy => {
                let shape = match columns.len() {
                    1 => vec![values.len()],
                    width => vec![values.len() / width, width],
                };
                let unwritable = |error: &dyn std::fmt::Display| {
                    Error::file(path, format!("cannot be written: {error}"))
                };
                let array = ndarray::ArrayView::from_shape(shape, &values[..]);
                let array = array.map_err(|error| unwritable(&error))?;
                let mut bytes = vec![];
                let written = array.write_npy(&mut bytes);
                written.map_err(|error| unwritable(&error))?;
                Ok(bytes)
            }
            Format::Csv => Ok(continuation_csv(continuation).into_bytes()),
            Format::Svg => Ok(continuation.svg()?.into_bytes()),
        }
    }
}
