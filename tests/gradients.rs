//! Hand-written back-propagation through time against finite differences, in f64: every cell with
//! every bias and option, one to three layers, heads that read the last step or every step, both
//! losses, ragged lengths, both routes.

use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::tuning::{Route, Tuning};
use gatescan::low_level::kernels::{Columns, IGNORE, MISSING};
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, RecordedNetwork, TrainingLoss};
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::network::{
    Activation, Bias, CategoryTable, Dropout, Init, NamedHead, Padding, RecurrentActivation,
};
use gatescan::{Cell, Head, Input, Layer, Loss, Network, Reads};

/// The error of f64 differences with a step of 1e-5: truncation of order 1e-10, rounding of order
/// 1e-16 / 1e-5.
const RELATIVE: f64 = 1e-6;

const STEP: f64 = 1e-5;

struct Case {
    /// The layers; their sizes become [`SIZES`].
    layers: Vec<Layer>,
    reads: Reads,
    loss: Loss,
    route: Route,
    ragged: bool,
    /// Whether the input is tokens, with an embedding tied to the head.
    tied: bool,
}

impl Case {
    fn name(&self) -> String {
        let Case {
            layers,
            reads,
            loss,
            route,
            ragged,
            tied,
        } = self;
        format!("{layers:?} {reads:?} {loss:?} {route:?} ragged {ragged} tied {tied}")
    }

    fn network(&self) -> Network {
        let layer = |(layer, &hidden_size): (&Layer, &usize)| Layer {
            hidden_size,
            ..layer.clone()
        };
        let layers: Vec<Layer> = self.layers.iter().zip(&SIZES).map(layer).collect();
        let embedding = Input::Embedding {
            size: layers.last().map_or(0, Layer::emitted_size),
            padding_idx: None,
            init: Init::Torch,
            tied: true,
        };
        Network {
            input_size: if self.tied { 4 } else { 3 },
            input: if self.tied { embedding } else { Input::Values },
            layers,
            head: Head {
                size: 4,
                reads: self.reads,
                loss: self.loss,
                init: Init::Torch,
            },
            heads: vec![],
            categories: vec![],
        }
    }
}

/// Hidden units of each layer: all different, so that no layer can be mistaken for another.
const SIZES: [usize; 3] = [5, 4, 3];

/// Returns a layer of `cell` without options.
fn plain(cell: Cell, bias: Bias) -> Layer {
    let forget_bias = if cell.spec().options.forget_gate.is_some() && bias != Bias::None {
        1.0
    } else {
        0.0
    };
    Layer {
        bias,
        init: Init::Torch,
        forget_bias,
        ..Layer::new(cell, SIZES[0])
    }
}

/// Returns layers of `cell` with each of its options, combined, and without options.
fn variants(cell: Cell, bias: Bias) -> Vec<Layer> {
    let plain = plain(cell, bias);
    // Two directions of different sizes.
    let both = |layer: &Layer| Layer {
        bidirectional: true,
        backward_hidden_size: Some(4),
        ..layer.clone()
    };
    let more = [noises(&plain), learns(&plain), norms(&plain)].concat();
    let functions = [functions(&plain), more].concat();
    if !cell.spec().options.projection {
        return [vec![both(&plain), plain], functions].concat();
    }
    let clipped = Layer {
        cell_clip: Some(0.4),
        ..plain.clone()
    };
    let projected = Layer {
        projection_size: Some(3),
        ..plain.clone()
    };
    // P above H, with h and c clipped.
    let widened = Layer {
        projection_size: Some(7),
        projection_clip: Some(0.2),
        ..clipped.clone()
    };
    let all = vec![
        both(&plain),
        both(&widened),
        plain,
        clipped,
        projected,
        widened,
    ];
    [all, functions].concat()
}

/// Returns the layer with layer normalisation, if its cell may have it, alone and with other
/// options.
fn norms(layer: &Layer) -> Vec<Layer> {
    if layer.cell.spec().options.layer_norm.is_none() {
        return vec![];
    }
    let normalised = Layer {
        layer_norm: true,
        layer_norm_epsilon: Some(1e-3),
        ..layer.clone()
    };
    let more = Layer {
        bidirectional: true,
        backward_hidden_size: Some(4),
        learn_initial_state: true,
        activation: Activation::Softsign,
        recurrent_activation: RecurrentActivation::HardSigmoid,
        dropout: Dropout {
            state_keep_prob: 0.7,
            ..Dropout::default()
        },
        ..normalised.clone()
    };
    // The biases of a GRU are its shifts.
    let unshifted = Layer {
        bias: Bias::None,
        ..normalised.clone()
    };
    vec![normalised, more, unshifted]
}

/// Returns the layer with learnt initial states, alone and with other options.
fn learns(layer: &Layer) -> Vec<Layer> {
    let learns = Layer {
        learn_initial_state: true,
        ..layer.clone()
    };
    let projects = layer.cell.spec().options.projection;
    let noise = Layer {
        bidirectional: true,
        backward_hidden_size: Some(4),
        projection_size: projects.then_some(3),
        zoneout: 0.4,
        ..learns.clone()
    };
    vec![learns, noise]
}

/// Returns the layer with recurrent dropout and with zoneout, alone and with other options.
fn noises(layer: &Layer) -> Vec<Layer> {
    let spec = layer.cell.spec();
    let keeps_c = spec.states > 1 && spec.peepholes.is_empty();
    let zoneout = Layer {
        zoneout: 0.4,
        zoneout_cell: if keeps_c { 0.3 } else { 0.0 },
        cell_clip: spec.options.cell_clip.then_some(0.4),
        ..layer.clone()
    };
    let recurrent_dropout = if spec.recurrent_gates > 0 { 0.3 } else { 0.0 };
    let both = Layer {
        recurrent_dropout,
        projection_size: spec.options.projection.then_some(3),
        projection_clip: spec.options.projection.then_some(0.2),
        ..zoneout.clone()
    };
    let dropped = Layer {
        recurrent_dropout,
        bidirectional: true,
        ..layer.clone()
    };
    vec![zoneout, both, dropped]
}

/// Returns the layer with each function of candidates and of gates that its cell may have.
fn functions(layer: &Layer) -> Vec<Layer> {
    if !layer.cell.spec().options.activations {
        return vec![];
    }
    let of_candidate = Activation::ALL.map(|activation| Layer {
        activation,
        ..layer.clone()
    });
    let of_gates = RecurrentActivation::ALL.map(|recurrent_activation| Layer {
        activation: Activation::Softsign,
        recurrent_activation,
        ..layer.clone()
    });
    [&of_candidate[1..], &of_gates[1..]].concat()
}

/// A recorded network with its data and parameters.
struct Prepared {
    model: RecordedNetwork,
    cpu: Cpu<f64>,
    parameters: Vec<f64>,
}

const STEPS: usize = 6;
const BATCH: usize = 5;

fn set(case: &Case, gradients: Gradients, seed: u64) -> Prepared {
    set_with(case, gradients, seed, None)
}

/// [`set`] with what training adds to the loss, and whether outputs have weights.
fn set_with(
    case: &Case,
    gradients: Gradients,
    seed: u64,
    training: Option<(TrainingLoss, bool)>,
) -> Prepared {
    prepare(case.network(), case, gradients, seed, training)
}

/// [`set_with`] of a network in the place of the case's own.
fn prepare(
    network: Network,
    case: &Case,
    gradients: Gradients,
    seed: u64,
    training: Option<(TrainingLoss, bool)>,
) -> Prepared {
    // Steps of a normalised layer depend on all units, so that it has only scans.
    let is_normalised = network.layers.iter().any(|layer| layer.layer_norm);
    let tuning = Tuning {
        route: Some(case.route).filter(|_| !is_normalised),
        ..Tuning::default()
    };
    let mut model = RecordedNetwork::new(&network, STEPS, BATCH, gradients, tuning)
        .expect("the network is valid");
    model.add_lists(3).expect("they are small");
    if gradients == Gradients::OfUpstream {
        // The test of initial states writes them, learnt or not.
        model.take_states_from_host(Phase::Forward);
    }
    model.forward(Phase::Forward);
    match training {
        Some((training, weighted)) => {
            let heads = model.each_head().len();
            if weighted {
                for head in 0..heads {
                    model.add_weights(head);
                }
            }
            model.training_loss(&vec![training; heads]);
        }
        None if gradients == Gradients::OfLoss => model.loss(Phase::Forward),
        None => {}
    }
    model.backward();
    let mut cpu = Cpu::<f64>::new(model.program.clone()).expect("it fits");
    let mut random = Philox::new(seed, Stream::Shuffle(0));
    let mut normal = |count: usize| -> Vec<f64> { (0..count).map(|_| random.normal()).collect() };
    let inputs = normal(model.inputs.len());
    if case.tied {
        // Each token occurs several times; in a ragged case at padded steps too.
        let tokens: Vec<u32> = inputs.iter().map(|x| (8.0 * x.abs()) as u32 % 4).collect();
        cpu.write_index(&model.inputs, &tokens)
            .expect("sizes agree");
    } else {
        cpu.write_exact(&model.inputs, &inputs);
    }
    for targets in model.each_head().iter().filter_map(|head| head.targets) {
        // One target in five is missing.
        let missing = |(at, value)| {
            if at % 5 == 2 {
                f64::from(MISSING)
            } else {
                value
            }
        };
        let values = normal(targets.len()).into_iter().enumerate();
        cpu.write_exact(&targets, &values.map(missing).collect::<Vec<_>>());
    }
    for layer in model.recurrences() {
        for (state, size) in [layer.states.h, layer.states.c]
            .iter()
            .zip(layer.state_sizes())
        {
            cpu.write_exact(&state.part(0, [size]), &normal(size));
        }
    }
    for lists in model.each_head().iter().filter_map(|head| head.lists) {
        // Repeated labels, and lists that are empty or too long for a ragged case.
        let each: [&[u32]; BATCH] = [&[1, 1, 3], &[], &[2, 2, 3], &[1, 2], &[3, 2]];
        let label = |at: usize| each[at % BATCH].get(at / BATCH).copied();
        let labels: Vec<u32> = (0..3 * BATCH)
            .map(|at| label(at).unwrap_or(IGNORE))
            .collect();
        cpu.write_index(&lists.labels, &labels)
            .expect("sizes agree");
    }
    for mask in model.masks() {
        let Columns { tensor, stride } = mask.columns;
        for row in 0..mask.steps * BATCH {
            let draw = |x: f64| if x > 0.5 { 0.0 } else { 1.0 / mask.keep_prob };
            let values: Vec<f64> = normal(mask.width).into_iter().map(draw).collect();
            cpu.write_exact(&tensor.part(row * stride, [mask.width]), &values);
        }
    }
    for weights in model.each_head().iter().filter_map(|head| head.weights) {
        let values = normal(weights.len());
        let weight = |value: &f64| value.abs();
        cpu.write_exact(&weights, &values.iter().map(weight).collect::<Vec<_>>());
    }
    let rows = model.head.labels.len() as u32;
    // One label in seven is ignored.
    let labels: Vec<u32> = (0..rows)
        .map(|row| if row % 7 == 3 { IGNORE } else { row % 4 })
        .collect();
    cpu.write_index(&model.head.labels, &labels)
        .expect("sizes agree");
    for (n, head) in model.heads.iter().enumerate() {
        // Other rows are ignored by each head.
        let label = |(row, &label): (usize, &u32)| match row % 5 == n {
            true => IGNORE,
            false => label,
        };
        let own = labels.iter().enumerate().map(label);
        let own: Vec<u32> = own.take(head.labels.len()).collect();
        cpu.write_index(&head.labels, &own).expect("sizes agree");
    }
    let lengths: Vec<u32> = (0..BATCH as u32)
        .map(|b| {
            if case.ragged {
                [6, 0, 3, 1, 9][b as usize]
            } else {
                6
            }
        })
        .collect();
    cpu.write_index(&model.lengths, &lengths)
        .expect("sizes agree");
    let parameters: Vec<f64> = network.initial(seed).into_iter().map(f64::from).collect();
    Prepared {
        model,
        cpu,
        parameters,
    }
}

impl Prepared {
    /// Returns the loss with parameter `at` changed by `by`.
    fn loss(&mut self, at: usize, by: f64) -> f64 {
        self.parameters[at] += by;
        self.cpu
            .write_exact(&self.model.parameters, &self.parameters);
        self.parameters[at] -= by;
        self.cpu
            .run(&[Phase::Forward], 1)
            .expect("the CPU does not fail");
        let scores = self.cpu.read_exact(&self.model.head.scores);
        scores[..scores.len() / 2].iter().sum::<f64>()
            * self.cpu.read_exact(&self.model.head.label_weight)[0]
    }
}

fn check(case: &Case) {
    check_with(case, None);
}

fn check_with(case: &Case, training: Option<(TrainingLoss, bool)>) {
    compare_with_differences(case, &mut set_with(case, Gradients::OfLoss, 11, training));
}

/// Compares the gradient of every parameter with differences of the loss.
fn compare_with_differences(case: &Case, prepared: &mut Prepared) {
    prepared
        .cpu
        .write_exact(&prepared.model.parameters, &prepared.parameters);
    prepared
        .cpu
        .run(&[Phase::Forward, Phase::Backward], 1)
        .expect("the CPU does not fail");
    let gradients = prepared
        .cpu
        .read_exact(&prepared.model.gradients.expect("it was requested"));
    let largest = gradients
        .iter()
        .fold(0.0f64, |largest, g| largest.max(g.abs()));
    assert!(
        largest > 1e-4,
        "{}: the gradient is almost zero",
        case.name()
    );
    for entry in prepared.model.entries.clone() {
        for at in entry.range() {
            let difference = (prepared.loss(at, STEP) - prepared.loss(at, -STEP)) / (2.0 * STEP);
            let error = (gradients[at] - difference).abs() / largest;
            assert!(
                error < RELATIVE,
                "{}: {}[{}] is {} and should be {difference}",
                case.name(),
                entry.name,
                at - entry.offset,
                gradients[at]
            );
        }
    }
}

#[test]
fn every_cell_with_every_bias_and_head() {
    for cell in Cell::ALL {
        let layers = Bias::allowed(cell)
            .iter()
            .flat_map(|&bias| variants(cell, bias));
        for layer in layers {
            for reads in [Reads::Last, Reads::Every] {
                for loss in [Loss::CrossEntropy, Loss::MeanSquaredError] {
                    for (route, ragged) in [
                        (Route::Scan, false),
                        (Route::Scan, true),
                        (Route::Step, true),
                    ] {
                        check(&Case {
                            layers: vec![layer.clone()],
                            reads,
                            loss,
                            route,
                            ragged,
                            tied: false,
                        });
                    }
                }
            }
        }
    }
}

/// The other losses, and what training adds to a loss, with lengths, missing targets and labels.
#[test]
fn every_loss_and_what_training_adds() {
    let quantiles = Loss::quantiles(&[0.2, 0.7]).expect("they are levels");
    let plain = TrainingLoss::default();
    let smoothed = TrainingLoss {
        label_smoothing: 0.2,
    };
    for (loss, training) in [
        (Loss::MeanAbsoluteError, plain),
        (Loss::Huber { delta: 0.5 }, plain),
        (quantiles, plain),
        (Loss::GaussianNll, plain),
        (Loss::BinaryCrossEntropy, plain),
        (Loss::CrossEntropy, smoothed),
        (Loss::CTC, plain),
    ] {
        for reads in [Reads::Last, Reads::Every] {
            if loss.takes_lists() && reads == Reads::Last {
                continue;
            }
            for weighted in [false, true] {
                let case = Case {
                    layers: vec![self::plain(Cell::Lstm, Bias::Single)],
                    reads,
                    loss,
                    route: Route::Scan,
                    ragged: true,
                    tied: false,
                };
                check_with(&case, Some((training, weighted)));
            }
        }
    }
}

/// Heads that read the mean, the maximum or by attention, after layers with every option.
#[test]
fn reductions_over_time() {
    // It emits as many features as it reads.
    let residual = Layer {
        residual: true,
        projection_size: Some(3),
        ..plain(Cell::Lstm, Bias::Single)
    };
    let repeated = |layer: Layer| Layer {
        padding: Padding::Repeat,
        ..layer
    };
    for reads in [Reads::Mean, Reads::Max, Reads::Attention] {
        for layer in variants(Cell::Lstm, Bias::Single) {
            for (route, ragged, repeats) in [
                (Route::Scan, false, false),
                (Route::Scan, true, true),
                (Route::Step, true, false),
            ] {
                let layer = if repeats {
                    repeated(layer.clone())
                } else {
                    layer.clone()
                };
                check(&Case {
                    layers: vec![layer],
                    reads,
                    loss: Loss::CrossEntropy,
                    route,
                    ragged,
                    tied: false,
                });
            }
        }
        for (layers, tied) in [
            (vec![plain(Cell::Gru, Bias::Double); 2], true),
            (vec![residual.clone()], false),
        ] {
            check(&Case {
                layers,
                reads,
                loss: Loss::MeanSquaredError,
                route: Route::Scan,
                ragged: true,
                tied,
            });
        }
    }
}

/// Several heads with a loss and a weight each, one of which has no target in some rows, without
/// and with what training adds.
#[test]
fn several_heads() {
    let smoothed = TrainingLoss {
        label_smoothing: 0.2,
    };
    let head = |name: &str, size, loss, weight| NamedHead {
        name: name.into(),
        size,
        loss,
        weight,
    };
    let values = [
        head("class", 4, Loss::CrossEntropy, 0.5),
        head("value", 2, Loss::MeanSquaredError, 3.0),
        head("spread", 2, Loss::GaussianNll, 0.7),
    ];
    // Lists of labels are read at every step, whatever the others read.
    let lists = [
        head("list", 4, Loss::CTC, 1.3),
        head("value", 2, Loss::MeanSquaredError, 3.0),
        head("spread", 2, Loss::GaussianNll, 0.7),
    ];
    for (reads, heads) in [
        (Reads::Last, &values),
        (Reads::Every, &values),
        (Reads::Attention, &values),
        (Reads::Last, &lists),
        (Reads::Every, &lists),
        (Reads::Mean, &lists),
    ] {
        for layer in variants(Cell::Lstm, Bias::Single) {
            let case = Case {
                layers: vec![layer],
                reads,
                loss: Loss::CrossEntropy,
                route: Route::Scan,
                ragged: true,
                tied: false,
            };
            let mut network = case.network();
            network.heads = heads.to_vec();
            network.head.size = 8;
            network.head.loss = Loss::Heads;
            for training in [None, Some((smoothed, true))] {
                let network = network.clone();
                let mut prepared = prepare(network, &case, Gradients::OfLoss, 11, training);
                compare_with_differences(&case, &mut prepared);
            }
        }
    }
}

/// Two heads with the parameters, labels and weights of one have its loss, times their weights.
#[test]
fn heads_have_the_weighted_and_smoothed_loss_of_one() {
    let case = Case {
        layers: vec![plain(Cell::Gru, Bias::Double)],
        reads: Reads::Every,
        loss: Loss::CrossEntropy,
        route: Route::Scan,
        ragged: true,
        tied: false,
    };
    let smoothed = TrainingLoss {
        label_smoothing: 0.2,
    };
    let mut one = set_with(&case, Gradients::OfLoss, 11, Some((smoothed, true)));
    let mut network = case.network();
    network.heads = [("a", 0.5), ("b", 2.0)]
        .map(|(name, weight)| NamedHead {
            name: name.into(),
            size: 4,
            loss: Loss::CrossEntropy,
            weight,
        })
        .to_vec();
    network.head.size = 8;
    network.head.loss = Loss::Heads;
    let mut two = prepare(
        network,
        &case,
        Gradients::OfLoss,
        11,
        Some((smoothed, true)),
    );
    for (entry, of_two) in one.model.entries.iter().zip(&two.model.entries) {
        let own = &one.parameters[entry.range()];
        let copies = two.parameters[of_two.range()].chunks_exact_mut(own.len());
        copies.for_each(|copy| copy.copy_from_slice(own));
    }
    let head = &one.model.head;
    let labels = one.cpu.read_index(&head.labels).expect("it is there");
    let weights = one.cpu.read_exact(&head.weights.expect("it has weights"));
    for head in &two.model.heads {
        two.cpu
            .write_index(&head.labels, &labels)
            .expect("sizes agree");
        two.cpu
            .write_exact(&head.weights.expect("it has weights"), &weights);
    }
    let expected = 2.5 * one.loss(0, 0.0);
    let loss = two.loss(0, 0.0);
    assert!(
        (loss - expected).abs() < 1e-12 * expected,
        "{loss}, {expected}"
    );
}

#[test]
fn stacks_of_two_and_three() {
    for cell in Cell::ALL {
        let bias = *Bias::allowed(cell)
            .last()
            .expect("every cell takes some bias");
        let layers = variants(cell, bias);
        for (count, layer) in [2, 3].into_iter().zip(layers.iter().rev().cycle()) {
            let route = Route::Scan;
            let layers = vec![layer.clone(); count];
            check(&Case {
                layers,
                reads: Reads::Last,
                loss: Loss::CrossEntropy,
                route,
                ragged: true,
                tied: false,
            });
        }
    }
}

#[test]
fn cells_of_all_kinds_in_one_stack() {
    for route in [Route::Scan, Route::Step] {
        let lstm = variants(Cell::LstmPeephole, Bias::Single).pop();
        let layers = vec![
            plain(Cell::Gru, Bias::Double),
            lstm.expect("there are some"),
            plain(Cell::GruResetBefore, Bias::None),
        ];
        check(&Case {
            layers,
            reads: Reads::Every,
            loss: Loss::CrossEntropy,
            route,
            ragged: true,
            tied: false,
        });
    }
}

/// One matrix is both the embedding of the input and the weights of the head.
#[test]
fn tied_embeddings() {
    let layers = [(Cell::Lstm, Bias::Single), (Cell::Gru, Bias::Double)];
    for layer in layers.map(|(cell, bias)| variants(cell, bias)).concat() {
        for (reads, route, ragged) in [
            (Reads::Last, Route::Scan, false),
            (Reads::Every, Route::Scan, true),
            (Reads::Every, Route::Step, false),
        ] {
            for count in [1, 2] {
                check(&Case {
                    layers: vec![layer.clone(); count],
                    reads,
                    loss: Loss::CrossEntropy,
                    route,
                    ragged,
                    tied: true,
                });
            }
        }
    }
}

/// Tables of categories between other inputs, before layers with every option.
#[test]
fn tables_of_categories() {
    let table = |name: &str, first, count, size| CategoryTable {
        name: name.into(),
        first,
        count,
        size,
    };
    // 7 inputs become 5 features: those of a residual layer of 5 units.
    let tables = vec![table("store", 1, 3, 2), table("day", 4, 2, 1)];
    let of = |layer: Layer, change: fn(&mut Layer)| {
        let mut changed = layer;
        change(&mut changed);
        changed
    };
    let lstm = plain(Cell::Lstm, Bias::Double);
    let dropped = of(lstm.clone(), |layer| {
        layer.dropout.input_keep_prob = 0.7;
        layer.bidirectional = true;
    });
    let residual = of(lstm.clone(), |layer| layer.residual = true);
    for (layer, reads) in [
        (lstm, Reads::Last),
        (dropped, Reads::Last),
        (residual, Reads::Every),
        (plain(Cell::Gru, Bias::Double), Reads::Every),
    ] {
        for (route, ragged) in [(Route::Scan, true), (Route::Step, false)] {
            let case = Case {
                layers: vec![layer.clone()],
                reads,
                loss: Loss::CrossEntropy,
                route,
                ragged,
                tied: false,
            };
            let network = Network {
                input_size: 7,
                categories: tables.clone(),
                ..case.network()
            };
            let mut prepared = prepare(network, &case, Gradients::OfLoss, 11, None);
            let names = prepared.model.entries.iter().map(|entry| &entry.name[..]);
            let tables = names.filter(|name| name.starts_with("embeddings."));
            assert_eq!(tables.count(), 2);
            compare_with_differences(&case, &mut prepared);
        }
    }
}

/// Gradients of inputs and initial states, for a scalar that is a weighted sum of all outputs and
/// all last states.
#[test]
fn inputs_and_initial_states() {
    let layers = Cell::ALL
        .into_iter()
        .flat_map(|cell| variants(cell, Bias::allowed(cell)[0]));
    for layer in layers {
        for (route, ragged) in [
            (Route::Scan, false),
            (Route::Scan, true),
            (Route::Step, true),
        ] {
            let case = Case {
                layers: vec![layer.clone(); 2],
                reads: Reads::Last,
                loss: Loss::CrossEntropy,
                route,
                ragged,
                tied: false,
            };
            let Prepared {
                model,
                mut cpu,
                parameters,
            } = set(&case, Gradients::OfUpstream, 5);
            cpu.write_exact(&model.parameters, &parameters);
            let mut random = Philox::new(3, Stream::Shuffle(1));
            let mut weights =
                |count: usize| -> Vec<f64> { (0..count).map(|_| random.normal()).collect() };
            let (emitted, upstream) = (
                model.emitted(1),
                model.upstream(1).expect("it was requested"),
            );
            let on_outputs = weights(emitted.len());
            let on_last: Vec<Vec<f64>> = model
                .recurrences()
                .map(|layer| weights(layer.states.last.len()))
                .collect();
            let scalar = |cpu: &mut Cpu<f64>| -> f64 {
                cpu.run(&[Phase::Forward], 1)
                    .expect("the CPU does not fail");
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let lasts = model
                    .recurrences()
                    .zip(&on_last)
                    .map(|(l, w)| dot(&cpu.read_exact(&l.states.last), w));
                dot(&cpu.read_exact(&emitted), &on_outputs) + lasts.sum::<f64>()
            };
            scalar(&mut cpu);
            cpu.write_exact(&upstream, &on_outputs);
            model
                .recurrences()
                .zip(&on_last)
                .for_each(|(layer, w)| cpu.write_exact(&layer.gradients.dstate, w));
            cpu.run(&[Phase::Backward], 1)
                .expect("the CPU does not fail");
            let mut pairs = vec![(
                model.inputs,
                cpu.read_exact(&model.dinputs().expect("it was requested")),
            )];
            for layer in model.recurrences() {
                let mut dstate = cpu.read_exact(&layer.gradients.dstate).into_iter();
                for (state, size) in [layer.states.h, layer.states.c]
                    .iter()
                    .zip(layer.state_sizes())
                {
                    pairs.push((state.part(0, [size]), dstate.by_ref().take(size).collect()));
                }
            }
            for (number, (tensor, gradient)) in pairs.into_iter().enumerate() {
                let largest = gradient
                    .iter()
                    .fold(1e-3f64, |largest, g| largest.max(g.abs()));
                let mut values = cpu.read_exact(&tensor);
                for at in 0..values.len() {
                    let mut moved = |by: f64| {
                        values[at] += by;
                        cpu.write_exact(&tensor, &values);
                        values[at] -= by;
                        scalar(&mut cpu)
                    };
                    let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                    let error = (gradient[at] - difference).abs() / largest;
                    let name = case.name();
                    assert!(
                        error < RELATIVE,
                        "{name}: tensor {number}[{at}] is {}, should be {difference}",
                        gradient[at]
                    );
                }
                cpu.write_exact(&tensor, &values);
            }
        }
    }
}
