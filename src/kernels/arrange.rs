use super::{Arg, Call, Cost, Kernel, Scalar, Shader, fold, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Moves columns of a `[T, B, ...]` tensor into columns of another, in an order of its own, and times a mask where there is
/// one. What lies between the layers of a network is made of such moves: directions, dropout, residuals.
#[derive(Debug, Clone)]
pub struct Arrange {
    pub source: Columns,
    pub out: Columns,
    pub mask: Option<(Columns, Side)>,
    /// `[B]`: valid steps, of which more than T count as T.
    pub lengths: Tensor,
    pub steps: usize,
    pub batch: usize,
    /// Columns.
    pub width: usize,
    pub order: Order,
    /// Adds to what `out` holds.
    pub accumulate: bool,
}

/// Some columns of a `[T, B, stride]` tensor.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// From the first of them on.
    pub tensor: Tensor,
    /// Numbers from one sequence to the next.
    pub stride: usize,
}

/// Whose steps a mask goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Out,
}

/// What a step takes; zeros past a sequence's end, if nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// What stands there.
    InTime,
    /// Step t what stands at step `length - 1 - t` (TensorFlow's `reverse_sequence`).
    Reversed,
    /// What stands there, and past the end what stands at the last valid step.
    Repeat,
    /// The way back of `Repeat`: what stands there, and the last valid step also all that stands past the end.
    Collect,
}

impl Columns {
    /// All columns of a tensor.
    pub fn all(tensor: Tensor) -> Columns {
        let stride = *tensor.shape.extents().last().unwrap_or(&1);
        Columns { tensor, stride }
    }

    /// The columns from number `first` on.
    pub fn from(self, first: usize) -> Columns {
        let rest = self.tensor.len() - first;
        Columns {
            tensor: self.tensor.part(first, [rest]),
            ..self
        }
    }
}

impl From<Arrange> for Call {
    fn from(call: Arrange) -> Call {
        Call::Arrange(call)
    }
}

impl Kernel for Arrange {
    fn name(&self) -> &'static str {
        "arrange"
    }

    fn args(&self) -> Vec<Arg> {
        let mask = self.mask.map_or(self.source, |(mask, _)| mask);
        vec![
            read("source", self.source.tensor),
            read("mask", mask.tensor),
            read("lengths", self.lengths),
            write("out", self.out.tensor),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let (mask_stride, mask_side) = match self.mask {
            None => (0, 0),
            Some((mask, Side::Source)) => (mask.stride, 1),
            Some((mask, Side::Out)) => (mask.stride, 2),
        };
        let order = match self.order {
            Order::InTime => 0,
            Order::Reversed => 1,
            Order::Repeat => 2,
            Order::Collect => 3,
        };
        vec![
            ("source_stride", Scalar::count(self.source.stride)),
            ("mask_stride", Scalar::count(mask_stride)),
            ("out_stride", Scalar::count(self.out.stride)),
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("width", Scalar::count(self.width)),
            ("mask_side", Scalar::U32(mask_side)),
            ("order", Scalar::U32(order)),
            ("accumulate", Scalar::U32(self.accumulate.into())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader {
            parts: vec![include_str!("../../shaders/arrange.wgsl")],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(self.steps * self.batch * self.width, 64)
    }

    fn iterations(&self) -> usize {
        self.steps + 64
    }

    fn cost(&self) -> Cost {
        let moved = (self.steps * self.batch * self.width) as f64;
        let more = f64::from(u8::from(self.accumulate)) + f64::from(u8::from(self.mask.is_some()));
        Cost {
            flops: more * moved,
            bytes: 4.0 * (2.0 + more) * moved,
        }
    }
}

impl Arrange {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (source, lengths) = (
            memory.read(&self.source.tensor),
            memory.read_index(&self.lengths),
        );
        let mask = self.mask.map(|(mask, side)| {
            let values = memory.read(&mask.tensor);
            (values, mask.stride, side)
        });
        let mut out = memory.write(&self.out.tensor);
        let mut moved = vec![R::zero(); self.width];
        for (row, out) in out
            .chunks_mut(self.out.stride)
            .take(self.steps * self.batch)
            .enumerate()
        {
            let (t, b) = (row / self.batch, row % self.batch);
            let length = (lengths[b] as usize).min(self.steps);
            let out = &mut out[..self.width];
            let at = |t: usize| &source[(t * self.batch + b) * self.source.stride..][..self.width];
            let from = match self.order {
                Order::Reversed if t < length => length - 1 - t,
                Order::Repeat if t >= length && length > 0 => length - 1,
                _ => t,
            };
            if from < length {
                moved.copy_from_slice(at(from));
                if self.order == Order::Collect && t + 1 == length {
                    for past in length..self.steps {
                        add(&mut moved, at(past));
                    }
                }
                if let Some((mask, stride, side)) = &mask {
                    let step = if *side == Side::Source { from } else { t };
                    let mask = &mask[(step * self.batch + b) * stride..];
                    moved
                        .iter_mut()
                        .zip(mask)
                        .for_each(|(value, &m)| *value *= m);
                }
            } else {
                moved.fill(R::zero());
            }
            if self.accumulate {
                add(out, &moved);
            } else {
                out.copy_from_slice(&moved);
            }
        }
    }
}

fn add<R: Real>(values: &mut [R], more: &[R]) {
    values
        .iter_mut()
        .zip(more)
        .for_each(|(value, &more)| *value += more);
}
