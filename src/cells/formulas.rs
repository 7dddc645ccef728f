//! The scalar formulas of a cell, over one unit or over a vector of units.

use super::{CellSpec, FormulaOptions, PEEPHOLES, SLOTS};
use crate::numeric::real::Number;

/// One unit in the forward pass. `h` and `c` come in as the states before the step and leave as
/// those after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForwardUnit<R> {
    pub slots: [R; SLOTS],
    /// `R h + b_hh` of each gate; zeros in a cell without recurrent gates.
    pub product: [R; SLOTS],
    /// The peephole weights, in the order of the cell's [`CellSpec::peepholes`].
    pub peepholes: [R; PEEPHOLES],
    /// The limit of |c|, in a cell that clips.
    pub clip: R,
    pub options: FormulaOptions,
    pub h: R,
    pub c: R,
}

/// One unit in the backward pass. `dh` and `dc` come in as the gradients of the states after the
/// step and leave as those of the states before it, without the part through the recurrent matmul.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackwardUnit<R> {
    pub slots: [R; SLOTS],
    /// The peephole weights, in the order of the cell's [`CellSpec::peepholes`].
    pub peepholes: [R; PEEPHOLES],
    /// The limit of |c|, in a cell that clips.
    pub clip: R,
    pub options: FormulaOptions,
    pub h_before: R,
    pub c_before: R,
    pub h: R,
    pub c: R,
    pub dh: R,
    pub dc: R,
    /// In the first stage of a cell of two: the gradient of the vector that [`Formulas::middle`]
    /// makes.
    pub dmiddle: R,
}

/// A cell: its description and its scalar formulas.
pub(crate) trait Formulas {
    /// The cell's description.
    const SPEC: CellSpec;

    /// The same formulas with |c| clipped; `Self` in a cell that clips nothing.
    type Clipped: Formulas;

    /// The same formulas with the activation functions of the unit's options; `Self` in a cell
    /// whose functions are given.
    type Optional: Formulas;

    /// Computes one step of one unit.
    fn forward<R: Number>(unit: &mut ForwardUnit<R>);

    /// Computes the gradient of [`Formulas::forward`]; in a cell of two stages, of its second
    /// stage.
    fn backward<R: Number>(unit: &mut BackwardUnit<R>);

    /// Computes, in a cell of two stages, the vector that the second stage multiplies; it is left
    /// in the last slot.
    fn middle<R: Number>(_unit: &mut ForwardUnit<R>) {}

    /// Computes the gradient of [`Formulas::middle`].
    fn middle_backward<R: Number>(_unit: &mut BackwardUnit<R>) {}
}
