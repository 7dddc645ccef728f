//! Whether a driver lets loops run to their end: Mesa's llvmpipe leaves an invocation's loops, without a word, once they have gone
//! round 65,535 times in all.

use super::GpuDevice;
use crate::error::Result;

/// Beyond this nothing is looked for.
const LIMIT: u32 = 1 << 20;

impl GpuDevice {
    /// Iterations of its loops after which an invocation is cut short; none where it never is.
    ///
    /// # Errors
    /// What the device reports.
    pub(super) fn measure_iterations(&self) -> Result<Option<usize>> {
        let device = &self.device;
        let failed = |error: String| self.driver_error(error);
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("iterations"),
            source: wgpu::ShaderSource::Wgsl(
                include_str!("../../../shaders/ceilings/iterations.wgsl").into(),
            ),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("iterations"),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("iterations"),
                size: 8,
                usage: usage | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let count = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        let staging = buffer(wgpu::BufferUsages::MAP_READ);
        self.queue
            .write_buffer(&count, 0, bytemuck::cast_slice(&[LIMIT, 0]));
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
        encoder.copy_buffer_to_buffer(&count, 0, &staging, 0, 8);
        self.queue.submit([encoder.finish()]);
        staging.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        self.wait()?;
        let view = staging
            .slice(..)
            .get_mapped_range()
            .map_err(|error| failed(error.to_string()))?;
        let counted: Vec<u32> = bytemuck::pod_collect_to_vec(&view);
        Ok((counted[1] < LIMIT).then_some(counted[1] as usize))
    }
}
