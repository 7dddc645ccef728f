//! `gatescan bench`: measures the speed of training, and the latency of a stream.

use std::iter;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use gatescan::bench::{
    self, BenchShape, KernelResult, LatencyResult, ScanResult, StepResult, TEXT_LAYERS, TEXT_SIZES,
    TextResult,
};
use gatescan::low_level::numeric::statistics::figure;
use gatescan::profile::Clock;
use gatescan::recipe::Precision;
use gatescan::{Error, Result};
use serde::Serialize;
use serde_json::json;

use super::console::Console;
use super::ranks::wait_for_first_rank;
use super::{MatmulPrecision, Tune, bench_distributed, choose_device, open};

/// Measure training steps, kernels, scans and latencies at named shapes.
#[derive(Args)]
#[command(after_help = "\
A shape is CELL-B-T-I-H (batch, time steps, inputs, hidden units), for example \
lstm-128-28-28-128; lstm2-... has two layers, and in lstm-ragged-... the lengths are uniform in \
1..T. A linear head computes 10 classes from the last state; the loss is cross-entropy, the \
optimizer Adam. Losses and gradients are compared with the CPU in f64 before anything is timed; if \
a difference is larger than rounding explains, nothing is timed and the exit code is 1. TRAIN and \
FORWARD are medians, P10 and P90 the 10th and 90th percentile, HOST the time to encode and submit \
a step; * marks a time by the host's clock. `latency` times each of many steps of one sequence \
through a loaded model, whose states are carried. `distributed` times updates by the processes \
that mpirun or srun has started and by some of them, with one batch for all (strong scaling) and \
with a batch for each (weak): RANKS processes take COMPUTE, TRANSFER of gradients between device \
and host, and REDUCE, the messages; EFFICIENCY is the speed as a part of RANKS times that of one. \
Their parameters are compared with those of one process, bit for bit, before anything is timed.

Examples:
  gatescan bench                                        training steps at all shapes
  gatescan bench step --shape lstm-128-28-28-128,gru-128-28-28-128 --json
  gatescan bench kernels --device gpu                   each call of a step, and square matmuls
  gatescan bench scan                                   microseconds per time step, H from 64 to 512
  gatescan bench text --layers 2 --sizes 128,256        a character-level language model
  gatescan bench latency --device cpu                   microseconds for one step of a stream
  mpirun -n 4 gatescan bench distributed                how 1, 2 and 4 processes share an update")]
pub struct Bench {
    /// What to measure.
    #[arg(value_enum, default_value = "step")]
    what: What,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    tune: Tune,
    #[command(flatten)]
    rounding: MatmulPrecision,
    /// The shapes, instead of the default ones.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    shape: Vec<BenchShape>,
    /// For `text`: iterations to time at each size.
    #[arg(long, value_name = "N", default_value = "100")]
    iterations: NonZeroUsize,
    /// For `text`: numbers of layers, instead of 1, 2 and 3.
    #[arg(long, value_name = "L", value_delimiter = ',')]
    layers: Vec<NonZeroUsize>,
    /// For `text`: hidden units of each layer, instead of 64, 128, 256 and 512.
    #[arg(long, value_name = "H", value_delimiter = ',')]
    sizes: Vec<NonZeroUsize>,
    /// For `distributed`: the numbers of processes to measure, beside one [default: every power of
    /// two up to those that were started].
    #[arg(long, value_name = "N", value_delimiter = ',')]
    ranks: Vec<NonZeroUsize>,
    /// Seconds for each measurement; slow ones take longer.
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    seconds: f64,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// Whole training steps, and forward passes alone.
    Step,
    /// Each distinct kernel call of these steps; without --shape also square matmuls.
    Kernels,
    /// The recurrence alone.
    Scan,
    /// Training steps of a character-level language model: batch 50, 50 characters, sizes of
    /// torch-rnn's benchmark.
    Text,
    /// One time step of one sequence through a loaded model: shapes CELL-1-1-I-H.
    Latency,
    /// Updates by several processes, which mpirun or srun has started (needs the feature `mpi`).
    Distributed,
    /// Steps, kernels and scans.
    All,
}

/// A row of one of the tables, and an object in JSON.
pub trait TableRow: Serialize {
    const HEADER: &'static [&'static str];
    /// The widths of the columns of text, which come before the figures.
    const TEXT_WIDTHS: &'static [usize];

    fn cells(&self) -> Vec<String>;
}

/// The width of a shape's name.
pub const SHAPE: usize = 26;

impl TableRow for StepResult {
    const HEADER: &'static [&'static str] = &[
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
    const TEXT_WIDTHS: &'static [usize] = &[SHAPE];

    fn cells(&self) -> Vec<String> {
        let (time, speed) = (&self.time, &self.speed);
        let ceiling = percent(speed.ceiling_percent);
        vec![
            self.shape.clone(),
            figure(time.train_ms),
            figure(time.train_ms_p10),
            figure(time.train_ms_p90),
            figure(time.forward_ms),
            figure(time.forward_ms_p10),
            figure(time.forward_ms_p90),
            time.host_us.map_or_else(String::new, figure),
            figure(speed.sequences_per_s),
            figure(speed.gflops),
            match self.dense_part {
                None => ceiling,
                Some(part) => format!(
                    "{ceiling:>11}  {part:.3} of the dense step's time, for {valid:.3} of its time \
                     steps",
                    valid = self.valid_part
                ),
            },
        ]
    }
}

impl TableRow for KernelResult {
    const HEADER: &'static [&'static str] = &[
        "SHAPE",
        "PHASE",
        "KERNEL",
        "SITE",
        "MEDIAN µs",
        "GFLOP/s",
        "GB/s",
        "ROOFLINE",
    ];
    const TEXT_WIDTHS: &'static [usize] = &[SHAPE, 8, 21, 20];

    fn cells(&self) -> Vec<String> {
        let mark = match self.clock {
            Clock::Device => "",
            Clock::Host => "*",
        };
        vec![
            self.shape.clone(),
            self.phase.name().into(),
            self.kernel.clone(),
            format!("{}{mark}", self.site),
            figure(self.us),
            figure(self.gflops),
            figure(self.gbytes_per_s),
            percent(self.roofline_percent),
        ]
    }
}

impl TableRow for ScanResult {
    const HEADER: &'static [&'static str] = &[
        "SHAPE",
        "FORWARD µs",
        "MODEL µs",
        "BACKWARD µs",
        "MODEL µs",
        "BOTH µs",
    ];
    const TEXT_WIDTHS: &'static [usize] = &[SHAPE];

    fn cells(&self) -> Vec<String> {
        vec![
            self.shape.clone(),
            figure(self.forward_us),
            self.predicted_forward_us.map_or_else(String::new, figure),
            figure(self.backward_us),
            self.predicted_backward_us.map_or_else(String::new, figure),
            figure(self.both_us),
        ]
    }
}

impl TableRow for TextResult {
    const HEADER: &'static [&'static str] = &[
        "LAYERS",
        "SIZE",
        "ms/ITERATION",
        "CHARACTERS/s",
        "MEMORY MiB",
        "PARAMETERS",
    ];
    const TEXT_WIDTHS: &'static [usize] = &[6];

    fn cells(&self) -> Vec<String> {
        vec![
            self.layers.to_string(),
            self.hidden_size.to_string(),
            figure(self.ms),
            figure(self.characters_per_s),
            figure(self.memory_bytes as f64 / f64::from(1 << 20)),
            self.parameters.to_string(),
        ]
    }
}

impl TableRow for LatencyResult {
    const HEADER: &'static [&'static str] = &[
        "SHAPE",
        "MEDIAN µs",
        "P90",
        "P99",
        "P99.9",
        "LARGEST",
        "STEPS",
    ];
    const TEXT_WIDTHS: &'static [usize] = &[SHAPE];

    fn cells(&self) -> Vec<String> {
        vec![
            self.shape.clone(),
            figure(self.us),
            figure(self.us_p90),
            figure(self.us_p99),
            figure(self.us_p999),
            figure(self.us_largest),
            self.steps.to_string(),
        ]
    }
}

impl Bench {
    pub fn run(&self, console: &Console) -> Result<()> {
        self.check_flags()?;
        if self.is_distributed() {
            let measured = bench_distributed::run(self, console);
            if measured.is_err() {
                wait_for_first_rank();
            }
            return measured;
        }
        let (device, why) = choose_device(&self.device)?;
        console.say(format!("device  {why}"));
        let opened = open(&device, &self.tune)?.with_precision(self.rounding.precision)?;
        let session = Session {
            options: self,
            console,
            bench: bench::Bench::new(opened, self.seconds)?,
        };
        let tables: &[PrintTable<'_>] = match self.what {
            What::Step => &[Session::steps],
            What::Kernels => &[Session::kernels],
            What::Scan => &[Session::scans],
            What::Text => &[Session::text],
            What::Latency => &[Session::latencies],
            What::Distributed => &[],
            What::All => &[Session::steps, Session::kernels, Session::scans],
        };
        for table in tables {
            if table(&session)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Refuses flags of another benchmark.
    fn check_flags(&self) -> Result<()> {
        if !self.shape.is_empty() && self.what == What::Text {
            return Err(Error::usage(
                "--shape does not apply to `bench text`; use --layers and --sizes",
            ));
        }
        if self.is_distributed() && self.rounding.precision != Precision::F32 {
            return Err(Error::usage(
                "--precision does not apply to `bench distributed`, which measures in f32; leave \
                 it out",
            ));
        }
        if !self.ranks.is_empty() && !self.is_distributed() {
            return Err(Error::usage(
                "--ranks applies to `bench distributed` only; leave it out",
            ));
        }
        Ok(())
    }

    #[cfg(feature = "mpi")]
    pub fn device(&self) -> &str {
        &self.device
    }

    #[cfg(feature = "mpi")]
    pub fn tune(&self) -> &Tune {
        &self.tune
    }

    /// The numbers of processes to measure; empty for all.
    #[cfg(feature = "mpi")]
    pub fn ranks(&self) -> Vec<usize> {
        self.ranks.iter().map(|count| count.get()).collect()
    }

    #[cfg(feature = "mpi")]
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Whether the process is one of several.
    pub fn is_distributed(&self) -> bool {
        self.what == What::Distributed
    }

    /// Prints a row as it is measured, with the header before the first one.
    pub fn print_row<R: TableRow>(
        &self,
        console: &Console,
        is_first: bool,
        row: &R,
    ) -> Result<ControlFlow<()>> {
        if self.json {
            return console.print(json!(row));
        }
        if is_first {
            let header: Vec<String> = R::HEADER.iter().map(ToString::to_string).collect();
            let _ = console.print(line(R::TEXT_WIDTHS, &header))?;
        }
        console.print(line(R::TEXT_WIDTHS, &row.cells()))
    }

    pub fn shapes_or(&self, default: impl Fn() -> Vec<BenchShape>) -> Vec<BenchShape> {
        if self.shape.is_empty() {
            default()
        } else {
            self.shape.clone()
        }
    }
}

/// Measures and prints one table.
type PrintTable<'a> = fn(&Session<'a>) -> Result<ControlFlow<()>>;

/// A benchmark whose results are printed as tables. Each method prints one table, and breaks when
/// the reader of standard output is gone.
struct Session<'a> {
    options: &'a Bench,
    console: &'a Console,
    bench: bench::Bench,
}

impl Session<'_> {
    fn steps(&self) -> Result<ControlFlow<()>> {
        let shapes = self.options.shapes_or(|| bench::shapes(&self.bench.device));
        self.print_table(shapes.iter().map(|shape| self.bench.step(shape)))
    }

    fn kernels(&self) -> Result<ControlFlow<()>> {
        let device = &self.bench.device;
        let shapes = self.options.shapes_or(|| bench::shapes(device));
        let sides = if self.options.shape.is_empty() {
            bench::sides(device)
        } else {
            &[]
        };
        let sites = shapes
            .iter()
            .flat_map(|shape| match self.bench.kernels(shape) {
                Ok(sites) => sites.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            });
        let matmuls = sides.iter().map(|&side| self.bench.gemm(side));
        self.print_table(sites.chain(matmuls))
    }

    fn scans(&self) -> Result<ControlFlow<()>> {
        let shapes = self.options.shapes_or(bench::scan_shapes);
        self.print_table(shapes.iter().map(|shape| self.bench.scan(shape)))
    }

    fn latencies(&self) -> Result<ControlFlow<()>> {
        let shapes = self.options.shapes_or(bench::latency_shapes);
        self.print_table(shapes.iter().map(|shape| self.bench.latency(shape)))
    }

    fn text(&self) -> Result<ControlFlow<()>> {
        let layers = numbers_or(&self.options.layers, &TEXT_LAYERS);
        let sizes = numbers_or(&self.options.sizes, &TEXT_SIZES);
        let iterations = self.options.iterations.get();
        let networks = layers
            .iter()
            .flat_map(|&layers| iter::repeat(layers).zip(&sizes));
        self.print_table(networks.map(|(layers, &size)| self.bench.text(layers, size, iterations)))
    }

    /// Prints rows as they are measured, with the header before the first one.
    fn print_table<R: TableRow>(
        &self,
        rows: impl Iterator<Item = Result<R>>,
    ) -> Result<ControlFlow<()>> {
        for (index, row) in rows.enumerate() {
            let flow = self.options.print_row(self.console, index == 0, &row?)?;
            if flow.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The longest measurement: a day.
const LONGEST: f64 = 86_400.0;

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.0..=LONGEST).contains(seconds));
    seconds
        .ok_or_else(|| format!("it must be a number of seconds, at least 0 and at most {LONGEST}"))
}

fn numbers_or(given: &[NonZeroUsize], default: &[usize]) -> Vec<usize> {
    if given.is_empty() {
        default.to_vec()
    } else {
        given.iter().map(|number| number.get()).collect()
    }
}

/// Aligns texts to the left and figures to the right.
fn line(text_widths: &[usize], cells: &[String]) -> String {
    let padded = cells
        .iter()
        .enumerate()
        .map(|(column, cell)| match text_widths.get(column) {
            Some(width) => format!("{cell:<width$}"),
            None => format!("{cell:>11}"),
        });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
}

pub fn percent(part: f64) -> String {
    format!("{part:.1}%")
}
