//! Random networks with random options: gradients against finite differences in f64, f32 and GPUs
//! against f64, and invariances of the results.

mod common;
mod properties_support;

use std::cell::Cell as Counter;

use gatescan::low_level::backend::gpu::executor::Gpu;
use gatescan::low_level::backend::tuning::{Route, Tuning};
use gatescan::low_level::kernels::ScanForward;
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, RecordedNetwork};
use gatescan::low_level::rng::Philox;
use gatescan::low_level::tensor::Tensor;
use gatescan::network::{Bias, Init, MaskSharing};
use gatescan::{Cell, Head, Input, Layer, Loss, Network, Reads};
use proptest::collection::vec;
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::Just;
use proptest::test_runner::TestCaseResult;

use properties_support::case::{Case, cases, initial_states, networks};
use properties_support::play::{OpenDevice, Player, Results};
use properties_support::{check, property};

/// The error of f64 differences with a step of 1e-5: truncation of order 1e-10, rounding of order
/// 1e-16 / 1e-5. It is relative to the norm of the gradient, or to [`FLAT`] where the norm is
/// smaller, since rounding depends on the value, not on its gradient.
const RELATIVE: f64 = 1e-6;
const FLAT: f64 = 1e-3;

const STEP: f64 = 1e-5;

/// Random directions per gradient.
const DIRECTIONS: usize = 3;

/// Comparisons made, and those across a kink: a rectified unit or a clipped value is on a different
/// side of its kink at each end.
#[derive(Default)]
struct Tally {
    taken: Counter<usize>,
    across: Counter<usize>,
}

impl Tally {
    /// Counts a comparison and returns whether to skip it, since it is `across` a kink.
    fn leaves_out(&self, across: bool) -> bool {
        self.taken.set(self.taken.get() + 1);
        self.across.set(self.across.get() + usize::from(across));
        across
    }

    fn assert_few_were_left_out(&self) {
        let (taken, across) = (self.taken.get(), self.across.get());
        assert!(
            across * 100 < taken,
            "{across} of {taken} are across a kink"
        );
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Changes tensors together along random unit vectors, and compares the change of the value with
/// the gradients, which are in other tensors in the same order.
fn check_differences(
    player: &mut Player,
    tensors: &[Tensor],
    gradients: &[Tensor],
    random: &mut Philox,
    tally: &Tally,
) -> TestCaseResult {
    let mut all = |tensors: &[Tensor]| -> Vec<f64> {
        tensors
            .iter()
            .flat_map(|tensor| player.get(tensor))
            .collect()
    };
    let (at, gradient) = (all(tensors), all(gradients));
    let put = |player: &mut Player, values: &[f64]| {
        let mut rest = values;
        for tensor in tensors {
            let (own, after) = rest.split_at(tensor.len());
            player.put(tensor, own);
            rest = after;
        }
    };
    player.run(&[Phase::Forward]);
    let sides = player.sides();
    // A padding token's vector is not trained, although it has an effect. The table comes first.
    let untrained = match player.model.network.input {
        Input::Embedding {
            size,
            padding_idx: Some(token),
            ..
        } if tensors == [player.model.parameters] => {
            token as usize * size..(token as usize + 1) * size
        }
        _ => 0..0,
    };
    check(
        gradient[untrained.clone()].iter().all(|&g| g == 0.0),
        || "a padding token's vector has a gradient".into(),
    )?;
    for _ in 0..DIRECTIONS {
        let mut direction: Vec<f64> = at.iter().map(|_| random.normal()).collect();
        direction[untrained.clone()].fill(0.0);
        let unit = 1.0 / dot(&direction, &direction).sqrt();
        direction.iter_mut().for_each(|d| *d *= unit);
        let mut moved = |by: f64| {
            let values = at.iter().zip(&direction).map(|(at, d)| at + by * d);
            put(player, &values.collect::<Vec<_>>());
            player.run(&[Phase::Forward]);
            (player.value(), player.sides() == sides)
        };
        let ((above, on_this_side), (below, on_that_side)) = (moved(STEP), moved(-STEP));
        put(player, &at);
        if tally.leaves_out(!(on_this_side && on_that_side)) {
            continue;
        }
        let (slope, difference) = (dot(&gradient, &direction), (above - below) / (2.0 * STEP));
        let error = (slope - difference).abs() / dot(&gradient, &gradient).sqrt().max(FLAT);
        check(error < RELATIVE, || {
            format!("the slope is {slope} and should be {difference}: {error:e}")
        })?;
    }
    Ok(())
}

#[test]
fn gradients_of_the_loss_match_differences() {
    let tally = Tally::default();
    property(2000, cases(), |case| {
        let mut player = Player::new(&case, Gradients::OfLoss, OpenDevice::CpuF64);
        player.run(&[Phase::Forward, Phase::Backward]);
        let gradients = player.model.gradients.expect("it was requested");
        let parameters = [player.model.parameters];
        check_differences(
            &mut player,
            &parameters,
            &[gradients],
            &mut case.random(3),
            &tally,
        )
    });
    tally.assert_few_were_left_out();
}

/// Gradients with respect to parameters, inputs and initial states, where the host writes the
/// gradients of outputs and last states.
#[test]
fn gradients_from_upstream_match_differences() {
    let tally = Tally::default();
    property(1000, cases(), |case| {
        let mut player = Player::new(&case, Gradients::OfUpstream, OpenDevice::CpuF64);
        player.run(&[Phase::Forward, Phase::Backward]);
        let model = &player.model;
        let (gradients, dinputs) = (model.gradients, model.dinputs());
        let dstates = model
            .recurrences()
            .map(|layer| layer.gradients.dstate)
            .collect();
        let mut pairs = vec![
            (
                vec![model.parameters],
                vec![gradients.expect("it was requested")],
            ),
            (initial_states(model), dstates),
        ];
        // Tokens have no gradient.
        pairs.extend(dinputs.map(|dinputs| (vec![model.inputs], vec![dinputs])));
        for (tensors, gradients) in pairs {
            let mut random = case.random(3);
            check_differences(&mut player, &tensors, &gradients, &mut random, &tally)?;
        }
        Ok(())
    });
    tally.assert_few_were_left_out();
}

// The limits of f32 in `tests/golden.rs`: errors are max |a - b| / max(1, max |b|) over a tensor.
const FORWARD: f64 = 1e-5;
const LOSS: f64 = 1.5e-5;
const GRADIENT: f64 = 5e-6;
/// f64, from another order of summation.
const EXACT: f64 = 1e-13;

/// Checks each result against its expected values. NaN fails.
fn check_near(results: &Results, expected: &Results, limit: f64) -> TestCaseResult {
    for ((name, values), (_, expected)) in results.iter().zip(expected) {
        assert_eq!(values.len(), expected.len());
        let bound = limit
            * expected
                .iter()
                .fold(1f64, |largest, v| largest.max(v.abs()));
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= bound;
        check(values.iter().zip(expected).all(near), || {
            format!("{name} is {values:?} and should be within {bound:e} of {expected:?}")
        })?;
    }
    Ok(())
}

/// Checks that results are bitwise identical, except for the sign of zeros: a product with 0 has
/// the sign of the other factor.
fn check_same(results: &Results, expected: &Results) -> TestCaseResult {
    for ((name, values), (_, expected)) in results.iter().zip(expected) {
        assert_eq!(values.len(), expected.len());
        check(values == expected, || {
            format!("{name} is {values:?} and was {expected:?}")
        })?;
    }
    Ok(())
}

/// Checks a training step at `place` against f64. About one network in 15 000 exceeds these limits
/// by a factor of up to two, because of rounding: states that dropout scales up at each step grow
/// to 37 and saturate gates, which multiplies the f32 rounding of 1 - z, 2^-25, by 37 squared.
fn check_precision(
    case: &Case,
    gradients: Gradients,
    place: OpenDevice,
    tally: &Tally,
) -> TestCaseResult {
    let mut player = Player::new(case, gradients, place);
    let mut judge = Player::new(case, gradients, OpenDevice::CpuF64);
    player.run(&[Phase::Forward]);
    judge.run(&[Phase::Forward]);
    check_near(&player.forward_results(), &judge.forward_results(), FORWARD)?;
    if gradients == Gradients::OfLoss {
        let (loss, expected) = (player.value(), judge.value());
        check((loss - expected).abs() <= LOSS * expected.max(1.0), || {
            format!("the loss is {loss} and should be {expected}")
        })?;
    }
    if tally.leaves_out(player.sides() != judge.sides()) {
        return Ok(());
    }
    player.run(&[Phase::Backward]);
    judge.run(&[Phase::Backward]);
    check_near(&player.gradients(), &judge.gradients(), GRADIENT)
}

fn check_all_precisions(cases_of_each: u32, place: OpenDevice) {
    let tally = Tally::default();
    for gradients in [Gradients::OfLoss, Gradients::OfUpstream] {
        property(cases_of_each, cases(), |case| {
            check_precision(&case, gradients, place, &tally)
        });
    }
    tally.assert_few_were_left_out();
}

#[test]
fn single_precision_is_near_double() {
    check_all_precisions(1500, OpenDevice::CpuF32);
}

#[test]
fn gpus_are_near_double_precision() {
    if let Some(device) = common::gpu() {
        check_all_precisions(20, OpenDevice::Gpu(&device));
    }
}

#[test]
fn fused_calls_give_the_same_bits_as_single_calls() {
    for gradients in [Gradients::OfLoss, Gradients::OfUpstream] {
        property(500, cases(), |case| {
            // Some batches have only full tiles, others a partial one.
            let case = case.with_batch_times(1 + case.seed as usize % 9);
            let [mut together, mut alone] =
                [(); 2].map(|()| Player::new(&case, gradients, OpenDevice::CpuF32));
            together.run(&[Phase::Forward, Phase::Backward]);
            alone.run_one_by_one(Phase::Forward);
            alone.run_one_by_one(Phase::Backward);
            check_same(&together.forward_results(), &alone.forward_results())?;
            check_same(&together.gradients(), &alone.gradients())
        });
    }
}

/// Returns the results of a training step of `case`, after `change` to its inputs.
fn trained(
    case: &Case,
    gradients: Gradients,
    place: OpenDevice,
    change: impl Fn(&mut Player),
) -> Results {
    let mut player = Player::new(case, gradients, place);
    change(&mut player);
    player.run(&[Phase::Forward, Phase::Backward]);
    [player.forward_results(), player.gradients()].concat()
}

/// Checks that scans give the same bits for every chunk size, and steps nearly the same values.
fn check_routes(case: &Case, place: OpenDevice, limit: f64) -> TestCaseResult {
    let run = |route, scan_work| {
        let case = Case {
            route,
            scan_work,
            ..case.clone()
        };
        trained(&case, Gradients::OfUpstream, place, |_| ())
    };
    let whole = run(Route::Scan, usize::MAX);
    check_same(&run(Route::Scan, case.scan_work.min(5_000)), &whole)?;
    check_near(&run(Route::Step, usize::MAX), &whole, limit)
}

/// Checks that results depend neither on padded inputs nor on how far a length exceeds T.
fn check_ends(case: &Case, place: OpenDevice) -> TestCaseResult {
    let fill = |value: f64| {
        move |player: &mut Player| {
            let (inputs, features) = (player.model.inputs, case.network.input_size);
            let ended =
                |row: usize| row / case.batch() >= case.lengths[row % case.batch()] as usize;
            if !case.network.input.is_values() {
                let mut tokens = case.tokens();
                let past = tokens.iter_mut().enumerate().filter(|(row, _)| ended(*row));
                let token = if value < 0.0 { features as u32 - 1 } else { 0 };
                past.for_each(|(_, there)| *there = token);
                return player.put_index(&inputs, &tokens);
            }
            let mut values = player.get(&inputs);
            let rows = values.chunks_mut(features).enumerate();
            for (_, values) in rows.filter(|(row, _)| ended(*row)) {
                values.fill(value);
            }
            player.put(&inputs, &values);
        }
    };
    for gradients in [Gradients::OfLoss, Gradients::OfUpstream] {
        let ends = [0.0, -1e3].map(|value| trained(case, gradients, place, fill(value)));
        check_same(&ends[0], &ends[1])?;
    }
    let mut cut = case.clone();
    let most = case.steps as u32;
    (cut.lengths.iter_mut()).for_each(|length| *length = (*length).min(most));
    let ends = [case, &cut].map(|case| trained(case, Gradients::OfLoss, place, |_| ()));
    check_same(&ends[0], &ends[1])
}

#[test]
fn routes_agree_and_padding_has_no_effect() {
    property(1000, cases(), |case| {
        check_routes(&case, OpenDevice::CpuF64, EXACT)?;
        check_ends(&case, OpenDevice::CpuF32)
    });
}

#[test]
fn on_gpus_routes_agree_and_padding_has_no_effect() {
    let Some(device) = common::gpu() else { return };
    property(4, cases(), |case| {
        check_routes(&case, OpenDevice::Gpu(&device), FORWARD)?;
        check_ends(&case, OpenDevice::Gpu(&device))
    });
}

/// A sequence's outputs do not depend on the other sequences or on its index in the batch; sums
/// over the batch depend on them only by rounding.
#[test]
fn sequences_may_come_in_any_order() {
    property(1000, cases(), |case| {
        let (case, batch) = (case.without_dropout(), case.batch());
        let order = case.random(4).permutation(batch);
        // Reorders the sequences of a `[.., B, width]` tensor.
        let reorder = |values: Vec<f64>, width: usize| -> Vec<f64> {
            let at_a_time = values.chunks(batch * width);
            let sequences = at_a_time.flat_map(|rows| {
                let row = |&b: &u32| &rows[b as usize * width..][..width];
                order.iter().flat_map(row)
            });
            sequences.copied().collect()
        };
        let mut moved = case.clone();
        moved.lengths = order.iter().map(|&b| case.lengths[b as usize]).collect();
        let [mut one, mut other] =
            [&case, &moved].map(|case| Player::new(case, Gradients::OfLoss, OpenDevice::CpuF64));
        let (model, classes) = (one.model.clone(), case.network.head.size);
        let states = initial_states(&model).into_iter();
        let mut read: Vec<_> = states.map(|state| (state, state.len() / batch)).collect();
        if case.network.input.is_values() {
            read.push((model.inputs, case.network.input_size));
        } else {
            let tokens = case.tokens().into_iter().map(f64::from).collect();
            let tokens: Vec<u32> = reorder(tokens, 1)
                .into_iter()
                .map(|token| token as u32)
                .collect();
            other.put_index(&model.inputs, &tokens);
        }
        read.extend(model.head.targets.map(|targets| (targets, classes)));
        for (tensor, width) in read {
            let values = reorder(one.get(&tensor), width);
            other.put(&tensor, &values);
        }
        let labels = case.labels(&model).into_iter().map(f64::from);
        let labels = reorder(labels.collect(), 1).into_iter();
        other.put_index(
            &model.head.labels,
            &labels.map(|label| label as u32).collect::<Vec<_>>(),
        );
        one.run(&[Phase::Forward, Phase::Backward]);
        other.run(&[Phase::Forward, Phase::Backward]);
        let outputs = |values| vec![("outputs".to_string(), values)];
        let expected = reorder(one.get(&model.head.outputs), classes);
        check_same(&outputs(other.get(&model.head.outputs)), &outputs(expected))?;
        check_near(&other.gradients(), &one.gradients(), EXACT)
    });
}

/// Reads the distinct values of each mask, those that steps or sequences share once.
///
/// # Panics
/// Where shared values differ.
fn drawn(player: &mut Player, case: &Case) -> Vec<Vec<f64>> {
    let batch = case.batch();
    let mut masks = vec![];
    for mask in player.model.masks() {
        let values = player.get(&mask.columns.tensor);
        let rows: Vec<&[f64]> = (values.chunks(mask.columns.stride))
            .map(|row| &row[..mask.width])
            .take(mask.steps * batch)
            .collect();
        let count = match mask.sharing {
            MaskSharing::EachStep => rows.len(),
            MaskSharing::EachSequence => batch,
            MaskSharing::EachBatch => 1,
            sharing => panic!("{sharing:?} is not checked"),
        };
        for (n, row) in rows.iter().enumerate() {
            assert_eq!(row, &rows[n % count], "a mask that is shared");
        }
        masks.push(rows[..count].concat());
    }
    masks
}

#[test]
fn masks_have_their_keep_probability_and_differ_between_updates() {
    const UPDATES: u32 = 40;
    property(40, cases(), |case| {
        let mut player = Player::new(&case, Gradients::OfLoss, OpenDevice::CpuF32);
        let mut draw = |updates: u32| {
            player.set_updates(updates);
            player.run(&[Phase::Forward]);
            drawn(&mut player, &case)
        };
        let updates: Vec<_> = (0..UPDATES).map(&mut draw).collect();
        check(draw(3) == updates[3], || {
            "the same update draws other masks".into()
        })?;
        // Hoeffding: a count of n values, each counted with probability p, is further from n p than
        // this with a probability below 1e-10.
        let near = |count: usize, n: usize, p: f64| {
            (count as f64 - n as f64 * p).abs() <= (12.0 * n as f64).sqrt()
        };
        for (number, mask) in player.model.masks().iter().enumerate() {
            let keep = mask.keep_prob;
            let scale = f64::from((1.0 / keep) as f32);
            let all: Vec<f64> = updates
                .iter()
                .flat_map(|masks| masks[number].clone())
                .collect();
            check(
                all.iter().all(|&value| value == 0.0 || value == scale),
                || format!("{mask:?} is neither 0 nor {scale} somewhere: {all:?}"),
            )?;
            let kept = all.iter().filter(|&&value| value > 0.0).count();
            check(near(kept, all.len(), keep), || {
                format!("{mask:?} keeps {kept} of {}", all.len())
            })?;
            // Two updates differ where exactly one of them keeps the element.
            let pairs = updates
                .chunks_exact(2)
                .flat_map(|pair| pair[0][number].iter().zip(&pair[1][number]));
            let changed = pairs.filter(|(one, other)| one != other).count();
            check(
                near(changed, all.len() / 2, 2.0 * keep * (1.0 - keep)),
                || format!("{mask:?} changes at {changed} of {} places", all.len() / 2),
            )?;
        }
        Ok(())
    });
}

#[test]
fn gpus_draw_the_same_masks_and_evaluate_without_them() {
    let Some(device) = common::gpu() else { return };
    property(8, cases(), |case| {
        let [cpu, gpu] = [OpenDevice::CpuF32, OpenDevice::Gpu(&device)].map(|place| {
            let mut player = Player::new(&case, Gradients::OfLoss, place);
            player.set_updates(12_345);
            player.run(&[Phase::Forward]);
            drawn(&mut player, &case)
        });
        check(cpu == gpu, || format!("{gpu:?} should be {cpu:?}"))?;
        check_evaluation(&case, OpenDevice::Gpu(&device), FORWARD)
    });
}

/// Checks that an evaluation equals the forward pass of the same network without dropout, except
/// for rounding: a mask makes the rows of the gates longer, which may change the order of a GEMM's
/// sums.
/// It does not change what training needs.
fn check_evaluation(case: &Case, place: OpenDevice, limit: f64) -> TestCaseResult {
    let mut player = Player::new(case, Gradients::OfLoss, place);
    player.run(&[Phase::Forward, Phase::Backward]);
    let before = [player.forward_results(), player.gradients()].concat();
    player.run(&[Phase::Evaluate]);
    let evaluated = player.forward_results();
    player.run(&[Phase::Forward, Phase::Backward]);
    check_same(
        &[player.forward_results(), player.gradients()].concat(),
        &before,
    )?;
    let mut plain = Player::new(&case.without_dropout(), Gradients::None, place);
    plain.run(&[Phase::Evaluate]);
    check_near(&evaluated, &plain.forward_results(), limit)
}

#[test]
fn evaluations_apply_no_dropout() {
    property(1000, cases(), |case| {
        check_evaluation(&case, OpenDevice::CpuF64, EXACT)
    });
}

/// A program that the driver cannot compile is an error, and the device stays usable.
#[test]
fn gpus_refuse_programs_that_they_cannot_load() {
    let Some(device) = common::gpu() else { return };
    let load = |cell_clip| {
        let network = Network {
            input_size: 2,
            input: Input::Values,
            layers: vec![Layer::new(Cell::Lstm, 3)],
            head: Head {
                size: 2,
                reads: Reads::Last,
                loss: Loss::CrossEntropy,
                init: Init::Glorot,
            },
            heads: vec![],
            categories: vec![],
        };
        let model = RecordedNetwork::new(&network, 2, 3, Gradients::None, Tuning::default());
        let mut model = model.expect("it is valid");
        let mut layer = model.recurrences().next().expect("it has a layer").clone();
        layer.options.cell_clip = cell_clip;
        let (begin, end) = (0, model.steps);
        let scan = ScanForward { layer, begin, end };
        model.program.push(Phase::Forward, scan);
        Gpu::new(&device, &model.program).map(|_| ())
    };
    // No network has this limit: the shader's constant is an f32.
    let error = load(Some(1e300)).expect_err("it cannot be a constant");
    assert!(error.to_string().contains("rejected a request"), "{error}");
    load(Some(1.0)).expect("the device takes others");
}

/// Sizes that are far too large, and sizes near the largest integers.
const HUGE: [usize; 5] = [1 << 15, 1 << 31, 1 << 32, usize::MAX / 2, usize::MAX];

/// Replaces one field of a network by a valid or invalid value.
fn change_field(network: &mut Network, l: usize, field: usize, choice: usize) {
    let sizes = [&[0, 1, 2, 3, 8], &HUGE[..]].concat();
    let numbers = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-300, 0.5, 1.0, 1.5];
    let (size, number) = (sizes[choice % sizes.len()], numbers[choice % numbers.len()]);
    let count = network.layers.len();
    let layer = &mut network.layers[l % count];
    match field {
        0 => network.input_size = size,
        1 => network.head.size = size,
        2 => layer.hidden_size = size,
        3 => layer.backward_hidden_size = Some(size),
        4 => layer.projection_size = Some(size),
        5 => layer.cell_clip = Some(number),
        6 => layer.projection_clip = Some(number),
        7 => layer.forget_bias = number as f32,
        8 => layer.dropout.input_keep_prob = number,
        9 => layer.dropout.output_keep_prob = number,
        10 => layer.dropout.state_keep_prob = number,
        11 => layer.residual ^= true,
        12 => layer.bidirectional ^= true,
        13 => layer.cell = Cell::ALL[choice % Cell::ALL.len()],
        14 => layer.bias = [Bias::None, Bias::Single, Bias::Double][choice % 3],
        15 => network.head.reads = [Reads::Last, Reads::Every][choice % 2],
        16 => network.input = [Input::Values, Input::OneHot][choice % 2],
        17 => {
            network.input = Input::Embedding {
                size,
                padding_idx: (!choice.is_multiple_of(3)).then_some(choice as u32 / 4),
                init: Init::Torch,
                tied: choice.is_multiple_of(3),
            }
        }
        _ => network.layers.clear(),
    }
}

/// Whether the network is small enough for every test device.
fn is_small(network: &Network) -> bool {
    let directions = network.directions().into_iter();
    directions
        .flat_map(|d| [d.inputs, d.layer.hidden_size, d.layer.output_size()])
        .chain([network.head.size, network.input_size])
        .all(|size| size <= 64)
}

/// Invalid networks are refused without a panic; valid and small ones can be recorded and run.
#[test]
fn networks_are_refused_or_run() {
    let changed = (vec((0..3usize, 0..19usize, 0..40usize), 0..=3), networks());
    let sizes = |small| prop_oneof![20 => 1..=small, 1 => Just(0), 2 => select(HUGE.to_vec())];
    let (refused, played) = (Counter::new(0), Counter::new(0));
    property(
        3000,
        (changed, sizes(3usize), sizes(5usize)),
        |((changes, mut network), steps, batch)| {
            for (l, field, choice) in changes {
                if !network.layers.is_empty() {
                    change_field(&mut network, l, field, choice);
                }
            }
            let valid = network.validate().is_ok();
            let small =
                valid && is_small(&network) && (1..=5).contains(&steps) && (1..=5).contains(&batch);
            for gradients in [Gradients::None, Gradients::OfLoss, Gradients::OfUpstream] {
                let model =
                    RecordedNetwork::new(&network, steps, batch, gradients, Tuning::default());
                let (made, error) = (model.is_ok(), model.as_ref().err());
                check(valid || !made, || "it was not refused".into())?;
                check(made || !small, || format!("it was refused: {error:?}"))?;
                // A shader indexes with 32 bits.
                let buffers = model.iter().flat_map(|model| model.program.buffers());
                for buffer in buffers {
                    check(buffer.len <= u32::MAX as usize, || format!("{buffer:?}"))?;
                }
            }
            let count = if small { &played } else { &refused };
            count.set(count.get() + 1);
            if small {
                let lengths = (0..batch as u32).collect();
                let case = Case {
                    network,
                    steps,
                    lengths,
                    route: Route::Scan,
                    scan_work: 1,
                    seed: 1,
                };
                let mut player = Player::new(&case, Gradients::OfLoss, OpenDevice::CpuF32);
                player.run(&[Phase::Forward, Phase::Backward]);
                let results = [player.forward_results(), player.gradients()].concat();
                for (name, values) in results {
                    check(values.iter().all(|v| v.is_finite()), || {
                        format!("{name} is {values:?}")
                    })?;
                }
            }
            Ok(())
        },
    );
    assert!(
        refused.get() > 500 && played.get() > 500,
        "{refused:?} {played:?}"
    );
}
