//! A vanilla RNN over two time steps, by hand and by the engine.
//!
//! Both steps share one set of weights: Y0 = tanh(X0 Wx + b), Y1 = tanh(X1 Wx + Y0 Wy + b). Whatever the number of steps, a
//! recurrent layer is this, written once.
//!
//!     cargo run --release --example two_steps

use gatescan::cells::Cell;
use gatescan::error::Result;
use gatescan::low_level::backend::device::Device;
use gatescan::model::Model;
use gatescan::network::{Layer, Loss, Reads};
use gatescan::recipe::optimizer::Optimizer;
use gatescan::recipe::{HeadRecipe, Recipe};
use ndarray::{Array1, Array2, Axis, array, stack};

fn main() -> Result<()> {
    // Four sequences of three features: X0 at the first step, X1 at the second.
    let x0 = array![[0., 1., 2.], [3., 4., 5.], [6., 7., 8.], [9., 0., 1.]];
    let x1 = array![[9., 8., 7.], [0., 0., 0.], [6., 5., 4.], [3., 2., 1.]];

    // Five units that start from random weights; nothing is trained here.
    let head = HeadRecipe::new(Reads::Every, Loss::MeanSquaredError);
    let layers = vec![Layer::new(Cell::RnnTanh, 5)];
    let recipe = Recipe::new("two-steps", layers, head, Optimizer::sgd(0.1));
    let network = recipe.network(3, 1)?;
    let model = Model {
        parameters: network.to_parameters(&network.initial(recipe.seed)),
        network,
        recipe,
        preparation: Default::default(),
    };

    // Weights have PyTorch's names and shapes, [H, I] and [H, H].
    let values = |name: &str| {
        let parameter = model.parameters.iter().find(|p| p.name == name);
        parameter.expect("a layer has it").values.clone()
    };
    let matrix = |name, columns| {
        let values = values(name);
        let weight = Array2::from_shape_vec((values.len() / columns, columns), values);
        weight.expect("it has whole rows").reversed_axes()
    };
    let (wx, wy) = (matrix("rnn.weight_ih_l0", 3), matrix("rnn.weight_hh_l0", 5));
    let b = Array1::from(values("rnn.bias_ih_l0"));
    let y0 = (x0.dot(&wx) + &b).mapv(f32::tanh);
    let y1 = (x1.dot(&wx) + y0.dot(&wy) + &b).mapv(f32::tanh);

    // The engine takes both steps as one array [N, T, I], and gives what the layer emits as [N, T, H].
    let inputs = stack![Axis(1), x0, x1];
    let prediction = model.predict(inputs.view(), &Device::Cpu)?;
    for (t, by_hand) in [y0, y1].iter().enumerate() {
        let by_engine = prediction.hidden.index_axis(Axis(1), t);
        let differences = (by_hand - &by_engine).mapv(f32::abs);
        let worst = differences.fold(0.0, |worst: f32, &d| worst.max(d));
        println!(
            "Y{t} by hand\n{by_hand:.4}\nY{t} by the engine\n{by_engine:.4}\nlargest difference {worst:e}\n"
        );
        assert!(worst < 1e-6);
    }
    Ok(())
}
