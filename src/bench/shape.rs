//! The shapes of a benchmark, by name.

use std::fmt;
use std::str::FromStr;

use super::checked::Workload;
use crate::backend::OpenDevice;
use crate::cells::Cell;
use crate::data::{Dataset, Inputs, Splits, Targets};
use crate::error::{Error, Result};
use crate::messages::{did_you_mean, listed};
use crate::network::{Bias, Init, Layer, Loss, Reads};
use crate::recipe::optimizer::Optimizer;
use crate::recipe::{HeadRecipe, Recipe};
use crate::rng::{Philox, Stream};

/// The default shapes for training steps and kernels.
pub const SHAPES: [&str; 9] = [
    "rnn-150-28-28-150",
    "lstm-128-28-28-128",
    "gru-128-28-28-128",
    "lstm2-64-50-64-256",
    "lstm-32-64-512-512",
    LARGE,
    "lstm-4-28-28-16",
    "lstm-1-1000-8-64",
    "lstm-ragged-128-100-28-128",
];

/// A shape that is measured on a CPU or a software driver only by request: it takes too long there.
const LARGE: &str = "lstm-64-50-1024-1024";

/// The default shapes for scans.
pub const SCANS: [&str; 4] = [
    "lstm-128-28-28-64",
    "lstm-128-28-28-128",
    "lstm-128-28-28-256",
    "lstm-128-28-28-512",
];

/// The sides of the square matmuls; the last one is measured on GPUs only.
pub const SIDES: [usize; 5] = [256, 512, 1024, 2048, 4096];

/// The largest number of input elements in a batch.
const LARGEST_BATCH: u128 = 1 << 26;
const MOST_LAYERS: usize = 64;
/// The number of input elements in a data set, unless [`FEWEST_BATCHES`] have more.
const DATASET_ELEMENTS: usize = 1 << 23;
const FEWEST_BATCHES: usize = 4;
/// The largest number of batches: a submission has at most this number of steps.
pub(super) const MOST_BATCHES: usize = 256;

/// The cells by their names in shapes.
const CELLS: [(&str, Cell); 3] = [
    ("rnn", Cell::RnnTanh),
    ("lstm", Cell::Lstm),
    ("gru", Cell::Gru),
];

/// A network and its batch: layers of one cell and size with PyTorch's biases and initial values,
/// and a linear head with [`BenchShape::CLASSES`] classes over the last state. It is trained with
/// cross-entropy and Adam at a learning rate of 0.001.
///
/// A shape is written as CELL-B-T-I-H, for example `lstm-128-28-28-128`, and with two layers
/// `lstm2-64-50-64-256`. In `lstm-ragged-128-100-28-128` the lengths of a batch's sequences are
/// uniform in 1..=T.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchShape {
    pub cell: Cell,
    /// L.
    pub layers: usize,
    /// Whether sequences have different lengths.
    pub ragged: bool,
    /// B.
    pub batch: usize,
    /// T.
    pub steps: usize,
    /// I.
    pub inputs: usize,
    /// H.
    pub hidden: usize,
}

impl fmt::Display for BenchShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = CELLS.iter().find(|(_, cell)| *cell == self.cell);
        write!(f, "{}", name.map_or("", |(name, _)| name))?;
        if self.layers > 1 {
            write!(f, "{}", self.layers)?;
        }
        let ragged = if self.ragged { "-ragged" } else { "" };
        let BenchShape {
            batch,
            steps,
            inputs,
            hidden,
            ..
        } = self;
        write!(f, "{ragged}-{batch}-{steps}-{inputs}-{hidden}")
    }
}

impl FromStr for BenchShape {
    type Err = Error;

    /// # Errors
    /// [`Error::Usage`] for a text that is not a shape, with the most similar one of [`SHAPES`],
    /// and for a shape that is too large.
    fn from_str(name: &str) -> Result<BenchShape> {
        let shape = parse(name).ok_or_else(|| {
            Error::usage(format!(
                "`{name}` is not a shape{}; a shape is CELL-B-T-I-H (batch, time steps, inputs, \
                 hidden units), for example lstm-128-28-28-128; CELL is rnn, lstm or gru, then the \
                 number of layers if there are several, then -ragged if the lengths differ; the \
                 default shapes are {}",
                did_you_mean(name, &SHAPES),
                listed(&SHAPES)
            ))
        })?;
        if shape.is_too_large() {
            return Err(Error::usage(format!(
                "the shape `{name}` is too large; a batch can have at most 2^26 input elements, \
                 and the network at most {MOST_LAYERS} layers"
            )));
        }
        Ok(shape)
    }
}

fn parse(name: &str) -> Option<BenchShape> {
    let (cell, sizes) = name.split_once('-')?;
    let (ragged, sizes) = match sizes.strip_prefix("ragged-") {
        Some(sizes) => (true, sizes),
        None => (false, sizes),
    };
    let (&(_, cell), layers) = CELLS
        .iter()
        .find_map(|entry| Some((entry, cell.strip_prefix(entry.0)?)))?;
    let count = |text: &str| text.parse().ok().filter(|&count: &usize| count > 0);
    let sizes: Vec<usize> = sizes.split('-').map(count).collect::<Option<_>>()?;
    let [batch, steps, inputs, hidden] = sizes[..] else {
        return None;
    };
    Some(BenchShape {
        cell,
        layers: if layers.is_empty() { 1 } else { count(layers)? },
        ragged,
        batch,
        steps,
        inputs,
        hidden,
    })
}

impl BenchShape {
    /// K.
    pub const CLASSES: usize = 10;

    /// Returns the same shape with all sequences of length T.
    pub(super) fn dense(self) -> BenchShape {
        BenchShape {
            ragged: false,
            ..self
        }
    }

    /// Returns the fraction of time steps that are not padding, from 0 to 1.
    pub fn valid_part(&self) -> f64 {
        let valid: usize = self.lengths().iter().sum();
        valid as f64 / (self.batch * self.steps) as f64
    }

    fn is_too_large(&self) -> bool {
        let sizes = [self.batch, self.steps, self.inputs];
        let elements = sizes
            .iter()
            .try_fold(1u128, |all, &size| all.checked_mul(size as u128));
        elements.is_none_or(|elements| elements > LARGEST_BATCH) || self.layers > MOST_LAYERS
    }

    /// Returns the number of batches in the data set.
    fn batches(&self) -> usize {
        let batch = self.batch * self.steps * self.inputs;
        (DATASET_ELEMENTS / batch).clamp(FEWEST_BATCHES, MOST_BATCHES)
    }

    /// Returns the length of each sequence of a batch: the same in every batch, so that all batches
    /// take the same time.
    fn lengths(&self) -> Vec<usize> {
        let length = |n: usize| {
            if self.ragged {
                1 + self.steps * n / self.batch
            } else {
                self.steps
            }
        };
        (0..self.batch).map(length).collect()
    }

    /// Returns what a benchmark of this shape trains.
    ///
    /// # Errors
    /// Those of [`Dataset::with_lengths`].
    pub(super) fn workload(&self) -> Result<Workload> {
        Ok(Workload {
            name: self.to_string(),
            recipe: self.recipe(),
            data: self.data()?,
            batches: self.batches(),
            roundings: self.roundings(),
        })
    }

    /// Returns the recipe of [`BenchShape::workload`].
    pub(super) fn recipe(&self) -> Recipe {
        let layer = Layer {
            bias: Bias::Double,
            init: Init::Torch,
            ..Layer::new(self.cell, self.hidden)
        };
        let head = HeadRecipe {
            init: Init::Torch,
            ..HeadRecipe::new(Reads::Last, Loss::CrossEntropy)
        };
        let layers = vec![layer; self.layers];
        Recipe {
            batch_size: self.batch,
            ..Recipe::new("bench", layers, head, Optimizer::adam(1e-3))
        }
    }

    /// Returns uniform inputs in ±1, with classes that do not depend on them.
    pub(super) fn data(&self) -> Result<Splits> {
        let count = self.batches() * self.batch;
        let mut data = Dataset {
            count,
            steps: self.steps,
            features: self.inputs,
            inputs: Inputs::Floats(uniform(count * self.steps * self.inputs, 0)),
            targets: Targets::Classes {
                labels: (0..count).map(|n| (n % Self::CLASSES) as u32).collect(),
                classes: Self::CLASSES,
                per_step: false,
            },
            lengths: None,
            weights: None,
        };
        if self.ragged {
            data = data.with_lengths(&self.lengths().repeat(self.batches()))?;
        }
        Ok(Splits {
            test: Some(data.clone().into()),
            ..data.into()
        })
    }

    /// Returns the length of the longest chain of roundings behind an element of the gradient: the
    /// matmuls with W and R and the gates in all time steps, those of the backward pass, and the
    /// sum over all time steps of a batch.
    pub(super) fn roundings(&self) -> f64 {
        let (gates, steps) = (self.cell.spec().gates, self.steps);
        let layers = self.layers * (gates + 1) * self.hidden;
        (steps * (self.inputs + layers) + steps * self.batch) as f64
    }
}

/// Draws `count` values in ±1.
pub(super) fn uniform(count: usize, seed: u64) -> Vec<f32> {
    let mut draws = Philox::new(seed, Stream::Images);
    (0..count).map(|_| 2.0 * draws.uniform() - 1.0).collect()
}

/// Returns the shapes of [`SHAPES`] that are measured on a device.
pub fn shapes(device: &OpenDevice) -> Vec<BenchShape> {
    let names = SHAPES.iter();
    let suited = names.filter(|&&name| name != LARGE || is_gpu(device));
    suited.filter_map(|name| name.parse().ok()).collect()
}

/// Returns the shapes of [`SCANS`].
pub fn scan_shapes() -> Vec<BenchShape> {
    SCANS.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Returns those of [`SIDES`] that are measured on a device.
pub fn sides(device: &OpenDevice) -> &'static [usize] {
    if is_gpu(device) {
        &SIDES
    } else {
        &SIDES[..SIDES.len() - 1]
    }
}

/// Whether a device is a GPU and not a software driver.
fn is_gpu(device: &OpenDevice) -> bool {
    let adapter = device.adapter();
    adapter.is_some_and(|adapter| !adapter.is_software())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_written() {
        for name in SHAPES.iter().chain(&SCANS) {
            assert_eq!(name.parse::<BenchShape>().unwrap().to_string(), *name);
        }
        let shape: BenchShape = "lstm2-ragged-3-4-5-6".parse().unwrap();
        assert_eq!((shape.layers, shape.ragged), (2, true));
        assert_eq!(
            [shape.batch, shape.steps, shape.inputs, shape.hidden],
            [3, 4, 5, 6]
        );
    }

    #[test]
    fn texts_that_are_not_a_shape_are_refused() {
        for name in [
            "",
            "lstm",
            "lsmt-128-28-28-128",
            "lstm-128-28-28",
            "lstm-128-28-28-128-1",
            "lstm-0-28-28-128",
            "lstm0-128-28-28-128",
            "lstmx-128-28-28-128",
            "lstm-128-28-28--128",
            "lstm-99999999999999999999-1-1-1",
        ] {
            let error = name.parse::<BenchShape>().unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("is not a shape"), "{error}");
        }
        for name in [
            "lstm-1000000-1000000-1000000-8",
            "lstm-18446744073709551615-18446744073709551615-18446744073709551615-8",
            "lstm65-1-1-1-1",
        ] {
            let error = name.parse::<BenchShape>().unwrap_err().to_string();
            assert!(error.contains("is too large"), "{error}");
        }
    }

    #[test]
    fn ragged_lengths_are_uniform() {
        let shape: BenchShape = "lstm-ragged-128-100-28-128".parse().unwrap();
        let lengths = shape.lengths();
        assert_eq!((lengths[0], lengths[127]), (1, 100));
        // Each tenth of 1..=100 has a tenth of the sequences, to within one.
        for tenth in 0..10 {
            let range = 1 + 10 * tenth..=10 * (tenth + 1);
            let inside = lengths.iter().filter(|&length| range.contains(length));
            assert!((12..=14).contains(&inside.count()), "{range:?}");
        }
        assert!((shape.valid_part() - 0.5).abs() < 0.01);
        assert_eq!(shape.dense().valid_part(), 1.0);
    }
}
