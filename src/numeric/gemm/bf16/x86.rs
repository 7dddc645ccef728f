//! The instructions AVX512-BF16 of x86 processors.
//!
//! They treat subnormal operands and results as 0, and round to the nearest, ties to even,
//! whatever the mode of the thread is.

use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_cvtepu16_epi32,
    _mm512_cvtne2ps_pbh, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_epi32, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_or_si512,
    _mm512_set1_epi32, _mm512_setzero_ps, _mm512_slli_epi32,
};
use std::mem::transmute;
use std::ops::Range;

use super::{Bf16Pair, MR, NR, PairsOfA, RowsOfA};
use crate::numeric::gemm::microkernel::TileOutput;
use crate::numeric::gemm::{Addend, View};

/// Elements of a vector of f32.
const LANES: usize = 16;

/// The unit for bf16; a value of it proves that the processor has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bf16Unit(());

impl Bf16Unit {
    /// Returns the unit, if this processor has one.
    #[inline]
    pub fn detect() -> Option<Bf16Unit> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16");
        has.then_some(Bf16Unit(()))
    }

    /// Rounds a row and packs its neighbours: `to` has half as many pairs, rounded up.
    pub fn pair_up(self, row: &[f32], to: &mut [Bf16Pair]) {
        assert_eq!(to.len(), row.len().div_ceil(2));
        // SAFETY: `self` proves that the processor has the instructions.
        #[allow(unsafe_code)]
        unsafe {
            pair_up(row, to);
        }
    }

    /// Rounds the given rows of `columns` and packs elements of the same column in two rows into a
    /// panel `[pairs, WIDTH]`, whose elements beyond the columns stay as they are. A last row
    /// without another is packed with 0.
    pub fn copy_rows<const WIDTH: usize>(
        self,
        from: View<f32>,
        rows: &[usize],
        columns: Range<usize>,
        panel: &mut [Bf16Pair],
    ) {
        // SAFETY: `self` proves that the processor has the instructions.
        #[allow(unsafe_code)]
        unsafe {
            copy_rows::<WIDTH>(from, rows, columns, panel);
        }
    }

    /// Computes `c = addend + a @ b` for `count` rows of A, which is 1, 2, 4 or 8, and a panel of
    /// B, `[pairs, NR]`.
    pub fn multiply(
        self,
        count: usize,
        a: PairsOfA,
        panel: &[Bf16Pair],
        output: TileOutput,
        c: &mut [f32],
    ) {
        let tile = match (count, a.stored) {
            (1, RowsOfA::Rows { .. }) => multiply::<1, false>,
            (2, RowsOfA::Rows { .. }) => multiply::<2, false>,
            (4, RowsOfA::Rows { .. }) => multiply::<4, false>,
            (8, RowsOfA::Rows { .. }) => multiply::<8, false>,
            (4, RowsOfA::Panel) => multiply::<4, true>,
            (8, RowsOfA::Panel) => multiply::<8, true>,
            _ => unreachable!("tiles have no {count} rows"),
        };
        // SAFETY: `self` proves that the processor has the instructions.
        #[allow(unsafe_code)]
        unsafe {
            tile(a, panel, output, c);
        }
    }
}

/// The lowest `count` lanes.
fn first_lanes(count: usize) -> u16 {
    if count >= LANES {
        u16::MAX
    } else {
        (1 << count) - 1
    }
}

/// Loads the first 16 elements; missing ones are 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn load(values: &[f32]) -> __m512 {
    // SAFETY: lanes without an element are masked, and masked lanes are not read.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_maskz_loadu_ps(first_lanes(values.len()), values.as_ptr())
    }
}

/// Stores as many pairs as `to` has, at most 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn store(to: &mut [Bf16Pair], pairs: __m512i) {
    // SAFETY: lanes without an element are masked, and masked lanes are not written. A pair is a
    // transparent u32.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_mask_storeu_epi32(to.as_mut_ptr().cast(), first_lanes(to.len()), pairs);
    }
}

/// The vector's bits as pairs, of which an instruction multiplies each with another pair.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn as_bf16(pairs: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, of which all are allowed.
    #[allow(unsafe_code)]
    unsafe {
        transmute::<__m512i, __m512bh>(pairs)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pair_up(row: &[f32], to: &mut [Bf16Pair]) {
    for (from, to) in row.chunks(2 * LANES).zip(to.chunks_mut(LANES)) {
        let (lower, upper) = from.split_at(from.len().min(LANES));
        let rounded = _mm512_cvtne2ps_pbh(load(upper), load(lower));
        // SAFETY: both are 512 bits, of which all are allowed.
        #[allow(unsafe_code)]
        let pairs = unsafe { transmute::<__m512bh, __m512i>(rounded) };
        store(to, pairs);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn copy_rows<const WIDTH: usize>(
    from: View<f32>,
    rows: &[usize],
    columns: Range<usize>,
    panel: &mut [Bf16Pair],
) {
    let row = |k: usize| &from.values[k * from.stride..][columns.clone()];
    for (to, rows) in panel.chunks_exact_mut(WIDTH).zip(rows.chunks(2)) {
        let lower = row(rows[0]);
        let upper = rows.get(1).map_or(&[][..], |&k| row(k));
        // Two calls, so that the masks of a whole panel are constants.
        match (
            <&[f32; WIDTH]>::try_from(lower),
            <&[f32; WIDTH]>::try_from(upper),
        ) {
            (Ok(lower), Ok(upper)) => interleave(lower, upper, to),
            _ => interleave(lower, upper, &mut to[..columns.len()]),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn interleave(lower: &[f32], upper: &[f32], to: &mut [Bf16Pair]) {
    for (number, to) in to.chunks_mut(LANES).enumerate() {
        let [lower, upper] = [lower, upper].map(|row| {
            let row = row.get(number * LANES..).unwrap_or(&[]);
            // SAFETY: both are 256 bits, of which all are allowed.
            #[allow(unsafe_code)]
            let rounded = unsafe { transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(load(row))) };
            _mm512_cvtepu16_epi32(rounded)
        });
        let pairs = _mm512_or_si512(lower, _mm512_slli_epi32::<16>(upper));
        store(to, pairs);
    }
}

/// [`Bf16Unit::multiply`] of ROWS rows. The sums stay in registers, since all loops over rows are
/// unrolled.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn multiply<const ROWS: usize, const PANEL: bool>(
    a: PairsOfA,
    panel: &[Bf16Pair],
    output: TileOutput,
    c: &mut [f32],
) {
    let panel = panel.as_chunks::<NR>().0;
    // Constants where they can be, so that the compiler computes few addresses.
    let row = match a.stored {
        RowsOfA::Rows { stride } if !PANEL => stride,
        _ => 1,
    };
    let column = if PANEL { MR } else { 1 };
    assert!(panel.is_empty() || (ROWS - 1) * row + (panel.len() - 1) * column < a.pairs.len());
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (p, b) in panel.iter().enumerate() {
        // SAFETY: `b` has 32 pairs of 4 bytes.
        #[allow(unsafe_code)]
        let [left, right] =
            [0, LANES].map(|at| as_bf16(unsafe { _mm512_loadu_si512(b.as_ptr().add(at).cast()) }));
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the largest index was checked before the loop.
            #[allow(unsafe_code)]
            let pair = unsafe { a.pairs.get_unchecked(i * row + p * column) };
            let factor = as_bf16(_mm512_set1_epi32(pair.0.cast_signed()));
            sums[0] = _mm512_dpbf16_ps(sums[0], factor, left);
            sums[1] = _mm512_dpbf16_ps(sums[1], factor, right);
        }
    }
    for (i, sums) in sums.into_iter().enumerate() {
        let c = &mut c[i * output.stride..][..output.width];
        let (left, right) = c.split_at_mut(LANES.min(output.width));
        for (at, c, sum) in [(0, left, sums[0]), (LANES, right, sums[1])] {
            if !c.is_empty() {
                write(output.addend, at, sum, c);
            }
        }
    }
}

/// Writes the sum of `sum` and the addend's elements from column `at` on to the elements of `c`, at
/// most 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn write(addend: Addend<f32>, at: usize, sum: __m512, c: &mut [f32]) {
    let addend = match addend {
        Addend::C => load(c),
        Addend::Bias(bias) => load(&bias[at..at + c.len()]),
        Addend::Zero => _mm512_setzero_ps(),
    };
    // SAFETY: lanes without an element are masked, and masked lanes are not written.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_mask_storeu_ps(
            c.as_mut_ptr(),
            first_lanes(c.len()),
            _mm512_add_ps(addend, sum),
        );
    }
}
