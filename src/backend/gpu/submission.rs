//! What goes to a device in one piece: how much, by the time that earlier pieces took, and whether the driver has done it.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::GpuDevice;
use crate::error::{Error, Result};
use crate::kernels::Cost;

/// How long a submission should keep the device. Watchdogs (2 s on Windows, some 100 ms on macOS) count by submissions, and a
/// desktop waits for one; it is well below the 50 ms at which that shows, since calls are not alike.
const SUBMISSION: Duration = Duration::from_millis(20);
/// The same of a software driver, which has no watchdog and draws no desktop.
const SOFTWARE_SUBMISSION: Duration = Duration::from_secs(1);

/// What a call of this cost takes, as work: its operations, its bytes at ten operations each, and what any dispatch costs, as
/// devices that are slow enough to matter have them.
pub(super) fn work(cost: Cost) -> f64 {
    cost.flops + 10.0 * cost.bytes + 1e5
}

/// How fast a device does its work: a running estimate, from all that was done between two waits.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// How long a submission should take.
    aim: Duration,
    /// Seconds for a unit of work.
    seconds: f64,
    /// Submitted since the device was last waited for, and when that began.
    pending: Option<(f64, Instant)>,
}

impl Pace {
    /// Of a device of which nothing is known yet: a slow one.
    fn new(aim: Duration) -> Pace {
        Pace {
            aim,
            seconds: 1e-9,
            pending: None,
        }
    }

    /// The work that fits into a submission.
    pub(super) fn budget(&self) -> f64 {
        self.aim.as_secs_f64() / self.seconds
    }

    fn submitted(&mut self, work: f64, now: Instant) {
        let (before, since) = self.pending.unwrap_or((0.0, now));
        self.pending = Some((before + work, since));
    }

    /// All that was submitted is done.
    pub(super) fn done(&mut self, now: Instant) {
        let Some((work, since)) = self.pending.take().filter(|(work, _)| *work > 0.0) else {
            return;
        };
        let measured = now.duration_since(since).as_secs_f64() / work;
        // Geometric, so that a pause of the whole machine is forgotten as fast as a first guess.
        self.seconds = (self.seconds * measured).sqrt().clamp(1e-15, 1e-3);
    }
}

/// An executor's submissions, each of which ends with the canary.
#[derive(Debug)]
pub(super) struct Submissions {
    pub(super) pace: Pace,
    /// `[1]`: those that the device has done, modulo 2^32.
    pub(super) done: wgpu::Buffer,
    bindings: wgpu::BindGroup,
    /// Those that it was given.
    given: u32,
}

impl Submissions {
    pub(super) fn new(device: &GpuDevice) -> Submissions {
        let done = device.device.create_buffer(&wgpu::BufferDescriptor {
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
                resource: done.as_entire_binding(),
            }],
        });
        Submissions {
            pace: Pace::new(match device.summary.is_software() {
                true => SOFTWARE_SUBMISSION,
                false => SUBMISSION,
            }),
            done,
            bindings,
            given: 0,
        }
    }

    /// Encodes the last call of a submission.
    pub(super) fn end(&mut self, device: &GpuDevice, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&device.canary);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        self.given = self.given.wrapping_add(1);
    }

    /// Hands over what [`Submissions::end`] has ended.
    pub(super) fn submit(&mut self, device: &GpuDevice, commands: wgpu::CommandBuffer, work: f64) {
        self.pace.submitted(work, Instant::now());
        match device.fault.as_ref().and_then(Fault::next) {
            Some(FaultKind::Drop) => return,
            Some(FaultKind::Destroy) => device.device.destroy(),
            None => {}
        }
        device.queue.submit([commands]);
    }

    /// Whether the device has done all, by what it has counted.
    ///
    /// # Errors
    /// [`Error::WorkLost`] where not; then nothing that it holds can be relied upon.
    pub(super) fn check(&self, device: &GpuDevice, done: u32) -> Result<()> {
        if done == self.given {
            return Ok(());
        }
        Err(Error::WorkLost {
            device: device.summary.name.clone(),
            submitted: self.given,
            completed: done,
        })
    }
}

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

/// What a driver may do wrong, for tests to see that it is survived.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Fault {
    kind: FaultKind,
    /// The first submission of the device that it befalls, from 0, and of how many.
    first: u64,
    count: u64,
    submitted: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    /// The submission is not done, and nobody says so.
    Drop,
    /// The device is lost.
    Destroy,
}

impl Fault {
    /// What befalls the next submission.
    fn next(&self) -> Option<FaultKind> {
        let number = self.submitted.fetch_add(1, Ordering::Relaxed);
        let befalls = number
            .checked_sub(self.first)
            .is_some_and(|n| n < self.count);
        befalls.then_some(self.kind)
    }
}

impl FromStr for Fault {
    type Err = String;

    /// `drop:FIRST:COUNT` or `destroy:FIRST:COUNT`.
    fn from_str(text: &str) -> Result<Fault, String> {
        let expected = || "expected drop:FIRST:COUNT or destroy:FIRST:COUNT".to_string();
        let parts: Vec<&str> = text.split(':').collect();
        let [kind, first, count] = parts[..] else {
            return Err(expected());
        };
        let number = |text: &str| text.parse().map_err(|_| expected());
        Ok(Fault {
            kind: match kind {
                "drop" => FaultKind::Drop,
                "destroy" => FaultKind::Destroy,
                _ => return Err(expected()),
            },
            first: number(first)?,
            count: number(count)?,
            submitted: Arc::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device of so many seconds for a unit of work, given `work` at a time with `idle` seconds in between, `rounds` times.
    fn after(pace: &mut Pace, seconds: f64, work: f64, rounds: usize) -> f64 {
        let mut now = Instant::now();
        for _ in 0..rounds {
            pace.submitted(work / 2.0, now);
            pace.submitted(
                work / 2.0,
                now + Duration::from_secs_f64(seconds * work / 4.0),
            );
            now += Duration::from_secs_f64(seconds * work);
            pace.done(now);
            // Nobody waits for it now.
            pace.done(now + Duration::from_secs(100));
            now += Duration::from_secs(100);
        }
        pace.budget() * seconds
    }

    #[test]
    fn submissions_follow_the_measure() {
        for seconds in [1e-13, 1e-11, 1e-9, 1e-7] {
            let mut pace = Pace::new(SUBMISSION);
            let lasts = after(&mut pace, seconds, 0.05 / seconds, 8);
            assert!((0.015..0.025).contains(&lasts), "{seconds}: {lasts}");
        }
        // A device that is ten times as slow from now on, as when it has grown hot.
        let mut pace = Pace::new(SUBMISSION);
        after(&mut pace, 1e-12, 1e10, 8);
        let lasts = after(&mut pace, 1e-11, 1e10, 2);
        assert!(lasts < 0.05, "{lasts}");
        // A pause of 100 s of the whole machine.
        after(&mut pace, 1e-8, 1e10, 1);
        let lasts = after(&mut pace, 1e-11, 1e10, 6);
        assert!((0.015..0.025).contains(&lasts), "{lasts}");
    }

    #[test]
    fn a_clock_that_stands_still_does_no_harm() {
        let mut pace = Pace::new(SUBMISSION);
        after(&mut pace, 0.0, 1e10, 100);
        assert!(pace.budget().is_finite());
        pace.submitted(0.0, Instant::now());
        pace.done(Instant::now());
        assert!(pace.budget().is_finite());
    }
}
