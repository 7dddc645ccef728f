//! The command line: arguments and printing, one file for each subcommand; nothing else prints.
//! [`run_arguments`] is the program `gatescan`, for packages that bring it along.

mod backtest;
mod bench;
mod bench_distributed;
mod calibration;
mod comparison;
mod confusion;
mod console;
mod devices;
mod eval;
mod export;
mod generate;
mod import;
mod init;
#[cfg_attr(not(feature = "gpu"), path = "no_interpret.rs")]
mod interpret;
mod line_threads;
mod lr_find;
mod metrics;
mod output;
mod predict;
mod predict_lists;
mod profile;
mod ranks;
mod recipes;
mod report;
mod sample;
mod shell;
mod train;
#[cfg_attr(not(feature = "tui"), path = "no_tui.rs")]
mod tui;
mod tune;
mod tune_device;
mod verify;
mod web;

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use gatescan::low_level::backend::adapters;
use gatescan::low_level::backend::device;
use gatescan::low_level::backend::tuning::Tuning;
use gatescan::low_level::io::memory_limit;
use gatescan::low_level::messages::{printable, shown_path};
use gatescan::recipe::Precision;
use gatescan::run;
use gatescan::{DataRecipe, Device, Error, Model, OpenDevice, Recipe, Result};

use console::Console;

/// Trains recurrent networks (RNN, LSTM, GRU) on any GPU that Vulkan, Metal or DX12 reaches, and on
/// the CPU.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  gatescan init mine.csv                inspect your own data and write a recipe for them
  gatescan train mnist                  train a built-in recipe
  gatescan recipes mnist > mine.toml    copy a recipe, to edit and train it
  gatescan lr-find mine.toml            find a learning rate
  gatescan tune mine.toml               search for hyperparameters
  gatescan eval runs/mnist-...          evaluate the model of a run
  gatescan predict runs/mine-... new.csv    predict with a model
  gatescan report runs/mnist-...        draw the curves and predictions of a run
  gatescan generate runs/series-...     continue a series with the model's predictions
  gatescan backtest runs/mine-...       judge a forecast on parts of its test split
  gatescan sample runs/text-...         write text with a language model
  gatescan export runs/mnist-... --to onnx    convert a model to ONNX, PyTorch or Keras
  gatescan verify                       check every kernel against the CPU in f64
  gatescan web --serve                  train MNIST in a browser through WebGPU
  gatescan profile mnist                time each kernel call of a training step
  gatescan bench                        measure training steps, kernels and scans
  gatescan devices                      list the values of --device
  gatescan tune-device                  measure how programs run fastest on the GPU"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print only results, warnings and errors.
    #[arg(long, global = true)]
    quiet: bool,
    /// The most memory that the data of a file may take, unpacked and prepared, such as 4GiB
    /// [default: a quarter of the free memory].
    #[arg(long, global = true, value_name = "SIZE", value_parser = memory_limit::parse_bytes)]
    max_memory: Option<u64>,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Train),
    LrFind(lr_find::LrFind),
    Tune(tune::TuneRecipe),
    Eval(eval::Eval),
    Predict(predict::Predict),
    Generate(generate::Generate),
    Backtest(backtest::Backtest),
    Sample(sample::Sample),
    Init(init::Init),
    Export(export::Export),
    Import(import::Import),
    Profile(profile::Profile),
    Bench(bench::Bench),
    Report(report::Report),
    Recipes(recipes::Recipes),
    Verify(verify::Verify),
    Web(web::Web),
    Devices(devices::Devices),
    TuneDevice(tune_device::TuneDevice),
    Completions(shell::Completions),
    Man(shell::Manual),
}

/// The name by which this program was called.
static PROGRAM: OnceLock<OsString> = OnceLock::new();

/// Runs the command that arguments name, of which the first is the program's name, and prints its
/// error if it has one. Returns 0, 2 for wrong usage, or 1 for what failed at run time. It sets
/// handlers of the process for Ctrl-C and SIGTERM where the command has one.
pub fn run_arguments<A>(arguments: impl IntoIterator<Item = A>) -> u8
where
    A: Into<OsString>,
{
    let start = Instant::now();
    let mut arguments = arguments.into_iter().map(Into::<OsString>::into);
    let program = arguments.next().unwrap_or_else(|| "gatescan".into());
    let program = PROGRAM.get_or_init(|| program).clone();
    let arguments: Vec<OsString> = arguments.collect();
    match Cli::try_parse_from([&program].into_iter().chain(&arguments)) {
        Ok(cli) => {
            // The processes of a distributed run divide the cores among them.
            let is_distributed = match &cli.command {
                Command::Train(train) => train.is_distributed(),
                Command::Bench(bench) => bench.is_distributed(),
                _ => false,
            };
            if !is_distributed {
                start_threads();
            }
            run(&cli, start)
        }
        Err(error) => {
            let names = ["--distributed", "distributed"];
            let is_distributed = |argument| names.iter().any(|name| argument == name);
            if arguments.iter().any(is_distributed) {
                ranks::wait_for_first_rank();
            }
            // Help and the version are errors too, which are printed to standard output.
            let _ = error.print();
            if error.use_stderr() { 2 } else { 0 }
        }
    }
}

/// Starts the threads that compute. Fails, and leaves the threads as they are, where a program that
/// brings the command line along has started its own.
fn start_threads() {
    let threads = gatescan::low_level::backend::cpu::threads();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let _ = pool.build_global();
}

/// Runs the command of a process that began at `start`, and prints its error if it has one.
fn run(cli: &Cli, start: Instant) -> u8 {
    let console = Console::new(cli.quiet);
    if let Some(bytes) = cli.max_memory {
        memory_limit::set_limit(bytes);
    }
    let code = match run_command(&cli.command, &console, start) {
        Ok(()) => 0,
        Err(error) => {
            console.note(format!("error: {}", explained(&error)));
            error.exit_code()
        }
    };
    console.finish();
    code
}

/// The text of an error, with flags in place of the fields of the library.
fn explained(error: &Error) -> String {
    match error {
        Error::Undecided {
            path,
            problem,
            decision,
        } => {
            let path = shown_path(path);
            let problem = printable(problem);
            format!("{path}: {problem}; {}", init::decide(*decision, &path))
        }
        _ => error.to_string(),
    }
}

fn run_command(command: &Command, console: &Console, start: Instant) -> Result<()> {
    match command {
        Command::Train(train) => train.run(console, start),
        Command::LrFind(find) => find.run(console),
        Command::Tune(tune) => tune.run(console),
        Command::Eval(eval) => eval.run(console),
        Command::Predict(predict) => predict.run(console),
        Command::Generate(generate) => generate.run(console),
        Command::Backtest(backtest) => backtest.run(console),
        Command::Sample(sample) => sample.run(console),
        Command::Init(init) => init.run(console),
        Command::Export(export) => export.run(console),
        Command::Import(import) => import.run(console),
        Command::Profile(profile) => profile.run(console),
        Command::Bench(bench) => bench.run(console),
        Command::Report(report) => report.run(console),
        Command::Recipes(recipes) => recipes.run(console),
        Command::Verify(verify) => verify.run(console),
        Command::Web(web) => web.run(console),
        Command::Devices(devices) => devices.run(console),
        Command::TuneDevice(tuner) => tuner.run(console),
        Command::Completions(completions) => completions.run(console),
        Command::Man(manual) => manual.run(console),
    }
}

/// A line of CSV. Cells with a comma, a quote or a line break are quoted.
fn csv_line(cells: &[String]) -> String {
    let quoted = |cell: &String| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    cells.iter().map(quoted).collect::<Vec<_>>().join(",")
}

/// Rows in columns: the first `left` columns are aligned to the left, the others to the right.
fn aligned<Row: AsRef<[String]>>(rows: &[Row], left: usize) -> String {
    let rows = rows.iter().map(|row| {
        let cells = row.as_ref().iter();
        cells.map(|cell| printable(cell)).collect()
    });
    let rows: Vec<Vec<Cow<str>>> = rows.collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<Cow<str>>| {
        let cells = row.iter().zip(&widths).enumerate();
        let padded = cells.map(|(column, (cell, &width))| {
            if column < left {
                format!("{cell}{}", padding(cell, width))
            } else {
                format!("{}{cell}", padding(cell, width))
            }
        });
        let line = padded.collect::<Vec<_>>().join("  ");
        line.trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The blanks that widen a cell to `width` characters. Formatting has a largest width, and a cell
/// from outside may have any.
fn padding(cell: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(cell.chars().count()))
}

/// Loads the model of a file or of a run directory. A run that has no model yet has that of its
/// newest checkpoint.
fn load_model(console: &Console, path: &Path) -> Result<Model> {
    let (model, checkpoint) = run::load_model(path, &mut |problem| console.note(problem))?;
    if let Some(checkpoint) = checkpoint {
        let checkpoint = shown_path(&checkpoint);
        console.say(format!("there is no model yet; taken from {checkpoint}"));
    }
    Ok(model)
}

/// The device that `--device` requests, and a line on which it is and why.
fn choose_device(request: &str) -> Result<(Device, String)> {
    choose_device_of(request, 0)
}

/// [`choose_device`] for one of several processes of a machine: for `auto` and `gpu`, they take its
/// GPUs of one kind in turn.
fn choose_device_of(request: &str, local_rank: usize) -> Result<(Device, String)> {
    // The search for adapters starts drivers, which the CPU does not need.
    let adapters = if request.eq_ignore_ascii_case("cpu") {
        Vec::new()
    } else {
        adapters()
    };
    let chosen = device::choose(request, &adapters).map(|(device, why)| {
        match device::in_turn(request, device, &adapters, local_rank) {
            Some(adapter) => {
                let why = format!("{} is the turn of local rank {local_rank}", adapter.label());
                (Device::Gpu(adapter.index), why)
            }
            None => (device, why),
        }
    });
    let (device, why) = chosen.map_err(|error| {
        if error.is_usage() {
            Error::usage(format!(
                "--device {request}: {error} (see `gatescan devices`)"
            ))
        } else {
            error
        }
    })?;
    Ok((device, format!("{}, since {why}", device_name(device))))
}

/// How programs are run on a device.
#[derive(Args, Clone)]
struct Tune {
    #[arg(
        long = "tune",
        value_name = "NAME=VALUE",
        help = format!("Change how programs run on the device: {}", Tuning::settings_help())
    )]
    settings: Vec<String>,
}

impl Tune {
    /// Returns the device with the settings applied.
    fn apply(&self, device: OpenDevice) -> Result<OpenDevice> {
        let tuned = device.tuned(&self.settings);
        tuned.map_err(|error| Error::usage(format!("--tune {error}")))
    }
}

/// The precision of matmuls, where no recipe decides it.
#[derive(Args)]
struct MatmulPrecision {
    /// To what the CPU rounds the operands of matmuls: f32 (not at all) or bf16.
    #[arg(long, value_name = "PRECISION", default_value = "f32", value_parser = precision_parser())]
    precision: Precision,
}

impl MatmulPrecision {
    /// Refuses another precision than f32 for `device`.
    fn check_default(&self, device: &str) -> Result<()> {
        if self.precision == Precision::F32 {
            return Ok(());
        }
        Err(Error::usage(format!(
            "--precision {}: only the CPU computes with it, and the device is {device}; use \
             --device cpu",
            self.precision.name()
        )))
    }
}

fn precision_parser() -> impl TypedValueParser<Value = Precision> {
    let names = Precision::ALL.map(Precision::name);
    PossibleValuesParser::new(names).map(|chosen| {
        let mut all = Precision::ALL.into_iter();
        let found = all.find(|precision| precision.name() == chosen);
        found.unwrap_or_default()
    })
}

/// Opens a device with the settings that `gatescan tune-device` has remembered for it, then those
/// of `--tune`.
fn open(device: &Device, tune: &Tune) -> Result<OpenDevice> {
    let opened = OpenDevice::open(device)?;
    let remembered = opened.remembered_settings().unwrap_or_default();
    let tuned = opened.tuned(&remembered).map_err(|error| {
        Error::usage(format!(
            "the remembered setting {error}; measure again with `gatescan tune-device`, or forget \
             it with `gatescan tune-device --forget`"
        ))
    })?;
    tune.apply(tuned)
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => format!("CPU with {} threads", rayon::current_num_threads()),
        Device::Gpu(index) => format!("GPU {index}"),
    }
}

/// Returns an error where the path of `--data` does not exist or is of the wrong kind.
fn check_data_path(data: &DataRecipe, path: &Path) -> Result<()> {
    let checked = data.source().expected_path().check(path);
    checked.map_err(|problem| Error::file(path, format!("--data: {problem}")))
}

/// Changes fields of a recipe by the assignments of `--set`.
fn set_fields(recipe: &mut Recipe, assignments: &[String]) -> Result<()> {
    recipe.set(assignments).map_err(|error| match error {
        Error::Usage(problem) => Error::Usage(format!("--set {problem}")),
        other => other,
    })
}
