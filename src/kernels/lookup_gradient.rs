use rayon::prelude::*;

use super::{Arg, Call, Columns, Cost, Kernel, Scalar, Shader, Table, Tokens, fold, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// The way back of [`Lookup`](super::Lookup): each token's vector gets the sum of the gradients that arrive where the token
/// stands, in the order of rows.
#[derive(Debug, Clone)]
pub struct LookupGradient {
    /// `[T, B, stride]`, of which the first columns are read; zero past a sequence's end.
    pub dout: Columns,
    pub tokens: Tokens,
    /// As the table was read.
    pub dtable: Table,
    /// A token whose vector is left as it is (PyTorch's `padding_idx`).
    pub padding: Option<u32>,
    /// Adds the sums to what `dtable` holds.
    pub accumulate: bool,
}

impl From<LookupGradient> for Call {
    fn from(call: LookupGradient) -> Call {
        Call::LookupGradient(call)
    }
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
        scalars.push(("accumulate", Scalar::U32(self.accumulate.into())));
        scalars
    }

    fn shader(&self) -> Shader {
        Shader {
            parts: vec![
                include_str!("../../shaders/lookup_gradient.wgsl"),
                include_str!("../../shaders/common/tokens.wgsl"),
            ],
            constants: vec![],
        }
    }

    fn grid(&self) -> [u32; 3] {
        fold(self.dtable.count() * self.dtable.width.div_ceil(64), 1)
    }

    fn iterations(&self) -> usize {
        self.tokens.steps * self.tokens.batch
    }

    fn cost(&self) -> Cost {
        let numbers = (self.tokens.steps * self.tokens.batch * self.dtable.width) as f64;
        let (table, times) = (
            self.dtable.tensor.len() as f64,
            f64::from(u8::from(self.accumulate)),
        );
        Cost {
            flops: numbers + times * table,
            bytes: 4.0 * (numbers + (1.0 + times) * table),
        }
    }
}

impl LookupGradient {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let dout = memory.read(&self.dout.tensor);
        let dout = &*dout;
        let (width, count) = (self.dtable.width, self.dtable.count());
        let mut rows_of = vec![vec![]; count];
        for (row, token) in self.tokens.cpu(memory).into_iter().enumerate() {
            rows_of[token].push(row);
        }
        let vector = |(token, rows): (usize, &Vec<usize>)| {
            let mut sum = vec![R::zero(); width];
            if self.padding != Some(token as u32) {
                for row in rows {
                    let gradient = &dout[row * self.dout.stride..][..width];
                    sum.iter_mut().zip(gradient).for_each(|(s, &g)| *s += g);
                }
            }
            sum
        };
        let vectors: Vec<Vec<R>> = rows_of.par_iter().enumerate().map(vector).collect();
        let mut dtable = memory.write(&self.dtable.tensor);
        for (token, vector) in vectors.iter().enumerate() {
            let places = dtable[token * self.dtable.token_stride..].iter_mut();
            let places = places.step_by(self.dtable.stride).zip(vector);
            match self.accumulate {
                true => places.for_each(|(place, &value)| *place += value),
                false => places.for_each(|(place, &value)| *place = value),
            }
        }
    }
}
