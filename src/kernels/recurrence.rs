use std::ops::Range;

use rayon::prelude::*;

use super::{Arg, Cost, Scalar, read, write};
use crate::cells::{BackwardRow, Cell, ForwardRow};
use crate::executor::Memory;
use crate::program::Tensor;
use crate::real::{Real, View, product};

/// One layer over time: what its scans and its steps work on. Gates lie as `[T, B, SLOTS, H]`, states as `[T+1, B, H]`, of
/// which index t is the state before step t, and index 0 the initial state.
#[derive(Debug, Clone)]
pub struct Recurrence {
    pub cell: Cell,
    pub steps: usize,
    pub batch: usize,
    pub hidden_size: usize,
    /// `[G*H, H]`: R.
    pub recurrent: Tensor,
    /// `[H, G*H]`: R transposed.
    pub recurrent_t: Tensor,
    /// `[G*H]`: b_hh.
    pub bias: Option<Tensor>,
    /// `[3, H]`: the peepholes w_i, w_f, w_o, in a cell that has them.
    pub peephole: Option<Tensor>,
    /// The limit of |c|, where an LSTM clips it.
    pub cell_clip: Option<f64>,
    /// `[T, B, SLOTS, H]`. Forward: `W x + b_ih` comes in, slots go out. Backward: slots come in, the gates' gradients go
    /// out. Zeros past a sequence's end.
    pub gates: Tensor,
    /// `[T+1, B, H]`: the layer's outputs, shifted by the initial state; zeros past a sequence's end.
    pub h: Tensor,
    /// `[T+1, B, H]`, or empty where the cell has no c.
    pub c: Tensor,
    /// `[S, B, H]`: states after the last valid step, initial ones where there is none.
    pub last: Tensor,
    /// `[T, B, H]`: gradient of the outputs, where it is not all zero.
    pub upstream: Option<Tensor>,
    /// `[S, B, H]`: gradient of `last` in, of the initial state out, when the whole way has been walked.
    pub dstate: Tensor,
    /// States, h first, whose gradient `dstate` holds when the walk back begins; the others' is zero.
    pub given_states: usize,
    /// `[B]`: valid steps, of which more than T count as T.
    pub lengths: Tensor,
}

/// Sequences that one task of the CPU takes through time. It is fixed, so that the bits do not depend on the number of
/// threads; smaller would leave the products too small, larger some cores without work.
const TILE: usize = 32;

impl Recurrence {
    pub(super) fn forward_args(&self) -> Vec<Arg> {
        vec![
            read("recurrent_t", self.recurrent_t),
            read("bias", self.bias.unwrap_or(self.recurrent)),
            write("gates", self.gates),
            write("h", self.h),
            write("c", self.c),
            write("last", self.last),
            read("lengths", self.lengths),
            read("peephole", self.peephole.unwrap_or(self.recurrent)),
        ]
    }

    pub(super) fn backward_args(&self) -> Vec<Arg> {
        vec![
            read("recurrent", self.recurrent),
            write("gates", self.gates),
            read("h", self.h),
            read("c", self.c),
            read("upstream", self.upstream.unwrap_or(self.h)),
            write("dstate", self.dstate),
            read("lengths", self.lengths),
            read("peephole", self.peephole.unwrap_or(self.recurrent)),
        ]
    }

    pub(super) fn sizes(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("hidden_size", Scalar::count(self.hidden_size)),
        ]
    }

    /// Products that follow one another within a time step.
    pub fn stages(&self) -> usize {
        let facts = self.cell.facts();
        if facts.first_stage < facts.gates {
            2
        } else {
            1
        }
    }

    /// Gates in runs whose recurrent products' gradients lie side by side, none across the two stages.
    pub fn product_runs(&self) -> Vec<Range<usize>> {
        let facts = self.cell.facts();
        let mut runs: Vec<Range<usize>> = vec![];
        for gate in 0..facts.gates {
            match runs.last_mut() {
                Some(run)
                    if gate != facts.first_stage
                        && facts.product_slots[gate] == facts.product_slots[gate - 1] + 1 =>
                {
                    run.end += 1;
                }
                _ => runs.push(gate..gate + 1),
            }
        }
        runs
    }

    /// Invocations of a scan's workgroup: one for each unit, as far as WebGPU promises.
    fn width(&self) -> usize {
        self.hidden_size.next_multiple_of(32).min(256)
    }

    /// The WGSL of the cell, and what every driver needs beside it.
    pub(super) fn shader_parts(&self) -> Vec<&'static str> {
        let mut parts = vec![
            self.cell.facts().shader,
            include_str!("../../shaders/common/math.wgsl"),
            include_str!("../../shaders/common/recurrence.wgsl"),
        ];
        if self.stages() == 1 {
            parts.push(include_str!("../../shaders/common/one_stage.wgsl"));
        }
        parts
    }

    /// The values of the shaders' `override` constants; `scan` for those that walk many steps.
    pub(super) fn constants(&self, scan: bool) -> Vec<(&'static str, f64)> {
        let mut constants = vec![];
        if scan {
            constants.push(("WIDTH", self.width() as f64));
            constants.push(("UNITS", self.hidden_size as f64));
        }
        constants.extend(self.cell_clip.map(|clip| ("CELL_CLIP", clip)));
        constants
    }

    /// The cost of `steps` time steps, in either direction: products, and some 10 operations for a gate's activation.
    pub(super) fn cost(&self, steps: usize) -> Cost {
        let facts = self.cell.facts();
        let (t, b, h) = (steps as f64, self.batch as f64, self.hidden_size as f64);
        let (gates, slots, states) = (facts.gates as f64, facts.slots as f64, facts.states as f64);
        Cost {
            flops: t * b * gates * h * (2.0 * h + 10.0),
            bytes: 4.0 * (gates * h * h + t * b * h * (2.0 * slots + states)),
        }
    }

    /// Steps `range` forward; with `stage`, only that half of a cell of two stages.
    pub(super) fn forward<R: Real>(
        &self,
        memory: &Memory<R>,
        range: Range<usize>,
        stage: Option<usize>,
    ) {
        let facts = self.cell.facts();
        let (b, h) = (self.batch, self.hidden_size);
        let gates_h = facts.gates * h;
        let rows = self.cell.rows::<R>(self.cell_clip.is_some());
        let clip = R::of(self.cell_clip.unwrap_or(0.0));
        let peepholes = self.peephole.map(|peephole| memory.read(&peephole));
        let peepholes = peepholes.as_deref().unwrap_or(&[]);
        let recurrent_t = memory.read(&self.recurrent_t);
        let recurrent_t = &*recurrent_t;
        let bias = self.bias.map(|bias| memory.read(&bias));
        let bias = bias.as_deref();
        let lengths = memory.read_index(&self.lengths);
        let lengths = &*lengths;
        let (mut gates, mut states, mut cells) = (
            memory.write(&self.gates),
            memory.write(&self.h),
            memory.write(&self.c),
        );
        let mut last = memory.write(&self.last);
        let (last_h, last_c) = last.split_at_mut(b * h);
        let two_stages = self.stages() == 2;

        let mut tasks = by_tile(
            &mut gates,
            b * facts.slots * h,
            facts.slots * h,
            range.clone(),
        );
        let states = by_tile(&mut states, b * h, h, range.start..range.end + 1);
        let cells = by_tile(&mut cells, b * h, h, range.start..range.end + 1);
        let lasts = last_h
            .chunks_mut(TILE * h)
            .zip(chunks_or_empty(last_c, TILE * h));
        tasks
            .par_iter_mut()
            .zip(states)
            .zip(cells)
            .zip(lasts.collect::<Vec<_>>())
            .enumerate()
            .for_each(
                |(tile, (((gates, mut states), mut cells), (last_h, last_c)))| {
                    let sequences = last_h.len() / h;
                    let lengths = &lengths[tile * TILE..tile * TILE + sequences];
                    let length = |row: usize| (lengths[row] as usize).min(self.steps);
                    let mut products = vec![R::zero(); sequences * gates_h];
                    // products[:, part of the gates] = operand @ R^T + b_hh
                    let multiply =
                        |products: &mut [R], operand: View<R>, first: usize, end: usize| {
                            for row in products.chunks_exact_mut(gates_h) {
                                match bias {
                                    Some(bias) => row[first * h..end * h]
                                        .copy_from_slice(&bias[first * h..end * h]),
                                    None => row[first * h..end * h].fill(R::zero()),
                                }
                            }
                            let recurrent_t =
                                View::new(&recurrent_t[first * h..], h, (end - first) * h, gates_h);
                            product(
                                operand,
                                recurrent_t,
                                &mut products[first * h..],
                                gates_h,
                                true,
                            );
                        };
                    for (n, t) in range.clone().enumerate() {
                        let (before, after) = states.split_at_mut(n + 1);
                        let (h_before, h_after) = (&*before[n], &mut *after[0]);
                        let (c_before, c_after) = pair(&mut cells, n);
                        let slots = &mut *gates[n];
                        if stage != Some(1) {
                            multiply(
                                &mut products,
                                View::new(h_before, sequences, h, h),
                                0,
                                facts.first_stage,
                            );
                        }
                        if two_stages && stage != Some(1) {
                            for (r, slots) in slots.chunks_exact_mut(facts.slots * h).enumerate() {
                                let (h, c) = (&mut [][..], &mut [][..]);
                                let product = &products[r * gates_h..(r + 1) * gates_h];
                                let h_before =
                                    &h_before[r * self.hidden_size..][..self.hidden_size];
                                if t < length(r) {
                                    let row = ForwardRow {
                                        slots,
                                        product,
                                        peepholes,
                                        clip,
                                        h_before,
                                        c_before: &[],
                                        h,
                                        c,
                                    };
                                    (rows.middle)(self.hidden_size, row);
                                } else {
                                    slots[(facts.slots - 1) * self.hidden_size..].fill(R::zero());
                                }
                            }
                        }
                        if stage == Some(0) {
                            continue;
                        }
                        if two_stages {
                            let middle = &slots[(facts.slots - 1) * h..];
                            let middle = View::new(middle, sequences, h, facts.slots * h);
                            multiply(&mut products, middle, facts.first_stage, facts.gates);
                        }
                        for (r, slots) in slots.chunks_exact_mut(facts.slots * h).enumerate() {
                            let own = r * h..(r + 1) * h;
                            let c_own = if c_after.is_empty() {
                                0..0
                            } else {
                                own.clone()
                            };
                            let row = ForwardRow {
                                slots,
                                product: &products[r * gates_h..(r + 1) * gates_h],
                                peepholes,
                                clip,
                                h_before: &h_before[own.clone()],
                                c_before: &c_before[c_own.clone()],
                                h: &mut h_after[own.clone()],
                                c: &mut c_after[c_own.clone()],
                            };
                            if t == 0 && length(r) == 0 {
                                last_h[own.clone()].copy_from_slice(row.h_before);
                                last_c[c_own.clone()].copy_from_slice(row.c_before);
                            }
                            if t < length(r) {
                                (rows.forward)(h, row);
                            } else {
                                row.slots.fill(R::zero());
                                row.h.fill(R::zero());
                                row.c.fill(R::zero());
                            }
                            if t + 1 == length(r) {
                                last_h[own.clone()].copy_from_slice(&h_after[own]);
                                last_c[c_own.clone()].copy_from_slice(&c_after[c_own]);
                            }
                        }
                    }
                },
            );
    }

    /// Steps `range` backward, latest first, doing `work` at each.
    pub(super) fn backward<R: Real>(
        &self,
        memory: &Memory<R>,
        range: Range<usize>,
        work: BackwardWork,
    ) {
        let facts = self.cell.facts();
        let (b, h) = (self.batch, self.hidden_size);
        let rows = self.cell.rows::<R>(self.cell_clip.is_some());
        let clip = R::of(self.cell_clip.unwrap_or(0.0));
        let peepholes = self.peephole.map(|peephole| memory.read(&peephole));
        let peepholes = peepholes.as_deref().unwrap_or(&[]);
        let recurrent = memory.read(&self.recurrent);
        let recurrent = &*recurrent;
        let lengths = memory.read_index(&self.lengths);
        let lengths = &*lengths;
        let (states, cells) = (memory.read(&self.h), memory.read(&self.c));
        let (states, cells) = (&*states, &*cells);
        let upstream = self.upstream.map(|upstream| memory.read(&upstream));
        let upstream = upstream.as_deref();
        let mut gates = memory.write(&self.gates);
        let mut dstate = memory.write(&self.dstate);
        let (dh, dc) = dstate.split_at_mut(b * h);
        let slots_h = facts.slots * h;
        let runs = self.product_runs();
        // A step of its own first takes the step after it back, whose gradients lie one further on.
        let held = range.start..(range.end + usize::from(work.pending)).min(self.steps);

        let mut tasks = by_tile(&mut gates, b * slots_h, slots_h, held);
        let dstates = dh.chunks_mut(TILE * h).zip(chunks_or_empty(dc, TILE * h));
        tasks
            .par_iter_mut()
            .zip(dstates.collect::<Vec<_>>())
            .enumerate()
            .for_each(|(tile, (gates, (dh, dc)))| {
                let sequences = dh.len() / h;
                let first = tile * TILE;
                let length = |row: usize| (lengths[first + row] as usize).min(self.steps);
                let mut dmiddle = vec![R::zero(); (self.stages() - 1) * sequences * h];
                // out (+)= the gradients of the products of one stage's gates, taken back through R
                let products_back =
                    |slots: &[R], out: &mut [R], second: bool, mut accumulate: bool| {
                        for run in runs
                            .iter()
                            .filter(|run| (run.start >= facts.first_stage) == second)
                        {
                            let operand = View::new(
                                &slots[facts.product_slots[run.start] * h..],
                                sequences,
                                run.len() * h,
                                slots_h,
                            );
                            let recurrent =
                                View::new(&recurrent[run.start * h * h..], run.len() * h, h, h);
                            product(operand, recurrent, out, h, accumulate);
                            accumulate = true;
                        }
                    };
                if work.first && self.given_states < 1 {
                    dh.fill(R::zero());
                }
                if work.first && self.given_states < 2 {
                    dc.fill(R::zero());
                }
                if work.pending && !work.first {
                    products_back(gates[range.len()], dh, false, true);
                }
                for (n, t) in range.clone().enumerate().rev() {
                    let slots = &mut *gates[n];
                    let vector = |values: &[R], t: usize, row: usize| -> Range<usize> {
                        let start = (t * b + first + row) * h;
                        if values.is_empty() {
                            0..0
                        } else {
                            start..start + h
                        }
                    };
                    let each = |slots: &mut [R],
                                dh: &mut [R],
                                dc: &mut [R],
                                dmiddle: &[R],
                                formula: fn(usize, BackwardRow<R>)| {
                        for (row, slots) in slots.chunks_exact_mut(slots_h).enumerate() {
                            if t >= length(row) {
                                slots.fill(R::zero());
                                continue;
                            }
                            let own = row * h..(row + 1) * h;
                            formula(
                                h,
                                BackwardRow {
                                    slots,
                                    peepholes,
                                    clip,
                                    h_before: &states[vector(states, t, row)],
                                    c_before: &cells[vector(cells, t, row)],
                                    h: &states[vector(states, t + 1, row)],
                                    c: &cells[vector(cells, t + 1, row)],
                                    dh: &mut dh[own.clone()],
                                    dc: &mut dc[if facts.states > 1 { own.clone() } else { 0..0 }],
                                    dmiddle: &dmiddle[if dmiddle.is_empty() { 0..0 } else { own }],
                                },
                            );
                        }
                    };
                    if work.units {
                        if let Some(upstream) = upstream {
                            for (row, dh) in dh
                                .chunks_exact_mut(h)
                                .enumerate()
                                .filter(|(row, _)| t < length(*row))
                            {
                                let upstream = &upstream[vector(upstream, t, row)];
                                dh.iter_mut().zip(upstream).for_each(|(dh, &du)| *dh += du);
                            }
                        }
                        each(slots, dh, dc, &[], rows.backward);
                    }
                    if work.middle && self.stages() == 2 {
                        products_back(slots, &mut dmiddle, true, false);
                        each(slots, dh, dc, &dmiddle, rows.middle_backward);
                    }
                    if work.product {
                        products_back(slots, dh, false, true);
                    }
                }
            });
    }
}

/// What is done at each step of a way back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BackwardWork {
    /// The walk begins here: `dstate` holds the states that are given, and zeros are to be put for the rest.
    pub first: bool,
    /// Before all else, the step after the range is taken back through its product.
    pub pending: bool,
    /// The units' own part.
    pub units: bool,
    /// The second half of a cell of two stages.
    pub middle: bool,
    /// Each step is taken back through its product.
    pub product: bool,
}

/// Cuts `values`, of `step` elements a time step and `each` a sequence, into the tiles of the batch, each with its part of
/// the steps in `range`.
fn by_tile<R>(
    values: &mut [R],
    step: usize,
    each: usize,
    range: Range<usize>,
) -> Vec<Vec<&mut [R]>> {
    let tiles = (step / each).div_ceil(TILE);
    let mut tasks: Vec<Vec<&mut [R]>> = (0..tiles)
        .map(|_| Vec::with_capacity(range.len()))
        .collect();
    if values.is_empty() {
        return tasks;
    }
    for values in values[range.start * step..range.end * step].chunks_exact_mut(step) {
        tasks
            .iter_mut()
            .zip(values.chunks_mut(TILE * each))
            .for_each(|(task, values)| task.push(values));
    }
    tasks
}

/// `chunks_mut`, and empty ones without end where there is nothing to cut.
fn chunks_or_empty<R>(values: &mut [R], size: usize) -> impl Iterator<Item = &mut [R]> {
    values
        .chunks_mut(size)
        .chain(std::iter::repeat_with(|| &mut [][..]))
}

/// The states before and after step `n`; empty where the cell has none.
fn pair<'a, R>(states: &'a mut [&mut [R]], n: usize) -> (&'a [R], &'a mut [R]) {
    if states.is_empty() {
        return (&[], &mut []);
    }
    let (before, after) = states.split_at_mut(n + 1);
    (&*before[n], &mut *after[0])
}
