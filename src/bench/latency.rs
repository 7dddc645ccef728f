//! The latency of a stream: one time step of one sequence, with carried states.

use std::time::Instant;

use super::Bench;
use super::checked::{check_result, error_limit, rounding_limit};
use super::results::LatencyResult;
use super::shape::{BenchShape, uniform};
use crate::backend::OpenDevice;
use crate::backend::cpu::Cpu;
use crate::backend::executor::Executor;
use crate::backend::tuning::Tuning;
use crate::error::{Error, Result};
use crate::infer::step_predictor::StepPredictor;
use crate::model::Model;
use crate::numeric::statistics::quantile;
use crate::program::Phase;
use crate::record::{Gradients, RecordedNetwork};
use crate::train::Trainer;

/// The default shapes for latencies.
pub const LATENCIES: [&str; 5] = [
    "lstm-1-1-28-32",
    "lstm-1-1-28-128",
    "gru-1-1-28-128",
    "lstm2-1-1-64-256",
    "lstm-1-1-512-512",
];

/// Steps whose outputs are compared with the CPU in f64 before the steps are timed.
const CHECKED: usize = 8;
/// Steps before the timed ones.
const WARM_UP: usize = 1000;
/// The smallest number of timed steps: a hundred are above the 99th percentile.
const LEAST: usize = 10_000;

/// Returns the shapes of [`LATENCIES`].
pub fn latency_shapes() -> Vec<BenchShape> {
    let names = LATENCIES.iter();
    names.filter_map(|name| name.parse().ok()).collect()
}

impl Bench {
    /// Measures each of many time steps through a [`StepPredictor`].
    ///
    /// # Errors
    /// [`Error::Usage`] for a shape of more than one sequence or step; [`Error::WrongResult`] if
    /// outputs are wrong; those of the device.
    pub fn latency(&self, shape: &BenchShape) -> Result<LatencyResult> {
        if (shape.batch, shape.steps, shape.ragged) != (1, 1, false) {
            return Err(Error::usage(format!(
                "the shape {shape} has more than one sequence or time step; a latency is that of \
                 one step of one sequence: use a shape CELL-1-1-I-H, such as {}",
                LATENCIES[0]
            )));
        }
        let workload = shape.workload()?;
        let model = Trainer::load(&workload.recipe, &workload.data, &self.device)?.model()?;
        let mut stream = StepPredictor::load(&model, &self.device)?;
        check(shape, &model, &self.device, &mut stream)?;
        let mut us = self.times(shape, &mut stream)?;
        us.sort_by(f64::total_cmp);
        let percentile = |part| quantile(&us, part);
        Ok(LatencyResult {
            shape: shape.to_string(),
            device: self.machine.label(),
            us: percentile(0.5),
            us_p90: percentile(0.9),
            us_p99: percentile(0.99),
            us_p999: percentile(0.999),
            us_largest: percentile(1.0),
            steps: us.len(),
        })
    }

    /// Returns the microseconds of each step.
    fn times(&self, shape: &BenchShape, stream: &mut StepPredictor) -> Result<Vec<f64>> {
        let inputs = uniform(CHECKED * shape.inputs, 1);
        let mut output = vec![0.0; stream.output_size()];
        let mut us = Vec::with_capacity(1 << 20);
        let mut rows = inputs.chunks_exact(shape.inputs).cycle();
        for row in rows.by_ref().take(WARM_UP) {
            stream.step_into(row, &mut output)?;
        }
        let start = Instant::now();
        for row in rows {
            let begin = Instant::now();
            stream.step_into(row, &mut output)?;
            us.push(begin.elapsed().as_secs_f64() * 1e6);
            if us.len() >= LEAST && start.elapsed().as_secs_f64() > self.seconds {
                break;
            }
        }
        Ok(us)
    }
}

/// Compares the outputs of the first steps with those of the whole sequence on the CPU in f64, and
/// leaves zero states.
fn check(
    shape: &BenchShape,
    model: &Model,
    device: &OpenDevice,
    stream: &mut StepPredictor,
) -> Result<()> {
    let inputs = uniform(CHECKED * shape.inputs, 1);
    let network = &model.network;
    let mut recorded = RecordedNetwork::new(network, CHECKED, 1, Gradients::None, Tuning::cpu())?;
    recorded.forward(Phase::Evaluate);
    let mut reference = Cpu::<f64>::new(recorded.program.clone())?;
    let parameters = network.from_parameters(&model.parameters)?;
    reference.write(&recorded.parameters, &parameters)?;
    reference.write(&recorded.inputs, &inputs)?;
    reference.write_index(&recorded.lengths, &[CHECKED as u32])?;
    reference.run(&[Phase::Evaluate], 1)?;
    let expected = reference.read_exact(&recorded.head.outputs);
    let mut found = vec![];
    for row in inputs.chunks_exact(shape.inputs) {
        found = stream.step(row)?;
    }
    let whole = BenchShape {
        steps: CHECKED,
        ..*shape
    };
    let limit = error_limit(whole.roundings()) + rounding_limit(device, CHECKED);
    let what = format!("{shape}: the output after {CHECKED} steps");
    check_result(&what, &found, &expected, limit)?;
    stream.reset()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::device::Device;

    #[test]
    fn latencies_are_of_one_step_and_of_right_outputs() {
        let bench = Bench::new(OpenDevice::open(&Device::Cpu).unwrap(), 0.0).unwrap();
        let result = bench.latency(&"gru2-1-1-3-5".parse().unwrap()).unwrap();
        assert_eq!((&result.shape[..], result.steps), ("gru2-1-1-3-5", LEAST));
        let percentiles = [
            result.us,
            result.us_p90,
            result.us_p99,
            result.us_p999,
            result.us_largest,
        ];
        assert!(percentiles.is_sorted() && result.us > 0.0);
        for name in ["lstm-2-1-3-5", "lstm-1-2-3-5", "lstm-ragged-1-1-3-5"] {
            let error = bench.latency(&name.parse().unwrap()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("CELL-1-1-I-H"), "{error}");
        }
    }

    #[test]
    fn wrong_outputs_are_not_timed() {
        let shape: BenchShape = "lstm-1-1-3-5".parse().unwrap();
        let device = OpenDevice::open(&Device::Cpu).unwrap();
        let workload = shape.workload().unwrap();
        let mut trainer = Trainer::load(&workload.recipe, &workload.data, &device).unwrap();
        let mut model = trainer.model().unwrap();
        let mut stream = StepPredictor::load(&model, &device).unwrap();
        check(&shape, &model, &device, &mut stream).unwrap();
        model.parameters[0].values[0] += 0.1;
        let error = check(&shape, &model, &device, &mut stream).unwrap_err();
        assert!(error.to_string().contains("rounding explains"), "{error}");
    }
}
