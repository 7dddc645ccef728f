//! Kernel calls under the device's clock: each in a pass of its own, with a timestamp at the pass's beginning and end, which
//! is where every API has them.

use std::time::Instant;

use super::executor::Gpu;
use crate::backend::executor::{Span, Timing};
use crate::error::Result;
use crate::program::Phase;

/// Queries of a set: WebGPU allows no more.
const QUERIES: usize = 4096;

/// Room for two timestamps of every call.
#[derive(Debug)]
pub(super) struct Timestamps {
    sets: Vec<wgpu::QuerySet>,
    /// Where they are resolved: ticks, two for each call.
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
        for (number, set) in self.sets.iter().enumerate() {
            let count = left.min(QUERIES);
            let place = number * QUERIES * size_of::<u64>();
            encoder.resolve_query_set(set, 0..count as u32, &self.ticks, place as u64);
            left -= count;
        }
    }
}

impl Gpu {
    pub(super) fn timed(&mut self, phases: &[Phase]) -> Result<Timing> {
        let phases = phases.iter().map(|&phase| &self.phases[phase as usize]);
        let dispatches: Vec<_> = phases.flatten().collect();
        let count = dispatches.len();
        if count == 0 {
            return Ok(Timing::default());
        }
        let device = self.device.clone();
        let has = device
            .device
            .features()
            .contains(wgpu::Features::TIMESTAMP_QUERY);
        let kept = self.timestamps.take().filter(|kept| kept.calls == count);
        let timestamps =
            has.then(|| kept.unwrap_or_else(|| Timestamps::new(&device.device, count)));

        let start = Instant::now();
        let mut host = vec![];
        let mut done = 0.0;
        let mut lap = |name| {
            let (begin, end) = (done, start.elapsed().as_secs_f64());
            host.push((name, Span { begin, end }));
            done = end;
        };
        let mut next = 0;
        while next < count {
            let mut encoder = device.device.create_command_encoder(&Default::default());
            let budget = self.submissions.pace.budget();
            let mut work = 0.0;
            while next < count && (work == 0.0 || work + dispatches[next].work <= budget) {
                let dispatch = dispatches[next];
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(&dispatch.label),
                    timestamp_writes: timestamps.as_ref().map(|stamps| stamps.writes(next)),
                });
                dispatch.encode(&mut pass, &self.uniforms);
                work += dispatch.work;
                next += 1;
            }
            if let Some(timestamps) = timestamps.as_ref().filter(|_| next == count) {
                timestamps.resolve(&mut encoder);
            }
            let mut pass = encoder.begin_compute_pass(&Default::default());
            self.submissions.end(&device, &mut pass);
            drop(pass);
            let commands = encoder.finish();
            lap("encode");
            self.submissions.submit(&device, commands, work);
            lap("submit");
        }
        device.wait()?;
        self.submissions.pace.done(Instant::now());
        lap("wait");

        let mut calls = vec![None; count];
        if let Some(timestamps) = timestamps {
            let ticks: Vec<u64> = self.read_buffer(&timestamps.ticks, 0, 2 * count)?;
            let period = f64::from(device.queue.get_timestamp_period()) * 1e-9;
            calls = spans(&ticks, period, done);
            self.timestamps = Some(timestamps);
        }
        Ok(Timing { calls, host })
    }

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
        self.submissions.end(device, &mut pass);
        drop(pass);
        self.submissions
            .submit(device, encoder.finish(), dispatch.work);
        device.wait()?;
        self.submissions.pace.done(Instant::now());
        Ok(start.elapsed().as_secs_f64())
    }
}

/// The calls' times from their beginnings' and ends' `ticks` of `period` seconds, shifted so that the last one ends at `end`.
/// What is zero, ends no later than it begins, or begins before the one before has begun is refused: macOS 26 gives such.
fn spans(ticks: &[u64], period: f64, end: f64) -> Vec<Option<Span>> {
    let mut latest = 0;
    let increasing = |pair: &[u64]| {
        let [begin, end] = [pair[0], pair[1]];
        let good = begin > 0 && end > begin && begin >= latest;
        if good {
            latest = begin;
        }
        good.then_some((begin, end))
    };
    let pairs: Vec<Option<(u64, u64)>> = ticks.chunks_exact(2).map(increasing).collect();
    let last = pairs.iter().flatten().map(|pair| pair.1).max().unwrap_or(0);
    // Counted back from the last one, since ticks may be too many for an f64.
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
        let found = spans(&[1000, 1500, 1600, 2000], 1e-3, 10.0);
        let expected = [(9.0, 9.5), (9.6, 10.0)];
        for (span, (begin, end)) in found.into_iter().zip(expected) {
            let span = span.expect("it is usable");
            assert!((span.begin - begin).abs() < 1e-12 && (span.end - end).abs() < 1e-12);
        }
    }

    #[test]
    fn ticks_that_cannot_be_are_refused() {
        let ticks = [
            0, 5, // never written at its beginning
            10, 0, // nor at its end
            10, 10, // no time at all
            20, 15, // backwards
            20, 30, // good
            19, 40, // begins before the one before
            30, 40, // good
        ];
        let usable: Vec<bool> = spans(&ticks, 1.0, 0.0)
            .iter()
            .map(Option::is_some)
            .collect();
        assert_eq!(usable, [false, false, false, false, true, false, true]);
        assert_eq!(spans(&[0; 6], 1.0, 0.0), vec![None; 3]);
    }
}
