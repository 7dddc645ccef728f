//! Vanilla RNN: `h' = act(W x + b + R h)`.

use super::{Backward, CellSpec, Formulas, Forward};
use crate::numeric::real::Number;

pub(super) const TANH: CellSpec = CellSpec {
    name: "rnn-tanh",
    pytorch: Some("RNN"),
    gates: 1,
    recurrent_gates: 1,
    slots: 1,
    states: 1,
    first_stage: 1,
    product_slots: [0; 4],
    needs_recurrent_bias: false,
    peepholes: false,
    shader: concat!(
        "const RELU = false;\n",
        include_str!("../../shaders/cells/rnn.wgsl")
    ),
};

pub(super) const RELU: CellSpec = CellSpec {
    name: "rnn-relu",
    shader: concat!(
        "const RELU = true;\n",
        include_str!("../../shaders/cells/rnn.wgsl")
    ),
    ..TANH
};

pub(super) struct Tanh;

impl Formulas for Tanh {
    #[inline(always)]
    fn forward<R: Number>(unit: &mut Forward<R>) {
        unit.h = Number::tanh(unit.slots[0] + unit.product[0]);
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut Backward<R>) {
        unit.slots[0] = unit.dh * (unit.h.constant(1.0) - unit.h * unit.h);
        unit.dh = unit.dh.constant(0.0);
    }
}

pub(super) struct Relu;

impl Formulas for Relu {
    #[inline(always)]
    fn forward<R: Number>(unit: &mut Forward<R>) {
        let sum = unit.slots[0] + unit.product[0];
        let zero = sum.constant(0.0);
        // Written so that what is not a number stays so.
        unit.h = R::where_larger(zero, sum, zero, sum);
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut Backward<R>) {
        let zero = unit.dh.constant(0.0);
        unit.slots[0] = R::where_larger(unit.h, zero, unit.dh, zero);
        unit.dh = zero;
    }
}
