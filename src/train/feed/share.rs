//! The sequences that a process takes of a pass.

/// A process of several that share each step of a pass in equal parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// The index of the process.
    pub(crate) rank: usize,
    /// The number of processes.
    pub(crate) count: usize,
}

impl Default for Share {
    /// One process, which takes all.
    fn default() -> Self {
        Share { rank: 0, count: 1 }
    }
}

impl Share {
    /// The sequences that the process takes of `count` in steps of `each_step`.
    pub(super) fn of_count(self, count: usize, each_step: usize) -> usize {
        let own = each_step / self.count;
        let last = (count % each_step).saturating_sub(self.rank * own).min(own);
        count / each_step * own + last
    }

    /// The sequences that the process takes of this order in steps of `each_step`.
    pub(super) fn of_order(self, order: Vec<u32>, each_step: usize) -> Vec<u32> {
        if self.count == 1 {
            return order;
        }
        let own = each_step / self.count;
        let steps = order.chunks(each_step);
        let parts = steps.flat_map(|step| step.iter().skip(self.rank * own).take(own));
        parts.copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole() {
        for (count, processes) in [(20, 1), (20, 2), (17, 4), (3, 4), (16, 8), (0, 2)] {
            let order: Vec<u32> = (0..count).rev().collect();
            let mut all: Vec<u32> = vec![];
            for rank in 0..processes {
                let share = Share {
                    rank,
                    count: processes,
                };
                let own = share.of_order(order.clone(), 8);
                assert_eq!(own.len(), share.of_count(count as usize, 8));
                all.extend(own);
            }
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
