//! Loops of a few iterations, which [`Kernel::iterations`](crate::kernels::Kernel::iterations)
//! leaves out: their number is at most a constant of the shader's text.

use std::collections::HashSet;

use naga::{
    BinaryOperator, Block, Expression, Handle, Literal, LocalVariable, MathFunction, Statement,
};

use super::{Frame, Lowering, Value};

/// The largest number of iterations that is not counted.
const FEW: u32 = 64;

impl<'a> Lowering<'a> {
    /// Whether a loop ends after a few iterations, whatever the sizes are: a condition that leads
    /// to its `break` compares with a small constant.
    pub(super) fn has_few_iterations(&self, frame: &Frame<'a>, body: &'a Block) -> bool {
        for statement in body {
            match statement {
                Statement::If {
                    condition, reject, ..
                } => {
                    if self.is_few(frame, *condition) {
                        return true;
                    }
                    let breaks = matches!(reject.first(), Some(Statement::Break));
                    if breaks {
                        return false;
                    }
                }
                Statement::Block(_) | Statement::Emit(_) | Statement::Store { .. } => (),
                Statement::Call { .. } => (),
                _ => return false,
            }
        }
        false
    }

    fn is_few(&self, frame: &Frame<'a>, condition: Handle<Expression>) -> bool {
        let Expression::Binary { op, left, right } = frame.function.expressions[condition] else {
            return false;
        };
        let limit = match op {
            BinaryOperator::Less | BinaryOperator::LessEqual => right,
            BinaryOperator::Greater | BinaryOperator::GreaterEqual => left,
            _ => return false,
        };
        self.upper_bound(frame, limit)
            .is_some_and(|bound| bound <= FEW)
    }

    /// An upper bound of an unsigned integer that follows from the shader's text alone.
    pub(super) fn upper_bound(&self, frame: &Frame<'a>, handle: Handle<Expression>) -> Option<u32> {
        self.bound(frame, handle, &mut HashSet::new()).flatten()
    }

    /// Returns `None` for a value that depends on itself, which adds nothing to the bound of the
    /// variable, and `Some(None)` for a value without a bound.
    fn bound(
        &self,
        frame: &Frame<'a>,
        handle: Handle<Expression>,
        visiting: &mut HashSet<Handle<LocalVariable>>,
    ) -> Option<Option<u32>> {
        if let Some(Value::Words(words)) = frame.values.get(&handle)
            && let [word] = words[..]
            && let Some(known) = self.known(word)
        {
            return Some(Some(known));
        }
        match frame.function.expressions[handle] {
            Expression::Literal(Literal::U32(value)) => Some(Some(value)),
            Expression::Constant(constant) => {
                let init = self.module.constants[constant].init;
                match self.module.global_expressions[init] {
                    Expression::Literal(Literal::U32(value)) => Some(Some(value)),
                    _ => Some(None),
                }
            }
            Expression::FunctionArgument(index) => Some(frame.argument_bounds[index as usize]),
            Expression::CallResult(_) => Some(frame.result_bounds.get(&handle).copied().flatten()),
            Expression::Math {
                fun: MathFunction::Min,
                arg,
                arg1: Some(other),
                ..
            } => {
                let bounds = [arg, other].map(|each| self.bound(frame, each, visiting).flatten());
                Some(bounds.into_iter().flatten().min())
            }
            Expression::Select { accept, reject, .. } => {
                let bounds = [accept, reject].map(|each| self.bound(frame, each, visiting));
                largest(bounds)
            }
            Expression::Binary { op, left, right } => {
                self.binary_bound(frame, op, left, right, visiting)
            }
            Expression::Load { pointer } => match frame.function.expressions[pointer] {
                Expression::LocalVariable(variable) => self.local_bound(frame, variable, visiting),
                _ => Some(None),
            },
            _ => Some(None),
        }
    }

    fn binary_bound(
        &self,
        frame: &Frame<'a>,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
        visiting: &mut HashSet<Handle<LocalVariable>>,
    ) -> Option<Option<u32>> {
        let mut of = |handle| self.bound(frame, handle, visiting);
        match op {
            BinaryOperator::Divide | BinaryOperator::Subtract | BinaryOperator::ShiftRight => {
                of(left)
            }
            BinaryOperator::Modulo => {
                Some(of(right).flatten().map(|bound| bound.saturating_sub(1)))
            }
            // A value that grows by itself has no bound.
            BinaryOperator::Add => {
                let bounds = of(left).flatten().zip(of(right).flatten());
                Some(bounds.and_then(|(a, b)| a.checked_add(b)))
            }
            BinaryOperator::Multiply => {
                let bounds = of(left).flatten().zip(of(right).flatten());
                Some(bounds.and_then(|(a, b)| a.checked_mul(b)))
            }
            _ => Some(None),
        }
    }

    /// The largest bound of the values that a local variable may get.
    fn local_bound(
        &self,
        frame: &Frame<'a>,
        variable: Handle<LocalVariable>,
        visiting: &mut HashSet<Handle<LocalVariable>>,
    ) -> Option<Option<u32>> {
        if !visiting.insert(variable) {
            return None;
        }
        let mut stored = vec![];
        let is_known = stores(frame, &frame.function.body, variable, &mut stored);
        stored.extend(frame.function.local_variables[variable].init);
        let bounds: Vec<_> = stored
            .iter()
            .map(|&value| self.bound(frame, value, visiting))
            .collect();
        visiting.remove(&variable);
        if is_known {
            largest(bounds)
        } else {
            Some(None)
        }
    }
}

/// The largest of some bounds; those of values that depend on themselves add nothing.
fn largest(bounds: impl IntoIterator<Item = Option<Option<u32>>>) -> Option<Option<u32>> {
    let bounds: Option<Vec<u32>> = bounds.into_iter().flatten().collect();
    Some(bounds.and_then(|bounds| bounds.into_iter().max()))
}

/// Collects the values that a block stores in a variable. Returns whether these are all: not where
/// a pointer to the variable is passed on.
fn stores(
    frame: &Frame,
    block: &Block,
    variable: Handle<LocalVariable>,
    found: &mut Vec<Handle<Expression>>,
) -> bool {
    let is_variable = |pointer: &Handle<Expression>| {
        matches!(&frame.function.expressions[*pointer],
            Expression::LocalVariable(other) if *other == variable)
    };
    block.iter().all(|statement| match statement {
        Statement::Store { pointer, value } => {
            if is_variable(pointer) {
                found.push(*value);
            }
            true
        }
        Statement::Call { arguments, .. } => !arguments.iter().any(is_variable),
        Statement::Block(block) => stores(frame, block, variable, found),
        Statement::If { accept, reject, .. } => {
            stores(frame, accept, variable, found) && stores(frame, reject, variable, found)
        }
        Statement::Loop {
            body, continuing, ..
        } => stores(frame, body, variable, found) && stores(frame, continuing, variable, found),
        Statement::Switch { cases, .. } => cases
            .iter()
            .all(|case| stores(frame, &case.body, variable, found)),
        _ => true,
    })
}
