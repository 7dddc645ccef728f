//! Connectionist temporal classification against torch.nn.CTCLoss.

use std::path::Path;

use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::tuning::Tuning;
use gatescan::low_level::kernels::IGNORE;
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, RecordedNetwork, TrainingLoss};
use gatescan::low_level::tensor::Tensor;
use gatescan::network::Init;
use gatescan::{Cell, Device, Head, Input, Layer, Loss, Network, OpenDevice, Reads};
use serde::Deserialize;

use super::common;

/// A step adds about ten roundings of 2^-53 to logarithms of order 100, on both sides.
const EXACT: f64 = 1e-12;

/// Ten roundings of 2^-24 for each step, to be multiplied by the largest logit.
const SINGLE: f64 = 6e-7;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

/// A batch as ctc.py writes it.
#[derive(Deserialize)]
struct Case {
    name: String,
    loss: Loss,
    steps: usize,
    /// `[T * B, K]`.
    logits: Vec<Vec<f64>>,
    lists: Vec<Vec<u32>>,
    lengths: Vec<u32>,
    weights: Option<Vec<f64>>,
    /// `[B]`; `None` for infinity.
    losses: Vec<Option<f64>>,
    /// `[T * B, K]`: the gradient of the mean; `None` for NaN.
    gradient: Vec<Vec<Option<f64>>>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/ctc.json");
    let text = std::fs::read_to_string(path).expect("ctc.py has written it");
    let cases: Cases = serde_json::from_str(&text).expect("it is what ctc.py writes");
    cases.cases
}

/// A case's loss, recorded without the forward pass.
struct Recorded {
    network: RecordedNetwork,
    lists: Tensor,
    gradient: Tensor,
}

impl Case {
    fn batch(&self) -> usize {
        self.lists.len()
    }

    fn longest(&self) -> usize {
        self.lists.iter().map(Vec::len).max().unwrap_or(0).max(1)
    }

    fn recorded(&self, tuning: Tuning) -> Recorded {
        let network = Network {
            input_size: 1,
            input: Input::Values,
            layers: vec![Layer::new(Cell::RnnTanh, 1)],
            head: Head {
                size: self.logits[0].len(),
                reads: Reads::Every,
                loss: self.loss,
                init: Init::default(),
            },
            heads: vec![],
            categories: vec![],
        };
        let (steps, batch, of_loss) = (self.steps, self.batch(), Gradients::OfLoss);
        let mut network = RecordedNetwork::new(&network, steps, batch, of_loss, tuning)
            .expect("the network is valid");
        // One label more than the longest list has.
        network.add_lists(self.longest() + 1).expect("it is small");
        if self.weights.is_some() {
            network.add_weights(0);
        }
        network.training_loss(&[TrainingLoss::default()]);
        let mut buffers = network.program.buffers().iter();
        let gradient = buffers.position(|buffer| buffer.name == "doutputs");
        Recorded {
            lists: network.head.lists.expect("they were added").labels,
            gradient: network.program.whole(gradient.expect("there is one")),
            network,
        }
    }

    /// `[L, B]`.
    fn padded_lists(&self) -> Vec<u32> {
        let label = |j: usize, list: &Vec<u32>| list.get(j).copied().unwrap_or(IGNORE);
        let rows = 0..=self.longest();
        rows.flat_map(|j| self.lists.iter().map(move |list| label(j, list)))
            .collect()
    }

    fn write_indices(&self, recorded: &Recorded, executor: &mut dyn Executor) {
        let Recorded { network, lists, .. } = recorded;
        for (tensor, values) in [
            (lists, &self.padded_lists()),
            (&network.lengths, &self.lengths),
            (&network.head.labels, &vec![0; self.batch()]),
        ] {
            executor.write_index(tensor, values).expect("sizes agree");
        }
    }

    /// Compares losses and gradients with those of PyTorch, each within `bound`.
    fn check(&self, name: &str, bound: f64, losses: &[f64], gradient: &[f64]) {
        let weight = |b: usize| self.weights.as_ref().map_or(1.0, |weights| weights[b]);
        for (b, expected) in self.losses.iter().enumerate() {
            let expected = expected.map_or(f64::INFINITY, |loss| loss * weight(b));
            let is_same = losses[b] == expected || (losses[b] - expected).abs() <= bound;
            assert!(
                is_same,
                "{name} {} [{b}]: {} against {expected}",
                self.name, losses[b]
            );
        }
        let expected = self.gradient.iter().flatten();
        for (at, (&found, expected)) in gradient.iter().zip(expected).enumerate() {
            let is_same = match expected {
                Some(expected) => (found - expected).abs() <= bound,
                None => found.is_nan(),
            };
            assert!(
                is_same,
                "{name} {} [{at}]: {found} against {expected:?}",
                self.name
            );
        }
    }
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    for case in cases() {
        let recorded = case.recorded(Tuning::default());
        let head = &recorded.network.head;
        let mut cpu = Cpu::<f64>::new(recorded.network.program.clone()).expect("it fits");
        cpu.write_exact(&head.outputs, &case.logits.concat());
        case.write_indices(&recorded, &mut cpu);
        if let (Some(tensor), Some(weights)) = (&head.weights, &case.weights) {
            cpu.write_exact(tensor, weights);
        }
        cpu.run(&[Phase::Forward], 1).expect("it runs");
        let (losses, gradient) = (
            cpu.read_exact(&head.scores),
            cpu.read_exact(&recorded.gradient),
        );
        case.check("f64", EXACT, &losses, &gradient);
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
            let mut executor = device.load(&recorded.network.program).expect("it loads");
            let single =
                |values: &[f64]| -> Vec<f32> { values.iter().map(|&value| value as f32).collect() };
            let head = &recorded.network.head;
            let logits = single(&case.logits.concat());
            executor.write(&head.outputs, &logits).expect("sizes agree");
            case.write_indices(&recorded, executor.as_mut());
            if let (Some(tensor), Some(weights)) = (&head.weights, &case.weights) {
                executor
                    .write(tensor, &single(weights))
                    .expect("sizes agree");
            }
            let mut results = vec![];
            // Twice: the same bits.
            for _ in 0..2 {
                executor.run(&[Phase::Forward], 1).expect("it runs");
                let mut read = |tensor| executor.read(tensor).expect("it can be read");
                results.push([read(&head.scores), read(&recorded.gradient)]);
            }
            let bits = |values: &[Vec<f32>; 2]| {
                let values = values.iter().flatten();
                values.map(|value| value.to_bits()).collect::<Vec<_>>()
            };
            assert_eq!(bits(&results[0]), bits(&results[1]), "{name} {}", case.name);
            let double =
                |values: &[f32]| -> Vec<f64> { values.iter().map(|&value| value.into()).collect() };
            let [losses, gradient] = &results[0];
            // Of large logits, the roundings are larger.
            let largest = case
                .logits
                .iter()
                .flatten()
                .fold(1.0f64, |all, x| all.max(x.abs()));
            let bound = SINGLE * case.steps as f64 * largest.max(1.0);
            case.check(name, bound, &double(losses), &double(gradient));
        }
    }
}
