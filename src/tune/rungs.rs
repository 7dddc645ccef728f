//! The rungs of successive halving: which trials are trained, and up to which epoch.

use super::SearchTrial;

/// The share of the trials that goes on to the next rung is one over this, and they are trained
/// for this many times as many epochs (Li et al. 2018 recommend 3 or 4).
const REDUCTION: usize = 3;

/// Returns the epochs of each rung, in increasing order; the last one is all of the recipe's. The
/// first is so short that at least one trial is left for the last.
pub(super) fn rungs(trials: usize, epochs: usize) -> Vec<usize> {
    let mut rungs = vec![epochs];
    let mut left = trials;
    while left >= REDUCTION && rungs[0] > 1 {
        rungs.insert(0, rungs[0].div_ceil(REDUCTION));
        left /= REDUCTION;
    }
    rungs
}

/// Returns the trials of a rung by their indices: all of them in the first, then the better third
/// of those of the rung before. Equal losses are decided by the number.
pub(super) fn survivors(trials: &[SearchTrial], rung: usize) -> Vec<usize> {
    let mut alive: Vec<usize> = (0..trials.len()).collect();
    alive.retain(|&n| trials[n].failure.is_none() || trials[n].losses.len() > rung);
    for before in 0..rung {
        let loss = |n: usize| trials[n].losses.get(before).copied();
        let kept = alive.len().div_ceil(REDUCTION);
        let mut judged: Vec<usize> = alive.into_iter().filter(|&n| loss(n).is_some()).collect();
        judged.sort_by(|&a, &b| {
            let by_loss = loss(a).partial_cmp(&loss(b));
            by_loss.unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(&b))
        });
        judged.truncate(kept);
        judged.sort_unstable();
        alive = judged;
    }
    alive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(number: usize, losses: &[f64]) -> SearchTrial {
        SearchTrial {
            number,
            values: Default::default(),
            losses: losses.to_vec(),
            epochs: 0,
            failure: None,
        }
    }

    #[test]
    fn rungs_end_with_all_epochs() {
        assert_eq!(rungs(30, 27), [1, 3, 9, 27]);
        assert_eq!(rungs(9, 30), [4, 10, 30]);
        assert_eq!(rungs(2, 30), [30]);
        assert_eq!(rungs(100, 2), [1, 2]);
        assert_eq!(rungs(100, 1), [1]);
    }

    #[test]
    fn the_better_third_goes_on() {
        let losses = [5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0];
        let mut trials: Vec<SearchTrial> = losses
            .iter()
            .enumerate()
            .map(|(n, &loss)| trial(n + 1, &[loss]))
            .collect();
        assert_eq!(survivors(&trials, 0), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(survivors(&trials, 1), [1, 3, 4]);
        trials[1].losses.push(0.9);
        trials[3].losses.push(0.5);
        trials[4].losses.push(0.7);
        assert_eq!(survivors(&trials, 2), [3]);
        // A trial that has failed is not trained again.
        trials[4].failure = Some("lost".into());
        trials[4].losses.pop();
        assert_eq!(survivors(&trials, 1), [1, 3]);
    }
}
