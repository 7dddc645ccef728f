//! Packing: a matrix is copied into panels of KC rows and a few columns, in the order in which the
//! microkernel reads them.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::View;
use crate::numeric::aligned::Aligned;

/// Block of the inner dimension: a panel of KC rows stays in the L1 cache while all rows of A are
/// multiplied with it.
pub const KC: usize = 256;
/// Elements of a cache line.
const LINE: usize = 16;
/// Elements whose packing is worth a task of its own.
const TASK: usize = 1 << 15;

/// An element of packed panels: of one row of the matrix, or of several that are multiplied
/// together.
pub trait PackedElement: Copy + Default + Send + Sync {
    /// Rows of the matrix in an element.
    const ROWS: usize;
}

impl PackedElement for f32 {
    const ROWS: usize = 1;
}

/// A matrix `[K, N]`, packed: in blocks of rows, each block in panels of `width` columns.
#[derive(Debug)]
pub struct Panels<E = f32> {
    /// Block by block, within a block from left to right: `[elements of the block, width]`, with
    /// zeros beyond the last column and the last row.
    panels: Vec<Aligned<E>>,
    /// N.
    pub(super) columns: usize,
    /// Columns of a panel: NR for a packed B, MR for a packed A.
    pub(super) width: usize,
}

impl Panels<f32> {
    /// Packs `b`; `None` if this machine has no fused multiply-add, which the microkernel needs.
    pub(super) fn pack_b(b: View<f32>) -> Option<Panels> {
        let width = nr()?;
        let panels = Panels::in_blocks(b, width, |panel, rows, columns| {
            copy_panel(panel, width, b, rows.start, columns);
        });
        Some(panels)
    }
}

impl<E: PackedElement> Panels<E> {
    /// Packs `b` in blocks of [`KC`] elements; see [`Panels::new`].
    pub(super) fn in_blocks(
        b: View<f32>,
        width: usize,
        fill: impl Fn(&mut [E], Range<usize>, Range<usize>) + Sync,
    ) -> Self {
        let rows = KC * E::ROWS;
        let firsts = (0..b.rows).step_by(rows);
        let blocks: Vec<_> = firsts
            .map(|first| first..(first + rows).min(b.rows))
            .collect();
        Panels::new(&blocks, b.columns, width, fill)
    }

    /// Packs a matrix of `columns` columns, in blocks of these rows. `fill` copies the columns in
    /// its second range of the rows in its first to a panel.
    pub(super) fn new(
        blocks: &[Range<usize>],
        columns: usize,
        width: usize,
        fill: impl Fn(&mut [E], Range<usize>, Range<usize>) + Sync,
    ) -> Self {
        let across = columns.div_ceil(width);
        let rows = blocks.first().map_or(1, |block| block.len().max(1));
        let panels_per_task = (TASK / (rows * width)).max(1);
        let panel = |index: usize| {
            let (rows, left) = (&blocks[index / across], index % across * width);
            let mut panel = Aligned::zeros(rows.len().div_ceil(E::ROWS) * width);
            fill(&mut panel, rows.clone(), left..(left + width).min(columns));
            panel
        };
        let all = 0..blocks.len() * across;
        let panels = if all.len() <= panels_per_task {
            all.map(panel).collect()
        } else {
            let tasks = all.into_par_iter().with_min_len(panels_per_task);
            tasks.map(panel).collect()
        };
        Panels {
            panels,
            columns,
            width,
        }
    }

    /// Number of panels of a block.
    pub(super) fn across(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// The panels of a block by its number, from left to right, each with the index of its first
    /// column.
    pub(super) fn block(&self, number: usize) -> impl Iterator<Item = (usize, &[E])> {
        let across = self.across();
        let panels = &self.panels[number * across..][..across];
        let lefts = (0..self.columns).step_by(self.width);
        lefts.zip(panels.iter().map(|panel| &**panel))
    }
}

/// NR on this machine; `None` without fused multiply-add, where products are those of
/// [`portable`](super::portable).
pub(super) fn nr() -> Option<usize> {
    let nr = 2 * pulp::Arch::new().dispatch(LaneCount);
    // An x86 CPU without AVX2 has no fused multiply-add, and pulp then uses no vectors.
    let fused = nr >= 16 || !cfg!(any(target_arch = "x86", target_arch = "x86_64"));
    fused.then_some(nr)
}

/// Reads the number of f32 lanes of a vector.
struct LaneCount;

impl WithSimd for LaneCount {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Copies the `columns` of `from`, from row `first` on, to a panel `[rows, width]`.
fn copy_panel(
    panel: &mut [f32],
    width: usize,
    from: View<f32>,
    first: usize,
    columns: Range<usize>,
) {
    if !from.transposed {
        for (k, to) in panel.chunks_exact_mut(width).enumerate() {
            let row = &from.values[(first + k) * from.stride..][columns.clone()];
            to[..row.len()].copy_from_slice(row);
        }
        return;
    }
    // A cache line of each stored row at a time.
    for (above, lines) in panel.chunks_mut(LINE * width).enumerate() {
        let rows = lines.len() / width;
        for (column, j) in columns.clone().enumerate() {
            let row = &from.values[j * from.stride + first + above * LINE..][..rows];
            let to = lines[column..].iter_mut().step_by(width);
            to.zip(row).for_each(|(to, &value)| *to = value);
        }
    }
}
