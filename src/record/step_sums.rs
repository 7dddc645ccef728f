//! Gradients of weights: sums over the time steps of all sequences. On a GPU a long sum is cut into
//! slices, whose partial sums are added afterwards.

use super::{HeadPart, HeadTensors, RecordedDirection, RecordedLayer, RecordedNetwork};
use crate::kernels::{Call, ColumnSum, Gemm, Matrix};
use crate::tensor::{Element, Kind, Tensor};

/// The gradient of a weight matrix, `out = of^T @ by`: a sum over all valid steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepSum {
    /// `[T*B, M]`.
    pub of: Matrix,
    /// `[T*B, N]`.
    pub by: Matrix,
    /// `[M, N]`.
    pub out: Matrix,
}

impl RecordedNetwork {
    /// Creates the buffer of partial sums, large enough for the largest of the backward pass; none
    /// where no sum is cut.
    pub(super) fn create_partials(&mut self) -> Option<Tensor> {
        let sums = self.sliced_sums().into_iter();
        let len = sums.map(|(_, len)| len).max()?;
        let kind = Kind::Activations;
        Some(self.program.buffer("partials", kind, Element::Real, [len]))
    }

    /// The sums that are cut into slices: their results, and the elements of all slices.
    pub(super) fn sliced_sums(&self) -> Vec<(Tensor, usize)> {
        let sums = self.step_sums().into_iter();
        let sliced = sums.filter_map(|sum| self.slices(&sum));
        sliced
            .map(|(slices, out)| (out, slices * out.len()))
            .collect()
    }

    /// Every sum over steps in the backward pass.
    fn step_sums(&self) -> Vec<StepSum> {
        let of_head = |head: &'_ HeadTensors| {
            let parts = self.head_parts(head.reads, true).into_iter();
            let sums = parts.filter_map(|part| self.head_weight_sum(head, &part));
            sums.collect::<Vec<_>>()
        };
        let heads = self.each_head().iter().flat_map(of_head);
        let mut sums: Vec<StepSum> = heads.chain(self.query_sum()).collect();
        sums.extend(self.category_sums());
        for layer in &self.layers {
            for direction in &layer.directions {
                sums.extend(self.input_weight_sum(layer, direction));
                sums.extend(self.recurrent_weight_sums(direction));
                sums.extend(self.projection_sum(direction));
            }
        }
        sums
    }

    /// The slices that a sum is cut into, and its result; `None` where it is not cut.
    fn slices(&self, sum: &StepSum) -> Option<(usize, Tensor)> {
        // All chunks of time have the slices of the whole sum.
        let whole = self.gemm(sum).with_inner(self.all_rows());
        let slices = self.tuning.slices(&whole, self.batch);
        sum.out
            .whole()
            .filter(|_| slices > 1)
            .map(|out| (slices, out))
    }

    fn gemm(&self, sum: &StepSum) -> Gemm {
        let gemm = Gemm::new(sum.of.t(), sum.by, sum.out).ragged_terms(self.lengths);
        if self.accumulates() {
            gemm.accumulate()
        } else {
            gemm
        }
    }

    /// Computes a sum, in slices where `partials` is used.
    pub(super) fn sum_steps(&self, sum: &StepSum, partials: Option<Tensor>) -> Vec<Call> {
        let Some((slices, out)) = self.slices(sum) else {
            return vec![self.gemm(sum).into()];
        };
        let partials = self.chunk_partials(out).or(partials);
        let partials = partials.expect("it is large enough for every sliced sum");
        let sliced = self.gemm(sum).sliced(slices, partials).into();
        if self.is_incomplete() {
            return vec![sliced];
        }
        let total = ColumnSum {
            source: partials,
            out,
            copies: 1,
            factor: None,
            lengths: None,
            rows: slices,
            stride: out.len(),
            accumulate: false,
        };
        vec![sliced, total.into()]
    }

    /// The gradient of the columns of a head's weights that a part belongs to, where it is a sum
    /// over the valid steps.
    pub(super) fn head_weight_sum(&self, head: &HeadTensors, part: &HeadPart) -> Option<StepSum> {
        let gradients = head
            .gradients
            .filter(|_| self.head_skips_padding(head.reads))?;
        Some(StepSum {
            of: super::parameters::matrix(head.doutputs),
            by: part.values,
            out: super::parameters::matrix(gradients.weight).columns(part.columns.clone()),
        })
    }

    /// The gradient of W; `None` for one-hot inputs, whose gradient is looked up.
    pub(super) fn input_weight_sum(
        &self,
        layer: &RecordedLayer,
        direction: &RecordedDirection,
    ) -> Option<StepSum> {
        let gradients = direction.gradients?;
        if self.reads_one_hot(layer) {
            return None;
        }
        let inputs = layer.inputs_of(direction, true);
        Some(StepSum {
            of: direction.gate_columns(0..direction.gates_size()),
            by: Matrix::new(inputs, self.rows(), direction.inputs),
            out: super::parameters::matrix(gradients.weight_ih),
        })
    }

    /// The gradient of R, one sum per run of gates whose gradients are in adjacent slots. The first
    /// stage multiplies the states before each step, the second stage the vector in the last slot.
    pub(super) fn recurrent_weight_sums(&self, direction: &RecordedDirection) -> Vec<StepSum> {
        let Some(gradient) = direction.gradients.and_then(|g| g.weight_hh) else {
            return vec![];
        };
        let recurrence = &direction.recurrence;
        let (spec, h, p) = (
            recurrence.cell.spec(),
            recurrence.hidden_size,
            recurrence.output_size,
        );
        let states = direction.dropped_states.unwrap_or(recurrence.states.h);
        let runs = recurrence.product_runs().into_iter();
        let sums = runs.map(|run| {
            let (slot, rows) = (recurrence.product_slot(run.start), run.len() * h);
            let slots = direction.slots_size();
            StepSum {
                of: direction.gate_columns(slot * h..slot * h + rows),
                by: if run.start < spec.first_stage {
                    Matrix::new(states, self.rows(), p)
                } else {
                    direction.gate_columns(slots - h..slots)
                },
                out: Matrix::new(gradient.part(run.start * h * p, [rows, p]), rows, p),
            }
        });
        sums.collect()
    }

    /// The gradient of W_hr, in a projected layer.
    pub(super) fn projection_sum(&self, direction: &RecordedDirection) -> Option<StepSum> {
        let gradient = direction.gradients?.weight_hr?;
        let (h, p) = (
            direction.recurrence.hidden_size,
            direction.recurrence.output_size,
        );
        let slots = direction.slots_size();
        Some(StepSum {
            of: direction.gate_columns(slots + h..slots + h + p),
            by: direction.gate_columns(slots..slots + h),
            out: super::parameters::matrix(gradient),
        })
    }
}
