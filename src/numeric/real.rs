//! The number types of the CPU executor, and the functions that gates are made of.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::Simd;

use crate::numeric::packed::{self, OuterProducts, Packed, Panels, Start};
use crate::numeric::vector::Vector;

/// What a cell's formulas compute with: a number, or several side by side.
///
/// For f64 the functions are the standard library's. For f32 they are branch-free, so that a loop over them becomes
/// vector code, and their errors, measured over all of their range by this file's tests, are at most
/// 1.5 ulp (`exp`), 3 ulp (`sigmoid`) and 4 ulp (`tanh`). `shaders/common/math.wgsl` has the same formulas.
///
/// Formulas and kernels do not branch on numbers themselves but through [`Number::where_larger`] and what is made of it, so that
/// a number with a bound can answer for both sides where rounding might decide.
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
    /// The number `value`, as many times as there are numbers in this one.
    fn constant(self, value: f32) -> Self;
    fn exp(self) -> Self;
    fn tanh(self) -> Self;

    /// `then` where `left > right`; `otherwise` where not, and where one of them is not a number.
    fn where_larger(left: Self, right: Self, then: Self, otherwise: Self) -> Self;

    /// 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let one = self.constant(1.0);
        one / (one + Number::exp(-self))
    }

    /// What ±`limit` leaves; what is not a number stays so.
    #[inline(always)]
    fn clipped(self, limit: Self) -> Self {
        let raised = Self::where_larger(-limit, self, -limit, self);
        Self::where_larger(self, limit, limit, raised)
    }

    /// The gradient `self`, or 0 where [`Number::clipped`] changes `value` and so lets none through.
    #[inline(always)]
    fn past_clip(self, value: Self, limit: Self) -> Self {
        let zero = self.constant(0.0);
        let passed = Self::where_larger(-limit, value, zero, self);
        Self::where_larger(value, limit, zero, passed)
    }

    /// The larger of two; `other` where `self` is not a number.
    #[inline(always)]
    fn or_larger(self, other: Self) -> Self {
        Self::where_larger(self, other, self, other)
    }
}

/// A number that programs compute with: f32 to train, f64 to judge, and
/// `Tracked` in src/verify/tracked.rs, which also knows how far f32 may end from it.
pub trait Real: Number + Default + PartialOrd + Send + Sync {
    /// Several numbers side by side, as the instructions `S` have them; or one.
    type Vector<S: Simd>: Number;

    /// Numbers in a vector.
    fn lanes<S: Simd>() -> usize;

    /// The same number in every place.
    fn all<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;

    /// The numbers of a slice that is no longer than a vector, and zeros.
    fn load<S: Simd>(simd: S, values: &[Self]) -> Self::Vector<S>;

    /// The first numbers of a vector, as many as there is room for.
    fn store<S: Simd>(vector: Self::Vector<S>, to: &mut [Self]);

    /// A constant of a call.
    fn of(value: f64) -> Self;
    fn f64(self) -> f64;
    fn ln(self) -> Self;
    fn root(self) -> Self;

    /// `c = a @ b`, or `c += a @ b` where `accumulate`, on this thread. `c` has stored rows `stride` apart.
    fn product(a: View<Self>, b: View<Self>, c: &mut [Self], stride: usize, accumulate: bool);

    /// Lays a matrix out for many products, if that pays.
    fn packed(matrix: View<'_, Self>) -> Packed<'_, Self> {
        Packed::plain(matrix)
    }

    /// [`Packed::product`] of a matrix that is laid out, and so of f32.
    fn product_of_panels(
        _a: View<Self>,
        _b: &Panels,
        _start: Start<Self>,
        _c: &mut [Self],
        _stride: usize,
    ) {
        unreachable!("only f32 is laid out");
    }

    /// Finds sums of outer products all at once, on several threads, and says so; or does nothing where that does not pay.
    fn outer_products(_of: OuterProducts<Self>) -> bool {
        false
    }

    #[inline(always)]
    fn zero() -> Self {
        Self::default()
    }

    #[inline(always)]
    fn one() -> Self {
        Self::of(1.0)
    }

    /// 1 - e^x for x < 0, without cancellation.
    fn one_minus_exp(x: f64) -> Self {
        Self::of(-x.exp_m1())
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
    fn where_larger(left: Self, right: Self, then: Self, otherwise: Self) -> Self {
        if left > right { then } else { otherwise }
    }
}

impl Real for f64 {
    type Vector<S: Simd> = f64;
    fn lanes<S: Simd>() -> usize {
        1
    }
    fn all<S: Simd>(_: S, value: f64) -> f64 {
        value
    }
    fn load<S: Simd>(_: S, values: &[f64]) -> f64 {
        values.first().copied().unwrap_or_default()
    }
    fn store<S: Simd>(vector: f64, to: &mut [f64]) {
        to[0] = vector;
    }
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }
    fn product(a: View<Self>, b: View<Self>, c: &mut [Self], stride: usize, accumulate: bool) {
        faer_product(a, b, c, stride, accumulate);
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
    fn root(self) -> Self {
        f64::sqrt(self)
    }
}

impl Number for f32 {
    #[inline(always)]
    fn constant(self, value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn exp(self) -> Self {
        alone(self, Vector::exp)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        alone(self, Vector::tanh)
    }
    #[inline(always)]
    fn where_larger(left: Self, right: Self, then: Self, otherwise: Self) -> Self {
        if left > right { then } else { otherwise }
    }
}

/// What a function of vectors makes of one number.
#[inline(always)]
fn alone(x: f32, function: impl Fn(Vector<pulp::Scalar>) -> Vector<pulp::Scalar>) -> f32 {
    let mut result = [0.0];
    function(Vector::all(pulp::Scalar, x)).store(&mut result);
    result[0]
}

impl Real for f32 {
    type Vector<S: Simd> = Vector<S>;
    #[inline(always)]
    fn lanes<S: Simd>() -> usize {
        S::F32_LANES
    }
    #[inline(always)]
    fn all<S: Simd>(simd: S, value: f32) -> Vector<S> {
        Vector::all(simd, value)
    }
    #[inline(always)]
    fn load<S: Simd>(simd: S, values: &[f32]) -> Vector<S> {
        Vector::load(simd, values)
    }
    #[inline(always)]
    fn store<S: Simd>(vector: Vector<S>, to: &mut [f32]) {
        vector.store(to);
    }
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }
    fn product(a: View<Self>, b: View<Self>, c: &mut [Self], stride: usize, accumulate: bool) {
        faer_product(a, b, c, stride, accumulate);
    }
    fn packed(matrix: View<'_, Self>) -> Packed<'_, Self> {
        Packed::<f32>::new(matrix)
    }
    fn product_of_panels(
        a: View<Self>,
        b: &Panels,
        start: Start<Self>,
        c: &mut [Self],
        stride: usize,
    ) {
        b.product(a, start, c, stride);
    }
    fn outer_products(of: OuterProducts<Self>) -> bool {
        packed::outer_products(of)
    }
    fn ln(self) -> Self {
        f32::ln(self)
    }
    #[inline(always)]
    fn root(self) -> Self {
        f32::sqrt(self)
    }
}

/// A matrix in memory: element (i, j) is at `i * row_stride + j * column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, R> {
    pub values: &'a [R],
    pub rows: usize,
    pub columns: usize,
    /// Elements from one stored row to the next.
    pub stride: usize,
    /// Whether the stored rows are this matrix's columns.
    pub transposed: bool,
}

impl<'a, R> View<'a, R> {
    /// `rows` stored rows of `columns` elements, `stride` apart.
    pub fn new(values: &'a [R], rows: usize, columns: usize, stride: usize) -> Self {
        View {
            values,
            rows,
            columns,
            stride,
            transposed: false,
        }
    }

    /// Its transpose.
    pub fn t(self) -> Self {
        View {
            rows: self.columns,
            columns: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }

    /// Rows `range` of it.
    pub fn rows(self, range: std::ops::Range<usize>) -> Self {
        let skip = range.start * if self.transposed { 1 } else { self.stride };
        View {
            values: &self.values[skip..],
            rows: range.len(),
            ..self
        }
    }

    /// Columns `range` of it.
    pub fn columns(self, range: std::ops::Range<usize>) -> Self {
        let skip = range.start * if self.transposed { self.stride } else { 1 };
        View {
            values: &self.values[skip..],
            columns: range.len(),
            ..self
        }
    }
}

impl<R: Real> View<'_, R> {
    /// Copies row `i`.
    pub fn copy_row(&self, i: usize, to: &mut [R]) {
        match self.transposed {
            true => {
                let column = self.values[i..].iter().step_by(self.stride);
                to.iter_mut()
                    .zip(column)
                    .for_each(|(to, &value)| *to = value);
            }
            false => to.copy_from_slice(&self.values[i * self.stride..][..to.len()]),
        }
    }
}

impl<'a, R: ComplexField> View<'a, R> {
    fn faer(self) -> MatRef<'a, R> {
        if self.transposed {
            MatRef::from_column_major_slice_with_stride(
                self.values,
                self.rows,
                self.columns,
                self.stride,
            )
        } else {
            MatRef::from_row_major_slice_with_stride(
                self.values,
                self.rows,
                self.columns,
                self.stride,
            )
        }
    }
}

/// [`Real::product`] of the machine's own types.
fn faer_product<R: ComplexField>(
    a: View<R>,
    b: View<R>,
    c: &mut [R],
    stride: usize,
    accumulate: bool,
) {
    // faer 0.24's own constructor for strided rows of a mutable matrix swaps its strides.
    let c = MatMut::from_column_major_slice_with_stride_mut(c, b.columns, a.rows, stride)
        .transpose_mut();
    let accumulate = if accumulate {
        Accum::Add
    } else {
        Accum::Replace
    };
    matmul(c, accumulate, a.faer(), b.faer(), R::one_impl(), Par::Seq);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worst error of `f` over a dense sweep of `range`, in units of the last place of the true value.
    fn worst_ulp(range: (f32, f32), f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) -> f64 {
        let count = 2_000_000;
        let mut worst = 0.0f64;
        for i in 0..=count {
            let x = range.0 + (range.1 - range.0) * (i as f32 / count as f32);
            let expected = truth(f64::from(x));
            let ulp = f64::from((expected as f32).abs()) * f64::from(f32::EPSILON) / 2.0
                + f64::from(f32::MIN_POSITIVE);
            worst = worst.max((f64::from(f(x)) - expected).abs() / ulp);
        }
        worst
    }

    #[test]
    fn f32_functions_keep_their_bounds() {
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
    fn extremes_saturate_and_nan_stays() {
        for x in [88.0f32, 1e4, f32::MAX, f32::INFINITY] {
            assert_eq!((Number::tanh(x), Number::tanh(-x)), (1.0, -1.0));
            assert_eq!(Number::sigmoid(x), 1.0);
            assert!(Number::sigmoid(-x) < 1e-37);
        }
        assert_eq!(Number::tanh(-0.0f32), 0.0);
        assert!(Number::tanh(f32::NAN).is_nan() && Number::sigmoid(f32::NAN).is_nan());
    }
}
