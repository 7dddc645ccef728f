//! Arguments and printing, one file for each subcommand; nothing else prints.

mod devices;
mod eval;
mod recipes;
mod run_directory;
mod train;

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::Path;

use clap::{Parser, Subcommand};
use gatescan::device::{self, Device};
use gatescan::error::{Error, Result};
use gatescan::gpu;

/// Trains recurrent networks (RNN, LSTM, GRU) on any GPU that Vulkan, Metal or DX12 reaches, and on the CPU.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  gatescan train mnist                  train a built-in recipe
  gatescan recipes mnist > mine.toml    copy it, to edit and train as `gatescan train mine.toml`
  gatescan eval runs/mnist-...          evaluate the model of a run
  gatescan devices                      what --device can take"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Train),
    Eval(eval::Eval),
    Recipes(recipes::Recipes),
    Devices(devices::Devices),
}

/// Does what the arguments ask for.
pub fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Train(train) => train.run(),
        Command::Eval(eval) => eval.run(),
        Command::Recipes(recipes) => recipes.run(),
        Command::Devices(devices) => devices.run(),
    }
}

/// Writes a line to standard error.
pub fn note(line: impl Display) {
    // Where that is closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a line to standard output. A reader that has gone, as `head` does, is no error but a `Break`.
fn print(line: impl Display) -> Result<ControlFlow<()>> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Error::file(
            "standard output",
            format!("cannot be written: {error}"),
        )),
    }
}

/// Takes the device that `--device` asks for, and says which and why.
fn choose_device(request: &str) -> Result<(Device, String)> {
    // Looking for adapters wakes drivers, which the CPU can do without.
    let adapters = match request.eq_ignore_ascii_case("cpu") {
        true => Vec::new(),
        false => gpu::adapters(),
    };
    let (device, why) = device::choose(request, &adapters)?;
    Ok((device, format!("{}, since {why}", device_name(device))))
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => format!("CPU with {} threads", rayon::current_num_threads()),
        Device::Gpu(index) => format!("GPU {index}"),
    }
}

/// A directory that was asked for must be where it was said to be, and is not searched for elsewhere.
fn check_data_directory(directory: &Path) -> Result<()> {
    match directory.is_dir() {
        true => Ok(()),
        false => Err(Error::file(
            directory,
            "--data: there is no such directory; it must hold the IDX files of the data set",
        )),
    }
}

/// `loss 0.1234 accuracy 0.9512`, the latter where there is one.
fn scores(loss: f64, accuracy: Option<f64>) -> String {
    match accuracy {
        Some(accuracy) => format!("loss {loss:.4} accuracy {accuracy:.4}"),
        None => format!("loss {loss:.4}"),
    }
}
