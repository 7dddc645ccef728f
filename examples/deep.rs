//! Three layers of different cells and sizes, with dropout between them, learn to repeat the symbol
//! read four steps earlier.
//!
//!     cargo run --release --example deep

use gatescan::low_level::kernels::IGNORE;
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::network::{Bias, Dropout};
use gatescan::train;
use gatescan::{
    Cell, Dataset, Device, HeadRecipe, Input, Layer, Loss, Optimizer, Reads, Recipe, Result,
    Splits, Targets,
};
use ndarray::{Array2, s};

const STEPS: usize = 20;
const SYMBOLS: usize = 4;
const DELAY: usize = 4;

/// Returns `count` sequences of random symbols [N, T]. The label of each step is the symbol of four
/// steps before; the first four steps have no label.
fn echoes(count: usize, seed: u64) -> Result<Dataset> {
    let mut random = Philox::new(seed, Stream::Shuffle(0));
    let symbols = Array2::from_shape_fn((count, STEPS), |_| random.below(SYMBOLS as u32));
    let mut labels = Array2::from_elem((count, STEPS), IGNORE);
    labels
        .slice_mut(s![.., DELAY..])
        .assign(&symbols.slice(s![.., ..STEPS - DELAY]));
    let targets = Targets::classes_per_step(labels.view(), SYMBOLS);
    Dataset::tokens(symbols.view(), SYMBOLS, targets)
}

fn main() -> Result<()> {
    let data = Splits {
        test: Some(echoes(500, 2)?.into()),
        ..echoes(2000, 1)?.into()
    };

    // From the input to the head. Each layer has its own cell, size and options, and reads the
    // output of the one before. Dropout applies in training only.
    let dropout = Dropout {
        output_keep_prob: 0.9,
        ..Dropout::default()
    };
    let layers = vec![
        Layer {
            bias: Bias::Double,
            dropout,
            ..Layer::new(Cell::Gru, 48)
        },
        Layer {
            forget_bias: 1.0,
            dropout,
            ..Layer::new(Cell::Lstm, 32)
        },
        Layer::new(Cell::RnnTanh, 24),
    ];
    let head = HeadRecipe::new(Reads::Every, Loss::CrossEntropy);
    let mut recipe = Recipe::new("deep", layers, head, Optimizer::adam(0.005));
    recipe.network.input = Input::OneHot;
    recipe.epochs = 8;
    recipe.clip_norm = Some(5.0);

    for epochs in [1, recipe.epochs] {
        recipe.epochs = epochs;
        let model = train::train(&recipe, &data, &Device::Cpu)?;
        if let Some(test) = &data.test {
            let evaluation = train::evaluate(&model, test, 100, &Device::Cpu)?;
            let accuracy = evaluation.accuracy.unwrap_or_default();
            println!(
                "after {epochs} epochs: loss {:.4}, accuracy {accuracy:.4}",
                evaluation.loss
            );
        }
    }
    Ok(())
}
