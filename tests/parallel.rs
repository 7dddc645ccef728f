//! Batches that are divided into micro-batches, by one process and by several: the bits are the
//! same. The processes are threads here; tests/distributed has those of MPI.

mod common;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use common::train_until;
use gatescan::data::Inputs;
use gatescan::distributed::{Ranks, ThreadRanks};
use gatescan::low_level::kernels::MISSING;
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::network::{Dropout, MaskSharing};
use gatescan::recipe::{ClassWeights, NamedHeadRecipe};
use gatescan::run::{FollowingRun, RunEvent, RunOptions, TrainingRun};
use gatescan::{
    Cell, Checkpoint, Dataset, Device, Ending, Event, HeadRecipe, Layer, Loss, OpenDevice,
    Optimizer, Reads, Recipe, Splits, Targets, Trainer,
};

/// Numbers in ±1.
fn reals(random: &mut Philox, count: usize) -> Vec<f32> {
    let draw = |_| random.below(2000) as f32 / 1000.0 - 1.0;
    (0..count).map(draw).collect()
}

/// Sequences of 3 features with a class for each step, some without one, of weights that differ;
/// `ragged` ones have up to `steps` steps.
fn labelled(count: usize, steps: usize, ragged: bool) -> Dataset {
    let mut random = Philox::new(count as u64, Stream::Shuffle(0));
    let inputs = Inputs::Floats(reals(&mut random, count * steps * 3));
    let mut draw = |below: u32| random.below(below);
    let label = |n: u32| if n == 3 { u32::MAX } else { n };
    let labels = (0..count * steps).map(|_| label(draw(4))).collect();
    let lengths = ragged.then(|| (0..count).map(|_| draw(steps as u32) + 1).collect());
    let weights = (0..count * steps).map(|_| draw(5) as f32 / 2.0).collect();
    Dataset {
        count,
        steps,
        features: 3,
        inputs,
        targets: Targets::Classes {
            labels,
            classes: 3,
            per_step: true,
        },
        lengths,
        weights: Some(weights),
    }
}

fn splits(train: Dataset, test: Dataset) -> Splits {
    let mut splits: Splits = train.into();
    splits.test = Some(test.into());
    splits
}

/// Two layers with every kind of dropout mask, and a clipped norm.
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
    let mut recipe = Recipe::new("parallel", layers, head, Optimizer::adam(0.02));
    (recipe.epochs, recipe.batch_size) = (3, 16);
    recipe.clip_norm = Some(0.3);
    recipe.parallel.micro_batches = 8;
    recipe
}

/// 37 ragged sequences: updates of 16, 16 and 5, whose last one has three micro-batches.
fn ragged() -> (Recipe, Splits) {
    (
        recipe(),
        splits(labelled(37, 7, true), labelled(11, 9, true)),
    )
}

/// Sequences in chunks of 3 steps.
fn chunks() -> (Recipe, Splits) {
    let mut recipe = recipe();
    recipe.bptt_steps = Some(3);
    recipe.ema = Some(0.9);
    (
        recipe,
        splits(labelled(24, 10, false), labelled(9, 10, false)),
    )
}

/// A target value, whose errors the test split sums; the best epoch is kept.
fn values() -> (Recipe, Splits) {
    let data = |count| {
        let mut random = Philox::new(count as u64, Stream::Shuffle(1));
        Dataset {
            count,
            steps: 5,
            features: 2,
            inputs: Inputs::Floats(reals(&mut random, count * 10)),
            targets: Targets::Values {
                values: reals(&mut random, count),
                width: 1,
                per_step: false,
            },
            lengths: None,
            weights: None,
        }
    };
    let head = HeadRecipe::new(Reads::Last, Loss::MeanSquaredError);
    let layers = vec![Layer::new(Cell::Lstm, 6)];
    let mut recipe = Recipe::new("values", layers, head, Optimizer::adam(0.02));
    (recipe.epochs, recipe.batch_size, recipe.keep_best) = (3, 16, true);
    recipe.parallel.micro_batches = 8;
    let mut splits = splits(data(40), data(21));
    splits.validation = Some(data(13).into());
    (recipe, splits)
}

/// Quantiles of a target value, whose intervals are adjusted to the validation split.
fn intervals() -> (Recipe, Splits) {
    let (mut recipe, data) = values();
    recipe.network.head = HeadRecipe::new(Reads::Last, Loss::quantiles(&[0.1, 0.9]).unwrap());
    recipe.conformal = true;
    (recipe, data)
}

/// Three heads at every step of ragged sequences: a class with weights, a value and two labels.
/// The first eight sequences have no class, every third step no value.
fn heads() -> (Recipe, Splits) {
    let data = |count: usize, steps: usize| {
        let mut data = labelled(count, steps, true);
        let all = count * steps;
        let mut random = Philox::new(count as u64, Stream::Shuffle(2));
        let mut numbers = reals(&mut random, all);
        numbers.iter_mut().step_by(3).for_each(|v| *v = MISSING);
        let two = (0..2 * all).map(|_| random.below(2) as f32).collect();
        let of_values = |values, width| Targets::Values {
            values,
            width,
            per_step: true,
        };
        if let Targets::Classes { labels, .. } = &mut data.targets {
            labels[..8 * steps].fill(u32::MAX);
        }
        let classes = data.targets.clone();
        data.targets = Targets::Heads(vec![classes, of_values(numbers, 1), of_values(two, 2)]);
        data
    };
    let mut recipe = recipe();
    recipe.network.head = HeadRecipe {
        reads: Reads::Every,
        ..HeadRecipe::default()
    };
    let head = |name, loss, weight| NamedHeadRecipe {
        weight,
        ..NamedHeadRecipe::new(name, &[], loss)
    };
    recipe.network.heads = vec![
        head("class", Loss::CrossEntropy, 0.3),
        head("value", Loss::MeanSquaredError, 1.0),
        head("labels", Loss::BinaryCrossEntropy, 1.7),
    ];
    recipe.network.heads[0].class_weights = Some(ClassWeights::Balanced);
    recipe.network.heads[0].label_smoothing = 0.1;
    (recipe, splits(data(37, 7), data(11, 9)))
}

/// Lists of labels at every step beside a class and values of each sequence.
fn heads_with_lists() -> (Recipe, Splits) {
    let data = |count: usize, steps: usize| {
        let mut data = labelled(count, steps, true);
        data.lengths = (data.lengths).map(|all| all.into_iter().map(|n| n.max(4)).collect());
        let mut random = Philox::new(count as u64, Stream::Shuffle(3));
        let lists: Vec<Vec<u32>> = (0..count)
            .map(|n| (0..n % 3).map(|_| 1 + random.below(2)).collect())
            .collect();
        let classes = (0..count).map(|n| if n < 8 { u32::MAX } else { n as u32 % 3 });
        let values = reals(&mut random, 2 * count);
        data.weights = None;
        data.targets = Targets::Heads(vec![
            Targets::lists(lists.iter().map(|list| &list[..]), 3),
            Targets::Classes {
                labels: classes.collect(),
                classes: 3,
                per_step: false,
            },
            Targets::Values {
                values,
                width: 2,
                per_step: false,
            },
        ]);
        data
    };
    let (mut recipe, _) = heads();
    recipe.network.head.reads = Reads::Mean;
    let lists = NamedHeadRecipe::new("words", &[], Loss::CTC);
    recipe.network.heads.remove(2);
    recipe.network.heads.insert(0, lists);
    (recipe, splits(data(37, 7), data(11, 9)))
}

/// The heads of sequences in chunks of 3 steps, of which the head is frozen.
fn heads_in_chunks() -> (Recipe, Splits) {
    let (mut recipe, data) = heads();
    (recipe.bptt_steps, recipe.freeze) = (Some(3), vec!["head".into()]);
    (recipe, data)
}

fn devices() -> Vec<OpenDevice> {
    let gpu = common::gpu().map(|gpu| Device::Gpu(gpu.summary.index));
    let devices = [Device::Cpu].into_iter().chain(gpu);
    devices
        .map(|device| OpenDevice::open(&device).unwrap())
        .collect()
}

/// Trains on `count` threads from a checkpoint, if there is one, to the end or to update `until`.
/// Returns the checkpoint of each and the scores of the finished model.
fn shared(
    count: usize,
    (recipe, data): &(Recipe, Splits),
    device: &OpenDevice,
    (from, until): (Option<&Checkpoint>, usize),
) -> Vec<(Checkpoint, String)> {
    let one = |ranks: Arc<dyn Ranks>| {
        let rank = ranks.rank();
        let mut trainer = Trainer::load_shared(recipe, data, device, Some(ranks)).unwrap();
        from.iter().for_each(|from| trainer.restore(from).unwrap());
        let ending = trainer.run(&mut |trainer, event| {
            // One process asks all to stop; they do so after the next update.
            let wants = rank == count - 1
                && matches!(event, Event::Progress(_))
                && trainer.position().step + usize::from(count > 1) >= until;
            Ok(if wants {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        });
        let tested = match ending.unwrap() {
            Ending::Interrupted => None,
            _ => trainer
                .test(&mut |_, _| Ok(ControlFlow::Continue(())))
                .unwrap(),
        };
        let mut checkpoint = trainer.checkpoint().unwrap();
        checkpoint.metrics = None;
        let adjusted = trainer.interval_adjustments();
        (checkpoint, format!("{tested:?} {adjusted:?}"))
    };
    let one = &one;
    thread::scope(|scope| {
        let group = ThreadRanks::group(count).into_iter();
        let threads: Vec<_> = group.map(|ranks| scope.spawn(move || one(ranks))).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect()
    })
}

/// The checkpoint of one process.
fn alone((recipe, data): &(Recipe, Splits), device: &OpenDevice) -> Checkpoint {
    let mut trainer = Trainer::load(recipe, data, device).unwrap();
    trainer
        .run(&mut |_, _| Ok(ControlFlow::Continue(())))
        .unwrap();
    trainer.checkpoint().unwrap()
}

#[test]
fn any_number_of_ranks_makes_the_same_checkpoint() {
    for (index, device) in devices().iter().enumerate() {
        let runs = [
            ragged(),
            chunks(),
            values(),
            intervals(),
            heads(),
            heads_with_lists(),
        ];
        for run in runs {
            let expected = alone(&run, device);
            let one = shared(1, &run, device, (None, usize::MAX));
            assert_eq!(one[0].0, expected);
            assert_eq!(
                one[0].1.contains("targets: 13"),
                run.0.conformal,
                "{}",
                one[0].1
            );
            // A software GPU is slow.
            for count in if index == 0 { vec![2, 4, 8] } else { vec![2] } {
                for ended in shared(count, &run, device, (None, usize::MAX)) {
                    assert_eq!(ended.0, expected, "{count} ranks");
                    assert_eq!(ended.1, one[0].1, "{count} ranks");
                }
            }
        }
    }
}

#[test]
fn a_run_resumes_with_another_number_of_ranks() {
    let device = OpenDevice::open(&Device::Cpu).unwrap();
    for (run, steps) in [
        (ragged(), [2, 5]),
        (chunks(), [3, 11]),
        (values(), [5, 8]),
        (heads(), [2, 5]),
        (heads_in_chunks(), [4, 12]),
    ] {
        let expected = alone(&run, &device);
        let mut from: Option<Checkpoint> = None;
        for (count, until) in [(4, steps[0]), (2, steps[1])] {
            let ended = shared(count, &run, &device, (from.as_ref(), until));
            assert_eq!(ended[0].0.position.step, until);
            for other in &ended[1..] {
                assert_eq!(other.0, ended[0].0);
            }
            from = Some(ended[0].0.clone());
        }
        let ended = shared(1, &run, &device, (from.as_ref(), usize::MAX));
        assert_eq!(ended[0].0, expected);
    }
}

/// One of two processes, which trains in `out` where it is rank 0. Returns its warnings.
fn process(
    (recipe, data): &(Recipe, Splits),
    (device, fault): (&Device, Option<&str>),
    (out, ranks): (&Path, Arc<dyn Ranks>),
) -> gatescan::Result<Vec<String>> {
    let mut open = OpenDevice::open(device)?;
    if let Some(fault) = fault {
        open = open.with_fault(fault.parse().unwrap());
    }
    let (is_first, again) = (ranks.rank() == 0, *device);
    let options = RunOptions {
        out: Some(out.to_path_buf()),
        ranks: Some(ranks),
        reopen_device: Some(Box::new(move || OpenDevice::open(&again))),
        ..RunOptions::default()
    };
    if !is_first {
        FollowingRun::new(recipe, data, open, options, (None, None))?.train()?;
        return Ok(vec![]);
    }
    let mut warnings = vec![];
    TrainingRun::start(recipe, data, open, options)?.train(&mut |event| {
        if let RunEvent::Warning(warning) = event {
            warnings.push(warning.to_string());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(warnings)
}

#[test]
fn all_processes_go_back_where_the_device_of_one_has_failed() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::Gpu(gpu.summary.index);
    let mut run = ragged();
    run.0.checkpoint.every_steps = Some(2);
    let expected = alone(&run, &OpenDevice::open(&device).unwrap());
    let faults = [
        [Some("destroy:14:1"), None],
        [None, Some("destroy:9:1")],
        [None, Some("drop:14:1")],
    ];
    for faults in faults {
        let place = tempfile::tempdir().unwrap();
        let (out, run, device) = (&place.path().join("run"), &run, &device);
        let warnings: Vec<Vec<String>> = thread::scope(|scope| {
            let group = ThreadRanks::group(2).into_iter().zip(faults);
            let threads = group.map(|(ranks, fault)| {
                scope.spawn(move || process(run, (device, fault), (out, ranks)).unwrap())
            });
            let threads: Vec<_> = threads.collect();
            let ended = threads.into_iter().map(|thread| thread.join().unwrap());
            ended.collect()
        });
        let [warning] = &warnings[0][..] else {
            panic!("{warnings:?}");
        };
        let rank = faults.iter().position(Option::is_some).unwrap();
        assert!(warning.starts_with(&format!("rank {rank}: ")), "{warning}");
        assert!(warning.contains("the run continues from"), "{warning}");
        let newest = std::fs::read_dir(out.join("checkpoints")).unwrap();
        let newest = newest.map(|file| file.unwrap().path()).max().unwrap();
        let mut checkpoint = Checkpoint::load(&newest).unwrap();
        checkpoint.metrics = None;
        assert_eq!(checkpoint, expected, "{faults:?}");
    }
}

fn flat(trainer: &mut Trainer) -> Vec<f32> {
    trainer.checkpoint().unwrap().parameters
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Plain descent at the rate 1 shows the gradients. Without lengths the order within a batch, and
/// so the mask of each sequence, is that of the batch that is not divided.
#[test]
fn micro_batches_make_the_update_of_the_whole_batch() {
    for device in devices() {
        for bptt in [None, Some(3)] {
            let mut recipe = recipe();
            (recipe.optimizer, recipe.bptt_steps) = (Optimizer::sgd(1.0), bptt);
            recipe.epochs = 1;
            let data: Splits = labelled(37, 7, false).into();
            assert_parts_are_the_whole(&recipe, &data, &device, &[2, 8, 16]);
        }
    }
}

/// Trains with each number of micro-batches and compares the parameters with those of one.
fn assert_parts_are_the_whole(
    recipe: &Recipe,
    data: &Splits,
    device: &OpenDevice,
    numbers: &[usize],
) {
    let trained = |parts: usize| {
        let mut recipe = recipe.clone();
        recipe.parallel.micro_batches = parts;
        let mut trainer = Trainer::load(&recipe, data, device).unwrap();
        let before = flat(&mut trainer);
        train_until(&mut trainer, usize::MAX);
        (before, flat(&mut trainer))
    };
    let (initial, whole) = trained(1);
    for &parts in numbers {
        let difference = worst(&trained(parts).1, &whole);
        assert!(difference < 1e-5, "{parts} parts differ by {difference}");
    }
    // The test would not see a difference that is none.
    assert!(worst(&initial, &whole) > 1e-2);
}

/// Each head's mean is over the targets that it has in the whole batch, of which the first parts
/// have none of some heads.
#[test]
fn micro_batches_of_several_heads_make_the_update_of_the_whole_batch() {
    for device in devices() {
        for (mut recipe, data) in [heads(), heads_with_lists()] {
            // Masks would be those of another order of the sequences.
            for layer in &mut recipe.network.layers {
                layer.dropout = Dropout::default();
            }
            (recipe.optimizer, recipe.epochs) = (Optimizer::sgd(1.0), 1);
            assert_parts_are_the_whole(&recipe, &data, &device, &[2, 8]);
        }
    }
}

#[test]
fn streamed_data_have_the_same_bits() {
    let run = ragged();
    for device in devices() {
        let whole = alone(&run, &device);
        let mut window = device;
        match &mut window {
            OpenDevice::Gpu(gpu) => gpu.tuning.data_memory = Some(2000),
            OpenDevice::Cpu(tuning) => tuning.data_memory = Some(2000),
            _ => panic!("another device"),
        }
        assert!(Trainer::load(&run.0, &run.1, &window).unwrap().streams());
        assert_eq!(alone(&run, &window), whole);
        for ended in shared(2, &run, &window, (None, usize::MAX)) {
            assert_eq!(ended.0, whole);
        }
    }
    let mut window = OpenDevice::open(&Device::Cpu).unwrap();
    if let OpenDevice::Cpu(tuning) = &mut window {
        tuning.data_memory = Some(2000);
    }
    let (recipe, data) = chunks();
    let error = Trainer::load(&recipe, &data, &window).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("bptt_steps with parallel.micro_batches"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_divided_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipe();
        change(&mut recipe);
        let error = recipe.validate().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    for parts in [0, 3, 512] {
        let message = refused(&|recipe| recipe.parallel.micro_batches = parts);
        let expected = format!("parallel.micro_batches is {parts}; it must be a power of two");
        assert!(message.contains(&expected), "{message}");
    }
    let message = refused(&|recipe| recipe.batch_size = 20);
    assert!(
        message.contains("batch_size is 20") && message.contains("such as 24"),
        "{message}"
    );
    let message = refused(&|recipe| recipe.accumulate = Some(2));
    assert!(
        message.contains("accumulate and parallel.micro_batches"),
        "{message}"
    );

    let device = OpenDevice::open(&Device::Cpu).unwrap();
    let (recipe, data) = ragged();
    let loaded = |recipe: Recipe, count: usize| {
        let load = |ranks: Arc<dyn Ranks>| {
            let loaded = Trainer::load_shared(&recipe, &data, &device, Some(ranks));
            loaded.err().unwrap().to_string()
        };
        let load = &load;
        let mut errors: Vec<String> = thread::scope(|scope| {
            let group = ThreadRanks::group(count).into_iter();
            let threads: Vec<_> = group
                .map(|ranks| scope.spawn(move || load(ranks)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        errors.dedup();
        assert_eq!(errors.len(), 1);
        errors.remove(0)
    };
    let message = loaded(recipe.clone(), 3);
    assert!(
        message.contains("3 processes cannot share a batch"),
        "{message}"
    );
    let mut few = recipe;
    few.parallel.micro_batches = 1;
    let message = loaded(few, 2);
    assert!(message.contains("parallel.micro_batches = 1"), "{message}");
}
