//! LSTM, gates i, f, g, o: `c' = σ(f) c + σ(i) tanh(g)`, `h' = σ(o) tanh(c')`.

use super::{Backward, Facts, Formulas, Forward};
use crate::real::Real;

pub(super) const FACTS: Facts = Facts {
    name: "lstm",
    pytorch: Some("LSTM"),
    gates: 4,
    slots: 4,
    states: 2,
    first_stage: 4,
    product_slots: [0, 1, 2, 3],
    needs_recurrent_bias: false,
    shader: include_str!("../../shaders/cells/lstm.wgsl"),
};

pub(super) struct Lstm;

impl Formulas for Lstm {
    #[inline(always)]
    fn forward<R: Real>(unit: &mut Forward<R>) {
        let [i, f, g, o] = std::array::from_fn(|gate| unit.slots[gate] + unit.product[gate]);
        let (i, f, g, o) = (i.sigmoid(), f.sigmoid(), Real::tanh(g), o.sigmoid());
        unit.c = f * unit.c + i * g;
        unit.h = o * Real::tanh(unit.c);
        unit.slots = [i, f, g, o];
    }

    #[inline(always)]
    fn backward<R: Real>(unit: &mut Backward<R>) {
        let [i, f, g, o] = unit.slots;
        let one = R::one();
        let squashed = Real::tanh(unit.c);
        let dc = unit.dc + unit.dh * o * (one - squashed * squashed);
        unit.slots = [
            dc * g * i * (one - i),
            dc * unit.c_before * f * (one - f),
            dc * i * (one - g * g),
            unit.dh * squashed * o * (one - o),
        ];
        unit.dh = R::zero();
        unit.dc = dc * f;
    }
}
