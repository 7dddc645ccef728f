//! Numbers that begin where a line of the cache does.

use std::ops::{Deref, DerefMut};

/// Bytes of a line, and of the widest vector.
const LINE: usize = 64;

/// Asks for numbers that are needed soon, so that nobody waits for them; where there is such an instruction.
#[inline(always)]
pub(crate) fn prefetch<R>(values: &[R]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(LINE / size_of::<R>()) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has it, and it changes nothing that a program sees, whatever the address.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Zeros at first, as many as were asked for. No vector of them lies across two lines, if it begins at a multiple of its size:
/// stores that do cost twice as much and more.
#[derive(Debug)]
pub(crate) struct Aligned<R> {
    values: Vec<R>,
    first: usize,
    len: usize,
}

impl<R: Copy + Default> Aligned<R> {
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
