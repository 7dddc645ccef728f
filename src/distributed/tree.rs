//! The sum of the gradients of all processes in a fixed binary tree.

use super::Ranks;
use crate::error::Result;
use crate::kernels::flushed;

/// Adds the values of all processes in a binary tree, with messages between two processes: those of
/// ranks 0 and 1, of 2 and 3, then these sums, and so on. It is the tree of
/// [`TreeSum`](crate::kernels::TreeSum), continued over processes that have equal shares of the
/// leaves, so the bits are those of one process with all of the leaves.
///
/// Recursive halving and then recursive doubling (Thakur, Rabenseifner and Gropp 2005,
/// "Optimization of Collective Communication Operations in MPICH"): each process sends and receives
/// `2 (1 - 1/N) P` values in `2 log2 N` messages.
///
/// # Errors
/// Those of [`Ranks::exchange`].
pub fn tree_sum<R: Ranks + ?Sized>(ranks: &R, values: &mut [f32]) -> Result<()> {
    let (rank, levels) = (ranks.rank(), ranks.count().ilog2());
    let mut halves = vec![];
    let (mut start, mut end) = (0, values.len());
    for level in 0..levels {
        let other = rank ^ (1 << level);
        let middle = start + (end - start) / 2;
        let (kept, sent) = if rank < other {
            (start..middle, middle..end)
        } else {
            (middle..end, start..middle)
        };
        let received = ranks.exchange(other, values[sent.clone()].to_vec(), kept.len())?;
        let pairs = values[kept.clone()].iter_mut().zip(received);
        // Both processes add the same two numbers, and addition is commutative.
        pairs.for_each(|(value, received)| *value = flushed(*value + received));
        (start, end) = (kept.start, kept.end);
        halves.push((other, kept, sent));
    }
    for (other, kept, sent) in halves.into_iter().rev() {
        let received = ranks.exchange(other, values[kept].to_vec(), sent.len())?;
        values[sent].copy_from_slice(&received);
    }
    Ok(())
}
