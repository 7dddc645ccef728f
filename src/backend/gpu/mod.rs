//! The GPU side, and the only place that knows wgpu: adapters and devices here, the executor in [`executor`].

pub(crate) mod ceilings;
mod cores;
pub mod executor;
mod loops;
mod pipeline_cache;
mod submission;
mod timing;

use std::sync::{Arc, Mutex, OnceLock};

use crate::backend::adapter::{AdapterKind, AdapterSummary};
use crate::backend::tuning::Tuning;
use crate::error::{Error, Result};
use pipeline_cache::PipelineCache;
#[doc(hidden)]
pub use submission::Fault;

/// WGPU_DEBUG=1 lets tools see labels and every call's name, WGPU_VALIDATION=1 asks Vulkan's validation layer.
fn flags() -> wgpu::InstanceFlags {
    wgpu::InstanceFlags::empty().with_env()
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        flags: flags(),
        // Vulkan and DX12 refuse what would not fit, rather than have the system page or kill.
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: Some(95),
            for_device_loss: None,
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// Asked for once: an adapter's index stays what it is, and some drivers are slow or loud when asked.
fn enumerate() -> &'static [wgpu::Adapter] {
    static ADAPTERS: OnceLock<Vec<wgpu::Adapter>> = OnceLock::new();
    ADAPTERS
        .get_or_init(|| pollster::block_on(instance().enumerate_adapters(wgpu::Backends::all())))
}

/// What there is to compute on; empty where no driver is installed.
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
        max_buffer_bytes: limits.max_buffer_size,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
        max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        f16: features.contains(wgpu::Features::SHADER_F16),
    }
}

/// An opened adapter, on which programs can be loaded.
#[derive(Debug, Clone)]
pub struct GpuDevice {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: wgpu::Limits,
    pub summary: AdapterSummary,
    /// Iterations of its loops after which an invocation is cut short, if it is.
    pub(crate) iterations: Option<usize>,
    /// What a recording has to know of it.
    pub tuning: Tuning,
    /// What went wrong outside of anyone's hearing: a lost device, an error that no call returned.
    trouble: Arc<Mutex<Option<Trouble>>>,
    /// What ends every submission.
    canary: wgpu::ComputePipeline,
    fault: Option<Fault>,
    pipelines: executor::Pipelines,
    cache: Option<PipelineCache>,
    /// Whether tools are to see every call's name.
    debug: bool,
    edit: Option<ShaderEdit>,
}

/// A mistake that is put into a kernel's WGSL before it is compiled, for tests to see that it is found.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct ShaderEdit {
    pub kernel: &'static str,
    /// Of this text the first occurrence,
    pub from: &'static str,
    /// becomes this one.
    pub to: &'static str,
}

impl GpuDevice {
    /// Opens the adapter with this index among [`adapters`].
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] where there is none, [`Error::Driver`] where its driver refuses.
    pub fn open(index: usize) -> Result<GpuDevice> {
        let adapter = enumerate().get(index);
        let adapter = adapter.ok_or_else(|| Error::UnknownDevice {
            request: index.to_string(),
            adapters: adapters().iter().map(AdapterSummary::label).collect(),
        })?;
        let summary = summary(index, adapter);
        let has = adapter.limits();
        // What WebGPU promises to computing, and more where sizes are concerned; textures are nothing to us.
        let promised = wgpu::Limits::default();
        let limits = wgpu::Limits {
            max_storage_buffers_per_shader_stage: promised.max_storage_buffers_per_shader_stage,
            max_compute_invocations_per_workgroup: has.max_compute_invocations_per_workgroup,
            max_compute_workgroup_size_x: has.max_compute_workgroup_size_x,
            max_compute_workgroups_per_dimension: promised.max_compute_workgroups_per_dimension,
            max_buffer_size: has.max_buffer_size,
            max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
            max_compute_workgroup_storage_size: has.max_compute_workgroup_storage_size,
            ..wgpu::Limits::downlevel_defaults()
        };
        let request = wgpu::DeviceDescriptor {
            label: Some("gatescan"),
            required_limits: limits.clone(),
            // They cost nothing until a profile asks for the time, a pipeline is compiled, and a scan shares its sums.
            required_features: adapter.features()
                & (wgpu::Features::TIMESTAMP_QUERY
                    | wgpu::Features::PIPELINE_CACHE
                    | wgpu::Features::SUBGROUP),
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&request)).map_err(|error| {
                Error::Driver {
                    device: summary.name.clone(),
                    problem: format!("the device cannot be opened: {error}"),
                }
            })?;
        let trouble: Arc<Mutex<Option<Trouble>>> = Arc::default();
        let note = {
            let trouble = Arc::clone(&trouble);
            move |found: Trouble| {
                if let Ok(mut trouble) = trouble.lock() {
                    // The first one is the cause, the rest follow from it; and all from a lost device.
                    if trouble
                        .as_ref()
                        .is_none_or(|before| found.lost && !before.lost)
                    {
                        *trouble = Some(found);
                    }
                }
            }
        };
        let heard = note.clone();
        device.on_uncaptured_error(Arc::new(move |error| heard(Trouble::error(&error))));
        device.set_device_lost_callback(move |reason, message| {
            note(Trouble::lost(reason, &message));
        });
        let canary = submission::canary(&device);
        let tuning = Tuning::of_adapter(&summary);
        let cache = PipelineCache::open(&device, &adapter.get_info());
        let mut opened = GpuDevice {
            device,
            queue,
            limits,
            summary,
            iterations: None,
            trouble,
            canary,
            fault: None,
            pipelines: Default::default(),
            cache,
            debug: flags().contains(wgpu::InstanceFlags::DEBUG),
            tuning,
            edit: None,
        };
        // Of hardware nothing like it is known.
        if opened.summary.is_software() {
            opened.iterations = opened.measure_iterations()?;
            // Half of it, for loops that are counted as unrolled and are not.
            opened.tuning.iterations = opened.iterations.map_or(usize::MAX, |most| most / 2);
        }
        Ok(opened)
    }

    /// The same device, with a mistake in one kernel of every program that is loaded from now on.
    #[doc(hidden)]
    pub fn with_edit(self, edit: ShaderEdit) -> GpuDevice {
        GpuDevice {
            edit: Some(edit),
            ..self
        }
    }

    /// The same device, which this befalls.
    #[doc(hidden)]
    pub fn with_fault(self, fault: Fault) -> GpuDevice {
        GpuDevice {
            fault: Some(fault),
            ..self
        }
    }

    /// Bytes that the driver has been asked for, where wgpu keeps count of it (on Vulkan and DX12).
    pub(crate) fn allocated_bytes(&self) -> Option<u64> {
        let report = self.device.generate_allocator_report()?;
        Some(report.total_allocated_bytes)
    }

    /// Waits until the device has done all that was submitted.
    pub(crate) fn wait(&self) -> Result<()> {
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        // What went wrong says more than that waiting did.
        self.check()?;
        waited.map_err(|error| self.driver_error(error))?;
        Ok(())
    }

    /// Fails if something has gone wrong since the device was opened.
    pub(crate) fn check(&self) -> Result<()> {
        let trouble = self.trouble.lock().map_or(None, |trouble| trouble.clone());
        trouble.map_or(Ok(()), |Trouble { lost, problem }| {
            Err(if lost {
                Error::DeviceLost {
                    device: self.summary.name.clone(),
                    reason: problem,
                }
            } else {
                self.driver_error(problem)
            })
        })
    }

    /// The driver refused a request or failed.
    fn driver_error(&self, problem: impl ToString) -> Error {
        Error::Driver {
            device: self.summary.name.clone(),
            problem: problem.to_string(),
        }
    }
}

/// What has gone wrong outside of anyone's hearing.
#[derive(Debug, Clone)]
struct Trouble {
    /// Whether the device is gone.
    lost: bool,
    problem: String,
}

impl Trouble {
    fn lost(reason: wgpu::DeviceLostReason, message: &str) -> Trouble {
        let cause = match (reason, message.trim()) {
            (wgpu::DeviceLostReason::Destroyed, _) => "it was destroyed".to_string(),
            (_, "") => "the driver gives no reason; it may have crashed, been updated, or run into a time limit".into(),
            // wgpu gives a device up that runs out of memory.
            (_, message) if message.to_lowercase().contains("out of memory") => {
                "it has run out of memory; a smaller batch size or hidden size needs less".into()
            }
            (_, message) => message.to_string(),
        };
        Trouble {
            lost: true,
            problem: cause,
        }
    }

    fn error(error: &wgpu::Error) -> Trouble {
        let problem = match error {
            wgpu::Error::OutOfMemory { .. } => {
                "it has run out of memory; a smaller batch size or hidden size needs less"
                    .to_string()
            }
            wgpu::Error::Validation { description, .. } => {
                format!("wgpu refuses what gatescan asks for, which is a defect: {description}")
            }
            wgpu::Error::Internal { description, .. } => {
                format!("the driver has failed: {description}")
            }
        };
        Trouble {
            lost: false,
            problem,
        }
    }
}
