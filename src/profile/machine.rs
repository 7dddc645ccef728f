//! The machine on which a profile was measured.

use serde::{Deserialize, Serialize};

use crate::backend::OpenDevice;
use crate::backend::adapter::AdapterSummary;
use crate::backend::host;

/// The description of a machine: its CPU, or the GPU adapter and driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    /// The model name of the CPU, and the threads that programs use.
    Cpu { name: String, threads: usize },
    /// The GPU adapter.
    Gpu(AdapterSummary),
}

impl Machine {
    /// Describes the machine of a device.
    pub fn of(device: &OpenDevice) -> Machine {
        match device.adapter() {
            Some(adapter) => Machine::Gpu(adapter.clone()),
            None => Machine::Cpu {
                name: host::cpu_name(),
                threads: rayon::current_num_threads(),
            },
        }
    }

    /// Returns the name of the CPU or GPU.
    pub fn name(&self) -> &str {
        match self {
            Machine::Cpu { name, .. } => name,
            Machine::Gpu(adapter) => &adapter.name,
        }
    }

    /// Returns the name with the number of threads or the API.
    pub fn label(&self) -> String {
        match self {
            Machine::Cpu { name, threads } => format!("{name}, {threads} threads"),
            Machine::Gpu(adapter) => format!("{} on {}", adapter.name, adapter.backend),
        }
    }
}
