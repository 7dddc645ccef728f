//! Plays programs with WGSL. Buffers, pipelines and bind groups are made once, when a program is loaded; a step only
//! encodes and submits.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rayon::prelude::*;

use super::GpuDevice;
use super::submission::{Submissions, work};
use super::timing::Timestamps;
use crate::backend::adapter::AdapterKind;
use crate::backend::cpu::{check_host_memory, check_length};
use crate::backend::executor::{Executor, Timing};
use crate::error::{Error, Result};
use crate::kernels::{Access, Call, Kernel, Shader};
use crate::messages::mebibytes;
use crate::program::{Phase, Program};
use crate::tensor::Tensor;

/// A program loaded on a GPU.
#[derive(Debug)]
pub struct Gpu {
    pub(super) device: GpuDevice,
    buffers: Vec<wgpu::Buffer>,
    pub(super) uniforms: wgpu::BindGroup,
    pub(super) phases: [Vec<Dispatch>; Phase::ALL.len()],
    /// Where readbacks arrive; made larger when one needs it.
    staging: wgpu::Buffer,
    pub(super) submissions: Submissions,
    /// Made when the first run is timed.
    pub(super) timestamps: Option<Timestamps>,
}

/// A kernel call, ready to encode.
#[derive(Debug)]
pub(super) struct Dispatch {
    /// Kernel and site, as debuggers and profilers show it.
    pub(super) label: String,
    pipeline: Arc<Pipeline>,
    bindings: wgpu::BindGroup,
    /// Where its uniform begins.
    uniform: u32,
    grid: [u32; 3],
    /// See [`work`].
    pub(super) work: f64,
}

impl Dispatch {
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass, uniforms: &wgpu::BindGroup) {
        self.encode_after(None, pass, uniforms);
    }

    /// In a pass whose last dispatch is `before`: what that has set already stays.
    fn encode_after(
        &self,
        before: Option<&Dispatch>,
        pass: &mut wgpu::ComputePass,
        uniforms: &wgpu::BindGroup,
    ) {
        if before.is_none_or(|before| !Arc::ptr_eq(&before.pipeline, &self.pipeline)) {
            pass.set_pipeline(&self.pipeline.pipeline);
        }
        if before.is_none_or(|before| before.bindings != self.bindings) {
            pass.set_bind_group(0, &self.bindings, &[]);
        }
        pass.set_bind_group(1, uniforms, &[self.uniform]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// From one uniform to the next, in bytes: WebGPU's alignment of dynamic offsets, and room for the largest.
const UNIFORM_STRIDE: usize = 256;

impl Gpu {
    /// Loads `program`, its buffers zeroed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] or [`Error::LimitExceeded`] where the program does not fit, before anything is allocated;
    /// [`Error::Driver`] where the driver refuses.
    pub fn new(device: &GpuDevice, program: &Program) -> Result<Self> {
        check_limits(device, program)?;
        let (gpu, error) = caught(&device.device, || Self::load(device, program));
        let failed = |error: wgpu::Error| match error {
            wgpu::Error::OutOfMemory { .. } => {
                program.out_of_memory(size_of::<f32>(), None, &device.summary.name)
            }
            error => device.driver_error(format!("the program cannot be loaded: {error}")),
        };
        // A lack of memory leaves errors in what is made afterwards.
        let gpu = match (gpu, error) {
            (_, Some(error)) | (Err(error), None) => return Err(failed(error)),
            (Ok(gpu), None) => gpu,
        };
        device.check()?;
        Ok(gpu)
    }

    fn load(device: &GpuDevice, program: &Program) -> Result<Self, wgpu::Error> {
        let wgpu_device = &device.device;
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let buffers: Vec<_> = program
            .buffers()
            .iter()
            .map(|buffer| {
                wgpu_device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some(&buffer.name),
                    size: buffer.bytes(size_of::<f32>()),
                    usage,
                    mapped_at_creation: false,
                })
            })
            .collect();
        let uniform_layout = uniform_layout(wgpu_device);
        let pipelines = device.pipelines_of(program, &uniform_layout)?;
        let mut groups = HashMap::new();
        let mut words: Vec<u8> = vec![];
        let phases = Phase::ALL.map(|phase| {
            let dispatch = |call: &Call| {
                let kernel = call.kernel();
                let label = format!("{} {}", kernel.name(), program.site(call));
                let key = device.key(kernel);
                let pipeline = Arc::clone(&pipelines[&key]);
                let places: Vec<usize> = kernel
                    .args()
                    .iter()
                    .map(|arg| arg.tensor.buffer.index())
                    .collect();
                let entries =
                    places
                        .iter()
                        .enumerate()
                        .map(|(binding, &place)| wgpu::BindGroupEntry {
                            binding: binding as u32,
                            resource: buffers[place].as_entire_binding(),
                        });
                let entries: Vec<_> = entries.collect();
                let bindings = groups.entry((key, places)).or_insert_with(|| {
                    wgpu_device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(&label),
                        layout: &pipeline.storage,
                        entries: &entries,
                    })
                });
                let uniform = words.len() as u32;
                words.extend(uniform_words(kernel).into_iter().flat_map(u32::to_ne_bytes));
                words.resize(words.len().next_multiple_of(UNIFORM_STRIDE), 0);
                Dispatch {
                    label,
                    pipeline,
                    bindings: bindings.clone(),
                    uniform,
                    grid: kernel.grid(),
                    work: work(kernel.cost()),
                }
            };
            program.calls(phase).iter().map(dispatch).collect()
        });
        words.resize(words.len().max(UNIFORM_STRIDE), 0);
        let uniform_buffer = wgpu_device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("uniforms"),
            size: words.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        device.queue.write_buffer(&uniform_buffer, 0, &words);
        let uniforms = wgpu_device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("uniforms"),
            layout: &uniform_layout,
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &uniform_buffer,
                    offset: 0,
                    size: NonZeroU64::new(UNIFORM_STRIDE as u64),
                }),
            }],
        });
        let staging = staging(wgpu_device, 1 << 12);
        Ok(Gpu {
            submissions: Submissions::new(device),
            device: device.clone(),
            buffers,
            uniforms,
            phases,
            staging,
            timestamps: None,
        })
    }

    /// Waits for everything submitted, then reads `tensor`.
    fn read_bytes<E: bytemuck::Pod>(&mut self, tensor: &Tensor) -> Result<Vec<E>> {
        let source = self.buffers[tensor.buffer.index()].clone();
        self.read_buffer(&source, tensor.offset, tensor.len())
    }

    /// Waits for everything submitted, then reads `len` elements of `source` after the first `offset`.
    pub(super) fn read_buffer<E: bytemuck::Pod>(
        &mut self,
        source: &wgpu::Buffer,
        offset: usize,
        len: usize,
    ) -> Result<Vec<E>> {
        let bytes = (len * size_of::<E>()) as u64;
        if bytes == 0 {
            return Ok(vec![]);
        }
        // The canary's count arrives behind them.
        let count = bytes..bytes + size_of::<u32>() as u64;
        if self.staging.size() < count.end {
            self.staging = staging(&self.device.device, count.end);
        }
        let mut encoder = self
            .device
            .device
            .create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        self.submissions.end(&self.device, &mut pass);
        drop(pass);
        encoder.copy_buffer_to_buffer(
            source,
            (offset * size_of::<E>()) as u64,
            &self.staging,
            0,
            bytes,
        );
        let done = &self.submissions.done;
        encoder.copy_buffer_to_buffer(done, 0, &self.staging, count.start, count.end - bytes);
        self.submissions.submit(&self.device, encoder.finish(), 0.0);
        let slice = self.staging.slice(..count.end);
        let (send, receive) = std::sync::mpsc::channel();
        slice.map_async(wgpu::MapMode::Read, move |result| {
            // Nobody listens any more only if waiting failed, which has been reported then.
            let _ = send.send(result);
        });
        let failed = |error: String| self.device.driver_error(error);
        self.device.wait()?;
        self.submissions.pace.done(Instant::now());
        match receive.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(format!("results cannot be read: {error}"))),
            Err(_) => return Err(failed("results never arrived".into())),
        }
        let view = slice
            .get_mapped_range()
            .map_err(|error| failed(error.to_string()))?;
        let (values, count) = view.split_at(bytes as usize);
        let values = bytemuck::pod_collect_to_vec(values);
        let count = bytemuck::pod_read_unaligned(count);
        drop(view);
        self.staging.unmap();
        self.submissions.check(&self.device, count)?;
        Ok(values)
    }

    fn write_bytes(&mut self, tensor: &Tensor, bytes: &[u8]) -> Result<()> {
        let buffer = &self.buffers[tensor.buffer.index()];
        self.device
            .queue
            .write_buffer(buffer, (tensor.offset * size_of::<u32>()) as u64, bytes);
        self.device.check()
    }
}

impl Executor for Gpu {
    fn write(&mut self, tensor: &Tensor, values: &[f32]) -> Result<()> {
        check_length(tensor, values.len())?;
        self.write_bytes(tensor, bytemuck::cast_slice(values))
    }

    fn write_index(&mut self, tensor: &Tensor, values: &[u32]) -> Result<()> {
        check_length(tensor, values.len())?;
        self.write_bytes(tensor, bytemuck::cast_slice(values))
    }

    fn run(&mut self, phases: &[Phase], times: usize) -> Result<()> {
        let label: Vec<&str> = phases.iter().map(|phase| phase.name()).collect();
        let label = label.join(" ");
        let once = phases
            .iter()
            .flat_map(|&phase| &self.phases[phase as usize]);
        let mut dispatches = (0..times).flat_map(|_| once.clone()).peekable();
        while dispatches.peek().is_some() {
            let mut encoder = self
                .device
                .device
                .create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(&label),
                timestamp_writes: None,
            });
            let budget = self.submissions.pace.budget();
            let (mut work, mut before) = (0.0, None);
            while let Some(dispatch) =
                dispatches.next_if(|next| work == 0.0 || work + next.work <= budget)
            {
                if self.device.debug {
                    pass.insert_debug_marker(&dispatch.label);
                }
                dispatch.encode_after(before, &mut pass, &self.uniforms);
                work += dispatch.work;
                before = Some(dispatch);
            }
            self.submissions.end(&self.device, &mut pass);
            drop(pass);
            self.submissions
                .submit(&self.device, encoder.finish(), work);
        }
        self.device.check()
    }

    fn submits(&self) -> bool {
        true
    }

    fn time(&mut self, phases: &[Phase]) -> Result<Timing> {
        self.timed(phases)
    }

    fn time_call(&mut self, phase: Phase, call: usize) -> Result<f64> {
        self.timed_call(phase, call)
    }

    fn read(&mut self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.read_bytes(tensor)
    }

    fn read_index(&mut self, tensor: &Tensor) -> Result<Vec<u32>> {
        self.read_bytes(tensor)
    }
}

/// A call's uniform: an offset for each argument, then its scalars.
fn uniform_words(kernel: &dyn Kernel) -> Vec<u32> {
    let offsets = kernel
        .args()
        .into_iter()
        .map(|arg| arg.tensor.offset as u32);
    offsets
        .chain(
            kernel
                .uniform()
                .into_iter()
                .map(|(_, scalar)| scalar.bits()),
        )
        .collect()
}

fn staging(device: &wgpu::Device, bytes: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("staging"),
        size: bytes,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

fn layout(
    device: &wgpu::Device,
    label: &str,
    types: &[wgpu::BindingType],
) -> wgpu::BindGroupLayout {
    let entries = types
        .iter()
        .enumerate()
        .map(|(binding, &ty)| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty,
            count: None,
        });
    let entries: Vec<_> = entries.collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(label),
        entries: &entries,
    })
}

fn uniform_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let uniform = wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Uniform,
        has_dynamic_offset: true,
        min_binding_size: NonZeroU64::new(UNIFORM_STRIDE as u64),
    };
    layout(device, "uniform", &[uniform])
}

/// A pipeline, and the layout of its storage bindings.
#[derive(Debug)]
pub(super) struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    storage: wgpu::BindGroupLayout,
}

/// Source, constants, and whether the driver checks what the shader does.
type Key = (String, String, bool);

/// Pipelines that a device has compiled. They stay with it, since compiling is slow and programs have most in common.
pub(super) type Pipelines = Arc<Mutex<HashMap<Key, Arc<Pipeline>>>>;

impl GpuDevice {
    fn key(&self, kernel: &dyn Kernel) -> Key {
        let Shader { parts, constants } = kernel.shader();
        let mut source = parts.join("\n");
        let edit = self.edit.filter(|edit| edit.kernel == kernel.name());
        if let Some(edit) = edit {
            source = source.replacen(edit.from, edit.to, 1);
        }
        // An edit proves nothing.
        let checked = self.tuning.checks || edit.is_some() || !kernel.bounds_are_proved();
        (source, format!("{constants:?}"), checked)
    }

    /// A pipeline for each call of `program`; those that are not there yet are compiled by all threads.
    fn pipelines_of(
        &self,
        program: &Program,
        uniform: &wgpu::BindGroupLayout,
    ) -> Result<HashMap<Key, Arc<Pipeline>>, wgpu::Error> {
        let calls = Phase::ALL.iter().flat_map(|&phase| program.calls(phase));
        let wanted: HashMap<Key, &Call> =
            calls.map(|call| (self.key(call.kernel()), call)).collect();
        let there = self.compiled().clone();
        let missing: Vec<_> = wanted
            .iter()
            .filter(|(key, _)| !there.contains_key(*key))
            .collect();
        let compile = |(key, call): &(&Key, &&Call)| {
            // Errors are heard by the thread that made them.
            let (made, error) = caught(&self.device, || self.compile(key, call.kernel(), uniform));
            match error {
                None => Ok(((*key).clone(), Arc::new(made))),
                Some(error) => Err(error),
            }
        };
        let made: Vec<_> = missing.par_iter().map(compile).collect::<Result<_, _>>()?;
        if let Some(cache) = self.cache.as_ref().filter(|_| !made.is_empty()) {
            cache.save();
        }
        let mut compiled = self.compiled();
        compiled.extend(made);
        Ok(wanted
            .into_keys()
            .map(|key| (key.clone(), Arc::clone(&compiled[&key])))
            .collect())
    }

    /// Whoever panicked with it has left nothing half done.
    fn compiled(&self) -> MutexGuard<'_, HashMap<Key, Arc<Pipeline>>> {
        self.pipelines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn compile(
        &self,
        (source, _, checked): &Key,
        kernel: &dyn Kernel,
        uniform: &wgpu::BindGroupLayout,
    ) -> Pipeline {
        let (device, name) = (&self.device, kernel.name());
        let types = kernel
            .args()
            .into_iter()
            .map(|arg| wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage {
                    read_only: arg.access == Access::Read,
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            });
        let storage = layout(device, name, &types.collect::<Vec<_>>());
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        let module = match checked {
            true => device.create_shader_module(descriptor),
            // SAFETY: the shader is this crate's, unedited. `Kernel::bounds_are_proved` has shown from the sizes of this call and
            // of its tensors, which `Program::push` holds inside their buffers, that no index leaves them; its loops count up
            // to those sizes, and it divides by none that is 0.
            #[allow(unsafe_code)]
            false => unsafe {
                let unchecked = wgpu::ShaderRuntimeChecks::unchecked();
                device.create_shader_module_trusted(descriptor, unchecked)
            },
        };
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(&storage), Some(uniform)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &kernel.shader().constants,
                zero_initialize_workgroup_memory: true,
            },
            cache: self.cache.as_ref().map(|kept| &kept.cache),
        });
        Pipeline { pipeline, storage }
    }
}

/// What `make` gives, and the first error that it leaves in this thread.
fn caught<T>(device: &wgpu::Device, make: impl FnOnce() -> T) -> (T, Option<wgpu::Error>) {
    let scopes = [
        wgpu::ErrorFilter::OutOfMemory,
        wgpu::ErrorFilter::Internal,
        wgpu::ErrorFilter::Validation,
    ]
    .map(|filter| device.push_error_scope(filter));
    let made = make();
    // Scopes end innermost first, also where one has caught an error: guards that are merely dropped end outermost first,
    // which wgpu takes for a mistake. A lack of memory, which the outermost has, leaves errors in the others.
    let scopes = scopes.into_iter().rev();
    let errors = scopes.map(|scope| pollster::block_on(scope.pop()));
    (made, errors.fold(None, |inner, outer| outer.or(inner)))
}

/// Refuses what the device says it cannot hold or dispatch.
pub(crate) fn check_limits(device: &GpuDevice, program: &Program) -> Result<()> {
    let (name, limits) = (&device.summary.name, &device.limits);
    let largest = limits
        .max_buffer_size
        .min(limits.max_storage_buffer_binding_size)
        // A shader counts elements with 32 bits.
        .min(u64::from(u32::MAX) * size_of::<f32>() as u64);
    for buffer in program.buffers() {
        let needed = buffer.bytes(size_of::<f32>());
        if needed > largest {
            return Err(Error::LimitExceeded {
                what: format!("the buffer `{}`", buffer.name),
                needed: mebibytes(needed),
                device: name.clone(),
                limit: mebibytes(largest),
                remedy: format!(
                    "reduce the batch size, the hidden size or the data set; all buffers together need {}",
                    program.memory(size_of::<f32>())
                ),
            });
        }
    }
    let most = limits.max_compute_workgroups_per_dimension;
    for call in Phase::ALL.iter().flat_map(|&phase| program.calls(phase)) {
        let grid = call.kernel().grid();
        if grid.iter().any(|&side| side > most) {
            return Err(Error::LimitExceeded {
                what: format!("the kernel {}", call.kernel().name()),
                needed: format!("{grid:?} workgroups"),
                device: name.clone(),
                limit: format!("{most} in each dimension"),
                remedy: "reduce the batch size".into(),
            });
        }
        let iterations = call.kernel().iterations();
        if let Some(most) = device.iterations.filter(|&most| iterations > most) {
            return Err(Error::LimitExceeded {
                what: format!("the kernel {}", call.kernel().name()),
                needed: format!("{iterations} loop iterations in one invocation"),
                device: name.clone(),
                limit: format!("{most} and silently skips the others"),
                remedy: "use shorter sequences, a smaller batch size or hidden size, or the CPU, which has no such limit"
                    .into(),
            });
        }
    }
    if device.summary.is_software() || device.summary.kind == AdapterKind::Integrated {
        // Its memory is this machine's.
        check_host_memory(program, size_of::<f32>())?;
    }
    Ok(())
}
