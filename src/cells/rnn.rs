//! Vanilla RNN: `h' = act(W x + b + R h)`.

use super::{Backward, Facts, Formulas, Forward};
use crate::real::Real;

pub(super) const TANH: Facts = Facts {
    name: "rnn-tanh",
    pytorch: Some("RNN"),
    gates: 1,
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

pub(super) const RELU: Facts = Facts {
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
    fn forward<R: Real>(unit: &mut Forward<R>) {
        unit.h = Real::tanh(unit.slots[0] + unit.product[0]);
    }

    #[inline(always)]
    fn backward<R: Real>(unit: &mut Backward<R>) {
        unit.slots[0] = unit.dh * (R::one() - unit.h * unit.h);
        unit.dh = R::zero();
    }
}

pub(super) struct Relu;

impl Formulas for Relu {
    #[inline(always)]
    fn forward<R: Real>(unit: &mut Forward<R>) {
        let sum = unit.slots[0] + unit.product[0];
        // Written so that what is not a number stays so.
        unit.h = R::where_larger(R::zero(), sum, R::zero(), sum);
    }

    #[inline(always)]
    fn backward<R: Real>(unit: &mut Backward<R>) {
        unit.slots[0] = R::where_larger(unit.h, R::zero(), unit.dh, R::zero());
        unit.dh = R::zero();
    }
}
