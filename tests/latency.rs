//! A stream that is predicted step by step: the bits of whole sequences, states that continue,
//! steps that allocate nothing, and models that are refused by name.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;

use gatescan::data::preparation::{InputDifference, Normal};
use gatescan::network::{Activation, Bias};
use gatescan::{
    Cell, Device, HeadRecipe, Layer, Loss, Model, Optimizer, Predictor, Reads, Recipe,
    StepPredictor,
};
use ndarray::{Array3, s};

thread_local! {
    static ALLOCATIONS: Counter<usize> = const { Counter::new(0) };
}

/// The system's allocator, which counts the allocations of each thread.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const STEPS: usize = 7;

/// Values without a pattern in -1..1, `[1, STEPS, 3]`.
fn series() -> Array3<f32> {
    Array3::from_shape_fn((1, STEPS, 3), |(_, t, i)| {
        (1.0 + 3.3 * t as f32 + 1.7 * i as f32).sin()
    })
}

/// An untrained model of these layers, for three features and two outputs.
fn model(layers: Vec<Layer>, reads: Reads, loss: Loss) -> Model {
    let recipe = Recipe::new(
        "test",
        layers,
        HeadRecipe::new(reads, loss),
        Optimizer::adam(0.01),
    );
    let network = recipe.network(3, 2).expect("it is accepted");
    let mut parameters = network.to_parameters(&network.initial(3));
    // Learnt states start with zeros, as others are.
    let is_state = |name: &str| name.contains(".h0_") || name.contains(".c0_");
    for learnt in parameters.iter_mut().filter(|each| is_state(&each.name)) {
        learnt.values.fill(0.4);
    }
    Model {
        parameters,
        network,
        recipe,
        preparation: Default::default(),
    }
}

/// Models of every cell, and of every option that changes a forward pass.
fn models() -> Vec<(String, Model)> {
    let layer = |cell: Cell, size: usize| Layer {
        bias: Bias::largest(cell),
        ..Layer::new(cell, size)
    };
    let cells = Cell::ALL.into_iter().enumerate();
    let every_cell: Vec<Layer> = cells.map(|(n, cell)| layer(cell, 17 + n)).collect();
    let lstm = |change: &dyn Fn(&mut Layer)| {
        let mut layer = layer(Cell::Lstm, 20);
        change(&mut layer);
        vec![layer; 2]
    };
    let networks = [
        ("every cell", every_cell),
        ("large", vec![layer(Cell::Lstm, 300)]),
        ("projection", lstm(&|layer| layer.projection_size = Some(6))),
        ("clip", lstm(&|layer| layer.cell_clip = Some(0.05))),
        (
            "layer norm",
            [Cell::Lstm, Cell::Gru]
                .map(|cell| Layer {
                    layer_norm: true,
                    ..layer(cell, 20)
                })
                .to_vec(),
        ),
        ("relu", lstm(&|layer| layer.activation = Activation::Relu)),
        (
            "zoneout",
            lstm(&|layer| (layer.zoneout, layer.zoneout_cell) = (0.2, 0.3)),
        ),
        (
            "learnt states",
            lstm(&|layer| layer.learn_initial_state = true),
        ),
        (
            "residual",
            lstm(&|layer| (layer.hidden_size, layer.residual) = (3, true)),
        ),
    ];
    let networks = networks.into_iter();
    networks
        .map(|(name, layers)| {
            let model = model(layers, Reads::Every, Loss::CrossEntropy);
            (name.to_string(), model)
        })
        .collect()
}

/// The outputs of each step through a stream.
fn outputs(stream: &mut StepPredictor, series: &Array3<f32>) -> Vec<f32> {
    let steps = series.index_axis(ndarray::Axis(0), 0);
    let step = |row: ndarray::ArrayView1<f32>| stream.step(&row.to_vec()).expect("it predicts");
    steps.outer_iter().flat_map(step).collect()
}

fn bits(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn steps_have_the_bits_of_whole_sequences() {
    let series = series();
    for (name, model) in models() {
        let mut whole = Predictor::new(&model, STEPS, 1, &Device::Cpu).unwrap();
        let whole = whole.predict(series.view(), None, None).unwrap();
        let mut stream = StepPredictor::new(&model, &Device::Cpu).unwrap();
        assert_eq!((stream.input_size(), stream.output_size()), (3, 2));
        let found = outputs(&mut stream, &series);
        assert_eq!(bits(found), bits(whole.outputs.clone()), "{name}");
        assert_eq!(stream.states().unwrap(), whole.states, "{name}");

        stream.reset().unwrap();
        let again = outputs(&mut stream, &series.slice(s![.., ..3, ..]).to_owned());
        assert_eq!(
            bits(again),
            bits(whole.outputs.clone()).split_at(6).0,
            "{name}"
        );
        // The states of a prediction continue its sequence.
        let mut predictor = Predictor::new(&model, STEPS, 1, &Device::Cpu).unwrap();
        let begun = predictor
            .predict(series.slice(s![.., ..4, ..]), None, None)
            .unwrap();
        stream.set_states(&begun.states).unwrap();
        let rest = outputs(&mut stream, &series.slice(s![.., 4.., ..]).to_owned());
        assert_eq!(bits(rest), bits(whole.outputs).split_at(8).1, "{name}");
    }
}

#[test]
fn steps_on_a_gpu_are_those_of_the_cpu() {
    let Some(gpu) = common::gpu() else { return };
    let (series, (_, model)) = (series(), models().remove(0));
    let device = Device::Gpu(gpu.summary.index);
    let found = outputs(&mut StepPredictor::new(&model, &device).unwrap(), &series);
    let expected = outputs(
        &mut StepPredictor::new(&model, &Device::Cpu).unwrap(),
        &series,
    );
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
    }
}

#[test]
fn steps_allocate_nothing() {
    for (name, model) in models() {
        let mut stream = StepPredictor::new(&model, &Device::Cpu).unwrap();
        let mut output = [0.0; 2];
        // The first step reads the features of the machine.
        stream.step_into(&[0.1, 0.2, 0.3], &mut output).unwrap();
        let before = ALLOCATIONS.get();
        for _ in 0..10 {
            stream.step_into(&[0.3, -0.2, 0.1], &mut output).unwrap();
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{name}");
        // The counter counts.
        let _ = stream.step(&[0.1, 0.2, 0.3]).unwrap();
        assert!(ALLOCATIONS.get() > before, "{name}");
    }
}

#[test]
fn inputs_and_outputs_are_in_the_units_of_the_data() {
    let layers = vec![Layer::new(Cell::Lstm, 8)];
    let mut model = model(layers, Reads::Every, Loss::MeanSquaredError);
    let normal = |mean: f64, deviation: f64| Normal { mean, deviation };
    model.preparation.inputs = vec![normal(10.0, 2.0), normal(-3.0, 0.5), normal(0.0, 1.0)];
    model.preparation.targets = vec![normal(100.0, 7.0), normal(5.0, 0.1)];
    model.preparation.residuals = vec![0, 1];
    let series = series().mapv(|value| 3.0 * value + 9.0);
    let mut whole = Predictor::new(&model, STEPS, 1, &Device::Cpu).unwrap();
    let whole = whole.predict(series.view(), None, None).unwrap();
    let mut stream = StepPredictor::new(&model, &Device::Cpu).unwrap();
    assert_eq!(bits(outputs(&mut stream, &series)), bits(whole.outputs));
}

#[test]
fn models_and_values_that_do_not_suit_a_stream_are_refused_by_name() {
    let refusal = |model: &Model| {
        let error = StepPredictor::new(model, &Device::Cpu)
            .err()
            .expect("it is refused");
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    let gru = || vec![Layer::new(Cell::Lstm, 4)];
    let both = Layer {
        bidirectional: true,
        ..Layer::new(Cell::Lstm, 4)
    };
    let bidirectional = model(vec![both], Reads::Last, Loss::CrossEntropy);
    assert!(refusal(&bidirectional).contains("bidirectional"));
    let pooled = model(gru(), Reads::Mean, Loss::CrossEntropy);
    assert!(refusal(&pooled).contains("reads = \"mean\""));
    let mut differences = model(gru(), Reads::Last, Loss::CrossEntropy);
    differences.preparation.differences = vec![InputDifference {
        input: 0,
        lag: 1,
        scale: 1.0,
    }];
    assert!(refusal(&differences).contains("data.differences"));

    let accepted = model(gru(), Reads::Last, Loss::CrossEntropy);
    let mut stream = StepPredictor::new(&accepted, &Device::Cpu).unwrap();
    let first = stream.step(&[0.1, 0.2, 0.3]).unwrap();
    for (input, message) in [
        (&[0.1, 0.2][..], "has 2 values, but the network takes 3"),
        (&[0.1, f32::NAN, 0.3], "the input at [1] is NaN"),
    ] {
        let error = stream.step(input).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(message), "{error}");
    }
    let error = stream
        .step_into(&[0.1, 0.2, 0.3], &mut [0.0; 3])
        .unwrap_err();
    assert!(error.to_string().contains("room for 3 values"), "{error}");
    // Refused steps change no state.
    let second = stream.step(&[0.1, 0.2, 0.3]).unwrap();
    stream.reset().unwrap();
    assert_eq!(stream.step(&[0.1, 0.2, 0.3]).unwrap(), first);
    assert_eq!(stream.step(&[0.1, 0.2, 0.3]).unwrap(), second);
}
