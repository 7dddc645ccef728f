//! The states of the batches of an update between two chunks of their sequences.

use crate::backend::executor::Executor;
use crate::error::{Error, Result};
use crate::record::RecordedNetwork;
use crate::tensor::Tensor;

/// The states that the next chunk of each batch of an update begins with. The device has room for
/// those of one batch, so the host keeps them while the other batches are played.
#[derive(Debug, Clone)]
pub(super) struct KeptStates {
    /// The last states of each direction; none for sequences of one chunk.
    tensors: Vec<Tensor>,
    /// The states of each direction, of each batch.
    batches: Vec<Vec<Vec<f32>>>,
}

impl KeptStates {
    /// No states yet, of `batches` batches that this process plays.
    pub(super) fn new(network: &RecordedNetwork, chunks: usize, batches: usize) -> KeptStates {
        let tensors = match chunks {
            1 => vec![],
            _ => network.recurrences().map(|own| own.states.last).collect(),
        };
        KeptStates {
            batches: vec![vec![]; batches],
            tensors,
        }
    }

    /// Writes the states of batch `batch`, if there are any.
    pub(super) fn write(&self, executor: &mut dyn Executor, batch: usize) -> Result<()> {
        let states = self.tensors.iter().zip(&self.batches[batch]);
        let write = |(tensor, values): (&Tensor, &Vec<f32>)| executor.write(tensor, values);
        states.into_iter().try_for_each(write)
    }

    /// Reads the states of batch `batch`.
    pub(super) fn read(&mut self, executor: &mut dyn Executor, batch: usize) -> Result<()> {
        let states = self.tensors.iter().map(|tensor| executor.read(tensor));
        self.batches[batch] = states.collect::<Result<_>>()?;
        Ok(())
    }

    /// The states of the first `count` batches, one batch and then the next.
    pub(super) fn flat(&self, count: usize) -> Vec<f32> {
        self.batches[..count]
            .iter()
            .flatten()
            .flatten()
            .copied()
            .collect()
    }

    /// The states of each direction, of all batches of all processes, from [`KeptStates::flat`] of
    /// every process.
    pub(super) fn joined(&self, flat: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let each: usize = self.tensors.iter().map(Tensor::len).sum();
        let mut joined: Vec<Vec<f32>> = vec![vec![]; self.tensors.len()];
        for mut batch in flat.iter().flat_map(|flat| flat.chunks(each.max(1))) {
            for (tensor, joined) in self.tensors.iter().zip(&mut joined) {
                let (own, rest) = batch.split_at(tensor.len());
                joined.extend(own);
                batch = rest;
            }
        }
        joined
    }

    /// Takes the states of this process from those of all batches, of which its own begin with
    /// batch `first`.
    ///
    /// # Errors
    /// [`Error::Usage`] for states of another size.
    pub(super) fn restore(&mut self, joined: &[Vec<f32>], first: usize) -> Result<()> {
        let fits =
            |(tensor, values): (&Tensor, &Vec<f32>)| values.len().is_multiple_of(tensor.len());
        if joined.len() != self.tensors.len() || !self.tensors.iter().zip(joined).all(fits) {
            return Err(Error::usage(
                "the checkpoint has states of another size than the network's layers; begin a new \
                 run",
            ));
        }
        for (batch, states) in self.batches.iter_mut().enumerate() {
            let of_direction = |(tensor, values): (&Tensor, &Vec<f32>)| {
                let own = values.chunks(tensor.len()).nth(first + batch);
                own.map(<[f32]>::to_vec)
            };
            let own = self.tensors.iter().zip(joined).map(of_direction);
            // A batch beyond the end of the pass has none.
            *states = own.collect::<Option<_>>().unwrap_or_default();
        }
        Ok(())
    }
}
