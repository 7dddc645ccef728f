//! `gatescan bench`: how fast training is.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use gatescan::bench::{self, Kernel, SCANS, Scan, Shape, Step, TEXT_LAYERS, TEXT_SIZES, TextStep};
use gatescan::error::{Error, Result};
use gatescan::low_level::numeric::statistics::figure;
use gatescan::profile::Clock;
use serde::Serialize;
use serde_json::json;

use super::console::Console;
use super::{Tune, choose_device, open};

/// Measure training steps, kernels and scans at named shapes.
#[derive(Args)]
#[command(after_help = "\
A shape is CELL-B-T-I-H (batch, time steps, inputs, hidden units), as in lstm-128-28-28-128; lstm2-... has two layers, and in \
lstm-ragged-... lengths are uniform in 1..T. On top is a linear head for 10 classes over the last state; the loss is \
cross-entropy, the optimiser Adam. Losses and gradients are compared with the CPU's in f64 before anything is timed; where \
rounding does not explain a difference, the exit code is 1 and there is no figure. TRAIN and FORWARD are medians, P10 and P90 what \
a tenth of the samples is below and above, HOST the time to encode and submit a step; * is a time by the host's clock.

Examples:
  gatescan bench                                        training steps at all shapes
  gatescan bench step --shape lstm-128-28-28-128,gru-128-28-28-128 --json
  gatescan bench kernels --device gpu                   each call of those steps, and square products
  gatescan bench scan                                   microseconds for each time step, for H from 64 to 512
  gatescan bench text --layers 2 --sizes 128,256        a character-level language model, at torch-rnn's sizes")]
pub struct Bench {
    /// What to measure.
    #[arg(value_enum, default_value = "step")]
    what: What,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    tune: Tune,
    /// The shapes, in place of the default ones.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    shape: Vec<Shape>,
    /// Of `text`: iterations to time at each size.
    #[arg(long, value_name = "N", default_value = "100")]
    iterations: NonZeroUsize,
    /// Of `text`: numbers of layers, in place of 1, 2 and 3.
    #[arg(long, value_name = "L", value_delimiter = ',')]
    layers: Vec<NonZeroUsize>,
    /// Of `text`: hidden units of each layer, in place of 64, 128, 256 and 512.
    #[arg(long, value_name = "H", value_delimiter = ',')]
    sizes: Vec<NonZeroUsize>,
    /// For each measurement; what is slow takes longer.
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    seconds: f64,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// Whole training steps, and forward alone.
    Step,
    /// Each distinct kernel call of those steps; without --shape square products too.
    Kernels,
    /// The recurrence alone.
    Scan,
    /// Training steps of a character-level language model: batch 50, 50 characters, sizes as in torch-rnn's benchmark.
    Text,
    /// Steps, kernels and scans.
    All,
}

/// The width of a shape's name.
const SHAPE: usize = 26;

const STEP: [&str; 11] = [
    "SHAPE",
    "TRAIN ms",
    "P10",
    "P90",
    "FORWARD ms",
    "P10",
    "P90",
    "HOST µs",
    "SEQUENCES/s",
    "GFLOP/s",
    "CEILING",
];

const KERNEL: [&str; 8] = [
    "SHAPE",
    "PHASE",
    "KERNEL",
    "SITE",
    "MEDIAN µs",
    "GFLOP/s",
    "GB/s",
    "ROOFLINE",
];

const SCAN: [&str; 4] = ["SHAPE", "FORWARD µs", "BACKWARD µs", "BOTH µs"];

const TEXT: [&str; 6] = [
    "LAYERS",
    "SIZE",
    "ms/ITERATION",
    "CHARACTERS/s",
    "MEMORY MiB",
    "PARAMETERS",
];

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or_else(|| "it must be a number of seconds, at least 0".into())
}

impl Bench {
    pub fn run(&self, console: &Console) -> Result<()> {
        let (device, why) = choose_device(&self.device)?;
        console.say(format!("device  {why}"));
        let named = !self.shape.is_empty();
        if named && self.what == What::Text {
            return Err(Error::usage(
                "--shape: what `bench text` measures is named by --layers and --sizes",
            ));
        }
        let bench = bench::Bench::new(open(&device, &self.tune)?, self.seconds)?;
        if self.what == What::Text {
            return self.text(console, &bench);
        }
        let shapes = match named {
            true => self.shape.clone(),
            false => bench::shapes(&bench.place),
        };
        let scans = match named {
            true => self.shape.clone(),
            false => SCANS.iter().filter_map(|name| name.parse().ok()).collect(),
        };
        if self.has(What::Step) {
            let rows = shapes.iter().map(|shape| Ok(vec![bench.step(shape)?]));
            if self.table(console, &[SHAPE], STEP, rows, step)?.is_break() {
                return Ok(());
            }
        }
        if self.has(What::Kernels) {
            let sides = if named {
                &[]
            } else {
                bench::sides(&bench.place)
            };
            let products = sides.iter().map(|&side| Ok(vec![bench.gemm(side)?]));
            let rows = shapes.iter().map(|shape| bench.kernels(shape));
            let words = [SHAPE, 8, 21, 20];
            if self
                .table(console, &words, KERNEL, rows.chain(products), kernel)?
                .is_break()
            {
                return Ok(());
            }
        }
        if self.has(What::Scan) {
            let rows = scans.iter().map(|shape| Ok(vec![bench.scan(shape)?]));
            let _ = self.table(console, &[SHAPE], SCAN, rows, scan)?;
        }
        Ok(())
    }

    fn text(&self, console: &Console, bench: &bench::Bench) -> Result<()> {
        let or = |given: &[NonZeroUsize], default: &[usize]| match given {
            [] => default.to_vec(),
            _ => given.iter().map(|each| each.get()).collect(),
        };
        let sizes = or(&self.sizes, &TEXT_SIZES);
        let iterations = self.iterations.get();
        let rows = or(&self.layers, &TEXT_LAYERS)
            .into_iter()
            .flat_map(|layers| sizes.iter().map(move |&size| (layers, size)))
            .map(|(layers, size)| Ok(vec![bench.text(layers, size, iterations)?]));
        let _ = self.table(console, &[6], TEXT, rows, text)?;
        Ok(())
    }

    fn has(&self, what: What) -> bool {
        self.what == what || self.what == What::All
    }

    /// Prints rows as they come, under a header that begins with words of these widths; a break where nobody reads on.
    fn table<T: Serialize, const N: usize>(
        &self,
        console: &Console,
        words: &[usize],
        header: [&str; N],
        groups: impl Iterator<Item = Result<Vec<T>>>,
        cells: impl Fn(&T) -> [String; N],
    ) -> Result<ControlFlow<()>> {
        let mut header = Some(header).filter(|_| !self.json);
        for group in groups {
            for row in group? {
                if let Some(header) = header.take() {
                    let _ = console.print(line(words, &header.map(str::to_string)))?;
                }
                let text = match self.json {
                    true => json!(row).to_string(),
                    false => line(words, &cells(&row)),
                };
                if console.print(text)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Words begin and figures end below each other.
fn line(words: &[usize], cells: &[String]) -> String {
    let padded = cells
        .iter()
        .enumerate()
        .map(|(column, cell)| match words.get(column) {
            Some(width) => format!("{cell:<width$}"),
            None => format!("{cell:>11}"),
        });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
}

/// The median, and behind it what a tenth of the samples is below and above.
fn step(step: &Step) -> [String; 11] {
    [
        step.shape.clone(),
        figure(step.train_ms),
        figure(step.train_ms_p10),
        figure(step.train_ms_p90),
        figure(step.forward_ms),
        figure(step.forward_ms_p10),
        figure(step.forward_ms_p90),
        step.host_us.map_or_else(String::new, figure),
        figure(step.sequences_per_s),
        figure(step.gflops),
        match step.dense_part {
            None => percent(step.ceiling_percent),
            Some(part) => format!(
                "{:>11}  {part:.3} of the dense step's time, for {:.3} of its time steps",
                percent(step.ceiling_percent),
                step.valid_part
            ),
        },
    ]
}

fn kernel(kernel: &Kernel) -> [String; 8] {
    let mark = match kernel.clock {
        Clock::Device => "",
        Clock::Host => "*",
    };
    [
        kernel.shape.clone(),
        kernel.phase.name().into(),
        kernel.kernel.clone(),
        format!("{}{mark}", kernel.site),
        figure(kernel.us),
        figure(kernel.gflops),
        figure(kernel.gbytes_per_s),
        percent(kernel.roofline_percent),
    ]
}

fn scan(scan: &Scan) -> [String; 4] {
    [
        scan.shape.clone(),
        figure(scan.forward_us),
        figure(scan.backward_us),
        figure(scan.both_us),
    ]
}

fn text(step: &TextStep) -> [String; 6] {
    [
        step.layers.to_string(),
        step.hidden_size.to_string(),
        figure(step.ms),
        figure(step.characters_per_s),
        figure(step.memory_bytes as f64 / f64::from(1 << 20)),
        step.parameters.to_string(),
    ]
}

fn percent(part: f64) -> String {
    format!("{part:.1}%")
}
