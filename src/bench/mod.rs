//! Benchmarks at named shapes: whole training steps, each kernel call alone, the scans, the latency
//! of a stream, and updates by several processes.
//!
//! Every result is compared with the CPU in f64 before it is timed; wrong results are not timed.

mod candidates;
mod checked;
mod cost;
mod latency;
mod results;
mod scaling;
mod shape;
mod text;

use std::time::Instant;

use crate::backend::OpenDevice;
use crate::backend::ceilings::Ceilings;
use crate::backend::gpu_class;
use crate::backend::tuning::Route;
use crate::data::Split;
use crate::error::Result;
use crate::kernels::{Cost, Recurrence, TimeDirection};
use crate::profile::{Clock, Machine, Options, Site, measure_sites, step_calls};
use crate::program::Phase;
use crate::record::RecordedNetwork;
use crate::train::feed::SUBMISSION_TIME;

pub use candidates::{CANDIDATES, FoundTuning, Trial, TrialOutcome, search};
pub use checked::{CheckedGemm, CheckedTrainer};
pub use cost::time_step_us;
pub use latency::{LATENCIES, latency_shapes};
use results::percentiles;
pub use results::{
    KernelResult, LatencyResult, ScanResult, StepResult, StepSpeed, StepTime, TextResult,
};
pub use scaling::{MessageResult, SCALING_SHAPES, Scaling, ScalingBench, ScalingResult};
pub use shape::{BenchShape, SCANS, SHAPES, SIDES, scan_shapes, shapes, sides};
pub use text::{TEXT_LAYERS, TEXT_SIZES};

/// The smallest number of samples of each measurement, however long they take.
const LEAST_SAMPLES: usize = 5;

/// A device on which shapes are measured.
pub struct Bench {
    pub device: OpenDevice,
    machine: Machine,
    ceilings: Ceilings,
    /// The seconds of each measurement.
    seconds: f64,
}

/// The samples of [`Bench::step`]: milliseconds of a step, and microseconds of the host.
#[derive(Default)]
struct StepSamples {
    train: Vec<f64>,
    forward: Vec<f64>,
    dense: Vec<f64>,
    host: Vec<f64>,
}

impl Bench {
    /// Measures the ceilings of `device`. Each measurement will take about `seconds`, or longer
    /// where that is not enough for five samples.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(device: OpenDevice, seconds: f64) -> Result<Bench> {
        Ok(Bench {
            machine: Machine::of(&device),
            ceilings: Ceilings::of(&device)?,
            device,
            seconds,
        })
    }

    /// Measures whole training steps and, alternately, forward passes.
    ///
    /// # Errors
    /// [`Error::WrongResult`](crate::error::Error::WrongResult) if losses or gradients are wrong;
    /// those of the device.
    pub fn step(&self, shape: &BenchShape) -> Result<StepResult> {
        let mut checked = CheckedTrainer::new(shape, &self.device)?;
        let mut dense = None;
        if shape.ragged {
            dense = Some(CheckedTrainer::new(&shape.dense(), &self.device)?);
        }
        let samples = self.step_samples(&mut checked, dense.as_mut())?;
        let count = samples.train.len();
        let [train_ms_p10, train_ms, train_ms_p90] = percentiles(samples.train);
        let [forward_ms_p10, forward_ms, forward_ms_p90] = percentiles(samples.forward);
        let host = Some(samples.host).filter(|host| !host.is_empty());
        let dense = Some(samples.dense).filter(|dense| !dense.is_empty());
        let median = |samples| percentiles(samples)[1];
        let model = checked.recording();
        let costs = step_calls(&model.program).map(|step| step.call.kernel().cost().flops);
        let gflops = costs.sum::<f64>() / train_ms / 1e6;
        Ok(StepResult {
            shape: shape.to_string(),
            device: self.machine.label(),
            time: StepTime {
                train_ms,
                train_ms_p10,
                train_ms_p90,
                forward_ms,
                forward_ms_p10,
                forward_ms_p90,
                host_us: host.map(median),
            },
            speed: StepSpeed {
                sequences_per_s: shape.batch as f64 / train_ms * 1e3,
                gflops,
                ceiling_percent: gflops / self.ceilings.multiply_add_gflops.best * 100.0,
            },
            parameters: parameters(model),
            samples: count,
            valid_part: shape.valid_part(),
            dense_part: dense.map(|dense| train_ms / median(dense)),
        })
    }

    /// Plays training steps, forward passes and the steps of the dense shape in turn.
    fn step_samples(
        &self,
        checked: &mut CheckedTrainer,
        mut dense: Option<&mut CheckedTrainer>,
    ) -> Result<StepSamples> {
        let train_steps = checked.steps_per_submission(Split::Train)?;
        let forward_steps = checked.steps_per_submission(Split::Test)?;
        let dense_steps = match &mut dense {
            Some(dense) => dense.steps_per_submission(Split::Train)?,
            None => 0,
        };
        let mut samples = StepSamples::default();
        self.sample(|| {
            let pace = checked.trainer.play(Split::Train, train_steps)?;
            samples.train.push(pace.step * 1e3);
            samples.host.extend(pace.host.map(|seconds| seconds * 1e6));
            let pace = checked.trainer.play(Split::Test, forward_steps)?;
            samples.forward.push(pace.step * 1e3);
            if let Some(dense) = &mut dense {
                let pace = dense.trainer.play(Split::Train, dense_steps)?;
                samples.dense.push(pace.step * 1e3);
            }
            Ok(())
        })?;
        Ok(samples)
    }

    /// Measures each call site of a training step.
    ///
    /// # Errors
    /// Those of [`Bench::step`].
    pub fn kernels(&self, shape: &BenchShape) -> Result<Vec<KernelResult>> {
        let sites = self.sites(shape)?.into_iter();
        let kernel = |site: Site| KernelResult {
            shape: shape.to_string(),
            device: self.machine.label(),
            phase: site.phase,
            us: site.time.call_us.median,
            gflops: site.gflops(),
            gbytes_per_s: site.gbytes_per_s(),
            roofline_percent: site.work.roofline * 100.0,
            clock: site.time.clock,
            kernel: site.kernel,
            site: site.site,
        };
        Ok(sites.map(kernel).collect())
    }

    /// Measures the recurrence alone, by scans or by single steps; several layers are added up.
    ///
    /// # Errors
    /// Those of [`Bench::step`].
    pub fn scan(&self, shape: &BenchShape) -> Result<ScanResult> {
        let mut checked = CheckedTrainer::new(shape, &self.device)?;
        let [predicted_forward_us, predicted_backward_us] =
            [TimeDirection::Forward, TimeDirection::Backward]
                .map(|direction| self.predicted(checked.recording(), direction));
        let sites = self.sites_of(&mut checked)?;
        let recurrence = |phase: Phase| -> f64 {
            let sites = sites.iter().filter(|site| site.phase == phase);
            sites.filter_map(|site| site.time.time_step_us).sum()
        };
        let [forward_us, backward_us] = [Phase::Forward, Phase::Backward].map(recurrence);
        Ok(ScanResult {
            shape: shape.to_string(),
            device: self.machine.label(),
            forward_us,
            backward_us,
            both_us: forward_us + backward_us,
            predicted_forward_us,
            predicted_backward_us,
        })
    }

    /// Returns the microseconds that the cost model predicts for a time step of all layers.
    fn predicted(&self, model: &RecordedNetwork, direction: TimeDirection) -> Option<f64> {
        let class = gpu_class::class_of(self.device.adapter()?)?;
        let tuning = self.device.tuning();
        let step = |layer: &Recurrence| match tuning.route(layer) {
            Ok(Route::Scan) => Some(time_step_us(layer, direction, &class, tuning.cores)),
            _ => None,
        };
        model.recurrences().map(step).sum()
    }

    /// Measures a matmul of two square matrices.
    ///
    /// # Errors
    /// [`Error::WrongResult`](crate::error::Error::WrongResult) if the result is wrong; those of
    /// the device.
    pub fn gemm(&self, side: usize) -> Result<KernelResult> {
        let mut gemm = CheckedGemm::new(side, &self.device)?;
        gemm.play(1)?;
        let once = gemm.play(1)?.as_secs_f64();
        let times = ((SUBMISSION_TIME.as_secs_f64() / once) as usize).clamp(1, 1000);
        let mut samples = vec![];
        self.sample(|| {
            samples.push(gemm.play(times)?.as_secs_f64() / times as f64);
            Ok(())
        })?;
        let [_, seconds, _] = percentiles(samples);
        let Cost { flops, bytes } = gemm.cost();
        let (allowed, _) = self.ceilings.allows(gemm.cost());
        Ok(KernelResult {
            shape: format!("gemm-{side}"),
            device: self.machine.label(),
            phase: Phase::Forward,
            kernel: "gemm".into(),
            site: "c".into(),
            us: seconds * 1e6,
            gflops: flops / seconds / 1e9,
            gbytes_per_s: bytes / seconds / 1e9,
            roofline_percent: allowed / seconds * 100.0,
            clock: Clock::Host,
        })
    }

    fn sites(&self, shape: &BenchShape) -> Result<Vec<Site>> {
        self.sites_of(&mut CheckedTrainer::new(shape, &self.device)?)
    }

    fn sites_of(&self, checked: &mut CheckedTrainer) -> Result<Vec<Site>> {
        checked.trainer.play(Split::Train, 1)?;
        // A profiled step is played alternately with a submission of plain steps.
        let step = checked.trainer.play(Split::Train, 1)?.step;
        let both = step + step.max(SUBMISSION_TIME.as_secs_f64());
        let options = Options {
            steps: ((self.seconds / both) as usize).clamp(LEAST_SAMPLES, 1000),
            clock: Clock::Device,
        };
        measure_sites(&mut checked.trainer, &self.ceilings, options)
    }

    /// Calls `sample` until the time of a measurement has passed.
    fn sample(&self, mut sample: impl FnMut() -> Result<()>) -> Result<()> {
        let (start, mut samples) = (Instant::now(), 0);
        while samples < LEAST_SAMPLES || start.elapsed().as_secs_f64() < self.seconds {
            sample()?;
            samples += 1;
        }
        Ok(())
    }
}

/// Returns the number of trained parameters.
fn parameters(model: &RecordedNetwork) -> usize {
    model.entries.iter().map(|entry| entry.shape.len()).sum()
}
