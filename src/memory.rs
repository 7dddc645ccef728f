//! The memory of a program on the CPU, as kernels see it.

use std::cell::{Ref, RefCell, RefMut};

use crate::numeric::aligned::Aligned;
use crate::numeric::real::Real;
use crate::tensor::{Buffer, Element, Tensor};

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
    /// Zeros for every one of `buffers`.
    pub fn new(buffers: &[Buffer]) -> Self {
        let cell = |buffer: &Buffer| match buffer.element {
            Element::Real => MemoryCell::Real(RefCell::new(Aligned::zeros(buffer.len))),
            Element::Index => MemoryCell::Index(RefCell::new(vec![0; buffer.len])),
        };
        Memory {
            cells: buffers.iter().map(cell).collect(),
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
