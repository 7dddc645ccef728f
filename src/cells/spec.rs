//! The description of a cell on which networks, recordings, kernels and formats depend.

use std::ops::Range;

/// Slots of one unit at most.
pub const SLOTS: usize = 4;

/// Gates with a peephole weight, in a cell with peepholes.
pub const PEEPHOLES: usize = 3;

/// What layer normalisation normalises in an LSTM: the gates and c.
pub(crate) const NORMS: usize = 5;

/// Returns the values that a layer with normalisation saves per sequence and step beside the slots;
/// `shaders/common/layer_norm.wgsl` describes them.
pub(crate) fn norm_row_size(hidden_size: usize) -> usize {
    let of_units = (2 * NORMS).saturating_mul(hidden_size);
    of_units.saturating_add(NORMS)
}

/// The description of a cell on which networks, recordings, kernels and formats depend.
#[derive(Debug, Clone, Copy)]
pub struct CellSpec {
    /// The name in recipes.
    pub name: &'static str,
    /// G: gates, which are blocks of H rows in the weight matrices.
    pub gates: usize,
    /// The number of gates that have rows in the recurrent matrix R: all of them, or 0 in a cell
    /// whose gates depend on the input alone. Such a cell has no R and no recurrent bias.
    pub recurrent_gates: usize,
    /// Values saved per unit and time step for the backward pass.
    pub slots: usize,
    /// S: state vectors: h, and c where there are two.
    pub states: usize,
    /// Gates whose recurrent matmul is with h; the rest, if any, form the second stage.
    pub first_stage: usize,
    /// For each gate the slot that holds, after the backward pass, the gradient of its recurrent
    /// matmul.
    pub product_slots: [usize; SLOTS],
    /// Its gates in order, by TensorFlow's kernels.
    pub blocks: &'static [GateBlock],
    /// The gates that see c through one weight per unit, in the order of the weights
    /// `[PEEPHOLES, H]`; none in a cell without peepholes.
    pub peepholes: &'static [Peephole],
    /// The options that a layer of this cell may set.
    pub options: SupportedOptions,
    /// The names and gate orders of other frameworks.
    pub frameworks: Frameworks,
    /// The cell's formulas in WGSL, without the sizes above.
    pub shader: &'static str,
}

/// Gates whose weights are one kernel in TensorFlow, which counts their rows together in a Glorot
/// initialisation.
#[derive(Debug, Clone, Copy)]
pub struct GateBlock {
    /// The gates' names in the literature.
    pub gates: &'static [&'static str],
    /// The gates' bias at the start of training, where the initialisation does not draw biases.
    pub initial_bias: f32,
}

/// A gate that sees the unit's own cell state.
#[derive(Debug, Clone, Copy)]
pub struct Peephole {
    pub gate: usize,
    pub sees: PeepholeInput,
}

/// The cell state that a peephole sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeepholeInput {
    /// c before the step.
    CBefore,
    /// c' after the step.
    CAfter,
}

/// The options that a layer may set, beyond those of every cell.
#[derive(Debug, Clone, Copy)]
pub struct SupportedOptions {
    /// The gate to whose initial bias `forget_bias` is added.
    pub forget_gate: Option<usize>,
    /// Whether `cell_clip` may limit |c|.
    pub cell_clip: bool,
    /// Whether `projection_size` may project h. The formulas of such a cell do not use h outside
    /// the recurrent matmul.
    pub projection: bool,
    /// Whether `activation` and `recurrent_activation` may replace tanh and the logistic function.
    pub activations: bool,
    /// Whether `layer_norm` may normalise the gates and c.
    pub layer_norm: bool,
}

impl SupportedOptions {
    /// No option.
    pub const NONE: SupportedOptions = SupportedOptions {
        forget_gate: None,
        cell_clip: false,
        projection: false,
        activations: false,
        layer_norm: false,
    };
}

/// The cell in other frameworks, where they have it.
#[derive(Debug, Clone, Copy)]
pub struct Frameworks {
    /// PyTorch's module, whose gate order is the one used here.
    pub pytorch: Option<&'static str>,
    /// Keras's layer.
    pub keras: Option<FrameworkCell>,
    /// ONNX's operator.
    pub onnx: Option<FrameworkCell>,
}

impl Frameworks {
    /// The cell exists in no other framework.
    pub const NONE: Frameworks = Frameworks {
        pytorch: None,
        keras: None,
        onnx: None,
    };
}

/// A cell as another framework names it.
#[derive(Debug, Clone, Copy)]
pub struct FrameworkCell {
    /// The name of the framework's layer or operator.
    pub name: &'static str,
    /// The gates in the framework's order: its gate n is gate `gate_order[n]` here.
    pub gate_order: &'static [usize],
}

impl CellSpec {
    /// Returns the names of the gates, in their order.
    pub fn gate_names(&self) -> Vec<&'static str> {
        let names = self.blocks.iter().flat_map(|block| block.gates);
        names.copied().collect()
    }

    /// Whether the recurrent bias of some gate is not just added to the input bias (cuDNN's GRU),
    /// so that one bias vector cannot replace two.
    pub fn needs_recurrent_bias(&self) -> bool {
        (0..self.recurrent_gates).any(|gate| self.product_slots[gate] != gate)
    }

    /// Returns the recurrent gates in runs whose matmul gradients are in adjacent slots; no run
    /// crosses the two stages.
    pub fn recurrent_runs(&self) -> Vec<Range<usize>> {
        let continues = |gate: usize| {
            gate != self.first_stage && self.product_slots[gate] == self.product_slots[gate - 1] + 1
        };
        let mut runs: Vec<Range<usize>> = vec![];
        for gate in 0..self.recurrent_gates {
            match runs.last_mut() {
                Some(run) if continues(gate) => run.end += 1,
                _ => runs.push(gate..gate + 1),
            }
        }
        runs
    }
}
