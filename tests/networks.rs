//! Heads that read a reduction over time, several heads with a loss each, and embedded categories,
//! against PyTorch in float64: tests/interop/networks.py writes the expected values.

mod common;

use std::path::Path;

use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::tuning::Tuning;
use gatescan::low_level::kernels::IGNORE;
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, HeadTensors, RecordedNetwork};
use gatescan::low_level::tensor::Tensor;
use gatescan::{Device, Network, OpenDevice};
use serde::Deserialize;

/// Values are of order 1, and a gradient is a sum of some hundred roundings of 2^-53.
const EXACT: f64 = 1e-13;

/// Labels of the longest list that networks.py writes.
const LONGEST_LIST: usize = 3;

/// The same with roundings of 2^-24.
const SINGLE: f64 = 4e-6;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

/// A network and a batch as networks.py writes them.
#[derive(Deserialize)]
struct Case {
    name: String,
    network: Network,
    parameters: Vec<NamedValues>,
    /// `[B, T, I]`.
    inputs: Vec<Vec<Vec<f64>>>,
    lengths: Vec<u32>,
    #[serde(default)]
    labels: Vec<u32>,
    /// `[B, K]`.
    #[serde(default)]
    outputs: Vec<Vec<f64>>,
    /// The mean loss, or the weighted sum of those of several heads.
    expected: f64,
    #[serde(default)]
    heads: Vec<HeadCase>,
}

/// The targets of one of several heads, `[B]` or `[B, T]` of them, and what is expected.
#[derive(Deserialize)]
struct HeadCase {
    name: String,
    size: usize,
    weight: f64,
    known: serde_json::Value,
    targets: serde_json::Value,
    outputs: serde_json::Value,
    /// The mean loss without the weight.
    expected: f64,
}

/// The numbers of nested arrays in order; booleans are 0 and 1.
fn numbers(value: &serde_json::Value) -> Vec<f64> {
    match value {
        serde_json::Value::Array(parts) => parts.iter().flat_map(numbers).collect(),
        serde_json::Value::Bool(flag) => vec![f64::from(u8::from(*flag))],
        number => vec![number.as_f64().expect("it is a number")],
    }
}

#[derive(Deserialize)]
struct NamedValues {
    name: String,
    shape: Vec<usize>,
    values: Vec<f64>,
    gradient: Vec<f64>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/networks.json");
    let text = std::fs::read_to_string(path).expect("networks.py has written it");
    let cases: Cases = serde_json::from_str(&text).expect("it is what networks.py writes");
    cases.cases
}

impl Case {
    fn recorded(&self, tuning: Tuning) -> RecordedNetwork {
        let [batch, steps] = [self.inputs.len(), self.inputs[0].len()];
        let gradients = Gradients::OfLoss;
        let mut model = RecordedNetwork::new(&self.network, steps, batch, gradients, tuning)
            .expect("the network is valid");
        model.add_lists(LONGEST_LIST).expect("they are small");
        model.forward(Phase::Forward);
        model.loss(Phase::Forward);
        model.backward();
        model
    }

    /// `[T, B, I]`.
    fn time_major(&self) -> Vec<f64> {
        let steps = 0..self.inputs[0].len();
        let rows = steps.flat_map(|t| self.inputs.iter().map(move |sequence| &sequence[t]));
        rows.flatten().copied().collect()
    }

    /// The flat vector of all parameters.
    fn flat(&self, model: &RecordedNetwork) -> Vec<f64> {
        let mut flat = vec![0.0; model.parameters.len()];
        assert_eq!(self.parameters.len(), model.entries.len(), "{}", self.name);
        for entry in &model.entries {
            let own = self.named(&entry.name);
            assert_eq!(own.shape, entry.shape.extents(), "{}", entry.name);
            flat[entry.range()].copy_from_slice(&own.values);
        }
        flat
    }

    fn named(&self, name: &str) -> &NamedValues {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|parameter| parameter.name == name);
        found.unwrap_or_else(|| panic!("{}: no {name}", self.name))
    }

    /// Rows `[B, T]` of `width` values in the order of the rows of a network, `[T, B]`.
    fn rows(&self, values: &[f64], width: usize) -> Vec<f64> {
        let batch = self.inputs.len();
        let steps = values.len() / width / batch;
        let row = |t: usize, b: usize| &values[(b * steps + t) * width..][..width];
        let rows = (0..steps).flat_map(|t| (0..batch).map(move |b| (t, b)));
        rows.flat_map(|(t, b)| row(t, b)).copied().collect()
    }

    /// The labels and the targets of each head with its tensors.
    fn targets<'a>(
        &'a self,
        model: &'a RecordedNetwork,
    ) -> impl Iterator<Item = (&'a HeadTensors, Vec<u32>, Vec<f64>)> + 'a {
        model.heads.iter().zip(&self.heads).map(|(tensors, case)| {
            let values = numbers(&case.targets);
            let known = numbers(&case.known);
            let width = values.len() / known.len();
            let (known, values) = (self.rows(&known, 1), self.rows(&values, width));
            let has_classes = tensors.targets.is_none();
            let label = |(row, &known): (usize, &f64)| match (known > 0.0, has_classes) {
                (false, _) => IGNORE,
                (true, true) if tensors.lists.is_none() => values[row] as u32,
                (true, true) => 0,
                (true, false) => 0,
            };
            let labels = known.iter().enumerate().map(label).collect();
            (tensors, labels, values.clone())
        })
    }

    /// The labels of the only head, or of the sum of several: 0 where one of them has a label.
    fn labels(&self, model: &RecordedNetwork) -> Vec<u32> {
        if self.heads.is_empty() {
            return self.labels.clone();
        }
        let each: Vec<Vec<u32>> = self.targets(model).map(|(_, labels, _)| labels).collect();
        // A list is that of the first step.
        let is_label = |label: Option<&u32>| label.is_some_and(|&label| label != IGNORE);
        let has_label = |row: usize| each.iter().any(|labels| is_label(labels.get(row)));
        let rows = 0..model.head.labels.len();
        rows.map(|row| if has_label(row) { 0 } else { IGNORE })
            .collect()
    }

    /// `[L, B]`: lists of `values` `[B, L]`, which are below 0 after the end of a list.
    fn lists(&self, values: &[f64]) -> Vec<u32> {
        let batch = self.inputs.len();
        let longest = values.len() / batch;
        let label = |at: usize| values[at % batch * longest + at / batch];
        let labels = (0..values.len()).map(label);
        labels
            .map(|label| if label < 0.0 { IGNORE } else { label as u32 })
            .collect()
    }

    /// Checks the outputs and the losses of several heads.
    fn check_heads(
        &self,
        model: &RecordedNetwork,
        compare: &impl Fn(&str, &[f64], &[f64]),
        read: &mut dyn FnMut(&Tensor) -> Vec<f64>,
    ) {
        for (tensors, case) in model.heads.iter().zip(&self.heads) {
            let (expected, width) = (numbers(&case.outputs), case.size);
            let batch = self.inputs.len();
            let known = match tensors.lists {
                None => self.rows(&numbers(&case.known), 1),
                Some(_) => {
                    let rows = 0..expected.len() / width;
                    let is_valid = |row: usize| ((row / batch) as u32) < self.lengths[row % batch];
                    rows.map(|row| f64::from(u8::from(is_valid(row)))).collect()
                }
            };
            let (found, expected) = (read(&tensors.outputs), self.rows(&expected, width));
            // Padded steps have no outputs.
            let of_known = |values: &[f64]| -> Vec<f64> {
                let rows = values.chunks(width).zip(&known);
                let rows = rows.filter(|(_, known)| **known > 0.0);
                rows.flat_map(|(row, _)| row).copied().collect()
            };
            compare(&case.name, &of_known(&found), &of_known(&expected));
            let scores = read(&tensors.scores);
            let weight = read(&tensors.label_weight)[0] / case.weight;
            let loss = scores[..scores.len() / 2].iter().sum::<f64>() * weight;
            compare(&case.name, &[loss], &[case.expected]);
        }
    }

    /// Checks outputs, loss and gradients; `read` returns a tensor's values after both passes.
    fn check(
        &self,
        model: &RecordedNetwork,
        bound: f64,
        read: &mut dyn FnMut(&Tensor) -> Vec<f64>,
    ) {
        let compare = |what: &str, found: &[f64], expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (found - expected).abs();
                let name = &self.name;
                assert!(
                    error <= bound,
                    "{name}, {what} [{at}]: {found} against {expected}"
                );
            }
        };
        if self.heads.is_empty() {
            let expected = self.outputs.concat();
            compare("outputs", &read(&model.head.outputs), &expected);
        }
        self.check_heads(model, &compare, read);
        let scores = read(&model.head.scores);
        let weight = read(&model.head.label_weight)[0];
        let loss = scores[..scores.len() / 2].iter().sum::<f64>() * weight;
        compare("loss", &[loss], &[self.expected]);
        let gradients = read(&model.gradients.expect("it was requested"));
        for entry in &model.entries {
            let own = self.named(&entry.name);
            compare(&entry.name, &gradients[entry.range()], &own.gradient);
        }
    }
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() {
    for case in cases() {
        let model = case.recorded(Tuning::default());
        let mut cpu = Cpu::<f64>::new(model.program.clone()).expect("it fits");
        cpu.write_exact(&model.parameters, &case.flat(&model));
        cpu.write_exact(&model.inputs, &case.time_major());
        for (tensor, values) in [
            (&model.lengths, &case.lengths),
            (&model.head.labels, &case.labels(&model)),
        ] {
            cpu.write_index(tensor, values).expect("sizes agree");
        }
        for (tensors, labels, values) in case.targets(&model) {
            cpu.write_index(&tensors.labels, &labels)
                .expect("sizes agree");
            if let Some(targets) = &tensors.targets {
                cpu.write_exact(targets, &values);
            }
            if let Some(lists) = &tensors.lists {
                let written = cpu.write_index(&lists.labels, &case.lists(&values));
                written.expect("sizes agree");
            }
        }
        cpu.run(&[Phase::Forward, Phase::Backward], 1)
            .expect("it runs");
        case.check(&model, EXACT, &mut |tensor| cpu.read_exact(tensor));
    }
}

#[test]
fn they_are_the_same_in_f32_on_both_executors() {
    let cpu = OpenDevice::open(&Device::Cpu).expect("there is a CPU");
    let gpu = common::gpu().map(|device| OpenDevice::Gpu(Box::new(device)));
    for device in [Some(cpu), gpu].into_iter().flatten() {
        for case in cases() {
            let model = case.recorded(device.tuning());
            let mut executor = device.load(&model.program).expect("it loads");
            let single = |values: Vec<f64>| -> Vec<f32> {
                values.into_iter().map(|value| value as f32).collect()
            };
            for (tensor, values) in [
                (&model.parameters, single(case.flat(&model))),
                (&model.inputs, single(case.time_major())),
            ] {
                executor.write(tensor, &values).expect("sizes agree");
            }
            for (tensor, values) in [
                (&model.lengths, &case.lengths),
                (&model.head.labels, &case.labels(&model)),
            ] {
                executor.write_index(tensor, values).expect("sizes agree");
            }
            for (tensors, labels, values) in case.targets(&model) {
                let written = executor.write_index(&tensors.labels, &labels);
                written.expect("sizes agree");
                if let Some(lists) = &tensors.lists {
                    let written = executor.write_index(&lists.labels, &case.lists(&values));
                    written.expect("sizes agree");
                }
                if let Some(targets) = &tensors.targets {
                    executor
                        .write(targets, &single(values))
                        .expect("sizes agree");
                }
            }
            executor
                .run(&[Phase::Forward, Phase::Backward], 1)
                .expect("it runs");
            case.check(&model, SINGLE, &mut |tensor| {
                let values = executor.read(tensor).expect("it can be read");
                values.into_iter().map(f64::from).collect()
            });
        }
    }
}
