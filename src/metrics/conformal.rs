//! Split conformal prediction: how far intervals must be moved to cover a share of new targets.

/// Returns the conformal quantile of scores: the ceil((n + 1) * share)-th smallest of n, which a
/// new score that is exchangeable with them exceeds with a probability of at most 1 - share (Vovk
/// et al. 2005; Romano et al. 2019). `None` if there are too few scores for that share.
pub fn conformal_quantile(scores: &[f64], share: f64) -> Option<f64> {
    // Rounding must not lift a product that is a whole number.
    let rank = ((scores.len() + 1) as f64 * share - 1e-9).ceil() as usize;
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// Returns what both ends of an interval are moved outwards by so that it covers `share` of new
/// targets: conformalized quantile regression (Romano, Patterson & Candès 2019), with the scores
/// max(low - target, target - high). `targets` are known targets with their intervals.
pub fn interval_margin(targets: &[(f64, f64, f64)], share: f64) -> Option<f64> {
    let scores = targets.iter();
    let scores = scores.map(|&(target, low, high)| (low - target).max(target - high));
    conformal_quantile(&scores.collect::<Vec<_>>(), share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_the_new_score() {
        let scores = [3.0, 1.0, 4.0, 2.0];
        // (n + 1) * share = 4, then 3.0: the rank.
        assert_eq!(conformal_quantile(&scores, 0.8), Some(4.0));
        assert_eq!(conformal_quantile(&scores, 0.6), Some(3.0));
        assert_eq!(conformal_quantile(&scores, 0.5), Some(3.0));
        assert_eq!(conformal_quantile(&scores, 0.9), None);
        assert_eq!(conformal_quantile(&[], 0.5), None);
    }

    #[test]
    fn margins_move_both_ends() {
        // Scores -1, 0.5, 2 and -0.5.
        let targets = [
            (2.0, 1.0, 3.0),
            (3.5, 1.0, 3.0),
            (-1.0, 1.0, 3.0),
            (1.5, 1.0, 3.0),
        ];
        assert_eq!(interval_margin(&targets, 0.8), Some(2.0));
        assert_eq!(interval_margin(&targets, 0.4), Some(-0.5));
    }
}
