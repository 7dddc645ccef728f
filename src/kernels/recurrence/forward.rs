//! The forward pass on the CPU: the twin of `shaders/scan_forward.wgsl` and
//! `shaders/step_forward.wgsl`.

use std::ops::Range;

use rayon::prelude::*;

use super::cpu::{TILE, TimeRows, chunks_or_empty, multiply, row_or_empty};
use super::{Recurrence, TimeDirection};
use crate::cells::{ForwardRow, Rows};
use crate::memory::Memory;
use crate::numeric::aligned::prefetch;
use crate::numeric::gemm::{Addend, PackedB, View};
use crate::numeric::precision::Precision;
use crate::numeric::real::Real;

/// The input projection of a layer, `rows @ weights + addend`, for a scan that computes it step by
/// step.
pub(in crate::kernels) struct InputProjection<'a, R: Real> {
    /// `[T*B, I]`.
    pub rows: View<'a, R>,
    /// `[I, G*H]`.
    pub weights: PackedB<'a, R>,
    /// `[G*H]`.
    pub addend: Addend<'a, R>,
}

/// The operands that all tiles read.
struct ForwardPass<'a, R: Real> {
    layer: &'a Recurrence,
    formulas: Rows<R>,
    peepholes: &'a [R],
    /// The limit of |c|; read only by a cell that clips.
    clip: R,
    /// The transposed rows of R of runs of gates of one stage, packed once for all time steps.
    recurrent: Vec<(Range<usize>, PackedB<'a, R>)>,
    /// b_hh.
    bias: Option<&'a [R]>,
    /// The transpose of W_hr.
    projection: Option<PackedB<'a, R>>,
    input: Option<&'a InputProjection<'a, R>>,
    lengths: &'a [u32],
}

/// The part of the tensors that belongs to a tile: the sequences that one task takes through time.
struct ForwardRows<'a, R> {
    gates: TimeRows<'a, R>,
    h: TimeRows<'a, R>,
    c: TimeRows<'a, R>,
    last_h: &'a mut [R],
    last_c: &'a mut [R],
}

/// A tile on its way through time.
pub(in crate::kernels) struct ForwardTile<'a, R: Real> {
    pass: &'a ForwardPass<'a, R>,
    /// The first sequence of the tile.
    first: usize,
    /// The number of its sequences.
    sequences: usize,
    /// The valid steps of its longest sequence.
    longest: usize,
    rows: ForwardRows<'a, R>,
    /// `[sequences, G*H]`: `R h + b_hh`; empty in a cell without recurrent weights.
    products: Vec<R>,
    /// `[sequences, P]`: h before the step, times its mask; empty unless the state is dropped.
    dropped: Vec<R>,
    /// `[sequences, P]`: `W_hr m`; empty unless the layer projects.
    projected: Vec<R>,
    /// `[sequences, P]`: h before the step times the mask of a gate; empty unless gates have masks.
    masked: Vec<R>,
}

impl Recurrence {
    /// Calls `run` for each tile of the batch, in parallel. `run` may take the tile through the
    /// time steps in `steps`.
    pub(in crate::kernels) fn forward<R: Real>(
        &self,
        memory: &Memory<R>,
        steps: Range<usize>,
        input: Option<&InputProjection<R>>,
        run: impl Fn(&mut ForwardTile<R>) + Sync,
    ) {
        let (b, h, p) = (self.batch, self.hidden_size, self.output_size);
        let exact = memory.read(&self.weights.recurrent);
        let rounded = self.rounded_weights(&exact, TimeDirection::Forward);
        let recurrent = rounded.as_deref().unwrap_or(&exact);
        let bias = self.weights.bias.map(|bias| memory.read(&bias));
        let peepholes = self.weights.peephole.map(|values| memory.read(&values));
        let lengths = memory.read_index(&self.lengths);
        let pass = ForwardPass {
            input,
            lengths: &lengths,
            ..ForwardPass::new(
                self,
                recurrent,
                bias.as_deref(),
                peepholes.as_deref().unwrap_or(&[]),
                memory.precision(),
            )
        };

        let mut gates = memory.write(&self.gates);
        let mut states = memory.write(&self.states.h);
        let mut cells = memory.write(&self.states.c);
        let mut last = memory.write(&self.states.last);
        let (last_h, last_c) = last.split_at_mut(b * p);
        let row_size = self.row_size();
        let (held, with_initial) = (
            self.steps_with_mask(steps.clone()),
            steps.start..steps.end + 1,
        );
        let gates = TimeRows::by_tile(&mut gates, b * row_size, row_size, held);
        let states = TimeRows::by_tile(&mut states, b * p, p, with_initial.clone());
        let cells = TimeRows::by_tile(&mut cells, b * h, h, with_initial);
        let lasts = last_h
            .chunks_mut(TILE * p)
            .zip(chunks_or_empty(last_c, TILE * h))
            .collect::<Vec<_>>();
        gates
            .into_par_iter()
            .zip(states)
            .zip(cells)
            .zip(lasts)
            .enumerate()
            .for_each(|(tile, (((gates, h), c), (last_h, last_c)))| {
                let rows = ForwardRows {
                    gates,
                    h,
                    c,
                    last_h,
                    last_c,
                };
                run(&mut ForwardTile::new(&pass, tile * TILE, rows));
            });
    }
}

impl<'a, R: Real> ForwardPass<'a, R> {
    fn new(
        layer: &'a Recurrence,
        weights: &'a [R],
        bias: Option<&'a [R]>,
        peepholes: &'a [R],
        precision: Precision,
    ) -> Self {
        let (h, p) = (layer.hidden_size, layer.output_size);
        let (recurrent, projection) = weights.split_at(layer.cell.spec().recurrent_gates * h * p);
        let packed = |gates: Range<usize>| {
            let part = View::new(&recurrent[gates.start * h * p..], gates.len() * h, p, p);
            (gates, PackedB::new(part.t(), precision))
        };
        let stages = layer.stage_gates().into_iter();
        let runs = stages.flat_map(|gates| {
            if layer.options.drops_recurrent {
                gates.map(|gate| gate..gate + 1).collect()
            } else {
                vec![gates]
            }
        });
        ForwardPass {
            layer,
            formulas: (layer.cell)
                .rows::<R>(layer.options.cell_clip.is_some(), layer.options.formulas()),
            peepholes,
            clip: R::of(layer.options.cell_clip.unwrap_or(0.0)),
            recurrent: runs.filter(|run| !run.is_empty()).map(packed).collect(),
            bias,
            projection: layer
                .projects()
                .then(|| PackedB::new(View::new(projection, p, h, h).t(), precision)),
            input: None,
            lengths: &[],
        }
    }

    /// Returns the valid steps of a sequence.
    #[inline]
    fn length(&self, sequence: usize) -> usize {
        (self.lengths[sequence] as usize).min(self.layer.steps)
    }
}

impl<'a, R: Real> ForwardTile<'a, R> {
    fn new(pass: &'a ForwardPass<'a, R>, first: usize, rows: ForwardRows<'a, R>) -> Self {
        let layer = pass.layer;
        let sequences = rows.last_h.len() / layer.output_size;
        let lengths = (first..first + sequences).map(|sequence| pass.length(sequence));
        let zeros = |count: usize| vec![R::zero(); count * sequences];
        let outputs_if = |holds: bool| usize::from(holds) * layer.output_size;
        ForwardTile {
            pass,
            first,
            sequences,
            longest: lengths.max().unwrap_or(0),
            rows,
            products: zeros(layer.cell.spec().recurrent_gates * layer.hidden_size),
            dropped: zeros(outputs_if(layer.options.drops_state)),
            projected: zeros(outputs_if(layer.projects())),
            masked: zeros(outputs_if(layer.options.drops_recurrent)),
        }
    }

    /// Takes the tile through time step `t`.
    pub(in crate::kernels) fn time_step(&mut self, t: usize) {
        self.load_h(t);
        self.multiply_input(t);
        self.first_stage(t);
        self.second_stage(t);
    }

    /// Takes the tile through one stage of time step `t`, in a layer of two stages.
    pub(in crate::kernels) fn stage(&mut self, t: usize, stage: usize) {
        self.load_h(t);
        if stage == 0 {
            self.first_stage(t);
        } else {
            self.second_stage(t);
        }
    }

    /// Computes what depends on h before the step.
    fn first_stage(&mut self, t: usize) {
        self.multiply_recurrent(t, 0);
        if self.pass.layer.has_middle() {
            self.apply_middle(t);
        } else {
            self.apply_cell(t);
        }
    }

    /// Computes what depends on the first stage, and finishes the step.
    fn second_stage(&mut self, t: usize) {
        if self.pass.layer.has_middle() {
            self.multiply_recurrent(t, 1);
            self.apply_cell(t);
        }
        if self.pass.layer.projects() {
            self.project(t);
        }
        self.finish_output(t);
    }

    /// Multiplies h before step `t` by its dropout mask, if the layer drops states. The initial
    /// state has none.
    fn load_h(&mut self, t: usize) {
        let layer = self.pass.layer;
        if layer.options.drops_state && t > 0 {
            self.dropped.copy_from_slice(self.rows.h.at(t));
            layer.drop_state(self.rows.gates.at(t - 1), &mut self.dropped);
        }
    }

    /// Computes the input projection of step `t`, if it is not there yet.
    fn multiply_input(&mut self, t: usize) {
        let layer = self.pass.layer;
        if let Some(input) = self.pass.input.filter(|_| t < self.longest) {
            let first = t * layer.batch + self.first;
            let rows = input.rows.rows(first..first + self.sequences);
            let gates = self.rows.gates.at_mut(t);
            input
                .weights
                .matmul(rows, input.addend, gates, layer.row_size());
        }
    }

    /// Computes `operand @ R^T + b_hh` for the gates of a stage: `operand` is h before the step, or
    /// what the middle left in the last slot.
    fn multiply_recurrent(&mut self, t: usize, stage: usize) {
        if t >= self.longest {
            return;
        }
        let (pass, layer) = (self.pass, self.pass.layer);
        let gates = &layer.stage_gates()[stage];
        let runs = pass.recurrent.iter();
        for (run, weights) in runs.filter(|(run, _)| gates.contains(&run.start)) {
            self.multiply_run(t, stage, run, weights);
        }
    }

    /// Computes the matmul of a run of gates of a stage.
    fn multiply_run(&mut self, t: usize, stage: usize, run: &Range<usize>, weights: &PackedB<R>) {
        let (pass, layer) = (self.pass, self.pass.layer);
        let (spec, h, p) = (layer.cell.spec(), layer.hidden_size, layer.output_size);
        let operand = if stage == 0 {
            let (h_before, _) = self.rows.h.states(t);
            let mut operand = seen(&self.dropped, h_before, t);
            if layer.options.drops_recurrent {
                self.masked.copy_from_slice(operand);
                layer.drop_gate(self.rows.gates.at(t), run.start, &mut self.masked);
                operand = &self.masked;
            }
            View::new(operand, self.sequences, p, p)
        } else {
            let middle = &self.rows.gates.at(t)[(spec.slots - 1) * h..];
            View::new(middle, self.sequences, h, layer.row_size())
        };
        let columns = run.start * h..run.end * h;
        let addend = Addend::bias(pass.bias.map(|bias| &bias[columns.clone()]));
        let stride = spec.recurrent_gates * h;
        let products = &mut self.products[columns.start..];
        // Initial states are mostly zero.
        if operand.values.iter().all(|&value| value == R::zero()) {
            addend.write(products, columns.len(), stride);
        } else {
            weights.matmul(operand, addend, products, stride);
        }
    }

    /// Applies the formulas of the first of two stages within a cell, which leave the second
    /// stage's operand in the last slot.
    fn apply_middle(&mut self, t: usize) {
        let (pass, layer) = (self.pass, self.pass.layer);
        let (spec, h) = (layer.cell.spec(), layer.hidden_size);
        let (gates_h, slots_h) = (spec.recurrent_gates * h, spec.slots * h);
        let (h_before, _) = self.rows.h.states(t);
        let mut h_before = seen(&self.dropped, h_before, t);
        if layer.options.drops_recurrent {
            // The second stage multiplies h times the mask of its gate.
            self.masked.copy_from_slice(h_before);
            layer.drop_gate(self.rows.gates.at(t), spec.first_stage, &mut self.masked);
            h_before = &self.masked;
        }
        let rows = self.rows.gates.at_mut(t);
        for (r, row) in rows.chunks_exact_mut(layer.row_size()).enumerate() {
            let slots = &mut row[..slots_h];
            if t >= pass.length(self.first + r) {
                slots.fill(R::zero());
                continue;
            }
            let row = ForwardRow {
                slots,
                product: &self.products[r * gates_h..(r + 1) * gates_h],
                peepholes: pass.peepholes,
                clip: pass.clip,
                options: layer.options.formulas(),
                h_before: &h_before[r * h..(r + 1) * h],
                c_before: &[],
                h: &mut [],
                c: &mut [],
            };
            (pass.formulas.middle)(h, row);
        }
    }

    /// Applies the formulas of the cell: slots, c, and h or, in a projected layer, m.
    fn apply_cell(&mut self, t: usize) {
        let (pass, layer) = (self.pass, self.pass.layer);
        let (spec, h, row_size) = (layer.cell.spec(), layer.hidden_size, layer.row_size());
        let (gates_h, slots_h) = (spec.recurrent_gates * h, spec.slots * h);
        let (h_before, h_after) = self.rows.h.states(t);
        let h_before = seen(&self.dropped, h_before, t);
        let (c_before, c_after) = self.rows.c.states(t);
        let (rows, next) = self.rows.gates.with_next(t);
        for (r, row) in rows.chunks_exact_mut(row_size).enumerate() {
            let c_own = row_or_empty(c_after, r, h);
            if let Some(next) = next {
                prefetch(&next[r * row_size..][..slots_h]);
            }
            let (row, masks) = row.split_at_mut(row_size - layer.masks_len());
            let (slots, m) = row.split_at_mut(slots_h);
            let (h_before, h_after) = if layer.projects() {
                (&[][..], &mut m[..h])
            } else {
                (&h_before[r * h..][..h], &mut h_after[r * h..][..h])
            };
            let row = ForwardRow {
                slots,
                product: &self.products[r * gates_h..(r + 1) * gates_h],
                peepholes: pass.peepholes,
                clip: pass.clip,
                options: layer.options.formulas(),
                h_before,
                c_before: &c_before[c_own.clone()],
                h: h_after,
                c: &mut c_after[c_own.clone()],
            };
            let length = pass.length(self.first + r);
            if t < length {
                (pass.formulas.forward)(h, row);
                if layer.options.zoneout.c > 0.0 {
                    let (before, after) = (&c_before[c_own.clone()], &mut c_after[c_own.clone()]);
                    layer.keep_old(1, masks, before, after);
                }
            } else {
                row.slots.fill(R::zero());
                row.h.fill(R::zero());
                row.c.fill(R::zero());
            }
            let (before, after) = (&c_before[c_own.clone()], &c_after[c_own.clone()]);
            store_last(t, length, before, after, &mut self.rows.last_c[c_own]);
        }
    }

    /// Computes `h' = W_hr m`, clipped.
    fn project(&mut self, t: usize) {
        let (pass, layer) = (self.pass, self.pass.layer);
        let (h, p, row_size) = (layer.hidden_size, layer.output_size, layer.row_size());
        let slots_h = layer.cell.spec().slots * h;
        let rows = self.rows.gates.at_mut(t);
        let m = View::new(&rows[slots_h..], self.sequences, h, row_size);
        // In padded steps m is zero, and so is its projection.
        match pass.projection.as_ref().filter(|_| t < self.longest) {
            Some(weights) => weights.matmul(m, Addend::Zero, &mut self.projected, p),
            None => self.projected.fill(R::zero()),
        }
        let limit = layer.options.projection.and_then(|options| options.clip);
        let limit = limit.map(R::of);
        let (_, h_after) = self.rows.h.states(t);
        let outputs = self
            .projected
            .chunks_exact(p)
            .zip(h_after.chunks_exact_mut(p));
        for (row, (projected, h_after)) in rows.chunks_exact_mut(row_size).zip(outputs) {
            row[slots_h + h..][..p].copy_from_slice(projected);
            h_after.copy_from_slice(projected);
            if let Some(limit) = limit {
                h_after.iter_mut().for_each(|h| *h = h.clipped(limit));
            }
        }
    }

    /// Stores h after the last valid step of each sequence, as the next step would see it.
    fn finish_output(&mut self, t: usize) {
        let (pass, layer, p) = (self.pass, self.pass.layer, self.pass.layer.output_size);
        let (h_before, h_after) = self.rows.h.states(t);
        let h_before = seen(&self.dropped, h_before, t);
        if layer.options.zoneout.h > 0.0 {
            let rows = self.rows.gates.at(t).chunks_exact(layer.row_size());
            let rows = rows
                .enumerate()
                .filter(|(r, _)| t < pass.length(self.first + r));
            for (r, row) in rows {
                let own = r * p..(r + 1) * p;
                let masks = &row[layer.row_size() - layer.masks_len()..];
                layer.keep_old(0, masks, &h_before[own.clone()], &mut h_after[own]);
            }
        }
        for (r, last) in self.rows.last_h.chunks_exact_mut(p).enumerate() {
            let (own, length) = (r * p..(r + 1) * p, pass.length(self.first + r));
            store_last(t, length, &h_before[own.clone()], &h_after[own], last);
        }
        if layer.options.drops_state {
            let masks = layer.masks(self.rows.gates.at(t));
            let lasts = self.rows.last_h.chunks_exact_mut(p).zip(masks).enumerate();
            for (_, (last, mask)) in lasts.filter(|(r, _)| t + 1 == pass.length(self.first + r)) {
                multiply(last, mask);
            }
        }
    }
}

/// Returns h as step `t` sees it: times its mask, if states are dropped. The initial state is never
/// dropped.
#[inline]
pub(super) fn seen<'a, R>(dropped: &'a [R], h_before: &'a [R], t: usize) -> &'a [R] {
    if dropped.is_empty() || t == 0 {
        h_before
    } else {
        dropped
    }
}

/// Stores the state after a sequence's last valid step, or the initial state of an empty sequence.
#[inline]
pub(super) fn store_last<R: Copy>(
    t: usize,
    length: usize,
    before: &[R],
    after: &[R],
    last: &mut [R],
) {
    if t + 1 == length {
        last.copy_from_slice(after);
    } else if t == 0 && length == 0 {
        last.copy_from_slice(before);
    }
}
