//! Dropout masks.

use super::{Dropped, RecordedLayer, RecordedNetwork};
use crate::kernels::{Columns, DropoutMask, Recurrence};
use crate::network::{Dropout, Layer, MaskSharing};
use crate::program::Phase;
use crate::tensor::Tensor;

/// A dropout mask: 0, or one over the probability to keep an element.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    /// The index of its layer in the network.
    pub layer_index: usize,
    pub of: MaskOf,
    /// `[steps, B, width]`.
    pub columns: Columns,
    pub steps: usize,
    pub width: usize,
    pub keep_prob: f64,
    pub sharing: MaskSharing,
}

/// The values that a mask is applied to. Directions are indices into
/// [`RecordedNetwork::recurrences`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskOf {
    /// The inputs of the layer, in the order of time.
    Input,
    /// The outputs of the layer, in the order of time.
    Output,
    /// The h that each step of a direction reads, in the direction's order of steps.
    State { direction: usize },
    /// The h that each recurrent gate of a direction multiplies, `[steps, B, G*P]`.
    Recurrent { direction: usize },
    /// The h of a direction that takes its new value: where the mask is above 0.
    Zoneout { direction: usize },
    /// The same of c.
    ZoneoutCell { direction: usize },
    /// The last state of a direction, as the head reads it.
    Last { direction: usize },
}

impl Mask {
    /// A mask that is a tensor `[steps, B, width]`.
    fn whole(
        layer_index: usize,
        of: MaskOf,
        mask: Tensor,
        (keep_prob, sharing): (f64, MaskSharing),
    ) -> Self {
        let [steps, _, width] = mask.shape.extents()[..] else {
            unreachable!("masks have three extents");
        };
        Mask {
            layer_index,
            of,
            columns: Columns::all(mask),
            steps,
            width,
            keep_prob,
            sharing,
        }
    }
}

impl RecordedNetwork {
    /// Returns all dropout masks, from the first layer to the last.
    pub fn masks(&self) -> Vec<Mask> {
        let mut masks = vec![];
        let mut first_direction = 0;
        for (index, layer) in self.layers.iter().enumerate() {
            let dropout = self.network.layers[index].dropout;
            masks.extend(layer_masks(index, layer, dropout));
            let directions = layer.directions.iter().zip(first_direction..);
            for (dropped, direction) in directions.clone().map(|(d, n)| (d.dropped_last, n)) {
                if let Some(Dropped { mask, .. }) = dropped {
                    let of = MaskOf::Last { direction };
                    let drawn = (dropout.output_keep_prob, dropout.mask);
                    masks.push(Mask::whole(index, of, mask, drawn));
                }
            }
            for (recurrence, direction) in directions.map(|(d, n)| (&d.recurrence, n)) {
                let states = state_masks(recurrence, direction, &self.network.layers[index]);
                masks.extend(states.map(|(of, columns, width, keep_prob, sharing)| Mask {
                    layer_index: index,
                    of,
                    columns,
                    steps: self.steps,
                    width,
                    keep_prob,
                    sharing,
                }));
            }
            first_direction += layer.directions.len();
        }
        masks
    }

    /// Records, in [`Phase::Forward`], the drawing of every dropout mask. Call it before
    /// [`RecordedNetwork::forward`].
    pub fn draw_masks(&mut self, seed: u64, control: Tensor) {
        if let Some(plan) = &mut self.recompute {
            plan.masks = Some((seed, control));
        }
        for (of, call) in self.mask_calls(seed, control, 0) {
            // Those over time are drawn chunk by chunk.
            if self.recompute.is_none() || matches!(of, MaskOf::Last { .. }) {
                self.program.push(Phase::Forward, call);
            }
        }
    }

    /// The drawing of every dropout mask, of steps from `first_step` on.
    pub(super) fn mask_calls(
        &self,
        seed: u64,
        control: Tensor,
        first_step: usize,
    ) -> Vec<(MaskOf, DropoutMask)> {
        let masks = self.masks().into_iter().enumerate();
        let call = |(number, mask): (usize, Mask)| {
            let call = DropoutMask {
                control,
                out: mask.columns,
                steps: mask.steps,
                first_step,
                batch: self.batch,
                width: mask.width,
                keep_prob: mask.keep_prob,
                sharing: mask.sharing,
                seed,
                index: number as u32,
            };
            (mask.of, call)
        };
        masks.map(call).collect()
    }
}

/// The masks of a direction's states: what they are of, their columns and width, the probability to
/// keep an element, and who shares one.
fn state_masks(
    recurrence: &Recurrence,
    direction: usize,
    layer: &Layer,
) -> impl Iterator<Item = (MaskOf, Columns, usize, f64, MaskSharing)> {
    let [recurrent, state, zoneout, zoneout_cell] = recurrence.mask_widths();
    let dropout = layer.dropout;
    let all = [
        (
            MaskOf::State { direction },
            recurrence.state_masks(),
            state,
            dropout.state_keep_prob,
            dropout.mask,
        ),
        (
            MaskOf::Recurrent { direction },
            recurrence.recurrent_masks(),
            recurrent,
            1.0 - layer.recurrent_dropout,
            MaskSharing::EachSequence,
        ),
        (
            MaskOf::Zoneout { direction },
            recurrence.zoneout_masks(0),
            zoneout,
            1.0 - layer.zoneout,
            MaskSharing::EachStep,
        ),
        (
            MaskOf::ZoneoutCell { direction },
            recurrence.zoneout_masks(1),
            zoneout_cell,
            1.0 - layer.zoneout_cell,
            MaskSharing::EachStep,
        ),
    ];
    all.into_iter().filter(|(_, _, width, ..)| *width > 0)
}

/// The masks of a layer's inputs and outputs.
fn layer_masks(index: usize, layer: &RecordedLayer, dropout: Dropout) -> Vec<Mask> {
    let mut masks = vec![];
    if let Some(Dropped { mask, .. }) = layer.dropped {
        masks.push(Mask::whole(
            index,
            MaskOf::Input,
            mask,
            (dropout.input_keep_prob, dropout.mask),
        ));
    }
    if let Some(mask) = layer.emission.and_then(|emission| emission.mask) {
        masks.push(Mask::whole(
            index,
            MaskOf::Output,
            mask,
            (dropout.output_keep_prob, dropout.mask),
        ));
    }
    masks
}
