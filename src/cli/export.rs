//! `gatescan export`: a model in another framework's format.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gatescan::error::{Error, Result};
use gatescan::formats::{Export as Files, keras, onnx, pytorch};
use gatescan::low_level::io::disk;
use gatescan::model::Model;
use gatescan::run::MODEL;

use super::console::Console;
use super::load_model;

/// Write a model in another framework's format.
#[derive(Args)]
#[command(after_help = "\
onnx     one file of ONNX's operators; every network has one
pytorch  the module's state_dict as safetensors, and a .py beside it that builds the module and loads it
keras    Keras 3's .weights.h5, and a .py beside it that builds the model and loads it; run as a program it saves
         model.keras

What PyTorch's or Keras's layers do not have is refused with its name.

Examples:
  gatescan export runs/mnist-20260102-030405 --to onnx
  gatescan export runs/mnist-20260102-030405 --to onnx --lengths -o mnist.onnx
  gatescan export model.safetensors --to pytorch -o mnist_torch.safetensors")]
pub struct Export {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// The format.
    #[arg(long, value_name = "FORMAT", value_enum)]
    to: Format,
    /// The file to write [default: beside the model: model.onnx, model_pytorch.safetensors, model_keras.weights.h5].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Have the graph take the valid steps of each sequence as its input `lengths` (onnx; the modules of the others always can).
    #[arg(long)]
    lengths: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Onnx,
    Pytorch,
    Keras,
}

impl Format {
    /// What a file of it is called by default, and how its name ends.
    fn name(self) -> (&'static str, &'static str) {
        match self {
            Format::Onnx => ("model", "onnx"),
            Format::Pytorch => ("model_pytorch", "safetensors"),
            Format::Keras => ("model_keras", "weights.h5"),
        }
    }
}

/// A file's name without its ending, if it has that.
fn stem<'a>(path: &'a Path, ending: &str) -> Option<&'a str> {
    let stem = path.file_name()?.to_str()?.strip_suffix(ending)?;
    stem.strip_suffix('.').filter(|stem| !stem.is_empty())
}

impl Export {
    pub fn run(&self, console: &Console) -> Result<()> {
        let (name, ending) = self.to.name();
        if self.lengths && self.to != Format::Onnx {
            return Err(Error::usage(
                "--lengths goes with --to onnx; what is written for PyTorch and Keras can take lengths or a mask anyway",
            ));
        }
        let output = match &self.output {
            None => self.beside(&format!("{name}.{ending}")),
            Some(path) if stem(path, ending).is_some() => path.clone(),
            Some(path) => {
                return Err(Error::usage(format!(
                    "--output {}: its name must end in .{ending}",
                    path.display()
                )));
            }
        };
        let same = |path: &Path| {
            fs::canonicalize(path)
                .is_ok_and(|path| fs::canonicalize(&output).is_ok_and(|o| o == path))
        };
        if same(&self.model) || same(&self.model.join(MODEL)) {
            return Err(Error::usage(format!(
                "--output {}: that is the model itself",
                output.display()
            )));
        }
        let model = load_model(console, &self.model)?;
        match self.to {
            Format::Onnx => self.write(console, &output, &onnx::export(&model, self.lengths)?),
            Format::Pytorch => self.write_both(console, &output, ending, &model, pytorch::export),
            Format::Keras => self.write_both(console, &output, ending, &model, keras::export),
        }
    }

    fn beside(&self, name: &str) -> PathBuf {
        match self.model.is_dir() {
            true => self.model.join(name),
            false => self.model.with_file_name(name),
        }
    }

    /// The weights, and the program that loads them from beside itself.
    fn write_both(
        &self,
        console: &Console,
        output: &Path,
        ending: &str,
        model: &Model,
        export: impl Fn(&Model, &str) -> Result<Files>,
    ) -> Result<()> {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        if name.contains(['"', '\\']) {
            return Err(Error::usage(format!(
                "--output {}: its name goes into a Python program, and takes no quotes or backslashes",
                output.display()
            )));
        }
        let Files { weights, python } = export(model, &name)?;
        self.write(console, output, &weights)?;
        let stem = stem(output, ending).unwrap_or_default();
        self.write(
            console,
            &output.with_file_name(format!("{stem}.py")),
            python.as_bytes(),
        )
    }

    fn write(&self, console: &Console, path: &Path, bytes: &[u8]) -> Result<()> {
        disk::write_whole(path, bytes)
            .map_err(|error| Error::file(path, format!("cannot be written: {error}")))?;
        console.say(format!("wrote {}", path.display()));
        Ok(())
    }
}
