//! Outputs, losses, gradients and training steps against those of TensorFlow and PyTorch
//! (`tests/golden/README.md`), on every executor and by both routes.

mod common;
mod golden_support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use gatescan::low_level::backend::tuning::{Route, Tuning};

use golden_support::case::{Case, swap};
use golden_support::play::{OpenDevice, play};

/// All files of `tests/golden`.
const CASES: [&str; 125] = [
    "pt_charlm_emb_gru",
    "pt_charlm_emb_ignore",
    "pt_charlm_emb_pad0_l2",
    "pt_charlm_onehot",
    "pt_charlm_onehot_rnn",
    "pt_clip_active_sgd",
    "pt_clip_inactive_adam",
    "pt_dropout_lstm_l3",
    "pt_dropout_rnn_l2",
    "pt_gru_b7t13",
    "pt_gru_h1",
    "pt_gru_l2",
    "pt_gru_l2_bidi",
    "pt_gru_l3_bidi",
    "pt_gru_zerostate",
    "pt_lstm_b1",
    "pt_lstm_b7t13",
    "pt_lstm_h1",
    "pt_lstm_l2",
    "pt_lstm_l2_bidi",
    "pt_lstm_l3",
    "pt_lstm_nobias",
    "pt_lstm_proj_b7t13",
    "pt_lstm_proj_l2_bidi",
    "pt_lstm_zerostate",
    "pt_opt_adam",
    "pt_opt_adam_big_eps",
    "pt_opt_adam_gru_l2",
    "pt_opt_adam_l2",
    "pt_opt_adam_rnn",
    "pt_opt_adamw",
    "pt_opt_amsgrad",
    "pt_opt_rmsprop",
    "pt_opt_rmsprop_all",
    "pt_opt_sgd",
    "pt_opt_sgd_damp",
    "pt_opt_sgd_momentum",
    "pt_opt_sgd_nesterov",
    "pt_packed_gru_l2",
    "pt_packed_gru_short",
    "pt_packed_lstm",
    "pt_packed_lstm_l2_bidi",
    "pt_packed_lstm_proj",
    "pt_packed_rnn",
    "pt_packed_rnn_l2_bidi",
    "pt_rnn_relu_b7t13",
    "pt_rnn_relu_l2",
    "pt_rnn_tanh_b7t13",
    "pt_rnn_tanh_h1",
    "pt_rnn_tanh_l2",
    "pt_rnn_tanh_l2_bidi",
    "pt_rnn_tanh_zerostate",
    "pt_tbptt_lstm",
    "pt_tbptt_lstm_l2",
    "tf_adam_eps_big",
    "tf_adam_gru",
    "tf_adam_lstm",
    "tf_adam_rnn",
    "tf_adam_rnn_relu_mse",
    "tf_basic_lstm_b1",
    "tf_basic_lstm_b7t13",
    "tf_basic_lstm_fb0",
    "tf_basic_lstm_h1",
    "tf_basic_lstm_t1",
    "tf_bidi_gru",
    "tf_bidi_lstm_seqlen",
    "tf_bidi_rnn",
    "tf_clip_norm_active_momentum_gru",
    "tf_clip_norm_active_sgd",
    "tf_clip_norm_inactive_adam",
    "tf_deep_classifier_rnn3",
    "tf_dropout_all_lstm2",
    "tf_dropout_input_rnn3",
    "tf_dropout_variational_lstm",
    "tf_gru_b1",
    "tf_gru_b7t13",
    "tf_gru_h1",
    "tf_keras_gru_reset_after",
    "tf_keras_gru_reset_before",
    "tf_keras_lstm",
    "tf_keras_lstm_masked",
    "tf_keras_simplernn",
    "tf_last_xent_lstm_seqlen",
    "tf_last_xent_peephole",
    "tf_last_xent_rnn",
    "tf_last_xent_rnn150",
    "tf_lstm_proj_all",
    "tf_lstm_proj_clip",
    "tf_lstm_proj_noclip",
    "tf_momentum_nesterov",
    "tf_momentum_rnn",
    "tf_multi_gru3",
    "tf_multi_lstm3",
    "tf_multi_mixed",
    "tf_multi_peephole2",
    "tf_multi_rnn3",
    "tf_outproj_mse_lstm",
    "tf_outproj_mse_rnn_relu",
    "tf_peephole_b7t13",
    "tf_peephole_clip",
    "tf_rmsprop_centered",
    "tf_rmsprop_lstm_momentum",
    "tf_rmsprop_rnn",
    "tf_rnn_relu_b7t13",
    "tf_rnn_relu_h100in1",
    "tf_rnn_tanh_b1",
    "tf_rnn_tanh_b7t13",
    "tf_rnn_tanh_big150",
    "tf_rnn_tanh_h1",
    "tf_rnn_tanh_zerostate",
    "tf_seed003_scan_randinit",
    "tf_seed003_scan_zero",
    "tf_seqlen_gru_short",
    "tf_seqlen_lstm",
    "tf_seqlen_lstm_zerostate",
    "tf_seqlen_peephole_proj",
    "tf_seqlen_rnn",
    "tf_sgd_lstm_mse",
    "tf_sgd_rnn",
    "tf_static_eq_dynamic_lstm_seqlen",
    "tf_static_eq_dynamic_rnn",
    "tf_twostep_seed000_keras_published",
    "tf_twostep_seed000_published",
    "tf_twostep_seed001_all2",
    "tf_twostep_seed001_seqlen",
];

// Errors are max |a - reference| / max(1, max |reference|) over a tensor; the reference is the
// framework's result in f64.

/// f32: three times the frameworks' own error, which is up to 3.2e-6.
const FORWARD: f64 = 1e-5;
/// f32: three times the frameworks' own error, 4.6e-6 in a sum of about 1000 signed values.
const LOSS: f64 = 1.5e-5;
/// f32: three times the frameworks' own error, 1.4e-6; also for moments, which are means of
/// gradients.
const GRADIENT: f64 = 5e-6;
/// f32: three times the frameworks' own error after 10 updates, 1.1e-6.
const WEIGHT: f64 = 3e-6;
/// f64: a different order of summation; a third implementation of the frameworks' equations agrees
/// to 1.4e-14.
const EXACT: f64 = 1e-13;
/// f32 results of a notebook, printed to 8 digits.
const PUBLISHED: f64 = 2e-6;

/// The kind of a tensor, which determines its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Forward,
    Loss,
    Gradient,
    Weight,
    Moment,
    Published,
}

impl Group {
    fn of(name: &str) -> Group {
        match name.split('/').next().expect("a name is never empty") {
            "loss" | "losses" => Group::Loss,
            "grad" | "clipped_grad" | "grad_norms" => Group::Gradient,
            "step1" | "step2" | "step10" => Group::Weight,
            "slot1" | "slot10" => Group::Moment,
            "published" => Group::Published,
            "out" if name == "out/global_norm" => Group::Gradient,
            "out" => Group::Forward,
            chunk if chunk.starts_with("chunk") => match name.rsplit('/').next() {
                Some("loss") => Group::Loss,
                Some("h" | "c") => Group::Forward,
                _ => Group::Weight,
            },
            other => panic!("a tensor {other}"),
        }
    }

    fn limit(self, place: &OpenDevice) -> f64 {
        match self {
            Group::Published => PUBLISHED,
            _ if matches!(place, OpenDevice::CpuF64) => EXACT,
            Group::Forward => FORWARD,
            Group::Loss => LOSS,
            Group::Gradient | Group::Moment => GRADIENT,
            Group::Weight => WEIGHT,
        }
    }

    /// The limit for the tensor `name` of a case: in f32 at least three times the framework's own
    /// error in that tensor, which is large where an optimizer's epsilon is as large as a gradient.
    fn limit_in(self, place: &OpenDevice, case: &Case, name: &str) -> f64 {
        let errors = &case.oracle["f32_vs_f64_maxabs_and_rel_to_max_by_group"];
        let group = name.split('/').next().expect("a name is never empty");
        let own = |n: usize| errors[group][n].as_f64().unwrap_or(0.0);
        match place {
            OpenDevice::CpuF64 => self.limit(place),
            _ => self.limit(place).max(3.0 * own(0).min(own(1))),
        }
    }
}

/// Whether the engine does not compute a tensor: the gradient with respect to the data where a head
/// is trained, and the momentum that TensorFlow's RMSProp keeps even where it is 0.
fn is_left_out(name: &str, case: &Case) -> bool {
    let of_data = ["grad/x", "grad/targets"].contains(&name) && !case.has_upstream();
    let without_momentum = case.oracle["optimizer"]
        .as_str()
        .is_some_and(|text| text.starts_with("RMSProp") && text.contains("momentum=0,"));
    let momentum = ["slot1/momentum/", "slot10/momentum/"];
    of_data || (without_momentum && momentum.iter().any(|start| name.starts_with(start)))
}

/// Returns the name of the engine's result for a tensor: TensorFlow's `static_rnn` must have the
/// same results as its `dynamic_rnn`.
fn plain(name: &str) -> String {
    match name.strip_prefix("out/static_") {
        Some(rest) if rest.starts_with("grad") || rest == "loss" => rest.to_string(),
        Some(rest) => format!("out/{rest}"),
        None => name.to_string(),
    }
}

/// Returns the largest error of a tensor; infinite where the sizes differ or a value is NaN.
fn error(actual: &[f64], expected: &[f64]) -> f64 {
    if actual.len() != expected.len() {
        return f64::INFINITY;
    }
    let scale = expected
        .iter()
        .fold(1.0, |most: f64, value| most.max(value.abs()));
    actual.iter().zip(expected).fold(0.0, |most: f64, (a, e)| {
        let error = (a - e).abs() / scale;
        if error.is_nan() {
            f64::INFINITY
        } else {
            most.max(error)
        }
    })
}

/// The directory of the cases: that of GATESCAN_GOLDEN, or `tests/golden`.
fn directory() -> PathBuf {
    match std::env::var_os("GATESCAN_GOLDEN") {
        Some(directory) => directory.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
    }
}

/// The stems of the files in a directory, sorted.
fn cases(directory: &Path) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(directory)
        .expect("it is there")
        .filter_map(|entry| {
            let name = entry
                .expect("it can be read")
                .file_name()
                .into_string()
                .ok()?;
            Some(name.strip_suffix(".safetensors")?.to_string())
        })
        .collect();
    found.sort();
    found
}

/// Runs every case at `place` and compares all tensors of its file.
fn check(place: &OpenDevice, tuning: Tuning) {
    let mut worst: BTreeMap<Group, (f64, String)> = BTreeMap::new();
    let mut failures = String::new();
    let directory = directory();
    let cases = cases(&directory);
    for name in &cases {
        let case = Case::load(&directory, name);
        let results = play(&case, place, tuning);
        let mut compare = |name: &str, actual: &[f64], expected: &[f64]| {
            let (group, error) = (Group::of(name), error(actual, expected));
            let limit = group.limit_in(place, &case, name);
            let line = format!("{:32} {name:50} {error:9.1e} > {limit:.1e}", case.name);
            if error > limit {
                writeln!(failures, "{line}").expect("a string takes all");
            }
            let worst = worst.entry(group).or_default();
            if error >= worst.0 {
                *worst = (error, format!("{} {name}", case.name));
            }
        };
        for (name, expected) in case
            .expected()
            .filter(|(name, _)| !is_left_out(name, &case))
        {
            let actual = results.get(&plain(name));
            compare(name, actual, expected);
        }
        for (name, expected) in case.under("published/") {
            let outputs = results.get("out/outputs");
            let steps = swap(outputs, case.get("x").shape[0], 2);
            let actual = match name {
                "Y0" => &steps[..steps.len() / 2],
                "Y1" => &steps[steps.len() / 2..],
                _ => outputs,
            };
            compare(&format!("published/{name}"), actual, &expected.values);
        }
    }
    for (group, (error, place)) in &worst {
        println!("{group:?}: at most {error:.1e}, in {place}");
    }
    assert!(
        failures.is_empty(),
        "{} cases; beyond their limits:\n{failures}",
        cases.len()
    );
}

#[test]
fn cpu_f64() {
    check(&OpenDevice::CpuF64, Tuning::cpu());
}

#[test]
fn cpu_f64_step() {
    check(&OpenDevice::CpuF64, by(Route::Step, Tuning::cpu()));
}

#[test]
fn cpu_f32() {
    check(&OpenDevice::CpuF32, Tuning::cpu());
}

#[test]
fn gpu_scan() {
    on_gpu(|tuning| by(Route::Scan, tuning));
}

/// A small `scan_work` splits scans into dispatches of 1 to 8 steps, as for networks that are too
/// slow for one dispatch.
#[test]
fn gpu_scan_in_several_dispatches() {
    on_gpu(|tuning| Tuning {
        scan_work: 1 << 10,
        ..by(Route::Scan, tuning)
    });
}

#[test]
fn gpu_step() {
    on_gpu(|tuning| by(Route::Step, tuning));
}

fn by(route: Route, tuning: Tuning) -> Tuning {
    Tuning {
        route: Some(route),
        ..tuning
    }
}

fn on_gpu(tuning: impl Fn(Tuning) -> Tuning) {
    if let Some(device) = common::gpu() {
        let tuning = tuning(device.tuning);
        check(&OpenDevice::Gpu(&device), tuning);
    }
}

/// A missing file would otherwise be skipped silently.
#[test]
fn no_case_is_missing() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    assert_eq!(cases(&directory), CASES);
}
