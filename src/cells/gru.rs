//! GRU, gates r, z, n: `h' = (1 - z) n + z h`. Slot 3 keeps, with the reset gate after the product, `R_n h + b_hn`;
//! with the reset gate before it, `r h`.

use super::{Backward, CellSpec, Formulas, Forward};
use crate::numeric::real::Number;

pub(super) const FACTS: CellSpec = CellSpec {
    name: "gru",
    pytorch: Some("GRU"),
    gates: 3,
    recurrent_gates: 3,
    slots: 4,
    states: 1,
    first_stage: 3,
    product_slots: [0, 1, 3, 0],
    needs_recurrent_bias: true,
    peepholes: false,
    shader: include_str!("../../shaders/cells/gru.wgsl"),
};

pub(super) const RESET_BEFORE: CellSpec = CellSpec {
    name: "gru-reset-before",
    pytorch: None,
    first_stage: 2,
    product_slots: [0, 1, 2, 0],
    needs_recurrent_bias: false,
    shader: include_str!("../../shaders/cells/gru_reset_before.wgsl"),
    ..FACTS
};

/// `n = tanh(W_n x + b_n + r (R_n h + b_hn))`.
pub(super) struct Gru;

impl Formulas for Gru {
    #[inline(always)]
    fn forward<R: Number>(unit: &mut Forward<R>) {
        let r = (unit.slots[0] + unit.product[0]).sigmoid();
        let z = (unit.slots[1] + unit.product[1]).sigmoid();
        let n = Number::tanh(unit.slots[2] + r * unit.product[2]);
        unit.h = (z.constant(1.0) - z) * n + z * unit.h;
        unit.slots = [r, z, n, unit.product[2]];
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut Backward<R>) {
        let [r, z, n, product] = unit.slots;
        let one = z.constant(1.0);
        let dn = unit.dh * (one - z) * (one - n * n);
        let dz = unit.dh * (unit.h_before - n) * z * (one - z);
        unit.slots = [dn * product * r * (one - r), dz, dn, dn * r];
        unit.dh *= z;
    }
}

/// `n = tanh(W_n x + b_n + R_n (r h))`.
pub(super) struct GruResetBefore;

impl Formulas for GruResetBefore {
    #[inline(always)]
    fn middle<R: Number>(unit: &mut Forward<R>) {
        let r = (unit.slots[0] + unit.product[0]).sigmoid();
        let z = (unit.slots[1] + unit.product[1]).sigmoid();
        unit.slots = [r, z, unit.slots[2], r * unit.h];
    }

    #[inline(always)]
    fn forward<R: Number>(unit: &mut Forward<R>) {
        let n = Number::tanh(unit.slots[2] + unit.product[2]);
        let z = unit.slots[1];
        unit.h = (z.constant(1.0) - z) * n + z * unit.h;
        unit.slots[2] = n;
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut Backward<R>) {
        let [_, z, n, _] = unit.slots;
        let one = z.constant(1.0);
        unit.slots[1] = unit.dh * (unit.h_before - n) * z * (one - z);
        unit.slots[2] = unit.dh * (one - z) * (one - n * n);
        unit.dh *= z;
    }

    #[inline(always)]
    fn middle_backward<R: Number>(unit: &mut Backward<R>) {
        let r = unit.slots[0];
        unit.slots[0] = unit.dmiddle * unit.h_before * r * (r.constant(1.0) - r);
        unit.dh += unit.dmiddle * r;
    }
}
