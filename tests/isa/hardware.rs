//! The kinds of hardware, as wgpu describes an adapter of each.

use gatescan::low_level::backend::adapter::{
    AdapterFeatures, AdapterKind, AdapterLimits, AdapterSummary,
};
use gatescan::low_level::backend::tuning::Tuning;

/// A kind of hardware: what its driver reports, on which the tuning depends.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    pub name: &'static str,
    /// The adapter's name, from which the class of the GPU follows.
    adapter: &'static str,
    kind: AdapterKind,
    backend: &'static str,
    /// KiB.
    workgroup_memory: u32,
    /// Lanes of the smallest and of the largest subgroup; (0, 0) without subgroups.
    subgroups: (u32, u32),
    /// Recurrent weights of an invocation with which scans are compiled that keep them in
    /// registers: numbers for which no compiler of this hardware spills.
    pub registers: &'static [usize],
    /// The same for weights as f16: all recurrent weights of 128 units.
    pub halves: &'static [usize],
    /// Numbers of cores with which scans are compiled beside those of the adapter.
    pub cores: &'static [usize],
}

/// A small GPU, whose scans have several workgroups for each core.
const FEW_CORES: &[usize] = &[10];

const fn profile(
    name: &'static str,
    kind: AdapterKind,
    backend: &'static str,
    workgroup_memory: u32,
    subgroups: (u32, u32),
) -> Profile {
    Profile {
        name,
        adapter: name,
        kind,
        backend,
        workgroup_memory,
        subgroups,
        registers: &[64],
        halves: &[],
        cores: FEW_CORES,
    }
}

/// The registers of RDNA hold all recurrent weights of 128 units.
const RDNA: Profile = Profile {
    registers: &[64, 128],
    halves: &[128],
    ..profile("rdna", AdapterKind::Discrete, "vulkan", 64, (32, 64))
};

/// The waves of GCN must not depend on the number of cores.
const GCN: Profile = Profile {
    adapter: "AMD Radeon of GCN",
    cores: &[1, 4, 10, 36, 64],
    ..profile("gcn", AdapterKind::Discrete, "vulkan", 64, (64, 64))
};

/// Every kind of hardware.
pub const PROFILES: [Profile; 9] = [
    GCN,
    RDNA,
    profile("nvidia", AdapterKind::Discrete, "vulkan", 48, (32, 32)),
    profile("arc", AdapterKind::Discrete, "vulkan", 64, (8, 32)),
    profile("iris", AdapterKind::Integrated, "vulkan", 64, (8, 32)),
    profile("apple", AdapterKind::Integrated, "metal", 32, (4, 64)),
    profile("dx12", AdapterKind::Discrete, "dx12", 32, (32, 64)),
    profile("software", AdapterKind::Software, "vulkan", 32, (8, 8)),
    profile("webgpu", AdapterKind::Other, "vulkan", 16, (0, 0)),
];

/// Threads of the CPU behind the software driver, of which its tuning takes the number.
const THREADS: usize = 8;

impl Profile {
    /// Returns the tuning for an adapter of this kind.
    pub fn tuning(&self) -> Tuning {
        let tuning = Tuning::of_adapter(&AdapterSummary {
            index: 0,
            name: self.adapter.to_string(),
            kind: self.kind,
            backend: self.backend.to_string(),
            driver: String::new(),
            limits: AdapterLimits {
                max_buffer_bytes: 1 << 32,
                max_binding_bytes: 1 << 32,
                workgroup_memory_bytes: self.workgroup_memory << 10,
                max_workgroup_invocations: 1024,
                subgroup_sizes: self.subgroups,
            },
            features: AdapterFeatures {
                timestamps: true,
                subgroups: self.subgroups.0 > 0,
                f16: true,
            },
        });
        match self.kind {
            AdapterKind::Software => Tuning {
                workgroups: THREADS,
                cores: THREADS,
                ..tuning
            },
            _ => tuning,
        }
    }
}
