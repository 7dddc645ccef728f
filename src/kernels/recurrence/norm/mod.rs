//! Layers with layer normalisation on the CPU, the twin of `shaders/scan_norm_forward.wgsl` and
//! `shaders/scan_norm_backward.wgsl`, and what both calls share. The cells' steps are in the
//! modules below.

mod gru;
mod lstm;

use std::ops::Range;

use rayon::prelude::*;

use super::cpu::{TILE, TimeRows, add, chunks_or_empty, multiply, row_or_empty};
use super::forward::{seen, store_last};
use super::{LayerNorm, NormWeights, Recurrence};
use crate::cells::{Cell, NormSpec};
use crate::kernels::Shader;
use crate::kernels::words::wgsl_constants;
use crate::memory::Memory;
use crate::numeric::gemm::{Addend, PackedB, View};
use crate::numeric::real::Real;

/// A row of the gates: see `shaders/common/layer_norm.wgsl`.
struct NormRow<'a, R> {
    /// `[slots, H]`: up to the first normalised value.
    slots: &'a mut [R],
    /// `[vectors, H]`.
    normed: &'a mut [R],
    /// `[gradients, H]`.
    gradients: &'a mut [R],
    /// `[statistics]`.
    scales: &'a mut [R],
}

impl<'a, R> NormRow<'a, R> {
    fn new(row: &'a mut [R], norm: &NormSpec, h: usize) -> Self {
        let (slots, rest) = row.split_at_mut(norm.normed_slot * h);
        let (normed, rest) = rest.split_at_mut(norm.vectors * h);
        let (gradients, rest) = rest.split_at_mut(norm.gradients * h);
        NormRow {
            slots,
            normed,
            gradients,
            scales: &mut rest[..norm.statistics()],
        }
    }
}

/// The operands that all tiles read.
struct NormPass<'a, R: Real> {
    layer: &'a Recurrence,
    norm: &'static NormSpec,
    /// The matrix that the rows of a step are multiplied with.
    recurrent: PackedB<'a, R>,
    /// b_hh.
    bias: Option<&'a [R]>,
    /// `[vectors, H]`.
    gains: &'a [R],
    /// `[vectors, H]`; b_ih `[G*H]` where the biases are the shifts, empty without biases.
    shifts: &'a [R],
    lengths: &'a [u32],
}

impl<R: Real> NormPass<'_, R> {
    fn length(&self, sequence: usize) -> usize {
        (self.lengths[sequence] as usize).min(self.layer.steps)
    }

    fn epsilon(&self) -> R {
        R::of(self.layer.layer_norm().epsilon)
    }
}

/// The tensors of a tile in the forward pass.
struct NormForwardRows<'a, R> {
    /// The first sequence of the tile.
    first: usize,
    gates: TimeRows<'a, R>,
    h: TimeRows<'a, R>,
    c: TimeRows<'a, R>,
    last_h: &'a mut [R],
    last_c: &'a mut [R],
}

/// Vectors of a tile that steps use in turn.
struct NormScratch<R> {
    /// `[sequences, G*H]`; empty in the backward pass.
    products: Vec<R>,
    /// `[sequences, H]`: h times its mask; empty unless the state is dropped.
    dropped: Vec<R>,
    /// `[joint, H]`: the values of one statistic.
    values: Vec<R>,
}

impl<R: Real> NormScratch<R> {
    fn new(pass: &NormPass<R>, sequences: usize) -> Self {
        let (layer, h) = (pass.layer, pass.layer.hidden_size);
        let dropped = usize::from(layer.options.drops_state) * sequences * h;
        NormScratch {
            products: vec![],
            dropped: vec![R::zero(); dropped],
            values: vec![R::zero(); pass.norm.joint * h],
        }
    }
}

impl Recurrence {
    /// Returns the layer normalisation.
    ///
    /// # Panics
    /// In a layer without it.
    pub(in crate::kernels) fn layer_norm(&self) -> LayerNorm {
        let norm = self.options.layer_norm;
        norm.expect("the layer is normalised")
    }

    /// Returns gains and shifts.
    ///
    /// # Panics
    /// In a layer without layer normalisation.
    pub(in crate::kernels) fn norm_weights(&self) -> NormWeights {
        self.weights.norm.expect("the layer is normalised")
    }

    /// Returns how the layer is normalised.
    ///
    /// # Panics
    /// In a layer without layer normalisation.
    fn norm_spec(&self) -> &'static NormSpec {
        self.norm().expect("the layer is normalised")
    }

    /// Returns the WGSL of both calls, except for the direction's own.
    fn norm_shader(&self) -> Shader {
        let norm = self.norm_spec();
        self.step_shader()
            .with(include_str!("../../../../shaders/common/layer_norm.wgsl"))
            .with(wgsl_constants(&[
                ("NORMS", norm.vectors),
                ("JOINT", norm.joint),
                ("STATISTICS", norm.statistics()),
                ("NORMED", norm.normed_slot),
                ("GRADIENTS", norm.gradient_slot()),
                ("SCALES", norm.scale_slot()),
                ("PRODUCTS", norm.product_slot),
            ]))
            .with_constants([("UNITS", self.hidden_size as f64)])
    }

    /// Returns the WGSL of the forward pass, except for the scan's own file.
    pub(in crate::kernels) fn norm_forward_shader(&self) -> Shader {
        self.norm_shader()
            .with(include_str!("../../../../shaders/common/forward.wgsl"))
            .with(self.norm_spec().forward_shader)
    }

    /// Returns the WGSL of the backward pass, except for the scan's own file.
    pub(in crate::kernels) fn norm_backward_shader(&self) -> Shader {
        self.norm_shader()
            .with(include_str!("../../../../shaders/common/backward.wgsl"))
            .with(include_str!(
                "../../../../shaders/common/load_four_back.wgsl"
            ))
            .with(self.norm_spec().backward_shader)
    }

    /// Returns the elements that a row has behind the slots.
    pub(super) fn norm_len(&self) -> usize {
        let slots = self.cell.spec().slots;
        self.norm()
            .map_or(0, |norm| norm.row_size(slots, self.hidden_size))
    }

    /// Computes time steps `steps`.
    pub(in crate::kernels) fn norm_forward<R: Real>(
        &self,
        memory: &Memory<R>,
        steps: Range<usize>,
    ) {
        let (b, h, row_size) = (self.batch, self.hidden_size, self.row_size());
        let columns = self.cell.spec().gates * h;
        let weights = memory.read(&self.weights.recurrent);
        let bias = self.weights.bias.map(|bias| memory.read(&bias));
        let norm = self.norm_weights();
        let (gains, lengths) = (memory.read(&norm.tensor), memory.read_index(&self.lengths));
        let pass = NormPass {
            layer: self,
            norm: self.norm_spec(),
            recurrent: PackedB::new(View::new(&weights, columns, h, h).t(), memory.precision()),
            bias: bias.as_deref(),
            gains: &gains,
            shifts: &gains[norm.skip..],
            lengths: &lengths,
        };
        let mut gates = memory.write(&self.gates);
        let mut states = memory.write(&self.states.h);
        let mut cells = memory.write(&self.states.c);
        let mut last = memory.write(&self.states.last);
        let (last_h, last_c) = last.split_at_mut(b * h);
        let held = self.steps_with_mask(steps.clone());
        let with_initial = steps.start..steps.end + 1;
        let gates = TimeRows::by_tile(&mut gates, b * row_size, row_size, held);
        let states = TimeRows::by_tile(&mut states, b * h, h, with_initial.clone());
        let cells = TimeRows::by_tile(&mut cells, b * h, h, with_initial);
        let lasts = last_h.chunks_mut(TILE * h);
        let lasts: Vec<_> = lasts.zip(chunks_or_empty(last_c, TILE * h)).collect();
        (gates.into_par_iter().zip(states).zip(cells).zip(lasts))
            .enumerate()
            .for_each(|(tile, (((gates, h), c), (last_h, last_c)))| {
                let mut rows = NormForwardRows {
                    first: tile * TILE,
                    gates,
                    h,
                    c,
                    last_h,
                    last_c,
                };
                let sequences = rows.last_h.len() / self.hidden_size;
                let mut scratch = NormScratch {
                    products: vec![R::zero(); sequences * columns],
                    ..NormScratch::new(&pass, sequences)
                };
                for t in steps.clone() {
                    pass.forward_step(t, &mut rows, &mut scratch);
                }
            });
    }

    /// Computes the backward pass of time steps `steps`.
    pub(in crate::kernels) fn norm_backward<R: Real>(
        &self,
        memory: &Memory<R>,
        steps: Range<usize>,
    ) {
        let (b, h, row_size) = (self.batch, self.hidden_size, self.row_size());
        let rows = self.cell.spec().gates * h;
        let weights = memory.read(&self.weights.recurrent);
        let norm = self.norm_weights();
        let (gains, lengths) = (memory.read(&norm.tensor), memory.read_index(&self.lengths));
        let (states, cells) = (memory.read(&self.states.h), memory.read(&self.states.c));
        let upstream = self.gradients.upstream.map(|values| memory.read(&values));
        let (states, cells, upstream) = (&*states, &*cells, upstream.as_deref());
        let pass = NormPass {
            layer: self,
            norm: self.norm_spec(),
            recurrent: PackedB::new(View::new(&weights, rows, h, h), memory.precision()),
            bias: None,
            gains: &gains,
            shifts: &[],
            lengths: &lengths,
        };
        let mut gates = memory.write(&self.gates);
        let mut dstate = memory.write(&self.gradients.dstate);
        let (dh, dc) = dstate.split_at_mut(b * h);
        let held = self.steps_with_mask(steps.clone());
        let gates = TimeRows::by_tile(&mut gates, b * row_size, row_size, held);
        let dstates = dh.chunks_mut(TILE * h);
        let dstates: Vec<_> = dstates.zip(chunks_or_empty(dc, TILE * h)).collect();
        (gates.into_par_iter().zip(dstates).enumerate()).for_each(|(tile, (gates, (dh, dc)))| {
            let given = self.given_states_before(steps.end);
            let not_given = [&mut *dh, &mut *dc].into_iter().skip(given);
            not_given.for_each(|d| d.fill(R::zero()));
            let mut rows = NormBackwardRows {
                first: tile * TILE,
                gates,
                dh,
                dc,
                h: states,
                c: cells,
                upstream,
            };
            let mut scratch = NormScratch::new(&pass, rows.dh.len() / h);
            for t in steps.clone().rev() {
                pass.backward_step(t, &mut rows, &mut scratch);
            }
        });
    }
}

/// The tensors of a tile in the backward pass.
struct NormBackwardRows<'a, R> {
    /// The first sequence of the tile.
    first: usize,
    gates: TimeRows<'a, R>,
    dh: &'a mut [R],
    dc: &'a mut [R],
    /// `[T+1, B, H]`.
    h: &'a [R],
    /// `[T+1, B, H]`; empty in a cell without c.
    c: &'a [R],
    /// `[T, B, H]`.
    upstream: Option<&'a [R]>,
}

impl<R: Real> NormPass<'_, R> {
    /// Takes a tile through time step `t`.
    fn forward_step(&self, t: usize, rows: &mut NormForwardRows<R>, scratch: &mut NormScratch<R>) {
        let (layer, h, row_size) = (self.layer, self.layer.hidden_size, self.layer.row_size());
        let sequences = rows.last_h.len() / h;
        if layer.options.drops_state && t > 0 {
            scratch.dropped.copy_from_slice(rows.h.at(t));
            layer.drop_state(rows.gates.at(t - 1), &mut scratch.dropped);
        }
        let (h_before, h_after) = rows.h.states(t);
        let h_before = seen(&scratch.dropped, h_before, t);
        let operand = View::new(h_before, sequences, h, h);
        let addend = Addend::bias(self.bias.filter(|_| !self.norm.shifts_are_biases));
        let (products, columns) = (&mut scratch.products, layer.cell.spec().gates * h);
        self.recurrent.matmul(operand, addend, products, columns);
        let (c_before, c_after) = rows.c.states(t);
        let gates = rows.gates.at_mut(t).chunks_exact_mut(row_size);
        for (r, gates) in gates.enumerate() {
            let own = r * h..(r + 1) * h;
            let of_c = row_or_empty(c_before, r, h);
            let (h_after, c_after) = (&mut h_after[own.clone()], &mut c_after[of_c.clone()]);
            let length = self.length(rows.first + r);
            let row = NormRow::new(gates, self.norm, h);
            if t < length {
                let products = &scratch.products[r * columns..][..columns];
                let before = [&h_before[own], &c_before[of_c]];
                self.forward_row(row, products, before, [h_after, c_after]);
            } else {
                for values in [row.slots, row.normed, row.scales, h_after, c_after] {
                    values.fill(R::zero());
                }
            }
        }
        self.store_lasts(t, rows, scratch);
    }

    /// Computes a step of one sequence from the products `R h`, and h and c before it.
    fn forward_row(
        &self,
        row: NormRow<R>,
        products: &[R],
        [h_before, c_before]: [&[R]; 2],
        [h_after, c_after]: [&mut [R]; 2],
    ) {
        match self.layer.cell {
            Cell::Lstm => self.lstm_forward(row, products, c_before, [h_after, c_after]),
            Cell::Gru => self.gru_forward(row, products, h_before, h_after),
            other => unreachable!("{} has no layer normalisation", other.name()),
        }
    }

    /// Stores the states after the last valid step of each sequence, as the next step would see
    /// them.
    fn store_lasts(&self, t: usize, rows: &mut NormForwardRows<R>, scratch: &NormScratch<R>) {
        let (layer, h) = (self.layer, self.layer.hidden_size);
        let (h_before, h_after) = rows.h.states(t);
        let h_before = seen(&scratch.dropped, h_before, t);
        let (c_before, c_after) = rows.c.states(t);
        let lasts = rows.last_h.chunks_exact_mut(h);
        let lasts = lasts.zip(chunks_or_empty(rows.last_c, h));
        for (r, (last_h, last_c)) in lasts.enumerate() {
            let (own, length) = (r * h..(r + 1) * h, self.length(rows.first + r));
            let of_c = row_or_empty(c_before, r, h);
            let (before, after) = (&h_before[own.clone()], &h_after[own]);
            store_last(t, length, before, after, last_h);
            let (before, after) = (&c_before[of_c.clone()], &c_after[of_c]);
            store_last(t, length, before, after, last_c);
        }
        if layer.options.drops_state {
            let masks = layer.masks(rows.gates.at(t));
            let lasts = rows.last_h.chunks_exact_mut(h).zip(masks).enumerate();
            for (_, (last, mask)) in lasts.filter(|(r, _)| t + 1 == self.length(rows.first + r)) {
                multiply(last, mask);
            }
        }
    }

    /// Takes a tile back through time step `t`.
    fn backward_step(
        &self,
        t: usize,
        rows: &mut NormBackwardRows<R>,
        scratch: &mut NormScratch<R>,
    ) {
        let (layer, h, row_size) = (self.layer, self.layer.hidden_size, self.layer.row_size());
        let (mut is_padding, sequences) = (true, rows.dh.len() / h);
        let row_of = |t: usize| t * layer.batch + rows.first;
        let h_before = &rows.h[row_of(t) * h..][..sequences * h];
        if layer.options.drops_state && t > 0 {
            scratch.dropped.copy_from_slice(h_before);
            layer.drop_state(rows.gates.at(t - 1), &mut scratch.dropped);
        }
        let h_before = seen(&scratch.dropped, h_before, t);
        let gates = rows.gates.at_mut(t).chunks_exact_mut(row_size);
        for (r, gates) in gates.enumerate() {
            let own = r * h..(r + 1) * h;
            let (gates, masks) = gates.split_at_mut(row_size - layer.masks_len());
            let row = NormRow::new(gates, self.norm, h);
            if t >= self.length(rows.first + r) {
                for values in [row.slots, row.normed, row.gradients] {
                    values.fill(R::zero());
                }
                continue;
            }
            is_padding = false;
            let of_c = row_or_empty(rows.dc, r, h);
            let (dh, dc) = (&mut rows.dh[own.clone()], &mut rows.dc[of_c]);
            if layer.options.drops_state {
                multiply(dh, masks);
            }
            if let Some(upstream) = rows.upstream {
                add(dh, &upstream[(row_of(t) + r) * h..][..h]);
            }
            let c = [t, t + 1].map(|t| &rows.c[row_or_empty(rows.c, row_of(t) + r, h)]);
            self.backward_row(row, &h_before[own], c, [dh, dc], &mut scratch.values);
        }
        // The gates of padded steps have no gradient.
        if !is_padding {
            let gradients = &rows.gates.at(t)[self.norm.product_slot * h..];
            let gates = layer.cell.spec().gates * h;
            let operand = View::new(gradients, sequences, gates, row_size);
            self.recurrent.matmul(operand, Addend::C, rows.dh, h);
        }
    }

    /// Computes the gradients of a step of one sequence from h before it, and c before and after.
    fn backward_row(
        &self,
        row: NormRow<R>,
        h_before: &[R],
        c: [&[R]; 2],
        [dh, dc]: [&mut [R]; 2],
        values: &mut [R],
    ) {
        match self.layer.cell {
            Cell::Lstm => self.lstm_backward(row, c, [dh, dc], values),
            Cell::Gru => self.gru_backward(row, h_before, dh, values),
            other => unreachable!("{} has no layer normalisation", other.name()),
        }
    }
}

/// Replaces the gradient `d` of the values that [`normalise`] made by that of its argument.
fn normalise_back<R: Real>(d: &mut [R], normed: &[R], scale: R) {
    let count = R::of(d.len() as f64);
    let mean = sum(d.iter().copied()) / count;
    let products = d.iter().zip(normed).map(|(&d, &normed)| d * normed);
    let product_mean = sum(products) / count;
    for (d, &normed) in d.iter_mut().zip(normed) {
        *d = scale * (*d - mean - normed * product_mean);
    }
}

/// Normalises values over the units into `out`; returns the reciprocal of the deviation.
fn normalise<R: Real>(values: &[R], epsilon: R, out: &mut [R]) -> R {
    let count = R::of(values.len() as f64);
    let mean = sum(values.iter().copied()) / count;
    for (out, &value) in out.iter_mut().zip(values) {
        *out = value - mean;
    }
    let variance = sum(out.iter().map(|&apart| apart * apart)) / count;
    let scale = R::one() / (variance + epsilon).sqrt();
    out.iter_mut().for_each(|out| *out *= scale);
    scale
}

/// Adds up values in eight sums, which are vectors, and then these.
fn sum<R: Real>(values: impl Iterator<Item = R>) -> R {
    let mut sums = [R::zero(); 8];
    for (n, value) in values.enumerate() {
        sums[n % 8] += value;
    }
    sums.into_iter().fold(R::zero(), |sum, value| sum + value)
}
