//! The description of a cell on which networks, recordings, kernels and formats depend.

use std::ops::Range;

/// Slots of one unit at most.
pub const SLOTS: usize = 4;

/// Gates with a peephole weight, in a cell with peepholes.
pub const PEEPHOLES: usize = 3;

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
    /// How `layer_norm` normalises, in a cell that takes it.
    pub layer_norm: Option<&'static NormSpec>,
}

impl SupportedOptions {
    /// No option.
    pub const NONE: SupportedOptions = SupportedOptions {
        forget_gate: None,
        cell_clip: false,
        projection: false,
        activations: false,
        layer_norm: None,
    };
}

/// Layer normalisation inside a cell. It normalises vectors over the units, one or several of them
/// together, with gains and shifts. A row of the gates holds behind the slots, each for all units
/// and addressed as further slots, what `shaders/common/layer_norm.wgsl` describes.
#[derive(Debug, Clone, Copy)]
pub struct NormSpec {
    /// Vectors over the units that are normalised; each element has a gain.
    pub vectors: usize,
    /// Adjacent vectors that have one mean and one variance.
    pub joint: usize,
    /// The slot of the first normalised vector; those behind it are the others.
    pub normed_slot: usize,
    /// Vectors behind them that the backward pass fills with the terms of the gradients of the
    /// shifts.
    pub gradients: usize,
    /// The slot that holds, after the backward pass, the gradient of the recurrent matmul of the
    /// first gate; those behind it are the other gates'.
    pub product_slot: usize,
    /// Whether the biases are the shifts: b_ih of the first half of the vectors, b_hh of the
    /// second. Otherwise shifts are parameters of their own, and biases are normalised too.
    pub shifts_are_biases: bool,
    /// The epsilon of a layer that sets none.
    pub epsilon: f64,
    /// A time step of the forward pass in WGSL.
    pub forward_shader: &'static str,
    /// The same of the backward pass.
    pub backward_shader: &'static str,
}

impl NormSpec {
    /// Returns the number of means and of variances of a sequence and step.
    pub fn statistics(&self) -> usize {
        self.vectors / self.joint
    }

    /// Returns the slot of the first term of the gradients of the shifts.
    pub fn gradient_slot(&self) -> usize {
        self.normed_slot + self.vectors
    }

    /// Returns the slot whose first elements are the reciprocals of the deviations.
    pub fn scale_slot(&self) -> usize {
        self.gradient_slot() + self.gradients
    }

    /// Returns the values that a layer saves per sequence and step behind the `slots` of its cell.
    pub(crate) fn row_size(&self, slots: usize, hidden_size: usize) -> usize {
        let of_units = (self.scale_slot() - slots).saturating_mul(hidden_size);
        of_units.saturating_add(self.statistics())
    }
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
