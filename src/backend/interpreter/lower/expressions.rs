//! Lowering of expressions.

use naga::{Expression, Handle, MathFunction, RelationalFunction, ScalarKind, TypeInner};

use super::places::{Layout, Root};
use super::{Frame, Lowering, Value};
use crate::backend::interpreter::arithmetic::{BinaryFunction, UnaryFunction};
use crate::backend::interpreter::code::{Block, Memory, Operation, Register};
use crate::error::Result;

impl<'a> Lowering<'a> {
    /// The type of an expression.
    pub(super) fn type_of(&self, frame: &Frame<'a>, handle: Handle<Expression>) -> &'a TypeInner {
        frame.info[handle].ty.inner_with(&self.module.types)
    }

    pub(super) fn kind_of(
        &self,
        frame: &Frame<'a>,
        handle: Handle<Expression>,
    ) -> Result<ScalarKind> {
        let kind = self.type_of(frame, handle).scalar_kind();
        kind.ok_or_else(|| self.refused("arithmetic on this type"))
    }

    /// The words of an expression that is not a pointer.
    pub(super) fn words(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        out: &mut Block,
    ) -> Result<Vec<Register>> {
        match self.value(frame, handle, out)? {
            Value::Words(words) => Ok(words),
            Value::Place(_) => Err(self.refused("a pointer as a value")),
        }
    }

    /// The value of an expression, computed here if it has not been.
    pub(super) fn value(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        out: &mut Block,
    ) -> Result<Value> {
        if let Some(value) = frame.values.get(&handle) {
            return Ok(value.clone());
        }
        self.evaluate(frame, handle, out)
    }

    /// Computes an expression, and keeps its value.
    pub(super) fn evaluate(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        out: &mut Block,
    ) -> Result<Value> {
        let outer = std::mem::replace(&mut self.at, frame.function.expressions.get_span(handle));
        if !self.at.is_defined() {
            self.at = outer;
        }
        let value = self.lower_expression(frame, handle, out)?;
        self.at = outer;
        frame.values.insert(handle, value.clone());
        Ok(value)
    }

    fn lower_expression(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        out: &mut Block,
    ) -> Result<Value> {
        let function = frame.function;
        Ok(match &function.expressions[handle] {
            &Expression::GlobalVariable(variable) => Value::Place(self.global_place(variable)?),
            Expression::LocalVariable(variable) => {
                let ty = self.module.types[function.local_variables[*variable].ty]
                    .inner
                    .clone();
                Value::Place(super::Place {
                    root: Root::Local(frame.locals[variable]),
                    ty,
                    offset: 0,
                    indices: vec![],
                })
            }
            &Expression::FunctionArgument(index) => frame.arguments[index as usize].clone(),
            &Expression::Access { base, index } => self.access(frame, base, index, out)?,
            &Expression::AccessIndex { base, index } => {
                self.access_index(frame, base, index, out)?
            }
            _ => Value::Words(self.lower_words(frame, handle, out)?),
        })
    }

    /// Lowers an expression that takes values together or apart, or loads one.
    fn lower_words(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        out: &mut Block,
    ) -> Result<Vec<Register>> {
        let function = frame.function;
        Ok(match &function.expressions[handle] {
            &Expression::Literal(literal) => vec![self.literal(literal)?],
            &Expression::Constant(constant) => {
                self.global_words(self.module.constants[constant].init)?
            }
            &Expression::ZeroValue(ty) => self.zeros(&self.module.types[ty].inner)?,
            Expression::Compose { components, .. } => {
                let mut words = vec![];
                for &component in components {
                    words.extend(self.words(frame, component, out)?);
                }
                words
            }
            &Expression::Splat { size, value } => {
                vec![self.words(frame, value, out)?[0]; size as usize]
            }
            &Expression::Swizzle {
                size,
                vector,
                pattern,
            } => {
                let words = self.words(frame, vector, out)?;
                let components = pattern[..size as usize].iter();
                components
                    .map(|&component| words[component as usize])
                    .collect()
            }
            &Expression::Load { pointer } => {
                let place = self.place(frame, pointer, out)?;
                self.load(&place, out)?
            }
            _ => self.lower_computed(frame, handle, out)?,
        })
    }

    /// Lowers an operator or a function. A result of f16 is rounded: f32 has more than twice its
    /// digits, so that the result of an operator is rounded as if it had been exact.
    fn lower_computed(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        out: &mut Block,
    ) -> Result<Vec<Register>> {
        let words = self.lower_exactly(frame, handle, out)?;
        if self.type_of(frame, handle).scalar_width() != Some(2) {
            return Ok(words);
        }
        match &frame.function.expressions[handle] {
            Expression::Unary { .. } | Expression::Binary { .. } => {}
            Expression::As { expr, .. } if self.kind_of(frame, *expr)? == ScalarKind::Float => {}
            Expression::Select { .. } => return Ok(words),
            _ => return Err(self.refused("this function of f16")),
        }
        let round = |word| self.unary(UnaryFunction::HalfOfFloat, word, out);
        Ok(words.into_iter().map(round).collect())
    }

    /// The same without the rounding.
    fn lower_exactly(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        out: &mut Block,
    ) -> Result<Vec<Register>> {
        let function = frame.function;
        Ok(match &function.expressions[handle] {
            &Expression::Unary { op, expr } => {
                let kind = self.kind_of(frame, expr)?;
                let function = self.unary_function(op, kind)?;
                let words = self.words(frame, expr, out)?;
                words
                    .into_iter()
                    .map(|word| self.unary(function, word, out))
                    .collect()
            }
            &Expression::Binary { op, left, right } => {
                self.binary(frame, op, [left, right], out)?
            }
            &Expression::Select {
                condition,
                accept,
                reject,
            } => self.select(frame, [condition, accept, reject], out)?,
            &Expression::Relational { fun, argument } => {
                let words = self.words(frame, argument, out)?;
                let function = match fun {
                    RelationalFunction::All => BinaryFunction::And,
                    RelationalFunction::Any => BinaryFunction::Or,
                    other => return Err(self.refused(&format!("the function {other:?}"))),
                };
                vec![self.fold(function, words, out)]
            }
            &Expression::Math {
                fun,
                arg,
                arg1,
                arg2,
                ..
            } => self.math(frame, fun, [Some(arg), arg1, arg2], out)?,
            &Expression::As {
                expr,
                kind,
                convert,
            } => {
                let words = self.words(frame, expr, out)?;
                let from = self.kind_of(frame, expr)?;
                let is_half = self.type_of(frame, expr).scalar_width() == Some(2);
                if is_half && convert.is_none() {
                    return Err(self.refused("the bits of f16"));
                }
                match (convert, self.conversion(from, kind)?) {
                    (Some(_), Some(function)) => words
                        .into_iter()
                        .map(|word| self.unary(function, word, out))
                        .collect(),
                    _ => words,
                }
            }
            &Expression::ArrayLength(pointer) => vec![self.array_length(frame, pointer, out)?],
            other => return Err(self.refused(&format!("the expression {other:?}"))),
        })
    }

    fn access(
        &mut self,
        frame: &mut Frame<'a>,
        base: Handle<Expression>,
        index: Handle<Expression>,
        out: &mut Block,
    ) -> Result<Value> {
        let register = self.words(frame, index, out)?[0];
        match self.value(frame, base, out)? {
            Value::Place(place) => Ok(Value::Place(self.part_at(&place, register)?)),
            Value::Words(from) => {
                let ty = self.type_of(frame, base);
                let (stride, count, _) = self.elements(ty, Layout::Packed)?;
                if let Some(known) = self.known(register)
                    && count.is_some_and(|count| known < count)
                {
                    let first = (known * stride) as usize;
                    return Ok(Value::Words(from[first..first + stride as usize].to_vec()));
                }
                let to = self.allocate_all(stride as usize);
                let words = to.iter().map(|&to| Register::Temporary(to)).collect();
                let index = register;
                self.emit(Operation::Pick { from, index, to }, out);
                Ok(Value::Words(words))
            }
        }
    }

    fn access_index(
        &mut self,
        frame: &mut Frame<'a>,
        base: Handle<Expression>,
        index: u32,
        out: &mut Block,
    ) -> Result<Value> {
        match self.value(frame, base, out)? {
            Value::Place(place) => Ok(Value::Place(self.part(&place, index)?)),
            Value::Words(words) => {
                let ty = self.type_of(frame, base);
                let (offset, ty) = self.element(ty, index, Layout::Packed)?;
                let count = self.words_of(&ty, Layout::Packed)?.len();
                let first = offset as usize;
                Ok(Value::Words(words[first..first + count].to_vec()))
            }
        }
    }

    /// Computes a function of one word; at once if the word is known.
    pub(super) fn unary(
        &mut self,
        function: UnaryFunction,
        operand: Register,
        out: &mut Block,
    ) -> Register {
        if let Some(word) = self.known(operand)
            && function.fault(word).is_none()
        {
            let mut result = [0];
            function.apply(&[word], &mut result);
            return self.constant(result[0]);
        }
        let to = self.allocate();
        let operation = Operation::Unary {
            function,
            operand,
            to,
        };
        self.emit(operation, out);
        Register::Temporary(to)
    }

    /// Computes a function of two words; at once if both are known.
    pub(super) fn binary_word(
        &mut self,
        function: BinaryFunction,
        left: Register,
        right: Register,
        out: &mut Block,
    ) -> Register {
        if let (Some(a), Some(b)) = (self.known(left), self.known(right))
            && function.fault(a, b).is_none()
        {
            let mut result = [0];
            function.apply(&[a], &[b], &mut result);
            return self.constant(result[0]);
        }
        let to = self.allocate();
        let operation = Operation::Binary {
            function,
            left,
            right,
            wraps: self.line_wraps(),
            to,
        };
        self.emit(operation, out);
        Register::Temporary(to)
    }

    /// Combines words from left to right.
    pub(super) fn fold(
        &mut self,
        function: BinaryFunction,
        words: Vec<Register>,
        out: &mut Block,
    ) -> Register {
        let mut words = words.into_iter();
        let first = words.next().unwrap_or_else(|| self.constant(0));
        words.fold(first, |left, right| {
            self.binary_word(function, left, right, out)
        })
    }

    fn binary(
        &mut self,
        frame: &mut Frame<'a>,
        op: naga::BinaryOperator,
        [left, right]: [Handle<Expression>; 2],
        out: &mut Block,
    ) -> Result<Vec<Register>> {
        let kind = self.kind_of(frame, left)?;
        let is_matrix = |handle| matches!(self.type_of(frame, handle), TypeInner::Matrix { .. });
        let is_scalar = |handle| matches!(self.type_of(frame, handle), TypeInner::Scalar(_));
        let mixes_matrix = op == naga::BinaryOperator::Multiply
            && [[left, right], [right, left]]
                .iter()
                .any(|&[a, b]| is_matrix(a) && !is_scalar(b));
        if mixes_matrix {
            return Err(self.refused("products of matrices"));
        }
        let (function, is_swapped) = self.binary_function(op, kind)?;
        let mut a = self.words(frame, left, out)?;
        let mut b = self.words(frame, right, out)?;
        let len = a.len().max(b.len());
        for words in [&mut a, &mut b] {
            if words.len() == 1 {
                *words = vec![words[0]; len];
            }
        }
        if is_swapped {
            std::mem::swap(&mut a, &mut b);
        }
        let pairs = a.into_iter().zip(b);
        Ok(pairs
            .map(|(a, b)| self.binary_word(function, a, b, out))
            .collect())
    }

    fn select(
        &mut self,
        frame: &mut Frame<'a>,
        [condition, accept, reject]: [Handle<Expression>; 3],
        out: &mut Block,
    ) -> Result<Vec<Register>> {
        let conditions = self.words(frame, condition, out)?;
        let accept = self.words(frame, accept, out)?;
        let reject = self.words(frame, reject, out)?;
        let mut result = vec![];
        for (word, (accept, reject)) in accept.into_iter().zip(reject).enumerate() {
            let condition = conditions[word.min(conditions.len() - 1)];
            result.push(match self.known(condition) {
                Some(known) => [reject, accept][usize::from(known != 0)],
                None => {
                    let to = self.allocate();
                    let operation = Operation::Select {
                        condition,
                        accept,
                        reject,
                        to,
                    };
                    self.emit(operation, out);
                    Register::Temporary(to)
                }
            });
        }
        Ok(result)
    }

    fn math(
        &mut self,
        frame: &mut Frame<'a>,
        function: MathFunction,
        operands: [Option<Handle<Expression>>; 3],
        out: &mut Block,
    ) -> Result<Vec<Register>> {
        let first = operands[0].ok_or_else(|| self.refused("a function without operands"))?;
        let kind = self.kind_of(frame, first)?;
        let ty = self.type_of(frame, first).clone();
        let mut values = vec![];
        for operand in operands.into_iter().flatten() {
            values.push(self.words(frame, operand, out)?);
        }
        if function == MathFunction::Transpose {
            return self.transpose(&ty, &values[0]);
        }
        if function == MathFunction::Dot {
            let (multiply, add) = self.products(kind)?;
            let pairs: Vec<_> = values[0].iter().copied().zip(values[1].clone()).collect();
            let products = pairs
                .into_iter()
                .map(|(a, b)| self.binary_word(multiply, a, b, out));
            let products = products.collect();
            return Ok(vec![self.fold(add, products, out)]);
        }
        let len = values[0].len();
        let mut result = vec![];
        for word in 0..len {
            let of_word = |words: &Vec<Register>| words[word.min(words.len() - 1)];
            let operands: Vec<Register> = values.iter().map(of_word).collect();
            result.push(self.math_word(function, kind, &operands, out)?);
        }
        Ok(result)
    }

    fn transpose(&self, ty: &TypeInner, words: &[Register]) -> Result<Vec<Register>> {
        let TypeInner::Matrix { columns, rows, .. } = *ty else {
            return Err(self.refused("the transpose of this type"));
        };
        let (columns, rows) = (columns as usize, rows as usize);
        let of_row = |row| (0..columns).map(move |column| words[column * rows + row]);
        Ok((0..rows).flat_map(of_row).collect())
    }

    fn array_length(
        &mut self,
        frame: &mut Frame<'a>,
        pointer: Handle<Expression>,
        out: &mut Block,
    ) -> Result<Register> {
        let place = self.place(frame, pointer, out)?;
        let Root::Memory(Memory::Storage(binding)) = place.root else {
            return Err(self.refused("the length of this array"));
        };
        let (stride, ..) = self.elements(&place.ty, Layout::Shared)?;
        let to = self.allocate();
        let operation = Operation::ArrayLength {
            binding,
            stride,
            to,
        };
        self.emit(operation, out);
        Ok(Register::Temporary(to))
    }
}
