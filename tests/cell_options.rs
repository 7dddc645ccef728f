//! Layers with options of their cells against Keras and PyTorch in float64: outputs, and the
//! gradients of inputs and parameters. tests/interop/cells.py writes the expected values.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::tuning::{Route, Tuning};
use gatescan::low_level::kernels::{Columns, control};
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, Mask, MaskOf, RecordedNetwork};
use gatescan::low_level::tensor::{Element, Kind, Tensor};
use gatescan::network::{Bias, Init};
use gatescan::{
    Cell, Dataset, Device, Head, HeadRecipe, Input, Layer, Loss, Model, Network, OpenDevice,
    Optimizer, Reads, Recipe, Targets, train,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    steps: usize,
    batch: usize,
    inputs: usize,
    cases: Vec<Case>,
}

/// A layer, as cells.py writes it.
#[derive(Deserialize)]
struct Case {
    name: String,
    layer: Layer,
    /// Whether the outputs are those of an evaluation, which has no backward pass.
    #[serde(default)]
    evaluates: bool,
    /// `[T, B, I]`.
    inputs: Vec<f64>,
    /// `[T, B, H]`: the gradient of the outputs.
    upstream: Vec<f64>,
    parameters: BTreeMap<String, Vec<f64>>,
    /// `recurrent` `[B, G*H]`, `zoneout` and `zoneout_cell` `[T, B, H]`.
    masks: BTreeMap<String, Vec<f64>>,
    /// `[T, B, H]`.
    outputs: Vec<f64>,
    dinputs: Vec<f64>,
    gradients: BTreeMap<String, Vec<f64>>,
}

fn cases() -> Cases {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/cells.json");
    let text = std::fs::read_to_string(path).expect("cells.py has written it");
    serde_json::from_str(&text).expect("it is what cells.py writes")
}

impl Cases {
    fn recorded(&self, case: &Case, tuning: Tuning) -> RecordedNetwork {
        let network = Network {
            input_size: self.inputs,
            input: Input::Values,
            layers: vec![case.layer.clone()],
            head: Head {
                size: 1,
                reads: Reads::Every,
                loss: Loss::MeanSquaredError,
                init: Init::default(),
            },
            heads: vec![],
            categories: vec![],
        };
        let gradients = Gradients::OfUpstream;
        let mut model = RecordedNetwork::new(&network, self.steps, self.batch, gradients, tuning)
            .expect("the network is valid");
        model.forward_layers(Phase::Forward);
        model.backward();
        model.forward_layers(Phase::Evaluate);
        model
    }

    /// The values of a mask, row by row: one of a sequence repeats at every step.
    fn mask_rows<'a>(&self, case: &'a Case, mask: &Mask) -> Vec<&'a [f64]> {
        let name = match mask.of {
            MaskOf::Recurrent { .. } => "recurrent",
            MaskOf::Zoneout { .. } => "zoneout",
            MaskOf::ZoneoutCell { .. } => "zoneout_cell",
            other => panic!("no case has a mask of {other:?}"),
        };
        let values: Vec<&[f64]> = case.masks[name].chunks(mask.width).collect();
        let rows = (0..self.steps * self.batch).map(|row| values[row % values.len()]);
        rows.collect()
    }
}

/// Returns the tensors to compare with the case's expectations, in the order of the second.
fn results<'a>(case: &'a Case, model: &RecordedNetwork) -> Vec<(String, Tensor, &'a [f64])> {
    let mut all = vec![("outputs".to_string(), model.emitted(0), &case.outputs[..])];
    if !case.evaluates {
        let dinputs = model.dinputs().expect("it was requested");
        all.push(("dinputs".into(), dinputs, &case.dinputs));
        for (name, expected) in &case.gradients {
            let gradient = model.gradient(name).expect("the network has it");
            all.push((name.clone(), gradient, expected));
        }
    }
    all
}

fn phases(case: &Case) -> &'static [Phase] {
    if case.evaluates {
        &[Phase::Evaluate]
    } else {
        &[Phase::Forward, Phase::Backward]
    }
}

fn parameter(model: &RecordedNetwork, name: &str) -> Tensor {
    let entry = model.entries.iter().find(|entry| entry.name == name);
    let entry = entry.expect("the network has it");
    model.parameters.part(entry.offset, entry.shape)
}

#[test]
fn outputs_and_gradients_are_those_of_keras_and_pytorch() {
    let all = cases();
    for case in &all.cases {
        for route in [Route::Scan, Route::Step] {
            if case.layer.layer_norm && route == Route::Step {
                continue;
            }
            let tuning = Tuning {
                route: Some(route),
                ..Tuning::default()
            };
            let model = all.recorded(case, tuning);
            let mut cpu = Cpu::<f64>::new(model.program.clone()).expect("it fits");
            cpu.write_exact(&model.inputs, &case.inputs);
            cpu.write_exact(&model.upstream(0).expect("it is there"), &case.upstream);
            for (name, values) in &case.parameters {
                cpu.write_exact(&parameter(&model, name), values);
            }
            for mask in model.masks().iter().filter(|_| !case.evaluates) {
                let Columns { tensor, stride } = mask.columns;
                for (row, values) in all.mask_rows(case, mask).into_iter().enumerate() {
                    cpu.write_exact(&tensor.part(row * stride, [mask.width]), values);
                }
            }
            let lengths = vec![all.steps as u32; all.batch];
            cpu.write_index(&model.lengths, &lengths).expect("it fits");
            cpu.run(phases(case), 1).expect("it runs");
            // The slope of a hard sigmoid is rounded to f32.
            let is_hard = case.layer.recurrent_activation.slope().is_some();
            let bound = if is_hard { 1e-6 } else { 1e-12 };
            for (what, tensor, expected) in results(case, &model) {
                let found = cpu.read_exact(&tensor);
                for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let error = (found - expected).abs() / expected.abs().max(1.0);
                    let name = &case.name;
                    assert!(
                        error <= bound,
                        "{name} {route:?} {what}[{at}]: {found} against {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn they_are_the_same_in_f32_on_both_executors() {
    let cpu = OpenDevice::open(&Device::Cpu).expect("there is a CPU");
    let gpu = common::gpu().map(|device| OpenDevice::Gpu(Box::new(device)));
    let all = cases();
    let single = |values: &[f64]| -> Vec<f32> { values.iter().map(|&v| v as f32).collect() };
    for device in [Some(cpu), gpu].into_iter().flatten() {
        for case in &all.cases {
            let model = all.recorded(case, device.tuning());
            let mut executor = device.load(&model.program).expect("it loads");
            let mut write = |tensor: &Tensor, values: &[f64]| {
                executor.write(tensor, &single(values)).expect("it fits");
            };
            write(&model.inputs, &case.inputs);
            write(&model.upstream(0).expect("it is there"), &case.upstream);
            for (name, values) in &case.parameters {
                write(&parameter(&model, name), values);
            }
            for mask in model.masks().iter().filter(|_| !case.evaluates) {
                let Columns { tensor, stride } = mask.columns;
                for (row, values) in all.mask_rows(case, mask).into_iter().enumerate() {
                    write(&tensor.part(row * stride, [mask.width]), values);
                }
            }
            let lengths = vec![all.steps as u32; all.batch];
            executor
                .write_index(&model.lengths, &lengths)
                .expect("it fits");
            executor.run(phases(case), 1).expect("it runs");
            for (what, tensor, expected) in results(case, &model) {
                let found = executor.read(&tensor).expect("it can be read");
                let largest = expected.iter().fold(1.0f64, |most, x| most.max(x.abs()));
                let pairs = found.iter().zip(expected);
                let worst = pairs.map(|(&a, b)| (f64::from(a) - b).abs() / largest);
                let worst = worst.fold(0.0, f64::max);
                assert!(worst <= 1e-5, "{} {what}: {worst:e}", case.name);
            }
        }
    }
}

/// Gains begin with ones and shifts with zeros, also where the biases are the shifts.
#[test]
fn normalised_layers_begin_without_gain_and_shift() {
    let inits = [
        Init::Zeros,
        Init::Glorot,
        Init::Orthogonal,
        Init::Torch,
        Init::TruncatedNormal { stddev: 0.5 },
    ];
    let layers = [
        (Cell::Lstm, Bias::None, &["rnn.norm_bias_l0"][..]),
        (
            Cell::Gru,
            Bias::Double,
            &["rnn.bias_ih_l0", "rnn.bias_hh_l0"],
        ),
        (Cell::Gru, Bias::None, &[]),
    ];
    for (init, (cell, bias, shifts)) in inits.iter().flat_map(|&init| layers.map(|l| (init, l))) {
        let layer = Layer {
            layer_norm: true,
            bias,
            init,
            ..Layer::new(cell, 4)
        };
        let head = HeadRecipe::new(Reads::Last, Loss::MeanSquaredError);
        let recipe = Recipe::new("test", vec![layer], head, Optimizer::adam(0.1));
        let network = recipe.network(2, 1).expect("it is accepted");
        let parameters = network.to_parameters(&network.initial(3));
        let of_direction = parameters
            .iter()
            .filter(|each| each.name.starts_with("rnn."));
        let mut expected = vec!["rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.norm_weight_l0"];
        expected.extend(shifts);
        let names: Vec<&str> = of_direction.map(|each| each.name.as_str()).collect();
        assert_eq!(names, expected, "{cell:?}");
        for parameter in &parameters {
            let name = parameter.name.as_str();
            let start = match name {
                "rnn.norm_weight_l0" => 1.0,
                _ if shifts.contains(&name) => 0.0,
                _ => continue,
            };
            assert!(
                parameter.values.iter().all(|&value| value == start),
                "{cell:?} {init:?} {name}"
            );
        }
    }
}

/// A normalised GRU learns, and its model predicts the same after it was saved.
#[test]
fn normalised_grus_are_trained_and_saved() {
    let layer = Layer {
        layer_norm: true,
        bias: Bias::Double,
        bidirectional: true,
        ..Layer::new(Cell::Gru, 6)
    };
    let inputs = ndarray::Array3::<f32>::from_shape_fn((32, 5, 2), |(b, t, i)| {
        (1.0 + 7.1 * b as f32 + 3.3 * t as f32 + 1.7 * i as f32).sin()
    });
    let targets = ndarray::Array2::from_shape_fn((32, 1), |(b, _)| inputs[[b, 2, 1]]);
    let data = Dataset::new(inputs.view(), Targets::values(targets.view())).expect("it is valid");
    let head = HeadRecipe::new(Reads::Last, Loss::MeanSquaredError);
    let mut recipe = Recipe::new("test", vec![layer; 2], head, Optimizer::adam(0.02));
    recipe.epochs = 60;
    recipe.batch_size = 8;
    let model = train::train(&recipe, &data.into(), &Device::Cpu).expect("it trains");
    let bytes = model.to_bytes().expect("it fits");
    let loaded = Model::from_bytes(&bytes).expect("it was saved");
    let predict = |model: &Model| {
        let predictions = model.predict(inputs.view(), &Device::Cpu);
        predictions.expect("it predicts").outputs
    };
    let (predicted, again) = (predict(&model), predict(&loaded));
    assert_eq!(predicted, again);
    let errors = predicted.iter().zip(&targets).map(|(a, b)| (a - b).powi(2));
    let error: f32 = errors.sum::<f32>() / 32.0;
    // The variance of the targets is about 0.5.
    assert!(error < 0.02, "{error}");
}

/// With states carried over chunks of time, the learnt states begin the first chunk alone, and have
/// a gradient from there alone.
#[test]
fn learnt_states_begin_the_first_chunk() {
    let layer = Layer {
        learn_initial_state: true,
        ..Layer::new(Cell::Lstm, 4)
    };
    let network = Network {
        input_size: 2,
        input: Input::Values,
        layers: vec![layer],
        head: Head {
            size: 3,
            reads: Reads::Every,
            loss: Loss::CrossEntropy,
            init: Init::Torch,
        },
        heads: vec![],
        categories: vec![],
    };
    let (steps, batch) = (3, 5);
    let tuning = Tuning::default();
    let mut model = RecordedNetwork::new(&network, steps, batch, Gradients::OfLoss, tuning)
        .expect("the network is valid");
    let words = [control::WORDS];
    let program = &mut model.program;
    let control = program.buffer("control", Kind::Control, Element::Index, words);
    model.carry_states(Phase::Forward, control);
    model.forward(Phase::Forward);
    model.loss(Phase::Forward);
    model.backward();
    let mut cpu = Cpu::<f64>::new(model.program.clone()).expect("it fits");
    let values: Vec<f64> = (0..model.parameters.len())
        .map(|n| (n as f64).sin())
        .collect();
    cpu.write_exact(&model.parameters, &values);
    let lengths = vec![steps as u32; batch];
    cpu.write_index(&model.lengths, &lengths).expect("it fits");
    let layer = model.recurrences().next().expect("it has one");
    let learnt = cpu.read_exact(&parameter(&model, "rnn.c0_l0"));
    let gradient = model.gradient("rnn.c0_l0").expect("it is learnt");
    let chunk = control.part(control::CHUNK, [1]);
    let mut play = |number: u32| {
        cpu.write_index(&chunk, &[number]).expect("it fits");
        let played = cpu.run(&[Phase::Forward, Phase::Backward], 1);
        played.expect("it runs");
        let begin = cpu.read_exact(&layer.states.c.part(0, [batch * 4]));
        let last = cpu.read_exact(&layer.states.last.part(batch * 4, [batch * 4]));
        (begin, last, cpu.read_exact(&gradient))
    };
    let (begin, last, gradient) = play(0);
    assert_eq!(begin, learnt.repeat(batch));
    assert!(gradient.iter().any(|value| value.abs() > 1e-4));
    let (begin, _, gradient) = play(1);
    assert_eq!(begin, last);
    assert_eq!(gradient, [0.0; 4]);
}

/// A constant offset at the first step is learnt by the initial state alone, is saved with the
/// model, and continues texts and series from there.
#[test]
fn learnt_states_are_trained_and_saved() {
    let layer = |learn_initial_state| Layer {
        learn_initial_state,
        bias: Bias::None,
        ..Layer::new(Cell::RnnTanh, 4)
    };
    // Inputs of zeros: without an initial state and biases, all states are zeros.
    let inputs = ndarray::Array3::<f32>::zeros((6, 3, 1));
    let targets = ndarray::Array2::<f32>::from_shape_fn((6, 1), |_| 0.5);
    let data = Dataset::new(inputs.view(), Targets::values(targets.view())).expect("it is valid");
    let trained = |learns: bool| {
        let head = HeadRecipe {
            init: Init::Torch,
            ..HeadRecipe::new(Reads::Last, Loss::MeanSquaredError)
        };
        let mut recipe = Recipe::new("test", vec![layer(learns)], head, Optimizer::adam(0.05));
        recipe.epochs = 8;
        recipe.freeze = vec!["head".into()];
        let data = data.clone().into();
        train::train(&recipe, &data, &Device::Cpu).expect("it trains")
    };
    let h0 = |model: &Model| {
        let found = model.parameters.iter().find(|p| p.name == "rnn.h0_l0");
        found.map(|parameter| parameter.values.clone())
    };
    let model = trained(true);
    let learnt = h0(&model).expect("it is learnt");
    assert!(learnt.iter().all(|value| value.abs() > 0.01), "{learnt:?}");
    assert_eq!(h0(&trained(false)), None);
    let bytes = model.to_bytes().expect("it fits");
    let loaded = Model::from_bytes(&bytes).expect("it was saved");
    assert_eq!(h0(&loaded), h0(&model));
}
