//! Playing a training step with and without clocks, and the time of each call.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Options;
use crate::backend::ceilings::Ceilings;
use crate::backend::executor::{Executor, Span, Timing};
use crate::data::Split;
use crate::error::Result;
use crate::kernels::Call;
use crate::numeric::statistics::Estimate;
use crate::program::{Phase, Program};
use crate::train::Trainer;
use crate::train::feed::SUBMISSION_TIME;

/// The clock that measured a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The device's clock: timestamps around the call; on the CPU the executor's clock.
    Device,
    /// The host's clock around a submission of this call alone, minus the time of an empty
    /// submission. Used where the device's timestamps are not usable.
    Host,
}

/// The largest number of calls that the host's clock times alone.
const MOST_HOST_SAMPLES: usize = 3000;

/// A call of a training step.
#[derive(Clone, Copy)]
pub(crate) struct StepCall<'a> {
    pub phase: Phase,
    /// The call's index in its phase.
    pub index: usize,
    pub call: &'a Call,
}

/// Returns the calls of a training step in order.
pub(crate) fn step_calls(program: &Program) -> impl Iterator<Item = StepCall<'_>> {
    Phase::TRAIN.into_iter().flat_map(|phase| {
        let calls = program.calls(phase).iter().enumerate();
        calls.map(move |(index, call)| StepCall { phase, index, call })
    })
}

/// The times of training steps, in seconds on the host's clock.
pub(super) struct PlayedSteps {
    /// The profiled steps, in order.
    pub profiled: Vec<ProfiledStep>,
    /// The time of a plain step: many steps in a submission, without clocks around calls.
    pub plain: Vec<f64>,
    /// The time in which the host encoded and submitted a plain step, where a GPU computed it.
    pub host: Vec<f64>,
}

/// A step with a clock around each call.
pub(super) struct ProfiledStep {
    /// Seconds from the beginning of the first profiled step.
    pub begin: f64,
    pub timing: Timing,
}

impl PlayedSteps {
    /// Plays plain and profiled steps alternately, so that a temporary load on the machine slows
    /// both.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn play(trainer: &mut Trainer, options: Options) -> Result<PlayedSteps> {
        let count = warm_up(trainer)?;
        let mut played = PlayedSteps {
            profiled: vec![],
            plain: vec![],
            host: vec![],
        };
        let start = Instant::now();
        for _ in 0..options.steps {
            let pace = trainer.play(Split::Train, count)?;
            played.plain.push(pace.step);
            played.host.extend(pace.host);
            let (executor, _) = trainer.rewind(Split::Train)?;
            let begin = start.elapsed().as_secs_f64();
            let timing = executor.time(&Phase::TRAIN)?;
            played.profiled.push(ProfiledStep { begin, timing });
        }
        Ok(played)
    }
}

/// Plays a few steps, so that pipelines are compiled and memory is mapped. Returns the number of
/// plain steps that a run would submit at once.
fn warm_up(trainer: &mut Trainer) -> Result<usize> {
    let (executor, most) = trainer.rewind(Split::Train)?;
    executor.run(&Phase::TRAIN, 1)?;
    executor.time(&Phase::TRAIN)?;
    let step = trainer.play(Split::Train, 1)?.step;
    Ok(((SUBMISSION_TIME.as_secs_f64() / step) as usize).clamp(1, most))
}

/// The time of one call.
pub(super) struct CallTimes {
    pub clock: Clock,
    /// Seconds: one sample for each profiled step; by the host's clock possibly fewer.
    pub samples: Vec<f64>,
}

impl CallTimes {
    /// Returns the seconds in a profiled step: at least 1 ns, which a coarse clock may not see.
    pub(super) fn in_step(&self, step: usize) -> f64 {
        self.samples[step % self.samples.len()].max(1e-9)
    }

    /// Reads the device's clock. A step without a usable time gets the median of the others;
    /// returns `None` if more than half of the steps have none.
    fn by_device(played: &PlayedSteps, call: usize) -> Option<CallTimes> {
        let steps = played.profiled.iter();
        let spans: Vec<Option<Span>> = steps.map(|step| step.timing.calls[call]).collect();
        let usable: Vec<f64> = spans.iter().flatten().map(Span::seconds).collect();
        if 2 * usable.len() < spans.len() {
            return None;
        }
        let median = Estimate::of(usable).median;
        let samples = spans.iter();
        Some(CallTimes {
            clock: Clock::Device,
            samples: samples
                .map(|span| span.as_ref().map_or(median, Span::seconds))
                .collect(),
        })
    }

    /// Times `repeats` submissions of the call alone.
    fn by_host(
        executor: &mut dyn Executor,
        (phase, index): (Phase, usize),
        ceilings: &Ceilings,
        repeats: usize,
    ) -> Result<CallTimes> {
        // An empty submission contains a dispatch, whose time belongs to the call.
        let (overhead, dispatch) = ceilings.round_trip_us.map_or((0.0, 0.0), |round_trip| {
            (round_trip.median, ceilings.empty_dispatch_us.median)
        });
        let mut sample = || {
            let whole = executor.time_call(phase, index)? * 1e6;
            Ok(((whole - overhead).max(0.0) + dispatch) / 1e6)
        };
        Ok(CallTimes {
            clock: Clock::Host,
            samples: (0..repeats).map(|_| sample()).collect::<Result<_>>()?,
        })
    }
}

/// Returns the times of each call of the step: by the device's clock where `clock` allows it and
/// its times are usable, else by the host's.
///
/// # Errors
/// Those of the device.
pub(super) fn call_times(
    trainer: &mut Trainer,
    played: &PlayedSteps,
    ceilings: &Ceilings,
    clock: Clock,
) -> Result<Vec<CallTimes>> {
    let calls: Vec<_> = step_calls(&trainer.recording().program)
        .map(|call| (call.phase, call.index))
        .collect();
    let by_device: Vec<Option<CallTimes>> = match clock {
        Clock::Device => (0..calls.len())
            .map(|call| CallTimes::by_device(played, call))
            .collect(),
        Clock::Host => calls.iter().map(|_| None).collect(),
    };
    let left = by_device.iter().filter(|times| times.is_none()).count();
    let most = played.profiled.len().max(3);
    let repeats = (MOST_HOST_SAMPLES / left.max(1)).clamp(3, most);
    let (executor, _) = trainer.rewind(Split::Train)?;
    let both = by_device.into_iter().zip(calls);
    both.map(|(times, call)| {
        times.map_or_else(|| CallTimes::by_host(executor, call, ceilings, repeats), Ok)
    })
    .collect()
}
