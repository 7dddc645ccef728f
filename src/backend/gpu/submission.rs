//! Submissions: how much work each contains, and whether the driver has completed it.

use std::time::{Duration, Instant};

use super::GpuDevice;
use crate::backend::fault::{Fault, FaultKind};
use crate::error::{Error, Result};

/// Target duration of a submission on a GPU. Watchdogs (2 s on Windows, some 100 ms on macOS) act
/// on a submission, and a desktop waits for it. Delays are noticed from about 50 ms on; the target
/// is lower, since kernel calls differ in speed from the estimate.
const SUBMISSION: Duration = Duration::from_millis(20);
/// Target duration on a software driver, which has no watchdog and no desktop.
const SOFTWARE_SUBMISSION: Duration = Duration::from_secs(1);

/// Running estimate of a device's speed, updated at each wait.
#[derive(Debug, Clone)]
pub(super) struct SubmissionPace {
    /// Target duration of a submission.
    target: Duration,
    /// Estimated seconds per unit of work.
    seconds_per_work: f64,
    /// Work submitted since the last wait, and the time of the first of these submissions.
    pending: Option<(f64, Instant)>,
}

impl SubmissionPace {
    /// The estimate before any measurement: a slow device.
    fn new(target: Duration) -> SubmissionPace {
        SubmissionPace {
            target,
            seconds_per_work: 1e-9,
            pending: None,
        }
    }

    /// The work of a submission of the target duration.
    pub(super) fn budget(&self) -> f64 {
        self.target.as_secs_f64() / self.seconds_per_work
    }

    fn submitted(&mut self, work: f64, now: Instant) {
        let (before, since) = self.pending.unwrap_or((0.0, now));
        self.pending = Some((before + work, since));
    }

    /// Updates the estimate: all submitted work is complete.
    pub(super) fn completed(&mut self, now: Instant) {
        let Some((work, since)) = self.pending.take().filter(|(work, _)| *work > 0.0) else {
            return;
        };
        let measured = now.duration_since(since).as_secs_f64() / work;
        // The geometric mean corrects an outlier, such as a suspended machine, and the first guess
        // equally fast, whatever their size.
        self.seconds_per_work = (self.seconds_per_work * measured).sqrt().clamp(1e-15, 1e-3);
    }
}

/// The submissions of an executor. Each ends with the canary, a kernel that counts it; a count that
/// is too low reveals that the driver dropped submissions.
#[derive(Debug)]
pub(super) struct Submissions {
    pub(super) pace: SubmissionPace,
    /// `[1]`: number of completed submissions, modulo 2^32.
    pub(super) completed: wgpu::Buffer,
    bindings: wgpu::BindGroup,
    /// Number of submissions, modulo 2^32.
    submitted: u32,
}

impl Submissions {
    pub(super) fn new(device: &GpuDevice) -> Submissions {
        let completed = device.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("canary"),
            size: size_of::<u32>() as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let bindings = device.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("canary"),
            layout: &device.canary.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: completed.as_entire_binding(),
            }],
        });
        let target = if device.summary.is_software() {
            SOFTWARE_SUBMISSION
        } else {
            SUBMISSION
        };
        Submissions {
            pace: SubmissionPace::new(target),
            completed,
            bindings,
            submitted: 0,
        }
    }

    /// Encodes the canary, the last dispatch of a submission.
    pub(super) fn encode_canary(&mut self, device: &GpuDevice, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&device.canary);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        self.submitted = self.submitted.wrapping_add(1);
    }

    /// Submits commands that end with [`Submissions::encode_canary`].
    pub(super) fn submit(&mut self, device: &GpuDevice, commands: wgpu::CommandBuffer, work: f64) {
        self.pace.submitted(work, Instant::now());
        match device.fault.as_ref().and_then(Fault::next) {
            Some(FaultKind::Drop) => return,
            Some(FaultKind::Destroy) => device.device.destroy(),
            None => {}
        }
        device.queue.submit([commands]);
    }

    /// Fails unless the canary has counted every submission.
    ///
    /// # Errors
    /// [`Error::WorkLost`]; the contents of the device's buffers are then undefined.
    pub(super) fn check(&self, device: &GpuDevice, completed: u32) -> Result<()> {
        if completed == self.submitted {
            return Ok(());
        }
        Err(Error::WorkLost {
            device: device.summary.name.clone(),
            submitted: self.submitted,
            completed,
        })
    }
}

/// Compiles the canary.
pub(super) fn canary(device: &wgpu::Device) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("canary"),
        source: wgpu::ShaderSource::Wgsl(
            include_str!("../../../shaders/device/canary.wgsl").into(),
        ),
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("canary"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of a submission that `pace` plans for a device of `seconds` per unit of work, after
    /// `rounds` waits for `work` with 100 idle seconds after each.
    fn after(pace: &mut SubmissionPace, seconds: f64, work: f64, rounds: usize) -> f64 {
        let mut now = Instant::now();
        for _ in 0..rounds {
            pace.submitted(work / 2.0, now);
            pace.submitted(
                work / 2.0,
                now + Duration::from_secs_f64(seconds * work / 4.0),
            );
            now += Duration::from_secs_f64(seconds * work);
            pace.completed(now);
            // A wait without pending work.
            pace.completed(now + Duration::from_secs(100));
            now += Duration::from_secs(100);
        }
        pace.budget() * seconds
    }

    #[test]
    fn submissions_approach_the_target_duration() {
        for seconds in [1e-13, 1e-11, 1e-9, 1e-7] {
            let mut pace = SubmissionPace::new(SUBMISSION);
            let lasts = after(&mut pace, seconds, 0.05 / seconds, 8);
            assert!((0.015..0.025).contains(&lasts), "{seconds}: {lasts}");
        }
        // The device becomes ten times slower, as when it overheats.
        let mut pace = SubmissionPace::new(SUBMISSION);
        after(&mut pace, 1e-12, 1e10, 8);
        let lasts = after(&mut pace, 1e-11, 1e10, 2);
        assert!(lasts < 0.05, "{lasts}");
        // The whole machine was suspended for 100 s.
        after(&mut pace, 1e-8, 1e10, 1);
        let lasts = after(&mut pace, 1e-11, 1e10, 6);
        assert!((0.015..0.025).contains(&lasts), "{lasts}");
    }

    #[test]
    fn a_measured_time_of_zero_keeps_the_budget_finite() {
        let mut pace = SubmissionPace::new(SUBMISSION);
        after(&mut pace, 0.0, 1e10, 100);
        assert!(pace.budget().is_finite());
        pace.submitted(0.0, Instant::now());
        pace.completed(Instant::now());
        assert!(pace.budget().is_finite());
    }
}
