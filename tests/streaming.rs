//! Streamed data: data sets that are not held in device memory. No result depends on the window.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use gatescan::data::npy::{ArrayFiles, Npy, OwnFiles};
use gatescan::data::preparation::Missing;
use gatescan::data::{Inputs, SplitBy};
use gatescan::train::evaluate_on;
use gatescan::{
    Cell, Checkpoint, ClassWeights, Dataset, Device, Error, HeadRecipe, Input, Layer, Loss,
    OpenDevice, Optimizer, Reads, Recipe, Splits, Targets, Trainer,
};
use ndarray::{Array1, Array2, Array3};
use ndarray_npy::WriteNpyExt;

/// The CPU and the test adapter, with this many bytes of device memory for data.
fn places(data_memory: Option<u64>) -> Vec<OpenDevice> {
    let gpu = common::gpu().map(|mut gpu| {
        gpu.tuning.data_memory = data_memory;
        OpenDevice::Gpu(Box::new(gpu))
    });
    let mut cpu = OpenDevice::open(&Device::Cpu).expect("it is there");
    if let OpenDevice::Cpu(tuning) = &mut cpu {
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

/// Images of 5 x 3 bytes, so that neither a sequence nor a batch ends at a word; the last batch has
/// two of them.
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
        weights: None,
    };
    let recipe = recipe("images", Reads::Last, Loss::CrossEntropy);
    (recipe, splits(data))
}

/// Value sequences of different lengths, with two target values at each step.
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
        weights: None,
    };
    let data = data.with_lengths(&lengths(count, steps)).expect("they fit");
    let recipe = recipe("values", Reads::Every, Loss::MeanSquaredError);
    (recipe, splits(data))
}

/// Token sequences of different lengths, in chunks of 4 of 10 steps. Each chunk is an update, and
/// states are carried from one to the next.
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
        weights: None,
    };
    let data = data.with_lengths(&lengths(count, steps)).expect("they fit");
    let mut recipe = recipe("tokens", Reads::Every, Loss::CrossEntropy);
    recipe.network.input = Input::OneHot;
    recipe.bptt_steps = Some(4);
    (recipe, splits(data))
}

/// The tokens with weights of their classes and of each target, smoothed labels and an average of
/// the parameters.
fn weighted_tokens() -> (Recipe, Splits) {
    let (mut recipe, splits) = tokens();
    recipe.name = "weighted-tokens".into();
    recipe.ema = Some(0.9);
    recipe.network.head.class_weights = Some(ClassWeights::Balanced);
    recipe.network.head.label_smoothing = 0.1;
    let train = &splits.train;
    let weights: Vec<f32> = (0..train.count * train.steps)
        .map(|at| (at % 5) as f32)
        .collect();
    let train = Dataset::clone(train).with_weights(&weights);
    let splits = Splits {
        train: train.expect("they fit").into(),
        ..splits
    };
    (recipe, splits)
}

/// The values as quantiles of each.
fn quantiles() -> (Recipe, Splits) {
    let (mut recipe, splits) = values();
    recipe.name = "quantiles".into();
    recipe.network.head.loss = Loss::quantiles(&[0.1, 0.5, 0.9]).expect("they are levels");
    (recipe, splits)
}

/// Trains from `from` up to `step`, or to the end.
fn train(
    (recipe, data): &(Recipe, Splits),
    place: &OpenDevice,
    from: Option<&Checkpoint>,
    step: usize,
) -> Checkpoint {
    let mut trainer = Trainer::load(recipe, data, place).expect("it loads");
    assert_eq!(trainer.streams(), place.tuning().data_memory.is_some());
    from.iter()
        .try_for_each(|from| trainer.restore(from))
        .expect("it fits");
    common::train_until(&mut trainer, step);
    trainer.checkpoint().expect("it reads")
}

#[test]
fn a_window_changes_no_bit() {
    let cases = [images(), values(), tokens(), weighted_tokens(), quantiles()];
    for case in cases {
        let whole: Vec<_> = places(None)
            .iter()
            .map(|place| train(&case, place, None, usize::MAX))
            .collect();
        // The smallest size that holds two batches of each split, and a size where neither split's
        // passes end at the end of the ring.
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

/// The fewest bytes with which a case trains, found by trying.
fn least((recipe, data): &(Recipe, Splits)) -> u64 {
    let fits = |bytes: &u64| {
        let mut cpu = OpenDevice::open(&Device::Cpu).expect("it is there");
        if let OpenDevice::Cpu(tuning) = &mut cpu {
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
        let Some(error @ Error::BatchTooLarge { .. }) = refused else {
            panic!("it should not fit: {refused:?}")
        };
        let message = error.to_string();
        for part in [
            "two batches",
            "increase data_memory",
            "the largest batch size that fits is 3",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}

fn write(path: &Path, array: &impl WriteNpyExt) {
    let file = File::create(path).expect("there is space");
    array.write_npy(file).expect("there is space");
}

fn arrays(lengths: bool, missing: Missing) -> Npy {
    Npy {
        labels: Some("y".into()),
        lengths: lengths.then(|| "n".into()),
        test_fraction: 0.25,
        split_by: SplitBy::Random,
        missing,
        ..Npy::new(Path::new("arrays"), "x")
    }
}

#[test]
fn streamed_arrays_have_the_same_values_as_loaded_arrays() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let (count, steps) = (60, 5);
    write(
        &at("y.npy"),
        &Array1::from_shape_fn(count, |n| n as i32 % 3),
    );
    let own = Array1::from_shape_fn(count, |n| (n * 7 % (steps + 1)) as u16);
    write(&at("n.npy"), &own);
    let rows: usize = own.iter().map(|&length| usize::from(length)).sum();
    let number = |at: usize| ((at * 89) % 201) as f64 - 100.0;
    let padded = Array3::from_shape_fn((count, steps, 2), |(n, t, i)| number(10 * n + 2 * t + i));
    let mut gaps = padded.clone();
    gaps[[4, 0, 1]] = f64::NAN;
    let end_to_end = Array2::from_shape_fn((rows, 3), |(r, i)| number(3 * r + i) / 7.0);
    let big_endian = {
        let mut bytes = vec![];
        padded
            .mapv(|value| value as i16)
            .write_npy(&mut bytes)
            .expect("there is space");
        let start = bytes.len() - 2 * padded.len();
        let place = bytes
            .windows(3)
            .position(|part| part == b"<i2")
            .expect("its type");
        bytes[place] = b'>';
        bytes[start..].chunks_exact_mut(2).for_each(<[u8]>::reverse);
        bytes
    };
    type Writing<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: [(Writing, bool, Missing); 8] = [
        (
            Box::new(|path| write(path, &padded)),
            false,
            Missing::Refuse,
        ),
        (
            Box::new(|path| write(path, &padded.mapv(|v| v as f32))),
            true,
            Missing::Refuse,
        ),
        (
            Box::new(|path| write(path, &padded.mapv(|v| v as i8))),
            false,
            Missing::Refuse,
        ),
        (
            Box::new(|path| write(path, &padded.mapv(|v| v.abs() as u8))),
            false,
            Missing::Refuse,
        ),
        (
            Box::new(|path| write(path, &padded.mapv(|v| v > 0.0))),
            false,
            Missing::Refuse,
        ),
        (
            Box::new(|path| fs::write(path, &big_endian).expect("there is space")),
            false,
            Missing::Refuse,
        ),
        (Box::new(|path| write(path, &gaps)), false, Missing::Mean),
        (
            Box::new(|path| write(path, &end_to_end)),
            true,
            Missing::Refuse,
        ),
    ];
    let mut recipe = recipe("arrays", Reads::Last, Loss::CrossEntropy);
    recipe.epochs = 2;
    for (case, (write, lengths, missing)) in cases.into_iter().enumerate() {
        write(&at("x.npy"));
        let npy = arrays(lengths, missing);
        let [memory, file] = [u64::MAX, 0].map(|most| {
            let mut source = ArrayFiles::<File>::Directory {
                path: directory.path().into(),
                largest_in_memory: most,
            };
            npy.split(&mut source, OwnFiles::NONE, 3, None)
                .expect("it is accepted")
        });
        assert!(matches!(memory.train.inputs, Inputs::Floats(_)), "{case}");
        assert!(matches!(file.train.inputs, Inputs::Stored(_)), "{case}");
        assert_eq!(memory.preparation, file.preparation, "{case}");
        let [cpu, window] = [None, Some(1500)].map(|bytes| places(bytes).remove(0));
        let whole = train(&(recipe.clone(), memory), &cpu, None, usize::MAX);
        let file = (recipe.clone(), file);
        assert!(train(&file, &cpu, None, usize::MAX) == whole, "{case}");
        assert!(train(&file, &window, None, usize::MAX) == whole, "{case}");
    }

    // A problem is reported before the run begins, or when it appears.
    let split = |npy: &Npy| {
        let mut source = ArrayFiles::<File>::Directory {
            path: directory.path().into(),
            largest_in_memory: 0,
        };
        npy.split(&mut source, OwnFiles::NONE, 3, None)
    };
    let refused = |npy: &Npy| {
        let cpu = places(None).remove(0);
        let failed = split(npy).and_then(|data| Trainer::load(&recipe, &data, &cpu).map(|_| ()));
        failed.expect_err("it is damaged").to_string()
    };
    write(&at("x.npy"), &gaps);
    let message = refused(&arrays(false, Missing::Refuse));
    assert!(
        message.contains("step 0, feature 1 is NaN; set data.missing"),
        "{message}"
    );
    let mut endless = padded.clone();
    endless[[3, 2, 0]] = f64::INFINITY;
    write(&at("x.npy"), &endless);
    let message = refused(&arrays(false, Missing::Zero));
    assert!(message.contains("is infinite"), "{message}");
    write(&at("x.npy"), &padded);
    let data = split(&arrays(false, Missing::Refuse)).expect("it is accepted");
    let file = File::options()
        .write(true)
        .open(at("x.npy"))
        .expect("it is there");
    file.set_len(1000).expect("it can be cut");
    let message = refused(&arrays(false, Missing::Refuse));
    assert!(
        message.contains("the file is damaged or cut off"),
        "{message}"
    );
    let cpu = places(None).remove(0);
    let message = Trainer::load(&recipe, &data, &cpu)
        .err()
        .expect("it is cut")
        .to_string();
    assert!(
        message.contains("x.npy: sequence") && message.contains("do not change the file"),
        "{message}"
    );
}

/// 1 GiB of inputs, with an address space of 640 MiB.
#[cfg(target_os = "linux")]
#[test]
fn a_file_larger_than_memory_trains() {
    let place = common::place::Workspace::new();
    fs::create_dir(place.path("large")).expect("there is space");
    let at = |name: &str| place.path("large").join(name);
    let (count, steps, features) = (8192, 64, 512);
    write(
        &at("labels.npy"),
        &Array1::from_shape_fn(count, |n| n as i32 % 2),
    );
    // The header of a smaller file; the rest of the file is a hole.
    let mut header = vec![];
    Array3::<f32>::zeros((1111, steps, features))
        .write_npy(&mut header)
        .expect("there is space");
    header.truncate(128);
    let text = String::from_utf8_lossy(&header[10..]).replace("1111", "8192");
    header.splice(10.., text.bytes());
    let mut file = File::create(at("inputs.npy")).expect("there is space");
    file.write_all(&header).expect("there is space");
    let bytes = (count * steps * features * 4) as u64;
    file.set_len(128 + bytes).expect("holes are free");

    let recipe = "\
        name = \"large\"\nseed = 0\nepochs = 1\nsteps = 3\nbatch_size = 8\n\
        [data]\nkind = \"npy\"\npath = \"large\"\ninputs = \"inputs\"\nlabels = \"labels\"\n\
         test_fraction = 0.0\nnormalise = false\n\
        [[network.layer]]\ncell = \"lstm\"\nhidden_size = 4\n\
        [network.head]\nreads = \"last\"\nloss = \"cross-entropy\"\n\
        [optimizer]\nkind = \"adam\"\nlr = 0.01\n";
    fs::write(place.path("large.toml"), recipe).expect("there is space");
    let program = env!("CARGO_BIN_EXE_gatescan");
    let train = format!(
        "ulimit -v 655360; exec {program} train large.toml --device cpu --tune data_memory=8"
    );
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", &train]).current_dir(place.path("."));
    // Threads need addresses for their stacks and heaps.
    shell
        .env("RAYON_NUM_THREADS", "2")
        .env("MALLOC_ARENA_MAX", "1");
    let run = common::place::Run::from(shell.output().expect("it starts"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stderr.contains("streamed to the device"),
        "{}",
        run.stderr
    );
}
