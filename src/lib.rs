//! gatescan trains recurrent networks (vanilla RNN, LSTM, GRU) on any GPU that Vulkan, Metal or DX12 reaches, with
//! hand-written WGSL kernels, and on the CPU where there is no GPU.
//!
//! A training step is recorded once, as a [`program::Program`] of [`kernels`], and played by an
//! [`executor::Executor`]: [`gpu::executor::Gpu`], or [`cpu::Cpu`] in `f32` or `f64`.
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

pub mod cells;
pub mod checkpoint;
pub mod cpu;
pub mod data;
pub mod device;
pub mod error;
pub mod executor;
pub mod generate;
pub mod gpu;
pub mod kernels;
pub mod model;
pub mod network;
pub mod optim;
pub mod place;
pub mod predict;
pub mod program;
mod real;
pub mod recipe;
pub mod rng;
pub mod schedule;
pub mod train;
