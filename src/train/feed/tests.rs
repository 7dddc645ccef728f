//! Uploads in several parts, and the records of steps.

use super::*;
use crate::backend::cpu::Cpu;
use crate::backend::tuning::Tuning;
use crate::cells::Cell;
use crate::data::Targets;
use crate::kernels::history;
use crate::network::{Head, Init, Input, Layer, Loss, Network, Reads};
use crate::record::Gradients;

/// Records the feed of `data` in steps of one sequence's first time step, and loads it on the CPU.
fn load(data: &Dataset) -> (Feed, Cpu<f32>) {
    let loss = match data.targets {
        Targets::Classes { .. } => Loss::CrossEntropy,
        Targets::Lists { .. } => Loss::CTC,
        _ => Loss::MeanSquaredError,
    };
    let is_tokens = matches!(data.inputs, Inputs::Tokens { .. });
    let network = Network {
        input_size: data.input_size(),
        input: if is_tokens {
            Input::OneHot
        } else {
            Input::Values
        },
        layers: vec![Layer::new(Cell::RnnTanh, 1)],
        head: Head {
            size: data.targets.outputs(),
            reads: if data.targets.per_step() || loss.takes_lists() {
                Reads::Every
            } else {
                Reads::Last
            },
            loss,
            init: Init::Glorot,
        },
        heads: vec![],
        categories: vec![],
    };
    let tuning = Tuning::cpu();
    let mut network = RecordedNetwork::new(&network, 1, 1, Gradients::None, tuning).unwrap();
    network.add_lists(data.targets.longest_list()).unwrap();
    let feed = Feed::record(&mut network, Phase::Forward, data, None).unwrap();
    let executor = Cpu::new(network.program).unwrap();
    (feed, executor)
}

/// Returns the inputs, as bits of f32 or as words, and labels, targets or lists, and lengths.
fn uploaded(feed: &Feed, executor: &mut Cpu<f32>, data: &Dataset) -> [Vec<u32>; 4] {
    let [inputs, labels, targets, lengths] = feed.buffers.contents();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    let inputs = match data.inputs {
        Inputs::Floats(_) | Inputs::Stored(_) => bits(executor.read(&inputs.unwrap()).unwrap()),
        _ => executor.read_index(&inputs.unwrap()).unwrap(),
    };
    let targets = match (targets, &data.targets) {
        (Some(lists), Targets::Lists { .. }) => executor.read_index(&lists).unwrap(),
        (Some(targets), _) => bits(executor.read(&targets).unwrap()),
        (None, _) => vec![],
    };
    let [labels, lengths] =
        [labels, lengths].map(|tensor| executor.read_index(&tensor.unwrap()).unwrap());
    [inputs, labels, targets, lengths]
}

/// Returns the same of the data set itself.
fn contents(data: &Dataset) -> [Vec<u32>; 4] {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    let inputs = match &data.inputs {
        Inputs::Bytes { values, .. } => {
            let mut values = values.clone();
            values.resize(values.len().next_multiple_of(4), 0);
            let words = values.chunks_exact(4);
            words
                .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
                .collect()
        }
        Inputs::Floats(values) => bits(values),
        Inputs::Tokens { values, .. } => values.clone(),
        Inputs::Stored(_) => unreachable!("no data of these tests are stored"),
    };
    let targets = match &data.targets {
        Targets::Values { values, .. } => bits(values),
        Targets::Lists { labels, .. } => labels.clone(),
        _ => vec![],
    };
    let full = vec![data.steps as u32; data.count];
    let lengths = data.lengths.clone().unwrap_or(full);
    [inputs, data.labels(), targets, lengths]
}

fn data_set(count: usize, steps: usize, inputs: Inputs, targets: Targets) -> Dataset {
    let lengths = (0..count as u32).map(|n| n % (steps as u32 + 1)).collect();
    let features = match &inputs {
        Inputs::Bytes { values, .. } => values.len() / (count * steps),
        Inputs::Floats(values) => values.len() / (count * steps),
        _ => 1,
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

#[test]
fn parts_of_every_size_make_the_whole_upload() {
    // Sequences of 15 bytes: only every fourth begins at a word.
    let (count, steps) = (21, 5);
    let bytes = (0..count * steps * 3).map(|at| (at * 37 % 251) as u8);
    let floats = (0..count * steps * 2).map(|at| (at as f32).sin());
    let tokens = (0..count * steps).map(|at| (at * 3 % 7) as u32);
    let classes = Targets::Classes {
        labels: (0..count as u32).map(|n| n % 4).collect(),
        classes: 4,
        per_step: false,
    };
    let values = Targets::Values {
        values: (0..count * steps * 2).map(|at| at as f32).collect(),
        width: 2,
        per_step: true,
    };
    let next = Targets::Classes {
        labels: (0..count * steps).map(|at| (at % 7) as u32).collect(),
        classes: 7,
        per_step: true,
    };
    let lists: Vec<Vec<u32>> = (0..count as u32).map(|n| vec![1; n as usize % 4]).collect();
    let lists = Targets::lists(lists.iter().map(Vec::as_slice), 3);
    let floats_again = (0..count * steps).map(|at| at as f32);
    let data_sets = [
        (Inputs::Floats(floats_again.collect()), lists),
        (
            Inputs::Bytes {
                values: bytes.collect(),
                scale: 1.0,
            },
            classes,
        ),
        (Inputs::Floats(floats.collect()), values),
        (
            Inputs::Tokens {
                values: tokens.collect(),
                vocabulary: 7,
            },
            next,
        ),
    ];
    for (inputs, targets) in data_sets {
        let data = data_set(count, steps, inputs, targets);
        let each = bytes_each(&data) as usize;
        for bytes in [1, each, 5 * each, 8 * each, 20 * each, 21 * each, 1 << 20] {
            let (feed, mut executor) = load(&data);
            feed.upload_in_parts(&mut executor, &data, bytes).unwrap();
            let uploaded = uploaded(&feed, &mut executor, &data);
            assert!(uploaded == contents(&data), "{bytes} bytes at a time");
        }
    }
}

/// Five sequences of 17 MiB: the first part has four of them.
#[test]
fn more_than_64_mib_are_uploaded_in_parts() {
    let (count, steps) = (5, 17 << 20);
    let values = (0..count * steps).map(|at| ((at >> 16) + at) as u8);
    let inputs = Inputs::Bytes {
        values: values.collect(),
        scale: 1.0,
    };
    let targets = Targets::Classes {
        labels: (1..=count as u32).collect(),
        classes: 6,
        per_step: false,
    };
    let data = data_set(count, steps, inputs, targets);
    assert!(bytes_each(&data) as usize * count > UPLOAD);
    let (feed, mut executor) = load(&data);
    feed.upload(&mut executor, &data).unwrap();
    assert!(uploaded(&feed, &mut executor, &data) == contents(&data));
}

#[test]
fn a_step_is_finite_where_the_device_and_the_host_find_it_so() {
    let record = |loss: f32, norm: f32, flag: f32| {
        let mut row = [0.0; history::WORDS];
        (row[history::LOSS], row[history::NORM]) = (loss, norm);
        row[history::NOT_FINITE] = flag;
        StepRecord::new(&row).is_finite
    };
    assert!(record(f32::MAX, f32::MAX, 0.0));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(!record(bad, 1.0, 0.0));
        assert!(!record(1.0, bad, 0.0));
    }
    // A driver whose reads lose NaN: the device has tested the bits.
    assert!(!record(1.0, 1.0, 1.0));
}
