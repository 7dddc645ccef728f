//! The macrokernel: multiplies the rows of an unpacked A with the panels of a packed B.

use pulp::{Simd, WithSimd};

use super::microkernel::{Microtile, Mr1, Mr2, Mr4, Mr8, TileOutput, UnpackedA};
use super::panel::{KC, Panels};
use super::{Addend, MultiplyPanels, View};
use crate::numeric::real::Lanes;
use crate::numeric::vector::Vector;

impl MultiplyPanels<f32> for Panels<f32> {
    fn matmul(&self, a: View<f32>, addend: Addend<f32>, c: &mut [f32], stride: usize) {
        pulp::Arch::new().dispatch(Macrokernel {
            a,
            b: self,
            addend,
            c,
            stride,
        });
    }
}

/// Computes `c = addend + a @ b`: for each block of KC along the inner dimension, for each panel of
/// B, for each MR rows of A.
struct Macrokernel<'a> {
    a: View<'a, f32>,
    b: &'a Panels,
    addend: Addend<'a, f32>,
    c: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Macrokernel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Macrokernel {
            a,
            b,
            addend,
            c,
            stride,
        } = self;
        for first in (0..a.columns).step_by(KC) {
            let columns = KC.min(a.columns - first);
            for (left, panel) in b.block(first / KC) {
                let output = TileOutput {
                    width: b.width.min(b.columns - left),
                    addend: addend.of_block(first, left),
                    stride,
                };
                let mut row = 0;
                while row < a.rows {
                    let rows = UnpackedA {
                        values: &a.values[row * a.stride + first..],
                        stride: a.stride,
                        columns,
                    };
                    let c = &mut c[row * stride + left..];
                    row += match a.rows - row {
                        1 => rows.multiply::<S, Mr1<S, _>>(simd, panel, output, c),
                        2 | 3 => rows.multiply::<S, Mr2<S, _>>(simd, panel, output, c),
                        // A tile of 8 x NR takes 16 registers.
                        8.. if S::REGISTER_COUNT >= 32 => {
                            rows.multiply::<S, Mr8<S, _>>(simd, panel, output, c)
                        }
                        _ => rows.multiply::<S, Mr4<S, _>>(simd, panel, output, c),
                    };
                }
            }
        }
    }
}

impl Addend<'_, f32> {
    /// The addend of the block of the inner dimension that begins at `first`, for the columns from
    /// `left` on: later blocks are added to the first.
    pub(super) fn of_block(self, first: usize, left: usize) -> Self {
        match self {
            _ if first > 0 => Addend::C,
            Addend::Bias(bias) => Addend::Bias(&bias[left..]),
            addend => addend,
        }
    }
}

impl UnpackedA<'_> {
    /// Computes the tile of C of the first rows and a panel; returns the number of rows.
    #[inline(always)]
    fn multiply<S: Simd, T: Microtile<S, Self>>(
        self,
        simd: S,
        panel: &[f32],
        output: TileOutput,
        c: &mut [f32],
    ) -> usize {
        let mut tile = T::zeros(simd, self, 0);
        let panel = panel.chunks_exact(2 * S::F32_LANES);
        for (k, b) in (0..self.columns).zip(panel) {
            let (left, right) = b.split_at(S::F32_LANES);
            let load = |values| Vector::load(simd, values);
            tile.rank_1_update(k, load(left), load(right));
        }
        tile.write(output, c);
        T::MR
    }
}
