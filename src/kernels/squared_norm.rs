use pulp::{Simd, WithSimd};

use super::{Arg, Cost, Kernel, Scalar, Shader, read, write};
use crate::memory::Memory;
use crate::numeric::real::{Lanes, Real};
use crate::tensor::Tensor;

/// Computes the sum of squares of the elements of each of 64 workgroups.
/// [`ClipFactor`](super::ClipFactor) adds these up.
#[derive(Debug, Clone)]
pub struct SquaredNorm {
    /// `[count]`.
    pub source: Tensor,
    /// `[64]`.
    pub partials: Tensor,
}

/// Partial sums that the CPU computes as one vector.
const LANES: usize = 16;

impl SquaredNorm {
    /// Number of workgroups, and of partial sums.
    pub const PARTIALS: usize = 64;
}

impl Kernel for SquaredNorm {
    fn name(&self) -> &'static str {
        "squared_norm"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("source", self.source),
            write("partials", self.partials),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![("count", Scalar::count(self.source.len()))]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/squared_norm.wgsl"),
            include_str!("../../shaders/common/reduce.wgsl"),
        ])
    }

    fn grid(&self) -> [u32; 3] {
        [SquaredNorm::PARTIALS as u32, 1, 1]
    }

    fn iterations(&self) -> usize {
        self.source.len() / (64 * Self::PARTIALS) + 64
    }

    fn cost(&self) -> Cost {
        let count = self.source.len() as f64;
        Cost {
            flops: 2.0 * count,
            bytes: 4.0 * count,
        }
    }
}

impl SquaredNorm {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let source = memory.read(&self.source);
        let mut partials = memory.write(&self.partials);
        partials.fill(R::zero());
        for block in source.chunks(Self::PARTIALS * Self::PARTIALS) {
            for (partial, values) in partials.iter_mut().zip(block.chunks(Self::PARTIALS)) {
                let mut sums = [R::zero(); LANES];
                R::vectorize(SumOfSquares {
                    values,
                    sums: &mut sums,
                });
                *partial += sums.into_iter().fold(R::zero(), R::add);
            }
        }
    }
}

/// Adds the squares of values to sums: that of value n to sum `n % LANES`.
struct SumOfSquares<'a, R> {
    values: &'a [R],
    sums: &'a mut [R; LANES],
}

impl<R: Real> WithSimd for SumOfSquares<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (rows, rest) = self.values.as_chunks::<LANES>();
        let lanes = <R::Vector<S> as Lanes<S, R>>::LANES;
        for first in (0..LANES).step_by(lanes) {
            let mut sum = R::Vector::<S>::splat(simd, R::zero());
            for row in rows {
                let values = R::Vector::<S>::load(simd, &row[first..first + lanes]);
                sum += values * values;
            }
            sum.store(&mut self.sums[first..first + lanes]);
        }
        for (sum, &value) in self.sums.iter_mut().zip(rest) {
            *sum += value * value;
        }
    }
}
