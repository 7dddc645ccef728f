//! Metrics against the values of scikit-learn, which tests/interop/metrics.py wrote.

use gatescan::metrics::{ClassCounts, ClassMetrics, ClassSums, ValueSums, pinball_loss};
use serde_json::Value;

/// The largest difference from scikit-learn's values, relative to the larger of these and 1.
const TOLERANCE: f64 = 1e-6;

fn cases() -> Value {
    serde_json::from_str(include_str!("metrics/sklearn.json")).expect("it is JSON")
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("it is a list")
}

fn numbers(value: &Value) -> Vec<f64> {
    let number = |value: &Value| value.as_f64().expect("it is a number");
    list(value).iter().map(number).collect()
}

fn assert_near(name: &str, found: Option<f64>, expected: &Value) {
    let (Some(found), Some(expected)) = (found, expected.as_f64()) else {
        assert!(
            found.is_none() && expected.is_null(),
            "{name}: {found:?} and {expected}"
        );
        return;
    };
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error <= TOLERANCE, "{name}: {found} and {expected}");
}

fn class_metrics(case: &Value) -> ClassMetrics {
    let logits: Vec<Vec<f64>> = list(&case["logits"]).iter().map(numbers).collect();
    let mut sums = ClassSums::new(logits[0].len());
    for (logits, label) in logits.iter().zip(numbers(&case["labels"])) {
        sums.add(logits.iter().map(|&logit| logit as f32), label as usize);
    }
    sums.finish().expect("there are outputs")
}

#[test]
fn classes_are_scored_as_by_scikit_learn() {
    let cases = cases();
    let cases = list(&cases["classes"]);
    assert_eq!(cases.len(), 5);
    for case in cases {
        let metrics = class_metrics(case);
        let counts = &metrics.counts;
        let single = [
            ("accuracy", counts.accuracy()),
            ("balanced_accuracy", counts.balanced_accuracy()),
            ("log_loss", Some(metrics.log_loss)),
            ("brier", Some(metrics.brier)),
        ];
        for (name, found) in single {
            assert_near(name, found, &case[name]);
        }
        let ranking = metrics.ranking.as_ref().expect("it is small");
        type PerClass = fn(&ClassCounts, usize) -> Option<f64>;
        let averaged: [(&str, PerClass); 3] = [
            ("precision", ClassCounts::precision),
            ("recall", ClassCounts::recall),
            ("f1", ClassCounts::f1),
        ];
        for (name, metric) in averaged {
            assert_near(name, counts.macro_mean(metric), &case[name]["macro"]);
            assert_near(name, counts.weighted_mean(metric), &case[name]["weighted"]);
            let of_classes = list(&case[&format!("class_{name}")]);
            assert_eq!(of_classes.len(), counts.classes());
            for (class, expected) in of_classes.iter().enumerate() {
                assert_near(name, metric(counts, class), expected);
            }
        }
        for class in 0..counts.classes() {
            assert_near("roc_auc", ranking.roc_auc[class], &case["roc_auc"][class]);
            let expected = &case["average_precision"][class];
            assert_near(
                "average_precision",
                ranking.average_precision[class],
                expected,
            );
        }
        let predicted = list(&case["calibration"]["predicted"]);
        assert_eq!(metrics.calibration.len(), predicted.len());
        for (n, bin) in metrics.calibration.iter().enumerate() {
            assert_near("calibration", Some(bin.predicted), &predicted[n]);
            let observed = &case["calibration"]["observed"][n];
            assert_near("calibration", Some(bin.observed), observed);
        }
    }
}

#[test]
fn values_are_scored_as_by_scikit_learn() {
    let cases = cases();
    let cases = list(&cases["values"]);
    assert_eq!(cases.len(), 2);
    for case in cases {
        let (targets, predictions) = (numbers(&case["targets"]), numbers(&case["predictions"]));
        let mut sums = ValueSums::default();
        for (&target, &prediction) in targets.iter().zip(&predictions) {
            sums.add(target, prediction);
        }
        let metrics = sums.finish(None).expect("there are values");
        assert_near("mae", Some(metrics.mae), &case["mae"]);
        assert_near("rmse", Some(metrics.rmse), &case["rmse"]);
        assert_near("mape", metrics.mape, &case["mape"]);
        assert_near("r2", metrics.r2, &case["r2"]);
        for pinball in list(&case["pinball"]) {
            let quantile = pinball["quantile"].as_f64().expect("it is a number");
            let found = pinball_loss(&targets, &predictions, quantile);
            assert_near("pinball", found, &pinball["loss"]);
        }
    }
}
