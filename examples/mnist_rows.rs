//! Classifies MNIST's digits from their rows: 28 time steps of 28 pixels.
//!
//!     cargo run --release --example mnist_rows [DIRECTORY OF IDX FILES]

use std::ops::ControlFlow;
use std::path::Path;

use gatescan::cells::Cell;
use gatescan::data::idx;
use gatescan::error::Result;
use gatescan::low_level::backend::device::{self, Device};
use gatescan::network::{Layer, Loss, Reads};
use gatescan::recipe::optimizer::Optimizer;
use gatescan::recipe::{HeadRecipe, Recipe};
use gatescan::train::{self, Event, Trainer};

fn main() -> Result<()> {
    // The four IDX files of MNIST, Fashion-MNIST, KMNIST or your own data, gzipped or not. Pixels
    // are stored as bytes, also on the device.
    let directory = std::env::args().nth(1).unwrap_or("data/mnist".into());
    let data = idx::load(&idx::locate(Path::new(&directory))?, 10)?;

    let lstm = Layer {
        forget_bias: 1.0,
        ..Layer::new(Cell::Lstm, 64)
    };
    let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
    let mut recipe = Recipe::new("mnist-rows", vec![lstm], head, Optimizer::adam(0.002));
    recipe.epochs = 1;
    recipe.batch_size = 128;

    // A GPU if there is one, else the CPU.
    let (device, why): (Device, String) =
        device::choose("auto", &gatescan::low_level::backend::adapters())?;
    println!("{device:?}, since {why}");

    // The trainer reports its progress, and after each epoch the metrics of the test split.
    let mut trainer = Trainer::new(&recipe, &data, &device)?;
    let mut next = 0;
    trainer.run(&mut |_, event| {
        match event {
            Event::Progress(now) if now.sequences >= next => {
                next = now.sequences + 10_000;
                println!(
                    "{:6} of {} digits: loss {:.3}, accuracy {:.3}",
                    now.sequences,
                    now.total,
                    now.loss,
                    now.accuracy.unwrap_or_default()
                )
            }
            Event::Epoch(epoch) => println!(
                "after epoch {}: test loss {:.4}, test accuracy {:.4}",
                epoch.epoch,
                epoch.test_loss.unwrap_or_default(),
                epoch.test_accuracy.unwrap_or_default()
            ),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;

    // The model does not depend on the trainer: it can be saved, loaded and evaluated on other
    // data.
    let model = trainer.model()?;
    if let Some(test) = &data.test {
        let evaluation = train::evaluate(&model, test, 1000, &device)?;
        println!(
            "evaluated again: {} digits, accuracy {:.4}, {:.0} digits/s",
            evaluation.sequences,
            evaluation.accuracy.unwrap_or_default(),
            evaluation.sequences_per_second
        );
    }
    Ok(())
}
