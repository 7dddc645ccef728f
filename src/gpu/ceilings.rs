//! What a GPU can do at most, measured.

use std::time::{Duration, Instant};

use super::GpuDevice;
use crate::error::{Error, Result};
use crate::profile::{Ceiling, Ceilings, samples};

/// How long a sample takes at least, so that what submission and wait cost does not count.
const SAMPLE: Duration = Duration::from_millis(5);

/// Windows of round trips, and the round trips of each. They lie between the other measurements, so that what slows the machine
/// for a second does not slow them all.
const WINDOWS: usize = 15;
const ROUND_TRIPS: usize = 40;

/// Bytes of each of the copy's two buffers: more than caches hold.
const COPIED: u64 = 128 << 20;

impl GpuDevice {
    /// Measures what this device can do at most; takes about two seconds.
    ///
    /// # Errors
    /// What the device reports.
    pub fn ceilings(&self) -> Result<Ceilings> {
        // A device that is full already is refused with a sentence.
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let bench = Bench::new(self);
        if pollster::block_on(scope.pop()).is_some() {
            return Err(Error::Device(format!(
                "{} has not the {} MiB of free memory that measuring its bandwidth takes",
                self.summary.name,
                (2 * COPIED) >> 20
            )));
        }
        let copy = bench.pipeline(include_str!("../../shaders/ceilings/copy.wgsl"), "copy");
        let source = include_str!("../../shaders/ceilings/multiply_add.wgsl");
        let multiply_add = bench.pipeline(source, "multiply_add");
        let empty = bench.pipeline(include_str!("../../shaders/ceilings/empty.wgsl"), "empty");

        let mut host = RoundTrips::default();
        host.measure(&bench, &empty)?;
        let bytes = 2.0 * bench.source.size() as f64;
        // Enough workgroups to fill a device, few enough to give each a good part.
        let copies = bench.seconds_each(&copy, (bench.source.size() / (256 * 16 * 8)) as u32)?;
        host.measure(&bench, &empty)?;
        // As many workgroups as keep the device busy well beyond what a dispatch costs.
        let mut workgroups = 256;
        while workgroups < 32768 && bench.run(&multiply_add, workgroups, 1)? < 2e-3 {
            workgroups *= 2;
        }
        let flops = f64::from(workgroups) * 64.0 * 256.0 * 64.0;
        let sums = bench.seconds_each(&multiply_add, workgroups)?;
        host.measure(&bench, &empty)?;
        let dispatches = bench.seconds_each(&empty, 1)?;
        host.measure(&bench, &empty)?;

        let rate = |seconds: &[f64], what: f64| {
            Ceiling::of_rates(seconds.iter().map(|seconds| what / seconds / 1e9))
        };
        Ok(Ceilings {
            copy_gbytes_per_s: rate(&copies, bytes),
            multiply_add_gflops: rate(&sums, flops),
            empty_dispatch_us: Ceiling::of_costs(dispatches.iter().map(|seconds| seconds * 1e6)),
            submission_us: Some(Ceiling::of_windows(&host.submissions)),
            round_trip_us: Some(Ceiling::of_windows(&host.whole)),
        })
    }
}

/// Microseconds of submissions of next to nothing, each waited for; in windows.
#[derive(Default)]
struct RoundTrips {
    submissions: Vec<Vec<f64>>,
    /// The same with the wait.
    whole: Vec<Vec<f64>>,
}

impl RoundTrips {
    fn measure(&mut self, bench: &Bench, empty: &Bound) -> Result<()> {
        for _ in 0..WINDOWS {
            let (mut submissions, mut whole) = (vec![], vec![]);
            for _ in 0..ROUND_TRIPS {
                let start = Instant::now();
                bench.submit(empty, 1, 1);
                submissions.push(start.elapsed().as_secs_f64() * 1e6);
                bench.device.wait()?;
                whole.push(start.elapsed().as_secs_f64() * 1e6);
            }
            self.submissions.push(submissions);
            self.whole.push(whole);
        }
        Ok(())
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

    /// Seconds of a dispatch, in samples of many.
    fn seconds_each(&self, bound: &Bound, workgroups: u32) -> Result<Vec<f64>> {
        let mut times = 1;
        while times < 1 << 14 && self.run(bound, workgroups, times)? < SAMPLE.as_secs_f64() {
            times *= 2;
        }
        samples(|| Ok(self.run(bound, workgroups, times)? / times as f64))
    }
}
