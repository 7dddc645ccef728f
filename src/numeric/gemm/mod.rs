//! Matrix multiplication on the CPU.
//!
//! Three kinds are computed, with the blocking and the names of BLIS (Van Zee & van de Geijn,
//! "BLIS: A Framework for Rapidly Instantiating BLAS Functionality", ACM TOMS 41, 2015):
//!
//! - Products of many rows (A, the inputs of all time steps, or the states of a tile of sequences)
//!   with the same matrix (B, the weights). [`PackedB`] packs B into [`panel`]s once, and the
//!   [`macrokernel`] multiplies with them, in f32 with fused multiply-adds. A is not packed.
//! - The gradients of weights are sums over time steps, `c = a^T b`, of which padded steps are left
//!   out. [`time_sums`] computes the sums that share `a` together, since to read it costs as much
//!   as a small product.
//! - With [`Precision::Bf16`] both kinds round their operands to bf16 and sum in f32: [`bf16`].
//! - Products of f64, and of f32 on machines without a fused multiply-add, are [`portable`].
//!
//! | name | meaning |
//! |---|---|
//! | M, N, K | rows of A and C; columns of B and C; the inner dimension |
//! | MR x NR | the tile of C whose sums the [`microkernel`] keeps in registers; NR is two vectors |
//! | KC | block of the inner dimension: a panel of B of KC x NR elements stays in the L1 cache |
//! | NC | columns of a block of C that one task computes |
//!
//! The order of additions depends on the sizes alone and never on the number of threads, so results
//! have the same bits on any number of cores.

mod bf16;
mod macrokernel;
mod microkernel;
mod panel;
mod portable;
#[cfg(test)]
mod tests;
mod time_sums;
mod view;

pub use bf16::has_bf16;
pub use panel::KC;
pub use portable::PortablePanels;
pub use time_sums::{ColumnSums, RowBlocks, TimeSum, TimeSums};
pub use view::View;

use crate::numeric::precision::Precision;
use bf16::Bf16Pair;
use panel::Panels;

/// Matrix multiplication of an element type.
pub trait Matmul: Copy + Default {
    /// B packed into panels.
    type Panels: MultiplyPanels<Self> + std::fmt::Debug + Send + Sync;

    /// Computes `c = a @ b`, or `c += a @ b` if `accumulate`, on this thread. The rows of `c`,
    /// `[M, N]`, are stored `stride` apart.
    fn matmul(a: View<Self>, b: View<Self>, c: &mut [Self], stride: usize, accumulate: bool);

    /// Whether this machine computes with the precision.
    fn supports(_: Precision) -> bool {
        true
    }

    /// Packs `b` into panels; `None` if that does not pay for this type or on this machine. A type
    /// that rounds operands to `precision` always packs.
    fn pack(b: View<Self>, precision: Precision) -> Option<Self::Panels>;

    /// Computes `sums` together on several threads and returns true; or returns false, with nothing
    /// written, if that does not pay for this type or on this machine.
    fn try_time_sums(sums: TimeSums<Self>) -> bool;
}

/// Multiplication with a packed B.
pub trait MultiplyPanels<R> {
    /// Computes `c = addend + a @ b`; `a` is not transposed.
    fn matmul(&self, a: View<R>, addend: Addend<R>, c: &mut [R], stride: usize);
}

/// B of f32 products, packed.
#[derive(Debug)]
pub enum SinglePanels {
    F32(Panels<f32>),
    Bf16(Panels<Bf16Pair>),
}

impl MultiplyPanels<f32> for SinglePanels {
    fn matmul(&self, a: View<f32>, addend: Addend<f32>, c: &mut [f32], stride: usize) {
        match self {
            SinglePanels::F32(panels) => panels.matmul(a, addend, c, stride),
            SinglePanels::Bf16(panels) => panels.matmul(a, addend, c, stride),
        }
    }
}

impl Matmul for f32 {
    type Panels = SinglePanels;

    fn supports(precision: Precision) -> bool {
        precision.is_supported()
    }

    fn matmul(a: View<f32>, b: View<f32>, c: &mut [f32], stride: usize, accumulate: bool) {
        portable::matmul(a, b, c, stride, accumulate);
    }

    fn pack(b: View<f32>, precision: Precision) -> Option<SinglePanels> {
        match precision {
            Precision::F32 => Panels::<f32>::pack_b(b).map(SinglePanels::F32),
            Precision::Bf16 => Some(SinglePanels::Bf16(Panels::<Bf16Pair>::pack_b(b))),
        }
    }

    fn try_time_sums(sums: TimeSums<f32>) -> bool {
        match sums.precision {
            Precision::F32 => time_sums::try_time_sums(sums),
            Precision::Bf16 => bf16::time_sums(sums),
        }
    }
}

impl Matmul for f64 {
    type Panels = PortablePanels<f64>;

    fn matmul(a: View<f64>, b: View<f64>, c: &mut [f64], stride: usize, accumulate: bool) {
        portable::matmul(a, b, c, stride, accumulate);
    }

    fn pack(b: View<f64>, _: Precision) -> Option<PortablePanels<f64>> {
        Some(PortablePanels::pack(b))
    }

    fn try_time_sums(_: TimeSums<f64>) -> bool {
        false
    }
}

/// The right-hand matrix B, `[K, N]`, of many products; packed if that pays.
#[derive(Debug)]
pub struct PackedB<'a, R: Matmul> {
    matrix: View<'a, R>,
    precision: Precision,
    panels: Option<R::Panels>,
}

impl<'a, R: Matmul> PackedB<'a, R> {
    /// Packs `matrix` if that pays, for products of this precision.
    pub fn new(matrix: View<'a, R>, precision: Precision) -> Self {
        PackedB {
            matrix,
            precision,
            panels: R::pack(matrix, precision),
        }
    }

    /// Whether the matrix is packed. A row of a product then has the same bits whatever the other
    /// rows are.
    pub fn is_packed(&self) -> bool {
        self.panels.is_some()
    }

    /// Computes `c = addend + a @ b`. The rows of `c`, `[M, N]`, are stored `stride` apart.
    pub fn matmul(&self, a: View<R>, addend: Addend<R>, c: &mut [R], stride: usize) {
        match &self.panels {
            Some(panels) if !a.transposed => panels.matmul(a, addend, c, stride),
            // Panels of such a precision round the other operand too.
            Some(panels) if self.precision != Precision::F32 => {
                let copy = a.to_rows();
                let rows = View::new(&copy, a.rows, a.columns, a.columns);
                panels.matmul(rows, addend, c, stride);
            }
            _ => {
                addend.write(c, self.matrix.columns, stride);
                R::matmul(a, self.matrix, c, stride, true);
            }
        }
    }
}

/// What a product is added to: `c = addend + a @ b`.
#[derive(Debug, Clone, Copy)]
pub enum Addend<'a, R> {
    /// The contents of `c`.
    C,
    /// The same `[N]` values in every row of `c`.
    Bias(&'a [R]),
    Zero,
}

impl<'a, R: Copy + Default> Addend<'a, R> {
    /// The bias, or zero without one.
    pub fn bias(bias: Option<&'a [R]>) -> Self {
        bias.map_or(Addend::Zero, Addend::Bias)
    }

    /// Writes the addend to the first `columns` elements of the rows of `c`.
    pub fn write(self, c: &mut [R], columns: usize, stride: usize) {
        let rows = c.chunks_mut(stride).map(|row| &mut row[..columns]);
        match self {
            Addend::C => {}
            Addend::Bias(bias) => rows.for_each(|row| row.copy_from_slice(bias)),
            Addend::Zero => rows.for_each(|row| row.fill(R::default())),
        }
    }
}
