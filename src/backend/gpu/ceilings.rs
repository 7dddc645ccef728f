//! What a GPU can do at most, measured.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::GpuDevice;
use super::cores::{Cores, on_cores};
use crate::backend::ceilings::{Ceiling, Ceilings, ROUNDS, samples};
use crate::error::{Error, Result};

/// How long a sample takes at least, so that what submission and wait cost does not count.
const SAMPLE: Duration = Duration::from_millis(5);

/// Samples of what the host pays, in a group.
const SAMPLES: usize = 10;

/// Groups of them, each on a thread of its own: whether waking another falls into the submission or the wait differs among threads.
const GROUPS: usize = 200;

/// Dispatches of a short submission and of a long one, whose difference tells what one costs.
const DISPATCHES: [usize; 2] = [4, 36];

/// Bytes of each of the copy's two buffers: more than caches hold.
const COPIED: u64 = 128 << 20;

impl GpuDevice {
    /// Measures what this device can do at most; takes about five seconds.
    ///
    /// # Errors
    /// What the device reports.
    pub fn ceilings(&self) -> Result<Ceilings> {
        // A device that is full already is refused with a sentence.
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let bench = Bench::new(self);
        if pollster::block_on(scope.pop()).is_some() {
            return Err(Error::OutOfMemory {
                device: self.summary.name.clone(),
                available: None,
                needed: 2 * COPIED,
                purpose: format!("measuring its bandwidth needs {} MiB", (2 * COPIED) >> 20),
                remedy: "close other programs that use the GPU",
            });
        }
        let copy = bench.pipeline(include_str!("../../../shaders/ceilings/copy.wgsl"), "copy");
        let source = include_str!("../../../shaders/ceilings/multiply_add.wgsl");
        let multiply_add = bench.pipeline(source, "multiply_add");
        let empty = bench.pipeline(
            include_str!("../../../shaders/ceilings/empty.wgsl"),
            "empty",
        );

        let bytes = 2.0 * bench.source.size() as f64;
        // Enough workgroups to fill a device, few enough to give each a good part.
        let copying = (bench.source.size() / (256 * 16 * 8)) as u32;
        // As many workgroups as keep the device busy well beyond what a dispatch costs.
        let mut adding = 256;
        while adding < 32768 && bench.run(&multiply_add, adding, 1)? < 2e-3 {
            adding *= 2;
        }
        let flops = f64::from(adding) * 64.0 * 256.0 * 64.0;

        let [empty_dispatch_us, submission_us, round_trip_us] = Costs::measure(&bench, &empty)?;
        let (mut copies, mut sums) = (vec![], vec![]);
        on_cores(Cores::Each, || -> Result<()> {
            for _ in 0..ROUNDS {
                copies.push(bench.rates(&copy, copying, bytes)?);
                sums.push(bench.rates(&multiply_add, adding, flops)?);
            }
            Ok(())
        })?;
        Ok(Ceilings {
            copy_gbytes_per_s: Ceiling::of_rates(&copies),
            multiply_add_gflops: Ceiling::of_rates(&sums),
            empty_dispatch_us,
            submission_us: Some(submission_us),
            round_trip_us: Some(round_trip_us),
        })
    }
}

/// `measure` on a thread of its own while no core of the machine goes to sleep: waking one takes longer than what is measured,
/// and whether a thread finds its core awake differs from run to run. Threads that yield at once to any that has work hold the
/// cores; with only one for each of two cores, the system at times has both on one.
fn awake<T: Send>(measure: impl FnOnce() -> T + Send) -> T {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        // Gone when the measurement has ended, however it ends.
        let measuring = Arc::new(());
        for _ in 0..cores.max(8) {
            let measuring = Arc::downgrade(&measuring);
            scope.spawn(move || {
                while measuring.strong_count() > 0 {
                    thread::yield_now();
                }
            });
        }
        let measured = scope.spawn(|| {
            let _measuring = measuring;
            measure()
        });
        measured.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Microseconds of what costs the host or the device next to nothing each time; sampled in turn.
#[derive(Default)]
struct Costs {
    submissions: Vec<f64>,
    /// The same with the wait.
    round_trips: Vec<f64>,
    /// Round trips of as many dispatches as [`DISPATCHES`] says.
    dispatches: [Vec<f64>; 2],
}

impl Costs {
    /// Of one more dispatch, of a submission, of a round trip.
    fn measure(bench: &Bench, empty: &Bound) -> Result<[Ceiling; 3]> {
        let mut costs = Costs::default();
        on_cores(Cores::One, || {
            (0..GROUPS).try_for_each(|_| awake(|| costs.measure_group(bench, empty)))
        })?;
        Ok(costs.ceilings())
    }

    fn measure_group(&mut self, bench: &Bench, empty: &Bound) -> Result<()> {
        for _ in 0..SAMPLES {
            let start = Instant::now();
            bench.submit(empty, 1, 1);
            self.submissions.push(start.elapsed().as_secs_f64() * 1e6);
            bench.device.wait()?;
            self.round_trips.push(start.elapsed().as_secs_f64() * 1e6);
            for (samples, times) in self.dispatches.iter_mut().zip(DISPATCHES) {
                samples.push(bench.run(empty, 1, times)? * 1e6);
            }
        }
        Ok(())
    }

    fn ceilings(self) -> [Ceiling; 3] {
        let [few, many] = self
            .dispatches
            .map(|costs| Ceiling::of_costs(&costs, SAMPLES));
        let more = (DISPATCHES[1] - DISPATCHES[0]) as f64;
        let dispatch = Ceiling {
            best: (many.best - few.best).max(0.0) / more,
            median: (many.median - few.median).max(0.0) / more,
        };
        [
            dispatch,
            Ceiling::of_costs(&self.submissions, SAMPLES),
            Ceiling::of_costs(&self.round_trips, SAMPLES),
        ]
    }
}

struct Bench<'a> {
    device: &'a GpuDevice,
    source: wgpu::Buffer,
    target: wgpu::Buffer,
}

/// A kernel with its two buffers.
struct Bound {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
}

impl<'a> Bench<'a> {
    fn new(device: &'a GpuDevice) -> Bench<'a> {
        let largest = device.limits.max_storage_buffer_binding_size;
        let buffer = |label| {
            device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: COPIED.min(largest) & !15,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        Bench {
            device,
            source: buffer("source"),
            target: buffer("target"),
        }
    }

    fn pipeline(&self, source: &'static str, label: &str) -> Bound {
        let device = &self.device.device;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let buffers = [&self.source, &self.target].into_iter().zip(0..);
        let entries = buffers.map(|(buffer, binding)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        });
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries.collect::<Vec<_>>(),
        });
        Bound { pipeline, bindings }
    }

    fn submit(&self, bound: &Bound, workgroups: u32, times: usize) {
        let device = &self.device.device;
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&bound.pipeline);
        pass.set_bind_group(0, &bound.bindings, &[]);
        (0..times).for_each(|_| pass.dispatch_workgroups(workgroups, 1, 1));
        drop(pass);
        self.device.queue.submit([encoder.finish()]);
    }

    /// Seconds of a submission of `times` dispatches, and the wait for it.
    fn run(&self, bound: &Bound, workgroups: u32, times: usize) -> Result<f64> {
        let start = Instant::now();
        self.submit(bound, workgroups, times);
        self.device.wait()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// 10^9 a second, where a dispatch does `amount`, in samples of many dispatches.
    fn rates(&self, bound: &Bound, workgroups: u32, amount: f64) -> Result<Vec<f64>> {
        let mut times = 1;
        while times < 1 << 14 && self.run(bound, workgroups, times)? < SAMPLE.as_secs_f64() {
            times *= 2;
        }
        samples(|| Ok(amount * times as f64 / self.run(bound, workgroups, times)? / 1e9))
    }
}
