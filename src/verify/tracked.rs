//! A number in f64 that knows how far from it f32 arithmetic may end.

use std::cmp::Ordering;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use crate::numeric::gemm::{Matmul, NoPanels, TimeSums, View};
use crate::numeric::real::{Number, Real};

/// Half a unit in the last place of f32 at 1: what one rounding may add, relative to the value; with a hundredth more for the
/// second order of up to 10^5 roundings.
const ROUNDING: f64 = 1.01 / (1u64 << 24) as f64;
/// 2^-125: more than anything that is lost where a driver flushes subnormal numbers or `exp` is clamped at -87.
const TINY: f64 = 2.0 * f32::MIN_POSITIVE as f64;

/// A value, and how far from it f32 may end (running error analysis; Higham, "Accuracy and Stability of Numerical
/// Algorithms", 3.3).
///
/// A sum stays open until it is used: it keeps the sum of its terms' magnitudes and their number, so that its bound
/// `(n - 1) u Σ|x|` holds for every order of summation, and with fused multiply-adds, which only round less.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tracked {
    value: f64,
    /// Of the terms.
    error: f64,
    /// Σ|x|, each with its error.
    size: f64,
    /// Terms that are not zero.
    terms: f64,
}

impl Tracked {
    /// How far from the value f32 may end; infinite where nothing can be said.
    pub fn bound(self) -> f64 {
        // Two terms have one order only.
        let size = match self.terms {
            2.0 => self.value.abs() + self.error,
            _ => self.size,
        };
        let bound = self.error + (self.terms - 1.0).max(0.0) * (ROUNDING * size + TINY);
        if bound.is_nan() { f64::INFINITY } else { bound }
    }

    /// A number known to within `error`, as one term.
    fn within(value: f64, error: f64) -> Self {
        if value == 0.0 && error == 0.0 {
            return Tracked::default();
        }
        let error = if error.is_nan() { f64::INFINITY } else { error };
        let (size, terms) = (value.abs() + error, 1.0);
        Tracked {
            value,
            error,
            size,
            terms,
        }
    }

    /// What comes of `value`, known to within `error`, once `roundings` have been made.
    fn rounded(value: f64, error: f64, roundings: f64) -> Self {
        if value == 0.0 && error == 0.0 {
            return Tracked::default();
        }
        let made = roundings * ROUNDING * (value.abs() + error) + TINY;
        Self::within(value, error + made)
    }

    /// Closes a sum: value and bound.
    fn closed(self) -> (f64, f64) {
        (self.value, self.bound())
    }
}

impl PartialEq for Tracked {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialOrd for Tracked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl Add for Tracked {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Tracked {
            value: self.value + other.value,
            error: self.error + other.error,
            size: self.size + other.size,
            terms: self.terms + other.terms,
        }
    }
}

impl Neg for Tracked {
    type Output = Self;
    fn neg(self) -> Self {
        Tracked {
            value: -self.value,
            ..self
        }
    }
}

impl Sub for Tracked {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Tracked {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let ((a, a_error), (b, b_error)) = (self.closed(), other.closed());
        let error = a.abs() * b_error + b.abs() * a_error + a_error * b_error;
        Self::rounded(a * b, error, 1.0)
    }
}

impl Div for Tracked {
    type Output = Self;
    /// WGSL lets a division be 2.5 ulp off, an ulp being at most two roundings.
    fn div(self, other: Self) -> Self {
        let ((a, a_error), (b, b_error)) = (self.closed(), other.closed());
        let value = a / b;
        let error = match b.abs() > b_error {
            true => (a_error + value.abs() * b_error) / (b.abs() - b_error),
            false => f64::INFINITY,
        };
        Self::rounded(value, error, 5.0)
    }
}

impl AddAssign for Tracked {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl MulAssign for Tracked {
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

impl Number for Tracked {
    fn constant(self, value: f32) -> Self {
        Self::of(value.into())
    }

    /// src/real.rs: 1.5 ulp, and e^-87 below -87.
    fn exp(self) -> Self {
        let (x, error) = self.closed();
        let value = x.exp();
        Self::rounded(value, value * error.exp_m1() + TINY, 3.0)
    }

    /// src/real.rs: 4 ulp with a division of half an ulp, of which WGSL's may have 2 more. The slope is at most 1 and
    /// 4 e^-2|x|.
    fn tanh(self) -> Self {
        let (x, error) = self.closed();
        let slope = (4.0 * (2.0 * (error - x.abs())).exp()).min(1.0);
        Self::rounded(x.tanh(), slope * error, 12.0)
    }

    /// src/real.rs: 3 ulp with a division of half an ulp, and again 2 more. The slope is at most 1/4 and e^-|x|.
    fn sigmoid(self) -> Self {
        let (x, error) = self.closed();
        let slope = (error - x.abs()).exp().min(0.25);
        Self::rounded(1.0 / (1.0 + (-x).exp()), slope * error + TINY, 10.0)
    }

    /// Where rounding may decide which of the two is larger, either side's answer is right, and the bound covers both.
    fn where_larger(left: Self, right: Self, then: Self, otherwise: Self) -> Self {
        let (chosen, other) = match left.value > right.value {
            true => (then, otherwise),
            false => (otherwise, then),
        };
        let doubt = left.bound() + right.bound();
        if doubt == 0.0 || (left.value - right.value).abs() > doubt {
            return chosen;
        }
        let reach = (other.value - chosen.value).abs() + other.bound();
        Self::within(chosen.value, chosen.bound().max(reach))
    }
}

impl Real for Tracked {
    type Vector<S: pulp::Simd> = Tracked;

    /// A GPU gets it as f32, and may take a subnormal number for 0.
    fn of(value: f64) -> Self {
        let single = value as f32;
        let flushed = if single.is_subnormal() { value } else { 0.0 };
        let error = (value - f64::from(single)).abs().max(flushed.abs());
        Self::within(value, error)
    }

    fn f64(self) -> f64 {
        self.value
    }

    /// Of 1 or more, as shaders/common/math.wgsl has it. ln m with m in [sqrt(1/2), sqrt(2)]: m + 1, the division (5),
    /// 2 s * series (1) and the series (4) make 11 roundings of at most the result; adding n ln 2, 2 more.
    fn ln(self) -> Self {
        let (x, error) = self.closed();
        let error = match x > error {
            true => error / (x - error),
            false => f64::INFINITY,
        };
        Self::rounded(x.ln(), error, 13.0)
    }

    /// WGSL lets sqrt be as far off as 1 / inverseSqrt: 2 ulp and 2.5 ulp.
    fn sqrt(self) -> Self {
        let (x, error) = self.closed();
        let value = x.sqrt();
        let error = match error == 0.0 {
            true => 0.0,
            false => error / (value + (x - error).max(0.0).sqrt()),
        };
        // Where all of x may be error, so may all of its root.
        let error = if error.is_nan() { 0.0 } else { error };
        Self::rounded(value, error, 9.0)
    }

    /// x carries 2 relative roundings on a GPU: they move e^x by 2 |x| e^x roundings, and e^r - 1 after taking n ln 2 away
    /// is off by at most 10 of those (see `correction` in shaders/adam.wgsl).
    fn one_minus_exp(x: f64) -> Self {
        // Finite, for a base of 0.
        let x = x.max(-1e4);
        Self::rounded(-x.exp_m1(), 12.0 * ROUNDING * x.abs() * x.exp(), 2.0)
    }
}

impl Matmul for Tracked {
    type Panels = NoPanels;

    fn pack(_: View<Self>) -> Option<NoPanels> {
        None
    }

    fn try_time_sums(_: TimeSums<Self>) -> bool {
        false
    }

    fn matmul(a: View<Self>, b: View<Self>, c: &mut [Self], stride: usize, accumulate: bool) {
        let strides = |view: &View<Self>| match view.transposed {
            true => (1, view.stride),
            false => (view.stride, 1),
        };
        let ((a_row, a_column), (b_row, b_column)) = (strides(&a), strides(&b));
        // Rows of b side by side, its sums closed once.
        let mut row = Vec::with_capacity(b.columns);
        for i in (0..a.rows).filter(|_| !accumulate) {
            c[i * stride..][..b.columns].fill(Tracked::default());
        }
        for k in 0..a.columns {
            row.clear();
            row.extend((0..b.columns).map(|j| b.values[k * b_row + j * b_column].closed()));
            for i in 0..a.rows {
                let (value, error) = a.values[i * a_row + k * a_column].closed();
                if value == 0.0 && error == 0.0 {
                    continue;
                }
                let c = c[i * stride..][..b.columns].iter_mut();
                for (c, &(other, other_error)) in c.zip(&row) {
                    let term = value * other;
                    let spread =
                        value.abs() * other_error + other.abs() * error + error * other_error;
                    if term == 0.0 && spread == 0.0 {
                        continue;
                    }
                    let spread = spread + ROUNDING * (term.abs() + spread) + TINY;
                    c.value += term;
                    c.error += spread;
                    c.size += term.abs() + spread;
                    c.terms += 1.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of the same formula in f32 and tracked.
    fn holds(single: f32, tracked: Tracked) {
        let error = (f64::from(single) - tracked.value).abs();
        assert!(error <= tracked.bound(), "{single} against {tracked:?}");
    }

    #[test]
    fn sums_hold_in_every_order_and_are_not_loose() {
        let values: Vec<f32> = (1..=1000).map(|i| (i as f32).sin() * 1e3).collect();
        let tracked = |&value: &f32| Tracked::of(value.into());
        let sum = values.iter().map(tracked).fold(Real::zero(), Add::add);
        holds(values.iter().sum(), sum);
        holds(values.iter().rev().sum(), sum);
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        holds(sorted.iter().sum(), sum);
        let size: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
        assert!(sum.bound() < 1001.0 * ROUNDING * size);
    }

    #[test]
    fn stored_numbers_are_exact_and_constants_nearly() {
        assert_eq!(Tracked::of(0.5).bound(), 0.0);
        assert_eq!(Tracked::of(f64::from(0.1f32)).bound(), 0.0);
        let bound = Tracked::of(0.1).bound();
        assert!(bound > 0.0 && bound < 1e-8);
        // A subnormal number may be taken for 0.
        assert_eq!(
            Tracked::of(f64::from(1e-40f32)).bound(),
            f64::from(1e-40f32)
        );
    }

    #[test]
    fn near_a_kink_both_sides_are_right() {
        let [zero, one] = [0.0, 1.0].map(Tracked::of);
        let near = Tracked::of(1e-9) + Tracked::of(1.0) - Tracked::of(1.0);
        let gradient = Tracked::where_larger(near, zero, one, zero);
        assert_eq!((gradient.value, gradient.bound()), (1.0, 1.0));
        let gradient = Tracked::where_larger(one, zero, one, zero);
        assert_eq!((gradient.value, gradient.bound()), (1.0, 0.0));
        // Equal and stored: nothing rounds.
        let gradient = Tracked::where_larger(one, one, one, zero);
        assert_eq!((gradient.value, gradient.bound()), (0.0, 0.0));
    }

    #[test]
    fn functions_hold() {
        for i in -400..=400 {
            let x = i as f32 / 20.0;
            let tracked = Tracked::of(x.into());
            holds(Number::exp(x), tracked.exp());
            holds(Number::tanh(x), tracked.tanh());
            holds(Number::sigmoid(x), tracked.sigmoid());
            holds(x.abs().sqrt(), Tracked::of(x.abs().into()).sqrt());
            holds(x / 3.0, tracked / Tracked::of(3.0));
        }
    }
}
