//! Arithmetic on words, for a range of invocations at once.

use super::finding::FindingKind;

/// A function of two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryFunction {
    AddFloat,
    SubtractFloat,
    MultiplyFloat,
    DivideFloat,
    RemainderFloat,
    MinFloat,
    MaxFloat,
    PowerFloat,
    EqualFloat,
    UnequalFloat,
    LessFloat,
    LessEqualFloat,
    Add,
    Subtract,
    Multiply,
    AddSigned,
    SubtractSigned,
    MultiplySigned,
    Divide,
    Remainder,
    DivideSigned,
    RemainderSigned,
    Min,
    Max,
    MinSigned,
    MaxSigned,
    Equal,
    Unequal,
    Less,
    LessEqual,
    LessSigned,
    LessEqualSigned,
    And,
    Or,
    ExclusiveOr,
    ShiftLeft,
    ShiftRight,
    ShiftRightSigned,
}

/// A function of one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnaryFunction {
    NegateFloat,
    NegateSigned,
    Not,
    Complement,
    AbsoluteFloat,
    AbsoluteSigned,
    SignFloat,
    RoundFloat,
    FloorFloat,
    CeilFloat,
    TruncateFloat,
    FractionFloat,
    SquareRoot,
    InverseSquareRoot,
    Exponential,
    ExponentialBase2,
    Logarithm,
    LogarithmBase2,
    Sine,
    Cosine,
    HyperbolicTangent,
    CountOneBits,
    CountLeadingZeros,
    CountTrailingZeros,
    ReverseBits,
    FloatOfUnsigned,
    FloatOfSigned,
    FloatOfBool,
    UnsignedOfFloat,
    SignedOfFloat,
    BoolOfFloat,
    BoolOfInteger,
    /// Rounds to the nearest f16, which a word holds as f32.
    HalfOfFloat,
}

fn map1(a: &[u32], to: &mut [u32], function: impl Fn(u32) -> u32) {
    for (to, &a) in to.iter_mut().zip(a) {
        *to = function(a);
    }
}

fn floats1(a: &[u32], to: &mut [u32], function: impl Fn(f32) -> f32) {
    map1(a, to, |a| function(f32::from_bits(a)).to_bits());
}

fn map2(a: &[u32], b: &[u32], to: &mut [u32], function: impl Fn(u32, u32) -> u32) {
    for ((to, &a), &b) in to.iter_mut().zip(a).zip(b) {
        *to = function(a, b);
    }
}

fn floats2(a: &[u32], b: &[u32], to: &mut [u32], function: impl Fn(f32, f32) -> f32) {
    map2(a, b, to, |a, b| {
        function(f32::from_bits(a), f32::from_bits(b)).to_bits()
    });
}

fn compare_floats(a: &[u32], b: &[u32], to: &mut [u32], function: impl Fn(f32, f32) -> bool) {
    map2(a, b, to, |a, b| {
        function(f32::from_bits(a), f32::from_bits(b)).into()
    });
}

fn signed2(a: &[u32], b: &[u32], to: &mut [u32], function: impl Fn(i32, i32) -> i32) {
    map2(a, b, to, |a, b| {
        function(a.cast_signed(), b.cast_signed()).cast_unsigned()
    });
}

/// Whether any pair satisfies the predicate. Has no early exit, so that it is vectorised.
fn any(a: &[u32], b: &[u32], predicate: impl Fn(u32, u32) -> bool) -> bool {
    a.iter()
        .zip(b)
        .fold(false, |found, (&a, &b)| found | predicate(a, b))
}

impl BinaryFunction {
    /// Computes the function for a range of invocations.
    pub(super) fn apply(self, a: &[u32], b: &[u32], to: &mut [u32]) {
        use BinaryFunction::*;
        match self {
            AddFloat => floats2(a, b, to, |a, b| a + b),
            SubtractFloat => floats2(a, b, to, |a, b| a - b),
            MultiplyFloat => floats2(a, b, to, |a, b| a * b),
            DivideFloat => floats2(a, b, to, |a, b| a / b),
            RemainderFloat => floats2(a, b, to, |a, b| a % b),
            MinFloat => floats2(a, b, to, f32::min),
            MaxFloat => floats2(a, b, to, f32::max),
            PowerFloat => floats2(a, b, to, f32::powf),
            EqualFloat => compare_floats(a, b, to, |a, b| a == b),
            UnequalFloat => compare_floats(a, b, to, |a, b| a != b),
            LessFloat => compare_floats(a, b, to, |a, b| a < b),
            LessEqualFloat => compare_floats(a, b, to, |a, b| a <= b),
            _ => self.apply_to_integers(a, b, to),
        }
    }

    fn apply_to_integers(self, a: &[u32], b: &[u32], to: &mut [u32]) {
        use BinaryFunction::*;
        match self {
            Add | AddSigned => map2(a, b, to, u32::wrapping_add),
            Subtract | SubtractSigned => map2(a, b, to, u32::wrapping_sub),
            Multiply | MultiplySigned => map2(a, b, to, u32::wrapping_mul),
            Divide => map2(a, b, to, |a, b| a.checked_div(b).unwrap_or(a)),
            Remainder => map2(a, b, to, |a, b| a.checked_rem(b).unwrap_or(0)),
            DivideSigned => signed2(a, b, to, |a, b| a.checked_div(b).unwrap_or(a)),
            RemainderSigned => signed2(a, b, to, |a, b| a.checked_rem(b).unwrap_or(0)),
            Min => map2(a, b, to, u32::min),
            Max => map2(a, b, to, u32::max),
            MinSigned => signed2(a, b, to, i32::min),
            MaxSigned => signed2(a, b, to, i32::max),
            Equal => map2(a, b, to, |a, b| (a == b).into()),
            Unequal => map2(a, b, to, |a, b| (a != b).into()),
            Less => map2(a, b, to, |a, b| (a < b).into()),
            LessEqual => map2(a, b, to, |a, b| (a <= b).into()),
            LessSigned => signed2(a, b, to, |a, b| (a < b).into()),
            LessEqualSigned => signed2(a, b, to, |a, b| (a <= b).into()),
            And => map2(a, b, to, |a, b| a & b),
            Or => map2(a, b, to, |a, b| a | b),
            ExclusiveOr => map2(a, b, to, |a, b| a ^ b),
            ShiftLeft => map2(a, b, to, u32::wrapping_shl),
            ShiftRight => map2(a, b, to, u32::wrapping_shr),
            ShiftRightSigned => map2(a, b, to, |a, b| {
                a.cast_signed().wrapping_shr(b).cast_unsigned()
            }),
            _ => unreachable!("`apply` has computed it"),
        }
    }

    /// Whether the function may be faulty for some pair; vectorised, so that most calls of
    /// [`fault`](Self::fault) are saved.
    pub(super) fn may_fault(self, a: &[u32], b: &[u32]) -> bool {
        use BinaryFunction::*;
        match self {
            Add => any(a, b, |a, b| a.wrapping_add(b) < a),
            Subtract => any(a, b, |a, b| a < b),
            Multiply => any(a, b, |a, b| (u64::from(a) * u64::from(b)) >> 32 != 0),
            Divide | Remainder => any(a, b, |_, b| b == 0),
            ShiftLeft | ShiftRight | ShiftRightSigned => any(a, b, |_, b| b >= 32),
            AddSigned | SubtractSigned | MultiplySigned | DivideSigned | RemainderSigned => true,
            _ => false,
        }
    }

    /// Returns the fault of the function for a pair.
    pub(super) fn fault(self, a: u32, b: u32) -> Option<FindingKind> {
        use BinaryFunction::*;
        let (x, y) = (a.cast_signed(), b.cast_signed());
        let wraps = match self {
            Add => a.checked_add(b).is_none(),
            Subtract => a < b,
            Multiply => a.checked_mul(b).is_none(),
            AddSigned => x.checked_add(y).is_none(),
            SubtractSigned => x.checked_sub(y).is_none(),
            MultiplySigned => x.checked_mul(y).is_none(),
            DivideSigned | RemainderSigned => y == -1 && x == i32::MIN,
            _ => false,
        };
        let divides = matches!(self, Divide | Remainder | DivideSigned | RemainderSigned);
        let shifts = matches!(self, ShiftLeft | ShiftRight | ShiftRightSigned);
        match () {
            () if wraps => Some(FindingKind::Wrap),
            () if divides && b == 0 => Some(FindingKind::DivisionByZero),
            () if shifts && b >= 32 => Some(FindingKind::Shift),
            () => None,
        }
    }
}

impl UnaryFunction {
    /// Computes the function for a range of invocations.
    pub(super) fn apply(self, a: &[u32], to: &mut [u32]) {
        use UnaryFunction::*;
        match self {
            NegateFloat => floats1(a, to, |a| -a),
            AbsoluteFloat => floats1(a, to, f32::abs),
            SignFloat => floats1(a, to, |a| if a == 0.0 { 0.0 } else { a.signum() }),
            RoundFloat => floats1(a, to, f32::round_ties_even),
            FloorFloat => floats1(a, to, f32::floor),
            CeilFloat => floats1(a, to, f32::ceil),
            TruncateFloat => floats1(a, to, f32::trunc),
            FractionFloat => floats1(a, to, |a| a - a.floor()),
            SquareRoot => floats1(a, to, f32::sqrt),
            InverseSquareRoot => floats1(a, to, |a| 1.0 / a.sqrt()),
            Exponential => floats1(a, to, f32::exp),
            ExponentialBase2 => floats1(a, to, f32::exp2),
            Logarithm => floats1(a, to, f32::ln),
            LogarithmBase2 => floats1(a, to, f32::log2),
            Sine => floats1(a, to, f32::sin),
            Cosine => floats1(a, to, f32::cos),
            HyperbolicTangent => floats1(a, to, f32::tanh),
            HalfOfFloat => floats1(a, to, |a| half::f16::from_f32(a).to_f32()),
            _ => self.apply_to_integers(a, to),
        }
    }

    fn apply_to_integers(self, a: &[u32], to: &mut [u32]) {
        use UnaryFunction::*;
        match self {
            NegateSigned => map1(a, to, u32::wrapping_neg),
            Not => map1(a, to, |a| (a == 0).into()),
            Complement => map1(a, to, |a| !a),
            AbsoluteSigned => map1(a, to, |a| a.cast_signed().unsigned_abs()),
            CountOneBits => map1(a, to, u32::count_ones),
            CountLeadingZeros => map1(a, to, u32::leading_zeros),
            CountTrailingZeros => map1(a, to, u32::trailing_zeros),
            ReverseBits => map1(a, to, u32::reverse_bits),
            FloatOfUnsigned => map1(a, to, |a| (a as f32).to_bits()),
            FloatOfSigned => map1(a, to, |a| (a.cast_signed() as f32).to_bits()),
            FloatOfBool => map1(a, to, |a| (a as f32).to_bits()),
            UnsignedOfFloat => map1(a, to, |a| f32::from_bits(a) as u32),
            SignedOfFloat => map1(a, to, |a| (f32::from_bits(a) as i32).cast_unsigned()),
            BoolOfFloat => map1(a, to, |a| (f32::from_bits(a) != 0.0).into()),
            BoolOfInteger => map1(a, to, |a| (a != 0).into()),
            _ => unreachable!("`apply` has computed it"),
        }
    }

    /// Returns the fault of the function for a word: a float that no integer of the type holds. NaN
    /// is not a fault: it is the mark of values that were not finite before.
    pub(super) fn fault(self, a: u32) -> Option<FindingKind> {
        let value = f32::from_bits(a);
        let is_inside = match self {
            UnaryFunction::UnsignedOfFloat => value > -1.0 && value < 4_294_967_296.0,
            UnaryFunction::SignedOfFloat => (-2_147_483_648.0..2_147_483_648.0).contains(&value),
            UnaryFunction::NegateSigned | UnaryFunction::AbsoluteSigned => {
                return (a == 1 << 31).then_some(FindingKind::Wrap);
            }
            _ => return None,
        };
        (!is_inside && !value.is_nan()).then_some(FindingKind::Conversion)
    }
}
