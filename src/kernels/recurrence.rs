use std::ops::Range;

use rayon::prelude::*;

use super::{Arg, Cost, Pack, Scalar, read, write};
use crate::cells::{BackwardRow, Cell, ForwardRow};
use crate::memory::Memory;
use crate::numeric::aligned::prefetch;
use crate::numeric::gemm::{Addend, PackedB, View};
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// One recurrent layer over time, in one direction: the tensors and sizes that its scans and steps work on.
///
/// Index t of a state is the state before step t; index 0 is the initial state. P is H, unless the layer projects
/// the hidden units m onto `h' = W_hr m` (Sak et al. 2014).
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
    /// `[T, B, row]`. A row holds the cell's slots `[SLOTS, H]`; in a projected layer also m `[H]` and `W_hr m` `[P]`; where
    /// the state is dropped, its dropout mask `[P]` last.
    ///
    /// The forward pass reads `W x + b_ih` from the first G slots and leaves in the slots what the backward pass needs. The
    /// backward pass overwrites the slots with the gradients of the gates, and `W_hr m` with its gradient. Padded steps are zero.
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
    /// Whether the next step reads h times the dropout mask at the end of the row of gates.
    pub drops_state: bool,
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
    /// The same, packed for the forward pass on a GPU: `[ceil(P/4), G*H, 4]`, columns of R as vec4s, zeros past the last;
    /// then W_hr `[ceil(H/4), P, 4]`. Empty on the CPU, whose kernels pack R themselves.
    pub packed_forward: Tensor,
    /// The same, packed for the backward pass on a GPU: `[G, ceil(H/4), P, 4]`, rows of each gate's R as vec4s; then W_hr
    /// `[ceil(P/4), H, 4]`. Empty on the CPU and in a network recorded without gradients.
    pub packed_backward: Tensor,
    /// `[G*H]`: b_hh.
    pub bias: Option<Tensor>,
    /// `[3, H]`: the peepholes w_i, w_f, w_o, in a cell that has them.
    pub peephole: Option<Tensor>,
}

/// The states of a layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerStates {
    /// `[T+1, B, P]`: the initial state, then the layer's outputs. Padded steps are zero.
    pub h: Tensor,
    /// `[T+1, B, H]`; empty in a cell without c.
    pub c: Tensor,
    /// `[B, P]`, then `[B, H]` in a cell with c: the states after each sequence's last valid step, or the initial states of an
    /// empty sequence.
    pub last: Tensor,
}

/// The gradients of the loss with respect to the states of a layer.
#[derive(Debug, Clone, Copy)]
pub struct StateGradients {
    /// `[T, B, P]`: the gradient of the outputs; `None` if it is zero.
    pub upstream: Option<Tensor>,
    /// As [`LayerStates::last`]: the gradient of the last states on input, of the initial states after the backward pass. Empty
    /// in a network recorded without gradients.
    pub dstate: Tensor,
    /// Number of states, h first, whose gradient `dstate` holds on input. The gradients of the other states are zero.
    pub given_states: usize,
}

/// What scans take at once on a GPU. Small tiles give many invocations at work, which hide what memory takes; large ones load
/// less for each multiply-add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Groups of four sequences of a workgroup: 1, 2 or 4.
    pub groups: usize,
    /// Elements of the state that an invocation takes gradients back to: 1, 2 or 4.
    pub each: usize,
    /// Neighbours in a subgroup that share the terms of a sum: 1, 2 or 4, and 1 on a device without subgroups.
    pub lanes: usize,
    /// Invocations of a workgroup at most, a multiple of 32.
    pub invocations: usize,
    /// Bytes of a workgroup's memory that a scan may take: what its vectors leave of them holds the first of its weights.
    pub memory: usize,
}

impl Tile {
    /// One of everything, and as many invocations as WebGPU promises.
    pub const SMALLEST: Tile = Tile {
        groups: 1,
        each: 1,
        lanes: 1,
        invocations: 256,
        memory: 0,
    };

    /// In WGSL: how sums are made, and array sizes, since `override` constants cannot be those of a function's arrays.
    fn parts(self) -> [&'static str; 3] {
        let groups = match self.groups {
            1 => "const GROUPS = 1u;",
            2 => "const GROUPS = 2u;",
            4 => "const GROUPS = 4u;",
            _ => unreachable!("there are no tiles of other sizes"),
        };
        let each = match self.each {
            1 => "const EACH = 1u;",
            2 => "const EACH = 2u;",
            4 => "const EACH = 4u;",
            _ => unreachable!("there are no tiles of other sizes"),
        };
        let lanes = match self.lanes {
            1 => include_str!("../../shaders/common/one_lane.wgsl"),
            _ => include_str!("../../shaders/common/lanes.wgsl"),
        };
        [groups, each, lanes]
    }
}

/// The order in which the time loop takes the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeDirection {
    Forward,
    Backward,
}

/// The matrices that a GPU reads on one way, R and then W_hr, where the layer has a projection: of each the blocks, the terms of a
/// product, and the columns, as a [`Pack`] has them.
pub(crate) fn packed_matrices(
    cell: Cell,
    hidden_size: usize,
    output_size: usize,
    projects: bool,
    direction: TimeDirection,
) -> Vec<[usize; 3]> {
    let (gates, h, p) = (cell.spec().gates, hidden_size, output_size);
    let [r, w_hr] = match direction {
        TimeDirection::Forward => [[1, p, gates * h], [1, h, p]],
        TimeDirection::Backward => [[gates, h, p], [1, p, h]],
    };
    if projects { vec![r, w_hr] } else { vec![r] }
}

/// Sequences that one task of the CPU takes through time. It is fixed, so that the bits do not depend on the number of
/// threads; smaller would leave the products too small, larger some cores without work.
const TILE: usize = 16;

impl Recurrence {
    pub(super) fn forward_args(&self) -> Vec<Arg> {
        vec![
            read("weights", self.weights.packed_forward),
            read("bias", self.weights.bias.unwrap_or(self.weights.recurrent)),
            write("gates", self.gates),
            write("h", self.states.h),
            write("c", self.states.c),
            write("last", self.states.last),
            read("lengths", self.lengths),
            read(
                "peephole",
                self.weights.peephole.unwrap_or(self.weights.recurrent),
            ),
        ]
    }

    pub(super) fn backward_args(&self) -> Vec<Arg> {
        vec![
            read("weights", self.weights.packed_backward),
            write("gates", self.gates),
            read("h", self.states.h),
            read("c", self.states.c),
            read("upstream", self.gradients.upstream.unwrap_or(self.states.h)),
            write("dstate", self.gradients.dstate),
            read("lengths", self.lengths),
            read(
                "peephole",
                self.weights.peephole.unwrap_or(self.weights.recurrent),
            ),
        ]
    }

    pub(super) fn sizes(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("hidden_size", Scalar::count(self.hidden_size)),
            ("output_size", Scalar::count(self.output_size)),
            ("row_size", Scalar::count(self.row_size())),
        ]
    }

    /// Whether its tensors are as large as the fields' shapes say, and so hold every place that its kernels can look at: those
    /// follow from steps, sequences, units and outputs alone, as a length beyond the last step counts as the last step.
    /// Only the way back needs `dstate`, which a model without gradients does without.
    pub(super) fn is_inside(&self, backward: bool) -> bool {
        let facts = self.cell.spec();
        let (t, b, h, p) = (self.steps, self.batch, self.hidden_size, self.output_size);
        let projects = self.options.projection.is_some();
        let weights = (facts.gates * h + if projects { h } else { 0 }) * p;
        let packed =
            |direction: TimeDirection| self.packed(direction).into_iter().map(Pack::size).sum();
        let kept = if projects { h + p } else { 0 };
        let mask = if self.options.drops_state { p } else { 0 };
        let row_size = facts.slots * h + kept + mask;
        let holds = |tensor: &Tensor, len: usize| tensor.len() >= len;
        let may_hold =
            |tensor: &Option<Tensor>, len: usize| tensor.is_none_or(|tensor| tensor.len() >= len);
        let states = self.state_sizes().iter().sum();
        let peepholes = facts.peepholes.is_empty() || self.weights.peephole.is_some();
        [t, b, h, p].iter().all(|&size| size > 0)
            && (projects || h == p)
            && peepholes
            && holds(&self.weights.recurrent, weights)
            && holds(&self.weights.packed_forward, packed(TimeDirection::Forward))
            && (!backward
                || holds(
                    &self.weights.packed_backward,
                    packed(TimeDirection::Backward),
                ))
            && may_hold(&self.weights.bias, facts.gates * h)
            && may_hold(&self.weights.peephole, 3 * h)
            && self.row_size() >= row_size
            && holds(&self.gates, t * b * self.row_size())
            && holds(&self.states.h, (t + 1) * b * p)
            && (facts.states < 2 || holds(&self.states.c, (t + 1) * b * h))
            && may_hold(&self.gradients.upstream, t * b * p)
            && holds(&self.states.last, states)
            && (!backward || holds(&self.gradients.dstate, states))
            && holds(&self.lengths, b)
    }

    /// The matrices of its weights for one way, as [`packed_matrices`] tells.
    pub(crate) fn packed(&self, direction: TimeDirection) -> Vec<[usize; 3]> {
        let (h, p) = (self.hidden_size, self.output_size);
        packed_matrices(
            self.cell,
            h,
            p,
            self.options.projection.is_some(),
            direction,
        )
    }

    /// Products that follow one another within a time step.
    pub fn stages(&self) -> usize {
        1 + usize::from(self.has_middle() || self.options.projection.is_some())
    }

    /// Whether the second product lies between the gates of its cell.
    fn has_middle(&self) -> bool {
        let facts = self.cell.spec();
        facts.first_stage < facts.gates
    }

    /// Numbers of one sequence and step in `gates`.
    pub fn row_size(&self) -> usize {
        self.gates.len() / (self.steps * self.batch)
    }

    /// Elements of each state of all sequences: h, then c.
    pub fn state_sizes(&self) -> Vec<usize> {
        let sizes = [self.batch * self.output_size, self.batch * self.hidden_size];
        sizes[..self.cell.spec().states].to_vec()
    }

    /// Multiply-adds of one sequence and step.
    pub fn work(&self) -> usize {
        let projections = usize::from(self.options.projection.is_some());
        (self.cell.spec().gates + projections) * self.hidden_size * self.output_size
    }

    /// Bytes of workgroup memory that its scans need for each group of four sequences.
    pub fn scan_memory(&self) -> u128 {
        16 * self.vectors().into_iter().fold(0, u128::max)
    }

    /// Numbers of each of four sequences that a scan holds in workgroup memory: two vectors going forward, and the gates'
    /// gradients, with the projection's, coming back.
    fn vectors(&self) -> [u128; 2] {
        let (h, p) = (self.hidden_size as u128, self.output_size as u128);
        let projected = if self.options.projection.is_some() {
            p
        } else {
            0
        };
        [h + p, self.cell.spec().gates as u128 * h + projected]
    }

    /// Fours of R that a scan keeps in workgroup memory beside its vectors: whole rows of them.
    fn kept(&self, direction: TimeDirection) -> usize {
        let (gates, h, p) = (self.cell.spec().gates, self.hidden_size, self.output_size);
        let [ahead, back] = self.vectors();
        let (vectors, rows, columns) = match direction {
            TimeDirection::Forward => (ahead, p / 4, gates * h),
            TimeDirection::Backward => (back, gates * h.div_ceil(4), p),
        };
        let taken = vectors * self.tile.groups as u128;
        let room = (self.tile.memory as u128 / 16).saturating_sub(taken) as usize;
        (room / columns).min(rows) * columns
    }

    /// What a time step adds to a scan's [`Kernel::iterations`](super::Kernel::iterations), in either direction: of the loops
    /// over the terms of its products, and over the sequences where it loads and stores.
    pub fn scan_iterations(&self) -> usize {
        let widest = self.hidden_size.max(self.output_size);
        // More than there are, as full fours go as one.
        let terms = self.cell.spec().gates * self.hidden_size + self.output_size;
        widest.div_ceil(self.width() / self.tile.lanes)
            * (terms.div_ceil(self.tile.lanes) + 64 * self.tile.groups)
    }

    /// The same of a step by itself.
    pub(super) fn step_iterations(&self) -> usize {
        self.work() / self.hidden_size.min(self.output_size) + 64
    }

    /// Gates in runs whose recurrent products' gradients lie side by side, none across the two stages.
    pub fn product_runs(&self) -> Vec<Range<usize>> {
        let facts = self.cell.spec();
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

    /// Invocations of a scan's workgroup: one for each unit and lane, as far as there are.
    fn width(&self) -> usize {
        (self.hidden_size * self.tile.lanes)
            .next_multiple_of(32)
            .min(self.tile.invocations)
    }

    /// Workgroups of a scan.
    pub(super) fn scan_grid(&self) -> [u32; 3] {
        [self.batch.div_ceil(4 * self.tile.groups) as u32, 1, 1]
    }

    /// The WGSL of the cell, and what every driver needs beside it.
    fn shader_parts(&self) -> Vec<&'static str> {
        let mut parts = vec![
            self.cell.spec().shader,
            include_str!("../../shaders/common/math.wgsl"),
            include_str!("../../shaders/common/recurrence.wgsl"),
        ];
        if !self.has_middle() {
            parts.push(include_str!("../../shaders/common/one_stage.wgsl"));
        }
        parts
    }

    /// The same for steps.
    pub(super) fn step_parts(&self) -> Vec<&'static str> {
        let mut parts = self.shader_parts();
        parts.push(include_str!("../../shaders/common/none_kept.wgsl"));
        parts
    }

    /// The same for scans.
    pub(super) fn scan_parts(&self, direction: TimeDirection) -> Vec<&'static str> {
        let mut parts = self.shader_parts();
        parts.extend(self.tile.parts());
        parts.push(match self.kept(direction) {
            0 => include_str!("../../shaders/common/none_kept.wgsl"),
            _ => include_str!("../../shaders/common/kept.wgsl"),
        });
        parts.push(include_str!("../../shaders/common/tile.wgsl"));
        parts
    }

    /// The values of the shaders' `override` constants, for scans.
    pub(super) fn scan_constants(&self, direction: TimeDirection) -> Vec<(&'static str, f64)> {
        let mut constants = self.constants();
        constants.push(("WIDTH", self.width() as f64));
        if self.tile.lanes > 1 {
            constants.push(("LANES", self.tile.lanes as f64));
        }
        constants.push(("UNITS", self.hidden_size as f64));
        constants.push(("OUTPUTS", self.output_size as f64));
        let kept = self.kept(direction);
        if kept > 0 {
            constants.push(("KEPT", kept as f64));
        }
        constants
    }

    /// What scans and steps have in common of these.
    pub(super) fn constants(&self) -> Vec<(&'static str, f64)> {
        let mut constants = vec![];
        if let Some(projection) = self.options.projection {
            constants.push(("PROJECTED", 1.0));
            constants.extend(projection.clip.map(|clip| ("PROJECTION_CLIP", clip)));
        }
        if self.options.drops_state {
            constants.push(("DROPS_STATE", 1.0));
        }
        constants.extend(self.options.cell_clip.map(|clip| ("CELL_CLIP", clip)));
        constants
    }

    /// The cost of `steps` time steps, in either direction: products, and some 10 operations for a gate's activation.
    pub(super) fn cost(&self, steps: usize) -> Cost {
        let facts = self.cell.spec();
        let (t, b, h) = (steps as f64, self.batch as f64, self.hidden_size as f64);
        let (gates, work) = (facts.gates as f64, self.work() as f64);
        let states = self.state_sizes().iter().sum::<usize>() as f64;
        Cost {
            flops: t * b * (2.0 * work + 10.0 * gates * h),
            bytes: 4.0 * (work + t * (b * 2.0 * self.row_size() as f64 + states)),
        }
    }

    /// Workgroups of a step: units or outputs, and sequences.
    pub(super) fn step_grid(&self) -> [u32; 3] {
        let units = self.hidden_size.max(self.output_size);
        [units.div_ceil(64) as u32, self.batch.div_ceil(4) as u32, 1]
    }

    /// Whether the tiles of the CPU have all the sequences that they can.
    pub(super) fn has_full_tiles(&self) -> bool {
        self.batch >= TILE
    }

    /// Steps `range` forward; with `stage`, only that half of a layer of two stages; with `input`, that first of all.
    pub(super) fn forward<R: Real>(
        &self,
        memory: &Memory<R>,
        range: Range<usize>,
        stage: Option<usize>,
        input: Option<&Input<R>>,
    ) {
        let facts = self.cell.spec();
        let (b, h, p) = (self.batch, self.hidden_size, self.output_size);
        let (gates_h, slots_h, row_size) = (facts.gates * h, facts.slots * h, self.row_size());
        let rows = self.cell.rows::<R>(self.options.cell_clip.is_some());
        let clip = R::of(self.options.cell_clip.unwrap_or(0.0));
        let peepholes = self.weights.peephole.map(|peephole| memory.read(&peephole));
        let peepholes = peepholes.as_deref().unwrap_or(&[]);
        let recurrent = memory.read(&self.weights.recurrent);
        let (recurrent, projection) = recurrent.split_at(gates_h * p);
        // Each stage's part of R, and W_hr, transposed, laid out once for all steps.
        let stages = [0..facts.first_stage, facts.first_stage..facts.gates].map(|gates| {
            let part = View::new(&recurrent[gates.start * h * p..], gates.len() * h, p, p);
            (!gates.is_empty()).then(|| PackedB::new(part.t()))
        });
        let projection_t = self
            .options
            .projection
            .map(|_| PackedB::new(View::new(projection, p, h, h).t()));
        let bias = self.weights.bias.map(|bias| memory.read(&bias));
        let bias = bias.as_deref();
        let lengths = memory.read_index(&self.lengths);
        let lengths = &*lengths;
        let (mut gates, mut states, mut cells) = (
            memory.write(&self.gates),
            memory.write(&self.states.h),
            memory.write(&self.states.c),
        );
        let mut last = memory.write(&self.states.last);
        let (last_h, last_c) = last.split_at_mut(b * p);
        let (first_half, second_half) = (stage != Some(1), stage != Some(0));
        let ends_units = if self.has_middle() {
            second_half
        } else {
            first_half
        };

        let dropped_states = usize::from(self.options.drops_state);
        // A state that is dropped has its mask at the step before.
        let from_before = usize::from(self.options.drops_state && range.start > 0);
        let held = range.start - from_before..range.end;
        let mut tasks = by_tile(&mut gates, b * row_size, row_size, held);
        let states = by_tile(&mut states, b * p, p, range.start..range.end + 1);
        let cells = by_tile(&mut cells, b * h, h, range.start..range.end + 1);
        let lasts = last_h
            .chunks_mut(TILE * p)
            .zip(chunks_or_empty(last_c, TILE * h));
        tasks
            .par_iter_mut()
            .zip(states)
            .zip(cells)
            .zip(lasts.collect::<Vec<_>>())
            .enumerate()
            .for_each(
                |(tile, (((gates, mut states), mut cells), (last_h, last_c)))| {
                    let sequences = last_h.len() / p;
                    let lengths = &lengths[tile * TILE..tile * TILE + sequences];
                    let length = |row: usize| (lengths[row] as usize).min(self.steps);
                    let longest = (0..sequences).map(length).max().unwrap_or(0);
                    let mut products = vec![R::zero(); sequences * gates_h];
                    let mut dropped = vec![R::zero(); dropped_states * sequences * p];
                    let projections = usize::from(self.options.projection.is_some());
                    let mut projected = vec![R::zero(); projections * sequences * p];
                    // products[:, a stage's gates] = operand @ R^T + b_hh
                    let multiply = |products: &mut [R], operand: View<R>, stage: usize| {
                        // As initial states are, mostly.
                        let is_zero = operand.values.iter().all(|&value| value == R::zero());
                        let gates = [0..facts.first_stage, facts.first_stage..facts.gates];
                        let part = gates[stage].start * h..gates[stage].end * h;
                        let addend = Addend::bias(bias.map(|bias| &bias[part.clone()]));
                        let products = &mut products[part.start..];
                        match &stages[stage] {
                            Some(weights) if !is_zero => {
                                weights.matmul(operand, addend, products, gates_h);
                            }
                            _ => addend.write(products, part.len(), gates_h),
                        }
                    };
                    // Keeps the state after the last valid step, or before the first where there is none.
                    let keep = |t: usize, r: usize, before: &[R], after: &[R], last: &mut [R]| {
                        if t + 1 == length(r) {
                            last.copy_from_slice(after);
                        } else if t == 0 && length(r) == 0 {
                            last.copy_from_slice(before);
                        }
                    };
                    for (n, t) in range.clone().enumerate() {
                        let (before, after) = states.split_at_mut(n + 1);
                        let (mut h_before, h_after) = (&*before[n], &mut *after[0]);
                        let (c_before, c_after) = pair(&mut cells, n);
                        if self.options.drops_state && t > 0 {
                            dropped.copy_from_slice(h_before);
                            self.drop_state(gates[n + from_before - 1], &mut dropped);
                            h_before = &dropped;
                        }
                        let (own_gates, gates_after) = gates.split_at_mut(n + from_before + 1);
                        let rows_of_gates = &mut *own_gates[n + from_before];
                        if let Some(input) = input.filter(|_| t < longest) {
                            let first = t * b + tile * TILE;
                            let rows = input.rows.rows(first..first + sequences);
                            let weights = &input.weights;
                            weights.matmul(rows, input.addend, rows_of_gates, row_size);
                        }
                        if first_half && t < longest {
                            let operand = View::new(h_before, sequences, p, p);
                            multiply(&mut products, operand, 0);
                        }
                        if self.has_middle() && first_half {
                            for (r, row) in rows_of_gates.chunks_exact_mut(row_size).enumerate() {
                                let slots = &mut row[..slots_h];
                                if t >= length(r) {
                                    slots.fill(R::zero());
                                    continue;
                                }
                                let row = ForwardRow {
                                    slots,
                                    product: &products[r * gates_h..(r + 1) * gates_h],
                                    peepholes,
                                    clip,
                                    h_before: &h_before[r * h..(r + 1) * h],
                                    c_before: &[],
                                    h: &mut [],
                                    c: &mut [],
                                };
                                (rows.middle)(h, row);
                            }
                        }
                        if self.has_middle() && second_half && t < longest {
                            let middle = &rows_of_gates[(facts.slots - 1) * h..];
                            let middle = View::new(middle, sequences, h, row_size);
                            multiply(&mut products, middle, 1);
                        }
                        // The units end where their last product is there; a projected layer's end in its first half.
                        if ends_units {
                            for (r, row) in rows_of_gates.chunks_exact_mut(row_size).enumerate() {
                                let c_own = if c_after.is_empty() {
                                    0..0
                                } else {
                                    r * h..(r + 1) * h
                                };
                                if let Some(next) = gates_after.first() {
                                    prefetch(&next[r * row_size..][..slots_h]);
                                }
                                let (slots, m) = row.split_at_mut(slots_h);
                                let (h_before, h_after) = match self.options.projection {
                                    Some(_) => (&[][..], &mut m[..h]),
                                    None => (&h_before[r * h..][..h], &mut h_after[r * h..][..h]),
                                };
                                let row = ForwardRow {
                                    slots,
                                    product: &products[r * gates_h..(r + 1) * gates_h],
                                    peepholes,
                                    clip,
                                    h_before,
                                    c_before: &c_before[c_own.clone()],
                                    h: h_after,
                                    c: &mut c_after[c_own.clone()],
                                };
                                if t < length(r) {
                                    (rows.forward)(h, row);
                                } else {
                                    row.slots.fill(R::zero());
                                    row.h.fill(R::zero());
                                    row.c.fill(R::zero());
                                }
                                let (before, after) =
                                    (&c_before[c_own.clone()], &c_after[c_own.clone()]);
                                keep(t, r, before, after, &mut last_c[c_own]);
                            }
                        }
                        if let Some(projection) = self.options.projection.filter(|_| second_half) {
                            let m = View::new(&rows_of_gates[slots_h..], sequences, h, row_size);
                            // Past the end m is zero, and so is its projection.
                            match projection_t.as_ref().filter(|_| t < longest) {
                                Some(weights) => {
                                    weights.matmul(m, Addend::Zero, &mut projected, p);
                                }
                                None => projected.fill(R::zero()),
                            }
                            let limit = projection.clip.map(R::of);
                            let projected = projected.chunks_exact(p);
                            for (r, (row, projected)) in rows_of_gates
                                .chunks_exact_mut(row_size)
                                .zip(projected)
                                .enumerate()
                            {
                                row[slots_h + h..][..p].copy_from_slice(projected);
                                let h_after = &mut h_after[r * p..(r + 1) * p];
                                h_after.copy_from_slice(projected);
                                if let Some(limit) = limit {
                                    h_after.iter_mut().for_each(|h| *h = h.clipped(limit));
                                }
                            }
                        }
                        if second_half {
                            for r in 0..sequences {
                                let own = r * p..(r + 1) * p;
                                let (before, after) =
                                    (&h_before[own.clone()], &h_after[own.clone()]);
                                keep(t, r, before, after, &mut last_h[own]);
                            }
                            if self.options.drops_state {
                                let masks =
                                    self.masks(rows_of_gates).zip(last_h.chunks_exact_mut(p));
                                for (r, (mask, last)) in masks.enumerate() {
                                    if t + 1 == length(r) {
                                        last.iter_mut().zip(mask).for_each(|(h, &mask)| *h *= mask);
                                    }
                                }
                            }
                        }
                    }
                },
            );
    }

    /// The masks of h that one step's rows of the gates end with.
    fn masks<'a, R>(&self, rows_of_gates: &'a [R]) -> impl Iterator<Item = &'a [R]> {
        let skip = self.row_size() - self.output_size;
        rows_of_gates
            .chunks_exact(self.row_size())
            .map(move |row| &row[skip..])
    }

    /// Multiplies h of some sequences by the masks of the step that they come from.
    fn drop_state<R: Real>(&self, rows_of_gates: &[R], h: &mut [R]) {
        for (h, mask) in h
            .chunks_exact_mut(self.output_size)
            .zip(self.masks(rows_of_gates))
        {
            h.iter_mut().zip(mask).for_each(|(h, &mask)| *h *= mask);
        }
    }

    /// Steps `range` backward, latest first, doing `work` at each.
    pub(super) fn backward<R: Real>(
        &self,
        memory: &Memory<R>,
        range: Range<usize>,
        work: BackwardWork,
    ) {
        let facts = self.cell.spec();
        let (b, h, p) = (self.batch, self.hidden_size, self.output_size);
        let rows = self.cell.rows::<R>(self.options.cell_clip.is_some());
        let clip = R::of(self.options.cell_clip.unwrap_or(0.0));
        let peepholes = self.weights.peephole.map(|peephole| memory.read(&peephole));
        let peepholes = peepholes.as_deref().unwrap_or(&[]);
        let recurrent = memory.read(&self.weights.recurrent);
        let (recurrent, projection) = recurrent.split_at(facts.gates * h * p);
        let lengths = memory.read_index(&self.lengths);
        let lengths = &*lengths;
        let (states, cells) = (memory.read(&self.states.h), memory.read(&self.states.c));
        let (states, cells) = (&*states, &*cells);
        let upstream = self
            .gradients
            .upstream
            .map(|upstream| memory.read(&upstream));
        let upstream = upstream.as_deref();
        let mut gates = memory.write(&self.gates);
        let mut dstate = memory.write(&self.gradients.dstate);
        let (dh, dc) = dstate.split_at_mut(b * p);
        let (slots_h, row_size) = (facts.slots * h, self.row_size());
        // Each run's part of R, and W_hr, laid out once for all steps.
        let runs: Vec<_> = (self.product_runs().into_iter())
            .map(|run| {
                let part = View::new(&recurrent[run.start * h * p..], run.len() * h, p, p);
                (run, PackedB::new(part))
            })
            .collect();
        let projection = self
            .options
            .projection
            .map(|_| PackedB::new(View::new(projection, p, h, h)));
        // A step of its own first takes the step after it back, whose gradients lie one further on.
        // A state that is dropped has its mask at the step before.
        let from_before = usize::from(self.options.drops_state && range.start > 0);
        let end = (range.end + usize::from(work.pending)).min(self.steps);
        let held = range.start - from_before..end;

        let mut tasks = by_tile(&mut gates, b * row_size, row_size, held);
        let dstates = dh.chunks_mut(TILE * p).zip(chunks_or_empty(dc, TILE * h));
        tasks
            .par_iter_mut()
            .zip(dstates.collect::<Vec<_>>())
            .enumerate()
            .for_each(|(tile, (gates, (dh, dc)))| {
                let sequences = dh.len() / p;
                let first = tile * TILE;
                let length = |row: usize| (lengths[first + row] as usize).min(self.steps);
                let longest = (0..sequences).map(length).max().unwrap_or(0);
                let mut dropped =
                    vec![R::zero(); usize::from(self.options.drops_state) * sequences * p];
                let mut dmiddle = vec![R::zero(); (self.stages() - 1) * sequences * h];
                // out += the gradients of the products of one stage's gates, taken back through R
                let products_back = |slots: &[R], out: &mut [R], second: bool| {
                    let of_stage = |run: &Range<usize>| (run.start >= facts.first_stage) == second;
                    for (run, weights) in runs.iter().filter(|(run, _)| of_stage(run)) {
                        let slots = &slots[facts.product_slots[run.start] * h..];
                        let operand = View::new(slots, sequences, run.len() * h, row_size);
                        weights.matmul(operand, Addend::C, out, p);
                    }
                };
                if work.first && work.units && self.gradients.given_states < 1 {
                    dh.fill(R::zero());
                }
                // A projected layer comes to its units, and so to c, in the middle of a step.
                let reaches_c = match self.options.projection {
                    Some(_) => work.middle,
                    None => work.units,
                };
                if work.first && reaches_c && self.gradients.given_states < 2 {
                    dc.fill(R::zero());
                }
                if work.pending && !work.first {
                    products_back(gates[range.len() + from_before], dh, false);
                }
                for (n, t) in range.clone().enumerate().rev() {
                    let held_before = &states[(t * b + first) * p..][..sequences * p];
                    if self.options.drops_state {
                        dropped.copy_from_slice(held_before);
                        if t > 0 {
                            self.drop_state(gates[n + from_before - 1], &mut dropped);
                        }
                    }
                    let held_before = if self.options.drops_state {
                        &dropped
                    } else {
                        held_before
                    };
                    let (gates_before, own_gates) = gates.split_at_mut(n + from_before);
                    let slots = &mut *own_gates[0];
                    let vector = |t: usize, row: usize, size: usize| -> Range<usize> {
                        let start = (t * b + first + row) * size;
                        start..start + size
                    };
                    // h and c of a row of units; empty where they have none.
                    let own_h = |row: usize| match self.options.projection {
                        Some(_) => 0..0,
                        None => row * h..(row + 1) * h,
                    };
                    let c_of = |t: usize, row: usize| {
                        let own = if cells.is_empty() {
                            0..0
                        } else {
                            vector(t, row, h)
                        };
                        &cells[own]
                    };
                    let emitted = &states[((t + 1) * b + first) * p..][..sequences * p];
                    let each = |slots: &mut [R],
                                dh: &mut [R],
                                dc: &mut [R],
                                dmiddle: &[R],
                                formula: fn(usize, BackwardRow<R>)| {
                        for (row, slots) in slots.chunks_exact_mut(row_size).enumerate() {
                            let slots = &mut slots[..slots_h];
                            if let Some(next) = gates_before.last() {
                                prefetch(&next[row * row_size..][..slots_h]);
                                prefetch(c_of(t.saturating_sub(1), row));
                            }
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
                                    h_before: &held_before[own_h(row)],
                                    c_before: c_of(t, row),
                                    h: &emitted[own_h(row)],
                                    c: c_of(t + 1, row),
                                    dh: &mut dh[own.clone()],
                                    dc: &mut dc[if facts.states > 1 { own.clone() } else { 0..0 }],
                                    dmiddle: &dmiddle[if dmiddle.is_empty() { 0..0 } else { own }],
                                },
                            );
                        }
                    };
                    if self.options.drops_state && work.units {
                        let rows = dh.chunks_exact_mut(p).zip(self.masks(slots)).enumerate();
                        for (_, (dh, mask)) in rows.filter(|(row, _)| t < length(*row)) {
                            dh.iter_mut().zip(mask).for_each(|(dh, &mask)| *dh *= mask);
                        }
                    }
                    if let Some(upstream) = upstream.filter(|_| work.units) {
                        for (row, dh) in dh
                            .chunks_exact_mut(p)
                            .enumerate()
                            .filter(|(row, _)| t < length(*row))
                        {
                            let upstream = &upstream[vector(t, row, p)];
                            dh.iter_mut().zip(upstream).for_each(|(dh, &du)| *dh += du);
                        }
                    }
                    if let Some(projection) = self.options.projection.filter(|_| work.units) {
                        // In place of the product its gradient, unless h was clipped there.
                        for (row, (slots, dh)) in slots
                            .chunks_exact_mut(row_size)
                            .zip(dh.chunks_exact_mut(p))
                            .enumerate()
                        {
                            let projected = &mut slots[slots_h + h..][..p];
                            if t >= length(row) {
                                projected.fill(R::zero());
                                continue;
                            }
                            let limit = projection.clip.map(R::of);
                            for (value, dh) in projected.iter_mut().zip(dh) {
                                *value = limit.map_or(*dh, |limit| dh.past_clip(*value, limit));
                                *dh = R::zero();
                            }
                        }
                    } else if work.units {
                        each(slots, dh, dc, &[], rows.backward);
                    }
                    if work.middle && self.options.projection.is_some() {
                        let operand = View::new(&slots[slots_h + h..], sequences, p, row_size);
                        dmiddle.fill(R::zero());
                        if let Some(weights) = projection.as_ref().filter(|_| t < longest) {
                            weights.matmul(operand, Addend::C, &mut dmiddle, h);
                        }
                        each(slots, &mut dmiddle, dc, &[], rows.backward);
                    } else if work.middle && self.has_middle() {
                        if t < longest {
                            dmiddle.fill(R::zero());
                            products_back(slots, &mut dmiddle, true);
                        }
                        each(slots, dh, dc, &dmiddle, rows.middle_backward);
                    }
                    // Past the longest sequence's end there is nothing to take back.
                    if work.product && t < longest {
                        products_back(slots, dh, false);
                    }
                }
            });
    }
}

/// The product that comes into the gates: `rows @ weights`, added to `addend`.
pub(super) struct Input<'a, R: Real> {
    /// `[T*B, I]`.
    pub rows: View<'a, R>,
    /// `[I, G*H]`.
    pub weights: PackedB<'a, R>,
    /// `[G*H]`.
    pub addend: Addend<'a, R>,
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
