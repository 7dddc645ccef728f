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

use std::marker::PhantomData;
use std::ops::Range;

use pulp::Simd;
use serde::{Deserialize, Serialize};

use crate::numeric::real::{Lanes, Number, Real};

/// Slots of one unit, and gates' products of one unit.
pub const SLOTS: usize = 4;

/// Gates that see c in a cell with peepholes: i, f, o.
pub const PEEPHOLES: usize = 3;

/// The description of a cell on which networks, recordings and kernels depend.
#[derive(Debug, Clone, Copy)]
pub struct CellSpec {
    /// The name in recipes.
    pub name: &'static str,
    /// PyTorch's name for a stack of such cells, where there is one.
    pub pytorch: Option<&'static str>,
    /// G: blocks of H rows in the weight matrices.
    pub gates: usize,
    /// The number of gates that have rows in the recurrent matrix: all of them, or 0 in a cell whose
    /// gates depend on the input alone. Such a cell has no recurrent matrix and no recurrent bias.
    pub recurrent_gates: usize,
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

    /// Returns the cell's description.
    pub fn facts(self) -> CellSpec {
        self.spec()
    }

    /// Returns the cell's description.
    pub fn spec(self) -> CellSpec {
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
#[derive(Debug, Clone, Copy)]
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
#[derive(Debug, Clone, Copy)]
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
    fn forward<R: Number>(unit: &mut Forward<R>);

    /// The gradient of [`Formulas::forward`]; in a cell of two stages the part up to the second product.
    fn backward<R: Number>(unit: &mut Backward<R>);

    /// In a cell of two stages: what the first products make for the second one, left in slot 3.
    fn middle<R: Number>(_unit: &mut Forward<R>) {}

    /// The gradient of [`Formulas::middle`].
    fn middle_backward<R: Number>(_unit: &mut Backward<R>) {}
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

impl<R: Real> Rows<R> {
    fn of<F: Formulas>() -> Self {
        Rows {
            forward: |units, row| walk(Walk::<_, F, false>::new(units, row)),
            middle: |units, row| walk(Walk::<_, F, true>::new(units, row)),
            backward: |units, row| walk(Walk::<_, F, false>::new(units, row)),
            middle_backward: |units, row| walk(Walk::<_, F, true>::new(units, row)),
        }
    }
}

/// Takes a row of units through a formula with the widest vector instructions that there are.
fn walk(walk: impl pulp::WithSimd<Output = ()>) {
    pulp::Arch::new().dispatch(walk);
}

/// A cell's formula, its middle's or its own, on the way along a row of units. The formula is a type and no function or
/// closure: those would be compiled once, for the least instructions, and only what is inlined takes on a caller's.
struct Walk<Row, F, const MIDDLE: bool> {
    units: usize,
    row: Row,
    formulas: PhantomData<F>,
}

impl<Row, F, const MIDDLE: bool> Walk<Row, F, MIDDLE> {
    fn new(units: usize, row: Row) -> Self {
        Walk {
            units,
            row,
            formulas: PhantomData,
        }
    }
}

/// As many units of a row as a vector has, or its rest.
struct Units<S> {
    simd: S,
    /// H.
    all: usize,
    own: Range<usize>,
}

impl<S: Simd> Units<S> {
    /// These units of block `block` of `[blocks, H]`; zeros where there is no such block.
    #[inline(always)]
    fn load<R: Real>(&self, from: &[R], block: usize) -> R::Vector<S> {
        match from.get(self.place(block)) {
            Some(part) => R::Vector::<S>::load(self.simd, part),
            None => R::Vector::<S>::splat(self.simd, R::zero()),
        }
    }

    #[inline(always)]
    fn store<R: Real>(&self, values: R::Vector<S>, to: &mut [R], block: usize) {
        if let Some(part) = to.get_mut(self.place(block)) {
            values.store(part);
        }
    }

    // Written out, and not a loop: an array that is walked through lies in memory.
    #[inline(always)]
    fn load_slots<R: Real>(&self, from: &[R]) -> [R::Vector<S>; SLOTS] {
        [
            self.load(from, 0),
            self.load(from, 1),
            self.load(from, 2),
            self.load(from, 3),
        ]
    }

    #[inline(always)]
    fn store_slots<R: Real>(&self, [a, b, c, d]: [R::Vector<S>; SLOTS], to: &mut [R]) {
        self.store(a, to, 0);
        self.store(b, to, 1);
        self.store(c, to, 2);
        self.store(d, to, 3);
    }

    #[inline(always)]
    fn load_peepholes<R: Real>(&self, from: &[R]) -> [R::Vector<S>; PEEPHOLES] {
        [self.load(from, 0), self.load(from, 1), self.load(from, 2)]
    }

    #[inline(always)]
    fn place(&self, block: usize) -> Range<usize> {
        block * self.all + self.own.start..block * self.all + self.own.end
    }
}

impl<Row: UnitRow, F: Formulas, const MIDDLE: bool> pulp::WithSimd for Walk<Row, F, MIDDLE> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (all, mut row) = (self.units, self.row);
        let (lanes, mut first) = (<Row::Number as Real>::Vector::<S>::LANES, 0);
        // Apart, so that the length of a whole vector is known where it is loaded.
        while first + lanes <= all {
            let own = first..first + lanes;
            row.pass::<S, F, MIDDLE>(Units { simd, all, own });
            first += lanes;
        }
        if first < all {
            let own = first..all;
            row.pass::<S, F, MIDDLE>(Units { simd, all, own });
        }
    }
}

/// A row whose units go through a formula a few at a time.
trait UnitRow {
    type Number: Real;
    fn pass<S: Simd, F: Formulas, const MIDDLE: bool>(&mut self, units: Units<S>);
}

impl<R: Real> UnitRow for ForwardRow<'_, R> {
    type Number = R;

    #[inline(always)]
    fn pass<S: Simd, F: Formulas, const MIDDLE: bool>(&mut self, units: Units<S>) {
        let simd = units.simd;
        let mut unit = Forward {
            slots: units.load_slots(self.slots),
            product: units.load_slots(self.product),
            peepholes: units.load_peepholes(self.peepholes),
            clip: R::Vector::<S>::splat(simd, self.clip),
            h: units.load(self.h_before, 0),
            c: units.load(self.c_before, 0),
        };
        match MIDDLE {
            true => F::middle(&mut unit),
            false => F::forward(&mut unit),
        }
        units.store_slots(unit.slots, self.slots);
        units.store(unit.h, self.h, 0);
        units.store(unit.c, self.c, 0);
    }
}

impl<R: Real> UnitRow for BackwardRow<'_, R> {
    type Number = R;

    #[inline(always)]
    fn pass<S: Simd, F: Formulas, const MIDDLE: bool>(&mut self, units: Units<S>) {
        let simd = units.simd;
        let mut unit = Backward {
            slots: units.load_slots(self.slots),
            peepholes: units.load_peepholes(self.peepholes),
            clip: R::Vector::<S>::splat(simd, self.clip),
            h_before: units.load(self.h_before, 0),
            c_before: units.load(self.c_before, 0),
            h: units.load(self.h, 0),
            c: units.load(self.c, 0),
            dh: units.load(self.dh, 0),
            dc: units.load(self.dc, 0),
            dmiddle: units.load(self.dmiddle, 0),
        };
        match MIDDLE {
            true => F::middle_backward(&mut unit),
            false => F::backward(&mut unit),
        }
        units.store_slots(unit.slots, self.slots);
        units.store(unit.dh, self.dh, 0);
        units.store(unit.dc, self.dc, 0);
    }
}
