//! GRU, gates r, z, n: `h' = (1 - z) n + z h`. Slot 3 saves `R_n h + b_hn` with the reset gate
//! after the recurrent matmul, and `r h` with the reset gate before it.

use super::activations::functions;
use super::{
    BackwardUnit, CellSpec, Formulas, ForwardUnit, FrameworkCell, Frameworks, GateBlock, NormSpec,
    SupportedOptions,
};
use crate::numeric::real::Number;

const RESET_AFTER: CellSpec = CellSpec {
    name: "gru",
    gates: 3,
    recurrent_gates: 3,
    slots: 4,
    states: 1,
    first_stage: 3,
    product_slots: [0, 1, 3, 0],
    // TensorFlow's `GRUCell` has one kernel for the gates and one for the candidate.
    blocks: &[
        GateBlock {
            gates: &["r", "z"],
            initial_bias: 1.0,
        },
        GateBlock {
            gates: &["n"],
            initial_bias: 0.0,
        },
    ],
    peepholes: &[],
    options: SupportedOptions {
        layer_norm: Some(&NORM),
        ..ACTIVATIONS
    },
    frameworks: Frameworks {
        pytorch: Some("GRU"),
        keras: Some(UPDATE_FIRST),
        onnx: Some(UPDATE_FIRST),
    },
    shader: include_str!("../../shaders/cells/gru.wgsl"),
};

/// The options of both cells.
const ACTIVATIONS: SupportedOptions = SupportedOptions {
    activations: true,
    ..SupportedOptions::NONE
};

/// Normalises W x, all gates together, and R h (`LayerNormGRU` of haste). Slots 3 to 5 take the
/// gradients of the recurrent matmul, which differ from those of the input projection.
const NORM: NormSpec = NormSpec {
    vectors: 6,
    joint: 3,
    normed_slot: 6,
    gradients: 4,
    product_slot: 3,
    shifts_are_biases: true,
    epsilon: 1e-5,
    forward_shader: include_str!("../../shaders/cells/gru_norm_forward.wgsl"),
    backward_shader: include_str!("../../shaders/cells/gru_norm_backward.wgsl"),
};

/// Keras and ONNX have the update gate z before the reset gate r.
const UPDATE_FIRST: FrameworkCell = FrameworkCell {
    name: "GRU",
    gate_order: &[1, 0, 2],
};

const RESET_BEFORE: CellSpec = CellSpec {
    name: "gru-reset-before",
    first_stage: 2,
    product_slots: [0, 1, 2, 0],
    frameworks: Frameworks {
        pytorch: None,
        ..RESET_AFTER.frameworks
    },
    options: ACTIVATIONS,
    shader: include_str!("../../shaders/cells/gru_reset_before.wgsl"),
    ..RESET_AFTER
};

/// `n = tanh(W_n x + b_n + r (R_n h + b_hn))`. With `OPTIONAL`, the activation functions are those
/// of the unit's options.
pub(super) struct Gru<const OPTIONAL: bool>;

impl<const OPTIONAL: bool> Formulas for Gru<OPTIONAL> {
    const SPEC: CellSpec = RESET_AFTER;
    type Clipped = Self;
    type Optional = Gru<true>;

    #[inline(always)]
    fn forward<R: Number>(unit: &mut ForwardUnit<R>) {
        let (activation, gate) = functions::<OPTIONAL>(unit.options);
        let r = gate.of(unit.slots[0] + unit.product[0]);
        let z = gate.of(unit.slots[1] + unit.product[1]);
        let n = activation.of(unit.slots[2] + r * unit.product[2]);
        unit.h = (z.constant(1.0) - z) * n + z * unit.h;
        unit.slots = [r, z, n, unit.product[2]];
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut BackwardUnit<R>) {
        let (activation, gate) = functions::<OPTIONAL>(unit.options);
        let [r, z, n, product] = unit.slots;
        let dn = activation.back(unit.dh * (z.constant(1.0) - z), n);
        let dz = gate.back(unit.dh * (unit.h_before - n), z);
        unit.slots = [gate.back(dn * product, r), dz, dn, dn * r];
        unit.dh *= z;
    }
}

/// `n = tanh(W_n x + b_n + R_n (r h))`. With `OPTIONAL`, the activation functions are those of the
/// unit's options.
pub(super) struct GruResetBefore<const OPTIONAL: bool>;

impl<const OPTIONAL: bool> Formulas for GruResetBefore<OPTIONAL> {
    const SPEC: CellSpec = RESET_BEFORE;
    type Clipped = Self;
    type Optional = GruResetBefore<true>;

    #[inline(always)]
    fn middle<R: Number>(unit: &mut ForwardUnit<R>) {
        let (_, gate) = functions::<OPTIONAL>(unit.options);
        let r = gate.of(unit.slots[0] + unit.product[0]);
        let z = gate.of(unit.slots[1] + unit.product[1]);
        unit.slots = [r, z, unit.slots[2], r * unit.h];
    }

    #[inline(always)]
    fn forward<R: Number>(unit: &mut ForwardUnit<R>) {
        let (activation, _) = functions::<OPTIONAL>(unit.options);
        let n = activation.of(unit.slots[2] + unit.product[2]);
        let z = unit.slots[1];
        unit.h = (z.constant(1.0) - z) * n + z * unit.h;
        unit.slots[2] = n;
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut BackwardUnit<R>) {
        let (activation, gate) = functions::<OPTIONAL>(unit.options);
        let [_, z, n, _] = unit.slots;
        unit.slots[1] = gate.back(unit.dh * (unit.h_before - n), z);
        unit.slots[2] = activation.back(unit.dh * (z.constant(1.0) - z), n);
        unit.dh *= z;
    }

    #[inline(always)]
    fn middle_backward<R: Number>(unit: &mut BackwardUnit<R>) {
        let (_, gate) = functions::<OPTIONAL>(unit.options);
        let r = unit.slots[0];
        unit.slots[0] = gate.back(unit.dmiddle * unit.h_before, r);
        unit.dh += unit.dmiddle * r;
    }
}
