//! `gatescan eval`: how a saved model does on the test split.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use gatescan::checkpoint::SavedModel;
use gatescan::error::Result;
use gatescan::train::{self, Evaluation};
use serde_json::json;

use super::{check_data_path, choose_device, model_path, print, scores};

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
        let model = SavedModel::load(&model_path(&self.model)?)?;
        let (device, _) = choose_device(&self.device)?;
        let mut data = model.recipe.data.clone();
        if let Some(directory) = &self.data {
            check_data_path(&data, directory)?;
            data.set_path(directory.clone());
        }
        let test = data.load_test(model.recipe.seed)?;
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
