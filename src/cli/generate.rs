//! `gatescan generate`: continues a series with a model's own predictions.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::checkpoint::SavedModel;
use gatescan::data::series::{self, Windows};
use gatescan::error::{Error, Result};
use gatescan::generate::{Memory, generate, runs_away};
use gatescan::place::Place;
use gatescan::recipe::DataRecipe;
use plotters::prelude::*;
use serde_json::json;

use super::{choose_device, load_model, note, print, say};

/// Continue a series with a model's own predictions
#[derive(Args)]
#[command(after_help = "\
The values are printed, one on each line. What is written to depends on the ending of its name: .npy and .csv hold the values, \
.svg is a plot of the seed and its continuation.

Examples:
  gatescan generate runs/series-... --steps 300
  gatescan generate runs/series-... --window --output plot.svg --output values.npy
  gatescan generate model.safetensors --seed-sequence my-series.txt --json")]
pub struct Generate {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Values to make.
    #[arg(long, value_name = "N", default_value_t = 300)]
    steps: usize,
    /// A text file with a number on each line, which is continued [default: the first window of the model's own series].
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
        let (seed, steps) = self.seed(&model)?;
        let (device, _) = choose_device(&self.device)?;
        let memory = match self.window {
            true => Memory::SlidingWindow(steps),
            false => Memory::CarriedState,
        };
        let values = generate(&model, &seed, self.steps, memory, &Place::open(&device)?)?;
        let away = runs_away(&seed, &values);
        if let Some(step) = away {
            note(format!(
                "the continuation runs away: at step {} it is {}, ten times beyond anything in the seed; \
                 what follows says nothing about the series",
                step + 1,
                values[step]
            ));
        }
        for (path, format) in self.output.iter().zip(formats) {
            format.write(path, &seed, &values)?;
            say(format!("wrote {}", path.display()));
        }
        if self.json {
            let _ = print(
                json!({ "seed": seed, "values": values, "runs_away_at": away.map(|step| step + 1) }),
            )?;
            return Ok(());
        }
        for value in &values {
            if print(value)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The values to continue, and the window that the model was trained on.
    fn seed(&self, model: &SavedModel) -> Result<(Vec<f32>, usize)> {
        let DataRecipe::Series {
            path,
            steps,
            resolution,
            range,
            ..
        } = &model.recipe.data
        else {
            return Err(Error::Training(
                "this model was not trained on a series (see the recipe `series`)".into(),
            ));
        };
        let windows = Windows {
            steps: *steps,
            resolution: *resolution,
            range: *range,
        };
        let seed = match (&self.seed_sequence, path) {
            (Some(file), _) => series::read(file)?,
            (None, Some(file)) => series::read(file)?.into_iter().take(*steps).collect(),
            (None, None) => windows.first(),
        };
        Ok((seed, *steps))
    }
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

    fn write(self, path: &Path, seed: &[f32], values: &[f32]) -> Result<()> {
        let unwritable = |error: &dyn std::fmt::Display| {
            Error::file(path, format!("cannot be written: {error}"))
        };
        match self {
            Format::Npy => ndarray_npy::write_npy(path, &ndarray::ArrayView1::from(values))
                .map_err(|error| unwritable(&error)),
            Format::Csv => {
                let lines = values
                    .iter()
                    .enumerate()
                    .map(|(step, value)| format!("{},{value}\n", step + 1));
                let text = format!("step,value\n{}", lines.collect::<String>());
                fs::write(path, text).map_err(|error| unwritable(&error))
            }
            Format::Svg => plot(path, seed, values).map_err(|error| unwritable(&error)),
        }
    }
}

/// The seed and its continuation as one curve in two colours.
fn plot(
    path: &Path,
    seed: &[f32],
    values: &[f32],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let finite = || {
        seed.iter()
            .chain(values)
            .copied()
            .filter(|value| value.is_finite())
    };
    let (low, high) = finite().fold((f32::MAX, f32::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let margin = ((high - low) * 0.05).max(1e-6);
    let area = SVGBackend::new(path, (900, 360)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(48)
        .build_cartesian_2d(0..seed.len() + values.len(), low - margin..high + margin)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("value")
        .light_line_style(TRANSPARENT)
        .draw()?;
    let (blue, orange) = (RGBColor(0, 114, 178), RGBColor(213, 94, 0));
    let points = |start: usize, values: &[f32]| -> Vec<(usize, f32)> {
        values
            .iter()
            .enumerate()
            .map(|(n, &value)| (start + n, value))
            .filter(|point| point.1.is_finite())
            .collect()
    };
    let mut continued = points(seed.len() - 1, &seed[seed.len() - 1..]);
    continued.extend(points(seed.len(), values));
    for (name, colour, line) in [
        ("continuation", orange, continued),
        ("seed", blue, points(0, seed)),
    ] {
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    area.present()?;
    Ok(())
}
