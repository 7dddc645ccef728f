//! Loading a program: all buffers, pipelines, bind groups and uniforms are created here, so that a
//! training step only encodes and submits.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::GpuDevice;
use super::errors::{caught, creation_error};
use super::executor::{Dispatch, Gpu};
use super::limits::check_limits;
use super::pipelines::{Pipeline, PipelineKey, UNIFORM_STRIDE, uniform_layout};
use super::readback::staging_buffer;
use super::submission::Submissions;
use crate::error::Result;
use crate::kernels::{Call, Kernel, uniform_words};
use crate::program::{Phase, Program};

/// Bytes of the staging buffer at first.
const STAGING: u64 = 1 << 12;

impl Gpu {
    /// Loads `program`, its buffers zeroed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::error::Error::OutOfMemory) or
    /// [`Error::LimitExceeded`](crate::error::Error::LimitExceeded) if the program does not fit, in
    /// most cases before anything is allocated; [`Error::Driver`](crate::error::Error::Driver) if
    /// the driver fails.
    pub fn new(device: &GpuDevice, program: &Program) -> Result<Self> {
        check_limits(device, program)?;
        let (gpu, error) = caught(&device.device, || load(device, program));
        let name = &device.summary.name;
        let failed = |error| match error {
            wgpu::Error::OutOfMemory { .. } => program.out_of_memory(size_of::<f32>(), None, name),
            error => creation_error(error, name),
        };
        // A failed allocation is reported for the outer scope, and is the cause of inner errors.
        let gpu = match (gpu, error) {
            (_, Some(error)) | (Err(error), None) => return Err(failed(error)),
            (Ok(gpu), None) => gpu,
        };
        device.check()?;
        Ok(gpu)
    }
}

fn load(device: &GpuDevice, program: &Program) -> Result<Gpu, wgpu::Error> {
    let buffers = create_buffers(&device.device, program);
    let uniform_layout = uniform_layout(&device.device);
    let force_checks = device.tuning.checks;
    let pipelines = device
        .pipelines
        .for_program(program, force_checks, &uniform_layout)?;
    let mut loader = Loader {
        device,
        program,
        buffers: &buffers,
        pipelines,
        bind_groups: HashMap::new(),
        uniforms: vec![],
    };
    let phases = Phase::ALL.map(|phase| {
        let calls = program.calls(phase).iter();
        calls.map(|call| loader.dispatch(call)).collect()
    });
    Ok(Gpu {
        uniforms: loader.bind_uniforms(&uniform_layout),
        submissions: Submissions::new(device),
        device: device.clone(),
        buffers,
        phases,
        staging: staging_buffer(&device.device, STAGING),
        timestamps: None,
    })
}

fn create_buffers(device: &wgpu::Device, program: &Program) -> Vec<wgpu::Buffer> {
    let usage =
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffers = program.buffers().iter().map(|buffer| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(&buffer.name),
            size: buffer.bytes(size_of::<f32>()),
            usage,
            mapped_at_creation: false,
        })
    });
    buffers.collect()
}

/// Turns the kernel calls of a program into dispatches.
struct Loader<'a> {
    device: &'a GpuDevice,
    program: &'a Program,
    buffers: &'a [wgpu::Buffer],
    pipelines: HashMap<PipelineKey, Arc<Pipeline>>,
    /// Bind groups by pipeline and the indices of the bound buffers.
    bind_groups: HashMap<(PipelineKey, Vec<usize>), wgpu::BindGroup>,
    /// The uniforms of all calls so far, [`UNIFORM_STRIDE`] bytes each.
    uniforms: Vec<u8>,
}

impl Loader<'_> {
    fn dispatch(&mut self, call: &Call) -> Dispatch {
        let kernel = call.kernel();
        let label = format!("{} {}", kernel.name(), self.program.site(call));
        let key = self.device.pipelines.key(kernel, self.device.tuning.checks);
        let pipeline = Arc::clone(&self.pipelines[&key]);
        Dispatch {
            bindings: self.bind(&label, kernel, key, &pipeline),
            label,
            pipeline,
            uniform: self.push_uniform(kernel),
            grid: kernel.grid(),
            work: kernel.cost().work(),
        }
    }

    /// Returns a bind group of the kernel's arguments; calls with the same buffers share it.
    fn bind(
        &mut self,
        label: &str,
        kernel: &dyn Kernel,
        key: PipelineKey,
        pipeline: &Pipeline,
    ) -> wgpu::BindGroup {
        let args = kernel.args();
        let bound: Vec<usize> = args.iter().map(|arg| arg.tensor.buffer.index()).collect();
        let entries = (0..)
            .zip(&bound)
            .map(|(binding, &buffer)| wgpu::BindGroupEntry {
                binding,
                resource: self.buffers[buffer].as_entire_binding(),
            });
        let entries: Vec<_> = entries.collect();
        let group = self.bind_groups.entry((key, bound)).or_insert_with(|| {
            let descriptor = wgpu::BindGroupDescriptor {
                label: Some(label),
                layout: &pipeline.storage,
                entries: &entries,
            };
            self.device.device.create_bind_group(&descriptor)
        });
        group.clone()
    }

    /// Appends the kernel's uniform, and returns its byte offset.
    fn push_uniform(&mut self, kernel: &dyn Kernel) -> u32 {
        let begin = self.uniforms.len();
        for word in uniform_words(kernel) {
            self.uniforms.extend(word.to_ne_bytes());
        }
        let end = self.uniforms.len().next_multiple_of(UNIFORM_STRIDE);
        self.uniforms.resize(end, 0);
        begin as u32
    }

    /// Uploads the uniforms of all calls, and returns their bind group.
    fn bind_uniforms(mut self, layout: &wgpu::BindGroupLayout) -> wgpu::BindGroup {
        let bytes = self.uniforms.len().max(UNIFORM_STRIDE);
        self.uniforms.resize(bytes, 0);
        let device = &self.device.device;
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("uniforms"),
            size: bytes as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.device.queue.write_buffer(&buffer, 0, &self.uniforms);
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("uniforms"),
            layout,
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &buffer,
                    offset: 0,
                    size: NonZeroU64::new(UNIFORM_STRIDE as u64),
                }),
            }],
        })
    }
}
