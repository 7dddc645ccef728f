//! Vectors of f32 and f64 in the widest registers of the machine, chosen at run time.

use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use pulp::Simd;

use crate::numeric::real::{Lanes, Number};

/// The f32 elements that one instruction of `S` processes. Results do not depend on the number of
/// lanes, but on whether the instruction set has a fused multiply-add.
#[derive(Debug, Clone, Copy)]
pub struct Vector<S: Simd> {
    simd: S,
    value: S::f32s,
}

impl<S: Simd> Lanes<S, f32> for Vector<S> {
    const LANES: usize = S::F32_LANES;

    #[inline(always)]
    fn splat(simd: S, value: f32) -> Self {
        let value = simd.splat_f32s(value);
        Vector { simd, value }
    }

    #[inline(always)]
    fn load(simd: S, values: &[f32]) -> Self {
        let value = match S::as_simd_f32s(values).0 {
            [whole] => *whole,
            _ => simd.partial_load_f32s(values),
        };
        Vector { simd, value }
    }

    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        if let [whole] = S::as_mut_simd_f32s(to).0 {
            *whole = self.value;
        } else {
            self.simd.partial_store_f32s(to, self.value);
        }
    }
}

impl<S: Simd> Vector<S> {
    /// `self * factor + term`, rounded once if the instruction set has a fused multiply-add.
    #[inline(always)]
    pub fn multiply_add(self, factor: Self, term: Self) -> Self {
        let value = self
            .simd
            .mul_add_e_f32s(self.value, factor.value, term.value);
        Vector { value, ..self }
    }

    /// Returns 2^n and e^r - 1 with e^x = 2^n e^r, for |x| < 88: n = round(x / ln 2), and e^r - 1
    /// by its Taylor series up to r^7; the first omitted term is at most 2e-8 of e^r.
    #[inline(always)]
    fn split_exp(self) -> (Self, Self) {
        let Vector { simd, .. } = self;
        let constant = |value: f32| Vector::splat(simd, value);
        // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
        let shift = constant(12_582_912.0);
        let shifted = self.multiply_add(constant(std::f32::consts::LOG2_E), shift);
        let n = shifted - shift;
        let bits = simd.transmute_u32s_f32s(shifted.value);
        let bits = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
        let bits = simd.add_u32s(bits, simd.splat_u32s(0x3f80_0000));
        let power = Vector {
            simd,
            value: simd.transmute_f32s_u32s(bits),
        };
        // ln 2 in two parts; the first has so few bits that its product with n is exact.
        let r = n.multiply_add(constant(-0.693_359_4), self);
        let r = n.multiply_add(constant(2.121_944_4e-4), r);
        let series = constant(1.0 / 5040.0);
        let series = series.multiply_add(r, constant(1.0 / 720.0));
        let series = series.multiply_add(r, constant(1.0 / 120.0));
        let series = series.multiply_add(r, constant(1.0 / 24.0));
        let series = series.multiply_add(r, constant(1.0 / 6.0));
        let series = series.multiply_add(r, constant(0.5));
        (power, (series * r).multiply_add(r, r))
    }
}

impl<S: Simd> Number for Vector<S> {
    #[inline(always)]
    fn constant(self, value: f32) -> Self {
        Vector::splat(self.simd, value)
    }

    #[inline(always)]
    fn exp(self) -> Self {
        let (power, rest) = self.clipped(self.constant(87.0)).split_exp();
        power.multiply_add(rest, power)
    }

    /// (e^2x - 1) / (e^2x + 1), with e^2x - 1 computed without cancellation; ±1 from |x| = 10 on.
    #[inline(always)]
    fn tanh(self) -> Self {
        let (power, rest) = (self + self).clipped(self.constant(20.0)).split_exp();
        let difference = power.multiply_add(rest, power - self.constant(1.0));
        difference / (difference + self.constant(2.0))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        let value = self.simd.sqrt_f32s(self.value);
        Vector { value, ..self }
    }

    #[inline(always)]
    fn where_larger(left: Self, right: Self, then: Self, otherwise: Self) -> Self {
        let simd = left.simd;
        let larger = simd.greater_than_f32s(left.value, right.value);
        // As integers: pulp's selection of floats is not always inlined.
        let then = simd.transmute_u32s_f32s(then.value);
        let otherwise = simd.transmute_u32s_f32s(otherwise.value);
        let value = simd.transmute_f32s_u32s(simd.select_u32s(larger, then, otherwise));
        Vector { simd, value }
    }
}

impl<S: Simd> Add for Vector<S> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let value = self.simd.add_f32s(self.value, other.value);
        Vector { value, ..self }
    }
}

impl<S: Simd> Sub for Vector<S> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let value = self.simd.sub_f32s(self.value, other.value);
        Vector { value, ..self }
    }
}

impl<S: Simd> Mul for Vector<S> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let value = self.simd.mul_f32s(self.value, other.value);
        Vector { value, ..self }
    }
}

impl<S: Simd> Div for Vector<S> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        let value = self.simd.div_f32s(self.value, other.value);
        Vector { value, ..self }
    }
}

impl<S: Simd> Neg for Vector<S> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        let value = self.simd.neg_f32s(self.value);
        Vector { value, ..self }
    }
}

impl<S: Simd> AddAssign for Vector<S> {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<S: Simd> MulAssign for Vector<S> {
    #[inline(always)]
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

/// The f64 elements that one instruction of `S` processes. A product is rounded before it is added,
/// so that results have the same bits with every instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Doubles<S: Simd> {
    simd: S,
    value: S::f64s,
}

impl<S: Simd> Doubles<S> {
    pub const LANES: usize = S::F64_LANES;

    #[inline(always)]
    pub fn splat(simd: S, value: f64) -> Self {
        let value = simd.splat_f64s(value);
        Doubles { simd, value }
    }

    /// Loads a slice of at most [`LANES`](Doubles::LANES) elements; the other lanes are 0.
    #[inline(always)]
    pub fn load(simd: S, values: &[f64]) -> Self {
        let value = match S::as_simd_f64s(values).0 {
            [whole] => *whole,
            _ => simd.partial_load_f64s(values),
        };
        Doubles { simd, value }
    }

    /// Stores the first lanes, as many as `to` has elements.
    #[inline(always)]
    pub fn store(self, to: &mut [f64]) {
        if let [whole] = S::as_mut_simd_f64s(to).0 {
            *whole = self.value;
        } else {
            self.simd.partial_store_f64s(to, self.value);
        }
    }
}

impl<S: Simd> Add for Doubles<S> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let value = self.simd.add_f64s(self.value, other.value);
        Doubles { value, ..self }
    }
}

impl<S: Simd> Sub for Doubles<S> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let value = self.simd.sub_f64s(self.value, other.value);
        Doubles { value, ..self }
    }
}

impl<S: Simd> Mul for Doubles<S> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let value = self.simd.mul_f64s(self.value, other.value);
        Doubles { value, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies exp, tanh, sigmoid and clipping to many elements.
    struct Functions<'a> {
        of: &'a [f32],
        results: [&'a mut [f32]; 4],
    }

    impl pulp::WithSimd for Functions<'_> {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> usize {
            let (lanes, mut results_to) = (S::F32_LANES, self.results);
            for first in (0..self.of.len()).step_by(lanes) {
                let own = first..(first + lanes).min(self.of.len());
                let x = Vector::load(simd, &self.of[own.clone()]);
                let results = [x.exp(), x.tanh(), x.sigmoid(), x.clipped(x.constant(1.5))];
                for (result, to) in results.into_iter().zip(&mut results_to) {
                    result.store(&mut to[own.clone()]);
                }
            }
            lanes
        }
    }

    fn functions(of: &[f32], play: impl Fn(Functions) -> usize) -> (usize, [Vec<u32>; 4]) {
        let mut results = [0; 4].map(|_| vec![f32::NAN; of.len()]);
        let [a, b, c, d] = &mut results;
        let lanes = play(Functions {
            of,
            results: [a, b, c, d],
        });
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
        (lanes, results.map(bits))
    }

    #[test]
    fn all_fused_instruction_sets_give_the_same_bits_and_all_sets_keep_the_error_bounds() {
        let mut of: Vec<f32> = (-7000..7001).map(|n| n as f32 * 0.0123).collect();
        of.extend([0.0, -0.0, 1e-40, -1e-5]);
        let finite = of.len();
        of.extend([f32::INFINITY, f32::NEG_INFINITY, 3e38, 200.0]);
        let portable = |task: Functions| pulp::Simd::vectorize(pulp::Scalar, task);
        let (one, unfused) = functions(&of, portable);
        assert_eq!(one, 1);
        let wide = |task: Functions| pulp::Simd::vectorize(pulp::Scalar256b, task);
        let best = |task: Functions| pulp::Arch::new().dispatch(task);
        let (lanes, fused) = functions(&of, wide);
        assert_eq!(lanes, 8);
        let (lanes, actual) = functions(&of, best);
        let same = actual == if lanes == 1 { &unfused } else { &fused }[..];
        assert!(same, "{lanes} lanes");
        let exact: [fn(f64) -> f64; 3] = [f64::exp, f64::tanh, |x| 1.0 / (1.0 + (-x).exp())];
        for results in [&unfused, &fused] {
            // In half units in the last place, as src/numeric/real.rs states them.
            for ((exact, bits), bound) in exact.iter().zip(results).zip([3.0, 8.0, 6.0]) {
                for (&x, &bits) in of[..finite].iter().zip(bits) {
                    let (exact, actual) = (exact(x.into()), f64::from(f32::from_bits(bits)));
                    let half = (exact.abs() / f64::from(1 << 24)).max(f32::MIN_POSITIVE.into());
                    let error = (actual - exact).abs() / half;
                    assert!(error < bound, "{error} at {x}: {actual} for {exact}");
                }
            }
        }
    }

    #[test]
    fn nan_propagates() {
        let (_, results) = functions(&[f32::NAN; 3], |task| pulp::Arch::new().dispatch(task));
        for bits in results.into_iter().flatten() {
            assert!(f32::from_bits(bits).is_nan());
        }
    }
}
