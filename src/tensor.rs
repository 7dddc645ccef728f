//! Buffers of a program, and dense tensors as views of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The element type of a buffer. Integers are indices and counts; everything else is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// f32 on a GPU, the executor's float type on the CPU.
    Real,
    /// u32; also four bytes, packed.
    Index,
}

/// The purpose of a buffer, by which memory is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Parameters,
    Gradients,
    Moments,
    Activations,
    Data,
    /// Step counters, learning rates, metrics.
    Control,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] = [
        Kind::Parameters,
        Kind::Gradients,
        Kind::Moments,
        Kind::Activations,
        Kind::Data,
        Kind::Control,
    ];

    /// The kind in one word.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Parameters => "parameters",
            Kind::Gradients => "gradients",
            Kind::Moments => "moments",
            Kind::Activations => "activations",
            Kind::Data => "data",
            Kind::Control => "control",
        }
    }
}

/// An allocation on the device.
#[derive(Debug, Clone)]
pub struct Buffer {
    pub name: String,
    pub kind: Kind,
    pub element: Element,
    /// Elements, at least 1.
    pub len: usize,
}

impl Buffer {
    /// Size in bytes with `real_bytes` per real element.
    pub fn bytes(&self, real_bytes: usize) -> u64 {
        let each = match self.element {
            Element::Real => real_bytes,
            Element::Index => size_of::<u32>(),
        };
        self.len as u64 * each as u64
    }
}

/// A buffer of the program that created it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub(crate) usize);

impl BufferId {
    /// The index in [`Program::buffers`](crate::program::Program::buffers).
    pub fn index(self) -> usize {
        self.0
    }
}

/// The extents of a tensor in row-major order, slowest-varying first; at most four.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    extents: [usize; 4],
    rank: usize,
}

impl Shape {
    /// The extents, slowest-varying first.
    pub fn extents(&self) -> &[usize] {
        &self.extents[..self.rank]
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.extents().iter().product()
    }

    /// Whether an extent is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(shape: [usize; N]) -> Self {
        const { assert!(N >= 1 && N <= 4) };
        let mut extents = [1; 4];
        extents[..N].copy_from_slice(&shape);
        Shape { extents, rank: N }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.extents().fmt(f)
    }
}

/// A dense row-major view of a part of a buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tensor {
    pub buffer: BufferId,
    /// Index of the first element in the buffer.
    pub offset: usize,
    pub shape: Shape,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// Whether an extent is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The range of elements in the buffer.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// A view of the elements from `skip` on, with another shape.
    pub fn part(&self, skip: usize, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        debug_assert!(
            skip + shape.len() <= self.len(),
            "{shape:?} from element {skip} on is out of bounds of {:?}",
            self.shape
        );
        Tensor {
            buffer: self.buffer,
            offset: self.offset + skip,
            shape,
        }
    }
}
