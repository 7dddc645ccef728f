//! Element types of the CPU executor, and the functions of cells.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use pulp::{Simd, WithSimd};

use crate::numeric::gemm::Matmul;
use crate::numeric::vector::Vector;

/// The arithmetic of cells: on one element, or on each lane of a vector.
///
/// For f64 the functions are the standard library's. For f32 they are branch-free, so that loops
/// over them are vectorized; their errors over the whole range, measured by the tests of this file,
/// are at most 1.5 ulp (`exp`), 3 ulp (`sigmoid`) and 4 ulp (`tanh`). `shaders/common/math.wgsl`
/// has the same formulas.
///
/// Formulas and kernels do not branch on elements; they call [`Number::where_larger`] or a function
/// that uses it. A type that carries an error bound can then cover both outcomes if rounding may
/// decide the comparison.
pub trait Number:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + Debug
{
    /// `value` in every lane; the lanes are those of `self`.
    fn constant(self, value: f32) -> Self;
    fn exp(self) -> Self;
    fn tanh(self) -> Self;
    fn sqrt(self) -> Self;

    /// `then` if `left > right`, else `otherwise`, also if `left` or `right` is NaN; lane by lane.
    fn where_larger(left: Self, right: Self, then: Self, otherwise: Self) -> Self;

    /// The logistic function, 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let one = self.constant(1.0);
        one / (one + Number::exp(-self))
    }

    /// Clips to [-limit, limit]; NaN stays NaN.
    #[inline(always)]
    fn clipped(self, limit: Self) -> Self {
        let raised = Self::where_larger(-limit, self, -limit, self);
        Self::where_larger(self, limit, limit, raised)
    }

    /// The gradient with respect to `value`, where `self` is that with respect to
    /// `value.clipped(limit)`: `self`, or 0 where `value` is clipped.
    #[inline(always)]
    fn past_clip(self, value: Self, limit: Self) -> Self {
        let zero = self.constant(0.0);
        let passed = Self::where_larger(-limit, value, zero, self);
        Self::where_larger(value, limit, zero, passed)
    }

    /// The larger of the two; `other` if `self` is NaN.
    #[inline(always)]
    fn or_larger(self, other: Self) -> Self {
        Self::where_larger(self, other, self, other)
    }
}

/// An element type of programs: f32 for training, f64 as the reference, and `Tracked` of
/// src/verify/tracked.rs, which carries a bound of the error of f32.
pub trait Real: Number + Matmul + Default + PartialOrd + Send + Sync + 'static {
    /// The elements that one instruction of `S` processes.
    type Vector<S: Simd>: Lanes<S, Self>;

    /// Runs `task` with the instruction set for [`Real::Vector`]. A type of one lane has one for
    /// all machines, so that the task is compiled once.
    #[inline(always)]
    fn vectorize<T: WithSimd>(task: T) -> T::Output {
        pulp::Scalar.vectorize(task)
    }

    /// `value`, rounded.
    fn of(value: f64) -> Self;
    fn f64(self) -> f64;
    fn ln(self) -> Self;

    #[inline(always)]
    fn zero() -> Self {
        Self::default()
    }

    #[inline(always)]
    fn one() -> Self {
        Self::of(1.0)
    }

    /// The logarithm of the sum of e^x over `terms`, which are finite.
    #[inline]
    fn log_sum(terms: [Self; 3]) -> Self {
        let [first, second, third] = terms;
        let largest = first.or_larger(second.or_larger(third));
        let exponentials = terms.map(|term| Number::exp(term - largest));
        largest + Real::ln(exponentials[0] + exponentials[1] + exponentials[2])
    }

    /// The value as a device keeps it in f16: with the error of that rounding, where the type has
    /// an error.
    #[inline(always)]
    fn halved(self) -> Self {
        self
    }

    /// 1 - e^x for x < 0, without cancellation.
    fn one_minus_exp(x: f64) -> Self {
        Self::of(-x.exp_m1())
    }
}

/// A vector of elements of type `R`, as the instruction set `S` has it.
pub trait Lanes<S: Simd, R>: Number {
    /// Elements of the vector.
    const LANES: usize;

    /// `value` in every lane.
    fn splat(simd: S, value: R) -> Self;

    /// Loads a slice of at most [`LANES`](Lanes::LANES) elements; the other lanes are 0.
    fn load(simd: S, values: &[R]) -> Self;

    /// Stores the first lanes, as many as `to` has elements.
    fn store(self, to: &mut [R]);
}

/// An element is a vector of one lane.
impl<S: Simd, R: Number + Default> Lanes<S, R> for R {
    const LANES: usize = 1;

    #[inline(always)]
    fn splat(_: S, value: R) -> R {
        value
    }

    #[inline(always)]
    fn load(_: S, values: &[R]) -> R {
        values.first().copied().unwrap_or_default()
    }

    #[inline(always)]
    fn store(self, to: &mut [R]) {
        to[0] = self;
    }
}

impl Number for f64 {
    #[inline(always)]
    fn constant(self, value: f32) -> Self {
        value.into()
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn where_larger(left: Self, right: Self, then: Self, otherwise: Self) -> Self {
        if left > right { then } else { otherwise }
    }
}

impl Real for f64 {
    type Vector<S: Simd> = f64;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
}

impl Number for f32 {
    #[inline(always)]
    fn constant(self, value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn exp(self) -> Self {
        apply_to_one(self, Vector::exp)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        apply_to_one(self, Vector::tanh)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn where_larger(left: Self, right: Self, then: Self, otherwise: Self) -> Self {
        if left > right { then } else { otherwise }
    }
}

/// Applies a function of vectors to one element.
#[inline(always)]
fn apply_to_one(x: f32, function: impl Fn(Vector<pulp::Scalar>) -> Vector<pulp::Scalar>) -> f32 {
    let mut result = [0.0];
    function(Vector::splat(pulp::Scalar, x)).store(&mut result);
    result[0]
}

impl Real for f32 {
    type Vector<S: Simd> = Vector<S>;

    #[inline(always)]
    fn vectorize<T: WithSimd>(task: T) -> T::Output {
        pulp::Arch::new().dispatch(task)
    }

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }
    fn ln(self) -> Self {
        f32::ln(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error of `f` over a dense sweep of `range`, in half units in the last place of
    /// the exact value.
    fn worst_ulp(range: (f32, f32), f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let count = 2_000_000;
        let mut worst = 0.0f64;
        for i in 0..=count {
            let x = range.0 + (range.1 - range.0) * (i as f32 / count as f32);
            let expected = exact(f64::from(x));
            let ulp = f64::from((expected as f32).abs()) * f64::from(f32::EPSILON) / 2.0
                + f64::from(f32::MIN_POSITIVE);
            worst = worst.max((f64::from(f(x)) - expected).abs() / ulp);
        }
        worst
    }

    #[test]
    fn f32_functions_are_within_their_error_bounds() {
        let exp = worst_ulp((-87.0, 87.0), Number::exp, f64::exp);
        let tanh = worst_ulp((-12.0, 12.0), Number::tanh, f64::tanh)
            .max(worst_ulp((-1e-2, 1e-2), Number::tanh, f64::tanh))
            .max(worst_ulp((-1e-30, 1e-30), Number::tanh, f64::tanh));
        let sigmoid = worst_ulp((-80.0, 80.0), Number::sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        println!("exp {exp:.2}, sigmoid {sigmoid:.2}, tanh {tanh:.2} half-ulp");
        assert!(exp < 3.0, "exp is {exp} half-ulp off");
        assert!(sigmoid < 6.0, "sigmoid is {sigmoid} half-ulp off");
        assert!(tanh < 8.0, "tanh is {tanh} half-ulp off");
    }

    #[test]
    fn large_arguments_saturate_and_nan_propagates() {
        for x in [88.0f32, 1e4, f32::MAX, f32::INFINITY] {
            assert_eq!((Number::tanh(x), Number::tanh(-x)), (1.0, -1.0));
            assert_eq!(Number::sigmoid(x), 1.0);
            assert!(Number::sigmoid(-x) < 1e-37);
        }
        assert_eq!(Number::tanh(-0.0f32), 0.0);
        assert!(Number::tanh(f32::NAN).is_nan() && Number::sigmoid(f32::NAN).is_nan());
    }
}
