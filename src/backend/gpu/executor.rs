//! The GPU executor: runs programs with WGSL kernels.

use std::iter::Peekable;
use std::sync::Arc;

use super::GpuDevice;
use super::pipelines::Pipeline;
use super::submission::Submissions;
use super::timing::Timestamps;
use crate::backend::executor::{Executor, Timing, check_length};
use crate::error::Result;
use crate::program::Phase;
use crate::tensor::Tensor;

/// The most phases that the name of a pass lists.
const MOST_NAMED: usize = 6;

/// A program loaded on a GPU.
#[derive(Debug)]
pub struct Gpu {
    pub(super) device: GpuDevice,
    /// The program's buffers, in its order.
    pub(super) buffers: Vec<wgpu::Buffer>,
    pub(super) uniforms: wgpu::BindGroup,
    pub(super) phases: [Vec<Dispatch>; Phase::ALL.len()],
    /// The target of readbacks; grows as needed.
    pub(super) staging: wgpu::Buffer,
    pub(super) submissions: Submissions,
    /// Query sets, created for the first timed run.
    pub(super) timestamps: Option<Timestamps>,
}

/// A kernel call, ready to be encoded.
#[derive(Debug)]
pub(super) struct Dispatch {
    /// Kernel and site, for debuggers and profilers.
    pub(super) label: String,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) bindings: wgpu::BindGroup,
    /// Byte offset of its uniform.
    pub(super) uniform: u32,
    pub(super) grid: [u32; 3],
    /// Estimated work; see [`Cost::work`](crate::kernels::Cost::work).
    pub(super) work: f64,
}

impl Dispatch {
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass, uniforms: &wgpu::BindGroup) {
        self.encode_after(None, pass, uniforms);
    }

    /// Encodes into a pass whose last dispatch is `previous`; state that both share is not set
    /// again.
    fn encode_after(
        &self,
        previous: Option<&Dispatch>,
        pass: &mut wgpu::ComputePass,
        uniforms: &wgpu::BindGroup,
    ) {
        if previous.is_none_or(|previous| !Arc::ptr_eq(&previous.pipeline, &self.pipeline)) {
            pass.set_pipeline(&self.pipeline.pipeline);
        }
        if previous.is_none_or(|previous| previous.bindings != self.bindings) {
            pass.set_bind_group(0, &self.bindings, &[]);
        }
        pass.set_bind_group(1, uniforms, &[self.uniform]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

impl Gpu {
    fn write_bytes(&mut self, tensor: &Tensor, bytes: &[u8]) -> Result<()> {
        let buffer = &self.buffers[tensor.buffer.index()];
        self.device
            .queue
            .write_buffer(buffer, (tensor.offset * size_of::<u32>()) as u64, bytes);
        self.device.check()
    }

    fn read_tensor<E: bytemuck::Pod>(&mut self, tensor: &Tensor) -> Result<Vec<E>> {
        let source = self.buffers[tensor.buffer.index()].clone();
        self.read_buffer(&source, tensor.offset, tensor.len())
    }
}

/// Encodes dispatches until their work exceeds `budget`, at least one; returns their work.
fn encode_within_budget<'a>(
    dispatches: &mut Peekable<impl Iterator<Item = &'a Dispatch>>,
    budget: f64,
    pass: &mut wgpu::ComputePass,
    uniforms: &wgpu::BindGroup,
    mark: bool,
) -> f64 {
    let (mut work, mut previous) = (0.0, None);
    while let Some(dispatch) = dispatches.next_if(|next| work == 0.0 || work + next.work <= budget)
    {
        if mark {
            pass.insert_debug_marker(&dispatch.label);
        }
        dispatch.encode_after(previous, pass, uniforms);
        work += dispatch.work;
        previous = Some(dispatch);
    }
    work
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
        let names = phases.iter().take(MOST_NAMED).map(|phase| phase.name());
        let label: Vec<&str> = names.collect();
        let label = label.join(" ");
        let once = phases
            .iter()
            .flat_map(|&phase| &self.phases[phase as usize]);
        let mut dispatches = (0..times).flat_map(|_| once.clone()).peekable();
        let device = &self.device;
        while dispatches.peek().is_some() {
            let mut encoder = device.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(&label),
                timestamp_writes: None,
            });
            let work = encode_within_budget(
                &mut dispatches,
                self.submissions.pace.budget(),
                &mut pass,
                &self.uniforms,
                device.marks_calls,
            );
            self.submissions.encode_canary(device, &mut pass);
            drop(pass);
            self.submissions.submit(device, encoder.finish(), work);
        }
        device.check()
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
        self.read_tensor(tensor)
    }

    fn read_index(&mut self, tensor: &Tensor) -> Result<Vec<u32>> {
        self.read_tensor(tensor)
    }
}
