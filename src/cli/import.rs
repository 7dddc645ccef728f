//! `gatescan import`: another framework's weights as a model.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use gatescan::cells::Cell;
use gatescan::error::{Error, Result};
use gatescan::formats::{Unsaid, keras, pytorch};
use gatescan::low_level::io::files;
use gatescan::network::{Loss, Reads};
use gatescan::recipe::Recipe;
use gatescan::run::MODEL;

use super::console::Console;
use super::train::cell_parser;

/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 33;

/// Make a model of weights that PyTorch or Keras trained.
#[derive(Args)]
#[command(after_help = "\
FILE is one of these; layers, sizes, directions, biases, projections, an embedding and the head follow from it:
  safetensors.torch.save_file(module.state_dict(), \"model.safetensors\")          # PyTorch
  model.save_weights(\"model.weights.h5\"), model.save(\"model.keras\")               # Keras 3
  numpy.savez(\"model.npz\", **{w.path: w for w in model.weights})                 # Keras, by its paths

Examples:
  gatescan import model.safetensors -o imported --recipe mnist
  gatescan eval imported
  gatescan import model.weights.h5 -o imported --reads every --loss mean-squared-error")]
pub struct Import {
    /// A .safetensors of PyTorch; a .weights.h5, a .keras or an .npz of Keras's weights.
    file: PathBuf,
    /// The directory that the model goes into.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// A built-in recipe or a TOML file, for the model's data and how it is trained on; also what its head reads and its loss.
    #[arg(long)]
    recipe: Option<String>,
    /// The cell of every layer, where the weights fit several [default: rnn-tanh, gru].
    #[arg(long, value_parser = cell_parser())]
    cell: Option<Cell>,
    /// What the head reads: the last state or every step [default: the recipe's, or last].
    #[arg(long, value_name = "STEPS", value_parser = reads_parser())]
    reads: Option<Reads>,
    /// What the outputs are [default: the recipe's; or mean-squared-error of one output, cross-entropy of more].
    #[arg(long, value_parser = loss_parser())]
    loss: Option<Loss>,
    /// Tokens come in, one-hot, and not numbers.
    #[arg(long)]
    one_hot: bool,
}

fn reads_parser() -> impl TypedValueParser<Value = Reads> {
    PossibleValuesParser::new(["last", "every"]).map(|name| match &name[..] {
        "every" => Reads::Every,
        _ => Reads::Last,
    })
}

fn loss_parser() -> impl TypedValueParser<Value = Loss> {
    PossibleValuesParser::new(["cross-entropy", "mean-squared-error"]).map(|name| match &name[..] {
        "cross-entropy" => Loss::CrossEntropy,
        _ => Loss::MeanSquaredError,
    })
}

impl Import {
    pub fn run(&self, console: &Console) -> Result<()> {
        let read = match self.file.extension().and_then(|ending| ending.to_str()) {
            Some("safetensors") => pytorch::import,
            Some("npz" | "keras" | "h5") => keras::import,
            Some("pt" | "pth" | "bin") => {
                return Err(self.refuse(
                    "PyTorch's pickled files are programs; save it there by \
                     `safetensors.torch.save_file(module.state_dict(), \"model.safetensors\")`",
                ));
            }
            _ => {
                return Err(self.refuse(
                    "its name must end in .safetensors (PyTorch), or in .weights.h5, .keras or .npz (Keras); see \
                     `gatescan import --help`",
                ));
            }
        };
        let target = self.output.join(MODEL);
        if target.exists() {
            return Err(Error::file(
                &target,
                "there is a model already; name another directory",
            ));
        }
        let unsaid = Unsaid {
            cell: self.cell,
            reads: self.reads,
            loss: self.loss,
            one_hot: self.one_hot,
            recipe: self.recipe.as_deref().map(Recipe::load).transpose()?,
        };
        let bytes = fs::File::open(&self.file)
            .and_then(|file| files::read_at_most(file, LARGEST_FILE))
            .map_err(|error| Error::file(&self.file, format!("cannot be read: {error}")))?;
        let model = read(&bytes, &self.name(), &unsaid)
            .map_err(|problem| Error::file(&self.file, problem))?;

        fs::create_dir_all(&self.output)
            .map_err(|error| Error::file(&self.output, format!("cannot be made: {error}")))?;
        model.save(&target)?;
        let network = &model.network;
        for (l, layer) in network.layers.iter().enumerate() {
            let sides = match layer.bidirectional {
                true => ", bidirectional",
                false => "",
            };
            let (cell, size) = (layer.cell.name(), layer.hidden_size);
            console.say(format!(
                "layer {l}: {cell} {size}{sides}, bias {:?}",
                layer.bias
            ));
        }
        let head = network.head;
        console.say(format!(
            "head: {} outputs of {:?}, reads {:?}",
            head.size, head.loss, head.reads
        ));
        console.say(format!("wrote {}", target.display()));
        Ok(())
    }

    fn refuse(&self, problem: &str) -> Error {
        Error::usage(format!("{}: {problem}", self.file.display()))
    }

    /// What the model's recipe is called: as the file, in what a name may have.
    fn name(&self) -> String {
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
