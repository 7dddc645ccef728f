//! The backward pass on the CPU: the twin of `shaders/scan_backward.wgsl` and
//! `shaders/step_backward.wgsl`.

use std::ops::Range;

use rayon::prelude::*;

use super::cpu::{TILE, TimeRows, add, chunks_or_empty, multiply, row_or_empty};
use super::{Recurrence, TimeDirection};
use crate::cells::{BackwardRow, Rows};
use crate::memory::Memory;
use crate::numeric::aligned::prefetch;
use crate::numeric::gemm::{Addend, PackedB, View};
use crate::numeric::precision::Precision;
use crate::numeric::real::Real;

/// The operands that all tiles read.
struct BackwardPass<'a, R: Real> {
    layer: &'a Recurrence,
    formulas: Rows<R>,
    peepholes: &'a [R],
    /// The limit of |c|; read only by a cell that clips.
    clip: R,
    /// The rows of R of each of [`Recurrence::product_runs`], packed once for all time steps.
    recurrent: Vec<(Range<usize>, PackedB<'a, R>)>,
    /// W_hr.
    projection: Option<PackedB<'a, R>>,
    /// `[T+1, B, P]`.
    h: &'a [R],
    /// `[T+1, B, H]`, or empty.
    c: &'a [R],
    /// `[T, B, P]`.
    upstream: Option<&'a [R]>,
    lengths: &'a [u32],
}

/// A tile on its way back through time: the sequences that one task takes.
pub(in crate::kernels) struct BackwardTile<'a, R: Real> {
    units: UnitRows<'a, R>,
    /// `[sequences, P]`: the gradient of h.
    dh: &'a mut [R],
    /// `[sequences, H]`: the gradient of the operand of the second stage, m or the middle of the
    /// cell; empty in a layer of one stage.
    dmiddle: Vec<R>,
}

/// The part of a tile that the cell's formulas read and write.
struct UnitRows<'a, R: Real> {
    pass: &'a BackwardPass<'a, R>,
    /// The first sequence of the tile.
    first: usize,
    /// The number of its sequences.
    sequences: usize,
    /// The valid steps of its longest sequence.
    longest: usize,
    gates: TimeRows<'a, R>,
    /// `[sequences, H]`: the gradient of c; empty if the cell has no c.
    dc: &'a mut [R],
    /// `[sequences, P]`: h before the step, times its mask; empty unless the state is dropped.
    dropped: Vec<R>,
    /// `[sequences, P]`: the gradient of h times the mask of a gate; empty unless gates have masks.
    masked: Vec<R>,
    /// `[H]` and `[H]`, or `[P]` in a projected layer: the gradients of one sequence's h and c that
    /// pass a step where these keep their values.
    kept: Vec<R>,
}

impl Recurrence {
    /// Calls `run` for each tile of the batch, in parallel. `run` may take the tile through the
    /// time steps in `steps`.
    pub(in crate::kernels) fn backward<R: Real>(
        &self,
        memory: &Memory<R>,
        steps: Range<usize>,
        run: impl Fn(&mut BackwardTile<R>) + Sync,
    ) {
        let (b, h, p) = (self.batch, self.hidden_size, self.output_size);
        let exact = memory.read(&self.weights.recurrent);
        let rounded = self.rounded_weights(&exact, TimeDirection::Backward);
        let recurrent = rounded.as_deref().unwrap_or(&exact);
        let peepholes = self.weights.peephole.map(|values| memory.read(&values));
        let lengths = memory.read_index(&self.lengths);
        let (states, cells) = (memory.read(&self.states.h), memory.read(&self.states.c));
        let upstream = self.gradients.upstream.map(|values| memory.read(&values));
        let pass = BackwardPass {
            peepholes: peepholes.as_deref().unwrap_or(&[]),
            h: &states,
            c: &cells,
            upstream: upstream.as_deref(),
            lengths: &lengths,
            ..BackwardPass::new(self, recurrent, memory.precision())
        };

        let mut gates = memory.write(&self.gates);
        let mut dstate = memory.write(&self.gradients.dstate);
        let (dh, dc) = dstate.split_at_mut(b * p);
        let (row_size, held) = (self.row_size(), self.steps_with_mask(steps));
        let gates = TimeRows::by_tile(&mut gates, b * row_size, row_size, held);
        let dstates = dh
            .chunks_mut(TILE * p)
            .zip(chunks_or_empty(dc, TILE * h))
            .collect::<Vec<_>>();
        gates
            .into_par_iter()
            .zip(dstates)
            .enumerate()
            .for_each(|(tile, (gates, (dh, dc)))| {
                run(&mut BackwardTile::new(&pass, tile * TILE, gates, dh, dc));
            });
    }
}

impl<'a, R: Real> BackwardPass<'a, R> {
    fn new(layer: &'a Recurrence, weights: &'a [R], precision: Precision) -> Self {
        let (h, p) = (layer.hidden_size, layer.output_size);
        let (recurrent, projection) = weights.split_at(layer.cell.spec().recurrent_gates * h * p);
        let packed = |run: Range<usize>| {
            let part = View::new(&recurrent[run.start * h * p..], run.len() * h, p, p);
            (run, PackedB::new(part, precision))
        };
        BackwardPass {
            layer,
            formulas: (layer.cell)
                .rows::<R>(layer.options.cell_clip.is_some(), layer.options.formulas()),
            peepholes: &[],
            clip: R::of(layer.options.cell_clip.unwrap_or(0.0)),
            recurrent: layer.product_runs().into_iter().map(packed).collect(),
            projection: layer
                .projects()
                .then(|| PackedB::new(View::new(projection, p, h, h), precision)),
            h: &[],
            c: &[],
            upstream: None,
            lengths: &[],
        }
    }

    /// Returns the valid steps of a sequence.
    #[inline]
    fn length(&self, sequence: usize) -> usize {
        (self.lengths[sequence] as usize).min(self.layer.steps)
    }

    /// Returns h before time step `t` of `count` sequences from `first` on, before dropout.
    #[inline]
    fn h(&self, t: usize, first: usize, count: usize) -> &'a [R] {
        let p = self.layer.output_size;
        &self.h[(t * self.layer.batch + first) * p..][..count * p]
    }

    /// Returns c before time step `t` of a sequence; empty if the cell has no c.
    #[inline]
    fn c(&self, t: usize, sequence: usize) -> &'a [R] {
        let row = t * self.layer.batch + sequence;
        &self.c[row_or_empty(self.c, row, self.layer.hidden_size)]
    }
}

impl<'a, R: Real> BackwardTile<'a, R> {
    fn new(
        pass: &'a BackwardPass<'a, R>,
        first: usize,
        gates: TimeRows<'a, R>,
        dh: &'a mut [R],
        dc: &'a mut [R],
    ) -> Self {
        let layer = pass.layer;
        let sequences = dh.len() / layer.output_size;
        let lengths = (first..first + sequences).map(|sequence| pass.length(sequence));
        let zeros = |count: usize| vec![R::zero(); count * sequences];
        BackwardTile {
            units: UnitRows {
                pass,
                first,
                sequences,
                longest: lengths.max().unwrap_or(0),
                gates,
                dc,
                dropped: zeros(usize::from(layer.options.drops_state) * layer.output_size),
                masked: zeros(usize::from(layer.options.drops_recurrent) * layer.output_size),
                kept: vec![R::zero(); (2 * layer.hidden_size).max(layer.output_size)],
            },
            dh,
            dmiddle: zeros((layer.stages() - 1) * layer.hidden_size),
        }
    }

    /// Clears the gradient of the last h, unless it is given. The pass begins so.
    pub(in crate::kernels) fn begin_h(&mut self) {
        if self.units.pass.layer.gradients.given_states < 1 {
            self.dh.fill(R::zero());
        }
    }

    /// Clears the gradient of the last c, unless it is given.
    pub(in crate::kernels) fn begin_c(&mut self) {
        if self.units.pass.layer.gradients.given_states < 2 {
            self.units.dc.fill(R::zero());
        }
    }

    /// Takes the tile back through time step `t`.
    pub(in crate::kernels) fn time_step(&mut self, t: usize) {
        self.units.load_h(t);
        self.second_stage(t);
        self.first_stage(t);
        // The gates of padded steps have no gradient.
        if t < self.units.longest {
            self.multiply_recurrent_back(t);
        }
    }

    /// Takes the outputs of step `t` back, and the units unless they are behind a projection.
    pub(in crate::kernels) fn units_step(&mut self, t: usize) {
        self.units.load_h(t);
        self.second_stage(t);
    }

    /// Takes what remains of step `t` back, except for the recurrent matmul, in a layer of two
    /// stages.
    pub(in crate::kernels) fn middle_step(&mut self, t: usize) {
        self.units.load_h(t);
        self.first_stage(t);
    }

    /// Undoes the end of a time step: what follows its last matmul.
    fn second_stage(&mut self, t: usize) {
        self.add_upstream(t);
        if self.units.pass.layer.projects() {
            self.projection_backward(t);
        } else {
            let formula = self.units.pass.formulas.backward;
            self.units.apply(t, formula, self.dh, &[]);
        }
    }

    /// Undoes the beginning of a time step of two stages: its last matmul, and what precedes it.
    fn first_stage(&mut self, t: usize) {
        let (pass, layer) = (self.units.pass, self.units.pass.layer);
        if layer.projects() {
            self.multiply_projection_back(t);
            let formula = pass.formulas.backward;
            self.units.apply(t, formula, &mut self.dmiddle, &[]);
        } else if layer.has_middle() {
            if t < self.units.longest {
                self.dmiddle.fill(R::zero());
                self.units.multiply_back(t, 1, &mut self.dmiddle);
                if layer.options.drops_recurrent {
                    let gate = layer.cell.spec().first_stage;
                    layer.drop_gate(self.units.gates.at(t), gate, &mut self.dmiddle);
                }
            }
            let formula = pass.formulas.middle_backward;
            self.units.apply(t, formula, self.dh, &self.dmiddle);
        }
    }

    /// Multiplies the gradient of h after step `t` by the state's mask, and adds the gradient of
    /// the layer's output.
    fn add_upstream(&mut self, t: usize) {
        let UnitRows {
            pass, first, gates, ..
        } = &self.units;
        let (layer, p) = (pass.layer, pass.layer.output_size);
        let is_valid = |row: &usize| t < pass.length(first + row);
        if layer.options.drops_state {
            let masks = layer.masks(gates.at(t));
            let rows = self.dh.chunks_exact_mut(p).zip(masks).enumerate();
            for (_, (dh, mask)) in rows.filter(|(row, _)| is_valid(row)) {
                multiply(dh, mask);
            }
        }
        if let Some(upstream) = pass.upstream {
            let rows = self.dh.chunks_exact_mut(p).enumerate();
            for (row, dh) in rows.filter(|(row, _)| is_valid(row)) {
                let upstream = &upstream[(t * layer.batch + first + row) * p..][..p];
                dh.iter_mut().zip(upstream).for_each(|(dh, &du)| *dh += du);
            }
        }
    }

    /// Overwrites `W_hr m` of step `t` with its gradient, which is zero where h was clipped.
    fn projection_backward(&mut self, t: usize) {
        let UnitRows {
            pass,
            first,
            gates,
            kept,
            ..
        } = &mut self.units;
        let (layer, h, p) = (pass.layer, pass.layer.hidden_size, pass.layer.output_size);
        let skip = (layer.cell.spec().slots + 1) * h;
        let own_len = layer.row_size() - layer.masks_len();
        let limit = layer.options.projection.and_then(|options| options.clip);
        let limit = limit.map(R::of);
        let rows = gates.at_mut(t).chunks_exact_mut(layer.row_size());
        for (row, (slots, dh)) in rows.zip(self.dh.chunks_exact_mut(p)).enumerate() {
            let (slots, masks) = slots.split_at_mut(own_len);
            let projected = &mut slots[skip..][..p];
            if t >= pass.length(*first + row) {
                projected.fill(R::zero());
                continue;
            }
            let kept = &mut kept[..p];
            kept.fill(R::zero());
            if layer.options.zoneout.h > 0.0 {
                layer.split_old(0, masks, dh, kept);
            }
            for ((value, dh), kept) in projected.iter_mut().zip(dh).zip(kept) {
                *value = limit.map_or(*dh, |limit| dh.past_clip(*value, limit));
                *dh = *kept;
            }
        }
    }

    /// Computes the gradient of m: that of `W_hr m` times W_hr.
    fn multiply_projection_back(&mut self, t: usize) {
        let UnitRows {
            pass,
            sequences,
            longest,
            gates,
            ..
        } = &self.units;
        let (layer, h, p) = (pass.layer, pass.layer.hidden_size, pass.layer.output_size);
        let skip = (layer.cell.spec().slots + 1) * h;
        let operand = View::new(&gates.at(t)[skip..], *sequences, p, layer.row_size());
        self.dmiddle.fill(R::zero());
        if let Some(weights) = pass.projection.as_ref().filter(|_| t < *longest) {
            weights.matmul(operand, Addend::C, &mut self.dmiddle, h);
        }
    }

    /// Adds to the gradient of h before step `t` what comes through the recurrent matmul of the
    /// first stage.
    pub(in crate::kernels) fn multiply_recurrent_back(&mut self, t: usize) {
        self.units.multiply_back(t, 0, self.dh);
    }
}

impl<R: Real> UnitRows<'_, R> {
    /// Multiplies h before step `t` by its dropout mask, if the layer drops states. The initial
    /// state has none.
    fn load_h(&mut self, t: usize) {
        let layer = self.pass.layer;
        if layer.options.drops_state {
            let h_before = self.pass.h(t, self.first, self.sequences);
            self.dropped.copy_from_slice(h_before);
            if t > 0 {
                layer.drop_state(self.gates.at(t - 1), &mut self.dropped);
            }
        }
    }

    /// Adds to `out` the gradients of a stage's gates at step `t`, times their rows of R.
    fn multiply_back(&mut self, t: usize, stage: usize, out: &mut [R]) {
        let (pass, layer) = (self.pass, self.pass.layer);
        let (spec, h, p) = (layer.cell.spec(), layer.hidden_size, layer.output_size);
        let gates = &layer.stage_gates()[stage];
        let runs = pass.recurrent.iter();
        for (run, weights) in runs.filter(|(run, _)| gates.contains(&run.start)) {
            let slots = &self.gates.at(t)[spec.product_slots[run.start] * h..];
            let operand = View::new(slots, self.sequences, run.len() * h, layer.row_size());
            if layer.options.drops_recurrent && stage == 0 {
                self.masked.fill(R::zero());
                weights.matmul(operand, Addend::C, &mut self.masked, p);
                layer.drop_gate(self.gates.at(t), run.start, &mut self.masked);
                add(out, &self.masked);
            } else {
                weights.matmul(operand, Addend::C, out, p);
            }
        }
    }

    /// Applies one of the cell's formulas to the units of step `t`. `dh` is the gradient of what
    /// the units gave, h or m. Without `dmiddle` it begins with the zoneout of the states.
    fn apply(&mut self, t: usize, formula: fn(usize, BackwardRow<R>), dh: &mut [R], dmiddle: &[R]) {
        let (pass, layer, first) = (self.pass, self.pass.layer, self.first);
        let (spec, h, row_size) = (layer.cell.spec(), layer.hidden_size, layer.row_size());
        let slots_h = spec.slots * h;
        let h_after = pass.h(t + 1, first, self.sequences);
        let h_before = if layer.options.drops_state {
            &self.dropped
        } else {
            pass.h(t, first, self.sequences)
        };
        let own_len = row_size - layer.masks_len();
        let has_zoneout = dmiddle.is_empty() && !layer.options.zoneout.is_none();
        let (rows, previous) = self.gates.with_previous(t);
        for (row, slots) in rows.chunks_exact_mut(row_size).enumerate() {
            let (slots, masks) = slots.split_at_mut(own_len);
            let (slots, sequence) = (&mut slots[..slots_h], first + row);
            if let Some(previous) = previous {
                prefetch(&previous[row * row_size..][..slots_h]);
                prefetch(pass.c(t.saturating_sub(1), sequence));
            }
            if t >= pass.length(sequence) {
                slots.fill(R::zero());
                continue;
            }
            // The formulas of a projected layer read no h.
            let own = row * h..(row + 1) * h;
            let own_h = if layer.projects() { 0..0 } else { own.clone() };
            let own_c = row_or_empty(pass.c, row, h);
            if has_zoneout {
                let [d_h, d_c] = [&mut dh[own_h.clone()], &mut self.dc[own_c.clone()]];
                layer.split_states(masks, [d_h, d_c], &mut self.kept);
            }
            let row = BackwardRow {
                slots,
                peepholes: pass.peepholes,
                clip: pass.clip,
                options: layer.options.formulas(),
                h_before: &h_before[own_h.clone()],
                c_before: pass.c(t, sequence),
                h: &h_after[own_h.clone()],
                c: pass.c(t + 1, sequence),
                dh: &mut dh[own],
                dc: &mut self.dc[own_c.clone()],
                dmiddle: &dmiddle[row_or_empty(dmiddle, row, h)],
            };
            formula(h, row);
            if has_zoneout {
                let (kept_h, kept_c) = self.kept.split_at(h);
                add(&mut dh[own_h], kept_h);
                add(&mut self.dc[own_c], kept_c);
            }
        }
    }
}
