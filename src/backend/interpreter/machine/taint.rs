//! Values that come from words which nobody has written. A kernel may load them, as long as it does
//! not use them: in a condition, an index, or a value that it stores or passes on.

use std::ops::{BitAnd, BitOr};

use super::Machine;
use crate::backend::interpreter::code::{Address, Memory, Operation, Register, ShuffleSource};
use crate::backend::interpreter::finding::{Element, FindingKind};
use crate::backend::interpreter::mask::Mask;

/// The invocations for which a register's value is unwritten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taint {
    mask: Mask,
    /// The load, by its index in [`Taints::loads`].
    load: usize,
}

impl Taint {
    const NONE: Taint = Taint {
        mask: Mask::NONE,
        load: 0,
    };

    fn within(self, mask: Mask) -> Taint {
        Taint {
            mask: self.mask.and(mask),
            ..self
        }
    }
}

impl BitOr for Taint {
    type Output = Taint;

    fn bitor(self, other: Taint) -> Taint {
        Taint {
            mask: self.mask.or(other.mask),
            load: if self.mask.is_empty() {
                other.load
            } else {
                self.load
            },
        }
    }
}

impl BitAnd<Mask> for Taint {
    type Output = Taint;

    fn bitand(self, mask: Mask) -> Taint {
        self.within(mask)
    }
}

/// The taints of a dispatch: none until it loads an unwritten word, which makes it slower.
#[derive(Debug, Default)]
pub(super) struct Taints {
    /// The taint of each temporary register.
    of: Vec<Taint>,
    /// Loads of unwritten words: position and the first word.
    loads: Vec<(u32, Element)>,
}

impl Machine<'_> {
    pub(super) fn has_taints(&self) -> bool {
        !self.taints.loads.is_empty()
    }

    fn taint(&self, register: Register) -> Taint {
        match register {
            Register::Temporary(index) => self.taints.of[index as usize],
            _ => Taint::NONE,
        }
    }

    /// Notes that a load has left unwritten words in a register, for the invocations of `mask`.
    pub(super) fn load_taint(&mut self, to: u32, mask: Mask, memory: Memory, word: usize, at: u32) {
        if mask.is_empty() && !self.has_taints() {
            return;
        }
        self.taints.of.resize(self.temporaries.len(), Taint::NONE);
        let mut load = 0;
        if !mask.is_empty() {
            let known = self
                .taints
                .loads
                .iter()
                .position(|(position, _)| *position == at);
            load = known.unwrap_or_else(|| {
                let element = self.element(memory, word as i64);
                self.taints.loads.push((at, element));
                self.taints.loads.len() - 1
            });
        }
        self.taints.of[to as usize] = Taint { mask, load };
    }

    /// Reports an unwritten value that the invocations of `mask` use.
    pub(super) fn use_value(&mut self, register: Register, mask: Mask, at: u32) {
        if !self.has_taints() {
            return;
        }
        let used = self.taint(register).within(mask);
        let Some(lane) = used.mask.iter().next() else {
            return;
        };
        let (loaded, element) = self.taints.loads[used.load].clone();
        let line = self.line(at);
        let detail = format!("nobody has written it, and line {line} uses it");
        self.report(FindingKind::Unwritten, loaded, lane, Some(element), detail);
    }

    fn use_address(&mut self, address: &Address, at: u32) {
        for index in &address.indices {
            self.use_value(index.register, self.active.mask, at);
        }
    }

    fn use_all(&mut self, registers: &[Register], at: u32) {
        for &register in registers {
            self.use_value(register, self.active.mask, at);
        }
    }

    fn set_taint(&mut self, to: u32, taint: Taint) {
        self.taints.of[to as usize] = taint;
    }

    /// Replaces the taint of the active invocations.
    fn merge_taint(&mut self, to: u32, taint: Taint) {
        let active = self.active.mask;
        let before = self.taints.of[to as usize];
        let kept = before.within(before.mask.without(active));
        self.taints.of[to as usize] = taint.within(active) | kept;
    }

    /// Follows unwritten values through an instruction that has run.
    pub(super) fn spread_taints(&mut self, operation: &Operation, at: u32) {
        match operation {
            &Operation::Unary { operand, to, .. } => self.set_taint(to, self.taint(operand)),
            &Operation::Binary {
                left, right, to, ..
            } => {
                let taint = self.taint(left) | self.taint(right);
                self.set_taint(to, taint);
            }
            &Operation::Select {
                condition,
                accept,
                reject,
                to,
            } => {
                self.use_value(condition, self.active.mask, at);
                let accepted = self.where_true(condition, self.active.mask);
                let rejected = self.active.mask.without(accepted);
                let taint = (self.taint(accept) & accepted) | (self.taint(reject) & rejected);
                self.set_taint(to, taint);
            }
            &Operation::Copy { from, to } => self.set_taint(to, self.taint(from)),
            &Operation::Assign { from, to } => self.merge_taint(to, self.taint(from)),
            Operation::Pick { from, index, to } => {
                self.use_value(*index, self.active.mask, at);
                for (word, &to_register) in to.iter().enumerate() {
                    let mut taint = Taint::NONE;
                    for (element, words) in from.chunks(to.len()).enumerate() {
                        let indices = self.values(*index);
                        let picks = |lane: usize| indices[lane] as usize == element;
                        let picked = Mask::from_fn(self.active.range.clone(), picks);
                        taint = taint | (self.taint(words[word]) & picked);
                    }
                    self.set_taint(to_register, taint & self.active.mask);
                }
            }
            Operation::LoadLocal { first, address, to } => {
                self.use_address(address, at);
                for (word, &to) in address.words.iter().zip(to) {
                    let mut taint = Taint::NONE;
                    for (offset, lanes) in self.lanes_by_offset() {
                        let from = Register::Temporary(first + offset + word);
                        taint = taint | (self.taint(from) & lanes);
                    }
                    self.set_taint(to, taint);
                }
            }
            Operation::StoreLocal {
                first,
                address,
                from,
            } => {
                self.use_address(address, at);
                for (&word, &from) in address.words.iter().zip(from) {
                    for (offset, lanes) in self.lanes_by_offset() {
                        let to = (first + offset + word) as usize;
                        let before = self.taints.of[to];
                        let kept = before.within(before.mask.without(lanes));
                        self.taints.of[to] = (self.taint(from) & lanes) | kept;
                    }
                }
            }
            _ => self.use_in_memory(operation, at),
        }
    }

    /// Follows unwritten values through an access or a subgroup operation.
    fn use_in_memory(&mut self, operation: &Operation, at: u32) {
        match operation {
            Operation::Load { address, .. } => self.use_address(address, at),
            Operation::Store { address, from, .. } => {
                self.use_address(address, at);
                self.use_all(from, at);
            }
            Operation::Atomic {
                address, value, to, ..
            } => {
                self.use_address(address, at);
                self.use_all(value.as_slice(), at);
                to.iter().for_each(|&to| self.set_taint(to, Taint::NONE));
            }
            &Operation::ArrayLength { to, .. } => self.set_taint(to, Taint::NONE),
            Operation::Shuffle { source, from, to } => {
                if let ShuffleSource::Lane(operand)
                | ShuffleSource::Up(operand)
                | ShuffleSource::Down(operand)
                | ShuffleSource::Xor(operand) = source
                {
                    self.use_value(*operand, self.active.mask, at);
                }
                self.use_all(from, at);
                to.iter().for_each(|&to| self.set_taint(to, Taint::NONE));
            }
            Operation::Reduce { from, to, .. } => {
                self.use_all(from, at);
                to.iter().for_each(|&to| self.set_taint(to, Taint::NONE));
            }
            _ => unreachable!("`spread_taints` follows it"),
        }
    }

    /// The active invocations by the offset of the last access, without invalid offsets.
    fn lanes_by_offset(&self) -> Vec<(u32, Mask)> {
        let mut groups: Vec<(u32, Mask)> = vec![];
        for lane in self.active.lanes() {
            let offset = self.offsets[lane];
            let own = Mask::from_fn(lane..lane + 1, |_| true);
            match groups.iter_mut().find(|(known, _)| *known == offset) {
                Some((_, lanes)) => *lanes = lanes.or(own),
                None => groups.push((offset, own)),
            }
        }
        groups.retain(|(offset, _)| *offset != u32::MAX);
        groups
    }
}
