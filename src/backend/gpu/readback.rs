//! Copying results from the device to the host.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::executor::Gpu;
use crate::error::Result;

/// The outcome of mapping the staging buffer.
type Mapped = Receiver<Result<(), wgpu::BufferAsyncError>>;

impl Gpu {
    /// Waits for all submitted work, and returns `len` elements of `source` from element `offset`
    /// on.
    ///
    /// # Errors
    /// [`Error::WorkLost`](crate::error::Error::WorkLost) if the driver dropped submissions; those
    /// of [`GpuDevice::wait`](super::GpuDevice::wait).
    pub(super) fn read_buffer<E: bytemuck::Pod>(
        &mut self,
        source: &wgpu::Buffer,
        offset: usize,
        len: usize,
    ) -> Result<Vec<E>> {
        if len == 0 {
            return Ok(vec![]);
        }
        let begin = (offset * size_of::<E>()) as u64;
        let bytes = (len * size_of::<E>()) as u64;
        self.submit_copy(source, begin, bytes);
        // The canary's count is copied behind the elements.
        let staged = ..bytes + size_of::<u32>() as u64;
        let (sender, mapped) = mpsc::channel();
        let staging = &self.staging;
        staging.map_async(wgpu::MapMode::Read, staged, move |result| {
            // The receiver is gone only after waiting has failed.
            let _ = sender.send(result);
        });
        self.wait_for_mapping(&mapped)?;
        let view = self
            .staging
            .get_mapped_range(staged)
            .map_err(|error| self.device.driver_error(error))?;
        let (elements, completed) = view.split_at(bytes as usize);
        let elements = bytemuck::pod_collect_to_vec(elements);
        let completed = bytemuck::pod_read_unaligned(completed);
        drop(view);
        self.staging.unmap();
        self.submissions.check(&self.device, completed)?;
        Ok(elements)
    }

    /// Submits a copy of `bytes` bytes of `source` and of the canary's count to the staging buffer,
    /// which grows as needed.
    fn submit_copy(&mut self, source: &wgpu::Buffer, begin: u64, bytes: u64) {
        let count = size_of::<u32>() as u64;
        let device = &self.device.device;
        if self.staging.size() < bytes + count {
            self.staging = staging_buffer(device, bytes + count);
        }
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        self.submissions.encode_canary(&self.device, &mut pass);
        drop(pass);
        encoder.copy_buffer_to_buffer(source, begin, &self.staging, 0, bytes);
        let completed = &self.submissions.completed;
        encoder.copy_buffer_to_buffer(completed, 0, &self.staging, bytes, count);
        self.submissions.submit(&self.device, encoder.finish(), 0.0);
    }

    fn wait_for_mapping(&mut self, mapped: &Mapped) -> Result<()> {
        self.device.wait()?;
        self.submissions.pace.completed(Instant::now());
        let failed = |problem: String| Err(self.device.driver_error(problem));
        // Where several threads wait for one device, another one may yet pass the result on.
        match mapped.recv_timeout(PASSED_ON) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => failed(format!("results cannot be read: {error}")),
            Err(_) => failed("the driver did not return the results".into()),
        }
    }
}

/// The longest time in which a result of finished work is passed on.
const PASSED_ON: Duration = Duration::from_secs(10);

pub(super) fn staging_buffer(device: &wgpu::Device, bytes: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("staging"),
        size: bytes,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}
