//! Vectors aligned to cache lines, and prefetching.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector register.
const LINE: usize = 64;

/// Requests that `values` be loaded into the cache, on CPUs with such an instruction.
#[inline(always)]
pub(crate) fn prefetch<R>(values: &[R]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(LINE / size_of::<R>()) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 CPU has the instruction, and it has no visible effect at any
        // address.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Whether the first value is at the beginning of a cache line.
pub(crate) fn is_aligned<R>(values: &[R]) -> bool {
    values.as_ptr().addr().is_multiple_of(LINE)
}

/// A vector of fixed length whose first element is aligned to a cache line. Vector accesses at
/// multiples of the vector's size then stay within one line; a store across two lines takes at
/// least twice as long.
#[derive(Debug)]
pub(crate) struct Aligned<R> {
    values: Vec<R>,
    first: usize,
    len: usize,
}

impl<R: Copy + Default> Aligned<R> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let spare = LINE / size_of::<R>().max(1);
        let values = vec![R::default(); len + spare];
        let first = values.as_ptr().align_offset(LINE).min(spare);
        Aligned { values, first, len }
    }
}

impl<R> Deref for Aligned<R> {
    type Target = [R];
    fn deref(&self) -> &[R] {
        &self.values[self.first..self.first + self.len]
    }
}

impl<R> DerefMut for Aligned<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.values[self.first..self.first + self.len]
    }
}
