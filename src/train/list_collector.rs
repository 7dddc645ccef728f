//! Lists of labels, decoded while the outputs of a network are read.

use std::collections::HashMap;

use crate::data::{Dataset, Targets};
use crate::metrics::{BestPath, ListMetrics, ListSums};

/// The best paths of the sequences whose outputs are being read, and the sums of those that are
/// complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListCollector {
    paths: HashMap<usize, BestPath>,
    sums: ListSums,
}

impl ListCollector {
    /// Adds the outputs `[K]` of step `t` of sequence `n` of `data`, in order of time. `targets`
    /// are the targets of `data` or of one of its heads. Padded steps are skipped.
    pub(crate) fn add(
        &mut self,
        (data, targets): (&Dataset, &Targets),
        (n, t): (usize, usize),
        outputs: impl Iterator<Item = f32>,
    ) {
        let length = data
            .lengths
            .as_ref()
            .map_or(data.steps, |all| all[n] as usize);
        if t >= length {
            return;
        }
        let path = self.paths.entry(n).or_default();
        path.push(outputs);
        if t + 1 == length {
            self.sums.add(path.labels(), targets.list(n));
            self.paths.remove(&n);
        }
    }

    /// The sums over the sequences so far.
    pub(crate) fn sums(&self) -> ListSums {
        self.sums
    }

    /// The metrics of the sequences so far; `None` without any.
    pub(crate) fn finish(&self) -> Option<ListMetrics> {
        self.sums.finish()
    }
}
