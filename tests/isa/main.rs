//! What the vendors' compilers say about the shaders: `bash tests/isa/run`.
//!
//! `dump` writes every specialisation of every shape for every kind of hardware, as WGSL, SPIR-V,
//! HLSL and MSL; `statistics` compiles the SPIR-V with a Vulkan driver and writes the driver's own
//! figures (registers, spills, local memory). Both are ignored here: the script runs them.

#[path = "../common/recorded.rs"]
mod recorded;

mod dump;
mod hardware;
mod shapes;
mod statistics;
mod translate;

use std::collections::BTreeSet;

/// Every kind of hardware records programs with its own tuning, and a shader has one name.
#[test]
fn each_kind_of_hardware_has_scans_steps_and_matmuls() {
    let all = dump::specialisations();
    for profile in hardware::PROFILES {
        let own = all
            .iter()
            .filter(|each| each.profiles.contains(profile.name));
        let kernels: BTreeSet<&str> = own.map(|each| each.kernel).collect();
        for kernel in [
            "scan_forward",
            "scan_backward",
            "step_forward",
            "step_backward",
            "gemm",
            "adam",
            "tally",
        ] {
            assert!(kernels.contains(kernel), "{}: {kernel}", profile.name);
        }
    }
    let names: BTreeSet<&str> = all.iter().map(|each| each.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "two shaders have one name");
}

/// Writes the shaders into the folder of the environment variable `GATESCAN_ISA_DUMP`.
#[test]
#[ignore = "tests/isa/run runs it"]
fn dump() {
    dump::write(&folder());
}

/// Compiles the SPIR-V of the folder `GATESCAN_ISA_DUMP` for the profile `GATESCAN_ISA_PROFILE`
/// with the first Vulkan device, and writes the driver's statistics to the file
/// `GATESCAN_ISA_OUT`.
#[test]
#[ignore = "tests/isa/run runs it"]
fn statistics() {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let profile = variable("GATESCAN_ISA_PROFILE");
    statistics::write(&folder(), &profile, variable("GATESCAN_ISA_OUT").as_ref());
}

fn folder() -> std::path::PathBuf {
    std::env::var_os("GATESCAN_ISA_DUMP")
        .expect("GATESCAN_ISA_DUMP names a folder")
        .into()
}
