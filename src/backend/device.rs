//! Which device a request takes. Pure: what there is comes in as a list.

use super::adapter::AdapterSummary;
use crate::error::{Error, Result};

/// Where a program is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// The adapter of that [`AdapterSummary::index`].
    Gpu(usize),
}

/// Takes the device that `request` asks for, and says why in a clause ("the first discrete GPU").
///
/// `request` is `auto` (a real GPU, else the CPU), `gpu` (a real GPU, else a software one), `cpu`, an index of
/// `adapters`, or a part of a name in any case. Of several real GPUs the order of [`AdapterKind`] decides, then the
/// list's.
///
/// # Errors
/// [`Error::NoAdapter`] for `gpu` where there is no adapter; [`Error::UnknownDevice`] for an index or name that no
/// adapter has, [`Error::AmbiguousDevice`] for a name that several have.
pub fn choose(request: &str, adapters: &[AdapterSummary]) -> Result<(Device, String)> {
    // The first of the best kind: `min_by_key` keeps the earliest of equals.
    let best = adapters.iter().min_by_key(|adapter| adapter.kind);
    let real = best.filter(|adapter| !adapter.is_software());
    let first_real = |adapter: &AdapterSummary| {
        let why = format!(
            "{} is the first {} GPU",
            adapter.label(),
            adapter.kind.name()
        );
        (Device::Gpu(adapter.index), why)
    };

    match request.to_lowercase().as_str() {
        "cpu" => Ok((Device::Cpu, "it was asked for".to_string())),
        "auto" => Ok(match (real, best) {
            (Some(adapter), _) => first_real(adapter),
            (None, Some(software)) => (
                Device::Cpu,
                format!(
                    "the only adapter is {}, a software one; request `gpu` to use it",
                    software.label()
                ),
            ),
            (None, None) => (Device::Cpu, "there is no GPU adapter".to_string()),
        }),
        "gpu" => match (real, best) {
            (Some(adapter), _) => Ok(first_real(adapter)),
            (None, Some(software)) => Ok((
                Device::Gpu(software.index),
                format!(
                    "{} is a software adapter, and there is no real GPU",
                    software.label()
                ),
            )),
            (None, None) => Err(Error::NoAdapter),
        },
        name => by_index_or_name(request, name, adapters),
    }
}

fn by_index_or_name(
    request: &str,
    name: &str,
    adapters: &[AdapterSummary],
) -> Result<(Device, String)> {
    let index: Option<usize> = name.parse().ok();
    let mut matches: Vec<&AdapterSummary> = adapters
        .iter()
        .filter(|adapter| match index {
            Some(index) => adapter.index == index,
            None => !name.is_empty() && adapter.name.to_lowercase().contains(name),
        })
        .collect();
    // A whole name is meant even where it is a part of another.
    if matches.len() > 1
        && matches
            .iter()
            .any(|adapter| adapter.name.to_lowercase() == name)
    {
        matches.retain(|adapter| adapter.name.to_lowercase() == name);
    }
    // On Windows every GPU is there twice, by Vulkan and by DX12; the first one will do.
    let same_gpu = |pair: &[&AdapterSummary]| {
        pair[0].name == pair[1].name && pair[0].backend != pair[1].backend
    };
    if matches.windows(2).all(same_gpu) {
        matches.truncate(1);
    }
    match matches.as_slice() {
        [adapter] => Ok((
            Device::Gpu(adapter.index),
            format!("{} was asked for", adapter.label()),
        )),
        [] => Err(Error::UnknownDevice {
            request: request.to_string(),
            adapters: adapters.iter().map(AdapterSummary::label).collect(),
        }),
        several => Err(Error::AmbiguousDevice {
            request: request.to_string(),
            adapters: several.iter().map(|adapter| adapter.label()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::adapter::AdapterKind;

    fn adapters(kinds: &[(AdapterKind, &str)]) -> Vec<AdapterSummary> {
        kinds
            .iter()
            .enumerate()
            .map(|(index, (kind, name))| AdapterSummary {
                index,
                name: name.to_string(),
                kind: *kind,
                backend: "Vulkan".to_string(),
                driver: "test 1.0".to_string(),
                max_buffer_bytes: 1 << 30,
                max_binding_bytes: 1 << 27,
                workgroup_memory_bytes: 16384,
                max_workgroup_invocations: 256,
                subgroup_sizes: (32, 32),
                timestamps: true,
                subgroups: true,
                f16: false,
            })
            .collect()
    }

    fn all() -> Vec<AdapterSummary> {
        adapters(&[
            (AdapterKind::Software, "llvmpipe (LLVM 19)"),
            (AdapterKind::Other, "Strange"),
            (AdapterKind::Integrated, "Radeon 780M"),
            (AdapterKind::Discrete, "Radeon RX 7900"),
            (AdapterKind::Discrete, "Arc A770"),
            (AdapterKind::Discrete, "Arc A770 Limited"),
        ])
    }

    fn device(request: &str, adapters: &[AdapterSummary]) -> Device {
        choose(request, adapters).unwrap().0
    }

    fn problem(request: &str, adapters: &[AdapterSummary]) -> (u8, String) {
        let error = choose(request, adapters).unwrap_err();
        (error.exit_code(), error.to_string())
    }

    #[test]
    fn auto_takes_a_real_gpu_or_the_cpu() {
        let all = all();
        assert_eq!(device("auto", &all), Device::Gpu(3));
        assert_eq!(device("auto", &all[..3]), Device::Gpu(2));
        assert_eq!(device("auto", &all[..2]), Device::Gpu(1));
        let (device, why) = choose("auto", &all[..1]).unwrap();
        assert_eq!(device, Device::Cpu);
        assert!(why.contains("software adapter #0 llvmpipe"), "{why}");
        assert_eq!(
            choose("auto", &[]).unwrap(),
            (Device::Cpu, "there is no GPU adapter".into())
        );
    }

    #[test]
    fn gpu_takes_a_software_adapter_where_there_is_no_other() {
        let all = all();
        assert_eq!(device("gpu", &all), Device::Gpu(3));
        assert_eq!(device("GPU", &all[..1]), Device::Gpu(0));
        let (code, message) = problem("gpu", &[]);
        assert_eq!(code, 1);
        assert!(message.contains("mesa-vulkan-drivers"), "{message}");
        assert!(message.contains("use the CPU"), "{message}");
    }

    #[test]
    fn cpu_is_the_cpu() {
        assert_eq!(device("cpu", &all()), Device::Cpu);
        assert_eq!(device("CPU", &[]), Device::Cpu);
    }

    #[test]
    fn by_index_and_name() {
        let all = all();
        assert_eq!(device("0", &all), Device::Gpu(0));
        assert_eq!(device("LLVMpipe", &all), Device::Gpu(0));
        assert_eq!(device("780m", &all), Device::Gpu(2));
        assert_eq!(device("arc a770", &all), Device::Gpu(4));
        let (code, message) = problem("radeon", &all);
        assert_eq!(code, 2);
        assert!(
            message.contains("#2 Radeon 780M on Vulkan, #3 Radeon RX 7900 on Vulkan"),
            "{message}"
        );
        let (code, message) = problem("6", &all);
        assert_eq!(code, 2);
        assert!(
            message.contains("no adapter has the index or name `6`; available: #0 llvmpipe"),
            "{message}"
        );
        assert!(problem("nvidia", &[]).1.contains("there is no GPU adapter"));
        assert!(problem("", &all).1.contains("no adapter has"));
    }
}
