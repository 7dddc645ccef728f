//! The buffers of a program on the CPU.

use std::cell::{Ref, RefCell, RefMut};

use crate::numeric::aligned::Aligned;
use crate::numeric::precision::Precision;
use crate::numeric::real::Real;
use crate::tensor::{Buffer, Element, Tensor};

/// The buffers of a program on the CPU, with real elements of type `R`.
///
/// Each buffer is in a `RefCell`, whose rule is that of a GPU's bindings: any number of readers or
/// one writer. A kernel that violates it panics.
#[derive(Debug)]
pub struct Memory<R> {
    cells: Vec<MemoryCell<R>>,
    /// To what the operands of matmuls are rounded.
    precision: Precision,
}

#[derive(Debug)]
enum MemoryCell<R> {
    Real(RefCell<Aligned<R>>),
    Index(RefCell<Vec<u32>>),
}

impl<R: Real> Memory<R> {
    /// Allocates `buffers`, zeroed, for matmuls of this precision.
    pub fn new(buffers: &[Buffer], precision: Precision) -> Self {
        let cell = |buffer: &Buffer| match buffer.element {
            Element::Real => MemoryCell::Real(RefCell::new(Aligned::zeros(buffer.len))),
            Element::Index => MemoryCell::Index(RefCell::new(vec![0; buffer.len])),
        };
        Memory {
            cells: buffers.iter().map(cell).collect(),
            precision,
        }
    }

    /// Returns the precision of matmuls.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Borrows a tensor of real elements.
    pub fn read(&self, tensor: &Tensor) -> Ref<'_, [R]> {
        Ref::map(self.real(tensor).borrow(), |v| &v[tensor.range()])
    }

    /// Borrows a tensor of real elements mutably.
    pub fn write(&self, tensor: &Tensor) -> RefMut<'_, [R]> {
        RefMut::map(self.real(tensor).borrow_mut(), |v| &mut v[tensor.range()])
    }

    /// Borrows a tensor of integers.
    pub fn read_index(&self, tensor: &Tensor) -> Ref<'_, [u32]> {
        Ref::map(self.index(tensor).borrow(), |v| &v[tensor.range()])
    }

    /// Borrows a tensor of integers mutably.
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
            MemoryCell::Real(_) => panic!("{tensor:?} holds real elements"),
        }
    }
}
