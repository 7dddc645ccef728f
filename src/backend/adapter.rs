//! What is known of an adapter before it is opened.

use serde::{Deserialize, Serialize};

/// What an adapter is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A GPU as a virtual machine shows it.
    Virtual,
    /// A driver that does not say.
    Other,
    /// A driver that computes on the CPU: lavapipe, WARP.
    Software,
}

impl AdapterKind {
    /// One word for tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            AdapterKind::Discrete => "discrete",
            AdapterKind::Integrated => "integrated",
            AdapterKind::Virtual => "virtual",
            AdapterKind::Other => "other",
            AdapterKind::Software => "software",
        }
    }
}

/// What matters here of an adapter: one way (device and API) to reach a GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterSummary {
    /// What `--device N` takes.
    pub index: usize,
    pub name: String,
    pub kind: AdapterKind,
    /// The API: Vulkan, Metal, DX12.
    pub backend: String,
    /// The driver's name and version.
    pub driver: String,
    /// Bytes of the largest buffer.
    pub max_buffer_bytes: u64,
    /// Bytes of a buffer that a kernel can see at once.
    pub max_binding_bytes: u64,
    /// Bytes that a workgroup can share.
    pub workgroup_memory_bytes: u32,
    /// Invocations of a workgroup.
    pub max_workgroup_invocations: u32,
    /// Fewest and most lanes of a subgroup.
    pub subgroup_sizes: (u32, u32),
    /// Whether kernels can be timed on the device.
    pub timestamps: bool,
    /// Whether kernels can use subgroup operations.
    pub subgroups: bool,
    /// Whether kernels can compute in half precision.
    pub f16: bool,
}

impl AdapterSummary {
    /// Whether it computes on the CPU in truth.
    pub fn is_software(&self) -> bool {
        self.kind == AdapterKind::Software
    }

    /// Lanes of a subgroup, as `8` or `32 to 64`.
    pub fn subgroups_text(&self) -> String {
        let (fewest, most) = self.subgroup_sizes;
        match fewest == most {
            true => most.to_string(),
            false => format!("{fewest} to {most}"),
        }
    }

    /// Index, name and API, as messages call it.
    pub fn label(&self) -> String {
        format!("#{} {} on {}", self.index, self.name, self.backend)
    }
}
