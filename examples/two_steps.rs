//! A vanilla RNN over two time steps, computed with ndarray and with gatescan.
//!
//! Both steps share one set of weights: Y0 = tanh(X0 Wx + b), Y1 = tanh(X1 Wx + Y0 Wy + b). Further
//! steps would use the same formula.
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
    // Four sequences with three features: X0 is the first time step, X1 the second.
    let x0 = array![[0., 1., 2.], [3., 4., 5.], [6., 7., 8.], [9., 0., 1.]];
    let x1 = array![[9., 8., 7.], [0., 0., 0.], [6., 5., 4.], [3., 2., 1.]];

    // Five hidden units with random weights; nothing is trained.
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

    // Weights have PyTorch's names and shapes: [H, I] and [H, H].
    let values = |name: &str| {
        let parameter = model.parameters.iter().find(|p| p.name == name);
        parameter
            .expect("the layer has this parameter")
            .values
            .clone()
    };
    let matrix = |name, columns| {
        let values = values(name);
        let weight = Array2::from_shape_vec((values.len() / columns, columns), values);
        weight
            .expect("the length is a multiple of the columns")
            .reversed_axes()
    };
    let (wx, wy) = (matrix("rnn.weight_ih_l0", 3), matrix("rnn.weight_hh_l0", 5));
    let b = Array1::from(values("rnn.bias_ih_l0"));
    let y0 = (x0.dot(&wx) + &b).mapv(f32::tanh);
    let y1 = (x1.dot(&wx) + y0.dot(&wy) + &b).mapv(f32::tanh);

    // gatescan takes both steps as one array [N, T, I] and returns the layer's outputs [N, T, H].
    let inputs = stack![Axis(1), x0, x1];
    let prediction = model.predict(inputs.view(), &Device::Cpu)?;
    for (t, expected) in [y0, y1].iter().enumerate() {
        let hidden = prediction.hidden.index_axis(Axis(1), t);
        let differences = (expected - &hidden).mapv(f32::abs);
        let worst = differences.fold(0.0, |worst: f32, &d| worst.max(d));
        println!(
            "Y{t} with ndarray\n{expected:.4}\nY{t} with gatescan\n{hidden:.4}\n\
             largest difference {worst:e}\n"
        );
        assert!(worst < 1e-6);
    }
    Ok(())
}
