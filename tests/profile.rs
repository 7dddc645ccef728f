//! Profiles: that they measure the step which training plays, name every call of it, and add up.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use gatescan::cells::Cell;
use gatescan::data::{Dataset, Splits, Targets};
use gatescan::low_level::backend::OpenDevice;
use gatescan::low_level::backend::ceilings::Ceilings;
use gatescan::low_level::backend::device::Device;
use gatescan::low_level::kernels::Access;
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, RecordedNetwork};
use gatescan::low_level::tensor::Kind;
use gatescan::network::{Head, Input, Layer, Loss, Network, Reads};
use gatescan::profile::{Bound, Clock, Machine, Options, Profile};
use gatescan::recipe::optimizer::Optimizer;
use gatescan::recipe::{HeadRecipe, Recipe};
use ndarray::{Array1, Array3};
use serde_json::Value;

/// The calls of a training step of [`recipe`], in order.
const CALLS: [&str; 21] = [
    "gather inputs",
    "gather lengths",
    "gather labels",
    "pack l0.forward_weights",
    "gemm l0.gates",
    "scan_forward l0",
    "gemm outputs",
    "label_weight weight",
    "softmax_cross_entropy doutputs",
    "column_sum d head.bias",
    "gemm d head.weight",
    "gemm l0.dstate",
    "pack l0.backward_weights",
    "scan_backward l0",
    "gemm d rnn.weight_ih_l0",
    "column_sum d rnn.bias_ih_l0",
    "gemm d rnn.weight_hh_l0",
    "squared_norm partials",
    "clip_factor norm",
    "adam parameters",
    "record forward",
];

fn recipe() -> Recipe {
    let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
    let layers = vec![Layer::new(Cell::Lstm, 64)];
    let mut recipe = Recipe::new("waves", layers, head, Optimizer::adam(0.01));
    recipe.batch_size = 48;
    recipe
}

fn data() -> Splits {
    let inputs = Array3::from_shape_fn((150, 20, 12), |(n, t, i)| {
        (0.3 * (n * t) as f32 + i as f32).sin()
    });
    let labels = Array1::from_shape_fn(150, |n| n as u32 % 3);
    let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 3));
    data.expect("they make sense").into()
}

fn measure(device: Device, clock: Clock) -> Profile {
    let options = Options { steps: 5, clock };
    let place = OpenDevice::open(&device).expect("it opens");
    Profile::measure(&recipe(), &data(), &place, options).expect("it can be measured")
}

/// Those of [`CALLS`] that are made there.
fn calls_on(device: Device) -> Vec<&'static str> {
    let mut calls = CALLS.to_vec();
    // The CPU lays weights out itself.
    calls.retain(|call| device != Device::Cpu || !call.starts_with("pack "));
    calls
}

/// The CPU, and the adapter that tests run on.
fn devices() -> Vec<Device> {
    let gpu = common::gpu().map(|gpu| Device::Gpu(gpu.summary.index));
    [Device::Cpu].into_iter().chain(gpu).collect()
}

fn software(profile: &Profile) -> bool {
    match &profile.machine {
        Machine::Cpu { .. } => false,
        Machine::Gpu(adapter) => adapter.is_software(),
    }
}

#[test]
fn a_profile_adds_up() {
    for device in devices() {
        // All kernels are the step's device time, but for what passes between them. In one of a few attempts, since other
        // tests run beside this one, and a software driver takes its turns with everything else that the machine does.
        let attempt = || {
            let profile = measure(device, Clock::Device);
            let covered = profile.covered();
            let covered = covered.expect("the device's clock covers all calls");
            assert!(covered <= 1.0 + 1e-9, "{covered} on {device:?}");
            let least = if software(&profile) { 0.75 } else { 0.9 };
            (profile, covered, least)
        };
        let mut attempts = (0..10).map(|_| attempt());
        let (profile, ..) = attempts
            .find(|(_, covered, least)| covered >= least)
            .expect("the calls leave much of the step's device time to nobody");
        let sites = &profile.sites;
        let labels: Vec<String> = sites.iter().map(|site| site.label()).collect();
        assert_eq!(labels, calls_on(device));
        let share: f64 = sites.iter().map(|site| site.share).sum();
        assert!((share - 1.0).abs() < 1e-9, "{share}");
        assert!(
            sites
                .iter()
                .all(|site| site.clock == Clock::Device && site.calls == 1)
        );

        let device_ms = profile.step.device_ms.expect("as it is covered").median;
        assert!(device_ms <= profile.step.profiled_ms.median);
        assert!(profile.step.idle_ms.expect("as it is covered").median >= 0.0);

        for site in sites {
            let (call, step) = (site.call_us, site.step_us);
            assert!(call.low > 0.0 && call.low <= call.median && call.median <= call.high);
            assert!(site.p95_us >= call.median);
            assert_eq!(step.median, call.median, "one call a step");
            let through_time = site.kernel.starts_with("scan");
            let each = site.time_step_us.map(|each| each * 20.0);
            assert_eq!(each.is_some(), through_time, "{}", site.label());
            assert!(each.is_none_or(|all| (all - step.median).abs() < 1e-6 * all));
        }
        // 48 x 20 rows of 12 numbers times 256 x 12 weights.
        let of = |label: &str| {
            let mut sites = sites.iter();
            sites
                .find(|site| site.label() == label)
                .expect("it is called")
        };
        let gemm = of("gemm l0.gates");
        assert_eq!(gemm.flops, 2.0 * 960.0 * 12.0 * 256.0);
        let allowed = f64::max(
            gemm.flops / profile.ceilings.multiply_add_gflops.best,
            gemm.bytes / profile.ceilings.copy_gbytes_per_s.best,
        ) / 1e3;
        assert!((gemm.roofline - allowed / gemm.step_us.median).abs() < 1e-9);
        // A norm's factor is no work for a GPU.
        if let Device::Gpu(_) = device {
            assert_eq!(of("clip_factor norm").bound, Bound::Launch);
        }

        let held = &profile.held;
        assert_eq!(
            held.planned,
            held.by_kind.iter().map(|(_, bytes)| bytes).sum::<u64>()
        );
        if let (Device::Gpu(_), Some(taken)) = (device, held.measured) {
            let beyond = taken as f64 / held.planned as f64;
            assert!((1.0..2.0).contains(&beyond), "{taken} of {}", held.planned);
        }
        let speed = profile.step.sequences_per_s * profile.step.plain_ms.median / 1e3;
        assert!((speed - 48.0).abs() < 1e-6);
        assert!((profile.step.tokens_per_s / profile.step.sequences_per_s - 20.0).abs() < 1e-9);
    }
}

/// Timestamps that lie are replaced by the host's clock; here they are not asked.
#[test]
fn the_hosts_clock_steps_in() {
    for device in devices() {
        // What takes long takes as long by either; by a lot, and in one of a few attempts, since other tests run beside this one.
        let agrees = |own: &Profile, host: &Profile| {
            let pairs = own.sites.iter().zip(&host.sites);
            pairs.filter(|(own, _)| own.share > 0.1).all(|(own, host)| {
                let ratio = host.step_us.median / own.step_us.median;
                (0.2..5.0).contains(&ratio)
            })
        };
        let attempt = || {
            let (own, host) = (measure(device, Clock::Device), measure(device, Clock::Host));
            assert!(host.sites.iter().all(|site| site.clock == Clock::Host));
            assert_eq!((host.step.device_ms, host.step.idle_ms), (None, None));
            agrees(&own, &host)
        };
        assert!((0..5).any(|_| attempt()), "{device:?}");
    }
}

/// The rules of Chrome's trace event format for the two kinds of event that there are.
#[test]
fn a_trace_follows_the_format_and_names_every_call() {
    for device in devices() {
        let profile = measure(device, Clock::Device);
        // As a viewer gets it.
        let trace: Value = serde_json::from_str(&profile.trace().to_string()).expect("JSON");
        let mut tracks: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        let mut named = vec![];
        for event in trace["traceEvents"].as_array().expect("a list") {
            assert!(event["pid"].is_u64() && event["tid"].is_u64(), "{event}");
            assert!(
                event["name"].is_string() && event["args"].is_object(),
                "{event}"
            );
            match event["ph"].as_str() {
                Some("M") => {
                    assert!(event["args"]["name"].is_string(), "{event}");
                    named.extend(event["name"].as_str());
                }
                Some("X") => {
                    assert!(event["cat"].is_string(), "{event}");
                    assert!(event["ts"].as_f64().is_some_and(|ts| ts >= 0.0), "{event}");
                    assert!(
                        event["dur"].as_f64().is_some_and(|dur| dur >= 0.0),
                        "{event}"
                    );
                    let track = event["tid"].as_u64().unwrap_or_default();
                    tracks.entry(track).or_default().push(event);
                }
                _ => panic!("no such event here: {event}"),
            }
        }
        assert_eq!(named, ["process_name", "thread_name", "thread_name"]);
        let [host, calls] = [&tracks[&1], &tracks[&2]];
        assert_eq!(tracks.len(), 2);
        for track in [host, calls] {
            // Events of a track follow one another; a nanosecond is lost in decimals.
            for pair in track.windows(2) {
                let [before, after] = [pair[0], pair[1]].map(|event| event["ts"].as_f64().unwrap());
                let end = before + pair[0]["dur"].as_f64().unwrap();
                assert!(after >= end - 1e-3, "{} {}", pair[0], pair[1]);
            }
        }
        let names: Vec<&str> = calls
            .iter()
            .filter_map(|call| call["name"].as_str())
            .collect();
        assert_eq!(names, calls_on(device).repeat(5));
        let called = |name: &str| {
            let mut calls = calls.iter();
            &calls
                .find(|call| call["name"] == name)
                .expect("it is called")["args"]
        };
        let gemm = called("gemm l0.gates");
        let sizes = ["rows", "columns", "inner"].map(|name| gemm["uniform"][name].as_u64());
        assert_eq!(sizes, [Some(960), Some(256), Some(12)], "{gemm}");
        assert_eq!(called("scan_forward l0")["shapes"]["lengths"], "[48]");
        assert_eq!(gemm["phase"], "forward");
        let host: Vec<&str> = host
            .iter()
            .filter_map(|event| event["name"].as_str())
            .collect();
        match device {
            Device::Cpu => assert_eq!(host, ["run"; 5]),
            // A step goes in as many submissions as its time asks for, and one wait ends it.
            Device::Gpu(_) => {
                let steps: Vec<&[&str]> = host.split(|&name| name == "wait").collect();
                assert_eq!(steps.len(), 6, "{host:?}");
                let [steps @ .., rest] = &steps[..] else {
                    unreachable!("there are six");
                };
                assert!(rest.is_empty(), "{host:?}");
                for step in steps {
                    assert!(!step.is_empty() && step.len() % 2 == 0, "{host:?}");
                    let pairs = step.chunks(2);
                    pairs.for_each(|pair| assert_eq!(pair, ["encode", "submit"]));
                }
            }
        }
    }
}

#[test]
fn a_page_needs_nothing_beside_it() {
    let profile = measure(Device::Cpu, Clock::Device);
    let (page, calls) = (profile.page(), calls_on(Device::Cpu).len());
    for foreign in [
        "http:", "https:", "src=", "href=", "@import", "url(", "<script", "NaN", "inf",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
    // A circle for what computes, a rectangle for every call and the host's run, a row for every site and one above.
    let computing = profile.sites.iter().filter(|site| site.flops > 0.0).count();
    assert_eq!(page.matches("<circle ").count(), computing);
    assert_eq!(page.matches("<rect ").count(), calls + 1);
    assert_eq!(page.matches("<tr>").count(), calls + 1);
}

#[test]
fn a_profile_comes_back_from_json_and_is_compared() {
    let before = measure(Device::Cpu, Clock::Device);
    let json = serde_json::to_string(&before).expect("it can be written");
    let mut after: Profile = serde_json::from_str(&json).expect("it can be read");
    let same = before.compare(&after);
    assert!(same.changes.is_empty() && !same.step.beyond_noise);
    assert_eq!(same.unchanged, calls_on(Device::Cpu).len());

    // One site twice as slow, beyond any noise; one gone.
    let mut sites = after.sites.iter_mut();
    let scan = sites.find(|site| site.kernel == "scan_forward").unwrap();
    let time = &mut scan.step_us;
    (time.low, time.median, time.high) = (time.high * 2.0, time.high * 2.1, time.high * 2.2);
    after.sites.pop();
    let comparison = before.compare(&after);
    let labels: Vec<_> = comparison
        .changes
        .iter()
        .map(|change| &change.label)
        .collect();
    assert_eq!(labels, ["forward scan_forward l0"]);
    assert!(comparison.changes[0].ratio() >= 2.0);
    assert_eq!(comparison.only_before, ["update record forward"]);
    assert!(comparison.only_after.is_empty());
}

/// A clock around the calls changes nothing of what they compute.
#[test]
fn a_timed_run_computes_what_a_run_computes() {
    let network = Network {
        input_size: 5,
        input: Input::Values,
        layers: vec![Layer::new(Cell::RnnTanh, 9), Layer::new(Cell::Lstm, 7)],
        head: Head {
            reads: Reads::Every,
            loss: Loss::CrossEntropy,
            size: 4,
            init: Default::default(),
        },
    };
    for device in devices() {
        let place = OpenDevice::open(&device).expect("it opens");
        let mut model =
            RecordedNetwork::new(&network, 6, 3, Gradients::OfLoss, place.tuning()).unwrap();
        model.forward(Phase::Forward);
        model.loss(Phase::Forward);
        model.backward();
        let gradients = [false, true].map(|timed| {
            let mut executor = place.load(&model.program).unwrap();
            executor
                .write(&model.parameters, &network.initial(1))
                .unwrap();
            let inputs: Vec<f32> = (0..model.inputs.len()).map(|n| (n as f32).sin()).collect();
            executor.write(&model.inputs, &inputs).unwrap();
            executor.write_index(&model.lengths, &[6; 3]).unwrap();
            let labels: Vec<u32> = (0..18).map(|n| n % 4).collect();
            executor.write_index(&model.head.labels, &labels).unwrap();
            let phases = [Phase::Forward, Phase::Backward];
            match timed {
                false => executor.run(&phases, 1).unwrap(),
                true => {
                    let timing = executor.time(&phases).unwrap();
                    let calls = phases.map(|phase| model.program.calls(phase).len());
                    assert_eq!(timing.calls.len(), calls[0] + calls[1]);
                }
            }
            executor.read(&model.gradients.unwrap()).unwrap()
        });
        assert_eq!(gradients[0], gradients[1]);
        assert!(gradients[0].iter().any(|&value| value != 0.0));
    }
}

/// On a machine that does nothing else; beside other work they follow what that leaves.
#[test]
#[ignore = "needs a quiet machine"]
fn ceilings_repeat() {
    for device in devices() {
        let [one, two] = [(); 2].map(|()| measure(device, Clock::Device).ceilings);
        let all = |ceilings: Ceilings| {
            let always = [
                ceilings.copy_gbytes_per_s,
                ceilings.multiply_add_gflops,
                ceilings.empty_dispatch_us,
            ];
            let host = [ceilings.submission_us, ceilings.round_trip_us];
            let all = always.into_iter().chain(host.into_iter().flatten());
            all.map(|ceiling| ceiling.best).collect::<Vec<_>>()
        };
        let (one, two) = (all(one), all(two));
        let mut pairs = one.iter().zip(&two);
        let alike = pairs.all(|(one, two)| (1.0 / 1.15..1.15).contains(&(two / one)));
        assert!(alike, "{one:?}, then {two:?} on {device:?}");
    }
}

/// Beside what a step cannot do without there is little else: what the way back reads of the way forward counts as saved.
#[test]
fn little_is_held_beyond_what_a_step_needs() {
    let inputs = Array3::from_shape_fn((512, 28, 28), |(n, t, i)| ((n + t * i) as f32).sin());
    let labels = Array1::from_shape_fn(512, |n| n as u32 % 10);
    let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 10)).unwrap();
    let mut recipe = recipe();
    recipe.network.set_hidden_size(128);
    recipe.batch_size = 128;
    let network = recipe.network(28, 10).unwrap();
    for device in devices() {
        let place = OpenDevice::open(&device).expect("it opens");
        let mut model =
            RecordedNetwork::new(&network, 28, 128, Gradients::OfLoss, place.tuning()).unwrap();
        model.forward(Phase::Forward);
        model.loss(Phase::Forward);
        model.backward();
        let touched = |phase: Phase, access: Access| {
            let calls = model.program.calls(phase).iter();
            let args = calls.flat_map(|call| call.kernel().args());
            let args = args.filter(move |arg| access == Access::Read || arg.access == access);
            args.map(|arg| arg.tensor.buffer).collect::<BTreeSet<_>>()
        };
        let mut written = touched(Phase::Forward, Access::Write);
        // The batch is gathered.
        written.insert(model.inputs.buffer);
        let saved = &written & &touched(Phase::Backward, Access::Read);
        let buffers = model.program.buffers();
        let saved = saved.iter().map(|id| &buffers[id.index()]);
        let saved = saved.filter(|buffer| buffer.kind == Kind::Activations);
        let saved: u64 = saved.map(|buffer| buffer.bytes(4)).sum();

        let options = Options {
            steps: 1,
            clock: Clock::Device,
        };
        let splits: Splits = data.clone().into();
        let held = Profile::measure(&recipe, &splits, &place, options)
            .unwrap()
            .held;
        let of = |kinds: &[Kind]| -> u64 {
            let kinds = held.by_kind.iter().filter(|(kind, _)| kinds.contains(kind));
            kinds.map(|(_, bytes)| bytes).sum()
        };
        let kinds = [Kind::Parameters, Kind::Gradients, Kind::Moments, Kind::Data];
        let needed = (of(&kinds) + saved) as f64;
        let taken = match device {
            // The executor's memory is the plan's buffers; what the process has beyond them is not the step's.
            Device::Cpu => held.planned,
            Device::Gpu(_) => held.measured.unwrap_or(held.planned),
        };
        println!(
            "{device:?}: needed {needed}, of these saved {saved}, planned {:.3}, taken {:.3}",
            held.planned as f64 / needed,
            taken as f64 / needed
        );
        assert!(held.planned as f64 / needed <= 1.25);
        assert!(taken as f64 / needed <= 1.25, "{taken} bytes of {needed}");
    }
}
