//! The choice of a device.

use super::adapter::AdapterSummary;
use crate::error::{Error, Result};

/// A device that runs programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// The adapter with this [`AdapterSummary::index`].
    Gpu(usize),
}

/// Chooses the requested device among the CPU and `adapters`, and returns it with the reason, a
/// clause that follows "since" ("#0 Radeon 780M on vulkan is the first integrated GPU").
///
/// `request` is `auto` (a hardware GPU, else the CPU), `gpu` (a hardware GPU, else a software
/// adapter), `cpu`, an index of `adapters`, or a part of an adapter's name, in upper or lower case.
/// Among several hardware GPUs the first of the best [`AdapterKind`](super::adapter::AdapterKind)
/// is chosen.
///
/// # Errors
/// [`Error::NoAdapter`] for `gpu` if there is no adapter; [`Error::UnknownDevice`] for an index or
/// name that no adapter has; [`Error::AmbiguousDevice`] for a name that several adapters have. In a
/// build without GPU support [`Error::NoGpuSupport`] in place of the first two.
pub fn choose(request: &str, adapters: &[AdapterSummary]) -> Result<(Device, String)> {
    // `min_by_key` returns the first of several minima.
    let best = adapters.iter().min_by_key(|adapter| adapter.kind);
    let hardware = best.filter(|adapter| !adapter.is_software());
    let first_of_kind = |adapter: &AdapterSummary| {
        let why = format!(
            "{} is the first {} GPU",
            adapter.label(),
            adapter.kind.name()
        );
        (Device::Gpu(adapter.index), why)
    };

    match request.to_lowercase().as_str() {
        "cpu" => Ok((Device::Cpu, "it was requested".to_string())),
        "auto" => Ok(match (hardware, best) {
            (Some(adapter), _) => first_of_kind(adapter),
            (None, Some(software)) => (
                Device::Cpu,
                format!(
                    "the only adapter is the software adapter {}; request `gpu` to use it",
                    software.label()
                ),
            ),
            (None, None) => (Device::Cpu, "there is no GPU adapter".to_string()),
        }),
        "gpu" => match (hardware, best) {
            (Some(adapter), _) => Ok(first_of_kind(adapter)),
            (None, Some(software)) => Ok((
                Device::Gpu(software.index),
                format!(
                    "{} is a software adapter, and there is no hardware GPU",
                    software.label()
                ),
            )),
            (None, None) => Err(no_gpu_support().unwrap_or(Error::NoAdapter)),
        },
        name => by_index_or_name(request, name, adapters),
    }
}

/// Returns the adapter for process `local_rank` of a machine, where the processes take its GPUs in
/// turn: for `auto` and `gpu`, where the first of them is a hardware GPU. The others are those of
/// its kind and backend.
pub fn in_turn<'a>(
    request: &str,
    first: Device,
    adapters: &'a [AdapterSummary],
    local_rank: usize,
) -> Option<&'a AdapterSummary> {
    let is_open = ["auto", "gpu"].contains(&request.to_lowercase().as_str());
    let Device::Gpu(index) = first else {
        return None;
    };
    let first = adapters.iter().find(|adapter| adapter.index == index)?;
    let is_alike =
        |adapter: &&AdapterSummary| adapter.kind == first.kind && adapter.backend == first.backend;
    let alike: Vec<&AdapterSummary> = adapters.iter().filter(is_alike).collect();
    let is_divided = is_open && !first.is_software() && local_rank > 0 && alike.len() > 1;
    is_divided.then(|| alike[local_rank % alike.len()])
}

/// The error for a GPU that is requested from a build without GPU support.
fn no_gpu_support() -> Option<Error> {
    (!cfg!(feature = "gpu")).then_some(Error::NoGpuSupport)
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
    // A complete name is chosen even if it is a part of another name.
    if matches.len() > 1
        && matches
            .iter()
            .any(|adapter| adapter.name.to_lowercase() == name)
    {
        matches.retain(|adapter| adapter.name.to_lowercase() == name);
    }
    // On Windows each GPU is listed twice, for Vulkan and for DX12; the first is chosen.
    let same_gpu = |pair: &[&AdapterSummary]| {
        pair[0].name == pair[1].name && pair[0].backend != pair[1].backend
    };
    if matches.windows(2).all(same_gpu) {
        matches.truncate(1);
    }
    match matches.as_slice() {
        [adapter] => Ok((
            Device::Gpu(adapter.index),
            format!("{} was requested", adapter.label()),
        )),
        [] => Err(no_gpu_support().unwrap_or_else(|| Error::UnknownDevice {
            request: request.to_string(),
            adapters: adapters.iter().map(AdapterSummary::label).collect(),
        })),
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
            .map(|(index, (kind, name))| AdapterSummary::example(index, *kind, name))
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
    fn auto_chooses_a_hardware_gpu_or_the_cpu() {
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
    fn gpu_falls_back_to_a_software_adapter() {
        let all = all();
        assert_eq!(device("gpu", &all), Device::Gpu(3));
        assert_eq!(device("GPU", &all[..1]), Device::Gpu(0));
        let (code, message) = problem("gpu", &[]);
        assert_eq!(code, 1);
        assert!(message.contains("mesa-vulkan-drivers"), "{message}");
        assert!(message.contains("use the CPU"), "{message}");
    }

    #[test]
    fn cpu_ignores_the_adapters() {
        assert_eq!(device("cpu", &all()), Device::Cpu);
        assert_eq!(device("CPU", &[]), Device::Cpu);
    }

    #[test]
    fn processes_take_the_gpus_of_one_kind_in_turn() {
        let all = all();
        let turn = |request: &str, rank| {
            let first = device(request, &all);
            in_turn(request, first, &all, rank).map(|adapter| adapter.index)
        };
        let turns = [0, 1, 2, 3].map(|rank| turn("auto", rank));
        assert_eq!(turns, [None, Some(4), Some(5), Some(3)]);
        assert_eq!(turn("gpu", 1), Some(4));
        // A device that is named is every process's.
        assert_eq!([turn("cpu", 1), turn("arc a770", 1)], [None, None]);
        assert_eq!(in_turn("gpu", Device::Gpu(0), &all[..1], 1), None);
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
