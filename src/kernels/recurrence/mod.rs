//! A recurrent layer over time, the operand of [`ScanForward`](super::ScanForward),
//! [`ScanBackward`](super::ScanBackward), [`StepForward`](super::StepForward) and
//! [`StepBackward`](super::StepBackward).
//!
//! The stages of a time step have the same names in `forward.rs` and `backward.rs` as in
//! `shaders/scan_forward.wgsl`, `shaders/scan_backward.wgsl` and the parts that these include.

mod backward;
mod cost;
mod cpu;
mod forward;
mod held;
mod norm;
mod shader;
mod single_step;
mod tile;

use std::ops::Range;

pub use cost::ScanWork;
pub(super) use forward::InputProjection;
pub(super) use single_step::SingleStep;
pub use tile::Tile;

use super::Pack;
use crate::cells::{Activation, Cell, FormulaOptions, NormSpec, RecurrentActivation};
use crate::tensor::Tensor;

/// One recurrent layer over time, in one direction: the tensors and sizes that its scans and steps
/// work on.
///
/// Index t of a state is the state before step t; index 0 is the initial state. P is H, unless the
/// layer projects the hidden units m onto `h' = W_hr m` (Sak et al. 2014).
#[derive(Debug, Clone)]
pub struct Recurrence {
    pub cell: Cell,
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    /// H.
    pub hidden_size: usize,
    /// P: elements of h.
    pub output_size: usize,
    pub options: CellOptions,
    pub weights: RecurrentWeights,
    /// `[T, B, row]`. A row holds the cell's slots `[SLOTS, H]`; in a projected layer also m `[H]`
    /// and `W_hr m` `[P]`, or in one with layer normalisation what `shaders/common/layer_norm.wgsl`
    /// describes. Masks are last: of the recurrent gates `[G, P]`, of the state `[P]`, and
    /// those of zoneout for h `[P]` and c `[H]`, as far as the options have them. A mask of zoneout
    /// is above 0 where an element takes its new value.
    ///
    /// The forward pass reads `W x + b_ih` from the first G slots and leaves in the slots what the
    /// backward pass needs. The backward pass overwrites the slots with the gradients of the gates,
    /// and `W_hr m` with its gradient. Padded steps are zero.
    pub gates: Tensor,
    pub states: LayerStates,
    pub gradients: StateGradients,
    /// `[B]`: valid steps of each sequence. A length above T counts as T.
    pub lengths: Tensor,
    pub tile: Tile,
}

/// Options of a layer that change its formulas.
#[derive(Debug, Clone, Copy, Default)]
pub struct CellOptions {
    /// Whether h is a projection, and how that is clipped.
    pub projection: Option<Projection>,
    /// The limit of |c|, in an LSTM that clips it.
    pub cell_clip: Option<f64>,
    /// The function of the candidate, and of c where it becomes h.
    pub activation: Activation,
    /// The function of the gates.
    pub recurrent_activation: RecurrentActivation,
    /// Whether the next step reads h times the dropout mask at the end of the row of gates.
    pub drops_state: bool,
    /// Whether each gate multiplies h by a mask of its own (Keras's `recurrent_dropout`), which is
    /// at the end of the row of gates.
    pub drops_recurrent: bool,
    /// Whether states keep their old values.
    pub zoneout: Zoneout,
    /// The normalisation, in a layer that has it.
    pub layer_norm: Option<LayerNorm>,
}

/// Layer normalisation, except for its gains and shifts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// What is added to a variance.
    pub epsilon: f64,
}

/// Elements of states that keep their old values in a step (Krueger et al. 2017).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Zoneout {
    /// The probability that an element of h keeps its value.
    pub h: f64,
    /// The same of c, in a cell with c.
    pub c: f64,
    /// Whether masks at the end of the row of gates say which elements do; otherwise the states are
    /// the expectation.
    pub is_drawn: bool,
}

impl Zoneout {
    /// Whether no state keeps its old values.
    pub fn is_none(&self) -> bool {
        self.h == 0.0 && self.c == 0.0
    }
}

/// The projection of a layer, except for its weights.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Projection {
    /// The limit of |h|, where h is clipped.
    pub clip: Option<f64>,
}

/// The weights of a layer that its scans and steps read.
#[derive(Debug, Clone, Copy)]
pub struct RecurrentWeights {
    /// `[G*H, P]`: R; behind it, in a projected layer, W_hr `[P, H]`.
    pub recurrent: Tensor,
    /// The same, packed for the forward pass on a GPU: `[ceil(P/4), G*H, 4]`, columns of R as
    /// vec4s, zeros past the last; then W_hr `[ceil(H/4), P, 4]`. Empty on the CPU, whose kernels
    /// pack R themselves.
    pub packed_forward: Tensor,
    /// The same, packed for the backward pass on a GPU: `[G, ceil(H/4), P, 4]`, rows of each gate's
    /// R as vec4s; then W_hr `[ceil(P/4), H, 4]`. Empty on the CPU and in a network recorded
    /// without gradients.
    pub packed_backward: Tensor,
    /// `[G*H]`: b_hh.
    pub bias: Option<Tensor>,
    /// `[3, H]`: the peepholes w_i, w_f, w_o, in a cell that has them.
    pub peephole: Option<Tensor>,
    /// The gains and shifts of a layer that is normalised.
    pub norm: Option<NormWeights>,
}

/// The gains and shifts of layer normalisation.
#[derive(Debug, Clone, Copy)]
pub struct NormWeights {
    /// The gains `[vectors, H]`, and somewhere behind them the shifts `[vectors, H]`; where those
    /// are the biases, b_ih `[G*H]`, if there is one.
    pub tensor: Tensor,
    /// Elements of the tensor before the shifts.
    pub skip: usize,
}

/// The states of a layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerStates {
    /// `[T+1, B, P]`: the initial state, then the layer's outputs. Padded steps are zero.
    pub h: Tensor,
    /// `[T+1, B, H]`; empty in a cell without c.
    pub c: Tensor,
    /// `[B, P]`, then `[B, H]` in a cell with c: the states after each sequence's last valid step,
    /// or the initial states of an empty sequence.
    pub last: Tensor,
}

/// The gradients of the loss with respect to the states of a layer.
#[derive(Debug, Clone, Copy)]
pub struct StateGradients {
    /// `[T, B, P]`: the gradient of the outputs; `None` if it is zero.
    pub upstream: Option<Tensor>,
    /// As [`LayerStates::last`]: the gradient of the last states on input, of the initial states
    /// after the backward pass. Empty in a network recorded without gradients.
    pub dstate: Tensor,
    /// Number of states, h first, whose gradient `dstate` holds on input. The gradients of the
    /// other states are zero.
    pub given_states: usize,
}

/// The order in which the time loop takes the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeDirection {
    Forward,
    Backward,
}

/// Returns `[blocks, inner, columns]`, as in a [`Pack`], of each matrix that a GPU reads in one
/// direction of time: R, if the cell has a recurrent matrix, then W_hr, if the layer projects.
pub(crate) fn packed_matrices(
    cell: Cell,
    hidden_size: usize,
    output_size: usize,
    projects: bool,
    direction: TimeDirection,
) -> Vec<[usize; 3]> {
    let (gates, h, p) = (cell.spec().recurrent_gates, hidden_size, output_size);
    let [r, w_hr] = match direction {
        TimeDirection::Forward => [[1, p, gates * h], [1, h, p]],
        TimeDirection::Backward => [[gates, h, p], [1, p, h]],
    };
    let mut matrices = vec![];
    if gates > 0 {
        matrices.push(r);
    }
    if projects {
        matrices.push(w_hr);
    }
    matrices
}

impl CellOptions {
    /// Returns the options of an evaluation: nothing is dropped, and states have the expectation
    /// of zoneout.
    pub fn without_masks(self) -> CellOptions {
        CellOptions {
            drops_state: false,
            drops_recurrent: false,
            zoneout: Zoneout {
                is_drawn: false,
                ..self.zoneout
            },
            ..self
        }
    }

    /// Returns what the formulas of the cell look up.
    fn formulas(&self) -> FormulaOptions {
        FormulaOptions {
            activation: self.activation,
            recurrent_activation: self.recurrent_activation,
            keeps_c: self.zoneout.c > 0.0,
        }
    }
}

impl Recurrence {
    /// Returns the number of elements of the masks at the end of a row.
    pub fn masks_len(&self) -> usize {
        let [recurrent, state, zoneout_h, zoneout_c] = self.mask_widths();
        recurrent + state + zoneout_h + zoneout_c
    }

    /// Returns the widths of the masks at the end of a row, in their order.
    pub(crate) fn mask_widths(&self) -> [usize; 4] {
        let options = &self.options;
        let (h, p) = (self.hidden_size, self.output_size);
        let recurrent = self.cell.spec().recurrent_gates * p;
        let Zoneout { is_drawn, .. } = options.zoneout;
        [
            (options.drops_recurrent, recurrent),
            (options.drops_state, p),
            (is_drawn && options.zoneout.h > 0.0, p),
            (is_drawn && options.zoneout.c > 0.0, h),
        ]
        .map(|(has, width)| if has { width } else { 0 })
    }

    /// Returns the gates of the first stage.
    fn first_gates(&self) -> usize {
        let spec = self.cell.spec();
        spec.first_stage.min(spec.recurrent_gates)
    }

    /// Returns the packed matrices for one direction of time; see [`packed_matrices`].
    pub(crate) fn packed(&self, direction: TimeDirection) -> Vec<[usize; 3]> {
        let (h, p) = (self.hidden_size, self.output_size);
        packed_matrices(self.cell, h, p, self.projects(), direction)
    }

    /// Returns the number of elements of the matrices packed for one direction of time.
    fn packed_len(&self, direction: TimeDirection) -> usize {
        self.packed(direction).into_iter().map(Pack::size).sum()
    }

    /// Returns the number of matmuls of a time step that depend on each other, at least 1.
    pub fn stages(&self) -> usize {
        1 + usize::from(self.has_middle() || self.projects())
    }

    /// Whether h is a projection of the hidden units.
    fn projects(&self) -> bool {
        self.options.projection.is_some()
    }

    /// Whether the cell has a second recurrent matmul, of the vector that its first gates make.
    fn has_middle(&self) -> bool {
        let spec = self.cell.spec();
        spec.first_stage < spec.recurrent_gates
    }

    /// Returns the gates whose rows of R are multiplied in each stage.
    fn stage_gates(&self) -> [Range<usize>; 2] {
        let spec = self.cell.spec();
        let first = spec.first_stage.min(spec.recurrent_gates);
        [0..first, first..spec.recurrent_gates]
    }

    /// Returns runs of recurrent gates of one stage whose gradients are in adjacent slots after the
    /// backward pass. One GEMM takes a whole run.
    pub fn product_runs(&self) -> Vec<Range<usize>> {
        let spec = self.cell.spec();
        let runs = spec.recurrent_runs().into_iter();
        if self.norm().is_some() {
            std::iter::once(0..spec.recurrent_gates).collect()
        } else if self.options.drops_recurrent {
            // Each gate multiplies another vector.
            runs.flatten().map(|gate| gate..gate + 1).collect()
        } else {
            runs.collect()
        }
    }

    /// Returns the slot that holds, after the backward pass, the gradient of a gate's recurrent
    /// matmul.
    pub fn product_slot(&self, gate: usize) -> usize {
        match self.norm() {
            Some(norm) => norm.product_slot + gate,
            None => self.cell.spec().product_slots[gate],
        }
    }

    /// Returns how the layer is normalised, if it is.
    pub fn norm(&self) -> Option<&'static NormSpec> {
        let norm = self.cell.spec().options.layer_norm;
        norm.filter(|_| self.options.layer_norm.is_some())
    }

    /// Returns the number of elements of `gates` for one sequence and step.
    pub fn row_size(&self) -> usize {
        self.gates.len() / (self.steps * self.batch)
    }

    /// Returns the number of elements of each state of all sequences: h, then c.
    pub fn state_sizes(&self) -> Vec<usize> {
        let sizes = [self.batch * self.output_size, self.batch * self.hidden_size];
        sizes[..self.cell.spec().states].to_vec()
    }

    /// Returns the number of states whose gradient `dstate` holds before the backward pass of a
    /// chunk of time that ends at step `end`: those given, or all that a later chunk left.
    fn given_states_before(&self, end: usize) -> usize {
        if end == self.steps {
            self.gradients.given_states
        } else {
            self.cell.spec().states
        }
    }

    /// Returns the number of elements of R and W_hr.
    fn weights_len(&self) -> usize {
        let gates = self.cell.spec().recurrent_gates;
        (gates + usize::from(self.projects())) * self.hidden_size * self.output_size
    }
}
