//! Layers without a head: their gradients against finite differences in f64, layouts of rows,
//! repeated backward passes, and the same on a GPU.

mod common;

use gatescan::layers::{
    LayerElement, LayerGradients, LayerInputs, LayerOutputs, LayerUpstream, Layers, OutputRows,
    RecordedLayers, RecordingPool, RowLayout, WantedGradients, steps_bound,
};
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::network::{Bias, Dropout};
use gatescan::{Cell, Device, Layer, OpenDevice};

const FEATURES: usize = 3;
const BATCH: usize = 3;
const STEPS: usize = 5;

/// Rounding of order 1e-16 over a step of 1e-5, truncation of order 1e-10.
const RELATIVE: f64 = 1e-6;

fn cpu() -> OpenDevice {
    OpenDevice::open(&Device::Cpu).expect("it opens")
}

/// All values of a pass.
#[derive(Debug, Clone, PartialEq)]
struct Values<R> {
    inputs: Vec<R>,
    initial: [Vec<R>; 2],
    parameters: Vec<Vec<R>>,
}

/// The results of a forward pass, or the upstream of a backward pass.
#[derive(Debug, Clone, PartialEq)]
struct Results<R> {
    values: Vec<R>,
    last: [Vec<R>; 2],
}

struct Random(Philox);

impl Random {
    fn new(seed: u64) -> Self {
        Random(Philox::new(seed, Stream::Images))
    }

    fn values<R: LayerElement>(&mut self, len: usize) -> Vec<R> {
        (0..len).map(|_| R::of(0.5 * self.0.normal())).collect()
    }

    fn pass<R: LayerElement>(&mut self, layers: &Layers, rows: usize, batch: usize) -> Values<R> {
        let parameters = layers.parameters();
        Values {
            inputs: self.values(rows * FEATURES),
            initial: layers.state_sizes().map(|size| self.values(size * batch)),
            parameters: parameters
                .iter()
                .map(|(_, shape)| self.values(shape.iter().product()))
                .collect(),
        }
    }

    fn upstream<R: LayerElement>(
        &mut self,
        layers: &Layers,
        rows: usize,
        batch: usize,
    ) -> Results<R> {
        Results {
            values: self.values(rows * layers.output_size()),
            last: layers.state_sizes().map(|size| self.values(size * batch)),
        }
    }
}

/// The rows of a pass and its seed.
#[derive(Clone, Copy)]
struct Given<'a> {
    rows: RowLayout<'a>,
    dropout_seed: u32,
}

impl<'a> Given<'a> {
    fn of(rows: RowLayout<'a>) -> Self {
        Given {
            rows,
            dropout_seed: 0,
        }
    }

    fn inputs<R>(self, values: &'a Values<R>, parameters: &'a [&'a [R]]) -> LayerInputs<'a, R> {
        LayerInputs {
            values: &values.inputs,
            rows: self.rows,
            initial: values
                .initial
                .each_ref()
                .map(|state| Some(state.as_slice())),
            parameters,
            dropout_seed: self.dropout_seed,
        }
    }
}

fn forward<R: LayerElement>(
    recorded: &mut RecordedLayers<R>,
    layers: &Layers,
    values: &Values<R>,
    given: Given,
) -> Results<R> {
    let parameters: Vec<&[R]> = values.parameters.iter().map(Vec::as_slice).collect();
    let inputs = given.inputs(values, &parameters);
    let count = values.inputs.len() / FEATURES;
    let mut results = Results {
        values: vec![R::of(7.0); count * layers.output_size()],
        last: values
            .initial
            .each_ref()
            .map(|state| vec![R::of(7.0); state.len()]),
    };
    let outputs = LayerOutputs {
        values: Some(OutputRows::Rows(&mut results.values)),
        last: results
            .last
            .each_mut()
            .map(|state| Some(state.as_mut_slice())),
    };
    recorded.forward_into(&inputs, outputs).expect("it runs");
    results
}

fn backward<R: LayerElement>(
    recorded: &mut RecordedLayers<R>,
    values: &Values<R>,
    given: Given,
    upstream: &Results<R>,
) -> Values<R> {
    let parameters: Vec<&[R]> = values.parameters.iter().map(Vec::as_slice).collect();
    let inputs = given.inputs(values, &parameters);
    let mut gradients = values.clone();
    let upstream = LayerUpstream {
        values: Some(&upstream.values),
        last: upstream.last.each_ref().map(|state| Some(state.as_slice())),
    };
    let into = LayerGradients {
        inputs: Some(&mut gradients.inputs),
        initial: gradients
            .initial
            .each_mut()
            .map(|state| Some(state.as_mut_slice())),
        parameters: gradients
            .parameters
            .iter_mut()
            .map(|p| Some(p.as_mut_slice()))
            .collect(),
    };
    recorded
        .backward_into(&inputs, None, &upstream, into)
        .expect("it runs");
    gradients
}

fn sum_of_products(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Results<f64> {
    fn dot(&self, other: &Results<f64>) -> f64 {
        let states = self.last.iter().zip(&other.last);
        sum_of_products(&self.values, &other.values)
            + states.map(|(a, b)| sum_of_products(a, b)).sum::<f64>()
    }
}

impl<R> Values<R> {
    /// Every value, in one order.
    fn each(&mut self) -> Vec<&mut R> {
        let parts = [&mut self.inputs].into_iter().chain(&mut self.initial);
        parts.chain(&mut self.parameters).flatten().collect()
    }
}

fn stack(cell: Cell, layers: usize, change: impl Fn(Layer) -> Layer) -> Layers {
    let layer = |n| {
        change(Layer {
            bias: Bias::largest(cell),
            ..Layer::new(cell, 4 + n)
        })
    };
    Layers::new(FEATURES, (0..layers).map(layer).collect()).expect("they are valid")
}

/// Every cell, and the options of the layers that frameworks have.
fn stacks() -> Vec<Layers> {
    let both = |layer| Layer {
        bidirectional: true,
        ..layer
    };
    let mut stacks: Vec<Layers> = Cell::ALL.iter().map(|&cell| stack(cell, 1, both)).collect();
    stacks.push(stack(Cell::Gru, 2, both));
    stacks.push(stack(Cell::Lstm, 2, |layer| layer));
    stacks.push(stack(Cell::Lstm, 2, |layer| Layer {
        projection_size: Some(2),
        ..both(layer)
    }));
    // The states that the tests give replace them.
    stacks.push(stack(Cell::Lstm, 2, |layer| Layer {
        learn_initial_state: true,
        ..both(layer)
    }));
    stacks.push(stack(Cell::RnnTanh, 2, |layer| Layer {
        bias: Bias::None,
        ..layer
    }));
    for cell in [Cell::Lstm, Cell::Gru] {
        stacks.push(stack(cell, 2, |layer| Layer {
            layer_norm: true,
            layer_norm_epsilon: Some(1e-2),
            ..both(layer)
        }));
    }
    stacks
}

/// Gradients with respect to inputs, initial states and parameters of a random sum of outputs and
/// last states.
#[test]
fn gradients_are_those_of_finite_differences() {
    for (n, layers) in stacks().iter().enumerate() {
        let mut random = Random::new(n as u64);
        let lengths = [5, 2, 0];
        let rows = Given::of(RowLayout::Ragged {
            steps: STEPS,
            lengths: &lengths,
        });
        let mut values: Values<f64> = random.pass(layers, STEPS * BATCH, BATCH);
        let upstream = random.upstream(layers, STEPS * BATCH, BATCH);
        let mut recorded = layers
            .record::<f64>(&cpu(), STEPS + 2, BATCH, WantedGradients::All)
            .expect("it records");
        forward(&mut recorded, layers, &values, rows);
        let mut gradients = backward(&mut recorded, &values, rows, &upstream);
        let gradients: Vec<f64> = gradients.each().into_iter().map(|g| *g).collect();
        let largest = gradients
            .iter()
            .fold(0.0f64, |largest, g| largest.max(g.abs()));
        assert!(largest > 0.1, "{layers:?}");
        for (at, &gradient) in gradients.iter().enumerate() {
            let mut loss = |by: f64| {
                *values.each()[at] += by;
                let loss = forward(&mut recorded, layers, &values, rows).dot(&upstream);
                *values.each()[at] -= by;
                loss
            };
            let difference = (loss(1e-5) - loss(-1e-5)) / 2e-5;
            let error = (gradient - difference).abs() / largest;
            assert!(
                error < RELATIVE,
                "{layers:?}: element {at} is {gradient} and should be {difference}"
            );
        }
    }
}

/// Packed rows have the bits of ragged ones, whose padding is neither read nor written.
/// Learnt initial states are those of every sequence, and have the sum of the gradients.
#[test]
fn learnt_states_are_read_where_no_others_are_given() {
    let plain = stack(Cell::Lstm, 2, |layer| layer);
    let learns = stack(Cell::Lstm, 2, |layer| Layer {
        learn_initial_state: true,
        ..layer
    });
    let rows = RowLayout::Full { steps: STEPS };
    let mut random = Random::new(9);
    let values: Values<f64> = random.pass(&learns, STEPS * BATCH, BATCH);
    let names: Vec<String> = learns
        .parameters()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let is_learnt = |name: &String| name.starts_with("h0") || name.starts_with("c0");
    // The same states, given to layers that have no others.
    let mut given = values.clone();
    let own = names.iter().zip(&values.parameters);
    given.parameters = (own.filter(|(name, _)| !is_learnt(name)))
        .map(|(_, values)| values.clone())
        .collect();
    let initial = ["h0", "c0"].map(|state| {
        let own = names.iter().zip(&values.parameters);
        let own = own.filter(|(name, _)| name.starts_with(state));
        own.flat_map(|(_, values)| values.repeat(BATCH)).collect()
    });
    given.initial = initial;
    let upstream = random.upstream(&learns, STEPS * BATCH, BATCH);
    let record = |layers: &Layers| {
        let recorded = layers.record::<f64>(&cpu(), STEPS, BATCH, WantedGradients::All);
        recorded.expect("it records")
    };
    let mut expected = record(&plain);
    let results = forward(&mut expected, &plain, &given, Given::of(rows));
    let expected = backward(&mut expected, &given, Given::of(rows), &upstream);

    let mut found = record(&learns);
    let parameters: Vec<&[f64]> = values.parameters.iter().map(Vec::as_slice).collect();
    let inputs = LayerInputs {
        values: &values.inputs,
        rows,
        initial: [None, None],
        parameters: &parameters,
        dropout_seed: 0,
    };
    let mut outputs = vec![0.0; results.values.len()];
    let written = found.forward_into(&inputs, LayerOutputs::of(&mut outputs));
    written.expect("it runs");
    assert_eq!(outputs, results.values);
    let found = backward(&mut found, &values, Given::of(rows), &upstream);
    assert_eq!(found.initial, expected.initial);
    let own = names.iter().zip(&found.parameters);
    let learnt: Vec<(&String, &Vec<f64>)> = own.filter(|(name, _)| is_learnt(name)).collect();
    assert_eq!(learnt.len(), 4);
    let mut ends = [0, 0];
    for (name, gradient) in learnt {
        let state = usize::from(name.starts_with("c0"));
        let len = gradient.len() * BATCH;
        let of_sequences = &expected.initial[state][ends[state]..ends[state] + len];
        ends[state] += len;
        for (n, gradient) in gradient.iter().enumerate() {
            let own = of_sequences.iter().skip(n).step_by(len / BATCH);
            let sum: f64 = own.sum();
            assert!((gradient - sum).abs() < 1e-14, "{name}[{n}]");
        }
    }
}

#[test]
fn packed_rows_are_ragged_rows_without_padding() {
    let batch_sizes = [3, 2, 2, 1];
    let lengths = [4, 3, 1];
    let is_valid = |row: usize| row % BATCH < batch_sizes[row / BATCH];
    for layers in stacks() {
        let mut random = Random::new(3);
        let padded: Values<f32> = random.pass(&layers, 4 * BATCH, BATCH);
        let upstream: Results<f32> = random.upstream(&layers, 4 * BATCH, BATCH);
        let width = layers.output_size();
        let valid = |values: &[f32], width: usize| -> Vec<f32> {
            let rows = values.chunks(width).enumerate();
            rows.filter(|(row, _)| is_valid(*row))
                .flat_map(|(_, v)| v)
                .copied()
                .collect()
        };
        let poisoned = |values: &[f32], width: usize| -> Vec<f32> {
            let value = |(at, &value): (usize, &f32)| {
                if is_valid(at / width) {
                    value
                } else {
                    f32::NAN
                }
            };
            values.iter().enumerate().map(value).collect()
        };
        let packed = Values {
            inputs: valid(&padded.inputs, FEATURES),
            ..padded.clone()
        };
        let packed_upstream = Results {
            values: valid(&upstream.values, width),
            ..upstream.clone()
        };
        let padded = Values {
            inputs: poisoned(&padded.inputs, FEATURES),
            ..padded
        };
        let upstream = Results {
            values: poisoned(&upstream.values, width),
            ..upstream
        };
        let record = || layers.record::<f32>(&cpu(), 4, BATCH, WantedGradients::All);
        let mut recorded = record().expect("it records");
        let steps = Given::of(RowLayout::Ragged {
            steps: 4,
            lengths: &lengths,
        });
        let ragged = forward(&mut recorded, &layers, &padded, steps);
        let ragged_gradients = backward(&mut recorded, &padded, steps, &upstream);
        let mut recorded = record().expect("it records");
        let rows = Given::of(RowLayout::Packed {
            batch_sizes: &batch_sizes,
        });
        let results = forward(&mut recorded, &layers, &packed, rows);
        let gradients = backward(&mut recorded, &packed, rows, &packed_upstream);
        assert_eq!(results.values, valid(&ragged.values, width), "{layers:?}");
        assert_eq!(results.last, ragged.last);
        let padding = ragged.values.chunks(width).enumerate();
        let mut padding = padding
            .filter(|(row, _)| !is_valid(*row))
            .flat_map(|(_, v)| v);
        assert!(padding.all(|&value| value == 0.0), "{layers:?}");
        assert_eq!(gradients.inputs, valid(&ragged_gradients.inputs, FEATURES));
        assert_eq!(gradients.initial, ragged_gradients.initial);
        assert_eq!(gradients.parameters, ragged_gradients.parameters);
    }
}

/// A recording serves shorter sequences, after longer ones too, with the results of its own.
#[test]
fn a_recording_takes_fewer_steps() {
    for layers in stacks() {
        let mut random = Random::new(4);
        let long: Values<f64> = random.pass(&layers, 7 * BATCH, BATCH);
        let short: Values<f64> = random.pass(&layers, 5 * BATCH, BATCH);
        let upstream = random.upstream(&layers, 5 * BATCH, BATCH);
        let of_bound = |steps| {
            let recorded = layers.record(&cpu(), steps, BATCH, WantedGradients::All);
            recorded.expect("it records")
        };
        let mut own = of_bound(5);
        let steps = Given::of(RowLayout::Full { steps: 5 });
        let results = forward(&mut own, &layers, &short, steps);
        let gradients = backward(&mut own, &short, steps, &upstream);
        let mut shared = of_bound(7);
        let more = Given::of(RowLayout::Full { steps: 7 });
        forward(&mut shared, &layers, &long, more);
        assert_eq!(forward(&mut shared, &layers, &short, steps), results);
        assert_eq!(
            backward(&mut shared, &short, steps, &upstream),
            gradients,
            "{layers:?}"
        );
    }
}

#[test]
fn a_second_backward_pass_has_the_same_result_and_dropout_that_of_its_seed() {
    let layers = stack(Cell::Lstm, 3, |layer| Layer {
        bidirectional: true,
        dropout: Dropout {
            output_keep_prob: 0.5,
            ..Dropout::default()
        },
        ..layer
    });
    let mut random = Random::new(5);
    let values: Values<f32> = random.pass(&layers, STEPS * BATCH, BATCH);
    let upstream = random.upstream(&layers, STEPS * BATCH, BATCH);
    let with_seed = |dropout_seed| Given {
        rows: RowLayout::Full { steps: STEPS },
        dropout_seed,
    };
    let (nine, ten) = (with_seed(9), with_seed(10));
    let mut recorded = layers
        .record(&cpu(), STEPS, BATCH, WantedGradients::All)
        .expect("it records");
    let mut run = |given| {
        let results = forward(&mut recorded, &layers, &values, given);
        let gradients = backward(&mut recorded, &values, given, &upstream);
        assert_eq!(
            backward(&mut recorded, &values, given, &upstream),
            gradients
        );
        (results, gradients)
    };
    let (first, gradients) = run(nine);
    let (others, other_gradients) = run(ten);
    assert_ne!(others, first);
    assert_ne!(other_gradients, gradients);
    assert_eq!(run(nine), (first, gradients));
}

#[test]
fn a_pool_records_exactly_the_steps_of_equal_lengths() {
    let layers = stack(Cell::Gru, 1, |layer| layer);
    let pool = RecordingPool::<f32>::new(cpu());
    let steps = |rows: RowLayout| {
        let taken = pool.take(&layers, &rows, 2, WantedGradients::All);
        taken.expect("it records").steps()
    };
    let lengths = [29, 7];
    assert_eq!(steps(RowLayout::Full { steps: 29 }), 29);
    assert_eq!(
        steps(RowLayout::Ragged {
            steps: 29,
            lengths: &lengths
        }),
        steps_bound(29)
    );
    assert_ne!(steps_bound(29), 29);
}

#[test]
fn recordings_in_use_at_once_do_not_share_values() {
    let layers = stack(Cell::Gru, 2, |layer| layer);
    let pool = RecordingPool::<f64>::new(cpu());
    let mut random = Random::new(6);
    let steps = Given::of(RowLayout::Full { steps: STEPS });
    let passes: Vec<(Values<f64>, Results<f64>)> = (0..3)
        .map(|_| {
            let values = random.pass(&layers, STEPS * BATCH, BATCH);
            (values, random.upstream(&layers, STEPS * BATCH, BATCH))
        })
        .collect();
    let take = || {
        let rows = RowLayout::Full { steps: STEPS };
        let taken = pool.take(&layers, &rows, BATCH, WantedGradients::All);
        taken.expect("it records")
    };
    let alone: Vec<Values<f64>> = passes
        .iter()
        .map(|(values, upstream)| {
            let mut recorded = take();
            forward(&mut recorded, &layers, values, steps);
            let gradients = backward(&mut recorded, values, steps, upstream);
            pool.put(recorded);
            gradients
        })
        .collect();
    let mut outstanding: Vec<RecordedLayers<f64>> = passes
        .iter()
        .map(|(values, _)| {
            let mut recorded = take();
            forward(&mut recorded, &layers, values, steps);
            recorded
        })
        .collect();
    for (n, (values, upstream)) in passes.iter().enumerate() {
        let gradients = backward(&mut outstanding[n], values, steps, upstream);
        assert_eq!(gradients, alone[n]);
    }
}

#[test]
fn bounds_of_steps_are_few_and_at_most_an_eighth_above() {
    let mut bounds: Vec<usize> = (1..=1024).map(steps_bound).collect();
    for (steps, &bound) in (1..).zip(&bounds) {
        assert!(
            bound >= steps && 8 * bound <= 9 * steps + 8,
            "{steps}: {bound}"
        );
    }
    bounds.dedup();
    assert!(bounds.len() < 70, "{}", bounds.len());
}

/// f32 on a GPU agrees with f64 on the CPU to the rounding of f32.
#[test]
fn a_gpu_has_the_results_of_the_cpu() {
    let Some(device) = common::gpu() else {
        return;
    };
    let device = OpenDevice::Gpu(Box::new(device));
    for layers in [
        stack(Cell::Lstm, 2, |layer| Layer {
            bidirectional: true,
            projection_size: Some(2),
            ..layer
        }),
        stack(Cell::Gru, 2, |layer| layer),
    ] {
        let mut random = Random::new(8);
        let values: Values<f64> = random.pass(&layers, STEPS * BATCH, BATCH);
        let upstream: Results<f64> = random.upstream(&layers, STEPS * BATCH, BATCH);
        let single = |values: &[f64]| -> Vec<f32> { values.iter().map(|&v| v as f32).collect() };
        let on_gpu = Values {
            inputs: single(&values.inputs),
            initial: values.initial.each_ref().map(|state| single(state)),
            parameters: values.parameters.iter().map(|p| single(p)).collect(),
        };
        let gpu_upstream = Results {
            values: single(&upstream.values),
            last: upstream.last.each_ref().map(|state| single(state)),
        };
        let lengths = [5, 2, 4];
        let rows = Given::of(RowLayout::Ragged {
            steps: STEPS,
            lengths: &lengths,
        });
        let mut expected = layers
            .record(&cpu(), STEPS, BATCH, WantedGradients::All)
            .expect("it records");
        let mut recorded = layers
            .record(&device, STEPS + 1, BATCH, WantedGradients::All)
            .expect("it records");
        let results = forward(&mut expected, &layers, &values, rows);
        let gpu_results = forward(&mut recorded, &layers, &on_gpu, rows);
        let mut gradients = backward(&mut expected, &values, rows, &upstream);
        let mut gpu_gradients = backward(&mut recorded, &on_gpu, rows, &gpu_upstream);
        let close = |a: f64, b: f32| (a - f64::from(b)).abs() < 1e-5 * (1.0 + a.abs());
        let outputs = results.values.iter().zip(&gpu_results.values);
        assert!(outputs.into_iter().all(|(&a, &b)| close(a, b)));
        let pairs = gradients.each().into_iter().zip(gpu_gradients.each());
        for (at, (a, b)) in pairs.enumerate() {
            assert!(
                close(*a, *b),
                "{layers:?}: gradient {at} is {b} and should be {a}"
            );
        }
    }
}

#[test]
fn wrong_slices_are_refused_by_name() {
    let layers = stack(Cell::Lstm, 1, |layer| layer);
    let record = |wanted| {
        let recorded = layers.record::<f32>(&cpu(), STEPS, BATCH, wanted);
        recorded.expect("it records")
    };
    let mut recorded = record(WantedGradients::All);
    let values: Values<f32> = Random::new(7).pass(&layers, STEPS * BATCH, BATCH);
    let parameters: Vec<&[f32]> = values.parameters.iter().map(Vec::as_slice).collect();
    let good = LayerInputs {
        values: &values.inputs,
        rows: RowLayout::Full { steps: STEPS },
        initial: [None, None],
        parameters: &parameters,
        dropout_seed: 0,
    };
    let mut outputs = vec![0.0; STEPS * BATCH * layers.output_size()];
    let mut message = |inputs: LayerInputs<f32>, len: usize| {
        let outputs = LayerOutputs::of(&mut outputs[..len]);
        let error = recorded
            .forward_into(&inputs, outputs)
            .expect_err("it is wrong");
        error.to_string()
    };
    let len = STEPS * BATCH * layers.output_size();
    let with_rows = |rows| LayerInputs { rows, ..good };
    let full = |steps| with_rows(RowLayout::Full { steps });
    assert!(message(full(0), len).contains("rows.steps is 0"));
    assert!(message(full(STEPS + 1), len).contains("rows.steps is 6"));
    assert!(message(full(1), len).contains("inputs.values has 45 elements"));
    assert!(message(good, len - 1).contains("outputs.values has 59 elements"));
    let ragged = |lengths| RowLayout::Ragged {
        steps: STEPS,
        lengths,
    };
    assert!(message(with_rows(ragged(&[1, 2])), len).contains("2 lengths for 3 sequences"));
    assert!(message(with_rows(ragged(&[1, 6, 2])), len).contains("rows.lengths[1] is 6"));
    for batch_sizes in [&[2, 2][..], &[3, 1, 2], &[3, 0]] {
        let packed = with_rows(RowLayout::Packed { batch_sizes });
        assert!(message(packed, len).contains("rows.batch_sizes must start with 3"));
    }
    let short_state = LayerInputs {
        initial: [None, Some(&values.inputs)],
        ..good
    };
    assert!(message(short_state, len).contains("inputs.initial[1] has 45 elements"));
    let few = LayerInputs {
        parameters: &parameters[1..],
        ..good
    };
    assert!(message(few, len).contains("inputs.parameters has 3 elements"));
    let swapped: Vec<&[f32]> = parameters.iter().rev().copied().collect();
    let swapped = LayerInputs {
        parameters: &swapped,
        ..good
    };
    assert!(message(swapped, len).contains("rnn.weight_ih_l0 has 16 elements"));
}

#[test]
fn backward_passes_without_what_they_need_are_refused() {
    let layers = stack(Cell::Lstm, 1, |layer| layer);
    let record = |wanted| {
        let recorded = layers.record::<f32>(&cpu(), STEPS, BATCH, wanted);
        recorded.expect("it records")
    };
    let values: Values<f32> = Random::new(7).pass(&layers, STEPS * BATCH, BATCH);
    let parameters: Vec<&[f32]> = values.parameters.iter().map(Vec::as_slice).collect();
    let good = LayerInputs {
        values: &values.inputs,
        rows: RowLayout::Full { steps: STEPS },
        initial: [None, None],
        parameters: &parameters,
        dropout_seed: 0,
    };
    let mut outputs = vec![0.0; STEPS * BATCH * layers.output_size()];
    let nothing = LayerUpstream {
        values: None,
        last: [None, None],
    };
    let error = |recorded: &mut RecordedLayers<f32>| {
        let error = recorded.backward_into(&good, None, &nothing, LayerGradients::default());
        error.expect_err("it is wrong").to_string()
    };
    let mut untrained = record(WantedGradients::None);
    assert!(error(&mut untrained).contains("call forward_into first"));
    let run = untrained.forward_into(&good, LayerOutputs::of(&mut outputs));
    run.expect("it runs");
    assert!(error(&mut untrained).contains("recorded without gradients"));
    let mut without_inputs = record(WantedGradients::Parameters);
    let run = without_inputs.forward_into(&good, LayerOutputs::of(&mut outputs));
    run.expect("it runs");
    let mut dinputs = vec![0.0; values.inputs.len()];
    let gradients = LayerGradients {
        inputs: Some(&mut dinputs),
        ..Default::default()
    };
    let refused = without_inputs.backward_into(&good, None, &nothing, gradients);
    let message = refused.expect_err("it is wrong").to_string();
    assert!(message.contains("gradients.inputs"), "{message}");
    let others = LayerInputs {
        values: &values.inputs[..BATCH * FEATURES],
        rows: RowLayout::Full { steps: 1 },
        ..good
    };
    let refused = without_inputs.backward_into(&others, None, &nothing, LayerGradients::default());
    let message = refused.expect_err("it is wrong").to_string();
    assert!(message.contains("inputs.rows differs"), "{message}");
}
