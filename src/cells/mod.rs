//! The recurrent cells: each is a [`CellSpec`] and scalar [`Formulas`] for the forward and the
//! backward pass. Scans and steps call the formulas and depend on nothing else of a cell.
//! `shaders/cells/<stem>.wgsl` is the same in WGSL.
//!
//! # Slots
//! At one time step a unit has up to four *slots*. In the forward pass, slots `0..gates` come in as
//! the input projection `W x + b` and leave as what the backward pass needs. The backward pass
//! replaces them by the gradients of the gates' pre-activations. Gates are in PyTorch's order.
//!
//! # Stages
//! A cell of one stage needs the recurrent matmul `R h + b_hh` of all its gates at once. A cell of
//! two stages (GRU with the reset gate before the matmul) takes the matmul of its first gates,
//! makes a vector from it, and multiplies that vector by the last gate's rows of R. A cell with
//! `recurrent_gates: 0` has one stage and no recurrent matrix.
//!
//! # Adding a cell
//! Write `src/cells/<stem>.rs` with its description and formulas and `shaders/cells/<stem>.wgsl`
//! with the same formulas, declare the module, and add a line to the list `cells!` below. The sizes
//! in WGSL are generated from the description.

mod activations;
mod formulas;
mod gru;
mod lstm;
mod min_gru;
mod min_lstm;
mod rnn;
mod rows;
mod spec;

use serde::{Deserialize, Serialize};

use crate::numeric::real::Real;
pub(crate) use activations::FormulaOptions;
pub use activations::{Activation, RecurrentActivation};
use formulas::{BackwardUnit, Formulas, ForwardUnit};
pub(crate) use rows::{BackwardRow, ForwardRow, Rows};
pub use spec::{
    CellSpec, FrameworkCell, Frameworks, GateBlock, NormSpec, PEEPHOLES, Peephole, PeepholeInput,
    SLOTS, SupportedOptions,
};

/// Declares [`Cell`] and dispatches to each cell's formulas: a macro, since the formulas are
/// generic functions, of which no value can be put into an array.
macro_rules! cells {
    ($($(#[$doc:meta])* $cell:ident => $formulas:ty;)*) => {
        /// The recurrence of a layer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Cell {
            $($(#[$doc])* $cell,)*
        }

        impl Cell {
            /// Every cell.
            pub const ALL: [Cell; [$(Cell::$cell),*].len()] = [$(Cell::$cell),*];

            /// Returns the cell's description.
            pub fn spec(self) -> &'static CellSpec {
                match self {
                    $(Cell::$cell => &<$formulas as Formulas>::SPEC,)*
                }
            }

            /// Returns the cell's formulas over rows of units; with `clips`, those that clip c.
            pub(crate) fn rows<R: Real>(self, clips: bool, options: FormulaOptions) -> Rows<R> {
                match self {
                    $(Cell::$cell => Rows::of::<$formulas>(clips, options),)*
                }
            }
        }
    };
}

cells! {
    /// `h' = tanh(W x + R h + b)` (Elman 1990; `nn.RNN`, `BasicRNNCell`).
    RnnTanh => rnn::Tanh;
    /// `h' = max(0, W x + R h + b)`.
    RnnRelu => rnn::Relu;
    /// Long short-term memory with a forget gate (Gers et al. 2000; `nn.LSTM`, `BasicLSTMCell`).
    Lstm => lstm::Lstm<false, false, false>;
    /// LSTM whose gates see the cell state through one weight per unit (Gers & Schmidhuber 2000;
    /// TensorFlow's `LSTMCell(use_peepholes=True)`): i and f see c, o sees c'.
    LstmPeephole => lstm::Lstm<true, false, false>;
    /// Gated recurrent unit with the reset gate after the recurrent matmul (cuDNN, `nn.GRU`,
    /// Keras).
    Gru => gru::Gru<false>;
    /// Gated recurrent unit with the reset gate before the recurrent matmul (Cho et al. 2014;
    /// TensorFlow's `GRUCell`).
    GruResetBefore => gru::GruResetBefore<false>;
    /// Minimal GRU, whose gates depend on the input alone (Feng et al. 2024).
    MinGru => min_gru::MinGru;
    /// Minimal LSTM, whose gates depend on the input alone (Feng et al. 2024).
    MinLstm => min_lstm::MinLstm;
}

impl Cell {
    /// Returns the cell's name in recipes.
    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_consistent() {
        for cell in Cell::ALL {
            let spec = cell.spec();
            let name = spec.name;
            assert_eq!(serde_json::to_value(cell).unwrap(), name);
            let gates: usize = spec.blocks.iter().map(|block| block.gates.len()).sum();
            assert_eq!(gates, spec.gates, "{name}");
            assert!([0, spec.gates].contains(&spec.recurrent_gates), "{name}");
            assert!(
                (1..=spec.gates).contains(&spec.first_stage) && spec.slots <= SLOTS,
                "{name}"
            );
            assert!(
                spec.recurrent_gates > 0 || spec.first_stage == spec.gates,
                "{name}"
            );
            assert!([1, 2].contains(&spec.states), "{name}");
            assert!([0, PEEPHOLES].contains(&spec.peepholes.len()), "{name}");
            if let Some(norm) = spec.options.layer_norm {
                assert!(norm.vectors % norm.joint == 0, "{name}");
                assert!(norm.normed_slot >= spec.slots, "{name}");
                let last_product = norm.product_slot + spec.recurrent_gates;
                assert!(last_product <= norm.normed_slot, "{name}");
                assert!(norm.epsilon > 0.0, "{name}");
            }
            let frameworks = [spec.frameworks.keras, spec.frameworks.onnx];
            for framework in frameworks.into_iter().flatten() {
                let mut order = framework.gate_order.to_vec();
                order.sort_unstable();
                assert!(order.into_iter().eq(0..spec.gates), "{name}");
            }
        }
    }

    #[test]
    fn recurrent_runs_split_at_stages_and_at_gaps_between_slots() {
        let one_run = |cell: Cell| cell.spec().recurrent_runs().len() == 1;
        assert!(one_run(Cell::RnnTanh) && one_run(Cell::LstmPeephole));
        assert_eq!(Cell::Gru.spec().recurrent_runs(), [0..2, 2..3]);
        assert_eq!(Cell::GruResetBefore.spec().recurrent_runs(), [0..2, 2..3]);
        let spec = CellSpec {
            recurrent_gates: 0,
            ..*Cell::Lstm.spec()
        };
        assert!(spec.recurrent_runs().is_empty());
    }
}
