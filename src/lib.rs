//! gatescan trains recurrent networks (vanilla RNN, LSTM, GRU) on any GPU with a Vulkan, Metal or
//! DX12 driver, with hand-written WGSL kernels, and on the CPU where there is no GPU.
//!
//! A training step is recorded once, as a [`Program`](low_level::program::Program) of
//! [`kernels`](low_level::kernels), and played by an
//! [`Executor`](low_level::backend::executor::Executor): on the GPU, or on the CPU in `f32` or
//! `f64`.
//!
//! # An example
//! ```
//! use gatescan::{Cell, Dataset, Device, HeadRecipe, Layer, Loss};
//! use gatescan::{Optimizer, Reads, Recipe, Targets};
//! use ndarray::{Array1, Array3};
//!
//! // Sine waves [N, T, 1] of two frequencies with different phases, and their classes [N].
//! let wave = |n: usize, t: usize| ((1 + n % 2) as f32 * 0.4 * t as f32 + n as f32).sin();
//! let inputs = Array3::from_shape_fn((200, 15, 1), |(n, t, _)| wave(n, t));
//! let labels = Array1::from_shape_fn(200, |n| n as u32 % 2);
//! let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 2))?;
//!
//! let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
//! let layers = vec![Layer::new(Cell::Lstm, 16)];
//! let recipe = Recipe::new("waves", layers, head, Optimizer::adam(0.02));
//! let model = gatescan::train::train(&recipe, &data.into(), &Device::Cpu)?;
//!
//! let unseen = Array3::from_shape_fn((50, 15, 1), |(n, t, _)| wave(n + 200, t));
//! let classes = model.predict(unseen.view(), &Device::Cpu)?.classes();
//! let right = (0..50).filter(|&n| classes[n] == n as u32 % 2).count();
//! assert!(right >= 48, "{right} of 50");
//! # Ok::<(), gatescan::Error>(())
//! ```
//! [`data`] describes data sets, [`Recipe`] all other settings. [`Trainer`] shows the progress of
//! training, [`run`] keeps a run in a directory, and [`Predictor`] takes sequence lengths and
//! initial states. [`Profile`](profile::Profile) and [`Bench`](bench::Bench) measure a step, and
//! [`verify`] checks every kernel on a device.
//!
//! # Letters
//! They mean the same in every docstring and comment.
//!
//! | | |
//! |---|---|
//! | T | time steps |
//! | B | batch: sequences that are computed together |
//! | I | input features |
//! | H | hidden units |
//! | G | gates of a cell |
//! | S | state vectors of a cell |
//! | L | layers |
//! | K | classes or outputs |
//! | V | vocabulary |
//! | N | sequences of a data set |

#![cfg_attr(
    not(test),
    warn(
        clippy::cognitive_complexity,
        clippy::match_bool,
        clippy::too_many_lines
    )
)]

// The command line is written as a guest of the library, which it names as programs do.
#[cfg(feature = "cli")]
extern crate self as gatescan;

mod backend;
pub mod backtest;
pub mod bench;
mod cells;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod distributed;
mod error;
mod fields;
#[cfg(feature = "formats")]
pub mod formats;
#[cfg(feature = "report")]
mod html;
pub mod infer;
mod io;
mod kernels;
pub mod layers;
mod memory;
mod messages;
pub mod metrics;
mod model;
pub mod network;
mod numeric;
pub mod profile;
mod program;
pub mod recipe;
mod record;
#[cfg(feature = "report")]
pub mod report;
mod rng;
pub mod run;
mod tensor;
pub mod train;
pub mod tune;
pub mod verify;
#[cfg(feature = "report")]
pub mod web;

pub use backend::OpenDevice;
pub use backend::device::Device;
pub use cells::Cell;
pub use data::{Dataset, Split, Splits, Targets};
pub use error::{Decision, Error, Result};
pub use infer::predict::Predictor;
pub use infer::sample::Sampler;
pub use infer::step_predictor::StepPredictor;
pub use model::Model;
pub use network::{Head, Input, Layer, Loss, Network, Quantiles, Reads};
pub use recipe::optimizer::Optimizer;
pub use recipe::{ClassWeights, DataRecipe, HeadRecipe, Recipe};
pub use train::checkpoint::Checkpoint;
pub use train::{Ending, Evaluation, Event, Trainer};

/// The parts of the engine: recorded programs, kernels, executors and their tuning. They are not
/// under semver: anything here may change in any version.
pub mod low_level {
    /// The executors, devices, and their tuning.
    pub mod backend {
        pub use crate::backend::*;
    }
    /// The descriptions of cells.
    pub mod cells {
        pub use crate::cells::*;
    }
    /// Reading files within bounds, and writing them whole.
    pub mod io {
        pub use crate::io::*;
    }
    /// Texts from outside that are safe to print.
    pub mod messages {
        pub use crate::messages::{
            is_unprintable, printable, printable_lines, printable_text, shown_path,
        };
    }
    /// The kernels, and the calls of them that programs record.
    pub mod kernels {
        pub use crate::kernels::*;
    }
    /// Statistics of samples.
    pub mod numeric {
        pub use crate::numeric::*;
    }
    /// Recorded programs.
    pub mod program {
        pub use crate::program::*;
    }
    /// Recorded networks.
    pub mod record {
        pub use crate::record::*;
    }
    /// The counter-based random generator.
    pub mod rng {
        pub use crate::rng::*;
    }
    /// From the files and cells of tables to CSV text and times.
    pub mod tables {
        pub use crate::data::csv::decode::{
            ArchiveColumns, DecodedTable, decode, decode_with_notes,
        };
        #[cfg(feature = "tables")]
        pub use crate::data::csv::time::{TimeColumn, TimeForm, time_of, times_of};
    }
    /// Buffers and tensors.
    pub mod tensor {
        pub use crate::tensor::*;
    }
}
