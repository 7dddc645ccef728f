//! Small kernels that find out how a device behaves when it is opened.

use super::GpuDevice;
use crate::error::Result;

/// A kernel with one storage buffer, of `u32`.
pub(super) struct Probe<'a> {
    pub(super) name: &'static str,
    pub(super) source: &'a str,
    /// Values of `override` constants.
    pub(super) constants: &'a [(&'a str, f64)],
    pub(super) workgroups: u32,
}

impl GpuDevice {
    /// Runs a probe on a buffer of these `contents`, and returns the buffer's contents afterwards.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn probe(&self, probe: &Probe, contents: &[u32]) -> Result<Vec<u32>> {
        let device = &self.device;
        let pipeline = pipeline(device, probe);
        let bytes = size_of_val(contents) as u64;
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(probe.name),
                size: bytes,
                usage: usage | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let storage = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        let staging = buffer(wgpu::BufferUsages::MAP_READ);
        self.queue
            .write_buffer(&storage, 0, bytemuck::cast_slice(contents));
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(probe.name),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: storage.as_entire_binding(),
            }],
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(probe.workgroups, 1, 1);
        drop(pass);
        encoder.copy_buffer_to_buffer(&storage, 0, &staging, 0, bytes);
        self.queue.submit([encoder.finish()]);
        staging.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        self.wait()?;
        let view = staging
            .slice(..)
            .get_mapped_range()
            .map_err(|error| self.driver_error(error))?;
        let words = view.chunks_exact(size_of::<u32>());
        Ok(words.map(bytemuck::pod_read_unaligned).collect())
    }
}

fn pipeline(device: &wgpu::Device, probe: &Probe) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(probe.name),
        source: wgpu::ShaderSource::Wgsl(probe.source.into()),
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(probe.name),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: probe.constants,
            ..Default::default()
        },
        cache: None,
    })
}
