//! A series, learnt by predicting at every step the value that follows, and continued with its own predictions.
//!
//!     cargo run --release --example series

use gatescan::cells::Cell;
use gatescan::data::Splits;
use gatescan::data::series::{Windows, value_at};
use gatescan::error::Result;
use gatescan::infer::generate::{Context, diverges_at, generate};
use gatescan::low_level::backend::OpenDevice;
use gatescan::low_level::backend::device::Device;
use gatescan::low_level::rng::Stream;
use gatescan::network::{Layer, Loss, Reads};
use gatescan::recipe::optimizer::Optimizer;
use gatescan::recipe::{HeadRecipe, Recipe};
use gatescan::train;

fn main() -> Result<()> {
    // Windows of t sin(t) / 3 + 2 sin(5 t), 20 values each, that begin anywhere between 0 and 30.
    let windows = Windows {
        steps: 20,
        resolution: 0.1,
        range: [0.0, 30.0],
    };
    let data = Splits {
        test: Some(windows.draw(500, 0, Stream::Windows(1)).into()),
        ..windows.draw(50_000, 0, Stream::Windows(0)).into()
    };

    // One answer, a value, at every step.
    let head = HeadRecipe::new(Reads::Every, Loss::MeanSquaredError);
    let layers = vec![Layer::new(Cell::RnnRelu, 100)];
    let mut recipe = Recipe::new("series", layers, head, Optimizer::adam(0.001));
    recipe.epochs = 4;
    recipe.batch_size = 50;
    let model = train::train(&recipe, &data, &Device::Cpu)?;
    if let Some(test) = &data.test {
        let loss = train::evaluate(&model, test, 500, &Device::Cpu)?.loss;
        println!("squared error on windows it has not seen: {loss:.5}\n");
    }

    // From the first window on, it is fed what it predicted itself, so errors add up: it is right for a while.
    let (seed, count) = (windows.first(), 40);
    let place = OpenDevice::open(&Device::Cpu)?;
    let continued = generate(&model, &seed, count, Context::SlidingWindow(20), &place)?;
    println!("    t      true  continued");
    for (n, value) in continued.iter().enumerate() {
        let t = (seed.len() + n) as f64 * windows.resolution;
        let bar = " ".repeat((4.0 * (value + 6.0)).clamp(0.0, 60.0) as usize);
        println!("{t:5.1}  {:8.3}   {value:8.3}  {bar}*", value_at(t));
    }
    match diverges_at(&seed, &continued) {
        Some(step) => println!("it runs away at step {}", step + 1),
        None => println!("it stays within what the series is like"),
    }
    Ok(())
}
