//! An LSTM with layer normalisation on the CPU, the twin of `shaders/scan_norm_forward.wgsl` and
//! `shaders/scan_norm_backward.wgsl`, and what both calls share.
//!
//! Each gate's pre-activation is normalised over the units, and so is the new c, which is both
//! carried on and squashed (`LayerNormBasicLSTMCell` of TensorFlow 1; Ba et al. 2016 normalise):
//!
//! ```text
//! y_k = gain_k (a_k - mean(a_k)) / sqrt(var(a_k) + epsilon) + shift_k,  a = W x + R h + b
//! c' = norm(σ(y_f) c + σ(y_i) tanh(y_g)),  h' = σ(y_o) tanh(c')
//! ```

use std::ops::Range;

use rayon::prelude::*;

use super::cpu::{TILE, TimeRows, multiply};
use super::forward::{seen, store_last};
use super::{LayerNorm, NormWeights, Recurrence};
use crate::cells::{NORMS, norm_row_size};
use crate::kernels::Shader;
use crate::memory::Memory;
use crate::numeric::gemm::{Addend, PackedB, View};
use crate::numeric::real::Real;

/// The gates of an LSTM.
const GATES: usize = 4;
/// The index of c among the values that are normalised.
const OF_C: usize = GATES;

/// What a row of the gates has behind the slots: see `shaders/common/layer_norm.wgsl`.
struct NormRow<'a, R> {
    /// `[GATES, H]`.
    slots: &'a mut [R],
    /// `[NORMS, H]`.
    normed: &'a mut [R],
    /// `[NORMS, H]`.
    gradients: &'a mut [R],
    /// `[NORMS]`.
    scales: &'a mut [R],
}

impl<'a, R> NormRow<'a, R> {
    fn new(row: &'a mut [R], h: usize) -> Self {
        let (slots, rest) = row.split_at_mut(GATES * h);
        let (normed, rest) = rest.split_at_mut(NORMS * h);
        let (gradients, rest) = rest.split_at_mut(NORMS * h);
        NormRow {
            slots,
            normed,
            gradients,
            scales: &mut rest[..NORMS],
        }
    }
}

/// The operands that all tiles read.
struct NormPass<'a, R: Real> {
    layer: &'a Recurrence,
    /// The matrix that the rows of a step are multiplied with.
    recurrent: PackedB<'a, R>,
    bias: Option<&'a [R]>,
    /// `[NORMS, H]`.
    gains: &'a [R],
    /// `[NORMS, H]`.
    shifts: &'a [R],
    lengths: &'a [u32],
}

impl<R: Real> NormPass<'_, R> {
    fn length(&self, sequence: usize) -> usize {
        (self.lengths[sequence] as usize).min(self.layer.steps)
    }

    fn gain(&self, k: usize) -> &[R] {
        let h = self.layer.hidden_size;
        &self.gains[k * h..][..h]
    }

    /// Applies gain and shift to a normalised value.
    fn gained(&self, k: usize, j: usize, normed: R) -> R {
        let at = k * self.layer.hidden_size + j;
        self.gains[at] * normed + self.shifts[at]
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
    /// `[sequences, GATES*H]`.
    products: Vec<R>,
    /// `[sequences, H]`: h times its mask; empty unless the state is dropped.
    dropped: Vec<R>,
    /// `[H]`.
    values: Vec<R>,
}

impl<R: Real> NormScratch<R> {
    fn new(layer: &Recurrence, sequences: usize) -> Self {
        let h = layer.hidden_size;
        let dropped = usize::from(layer.options.drops_state) * sequences * h;
        NormScratch {
            products: vec![R::zero(); sequences * GATES * h],
            dropped: vec![R::zero(); dropped],
            values: vec![R::zero(); h],
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

    /// Returns the WGSL of both calls, except for the direction's own.
    pub(in crate::kernels) fn norm_shader(&self) -> Shader {
        self.step_shader()
            .with(include_str!("../../../shaders/common/layer_norm.wgsl"))
            .with_constants([("UNITS", self.hidden_size as f64)])
    }

    /// Returns the elements that a row has behind the slots.
    pub(super) fn norm_len(&self) -> usize {
        match self.options.layer_norm {
            Some(_) => norm_row_size(self.hidden_size),
            None => 0,
        }
    }

    /// Computes time steps `steps`.
    pub(in crate::kernels) fn norm_forward<R: Real>(
        &self,
        memory: &Memory<R>,
        steps: Range<usize>,
    ) {
        let (b, h, row_size) = (self.batch, self.hidden_size, self.row_size());
        let weights = memory.read(&self.weights.recurrent);
        let bias = self.weights.bias.map(|bias| memory.read(&bias));
        let norm = self.norm_weights();
        let (gains, lengths) = (memory.read(&norm.tensor), memory.read_index(&self.lengths));
        let pass = NormPass {
            layer: self,
            recurrent: PackedB::new(View::new(&weights, GATES * h, h, h).t(), memory.precision()),
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
        let lasts = last_h.chunks_mut(TILE * h).zip(last_c.chunks_mut(TILE * h));
        let lasts: Vec<_> = lasts.collect();
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
                let mut scratch = NormScratch::new(self, sequences);
                for t in steps.clone() {
                    pass.forward_step(t, &mut rows, &mut scratch);
                }
            });
    }

    /// Computes the backward pass of time steps `steps`. `given` states have gradients, if the last
    /// step is one of them.
    pub(in crate::kernels) fn norm_backward<R: Real>(
        &self,
        memory: &Memory<R>,
        steps: Range<usize>,
        given: usize,
    ) {
        let (b, h, row_size) = (self.batch, self.hidden_size, self.row_size());
        let weights = memory.read(&self.weights.recurrent);
        let norm = self.norm_weights();
        let (gains, lengths) = (memory.read(&norm.tensor), memory.read_index(&self.lengths));
        let cells = memory.read(&self.states.c);
        let upstream = self.gradients.upstream.map(|values| memory.read(&values));
        let (cells, upstream) = (&*cells, upstream.as_deref());
        let pass = NormPass {
            layer: self,
            recurrent: PackedB::new(View::new(&weights, GATES * h, h, h), memory.precision()),
            bias: None,
            gains: &gains,
            shifts: &[],
            lengths: &lengths,
        };
        let mut gates = memory.write(&self.gates);
        let mut dstate = memory.write(&self.gradients.dstate);
        let (dh, dc) = dstate.split_at_mut(b * h);
        let gates = TimeRows::by_tile(&mut gates, b * row_size, row_size, steps.clone());
        let dstates: Vec<_> = dh
            .chunks_mut(TILE * h)
            .zip(dc.chunks_mut(TILE * h))
            .collect();
        (gates.into_par_iter().zip(dstates).enumerate()).for_each(|(tile, (gates, (dh, dc)))| {
            let states = [&mut *dh, &mut *dc].into_iter().skip(given);
            states.for_each(|d| d.fill(R::zero()));
            let mut rows = NormBackwardRows {
                first: tile * TILE,
                gates,
                dh,
                dc,
                c: cells,
                upstream,
            };
            let mut scratch = NormScratch::new(self, 0);
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
        let addend = Addend::bias(self.bias);
        let products = &mut scratch.products;
        self.recurrent.matmul(operand, addend, products, GATES * h);
        let (c_before, c_after) = rows.c.states(t);
        let gates = rows.gates.at_mut(t).chunks_exact_mut(row_size);
        for (r, gates) in gates.enumerate() {
            let own = r * h..(r + 1) * h;
            let (h_after, c_after) = (&mut h_after[own.clone()], &mut c_after[own.clone()]);
            let length = self.length(rows.first + r);
            let row = NormRow::new(gates, h);
            if t < length {
                let products = &scratch.products[r * GATES * h..][..GATES * h];
                let states = [&c_before[own.clone()], products];
                self.forward_row(row, states, h_after, c_after);
            } else {
                for values in [row.slots, row.normed, row.scales, h_after, c_after] {
                    values.fill(R::zero());
                }
            }
        }
        self.store_lasts(t, rows, scratch);
    }

    /// Computes a step of one sequence from c before it and the recurrent products.
    fn forward_row(
        &self,
        row: NormRow<R>,
        [c_before, products]: [&[R]; 2],
        h_after: &mut [R],
        c_after: &mut [R],
    ) {
        let (layer, h) = (self.layer, self.layer.hidden_size);
        let (activation, gate_function) =
            (layer.options.activation, layer.options.recurrent_activation);
        let epsilon = R::of(layer.layer_norm().epsilon);
        for gate in 0..GATES {
            let values = &mut row.slots[gate * h..][..h];
            let sums = values.iter_mut().zip(&products[gate * h..][..h]);
            sums.for_each(|(value, &product)| *value += product);
            let normed = &mut row.normed[gate * h..][..h];
            row.scales[gate] = normalise(values, epsilon, normed);
            for (j, (value, &normed)) in values.iter_mut().zip(&*normed).enumerate() {
                let gained = self.gained(gate, j, normed);
                *value = match gate {
                    2 => activation.of(gained),
                    _ => gate_function.of(gained),
                };
            }
        }
        for j in 0..h {
            let [i, f, g] = [0, 1, 2].map(|gate| row.slots[gate * h + j]);
            c_after[j] = f * c_before[j] + i * g;
        }
        let normed = &mut row.normed[OF_C * h..][..h];
        row.scales[OF_C] = normalise(c_after, epsilon, normed);
        for j in 0..h {
            c_after[j] = self.gained(OF_C, j, normed[j]);
            h_after[j] = row.slots[3 * h + j] * activation.of(c_after[j]);
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
        let lasts = lasts.zip(rows.last_c.chunks_exact_mut(h));
        for (r, (last_h, last_c)) in lasts.enumerate() {
            let (own, length) = (r * h..(r + 1) * h, self.length(rows.first + r));
            store_last(
                t,
                length,
                &h_before[own.clone()],
                &h_after[own.clone()],
                last_h,
            );
            store_last(t, length, &c_before[own.clone()], &c_after[own], last_c);
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
        let mut is_padding = true;
        let gates = rows.gates.at_mut(t).chunks_exact_mut(row_size);
        for (r, gates) in gates.enumerate() {
            let (own, sequence) = (r * h..(r + 1) * h, rows.first + r);
            let (gates, masks) = gates.split_at_mut(row_size - layer.masks_len());
            let row = NormRow::new(gates, h);
            if t >= self.length(sequence) {
                for values in [row.slots, row.normed, row.gradients] {
                    values.fill(R::zero());
                }
                continue;
            }
            is_padding = false;
            let (dh, dc) = (&mut rows.dh[own.clone()], &mut rows.dc[own]);
            if layer.options.drops_state {
                multiply(dh, masks);
            }
            let step =
                |t: usize| (t * layer.batch + sequence) * h..(t * layer.batch + sequence + 1) * h;
            if let Some(upstream) = rows.upstream {
                let pairs = dh.iter_mut().zip(&upstream[step(t)]);
                pairs.for_each(|(dh, &du)| *dh += du);
            }
            let c = [&rows.c[step(t)], &rows.c[step(t + 1)]];
            self.backward_row(row, c, [dh, dc], &mut scratch.values);
        }
        // The gates of padded steps have no gradient.
        if !is_padding {
            let sequences = rows.dh.len() / h;
            let operand = View::new(rows.gates.at(t), sequences, GATES * h, row_size);
            self.recurrent.matmul(operand, Addend::C, rows.dh, h);
        }
    }

    /// Computes the gradients of a step of one sequence from c before and after it.
    fn backward_row(
        &self,
        row: NormRow<R>,
        [c_before, c_after]: [&[R]; 2],
        [dh, dc]: [&mut [R]; 2],
        values: &mut [R],
    ) {
        let (layer, h) = (self.layer, self.layer.hidden_size);
        let (activation, gate_function) =
            (layer.options.activation, layer.options.recurrent_activation);
        for j in 0..h {
            let (o, squashed) = (row.slots[3 * h + j], activation.of(c_after[j]));
            row.gradients[3 * h + j] = gate_function.back(dh[j] * squashed, o);
            row.gradients[OF_C * h + j] = dc[j] + activation.back(dh[j] * o, squashed);
        }
        self.normalise_back(OF_C, &row, values);
        for j in 0..h {
            let [i, f, g] = [0, 1, 2].map(|gate| row.slots[gate * h + j]);
            let d = values[j];
            row.gradients[j] = gate_function.back(d * g, i);
            row.gradients[h + j] = gate_function.back(d * c_before[j], f);
            row.gradients[2 * h + j] = activation.back(d * i, g);
            dc[j] = d * f;
            dh[j] = R::zero();
        }
        for gate in 0..GATES {
            self.normalise_back(gate, &row, values);
            row.slots[gate * h..][..h].copy_from_slice(values);
        }
        multiply(row.normed, row.gradients);
    }

    /// Writes the gradient of the values that [`normalise`] normalised to `out`.
    fn normalise_back(&self, k: usize, row: &NormRow<R>, out: &mut [R]) {
        let h = self.layer.hidden_size;
        let normed = &row.normed[k * h..][..h];
        let gradients = row.gradients[k * h..][..h].iter().zip(self.gain(k));
        for (out, (&d, &gain)) in out.iter_mut().zip(gradients) {
            *out = d * gain;
        }
        let count = R::of(h as f64);
        let mean = sum(out.iter().copied()) / count;
        let products = out.iter().zip(normed).map(|(&d, &normed)| d * normed);
        let product_mean = sum(products) / count;
        for (out, &normed) in out.iter_mut().zip(normed) {
            *out = row.scales[k] * (*out - mean - normed * product_mean);
        }
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
