//! A step of a GRU with layer normalisation, as in haste's `LayerNormGRU`: W x and R h are each
//! normalised over the units of all gates together (Ba et al. 2016 normalise), before the biases,
//! which are the shifts:
//!
//! ```text
//! x = gain_x norm(W x) + b_ih,  y = gain_h norm(R h) + b_hh
//! r = σ(x_r + y_r),  z = σ(x_z + y_z),  n = tanh(x_n + r y_n),  h' = (1 - z) n + z h
//! norm(a) = (a - mean(a)) / sqrt(var(a) + epsilon)
//! ```

use super::{NormPass, NormRow, normalise, normalise_back};
use crate::numeric::real::Real;

const GATES: usize = 3;
/// The indices of the statistics.
const OF_X: usize = 0;
const OF_H: usize = 1;
/// The slot that saves y_n.
const Y_N: usize = 3;
/// The vector of the gradients that holds the gradient of y of each gate.
const RECURRENT_GRADIENTS: [usize; GATES] = [0, 1, 3];

impl<R: Real> NormPass<'_, R> {
    /// Computes a step of one sequence from `R h` and h before it.
    pub(super) fn gru_forward(
        &self,
        row: NormRow<R>,
        products: &[R],
        h_before: &[R],
        h_after: &mut [R],
    ) {
        let (layer, h) = (self.layer, self.layer.hidden_size);
        let (activation, gate_function) =
            (layer.options.activation, layer.options.recurrent_activation);
        let (of_x, of_h) = row.normed.split_at_mut(GATES * h);
        row.scales[OF_X] = normalise(&row.slots[..GATES * h], self.epsilon(), of_x);
        row.scales[OF_H] = normalise(products, self.epsilon(), of_h);
        let gains = self.gains.split_at(GATES * h);
        for j in 0..h {
            let at = [0, 1, 2].map(|gate| gate * h + j);
            let [x_r, x_z, x_n] = at.map(|at| shifted(gains.0[at] * of_x[at], self.shifts, at));
            let b_hh = self.bias.unwrap_or(&[]);
            let [y_r, y_z, y_n] = at.map(|at| shifted(gains.1[at] * of_h[at], b_hh, at));
            let (r, z) = (gate_function.of(x_r + y_r), gate_function.of(x_z + y_z));
            let n = activation.of(x_n + r * y_n);
            h_after[j] = (R::one() - z) * n + z * h_before[j];
            for (slot, value) in [r, z, n, y_n].into_iter().enumerate() {
                row.slots[slot * h + j] = value;
            }
        }
        row.slots[(Y_N + 1) * h..].fill(R::zero());
    }

    /// Computes the gradients of a step of one sequence from h before it.
    pub(super) fn gru_backward(
        &self,
        row: NormRow<R>,
        h_before: &[R],
        dh: &mut [R],
        values: &mut [R],
    ) {
        let (layer, h) = (self.layer, self.layer.hidden_size);
        let (activation, gate_function) =
            (layer.options.activation, layer.options.recurrent_activation);
        for j in 0..h {
            let [r, z, n, y_n] = [0, 1, 2, Y_N].map(|slot| row.slots[slot * h + j]);
            let d_n = activation.back(dh[j] * (R::one() - z), n);
            let d_z = gate_function.back(dh[j] * (h_before[j] - n), z);
            let d_r = gate_function.back(d_n * y_n, r);
            dh[j] *= z;
            for (k, d) in [d_r, d_z, d_n, d_n * r].into_iter().enumerate() {
                row.gradients[k * h + j] = d;
            }
        }
        let all = GATES * h;
        let of_gate = [[0, 1, 2], RECURRENT_GRADIENTS];
        for (statistic, vectors) in of_gate.into_iter().enumerate() {
            let gradients = vectors.map(|k| &row.gradients[k * h..][..h]);
            let gains = &self.gains[statistic * all..][..all];
            let normed = &mut row.normed[statistic * all..][..all];
            for (at, value) in values.iter_mut().enumerate() {
                *value = gradients[at / h][at % h] * gains[at];
            }
            normalise_back(values, normed, row.scales[statistic]);
            let slot = [0, self.norm.product_slot][statistic];
            row.slots[slot * h..][..all].copy_from_slice(values);
            for (at, normed) in normed.iter_mut().enumerate() {
                *normed *= gradients[at / h][at % h];
            }
        }
    }
}

/// Adds a shift, if there are shifts.
fn shifted<R: Real>(value: R, shifts: &[R], at: usize) -> R {
    shifts.get(at).map_or(value, |&shift| value + shift)
}
