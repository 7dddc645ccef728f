//! Sequences of different lengths in one batch. Outputs of padded steps are zero, and the final
//! state is that of the last valid step, as in PyTorch's packed sequences and TensorFlow's
//! `dynamic_rnn(sequence_length)`.
//!
//!     cargo run --release --example sequence_lengths

use gatescan::cells::Cell;
use gatescan::data::{Dataset, Targets};
use gatescan::error::Result;
use gatescan::infer::predict::Predictor;
use gatescan::low_level::backend::device::Device;
use gatescan::network::{Layer, Loss, Reads};
use gatescan::recipe::optimizer::Optimizer;
use gatescan::recipe::{HeadRecipe, Recipe};
use gatescan::train;
use ndarray::{Array1, Array3, Axis, s};

fn main() -> Result<()> {
    // 300 sequences of 1 to 6 steps. The class is whether the last valid value is greater than the
    // first; the padding is a value that would change the class.
    let (count, steps) = (300, 6);
    let lengths = Array1::from_shape_fn(count, |n| 1 + n % steps);
    let inputs = Array3::from_shape_fn((count, steps, 1), |(n, t, _)| {
        if t < lengths[n] {
            (1.3 * n as f32 + 2.1 * t as f32).sin()
        } else {
            100.0
        }
    });
    let labels = Array1::from_shape_fn(count, |n| {
        u32::from(inputs[[n, lengths[n] - 1, 0]] > inputs[[n, 0, 0]])
    });
    let lengths = lengths.to_vec();
    let data =
        Dataset::new(inputs.view(), Targets::classes(labels.view(), 2))?.with_lengths(&lengths)?;

    // The head reads the state of the last valid step.
    let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
    let layers = vec![Layer::new(Cell::Lstm, 12)];
    let mut recipe = Recipe::new("lengths", layers, head, Optimizer::adam(0.02));
    recipe.epochs = 40;
    let model = train::train(&recipe, &data.clone().into(), &Device::Cpu)?;
    let evaluation = train::evaluate(&model, &data, 100, &Device::Cpu)?;
    println!("accuracy {:.3}\n", evaluation.accuracy.unwrap_or_default());

    // The layer's outputs for the first six sequences; two units are printed.
    let mut predictor = Predictor::new(&model, steps, 6, &Device::Cpu)?;
    let prediction = predictor.predict(inputs.slice(s![..6, .., ..]), Some(&lengths[..6]), None)?;
    for (n, hidden) in prediction.hidden.axis_iter(Axis(0)).enumerate() {
        println!(
            "length {}: h at each step\n{:6.3}",
            lengths[n],
            hidden.slice(s![.., ..2]).t()
        );
        let state = prediction.states[0].h.row(n);
        assert_eq!(
            state,
            hidden.row(lengths[n] - 1),
            "the final state is that of the last valid step"
        );
        assert!(hidden.slice(s![lengths[n].., ..]).iter().all(|&h| h == 0.0));
    }
    println!(
        "\npredicted classes {}, labels {}",
        prediction.classes(),
        labels.slice(s![..6])
    );
    Ok(())
}
