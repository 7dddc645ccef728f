//! Accesses of memory that invocations share.

use std::mem;
use std::ops::Range;

use super::Machine;
use crate::backend::interpreter::code::{Address, AtomicFunction, Memory, Register};
use crate::backend::interpreter::finding::{Element, FindingKind};
use crate::backend::interpreter::mask::Mask;
use crate::backend::interpreter::memory::{Interval, Region, SEVERAL};

/// The words of a region that an access may reach.
struct Reach {
    range: Range<usize>,
    /// The word that an offset of 0 means.
    origin: usize,
    time: Interval,
    /// Whether accesses are recorded: some invocation may write the region.
    is_recorded: bool,
}

/// A fault of one word, by invocation.
struct Fault {
    kind: FindingKind,
    lane: usize,
    word: i64,
    detail: String,
}

impl Machine<'_> {
    /// Computes the first word of an access for each invocation; [`u32::MAX`] where an index is out
    /// of the bounds that its type has.
    pub(super) fn offsets_of(&mut self, address: &Address, at: u32) -> Vec<u32> {
        let mut offsets = mem::take(&mut self.offsets);
        let range = self.active.range.clone();
        offsets[range.clone()].fill(address.offset);
        let mut outside = None;
        for index in &address.indices {
            let values = &self.values(index.register)[range.clone()];
            let lanes = offsets[range.clone()].iter_mut().zip(values);
            match index.bound {
                Some(bound) => {
                    for (offset, &value) in lanes {
                        let next = offset.saturating_add(value.wrapping_mul(index.stride));
                        *offset = if value < bound { next } else { u32::MAX };
                    }
                    let is_outside = |&lane: &usize| values[lane - range.start] >= bound;
                    if values.iter().any(|&value| value >= bound)
                        && let Some(lane) = self.active.lanes().find(is_outside)
                    {
                        outside = Some((lane, values[lane - range.start], bound));
                    }
                }
                None => {
                    for (offset, &value) in lanes {
                        *offset = offset.saturating_add(value.saturating_mul(index.stride));
                    }
                }
            }
        }
        if let Some((lane, index, bound)) = outside {
            let detail = format!("index {index} of {bound} elements");
            self.report(FindingKind::OutOfBounds, at, lane, None, detail);
        }
        offsets
    }

    /// The offset that all active invocations have in common, if it is valid.
    pub(super) fn same_offset(&self, offsets: &[u32]) -> Option<u32> {
        let first = offsets[self.active.first()];
        let is_same = if self.active.is_dense {
            let offsets = &offsets[self.active.range.clone()];
            offsets
                .iter()
                .fold(true, |same, &offset| same & (offset == first))
        } else {
            self.active.lanes().all(|lane| offsets[lane] == first)
        };
        (is_same && first != u32::MAX).then_some(first)
    }

    fn reach(&self, memory: Memory) -> Reach {
        match memory {
            Memory::Storage(binding) => {
                let binding = binding as usize;
                let argument = &self.dispatch.arguments[binding];
                let bound = self.dispatch.code.bindings[binding].as_ref();
                Reach {
                    range: argument.range.clone(),
                    origin: 0,
                    time: self.storage_time,
                    is_recorded: bound.is_some_and(|binding| binding.is_written),
                }
            }
            Memory::Workgroup(variable) => {
                let variable = &self.dispatch.code.variables[variable as usize];
                let first = variable.first as usize;
                Reach {
                    range: first..first + variable.words as usize,
                    origin: first,
                    time: self.shared_time,
                    is_recorded: true,
                }
            }
        }
    }

    fn region(&mut self, memory: Memory) -> &mut Region {
        match memory {
            Memory::Storage(binding) => {
                let region = self.dispatch.arguments[binding as usize].region;
                &mut self.storage[region]
            }
            Memory::Workgroup(_) => &mut self.shared,
        }
    }

    /// Reports faults of an access, and an argument of the wrong type of elements.
    fn report_faults(&mut self, memory: Memory, faults: Vec<Fault>, at: u32) {
        if let Memory::Storage(binding) = memory {
            let argument = &self.dispatch.arguments[binding as usize];
            let bound = self.dispatch.code.bindings[binding as usize].as_ref();
            if bound.is_some_and(|bound| bound.is_real != argument.is_real) {
                let kinds = ["integers", "reals"].map(str::to_string);
                let [held, read] = [argument.is_real, !argument.is_real];
                let detail = format!(
                    "the buffer holds {}, and the shader reads {}",
                    kinds[usize::from(held)],
                    kinds[usize::from(read)]
                );
                let element = self.element(memory, argument.range.start as i64);
                let lane = self.active.first();
                self.report(FindingKind::WrongElement, at, lane, Some(element), detail);
            }
        }
        for fault in faults {
            let element = self.element(memory, fault.word);
            self.report(fault.kind, at, fault.lane, Some(element), fault.detail);
        }
    }

    /// Names a word of a region.
    pub(super) fn element(&self, memory: Memory, word: i64) -> Element {
        match memory {
            Memory::Storage(binding) => {
                let argument = &self.dispatch.arguments[binding as usize];
                let bound = self.dispatch.code.bindings[binding as usize].as_ref();
                Element {
                    argument: bound.map_or(String::new(), |bound| bound.name.clone()),
                    buffer: argument.name.clone(),
                    index: word - argument.range.start as i64,
                }
            }
            Memory::Workgroup(variable) => {
                let variable = &self.dispatch.code.variables[variable as usize];
                Element {
                    argument: variable.name.clone(),
                    buffer: String::new(),
                    index: word - i64::from(variable.first),
                }
            }
        }
    }

    pub(super) fn load(&mut self, memory: Memory, address: &Address, to: &[u32], at: u32) {
        let offsets = self.offsets_of(address, at);
        let reach = self.reach(memory);
        let same = self.same_offset(&offsets);
        let mut faults = vec![];
        for (&word, &to) in address.words.iter().zip(to) {
            let mut unwritten = Mask::NONE;
            let mut first_unwritten = 0;
            let mut result = mem::take(&mut self.temporaries[to as usize]);
            let active = self.active.clone();
            let region = self.region(memory);
            if let Some(offset) = same {
                let by = match active.range.len() {
                    1 => active.first() as u16,
                    _ => SEVERAL,
                };
                let word = reach.origin + offset as usize + word as usize;
                let lane = active.first();
                let (value, is_written) = reach.load(region, word, (lane, by), &mut faults);
                result[active.range.clone()].fill(value);
                if !is_written {
                    (unwritten, first_unwritten) = (active.mask, word);
                }
            } else {
                for lane in active.lanes().filter(|&lane| offsets[lane] != u32::MAX) {
                    let word = reach.origin + offsets[lane] as usize + word as usize;
                    let who = (lane, lane as u16);
                    let (value, is_written) = reach.load(region, word, who, &mut faults);
                    result[lane] = value;
                    if !is_written {
                        first_unwritten = word;
                        unwritten = unwritten.or(Mask::from_fn(lane..lane + 1, |_| true));
                    }
                }
            }
            self.temporaries[to as usize] = result;
            self.load_taint(to, unwritten, memory, first_unwritten, at);
        }
        self.offsets = offsets;
        self.report_faults(memory, faults, at);
    }

    pub(super) fn store(&mut self, memory: Memory, address: &Address, from: &[Register], at: u32) {
        let offsets = self.offsets_of(address, at);
        let reach = self.reach(memory);
        let mut faults = vec![];
        for (&word, &from) in address.words.iter().zip(from) {
            let values = self.values(from).to_vec();
            let active = self.active.clone();
            let region = self.region(memory);
            for lane in active.lanes().filter(|&lane| offsets[lane] != u32::MAX) {
                let word = reach.origin + offsets[lane] as usize + word as usize;
                if reach.contains(word, lane, &mut faults) {
                    let conflict = region.overwrite(word, lane as u16, reach.time);
                    if let Some(conflict) = conflict {
                        faults.push(Fault::race(lane, word, conflict.text()));
                    }
                    region.store(word, values[lane]);
                }
            }
        }
        self.offsets = offsets;
        self.report_faults(memory, faults, at);
    }

    pub(super) fn atomic(
        &mut self,
        (memory, address): (Memory, &Address),
        function: AtomicFunction,
        value: Option<Register>,
        to: Option<u32>,
        at: u32,
    ) {
        let offsets = self.offsets_of(address, at);
        let reach = self.reach(memory);
        let values = value.map(|value| self.values(value).to_vec());
        let mut result = to.map(|to| mem::take(&mut self.temporaries[to as usize]));
        let mut faults = vec![];
        let active = self.active.clone();
        let region = self.region(memory);
        for lane in active.lanes().filter(|&lane| offsets[lane] != u32::MAX) {
            let word = reach.origin + offsets[lane] as usize;
            if !reach.contains(word, lane, &mut faults) {
                continue;
            }
            let value = values.as_ref().map_or(0, |values| values[lane]);
            let by = lane as u16;
            let conflict = match function {
                AtomicFunction::Load => region.read(word, by, reach.time),
                AtomicFunction::Update(function) if result.is_none() => {
                    region.update(word, by, function, reach.time)
                }
                _ => region.overwrite(word, by, reach.time),
            };
            if let Some(conflict) = conflict {
                faults.push(Fault::race(lane, word, conflict.text()));
            }
            if function != AtomicFunction::Store && region.is_unwritten(word) {
                faults.push(Fault {
                    kind: FindingKind::Unwritten,
                    lane,
                    word: word as i64,
                    detail: "nobody has written it".into(),
                });
            }
            let before = region.values[word];
            let mut after = [before];
            match function {
                AtomicFunction::Load => (),
                AtomicFunction::Update(function) => function.apply(&[before], &[value], &mut after),
                AtomicFunction::Store | AtomicFunction::Exchange => after = [value],
            }
            if function != AtomicFunction::Load {
                region.store(word, after[0]);
            }
            if let Some(result) = &mut result {
                result[lane] = before;
            }
        }
        if let (Some(to), Some(result)) = (to, result) {
            self.temporaries[to as usize] = result;
        }
        self.offsets = offsets;
        self.report_faults(memory, faults, at);
    }
}

impl Reach {
    /// Reads a word for an invocation, or for several that are recorded as `by`. Returns it, and
    /// whether somebody has written it.
    #[inline]
    fn load(
        &self,
        region: &mut Region,
        word: usize,
        (lane, by): (usize, u16),
        faults: &mut Vec<Fault>,
    ) -> (u32, bool) {
        if !self.contains(word, lane, faults) {
            return (0, true);
        }
        if self.is_recorded
            && let Some(conflict) = region.read(word, by, self.time)
        {
            faults.push(Fault::race(lane, word, conflict.text()));
        }
        (region.values[word], !region.is_unwritten(word))
    }

    #[inline]
    fn contains(&self, word: usize, lane: usize, faults: &mut Vec<Fault>) -> bool {
        let is_inside = self.range.contains(&word);
        if !is_inside {
            faults.push(Fault {
                kind: FindingKind::OutOfBounds,
                lane,
                word: word as i64,
                detail: format!("the tensor has {} elements", self.range.len()),
            });
        }
        is_inside
    }
}

impl Fault {
    fn race(lane: usize, word: usize, detail: String) -> Fault {
        Fault {
            kind: FindingKind::Race,
            lane,
            word: word as i64,
            detail,
        }
    }
}
