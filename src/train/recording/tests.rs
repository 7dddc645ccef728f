//! Updates of several batches, in f64: those of the whole batch.

use std::collections::BTreeMap;

use super::*;
use crate::backend::cpu::Cpu;
use crate::cells::Cell;
use crate::data::{Inputs, Targets};
use crate::kernels::MISSING;
use crate::network::{Layer, Loss, Reads};
use crate::recipe::optimizer::Optimizer;
use crate::recipe::{ClassWeights, HeadRecipe, NamedHeadRecipe};
use crate::rng::{Philox, Stream};
use crate::train::feed::{StepRecord, StepRunner};

/// 10 ragged sequences with a class, a value and two labels at each step. Classes and values are
/// missing at different steps, and the first batches have no class at all.
fn data(steps: usize) -> Dataset {
    let (count, features) = (10, 2);
    let mut random = Philox::new(5, Stream::Shuffle(0));
    let mut reals = |count: usize| -> Vec<f32> {
        let draw = |_| random.below(2000) as f32 / 1000.0 - 1.0;
        (0..count).map(draw).collect()
    };
    let inputs = reals(count * steps * features);
    let mut values = reals(count * steps);
    values.iter_mut().step_by(3).for_each(|v| *v = MISSING);
    let labels = (0..count * steps).map(|at| match at {
        at if at < 5 * steps || at % 4 == 1 => u32::MAX,
        at => (at % 3) as u32,
    });
    let classes = Targets::Classes {
        labels: labels.collect(),
        classes: 3,
        per_step: true,
    };
    let of_values = |values, width| Targets::Values {
        values,
        width,
        per_step: true,
    };
    let two = (0..count * steps * 2).map(|at| (at * 7 % 5 % 2) as f32);
    let targets = vec![classes, of_values(values, 1), of_values(two.collect(), 2)];
    let lengths: Vec<u32> = (0..count as u32)
        .map(|n| 2 + n % (steps as u32 - 1))
        .collect();
    let weights = (0..count * steps).map(|at| (at % 5) as f32 / 2.0);
    Dataset {
        count,
        steps,
        features,
        inputs: Inputs::Floats(inputs),
        targets: Targets::Heads(targets),
        lengths: Some(lengths),
        weights: Some(weights.collect()),
    }
}

/// Plain descent at the rate 1 shows the gradients. The sums of weights are exact in f32.
fn recipe() -> Recipe {
    let head = HeadRecipe {
        reads: Reads::Every,
        ..HeadRecipe::default()
    };
    let layers = vec![Layer::new(Cell::Lstm, 3)];
    let mut recipe = Recipe::new("heads", layers, head, Optimizer::sgd(1.0));
    (recipe.batch_size, recipe.clip_norm) = (8, Some(0.5));
    let mut class = NamedHeadRecipe::new("class", &[], Loss::CrossEntropy);
    let weights = [("0", 2.0), ("1", 0.5)].map(|(name, weight)| (name.to_string(), weight));
    class.class_weights = Some(ClassWeights::Given(BTreeMap::from(weights)));
    (class.label_smoothing, class.weight) = (0.25, 0.3);
    let value = NamedHeadRecipe::new("value", &[], Loss::MeanSquaredError);
    let mut labels = NamedHeadRecipe::new("labels", &[], Loss::BinaryCrossEntropy);
    labels.weight = 1.7;
    recipe.network.heads = vec![class, value, labels];
    recipe
}

/// The records of the two updates of a pass, and the parameters after them.
fn updated(recipe: &Recipe, data: &Splits) -> (Vec<StepRecord>, Vec<f64>) {
    let network = recipe.network_for(&data.train, &data.preparation).unwrap();
    let recorded = Recording::new(recipe, &network, data, (Tuning::cpu(), None), None).unwrap();
    let Recording {
        network: recorded,
        update,
        train: mut feed,
        ..
    } = recorded;
    let parameters = recorded.parameters;
    let mut cpu = Cpu::<f64>::new(recorded.program).unwrap();
    cpu.write(&parameters, &network.initial(1)).unwrap();
    cpu.write(&update.rates, &vec![1.0; HISTORY_ROWS]).unwrap();
    update.initialise(&mut cpu).unwrap();
    feed.upload(&mut cpu, &data.train).unwrap();
    let mut runner = StepRunner {
        feed: &mut feed,
        data: &data.train,
        executor: &mut cpu,
        phases: &[Phase::Forward, Phase::Backward, Phase::Update],
    };
    runner.begin_in_order().unwrap();
    let steps = runner.feed.steps();
    let records = (0..steps).flat_map(|_| runner.play(1).unwrap());
    let records = records.collect();
    (records, cpu.read_exact(&parameters))
}

fn assert_equal(own: &StepRecord, whole: &StepRecord, context: &str) {
    let pairs = [
        (own.loss, whole.loss),
        (own.hits, whole.hits),
        (own.labelled, whole.labelled),
        (own.last_labelled, whole.last_labelled),
        (own.last_loss, whole.last_loss),
    ];
    // The last steps of several heads have no common mean.
    let compared = if own.heads.is_empty() { 5 } else { 4 };
    for (own, whole) in &pairs[..compared] {
        assert!((own - whole).abs() < 1e-6, "{context}: {pairs:?}");
    }
}

/// An update of 8 and one of 2 sequences.
#[test]
fn updates_of_several_heads_in_parts_are_those_of_the_whole_batch() {
    for bptt_steps in [None, Some(3)] {
        // The host keeps the states between two chunks in f32.
        let bound = if bptt_steps.is_some() { 1e-8 } else { 1e-12 };
        let splits: Splits = data(6).into();
        let mut whole = recipe();
        whole.bptt_steps = bptt_steps;
        let (records, expected) = updated(&whole, &splits);
        assert_eq!(records.len(), if bptt_steps.is_some() { 4 } else { 2 });
        let mut parts = vec![];
        for micro_batches in [2, 4, 8] {
            let mut recipe = whole.clone();
            recipe.parallel.micro_batches = micro_batches;
            parts.push(recipe);
        }
        if bptt_steps.is_none() {
            let mut recipe = whole.clone();
            (recipe.batch_size, recipe.accumulate) = (2, Some(4));
            parts.push(recipe);
        }
        for recipe in parts {
            let context = format!(
                "{bptt_steps:?} {:?} {:?}",
                recipe.parallel, recipe.accumulate
            );
            let (own, parameters) = updated(&recipe, &splits);
            let pairs = parameters.iter().zip(&expected);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            let is_finite = expected.iter().all(|value| value.is_finite());
            assert!(is_finite && worst < bound, "{context}: {worst}");
            for (own, whole) in own.iter().zip(&records) {
                assert_equal(own, whole, &context);
                assert_eq!(own.heads.len(), 3);
                for (own, whole) in own.heads.iter().zip(&whole.heads) {
                    assert_equal(own, whole, &context);
                }
                let sum: f32 = own.heads.iter().map(|head| head.loss).sum();
                assert!((own.loss - sum).abs() < 1e-6, "{context}");
            }
        }
        // The test would not see a difference that is none.
        let mut small = whole.clone();
        small.batch_size = 2;
        assert!(
            updated(&small, &splits)
                .1
                .iter()
                .zip(&expected)
                .any(|(a, b)| (a - b).abs() > 1e-3)
        );
    }
}
