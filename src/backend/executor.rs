//! What can play a program.

use crate::error::Result;
use crate::program::Phase;
use crate::tensor::Tensor;

/// Plays the phases of one loaded [`Program`].
pub trait Executor {
    /// Sets real numbers, of which `values` has as many as `tensor`.
    fn write(&mut self, tensor: &Tensor, values: &[f32]) -> Result<()>;

    /// Sets integers.
    fn write_index(&mut self, tensor: &Tensor, values: &[u32]) -> Result<()>;

    /// Runs `phases` in order, the whole list `times` times. May return before the device is done.
    fn run(&mut self, phases: &[Phase], times: usize) -> Result<()>;

    /// Whether a run only tells a device what to do.
    fn submits(&self) -> bool {
        false
    }

    /// Runs `phases` once, waits, and says how long each call took. Slower than [`Executor::run`], which is what it looks into.
    fn time(&mut self, phases: &[Phase]) -> Result<Timing>;

    /// Runs one call of a phase alone, waits, and returns the seconds of all that on the host's clock.
    fn time_call(&mut self, phase: Phase, call: usize) -> Result<f64>;

    /// Waits for the device and reads real numbers.
    fn read(&mut self, tensor: &Tensor) -> Result<Vec<f32>>;

    /// Waits for the device and reads integers.
    fn read_index(&mut self, tensor: &Tensor) -> Result<Vec<u32>>;
}

/// When something began and ended, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub begin: f64,
    pub end: f64,
}

impl Span {
    /// How long it took.
    pub fn seconds(&self) -> f64 {
        self.end - self.begin
    }
}

/// A run as clocks saw it. Seconds count from its beginning on the host; a device's clock is shifted so that its work ends when
/// the host hears of it.
#[derive(Debug, Clone, Default)]
pub struct Timing {
    /// Of each call, in order; `None` where the device gave no usable time.
    pub calls: Vec<Option<Span>>,
    /// What the host did, in order.
    pub host: Vec<(&'static str, Span)>,
}

impl Timing {
    /// The whole run, on the host.
    pub fn seconds(&self) -> f64 {
        self.host.last().map_or(0.0, |(_, span)| span.end)
    }
}
