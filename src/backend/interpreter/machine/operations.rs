//! Instructions without control flow.

use std::mem;

use super::Machine;
use crate::backend::interpreter::arithmetic::{BinaryFunction, UnaryFunction};
use crate::backend::interpreter::code::{Address, Operation, Register};
use crate::backend::interpreter::finding::FindingKind;

impl Machine<'_> {
    /// Runs an instruction for the active invocations.
    pub(super) fn operate(&mut self, operation: &Operation, at: u32) {
        self.run_operation(operation, at);
        if self.has_taints() {
            self.spread_taints(operation, at);
        }
    }

    fn run_operation(&mut self, operation: &Operation, at: u32) {
        match operation {
            &Operation::Unary {
                function,
                operand,
                to,
            } => self.unary(function, operand, to, at),
            &Operation::Binary {
                function,
                left,
                right,
                wraps,
                to,
            } => {
                self.compute(to, |machine, range, to| {
                    let left = &machine.values(left)[range.clone()];
                    function.apply(left, &machine.values(right)[range], to);
                });
                self.check_binary(function, [left, right], wraps, at);
            }
            &Operation::Select {
                condition,
                accept,
                reject,
                to,
            } => self.compute(to, |machine, range, to| {
                let accept = &machine.values(accept)[range.clone()];
                let reject = &machine.values(reject)[range.clone()];
                let values = accept
                    .iter()
                    .zip(reject)
                    .zip(&machine.values(condition)[range]);
                for (to, ((&accept, &reject), &condition)) in to.iter_mut().zip(values) {
                    *to = if condition != 0 { accept } else { reject };
                }
            }),
            &Operation::Copy { from, to } => self.compute(to, |machine, range, to| {
                to.copy_from_slice(&machine.values(from)[range]);
            }),
            &Operation::Assign { from, to } => self.assign(from, to),
            Operation::Pick { from, index, to } => self.pick(from, *index, to, at),
            Operation::LoadLocal { first, address, to } => {
                self.load_local(*first, address, to, at);
            }
            Operation::StoreLocal {
                first,
                address,
                from,
            } => self.store_local(*first, address, from, at),
            Operation::Load {
                memory,
                address,
                to,
            } => self.load(*memory, address, to, at),
            Operation::Store {
                memory,
                address,
                from,
            } => self.store(*memory, address, from, at),
            Operation::Atomic {
                memory,
                address,
                function,
                value,
                to,
            } => self.atomic((*memory, address), *function, *value, *to, at),
            &Operation::ArrayLength {
                binding,
                stride,
                to,
            } => {
                let argument = &self.dispatch.arguments[binding as usize];
                let words = self.storage[argument.region].values.len() as u32;
                self.compute(to, |_, _, to| to.fill(words / stride));
            }
            Operation::Shuffle { source, from, to } => self.shuffle(*source, from, to, at),
            Operation::Reduce { function, from, to } => self.reduce(*function, from, to, at),
        }
    }

    fn unary(&mut self, function: UnaryFunction, operand: Register, to: u32, at: u32) {
        self.compute(to, |machine, range, to| {
            function.apply(&machine.values(operand)[range], to);
        });
        let values = self.values(operand);
        let fault = |lane: usize| Some((lane, values[lane], function.fault(values[lane])?));
        let can_fault = matches!(
            function,
            UnaryFunction::UnsignedOfFloat
                | UnaryFunction::SignedOfFloat
                | UnaryFunction::NegateSigned
                | UnaryFunction::AbsoluteSigned
        );
        if !can_fault {
            return;
        }
        let found = self.active.lanes().find_map(fault);
        if let Some((lane, value, kind)) = found {
            let detail = match kind {
                FindingKind::Conversion => format!("the value is {:e}", f32::from_bits(value)),
                _ => format!("the value is {}", value.cast_signed()),
            };
            self.report(kind, at, lane, None, detail);
        }
    }

    fn check_binary(
        &mut self,
        function: BinaryFunction,
        [left, right]: [Register; 2],
        wraps: bool,
        at: u32,
    ) {
        let range = self.active.range.clone();
        let (left, right) = (self.values(left), self.values(right));
        if !function.may_fault(&left[range.clone()], &right[range]) {
            return;
        }
        let fault = |lane: usize| {
            let kind = function.fault(left[lane], right[lane])?;
            let is_allowed = wraps && kind == FindingKind::Wrap;
            (!is_allowed).then_some((lane, [left[lane], right[lane]], kind))
        };
        let found = self.active.lanes().find_map(fault);
        if let Some((lane, [left, right], kind)) = found {
            let detail = format!("the operands are {left} and {right}");
            self.report(kind, at, lane, None, detail);
        }
    }

    /// Copies a register for the active invocations alone.
    pub(super) fn assign(&mut self, from: Register, to: u32) {
        let mut result = mem::take(&mut self.temporaries[to as usize]);
        let values = self.values(from);
        if self.active.is_dense {
            let range = self.active.range.clone();
            result[range.clone()].copy_from_slice(&values[range]);
        } else {
            for lane in self.active.lanes() {
                result[lane] = values[lane];
            }
        }
        self.temporaries[to as usize] = result;
    }

    fn pick(&mut self, from: &[Register], index: Register, to: &[u32], at: u32) {
        let bound = from.len() / to.len();
        let indices = self.values(index);
        let outside = self
            .active
            .lanes()
            .find(|&lane| indices[lane] as usize >= bound);
        if let Some(lane) = outside {
            let detail = format!("index {} of a value of {bound} elements", indices[lane]);
            self.report(FindingKind::OutOfBounds, at, lane, None, detail);
        }
        for (word, &to_register) in to.iter().enumerate() {
            self.compute(to_register, |machine, range, result| {
                let indices = &machine.values(index)[range.clone()];
                for ((result, &index), lane) in result.iter_mut().zip(indices).zip(range) {
                    // An invocation that is not active may hold any index.
                    let index = (index as usize).min(bound - 1);
                    *result = machine.values(from[index * to.len() + word])[lane];
                }
            });
        }
    }

    fn load_local(&mut self, first: u32, address: &Address, to: &[u32], at: u32) {
        let offsets = self.offsets_of(address, at);
        let same = self.same_offset(&offsets);
        for (word, &to) in address.words.iter().zip(to) {
            self.compute(to, |machine, range, result| {
                let register = |offset: u32| &machine.temporaries[(first + offset + word) as usize];
                if let Some(offset) = same {
                    result.copy_from_slice(&register(offset)[range]);
                    return;
                }
                let start = range.start;
                for lane in machine.active.lanes() {
                    result[lane - start] = match offsets[lane] {
                        u32::MAX => 0,
                        offset => register(offset)[lane],
                    };
                }
            });
        }
        self.offsets = offsets;
    }

    fn store_local(&mut self, first: u32, address: &Address, from: &[Register], at: u32) {
        let offsets = self.offsets_of(address, at);
        let same = self.same_offset(&offsets);
        for (&word, &from) in address.words.iter().zip(from) {
            if let Some(offset) = same {
                self.assign(from, first + offset + word);
                continue;
            }
            for lane in self.active.range.clone() {
                if offsets[lane] != u32::MAX && self.active.mask.contains(lane) {
                    let value = self.values(from)[lane];
                    self.temporaries[(first + offsets[lane] + word) as usize][lane] = value;
                }
            }
        }
        self.offsets = offsets;
    }
}
