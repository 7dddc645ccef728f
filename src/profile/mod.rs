//! Where the time of a training step goes: each kernel call by the device's clock, beside what the device could do at most.
//!
//! [`Profile::measure`] plays the step that [`Trainer`] records. The rest shows it: as a [trace](Profile::trace), as a
//! [page](Profile::page), and beside [another](Profile::compare).

mod compare;
mod page;
mod trace;

pub use compare::{Change, Comparison};

use std::collections::HashMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::backend::OpenDevice;
use crate::backend::adapter::AdapterSummary;
use crate::backend::ceilings::Ceilings;
use crate::backend::executor::{Span, Timing};
use crate::backend::host;
use crate::data::{Split, Splits};
use crate::error::{Error, Result};
use crate::kernels::{Call, Cost, Scalar};
use crate::numeric::statistics::{Estimate, quantile};
use crate::program::{Phase, Program};
use crate::recipe::Recipe;
use crate::tensor::{Kind, Shape};
use crate::train::Trainer;
use crate::train::feed::SUBMISSION_TIME;

/// The device that a profile was made on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    Cpu { name: String, threads: usize },
    Gpu(AdapterSummary),
}

impl Machine {
    /// What a place is.
    pub fn of(device: &OpenDevice) -> Machine {
        match device.adapter() {
            Some(adapter) => Machine::Gpu(adapter.clone()),
            None => Machine::Cpu {
                name: host::cpu_name(),
                threads: rayon::current_num_threads(),
            },
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Machine::Cpu { name, .. } => name,
            Machine::Gpu(adapter) => &adapter.name,
        }
    }

    /// What it is called, with the number of threads or the API.
    pub fn label(&self) -> String {
        match self {
            Machine::Cpu { name, threads } => format!("{name}, {threads} threads"),
            Machine::Gpu(adapter) => format!("{} on {}", adapter.name, adapter.backend),
        }
    }
}

/// Whose clock a time is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The device's own: timestamps around the call, on the CPU the executor's clock.
    Device,
    /// The host's, around submissions of the call alone, less what an empty one costs: where timestamps are of no use.
    Host,
}

/// What keeps a call from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    Memory,
    Compute,
    /// There is so little to do that the roofline allows less time than an empty dispatch takes.
    Launch,
}

impl Bound {
    /// One word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Memory => "memory",
            Bound::Compute => "compute",
            Bound::Launch => "launch",
        }
    }
}

/// A call site: the calls of one kernel for one thing, with one grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    pub phase: Phase,
    pub kernel: String,
    /// What it writes; see [`Program::site`].
    pub site: String,
    /// Workgroups of a call on a GPU.
    pub grid: [u32; 3],
    /// In a step.
    pub calls: usize,
    pub clock: Clock,
    /// Microseconds of all its calls in a step.
    pub step_us: Estimate,
    /// Of the time of all kernels, from 0 to 1.
    pub share: f64,
    /// Microseconds of a call.
    pub call_us: Estimate,
    /// Microseconds that one of twenty calls exceeds.
    pub p95_us: f64,
    /// Microseconds for each time step, of what goes through time.
    pub time_step_us: Option<f64>,
    /// Floating-point operations of all its calls in a step, by the calls' own cost.
    pub flops: f64,
    /// Bytes that must cross the memory bus for that.
    pub bytes: f64,
    /// The time that the roofline allows, as a part of the time it takes. Above 1 where the data are in a cache.
    pub roofline: f64,
    pub bound: Bound,
}

impl Site {
    /// 10^9 floating-point operations a second.
    pub fn gflops(&self) -> f64 {
        self.flops / self.step_us.median / 1e3
    }

    /// 10^9 bytes a second.
    pub fn gbytes_per_s(&self) -> f64 {
        self.bytes / self.step_us.median / 1e3
    }

    /// Floating-point operations for each byte.
    pub fn intensity(&self) -> f64 {
        self.flops / self.bytes.max(1.0)
    }

    /// Kernel and site.
    pub fn label(&self) -> String {
        format!("{} {}", self.kernel, self.site)
    }
}

/// A whole step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// A step as a run makes it, many to a submission.
    pub plain_ms: Estimate,
    /// Microseconds that a thread of the host works for such a step, to encode and submit it; `None` on the CPU, which computes it
    /// itself.
    pub host_us: Option<Estimate>,
    /// A step with a clock around every call, on the host.
    pub profiled_ms: Estimate,
    /// From the beginning of its first call to the end of its last one, where the device's clock covers them all.
    pub device_ms: Option<Estimate>,
    /// All calls together.
    pub kernels_ms: Estimate,
    /// Between calls, on the device.
    pub idle_ms: Option<Estimate>,
    /// In a plain step.
    pub sequences_per_s: f64,
    /// Time steps of sequences, in a plain step.
    pub tokens_per_s: f64,
}

/// Bytes held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The program's buffers by what they are for; the plan.
    pub by_kind: Vec<(Kind, u64)>,
    pub planned: u64,
    /// What loading and running took by the driver's count, on the CPU by the system's count of this process; `None` where
    /// nobody counts.
    pub measured: Option<u64>,
}

/// Something on a track of the trace.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    /// Which of the profiled steps.
    step: usize,
    /// Its place among the step's calls; `None` for what the host does.
    call: Option<usize>,
    name: String,
    /// Seconds since the first step began.
    span: Span,
}

/// A call of the step: what a trace says of it.
#[derive(Debug, Clone, PartialEq)]
struct CallFacts {
    phase: Phase,
    grid: [u32; 3],
    /// Its arguments' names and shapes.
    shapes: Vec<(&'static str, Shape)>,
    /// Its other numbers.
    scalars: Vec<(&'static str, Scalar)>,
}

/// Where the time of a recipe's training step goes on a device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Profile {
    /// The version of gatescan.
    pub version: String,
    /// The recipe's name.
    pub recipe: String,
    pub machine: Machine,
    pub ceilings: Ceilings,
    /// Steps that were profiled.
    pub steps: usize,
    /// T and B.
    pub batch: [usize; 2],
    pub sites: Vec<Site>,
    pub step: Step,
    pub held: Held,
    /// Every profiled step; not in the JSON.
    #[serde(skip)]
    events: Vec<Event>,
    #[serde(skip)]
    calls: Vec<CallFacts>,
}

/// How to profile.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Steps to profile.
    pub steps: usize,
    /// Which clock to try first. The host's is taken anyway for calls of which the device's says nothing usable.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            steps: 20,
            clock: Clock::Device,
        }
    }
}

/// Calls that the host's clock times alone, in all.
const ALONE: usize = 3000;

impl Profile {
    /// Measures the device's ceilings, then the recipe's training step for `data`, played as many times as `options` say.
    ///
    /// # Errors
    /// [`Error::Usage`] for no steps; those of [`Trainer::load`]; what the device reports.
    pub fn measure(
        recipe: &Recipe,
        data: &Splits,
        place: &OpenDevice,
        options: Options,
    ) -> Result<Profile> {
        if options.steps == 0 {
            return Err(Error::usage("a profile needs at least one step"));
        }
        let ceilings = Ceilings::of(place)?;
        let before = place.memory_in_use()?;
        let mut trainer = Trainer::load(recipe, data, place)?;
        let played = play(&mut trainer, options)?;
        let measured = place.memory_in_use()?.zip(before);
        let times = times(&mut trainer, &played, &ceilings, options.clock)?;

        let (model, real) = (trainer.recording(), size_of::<f32>());
        let program = &model.program;
        let by_kind = Kind::ALL.map(|kind| (kind, program.bytes_of(kind, real)));
        Ok(Profile {
            version: env!("CARGO_PKG_VERSION").into(),
            recipe: recipe.name.clone(),
            machine: Machine::of(place),
            ceilings,
            steps: options.steps,
            batch: [model.steps, model.batch],
            sites: sites(program, &times, options.steps, model.steps, &ceilings),
            step: step(&trainer, &played, &times),
            held: Held {
                by_kind: by_kind.into(),
                planned: program.bytes(real),
                measured: measured.map(|(after, before)| after.saturating_sub(before)),
            },
            events: events(program, &played.timings),
            calls: step_calls(program).map(facts).collect(),
        })
    }

    /// All kernels of a step as a part of the time from the first one's beginning to the last one's end.
    pub fn covered(&self) -> Option<f64> {
        let device = self.step.device_ms?;
        Some(self.step.kernels_ms.median / device.median)
    }
}

/// The call sites of the step that `trainer` has recorded, each with what it takes.
pub(crate) fn sites_of(
    trainer: &mut Trainer,
    ceilings: &Ceilings,
    options: Options,
) -> Result<Vec<Site>> {
    let played = play(trainer, options)?;
    let times = times(trainer, &played, ceilings, options.clock)?;
    let model = trainer.recording();
    let (program, steps) = (&model.program, model.steps);
    Ok(sites(program, &times, options.steps, steps, ceilings))
}

/// The calls of a training step, in order, each with its phase and its place there.
pub(crate) fn step_calls(program: &Program) -> impl Iterator<Item = (Phase, usize, &Call)> {
    Phase::TRAIN.into_iter().flat_map(|phase| {
        let calls = program.calls(phase).iter().enumerate();
        calls.map(move |(place, call)| (phase, place, call))
    })
}

/// Steps as they were played; all in seconds.
struct Played {
    /// Of each profiled step its beginning, counted from the first one's, and what the clocks saw.
    timings: Vec<(f64, Timing)>,
    /// Of each profiled step, on the host.
    profiled: Vec<f64>,
    /// Of plain steps, on the host.
    plain: Vec<f64>,
    /// What the host took of these, where a device computed them.
    host: Vec<f64>,
}

/// Plays plain and profiled steps in turn, so that what slows the machine for a while slows both.
fn play(trainer: &mut Trainer, options: Options) -> Result<Played> {
    // The first time pipelines are compiled and memory is touched.
    let (executor, most) = trainer.rewind(Split::Train)?;
    executor.run(&Phase::TRAIN, 1)?;
    executor.time(&Phase::TRAIN)?;
    let first = trainer.play(Split::Train, 1)?.step;
    let count = ((SUBMISSION_TIME.as_secs_f64() / first) as usize).clamp(1, most);

    let mut played = Played {
        timings: vec![],
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
        played.profiled.push(timing.seconds());
        played.timings.push((begin, timing));
    }
    Ok(played)
}

/// How long a call takes.
struct CallTimes {
    clock: Clock,
    /// Seconds; one for each profiled step, by the host's clock maybe fewer.
    samples: Vec<f64>,
}

impl CallTimes {
    fn in_step(&self, step: usize) -> f64 {
        // A clock may be too coarse to see it, but it took time.
        self.samples[step % self.samples.len()].max(1e-9)
    }
}

/// How long each call takes: by the device where it is asked and half of what it says is usable, else by the host.
fn times(
    trainer: &mut Trainer,
    played: &Played,
    ceilings: &Ceilings,
    clock: Clock,
) -> Result<Vec<CallTimes>> {
    let calls = step_calls(&trainer.recording().program);
    let places: Vec<_> = calls.map(|(phase, place, _)| (phase, place)).collect();
    let by_device = |call: usize| {
        let timings = played.timings.iter();
        let spans: Vec<_> = timings.map(|(_, timing)| timing.calls[call]).collect();
        let usable: Vec<f64> = spans.iter().flatten().map(Span::seconds).collect();
        let enough = clock == Clock::Device && 2 * usable.len() >= spans.len();
        enough.then(|| {
            // A step whose time is not usable gets what is usual.
            let usual = Estimate::of(usable).median;
            let spans = spans.into_iter();
            let samples = spans.map(|span| span.map_or(usual, |span| span.seconds()));
            CallTimes {
                clock: Clock::Device,
                samples: samples.collect(),
            }
        })
    };
    let by_device: Vec<_> = (0..places.len()).map(by_device).collect();
    let left = by_device.iter().filter(|times| times.is_none()).count();
    let repeats = (ALONE / left.max(1)).clamp(3, played.timings.len().max(3));
    // An empty submission has a dispatch in it, of which a call costs as much again.
    let (overhead, dispatch) = ceilings.round_trip_us.map_or((0.0, 0.0), |round_trip| {
        (round_trip.median, ceilings.empty_dispatch_us.median)
    });
    let (executor, _) = trainer.rewind(Split::Train)?;
    let mut by_host = |(phase, place)| {
        let mut sample = || {
            let whole = executor.time_call(phase, place)? * 1e6;
            Ok(((whole - overhead).max(0.0) + dispatch) / 1e6)
        };
        Ok(CallTimes {
            clock: Clock::Host,
            samples: (0..repeats).map(|_| sample()).collect::<Result<_>>()?,
        })
    };
    let both = by_device.into_iter().zip(places);
    both.map(|(times, place)| times.map_or_else(|| by_host(place), Ok))
        .collect()
}

/// The table's rows, in the order of their first calls.
fn sites(
    program: &Program,
    times: &[CallTimes],
    steps: usize,
    time_steps: usize,
    ceilings: &Ceilings,
) -> Vec<Site> {
    let calls: Vec<_> = step_calls(program).collect();
    let mut rows: Vec<Vec<usize>> = vec![];
    let mut row_of = HashMap::new();
    for (number, (phase, _, call)) in calls.iter().enumerate() {
        let kernel = call.kernel();
        let key = (
            *phase as usize,
            kernel.name(),
            program.site(call),
            kernel.grid(),
        );
        let row = *row_of.entry(key).or_insert(rows.len());
        match rows.get_mut(row) {
            Some(row) => row.push(number),
            None => rows.push(vec![number]),
        }
    }
    let step_of = |members: &[usize]| {
        let in_step = |step| members.iter().map(|&call| times[call].in_step(step)).sum();
        Estimate::of((0..steps).map(in_step).collect())
    };
    let all: f64 = rows.iter().map(|row| step_of(row).median).sum();
    let site = |members: &Vec<usize>| {
        let (phase, _, call) = calls[members[0]];
        let kernel = call.kernel();
        let costs = members
            .iter()
            .map(|&number| calls[number].2.kernel().cost());
        let cost = costs.fold(Cost::default(), |sum, cost| Cost {
            flops: sum.flops + cost.flops,
            bytes: sum.bytes + cost.bytes,
        });
        let samples = members.iter().flat_map(|&call| &times[call].samples);
        let mut samples: Vec<f64> = samples.map(|seconds| seconds * 1e6).collect();
        samples.sort_by(f64::total_cmp);
        let through_time = matches!(
            call,
            Call::ScanForward(_)
                | Call::ScanBackward(_)
                | Call::StepForward(_)
                | Call::StepBackward(_)
        );
        let step = step_of(members);
        let (allowed, computes) = ceilings.allows(cost);
        let launches = members.len() as f64 * ceilings.empty_dispatch_us.best / 1e6;
        let host = members.iter().any(|&call| times[call].clock == Clock::Host);
        Site {
            phase,
            kernel: kernel.name().into(),
            site: program.site(call).into(),
            grid: kernel.grid(),
            calls: members.len(),
            clock: if host { Clock::Host } else { Clock::Device },
            step_us: step.scaled(1e6),
            share: step.median / all.max(f64::MIN_POSITIVE),
            p95_us: quantile(&samples, 0.95),
            call_us: Estimate::of(samples),
            time_step_us: through_time.then(|| step.median * 1e6 / time_steps as f64),
            flops: cost.flops,
            bytes: cost.bytes,
            roofline: allowed / step.median.max(f64::MIN_POSITIVE),
            bound: match (launches > allowed, computes) {
                (true, _) => Bound::Launch,
                (false, true) => Bound::Compute,
                (false, false) => Bound::Memory,
            },
        }
    };
    rows.iter().map(site).collect()
}

fn step(trainer: &Trainer, played: &Played, times: &[CallTimes]) -> Step {
    let in_step = |step: usize| times.iter().map(|call| call.in_step(step)).sum::<f64>();
    let kernels: Vec<f64> = (0..played.timings.len()).map(in_step).collect();
    let by_device = times.iter().all(|call| call.clock == Clock::Device);
    let timings = played.timings.iter().zip(&kernels).filter(|_| by_device);
    // Seconds on the device, and those of them between calls, of the steps that it timed whole.
    let whole = timings.filter_map(|((_, timing), kernels)| {
        let spans: Vec<Span> = timing.calls.iter().copied().collect::<Option<_>>()?;
        let ends = spans.iter().map(|span| span.end);
        let seconds = ends.fold(0.0, f64::max) - spans.first()?.begin;
        Some((seconds, seconds - kernels))
    });
    let (device, idle): (Vec<f64>, Vec<f64>) = whole.unzip();
    let milliseconds = |seconds: Vec<f64>| Estimate::of(seconds).scaled(1e3);
    let some = |seconds: Vec<f64>| (!seconds.is_empty()).then(|| milliseconds(seconds));
    let plain = milliseconds(played.plain.clone());
    let (steps, sequences) = (trainer.recording().steps, trainer.sequences_per_step());
    let tokens = (steps * trainer.recording().batch) as f64;
    Step {
        plain_ms: plain,
        host_us: (!played.host.is_empty()).then(|| Estimate::of(played.host.clone()).scaled(1e6)),
        profiled_ms: milliseconds(played.profiled.clone()),
        device_ms: some(device),
        kernels_ms: milliseconds(kernels),
        idle_ms: some(idle),
        sequences_per_s: sequences / plain.median * 1e3,
        tokens_per_s: tokens / plain.median * 1e3,
    }
}

fn events(program: &Program, timings: &[(f64, Timing)]) -> Vec<Event> {
    let labels: Vec<String> = step_calls(program)
        .map(|call| label(program, call.2))
        .collect();
    let mut events = vec![];
    for (step, (begin, timing)) in timings.iter().enumerate() {
        let shift = |span: Span| Span {
            begin: begin + span.begin,
            end: begin + span.end,
        };
        events.extend(timing.host.iter().map(|&(name, span)| Event {
            step,
            call: None,
            name: name.into(),
            span: shift(span),
        }));
        let calls = timing.calls.iter().enumerate();
        events.extend(calls.filter_map(|(call, span)| {
            Some(Event {
                step,
                call: Some(call),
                name: labels[call].clone(),
                span: shift((*span)?),
            })
        }));
    }
    events
}

fn label(program: &Program, call: &Call) -> String {
    format!("{} {}", call.kernel().name(), program.site(call))
}

fn facts((phase, _, call): (Phase, usize, &Call)) -> CallFacts {
    let kernel = call.kernel();
    let args = kernel.args().into_iter();
    CallFacts {
        phase,
        grid: kernel.grid(),
        shapes: args.map(|arg| (arg.name, arg.tensor.shape)).collect(),
        scalars: kernel.uniform(),
    }
}
