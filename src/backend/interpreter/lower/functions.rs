//! Operators and built-in functions, by the type of their operands.

use naga::{BinaryOperator, MathFunction, ScalarKind, UnaryOperator};

use super::Lowering;
use crate::backend::interpreter::arithmetic::{BinaryFunction, UnaryFunction};
use crate::backend::interpreter::code::{Block, Register};
use crate::error::Result;

impl Lowering<'_> {
    pub(super) fn unary_function(
        &self,
        op: UnaryOperator,
        kind: ScalarKind,
    ) -> Result<UnaryFunction> {
        Ok(match (op, kind) {
            (UnaryOperator::Negate, ScalarKind::Float) => UnaryFunction::NegateFloat,
            (UnaryOperator::Negate, ScalarKind::Sint) => UnaryFunction::NegateSigned,
            (UnaryOperator::LogicalNot, ScalarKind::Bool) => UnaryFunction::Not,
            (UnaryOperator::BitwiseNot, ScalarKind::Sint | ScalarKind::Uint) => {
                UnaryFunction::Complement
            }
            _ => return Err(self.refused(&format!("the operator {op:?} of {kind:?}"))),
        })
    }

    /// Returns the function of an operator, and whether it takes its operands the other way round.
    pub(super) fn binary_function(
        &self,
        op: BinaryOperator,
        kind: ScalarKind,
    ) -> Result<(BinaryFunction, bool)> {
        let is_swapped = matches!(op, BinaryOperator::Greater | BinaryOperator::GreaterEqual);
        let op = match op {
            BinaryOperator::Greater => BinaryOperator::Less,
            BinaryOperator::GreaterEqual => BinaryOperator::LessEqual,
            other => other,
        };
        let function = match kind {
            ScalarKind::Float => float_function(op),
            ScalarKind::Sint => signed_function(op),
            ScalarKind::Uint | ScalarKind::Bool => unsigned_function(op),
            _ => None,
        };
        let refused = || self.refused(&format!("the operator {op:?} of {kind:?}"));
        Ok((function.ok_or_else(refused)?, is_swapped))
    }

    /// Returns the product and the sum of a type.
    pub(super) fn products(&self, kind: ScalarKind) -> Result<(BinaryFunction, BinaryFunction)> {
        let (multiply, _) = self.binary_function(BinaryOperator::Multiply, kind)?;
        Ok((multiply, self.binary_function(BinaryOperator::Add, kind)?.0))
    }

    /// Returns the function that converts a type to another; `None` where the words stay.
    pub(super) fn conversion(
        &self,
        from: ScalarKind,
        to: ScalarKind,
    ) -> Result<Option<UnaryFunction>> {
        use ScalarKind::{Bool, Float, Sint, Uint};
        Ok(Some(match (from, to) {
            (Float, Float) | (Bool, Bool) => return Ok(None),
            (Sint | Uint | Bool, Sint | Uint) => return Ok(None),
            (Uint, Float) => UnaryFunction::FloatOfUnsigned,
            (Sint, Float) => UnaryFunction::FloatOfSigned,
            (Bool, Float) => UnaryFunction::FloatOfBool,
            (Float, Uint) => UnaryFunction::UnsignedOfFloat,
            (Float, Sint) => UnaryFunction::SignedOfFloat,
            (Float, Bool) => UnaryFunction::BoolOfFloat,
            (Sint | Uint, Bool) => UnaryFunction::BoolOfInteger,
            _ => return Err(self.refused(&format!("a conversion of {from:?} to {to:?}"))),
        }))
    }

    /// Computes one word of a built-in function.
    pub(super) fn math_word(
        &mut self,
        function: MathFunction,
        kind: ScalarKind,
        operands: &[Register],
        out: &mut Block,
    ) -> Result<Register> {
        if let Some(unary) = unary_math(function, kind) {
            return Ok(self.unary(unary, operands[0], out));
        }
        let (least, largest) = extremes(kind);
        let (multiply, add) = self.products(kind)?;
        Ok(match (function, operands) {
            (MathFunction::Abs, &[a]) if kind == ScalarKind::Uint => a,
            (MathFunction::Min, &[a, b]) => self.binary_word(least, a, b, out),
            (MathFunction::Max, &[a, b]) => self.binary_word(largest, a, b, out),
            (MathFunction::Clamp, &[a, low, high]) => {
                let raised = self.binary_word(largest, a, low, out);
                self.binary_word(least, raised, high, out)
            }
            (MathFunction::Saturate, &[a]) => {
                let (zero, one) = (self.constant(0), self.constant(1f32.to_bits()));
                let raised = self.binary_word(BinaryFunction::MaxFloat, a, zero, out);
                self.binary_word(BinaryFunction::MinFloat, raised, one, out)
            }
            (MathFunction::Pow, &[a, b]) => self.binary_word(BinaryFunction::PowerFloat, a, b, out),
            (MathFunction::Fma, &[a, b, c]) => {
                let product = self.binary_word(multiply, a, b, out);
                self.binary_word(add, product, c, out)
            }
            _ => {
                let name = format!("the function {function:?} of {kind:?}");
                return Err(self.refused(&name));
            }
        })
    }
}

fn float_function(op: BinaryOperator) -> Option<BinaryFunction> {
    Some(match op {
        BinaryOperator::Add => BinaryFunction::AddFloat,
        BinaryOperator::Subtract => BinaryFunction::SubtractFloat,
        BinaryOperator::Multiply => BinaryFunction::MultiplyFloat,
        BinaryOperator::Divide => BinaryFunction::DivideFloat,
        BinaryOperator::Modulo => BinaryFunction::RemainderFloat,
        BinaryOperator::Equal => BinaryFunction::EqualFloat,
        BinaryOperator::NotEqual => BinaryFunction::UnequalFloat,
        BinaryOperator::Less => BinaryFunction::LessFloat,
        BinaryOperator::LessEqual => BinaryFunction::LessEqualFloat,
        _ => return None,
    })
}

fn signed_function(op: BinaryOperator) -> Option<BinaryFunction> {
    Some(match op {
        BinaryOperator::Add => BinaryFunction::AddSigned,
        BinaryOperator::Subtract => BinaryFunction::SubtractSigned,
        BinaryOperator::Multiply => BinaryFunction::MultiplySigned,
        BinaryOperator::Divide => BinaryFunction::DivideSigned,
        BinaryOperator::Modulo => BinaryFunction::RemainderSigned,
        BinaryOperator::Less => BinaryFunction::LessSigned,
        BinaryOperator::LessEqual => BinaryFunction::LessEqualSigned,
        BinaryOperator::ShiftRight => BinaryFunction::ShiftRightSigned,
        other => return unsigned_function(other),
    })
}

fn unsigned_function(op: BinaryOperator) -> Option<BinaryFunction> {
    Some(match op {
        BinaryOperator::Add => BinaryFunction::Add,
        BinaryOperator::Subtract => BinaryFunction::Subtract,
        BinaryOperator::Multiply => BinaryFunction::Multiply,
        BinaryOperator::Divide => BinaryFunction::Divide,
        BinaryOperator::Modulo => BinaryFunction::Remainder,
        BinaryOperator::Equal => BinaryFunction::Equal,
        BinaryOperator::NotEqual => BinaryFunction::Unequal,
        BinaryOperator::Less => BinaryFunction::Less,
        BinaryOperator::LessEqual => BinaryFunction::LessEqual,
        BinaryOperator::And | BinaryOperator::LogicalAnd => BinaryFunction::And,
        BinaryOperator::InclusiveOr | BinaryOperator::LogicalOr => BinaryFunction::Or,
        BinaryOperator::ExclusiveOr => BinaryFunction::ExclusiveOr,
        BinaryOperator::ShiftLeft => BinaryFunction::ShiftLeft,
        BinaryOperator::ShiftRight => BinaryFunction::ShiftRight,
        BinaryOperator::Greater | BinaryOperator::GreaterEqual => return None,
    })
}

/// Returns the minimum and the maximum of a type.
fn extremes(kind: ScalarKind) -> (BinaryFunction, BinaryFunction) {
    match kind {
        ScalarKind::Float => (BinaryFunction::MinFloat, BinaryFunction::MaxFloat),
        ScalarKind::Sint => (BinaryFunction::MinSigned, BinaryFunction::MaxSigned),
        _ => (BinaryFunction::Min, BinaryFunction::Max),
    }
}

fn unary_math(function: MathFunction, kind: ScalarKind) -> Option<UnaryFunction> {
    Some(match (function, kind) {
        (MathFunction::Abs, ScalarKind::Float) => UnaryFunction::AbsoluteFloat,
        (MathFunction::Abs, ScalarKind::Sint) => UnaryFunction::AbsoluteSigned,
        (MathFunction::Sign, ScalarKind::Float) => UnaryFunction::SignFloat,
        (MathFunction::Round, _) => UnaryFunction::RoundFloat,
        (MathFunction::Floor, _) => UnaryFunction::FloorFloat,
        (MathFunction::Ceil, _) => UnaryFunction::CeilFloat,
        (MathFunction::Trunc, _) => UnaryFunction::TruncateFloat,
        (MathFunction::Fract, _) => UnaryFunction::FractionFloat,
        (MathFunction::Sqrt, _) => UnaryFunction::SquareRoot,
        (MathFunction::InverseSqrt, _) => UnaryFunction::InverseSquareRoot,
        (MathFunction::Exp, _) => UnaryFunction::Exponential,
        (MathFunction::Exp2, _) => UnaryFunction::ExponentialBase2,
        (MathFunction::Log, _) => UnaryFunction::Logarithm,
        (MathFunction::Log2, _) => UnaryFunction::LogarithmBase2,
        (MathFunction::Sin, _) => UnaryFunction::Sine,
        (MathFunction::Cos, _) => UnaryFunction::Cosine,
        (MathFunction::Tanh, _) => UnaryFunction::HyperbolicTangent,
        (MathFunction::CountOneBits, _) => UnaryFunction::CountOneBits,
        (MathFunction::CountLeadingZeros, _) => UnaryFunction::CountLeadingZeros,
        (MathFunction::CountTrailingZeros, _) => UnaryFunction::CountTrailingZeros,
        (MathFunction::ReverseBits, _) => UnaryFunction::ReverseBits,
        _ => return None,
    })
}
