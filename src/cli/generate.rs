//! `gatescan generate`: continues a series with a model's own predictions.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::data::preparation::Normal;
use gatescan::infer::generate::{Context, diverges_at, generate};
use gatescan::report::Continuation;
use gatescan::{Error, OpenDevice, Result};
use serde_json::json;

use super::console::Console;
use super::{choose_device, csv_line, load_model};

/// Continue a series with a model's predictions
#[derive(Args)]
#[command(after_help = "\
The values are printed, one on each line. The ending of an output's name selects its format: .npy \
and .csv hold the values, .svg is a plot of the seed and its continuation.

Examples:
  gatescan generate runs/series-... --steps 300
  gatescan generate runs/series-... --window --output plot.svg --output values.npy
  gatescan generate model.safetensors --seed-sequence my-series.txt --json
  gatescan generate runs/sunspots --steps 33 -o forecast.svg  (continues the table's last row)")]
pub struct Generate {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Values to generate.
    #[arg(long, value_name = "N", default_value_t = 300)]
    steps: usize,
    /// The series to continue: a text file with one number per line, or a table for a model of a
    /// table [default: the first window of the series, or the last window of the table, that the
    /// model was trained on].
    #[arg(long, value_name = "FILE")]
    seed_sequence: Option<PathBuf>,
    /// Read the whole last window for every value, instead of carrying the state from step to step.
    #[arg(long)]
    window: bool,
    /// Write the values as .npy or .csv, or a plot as .svg; may be given several times.
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Print one JSON object with `seed`, `values` and `runs_away_at` (a step, or null).
    #[arg(long)]
    json: bool,
}

impl Generate {
    pub fn run(&self, console: &Console) -> Result<()> {
        let formats = self.output.iter().map(|path| Format::of(path));
        let formats = formats.collect::<Result<Vec<_>>>()?;
        let model = load_model(console, &self.model)?;
        let data = model.recipe.data.source();
        let seed = data.forecast_start(self.seed_sequence.as_deref(), &model.preparation)?;
        let (device, _) = choose_device(&self.device)?;
        let context = if self.window {
            Context::SlidingWindow(seed.steps)
        } else {
            Context::CarriedState
        };
        let device = OpenDevice::open(&device)?;
        let mut values = generate(&model, &seed.values, self.steps, context, &device)?;
        let width = seed.columns.len();
        let diverges_at = diverges_at(&seed.values, &values).map(|value| value / width);
        let mut history = seed.history;
        for values in [&mut values, &mut history] {
            Normal::undo_all(&model.preparation.targets, values);
        }
        if let Some(step) = diverges_at {
            let row = joined(&values[step * width..(step + 1) * width]);
            console.note(format!(
                "the continuation runs away: at step {} it is {row}, ten times beyond anything in \
                 the seed; the values from there on say nothing about the series",
                step + 1
            ));
        }
        for (path, format) in self.output.iter().zip(formats) {
            format.write(path, &history, &values, &seed.columns)?;
            console.say(format!("wrote {}", path.display()));
        }
        if self.json {
            let step = diverges_at.map(|step| step + 1);
            let object = json!({ "seed": history, "values": values, "runs_away_at": step });
            let _ = console.print(object)?;
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

fn joined(values: &[f32]) -> String {
    let values: Vec<String> = values.iter().map(f32::to_string).collect();
    values.join(",")
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
                path.display()
            ))),
        }
    }

    fn write(self, path: &Path, seed: &[f32], values: &[f32], columns: &[String]) -> Result<()> {
        let unwritable = |error: &dyn std::fmt::Display| {
            Error::file(path, format!("cannot be written: {error}"))
        };
        match self {
            Format::Npy => {
                let shape = match columns.len() {
                    1 => vec![values.len()],
                    width => vec![values.len() / width, width],
                };
                let array = ndarray::ArrayView::from_shape(shape, values);
                let array = array.map_err(|error| unwritable(&error))?;
                ndarray_npy::write_npy(path, &array).map_err(|error| unwritable(&error))
            }
            Format::Csv => {
                let rows = values.chunks(columns.len()).enumerate();
                let lines = rows.map(|(step, row)| format!("{},{}\n", step + 1, joined(row)));
                let head = csv_line(columns);
                let text = format!("step,{head}\n{}", lines.collect::<String>());
                fs::write(path, text).map_err(|error| unwritable(&error))
            }
            Format::Svg => {
                let continuation = Continuation {
                    history: seed.to_vec(),
                    values: values.to_vec(),
                    columns: columns.to_vec(),
                    diverges_at: None,
                };
                fs::write(path, continuation.svg()?).map_err(|error| unwritable(&error))
            }
        }
    }
}
