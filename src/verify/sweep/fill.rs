//! The initial contents of a case's buffers.

use std::ops::Range;

use super::{ValueKind, hash};
use crate::program::Program;
use crate::rng::{Philox, Stream};
use crate::tensor::{Buffer, Element, Kind, Tensor};
use crate::verify::BufferContents;

/// The contents of a program's buffers, filled with random values that follow from a name.
pub(super) struct BufferFiller {
    contents: Vec<BufferContents>,
    kinds: Vec<Kind>,
    /// For each buffer the ranges that have been filled on purpose.
    filled: Vec<Vec<Range<usize>>>,
    random: Philox,
}

impl BufferFiller {
    /// Fills every buffer with zeros.
    pub(super) fn new(program: &Program, name: &str) -> Self {
        let zeros = |buffer: &Buffer| match buffer.element {
            Element::Real => BufferContents::Real(vec![0.0; buffer.len]),
            Element::Index => BufferContents::Index(vec![0; buffer.len]),
        };
        let buffers = program.buffers().iter();
        BufferFiller {
            contents: buffers.clone().map(zeros).collect(),
            filled: vec![vec![]; buffers.len()],
            kinds: buffers.map(|buffer| buffer.kind).collect(),
            random: Philox::new(hash(name), Stream::Parameter(0)),
        }
    }

    /// Returns the contents, one entry for each buffer.
    pub(super) fn into_contents(self) -> Vec<BufferContents> {
        self.contents
    }

    /// Marks a tensor as filled on purpose.
    pub(super) fn keep(&mut self, tensor: &Tensor) {
        self.filled[tensor.buffer.index()].push(tensor.range());
    }

    /// Returns the parts of activations and gradients that only [`fill_all`](Self::fill_all) has
    /// filled: kernels write them before others read them.
    pub(super) fn unwritten(&self, program: &Program) -> Vec<Tensor> {
        let mut unwritten = vec![];
        for (buffer, filled) in self.filled.iter().enumerate() {
            if !matches!(self.kinds[buffer], Kind::Activations | Kind::Gradients) {
                continue;
            }
            let whole = program.whole(buffer);
            let mut filled = filled.clone();
            filled.sort_by_key(|range| range.start);
            let mut next = 0;
            let end = whole.len()..whole.len();
            for range in filled.into_iter().chain(std::iter::once(end)) {
                if range.start > next {
                    unwritten.push(whole.part(next, [range.start - next]));
                }
                next = next.max(range.end);
            }
        }
        unwritten
    }

    /// Fills all real buffers except parameters with values in ±`values.scale()`, so that a kernel
    /// which reads an element that no kernel has written is noticed.
    pub(super) fn fill_all(&mut self, values: ValueKind) {
        for (kind, contents) in self.kinds.iter().zip(&mut self.contents) {
            if let BufferContents::Real(contents) = contents
                && *kind != Kind::Parameters
            {
                let random = &mut self.random;
                contents.fill_with(|| symmetric(random) * values.scale());
            }
        }
    }

    /// Multiplies every real element by `factor`.
    pub(super) fn scale_all(&mut self, factor: f32) {
        for contents in &mut self.contents {
            if let BufferContents::Real(values) = contents {
                values.iter_mut().for_each(|value| *value *= factor);
            }
        }
    }

    /// Fills a real tensor with values in ±`limit`.
    pub(super) fn fill_symmetric(&mut self, tensor: &Tensor, limit: f32) {
        let (random, values) = self.reals(tensor);
        values.fill_with(|| symmetric(random) * limit);
    }

    /// Fills a real tensor with values from 0 to `limit`.
    pub(super) fn fill_positive(&mut self, tensor: &Tensor, limit: f32) {
        let (random, values) = self.reals(tensor);
        values.fill_with(|| random.uniform() * limit);
    }

    /// Sets element i of a real tensor to `value(i)`.
    pub(super) fn set_reals(&mut self, tensor: &Tensor, value: impl Fn(usize) -> f32) {
        let (_, values) = self.reals(tensor);
        let values = values.iter_mut().enumerate();
        values.for_each(|(index, element)| *element = value(index));
    }

    /// Sets element i of an integer tensor to `value(i)`.
    pub(super) fn set_indices(&mut self, tensor: &Tensor, value: impl Fn(usize) -> u32) {
        let (_, values) = self.indices(tensor);
        let values = values.iter_mut().enumerate();
        values.for_each(|(index, element)| *element = value(index));
    }

    /// Fills an integer tensor with random values below `limit`.
    pub(super) fn fill_below(&mut self, tensor: &Tensor, limit: u32) {
        let (random, values) = self.indices(tensor);
        values.fill_with(|| random.below(limit));
    }

    /// Sets the first and then every `stride`th element of an integer tensor to `value`.
    pub(super) fn set_every(&mut self, tensor: &Tensor, stride: usize, value: u32) {
        let (_, values) = self.indices(tensor);
        let values = values.iter_mut().step_by(stride);
        values.for_each(|element| *element = value);
    }

    /// Sets the first and then every `stride`th element of a real tensor to `value`.
    pub(super) fn set_every_real(&mut self, tensor: &Tensor, stride: usize, value: f32) {
        let (_, values) = self.reals(tensor);
        let values = values.iter_mut().step_by(stride);
        values.for_each(|element| *element = value);
    }

    /// Returns the elements of a real tensor; none of an integer tensor.
    fn reals(&mut self, tensor: &Tensor) -> (&mut Philox, &mut [f32]) {
        self.keep(tensor);
        match &mut self.contents[tensor.buffer.index()] {
            BufferContents::Real(values) => (&mut self.random, &mut values[tensor.range()]),
            BufferContents::Index(_) => (&mut self.random, &mut []),
        }
    }

    /// Returns the elements of an integer tensor; none of a real tensor.
    fn indices(&mut self, tensor: &Tensor) -> (&mut Philox, &mut [u32]) {
        self.keep(tensor);
        match &mut self.contents[tensor.buffer.index()] {
            BufferContents::Index(values) => (&mut self.random, &mut values[tensor.range()]),
            BufferContents::Real(_) => (&mut self.random, &mut []),
        }
    }
}

/// Draws a value in ±1.
fn symmetric(random: &mut Philox) -> f32 {
    2.0 * random.uniform() - 1.0
}
