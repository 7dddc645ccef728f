//! The results of a benchmark: one row for each measurement.

use serde::Serialize;

use crate::numeric::statistics::quantile;
use crate::profile::Clock;
use crate::program::Phase;

/// A training step at one shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepResult {
    pub shape: String,
    pub device: String,
    #[serde(flatten)]
    pub time: StepTime,
    #[serde(flatten)]
    pub speed: StepSpeed,
    /// The number of trained parameters.
    pub parameters: usize,
    /// The number of timed submissions.
    pub samples: usize,
    /// The fraction of time steps that are not padding.
    pub valid_part: f64,
    /// For ragged sequences: the time of a training step as a fraction of a dense one's, which is
    /// played alternately.
    pub dense_part: Option<f64>,
}

/// The time of a step: median, 10th and 90th percentile over submissions of many steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepTime {
    /// Milliseconds of a training step: batch, forward and backward pass, update and record.
    pub train_ms: f64,
    pub train_ms_p10: f64,
    pub train_ms_p90: f64,
    /// Milliseconds of a step of an evaluation: batch, forward pass, loss and record.
    pub forward_ms: f64,
    pub forward_ms_p10: f64,
    pub forward_ms_p90: f64,
    /// Microseconds in which a thread of the host encodes and submits a training step; `None` on
    /// the CPU.
    pub host_us: Option<f64>,
}

/// The speed of a training step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepSpeed {
    pub sequences_per_s: f64,
    /// 10⁹ floating-point operations per second by the kernels' cost, which includes padded steps.
    pub gflops: f64,
    /// Percent of the device's measured multiply-adds.
    pub ceiling_percent: f64,
}

/// A training step of a character-level language model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextResult {
    pub layers: usize,
    pub hidden_size: usize,
    pub batch: usize,
    /// Characters of each stream in a step.
    pub steps: usize,
    pub device: String,
    /// The number of timed iterations.
    pub iterations: usize,
    /// Mean milliseconds of an iteration: chunk, forward and backward pass, update and record.
    pub ms: f64,
    pub characters_per_s: f64,
    /// The number of trained parameters.
    pub parameters: usize,
    /// Bytes of all buffers of the program.
    pub memory_bytes: u64,
}

/// The calls of one site in a training step, or a square matmul.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelResult {
    /// The shape; `gemm-512` for a square matmul.
    pub shape: String,
    pub device: String,
    pub phase: Phase,
    pub kernel: String,
    /// The name of the written tensors.
    pub site: String,
    /// Median microseconds of a call.
    pub us: f64,
    pub gflops: f64,
    pub gbytes_per_s: f64,
    /// The time that the roofline allows, in percent of the measured time.
    pub roofline_percent: f64,
    pub clock: Clock,
}

/// The recurrence of all layers: microseconds for each time step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScanResult {
    pub shape: String,
    pub device: String,
    pub forward_us: f64,
    pub backward_us: f64,
    pub both_us: f64,
    /// What the cost model predicts for the scans; `None` for a device whose class is unknown, and
    /// for layers that are computed by single steps.
    pub predicted_forward_us: Option<f64>,
    pub predicted_backward_us: Option<f64>,
}

/// The latency of one time step of one sequence: percentiles over all timed steps, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencyResult {
    pub shape: String,
    pub device: String,
    /// The median.
    pub us: f64,
    pub us_p90: f64,
    pub us_p99: f64,
    pub us_p999: f64,
    pub us_largest: f64,
    /// The number of timed steps.
    pub steps: usize,
}

/// Returns the 10th percentile, the median and the 90th percentile.
pub(super) fn percentiles(mut samples: Vec<f64>) -> [f64; 3] {
    samples.sort_by(f64::total_cmp);
    [0.1, 0.5, 0.9].map(|part| quantile(&samples, part))
}
