//! Ranks that are threads of one process, for tests of what processes do together.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Ranks, tree_sum};
use crate::error::{Error, Result};

/// One of several threads that train together as processes do.
pub struct ThreadRanks {
    rank: usize,
    /// To each thread.
    senders: Vec<Sender<Message>>,
    /// From each thread.
    receivers: Vec<Arc<Mutex<Receiver<Message>>>>,
}

/// Bytes; `None` from a thread whose device has failed.
type Message = Option<Vec<u8>>;

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
                group[to].receivers.push(Arc::new(Mutex::new(receiver)));
            }
        }
        let shared = |ranks| Arc::new(ranks) as Arc<dyn Ranks>;
        group.into_iter().map(shared).collect()
    }

    fn send(&self, to: usize, message: Message) -> Result<()> {
        self.senders[to].send(message).map_err(|_| ended(to))
    }

    fn receive(&self, from: usize) -> Result<Message> {
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
        self.send(other, Some(super::to_bytes(&values)))?;
        let bytes = self.receive(other)?;
        let bytes = bytes.ok_or(Error::RankFailed { rank: other })?;
        let received = super::from_bytes(&bytes);
        assert_eq!(received.len(), expected);
        Ok(received)
    }

    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        (0..self.count()).try_for_each(|to| self.send(to, Some(own.clone())))?;
        let all: Vec<Message> = (0..self.count())
            .map(|from| self.receive(from))
            .collect::<Result<_>>()?;
        let failed = all.iter().position(Option::is_none);
        match failed {
            Some(rank) => Err(Error::RankFailed { rank }),
            None => Ok(all.into_iter().flatten().collect()),
        }
    }

    fn fail(&self) -> Result<()> {
        (0..self.count()).try_for_each(|to| self.send(to, None))?;
        (0..self.count()).try_for_each(|from| self.receive(from).map(|_| ()))
    }

    fn sum(&self, values: &mut [f32]) -> Result<()> {
        // Finds a thread whose device has failed.
        self.gather(vec![])?;
        tree_sum(self, values)
    }
    fn first(&self, count: usize) -> Result<Option<Arc<dyn Ranks>>> {
        let group = (self.rank < count).then(|| ThreadRanks {
            rank: self.rank,
            senders: self.senders[..count].to_vec(),
            receivers: self.receivers[..count].to_vec(),
        });
        Ok(group.map(|group| Arc::new(group) as Arc<dyn Ranks>))
    }
}
