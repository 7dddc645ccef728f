//! Training steps of a character-level language model, at the sizes of torch-rnn's benchmark.

use super::checked::{CheckedTrainer, Workload};
use super::results::TextResult;
use super::shape::MOST_BATCHES;
use super::{Bench, parameters};
use crate::data::{Split, text};
use crate::error::Result;
use crate::network::{Dropout, Init, Input};
use crate::recipe::Recipe;

/// The numbers of layers in torch-rnn's benchmark.
pub const TEXT_LAYERS: [usize; 3] = [1, 2, 3];
/// The hidden sizes in torch-rnn's benchmark.
pub const TEXT_SIZES: [usize; 4] = [64, 128, 256, 512];

const EMBEDDING_SIZE: usize = 64;
const VOCABULARY: usize = 66;

impl Bench {
    /// Measures training steps of the recipe `text` with `layers` LSTM layers of `hidden_size`
    /// units over embeddings of 64 values: torch-rnn's defaults, except Adam's learning rate and
    /// the vocabulary of 66 characters.
    ///
    /// # Errors
    /// Those of [`Bench::step`].
    pub fn text(&self, layers: usize, hidden_size: usize, iterations: usize) -> Result<TextResult> {
        let workload = workload(layers, hidden_size, iterations)?;
        let batches = workload.batches;
        let mut checked = CheckedTrainer::load(workload, &self.device)?;
        checked.play(Split::Train, 2.min(batches))?;
        let time = checked.play(Split::Train, iterations)?;
        let ms = time.as_secs_f64() * 1e3 / iterations as f64;
        let model = checked.recording();
        let (batch, steps) = (model.batch, model.steps);
        Ok(TextResult {
            layers,
            hidden_size,
            batch,
            steps,
            device: self.machine.label(),
            iterations,
            ms,
            characters_per_s: (batch * steps) as f64 / ms * 1e3,
            parameters: parameters(model),
            memory_bytes: model.program.bytes(size_of::<f32>()),
        })
    }
}

fn workload(layers: usize, hidden_size: usize, iterations: usize) -> Result<Workload> {
    let mut recipe = Recipe::load("text")?;
    recipe.network.input = Input::Embedding {
        size: EMBEDDING_SIZE,
        padding_idx: None,
        init: Init::Torch,
        tied: false,
    };
    recipe.network.set_layers(layers);
    recipe.network.set_hidden_size(hidden_size);
    for layer in &mut recipe.network.layers {
        layer.dropout = Dropout::default();
    }
    let (batch, steps) = (recipe.batch_size, recipe.bptt_steps.unwrap_or(50));
    let batches = iterations.clamp(1, MOST_BATCHES);
    let step_roundings = EMBEDDING_SIZE + layers * 5 * hidden_size;
    let roundings = steps * step_roundings + steps * batch + hidden_size + VOCABULARY;
    Ok(Workload {
        name: format!("text, {layers} layers of {hidden_size}"),
        recipe,
        data: text::made_up(batch, steps * batches, VOCABULARY).into(),
        batches,
        roundings: roundings as f64,
    })
}
