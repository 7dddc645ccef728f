use super::words::wgsl_constants;
use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Copies columns of a `[T, B, ...]` tensor to columns of another: in another order of time,
/// multiplied by a mask, or added to the values there. Bidirectional layers, dropout and residuals
/// consist of such copies between the layers.
#[derive(Debug, Clone)]
pub struct Arrange {
    pub source: Columns,
    pub out: Columns,
    pub mask: Option<(Columns, Side)>,
    /// `[B]`: valid steps of each sequence. A length above T counts as T.
    pub lengths: Tensor,
    pub steps: usize,
    pub batch: usize,
    /// Number of columns.
    pub width: usize,
    pub order: Order,
    /// Whether the result is added to the values of `out`.
    pub accumulate: bool,
}

/// A block of columns of a `[T, B, stride]` tensor.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// The tensor, from the first of the columns on.
    pub tensor: Tensor,
    /// Elements from one row `t * B + b` to the next.
    pub stride: usize,
}

/// The tensor whose step index selects the row of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Side {
    Source = 1,
    Out = 2,
}

/// The source step of each output step. Padded output steps are zero, unless the order says
/// otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    /// Step t.
    InTime,
    /// Step `length - 1 - t` (TensorFlow's `reverse_sequence`).
    Reversed,
    /// Step t, and for padded steps the last valid step.
    Repeat,
    /// The gradient of `Repeat`: step t; the last valid step also sums all padded steps.
    Collect,
}

/// The uniform's value of an absent [`Side`].
const NO_MASK: u32 = 0;

impl Columns {
    /// Returns all columns of a tensor.
    pub fn all(tensor: Tensor) -> Columns {
        let stride = *tensor.shape.extents().last().unwrap_or(&1);
        Columns { tensor, stride }
    }

    /// Returns the columns from index `first` on.
    pub fn from(self, first: usize) -> Columns {
        let rest = self.tensor.len() - first;
        Columns {
            tensor: self.tensor.part(first, [rest]),
            ..self
        }
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
        let (mask_stride, mask_side) = self
            .mask
            .map_or((0, NO_MASK), |(mask, side)| (mask.stride, side as u32));
        vec![
            ("source_stride", Scalar::count(self.source.stride)),
            ("mask_stride", Scalar::count(mask_stride)),
            ("out_stride", Scalar::count(self.out.stride)),
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("width", Scalar::count(self.width)),
            ("mask_side", Scalar::U32(mask_side)),
            ("order", Scalar::U32(self.order as u32)),
            ("accumulate", Scalar::from(self.accumulate)),
        ]
    }

    fn shader(&self) -> Shader {
        let constants = [
            ("REVERSED", Order::Reversed as usize),
            ("REPEAT", Order::Repeat as usize),
            ("COLLECT", Order::Collect as usize),
            ("NO_MASK", NO_MASK as usize),
            ("BY_SOURCE", Side::Source as usize),
        ];
        Shader::new([include_str!("../../shaders/arrange.wgsl")]).with(wgsl_constants(&constants))
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.steps * self.batch * self.width, 64)
    }

    fn iterations(&self) -> usize {
        self.steps + 64
    }

    fn cost(&self) -> Cost {
        let moved = (self.steps * self.batch * self.width) as f64;
        let operands =
            f64::from(u8::from(self.accumulate)) + f64::from(u8::from(self.mask.is_some()));
        Cost {
            flops: operands * moved,
            bytes: 4.0 * (2.0 + operands) * moved,
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
        let is_plain = mask.is_none() && self.order != Order::Collect;
        let mut moved = vec![R::zero(); if is_plain { 0 } else { self.width }];
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
            if is_plain && from < length {
                self.put(at(from).iter().copied(), out);
                continue;
            }
            if is_plain {
                self.put(std::iter::repeat_n(R::zero(), self.width), out);
                continue;
            }
            if from < length {
                moved.copy_from_slice(at(from));
                if self.order == Order::Collect && t + 1 == length {
                    for padded in length..self.steps {
                        add(&mut moved, at(padded));
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
            self.put(moved.iter().copied(), out);
        }
    }

    /// Writes moved values to `out`, or adds them.
    fn put<R: Real>(&self, moved: impl Iterator<Item = R>, out: &mut [R]) {
        let pairs = out.iter_mut().zip(moved);
        if self.accumulate {
            pairs.for_each(|(out, value)| *out += value);
        } else {
            pairs.for_each(|(out, value)| *out = value);
        }
    }
}

fn add<R: Real>(values: &mut [R], summands: &[R]) {
    values
        .iter_mut()
        .zip(summands)
        .for_each(|(value, &summand)| *value += summand);
}
