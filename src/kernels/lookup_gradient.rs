use rayon::prelude::*;

use super::words::wgsl_constants;
use super::{
    Arg, BLOCK_STEPS, Columns, Cost, Kernel, Scalar, Shader, Table, Tokens, blocks_of_steps,
    linear_grid, read, write,
};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// The backward pass of [`Lookup`](super::Lookup): the gradient of a token's vector is the sum of
/// the gradients of the rows with that token, in blocks of [`BLOCK_STEPS`] steps from the last to
/// the first, within a block in the order of rows.
#[derive(Debug, Clone)]
pub struct LookupGradient {
    /// `[T, B, stride]`: the first columns are read. Padded steps are zero.
    pub dout: Columns,
    pub tokens: Tokens,
    /// The gradient of the table, in the table's layout.
    pub dtable: Table,
    /// A token whose vector has no gradient (PyTorch's `padding_idx`).
    pub padding: Option<u32>,
    /// Whether the sums are added to the values of `dtable`.
    pub accumulate: bool,
}

impl Kernel for LookupGradient {
    fn name(&self) -> &'static str {
        "lookup_gradient"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("dout", self.dout.tensor),
            read("tokens", self.tokens.tensor),
            read("lengths", self.tokens.lengths),
            write("dtable", self.dtable.tensor),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let mut scalars = self.tokens.uniform().to_vec();
        scalars.extend(self.dtable.uniform());
        scalars.push(("out_stride", Scalar::count(self.dout.stride)));
        scalars.push(("vocabulary", Scalar::count(self.dtable.count())));
        scalars.push(("padding", Scalar::U32(self.padding.unwrap_or(u32::MAX))));
        scalars.push(("accumulate", Scalar::from(self.accumulate)));
        scalars
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/lookup_gradient.wgsl"),
            include_str!("../../shaders/common/tokens.wgsl"),
        ])
        .with(wgsl_constants(&[("BLOCK_STEPS", BLOCK_STEPS)]))
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.dtable.count() * self.dtable.width.div_ceil(64), 1)
    }

    fn iterations(&self) -> usize {
        self.tokens.steps * self.tokens.batch + self.tokens.steps.div_ceil(BLOCK_STEPS)
    }

    fn cost(&self) -> Cost {
        let elements = (self.tokens.steps * self.tokens.batch * self.dtable.width) as f64;
        let (table, times) = (
            self.dtable.tensor.len() as f64,
            f64::from(u8::from(self.accumulate)),
        );
        Cost {
            flops: elements + times * table,
            bytes: 4.0 * (elements + (1.0 + times) * table),
        }
    }
}

impl LookupGradient {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let dout = memory.read(&self.dout.tensor);
        let dout = &*dout;
        let (width, count) = (self.dtable.width, self.dtable.count());
        let mut rows_of = vec![vec![]; count];
        let tokens = self.tokens.cpu(memory);
        for row in blocks_of_steps(tokens.len(), self.tokens.batch) {
            rows_of[tokens[row]].push(row);
        }
        let mut dtable = memory.write(&self.dtable.tensor);
        let old = &*dtable;
        let vector = |(token, rows): (usize, &Vec<usize>)| {
            let mut sum = vec![R::zero(); width];
            if self.accumulate {
                let old = &old[token * self.dtable.token_stride..];
                let old = old.iter().step_by(self.dtable.stride);
                sum.iter_mut().zip(old).for_each(|(sum, &old)| *sum = old);
            }
            if self.padding != Some(token as u32) {
                for row in rows {
                    let gradient = &dout[row * self.dout.stride..][..width];
                    sum.iter_mut().zip(gradient).for_each(|(s, &g)| *s += g);
                }
            }
            sum
        };
        let vectors: Vec<Vec<R>> = rows_of.par_iter().enumerate().map(vector).collect();
        for (token, vector) in vectors.iter().enumerate() {
            let elements = dtable[token * self.dtable.token_stride..].iter_mut();
            let elements = elements.step_by(self.dtable.stride).zip(vector);
            elements.for_each(|(element, &value)| *element = value);
        }
    }
}
