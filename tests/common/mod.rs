//! Helpers of several test files.
#![allow(dead_code)] // each test file uses only some of them

pub mod place;

use std::ops::ControlFlow;

use gatescan::low_level::backend::device::choose;
use gatescan::low_level::backend::gpu::{GpuDevice, adapters};
use gatescan::{Device, Ending, Trainer};

/// Turns the GPU tests off when set to any value except 0.
const OFF: &str = "GATESCAN_NO_GPU";

/// The adapter that GPU tests run on: the one that GATESCAN_GPU names, else a real one, else a
/// software driver. `None` where the user has turned GPU tests off.
///
/// # Panics
/// Without an adapter, since a skipped test must not pass silently.
pub fn gpu() -> Option<GpuDevice> {
    if std::env::var(OFF).is_ok_and(|value| value != "0") {
        eprintln!("{OFF} is set: not run on a GPU");
        return None;
    }
    let request = std::env::var("GATESCAN_GPU").unwrap_or_else(|_| "gpu".into());
    match choose(&request, &adapters()) {
        Ok((Device::Gpu(index), _)) => Some(GpuDevice::open(index).expect("the adapter opens")),
        Ok((Device::Cpu, _)) => {
            panic!("GATESCAN_GPU names the CPU; set {OFF}=1 to turn the GPU tests off")
        }
        Err(error) => panic!("{error}\nSet {OFF}=1 to turn the GPU tests off."),
    }
}

/// Trains up to `step`, or, at `usize::MAX`, to the end.
pub fn train_until(trainer: &mut Trainer, step: usize) {
    let ending = trainer.run(&mut |trainer, _| {
        Ok(match trainer.position().step < step {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    });
    let ending = ending.expect("it trains");
    assert_eq!(ending == Ending::Interrupted, step < usize::MAX);
}
