//! Learns a series by predicting the next value at every step, and continues it with its own
//! predictions.
//!
//!     cargo run --release --example series

use gatescan::data::series::{Windows, value_at};
use gatescan::infer::generate::{Context, diverges_at, generate};
use gatescan::low_level::rng::Stream;
use gatescan::train;
use gatescan::{
    Cell, Device, HeadRecipe, Layer, Loss, OpenDevice, Optimizer, Reads, Recipe, Result, Splits,
};

fn main() -> Result<()> {
    // Windows of t sin(t) / 3 + 2 sin(5 t) with 20 values each; their first t is between 0 and 30.
    let windows = Windows {
        steps: 20,
        resolution: 0.1,
        range: [0.0, 30.0],
    };
    let data = Splits {
        test: Some(windows.draw(500, 0, Stream::Windows(1)).into()),
        ..windows.draw(50_000, 0, Stream::Windows(0)).into()
    };

    // The head predicts a value at every step.
    let head = HeadRecipe::new(Reads::Every, Loss::MeanSquaredError);
    let layers = vec![Layer::new(Cell::RnnRelu, 100)];
    let mut recipe = Recipe::new("series", layers, head, Optimizer::adam(0.001));
    recipe.epochs = 4;
    recipe.batch_size = 50;
    let model = train::train(&recipe, &data, &Device::Cpu)?;
    if let Some(test) = &data.test {
        let loss = train::evaluate(&model, test, 500, &Device::Cpu)?.loss;
        println!("mean squared error on the test windows: {loss:.5}\n");
    }

    // After the first window the inputs are the model's own predictions, so errors accumulate.
    let (seed, count, window) = (windows.first(), 40, Context::SlidingWindow(20));
    let device = OpenDevice::open(&Device::Cpu)?;
    let continued = generate(&model, &seed, &[], count, window, &device)?;
    println!("    t      true  continued");
    for (n, value) in continued.iter().enumerate() {
        let t = (seed.len() + n) as f64 * windows.resolution;
        let bar = " ".repeat((4.0 * (value + 6.0)).clamp(0.0, 60.0) as usize);
        println!("{t:5.1}  {:8.3}   {value:8.3}  {bar}*", value_at(t));
    }
    match diverges_at(&seed, &continued) {
        Some(step) => println!("it leaves the range of the series at step {}", step + 1),
        None => println!("it stays in the range of the series"),
    }
    Ok(())
}
