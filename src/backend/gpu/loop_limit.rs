//! The number of loop iterations that a driver allows per invocation: Mesa's llvmpipe silently
//! leaves an invocation's loops after 65,535 iterations of all its loops together.

use super::GpuDevice;
use crate::error::Result;

/// Iterations that are tested; a driver that completes them is taken to have no limit.
const TESTED: u32 = 1 << 20;

/// Bytes of the shader's buffer: iterations requested, and iterations completed.
const BYTES: u64 = 2 * size_of::<u32>() as u64;

impl GpuDevice {
    /// Measures the number of loop iterations after which the driver ends an invocation's loops;
    /// `None` if it does not.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn measure_loop_limit(&self) -> Result<Option<usize>> {
        let device = &self.device;
        let pipeline = pipeline(device);
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("iterations"),
                size: BYTES,
                usage: usage | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let count = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        let staging = buffer(wgpu::BufferUsages::MAP_READ);
        self.queue
            .write_buffer(&count, 0, bytemuck::cast_slice(&[TESTED, 0]));
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("iterations"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: count.as_entire_binding(),
            }],
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        drop(pass);
        encoder.copy_buffer_to_buffer(&count, 0, &staging, 0, BYTES);
        self.queue.submit([encoder.finish()]);
        staging.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        self.wait()?;
        let view = staging
            .slice(..)
            .get_mapped_range()
            .map_err(|error| self.driver_error(error))?;
        let [_, completed]: [u32; 2] = bytemuck::pod_read_unaligned(&view);
        Ok((completed < TESTED).then_some(completed as usize))
    }
}

fn pipeline(device: &wgpu::Device) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("iterations"),
        source: wgpu::ShaderSource::Wgsl(
            include_str!("../../../shaders/ceilings/iterations.wgsl").into(),
        ),
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("iterations"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    })
}
