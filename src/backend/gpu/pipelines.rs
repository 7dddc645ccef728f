//! The compute pipelines that a device has compiled.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::errors::caught;
use super::pipeline_cache::PipelineCache;
use crate::kernels::{Access, Call, Kernel, Shader};
use crate::program::{Phase, Program};

/// Bytes from one uniform to the next: WebGPU's alignment of dynamic offsets, and at least the size
/// of every uniform.
pub(super) const UNIFORM_STRIDE: usize = 256;

/// A compiled kernel.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    /// Layout of bind group 0, the storage buffers.
    pub(super) storage: wgpu::BindGroupLayout,
}

/// What a pipeline depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PipelineKey {
    source: String,
    /// The shader's override constants, as text.
    constants: String,
    /// Whether the shader checks at run time that indices are within bounds and loops end.
    checked: bool,
}

/// A mistake that tests put into a kernel's WGSL to see that it is found.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct ShaderEdit {
    pub kernel: &'static str,
    /// Text of the shader, whose first occurrence is replaced.
    pub from: &'static str,
    /// The replacement.
    pub to: &'static str,
}

/// Returns the WGSL of a kernel, with a mistake if tests put one into it.
pub(in crate::backend) fn source_of(shader: &Shader, edit: Option<ShaderEdit>) -> String {
    shader.edited_source(|source| match edit {
        Some(edit) => source.replacen(edit.from, edit.to, 1),
        None => source,
    })
}

/// Pipelines of a device. Compilation is slow and programs share most kernels, so pipelines are
/// kept in memory as long as the device, and on disk if the API allows.
#[derive(Debug, Clone)]
pub(super) struct Pipelines {
    device: wgpu::Device,
    compiled: Arc<Mutex<HashMap<PipelineKey, Arc<Pipeline>>>>,
    disk: Option<PipelineCache>,
    pub(super) edit: Option<ShaderEdit>,
}

impl Pipelines {
    pub(super) fn new(device: &wgpu::Device, adapter: &wgpu::AdapterInfo) -> Pipelines {
        Pipelines {
            device: device.clone(),
            compiled: Arc::default(),
            disk: PipelineCache::open(device, adapter),
            edit: None,
        }
    }

    /// The key of the pipeline of `kernel`; `force_checks` adds run-time checks that are not
    /// needed.
    pub(super) fn key(&self, kernel: &dyn Kernel, force_checks: bool) -> PipelineKey {
        let shader = kernel.shader();
        let edit = self.edit.filter(|edit| edit.kernel == kernel.name());
        PipelineKey {
            source: source_of(&shader, edit),
            constants: format!("{:?}", shader.constants),
            // The proof is of the shader without the edit.
            checked: force_checks || edit.is_some() || !kernel.bounds_are_proved(),
        }
    }

    /// Returns a pipeline for each kernel call of `program`; all threads compile the missing ones.
    ///
    /// # Errors
    /// The first error that wgpu reports.
    pub(super) fn for_program(
        &self,
        program: &Program,
        force_checks: bool,
        uniform: &wgpu::BindGroupLayout,
    ) -> Result<HashMap<PipelineKey, Arc<Pipeline>>, wgpu::Error> {
        let calls = Phase::ALL.iter().flat_map(|&phase| program.calls(phase));
        let needed: HashMap<PipelineKey, &Call> = calls
            .map(|call| (self.key(call.kernel(), force_checks), call))
            .collect();
        let known = self.compiled().clone();
        let missing: Vec<_> = needed
            .iter()
            .filter(|(key, _)| !known.contains_key(*key))
            .collect();
        // wgpu reports an error on the thread that caused it.
        let compile = |(key, call): &(&PipelineKey, &&Call)| {
            let compile = || self.compile(key, call.kernel(), uniform);
            match caught(&self.device, compile) {
                (pipeline, None) => Ok(((*key).clone(), Arc::new(pipeline))),
                (_, Some(error)) => Err(error),
            }
        };
        let new: Vec<_> = missing.par_iter().map(compile).collect::<Result<_, _>>()?;
        if let Some(disk) = self.disk.as_ref().filter(|_| !new.is_empty()) {
            disk.save();
        }
        let mut compiled = self.compiled();
        compiled.extend(new);
        Ok(needed
            .into_keys()
            .map(|key| (key.clone(), Arc::clone(&compiled[&key])))
            .collect())
    }

    /// The map is consistent even if a thread panicked while it held the lock.
    fn compiled(&self) -> MutexGuard<'_, HashMap<PipelineKey, Arc<Pipeline>>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile(
        &self,
        key: &PipelineKey,
        kernel: &dyn Kernel,
        uniform: &wgpu::BindGroupLayout,
    ) -> Pipeline {
        let (device, name) = (&self.device, kernel.name());
        let storage = storage_layout(device, kernel);
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(&storage), Some(uniform)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&layout),
            module: &shader_module(device, name, key),
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &kernel.shader().constants,
                // Every kernel writes workgroup memory before it reads it; tests/poison.rs.
                zero_initialize_workgroup_memory: false,
            },
            cache: self.disk.as_ref().map(|disk| &disk.cache),
        });
        Pipeline { pipeline, storage }
    }
}

fn shader_module(device: &wgpu::Device, name: &str, key: &PipelineKey) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Wgsl(key.source.as_str().into()),
    };
    if key.checked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: the shader is this crate's, unedited. `Kernel::bounds_are_proved` has shown from the
    // sizes of this call and of its tensors, which `Program::push` keeps inside their buffers, that
    // no index is out of bounds; its loops count up to those sizes, and no divisor is 0.
    #[allow(unsafe_code)]
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

/// Layout of a kernel's bind group 0: its arguments as storage buffers.
fn storage_layout(device: &wgpu::Device, kernel: &dyn Kernel) -> wgpu::BindGroupLayout {
    let storage = |access| wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Storage {
            read_only: access == Access::Read,
        },
        has_dynamic_offset: false,
        min_binding_size: None,
    };
    let types: Vec<_> = kernel
        .args()
        .iter()
        .map(|arg| storage(arg.access))
        .collect();
    layout(device, kernel.name(), &types)
}

/// Layout of bind group 1 of every kernel: its uniform, at a dynamic offset.
pub(super) fn uniform_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let uniform = wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Uniform,
        has_dynamic_offset: true,
        min_binding_size: NonZeroU64::new(UNIFORM_STRIDE as u64),
    };
    layout(device, "uniform", &[uniform])
}

fn layout(
    device: &wgpu::Device,
    label: &str,
    types: &[wgpu::BindingType],
) -> wgpu::BindGroupLayout {
    let entries = (0..)
        .zip(types)
        .map(|(binding, &ty)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty,
            count: None,
        });
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(label),
        entries: &entries.collect::<Vec<_>>(),
    })
}
