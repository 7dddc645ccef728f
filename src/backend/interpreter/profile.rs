//! Kinds of hardware that the interpreter stands for.

use super::subgroups::{LaneOrder, Subgroups};
use crate::backend::adapter::{AdapterFeatures, AdapterKind, AdapterLimits, AdapterSummary};
use crate::backend::tuning::Tuning;

/// Workgroups that keep a software device of a profile busy, for any machine.
const SOFTWARE_WORKGROUPS: usize = 4;

/// A kind of hardware: limits and subgroups.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// The name on the command line.
    pub name: &'static str,
    /// Limits and features, from which the tuning follows as for a real adapter.
    pub adapter: AdapterSummary,
    pub subgroups: Subgroups,
}

/// What distinguishes a profile.
struct Hardware {
    name: &'static str,
    kind: AdapterKind,
    backend: &'static str,
    workgroup_memory_kib: u32,
    max_workgroup_invocations: u32,
    /// The smallest and the largest size that the driver reports.
    subgroup_sizes: (u32, u32),
    subgroups: Subgroups,
    f16: bool,
}

/// The limits are those that the drivers report: RADV for RDNA and GCN, Metal for Apple's M1 and
/// later, NVIDIA's driver for Turing and later, ANV for Xe, D3D12's guarantees, and lavapipe. The
/// sizes and orders of subgroups are chosen so that each order occurs.
const HARDWARE: [Hardware; 7] = [
    Hardware {
        name: "amd",
        kind: AdapterKind::Discrete,
        backend: "vulkan",
        workgroup_memory_kib: 64,
        max_workgroup_invocations: 1024,
        subgroup_sizes: (32, 64),
        subgroups: Subgroups {
            size: 64,
            order: LaneOrder::Linear,
        },
        f16: true,
    },
    Hardware {
        name: "apple",
        kind: AdapterKind::Integrated,
        backend: "metal",
        workgroup_memory_kib: 32,
        max_workgroup_invocations: 1024,
        subgroup_sizes: (32, 32),
        subgroups: Subgroups {
            size: 32,
            order: LaneOrder::Linear,
        },
        f16: true,
    },
    Hardware {
        name: "nvidia",
        kind: AdapterKind::Discrete,
        backend: "vulkan",
        workgroup_memory_kib: 48,
        max_workgroup_invocations: 1024,
        subgroup_sizes: (32, 32),
        subgroups: Subgroups {
            size: 32,
            order: LaneOrder::Reversed,
        },
        f16: true,
    },
    Hardware {
        name: "intel",
        kind: AdapterKind::Integrated,
        backend: "vulkan",
        workgroup_memory_kib: 64,
        max_workgroup_invocations: 1024,
        subgroup_sizes: (8, 32),
        subgroups: Subgroups {
            size: 16,
            order: LaneOrder::Linear,
        },
        f16: true,
    },
    Hardware {
        name: "dx12",
        kind: AdapterKind::Other,
        backend: "dx12",
        workgroup_memory_kib: 32,
        max_workgroup_invocations: 1024,
        subgroup_sizes: (4, 128),
        subgroups: Subgroups {
            size: 128,
            order: LaneOrder::Strided,
        },
        f16: false,
    },
    Hardware {
        name: "software",
        kind: AdapterKind::Software,
        backend: "vulkan",
        workgroup_memory_kib: 32,
        max_workgroup_invocations: 1024,
        subgroup_sizes: (8, 8),
        subgroups: Subgroups {
            size: 8,
            order: LaneOrder::Linear,
        },
        f16: true,
    },
    Hardware {
        name: GCN,
        kind: AdapterKind::Discrete,
        backend: "vulkan",
        workgroup_memory_kib: 64,
        max_workgroup_invocations: 1024,
        subgroup_sizes: (64, 64),
        subgroups: Subgroups {
            size: 64,
            order: LaneOrder::Linear,
        },
        f16: true,
    },
];

/// GCN, whose scans have workgroups of 1,024 invocations. The name is also that of a vendor, from
/// which the class of the GPU follows.
const GCN: &str = "amd-gcn";

impl Profile {
    /// The names of all profiles.
    pub fn names() -> Vec<&'static str> {
        HARDWARE.iter().map(|hardware| hardware.name).collect()
    }

    /// The profiles that are played where none is named: all except for GCN, whose large workgroups
    /// take long.
    pub fn usual() -> Vec<Profile> {
        let usual = HARDWARE.iter().filter(|hardware| hardware.name != GCN);
        usual.map(Profile::of).collect()
    }

    /// The profile with this name.
    pub fn named(name: &str) -> Option<Profile> {
        let hardware = HARDWARE.iter().find(|hardware| hardware.name == name);
        hardware.map(Profile::of)
    }

    fn of(hardware: &Hardware) -> Profile {
        Profile {
            name: hardware.name,
            adapter: AdapterSummary {
                index: 0,
                name: format!("interpreter as {}", hardware.name),
                kind: hardware.kind,
                backend: hardware.backend.into(),
                driver: "interpreter".into(),
                limits: AdapterLimits {
                    max_buffer_bytes: 1 << 31,
                    max_binding_bytes: 1 << 31,
                    workgroup_memory_bytes: hardware.workgroup_memory_kib << 10,
                    max_workgroup_invocations: hardware.max_workgroup_invocations,
                    subgroup_sizes: hardware.subgroup_sizes,
                },
                features: AdapterFeatures {
                    timestamps: false,
                    subgroups: true,
                    f16: hardware.f16,
                },
            },
            subgroups: hardware.subgroups,
        }
    }

    /// Sizes and choices with which programs are recorded for this hardware. Where consecutive
    /// invocations are not neighbours in a subgroup, lanes do not share sums, as on a GPU whose
    /// test fails.
    pub(super) fn tuning(&self) -> Tuning {
        let mut tuning = Tuning::of_adapter(&self.adapter);
        if self.adapter.is_software() {
            tuning.workgroups = SOFTWARE_WORKGROUPS;
        }
        let mut lanes = tuning.shared_lanes;
        while !self.subgroups.keeps_neighbours(lanes) {
            lanes /= 2;
        }
        tuning.with_shared_lanes(lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_sums_where_neighbours_stay_together() {
        for hardware in &HARDWARE {
            let profile = Profile::of(hardware);
            let lanes = profile.tuning().tile.lanes;
            let expected = match profile.name {
                "dx12" | "software" => 1,
                // Workgroups of GCN fill a core.
                GCN => 16,
                _ => 4,
            };
            assert_eq!(lanes, expected, "{}", profile.name);
        }
    }

    #[test]
    fn profiles_are_found_by_their_names() {
        for name in Profile::names() {
            assert_eq!(Profile::named(name).unwrap().name, name);
        }
        assert_eq!(Profile::named("vax"), None);
    }
}
