//! gatescan trains recurrent networks (vanilla RNN, LSTM, GRU) on any GPU that Vulkan, Metal or DX12 reaches, with
//! hand-written WGSL kernels, and on the CPU where there is no GPU.
//!
//! A training step is recorded once, as a [`program::Program`] of [`kernels`], and played by an
//! [`executor::Executor`]: [`gpu::executor::Gpu`], or [`cpu::Cpu`] in `f32` or `f64`.
//!
//! # An example
//! ```
//! use gatescan::{cells::Cell, device::Device, optim::Optimizer, recipe::HeadRecipe, recipe::Recipe, train};
//! use gatescan::data::{Dataset, Targets};
//! use gatescan::network::{Layer, Loss, Reads};
//! use ndarray::{Array1, Array3};
//!
//! // Sine waves [N, T, 1] of two frequencies with different phases, and their classes [N].
//! let wave = |n: usize, t: usize| ((1 + n % 2) as f32 * 0.4 * t as f32 + n as f32).sin();
//! let inputs = Array3::from_shape_fn((200, 15, 1), |(n, t, _)| wave(n, t));
//! let labels = Array1::from_shape_fn(200, |n| n as u32 % 2);
//! let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 2))?;
//!
//! let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
//! let recipe = Recipe::new("waves", vec![Layer::new(Cell::Lstm, 16)], head, Optimizer::adam(0.02));
//! let model = train::train(&recipe, &data.into(), &Device::Cpu)?;
//!
//! let unseen = Array3::from_shape_fn((50, 15, 1), |(n, t, _)| wave(n + 200, t));
//! let classes = model.predict(unseen.view(), &Device::Cpu)?.classes();
//! let right = (0..50).filter(|&n| classes[n] == n as u32 % 2).count();
//! assert!(right >= 48, "{right} of 50");
//! # Ok::<(), gatescan::error::Error>(())
//! ```
//! [`data`] says what data sets are, [`recipe::Recipe`] what else can be set, [`train::Trainer`] shows how a run goes, and
//! [`predict::Predictor`] takes lengths and initial states. [`profile::Profile`] says where the time of a step goes,
//! [`bench::Bench`] how long it is.
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

mod backend;
pub mod bench;
pub mod cells;
pub mod data;
pub mod error;
mod fields;
#[cfg(feature = "formats")]
pub mod formats;
#[cfg(feature = "report")]
mod html;
pub mod infer;
mod io;
mod kernels;
mod memory;
mod messages;
pub mod model;
pub mod network;
mod numeric;
pub mod profile;
mod program;
pub mod recipe;
mod record;
#[cfg(feature = "report")]
pub mod report;
mod rng;
// A run directory contains a page.
#[cfg(feature = "report")]
pub mod run;
mod tensor;
pub mod train;
pub mod verify;

/// What the engine is made of: recorded programs, kernels, executors and their tuning. Not under semver: anything here may
/// change in any version.
pub mod low_level {
    /// Executors, devices and their tuning.
    pub mod backend {
        pub use crate::backend::*;
    }
    /// Reading and writing files.
    pub mod io {
        pub use crate::io::*;
    }
    /// The kernels.
    pub mod kernels {
        pub use crate::kernels::*;
    }
    /// Statistics of samples.
    pub mod numeric {
        pub use crate::numeric::*;
    }
    /// Programs.
    pub mod program {
        pub use crate::program::*;
    }
    /// Networks, recorded.
    pub mod record {
        pub use crate::record::*;
    }
    /// Random numbers.
    pub mod rng {
        pub use crate::rng::*;
    }
    /// Buffers and tensors.
    pub mod tensor {
        pub use crate::tensor::*;
    }
}
