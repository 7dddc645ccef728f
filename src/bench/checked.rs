//! Training steps and matmuls whose results have been compared with the CPU in f64.

use std::time::{Duration, Instant};

use super::shape::{BenchShape, uniform};
use crate::backend::OpenDevice;
use crate::backend::cpu::Cpu;
use crate::backend::executor::Executor;
use crate::data::{Split, Splits};
use crate::error::{Error, Result};
use crate::kernels::{Call, Cost, Gemm, Matrix};
use crate::numeric::precision::Precision;
use crate::program::{Phase, Program};
use crate::recipe::Recipe;
use crate::record::RecordedNetwork;
use crate::tensor::{Element, Kind, Tensor};
use crate::train::Trainer;
use crate::train::feed::SUBMISSION_TIME;

/// A recipe with its data, and the accuracy to which its gradient can be computed.
pub(super) struct Workload {
    /// The name in errors.
    pub name: String,
    pub recipe: Recipe,
    pub data: Splits,
    /// The number of steps in an epoch.
    pub batches: usize,
    /// The length of the longest chain of roundings behind an element of the gradient.
    pub roundings: f64,
}

/// The right losses and gradients of the first batch of a workload, in f64. They are the same for
/// every tuning of a device.
pub(super) struct Expected {
    scores: Vec<f64>,
    gradients: Vec<Vec<f64>>,
}

/// A network in training on a device. The losses and gradients of its first batch are right.
pub struct CheckedTrainer {
    name: String,
    batches: usize,
    /// The largest error of losses and gradients that rounding explains.
    limit: f64,
    pub(super) trainer: Trainer,
}

impl CheckedTrainer {
    /// Loads a shape on a device and checks it.
    ///
    /// # Errors
    /// [`Error::WrongResult`] if losses or gradients are wrong; those of the device.
    pub fn new(shape: &BenchShape, device: &OpenDevice) -> Result<CheckedTrainer> {
        CheckedTrainer::load(shape.workload()?, device)
    }

    /// Loads a shape on a device and checks it against `expected`, which is computed where it is
    /// `None`.
    ///
    /// # Errors
    /// Those of [`CheckedTrainer::new`].
    pub(super) fn expecting(
        shape: &BenchShape,
        device: &OpenDevice,
        expected: &mut Option<Expected>,
    ) -> Result<CheckedTrainer> {
        let mut loaded = CheckedTrainer::unchecked(shape.workload()?, device)?;
        if expected.is_none() {
            *expected = Some(loaded.expected()?);
        }
        if let Some(expected) = expected {
            loaded.check(expected)?;
        }
        Ok(loaded)
    }

    /// Loads a workload on a device and checks it.
    ///
    /// # Errors
    /// Those of [`CheckedTrainer::new`].
    pub(super) fn load(workload: Workload, device: &OpenDevice) -> Result<CheckedTrainer> {
        let mut loaded = CheckedTrainer::unchecked(workload, device)?;
        let expected = loaded.expected()?;
        loaded.check(&expected)?;
        Ok(loaded)
    }

    fn unchecked(mut workload: Workload, device: &OpenDevice) -> Result<CheckedTrainer> {
        workload.recipe.precision = device.tuning().precision;
        let trainer = Trainer::load(&workload.recipe, &workload.data, device)?;
        let tile = device.tuning().tile;
        let halved = if tile.halves && tile.registers > 0 {
            halves_limit(trainer.recording().steps)
        } else {
            0.0
        };
        let rounded = rounding_limit(device, trainer.recording().steps);
        Ok(CheckedTrainer {
            limit: error_limit(workload.roundings) + halved + rounded,
            trainer,
            name: workload.name,
            batches: workload.batches,
        })
    }

    /// The recorded step.
    pub(super) fn recording(&self) -> &RecordedNetwork {
        self.trainer.recording()
    }

    /// Plays `steps` training steps, or forward passes over the test split, and returns their time.
    /// Each epoch is one submission.
    ///
    /// # Errors
    /// Those of the device.
    pub fn play(&mut self, split: Split, steps: usize) -> Result<Duration> {
        let (mut seconds, mut left) = (0.0, steps);
        while left > 0 {
            let count = left.min(self.batches);
            seconds += self.trainer.play(split, count)?.step * count as f64;
            left -= count;
        }
        Ok(Duration::from_secs_f64(seconds))
    }

    /// Returns the number of steps that a run would submit at once.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn steps_per_submission(&mut self, split: Split) -> Result<usize> {
        self.trainer.play(split, 1)?;
        let step = self.trainer.play(split, 1)?.step;
        Ok(((SUBMISSION_TIME.as_secs_f64() / step) as usize).clamp(1, self.batches))
    }

    /// Returns the program in f64 on the CPU, with the buffers of the trainer's first step.
    fn reference(&mut self) -> Result<Cpu<f64>> {
        let program = self.recording().program.clone();
        let mut reference = Cpu::new(program.clone())?;
        let (executor, _) = self.trainer.rewind(Split::Train)?;
        for (index, buffer) in program.buffers().iter().enumerate() {
            let whole = program.whole(index);
            match (buffer.kind, buffer.element) {
                // These buffers start as zeros.
                (Kind::Activations | Kind::Gradients | Kind::Moments, _) => {}
                (_, Element::Real) => reference.write(&whole, &executor.read(&whole)?)?,
                (_, Element::Index) => {
                    reference.write_index(&whole, &executor.read_index(&whole)?)?;
                }
            }
        }
        Ok(reference)
    }

    /// Returns the losses and gradients of the first batch, by the CPU in f64.
    fn expected(&mut self) -> Result<Expected> {
        let mut reference = self.reference()?;
        reference.run(&[Phase::Forward, Phase::Backward], 1)?;
        let gradients = self.gradients();
        Ok(Expected {
            scores: reference.read_exact(&self.scores()),
            gradients: gradients
                .iter()
                .map(|(_, tensor)| reference.read_exact(tensor))
                .collect(),
        })
    }

    /// Plays a forward and a backward pass, and compares losses and gradients.
    fn check(&mut self, expected: &Expected) -> Result<()> {
        let (scores, gradients) = (self.scores(), self.gradients());
        let (name, limit) = (self.name.clone(), self.limit);
        let (executor, _) = self.trainer.rewind(Split::Train)?;
        executor.run(&[Phase::Forward, Phase::Backward], 1)?;
        let mut check = |what: &str, tensor: Tensor, expected: &[f64]| {
            let found = executor.read(&tensor)?;
            check_result(&format!("{name}: {what}"), &found, expected, limit)
        };
        check("the loss", scores, &expected.scores)?;
        for ((entry, tensor), expected) in gradients.into_iter().zip(&expected.gradients) {
            check(&format!("the gradient of {entry}"), tensor, expected)?;
        }
        Ok(())
    }

    /// The losses of the outputs.
    fn scores(&self) -> Tensor {
        let outputs = &self.recording().head.outputs;
        let rows = outputs.shape.extents()[0];
        self.recording().head.scores.part(0, [rows])
    }

    /// The gradient of each parameter, with its name.
    fn gradients(&self) -> Vec<(String, Tensor)> {
        let model = self.recording();
        let Some(gradients) = model.gradients else {
            return vec![];
        };
        let entries = model.entries.iter();
        entries
            .map(|entry| {
                let tensor = gradients.part(entry.offset, [entry.shape.len()]);
                (entry.name.to_string(), tensor)
            })
            .collect()
    }
}

/// A matmul of two square matrices on a device. Its result is right.
pub struct CheckedGemm {
    executor: Box<dyn Executor>,
    /// The first element of the result; reading it waits for the device.
    first: Tensor,
    cost: Cost,
}

impl CheckedGemm {
    /// Loads a matmul of matrices with `side` rows and columns, and checks it.
    ///
    /// # Errors
    /// [`Error::WrongResult`] if the result is wrong; those of the device.
    pub fn new(side: usize, device: &OpenDevice) -> Result<CheckedGemm> {
        let mut program = Program::new();
        let [a, b, c] = ["a", "b", "c"]
            .map(|name| program.buffer(name, Kind::Activations, Element::Real, [side, side]));
        let [left, right, out] = [a, b, c].map(|tensor| Matrix::new(tensor, side, side));
        let call = Call::from(device.tuning().tiled(Gemm::new(left, right, out)));
        let cost = call.kernel().cost();
        program.push(Phase::Forward, call);
        program.set_precision(device.tuning().precision);
        let mut executor = device.load(&program)?;
        let mut reference = Cpu::<f64>::new(program)?;
        let executors: [&mut dyn Executor; 2] = [&mut reference, executor.as_mut()];
        for executor in executors {
            executor.write(&a, &uniform(side * side, 0))?;
            executor.write(&b, &uniform(side * side, 1))?;
            executor.run(&[Phase::Forward], 1)?;
        }
        let (found, expected) = (executor.read(&c)?, reference.read_exact(&c));
        let what = format!("gemm-{side}: the result");
        check_result(
            &what,
            &found,
            &expected,
            error_limit(side as f64) + rounding_limit(device, 1),
        )?;
        Ok(CheckedGemm {
            executor,
            first: c.part(0, [1]),
            cost,
        })
    }

    /// Floating-point operations and bytes of the matmul.
    pub(super) fn cost(&self) -> Cost {
        self.cost
    }

    /// Computes the matmul `times` times and returns the time of all.
    ///
    /// # Errors
    /// Those of the device.
    pub fn play(&mut self, times: usize) -> Result<Duration> {
        let start = Instant::now();
        self.executor.run(&[Phase::Forward], times)?;
        self.executor.read(&self.first)?;
        Ok(start.elapsed())
    }
}

/// Returns the largest distance between results in f32 and f64, relative to the Euclidean norm,
/// that a chain of n roundings explains. Their errors add up to about √n roundings, and to more
/// than λ √n with a probability of at most 2n exp(-λ²/2) (Higham and Mary, 2019); here λ is 10.
pub(super) fn error_limit(roundings: f64) -> f64 {
    10.0 * roundings.sqrt() / f64::from(1 << 24)
}

/// Returns what weights in registers as f16 add to that distance over `steps` time steps: each
/// step multiplies by weights with an error of at most 2^-11 of their norm.
fn halves_limit(steps: usize) -> f64 {
    steps as f64 / f64::from(1 << 11)
}

/// Returns what operands in bf16 add to that distance over `steps` time steps. The operands of a
/// matmul have independent errors of at most 2^-8, and together those of the forward and of the
/// backward pass at most 2^-6 of the norm in each step; errors of several steps are independent.
pub(super) fn rounding_limit(device: &OpenDevice, steps: usize) -> f64 {
    match device.tuning().precision {
        Precision::Bf16 => (steps as f64).sqrt() / f64::from(1 << 6),
        _ => 0.0,
    }
}

/// Returns the Euclidean distance between two vectors relative to the norm of the second.
fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    let norm = |squares: &mut dyn Iterator<Item = f64>| squares.sum::<f64>().sqrt();
    let pairs = found.iter().zip(expected);
    let distance = norm(&mut pairs.map(|(&found, expected)| (f64::from(found) - expected).powi(2)));
    distance / norm(&mut expected.iter().map(|expected| expected.powi(2)))
}

/// Refuses a result that differs by more than `limit`, or that is NaN.
pub(super) fn check_result(what: &str, found: &[f32], expected: &[f64], limit: f64) -> Result<()> {
    let error = relative_error(found, expected);
    if error <= limit {
        return Ok(());
    }
    Err(Error::WrongResult(format!(
        "{what} differs from the CPU's in f64 by {error:.1e} of its norm, and rounding explains \
         {limit:.1e}; wrong results are not timed; `gatescan verify` on the same device names the \
         kernel"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::device::Device;

    #[test]
    fn small_errors_are_found_and_rounding_is_not() {
        for name in ["rnn-6-9-5-12", "gru2-6-9-5-12", "lstm-ragged-6-9-5-12"] {
            let shape: BenchShape = name.parse().unwrap();
            let device = OpenDevice::open(&Device::Cpu).unwrap();
            let mut loaded = CheckedTrainer::new(&shape, &device).unwrap();
            let expected = loaded.expected().unwrap();
            loaded.check(&expected).unwrap();

            let weight = loaded.recording().parameters.part(0, [1]);
            let (executor, _) = loaded.trainer.rewind(Split::Train).unwrap();
            let value = executor.read(&weight).unwrap()[0];
            executor.write(&weight, &[value + 0.001]).unwrap();
            let error = loaded.check(&expected).unwrap_err();
            assert_eq!(error.exit_code(), 1);
            let message = error.to_string();
            assert!(message.starts_with(&format!("{name}: the ")), "{message}");
            assert!(message.contains("rounding explains"), "{message}");
        }
        check_result("it", &[1.0, 2.0], &[1.0, 2.0], 0.0).unwrap();
        check_result("it", &[1.0, f32::NAN], &[1.0, 2.0], 1.0).unwrap_err();
        check_result("it", &[0.0], &[0.0], 1.0).unwrap_err();
    }
}
