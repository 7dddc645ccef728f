//! Gradients that are accumulated over the batches of an update, recorded.

use super::RecordedNetwork;
use crate::kernels::{Accumulate, ShareOfUpdate, TreeSum};
use crate::program::Phase;
use crate::tensor::{Element, Kind, Tensor};

impl RecordedNetwork {
    /// Records, in [`Phase::Forward`], that the gradient of the outputs of each head is a share of
    /// that of all batches of the update. `update_weights` has, for each head, the update's sum of
    /// weights for each row of the history. Call it after [`RecordedNetwork::training_loss`].
    ///
    /// # Panics
    /// Where `update_weights` has not one element for each head.
    pub fn share_of_update(&mut self, update_weights: &[Tensor], control: Tensor) {
        assert_eq!(update_weights.len(), self.each_head().len(), "one for each");
        let heads = self.each_head().iter().zip(update_weights).enumerate();
        let shares = heads.map(|(index, (head, &update_weights))| ShareOfUpdate {
            weight: head.label_weight,
            factor: self.network.heads.get(index).map_or(1.0, |own| own.weight),
            update_weights,
            control,
            gradient: head.doutputs,
        });
        let shares: Vec<ShareOfUpdate> = shares.collect();
        let push = |share| self.program.push(Phase::Forward, share);
        shares.into_iter().for_each(push);
    }

    /// Records, in [`Phase::Accumulate`] and [`Phase::Update`], the sum of the gradients of an
    /// update's batches, which [`RecordedNetwork::record_update`] then uses.
    ///
    /// # Panics
    /// Where the network was recorded without gradients.
    pub fn accumulate_gradients(&mut self, control: Tensor) {
        let gradients = self.gradients;
        let gradients = gradients.expect("the network was recorded with gradients");
        let (kind, element) = (Kind::Gradients, Element::Real);
        let len = [gradients.len()];
        let sums = self.program.buffer("gradient_sums", kind, element, len);
        let accumulate = Accumulate {
            gradients,
            control,
            sums,
        };
        self.program.push(Phase::Accumulate, accumulate.clone());
        self.program.push(Phase::Update, accumulate);
        self.gradient_sums = Some(sums);
    }

    /// Records, in [`Phase::Accumulate`] and in `last` for the last batch of an update, the sum of
    /// the gradients of an update's `leaves` batches in a binary tree, which
    /// [`RecordedNetwork::record_update`] then uses. Returns the sums.
    ///
    /// # Panics
    /// Where the network was recorded without gradients.
    pub fn sum_in_tree(&mut self, control: Tensor, leaves: usize, last: Phase) -> Tensor {
        let gradients = self.gradients;
        let gradients = gradients.expect("the network was recorded with gradients");
        let (kind, element, count) = (Kind::Gradients, Element::Real, gradients.len());
        let sums = (self.program).buffer("gradient_sums", kind, element, [count]);
        let levels = leaves.ilog2().max(1) as usize;
        let partials = (self.program).buffer("partial_sums", kind, element, [levels, count]);
        let sum = TreeSum {
            gradients,
            control,
            partials,
            sums,
            batch: self.batch,
            leaves,
            ends: false,
        };
        self.program.push(Phase::Accumulate, sum.clone());
        self.program.push(last, TreeSum { ends: true, ..sum });
        self.gradient_sums = Some(sums);
        sums
    }
}
