//! A step of an LSTM with layer normalisation. Each gate's pre-activation is normalised over the
//! units, and so is the new c, which is both carried on and squashed (`LayerNormBasicLSTMCell` of
//! TensorFlow 1; Ba et al. 2016 normalise):
//!
//! ```text
//! y_k = gain_k (a_k - mean(a_k)) / sqrt(var(a_k) + epsilon) + shift_k,  a = W x + R h + b
//! c' = norm(σ(y_f) c + σ(y_i) tanh(y_g)),  h' = σ(y_o) tanh(c')
//! ```

use super::{NormPass, NormRow, normalise, normalise_back};
use crate::kernels::recurrence::cpu::multiply;
use crate::numeric::real::Real;

const GATES: usize = 4;
/// The index of c among the vectors that are normalised.
const OF_C: usize = GATES;

impl<R: Real> NormPass<'_, R> {
    /// Computes a step of one sequence from the recurrent products, with b_hh, and c before it.
    pub(super) fn lstm_forward(
        &self,
        row: NormRow<R>,
        products: &[R],
        c_before: &[R],
        [h_after, c_after]: [&mut [R]; 2],
    ) {
        let (layer, h) = (self.layer, self.layer.hidden_size);
        let (activation, gate_function) =
            (layer.options.activation, layer.options.recurrent_activation);
        let epsilon = self.epsilon();
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

    /// Computes the gradients of a step of one sequence from c before and after it.
    pub(super) fn lstm_backward(
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
        self.vector_back(OF_C, &row, values);
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
            self.vector_back(gate, &row, values);
            row.slots[gate * h..][..h].copy_from_slice(values);
        }
        multiply(row.normed, row.gradients);
    }

    /// Applies gain and shift to a normalised value.
    fn gained(&self, k: usize, j: usize, normed: R) -> R {
        let at = k * self.layer.hidden_size + j;
        self.gains[at] * normed + self.shifts[at]
    }

    /// Writes the gradient of a vector before its normalisation to `out`.
    fn vector_back(&self, k: usize, row: &NormRow<R>, out: &mut [R]) {
        let h = self.layer.hidden_size;
        let own = k * h..(k + 1) * h;
        let gradients = row.gradients[own.clone()]
            .iter()
            .zip(&self.gains[own.clone()]);
        for (out, (&d, &gain)) in out.iter_mut().zip(gradients) {
            *out = d * gain;
        }
        normalise_back(out, &row.normed[own], row.scales[k]);
    }
}
