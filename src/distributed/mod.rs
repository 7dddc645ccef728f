//! The processes that train one network together: each computes its share of every batch.
//!
//! The rest of the crate sees [`Ranks`] and nothing of MPI, whose calls are all in `mpi.rs`.

#[cfg(feature = "mpi")]
mod mpi;
#[cfg(test)]
mod tests;
mod threads;
mod tree;

use std::fmt::Debug;
use std::sync::Arc;

#[cfg(feature = "mpi")]
pub use self::mpi::MpiRanks;
use crate::error::{Error, Result};
pub use threads::ThreadRanks;
pub use tree::tree_sum;

/// The processes of a distributed run, seen from one of them. All of them call the same methods in
/// the same order; each call waits for the others.
pub trait Ranks: Debug + Send + Sync {
    /// The index of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn count(&self) -> usize;

    /// Sends values to another process and returns the `expected` values that it sends.
    ///
    /// # Errors
    /// [`Error::Failed`] where the other process has ended.
    fn exchange(&self, other: usize, values: Vec<f32>, expected: usize) -> Result<Vec<f32>>;

    /// Returns the bytes of every process, in the order of ranks.
    ///
    /// # Errors
    /// [`Error::Failed`] where a process has ended; [`Error::RankFailed`] after [`Ranks::fail`].
    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>>;

    /// Has the call in which the others wait for this process, or the next one, fail in all of them
    /// with [`Error::RankFailed`], because its device has failed. Call it in place of the next
    /// method.
    ///
    /// # Errors
    /// [`Error::Failed`] where a process has ended.
    fn fail(&self) -> Result<()>;

    /// Returns the first `count` processes as a group of their own, and `None` in the others.
    ///
    /// # Errors
    /// [`Error::Failed`] where a process has ended.
    fn first(&self, count: usize) -> Result<Option<Arc<dyn Ranks>>>;

    /// Waits until all processes wait here, and uses no core meanwhile.
    ///
    /// # Errors
    /// [`Error::Failed`] where a process has ended.
    fn rest(&self) -> Result<()> {
        self.gather(vec![]).map(|_| ())
    }

    /// Adds the values of all processes in place. The default is [`tree_sum`], whose bits do not
    /// depend on the number of processes.
    ///
    /// # Errors
    /// Those of [`Ranks::gather`].
    fn sum(&self, values: &mut [f32]) -> Result<()> {
        tree_sum(self, values)
    }
}

/// Adds the counts of all processes.
///
/// # Errors
/// Those of [`Ranks::gather`].
pub(crate) fn sum_counts(ranks: &dyn Ranks, counts: &mut [u32]) -> Result<()> {
    let own = counts
        .iter()
        .flat_map(|count| count.to_le_bytes())
        .collect();
    let all = ranks.gather(own)?;
    counts.fill(0);
    for bytes in &all {
        let words = bytes.chunks_exact(4);
        let values = words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        (counts.iter_mut().zip(values)).for_each(|(sum, value)| *sum += value);
    }
    Ok(())
}

/// Returns the values of bytes that [`to_bytes`] has made.
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect()
}

/// Returns values as bytes.
pub(crate) fn to_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Returns the result of this process where all processes have one; else the error of the first
/// process that has none, on every process.
///
/// # Errors
/// That error, as [`Error::Usage`] or [`Error::Failed`] on the other processes; those of
/// [`Ranks::gather`].
pub fn agreed<T>(ranks: &dyn Ranks, result: Result<T>) -> Result<T> {
    let own = match &result {
        Ok(_) => vec![],
        Err(error) => {
            let text = format!("{}{error}", if error.is_usage() { 'u' } else { 'f' });
            text.into_bytes()
        }
    };
    let all = ranks.gather(own)?;
    let Some(first) = all.iter().position(|text| !text.is_empty()) else {
        return result;
    };
    if first == ranks.rank() {
        return result;
    }
    let text = String::from_utf8_lossy(&all[first]);
    let (kind, problem) = text.split_at(1);
    Err(match kind {
        "u" => Error::usage(problem.to_string()),
        _ => Error::Failed(problem.to_string()),
    })
}

/// Checks that a batch of `parts` parts can be shared by the processes.
///
/// # Errors
/// [`Error::Usage`] with the numbers that are allowed.
pub(crate) fn check_count(ranks: &dyn Ranks, parts: usize) -> Result<()> {
    let count = ranks.count();
    if count.is_power_of_two() && parts.is_multiple_of(count) {
        return Ok(());
    }
    let allowed: Vec<String> = (0..=parts.ilog2()).map(|n| (1 << n).to_string()).collect();
    Err(Error::usage(format!(
        "{count} processes cannot share a batch of parallel.micro_batches = {parts} parts equally; \
         start {} of them, or change parallel.micro_batches, a power of two",
        allowed.join(" or ")
    )))
}
