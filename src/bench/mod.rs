//! How fast training is, at named shapes: whole steps, each kernel call alone, and the scans.
//!
//! Everything is checked against the CPU in f64 before it is timed: a wrong result has no speed.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::backend::OpenDevice;
use crate::backend::ceilings::Ceilings;
use crate::backend::cpu::Cpu;
use crate::backend::executor::Executor;
use crate::cells::Cell;
use crate::data::text;
use crate::data::{Dataset, Inputs, Split, Splits, Targets};
use crate::error::{Error, Result};
use crate::kernels::{Call, Cost, Gemm, Matrix};
use crate::messages::{did_you_mean, listed};
use crate::network::{Bias, Dropout, Init, Input, Layer, Loss, Reads};
use crate::numeric::statistics::quantile;
use crate::profile::{Clock, Machine, Options, Site, sites_of, step_calls};
use crate::program::{Phase, Program};
use crate::recipe::optimizer::Optimizer;
use crate::recipe::{HeadRecipe, Recipe};
use crate::rng::{Philox, Stream};
use crate::tensor::{Element, Kind, Tensor};
use crate::train::Trainer;
use crate::train::feed::SUBMISSION_TIME;

/// The shapes that are measured where none is named.
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

/// Too much for a CPU or a software driver, and so left out there unless it is named.
const LARGE: &str = "lstm-64-50-1024-1024";

/// The shapes of which the scans are measured where none is named.
pub const SCANS: [&str; 4] = [
    "lstm-128-28-28-64",
    "lstm-128-28-28-128",
    "lstm-128-28-28-256",
    "lstm-128-28-28-512",
];

/// Sides of the square products that are measured; the last one on GPUs alone.
pub const SIDES: [usize; 5] = [256, 512, 1024, 2048, 4096];

/// The largest batch of inputs: 2^26 numbers.
const LARGEST_BATCH: u128 = 1 << 26;
/// Numbers of a data set, unless [`FEWEST_BATCHES`] are more.
const DATA: usize = 1 << 23;
const FEWEST_BATCHES: usize = 4;
/// A piece of steps between two waits has no more, so that more batches would not be seen.
const MOST_BATCHES: usize = 256;

/// Samples of everything that is timed, however long they take.
const LEAST_SAMPLES: usize = 5;

/// A network and its batch: layers of one cell and size, biases and initial values as in PyTorch, and a linear head that
/// tells [`Shape::CLASSES`] classes apart by the last state. Trained with cross-entropy and Adam at a rate of 0.001.
///
/// Written as `lstm-128-28-28-128`: cell, B, T, I, H; as `lstm2-64-50-64-256` with two layers. In
/// `lstm-ragged-128-100-28-128` the lengths of a batch's sequences are uniform in 1..=T.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub cell: Cell,
    /// L.
    pub layers: usize,
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

/// Cells by their names in shapes.
const CELLS: [(&str, Cell); 3] = [
    ("rnn", Cell::RnnTanh),
    ("lstm", Cell::Lstm),
    ("gru", Cell::Gru),
];

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = CELLS.iter().find(|(_, cell)| *cell == self.cell);
        write!(f, "{}", name.map_or("", |(name, _)| name))?;
        if self.layers > 1 {
            write!(f, "{}", self.layers)?;
        }
        let ragged = if self.ragged { "-ragged" } else { "" };
        let Shape {
            batch,
            steps,
            inputs,
            hidden,
            ..
        } = self;
        write!(f, "{ragged}-{batch}-{steps}-{inputs}-{hidden}")
    }
}

impl FromStr for Shape {
    type Err = Error;

    /// # Errors
    /// [`Error::Usage`] for what is no shape, with the nearest of [`SHAPES`], and for one too large to be made.
    fn from_str(name: &str) -> Result<Shape> {
        let shape = parse(name).ok_or_else(|| {
            Error::usage(format!(
                "there is no shape `{name}`{}; a shape is CELL-B-T-I-H as in lstm-128-28-28-128 (batch, time steps, inputs, \
                 hidden units), CELL being rnn, lstm or gru, then the number of layers if there are several, then -ragged if \
                 lengths differ; measured by default are {}",
                did_you_mean(name, &SHAPES),
                listed(&SHAPES)
            ))
        })?;
        let sizes = [shape.batch, shape.steps, shape.inputs];
        let numbers = sizes
            .iter()
            .try_fold(1u128, |all, &size| all.checked_mul(size as u128));
        match numbers.is_some_and(|numbers| numbers <= LARGEST_BATCH) && shape.layers <= 64 {
            true => Ok(shape),
            false => Err(Error::usage(format!(
                "the shape `{name}` is too large: a batch may have 2^26 inputs, and the network 64 layers"
            ))),
        }
    }
}

fn parse(name: &str) -> Option<Shape> {
    let (kind, sizes) = name.split_once('-')?;
    let (ragged, sizes) = match sizes.strip_prefix("ragged-") {
        Some(sizes) => (true, sizes),
        None => (false, sizes),
    };
    let (&(_, cell), layers) = CELLS
        .iter()
        .find_map(|entry| Some((entry, kind.strip_prefix(entry.0)?)))?;
    let count = |text: &str| text.parse().ok().filter(|&count: &usize| count > 0);
    let sizes: Vec<usize> = sizes.split('-').map(count).collect::<Option<_>>()?;
    let [batch, steps, inputs, hidden] = sizes[..] else {
        return None;
    };
    Some(Shape {
        cell,
        layers: if layers.is_empty() { 1 } else { count(layers)? },
        ragged,
        batch,
        steps,
        inputs,
        hidden,
    })
}

impl Shape {
    /// K.
    pub const CLASSES: usize = 10;

    /// Batches of the data set.
    fn batches(&self) -> usize {
        let batch = self.batch * self.steps * self.inputs;
        (DATA / batch).clamp(FEWEST_BATCHES, MOST_BATCHES)
    }

    /// Valid steps of each of a batch's sequences: the same in every batch, so that all batches cost the same.
    fn lengths(&self) -> Vec<usize> {
        let length = |n: usize| match self.ragged {
            true => 1 + self.steps * n / self.batch,
            false => self.steps,
        };
        (0..self.batch).map(length).collect()
    }

    /// Valid steps as a part of all, from 0 to 1.
    pub fn valid_part(&self) -> f64 {
        let valid: usize = self.lengths().iter().sum();
        valid as f64 / (self.batch * self.steps) as f64
    }

    fn recipe(&self) -> Recipe {
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

    /// Uniform numbers in ±1, and classes that they say nothing of.
    fn data(&self) -> Result<Splits> {
        let count = self.batches() * self.batch;
        let data = Dataset {
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
        };
        let data = match self.ragged {
            true => data.with_lengths(&self.lengths().repeat(self.batches()))?,
            false => data,
        };
        Ok(Splits {
            test: Some(data.clone().into()),
            ..data.into()
        })
    }

    /// The longest chain of roundings behind a number of the gradient: products with W and R and the gates through all steps,
    /// those on the way back, and the sum over all of a batch's steps.
    fn roundings(&self) -> f64 {
        let (gates, steps) = (self.cell.facts().gates, self.steps);
        let layers = self.layers * (gates + 1) * self.hidden;
        (steps * (self.inputs + layers) + steps * self.batch) as f64
    }
}

/// `count` numbers in ±1.
fn uniform(count: usize, seed: u64) -> Vec<f32> {
    let mut draws = Philox::new(seed, Stream::Images);
    (0..count).map(|_| 2.0 * draws.uniform() - 1.0).collect()
}

/// How far from f64's a result in f32 may be, as a part of its Euclidean norm, where `roundings` follow one another: they add up
/// to √n of them, and to λ √n with a probability of 2n exp(-λ²/2) (Higham and Mary, 2019); here λ is 10.
fn limit(roundings: f64) -> f64 {
    10.0 * roundings.sqrt() / f64::from(1 << 24)
}

/// The distance between two vectors as a part of the second one's norm.
fn error(found: &[f32], expected: &[f64]) -> f64 {
    let norm = |squares: &mut dyn Iterator<Item = f64>| squares.sum::<f64>().sqrt();
    let pairs = found.iter().zip(expected);
    let distance = norm(&mut pairs.map(|(&found, expected)| (f64::from(found) - expected).powi(2)));
    distance / norm(&mut expected.iter().map(|expected| expected.powi(2)))
}

/// Refuses a result that rounding does not explain, or that is no number.
fn judge(what: &str, found: &[f32], expected: &[f64], limit: f64) -> Result<()> {
    let error = error(found, expected);
    match error <= limit {
        true => Ok(()),
        false => Err(Error::WrongResult(format!(
            "{what} is {error:.1e} of its norm away from the CPU's in f64, and rounding explains {limit:.1e}: a wrong result \
             has no speed. `gatescan verify` on the same device names the kernel"
        ))),
    }
}

/// A network in training on a device.
pub struct Loaded {
    /// What errors call it.
    name: String,
    /// The longest chain of roundings behind a number of the gradient.
    roundings: f64,
    /// Steps that its data make.
    batches: usize,
    trainer: Trainer,
}

impl Loaded {
    /// Loads `shape` on `place`, and checks the losses and the gradient of its first batch.
    ///
    /// # Errors
    /// [`Error::WrongResult`] where they are wrong; what is reported where the device cannot hold it.
    pub fn new(shape: &Shape, place: &OpenDevice) -> Result<Loaded> {
        let loaded = Loaded {
            name: shape.to_string(),
            roundings: shape.roundings(),
            batches: shape.batches(),
            trainer: Trainer::load(&shape.recipe(), &shape.data()?, place)?,
        };
        loaded.checked()
    }

    /// Itself, once the losses and the gradient of its first batch are known to be right.
    fn checked(mut self) -> Result<Loaded> {
        let mut reference = self.reference()?;
        self.check(&mut reference)?;
        Ok(self)
    }

    /// The CPU in f64, about to play what the trainer is about to.
    fn reference(&mut self) -> Result<Cpu<f64>> {
        let program = self.trainer.recording().program.clone();
        let mut reference = Cpu::new(program.clone())?;
        let (executor, _) = self.trainer.rewind(Split::Train)?;
        for (number, buffer) in program.buffers().iter().enumerate() {
            let whole = program.whole(number);
            match (buffer.kind, buffer.element) {
                // They begin as zeros.
                (Kind::Activations | Kind::Gradients | Kind::Moments, _) => {}
                (_, Element::Real) => reference.write(&whole, &executor.read(&whole)?)?,
                (_, Element::Index) => {
                    reference.write_index(&whole, &executor.read_index(&whole)?)?
                }
            }
        }
        Ok(reference)
    }

    /// Plays a forward and a backward pass on both, and compares losses and gradients.
    fn check(&mut self, reference: &mut Cpu<f64>) -> Result<()> {
        let (model, name) = (self.trainer.recording().clone(), self.name.clone());
        let (executor, _) = self.trainer.rewind(Split::Train)?;
        let players: [&mut dyn Executor; 2] = [reference, &mut *executor];
        for player in players {
            player.run(&[Phase::Forward, Phase::Backward], 1)?;
        }
        let limit = limit(self.roundings);
        let mut judge = |what: &str, tensor: Tensor| {
            let (found, expected) = (executor.read(&tensor)?, reference.read_exact(&tensor));
            judge(&format!("{name}: {what}"), &found, &expected, limit)
        };
        let outputs = model.head.outputs.shape.extents()[0];
        judge("the loss", model.head.scores.part(0, [outputs]))?;
        let gradients = model.gradients.iter();
        gradients
            .flat_map(|gradients| model.entries.iter().map(move |entry| (entry, gradients)))
            .try_for_each(|(entry, gradients)| {
                let part = gradients.part(entry.offset, [entry.shape.len()]);
                judge(&format!("the gradient of {}", entry.name), part)
            })
    }

    /// Plays `steps` training steps, or forward passes over the test split as an evaluation does, in pieces with a wait after
    /// each, and returns what they took.
    ///
    /// # Errors
    /// What the device reports.
    pub fn play(&mut self, split: Split, steps: usize) -> Result<Duration> {
        let (mut seconds, mut left) = (0.0, steps);
        while left > 0 {
            let count = left.min(self.batches);
            seconds += self.trainer.play(split, count)?.step * count as f64;
            left -= count;
        }
        Ok(Duration::from_secs_f64(seconds))
    }

    /// Steps that a run would take between two waits.
    fn piece(&mut self, split: Split) -> Result<usize> {
        self.trainer.play(split, 1)?;
        let each = self.trainer.play(split, 1)?.step;
        Ok(((SUBMISSION_TIME.as_secs_f64() / each) as usize).clamp(1, self.batches))
    }
}

/// A whole step at one shape. Times are medians over pieces of steps, with what a tenth of the pieces is below and above.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub shape: String,
    pub device: String,
    /// Milliseconds of a training step as a run makes it: batch, forward, backward, update, record.
    pub train_ms: f64,
    pub train_ms_p10: f64,
    pub train_ms_p90: f64,
    /// Milliseconds of a step of an evaluation: batch, forward, loss, record.
    pub forward_ms: f64,
    pub forward_ms_p10: f64,
    pub forward_ms_p90: f64,
    /// Microseconds that a thread of the host works for a training step, to encode and submit it; `None` on the CPU, which computes
    /// it itself.
    pub host_us: Option<f64>,
    /// In training.
    pub sequences_per_s: f64,
    /// 10^9 floating-point operations a second in training, by the calls' own cost, which counts steps past a sequence's end too.
    pub gflops: f64,
    /// Per cent of the device's measured multiply-adds.
    pub ceiling_percent: f64,
    /// Trained numbers.
    pub parameters: usize,
    /// Pieces of steps that were timed.
    pub samples: usize,
    /// Valid steps as a part of all.
    pub valid_part: f64,
    /// Of ragged sequences: the time of a training step as a part of a dense one's, played in turn.
    pub dense_part: Option<f64>,
}

/// A training step of a character-level language model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextStep {
    pub layers: usize,
    pub hidden_size: usize,
    pub batch: usize,
    /// Characters of each stream in a step.
    pub steps: usize,
    pub device: String,
    /// Iterations that were timed, in pieces with a wait after each.
    pub iterations: usize,
    /// Mean milliseconds of an iteration as a run makes it: chunk, forward, backward, update, record.
    pub ms: f64,
    pub characters_per_s: f64,
    /// Trained numbers.
    pub parameters: usize,
    /// Of all buffers of the program.
    pub memory_bytes: u64,
}

/// Layers and sizes that torch-rnn's benchmark has been published for.
pub const TEXT_LAYERS: [usize; 3] = [1, 2, 3];
/// See [`TEXT_LAYERS`].
pub const TEXT_SIZES: [usize; 4] = [64, 128, 256, 512];

/// A kernel call, or several calls of one grid for one thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kernel {
    /// The shape, or `gemm-512` for a square product.
    pub shape: String,
    pub device: String,
    pub phase: Phase,
    pub kernel: String,
    /// What it writes.
    pub site: String,
    /// Median microseconds of a call.
    pub us: f64,
    pub gflops: f64,
    pub gbytes_per_s: f64,
    /// The time that the device's measured ceilings allow, in per cent of the time that it takes.
    pub roofline_percent: f64,
    /// Whose clock timed it.
    pub clock: Clock,
}

/// The recurrence of one layer: microseconds for each time step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scan {
    pub shape: String,
    pub device: String,
    pub forward_us: f64,
    pub backward_us: f64,
    pub both_us: f64,
}

/// The shapes of [`SHAPES`] that suit a device.
pub fn shapes(place: &OpenDevice) -> Vec<Shape> {
    let names = SHAPES.iter();
    let suited = names.filter(|&&name| name != LARGE || is_gpu(place));
    suited.filter_map(|name| name.parse().ok()).collect()
}

/// Those of [`SIDES`] that suit a device.
pub fn sides(place: &OpenDevice) -> &'static [usize] {
    match is_gpu(place) {
        true => &SIDES,
        false => &SIDES[..SIDES.len() - 1],
    }
}

fn is_gpu(place: &OpenDevice) -> bool {
    place
        .adapter()
        .is_some_and(|adapter| !adapter.is_software())
}

/// An open device, on which shapes are measured.
pub struct Bench {
    pub place: OpenDevice,
    machine: Machine,
    ceilings: Ceilings,
    /// Seconds for each measurement.
    seconds: f64,
}

impl Bench {
    /// Measures the ceilings of `place`. Each measurement will take about so many seconds, or longer where that is not
    /// enough for a few samples.
    ///
    /// # Errors
    /// What the device reports.
    pub fn new(place: OpenDevice, seconds: f64) -> Result<Bench> {
        Ok(Bench {
            machine: Machine::of(&place),
            ceilings: Ceilings::of(&place)?,
            place,
            seconds,
        })
    }

    /// Calls `sample` for as long as a measurement takes.
    fn sample(&self, mut sample: impl FnMut() -> Result<()>) -> Result<()> {
        let (start, mut samples) = (Instant::now(), 0);
        while samples < LEAST_SAMPLES || start.elapsed().as_secs_f64() < self.seconds {
            sample()?;
            samples += 1;
        }
        Ok(())
    }

    /// Whole steps in training and forward alone, in turn.
    ///
    /// # Errors
    /// Those of [`Loaded::new`]; what the device reports.
    pub fn step(&self, shape: &Shape) -> Result<Step> {
        let mut loaded = Loaded::new(shape, &self.place)?;
        let mut dense = match shape.ragged {
            true => Some(Loaded::new(
                &Shape {
                    ragged: false,
                    ..*shape
                },
                &self.place,
            )?),
            false => None,
        };
        let pieces = [loaded.piece(Split::Train)?, loaded.piece(Split::Test)?];
        let dense_piece = dense.as_mut().map(|dense| dense.piece(Split::Train));
        let dense_piece = dense_piece.transpose()?.unwrap_or(1);
        let (mut train, mut forward, mut whole, mut host) = (vec![], vec![], vec![], vec![]);
        self.sample(|| {
            let pace = loaded.trainer.play(Split::Train, pieces[0])?;
            train.push(pace.step * 1e3);
            host.extend(pace.host.map(|seconds| seconds * 1e6));
            forward.push(loaded.trainer.play(Split::Test, pieces[1])?.step * 1e3);
            if let Some(dense) = &mut dense {
                whole.push(dense.trainer.play(Split::Train, dense_piece)?.step * 1e3);
            }
            Ok(())
        })?;
        let samples = train.len();
        let [train_ms_p10, train_ms, train_ms_p90] = spread(train);
        let [forward_ms_p10, forward_ms, forward_ms_p90] = spread(forward);
        let model = loaded.trainer.recording();
        let costs = step_calls(&model.program).map(|(_, _, call)| call.kernel().cost().flops);
        let gflops = costs.sum::<f64>() / train_ms / 1e6;
        Ok(Step {
            shape: shape.to_string(),
            device: self.machine.label(),
            train_ms,
            train_ms_p10,
            train_ms_p90,
            forward_ms,
            forward_ms_p10,
            forward_ms_p90,
            host_us: (!host.is_empty()).then(|| spread(host)[1]),
            sequences_per_s: shape.batch as f64 / train_ms * 1e3,
            gflops,
            ceiling_percent: gflops / self.ceilings.multiply_add_gflops.best * 100.0,
            parameters: model.entries.iter().map(|entry| entry.shape.len()).sum(),
            samples,
            valid_part: shape.valid_part(),
            dense_part: shape.ragged.then(|| train_ms / spread(whole)[1]),
        })
    }

    /// Training steps of the recipe `text` with so many layers of LSTM, each of `hidden_size` units, over embeddings of 64 numbers:
    /// torch-rnn's defaults, but for Adam's rate and the vocabulary of 66 characters.
    ///
    /// # Errors
    /// Those of [`Bench::step`].
    pub fn text(&self, layers: usize, hidden_size: usize, iterations: usize) -> Result<TextStep> {
        let mut recipe = Recipe::load("text")?;
        recipe.network.input = Input::Embedding {
            size: 64,
            padding_idx: None,
            init: Init::Torch,
            tied: false,
        };
        recipe.network.set_layers(layers);
        recipe.network.set_hidden_size(hidden_size);
        for layer in &mut recipe.network.layers {
            layer.dropout = Dropout::default();
        }
        let (batch, steps) = (recipe.batch_size, recipe.bptt_steps.unwrap_or(50));
        let batches = iterations.clamp(1, MOST_BATCHES);
        let data = text::made_up(batch, steps * batches, 66);
        let chain = steps * (64 + layers * 5 * hidden_size) + steps * batch + hidden_size + 66;
        let loaded = Loaded {
            name: format!("text, {layers} layers of {hidden_size}"),
            roundings: chain as f64,
            batches,
            trainer: Trainer::load(&recipe, &data.into(), &self.place)?,
        };
        let mut loaded = loaded.checked()?;
        loaded.play(Split::Train, 2.min(batches))?;
        let ms = loaded.play(Split::Train, iterations)?.as_secs_f64() * 1e3 / iterations as f64;
        let model = loaded.trainer.recording();
        Ok(TextStep {
            layers,
            hidden_size,
            batch,
            steps,
            device: self.machine.label(),
            iterations,
            ms,
            characters_per_s: (batch * steps) as f64 / ms * 1e3,
            parameters: model.entries.iter().map(|entry| entry.shape.len()).sum(),
            memory_bytes: model.program.bytes(size_of::<f32>()),
        })
    }

    /// Every distinct call of a training step.
    ///
    /// # Errors
    /// Those of [`Bench::step`].
    pub fn kernels(&self, shape: &Shape) -> Result<Vec<Kernel>> {
        let sites = self.sites(shape)?.into_iter();
        let kernel = |site: Site| Kernel {
            shape: shape.to_string(),
            device: self.machine.label(),
            phase: site.phase,
            us: site.call_us.median,
            gflops: site.gflops(),
            gbytes_per_s: site.gbytes_per_s(),
            roofline_percent: site.roofline * 100.0,
            clock: site.clock,
            kernel: site.kernel,
            site: site.site,
        };
        Ok(sites.map(kernel).collect())
    }

    /// The recurrence alone, whichever way it goes through time; of several layers their sum.
    ///
    /// # Errors
    /// Those of [`Bench::step`].
    pub fn scan(&self, shape: &Shape) -> Result<Scan> {
        let sites = self.sites(shape)?;
        let through_time = |phase: Phase| -> f64 {
            let sites = sites.iter().filter(|site| site.phase == phase);
            sites.filter_map(|site| site.time_step_us).sum()
        };
        let [forward_us, backward_us] = [Phase::Forward, Phase::Backward].map(through_time);
        Ok(Scan {
            shape: shape.to_string(),
            device: self.machine.label(),
            forward_us,
            backward_us,
            both_us: forward_us + backward_us,
        })
    }

    fn sites(&self, shape: &Shape) -> Result<Vec<Site>> {
        let mut loaded = Loaded::new(shape, &self.place)?;
        loaded.trainer.play(Split::Train, 1)?;
        // Plain steps take their turns with those under the clock, a piece at a time.
        let each = loaded.trainer.play(Split::Train, 1)?.step;
        let turn = each + each.max(SUBMISSION_TIME.as_secs_f64());
        let options = Options {
            steps: ((self.seconds / turn) as usize).clamp(LEAST_SAMPLES, 1000),
            clock: Clock::Device,
        };
        sites_of(&mut loaded.trainer, &self.ceilings, options)
    }

    /// The product of two square matrices.
    ///
    /// # Errors
    /// Those of [`Product::new`]; what the device reports.
    pub fn gemm(&self, side: usize) -> Result<Kernel> {
        let mut product = Product::new(side, &self.place)?;
        product.play(1)?;
        let each = product.play(1)?.as_secs_f64();
        let times = ((SUBMISSION_TIME.as_secs_f64() / each) as usize).clamp(1, 1000);
        let mut samples = vec![];
        self.sample(|| {
            samples.push(product.play(times)?.as_secs_f64() / times as f64);
            Ok(())
        })?;
        let [_, seconds, _] = spread(samples);
        let Cost { flops, bytes } = product.cost;
        Ok(Kernel {
            shape: format!("gemm-{side}"),
            device: self.machine.label(),
            phase: Phase::Forward,
            kernel: "gemm".into(),
            site: "c".into(),
            us: seconds * 1e6,
            gflops: flops / seconds / 1e9,
            gbytes_per_s: bytes / seconds / 1e9,
            roofline_percent: self.ceilings.allows(product.cost).0 / seconds * 100.0,
            clock: Clock::Host,
        })
    }
}

/// What a tenth of the samples is below, the median, and what a tenth is above.
fn spread(mut samples: Vec<f64>) -> [f64; 3] {
    samples.sort_by(f64::total_cmp);
    [0.1, 0.5, 0.9].map(|part| quantile(&samples, part))
}

/// A product of two square matrices on a device.
pub struct Product {
    executor: Box<dyn Executor>,
    /// What is read to wait for it.
    corner: Tensor,
    cost: Cost,
}

impl Product {
    /// Loads a product of matrices of `side` rows and columns on `place` and checks it.
    ///
    /// # Errors
    /// [`Error::WrongResult`] where it is wrong; what is reported where the device cannot hold it.
    pub fn new(side: usize, place: &OpenDevice) -> Result<Product> {
        let mut program = Program::new();
        let [a, b, c] = ["a", "b", "c"]
            .map(|name| program.buffer(name, Kind::Activations, Element::Real, [side, side]));
        let [left, right, product] = [a, b, c].map(|tensor| Matrix::new(tensor, side, side));
        let call = Call::from(place.tuning().tiled(Gemm::new(left, right, product)));
        let cost = call.kernel().cost();
        program.push(Phase::Forward, call);
        let mut executor = place.load(&program)?;
        let mut reference = Cpu::<f64>::new(program)?;
        let players: [&mut dyn Executor; 2] = [&mut reference, executor.as_mut()];
        for player in players {
            player.write(&a, &uniform(side * side, 0))?;
            player.write(&b, &uniform(side * side, 1))?;
            player.run(&[Phase::Forward], 1)?;
        }
        let (found, expected) = (executor.read(&c)?, reference.read_exact(&c));
        let what = format!("gemm-{side}: the product");
        judge(&what, &found, &expected, limit(side as f64))?;
        Ok(Product {
            executor,
            corner: c.part(0, [1]),
            cost,
        })
    }

    /// Computes it so many times, waits, and returns what that took.
    ///
    /// # Errors
    /// What the device reports.
    pub fn play(&mut self, times: usize) -> Result<Duration> {
        let start = Instant::now();
        self.executor.run(&[Phase::Forward], times)?;
        self.executor.read(&self.corner)?;
        Ok(start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::device::Device;

    #[test]
    fn names_come_back_equal() {
        for name in SHAPES.iter().chain(&SCANS) {
            assert_eq!(name.parse::<Shape>().unwrap().to_string(), *name);
        }
        let shape: Shape = "lstm2-ragged-3-4-5-6".parse().unwrap();
        assert_eq!((shape.layers, shape.ragged), (2, true));
        assert_eq!(
            [shape.batch, shape.steps, shape.inputs, shape.hidden],
            [3, 4, 5, 6]
        );
    }

    #[test]
    fn what_is_no_shape_is_refused() {
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
            let error = name.parse::<Shape>().unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("there is no shape"), "{error}");
        }
        for name in [
            "lstm-1000000-1000000-1000000-8",
            "lstm-18446744073709551615-18446744073709551615-18446744073709551615-8",
            "lstm65-1-1-1-1",
        ] {
            let error = name.parse::<Shape>().unwrap_err().to_string();
            assert!(error.contains("is too large"), "{error}");
        }
    }

    #[test]
    fn ragged_lengths_are_uniform() {
        let shape: Shape = "lstm-ragged-128-100-28-128".parse().unwrap();
        let lengths = shape.lengths();
        assert_eq!((lengths[0], lengths[127]), (1, 100));
        // Each tenth of 1..=100 has a tenth of the sequences, to within one.
        for tenth in 0..10 {
            let range = 1 + 10 * tenth..=10 * (tenth + 1);
            let inside = lengths.iter().filter(|&length| range.contains(length));
            assert!((12..=14).contains(&inside.count()), "{range:?}");
        }
        assert!((shape.valid_part() - 0.5).abs() < 0.01);
        let dense: Shape = "lstm-128-100-28-128".parse().unwrap();
        assert_eq!(dense.valid_part(), 1.0);
    }

    /// The check has to find what is wrong by little, and leave room for rounding.
    #[test]
    fn a_wrong_step_has_no_figure() {
        for name in ["rnn-6-9-5-12", "gru2-6-9-5-12", "lstm-ragged-6-9-5-12"] {
            let shape: Shape = name.parse().unwrap();
            let place = OpenDevice::open(&Device::Cpu).unwrap();
            let mut loaded = Loaded::new(&shape, &place).unwrap();
            let mut reference = loaded.reference().unwrap();
            loaded.check(&mut reference).unwrap();

            let mut reference = loaded.reference().unwrap();
            let weight = loaded.trainer.recording().parameters.part(0, [1]);
            let (executor, _) = loaded.trainer.rewind(Split::Train).unwrap();
            let value = executor.read(&weight).unwrap()[0];
            executor.write(&weight, &[value + 0.001]).unwrap();
            let error = loaded.check(&mut reference).unwrap_err();
            assert_eq!(error.exit_code(), 1);
            let message = error.to_string();
            assert!(message.starts_with(&format!("{name}: the ")), "{message}");
            assert!(message.contains("rounding explains"), "{message}");
        }
        judge("it", &[1.0, 2.0], &[1.0, 2.0], 0.0).unwrap();
        judge("it", &[1.0, f32::NAN], &[1.0, 2.0], 1.0).unwrap_err();
        judge("it", &[0.0], &[0.0], 1.0).unwrap_err();
    }
}
