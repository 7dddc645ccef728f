//! Products of operands that are rounded to bf16, with sums in f32.
//!
//! Two neighbours along the inner dimension are packed into one [`Bf16Pair`], which an instruction
//! multiplies with another pair: AVX512-BF16 adds both products to a sum in f32 (Intel,
//! "Intel Architecture Instruction Set Extensions Programming Reference", VDPBF16PS). Blocking and
//! names are those of [`super`]; a missing last row of a pair is 0.

#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(not(target_arch = "x86_64"))]
mod no_x86;
#[cfg(not(target_arch = "x86_64"))]
use no_x86 as x86;

use std::ops::Range;

use super::microkernel::{MR, TileOutput};
use super::panel::{KC, PackedElement, Panels};
use super::time_sums::{NC, SummedElement, TimeSumTask, time_sums as packed_time_sums};
use super::{Addend, MultiplyPanels, TimeSum, TimeSums, View};
use crate::numeric::aligned::{Aligned, prefetch};
use x86::Bf16Unit;

/// NR: two vectors of 16 sums.
const NR: usize = 32;

/// Elements of rows k and k+1, in the lower and the upper half, as bf16.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16Pair(u32);

impl PackedElement for Bf16Pair {
    const ROWS: usize = 2;
}

/// Whether this machine's processor multiplies in bf16.
pub fn has_bf16() -> bool {
    Bf16Unit::detect().is_some()
}

/// Returns the processor's unit for bf16.
///
/// # Panics
/// If there is none. Executors refuse the precision then, before anything is computed.
fn unit() -> Bf16Unit {
    Bf16Unit::detect().expect("executors refuse bf16 on a processor without it")
}

/// How the rows of a packed A are stored.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
enum RowsOfA {
    /// Row by row, with this number of pairs from one row to the next.
    Rows { stride: usize },
    /// Column by column, MR pairs each.
    Panel,
}

/// The pairs of some rows of A.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
struct PairsOfA<'a> {
    pairs: &'a [Bf16Pair],
    stored: RowsOfA,
}

impl Panels<Bf16Pair> {
    /// Packs `b`, rounded.
    pub(super) fn pack_b(b: View<f32>) -> Self {
        let unit = unit();
        Panels::in_blocks(b, NR, |panel, rows, columns| {
            if b.transposed {
                copy_stored_columns(unit, b, rows, columns, panel);
            } else {
                let rows: Vec<usize> = rows.collect();
                Bf16Pair::copy_rows::<NR>(b, &rows, columns, panel);
            }
        })
    }
}

/// Copies the given rows of the `columns` of a transposed matrix, whose columns are contiguous, to
/// a panel `[pairs, NR]`.
fn copy_stored_columns(
    unit: Bf16Unit,
    from: View<f32>,
    rows: Range<usize>,
    columns: Range<usize>,
    panel: &mut [Bf16Pair],
) {
    let mut pairs = [Bf16Pair::default(); KC];
    let pairs = &mut pairs[..panel.len() / NR];
    for (column, j) in columns.enumerate() {
        unit.pair_up(&from.values[j * from.stride..][rows.clone()], pairs);
        let to = panel[column..].iter_mut().step_by(NR);
        to.zip(&*pairs).for_each(|(to, &pair)| *to = pair);
    }
}

impl MultiplyPanels<f32> for Panels<Bf16Pair> {
    /// Computes the products block by block along the inner dimension, panel by panel of B, with up
    /// to MR rows of A. The bits of a row do not depend on the other rows.
    fn matmul(&self, a: View<f32>, addend: Addend<f32>, c: &mut [f32], stride: usize) {
        if a.columns == 0 {
            return addend.write(c, self.columns, stride);
        }
        let unit = unit();
        let stride_of_a = a.columns.div_ceil(2);
        let mut rounded = Aligned::zeros(a.rows * stride_of_a);
        for (i, pairs) in rounded.chunks_exact_mut(stride_of_a).enumerate() {
            unit.pair_up(&a.values[i * a.stride..][..a.columns], pairs);
        }
        for first in (0..stride_of_a).step_by(KC) {
            for (left, panel) in self.block(first / KC) {
                let output = TileOutput {
                    width: NR.min(self.columns - left),
                    addend: addend.of_block(first, left),
                    stride,
                };
                let mut row = 0;
                while row < a.rows {
                    let rows = PairsOfA {
                        pairs: &rounded[row * stride_of_a + first..],
                        stored: RowsOfA::Rows {
                            stride: stride_of_a,
                        },
                    };
                    let count = match a.rows - row {
                        1 => 1,
                        2 | 3 => 2,
                        4..8 => 4,
                        _ => 8,
                    };
                    unit.multiply(count, rows, panel, output, &mut c[row * stride + left..]);
                    row += count;
                }
            }
        }
    }
}

/// Computes [`Matmul::try_time_sums`](super::Matmul::try_time_sums) with rounded operands.
pub(super) fn time_sums(sums: TimeSums<f32>) -> bool {
    let copy = |view: View<f32>| view.transposed.then(|| view.to_rows());
    let a_copy = copy(sums.a);
    let b_copies: Vec<_> = sums.products.iter().map(|sum| copy(sum.b)).collect();
    let products = sums.products.into_iter().zip(&b_copies);
    packed_time_sums::<Bf16Pair>(TimeSums {
        a: not_transposed(sums.a, a_copy.as_deref()),
        rows: sums.rows,
        products: products
            .map(|(sum, copy)| TimeSum {
                b: not_transposed(sum.b, copy.as_deref()),
                addend: sum.addend,
                c: sum.c,
                stride: sum.stride,
            })
            .collect(),
        columns: sums.columns,
        precision: sums.precision,
    });
    true
}

/// Returns `view`, or its copy by rows if there is one.
fn not_transposed<'a>(view: View<'a, f32>, copy: Option<&'a [f32]>) -> View<'a, f32> {
    match copy {
        Some(values) => View::new(values, view.rows, view.columns, view.columns),
        None => view,
    }
}

impl SummedElement for Bf16Pair {
    fn copy_rows<const WIDTH: usize>(
        from: View<f32>,
        rows: &[usize],
        columns: Range<usize>,
        panel: &mut [Bf16Pair],
    ) {
        unit().copy_rows::<WIDTH>(from, rows, columns, panel);
    }

    fn run(task: TimeSumTask<Bf16Pair>, mut sums: Aligned<f32>) -> Aligned<f32> {
        let a = task.a;
        let (products, column_sums) = task.split(&mut sums);
        let mut packed = Aligned::zeros(task.rows.longest().div_ceil(2) * NC);
        for (number, rows) in task.rows.iter().enumerate() {
            let strips = packed.chunks_exact_mut(rows.len().div_ceil(2) * NR);
            let strips = strips.zip((0..a.columns).step_by(NR));
            for (strip, left) in strips {
                let columns = left..(left + NR).min(a.columns);
                Bf16Pair::copy_rows::<NR>(a, rows, columns, strip);
            }
            add_block(&task, (number, rows.len()), &packed, products);
            if !column_sums.is_empty() {
                add_columns(a, rows, column_sums);
            }
        }
        sums
    }
}

/// Adds the products of a block by its number, of so many rows, whose strips of NR columns of `a`
/// are packed one after another.
fn add_block(
    task: &TimeSumTask<Bf16Pair>,
    (number, rows): (usize, usize),
    packed: &[Bf16Pair],
    products: &mut [f32],
) {
    let unit = unit();
    let a = task.a;
    // While panels are multiplied, the rows of the next block are prefetched, a few per strip.
    let mut prefetched = task.next_rows(number, a.columns.div_ceil(NR));
    let sums = products.chunks_exact_mut(MR * NC);
    for (sums, (columns, skip, panel)) in sums.zip(task.panels_of(number)) {
        let skip = skip / 2;
        let factor = PairsOfA {
            pairs: &panel[skip * MR..],
            stored: RowsOfA::Panel,
        };
        let strips = packed.chunks_exact(rows.div_ceil(2) * NR);
        for (strip, left) in strips.zip((0..a.columns).step_by(NR)) {
            for &k in prefetched.next().unwrap_or(&[]) {
                prefetch(&a.values[k * a.stride..][..a.columns]);
            }
            let output = TileOutput {
                width: NR.min(a.columns - left),
                addend: Addend::C,
                stride: NC,
            };
            let height = if columns > MR / 2 { MR } else { MR / 2 };
            let strip = &strip[skip * NR..];
            unit.multiply(height, factor, strip, output, &mut sums[left..]);
        }
    }
}

/// Adds the sums of the columns of a block's rows of `a`, in f32: the bits are those of sums that
/// are computed alone.
fn add_columns(a: View<f32>, rows: &[usize], sums: &mut [f32]) {
    let mut block = [0.0; NC];
    for &k in rows {
        let row = &a.values[k * a.stride..][..a.columns];
        block.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += x);
}
