//! Timed runs: each kernel call gets its own compute pass with a timestamp at the pass's beginning
//! and end, which every API supports.

use std::time::Instant;

use super::executor::{Dispatch, Gpu};
use crate::backend::executor::{Span, Timing};
use crate::error::Result;
use crate::program::Phase;

/// Queries per set, the most that WebGPU allows.
const QUERIES: usize = 4096;

/// Query sets for two timestamps per kernel call.
#[derive(Debug)]
pub(super) struct Timestamps {
    sets: Vec<wgpu::QuerySet>,
    /// The resolved timestamps in ticks, two per call.
    ticks: wgpu::Buffer,
    calls: usize,
}

impl Timestamps {
    fn new(device: &wgpu::Device, calls: usize) -> Timestamps {
        let sets = (2 * calls).div_ceil(QUERIES).max(1);
        let set = |_| {
            device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("calls"),
                ty: wgpu::QueryType::Timestamp,
                count: QUERIES as u32,
            })
        };
        Timestamps {
            sets: (0..sets).map(set).collect(),
            ticks: device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: (sets * QUERIES * size_of::<u64>()) as u64,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            calls,
        }
    }

    /// The timestamps around the kernel call at index `call`.
    fn writes(&self, call: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        let (set, query) = (2 * call / QUERIES, (2 * call % QUERIES) as u32);
        wgpu::ComputePassTimestampWrites {
            query_set: &self.sets[set],
            beginning_of_pass_write_index: Some(query),
            end_of_pass_write_index: Some(query + 1),
        }
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut left = 2 * self.calls;
        for (index, set) in self.sets.iter().enumerate() {
            let count = left.min(QUERIES);
            let offset = (index * QUERIES * size_of::<u64>()) as u64;
            encoder.resolve_query_set(set, 0..count as u32, &self.ticks, offset);
            left -= count;
        }
    }
}

/// Spans of the host's activities, each of which begins when the one before ends.
struct HostClock {
    start: Instant,
    /// Seconds from the start to the end of the last activity.
    last: f64,
    spans: Vec<(&'static str, Span)>,
}

impl HostClock {
    fn start() -> HostClock {
        HostClock {
            start: Instant::now(),
            last: 0.0,
            spans: vec![],
        }
    }

    /// Ends an activity.
    fn lap(&mut self, activity: &'static str) {
        let (begin, end) = (self.last, self.start.elapsed().as_secs_f64());
        self.spans.push((activity, Span { begin, end }));
        self.last = end;
    }
}

impl Gpu {
    /// [`Executor::time`](crate::backend::executor::Executor::time).
    pub(super) fn timed(&mut self, phases: &[Phase]) -> Result<Timing> {
        let calls = phases
            .iter()
            .map(|&phase| self.phases[phase as usize].len());
        let calls = calls.sum();
        if calls == 0 {
            return Ok(Timing::default());
        }
        let timestamps = self.take_timestamps(calls);
        let mut clock = HostClock::start();
        self.submit_timed(phases, timestamps.as_ref(), &mut clock);
        self.device.wait()?;
        self.submissions.pace.completed(Instant::now());
        clock.lap("wait");

        let mut spans = vec![None; calls];
        if let Some(timestamps) = timestamps {
            let ticks: Vec<u64> = self.read_buffer(&timestamps.ticks, 0, 2 * calls)?;
            let period = f64::from(self.device.queue.get_timestamp_period()) * 1e-9;
            spans = spans_of(&ticks, period, clock.last);
            self.timestamps = Some(timestamps);
        }
        Ok(Timing {
            calls: spans,
            host: clock.spans,
        })
    }

    /// Returns query sets for `calls` kernel calls; `None` if the device has no timestamps.
    fn take_timestamps(&mut self, calls: usize) -> Option<Timestamps> {
        let device = &self.device.device;
        let supported = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let reusable = self.timestamps.take().filter(|sets| sets.calls == calls);
        supported.then(|| reusable.unwrap_or_else(|| Timestamps::new(device, calls)))
    }

    /// Submits all kernel calls of `phases`, one pass each.
    fn submit_timed(
        &mut self,
        phases: &[Phase],
        timestamps: Option<&Timestamps>,
        clock: &mut HostClock,
    ) {
        let phases = phases.iter().map(|&phase| &self.phases[phase as usize]);
        let mut dispatches = phases.flatten().enumerate().peekable();
        while dispatches.peek().is_some() {
            let device = &self.device;
            let mut encoder = device.device.create_command_encoder(&Default::default());
            let budget = self.submissions.pace.budget();
            let mut work = 0.0;
            while let Some((index, dispatch)) =
                dispatches.next_if(|(_, next)| work == 0.0 || work + next.work <= budget)
            {
                let writes = timestamps.map(|timestamps| timestamps.writes(index));
                encode_pass(&mut encoder, dispatch, writes, &self.uniforms);
                work += dispatch.work;
            }
            if let Some(timestamps) = timestamps.filter(|_| dispatches.peek().is_none()) {
                timestamps.resolve(&mut encoder);
            }
            let mut pass = encoder.begin_compute_pass(&Default::default());
            self.submissions.encode_canary(device, &mut pass);
            drop(pass);
            let commands = encoder.finish();
            clock.lap("encode");
            self.submissions.submit(device, commands, work);
            clock.lap("submit");
        }
    }

    /// [`Executor::time_call`](crate::backend::executor::Executor::time_call).
    pub(super) fn timed_call(&mut self, phase: Phase, call: usize) -> Result<f64> {
        let device = &self.device;
        let dispatch = &self.phases[phase as usize][call];
        let start = Instant::now();
        let mut encoder = device.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(&dispatch.label),
            timestamp_writes: None,
        });
        dispatch.encode(&mut pass, &self.uniforms);
        self.submissions.encode_canary(device, &mut pass);
        drop(pass);
        self.submissions
            .submit(device, encoder.finish(), dispatch.work);
        device.wait()?;
        self.submissions.pace.completed(Instant::now());
        Ok(start.elapsed().as_secs_f64())
    }
}

fn encode_pass(
    encoder: &mut wgpu::CommandEncoder,
    dispatch: &Dispatch,
    timestamp_writes: Option<wgpu::ComputePassTimestampWrites>,
    uniforms: &wgpu::BindGroup,
) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some(&dispatch.label),
        timestamp_writes,
    });
    dispatch.encode(&mut pass, uniforms);
}

/// Converts the ticks of `period` seconds at the beginning and end of each call to spans, shifted
/// so that the last call ends at `end`. A call's ticks are invalid, and its span `None`, if one is
/// zero, if the end is not after the beginning, or if the beginning precedes an earlier call's:
/// macOS 26 returns such ticks.
fn spans_of(ticks: &[u64], period: f64, end: f64) -> Vec<Option<Span>> {
    let mut latest = 0;
    let valid = |pair: &[u64]| {
        let [begin, end] = [pair[0], pair[1]];
        let valid = begin > 0 && end > begin && begin >= latest;
        if valid {
            latest = begin;
        }
        valid.then_some((begin, end))
    };
    let pairs: Vec<Option<(u64, u64)>> = ticks.chunks_exact(2).map(valid).collect();
    let last = pairs.iter().flatten().map(|pair| pair.1).max().unwrap_or(0);
    // Subtract in integers: ticks can exceed the precision of f64.
    let seconds = |tick: u64| end - (last - tick) as f64 * period;
    let span = |(begin, end)| Span {
        begin: seconds(begin),
        end: seconds(end),
    };
    pairs.into_iter().map(|pair| pair.map(span)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_seconds_that_end_with_the_wait() {
        let found = spans_of(&[1000, 1500, 1600, 2000], 1e-3, 10.0);
        let expected = [(9.0, 9.5), (9.6, 10.0)];
        for (span, (begin, end)) in found.into_iter().zip(expected) {
            let span = span.expect("the ticks are valid");
            assert!((span.begin - begin).abs() < 1e-12 && (span.end - end).abs() < 1e-12);
        }
    }

    #[test]
    fn invalid_ticks_give_no_span() {
        let ticks = [
            0, 5, // no tick at the beginning
            10, 0, // no tick at the end
            10, 10, // no duration
            20, 15, // the end precedes the beginning
            20, 30, // valid
            19, 40, // begins before the call before
            30, 40, // valid
        ];
        let valid: Vec<bool> = spans_of(&ticks, 1.0, 0.0)
            .iter()
            .map(Option::is_some)
            .collect();
        assert_eq!(valid, [false, false, false, false, true, false, true]);
        assert_eq!(spans_of(&[0; 6], 1.0, 0.0), vec![None; 3]);
    }
}
