//! Ranks that are threads of one process, for tests of what processes do together.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::Ranks;
use crate::error::{Error, Result};

/// One of several threads that train together as processes do.
pub struct ThreadRanks {
    rank: usize,
    /// To each thread.
    senders: Vec<Sender<Vec<u8>>>,
    /// From each thread.
    receivers: Vec<Mutex<Receiver<Vec<u8>>>>,
}

impl ThreadRanks {
    /// Returns the ranks of `count` threads.
    pub fn group(count: usize) -> Vec<Arc<dyn Ranks>> {
        let mut group: Vec<ThreadRanks> = (0..count)
            .map(|rank| ThreadRanks {
                rank,
                senders: vec![],
                receivers: vec![],
            })
            .collect();
        for from in 0..count {
            for to in 0..count {
                let (sender, receiver) = channel();
                group[from].senders.push(sender);
                group[to].receivers.push(Mutex::new(receiver));
            }
        }
        let shared = |ranks| Arc::new(ranks) as Arc<dyn Ranks>;
        group.into_iter().map(shared).collect()
    }

    fn send(&self, to: usize, bytes: Vec<u8>) -> Result<()> {
        self.senders[to].send(bytes).map_err(|_| ended(to))
    }

    fn receive(&self, from: usize) -> Result<Vec<u8>> {
        let receiver = self.receivers[from].lock();
        let receiver = receiver.unwrap_or_else(PoisonError::into_inner);
        receiver.recv().map_err(|_| ended(from))
    }
}

fn ended(rank: usize) -> Error {
    Error::Failed(format!("rank {rank} has ended"))
}

impl fmt::Debug for ThreadRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.senders.len())
    }
}

impl Ranks for ThreadRanks {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.senders.len()
    }

    fn exchange(&self, other: usize, values: Vec<f32>, expected: usize) -> Result<Vec<f32>> {
        self.send(other, super::to_bytes(&values))?;
        let received = super::from_bytes(&self.receive(other)?);
        assert_eq!(received.len(), expected);
        Ok(received)
    }

    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        (0..self.count()).try_for_each(|to| self.send(to, own.clone()))?;
        (0..self.count()).map(|from| self.receive(from)).collect()
    }
}
