//! Predictions for arrays: they equal those of training, sequences can be split anywhere, and
//! invalid arrays are refused.

mod common;

use gatescan::data::preparation::Normal;
use gatescan::infer::predict::{Sequences, State};
use gatescan::network::Bias;
use gatescan::train;
use gatescan::{
    Cell, Dataset, Device, HeadRecipe, Layer, Loss, Model, Optimizer, Predictor, Reads, Recipe,
    Targets,
};
use ndarray::{Array, Array1, Array2, Array3, Axis, Dimension, concatenate, s};

/// The CPU, and the test GPU if there is one.
fn devices() -> Vec<Device> {
    let gpu = common::gpu().map(|gpu| Device::Gpu(gpu.summary.index));
    [Device::Cpu].into_iter().chain(gpu).collect()
}

/// Values without a pattern in -1..1.
fn noise(shape: (usize, usize, usize)) -> Array3<f32> {
    Array::from_shape_fn(shape, |(n, t, i)| {
        (1.0 + 7.1 * n as f32 + 3.3 * t as f32 + 1.7 * i as f32).sin()
    })
}

/// An untrained model of these layers, for three features and two outputs.
fn model(layers: Vec<Layer>, reads: Reads) -> Model {
    let head = HeadRecipe::new(reads, Loss::CrossEntropy);
    let recipe = Recipe::new("test", layers, head, Optimizer::adam(0.01));
    let network = recipe.network(3, 2).expect("it is accepted");
    Model {
        parameters: network.to_parameters(&network.initial(3)),
        network,
        recipe,
        preparation: Default::default(),
    }
}

/// A layer of every cell, each of a different size, and a projected LSTM on top.
fn every_cell() -> Vec<Layer> {
    let layer = |(n, cell): (usize, Cell)| Layer {
        bias: Bias::largest(cell),
        ..Layer::new(cell, 5 + n)
    };
    let mut layers: Vec<Layer> = Cell::ALL.into_iter().enumerate().map(layer).collect();
    layers.push(Layer {
        projection_size: Some(4),
        ..Layer::new(Cell::Lstm, 6)
    });
    layers
}

fn largest_difference<D: Dimension>(a: &Array<f32, D>, b: &Array<f32, D>) -> f32 {
    assert_eq!(a.shape(), b.shape());
    a.iter()
        .zip(b)
        .fold(0.0, |most, (a, b)| (a - b).abs().max(most))
}

/// The largest difference between states, which must have the same shapes.
fn states_differ(a: &[State], b: &[State]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differ = |(a, b): (&State, &State)| {
        let c = match (&a.c, &b.c) {
            (Some(a), Some(b)) => largest_difference(a, b),
            (None, None) => 0.0,
            _ => panic!("one has a c"),
        };
        largest_difference(&a.h, &b.h).max(c)
    };
    a.iter().zip(b).map(differ).fold(0.0, f32::max)
}

/// Predictions begin with the learnt states, unless others are given.
#[test]
fn learnt_states_begin_sequences() {
    let learns = |layer: Layer| Layer {
        learn_initial_state: true,
        ..layer
    };
    let mut saved = model(every_cell().into_iter().map(learns).collect(), Reads::Every);
    let mut plain = model(every_cell(), Reads::Every);
    let is_learnt = |name: &str| name.starts_with("rnn.h0_") || name.starts_with("rnn.c0_");
    for parameter in saved.parameters.iter_mut().filter(|p| is_learnt(&p.name)) {
        let values = parameter.values.iter_mut().enumerate();
        values.for_each(|(n, value)| *value = (2.0 + n as f32).sin());
    }
    let own = saved.parameters.iter().filter(|p| !is_learnt(&p.name));
    plain.parameters = own.cloned().collect();
    let inputs = noise((3, 4, 3));
    let lengths = [4, 0, 2];
    for device in devices() {
        let load = |model| Predictor::new(model, 4, 2, &device).expect("it loads");
        let (mut saved, mut plain) = (load(&saved), load(&plain));
        let predict = |predictor: &mut Predictor, initial: Option<&[State]>| {
            let prediction = predictor.predict(inputs.view(), Some(&lengths), initial);
            prediction.expect("it predicts")
        };
        let learnt = predict(&mut saved, None);
        let zeros = predict(&mut plain, None);
        assert!(largest_difference(&learnt.hidden, &zeros.hidden) > 1e-3);
        // A sequence of no steps keeps the learnt state.
        let start: Vec<State> = (learnt.states.iter())
            .map(|state| {
                let repeat = |values: &Array2<f32>| {
                    concatenate![
                        Axis(0),
                        values.slice(s![1..2, ..]),
                        values.slice(s![1..2, ..]),
                        values.slice(s![1..2, ..])
                    ]
                };
                State {
                    h: repeat(&state.h),
                    c: state.c.as_ref().map(repeat),
                }
            })
            .collect();
        assert!(
            start
                .iter()
                .all(|state| (state.h[[0, 0]] - 2f32.sin()).abs() < 1e-6)
        );
        let given = predict(&mut plain, Some(&start));
        assert_eq!(given.hidden, learnt.hidden);
        // Given states replace the learnt ones.
        let replaced = predict(&mut saved, Some(&zeroed(&start)));
        assert_eq!(replaced.hidden, zeros.hidden);
    }
}

fn zeroed(states: &[State]) -> Vec<State> {
    let zero = |state: &State| State {
        h: Array2::zeros(state.h.dim()),
        c: state.c.as_ref().map(|c| Array2::zeros(c.dim())),
    };
    states.iter().map(zero).collect()
}

/// A sequence that is split, with its states carried over, gives the same predictions as the whole.
#[test]
fn two_halves_equal_the_whole() {
    let saved = model(every_cell(), Reads::Every);
    let inputs = noise((5, 8, 3));
    // Sequences that end in the first half, at the split, in the second half and at the end.
    let lengths = [2, 4, 7, 8, 0];
    for device in devices() {
        let mut predictor = Predictor::new(&saved, 8, 2, &device).expect("it loads");
        let whole = predictor
            .predict(inputs.view(), Some(&lengths), None)
            .expect("it predicts");
        let mut short = Predictor::new(&saved, 4, 5, &device).expect("it loads");
        for (predictor, bound) in [(&mut predictor, 0.0), (&mut short, 1e-6)] {
            let first = predictor.predict(
                inputs.slice(s![.., ..4, ..]),
                Some(&lengths.map(|length| length.min(4))),
                None,
            );
            let first = first.expect("it predicts");
            let second = predictor.predict(
                inputs.slice(s![.., 4.., ..]),
                Some(&lengths.map(|length| length.saturating_sub(4))),
                Some(&first.states),
            );
            let second = second.expect("it predicts");
            let hidden = concatenate![Axis(1), first.hidden, second.hidden];
            let outputs = concatenate![Axis(1), first.outputs, second.outputs];
            let worst = [
                largest_difference(&outputs, &whole.outputs),
                largest_difference(&hidden, &whole.hidden),
                states_differ(&second.states, &whole.states),
            ];
            println!("{device:?}: {worst:?}");
            assert!(
                worst.iter().all(|&worst| worst <= bound),
                "{device:?}: {worst:?}"
            );
        }
    }
}

/// Predictions do not depend on other sequences or on padded steps; only the first sequence is
/// checked for the steps after it.
#[test]
fn batches_and_padding_change_nothing() {
    for reads in [Reads::Every, Reads::Last] {
        let mut layers = every_cell();
        layers[1].bidirectional = true;
        let saved = model(layers, reads);
        let lengths = [6, 1, 3, 0, 5];
        let mut inputs = noise((5, 6, 3));
        for (n, &length) in lengths.iter().enumerate() {
            inputs.slice_mut(s![n, length.., ..]).fill(f32::NAN);
        }
        for device in devices() {
            let mut predictor = Predictor::new(&saved, 9, 3, &device).expect("it loads");
            let all = predictor
                .predict(inputs.view(), Some(&lengths), None)
                .expect("it predicts");
            assert!(all.outputs.iter().chain(&all.hidden).all(|v| v.is_finite()));
            for (n, &length) in lengths.iter().enumerate() {
                let own = inputs.slice(s![n..n + 1, ..length, ..]);
                let alone = predictor.predict(own, None, None).expect("it predicts");
                let hidden = all.hidden.index_axis(Axis(0), n);
                assert_eq!(
                    hidden.slice(s![..length, ..]),
                    alone.hidden.index_axis(Axis(0), 0)
                );
                assert!(hidden.slice(s![length.., ..]).iter().all(|&h| h == 0.0));
                let outputs = all.outputs.index_axis(Axis(0), n);
                match reads {
                    Reads::Last => assert_eq!(outputs, alone.outputs.index_axis(Axis(0), 0)),
                    Reads::Every => {
                        assert_eq!(outputs.shape(), [6, 2]);
                        assert_eq!(
                            outputs.slice(s![..length, ..]).into_dyn(),
                            alone.outputs.index_axis(Axis(0), 0)
                        );
                        assert!(outputs.slice(s![length.., ..]).iter().all(|&y| y == 0.0));
                    }
                    reads => panic!("{reads:?} is not checked"),
                }
                for (all, alone) in all.states.iter().zip(&alone.states) {
                    assert_eq!(all.h.row(n), alone.h.row(0));
                }
            }
        }
    }
}

/// With the same weights in both directions, a bidirectional layer that reads a reversed sequence,
/// with its initial states swapped, gives reversed predictions.
#[test]
fn the_backward_direction_begins_with_its_own_state() {
    let layer = Layer {
        bidirectional: true,
        ..Layer::new(Cell::Lstm, 4)
    };
    let mut saved = model(vec![layer], Reads::Every);
    for n in 0..saved.parameters.len() {
        let name = saved.parameters[n].name.replace("_reverse", "");
        let forward = saved.parameters.iter().find(|p| p.name == name);
        saved.parameters[n].values = forward.expect("each has one").values.clone();
    }
    let state = |from: f32| State {
        h: Array2::from_shape_fn((2, 4), |(n, h)| from + 0.1 * (n + 2 * h) as f32),
        c: Some(Array2::from_shape_fn((2, 4), |(n, h)| {
            from - 0.1 * (3 * n + h) as f32
        })),
    };
    let (inputs, states) = (noise((2, 5, 3)), [state(0.1), state(-0.2)]);
    let swapped = [states[1].clone(), states[0].clone()];
    let turned = inputs.slice(s![.., ..;-1, ..]);
    for device in devices() {
        let mut predictor = Predictor::new(&saved, 5, 2, &device).expect("it loads");
        let there = predictor
            .predict(inputs.view(), None, Some(&states))
            .expect("it predicts");
        let back = predictor
            .predict(turned, None, Some(&swapped))
            .expect("it predicts");
        assert_eq!(there.hidden.dim(), (2, 5, 8));
        assert_eq!(
            there.hidden.slice(s![.., .., ..4]),
            back.hidden.slice(s![.., ..;-1, 4..])
        );
        assert_eq!(
            there.states,
            [back.states[1].clone(), back.states[0].clone()]
        );
        // A sequence without steps keeps its initial states.
        let none = predictor
            .predict(inputs.view(), Some(&[0, 0]), Some(&states))
            .expect("it predicts");
        assert_eq!(none.states, states);
        // The states do not carry over to the next call.
        let fresh = predictor
            .predict(inputs.view(), None, None)
            .expect("it predicts");
        assert!(states_differ(&fresh.states, &there.states) > 1e-3);
        assert_eq!(
            fresh,
            saved.predict(inputs.view(), &device).expect("it predicts")
        );
    }
}

/// The predictions of a trained network have the loss and the accuracy of its evaluation.
#[test]
fn predictions_have_the_metrics_of_the_evaluation() {
    // The class is the larger of two features in the step before the last valid one.
    let (count, steps) = (150, 7);
    let inputs = noise((count, steps, 3));
    let lengths: Vec<usize> = (0..count).map(|n| 2 + n % (steps - 1)).collect();
    let labels = Array1::from_shape_fn(count, |n| {
        let t = lengths[n] - 2;
        u32::from(inputs[[n, t, 0]] < inputs[[n, t, 1]])
    });
    let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 2))
        .and_then(|data| data.with_lengths(&lengths))
        .expect("it is accepted");
    let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
    let layers = vec![Layer::new(Cell::Lstm, 12)];
    let mut recipe = Recipe::new("before-last", layers, head, Optimizer::adam(0.02));
    recipe.epochs = 20;
    let splits = data.clone().into();
    for device in devices() {
        let saved = train::train(&recipe, &splits, &device).expect("it trains");
        let evaluation = train::evaluate(&saved, &data, 64, &device).expect("it evaluates");
        let accuracy = evaluation.accuracy.expect("it classifies");
        let prediction = Predictor::new(&saved, steps, 64, &device)
            .and_then(|mut predictor| predictor.predict(inputs.view(), Some(&lengths), None))
            .expect("it predicts");
        let (classes, probabilities) = (prediction.classes(), prediction.probabilities());
        let right = classes.iter().zip(&labels).filter(|(a, b)| a == b).count();
        let loss = -labels
            .iter()
            .enumerate()
            .map(|(n, &label)| f64::from(probabilities[[n, label as usize]]).ln())
            .sum::<f64>()
            / count as f64;
        println!("{device:?}: loss {loss}, accuracy {accuracy}");
        assert!(accuracy > 0.9, "{accuracy}");
        assert_eq!(right, (accuracy * count as f64).round() as usize);
        assert!(
            (loss - evaluation.loss).abs() < 1e-5,
            "{loss} {}",
            evaluation.loss
        );
    }
}

/// Padded steps, here with an unreachable target, are not learned.
#[test]
fn targets_of_padded_steps_are_ignored() {
    let lengths = [3, 1, 4, 2];
    let inputs = noise((4, 5, 3));
    let mut values = Array3::from_elem((4, 5, 2), 0.5);
    let clean = Dataset::new(inputs.view(), Targets::values_per_step(values.view()));
    for (n, &length) in lengths.iter().enumerate() {
        values.slice_mut(s![n, length.., ..]).fill(1e6);
    }
    let padded = Dataset::new(inputs.view(), Targets::values_per_step(values.view()));
    let head = HeadRecipe::new(Reads::Every, Loss::MeanSquaredError);
    let mut recipe = Recipe::new(
        "halves",
        vec![Layer::new(Cell::Gru, 4)],
        head,
        Optimizer::adam(0.1),
    );
    recipe.network.layers[0].bias = Bias::Double;
    let train = |data: gatescan::Result<Dataset>| {
        let data = data
            .and_then(|data| data.with_lengths(&lengths))
            .expect("it is accepted");
        train::train(&recipe, &data.into(), &Device::Cpu).expect("it trains")
    };
    assert_eq!(train(clean), train(padded));
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    let saved = model(
        vec![Layer::new(Cell::Lstm, 4), Layer::new(Cell::RnnTanh, 2)],
        Reads::Last,
    );
    let mut predictor = Predictor::new(&saved, 4, 2, &Device::Cpu).expect("it loads");
    let states = |shapes: [(usize, Option<usize>); 2]| {
        shapes.map(|(h, c)| State {
            h: Array2::zeros((2, h)),
            c: c.map(|c| Array2::zeros((2, c))),
        })
    };
    let fitting = states([(4, Some(4)), (2, None)]);
    let mut refused = |shape, lengths: Option<&[usize]>, initial: Option<&[State]>, expected| {
        let inputs = Array3::zeros(shape);
        let error = predictor
            .predict(inputs.view(), lengths, initial)
            .expect_err(expected);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(expected), "{error}");
    };
    refused(
        (2, 4, 2),
        None,
        None,
        "2 features at each step, but the network takes 3",
    );
    refused(
        (2, 5, 3),
        None,
        None,
        "5 steps, and the predictor was made for at most 4",
    );
    refused(
        (2, 4, 3),
        Some(&[1]),
        None,
        "there are 1 lengths; there must be 2",
    );
    refused(
        (2, 3, 3),
        Some(&[3, 4]),
        None,
        "the length of sequence 1 is 4; there are 3 steps",
    );
    refused(
        (2, 4, 3),
        None,
        Some(&fitting[..1]),
        "1 initial states, and the network has 2",
    );
    refused(
        (1, 4, 3),
        None,
        Some(&fitting),
        "state 0 has h [2, 4] and c [2, 4]; it must have h [1, 4]",
    );
    refused(
        (2, 4, 3),
        None,
        Some(&states([(4, Some(4)), (2, Some(2))])),
        "state 1 has h [2, 2] and c [2, 2]; it must have h [2, 2] and no c",
    );
    refused(
        (2, 4, 3),
        None,
        Some(&states([(4, Some(3)), (2, None)])),
        "state 0 has h [2, 4] and c [2, 3]",
    );
    // Zero sequences are allowed.
    let none = predictor
        .predict(Array3::zeros((0, 4, 3)).view(), None, None)
        .expect("it predicts");
    assert_eq!(
        (none.outputs.shape(), none.states[1].h.dim()),
        (&[0, 2][..], (0, 2))
    );
    assert_eq!(none.classes().len(), 0);
}

#[test]
fn values_that_are_not_finite_are_refused_with_their_index() {
    let saved = model(vec![Layer::new(Cell::Lstm, 4)], Reads::Last);
    let mut predictor = Predictor::new(&saved, 4, 2, &Device::Cpu).expect("it loads");
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut inputs = noise((3, 4, 3));
        inputs[[2, 3, 1]] = wrong;
        let error = predictor
            .predict(inputs.view(), None, None)
            .expect_err("it is not finite");
        let expected = format!("the inputs at [2, 3, 1] are {wrong}");
        assert!(error.to_string().contains(&expected), "{error}");
        assert_eq!(error.exit_code(), 2);
        let error = predictor
            .predict(
                Sequences::Doubles(inputs.mapv(f64::from).view()),
                None,
                None,
            )
            .expect_err("it is not finite");
        assert!(error.to_string().contains("[2, 3, 1]"), "{error}");
        saved
            .predict(inputs.view(), &Device::Cpu)
            .expect_err("it is not finite");
        // Padded steps are not read.
        predictor
            .predict(inputs.view(), Some(&[4, 4, 3]), None)
            .expect("it is padding");
        let mut states = predictor
            .predict(noise((3, 4, 3)).view(), None, None)
            .expect("it predicts")
            .states;
        states[0].c.as_mut().expect("an LSTM has one")[[1, 2]] = wrong;
        let error = predictor
            .predict(noise((3, 4, 3)).view(), None, Some(&states))
            .expect_err("it is not finite");
        let expected = format!("initial state 0 has {wrong} in c at [1, 2]");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

#[test]
fn parameters_that_are_not_finite_are_refused_by_name() {
    let mut saved = model(vec![Layer::new(Cell::Lstm, 4)], Reads::Last);
    let recurrent = saved
        .parameters
        .iter_mut()
        .find(|p| p.name == "rnn.weight_hh_l0");
    recurrent.expect("there is one").values[4 * 3 + 1] = f32::INFINITY;
    let inputs = noise((2, 4, 3));
    let predicted = saved.predict(inputs.view(), &Device::Cpu).map(|_| ());
    let directory = tempfile::tempdir().expect("it can be made");
    let stored = saved.save(&directory.path().join("model.safetensors"));
    for refused in [predicted, stored] {
        let message = refused.expect_err("it is not finite").to_string();
        assert!(
            message.contains("rnn.weight_hh_l0 is inf at [3, 1]"),
            "{message}"
        );
    }
}

/// An RNN whose state grows a thousandfold with each step.
fn exploding(reads: Reads) -> Model {
    let mut saved = model(vec![Layer::new(Cell::RnnRelu, 2)], reads);
    for parameter in &mut saved.parameters {
        let value = match &parameter.name[..] {
            "rnn.weight_hh_l0" | "rnn.weight_ih_l0" => 1000.0,
            "head.weight" => 1.0,
            _ => 0.0,
        };
        parameter.values.fill(value);
    }
    saved
}

#[test]
fn outputs_that_are_not_finite_are_refused_with_the_sequence() {
    for reads in [Reads::Last, Reads::Every] {
        let saved = exploding(reads);
        let mut inputs = Array3::zeros((5, 20, 3));
        inputs.index_axis_mut(Axis(0), 3).fill(1.0);
        for device in devices() {
            let error = saved
                .predict(inputs.view(), &device)
                .expect_err("it is too large");
            let message = error.to_string();
            assert!(
                message.contains("the outputs of sequence 3 are not finite"),
                "{message}"
            );
            assert_eq!(error.exit_code(), 1);
            // The last one fits.
            inputs.index_axis_mut(Axis(0), 3).fill(0.0);
            saved.predict(inputs.view(), &device).expect("it fits");
            inputs.index_axis_mut(Axis(0), 3).fill(1.0);
        }
        let labels = match reads {
            Reads::Every => Targets::classes_per_step(Array2::zeros((5, 20)).view(), 2),
            _ => Targets::classes(Array1::zeros(5).view(), 2),
        };
        let data = Dataset::new(inputs.view(), labels).expect("it is accepted");
        let error = train::evaluate(&saved, &data, 2, &Device::Cpu).expect_err("it is too large");
        let message = error.to_string();
        assert!(
            message.contains("the loss of sequence 3 is not finite"),
            "{message}"
        );
    }
}

/// A model of normalised data takes and gives values in the units of the data.
#[test]
fn predictions_are_in_the_units_of_the_data() {
    let layer = Layer {
        bias: Bias::Double,
        ..Layer::new(Cell::Gru, 4)
    };
    let mut plain = model(vec![layer], Reads::Every);
    plain.network.head.loss = Loss::MeanSquaredError;
    let mut saved = plain.clone();
    let normal = |mean, deviation| Normal { mean, deviation };
    saved.preparation.inputs = vec![normal(1.7e9, 2.0), normal(-5.0, 0.5), normal(0.0, 1.0)];
    saved.preparation.targets = vec![normal(1.7e9, 30.0), normal(2.0, 4.0)];
    let normalised = noise((4, 6, 3));
    let own = Array::from_shape_fn((4, 6, 3), |at| {
        saved.preparation.inputs[at.2].undo(normalised[at])
    });
    let expected = plain
        .predict(normalised.view(), &Device::Cpu)
        .expect("it predicts");
    let found = saved
        .predict(Sequences::Doubles(own.view()), &Device::Cpu)
        .expect("it predicts");
    // In f64, the level costs less than a millionth.
    assert!(largest_difference(&found.hidden, &expected.hidden) < 1e-5);
    assert_eq!(expected.values(), expected.outputs.mapv(f64::from));
    for ((at, value), output) in found.values().indexed_iter().zip(&expected.outputs) {
        let normal = saved.preparation.targets[at[2]];
        let restored = f64::from(*output) * normal.deviation + normal.mean;
        assert!(
            (value - restored).abs() < 1e-4 * normal.deviation,
            "{value} {restored}"
        );
        assert_eq!(found.outputs[at.clone()], *value as f32);
    }
    // In f32, where that is exact enough.
    let mut low = saved.clone();
    low.preparation.inputs[0].mean = 100.0;
    let in_f32 = own.mapv(|value| value as f32);
    let mut predictor = Predictor::new(&low, 6, 3, &Device::Cpu).expect("it loads");
    let low_inputs = Array::from_shape_fn((4, 6, 3), |at| {
        low.preparation.inputs[at.2].undo(normalised[at]) as f32
    });
    let again = predictor
        .predict(low_inputs.view(), None, None)
        .expect("it predicts");
    assert!(largest_difference(&again.hidden, &expected.hidden) < 1e-4);
    // The first feature cannot be told apart in f32.
    let lost = saved
        .predict(in_f32.view(), &Device::Cpu)
        .expect("it predicts");
    assert!(largest_difference(&lost.hidden, &expected.hidden) > 1e-3);
    // A preparation of other sizes.
    saved.preparation.targets.pop();
    let message = saved
        .predict(Sequences::Doubles(own.view()), &Device::Cpu)
        .expect_err("it has one");
    assert!(
        message.to_string().contains("1 normalized targets"),
        "{message}"
    );
}

/// README.md shows the example of the library's front page, which is a doc test.
#[test]
fn the_readme_shows_the_tested_example() {
    let example = include_str!("../src/lib.rs").split("//! ```\n").nth(1);
    let lines = example.expect("there is one").lines();
    let mut shown: Vec<&str> = lines.map(|line| line[3..].trim_start()).collect();
    let end = shown.iter().position(|line| line.starts_with("let right"));
    shown.truncate(end.expect("it is checked there"));
    let example = shown.join("\n");
    assert!(include_str!("../README.md").contains(&example), "{example}");
}
