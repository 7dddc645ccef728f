//! The formulas of a cell applied to a row of units, with the widest vector instructions available.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::Simd;

use super::{BackwardUnit, FormulaOptions, Formulas, ForwardUnit, PEEPHOLES, SLOTS};
use crate::numeric::real::{Lanes, Real};

/// One sequence at one time step in the forward pass: H units; vectors are `[H]`, slots
/// `[slots, H]`. A vector that the cell does not use is empty.
pub(crate) struct ForwardRow<'a, R> {
    pub slots: &'a mut [R],
    /// `[gates, H]`.
    pub product: &'a [R],
    /// `[PEEPHOLES, H]`.
    pub peepholes: &'a [R],
    pub clip: R,
    pub options: FormulaOptions,
    pub h_before: &'a [R],
    pub c_before: &'a [R],
    pub h: &'a mut [R],
    pub c: &'a mut [R],
}

/// One sequence at one time step in the backward pass. A vector that the cell does not use is
/// empty.
pub(crate) struct BackwardRow<'a, R> {
    pub slots: &'a mut [R],
    /// `[PEEPHOLES, H]`.
    pub peepholes: &'a [R],
    pub clip: R,
    pub options: FormulaOptions,
    pub h_before: &'a [R],
    pub c_before: &'a [R],
    pub h: &'a [R],
    pub c: &'a [R],
    pub dh: &'a mut [R],
    pub dc: &'a mut [R],
    pub dmiddle: &'a [R],
}

/// The formulas of one cell over a row; the first argument is H.
#[derive(Debug)]
pub(crate) struct Rows<R> {
    pub forward: fn(usize, ForwardRow<R>),
    pub middle: fn(usize, ForwardRow<R>),
    pub backward: fn(usize, BackwardRow<R>),
    pub middle_backward: fn(usize, BackwardRow<R>),
}

impl<R: Real> Rows<R> {
    /// The formulas `F`, those that clip c, or those that look up `options`. A cell without
    /// options has formulas without branches.
    pub(super) fn of<F: Formulas>(clips: bool, options: FormulaOptions) -> Self {
        match (clips, options.is_default()) {
            (false, true) => Self::exactly::<F>(),
            (true, true) => Self::exactly::<F::Clipped>(),
            (false, false) => Self::exactly::<F::Optional>(),
            (true, false) => Self::exactly::<<F::Clipped as Formulas>::Optional>(),
        }
    }

    fn exactly<F: Formulas>() -> Self {
        Rows {
            forward: |units, row| R::vectorize(RowFormula::<_, F, false>::new(units, row)),
            middle: |units, row| R::vectorize(RowFormula::<_, F, true>::new(units, row)),
            backward: |units, row| R::vectorize(RowFormula::<_, F, false>::new(units, row)),
            middle_backward: |units, row| R::vectorize(RowFormula::<_, F, true>::new(units, row)),
        }
    }
}

/// A row and the formula to apply to it: the middle's, or the unit's own. The formula is a type
/// parameter, because a function pointer or closure would be compiled once, for the baseline
/// instruction set; only inlined code takes on the caller's.
struct RowFormula<Row, F, const MIDDLE: bool> {
    units: usize,
    row: Row,
    formulas: PhantomData<F>,
}

impl<Row, F, const MIDDLE: bool> RowFormula<Row, F, MIDDLE> {
    fn new(units: usize, row: Row) -> Self {
        RowFormula {
            units,
            row,
            formulas: PhantomData,
        }
    }
}

/// Units of a row that fill one vector, or the row's remainder.
struct Units<S> {
    simd: S,
    /// H.
    all: usize,
    own: Range<usize>,
}

impl<S: Simd> Units<S> {
    /// Loads these units of block `block` of `[blocks, H]`; zeros beyond the last block.
    #[inline(always)]
    fn load<R: Real>(&self, from: &[R], block: usize) -> R::Vector<S> {
        match from.get(self.range(block)) {
            Some(part) => R::Vector::<S>::load(self.simd, part),
            None => R::Vector::<S>::splat(self.simd, R::zero()),
        }
    }

    /// Stores these units of block `block`; nothing beyond the last block.
    #[inline(always)]
    fn store<R: Real>(&self, values: R::Vector<S>, to: &mut [R], block: usize) {
        if let Some(part) = to.get_mut(self.range(block)) {
            values.store(part);
        }
    }

    // Not a loop: an array that is indexed by a variable is kept in memory, not in registers.
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
    fn range(&self, block: usize) -> Range<usize> {
        block * self.all + self.own.start..block * self.all + self.own.end
    }
}

impl<Row: UnitRow, F: Formulas, const MIDDLE: bool> pulp::WithSimd for RowFormula<Row, F, MIDDLE> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (all, mut row) = (self.units, self.row);
        let (lanes, mut first) = (<Row::Number as Real>::Vector::<S>::LANES, 0);
        // A loop of its own for whole vectors, whose length is then a constant where it is loaded.
        while first + lanes <= all {
            let own = first..first + lanes;
            row.apply::<S, F, MIDDLE>(Units { simd, all, own });
            first += lanes;
        }
        if first < all {
            let own = first..all;
            row.apply::<S, F, MIDDLE>(Units { simd, all, own });
        }
    }
}

/// A row to whose units a formula is applied, one vector at a time.
trait UnitRow {
    type Number: Real;
    fn apply<S: Simd, F: Formulas, const MIDDLE: bool>(&mut self, units: Units<S>);
}

impl<R: Real> UnitRow for ForwardRow<'_, R> {
    type Number = R;

    #[inline(always)]
    fn apply<S: Simd, F: Formulas, const MIDDLE: bool>(&mut self, units: Units<S>) {
        let simd = units.simd;
        let mut unit = ForwardUnit {
            slots: units.load_slots(self.slots),
            product: units.load_slots(self.product),
            peepholes: units.load_peepholes(self.peepholes),
            clip: R::Vector::<S>::splat(simd, self.clip),
            options: self.options,
            h: units.load(self.h_before, 0),
            c: units.load(self.c_before, 0),
        };
        if MIDDLE {
            F::middle(&mut unit);
        } else {
            F::forward(&mut unit);
        }
        units.store_slots(unit.slots, self.slots);
        units.store(unit.h, self.h, 0);
        units.store(unit.c, self.c, 0);
    }
}

impl<R: Real> UnitRow for BackwardRow<'_, R> {
    type Number = R;

    #[inline(always)]
    fn apply<S: Simd, F: Formulas, const MIDDLE: bool>(&mut self, units: Units<S>) {
        let simd = units.simd;
        let mut unit = BackwardUnit {
            slots: units.load_slots(self.slots),
            peepholes: units.load_peepholes(self.peepholes),
            clip: R::Vector::<S>::splat(simd, self.clip),
            options: self.options,
            h_before: units.load(self.h_before, 0),
            c_before: units.load(self.c_before, 0),
            h: units.load(self.h, 0),
            c: units.load(self.c, 0),
            dh: units.load(self.dh, 0),
            dc: units.load(self.dc, 0),
            dmiddle: units.load(self.dmiddle, 0),
        };
        if MIDDLE {
            F::middle_backward(&mut unit);
        } else {
            F::backward(&mut unit);
        }
        units.store_slots(unit.slots, self.slots);
        units.store(unit.dh, self.dh, 0);
        units.store(unit.dc, self.dc, 0);
    }
}
