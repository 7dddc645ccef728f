//! Values that are computed by hand.

use ndarray::arr2;

use super::*;

fn near(found: Option<f64>, expected: f64) {
    let found = found.expect("it is defined");
    assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
}

#[test]
fn classes_by_hand() {
    // Three of class 0, one of them predicted as 1; two of class 1, both predicted as 0; class 2
    // never occurs and is never predicted.
    let counts = ClassCounts::of(arr2(&[[2, 1, 0], [2, 0, 0], [0, 0, 0]]).view());
    near(counts.accuracy(), 0.4);
    near(counts.balanced_accuracy(), (2.0 / 3.0 + 0.0) / 2.0);
    near(counts.precision(0), 0.5);
    near(counts.precision(1), 0.0);
    near(counts.f1(0), 4.0 / 7.0);
    assert_eq!(
        (counts.precision(2), counts.recall(2), counts.f1(2)),
        (None, None, None)
    );
    near(counts.macro_mean(ClassCounts::f1), 2.0 / 7.0);
    near(counts.weighted_mean(ClassCounts::f1), 0.6 * 4.0 / 7.0);
    assert_eq!(ClassCounts::new(2).balanced_accuracy(), None);
}

#[test]
fn rankings_by_hand() {
    let scores = [0.9, 0.8, 0.8, 0.1];
    // Of the four pairs, two are in order, one is equal, and one is inverted.
    near(roc_auc(&scores, &[true, false, false, true]), 0.5);
    near(roc_auc(&scores, &[true, true, false, false]), 0.875);
    near(
        average_precision(&scores, &[true, true, false, false]),
        0.5 + 0.5 * 2.0 / 3.0,
    );
    assert_eq!(roc_auc(&scores, &[true; 4]), None);
    assert_eq!(roc_auc(&scores, &[false; 4]), None);
    assert_eq!(average_precision(&scores, &[false; 4]), None);
}

#[test]
fn probabilities_by_hand() {
    let mut sums = ClassSums::new(2);
    // Probabilities 0.75 and 0.25, then the other way round.
    let logit = 3f32.ln();
    sums.add([logit, 0.0].into_iter(), 0);
    sums.add([0.0, logit].into_iter(), 0);
    let metrics = sums.finish().expect("there are outputs");
    assert!((metrics.log_loss + (0.75f64.ln() + 0.25f64.ln()) / 2.0).abs() < 1e-7);
    assert!((metrics.brier - (0.0625 + 0.5625) / 2.0).abs() < 1e-7);
    assert_eq!(metrics.calibration.len(), 2);
    assert_eq!(metrics.calibration[1].observed, 0.0);
    let notes = metrics.undefined(|class| class.to_string());
    assert!(
        notes
            .iter()
            .any(|note| note.contains("not defined for `1`: no example")),
        "{notes:?}"
    );
    assert!(
        notes
            .iter()
            .any(|note| note.contains("no example of another")),
        "{notes:?}"
    );
    assert!(ClassSums::new(3).finish().is_none());
}

#[test]
fn values_by_hand() {
    let mut sums = ValueSums::default();
    for (target, prediction) in [(1.0, 2.0), (2.0, 2.0), (3.0, 1.0)] {
        sums.add(target, prediction);
    }
    let metrics = sums.finish(Some(0.5)).expect("there are values");
    near(Some(metrics.mae), 1.0);
    near(Some(metrics.rmse), (5.0f64 / 3.0).sqrt());
    near(metrics.mape, (1.0 + 2.0 / 3.0) / 3.0);
    near(Some(metrics.smape), (2.0 / 3.0 + 1.0) / 3.0);
    near(metrics.mase, 2.0);
    near(metrics.r2, 1.0 - 5.0 / 2.0);
    assert!(metrics.undefined().is_empty());
    sums.add(0.0, 0.0);
    let metrics = sums.finish(None).expect("there are values");
    assert_eq!((metrics.mape, metrics.mase), (None, None));
    let notes = metrics.undefined();
    assert!(notes[0].contains("1 of the 4 targets are 0"), "{notes:?}");
    let mut equal = ValueSums::default();
    equal.add(3.0, 3.0);
    assert!(equal.finish(None).expect("one").undefined()[0].contains("at least two"));
    equal.add(3.0, 3.0);
    assert!(equal.finish(Some(0.0)).expect("two").undefined()[0].contains("are equal"));
    assert!(ValueSums::default().finish(None).is_none());
}

#[test]
fn intervals_by_hand() {
    near(
        pinball_loss(&[1.0, 4.0], &[2.0, 2.0], 0.9),
        (0.1 + 1.8) / 2.0,
    );
    near(coverage(&[1.0, 2.0, 5.0], &[1.0; 3], &[2.0; 3]), 2.0 / 3.0);
    assert_eq!(pinball_loss(&[], &[], 0.5), None);
    assert_eq!(coverage(&[], &[], &[]), None);
}

#[test]
fn a_uniform_text_has_the_perplexity_of_its_alphabet() {
    let metrics = TextMetrics::of(8f64.ln());
    near(Some(metrics.bits), 3.0);
    near(Some(metrics.perplexity), 8.0);
}
