//! Classes of GPUs: the figures of one core of each, for the cost model, and the number of cores of
//! known adapters, with which a scan shares a core's workgroup memory.
//!
//! A core is what has its own workgroup memory: a streaming multiprocessor (NVIDIA), a compute unit
//! (AMD), an Xe-core (Intel), a GPU core (Apple). docs/src/concepts/cost-model.md names the source
//! of each figure.

use super::adapter::{AdapterKind, AdapterSummary};

/// The figures of one core of a class of GPUs, in clocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuClass {
    pub name: &'static str,
    /// GHz under load.
    pub clock_ghz: f64,
    /// Floating-point operations in f32; a multiply-add counts two.
    pub flops: f64,
    /// Bytes from workgroup memory.
    pub workgroup_bytes: f64,
    /// Bytes from the first cache.
    pub l1_bytes: f64,
    /// Bytes from the second cache, a core's share of its rate.
    pub l2_bytes: f64,
    /// Bytes of the first cache; weights beyond them come from the second.
    pub l1_size: f64,
    /// Clocks of a load from the second cache.
    pub l2_latency: f64,
    /// Clocks of a load from workgroup memory.
    pub workgroup_latency: f64,
    /// Clocks of a barrier of a full workgroup.
    pub barrier: f64,
    /// Invocations of a scan for which a core has registers, by what the compilers give each
    /// (docs/src/development/compilers.md).
    pub scan_invocations: usize,
    /// Bytes of workgroup memory that a scan takes for each invocation at most: the first of these,
    /// or a later one with which it caches nearly as many weights. Without any, there is no limit.
    pub invocation_memory: &'static [usize],
    /// Whether a scan's largest workgroup takes all invocations for which a core has registers,
    /// since it leaves no workgroup memory for a second one.
    pub fills_core: bool,
}

const GCN: GpuClass = GpuClass {
    name: "AMD GCN",
    clock_ghz: 1.3,
    flops: 128.0,
    workgroup_bytes: 128.0,
    l1_bytes: 64.0,
    l2_bytes: 16.0,
    l1_size: 16e3,
    l2_latency: 230.0,
    workgroup_latency: 64.0,
    barrier: 50.0,
    scan_invocations: 1024,
    // 64 KiB for 13 or 20 subgroups of 64 lanes, so that some of the four SIMDs of a core run four
    // or five.
    invocation_memory: &[78, 52],
    fills_core: true,
};
const RDNA: GpuClass = GpuClass {
    name: "AMD RDNA",
    clock_ghz: 2.3,
    flops: 128.0,
    workgroup_bytes: 128.0,
    l1_bytes: 64.0,
    l2_bytes: 32.0,
    l1_size: 32e3,
    l2_latency: 200.0,
    workgroup_latency: 40.0,
    barrier: 30.0,
    scan_invocations: 1024,
    invocation_memory: &[],
    fills_core: false,
};
const XE: GpuClass = GpuClass {
    name: "Intel Xe",
    clock_ghz: 2.0,
    flops: 256.0,
    workgroup_bytes: 128.0,
    l1_bytes: 128.0,
    l2_bytes: 64.0,
    l1_size: 192e3,
    l2_latency: 260.0,
    workgroup_latency: 60.0,
    barrier: 60.0,
    scan_invocations: 1024,
    invocation_memory: &[],
    fills_core: false,
};
const APPLE: GpuClass = GpuClass {
    name: "Apple",
    clock_ghz: 1.278,
    flops: 256.0,
    workgroup_bytes: 64.0,
    l1_bytes: 64.0,
    l2_bytes: 38.0,
    l1_size: 8e3,
    l2_latency: 97.0,
    workgroup_latency: 55.0,
    barrier: 40.0,
    scan_invocations: usize::MAX,
    invocation_memory: &[],
    fills_core: false,
};
/// Turing has half the arithmetic units of the later generations, and a smaller first cache.
const TURING: GpuClass = GpuClass {
    name: "NVIDIA Turing",
    flops: 128.0,
    l1_bytes: 64.0,
    l1_size: 32e3,
    l2_latency: 236.0,
    workgroup_latency: 23.0,
    ..NVIDIA
};
const NVIDIA: GpuClass = GpuClass {
    name: "NVIDIA",
    clock_ghz: 1.7,
    flops: 256.0,
    workgroup_bytes: 128.0,
    l1_bytes: 128.0,
    l2_bytes: 28.0,
    l1_size: 128e3,
    l2_latency: 265.0,
    workgroup_latency: 29.0,
    barrier: 30.0,
    scan_invocations: 512,
    invocation_memory: &[],
    fills_core: false,
};

/// A part of an adapter's name in lower case, its class, and its number of cores. The first that
/// the name contains is taken, so longer names come before their beginnings.
const KNOWN: &[(&str, GpuClass, usize)] = &[
    ("h100 pcie", NVIDIA, 114),
    ("h100", NVIDIA, 132),
    ("h200", NVIDIA, 132),
    ("a100", NVIDIA, 108),
    ("rtx 4090", NVIDIA, 128),
    ("rtx 4080", NVIDIA, 76),
    ("rtx 4070", NVIDIA, 46),
    ("rtx 4060", NVIDIA, 24),
    ("rtx 3090", NVIDIA, 82),
    ("rtx 3080", NVIDIA, 68),
    ("rtx 3070", NVIDIA, 46),
    ("rtx 3060", NVIDIA, 28),
    ("rtx 2080", TURING, 46),
    ("gtx 1660", TURING, 22),
    ("tesla t4", TURING, 40),
    ("nvidia l4", NVIDIA, 58),
    ("7900 xtx", RDNA, 96),
    ("7900 xt", RDNA, 84),
    ("7800 xt", RDNA, 60),
    ("7700 xt", RDNA, 54),
    ("7600", RDNA, 32),
    ("6900 xt", RDNA, 80),
    ("6800 xt", RDNA, 72),
    ("6800", RDNA, 60),
    ("6700 xt", RDNA, 40),
    ("6600 xt", RDNA, 32),
    ("890m", RDNA, 16),
    ("780m", RDNA, 12),
    ("760m", RDNA, 8),
    ("680m", RDNA, 12),
    ("660m", RDNA, 6),
    ("vega 64", GCN, 64),
    ("vega 56", GCN, 56),
    ("vega 11", GCN, 11),
    ("vega 8", GCN, 8),
    ("radeon vii", GCN, 60),
    ("rx 590", GCN, 36),
    ("rx 580", GCN, 36),
    ("rx 570", GCN, 32),
    ("rx 480", GCN, 36),
    ("rx 470", GCN, 32),
    ("a770", XE, 32),
    ("a750", XE, 28),
    ("a580", XE, 24),
    ("a380", XE, 8),
    ("b580", XE, 20),
    ("iris(r) xe", XE, 6),
    ("m1 ultra", APPLE, 48),
    ("m1 max", APPLE, 24),
    ("m1 pro", APPLE, 14),
    ("m1", APPLE, 7),
    ("m2 ultra", APPLE, 60),
    ("m2 max", APPLE, 30),
    ("m2 pro", APPLE, 16),
    ("m2", APPLE, 8),
    ("m3 max", APPLE, 30),
    ("m3 pro", APPLE, 14),
    ("m3", APPLE, 8),
    ("m4 max", APPLE, 32),
    ("m4 pro", APPLE, 16),
    ("m4", APPLE, 8),
];

/// Parts of names by which a class is known where the model is not.
const VENDORS: &[(&str, GpuClass)] = &[
    ("nvidia", NVIDIA),
    ("geforce", NVIDIA),
    ("radeon", RDNA),
    ("amd", RDNA),
    ("intel", XE),
    ("apple", APPLE),
];

/// Returns the class and the number of cores of a known model. Apple's names are matched only with
/// the vendor's, since they are short.
fn known(name: &str) -> Option<(GpuClass, usize)> {
    let name = name.to_lowercase();
    let is_known = |&&(part, class, _): &&(&str, GpuClass, usize)| {
        name.contains(part) && (class != APPLE || name.contains("apple"))
    };
    let (_, class, cores) = KNOWN.iter().find(is_known)?;
    Some((*class, *cores))
}

/// Returns the number of cores of an adapter: that of its model where it is known, with the fewest
/// cores that the model is sold with; else the least that is common for its kind.
pub fn cores(adapter: &AdapterSummary) -> usize {
    if let Some((_, cores)) = known(&adapter.name) {
        return cores;
    }
    match adapter.kind {
        AdapterKind::Discrete | AdapterKind::Virtual => 32,
        AdapterKind::Integrated | AdapterKind::Other => 8,
        AdapterKind::Software => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// Returns the class of an adapter; `None` for a software adapter or an unknown vendor. An unknown
/// model of AMD is of GCN if its subgroups have 64 lanes and no other number.
pub fn class_of(adapter: &AdapterSummary) -> Option<GpuClass> {
    if adapter.is_software() {
        return None;
    }
    if let Some((class, _)) = known(&adapter.name) {
        return Some(class);
    }
    let name = adapter.name.to_lowercase();
    let &(_, class) = VENDORS.iter().find(|(part, _)| name.contains(part))?;
    let is_gcn = class == RDNA && adapter.limits.subgroup_sizes == (64, 64);
    Some(if is_gcn { GCN } else { class })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(kind: AdapterKind, name: &str) -> AdapterSummary {
        AdapterSummary::example(0, kind, name)
    }

    #[test]
    fn known_models_have_their_cores_and_class() {
        use AdapterKind::{Discrete, Integrated};
        for (kind, name, class, count) in [
            (Discrete, "NVIDIA H100 PCIe", "NVIDIA", 114),
            (Discrete, "NVIDIA H100 80GB HBM3", "NVIDIA", 132),
            (Discrete, "NVIDIA GeForce RTX 2080", "NVIDIA Turing", 46),
            (
                Integrated,
                "AMD Radeon 780M Graphics (RADV PHOENIX)",
                "AMD RDNA",
                12,
            ),
            (
                Discrete,
                "AMD Radeon RX 7900 XTX (RADV NAVI31)",
                "AMD RDNA",
                96,
            ),
            (Discrete, "AMD Radeon RX 7900 XT", "AMD RDNA", 84),
            (Integrated, "Apple M1 Pro", "Apple", 14),
            (Integrated, "Apple M2", "Apple", 8),
            (
                Discrete,
                "Intel(R) Arc(tm) A770 Graphics (DG2)",
                "Intel Xe",
                32,
            ),
            // Unknown models of known vendors.
            (Discrete, "NVIDIA GeForce RTX 9999", "NVIDIA", 32),
            (Integrated, "Intel(R) UHD Graphics 770", "Intel Xe", 8),
        ] {
            let adapter = adapter(kind, name);
            assert_eq!(cores(&adapter), count, "{name}");
            assert_eq!(class_of(&adapter).unwrap().name, class, "{name}");
        }
        let mut old = adapter(Integrated, "AMD Radeon Graphics (RADV RENOIR)");
        assert_eq!(class_of(&old).unwrap().name, "AMD RDNA");
        old.limits.subgroup_sizes = (64, 64);
        assert_eq!(class_of(&old).unwrap().name, "AMD GCN");
        let strange = adapter(Discrete, "Strange m1 card");
        assert_eq!((cores(&strange), class_of(&strange)), (32, None));
        assert_eq!(class_of(&adapter(AdapterKind::Software, "llvmpipe")), None);
    }

    /// A name that contains another is listed before it.
    #[test]
    fn no_model_hides_a_longer_name() {
        for (index, (part, ..)) in KNOWN.iter().enumerate() {
            for (other, ..) in &KNOWN[..index] {
                assert!(!part.contains(other), "{other} hides {part}");
            }
        }
    }
}
