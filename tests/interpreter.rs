//! The interpreter of WGSL finds every kind of mistake in the kernels, and nothing in the kernels
//! as they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gatescan::OpenDevice;
use gatescan::low_level::backend::gpu::ShaderEdit;
use gatescan::low_level::backend::interpreter::{FindingKind, InterpreterDevice, Profile};
use gatescan::verify::{Case, Effort, Report, sweep};

/// Id prefixes of cases that together use every kernel, route and option of the shaders.
const CASES: [&str; 33] = [
    "gru-5-heads",
    "pool-sizes-ordinary",
    "initial-state-sizes-ordinary",
    "lstm-5-learnt-states",
    "lstm-5-layer-norm",
    "lstm-65-layer-norm",
    "gru-5-layer-norm",
    "attention-sizes-ordinary",
    "tally-sizes-ordinary",
    "column-sum-sizes-ordinary",
    "record-sizes-ordinary",
    "lookup-sizes-ordinary",
    "gather-sizes-ordinary",
    "softmax-sizes-ordinary",
    "value-loss-sizes-ordinary",
    "ctc-sizes-ordinary",
    "label-smoothing-sizes-ordinary",
    "target-weight-sizes-ordinary",
    "weigh-outputs-sizes-ordinary",
    "squared-norm-sizes-ordinary",
    "lstm-5-t3-b3-scan-saturated",
    "lstm-5-dropout-residual",
    "lstm-5-projection-clip-dropout",
    "lstm-65-projection-40",
    "lstm-5-relu-hard-sigmoid",
    "gru-reset-before-5-relu",
    "gru-65",
    "gru-reset-before-5-both-ways",
    "gru-reset-before-65",
    "lstm-45-cut-2-registers",
    "gru-reset-before-45-cut-2-registers",
    "rnn-tanh-45-cut-2-registers",
    "min-lstm-5-t3-b3",
];

fn device(profile: &str) -> InterpreterDevice {
    InterpreterDevice::new(Profile::named(profile).expect("there is such a profile"))
}

fn cases_of(prefix: &str) -> Vec<Case> {
    let cases = sweep(Effort::Quick).into_iter();
    cases.filter(|case| case.id.starts_with(prefix)).collect()
}

/// Plays the cases with this prefix until one has a finding, and returns the kinds of findings.
fn findings(device: &InterpreterDevice, prefix: &str) -> BTreeSet<FindingKind> {
    let opened = OpenDevice::Interpreter(Box::new(device.clone()));
    for case in cases_of(prefix) {
        if let Err(error) = case.check(&opened, &mut Report::default(), None) {
            let found = device.findings();
            assert!(!found.is_empty(), "{}: {error}", case.id);
            return found.iter().map(|finding| finding.kind).collect();
        }
    }
    BTreeSet::new()
}

#[test]
fn kernels_pass_as_every_kind_of_hardware() {
    for profile in Profile::names() {
        let opened = OpenDevice::Interpreter(Box::new(device(profile)));
        let mut report = Report::default();
        for prefix in CASES {
            let cases = cases_of(prefix);
            assert!(!cases.is_empty(), "no case begins with {prefix}");
            for case in cases {
                let result = case.check(&opened, &mut report, None);
                result.unwrap_or_else(|error| panic!("as {profile}, {}: {error}", case.id));
            }
        }
        assert!(report.passed(), "as {profile}: {}", report.failures[0]);
    }
}

/// A shader's file with a kernel that uses it, and the profiles and cases that show its barriers.
const BARRIERS: [(&str, &str, &[&str]); 13] = [
    (
        "scan_forward",
        "scan_forward",
        &[
            "gru-65",
            "gru-reset-before-65",
            "lstm-65-projection",
            "lstm-5-relu-hard-sigmoid",
        ],
    ),
    (
        "scan_backward",
        "scan_backward",
        &[
            "gru-65",
            "gru-reset-before-65",
            "lstm-65-projection",
            "lstm-65-t",
        ],
    ),
    ("step_forward", "step_forward", &["gru-65"]),
    (
        "scan_norm_forward",
        "scan_norm_forward",
        &["lstm-65-layer-norm", "gru-65-layer-norm"],
    ),
    (
        "scan_norm_backward",
        "scan_norm_backward",
        &["lstm-65-layer-norm", "gru-65-layer-norm"],
    ),
    (
        "common/layer_norm",
        "scan_norm_forward",
        &["lstm-65-layer-norm", "gru-65-layer-norm"],
    ),
    ("step_backward", "step_backward", &["gru-65"]),
    ("column_sum", "column_sum", &["column-sum"]),
    ("ctc_paths", "ctc_paths", &["ctc"]),
    ("tally", "tally", &["tally"]),
    ("common/reduce", "softmax_cross_entropy", &["softmax"]),
    ("common/reduce", "record", &["record"]),
    ("common/reduce", "label_weight", &["label-weight"]),
];

/// The statements that order memory; `barrier();` calls a function of the shader.
const BARRIER_STATEMENTS: [&str; 3] = ["workgroupBarrier();", "storageBarrier();", " barrier();"];

fn shaders() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders"))
}

/// The positions of the barriers in a shader's text, with their lengths.
fn barriers(text: &str) -> Vec<(usize, usize)> {
    let found = BARRIER_STATEMENTS.iter().flat_map(|statement| {
        let matches = text.match_indices(statement);
        matches.map(|(at, _)| (at, statement.len()))
    });
    found.collect()
}

#[test]
fn every_barrier_that_is_removed_is_reported() {
    let mut removed = BTreeSet::new();
    let mut reported = BTreeSet::new();
    for (file, kernel, cases) in BARRIERS {
        let path = shaders().join(format!("{file}.wgsl"));
        let text: &'static str = fs::read_to_string(path).expect("it is there").leak();
        for (at, len) in barriers(text) {
            let line = text[..at].matches('\n').count() + 1;
            removed.insert((file, line));
            let to = format!("{}{}", &text[..at], &text[at + len..]).leak();
            let edit = ShaderEdit {
                kernel,
                from: text,
                to,
            };
            // Lanes share sums in one, invocations have several elements in the other.
            let is_found = ["nvidia", "software"].iter().any(|profile| {
                cases.iter().any(|case| {
                    let kinds = findings(&device(profile).with_edit(edit), case);
                    let expected = [FindingKind::Race, FindingKind::Unwritten];
                    kinds.iter().any(|kind| expected.contains(kind))
                })
            });
            if is_found {
                reported.insert((file, line));
            }
        }
    }
    let missed: Vec<_> = removed.difference(&reported).collect();
    assert!(
        missed.is_empty(),
        "of {} barriers, not reported: {missed:?}",
        removed.len()
    );
    assert!(
        removed.len() >= 20,
        "only {} barriers were found",
        removed.len()
    );
}

#[test]
fn every_shader_with_a_barrier_is_listed() {
    let listed: BTreeSet<&str> = BARRIERS.iter().map(|(file, ..)| *file).collect();
    for folder in ["", "common", "cells", "gemm"] {
        for entry in fs::read_dir(shaders().join(folder)).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_none_or(|extension| extension != "wgsl") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("it is text");
            let name = path
                .strip_prefix(shaders())
                .expect("it is inside")
                .with_extension("");
            let name = name.to_str().expect("names are ASCII");
            assert!(
                barriers(&text).is_empty() || listed.contains(name),
                "{name}"
            );
        }
    }
}

/// Kernel, original text, mutated text, id prefix of the cases, and the finding.
const MUTANTS: &[(&str, &str, &str, &str, FindingKind)] = &[
    // Bounds that are off by one.
    (
        "squared_norm",
        "at < u.count",
        "at <= u.count",
        "squared-norm",
        FindingKind::OutOfBounds,
    ),
    (
        "pack",
        "min(first + 4u, u.inner)",
        "first + 4u",
        "pack",
        FindingKind::OutOfBounds,
    ),
    (
        "column_sum",
        "column < u.columns",
        "column <= u.columns",
        "column-sum",
        FindingKind::OutOfBounds,
    ),
    (
        "softmax_cross_entropy",
        "value > own || (value == own && k < label)",
        "logits[start + k + u.rows * u.classes] > own",
        "softmax",
        FindingKind::OutOfBounds,
    ),
    (
        "gemm",
        "row < u.rows && column + i < u.columns",
        "row <= u.rows",
        "gemm",
        FindingKind::OutOfBounds,
    ),
    (
        "carry_state",
        "at >= u.count",
        "at > u.count",
        "carry-state",
        FindingKind::OutOfBounds,
    ),
    // Missing initial writes.
    (
        "tally",
        "atomicStore(&ahead, 0u);",
        "",
        "tally",
        FindingKind::Unwritten,
    ),
    (
        "column_sum",
        "sums[lane.y * COLUMNS + lane.x] = own;",
        "",
        "column-sum",
        FindingKind::Unwritten,
    ),
    (
        "scan_forward",
        "cache_weights(lane);",
        "",
        "gru-65",
        FindingKind::Unwritten,
    ),
    (
        "pack",
        "out[u.out / 4u + at] = four;",
        "if at > 0u { out[u.out / 4u + at] = four; }",
        "gru-5-t3",
        FindingKind::Unwritten,
    ),
    (
        "step_forward",
        "operand[lane] = h_own;",
        "",
        "gru-65",
        FindingKind::Unwritten,
    ),
    // Races in a workgroup and between workgroups.
    (
        "label_weight",
        "partial[lane] = value;",
        "partial[lane / 2u] = value;",
        "label-weight",
        FindingKind::Race,
    ),
    (
        "squared_norm",
        "[u.partials + workgroup.x]",
        "[u.partials + workgroup.x / 2u]",
        "squared-norm",
        FindingKind::Race,
    ),
    (
        "column_sum",
        "+ column] = total",
        "] = total",
        "column-sum",
        FindingKind::Race,
    ),
    // Barriers and shuffles that some invocations miss.
    (
        "step_backward",
        "workgroupBarrier();",
        "if lane != 1u { workgroupBarrier(); }",
        "gru-65",
        FindingKind::NonUniform,
    ),
    (
        "column_sum",
        "if LANES > 1u {",
        "if lane.x < 1u {",
        "column-sum",
        FindingKind::NonUniform,
    ),
    // Integers.
    (
        "arrange",
        "step = length - 1u - t;",
        "step = t - length;",
        "arrange",
        FindingKind::Wrap,
    ),
    (
        "gather",
        "let i = at % u.width;",
        "let i = at % (u.width - u.width);",
        "gather",
        FindingKind::DivisionByZero,
    ),
    (
        "gather",
        "(8u * (at % 4u))",
        "(8u * (at % 4u) + 8u)",
        "gather",
        FindingKind::Shift,
    ),
    (
        "softmax_cross_entropy",
        "let n = round(x * 1.44269504);",
        "let n = round(x * 1e10);",
        "softmax",
        FindingKind::Conversion,
    ),
    // Loops.
    (
        "squared_norm",
        "at += LANES * LANES",
        "at += 1u",
        "squared-norm",
        FindingKind::Iterations,
    ),
    (
        "lookup_gradient",
        "row < end; row++",
        "row <= end; row++",
        "lookup",
        FindingKind::OutOfBounds,
    ),
];

#[test]
fn every_mutant_is_reported_by_its_kind() {
    let mut missed = vec![];
    for &(kernel, from, to, prefix, expected) in MUTANTS {
        let edit = ShaderEdit { kernel, from, to };
        let kinds = findings(&device("nvidia").with_edit(edit), prefix);
        if !kinds.contains(&expected) {
            missed.push(format!(
                "{kernel}: {from} -> {to}: {kinds:?}, not {expected:?}"
            ));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
