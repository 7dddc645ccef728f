//! Workgroup memory is not zeroed by the drivers: a kernel writes what it reads. Here each kernel
//! with workgroup memory first fills it with large values, and `verify` must find no difference.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gatescan::OpenDevice;
use gatescan::low_level::backend::gpu::{GpuDevice, ShaderEdit};
use gatescan::verify::{Effort, Report, sweep};

/// Kernels with workgroup memory, the id prefix of the cases that check them, and the file that
/// declares the memory if that is not the kernel's own.
const KERNELS: &[(&str, &str, &str)] = &[
    ("scan_forward", "lstm-5", ""),
    ("scan_forward", "gru-reset-before-65", ""),
    ("scan_forward", "gru-65", "common/cached_weights"),
    ("scan_backward", "lstm-5", ""),
    ("scan_backward", "gru-reset-before-65", ""),
    ("scan_backward", "gru-65", "common/cached_weights"),
    (
        "scan_norm_forward",
        "lstm-65-layer-norm",
        "common/layer_norm",
    ),
    (
        "scan_norm_backward",
        "lstm-65-layer-norm",
        "common/layer_norm",
    ),
    (
        "scan_norm_forward",
        "gru-65-layer-norm",
        "common/layer_norm",
    ),
    (
        "scan_norm_backward",
        "gru-65-layer-norm",
        "common/layer_norm",
    ),
    ("step_forward", "gru-reset-before-65", ""),
    ("step_backward", "gru-reset-before-65", ""),
    ("column_sum", "column-sum", ""),
    ("tally", "tally", ""),
    ("squared_norm", "squared-norm", "common/reduce"),
    ("record", "record", "common/reduce"),
    ("label_weight", "label-weight", "common/reduce"),
    ("target_weight", "target-weight", "common/reduce"),
    ("label_smoothing", "label-smoothing", "common/reduce"),
    ("clip_factor", "squared-norm", "common/reduce"),
    ("softmax_cross_entropy", "softmax", "common/reduce"),
    ("log_sum_exp", "ctc", "common/reduce"),
    ("ctc_paths", "ctc", "common/reduce"),
    ("ctc_gradient", "ctc", "common/reduce"),
    ("error_sums", "error-sums", "common/reduce"),
    ("attention", "attention", "common/reduce"),
    ("attention_backward", "attention", "common/reduce"),
];

fn shaders() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(shaders().join(format!("{file}.wgsl"))).expect("the file is there")
}

/// Returns the names and types of the workgroup memory that a shader declares.
fn declared(text: &str) -> Vec<(String, String)> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("var<workgroup> "));
    lines
        .map(|line| {
            let (name, kind) = line.split_once(": ").expect("a declaration has a type");
            (name.to_string(), kind.trim_end_matches(';').to_string())
        })
        .collect()
}

/// Returns the WGSL that fills memory with values that no result is near to.
fn poison(name: &str, kind: &str) -> String {
    let Some(array) = kind.strip_prefix("array<") else {
        assert_eq!(kind, "atomic<u32>");
        return format!("atomicStore(&{name}, 7u);");
    };
    let (element, count) = array.split_once(", ").expect("an array has a size");
    let count = count.trim_end_matches('>');
    let value = match element {
        "f32" => "1e30",
        "Rows" | "Quad" | "vec4<f32>" => "vec4<f32>(1e30)",
        other => panic!("{name} has elements {other}"),
    };
    format!("for (var i_ = 0u; i_ < {count}; i_++) {{ {name}[i_] = {value}; }}")
}

/// Returns the edit that poisons a kernel's workgroup memory, after another edit of its own file.
fn edit(kernel: &'static str, memory: &str, removed: &str) -> ShaderEdit {
    let own = text(kernel);
    let declarations = if memory.is_empty() {
        declared(&own)
    } else {
        declared(&text(memory))
    };
    assert!(!declarations.is_empty(), "{kernel} has no workgroup memory");
    let start = own.find("@compute").expect("a kernel has an entry point");
    let header = start + own[start..].find(") {\n").expect("main has a body") + 4;
    let at = if removed.is_empty() {
        header
    } else {
        own.find(removed).expect("the text is there")
    };
    let edited = start.min(at)..header.max(at + removed.len());
    let fills = declarations.iter().map(|(name, kind)| poison(name, kind));
    let fills: String = fills.chain(["\nworkgroupBarrier();\n".into()]).collect();
    let parts = if at < header {
        [
            &own[edited.start..at],
            &own[at + removed.len()..header],
            &fills,
        ]
    } else {
        [&own[edited.start..header], &fills, &own[header..at]]
    };
    ShaderEdit {
        kernel,
        from: own[edited].to_string().leak(),
        to: parts.concat().leak(),
    }
}

/// Returns the number of cases, and the kernels in which `verify` finds a difference.
fn check(device: &GpuDevice, edit: ShaderEdit, cases: &str) -> (usize, BTreeSet<&'static str>) {
    let opened = OpenDevice::Gpu(Box::new(device.clone().with_edit(edit)));
    let mut report = Report::default();
    for case in sweep(Effort::Quick) {
        if case.id.starts_with(cases) && !case.id.contains("training") {
            case.check(&opened, &mut report, None).expect("it runs");
        }
    }
    let failures = report.failures.iter().map(|failure| failure.kernel);
    (report.cases, failures.collect())
}

/// Returns a device whose scans use lanes, where it has them, and keep weights.
fn device_with_kept_weights() -> Option<GpuDevice> {
    let mut device = common::gpu()?;
    let lanes = format!("scan_lanes={}", device.tuning.shared_lanes.min(4));
    let back_lanes = lanes.replace("scan_lanes", "scan_back_lanes");
    let settings = ["scan_tile=1", "scan_each=1", &lanes, &back_lanes];
    for setting in settings
        .into_iter()
        .chain(["scan_memory=16", "workgroups=128", "cores=128"])
    {
        device.tuning.set(setting).expect("the setting is allowed");
    }
    Some(device)
}

#[test]
fn no_kernel_reads_workgroup_memory_that_it_has_not_written() {
    let Some(device) = device_with_kept_weights() else {
        return;
    };
    for &(kernel, cases, memory) in KERNELS {
        let found = check(&device, edit(kernel, memory, ""), cases);
        assert!(found.0 > 0, "{kernel}: no case begins with {cases}");
        assert!(found.1.is_empty(), "{kernel}: {found:?}");
    }
}

#[test]
fn memory_that_a_kernel_forgets_to_write_is_found() {
    let Some(device) = device_with_kept_weights() else {
        return;
    };
    for (kernel, cases, memory, removed) in [
        ("tally", "tally", "", "        atomicStore(&ahead, 0u);\n"),
        (
            "column_sum",
            "column-sum",
            "",
            "        sums[lane.y * COLUMNS + lane.x] = own;\n",
        ),
        (
            "scan_forward",
            "gru-65",
            "common/cached_weights",
            "    cache_weights(lane);\n",
        ),
    ] {
        let (_, failures) = check(&device, edit(kernel, memory, removed), cases);
        assert_eq!(failures, [kernel].into(), "{removed}");
    }
}

/// A kernel that is missing here would not be tested.
#[test]
fn every_kernel_with_workgroup_memory_is_listed() {
    let listed: BTreeSet<&str> = KERNELS.iter().map(|(kernel, ..)| *kernel).collect();
    for file in std::fs::read_dir(shaders()).expect("the folder is there") {
        let path = file.expect("the folder can be read").path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_stem().expect("a file has a name");
        let name = name.to_string_lossy();
        let own = text(&name);
        let uses = !declared(&own).is_empty()
            || ["sum_of_all(", "largest_of_all(", "operand["]
                .iter()
                .any(|call| own.contains(call));
        assert_eq!(listed.contains(&*name), uses, "{name}");
    }
}
