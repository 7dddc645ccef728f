//! The recurrent cells: a few numbers and scalar formulas each. Scans and steps over time call them and know nothing
//! else of a cell. `shaders/cells/<stem>.wgsl` says the same in WGSL.
//!
//! # What a cell works on
//! At one time step a unit has up to four *slots*. Going forward, slots `0..gates` come in as the input projection
//! `W x + b`, and leave as what the way back needs; going backward they become the gradients of the gates'
//! pre-activations. Gates stand in PyTorch's order.
//!
//! A cell of one stage takes the recurrent product `R h + b_hh` of all its gates at once. A cell of two stages
//! (GRU with the reset gate before the product) takes the product of its first gates, makes a vector of it, and
//! takes the product of the last gate with that.
//!
//! Peepholes are weights of one unit alone: they multiply its own c, and their gradients are sums over all steps.

mod gru;
mod lstm;
mod rnn;

use serde::{Deserialize, Serialize};

use crate::real::Real;

/// Slots of one unit, and gates' products of one unit.
pub const SLOTS: usize = 4;

/// Gates that see c in a cell with peepholes: i, f, o.
pub const PEEPHOLES: usize = 3;

/// The numbers that describe a cell to the rest of the house.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The name in recipes.
    pub name: &'static str,
    /// PyTorch's name for a stack of such cells, where there is one.
    pub pytorch: Option<&'static str>,
    /// G: blocks of H rows in the weight matrices.
    pub gates: usize,
    /// Numbers kept per unit and time step for the way back.
    pub slots: usize,
    /// S: state vectors, h first, then c.
    pub states: usize,
    /// Gates whose recurrent product is with h; the rest (if any) form the second stage.
    pub first_stage: usize,
    /// The slot that holds, after the way back, the gradient of gate g's recurrent product.
    pub product_slots: [usize; SLOTS],
    /// Whether the recurrent bias of some gate is not just added to the input's (cuDNN's GRU).
    pub needs_recurrent_bias: bool,
    /// Whether its gates i, f, o see c.
    pub peepholes: bool,
    /// The cell's WGSL: constants, then formulas.
    pub shader: &'static str,
}

/// The recurrence of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// `h' = tanh(W x + R h + b)` (Elman 1990; `nn.RNN`, `BasicRNNCell`).
    RnnTanh,
    /// `h' = max(0, W x + R h + b)`.
    RnnRelu,
    /// Long short-term memory with a forget gate (Gers et al. 2000; `nn.LSTM`, `BasicLSTMCell`).
    Lstm,
    /// LSTM whose gates see the cell state through a weight of each unit (Gers & Schmidhuber 2000; TensorFlow's
    /// `LSTMCell(use_peepholes=True)`): i and f see c, o sees c'.
    LstmPeephole,
    /// Gated recurrent unit with the reset gate after the recurrent product (cuDNN, `nn.GRU`, Keras).
    Gru,
    /// Gated recurrent unit with the reset gate before the recurrent product (Cho et al. 2014; TensorFlow's `GRUCell`).
    GruResetBefore,
}

impl Cell {
    /// Every cell.
    pub const ALL: [Cell; 6] = [
        Cell::RnnTanh,
        Cell::RnnRelu,
        Cell::Lstm,
        Cell::LstmPeephole,
        Cell::Gru,
        Cell::GruResetBefore,
    ];

    /// Its numbers.
    pub fn facts(self) -> Facts {
        match self {
            Cell::RnnTanh => rnn::TANH,
            Cell::RnnRelu => rnn::RELU,
            Cell::Lstm => lstm::FACTS,
            Cell::LstmPeephole => lstm::PEEPHOLE,
            Cell::Gru => gru::FACTS,
            Cell::GruResetBefore => gru::RESET_BEFORE,
        }
    }

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Whether it is an LSTM, with or without peepholes.
    pub fn is_lstm(self) -> bool {
        matches!(self, Cell::Lstm | Cell::LstmPeephole)
    }

    /// Its formulas over whole rows; with `clips`, those of an LSTM that clips c.
    pub(crate) fn rows<R: Real>(self, clips: bool) -> Rows<R> {
        match self {
            Cell::RnnTanh => Rows::of::<rnn::Tanh>(),
            Cell::RnnRelu => Rows::of::<rnn::Relu>(),
            Cell::Lstm if clips => Rows::of::<lstm::Lstm<false, true>>(),
            Cell::Lstm => Rows::of::<lstm::Lstm<false, false>>(),
            Cell::LstmPeephole if clips => Rows::of::<lstm::Lstm<true, true>>(),
            Cell::LstmPeephole => Rows::of::<lstm::Lstm<true, false>>(),
            Cell::Gru => Rows::of::<gru::Gru>(),
            Cell::GruResetBefore => Rows::of::<gru::GruResetBefore>(),
        }
    }
}

/// What one unit holds going forward. `h` and `c` come in as the states before the step and leave as those after it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Forward<R> {
    pub slots: [R; SLOTS],
    /// `R h + b_hh` for each gate.
    pub product: [R; SLOTS],
    /// w_i, w_f, w_o.
    pub peepholes: [R; PEEPHOLES],
    /// The limit of |c|, in a cell that clips.
    pub clip: R,
    pub h: R,
    pub c: R,
}

/// What one unit holds going backward. `dh` and `dc` come in as the gradients of the states after the step, and leave
/// as those of the states before it, without what comes through the recurrent product.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backward<R> {
    pub slots: [R; SLOTS],
    /// w_i, w_f, w_o.
    pub peepholes: [R; PEEPHOLES],
    /// The limit of |c|, in a cell that clips.
    pub clip: R,
    pub h_before: R,
    pub c_before: R,
    pub h: R,
    pub c: R,
    pub dh: R,
    pub dc: R,
    /// For the second half of a cell of two stages: the gradient of the vector that [`Formulas::middle`] made.
    pub dmiddle: R,
}

/// A cell's scalar formulas.
pub(crate) trait Formulas {
    /// One step of one unit.
    fn forward<R: Real>(unit: &mut Forward<R>);

    /// The gradient of [`Formulas::forward`]; in a cell of two stages the part up to the second product.
    fn backward<R: Real>(unit: &mut Backward<R>);

    /// In a cell of two stages: what the first products make for the second one, left in slot 3.
    fn middle<R: Real>(_unit: &mut Forward<R>) {}

    /// The gradient of [`Formulas::middle`].
    fn middle_backward<R: Real>(_unit: &mut Backward<R>) {}
}

/// One sequence at one time step: H units, each vector `[H]`, slots `[slots, H]`.
pub(crate) struct ForwardRow<'a, R> {
    pub slots: &'a mut [R],
    /// `[gates, H]`.
    pub product: &'a [R],
    /// `[3, H]`: w_i, w_f, w_o; empty in a cell without.
    pub peepholes: &'a [R],
    pub clip: R,
    pub h_before: &'a [R],
    pub c_before: &'a [R],
    pub h: &'a mut [R],
    pub c: &'a mut [R],
}

/// One sequence at one time step on the way back. Vectors that a cell has no use for are empty.
pub(crate) struct BackwardRow<'a, R> {
    pub slots: &'a mut [R],
    /// `[3, H]`: w_i, w_f, w_o.
    pub peepholes: &'a [R],
    pub clip: R,
    pub h_before: &'a [R],
    pub c_before: &'a [R],
    pub h: &'a [R],
    pub c: &'a [R],
    pub dh: &'a mut [R],
    pub dc: &'a mut [R],
    pub dmiddle: &'a [R],
}

/// A cell's formulas, applied to a row of units at a time.
pub(crate) struct Rows<R> {
    pub forward: fn(usize, ForwardRow<R>),
    pub middle: fn(usize, ForwardRow<R>),
    pub backward: fn(usize, BackwardRow<R>),
    pub middle_backward: fn(usize, BackwardRow<R>),
}

/// Units that go through the formulas together, so that the compiler makes vector code of them.
const LANES: usize = 16;

impl<R: Real> Rows<R> {
    fn of<F: Formulas>() -> Self {
        Rows {
            forward: |units, row| forward_row(units, row, F::forward),
            middle: |units, row| forward_row(units, row, F::middle),
            backward: |units, row| backward_row(units, row, F::backward),
            middle_backward: |units, row| backward_row(units, row, F::middle_backward),
        }
    }
}

/// Up to LANES numbers of block `block` of `from`, from unit `first` on; zeros where there are none.
#[inline(always)]
fn load<R: Real>(from: &[R], block: usize, units: usize, first: usize, lanes: usize) -> [R; LANES] {
    let mut values = [R::zero(); LANES];
    if let Some(part) = from.get(block * units + first..block * units + first + lanes) {
        values[..lanes].copy_from_slice(part);
    }
    values
}

#[inline(always)]
fn store<R: Real>(
    values: &[R; LANES],
    to: &mut [R],
    block: usize,
    units: usize,
    first: usize,
    lanes: usize,
) {
    if let Some(part) = to.get_mut(block * units + first..block * units + first + lanes) {
        part.copy_from_slice(&values[..lanes]);
    }
}

#[inline(always)]
fn forward_row<R: Real>(units: usize, row: ForwardRow<R>, formula: impl Fn(&mut Forward<R>)) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for first in (0..units).step_by(LANES) {
                let lanes = LANES.min(units - first);
                let mut slots: [[R; LANES]; SLOTS] =
                    std::array::from_fn(|block| load(row.slots, block, units, first, lanes));
                let product: [[R; LANES]; SLOTS] =
                    std::array::from_fn(|block| load(row.product, block, units, first, lanes));
                let peepholes: [[R; LANES]; PEEPHOLES] =
                    std::array::from_fn(|block| load(row.peepholes, block, units, first, lanes));
                let mut h = load(row.h_before, 0, units, first, lanes);
                let mut c = load(row.c_before, 0, units, first, lanes);
                for lane in 0..LANES {
                    let mut unit = Forward {
                        slots: std::array::from_fn(|block| slots[block][lane]),
                        product: std::array::from_fn(|block| product[block][lane]),
                        peepholes: std::array::from_fn(|block| peepholes[block][lane]),
                        clip: row.clip,
                        h: h[lane],
                        c: c[lane],
                    };
                    formula(&mut unit);
                    (0..SLOTS).for_each(|block| slots[block][lane] = unit.slots[block]);
                    (h[lane], c[lane]) = (unit.h, unit.c);
                }
                (0..SLOTS)
                    .for_each(|block| store(&slots[block], row.slots, block, units, first, lanes));
                store(&h, row.h, 0, units, first, lanes);
                store(&c, row.c, 0, units, first, lanes);
            }
        },
    );
}

#[inline(always)]
fn backward_row<R: Real>(units: usize, row: BackwardRow<R>, formula: impl Fn(&mut Backward<R>)) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for first in (0..units).step_by(LANES) {
                let lanes = LANES.min(units - first);
                let mut slots: [[R; LANES]; SLOTS] =
                    std::array::from_fn(|block| load(row.slots, block, units, first, lanes));
                let peepholes: [[R; LANES]; PEEPHOLES] =
                    std::array::from_fn(|block| load(row.peepholes, block, units, first, lanes));
                let h_before = load(row.h_before, 0, units, first, lanes);
                let c_before = load(row.c_before, 0, units, first, lanes);
                let h = load(row.h, 0, units, first, lanes);
                let c = load(row.c, 0, units, first, lanes);
                let dmiddle = load(row.dmiddle, 0, units, first, lanes);
                let mut dh = load(row.dh, 0, units, first, lanes);
                let mut dc = load(row.dc, 0, units, first, lanes);
                for lane in 0..LANES {
                    let mut unit = Backward {
                        slots: std::array::from_fn(|block| slots[block][lane]),
                        peepholes: std::array::from_fn(|block| peepholes[block][lane]),
                        clip: row.clip,
                        h_before: h_before[lane],
                        c_before: c_before[lane],
                        h: h[lane],
                        c: c[lane],
                        dh: dh[lane],
                        dc: dc[lane],
                        dmiddle: dmiddle[lane],
                    };
                    formula(&mut unit);
                    (0..SLOTS).for_each(|block| slots[block][lane] = unit.slots[block]);
                    (dh[lane], dc[lane]) = (unit.dh, unit.dc);
                }
                (0..SLOTS)
                    .for_each(|block| store(&slots[block], row.slots, block, units, first, lanes));
                store(&dh, row.dh, 0, units, first, lanes);
                store(&dc, row.dc, 0, units, first, lanes);
            }
        },
    );
}
