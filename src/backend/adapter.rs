//! Description of a GPU adapter before it is opened.

use serde::{Deserialize, Serialize};

/// The kind of an adapter, ordered from the most to the least preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AdapterKind {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A virtual GPU of a virtual machine.
    Virtual,
    /// The driver does not report the kind.
    Other,
    /// A driver that computes on the CPU, such as lavapipe or WARP.
    Software,
}

impl AdapterKind {
    /// The kind in one word.
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

/// Lanes that share a sum at most.
const LARGEST_SHARE: u32 = 16;

/// One adapter: a GPU as one API (Vulkan, Metal or DX12) reports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterSummary {
    /// Index in the list of [`adapters`](crate::backend::adapters).
    pub index: usize,
    pub name: String,
    pub kind: AdapterKind,
    /// The API: `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// Name and version of the driver.
    pub driver: String,
    #[serde(flatten)]
    pub limits: AdapterLimits,
    #[serde(flatten)]
    pub features: AdapterFeatures,
}

/// Sizes that an adapter supports at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterLimits {
    /// Bytes of the largest buffer.
    pub max_buffer_bytes: u64,
    /// Bytes of the largest buffer binding that a kernel can access.
    pub max_binding_bytes: u64,
    /// Bytes of workgroup memory.
    pub workgroup_memory_bytes: u32,
    /// Invocations of the largest workgroup.
    pub max_workgroup_invocations: u32,
    /// Lanes of the smallest and of the largest subgroup.
    pub subgroup_sizes: (u32, u32),
}

/// Optional capabilities of an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterFeatures {
    /// Timestamp queries, which time kernels on the device.
    pub timestamps: bool,
    /// Subgroup operations in kernels.
    pub subgroups: bool,
    /// Half-precision arithmetic in kernels.
    pub f16: bool,
}

impl AdapterSummary {
    /// Whether the driver computes on the CPU.
    pub fn is_software(&self) -> bool {
        self.kind == AdapterKind::Software
    }

    /// Returns the number of lanes of a subgroup that can share sums, a power of two, if its
    /// layout is the usual one; 1 without subgroups.
    pub fn shared_lanes(&self) -> usize {
        let fewest = self.limits.subgroup_sizes.0;
        if self.features.subgroups && fewest > 0 {
            1 << fewest.min(LARGEST_SHARE).ilog2()
        } else {
            1
        }
    }

    /// Lanes of a subgroup, as `8` or `32 to 64`.
    pub fn subgroups_text(&self) -> String {
        let (fewest, most) = self.limits.subgroup_sizes;
        if fewest == most {
            most.to_string()
        } else {
            format!("{fewest} to {most}")
        }
    }

    /// Index, name and API, as in `#0 Radeon 780M on vulkan`.
    pub fn label(&self) -> String {
        format!("#{} {} on {}", self.index, self.name, self.backend)
    }

    /// An adapter with common limits and features, for tests.
    #[cfg(test)]
    pub(crate) fn example(index: usize, kind: AdapterKind, name: &str) -> Self {
        AdapterSummary {
            index,
            name: name.to_string(),
            kind,
            backend: "Vulkan".to_string(),
            driver: "test 1.0".to_string(),
            limits: AdapterLimits {
                max_buffer_bytes: 1 << 30,
                max_binding_bytes: 1 << 30,
                workgroup_memory_bytes: 48 << 10,
                max_workgroup_invocations: 1024,
                subgroup_sizes: (32, 32),
            },
            features: AdapterFeatures {
                timestamps: true,
                subgroups: true,
                f16: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lists_limits_and_features_beside_the_name() {
        let adapter = AdapterSummary::example(3, AdapterKind::Discrete, "Arc A770");
        let json = serde_json::to_string(&adapter).unwrap();
        assert_eq!(
            json,
            r#"{"index":3,"name":"Arc A770","kind":"discrete","backend":"Vulkan","#.to_owned()
                + r#""driver":"test 1.0","max_buffer_bytes":1073741824,"#
                + r#""max_binding_bytes":1073741824,"workgroup_memory_bytes":49152,"#
                + r#""max_workgroup_invocations":1024,"subgroup_sizes":[32,32],"#
                + r#""timestamps":true,"subgroups":true,"f16":false}"#
        );
        let read: AdapterSummary = serde_json::from_str(&json).unwrap();
        assert_eq!(read, adapter);
    }
}
