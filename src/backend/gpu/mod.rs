//! The GPU back end on wgpu; nothing outside this folder uses wgpu.

pub(crate) mod ceilings;
mod cores;
mod device;
mod errors;
pub mod executor;
pub(super) mod limits;
mod load;
mod loop_limit;
mod neighbours;
mod pipeline_cache;
mod pipelines;
mod probe;
mod readback;
pub mod remembered;
mod submission;
mod timing;

use std::sync::OnceLock;

use super::adapter::{AdapterFeatures, AdapterKind, AdapterLimits, AdapterSummary};
pub use device::GpuDevice;
#[doc(hidden)]
pub use pipelines::ShaderEdit;
pub(in crate::backend) use pipelines::source_of;

/// Instance flags: WGPU_DEBUG=1 shows labels and kernel calls to debuggers, WGPU_VALIDATION=1
/// enables Vulkan's validation layer.
fn flags() -> wgpu::InstanceFlags {
    wgpu::InstanceFlags::empty().with_env()
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        flags: flags(),
        // Vulkan and DX12 then refuse an allocation that does not fit; otherwise the system would
        // swap or kill the process.
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: Some(95),
            for_device_loss: None,
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// Returns all adapters. They are enumerated once per process: indices stay valid, and some drivers
/// are slow to enumerate or print warnings.
fn enumerate() -> &'static [wgpu::Adapter] {
    static ADAPTERS: OnceLock<Vec<wgpu::Adapter>> = OnceLock::new();
    ADAPTERS
        .get_or_init(|| pollster::block_on(instance().enumerate_adapters(wgpu::Backends::all())))
}

/// Describes every GPU adapter; empty if no driver is installed.
pub fn adapters() -> Vec<AdapterSummary> {
    enumerate()
        .iter()
        .enumerate()
        .map(|(index, adapter)| summary(index, adapter))
        .collect()
}

fn summary(index: usize, adapter: &wgpu::Adapter) -> AdapterSummary {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    AdapterSummary {
        index,
        name: info.name,
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::Other => AdapterKind::Other,
        },
        backend: info.backend.to_string(),
        driver: [info.driver, info.driver_info].join(" ").trim().to_string(),
        limits: AdapterLimits {
            max_buffer_bytes: limits.max_buffer_size,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
        },
        features: AdapterFeatures {
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            f16: features.contains(wgpu::Features::SHADER_F16),
        },
    }
}
