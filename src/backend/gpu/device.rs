//! An opened GPU.

use super::errors::ReportedErrors;
use super::pipelines::{Pipelines, ShaderEdit};
use super::{adapters, enumerate, flags, submission, summary};
use crate::backend::adapter::AdapterSummary;
use crate::backend::fault::Fault;
use crate::backend::tuning::Tuning;
use crate::error::{Error, Result};

/// An opened GPU, on which programs can be loaded. Clones share the device.
#[derive(Debug, Clone)]
pub struct GpuDevice {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub summary: AdapterSummary,
    /// Sizes and choices with which programs are recorded for this device.
    pub tuning: Tuning,
    /// Loop iterations after which the driver silently ends an invocation's loops, if it does.
    pub(super) loop_limit: Option<usize>,
    pub(super) reported: ReportedErrors,
    /// The kernel that counts completed submissions.
    pub(super) canary: wgpu::ComputePipeline,
    pub(super) pipelines: Pipelines,
    pub(super) fault: Option<Fault>,
    /// Whether kernel calls are marked for graphics debuggers.
    pub(super) marks_calls: bool,
}

impl GpuDevice {
    /// Opens the adapter at `index` of [`adapters`].
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] if there is none, [`Error::Driver`] if the driver refuses.
    pub fn open(index: usize) -> Result<GpuDevice> {
        GpuDevice::open_with(index, None)
    }

    /// The same, with a mistake in one of the kernels that test the device.
    #[doc(hidden)]
    pub fn open_with(index: usize, edit: Option<ShaderEdit>) -> Result<GpuDevice> {
        let adapter = enumerate().get(index);
        let adapter = adapter.ok_or_else(|| Error::UnknownDevice {
            request: index.to_string(),
            adapters: adapters().iter().map(AdapterSummary::label).collect(),
        })?;
        let summary = summary(index, adapter);
        let (device, queue) = pollster::block_on(adapter.request_device(&request(adapter)))
            .map_err(|error| Error::Driver {
                device: summary.name.clone(),
                problem: format!("the device cannot be opened: {error}"),
            })?;
        let mut opened = GpuDevice {
            reported: ReportedErrors::of(&device),
            canary: submission::canary(&device),
            tuning: Tuning::of_adapter(&summary),
            pipelines: Pipelines::new(&device, &adapter.get_info()),
            device,
            queue,
            summary,
            loop_limit: None,
            fault: None,
            marks_calls: flags().contains(wgpu::InstanceFlags::DEBUG),
        };
        // No hardware driver is known to limit loops.
        if opened.summary.is_software() {
            opened.loop_limit = opened.measure_loop_limit()?;
            // Halved, since a compiler may not unroll loops that are counted as unrolled.
            opened.tuning.iterations = opened.loop_limit.map_or(usize::MAX, |limit| limit / 2);
        }
        let lanes = opened.measure_neighbours(opened.tuning.shared_lanes, edit)?;
        opened.tuning = opened.tuning.with_shared_lanes(lanes);
        Ok(opened)
    }

    /// Returns the device with a mistake in one kernel of all programs loaded from now on.
    #[doc(hidden)]
    pub fn with_edit(mut self, edit: ShaderEdit) -> GpuDevice {
        self.pipelines.edit = Some(edit);
        self
    }

    /// Returns the device with an injected fault.
    #[doc(hidden)]
    pub fn with_fault(self, fault: Fault) -> GpuDevice {
        GpuDevice {
            fault: Some(fault),
            ..self
        }
    }

    /// Bytes that the driver has allocated, if wgpu counts them (on Vulkan and DX12).
    pub(crate) fn allocated_bytes(&self) -> Option<u64> {
        let report = self.device.generate_allocator_report()?;
        Some(report.total_allocated_bytes)
    }

    /// Waits until all submitted work is done.
    ///
    /// # Errors
    /// Those of [`GpuDevice::check`]; [`Error::Driver`] if waiting fails.
    pub(crate) fn wait(&self) -> Result<()> {
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        // A reported error is the cause; the failed wait is only its effect.
        self.check()?;
        waited.map_err(|error| self.driver_error(error))?;
        Ok(())
    }

    /// Fails if wgpu has reported an error since the device was opened.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`], [`Error::Driver`] or [`Error::Defect`].
    pub(crate) fn check(&self) -> Result<()> {
        self.reported.check(&self.summary.name)
    }

    /// An [`Error::Driver`] of this device.
    pub(super) fn driver_error(&self, problem: impl ToString) -> Error {
        Error::Driver {
            device: self.summary.name.clone(),
            problem: problem.to_string(),
        }
    }
}

/// The device request: WebGPU's default limits, raised to the adapter's for sizes of buffers and
/// workgroups, and lowered to the minimum for textures, which gatescan does not use.
fn request(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    let (adapter_limits, defaults) = (adapter.limits(), wgpu::Limits::default());
    wgpu::DeviceDescriptor {
        label: Some("gatescan"),
        required_limits: wgpu::Limits {
            max_storage_buffers_per_shader_stage: defaults.max_storage_buffers_per_shader_stage,
            max_compute_invocations_per_workgroup: adapter_limits
                .max_compute_invocations_per_workgroup,
            max_compute_workgroup_size_x: adapter_limits.max_compute_workgroup_size_x,
            max_compute_workgroups_per_dimension: defaults.max_compute_workgroups_per_dimension,
            max_buffer_size: adapter_limits.max_buffer_size,
            max_storage_buffer_binding_size: adapter_limits.max_storage_buffer_binding_size,
            max_compute_workgroup_storage_size: adapter_limits.max_compute_workgroup_storage_size,
            ..wgpu::Limits::downlevel_defaults()
        },
        // For profiles, for pipelines on disk, for scans whose lanes share sums, and for their
        // weights in registers.
        required_features: adapter.features()
            & (wgpu::Features::TIMESTAMP_QUERY
                | wgpu::Features::PIPELINE_CACHE
                | wgpu::Features::SUBGROUP
                | wgpu::Features::SHADER_F16),
        ..Default::default()
    }
}
