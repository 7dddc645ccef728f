use rayon::prelude::*;

use super::{Arg, Columns, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Looks up each token's vector in a table: an embedding, or the matmul of a matrix with one-hot
/// tokens.
#[derive(Debug, Clone)]
pub struct Lookup {
    pub table: Table,
    /// `[width]`, added to each vector.
    pub bias: Option<Tensor>,
    pub tokens: Tokens,
    /// `[T, B, stride]`: the first columns are written, at valid and at padded steps.
    pub out: Columns,
}

/// V vectors of `width` elements.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub tensor: Tensor,
    pub width: usize,
    /// Elements from one token's vector to the next token's.
    pub token_stride: usize,
    /// Elements from one element of a vector to the next.
    pub stride: usize,
}

impl Table {
    /// Returns the rows of a matrix `[V, width]` as a table.
    pub fn rows(tensor: Tensor) -> Table {
        let width = tensor.shape.extents()[1];
        Table {
            tensor,
            width,
            token_stride: width,
            stride: 1,
        }
    }

    /// Returns the columns of a matrix `[width, V]` as a table.
    pub fn columns(tensor: Tensor) -> Table {
        let [width, count] = [0, 1].map(|n| tensor.shape.extents()[n]);
        Table {
            tensor,
            width,
            token_stride: 1,
            stride: count,
        }
    }

    /// Returns V.
    pub fn count(&self) -> usize {
        self.tensor.len() / self.width
    }

    pub(super) fn uniform(&self) -> [(&'static str, Scalar); 3] {
        [
            ("width", Scalar::count(self.width)),
            ("token_stride", Scalar::count(self.token_stride)),
            ("table_stride", Scalar::count(self.stride)),
        ]
    }
}

/// The tokens of a batch, in the order of time or with the valid steps of each sequence reversed.
#[derive(Debug, Clone, Copy)]
pub struct Tokens {
    /// `[T, B]`, each below V.
    pub tensor: Tensor,
    /// `[B]`: valid steps of each sequence. A length above T counts as T.
    pub lengths: Tensor,
    pub steps: usize,
    pub batch: usize,
    pub reversed: bool,
}

impl Tokens {
    pub(super) fn uniform(&self) -> [(&'static str, Scalar); 3] {
        [
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("reversed", Scalar::from(self.reversed)),
        ]
    }

    /// Returns the token of each row of `[T, B]`.
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) -> Vec<usize> {
        let (tokens, lengths) = (
            memory.read_index(&self.tensor),
            memory.read_index(&self.lengths),
        );
        let token = |row: usize| {
            let (t, b) = (row / self.batch, row % self.batch);
            let length = (lengths[b] as usize).min(self.steps);
            let step = if self.reversed && t < length {
                length - 1 - t
            } else {
                t
            };
            tokens[step * self.batch + b] as usize
        };
        (0..self.steps * self.batch).map(token).collect()
    }
}

impl Kernel for Lookup {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("table", self.table.tensor),
            read("bias", self.bias.unwrap_or(self.table.tensor)),
            read("tokens", self.tokens.tensor),
            read("lengths", self.tokens.lengths),
            write("out", self.out.tensor),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let mut scalars = self.tokens.uniform().to_vec();
        scalars.extend(self.table.uniform());
        scalars.push(("out_stride", Scalar::count(self.out.stride)));
        scalars.push(("has_bias", Scalar::from(self.bias.is_some())));
        scalars
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/lookup.wgsl"),
            include_str!("../../shaders/common/tokens.wgsl"),
        ])
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.elements(), 64)
    }

    fn cost(&self) -> Cost {
        let elements = self.elements() as f64;
        Cost {
            flops: if self.bias.is_some() { elements } else { 0.0 },
            bytes: 4.0 * (elements + self.table.tensor.len() as f64),
        }
    }
}

impl Lookup {
    fn elements(&self) -> usize {
        self.tokens.steps * self.tokens.batch * self.table.width
    }

    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let table = memory.read(&self.table.tensor);
        let bias = self.bias.map(|bias| memory.read(&bias));
        let (table, bias) = (&*table, bias.as_deref());
        let tokens = self.tokens.cpu(memory);
        memory
            .write(&self.out.tensor)
            .par_chunks_mut(self.out.stride)
            .zip(&tokens)
            .for_each(|(out, token)| {
                let vector = table[token * self.table.token_stride..]
                    .iter()
                    .step_by(self.table.stride);
                let out = out[..self.table.width].iter_mut().zip(vector);
                match bias {
                    Some(bias) => out
                        .zip(bias)
                        .for_each(|((out, &value), &bias)| *out = value + bias),
                    None => out.for_each(|(out, &value)| *out = value),
                }
            });
    }
}
