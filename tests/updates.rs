//! Updates: gradients accumulated over several batches, and frozen parts of a network.

mod common;

use std::ops::ControlFlow;

use common::train_until;
use gatescan::data::Inputs;
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::network::{Dropout, MaskSharing};
use gatescan::recipe::ClassWeights;
use gatescan::{
    Cell, Dataset, Device, Event, HeadRecipe, Input, Layer, Loss, OpenDevice, Optimizer, Reads,
    Recipe, Splits, Targets, Trainer,
};

/// 50 sequences of up to 7 steps with a class for each step, some without one, of weights that
/// differ.
fn ragged() -> Dataset {
    let (count, steps, features) = (50, 7, 3);
    let mut random = Philox::new(3, Stream::Shuffle(0));
    let mut draw = |below: u32| random.below(below);
    let values = (0..count * steps * features).map(|_| draw(200) as f32 / 100.0 - 1.0);
    let inputs = Inputs::Floats(values.collect());
    let label = |n: u32| if n == 3 { u32::MAX } else { n };
    let labels = (0..count * steps).map(|_| label(draw(4))).collect();
    let lengths = (0..count).map(|_| draw(steps as u32) + 1).collect();
    let weights = (0..count * steps).map(|_| draw(5) as f32 / 2.0).collect();
    Dataset {
        count,
        steps,
        features,
        inputs,
        targets: Targets::Classes {
            labels,
            classes: 3,
            per_step: true,
        },
        lengths: Some(lengths),
        weights: Some(weights),
    }
}

/// A network whose updates show the gradients: plain descent at the rate 1.
fn recipe() -> Recipe {
    let mut head = HeadRecipe::new(Reads::Every, Loss::CrossEntropy);
    head.class_weights = Some(ClassWeights::Balanced);
    let dropout = |mask| Dropout {
        input_keep_prob: 0.8,
        output_keep_prob: 0.7,
        state_keep_prob: 0.9,
        mask,
    };
    let mut layers = vec![Layer::new(Cell::Lstm, 5), Layer::new(Cell::Gru, 4)];
    layers[1].bias = gatescan::network::Bias::Double;
    layers[0].dropout = dropout(MaskSharing::EachStep);
    layers[1].dropout = dropout(MaskSharing::EachSequence);
    let mut recipe = Recipe::new("updates", layers, head, Optimizer::sgd(1.0));
    recipe.epochs = 2;
    recipe
}

/// The loss of each update, and the parameters after the last one.
fn trained(recipe: &Recipe, data: &Splits, device: &OpenDevice) -> (Vec<f32>, Vec<f32>) {
    let mut trainer = Trainer::load(recipe, data, device).unwrap();
    let mut losses = vec![];
    trainer
        .run(&mut |_, event| {
            if let Event::Progress(progress) = event {
                losses.extend(&progress.step_losses);
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    (losses, flat(&mut trainer))
}

fn flat(trainer: &mut Trainer) -> Vec<f32> {
    let model = trainer.model().unwrap();
    model.network.from_parameters(&model.parameters).unwrap()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn devices() -> Vec<OpenDevice> {
    let gpu = common::gpu().map(|gpu| Device::Gpu(gpu.summary.index));
    let devices = [Device::Cpu].into_iter().chain(gpu);
    devices
        .map(|device| OpenDevice::open(&device).unwrap())
        .collect()
}

/// The device with so many bytes for data.
fn with_window(mut device: OpenDevice, bytes: u64) -> OpenDevice {
    let tuning = match &mut device {
        OpenDevice::Gpu(gpu) => &mut gpu.tuning,
        OpenDevice::Cpu(tuning) => tuning,
        _ => panic!("another device"),
    };
    tuning.data_memory = Some(bytes);
    device
}

/// 50 sequences are updates of 24, 24 and 2: three batches of 8, twice, and one of 2. The losses
/// and parameters are those of the large batches: dropout masks, weights of classes and targets,
/// ragged lengths and the clipped norm are of the whole update.
#[test]
fn accumulated_gradients_are_those_of_the_large_batch() {
    let data: Splits = ragged().into();
    for device in devices() {
        for clip_norm in [None, Some(0.05)] {
            let mut large = recipe();
            large.batch_size = 24;
            large.clip_norm = clip_norm;
            let mut small = large.clone();
            small.batch_size = 8;
            let alone = trained(&small, &data, &device);
            small.accumulate = Some(3);
            let (accumulated, expected) = (
                trained(&small, &data, &device),
                trained(&large, &data, &device),
            );
            assert_eq!(expected.0.len(), 6);
            let difference = worst(&accumulated.0, &expected.0);
            assert!(difference < 2e-6, "losses differ by {difference}");
            let difference = worst(&accumulated.1, &expected.1);
            assert!(difference < 1e-5, "parameters differ by {difference}");
            // The test would not see a difference that is none.
            assert!(worst(&alone.1, &expected.1) > 1e-2);
        }
    }
}

/// A window over the data that is smaller than an update gives the same bits.
#[test]
fn accumulated_gradients_of_streamed_data_have_the_same_bits() {
    let data: Splits = ragged().into();
    let mut recipe = recipe();
    (recipe.batch_size, recipe.accumulate) = (4, Some(5));
    for device in devices() {
        let whole = trained(&recipe, &data, &device);
        let window = with_window(device, 2000);
        assert!(Trainer::load(&recipe, &data, &window).unwrap().streams());
        assert_eq!(trained(&recipe, &data, &window), whole);
    }
}

#[test]
fn a_run_with_accumulated_gradients_resumes_with_the_same_bits() {
    let data: Splits = ragged().into();
    let mut recipe = recipe();
    (recipe.batch_size, recipe.accumulate) = (4, Some(3));
    // No submission goes past a checkpoint.
    recipe.checkpoint.every_steps = Some(1);
    recipe.optimizer = Optimizer::adam(0.01);
    for device in devices() {
        let (_, expected) = trained(&recipe, &data, &device);
        // In the middle of the first epoch of five updates, and of the second one.
        for step in [2, 7] {
            let mut first = Trainer::load(&recipe, &data, &device).unwrap();
            train_until(&mut first, step);
            let checkpoint = first.checkpoint().unwrap();
            assert_eq!(checkpoint.position.step, step);
            let mut second = Trainer::load(&recipe, &data, &device).unwrap();
            second.restore(&checkpoint).unwrap();
            second
                .run(&mut |_, _| Ok(ControlFlow::Continue(())))
                .unwrap();
            assert_eq!(flat(&mut second), expected, "from step {step}");
        }
    }
}

#[test]
fn accumulation_and_chunks_exclude_each_other() {
    let mut recipe = recipe();
    recipe.accumulate = Some(2);
    recipe.bptt_steps = Some(3);
    let message = recipe.validate().unwrap_err().to_string();
    assert!(message.contains("accumulate and bptt_steps"), "{message}");
    recipe.bptt_steps = None;
    for batches in [0, 257] {
        recipe.accumulate = Some(batches);
        let message = recipe.validate().unwrap_err().to_string();
        let expected = format!("accumulate is {batches}; it must be at least 1 and at most 256");
        assert!(message.contains(&expected), "{message}");
    }
}

/// The names of the parameters that training has changed, and the length of the whole change.
fn changed(recipe: &Recipe, data: &Splits, device: &OpenDevice) -> (Vec<String>, f64) {
    let mut trainer = Trainer::load(recipe, data, device).unwrap();
    let before = trainer.model().unwrap().parameters;
    trainer
        .run(&mut |_, _| Ok(ControlFlow::Continue(())))
        .unwrap();
    let checkpoint = trainer.checkpoint().unwrap();
    let network = trainer.model().unwrap().network;
    let after = network.to_parameters(&checkpoint.parameters);
    let mut square = 0.0;
    let mut names = vec![];
    for (before, after) in before.iter().zip(&after) {
        if before.values != after.values {
            names.push(after.name.clone());
        }
        let pairs = before.values.iter().zip(&after.values);
        square += pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    }
    // Frozen parameters have no part in the moments.
    for (name, values) in &checkpoint.moments {
        for entry in network.table().0 {
            let is_zero = values[entry.range()].iter().all(|&value| value == 0.0);
            assert_eq!(
                is_zero,
                !names.contains(&entry.name),
                "{name} {}",
                entry.name
            );
        }
    }
    (names, square.sqrt())
}

#[test]
fn frozen_parts_keep_their_bits_and_are_not_in_the_norm() {
    let data: Splits = ragged().into();
    let mut recipe = recipe();
    recipe.network.layers[0].bidirectional = true;
    recipe.network.layers[1].residual = false;
    recipe.steps = Some(1);
    for device in devices() {
        for (freeze, prefixes) in [
            (vec!["layer0"], vec!["l1", "head"]),
            (vec!["layer1"], vec!["l0", "head"]),
            (vec!["head"], vec!["l0", "l1"]),
            (vec!["layer0", "layer1"], vec!["head"]),
            (vec!["layer0", "head"], vec!["l1"]),
        ] {
            recipe.freeze = freeze.iter().map(ToString::to_string).collect();
            // Weight decay would change parameters without a gradient.
            recipe.optimizer = Optimizer::adamw(0.01);
            recipe.clip_norm = None;
            let (names, _) = changed(&recipe, &data, &device);
            let is_trained = |name: &String| prefixes.iter().any(|part| name.contains(part));
            assert!(
                !names.is_empty() && names.iter().all(is_trained),
                "{freeze:?} {names:?}"
            );
            // The clipped gradient of what is trained has the whole norm.
            recipe.optimizer = Optimizer::sgd(1.0);
            recipe.clip_norm = Some(0.01);
            let (_, length) = changed(&recipe, &data, &device);
            assert!((length - 0.01).abs() < 1e-5, "{freeze:?} {length}");
        }
    }
}

/// What is trained has the gradients that it has without frozen parts.
#[test]
fn frozen_parts_do_not_change_the_gradients_of_others() {
    let data: Splits = ragged().into();
    let mut free = recipe();
    free.steps = Some(1);
    free.network.layers[1].bidirectional = true;
    for device in devices() {
        let (_, all) = trained(&free, &data, &device);
        for freeze in ["layer0", "layer1", "head"] {
            let mut frozen = free.clone();
            frozen.freeze = vec![freeze.into()];
            let trainer = Trainer::load(&frozen, &data, &device).unwrap().model();
            let initial = trainer.unwrap();
            let untrained = initial
                .network
                .from_parameters(&initial.parameters)
                .unwrap();
            let (_, some) = trained(&frozen, &data, &device);
            for entry in initial.network.table().0 {
                let is_frozen = match freeze {
                    "layer0" => entry.name.contains("l0"),
                    "layer1" => entry.name.contains("l1"),
                    _ => entry.name.contains("head"),
                };
                let expected = if is_frozen { &untrained } else { &all };
                assert_eq!(
                    some[entry.range()],
                    expected[entry.range()],
                    "{}",
                    entry.name
                );
            }
        }
    }
}

/// The tables of categories are one part, `embedding`.
#[test]
fn tables_of_categories_can_be_frozen() {
    let mut data: Splits = ragged().into();
    // The last inputs are those of two columns of categories.
    data.preparation.categories = vec![vec!["a".into()], vec!["b".into()]];
    data.preparation.known_ahead = 2;
    let mut recipe = recipe();
    for layer in &mut recipe.network.layers {
        layer.residual = false;
    }
    recipe.steps = Some(1);
    recipe.optimizer = Optimizer::adamw(0.01);
    recipe.clip_norm = None;
    for device in devices() {
        let (names, _) = changed(&recipe, &data, &device);
        let tables = ["embeddings.0.weight", "embeddings.1.weight"].map(String::from);
        assert_eq!(names[..2], tables);
        recipe.freeze = vec!["embedding".into()];
        let (names, _) = changed(&recipe, &data, &device);
        assert!(!names.is_empty(), "{names:?}");
        assert!(names.iter().all(|name| !tables.contains(name)), "{names:?}");
        recipe.freeze = vec!["layer0".into(), "layer1".into(), "head".into()];
        let (names, _) = changed(&recipe, &data, &device);
        assert_eq!(names, tables);
        recipe.freeze = vec![];
    }
}

#[test]
fn an_embedding_can_be_frozen_and_a_tied_one_only_with_the_head() {
    let tokens: Vec<u32> = (0..60).map(|n| n * 7 % 11).collect();
    let tokens = ndarray::Array2::from_shape_vec((10, 6), tokens).unwrap();
    let targets = Targets::classes_per_step(tokens.view(), 11);
    let data: Splits = Dataset::tokens(tokens.view(), 11, targets).unwrap().into();
    let head = HeadRecipe::new(Reads::Every, Loss::CrossEntropy);
    let mut recipe = Recipe::new(
        "tokens",
        vec![Layer::new(Cell::Lstm, 4)],
        head,
        Optimizer::adamw(0.01),
    );
    recipe.steps = Some(1);
    let mut embedding = |tied, freeze: &[&str]| {
        recipe.network.input = Input::Embedding {
            size: 4,
            padding_idx: None,
            init: gatescan::network::Init::Torch,
            tied,
        };
        recipe.freeze = freeze.iter().map(ToString::to_string).collect();
        recipe.clone()
    };
    let device = OpenDevice::open(&Device::Cpu).unwrap();
    let (names, _) = changed(&embedding(false, &["embedding"]), &data, &device);
    assert!(!names.contains(&"embedding.weight".into()), "{names:?}");
    assert!(names.contains(&"rnn.weight_ih_l0".into()), "{names:?}");
    let (names, _) = changed(&embedding(false, &["layer0"]), &data, &device);
    let expected = ["embedding.weight", "head.weight", "head.bias"];
    assert_eq!(names, expected);
    let (names, _) = changed(&embedding(true, &["head", "embedding"]), &data, &device);
    assert!(names.iter().all(|name| name.contains("l0")), "{names:?}");
    for (tied, freeze, expected) in [
        (true, &["head"][..], "freeze both or none"),
        (
            false,
            &["layer0", "head", "embedding"],
            "nothing is left to train",
        ),
        (
            false,
            &["layer1"],
            "freeze has \"layer1\", which is no part of the network",
        ),
        (false, &["laier0"], "did you mean `layer0`?"),
    ] {
        let error = Trainer::load(&embedding(tied, freeze), &data, &device);
        let error = error.err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
