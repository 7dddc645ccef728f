//! Minimal LSTM, gates i, f, g: `h' = f' h + i' g` with `g = W_g x + b_g` and the gates normalised
//! to a sum of 1, `f' = σ(f) / (σ(f) + σ(i))`, `i' = 1 - f'`. The gates depend on the input alone,
//! so there is no recurrent matrix, and there is no cell state (Feng et al. 2024, "Were RNNs All We
//! Needed?", arXiv 2410.01201, section 3.2). Slot 3 saves f'.

use super::{
    BackwardUnit, CellSpec, Formulas, ForwardUnit, Frameworks, GateBlock, SupportedOptions,
};
use crate::numeric::real::Number;

/// The cell `min-lstm`.
pub(super) struct MinLstm;

impl Formulas for MinLstm {
    const SPEC: CellSpec = CellSpec {
        name: "min-lstm",
        gates: 3,
        recurrent_gates: 0,
        slots: 4,
        states: 1,
        first_stage: 3,
        product_slots: [0, 1, 2, 0],
        blocks: &[GateBlock {
            gates: &["i", "f", "g"],
            initial_bias: 0.0,
        }],
        peepholes: &[],
        options: SupportedOptions {
            forget_gate: Some(1),
            ..SupportedOptions::NONE
        },
        frameworks: Frameworks::NONE,
        shader: include_str!("../../shaders/cells/min_lstm.wgsl"),
    };
    type Clipped = Self;

    #[inline(always)]
    fn forward<R: Number>(unit: &mut ForwardUnit<R>) {
        let i = unit.slots[0].sigmoid();
        let f = unit.slots[1].sigmoid();
        let g = unit.slots[2];
        // In f32 a sigmoid is at least e^-87, so the sum is not 0.
        let kept = f / (f + i);
        unit.h = kept * unit.h + (kept.constant(1.0) - kept) * g;
        unit.slots = [i, f, g, kept];
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut BackwardUnit<R>) {
        let [i, f, g, kept] = unit.slots;
        let one = kept.constant(1.0);
        let taken = one - kept;
        // The derivative of f' with respect to f is f' i' (1 - σ(f)), to i it is -f' i' (1 - σ(i)).
        let dratio = unit.dh * (unit.h_before - g) * kept * taken;
        unit.slots[0] = -(dratio * (one - i));
        unit.slots[1] = dratio * (one - f);
        unit.slots[2] = unit.dh * taken;
        unit.dh *= kept;
    }
}
