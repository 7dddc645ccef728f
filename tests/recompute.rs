//! Networks that keep only the states before chunks of time: the bits are those of networks that
//! keep everything, in a fraction of the memory.

mod common;

use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::gpu::executor::Gpu;
use gatescan::low_level::backend::tuning::{Route, Tuning};
use gatescan::low_level::kernels::control;
use gatescan::low_level::program::{Phase, Program};
use gatescan::low_level::record::{Frozen, Gradients, RecordedNetwork};
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::low_level::tensor::{Element, Kind, Tensor};
use gatescan::network::{Bias, CategoryTable, Dropout, Init, MaskSharing, NamedHead};
use gatescan::recipe::{Precision, Recomputation};
use gatescan::{
    Cell, Dataset, Device, Error, Head, HeadRecipe, Input, Layer, Loss, Network, Optimizer, Reads,
    Recipe, Splits, Targets, Trainer,
};
use ndarray::{Array1, Array3};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A network, the sizes of a batch, and how its layers are computed.
#[derive(Debug, Clone)]
struct Case {
    network: Network,
    steps: usize,
    batch: usize,
    route: Route,
    /// Whether the first layer is trained.
    trains_first: bool,
    seed: u64,
}

/// Steps of a chunk: one block of the sums over time steps.
const CHUNK: usize = 64;

fn head(size: usize, reads: Reads, loss: Loss) -> Head {
    Head {
        size,
        reads,
        loss,
        init: Init::Glorot,
    }
}

fn network(layers: Vec<Layer>, input: Input, head: Head) -> Network {
    Network {
        input_size: if input.is_values() { 3 } else { 7 },
        input,
        layers,
        head,
        heads: vec![],
        categories: vec![],
    }
}

fn embedding() -> Input {
    Input::Embedding {
        size: 5,
        padding_idx: Some(1),
        init: Init::Torch,
        tied: false,
    }
}

/// The options of a case that its layers share.
#[derive(Debug, Clone, Copy)]
struct Options {
    dropout: bool,
    residual: bool,
    projection: bool,
    /// Recurrent dropout or zoneout.
    noise: usize,
    sharing: MaskSharing,
}

fn layers(cell: Cell, sizes: &[usize], options: Options) -> Vec<Layer> {
    let spec = cell.spec();
    let layer = |(index, &size): (usize, &usize)| {
        let mut layer = Layer {
            bias: Bias::largest(cell),
            ..Layer::new(cell, size)
        };
        if options.dropout {
            layer.dropout = Dropout {
                input_keep_prob: 0.7,
                output_keep_prob: 0.6,
                // Noise changes the same h.
                state_keep_prob: if options.noise == 0 { 0.8 } else { 1.0 },
                mask: options.sharing,
            };
        }
        if options.projection && spec.options.projection {
            layer.projection_size = Some(size + 1);
        }
        match options.noise {
            1 if spec.recurrent_gates > 0 => layer.recurrent_dropout = 0.4,
            2 => layer.zoneout = 0.3,
            _ => {}
        }
        // The first layer reads other sizes, and a head that reads every step no residual.
        layer.residual = options.residual && index == 1 && index + 1 < sizes.len();
        layer
    };
    sizes.iter().enumerate().map(layer).collect()
}

fn cases() -> impl Strategy<Value = Case> {
    let options = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        0..3_usize,
        select(&[
            MaskSharing::EachStep,
            MaskSharing::EachSequence,
            MaskSharing::EachBatch,
        ]),
    );
    let options = options.prop_map(|(dropout, residual, projection, noise, sharing)| Options {
        dropout,
        residual,
        projection,
        noise,
        sharing,
    });
    let sizes = (1..4_usize, 1..10_usize).prop_map(|(layers, size)| vec![size; layers]);
    let inputs = select(vec![Input::Values, Input::OneHot, embedding()]);
    let heads = select(vec![
        head(4, Reads::Last, Loss::CrossEntropy),
        head(3, Reads::Every, Loss::MeanSquaredError),
        head(4, Reads::Every, Loss::CrossEntropy),
    ]);
    let batch = (CHUNK + 1..4 * CHUNK, 1..40_usize);
    let tables = any::<bool>();
    let rest = (
        select(&[Route::Scan, Route::Step]),
        (any::<bool>(), tables),
        any::<u64>(),
    );
    (
        select(Cell::ALL.to_vec()),
        sizes,
        options,
        inputs,
        heads,
        batch,
        rest,
    )
        .prop_map(
            |(
                cell,
                sizes,
                options,
                input,
                head,
                (steps, batch),
                (route, (freeze, tables), seed),
            )| {
                let mut network = network(layers(cell, &sizes, options), input, head);
                if tables && input.is_values() {
                    network.input_size = 6;
                    network.categories = vec![CategoryTable {
                        name: "store".into(),
                        first: 2,
                        count: 3,
                        size: 2,
                    }];
                }
                if input == Input::OneHot {
                    // One-hot vectors are never written, so they cannot be dropped.
                    network.layers[0].dropout.input_keep_prob = 1.0;
                }
                Case {
                    network,
                    steps,
                    batch,
                    route,
                    trains_first: sizes.len() == 1 || !freeze,
                    seed,
                }
            },
        )
}

/// A recorded step and evaluation.
struct Recorded {
    model: RecordedNetwork,
    control: Tensor,
}

impl Case {
    fn recorded(&self, tuning: Tuning, recompute: Option<usize>) -> Recorded {
        let tuning = Tuning {
            route: Some(self.route),
            recompute,
            ..tuning
        };
        let (steps, batch) = (self.steps, self.batch);
        let mut model =
            RecordedNetwork::new(&self.network, steps, batch, Gradients::OfLoss, tuning)
                .expect("the network is valid");
        let words = [control::WORDS];
        let (kind, element) = (Kind::Control, Element::Index);
        let control = model.program.buffer("control", kind, element, words);
        let names = if self.trains_first {
            vec![]
        } else {
            vec!["layer0".to_string()]
        };
        model.freeze(Frozen::new(&names, &self.network).expect("it has the layer"));
        model.carry_states(Phase::Forward, control);
        model.draw_masks(3, control);
        model.forward(Phase::Forward);
        model.loss(Phase::Forward);
        model.backward();
        model.forward(Phase::Evaluate);
        model.loss(Phase::Evaluate);
        Recorded { model, control }
    }

    /// Writes parameters and, for each batch, inputs, lengths and targets.
    fn write(&self, recorded: &Recorded, executor: &mut dyn Executor, batch: u64) {
        let model = &recorded.model;
        let mut random = Philox::new(self.seed ^ batch, Stream::Images);
        let mut reals = |tensor: Tensor, executor: &mut dyn Executor| {
            let values: Vec<f32> = (0..tensor.len()).map(|_| random.uniform() - 0.5).collect();
            executor.write(&tensor, &values).expect("it fits");
        };
        reals(model.parameters, executor);
        for head in model.each_head() {
            if let Some(targets) = head.targets {
                reals(targets, executor);
            }
        }
        if self.network.input.is_values() {
            reals(model.inputs, executor);
        }
        let mut below = |tensor: Tensor, limit: usize, executor: &mut dyn Executor| {
            let draw = |_| (random.uniform() * limit as f32) as u32;
            let values: Vec<u32> = (0..tensor.len()).map(draw).collect();
            executor.write_index(&tensor, &values).expect("it fits");
        };
        if !self.network.input.is_values() {
            below(model.inputs, self.network.input_size, executor);
        }
        below(model.lengths, self.steps + 9, executor);
        for (tensors, head) in model.each_head().iter().zip(self.network.each_head()) {
            let classes = if tensors.targets.is_some() {
                1
            } else {
                head.size
            };
            below(tensors.labels, classes, executor);
        }
        let mut words = [0; control::WORDS];
        words[control::CHUNK] = u32::from(batch > 0);
        words[control::STEP] = batch as u32;
        executor
            .write_index(&recorded.control, &words)
            .expect("it fits");
    }

    /// The bits of outputs, scores, states and gradients after two batches, the second of which
    /// begins with the states of the first, and the outputs of an evaluation.
    fn bits(&self, recorded: &Recorded, executor: &mut dyn Executor) -> Vec<(String, Vec<u32>)> {
        let model = &recorded.model;
        let mut all = vec![];
        for batch in 0..2 {
            self.write(recorded, executor, batch);
            let phases = [Phase::Forward, Phase::Backward];
            executor.run(&phases, 1).expect("it runs");
            let mut tensors: Vec<(String, Tensor)> = vec![];
            for head in model.each_head() {
                tensors.push(("outputs".into(), head.outputs));
                tensors.push(("scores".into(), head.scores));
            }
            let states = model.recurrences().map(|layer| layer.states.last);
            tensors.extend(states.map(|last| ("last".into(), last)));
            let gradients = model.entries.iter().filter_map(|entry| {
                let gradient = model.gradient(&entry.name)?;
                Some((entry.name.clone(), gradient))
            });
            tensors.extend(gradients);
            all.extend(tensors.iter().map(|tensor| read(executor, tensor)));
            executor.run(&[Phase::Evaluate], 1).expect("it runs");
            let outputs = model.each_head().iter().map(|head| head.outputs);
            let outputs = outputs.map(|outputs| ("evaluated".to_string(), outputs));
            all.extend(outputs.map(|tensor| read(executor, &tensor)));
        }
        all
    }

    fn check(
        &self,
        tuning: Tuning,
        mut load: impl FnMut(&Program) -> Box<dyn Executor>,
    ) -> Result<(), TestCaseError> {
        let [whole, chunks] = [None, Some(CHUNK)].map(|recompute| {
            let recorded = self.recorded(tuning, recompute);
            let mut executor = load(&recorded.model.program);
            self.bits(&recorded, executor.as_mut())
        });
        for (whole, chunks) in whole.into_iter().zip(chunks) {
            prop_assert_eq!(&whole.1, &chunks.1, "{} of {:?}", whole.0, self);
            prop_assert!(whole.0 == "last" || !whole.1.is_empty());
        }
        Ok(())
    }

    fn check_on_cpu(&self, precision: Precision) -> Result<(), TestCaseError> {
        let tuning = Tuning {
            precision,
            ..Tuning::cpu()
        };
        self.check(tuning, |program| {
            Box::new(Cpu::<f32>::new(program.clone()).expect("it fits"))
        })
    }
}

fn read(executor: &mut dyn Executor, (name, tensor): &(String, Tensor)) -> (String, Vec<u32>) {
    let values = executor.read(tensor).expect("it reads");
    (name.clone(), values.into_iter().map(f32::to_bits).collect())
}

#[test]
fn random_networks_have_the_same_bits_on_the_cpu() {
    let config = Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]);
    let mut runner = TestRunner::new_with_rng(config, random);
    runner
        .run(&cases(), |case| case.check_on_cpu(Precision::F32))
        .unwrap_or_else(|error| panic!("{error}"));
}

/// A network of one of each kind of gradient.
fn examples() -> Vec<Case> {
    let options = Options {
        dropout: true,
        residual: true,
        projection: true,
        noise: 0,
        sharing: MaskSharing::EachStep,
    };
    let plain = Options {
        dropout: false,
        projection: false,
        ..options
    };
    let case = |network, route, batch| Case {
        network,
        steps: 2 * CHUNK + 6,
        batch,
        route,
        trains_first: true,
        seed: 1,
    };
    let every = head(4, Reads::Every, Loss::CrossEntropy);
    let last = head(4, Reads::Last, Loss::CrossEntropy);
    let lstm = layers(Cell::Lstm, &[6, 6, 6], options);
    let gru = layers(Cell::Gru, &[5], plain);
    let peephole = layers(Cell::LstmPeephole, &[5, 5], plain);
    let named = |name: &str, size, loss| NamedHead {
        name: name.into(),
        size,
        loss,
        weight: 0.5,
    };
    let several = Network {
        heads: vec![
            named("class", 4, Loss::CrossEntropy),
            named("value", 2, Loss::MeanSquaredError),
        ],
        ..network(
            layers(Cell::RnnTanh, &[5], plain),
            Input::Values,
            head(6, Reads::Every, Loss::Heads),
        )
    };
    vec![
        case(network(lstm, Input::Values, every), Route::Scan, 5),
        case(network(gru, Input::OneHot, last), Route::Step, 3),
        case(network(peephole, embedding(), last), Route::Scan, 9),
        case(several, Route::Scan, 4),
    ]
}

#[test]
fn examples_have_the_same_bits_on_every_device() {
    for precision in Precision::ALL {
        if !precision.is_supported() {
            eprintln!("not run in {}, which the processor lacks", precision.name());
            continue;
        }
        for case in examples() {
            case.check_on_cpu(precision)
                .unwrap_or_else(|error| panic!("{error}"));
        }
    }
    let Some(gpu) = common::gpu() else { return };
    for case in examples() {
        // Enough workgroups that the sums over time steps are cut into slices.
        let tuning = Tuning {
            workgroups: 8,
            ..gpu.tuning
        };
        let load = |program: &Program| -> Box<dyn Executor> {
            Box::new(Gpu::new(&gpu, program).expect("it fits"))
        };
        case.check(tuning, load)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn activations_of_long_sequences_take_less_than_a_tenth() {
    let bytes = |recompute| {
        let network = network(
            vec![Layer::new(Cell::Lstm, 256)],
            Input::Values,
            head(4, Reads::Last, Loss::CrossEntropy),
        );
        let tuning = Tuning {
            recompute,
            ..Tuning::cpu()
        };
        let (steps, batch) = (10_000, 32);
        let mut model = RecordedNetwork::new(&network, steps, batch, Gradients::OfLoss, tuning)
            .expect("the network is valid");
        model.forward(Phase::Forward);
        model.loss(Phase::Forward);
        model.backward();
        model.program.bytes_of(Kind::Activations, 4)
    };
    let chunk = gatescan::low_level::record::chunk_steps(10_000);
    assert_eq!(chunk, Some(128));
    let [whole, chunks] = [bytes(None), bytes(chunk)];
    println!("{whole} and {chunks} bytes");
    assert!(10 * chunks < whole, "{whole} and {chunks} bytes");
}

#[test]
fn networks_that_need_all_steps_at_once_are_refused_by_name() {
    let refused = |edit: fn(&mut Network)| {
        let plain = vec![Layer::new(Cell::Lstm, 4), Layer::new(Cell::Lstm, 4)];
        let every = head(7, Reads::Every, Loss::CrossEntropy);
        let mut network = network(plain, Input::Values, every);
        edit(&mut network);
        let tuning = Tuning {
            recompute: Some(CHUNK),
            ..Tuning::cpu()
        };
        let error = RecordedNetwork::new(&network, CHUNK + 1, 2, Gradients::OfLoss, tuning)
            .expect_err("it is refused");
        assert_eq!(error.exit_code(), 2);
        // A single chunk is the whole.
        RecordedNetwork::new(&network, CHUNK, 2, Gradients::OfLoss, tuning).expect("it is valid");
        error.to_string()
    };
    let bidirectional = refused(|network| network.layers[1].bidirectional = true);
    assert!(bidirectional.contains("network.layer.1 is bidirectional"));
    assert!(
        bidirectional.contains("recompute = \"off\""),
        "{bidirectional}"
    );
    let repeats = refused(|network| {
        network.layers[0].padding = gatescan::network::Padding::Repeat;
    });
    assert!(repeats.contains("network.layer.0 repeats"), "{repeats}");
    let learns = refused(|network| network.layers[0].learn_initial_state = true);
    assert!(learns.contains("network.layer.0 learns"), "{learns}");
    let norms = refused(|network| network.layers[1].layer_norm = true);
    assert!(norms.contains("network.layer.1 has layer_norm"), "{norms}");
    let residual = refused(|network| network.layers[1].residual = true);
    assert!(residual.contains("residual"), "{residual}");
    let pooled = refused(|network| network.head.reads = Reads::Mean);
    assert!(pooled.contains("reads all steps"), "{pooled}");
    let tied = refused(|network| {
        network.input_size = 7;
        network.input = Input::Embedding {
            size: 4,
            padding_idx: None,
            init: Init::Torch,
            tied: true,
        };
    });
    assert!(tied.contains("tied"), "{tied}");
}

/// Two steps of training, as a recipe says it.
fn trained(recompute: Option<Recomputation>, data: &Splits) -> Vec<u32> {
    let layers = vec![Layer::new(Cell::Lstm, 8), Layer::new(Cell::RnnTanh, 8)];
    let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
    let mut recipe = Recipe::new("long", layers, head, Optimizer::sgd(0.1));
    recipe.batch_size = 3;
    recipe.epochs = 2;
    recipe.recompute = recompute;
    let mut trainer = Trainer::new(&recipe, data, &Device::Cpu).expect("it loads");
    let is_chunked = recompute == Some(Recomputation::Sqrt);
    assert_eq!(trainer.chunk_steps(), is_chunked.then_some(64));
    common::train_until(&mut trainer, usize::MAX);
    let model = trainer.model().expect("it is trained");
    let values = model.parameters.iter().flat_map(|each| each.values.iter());
    values.map(|value| value.to_bits()).collect()
}

fn data(count: usize, steps: usize) -> Splits {
    let inputs = Array3::from_shape_fn((count, steps, 1), |(n, t, _)| ((n + t) % 7) as f32 / 7.0);
    let labels = Array1::from_shape_fn(count, |n| n as u32 % 3);
    let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 3));
    Splits::from(data.expect("it is data"))
}

#[test]
fn recipes_train_to_the_same_bits() {
    let data = data(6, 150);
    let whole = trained(Some(Recomputation::Off), &data);
    assert_eq!(trained(Some(Recomputation::Sqrt), &data), whole);
    assert_eq!(trained(None, &data), whole);
}

#[test]
fn what_does_not_fit_is_computed_again_unless_the_recipe_says_otherwise() {
    // More elements in the gates of all steps than a kernel can index.
    let data = data(16, 100_000);
    let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
    let layer = Layer::new(Cell::Lstm, 900);
    let mut recipe = Recipe::new("long", vec![layer], head, Optimizer::sgd(0.1));
    recipe.batch_size = 16;
    let trainer = Trainer::new(&recipe, &data, &Device::Cpu).expect("it fits in chunks");
    assert_eq!(trainer.chunk_steps(), Some(320));
    drop(trainer);
    let refused = |recipe: &Recipe| {
        let error = Trainer::new(recipe, &data, &Device::Cpu).err();
        let error = error.expect("it does not fit");
        assert!(matches!(error, Error::BatchTooLarge { .. }), "{error}");
    };
    recipe.recompute = Some(Recomputation::Off);
    refused(&recipe);
    recipe.recompute = None;
    recipe.network.layers[0].bidirectional = true;
    refused(&recipe);
}
