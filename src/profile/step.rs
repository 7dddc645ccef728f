//! A whole training step.

use serde::{Deserialize, Serialize};

use super::timing::{CallTimes, Clock, PlayedSteps};
use crate::backend::executor::Span;
use crate::numeric::statistics::Estimate;
use crate::train::Trainer;

/// The time of a whole training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepProfile {
    /// Milliseconds of a step in a run, where a submission has many steps.
    pub plain_ms: Estimate,
    /// Microseconds in which a thread of the host encodes and submits such a step; `None` on the
    /// CPU.
    pub host_us: Option<Estimate>,
    /// Milliseconds of a step with a clock around each call, on the host's clock.
    pub profiled_ms: Estimate,
    /// Milliseconds from the beginning of the first call to the end of the last one, where the
    /// device's clock timed all calls.
    pub device_ms: Option<Estimate>,
    /// Milliseconds of all calls together.
    pub kernels_ms: Estimate,
    /// Milliseconds between calls, where the device's clock timed all calls.
    pub idle_ms: Option<Estimate>,
    /// Sequences per second in plain steps.
    pub sequences_per_s: f64,
    /// Time steps of sequences per second in plain steps.
    pub tokens_per_s: f64,
}

impl StepProfile {
    pub(super) fn new(trainer: &Trainer, played: &PlayedSteps, times: &[CallTimes]) -> StepProfile {
        let in_step = |step: usize| times.iter().map(|call| call.in_step(step)).sum::<f64>();
        let kernels: Vec<f64> = (0..played.profiled.len()).map(in_step).collect();
        let (device, idle) = device_seconds(played, times, &kernels);
        let profiled = played.profiled.iter().map(|step| step.timing.seconds());
        let plain_ms = milliseconds(played.plain.clone());
        let model = trainer.recording();
        let tokens = (model.steps * model.batch) as f64;
        StepProfile {
            plain_ms,
            host_us: if_any(played.host.clone()).map(|host| host.scaled(1e6)),
            profiled_ms: milliseconds(profiled.collect()),
            device_ms: if_any(device).map(|device| device.scaled(1e3)),
            kernels_ms: milliseconds(kernels),
            idle_ms: if_any(idle).map(|idle| idle.scaled(1e3)),
            sequences_per_s: trainer.sequences_per_step() / plain_ms.median * 1e3,
            tokens_per_s: tokens / plain_ms.median * 1e3,
        }
    }
}

/// Returns the seconds of each step on the device, and those of them between calls; none unless the
/// device's clock timed all calls. `kernels` has the seconds of all calls in each step.
fn device_seconds(
    played: &PlayedSteps,
    times: &[CallTimes],
    kernels: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    if times.iter().any(|call| call.clock == Clock::Host) {
        return (vec![], vec![]);
    }
    let steps = played.profiled.iter().zip(kernels);
    let seconds = steps.filter_map(|(step, kernels)| {
        let spans = step.timing.calls.iter().copied();
        let spans: Vec<Span> = spans.collect::<Option<_>>()?;
        let ends = spans.iter().map(|span| span.end);
        let whole = ends.fold(0.0, f64::max) - spans.first()?.begin;
        Some((whole, whole - kernels))
    });
    seconds.unzip()
}

fn milliseconds(seconds: Vec<f64>) -> Estimate {
    Estimate::of(seconds).scaled(1e3)
}

fn if_any(samples: Vec<f64>) -> Option<Estimate> {
    (!samples.is_empty()).then(|| Estimate::of(samples))
}
