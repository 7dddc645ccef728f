//! `gatescan eval`: how a saved model does on the test split.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use gatescan::checkpoint::SavedModel;
use gatescan::error::{Error, Result};
use gatescan::train::{self, Evaluation};
use serde_json::json;

use super::run_directory::MODEL;
use super::{check_data_directory, choose_device, print, scores};

/// Evaluate a saved model on the test split.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gatescan eval runs/mnist-20260102-030405
  gatescan eval model.safetensors --data data/mnist --device cpu --json")]
pub struct Eval {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Directory of the data set's files [default: the one that the model was trained on].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Sequences at a time [default: as in training].
    #[arg(long, value_name = "N")]
    batch_size: Option<NonZeroUsize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(&self) -> Result<()> {
        let path = match self.model.is_dir() {
            true => self.model.join(MODEL),
            false => self.model.clone(),
        };
        if !path.is_file() {
            let problem = "there is no such file; name a model.safetensors or the run directory that holds one";
            return Err(Error::file(path, problem));
        }
        let model = SavedModel::load(&path)?;
        let (device, _) = choose_device(&self.device)?;
        let mut data = model.recipe.data.clone();
        if let Some(directory) = &self.data {
            check_data_directory(directory)?;
            data.set_path(directory.clone());
        }
        let test = data.load_test()?;
        let batch_size = self
            .batch_size
            .map_or(model.recipe.batch_size, NonZeroUsize::get);

        let Evaluation {
            loss,
            accuracy,
            sequences,
            sequences_per_second,
            seconds,
        } = train::evaluate(&model, &test, batch_size, &device)?;
        let text = if self.json {
            json!({
                "test_loss": loss,
                "test_accuracy": accuracy,
                "sequences": sequences,
                "sequences_per_second": sequences_per_second,
                "seconds": seconds,
            })
            .to_string()
        } else {
            format!(
                "test {}  {sequences} sequences in {seconds:.1} s, {sequences_per_second:.0} sequences/s",
                scores(loss, accuracy)
            )
        };
        let _ = print(text)?;
        Ok(())
    }
}
