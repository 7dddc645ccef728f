//! Sets of invocations of a workgroup.

use std::ops::Range;

/// Words of a mask.
const WORDS: usize = 16;

/// The largest number of invocations of a workgroup.
pub(super) const MOST_INVOCATIONS: usize = 64 * WORDS;

/// A set of invocations of a workgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mask {
    bits: [u64; WORDS],
}

impl Mask {
    /// No invocation.
    pub(super) const NONE: Mask = Mask { bits: [0; WORDS] };

    /// The invocations below `count`.
    pub(super) fn first(count: usize) -> Mask {
        Mask::from_fn(0..count, |_| true)
    }

    /// The invocations of `range` that satisfy the predicate.
    pub(super) fn from_fn(range: Range<usize>, predicate: impl Fn(usize) -> bool) -> Mask {
        let mut mask = Mask::NONE;
        for lane in range {
            mask.bits[lane / 64] |= u64::from(predicate(lane)) << (lane % 64);
        }
        mask
    }

    pub(super) fn contains(&self, lane: usize) -> bool {
        self.bits[lane / 64] >> (lane % 64) & 1 != 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bits == [0; WORDS]
    }

    fn combine(self, other: Mask, function: impl Fn(u64, u64) -> u64) -> Mask {
        let mut bits = self.bits;
        for (own, other) in bits.iter_mut().zip(other.bits) {
            *own = function(*own, other);
        }
        Mask { bits }
    }

    pub(super) fn and(self, other: Mask) -> Mask {
        self.combine(other, |a, b| a & b)
    }

    pub(super) fn or(self, other: Mask) -> Mask {
        self.combine(other, |a, b| a | b)
    }

    pub(super) fn without(self, other: Mask) -> Mask {
        self.combine(other, |a, b| a & !b)
    }

    /// The smallest range that contains all invocations of the set.
    pub(super) fn range(&self) -> Range<usize> {
        let first = self.bits.iter().position(|&word| word != 0);
        let last = self.bits.iter().rposition(|&word| word != 0);
        match (first, last) {
            (Some(first), Some(last)) => {
                let begin = 64 * first + self.bits[first].trailing_zeros() as usize;
                begin..64 * last + 64 - self.bits[last].leading_zeros() as usize
            }
            _ => 0..0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bits
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// The invocations in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let lanes = self.range();
        lanes.filter(|&lane| self.contains(lane))
    }
}
