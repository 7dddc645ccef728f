//! Values in f64 with a bound on the rounding error of f32 arithmetic.

use std::cmp::Ordering;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use crate::numeric::gemm::{Addend, Matmul, MultiplyPanels, TimeSum, TimeSums, View};
use crate::numeric::precision::Precision;
use crate::numeric::real::{Number, Real};

/// The relative error of one rounding to f32: half an ulp at 1, plus 1% for the second-order terms
/// of up to 10^5 roundings.
const ROUNDING: f64 = 1.01 / (1u64 << 24) as f64;
/// 2^-125: more than the error of a driver that flushes subnormal values, or of `exp` clamped at
/// -87.
const TINY: f64 = 2.0 * f32::MIN_POSITIVE as f64;

/// The relative error of one rounding to f16.
const HALF_ROUNDING: f64 = 1.0 / (1 << 11) as f64;
/// 2^-14: the least normal value of f16.
const LEAST_HALF: f64 = 1.0 / (1 << 14) as f64;
/// The least value that is rounded to more than f16 holds.
const NO_HALF: f64 = 65520.0;

/// A value with a bound on the distance of its f32 result (running error analysis; Higham,
/// "Accuracy and Stability of Numerical Algorithms", section 3.3).
///
/// A sum is rounded only when it is used: until then it keeps the number of its terms and the sum
/// of their magnitudes. Its bound `(n - 1) u Σ|x|` therefore holds for every order of summation,
/// and for fused multiply-adds, which round less.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tracked {
    value: f64,
    /// The sum of the terms' errors.
    error: f64,
    /// Σ(|x| + error of x) over the terms x.
    size: f64,
    /// The number of terms that are not zero.
    terms: f64,
}

impl Tracked {
    /// Returns the largest distance of the f32 result from the value; infinite where no bound is
    /// known.
    pub fn bound(self) -> f64 {
        // Two terms have only one order of summation.
        let size = match self.terms {
            2.0 => self.value.abs() + self.error,
            _ => self.size,
        };
        let bound = self.error + (self.terms - 1.0).max(0.0) * (ROUNDING * size + TINY);
        if bound.is_nan() { f64::INFINITY } else { bound }
    }

    /// A single term with a known error.
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

    /// A single term with a known error, after `roundings` further roundings.
    fn rounded(value: f64, error: f64, roundings: f64) -> Self {
        if value == 0.0 && error == 0.0 {
            return Tracked::default();
        }
        let added = roundings * ROUNDING * (value.abs() + error) + TINY;
        Self::within(value, error + added)
    }

    /// Adds the product of two values with their errors as one term.
    fn add_product(&mut self, (a, a_error): (f64, f64), (b, b_error): (f64, f64)) {
        let term = a * b;
        let spread = a.abs() * b_error + b.abs() * a_error + a_error * b_error;
        if term == 0.0 && spread == 0.0 {
            return;
        }
        let error = spread + ROUNDING * (term.abs() + spread) + TINY;
        self.value += term;
        self.error += error;
        self.size += term.abs() + error;
        self.terms += 1.0;
    }

    /// Returns the value and the bound of a finished sum.
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
    /// WGSL allows a division an error of 2.5 ulp; an ulp is at most two roundings.
    fn div(self, other: Self) -> Self {
        let ((a, a_error), (b, b_error)) = (self.closed(), other.closed());
        let value = a / b;
        let error = if b.abs() > b_error {
            (a_error + value.abs() * b_error) / (b.abs() - b_error)
        } else {
            f64::INFINITY
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
    /// WGSL allows sqrt the error of 1 / inverseSqrt: 2 ulp and 2.5 ulp.
    fn sqrt(self) -> Self {
        let (x, error) = self.closed();
        let value = x.sqrt();
        let error = if error == 0.0 {
            0.0
        } else {
            error / (value + (x - error).max(0.0).sqrt())
        };
        // 0 / 0 in the quotient above.
        let error = if error.is_nan() { 0.0 } else { error };
        Self::rounded(value, error, 9.0)
    }

    fn constant(self, value: f32) -> Self {
        Self::of(value.into())
    }

    /// `Number for f32` has an error of 1.5 ulp, and returns e^-87 below -87.
    fn exp(self) -> Self {
        let (x, error) = self.closed();
        let value = x.exp();
        Self::rounded(value, value * error.exp_m1() + TINY, 3.0)
    }

    /// `Number for f32` has an error of 4 ulp with a division of half an ulp; WGSL's division may
    /// add 2 ulp. The derivative is at most 1 and at most 4 e^-2|x|.
    fn tanh(self) -> Self {
        let (x, error) = self.closed();
        let slope = (4.0 * (2.0 * (error - x.abs())).exp()).min(1.0);
        Self::rounded(x.tanh(), slope * error, 12.0)
    }

    /// `Number for f32` has an error of 3 ulp with a division of half an ulp; WGSL's division may
    /// add 2 ulp. The derivative is at most 1/4 and at most e^-|x|.
    fn sigmoid(self) -> Self {
        let (x, error) = self.closed();
        let slope = (error - x.abs()).exp().min(0.25);
        Self::rounded(1.0 / (1.0 + (-x).exp()), slope * error + TINY, 10.0)
    }

    /// Where rounding may decide which of the two is larger, both results are right and the bound
    /// covers both.
    fn where_larger(left: Self, right: Self, then: Self, otherwise: Self) -> Self {
        let (chosen, other) = if left.value > right.value {
            (then, otherwise)
        } else {
            (otherwise, then)
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

    /// The GPU receives the value as f32, and may replace a subnormal value with 0.
    fn of(value: f64) -> Self {
        let single = value as f32;
        let flushed = if single.is_subnormal() { value } else { 0.0 };
        let error = (value - f64::from(single)).abs().max(flushed.abs());
        Self::within(value, error)
    }

    fn f64(self) -> f64 {
        self.value
    }

    /// The nearest of 11 binary digits; values below the normal ones may become 0, and what is
    /// rounded to 2^16 is none.
    fn halved(self) -> Self {
        let (value, error) = self.closed();
        let size = value.abs() + error;
        let rounding = match size {
            _ if size < LEAST_HALF => size,
            _ if size < NO_HALF => (size * HALF_ROUNDING).max(LEAST_HALF * HALF_ROUNDING),
            _ => f64::INFINITY,
        };
        Self::within(value, error + rounding)
    }

    /// For values of at least 1, by shaders/common/math.wgsl. ln m with m in [sqrt(1/2), sqrt(2)]
    /// takes 11 roundings of at most the result: m + 1 (1), the division (5), 2 s * series (1) and
    /// the series (4). Adding n ln 2 takes 2 more.
    fn ln(self) -> Self {
        let (x, error) = self.closed();
        let error = if x > error {
            error / (x - error)
        } else {
            f64::INFINITY
        };
        Self::rounded(x.ln(), error, 13.0)
    }

    /// No more than the largest error of a term, since the function's slopes are at most 1 in sum.
    /// Differences from the largest term change their e^x by at most 0.4 roundings each, e^x has 3
    /// and their sum 2, relative to a sum of at least 1; its logarithm has 13 of itself.
    fn log_sum(terms: [Self; 3]) -> Self {
        let terms = terms.map(Tracked::closed);
        let largest = terms
            .iter()
            .fold(f64::NEG_INFINITY, |all, term| all.max(term.0));
        let error = terms.iter().fold(0.0f64, |all, term| all.max(term.1));
        let sum: f64 = terms.iter().map(|term| (term.0 - largest).exp()).sum();
        let added = ROUNDING * (6.0 + 13.0 * sum.ln());
        Self::rounded(largest + sum.ln(), error + added, 1.0)
    }

    /// On a GPU x has 2 relative roundings, which change e^x by 2 |x| e^x roundings. The reduction
    /// by n ln 2 and e^r - 1 add at most 10 of these (see `correction` in shaders/adam.wgsl).
    fn one_minus_exp(x: f64) -> Self {
        // x is -inf for a decay rate of 0.
        let x = x.max(-1e4);
        Self::rounded(-x.exp_m1(), 12.0 * ROUNDING * x.abs() * x.exp(), 2.0)
    }
}

impl Tracked {
    /// The value as an operand of matmuls in bf16. The result is rounded exactly where every f32
    /// within the bound is rounded to the same value, and else the bound covers both ends, since
    /// rounding keeps the order of values.
    fn to_bf16(self) -> Self {
        let (value, error) = self.closed();
        let [least, greatest] = [value - error, value + error].map(nearest_bf16);
        Self::within(least.midpoint(greatest), (greatest - least) / 2.0)
    }
}

/// Returns the nearest value with 8 binary digits, of two the even one; 0 below 2^-126, and
/// infinity from 2^128 - 2^119 on.
fn nearest_bf16(value: f64) -> f64 {
    if !value.is_finite() {
        return value;
    }
    if value.abs() < f64::from(f32::MIN_POSITIVE) {
        return 0.0;
    }
    // 45 of the 53 digits of an f64 are left out.
    let (bits, half) = (value.to_bits(), 1 << 44);
    let odd = (bits >> 45) & 1;
    let rounded = f64::from_bits((bits + half - 1 + odd) >> 45 << 45);
    if rounded.abs() > f64::from(f32::MAX) {
        f64::INFINITY.copysign(value)
    } else {
        rounded
    }
}

/// Returns copies of the given rows as operands in bf16.
fn rounded_rows(from: View<Tracked>, rows: impl IntoIterator<Item = usize>) -> Vec<Tracked> {
    let mut values = vec![];
    let mut row = vec![Tracked::default(); from.columns];
    for k in rows {
        from.copy_row(k, &mut row);
        values.extend(row.iter().map(|value| value.to_bf16()));
    }
    values
}

/// A right-hand matrix B, `[K, N]`, whose elements are rounded to bf16, as those of A are.
#[derive(Debug)]
pub struct RoundedB {
    values: Vec<Tracked>,
    size: [usize; 2],
}

impl MultiplyPanels<Tracked> for RoundedB {
    fn matmul(&self, a: View<Tracked>, addend: Addend<Tracked>, c: &mut [Tracked], stride: usize) {
        let [rows, columns] = self.size;
        addend.write(c, columns, stride);
        let rounded = rounded_rows(a, 0..a.rows);
        let a = View::new(&rounded, a.rows, a.columns, a.columns);
        let b = View::new(&self.values, rows, columns, columns);
        Tracked::matmul(a, b, c, stride, true);
    }
}

impl Matmul for Tracked {
    type Panels = RoundedB;

    /// Nothing is packed, but a matrix that is rounded is copied.
    fn pack(b: View<Self>, precision: Precision) -> Option<RoundedB> {
        match precision {
            Precision::F32 => None,
            Precision::Bf16 => Some(RoundedB {
                values: rounded_rows(b, 0..b.rows),
                size: [b.rows, b.columns],
            }),
        }
    }

    fn try_time_sums(sums: TimeSums<Self>) -> bool {
        if sums.precision == Precision::F32 {
            return false;
        }
        let TimeSums { a, rows, .. } = sums;
        let rows: Vec<usize> = rows.iter().flatten().copied().collect();
        let count = rows.len();
        let rounded = rounded_rows(a, rows.iter().copied());
        let rounded = View::new(&rounded, count, a.columns, a.columns).t();
        for sum in sums.products {
            let TimeSum {
                b,
                addend,
                c,
                stride,
            } = sum;
            addend.write(c, b.columns, stride);
            let b_rows = rounded_rows(b, rows.iter().copied());
            let b = View::new(&b_rows, count, b.columns, b.columns);
            Self::matmul(rounded, b, c, stride, true);
        }
        if let Some(columns) = sums.columns {
            if !columns.accumulate {
                columns.sums.fill(Tracked::default());
            }
            let mut row = vec![Tracked::default(); a.columns];
            for k in rows {
                a.copy_row(k, &mut row);
                let sums = columns.sums.iter_mut().zip(&row);
                sums.for_each(|(sum, &value)| *sum += value);
            }
        }
        true
    }

    fn matmul(a: View<Self>, b: View<Self>, c: &mut [Self], stride: usize, accumulate: bool) {
        let strides = |view: &View<Self>| {
            if view.transposed {
                (1, view.stride)
            } else {
                (view.stride, 1)
            }
        };
        let ((a_row, a_column), (b_row, b_column)) = (strides(&a), strides(&b));
        // One row of b as values and errors, computed once for all rows of a.
        let mut row = Vec::with_capacity(b.columns);
        for i in (0..a.rows).filter(|_| !accumulate) {
            c[i * stride..][..b.columns].fill(Tracked::default());
        }
        for k in 0..a.columns {
            row.clear();
            row.extend((0..b.columns).map(|j| b.values[k * b_row + j * b_column].closed()));
            for i in 0..a.rows {
                let factor = a.values[i * a_row + k * a_column].closed();
                if factor == (0.0, 0.0) {
                    continue;
                }
                let c = c[i * stride..][..b.columns].iter_mut();
                c.zip(&row)
                    .for_each(|(c, &other)| c.add_product(factor, other));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks an f32 result against the bound of the same formula.
    fn check_bound(single: f32, tracked: Tracked) {
        let error = (f64::from(single) - tracked.value).abs();
        assert!(error <= tracked.bound(), "{single} against {tracked:?}");
    }

    #[test]
    fn sums_are_within_a_tight_bound_in_every_order() {
        let values: Vec<f32> = (1..=1000).map(|i| (i as f32).sin() * 1e3).collect();
        let tracked = |&value: &f32| Tracked::of(value.into());
        let sum = values.iter().map(tracked).fold(Real::zero(), Add::add);
        check_bound(values.iter().sum(), sum);
        check_bound(values.iter().rev().sum(), sum);
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        check_bound(sorted.iter().sum(), sum);
        let size: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
        assert!(sum.bound() < 1001.0 * ROUNDING * size);
    }

    #[test]
    fn stored_values_are_exact_and_constants_are_rounded() {
        assert_eq!(Tracked::of(0.5).bound(), 0.0);
        assert_eq!(Tracked::of(f64::from(0.1f32)).bound(), 0.0);
        let bound = Tracked::of(0.1).bound();
        assert!(bound > 0.0 && bound < 1e-8);
        // The GPU may replace a subnormal value with 0.
        assert_eq!(
            Tracked::of(f64::from(1e-40f32)).bound(),
            f64::from(1e-40f32)
        );
    }

    #[test]
    fn weights_in_f16_are_within_their_bound() {
        for i in -4000..4000 {
            let value = (i as f32 * 0.37).sin() * (i as f32 * 0.004).exp2();
            let tracked = Tracked::of(value.into()).halved();
            let half = half::f16::from_f32(value).to_f32();
            if half.is_finite() {
                check_bound(half, tracked);
                let limit = f64::from(value.abs()) / 2048.0;
                assert!(tracked.bound() <= limit.max(LEAST_HALF), "{value}");
            } else {
                assert_eq!(tracked.bound(), f64::INFINITY, "{value}");
            }
        }
        assert_eq!(Tracked::of(0.0).halved().bound(), 0.0);
    }

    #[test]
    fn operands_in_bf16_are_exact_but_where_the_error_reaches_a_tie() {
        for value in [1.0, -0.25, 0.0, 1.5 * 2f64.powi(-126)] {
            assert_eq!(Tracked::of(value).to_bf16().closed(), (value, 0.0));
        }
        // A tie between 1 and the next value, 1 + 2^-7, is rounded to 1, which is even.
        let (tie, next) = (1.0 + 2f64.powi(-8), 1.0 + 2f64.powi(-7));
        assert_eq!(Tracked::of(tie).to_bf16().closed(), (1.0, 0.0));
        assert_eq!(Tracked::of(tie + 1e-6).to_bf16().value, next);
        let near = Tracked::within(tie, 1e-9).to_bf16();
        assert_eq!((near.value, near.error), (tie, 2f64.powi(-8)));
        let far = Tracked::within(1.001, 1e-9).to_bf16();
        assert_eq!((far.value, far.error), (1.0, 0.0));
        assert_eq!(Tracked::of(1e-39).to_bf16().bound(), 0.0);
        assert_eq!(Tracked::of(3.4e38).to_bf16().bound(), f64::INFINITY);
        assert_eq!(
            Tracked::within(1.0, f64::INFINITY).to_bf16().bound(),
            f64::INFINITY
        );
        for i in -4000..4000 {
            let value = (f64::from(i) * 0.37).sin() * (f64::from(i) * 0.004).exp2();
            let rounded = Tracked::of(f64::from(value as f32)).to_bf16();
            assert!(
                (rounded.value - value).abs() <= value.abs() / 255.9,
                "{value}"
            );
        }
    }

    #[test]
    fn near_a_threshold_the_bound_covers_both_sides() {
        let [zero, one] = [0.0, 1.0].map(Tracked::of);
        let near = Tracked::of(1e-9) + Tracked::of(1.0) - Tracked::of(1.0);
        let gradient = Tracked::where_larger(near, zero, one, zero);
        assert_eq!((gradient.value, gradient.bound()), (1.0, 1.0));
        let gradient = Tracked::where_larger(one, zero, one, zero);
        assert_eq!((gradient.value, gradient.bound()), (1.0, 0.0));
        // Equal and exact.
        let gradient = Tracked::where_larger(one, one, one, zero);
        assert_eq!((gradient.value, gradient.bound()), (0.0, 0.0));
    }

    #[test]
    fn functions_are_within_their_bounds() {
        for i in -400..=400 {
            let x = i as f32 / 20.0;
            let tracked = Tracked::of(x.into());
            check_bound(Number::exp(x), tracked.exp());
            check_bound(Number::tanh(x), tracked.tanh());
            check_bound(Number::sigmoid(x), tracked.sigmoid());
            check_bound(x.abs().sqrt(), Tracked::of(x.abs().into()).sqrt());
            check_bound(x / 3.0, tracked / Tracked::of(3.0));
        }
    }
}
