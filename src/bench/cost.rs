//! The cost model of a scan: the time that a time step should take on a class of GPUs.
//!
//! docs/src/concepts/cost-model.md derives it and names the sources of its figures.

use crate::backend::gpu_class::GpuClass;
use crate::kernels::{Recurrence, ScanWork, TimeDirection};

/// Clocks of the formulas of a unit: two or three dependent exponentials and divisions of about 25
/// dependent instructions each, at four to five clocks.
const ACTIVATIONS: f64 = 300.0;

/// Returns the microseconds of a time step of a layer's scan on a GPU of `cores` cores.
///
/// The workgroups of a core compute one after another, at the rate of the slowest of arithmetic,
/// workgroup memory and caches; the latencies of a step (barriers, the loads of its gates, its
/// activations) follow on each other.
pub fn time_step_us(
    layer: &Recurrence,
    direction: TimeDirection,
    class: &GpuClass,
    cores: usize,
) -> f64 {
    let work = layer.scan_work(direction);
    let residents = work.workgroups.div_ceil(cores.max(1)) as f64;
    let clocks = residents * busiest(&work, class) + latency(&work, class);
    clocks / class.clock_ghz / 1e3
}

/// Returns the clocks of a workgroup's time step on the part of a core that limits it.
fn busiest(work: &ScanWork, class: &GpuClass) -> f64 {
    let arithmetic = 2.0 * work.multiply_adds / class.flops;
    let workgroup = (work.vector_bytes + work.cached_bytes) / class.workgroup_bytes;
    // Weights that do not fit in the first cache come from the second in every step.
    let rate = if work.loaded_bytes <= class.l1_size {
        class.l1_bytes
    } else {
        class.l2_bytes
    };
    let caches = work.loaded_bytes / rate + work.state_bytes / class.l2_bytes;
    arithmetic.max(workgroup).max(caches)
}

/// Returns the clocks of a time step in which a workgroup waits.
fn latency(work: &ScanWork, class: &GpuClass) -> f64 {
    let barriers = work.barriers as f64 * (class.barrier + class.workgroup_latency);
    barriers + class.l2_latency + ACTIVATIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: GpuClass = GpuClass {
        name: "example",
        clock_ghz: 1.0,
        flops: 100.0,
        workgroup_bytes: 10.0,
        l1_bytes: 20.0,
        l2_bytes: 5.0,
        l1_size: 1000.0,
        l2_latency: 200.0,
        workgroup_latency: 30.0,
        barrier: 20.0,
        scan_invocations: 512,
        invocation_memory: &[],
        fills_core: false,
    };

    #[test]
    fn the_slowest_part_of_a_core_limits_a_step() {
        let work = ScanWork {
            workgroups: 7,
            multiply_adds: 5000.0,
            vector_bytes: 300.0,
            cached_bytes: 200.0,
            loaded_bytes: 400.0,
            state_bytes: 100.0,
            barriers: 2,
        };
        assert_eq!(busiest(&work, &EXAMPLE), 100.0);
        let reads = ScanWork {
            multiply_adds: 0.0,
            ..work
        };
        assert_eq!(busiest(&reads, &EXAMPLE), 50.0);
        let loads = ScanWork {
            vector_bytes: 0.0,
            ..reads
        };
        assert_eq!(busiest(&loads, &EXAMPLE), 40.0);
        let misses = ScanWork {
            loaded_bytes: 2000.0,
            ..loads
        };
        assert_eq!(busiest(&misses, &EXAMPLE), 420.0);
        assert_eq!(latency(&work, &EXAMPLE), 2.0 * 50.0 + 200.0 + ACTIVATIONS);
    }
}
