//! Processors without instructions for bf16 that this crate uses.
#![allow(dead_code)] // no unit is ever made, and nothing reads what it would

use std::ops::Range;

use super::{Bf16Pair, PairsOfA};
use crate::numeric::gemm::View;
use crate::numeric::gemm::microkernel::TileOutput;

/// The unit for bf16, of which there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bf16Unit(());

impl Bf16Unit {
    /// Returns `None`.
    pub fn detect() -> Option<Bf16Unit> {
        None
    }

    pub fn pair_up(self, _: &[f32], _: &mut [Bf16Pair]) {
        unreachable!("there is no unit");
    }

    pub fn copy_rows<const WIDTH: usize>(
        self,
        _: View<f32>,
        _: &[usize],
        _: Range<usize>,
        _: &mut [Bf16Pair],
    ) {
        unreachable!("there is no unit");
    }

    pub fn multiply(self, _: usize, _: PairsOfA, _: &[Bf16Pair], _: TileOutput, _: &mut [f32]) {
        unreachable!("there is no unit");
    }
}
