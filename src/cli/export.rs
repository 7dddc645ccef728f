//! `gatescan export`: a model in another framework's format.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gatescan::formats::{Export as ExportedFiles, keras, onnx, pytorch};
use gatescan::low_level::messages::{is_unprintable, shown_path};
use gatescan::run::MODEL;
use gatescan::{Error, Model, Result};

use super::console::Console;
use super::load_model;
use super::output::Overwrite;

/// Write a model in another framework's format.
#[derive(Args)]
#[command(after_help = "\
onnx     one .onnx file; every network can be written
pytorch  the module's state_dict as safetensors, and a .py file in the same directory that builds
         the module and loads the weights
keras    a .weights.h5 of Keras 3, and a .py file in the same directory that builds the model and
         loads the weights; run as a program it saves model.keras

An option that the layers of PyTorch or Keras do not have is an error that names the option.

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
    /// The file to write [default: model.onnx, model_pytorch.safetensors or
    /// model_keras.weights.h5 in the model's directory].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Give the graph an input `lengths`, the number of valid steps of each sequence (onnx; the
    /// programs of the other formats always accept lengths or a mask).
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
    /// The default name of a file, and the ending that every name must have.
    fn file_name(self) -> (&'static str, &'static str) {
        match self {
            Format::Onnx => ("model", "onnx"),
            Format::Pytorch => ("model_pytorch", "safetensors"),
            Format::Keras => ("model_keras", "weights.h5"),
        }
    }
}

/// The name of a file without its ending; `None` if it does not have that ending.
fn stem<'a>(path: &'a Path, ending: &str) -> Option<&'a str> {
    let stem = path.file_name()?.to_str()?.strip_suffix(ending)?;
    stem.strip_suffix('.').filter(|stem| !stem.is_empty())
}

impl Export {
    pub fn run(&self, console: &Console) -> Result<()> {
        if self.lengths && self.to != Format::Onnx {
            return Err(Error::usage(
                "--lengths goes with --to onnx; the programs written for PyTorch and Keras accept \
                 lengths or a mask in any case",
            ));
        }
        let output = self.output_path()?;
        self.overwrite.check(&output)?;
        let program = self.program_path(&output);
        if let Some(program) = &program {
            self.overwrite.check(program)?;
        }
        let model = load_model(console, &self.model)?;
        match self.to {
            Format::Onnx => {
                let graph = onnx::export(&model, self.lengths)?;
                self.overwrite.write_bytes(&output, &graph)?;
                say_written(console, &[&output]);
                Ok(())
            }
            Format::Pytorch => self.write_both(console, &output, &model, pytorch::export),
            Format::Keras => self.write_both(console, &output, &model, keras::export),
        }
    }

    /// The file to write, which must have the format's ending and must not be the model.
    fn output_path(&self) -> Result<PathBuf> {
        let (name, ending) = self.to.file_name();
        let default = || in_directory_of(&self.model, &format!("{name}.{ending}"));
        let output = self.output.clone().unwrap_or_else(default);
        let refused = |problem: &str| {
            let message = format!("--output {}: {problem}", shown_path(&output));
            Err(Error::usage(message))
        };
        if stem(&output, ending).is_none() {
            return refused(&format!("its name must end in .{ending}"));
        }
        let is_output = |path: &Path| {
            let real_path = |path: &Path| fs::canonicalize(path).ok();
            real_path(path).is_some_and(|path| real_path(&output) == Some(path))
        };
        if is_output(&self.model) || is_output(&self.model.join(MODEL)) {
            return refused("that is the model itself");
        }
        Ok(output)
    }

    /// Writes the weights, and the program that loads them from its own directory.
    fn write_both(
        &self,
        console: &Console,
        output: &Path,
        model: &Model,
        export: impl Fn(&Model, &str) -> Result<ExportedFiles>,
    ) -> Result<()> {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let is_odd = |c: char| "\"\\\u{fffd}".contains(c) || is_unprintable(c);
        if name.contains(is_odd) {
            return Err(Error::usage(format!(
                "--output {}: its name is part of a Python program, so it must be UTF-8 without \
                 quotes, backslashes and control characters",
                shown_path(output)
            )));
        }
        let ExportedFiles { weights, python } = export(model, &name)?;
        let program = self.program_path(output).unwrap_or_default();
        let contents = [&weights[..], python.as_bytes()];
        self.overwrite
            .write_all([output, &program], |number, file| {
                file.write_all(contents[number])
            })?;
        say_written(console, &[output, &program]);
        Ok(())
    }

    /// The program that loads the weights, for formats that have one.
    fn program_path(&self, output: &Path) -> Option<PathBuf> {
        let (_, ending) = self.to.file_name();
        let stem = stem(output, ending).filter(|_| self.to != Format::Onnx)?;
        Some(output.with_file_name(format!("{stem}.py")))
    }
}

/// A file in a directory, or in the directory of a file.
fn in_directory_of(path: &Path, name: &str) -> PathBuf {
    if path.is_dir() {
        path.join(name)
    } else {
        path.with_file_name(name)
    }
}

fn say_written(console: &Console, paths: &[&Path]) {
    for path in paths {
        console.say(format!("wrote {}", shown_path(path)));
    }
}
