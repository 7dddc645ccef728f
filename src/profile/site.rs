//! The call sites of a training step, with their times and their place under the roofline.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Options;
use super::timing::{CallTimes, Clock, PlayedSteps, call_times, step_calls};
use crate::backend::ceilings::Ceilings;
use crate::error::Result;
use crate::kernels::{Call, Cost};
use crate::numeric::statistics::{Estimate, quantile};
use crate::program::{Phase, Program};
use crate::train::Trainer;

/// A call site: all calls of one kernel that write the same tensors with the same grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    pub phase: Phase,
    pub kernel: String,
    /// The name of the written tensors; see [`Program::site`].
    pub site: String,
    /// The workgroups of a call on a GPU.
    pub grid: [u32; 3],
    /// The number of calls in a step.
    pub calls: usize,
    #[serde(flatten)]
    pub time: SiteTime,
    #[serde(flatten)]
    pub work: SiteWork,
}

/// The time of a call site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteTime {
    pub clock: Clock,
    /// Microseconds of all calls in a step.
    pub step_us: Estimate,
    /// The fraction of the time of all kernels, from 0 to 1.
    pub share: f64,
    /// Microseconds of one call.
    pub call_us: Estimate,
    /// The 95th percentile of the microseconds of one call.
    pub p95_us: f64,
    /// Microseconds for each time step, for recurrent kernels.
    pub time_step_us: Option<f64>,
}

/// The work of a call site, compared with the device's ceilings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteWork {
    /// Floating-point operations of all calls in a step, by
    /// [`Kernel::cost`](crate::kernels::Kernel).
    pub flops: f64,
    /// Bytes that these calls must read from and write to memory.
    pub bytes: f64,
    /// The time that the roofline allows, as a fraction of the measured time. Above 1 where the
    /// data are in a cache.
    pub roofline: f64,
    pub bound: Bound,
}

/// What limits the speed of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Bound {
    /// Memory bandwidth.
    Memory,
    /// Arithmetic.
    Compute,
    /// The cost of a dispatch: the roofline allows less time than an empty dispatch takes.
    Launch,
}

impl Bound {
    /// Returns one word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Memory => "memory",
            Bound::Compute => "compute",
            Bound::Launch => "launch",
        }
    }
}

impl Site {
    /// Returns 10⁹ floating-point operations per second.
    pub fn gflops(&self) -> f64 {
        self.work.flops / self.time.step_us.median / 1e3
    }

    /// Returns 10⁹ bytes per second.
    pub fn gbytes_per_s(&self) -> f64 {
        self.work.bytes / self.time.step_us.median / 1e3
    }

    /// Returns floating-point operations per byte.
    pub fn intensity(&self) -> f64 {
        self.work.flops / self.work.bytes.max(1.0)
    }

    /// Returns kernel and site.
    pub fn label(&self) -> String {
        format!("{} {}", self.kernel, self.site)
    }
}

/// Measures the call sites of the step that `trainer` has recorded.
///
/// # Errors
/// Those of the device.
pub(crate) fn measure_sites(
    trainer: &mut Trainer,
    ceilings: &Ceilings,
    options: Options,
) -> Result<Vec<Site>> {
    let played = PlayedSteps::play(trainer, options)?;
    let times = call_times(trainer, &played, ceilings, options.clock)?;
    let model = trainer.recording();
    let sites = Sites {
        program: &model.program,
        profiled_steps: options.steps,
        time_steps: model.steps,
        ceilings,
    };
    Ok(sites.measured(&times))
}

/// The step whose call sites are measured.
pub(super) struct Sites<'a> {
    pub program: &'a Program,
    pub profiled_steps: usize,
    /// T.
    pub time_steps: usize,
    pub ceilings: &'a Ceilings,
}

/// The calls of one site, with their times.
struct SiteCalls<'a> {
    phase: Phase,
    calls: Vec<&'a Call>,
    times: Vec<&'a CallTimes>,
}

impl Sites<'_> {
    /// Returns the sites in the order of their first calls; `times` has an entry for each call.
    pub(super) fn measured(&self, times: &[CallTimes]) -> Vec<Site> {
        let groups = self.groups(times);
        let seconds: Vec<Estimate> = groups
            .iter()
            .map(|group| group.step_seconds(self.profiled_steps))
            .collect();
        let all: f64 = seconds.iter().map(|step| step.median).sum();
        let groups = groups.iter().zip(seconds);
        groups
            .map(|(group, step)| self.site(group, step, all))
            .collect()
    }

    fn groups<'a>(&'a self, times: &'a [CallTimes]) -> Vec<SiteCalls<'a>> {
        let mut groups: Vec<SiteCalls> = vec![];
        let mut group_of = HashMap::new();
        for (step_call, times) in step_calls(self.program).zip(times) {
            let (phase, call) = (step_call.phase, step_call.call);
            let (kernel, site) = (call.kernel(), self.program.site(call));
            let key = (phase as usize, kernel.name(), site, kernel.grid());
            let group = *group_of.entry(key).or_insert_with(|| {
                groups.push(SiteCalls {
                    phase,
                    calls: vec![],
                    times: vec![],
                });
                groups.len() - 1
            });
            groups[group].calls.push(call);
            groups[group].times.push(times);
        }
        groups
    }

    /// Returns the site of a group that takes `step` seconds of the `all` seconds of a step.
    fn site(&self, group: &SiteCalls, step: Estimate, all: f64) -> Site {
        let call = group.calls[0];
        let kernel = call.kernel();
        let samples = group.call_microseconds();
        let time_step_us = step.median * 1e6 / self.time_steps as f64;
        Site {
            phase: group.phase,
            kernel: kernel.name().into(),
            site: self.program.site(call).into(),
            grid: kernel.grid(),
            calls: group.calls.len(),
            time: SiteTime {
                clock: group.clock(),
                step_us: step.scaled(1e6),
                share: step.median / all.max(f64::MIN_POSITIVE),
                p95_us: quantile(&samples, 0.95),
                call_us: Estimate::of(samples),
                time_step_us: is_recurrent(call).then_some(time_step_us),
            },
            work: self.work(group, step.median),
        }
    }

    fn work(&self, group: &SiteCalls, seconds: f64) -> SiteWork {
        let cost = group.cost();
        let (allowed, by_compute) = self.ceilings.allows(cost);
        let dispatch = self.ceilings.empty_dispatch_us.best / 1e6;
        let bound = if group.calls.len() as f64 * dispatch > allowed {
            Bound::Launch
        } else if by_compute {
            Bound::Compute
        } else {
            Bound::Memory
        };
        SiteWork {
            flops: cost.flops,
            bytes: cost.bytes,
            roofline: allowed / seconds.max(f64::MIN_POSITIVE),
            bound,
        }
    }
}

impl SiteCalls<'_> {
    /// Returns the seconds of all calls together in one step.
    fn step_seconds(&self, steps: usize) -> Estimate {
        let in_step = |step| self.times.iter().map(|times| times.in_step(step)).sum();
        Estimate::of((0..steps).map(in_step).collect())
    }

    /// Returns the sorted samples of single calls.
    fn call_microseconds(&self) -> Vec<f64> {
        let samples = self.times.iter().flat_map(|times| &times.samples);
        let mut samples: Vec<f64> = samples.map(|seconds| seconds * 1e6).collect();
        samples.sort_by(f64::total_cmp);
        samples
    }

    /// Returns the host's clock if it timed any of the calls.
    fn clock(&self) -> Clock {
        if self.times.iter().any(|times| times.clock == Clock::Host) {
            Clock::Host
        } else {
            Clock::Device
        }
    }

    fn cost(&self) -> Cost {
        let costs = self.calls.iter().map(|call| call.kernel().cost());
        costs.fold(Cost::default(), |sum, cost| Cost {
            flops: sum.flops + cost.flops,
            bytes: sum.bytes + cost.bytes,
        })
    }
}

/// Whether a call iterates over time steps.
fn is_recurrent(call: &Call) -> bool {
    matches!(
        call,
        Call::ScanForward(_)
            | Call::ScanBackward(_)
            | Call::ScanNormForward(_)
            | Call::ScanNormBackward(_)
            | Call::StepForward(_)
            | Call::StepBackward(_)
    )
}
