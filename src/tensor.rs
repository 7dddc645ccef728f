//! Buffers of a program, and dense tensors as views into them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a buffer is made of. Integers index and count; everything that has a gradient is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// f32 on a GPU, the executor's float type on the CPU.
    Real,
    /// u32, also the carrier of packed bytes.
    Index,
}

/// What a buffer is for, so that memory can be accounted for by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Parameters,
    Gradients,
    Moments,
    Activations,
    Data,
    /// Step counters, schedules, metrics.
    Control,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] = [
        Kind::Parameters,
        Kind::Gradients,
        Kind::Moments,
        Kind::Activations,
        Kind::Data,
        Kind::Control,
    ];

    /// One word for tables.
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

/// One allocation on the device.
#[derive(Debug, Clone)]
pub struct Buffer {
    pub name: String,
    pub kind: Kind,
    pub element: Element,
    /// Elements, never 0.
    pub len: usize,
}

impl Buffer {
    /// Bytes held with `real_bytes` for each real number.
    pub fn bytes(&self, real_bytes: usize) -> u64 {
        let each = match self.element {
            Element::Real => real_bytes,
            Element::Index => size_of::<u32>(),
        };
        self.len as u64 * each as u64
    }
}

/// Names a buffer of the program that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub(crate) usize);

impl BufferId {
    /// Its place in [`Program::buffers`](crate::program::Program::buffers).
    pub fn index(self) -> usize {
        self.0
    }
}

/// The extents of a tensor, slowest first; at most four.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    extents: [usize; 4],
    rank: usize,
}

impl Shape {
    /// The extents, slowest first.
    pub fn extents(&self) -> &[usize] {
        &self.extents[..self.rank]
    }

    /// Elements in all.
    pub fn len(&self) -> usize {
        self.extents().iter().product()
    }

    /// Whether some extent is 0.
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

/// A dense row-major view into a buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tensor {
    pub buffer: BufferId,
    /// Elements before the first one.
    pub offset: usize,
    pub shape: Shape,
}

impl Tensor {
    /// Elements in all.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// Whether some extent is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements it covers in its buffer.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// The same memory seen from `skip` elements on, with another shape.
    pub fn part(&self, skip: usize, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        debug_assert!(
            skip + shape.len() <= self.len(),
            "{shape:?} after {skip} lies outside {:?}",
            self.shape
        );
        Tensor {
            buffer: self.buffer,
            offset: self.offset + skip,
            shape,
        }
    }
}
