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
    type Optional = Self;

    #[inline(always)]
    fn forward<R: Number>(unit: &mut ForwardUnit<R>) {
        let [input, forget, g, _] = unit.slots;
        let kept = forget_share(input, forget);
        unit.h = kept * unit.h + (kept.constant(1.0) - kept) * g;
        unit.slots = [input.sigmoid(), forget.sigmoid(), g, kept];
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut BackwardUnit<R>) {
        let [i, f, g, kept] = unit.slots;
        let one = kept.constant(1.0);
        let taken = one - kept;
        // df'/df = f' i' (1 - σ(f)) and df'/di = -f' i' (1 - σ(i)).
        let dratio = unit.dh * (unit.h_before - g) * kept * taken;
        unit.slots[0] = -(dratio * (one - i));
        unit.slots[1] = dratio * (one - f);
        unit.slots[2] = unit.dh * taken;
        unit.dh *= kept;
    }
}

/// Returns `σ(f) / (σ(f) + σ(i))` of the pre-activations, as `(1 + e^-i) / (2 + e^-i + e^-f)` with
/// every exponent shifted to at most 0, so that it is right where both sigmoids are 0.
#[inline(always)]
fn forget_share<R: Number>(input: R, forget: R) -> R {
    let zero = input.constant(0.0);
    let shift = (-input).or_larger(-forget).or_larger(zero);
    let one = Number::exp(-shift);
    let of_input = one + Number::exp(-input - shift);
    let of_forget = one + Number::exp(-forget - shift);
    of_input / (of_input + of_forget)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forget_share_is_the_ratio_of_sigmoids() {
        for (input, forget) in [(0.0_f64, 0.0), (1.0, -2.0), (-3.0, 0.5), (4.0, 5.0)] {
            let (i, f) = (Number::sigmoid(input), Number::sigmoid(forget));
            let share = forget_share(input, forget);
            assert!((share - f / (f + i)).abs() < 1e-15, "{input} {forget}");
        }
        assert_eq!(forget_share(-2e4, -1e4), 1.0);
        assert_eq!(forget_share(-1e4, -1e4), 0.5);
        assert_eq!(forget_share(-1e4, -2e4), 0.0);
    }
}
