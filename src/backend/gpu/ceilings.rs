//! Measurement of a GPU's peak rates and minimal costs.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::GpuDevice;
use super::cores::{Cores, on_cores};
use super::errors::{caught, creation_error};
use crate::backend::ceilings::{Ceiling, Ceilings, ROUNDS, samples};
use crate::error::{Error, Result};

/// Minimal duration of a sample, which makes the cost of submission and wait negligible.
const SAMPLE: Duration = Duration::from_millis(5);

/// Samples of a group, when costs of the host are measured.
const SAMPLES: usize = 10;

/// Groups, each on its own thread: whether the time to wake the driver's thread is part of the
/// submission or of the wait differs among threads.
const GROUPS: usize = 200;

/// Dispatches of a short and of a long submission; the difference in time is that of the difference
/// in dispatches.
const DISPATCHES: [usize; 2] = [4, 36];

/// Bytes of each of the copy kernel's two buffers: more than caches hold.
const COPIED: u64 = 128 << 20;

impl GpuDevice {
    /// Measures the device's ceilings; takes about five seconds.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the device lacks the memory for the copy; those of the device.
    pub fn ceilings(&self) -> Result<Ceilings> {
        let bench = PeakBench::new(self)?;
        let copy = bench.pipeline(include_str!("../../../shaders/ceilings/copy.wgsl"), "copy");
        let source = include_str!("../../../shaders/ceilings/multiply_add.wgsl");
        let multiply_add = bench.pipeline(source, "multiply_add");
        let source = include_str!("../../../shaders/ceilings/empty.wgsl");
        let empty = bench.pipeline(source, "empty");

        let bytes = 2.0 * bench.source.size() as f64;
        // Enough workgroups to fill a device, few enough that each copies many elements.
        let copying = (bench.source.size() / (256 * 16 * 8)) as u32;
        // A dispatch must take much longer than its launch.
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

/// Runs `measure` on its own thread while other threads keep all cores awake: to wake a core takes
/// longer than what is measured, and whether a thread finds its core awake differs from run to run.
/// The other threads yield at once to any that has work. There are at least eight: with one for
/// each of two cores, the system at times places both on the same core.
fn awake<T: Send>(measure: impl FnOnce() -> T + Send) -> T {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        // Dropped when the measurement ends, also if it panics.
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

/// Samples of small costs, in microseconds.
#[derive(Default)]
struct Costs {
    /// Encoding and submitting one dispatch.
    submissions: Vec<f64>,
    /// Encoding, submitting and waiting.
    round_trips: Vec<f64>,
    /// Round trips of submissions with [`DISPATCHES`] dispatches.
    dispatches: [Vec<f64>; 2],
}

impl Costs {
    /// Returns the costs of a dispatch, of a submission and of a round trip.
    fn measure(bench: &PeakBench, empty: &BoundKernel) -> Result<[Ceiling; 3]> {
        let mut costs = Costs::default();
        on_cores(Cores::One, || {
            (0..GROUPS).try_for_each(|_| awake(|| costs.measure_group(bench, empty)))
        })?;
        Ok(costs.ceilings())
    }

    fn measure_group(&mut self, bench: &PeakBench, empty: &BoundKernel) -> Result<()> {
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

/// The kernels' buffers on the device.
struct PeakBench<'a> {
    device: &'a GpuDevice,
    source: wgpu::Buffer,
    target: wgpu::Buffer,
}

/// A pipeline with its two buffers bound.
struct BoundKernel {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
}

impl<'a> PeakBench<'a> {
    fn new(device: &'a GpuDevice) -> Result<PeakBench<'a>> {
        let largest = device.summary.limits.max_binding_bytes;
        let buffer = |label| {
            device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: COPIED.min(largest) & !15,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        match caught(&device.device, || (buffer("source"), buffer("target"))) {
            ((source, target), None) => Ok(PeakBench {
                device,
                source,
                target,
            }),
            (_, Some(wgpu::Error::OutOfMemory { .. })) => Err(Error::OutOfMemory {
                device: device.summary.name.clone(),
                available: None,
                needed: Some(2 * COPIED),
                purpose: format!("measuring its bandwidth needs {} MiB", (2 * COPIED) >> 20),
                remedy: "close other programs that use the GPU",
            }),
            (_, Some(error)) => Err(creation_error(error, &device.summary.name)),
        }
    }

    fn pipeline(&self, source: &'static str, label: &str) -> BoundKernel {
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
        BoundKernel { pipeline, bindings }
    }

    /// Submits `times` dispatches of a kernel.
    fn submit(&self, kernel: &BoundKernel, workgroups: u32, times: usize) {
        let device = &self.device.device;
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, &kernel.bindings, &[]);
        (0..times).for_each(|_| pass.dispatch_workgroups(workgroups, 1, 1));
        drop(pass);
        self.device.queue.submit([encoder.finish()]);
    }

    /// Submits `times` dispatches, waits, and returns the elapsed seconds.
    fn run(&self, kernel: &BoundKernel, workgroups: u32, times: usize) -> Result<f64> {
        let start = Instant::now();
        self.submit(kernel, workgroups, times);
        self.device.wait()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Samples of a rate in 10^9 per second, if a dispatch processes `amount` (bytes or
    /// operations). Each sample has many dispatches.
    fn rates(&self, kernel: &BoundKernel, workgroups: u32, amount: f64) -> Result<Vec<f64>> {
        let mut times = 1;
        while times < 1 << 14 && self.run(kernel, workgroups, times)? < SAMPLE.as_secs_f64() {
            times *= 2;
        }
        samples(|| Ok(amount * times as f64 / self.run(kernel, workgroups, times)? / 1e9))
    }
}
