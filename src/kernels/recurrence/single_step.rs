//! One time step of one sequence on the CPU, for a stream that computes the same step again and
//! again: the weights are packed once, and nothing is allocated. The bits are those of
//! [`super::forward`].

use super::{Recurrence, TimeDirection};
use crate::cells::{ForwardRow, Rows};
use crate::memory::Memory;
use crate::numeric::gemm::{Addend, MultiplyPanels, View};
use crate::numeric::real::Real;

/// A layer of one time step and one sequence, with its weights packed.
#[derive(Debug)]
pub(in crate::kernels) struct SingleStep<R: Real> {
    layer: Recurrence,
    formulas: Rows<R>,
    /// The limit of |c|; read only by a cell that clips.
    clip: R,
    /// The transposed rows of R of each stage; none of a stage without recurrent gates.
    recurrent: [Option<R::Panels>; 2],
    /// The transpose of W_hr, in a layer that projects.
    projection: Option<R::Panels>,
    /// `[G*H]`: `R h + b_hh`.
    products: Vec<R>,
}

impl<R: Real> SingleStep<R> {
    /// Packs the weights of `layer`; `None` for more steps or sequences, for a layer that drops
    /// elements, and where packing does not pay.
    pub fn new(layer: &Recurrence, memory: &Memory<R>) -> Option<Self> {
        let options = &layer.options;
        let drops = options.drops_state || options.drops_recurrent || options.zoneout.is_drawn;
        if (layer.steps, layer.batch) != (1, 1) || drops {
            return None;
        }
        let (h, p) = (layer.hidden_size, layer.output_size);
        let exact = memory.read(&layer.weights.recurrent);
        let rounded = layer.rounded_weights(&exact, TimeDirection::Forward);
        let weights = rounded.as_deref().unwrap_or(&exact);
        let (recurrent, projection) = weights.split_at(layer.cell.spec().recurrent_gates * h * p);
        let mut stages = [None, None];
        for (stage, gates) in stages.iter_mut().zip(layer.stage_gates()) {
            if !gates.is_empty() {
                let rows = View::new(&recurrent[gates.start * h * p..], gates.len() * h, p, p);
                *stage = Some(R::pack(rows.t(), memory.precision())?);
            }
        }
        let projection = if layer.projects() {
            Some(R::pack(
                View::new(projection, p, h, h).t(),
                memory.precision(),
            )?)
        } else {
            None
        };
        Some(SingleStep {
            formulas: (layer.cell).rows::<R>(options.cell_clip.is_some(), options.formulas()),
            clip: R::of(options.cell_clip.unwrap_or(0.0)),
            recurrent: stages,
            projection,
            products: vec![R::zero(); layer.cell.spec().recurrent_gates * h],
            layer: layer.clone(),
        })
    }

    /// Computes the step. Returns false, with nothing written, if it is padding.
    pub fn run(&mut self, memory: &Memory<R>) -> bool {
        let layer = &self.layer;
        if memory.read_index(&layer.lengths)[0] == 0 {
            return false;
        }
        let mut h = memory.write(&layer.states.h);
        let mut c = memory.write(&layer.states.c);
        let mut last = memory.write(&layer.states.last);
        let c_len = c.len() / 2;
        let states = States {
            h: h.split_at_mut(layer.output_size),
            c: c.split_at_mut(c_len),
        };
        let (h_after, c_after) = self.step(memory, states);
        let (last_h, last_c) = last.split_at_mut(h_after.len());
        last_h.copy_from_slice(h_after);
        last_c.copy_from_slice(c_after);
        true
    }

    /// Computes the slots and the states after the step, and returns these.
    fn step<'a>(&mut self, memory: &Memory<R>, states: States<'a, R>) -> (&'a [R], &'a [R]) {
        let SingleStep {
            layer,
            formulas,
            recurrent: [first_stage, second_stage],
            products,
            ..
        } = self;
        let bias = layer.weights.bias.map(|bias| memory.read(&bias));
        let peepholes = layer.weights.peephole.map(|values| memory.read(&values));
        let mut gates = memory.write(&layer.gates);
        let units = layer.hidden_size;
        let (slots, rest) = gates.split_at_mut(layer.cell.spec().slots * units);
        let ((h_before, h_after), (c_before, c_after)) = (states.h, states.c);
        let of_stage = |stage: usize| {
            let gates = &layer.stage_gates()[stage];
            gates.start * units..gates.end * units
        };
        let bias_of = |stage: usize| bias.as_ref().map(|bias| &bias[of_stage(stage)]);
        let row = ForwardRow {
            slots: &mut [],
            product: &[],
            peepholes: peepholes.as_deref().unwrap_or(&[]),
            clip: self.clip,
            options: layer.options.formulas(),
            h_before: &*h_before,
            c_before: &[],
            h: &mut [],
            c: &mut [],
        };

        multiply(
            first_stage,
            h_before,
            bias_of(0),
            &mut products[of_stage(0)],
        );
        if layer.has_middle() {
            (formulas.middle)(
                units,
                ForwardRow {
                    slots: &mut *slots,
                    product: products,
                    h: &mut [],
                    c: &mut [],
                    ..row
                },
            );
            let middle = &slots[slots.len() - units..];
            multiply(second_stage, middle, bias_of(1), &mut products[of_stage(1)]);
        }
        let (seen, m) = if layer.projects() {
            (&[][..], &mut rest[..units])
        } else {
            (&*h_before, &mut *h_after)
        };
        (formulas.forward)(
            units,
            ForwardRow {
                slots,
                product: products,
                h_before: seen,
                c_before,
                h: m,
                c: &mut *c_after,
                ..row
            },
        );
        if layer.options.zoneout.c > 0.0 {
            layer.keep_old(1, &[], c_before, c_after);
        }
        self.project(rest, h_after);
        if self.layer.options.zoneout.h > 0.0 {
            self.layer.keep_old(0, &[], h_before, h_after);
        }
        (h_after, c_after)
    }

    /// Computes `h' = W_hr m`, clipped, if the layer projects. `rest` is m, then `W_hr m`.
    fn project(&self, rest: &mut [R], h_after: &mut [R]) {
        let Some(weights) = &self.projection else {
            return;
        };
        let (units, p) = (self.layer.hidden_size, h_after.len());
        let (m, projected) = rest.split_at_mut(units);
        let projected = &mut projected[..p];
        weights.matmul(View::new(m, 1, units, units), Addend::Zero, projected, p);
        h_after.copy_from_slice(projected);
        let limit = self
            .layer
            .options
            .projection
            .and_then(|options| options.clip);
        if let Some(limit) = limit.map(R::of) {
            h_after.iter_mut().for_each(|h| *h = h.clipped(limit));
        }
    }
}

/// The states before and after a step.
struct States<'a, R> {
    h: (&'a mut [R], &'a mut [R]),
    c: (&'a mut [R], &'a mut [R]),
}

/// Computes `products = bias + operand @ R^T`, for the gates of a stage.
fn multiply<R: Real>(
    weights: &Option<R::Panels>,
    operand: &[R],
    bias: Option<&[R]>,
    products: &mut [R],
) {
    let Some(weights) = weights else {
        return;
    };
    let (k, n) = (operand.len(), products.len());
    // As `forward` does, whose initial states are mostly zero.
    if operand.iter().all(|&value| value == R::zero()) {
        Addend::bias(bias).write(products, n, n);
    } else {
        weights.matmul(View::new(operand, 1, k, k), Addend::bias(bias), products, n);
    }
}
