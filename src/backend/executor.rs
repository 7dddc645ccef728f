//! The interface of the executors.

use crate::error::{Error, Result};
use crate::program::Phase;
use crate::tensor::Tensor;

/// A program loaded on a device: its buffers, and the means to run its phases.
///
/// An executor owns one copy of every buffer of its [`Program`](crate::program::Program); all are
/// zero after loading. Tensors passed to it must come from that program. Methods that submit work
/// to a GPU may return before the GPU has finished; [`read`](Executor::read),
/// [`read_index`](Executor::read_index), [`time`](Executor::time) and
/// [`time_call`](Executor::time_call) wait for it.
///
/// # Errors
/// Every method fails with [`Error::DeviceLost`] if the device is gone, [`Error::OutOfMemory`] if
/// the driver ran out of memory and [`Error::Driver`] if the driver failed, also when an earlier
/// call caused it. Methods that wait fail with [`Error::WorkLost`] if the driver dropped
/// submissions. After any of these the buffers' contents are undefined. The CPU executor has none
/// of these errors. Methods of the interpreter that run calls fail with [`Error::ShaderFault`] if
/// a kernel breaks a rule of WGSL or of this crate.
pub trait Executor: Send {
    /// Copies `values` into a tensor of real elements.
    ///
    /// # Errors
    /// [`Error::Usage`] if `values` and `tensor` differ in length.
    fn write(&mut self, tensor: &Tensor, values: &[f32]) -> Result<()>;

    /// Copies `values` into a tensor of integers.
    ///
    /// # Errors
    /// [`Error::Usage`] if `values` and `tensor` differ in length.
    fn write_index(&mut self, tensor: &Tensor, values: &[u32]) -> Result<()>;

    /// Marks the elements of a tensor as written by nobody. Only the interpreter knows the
    /// difference: it reports a kernel that reads them.
    fn poison(&mut self, _tensor: &Tensor) {}

    /// Copies `values` into a tensor as [`write`](Executor::write) does. Elements that nobody has
    /// written stay so.
    ///
    /// # Errors
    /// Those of [`write`](Executor::write).
    fn restore(&mut self, tensor: &Tensor, values: &[f32]) -> Result<()> {
        self.write(tensor, values)
    }

    /// Copies `values` into a tensor of integers; see [`restore`](Executor::restore).
    ///
    /// # Errors
    /// Those of [`write_index`](Executor::write_index).
    fn restore_index(&mut self, tensor: &Tensor, values: &[u32]) -> Result<()> {
        self.write_index(tensor, values)
    }

    /// Prepares `phase` to be run alone and many times with the same values of `constant`. This
    /// changes no result, and lasts until these values are written or another phase runs. Only
    /// the CPU makes use of it.
    fn prepare(&mut self, _phase: Phase, _constant: &Tensor) {}

    /// Runs `phases` in order, and the whole list `times` times.
    fn run(&mut self, phases: &[Phase], times: usize) -> Result<()>;

    /// Whether [`run`](Executor::run) only submits work and returns before it is done.
    fn submits(&self) -> bool {
        false
    }

    /// Runs `phases` once, waits, and returns the time of each kernel call. Takes longer than
    /// [`run`](Executor::run), since calls are timed one by one.
    fn time(&mut self, phases: &[Phase]) -> Result<Timing>;

    /// Runs the kernel call at index `call` of `phase` alone, waits, and returns the elapsed
    /// seconds by the host's clock.
    fn time_call(&mut self, phase: Phase, call: usize) -> Result<f64>;

    /// Waits, and returns a copy of a tensor of real elements.
    fn read(&mut self, tensor: &Tensor) -> Result<Vec<f32>>;

    /// Waits, and copies a tensor of real elements into `to`. The CPU allocates nothing.
    ///
    /// # Errors
    /// [`Error::Usage`] if `to` and `tensor` differ in length.
    fn read_into(&mut self, tensor: &Tensor, to: &mut [f32]) -> Result<()> {
        check_length(tensor, to.len())?;
        to.copy_from_slice(&self.read(tensor)?);
        Ok(())
    }

    /// Waits, and returns a copy of a tensor of integers.
    fn read_index(&mut self, tensor: &Tensor) -> Result<Vec<u32>>;
}

/// Fails unless `tensor` has exactly `len` elements.
pub(super) fn check_length(tensor: &Tensor, len: usize) -> Result<()> {
    if tensor.len() == len {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{len} values were given for a tensor of shape {:?}, which has {} elements",
        tensor.shape,
        tensor.len()
    )))
}

/// An interval of time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub begin: f64,
    pub end: f64,
}

impl Span {
    /// The length of the interval.
    pub fn seconds(&self) -> f64 {
        self.end - self.begin
    }
}

/// Timeline of one run. Time 0 is the run's beginning on the host; device times are shifted so
/// that the last kernel call ends when the host's wait ends.
#[derive(Debug, Clone, Default)]
pub struct Timing {
    /// One entry per kernel call, in order; `None` if the device gave no valid timestamps.
    pub calls: Vec<Option<Span>>,
    /// Activities of the host, in order.
    pub host: Vec<(&'static str, Span)>,
}

impl Timing {
    /// Seconds of the whole run on the host.
    pub fn seconds(&self) -> f64 {
        self.host.last().map_or(0.0, |(_, span)| span.end)
    }
}
