//! Scans that keep recurrent weights in registers, and take one or two sequences for a workgroup:
//! verify detects mistakes in each part of their shaders.

mod common;

use std::collections::BTreeSet;

use gatescan::OpenDevice;
use gatescan::low_level::backend::gpu::{GpuDevice, ShaderEdit};
use gatescan::verify::{Effort, Report, sweep};

/// Kernel, original text, mutated text, and id prefix of the cases. The cases have their own tiles;
/// the numbers in generated text are those of H 45.
const MUTANTS: &[(&str, &str, &str, &str)] = &[
    // Weights in registers are forgotten, added twice, or taken from a wrong place.
    (
        "scan_forward",
        "if valid {\n        add_held",
        "if !valid {\n        add_held",
        SOME,
    ),
    (
        "scan_backward",
        "if valid {\n            add_held",
        "if !valid {\n            add_held",
        SOME,
    ),
    ("scan_forward", "HELD_SLOTS * LANES;", "0u;", SOME),
    ("scan_backward", "held_slots(gate) * LANES;", "0u;", SOME),
    ("scan_backward", "if gate == 1u {", "if gate == 2u {", SOME),
    (
        "scan_forward",
        "return cached_weights[at - HELD];",
        "return cached_weights[at];",
        SOME,
    ),
    (
        "scan_forward",
        "= load_weight(HELD + at, false);",
        "= load_weight(at, false);",
        SOME,
    ),
    (
        "scan_forward",
        "hold_weights(worker, share);",
        "hold_weights(worker, 0u);",
        SOME,
    ),
    (
        "scan_backward",
        "hold_weights(worker, share);",
        "hold_weights(0u, share);",
        SOME,
    ),
    ("scan_forward", "min(worker, 44u)", "min(worker, 43u)", SOME),
    ("scan_forward", "+ element + 90u", "+ element + 45u", SOME),
    (
        "scan_backward",
        "min(element + 23u, 44u)",
        "min(element + 22u, 44u)",
        SOME,
    ),
    // Only the lanes that have a row add its terms.
    (
        "scan_forward",
        "if share + 8u < 11u",
        "if share + 8u < 12u",
        ALL,
    ),
    (
        "scan_backward",
        "if share + 8u < 11u",
        "if share + 8u < 10u",
        ALL,
    ),
    // One sequence.
    (
        "scan_forward",
        "sum += subgroupShuffleXor(sum, distance);",
        "sum += sum;",
        SOME,
    ),
    (
        "scan_backward",
        "share / distance % 2u == 1u;",
        "share / distance % 2u == 0u;",
        SOME,
    ),
    (
        "scan_backward",
        "const SPLIT = min(LANES, EACH);",
        "const SPLIT = 1u;",
        SOME,
    ),
    // Two sequences.
    (
        "scan_forward",
        "select(values.y, values.x, is_odd);",
        "select(values.x, values.y, is_odd);",
        PAIRS,
    ),
    ("scan_backward", "return share % 2u;", "return 0u;", PAIRS),
    (
        "scan_forward",
        "return Quad(values[0], y);",
        "return Quad(y, values[0]);",
        PAIRS,
    ),
    (
        "scan_backward",
        "return Quad(values[0], y);",
        "return Quad(y, values[0]);",
        PAIRS,
    ),
    (
        "scan_forward",
        "let y = subgroupShuffleXor(values.y, 1u);",
        "let y = values.y;",
        PAIRS,
    ),
    (
        "scan_forward",
        "load_h(t, first + 1u, p)",
        "load_h(t, first, p)",
        PAIRS,
    ),
    // Weights as f16.
    (
        "scan_forward",
        "kept & vec4<u32>(0xffffe000u)",
        "kept & vec4<u32>(0xffff0000u)",
        HALVES,
    ),
    (
        "scan_backward",
        "bits + vec4<u32>(0xfffu)",
        "bits + vec4<u32>(0xfffffu)",
        HALVES,
    ),
    (
        "scan_forward",
        "nearest, is_inside",
        "bits, !is_inside",
        HALVES,
    ),
    (
        "scan_backward",
        "< vec4<u32>(0x477ff000u)",
        "< vec4<u32>(0x3c000000u)",
        HALVES,
    ),
];

/// An LSTM that holds some weights, caches some and loads the others; one sequence a workgroup.
const SOME: &str = "lstm-45-cut-2-registers-some";
/// A GRU of two stages, with two sequences a workgroup.
const PAIRS: &str = "gru-reset-before-45-cut-2-registers-pairs";
/// The LSTM with weights as f16.
const HALVES: &str = "lstm-45-cut-2-registers-halves";
/// An RNN that holds all weights.
const ALL: &str = "rnn-tanh-45-cut-2-registers-all";

/// Returns the kernels with failures in the cases.
fn failures(device: GpuDevice, cases: &str) -> BTreeSet<&'static str> {
    let opened = OpenDevice::Gpu(Box::new(device));
    let mut report = Report::default();
    for case in sweep(Effort::Quick) {
        if case.id.starts_with(cases) {
            case.check(&opened, &mut report, None).expect("it runs");
        }
    }
    assert!(report.cases > 0, "no case begins with {cases}");
    BTreeSet::from_iter(report.failures.iter().map(|failure| failure.kernel))
}

#[test]
fn verify_detects_mutants_of_weights_in_registers() {
    let Some(mut device) = common::gpu() else {
        return;
    };
    if device.tuning.shared_lanes < 8 {
        eprintln!("{} shares no 8 lanes", device.summary.name);
        return;
    }
    // The generated text depends on the lanes.
    device.tuning.shared_lanes = 8;
    for cases in [SOME, PAIRS, ALL, HALVES] {
        assert_eq!(failures(device.clone(), cases), BTreeSet::new(), "{cases}");
    }
    let mut missed = vec![];
    for &(kernel, from, to, cases) in MUTANTS {
        if cases == HALVES && !device.tuning.halves {
            eprintln!("{} has no f16", device.summary.name);
            continue;
        }
        let edit = ShaderEdit { kernel, from, to };
        let found = failures(device.clone().with_edit(edit), cases);
        if found != BTreeSet::from([kernel]) {
            missed.push(format!("{kernel}: {from} -> {to}: {found:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
