//! `gatescan devices`: lists the values that `--device` can take.

use clap::Args;
use gatescan::low_level::backend::adapter::AdapterSummary;
use gatescan::low_level::backend::adapters;
use gatescan::low_level::backend::device;
use gatescan::{Device, OpenDevice, Result};
use serde_json::json;

use super::console::Console;
use super::{aligned, device_name};

/// List the GPU adapters and the CPU, and the device that `--device auto` chooses.
#[derive(Args)]
#[command(after_help = "\
BUFFER is the size of the largest buffer, BINDING the largest part of it that a kernel can access, \
WORKGROUP the memory and the invocations of a workgroup, SUBGROUP the number of its lanes. A \
software adapter (lavapipe, WARP) computes on the CPU.

Examples:
  gatescan devices
  gatescan devices --json
  gatescan train mnist --device 1         by index
  gatescan train mnist --device radeon    by a part of the name")]
pub struct Devices {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub fn run(&self, console: &Console) -> Result<()> {
        let adapters = adapters();
        let tested: Vec<Option<TestedDevice>> = adapters.iter().map(tested).collect();
        let (device, why) = device::choose("auto", &adapters)?;
        let threads = rayon::current_num_threads();
        let text = if self.json {
            let auto = match device {
                Device::Cpu => json!("cpu"),
                Device::Gpu(index) => json!(index),
            };
            let adapters: Vec<_> = (adapters.iter().zip(&tested))
                .map(|(adapter, tested)| {
                    let tested = tested.as_ref();
                    let mut adapter = json!(adapter);
                    adapter["shared_lanes"] = json!(tested.map(|tested| tested.lanes));
                    adapter["tuning"] = json!(tested.map(|tested| &tested.remembered));
                    adapter
                })
                .collect();
            json!({
                "adapters": adapters,
                "cpu": { "threads": threads },
                "auto": { "device": auto, "why": why },
            })
            .to_string()
        } else {
            let table = table(&adapters, &tested, threads);
            format!(
                "{table}\n\nauto chooses the {}, since {why}",
                device_name(device)
            )
        };
        let _ = console.print(text)?;
        Ok(())
    }
}

/// What an opened device says of itself.
struct TestedDevice {
    /// Neighbouring lanes that share sums.
    lanes: usize,
    /// The settings of `gatescan tune-device`.
    remembered: Vec<String>,
}

/// Returns what an adapter says when it is opened; `None` if it cannot be.
fn tested(adapter: &AdapterSummary) -> Option<TestedDevice> {
    let opened = OpenDevice::open(&Device::Gpu(adapter.index)).ok()?;
    Some(TestedDevice {
        lanes: opened.tuning().shared_lanes,
        remembered: opened.remembered_settings().unwrap_or_default(),
    })
}

fn table(adapters: &[AdapterSummary], tested: &[Option<TestedDevice>], threads: usize) -> String {
    let header = [
        "INDEX",
        "ADAPTER",
        "TYPE",
        "API",
        "DRIVER",
        "BUFFER",
        "BINDING",
        "WORKGROUP",
        "SUBGROUP",
        "FEATURES",
    ];
    let mut rows = vec![header.map(str::to_string)];
    rows.extend(adapters.iter().zip(tested).map(row));
    let mut cpu = header.map(|_| String::new());
    cpu[0] = "cpu".to_string();
    cpu[1] = format!("{threads} threads");
    rows.push(cpu);
    aligned(&rows, header.len())
}

fn row((adapter, tested): (&AdapterSummary, &Option<TestedDevice>)) -> [String; 10] {
    let lanes = tested.as_ref().map(|tested| tested.lanes);
    let subgroups = if lanes == Some(adapter.shared_lanes()) {
        "subgroups"
    } else {
        "subgroups (in another order: unused)"
    };
    let remembered = match tested {
        Some(tested) if !tested.remembered.is_empty() => {
            format!("tuned: {}", tested.remembered.join(" "))
        }
        _ => String::new(),
    };
    let features = [
        (lanes.is_none(), "cannot be opened"),
        (adapter.features.timestamps, "timestamps"),
        (adapter.features.subgroups && lanes.is_some(), subgroups),
        (adapter.features.f16, "f16"),
        (!remembered.is_empty(), &remembered),
    ];
    let available = features.iter().filter(|(available, _)| *available);
    let features: Vec<&str> = available.map(|(_, name)| *name).collect();
    [
        adapter.index.to_string(),
        adapter.name.clone(),
        adapter.kind.name().to_string(),
        adapter.backend.clone(),
        adapter.driver.clone(),
        bytes(adapter.limits.max_buffer_bytes),
        bytes(adapter.limits.max_binding_bytes),
        format!(
            "{}, {}",
            bytes(adapter.limits.workgroup_memory_bytes.into()),
            adapter.limits.max_workgroup_invocations
        ),
        adapter.subgroups_text(),
        features.join(", "),
    ]
}

/// Formats bytes in the largest binary unit in which the value is at least 1.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (count.max(1).ilog2() / 10) as usize;
    let value = count as f64 / (1_u64 << (10 * power)) as f64;
    // At most one decimal, rounded down.
    let value = (value * 10.0).floor() / 10.0;
    format!("{value} {}", units[power])
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_in_units() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (32768, "32 KiB"),
            (128 << 20, "128 MiB"),
            ((1 << 31) - 4, "1.9 GiB"),
            (3 << 29, "1.5 GiB"),
            (1 << 50, "1 PiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
