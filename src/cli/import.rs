//! `gatescan import`: weights of another framework as a model.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use gatescan::formats::{ImportHints, Imported, keras, pytorch};
use gatescan::low_level::io::files;
use gatescan::low_level::messages::shown_path;
use gatescan::run::MODEL;
use gatescan::{Cell, Error, Loss, Reads, Recipe, Result};

use super::console::Console;
use super::train::cell_parser;

/// The largest file that is read in bytes.
const LARGEST_FILE: u64 = 1 << 33;

/// Make a model from weights that PyTorch or Keras trained.
#[derive(Args)]
#[command(after_help = "\
FILE is one of these; it determines layers, sizes, directions, biases, projections, an embedding \
and the head. What it does not say is assumed and printed, or must be given by an option:
  safetensors.torch.save_file(module.state_dict(), \"model.safetensors\")          # PyTorch
  model.save_weights(\"model.weights.h5\"), model.save(\"model.keras\")               # Keras 3
  numpy.savez(\"model.npz\", **{w.path: w for w in model.weights})                 # Keras

Examples:
  gatescan import model.safetensors -o imported --recipe mnist
  gatescan eval imported
  gatescan import seq2seq.safetensors -o imported --order encoder,decoder
  gatescan import model.weights.h5 -o imported --reads every --loss mean-squared-error")]
pub struct Import {
    /// A .safetensors of PyTorch, or a .weights.h5, a .keras or an .npz of Keras.
    file: PathBuf,
    /// The directory to write the model to.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// A built-in recipe or a TOML file that describes the model's data and training; it also sets
    /// the steps that the head reads and the loss.
    #[arg(long)]
    recipe: Option<String>,
    /// The cell of every layer whose weights fit several cells [default: rnn-tanh, gru].
    #[arg(long, value_parser = cell_parser())]
    cell: Option<Cell>,
    /// The steps that the head reads [default: those of the recipe, or last].
    #[arg(long, value_name = "STEPS", value_parser = reads_parser())]
    reads: Option<Reads>,
    /// The loss [default: that of the recipe, or mean-squared-error for one output and
    /// cross-entropy for several].
    #[arg(long, value_parser = loss_parser())]
    loss: Option<Loss>,
    /// The inputs are one-hot tokens.
    #[arg(long)]
    one_hot: bool,
    /// The recurrent modules of a .safetensors by their names, from the input up, where numbers in
    /// names and sizes do not determine their order.
    #[arg(long, value_name = "MODULES", value_delimiter = ',')]
    order: Vec<String>,
}

fn reads_parser() -> impl TypedValueParser<Value = Reads> {
    // Files of other frameworks do not name the query of attention.
    let all = Reads::ALL
        .into_iter()
        .filter(|reads| *reads != Reads::Attention);
    let named = PossibleValuesParser::new(all.map(Reads::name));
    named.map(|name| {
        let mut all = Reads::ALL.into_iter();
        all.find(|reads| reads.name() == name).unwrap_or_default()
    })
}

fn loss_parser() -> impl TypedValueParser<Value = Loss> {
    let losses = [
        Loss::CrossEntropy,
        Loss::MeanSquaredError,
        Loss::MeanAbsoluteError,
        Loss::GaussianNll,
        Loss::BinaryCrossEntropy,
        Loss::CTC,
    ];
    PossibleValuesParser::new(losses.map(|loss| loss.name())).try_map(move |name| {
        let mut losses = losses.into_iter();
        losses
            .find(|loss| loss.name() == name)
            .ok_or("unknown loss")
    })
}

/// Makes a model of the bytes of a file, its name and hints.
type Reader = fn(&[u8], &str, &ImportHints) -> Result<Imported>;

impl Import {
    pub fn run(&self, console: &Console) -> Result<()> {
        let read = self.reader()?;
        let target = self.output.join(MODEL);
        if target.exists() {
            return Err(Error::file(
                &target,
                "there is a model already; name another directory",
            ));
        }
        let hints = ImportHints {
            cell: self.cell,
            reads: self.reads,
            loss: self.loss,
            one_hot: self.one_hot,
            order: self.order.clone(),
            recipe: self.recipe.as_deref().map(Recipe::load).transpose()?,
        };
        let bytes = fs::File::open(&self.file)
            .and_then(|file| files::read_at_most(file, LARGEST_FILE))
            .map_err(|error| Error::file(&self.file, format!("cannot be read: {error}")))?;
        let Imported { model, notes } =
            read(&bytes, &self.model_name(), &hints).map_err(|problem| self.problem(problem))?;
        fs::create_dir_all(&self.output)
            .map_err(|error| Error::file(&self.output, format!("cannot be made: {error}")))?;
        model.save(&target)?;
        notes.iter().for_each(|note| console.say(note));
        console.say(format!("wrote {}", shown_path(&target)));
        Ok(())
    }

    /// The reader of the file's format, by the end of its name.
    fn reader(&self) -> Result<Reader> {
        let problem = match self.file.extension().and_then(|ending| ending.to_str()) {
            Some("safetensors") => return Ok(pytorch::import),
            Some("npz" | "keras" | "h5") if self.order.is_empty() => return Ok(keras::import),
            Some("npz" | "keras" | "h5") => {
                "--order is for the modules of a .safetensors; leave it out"
            }
            Some("pt" | "pth" | "bin") => {
                "a pickled file of PyTorch is a program, which gatescan does not run; save the \
                 weights by `safetensors.torch.save_file(module.state_dict(), \
                 \"model.safetensors\")`"
            }
            _ => {
                "its name must end in .safetensors (PyTorch), or in .weights.h5, .keras or .npz \
                 (Keras); see `gatescan import --help`"
            }
        };
        Err(Error::usage(format!(
            "{}: {problem}",
            shown_path(&self.file)
        )))
    }

    /// The error for a file that cannot be imported.
    fn problem(&self, problem: Error) -> Error {
        match problem {
            Error::InvalidValue {
                field,
                value,
                allowed,
            } if field == "order" => Error::usage(format!(
                "{}: --order is {value}; it must be {allowed}",
                shown_path(&self.file)
            )),
            problem => Error::file(&self.file, problem),
        }
    }

    /// The name of the model's recipe: that of the file without characters that are not allowed.
    fn model_name(&self) -> String {
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let allowed = |c: &char| c.is_alphanumeric() || "-_.".contains(*c);
        let stem = stem.strip_suffix(".weights").unwrap_or(&stem);
        let name: String = stem.chars().filter(allowed).collect();
        match name.trim_start_matches('.') {
            "" => "imported".into(),
            name => name.into(),
        }
    }
}
