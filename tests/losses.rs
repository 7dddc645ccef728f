//! Losses, their gradients and what training adds to them, against PyTorch in float64:
//! tests/interop/losses.py and tests/interop/ctc.py write the expected values.

mod common;
#[path = "losses/ctc.rs"]
mod ctc;

use std::path::Path;

use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::tuning::Tuning;
use gatescan::low_level::kernels::{IGNORE, MISSING};
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, RecordedNetwork, TrainingLoss};
use gatescan::low_level::tensor::Tensor;
use gatescan::network::Init;
use gatescan::{Cell, Device, Head, Input, Layer, Loss, Network, OpenDevice, Reads};
use serde::Deserialize;

/// Losses and gradients are of order 1, and a formula has about ten roundings of 2^-53.
const EXACT: f64 = 1e-13;

/// The same with roundings of 2^-24.
const SINGLE: f32 = 2e-6;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

/// A batch as losses.py writes it.
#[derive(Deserialize)]
struct Case {
    name: String,
    loss: Loss,
    /// `[rows, J * K]`.
    outputs: Vec<Vec<f64>>,
    /// `[rows, K]`; `None` for a missing target.
    targets: Option<Vec<Vec<Option<f64>>>>,
    labels: Option<Vec<u32>>,
    /// Rows without a target.
    ignored: Vec<usize>,
    weights: Option<Vec<f64>>,
    #[serde(default)]
    smoothing: f32,
    /// The mean loss.
    expected: f64,
    /// `[rows, J * K]`: its gradient.
    gradient: Vec<Vec<f64>>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/losses.json");
    let text = std::fs::read_to_string(path).expect("losses.py has written it");
    let cases: Cases = serde_json::from_str(&text).expect("it is what losses.py writes");
    cases.cases
}

/// A case's loss, recorded without the forward pass.
struct Recorded {
    network: RecordedNetwork,
    gradient: Tensor,
}

impl Case {
    fn recorded(&self, tuning: Tuning) -> Recorded {
        let network = Network {
            input_size: 1,
            input: Input::Values,
            layers: vec![Layer::new(Cell::RnnTanh, 1)],
            head: Head {
                size: self.outputs[0].len(),
                reads: Reads::Last,
                loss: self.loss,
                init: Init::default(),
            },
            heads: vec![],
            categories: vec![],
        };
        let rows = self.outputs.len();
        let mut network = RecordedNetwork::new(&network, 1, rows, Gradients::OfLoss, tuning)
            .expect("the network is valid");
        if self.weights.is_some() {
            network.add_weights(0);
        }
        network.training_loss(&[TrainingLoss {
            label_smoothing: self.smoothing,
        }]);
        let mut buffers = network.program.buffers().iter();
        let gradient = buffers.position(|buffer| buffer.name == "doutputs");
        let gradient = network.program.whole(gradient.expect("there is one"));
        Recorded { network, gradient }
    }

    fn labels(&self) -> Vec<u32> {
        let given = |row: usize| self.labels.as_ref().map_or(0, |labels| labels[row]);
        let rows = 0..self.outputs.len();
        rows.map(|row| {
            if self.ignored.contains(&row) {
                IGNORE
            } else {
                given(row)
            }
        })
        .collect()
    }

    fn targets(&self) -> Vec<f64> {
        let rows = self.targets.iter().flatten().flatten();
        rows.map(|target| target.unwrap_or(f64::from(MISSING)))
            .collect()
    }

    /// The mean loss and its gradient as an executor computes them in f32.
    fn play(&self, recorded: &Recorded, executor: &mut dyn Executor) -> (f32, Vec<f32>) {
        let head = &recorded.network.head;
        let single = |values: Vec<f64>| -> Vec<f32> {
            values.into_iter().map(|value| value as f32).collect()
        };
        let write = "sizes agree";
        executor
            .write(&head.outputs, &single(self.outputs.concat()))
            .expect(write);
        executor
            .write_index(&head.labels, &self.labels())
            .expect(write);
        if let Some(targets) = &head.targets {
            executor
                .write(targets, &single(self.targets()))
                .expect(write);
        }
        if let (Some(tensor), Some(weights)) = (&head.weights, &self.weights) {
            executor
                .write(tensor, &single(weights.clone()))
                .expect(write);
        }
        executor.run(&[Phase::Forward], 1).expect("it runs");
        let scores = executor.read(&head.scores).expect("it can be read");
        let weight = executor.read(&head.label_weight).expect("it can be read")[0];
        let loss = scores[..scores.len() / 2].iter().sum::<f32>() * weight;
        (
            loss,
            executor.read(&recorded.gradient).expect("it can be read"),
        )
    }

    fn check_single(&self, name: &str, recorded: &Recorded, executor: &mut dyn Executor) {
        let (loss, gradient) = self.play(recorded, executor);
        let difference = |(found, expected): (&f32, &f64)| (found - *expected as f32).abs();
        let expected = self.gradient.concat();
        let worst = gradient.iter().zip(&expected).map(difference);
        let worst = worst.fold((loss - self.expected as f32).abs(), f32::max);
        assert!(worst <= SINGLE, "{name} {}: {worst:e}", self.name);
    }
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    for case in cases() {
        let recorded = case.recorded(Tuning::default());
        let head = &recorded.network.head;
        let mut cpu = Cpu::<f64>::new(recorded.network.program.clone()).expect("it fits");
        cpu.write_exact(&head.outputs, &case.outputs.concat());
        cpu.write_index(&head.labels, &case.labels())
            .expect("sizes agree");
        if let Some(targets) = &head.targets {
            cpu.write_exact(targets, &case.targets());
        }
        if let (Some(tensor), Some(weights)) = (&head.weights, &case.weights) {
            cpu.write_exact(tensor, weights);
        }
        cpu.run(&[Phase::Forward], 1).expect("it runs");
        let scores = cpu.read_exact(&head.scores);
        let weight = cpu.read_exact(&head.label_weight)[0];
        let loss = scores[..scores.len() / 2].iter().sum::<f64>() * weight;
        // The smoothing is rounded to f32.
        let bound = if case.smoothing > 0.0 { 1e-7 } else { EXACT };
        let error = (loss - case.expected).abs();
        assert!(
            error <= bound,
            "{}: {loss} against {}",
            case.name,
            case.expected
        );
        let gradient = cpu.read_exact(&recorded.gradient);
        for (at, (found, expected)) in gradient.iter().zip(case.gradient.concat()).enumerate() {
            let error = (found - expected).abs();
            assert!(
                error <= bound,
                "{} [{at}]: {found} against {expected}",
                case.name
            );
        }
    }
}

#[test]
fn they_are_the_same_in_f32_on_both_executors() {
    let cpu = OpenDevice::open(&Device::Cpu).expect("there is a CPU");
    let gpu = common::gpu().map(|device| OpenDevice::Gpu(Box::new(device)));
    for (name, device) in [("cpu", Some(cpu)), ("gpu", gpu)] {
        let Some(device) = device else {
            continue;
        };
        for case in cases() {
            let recorded = case.recorded(device.tuning());
            let program = &recorded.network.program;
            let mut executor = device.load(program).expect("it loads");
            case.check_single(name, &recorded, executor.as_mut());
        }
    }
}
