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
//! // Waves [N, T, 1] of two frequencies, each from another phase on, and which of the two it is [N].
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

mod aligned;
pub mod baselines;
pub mod bench;
pub mod cells;
pub mod checkpoint;
pub mod checkpoints;
pub mod cpu;
pub mod data;
pub mod device;
mod diagnose;
pub mod disk;
pub mod error;
pub mod executor;
mod feed;
pub mod files;
pub mod formats;
pub mod generate;
pub mod gpu;
pub mod kernels;
pub mod model;
pub mod network;
pub mod optim;
mod packed;
mod page;
pub mod place;
pub mod predict;
pub mod profile;
pub mod program;
mod real;
pub mod recipe;
pub mod report;
pub mod rng;
pub mod sample;
pub mod schedule;
pub mod train;
mod vector;
pub mod verify;
