//! LSTM, gates i, f, g, o: `c' = σ(f) c + σ(i) tanh(g)`, `h' = σ(o) tanh(c')`. With peepholes i and
//! f also see c, and o sees c' (Gers & Schmidhuber 2000). With clipping, c' is limited to ±clip.
//! Options replace tanh and σ by other functions.

use super::activations::functions;
use super::{
    BackwardUnit, CellSpec, Formulas, ForwardUnit, FrameworkCell, Frameworks, GateBlock, NormSpec,
    Peephole, PeepholeInput, SupportedOptions,
};
use crate::numeric::real::Number;

const PLAIN: CellSpec = CellSpec {
    name: "lstm",
    gates: 4,
    recurrent_gates: 4,
    slots: 4,
    states: 2,
    first_stage: 4,
    product_slots: [0, 1, 2, 3],
    blocks: &[GateBlock {
        gates: &["i", "f", "g", "o"],
        initial_bias: 0.0,
    }],
    peepholes: &[],
    options: SupportedOptions {
        forget_gate: Some(1),
        cell_clip: true,
        projection: true,
        activations: true,
        layer_norm: Some(&NORM),
    },
    frameworks: Frameworks {
        pytorch: Some("LSTM"),
        keras: Some(FrameworkCell {
            name: "LSTM",
            gate_order: &[0, 1, 2, 3],
        }),
        onnx: Some(FrameworkCell {
            name: "LSTM",
            gate_order: &[0, 3, 1, 2],
        }),
    },
    shader: include_str!("../../shaders/cells/lstm.wgsl"),
};

/// Normalises the gates and then c (`LayerNormBasicLSTMCell` of TensorFlow 1).
const NORM: NormSpec = NormSpec {
    vectors: 5,
    joint: 1,
    normed_slot: 4,
    gradients: 5,
    product_slot: 0,
    shifts_are_biases: false,
    epsilon: 1e-12,
    forward_shader: include_str!("../../shaders/cells/lstm_norm_forward.wgsl"),
    backward_shader: include_str!("../../shaders/cells/lstm_norm_backward.wgsl"),
};

const PEEPHOLE: CellSpec = CellSpec {
    name: "lstm-peephole",
    peepholes: &[
        Peephole {
            gate: 0,
            sees: PeepholeInput::CBefore,
        },
        Peephole {
            gate: 1,
            sees: PeepholeInput::CBefore,
        },
        Peephole {
            gate: 3,
            sees: PeepholeInput::CAfter,
        },
    ],
    options: SupportedOptions {
        layer_norm: None,
        ..PLAIN.options
    },
    frameworks: Frameworks {
        pytorch: None,
        keras: None,
        ..PLAIN.frameworks
    },
    ..PLAIN
};

/// With `OPTIONAL`, the activation functions are those of the unit's options.
pub(super) struct Lstm<const PEEPHOLES: bool, const CLIPS: bool, const OPTIONAL: bool>;

impl<const PEEPHOLES: bool, const CLIPS: bool, const OPTIONAL: bool> Formulas
    for Lstm<PEEPHOLES, CLIPS, OPTIONAL>
{
    const SPEC: CellSpec = if PEEPHOLES { PEEPHOLE } else { PLAIN };
    type Clipped = Lstm<PEEPHOLES, true, OPTIONAL>;
    type Optional = Lstm<PEEPHOLES, CLIPS, true>;

    #[inline(always)]
    fn forward<R: Number>(unit: &mut ForwardUnit<R>) {
        let (activation, gate) = functions::<OPTIONAL>(unit.options);
        let ([i, f, g, o], product) = (unit.slots, unit.product);
        let (mut i, mut f) = (i + product[0], f + product[1]);
        let (g, mut o) = (g + product[2], o + product[3]);
        let [w_i, w_f, w_o] = unit.peepholes;
        if PEEPHOLES {
            i += w_i * unit.c;
            f += w_f * unit.c;
        }
        let (i, f, g) = (gate.of(i), gate.of(f), activation.of(g));
        unit.c = f * unit.c + i * g;
        if CLIPS {
            unit.c = unit.c.clipped(unit.clip);
        }
        if PEEPHOLES {
            o += w_o * unit.c;
        }
        let o = gate.of(o);
        unit.h = o * activation.of(unit.c);
        unit.slots = [i, f, g, o];
    }

    #[inline(always)]
    fn backward<R: Number>(unit: &mut BackwardUnit<R>) {
        let (activation, gate) = functions::<OPTIONAL>(unit.options);
        let [i, f, g, o] = unit.slots;
        let [w_i, w_f, w_o] = unit.peepholes;
        let mut c = unit.c;
        if OPTIONAL && unit.options.keeps_c {
            c = f * unit.c_before + i * g;
            if CLIPS {
                c = c.clipped(unit.clip);
            }
        }
        let squashed = activation.of(c);
        let d_o = gate.back(unit.dh * squashed, o);
        let mut dc = unit.dc + activation.back(unit.dh * o, squashed);
        if PEEPHOLES {
            dc += d_o * w_o;
        }
        // Computes c' again: a c' that equals the limit may or may not have been clipped.
        if CLIPS {
            dc = dc.past_clip(f * unit.c_before + i * g, unit.clip);
        }
        let (di, df) = (gate.back(dc * g, i), gate.back(dc * unit.c_before, f));
        unit.slots = [di, df, activation.back(dc * i, g), d_o];
        unit.dh = unit.dh.constant(0.0);
        unit.dc = dc * f;
        if PEEPHOLES {
            unit.dc += di * w_i + df * w_f;
        }
    }
}
