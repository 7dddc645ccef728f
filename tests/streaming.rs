//! Data that do not lie on the device: a window goes over them, and nothing follows from it.

mod common;

use std::ops::ControlFlow;

use gatescan::cells::Cell;
use gatescan::checkpoint::Checkpoint;
use gatescan::data::{Dataset, Inputs, Splits, Targets};
use gatescan::device::Device;
use gatescan::error::Error;
use gatescan::network::{Input, Layer, Loss, Reads};
use gatescan::optim::Optimizer;
use gatescan::place::Place;
use gatescan::recipe::{HeadRecipe, Recipe};
use gatescan::train::{Ending, Trainer, evaluate_on};

/// The CPU, and the adapter that tests run on, which grant data so many bytes.
fn places(data_memory: Option<u64>) -> Vec<Place> {
    let gpu = common::gpu().map(|mut gpu| {
        gpu.tuning.data_memory = data_memory;
        Place::Gpu(Box::new(gpu))
    });
    let mut cpu = Place::open(&Device::Cpu).expect("it is there");
    if let Place::Cpu(tuning) = &mut cpu {
        tuning.data_memory = data_memory;
    }
    [Some(cpu), gpu].into_iter().flatten().collect()
}

fn lengths(count: usize, steps: usize) -> Vec<usize> {
    (0..count).map(|n| (n * 5 + 1) % (steps + 1)).collect()
}

fn recipe(name: &str, reads: Reads, loss: Loss) -> Recipe {
    let head = HeadRecipe::new(reads, loss);
    let layers = vec![Layer::new(Cell::Lstm, 6)];
    let mut recipe = Recipe::new(name, layers, head, Optimizer::adam(0.02));
    recipe.epochs = 3;
    recipe.batch_size = 3;
    recipe.checkpoint.every_steps = Some(1);
    recipe
}

fn splits(data: Dataset) -> Splits {
    let test = data.slice(5..58).expect("they are there");
    Splits {
        test: Some(test.into()),
        ..data.into()
    }
}

/// Images of 5 x 3 bytes, so that neither a sequence nor a batch ends at a word; the last batch has two of them.
fn images() -> (Recipe, Splits) {
    let (count, steps, features) = (146, 5, 3);
    let byte = |at: usize| ((at * 37) % 251) as u8;
    let data = Dataset {
        count,
        steps,
        features,
        inputs: Inputs::Bytes {
            values: (0..count * steps * features).map(byte).collect(),
            scale: 1.0 / 255.0,
        },
        targets: Targets::Classes {
            labels: (0..count as u32).map(|n| n % 4).collect(),
            classes: 4,
            per_step: false,
        },
        lengths: None,
    };
    let recipe = recipe("images", Reads::Last, Loss::CrossEntropy);
    (recipe, splits(data))
}

/// Numbers of unequal length, and two values to answer with at each step.
fn values() -> (Recipe, Splits) {
    let (count, steps, features) = (85, 7, 2);
    let data = Dataset {
        count,
        steps,
        features,
        inputs: Inputs::Floats(
            (0..count * steps * features)
                .map(|at| (at as f32).sin())
                .collect(),
        ),
        targets: Targets::Values {
            values: (0..count * steps * 2)
                .map(|at| (0.7 * at as f32).cos())
                .collect(),
            width: 2,
            per_step: true,
        },
        lengths: None,
    };
    let data = data.with_lengths(&lengths(count, steps)).expect("they fit");
    let recipe = recipe("values", Reads::Every, Loss::MeanSquaredError);
    (recipe, splits(data))
}

/// Tokens of unequal length in chunks of 4 of 10 steps, each an update, whose states go on from one to the next.
fn tokens() -> (Recipe, Splits) {
    let (count, steps) = (61, 10);
    let token = |at: usize| (at * 3 + at / 10) as u32 % 7;
    let data = Dataset {
        count,
        steps,
        features: 1,
        inputs: Inputs::Tokens {
            values: (0..count * steps).map(token).collect(),
            vocabulary: 7,
        },
        targets: Targets::Classes {
            labels: (1..=count * steps).map(token).collect(),
            classes: 7,
            per_step: true,
        },
        lengths: None,
    };
    let data = data.with_lengths(&lengths(count, steps)).expect("they fit");
    let mut recipe = recipe("tokens", Reads::Every, Loss::CrossEntropy);
    recipe.network.input = Input::OneHot;
    recipe.bptt_steps = Some(4);
    (recipe, splits(data))
}

/// Trains from `from` up to `step`, or to the end.
fn train(
    (recipe, data): &(Recipe, Splits),
    place: &Place,
    from: Option<&Checkpoint>,
    step: usize,
) -> Checkpoint {
    let mut trainer = Trainer::load(recipe, data, place).expect("it loads");
    assert_eq!(trainer.streams(), place.tuning().data_memory.is_some());
    from.iter()
        .try_for_each(|from| trainer.restore(from))
        .expect("it fits");
    let ending = trainer.run(&mut |trainer, _| {
        Ok(match trainer.position().step < step {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    });
    let ending = ending.expect("it trains");
    assert_eq!(ending == Ending::Interrupted, step < usize::MAX);
    trainer.checkpoint().expect("it reads")
}

#[test]
fn a_window_changes_no_bit() {
    for case in [images(), values(), tokens()] {
        let whole: Vec<_> = places(None)
            .iter()
            .map(|place| train(&case, place, None, usize::MAX))
            .collect();
        // The least that holds two batches of each split; and one in which neither split's passes end with the ring's.
        let least = least(&case);
        for bytes in [least, least * 7 / 4] {
            for (place, whole) in places(Some(bytes)).iter().zip(&whole) {
                let name = &case.0.name;
                let streamed = train(&case, place, None, usize::MAX);
                assert!(streamed == *whole, "{name} in {bytes} bytes");
                for stop in [4, 21] {
                    let half = train(&case, place, None, stop);
                    assert_eq!(half.position.step, stop);
                    let end = train(&case, place, Some(&half), usize::MAX);
                    assert!(
                        end == *whole,
                        "{name} in {bytes} bytes, stopped after {stop}"
                    );
                }
            }
        }
    }
}

/// The fewest bytes with which a case trains, by trying.
fn least((recipe, data): &(Recipe, Splits)) -> u64 {
    let fits = |bytes: &u64| {
        let mut cpu = Place::open(&Device::Cpu).expect("it is there");
        if let Place::Cpu(tuning) = &mut cpu {
            tuning.data_memory = Some(*bytes);
        }
        Trainer::load(recipe, data, &cpu).is_ok()
    };
    let mut sizes = (256..1 << 20).step_by(256);
    sizes.find(fits).expect("a window fits")
}

#[test]
fn an_evaluation_streams_too() {
    for (recipe, data) in [images(), values(), tokens()] {
        let [whole, streamed] = [None, Some(2000)].map(places);
        for (whole, streamed) in whole.iter().zip(&streamed) {
            let mut trainer = Trainer::load(&recipe, &data, whole).expect("it loads");
            let model = trainer.model().expect("it reads");
            let [mut all, mut parts] = [whole, streamed]
                .map(|place| evaluate_on(&model, &data.train, 3, place).expect("it evaluates"));
            for evaluation in [&mut all, &mut parts] {
                (evaluation.seconds, evaluation.sequences_per_second) = (0.0, 0.0);
            }
            assert_eq!(all, parts, "{}", recipe.name);
        }
    }
}

#[test]
fn a_window_too_small_is_refused_with_the_batch_that_fits() {
    let (mut recipe, data) = values();
    let least = least(&(recipe.clone(), data.clone()));
    recipe.batch_size = 9;
    for place in places(Some(least)) {
        let refused = Trainer::load(&recipe, &data, &place).err();
        let Some(Error::Device(message)) = refused else {
            panic!("it should not fit: {refused:?}")
        };
        for part in [
            "two batches",
            "grant more",
            "the largest batch size that fits is 3",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
