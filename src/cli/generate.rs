//! `gatescan generate`: continues a series with a model's own predictions.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::data::csv::Csv;
use gatescan::data::preparation::Normal;
use gatescan::data::series::{self, Windows};
use gatescan::error::{Error, Result};
use gatescan::infer::generate::{Memory, generate, runs_away};
use gatescan::low_level::backend::OpenDevice;
use gatescan::model::Model;
use gatescan::recipe::DataRecipe;
use gatescan::report::Continuation;
use serde_json::json;

use super::{choose_device, csv_line, load_model, note, print, say};

/// Continue a series with a model's own predictions
#[derive(Args)]
#[command(after_help = "\
The values are printed, one on each line. What is written to depends on the ending of its name: .npy and .csv hold the values, \
.svg is a plot of the seed and its continuation.

Examples:
  gatescan generate runs/series-... --steps 300
  gatescan generate runs/series-... --window --output plot.svg --output values.npy
  gatescan generate model.safetensors --seed-sequence my-series.txt --json
  gatescan generate runs/sunspots --steps 33 -o forecast.svg      (a table's forecast goes on from its last row)")]
pub struct Generate {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Values to make.
    #[arg(long, value_name = "N", default_value_t = 300)]
    steps: usize,
    /// A text file with a number on each line, or for a model of a table one of its form, which is continued [default: the first
    /// window of the model's own series, or the last one of its table].
    #[arg(long, value_name = "FILE")]
    seed_sequence: Option<PathBuf>,
    /// Read the last window anew for every value, rather than carry the state from step to step.
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
    pub fn run(&self) -> Result<()> {
        let formats = self
            .output
            .iter()
            .map(|path| Format::of(path))
            .collect::<Result<Vec<_>>>()?;
        let model = load_model(&self.model)?;
        let Seed {
            values: seed,
            mut history,
            steps,
            columns,
        } = Seed::new(&model, self.seed_sequence.as_deref())?;
        let (device, _) = choose_device(&self.device)?;
        let memory = match self.window {
            true => Memory::SlidingWindow(steps),
            false => Memory::CarriedState,
        };
        let mut values = generate(
            &model,
            &seed,
            self.steps,
            memory,
            &OpenDevice::open(&device)?,
        )?;
        let away = runs_away(&seed, &values).map(|at| at / columns.len());
        for numbers in [&mut values, &mut history] {
            Normal::undo_all(&model.preparation.targets, numbers);
        }
        let rows = || values.chunks(columns.len());
        if let Some(step) = away {
            note(format!(
                "the continuation runs away: at step {} it is {}, ten times beyond anything in the seed; \
                 what follows says nothing about the series",
                step + 1,
                joined(&values[step * columns.len()..(step + 1) * columns.len()])
            ));
        }
        for (path, format) in self.output.iter().zip(formats) {
            format.write(path, &history, &values, &columns)?;
            say(format!("wrote {}", path.display()));
        }
        if self.json {
            let _ = print(
                json!({ "seed": history, "values": values, "runs_away_at": away.map(|step| step + 1) }),
            )?;
            return Ok(());
        }
        for row in rows() {
            if print(joined(row))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// What is continued.
pub struct Seed {
    /// As the network reads it.
    pub values: Vec<f32>,
    /// What is shown of it, and of what came before.
    pub history: Vec<f32>,
    /// T of the model.
    pub steps: usize,
    pub columns: Vec<String>,
}

impl Seed {
    /// The beginning of `file`, or of the model's own series; of a table the end.
    pub fn new(model: &Model, file: Option<&Path>) -> Result<Seed> {
        let (path, steps, resolution, range) = match &model.recipe.data {
            DataRecipe::Csv(csv) => return Seed::last_rows(model, csv, file),
            DataRecipe::Series {
                path,
                steps,
                resolution,
                range,
                ..
            } => (path, *steps, *resolution, *range),
            _ => {
                return Err(Error::Data(
                    "this model was not trained on a series (see the recipe `series`)".into(),
                ));
            }
        };
        let windows = Windows {
            steps,
            resolution,
            range,
        };
        let values = match (file, path) {
            (Some(file), _) => series::read(file)?,
            (None, Some(file)) => series::read(file)?.into_iter().take(steps).collect(),
            (None, None) => windows.first(),
        };
        Ok(Seed {
            history: values.clone(),
            values,
            steps,
            columns: vec!["value".into()],
        })
    }

    /// The end of a table, of the last series where there are several.
    fn last_rows(model: &Model, csv: &Csv, file: Option<&Path>) -> Result<Seed> {
        if csv.inputs != csv.targets || csv.horizon != 1 {
            return Err(Error::Data(format!(
                "the model reads {} and answers with {}, {} rows on; to continue a table it must answer with what it reads next: \
                 data.targets the same as data.inputs, and data.horizon = 1. `gatescan predict` gives its answers.",
                csv.inputs.join(", "),
                csv.targets.join(", "),
                csv.horizon
            )));
        }
        let path = file.unwrap_or(&csv.path);
        let series = csv.series(path, &model.preparation)?;
        let Some(last) = series.last() else {
            return Err(Error::file(path, "there is no row to continue"));
        };
        let end_of = |rows: usize| {
            let rows = rows.min(last.rows());
            last.inputs[last.inputs.len() - rows * csv.inputs.len()..].to_vec()
        };
        let steps = csv.steps.unwrap_or(last.rows());
        Ok(Seed {
            values: end_of(steps),
            // Seen before what is to come, so that an eye can judge it.
            history: end_of(steps.saturating_mul(4)),
            steps,
            columns: csv.inputs.clone(),
        })
    }
}

fn joined(values: &[f32]) -> String {
    let values: Vec<String> = values.iter().map(f32::to_string).collect();
    values.join(",")
}

/// What a file is written as.
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
