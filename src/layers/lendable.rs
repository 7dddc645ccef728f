//! The tensors of a recording for which memory of the host may stand during a pass on the CPU, so
//! that nothing is copied.

use crate::memory::{HostValues, LentTensor};
use crate::network::Entry;
use crate::numeric::aligned::is_aligned;
use crate::program::Phase;
use crate::record::RecordedNetwork;
use crate::tensor::{BufferId, Tensor};

/// The tensors for which memory may be lent. Each is a whole buffer, or a parameter.
#[derive(Debug)]
pub(super) struct Lendable {
    pub inputs: Tensor,
    pub outputs: Outputs,
    pub upstream: Option<Tensor>,
    pub dinputs: Option<Tensor>,
    /// In the order of the entries; `None` where a kernel reads several parameters as one tensor.
    pub parameters: Vec<Option<Tensor>>,
    pub gradients: Vec<Option<Tensor>>,
}

/// The tensor that the last layer's outputs are in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outputs {
    /// `[T + 1, B, P]`: h before each step and after the last one. The backward pass reads it.
    States(Tensor),
    /// `[T, B, features]`, which the forward pass alone reads and writes.
    Emitted(Tensor),
}

impl Outputs {
    pub fn tensor(self) -> Tensor {
        match self {
            Outputs::States(tensor) | Outputs::Emitted(tensor) => tensor,
        }
    }
}

impl Lendable {
    /// Finds the tensors of a recording, whose passes are recorded.
    pub fn new(network: &RecordedNetwork, entries: &[Entry]) -> Self {
        let last_layer = network.network.layers.len() - 1;
        let emitted = network.emitted(last_layer);
        let states = network.recurrences().last().map(|last| last.states.h);
        let states = states.filter(|h| h.buffer == emitted.buffer);
        let separate = |flat: Tensor| separate_parts(network, entries, flat);
        Lendable {
            inputs: network.inputs,
            outputs: states.map_or(Outputs::Emitted(emitted), Outputs::States),
            upstream: network.upstream(last_layer),
            dinputs: network.dinputs(),
            parameters: separate(network.parameters),
            gradients: network.gradients.map_or(vec![], separate),
        }
    }

    /// Returns the buffers that the tensors are in.
    pub fn buffers(&self) -> Vec<BufferId> {
        let whole = [Some(self.inputs), Some(self.outputs.tensor())];
        let gradients = [self.upstream, self.dinputs];
        let parameters = self.parameters.iter().chain(&self.gradients).copied();
        let tensors = whole.into_iter().chain(gradients).chain(parameters);
        tensors.flatten().map(|tensor| tensor.buffer).collect()
    }
}

/// Returns the part of each entry in `flat`, where no kernel borrows more than that part at once.
fn separate_parts(
    network: &RecordedNetwork,
    entries: &[Entry],
    flat: Tensor,
) -> Vec<Option<Tensor>> {
    let calls = [Phase::Forward, Phase::Backward]
        .into_iter()
        .flat_map(|phase| network.program.calls(phase));
    let mut borrowed: Vec<(usize, usize)> = calls
        .flat_map(|call| call.borrowed())
        .filter(|tensor| tensor.buffer == flat.buffer && !tensor.is_empty())
        .map(|tensor| (tensor.range().start, tensor.range().end))
        .collect();
    borrowed.sort_unstable();
    borrowed.dedup();
    let part = |entry: &Entry| {
        let own = entry.range();
        let is_within = |&(start, end): &(usize, usize)| {
            end <= own.start || own.end <= start || own.start <= start && end <= own.end
        };
        borrowed
            .iter()
            .all(is_within)
            .then(|| flat.part(entry.offset, entry.shape))
    };
    entries.iter().map(part).collect()
}

/// Whether values of the host can stand for a tensor: they are all of its elements, and begin at a
/// cache line, as the tensor's own memory does.
fn fits<R>(tensor: &Tensor, values: &[R]) -> bool {
    tensor.len() == values.len() && is_aligned(values)
}

/// Lends values to be read, if they can stand for the tensor.
pub(super) fn lend<R>(tensor: Option<Tensor>, values: &[R]) -> Option<LentTensor<'_, R>> {
    let tensor = tensor.filter(|tensor| fits(tensor, values))?;
    Some(LentTensor {
        tensor,
        values: HostValues::Read(values),
    })
}

/// Lends values to be written, if they can stand for the tensor, or returns them.
pub(super) fn lend_mut<R>(
    tensor: Option<Tensor>,
    values: &mut [R],
) -> Result<LentTensor<'_, R>, &mut [R]> {
    match tensor.filter(|tensor| fits(tensor, values)) {
        Some(tensor) => Ok(LentTensor {
            tensor,
            values: HostValues::Written(values),
        }),
        None => Err(values),
    }
}
