//! Minimal GRU, gates z, n: `h' = (1 - z) h + z n` with `z = σ(W_z x + b_z)` and
//! `n = W_n x + b_n`. The gates depend on the input alone, so there is no recurrent matrix
//! (Feng et al. 2024, "Were RNNs All We Needed?", arXiv 2410.01201, section 3.1).

use super::{
    BackwardUnit, CellSpec, Formulas, ForwardUnit, Frameworks, GateBlock, SupportedOptions,
};
use crate::numeric::real::Number;

/// The cell `min-gru`.
pub(super) struct MinGru;

impl Formulas for MinGru {
    const SPEC: CellSpec = CellSpec {
        name: "min-gru",
        gates: 2,
        recurrent_gates: 0,
        slots: 2,
        states: 1,
        first_stage: 2,
        product_slots: [0, 1, 0, 0],
        blocks: &[GateBlock {
            gates: &["z", "n"],
            initial_bias: 0.0,
        }],
        peepholes: &[],
        options: SupportedOptions::NONE,
        frameworks: Frameworks::NONE,
        shader: include_str!("../../shaders/cells/min_gru.wgsl"),
    };
    type Clipped = Self;
    type Optional = Self;

    #[inline(always)]
    fn forward<R: Number>(unit: &mut ForwardUnit<R>) {
        let z = unit.slots[0].sigmoid();
        let n = unit.slots[1];
        unit.h = (z.constant(1.0) - z) * unit.h + z * n;
        unit.slots[0] = z;
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut BackwardUnit<R>) {
        let [z, n, ..] = unit.slots;
        let kept = z.constant(1.0) - z;
        unit.slots[0] = unit.dh * (n - unit.h_before) * z * kept;
        unit.slots[1] = unit.dh * z;
        unit.dh *= kept;
    }
}
