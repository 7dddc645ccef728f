//! What can play a program, and what a kernel sees of it.

use std::cell::{Ref, RefCell, RefMut};

use crate::aligned::Aligned;
use crate::error::Result;
use crate::program::{Buffer, Element, Phase, Program, Tensor};
use crate::real::Real;

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

/// The memory of a program on the CPU.
///
/// Each buffer sits in a `RefCell`: borrowing follows the rule of a GPU's bindings (many readers or one writer),
/// so a kernel that breaks it fails here too.
#[derive(Debug)]
pub struct Memory<R> {
    cells: Vec<MemoryCell<R>>,
}

#[derive(Debug)]
enum MemoryCell<R> {
    Real(RefCell<Aligned<R>>),
    Index(RefCell<Vec<u32>>),
}

impl<R: Real> Memory<R> {
    /// Zeros for every buffer of `program`.
    pub fn new(program: &Program) -> Self {
        let cell = |buffer: &Buffer| match buffer.element {
            Element::Real => MemoryCell::Real(RefCell::new(Aligned::zeros(buffer.len))),
            Element::Index => MemoryCell::Index(RefCell::new(vec![0; buffer.len])),
        };
        Memory {
            cells: program.buffers().iter().map(cell).collect(),
        }
    }

    /// A view to read.
    pub fn read(&self, tensor: &Tensor) -> Ref<'_, [R]> {
        Ref::map(self.real(tensor).borrow(), |v| &v[tensor.range()])
    }

    /// A view to write.
    pub fn write(&self, tensor: &Tensor) -> RefMut<'_, [R]> {
        RefMut::map(self.real(tensor).borrow_mut(), |v| &mut v[tensor.range()])
    }

    /// A view of integers to read.
    pub fn read_index(&self, tensor: &Tensor) -> Ref<'_, [u32]> {
        Ref::map(self.index(tensor).borrow(), |v| &v[tensor.range()])
    }

    /// A view of integers to write.
    pub fn write_index(&self, tensor: &Tensor) -> RefMut<'_, [u32]> {
        RefMut::map(self.index(tensor).borrow_mut(), |v| &mut v[tensor.range()])
    }

    fn real(&self, tensor: &Tensor) -> &RefCell<Aligned<R>> {
        match &self.cells[tensor.buffer.index()] {
            MemoryCell::Real(cell) => cell,
            MemoryCell::Index(_) => panic!("{tensor:?} holds integers"),
        }
    }

    fn index(&self, tensor: &Tensor) -> &RefCell<Vec<u32>> {
        match &self.cells[tensor.buffer.index()] {
            MemoryCell::Index(cell) => cell,
            MemoryCell::Real(_) => panic!("{tensor:?} holds real numbers"),
        }
    }
}
