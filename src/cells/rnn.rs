//! Vanilla RNN: `h' = act(W x + R h + b)`.

use super::{
    BackwardUnit, CellSpec, Formulas, ForwardUnit, FrameworkCell, Frameworks, GateBlock,
    SupportedOptions,
};
use crate::numeric::real::Number;

const TANH: CellSpec = CellSpec {
    name: "rnn-tanh",
    gates: 1,
    recurrent_gates: 1,
    slots: 1,
    states: 1,
    first_stage: 1,
    product_slots: [0; 4],
    blocks: &[GateBlock {
        gates: &["h"],
        initial_bias: 0.0,
    }],
    peepholes: &[],
    options: SupportedOptions::NONE,
    frameworks: Frameworks {
        pytorch: Some("RNN"),
        keras: Some(FrameworkCell {
            name: "SimpleRNN",
            gate_order: &[0],
        }),
        onnx: Some(FrameworkCell {
            name: "RNN",
            gate_order: &[0],
        }),
    },
    shader: concat!(
        "const RELU = false;\n",
        include_str!("../../shaders/cells/rnn.wgsl")
    ),
};

const RELU: CellSpec = CellSpec {
    name: "rnn-relu",
    shader: concat!(
        "const RELU = true;\n",
        include_str!("../../shaders/cells/rnn.wgsl")
    ),
    ..TANH
};

pub(super) struct Tanh;

impl Formulas for Tanh {
    const SPEC: CellSpec = TANH;
    type Clipped = Self;
    type Optional = Self;

    #[inline(always)]
    fn forward<R: Number>(unit: &mut ForwardUnit<R>) {
        unit.h = Number::tanh(unit.slots[0] + unit.product[0]);
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut BackwardUnit<R>) {
        unit.slots[0] = unit.dh * (unit.h.constant(1.0) - unit.h * unit.h);
        unit.dh = unit.dh.constant(0.0);
    }
}

pub(super) struct Relu;

impl Formulas for Relu {
    const SPEC: CellSpec = RELU;
    type Clipped = Self;
    type Optional = Self;

    #[inline(always)]
    fn forward<R: Number>(unit: &mut ForwardUnit<R>) {
        let sum = unit.slots[0] + unit.product[0];
        let zero = sum.constant(0.0);
        // This form of max(sum, 0) passes NaN on.
        unit.h = R::where_larger(zero, sum, zero, sum);
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut BackwardUnit<R>) {
        let zero = unit.dh.constant(0.0);
        unit.slots[0] = R::where_larger(unit.h, zero, unit.dh, zero);
        unit.dh = zero;
    }
}
