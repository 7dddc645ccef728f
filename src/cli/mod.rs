//! Arguments and printing, one file for each subcommand; nothing else prints.

mod bench;
mod comparison;
mod devices;
mod eval;
mod export;
mod generate;
mod import;
mod init;
mod predict;
mod profile;
mod recipes;
mod report;
mod run_directory;
mod sample;
mod shell;
mod train;
#[cfg_attr(not(feature = "tui"), path = "no_tui.rs")]
mod tui;
mod verify;

use std::fmt::{self, Display};
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use gatescan::error::{Error, Result};
use gatescan::low_level::backend::OpenDevice;
use gatescan::low_level::backend::adapters;
use gatescan::low_level::backend::device::{self, Device};
use gatescan::low_level::backend::tuning::Tuning;
use gatescan::model::Model;
use gatescan::recipe::DataRecipe;
use gatescan::train::Evaluation;
use gatescan::train::checkpoints::Checkpoints;

/// Trains recurrent networks (RNN, LSTM, GRU) on any GPU that Vulkan, Metal or DX12 reaches, and on the CPU.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  gatescan init mine.csv                look at data of your own, and write a recipe for them
  gatescan train mnist                  train a built-in recipe
  gatescan recipes mnist > mine.toml    copy it, to edit and train as `gatescan train mine.toml`
  gatescan eval runs/mnist-...          evaluate the model of a run
  gatescan predict runs/mine-... new.csv    what a model answers to data
  gatescan report runs/mnist-...        see how runs went, on a page
  gatescan generate runs/series-...     continue a series with a model's own predictions
  gatescan sample runs/text-...         write text as a model has learnt to
  gatescan export runs/mnist-... --to onnx    write a model for ONNX, PyTorch or Keras
  gatescan verify                       check every kernel on this machine's device
  gatescan profile mnist                see where the time of a training step goes
  gatescan bench                        measure training steps at named shapes
  gatescan devices                      what --device can take"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print only results, warnings and errors.
    #[arg(long, global = true)]
    quiet: bool,
}

/// Whether `--quiet` was given.
static QUIET: AtomicBool = AtomicBool::new(false);

#[derive(Subcommand)]
enum Command {
    Train(train::Train),
    Eval(eval::Eval),
    Predict(predict::Predict),
    Generate(generate::Generate),
    Sample(sample::Sample),
    Init(init::Init),
    Export(export::Export),
    Import(import::Import),
    Profile(profile::Profile),
    Bench(bench::Bench),
    Report(report::Report),
    Recipes(recipes::Recipes),
    Verify(verify::Verify),
    Devices(devices::Devices),
    Completions(shell::Completions),
    Man(shell::Manual),
}

/// Does what the arguments ask for, in a process that began at `start`.
pub fn run(cli: &Cli, start: Instant) -> Result<()> {
    QUIET.store(cli.quiet, Ordering::Relaxed);
    match &cli.command {
        Command::Train(train) => train.run(start),
        Command::Eval(eval) => eval.run(),
        Command::Predict(predict) => predict.run(),
        Command::Generate(generate) => generate.run(),
        Command::Sample(sample) => sample.run(),
        Command::Init(init) => init.run(),
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
        Command::Profile(profile) => profile.run(),
        Command::Bench(bench) => bench.run(),
        Command::Report(report) => report.run(),
        Command::Recipes(recipes) => recipes.run(),
        Command::Verify(verify) => verify.run(),
        Command::Devices(devices) => devices.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(manual) => manual.run(),
    }
}

/// Whether only results, warnings and errors are to be printed.
fn quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Writes a line of what is going on to standard error, unless that is to be quiet.
fn say(line: impl Display) {
    if !quiet() {
        note(line);
    }
}

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// Writes a line there, or keeps it while `--tui` has the terminal.
fn write(stream: Stream, line: &impl Display) -> io::Result<()> {
    if tui::hold(stream, line) {
        return Ok(());
    }
    match stream {
        Stream::Out => {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{line}").and_then(|()| stdout.flush())
        }
        Stream::Err => writeln!(io::stderr(), "{line}"),
    }
}

/// Writes a warning or an error to standard error.
pub fn note(line: impl Display) {
    // Where that is closed there is nobody left to tell.
    let _ = write(Stream::Err, &line);
}

/// Writes a line to standard output. A reader that has gone, as `head` does, is no error but a `Break`.
fn print(line: impl Display) -> Result<ControlFlow<()>> {
    match write(Stream::Out, &line) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Error::file(
            "standard output",
            format!("cannot be written: {error}"),
        )),
    }
}

/// A line of CSV: cells with a comma, a quote or a line's end are quoted.
fn csv_line(cells: &[String]) -> String {
    let cells = cells
        .iter()
        .map(|cell| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        });
    cells.collect::<Vec<_>>().join(",")
}

/// Rows in columns: the first `left` of them begin, the others end, below each other.
fn aligned<const N: usize>(rows: &[[String; N]], left: usize) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).enumerate();
        let padded = cells.map(|(column, (cell, width))| match column < left {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        let line = padded.collect::<Vec<_>>().join("  ");
        line.trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The model of a file or of a run directory: that of its newest checkpoint where it has none of its own yet.
fn load_model(model: &Path) -> Result<Model> {
    let path = match model.is_dir() {
        true => model.join(run_directory::MODEL),
        false => model.to_path_buf(),
    };
    if path.is_file() {
        return Model::load(&path);
    }
    let found = Checkpoints::find(&model.join(run_directory::CHECKPOINTS))?;
    found.damaged.iter().for_each(note);
    let Some((checkpoint_path, checkpoint)) = found.newest else {
        let problem =
            "there is no such file; name a model.safetensors or the run directory that holds one";
        return Err(Error::file(path, problem));
    };
    say(format!(
        "there is no model yet; taken from {}",
        checkpoint_path.display()
    ));
    Ok(checkpoint.model())
}

/// Takes the device that `--device` asks for, and says which and why.
fn choose_device(request: &str) -> Result<(Device, String)> {
    // Looking for adapters wakes drivers, which the CPU can do without.
    let adapters = match request.eq_ignore_ascii_case("cpu") {
        true => Vec::new(),
        false => adapters(),
    };
    let (device, why) = device::choose(request, &adapters)?;
    Ok((device, format!("{}, since {why}", device_name(device))))
}

/// How programs are played on a device.
#[derive(Args)]
struct Tune {
    #[arg(
        long = "tune",
        value_name = "NAME=VALUE",
        help = format!("Change how programs run on the device: {}", Tuning::settings_help())
    )]
    settings: Vec<String>,
}

/// Opens a device, tuned.
fn open(device: &Device, tune: &Tune) -> Result<OpenDevice> {
    let tuned = OpenDevice::open(device)?.tuned(&tune.settings);
    tuned.map_err(|error| Error::usage(format!("--tune {error}")))
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => format!("CPU with {} threads", rayon::current_num_threads()),
        Device::Gpu(index) => format!("GPU {index}"),
    }
}

/// What `--data` names must be where it was said to be, and is not searched for elsewhere.
fn check_data_path(data: &DataRecipe, path: &Path) -> Result<()> {
    let (there, problem) = match data {
        DataRecipe::Idx { .. } => (
            path.is_dir(),
            "--data: there is no such directory; it must hold the IDX files of the data set",
        ),
        DataRecipe::Series { .. } => (
            path.is_file(),
            "--data: there is no such file; it must hold a number on each line",
        ),
        DataRecipe::Csv(_) => (
            path.is_file(),
            "--data: there is no such file; it must hold a table with the columns that the recipe names",
        ),
        DataRecipe::Npy(_) => (
            path.exists(),
            "--data: there is no such file; it must be an .npz file, or a directory of .npy files",
        ),
        DataRecipe::Text(_) => (
            path.is_file(),
            "--data: there is no such file; it must be a text",
        ),
        DataRecipe::Arrays {} => (
            false,
            "--data: the model was trained on arrays of a program that uses the library, and reads no files",
        ),
    };
    if there {
        Ok(())
    } else {
        Err(Error::file(path, problem))
    }
}

/// `loss 0.1234 accuracy 0.9512 last step 2.345e-4`, the latter two where there are such.
struct Scores {
    loss: f64,
    accuracy: Option<f64>,
    last_step_loss: Option<f64>,
}

impl From<&Evaluation> for Scores {
    fn from(evaluation: &Evaluation) -> Scores {
        Scores {
            loss: evaluation.loss,
            accuracy: evaluation.accuracy,
            last_step_loss: evaluation.last_step_loss,
        }
    }
}

impl Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss {}", loss_text(self.loss))?;
        if let Some(accuracy) = self.accuracy {
            write!(f, " accuracy {accuracy:.4}")?;
        }
        if let Some(loss) = self.last_step_loss {
            write!(f, " last step {}", loss_text(loss))?;
        }
        Ok(())
    }
}

/// Four digits, of a small loss too: squared errors are.
fn loss_text(loss: f64) -> String {
    match loss < 0.01 {
        true => format!("{loss:.3e}"),
        false => format!("{loss:.4}"),
    }
}
