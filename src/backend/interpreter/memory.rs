//! Memory that invocations share, with a record of who has accessed each word.

use super::arithmetic::BinaryFunction;

/// In place of an invocation: several have read the word.
pub(super) const SEVERAL: u16 = u16::MAX;

/// The first number that stands for an atomic function instead of an invocation: updates by the
/// same function may be in any order.
const FUNCTIONS: u16 = 0xf000;

/// The times from which on accesses count as concurrent. Time advances with each barrier, workgroup
/// and dispatch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Interval {
    /// The beginning of the dispatch: no barrier orders its workgroups.
    pub dispatch: u32,
    /// The beginning of the workgroup, which runs after the others here.
    pub workgroup: u32,
    /// The last barrier of the workgroup.
    pub barrier: u32,
}

/// The last accesses of a word.
#[derive(Debug, Clone, Copy, Default)]
struct Accesses {
    written: u32,
    read: u32,
    /// The last read by another workgroup than the last reader's.
    read_before: u32,
    writer: u16,
    reader: u16,
}

/// An earlier access with which another one races.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    /// A write by this invocation of the same workgroup.
    Written(u16),
    /// A read by this invocation of the same workgroup, or by several.
    Read(u16),
    WrittenByOtherWorkgroup,
    ReadByOtherWorkgroup,
}

impl Conflict {
    /// The earlier access as a clause.
    pub(super) fn text(self) -> String {
        match self {
            Conflict::Written(by) if by >= FUNCTIONS => {
                "an atomic operation whose order matters follows another without a barrier between"
                    .into()
            }
            Conflict::Written(by) => {
                format!("invocation {by} has written it and no barrier is between")
            }
            Conflict::Read(SEVERAL) => {
                "several invocations have read it and no barrier is between".into()
            }
            Conflict::Read(by) => format!("invocation {by} has read it and no barrier is between"),
            Conflict::WrittenByOtherWorkgroup => {
                "another workgroup of the dispatch writes it".into()
            }
            Conflict::ReadByOtherWorkgroup => "another workgroup of the dispatch reads it".into(),
        }
    }
}

/// A buffer or the memory of a workgroup.
#[derive(Debug, Default)]
pub(super) struct Region {
    pub(super) values: Vec<u32>,
    /// For each word whether nobody has written it; empty if all are written.
    unwritten: Vec<bool>,
    /// Empty until a dispatch binds the region for writing.
    accesses: Vec<Accesses>,
}

impl Region {
    /// A region of zeros, which count as written.
    pub(super) fn zeros(len: usize) -> Region {
        Region {
            values: vec![0; len],
            ..Region::default()
        }
    }

    /// Marks words as written by nobody.
    pub(super) fn poison(&mut self, words: std::ops::Range<usize>) {
        self.unwritten.resize(self.values.len(), false);
        self.unwritten[words].fill(true);
    }

    /// Copies values, which count as written.
    pub(super) fn write(&mut self, first: usize, values: &[u32]) {
        self.restore(first, values);
        if !self.unwritten.is_empty() {
            self.unwritten[first..first + values.len()].fill(false);
        }
    }

    /// Copies values; words that nobody has written stay so.
    pub(super) fn restore(&mut self, first: usize, values: &[u32]) {
        self.values[first..first + values.len()].copy_from_slice(values);
    }

    /// Begins to record accesses.
    pub(super) fn record_accesses(&mut self) {
        self.accesses.resize(self.values.len(), Accesses::default());
    }

    pub(super) fn is_unwritten(&self, word: usize) -> bool {
        self.unwritten.get(word).is_some_and(|&unwritten| unwritten)
    }

    pub(super) fn store(&mut self, word: usize, value: u32) {
        self.values[word] = value;
        if let Some(unwritten) = self.unwritten.get_mut(word) {
            *unwritten = false;
        }
    }

    /// Records a read, and returns the access with which it races.
    #[inline]
    pub(super) fn read(&mut self, word: usize, by: u16, now: Interval) -> Option<Conflict> {
        let accesses = &mut self.accesses[word];
        let conflict = accesses.conflict_with_write(by, now);
        accesses.note_read(by, now);
        conflict
    }

    /// Records a write, and returns the access with which it races.
    pub(super) fn overwrite(&mut self, word: usize, by: u16, now: Interval) -> Option<Conflict> {
        let accesses = &mut self.accesses[word];
        let conflict = accesses.conflict_with_write(by, now);
        let conflict = conflict.or_else(|| accesses.conflict_with_read(by, now));
        (accesses.written, accesses.writer) = (now.barrier, by);
        conflict
    }

    /// Records an atomic update whose result is not used, and returns the access with which its
    /// order matters.
    pub(super) fn update(
        &mut self,
        word: usize,
        by: u16,
        function: BinaryFunction,
        now: Interval,
    ) -> Option<Conflict> {
        let function = FUNCTIONS + function as u16;
        let accesses = &mut self.accesses[word];
        let same = accesses.writer == function;
        let conflict = accesses.conflict_with_write(by, now).filter(|_| !same);
        let conflict = conflict.or_else(|| accesses.conflict_with_read(by, now));
        // An update after the invocation's own store is ordered for that invocation alone.
        let after_own = accesses.written == now.barrier && accesses.writer == by;
        accesses.written = now.barrier;
        accesses.writer = if after_own { by } else { function };
        conflict
    }
}

impl Accesses {
    #[inline]
    fn conflict_with_write(&self, by: u16, now: Interval) -> Option<Conflict> {
        if self.written < now.dispatch {
            None
        } else if self.written < now.workgroup {
            Some(Conflict::WrittenByOtherWorkgroup)
        } else if self.written >= now.barrier && self.writer != by {
            Some(Conflict::Written(self.writer))
        } else {
            None
        }
    }

    fn conflict_with_read(&self, by: u16, now: Interval) -> Option<Conflict> {
        let others = [self.read, self.read_before];
        if others
            .iter()
            .any(|&read| (now.dispatch..now.workgroup).contains(&read))
        {
            Some(Conflict::ReadByOtherWorkgroup)
        } else if self.read >= now.barrier && self.reader != by {
            Some(Conflict::Read(self.reader))
        } else {
            None
        }
    }

    #[inline]
    fn note_read(&mut self, by: u16, now: Interval) {
        if self.read == now.barrier {
            if self.reader != by {
                self.reader = SEVERAL;
            }
            return;
        }
        if self.read < now.workgroup {
            self.read_before = self.read;
        }
        (self.read, self.reader) = (now.barrier, by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Interval = Interval {
        dispatch: 1,
        workgroup: 1,
        barrier: 1,
    };
    const AFTER_BARRIER: Interval = Interval {
        barrier: 2,
        ..FIRST
    };
    const NEXT_WORKGROUP: Interval = Interval {
        workgroup: 3,
        barrier: 3,
        ..FIRST
    };
    const NEXT_DISPATCH: Interval = Interval {
        dispatch: 4,
        workgroup: 4,
        barrier: 4,
    };

    fn region() -> Region {
        let mut region = Region::zeros(1);
        region.record_accesses();
        region
    }

    #[test]
    fn a_write_races_with_other_invocations_until_a_barrier() {
        let mut region = region();
        assert_eq!(region.overwrite(0, 3, FIRST), None);
        assert_eq!(region.read(0, 3, FIRST), None);
        assert_eq!(region.read(0, 4, FIRST), Some(Conflict::Written(3)));
        assert_eq!(region.read(0, 4, AFTER_BARRIER), None);
        let conflict = region.overwrite(0, 5, AFTER_BARRIER);
        assert_eq!(conflict, Some(Conflict::Read(4)));
    }

    #[test]
    fn no_barrier_orders_workgroups_of_a_dispatch() {
        let mut region = region();
        assert_eq!(region.read(0, 0, FIRST), None);
        assert_eq!(region.read(0, 0, NEXT_WORKGROUP), None);
        let conflict = region.overwrite(0, 0, NEXT_WORKGROUP);
        assert_eq!(conflict, Some(Conflict::ReadByOtherWorkgroup));
        assert_eq!(region.read(0, 7, NEXT_DISPATCH), None);
    }

    #[test]
    fn atomic_updates_by_one_function_are_in_any_order() {
        let mut region = region();
        assert_eq!(region.update(0, 0, BinaryFunction::Add, FIRST), None);
        assert_eq!(region.update(0, 1, BinaryFunction::Add, FIRST), None);
        assert!(region.update(0, 1, BinaryFunction::Max, FIRST).is_some());
        assert!(region.read(0, 1, FIRST).is_some());
        assert_eq!(region.read(0, 1, AFTER_BARRIER), None);
    }

    #[test]
    fn writing_ends_poison_and_restoring_does_not() {
        let mut region = Region::zeros(2);
        region.poison(0..2);
        region.restore(0, &[1, 2]);
        assert!(region.is_unwritten(0) && region.is_unwritten(1));
        region.write(0, &[1]);
        region.store(1, 5);
        assert!(!region.is_unwritten(0) && !region.is_unwritten(1));
        assert_eq!(region.values, [1, 5]);
    }
}
