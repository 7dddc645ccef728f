//! Whole training runs: both executors learn, agree step by step, and give the same bits for the
//! same seed.

mod common;

use std::ops::ControlFlow;

use gatescan::bench::CheckedTrainer;
use gatescan::data::Inputs;
use gatescan::data::arrays::Arrays;
use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::gpu::executor::Gpu;
use gatescan::low_level::backend::tuning::Tuning;
use gatescan::low_level::kernels::Tally;
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, RecordedNetwork};
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::network::{Bias, Dropout, Init, MaskSharing, Parameter};
use gatescan::recipe::optimizer::Form;
use gatescan::recipe::schedule::Schedule;
use gatescan::recipe::{BUILTINS, Builtin, Recomputation};
use gatescan::train::{EpochMetrics, LossReport, evaluate};
use gatescan::{
    Cell, DataRecipe, Dataset, Device, Ending, Error, Evaluation, Event, Head, HeadRecipe, Input,
    Layer, Loss, Model, Network, OpenDevice, Optimizer, Reads, Recipe, Splits, Targets, Trainer,
};
use ndarray::{Array1, Array2, Array3};

/// Noisy byte sequences that rise, fall or stay level: three classes that differ only in the order
/// of the steps.
fn slopes(count: usize, seed: u64) -> Dataset {
    let (steps, features) = (12, 5);
    let mut random = Philox::new(seed, Stream::Shuffle(0));
    let labels: Vec<u32> = (0..count as u32).map(|n| n % 3).collect();
    let mut values = vec![];
    for &label in &labels {
        let (start, slope) = [(60, 10), (180, -10), (120, 0)][label as usize];
        for t in 0..steps as i32 {
            let level = start + slope * t;
            values.extend(
                (0..features).map(|_| (level + random.below(60) as i32 - 30).clamp(0, 255) as u8),
            );
        }
    }
    let targets = Targets::Classes {
        labels,
        classes: 3,
        per_step: false,
    };
    let inputs = Inputs::Bytes {
        values,
        scale: 1.0 / 255.0,
    };
    Dataset {
        count,
        steps,
        features,
        inputs,
        targets,
        lengths: None,
        weights: None,
    }
}

fn splits() -> Splits {
    Splits {
        test: Some(slopes(50, 2).into()),
        ..slopes(150, 1).into()
    }
}

/// The built-in recipe, reduced for `slopes`: 16 units, batches of 32, and a smaller last batch.
fn recipe(cell: Cell) -> Recipe {
    let mut recipe = Recipe::load("mnist").expect("it is built in");
    recipe.epochs = 10;
    recipe.batch_size = 32;
    let layer = &mut recipe.network.layers[0];
    layer.cell = cell;
    layer.hidden_size = 16;
    layer.forget_bias = if cell == Cell::Lstm { 1.0 } else { 0.0 };
    layer.bias = if cell.spec().needs_recurrent_bias() {
        Bias::Double
    } else {
        Bias::Single
    };
    recipe.network.set_layers(2);
    recipe.optimizer.set_learning_rate(0.01);
    recipe
}

struct Run {
    step_losses: Vec<f32>,
    reports: Vec<LossReport>,
    last: EpochMetrics,
    parameters: Vec<Parameter>,
}

fn run(recipe: &Recipe, device: &Device) -> Run {
    run_on(recipe, &splits(), device)
}

fn run_on(recipe: &Recipe, splits: &Splits, device: &Device) -> Run {
    let mut trainer = Trainer::new(recipe, splits, device).expect("it loads");
    let (mut step_losses, mut reports, mut last) = (vec![], vec![], None);
    trainer
        .run(&mut |_, event| {
            match event {
                Event::Progress(progress) => {
                    step_losses.extend(&progress.step_losses);
                    reports.extend(&progress.reports);
                }
                Event::Epoch(metrics) => last = Some(metrics.clone()),
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })
        .expect("it trains");
    let parameters = trainer.model().expect("it reads").parameters;
    Run {
        step_losses,
        reports,
        last: last.expect("it had epochs"),
        parameters,
    }
}

#[test]
fn the_cpu_learns_with_every_cell() {
    for cell in Cell::ALL {
        let run = run(&recipe(cell), &Device::Cpu);
        let accuracy = run.last.test_accuracy.expect("it classifies");
        println!(
            "{}: loss {} to {}, test accuracy {accuracy}",
            cell.name(),
            run.step_losses[0],
            run.last.train_loss
        );
        assert_eq!(
            run.step_losses.len(),
            10 * 5,
            "150 sequences in batches of 32 are 5 steps"
        );
        assert!(accuracy > 0.9, "{}: {accuracy}", cell.name());
    }
}

/// Both devices compute in f32 and sum in different orders. Over 50 steps of Adam, whose early
/// updates follow the signs of even tiny gradients, the difference stays far below the error of a
/// wrong kernel.
#[test]
fn the_gpu_follows_the_cpu_step_by_step() {
    let Some(gpu) = common::gpu() else { return };
    for cell in Cell::ALL {
        let (cpu, gpu) = (
            run(&recipe(cell), &Device::Cpu),
            run(&recipe(cell), &Device::Gpu(gpu.summary.index)),
        );
        let pairs = cpu.step_losses.iter().zip(&gpu.step_losses);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{}: step losses differ by at most {worst:e}", cell.name());
        assert_eq!(cpu.step_losses.len(), gpu.step_losses.len());
        assert!(worst < 1e-4, "{}: {worst}", cell.name());
        assert_eq!(
            cpu.last.test_accuracy,
            gpu.last.test_accuracy,
            "{}",
            cell.name()
        );
    }
}

#[test]
fn a_seed_gives_the_same_bits_on_the_gpu() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::Gpu(gpu.summary.index);
    let (first, second) = (
        run(&recipe(Cell::Lstm), &device),
        run(&recipe(Cell::Lstm), &device),
    );
    assert_eq!(first.step_losses, second.step_losses);
    assert!(first.parameters == second.parameters);
}

#[test]
fn a_seed_gives_the_same_bits_on_any_number_of_cpu_threads() {
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("threads start");
        pool.install(|| {
            // Wide enough that matrix multiplications are split among threads.
            let mut recipe = recipe(Cell::Gru);
            recipe.batch_size = 75;
            recipe.network.layers[0].hidden_size = 100;
            run(&recipe, &Device::Cpu)
        })
    };
    let one = with_threads(1);
    for threads in [2, 3, 4] {
        let other = with_threads(threads);
        assert_eq!(one.step_losses, other.step_losses, "{threads} threads");
        assert!(one.parameters == other.parameters, "{threads} threads");
    }
    let mut other_seed = recipe(Cell::Gru);
    other_seed.seed = 99;
    assert_ne!(
        run(&recipe(Cell::Gru), &Device::Cpu).step_losses,
        run(&other_seed, &Device::Cpu).step_losses
    );
}

/// Every optimizer with all its options, at a suitable learning rate.
fn optimizers() -> [Optimizer; 4] {
    let (momentum, weight_decay) = (0.9, 1e-4);
    [
        Optimizer::Sgd {
            lr: 0.1,
            momentum,
            dampening: 0.0,
            nesterov: true,
            weight_decay,
        },
        Optimizer::AdamW {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay,
            amsgrad: true,
        },
        Optimizer::Rmsprop {
            lr: 0.002,
            form: Form::Torch,
            rho: None,
            epsilon: Some(1e-4),
            momentum: 0.5,
            centered: true,
            weight_decay,
        },
        Optimizer::Rmsprop {
            lr: 0.03,
            form: Form::Tensorflow,
            rho: None,
            epsilon: None,
            momentum: 0.5,
            centered: false,
            weight_decay: 0.0,
        },
    ]
}

#[test]
fn every_optimizer_learns_and_the_gpu_follows() {
    let gpu = common::gpu();
    for optimizer in optimizers() {
        let mut recipe = recipe(Cell::Gru);
        recipe.optimizer = optimizer;
        // TensorFlow's RMSProp starts slowly, since its mean square starts at 1.
        recipe.epochs = 20;
        recipe.clip_value = Some(0.2);
        let cpu = run(&recipe, &Device::Cpu);
        let accuracy = cpu.last.test_accuracy.expect("it classifies");
        println!("{:?}: test accuracy {accuracy}", recipe.optimizer);
        assert!(accuracy > 0.9, "{:?}: {accuracy}", recipe.optimizer);
        let Some(gpu) = &gpu else { continue };
        let gpu = run(&recipe, &Device::Gpu(gpu.summary.index));
        // In later steps RMSProp's loss jumps, and rounding differences grow with it.
        let pairs = cpu.step_losses.iter().zip(&gpu.step_losses).take(50);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("step losses differ by at most {worst:e}");
        assert!(worst < 1e-4, "{:?}: {worst}", recipe.optimizer);
    }
}

#[test]
fn steps_end_a_run_within_an_epoch() {
    let whole = run(&recipe(Cell::Gru), &Device::Cpu);
    let mut recipe = recipe(Cell::Gru);
    recipe.steps = Some(7);
    let cut = run(&recipe, &Device::Cpu);
    assert_eq!(cut.last.epoch, 2);
    assert_eq!(cut.step_losses, whole.step_losses[..7]);
}

#[test]
fn a_schedule_sets_the_rate_of_each_step() {
    let mut recipe = recipe(Cell::Gru);
    recipe.steps = Some(1);
    let one = run(&recipe, &Device::Cpu);
    // After its only step the cosine schedule is at 0, and the parameters no longer change.
    recipe.steps = None;
    recipe.epochs = 2;
    recipe.schedule = Schedule::Cosine {
        steps: Some(1),
        floor: 0.0,
        warm_up: 0,
    };
    let many = run(&recipe, &Device::Cpu);
    assert_eq!(many.step_losses.len(), 10);
    assert!(one.parameters == many.parameters);
    // The first step of a warm-up over two steps has half the learning rate.
    recipe.schedule = Schedule::Constant { warm_up: 2 };
    recipe.steps = Some(1);
    let warming = run(&recipe, &Device::Cpu);
    recipe.schedule = Schedule::default();
    recipe.optimizer.set_learning_rate(0.01 / 2.0);
    assert!(warming.parameters == run(&recipe, &Device::Cpu).parameters);
}

/// A readback covers several steps, each with its own rate: readbacks after every step, which
/// checkpoints force, change no bit.
#[test]
fn rates_change_within_the_steps_of_a_readback() {
    let mut recipe = recipe(Cell::MinGru);
    recipe.epochs = 4;
    let steps = 20;
    let gpu = common::gpu().map(|gpu| Device::Gpu(gpu.summary.index));
    for device in [Some(Device::Cpu), gpu].into_iter().flatten() {
        for schedule in [
            Schedule::Constant { warm_up: 15 },
            Schedule::Exponential {
                every: 3,
                factor: 0.5,
                warm_up: 2,
            },
            Schedule::Cosine {
                steps: None,
                floor: 0.1,
                warm_up: 4,
            },
        ] {
            recipe.schedule = schedule;
            recipe.checkpoint.every_steps = None;
            let long = run(&recipe, &device);
            recipe.checkpoint.every_steps = Some(1);
            let short = run(&recipe, &device);
            assert_eq!(long.step_losses.len(), steps);
            let schedule = &recipe.schedule;
            assert!(long.parameters == short.parameters, "{schedule:?}");
            assert!(long.step_losses == short.step_losses, "{schedule:?}");
        }
    }
}

#[test]
fn a_run_that_stalls_stops_and_keeps_its_best() {
    let mut recipe = recipe(Cell::Lstm);
    // A learning rate so large that the loss rises and falls.
    recipe.optimizer.set_learning_rate(1.0);
    recipe.epochs = 100;
    recipe.patience = Some(2);
    recipe.keep_best = true;
    let splits = splits();
    let mut trainer = Trainer::new(&recipe, &splits, &Device::Cpu).expect("it loads");
    let mut losses = vec![];
    let ending = trainer.run(&mut |_, event| {
        if let Event::Epoch(metrics) = event {
            losses.push(metrics.monitored_loss());
        }
        Ok(ControlFlow::Continue(()))
    });
    assert_eq!(ending.expect("it trains"), Ending::Stalled);
    let best = trainer.best().expect("it is kept").clone();
    assert_eq!(best.epoch + 2, losses.len());
    assert!(losses.iter().all(|&loss| loss >= best.monitored_loss()));
    let saved = trainer.model().expect("it reads");
    let test = splits.test.expect("there is one");
    let evaluation = evaluate(&saved, &test, 32, &Device::Cpu).expect("it evaluates");
    assert!((evaluation.loss - best.monitored_loss()).abs() < 1e-6);
}

#[test]
fn the_best_epoch_is_that_of_the_validation_split() {
    let mut recipe = recipe(Cell::Lstm);
    // A learning rate so large that the loss rises and falls.
    recipe.optimizer.set_learning_rate(1.0);
    recipe.epochs = 8;
    recipe.keep_best = true;
    let epochs = |splits: &Splits| {
        let mut trainer = Trainer::new(&recipe, splits, &Device::Cpu).expect("it loads");
        let mut epochs = vec![];
        let ending = trainer.run(&mut |_, event| {
            if let Event::Epoch(metrics) = event {
                epochs.push(metrics.clone());
            }
            Ok(ControlFlow::Continue(()))
        });
        assert_eq!(ending.expect("it trains"), Ending::Complete);
        (trainer, epochs)
    };
    let without = splits();
    let validation = slopes(40, 3);
    let splits = Splits {
        validation: Some(validation.clone().into()),
        ..splits()
    };
    let (mut trainer, found) = epochs(&splits);
    let lowest = found.iter().min_by(|a, b| {
        let [a, b] = [a, b].map(|each| each.validation_loss.expect("it is evaluated"));
        a.total_cmp(&b)
    });
    let best = trainer.best().expect("it is kept").clone();
    assert_eq!(best.epoch, lowest.expect("there are epochs").epoch);
    let model = trainer.model().expect("it reads");
    // Test data are scored once, with the model that is kept; the run's parameters stay.
    assert!(found.iter().all(|each| each.test_loss.is_none()));
    let before = trainer.checkpoint().expect("it reads");
    let tested = trainer.test(&mut |_, _| Ok(ControlFlow::Continue(())));
    let tested = tested
        .expect("it evaluates")
        .expect("there is a test split");
    assert_eq!(tested.epoch, best.epoch);
    assert!(trainer.checkpoint().expect("it reads") == before);
    for (data, loss) in [
        (&validation, best.validation_loss),
        (
            &**splits.test.as_ref().expect("there is one"),
            Some(tested.test_loss),
        ),
    ] {
        let evaluation = evaluate(&model, data, 32, &Device::Cpu).expect("it evaluates");
        assert!((evaluation.loss - loss.expect("it is evaluated")).abs() < 1e-6);
    }
    // The validation split changes nothing else.
    let (_, plain) = epochs(&without);
    let of_training = |epochs: &[EpochMetrics]| -> Vec<f64> {
        epochs.iter().map(|each| each.train_loss).collect()
    };
    assert_eq!(of_training(&plain), of_training(&found));
    assert!(plain.iter().all(|each| each.test_loss.is_some()));
    assert!(plain.iter().all(|each| each.validation_loss.is_none()));
}

#[test]
fn a_saved_model_evaluates_to_what_training_saw() {
    let recipe = recipe(Cell::Lstm);
    let splits = splits();
    let mut trainer = Trainer::new(&recipe, &splits, &Device::Cpu).expect("it loads");
    let mut last = None;
    trainer
        .run(&mut |_, event| {
            if let Event::Epoch(metrics) = event {
                last = Some(metrics.clone());
            }
            Ok(ControlFlow::Continue(()))
        })
        .expect("it trains");
    let saved = trainer.model().expect("it reads");
    let test = splits.test.expect("there is one");
    let last = last.expect("it had epochs");
    // A batch size of 7 leaves a last batch of one sequence.
    for batch_size in [32, 7, 64] {
        let evaluation = evaluate(&saved, &test, batch_size, &Device::Cpu).expect("it evaluates");
        assert_eq!(evaluation.accuracy, last.test_accuracy);
        assert!((evaluation.loss - last.test_loss.expect("there was a test split")).abs() < 1e-6);
    }
}

#[test]
fn ranks_and_confusion_count_every_sequence_once() {
    let mut recipe = recipe(Cell::Gru);
    // Too few epochs to learn all classes.
    recipe.epochs = 2;
    let splits = splits();
    let mut trainer = Trainer::new(&recipe, &splits, &Device::Cpu).expect("it loads");
    trainer
        .run(&mut |_, _| Ok(ControlFlow::Continue(())))
        .expect("it trains");
    let saved = trainer.model().expect("it reads");
    let test = splits.test.expect("there is one");
    let check = |evaluation: &Evaluation| {
        let confusion = evaluation.confusion.as_ref().expect("there are 3 classes");
        // The labels are 0, 1, 2, 0, ...
        let counts: Vec<u32> = confusion.rows().into_iter().map(|row| row.sum()).collect();
        assert_eq!(counts, [17, 17, 16]);
        let accuracy = evaluation.accuracy.expect("it classifies");
        assert!(accuracy < 1.0, "all are right: the test tells nothing");
        assert_eq!(f64::from(confusion.diag().sum()) / 50.0, accuracy);
        assert_eq!(evaluation.top_k(1), Some(accuracy));
        let ranks = evaluation.ranks.as_ref().expect("it classifies");
        assert_eq!(
            evaluation.top_k(2),
            Some(f64::from(ranks[0] + ranks[1]) / 50.0)
        );
        assert_eq!(
            (evaluation.top_k(0), evaluation.top_k(3)),
            (Some(0.0), Some(1.0))
        );
        assert_eq!(evaluation.last_step_loss, None);
    };
    // A batch size of 7 leaves a last batch of one sequence.
    for batch_size in [32, 7] {
        let on =
            |device: &Device| evaluate(&saved, &test, batch_size, device).expect("it evaluates");
        let cpu = on(&Device::Cpu);
        check(&cpu);
        let Some(gpu) = common::gpu() else { continue };
        let gpu = on(&Device::Gpu(gpu.summary.index));
        assert_eq!((gpu.ranks, gpu.confusion), (cpu.ranks, cpu.confusion));
    }
}

#[test]
fn reports_are_means_of_the_steps_whatever_the_readbacks() {
    let mut recipe = recipe(Cell::Gru);
    let silent = run(&recipe, &Device::Cpu);
    assert_eq!(silent.reports, []);
    // Reports span epochs of 5 steps.
    recipe.report_every = Some(7);
    let run = run(&recipe, &Device::Cpu);
    assert_eq!(run.step_losses, silent.step_losses);
    let steps = run.step_losses.chunks_exact(7).enumerate();
    let expected: Vec<LossReport> = steps
        .map(|(n, losses)| LossReport {
            step: 7 * (n + 1),
            loss: losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / 7.0,
            step_loss: f64::from(losses[6]),
        })
        .collect();
    assert_eq!(run.reports.len(), 50 / 7);
    assert_eq!(run.reports, expected);
}

/// An untrained network whose head reads every step.
fn untrained(loss: Loss, size: usize) -> Model {
    let network = Network {
        input_size: 2,
        input: Input::Values,
        layers: vec![Layer::new(Cell::Lstm, 6)],
        head: Head {
            size,
            reads: Reads::Every,
            loss,
            init: Init::Glorot,
        },
        heads: vec![],
        categories: vec![],
    };
    Model {
        recipe: recipe(Cell::Lstm),
        preparation: Default::default(),
        parameters: network.to_parameters(&network.initial(1)),
        network,
    }
}

/// Sequences of 0 to 5 steps with a target of three values, or a class of three, at each step;
/// padded steps have the target `padding`.
fn ragged(loss: Loss, padding: f32) -> Dataset {
    let (count, steps, features, width) = (12, 5, 2, 3);
    let lengths: Vec<u32> = (0..count as u32).map(|n| n % 6).collect();
    let mut random = Philox::new(5, Stream::Shuffle(0));
    let mut numbers = |width: usize| {
        let place = (0..count * steps * width).map(|at| (at / steps / width, at / width % steps));
        let number = |(n, t): (usize, usize)| {
            let number = random.uniform();
            if t < lengths[n] as usize {
                number
            } else {
                padding
            }
        };
        place.map(number).collect::<Vec<f32>>()
    };
    let inputs = Inputs::Floats(numbers(features));
    let per_step = true;
    let targets = match loss {
        Loss::MeanSquaredError => Targets::Values {
            values: numbers(width),
            width,
            per_step,
        },
        Loss::CrossEntropy => Targets::Classes {
            labels: numbers(1)
                .iter()
                .map(|&number| (number * 3.0) as u32)
                .collect(),
            classes: width,
            per_step,
        },
        loss => panic!("{loss:?} has no targets here"),
    };
    Dataset {
        count,
        steps,
        features,
        inputs,
        targets,
        lengths: Some(lengths),
        weights: None,
    }
}

/// The first `steps` of sequence `n`, alone and without a length.
fn beginning(data: &Dataset, n: usize, steps: usize) -> Dataset {
    let mut one = data.slice(n..n + 1).expect("it is there");
    (one.steps, one.lengths) = (steps, None);
    match &mut one.inputs {
        Inputs::Floats(values) => values.truncate(steps * data.features),
        _ => panic!("floats expected"),
    }
    match &mut one.targets {
        Targets::Values { values, width, .. } => values.truncate(steps * *width),
        Targets::Classes { labels, .. } => labels.truncate(steps),
        targets => panic!("{targets:?} are not cut here"),
    }
    one
}

#[test]
fn what_lies_past_the_end_of_a_sequence_counts_for_nothing() {
    let gpu = common::gpu().map(|gpu| Device::Gpu(gpu.summary.index));
    for device in [Some(Device::Cpu), gpu].into_iter().flatten() {
        for loss in [Loss::MeanSquaredError, Loss::CrossEntropy] {
            let saved = untrained(loss, 3);
            let on = |data: &Dataset| evaluate(&saved, data, 5, &device).expect("it evaluates");
            let (zeros, nines) = (on(&ragged(loss, 0.0)), on(&ragged(loss, 9.0)));
            assert_eq!(zeros.loss, nines.loss, "{loss:?}");
            assert_eq!(zeros.last_step_loss, nines.last_step_loss, "{loss:?}");
            assert_eq!(zeros.ranks, nines.ranks, "{loss:?}");

            // The same from each sequence alone, without padding: the sum over its first steps, and
            // its last step.
            let data = ragged(loss, 0.0);
            let lengths = data.lengths.as_ref().expect("it is ragged");
            let sum = |n: usize, steps: usize| match steps {
                0 => 0.0,
                _ => steps as f64 * on(&beginning(&data, n, steps)).loss,
            };
            let (mut all, mut last) = (0.0, 0.0);
            for (n, &length) in lengths.iter().enumerate() {
                let length = length as usize;
                all += sum(n, length);
                last += sum(n, length) - sum(n, length.saturating_sub(1));
            }
            let steps: u32 = lengths.iter().sum();
            let sequences = lengths.iter().filter(|&&length| length > 0).count();
            assert!((zeros.loss - all / f64::from(steps)).abs() < 1e-5);
            let last_step_loss = zeros.last_step_loss.expect("it answers every step");
            assert!((last_step_loss - last / sequences as f64).abs() < 1e-5);
        }
    }
}

#[test]
fn training_does_not_see_past_the_end_of_a_sequence() {
    let mut recipe = Recipe::load("series").expect("it is built in");
    recipe.epochs = 3;
    recipe.batch_size = 5;
    recipe.network.set_hidden_size(8);
    let run = |padding: f32| {
        let data = ragged(Loss::MeanSquaredError, padding);
        let splits = Splits {
            test: Some(data.clone().into()),
            ..data.into()
        };
        run_on(&recipe, &splits, &Device::Cpu)
    };
    let (zeros, nines) = (run(0.0), run(9.0));
    assert_eq!(zeros.step_losses, nines.step_losses);
    assert!(zeros.parameters == nines.parameters);
    let last = |run: &Run| (run.last.train_last_step_loss, run.last.test_last_step_loss);
    assert_eq!(last(&zeros), last(&nines));
    assert_ne!(
        last(&zeros).1.expect("every step"),
        zeros.last.test_loss.expect("a test split")
    );
}

/// Some drivers silently end an invocation's loops early.
#[test]
fn long_sequences_are_computed_to_their_end() {
    let Some(device) = common::gpu() else { return };
    let place = OpenDevice::Gpu(Box::new(device));
    let shapes = [
        "rnn-1-9000-2-3",
        "lstm-2-1500-2-40",
        "gru-3-1200-2-33",
        "rnn-40-2000-2-3",
    ];
    for shape in shapes {
        CheckedTrainer::new(&shape.parse().expect("a shape"), &place)
            .expect("explained by rounding");
    }
}

#[test]
fn a_large_vocabulary_is_ranked_without_confusion() {
    let mut data = ragged(Loss::CrossEntropy, 0.0);
    let size = Tally::LARGEST_CONFUSION + 1;
    if let Targets::Classes { classes, .. } = &mut data.targets {
        *classes = size;
    }
    let saved = untrained(Loss::CrossEntropy, size);
    let evaluation = evaluate(&saved, &data, 5, &Device::Cpu).expect("it evaluates");
    assert_eq!(evaluation.confusion, None);
    let ranks = evaluation.ranks.expect("it classifies");
    assert_eq!((ranks.len(), ranks.iter().sum::<u32>()), (size, 30));
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_names_the_step() {
    // Data with values that are not finite are refused; these values are finite, but their squares
    // are not.
    let mut train = slopes(150, 1);
    train.targets = Targets::values(Array2::from_elem((150, 3), 1e30).view());
    let mut recipe = recipe(Cell::RnnTanh);
    recipe.data = DataRecipe::Arrays(Arrays {});
    recipe.network.head.loss = Loss::MeanSquaredError;
    let mut trainer = Trainer::new(&recipe, &train.into(), &Device::Cpu).expect("it loads");
    let error = trainer
        .run(&mut |_, _| Ok(ControlFlow::Continue(())))
        .expect_err("it cannot be trained on");
    assert!(matches!(error, Error::NotFinite { step: 1, .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("at step 1 of epoch 1 the loss is inf"),
        "{error}"
    );
}

#[test]
fn what_does_not_fit_is_refused_with_what_was_needed() {
    let mut network = recipe(Cell::Lstm).network(5, 3).expect("it is valid");
    // 2^36 elements in the gates of one layer.
    network.layers[0].hidden_size = 4096;
    let error = RecordedNetwork::new(&network, 1024, 4096, Gradients::OfLoss, Tuning::cpu())
        .expect_err("too large to index");
    assert!(
        error.to_string().contains("elements in one buffer"),
        "{error}"
    );
    // Each direction alone fits, but both together do not.
    let mut both = recipe(Cell::RnnTanh).network(5, 3).expect("it is valid");
    both.layers.truncate(1);
    both.layers[0].hidden_size = 600;
    RecordedNetwork::new(&both, 1023, 4096, Gradients::OfLoss, Tuning::cpu())
        .expect("it can be laid out");
    both.layers[0].bidirectional = true;
    let error = RecordedNetwork::new(&both, 1023, 4096, Gradients::OfLoss, Tuning::cpu())
        .expect_err("too large to index");
    assert!(
        error
            .to_string()
            .contains("1200 for each sequence and step"),
        "{error}"
    );
    // Terabytes of activations in buffers that are each small enough to index.
    network.layers[0].hidden_size = 1000;
    network.layers = vec![network.layers[0].clone(); 100];
    let mut model = RecordedNetwork::new(&network, 1000, 1000, Gradients::OfLoss, Tuning::cpu())
        .expect("it can be laid out");
    model.forward(Phase::Forward);
    let error = Cpu::<f32>::new(model.program.clone()).expect_err("no such machine here");
    assert!(matches!(error, Error::OutOfMemory { .. }));
    assert!(
        error.to_string().contains("activations") && error.to_string().contains("MiB"),
        "{error}"
    );
    let Some(gpu) = common::gpu() else { return };
    let error = Gpu::new(&gpu, &model.program).expect_err("no such device here");
    assert!(error.to_string().contains("MiB"), "{error}");
}

#[test]
fn an_oversize_batch_is_refused_with_the_largest_that_fits() {
    // More elements than a kernel can index; tens of gigabytes where it could.
    let inputs = Array3::zeros((4096, 1000, 1));
    let labels = Array1::from_shape_fn(4096, |n| n as u32 % 3);
    let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 3)).expect("it is data");
    let data = Splits::from(data);
    let mut recipe = recipe(Cell::Lstm);
    recipe.data = DataRecipe::Arrays(Arrays {});
    recipe.network.set_hidden_size(512);
    recipe.batch_size = 4096;
    recipe.recompute = Some(Recomputation::Off);
    let gpu = common::gpu().map(|gpu| OpenDevice::Gpu(Box::new(gpu)));
    let cpu = OpenDevice::open(&Device::Cpu).expect("it is there");
    for place in [Some(cpu), gpu].into_iter().flatten() {
        let refused = |recipe: &Recipe| {
            let loaded = Trainer::load(recipe, &data, &place);
            let error = loaded.err().expect("it is too large");
            assert!(matches!(error, Error::BatchTooLarge { .. }), "{error}");
            assert_eq!(error.exit_code(), 1);
            error.to_string()
        };
        let message = refused(&recipe);
        let named = message.split("the largest batch size that fits is ").nth(1);
        let fits: usize = named
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{message}"));
        assert!((1..4096).contains(&fits), "{message}");
        // Slightly more does not fit; the free memory of this machine varies.
        let mut above = recipe.clone();
        above.batch_size = fits + fits / 4 + 1;
        println!("{}", refused(&above));
    }
}

/// Token sequences `[6, 50]` that count up by 1 or by 2, with the next token as the target of every
/// step; some end early.
fn counting() -> Dataset {
    let token = |n: usize, t: usize| (n + t * (1 + n % 2)) as u32 % 7;
    let tokens = Array2::from_shape_fn((6, 50), |(n, t)| token(n, t));
    let next = Array2::from_shape_fn((6, 50), |(n, t)| token(n, t + 1));
    let targets = Targets::classes_per_step(next.view(), 7);
    let data = Dataset::tokens(tokens.view(), 7, targets).expect("it is accepted");
    data.with_lengths(&[50, 31, 0, 16, 50, 1])
        .expect("they fit")
}

/// A stack of layers that reads `input` tokens in chunks of 16 steps, with every kind of dropout.
fn counter(input: Input) -> Recipe {
    let dropout = Dropout {
        input_keep_prob: if input == Input::OneHot { 1.0 } else { 0.9 },
        output_keep_prob: 0.9,
        state_keep_prob: 0.9,
        mask: MaskSharing::EachSequence,
    };
    let below = Layer {
        dropout,
        ..Layer::new(Cell::Lstm, 12)
    };
    let above = Layer {
        residual: true,
        ..Layer::new(Cell::GruResetBefore, 12)
    };
    let head = HeadRecipe::new(Reads::Every, Loss::CrossEntropy);
    let mut recipe = Recipe::new("counter", vec![below, above], head, Optimizer::adam(0.02));
    recipe.network.input = input;
    recipe.batch_size = 4;
    recipe.bptt_steps = Some(16);
    recipe.epochs = 12;
    recipe
}

const EMBEDDED: Input = Input::Embedding {
    size: 5,
    padding_idx: None,
    init: Init::Torch,
    tied: false,
};
/// As wide as the outputs of the layers of [`counter`].
const TIED: Input = Input::Embedding {
    size: 12,
    padding_idx: None,
    init: Init::Glorot,
    tied: true,
};

#[test]
fn tokens_are_learnt_in_chunks_on_both_executors_alike() {
    for input in [Input::OneHot, EMBEDDED, TIED] {
        let (recipe, data) = (counter(input), Splits::from(counting()));
        let cpu = run_on(&recipe, &data, &Device::Cpu);
        // Two batches of four chunks in each epoch.
        assert_eq!(cpu.step_losses.len(), 12 * 8);
        assert!(cpu.last.train_loss < 1.2, "{input:?}: {:?}", cpu.last);
        let again = run_on(&recipe, &data, &Device::Cpu);
        assert_eq!(cpu.parameters, again.parameters, "{input:?}");
        let Some(gpu) = common::gpu() else { return };
        let gpu = run_on(&recipe, &data, &Device::Gpu(gpu.summary.index));
        for (step, (cpu, gpu)) in cpu.step_losses.iter().zip(&gpu.step_losses).enumerate() {
            assert!((cpu - gpu).abs() < 2e-4, "{input:?} at {step}: {cpu} {gpu}");
        }
    }
}

#[test]
fn an_evaluation_in_chunks_is_one_of_whole_sequences() {
    let data = counting();
    let recipe = counter(EMBEDDED);
    let mut trainer =
        Trainer::new(&recipe, &data.clone().into(), &Device::Cpu).expect("it is accepted");
    let mut saved = trainer.model().expect("it reads");
    let mut devices = vec![Device::Cpu];
    devices.extend(common::gpu().map(|gpu| Device::Gpu(gpu.summary.index)));
    for device in devices {
        let mut losses = [None, Some(1), Some(16), Some(50), Some(99)].map(|bptt_steps| {
            saved.recipe.bptt_steps = bptt_steps;
            evaluate(&saved, &data, 4, &device).expect("it fits").loss
        });
        // Only the order of the sum over some hundred losses differs.
        losses.sort_by(f64::total_cmp);
        assert!(losses[4] - losses[0] < 1e-6, "{losses:?}");
    }
}

#[test]
fn chunks_need_a_head_and_layers_that_go_with_them() {
    let mut last = counter(Input::OneHot);
    last.network.head.reads = Reads::Last;
    let mut both = counter(Input::OneHot);
    both.network.layers[0].bidirectional = true;
    let mut none = counter(Input::OneHot);
    none.bptt_steps = Some(0);
    for (recipe, expected) in [
        (last, "reads = \"every\""),
        (both, "no layer may be bidirectional"),
        (none, "bptt_steps is 0; it must be at least 1"),
    ] {
        let error = recipe.validate().expect_err(expected);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// The built-in recipes on GPU and CPU. Slow on a software driver, so it is run on request with
/// `cargo test --release --test training -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes on a software driver"]
fn recipes_follow_the_cpu() {
    let Some(gpu) = common::gpu() else { return };
    let steps: usize =
        std::env::var("GATESCAN_STEPS").map_or(200, |steps| steps.parse().expect("a number"));
    for Builtin { name, .. } in &BUILTINS {
        let recipe = Recipe::load(name).expect("it is built in");
        // A text is the user's own.
        let made_up = || {
            recipe
                .data
                .source()
                .made_up(steps * recipe.batch_size, recipe.seed)
        };
        let data = recipe.data.load(recipe.seed).ok().or_else(made_up);
        let mut data = data.expect("MNIST is there");
        data.test = None;
        let losses = |device: &Device| {
            let mut trainer = Trainer::new(&recipe, &data, device).expect("it loads");
            let mut losses: Vec<f32> = vec![];
            trainer
                .run(&mut |_, event| {
                    if let Event::Progress(progress) = event {
                        losses.extend(&progress.step_losses);
                    }
                    Ok(if losses.len() < steps {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    })
                })
                .expect("it trains");
            losses.truncate(steps);
            losses
        };
        let (cpu, gpu) = (
            losses(&Device::Cpu),
            losses(&Device::Gpu(gpu.summary.index)),
        );
        for end in (50..=steps).step_by(50) {
            let pairs = cpu[..end].iter().zip(&gpu[..end]);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!(
                "{name}: after {end} steps {} on the CPU, {} on the GPU, \
                 worst difference {worst:e}",
                cpu[end - 1],
                gpu[end - 1]
            );
            // Rounding differences grow from step to step as training does; at 200 steps they are
            // still far below the loss.
            assert!(worst < 0.02, "{name}: {worst}");
        }
    }
}
